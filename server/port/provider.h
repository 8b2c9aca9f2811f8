/** What a provider is to the node, and what it may ask of it.
 *
 * A provider defines one `const struct cairn_provider_desc cairn_provider_<type>` and is added to the build by
 * cairn_add_provider(<type>); nothing else names it. */
#ifndef CAIRN_SERVER_PORT_PROVIDER_H
#define CAIRN_SERVER_PORT_PROVIDER_H

#include "sdk/core/rpc/rpc.h"
#include "server/port/conf.h"
#include "server/port/pool.h"

#include <jansson.h>

struct cairn_gossip;
struct cairn_spare;

/** Who the node is; constant while its providers live, but for @addresses. */
struct cairn_provider_node {
    const char *name;
    const char *zone;          /* what it fails together with; "": nothing that was said */
    const uint8_t *cluster_id; /* CAIRN_CLUSTER_ID_BYTES */
    const uint8_t *key;        /* the cluster key, CAIRN_KEY_BYTES */
    char *const *addresses;    /* where it listens; the node's from run() on */
    const uint32_t *naddresses;
};

/** What the node gives each provider; lives longer than the provider. */
struct cairn_provider_env {
    const char *name;                       /* of the instance: "kv0" */
    const struct cairn_provider_node *node; /* NULL: there is none (check(), some tests) */
    const char
        *dir; /* its own directory inside the node's data directory; exists, mode 0700. "" if the node has none */
    const struct cairn_conf *conf; /* its section */
    struct cairn_pool *pool;
    struct cairn_spare *spare;       /* of the node's data directory (server/storage/spare.h); NULL: none */
    struct cairn_gossip *gossip;     /* server/port/gossip.h; NULL: there is none */
    struct cairn_loop *const *loops; /* the workers' */
    uint32_t nloops;
    const struct cairn_rpc_target *targets; /* all providers of the node, for local calls: cairn_rpc_target_by_name() */
    uint32_t ntargets;
};

struct cairn_provider_desc {
    const char *type; /* "kv" */
    const struct cairn_rpc_iface *iface;
    cairn_rpc_handler *const *handlers;
    const struct cairn_conf_key *schema; /* of its section, beyond `type` and `name` */
    const struct cairn_sm_kind *const
        *machines; /* NULL-terminated: its kinds, for the self-check and `cairn machines --graph` */

    /** Looks at configuration and directory as a start would, changing nothing. May be NULL. */
    int (*check)(const struct cairn_provider_env *env, struct cairn_err *err);
    /** Opens everything. Before the workers run; may block. On success *@ctx goes into the target. */
    int (*start)(const struct cairn_provider_env *env, void **ctx, struct cairn_err *err);
    /** The workers run now: background work (scrub) may begin, on env->loops[0]. On that loop's thread. May be NULL. */
    void (*run)(void *ctx);
    /** The node is to stop, and still serves everybody: what it does for others is handed over, as far as that takes
     * no longer than @within_ns. On env->loops[0]'s thread; @done(arg) runs there when it is over, perhaps within the
     * call. May be NULL. */
    void (*leave)(void *ctx, uint64_t within_ns, void (*done)(void *arg), void *arg);
    /** The node lets no more clients in: requests that only wait for something to happen are to be answered now. On
     * env->loops[0]'s thread. May be NULL. */
    void (*drain)(void *ctx);
    /** Ends background work started by run(); on the same thread, @done(arg) runs there when it is over. May be NULL.
     */
    void (*quiesce)(void *ctx, void (*done)(void *arg), void *arg);
    /** Closes everything. The workers have ended and no request is left. */
    void (*stop)(void *ctx);
    /** Adds to @to what `cairn status` should show ("health": "ok" | "degraded" | "readonly" | "failed", counts ...).
     * Any worker's thread; does not block. "failed": it does nothing any more until the node is started again, and
     * "problem" says why; then /healthz says that the node does not serve. */
    void (*status)(void *ctx, json_t *to);
};

extern const struct cairn_provider_desc *const cairn_provider_list[]; /* generated; NULL-terminated */

#endif
