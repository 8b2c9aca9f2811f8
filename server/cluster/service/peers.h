/* A worker's sessions with other nodes, for peers.c, which makes them, and mail.c, which sends what replicas say. */
#ifndef CAIRN_SERVER_CLUSTER_SERVICE_PEERS_H
#define CAIRN_SERVER_CLUSTER_SERVICE_PEERS_H

#include "server/cluster/service/service_internal.h"
#include "server/cluster/service/side.h"

enum { PEER_ADDRESS_BYTES = CAIRN_ADDR_TEXT_MAX };

struct side_peer {
    struct side_worker *w;
    uint64_t node;
    char addresses[CAIRN_WIRE_ADDRESSES_MAX][PEER_ADDRESS_BYTES];
    uint32_t naddresses;
    bool resolving, stale; /* stale: nobody wants it any more */
    struct cairn_job job;
    struct cairn_rpc_session_conf conf;
    struct cairn_rpc_session *session; /* NULL: not yet */
    uint64_t looked_ns;
    bool only_asked; /* for the map, and wanted for nothing else since: goes before the next such question */
    struct cairn_wire_mail mail; /* what its node is to be told */
    struct cairn_link mailing;   /* of the worker's, while there is some */
    uint64_t mail_ns;            /* since when */
};

/* Made when it is first wanted. NULL: the node is not known, or there is no room. */
struct side_peer *side_peer_of(struct side_worker *w, uint64_t node);

/* ---- mail.c ---- */

/* There is a connection now. */
void side_mail_go(struct side_peer *p);
/* Nothing is sent any more. */
void side_mail_drop(struct side_peer *p);

#endif
