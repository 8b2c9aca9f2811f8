/* Changes of an elected one: see writes.h. */
#include "server/cluster/service/writes.h"

#include <string.h>

/* Of a change: what one more write may take with it, beside() included; and what beside() may weigh. */
enum { NEXT_MAX = 3, BESIDE_BYTES_MAX = 16 << 10 };

static const struct cairn_sm_state writes_states[CAIRN_WRITES_NR] = {
    [CAIRN_WRITES_IDLE] = { "IDLE", CAIRN_SM_INITIAL | CAIRN_SM_RESTING,
                            CAIRN_SM_TO(CAIRN_WRITES_WRITING) | CAIRN_SM_TO(CAIRN_WRITES_ENDED) },
    [CAIRN_WRITES_WRITING] = { "WRITING", 0,
                               CAIRN_SM_TO(CAIRN_WRITES_IDLE) | CAIRN_SM_TO(CAIRN_WRITES_CHECKING) |
                                   CAIRN_SM_TO(CAIRN_WRITES_PAUSING) },
    [CAIRN_WRITES_CHECKING] = { "CHECKING", 0,
                                CAIRN_SM_TO(CAIRN_WRITES_IDLE) | CAIRN_SM_TO(CAIRN_WRITES_WRITING) |
                                    CAIRN_SM_TO(CAIRN_WRITES_PAUSING) },
    [CAIRN_WRITES_PAUSING] = { "PAUSING", 0,
                               CAIRN_SM_TO(CAIRN_WRITES_WRITING) | CAIRN_SM_TO(CAIRN_WRITES_CHECKING) |
                                   CAIRN_SM_TO(CAIRN_WRITES_IDLE) },
    [CAIRN_WRITES_ENDED] = { "ENDED", CAIRN_SM_FINAL, 0 },
};

static bool writes_invariant(const struct cairn_sm *sm)
{
    const struct cairn_writes *ws = CONTAINER_OF(sm, const struct cairn_writes, sm);
    bool under_way =
        sm->state == CAIRN_WRITES_WRITING || sm->state == CAIRN_WRITES_CHECKING || sm->state == CAIRN_WRITES_PAUSING;

    return CAIRN_HOLDS(under_way == (ws->nbatch > 0)) && /* what is sent again is the same change */
           CAIRN_HOLDS(sm->state != CAIRN_WRITES_WRITING || ws->refused == 0) &&
           CAIRN_HOLDS(sm->state != CAIRN_WRITES_ENDED || cairn_list_is_empty(&ws->queue));
}

const struct cairn_sm_kind cairn_writes_kind = { "map-writes", writes_states, CAIRN_WRITES_NR, writes_invariant,
                                                 60000 };

static struct cairn_env *env_of(const struct cairn_writes *ws)
{
    return ws->store->home.env;
}

static void batch_write(struct cairn_writes *ws);
static void batch_check(struct cairn_writes *ws);

static void go_on(struct cairn_writes *ws)
{
    if (!ws->closing && !ws->broken && ws->sm.state == CAIRN_WRITES_IDLE && !cairn_list_is_empty(&ws->queue))
        cairn_env_defer(env_of(ws), &ws->task);
}

/* The batch is over: @rc 0 with its revision. It is under way until the last was told, for who is told may end the
 * term: then the rest mean nothing to anybody, and closed() comes behind them. */
static void batch_end(struct cairn_writes *ws, int rc, uint64_t revision)
{
    if (ws->closing) /* nobody is there to whom it would mean something */
        rc = CAIRN_E_CLOSED;
    ws->refused = 0;
    for (uint32_t i = 0; rc == 0 && i < ws->nbatch; i++)
        ws->batch[i]->stored(ws->batch[i], revision);
    if (rc == 0 && revision != 0)
        ws->upto(ws, revision);
    ws->telling = true;
    for (uint32_t i = 0; i < ws->nbatch; i++)
        ws->batch[i]->done(ws->batch[i], ws->closing ? CAIRN_E_CLOSED : rc);
    ws->telling = false;
    ws->nbatch = 0;
    cairn_sm_move(&ws->sm, CAIRN_WRITES_IDLE);
    if (ws->closing) {
        ws->closing = false;
        ws->closed(ws);
        return;
    }
    go_on(ws);
}

/* It may still be done, or may have been: nothing is known any more, so nothing is said of it. */
static void batch_break(struct cairn_writes *ws, int rc, const struct cairn_err *err)
{
    struct cairn_err why = *err;

    ws->broken = !ws->closing;
    batch_end(ws, CAIRN_E_CLOSED, 0);
    if (ws->broken)
        ws->failed(ws, rc, &why);
}

static void batch_pause(struct cairn_writes *ws)
{
    if (ws->closing) {
        batch_end(ws, CAIRN_E_CLOSED, 0);
        return;
    }
    if (cairn_timer_start(env_of(ws), &ws->timer,
                          cairn_env_now_ns(env_of(ws)) + CAIRN_WRITES_RETRY_MS * CAIRN_NS_PER_MS) != 0) {
        struct cairn_err err;

        cairn_err_set(&err, CAIRN_E_NOMEM, "a timer");
        batch_break(ws, CAIRN_E_NOMEM, &err);
        return;
    }
    cairn_sm_move(&ws->sm, CAIRN_WRITES_PAUSING);
}

static void on_timer(void *arg)
{
    struct cairn_writes *ws = arg;

    if (ws->refused != 0)
        batch_check(ws);
    else
        batch_write(ws);
}

/* Nothing was done, and nothing is wrong that time does not mend. */
static bool may_come_again(int rc)
{
    return rc == CAIRN_E_UNREACHABLE || rc == CAIRN_E_TIMEOUT || rc == CAIRN_E_BUSY || rc == CAIRN_E_NOMEM;
}

static const struct cairn_write *witness(const struct cairn_writes *ws)
{
    for (uint32_t i = 0; i < ws->nbatch; i++) {
        if (ws->batch[i]->value != NULL)
            return ws->batch[i];
    }
    return ws->batch[0];
}

static void leave_beside(struct cairn_writes *ws)
{
    ws->has_beside = false;
    ws->nwrites--;
    ws->beside(ws, NULL, 0, NULL);
}

static void on_checked(struct cairn_map_op *op)
{
    struct cairn_writes *ws = op->arg;
    const struct cairn_write *w = witness(ws);
    const struct cairn_map_node *n = op->rc == 0 ? cairn_map_table_at(&ws->read.table, w->key) : NULL;
    uint64_t changed = n != NULL ? n->e.changed : 0;
    bool ours = w->value == NULL ? op->rc == 0 && n == NULL
                                 : n != NULL && changed != w->from && n->e.value_len == w->len &&
                                       memcmp(n->e.value, w->value, w->len) == 0;
    int refused = ws->refused;

    cairn_map_table_fini(&ws->read.table);
    if (op->rc != 0 && (ws->closing || may_come_again(op->rc))) {
        batch_pause(ws);
    } else if (op->rc != 0) {
        batch_break(ws, op->rc, &op->err);
    } else if (ours || ws->closing) {
        batch_end(ws, 0, changed);
    } else if (changed == w->from && (refused == CAIRN_E_UNKNOWN || ws->has_beside)) {
        if (refused != CAIRN_E_UNKNOWN) /* somebody may have erased what is beside it, which ends no term */
            leave_beside(ws);
        ws->refused = 0; /* not yet; if it is done after all, the same change will be refused, and then read */
        batch_write(ws);
    } else {
        cairn_err_set(&op->err, CAIRN_E_STATE, "%s was changed by another", w->key);
        batch_break(ws, CAIRN_E_STATE, &op->err);
    }
}

static void batch_check(struct cairn_writes *ws)
{
    ws->read = (struct cairn_map_read){ .op = { .done = on_checked, .arg = ws, .timeout_ms = CAIRN_WRITES_TIMEOUT_MS },
                                        .prefix = witness(ws)->key };
    cairn_sm_move(&ws->sm, CAIRN_WRITES_CHECKING);
    cairn_map_store_read(ws->store, &ws->read);
}

static void on_changed(struct cairn_map_op *op)
{
    struct cairn_writes *ws = op->arg;

    switch (op->rc) {
    case 0:
        batch_end(ws, 0, op->revision);
        break;
    case CAIRN_E_UNKNOWN:
    case CAIRN_E_STATE:
    case CAIRN_E_EXISTS:
    case CAIRN_E_NOTFOUND:
        ws->refused = op->rc;
        batch_check(ws);
        break;
    default:
        if (ws->closing || may_come_again(op->rc))
            batch_pause(ws);
        else
            batch_break(ws, op->rc, &op->err);
        break;
    }
}

static void batch_write(struct cairn_writes *ws)
{
    ws->change = (struct cairn_map_change){
        .op = { .done = on_changed, .arg = ws, .timeout_ms = CAIRN_WRITES_TIMEOUT_MS },
        .writes = ws->writes,
        .nwrites = ws->nwrites,
    };
    if (!cairn_election_fence(ws->election, &ws->change)) {
        struct cairn_err err;

        cairn_err_set(&err, CAIRN_E_DENIED, "no longer elected");
        batch_break(ws, CAIRN_E_DENIED, &err);
        return;
    }
    cairn_sm_move(&ws->sm, CAIRN_WRITES_WRITING);
    cairn_map_store_change(ws->store, NULL, &ws->change);
}

/* No key twice in one change: the second waits for the next. */
static bool is_in_batch(const struct cairn_writes *ws, const char *key)
{
    for (uint32_t i = 0; i < ws->nbatch; i++) {
        if (strcmp(ws->batch[i]->key, key) == 0)
            return true;
    }
    return false;
}

static void on_task(void *arg)
{
    struct cairn_writes *ws = arg;
    size_t bytes = 0;

    if (ws->sm.state != CAIRN_WRITES_IDLE || ws->broken || !cairn_election_is_valid(ws->election))
        return; /* whoever is not elected any more is about to close */
    ws->nwrites = 0;
    while (ws->nwrites + NEXT_MAX <= CAIRN_MAP_WRITES_MAX && !cairn_list_is_empty(&ws->queue)) {
        struct cairn_write *w = CONTAINER_OF(ws->queue.next, struct cairn_write, link);

        bytes += w->len + (w->also != NULL ? w->also->value_len : 0);
        if (bytes > CAIRN_MAP_CHANGE_BYTES_MAX - BESIDE_BYTES_MAX || is_in_batch(ws, w->key))
            break;
        cairn_list_del(&w->link);
        ws->nqueued--;
        ws->writes[ws->nwrites++] =
            (struct cairn_map_write){ .key = w->key, .value = w->value, .value_len = w->len, .from = w->from };
        if (w->also != NULL)
            ws->writes[ws->nwrites++] = *w->also;
        ws->batch[ws->nbatch++] = w;
    }
    if (ws->nbatch == 0)
        return;
    ws->has_beside = ws->beside != NULL && ws->beside(ws, ws->batch, ws->nbatch, &ws->writes[ws->nwrites]);
    ws->nwrites += ws->has_beside;
    batch_write(ws);
}

void cairn_writes_init(struct cairn_writes *ws)
{
    cairn_list_init(&ws->queue);
    ws->nqueued = ws->nbatch = 0;
    ws->refused = 0;
    ws->closing = ws->broken = ws->telling = false;
    cairn_timer_init(&ws->timer, on_timer, ws);
    cairn_task_init(&ws->task, on_task, ws);
    cairn_sm_init(&ws->sm, &cairn_writes_kind, ws->store->home.machines);
}

void cairn_writes_fini(struct cairn_writes *ws)
{
    cairn_task_cancel(&ws->task);
    cairn_sm_move(&ws->sm, CAIRN_WRITES_ENDED);
    cairn_sm_fini(&ws->sm);
}

void cairn_writes_add(struct cairn_writes *ws, struct cairn_write *w)
{
    cairn_list_add_tail(&ws->queue, &w->link);
    ws->nqueued++;
    go_on(ws);
}

bool cairn_writes_close(struct cairn_writes *ws)
{
    struct cairn_link *l;

    ws->broken = false;
    ws->closing = ws->sm.state != CAIRN_WRITES_IDLE;
    while ((l = cairn_list_pop(&ws->queue)) != NULL) {
        struct cairn_write *w = CONTAINER_OF(l, struct cairn_write, link);

        ws->nqueued--;
        w->done(w, CAIRN_E_CLOSED);
    }
    if (ws->sm.state == CAIRN_WRITES_PAUSING && !ws->telling) {
        cairn_timer_stop(env_of(ws), &ws->timer);
        ws->closing = false;
        batch_end(ws, CAIRN_E_CLOSED, 0);
    }
    return !ws->closing;
}
