/** What is counted of each method of each provider: operations, errors, bytes, and how latency and sizes are
 * distributed.
 *
 * One set per worker. Its thread alone writes, so a count costs a plain load and store; any thread may read at any time
 * and sees each number as it was at some moment. A method that was never called costs 80 bytes; the distributions are
 * allocated at its first call. Without memory for them the plain counters go on. */
#ifndef CAIRN_CORE_RPC_STATS_H
#define CAIRN_CORE_RPC_STATS_H

#include "cairn/error.h"
#include "sdk/core/base/macros.h"

#include <stdatomic.h>

struct cairn_rpc_target;

/* Buckets are a quarter of a power of two wide, so a value read back is off by 25 % at most; below the first power,
 * which the shift chooses, they are all as wide as 1 << shift. */
enum {
    CAIRN_HIST_BUCKETS = 120,
    CAIRN_HIST_NS_SHIFT = 5,    /* latency: 32 ns wide up to 128 ns, distinct up to 68 s */
    CAIRN_HIST_BYTES_SHIFT = 3, /* sizes: 8 bytes wide up to 32, distinct up to 17 GB */
    CAIRN_RPC_ERRORS = -CAIRN_E_LAST + 1,
};

struct cairn_hist {
    _Atomic uint64_t sum, max;
    _Atomic uint64_t buckets[CAIRN_HIST_BUCKETS];
};
_Static_assert(sizeof(struct cairn_hist) < 1024, "three of them are allocated for every method that is used");

struct cairn_rpc_stats_detail {
    struct cairn_hist latency_ns, request_bytes, reply_bytes;
    _Atomic uint64_t errors[CAIRN_RPC_ERRORS]; /* by -code; [0]: codes that are none */
};

/* Of those that are answered, what clients asked: over a connection that is no node's. One request of a client makes
 * others, of providers and of nodes among each other, so the sum over all methods says nothing of what clients see. */
struct cairn_rpc_stats_clients {
    _Atomic uint64_t requests, failed, bytes_in, bytes_out;
};

struct cairn_rpc_stats {
    _Atomic uint64_t started, ended, failed, bytes_in, bytes_out;
    struct cairn_rpc_stats_clients clients;
    _Atomic(struct cairn_rpc_stats_detail *) detail; /* NULL until the first call */
};

/** The buckets of a set, for all providers of a node. */
struct cairn_rpc_stats_set;

/** One line for each method of each of @targets (which must outlive the set). NULL without memory. */
struct cairn_rpc_stats_set *cairn_rpc_stats_set_new(const struct cairn_rpc_target *targets, uint32_t ntargets);
void cairn_rpc_stats_set_free(struct cairn_rpc_stats_set *set);
/** The line of @method of the target whose id is @provider; NULL if there is none. Constant time. */
struct cairn_rpc_stats *cairn_rpc_stats_find(const struct cairn_rpc_stats_set *set, uint16_t provider, uint32_t method);

/* ---- writing: the set's own thread ---- */

/* Single writer: no locked instruction is needed, and a reader on another thread still gets whole numbers. */
static inline void cairn_stats_add(_Atomic uint64_t *to, uint64_t n)
{
    atomic_store_explicit(to, atomic_load_explicit(to, memory_order_relaxed) + n, memory_order_relaxed);
}

static inline uint32_t cairn_hist_index(uint64_t v, uint32_t shift)
{
    uint32_t e, i;

    if (v < UINT64_C(4) << shift)
        return (uint32_t)(v >> shift);
    e = 63 - (uint32_t)__builtin_clzll(v);
    i = (e - shift - 1) * 4 + ((v >> (e - 2)) & 3);
    return i < CAIRN_HIST_BUCKETS ? i : CAIRN_HIST_BUCKETS - 1;
}

static inline void cairn_hist_record(struct cairn_hist *h, uint64_t v, uint32_t shift)
{
    cairn_stats_add(&h->buckets[cairn_hist_index(v, shift)], 1);
    cairn_stats_add(&h->sum, v);
    if (v > atomic_load_explicit(&h->max, memory_order_relaxed))
        atomic_store_explicit(&h->max, v, memory_order_relaxed);
}

struct cairn_rpc_stats_detail *cairn_rpc__stats_detail_new(struct cairn_rpc_stats *s);

/** A request of @bytes has come (body and payload; for bulk also what is announced). @s NULL: not counted. */
static inline void cairn_rpc_stats_start(struct cairn_rpc_stats *s, uint64_t bytes)
{
    struct cairn_rpc_stats_detail *d;

    if (UNLIKELY(s == NULL))
        return;
    cairn_stats_add(&s->started, 1);
    cairn_stats_add(&s->bytes_in, bytes);
    d = atomic_load_explicit(&s->detail, memory_order_relaxed);
    if (UNLIKELY(d == NULL))
        d = cairn_rpc__stats_detail_new(s);
    if (LIKELY(d != NULL))
        cairn_hist_record(&d->request_bytes, bytes, CAIRN_HIST_BYTES_SHIFT);
}

/** It was answered by @rc with @reply_bytes; once for each start. */
static inline void cairn_rpc_stats_end(struct cairn_rpc_stats *s, uint64_t latency_ns, uint64_t reply_bytes, int rc)
{
    struct cairn_rpc_stats_detail *d;

    if (UNLIKELY(s == NULL))
        return;
    cairn_stats_add(&s->ended, 1);
    cairn_stats_add(&s->bytes_out, reply_bytes);
    d = atomic_load_explicit(&s->detail, memory_order_relaxed);
    if (UNLIKELY(rc != 0)) {
        cairn_stats_add(&s->failed, 1);
        if (d != NULL)
            cairn_stats_add(&d->errors[rc < 0 && rc >= CAIRN_E_LAST ? -rc : 0], 1);
    }
    if (LIKELY(d != NULL)) {
        cairn_hist_record(&d->latency_ns, latency_ns, CAIRN_HIST_NS_SHIFT);
        cairn_hist_record(&d->reply_bytes, reply_bytes, CAIRN_HIST_BYTES_SHIFT);
    }
}

/** What has ended so was a client's. */
static inline void cairn_rpc_stats_client(struct cairn_rpc_stats *s, uint64_t bytes, uint64_t reply_bytes, int rc)
{
    if (UNLIKELY(s == NULL))
        return;
    cairn_stats_add(&s->clients.requests, 1);
    cairn_stats_add(&s->clients.bytes_in, bytes);
    cairn_stats_add(&s->clients.bytes_out, reply_bytes);
    if (UNLIKELY(rc != 0))
        cairn_stats_add(&s->clients.failed, 1);
}

/* ---- reading: any thread ---- */

/** Sums over workers; zero-initialised is empty. */
struct cairn_hist_sum {
    uint64_t n, sum, max;
    uint64_t buckets[CAIRN_HIST_BUCKETS];
};

struct cairn_rpc_stats_sum {
    uint64_t started, ended, failed, bytes_in, bytes_out;
    struct {
        uint64_t requests, failed, bytes_in, bytes_out;
    } clients;
    uint64_t errors[CAIRN_RPC_ERRORS];
    struct cairn_hist_sum latency_ns, request_bytes, reply_bytes;
};

void cairn_hist_merge(struct cairn_hist_sum *to, const struct cairn_hist *from);
/** Adds what @s has now. @s NULL: nothing. */
void cairn_rpc_stats_merge(struct cairn_rpc_stats_sum *to, const struct cairn_rpc_stats *s);
/** Requests that are being worked on: the depth of the queue. */
static inline uint64_t cairn_rpc_stats_inflight(const struct cairn_rpc_stats_sum *s)
{
    return s->started > s->ended ? s->started - s->ended : 0; /* the two are not read at one moment */
}

/** The value below which the share @p (0 to 1) of all lies: the middle of its bucket, and never above the maximum; 0 of
 * none. */
uint64_t cairn_hist_percentile(const struct cairn_hist_sum *h, uint32_t shift, double p);
/** First value beyond bucket @i. */
uint64_t cairn_hist_upper(uint32_t i, uint32_t shift);
/** What stands for the values of bucket @i: its middle; of the last one, which has no end, its first value. */
uint64_t cairn_hist_middle(uint32_t i, uint32_t shift);

#endif
