/** The configuration reader: a YAML (or JSON) text, a schema and overrides give a checked tree, or every mistake at
 * once.
 *
 * The tree is read through server/port/conf.h. Nothing here knows what the keys mean: node_schema.c does. Everything is
 * bounded: what a user gives us is input like any other. */
#ifndef CAIRN_NODE_CONF_READ_H
#define CAIRN_NODE_CONF_READ_H

#include "server/port/conf.h"

#include <stddef.h>
#include <stdio.h>

enum {
    CAIRN_CONF_BYTES_MAX = 1 << 20, /* of a file */
    CAIRN_CONF_DEPTH_MAX = 16,
    CAIRN_CONF_VALUES_MAX = 1 << 16, /* scalars, lists and sections of a file */
    CAIRN_CONF_KEYS_MAX = 512,       /* keys of one section */
    CAIRN_CONF_STRING_BYTES_MAX = 4096,
    CAIRN_CONF_PROBLEMS_MAX = 100, /* reported; more are counted */
};

struct cairn_conf_doc;

/** Looks at the whole tree after every value was checked by itself, and complains (cairn_conf_complain) about what does
 * not fit together. Runs although other values are wrong: these hold their defaults, and cairn_conf_is_sound() tells.
 */
typedef void cairn_conf_validator(struct cairn_conf_doc *doc, const struct cairn_conf *root);

/** What an entry of the variant list may be: further keys, chosen by its key `type`. */
struct cairn_conf_variant {
    const char *name;                  /* NULL ends the table */
    const struct cairn_conf_key *keys; /* beyond those of the list's own `sub`; may be NULL */
};

struct cairn_conf_schema {
    const struct cairn_conf_key *keys;
    const char *variant_list; /* the name of the top-level LIST whose entries are variants ("providers"), or NULL */
    const struct cairn_conf_variant *variants;
    cairn_conf_validator *const *validators; /* NULL-terminated, or NULL */
};

/** One value from the command line, or a default that only the machine knows (its host name). */
struct cairn_conf_override {
    const char *path;  /* "node.workers"; into lists by number or by name: "providers.0.path", "providers.kv.path" */
    const char *value; /* for lists and sections in YAML's flow form: "[a, b]"; one string alone also is a list */
    const char *where; /* "--set" (messages add @path), "--data" (they need not), "default: the host name" */
    bool weak;         /* holds only if the file is silent, or gives nothing: an empty text, or null */
};

struct cairn_conf_input {
    const char *path; /* of the file; NULL: @text */
    const char *text; /* NULL (and no path): nothing is set, the embedded default */
    size_t text_len;
    const char *text_name;                       /* for messages, where @text has no file */
    const struct cairn_conf_override *overrides; /* applied in order: the last one holds */
    uint32_t noverrides;
};

/** Reads and checks. Strings in @in are copied; @schema must outlive @doc.
 *
 * Returns 0, or with *@doc holding the problems:
 *   CAIRN_E_CONFIG  the file cannot be read, is no YAML, or has mistakes; @err has the first and the number of others
 * or with *@doc NULL:
 *   CAIRN_E_NOMEM */
int cairn_conf_read(const struct cairn_conf_schema *schema, const struct cairn_conf_input *in,
                    struct cairn_conf_doc **doc, struct cairn_err *err);
/** NULL is fine. */
void cairn_conf_free(struct cairn_conf_doc *doc);

/** The whole tree; NULL if there are problems. */
const struct cairn_conf *cairn_conf_root(const struct cairn_conf_doc *doc);

/** Problems in order of their place: "cairn.yaml:3:5: unknown key 'wrokers', did you mean 'workers'?". The last text
 * says how many were left out, if any. */
uint32_t cairn_conf_nproblems(const struct cairn_conf_doc *doc);
const char *cairn_conf_problem(const struct cairn_conf_doc *doc, uint32_t i);

/** For validators: the value of @key in @c is wrong in a way that only a look at others shows. @index names an entry of
 * a list, -1 the value itself; @key NULL the section. */
void cairn_conf_complain(struct cairn_conf_doc *doc, const struct cairn_conf *c, const char *key, int index,
                         const char *fmt, ...) __attribute__((format(printf, 5, 6)));
/** For validators: true if the value of @key had no problem of its own. */
bool cairn_conf_is_sound(const struct cairn_conf *c, const char *key);
bool cairn_conf_has_key(const struct cairn_conf *c, const char *key);

/** Splits "a.b=c" in place. False if there is no '='. */
bool cairn_conf_override_split(char *text, struct cairn_conf_override *o);

/** The effective configuration as YAML that can be read back, each value with a comment that says where it came from.
 */
void cairn_conf_print(const struct cairn_conf_doc *doc, FILE *to);

/** Every key with its help, kind, bounds and default, as YAML that can be read back. */
void cairn_conf_reference(const struct cairn_conf_schema *schema, FILE *to);
/** The same as a list for the manual page, in Markdown. */
void cairn_conf_reference_markdown(const struct cairn_conf_schema *schema, FILE *to);

/** Checks a schema itself: names, defaults that fit their own type and bounds, choices. The text says what is wrong. */
int cairn_conf_schema_check(const struct cairn_conf_schema *schema, struct cairn_err *err);

#endif
