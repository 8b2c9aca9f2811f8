/* A request for the coordinator goes home from whichever worker it came to, and its answer back; or on to the node that does
 * coordinate, and that one's answer back. */
#ifndef CAIRN_SERVER_CLUSTER_SERVICE_CLUSTER_HOP_H
#define CAIRN_SERVER_CLUSTER_SERVICE_CLUSTER_HOP_H

#include "server/cluster/service/cluster_home.h"

/* A page of records, and what it is made of. */
enum { HOP_ARENA_BYTES_MAX = 8 << 20 };

/* A request on its way home and back. Its message stays the request's; what the answer is made of lies here. Of those
 * that any node takes, one that does not coordinate sends a copy (@forward, marked as one) to the one that does. */
struct hop {
    struct cairn_task task;
    struct cluster_home *home;
    struct cairn_rpc_req *rq;
    struct cairn_loop *origin;
    struct cairn_coordinator_ask ask;
    struct cairn_wire_heartbeat beat;
    struct cairn_wire_grant grant;
    void (*serve)(struct hop *h);
    const ProtobufCMessage *(*answer)(struct hop *h); /* NULL: no memory */
    const ProtobufCMessage *reply;
    char *text;      /* of STATUS: from malloc */
    char author[64]; /* of DRAIN */
    uint64_t holder; /* who coordinates, if it is not us */
    union {
        ProtobufCMessage base;
        Cairn__Wire__ClusterClass class;
        Cairn__Wire__ClusterDrain drain;
        Cairn__Wire__ClusterAsk ask;
    } forward; /* base.descriptor NULL: it is not to be sent on */
    struct cairn_rpc_call call;
    struct cairn_arena arena;
};

/* At the origin: for cluster_hop_go(). @serve: at home, where a coordinator runs; cluster_hop_back() ends it. @answer: what it
 * came to, there as well. NULL: answered already. */
struct hop *cluster_hop_new(struct cairn_rpc_req *rq, void (*serve)(struct hop *h),
                            const ProtobufCMessage *(*answer)(struct hop *h));
/* @rc: of reading the request, with words in h->ask.err; it is answered at once if that failed. */
void cluster_hop_go(struct hop *h, int rc);
/* At home: &h->ask has its outcome. */
void cluster_hop_back(struct cairn_coordinator_ask *ask);

#endif
