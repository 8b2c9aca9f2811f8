/* The target's side of connecting: HELLO. See accept.h; where sockets come in: accept_socket.c; the end: drain.c;
 * what is logged: refusal.c.
 *
 *      open ---> welcome                                 over a unix socket, or where anybody may come
 *      open ---> challenge ---> proof ---> welcome       by cluster key or MUNGE
 *
 * Anything else is refused with a reason, and the connection closed. */
#include "sdk/core/rpc/accept.h"

#include "sdk/core/rpc/hello.h"
#include "sdk/core/rpc/rpc_internal.h"

#include "schema/common.pb-c.h"

#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { GREETERS_SHARE = 8, GREETERS_WORKER_MIN = 8 };

/* What HELLO has brought so far; lives until it is over. */
struct greeting {
    uint32_t version; /* the newest that both speak */
    uint64_t session;
    uint8_t secret[CAIRN_SESSION_SECRET_BYTES];
    bool resume, opened;
    enum cairn_hello_auth auth;
    /* MUNGE is asked where it may block */
    struct cairn_rpc_peer *peer;
    char *credential;
    uid_t uid;
    gid_t gid;
    gid_t groups[CAIRN_IDENTITY_GROUPS_MAX];
    uint32_t ngroups;
    int rc;
    struct cairn_err err;
    bool asking;
};

/* A welcomed connection on its way to the worker that has its session. */
struct handover {
    struct cairn_task task;
    struct cairn_rpc *rpc;
    int fd;
    struct greeting greeting;
    struct cairn_rpc_peer_info info;
    struct cairn_auth_transcript transcript;
};

/* ---- those who have not proved yet who they are ---- */

/* They have a bound of their own, beside that of connections, which they would otherwise fill for as long as HELLO
 * may take: then whoever can reach the node could lock its users out. At the bound the oldest goes, so that everybody
 * gets in who says HELLO before that many others have come. */
static uint32_t greeters_max(const struct cairn_rpc_node *node)
{
    return MAX((uint32_t)GREETERS_WORKER_MIN, node->connections_max / GREETERS_SHARE / node->nworkers);
}

static void greeter_add(struct cairn_rpc_peer *peer)
{
    struct cairn_rpc *rpc = peer->rpc;

    if (rpc->ngreeters >= greeters_max(rpc->node)) {
        cairn_rpc__count(&rpc->node->counters.greeters_displaced);
        cairn_rpc__peer_down(CONTAINER_OF(rpc->greeters.next, struct cairn_rpc_peer, greeting), CAIRN_E_BUSY);
    }
    cairn_list_add_tail(&rpc->greeters, &peer->greeting);
    rpc->ngreeters++;
    cairn_rpc__count(&rpc->node->counters.greeting);
}

/* It is welcome, or gone. */
static void greeter_over(struct cairn_rpc_peer *peer)
{
    if (cairn_list_is_empty(&peer->greeting))
        return;
    cairn_list_del(&peer->greeting);
    peer->rpc->ngreeters--;
    atomic_fetch_sub_explicit(&peer->rpc->node->counters.greeting, 1, memory_order_relaxed);
}

/* The two are not read at one moment: with several workers a few more may come in than the limit says. */
static bool node_has_room(struct cairn_rpc_node *node)
{
    uint64_t greeting = atomic_load_explicit(&node->counters.greeting, memory_order_relaxed);

    return atomic_load_explicit(&node->counters.connections, memory_order_relaxed) <
           (uint64_t)node->connections_max + greeting;
}

/* ---- HELLO ---- */

static void greeting_refuse(struct cairn_rpc_peer *peer, int code, const char *text)
{
    cairn_rpc__count(code == CAIRN_E_AUTH ? &peer->rpc->node->counters.auth_failures
                                          : &peer->rpc->node->counters.connections_refused);
    cairn_rpc__refusal_log(peer, text);
    cairn_hello_send_refused(peer, code, text);
    cairn_conn_flush(&peer->conn);
    cairn_conn_fail(&peer->conn, code);
}

static bool is_admin(const struct cairn_rpc_node *node, uid_t uid)
{
    if (uid == 0 || uid == geteuid())
        return true;
    for (uint32_t i = 0; i < node->nadmins; i++) {
        if (node->admins[i] == uid)
            return true;
    }
    return false;
}

/* Both ends know each other: the session is found or made, and the connection is open for business. */
static void peer_welcome(struct cairn_rpc_peer *peer, const struct greeting *g)
{
    struct cairn_rpc *rpc = peer->rpc;
    struct cairn_rpc_node *node = rpc->node;
    struct cairn_rpc_dedup *d =
        g->resume ? cairn_rpc__session_find(rpc, g->session, g->secret, peer->info.who.uid) : NULL;
    bool resumed = d != NULL;

    if ((d == NULL || d->peer == NULL) && !node_has_room(node)) { /* else it takes its own old connection's place */
        greeting_refuse(peer, CAIRN_E_LIMIT, "the node has as many connections as its configuration allows");
        return;
    }
    if (d == NULL)
        d = cairn_rpc__session_add(rpc, peer->info.who.uid);
    if (d == NULL) {
        greeting_refuse(peer, CAIRN_E_NOMEM, "out of memory");
        return;
    }
    if (d->peer != NULL) { /* the client knows before we do that its old connection is lost */
        struct cairn_rpc_peer *old = d->peer;

        old->dedup = NULL;
        d->peer = NULL;
        cairn_rpc__peer_down(old, CAIRN_E_CLOSED);
    }
    cairn_rpc__session_back(rpc, d);
    if (resumed)
        cairn_rpc__count(&node->counters.sessions_resumed);
    d->peer = peer;
    d->over = false;
    peer->dedup = d;
    greeter_over(peer);
    if (peer->info.is_node)
        cairn_rpc__refusal_over(peer);
    cairn_hello_send_welcome(peer, node, d, g->version, resumed, g->auth == CAIRN_HELLO_KEY);
    cairn_rpc__peer_up(peer, PEER_REVERSE_INFLIGHT_MAX, rpc->conf.inflight_bytes_max);
}

static void on_handover(void *arg)
{
    struct handover *h = arg;
    struct cairn_rpc_peer *peer;

    peer = h->rpc->node == NULL || h->rpc->drain.begun ? NULL : cairn_rpc__peer_accepted(h->rpc, h->fd);
    if (peer == NULL) {
        close(h->fd);
    } else {
        free(peer->role_data);
        peer->role_data = NULL;
        peer->info = h->info;
        peer->transcript = h->transcript;
        peer_welcome(peer, &h->greeting);
    }
    free(h);
}

/* The session lives on another worker: the connection goes there. */
static bool greeting_hand_over(struct cairn_rpc_peer *peer, const struct greeting *g)
{
    struct cairn_rpc_node *node = peer->rpc->node;
    uint32_t index = cairn_rpc__session_worker(g->session);
    struct handover *h;
    uint8_t *bytes;
    size_t n;

    if (!g->resume || index == peer->rpc->conf.index || index >= node->nworkers)
        return false;
    h = calloc(1, sizeof(*h));
    if (h == NULL)
        return false;
    h->rpc = node->workers[index];
    h->greeting = *g;
    h->info = peer->info;
    h->transcript = peer->transcript;
    cairn_task_init(&h->task, on_handover, h);
    h->fd = cairn_conn_release(&peer->conn, &bytes, &n);
    free(bytes); /* nothing follows an open or a proof before the welcome */
    cairn_loop_post(h->rpc->loop, &h->task);
    cairn_rpc__peer_down(peer, CAIRN_E_CLOSED);
    return true;
}

static void greeting_succeeded(struct cairn_rpc_peer *peer)
{
    struct greeting *g = peer->role_data, keep = *g;

    snprintf(peer->info.who.auth, sizeof(peer->info.who.auth), "%s", cairn_hello_auth_name(g->auth));
    peer->info.who.node = keep.auth == CAIRN_HELLO_KEY;
    peer->info.who.admin =
        peer->info.who.node || (keep.auth != CAIRN_HELLO_NONE && is_admin(peer->rpc->node, peer->info.who.uid));
    if (greeting_hand_over(peer, &keep))
        return;
    free(g);
    peer->role_data = NULL;
    peer_welcome(peer, &keep);
}

static void greeting_open(struct cairn_rpc_peer *peer, const Cairn__Wire__HelloOpen *open)
{
    const struct cairn_rpc_node *node = peer->rpc->node;
    struct greeting *g = peer->role_data;
    struct cairn_err err = { 0 };
    int rc = cairn_hello_check_open(open, node, &err);

    peer->info.is_node = open->node;
    snprintf(peer->info.name, sizeof(peer->info.name), "%s", open->name);
    if (rc != 0) {
        greeting_refuse(peer, rc, err.text);
        return;
    }
    g->opened = true;
    g->version = MIN(open->version_max, (uint32_t)CAIRN_PROTOCOL_MAX);
    g->session = open->session;
    g->resume =
        open->session != 0 && open->incarnation == node->incarnation && open->session_secret.len == sizeof(g->secret);
    if (g->resume)
        memcpy(g->secret, open->session_secret.data, sizeof(g->secret));
    peer->transcript.unix_socket = peer->info.unix_socket;
    memcpy(peer->transcript.client_nonce, open->nonce.data, CAIRN_NONCE_BYTES);
    memcpy(peer->transcript.cluster_id, node->cluster_id, CAIRN_CLUSTER_ID_BYTES);
    snprintf(peer->transcript.node, sizeof(peer->transcript.node), "%s", node->name);
    cairn_auth_random(peer->transcript.server_nonce, CAIRN_NONCE_BYTES);
    if (open->vm_cookie.len == sizeof(peer->info.vm_cookie)) {
        memcpy(peer->info.vm_cookie, open->vm_cookie.data, sizeof(peer->info.vm_cookie));
        peer->info.vm_cookie_addr = open->vm_cookie_addr;
    }
    g->auth = cairn_hello_choose(open, node, peer->info.unix_socket);
    switch (g->auth) {
    case CAIRN_HELLO_PEER:
        greeting_succeeded(peer);
        break;
    case CAIRN_HELLO_NONE:
        peer->info.who.uid = peer->info.who.gid = CAIRN__NOBODY;
        greeting_succeeded(peer);
        break;
    case CAIRN_HELLO_KEY:
    case CAIRN_HELLO_MUNGE:
        cairn_hello_send_challenge(peer, node, g->auth);
        break;
    case CAIRN_HELLO_REFUSED:
        greeting_refuse(peer, CAIRN_E_AUTH, cairn_hello_refusal(node));
        break;
    }
}

/* MUNGE tells one group; the others are in the user database, which may be asked here, where it may block. */
static void look_up_groups(struct greeting *g)
{
    struct passwd pw, *found = NULL;
    char buf[4096];
    int n = CAIRN_IDENTITY_GROUPS_MAX;

    if (getpwuid_r(g->uid, &pw, buf, sizeof(buf), &found) != 0 || found == NULL)
        return;
    g->ngroups = getgrouplist(found->pw_name, g->gid, g->groups, &n) >= 0 ? (uint32_t)n : 0;
}

static void munge_work(void *arg)
{
    struct greeting *g = arg;

    g->rc = cairn_auth_munge_decode(g->peer->rpc->node->munge_socket, g->credential, &g->peer->transcript, &g->uid,
                                    &g->gid, &g->err);
    if (g->rc == 0)
        look_up_groups(g);
}

static void munge_done(void *arg)
{
    struct greeting *g = arg;
    struct cairn_rpc_peer *peer = g->peer;

    g->asking = false;
    free(g->credential);
    g->credential = NULL;
    if (peer->sm.state != PEER_GREETING) {
        free(g); /* the client gave up meanwhile */
    } else if (g->rc != 0) {
        greeting_refuse(peer, g->rc, g->err.text);
    } else {
        peer->info.who.uid = g->uid;
        peer->info.who.gid = g->gid;
        memcpy(peer->info.who.groups, g->groups, sizeof(g->groups));
        peer->info.who.ngroups = g->ngroups;
        greeting_succeeded(peer);
    }
    cairn_rpc_peer_put(peer);
}

static void greeting_ask_munge(struct cairn_rpc_peer *peer, const char *credential)
{
    struct cairn_rpc_node *node = peer->rpc->node;
    struct greeting *g = peer->role_data;

    g->credential = strdup(credential);
    if (g->credential == NULL) {
        greeting_refuse(peer, CAIRN_E_NOMEM, "out of memory");
        return;
    }
    g->peer = peer;
    g->asking = true;
    cairn_rpc_peer_get(peer);
    if (node->blocking == NULL) {
        munge_work(g);
        munge_done(g);
    } else if (node->blocking(node->blocking_ctx, peer->rpc->loop, munge_work, munge_done, g) != 0) {
        g->rc = CAIRN_E_BUSY;
        cairn_err_set(&g->err, CAIRN_E_BUSY, "too many connections are being authenticated");
        munge_done(g);
    }
}

static const char node_key_text[] = "it does not hold the cluster's key: give it that key (auth.key_file), or, if it "
                                    "is of another cluster, a map of its own (map.prefix)";

static void greeting_proof(struct cairn_rpc_peer *peer, const Cairn__Wire__HelloProof *proof)
{
    const struct cairn_rpc_node *node = peer->rpc->node;
    struct greeting *g = peer->role_data;

    if (g->auth == CAIRN_HELLO_MUNGE) {
        greeting_ask_munge(peer, proof->credential);
        return;
    }
    if (!cairn_auth_check(proof->proof.data, proof->proof.len, node->key, &peer->transcript, false)) {
        greeting_refuse(peer, CAIRN_E_AUTH,
                        peer->info.is_node ? node_key_text : "the client does not hold this cluster's key");
        return;
    }
    if (!peer->info.unix_socket) {      /* else the kernel has told */
        peer->info.who.uid = geteuid(); /* who holds the node's key acts as the node's user */
        peer->info.who.gid = getegid();
    }
    greeting_succeeded(peer);
}

static void on_accepted_hello(struct cairn_rpc_peer *peer, const struct cairn_frame *f)
{
    struct greeting *g = peer->role_data;
    struct cairn_arena arena;
    ProtobufCAllocator alloc = cairn_rpc_arena_allocator(&arena);
    Cairn__Wire__HelloOpen *open = NULL;
    Cairn__Wire__HelloProof *proof = NULL;

    cairn_arena_init(&arena, CAIRN_HELLO_BYTES_MAX * 8);
    if (f->kind == CAIRN_FRAME_HELLO && f->method == CAIRN_HELLO_OPEN && !g->opened)
        open = cairn__wire__hello_open__unpack(&alloc, f->body_len, f->body);
    else if (f->kind == CAIRN_FRAME_HELLO && f->method == CAIRN_HELLO_PROOF && g->opened && !g->asking)
        proof = cairn__wire__hello_proof__unpack(&alloc, f->body_len, f->body);
    if (open != NULL)
        greeting_open(peer, open);
    else if (proof != NULL)
        greeting_proof(peer, proof);
    else
        cairn_conn_fail(&peer->conn, CAIRN_E_PROTO);
    cairn_arena_reset(&arena);
}

static void on_accepted_goodbye(struct cairn_rpc_peer *peer)
{
    if (peer->dedup != NULL)
        peer->dedup->over = true;
    cairn_rpc__peer_leave(peer); /* it closes when its answers are there */
}

static void on_accepted_lost_call(struct cairn_rpc_peer *peer, struct cairn_rpc_call *call)
{
    cairn_sm_move(&call->sm, CALL_QUEUED);
    call->rc = CAIRN_E_CLOSED;
    cairn_env_defer(&peer->rpc->loop->env, &call->task);
}

static void on_accepted_down(struct cairn_rpc_peer *peer, int rc)
{
    struct cairn_rpc *rpc = peer->rpc;
    struct greeting *g = peer->role_data;
    struct cairn_rpc_dedup *d = peer->dedup;

    if (g != NULL && rc == CAIRN_E_TIMEOUT)
        cairn_rpc__count(&rpc->node->counters.hello_timeouts);
    if (g != NULL && !g->asking)
        free(g);
    peer->role_data = NULL;
    peer->dedup = NULL;
    greeter_over(peer);
    if (d != NULL)
        cairn_rpc__session_idle(rpc, d, rc);
    atomic_fetch_sub_explicit(&rpc->node->counters.connections, 1, memory_order_relaxed);
    cairn_rpc__drain_check(rpc);
}

static const struct peer_role accepted_role = {
    .accepted = true,
    .hello = on_accepted_hello,
    .goodbye = on_accepted_goodbye,
    .credit = cairn_rpc__peer_credit_plain,
    .lost_call = on_accepted_lost_call,
    .down = on_accepted_down,
};

struct cairn_rpc_peer *cairn_rpc__peer_accepted(struct cairn_rpc *rpc, int fd)
{
    struct greeting *g = calloc(1, sizeof(*g));
    struct cairn_rpc_peer *peer = g != NULL ? cairn_rpc__peer_new(rpc, fd, &accepted_role, g) : NULL;

    if (peer == NULL) {
        free(g);
        return NULL;
    }
    cairn_rpc__count(&rpc->node->counters.connections);
    greeter_add(peer);
    return peer;
}
