/* Requests come in: what needs no wait is answered here, the rest is handed to the operation's own file. */
#include "providers/extent/extent_internal.h"

#include <inttypes.h>

void cairn_extent__fail(struct cairn_rpc_req *rq, int rc, uint64_t id)
{
    const struct cairn_extent_store *s = cairn_extent__provider(rq)->store;
    const char *text = cairn_error_text(rc);

    if (rc == CAIRN_E_IO && cairn_extent_store_is_readonly(s))
        text = "the store is read-only after an error of the disk; see `cairn status`";
    if (id != 0)
        cairn_rpc_reply_err(rq, rc, "region %016" PRIx64 ": %s", id, text);
    else
        cairn_rpc_reply_err(rq, rc, "%s: %s", rq->target->name, text);
}

bool cairn_extent__check_length(struct cairn_rpc_req *rq, uint64_t len)
{
    const struct cairn_extent_store *s = cairn_extent__provider(rq)->store;
    uint64_t max = CAIRN_EXTENT_BYTES_MAX;

    if (s->conf.backend == CAIRN_EXTENT_FILE)
        max = MIN(max, s->conf.segment);
    if (len <= max)
        return true;
    cairn_rpc_reply_err(rq, CAIRN_E_TOOBIG, "a region of %" PRIu64 " bytes, at most %" PRIu64, len, max);
    return false;
}

bool cairn_extent__check_write(struct cairn_rpc_req *rq, uint64_t len, const Cairn__Wire__BulkDesc *desc, size_t ncrcs)
{
    if (len > CAIRN_EXTENT_BYTES_MAX) {
        cairn_rpc_reply_err(rq, CAIRN_E_TOOBIG, "%" PRIu64 " bytes in one write", len);
        return false;
    }
    if (ncrcs != cairn_extent_chunks(len)) {
        cairn_rpc_reply_err(rq, CAIRN_E_INVAL, "%zu checksums for %" PRIu64 " bytes: one for each %d bytes is needed",
                            ncrcs, len, CAIRN_EXTENT_CHUNK_BYTES);
        return false;
    }
    if (desc == NULL && rq->payload_len != len) {
        cairn_rpc_reply_err(rq, CAIRN_E_INVAL, "%" PRIu64 " bytes announced, %" PRIu32 " came", len, rq->payload_len);
        return false;
    }
    if (desc != NULL && (desc->off > desc->len || desc->len - desc->off < len || rq->payload_len != 0)) {
        cairn_rpc_reply_err(rq, CAIRN_E_INVAL, "the memory named does not hold %" PRIu64 " bytes", len);
        return false;
    }
    return true;
}

static void handle_stat(struct cairn_rpc_req *rq)
{
    const Cairn__Wire__ExtentId *msg = (const Cairn__Wire__ExtentId *)rq->msg;
    struct cairn_extent_region *r = cairn_extent_table_find(&cairn_extent__provider(rq)->store->table, msg->id);
    Cairn__Wire__ExtentStatReply reply = CAIRN__WIRE__EXTENT_STAT_REPLY__INIT;

    if (r == NULL) {
        cairn_extent__fail(rq, CAIRN_E_NOTFOUND, msg->id);
        return;
    }
    reply.length = r->length;
    reply.owner = r->owner;
    reply.sealed = atomic_load(&r->sealed);
    reply.quarantined = atomic_load(&r->quarantined);
    cairn_extent_region_put(r);
    cairn_rpc_reply(rq, 0, &reply.base, NULL, 0);
}

static void handle_list(struct cairn_rpc_req *rq)
{
    const Cairn__Wire__ExtentList *msg = (const Cairn__Wire__ExtentList *)rq->msg;
    struct cairn_extent_filter filter = { .after = msg->after, .owner = msg->owner, .quarantined = msg->quarantined };
    Cairn__Wire__ExtentListReply reply = CAIRN__WIRE__EXTENT_LIST_REPLY__INIT;
    uint32_t max = msg->max == 0 ? CAIRN_BATCH_MAX : MIN(msg->max, (uint32_t)CAIRN_BATCH_MAX);
    uint64_t *all = cairn_arena_alloc(&rq->arena, 3 * max * sizeof(all[0]));
    bool more;

    if (all == NULL) {
        cairn_rpc_reply(rq, CAIRN_E_NOMEM, NULL, NULL, 0);
        return;
    }
    reply.ids = all;
    reply.lengths = all + max;
    reply.owners = all + 2 * (size_t)max;
    reply.n_ids = reply.n_lengths = reply.n_owners = cairn_extent_table_list(
        &cairn_extent__provider(rq)->store->table, &filter, reply.ids, reply.lengths, reply.owners, max, &more,
        &reply.after);
    reply.more = more;
    cairn_rpc_reply(rq, 0, &reply.base, NULL, 0);
}

void cairn_extent__scrub_report(struct cairn_rpc_req *rq)
{
    struct cairn_extent_store *s = cairn_extent__provider(rq)->store;
    struct cairn_extent_filter filter = { .quarantined = true };
    Cairn__Wire__ExtentScrubReply reply = CAIRN__WIRE__EXTENT_SCRUB_REPLY__INIT;
    bool more;

    reply.quarantined = cairn_arena_alloc(&rq->arena, CAIRN_BATCH_MAX * sizeof(uint64_t));
    if (reply.quarantined == NULL) {
        cairn_rpc_reply(rq, CAIRN_E_NOMEM, NULL, NULL, 0);
        return;
    }
    reply.n_quarantined =
        cairn_extent_table_list(&s->table, &filter, reply.quarantined, NULL, NULL, CAIRN_BATCH_MAX, &more, NULL);
    reply.regions_checked = atomic_load(&s->scrub_regions);
    reply.bytes_checked = atomic_load(&s->scrub_bytes);
    reply.rounds = atomic_load(&s->scrub_rounds);
    cairn_rpc_reply(rq, 0, &reply.base, NULL, 0);
}

static void handle_scrub(struct cairn_rpc_req *rq)
{
    const Cairn__Wire__ExtentScrub *msg = (const Cairn__Wire__ExtentScrub *)rq->msg;

    if (msg->id == 0)
        cairn_extent__scrub_report(rq);
    else
        cairn_extent__verify(rq);
}

cairn_rpc_handler *const cairn_extent__handlers[] = {
    [CAIRN__WIRE__EXTENT_METHOD__EXTENT_CREATE] = cairn_extent__create,
    [CAIRN__WIRE__EXTENT_METHOD__EXTENT_WRITE] = cairn_extent__write,
    [CAIRN__WIRE__EXTENT_METHOD__EXTENT_PERSIST] = cairn_extent__persist,
    [CAIRN__WIRE__EXTENT_METHOD__EXTENT_PUT] = cairn_extent__put,
    [CAIRN__WIRE__EXTENT_METHOD__EXTENT_READ] = cairn_extent__read,
    [CAIRN__WIRE__EXTENT_METHOD__EXTENT_STAT] = handle_stat,
    [CAIRN__WIRE__EXTENT_METHOD__EXTENT_REMOVE] = cairn_extent__remove,
    [CAIRN__WIRE__EXTENT_METHOD__EXTENT_LIST] = handle_list,
    [CAIRN__WIRE__EXTENT_METHOD__EXTENT_SCRUB] = handle_scrub,
};
