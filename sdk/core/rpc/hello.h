/* The messages of HELLO: what both ends put into them and what they check. Internal to this folder. */
#ifndef CAIRN_CORE_RPC_HELLO_H
#define CAIRN_CORE_RPC_HELLO_H

#include "sdk/core/rpc/accept.h"
#include "sdk/core/rpc/rpc_internal.h"

#include "schema/common.pb-c.h"

/* A number for each change after which two builds do not understand one another: they say so then, and not that a key
 * is wrong or a message damaged. 2: a proof is for a node and a way in; the mail of replicas begins with its form. */
enum { CAIRN_PROTOCOL_MIN = 2, CAIRN_PROTOCOL_MAX = 2 };

/* `method` of a HELLO frame. */
enum cairn_hello_step {
    CAIRN_HELLO_OPEN = 1,
    CAIRN_HELLO_CHALLENGE = 2,
    CAIRN_HELLO_PROOF = 3,
    CAIRN_HELLO_WELCOME = 4,
    CAIRN_HELLO_REFUSED_STEP = 5
};

enum cairn_hello_auth { CAIRN_HELLO_REFUSED, CAIRN_HELLO_PEER, CAIRN_HELLO_KEY, CAIRN_HELLO_MUNGE, CAIRN_HELLO_NONE };

const char *cairn_hello_auth_name(enum cairn_hello_auth auth);
enum cairn_hello_auth cairn_hello_auth_of(const char *name);

/* server */
int cairn_hello_check_open(const Cairn__Wire__HelloOpen *open, const struct cairn_rpc_node *node,
                           struct cairn_err *err);
enum cairn_hello_auth cairn_hello_choose(const Cairn__Wire__HelloOpen *open, const struct cairn_rpc_node *node,
                                         bool is_unix);
const char *cairn_hello_refusal(const struct cairn_rpc_node *node);
void cairn_hello_send_challenge(struct cairn_rpc_peer *peer, const struct cairn_rpc_node *node,
                                enum cairn_hello_auth auth);
void cairn_hello_send_welcome(struct cairn_rpc_peer *peer, const struct cairn_rpc_node *node,
                              const struct cairn_rpc_dedup *d, uint32_t version, bool resumed, bool prove);
void cairn_hello_send_refused(struct cairn_rpc_peer *peer, int code, const char *text);

void cairn_hello_send(struct cairn_rpc_peer *peer, enum cairn_hello_step step, int value, const ProtobufCMessage *msg);

enum { CAIRN__NOBODY = 65534 }; /* the user and group of those who have not said who they are */

/* refusal.c */
void cairn_rpc__refusal_log(struct cairn_rpc_peer *peer, const char *text);
/** It is welcome. */
void cairn_rpc__refusal_over(struct cairn_rpc_peer *peer);

/* accept.c */
struct cairn_rpc_peer *cairn_rpc__peer_accepted(struct cairn_rpc *rpc, int fd);

#endif
