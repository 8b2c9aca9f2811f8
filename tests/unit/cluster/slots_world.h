/* Replicas of a slot on three nodes with real logs and real KV providers, over a network of messages in the real
 * form, and a map that decides at once. */
#ifndef CAIRN_TESTS_SLOTS_WORLD_H
#define CAIRN_TESTS_SLOTS_WORLD_H

#include "server/cluster/repl/repl_wire.h"
#include "server/cluster/service/slots.h"
#include "tests/lib/kv_node.h"
#include "tests/lib/patience.h"
#include "tests/lib/scratch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <cmocka.h>

enum { NODES = 3, SLOTS = 4, SLOT = 1, MS = 1000000 };

/* Acknowledgements wait for the syncs of a real disk, which may take long: nobody is removed for that. */
static const struct cairn_replica_times times = { .resend_ns = 100 * MS,
                                                  .ack_ns = UINT64_C(4000) * MS,
                                                  .learner_ns = 100 * MS,
                                                  .session_ttl_ns = UINT64_C(600000) * MS };

struct node {
    struct world *world;
    uint64_t id, inc;
    bool up, started, stopped;
    bool may_fail, failed;
    int log_rc;          /* what its next sync, or write, comes to; 0: as the disk says */
    const char *backend; /* NULL: the world's */
    char dir[SCRATCH_MAX + 16], kv_dir[SCRATCH_MAX + 32], log_dir[SCRATCH_MAX + 32];
    struct kv_node kv;
    struct cairn_slot_disk *disk;
    struct cluster_pace pace;
    struct cluster_slots *slots;
    atomic_uint_fast64_t words[SLOTS];
};

struct packet {
    struct cairn_link link;
    uint64_t to;
    struct cairn_wire_mail mail; /* of one message */
};

struct world {
    char dir[SCRATCH_MAX];
    const char *backend;
    uint64_t checkpoint_bytes, unapplied_bytes;
    struct node nodes[NODES + 1]; /* from 1 */
    struct cairn_slot_record rec;
    struct cairn_link packets;
};

/* ---- the network ---- */

static inline void op_send(void *arg, const struct cairn_repl_msg *m)
{
    struct node *n = arg;
    struct packet *p = calloc(1, sizeof(*p));

    assert_non_null(p);
    p->to = m->to.node;
    assert_int_equal(cairn_wire_mail_add(&p->mail, m), 0);
    cairn_list_add_tail(&n->world->packets, &p->link);
}

static inline void packet_free(struct packet *p)
{
    cairn_wire_mail_fini(&p->mail);
    free(p);
}

static inline void deliver(struct world *w, struct packet *p)
{
    struct cairn_le_reader mail;
    struct cairn_wire_letter letter;
    struct cairn_repl_msg msg;
    struct cairn_arena a;

    cairn_arena_init(&a, 1 << 20);
    assert_int_equal(cairn_wire_mail_open(p->mail.bytes, p->mail.n, &mail, NULL), 0);
    assert_int_equal(cairn_wire_mail_next(&mail, &letter, NULL), 1);
    assert_int_equal(cairn_wire_letter_get(&letter, &a, &msg, NULL), 0);
    if (w->nodes[p->to].up)
        cluster_slots_receive(w->nodes[p->to].slots, &msg);
    cairn_arena_reset(&a);
    packet_free(p);
}

/* ---- the map, which decides at once ---- */

static inline void publish(struct world *w)
{
    for (int i = 1; i <= NODES; i++) {
        if (w->nodes[i].up)
            assert_int_equal(cluster_slots_learn(w->nodes[i].slots, SLOT, &w->rec), 0);
    }
}

static inline void insync_remove(struct cairn_slot_record *rec, uint64_t node)
{
    for (uint32_t i = 0; i < rec->ninsync; i++) {
        if (rec->insync[i].node == node)
            rec->insync[i--] = rec->insync[--rec->ninsync];
    }
}

struct proposal {
    struct cairn_task task;
    struct node *n;
    struct cairn_change c;
};

static inline void decide(void *arg)
{
    struct proposal *p = arg;
    struct world *w = p->n->world;
    struct cairn_slot_record *rec = &w->rec;
    bool ok = p->c.epoch == rec->epoch && cairn_who_is(rec->primary, p->c.from);

    if (ok) {
        rec->epoch++;
        if (p->c.kind == CAIRN_CHANGE_JOIN)
            rec->insync[rec->ninsync++] = p->c.who;
        else if (p->c.kind == CAIRN_CHANGE_REMOVE)
            insync_remove(rec, p->c.who.node);
        else if (p->c.kind == CAIRN_CHANGE_ACTIVE)
            rec->state = CAIRN_SLOT_ACTIVE;
        publish(w);
    }
    if (p->n->up)
        cluster_slots_on_verdict(p->n->slots, &p->c, ok ? CAIRN_VERDICT_COMMITTED : CAIRN_VERDICT_REFUSED, rec);
    free(p);
}

static inline void op_propose(void *arg, const struct cairn_change *c)
{
    struct node *n = arg;
    struct proposal *p = calloc(1, sizeof(*p));

    p->n = n;
    p->c = *c;
    cairn_task_init(&p->task, decide, p);
    cairn_env_defer(&n->kv.loop.env, &p->task);
}

static inline bool op_lease(void *arg)
{
    return !((struct node *)arg)->failed;
}

static inline bool op_may_go_on(void *arg)
{
    (void)arg;
    return true;
}

static inline void op_map_is_old(void *arg)
{
    publish(((struct node *)arg)->world);
}

static inline void op_started(void *arg, int rc, const struct cairn_err *err)
{
    if (rc != 0)
        fail_msg("%s", err->text);
    ((struct node *)arg)->started = true;
}

static inline void op_failed(void *arg, int rc, const char *text)
{
    ((struct node *)arg)->failed = true;
    if (!((struct node *)arg)->may_fail)
        fail_msg("node %u has failed: %d %s", (unsigned)((struct node *)arg)->id, rc, text);
}

static const struct cluster_slots_ops ops = { .send = op_send,
                                              .propose = op_propose,
                                              .lease_is_valid = op_lease,
                                              .may_go_on = op_may_go_on,
                                              .map_is_old = op_map_is_old,
                                              .started = op_started,
                                              .failed = op_failed };

/* ---- nodes ---- */

static inline void on_synced(void *arg, uint32_t slot, int rc)
{
    struct node *n = arg;

    if (n->slots != NULL)
        cluster_slots_on_synced(n->slots, slot, n->log_rc != 0 ? n->log_rc : rc);
}

static inline void on_log_written(void *arg, uint32_t slot, struct cairn_at end, int rc)
{
    struct node *n = arg;

    if (n->slots != NULL)
        cluster_slots_on_written(n->slots, slot, end, n->log_rc != 0 ? n->log_rc : rc);
}

static inline void turn(struct world *w)
{
    struct cairn_link *l;

    for (int i = 1; i <= NODES; i++) {
        if (w->nodes[i].slots != NULL)
            cairn_loop_turn(&w->nodes[i].kv.loop, MS / 10);
    }
    for (int i = 0; i < 100 && (l = cairn_list_pop(&w->packets)) != NULL; i++)
        deliver(w, CONTAINER_OF(l, struct packet, link));
}

static inline void turns(struct world *w, const bool *until)
{
    WHILE_PATIENT (!*until)
        turn(w);
}

static inline void node_start(struct world *w, uint64_t id)
{
    struct node *n = &w->nodes[id];
    struct cairn_slot_disk_conf dc = { .loops = n->kv.loops,
                                       .nloops = 1,
                                       .nslots = SLOTS,
                                       .segment_bytes = 4 << 20,
                                       .queue_bytes = CLUSTER_QUEUE_BYTES,
                                       .spare_bytes = CLUSTER_QUEUE_SPARE_BYTES,
                                       .synced = on_synced,
                                       .written = on_log_written,
                                       .arg = n };
    struct cluster_slots_conf sc = { .times = &times,
                                     .pace = &n->pace,
                                     .nworkers = 1,
                                     .nslots = SLOTS,
                                     .sync_interval_ns = 20 * MS,
                                     .checkpoint_ns = UINT64_C(3600000) * MS,
                                     .checkpoint_bytes = w->checkpoint_bytes,
                                     .unapplied_bytes = w->unapplied_bytes,
                                     .words = n->words,
                                     .ops = &ops,
                                     .arg = n };
    struct cairn_err err = { 0 };
    char root[SCRATCH_MAX];

    memcpy(root, w->dir, sizeof(root));
    n->world = w;
    n->id = id;
    n->inc++;
    snprintf(n->dir, sizeof(n->dir), "%s/%u", root, (unsigned)id);
    snprintf(n->kv_dir, sizeof(n->kv_dir), "%s/%u/kv", root, (unsigned)id);
    snprintf(n->log_dir, sizeof(n->log_dir), "%s/%u/log", root, (unsigned)id);
    mkdir(n->dir, 0700);
    mkdir(n->kv_dir, 0700);
    mkdir(n->log_dir, 0700);
    kv_node_start(&n->kv, n->backend != NULL ? n->backend : w->backend, n->kv_dir, NULL, NULL);
    dc.dir = n->log_dir;
    if (cairn_slot_disk_open(&dc, &n->disk, &err) != 0)
        fail_msg("%s", err.text);
    sc.rpc = n->kv.rpc;
    sc.kv = &n->kv.targets[0];
    sc.disk = n->disk;
    n->slots = cluster_slots_new(&sc);
    assert_non_null(n->slots);
    n->started = false;
    cluster_slots_start(n->slots);
    turns(w, &n->started);
    cluster_slots_register(n->slots, (struct cairn_who){ id, n->inc });
    n->up = true;
}

static inline void on_stopped(void *arg)
{
    ((struct node *)arg)->stopped = true;
}

static inline void node_stop(struct world *w, uint64_t id)
{
    struct node *n = &w->nodes[id];

    n->up = n->stopped = false;
    cluster_slots_stop(n->slots, on_stopped, n);
    turns(w, &n->stopped);
    n->stopped = false;
    cairn_slot_disk_stop(n->disk, 0, on_stopped, n);
    turns(w, &n->stopped);
    cluster_slots_free(n->slots);
    n->slots = NULL;
    cairn_slot_disk_close(n->disk);
    kv_node_stop(&n->kv);
}

static inline int make(void **state, const char *backend)
{
    struct world *w = calloc(1, sizeof(*w));

    scratch_new(w->dir);
    w->backend = backend;
    w->checkpoint_bytes = w->unapplied_bytes = UINT64_C(1) << 40;
    cairn_list_init(&w->packets);
    *state = w;
    return 0;
}

static inline int setup_memory(void **state)
{
    return make(state, "memory");
}

static inline int setup_rocksdb(void **state)
{
    return make(state, "rocksdb");
}

static inline int teardown(void **state)
{
    struct world *w = *state;
    struct cairn_link *l;

    for (uint64_t i = 1; i <= NODES; i++) {
        if (w->nodes[i].up)
            node_stop(w, i);
    }
    while ((l = cairn_list_pop(&w->packets)) != NULL)
        packet_free(CONTAINER_OF(l, struct packet, link));
    scratch_remove(w->dir);
    free(w);
    return 0;
}

/* The slot is made: @n nodes hold it, the first leads. */
static inline void place(struct world *w, uint32_t n)
{
    w->rec = (struct cairn_slot_record){ .epoch = 1,
                                         .since = 1,
                                         .state = CAIRN_SLOT_TAKEOVER,
                                         .min_insync = 1,
                                         .primary = { 1, w->nodes[1].inc },
                                         .nreplicas = n,
                                         .ninsync = n };
    for (uint32_t i = 0; i < n; i++) {
        w->rec.replicas[i] = i + 1;
        w->rec.insync[i] = (struct cairn_who){ i + 1, w->nodes[i + 1].inc };
    }
    publish(w);
}

static inline void expect_active(struct world *w, uint64_t leader, uint32_t ninsync)
{
    struct cairn_replica *r = cluster_slots_replica(w->nodes[leader].slots, SLOT);

    WHILE_PATIENT (r->sm.state != REPLICA_ACTIVE || w->rec.ninsync != ninsync || w->rec.state != CAIRN_SLOT_ACTIVE)
        turn(w);
    assert_true(atomic_load(&w->nodes[leader].words[SLOT]) ==
                (CLUSTER_WORD_LEADS + w->rec.since) + (ninsync == 1 ? CLUSTER_WORD_ALONE : 0));
}

/* The node is as it was before it stopped but for its incarnation: MAP says what that means. */
static inline void rejoin(struct world *w, uint64_t id)
{
    uint64_t leads = 0;

    insync_remove(&w->rec, id);
    w->rec.epoch++;
    for (uint32_t i = 0; i < w->rec.ninsync && w->rec.primary.node == id; i++) {
        if (leads == 0)
            w->rec.primary = w->rec.insync[i];
    }
    if (cairn_slot_insync(&w->rec, w->rec.primary) >= 0 && w->rec.primary.node != 1) {
        w->rec.since = w->rec.epoch;
        w->rec.state = CAIRN_SLOT_TAKEOVER;
    }
    publish(w);
}

/* ---- clients ---- */

struct client {
    struct cairn_repl_write w;
    bool done;
    int rc;
};

static inline void on_done(struct cairn_repl_write *w, int rc)
{
    struct client *c = w->arg;

    c->done = true;
    c->rc = rc;
}

/* 0: it is on its way; a body stays with its caller. */
static inline int write_begin(struct world *w, uint64_t leader, struct client *c, const uint8_t *body, uint32_t len)
{
    int rc;

    c->done = false;
    c->w.done = on_done;
    c->w.arg = c;
    c->w.body = body;
    c->w.body_len = len;
    WHILE_PATIENT ((rc = cluster_slots_write(w->nodes[leader].slots, SLOT, &c->w)) == CAIRN_E_BUSY)
        turn(w);
    return rc;
}

static inline int write_entry(struct world *w, uint64_t leader, struct client *c, const uint8_t *body, uint32_t len)
{
    int rc = write_begin(w, leader, c, body, len);

    if (rc != 0)
        return rc;
    turns(w, &c->done);
    return c->rc;
}

static inline int put_in(struct world *w, uint64_t leader, uint32_t ns, const char *key, const char *record, bool sync)
{
    struct store_body b = { .op = STORE_PUT,
                            .ns = ns,
                            .key = (const uint8_t *)key,
                            .key_len = (uint32_t)strlen(key),
                            .record = (const uint8_t *)record,
                            .record_len = (uint32_t)strlen(record) };
    struct client c = { .w = { .kind = CAIRN_ENTRY_WRITE, .sync = sync, .rid.seq = 1 } };
    uint8_t body[256];

    store_body_put(&b, body);
    return write_entry(w, leader, &c, body, store_body_bytes(&b));
}

static inline int put(struct world *w, uint64_t leader, const char *key, const char *record, bool sync)
{
    return put_in(w, leader, 5, key, record, sync);
}

static inline void fill(struct world *w, uint64_t leader, int from, int n)
{
    char key[32], record[32];

    for (int i = from; i < from + n; i++) {
        snprintf(key, sizeof(key), "key %d", i);
        snprintf(record, sizeof(record), "record %d", i);
        assert_int_equal(put(w, leader, key, record, i % 50 == 0), 0);
    }
}

static inline const char *record_at(struct world *w, uint64_t id, const char *key)
{
    return kv_node_record(&w->nodes[id].kv, 5, key);
}

/* All that is committed is applied at @id soon. */
static inline void expect_records(struct world *w, uint64_t leader, uint64_t id, int n)
{
    struct cairn_replica *from = cluster_slots_replica(w->nodes[leader].slots, SLOT);
    struct cairn_replica *to = cluster_slots_replica(w->nodes[id].slots, SLOT);
    char key[32], record[32];

    WHILE_PATIENT (to->applied < from->commit)
        turn(w);
    for (int i = 0; i < n; i += 17) {
        snprintf(key, sizeof(key), "key %d", i);
        snprintf(record, sizeof(record), "record %d", i);
        assert_string_equal(record_at(w, id, key), record);
    }
}

static inline void checkpoint(struct world *w, uint64_t id)
{
    uint64_t applied = cluster_slots_replica(w->nodes[id].slots, SLOT)->applied;

    WHILE_PATIENT (cairn_slot_disk_base(w->nodes[id].disk, SLOT).pos < applied) {
        cluster_slots_checkpoint(w->nodes[id].slots); /* one may be held back by what another still misses */
        turn(w);
    }
}

#define BOTH(f)                                                                                                        \
    cmocka_unit_test_setup_teardown(f, setup_memory, teardown),                                                        \
        cmocka_unit_test_setup_teardown(f, setup_rocksdb, teardown)

#endif
