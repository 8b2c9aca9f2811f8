/** Tables and JSON documents. */
#include "tools/cairn/out.h"

#include "tools/cairn/commands.h"

#include <grp.h>
#include <inttypes.h>
#include <libsmartcols.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>

enum { COLS_MAX = 16 };

struct cli_table {
    struct cli *cli;
    const char *name;
    const struct cli_col *cols;
    uint32_t ncols, nspare;
    uint32_t spare[COLS_MAX];    /* columns, the first to be left out first */
    struct libscols_table *text; /* one of these is set */
    json_t *rows;
    json_t *doc;
};

static bool is_right_aligned(enum cli_cell_type type)
{
    return type != CLI_CELL_TEXT && type != CLI_CELL_WORDS && type != CLI_CELL_BOOL && type != CLI_CELL_USER &&
           type != CLI_CELL_GROUP;
}

struct cli_table *cli_table_new(struct cli *cli, const char *name, const struct cli_col *cols, uint32_t ncols)
{
    CAIRN_ASSERT(ncols <= COLS_MAX);
    struct cli_table *t = calloc(1, sizeof(*t));
    if (t == NULL)
        return NULL;
    *t = (struct cli_table){ .cli = cli, .name = name, .cols = cols, .ncols = ncols };
    if (cli->g.json) {
        t->doc = json_object();
        t->rows = json_array();
        return t;
    }
    t->text = scols_new_table();
    if (t->text == NULL) {
        free(t);
        return NULL;
    }
    scols_table_set_stream(t->text, cli->out);
    /* Lines too long for the terminal are its to wrap: the library would cut them, and nobody would see that it did. */
    scols_table_set_termforce(t->text, SCOLS_TERMFORCE_NEVER);
    scols_table_set_column_separator(t->text, "  ");
    scols_table_enable_noencoding(t->text, 1); /* what it gets is printable: here, and in cli_table_row() */
    for (uint32_t i = 0; i < ncols; i++) {
        char *title = cli_printable(cols[i].title != NULL ? cols[i].title : "");
        struct libscols_column *col =
            scols_table_new_column(t->text, title != NULL ? title : "?", 0, SCOLS_FL_NOEXTREMES);
        free(title);
        if (col != NULL && cols[i].title == NULL)
            scols_column_set_flags(col, SCOLS_FL_HIDDEN);
        else if (col != NULL && is_right_aligned(cols[i].type))
            scols_column_set_flags(col, SCOLS_FL_RIGHT);
        if (col != NULL && cols[i].type == CLI_CELL_WORDS) {
            scols_column_set_flags(col, SCOLS_FL_WRAP | SCOLS_FL_NOEXTREMES);
            scols_column_set_wrapfunc(col, scols_wrapnl_chunksize, scols_wrapnl_nextchunk, NULL);
        }
    }
    return t;
}

static json_t *cell_json(const struct cli_col *col, const struct cli_cell *cell)
{
    switch (col->type) {
    case CLI_CELL_TEXT:
    case CLI_CELL_WORDS:
    case CLI_CELL_FIGURE:
        return cell->text != NULL ? cli_json_text(cell->text) : json_null();
    case CLI_CELL_BOOL:
        return json_boolean(cell->number != 0);
    case CLI_CELL_REAL:
        return json_real(cell->real);
    default:
        return json_integer((json_int_t)cell->number);
    }
}

static const char *name_or_number(const char *name, uint64_t number, char buf[64])
{
    if (name != NULL)
        snprintf(buf, 64, "%s", name);
    else
        snprintf(buf, 64, "%" PRIu64, number);
    return buf;
}

/* A cell for people; in @buf, or a text that outlives the call. */
static const char *cell_text(const struct cli_col *col, const struct cli_cell *cell, char buf[64])
{
    const struct passwd *user;
    const struct group *group;
    switch (col->type) {
    case CLI_CELL_TEXT:
    case CLI_CELL_WORDS:
    case CLI_CELL_FIGURE:
        return cell->text != NULL && cell->text[0] != '\0' ? cell->text : "-";
    case CLI_CELL_NUMBER:
        return cli_count(buf, cell->number);
    case CLI_CELL_PLAIN:
        snprintf(buf, 64, "%" PRIu64, cell->number);
        return buf;
    case CLI_CELL_ROOM:
        if (cell->number == 0)
            return "-";
        return cli_size(buf, cell->number);
    case CLI_CELL_BYTES:
        return cli_size(buf, cell->number);
    case CLI_CELL_DURATION:
        return cli_duration(buf, cell->number);
    case CLI_CELL_REAL:
        snprintf(buf, 64, "%.2f", cell->real);
        return buf;
    case CLI_CELL_BOOL:
        return cell->number != 0 ? "yes" : "no";
    case CLI_CELL_USER:
        user = getpwuid((uid_t)cell->number);
        return name_or_number(user != NULL ? user->pw_name : NULL, cell->number, buf);
    case CLI_CELL_GROUP:
        group = getgrgid((gid_t)cell->number);
        return name_or_number(group != NULL ? group->gr_name : NULL, cell->number, buf);
    }
    return "";
}

void cli_table_row(struct cli_table *t, const struct cli_cell *cells)
{
    if (t == NULL)
        return;
    if (t->rows != NULL) {
        json_t *row = json_object();
        for (uint32_t i = 0; i < t->ncols; i++)
            json_object_set_new(row, t->cols[i].field, cell_json(&t->cols[i], &cells[i]));
        json_array_append_new(t->rows, row);
        return;
    }
    struct libscols_line *line = scols_table_new_line(t->text, NULL);
    for (uint32_t i = 0; line != NULL && i < t->ncols; i++) {
        char buf[64];
        char *clean = cli_printable(cell_text(&t->cols[i], &cells[i], buf));
        scols_line_set_data(line, i, clean != NULL ? clean : "?");
        free(clean);
    }
}

/* Of a column with the two blanks before it; 0: it is not shown. */
static size_t width_of(const struct cli_table *t, size_t k)
{
    struct libscols_column *col = scols_table_get_column(t->text, k);
    if (scols_column_is_hidden(col))
        return 0;
    size_t widest = strlen(t->cols[k].title);
    for (size_t i = 0; i < scols_table_get_nlines(t->text); i++) {
        const char *s = scols_line_get_column_data(scols_table_get_line(t->text, i), col);
        widest = MAX(widest, s != NULL ? strlen(s) : 0);
    }
    return widest + 2;
}

void cli_table_spare(struct cli_table *t, const char *field)
{
    for (uint32_t i = 0; t != NULL && i < t->ncols; i++) {
        if (strcmp(t->cols[i].field, field) == 0)
            t->spare[t->nspare++] = i;
    }
}

/* Leaves columns out until the rest fits, or there is none to spare. */
static void fit_columns(struct cli_table *t)
{
    size_t all = 0;
    for (uint32_t k = 0; k < t->ncols; k++)
        all += width_of(t, k);
    for (uint32_t i = 0; t->cli->width > 0 && i < t->nspare && all > t->cli->width + 2; i++) {
        all -= width_of(t, t->spare[i]);
        scols_column_set_flags(scols_table_get_column(t->text, t->spare[i]), SCOLS_FL_HIDDEN);
    }
}

/* Breaks the words of the last column into lines that fit beside the others. */
static void fit_words(struct cli_table *t)
{
    enum { COLUMN_MIN = 10 }; /* most words are no longer */
    size_t before = 0, last = t->ncols - 1;
    if (t->cli->width == 0 || t->cols[last].type != CLI_CELL_WORDS)
        return;
    for (size_t k = 0; k < last; k++)
        before += width_of(t, k);
    size_t room = t->cli->width > before + COLUMN_MIN ? t->cli->width - before : COLUMN_MIN;
    for (size_t i = 0; i < scols_table_get_nlines(t->text); i++) {
        const char *s =
            scols_line_get_column_data(scols_table_get_line(t->text, i), scols_table_get_column(t->text, last));
        char *text = s != NULL ? strdup(s) : NULL, *begin = text, *space = NULL;
        for (char *c = text; c != NULL && *c != '\0'; c++) {
            if (*c == ' ')
                space = c;
            if ((size_t)(c - begin) >= room && space != NULL && space > begin) {
                *space = '\n';
                begin = space + 1;
            }
        }
        if (text != NULL)
            scols_line_set_data(scols_table_get_line(t->text, i), last, text);
        free(text);
    }
}

void cli_table_extra(struct cli_table *t, const char *field, json_t *value)
{
    if (t != NULL && t->doc != NULL)
        json_object_set_new(t->doc, field, value);
    else
        json_decref(value);
}

int cli_table_end(struct cli_table *t)
{
    if (t == NULL)
        return CLI_FAILED;
    int rc = CLI_OK;
    if (t->doc != NULL) {
        json_object_set_new(t->doc, t->name, t->rows);
        rc = cli_json(t->cli, t->doc);
    } else {
        fit_columns(t);
        fit_words(t);
        if (scols_table_get_nlines(t->text) > 0 && scols_print_table(t->text) != 0)
            rc = CLI_FAILED;
        scols_unref_table(t->text);
    }
    free(t);
    return rc;
}

int cli_record(struct cli *cli, const struct cli_col *cols, const struct cli_cell *cells, uint32_t n)
{
    if (cli->g.json) {
        json_t *o = json_object();
        for (uint32_t i = 0; i < n; i++)
            json_object_set_new(o, cols[i].field, cell_json(&cols[i], &cells[i]));
        return cli_json(cli, o);
    }
    for (uint32_t i = 0; i < n; i++) {
        char buf[64];
        fprintf(cli->out, "%-14s ", cols[i].title);
        cli_put_line(cli->out, cell_text(&cols[i], &cells[i], buf));
    }
    return CLI_OK;
}

int cli_removed(struct cli *cli, json_int_t n, int status)
{
    int printed = cli->g.json ? cli_json(cli, json_pack("{s:I}", "removed", n)) : CLI_OK;
    return status != CLI_OK ? status : printed;
}

int cli_json(struct cli *cli, json_t *o)
{
    json_t *doc = json_object();
    json_object_set_new(doc, "version", json_integer(CLI_JSON_VERSION));
    json_object_update_missing(doc, o);
    int rc = json_dumpf(doc, cli->out, JSON_INDENT(2)) == 0 && putc('\n', cli->out) != EOF ? CLI_OK : CLI_FAILED;
    json_decref(doc);
    json_decref(o);
    return rc;
}

void cli_json_bytes(json_t *o, const char *name, const void *bytes, size_t len)
{
    json_t *text = json_stringn(bytes, len); /* NULL if it is no UTF-8 */
    if (text != NULL) {
        json_object_set_new(o, name, text);
        return;
    }
    char *hex = malloc(2 * len + 1);
    char field[64];
    if (hex == NULL)
        return;
    for (size_t i = 0; i < len; i++)
        snprintf(hex + 2 * i, 3, "%02x", ((const unsigned char *)bytes)[i]);
    snprintf(field, sizeof(field), "%s_hex", name);
    json_object_set_new(o, field, json_string(hex));
    free(hex);
}

void cli_stream_begin(struct cli_stream *s, struct cli *cli, const char *name)
{
    *s = (struct cli_stream){ .cli = cli };
    fprintf(cli->out, "{\"version\": %d, \"%s\": [", CLI_JSON_VERSION, name);
}

void cli_stream_item(struct cli_stream *s, json_t *item)
{
    fputs(s->any ? ",\n  " : "\n  ", s->cli->out);
    json_dumpf(item, s->cli->out, JSON_COMPACT);
    json_decref(item);
    s->any = true;
}

void cli_stream_end(struct cli_stream *s, const char *field, json_t *value)
{
    fputs("\n]", s->cli->out);
    if (field != NULL) {
        fprintf(s->cli->out, ", \"%s\": ", field);
        json_dumpf(value, s->cli->out, JSON_COMPACT | JSON_ENCODE_ANY);
        json_decref(value);
    }
    fputs("}\n", s->cli->out);
}

int cli_parse_document(struct cli *cli, const char *text, json_t **doc)
{
    json_error_t e;
    *doc = json_loads(text, 0, &e);
    if (*doc != NULL && json_is_object(*doc))
        return CLI_OK;
    json_decref(*doc);
    *doc = NULL;
    return cli_fail(cli, CAIRN_E_PROTO, e.text, "the node's answer is no JSON document");
}

const char *cli_color(const struct cli *cli, enum cli_color color)
{
    static const char *const codes[] = {
        [CLI_PLAIN] = "\033[0m", [CLI_GOOD] = "\033[32m", [CLI_BAD] = "\033[31m",
        [CLI_WARN] = "\033[33m", [CLI_BOLD] = "\033[1m",  [CLI_DIM] = "\033[2m",
    };
    return cli->color ? codes[color] : "";
}
