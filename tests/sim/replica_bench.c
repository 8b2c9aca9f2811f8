/* One replica on a bench: see replica_bench.h. */
#include "tests/sim/replica_bench.h"

#include <stdlib.h>

const struct cairn_replica_times bench_times = { .resend_ns = 100 * CAIRN_NS_PER_MS,
                                                 .ack_ns = 1000 * CAIRN_NS_PER_MS,
                                                 .learner_ns = 300 * CAIRN_NS_PER_MS,
                                                 .session_ttl_ns = 120 * CAIRN_NS_PER_S };

static struct bench *bench_of(struct cairn_replica *r)
{
    return CONTAINER_OF(r, struct bench, r);
}

static void op_log_append(struct cairn_replica *r, const struct cairn_log_entry *entries, uint32_t n)
{
    struct bench *b = bench_of(r);

    for (uint32_t i = 0; i < n; i++) {
        CAIRN_ASSERT(b->end < BENCH_LOG_MAX && entries[i].at.pos == b->end + 1);
        b->log[b->end++] = entries[i];
    }
}

static void op_log_cut(struct cairn_replica *r, uint64_t pos)
{
    bench_of(r)->end = pos;
    bench_of(r)->cuts++;
}

static void op_log_sync(struct cairn_replica *r)
{
    bench_of(r)->syncing = true;
}

static void op_log_write(struct cairn_replica *r)
{
    bench_of(r)->writing = true;
}

static bool op_log_has_room(struct cairn_replica *r)
{
    return !bench_of(r)->has_no_room;
}

static bool op_log_get(struct cairn_replica *r, uint64_t pos, struct cairn_log_entry *e)
{
    *e = bench_of(r)->log[pos - 1];
    return true;
}

static void op_send(struct cairn_replica *r, const struct cairn_repl_msg *m)
{
    bench_of(r)->said[m->kind]++;
    bench_of(r)->last[m->kind] = *m;
}

static void op_propose(struct cairn_replica *r, const struct cairn_change *c)
{
    bench_of(r)->proposed = *c;
}

static void op_apply(struct cairn_replica *r, const struct cairn_log_entry *e)
{
    bench_of(r)->applying = e->at.pos;
}

static bool op_lease_is_valid(struct cairn_replica *r)
{
    return !bench_of(r)->has_no_lease;
}

static bool op_may_go_on(struct cairn_replica *r)
{
    return !bench_of(r)->has_failed;
}

static void op_wipe(struct cairn_replica *r)
{
    bench_of(r)->wiped = true;
}

static bool op_copy_open(struct cairn_replica *r)
{
    bench_of(r)->views = 1;
    return true;
}

static void op_copy_read(struct cairn_replica *r)
{
    CAIRN_ASSERT(bench_of(r)->views == 1);
}

static void op_copy_close(struct cairn_replica *r)
{
    bench_of(r)->views = 0;
}

/* A heartbeat is asked for, and nobody answers. */
static void op_map_is_old(struct cairn_replica *r, uint64_t epoch)
{
    CAIRN_ASSERT(epoch > r->rec.epoch);
}

static const struct cairn_replica_ops ops = { .log_append = op_log_append,
                                              .log_cut = op_log_cut,
                                              .log_sync = op_log_sync,
                                              .log_write = op_log_write,
                                              .log_get = op_log_get,
                                              .log_has_room = op_log_has_room,
                                              .send = op_send,
                                              .propose = op_propose,
                                              .apply = op_apply,
                                              .wipe = op_wipe,
                                              .copy_open = op_copy_open,
                                              .copy_read = op_copy_read,
                                              .copy_close = op_copy_close,
                                              .lease_is_valid = op_lease_is_valid,
                                              .may_go_on = op_may_go_on,
                                              .map_is_old = op_map_is_old };

int bench_begin(void **state)
{
    struct world_conf conf = { .seed = 1, .nodes = 1 }; /* nothing is sent there */
    struct bench *b = calloc(1, sizeof(*b));

    CAIRN_ASSERT(b != NULL);
    b->world = world_new(&conf);
    CAIRN_ASSERT(b->world != NULL);
    cairn_sm_set_init(&b->machines, world_env(b->world, 0));
    cairn_replica_init(&b->r, &ops, &bench_times, world_env(b->world, 0), &b->machines, 0, self);
    *state = b;
    return 0;
}

int bench_end(void **state)
{
    struct bench *b = *state;

    cairn_replica_fini(&b->r);
    cairn_sm_set_fini(&b->machines);
    world_free(b->world);
    free(b);
    return 0;
}

void bench_learn_since(struct bench *b, uint64_t epoch, uint64_t since, enum cairn_slot_state state,
                       struct cairn_who primary, const struct cairn_who *others)
{
    struct cairn_slot_record rec = { .epoch = epoch,
                                     .since = since,
                                     .state = state,
                                     .primary = primary,
                                     .nreplicas = 3,
                                     .replicas = { 1, 2, 3 },
                                     .ninsync = 1,
                                     .insync = { primary } };

    for (; !cairn_who_is_nobody(*others); others++)
        rec.insync[rec.ninsync++] = *others;
    CAIRN_ASSERT(cairn_replica_learn(&b->r, &rec) == 0);
}

void bench_learn(struct bench *b, uint64_t epoch, enum cairn_slot_state state, struct cairn_who primary,
                 const struct cairn_who *others)
{
    bench_learn_since(b, epoch, epoch, state, primary, others);
}

void bench_append(struct bench *b, struct cairn_who from, uint64_t epoch, struct cairn_at prev,
                  struct cairn_log_entry e, uint64_t commit)
{
    struct cairn_repl_msg m = { .kind = CAIRN_REPL_APPEND,
                                .from = from,
                                .to = self,
                                .epoch = epoch,
                                .prev = prev,
                                .entries = &e,
                                .nentries = 1,
                                .commit = commit };

    cairn_replica_receive(&b->r, &m);
}

struct cairn_log_entry bench_start(uint64_t epoch, uint64_t pos)
{
    return (struct cairn_log_entry){ .at = { epoch, pos }, .kind = CAIRN_ENTRY_START, .sync = true };
}

void bench_append_here(struct bench *b, struct cairn_log_entry e)
{
    op_log_append(&b->r, &e, 1);
    CAIRN_ASSERT(cairn_replica_restore_entry(&b->r, &e) == 0);
}

void bench_learn_places(struct bench *b, uint64_t epoch, struct cairn_who primary, struct cairn_who other)
{
    struct cairn_slot_record rec = { .epoch = epoch,
                                     .since = epoch,
                                     .state = CAIRN_SLOT_ACTIVE,
                                     .primary = primary,
                                     .nreplicas = 2,
                                     .replicas = { (uint32_t)primary.node, (uint32_t)other.node },
                                     .ninsync = 2,
                                     .insync = { primary, other } };

    CAIRN_ASSERT(cairn_replica_learn(&b->r, &rec) == 0);
}

struct cairn_log_entry bench_buffered(uint64_t epoch, uint64_t pos)
{
    return (struct cairn_log_entry){ .at = { epoch, pos }, .kind = CAIRN_ENTRY_WRITE };
}

void bench_ack(struct bench *b, struct cairn_who from, uint64_t epoch, uint64_t matched)
{
    struct cairn_repl_msg m = {
        .kind = CAIRN_REPL_ACK, .from = from, .to = self, .epoch = epoch, .matched = matched, .synced = matched
    };

    cairn_replica_receive(&b->r, &m);
}

void bench_disk(struct bench *b)
{
    while (b->syncing) {
        b->syncing = false;
        cairn_replica_on_synced(&b->r);
    }
}

void bench_written(struct bench *b)
{
    CAIRN_ASSERT(b->writing);
    b->writing = false;
    cairn_replica_on_written(&b->r, b->r.log.end);
}

void bench_apply_all(struct bench *b)
{
    while (b->r.applied < b->applying)
        cairn_replica_on_applied(&b->r, &b->log[b->r.applied], 0);
}
