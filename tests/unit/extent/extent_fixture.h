/* A provider on one loop, called by local calls: what the tests of this folder stand on. */
#ifndef TESTS_UNIT_EXTENT_FIXTURE_H
#define TESTS_UNIT_EXTENT_FIXTURE_H

#include "providers/extent/extent_draft.h"
#include "providers/extent/extent_internal.h"
#include "sdk/core/base/crc.h"
#include "sdk/core/bulk/bulk.h"
#include "tests/lib/patience.h"
#include "tests/lib/scratch.h"

#include "schema/kv.pb-c.h"

#include <fcntl.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#ifdef __SANITIZE_THREAD__
/* Debian's libpmemobj is not built for ThreadSanitizer, which then takes its locks for none. */
__attribute__((visibility("default"))) const char *__tsan_default_suppressions(void);
const char *__tsan_default_suppressions(void)
{
    return "called_from_lib:libpmemobj.so\nrace:libpmemobj.so\n";
}
#endif

enum { FX_TARGET = 16, FX_CHUNK = CAIRN_EXTENT_CHUNK_BYTES };

struct fixture {
    struct cairn_loop loop;
    struct cairn_pool *pool;
    struct cairn_rpc *rpc;
    struct cairn_rpc_target target;
    struct cairn_extent_provider provider;
    struct cairn_extent_conf conf;
    struct cairn_identity who;
    char dir[SCRATCH_MAX];
    struct cairn_err err; /* of the last call */
};

static inline struct cairn_extent_store *fx_store(struct fixture *fx)
{
    return fx->provider.store;
}

static inline struct cairn_extent_conf fx_conf(enum cairn_extent_backend backend)
{
    return (struct cairn_extent_conf){
        .backend = backend,
        .segment = 64 << 20,
        .staging = 8 << 20,
        .queue = 256,
        .depth = 16,
        .io = CAIRN_FILE_IO_AUTO,
        .direct = true,
        .free_cache = 64 << 20,
        .capacity = backend == CAIRN_EXTENT_PMEM ? 128 << 20 : 0,
        .scrub_interval_ns = CAIRN_NS_PER_S,
        .draft_ttl_ns = 600 * CAIRN_NS_PER_S,
        .drafts_max = 64,
    };
}

/* Opens the store; the directory is fx->dir. */
static inline int fx_try_open(struct fixture *fx)
{
    struct cairn_loop *loops[] = { &fx->loop };

    fx->conf.dir = fx->conf.backend == CAIRN_EXTENT_MEMORY ? "" : fx->dir;
    memset(&fx->err, 0, sizeof(fx->err));
    fx->provider.store = NULL;
    return cairn_extent_store_open(&fx->conf, fx->pool, loops, 1, &fx->provider.store, &fx->err);
}

static inline void fx_open(struct fixture *fx)
{
    int rc = fx_try_open(fx);

    if (rc != 0)
        fail_msg("open: %s", fx->err.text);
}

/* Until nothing goes on that no step waits for. */
static inline void fx_rest(struct fixture *fx)
{
    struct cairn_extent_store *s = fx_store(fx);

    WHILE_PATIENT (s->ops->is_busy != NULL && s->ops->is_busy(s))
        cairn_loop_turn(&fx->loop, CAIRN_NS_PER_MS);
}

static inline void fx_close(struct fixture *fx)
{
    fx_rest(fx);
    cairn_extent_store_close(fx_store(fx));
    fx->provider.store = NULL;
}

/* In the directory @dir. */
static inline void fx_init_in(struct fixture *fx, const struct cairn_extent_conf *conf, const char *dir)
{
    struct cairn_rpc_conf rc = { .inflight_max = 16, .inflight_bytes_max = 1 << 20, .output_bytes_max = 1 << 20 };
    struct cairn_bulk_conf bulk = { 0 };
    struct cairn_err err = { 0 };

    memset(fx, 0, sizeof(*fx));
    fx->conf = *conf;
    snprintf(fx->dir, sizeof(fx->dir), "%s", dir);
    assert_int_equal(cairn_loop_init(&fx->loop, NULL, &err), 0);
    fx->pool = cairn_pool_new(2, 256, &err);
    assert_non_null(fx->pool);
    fx->target = (struct cairn_rpc_target){ .iface = &cairn_iface_extent,
                                            .handlers = cairn_extent__handlers,
                                            .ctx = &fx->provider,
                                            .name = "extent0",
                                            .id = FX_TARGET };
    rc.targets = &fx->target;
    rc.ntargets = 1;
    fx->rpc = cairn_rpc_new(&fx->loop, &rc, &err);
    assert_non_null(fx->rpc);
    assert_int_equal(cairn_bulk_attach(fx->rpc, &bulk, &err), 0);
    fx->who = (struct cairn_identity){ .admin = true };
    fx_open(fx);
}

/* In a fresh directory, in memory where the backend wants that. */
static inline void fx_init(struct fixture *fx, const struct cairn_extent_conf *conf)
{
    char dir[SCRATCH_MAX];

    if (conf->backend == CAIRN_EXTENT_PMEM)
        scratch_new_in_memory(dir);
    else
        scratch_new(dir);
    fx_init_in(fx, conf, dir);
}

static inline void fx_fini(struct fixture *fx)
{
    if (fx->provider.store != NULL)
        fx_close(fx);
    cairn_bulk_detach(fx->rpc);
    cairn_rpc_free(fx->rpc);
    cairn_pool_free(fx->pool);
    cairn_loop_fini(&fx->loop);
    scratch_remove(fx->dir);
}

/* ---- calls ---- */

struct fx_call {
    struct cairn_rpc_call call;
    bool over;
    uint64_t id;     /* CREATE, PUT */
    uint64_t length; /* READ */
    uint32_t ncrcs, crcs[64];
    uint8_t *bytes;       /* READ inline: where to copy them */
    int32_t statuses[64]; /* REMOVE */
    Cairn__Wire__ExtentScrubReply scrub;
    Cairn__Wire__ExtentStatReply stat;
    uint64_t ids[64], owners[64];
    uint32_t nids;
    bool more;
};

static inline void fx_on_done(struct cairn_rpc_call *call)
{
    struct fx_call *c = CONTAINER_OF(call, struct fx_call, call);

    c->over = true;
    if (call->rc != 0)
        return;
    switch (call->method) {
    case CAIRN__WIRE__EXTENT_METHOD__EXTENT_CREATE:
    case CAIRN__WIRE__EXTENT_METHOD__EXTENT_PUT:
        c->id = ((const Cairn__Wire__ExtentId *)call->reply)->id;
        break;
    case CAIRN__WIRE__EXTENT_METHOD__EXTENT_READ: {
        const Cairn__Wire__ExtentReadReply *r = (const Cairn__Wire__ExtentReadReply *)call->reply;

        c->length = r->length;
        c->ncrcs = (uint32_t)r->n_crcs;
        assert_true(r->n_crcs <= ARRAY_SIZE(c->crcs));
        memcpy(c->crcs, r->crcs, r->n_crcs * sizeof(c->crcs[0]));
        if (c->bytes != NULL && call->reply_payload_len > 0)
            memcpy(c->bytes, call->reply_payload, call->reply_payload_len);
        break;
    }
    case CAIRN__WIRE__EXTENT_METHOD__EXTENT_STAT:
        c->stat = *(const Cairn__Wire__ExtentStatReply *)call->reply;
        break;
    case CAIRN__WIRE__EXTENT_METHOD__EXTENT_REMOVE: {
        const Cairn__Wire__KvStatuses *r = (const Cairn__Wire__KvStatuses *)call->reply;

        memcpy(c->statuses, r->status, MIN(r->n_status, ARRAY_SIZE(c->statuses)) * sizeof(c->statuses[0]));
        break;
    }
    case CAIRN__WIRE__EXTENT_METHOD__EXTENT_LIST: {
        const Cairn__Wire__ExtentListReply *r = (const Cairn__Wire__ExtentListReply *)call->reply;

        c->nids = (uint32_t)MIN(r->n_ids, ARRAY_SIZE(c->ids));
        memcpy(c->ids, r->ids, c->nids * sizeof(c->ids[0]));
        memcpy(c->owners, r->owners, c->nids * sizeof(c->owners[0]));
        c->more = r->more;
        break;
    }
    case CAIRN__WIRE__EXTENT_METHOD__EXTENT_SCRUB: {
        const Cairn__Wire__ExtentScrubReply *r = (const Cairn__Wire__ExtentScrubReply *)call->reply;

        c->scrub = *r;
        c->nids = (uint32_t)MIN(r->n_quarantined, ARRAY_SIZE(c->ids));
        memcpy(c->ids, r->quarantined, c->nids * sizeof(c->ids[0]));
        break;
    }
    default:
        break;
    }
}

static inline void fx_start(struct fixture *fx, struct fx_call *c, uint16_t method, const ProtobufCMessage *msg,
                            const void *payload, size_t len)
{
    uint8_t *bytes = c->bytes;

    memset(c, 0, sizeof(*c));
    c->bytes = bytes;
    c->call.dest.rpc = fx->rpc;
    c->call.iface = &cairn_iface_extent;
    c->call.provider = FX_TARGET;
    c->call.method = method;
    c->call.msg = msg;
    c->call.who = &fx->who;
    c->call.done = fx_on_done;
    c->call.err = &fx->err;
    if (len > 0) {
        c->call.payload[0] = (struct iovec){ (void *)(uintptr_t)payload, len };
        c->call.payload_n = 1;
    }
    memset(&fx->err, 0, sizeof(fx->err));
    cairn_rpc_call_start(&c->call);
}

static inline int fx_wait(struct fixture *fx, struct fx_call *c)
{
    WHILE_PATIENT (!c->over)
        cairn_loop_turn(&fx->loop, CAIRN_NS_PER_S);
    return c->call.rc;
}

static inline int fx_call(struct fixture *fx, struct fx_call *c, uint16_t method, const ProtobufCMessage *msg,
                          const void *payload, size_t len)
{
    fx_start(fx, c, method, msg, payload, len);
    return fx_wait(fx, c);
}

/* Bytes that repeat nowhere, and that @seed gives again. */
static inline void fx_fill(uint8_t *p, uint64_t len, uint64_t seed)
{
    uint64_t x = (seed + 1) * UINT64_C(0x9e3779b97f4a7c15);

    for (uint64_t i = 0; i < len; i++) {
        if (i % 8 == 0) {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
        }
        p[i] = (uint8_t)(x >> (8 * (i % 8)));
    }
}

struct fx_write {
    uint64_t id, off, len;
    const uint8_t *bytes;
    bool bulk, bad_crc;
    Cairn__Wire__Durability durability;
    uint64_t owner, name; /* name: where it has one already */
};

static inline uint32_t fx_crcs(const struct fx_write *w, uint32_t *crcs)
{
    cairn_extent_crcs(w->bytes, w->len, crcs);
    if (w->bad_crc)
        crcs[cairn_extent_chunks(w->len) - 1] ^= 1;
    return cairn_extent_chunks(w->len);
}

static inline int fx_put(struct fixture *fx, const struct fx_write *w, uint64_t *id)
{
    Cairn__Wire__ExtentPut msg = CAIRN__WIRE__EXTENT_PUT__INIT;
    struct cairn_bulk_region exposed;
    uint32_t *crcs = malloc((cairn_extent_chunks(w->len) + 1) * sizeof(*crcs));
    struct fx_call c = { 0 };
    int rc;

    msg.length = w->len;
    msg.durability = w->durability;
    msg.owner = w->owner;
    msg.id = w->name;
    msg.crcs = crcs;
    msg.n_crcs = fx_crcs(w, crcs);
    if (w->bulk) {
        assert_int_equal(cairn_bulk_expose(fx->rpc, (void *)(uintptr_t)w->bytes, w->len, CAIRN_BULK_CAN_READ, &exposed),
                         0);
        msg.bulk = &exposed.desc;
    }
    rc = fx_call(fx, &c, CAIRN__WIRE__EXTENT_METHOD__EXTENT_PUT, &msg.base, w->bytes, w->bulk ? 0 : w->len);
    if (w->bulk)
        cairn_bulk_conceal(&exposed);
    free(crcs);
    *id = c.id;
    return rc;
}

static inline int fx_create(struct fixture *fx, uint64_t len, uint64_t *id)
{
    Cairn__Wire__ExtentCreate msg = CAIRN__WIRE__EXTENT_CREATE__INIT;
    struct fx_call c = { 0 };
    int rc;

    msg.length = len;
    rc = fx_call(fx, &c, CAIRN__WIRE__EXTENT_METHOD__EXTENT_CREATE, &msg.base, NULL, 0);
    *id = c.id;
    return rc;
}

static inline int fx_write(struct fixture *fx, const struct fx_write *w)
{
    Cairn__Wire__ExtentWrite msg = CAIRN__WIRE__EXTENT_WRITE__INIT;
    struct cairn_bulk_region exposed;
    uint32_t *crcs = malloc((cairn_extent_chunks(w->len) + 1) * sizeof(*crcs));
    struct fx_call c = { 0 };
    int rc;

    msg.id = w->id;
    msg.off = w->off;
    msg.length = w->len;
    msg.crcs = crcs;
    msg.n_crcs = fx_crcs(w, crcs);
    if (w->bulk) {
        assert_int_equal(cairn_bulk_expose(fx->rpc, (void *)(uintptr_t)w->bytes, w->len, CAIRN_BULK_CAN_READ, &exposed),
                         0);
        msg.bulk = &exposed.desc;
    }
    rc = fx_call(fx, &c, CAIRN__WIRE__EXTENT_METHOD__EXTENT_WRITE, &msg.base, w->bytes, w->bulk ? 0 : w->len);
    if (w->bulk)
        cairn_bulk_conceal(&exposed);
    free(crcs);
    return rc;
}

static inline int fx_persist(struct fixture *fx, uint64_t id, Cairn__Wire__Durability durability)
{
    Cairn__Wire__ExtentPersist msg = CAIRN__WIRE__EXTENT_PERSIST__INIT;
    struct fx_call c = { 0 };

    msg.id = id;
    msg.durability = durability;
    return fx_call(fx, &c, CAIRN__WIRE__EXTENT_METHOD__EXTENT_PERSIST, &msg.base, NULL, 0);
}

/* Reads into @buf, and checks the reply's checksums as a reader does. */
static inline int fx_read(struct fixture *fx, uint64_t id, uint64_t off, uint64_t len, uint8_t *buf, bool bulk,
                          bool verify, uint64_t *got)
{
    Cairn__Wire__ExtentRead msg = CAIRN__WIRE__EXTENT_READ__INIT;
    struct cairn_bulk_region exposed;
    struct fx_call c = { .bytes = bulk ? NULL : buf };
    uint64_t at = 0;
    int rc;

    msg.id = id;
    msg.off = off;
    msg.length = len;
    msg.verify = verify;
    if (bulk) {
        assert_int_equal(cairn_bulk_expose(fx->rpc, buf, len, CAIRN_BULK_CAN_WRITE, &exposed), 0);
        msg.bulk = &exposed.desc;
    }
    rc = fx_call(fx, &c, CAIRN__WIRE__EXTENT_METHOD__EXTENT_READ, &msg.base, NULL, 0);
    if (bulk)
        cairn_bulk_conceal(&exposed);
    *got = c.length;
    if (rc != 0)
        return rc;
    for (uint32_t i = 0; i < c.ncrcs; i++) {
        uint64_t end = MIN(c.length, ((off + at) / FX_CHUNK + 1) * FX_CHUNK - off);

        if (cairn_crc32c(0, buf + at, end - at) != c.crcs[i])
            return 1; /* what makes a reader ask again with `verify` */
        at = end;
    }
    assert_int_equal(at, c.length);
    return 0;
}

static inline int fx_remove_as(struct fixture *fx, uint64_t id, Cairn__Wire__Durability durability)
{
    Cairn__Wire__ExtentRemove msg = CAIRN__WIRE__EXTENT_REMOVE__INIT;
    struct fx_call c = { 0 };
    int rc;

    msg.n_ids = 1;
    msg.ids = &id;
    msg.durability = durability;
    rc = fx_call(fx, &c, CAIRN__WIRE__EXTENT_METHOD__EXTENT_REMOVE, &msg.base, NULL, 0);
    return rc != 0 ? rc : c.statuses[0];
}

static inline int fx_remove(struct fixture *fx, uint64_t id)
{
    return fx_remove_as(fx, id, CAIRN__WIRE__DURABILITY__DURABILITY_BUFFERED);
}

static inline int fx_list(struct fixture *fx, struct fx_call *c, uint64_t after, uint32_t max, uint64_t owner,
                          bool quarantined)
{
    Cairn__Wire__ExtentList msg = CAIRN__WIRE__EXTENT_LIST__INIT;

    msg.after = after;
    msg.max = max;
    msg.owner = owner;
    msg.quarantined = quarantined;
    return fx_call(fx, c, CAIRN__WIRE__EXTENT_METHOD__EXTENT_LIST, &msg.base, NULL, 0);
}

static inline int fx_stat(struct fixture *fx, uint64_t id, Cairn__Wire__ExtentStatReply *stat)
{
    Cairn__Wire__ExtentId msg = CAIRN__WIRE__EXTENT_ID__INIT;
    struct fx_call c = { 0 };
    int rc;

    msg.id = id;
    rc = fx_call(fx, &c, CAIRN__WIRE__EXTENT_METHOD__EXTENT_STAT, &msg.base, NULL, 0);
    *stat = c.stat;
    return rc;
}

static inline int fx_scrub(struct fixture *fx, uint64_t id, struct fx_call *c)
{
    Cairn__Wire__ExtentScrub msg = CAIRN__WIRE__EXTENT_SCRUB__INIT;

    msg.id = id;
    return fx_call(fx, c, CAIRN__WIRE__EXTENT_METHOD__EXTENT_SCRUB, &msg.base, NULL, 0);
}

/* ---- what most programs need ---- */

#define SYNC CAIRN__WIRE__DURABILITY__DURABILITY_SYNC

/* The test @f in a fixture of backend @s. */
#define ON(f, s) cmocka_unit_test_setup_teardown(f, fx_setup_##s, fx_teardown)

static inline int fx_setup_with(void **state, struct cairn_extent_conf conf)
{
    struct fixture *fx = malloc(sizeof(*fx));

    fx_init(fx, &conf);
    *state = fx;
    return 0;
}

static inline int fx_setup_file(void **state)
{
    return fx_setup_with(state, fx_conf(CAIRN_EXTENT_FILE)); /* AUTO: where io_uring is refused it is the pool */
}

static inline int fx_setup_pool(void **state)
{
    struct cairn_extent_conf conf = fx_conf(CAIRN_EXTENT_FILE);

    conf.io = CAIRN_FILE_IO_POOL;
    conf.direct = false;
    return fx_setup_with(state, conf);
}

static inline int fx_setup_pmem(void **state)
{
    return fx_setup_with(state, fx_conf(CAIRN_EXTENT_PMEM));
}

static inline int fx_setup_memory(void **state)
{
    return fx_setup_with(state, fx_conf(CAIRN_EXTENT_MEMORY));
}

static inline int fx_teardown(void **state)
{
    struct fixture *fx = *state;

    fx_fini(fx);
    free(fx);
    return 0;
}

static inline void fx_reopen(struct fixture *fx)
{
    fx_close(fx);
    fx_open(fx);
}

/* Finds the only place of @bytes in the store's data and flips a bit of it. */
static inline void fx_flip_on_disk(struct fixture *fx, const uint8_t *bytes, uint64_t at)
{
    char path[128];
    struct stat st;
    uint8_t *all, *found;
    int fd;

    snprintf(path, sizeof(path), "%s/%s", fx->dir, fx->conf.backend == CAIRN_EXTENT_PMEM ? "pool" : "seg-00000");
    fd = open(path, O_RDWR);
    assert_true(fd >= 0);
    assert_int_equal(fstat(fd, &st), 0);
    all = malloc((size_t)st.st_size);
    assert_int_equal(cairn_file_pread(fd, all, (uint64_t)st.st_size, 0), 0);
    found = memmem(all, (size_t)st.st_size, bytes, 4096);
    assert_non_null(found);
    found[at] ^= 0x10;
    assert_int_equal(cairn_file_pwrite(fd, found + at, 1, (uint64_t)(found - all) + at), 0);
    close(fd);
    free(all);
}

/* @fd goes to @path from now on. */
static inline void fx_replace_fd(int fd, const char *path, int flags)
{
    int other = open(path, flags);

    assert_true(other >= 0);
    assert_int_equal(dup2(other, fd), fd);
    close(other);
}

#endif
