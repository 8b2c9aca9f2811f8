/* What the files of this node's life in its cluster share: life.c (heartbeats), life_register.c, life_learn.c (what a
 * grant and other nodes bring of the map; the lease), life_fetch.c (what is asked of other nodes), life_anew.c (the map
 * is another), life_part.c (the last word), life_group.c (what groups tell and are told). */
#ifndef CAIRN_SERVER_CLUSTER_SERVICE_LIFE_INTERNAL_H
#define CAIRN_SERVER_CLUSTER_SERVICE_LIFE_INTERNAL_H

#include "server/cluster/service/hearsay.h"
#include "server/cluster/service/records_chain.h"
#include "server/cluster/service/side.h"
#include "server/port/gossip.h"

enum {
    LIFE_LOADING,
    LIFE_SEEKING,
    LIFE_REGISTERING,
    LIFE_ENTERING,
    LIFE_BEATING,
    LIFE_CEASING,
    LIFE_PARTING,
    LIFE_ENDED,
    LIFE_NR
};
enum { BEATS = 4, LIFE_ARENA_BYTES = 16 << 20, LIFE_DOUBTS_MAX = 16 };

struct life_beat {
    struct cairn_cluster *c;
    bool busy, own;               /* own: to ourselves */
    uint64_t number, map, revision, sent_ns, to; /* to: the node */
    struct cairn_rpc_call call;
    struct cairn_arena arena;
};

/* A grant that counts when the map up to @upto is learned. */
struct life_wait {
    uint64_t number, sent_ns, came_ns, upto;
    bool own;
};

struct side_life {
    struct cairn_sm sm;
    struct cairn_cluster *c;
    struct cairn_timer tick;
    struct cairn_task hurry;
    uint64_t tick_due_ns;
    uint64_t inc, learned, beats_sent, term; /* term: of the coordinator that the newest grant named */
    uint64_t first_inc;  /* the first that this process had; inc 0 since: the map is another */
    uint64_t vouched;    /* of the records' map: there is all up to here, as a coordinator has said */
    bool ceases;         /* as soon as it beats: the map is another */
    struct cairn_lease lease;
    uint64_t eager_until_ns; /* a grant is wanted at once, not a heartbeat later: the lease was given up, or another */
    uint64_t eager_ns;       /* coordinates; so often it is asked for until it is here */
    struct life_beat beats[BEATS];
    bool registering;         /* a REGISTER is under way, the first one or another */
    bool again;               /* the coordinator wants to know of the logs */
    struct cairn_arena arena; /* of REGISTER */
    struct cairn_rpc_call call;
    struct cairn_err err;
    char problem[CAIRN_ERR_TEXT_MAX]; /* why the last REGISTER was refused; "": it was not */
    int stranger;             /* CAIRN_E_AUTH, for the key, or _VERSION: to the coordinator we are none of its own */
    /* What waits for the map: the oldest grant that does, and the newest. */
    struct life_wait waits[2];
    uint32_t nwaits;
    /* What is being learned: a grant's page, all of another node's, or our own records. */
    bool learning;
    atomic_bool missed; /* some replica could not learn */
    uint64_t learn_map, revision;
    uint32_t *slots, nslots;
    /* What is asked of another node, or was and is being learned. */
    struct hearsay hearsay;
    struct cairn_timer hear_timer;
    bool fetching, fetched;     /* fetching: a call is under way */
    uint64_t fetch_from, fetch_until_ns;
    struct records_chain chain; /* what it has given so far */
    bool chain_ends;            /* that is all */
    uint64_t learned_from; /* whoever brought us as far as we are; 0: the coordinator */
    uint64_t no_such;      /* the map does not go so far, as the coordinator says, whoever else says it does; 0: none */
    struct cairn_rpc_call fetch;
    Cairn__Wire__ClusterFetch fetch_msg;
    atomic_uint_fast64_t asked_others, asked_coordinator, lies; /* counted, for people */
    struct {          /* that a node is there */
        uint64_t node; /* which the replicas are being told of; 0: none */
        uint64_t waiting[LIFE_DOUBTS_MAX];
        uint32_t n;
    } doubts;
    uint64_t seek_ns; /* when to look next whether a group misses members; */
    uint32_t seek_s, sought; /* the pause before that, and how many there should have been */
    struct {          /* the last word */
        struct cairn_rpc_call call;
        Cairn__Wire__ClusterStop msg;
        Cairn__Wire__ReplWho who;
        struct cairn_timer again;
        uint64_t until_ns;
        void (*done)(void *arg);
        void *arg;
    } part;
    uint32_t pending; /* calls and rounds of the workers */
};

/* ---- life.c ---- */

/* A call or a round is over. True: the node ends, and this was perhaps what it waited for. */
bool life_step_over(struct side_life *l);
/* Where the coordinator is. False: nobody knows, or there is no session yet. */
bool life_find_coordinator(struct side_life *l, struct cairn_rpc_dest *dest);
/* @call is to be started; life_step_over() when it is over. */
void life_call_prepare(struct side_life *l, struct cairn_rpc_call *call, const struct cairn_rpc_dest *dest,
                       uint16_t method, const ProtobufCMessage *msg, void (*done)(struct cairn_rpc_call *call),
                       void *arg);
/* Sends a heartbeat, unless too many are under way. */
void life_beat(struct side_life *l);

/* ---- life_learn.c ---- */

/* The answer to @b has come. */
void life_granted(struct side_life *l, const struct life_beat *b, const struct cairn_wire_grant *g);
/* What this node's records have and its replicas do not: changes that it made as the coordinator, if its term ended before
 * its own heartbeat brought them; all of it, if some replica missed a page. */
void life_learn_own(struct side_life *l);
/* Nothing is being learned now: all pages of one copy, or the only one. life_fetched() follows if they were @fetched. */
void life_learn_pages(struct side_life *l, const struct cairn_wire_page *pages, uint32_t n, bool fetched);
/* The map does not go so far. */
bool life_is_no_such(const struct side_life *l, uint64_t version);

/* ---- life_fetch.c ---- */

void life_hear_init(struct side_life *l);
/* No more words, no more questions. */
void life_hear_end(struct side_life *l);
/* Something has changed: is anybody to be asked now? */
void life_hear(struct side_life *l);
/* All that was fetched is learned; or not (@ok). */
void life_fetched(struct side_life *l, bool ok);
/* Nothing is known any more. */
void life_hear_forget(struct side_life *l);

/* ---- life_group.c ---- */

void life_group_init(struct side_life *l);
/* No more doubts. */
void life_group_end(struct side_life *l);
/* Members that a group misses are looked for, now and then. */
void life_seek(struct side_life *l);

/* ---- life_anew.c ---- */

/* A coordinator serves @map, in its term @term. False: it is what we know of already, or is not to be followed. True:
 * all that was known is forgotten, and we begin anew in it. */
bool life_follow_map(struct side_life *l, uint64_t map, uint64_t term);
/* A coordinator of our map has granted something for a heartbeat that was sent at @sent_ns: is that ours after all? */
void life_trust_map(struct side_life *l, uint64_t sent_ns);
/* If that waited for it: we are BEATING now. */
void life_cease(struct side_life *l);

/* ---- life_register.c ---- */

/* Sends a REGISTER, unless one is under way or nobody coordinates. */
void life_register(struct side_life *l);

#endif
