/** cairn map: the map, asked of a node, or of where it is kept, for what it holds and for its log; written out and
 * moved. */
#include "tools/cairn/client.h"
#include "tools/cairn/commands.h"
#include "tools/cairn/node_program.h"
#include "tools/cairn/out.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    CLI_MAP_URL_BYTES_MAX = 1024,
    MAP_WAIT_MS_MIN = 100, /* what map.timeout may be */
    MAP_WAIT_MS_MAX = 600000,
};

struct map_args {
    const char *config, *data, *etcd;
    uint64_t last;
    bool log, people;
};

#define MAP_OPTS                                                                                                       \
    CLI_OPT(struct map_args, config, "config", 'c', CLI_STRING, "FILE", NULL, "the node's configuration"),             \
        CLI_OPT(struct map_args, data, "data", 'd', CLI_STRING, "DIR", NULL, "its data directory (node.data)"),        \
        CLI_OPT(struct map_args, etcd, "etcd", 'e', CLI_STRING, "URL", NULL,                                           \
                "the map in this etcd; one with certificates or passwords needs --config")

#define WHOSE_MAP                                                                                                      \
    "--config FILE names the node whose map is meant, --data DIR its data directory, --etcd URL where a cluster has it"

static int map_start(struct cli *cli, struct cli_node_program *p, const struct map_args *a, const char *action,
                     const char *operand)
{
    const char *argv[16] = { "cairnd", action };
    char endpoint[CLI_MAP_URL_BYTES_MAX], wait[64];
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
    if (a->etcd != NULL) {
        if (snprintf(endpoint, sizeof(endpoint), "map.endpoints=%s", a->etcd) >= (int)sizeof(endpoint))
            return cli_usage(cli, "--etcd: an address of more than %d bytes", CLI_MAP_URL_BYTES_MAX);
        argv[n++] = "--set";
        argv[n++] = "map.store=etcd";
        argv[n++] = "--set";
        argv[n++] = endpoint;
    }
    /* Who asks knows how long to wait; the configuration says it for a node that starts. */
    snprintf(wait, sizeof(wait), "map.timeout=%" PRIu64 "ms",
             MIN(MAX((uint64_t)cli->g.timeout_ms, (uint64_t)MAP_WAIT_MS_MIN), (uint64_t)MAP_WAIT_MS_MAX));
    argv[n++] = "--set";
    argv[n++] = wait;
    return cli_node_program_start(cli, p, argv, false);
}

/* The document that cairnd prints; *@doc is the caller's, also if it is NULL. */
static int store_ask(struct cli *cli, const struct map_args *a, json_t **doc)
{
    struct cli_node_program p;
    int status = map_start(cli, &p, a, a->log ? "--map-log" : "--map-show", NULL);
    if (status != CLI_OK)
        return status;
    *doc = json_loadf(p.out, 0, NULL);
    if (a->etcd != NULL)
        cli->hint = "is there an etcd? `etcdctl --endpoints URL endpoint health` asks it; one with certificates or "
                    "passwords needs --config";
    return cli_node_program_finish(cli, &p, "reading the map", WHOSE_MAP);
}

/* What a node says that runs. */
static int node_ask(struct cli *cli, const struct map_args *a, json_t **doc)
{
    struct cairn_map_ask ask = CAIRN_MAP_ASK_INIT;
    struct cli_call call;
    char *text = NULL;
    cli->hint = "`--config FILE` (of a node) or `--etcd URL` asks the map's store, whether nodes run or not";
    int status = cli_connect(cli);
    if (status != CLI_OK)
        return status;
    cli->hint = NULL;
    ask.log = a->log;
    ask.people = a->people;
    ask.last = (uint32_t)MIN(a->last, (uint64_t)UINT32_MAX);
    int rc = cairn_map(cli->session, &ask, &text, cli_call_init(cli, &call, 0));
    if (rc != 0)
        return cli_call_failed(cli, rc, &call, "reading the map");
    *doc = json_loads(text, 0, NULL);
    cairn_free(text);
    return CLI_OK;
}

/* *@doc is the caller's, also if it is NULL. */
static int map_ask(struct cli *cli, const struct map_args *a, json_t **doc)
{
    bool of_store = a->config != NULL || a->data != NULL || a->etcd != NULL;
    *doc = NULL;
    return of_store ? store_ask(cli, a, doc) : node_ask(cli, a, doc);
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
    status = cli_node_program_finish(cli, &p, "exporting the map", WHOSE_MAP);
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
        "The map holds what must never be lost: namespaces and, of a cluster, its members and slots. It is read from "
        "where the configuration says that it is kept; the node may run meanwhile. What hangs on a lease is left out.",
    .opts = map_opts,
    .args_size = sizeof(struct map_args),
    .examples = (const struct cli_example[]){ { "cairn map export --config cairn.yaml > map.json", "a backup" },
                                              { NULL, NULL } },
    .run = map_export_run,
    .group = "The node",
};

static int map_import_run(struct cli *cli, void *args)
{
    static const char cure[] = "FILE is what `cairn map export` wrote, and the map where it is stored (--config FILE, "
                               "--data DIR, --etcd URL) is empty, or has nothing that FILE has not";
    struct cli_node_program p;
    int status = map_start(cli, &p, args, "--map-import", cli->operands[0]);
    return status == CLI_OK ? cli_node_program_finish(cli, &p, "importing the map", cure) : status;
}

const struct cli_command cli_map_import = {
    .name = "map import",
    .operands = "FILE",
    .summary = "store an exported map where the configuration says that it is kept",
    .text =
        "The node must be stopped. What is there already with the same value stays, so an import that broke off may be "
        "repeated; a key that is there with another value, or a namespace that FILE does not have, refuses all of it. "
        "`cairn map move` moves a node's map to etcd. A cluster goes on with all that its nodes have of the namespaces in FILE, which may be older. FILE - is standard input.",
    .opts = map_opts,
    .args_size = sizeof(struct map_args),
    .examples = (const struct cli_example[]){ { "cairn map import --config cairn.yaml map.json", "restore it" },
                                              { NULL, NULL } },
    .run = map_import_run,
    .group = "The node",
};

/* ---- move ---- */

struct move_args {
    struct map_args map;
    bool check;
};

static void move_say(struct cli *cli, const json_t *done)
{
    const json_t *to = json_object_get(done, "to");
    const char *state = cli_text_of(done, "state"), *configuration = cli_text_of(done, "configuration");
    bool checked = strcmp(state, "may be moved") == 0;
    fprintf(cli->out, "%s: %lld namespaces, %lld entries\n", state, (long long)cli_number_of(done, "namespaces"),
            (long long)cli_number_of(done, "entries"));
    fputs("  from ", cli->out);
    cli_put_line(cli->out, cli_text_of(done, "from"));
    for (size_t i = 0; i < json_array_size(to); i++) {
        const char *url = json_string_value(json_array_get(to, i));
        fputs(i == 0 ? "  to   " : "       ", cli->out);
        cli_put_line(cli->out, url != NULL ? url : "?");
    }
    if (checked)
        return;
    fputs("  kept ", cli->out);
    cli_put_line(cli->out, cli_text_of(done, "kept"));
    if (configuration[0] != '\0') {
        fputs("next: write this into the node's configuration, and start it\n  ", cli->out);
        cli_put_line(cli->out, configuration);
    } else {
        fputs("next: start the node\n", cli->out);
    }
    fputs("before others join\n"
          "  listen: on an address that they reach; by default it is 127.0.0.1 alone\n"
          "  key:    they get a copy of this node's, cluster.key in its workspace (or\n"
          "          auth.key_file), mode 0600, named in auth.key_file of theirs\n",
          cli->out);
}

static int map_move_run(struct cli *cli, void *args)
{
    struct cli_node_program p;
    const struct move_args *a = args;
    if (a->map.config == NULL && a->map.data == NULL)
        return cli_usage(cli, "whose map? --config FILE or --data DIR names the node");
    int status = map_start(cli, &p, &a->map, a->check ? "--map-move-check" : "--map-move", NULL);
    if (status != CLI_OK)
        return status;
    json_t *done = json_loadf(p.out, 0, NULL);
    status = cli_node_program_finish(cli, &p, "moving the map", WHOSE_MAP);
    if (status == CLI_OK && cli->g.json)
        return cli_json(cli, done);
    if (status == CLI_OK)
        move_say(cli, done);
    json_decref(done);
    return status;
}

static const struct cli_opt move_opts[] = {
    CLI_OPT(struct move_args, map.config, "config", 'c', CLI_STRING, "FILE", NULL, "the node's configuration"),
    CLI_OPT(struct move_args, map.data, "data", 'd', CLI_STRING, "DIR", NULL, "its data directory (node.data)"),
    CLI_OPT(struct move_args, map.etcd, "etcd", 'e', CLI_STRING, "URL", NULL,
            "where to, if the configuration does not say so; certificates and passwords need to be in it"),
    CLI_OPT(struct move_args, check, "check", 0, CLI_FLAG, NULL, NULL, "only look whether it could be done"),
    CLI_OPT_END,
};

const struct cli_command cli_map_move = {
    .name = "map move",
    .operands = "",
    .summary = "move a node's map from its own file to etcd",
    .text =
        "The way of a node that is alone to one that others may join. It must be stopped; its data stay where they are. "
        "FILE says `map.store: etcd` already, or --etcd names it, and the line that FILE needs is printed. Before "
        "anything is changed it is looked at: that etcd answers, that what is there is of no other cluster, and "
        "that nothing is there but what an earlier try left. What is stored is read again and compared. Only then the "
        "node's own map becomes `router/map.moved`, and a node that is still configured for it refuses to start. Until "
        "then the map is where it was; a move that broke off may be repeated, and one that is complete changes nothing. "
        "To go back: stop the node, `cairn map export` with the configuration of etcd, `map.store: local` in it, and "
        "`cairn map import`; as long as nothing was changed in etcd, renaming `map.moved` to `map` is enough.",
    .opts = move_opts,
    .args_size = sizeof(struct move_args),
    .examples =
        (const struct cli_example[]){
            { "cairn map move --check --config cairn.yaml --etcd http://10.1.0.1:2379", "could it be done?" },
            { "cairn map move --config cairn.yaml --etcd http://10.1.0.1:2379", "do it" },
            { "cairn map move --config cairn.yaml --json", "to where the configuration says, for programs" },
            { NULL, NULL } },
    .run = map_move_run,
    .group = "The node",
};

/* ---- log ---- */

/* ": ns/a ns/b and 3 more"; an entry of the cluster's own, which the reason names, tells people nothing. */
static void keys_say(FILE *to, const json_t *line)
{
    const char *first = json_string_value(json_array_get(json_object_get(line, "keys"), 0));
    if (first != NULL && strncmp(first, "records/", 8) == 0)
        return;
    const json_t *keys = json_object_get(line, "keys");
    json_int_t n = (json_int_t)json_array_size(keys), all = cli_number_of(line, "nkeys");
    for (json_int_t i = 0; i < n; i++) {
        const char *key = json_string_value(json_array_get(keys, (size_t)i));
        fprintf(to, "%s%s", i > 0 ? " " : ": ", key != NULL ? key : "?");
    }
    if (all > n)
        fprintf(to, " and %lld more", (long long)(all - n));
}

/* "63 taken over n2 > n1", "ready n1", "node silent n2" */
static void deed_say(FILE *to, const json_t *deed)
{
    json_int_t slots = cli_number_of(deed, "slots");
    const char *from = cli_text_of(deed, "from"), *target = cli_text_of(deed, "to");
    char count[CLI_UNIT_BYTES + 8];
    if (slots > 0)
        fprintf(to, "%s ", cli_count(count, (uint64_t)slots));
    fputs(cli_text_of(deed, "what"), to);
    if (from[0] != '\0')
        fprintf(to, " %s%s", from, target[0] != '\0' ? " >" : "");
    if (target[0] != '\0')
        fprintf(to, " %s", target);
}

/* Why slots moved, each reason once; that one whose primary is ready has one, and what becomes of nodes says itself. */
static void whys_say(FILE *to, const json_t *deeds)
{
    bool any = false;
    for (size_t i = 0; i < json_array_size(deeds); i++) {
        const json_t *d = json_array_get(deeds, i);
        const char *why = cli_text_of(d, "why");
        bool told = cli_number_of(d, "slots") == 0 || why[0] == '\0' || strcmp(cli_text_of(d, "what"), "ready") == 0;
        for (size_t k = 0; !told && k < i; k++)
            told = strcmp(cli_text_of(json_array_get(deeds, k), "why"), why) == 0;
        if (told)
            continue;
        fprintf(to, "%s%s", any ? "; " : " (", why);
        any = true;
    }
    fputs(any ? ")" : "", to);
}

/* In words; from malloc, NULL: no memory. */
static char *line_text(const json_t *line)
{
    const json_t *deeds = json_object_get(line, "deeds");
    json_int_t more = cli_number_of(line, "more");
    char *text = NULL;
    size_t len = 0;
    FILE *to = open_memstream(&text, &len);
    if (to == NULL)
        return NULL;
    if (json_array_size(deeds) == 0) {
        fputs(cli_text_of(line, "reason"), to);
        keys_say(to, line);
    }
    for (size_t i = 0; i < json_array_size(deeds); i++) {
        fputs(i > 0 ? ", " : "", to);
        deed_say(to, json_array_get(deeds, i));
    }
    if (more > 0)
        fprintf(to, ", and %lld slots more", (long long)more);
    whys_say(to, deeds);
    return fclose(to) == 0 ? text : NULL;
}

static void log_time(const json_t *line, char when[32])
{
    time_t s = (time_t)(cli_number_of(line, "time_ms") / 1000);
    struct tm tm;
    strftime(when, 32, "%Y-%m-%d %H:%M:%SZ", gmtime_r(&s, &tm));
}

static json_t *log_json(const json_t *line)
{
    char when[32];
    json_t *o, *deeds = json_object_get(line, "deeds");
    log_time(line, when);
    o = json_pack("{s:s, s:I, s:s, s:s, s:s, s:O?, s:I}", "time", when, "revision", cli_number_of(line, "revision"),
                  "of", cli_text_of(line, "of"), "author", cli_text_of(line, "author"), "reason",
                  cli_text_of(line, "reason"), "keys", json_object_get(line, "keys"), "nkeys",
                  cli_number_of(line, "nkeys"));
    if (deeds != NULL) {
        json_object_set(o, "deeds", deeds);
        json_object_set_new(o, "more", json_integer(cli_number_of(line, "more")));
        json_object_set_new(o, "changes", json_integer(cli_number_of(line, "changes")));
    }
    return o;
}

static int log_show(struct cli *cli, const json_t *lines)
{
    static const struct cli_col cols[] = { { "TIME", "time", CLI_CELL_TEXT },
                                           { "REVISION", "revision", CLI_CELL_PLAIN },
                                           { "AUTHOR", "author", CLI_CELL_TEXT },
                                           { "WHAT", "what", CLI_CELL_WORDS } };
    struct cli_table *t;
    if (cli->g.json) {
        json_t *list = json_array();
        for (size_t i = 0; i < json_array_size(lines); i++)
            json_array_append_new(list, log_json(json_array_get(lines, i)));
        return cli_json(cli, json_pack("{s:o}", "log", list));
    }
    t = cli_table_new(cli, "log", cols, ARRAY_SIZE(cols));
    for (size_t i = 0; i < json_array_size(lines); i++) {
        const json_t *line = json_array_get(lines, i);
        char when[32], *what = line_text(line);
        log_time(line, when);
        cli_table_row(t, (const struct cli_cell[]){ CLI_TEXT(when), CLI_NUM((uint64_t)cli_number_of(line, "revision")),
                                                    CLI_TEXT(cli_text_of(line, "author")), CLI_TEXT(what) });
        free(what);
    }
    return cli_table_end(t);
}

static int map_log_run(struct cli *cli, void *args)
{
    struct map_args *a = args;
    json_t *lines;
    a->log = true;
    int status = map_ask(cli, a, &lines);
    if (status == CLI_OK && !json_is_array(lines))
        status = cli_fail(cli, CAIRN_E_PROTO, NULL, "reading the map's log");
    for (size_t i = json_array_size(lines); status == CLI_OK && a->people && i > 0; i--) { /* a store tells all */
        if (strcmp(cli_text_of(json_array_get(lines, i - 1), "of"), "people") != 0)
            json_array_remove(lines, i - 1);
    }
    while (a->last > 0 && json_array_size(lines) > a->last)
        json_array_remove(lines, 0);
    if (status == CLI_OK)
        status = log_show(cli, lines);
    json_decref(lines);
    return status;
}

#define LOG_OPTS                                                                                                       \
    CLI_OPT(struct map_args, last, "last", 'n', CLI_NUMBER, "N", NULL, "of the log, only the newest so many"),         \
        CLI_OPT(struct map_args, people, "people", 'p', CLI_FLAG, NULL, NULL, "of the log, only what people did")

static const struct cli_opt log_opts[] = { MAP_OPTS, LOG_OPTS, CLI_OPT_END };

const struct cli_command cli_map_log = {
    .name = "map log",
    .operands = "",
    .summary = "show who changed the map, why and when",
    .text =
        "Two logs by time, each of its newest thousand entries: of what people did (namespaces made and removed, "
        "drains; the author is the user), and of what the cluster made of its slots and nodes (the author is the node "
        "that coordinates). The latter sums up, second by second, how many slots went from whom to whom, and why. "
        "Of slots: made; taken over (another leads, for who led is silent); handed over (who led has let go); to lead "
        "(who is to lead next); ready (who leads serves); copying (to who is to hold it); joined (is in sync); left out "
        "(is in sync no more); dropped (holds it no more); stayed (was to leave: too few were in sync); given up (a "
        "move); recovered (all were gone, one goes on). "
        "Times are UTC. A running node is asked, unless --config, --data or --etcd say where the map is kept.",
    .opts = log_opts,
    .args_size = sizeof(struct map_args),
    .examples = (const struct cli_example[]){ { "cairn map log --last 20", "the newest changes" },
                                              { "cairn map log --people", "without what followed from them" },
                                              { "cairn map log --etcd http://10.1.0.1:2379", "no node is needed" },
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
    if (a->last > 0 || a->people)
        return cli_usage(cli, "%s goes with --log", a->last > 0 ? "--last" : "--people");
    int status = map_ask(cli, a, &doc);
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
    LOG_OPTS,
    CLI_OPT_END,
};

const struct cli_command cli_map = {
    .name = "map",
    .operands = "",
    .summary = "show what the map holds, and where it is kept",
    .text =
        "A running node is asked, which reads the map's store; or, with --config, --data or --etcd, the store itself, "
        "whether nodes run or not. The revision is that of the newest change. Of a cluster it is said how the slots of "
        "each class are (a class: all slots with so many replicas), and how many each node leads, has in sync and is "
        "to hold. For administrators.",
    .opts = show_opts,
    .args_size = sizeof(struct map_args),
    .examples = (const struct cli_example[]){ { "cairn map", "how much there is, as a node has it" },
                                              { "cairn map --log --last 20", "its newest changes" },
                                              { "cairn map --config cairn.yaml", "asks the store" },
                                              { NULL, NULL } },
    .run = map_run,
    .group = "The node",
};
