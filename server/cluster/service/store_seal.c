/* A copy is complete: sessions, the position, and all of it on disk. A job of store_job.c. */
#include "server/cluster/repl/sessions_image.h"
#include "server/cluster/service/store_job.h"

enum { SEAL_SESSIONS, SEAL_AT, SEAL_FLUSH, SEAL_OVER };

static int seal_session(struct store_job *j)
{
    const struct cairn_session *x = &j->sessions.all[j->session];
    int rc = j->write == 0 ? store_batch_session(&j->batch, j->st->session_db, j->s->slot, x->id, x->floor) : 0;

    while (rc == 0 && j->write < x->nwrites && j->batch.n < STORE_BATCH_OPS) {
        rc = store_batch_write(&j->batch, j->st->session_db, j->s->slot, x->id, &x->writes[j->write], 0, x->floor);
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
        store_job_pause(j, rc);
        return;
    }
    store_job_write(j, j->step == SEAL_AT ? SEAL_FLUSH : SEAL_SESSIONS, CAIRN__WIRE__DURABILITY__DURABILITY_MEMORY);
}

static void on_flushed(struct cairn_rpc_call *call)
{
    struct store_job *j = call->arg;

    if (!store_call_over(j->st))
        return;
    if (call->rc != 0 && call->rc != CAIRN_E_UNSUPPORTED) {
        store_job_pause(j, call->rc);
        return;
    }
    j->step = SEAL_OVER;
    store_job_plan(j);
}

void store_job_plan_seal(struct store_job *j)
{
    static const Cairn__Wire__Empty empty = CAIRN__WIRE__EMPTY__INIT;

    if (j->step == SEAL_OVER) {
        store_job_done(j);
    } else if (j->step == SEAL_FLUSH) {
        cairn_sm_move(&j->sm, JOB_FLUSH);
        store_call(j->st, &j->call, CAIRN__WIRE__KV_METHOD__KV_FLUSH, &empty.base, on_flushed, j, &j->err);
    } else {
        plan_sessions(j);
    }
}

void cluster_store_seal(struct cluster_store *st, struct store_slot *s, struct cairn_at at, const uint8_t *sessions,
                        size_t len)
{
    struct store_job *j = store_job_new(st, s, JOB_SEAL);

    if (j == NULL)
        return;
    j->at = at;
    s->next = at.pos + 1;
    s->to = at.pos;
    if (cairn_sessions_image_get(&j->sessions, at.pos, sessions, len) != 0) /* the replica has read it already */
        store_die(st, CAIRN_E_NOMEM, "no memory for the sessions of a copy");
}
