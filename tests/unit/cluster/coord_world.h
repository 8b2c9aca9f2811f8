/* The core of the coordinator with one slot, of nodes 1 to 3, and a clock of its own; records are stored at once unless
 * a story says so. */
#ifndef CAIRN_TESTS_COORD_WORLD_H
#define CAIRN_TESTS_COORD_WORLD_H

#include "server/cluster/repl/coord.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define MS CAIRN_NS_PER_MS

enum { TERM = 7 };

static const struct cairn_lease_times times = {
    .length_ns = 2000 * MS, .heartbeat_ns = 500 * MS, .slack_ns = 50 * MS, .drift_ppm = 1000
};

struct map {
    struct cairn_coord c;
    struct cairn_env env;
    uint64_t now_ns;
    bool holds; /* stores take their time */
    bool term_is_over;
    uint32_t stores, reads; /* that were asked for */
    enum cairn_verdict verdict;
    uint64_t process[5]; /* of node i */
    struct cairn_who who[5];
};

static inline uint64_t env_now(struct cairn_env *env)
{
    return CONTAINER_OF(env, struct map, env)->now_ns;
}

static const struct cairn_env_ops env_ops = { .now_ns = env_now };

static inline struct map *map_of(struct cairn_coord *c)
{
    return CONTAINER_OF(c, struct map, c);
}

static inline void op_store(struct cairn_coord *c, uint32_t slot, const struct cairn_slot_record *rec)
{
    (void)slot;
    (void)rec;
    map_of(c)->stores++;
}

static inline void op_read(struct cairn_coord *c, uint32_t slot)
{
    (void)slot;
    map_of(c)->reads++;
}

static inline bool op_may_act(struct cairn_coord *c)
{
    return !map_of(c)->term_is_over;
}

static inline void op_publish(struct cairn_coord *c, uint32_t slot, const struct cairn_slot_record *rec)
{
    (void)c;
    (void)slot;
    (void)rec;
}

static inline void op_verdict(struct cairn_coord *c, const struct cairn_change *change, enum cairn_verdict verdict,
                       const struct cairn_slot_record *rec)
{
    (void)change;
    (void)rec;
    map_of(c)->verdict = verdict;
}

static const struct cairn_coord_ops ops = {
    .may_act = op_may_act, .store = op_store, .read = op_read, .publish = op_publish, .verdict = op_verdict
};

static const struct cairn_slot_record *record(const struct map *m)
{
    return &m->c.slots[0].rec;
}

static inline void store_all(struct map *m)
{
    if (m->c.slots[0].storing && !m->holds)
        cairn_coord_on_stored(&m->c, 0, 0);
}

/* A process of node @i starts with a log that ends at @end. */
static inline void start(struct map *m, uint64_t i, uint64_t disk, struct cairn_at end)
{
    struct cairn_coord_process p = { .node = i, .disk_id = disk, .process = ++m->process[i] };
    struct cairn_coord_log log = { .slot = 0, .end = end };
    struct cairn_coord_told told = { .logs = &log, .nlogs = 1 };

    assert_int_equal(cairn_coord_register(&m->c, &p, &told), 0);
    m->who[i] = (struct cairn_who){ i, p.inc };
}

/* Half a second, in which the nodes of @alive (a digit each) send heartbeats; every one of them is granted. */
static inline void pass(struct map *m, const char *alive)
{
    m->now_ns += 500 * MS;
    for (; *alive != '\0'; alive++)
        cairn_coord_heartbeat(&m->c, m->who[*alive - '0'], TERM);
    cairn_coord_tick(&m->c);
    store_all(m);
}

static inline struct map *map_new(void)
{
    static const uint64_t replicas[] = { 1, 2, 3 };
    struct map *m = calloc(1, sizeof(*m));

    assert_non_null(m);
    m->now_ns = 1000 * MS;
    assert_int_equal(cairn_env_init(&m->env, &env_ops), 0);
    assert_int_equal(cairn_coord_init(&m->c, &ops, &m->env, &times, 1, TERM), 0);
    for (uint64_t i = 1; i <= 4; i++)
        start(m, i, i, (struct cairn_at){ 0 });
    assert_int_equal(cairn_coord_create(&m->c, 0, replicas, 3, 2), 0);
    store_all(m);
    pass(m, "1234");
    return m;
}

static inline void map_free(struct map *m)
{
    cairn_coord_fini(&m->c);
    cairn_env_fini(&m->env);
    free(m);
}

static inline void propose(struct map *m, enum cairn_change_kind kind, struct cairn_who from, struct cairn_who who)
{
    struct cairn_change change = { .kind = kind, .epoch = record(m)->epoch, .from = from, .who = who };

    m->verdict = 0;
    cairn_coord_propose(&m->c, &change);
    store_all(m);
}

static inline bool is_member(const struct map *m, uint64_t node)
{
    return cairn_slot_insync(record(m), m->who[node]) >= 0;
}

/* Another is elected, for the map as it is, of generation @number. */
static inline void elect(struct map *m, uint32_t number)
{
    struct cairn_slot_record rec = *record(m);
    struct cairn_coord_process p[5] = { { 0 } };

    for (uint64_t i = 1; i <= 4; i++) {
        if (cairn_coord_node(&m->c, i) != NULL)
            p[i] = cairn_coord_node(&m->c, i)->p;
        p[i].first_inc = 0;
    }
    cairn_coord_fini(&m->c);
    assert_int_equal(cairn_coord_init(&m->c, &ops, &m->env, &times, 1, TERM), 0);
    cairn_coord_begin_generation(&m->c, number);
    for (uint64_t i = 1; i <= 4; i++) {
        if (p[i].node != 0)
            assert_int_equal(cairn_coord_load_node(&m->c, &p[i]), 0);
    }
    cairn_coord_load(&m->c, 0, &rec);
}

#endif
