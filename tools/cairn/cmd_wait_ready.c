/** cairn wait-ready: until a node answers; until its cluster has all replicas. */
#include "tools/cairn/cluster.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum { TRY_MS = 1000, LOOK_MS = 200 };

struct wait_ready_args {
    bool whole, settled;
};

struct wait {
    struct cli *cli;
    uint64_t began_ns, until_ns;
    bool settled;
    char text[sizeof(((struct cairn_error_info *)0)->text)]; /* what it is waited for */
    bool too_few_nodes;                                      /* for some of it no waiting helps */
    bool drawn;
};

/* What waiting does not mend. */
static bool is_final(int rc)
{
    return rc == CAIRN_E_AUTH || rc == CAIRN_E_DENIED || rc == CAIRN_E_INVAL || rc == CAIRN_E_VERSION;
}

static int node_answers(struct wait *w, struct cairn_error_info *error)
{
    struct cli *cli = w->cli;
    struct cairn_options o = CAIRN_OPTIONS_INIT;
    o.workspace = cli->g.workspace;
    o.addresses = cli->g.address;
    o.key_file = cli->g.key;
    /* Short tries: a node that starts anew may be found at another address than the last one left behind. */
    o.connect_timeout_ms =
        (uint32_t)MIN((w->until_ns - MIN(cli_now_ns(), w->until_ns)) / CAIRN_NS_PER_MS + 1, (uint64_t)TRY_MS);
    return cairn_connect(&o, &cli->session, error); /* it has answered */
}

/* Whether the node is in a cluster, and so knows that it is no process that the others miss; 1: it is in none. */
static int node_is_in_cluster(struct wait *w)
{
    struct cli_call call;
    struct cairn_call_options *o = cli_call_init(w->cli, &call, 0);
    char *text = NULL;
    o->timeout_ms = MIN(o->timeout_ms, (uint32_t)CLI_CLUSTER_SOON_MS);
    int rc = cairn_status(w->cli->session, &text, o);
    if (rc != 0)
        return rc;
    json_t *doc = json_loads(text, 0, NULL);
    const json_t *providers = json_object_get(doc, "providers");
    rc = doc == NULL ? CAIRN_E_FORMAT : 1;
    for (size_t i = 0; i < json_array_size(providers); i++) {
        const json_t *p = json_array_get(providers, i);
        const char *type = json_string_value(json_object_get(p, "type"));
        if (type != NULL && strcmp(type, "cluster") == 0)
            rc = json_integer_value(json_object_get(p, "lease_ms")) > 0 ? 0 : CAIRN_E_BUSY;
    }
    json_decref(doc);
    cairn_free(text);
    return rc;
}

static void __attribute__((format(printf, 2, 3))) add(struct wait *w, const char *fmt, ...)
{
    size_t at = strlen(w->text);
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(w->text + at, sizeof(w->text) - at, fmt, ap);
    va_end(ap);
}

/* "of 1024 slots 12 miss replicas, 3 change hands; node n3 is silent"; "" if nothing is amiss. What no waiting mends
 * comes first: a narrow terminal shows no more than the beginning. */
static void say_missing(struct wait *w, const json_t *doc)
{
    static const char *const counts[][2] = { { "degraded", "miss replicas" },
                                             { "lost", "have none" },
                                             { "takeover", "change hands" } };
    const json_t *slots = json_object_get(doc, "slots"), *members = json_object_get(doc, "members");
    json_t *too_few = cli_cluster_too_few_nodes(doc);
    bool any = false;
    snprintf(w->text, sizeof(w->text), "%s", too_few != NULL ? json_string_value(too_few) : "");
    w->too_few_nodes = too_few != NULL;
    json_decref(too_few);
    for (size_t i = 0; i < ARRAY_SIZE(counts); i++) {
        json_int_t n = cli_number_of(slots, counts[i][0]);
        if (n > 0 && !any)
            add(w, "%sof %lld slots %lld %s", w->text[0] != '\0' ? "; " : "",
                (long long)(cli_number_of(slots, "all") - MAX(cli_number_of(slots, "unused"), 0)), (long long)n,
                counts[i][1]);
        else if (n > 0)
            add(w, ", %lld %s", (long long)n, counts[i][1]);
        any |= n > 0;
    }
    for (size_t i = 0; i < json_array_size(members); i++) {
        const json_t *m = json_array_get(members, i);
        if (strcmp(cli_text_of(m, "state"), "silent") == 0)
            add(w, "%snode %s is silent", w->text[0] != '\0' ? "; " : "", cli_text_of(m, "name"));
    }
    if (w->text[0] == '\0' && cli_cluster_unheard(doc) != NULL)
        add(w, "node %s has not been heard since the coordinator was elected", cli_cluster_unheard(doc));
    if (w->text[0] == '\0' && strcmp(cli_cluster_health(doc), "failing") == 0)
        add(w, "slots refuse writes");
    if (w->text[0] == '\0' && w->settled && !cli_cluster_is_settled(doc))
        add(w, "slots are still to be moved");
}

/* 0: every slot has all its replicas, at processes that run now; w->text says what is missing. */
static int cluster_is_whole(struct wait *w)
{
    struct cli_call call;
    json_t *doc = NULL;
    int rc = node_is_in_cluster(w);
    if (rc == 1)
        return 0;
    snprintf(w->text, sizeof(w->text), "the node is not in its cluster yet");
    if (rc != 0)
        return rc;
    rc = cli_cluster_ask(w->cli, &call, CLI_CLUSTER_SOON_MS, &doc);
    snprintf(w->text, sizeof(w->text), "nobody coordinates the cluster");
    if (rc != 0)
        return rc;
    say_missing(w, doc);
    rc = w->text[0] != '\0' ? CAIRN_E_BUSY : 0;
    json_decref(doc);
    return rc;
}

static void draw(struct wait *w)
{
    if (!w->cli->err_tty || w->cli->g.quiet || w->cli->g.json)
        return;
    int room = w->cli->width > 40 ? (int)w->cli->width - 10 : 70; /* what wraps stays on the screen */
    fputs("\rwaiting  ", w->cli->err);
    cli_put_printable(w->cli->err, w->text, MIN(strlen(w->text), (size_t)room));
    fputs("\033[K", w->cli->err);
    fflush(w->cli->err);
    w->drawn = true;
}

static void draw_end(struct wait *w)
{
    if (w->drawn)
        fputs("\r\033[K", w->cli->err);
}

static int wait_ready_run(struct cli *cli, void *args)
{
    const struct wait_ready_args *a = args;
    struct wait w = { .cli = cli, .began_ns = cli_now_ns(), .settled = a->settled };
    bool whole = a->whole || a->settled;
    struct cairn_error_info error = { .text = "" };
    struct timespec pause = { .tv_nsec = 10 * (long)CAIRN_NS_PER_MS };
    int rc = CAIRN_E_TIMEOUT;
    bool looked = false;
    w.until_ns = w.began_ns + cli->g.timeout_ms * CAIRN_NS_PER_MS;
    while (cli_now_ns() < w.until_ns) {
        rc = node_answers(&w, &error);
        if (cli_is_wrong_address(cli, rc)) /* nor does it become one */
            return cli_fail(cli, rc, error.text, "waiting for the node");
        if (rc != 0 && !looked) /* a last try that is cut short says nothing of the cluster */
            snprintf(w.text, sizeof(w.text), "%s", error.text);
        looked |= rc == 0 && whole;
        if (rc == 0 && whole)
            rc = cluster_is_whole(&w);
        if (rc == 0 || is_final(rc))
            break;
        cli_disconnect(cli);
        draw(&w);
        nanosleep(&pause, NULL);
        pause.tv_nsec = MIN(2 * pause.tv_nsec, LOOK_MS * (long)CAIRN_NS_PER_MS);
    }
    draw_end(&w);
    if (is_final(rc))
        return cli_fail(cli, rc, w.text, "waiting for the node");
    cli->hint =
        looked && w.too_few_nodes
            ? "start more nodes, or give up the namespaces that want so many replicas: `cairn status` names them"
        : looked ? "`cairn status` says what is missing, and whether it comes back; a node that is away for good "
                   "is given up with `cairn drain --lost NODE`; --timeout waits longer"
                 : "start the node, or see in its log why it does not answer; --timeout waits longer";
    if (rc != 0)
        return cli_fail(cli, CAIRN_E_TIMEOUT, w.text, whole ? "the cluster is not whole" : "the node is not ready");
    if (cli->g.json)
        return cli_json(cli, json_pack("{s:b, s:I}", "ready", 1, "waited_ms",
                                       (json_int_t)((cli_now_ns() - w.began_ns) / CAIRN_NS_PER_MS)));
    return CLI_OK;
}

static const struct cli_opt wait_ready_opts[] = {
    CLI_OPT(struct wait_ready_args, whole, "whole", 0, CLI_FLAG, NULL, NULL,
            "until it is in its cluster and every slot there has all its replicas: the next node may be restarted"),
    CLI_OPT(struct wait_ready_args, settled, "settled", 0, CLI_FLAG, NULL, NULL,
            "likewise, and nothing is to be moved any more: each node has its share again"),
    CLI_OPT_END,
};

const struct cli_command cli_wait_ready = {
    .name = "wait-ready",
    .operands = "",
    .summary = "wait until the node answers, or its cluster is whole, at most --timeout",
    .text = "Exits with 0 as soon as it does, with 6 if the time is over. With --whole and --settled a node that is in "
            "no cluster has only to answer. Slots that no namespace uses, any more, do not count; those of a namespace "
            "that wants more replicas than there are nodes do, until there are more nodes.",
    .opts = wait_ready_opts,
    .args_size = sizeof(struct wait_ready_args),
    .examples =
        (const struct cli_example[]){
            { "cairn wait-ready --timeout 10s && start-the-job", "start in order" },
            { "systemctl restart cairnd@node && cairn wait-ready --whole --timeout 10m",
              "a rolling restart: this on one node after another" },
            { "cairn drain --cancel n2 && cairn wait-ready --settled --timeout 10m", "until all is as it was" },
            { NULL, NULL } },
    .run = wait_ready_run,
    .group = "The node",
};
