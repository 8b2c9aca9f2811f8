/** cairn where: how a key is placed, and why. */
#include "tools/cairn/cluster.h"

#include <string.h>

/* For people: a slot's number is that in its class, and nodes have names. */
static void say_slot(json_t *doc)
{
    json_t *replicas_of = json_object_get(doc, "replicas");
    json_int_t replicas = cli_number_of(doc, "class");
    json_object_set_new(doc, "class",
                        json_sprintf("slots of %lld replica%s", (long long)replicas, replicas == 1 ? "" : "s"));
    json_object_set_new(doc, "slot",
                        json_sprintf("%lld of 0 to %lld (among those of all classes %lld)",
                                     (long long)cli_number_of(doc, "slot"), (long long)cli_number_of(doc, "slots") - 1,
                                     (long long)cli_number_of(doc, "slot_id")));
    json_object_del(doc, "slots");
    json_object_del(doc, "slot_id");
    for (size_t i = 0; i < json_array_size(replicas_of); i++)
        json_object_del(json_array_get(replicas_of, i), "node");
}

enum presence { UNKNOWN, ABSENT, PRESENT };

/* Where a key is placed is known at once; that nobody serves its slot, or that its bytes are not for us, is no reason
 * to withhold it. */
static enum presence look(struct cli *cli, struct cairn_ns *ns, const char *key)
{
    struct cli_call call;
    struct cairn_call_options *o = cli_call_init(cli, &call, 0);
    bool exists = false;
    o->timeout_ms = MIN(o->timeout_ms, (uint32_t)CLI_CLUSTER_SOON_MS);
    if (cairn_exists(ns, key, strlen(key), &exists, o) != 0)
        return UNKNOWN;
    return exists ? PRESENT : ABSENT;
}

static int where_run(struct cli *cli, void *args)
{
    const char *key = cli->operands[1];
    struct cairn_ns *ns;
    struct cli_call call;
    char *text = NULL;
    json_t *doc;
    (void)args;
    int status = cli_open_ns(cli, cli->operands[0], &ns);
    if (status != CLI_OK)
        return status;
    int rc = cairn_where(ns, key, strlen(key), &text, cli_call_init(cli, &call, 0));
    enum presence presence = rc == 0 ? look(cli, ns, key) : UNKNOWN;
    cairn_ns_close(ns);
    if (rc != 0)
        return cli_call_failed(cli, rc, &call, "key %s", key);
    status = cli_parse_document(cli, text, &doc);
    cairn_free(text);
    if (status != CLI_OK)
        return status;
    cli_json_bytes(doc, "key", key, strlen(key));
    if (presence != UNKNOWN)
        json_object_set_new(doc, "exists", json_boolean(presence == PRESENT));
    if (!cli->g.json && presence != PRESENT)
        json_object_set_new(doc, "exists",
                            json_string(presence == ABSENT ? "no: this is where it would be placed"
                                                           : "not known: whoever serves the slot does not say"));
    if (!cli->g.json && json_is_integer(json_object_get(doc, "slot_id")))
        say_slot(doc);
    if (!cli->g.json && !json_is_true(json_object_get(doc, "clustered")))
        json_object_set_new(doc, "placed", json_string("on this node: the namespace is not spread over a cluster"));
    status = cli->g.json ? cli_json(cli, json_incref(doc)) : cli_render(cli, doc);
    json_decref(doc);
    return status;
}

const struct cli_command cli_where = {
    .name = "where",
    .operands = "NAMESPACE KEY",
    .summary = "explain where a key is kept, and why there",
    .text =
        "A key's hash gives the number of its slot, in the class of slots that have as many replicas as the "
        "namespace wants, and the map says which nodes hold that. Each replica is shown with its part in the slot, "
        "the state of its node, its zone and weight, and the reason for which it was chosen: members are in an "
        "order of their own for each slot, weight for weight, and the first of distinct zones are taken as long as "
        "they have not more than their share. A key that does not exist would be placed so, and it is said that "
        "there is none. It is what the node that is asked knows, whatever has become of the others; how long a "
        "primary's lease lasts is known to that node alone.",
    .examples =
        (const struct cli_example[]){ { "cairn where results run1/energy", "its slot, its nodes, its primary" },
                                      { "cairn where --json results run1/energy | jq -r .primary", "for programs" },
                                      { NULL, NULL } },
    .run = where_run,
    .group = "Data",
};
