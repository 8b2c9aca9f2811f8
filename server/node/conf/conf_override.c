/* Values from the command line, put into the nodes before they are checked, so that they are checked like the file's.
 */
#include "server/node/conf/conf_internal.h"

#include <string.h>

enum { OVERRIDE_PATH_MAX = 512, OVERRIDE_STEPS_MAX = CAIRN_CONF_DEPTH_MAX };

struct walk {
    struct cairn_conf_doc *doc;
    const struct conf_origin *origin;
    const struct conf_node *at; /* for messages: no line, the override's own name */
    struct conf_node *cur;
    const struct cairn_conf_key *keys, *more; /* of @cur, where the schema knows */
    const struct cairn_conf_key *list;        /* @cur is this list's sequence */
};

bool cairn_conf_override_split(char *text, struct cairn_conf_override *o)
{
    char *eq = strchr(text, '=');

    if (eq == NULL)
        return false;
    *eq = '\0';
    *o = (struct cairn_conf_override){ .path = text, .value = eq + 1, .where = "--set" };
    return true;
}

static const struct cairn_conf_key *key_find(const struct cairn_conf_key *keys, const char *name)
{
    for (; keys != NULL && keys->name != NULL; keys++) {
        if (strcmp(keys->name, name) == 0)
            return keys;
    }
    return NULL;
}

static const struct cairn_conf_key *walk_key(const struct walk *w, const char *step)
{
    const struct cairn_conf_key *k = key_find(w->keys, step);

    return k != NULL ? k : key_find(w->more, step);
}

/* The entry of a sequence by number or by its key `name`. */
static struct conf_node *entry_find(const struct conf_node *seq, const char *step)
{
    uint32_t i = 0;
    char number[16];

    for (struct conf_node *c = seq->first; c != NULL; c = c->next) {
        const struct conf_node *name = cairn_conf__node_find(c, "name");

        snprintf(number, sizeof(number), "%u", i++);
        if (strcmp(number, step) == 0 || (name != NULL && name->type == CONF_SCALAR && strcmp(name->text, step) == 0))
            return c;
    }
    return NULL;
}

static struct conf_node *step_down_entry(struct walk *w, const char *step)
{
    struct conf_node *entry = entry_find(w->cur, step);
    const struct conf_node *type;
    const struct cairn_conf_variant *variant = NULL;

    if (entry == NULL) {
        cairn_conf__problem(w->doc, w->at, false, "no entry is called '%s', or has this number", step);
        return NULL;
    }
    type = cairn_conf__node_find(entry, "type");
    if (type != NULL && type->type == CONF_SCALAR)
        variant = cairn_conf__variant_find(w->doc->schema, type->text);
    w->keys = w->list != NULL ? w->list->sub : NULL;
    w->more = variant != NULL ? variant->keys : NULL;
    w->list = NULL;
    return entry;
}

/* Below a section; what is not there yet is made, a list from its default. */
static struct conf_node *step_down_key(struct walk *w, const char *step)
{
    const struct cairn_conf_key *key = walk_key(w, step);
    struct conf_node *child = cairn_conf__node_find(w->cur, step), *made = NULL;

    if (child == NULL || cairn_conf__node_is_null(child)) {
        if (key != NULL && (key->type == CAIRN_CONF_LIST || key->type == CAIRN_CONF_SECTION))
            made = cairn_conf__fallback_node(w->doc, key);
        if (made == NULL)
            made = cairn_conf__node_new(w->doc, key != NULL && key->type == CAIRN_CONF_LIST ? CONF_SEQ : CONF_MAP,
                                        w->origin);
        if (made == NULL)
            return NULL;
        if (child != NULL) { /* in its place */
            child->type = made->type;
            child->first = made->first;
            child->last = made->last;
            child->n = made->n;
        } else {
            made->key = cairn_conf__strndup(w->doc, step, strlen(step));
            cairn_conf__node_add(w->cur, made);
            child = made;
        }
    }
    if (child->type == CONF_SCALAR) {
        cairn_conf__problem(w->doc, w->at, false, "'%s' is not a section: nothing can be set below it", step);
        return NULL;
    }
    w->list = key != NULL && key->type == CAIRN_CONF_LIST ? key : NULL;
    w->keys = key != NULL && key->type == CAIRN_CONF_SECTION ? key->sub : NULL;
    w->more = NULL;
    return child;
}

static struct conf_node *make_value(struct walk *w, const struct cairn_conf_key *key, const char *value)
{
    bool compound = key != NULL && (key->type == CAIRN_CONF_LIST || key->type == CAIRN_CONF_SECTION);
    struct conf_node *node, *list;

    if (compound && (value[0] == '[' || value[0] == '{'))
        return cairn_conf__parse(w->doc, w->origin, value, strlen(value));
    node = cairn_conf__node_new(w->doc, CONF_SCALAR, w->origin);
    if (node == NULL)
        return NULL;
    node->text = cairn_conf__strndup(w->doc, value, strlen(value));
    /* "null" or nothing at all is a text like any other where a text is wanted: a shell has no quotes to say so. */
    node->plain = key != NULL && key->type != CAIRN_CONF_STRING && key->type != CAIRN_CONF_LIST;
    if (node->text == NULL || key == NULL || key->type != CAIRN_CONF_LIST || key->sub != NULL)
        return node;
    list = cairn_conf__node_new(w->doc, CONF_SEQ, w->origin);
    if (list != NULL && value[0] != '\0')
        cairn_conf__node_add(list, node);
    return list;
}

static void set_value(struct walk *w, const char *step, const char *value, bool weak)
{
    bool in_list = w->cur->type == CONF_SEQ;
    struct conf_node *old = in_list ? entry_find(w->cur, step) : cairn_conf__node_find(w->cur, step);
    struct conf_node *next, *node;

    if (weak && old != NULL && !cairn_conf__node_is_null(old) && !(old->type == CONF_SCALAR && old->text[0] == '\0'))
        return;
    if (in_list && old == NULL) {
        cairn_conf__problem(w->doc, w->at, false, "no entry is called '%s', or has this number", step);
        return;
    }
    node = make_value(w, in_list ? NULL : walk_key(w, step), value);
    if (node == NULL)
        return;
    node->key = cairn_conf__strndup(w->doc, step, strlen(step));
    if (old == NULL) {
        cairn_conf__node_add(w->cur, node);
        return;
    }
    next = old->next;
    *old = *node;
    old->next = next;
}

static void apply(struct cairn_conf_doc *doc, const struct cairn_conf_override *o)
{
    struct conf_origin *origin = cairn_conf__alloc(doc, sizeof(*origin));
    char steps[OVERRIDE_PATH_MAX], *step = steps, *dot;
    struct conf_node at = { .origin = origin };
    struct walk w = { .doc = doc, .origin = origin, .at = &at, .cur = doc->raw, .keys = doc->schema->keys };

    if (origin == NULL)
        return;
    origin->type = o->weak ? CONF_FROM_DEFAULT : CONF_FROM_OVERRIDE;
    origin->name = cairn_conf__strndup(doc, o->where, strlen(o->where));
    origin->path = cairn_conf__strndup(doc, o->path, MIN(strlen(o->path), (size_t)OVERRIDE_PATH_MAX));
    if (origin->name == NULL || origin->path == NULL)
        return;
    if (strlen(o->path) >= sizeof(steps) || strlen(o->value) > CAIRN_CONF_STRING_BYTES_MAX || o->path[0] == '\0') {
        cairn_conf__problem(doc, &at, false, "must be KEY=VALUE, for example node.workers=4, and not too long");
        return;
    }
    snprintf(steps, sizeof(steps), "%s", o->path);
    for (uint32_t i = 0; (dot = strchr(step, '.')) != NULL; i++, step = dot + 1) {
        *dot = '\0';
        if (i == OVERRIDE_STEPS_MAX) {
            cairn_conf__problem(doc, &at, false, "is too deep");
            return;
        }
        w.cur = w.cur->type == CONF_SEQ ? step_down_entry(&w, step) : step_down_key(&w, step);
        if (w.cur == NULL)
            return;
        if (w.cur->type == CONF_SCALAR) {
            cairn_conf__problem(doc, &at, false, "'%s' is not a section: nothing can be set below it", step);
            return;
        }
    }
    set_value(&w, step, o->value, o->weak);
}

void cairn_conf__apply_overrides(struct cairn_conf_doc *doc, const struct cairn_conf_input *in)
{
    for (uint32_t i = 0; i < in->noverrides && !doc->no_memory; i++)
        apply(doc, &in->overrides[i]);
}
