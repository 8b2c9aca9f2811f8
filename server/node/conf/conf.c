/* A document's life and what others read from it: server/port/conf.h and conf_read.h. */
#include "server/node/conf/conf_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CONF_MEMORY_MAX = 64 << 20 };

/* ---- memory ---- */

void *cairn_conf__alloc(struct cairn_conf_doc *doc, size_t n)
{
    void *p = cairn_arena_alloc(&doc->arena, n);

    if (p == NULL)
        doc->no_memory = true;
    else
        memset(p, 0, n);
    return p;
}

char *cairn_conf__strndup(struct cairn_conf_doc *doc, const char *s, size_t n)
{
    char *p = cairn_conf__alloc(doc, n + 1);

    if (p != NULL)
        memcpy(p, s, n);
    return p;
}

static char *vprintf_alloc(struct cairn_conf_doc *doc, const char *prefix, const char *fmt, va_list ap)
{
    char text[1024];
    size_t n;

    snprintf(text, sizeof(text), "%s", prefix);
    n = strlen(text);
    vsnprintf(text + n, sizeof(text) - n, fmt, ap);
    return cairn_conf__strndup(doc, text, strlen(text));
}

char *cairn_conf__printf(struct cairn_conf_doc *doc, const char *fmt, ...)
{
    va_list ap;
    char *s;

    va_start(ap, fmt);
    s = vprintf_alloc(doc, "", fmt, ap);
    va_end(ap);
    return s;
}

/* ---- problems ---- */

/* "--listen" says which setting is meant; "--set" does not. */
static bool is_own_option(const char *name)
{
    return strncmp(name, "--", 2) == 0 && strcmp(name, "--set") != 0;
}

static void place_text(const struct conf_node *node, bool at_key, char *buf, size_t len)
{
    const struct conf_origin *o = node->origin;
    bool use_key = at_key && node->key_line != 0;
    uint32_t line = use_key ? node->key_line : node->line;

    if (o->type == CONF_FROM_FILE && line != 0)
        snprintf(buf, len, "%s:%" PRIu32 ":%" PRIu32 ": ", o->name, line, use_key ? node->key_col : node->col);
    else if (o->type == CONF_FROM_OVERRIDE && o->path != NULL && !is_own_option(o->name))
        snprintf(buf, len, "%s %s: ", o->name, o->path);
    else
        snprintf(buf, len, "%s: ", o->name);
}

static void problem_va(struct cairn_conf_doc *doc, const struct conf_node *node, bool at_key, const char *fmt,
                       va_list ap)
{
    bool use_key = at_key && node->key_line != 0;
    char place[512];
    struct conf_problem *p;

    if (doc->nproblems == CAIRN_CONF_PROBLEMS_MAX) {
        doc->nomitted++;
        return;
    }
    place_text(node, at_key, place, sizeof(place));
    p = &doc->problems[doc->nproblems];
    p->text = vprintf_alloc(doc, place, fmt, ap);
    if (p->text == NULL)
        return;
    p->rank = node->origin->type == CONF_FROM_FILE ? 0 : node->origin->type == CONF_FROM_OVERRIDE ? 1 : 2;
    p->line = use_key ? node->key_line : node->line;
    p->col = use_key ? node->key_col : node->col;
    p->seq = doc->nproblems++;
}

void cairn_conf__problem(struct cairn_conf_doc *doc, const struct conf_node *node, bool at_key, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    problem_va(doc, node, at_key, fmt, ap);
    va_end(ap);
}

void cairn_conf_complain(struct cairn_conf_doc *doc, const struct cairn_conf *c, const char *key, int index,
                         const char *fmt, ...)
{
    const struct conf_node *node = c->node;
    va_list ap;

    if (key != NULL) {
        const struct conf_value *v = cairn_conf__find(c, key);

        if (v->node != NULL)
            node = v->node;
        if (index >= 0 && (uint32_t)index < v->n)
            node = v->items[index];
    }
    va_start(ap, fmt);
    problem_va(doc, node, false, fmt, ap);
    va_end(ap);
}

/* What comes first in the file comes first; then the command line, in its order; then defaults. */
static int compare_problems(const void *a, const void *b)
{
    const struct conf_problem *x = a, *y = b;

    if (x->rank != y->rank)
        return x->rank < y->rank ? -1 : 1;
    if (x->rank == 0 && x->line != y->line)
        return x->line < y->line ? -1 : 1;
    if (x->rank == 0 && x->col != y->col)
        return x->col < y->col ? -1 : 1;
    return x->seq < y->seq ? -1 : 1;
}

static int finish_problems(struct cairn_conf_doc *doc, struct cairn_err *err)
{
    uint32_t n = doc->nproblems + doc->nomitted;

    if (n == 0)
        return 0;
    qsort(doc->problems, doc->nproblems, sizeof(doc->problems[0]), compare_problems);
    if (doc->nomitted > 0) {
        struct conf_problem *last = &doc->problems[doc->nproblems];

        last->text = cairn_conf__printf(doc, "... and %" PRIu32 " more problems", doc->nomitted);
        if (last->text != NULL)
            doc->nproblems++;
    }
    doc->root = NULL;
    if (n == 1)
        return cairn_err_set(err, CAIRN_E_CONFIG, "%s", doc->problems[0].text);
    return cairn_err_set(err, CAIRN_E_CONFIG, "%s (and %" PRIu32 " more)", doc->problems[0].text, n - 1);
}

uint32_t cairn_conf_nproblems(const struct cairn_conf_doc *doc)
{
    return doc->nproblems;
}

const char *cairn_conf_problem(const struct cairn_conf_doc *doc, uint32_t i)
{
    CAIRN_ASSERT(i < doc->nproblems);
    return doc->problems[i].text;
}

/* ---- reading ---- */

/* The whole file in memory of its own; NULL with a problem. A pipe or a device could block or never end: refused. */
static char *read_file(struct cairn_conf_doc *doc, const struct conf_node *at, const char *path, size_t *len)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    struct stat st;
    char *text = NULL;
    size_t n = 0;

    if (fd < 0 || fstat(fd, &st) != 0) {
        cairn_conf__problem(doc, at, false, "cannot be read: %s", strerror(errno));
        goto out;
    }
    if (!S_ISREG(st.st_mode)) {
        cairn_conf__problem(doc, at, false, "cannot be read: not a regular file");
        goto out;
    }
    text = malloc(CAIRN_CONF_BYTES_MAX + 1);
    if (text == NULL) {
        doc->no_memory = true;
        goto out;
    }
    while (n <= CAIRN_CONF_BYTES_MAX) {
        ssize_t r = read(fd, text + n, CAIRN_CONF_BYTES_MAX + 1 - n);

        if (r == 0)
            break;
        if (r < 0) {
            if (errno == EINTR)
                continue;
            cairn_conf__problem(doc, at, false, "cannot be read: %s", strerror(errno));
            free(text);
            text = NULL;
            goto out;
        }
        n += (size_t)r;
    }
    *len = n;
out:
    if (fd >= 0)
        close(fd);
    return text;
}

static void read_raw(struct cairn_conf_doc *doc, const struct cairn_conf_input *in)
{
    struct conf_origin *origin = cairn_conf__alloc(doc, sizeof(*origin));
    const char *name = in->path != NULL ? in->path : in->text_name != NULL ? in->text_name : "default";
    const char *text = in->text;
    char *owned = NULL;
    size_t len = in->text_len;

    if (origin == NULL)
        return;
    origin->type = in->path != NULL || in->text != NULL ? CONF_FROM_FILE : CONF_FROM_DEFAULT;
    origin->name = cairn_conf__strndup(doc, name, strlen(name));
    if (origin->name == NULL)
        return;
    struct conf_node whole = { .origin = origin };
    if (in->path != NULL)
        text = owned = read_file(doc, &whole, in->path, &len);
    if (text != NULL && len > CAIRN_CONF_BYTES_MAX) {
        cairn_conf__problem(doc, &whole, false, "larger than 1 MiB: not a configuration");
    } else if (text != NULL) {
        doc->raw = cairn_conf__parse(doc, origin, text, len);
    } else if (in->path == NULL) {
        doc->raw = cairn_conf__node_new(doc, CONF_MAP, origin);
    }
    free(owned);
    if (doc->raw != NULL && cairn_conf__node_is_null(doc->raw)) { /* "---" alone, or "null" */
        doc->raw->type = CONF_MAP;
    } else if (doc->raw != NULL && doc->raw->type != CONF_MAP) {
        cairn_conf__problem(doc, doc->raw, false, "a configuration is made of 'key: value' lines; found a %s",
                            doc->raw->type == CONF_SEQ ? "list" : "text");
        doc->raw = NULL;
    }
}

int cairn_conf_read(const struct cairn_conf_schema *schema, const struct cairn_conf_input *in,
                    struct cairn_conf_doc **out, struct cairn_err *err)
{
    struct cairn_conf_doc *doc = calloc(1, sizeof(*doc));

    *out = NULL;
    if (doc == NULL)
        return cairn_err_set(err, CAIRN_E_NOMEM, "configuration");
    cairn_arena_init(&doc->arena, CONF_MEMORY_MAX);
    doc->schema = schema;
    read_raw(doc, in);
    if (doc->raw != NULL && !doc->no_memory)
        cairn_conf__apply_overrides(doc, in);
    if (doc->raw != NULL && !doc->no_memory)
        doc->root = cairn_conf__check_root(doc);
    for (uint32_t i = 0;
         doc->root != NULL && !doc->no_memory && schema->validators != NULL && schema->validators[i] != NULL; i++)
        schema->validators[i](doc, doc->root);
    if (doc->no_memory) {
        cairn_conf_free(doc);
        return cairn_err_set(err, CAIRN_E_NOMEM, "configuration");
    }
    *out = doc;
    return finish_problems(doc, err);
}

void cairn_conf_free(struct cairn_conf_doc *doc)
{
    if (doc == NULL)
        return;
    cairn_arena_reset(&doc->arena);
    free(doc);
}

const struct cairn_conf *cairn_conf_root(const struct cairn_conf_doc *doc)
{
    return doc->root;
}

/* ---- looking things up ---- */

static const struct conf_value *find(const struct cairn_conf *c, const char *key)
{
    for (uint32_t i = 0; i < c->n; i++) {
        if (strcmp(c->values[i].key->name, key) == 0)
            return &c->values[i];
    }
    return NULL;
}

const struct conf_value *cairn_conf__find(const struct cairn_conf *c, const char *key)
{
    const struct conf_value *v = find(c, key);

    CAIRN_ASSERT(v != NULL); /* the caller's schema does not declare it */
    return v;
}

static const struct conf_value *find_typed(const struct cairn_conf *c, const char *key, uint32_t types)
{
    const struct conf_value *v = cairn_conf__find(c, key);

    CAIRN_ASSERT((types & (UINT32_C(1) << v->key->type)) != 0);
    return v;
}

#define OF(type) (UINT32_C(1) << CAIRN_CONF_##type)

bool cairn_conf_has_key(const struct cairn_conf *c, const char *key)
{
    return find(c, key) != NULL;
}

bool cairn_conf_is_sound(const struct cairn_conf *c, const char *key)
{
    return cairn_conf__find(c, key)->sound;
}

bool cairn_conf_bool(const struct cairn_conf *c, const char *key)
{
    return find_typed(c, key, OF(BOOL))->u64 != 0;
}

uint64_t cairn_conf_u64(const struct cairn_conf *c, const char *key)
{
    return find_typed(c, key, OF(UINT) | OF(SIZE) | OF(DURATION) | OF(CHOICE))->u64;
}

const char *cairn_conf_str(const struct cairn_conf *c, const char *key)
{
    return find_typed(c, key, OF(STRING) | OF(CHOICE))->str;
}

const struct cairn_conf *cairn_conf_section(const struct cairn_conf *c, const char *key)
{
    return find_typed(c, key, OF(SECTION))->sections[0];
}

uint32_t cairn_conf_list_len(const struct cairn_conf *c, const char *key)
{
    return find_typed(c, key, OF(LIST))->n;
}

const char *cairn_conf_list_str(const struct cairn_conf *c, const char *key, uint32_t i)
{
    const struct conf_value *v = find_typed(c, key, OF(LIST));

    CAIRN_ASSERT(v->key->sub == NULL && i < v->n);
    return v->strings[i];
}

const struct cairn_conf *cairn_conf_list_section(const struct cairn_conf *c, const char *key, uint32_t i)
{
    const struct conf_value *v = find_typed(c, key, OF(LIST));

    CAIRN_ASSERT(v->key->sub != NULL && i < v->n);
    return v->sections[i];
}

bool cairn_conf_is_set(const struct cairn_conf *c, const char *key)
{
    return cairn_conf__find(c, key)->set;
}

const char *cairn_conf_where(const struct cairn_conf *c, const char *key)
{
    return cairn_conf__find(c, key)->where;
}
