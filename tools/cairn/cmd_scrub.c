/** cairn scrub: the replicas of a cluster are compared; each node does so for the slots that it leads. Nodes are asked
 * at the same time, so those that do not answer take no longer than one. */
#include "tools/cairn/cluster.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { LOOK_MS = 200, ANSWER_MS = 5000, THREADS_MAX = 64 };

struct scrub_args {
    bool start, wait;
    uint64_t stall_ms;
};

/* ---- one node ---- */

/* What it says, or that it does not and why; a new reference. Returns a CAIRN_E_* code. */
static int node_ask(const struct cli *cli, const json_t *member, bool start, json_t **doc)
{
    struct cairn_call_options o = CAIRN_CALL_OPTIONS_INIT;
    struct cairn_error_info error = { 0 };
    struct cairn *session = NULL;
    char *text = NULL;
    int rc = cli_cluster_connect(cli, member, ANSWER_MS, &session, &error);
    o.timeout_ms = ANSWER_MS;
    o.error = &error;
    if (rc == 0)
        rc = cairn_cluster_scrub(session, start, &text, &o);
    cairn_close(session);
    *doc = rc == 0 ? json_loads(text, 0, NULL) : NULL;
    cairn_free(text);
    if (json_is_object(*doc))
        return 0;
    json_decref(*doc);
    rc = rc != 0 ? rc : CAIRN_E_FORMAT;
    *doc = json_pack("{s:s, s:s, s:o, s:[]}", "node", cli_text_of(member, "name"), "state", "no answer", "problem",
                     cli_json_text(error.code == rc ? error.text : cairn_error_text(rc)), "findings");
    return rc;
}

/* ---- all of them ---- */

struct asked {
    const json_t *member;
    json_t *doc;
    int rc;
};

struct asking {
    const struct cli *cli;
    bool start;
    struct asked *all;
    size_t n;
    atomic_size_t next;
};

static void *asking_main(void *arg)
{
    struct asking *a = arg;
    for (size_t i; (i = atomic_fetch_add(&a->next, 1)) < a->n;)
        a->all[i].rc = node_ask(a->cli, a->all[i].member, a->start, &a->all[i].doc);
    return NULL;
}

/* With as many threads as there may be, this one among them. */
static void ask_all(struct asking *a)
{
    pthread_t threads[THREADS_MAX];
    size_t n = 0;
    while (n < THREADS_MAX && n + 1 < a->n && pthread_create(&threads[n], NULL, asking_main, a) == 0)
        n++;
    asking_main(a);
    while (n > 0)
        pthread_join(threads[--n], NULL);
}

struct look {
    json_t *nodes;   /* a document each */
    json_int_t done; /* slots and keys, of all */
    json_int_t rounds;
    uint32_t running, silent;
    json_int_t open, not_compared;
};

static void look_free(struct look *l)
{
    json_decref(l->nodes);
}

static void look_add(struct look *l, json_t *doc)
{
    l->done += cli_number_of(doc, "slots") + cli_number_of(doc, "keys") + cli_number_of(doc, "slots_skipped");
    l->rounds += cli_number_of(doc, "rounds");
    l->running += strcmp(cli_text_of(doc, "state"), "running") == 0;
    l->silent += strcmp(cli_text_of(doc, "state"), "no answer") == 0;
    l->open += cli_number_of(doc, "open");
    l->not_compared += cli_number_of(doc, "not_compared");
    json_array_append_new(l->nodes, doc);
}

static int look(struct cli *cli, bool start, struct look *l)
{
    struct cli_call call;
    json_t *cluster = NULL;
    int rc = cli_cluster_ask(cli, &call, 0, &cluster);
    *l = (struct look){ .nodes = json_array() };
    if (rc == CAIRN_E_NOPROVIDER)
        cli->hint = "`cairn extent scrub` is of one node's extents";
    if (rc != 0)
        return cli_cluster_failed(cli, rc, &call, "asking for the cluster's members");
    const json_t *members = json_object_get(cluster, "members");
    struct asking a = { .cli = cli, .start = start, .all = calloc(json_array_size(members) + 1, sizeof(*a.all)) };
    for (size_t i = 0; a.all != NULL && i < json_array_size(members); i++) {
        const json_t *m = json_array_get(members, i);
        if (strcmp(cli_text_of(m, "state"), "left") != 0 && strcmp(cli_text_of(m, "state"), "lost") != 0)
            a.all[a.n++].member = m;
    }
    ask_all(&a);
    int status = a.all != NULL ? CLI_OK : cli_fail(cli, CAIRN_E_NOMEM, NULL, "asking the nodes");
    for (size_t i = 0; i < a.n; i++) {
        struct asked *one = &a.all[i];
        if (status == CLI_OK && (one->rc == CAIRN_E_DENIED || one->rc == CAIRN_E_AUTH)) /* as all would in the end */
            status = cli_fail(cli, one->rc, cli_text_of(one->doc, "problem"), "asking node %s",
                              cli_text_of(one->member, "name"));
        look_add(l, one->doc);
    }
    free(a.all);
    json_decref(cluster);
    return status;
}

/* Namespaces are named by numbers between nodes. */
static void name_namespace(json_t *finding, const struct cairn_ns_list *list)
{
    for (size_t i = 0; list != NULL && i < list->n; i++) {
        if (list->namespaces[i].id == (uint64_t)cli_number_of(finding, "namespace"))
            json_object_set_new(finding, "namespace", json_string(list->namespaces[i].name));
    }
}

static json_t *findings(struct cli *cli, const struct look *l)
{
    json_t *all = json_array();
    struct cairn_ns_list *list = NULL;
    struct cli_call call;
    for (size_t i = 0; i < json_array_size(l->nodes); i++) {
        const json_t *of = json_object_get(json_array_get(l->nodes, i), "findings");
        for (size_t k = 0; k < json_array_size(of); k++) {
            if (list == NULL && cairn_ns_list(cli->session, &list, cli_call_init(cli, &call, 0)) != 0)
                list = NULL;
            name_namespace(json_array_get(of, k), list);
            json_array_append(all, json_array_get(of, k));
        }
    }
    cairn_free(list);
    return all;
}

/* ---- what is shown ---- */

static const struct cli_col node_cols[] = {
    { "NODE", "node", CLI_CELL_TEXT },
    { "STATE", "state", CLI_CELL_TEXT },
    { "ROUNDS", "rounds", CLI_CELL_NUMBER },
    { "SLOTS", "slots", CLI_CELL_NUMBER },
    { "KEYS", "keys", CLI_CELL_NUMBER },
    { "BYTES", "bytes", CLI_CELL_BYTES },
    { "REPAIRED", "repaired", CLI_CELL_NUMBER },
    { "OPEN", "open", CLI_CELL_NUMBER },
    { "NOT COMPARED", "not_compared", CLI_CELL_NUMBER },
    { "PROBLEM", "problem", CLI_CELL_WORDS },
};

static void show_finding(struct cli *cli, const json_t *f)
{
    const json_t *copies = json_object_get(f, "copies"), *a = json_array_get(copies, 0), *b = json_array_get(copies, 1);
    const json_t *ns = json_object_get(f, "namespace"), *key = json_object_get(f, "key");
    char number[24];
    char *line = NULL;
    size_t len;
    FILE *to = open_memstream(&line, &len);
    if (to == NULL)
        return;
    snprintf(number, sizeof(number), "%lld", (long long)json_integer_value(ns));
    fprintf(to, "%s: %s%s%s", cli_text_of(f, "outcome"), json_is_string(ns) ? json_string_value(ns) : number,
            key != NULL ? " " : " 0x", key != NULL ? json_string_value(key) : cli_text_of(f, "key_hex"));
    fprintf(to, " (slot %lld): %s at %s, %s at %s", (long long)cli_number_of(f, "slot"), cli_text_of(a, "copy"),
            cli_text_of(a, "node"), cli_text_of(b, "copy"), cli_text_of(b, "node"));
    if (fclose(to) == 0)
        cli_put_line(cli->out, line);
    free(line);
}

static int show(struct cli *cli, const struct look *l)
{
    json_t *all = findings(cli, l);
    bool has_problems = cli->g.json || l->silent > 0;
    struct cli_table *t = cli_table_new(cli, "nodes", node_cols, ARRAY_SIZE(node_cols) - (has_problems ? 0 : 1));
    for (size_t i = 0; i < json_array_size(l->nodes); i++) {
        const json_t *n = json_array_get(l->nodes, i);
        cli_table_row(t,
                      (struct cli_cell[]){
                          CLI_TEXT(cli_text_of(n, "node")), CLI_TEXT(cli_text_of(n, "state")),
                          CLI_NUM((uint64_t)cli_number_of(n, "rounds")), CLI_NUM((uint64_t)cli_number_of(n, "slots")),
                          CLI_NUM((uint64_t)cli_number_of(n, "keys")), CLI_NUM((uint64_t)cli_number_of(n, "bytes")),
                          CLI_NUM((uint64_t)cli_number_of(n, "repaired")), CLI_NUM((uint64_t)cli_number_of(n, "open")),
                          CLI_NUM((uint64_t)cli_number_of(n, "not_compared")),
                          CLI_TEXT(json_string_value(json_object_get(n, "problem"))) });
    }
    cli_table_extra(t, "findings", json_incref(all));
    int status = cli_table_end(t);
    for (size_t i = 0; !cli->g.json && i < json_array_size(all); i++)
        show_finding(cli, json_array_get(all, i));
    json_decref(all);
    if (l->not_compared > 0)
        cli_warn(cli, "`cairn status` says which copies are missing; begin another round when none is",
                 "%lld slots were not compared: they have no second copy in sync, or another node leads them now",
                 (long long)l->not_compared);
    return status == CLI_OK && (l->open > 0 || l->silent > 0 || l->not_compared > 0) ? CLI_DEGRADED : status;
}

/* Until no node is at it, as long as some get on. */
static int wait_for_it(struct cli *cli, struct look *l, uint64_t stall_ms)
{
    const struct timespec pause = { .tv_nsec = LOOK_MS * (long)CAIRN_NS_PER_MS };
    uint64_t changed_ns = cli_now_ns();
    while (l->running > 0) {
        json_int_t done = l->done;
        nanosleep(&pause, NULL);
        look_free(l);
        int status = look(cli, false, l);
        if (status != CLI_OK)
            return status;
        if (l->done != done)
            changed_ns = cli_now_ns();
        if (cli_now_ns() - changed_ns >= stall_ms * CAIRN_NS_PER_MS)
            return cli_fail(cli, CAIRN_E_TIMEOUT, "no node has got on for --stall", "comparing replicas");
    }
    return CLI_OK;
}

static int scrub_run(struct cli *cli, void *args)
{
    const struct scrub_args *a = args;
    struct look l = { 0 };
    int status = cli_connect(cli);
    if (status == CLI_OK)
        status = look(cli, a->start, &l);
    if (status == CLI_OK && a->wait)
        status = wait_for_it(cli, &l, a->stall_ms);
    if (status == CLI_OK && a->wait && !a->start && l.rounds == 0 && !cli->g.json)
        cli_note(cli, "no node is in the middle of a round, and none was finished since they were started: nothing has "
                      "been compared yet; `cairn scrub --start --wait` compares everything now");
    if (status == CLI_OK)
        status = show(cli, &l);
    look_free(&l);
    return status;
}

static const struct cli_opt scrub_opts[] = {
    CLI_OPT(struct scrub_args, start, "start", 's', CLI_FLAG, NULL, NULL,
            "begin a round now, at every node that rests"),
    CLI_OPT(struct scrub_args, wait, "wait", 'w', CLI_FLAG, NULL, NULL, "until no node is in the middle of a round"),
    CLI_OPT(struct scrub_args, stall_ms, "stall", 0, CLI_TIME, "TIME", "5m",
            "with --wait: give up (exit 6) when no node has got on for so long; the rounds go on"),
    CLI_OPT_END,
};

const struct cli_command cli_scrub = {
    .name = "scrub",
    .operands = "",
    .summary = "show how far the comparing of replicas is, and what it has found; or begin it",
    .text = "Each node compares the slots that it leads with what the other nodes in sync have, key by key, in the "
            "background (cluster.scrub_rate, cluster.scrub_interval), while everything is served as ever. A copy that "
            "is missing, does not match its checksums, or whose extents are in quarantine is repaired from a good one. "
            "Two copies that both look good and differ are only told, as different: which of them is right somebody "
            "else has to say, by writing the key anew. Findings are listed until a later round finds the key well "
            "again; those that were repaired, until there are too many, or the node is started again. Numbers are "
            "since a node's start, but NOT COMPARED, which is of its last round: slots that had no second copy in sync "
            "while it lasted, or that another node leads since. Exits with 5 while there are findings that are not "
            "repaired or slots that were not compared, or a node does not answer. For administrators.",
    .opts = scrub_opts,
    .args_size = sizeof(struct scrub_args),
    .examples = (const struct cli_example[]){ { "cairn scrub", "what has been compared, and found?" },
                                              { "cairn scrub --start --wait", "compare everything now" },
                                              { NULL, NULL } },
    .run = scrub_run,
    .group = "The node",
};
