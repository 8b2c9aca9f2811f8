/** cairn where: how a key is placed, and why. */
#include "tools/cairn/client.h"
#include "tools/cairn/commands.h"
#include "tools/cairn/out.h"

#include <string.h>

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
    cairn_ns_close(ns);
    if (rc != 0)
        return cli_call_failed(cli, rc, &call, "key %s", key);
    status = cli_parse_document(cli, text, &doc);
    cairn_free(text);
    if (status != CLI_OK)
        return status;
    cli_json_bytes(doc, "key", key, strlen(key));
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
    .text = "A key's hash gives its slot, and the map says which nodes hold that. Each replica is shown with its part in the "
            "slot, the state of its node, its zone and weight, and the reason for which it was chosen: members are in an order "
            "of their own for each slot, weight for weight, and the first of distinct zones are taken as long as they have not "
            "more than their share. Whether the key exists is not looked at. It is what the node that is asked knows, whatever "
            "has become of the others; how long a primary's lease lasts is known to that node alone.",
    .examples = (const struct cli_example[]){ { "cairn where results run1/energy", "its slot, its nodes, its primary" },
                                              { "cairn where --json results run1/energy | jq -r .primary", "for programs" },
                                              { NULL, NULL } },
    .run = where_run,
    .group = "Data",
};
