/** cairn members, group set, group join: who is in a group, and what this node says there. */
#include "tools/cairn/cluster.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

struct members_args {
    const char *group;
    bool watch, cluster, names;
};

static const struct cli_col columns[] = {
    { "NAME", "name", CLI_CELL_TEXT },
    { "STATE", "state", CLI_CELL_TEXT },
    { "ADDRESS", "address", CLI_CELL_TEXT },
    { "SERVICE", "service", CLI_CELL_TEXT },
    { "ZONE", "zone", CLI_CELL_TEXT },
    { "WEIGHT", "weight", CLI_CELL_NUMBER },
    { "CAPACITY", "capacity_bytes", CLI_CELL_ROOM },
    { "LOAD", "load_permille", CLI_CELL_NUMBER },
    { NULL, "incarnation", CLI_CELL_PLAIN },
};

static const char *or_none(const char *s)
{
    return s[0] != '\0' ? s : NULL;
}

/* A cluster's nodes have a group without configuration; one that cannot says why when it starts. */
static int group_failed(struct cli *cli, int rc, const struct cli_call *call, const char *group, const char *what)
{
    if (rc == CAIRN_E_NOPROVIDER && group != NULL)
        cli->hint = "`cairn status` lists the node's providers: a group is one of type group";
    else if (rc == CAIRN_E_NOPROVIDER)
        cli->hint = "a node of a cluster has a group by itself, or its log says why not, and `cairn members --cluster` "
                    "lists the others; elsewhere configure a provider of type group";
    return cli_call_failed(cli, rc, call, "%s", what);
}

/* n2 stands before n10. */
static int compare_members(const void *a, const void *b)
{
    const struct cairn_member *x = a, *y = b;
    return strverscmp(x->name, y->name);
}

static int list(struct cli *cli, const struct members_args *a)
{
    struct cairn_members *members;
    struct cli_call call;
    int rc = cairn_members(cli->session, a->group, &members, cli_call_init(cli, &call, 0));
    if (rc != 0)
        return group_failed(cli, rc, &call, a->group, "asking for members");
    struct cli_table *t = cli_table_new(cli, "members", columns, ARRAY_SIZE(columns));
    cli_table_spare(t, "capacity_bytes");
    cli_table_spare(t, "address");
    bool unwell = !members->joined || members->problem[0] != '\0';
    if (members->n > 0)
        qsort(members->members, members->n, sizeof(members->members[0]), compare_members);
    for (size_t i = 0; i < members->n; i++) {
        const struct cairn_member *m = &members->members[i];
        const struct cli_cell cells[] = {
            CLI_TEXT(m->name),          CLI_TEXT(cairn_member_state_name(m->state)),
            CLI_TEXT(m->address),       CLI_TEXT(or_none(m->service)),
            CLI_TEXT(or_none(m->zone)), CLI_NUM(m->weight),
            CLI_NUM(m->capacity),       CLI_NUM(m->load),
            CLI_NUM(m->incarnation),
        };
        cli_table_row(t, cells);
        unwell |= m->state == CAIRN_MEMBER_SUSPECT || m->state == CAIRN_MEMBER_DEAD;
    }
    cli_table_extra(t, "group", cli_json_text(members->group));
    cli_table_extra(t, "joined", json_boolean(members->joined));
    cli_table_extra(t, "observer", json_boolean(members->observer));
    cli_table_extra(t, "problem", cli_json_text(members->problem));
    int status = cli_table_end(t);
    if (!cli->g.json && members->problem[0] != '\0') {
        fputs("cairn: ", cli->err);
        cli_put_line(cli->err, members->problem);
    } else if (!cli->g.json && !members->joined)
        cli_warn(
            cli,
            "is the group of the others called so, too, and does UDP come through? The one that nodes of a cluster "
            "have by themselves (cluster) does not meet one that is configured",
            "the node has met nobody of the group %s", members->group);
    cairn_free(members);
    return status == CLI_OK && unwell ? CLI_DEGRADED : status;
}

struct watch {
    struct cli *cli;
    bool over;
    int rc;
};

static void on_changed(void *arg, const struct cairn_member *m)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    cli_member_line(((struct watch *)arg)->cli, m, &now);
}

static void on_over(void *arg, int rc)
{
    struct watch *w = arg;
    w->over = true;
    w->rc = rc;
}

static int watch(struct cli *cli, const struct members_args *a)
{
    struct watch w = { .cli = cli };
    struct cli_call call;
    int rc = cairn_members_watch(cli->session, a->group, on_changed, cli_call_init(cli, &call, 0), on_over, &w);
    while (rc == 0 && !w.over && !ferror(cli->out))
        cairn_poll(cli->session, 1000);
    if (!w.over)
        cli_disconnect(cli); /* which ends the watch, whose memory is ours */
    rc = rc != 0 ? rc : w.rc;
    return rc != 0 ? group_failed(cli, rc, &call, a->group, "watching members") : CLI_OK;
}

static int members_run(struct cli *cli, void *args)
{
    const struct members_args *a = args;
    if (a->watch && (a->cluster || a->names))
        return cli_usage(cli, "--watch is for the group: leave out %s; `cairn top` shows the cluster live",
                         a->cluster ? "--cluster" : "--names");
    int status = cli_connect(cli);
    if (status != CLI_OK)
        return status;
    if (a->cluster || a->names)
        return cli_cluster_members(cli, a->names);
    return a->watch ? watch(cli, a) : list(cli, a);
}

static const struct cli_opt members_opts[] = {
    CLI_OPT(struct members_args, group, "group", 'g', CLI_STRING, "PROVIDER", NULL,
            "which group, by the name of its provider; the first one if not said"),
    CLI_OPT(struct members_args, watch, "watch", 'w', CLI_FLAG, NULL, NULL,
            "stay, and print a line for each change; with --json a document a line"),
    CLI_OPT(struct members_args, cluster, "cluster", 'c', CLI_FLAG, NULL, NULL,
            "the cluster's instead: those that hold replicas, as their coordinator sees them"),
    CLI_OPT(struct members_args, names, "names", 0, CLI_FLAG, NULL, NULL, "the cluster's names alone, a line each"),
    CLI_OPT_END,
};

const struct cli_command cli_members = {
    .name = "members",
    .operands = "",
    .summary = "show who is in the node's group, and how they are",
    .text =
        "A group provider finds out which nodes are there and spreads what they say of themselves. The silent are "
        "listed until they are forgotten. LOAD is how busy a node's workers are, in thousandths. Exits with 5 if a member is silent or suspected, or the node is not in the "
        "group. The "
        "members of a cluster are up; silent, and expected back; draining, drained (up, and hold nothing); lost, "
        "silent "
        "for so long (cluster.lost_after) that what they held is made anew elsewhere; or left: drained, then stopped. "
        "Then it exits with 5 if one is silent. A terminal that is too narrow for all columns shows no CAPACITY, then no "
        "ADDRESS.",
    .opts = members_opts,
    .args_size = sizeof(struct members_args),
    .examples = (const struct cli_example[]){ { "cairn members", "who is there?" },
                                              { "cairn members --watch", "and who comes and goes?" },
                                              { "cairn members --cluster", "who holds how many slots?" },
                                              { "cairn members --json | jq -r '.members[].service'", "for programs" },
                                              { NULL, NULL } },
    .run = members_run,
    .group = "The node",
};

/* ---- set ---- */

struct set_args {
    const char *group, *zone, *weight, *capacity;
};

static int set_run(struct cli *cli, void *args)
{
    const struct set_args *a = args;
    struct cairn_member_attributes m = CAIRN_MEMBER_ATTRIBUTES_INIT;
    if (a->zone != NULL)
        m.fields |= CAIRN_MEMBER_ZONE;
    m.zone = a->zone;
    if (a->weight != NULL) {
        uint64_t weight;
        if (!cli_parse_number(a->weight, &weight) || weight > UINT32_MAX)
            return cli_usage(cli, "--weight takes a number, not '%s'", a->weight);
        m.fields |= CAIRN_MEMBER_WEIGHT;
        m.weight = (uint32_t)weight;
    }
    if (a->capacity != NULL) {
        if (!cli_parse_size(a->capacity, &m.capacity))
            return cli_usage(cli, "--capacity takes a size such as 1TiB, not '%s'", a->capacity);
        m.fields |= CAIRN_MEMBER_CAPACITY;
    }
    if (m.fields == 0)
        return cli_usage(cli, "say what is to change: --zone, --weight, --capacity");
    int status = cli_connect(cli);
    if (status != CLI_OK)
        return status;
    struct cli_call call;
    int rc = cairn_member_set(cli->session, a->group, &m, cli_call_init(cli, &call, 0));
    return rc != 0 ? group_failed(cli, rc, &call, a->group, "setting attributes") : CLI_OK;
}

#define GROUP_OPT(type)                                                                                                \
    CLI_OPT(type, group, "group", 'g', CLI_STRING, "PROVIDER", NULL,                                                   \
            "which group, by the name of its provider; the first one if not said")

static const struct cli_opt set_opts[] = {
    GROUP_OPT(struct set_args),
    CLI_OPT(struct set_args, zone, "zone", 'z', CLI_STRING, "NAME", NULL,
            "what the node says that it fails together with; '' for nothing"),
    CLI_OPT(struct set_args, weight, "weight", 0, CLI_STRING, "NUMBER", NULL,
            "how much it says that it should get, in relation to others; 0 for nothing"),
    CLI_OPT(struct set_args, capacity, "capacity", 0, CLI_STRING, "SIZE", NULL, "what it can hold; 0 if unsaid"),
    CLI_OPT_END,
};

const struct cli_command cli_group_set = {
    .name = "group set",
    .operands = "",
    .summary = "change what the node says of itself in its group",
    .text =
        "All members know within seconds. It is for whoever reads `cairn members`: programs that choose among members, "
        "for example. The cluster's slots go by cluster.zone and cluster.weight of each node's configuration, which "
        "this does not change. It lasts until the node ends, which begins anew with its configuration. For "
        "administrators.",
    .opts = set_opts,
    .args_size = sizeof(struct set_args),
    .examples =
        (const struct cli_example[]){ { "cairn group set --weight 50", "programs may give it half of what others get" },
                                      { "cairn group set --zone rack7", "it was moved; replicas go by cluster.zone" },
                                      { NULL, NULL } },
    .run = set_run,
    .group = "The node",
};

/* ---- join ---- */

struct join_args {
    const char *group;
};

static int join_run(struct cli *cli, void *args)
{
    const struct join_args *a = args;
    char addresses[4096] = "";
    size_t n = 0;
    for (uint32_t i = 0; i < cli->noperands; i++) {
        n += (size_t)snprintf(addresses + n, sizeof(addresses) - n, "%s%s", i > 0 ? "," : "", cli->operands[i]);
        if (n >= sizeof(addresses))
            return cli_usage(cli, "too many addresses");
    }
    int status = cli_connect(cli);
    if (status != CLI_OK)
        return status;
    struct cli_call call;
    int rc = cairn_group_join(cli->session, a->group, addresses, cli_call_init(cli, &call, 0));
    return rc != 0 ? group_failed(cli, rc, &call, a->group, "joining") : CLI_OK;
}

static const struct cli_opt join_opts[] = { GROUP_OPT(struct join_args), CLI_OPT_END };

const struct cli_command cli_group_join = {
    .name = "group join",
    .operands = "ADDRESS...",
    .summary = "let the node join others",
    .text = "An ADDRESS is what `cairn members` says of any member, udp://10.0.0.1:7311; one that answers is enough. "
            "Groups that meet so become one. It lasts until the node ends: for good, name them in `join` of its "
            "configuration. For administrators.",
    .opts = join_opts,
    .args_size = sizeof(struct join_args),
    .examples =
        (const struct cli_example[]){ { "cairn group join udp://10.0.0.1:7311", "and `cairn members` shows both" },
                                      { NULL, NULL } },
    .run = join_run,
    .group = "The node",
};
