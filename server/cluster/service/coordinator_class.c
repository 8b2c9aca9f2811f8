/* Classes of slots are made: see coordinator.h. Over the nodes that are there, by a plan of their own; where these
 * are fewer than replicas are wanted, after a moment in which others may come, with as many as there are: the next
 * plans fill up. A class stays when the last namespace that names it is removed: it is not in use then. */
#include "server/cluster/service/coordinator_internal.h"

#include "schema/router.pb-c.h"
#include "sdk/core/base/log.h"
#include "server/cluster/repl/repl_wire.h"

#include <inttypes.h>
#include <stdio.h>

enum {
    CLASSES_ALL = (1 << CAIRN_CLUSTER_CLASSES) - 1,
    QUEUED_MAX = 2 * CAIRN_MAP_WRITES_MAX, /* records of new slots that wait for the store */
    CLASS_WAIT_MS = 3000,                  /* for as many nodes as replicas */
};

static void class_answer(struct cairn_coordinator *co, struct cairn_coordinator_class *class, int rc, const char *text)
{
    struct cairn_link *l;

    while ((l = cairn_list_pop(&class->asks)) != NULL) {
        struct cairn_coordinator_ask *ask = CONTAINER_OF(l, struct cairn_coordinator_ask, link);

        ask->nslots = co->nslots;
        ask->revision = class->revision;
        cairn_coordinator__answer(ask, rc, text);
    }
}

static void look_at_namespace(const struct cairn_map_entry *e, void *arg)
{
    Cairn__Wire__NamespaceRecord *r = cairn__wire__namespace_record__unpack(NULL, e->value_len, e->value);
    uint32_t *named = arg;

    if (r == NULL || r->ns == NULL) /* it may be in any */
        *named = CLASSES_ALL;
    else if (r->ns->clustered && r->ns->replicas - 1 < CAIRN_CLUSTER_CLASSES)
        *named |= 1U << (r->ns->replicas - 1);
    if (r != NULL)
        cairn__wire__namespace_record__free_unpacked(r, NULL);
}

uint32_t cairn_coordinator_named_in(struct cairn_map_store *map)
{
    uint32_t named = 0;

    if (cairn_map_store_revision(map) == 0) /* it was not read yet */
        return CLASSES_ALL;
    cairn_map_store_each(map, "ns/", look_at_namespace, &named);
    return named;
}

uint32_t cairn_coordinator__named(struct cairn_coordinator *co)
{
    uint32_t named = co->ops->named != NULL ? co->ops->named(co) : CLASSES_ALL;

    for (uint32_t i = 0; i < CAIRN_CLUSTER_CLASSES; i++)
        named |= (uint32_t)!cairn_list_is_empty(&co->classes[i].asks) << i;
    return named;
}

static bool has_waited(const struct cairn_coordinator *co, const struct cairn_coordinator_class *class)
{
    return cairn_env_now_ns(co->store->home.env) - class->asked_ns >= CLASS_WAIT_MS * CAIRN_NS_PER_MS;
}

uint32_t cairn_coordinator__slots_max(const struct cairn_coordinator *co)
{
    /* What is on its way out counts, too, until it is wiped. */
    return co->conf->node_slots_max != 0 ? co->conf->node_slots_max
                                         : (uint32_t)(CAIRN_WIRE_LOGS_MAX - CAIRN_WIRE_LOGS_MAX / 16);
}

uint64_t cairn_coordinator__greatest_share(struct cairn_coordinator *co, const struct cairn_member *without,
                                           uint32_t number, uint32_t *hosts)
{
    uint64_t all = 0, once = 0, weights = 0, greatest = 0;

    *hosts = 0;
    for (uint32_t i = 0; i < co->members.n; i++) {
        const struct cairn_member *m = co->members.all[i];

        if (m == without || !cairn_coordinator__may_hold(co, m))
            continue;
        ++*hosts;
        weights += m->weight;
        greatest = MAX(greatest, m->weight);
    }
    for (uint32_t i = 0; i < CAIRN_CLUSTER_CLASSES; i++) {
        if (co->classes[i].made == 0 && i != number)
            continue;
        all += (uint64_t)co->nslots * MIN(i + 1, *hosts);
        once += co->nslots;
    }
    return weights > 0 ? MIN(once, (all * greatest + weights - 1) / weights) : 0;
}

/* A node that starts says of all slots that it has how far they go. */
static bool fits(struct cairn_coordinator *co, struct cairn_coordinator_class *class)
{
    uint32_t hosts, max = cairn_coordinator__slots_max(co);
    uint64_t share = cairn_coordinator__greatest_share(co, NULL, (uint32_t)(class - co->classes), &hosts);
    char text[200];

    if (share <= max)
        return true;
    snprintf(text, sizeof(text),
             "one of %u nodes would have %" PRIu64 " slots, and can have %" PRIu32
             ": there have to be more nodes, or fewer slots (cluster.slots) from the cluster's beginning",
             hosts, share, max);
    class_answer(co, class, CAIRN_E_LIMIT, text);
    return false;
}

bool cairn_coordinator__class_may_begin(struct cairn_coordinator *co, uint32_t number)
{
    struct cairn_coordinator_class *class = &co->classes[number];
    uint32_t hosts = cairn_coordinator__hosts(co);
    bool waited = has_waited(co, class);

    if (hosts == 0 && waited)
        class_answer(co, class, CAIRN_E_STATE, "no node of the cluster is up and may hold anything");
    return (hosts > number || (hosts > 0 && waited)) && (class->made > 0 || fits(co, class));
}

/* A node that is up, and has not said yet to this coordinator what its logs hold; 0: there is none. */
static uint64_t who_has_not_told(struct cairn_coordinator *co)
{
    for (uint32_t i = 0; i < co->coord.nnodes; i++) {
        const struct cairn_coord_node *n = &co->coord.nodes[i];

        if (!n->has_told && cairn_coord_is_alive(&co->coord, (struct cairn_who){ n->p.node, n->p.inc }))
            return n->p.node;
    }
    return 0;
}

/* Nobody who may begin the slot is there. Who asked is not kept waiting for that: the class goes on when it is asked
 * for anew. */
static void class_wait_whole(struct cairn_coordinator *co, struct cairn_coordinator_class *class, uint32_t slot)
{
    uint64_t untold;
    char text[160];

    if (!has_waited(co, class))
        return;
    untold = who_has_not_told(co);
    if (untold != 0)
        snprintf(text, sizeof(text),
                 "slot %u: node %" PRIu64 " has not told yet what it has: it does when it registers", slot, untold);
    else
        snprintf(text, sizeof(text),
                 "slot %u: every node that is up has only a part of it, of a map that is lost: one that has all, or "
                 "nothing, has to come",
                 slot);
    cairn_log_warn("slots of %td replicas cannot be made: %s", class - co->classes + 1, text);
    class_answer(co, class, CAIRN_E_STATE, text);
}

/* The next few slots. */
static void class_go_on(struct cairn_coordinator *co, uint32_t number)
{
    struct cairn_coordinator_class *class = &co->classes[number];
    uint64_t nodes[CAIRN_REPLICAS_MAX];

    for (; class->next < co->nslots && co->writes.nqueued < QUEUED_MAX; class->next++) {
        uint32_t slot = number * co->nslots + class->next, n;
        int rc;

        if (co->coord.slots[slot].rec.epoch != 0 || co->coord.slots[slot].storing)
            continue;
        n = cairn_coordinator__wanted(class, class->next, nodes);
        if (n == 0)
            return; /* its plan comes */
        rc = cairn_coord_create(&co->coord, slot, nodes, n, class->min_insync);
        if (rc == CAIRN_E_BUSY) {
            class_wait_whole(co, class, slot);
            return;
        }
        if (rc != 0) {
            cairn_coordinator__fail(co, CAIRN_E_INTERNAL, "a slot cannot be made");
            return;
        }
    }
}

void cairn_coordinator__classes_go_on(struct cairn_coordinator *co)
{
    for (uint32_t i = 0; i < CAIRN_CLUSTER_CLASSES; i++) {
        struct cairn_coordinator_class *class = &co->classes[i];

        if (cairn_list_is_empty(&class->asks))
            continue;
        if (class->made < co->nslots) {
            class_go_on(co, i);
            continue;
        }
        cairn_coordinator__plan_soon(co, class); /* nodes may have come while it was made */
        class_answer(co, class, 0, "");
    }
}

void cairn_coordinator__class_grew(struct cairn_coordinator *co, uint32_t slot, uint64_t revision)
{
    struct cairn_coordinator_class *class = &co->classes[slot / co->nslots];

    class->made++;
    class->revision = revision;
}
