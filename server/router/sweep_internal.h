/* The sweeper from inside: router_sweep.c (the machine, its ends, and when it runs), sweep_regions.c (what may go, and
 * goes) and sweep_named.c (what stays).
 *
 * One step at a time: whoever has called router_sweep_call(), router_sweep_rest() or the like returns, and what he
 * named goes on; after router_sweep_stop() nothing does. */
#ifndef CAIRN_ROUTER_SWEEP_INTERNAL_H
#define CAIRN_ROUTER_SWEEP_INTERNAL_H

#include "server/router/router_internal.h"
#include "server/router/sweep_set.h"

enum {
    SWEEP_DATABASES,
    SWEEP_DROP,
    SWEEP_LIST,
    SWEEP_BARRIER,
    SWEEP_LOGS,
    SWEEP_OPEN,
    SWEEP_SCAN,
    SWEEP_FLUSH,
    SWEEP_REMOVE,
    SWEEP_DONE,
    SWEEP_STOPPED,
    SWEEP_NR
};

struct router_sweep {
    struct cairn_sm sm;
    struct cairn_router *router;
    uint64_t until; /* revision of the store at the start: later namespaces owe nothing to a crash */
    bool again;     /* not the one after a start: regions of clustered namespaces only */
    struct cairn_cluster_named named;
    const struct cairn_rpc_target *scanned; /* the KV provider of the records that were seen; NULL: none was */
    uint64_t started_ns;
    uint32_t target; /* of env.targets: the provider that is being looked at */
    struct router_sweep_set candidates;
    uint64_t after; /* the last region listed */
    bool more, running, stopping, calling;
    uint32_t *spaces; /* ids of namespaces to scan */
    uint32_t nspaces, space;
    struct router_ns *pinned;          /* in use by the call that runs */
    uint8_t from[CAIRN_KEY_BYTES_MAX]; /* the last key of the page before */
    uint32_t from_len;
    char drop_name[16];
    uint64_t began_ns;
    void (*resume)(struct router_sweep *s);
    struct cairn_timer rest;
    struct router_spread spread;
    union router_msg msg;
    struct cairn_err err;
    struct cairn_rpc_call call;
    uint64_t removed;
    void (*done)(void *arg);
    void *done_arg;
    struct cairn_task done_task;
};

/* ---- router_sweep.c ---- */

void router_sweep_stop(struct router_sweep *s, int rc, const char *why);
void router_sweep_finish(struct router_sweep *s);
/* Asks @target; @done, which is to begin with router_sweep_called(), goes on. */
void router_sweep_call(struct router_sweep *s, const struct cairn_rpc_target *target, uint32_t method,
                       void (*done)(struct cairn_rpc_call *call));
/* In done(): true if the sweep goes on. */
bool router_sweep_called(struct router_sweep *s);
/* Goes on with @resume after a rest as long as the last call took; wait(): for somebody else's work, which will end by
 * itself. */
void router_sweep_rest(struct router_sweep *s, void (*resume)(struct router_sweep *s));
void router_sweep_wait(struct router_sweep *s, void (*resume)(struct router_sweep *s));
const struct cairn_rpc_target *router_sweep_target(const struct router_sweep *s);
/* The next provider of @iface, from the present one on; false if there is none. */
bool router_sweep_next_target(struct router_sweep *s, const struct cairn_rpc_iface *iface);

/* ---- sweep_regions.c ---- */

void router_sweep_databases(struct router_sweep *s);
void router_sweep_list(struct router_sweep *s);
void router_sweep_remove(struct router_sweep *s);

/* ---- sweep_named.c ---- */

/* Region @id of @arg, a sweep, stays. */
void router_sweep_keep(void *arg, uint64_t id);
void router_sweep_logs(struct router_sweep *s);
void router_sweep_open(struct router_sweep *s);

#endif
