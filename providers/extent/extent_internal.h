/** The extent provider from inside: what its operations share. */
#ifndef CAIRN_PROVIDERS_EXTENT_INTERNAL_H
#define CAIRN_PROVIDERS_EXTENT_INTERNAL_H

#include "providers/extent/extent_move.h"
#include "providers/extent/extent_store.h"
#include "server/port/provider.h"

struct cairn_extent_scrub;

struct cairn_extent_provider {
    struct cairn_extent_store *store;
    struct cairn_extent_scrub *scrub; /* NULL unless it runs */
    char name[64], dir[4096];
};

static inline struct cairn_extent_provider *cairn_extent__provider(const struct cairn_rpc_req *rq)
{
    return rq->target->ctx;
}
static inline struct cairn_extent_worker *cairn_extent__worker(const struct cairn_rpc_req *rq)
{
    return cairn_extent_store_worker(cairn_extent__provider(rq)->store, cairn_rpc_loop(rq->rpc));
}

/** Answers with @rc and a text that names the region. */
void cairn_extent__fail(struct cairn_rpc_req *rq, int rc, uint64_t id);
/** True if the bytes of a write are there as announced: in the payload, or in the memory that @desc names, with as many
 * checksums as chunks; otherwise @rq is answered. */
bool cairn_extent__check_write(struct cairn_rpc_req *rq, uint64_t len, const Cairn__Wire__BulkDesc *desc, size_t ncrcs);
/** True if a region of that length may be; otherwise @rq is answered. */
bool cairn_extent__check_length(struct cairn_rpc_req *rq, uint64_t len);

/* One file each. The request is well-formed as far as a decoder can tell. */
void cairn_extent__create(struct cairn_rpc_req *rq);  /* extent_create.c */
void cairn_extent__write(struct cairn_rpc_req *rq);   /* extent_write.c */
void cairn_extent__persist(struct cairn_rpc_req *rq); /* extent_persist.c */
void cairn_extent__put(struct cairn_rpc_req *rq);     /* extent_put.c */
void cairn_extent__read(struct cairn_rpc_req *rq);    /* extent_read.c */
void cairn_extent__remove(struct cairn_rpc_req *rq);  /* extent_remove.c */
void cairn_extent__verify(struct cairn_rpc_req *rq);  /* extent_read.c: SCRUB of one region */

extern cairn_rpc_handler *const cairn_extent__handlers[];
extern const struct cairn_sm_kind cairn_extent_create_kind, cairn_extent_write_kind, cairn_extent_persist_kind,
    cairn_extent_put_kind, cairn_extent_read_kind, cairn_extent_remove_kind, cairn_extent_scrub_kind;

/* extent_scrub.c */

/** Starts going through all sealed regions at the configured rate, on worker 0. */
int cairn_extent__scrub_start(struct cairn_extent_provider *p);
/** Ends it; @done runs later on the same loop. */
void cairn_extent__scrub_stop(struct cairn_extent_provider *p, void (*done)(void *arg), void *arg);
/** The report of SCRUB, into @rq's answer. */
void cairn_extent__scrub_report(struct cairn_rpc_req *rq);

#endif
