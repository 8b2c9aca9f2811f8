/* A text into nodes, by libyaml's events. What YAML can do and a configuration must not is refused by name: anchors and
 * aliases (they can grow a small file without bound), tags, several documents. */
#include "server/node/conf/conf_internal.h"

#include <string.h>
#include <yaml.h>

struct builder {
    struct cairn_conf_doc *doc;
    const struct conf_origin *origin;
    const char *text;
    size_t len;
    struct conf_node *root;
    struct conf_node *open[CAIRN_CONF_DEPTH_MAX];
    uint32_t depth;
    struct conf_node *key; /* a map's key that waits for its value */
    bool failed, ended;
};

struct conf_node *cairn_conf__node_new(struct cairn_conf_doc *doc, enum conf_node_type type,
                                       const struct conf_origin *origin)
{
    struct conf_node *node = cairn_conf__alloc(doc, sizeof(*node));

    if (node != NULL) {
        node->type = type;
        node->origin = origin;
        doc->nnodes++;
    }
    return node;
}

void cairn_conf__node_add(struct conf_node *parent, struct conf_node *child)
{
    child->next = NULL;
    if (parent->last != NULL)
        parent->last->next = child;
    else
        parent->first = child;
    parent->last = child;
    parent->n++;
}

struct conf_node *cairn_conf__node_find(const struct conf_node *map, const char *key)
{
    if (map == NULL || map->type != CONF_MAP)
        return NULL;
    for (struct conf_node *c = map->first; c != NULL; c = c->next) {
        if (c->key != NULL && strcmp(c->key, key) == 0)
            return c;
    }
    return NULL;
}

bool cairn_conf__node_is_null(const struct conf_node *node)
{
    return node->type == CONF_SCALAR && node->plain &&
           (node->text[0] == '\0' || strcmp(node->text, "~") == 0 || strcmp(node->text, "null") == 0);
}

static void refuse(struct builder *b, yaml_mark_t mark, const char *fmt, const char *what)
{
    struct conf_node at = { .origin = b->origin, .line = (uint32_t)mark.line + 1, .col = (uint32_t)mark.column + 1 };

    cairn_conf__problem(b->doc, &at, false, fmt, what);
    b->failed = true;
}

/* libyaml says "found character that cannot start any token" about a tab. */
static bool is_tab_at(const struct builder *b, yaml_mark_t mark)
{
    const char *p = b->text, *end = b->text + b->len;

    for (size_t line = 0; line < mark.line && p < end; line++) {
        p = memchr(p, '\n', (size_t)(end - p));
        if (p == NULL)
            return false;
        p++;
    }
    return (size_t)(end - p) > mark.column && p[mark.column] == '\t';
}

static void refuse_syntax(struct builder *b, const yaml_parser_t *parser)
{
    yaml_mark_t mark = parser->problem_mark;
    char what[160];

    if (parser->error == YAML_MEMORY_ERROR) {
        b->doc->no_memory = true;
        b->failed = true;
        return;
    }
    if (parser->error == YAML_READER_ERROR) { /* not UTF-8: libyaml gives the byte, we find the line */
        for (size_t i = 0; i < parser->problem_offset && i < b->len; i++) {
            mark.column++;
            if (b->text[i] == '\n') {
                mark.line++;
                mark.column = 0;
            }
        }
    }
    if (is_tab_at(b, mark)) {
        refuse(b, mark, "%s", "not valid YAML: a tab; lines are indented by spaces");
        return;
    }
    snprintf(what, sizeof(what), "%s%s%s", parser->problem != NULL ? parser->problem : "unknown mistake",
             parser->context != NULL ? " " : "", parser->context != NULL ? parser->context : "");
    refuse(b, mark, "not valid YAML: %s", what);
}

static void place(struct builder *b, struct conf_node *node, yaml_mark_t mark)
{
    struct conf_node *parent = b->depth > 0 ? b->open[b->depth - 1] : NULL;

    node->line = (uint32_t)mark.line + 1;
    node->col = (uint32_t)mark.column + 1;
    if (parent == NULL) {
        b->root = node;
        return;
    }
    if (parent->type == CONF_MAP) {
        if (b->key == NULL) {
            if (node->type != CONF_SCALAR) {
                refuse(b, mark, "%s", "a key must be a word, not a list or a section");
                return;
            }
            if (parent->n == CAIRN_CONF_KEYS_MAX) {
                refuse(b, mark, "%s", "too many keys in one section");
                return;
            }
            b->key = node;
            return;
        }
        node->key = b->key->text;
        node->key_line = b->key->line;
        node->key_col = b->key->col;
        b->key = NULL;
    }
    cairn_conf__node_add(parent, node);
}

static struct conf_node *node_for(struct builder *b, enum conf_node_type type, const yaml_event_t *ev,
                                  const yaml_char_t *anchor, const yaml_char_t *tag)
{
    struct conf_node *node;

    if (anchor != NULL) {
        refuse(b, ev->start_mark, "%s", "anchors (&name) are not supported: write the value where it is needed");
        return NULL;
    }
    if (tag != NULL) {
        refuse(b, ev->start_mark, "%s", "tags (!name) are not supported: write the plain value");
        return NULL;
    }
    if (b->doc->nnodes >= CAIRN_CONF_VALUES_MAX) {
        refuse(b, ev->start_mark, "%s", "too many values");
        return NULL;
    }
    node = cairn_conf__node_new(b->doc, type, b->origin);
    if (node == NULL)
        b->failed = true;
    return node;
}

static void on_scalar(struct builder *b, const yaml_event_t *ev)
{
    const char *value = (const char *)ev->data.scalar.value;
    size_t len = ev->data.scalar.length;
    struct conf_node *node = node_for(b, CONF_SCALAR, ev, ev->data.scalar.anchor, ev->data.scalar.tag);

    if (node == NULL)
        return;
    if (len > CAIRN_CONF_STRING_BYTES_MAX) {
        refuse(b, ev->start_mark, "%s", "a text is longer than 4096 bytes");
        return;
    }
    if (memchr(value, '\0', len) != NULL) {
        refuse(b, ev->start_mark, "%s", "a text contains a zero byte");
        return;
    }
    node->plain = ev->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    node->text = cairn_conf__strndup(b->doc, value, len);
    if (node->text == NULL)
        b->failed = true;
    else
        place(b, node, ev->start_mark);
}

static void on_open(struct builder *b, enum conf_node_type type, const yaml_event_t *ev, const yaml_char_t *anchor,
                    const yaml_char_t *tag)
{
    struct conf_node *node = node_for(b, type, ev, anchor, tag);

    if (node == NULL)
        return;
    if (b->depth == CAIRN_CONF_DEPTH_MAX) {
        refuse(b, ev->start_mark, "%s", "sections and lists are nested more than 16 deep");
        return;
    }
    place(b, node, ev->start_mark);
    if (!b->failed)
        b->open[b->depth++] = node;
}

static void on_event(struct builder *b, const yaml_event_t *ev)
{
    switch (ev->type) {
    case YAML_DOCUMENT_START_EVENT:
        if (b->ended)
            refuse(b, ev->start_mark, "%s", "a second document (---): one file holds one configuration");
        break;
    case YAML_DOCUMENT_END_EVENT:
        b->ended = true;
        break;
    case YAML_ALIAS_EVENT:
        refuse(b, ev->start_mark, "%s", "aliases (*name) are not supported: write the value where it is needed");
        break;
    case YAML_SCALAR_EVENT:
        on_scalar(b, ev);
        break;
    case YAML_SEQUENCE_START_EVENT:
        on_open(b, CONF_SEQ, ev, ev->data.sequence_start.anchor, ev->data.sequence_start.tag);
        break;
    case YAML_MAPPING_START_EVENT:
        on_open(b, CONF_MAP, ev, ev->data.mapping_start.anchor, ev->data.mapping_start.tag);
        break;
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:
        b->depth--;
        break;
    default:
        break;
    }
}

struct conf_node *cairn_conf__parse(struct cairn_conf_doc *doc, const struct conf_origin *origin, const char *text,
                                    size_t len)
{
    struct builder b = { .doc = doc, .origin = origin, .text = text, .len = len };
    yaml_parser_t parser;
    bool end = false;

    if (yaml_parser_initialize(&parser) == 0) {
        doc->no_memory = true;
        return NULL;
    }
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, len);
    while (!end && !b.failed) { /* ends: each event takes bytes of the text, or is the last */
        yaml_event_t ev;

        if (yaml_parser_parse(&parser, &ev) == 0) {
            refuse_syntax(&b, &parser);
            break;
        }
        on_event(&b, &ev);
        end = ev.type == YAML_STREAM_END_EVENT;
        yaml_event_delete(&ev);
    }
    yaml_parser_delete(&parser);
    if (b.failed)
        return NULL;
    if (b.root == NULL) { /* only comments, or nothing at all */
        b.root = cairn_conf__node_new(doc, CONF_MAP, origin);
        if (b.root != NULL)
            b.root->line = b.root->col = 1;
    }
    return b.root;
}
