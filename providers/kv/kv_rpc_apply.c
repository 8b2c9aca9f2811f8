/* APPLY: puts and erases in several databases, as one. Keys and values stay where the request has them; what is made
 * here says what is to be done with each. */
#include "providers/kv/kv_internal.h"

/* Fills entries[i]; false if @rq was answered. */
static bool entry_make(struct cairn_rpc_req *rq, const Cairn__Wire__KvApply *m, size_t i, struct cairn_kv_entry *e)
{
    int rc;

    if (!kv_find(rq, m->dbs[i], &e->db))
        return false;
    rc = cairn_kv_key_check(e->db.order, &m->keys[i]);
    if (UNLIKELY(rc != 0)) {
        kv_reply_bad_key(rq, &e->db, rc, i);
        return false;
    }
    e->erase = m->lengths[i] < 0;
    e->len = e->erase ? 0 : (uint32_t)m->lengths[i];
    e->if_absent = m->n_if_absent > 0 && m->if_absent[i];
    return true;
}

void kv_handle_apply(struct cairn_rpc_req *rq)
{
    const Cairn__Wire__KvApply *m = (const Cairn__Wire__KvApply *)rq->msg;
    struct cairn_kv_entry *entries;
    struct cairn_kv_write w = {
        .keys = m->keys,
        .n = (uint32_t)m->n_keys,
        .erase = m->n_keys > 0,
        .decided = m->decided,
        .coming = m->coming,
        .durability = (uint32_t)m->durability,
    };
    int rc = cairn_kv_apply_check(m, rq->payload_len);

    if (rc != 0) {
        cairn_rpc_reply_err(rq, rc,
                            "%zu databases, keys and %zu lengths for %u bytes of values; at most %d entries, %d bytes",
                            m->n_dbs, m->n_lengths, rq->payload_len, CAIRN_BATCH_MAX, CAIRN_KV_APPLY_BYTES_MAX);
        return;
    }
    if (m->decided && !cairn_rpc_req_is_own(rq)) {
        cairn_rpc_reply_err(rq, CAIRN_E_DENIED, "what a log has decided, the node that has the log applies itself");
        return;
    }
    entries = cairn_arena_alloc(&rq->arena, MAX(w.n, 1U) * sizeof(entries[0]));
    if (entries == NULL) {
        cairn_rpc_reply(rq, CAIRN_E_NOMEM, NULL, NULL, 0);
        return;
    }
    for (uint32_t i = 0; i < w.n; i++) {
        if (!entry_make(rq, m, i, &entries[i]))
            return;
        w.erase &= entries[i].erase;
        w.if_absent |= cairn_kv_entry_is_conditional(&entries[i]);
    }
    w.entries = entries;
    kv_write_many(rq, &w);
}
