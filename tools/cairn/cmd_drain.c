/** cairn drain: a node of a cluster is to hold no slots any more. */
#include "tools/cairn/cluster.h"

#include <string.h>
#include <time.h>

enum {
    LOOK_MS = 500,
    SAY_MS = 5000, /* when nothing has moved for so long, it is said who may be the cause */
};

struct drain_args {
    bool cancel, wait, lost, force;
    uint64_t stall_ms;
};

/* A wait, as it is watched. */
struct drain {
    struct cli *cli;
    const char *node; /* as it was called */
    char id[24];      /* what is done is done to this one, and it is this one that is watched; "": nobody said */
    char who[160];    /* in words: the name, and the id where several have it */
    char state[16];   /* what it was before; "": nobody said */
    bool is_kept;     /* nobody had asked for its drain; one that is silent, or lost, may be drained or not */
    bool lost;
    uint32_t first, left;          /* slots that it held at first, and holds now */
    uint32_t alone;                /* of one that is lost: those that nobody else has, and that stay with it */
    uint64_t began_ns, changed_ns; /* changed: when a slot was last seen to leave */
    bool is_drained, is_up;        /* is_up: the drain was called off, or the lost one is back */
    bool is_said;                  /* who is @silent */
    char silent[128];              /* other nodes that are: what they are to get, or alone have, waits for them */
};

static int result(struct drain *d, const char *state)
{
    char took[CLI_UNIT_BYTES];
    uint64_t ns = cli_now_ns() - d->began_ns;
    if (d->cli->g.json)
        return cli_json(d->cli, json_pack("{s:s, s:s*, s:s, s:i, s:i, s:i, s:I}", "node", d->node, "id",
                                          d->id[0] != '\0' ? d->id : NULL, "state", state, "slots", (int)d->first,
                                          "slots_left", (int)d->left, "slots_out_of_reach", (int)d->alone, "elapsed_ms",
                                          (json_int_t)(ns / CAIRN_NS_PER_MS)));
    if (d->is_drained && d->alone > 0 && !d->cli->g.quiet)
        fprintf(d->cli->out, "node %s holds no more than %u slots that nobody else has, after %s\n", d->who, d->alone,
                cli_duration(took, ns));
    else if (d->is_drained && !d->cli->g.quiet)
        fprintf(d->cli->out, "node %s holds no slots any more, after %s\n", d->node, cli_duration(took, ns));
    return CLI_OK;
}

static void draw(const struct drain *d)
{
    char left[CLI_UNIT_BYTES + 8], time_left[CLI_UNIT_BYTES] = "";
    uint64_t ns = cli_now_ns() - d->began_ns, done = d->first - MIN(d->first, d->left);
    FILE *to = d->cli->err;
    if (!d->cli->err_tty || d->cli->g.quiet || d->cli->g.json)
        return;
    fprintf(to, "\rdrain  %s slots left  %.1f/s", cli_count(left, d->left),
            (double)done * CAIRN_NS_PER_S / (double)MAX(ns, 1U));
    if (done > 0)
        fprintf(to, "  %s left", cli_duration(time_left, (uint64_t)((double)ns / (double)done * d->left)));
    fputs("\033[K", to);
    fflush(to);
}

static void draw_end(const struct drain *d)
{
    if (d->cli->err_tty && !d->cli->g.quiet && !d->cli->g.json)
        fputs("\r\033[K", d->cli->err);
}

/* As many as there is room for. */
static void note_silent(struct drain *d, const json_t *members, const json_t *self)
{
    size_t at = 0;
    d->silent[0] = '\0';
    for (size_t i = 0; i < json_array_size(members) && at < sizeof(d->silent); i++) {
        const json_t *m = json_array_get(members, i);
        if ((m != self || !d->lost) && strcmp(cli_text_of(m, "state"), "silent") == 0)
            at += (size_t)snprintf(d->silent + at, sizeof(d->silent) - at, "%s%s", at > 0 ? ", " : "",
                                   cli_text_of(m, "name"));
    }
}

static const char *called(const struct drain *d)
{
    return d->id[0] != '\0' ? d->id : d->node;
}

/* Who is meant. Where nobody can say so now the coordinator finds out, by the name. */
static void find(struct drain *d)
{
    struct cli_call call;
    json_t *doc = NULL;
    const json_t *m = NULL, *members;
    size_t namesakes = 0;
    snprintf(d->who, sizeof(d->who), "%s", d->node);
    if (cli_cluster_ask(d->cli, &call, CLI_CLUSTER_SOON_MS, &doc) == 0)
        m = cli_cluster_member(doc, called(d), d->lost);
    members = json_object_get(doc, "members");
    for (size_t i = 0; i < json_array_size(members); i++)
        namesakes += strcmp(cli_text_of(json_array_get(members, i), "name"), cli_text_of(m, "name")) == 0;
    snprintf(d->id, sizeof(d->id), "%s", cli_text_of(m, "node"));
    snprintf(d->state, sizeof(d->state), "%s", cli_text_of(m, "state"));
    d->is_kept = m != NULL && json_is_false(json_object_get(m, "draining"));
    if (namesakes > 1)
        snprintf(d->who, sizeof(d->who), "%s (%s)", cli_text_of(m, "name"), d->id);
    json_decref(doc);
}

/* What the coordinator says now; nothing, while one follows another. Returns a CAIRN_E_* code. */
static int look(struct drain *d, struct cli_call *call)
{
    json_t *doc = NULL;
    int rc = cli_cluster_ask(d->cli, call, CLI_CLUSTER_SOON_MS, &doc);
    if (rc != 0)
        return rc;
    const json_t *m = cli_cluster_member(doc, called(d), d->lost);
    const char *state = json_string_value(json_object_get(m, "state"));
    uint32_t left = (uint32_t)json_integer_value(json_object_get(m, "slots"));
    if (state != NULL) {
        note_silent(d, json_object_get(doc, "members"), m);
        if (left < d->left)
            d->changed_ns = cli_now_ns();
        d->left = left;
        d->is_drained = strcmp(state, "drained") == 0 || strcmp(state, "left") == 0 ||
                        (strcmp(state, "lost") == 0 && left <= d->alone);
        d->is_up = strcmp(state, "up") == 0;
    } else if (d->id[0] != '\0' && json_array_size(json_object_get(doc, "members")) > 0) {
        d->is_drained = true; /* it held nothing any more, and was forgotten */
        d->left = 0;
    }
    json_decref(doc);
    return 0;
}

#define SILENT_CURE "start it again, or `cairn drain --lost` says that it does not come back"

static void say_silent(struct drain *d)
{
    if (d->is_said || d->silent[0] == '\0' || cli_now_ns() - d->changed_ns < SAY_MS * CAIRN_NS_PER_MS)
        return;
    draw_end(d);
    cli_warn(d->cli, SILENT_CURE, "no slot moves away; silent, and waited for: %s", d->silent);
    d->is_said = true;
}

static int wait_for_it(struct drain *d, uint64_t stall_ms)
{
    const struct timespec pause = { .tv_nsec = LOOK_MS * (long)CAIRN_NS_PER_MS };
    struct cli_call call;
    int rc;
    for (;;) {
        rc = look(d, &call);
        if (d->is_drained || d->is_up || cli_now_ns() - d->changed_ns >= stall_ms * CAIRN_NS_PER_MS)
            break;
        say_silent(d);
        draw(d);
        nanosleep(&pause, NULL);
    }
    draw_end(d);
    if (d->is_drained)
        return result(d, d->lost ? "lost" : "drained");
    if (d->is_up)
        return cli_fail(d->cli, CAIRN_E_STATE, d->lost ? "it is back" : "it was called off", "draining node %s",
                        d->who);
    if (rc != 0)
        return cli_fail(d->cli, CAIRN_E_TIMEOUT, call.error.code == rc ? call.error.text : cairn_error_text(rc),
                        "nobody says whether the drain goes on; node %s held %u slots at last", d->who, d->left);
    if (d->silent[0] != '\0') {
        d->cli->hint = SILENT_CURE;
        return cli_fail(d->cli, CAIRN_E_TIMEOUT, "no slot has moved away for --stall",
                        "node %s holds %u slots; silent, and waited for: %s", d->who, d->left, d->silent);
    }
    d->cli->hint = "the drain goes on; `cairn status` says what moves. Are there other nodes that may hold the slots?";
    return cli_fail(d->cli, CAIRN_E_TIMEOUT, "no slot has moved away for --stall", "node %s holds %u slots", d->who,
                    d->left);
}

/* Who is away for good: there is nothing to be moved, only to be made anew. */
static int lose(struct cli *cli, const struct drain_args *a, struct drain *d)
{
    struct cli_call call;
    int rc = cairn_cluster_lose(cli->session, called(d), a->force, &d->first, &d->alone, cli_call_init(cli, &call, 0));
    bool is_away = strcmp(d->state, "silent") == 0 || strcmp(d->state, "lost") == 0;
    if (rc == CAIRN_E_STATE && is_away)
        cli->hint = "--force gives it up where nobody else has a slot, too: what that holds stays out of reach unless "
                    "the node comes back";
    else if (rc == CAIRN_E_STATE)
        cli->hint = "if it has just died, the cluster notices within seconds: once `cairn members --cluster` shows it "
                    "silent, repeat the command";
    else if (rc == CAIRN_E_NOTFOUND)
        cli->hint = "`cairn members --cluster` lists the nodes, and shows who is silent";
    return rc != 0 ? cli_cluster_failed(cli, rc, &call, "giving up node %s", d->who) : CLI_OK;
}

static int drain(struct cli *cli, const struct drain_args *a, struct drain *d)
{
    struct cli_call call;
    int rc = cairn_cluster_drain(cli->session, called(d), a->cancel, a->force, &d->first, cli_call_init(cli, &call, 0));
    if (rc == CAIRN_E_NOTFOUND)
        cli->hint = "`cairn members --cluster` lists the nodes";
    if (rc == CAIRN_E_STATE) {
        cli->hint =
            "start another node first, or keep one that was drained and is up still (`cairn drain --cancel NODE`); "
            "--force drains it all the same";
        return cli_call_failed(cli, rc, &call, "node %s is not drained", d->who);
    }
    if (rc != 0)
        return cli_cluster_failed(cli, rc, &call, "draining node %s", d->who);
    if (!a->cancel && d->first > 0)
        cli_cluster_warn_drain(cli, d->node);
    if (!a->cancel)
        cli_cluster_warn_local(cli, d->node);
    return CLI_OK;
}

static int drain_run(struct cli *cli, void *args)
{
    const struct drain_args *a = args;
    struct drain d = { .cli = cli, .node = cli->operands[0], .lost = a->lost, .began_ns = cli_now_ns() };
    if (a->cancel && a->force)
        return cli_usage(cli, "--force is for a drain, not for --cancel");
    if (a->cancel && a->wait)
        return cli_usage(cli, "--cancel does not wait: `cairn wait-ready --settled` does, until the slots are back");
    if (a->cancel && a->lost)
        return cli_usage(cli, "--lost cannot be called off: a node that is started again gets its share");
    int status = cli_connect(cli);
    if (status == CLI_OK)
        find(&d);
    if (status == CLI_OK && a->cancel && d.is_kept) {
        if (!cli->g.json && !cli->g.quiet) {
            fprintf(cli->out, "node %s is ", d.who);
            cli_put_text(cli->out, d.state);
            fprintf(cli->out, ", and not being drained: there is nothing to call off\n");
        }
        return result(&d, d.state);
    }
    if (status == CLI_OK)
        status = a->lost ? lose(cli, a, &d) : drain(cli, a, &d);
    if (status != CLI_OK)
        return status;
    d.left = d.first;
    d.changed_ns = cli_now_ns();
    if (a->wait)
        return wait_for_it(&d, a->stall_ms);
    if (!cli->g.json && !cli->g.quiet)
        fprintf(cli->out,
                a->lost       ? "node %s is lost: %u slots get another replica elsewhere\n"
                : a->cancel   ? "node %s is drained no longer; it holds %u slots, and its share comes back\n"
                : d.first > 0 ? "node %s is being drained: %u slots move away\n"
                              : "node %s is drained: it holds no slots, and can be stopped\n",
                d.who, d.first - d.alone);
    return result(&d, a->lost ? "lost" : a->cancel ? "up" : "draining");
}

static const struct cli_opt drain_opts[] = {
    CLI_OPT(struct drain_args, cancel, "cancel", 'c', CLI_FLAG, NULL, NULL, "no longer: it gets its share again"),
    CLI_OPT(struct drain_args, lost, "lost", 0, CLI_FLAG, NULL, NULL,
            "it is away for good: make anew elsewhere what it held, now"),
    CLI_OPT(struct drain_args, wait, "wait", 'w', CLI_FLAG, NULL, NULL,
            "until it holds no slots; on a terminal with a line that says how far it is"),
    CLI_OPT(struct drain_args, force, "force", 'f', CLI_FLAG, NULL, NULL,
            "also where no more than one copy is left, or no node that could take it; with --lost: also where nobody "
            "else who is there has a slot, which stays out of reach"),
    CLI_OPT(struct drain_args, stall_ms, "stall", 0, CLI_TIME, "TIME", "5m",
            "with --wait: give up (exit 6) when no slot has moved away for so long; the drain goes on"),
    CLI_OPT_END,
};

const struct cli_command cli_drain = {
    .name = "drain",
    .operands = "NODE",
    .summary = "let a node of the cluster hold no slots any more, so that it can be stopped",
    .text =
        "All its slots move to other nodes, in the bounds that the configuration sets (cluster.moves, moves_per_node, "
        "copy_rate), while everything is served as ever; it gets no new ones. Any node takes the command. Where too "
        "few nodes are left for the replicas that a namespace wants, this is said, as many are kept as can be, and "
        "`cairn status` says so; where it would be one copy of several, or none had a place to go, the drain is "
        "refused, unless --force is given. Namespaces that were made without --replicas are in no slot: what the node "
        "has of "
        "them stays on it, and is out of reach while it is stopped. A node that was drained and is started again gets "
        "its share again, so a rolling "
        "restart is: drain --wait, restart, next. A drain that was not done by then goes on. To keep a node without "
        "slots while it runs, set cluster.weight to 0. A node that died is waited for, for cluster.lost_after; with "
        "--lost no longer: what it held is made anew from the other replicas. That is refused while the node is there, "
        "and where it has the only replica. Should it come back, it gets its share again. A node that "
        "was started again with an empty data directory is another one of the same name, and what the old one held is made "
        "anew without being asked for: --lost NAME is then the one that is silent, or still holds slots. NODE may be an "
        "id, too: `cairn members --cluster` shows them where several have a name, with --json always. For administrators.",
    .opts = drain_opts,
    .args_size = sizeof(struct drain_args),
    .examples = (const struct cli_example[]){ { "cairn drain --wait n2", "then stop n2: nobody misses its replicas" },
                                              { "cairn drain n2", "begin; `cairn status` says how far it is" },
                                              { "cairn drain --cancel n2", "keep it after all" },
                                              { "cairn drain --lost --wait n2",
                                                "n2 burnt down: until all slots have their replicas elsewhere" },
                                              { NULL, NULL } },
    .run = drain_run,
    .group = "The node",
};
