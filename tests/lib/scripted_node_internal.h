/* What the files of the scripted node share: scripted_node.c has its life, scripted_node_router.c what it answers. */
#ifndef CAIRN_TESTS_SCRIPTED_NODE_INTERNAL_H
#define CAIRN_TESTS_SCRIPTED_NODE_INTERNAL_H

#include "sdk/core/bulk/bulk.h"
#include "sdk/core/rpc/accept.h"
#include "sdk/core/rpc/peer.h"
#include "tests/lib/scratch.h"
#include "tests/lib/scripted_node.h"
#include "tests/lib/scripted_values.h"

#include <pthread.h>

enum { HELD_MAX = 20000 };

struct scripted_node {
    struct scripted_knobs knobs;
    char dir[SCRATCH_MAX], address[128], workspace_file[128];
    pthread_t thread;
    bool running;
    struct cairn_loop loop;
    struct cairn_rpc *rpc, *workers[1];
    struct cairn_rpc_target targets[4];
    struct cairn_rpc_node node;
    struct cairn_watch listener;
    struct scripted_values values;
    struct cairn_rpc_req *held[HELD_MAX];
    size_t nheld;
    uint64_t incarnation;
    bool drained;
};

static inline struct scripted_node *scripted_node_of(struct cairn_rpc_req *rq)
{
    return rq->target->ctx;
}

/* scripted_node.c */
/* True: it is told to answer nothing, and does not, unless it is canceled. */
bool scripted_node_hold(struct cairn_rpc_req *rq);
/* True: one of so many more, which are one less now. */
bool scripted_countdown(atomic_int *x);

/* scripted_node_router.c */
extern cairn_rpc_handler *const scripted_node_router[32];

#endif
