/* News for other nodes: records that are in force, told to those that hold the slots, many in one message. Who misses
 * one hears of it with his next heartbeat. */
#include "server/cluster/service/cluster_home.h"
#include "server/cluster/service/records.h"
#include "server/cluster/service/side.h"

#include <stdlib.h>

enum { TELL_TIMEOUT_MS = 2000, TELL_ARENA_BYTES_MAX = 1 << 20 };

struct tell {
    struct cairn_link link;
    struct cairn_rpc_call call;
    struct cluster_home *home;
    struct cairn_arena arena;
};

static void tell_free(struct tell *t)
{
    cairn_list_del(&t->link);
    t->home->ntells--;
    cairn_arena_reset(&t->arena);
    free(t);
}

static void on_told(struct cairn_rpc_call *call)
{
    struct tell *t = call->arg;
    struct cluster_home *h = t->home;

    tell_free(t); /* whether it came or not */
    cluster_quiesce_step(h);
}

/* All that there is for @node, which is taken off the lists. */
static const struct cairn_wire_slot *gather(struct cluster_home *h, uint64_t node, struct cairn_arena *a, uint32_t *n)
{
    struct cairn_wire_slot *slots = cairn_arena_alloc(a, h->nnews * sizeof(*slots));

    *n = 0;
    for (uint32_t i = 0; i < h->nnews; i++) {
        struct cluster_news *x = &h->news[i];

        for (uint32_t k = 0; k < x->nnodes; k++) {
            if (x->nodes[k] != node)
                continue;
            if (slots != NULL)
                slots[(*n)++] = x->slot;
            x->nodes[k] = x->nodes[--x->nnodes];
            break;
        }
    }
    return slots;
}

static void tell_node(struct cluster_home *h, uint64_t node)
{
    struct cairn_wire_page page = { .map = cairn_cluster_records_map(h->c.records) };
    struct tell *t = h->ntells < CLUSTER_TELLS_MAX && !h->quiescing ? calloc(1, sizeof(*t)) : NULL;
    struct cairn_arena none;
    const Cairn__Wire__ClusterRecords *msg;

    if (t == NULL) {
        cairn_arena_init(&none, 0);
        gather(h, node, &none, &page.nslots);
        return;
    }
    t->home = h;
    h->ntells++;
    cairn_list_init(&t->link);
    cairn_list_add_tail(&h->tells, &t->link);
    cairn_arena_init(&t->arena, TELL_ARENA_BYTES_MAX);
    page.slots = gather(h, node, &t->arena, &page.nslots);
    msg = page.slots != NULL ? cairn_wire_page_put(&page, &t->arena) : NULL;
    if (msg == NULL || !cairn_cluster__peer(&h->c, 0, node, &t->call.dest)) {
        tell_free(t);
        return;
    }
    t->call.iface = &cairn_iface_cluster;
    t->call.provider = CAIRN_PROVIDER_CLUSTER;
    t->call.method = CAIRN__WIRE__CLUSTER_METHOD__CLUSTER_PUBLISH;
    t->call.msg = &msg->base;
    t->call.timeout_ns = TELL_TIMEOUT_MS * CAIRN_NS_PER_MS;
    t->call.done = on_told;
    t->call.arg = t;
    cairn_rpc_call_start(&t->call);
}

static void on_tell(void *arg)
{
    struct cluster_home *h = arg;

    for (uint32_t i = 0; i < h->nnews; i++) {
        while (h->news[i].nnodes > 0)
            tell_node(h, h->news[i].nodes[0]);
    }
    h->nnews = 0;
}

void cluster_tell_init(struct cluster_home *h)
{
    cairn_list_init(&h->tells);
    cairn_task_init(&h->tell, on_tell, h);
}

void cluster_tell(struct cluster_home *h, uint32_t slot, const struct cairn_slot_record *rec, const uint64_t *nodes,
                  uint32_t n)
{
    struct cluster_news *x;

    if (h->nnews == CLUSTER_NEWS_MAX || h->quiescing)
        return;
    x = &h->news[h->nnews++];
    x->slot = (struct cairn_wire_slot){ .slot = slot, .rec = *rec };
    CAIRN_ASSERT(n <= ARRAY_SIZE(x->nodes));
    x->nnodes = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (nodes[i] != h->c.node)
            x->nodes[x->nnodes++] = nodes[i];
        else if (h->c.side != NULL) /* it is in our records */
            side_learn_later(&h->c, slot);
    }
    cairn_env_defer(&h->c.home->env, &h->tell);
}

void cluster_tell_stop(struct cluster_home *h)
{
    cairn_task_cancel(&h->tell);
    h->nnews = 0;
    for (struct cairn_link *l = h->tells.next; l != &h->tells; l = l->next)
        cairn_rpc_call_cancel(&CONTAINER_OF(l, struct tell, link)->call);
}
