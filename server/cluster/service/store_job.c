/* A copy at its target, in the provider: what was there is wiped, pages are put, all of it is sealed.
 *
 *  PLAN ---> WRITE ---> PLAN     PLAN ---> LIST ---> PLAN     PLAN ---> OPEN ---> PLAN     PLAN ---> FLUSH ---> PLAN
 *
 *  WRITE, LIST, OPEN and FLUSH may also go to PAUSE; PAUSE to PLAN. PLAN may also go to PAUSE and DONE; all but DONE
 *  may also go to ENDED.
 *
 *  PLAN   what is to be done next is decided.
 *  WRITE  a batch is under way.
 *  LIST   rows that are to go are listed.
 *  OPEN   the database of a namespace is being opened.
 *  FLUSH  what was written is being made durable.
 *  PAUSE  something has failed and is tried again: each step may be done twice.
 *  DONE   the replica is told.      ENDED  the store ends before.
 *
 * A wipe marks the slot first; whatever comes after a crash is no use then, until a seal takes the mark away. Where
 * there was something the mark is durable before any of it, or the log, is erased. Where there was nothing it goes
 * before the pages, as they do, without the provider's log: of such writes a crash leaves the first ones
 * (providers/kv), so no page without the mark, and without both the slot is one that was never here. What was wiped
 * keeps its mark, and has nothing until the next page.
 *
 * What a wipe cannot read (a bad block of the engine's) it cannot erase: the slot is partial then, and no use here,
 * until somebody mends the disk; all others go on. */
#include "server/cluster/service/store_job.h"
#include "server/cluster/service/store_page.h"

#include "sdk/core/base/log.h"

#include <stdlib.h>

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

void store_job_plan(struct store_job *j)
{
    cairn_sm_move(&j->sm, JOB_PLAN);
    plan(j);
}

static void on_pause_over(void *arg)
{
    store_job_plan(arg);
}

void store_job_pause(struct store_job *j, int rc)
{
    struct cairn_env *env = &j->st->loop->env;
    uint64_t ms = STORE_RETRY_MS;
    bool lists = j->sm.state == JOB_LIST;

    cairn_sm_move(&j->sm, JOB_PAUSE);
    if (lists && store_is_unreadable(rc)) {
        if (!j->said)
            cairn_log_error("slot %u: what is here of it cannot be read, so it is neither erased nor copied to: %s",
                            j->s->slot, j->err.text);
        j->said = true;
        ms = STORE_UNREADABLE_MS;
    }
    if (ms == STORE_RETRY_MS && !store_may_retry(rc))
        store_die(j->st, rc, j->err.text);
    else if (cairn_timer_start(env, &j->timer, cairn_env_now_ns(env) + ms * CAIRN_NS_PER_MS) != 0)
        store_die(j->st, CAIRN_E_NOMEM, "no timer");
}

void store_job_done(struct store_job *j)
{
    const struct cluster_store_ops *ops = j->st->conf.ops;
    struct store_slot *s = j->s;
    int kind = (int)j->kind, rc = j->rc;

    if (kind == JOB_PUT && rc != 0) {
        atomic_fetch_add(&j->st->troubles.refused, 1);
        atomic_store(&j->st->troubles.refused_ns, cairn_env_now_ns(&j->st->loop->env));
    }
    cairn_sm_move(&j->sm, JOB_DONE);
    s->job = NULL;
    s->bare = kind == JOB_WIPE;
    job_free(j);
    if (kind == JOB_WIPE)
        ops->wiped(s);
    else if (kind == JOB_PUT)
        ops->put(s, rc);
    else
        ops->sealed(s);
}

enum { PUT_PAGE, PUT_OVER };

/* There is no room for it, and hardly will be in a moment: its source keeps a view for it, and comes again later. */
static void refuse_page(struct store_job *j)
{
    j->built = false;
    j->rc = CAIRN_E_NOSPACE;
    j->step = PUT_OVER;
    store_job_plan(j);
}

static void on_written(struct cairn_rpc_call *call)
{
    struct store_job *j = call->arg;

    if (!store_call_over(j->st))
        return;
    if (call->rc == CAIRN_E_NOTFOUND) { /* a namespace was removed: from the beginning of the step */
        store_ns_forget(j->st);
        j->built = false;
        store_job_pause(j, CAIRN_E_BUSY);
    } else if (store_is_unreadable(call->rc) && j->kind == JOB_PUT && !j->erases) {
        j->erases = true; /* the page once more: then nothing is read */
        j->built = false;
        store_job_plan(j);
    } else if (call->rc == CAIRN_E_NOSPACE && j->kind == JOB_PUT) {
        refuse_page(j);
    } else if (call->rc != 0) {
        store_job_pause(j, call->rc);
    } else {
        j->built = false;
        j->step = j->built_step;
        store_job_plan(j);
    }
}

void store_job_write(struct store_job *j, uint32_t step, Cairn__Wire__Durability durability)
{
    store_batch_end(&j->batch, durability);
    j->built = true;
    j->built_step = step;
    cairn_sm_move(&j->sm, JOB_WRITE);
    store_call_batch(j->st, &j->call, &j->batch, j->kind != JOB_PUT, on_written, j, &j->err);
}

static void write_again(struct store_job *j)
{
    cairn_sm_move(&j->sm, JOB_WRITE);
    store_call_batch(j->st, &j->call, &j->batch, j->kind != JOB_PUT, on_written, j, &j->err);
}

static void on_opened(struct store_open *o, int rc)
{
    struct store_job *j = o->arg;

    j->err = o->err;
    if (rc == CAIRN_E_NOTFOUND && j->kind == JOB_WIPE)
        rc = store_ns_add(j->st, o->id, 0); /* it was removed, and its records with it */
    if (rc == CAIRN_E_NOSPACE && j->kind == JOB_PUT)
        refuse_page(j);
    else if (rc != 0)
        store_job_pause(j, rc);
    else
        store_job_plan(j);
}

void store_job_open(struct store_job *j, uint32_t ns, bool create, bool write_once)
{
    cairn_sm_move(&j->sm, JOB_OPEN);
    store_open_start(&j->open, j->st, ns, create ? STORE_MAKE : STORE_FIND, write_once, on_opened, j);
}

/* ---- a page ---- */

static int put_record(struct store_job *j, const struct store_page_record *r, uint32_t db)
{
    uint8_t head[STORE_INDEX_HEAD_BYTES];
    int rc = j->erases ? store_batch_add(&j->batch, db, NULL, 0, r->key, r->key_len, NULL, -1, false) : 0;

    if (rc == 0)
        rc = store_batch_add(&j->batch, db, NULL, 0, r->key, r->key_len, r->record, (int64_t)r->record_len, false);
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

    if (j->step == PUT_OVER) {
        store_job_done(j);
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
            store_job_open(j, r.ns, true, (r.index[0] & STORE_BODY_WRITE_ONCE) != 0);
            return;
        }
        if (ns->gone)
            continue;
        rc = ns->db == 0 || j->batch.n >= CAIRN_BATCH_MAX - 2 ? CAIRN_E_INVAL : put_record(j, &r, ns->db);
        if (rc == CAIRN_E_INVAL)
            j->rc = rc;
    }
    if (rc != 0 && j->rc == 0) {
        store_job_pause(j, rc);
    } else if (j->rc != 0 || j->batch.n == 0) {
        store_job_done(j);
    } else {
        store_job_write(j, PUT_OVER, CAIRN__WIRE__DURABILITY__DURABILITY_MEMORY);
    }
}

/* ---- all ---- */

static void plan(void *arg)
{
    static void (*const by_kind[])(struct store_job * j) = { store_job_plan_wipe, plan_put, store_job_plan_seal };
    struct store_job *j = arg;

    if (j->st->stopping)
        return;
    if (j->built)
        write_again(j);
    else
        by_kind[j->kind](j);
}

struct store_job *store_job_new(struct cluster_store *st, struct store_slot *s, int kind)
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

void cluster_store_put(struct cluster_store *st, struct store_slot *s, const uint8_t *page, uint32_t len)
{
    struct store_job *j = store_job_new(st, s, JOB_PUT);

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

bool cluster_store_is_putting(const struct store_slot *s)
{
    return s->job != NULL && s->job->kind == JOB_PUT;
}
