/* Out again: the effective configuration, the reference of all keys, and the check of a schema itself. */
#include "server/node/conf/conf_internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { PRINT_COMMENT_COLUMN = 44 };

/* ---- scalars ---- */

/* True if the text needs no quotes to come back as the same text. */
static bool is_plain_word(const char *s)
{
    static const char *const not_texts[] = { "true", "false", "yes", "no", "on", "off", "null", "y", "n" };

    if (s[0] != '/' && !(s[0] >= 'a' && s[0] <= 'z') && !(s[0] >= 'A' && s[0] <= 'Z'))
        return false;
    if (s[strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/_.-")] != '\0')
        return false;
    for (uint32_t i = 0; i < ARRAY_SIZE(not_texts); i++) {
        if (strcmp(s, not_texts[i]) == 0)
            return false;
    }
    return true;
}

/* What YAML takes for no character, or for the end of a line: the number of bytes at @s, 0 if it is none of these. */
static uint32_t unprintable(const char *s, uint32_t *point)
{
    static const struct {
        const char *bytes;
        uint32_t point;
    } others[] = { { "\xe2\x80\xa8", 0x2028 },
                   { "\xe2\x80\xa9", 0x2029 },
                   { "\xef\xbb\xbf", 0xfeff },
                   { "\xef\xbf\xbe", 0xfffe },
                   { "\xef\xbf\xbf", 0xffff } };
    const unsigned char *u = (const unsigned char *)s;

    *point = u[0];
    if (u[0] < ' ' || u[0] == 0x7f)
        return 1;
    *point = u[1];
    if (u[0] == 0xc2 && u[1] >= 0x80 && u[1] <= 0x9f) /* C1 */
        return 2;
    for (uint32_t i = 0; i < ARRAY_SIZE(others); i++) {
        *point = others[i].point;
        if (strncmp(s, others[i].bytes, 3) == 0)
            return 3;
    }
    return 0;
}

static int print_text(const char *s, FILE *to)
{
    int n = 2;

    if (is_plain_word(s))
        return fprintf(to, "%s", s);
    fputc('"', to);
    for (; *s != '\0'; s++) {
        uint32_t point, skip = unprintable(s, &point);

        if (skip > 0) {
            n += fprintf(to, point < 0x100 ? "\\x%02" PRIx32 : "\\u%04" PRIx32, point);
            s += skip - 1;
        } else {
            n += *s == '"' || *s == '\\' ? fprintf(to, "\\%c", *s) : fprintf(to, "%c", *s);
        }
    }
    fputc('"', to);
    return n;
}

static void print_comment(const struct conf_node *node, int column, FILE *to)
{
    fprintf(to, "%*s# ", MAX(PRINT_COMMENT_COLUMN - column, 1), "");
    if (node == NULL || (node->origin->type == CONF_FROM_DEFAULT))
        fprintf(to, "%s\n", node == NULL ? "default" : node->origin->name);
    else if (node->origin->type == CONF_FROM_FILE && node->line != 0)
        fprintf(to, "%s:%" PRIu32 "\n", node->origin->name, node->line);
    else
        fprintf(to, "%s\n", node->origin->name);
}

/* ---- the effective configuration ---- */

static void print_section(const struct cairn_conf *c, int indent, bool in_list, FILE *to);

/* "    name:", or "  - name:" for the first key of a list's entry. */
static int print_key(const char *name, int indent, bool dash, FILE *to)
{
    return dash ? fprintf(to, "%*s- %s:", indent - 2, "", name) : fprintf(to, "%*s%s:", indent, "", name);
}

static void print_list(const struct conf_value *v, int indent, bool dash, FILE *to)
{
    const struct cairn_conf_key *key = v->key;
    int column = print_key(key->name, indent, dash, to);

    if (v->n == 0) {
        column += fprintf(to, " []");
        print_comment(v->node, column, to);
        return;
    }
    fputc('\n', to);
    for (uint32_t i = 0; i < v->n; i++) {
        if (key->sub != NULL) {
            print_section(v->sections[i], indent + 4, true, to);
        } else {
            column = fprintf(to, "%*s- ", indent + 2, "");
            column += print_text(v->strings[i], to);
            print_comment(v->items[i], column, to);
        }
    }
}

static void print_scalar(const struct conf_value *v, int indent, bool dash, FILE *to)
{
    const struct cairn_conf_key *key = v->key;
    int column = print_key(key->name, indent, dash, to) + 1;
    char number[64];

    fputc(' ', to);
    if (key->type == CAIRN_CONF_STRING || key->type == CAIRN_CONF_CHOICE) {
        column += print_text(v->str, to);
    } else {
        cairn_conf__format(key, v->u64, number, sizeof(number));
        column += fprintf(to, "%s", number);
    }
    print_comment(v->node, column, to);
}

static void print_section(const struct cairn_conf *c, int indent, bool in_list, FILE *to)
{
    for (uint32_t i = 0; i < c->n; i++) {
        const struct conf_value *v = &c->values[i];
        bool dash = in_list && i == 0;

        if (v->key->type == CAIRN_CONF_SECTION) {
            print_key(v->key->name, indent, dash, to);
            fputc('\n', to);
            print_section(v->sections[0], indent + 2, false, to);
        } else if (v->key->type == CAIRN_CONF_LIST) {
            print_list(v, indent, dash, to);
        } else {
            print_scalar(v, indent, dash, to);
        }
    }
}

void cairn_conf_print(const struct cairn_conf_doc *doc, FILE *to)
{
    CAIRN_ASSERT(doc->root != NULL);
    print_section(doc->root, 0, false, to);
}

/* ---- the reference ---- */

static void reference_help(const struct cairn_conf_key *key, int indent, FILE *to)
{
    char what[256];

    cairn_conf__describe(key, what, sizeof(what));
    fprintf(to, "%*s# %s%s%s", indent, "", key->help != NULL ? key->help : "", key->help != NULL ? ": " : "", what);
    fprintf(to, "%s\n",
            key->fallback == NULL && key->type != CAIRN_CONF_LIST && key->type != CAIRN_CONF_SECTION ? "; required"
                                                                                                     : "");
}

static void reference_keys(const struct cairn_conf_key *keys, int indent, FILE *to);

static void reference_key(const struct cairn_conf_key *key, int indent, FILE *to)
{
    if (key->type == CAIRN_CONF_SECTION) {
        fprintf(to, "\n%*s# %s\n%*s%s:\n", indent, "", key->help != NULL ? key->help : key->name, indent, "",
                key->name);
        reference_keys(key->sub, indent + 2, to);
        return;
    }
    reference_help(key, indent, to);
    if (key->type == CAIRN_CONF_LIST) {
        fprintf(to, "%*s%s: %s\n", indent, "", key->name, key->fallback != NULL ? key->fallback : "[]");
    } else if (key->fallback == NULL) {
        fprintf(to, "%*s# %s:\n", indent, "", key->name);
    } else {
        fprintf(to, "%*s%s: ", indent, "", key->name);
        if (key->type == CAIRN_CONF_STRING || key->type == CAIRN_CONF_CHOICE)
            print_text(key->fallback, to);
        else
            fprintf(to, "%s", key->fallback);
        fputc('\n', to);
    }
}

static void reference_keys(const struct cairn_conf_key *keys, int indent, FILE *to)
{
    for (; keys != NULL && keys->name != NULL; keys++)
        reference_key(keys, indent, to);
}

void cairn_conf_reference(const struct cairn_conf_schema *schema, FILE *to)
{
    reference_keys(schema->keys, 0, to);
    for (const struct cairn_conf_variant *v = schema->variants; v != NULL && v->name != NULL; v++) {
        char *text = NULL;
        size_t len = 0;
        FILE *mem = open_memstream(&text, &len);

        if (mem == NULL)
            return;
        reference_keys(v->keys, 4, mem);
        fclose(mem);
        fprintf(to, "\n# An entry of `%s` with `type: %s` also takes:\n", schema->variant_list, v->name);
        for (char *line = text, *next; line != NULL && *line != '\0';
             line = next) { /* a comment: which entry is the user's */
            next = strchr(line, '\n');
            if (next != NULL)
                *next++ = '\0';
            fprintf(to, "#%s%s\n", line[0] != '\0' ? " " : "", line);
        }
        free(text);
    }
}

static void markdown_keys(const struct cairn_conf_key *keys, const char *prefix, FILE *to)
{
    for (; keys != NULL && keys->name != NULL; keys++) {
        char path[256], what[256];

        snprintf(path, sizeof(path), "%s%s", prefix, keys->name);
        if (keys->type == CAIRN_CONF_SECTION) {
            strncat(path, ".", sizeof(path) - strlen(path) - 1);
            markdown_keys(keys->sub, path, to);
            continue;
        }
        cairn_conf__describe(keys, what, sizeof(what));
        fprintf(to, "- `%s`: %s. %c%s", path, keys->help != NULL ? keys->help : "",
                what[0] >= 'a' ? what[0] - 32 : what[0], what + 1);
        if (keys->fallback != NULL && keys->fallback[0] != '\0')
            fprintf(to, "; default `%s`.\n", keys->fallback);
        else
            fprintf(to, "%s\n", keys->fallback == NULL && keys->type != CAIRN_CONF_LIST ? "; required." : ".");
        if (keys->type == CAIRN_CONF_LIST && keys->sub != NULL) {
            strncat(path, "[].", sizeof(path) - strlen(path) - 1);
            markdown_keys(keys->sub, path, to);
        }
    }
}

void cairn_conf_reference_markdown(const struct cairn_conf_schema *schema, FILE *to)
{
    markdown_keys(schema->keys, "", to);
    for (const struct cairn_conf_variant *v = schema->variants; v != NULL && v->name != NULL; v++) {
        fprintf(to, "\nEntries of `%s` with `type: %s`:\n\n", schema->variant_list, v->name);
        markdown_keys(v->keys, "", to);
    }
}

/* ---- the schema itself ---- */

static int check_keys(const struct cairn_conf_key *keys, const struct cairn_conf_key *also, const char *in,
                      struct cairn_err *err);

static int check_key(const struct cairn_conf_key *key, const char *in, struct cairn_err *err)
{
    char reason[CONF_REASON_MAX];
    uint64_t u64;

    if (key->name[0] == '\0' || key->name[strspn(key->name, "abcdefghijklmnopqrstuvwxyz0123456789_")] != '\0')
        return cairn_err_set(err, CAIRN_E_INTERNAL, "%s: key '%s': names are made of a-z, 0-9 and _", in, key->name);
    if (key->help == NULL || key->help[0] == '\0')
        return cairn_err_set(err, CAIRN_E_INTERNAL, "%s: key '%s' has no help", in, key->name);
    if (key->max != 0 && key->min > key->max)
        return cairn_err_set(err, CAIRN_E_INTERNAL, "%s: key '%s': min exceeds max", in, key->name);
    if (key->type == CAIRN_CONF_CHOICE && (key->choices == NULL || key->choices[0] == NULL))
        return cairn_err_set(err, CAIRN_E_INTERNAL, "%s: key '%s' has no choices", in, key->name);
    if (key->type == CAIRN_CONF_SECTION && key->sub == NULL)
        return cairn_err_set(err, CAIRN_E_INTERNAL, "%s: key '%s' has no `sub`", in, key->name);
    if (key->sub != NULL)
        return check_keys(key->sub, NULL, key->name, err);
    if (key->type != CAIRN_CONF_LIST && key->fallback != NULL &&
        !cairn_conf__parse_scalar(key, key->fallback, true, &u64, reason))
        return cairn_err_set(err, CAIRN_E_INTERNAL, "%s: default of '%s' %s", in, key->name, reason);
    return 0;
}

static int check_keys(const struct cairn_conf_key *keys, const struct cairn_conf_key *also, const char *in,
                      struct cairn_err *err)
{
    for (const struct cairn_conf_key *k = keys; k != NULL && k->name != NULL; k++) {
        int rc = check_key(k, in, err);

        if (rc != 0)
            return rc;
        for (const struct cairn_conf_key *o = keys; o != k; o++) {
            if (strcmp(o->name, k->name) == 0)
                return cairn_err_set(err, CAIRN_E_INTERNAL, "%s: two keys are called '%s'", in, k->name);
        }
        for (const struct cairn_conf_key *o = also; o != NULL && o->name != NULL; o++) {
            if (strcmp(o->name, k->name) == 0)
                return cairn_err_set(err, CAIRN_E_INTERNAL, "%s: key '%s' is every entry's own", in, k->name);
        }
    }
    return 0;
}

int cairn_conf_schema_check(const struct cairn_conf_schema *schema, struct cairn_err *err)
{
    const struct cairn_conf_key *list = schema->keys;
    int rc = check_keys(schema->keys, NULL, "configuration", err);

    while (schema->variant_list != NULL && list->name != NULL && strcmp(list->name, schema->variant_list) != 0)
        list++;
    for (const struct cairn_conf_variant *v = schema->variants; rc == 0 && v != NULL && v->name != NULL; v++)
        rc = check_keys(v->keys, schema->variant_list != NULL ? list->sub : NULL, v->name, err);
    return rc;
}
