/** From a command line to a command, its options and operands, by the tables alone. */
#include "tools/cairn/cli.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

const struct cli_opt cli_global_opts[] = {
    CLI_OPT(struct cli_globals, json, "json", 'j', CLI_FLAG, NULL, NULL,
            "print JSON, and progress as JSON lines on standard error"),
    CLI_OPT(struct cli_globals, workspace, "workspace", 'w', CLI_STRING, "DIR", NULL,
            "find the node by this workspace; otherwise $CAIRN_WORKSPACE, $XDG_RUNTIME_DIR/cairn, /run/cairn"),
    CLI_OPT(struct cli_globals, address, "address", 'a', CLI_STRING, "ADDRESS", NULL,
            "find the node here: unix:///path/node.sock or tcp://host:4710#NAME, several separated by commas (of more "
            "than 16 a random choice of 16 counts); #NAME, "
            "which may be left out, lets us in to the node of that name alone: whoever listens in its place cannot "
            "pass on the proof of who you are"),
    CLI_OPT(struct cli_globals, key, "key", 0, CLI_STRING, "FILE", NULL,
            "cluster key for nodes that are reached by tcp://; otherwise $CAIRN_KEY, cluster.key in the workspace"),
    CLI_OPT(struct cli_globals, timeout_ms, "timeout", 't', CLI_TIME, "TIME", "30s",
            "give up a single call after this long (a number alone is seconds)"),
    CLI_OPT(struct cli_globals, quiet, "quiet", 'q', CLI_FLAG, NULL, NULL, "no progress and no notes"),
    CLI_OPT(struct cli_globals, help, "help", 'h', CLI_FLAG, NULL, NULL, "show what the command does, with examples"),
    CLI_OPT_END,
};

const struct cli_command *cli_find(const char *name)
{
    for (uint32_t i = 0; cli_commands[i] != NULL; i++) {
        if (strcmp(cli_commands[i]->name, name) == 0)
            return cli_commands[i];
    }
    return NULL;
}

bool cli_is_family(const char *word)
{
    size_t len = strlen(word);
    for (uint32_t i = 0; cli_commands[i] != NULL; i++) {
        if (strncmp(cli_commands[i]->name, word, len) == 0 && cli_commands[i]->name[len] == ' ')
            return true;
    }
    return false;
}

void cli_operand_range(const char *operands, uint32_t *min, uint32_t *max)
{
    *min = *max = 0;
    for (const char *p = operands; *p != '\0';) {
        size_t len = strcspn(p, " ");
        bool many = len >= 3 && memcmp(p + len - 3, "...", 3) == 0;
        if (p[0] != '[')
            (*min)++;
        *max = many || *max == UINT32_MAX ? UINT32_MAX : *max + 1;
        p += len + strspn(p + len, " ");
    }
}

static const struct cli_opt *find_opt(const struct cli_opt *opts, const char *name, size_t len, char letter)
{
    for (const struct cli_opt *o = opts; o != NULL && o->name != NULL; o++) {
        if (name != NULL ? strlen(o->name) == len && memcmp(o->name, name, len) == 0 : o->letter == letter)
            return o;
    }
    return NULL;
}

static bool is_choice(const char *choices, const char *value)
{
    size_t len = strlen(value);
    for (const char *p = choices;; p++) {
        size_t n = strcspn(p, "|");
        if (n == len && memcmp(p, value, n) == 0)
            return true;
        p += n;
        if (*p == '\0')
            return false;
    }
}

/* Stores a value of the option in the structure @into. False: the text is not of its type. */
static bool store(const struct cli_opt *o, const char *value, void *into)
{
    void *field = (char *)into + o->offset;
    switch (o->type) {
    case CLI_FLAG:
        *(bool *)field = true;
        return true;
    case CLI_STRING:
        *(const char **)field = value;
        return true;
    case CLI_CHOICE:
        *(const char **)field = value;
        return is_choice(o->arg, value);
    case CLI_NUMBER:
        return cli_parse_number(value, field);
    case CLI_SIZE:
        return cli_parse_size(value, field);
    case CLI_TIME:
        return cli_parse_time(value, field);
    }
    return false;
}

static void store_fallbacks(const struct cli_opt *opts, void *into)
{
    for (const struct cli_opt *o = opts; o != NULL && o->name != NULL; o++) {
        if (o->fallback != NULL)
            CAIRN_ASSERT(store(o, o->fallback, into));
    }
}

static int refuse_value(struct cli *cli, const struct cli_opt *o, const char *value)
{
    static const char *const wants[] = { [CLI_NUMBER] = "a number",
                                         [CLI_SIZE] = "a size such as 4096, 64KiB (of 1024) or 64kB (of 1000)",
                                         [CLI_TIME] =
                                             "a time such as 500ms, 10s or 2min, not 0; without a unit it is seconds" };
    if (o->type == CLI_CHOICE)
        return cli_usage(cli, "--%s takes one of %s, not '%s'", o->name, o->arg, value);
    return cli_usage(cli, "--%s takes %s, not '%s'", o->name, wants[o->type], value);
}

static int refuse_option(struct cli *cli, const char *name)
{
    const char *known[64];
    uint32_t n = 0;
    const struct cli_opt *tables[] = { cli->cmd != NULL ? cli->cmd->opts : NULL, cli_global_opts };
    for (uint32_t t = 0; t < ARRAY_SIZE(tables); t++) {
        for (const struct cli_opt *o = tables[t]; o != NULL && o->name != NULL && n < ARRAY_SIZE(known); o++)
            known[n++] = o->name;
    }
    const char *near = cli_nearest(name, known, n);
    if (near != NULL)
        return cli_usage(cli, "unknown option '--%s', did you mean '--%s'?", name, near);
    return cli_usage(cli, "unknown option '--%s'", name);
}

/* A parse under way. */
struct parse {
    struct cli *cli;
    char **argv;
    int argc, at;
    void *args;
    bool json; /* --json was met */
};

static int take(struct parse *p, const struct cli_opt *o, bool global, const char *value)
{
    if (!store(o, value, global ? &p->cli->g : p->args))
        return refuse_value(p->cli, o, value);
    p->json |= o == &cli_global_opts[0];
    return 0;
}

static const struct cli_opt *look_up(struct parse *p, const char *name, size_t len, char letter, bool *global)
{
    const struct cli_opt *o = p->cli->cmd != NULL ? find_opt(p->cli->cmd->opts, name, len, letter) : NULL;
    *global = o == NULL;
    return o != NULL ? o : find_opt(cli_global_opts, name, len, letter);
}

static int parse_long(struct parse *p)
{
    const char *name = p->argv[p->at] + 2;
    size_t len = strcspn(name, "=");
    const char *value = name[len] == '=' ? name + len + 1 : NULL;
    bool global;
    const struct cli_opt *o = look_up(p, name, len, 0, &global);
    if (o == NULL) {
        char word[64];
        snprintf(word, sizeof(word), "%.*s", (int)MIN(len, sizeof(word) - 1), name);
        return refuse_option(p->cli, word);
    }
    if (o->type == CLI_FLAG && value != NULL)
        return cli_usage(p->cli, "--%s takes no value", o->name);
    if (o->type != CLI_FLAG && value == NULL) {
        if (p->at + 1 >= p->argc)
            return cli_usage(p->cli, "--%s needs a value (%s)", o->name, o->arg);
        value = p->argv[++p->at];
    }
    return take(p, o, global, value);
}

/* "-l", "-lq" for flags; "-t 5s" and "-t5s" for values. */
static int parse_short(struct parse *p)
{
    for (const char *c = p->argv[p->at] + 1; *c != '\0'; c++) {
        bool global;
        const struct cli_opt *o = look_up(p, NULL, 0, *c, &global);
        if (o == NULL)
            return cli_usage(p->cli, "unknown option '-%c'; -- comes before operands that begin with '-'", *c);
        const char *value = NULL;
        if (o->type != CLI_FLAG) {
            if (c[1] == '\0' && p->at + 1 >= p->argc)
                return cli_usage(p->cli, "-%c needs a value (%s)", *c, o->arg);
            value = c[1] != '\0' ? c + 1 : p->argv[++p->at];
        }
        int rc = take(p, o, global, value);
        if (rc != 0)
            return rc;
        if (value != NULL)
            break;
    }
    return 0;
}

/* The first word, with the second if both make a name. */
static int parse_command(struct parse *p)
{
    struct cli *cli = p->cli;
    const char *word = p->argv[p->at];
    char both[128];
    bool second = p->at + 1 < p->argc && p->argv[p->at + 1][0] != '-', family = cli_is_family(word);
    if (p->at + 1 < p->argc) {
        snprintf(both, sizeof(both), "%s %s", word, p->argv[p->at + 1]);
        cli->cmd = cli_find(both);
        if (cli->cmd != NULL)
            p->at++;
    }
    if (cli->cmd == NULL && !(family && second)) /* "map exprot" is no operand of "map" */
        cli->cmd = cli_find(word);
    if (cli->cmd != NULL) {
        if (cli->cmd->args_size > 0) {
            p->args = calloc(1, cli->cmd->args_size);
            if (p->args == NULL)
                return cli_fail(cli, CAIRN_E_NOMEM, NULL, "parsing the command line");
        }
        store_fallbacks(cli->cmd->opts, p->args);
        return 0;
    }

    /* Not a command: perhaps half of one ("ns", "ns creat"), perhaps misspelt. */
    const char *known[96];
    uint32_t n = 0;
    while (cli_commands[n] != NULL && n < ARRAY_SIZE(known)) {
        known[n] = cli_commands[n]->name;
        n++;
    }
    if (family && !second) {
        for (int i = p->at + 1; i < p->argc; i++)
            cli->g.help |= strcmp(p->argv[i], "--help") == 0 || strcmp(p->argv[i], "-h") == 0;
        if (cli->g.help) {
            p->json = cli->g.json;
            cli->family = word;
            p->at = p->argc; /* what else is said does not matter */
            return 0;
        }
        if (cli->g.json)
            return cli_usage(cli, "'%s' is followed by one of its commands", word);
        cli_help_group(cli, word, cli->err);
        return CLI_USAGE;
    }
    if (second)
        snprintf(both, sizeof(both), "%s %s", word, p->argv[p->at + 1]);
    else
        snprintf(both, sizeof(both), "%s", word);
    const char *near = family ? cli_synonym(word, p->argv[p->at + 1]) : cli_synonym("", word);
    if (near == NULL)
        near = cli_nearest(both, known, n);
    if (near == NULL && !family)
        near = cli_nearest(word, known, n);
    if (near != NULL)
        return cli_usage(cli, "unknown command '%s', did you mean '%s'?", family ? both : word, near);
    return cli_usage(cli, "unknown command '%s'", family ? both : word);
}

static int check_operands(struct cli *cli)
{
    uint32_t min, max;
    cli_operand_range(cli->cmd->operands, &min, &max);
    if (cli->noperands < min)
        return cli_usage(cli, "too few operands: expected %s", cli->cmd->operands);
    if (cli->noperands > max)
        return cli_usage(cli, "unexpected operand '%s'", cli->operands[max]);
    return 0;
}

/* A mistake that stands before --json is told as JSON too. */
static bool mentions_json(int argc, char **argv)
{
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
        if (strcmp(argv[i], "--json") == 0 || strcmp(argv[i], "-j") == 0)
            return true;
    }
    return false;
}

int cli_parse(struct cli *cli, int argc, char **argv, void **args)
{
    struct parse p = { .cli = cli, .argv = argv, .argc = argc, .at = 1 };
    int rc = 0;
    bool options = true;
    *args = NULL;
    store_fallbacks(cli_global_opts, &cli->g);
    CAIRN_ASSERT(strcmp(cli_global_opts[0].name, "json") == 0);
    cli->g.json = mentions_json(argc, argv);
    cli->operands = argv + 1; /* operands move to the front: never ahead of where reading is */
    cli->noperands = 0;
    for (; p.at < argc && rc == 0; p.at++) {
        char *word = argv[p.at];
        if (options && strcmp(word, "--") == 0)
            options = false;
        else if (options && strcmp(word, "--version") == 0 && cli->cmd == NULL)
            cli->cmd = cli_find("version");
        else if (options && word[0] == '-' && word[1] == '-')
            rc = parse_long(&p);
        else if (options && word[0] == '-' && word[1] != '\0')
            rc = parse_short(&p);
        else if (cli->cmd == NULL)
            rc = parse_command(&p);
        else
            cli->operands[cli->noperands++] = word;
    }
    if (rc == 0 && cli->cmd != NULL && !cli->g.help)
        rc = check_operands(cli);
    if (rc == 0)
        cli->g.json = p.json;
    *args = p.args;
    return rc;
}
