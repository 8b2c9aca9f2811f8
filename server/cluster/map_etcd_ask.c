/* One request to etcd, from the queue to its answer.
 *
 *  QUEUED ---> SENT ---> SETTLING ---> DONE
 *  SENT may also go to QUEUED and DONE; QUEUED and SENT may also go to FAILED.
 *
 *  QUEUED    waits for its turn, for a token, or for another endpoint; nothing of it is at a server that could still
 *            carry it out.
 *  SENT      is with an endpoint.
 *  SETTLING  a change that was made, whose caller is to find it in the view.
 *  DONE      there was an answer, be it a refusal.   FAILED  there was none. */
#include "server/cluster/map_etcd_internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define TO CAIRN_SM_TO

enum { ASK_QUEUED, ASK_SENT, ASK_SETTLING, ASK_DONE, ASK_FAILED, ASK_NR };

static const struct cairn_sm_state ask_states[ASK_NR] = {
    [ASK_QUEUED] = { "QUEUED", CAIRN_SM_INITIAL, TO(ASK_SENT) | TO(ASK_FAILED) },
    [ASK_SENT] = { "SENT", 0, TO(ASK_SETTLING) | TO(ASK_QUEUED) | TO(ASK_DONE) | TO(ASK_FAILED) },
    [ASK_SETTLING] = { "SETTLING", 0, TO(ASK_DONE) },
    [ASK_DONE] = { "DONE", CAIRN_SM_FINAL, 0 },
    [ASK_FAILED] = { "FAILED", CAIRN_SM_FINAL | CAIRN_SM_FAILURE, 0 },
};

static bool ask_invariant(const struct cairn_sm *sm)
{
    const struct etcd_ask *a = CONTAINER_OF(sm, const struct etcd_ask, sm);

    return CAIRN_HOLDS(cairn_map_http_runs(&a->http) == (sm->state == ASK_SENT)) &&
           CAIRN_HOLDS(sm->state != ASK_SETTLING || (a->kind == ASK_CHANGE && a->op->rc == 0 && a->op->revision > 0));
}

const struct cairn_sm_kind etcd_ask_kind = { "map-etcd-ask", ask_states, ASK_NR, ask_invariant, 60000 };

static struct cairn_env *env_of(const struct etcd_ask *a)
{
    return a->etcd->store.home.env;
}

static struct cairn_map_change *change_of(const struct etcd_ask *a)
{
    return CONTAINER_OF(a->op, struct cairn_map_change, op);
}

static struct cairn_map_read *read_of(const struct etcd_ask *a)
{
    return CONTAINER_OF(a->op, struct cairn_map_read, op);
}

static struct cairn_map_lease_op *lease_of(const struct etcd_ask *a)
{
    return CONTAINER_OF(a->op, struct cairn_map_lease_op, op);
}

/* ---- the end ---- */

static void ask_free(struct etcd_ask *a)
{
    cairn_timer_stop(env_of(a), &a->timer);
    cairn_list_del(&a->link);
    a->etcd->nasks--;
    if (a->kind == ASK_PROBE)
        a->etcd->probing = false;
    cairn_sm_fini(&a->sm);
    free(a->http.body);
    cairn_map_http_clear(&a->http);
    free(a->after);
    free(a);
}

static void ask_answer(struct etcd_ask *a)
{
    if (a->op != NULL && a->op->rc != 0) {
        a->op->revision = 0;
        if (a->kind == ASK_READ)
            cairn_map_table_fini(&read_of(a)->table);
    }
    if (a->op != NULL)
        cairn_map_op_answer(a->op);
    ask_free(a);
}

/* There was an answer; op->rc says which. */
static void ask_done(struct etcd_ask *a)
{
    cairn_sm_move(&a->sm, ASK_DONE);
    ask_answer(a);
}

/* @err->code says why: without an answer in time, which may be for what was asked or for the time that it was given, a
 * probe tells whether the store is there. */
static void ask_fail(struct etcd_ask *a, int rc, const struct cairn_err *err)
{
    struct etcd *e = a->etcd;
    enum etcd_ask_kind kind = a->kind;

    cairn_sm_fail(&a->sm, ASK_FAILED, rc);
    if (a->op != NULL) {
        a->op->rc = rc;
        a->op->err = *err;
        a->op->err.code = rc;
    }
    ask_answer(a);
    if (kind == ASK_LOGIN)
        etcd_login_over(e, rc, err);
    else if (kind != ASK_PROBE && err->code == CAIRN_E_TIMEOUT)
        etcd_probe(e);
    else
        etcd_bad(e, err);
}

static void ask_on_deadline(void *arg)
{
    struct etcd_ask *a = arg;
    struct etcd *e = a->etcd;
    bool sent = a->sm.state == ASK_SENT;
    struct cairn_err err = { 0 };

    if (a->sm.state == ASK_SETTLING) { /* the view comes later */
        ask_done(a);
        return;
    }
    if (sent) {
        e->nsent--;
        sent = a->http.sent;
        cairn_map_http_cancel(&a->http);
        etcd_avoid(e, a->endpoint);
    }
    cairn_err_set(&err, CAIRN_E_TIMEOUT, "%s: no answer in time", e->endpoints[a->endpoint]);
    ask_fail(a, a->kind != ASK_CHANGE ? CAIRN_E_TIMEOUT : sent ? CAIRN_E_UNKNOWN : CAIRN_E_UNREACHABLE, &err);
    etcd_asks_pump(e);
}

/* ---- an answer ---- */

/* Not served. Whoever may be asked again is; a change may as long as no server has it (@harmless). */
static void ask_again(struct etcd_ask *a, bool harmless, int rc, const struct cairn_err *err)
{
    struct etcd *e = a->etcd;

    etcd_avoid(e, a->endpoint);
    if (harmless && ++a->tries < e->nendpoints * 2 && cairn_env_now_ns(env_of(a)) < a->deadline_ns)
        cairn_sm_move(&a->sm, ASK_QUEUED);
    else
        ask_fail(a, rc, err);
}

/* The rest of a read: as long as pages come, each has its own time. */
static void ask_next_page(struct etcd_ask *a, char *last)
{
    uint64_t until = cairn_env_now_ns(env_of(a)) + a->op->timeout_ms * CAIRN_NS_PER_MS;

    free(a->after);
    a->after = last;
    if (a->http.reply_len < CAIRN_ETCD_PAGE_BYTES / 4)
        a->page = MIN(a->page * 4, (uint32_t)CAIRN_ETCD_PAGE_MAX);
    else if (a->http.reply_len > CAIRN_ETCD_PAGE_BYTES)
        a->page = MAX(a->page / 4, (uint32_t)CAIRN_ETCD_PAGE);
    a->tries = 0;
    if (cairn_timer_start(env_of(a), &a->timer, until) == 0) /* it runs: moved, it needs no memory */
        a->deadline_ns = until;
    cairn_sm_move(&a->sm, ASK_QUEUED);
}

static void ask_read_again(struct etcd_ask *a)
{
    cairn_map_table_fini(&read_of(a)->table);
    free(a->after);
    a->after = NULL;
    a->revision = 0;
    cairn_sm_move(&a->sm, ASK_QUEUED);
}

/* The last ones came first. */
static void turn_round(struct cairn_map_table *t)
{
    for (uint32_t i = 0; i < t->n / 2; i++) {
        struct cairn_map_node *n = t->nodes[i];

        t->nodes[i] = t->nodes[t->n - 1 - i];
        t->nodes[t->n - 1 - i] = n;
    }
}

static void ask_on_page(struct etcd_ask *a)
{
    struct cairn_map_read *r = read_of(a);
    struct cairn_etcd_page page;
    struct cairn_err err = { 0 };
    uint32_t before = r->table.n;
    int rc = cairn_etcd_read_range(a->http.reply, a->http.reply_len, a->etcd->prefix, r->last, &r->table, &page, &err);

    cairn_map_health_count(&a->etcd->store, r->table.n - before, 0);
    if (rc == 0 && a->revision == 0) { /* all pages are of this moment */
        a->revision = page.revision;
        r->count = page.count;
    }
    if (rc == 0 && page.more && (r->limit == 0 || r->table.n < r->limit)) {
        ask_next_page(a, page.last);
        return;
    }
    free(page.last);
    if (r->last)
        turn_round(&r->table);
    a->op->rc = rc;
    a->op->err = err;
    a->op->revision = a->revision;
    ask_done(a);
}

/* Whether the watch will tell of @c. */
static bool is_in_view(const struct etcd *e, const struct cairn_map_change *c)
{
    bool found = e->view_end == NULL;

    for (uint32_t i = 0; !found && i < c->nwrites; i++)
        found = strcmp(c->writes[i].key, e->view_end) < 0;
    return found;
}

static void ask_on_change(struct etcd_ask *a)
{
    struct cairn_map_change *c = change_of(a);
    struct etcd *e = a->etcd;
    struct cairn_err err = { 0 };

    if (cairn_etcd_read_txn(a->http.reply, a->http.reply_len, c, &err) != 0) {
        a->op->rc = CAIRN_E_UNKNOWN;
        a->op->err = err;
        a->op->err.code = CAIRN_E_UNKNOWN;
    }
    if (a->op->rc == 0 && a->op->revision > e->watch.resume && is_in_view(e, c) && etcd_watch_will_tell(&e->watch))
        cairn_sm_move(&a->sm, ASK_SETTLING);
    else
        ask_done(a);
}

static void ask_on_login(struct etcd_ask *a)
{
    struct etcd *e = a->etcd;
    struct cairn_err err = { 0 };
    int rc;

    etcd_token_drop(e);
    rc = cairn_etcd_read_login(a->http.reply, a->http.reply_len, &e->token, &err);
    ask_done(a);
    etcd_login_over(e, rc, &err);
}

static void ask_on_served(struct etcd_ask *a)
{
    if (a->kind == ASK_CHANGE || a->kind == ASK_READ || a->kind == ASK_PROBE)
        etcd_good(a->etcd);
    switch (a->kind) {
    case ASK_CHANGE:
        ask_on_change(a);
        break;
    case ASK_READ:
        ask_on_page(a);
        break;
    case ASK_LEASE:
        a->op->rc = cairn_etcd_read_lease(a->http.reply, a->http.reply_len, lease_of(a), &a->op->err);
        ask_done(a);
        break;
    case ASK_LOGIN:
        ask_on_login(a);
        break;
    case ASK_PROBE:
        ask_done(a);
        break;
    }
}

/* An answer that is not the one wanted. */
static void ask_on_failure(struct etcd_ask *a)
{
    struct cairn_err err = { 0 };
    struct cairn_etcd_failure f =
        cairn_etcd_read_failure(a->http.reply_len > 0 ? a->http.reply : "", a->http.reply_len, a->http.status, &err);

    if (f.rc == CAIRN_E_UNKNOWN) {
        ask_again(a, a->kind != ASK_CHANGE, a->kind == ASK_CHANGE ? CAIRN_E_UNKNOWN : CAIRN_E_UNREACHABLE, &err);
    } else if (f.rc == CAIRN_E_AUTH && a->kind != ASK_LOGIN && a->etcd->user != NULL && !a->relogged) {
        a->relogged = true; /* tokens end, and with them nothing was done */
        etcd_token_drop(a->etcd);
        cairn_sm_move(&a->sm, ASK_QUEUED);
    } else if (f.compacted && a->kind == ASK_READ) {
        ask_read_again(a);
    } else if (a->op == NULL || f.rc == CAIRN_E_AUTH) {
        ask_fail(a, f.rc, &err);
    } else {
        a->op->rc = f.rc;
        a->op->err = err;
        ask_done(a);
    }
}

static void ask_on_http(struct cairn_map_http_req *rq)
{
    struct etcd_ask *a = rq->arg;
    struct etcd *e = a->etcd;
    struct cairn_err err = { 0 };

    e->nsent--;
    if (rq->rc == CAIRN_E_TOOBIG && a->kind == ASK_READ && a->page > CAIRN_ETCD_PAGE) {
        a->page = CAIRN_ETCD_PAGE; /* larger entries than those before */
        cairn_sm_move(&a->sm, ASK_QUEUED);
    } else if (rq->rc != 0) {
        bool harmless = a->kind != ASK_CHANGE || !rq->sent;

        cairn_err_set(&err, rq->rc, "%s: %s", e->endpoints[a->endpoint], rq->err.text);
        ask_again(a, harmless,
                  !harmless                   ? CAIRN_E_UNKNOWN
                  : rq->rc == CAIRN_E_TIMEOUT ? CAIRN_E_TIMEOUT
                  : rq->rc == CAIRN_E_NOMEM   ? CAIRN_E_NOMEM
                                              : CAIRN_E_UNREACHABLE,
                  &err);
    } else if (rq->status != 200) {
        ask_on_failure(a);
    } else {
        ask_on_served(a);
    }
    etcd_asks_pump(e);
}

/* ---- sending ---- */

/* The next page, of what is still wanted. */
static char *ask_write_read(const struct etcd_ask *a)
{
    const struct etcd *e = a->etcd;
    const struct cairn_map_read *r = read_of(a);
    struct cairn_etcd_range range = { .begin = r->prefix,
                                      .end = r == &e->watch.read ? e->view_end : NULL,
                                      .after = a->after,
                                      .revision = a->revision,
                                      .limit = a->page,
                                      .last_first = r->last };

    if (r->limit != 0)
        range.limit = MIN(range.limit, r->limit - r->table.n);
    return cairn_etcd_write_range(e->prefix, &range);
}

char *etcd_write_probe(const struct etcd *e)
{
    static const struct cairn_etcd_range probe = { .begin = "", .limit = 1, .keys_only = true };

    return cairn_etcd_write_range(e->prefix, &probe);
}

static char *ask_write(const struct etcd_ask *a)
{
    const struct etcd *e = a->etcd;

    switch (a->kind) {
    case ASK_CHANGE:
        return cairn_etcd_write_txn(e->prefix, change_of(a));
    case ASK_READ:
        return ask_write_read(a);
    case ASK_LEASE:
        return cairn_etcd_write_lease(lease_of(a));
    case ASK_LOGIN:
        return cairn_etcd_write_login(e->user, e->password);
    case ASK_PROBE:
        break;
    }
    return etcd_write_probe(e);
}

static const char *ask_path(const struct etcd_ask *a)
{
    static const char *const paths[] = { [ASK_CHANGE] = "/v3/kv/txn",
                                         [ASK_READ] = "/v3/kv/range",
                                         [ASK_LOGIN] = "/v3/auth/authenticate",
                                         [ASK_PROBE] = "/v3/kv/range" };
    static const char *const leases[] = { [CAIRN_MAP_GRANT] = "/v3/lease/grant",
                                          [CAIRN_MAP_KEEP] = "/v3/lease/keepalive",
                                          [CAIRN_MAP_REVOKE] = "/v3/lease/revoke" };

    return a->kind == ASK_LEASE ? leases[lease_of(a)->verb] : paths[a->kind];
}

/* How long one endpoint may take: where another can be asked, there must be time for it. */
static uint32_t ask_patience_ms(const struct etcd_ask *a, uint64_t now)
{
    uint64_t left = (a->deadline_ns - MIN(now, a->deadline_ns)) / CAIRN_NS_PER_MS;

    if (a->kind != ASK_CHANGE && a->tries + 1 < a->etcd->nendpoints)
        left /= 2;
    return (uint32_t)MAX(left, 1U);
}

static void ask_send(struct etcd_ask *a)
{
    struct etcd *e = a->etcd;
    uint64_t now = cairn_env_now_ns(env_of(a));
    struct cairn_err err = { 0 };

    free(a->http.body);
    cairn_map_http_clear(&a->http);
    a->endpoint = e->current;
    a->http = (struct cairn_map_http_req){ .url = etcd_url(e, a->endpoint, ask_path(a)),
                                           .token = a->kind != ASK_LOGIN ? e->token : NULL,
                                           .body = ask_write(a),
                                           .timeout_ms = ask_patience_ms(a, now),
                                           .done = ask_on_http,
                                           .arg = a };
    if (a->op != NULL)
        a->op->sent_ns = now;
    if (a->http.body != NULL)
        a->http.body_len = strlen(a->http.body);
    if (a->http.body == NULL || cairn_map_http_start(e->http, &a->http) != 0) {
        if (a->kind == ASK_LOGIN)
            return; /* its deadline ends it, and with it those that wait for it: not while they are walked through */
        cairn_err_set(&err, CAIRN_E_NOMEM, "request to the map store");
        ask_fail(a, CAIRN_E_NOMEM, &err);
        return;
    }
    e->nsent++;
    cairn_sm_move(&a->sm, ASK_SENT);
}

static bool ask_may_go(const struct etcd_ask *a)
{
    const struct etcd *e = a->etcd;

    if (a->sm.state != ASK_QUEUED)
        return false;
    if (a->kind != ASK_LOGIN && e->user != NULL && e->token == NULL)
        return false;
    return e->nsent < ETCD_SENT_MAX || (a->kind != ASK_CHANGE && a->kind != ASK_READ);
}

void etcd_asks_pump(struct etcd *e)
{
    bool wants_token = false;

    CAIRN_LIST_FOREACH_SAFE (l, &e->asks) {
        struct etcd_ask *a = CONTAINER_OF(l, struct etcd_ask, link);

        if (ask_may_go(a))
            ask_send(a);
        else if (a->sm.state == ASK_QUEUED && a->kind != ASK_LOGIN)
            wants_token = true;
    }
    if (wants_token && e->user != NULL && e->token == NULL && !e->logging_in)
        etcd_login(e);
}

void etcd_ask_start(struct etcd *e, enum etcd_ask_kind kind, struct cairn_map_op *op, uint32_t timeout_ms)
{
    struct cairn_env *env = e->store.home.env;
    struct etcd_ask *a = e->nasks < ETCD_ASKS_MAX ? calloc(1, sizeof(*a)) : NULL;

    if (a == NULL) {
        if (op != NULL) {
            op->rc = e->nasks < ETCD_ASKS_MAX ? CAIRN_E_NOMEM : CAIRN_E_BUSY;
            cairn_err_set(&op->err, op->rc, "request to the map store");
            cairn_map_op_answer(op);
        }
        return;
    }
    a->etcd = e;
    a->kind = kind;
    a->op = op;
    a->page = CAIRN_ETCD_PAGE;
    a->deadline_ns = cairn_env_now_ns(env) + timeout_ms * CAIRN_NS_PER_MS;
    cairn_timer_init(&a->timer, ask_on_deadline, a);
    cairn_sm_init(&a->sm, &etcd_ask_kind, e->store.home.machines);
    cairn_list_add_tail(&e->asks, &a->link);
    e->nasks++;
    if (kind == ASK_PROBE)
        e->probing = true;
    if (kind == ASK_LOGIN)
        e->logging_in = true;
    if (cairn_timer_start(env, &a->timer, a->deadline_ns) != 0) {
        struct cairn_err err = { 0 };

        cairn_err_set(&err, CAIRN_E_NOMEM, "request to the map store");
        ask_fail(a, CAIRN_E_NOMEM, &err);
        return;
    }
    etcd_asks_pump(e);
}

void etcd_asks_fail(struct etcd *e, int rc, const struct cairn_err *err)
{
    CAIRN_LIST_FOREACH_SAFE (l, &e->asks) {
        struct etcd_ask *a = CONTAINER_OF(l, struct etcd_ask, link);

        if (a->sm.state == ASK_QUEUED && a->kind != ASK_LOGIN)
            ask_fail(a, rc, err);
    }
}

void etcd_asks_settle(struct etcd *e, uint64_t revision)
{
    CAIRN_LIST_FOREACH_SAFE (l, &e->asks) {
        struct etcd_ask *a = CONTAINER_OF(l, struct etcd_ask, link);

        if (a->sm.state == ASK_SETTLING && a->op->revision <= revision)
            ask_done(a);
    }
}

void etcd_asks_free(struct etcd *e)
{
    CAIRN_LIST_FOREACH_SAFE (l, &e->asks) {
        struct etcd_ask *a = CONTAINER_OF(l, struct etcd_ask, link);

        cairn_map_http_cancel(&a->http);
        cairn_sm_fail(&a->sm, ASK_FAILED, CAIRN_E_CANCELED);
        ask_free(a);
    }
}
