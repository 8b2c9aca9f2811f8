/** What a cluster has no room for, said when it is asked for: fewer replicas than are wanted, a drain to nowhere
 * or of what does not move. */
#include "tools/cairn/cluster.h"

#include <string.h>

/* Whether the node may get slots now. */
static bool may_hold(const json_t *m)
{
    return strcmp(cli_text_of(m, "state"), "up") == 0 && cli_number_of(m, "weight") > 0;
}

/* Nodes that may, without one of them (NULL: all). */
static json_int_t hosts(const json_t *doc, const char *without)
{
    const json_t *members = json_object_get(doc, "members");
    json_int_t n = 0;
    for (size_t i = 0; i < json_array_size(members); i++) {
        const json_t *m = json_array_get(members, i);
        n += may_hold(m) && (without == NULL || strcmp(cli_text_of(m, "name"), without) != 0);
    }
    return n;
}

/* That they are in; whoever names none is in one of its own. */
static json_int_t zones(const json_t *doc)
{
    const json_t *members = json_object_get(doc, "members");
    json_t *named = json_object();
    json_int_t n = 0;
    for (size_t i = 0; i < json_array_size(members); i++) {
        const json_t *m = json_array_get(members, i);
        const char *zone = cli_text_of(m, "zone");
        if (!may_hold(m))
            continue;
        n += zone[0] == '\0';
        if (zone[0] != '\0')
            json_object_set_new(named, zone, json_true());
    }
    n += (json_int_t)json_object_size(named);
    json_decref(named);
    return n;
}

/* Fewer than there may be replicas. */
static const char *nodes(json_int_t n)
{
    static const char *const texts[] = { "no node", "1 node",  "2 nodes", "3 nodes",
                                         "4 nodes", "5 nodes", "6 nodes", "7 nodes" };
    return texts[MIN(MAX(n, 0), (json_int_t)ARRAY_SIZE(texts) - 1)];
}

/* What is not known is not warned of: `cairn status` says it later. */
static json_t *look(struct cli *cli)
{
    struct cli_call call;
    json_t *doc = NULL;
    if (cli_cluster_ask(cli, &call, CLI_CLUSTER_SOON_MS, &doc) != 0)
        return NULL;
    return doc;
}

void cli_cluster_warn_replicas(struct cli *cli, uint64_t replicas)
{
    json_t *doc = look(cli);
    json_int_t n = hosts(doc, NULL);
    if (n > 0 && (uint64_t)n < replicas)
        cli_warn(cli,
                 "start another node: the replicas that are missing are then made by themselves; `cairn status` says "
                 "when all are there",
                 "%s of the cluster may hold it, so each value has %lld cop%s, not %llu", nodes(n), (long long)n,
                 n == 1 ? "y" : "ies", (unsigned long long)replicas);
    else if (n > 0 && (uint64_t)zones(doc) < replicas)
        cli_warn(cli, "start a node in another zone (cluster.zone), and replicas move there by themselves",
                 "its nodes are in %lld zone%s, so some of %llu replicas share one, and are lost with it",
                 (long long)zones(doc), zones(doc) == 1 ? "" : "s", (unsigned long long)replicas);
    json_decref(doc);
}

/* The most that some namespace wants. */
static json_int_t most_replicas(const json_t *doc)
{
    const json_t *classes = json_object_get(doc, "classes");
    json_int_t most = 0;
    for (size_t i = 0; i < json_array_size(classes); i++) {
        const json_t *class = json_array_get(classes, i);
        if (!cli_cluster_is_unused(class))
            most = MAX(most, cli_number_of(class, "replicas"));
    }
    return most;
}

void cli_cluster_warn_drain(struct cli *cli, const char *node)
{
    static const char cure[] = "start another node, or keep this one: `cairn drain --cancel NODE`; `cairn members "
                               "--cluster` shows who is up";
    json_t *doc = look(cli);
    json_int_t n = hosts(doc, node), wanted = most_replicas(doc);
    bool known = doc != NULL && cli_cluster_member(doc, node, false) != NULL;
    char text[160];
    json_decref(doc);
    if (!known || n >= MAX(wanted, 1))
        return;
    if (n == 0)
        snprintf(text, sizeof(text), "no other node is up that may hold its slots: they stay with it");
    else if (n == 1)
        snprintf(text, sizeof(text),
                 "without it 1 node is left: what wants %lld replicas has one copy then, lost with that node",
                 (long long)wanted);
    else
        snprintf(text, sizeof(text), "without it %s are left: what wants %lld replicas has %lld copies then", nodes(n),
                 (long long)wanted, (long long)n);
    cli_warn(cli, cure, "%s", text);
}

/* Whether the node has anything of them is known there alone: that they are there is worth the line. */
void cli_cluster_warn_local(struct cli *cli, const char *node)
{
    static const char cure[] = "`cairn export` there writes a namespace out, and `cairn import` into one that was made "
                               "with --replicas takes it in";
    struct cairn_ns_list *list = NULL;
    const char *first = NULL;
    struct cli_call call;
    size_t n = 0;
    if (cairn_ns_list(cli->session, &list, cli_call_init(cli, &call, 0)) != 0)
        return;
    for (size_t i = 0; i < list->n; i++) {
        if (list->namespaces[i].clustered)
            continue;
        first = n++ == 0 ? list->namespaces[i].name : first;
    }
    if (n == 1)
        cli_warn(cli, cure, "'%s' was made without --replicas: what node %s has of it stays there", first, node);
    else if (n > 1)
        cli_warn(cli, cure, "'%s' and %zu more were made without --replicas: what node %s has of them stays there",
                 first, n - 1, node);
    cairn_free(list);
}
