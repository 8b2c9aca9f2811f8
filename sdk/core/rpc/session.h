/** The origin's session with one node: a connection that is made when first needed and made again when lost.
 *
 *     IDLE ---> CONNECTING ---> UP ---> IDLE        IDLE, CONNECTING and UP may also go to BACKOFF, BACKOFF to
 * CONNECTING and IDLE. IDLE, CONNECTING, UP and BACKOFF may also go to CLOSED.
 *
 * Calls wait in order while there is no connection or no credit. When the connection is lost, calls that change nothing
 * are sent again; calls that change something are sent again only if the node still knows the session, otherwise they
 * end with CAIRN_E_UNKNOWN. A call that could not be sent before its deadline ends with CAIRN_E_UNREACHABLE and the
 * reason. At once, with the reason's code, it ends when we are refused (CAIRN_E_AUTH, VERSION, DENIED) at all addresses,
 * of which each is named with what came of it; of a session between nodes, at one. */
#ifndef CAIRN_CORE_RPC_SESSION_H
#define CAIRN_CORE_RPC_SESSION_H

#include "sdk/core/net/addr.h"
#include "sdk/core/rpc/auth.h"
#include "sdk/core/rpc/rpc.h"

enum { CAIRN_SESSION_ADDRS_MAX = 16, CAIRN_SESSION_QUEUE_MAX = 65536 };

struct cairn_rpc_session_conf {
    struct cairn_addr addrs[CAIRN_SESSION_ADDRS_MAX]; /* of the same node, best first */
    uint32_t naddrs;
    bool has_key, munge;                       /* what we can prove ourselves with over TCP */
    char munge_socket[CAIRN_MUNGE_SOCKET_MAX]; /* "": MUNGE's own default */
    uint8_t key[CAIRN_KEY_BYTES];
    bool is_node;        /* we are a node of the cluster: both ends prove the key, over a unix socket, too */
    bool has_cluster_id; /* refuse any other cluster */
    uint8_t cluster_id[CAIRN_CLUSTER_ID_BYTES];
    char name[64]; /* who we say we are, for people */
    /** "": whoever is there, and the proof is for the node that it says to be; who sits in a node's place can carry it to
     * that one. Else another than the node of this name is not the one. */
    char node[CAIRN_NODE_NAME_MAX];
    uint64_t connect_timeout_ns; /* for one attempt; 0: 5 s */
    /** May be NULL: tells of every change. @err has the reason when it went down. */
    void (*changed)(struct cairn_rpc_session *s, bool up, const struct cairn_err *err, void *arg);
    void *arg;
};

extern const struct cairn_sm_kind cairn_rpc_session_kind;

struct cairn_rpc_session *cairn_rpc_session_new(struct cairn_rpc *rpc, const struct cairn_rpc_session_conf *conf,
                                                struct cairn_err *err);
/** A session with another node of the same cluster, as whoever @s is: its proofs, and its cluster once that is known.
 * @node: its name; another one that answers at its address is passed over. "": any.
 * @naddrs 0: by the addresses of @s. */
struct cairn_rpc_session *cairn_rpc_session_sibling(const struct cairn_rpc_session *s, const struct cairn_addr *addrs,
                                                    uint32_t naddrs, const char *node, struct cairn_err *err);
/** Connects now rather than at the first call. */
void cairn_rpc_session_connect(struct cairn_rpc_session *s);
/** Ends the connection; all calls end with CAIRN_E_CLOSED from later tasks; then @done(arg) runs, and @s is gone. */
void cairn_rpc_session_close(struct cairn_rpc_session *s, void (*done)(void *arg), void *arg);
bool cairn_rpc_session_is_up(const struct cairn_rpc_session *s);
/** Says something that nobody answers: it arrives behind what was said and called before, or is lost with the
 * connection. Copied before it returns; how much of it waits for the socket is the caller's to bound: cairn_rpc_session_unsent().
 * Returns 0, CAIRN_E_CLOSED (there is no connection; one is being made) or CAIRN_E_NOMEM. */
int cairn_rpc_session_tell(struct cairn_rpc_session *s, const struct cairn_rpc_iface *iface, uint16_t provider,
                           uint16_t method, const struct iovec *payload, uint32_t n);
/** Bytes that the socket has not taken yet. */
size_t cairn_rpc_session_unsent(const struct cairn_rpc_session *s);
/** The connection it has now, or NULL. */
struct cairn_rpc_peer *cairn_rpc_session_peer(struct cairn_rpc_session *s);
/** Why there is no connection: what came of each address. The code is that of a refusal, if there was one. */
void cairn_rpc_session_why(const struct cairn_rpc_session *s, struct cairn_err *err);
/** What HELLO told: the node's name, its cluster, as whom it knows us. Valid once it has been up. */
struct cairn_rpc_session_facts {
    char node[CAIRN_NODE_NAME_MAX];
    uint8_t cluster_id[CAIRN_CLUSTER_ID_BYTES];
    uint64_t incarnation;
    uid_t uid;
    gid_t gid;
    bool admin;
    char auth[8];
};
const struct cairn_rpc_session_facts *cairn_rpc_session_facts(const struct cairn_rpc_session *s);

#endif
