/* A slot is emptied: the mark that it is no use; records by the index; sessions. One of which nothing is here, as most
 * are that are copied to, gets the mark alone. A job of store_job.c. */
#include "server/cluster/service/store_job.h"

#include <stdlib.h>

enum { LIST_ROWS = 1000 };

enum { WIPE_MARK, WIPE_INDEX, WIPE_SESSIONS, WIPE_OVER };

/* Keys of rows, each behind its length. */
static int rows_take(struct store_job *j, const Cairn__Wire__KvListReply *m)
{
    size_t len = 0;
    uint8_t *rows;

    for (size_t i = 0; i < m->n_keys; i++)
        len += 2 + m->keys[i].len;
    rows = realloc(j->rows, len + 1);
    if (rows == NULL)
        return CAIRN_E_NOMEM;
    j->rows = rows;
    j->rows_len = len;
    j->rows_at = 0;
    j->rows_are_last = !m->more;
    for (size_t i = 0; i < m->n_keys; i++) {
        rows[0] = (uint8_t)m->keys[i].len;
        rows[1] = (uint8_t)(m->keys[i].len >> 8);
        memcpy(rows + 2, m->keys[i].data, m->keys[i].len);
        rows += 2 + m->keys[i].len;
    }
    return 0;
}

static void on_listed(struct cairn_rpc_call *call)
{
    struct store_job *j = call->arg;
    int rc = call->rc;

    if (!store_call_over(j->st))
        return;
    if (rc == 0)
        rc = rows_take(j, (const Cairn__Wire__KvListReply *)call->reply);
    if (rc == 0 && j->rows_len == 0)
        j->step++;
    if (rc != 0)
        store_job_pause(j, rc);
    else
        store_job_plan(j);
}

static void list_start(struct store_job *j)
{
    store_be32(j->prefix, j->s->slot);
    cairn__wire__kv_list__init(&j->list);
    j->list.db = j->step == WIPE_INDEX ? j->st->index_db : j->st->session_db;
    j->list.prefix = (ProtobufCBinaryData){ .len = sizeof(j->prefix), .data = j->prefix };
    j->list.max = LIST_ROWS;
    cairn_sm_move(&j->sm, JOB_LIST);
    store_call(j->st, &j->call, CAIRN__WIRE__KV_METHOD__KV_LIST, &j->list.base, on_listed, j, &j->err);
}

/* Erases the row at @row, and the record that it is of. CAIRN_E_STATE: its namespace has to be opened. */
static int erase_row(struct store_job *j, const uint8_t *row, size_t len, uint32_t *ns)
{
    const struct store_ns *x;
    int rc = 0;

    if (j->step == WIPE_INDEX && len > STORE_INDEX_HEAD_BYTES) {
        *ns = store_get_be32(row + STORE_SLOT_BYTES);
        x = store_ns_find(j->st, *ns);
        if (x == NULL)
            return CAIRN_E_STATE;
        if (x->db != 0)
            rc = store_batch_add(&j->batch, x->db, NULL, 0, row + STORE_INDEX_HEAD_BYTES, len - STORE_INDEX_HEAD_BYTES,
                                 NULL, -1, false);
    }
    if (rc != 0)
        return rc;
    return store_batch_add(&j->batch, j->step == WIPE_INDEX ? j->st->index_db : j->st->session_db, row, len, NULL, 0,
                           NULL, -1, false);
}

static void erase_rows(struct store_job *j)
{
    uint32_t ns = 0;
    int rc = 0;

    store_batch_reset(&j->batch);
    for (size_t at = 0; at < j->rows_len && rc == 0;) {
        size_t len = j->rows[at] | (size_t)j->rows[at + 1] << 8;

        rc = erase_row(j, j->rows + at + 2, len, &ns);
        at += 2 + len;
    }
    if (rc == CAIRN_E_STATE) {
        store_job_open(j, ns, false, false);
    } else if (rc != 0) {
        store_job_pause(j, rc);
    } else {
        j->rows_len = 0; /* if that fails the batch is written again */
        store_job_write(j, j->step, CAIRN__WIRE__DURABILITY__DURABILITY_MEMORY);
    }
}

static void mark(struct store_job *j)
{
    store_batch_reset(&j->batch);
    if (store_batch_at(&j->batch, j->st->at_db, j->s->slot, (struct cairn_at){ 0 }, true) != 0)
        store_job_pause(j, CAIRN_E_NOMEM);
    else if (j->bare)
        store_job_write(j, WIPE_OVER, CAIRN__WIRE__DURABILITY__DURABILITY_MEMORY);
    else
        store_job_write(j, WIPE_INDEX, CAIRN__WIRE__DURABILITY__DURABILITY_SYNC);
}

void store_job_plan_wipe(struct store_job *j)
{
    if (j->step == WIPE_OVER) {
        store_job_done(j);
    } else if (j->step == WIPE_MARK) {
        mark(j);
    } else if (j->rows_len > 0) {
        erase_rows(j);
    } else {
        list_start(j);
    }
}

void cluster_store_wipe(struct cluster_store *st, struct store_slot *s)
{
    struct store_job *j = store_job_new(st, s, JOB_WIPE);

    CAIRN_ASSERT(!s->in_batch);
    if (j == NULL)
        return;
    j->bare = s->bare && s->next == 1;
    cairn_list_del(&s->link);
    s->next = 1;
    s->to = s->looks_to = 0;
    s->hold_until_ns = 0;
    if (!j->bare)
        store_known_forget(st->known);
}
