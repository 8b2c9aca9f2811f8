/** cairn status, machines, metrics, config check: the node itself. */
#include "tools/cairn/cluster.h"
#include "tools/cairn/node_program.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- status ---- */

static bool is_unwell(const json_t *o)
{
    const char *health = json_string_value(json_object_get(o, "health"));
    return health != NULL && strcmp(health, "ok") != 0;
}

/* A node is degraded if it says so, or if one of its providers does. */
static bool is_degraded(const json_t *doc)
{
    const json_t *providers = json_object_get(doc, "providers");
    for (size_t i = 0; i < json_array_size(providers); i++) {
        if (is_unwell(json_array_get(providers, i)))
            return true;
    }
    return is_unwell(doc);
}

/* What people ask of a provider: how much it holds, how much more it could, what is wrong. Counters are for `cairn
 * metrics`, --verbose and --json. */
static bool is_wanted(const char *key)
{
    static const char *const wanted[] = { "regions",     "databases",     "namespaces",    "bytes",
                                          "used_bytes",  "free_bytes",    "memory_bytes",  "memory_limit_bytes",
                                          "quarantined", "corrupt_reads", "failed_writes", "last_error",
                                          "coordinator", "lease",         "problem" };
    for (size_t i = 0; i < ARRAY_SIZE(wanted); i++) {
        if (strcmp(wanted[i], key) == 0)
            return true;
    }
    return false;
}

/* Providers differ in what they report. For people: what they have in common as columns, the rest, where it is not 0,
 * in one, and unless @verbose no more than they ask for. */
static json_t *with_details(const json_t *provider, bool verbose)
{
    static const char *const columns[] = { "name", "type", "id", "backend", "health" };
    json_t *row = json_object(), *rest = json_copy((json_t *)provider), *v;
    const char *key;
    void *next;
    for (size_t i = 0; i < ARRAY_SIZE(columns); i++) {
        v = json_object_get(rest, columns[i]);
        if (v != NULL)
            json_object_set(row, columns[i], v);
        json_object_del(rest, columns[i]);
    }
    json_object_foreach_safe(rest, next, key, v)
    {
        if ((json_is_integer(v) && json_integer_value(v) == 0) || (!verbose && !is_wanted(key)))
            json_object_del(rest, key);
    }
    json_object_set_new(row, "details", rest);
    return row;
}

static void shorten_providers(json_t *doc, bool verbose)
{
    json_t *providers = json_object_get(doc, "providers"), *rows = json_array();
    for (size_t i = 0; i < json_array_size(providers); i++)
        json_array_append_new(rows, with_details(json_array_get(providers, i), verbose));
    json_object_set_new(doc, "providers", rows);
}

/* Asks the node for one of its documents. Returns an exit code. */
static int ask(struct cli *cli, int (*fn)(struct cairn *, char **, const struct cairn_call_options *), const char *what,
               json_t **doc)
{
    int status = cli_connect(cli);
    if (status != CLI_OK)
        return status;
    struct cli_call call;
    char *text = NULL;
    int rc = fn(cli->session, &text, cli_call_init(cli, &call, 0));
    if (rc != 0)
        return cli_call_failed(cli, rc, &call, "asking for %s", what);
    status = cli_parse_document(cli, text, doc);
    cairn_free(text);
    return status;
}

/* A node of a cluster can say how that is, too: whichever node coordinates. */
static bool is_in_cluster(const json_t *doc)
{
    const json_t *providers = json_object_get(doc, "providers");
    for (size_t i = 0; i < json_array_size(providers); i++) {
        const char *type = json_string_value(json_object_get(json_array_get(providers, i), "type"));
        if (type != NULL && strcmp(type, "cluster") == 0)
            return true;
    }
    return false;
}

/* Adds it to @doc. While nobody coordinates that is all there is to say. Returns whether it is degraded. */
static bool add_cluster(struct cli *cli, json_t *doc)
{
    struct cli_call call;
    json_t *cluster = NULL;
    if (!is_in_cluster(doc))
        return false;
    int rc = cli_cluster_ask(cli, &call, CLI_CLUSTER_SOON_MS, &cluster);
    if (rc != 0) {
        json_object_set_new(doc, "cluster",
                            json_pack("{s:s, s:o}", "health", "unknown", "problem",
                                      json_sprintf("no node that coordinates it answers: %s", call.error.code == rc ? call.error.text : cairn_error_text(rc))));
        return true;
    }
    const char *health = cli_cluster_health(cluster);
    bool degraded = strcmp(health, "ok") != 0;
    cli_cluster_name_classes(cli, cluster);
    json_object_set_new(cluster, "health", json_string(health));
    json_object_set_new(doc, "cluster", cli->g.json ? cluster : cli_cluster_brief(cluster));
    if (!cli->g.json)
        json_decref(cluster);
    return degraded;
}

struct status_args {
    bool verbose;
};

static int status_run(struct cli *cli, void *args)
{
    const struct status_args *a = args;
    json_t *doc = NULL;
    int status = ask(cli, cairn_status, "the status", &doc);
    if (status != CLI_OK)
        return status;
    bool degraded = is_degraded(doc);
    degraded |= add_cluster(cli, doc);
    if (cli->g.json) {
        status = cli_json(cli, json_incref(doc));
    } else {
        shorten_providers(doc, a->verbose);
        status = cli_render(cli, doc);
    }
    json_decref(doc);
    return status == CLI_OK && degraded ? CLI_DEGRADED : status;
}

static const struct cli_opt status_opts[] = {
    CLI_OPT(struct status_args, verbose, "verbose", 'v', CLI_FLAG, NULL, NULL,
            "with all that the providers count, where it is not 0"),
    CLI_OPT_END,
};

const struct cli_command cli_status = {
    .name = "status",
    .operands = "",
    .summary = "show the node, its providers and what is wrong with them",
    .text =
        "Exits with 5 if something in the node is degraded: a full disk, data in quarantine, a part that has failed "
        "until the node is started again; or in its cluster: "
        "replicas that are missing (of how many slots, how many are wanted and how many there are at least), a "
        "node that is silent, nobody who coordinates. The cluster is `failing` where something does not work: "
        "slots that nobody serves, or that refuse writes. While slots are moved (nodes join, are drained, "
        "have another weight), replicas made anew, or those of nodes that are back catch up, it says how many, how "
        "fast, and how long it will take. That there are fewer zones than replicas are wanted is said, too, and "
        "degrades nothing.",
    .opts = status_opts,
    .args_size = sizeof(struct status_args),
    .examples = (const struct cli_example[]){ { "cairn status", "how is it?" },
                                              { "cairn status --json | jq .providers", "for programs" },
                                              { NULL, NULL } },
    .run = status_run,
    .group = "The node",
};

/* ---- machines ---- */

struct machines_args {
    const char *graph;
    bool trace, kinds;
};

/* For people a row is a state of a kind that something is in; how many of a kind are stuck stands beside each. */
static json_t *state_rows(const json_t *kinds)
{
    json_t *rows = json_array();
    for (size_t i = 0; i < json_array_size(kinds); i++) {
        const json_t *kind = json_array_get(kinds, i), *states = json_object_get(kind, "states");
        for (size_t k = 0; k < json_array_size(states); k++) {
            const json_t *state = json_array_get(states, k);
            json_array_append_new(
                rows, json_pack("{s:O, s:O, s:O, s:O, s:O}", "kind", json_object_get(kind, "kind"), "state",
                                json_object_get(state, "name"), "count", json_object_get(state, "count"), "oldest_ms",
                                json_object_get(state, "oldest_ms"), "stuck", json_object_get(kind, "stuck")));
        }
    }
    return rows;
}

static int machines_run(struct cli *cli, void *args)
{
    const struct machines_args *a = args;
    int status = cli_connect(cli);
    if (status != CLI_OK)
        return status;
    struct cli_call call;
    char *text = NULL;
    json_t *doc = NULL;
    int rc = cairn_machines(cli->session, a->graph, a->trace, &text, cli_call_init(cli, &call, 0));
    if (rc == CAIRN_E_NOTFOUND)
        cli->hint = "`cairn machines --kinds` lists the kinds";
    if (rc != 0)
        return cli_call_failed(cli, rc, &call, "asking for state machines");
    if (a->graph != NULL) {
        if (cli->g.json)
            status = cli_json(cli, json_pack("{s:s, s:s}", "kind", a->graph, "dot", text));
        else
            fputs(text, cli->out);
        cairn_free(text);
        return status;
    }
    status = cli_parse_document(cli, text, &doc);
    cairn_free(text);
    if (status != CLI_OK)
        return status;
    if (cli->g.json)
        return cli_json(cli, doc);
    if (a->kinds) {
        const json_t *kinds = json_object_get(doc, "kinds");
        for (size_t i = 0; i < json_array_size(kinds); i++)
            cli_put_line(cli->out, cli_text_of(json_array_get(kinds, i), "kind"));
        json_decref(doc);
        return CLI_OK;
    }
    json_t *trace = json_incref(json_object_get(doc, "trace"));
    json_object_del(doc, "trace");
    json_object_set_new(doc, "machines", state_rows(json_object_get(doc, "kinds")));
    json_object_del(doc, "kinds");
    status = cli_render(cli, doc);
    for (size_t i = 0; i < json_array_size(trace); i++) {
        const json_t *line = json_array_get(trace, i);
        if (json_is_string(line))
            cli_put_line(cli->out, json_string_value(line));
    }
    for (const char *c = json_is_string(trace) ? json_string_value(trace) : ""; *c != '\0'; c += *c == '\n') {
        size_t n = strcspn(c, "\n");
        cli_put_printable(cli->out, c, n);
        putc('\n', cli->out);
        c += n;
    }
    json_decref(trace);
    json_decref(doc);
    return status;
}

static const struct cli_opt machines_opts[] = {
    CLI_OPT(struct machines_args, graph, "graph", 'g', CLI_STRING, "KIND", NULL,
            "the states of one kind as a DOT graph"),
    CLI_OPT(struct machines_args, kinds, "kinds", 'k', CLI_FLAG, NULL, NULL, "the names of the kinds, a line each"),
    CLI_OPT(struct machines_args, trace, "trace", 0, CLI_FLAG, NULL, NULL, "with the recent moves"),
    CLI_OPT_END,
};

const struct cli_command cli_machines = {
    .name = "machines",
    .operands = "",
    .summary = "show what operations are under way in the node, and in which state",
    .text = "Every operation that waits is a state machine. The table counts them by kind and state, says how old the "
            "oldest is, and which are stuck.",
    .opts = machines_opts,
    .args_size = sizeof(struct machines_args),
    .examples =
        (const struct cli_example[]){ { "cairn machines", "what is under way" },
                                      { "cairn machines --graph extent-put | dot -Tsvg > put.svg", "draw one kind" },
                                      { NULL, NULL } },
    .run = machines_run,
    .group = "The node",
};

/* ---- metrics ---- */

static int metrics_run(struct cli *cli, void *args)
{
    (void)args;
    json_t *doc = NULL;
    int status = ask(cli, cairn_metrics, "metrics", &doc);
    if (status != CLI_OK)
        return status;
    if (cli->g.json)
        return cli_json(cli, doc);
    json_t *methods = json_object_get(doc, "methods");
    for (size_t i = 0; i < json_array_size(methods); i++) { /* for programs, which look twice; there is a p99 beside */
        json_object_del(json_array_get(methods, i), "latencies");
        json_object_del(json_array_get(methods, i), "sum_ns");
        json_object_del(json_array_get(methods, i), "clients");
    }
    status = cli_render(cli, doc);
    json_decref(doc);
    return status;
}

const struct cli_command cli_metrics = {
    .name = "metrics",
    .operands = "",
    .summary = "show counters and latencies of the node's providers",
    .text =
        "The same figures are served as Prometheus text at /metrics where the configuration names an address for it. "
        "/healthz is beside it: 200 while the node serves, with the text `ok`, or `degraded: ` and why; 503 while it "
        "drains, and when a part of it has failed, which only a new start mends. So cairn_healthy is 1 for a node that is degraded, and cairn_degraded tells.",
    .examples = (const struct cli_example[]){ { "cairn metrics", "all of them" },
                                              { "cairn metrics --json", "for programs" },
                                              { NULL, NULL } },
    .run = metrics_run,
    .group = "The node",
};

/* ---- config check ---- */

/* One line of the checker, "FILE:LINE:COL: TEXT", as an object; anything else only as text. */
static json_t *finding(const char *line)
{
    const char *at = line;
    unsigned row = 0, col = 0;
    int n = 0;
    while ((at = strchr(at, ':')) != NULL) {
        if (sscanf(at, ":%u:%u: %n", &row, &col, &n) == 2 && n > 0)
            return json_pack("{s:s%, s:i, s:i, s:s}", "file", line, (size_t)(at - line), "line", (int)row, "column",
                             (int)col, "text", at + n);
        at++;
    }
    return json_pack("{s:s}", "text", line);
}

static int config_check_run(struct cli *cli, void *args)
{
    (void)args;
    const char *argv[] = { "cairnd", "--check-config", "--config", cli->operands[0], NULL };
    struct cli_node_program p;
    int status = cli_node_program_start(cli, &p, argv, true);
    if (status != CLI_OK)
        return status;
    json_t *findings = json_array();
    char *line = NULL;
    size_t room = 0;
    ssize_t n;
    while ((n = getline(&line, &room, p.out)) > 0) {
        if (line[n - 1] == '\n')
            line[n - 1] = '\0';
        if (cli->g.json)
            json_array_append_new(findings, finding(line));
        else
            fprintf(cli->out, "%s\n", line);
    }
    free(line);
    int code = cli_node_program_end(&p);
    bool in_use = code == CAIRND_IN_USE, good = in_use || code == 0;
    int rc = CLI_OK;
    if (cli->g.json)
        rc = cli_json(cli, json_pack("{s:b, s:b, s:O}", "valid", good, "in_use", in_use, "findings", findings));
    json_decref(findings);
    return good ? rc : CLI_FAILED;
}

const struct cli_command cli_config_check = {
    .name = "config check",
    .operands = "FILE",
    .summary = "check a configuration file as a start would",
    .text =
        "Every mistake is reported in one pass, with file, line and column. Nothing is changed and no node is needed. "
        "Where the map is in etcd, that is asked, too, for at most 5 s, whatever map.timeout says. "
        "That a node which runs has its data and its addresses in use is said, and is no mistake of the file.",
    .examples = (const struct cli_example[]){ { "cairn config check cairn.yaml", "exit 1 if a node would refuse it" },
                                              { NULL, NULL } },
    .run = config_check_run,
    .group = "The node",
};
