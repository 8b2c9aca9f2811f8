/** What a command prints: tables for people, JSON for programs, from the same rows. */
#ifndef CAIRN_TOOLS_OUT_H
#define CAIRN_TOOLS_OUT_H

#include "tools/cairn/cli.h"

#include <jansson.h>

enum cli_cell_type {
    CLI_CELL_TEXT,     /* text; NULL: "-" and null */
    CLI_CELL_NUMBER,   /* number: 1,234 */
    CLI_CELL_PLAIN,    /* number without commas: ids */
    CLI_CELL_BYTES,    /* number, for people with a unit */
    CLI_CELL_ROOM,     /* of bytes; 0, which is unsaid: "-", and 0 for programs */
    CLI_CELL_DURATION, /* number of nanoseconds, likewise */
    CLI_CELL_REAL,     /* real */
    CLI_CELL_BOOL,     /* number: yes, no */
    CLI_CELL_USER,     /* number; for people the user's name, if this machine knows one */
    CLI_CELL_GROUP,    /* likewise */
    CLI_CELL_WORDS,    /* a text like CLI_CELL_TEXT whose lines may be broken; the last column */
    CLI_CELL_FIGURE,   /* a text like CLI_CELL_TEXT, put where numbers are */
};

struct cli_col {
    const char *title; /* "SIZE"; NULL: in JSON alone */
    const char *field; /* its name in JSON; with the unit: "latency_ns" */
    enum cli_cell_type type;
};

struct cli_cell {
    const char *text;
    uint64_t number;
    double real;
};
#define CLI_TEXT(s) ((struct cli_cell){ .text = (s) })
#define CLI_NUM(n)  ((struct cli_cell){ .number = (n) })
#define CLI_REAL(x) ((struct cli_cell){ .real = (x) })

/** A table being filled: rows are kept until cli_table_end(), which prints them, aligned, or as
 * {"version":1,"<name>":[{...},...]}, and frees it. NULL is a table that could not be made; all accept it. */
struct cli_table;
struct cli_table *cli_table_new(struct cli *cli, const char *name, const struct cli_col *cols, uint32_t ncols);
void cli_table_row(struct cli_table *t, const struct cli_cell *cells);
/** A column that people can do without: left out where a terminal is too narrow for all, in the order of these calls. */
void cli_table_spare(struct cli_table *t, const char *field);
/** More fields beside the rows of the JSON form; takes @value. */
void cli_table_extra(struct cli_table *t, const char *field, json_t *value);
int cli_table_end(struct cli_table *t);

/** Prints @o as a document, "version" first; takes @o. Returns an exit code. */
int cli_json(struct cli *cli, json_t *o);
/** A field that is no text for JSON (it may hold any bytes): `name` if it is UTF-8, else `name_hex`. */
void cli_json_bytes(json_t *o, const char *name, const void *bytes, size_t len);

/** A text from the command line or the system; what is no UTF-8 in it is shown as cli_put_printable() does. */
json_t *cli_json_text(const char *text);

/** A document with one long array, written as it comes: {"version":1,"<name>":[ITEM,...],"field":...}. */
struct cli_stream {
    struct cli *cli;
    bool any;
};
void cli_stream_begin(struct cli_stream *s, struct cli *cli, const char *name);
void cli_stream_item(struct cli_stream *s, json_t *item); /* takes @item */
void cli_stream_end(struct cli_stream *s, const char *field, json_t *value);

/** Text of a server as a document: parsed, or an error. *@doc is the caller's. */
int cli_parse_document(struct cli *cli, const char *text, json_t **doc);

/** Shows a document to people: fields a line each, arrays of objects as tables. Fields that end in _bytes, _ns, _ms and
 * _s get units; "health" gets a colour. */
int cli_render(struct cli *cli, const json_t *doc);

/** Colours of words that say how things are; plain where there is no terminal. */
enum cli_color { CLI_PLAIN, CLI_GOOD, CLI_BAD, CLI_WARN, CLI_BOLD, CLI_DIM };
const char *cli_color(const struct cli *cli, enum cli_color color);

/** What stands under a key of a document: "" and 0 where it is not there. Borrowed. */
static inline const char *cli_text_of(const json_t *o, const char *key)
{
    const char *text = json_string_value(json_object_get(o, key));
    return text != NULL ? text : "";
}

static inline json_int_t cli_number_of(const json_t *o, const char *key)
{
    return json_integer_value(json_object_get(o, key));
}

#endif
