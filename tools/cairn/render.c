/** A server's JSON document for people: nothing here knows what a field means beyond the unit that its name ends in. */
#include "tools/cairn/out.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { COLUMNS_MAX = 16, DEPTH_MAX = 4, TEXT_MAX = 512 };

static bool ends_in(const char *name, const char *suffix)
{
    size_t n = strlen(name), m = strlen(suffix);
    return n >= m && strcmp(name + n - m, suffix) == 0;
}

static bool is_duration(const char *name)
{
    return ends_in(name, "_ns") || ends_in(name, "_us") || ends_in(name, "_ms") || ends_in(name, "_s");
}

/* How much of a name to show: the unit is with the value. */
static int bare_length(const char *name)
{
    static const char *const units[] = { "_bytes", "_ns", "_us", "_ms", "_s" };
    for (uint32_t i = 0; i < ARRAY_SIZE(units); i++) {
        if (ends_in(name, units[i]))
            return (int)(strlen(name) - strlen(units[i]));
    }
    return (int)strlen(name);
}

static uint64_t positive(const json_t *v)
{
    json_int_t n = json_integer_value(v);
    return n > 0 ? (uint64_t)n : 0;
}

static bool is_empty(const json_t *v)
{
    return (json_is_string(v) && json_string_value(v)[0] == '\0') || (json_is_array(v) && json_array_size(v) == 0);
}

/* A value in a line of text. Objects and arrays inside a cell become "a=1 b=2". */
static void format(const char *name, const json_t *v, char *buf, size_t room, int depth)
{
    char unit[CLI_UNIT_BYTES + 8];
    buf[0] = '\0';
    if (json_is_string(v)) {
        snprintf(buf, room, "%s", json_string_value(v));
    } else if (json_is_boolean(v)) {
        snprintf(buf, room, "%s", json_is_true(v) ? "yes" : "no");
    } else if (json_is_real(v)) {
        snprintf(buf, room, "%.6g", json_real_value(v));
    } else if (is_duration(name) && json_is_integer(v) && json_integer_value(v) == 0) {
        snprintf(buf, room, "0 s");
    } else if (json_is_integer(v) && json_integer_value(v) >= 0) {
        const char *text = ends_in(name, "bytes") ? cli_size(unit, positive(v))
                           : ends_in(name, "_ns") ? cli_duration(unit, positive(v))
                           : ends_in(name, "_us") ? cli_duration(unit, positive(v) * 1000)
                           : ends_in(name, "_ms") ? cli_duration(unit, positive(v) * CAIRN_NS_PER_MS)
                           : ends_in(name, "_s")  ? cli_duration(unit, positive(v) * CAIRN_NS_PER_S)
                           : ends_in(name, "pid") || ends_in(name, "id") || ends_in(name, "port")
                               ? (snprintf(unit, sizeof(unit), "%" PRIu64, positive(v)), unit)
                               : cli_count(unit, positive(v));
        snprintf(buf, room, "%s", text);
    } else if (json_is_integer(v)) {
        snprintf(buf, room, "%" JSON_INTEGER_FORMAT, json_integer_value(v));
    } else if (json_is_array(v) && depth < DEPTH_MAX) {
        size_t at = 0;
        for (size_t i = 0; i < json_array_size(v) && at + 2 < room; i++) {
            if (i > 0)
                buf[at++] = ' ';
            format(name, json_array_get(v, i), buf + at, room - at, depth + 1);
            at += strlen(buf + at);
        }
    } else if (json_is_object(v) && depth < DEPTH_MAX) {
        const char *key;
        json_t *item;
        size_t at = 0;
        json_object_foreach((json_t *)v, key, item)
        {
            if (is_empty(item))
                continue;
            int n = snprintf(buf + at, room - at, "%s%.*s=", at > 0 ? " " : "", bare_length(key), key);
            if (n < 0 || at + (size_t)n + 1 >= room)
                break;
            at += (size_t)n;
            format(key, item, buf + at, room - at, depth + 1);
            at += strlen(buf + at);
        }
    } else {
        snprintf(buf, room, "-");
    }
}

/* "uptime_ms" -> "uptime", "data_dir" -> "data dir". */
static void title(const char *name, char buf[64], bool upper)
{
    snprintf(buf, 64, "%.*s", bare_length(name), name);
    for (char *c = buf; *c != '\0'; c++) {
        if (*c == '_')
            *c = upper ? '-' : ' ';
        else if (upper && *c >= 'a' && *c <= 'z')
            *c = (char)(*c - 'a' + 'A');
    }
}

static bool is_table(const json_t *v)
{
    return json_is_array(v) && json_array_size(v) > 0 && json_is_object(json_array_get(v, 0));
}

/* All numbers: the column is aligned like one. Ids are names. */
static bool is_figure(const json_t *rows, const char *name)
{
    bool any = false;
    for (size_t i = 0; i < json_array_size(rows); i++) {
        const json_t *v = json_object_get(json_array_get(rows, i), name);
        if (v != NULL && !json_is_number(v))
            return false;
        any |= v != NULL;
    }
    return any && !ends_in(name, "id");
}

static int render_table(struct cli *cli, const json_t *rows)
{
    const char *names[COLUMNS_MAX];
    char titles[COLUMNS_MAX][64]; /* the table copies them */
    struct cli_col cols[COLUMNS_MAX];
    uint32_t n = 0;
    for (size_t i = 0; i < json_array_size(rows); i++) {
        const char *key;
        json_t *item;
        json_object_foreach(json_array_get(rows, i), key, item)
        {
            uint32_t k = 0;
            while (k < n && strcmp(names[k], key) != 0)
                k++;
            if (k == n && n < COLUMNS_MAX)
                names[n++] = key;
        }
    }
    for (uint32_t k = 0; k < n; k++) {
        title(names[k], titles[k], true);
        cols[k] = (struct cli_col){ titles[k], names[k],
                                    is_figure(rows, names[k]) ? CLI_CELL_FIGURE
                                    : k == n - 1              ? CLI_CELL_WORDS
                                                              : CLI_CELL_TEXT };
    }
    struct cli_table *t = cli_table_new(cli, "rows", cols, n);
    char(*texts)[TEXT_MAX] = calloc(n, TEXT_MAX);
    for (size_t i = 0; texts != NULL && i < json_array_size(rows); i++) {
        struct cli_cell cells[COLUMNS_MAX];
        for (uint32_t k = 0; k < n; k++) {
            const json_t *v = json_object_get(json_array_get(rows, i), names[k]);
            if (v != NULL)
                format(names[k], v, texts[k], TEXT_MAX, 0);
            else
                texts[k][0] = '\0';
            cells[k] = CLI_TEXT(texts[k]);
        }
        cli_table_row(t, cells);
    }
    free(texts);
    return cli_table_end(t);
}

static int render(struct cli *cli, const json_t *doc, int depth)
{
    const char *key;
    json_t *v;
    char name[64], text[TEXT_MAX];
    int width = 0, rc = CLI_OK;
    bool above = depth > 0; /* nothing, or something that a table keeps its distance from */
    json_object_foreach((json_t *)doc, key, v)
    {
        title(key, name, false);
        width = MAX(width, (int)strlen(name));
    }
    json_object_foreach((json_t *)doc, key, v)
    {
        bool nested = json_is_object(v) && depth < DEPTH_MAX;
        if (is_table(v) || nested || (depth == 0 && strcmp(key, "version") == 0))
            continue;
        if (json_is_array(v) && json_array_size(v) == 0)
            continue;
        title(key, name, false);
        format(key, v, text, sizeof(text), 0);
        const char *on = "", *off = "";
        if (strcmp(key, "health") == 0) {
            on = cli_color(cli, strcmp(text, "ok") == 0 ? CLI_GOOD : CLI_BAD);
            off = cli_color(cli, CLI_PLAIN);
        }
        above = true;
        fprintf(cli->out, "%*s", 2 * depth, "");
        cli_put_text(cli->out, name);
        fprintf(cli->out, "%*s  %s", width - (int)strlen(name), "", on);
        cli_put_text(cli->out, text);
        fprintf(cli->out, "%s\n", off);
    }
    json_object_foreach((json_t *)doc, key, v)
    {
        bool nested = json_is_object(v) && depth < DEPTH_MAX && json_object_size(v) > 0;
        if (!is_table(v) && !nested)
            continue;
        title(key, name, false);
        fprintf(cli->out, "%s%*s%s", depth == 0 && above ? "\n" : "", 2 * depth, "", cli_color(cli, CLI_BOLD));
        cli_put_text(cli->out, name);
        fprintf(cli->out, "%s\n", cli_color(cli, CLI_PLAIN));
        above = true;
        int shown = nested ? render(cli, v, depth + 1) : render_table(cli, v);
        rc = shown != CLI_OK ? shown : rc;
    }
    return rc;
}

int cli_render(struct cli *cli, const json_t *doc)
{
    return render(cli, doc, 0);
}
