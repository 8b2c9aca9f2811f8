/** Inside of sdk/core/fabric: the parts of a struct cairn_fabric. */
#ifndef CAIRN_CORE_FABRIC_INTERNAL_H
#define CAIRN_CORE_FABRIC_INTERNAL_H

#include "sdk/core/fabric/fabric.h"

#include <rdma/fabric.h>
#include <rdma/fi_cm.h>
#include <rdma/fi_domain.h>
#include <rdma/fi_endpoint.h>
#include <rdma/fi_errno.h>
#include <rdma/fi_rma.h>

_Static_assert(sizeof(struct fi_context2) <= sizeof(((struct cairn_fabric_op *)0)->context), "room for FI_CONTEXT2");
_Static_assert(offsetof(struct cairn_fabric_op, context) == 0, "a completion's op_context is the operation");

/* The functions that libfabric exports; all others are inline, through the objects' own tables. */
struct cairn_fabric_lib {
    __typeof__(&fi_getinfo) getinfo;
    __typeof__(&fi_freeinfo) freeinfo;
    __typeof__(&fi_dupinfo) dupinfo;
    __typeof__(&fi_fabric) fabric;
    __typeof__(&fi_strerror) strerror;
};
/** Loads libfabric the first time: blocks for 200 ms. NULL, with a text, where there is none. Any thread. */
const struct cairn_fabric_lib *cairn_fabric__lib(struct cairn_err *err);

struct cairn_fabric_mr {
    struct cairn_link link;
    struct cairn_fabric *fabric;
    struct fid_mr *fid; /* NULL once the fabric was killed */
    uint64_t key, base;
};

struct cairn_fabric {
    const struct cairn_fabric_lib *lib;
    struct fi_info *info;
    struct fid_fabric *fabric;
    struct fid_domain *domain;
    struct fid_av *av;
    struct fid_cq *cq;
    struct fid_ep *ep; /* NULL: killed */
    uint8_t addr[CAIRN_FABRIC_ADDR_BYTES_MAX];
    size_t addr_len;
    int fd; /* of the queue, and the queue's own: FI_GETWAIT */

    struct cairn_loop *loop; /* NULL: not started */
    struct cairn_watch watch;
    struct cairn_hook hook;
    struct cairn_timer retry;
    struct cairn_task deliver;
    struct cairn_link mrs;
    struct cairn_link waiting; /* posted, not accepted by the provider yet, in order */
    struct cairn_link flying;
    struct cairn_link over; /* done() is due */
    uint32_t nflying, nflying_max;
    bool agreed; /* fi_trywait has agreed, and nothing was posted or announced since: the queue needs no look */
    bool severing; /* errors are our own doing */
    struct cairn_fabric_stats stats;
};

/* fabric_op.c */
void cairn_fabric__ops_init(struct cairn_fabric *f);
/** All operations are over with CAIRN_E_CANCELED; done() is due. */
void cairn_fabric__ops_cancel(struct cairn_fabric *f);
void cairn_fabric__deliver(struct cairn_fabric *f);
/** Takes completions from the queue; done() is due. True if it may have left some. */
bool cairn_fabric__reap(struct cairn_fabric *f);

/* fabric_sever.c */
/** Makes the endpoint's connections be lost, so that it can be closed amid operations. At most 100 ms, as a rule far
 * less than one. */
void cairn_fabric__sever(struct cairn_fabric *f);

#endif
