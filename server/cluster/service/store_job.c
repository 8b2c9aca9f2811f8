/* A copy at its target, in the provider: what was there is wiped, pages are put, all of it is sealed.
 *
 *  PLAN ---> WRITE ---> PLAN        PLAN ---> LIST ---> PLAN        PLAN ---> OPEN ---> PLAN        PLAN ---> FLUSH ---> PLAN
 *
 *  WRITE, LIST, OPEN and FLUSH may also go to PAUSE; PAUSE to PLAN. PLAN may also go to PAUSE and DONE; all but DONE may also
 *  go to ENDED.
 *
 *  PLAN   what is to be done next is decided.
 *  WRITE  a batch is under way.
 *  LIST   rows that are to go are listed.
 *  OPEN   the database of a namespace is being opened.
 *  FLUSH  what was written is being made durable.
 *  PAUSE  something has failed and is tried again: each step may be done twice.
 *  DONE   the replica is told.      ENDED  the store ends before.
 *
 * A wipe marks the slot first, durably; whatever comes after a crash is no use then, until a seal takes the mark away. */
#include "server/cluster/repl/sessions_image.h"
#include "server/cluster/service/store_page.h"

#include <stdlib.h>

enum { JOB_PLAN, JOB_WRITE, JOB_LIST, JOB_OPEN, JOB_FLUSH, JOB_PAUSE, JOB_DONE, JOB_ENDED, JOB_NR };
enum { LIST_ROWS = 1000, ROW_KEY_ROOM = CAIRN_KEY_BYTES_MAX };

struct store_job {
    struct cairn_sm sm;
    struct cairn_link link;
    struct cluster_store *st;
    struct store_slot *s;
    enum { JOB_WIPE, JOB_PUT, JOB_SEAL } kind;
    uint32_t step; /* of the kind's steps: those below are done */
    int rc;        /* of a put that is refused */
    struct store_batch batch;
    bool built;
    uint32_t built_step; /* once the batch is written */
    struct store_open open;
    /* wipe: rows of the index whose namespace is not open yet */
    uint8_t *rows;
    size_t rows_len, rows_at;
    bool rows_are_last;
    uint8_t prefix[STORE_SLOT_BYTES];
    uint8_t *page; /* put */
    uint32_t page_len;
    struct cairn_at at; /* seal */
    struct cairn_sessions sessions;
    uint32_t session, write; /* that are sealed next */
    Cairn__Wire__KvList list;
    struct cairn_rpc_call call;
    struct cairn_err err;
    struct cairn_timer timer;
    struct cairn_task task;
};

#define TO   CAIRN_SM_TO
#define BACK (TO(JOB_PLAN) | TO(JOB_PAUSE) | TO(JOB_ENDED))
static const struct cairn_sm_state job_states[JOB_NR] = {
    [JOB_PLAN] = { "PLAN", CAIRN_SM_INITIAL,
                   TO(JOB_WRITE) | TO(JOB_LIST) | TO(JOB_OPEN) | TO(JOB_FLUSH) | TO(JOB_PAUSE) | TO(JOB_DONE) |
                       TO(JOB_ENDED) },
    [JOB_WRITE] = { "WRITE", 0, BACK },
    [JOB_LIST] = { "LIST", 0, BACK },
    [JOB_OPEN] = { "OPEN", 0, BACK },
    [JOB_FLUSH] = { "FLUSH", 0, BACK },
    [JOB_PAUSE] = { "PAUSE", 0, TO(JOB_PLAN) | TO(JOB_ENDED) },
    [JOB_DONE] = { "DONE", CAIRN_SM_FINAL, 0 },
    [JOB_ENDED] = { "ENDED", CAIRN_SM_FINAL, 0 },
};

static bool job_invariant(const struct cairn_sm *sm)
{
    const struct store_job *j = CONTAINER_OF(sm, const struct store_job, sm);

    return CAIRN_HOLDS(sm->state != JOB_WRITE || (j->built && j->batch.n > 0)) &&
           CAIRN_HOLDS(sm->state != JOB_LIST || j->kind == JOB_WIPE) &&
           CAIRN_HOLDS(sm->state != JOB_FLUSH || (j->kind == JOB_SEAL && !j->built)) &&
           CAIRN_HOLDS(sm->state != JOB_DONE || !j->built);
}

const struct cairn_sm_kind store_job_kind = { "store-job", job_states, JOB_NR, job_invariant, 0 };

static void job_free(struct store_job *j)
{
    cairn_sm_fini(&j->sm);
    cairn_timer_stop(&j->st->loop->env, &j->timer);
    cairn_task_cancel(&j->task);
    cairn_list_del(&j->link);
    cairn_sessions_fini(&j->sessions);
    store_batch_fini(&j->batch);
    free(j->rows);
    free(j->page);
    free(j);
}

void store_jobs_free(struct cluster_store *st)
{
    CAIRN_LIST_FOREACH_SAFE (l, &st->jobs) {
        struct store_job *j = CONTAINER_OF(l, struct store_job, link);

        cairn_sm_move(&j->sm, JOB_ENDED);
        job_free(j);
    }
}

/* ---- steps ---- */

static void plan(void *arg);

static void plan_next(struct store_job *j)
{
    cairn_sm_move(&j->sm, JOB_PLAN);
    plan(j);
}

static void on_pause_over(void *arg)
{
    plan_next(arg);
}

static void job_pause(struct store_job *j, int rc)
{
    struct cairn_env *env = &j->st->loop->env;

    cairn_sm_move(&j->sm, JOB_PAUSE);
    if (!store_may_retry(rc))
        store_die(j->st, rc, j->err.text);
    else if (cairn_timer_start(env, &j->timer, cairn_env_now_ns(env) + STORE_RETRY_MS * CAIRN_NS_PER_MS) != 0)
        store_die(j->st, CAIRN_E_NOMEM, "no timer");
}

static void job_done(struct store_job *j)
{
    const struct cluster_store_ops *ops = j->st->conf.ops;
    struct store_slot *s = j->s;
    int kind = (int)j->kind, rc = j->rc;

    cairn_sm_move(&j->sm, JOB_DONE);
    s->job = NULL;
    job_free(j);
    if (kind == JOB_WIPE)
        ops->wiped(s);
    else if (kind == JOB_PUT)
        ops->put(s, rc);
    else
        ops->sealed(s);
}

static void on_written(struct cairn_rpc_call *call)
{
    struct store_job *j = call->arg;

    if (!store_call_over(j->st))
        return;
    if (call->rc == CAIRN_E_NOTFOUND) { /* a namespace was removed: from the beginning of the step */
        store_ns_forget(j->st);
        j->built = false;
        job_pause(j, CAIRN_E_BUSY);
    } else if (call->rc == CAIRN_E_NOSPACE && j->kind == JOB_PUT) {
        j->built = false;
        j->rc = call->rc;
        j->step = j->built_step;
        plan_next(j);
    } else if (call->rc != 0) {
        job_pause(j, call->rc);
    } else {
        j->built = false;
        j->step = j->built_step;
        plan_next(j);
    }
}

/* The batch is what brings the job to @step. */
static void write_start(struct store_job *j, uint32_t step, Cairn__Wire__Durability durability)
{
    store_batch_end(&j->batch, durability);
    j->built = true;
    j->built_step = step;
    cairn_sm_move(&j->sm, JOB_WRITE);
    store_call_batch(j->st, &j->call, &j->batch, on_written, j, &j->err);
}

static void write_again(struct store_job *j)
{
    cairn_sm_move(&j->sm, JOB_WRITE);
    store_call_batch(j->st, &j->call, &j->batch, on_written, j, &j->err);
}

static void on_opened(struct store_open *o, int rc)
{
    struct store_job *j = o->arg;

    j->err = o->err;
    if (rc == CAIRN_E_NOTFOUND && j->kind == JOB_WIPE)
        rc = store_ns_add(j->st, o->id, 0); /* it was removed, and its records with it */
    if (rc != 0)
        job_pause(j, rc);
    else
        plan_next(j);
}

static void open_start(struct store_job *j, uint32_t ns, bool create, bool write_once)
{
    cairn_sm_move(&j->sm, JOB_OPEN);
    store_open_start(&j->open, j->st, ns, create, write_once, on_opened, j);
}

/* ---- a wipe: the mark; records by the index; sessions ---- */

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
        job_pause(j, rc);
    else
        plan_next(j);
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
        open_start(j, ns, false, false);
    } else if (rc != 0) {
        job_pause(j, rc);
    } else {
        j->rows_len = 0; /* if that fails the batch is written again */
        write_start(j, j->step, CAIRN__WIRE__DURABILITY__DURABILITY_MEMORY);
    }
}

static void plan_wipe(struct store_job *j)
{
    if (j->step == WIPE_OVER) {
        job_done(j);
    } else if (j->step != WIPE_MARK) {
        if (j->rows_len > 0)
            erase_rows(j);
        else
            list_start(j);
    } else {
        store_batch_reset(&j->batch);
        if (store_batch_at(&j->batch, j->st->at_db, j->s->slot, (struct cairn_at){ 0 }, true) != 0)
            job_pause(j, CAIRN_E_NOMEM);
        else
            write_start(j, WIPE_INDEX, CAIRN__WIRE__DURABILITY__DURABILITY_SYNC);
    }
}

/* ---- a page ---- */

static int put_record(struct store_job *j, const struct store_page_record *r, uint32_t db)
{
    uint8_t head[STORE_INDEX_HEAD_BYTES];
    int rc = store_batch_add(&j->batch, db, NULL, 0, r->key, r->key_len, r->record, (int64_t)r->record_len, false);

    if (rc != 0)
        return rc;
    store_be32(head, j->s->slot);
    store_be32(head + 4, r->ns);
    return store_batch_add(&j->batch, j->st->index_db, head, sizeof(head), r->key, r->key_len, r->index,
                           STORE_INDEX_VALUE_BYTES, false);
}

static void plan_put(struct store_job *j)
{
    struct store_page_record r = { 0 };
    const struct store_ns *ns = NULL;
    uint32_t at = 0;
    int rc = 0;

    if (j->step > 0) {
        job_done(j);
        return;
    }
    store_batch_reset(&j->batch);
    while (rc == 0 && at < j->page_len) {
        rc = store_page_next(j->page, j->page_len, &at, &r);
        if (rc != 0) {
            j->rc = rc;
            break;
        }
        ns = store_ns_find(j->st, r.ns);
        if (ns == NULL) {
            open_start(j, r.ns, true, (r.index[0] & STORE_BODY_WRITE_ONCE) != 0);
            return;
        }
        if (ns->gone)
            continue;
        rc = ns->db == 0 || j->batch.n >= CAIRN_BATCH_MAX - 1 ? CAIRN_E_INVAL : put_record(j, &r, ns->db);
        if (rc == CAIRN_E_INVAL)
            j->rc = rc;
    }
    if (rc != 0 && j->rc == 0) {
        job_pause(j, rc);
    } else if (j->rc != 0 || j->batch.n == 0) {
        job_done(j);
    } else {
        write_start(j, 1, CAIRN__WIRE__DURABILITY__DURABILITY_MEMORY);
    }
}

/* ---- a seal: sessions, the position, and all of it on disk ---- */

enum { SEAL_SESSIONS, SEAL_AT, SEAL_FLUSH, SEAL_OVER };

static int seal_session(struct store_job *j)
{
    const struct cairn_session *x = &j->sessions.all[j->session];
    int rc = j->write == 0 ? store_batch_session(&j->batch, j->st->session_db, j->s->slot, x->id, x->floor) : 0;

    while (rc == 0 && j->write < x->nwrites && j->batch.n < STORE_BATCH_OPS) {
        rc = store_batch_write(&j->batch, j->st->session_db, j->s->slot, x->id, &x->writes[j->write], x->floor);
        j->write += rc == 0;
    }
    if (rc == 0 && j->write == x->nwrites) {
        j->session++;
        j->write = 0;
    }
    return rc;
}

static void plan_sessions(struct store_job *j)
{
    int rc = 0;

    store_batch_reset(&j->batch);
    while (rc == 0 && j->session < j->sessions.n && j->batch.n < STORE_BATCH_OPS)
        rc = seal_session(j);
    if (rc == 0 && j->session == j->sessions.n) {
        j->step = SEAL_AT;
        rc = store_batch_at(&j->batch, j->st->at_db, j->s->slot, j->at, false);
    }
    if (rc != 0) {
        j->session = j->write = 0;
        j->step = SEAL_SESSIONS;
        job_pause(j, rc);
        return;
    }
    write_start(j, j->step == SEAL_AT ? SEAL_FLUSH : SEAL_SESSIONS, CAIRN__WIRE__DURABILITY__DURABILITY_MEMORY);
}

static void on_flushed(struct cairn_rpc_call *call)
{
    struct store_job *j = call->arg;

    if (!store_call_over(j->st))
        return;
    if (call->rc != 0 && call->rc != CAIRN_E_UNSUPPORTED) {
        job_pause(j, call->rc);
        return;
    }
    j->step = SEAL_OVER;
    plan_next(j);
}

static void plan_seal(struct store_job *j)
{
    static const Cairn__Wire__Empty empty = CAIRN__WIRE__EMPTY__INIT;

    if (j->step == SEAL_OVER) {
        job_done(j);
    } else if (j->step == SEAL_FLUSH) {
        cairn_sm_move(&j->sm, JOB_FLUSH);
        store_call(j->st, &j->call, CAIRN__WIRE__KV_METHOD__KV_FLUSH, &empty.base, on_flushed, j, &j->err);
    } else {
        plan_sessions(j);
    }
}

/* ---- all ---- */

static void plan(void *arg)
{
    static void (*const by_kind[])(struct store_job * j) = { plan_wipe, plan_put, plan_seal };
    struct store_job *j = arg;

    if (j->st->stopping)
        return;
    if (j->built)
        write_again(j);
    else
        by_kind[j->kind](j);
}

/* From a later task: nothing comes back within the call that asked. */
static struct store_job *job_new(struct cluster_store *st, struct store_slot *s, int kind)
{
    struct store_job *j = calloc(1, sizeof(*j));

    CAIRN_ASSERT(s->job == NULL);
    if (j == NULL) {
        store_die(st, CAIRN_E_NOMEM, "no memory for a copy");
        return NULL;
    }
    j->st = st;
    j->s = s;
    j->kind = (uint32_t)kind;
    s->job = j;
    cairn_sessions_init(&j->sessions);
    cairn_timer_init(&j->timer, on_pause_over, j);
    cairn_task_init(&j->task, plan, j);
    cairn_list_add_tail(&st->jobs, &j->link);
    cairn_sm_init(&j->sm, &store_job_kind, &st->loop->machines);
    cairn_env_defer(&st->loop->env, &j->task);
    return j;
}

void cluster_store_wipe(struct cluster_store *st, struct store_slot *s)
{
    CAIRN_ASSERT(!s->in_batch);
    cairn_list_del(&s->link);
    s->next = 1;
    s->to = 0;
    s->hold_until_ns = 0;
    job_new(st, s, JOB_WIPE);
}

void cluster_store_put(struct cluster_store *st, struct store_slot *s, const uint8_t *page, uint32_t len)
{
    struct store_job *j = job_new(st, s, JOB_PUT);

    if (j == NULL)
        return;
    j->page = malloc(len + 1);
    j->page_len = len;
    if (j->page != NULL && len > 0)
        memcpy(j->page, page, len);
    if (j->page == NULL) {
        j->page_len = 0;
        j->rc = CAIRN_E_NOMEM;
    }
}

void cluster_store_seal(struct cluster_store *st, struct store_slot *s, struct cairn_at at, const uint8_t *sessions,
                        size_t len)
{
    struct store_job *j = job_new(st, s, JOB_SEAL);

    if (j == NULL)
        return;
    j->at = at;
    s->next = at.pos + 1;
    s->to = at.pos;
    if (cairn_sessions_image_get(&j->sessions, at.pos, sessions, len) != 0) /* the replica has read it already */
        store_die(st, CAIRN_E_NOMEM, "no memory for the sessions of a copy");
}
