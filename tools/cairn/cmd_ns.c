/** cairn ns: namespaces. */
#include "tools/cairn/cluster.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const char *const durabilities[] = { "default", "memory", "buffered", "sync" };

enum cairn_durability cli_durability(const char *word)
{
    for (uint32_t i = 0; word != NULL && i < ARRAY_SIZE(durabilities); i++) {
        if (strcmp(word, durabilities[i]) == 0)
            return (enum cairn_durability)i;
    }
    return CAIRN_DURABILITY_DEFAULT;
}

/* ---- create ---- */

struct create_args {
    const char *durability, *mode, *kv, *extent, *replicas;
    uint64_t embed;
    bool write_once, if_missing;
};

/* Why the node refused so many. */
static const char *replicas_hint(struct cli *cli)
{
    struct cli_call call;
    json_t *doc = NULL;
    int rc = cli_cluster_ask(cli, &call, CLI_CLUSTER_SOON_MS, &doc);
    json_decref(doc);
    if (rc == CAIRN_E_NOPROVIDER)
        return "replicas need nodes that share a map in etcd (`map: store: etcd`); see deploy/examples/three-nodes";
    return "ask for fewer: what has 3 replicas outlives the loss of any two nodes, and is made anew elsewhere after it";
}

static int create_run(struct cli *cli, void *args)
{
    const struct create_args *a = args;
    struct cairn_ns_options o = CAIRN_NS_OPTIONS_INIT;
    o.durability = cli_durability(a->durability);
    o.write_once = a->write_once;
    o.embed_threshold = (uint32_t)MIN(a->embed, UINT32_MAX);
    o.kv = a->kv;
    o.extent = a->extent;
    if (a->mode != NULL) {
        char *end;
        o.mode = (uint32_t)strtoul(a->mode, &end, 8);
        if (*end != '\0' || a->mode[0] == '\0' || o.mode > 0777)
            return cli_usage(cli, "--mode takes permission bits such as 0640, not '%s'", a->mode);
    }
    uint64_t replicas = 0;
    if (a->replicas != NULL && (!cli_parse_number(a->replicas, &replicas) || replicas == 0))
        return cli_usage(cli, "--replicas takes a number from 1 up, not '%s'; without it all is on this node alone",
                         a->replicas);
    o.replicas = (uint32_t)MIN(replicas, UINT32_MAX);
    int status = cli_connect(cli);
    if (status != CLI_OK)
        return status;
    struct cli_call call;
    int rc = cairn_ns_create(cli->session, cli->operands[0], &o, cli_call_init(cli, &call, 0));
    bool created = rc == 0;
    if (rc == CAIRN_E_EXISTS && a->if_missing)
        rc = 0;
    if (rc == CAIRN_E_UNSUPPORTED && o.replicas > 1)
        cli->hint = replicas_hint(cli);
    if (rc != 0)
        return cli_call_failed(cli, rc, &call, "namespace %s", cli->operands[0]);
    if (created && o.replicas > 1)
        cli_cluster_warn_replicas(cli, o.replicas);
    if (cli->g.json)
        return cli_json(cli, json_pack("{s:s, s:b}", "name", cli->operands[0], "created", created));
    return CLI_OK;
}

static const struct cli_opt create_opts[] = {
    CLI_OPT(struct create_args, durability, "durability", 'd', CLI_CHOICE, "memory|buffered|sync", NULL,
            "what an acknowledged write survives: nothing, the end of the process (the default), the loss of power"),
    CLI_OPT(struct create_args, replicas, "replicas", 'r', CLI_STRING, "N", NULL,
            "in a cluster: spread over its nodes, each value on so many of them (default: all on this node alone)"),
    CLI_OPT(struct create_args, write_once, "write-once", 0, CLI_FLAG, NULL, NULL,
            "a value is never replaced; it can be removed"),
    CLI_OPT(struct create_args, mode, "mode", 'm', CLI_STRING, "BITS", NULL,
            "who may read and write, as of a file (default: 0640)"),
    CLI_OPT(
        struct create_args, embed, "embed", 0, CLI_SIZE, "SIZE", NULL,
        "values up to this live beside their keys, larger ones in extents (default: the node's router.embed_threshold, "
        "32KiB unless configured); with --replicas single puts of up to 1 MiB do, in the log, and batches keep to SIZE"),
    CLI_OPT(struct create_args, kv, "kv", 0, CLI_STRING, "PROVIDER", NULL,
            "provider of keys and small values (default: the node's router.kv)"),
    CLI_OPT(struct create_args, extent, "extent", 0, CLI_STRING, "PROVIDER", NULL,
            "provider of large values (default: the node's router.extent)"),
    CLI_OPT(struct create_args, if_missing, "if-missing", 0, CLI_FLAG, NULL, NULL,
            "fine if there is one of that name already"),
    CLI_OPT_END,
};

const struct cli_command cli_ns_create = {
    .name = "ns create",
    .operands = "NAMESPACE",
    .summary = "make a namespace",
    .text = "A namespace holds values of any size under keys, routed by the hash of the key. Its maker owns it. Owner, "
            "group and mode stay as they were made, as do the other settings: to change them, make another and copy.",
    .opts = create_opts,
    .args_size = sizeof(struct create_args),
    .examples = (const struct cli_example[]){ { "cairn ns create results", "make it by the node's defaults" },
                                              { "cairn ns create --durability sync --mode 0600 checkpoints",
                                                "survive the loss of power, and keep it private" },
                                              { NULL, NULL } },
    .run = create_run,
    .group = "Namespaces",
};

/* ---- list, show ---- */

static const struct cli_col ns_cols[] = {
    { "NAME", "name", CLI_CELL_TEXT },
    { "TYPE", "frontend", CLI_CELL_TEXT },
    { "DURABILITY", "durability", CLI_CELL_TEXT },
    { "REPLICAS", "replicas", CLI_CELL_NUMBER },
    { "WRITE-ONCE", "write_once", CLI_CELL_BOOL },
    { "EMBED", "embed_bytes", CLI_CELL_BYTES },
    { "KV", "kv", CLI_CELL_TEXT },
    { "EXTENT", "extent", CLI_CELL_TEXT },
    { "OWNER", "owner", CLI_CELL_USER },
    { "GROUP", "group", CLI_CELL_GROUP },
    { "MODE", "mode", CLI_CELL_TEXT },
    { "CREATED", "created", CLI_CELL_TEXT },
};

static const char *durability_name(enum cairn_durability d)
{
    return (uint32_t)d < ARRAY_SIZE(durabilities) ? durabilities[d] : "unknown";
}

static void ns_cells(const struct cairn_ns_info *n, char mode[8], char created[32],
                     struct cli_cell cells[ARRAY_SIZE(ns_cols)])
{
    time_t s = (time_t)(n->created_ms / 1000);
    struct tm tm;
    snprintf(mode, 8, "%04o", n->mode & 07777);
    if (gmtime_r(&s, &tm) == NULL || strftime(created, 32, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
        created[0] = '\0';
    const struct cli_cell row[] = {
        CLI_TEXT(n->name),    CLI_TEXT(n->frontend),  CLI_TEXT(durability_name(n->durability)),
        CLI_NUM(n->replicas), CLI_NUM(n->write_once), CLI_NUM(n->embed_threshold),
        CLI_TEXT(n->kv),      CLI_TEXT(n->extent),    CLI_NUM(n->owner),
        CLI_NUM(n->group),    CLI_TEXT(mode),         CLI_TEXT(created),
    };
    memcpy(cells, row, sizeof(row));
}

struct list_args {
    bool names;
};

static int list_run(struct cli *cli, void *args)
{
    const struct list_args *a = args;
    int status = cli_connect(cli);
    if (status != CLI_OK)
        return status;
    struct cli_call call;
    struct cairn_ns_list *list = NULL;
    int rc = cairn_ns_list(cli->session, &list, cli_call_init(cli, &call, 0));
    if (rc != 0)
        return cli_call_failed(cli, rc, &call, "listing namespaces");
    if (a->names && !cli->g.json) {
        for (size_t i = 0; i < list->n; i++)
            cli_put_line(cli->out, list->namespaces[i].name);
    } else {
        struct cli_table *t = cli_table_new(cli, "namespaces", ns_cols, ARRAY_SIZE(ns_cols));
        static const char *const spare[] = { "extent", "kv", "embed_bytes", "frontend", "write_once", "group" };
        for (size_t i = 0; i < ARRAY_SIZE(spare); i++)
            cli_table_spare(t, spare[i]);
        for (size_t i = 0; i < list->n; i++) {
            char mode[8], created[32];
            struct cli_cell cells[ARRAY_SIZE(ns_cols)];
            ns_cells(&list->namespaces[i], mode, created, cells);
            cli_table_row(t, cells);
        }
        status = cli_table_end(t);
        if (list->n == 0)
            cli_note(cli, "no namespaces of yours yet; `cairn ns create NAME` makes one");
    }
    cairn_free(list);
    return status;
}

static const struct cli_opt list_opts[] = {
    CLI_OPT(struct list_args, names, "names", 0, CLI_FLAG, NULL, NULL, "names only, a line each"),
    CLI_OPT_END,
};

const struct cli_command cli_ns_list = {
    .name = "ns list",
    .operands = "",
    .summary = "list the namespaces of the node",
    .text = "Shows those that you own, may read or may write; an administrator sees all. A terminal that is too narrow "
            "for all columns shows fewer; `cairn ns show` has them.",
    .opts = list_opts,
    .args_size = sizeof(struct list_args),
    .examples = (const struct cli_example[]){ { "cairn ns list", "show them in a table" },
                                              { "cairn ns list --json", "the same for programs" },
                                              { NULL, NULL } },
    .run = list_run,
    .group = "Namespaces",
};

static int show_run(struct cli *cli, void *args)
{
    (void)args;
    int status = cli_connect(cli);
    if (status != CLI_OK)
        return status;
    struct cli_call call;
    struct cairn_ns_list *list = NULL;
    int rc = cairn_ns_show(cli->session, cli->operands[0], &list, cli_call_init(cli, &call, 0));
    if (rc != 0)
        return cli_call_failed(cli, rc, &call, "namespace %s", cli->operands[0]);
    char mode[8], created[32];
    struct cli_cell cells[ARRAY_SIZE(ns_cols)];
    ns_cells(&list->namespaces[0], mode, created, cells);
    status = cli_record(cli, ns_cols, cells, ARRAY_SIZE(ns_cols));
    cairn_free(list);
    return status;
}

const struct cli_command cli_ns_show = {
    .name = "ns show",
    .operands = "NAMESPACE",
    .summary = "show one namespace",
    .examples = (const struct cli_example[]){ { "cairn ns show results", "show how it was made" }, { NULL, NULL } },
    .run = show_run,
    .group = "Namespaces",
};

/* ---- remove ---- */

enum { MEMBER_MS = 5000 };

struct remove_args {
    bool force;
};

/* Of one that many nodes hold none of them knows whether it is empty, and each removes it with force only: so all are
 * asked for a key, wherever their slots are just then. 0, or CAIRN_E_NOTEMPTY. */
static int remove_if_none_has_a_key(struct cli *cli, struct cli_call *call)
{
    const char *name = cli->operands[0];
    struct cairn_iter *it = NULL;
    struct cairn_ns *ns = NULL;
    struct cli_call look;
    struct cairn_entry e;
    int rc = cairn_ns_open(cli->session, name, &ns, cli_call_init(cli, &look, 0));
    if (rc == 0)
        rc = cairn_iter_open(ns, "", 0, cli_call_init(cli, &look, 0), &it);
    if (rc == 0)
        rc = cairn_iter_next(it, &e);
    cairn_iter_close(it);
    cairn_ns_close(ns);
    return rc == 0 ? cairn_ns_remove(cli->session, name, true, cli_call_init(cli, call, 0)) : CAIRN_E_NOTEMPTY;
}

/* Of one that was made without replicas each node knows of itself alone, and of others only that they had something. Who
 * is asked and has nothing any more is not waited for by the next; the last one removes it. Who is away is, until it is
 * back. 0, or CAIRN_E_NOTEMPTY. */
static int remove_at_each_node(struct cli *cli, struct cli_call *call)
{
    struct cli_call ask, one;
    json_t *doc = NULL;
    int rc = CAIRN_E_NOTEMPTY;
    if (cli_cluster_ask(cli, &ask, 0, &doc) != 0) /* it is in none, or @call says enough */
        return rc;
    const json_t *members = json_object_get(doc, "members");
    for (size_t i = 0; i < json_array_size(members) && rc != 0; i++) {
        const json_t *m = json_array_get(members, i);
        struct cairn *session = NULL;
        if (strcmp(cli_text_of(m, "state"), "silent") == 0 || strcmp(cli_text_of(m, "state"), "lost") == 0 ||
            strcmp(cli_text_of(m, "state"), "left") == 0)
            continue;
        int said = cli_cluster_connect(cli, m, (uint32_t)MIN(cli->g.timeout_ms, (uint64_t)MEMBER_MS), &session, NULL);
        if (said == 0)
            said = cairn_ns_remove(session, cli->operands[0], false, cli_call_init(cli, &one, 0));
        cairn_close(session);
        rc = said == 0 ? 0 : rc;
        call->error = said == CAIRN_E_NOTEMPTY ? one.error : call->error;
    }
    json_decref(doc);
    return rc;
}

static int remove_run(struct cli *cli, void *args)
{
    const struct remove_args *a = args;
    int status = cli_connect(cli);
    if (status != CLI_OK)
        return status;
    struct cairn_ns_list *list = NULL;
    struct cli_call call, look;
    int rc = cairn_ns_remove(cli->session, cli->operands[0], a->force, cli_call_init(cli, &call, 0));
    if (rc == CAIRN_E_NOTEMPTY &&
        cairn_ns_show(cli->session, cli->operands[0], &list, cli_call_init(cli, &look, 0)) == 0)
        rc = list->namespaces[0].clustered ? remove_if_none_has_a_key(cli, &call) : remove_at_each_node(cli, &call);
    cairn_free(list);
    if (rc == CAIRN_E_NOTEMPTY)
        cli->hint = "`cairn ns remove --force NAMESPACE` removes it with all that is in it";
    if (rc != 0)
        return cli_call_failed(cli, rc, &call, "namespace %s", cli->operands[0]);
    return cli->g.json ? cli_json(cli, json_pack("{s:s}", "removed", cli->operands[0])) : CLI_OK;
}

static const struct cli_opt remove_opts[] = {
    CLI_OPT(struct remove_args, force, "force", 'f', CLI_FLAG, NULL, NULL, "with all that is in it"),
    CLI_OPT_END,
};

const struct cli_command cli_ns_remove = {
    .name = "ns remove",
    .operands = "NAMESPACE",
    .summary = "remove a namespace",
    .text = "One that holds values is removed only with --force. In a cluster all nodes are asked. Of one that is spread "
            "over it a value that comes after that goes with it; one that was made without --replicas stays as long as a "
            "node that has stored something of it is away, since that may come back.",
    .opts = remove_opts,
    .args_size = sizeof(struct remove_args),
    .examples = (const struct cli_example[]){ { "cairn ns remove results", "remove it if it is empty" },
                                              { "cairn ns remove --force scratch", "remove it and what it holds" },
                                              { NULL, NULL } },
    .run = remove_run,
    .group = "Namespaces",
};
