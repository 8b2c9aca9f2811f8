/* Uploads: values that come in parts, as far as they are there. A part is a region that no record names yet; what keeps
 * it from being garbage is that it stands here. One table for all workers, under a mutex: a client that lost its
 * connection may go on with another worker, and a call for each 256 MiB can afford it.
 *
 * An upload ends by COMMIT, by ABORT, or when nothing came for a while: then the reaper (upload_reap.c) removes its
 * parts. It is in memory only; after a crash the sweeper removes them. */
#ifndef CAIRN_SERVER_ROUTER_UPLOAD_H
#define CAIRN_SERVER_ROUTER_UPLOAD_H

#include "server/router/router_internal.h"

enum { UPLOAD_COMMIT = UINT32_MAX }; /* op->upload_part of the operation that commits */

int router_uploads_init(struct cairn_router *r);
void router_uploads_fini(struct cairn_router *r);
void router_uploads_status(struct cairn_router *r, json_t *to);

/* ---- for operations: who has op->upload holds it; router_op_end() lets go of it ---- */

/* A place for part @number of @len bytes, in an upload that may be new. Returns 0, or with op->err's text
 *   CAIRN_E_INVAL   no such part can be
 *   CAIRN_E_EXISTS  it is there, or on its way
 *   CAIRN_E_STATE   the upload is being committed
 *   CAIRN_E_LIMIT   too many uploads, or bytes in them
 *   CAIRN_E_NOMEM */
int router_upload_part(struct router_op *op, uint64_t id, uint32_t number, uint64_t len);
/* The part is region @region now. False: the upload was aborted meanwhile; the region is the caller's to remove. */
bool router_upload_keep(struct router_op *op, uint64_t region);
/* Takes all parts for COMMIT: op->regions. Returns 0, or with op->err's text
 *   CAIRN_E_NOTFOUND  there is no such upload of this user in this namespace (any more)
 *   CAIRN_E_STATE     it is being committed, or parts are on their way
 *   CAIRN_E_INVAL     it does not have these parts, or not this length
 *   CAIRN_E_NOMEM */
int router_upload_commit(struct router_op *op, uint64_t id, uint32_t parts, uint64_t length);
/* Takes all parts away: op->old. CAIRN_E_NOTFOUND, CAIRN_E_STATE, CAIRN_E_NOMEM as above. */
int router_upload_abort(struct router_op *op, uint64_t id);
/* A part that did not come is forgotten; an upload that was committed is gone, one that was not may be tried again. */
void router_upload_leave(struct router_op *op);

/* ---- for others ---- */

/* The parts of a namespace that was removed are of no use. */
void router_uploads_expire(struct cairn_router *r, uint32_t ns);
/* Calls fn() for the region of each part in @target. */
void router_uploads_each(struct cairn_router *r, const struct cairn_rpc_target *target,
                         void (*fn)(void *arg, uint64_t region), void *arg);

/* What the reaper takes out of the table. */
struct router_expired {
    const struct cairn_rpc_target *extent;
    uint64_t *ids; /* malloc'ed */
    uint32_t nids;
    char ns[CAIRN_NAME_BYTES_MAX + 1];
};
/* One whose time is over at @now_ns: true. Otherwise *next_ns is when the next one's is, UINT64_MAX if there is
 * none. */
bool router_uploads_take_expired(struct cairn_router *r, uint64_t now_ns, struct router_expired *x, uint64_t *next_ns);

/* upload_reap.c */
int router_reap_init(struct cairn_router *r);
/* Any worker: some upload's time has become shorter. */
void router_reap_wake(struct cairn_router *r);
/* At home: ends it, then the sweeper; then @done runs. */
void router_reap_quiesce(struct cairn_router *r, void (*done)(void *arg), void *arg);
void router_reap_free(struct cairn_router *r);

#endif
