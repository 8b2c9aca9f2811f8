/** cairn map: the map, asked for what it holds and for its log, written out and moved, where the configuration says
 * that it is kept. */
#include "tools/cairn/commands.h"
#include "tools/cairn/node_program.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct map_args {
    const char *config, *data;
    uint64_t last;
    bool log;
};

#define MAP_OPTS                                                                                                       \
    CLI_OPT(struct map_args, config, "config", 'c', CLI_STRING, "FILE", NULL, "the node's configuration"),             \
        CLI_OPT(struct map_args, data, "data", 'd', CLI_STRING, "DIR", NULL, "its data directory (node.data)")

static int map_start(struct cli *cli, struct cli_node_program *p, const struct map_args *a, const char *action,
                     const char *operand)
{
    const char *argv[8] = { "cairnd", action };
    int n = 2;
    if (operand != NULL)
        argv[n++] = operand;
    if (a->config != NULL) {
        argv[n++] = "--config";
        argv[n++] = a->config;
    }
    if (a->data != NULL) {
        argv[n++] = "--data";
        argv[n++] = a->data;
    }
    return cli_node_program_start(cli, p, argv, false);
}

/* The document that cairnd prints; *@doc is the caller's, also if it is NULL. */
static int map_ask(struct cli *cli, const struct map_args *a, const char *action, const char *what, json_t **doc)
{
    struct cli_node_program p;
    int status = map_start(cli, &p, a, action, NULL);
    *doc = NULL;
    if (status != CLI_OK)
        return status;
    *doc = json_loadf(p.out, 0, NULL);
    return cli_node_program_finish(cli, &p, what);
}

/* ---- export, import ---- */

static int map_export_run(struct cli *cli, void *args)
{
    struct cli_node_program p;
    char bytes[65536];
    size_t n;
    int status = map_start(cli, &p, args, "--map-export", NULL);
    if (status != CLI_OK)
        return status;
    while ((n = fread(bytes, 1, sizeof(bytes), p.out)) > 0)
        fwrite(bytes, 1, n, cli->out);
    status = cli_node_program_finish(cli, &p, "exporting the map");
    if (status == CLI_OK && fflush(cli->out) != 0)
        return cli_fail(cli, CAIRN_E_IO, strerror(errno), "writing the map");
    return status;
}

static const struct cli_opt map_opts[] = { MAP_OPTS, CLI_OPT_END };

const struct cli_command cli_map_export = {
    .name = "map export",
    .operands = "",
    .summary = "write the map out as a JSON document",
    .text =
        "The map holds what must never be lost: the namespaces. It is read from where the configuration says that it "
        "is kept; the node may run meanwhile. What hangs on a lease is left out.",
    .opts = map_opts,
    .args_size = sizeof(struct map_args),
    .examples = (const struct cli_example[]){ { "cairn map export --config cairn.yaml > map.json", "a backup" },
                                              { NULL, NULL } },
    .run = map_export_run,
    .group = "The node",
};

static int map_import_run(struct cli *cli, void *args)
{
    struct cli_node_program p;
    int status = map_start(cli, &p, args, "--map-import", cli->operands[0]);
    return status == CLI_OK ? cli_node_program_finish(cli, &p, "importing the map") : status;
}

const struct cli_command cli_map_import = {
    .name = "map import",
    .operands = "FILE",
    .summary = "store an exported map where the configuration says that it is kept",
    .text =
        "The node must be stopped. What is there already with the same value stays, so an import that broke off may be "
        "repeated; a key that is there with another value refuses all of it. To move a node's map to etcd: stop it, "
        "export, set map.store in its configuration, import, start it. FILE - is standard input.",
    .opts = map_opts,
    .args_size = sizeof(struct map_args),
    .examples = (const struct cli_example[]){ { "cairn map import --config cairn.yaml map.json", "move or restore it" },
                                              { NULL, NULL } },
    .run = map_import_run,
    .group = "The node",
};

/* ---- log ---- */

static void keys_of(const json_t *line, char *to, size_t len)
{
    const json_t *keys = json_object_get(line, "keys");
    json_int_t nkeys = json_integer_value(json_object_get(line, "nkeys"));
    size_t n = 0;
    to[0] = '\0';
    for (size_t i = 0; i < json_array_size(keys) && n < len; i++)
        n += (size_t)snprintf(to + n, len - n, "%s%s", i > 0 ? " " : "", json_string_value(json_array_get(keys, i)));
    if (nkeys > (json_int_t)json_array_size(keys) && n < len)
        snprintf(to + n, len - n, " and %lld more", (long long)(nkeys - (json_int_t)json_array_size(keys)));
}

static void log_row(struct cli_table *t, const json_t *line)
{
    char when[32], keys[256];
    time_t s = (time_t)(json_integer_value(json_object_get(line, "time_ms")) / 1000);
    struct tm tm;
    strftime(when, sizeof(when), "%Y-%m-%d %H:%M:%SZ", gmtime_r(&s, &tm));
    keys_of(line, keys, sizeof(keys));
    cli_table_row(t, (const struct cli_cell[]){
                         CLI_TEXT(when), CLI_NUM((uint64_t)json_integer_value(json_object_get(line, "revision"))),
                         CLI_TEXT(json_string_value(json_object_get(line, "author"))),
                         CLI_TEXT(json_string_value(json_object_get(line, "reason"))), CLI_TEXT(keys) });
}

static int map_log_run(struct cli *cli, void *args)
{
    static const struct cli_col cols[] = { { "TIME", "time", CLI_CELL_TEXT },
                                           { "REVISION", "revision", CLI_CELL_PLAIN },
                                           { "AUTHOR", "author", CLI_CELL_TEXT },
                                           { "REASON", "reason", CLI_CELL_TEXT },
                                           { "KEYS", "keys", CLI_CELL_TEXT } };
    const struct map_args *a = args;
    json_t *lines;
    int status = map_ask(cli, args, "--map-log", "reading the map's log", &lines);
    if (status == CLI_OK && !json_is_array(lines))
        status = cli_fail(cli, CAIRN_E_PROTO, NULL, "reading the map's log");
    if (status == CLI_OK) {
        struct cli_table *t = cli_table_new(cli, "log", cols, ARRAY_SIZE(cols));
        size_t n = json_array_size(lines);
        for (size_t i = a->last > 0 && a->last < n ? n - a->last : 0; i < n; i++)
            log_row(t, json_array_get(lines, i));
        status = cli_table_end(t);
    }
    json_decref(lines);
    return status;
}

static const struct cli_opt log_opts[] = {
    MAP_OPTS,
    CLI_OPT(struct map_args, last, "last", 'n', CLI_NUMBER, "N", NULL, "only the newest so many"),
    CLI_OPT_END,
};

const struct cli_command cli_map_log = {
    .name = "map log",
    .operands = "",
    .summary = "show who changed the map, why and when",
    .text = "The newest thousand changes are kept. Times are UTC; the author is the user who asked for the change.",
    .opts = log_opts,
    .args_size = sizeof(struct map_args),
    .examples = (const struct cli_example[]){ { "cairn map log --config cairn.yaml --last 20", "the newest changes" },
                                              { NULL, NULL } },
    .run = map_log_run,
    .group = "The node",
};

/* ---- the map ---- */

static int map_run(struct cli *cli, void *args)
{
    const struct map_args *a = args;
    json_t *doc;
    if (a->log)
        return map_log_run(cli, args);
    if (a->last > 0)
        return cli_usage(cli, "--last goes with --log");
    int status = map_ask(cli, a, "--map-show", "reading the map", &doc);
    if (status == CLI_OK && !json_is_object(doc))
        status = cli_fail(cli, CAIRN_E_PROTO, NULL, "reading the map");
    if (status == CLI_OK)
        status = cli->g.json ? cli_json(cli, json_incref(doc)) : cli_render(cli, doc);
    json_decref(doc);
    return status;
}

static const struct cli_opt show_opts[] = {
    MAP_OPTS,
    CLI_OPT(struct map_args, log, "log", 'l', CLI_FLAG, NULL, NULL, "who changed it, why and when, as `cairn map log`"),
    CLI_OPT(struct map_args, last, "last", 'n', CLI_NUMBER, "N", NULL, "with --log, only the newest so many"),
    CLI_OPT_END,
};

const struct cli_command cli_map = {
    .name = "map",
    .operands = "",
    .summary = "show what the map holds, and where it is kept",
    .text =
        "The map is read from where the configuration says that it is kept; the node may run meanwhile. Its revision "
        "is that of the newest change. Of a cluster it is said how the slots of each class are (a class: all slots "
        "with so "
        "many replicas), and how many each node leads, has in sync and is to hold.",
    .opts = show_opts,
    .args_size = sizeof(struct map_args),
    .examples = (const struct cli_example[]){ { "cairn map --config cairn.yaml", "how much there is" },
                                              { "cairn map --log --last 20 --config cairn.yaml", "its newest changes" },
                                              { NULL, NULL } },
    .run = map_run,
    .group = "The node",
};
