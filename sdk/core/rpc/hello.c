/* The messages of HELLO: see hello.h. */
#include "sdk/core/rpc/hello.h"

#include <string.h>

static const char *const auth_names[] = {
    [CAIRN_HELLO_REFUSED] = "",    [CAIRN_HELLO_PEER] = "peer", [CAIRN_HELLO_KEY] = "key",
    [CAIRN_HELLO_MUNGE] = "munge", [CAIRN_HELLO_NONE] = "none",
};

const char *cairn_hello_auth_name(enum cairn_hello_auth auth)
{
    return auth_names[auth];
}

enum cairn_hello_auth cairn_hello_auth_of(const char *name)
{
    for (uint32_t i = 1; i < ARRAY_SIZE(auth_names); i++) {
        if (strcmp(name, auth_names[i]) == 0)
            return (enum cairn_hello_auth)i;
    }
    return CAIRN_HELLO_REFUSED;
}

void cairn_hello_send(struct cairn_rpc_peer *peer, enum cairn_hello_step step, int value, const ProtobufCMessage *msg)
{
    struct cairn_frame f = { .kind = CAIRN_FRAME_HELLO, .method = (uint16_t)step, .value = value };

    cairn_rpc__peer_send(peer, &f, msg, NULL, 0);
}

int cairn_hello_check_open(const Cairn__Wire__HelloOpen *open, const struct cairn_rpc_node *node, struct cairn_err *err)
{
    if (open->version_min > CAIRN_PROTOCOL_MAX || open->version_max < CAIRN_PROTOCOL_MIN)
        return cairn_err_set(err, CAIRN_E_VERSION,
                             "the %s that asks speaks protocol %u to %u, node %s %d to %d: run releases of Cairn that "
                             "have one in common",
                             open->node ? "node" : "client", open->version_min, open->version_max, node->name,
                             CAIRN_PROTOCOL_MIN, CAIRN_PROTOCOL_MAX);
    if (open->nonce.len != CAIRN_NONCE_BYTES)
        return cairn_err_set(err, CAIRN_E_PROTO, "a HELLO without a nonce");
    if (open->cluster_id.len != 0 && (open->cluster_id.len != CAIRN_CLUSTER_ID_BYTES ||
                                      memcmp(open->cluster_id.data, node->cluster_id, CAIRN_CLUSTER_ID_BYTES) != 0))
        return cairn_err_set(err, CAIRN_E_AUTH, "the client looks for another cluster");
    return 0;
}

static bool offers(const Cairn__Wire__HelloOpen *open, enum cairn_hello_auth auth)
{
    for (size_t i = 0; i < open->n_auth; i++) {
        if (strcmp(open->auth[i], auth_names[auth]) == 0)
            return true;
    }
    return false;
}

enum cairn_hello_auth cairn_hello_choose(const Cairn__Wire__HelloOpen *open, const struct cairn_rpc_node *node,
                                         bool is_unix)
{
    if (is_unix)
        return open->node && node->has_key && offers(open, CAIRN_HELLO_KEY) ? CAIRN_HELLO_KEY : CAIRN_HELLO_PEER;
    if (node->munge && offers(open, CAIRN_HELLO_MUNGE))
        return CAIRN_HELLO_MUNGE;
    if (node->has_key && offers(open, CAIRN_HELLO_KEY))
        return CAIRN_HELLO_KEY;
    return node->insecure ? CAIRN_HELLO_NONE : CAIRN_HELLO_REFUSED;
}

const char *cairn_hello_refusal(const struct cairn_rpc_node *node)
{
    if (node->has_key && node->munge)
        return "over TCP this node asks for its cluster key or MUNGE, and the client offered neither";
    if (node->has_key)
        return "over TCP this node asks for its cluster key, and the client has none";
    return node->munge ? "over TCP this node asks for MUNGE, and the client offered none"
                       : "this node takes no clients over TCP: it has no cluster key and no MUNGE";
}

void cairn_hello_send_challenge(struct cairn_rpc_peer *peer, const struct cairn_rpc_node *node,
                                enum cairn_hello_auth auth)
{
    Cairn__Wire__HelloChallenge m = CAIRN__WIRE__HELLO_CHALLENGE__INIT;

    m.nonce.data = peer->transcript.server_nonce;
    m.nonce.len = CAIRN_NONCE_BYTES;
    m.auth = (char *)(uintptr_t)auth_names[auth];
    m.cluster_id.data = peer->transcript.cluster_id;
    m.cluster_id.len = CAIRN_CLUSTER_ID_BYTES;
    m.incarnation = node->incarnation;
    m.node = peer->transcript.node;
    cairn_hello_send(peer, CAIRN_HELLO_CHALLENGE, 0, &m.base);
}

void cairn_hello_send_welcome(struct cairn_rpc_peer *peer, const struct cairn_rpc_node *node,
                              const struct cairn_rpc_dedup *d, uint32_t version, bool resumed, bool prove)
{
    Cairn__Wire__HelloWelcome m = CAIRN__WIRE__HELLO_WELCOME__INIT;
    uint8_t proof[CAIRN_PROOF_BYTES];

    if (prove) {
        cairn_auth_prove(proof, node->key, &peer->transcript, true);
        m.proof.data = proof;
        m.proof.len = sizeof(proof);
    }
    m.version = version;
    m.cluster_id.data = (uint8_t *)(uintptr_t)node->cluster_id;
    m.cluster_id.len = CAIRN_CLUSTER_ID_BYTES;
    m.incarnation = node->incarnation;
    m.session = d->id;
    m.session_secret.data = (uint8_t *)(uintptr_t)d->secret;
    m.session_secret.len = sizeof(d->secret);
    m.inflight_max = peer->rpc->conf.inflight_max;
    m.inflight_bytes_max = peer->rpc->conf.inflight_bytes_max;
    m.uid = peer->info.who.uid;
    m.gid = peer->info.who.gid;
    m.admin = peer->info.who.admin;
    m.node = (char *)(uintptr_t)node->name;
    m.resumed = resumed;
    cairn_hello_send(peer, CAIRN_HELLO_WELCOME, 0, &m.base);
}

void cairn_hello_send_refused(struct cairn_rpc_peer *peer, int code, const char *text)
{
    Cairn__Wire__ErrorDetail m = CAIRN__WIRE__ERROR_DETAIL__INIT;

    m.text = (char *)(uintptr_t)text;
    cairn_hello_send(peer, CAIRN_HELLO_REFUSED_STEP, code, &m.base);
}
