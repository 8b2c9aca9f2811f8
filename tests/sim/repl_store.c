/* The map store of the replicated world: a change takes its time, comes late, or without an answer; who is cut off from
 * it reaches it when that is over. It loses nothing, and refuses what a deposed coordinator writes. */
#include "tests/sim/repl_internal.h"

static void store_take(struct rw_coord *co, uint32_t slot, const struct cairn_slot_record *rec)
{
    struct repl_world *rw = co->rw;

    rw_judge_record(rw, &co->core, slot, &rw->stored[slot], rec);
    rw->stored[slot] = *rec;
    rw->changed[slot] = ++rw->revision;
}

/* A change has come to the store: it is fenced by the election of who made it, and compares the epoch. */
static bool store_accepts(const struct rw_coord *co, uint32_t slot, const struct cairn_slot_record *rec)
{
    co->rw->fenced += is_deposed(co);
    return !is_deposed(co) && rec->epoch == co->rw->stored[slot].epoch + 1;
}

static uint32_t slot_of_store(const struct rw_store *st)
{
    return (uint32_t)(st - st->co->stores);
}

static void start_late(struct rw_store *st)
{
    struct cairn_env *env = env_of(st->co->rw, st->co->host);

    cairn_timer_start(env, &st->late, cairn_env_now_ns(env) + dice(st->co->rw, 200 * MS));
}

/* Behind a cut it waits until that is over. */
static void on_late_store(void *arg)
{
    struct rw_store *st = arg;

    if (!reaches_store(st->co))
        start_late(st);
    else if (st->late_term == st->co->term && store_accepts(st->co, slot_of_store(st), &st->late_rec))
        store_take(st->co, slot_of_store(st), &st->late_rec);
}

static void store_late(struct rw_store *st)
{
    if (cairn_timer_is_running(&st->late))
        return;
    st->late_rec = st->rec;
    st->late_term = st->co->term;
    start_late(st);
}

/* No answer comes: the change was made, or is lost, or will be made when it arrives at last. From behind a cut it is
 * not made now, and may be late by as long as that lasts. */
static void store_in_doubt(struct rw_store *st)
{
    struct rw_coord *co = st->co;
    struct repl_world *rw = co->rw;

    rw->doubts++;
    switch (dice(rw, 3)) {
    case 0:
        if (reaches_store(co))
            store_take(co, slot_of_store(st), &st->rec);
        break;
    case 1:
        store_late(st);
        break;
    }
    cairn_coord_on_stored(&co->core, slot_of_store(st), CAIRN_E_UNKNOWN);
}

static void on_store_over(void *arg)
{
    struct rw_store *st = arg;
    struct rw_coord *co = st->co;
    struct repl_world *rw = co->rw;
    uint32_t slot = slot_of_store(st);
    bool accepted;

    if (!reaches_store(co)) {
        store_in_doubt(st);
        return;
    }
    accepted = store_accepts(co, slot, &st->rec);
    if (!hears_store(co)) {
        if (accepted)
            store_take(co, slot, &st->rec);
        rw->doubts++;
        rw->unheard += accepted;
        cairn_coord_on_stored(&co->core, slot, CAIRN_E_UNKNOWN);
        return;
    }
    if (is_deposed(co) && !accepted) { /* the fence has refused: its term is over */
        rw_coord_end(co);
        return;
    }
    if (accepted && dice(rw, 30) == 0) {
        store_in_doubt(st);
        return;
    }
    if (accepted)
        store_take(co, slot, &st->rec);
    cairn_coord_on_stored(&co->core, slot, accepted ? 0 : CAIRN_E_STATE);
}

static void on_read(void *arg)
{
    struct rw_store *st = arg;
    struct rw_coord *co = st->co;
    bool fails = is_cut_off(co) || dice(co->rw, 5) == 0;

    cairn_coord_on_read(&co->core, slot_of_store(st), fails ? CAIRN_E_TIMEOUT : 0, &co->rw->stored[slot_of_store(st)]);
}

void rw_store_read(struct cairn_coord *c, uint32_t slot)
{
    struct rw_coord *co = coord_of(c);
    struct cairn_env *env = env_of(co->rw, co->host);

    cairn_timer_start(env, &co->stores[slot].read, cairn_env_now_ns(env) + MS / 2 + dice(co->rw, 10 * MS));
}

void rw_store_write(struct cairn_coord *c, uint32_t slot, const struct cairn_slot_record *rec)
{
    struct rw_coord *co = coord_of(c);
    struct repl_world *rw = co->rw;
    struct cairn_env *env = env_of(rw, co->host);

    CAIRN_ASSERT(is_deposed(co) || rec->epoch == rw->stored[slot].epoch + 1); /* I9 */
    for (uint32_t i = 0; i < rec->ninsync && !c->slots[slot].doubtful; i++)   /* a repetition: it was so at first */
        CAIRN_ASSERT(is_deposed(co) || cairn_slot_insync(&rw->stored[slot], rec->insync[i]) >= 0 ||
                     rec->insync[i].inc == rw->stored_nodes[rec->insync[i].node].inc);
    if (c->slots[slot].change.kind != 0 && !c->slots[slot].doubtful && !is_deposed(co))
        rw_judge_change(rw, &c->slots[slot].change);
    co->stores[slot].rec = *rec;
    cairn_timer_start(env, &co->stores[slot].timer, cairn_env_now_ns(env) + MS / 2 + dice(rw, 10 * MS));
}

void rw_stores_init(struct rw_coord *co)
{
    for (uint32_t i = 0; i < RW_SLOTS_MAX; i++) {
        co->stores[i].co = co;
        cairn_timer_init(&co->stores[i].timer, on_store_over, &co->stores[i]);
        cairn_timer_init(&co->stores[i].read, on_read, &co->stores[i]);
        cairn_timer_init(&co->stores[i].late, on_late_store, &co->stores[i]);
    }
}

void rw_stores_end(struct rw_coord *co)
{
    struct cairn_env *env = env_of(co->rw, co->host);

    for (uint32_t i = 0; i < co->rw->conf.slots; i++) {
        struct rw_store *st = &co->stores[i];

        cairn_timer_stop(env, &st->read);
        if (!cairn_timer_is_running(&st->timer))
            continue;
        cairn_timer_stop(env, &st->timer);
        if (!reaches_store(co))
            store_late(st);
        else if (dice(co->rw, 2) == 0 && store_accepts(co, i, &st->rec)) /* it was stored, and nobody heard */
            store_take(co, i, &st->rec);
    }
}
