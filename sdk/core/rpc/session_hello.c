/* HELLO, as who connects says it: who we are, a proof of it if the node asks for one, and a look at the node's own. See
 * hello.h for the steps, and session.c for the session that this is about. */
#include "sdk/core/rpc/session_internal.h"

#include "schema/common.pb-c.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void cairn_rpc__session_say_hello(struct cairn_rpc_session *s, struct cairn_rpc_peer *peer)
{
    Cairn__Wire__HelloOpen m = CAIRN__WIRE__HELLO_OPEN__INIT;
    char *auth[1];
    const uint8_t *cookie = s->rpc->bulk_hooks != NULL ? s->rpc->bulk_hooks->vm_cookie(s->rpc) : NULL;

    cairn_auth_random(peer->transcript.client_nonce, CAIRN_NONCE_BYTES);
    peer->transcript.unix_socket = peer->info.unix_socket;
    m.version_min = CAIRN_PROTOCOL_MIN;
    m.version_max = CAIRN_PROTOCOL_MAX;
    if (s->conf.has_cluster_id) {
        m.cluster_id.data = s->conf.cluster_id;
        m.cluster_id.len = CAIRN_CLUSTER_ID_BYTES;
    }
    if (s->has_id) {
        m.session = s->id;
        m.incarnation = s->incarnation;
        m.session_secret.data = s->secret;
        m.session_secret.len = sizeof(s->secret);
    }
    m.nonce.data = peer->transcript.client_nonce;
    m.nonce.len = CAIRN_NONCE_BYTES;
    m.auth = auth;
    /* Who holds the key offers nothing weaker: MUNGE would not make the node prove itself. */
    if (s->conf.has_key)
        auth[m.n_auth++] = (char *)(uintptr_t)cairn_hello_auth_name(CAIRN_HELLO_KEY);
    else if (s->conf.munge)
        auth[m.n_auth++] = (char *)(uintptr_t)cairn_hello_auth_name(CAIRN_HELLO_MUNGE);
    m.name = s->conf.name;
    m.node = s->conf.is_node;
    if (cookie != NULL && cairn_addr_is_unix(&s->conf.addrs[s->next_addr])) {
        m.vm_cookie_addr = (uint64_t)(uintptr_t)cookie;
        m.vm_cookie.data = (uint8_t *)(uintptr_t)cookie;
        m.vm_cookie.len = sizeof(peer->info.vm_cookie);
    }
    cairn_hello_send(peer, CAIRN_HELLO_OPEN, 0, &m.base);
}

/* Who refuses whom, for people. Between nodes it is always the same, whichever of its addresses was tried. */
static const char *session_target(const struct cairn_rpc_session *s, char addr[CAIRN_ADDR_TEXT_MAX])
{
    if (s->conf.is_node && s->conf.node[0] != '\0')
        snprintf(addr, CAIRN_ADDR_TEXT_MAX, "node %s", s->conf.node);
    else
        cairn_addr_format(&s->conf.addrs[s->next_addr], addr);
    return addr;
}

/* Whether it is the node that we look for; perhaps that is at the next address. */
static int name_check(struct cairn_rpc_session *s, const struct cairn_rpc_peer *peer, const char *name)
{
    if (s->conf.node[0] == '\0' || strcmp(name, s->conf.node) == 0)
        return 0;
    return cairn_err_set(&s->last_error, CAIRN_E_UNREACHABLE, "at %s is node %.63s, not %s", peer->info.addr, name,
                         s->conf.node);
}

/* Whether the node is the one, and proves it as was agreed. */
static int welcome_check(struct cairn_rpc_session *s, struct cairn_rpc_peer *peer, const Cairn__Wire__HelloWelcome *m)
{
    char addr[CAIRN_ADDR_TEXT_MAX];

    if (m->version < CAIRN_PROTOCOL_MIN || m->version > CAIRN_PROTOCOL_MAX)
        return cairn_err_set(&s->last_error, CAIRN_E_VERSION,
                             "%s answers in protocol %u, and here %d to %d are spoken: run releases of Cairn that have "
                             "one in common",
                             session_target(s, addr), m->version, CAIRN_PROTOCOL_MIN, CAIRN_PROTOCOL_MAX);
    if (m->cluster_id.len != CAIRN_CLUSTER_ID_BYTES || m->session_secret.len != sizeof(s->secret))
        return CAIRN_E_PROTO;
    if (s->conf.has_cluster_id && memcmp(m->cluster_id.data, s->conf.cluster_id, CAIRN_CLUSTER_ID_BYTES) != 0)
        return cairn_err_set(&s->last_error, CAIRN_E_AUTH, "%s is of another cluster", session_target(s, addr));
    if (s->conf.has_key && s->auth == CAIRN_HELLO_NONE) /* it has skipped the challenge */
        return cairn_err_set(&s->last_error, CAIRN_E_AUTH, "%s did not prove that it holds the cluster's key",
                             session_target(s, addr));
    if (s->auth == CAIRN_HELLO_KEY &&
        !cairn_auth_check(m->proof.data, m->proof.len, s->conf.key, &peer->transcript, true))
        return cairn_err_set(&s->last_error, CAIRN_E_AUTH, "%s does not hold this cluster's key",
                             session_target(s, addr));
    return name_check(s, peer, m->node);
}

static int session_prove(struct cairn_rpc_session *s, struct cairn_rpc_peer *peer, const Cairn__Wire__HelloChallenge *c)
{
    Cairn__Wire__HelloProof m = CAIRN__WIRE__HELLO_PROOF__INIT;
    struct cairn_auth_transcript *t = &peer->transcript;
    uint8_t proof[CAIRN_PROOF_BYTES];
    char *credential = NULL;
    int rc = 0;

    /* Over a unix socket the kernel tells who we are: whoever wants a proof there would only carry it elsewhere. */
    if (s->auth == CAIRN_HELLO_PEER)
        return CAIRN_E_PROTO;
    if (s->challenged || c->nonce.len != CAIRN_NONCE_BYTES || c->cluster_id.len != CAIRN_CLUSTER_ID_BYTES ||
        strlen(c->node) >= sizeof(t->node))
        return CAIRN_E_PROTO;
    s->challenged = true;
    rc = name_check(s, peer, c->node); /* else our proof, which is for that node, could be carried to it */
    if (rc != 0)
        return rc;
    snprintf(t->node, sizeof(t->node), "%s", c->node);
    memcpy(t->server_nonce, c->nonce.data, CAIRN_NONCE_BYTES);
    memcpy(t->cluster_id, c->cluster_id.data, CAIRN_CLUSTER_ID_BYTES);
    s->auth = cairn_hello_auth_of(c->auth);
    if (s->auth == CAIRN_HELLO_KEY && s->conf.has_key) {
        cairn_auth_prove(proof, s->conf.key, t, false);
        m.proof.data = proof;
        m.proof.len = sizeof(proof);
    } else if (s->auth == CAIRN_HELLO_MUNGE && s->conf.munge && !s->conf.has_key) {
        rc = cairn_auth_munge_encode(s->conf.munge_socket, t, &credential, &s->last_error);
        m.credential = credential != NULL ? credential : m.credential;
    } else {
        rc = cairn_err_set(&s->last_error, CAIRN_E_AUTH, "the node asks for '%.20s', which we did not offer", c->auth);
    }
    if (rc == 0)
        cairn_hello_send(peer, CAIRN_HELLO_PROOF, 0, &m.base);
    free(credential);
    return rc;
}

static void session_refused(struct cairn_rpc_session *s, const struct cairn_frame *f, ProtobufCAllocator *alloc)
{
    Cairn__Wire__ErrorDetail *d = cairn__wire__error_detail__unpack(alloc, f->body_len, f->body);
    int code = f->value < 0 && f->value > CAIRN_E_LAST - 1 ? f->value : CAIRN_E_AUTH;
    char addr[CAIRN_ADDR_TEXT_MAX];

    cairn_err_set(&s->last_error, code, "%s refused us: %s", session_target(s, addr),
                  d != NULL ? d->text : cairn_error_text(code));
}

void cairn_rpc__session_on_hello(struct cairn_rpc_peer *peer, const struct cairn_frame *f)
{
    struct cairn_rpc_session *s = peer->role_data;
    struct cairn_arena arena;
    ProtobufCAllocator alloc = cairn_rpc_arena_allocator(&arena);
    Cairn__Wire__HelloChallenge *challenge = NULL;
    Cairn__Wire__HelloWelcome *welcome = NULL;
    int rc = CAIRN_E_PROTO;

    cairn_arena_init(&arena, CAIRN_HELLO_BYTES_MAX * 8);
    if (f->kind == CAIRN_FRAME_HELLO && f->method == CAIRN_HELLO_CHALLENGE)
        challenge = cairn__wire__hello_challenge__unpack(&alloc, f->body_len, f->body);
    else if (f->kind == CAIRN_FRAME_HELLO && f->method == CAIRN_HELLO_WELCOME)
        welcome = cairn__wire__hello_welcome__unpack(&alloc, f->body_len, f->body);
    else if (f->kind == CAIRN_FRAME_HELLO && f->method == CAIRN_HELLO_REFUSED_STEP)
        session_refused(s, f, &alloc);
    if (challenge != NULL)
        rc = session_prove(s, peer, challenge);
    else if (welcome != NULL)
        rc = welcome_check(s, peer, welcome);
    if (rc == 0 && welcome != NULL)
        rc = cairn_rpc__session_welcomed(s, peer, welcome);
    cairn_arena_reset(&arena);
    if (rc != 0)
        cairn_conn_fail(&peer->conn, rc);
}
