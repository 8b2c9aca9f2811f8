/* Nodes against the schema: every mistake is noted, and the tree that comes out is whole whatever was wrong, so that
 * the validators can go on looking. */
#include "server/node/conf/conf_internal.h"

#include <inttypes.h>
#include <string.h>

static const struct conf_origin from_default = { .type = CONF_FROM_DEFAULT, .name = "default" };
static const struct conf_node default_node = { .type = CONF_SCALAR, .text = "", .origin = &from_default };

/* @node may be NULL; @near is what a message about the section can point at then. */
static struct cairn_conf *check_section(struct cairn_conf_doc *doc, const struct conf_node *node,
                                        const struct conf_node *near, const char *path,
                                        const struct cairn_conf_key *keys, const struct cairn_conf_key *more);

static const char *node_type_name(const struct conf_node *node)
{
    return node->type == CONF_MAP ? "a section" : node->type == CONF_SEQ ? "a list" : "a text";
}

static const char *join(struct cairn_conf_doc *doc, const char *path, const char *key)
{
    const char *s = path[0] == '\0' ? key : cairn_conf__printf(doc, "%s.%s", path, key);

    return s != NULL ? s : "?"; /* doc->no_memory is set then */
}

const struct cairn_conf_variant *cairn_conf__variant_find(const struct cairn_conf_schema *schema, const char *name)
{
    for (const struct cairn_conf_variant *v = schema->variants; v != NULL && v->name != NULL; v++) {
        if (strcmp(v->name, name) == 0)
            return v;
    }
    return NULL;
}

struct conf_node *cairn_conf__fallback_node(struct cairn_conf_doc *doc, const struct cairn_conf_key *key)
{
    if (key->fallback == NULL)
        return NULL;
    return cairn_conf__parse(doc, &from_default, key->fallback, strlen(key->fallback));
}

static bool is_default(const struct conf_node *node)
{
    return node == NULL || node->origin->type == CONF_FROM_DEFAULT;
}

/* ---- values ---- */

static const char *where_text(struct cairn_conf_doc *doc, const struct conf_node *node)
{
    if (node == NULL)
        return "default";
    if (node->origin->type == CONF_FROM_FILE && node->line != 0)
        return cairn_conf__printf(doc, "%s:%" PRIu32 ":%" PRIu32, node->origin->name, node->line, node->col);
    return node->origin->name;
}

/* "must be a list, for example [a, b]; found a section" */
static void wrong_shape(struct cairn_conf_doc *doc, struct conf_value *v, const struct conf_node *node,
                        const char *path)
{
    const struct cairn_conf_key *key = v->key;
    char what[200], example[96], found[72], text[100];

    cairn_conf__describe(key, what, sizeof(what));
    if (key->type == CAIRN_CONF_SECTION)
        snprintf(example, sizeof(example), "'%s:' with indented 'key: value' lines below it", key->name);
    else if (key->type == CAIRN_CONF_LIST)
        snprintf(example, sizeof(example), "%s", key->sub != NULL ? "'- key: value' lines" : "[a, b]");
    else if (key->type == CAIRN_CONF_CHOICE)
        snprintf(example, sizeof(example), "%s", key->choices[0]);
    else
        snprintf(example, sizeof(example), "%s", cairn_conf__example(key));
    if (node->type != CONF_SCALAR)
        snprintf(text, sizeof(text), "%s", node_type_name(node));
    else if (cairn_conf__node_is_null(node))
        snprintf(text, sizeof(text), "nothing");
    else
        snprintf(text, sizeof(text), "'%s'", cairn_conf__quote(node->text, found));
    cairn_conf__problem(doc, node, false, "'%s' must be %s, for example %s; found %s", path, what, example, text);
    v->sound = false;
}

static void check_scalar(struct cairn_conf_doc *doc, struct conf_value *v, const struct conf_node *node,
                         const char *path)
{
    const struct cairn_conf_key *key = v->key;
    char reason[CONF_REASON_MAX];
    uint64_t ignored;

    v->str = "";
    if (node == NULL || node->type != CONF_SCALAR || cairn_conf__node_is_null(node)) {
        if (node != NULL)
            wrong_shape(doc, v, node, path);
        node = NULL;
    } else if (!cairn_conf__parse_scalar(key, node->text, node->plain, &v->u64, reason)) {
        cairn_conf__problem(doc, node, false, "'%s' %s", path, reason);
        v->sound = false;
        node = NULL;
    }
    if (node != NULL) {
        v->str = node->text;
        return;
    }
    if (key->fallback != NULL) {
        v->str = key->fallback;
        if (!cairn_conf__parse_scalar(key, key->fallback, true, &v->u64, reason) && v->sound) {
            cairn_conf__problem(doc, &default_node, false, "'%s' %s", path, reason);
            v->sound = false;
        }
    } else if (key->type == CAIRN_CONF_CHOICE) { /* required and missing: hold something that exists */
        v->str = key->choices[0];
        (void)cairn_conf__parse_scalar(key, v->str, true, &ignored, reason);
    }
}

/* An entry of unknown type: the keys that every type has still count, the rest cannot be judged. */
static struct cairn_conf *check_untyped(struct cairn_conf_doc *doc, const struct conf_node *node, const char *path,
                                        const struct cairn_conf_key *keys)
{
    struct conf_node *known = cairn_conf__alloc(doc, sizeof(*known));

    if (known == NULL)
        return NULL;
    *known = *node;
    known->first = known->last = NULL;
    known->n = 0;
    for (const struct conf_node *c = node->first; c != NULL; c = c->next) {
        for (const struct cairn_conf_key *k = keys; k->name != NULL; k++) {
            struct conf_node *copy = strcmp(k->name, c->key) == 0 ? cairn_conf__alloc(doc, sizeof(*copy)) : NULL;

            if (copy != NULL) {
                *copy = *c;
                cairn_conf__node_add(known, copy);
            }
        }
    }
    return check_section(doc, known, known, path, keys, NULL);
}

static void unknown_type(struct cairn_conf_doc *doc, const struct conf_node *type)
{
    char found[72], all[200] = "";
    struct conf_near near;

    cairn_conf__quote(type->text, found);
    cairn_conf__near_init(&near, type->text);
    for (const struct cairn_conf_variant *x = doc->schema->variants; x != NULL && x->name != NULL; x++) {
        size_t n = strlen(all);

        cairn_conf__near_offer(&near, x->name);
        snprintf(all + n, sizeof(all) - n, "%s%s", n > 0 ? ", " : "", x->name);
    }
    if (near.best != NULL)
        cairn_conf__problem(doc, type, false, "unknown type '%s', did you mean '%s'?", found, near.best);
    else
        cairn_conf__problem(doc, type, false, "unknown type '%s'; there is: %s", found, all[0] != '\0' ? all : "none");
}

static struct cairn_conf *check_variant(struct cairn_conf_doc *doc, const struct conf_node *node, const char *path,
                                        const struct cairn_conf_key *keys)
{
    const struct conf_node *type = cairn_conf__node_find(node, "type");
    const struct cairn_conf_variant *variant = NULL;

    if (type != NULL && type->type == CONF_SCALAR && !cairn_conf__node_is_null(type)) {
        variant = cairn_conf__variant_find(doc->schema, type->text);
        if (variant == NULL)
            unknown_type(doc, type);
    }
    if (variant == NULL)
        return check_untyped(doc, node, path, keys);
    return check_section(doc, node, node, path, keys, variant->keys);
}

static bool check_list_entry(struct cairn_conf_doc *doc, struct conf_value *v, const struct conf_node *item,
                             uint32_t at, const char *path, bool variants)
{
    const struct cairn_conf_key *key = v->key;

    v->items[v->n] = item;
    if (key->sub == NULL) {
        if (item->type != CONF_SCALAR || cairn_conf__node_is_null(item)) {
            cairn_conf__problem(doc, item, false, "'%s[%" PRIu32 "]' must be a text; found %s", path, at,
                                item->type == CONF_SCALAR ? "nothing" : node_type_name(item));
            return false;
        }
        v->strings[v->n++] = item->text;
        return true;
    }
    if (item->type != CONF_MAP) {
        cairn_conf__problem(doc, item, false, "'%s[%" PRIu32 "]' must be a section of 'key: value' lines; found %s",
                            path, at, item->type == CONF_SEQ ? "a list" : "a text");
        return false;
    }
    path = cairn_conf__printf(doc, "%s[%" PRIu32 "]", path, at);
    if (path == NULL)
        return false;
    struct cairn_conf *section =
        variants ? check_variant(doc, item, path, key->sub) : check_section(doc, item, item, path, key->sub, NULL);
    if (section != NULL)
        v->sections[v->n++] = section;
    return section != NULL;
}

static void check_list(struct cairn_conf_doc *doc, struct conf_value *v, const struct conf_node *node, const char *path,
                       bool variants)
{
    const struct cairn_conf_key *key = v->key;
    uint32_t at = 0;
    char what[64];

    if (node != NULL && node->type != CONF_SEQ) {
        wrong_shape(doc, v, node, path);
        node = NULL;
    }
    if (node == NULL) {
        v->node = node = cairn_conf__fallback_node(doc, key);
        if (node == NULL || node->type != CONF_SEQ)
            return;
    }
    v->items = cairn_conf__alloc(doc, MAX(node->n, 1u) * sizeof(*v->items));
    v->sections = cairn_conf__alloc(doc, MAX(node->n, 1u) * sizeof(*v->sections));
    v->strings = cairn_conf__alloc(doc, MAX(node->n, 1u) * sizeof(*v->strings));
    if (v->items == NULL || v->sections == NULL || v->strings == NULL)
        return;
    for (const struct conf_node *c = node->first; c != NULL && !doc->no_memory; c = c->next)
        v->sound &= check_list_entry(doc, v, c, at++, path, variants);
    if (at < key->min || (key->max != 0 && at > key->max)) {
        snprintf(what, sizeof(what), at < key->min ? "at least %" PRIu64 : "at most %" PRIu64,
                 at < key->min ? key->min : key->max);
        cairn_conf__problem(doc, node, false, "'%s' has %" PRIu32 " entries; %s may be there", path, at, what);
        v->sound = false;
    }
}

static void check_subsection(struct cairn_conf_doc *doc, struct conf_value *v, const struct conf_node *node,
                             const struct conf_node *near, const char *path)
{
    struct cairn_conf **one = cairn_conf__alloc(doc, sizeof(struct cairn_conf *));

    if (one == NULL)
        return;
    if (node != NULL && node->type != CONF_MAP) {
        wrong_shape(doc, v, node, path);
        node = NULL;
    }
    if (node == NULL)
        node = cairn_conf__fallback_node(doc, v->key);
    v->sections = one;
    *one = check_section(doc, node, node != NULL ? node : near, path, v->key->sub, NULL);
    v->n = 1;
}

/* ---- sections ---- */

/* A section without a line of its own in the text, or `key:` with nothing below it. */
static bool is_absent(const struct conf_node *node)
{
    return node == NULL || cairn_conf__node_is_null(node);
}

static void unknown_key(struct cairn_conf_doc *doc, const struct cairn_conf *c, const struct conf_node *node)
{
    struct conf_near near;
    char found[72], all[400] = "";

    cairn_conf__quote(node->key, found);
    cairn_conf__near_init(&near, node->key);
    for (uint32_t i = 0; i < c->n; i++)
        cairn_conf__near_offer(&near, c->values[i].key->name);
    if (near.best != NULL) {
        cairn_conf__problem(doc, node, true, "unknown key '%s', did you mean '%s'?", found, near.best);
        return;
    }
    for (const struct cairn_conf_key *k = doc->schema->keys; k->name != NULL; k++) {
        for (const struct cairn_conf_key *s = k->type == CAIRN_CONF_SECTION ? k->sub : NULL;
             s != NULL && s->name != NULL; s++) {
            if (strcmp(s->name, node->key) == 0) {
                cairn_conf__problem(doc, node, true, "unknown key '%s', did you mean '%s.%s'?", found, k->name,
                                    s->name);
                return;
            }
        }
    }
    for (uint32_t i = 0; i < c->n; i++) {
        size_t n = strlen(all);

        snprintf(all + n, sizeof(all) - n, "%s%s", i > 0 ? ", " : "", c->values[i].key->name);
    }
    cairn_conf__problem(doc, node, true, "unknown key '%s'; known here: %s", found, all);
}

static void assign_node(struct cairn_conf_doc *doc, struct cairn_conf *c, const struct conf_node *node)
{
    for (uint32_t i = 0; i < c->n; i++) {
        struct conf_value *v = &c->values[i];

        if (strcmp(v->key->name, node->key) != 0)
            continue;
        if (v->node == NULL) {
            v->node = node;
        } else {
            cairn_conf__problem(doc, node, true, "duplicate key '%s', first given in line %" PRIu32, node->key,
                                v->node->key_line);
            v->sound = false;
        }
        return;
    }
    unknown_key(doc, c, node);
}

static void check_value(struct cairn_conf_doc *doc, struct cairn_conf *c, struct conf_value *v)
{
    const struct cairn_conf_key *key = v->key;
    const char *path = join(doc, c->path, key->name);
    bool compound = key->type == CAIRN_CONF_LIST || key->type == CAIRN_CONF_SECTION;
    const struct conf_node *node = v->node;

    if (compound && is_absent(node))
        node = NULL;
    v->set = node != NULL && !is_default(node);
    if (node == NULL && !compound && key->fallback == NULL) {
        cairn_conf__problem(doc, c->node, false, "missing key '%s': %s", path,
                            key->help != NULL ? key->help : "required");
        v->sound = false;
    }
    if (key->type == CAIRN_CONF_LIST)
        check_list(doc, v, node, path,
                   c->path[0] == '\0' && doc->schema->variant_list != NULL &&
                       strcmp(doc->schema->variant_list, key->name) == 0);
    else if (key->type == CAIRN_CONF_SECTION)
        check_subsection(doc, v, node, c->node, path);
    else
        check_scalar(doc, v, node, path);
    v->where = where_text(doc, node);
    if (v->where == NULL)
        v->where = "";
}

static struct cairn_conf *check_section(struct cairn_conf_doc *doc, const struct conf_node *node,
                                        const struct conf_node *near, const char *path,
                                        const struct cairn_conf_key *keys, const struct cairn_conf_key *more)
{
    const struct cairn_conf_key *tables[] = { keys, more };
    uint32_t n = 0;
    struct cairn_conf *c;

    for (uint32_t i = 0; i < ARRAY_SIZE(tables); i++) {
        for (const struct cairn_conf_key *k = tables[i]; k != NULL && k->name != NULL; k++)
            n++;
    }
    c = cairn_conf__alloc(doc, sizeof(*c) + n * sizeof(c->values[0]));
    if (c == NULL)
        return NULL;
    c->doc = doc;
    c->path = path;
    c->node = near;
    for (uint32_t i = 0; i < ARRAY_SIZE(tables); i++) {
        for (const struct cairn_conf_key *k = tables[i]; k != NULL && k->name != NULL; k++)
            c->values[c->n++] = (struct conf_value){ .key = k, .sound = true };
    }
    for (const struct conf_node *e = node != NULL && node->type == CONF_MAP ? node->first : NULL; e != NULL;
         e = e->next)
        assign_node(doc, c, e);
    for (uint32_t i = 0; i < c->n && !doc->no_memory; i++)
        check_value(doc, c, &c->values[i]);
    return c;
}

struct cairn_conf *cairn_conf__check_root(struct cairn_conf_doc *doc)
{
    return check_section(doc, doc->raw, doc->raw, "", doc->schema->keys, NULL);
}
