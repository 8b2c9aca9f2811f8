/* The node's half of the service, for its files: side.c (life and death of it all), side_disk.c (what it has on disk),
 * life.c (this node and the coordinator), peers.c (messages to other nodes), cluster_write.c (what the router asks).
 * slots, store and records know none of them. */
#ifndef CAIRN_SERVER_CLUSTER_SERVICE_SIDE_H
#define CAIRN_SERVER_CLUSTER_SERVICE_SIDE_H

#include "sdk/core/net/addr.h"
#include "sdk/core/rpc/session.h"
#include "server/cluster/service/fetch_core.h"
#include "server/cluster/service/gone.h"
#include "server/cluster/service/grants.h"
#include "server/cluster/service/records.h"
#include "server/cluster/service/slots.h"

enum {
    SIDE_SLOTS_MAX = CAIRN_CLUSTER_CLASSES * CAIRN_CLUSTER_SLOTS_OF_CLASS_MAX,
    SIDE_MESSAGES_MAX = 4096,             /* of a worker: proposals under way */
    SIDE_MESSAGE_BYTES_MAX = 64 << 20,    /* likewise, of what its replicas say to others */
    SIDE_PEERS_MAX = 4096,                /* of a worker */
    SIDE_UNAPPLIED_BYTES_MAX = 256 << 20, /* likewise, of entries in memory that the provider does not take */
    SIDE_CALL_MS = 2000,
    SIDE_CHECKPOINT_MS = 30000,
    SIDE_FORMS_MAX = 64, /* nodes whose replicas cannot be understood, said each */
};

struct scrub_report;
struct side_peer;
struct side_scrub;

struct side_worker {
    _Alignas(64) struct cairn_cluster *c;
    uint32_t index;
    struct cairn_loop *loop;
    struct cairn_rpc *rpc;
    struct cluster_slots *slots;
    bool stopping;
    struct side_peer **peers;                      /* by node */
    uint32_t npeers, peers_room, ncalls, nclosing; /* closing: and names that are looked up */
    uint64_t asked;                                /* the node that was asked for the map last; 0: none */
    struct cairn_link mailing;                     /* nodes that are to be told something when the turn is over */
    struct cairn_task mail_task;
    uint64_t bad_letters;
    uint8_t *body; /* of a write, while it is handed over */
    size_t body_room;
    struct cairn_link writes; /* of clients, under way: cluster_write.c */
    uint64_t room_look_ns;    /* when to look again whether there is room for new data */
    uint64_t room_bytes;      /* that came since the last look */
    bool has_no_room;
    const struct cairn_rpc_target *extent; /* where regions of large values are; NULL: there is none */
    struct cluster_fetches fetches;        /* of regions that are about to be named here */
    struct cairn_link holds;               /* who waits for some of them: fetch_asked.c */
    struct side_scrub *scrub;              /* NULL: there are no slots */
    struct cairn_link scrub_served;        /* what others are being told of what is here: scrub_serve.c */
    uint32_t nscrub_served;
    struct cairn_coord_log *logs; /* for REGISTER */
    uint32_t nlogs;
    uint8_t *partial; /* likewise */
    uint32_t partial_bytes;
    struct cairn_task task;
};

struct round;
struct side_life;
struct side_leave;

struct cairn_cluster_side {
    struct cairn_cluster *c;
    struct cairn_slot_disk *disk;
    atomic_uint_fast64_t *words; /* by slot */
    struct cluster_regions regions;
    struct side_worker *workers;
    uint32_t nworkers;
    atomic_uint_fast64_t lease_until_ns; /* 0: none */
    atomic_uint_fast64_t coordinator;    /* its node, as life knows it; 0: none */
    atomic_uint_fast64_t other_map;      /* that the cluster is said to have, instead of ours; 0: none */
    atomic_uint_fast64_t other_ns;       /* when that was said last */
    atomic_bool failed, hurry;           /* hurry: a heartbeat is asked for already */
    atomic_bool failing;                 /* why is being written, by whoever set this; then failed is set */
    char why[CAIRN_ERR_TEXT_MAX];
    atomic_uint left;   /* workers that are stopping */
    struct round *last; /* of all workers: of the stop, which may find no memory */
    struct side_life *life;
    struct side_leave *leave;
    uint64_t process;
    bool was_member;                                    /* an earlier process of this data directory was */
    struct cluster_pace pace;                           /* of copies that go out */
    struct cluster_askers askers;                       /* of pages of the map */
    atomic_uint_fast64_t mail_refused, mail_refused_ns; /* of a form that is not known; and when the last came */
    atomic_uint_fast64_t mail_forms[SIDE_FORMS_MAX];    /* of whom that was said: name and form; 0: a free place */
    struct scrub_report *scrub_report;
    struct cluster_gone gone;
    struct cairn_task stopped_task;
    void (*stopped)(void *arg);
    void *stopped_arg;
};

static inline struct side_worker *side_worker_of(struct cairn_cluster *c, uint32_t slot)
{
    return &c->side->workers[slot % c->side->nworkers];
}

/* This node holds slots. */
static inline bool side_has_store(const struct cairn_cluster *c)
{
    return c->conf.kv != NULL && c->conf.kv[0] != '\0';
}

bool side_lease_is_valid(const struct cairn_cluster *c);
/* Slots that need no lease may be served without one. Any thread. */
bool side_may_go_on(const struct cairn_cluster *c);
/* Somebody who has proved over a session that he holds the cluster's key speaks of @map: life_anew.c. Any thread. */
void side_hear_map(struct cairn_cluster *c, uint64_t map);
/* New data is refused: the disk has no room for it, or none for the logs. Any thread. */
bool side_disk_is_full(const struct cairn_cluster *c);
/* This node must not go on: it gives no answers and no heartbeats until it is started again. Any thread. */
void side_fail(struct cairn_cluster *c, int rc, const char *text);

/* On each worker fn(), then done() at home. @arg of both; CAIRN_E_NOMEM: nothing was begun. */
int side_each(struct cairn_cluster *c, void (*fn)(struct side_worker *w, void *arg), void (*done)(void *arg),
              void *arg);
/* A record that is in the node's copy, to the replica that may be here. Any thread. */
void side_learn_later(struct cairn_cluster *c, uint32_t slot);
/* A record of the copy, on the slot's worker; true: learned, or of no concern. */
bool side_learn(struct side_worker *w, uint32_t slot);

/* ---- side_disk.c ---- */

/* At the start: opens the log, and gives this process its number. @synced, @written as of struct
 * cairn_slot_disk_conf. */
int side_disk_open(struct cairn_cluster *c, void (*synced)(void *arg, uint32_t slot, int rc),
                   void (*written)(void *arg, uint32_t slot, struct cairn_at end, int rc), struct cairn_err *err);

/* ---- peers.c ---- */

/* The session with @m, which is made when it is first wanted, or made anew when its addresses have changed. NULL: not
 * yet. */
struct cairn_rpc_session *side_session(struct side_worker *w, const struct cairn_wire_member *m);
void side_propose(void *arg, const struct cairn_change *c);
void side_peers_stop(struct side_worker *w);
void side_peers_free(struct side_worker *w);
/* All is over on this worker? Then it says so, once. */
void side_worker_step(struct side_worker *w);

/* ---- mail.c ---- */

void side_mail_init(struct side_worker *w);
void side_mail_stop(struct side_worker *w);
void side_send(void *arg, const struct cairn_repl_msg *m);

/* ---- life.c ---- */

extern const struct cairn_sm_kind side_life_kind;
int side_life_new(struct cairn_cluster *c);
void side_life_free(struct cairn_cluster *c);
/* All workers know what is on disk. */
void side_life_begin(struct cairn_cluster *c);
/* The map is wanted now: a heartbeat. Any thread. */
void side_life_hurry(struct cairn_cluster *c);
/* At home: the coordinator is told that this process stops, as far as that takes no longer than @within_ns; then
 * @done(arg), perhaps within the call. From now on it sends no heartbeats. */
void side_life_part(struct cairn_cluster *c, uint64_t within_ns, void (*done)(void *arg), void *arg);
/* Later, unless nothing is under way: side_life_ended(). */
void side_life_end(struct cairn_cluster *c);
/* side.c */
void side_life_ended(struct cairn_cluster *c);
/* At home: why this node is not in the cluster; "": nothing is known against it. */
const char *side_life_problem(const struct cairn_cluster *c);
/* What `cairn status` says. */
void side_life_status(struct cairn_cluster *c, json_t *to);
const char *side_life_state(const struct cairn_cluster *c);

/* ---- leave.c ---- */

extern const struct cairn_sm_kind side_leave_kind;
int side_leave_new(struct cairn_cluster *c);
void side_leave_free(struct cairn_cluster *c);

/* ---- cluster_write.c ---- */

void side_writes_stop(struct side_worker *w);

#endif
