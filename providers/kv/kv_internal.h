/* What the files of the provider share: the provider, its part per worker, and operations that wait.
 *
 * A request that can be answered from memory is answered by its handler (kv_rpc*.c) and needs no structure. One that
 * waits gets a struct kv_op from its worker's spare ones; it is a state machine of one of two kinds (kv_op.c): a write
 * that the store's committer carries out, or work that blocks, which goes to the pool. */
#ifndef CAIRN_PROVIDERS_KV_INTERNAL_H
#define CAIRN_PROVIDERS_KV_INTERNAL_H

#include "providers/kv/kv_page.h"
#include "providers/kv/kv_snapshot.h"
#include "providers/kv/kv_store.h"
#include "sdk/core/base/log.h"
#include "server/port/provider.h"

enum {
    KV_OPS_MAX = 4096,      /* of one worker, waiting */
    KV_OPS_SPARE_MAX = 64,  /* kept, with their buffers */
    KV_OP_BUF_BYTES = 4096, /* a value up to this size is copied into a kept buffer; a larger one has its own */
    KV_READ_JOBS_MAX = 4,   /* of one worker on the pool at a time */
    KV_READS_PER_JOB_MAX = 16,

    KV_MISS_SHARE_ALL = 1 << 16,
    KV_MISS_SHARE_LOOK = KV_MISS_SHARE_ALL / 2, /* up to here a look at the memory pays */
    KV_JOINED_MAX = 16,                         /* reads without a look, so that a change is noticed */
};

struct kv_worker;

struct kv_op {
    struct cairn_link link; /* spare, waiting for a job, or in one */
    struct cairn_sm sm;
    struct kv_worker *worker;
    struct cairn_rpc_req *rq; /* NULL once it is answered */
    atomic_bool canceled;
    int rc;
    struct cairn_err err;

    /* A write. */
    struct cairn_kv_write write;
    int32_t status;  /* of a single one */
    uint32_t length; /* likewise: of its value */
    uint8_t *buf;    /* KV_OP_BUF_BYTES, kept; made when first needed */
    uint8_t *old;    /* want_old: the value that was there */
    int64_t old_len; /* -1: none */

    struct cairn_task answer; /* a flush by another worker's hand is over */

    /* Work for the pool. */
    void (*work)(struct kv_op *op);  /* on a pool thread; sets rc */
    void (*reply)(struct kv_op *op); /* on the loop, with rc == 0; answers op->rq */
    struct cairn_job job;            /* of this operation alone, or with those on @batch */
    struct cairn_link batch;
    bool is_call; /* a job of its own, not one of the reads' */
    struct cairn_kv_db db;
    struct kv_snapshot *snapshot; /* in use until the end; NULL: none */
    struct cairn_kv_page page;
    union {
        struct cairn_kv_read read;
        struct cairn_kv_scan scan;
        struct {
            struct cairn_kv_usage usage;
            const char *name; /* in rq's arena */
        };
        struct {
            uint64_t snapshot_id;
            Cairn__Wire__KvOpened opened;
            Cairn__Wire__KvDatabases databases;
        };
    };
};

/* One worker's part of the provider; that worker's thread only. */
struct kv_worker {
    struct kv_provider *provider;
    struct cairn_loop *loop;
    uint32_t index;
    struct cairn_link spare;
    uint32_t nspare, nops;
    struct cairn_link reads; /* that wait for a job */
    uint32_t nreads, njobs;  /* njobs: of reads, on the pool */
    uint32_t ncalls;         /* other work on the pool */
    uint32_t miss_share;     /* of late, of reads that looked at the store's memory: of KV_MISS_SHARE_ALL */
    uint32_t joined;         /* reads since the last one that looked */
    struct cairn_task start_reads;
    struct cairn_timer expire; /* of views */
    struct cairn_kv_page page; /* for answers that are given at once */
    int32_t *statuses;         /* CAIRN_BATCH_MAX, likewise; made when first needed */
};

/* Flushes of the store: one at a time, for all who ask. kv_flush.c */
struct kv_flush {
    pthread_mutex_t mutex;
    struct cairn_link waiting, served; /* operations: for the next one, for the one under way */
    bool busy;                         /* there is one under way, or the gap behind it; both are its loop's */
    uint64_t flushes, asked;           /* for the status */
    struct cairn_loop *loop;           /* the job's, as the next three: no mutex */
    struct cairn_job job;
    struct cairn_timer gap;
    int rc;
};

struct kv_provider {
    const char *name;
    const struct cairn_kv_store_ops *ops;
    struct cairn_kv_store *store;
    struct cairn_kv_dir dir;
    struct cairn_pool *pool;
    struct kv_flush flush;
    struct kv_snapshots snapshots;
    uint32_t nworkers;
    struct kv_worker workers[];
};

extern const struct cairn_sm_kind kv_write_kind, kv_work_kind, kv_flush_kind;
extern cairn_rpc_handler *const kv_handlers[];

static inline struct kv_provider *kv_provider_of(const struct cairn_rpc_req *rq)
{
    return rq->target->ctx;
}

static inline struct kv_worker *kv_worker_of(const struct cairn_rpc_req *rq)
{
    return &kv_provider_of(rq)->workers[cairn_rpc_index(rq->rpc)];
}

/* ---- kv_op.c ---- */

void kv_worker_init(struct kv_worker *w, struct kv_provider *p, struct cairn_loop *loop, uint32_t index);
void kv_worker_fini(struct kv_worker *w);

/* An operation for @rq; NULL, with @rq answered, when too many wait or memory ends. */
struct kv_op *kv_op_new(struct cairn_rpc_req *rq, const struct cairn_sm_kind *kind);
/* Hands op->write (db, keys, flags are filled in) and the value in rq->payload to the store. Takes @op. */
void kv_op_write(struct kv_op *op);
/* Runs op->work on the pool, op->reply on the loop: kv_op_read() in one job with others, kv_op_call() in its own. Take
 * @op. */
void kv_op_read(struct kv_op *op);
void kv_op_call(struct kv_op *op);

/* Ends an operation whose request was answered, its machine in a final state. */
void kv_op_end(struct kv_op *op);
/* Answers with op->err, or with @rc's own words, goes to @state and ends. */
void kv_op_fail(struct kv_op *op, uint32_t state, int rc);

/* ---- kv_flush.c ---- */

void kv_flush_init(struct kv_flush *f);
void kv_flush_fini(struct kv_flush *f);
void kv_flush_status(struct kv_flush *f, json_t *to);
void kv_handle_flush(struct cairn_rpc_req *rq);

/* ---- kv_rpc.c, for the other handlers ---- */

/* The database of a request; false, with @rq answered, if there is none. */
bool kv_find(struct cairn_rpc_req *rq, uint32_t handle, struct cairn_kv_db *db);
/* Answers with what a store said: CAIRN_KV_GONE or an error. */
void kv_reply_failure(struct cairn_rpc_req *rq, int rc);
/* Likewise for a key that is no key. */
void kv_reply_bad_key(struct cairn_rpc_req *rq, const struct cairn_kv_db *db, int rc, size_t index);
/* The store would have to wait for the disk: the pool asks again, what it finds goes to op->page. Takes @snap. */
void kv_read_later(struct cairn_rpc_req *rq, const struct cairn_kv_read *rd, struct kv_snapshot *snap,
                   void (*work)(struct kv_op *op), void (*reply)(struct kv_op *op));
/* Answers a write that the store carried out. */
void kv_reply_statuses(struct cairn_rpc_req *rq, const int32_t *status, uint32_t n);
void kv_reply_old(struct cairn_rpc_req *rq, const uint8_t *val, int64_t len);

/* ---- kv_rpc_batch.c ---- */

/* Carries @w out, with one status per key, and answers. Its values are the payload. */
void kv_write_many(struct cairn_rpc_req *rq, struct cairn_kv_write *w);

/* ---- kv_rpc_batch.c, kv_rpc_list.c, kv_rpc_admin.c, kv_rpc_apply.c ---- */

void kv_handle_mput(struct cairn_rpc_req *rq);
void kv_handle_mget(struct cairn_rpc_req *rq);
void kv_handle_mlength(struct cairn_rpc_req *rq);
void kv_handle_merase(struct cairn_rpc_req *rq);
void kv_handle_list(struct cairn_rpc_req *rq);
void kv_handle_open(struct cairn_rpc_req *rq);
void kv_handle_drop(struct cairn_rpc_req *rq);
void kv_handle_databases(struct cairn_rpc_req *rq);
void kv_handle_stat(struct cairn_rpc_req *rq);
void kv_handle_apply(struct cairn_rpc_req *rq);

/* ---- kv_rpc_admin.c ---- */

/* An operation of its own, on the pool. */
void kv_call(struct cairn_rpc_req *rq, void (*work)(struct kv_op *op), void (*reply)(struct kv_op *op));

/* ---- kv_rpc_snapshot.c ---- */

void kv_worker_snapshots_init(struct kv_worker *w);
/* The view of that number, in use until left; false, with @rq answered, if there is none. */
bool kv_snapshot_find(struct cairn_rpc_req *rq, uint64_t id, struct kv_snapshot **snap);
void kv_snapshot_leave(struct kv_worker *w, struct kv_snapshot *snap);
void kv_handle_snapshot_open(struct cairn_rpc_req *rq);
void kv_handle_snapshot_close(struct cairn_rpc_req *rq);

/* What a request names: *@snap is NULL if that is no view. */
static inline bool kv_snapshot_use(struct cairn_rpc_req *rq, uint64_t id, struct kv_snapshot **snap)
{
    *snap = NULL;
    return LIKELY(id == 0) || kv_snapshot_find(rq, id, snap);
}

/* @snap may be NULL. */
static inline void kv_snapshot_done(struct kv_worker *w, struct kv_snapshot *snap)
{
    if (UNLIKELY(snap != NULL))
        kv_snapshot_leave(w, snap);
}

#endif
