/* What the files of the scripted cluster share: scripted_cluster.c has its life and its map, scripted_router.c what
 * it answers, and scripted_faults.c how it does not. */
#ifndef CAIRN_TESTS_SCRIPTED_CLUSTER_INTERNAL_H
#define CAIRN_TESTS_SCRIPTED_CLUSTER_INTERNAL_H

#include "cairn/limits.h"
#include "sdk/core/placement/placement.h"
#include "sdk/core/rpc/accept.h"
#include "sdk/core/rpc/rpc_internal.h"
#include "tests/lib/scratch.h"
#include "tests/lib/scripted_cluster.h"
#include "tests/lib/scripted_values.h"

#include <pthread.h>

enum {
    HELD_MAX = 4096,
    WRITES_MAX = 65536,
    FIRST_SLOT = SCRIPTED_SLOTS,
    FIRST_NS = 65841, /* its id */
    THRESHOLD = 4096,
    UPLOADS_MAX = 8,
    PART_BYTES = 1 << 20
};

struct scripted_map {
    uint64_t revision, epochs[SCRIPTED_SLOTS];
    uint32_t leaders[SCRIPTED_SLOTS];
};

/* A write that was done, and what it came to. */
struct scripted_done {
    uint32_t slot;
    uint64_t pos, seq;
    int rc;
};

/* A value that comes in parts, which are counted and not kept. */
struct scripted_upload {
    uint64_t id;
    uint32_t parts;
};

struct scripted_peer {
    struct scripted_member m;
    struct scripted_cluster *c;
    uint32_t index;
    char address[SCRATCH_MAX + 32], name[16], host[64];
    const char *told;        /* as others are told it is reached */
    const char *told_name;   /* NULL, or likewise */
    struct scripted_map map; /* as it knows it */
    uint32_t refused;        /* second pages of it, since the first one was given */
    atomic_uint_fast64_t steps_down; /* at its next MOVED: slot, heir + 1; 0: it does not */
    struct scripted_upload uploads[UPLOADS_MAX];
    struct cairn_rpc *rpc, *workers[1];
    struct cairn_rpc_target targets[3];
    struct cairn_rpc_node rpc_node;
    struct cairn_watch listener;
};

struct scripted_cluster {
    pthread_mutex_t mutex;
    pthread_t thread;
    struct cairn_loop loop;
    char dir[SCRATCH_MAX];
    bool write_once;
    uint32_t n, drained;
    struct scripted_map map;
    struct scripted_peer nodes[SCRIPTED_NODES_MAX];
    struct scripted_values values;
    uint64_t sessions[SCRIPTED_SLOTS]; /* the number of the newest; 0: none is known */
    uint64_t last_session, session_ttl_ms;
    atomic_uint ns_made; /* how often the namespace was */
    struct scripted_done done[WRITES_MAX];
    size_t ndone;
    struct cairn_rpc_req *held[HELD_MAX];
    size_t nheld;
    struct cairn_task answer;
};

static inline struct scripted_peer *scripted_peer_of(struct cairn_rpc_req *rq)
{
    return rq->target->ctx;
}

/* scripted_router.c */
extern cairn_rpc_handler *const scripted_router_handlers[32];
/* On the cluster's loop: scripted_cluster_answer_opens(). */
void scripted_answer_opens(void *cluster);

/* scripted_faults.c */
/* What is to become of a request that came now. */
enum scripted_fault scripted_fault_of(struct scripted_peer *n);
/* True: that is all that becomes of @rq. */
bool scripted_misbehaves(struct cairn_rpc_req *rq, enum scripted_fault fault);
/* True: it means another namespace than the one that is there, and was told so. */
bool scripted_means_another(struct cairn_rpc_req *rq);
/* It gets no answer, unless it is canceled. */
void scripted_hold(struct cairn_rpc_req *rq);
/* With what @fault does to answers. */
void scripted_reply(struct cairn_rpc_req *rq, enum scripted_fault fault, int rc, const ProtobufCMessage *m,
                    const struct iovec *p);
uint32_t scripted_ns_id(const struct scripted_peer *n);

#endif
