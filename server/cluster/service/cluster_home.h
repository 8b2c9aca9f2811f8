/* Home's half of the service: cluster.c (its life), cluster_self.c (who we are), cluster_coordinator.c (what the coordinator
 * asks of its node), cluster_rpc.c (requests), cluster_tell.c (news for other nodes). */
#ifndef CAIRN_SERVER_CLUSTER_SERVICE_CLUSTER_HOME_H
#define CAIRN_SERVER_CLUSTER_SERVICE_CLUSTER_HOME_H

#include "sdk/core/net/host.h"
#include "server/cluster/service/coordinator.h"

#include <pthread.h>

enum { CLUSTER_NEWS_MAX = 256, CLUSTER_TELLS_MAX = 1024 };

/* A record that some nodes are to hear of. */
struct cluster_news {
    struct cairn_wire_slot slot;
    uint64_t nodes[2 * (2 * CAIRN_REPLICAS_MAX + 1)];
    uint32_t nnodes;
};

/* What `cairn status` says; written at home, read by any thread. */
struct cluster_seen {
    char coordinator[CAIRN_NAME_BYTES_MAX + 1];
    char problem[CAIRN_ERR_TEXT_MAX]; /* "": none */
    bool coordinates;
    uint64_t known_ns; /* when somebody was last known to coordinate; or when we began */
    struct cairn_coordinator_counts counts;
    struct cairn_map_generation generation; /* as the view has it */
};

struct cluster_home {
    struct cairn_cluster c; /* first: the two are one allocation */
    struct cairn_coordinator coordinator;
    struct cairn_lease_times times; /* as configured, for a map that has none */
    bool coordinator_runs, lease_is_known;
    char host[CAIRN_HOST_ID_MAX]; /* the machine that we run on */
    uint8_t value[CAIRN_MEMBER_BYTES_MAX]; /* of the election's key */
    struct cairn_map_watch conf_watch;
    struct cairn_timer look;

    struct cluster_news *news; /* to be told in this turn */
    uint32_t nnews, ntells;
    struct cairn_task tell;
    struct cairn_link tells; /* under way */

    void (*quiesced)(void *arg);
    void *quiesced_arg;
    bool quiescing, side_is_over; /* the node's half may end before the coordinator does, and after */

    pthread_mutex_t mutex;
    struct cluster_seen seen; /* under mutex */
};

static inline struct cluster_home *home_of(struct cairn_cluster *c)
{
    return CONTAINER_OF(c, struct cluster_home, c);
}

/* cluster_rpc.c */
extern cairn_rpc_handler *const cluster_handlers[];

/* cluster_tell.c */
void cluster_tell_init(struct cluster_home *h);
/* Later in this turn, with what else there is for the same nodes; if there is too much, nothing: they ask. */
void cluster_tell(struct cluster_home *h, uint32_t slot, const struct cairn_slot_record *rec, const uint64_t *nodes,
                  uint32_t n);
/* Ends what is under way; cluster_quiesce_step() follows when it is over. */
void cluster_tell_stop(struct cluster_home *h);

/* cluster_coordinator.c: from here on h->coordinator_runs, if who we are is not too long. */
void cluster_coordinator_begin(struct cluster_home *h);

/* cluster.c */
void cluster_quiesce_step(struct cluster_home *h);

#endif
