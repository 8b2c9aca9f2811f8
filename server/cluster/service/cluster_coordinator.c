/* The coordinator at its node: how it begins, and what it asks of us: coordinator.h. */
#include "server/cluster/service/cluster_home.h"

static int co_put_slot(struct cairn_coordinator *co, uint32_t slot, const struct cairn_slot_record *rec,
                       uint64_t revision)
{
    struct cairn_cluster *c = co->arg;

    return cairn_cluster_records_put_slot(c->records, slot, rec, revision);
}

static int co_put_member(struct cairn_coordinator *co, const struct cairn_wire_member *m, uint64_t revision)
{
    struct cairn_cluster *c = co->arg;

    return cairn_cluster_records_put_member(c->records, m, revision);
}

static void co_upto(struct cairn_coordinator *co, uint64_t revision)
{
    struct cairn_cluster *c = co->arg;

    cairn_cluster_records_upto(c->records, revision);
    cairn_cluster__side_say(c);
}

static uint64_t co_known(struct cairn_coordinator *co, uint64_t *upto)
{
    return cairn_cluster__side_map_known(co->arg, upto);
}

static void co_read(struct cairn_coordinator *co, uint64_t map, uint64_t revision)
{
    cairn_cluster__side_map_is(co->arg, map, revision);
}

static void co_publish(struct cairn_coordinator *co, uint32_t slot, const struct cairn_slot_record *rec,
                       const uint64_t *nodes, uint32_t n)
{
    cluster_tell(home_of(co->arg), slot, rec, nodes, n);
}

static void co_ended(struct cairn_coordinator *co)
{
    struct cluster_home *h = home_of(co->arg);

    h->coordinator_runs = false;
    cluster_tell_stop(h);
    cluster_quiesce_step(h);
}

static void co_give_up(struct cairn_coordinator *co)
{
    cairn_cluster__side_give_up(co->arg);
}

static void co_other(struct cairn_coordinator *co)
{
    cairn_cluster__side_follow(co->arg);
}

static int co_work(struct cairn_coordinator *co, struct cairn_job *job)
{
    struct cairn_cluster *c = co->arg;

    return cairn_pool_submit(c->env->pool, c->home, job);
}

static uint32_t co_named(struct cairn_coordinator *co)
{
    return cairn_coordinator_named_in(co->store);
}

static enum cairn_gossip_belief co_believes(struct cairn_coordinator *co, const struct cairn_gossip_self *who)
{
    struct cairn_cluster *c = co->arg;

    return c->env->gossip != NULL ? cairn_gossip_believes(c->env->gossip, who) : CAIRN_GOSSIP_UNKNOWN;
}

static const struct cairn_coordinator_ops coordinator_ops = {
    .believes = co_believes,
    .give_up = co_give_up,
    .other = co_other,
    .put_slot = co_put_slot,
    .put_member = co_put_member,
    .upto = co_upto,
    .known = co_known,
    .read = co_read,
    .publish = co_publish,
    .work = co_work,
    .named = co_named,
    .ended = co_ended,
};

void cluster_coordinator_begin(struct cluster_home *h)
{
    struct cairn_wire_member self;
    struct cairn_arena arena;
    Cairn__Wire__MemberUpdate *w;

    cairn_arena_init(&arena, sizeof(h->value) * 2);
    cairn_cluster__self(&h->c, &arena, &self);
    w = cairn_wire_member_put(&self, &arena);
    h->coordinator = (struct cairn_coordinator){ .store = h->c.map,
                                                 .ops = &coordinator_ops,
                                                 .conf = &h->c.conf,
                                                 .times = &h->times,
                                                 .value = h->value,
                                                 .name = h->c.env->node->name,
                                                 .arg = &h->c };
    if (w != NULL && cairn__wire__member_update__get_packed_size(w) <= sizeof(h->value)) {
        h->coordinator.value_len = (uint32_t)cairn__wire__member_update__pack(w, h->value);
        h->coordinator_runs = true;
        cairn_coordinator_start(&h->coordinator);
    }
    cairn_arena_reset(&arena);
}
