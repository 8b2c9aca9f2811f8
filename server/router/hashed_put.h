/* What PUT, PART, COMMIT and ABORT share: one machine (drawn in hashed_put.c), whose states hashed_put_large.c and
 * hashed_part.c enter, too. */
#ifndef CAIRN_SERVER_ROUTER_HASHED_PUT_H
#define CAIRN_SERVER_ROUTER_HASHED_PUT_H

#include "server/router/router_internal.h"

enum {
    PUT_OPEN,
    PUT_ASK,
    PUT_PULL,
    PUT_FLAG,
    PUT_STORE,
    PUT_SPREAD,
    PUT_RECORD,
    PUT_RECLAIM,
    PUT_REPLIED,
    PUT_VERIFY,
    PUT_UNDO,
    PUT_FAILED,
    PUT_NR
};

/* A PUT's request. */
static inline const Cairn__Wire__RouterPut *put_msg(const struct router_op *op)
{
    return (const Cairn__Wire__RouterPut *)op->rq->msg;
}

/* As router_op_new(), for what writes by this machine. */
struct router_op *router_put_new(struct cairn_rpc_req *rq, const char *ns, uint32_t id, const ProtobufCBinaryData *key);
/* The other nodes that hold the value fetch op->regions, if there are any; then @next with op->rc. */
void router_put_spread(struct router_op *op, router_step *next);
/* Whether the bytes that @rq announces can be there. */
int router_bytes_check(const struct cairn_rpc_req *rq, uint64_t length, const Cairn__Wire__BulkDesc *bulk, size_t ncrcs,
                       struct cairn_err *err);
/* Makes sure that all workers look at what they replace in this namespace; then @next. */
void router_put_flag(struct router_op *op, router_step *next);
/* Stores one region from the request's payload (held) or @bulk; then @next, with op->rc and, if that is 0, the region
 * in op->one. */
void router_put_store(struct router_op *op, uint64_t length, Cairn__Wire__BulkDesc *bulk, uint32_t *crcs, size_t ncrcs,
                      router_step *next);
/* A PUT whose value goes into a region. */
void router_put_large(struct router_op *op);
/* Puts @record, of @len bytes that live as long as @op, and ends @op. */
void router_put_record(struct router_op *op, const uint8_t *record, size_t len);
/* Puts the record that names op->regions, and ends @op; if it could not be put the regions are removed. */
void router_put_regions(struct router_op *op);
/* Removes op->regions and fails with op->rc. */
void router_put_undo(struct router_op *op);
/* Removes op->old and answers. */
void router_put_reclaim(struct router_op *op);
/* Answers. */
void router_put_finish(struct router_op *op);

#endif
