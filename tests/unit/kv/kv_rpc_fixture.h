/* The provider as its callers see it: local calls on one loop, against each backend. */
#ifndef CAIRN_TESTS_KV_RPC_FIXTURE_H
#define CAIRN_TESTS_KV_RPC_FIXTURE_H

#include "cairn/error.h"
#include "providers/kv/kv_internal.h"
#include "providers/kv/kv_store_memory.h"
#include "schema/common.pb-c.h"
#include "schema/kv.pb-c.h"
#include "server/node/conf/conf_read.h"
#include "server/port/provider.h"
#include "tests/lib/scratch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

extern const struct cairn_provider_desc cairn_provider_kv;

enum { TARGET = CAIRN_PROVIDER_FIRST, TURNS_MAX = 1000000, VALUES_MAX = 4 << 20 };

#define M(name) CAIRN__WIRE__KV_METHOD__KV_##name

struct fixture {
    struct cairn_loop loop, other, *loops[2];
    struct cairn_pool *pool;
    struct cairn_conf_doc *conf;
    struct cairn_provider_env env;
    struct cairn_rpc_target target;
    struct cairn_rpc *rpc, *other_rpc; /* of the other worker, whose loop this thread turns as well */
    char dir[SCRATCH_MAX];
    const struct cairn_identity *who; /* who calls; NULL: the node itself */
    /* of the last call */
    bool done;
    int rc;
    struct cairn_err err;
    ProtobufCMessage *reply; /* a copy */
    uint32_t value_len;
    uint8_t value[VALUES_MAX];
};

static inline void start_provider(struct fixture *fx)
{
    void *ctx = NULL;
    struct cairn_rpc_conf conf = { .targets = &fx->target, .ntargets = 1, .inflight_max = 16 };
    int rc = cairn_provider_kv.start(&fx->env, &ctx, &fx->err);

    if (rc != 0)
        print_error("%s\n", fx->err.text);
    assert_int_equal(rc, 0);
    fx->target = (struct cairn_rpc_target){ .iface = cairn_provider_kv.iface,
                                            .handlers = cairn_provider_kv.handlers,
                                            .ctx = ctx,
                                            .name = "kv0",
                                            .id = TARGET };
    fx->rpc = cairn_rpc_new(&fx->loop, &conf, NULL);
    assert_non_null(fx->rpc);
    conf.index = 1;
    fx->other_rpc = cairn_rpc_new(&fx->other, &conf, NULL);
    assert_non_null(fx->other_rpc);
}

static inline void stop_provider(struct fixture *fx)
{
    cairn_rpc_free(fx->rpc);
    cairn_rpc_free(fx->other_rpc);
    cairn_provider_kv.stop(fx->target.ctx);
}

static inline int setup(void **state, const char *text)
{
    struct fixture *fx = calloc(1, sizeof(*fx));
    static struct cairn_conf_schema schema;
    struct cairn_conf_input in = { .text = text, .text_len = strlen(text), .text_name = "test" };

    schema.keys = cairn_provider_kv.schema;
    scratch_new(fx->dir);
    assert_int_equal(cairn_loop_init(&fx->loop, NULL, NULL), 0);
    assert_int_equal(cairn_loop_init(&fx->other, NULL, NULL), 0);
    fx->loops[0] = &fx->loop;
    fx->loops[1] = &fx->other;
    fx->pool = cairn_pool_new(3, 64, NULL);
    assert_int_equal(cairn_conf_read(&schema, &in, &fx->conf, &fx->err), 0);
    fx->env = (struct cairn_provider_env){ .name = "kv0",
                                           .dir = fx->dir,
                                           .conf = cairn_conf_root(fx->conf),
                                           .pool = fx->pool,
                                           .loops = fx->loops,
                                           .nloops = 2 };
    start_provider(fx);
    *state = fx;
    return 0;
}

static inline int setup_memory(void **state)
{
    return setup(state, "backend: memory\nmemory: 64MiB\n");
}

static inline int setup_rocksdb(void **state)
{
    return setup(state, "backend: rocksdb\nwrite_buffer: 1MiB\ncache: 1MiB\ndatabases: 8\n");
}

static inline int teardown(void **state)
{
    struct fixture *fx = *state;

    stop_provider(fx);
    cairn_pool_free(fx->pool);
    cairn_loop_fini(&fx->loop);
    cairn_loop_fini(&fx->other);
    cairn_conf_free(fx->conf);
    if (fx->reply != NULL)
        protobuf_c_message_free_unpacked(fx->reply, NULL);
    scratch_remove(fx->dir);
    free(fx);
    return 0;
}

/* ---- calls ---- */

static inline ProtobufCMessage *message_copy(const ProtobufCMessage *m)
{
    size_t n = protobuf_c_message_get_packed_size(m);
    uint8_t *packed = malloc(n > 0 ? n : 1);
    ProtobufCMessage *copy;

    protobuf_c_message_pack(m, packed);
    copy = protobuf_c_message_unpack(m->descriptor, NULL, n, packed);
    free(packed);
    return copy;
}

/* An answer is never given under a lock of the memory store: who gets it may do anything. */
static inline void assert_unlocked(struct fixture *fx)
{
    struct kv_provider *p = fx->target.ctx;

    for (uint32_t i = 0; i < CAIRN_KV_DB_MAX && p->ops == &cairn_kv_store_memory; i++) {
        struct mem_db *db = p->store->dbs[i];

        if (db == NULL)
            continue;
        assert_int_equal(pthread_rwlock_trywrlock(&db->lock), 0);
        pthread_rwlock_unlock(&db->lock);
    }
}

static inline void on_done(struct cairn_rpc_call *call)
{
    struct fixture *fx = call->arg;

    assert_unlocked(fx);
    fx->done = true;
    fx->rc = call->rc;
    if (call->rc != 0)
        return;
    fx->reply = call->reply != NULL ? message_copy(call->reply) : NULL;
    fx->value_len = call->reply_payload_len;
    assert_true(fx->value_len <= sizeof(fx->value));
    if (fx->value_len > 0)
        memcpy(fx->value, call->reply_payload, fx->value_len);
}

static inline int call(struct fixture *fx, uint16_t method, const void *msg, const void *payload, size_t len)
{
    struct cairn_rpc_call c = { .dest.rpc = fx->rpc,
                                .iface = &cairn_iface_kv,
                                .provider = TARGET,
                                .method = method,
                                .msg = msg,
                                .payload[0] = { .iov_base = (void *)(uintptr_t)payload, .iov_len = len },
                                .payload_n = len > 0,
                                .who = fx->who,
                                .done = on_done,
                                .arg = fx,
                                .err = &fx->err };

    fx->done = false;
    fx->err.text[0] = '\0';
    if (fx->reply != NULL)
        protobuf_c_message_free_unpacked(fx->reply, NULL);
    fx->reply = NULL;
    cairn_rpc_call_start(&c);
    assert_false(fx->done);
    for (int i = 0; i < TURNS_MAX && !fx->done; i++)
        cairn_loop_turn(&fx->loop, 10 * CAIRN_NS_PER_MS);
    assert_true(fx->done);
    return fx->rc;
}

static inline ProtobufCBinaryData bin(const void *p, size_t n)
{
    return (ProtobufCBinaryData){ .len = n, .data = (uint8_t *)(uintptr_t)p };
}

static inline int open_db(struct fixture *fx, const char *name, int order, bool write_once, uint32_t *db)
{
    Cairn__Wire__KvOpen m = CAIRN__WIRE__KV_OPEN__INIT;
    int rc;

    m.name = (char *)(uintptr_t)name;
    m.create = true;
    m.order = (Cairn__Wire__KvOrder)order;
    m.write_once = write_once;
    rc = call(fx, M(OPEN), &m, NULL, 0);
    if (rc == 0)
        *db = ((Cairn__Wire__KvOpened *)fx->reply)->db;
    return rc;
}

static inline uint32_t new_db(struct fixture *fx, const char *name)
{
    uint32_t db = 0;

    assert_int_equal(open_db(fx, name, 0, false, &db), 0);
    assert_true(((Cairn__Wire__KvOpened *)fx->reply)->created);
    return db;
}

static inline int put(struct fixture *fx, uint32_t db, const char *key, const char *val)
{
    Cairn__Wire__KvPut m = CAIRN__WIRE__KV_PUT__INIT;

    m.db = db;
    m.key = bin(key, strlen(key));
    return call(fx, M(PUT), &m, val, strlen(val));
}

static inline int get(struct fixture *fx, uint16_t method, uint32_t db, const char *key)
{
    Cairn__Wire__KvGet m = CAIRN__WIRE__KV_GET__INIT;

    m.db = db;
    m.key = bin(key, strlen(key));
    return call(fx, method, &m, NULL, 0);
}

static inline void assert_value(struct fixture *fx, const char *val)
{
    assert_int_equal(fx->value_len, strlen(val));
    assert_memory_equal(fx->value, val, fx->value_len);
}

/* ---- batches over several databases ---- */

enum { ENTRIES_MAX = CAIRN_BATCH_MAX + 1 };

struct batch {
    Cairn__Wire__KvApply m;
    uint32_t dbs[ENTRIES_MAX];
    ProtobufCBinaryData keys[ENTRIES_MAX];
    char names[ENTRIES_MAX][8];
    int64_t lengths[ENTRIES_MAX];
    protobuf_c_boolean if_absent[ENTRIES_MAX];
    uint8_t values[CAIRN_KV_APPLY_BYTES_MAX + 1];
    size_t bytes;
};

static inline struct batch *batch_new(void)
{
    struct batch *b = calloc(1, sizeof(*b));

    cairn__wire__kv_apply__init(&b->m);
    b->m.dbs = b->dbs;
    b->m.keys = b->keys;
    b->m.lengths = b->lengths;
    b->m.if_absent = b->if_absent;
    b->m.durability = CAIRN__WIRE__DURABILITY__DURABILITY_MEMORY;
    return b;
}

static inline void batch_reset(struct batch *b)
{
    b->m.n_dbs = b->m.n_keys = b->m.n_lengths = b->m.n_if_absent = 0;
    b->bytes = 0;
}

/* @len -1: erase. */
static inline size_t add(struct batch *b, uint32_t db, const char *key, int byte, int64_t len)
{
    size_t i = b->m.n_keys++;

    b->m.n_dbs = b->m.n_lengths = b->m.n_if_absent = b->m.n_keys;
    b->dbs[i] = db;
    assert_true(strlen(key) < sizeof(b->names[i]));
    strcpy(b->names[i], key);
    b->keys[i] = bin(b->names[i], strlen(b->names[i]));
    b->lengths[i] = len;
    b->if_absent[i] = false;
    if (len > 0) {
        memset(b->values + b->bytes, byte, (size_t)len);
        b->bytes += (size_t)len;
    }
    return i;
}

static inline int apply(struct fixture *fx, struct batch *b)
{
    return call(fx, M(APPLY), &b->m, b->values, b->bytes);
}

static inline long long status_number(struct fixture *fx, const char *name)
{
    json_t *j = json_object();
    long long n;

    cairn_provider_kv.status(fx->target.ctx, j);
    n = json_integer_value(json_object_get(j, name));
    json_decref(j);
    return n;
}

#endif
