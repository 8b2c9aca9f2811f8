/** The frame of the program `cairn`: what a command looks like, and what it is given.
 *
 * A command is a row: name, operands, options, examples and a function. Everything that people see of it (`--help`, the
 * man page, completion, the message for a mistake) is made from that row, so none of them can be forgotten or be wrong
 * alone. Options are parsed into a structure of the command's own; a command returns an exit code. Data goes to
 * cli->out, and everything else to cli->err. */
#ifndef CAIRN_TOOLS_CLI_H
#define CAIRN_TOOLS_CLI_H

#include "cairn/error.h"
#include "sdk/core/base/macros.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/** What the program ends with; part of its interface. */
enum cli_exit {
    CLI_OK = 0,
    CLI_FAILED = 1,
    CLI_USAGE = 2,
    CLI_UNREACHABLE = 3,
    CLI_DENIED = 4,
    CLI_DEGRADED = 5,
    CLI_TIMEOUT = 6,
};

/** The version of every JSON document that the program prints: raised when a field changes its meaning or goes away. */
enum { CLI_JSON_VERSION = 1 };

enum cli_type {
    CLI_FLAG,   /* bool */
    CLI_STRING, /* const char * */
    CLI_CHOICE, /* const char *, one of the words of cli_opt.arg: "unix|tcp" */
    CLI_NUMBER, /* uint64_t */
    CLI_SIZE,   /* uint64_t, bytes: 64KiB, 1.5 GiB, 4096 */
    CLI_TIME,   /* uint64_t, milliseconds: 500ms, 2s, 1h */
};

struct cli_opt {
    const char *name; /* without the dashes; NULL ends the table */
    char letter;      /* 0: none */
    enum cli_type type;
    const char *arg;      /* what help calls the value; for CLI_CHOICE the choices; FILE and DIR complete as such */
    const char *fallback; /* as a user would type it; NULL: NULL, 0 or false */
    size_t offset;        /* into the command's structure */
    const char *help;     /* a phrase, small initial, no stop */
};

/** Options both of them can declare with: CLI_OPT(struct put_args, if_absent, ...). */
#define CLI_OPT(type_, field, name_, letter_, kind_, arg_, fallback_, help_)                                           \
    {                                                                                                                  \
        .name = name_, .letter = letter_, .type = kind_, .arg = arg_, .fallback = fallback_,                           \
        .offset = offsetof(type_, field), .help = help_                                                                \
    }
#define CLI_OPT_END                                                                                                    \
    {                                                                                                                  \
        .name = NULL                                                                                                   \
    }

struct cli_example {
    const char *line; /* NULL ends the table */
    const char *what;
};

struct cli;

struct cli_command {
    const char *name;                   /* "ns create" */
    const char *operands;               /* "NAMESPACE KEY [FILE]", "KEY...", "": their number is checked */
    const char *summary;                /* a phrase: "store an object" */
    const char *text;                   /* what else a man page says; may be NULL */
    const struct cli_opt *opts;         /* may be NULL */
    const struct cli_example *examples; /* at least one */
    size_t args_size;                   /* of the structure that opts point into */
    int (*run)(struct cli *cli, void *args);
    const char *group; /* heading under which `cairn help` lists it */
};

/** Every command, in order of the help; NULL ends it. */
extern const struct cli_command *const cli_commands[];

/** Whether there are commands whose names begin with @word and a blank; it may be a command itself. */
bool cli_is_family(const char *word);

/** The options of every command. */
struct cli_globals {
    bool json, quiet, help;
    const char *workspace, *key;
    const char *address;
    uint64_t timeout_ms;
};
extern const struct cli_opt cli_global_opts[];

struct cairn;

struct cli {
    const char *hint; /* what to do about the next failure, where its code knows no better; NULL: the code's */
    FILE *in, *out, *err;
    bool out_tty, err_tty;
    bool color;     /* on out */
    uint32_t width; /* columns of out; 0: no terminal */
    struct cli_globals g;
    const struct cli_command *cmd; /* NULL while none is known */
    const char *family;            /* "ns", when the help of all its commands is asked for */
    char **operands;
    uint32_t noperands;
    struct cairn *session; /* made when first asked for: cli_connect() */
};

/** Runs one command line; @argv[0] is the program. Returns an exit code. Does not exit, does not touch other
 * descriptors. */
int cli_main(struct cli *cli, int argc, char **argv);

/* ---- arguments: args.c ---- */

/** Parses @argv into cli->cmd, cli->g, cli->operands (into @argv, reordered) and @*args (for the caller to free; NULL
 * when the command has none). On CLI_USAGE the message has been printed. */
int cli_parse(struct cli *cli, int argc, char **argv, void **args);
/** The command of that name, or NULL. */
const struct cli_command *cli_find(const char *name);
/** The least and the greatest number of operands; UINT32_MAX: no bound. */
void cli_operand_range(const char *operands, uint32_t *min, uint32_t *max);

/* ---- words: suggest.c ---- */

/** The candidate nearest to @word if it is near enough to be meant, or NULL. */
const char *cli_nearest(const char *word, const char *const *candidates, uint32_t n);
/** The command that @word is called here, in the family @family ("": none); NULL: it is no word for one. */
const char *cli_synonym(const char *family, const char *word);

/* ---- help: help.c, help_json.c, man.c, completion.c ---- */

void cli_help_overview(const struct cli *cli, FILE *to);
void cli_help_command(const struct cli *cli, const struct cli_command *cmd, FILE *to);
void cli_help_group(const struct cli *cli, const char *prefix, FILE *to); /* `cairn ns` */
/** All commands, or that of @name and those of the family @name, as a document. Returns an exit code. */
int cli_help_json(struct cli *cli, const char *name);
void cli_man(FILE *to);
void cli_completion_bash(FILE *to);

/* ---- units: units.c ---- */

enum { CLI_UNIT_BYTES = 24 };
/** "0 B", "812 B", "1.5 KiB", "24 GiB": at most three digits and a unit. Return @buf. */
char *cli_size(char buf[CLI_UNIT_BYTES], uint64_t bytes);
/** "12", "4,096", "1,234,567". */
char *cli_count(char buf[CLI_UNIT_BYTES + 8], uint64_t n);
/** "0.4 ms", "820 ms", "4.2 s", "3m 20s", "2h 05m", "4d 03h". */
char *cli_duration(char buf[CLI_UNIT_BYTES], uint64_t ns);
/** Bytes per second over a time: "812 MiB/s". */
char *cli_rate(char buf[CLI_UNIT_BYTES], uint64_t bytes, uint64_t ns);
/** Both accept a fraction and a space before the unit; sizes know K M G T with or without iB, and B. False: not such a
 * text. */
bool cli_parse_size(const char *text, uint64_t *bytes);
bool cli_parse_time(const char *text, uint64_t *ms);
bool cli_parse_number(const char *text, uint64_t *n);

/* ---- messages: say.c ---- */

/** The exit code that belongs to an error code. */
int cli_exit_of(int rc);
/** Reports a failure on cli->err (as a JSON line with --json), with the hint of @rc. @why says what is wrong; NULL or
 * "": the text of @rc. Returns the exit code. */
int cli_fail(struct cli *cli, int rc, const char *why, const char *fmt, ...) __attribute__((format(printf, 4, 5)));
/** What was done, but is not as it was meant: on cli->err (as a JSON line with --json), with a cure. */
void cli_warn(struct cli *cli, const char *cure, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/** Reports by errno what is wrong with a file of this machine, with a hint that does not send people to the node.
 * Returns CLI_FAILED. */
int cli_fail_file(struct cli *cli, const char *path);
/** Reports a mistake in the command line, and where to read on. Returns CLI_USAGE. */
int cli_usage(struct cli *cli, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/** Something worth knowing that is no failure; not with --quiet. */
void cli_note(struct cli *cli, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/** Writes @len bytes so that neither a terminal nor its reader can be led astray: control characters, what is invisible
 * or turns the direction of writing, and broken UTF-8 become \xNN. */
void cli_put_printable(FILE *to, const void *bytes, size_t len);
void cli_put_text(FILE *to, const char *text); /* likewise, a text of a server or of a user */
void cli_put_line(FILE *to, const char *text);
char *cli_printable(const char *text); /* what cli_put_text() writes, from malloc; NULL: no memory */
/** Nanoseconds of a clock that only goes forward. */
uint64_t cli_now_ns(void);

#endif
