/* The reader's own types: see conf_read.h. */
#ifndef CAIRN_NODE_CONF_INTERNAL_H
#define CAIRN_NODE_CONF_INTERNAL_H

#include "sdk/core/base/arena.h"
#include "sdk/core/base/macros.h"
#include "server/node/conf/conf_read.h"

enum conf_origin_type { CONF_FROM_DEFAULT, CONF_FROM_FILE, CONF_FROM_OVERRIDE };

struct conf_origin {
    enum conf_origin_type type;
    const char *name; /* "cairn.yaml", "--set", "default" */
    const char *path; /* of an override: "node.workers" */
};

enum conf_node_type { CONF_SCALAR, CONF_MAP, CONF_SEQ };

/* One value of the text as it stands there, before any schema is looked at. */
struct conf_node {
    enum conf_node_type type;
    bool plain;                            /* a scalar without quotes: may be a number, a truth value or nothing */
    uint32_t line, col, key_line, key_col; /* from 1 */
    const struct conf_origin *origin;
    const char *key;  /* entry of a map */
    const char *text; /* of a scalar */
    uint32_t n;
    struct conf_node *first, *last, *next; /* children of a map or a sequence */
};

struct conf_problem {
    const char *text;
    enum conf_origin_type rank;
    uint32_t line, col, seq;
};

/* A checked value. */
struct conf_value {
    const struct cairn_conf_key *key;
    const struct conf_node *node; /* what it was made from; NULL: a default without text */
    bool sound, set;
    uint64_t u64;
    const char *str;
    const char *where; /* NULL until asked for */
    uint32_t n;
    struct cairn_conf **sections;   /* SECTION: one; LIST of sections: n */
    const char **strings;           /* LIST of strings: n */
    const struct conf_node **items; /* LIST: where each entry stands */
};

struct cairn_conf {
    struct cairn_conf_doc *doc;
    const char *path; /* "providers[1]"; "" for the root */
    const struct conf_node *node;
    uint32_t n;
    struct conf_value values[];
};

struct cairn_conf_doc {
    const struct cairn_conf_schema *schema;
    struct conf_node *raw;
    struct cairn_conf *root;
    struct conf_problem problems[CAIRN_CONF_PROBLEMS_MAX + 1];
    uint32_t nproblems, nomitted;
    uint32_t nnodes;
    bool no_memory; /* some allocation failed: what was built is not to be used */
    struct cairn_arena arena;
};

/* Memory that lives as long as the document; NULL sets doc->no_memory. Zeroed. */
void *cairn_conf__alloc(struct cairn_conf_doc *doc, size_t n);
char *cairn_conf__strndup(struct cairn_conf_doc *doc, const char *s, size_t n);
char *cairn_conf__printf(struct cairn_conf_doc *doc, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* A problem at the value of @node, or at its key. */
void cairn_conf__problem(struct cairn_conf_doc *doc, const struct conf_node *node, bool at_key, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* conf_yaml.c: a text into nodes; NULL, with a problem, if that cannot be. */
struct conf_node *cairn_conf__parse(struct cairn_conf_doc *doc, const struct conf_origin *origin, const char *text,
                                    size_t len);
struct conf_node *cairn_conf__node_new(struct cairn_conf_doc *doc, enum conf_node_type type,
                                       const struct conf_origin *origin);
void cairn_conf__node_add(struct conf_node *parent, struct conf_node *child);
struct conf_node *cairn_conf__node_find(const struct conf_node *map, const char *key);
/* Plain and empty, `~` or `null`. */
bool cairn_conf__node_is_null(const struct conf_node *node);

/* conf_override.c */
void cairn_conf__apply_overrides(struct cairn_conf_doc *doc, const struct cairn_conf_input *in);

/* conf_check.c */
struct cairn_conf *cairn_conf__check_root(struct cairn_conf_doc *doc);
const struct cairn_conf_variant *cairn_conf__variant_find(const struct cairn_conf_schema *schema, const char *name);
/* The default of a list or a section as nodes; NULL if it has none. */
struct conf_node *cairn_conf__fallback_node(struct cairn_conf_doc *doc, const struct cairn_conf_key *key);

/* conf_value.c: false with a reason that continues "'node.workers' ". */
enum { CONF_REASON_MAX = 320 };
bool cairn_conf__parse_scalar(const struct cairn_conf_key *key, const char *text, bool plain, uint64_t *u64,
                              char reason[CONF_REASON_MAX]);
/* A number as the file would have it. */
void cairn_conf__format(const struct cairn_conf_key *key, uint64_t u64, char *buf, size_t len);
/* "a number from 0 to 256" */
void cairn_conf__describe(const struct cairn_conf_key *key, char *buf, size_t len);
const char *cairn_conf__example(const struct cairn_conf_key *key);
/* @s made fit for a message: control characters and all beyond 60 bytes replaced. */
const char *cairn_conf__quote(const char *s, char buf[72]);

/* conf_near.c: the candidate that @word most likely meant, NULL if none is near. */
struct conf_near {
    const char *word, *best;
    uint32_t distance;
};
void cairn_conf__near_init(struct conf_near *near, const char *word);
void cairn_conf__near_offer(struct conf_near *near, const char *candidate);

/* conf.c */
const struct conf_value *cairn_conf__find(const struct cairn_conf *c, const char *key);

#endif
