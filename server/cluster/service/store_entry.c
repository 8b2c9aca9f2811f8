/* What an entry does: its rows in the batch that store_apply.c makes. */
#include "server/cluster/service/store_internal.h"

/* The record, and its row of the index unless that is there as it is to be: who put the record is of no interest where
 * sessions know what was done. */
static int add_record(struct cluster_store *st, const struct store_slot *s, const struct cairn_log_entry *e,
                      const struct store_body *b, uint32_t db, bool if_absent)
{
    uint8_t head[STORE_INDEX_HEAD_BYTES], value[STORE_INDEX_VALUE_BYTES];
    struct store_batch *batch = &st->apply.batch;
    bool erase = b->op == STORE_ERASE;
    bool is_usual = b->op == STORE_PUT && !(b->flags & STORE_BODY_WRITE_ONCE) && e->rid.session.pos != 0;
    int rc = 0;

    /* What is there need not be readable, and a write-once database looks at it, and keeps it, otherwise. */
    if (b->op == STORE_REPAIR || (!erase && e->at.pos <= s->looks_to))
        rc = store_batch_add(batch, db, NULL, 0, b->key, b->key_len, NULL, -1, false);
    if (rc == 0)
        rc = store_batch_add(batch, db, NULL, 0, b->key, b->key_len, b->record, erase ? -1 : (int64_t)b->record_len,
                             if_absent);
    if (rc != 0)
        return rc;
    store_be32(head, s->slot);
    store_be32(head + 4, b->ns);
    value[0] = b->flags & STORE_BODY_WRITE_ONCE;
    cairn_le_store64(value + 1, e->rid.session.pos == 0 ? e->rid.seq : 0);
    if (is_usual && store_known_add(st->known, head, b->key, b->key_len))
        return 0;
    if (!is_usual)
        store_known_drop(st->known, head, b->key, b->key_len);
    return store_batch_add(batch, st->index_db, head, sizeof(head), b->key, b->key_len, value,
                           erase ? -1 : (int64_t)sizeof(value), if_absent);
}

/* What a WRITE does to the records; its result if that is known, or the operation that will tell. */
static enum store_added add_write(struct cluster_store *st, struct store_slot *s, const struct cairn_log_entry *e,
                                  struct store_result *res, struct store_body *b, uint32_t *db, int *rc)
{
    struct store_apply *a = &st->apply;
    const struct store_ns *ns;
    bool conditional;

    *rc = 0;
    res->result = store_body_get(e->body, e->body_len, b);
    if (res->result != 0)
        return STORE_ADDED;
    ns = store_ns_find(st, b->ns);
    if (ns == NULL)
        return STORE_TO_OPEN;
    *db = ns->db;
    if (ns->db == 0) {
        res->result = CAIRN_E_STATE;
        return STORE_ADDED;
    }
    conditional = b->op == STORE_PUT && b->flags != 0;
    a->reads |= conditional && e->at.pos > s->looks_to;
    if (conditional && (e->rid.session.pos != 0 || e->at.pos <= s->looks_to)) {
        if (a->looked.s != s || a->looked.pos != e->at.pos || !a->looked.known || a->batch.n > 0)
            return STORE_TO_LOOK;
        res->result = a->looked.result;
        if (!a->looked.puts)
            return STORE_ADDED;
        conditional = false;
    }
    if (conditional)
        res->op = (int32_t)a->batch.n;
    *rc = add_record(st, s, e, b, *db, conditional);
    return STORE_ADDED;
}

bool store_entry_has_position(const struct cairn_log_entry *e)
{
    return e->kind == CAIRN_ENTRY_WRITE && e->rid.session.pos != 0;
}

enum store_added store_entry_add(struct cluster_store *st, struct store_slot *s, const struct cairn_log_entry *e,
                                 struct store_body *b, uint32_t *db)
{
    struct store_apply *a = &st->apply;
    struct store_batch_mark mark = store_batch_mark(&a->batch);
    struct store_result *res = &a->results[a->nresults];
    enum store_added how = STORE_ADDED;
    int rc = 0;

    *res = (struct store_result){ .s = s, .pos = e->at.pos, .op = -1 };
    if (e->kind == CAIRN_ENTRY_OPEN)
        rc = store_batch_session(&a->batch, st->session_db, s->slot, e->at, 1);
    else if (e->kind == CAIRN_ENTRY_EXPIRE)
        rc = store_batch_expire(&a->batch, st->session_db, s->slot, e->rid.session,
                                st->conf.ops->newest(s, e->rid.session));
    else if (e->kind == CAIRN_ENTRY_WRITE)
        how = add_write(st, s, e, res, b, db, &rc);
    if (how == STORE_ADDED && rc == 0 && store_entry_has_position(e)) {
        struct cairn_session_write w = { .seq = e->rid.seq, .pos = e->at.pos, .result = res->result };

        rc = store_batch_write(&a->batch, st->session_db, s->slot, e->rid.session, &w, e->at.epoch, e->floor);
    }
    if (how == STORE_ADDED && rc == 0) {
        a->nresults++;
        return STORE_ADDED;
    }
    store_batch_undo(&a->batch, mark);
    if (rc != 0)
        store_known_forget(st->known);
    return how == STORE_ADDED ? STORE_NO_ROOM : how;
}
