/* Replicas of a slot on three nodes with real logs and real KV providers, over a network of messages in the real form: writes,
 * a node that restarts, a copy to a node that has nothing. */
#include "server/cluster/repl/repl_wire.h"
#include "server/cluster/service/slots.h"
#include "tests/lib/kv_node.h"
#include "tests/lib/scratch.h"

#include "schema/kv.pb-c.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <cmocka.h>

enum { NODES = 3, SLOTS = 4, SLOT = 1, TURNS_MAX = 60000, MS = 1000000 };

static const struct cairn_replica_times times = {
    .resend_ns = 100 * MS, .ack_ns = 500 * MS, .learner_ns = 100 * MS, .session_ttl_ns = UINT64_C(600000) * MS
};

struct node {
    struct world *world;
    uint64_t id, inc;
    bool up, started, stopped;
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
    uint8_t *head, *payload;
    size_t head_len, payload_len;
};

struct world {
    char dir[SCRATCH_MAX];
    const char *backend;
    struct node nodes[NODES + 1]; /* from 1 */
    struct cairn_slot_record rec;
    struct cairn_link packets;
};

/* ---- the network ---- */

static void op_send(void *arg, const struct cairn_repl_msg *m)
{
    struct node *n = arg;
    struct packet *p = calloc(1, sizeof(*p));
    struct iovec iov[CAIRN_APPEND_ENTRIES_MAX + 1];
    Cairn__Wire__ReplMessage *w;
    struct cairn_arena a;
    uint32_t niov;
    size_t at = 0;

    cairn_arena_init(&a, 1 << 20);
    w = cairn_wire_repl_put(m, &a, iov, &niov);
    assert_non_null(w);
    p->to = m->to.node;
    p->head_len = cairn__wire__repl_message__get_packed_size(w);
    p->head = malloc(p->head_len + 1);
    cairn__wire__repl_message__pack(w, p->head);
    for (uint32_t i = 0; i < niov; i++)
        p->payload_len += iov[i].iov_len;
    p->payload = malloc(p->payload_len + 1);
    for (uint32_t i = 0; i < niov; at += iov[i++].iov_len)
        memcpy(p->payload + at, iov[i].iov_base, iov[i].iov_len);
    cairn_arena_reset(&a);
    cairn_list_add_tail(&n->world->packets, &p->link);
}

static void packet_free(struct packet *p)
{
    free(p->head);
    free(p->payload);
    free(p);
}

static void deliver(struct world *w, struct packet *p)
{
    Cairn__Wire__ReplMessage *m = cairn__wire__repl_message__unpack(NULL, p->head_len, p->head);
    struct cairn_repl_msg msg;
    struct cairn_arena a;

    cairn_arena_init(&a, 1 << 20);
    assert_int_equal(cairn_wire_repl_get(m, p->payload, p->payload_len, &a, &msg, NULL), 0);
    if (w->nodes[p->to].up)
        cluster_slots_receive(w->nodes[p->to].slots, &msg);
    cairn_arena_reset(&a);
    cairn__wire__repl_message__free_unpacked(m, NULL);
    packet_free(p);
}

/* ---- the map, which decides at once ---- */

static void publish(struct world *w)
{
    for (int i = 1; i <= NODES; i++) {
        if (w->nodes[i].up)
            assert_int_equal(cluster_slots_learn(w->nodes[i].slots, SLOT, &w->rec), 0);
    }
}

static void insync_remove(struct cairn_slot_record *rec, uint64_t node)
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

static void decide(void *arg)
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

static void op_propose(void *arg, const struct cairn_change *c)
{
    struct node *n = arg;
    struct proposal *p = calloc(1, sizeof(*p));

    p->n = n;
    p->c = *c;
    cairn_task_init(&p->task, decide, p);
    cairn_env_defer(&n->kv.loop.env, &p->task);
}

static bool op_lease(void *arg)
{
    (void)arg;
    return true;
}

static void op_map_is_old(void *arg)
{
    publish(((struct node *)arg)->world);
}

static void op_started(void *arg, int rc, const struct cairn_err *err)
{
    if (rc != 0)
        fail_msg("%s", err->text);
    ((struct node *)arg)->started = true;
}

static void op_failed(void *arg, int rc, const char *text)
{
    fail_msg("node %u has failed: %d %s", (unsigned)((struct node *)arg)->id, rc, text);
}

static const struct cluster_slots_ops ops = { .send = op_send,
                                              .propose = op_propose,
                                              .lease_is_valid = op_lease,
                                              .map_is_old = op_map_is_old,
                                              .started = op_started,
                                              .failed = op_failed };

/* ---- nodes ---- */

static void on_synced(void *arg, uint32_t slot, int rc)
{
    struct node *n = arg;

    if (n->slots != NULL)
        cluster_slots_on_synced(n->slots, slot, rc);
}

static void turn(struct world *w)
{
    struct cairn_link *l;

    for (int i = 1; i <= NODES; i++) {
        if (w->nodes[i].slots != NULL)
            cairn_loop_turn(&w->nodes[i].kv.loop, MS / 10);
    }
    for (int i = 0; i < 100 && (l = cairn_list_pop(&w->packets)) != NULL; i++)
        deliver(w, CONTAINER_OF(l, struct packet, link));
}

static void turns(struct world *w, const bool *until)
{
    for (int i = 0; !*until; i++) {
        assert_true(i < TURNS_MAX);
        turn(w);
    }
}

static void node_start(struct world *w, uint64_t id)
{
    struct node *n = &w->nodes[id];
    struct cairn_slot_disk_conf dc = { .loops = n->kv.loops,
                                       .nloops = 1,
                                       .nslots = SLOTS,
                                       .segment_bytes = 4 << 20,
                                       .queue_bytes = CLUSTER_QUEUE_BYTES,
                                       .synced = on_synced,
                                       .arg = n };
    struct cluster_slots_conf sc = { .times = &times,
                                     .pace = &n->pace,
                                     .nworkers = 1,
                                     .nslots = SLOTS,
                                     .sync_interval_ns = 20 * MS,
                                     .checkpoint_ns = UINT64_C(3600000) * MS,
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
    kv_node_start(&n->kv, w->backend, n->kv_dir, NULL, NULL);
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
    assert_int_equal(cluster_slots_register(n->slots, (struct cairn_who){ id, n->inc }), 0);
    n->up = true;
}

static void on_stopped(void *arg)
{
    ((struct node *)arg)->stopped = true;
}

static void node_stop(struct world *w, uint64_t id)
{
    struct node *n = &w->nodes[id];

    n->up = n->stopped = false;
    cluster_slots_stop(n->slots, on_stopped, n);
    turns(w, &n->stopped);
    for (int i = 0; i < 50; i++) /* the log's batches come back */
        turn(w);
    cluster_slots_free(n->slots);
    n->slots = NULL;
    cairn_slot_disk_close(n->disk);
    kv_node_stop(&n->kv);
}

static int make(void **state, const char *backend)
{
    struct world *w = calloc(1, sizeof(*w));

    scratch_new(w->dir);
    w->backend = backend;
    cairn_list_init(&w->packets);
    *state = w;
    return 0;
}

static int setup_memory(void **state)
{
    return make(state, "memory");
}

static int setup_rocksdb(void **state)
{
    return make(state, "rocksdb");
}

static int teardown(void **state)
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
static void place(struct world *w, uint32_t n)
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

static void expect_active(struct world *w, uint64_t leader, uint32_t ninsync)
{
    struct cairn_replica *r = cluster_slots_replica(w->nodes[leader].slots, SLOT);

    for (int i = 0; r->sm.state != REPLICA_ACTIVE || w->rec.ninsync != ninsync || w->rec.state != CAIRN_SLOT_ACTIVE;
         i++) {
        if (i == TURNS_MAX)
            fail_msg("node %u is %s, %u are in sync", (unsigned)leader, cairn_sm_state_name(&r->sm), w->rec.ninsync);
        turn(w);
    }
    assert_true(atomic_load(&w->nodes[leader].words[SLOT]) == w->rec.since + 2);
}

/* The node is as it was before it stopped but for its incarnation: MAP says what that means. */
static void rejoin(struct world *w, uint64_t id)
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

static void on_done(struct cairn_repl_write *w, int rc)
{
    struct client *c = w->arg;

    c->done = true;
    c->rc = rc;
}

static int write_entry(struct world *w, uint64_t leader, struct client *c, const uint8_t *body, uint32_t len)
{
    int rc;

    c->done = false;
    c->w.done = on_done;
    c->w.arg = c;
    c->w.body = body;
    c->w.body_len = len;
    rc = cluster_slots_write(w->nodes[leader].slots, SLOT, &c->w);
    if (rc != 0)
        return rc;
    turns(w, &c->done);
    return c->rc;
}

static int put(struct world *w, uint64_t leader, const char *key, const char *record, bool sync)
{
    struct store_body b = { .op = STORE_PUT,
                            .ns = 5,
                            .key = (const uint8_t *)key,
                            .key_len = (uint32_t)strlen(key),
                            .record = (const uint8_t *)record,
                            .record_len = (uint32_t)strlen(record) };
    struct client c = { .w = { .kind = CAIRN_ENTRY_WRITE, .sync = sync, .rid.seq = 1 } };
    uint8_t body[256];

    store_body_put(&b, body);
    return write_entry(w, leader, &c, body, store_body_bytes(&b));
}

static void fill(struct world *w, uint64_t leader, int from, int n)
{
    char key[32], record[32];

    for (int i = from; i < from + n; i++) {
        snprintf(key, sizeof(key), "key %d", i);
        snprintf(record, sizeof(record), "record %d", i);
        assert_int_equal(put(w, leader, key, record, i % 50 == 0), 0);
    }
}

struct answer {
    bool done;
    int rc;
    uint32_t db;
    char value[64];
};

static void on_answer(struct cairn_rpc_call *call)
{
    struct answer *a = call->arg;

    a->done = true;
    a->rc = call->rc;
    if (call->rc == 0 && call->method == CAIRN__WIRE__KV_METHOD__KV_OPEN)
        a->db = ((const Cairn__Wire__KvOpened *)call->reply)->db;
    else if (call->rc == 0 && call->reply_payload_len > 0)
        memcpy(a->value, call->reply_payload, MIN(call->reply_payload_len, sizeof(a->value) - 1));
}

static void ask(struct world *w, uint64_t id, uint32_t method, const ProtobufCMessage *msg, struct answer *a)
{
    struct cairn_rpc_call call = { .dest.rpc = w->nodes[id].kv.rpc,
                                   .iface = &cairn_iface_kv,
                                   .provider = CAIRN_PROVIDER_FIRST,
                                   .method = (uint16_t)method,
                                   .msg = msg,
                                   .done = on_answer,
                                   .arg = a };

    *a = (struct answer){ 0 };
    cairn_rpc_call_start(&call);
    turns(w, &a->done);
}

static const char *record_at(struct world *w, uint64_t id, const char *key)
{
    static struct answer a;
    Cairn__Wire__KvOpen open = CAIRN__WIRE__KV_OPEN__INIT;
    Cairn__Wire__KvGet get = CAIRN__WIRE__KV_GET__INIT;

    open.name = (char *)(uintptr_t) "ns/5";
    ask(w, id, CAIRN__WIRE__KV_METHOD__KV_OPEN, &open.base, &a);
    if (a.rc != 0)
        return "-";
    get.db = a.db;
    get.key = (ProtobufCBinaryData){ .len = strlen(key), .data = (uint8_t *)(uintptr_t)key };
    ask(w, id, CAIRN__WIRE__KV_METHOD__KV_GET, &get.base, &a);
    return a.rc == 0 ? a.value : "-";
}

/* All that is committed is applied at @id soon. */
static void expect_records(struct world *w, uint64_t leader, uint64_t id, int n)
{
    struct cairn_replica *from = cluster_slots_replica(w->nodes[leader].slots, SLOT);
    struct cairn_replica *to = cluster_slots_replica(w->nodes[id].slots, SLOT);
    char key[32], record[32];

    for (int i = 0; to->applied < from->commit; i++) {
        assert_true(i < TURNS_MAX);
        turn(w);
    }
    for (int i = 0; i < n; i += 17) {
        snprintf(key, sizeof(key), "key %d", i);
        snprintf(record, sizeof(record), "record %d", i);
        assert_string_equal(record_at(w, id, key), record);
    }
}

static void checkpoint(struct world *w, uint64_t id)
{
    uint64_t applied = cluster_slots_replica(w->nodes[id].slots, SLOT)->applied;

    cluster_slots_checkpoint(w->nodes[id].slots);
    for (int i = 0; cairn_slot_disk_base(w->nodes[id].disk, SLOT).pos < applied; i++) {
        assert_true(i < TURNS_MAX);
        turn(w);
    }
}

/* ---- stories ---- */

static void what_is_put_is_everywhere(void **state)
{
    struct world *w = *state;

    for (uint64_t i = 1; i <= NODES; i++)
        node_start(w, i);
    place(w, NODES);
    expect_active(w, 1, 3);
    assert_int_equal(put(w, 2, "k", "x", false), CAIRN_E_MOVED);
    assert_int_equal(atomic_load(&w->nodes[2].words[SLOT]), CLUSTER_WORD_MOVED);
    fill(w, 1, 0, 300);
    for (uint64_t i = 1; i <= NODES; i++)
        expect_records(w, 1, i, 300);
}

/* A member that restarts has its records and its log, and takes what it missed from the leader. */
static void a_member_restarts(void **state)
{
    struct world *w = *state;

    for (uint64_t i = 1; i <= NODES; i++)
        node_start(w, i);
    place(w, NODES);
    expect_active(w, 1, 3);
    fill(w, 1, 0, 100);
    checkpoint(w, 3);
    fill(w, 1, 100, 50);
    node_stop(w, 3);
    fill(w, 1, 150, 50); /* without it, once it is removed */
    assert_int_equal(w->rec.ninsync, 2);
    node_start(w, 3);
    publish(w);
    expect_active(w, 1, 3);
    fill(w, 1, 200, 20);
    expect_records(w, 1, 3, 220);
}

/* All nodes restart, and everything that was answered is there. */
static void all_restart(void **state)
{
    struct world *w = *state;
    struct client open = { .w = { .kind = CAIRN_ENTRY_OPEN, .sync = true } };
    struct client c = { .w = { .kind = CAIRN_ENTRY_WRITE, .sync = true, .floor = 1 } };
    struct store_body b = { .op = STORE_PUT, .ns = 5, .key = (const uint8_t *)"in a session", .key_len = 12 };
    uint8_t body[64];
    struct cairn_at first;

    for (uint64_t i = 1; i <= NODES; i++)
        node_start(w, i);
    place(w, NODES);
    expect_active(w, 1, 3);
    assert_int_equal(write_entry(w, 1, &open, NULL, 0), 0);
    store_body_put(&b, body);
    c.w.rid = (struct cairn_rid){ .session = open.w.at, .seq = 1 };
    assert_int_equal(write_entry(w, 1, &c, body, store_body_bytes(&b)), 0);
    first = c.w.at;
    fill(w, 1, 0, 120);
    checkpoint(w, 1);
    fill(w, 1, 120, 30);
    for (uint64_t i = 1; i <= NODES; i++)
        node_stop(w, i);
    for (uint64_t i = 1; i <= NODES; i++)
        node_start(w, i);
    w->rec.epoch++;
    w->rec.since = w->rec.epoch;
    w->rec.state = CAIRN_SLOT_TAKEOVER;
    w->rec.primary.inc = w->nodes[1].inc;
    w->rec.ninsync = 3;
    for (uint32_t i = 0; i < 3; i++)
        w->rec.insync[i] = (struct cairn_who){ i + 1, w->nodes[i + 1].inc };
    publish(w);
    expect_active(w, 1, 3);
    fill(w, 1, 150, 10);
    for (uint64_t i = 1; i <= NODES; i++)
        expect_records(w, 1, i, 160);
    /* A retry of what was answered is answered, and done once. */
    assert_int_equal(write_entry(w, 1, &c, body, store_body_bytes(&b)), 0);
    assert_int_equal(c.w.at.pos, first.pos);
}

/* A node that has nothing, and a leader whose log does not begin at the beginning: records and sessions come by a copy. */
static void a_new_node_gets_a_copy(void **state)
{
    struct world *w = *state;

    node_start(w, 1);
    node_start(w, 2);
    place(w, 2);
    expect_active(w, 1, 2);
    fill(w, 1, 0, 700);
    expect_records(w, 1, 2, 700);
    checkpoint(w, 1);
    checkpoint(w, 2);
    node_start(w, 3);
    w->rec.epoch++;
    w->rec.replicas[w->rec.nreplicas++] = 3;
    publish(w);
    fill(w, 1, 700, 100);
    expect_active(w, 1, 3);
    fill(w, 1, 800, 10);
    expect_records(w, 1, 3, 810);
    /* And it holds what it was given. */
    node_stop(w, 1);
    w->rec.primary = (struct cairn_who){ 3, w->nodes[3].inc };
    rejoin(w, 1);
    expect_active(w, 3, 2);
    fill(w, 3, 810, 10);
    expect_records(w, 3, 2, 820);
}

/* A slot that is not here any more is deleted, records and all. */
static void a_slot_that_left_is_cleaned(void **state)
{
    struct world *w = *state;

    for (uint64_t i = 1; i <= NODES; i++)
        node_start(w, i);
    place(w, NODES);
    expect_active(w, 1, 3);
    fill(w, 1, 0, 60);
    expect_records(w, 1, 3, 60);
    w->rec.epoch++;
    w->rec.nreplicas = 2;
    insync_remove(&w->rec, 3);
    publish(w);
    for (int i = 0; strcmp(record_at(w, 3, "key 0"), "-") != 0; i++)
        assert_true(i < TURNS_MAX);
    expect_records(w, 1, 2, 60);
}

#define BOTH(f)                                                                                                        \
    cmocka_unit_test_setup_teardown(f, setup_memory, teardown),                                                        \
        cmocka_unit_test_setup_teardown(f, setup_rocksdb, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(what_is_put_is_everywhere),
        BOTH(a_member_restarts),
        cmocka_unit_test_setup_teardown(all_restart, setup_rocksdb, teardown),
        BOTH(a_new_node_gets_a_copy),
        BOTH(a_slot_that_left_is_cleaned),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
