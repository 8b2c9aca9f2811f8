/** The namespace router: names that mean something to users, composed of KV and extent providers.
 *
 * To the node it is one more provider (number CAIRN_PROVIDER_ROUTER), with two differences: there is always exactly
 * one, and it calls other providers, so it must be told each worker's RPC end before the workers run:
 * cairn_router_attach(). It knows the providers below it only by their RPC interfaces. */
#ifndef CAIRN_SERVER_ROUTER_H
#define CAIRN_SERVER_ROUTER_H

#include "cairn/limits.h"
#include "server/port/provider.h"

struct cairn_cluster;
struct cairn_router;
struct cairn_map_store;

enum {
    CAIRN_ROUTER_NAMESPACES_MAX = 4096,
    CAIRN_ROUTER_USER_NAMESPACES = 256,         /* of one user, who would otherwise have them all */
    CAIRN_ROUTER_REGIONS_MAX = CAIRN_PARTS_MAX, /* of one value: 1 TiB in regions of 256 MiB */
    CAIRN_ROUTER_REGION_BYTES = CAIRN_PART_BYTES,
    CAIRN_ROUTER_PARTS_INFLIGHT = 4,         /* regions of one value that are read at a time */
    CAIRN_ROUTER_INLINE_BYTES_MAX = 1 << 20, /* of a large value, answered as payload to a caller without memory */
    CAIRN_ROUTER_MODE_DEFAULT = 0640,
    CAIRN_ROUTER_UPLOADS_MAX = 1024,      /* values of this node that are coming in parts */
    CAIRN_ROUTER_UPLOADS_OF_NS_MAX = 256, /* and of one namespace */
    CAIRN_ROUTER_UPLOAD_TTL_MS = 600000,  /* without a new part, after which the parts are removed */
    CAIRN_ROUTER_UPLOAD_GRACE_MS = 60000, /* likewise after a failure: its client may be gone */
    CAIRN_ROUTER_SWEEP_MS = 60000,        /* in a cluster, from one look for regions that nothing names to the next */
};
#define CAIRN_ROUTER_GET_BYTES_MAX (UINT64_C(1) << 30) /* one GET: its checksums must fit into one frame */
#define CAIRN_ROUTER_UPLOAD_BYTES_MAX                                                                                  \
    (UINT64_C(4) << 40) /* of one namespace, in parts of values that are not there yet */

struct cairn_router_conf {
    uint64_t region_bytes;        /* a multiple of CAIRN_EXTENT_CHUNK_BYTES; 0: CAIRN_ROUTER_REGION_BYTES */
    const char *kv, *extent;      /* providers of namespaces that name none; NULL or "": the first of its kind */
    uint32_t embed_threshold;     /* of namespaces that name none; 0: CAIRN_BULK_THRESHOLD_BYTES */
    uint32_t user_namespaces_max; /* of one user, unless an administrator makes more; 0: CAIRN_ROUTER_USER_NAMESPACES */
    uint32_t upload_ttl_ms, upload_grace_ms; /* 0: CAIRN_ROUTER_UPLOAD_*_MS */
    uint32_t sweep_interval_ms;              /* 0: CAIRN_ROUTER_SWEEP_MS */
    uint64_t upload_bytes_max;               /* 0: CAIRN_ROUTER_UPLOAD_BYTES_MAX */
    struct cairn_map_store
        *map; /* the caller's, with worker 0's loop as its home, read; NULL: one of our own in env->dir */
    struct cairn_cluster *cluster; /* the node's service; namespaces are spread over the nodes. NULL: this node alone */
    uint64_t node;                 /* its id, in a cluster; 0: nobody else has the map */
    const char *node_name;         /* likewise, for people; the caller's */
    bool sweep_always;             /* look for regions that nothing names at every start, not only after a crash */
};

/** For the node: type, interface, handlers, kinds, check, start, run, quiesce, stop, status. No schema: start() takes
 * the defaults. */
extern const struct cairn_provider_desc cairn_router_desc;

/** As cairn_router_desc.start(), with a configuration (NULL: the defaults). CAIRN_E_FORMAT and CAIRN_E_CORRUPT: the
 * table of namespaces in env->dir. Blocks. */
int cairn_router_start(const struct cairn_provider_env *env, const struct cairn_router_conf *conf, void **ctx,
                       struct cairn_err *err);
/** Before the workers run, once for each: @rpc's index says which. */
void cairn_router_attach(void *ctx, struct cairn_rpc *rpc);

/** Where namespaces are kept: conf->map, or the router's own. */
struct cairn_map_store *cairn_router_store(const void *ctx);

struct cairn_map_entry;
struct cairn_map_ids;
/** An entry of the map as another store may have it, where revisions differ: a namespace's record names its id, which
 * until then may have been that of its creation, by @ids (server/cluster/map_ids.h). *@value from malloc;
 * NULL: as it is. CAIRN_E_CORRUPT, CAIRN_E_NOMEM. */
int cairn_router_map_entry(const struct cairn_map_entry *e, const struct cairn_map_ids *ids, uint8_t **value, uint32_t *len,
                           struct cairn_err *err);

#endif
