/* The application under replicas, over a real KV provider of each kind, with logs by a script. */
#ifndef CAIRN_TESTS_STORE_WORLD_H
#define CAIRN_TESTS_STORE_WORLD_H

#include "server/cluster/repl/sessions_image.h"
#include "server/cluster/service/store.h"
#include "tests/lib/kv_node.h"
#include "tests/lib/patience.h"
#include "tests/lib/scratch.h"

#include "schema/kv.pb-c.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

enum { SLOTS = 4, ENTRIES = 3000 };

struct log {
    struct store_slot s;
    struct cairn_log_entry entries[ENTRIES + 1]; /* from 1 */
    int32_t results[ENTRIES + 1];
    uint64_t n, applied, newest;
    bool wiped, put, sealed, paged, page_last, may_open;
    int put_rc, page_rc;
    uint8_t *page;
    uint32_t page_len;
};

struct fixture {
    char dir[SCRATCH_MAX];
    const char *backend;
    struct kv_node kv;
    struct cluster_store *store;
    struct cluster_pace pace;
    struct log logs[SLOTS];
    bool started, stopped, flushed;
    uint32_t gone[2];      /* these namespaces were removed */
    uint32_t looks_before; /* so many looks before that is known */
    int rc;                /* of the start, or why it failed later */
    bool may_fail;
    char why[CAIRN_ERR_TEXT_MAX];
    uint64_t random;
    struct {
        bool found, partial;
        struct cairn_at at;
        uint32_t sessions, writes;
        uint64_t newest, floor;
        int32_t result;
    } found[SLOTS];
};

static inline struct log *log_of(struct store_slot *s)
{
    return CONTAINER_OF(s, struct log, s);
}

static inline const struct cairn_log_entry *op_entry(struct store_slot *s, uint64_t pos)
{
    return &log_of(s)->entries[pos];
}

static inline uint64_t op_newest(struct store_slot *s, struct cairn_at session)
{
    (void)session;
    return log_of(s)->newest;
}

static inline void op_applied(struct store_slot *s, const struct cairn_log_entry *e, int32_t result)
{
    struct log *l = log_of(s);

    assert_int_equal(e->at.pos, l->applied + 1);
    l->applied++;
    l->results[l->applied] = result;
}

static inline void op_found(void *arg, const struct store_found *f)
{
    struct fixture *fx = arg;

    assert_true(f->slot < SLOTS && !fx->found[f->slot].found);
    fx->found[f->slot].found = true;
    fx->found[f->slot].partial = f->partial;
    fx->found[f->slot].at = f->at;
    if (f->sessions == NULL || f->sessions->n == 0)
        return;
    fx->found[f->slot].sessions = f->sessions->n;
    fx->found[f->slot].floor = f->sessions->all[0].floor;
    fx->found[f->slot].writes = f->sessions->all[0].nwrites;
    if (f->sessions->all[0].nwrites > 0) {
        const struct cairn_session_write *w = &f->sessions->all[0].writes[f->sessions->all[0].nwrites - 1];

        assert_true(w->applied);
        fx->found[f->slot].newest = w->seq;
        fx->found[f->slot].result = w->result;
    }
}

static inline void op_started(void *arg, int rc, const struct cairn_err *err)
{
    struct fixture *fx = arg;

    if (rc != 0 && !fx->may_fail)
        fail_msg("%s", err->text);
    fx->rc = rc;
    snprintf(fx->why, sizeof(fx->why), "%s", rc != 0 ? err->text : "");
    fx->started = true;
}

static inline void op_failed(void *arg, int rc, const char *text)
{
    struct fixture *fx = arg;

    if (!fx->may_fail)
        fail_msg("the store failed: %d %s", rc, text);
    fx->rc = rc;
}

static inline enum cluster_ns_state op_ns_look(void *arg, uint32_t ns)
{
    struct fixture *fx = arg;

    if (fx->gone[0] != ns && fx->gone[1] != ns)
        return CLUSTER_NS_THERE;
    if (fx->looks_before == 0)
        return CLUSTER_NS_GONE;
    fx->looks_before--;
    return CLUSTER_NS_ASKED;
}

static inline void op_wiped(struct store_slot *s)
{
    log_of(s)->wiped = true;
}

static inline void op_put(struct store_slot *s, int rc)
{
    log_of(s)->put_rc = rc;
    log_of(s)->put = true;
}

static inline void op_sealed(struct store_slot *s)
{
    log_of(s)->sealed = true;
}

static inline void op_page(struct store_slot *s, int rc, const uint8_t *page, uint32_t len, bool last)
{
    struct log *l = log_of(s);

    l->page_rc = rc;
    l->page_len = len;
    l->page_last = last;
    l->page = realloc(l->page, len + 1);
    if (len > 0)
        memcpy(l->page, page, len);
    l->paged = true;
}

static inline void op_may_open(struct store_slot *s)
{
    log_of(s)->may_open = true;
}

static const struct cluster_store_ops ops = { .ns_look = op_ns_look,
                                              .wiped = op_wiped,
                                              .put = op_put,
                                              .sealed = op_sealed,
                                              .page = op_page,
                                              .may_open = op_may_open,
                                              .entry = op_entry,
                                              .newest = op_newest,
                                              .applied = op_applied,
                                              .found = op_found,
                                              .started = op_started,
                                              .failed = op_failed };

static inline void turns(struct fixture *fx, const bool *until)
{
    WHILE_PATIENT (!*until)
        cairn_loop_turn(&fx->kv.loop, CAIRN_NS_PER_MS);
}

static inline void begin(struct fixture *fx)
{
    struct cluster_store_conf conf = { .nworkers = 1, .pace = &fx->pace, .ops = &ops, .arg = fx };

    memset(fx->found, 0, sizeof(fx->found));
    kv_node_start(&fx->kv, fx->backend, fx->dir, NULL, NULL);
    conf.rpc = fx->kv.rpc;
    conf.kv = &fx->kv.targets[0];
    fx->store = cluster_store_new(&conf);
    assert_non_null(fx->store);
    fx->started = false;
    cluster_store_start(fx->store);
    turns(fx, &fx->started);
}

/* The provider's @method is answered by @by until the end; returns who did. */
static inline cairn_rpc_handler *replace_handler(struct fixture *fx, uint32_t method, cairn_rpc_handler *by)
{
    static cairn_rpc_handler *handlers[64];
    struct cairn_rpc_target *kv = &fx->kv.targets[0];
    cairn_rpc_handler *was = kv->handlers[method];

    assert_true(kv->iface->nmethods <= ARRAY_SIZE(handlers));
    if (kv->handlers != handlers)
        memcpy(handlers, kv->handlers, kv->iface->nmethods * sizeof(handlers[0]));
    handlers[method] = by;
    kv->handlers = handlers;
    return was;
}

static inline void on_stopped(void *arg)
{
    ((struct fixture *)arg)->stopped = true;
}

static inline void end(struct fixture *fx)
{
    fx->stopped = false;
    cluster_store_stop(fx->store, on_stopped, fx);
    turns(fx, &fx->stopped);
    cluster_store_free(fx->store);
    kv_node_stop(&fx->kv);
}

static inline int make(void **state, const char *backend)
{
    struct fixture *fx = calloc(1, sizeof(*fx));

    scratch_new(fx->dir);
    fx->backend = backend;
    fx->random = getenv("CAIRN_SEED") != NULL ? strtoull(getenv("CAIRN_SEED"), NULL, 10) : 11;
    for (uint32_t i = 0; i < SLOTS; i++)
        store_slot_init(&fx->logs[i].s, i, 0);
    *state = fx;
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
    struct fixture *fx = *state;

    for (uint32_t i = 0; i < SLOTS; i++) {
        for (uint64_t pos = 1; pos <= fx->logs[i].n; pos++)
            free((void *)(uintptr_t)fx->logs[i].entries[pos].body);
        free(fx->logs[i].page);
    }
    scratch_remove(fx->dir);
    free(fx);
    return 0;
}

/* ---- entries ---- */

static inline struct cairn_log_entry *push(struct fixture *fx, uint32_t slot, enum cairn_entry_kind kind)
{
    struct log *l = &fx->logs[slot];
    struct cairn_log_entry *e = &l->entries[++l->n];

    assert_true(l->n <= ENTRIES);
    *e = (struct cairn_log_entry){ .at = { .epoch = 1, .pos = l->n }, .kind = kind };
    return e;
}

static inline struct cairn_log_entry *push_op(struct fixture *fx, uint32_t slot, enum store_op_kind op, uint8_t flags,
                                              uint32_t ns, const char *key, const char *record)
{
    struct cairn_log_entry *e = push(fx, slot, CAIRN_ENTRY_WRITE);
    struct store_body b = { .op = op,
                            .flags = flags,
                            .ns = ns,
                            .key = (const uint8_t *)key,
                            .key_len = (uint32_t)strlen(key),
                            .record = (const uint8_t *)record,
                            .record_len = (uint32_t)strlen(record) };
    uint8_t *body = malloc(store_body_bytes(&b));

    store_body_put(&b, body);
    e->body = body;
    e->body_len = store_body_bytes(&b);
    return e;
}

static inline void in_session(struct fixture *fx, uint32_t slot, struct cairn_log_entry *e, uint64_t seq,
                              uint64_t floor)
{
    e->rid = (struct cairn_rid){ .session = { 1, 1 }, .seq = seq };
    e->floor = floor;
    fx->logs[slot].newest = MAX(fx->logs[slot].newest, seq);
}

static inline void apply(struct fixture *fx, uint32_t slot)
{
    struct log *l = &fx->logs[slot];

    if (l->n > l->s.to)
        cluster_store_apply(fx->store, &l->s, l->n);
}

static inline void settle(struct fixture *fx)
{
    for (uint32_t i = 0; i < SLOTS; i++)
        apply(fx, i);
    WHILE_PATIENT (true) {
        bool over = true;

        for (uint32_t k = 0; k < SLOTS; k++)
            over &= fx->logs[k].applied == fx->logs[k].n;
        if (over)
            return;
        cairn_loop_turn(&fx->kv.loop, CAIRN_NS_PER_MS);
    }
}

/* The record of @key, "-" if there is none. */
static inline const char *record_of(struct fixture *fx, uint32_t ns, const char *key)
{
    return kv_node_record(&fx->kv, ns, key);
}

#define BOTH(f)                                                                                                        \
    cmocka_unit_test_setup_teardown(f, setup_memory, teardown),                                                        \
        cmocka_unit_test_setup_teardown(f, setup_rocksdb, teardown)
#define ON_DISK(f) cmocka_unit_test_setup_teardown(f, setup_rocksdb, teardown)

#endif
