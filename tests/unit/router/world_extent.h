/** The extent service of a world: regions in memory, with checksums as a provider would tell them. */
#ifndef CAIRN_TEST_ROUTER_WORLD_EXTENT_H
#define CAIRN_TEST_ROUTER_WORLD_EXTENT_H

#include "world_kv.h"

static struct region *region_find(struct world *w, uint64_t id)
{
    for (uint32_t i = 0; i < w->nregions; i++) {
        if (w->regions[i].id == id)
            return &w->regions[i];
    }
    return NULL;
}

static uint64_t region_add(struct world *w, const uint8_t *bytes, uint64_t len, uint64_t owner)
{
    assert_true(w->nregions < REGIONS_MAX);
    w->regions[w->nregions++] = (struct region){
        .id = ++w->next_region, .owner = owner, .bytes = w->hollow ? NULL : copy_of(bytes, len), .len = len
    };
    return w->next_region;
}

static uint32_t crc_of_chunks(const uint8_t *p, uint64_t off, uint64_t len, uint32_t *crcs)
{
    uint32_t n = 0;

    for (uint64_t at = off; at < off + len;) {
        uint64_t next = MIN((at / CAIRN_EXTENT_CHUNK_BYTES + 1) * CAIRN_EXTENT_CHUNK_BYTES, off + len);

        crcs[n++] = cairn_crc32c(0, p + (at - off), next - at);
        at = next;
    }
    return n;
}

static void extent_put(struct world *w, struct cairn_rpc_req *rq)
{
    const Cairn__Wire__ExtentPut *m = (const Cairn__Wire__ExtentPut *)rq->msg;
    Cairn__Wire__ExtentId reply = CAIRN__WIRE__EXTENT_ID__INIT;
    const uint8_t *from = m->bulk != NULL ? (const uint8_t *)(uintptr_t)m->bulk->addr + m->bulk->off : rq->payload;
    uint32_t crcs[64];

    if (w->extent_volatile && m->durability != CAIRN__WIRE__DURABILITY__DURABILITY_MEMORY) {
        cairn_rpc_reply(rq, CAIRN_E_UNSUPPORTED, NULL, NULL, 0);
        return;
    }
    assert_true(m->length > 0 && (w->hollow || m->length <= REGION));
    assert_true(m->bulk != NULL ? m->bulk->off + m->length <= m->bulk->len : rq->payload_len == m->length);
    if (w->hollow) {
        reply.id = region_add(w, NULL, m->length, m->owner);
        cairn_rpc_reply(rq, 0, &reply.base, NULL, 0);
        return;
    }
    assert_int_equal(m->n_crcs, crc_of_chunks(from, 0, m->length, crcs));
    if (memcmp(crcs, m->crcs, m->n_crcs * sizeof(crcs[0])) != 0) {
        cairn_rpc_reply(rq, CAIRN_E_CORRUPT, NULL, NULL, 0);
        return;
    }
    reply.id = region_add(w, from, m->length, m->owner);
    cairn_rpc_reply(rq, 0, &reply.base, NULL, 0);
}

static void extent_read(struct world *w, struct cairn_rpc_req *rq)
{
    const Cairn__Wire__ExtentRead *m = (const Cairn__Wire__ExtentRead *)rq->msg;
    Cairn__Wire__ExtentReadReply reply = CAIRN__WIRE__EXTENT_READ_REPLY__INIT;
    const struct region *r = region_find(w, m->id);
    uint32_t crcs[64];
    struct iovec iov;

    assert_true(m->bulk != NULL || m->verify); /* the caller gets no checksums with a payload */
    if (r == NULL) {
        cairn_rpc_reply(rq, CAIRN_E_NOTFOUND, NULL, NULL, 0);
        return;
    }
    reply.length = m->off < r->len ? MIN(m->length, r->len - m->off) : 0;
    reply.crcs = crcs;
    reply.n_crcs = crc_of_chunks(r->bytes + m->off, m->off, reply.length, crcs);
    iov = (struct iovec){ .iov_base = r->bytes + m->off, .iov_len = reply.length };
    if (m->bulk != NULL) {
        assert_true(m->bulk->off + reply.length <= m->bulk->len);
        memcpy((uint8_t *)(uintptr_t)m->bulk->addr + m->bulk->off, iov.iov_base, iov.iov_len);
    }
    cairn_rpc_reply(rq, 0, &reply.base, &iov, m->bulk != NULL ? 0 : 1);
}

static void extent_remove(struct world *w, struct cairn_rpc_req *rq)
{
    const Cairn__Wire__ExtentRemove *m = (const Cairn__Wire__ExtentRemove *)rq->msg;
    Cairn__Wire__KvStatuses reply = CAIRN__WIRE__KV_STATUSES__INIT;
    int32_t statuses[CAIRN_BATCH_MAX];

    assert_true(m->n_ids <= CAIRN_BATCH_MAX);
    for (size_t i = 0; i < m->n_ids; i++) {
        struct region *r = region_find(w, m->ids[i]);

        statuses[i] = r != NULL ? w->remove_rc : CAIRN_E_NOTFOUND;
        if (statuses[i] != 0) {
            reply.status = statuses;
            reply.n_status = m->n_ids;
            continue;
        }
        free(r->bytes);
        w->nregions--;
        memmove(r, r + 1, (size_t)(&w->regions[w->nregions] - r) * sizeof(*r));
    }
    cairn_rpc_reply(rq, 0, &reply.base, NULL, 0);
}

static void extent_list(struct world *w, struct cairn_rpc_req *rq)
{
    const Cairn__Wire__ExtentList *m = (const Cairn__Wire__ExtentList *)rq->msg;
    Cairn__Wire__ExtentListReply reply = CAIRN__WIRE__EXTENT_LIST_REPLY__INIT;
    uint64_t ids[8], owners[8]; /* short pages */

    reply.ids = ids;
    reply.owners = owners;
    for (uint32_t i = 0; i < w->nregions; i++) {
        if (w->regions[i].id <= m->after)
            continue;
        if (reply.n_ids == ARRAY_SIZE(ids)) {
            reply.more = true;
            break;
        }
        owners[reply.n_ids] = w->regions[i].owner;
        ids[reply.n_ids++] = w->regions[i].id;
    }
    reply.n_owners = w->no_owners ? 0 : reply.n_ids;
    cairn_rpc_reply(rq, 0, &reply.base, NULL, 0);
}

static void extent_serve(struct world *w, struct cairn_rpc_req *rq, uint32_t method)
{
    switch (method) {
    case CAIRN__WIRE__EXTENT_METHOD__EXTENT_PUT:
        extent_put(w, rq);
        break;
    case CAIRN__WIRE__EXTENT_METHOD__EXTENT_READ:
        extent_read(w, rq);
        break;
    case CAIRN__WIRE__EXTENT_METHOD__EXTENT_REMOVE:
        extent_remove(w, rq);
        break;
    case CAIRN__WIRE__EXTENT_METHOD__EXTENT_LIST:
        extent_list(w, rq);
        break;
    default:
        fail_msg("extent method %u is not expected", method);
    }
}

#endif
