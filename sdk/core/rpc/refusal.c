/* What the log says of those whom HELLO refuses, as often as they come: anybody can be, as often as they like, so what
 * they can put into the log has a bound; counters have them all. */
#include "sdk/core/base/crc.h"
#include "sdk/core/base/log.h"
#include "sdk/core/rpc/hello.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { MINUTE_S = 60 };

static struct cairn_rpc_refused *refused_place(struct cairn_rpc_peer *peer, uint64_t *name)
{
    *name = cairn_crc32c(0, peer->info.name, strlen(peer->info.name));
    return &peer->rpc->node->refused[*name % CAIRN_REFUSED_NODES_MAX];
}

/* A node asks again for as long as it runs, by each of its workers and at each of our addresses. So its refusal is said
 * once, and then once a minute, with how often it was not (@unsaid), until it is welcome: nobody has proved that it is
 * that node, and whoever tries keys under its name is to be seen. Two names at one place are said alternately, within
 * the bound of all refusals. */
static bool node_is_due(struct cairn_rpc_peer *peer, const char *text, uint64_t *unsaid)
{
    uint64_t name, since, now = cairn_loop_now(peer->rpc->loop);
    struct cairn_rpc_refused *r = refused_place(peer, &name);
    uint64_t what = name << 32 | cairn_crc32c(0, text, strlen(text));

    *unsaid = 0;
    if (atomic_exchange(&r->what, what) != what) {
        atomic_store(&r->said_ns, now);
        atomic_store(&r->unsaid, 0);
        return true;
    }
    atomic_fetch_add(&r->unsaid, 1);
    since = atomic_load(&r->said_ns);
    if (now < since + MINUTE_S * CAIRN_NS_PER_S || !atomic_compare_exchange_strong(&r->said_ns, &since, now))
        return false; /* or another worker says it */
    *unsaid = atomic_exchange(&r->unsaid, 0);
    return true;
}

void cairn_rpc__refusal_over(struct cairn_rpc_peer *peer)
{
    uint64_t name;
    struct cairn_rpc_refused *r = refused_place(peer, &name);

    if (atomic_load(&r->what) >> 32 == name)
        atomic_store(&r->what, 0);
}

void cairn_rpc__refusal_log(struct cairn_rpc_peer *peer, const char *text)
{
    struct cairn_rpc *rpc = peer->rpc;
    uint64_t unsaid = 0, now = cairn_loop_now(rpc->loop);
    const char *node = peer->info.is_node ? peer->info.name : "";
    char more[64] = "";

    if (peer->info.is_node && !node_is_due(peer, text, &unsaid))
        return;
    if (rpc->refusals.n == 0 || now - rpc->refusals.since_ns >= MINUTE_S * CAIRN_NS_PER_S) {
        if (rpc->refusals.n > RPC_REFUSALS_LOGGED_MAX)
            cairn_log_warn("%" PRIu64 " more were refused within a minute", rpc->refusals.n - RPC_REFUSALS_LOGGED_MAX);
        rpc->refusals.since_ns = now;
        rpc->refusals.n = 0;
    }
    rpc->refusals.n++;
    if (unsaid > 0)
        snprintf(more, sizeof(more), " again, %" PRIu64 " times since", unsaid);
    if (rpc->refusals.n <= RPC_REFUSALS_LOGGED_MAX)
        cairn_log_warn("%s%s%s%s: refused%s: %s%s", node[0] != '\0' ? "node " : "", node, node[0] != '\0' ? ", " : "",
                       peer->info.addr, more, text,
                       rpc->refusals.n == RPC_REFUSALS_LOGGED_MAX ? "; others of this minute are only counted" : "");
}
