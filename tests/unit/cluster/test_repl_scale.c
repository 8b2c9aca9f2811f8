/* What a coordinator and a node cost when there are many slots: 16384 of them, 100 nodes. */
#include "server/cluster/repl/coord.h"
#include "server/cluster/repl/replica.h"

#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

enum { SLOTS = 16384, NODES = 100, REPLICAS = 3 };

static uint64_t now_ns = CAIRN_NS_PER_S;

static uint64_t env_now(struct cairn_env *env)
{
    (void)env;
    return now_ns;
}

static void env_timers_changed(struct cairn_env *env)
{
    (void)env;
}

static const struct cairn_env_ops env_ops = { .now_ns = env_now, .timers_changed = env_timers_changed };
static const struct cairn_lease_times times = {
    .length_ns = 4 * CAIRN_NS_PER_S, .heartbeat_ns = CAIRN_NS_PER_S / 2, .slack_ns = 50000000, .drift_ppm = 1000
};

/* ---- the coordinator ---- */

static uint32_t stores;

static void co_store(struct cairn_coord *c, uint32_t slot, const struct cairn_slot_record *rec)
{
    (void)c;
    (void)slot;
    (void)rec;
    stores++;
}

static void co_publish(struct cairn_coord *c, uint32_t slot, const struct cairn_slot_record *rec)
{
    (void)c;
    (void)slot;
    (void)rec;
}

static bool co_may_act(struct cairn_coord *c)
{
    (void)c;
    return true;
}

static const struct cairn_coord_ops coord_ops = { .may_act = co_may_act, .store = co_store, .publish = co_publish };

static struct cairn_slot_record record_of(uint32_t slot)
{
    struct cairn_slot_record rec = { .epoch = 2, .since = 1, .state = CAIRN_SLOT_ACTIVE, .min_insync = 1 };

    for (uint32_t i = 0; i < REPLICAS; i++) {
        rec.replicas[i] = 1 + (slot + i * 7) % NODES;
        rec.insync[i] = (struct cairn_who){ .node = rec.replicas[i], .inc = rec.replicas[i] };
    }
    rec.nreplicas = rec.ninsync = REPLICAS;
    rec.primary = rec.insync[0];
    return rec;
}

/* Of the processor: what else runs on the machine is no cost of it. */
static uint64_t tick_ns(struct cairn_coord *c)
{
    struct timespec a, b;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &a);
    cairn_coord_tick(c);
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &b);
    return (uint64_t)(b.tv_sec - a.tv_sec) * CAIRN_NS_PER_S + (uint64_t)b.tv_nsec - (uint64_t)a.tv_nsec;
}

static void beat_all(struct cairn_coord *c, uint64_t but)
{
    now_ns += times.heartbeat_ns;
    for (uint64_t n = 1; n <= NODES; n++) {
        if (n != but)
            assert_true(cairn_coord_heartbeat(c, (struct cairn_who){ .node = n, .inc = n }, 1));
    }
}

/* A tick looks at what has changed: below a millisecond with all slots at rest, and when a node has fallen silent. */
static void tick_costs_what_has_changed(void **state)
{
    struct cairn_env env;
    struct cairn_coord c;
    uint64_t first, rest = UINT64_MAX, silent = UINT64_MAX, t;

    (void)state;
    assert_int_equal(cairn_env_init(&env, &env_ops), 0);
    assert_int_equal(cairn_coord_init(&c, &coord_ops, &env, &times, SLOTS, 1), 0);
    for (uint64_t n = 1; n <= NODES; n++)
        assert_int_equal(
            cairn_coord_load_node(&c, &(struct cairn_coord_process){ .node = n, .inc = n, .process = 1, .disk_id = n }),
            0);
    for (uint32_t i = 0; i < SLOTS; i++) {
        struct cairn_slot_record rec = record_of(i);

        cairn_coord_load(&c, i, &rec);
    }
    beat_all(&c, 0);
    first = tick_ns(&c);
    for (int i = 0; i < 20; i++) {
        beat_all(&c, 0);
        t = tick_ns(&c);
        rest = MIN(rest, t);
        assert_int_equal(c.nwatched, 0);
    }
    for (int i = 0; i < 5; i++) { /* silent, but not yet for so long that it is over */
        beat_all(&c, 1);
        t = tick_ns(&c);
        if (c.nwatched > 0)
            silent = MIN(silent, t);
    }
    assert_int_equal(stores, 0);
    assert_true(c.nwatched >= SLOTS / NODES && c.nwatched <= SLOTS / NODES + 1);
    for (int i = 0; i < 5; i++) {
        beat_all(&c, 1);
        cairn_coord_tick(&c);
    }
    assert_true(stores >= SLOTS / NODES); /* each has another primary by now */
    print_message("tick: %.1f us at rest, %.1f us with a silent node, %.1f us at the election\n", (double)rest / 1e3,
                  (double)silent / 1e3, (double)first / 1e3);
    assert_true(rest < CAIRN_NS_PER_MS && silent < CAIRN_NS_PER_MS);
    cairn_coord_fini(&c);
    cairn_env_fini(&env);
}

/* ---- replicas ---- */

static void no_sync(struct cairn_replica *r)
{
    (void)r;
}

static void no_append(struct cairn_replica *r, const struct cairn_log_entry *e, uint32_t n)
{
    (void)r;
    (void)e;
    (void)n;
}

static void no_send(struct cairn_replica *r, const struct cairn_repl_msg *m)
{
    (void)r;
    (void)m;
}

static void no_propose(struct cairn_replica *r, const struct cairn_change *change)
{
    (void)r;
    (void)change;
}

static bool got(struct cairn_replica *r, uint64_t pos, struct cairn_log_entry *e)
{
    (void)r;
    *e = (struct cairn_log_entry){ .at = { 2, pos }, .kind = CAIRN_ENTRY_START };
    return true;
}

static void no_apply(struct cairn_replica *r, const struct cairn_log_entry *e)
{
    (void)r;
    (void)e;
}

static bool valid(struct cairn_replica *r)
{
    (void)r;
    return true;
}

static const struct cairn_replica_ops replica_ops = { .log_append = no_append,
                                                      .log_sync = no_sync,
                                                      .log_write = no_sync,
                                                      .log_get = got,
                                                      .log_has_room = valid,
                                                      .send = no_send,
                                                      .propose = no_propose,
                                                      .apply = no_apply,
                                                      .lease_is_valid = valid };
static const struct cairn_replica_times replica_times = {
    .resend_ns = 100000000, .ack_ns = 500000000, .learner_ns = 300000000, .session_ttl_ns = CAIRN_NS_PER_S * 60
};

/* A node that holds every slot, and leads a third of them, keeps below 16 MiB for it. */
static void replicas_at_rest_are_small(void **state)
{
    struct cairn_env env;
    static struct cairn_sm_set set;
    struct cairn_replica *all = calloc(SLOTS, sizeof(*all));
    size_t before, bytes;

    (void)state;
    assert_non_null(all);
    assert_int_equal(cairn_env_init(&env, &env_ops), 0);
    cairn_sm_set_init(&set, &env);
    before = mallinfo2().uordblks;
    for (uint32_t i = 0; i < SLOTS; i++) {
        struct cairn_slot_record rec = record_of(i);

        for (uint32_t k = 0; k < REPLICAS; k++) { /* node 1 leads every third, the others in turn */
            rec.replicas[k] = 1 + (i + k) % REPLICAS;
            rec.insync[k] = (struct cairn_who){ .node = rec.replicas[k], .inc = rec.replicas[k] };
        }
        rec.primary = rec.insync[0];
        cairn_replica_init(&all[i], &replica_ops, &replica_times, &env, &set, i, (struct cairn_who){ 1, 1 });
        assert_int_equal(cairn_replica_learn(&all[i], &rec), 0);
        assert_int_equal(all[i].sm.state, i % REPLICAS == 0 ? REPLICA_TAKEOVER : REPLICA_BACKUP);
    }
    bytes = SLOTS * sizeof(*all) + mallinfo2().uordblks - before;
    print_message("%d replicas: %.1f MiB, %zu bytes each by themselves\n", SLOTS, (double)bytes / (1 << 20),
                  sizeof(*all));
    assert_true(bytes < 16 << 20);
    for (uint32_t i = 0; i < SLOTS; i++)
        cairn_replica_fini(&all[i]);
    cairn_sm_set_fini(&set);
    cairn_env_fini(&env);
    free(all);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tick_costs_what_has_changed),
        cmocka_unit_test(replicas_at_rest_are_small),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
