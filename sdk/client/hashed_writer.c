/* A value that is written piece by piece: see cairn/hashed.h. Two halves of memory: one is being filled while the
 * other is sent as a part (hashed_writer_half.c).
 *
 * A write that waits fills and sums up on its caller's thread, so that the loop is kept from nothing. What does not
 * wait, and every commit, is a step on the loop, in slices:
 *
 *   FILLING ---> SETTLING ---> COMMITTING ---> DONE
 *   FILLING ---> DONE       COMMITTING ---> ABORTING ---> DONE
 *   SETTLING ---> ABORTING       FILLING ---> FAILED       ABORTING ---> FAILED
 *
 * FILLING     bytes are being copied, or wait for a half to be sent.
 * SETTLING    of a commit or an abort: nothing more is begun; parts are still on their way.
 * COMMITTING  every part is there; the node has been asked to make them one value.
 * ABORTING    no part is on its way; the node has been asked to forget them.
 * DONE, FAILED  the step is over; the writer is gone, unless the step was a write. */
#include "sdk/client/hashed_writer.h"
#include "sdk/core/base/log.h"

#include <stdlib.h>

enum { STEP_FILLING, STEP_SETTLING, STEP_COMMITTING, STEP_ABORTING, STEP_DONE, STEP_FAILED, STEP_NR };

#define TO CAIRN_SM_TO
static const struct cairn_sm_state step_states[STEP_NR] = {
    [STEP_FILLING] = { "FILLING", CAIRN_SM_INITIAL, TO(STEP_SETTLING) | TO(STEP_DONE) | TO(STEP_FAILED) },
    [STEP_SETTLING] = { "SETTLING", 0, TO(STEP_COMMITTING) | TO(STEP_ABORTING) },
    [STEP_COMMITTING] = { "COMMITTING", 0, TO(STEP_DONE) | TO(STEP_ABORTING) },
    [STEP_ABORTING] = { "ABORTING", 0, TO(STEP_DONE) | TO(STEP_FAILED) },
    [STEP_DONE] = { "DONE", CAIRN_SM_FINAL, 0 },
    [STEP_FAILED] = { "FAILED", CAIRN_SM_FINAL | CAIRN_SM_FAILURE, 0 },
};

enum { WRITER_SLICE_BYTES = 4 << 20 }; /* copied at a time on the loop: below 1 ms */

static bool step_invariant(const struct cairn_sm *sm)
{
    const struct cairn_writer *w = CONTAINER_OF(sm, const struct cairn_writer, sm);
    bool running = w->half[0].running || w->half[1].running;

    return CAIRN_HOLDS(sm->state == STEP_FILLING || w->goal != GOAL_WRITE || cairn_sm_is_final(sm)) &&
           CAIRN_HOLDS(sm->state < STEP_COMMITTING || w->goal == GOAL_WRITE || !running) &&
           CAIRN_HOLDS(sm->state != STEP_COMMITTING || w->rc == 0) &&
           CAIRN_HOLDS(sm->state != STEP_DONE || w->goal == GOAL_ABORT || (w->rc == 0 && w->left == 0));
}

const struct cairn_sm_kind cairn_writer_step_kind = { "writer-step", step_states, STEP_NR, step_invariant, 120000 };

int cairn_writer_open(struct cairn_ns *ns, const void *key, size_t key_len, uint64_t length,
                      const struct cairn_call_options *o, struct cairn_writer **out)
{
    struct cairn_writer *w;
    int rc;

    *out = NULL;
    if (length > CAIRN_VALUE_BYTES_MAX)
        return cairn__refuse(o, CAIRN_E_TOOBIG, "a value has at most %llu bytes",
                             (unsigned long long)CAIRN_VALUE_BYTES_MAX);
    w = calloc(1, sizeof(*w));
    if (w == NULL)
        return cairn__refuse(o, CAIRN_E_NOMEM, "no memory for a writer");
    rc = cairn__stream_init(&w->s, ns, key, key_len, o);
    if (rc != 0) {
        free(w);
        return rc;
    }
    w->length = length;
    w->upload = cairn_env_random(&ns->h.c->loop.env);
    for (uint32_t i = 0; i < WRITER_HALVES; i++)
        w->half[i].w = w;
    *out = w;
    return 0;
}

static void writer_free(struct cairn_writer *w)
{
    for (uint32_t i = 0; i < WRITER_HALVES; i++)
        free(w->half[i].buf);
    cairn__stream_fini(&w->s);
    free(w);
}

/* ---- steps on the loop ---- */

/* The step is over, and with it the writer unless it was a write. */
static void step_over(struct cairn_call *call, int rc)
{
    struct cairn_writer *w = call->out;

    cairn_sm_move_or_fail(&w->sm, STEP_DONE, STEP_FAILED, rc);
    cairn_sm_fini(&w->sm);
    cairn__stream_over(&w->s, 0);
    if (w->goal != GOAL_WRITE)
        writer_free(w);
    cairn__call_finish(call, rc);
}

static void step_on_aborted(void *arg, int rc)
{
    struct cairn_call *call = arg;
    struct cairn_writer *w = call->out;

    (void)rc; /* the node removes them later, then */
    step_over(call, w->goal == GOAL_COMMIT ? w->rc : 0);
}

static void step_abort(struct cairn_call *call)
{
    struct cairn_writer *w = call->out;

    cairn_sm_move(&w->sm, STEP_ABORTING);
    if (w->parts == 0 || cairn__abort_start(w->s.ns, w->s.key, w->s.key_len, w->upload, step_on_aborted, call) != 0)
        step_on_aborted(call, 0);
}

/* The parts went with the node that led. Whoever leads now and says INVAL has looked for the COMMIT's number before: it
 * was not done, nor will be, and can be tried as a whole. */
static int commit_outcome(struct cairn_call *call)
{
    const struct cairn_route *route = &call->route;
    int rc = call->rpc.rc;

    if (route->unsure && (rc == CAIRN_E_MOVED || rc == CAIRN_E_NOTFOUND))
        return cairn_err_set(&call->err, CAIRN_E_UNKNOWN,
                             "it may have been done: the node that had its parts is not there to say so");
    if (rc == CAIRN_E_INVAL)
        return cairn_err_set(&call->err, CAIRN_E_BUSY,
                             "it was not done, and the node that leads does not have its parts: write it once more");
    if (rc == CAIRN_E_MOVED)
        call->err.code = rc = CAIRN_E_BUSY;
    return rc;
}

static void step_committed(struct cairn_call *call)
{
    struct cairn_writer *w = call->out;

    w->rc = call->rpc.rc;
    if (call->route.on)
        w->rc = commit_outcome(call);
    if (w->rc == 0)
        step_over(call, 0);
    else
        step_abort(call); /* finds nothing if the commit was tried at all */
}

static void step_commit(struct cairn_call *call)
{
    struct cairn_writer *w = call->out;
    struct cairn__commit commit = { .upload = w->upload,
                                    .home = &w->home,
                                    .parts = w->parts,
                                    .length = w->total,
                                    .if_absent = (cairn__flags(&w->s.o) & CAIRN_IF_ABSENT) != 0 };

    cairn_sm_move(&w->sm, STEP_COMMITTING);
    cairn__commit_request(call, w->s.ns, w->s.key, w->s.key_len, &commit);
    call->error = w->s.o.error;
    call->deadline_ns = cairn_loop_now(&call->c->loop) + call->timeout_ns; /* the parts had theirs */
    call->answered = step_committed;
    cairn__call_send(call);
}

static void step_settle(struct cairn_call *call)
{
    struct cairn_writer *w = call->out;

    for (uint32_t i = 0; i < WRITER_HALVES; i++) {
        if (!cairn__half_is_back(&w->half[i], call))
            return;
    }
    if (w->rc == 0 && call->canceled)
        w->rc = cairn__refuse(&w->s.o, CAIRN_E_CANCELED, "canceled");
    if (w->goal == GOAL_COMMIT && w->rc == 0)
        step_commit(call);
    else
        step_abort(call);
}

static void step_next(struct cairn_call *call)
{
    struct cairn_writer *w = call->out;
    struct cairn__half *h;

    if (w->sm.state == STEP_SETTLING) {
        step_settle(call);
        return;
    }
    if (w->rc == 0 && call->canceled)
        w->rc = cairn__refuse(&w->s.o, CAIRN_E_CANCELED, "canceled");
    if (w->left == 0 || w->rc != 0) {
        step_over(call, w->rc);
        return;
    }
    h = cairn__half_to_fill(w);
    if (h != NULL && !cairn__half_is_back(h, call))
        return;
    if (w->rc == 0 && cairn__half_fill(h, WRITER_SLICE_BYTES))
        cairn__half_send(h, NULL); /* its checksums are computed by and by */
    cairn__call_later(call);
}

static void step_begin(struct cairn_call *call)
{
    struct cairn_writer *w = call->out;
    struct cairn__half *h = &w->half[w->filling];

    cairn_sm_init(&w->sm, &cairn_writer_step_kind, &call->c->loop.machines);
    if (w->goal != GOAL_WRITE) {
        if (w->goal == GOAL_COMMIT && w->rc == 0 && h->len > 0)
            cairn__half_send(h, NULL);
        cairn_sm_move(&w->sm, STEP_SETTLING);
    }
    call->next = step_next;
    cairn__call_later(call); /* nothing may end inside the call that started it */
}

/* If this fails and *@started (may be NULL) did not become true, the writer is as before. */
static int step_start(struct cairn_writer *w, enum goal goal, const void *buf, size_t len, cairn_done_fn *done,
                      void *arg, bool *started)
{
    struct cairn_call *call;
    int rc = cairn__call_new(w->s.ns->h.c, &w->s.ns->h, &w->s.o, done, arg, &call);

    if (rc != 0)
        return cairn__stream_over(&w->s, rc);
    w->goal = goal;
    w->from = buf;
    w->left = len;
    call->out = w;
    call->error = NULL; /* what fails before the commit has written its text */
    call->sees_errors = true;
    call->next = step_begin;
    if (started != NULL)
        *started = true;
    return cairn__call_go(call);
}

/* ---- the calls ---- */

int cairn_writer_write(struct cairn_writer *w, const void *buf, size_t len)
{
    struct cairn__half *h;
    int rc;

    if (cairn__is_inside(w->s.ns->h.c))
        return cairn__refuse(&w->s.o, CAIRN_E_STATE, "a callback cannot wait for a writer");
    rc = cairn__stream_step(&w->s, NULL, NULL);
    if (rc != 0)
        return rc;
    w->from = buf;
    w->left = len;
    while (w->left > 0 && w->rc == 0) {
        h = cairn__half_to_fill(w);
        if (h == NULL)
            break;
        cairn__half_wait(h); /* before its buffer may change */
        if (w->rc == 0 && cairn__half_fill(h, SIZE_MAX))
            cairn__half_sum_and_send(h);
    }
    return cairn__stream_over(&w->s, w->rc);
}

int cairn_writer_write_async(struct cairn_writer *w, const void *buf, size_t len, cairn_done_fn *done, void *arg)
{
    int rc = done != NULL ? cairn__stream_step(&w->s, NULL, NULL) : CAIRN_E_INVAL;

    if (rc == 0 && w->rc != 0)
        rc = cairn__stream_over(&w->s, w->rc);
    return rc == 0 ? step_start(w, GOAL_WRITE, buf, len, done, arg, NULL) : rc;
}

static void writer_on_put(void *arg, int rc)
{
    struct cairn_writer *w = arg;
    cairn_done_fn *done = w->s.done;
    void *done_arg = w->s.arg;

    cairn__stream_over(&w->s, 0);
    writer_free(w);
    done(done_arg, rc);
}

/* The value is in one half: one request is enough. */
static int writer_put_async(struct cairn_writer *w)
{
    struct cairn__half *h = &w->half[w->filling];
    int rc = cairn_put_async(w->s.ns, w->s.key, w->s.key_len, h->buf, h->len, &w->s.o, writer_on_put, w);

    return rc == 0 ? 0 : cairn__stream_over(&w->s, rc);
}

int cairn_writer_commit(struct cairn_writer *w)
{
    struct cairn__half *h = &w->half[w->filling];
    bool gone = false;
    int rc;

    if (cairn__is_inside(w->s.ns->h.c))
        return cairn__refuse(&w->s.o, CAIRN_E_STATE, "a callback cannot wait for a writer");
    rc = cairn__stream_step(&w->s, NULL, NULL);
    if (rc != 0)
        return rc;
    if (w->rc == 0 && w->parts == 0) {
        rc = cairn_put(w->s.ns, w->s.key, w->s.key_len, h->buf, h->len, &w->s.o);
        cairn__stream_over(&w->s, 0);
        writer_free(w);
        return rc;
    }
    if (w->rc == 0 && h->len > 0)
        cairn__half_sum_and_send(h);
    for (uint32_t i = 0; i < WRITER_HALVES; i++)
        cairn__half_wait(&w->half[i]);
    rc = w->rc != 0 ? cairn__stream_over(&w->s, w->rc) : step_start(w, GOAL_COMMIT, NULL, 0, NULL, NULL, &gone);
    if (!gone)
        cairn_writer_abort(w);
    return rc;
}

int cairn_writer_commit_async(struct cairn_writer *w, cairn_done_fn *done, void *arg)
{
    int rc = done != NULL ? cairn__stream_step(&w->s, done, arg) : CAIRN_E_INVAL;

    if (rc != 0)
        return rc;
    if (w->rc == 0 && w->parts == 0)
        return writer_put_async(w);
    return step_start(w, GOAL_COMMIT, NULL, 0, done, arg, NULL);
}

void cairn_writer_abort(struct cairn_writer *w)
{
    if (w == NULL)
        return;
    if (cairn__is_inside(w->s.ns->h.c) || cairn__stream_step(&w->s, NULL, NULL) != 0) {
        cairn_log_error("cairn_writer_abort() inside a callback of the same client, or during a step: ignored");
        return;
    }
    for (uint32_t i = 0; i < WRITER_HALVES; i++)
        cairn__half_wait(&w->half[i]);
    if (w->parts > 0)
        /* else the node removes them later */
        (void)cairn__abort_start(w->s.ns, w->s.key, w->s.key_len, w->upload, NULL, NULL);
    cairn__stream_over(&w->s, 0);
    writer_free(w);
}

int cairn_writer_abort_async(struct cairn_writer *w, cairn_done_fn *done, void *arg)
{
    int rc = done != NULL ? cairn__stream_step(&w->s, NULL, NULL) : CAIRN_E_INVAL;

    return rc == 0 ? step_start(w, GOAL_ABORT, NULL, 0, done, arg, NULL) : rc;
}
