/* The origin's session with one node: see session.h for the drawing.
 *
 * IDLE        no connection, and none is wanted; nothing waits.
 * CONNECTING  a socket is being connected or says HELLO.
 * UP          calls go out as credits allow.
 * BACKOFF     the last attempt failed and calls wait: another follows when the timer says so.
 * CLOSED      given up by its user; every call has been told. */
#include "sdk/core/rpc/session_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BACKOFF_FIRST_MS = 20, BACKOFF_MAX_MS = 2000, USEFUL_MS = 1000, CONNECT_TIMEOUT_S = 5, INFLIGHT_MAX = 4096 };

static const struct cairn_sm_state session_states[SESSION_NR] = {
    [SESSION_IDLE] = { "IDLE", CAIRN_SM_INITIAL,
                       CAIRN_SM_TO(SESSION_CONNECTING) | CAIRN_SM_TO(SESSION_BACKOFF) | CAIRN_SM_TO(SESSION_CLOSED) },
    [SESSION_CONNECTING] = { "CONNECTING", 0,
                             CAIRN_SM_TO(SESSION_UP) | CAIRN_SM_TO(SESSION_BACKOFF) | CAIRN_SM_TO(SESSION_CLOSED) },
    [SESSION_UP] = { "UP", 0, CAIRN_SM_TO(SESSION_IDLE) | CAIRN_SM_TO(SESSION_BACKOFF) | CAIRN_SM_TO(SESSION_CLOSED) },
    [SESSION_BACKOFF] = { "BACKOFF", 0,
                          CAIRN_SM_TO(SESSION_CONNECTING) | CAIRN_SM_TO(SESSION_IDLE) | CAIRN_SM_TO(SESSION_CLOSED) },
    [SESSION_CLOSED] = { "CLOSED", CAIRN_SM_FINAL, 0 },
};

static bool session_invariant(const struct cairn_sm *sm)
{
    const struct cairn_rpc_session *s = CONTAINER_OF(sm, const struct cairn_rpc_session, sm);

    return CAIRN_HOLDS((sm->state == SESSION_CONNECTING || sm->state == SESSION_UP) == (s->peer != NULL)) &&
           CAIRN_HOLDS(sm->state != SESSION_UP || s->has_id) &&
           CAIRN_HOLDS(sm->state != SESSION_CLOSED || s->nwaiting == 0);
}

const struct cairn_sm_kind cairn_rpc_session_kind = { "rpc-session", session_states, SESSION_NR, session_invariant, 0 };

/* ---- connection: what the peer tells us ---- */

static void on_credit(struct cairn_rpc_peer *peer, uint32_t id)
{
    struct cairn_rpc_session *s = peer->role_data;
    uint32_t *seq = &s->seq_of_place[id & (peer->calls_room - 1)];

    if (*seq != 0) {
        s->seq_busy[(*seq - 1) & (s->window - 1)] = 0;
        *seq = 0;
    }
    s->failures = 0;
    s->answered = true;
    if (s->nwaiting > 0)
        cairn_rpc__session_pump(s);
}

static void on_lost_call(struct cairn_rpc_peer *peer, struct cairn_rpc_call *call)
{
    struct cairn_rpc_session *s = peer->role_data;

    cairn_sm_move(&call->sm, CALL_QUEUED);
    cairn_rpc__session_queue(s, call);
    if ((call_flags(call) & (CAIRN_RPC_SAFE | CAIRN_RPC_ONCE)) == 0)
        cairn_rpc__session_end_waiting(s, call, CAIRN_E_UNKNOWN);
}

static void on_goodbye(struct cairn_rpc_peer *peer)
{
    peer->leaving = true; /* what is under way is still answered; then the node closes, and we look for it again */
}

static bool error_is_final(int rc)
{
    return rc == CAIRN_E_AUTH || rc == CAIRN_E_VERSION || rc == CAIRN_E_DENIED;
}

/* Time changes nothing of it: whoever is at an address refuses us, or is not whom we may talk to. That ends the calls
 * only if it is so at all of them: another may be of a node that is as it should be, and away just now. What is between
 * nodes is asked again in any case, so one node's word is enough there. */
static bool is_refused(const struct cairn_rpc_session *s, int rc)
{
    if (s->conf.is_node)
        return error_is_final(rc);
    for (uint32_t i = 0; i < s->conf.naddrs; i++) {
        if (!error_is_final(s->failed[i].code))
            return false;
    }
    return true;
}

/* Whether it was said of an address before @i: between nodes it is the node that is named, not the address. */
static bool was_said(const struct cairn_rpc_session *s, uint32_t i)
{
    for (uint32_t k = 0; k < i; k++) {
        if (strcmp(s->failed[k].text, s->failed[i].text) == 0)
            return true;
    }
    return false;
}

void cairn_rpc_session_why(const struct cairn_rpc_session *s, struct cairn_err *err)
{
    char text[CAIRN_ERR_TEXT_MAX];
    uint32_t each = 0;
    size_t n = 0;

    *err = s->last_error;
    for (uint32_t i = 0; i < s->conf.naddrs; i++)
        each += s->failed[i].code != 0 && !was_said(s, i);
    if (each == 0)
        return;
    each = (uint32_t)(sizeof(text) - 1) / each - 2; /* a share for each, so that the last is named, too */
    err->code = 0;
    for (uint32_t i = 0; i < s->conf.naddrs; i++) {
        const struct cairn_err *f = &s->failed[i];

        if (f->code == 0)
            continue;
        if (err->code == 0 || (error_is_final(f->code) && !error_is_final(err->code)))
            err->code = f->code;
        if (!was_said(s, i))
            n += (size_t)snprintf(text + n, sizeof(text) - n, "%s%.*s", n > 0 ? "; " : "", (int)each, f->text);
    }
    memcpy(err->text, text, n + 1);
}

/* What is said of an address names it. */
static void note_failure(struct cairn_rpc_session *s)
{
    struct cairn_err *f = &s->failed[s->next_addr];
    char addr[CAIRN_ADDR_TEXT_MAX];

    *f = s->last_error;
    cairn_addr_format(&s->conf.addrs[s->next_addr], addr);
    if (s->conf.naddrs > 1 && !s->conf.is_node && strstr(f->text, addr) == NULL)
        cairn_err_set(f, s->last_error.code, "%s: %s", addr, s->last_error.text);
}

static void session_fail_attempt(struct cairn_rpc_session *s)
{
    uint64_t now = cairn_loop_now(s->rpc->loop);
    uint64_t ms = MIN((uint64_t)BACKOFF_FIRST_MS << MIN(s->failures, 7U), (uint64_t)BACKOFF_MAX_MS);
    int rc = s->last_error.code;

    s->failures++;
    note_failure(s);
    s->next_addr = (s->next_addr + 1) % s->conf.naddrs;
    if (s->next_addr != 0 && s->failures < s->conf.naddrs)
        ms = 0; /* the other addresses first */
    ms = ms / 2 + (ms > 0 ? cairn_env_random(&s->rpc->loop->env) % ms : 0);
    s->retry_at_ns = now + ms * CAIRN_NS_PER_MS;
    if (s->sm.state != SESSION_BACKOFF)
        cairn_sm_move(&s->sm, SESSION_BACKOFF);
    if (is_refused(s, rc))
        cairn_rpc__session_end_all_waiting(s, rc);
    cairn_rpc__session_want(s, s->retry_at_ns);
    if (s->conf.changed != NULL)
        s->conf.changed(s, false, &s->last_error, s->conf.arg);
}

/* Where nothing is answered, as it is only told, a connection that has lasted shows that what is told does not end it.
 * (Another build may not understand it.) */
static bool was_of_use(const struct cairn_rpc_session *s)
{
    return s->answered || cairn_loop_now(s->rpc->loop) - s->up_ns >= USEFUL_MS * CAIRN_NS_PER_MS;
}

static void on_down(struct cairn_rpc_peer *peer, int rc)
{
    struct cairn_rpc_session *s = peer->role_data;
    bool was_up = s->sm.state == SESSION_UP;
    char addr[CAIRN_ADDR_TEXT_MAX];

    s->peer = NULL;
    if (s->sm.state == SESSION_CLOSED)
        return;
    cairn_addr_format(&s->conf.addrs[s->next_addr], addr);
    if (s->last_error.code == 0)
        cairn_err_set(
            &s->last_error, rc == CAIRN_E_CLOSED || rc == CAIRN_E_TIMEOUT ? CAIRN_E_UNREACHABLE : rc, "%s: %s", addr,
            was_up ? "the connection was lost" : (rc == CAIRN_E_TIMEOUT ? "no answer to HELLO" : cairn_error_text(rc)));
    if (!was_up || !was_of_use(s)) { /* a call may be what ends its connection: it is not sent again without a pause */
        session_fail_attempt(s);
        return;
    }
    s->failures = 0;
    cairn_sm_move(&s->sm, SESSION_IDLE);
    if (s->conf.changed != NULL)
        s->conf.changed(s, false, &s->last_error, s->conf.arg);
    if (s->nwaiting > 0 && s->sm.state == SESSION_IDLE)
        cairn_rpc__session_connect(s);
}

/* The node does not know us any more: what it may have carried out cannot be asked again. */
static void session_forget_numbers(struct cairn_rpc_session *s)
{
    memset(s->seq_busy, 0, s->window);
    CAIRN_LIST_FOREACH_SAFE (l, &s->waiting) {
        struct cairn_rpc_call *call = CONTAINER_OF(l, struct cairn_rpc_call, link);

        if (call->sends > 0 && (call_flags(call) & CAIRN_RPC_ONCE) != 0)
            cairn_rpc__session_end_waiting(s, call, CAIRN_E_UNKNOWN);
        else
            call->numbered = false;
    }
}

/* The node knows us: the calls that will be sent again keep their numbers. Those of calls that nobody waits for are
 * free again, since no answer to them will come; the node refuses a number whose predecessor still runs. */
static void session_recount_numbers(struct cairn_rpc_session *s)
{
    memset(s->seq_busy, 0, s->window);
    CAIRN_LIST_FOREACH (l, &s->waiting) {
        const struct cairn_rpc_call *call = CONTAINER_OF(l, const struct cairn_rpc_call, link);

        if (call->numbered)
            s->seq_busy[call->seq & (s->window - 1)] = 1;
    }
}

static int session_take_credits(struct cairn_rpc_session *s, uint32_t inflight_max)
{
    if (inflight_max == 0 || inflight_max > INFLIGHT_MAX || (inflight_max & (inflight_max - 1)) != 0)
        return CAIRN_E_PROTO;
    if (s->window != inflight_max) {
        uint8_t *busy = calloc(inflight_max, sizeof(*busy));
        uint32_t *of_place = calloc(inflight_max, sizeof(*of_place));

        if (busy == NULL || of_place == NULL) { /* calls that wait have numbers of the window that was */
            free(busy);
            free(of_place);
            return CAIRN_E_NOMEM;
        }
        free(s->seq_busy);
        free(s->seq_of_place);
        s->seq_busy = busy;
        s->seq_of_place = of_place;
        s->window = inflight_max;
    }
    return 0;
}

int cairn_rpc__session_welcomed(struct cairn_rpc_session *s, struct cairn_rpc_peer *peer,
                                const Cairn__Wire__HelloWelcome *m)
{
    bool resumed = m->resumed && s->has_id && m->incarnation == s->incarnation && m->session == s->id &&
                   m->inflight_max == s->window;
    int rc = session_take_credits(s, m->inflight_max);

    if (rc != 0)
        return rc;
    s->id = m->session;
    s->incarnation = m->incarnation;
    memcpy(s->secret, m->session_secret.data, sizeof(s->secret));
    s->has_id = true;
    memset(s->seq_of_place, 0, s->window * sizeof(*s->seq_of_place));
    if (resumed)
        session_recount_numbers(s);
    else
        session_forget_numbers(s);
    snprintf(s->facts.node, sizeof(s->facts.node), "%s", m->node);
    memcpy(s->facts.cluster_id, m->cluster_id.data, CAIRN_CLUSTER_ID_BYTES);
    s->facts.incarnation = m->incarnation;
    s->facts.uid = m->uid;
    s->facts.gid = m->gid;
    s->facts.admin = m->admin;
    snprintf(s->facts.auth, sizeof(s->facts.auth), "%s", cairn_hello_auth_name(s->auth));
    snprintf(peer->info.name, sizeof(peer->info.name), "%s", m->node);
    s->answered = false;
    s->up_ns = cairn_loop_now(s->rpc->loop);
    s->last_error.code = 0;
    memset(s->failed, 0, s->conf.naddrs * sizeof(s->failed[0]));
    cairn_rpc__peer_up(peer, m->inflight_max, MAX(m->inflight_bytes_max, (uint32_t)CAIRN_FRAME_BODY_BYTES_MAX));
    cairn_sm_move(&s->sm, SESSION_UP);
    if (s->conf.changed != NULL)
        s->conf.changed(s, true, NULL, s->conf.arg);
    if (s->sm.state == SESSION_UP)
        cairn_rpc__session_pump(s);
    return 0;
}

static const struct peer_role session_role = {
    .hello = cairn_rpc__session_on_hello,
    .goodbye = on_goodbye,
    .credit = on_credit,
    .lost_call = on_lost_call,
    .down = on_down,
};

/* ---- connecting ---- */

void cairn_rpc__session_connect(struct cairn_rpc_session *s)
{
    const struct cairn_addr *addr = &s->conf.addrs[s->next_addr];
    uint64_t timeout =
        s->conf.connect_timeout_ns != 0 ? s->conf.connect_timeout_ns : CONNECT_TIMEOUT_S * CAIRN_NS_PER_S;
    struct cairn_rpc_peer *peer = NULL;
    int fd, rc;

    s->last_error = (struct cairn_err){ 0 };
    s->challenged = false;
    s->auth = cairn_addr_is_unix(addr) && !s->conf.is_node ? CAIRN_HELLO_PEER : CAIRN_HELLO_NONE;
    rc = cairn_addr_connect(addr, &fd, &s->last_error);
    if (rc == 0) {
        peer = cairn_rpc__peer_new(s->rpc, fd, &session_role, s);
        if (peer == NULL) {
            close(fd);
            cairn_err_set(&s->last_error, CAIRN_E_NOMEM, "connect: out of memory");
        }
    }
    if (peer == NULL) {
        session_fail_attempt(s);
        return;
    }
    s->peer = peer;
    cairn_sm_move(&s->sm, SESSION_CONNECTING);
    peer->info.unix_socket = cairn_addr_is_unix(addr);
    cairn_addr_format(addr, peer->info.addr);
    peer->hello_deadline_ns = cairn_loop_now(s->rpc->loop) + timeout;
    cairn_rpc__peer_want(peer, peer->hello_deadline_ns);
    cairn_rpc__session_say_hello(s, peer);
}

void cairn_rpc_session_connect(struct cairn_rpc_session *s)
{
    if (s->sm.state == SESSION_BACKOFF)
        cairn_sm_move(&s->sm, SESSION_IDLE);
    if (s->sm.state == SESSION_IDLE)
        cairn_rpc__session_connect(s);
}

static void on_session_timer(void *arg)
{
    struct cairn_rpc_session *s = arg;
    uint64_t now = cairn_loop_now(s->rpc->loop);
    bool up = s->sm.state == SESSION_UP;

    CAIRN_LIST_FOREACH_SAFE (l, &s->waiting) {
        struct cairn_rpc_call *call = CONTAINER_OF(l, struct cairn_rpc_call, link);

        if (call->deadline_ns > now)
            cairn_rpc__session_want(s, call->deadline_ns);
        else if (call->sends > 0 && (call_flags(call) & CAIRN_RPC_ONCE) != 0)
            cairn_rpc__session_end_waiting(s, call, CAIRN_E_UNKNOWN);
        else
            cairn_rpc__session_end_waiting(s, call, up ? CAIRN_E_TIMEOUT : CAIRN_E_UNREACHABLE);
    }
    if (s->sm.state != SESSION_BACKOFF)
        return;
    if (s->nwaiting == 0) {
        cairn_sm_move(&s->sm, SESSION_IDLE);
    } else if (s->retry_at_ns <= now) {
        cairn_rpc__session_connect(s);
    } else {
        cairn_rpc__session_want(s, s->retry_at_ns);
    }
}

/* ---- life ---- */

struct cairn_rpc_session *cairn_rpc_session_new(struct cairn_rpc *rpc, const struct cairn_rpc_session_conf *conf,
                                                struct cairn_err *err)
{
    struct cairn_rpc_session *s;

    if (conf->naddrs == 0 || conf->naddrs > CAIRN_SESSION_ADDRS_MAX) {
        cairn_err_set(err, CAIRN_E_INVAL, "no address to connect to");
        return NULL;
    }
    s = calloc(1, sizeof(*s) + conf->naddrs * sizeof(s->failed[0]));
    if (s == NULL) {
        cairn_err_set(err, CAIRN_E_NOMEM, "session");
        return NULL;
    }
    s->rpc = rpc;
    s->conf = *conf;
    cairn_list_init(&s->waiting);
    cairn_timer_init(&s->timer, on_session_timer, s);
    cairn_sm_init(&s->sm, &cairn_rpc_session_kind, &rpc->loop->machines);
    return s;
}

struct cairn_rpc_session *cairn_rpc_session_sibling(const struct cairn_rpc_session *s, const struct cairn_addr *addrs,
                                                    uint32_t naddrs, const char *node, struct cairn_err *err)
{
    struct cairn_rpc_session_conf conf = s->conf;
    struct cairn_rpc_session *sibling;

    if (naddrs > 0) {
        conf.naddrs = MIN(naddrs, (uint32_t)CAIRN_SESSION_ADDRS_MAX);
        memcpy(conf.addrs, addrs, conf.naddrs * sizeof(*addrs));
    }
    conf.changed = NULL;
    snprintf(conf.node, sizeof(conf.node), "%s", node);
    if (s->has_id) {
        conf.has_cluster_id = true;
        memcpy(conf.cluster_id, s->facts.cluster_id, CAIRN_CLUSTER_ID_BYTES);
    }
    sibling = cairn_rpc_session_new(s->rpc, &conf, err);
    cairn_auth_forget(&conf, sizeof(conf));
    return sibling;
}

static void on_session_closed(void *arg)
{
    struct cairn_rpc_session *s = arg;
    void (*closed)(void *a) = s->closed;
    void *closed_arg = s->closed_arg;

    cairn_sm_fini(&s->sm);
    cairn_auth_forget(&s->conf, sizeof(s->conf));
    free(s->seq_busy);
    free(s->seq_of_place);
    free(s);
    if (closed != NULL)
        closed(closed_arg);
}

void cairn_rpc_session_close(struct cairn_rpc_session *s, void (*done)(void *arg), void *arg)
{
    struct cairn_rpc_peer *peer = s->peer;

    CAIRN_ASSERT(s->sm.state != SESSION_CLOSED);
    s->closed = done;
    s->closed_arg = arg;
    s->conf.changed = NULL;
    cairn_rpc__session_end_all_waiting(s, CAIRN_E_CLOSED);
    s->peer = NULL;
    cairn_sm_move(&s->sm, SESSION_CLOSED);
    if (peer != NULL) {
        struct cairn_frame f = { .kind = CAIRN_FRAME_GOODBYE, .value = CAIRN_E_CLOSED };

        if (cairn_rpc_peer_is_up(peer)) {
            cairn_rpc__peer_send(peer, &f, NULL, NULL, 0);
            cairn_conn_flush(&peer->conn);
        }
        cairn_rpc__peer_down(peer, CAIRN_E_CLOSED);
        cairn_rpc__session_end_all_waiting(s, CAIRN_E_CLOSED); /* those that were sent */
    }
    cairn_timer_stop(&s->rpc->loop->env, &s->timer); /* which those have started for their deadlines */
    cairn_task_init(&s->close_task, on_session_closed, s);
    cairn_env_defer(&s->rpc->loop->env, &s->close_task); /* behind the calls that end */
}

bool cairn_rpc_session_is_up(const struct cairn_rpc_session *s)
{
    return s->sm.state == SESSION_UP;
}

struct cairn_rpc_peer *cairn_rpc_session_peer(struct cairn_rpc_session *s)
{
    return s->sm.state == SESSION_UP ? s->peer : NULL;
}

const struct cairn_rpc_session_facts *cairn_rpc_session_facts(const struct cairn_rpc_session *s)
{
    return &s->facts;
}
