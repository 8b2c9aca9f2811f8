/* What the two halves of the service share.
 *
 * Home's half is the cluster's: coordinator.c (elected: decides), cluster_rpc.c (handlers), cluster.c (the
 * descriptor). The node's half is this node's part in it: records (its copy of the map), life (REGISTER, HEARTBEAT,
 * the lease), slots, peers and store. They meet here and nowhere else. The coordinator's own node is registered and
 * granted like any other: by a call, which happens to be local. */
#ifndef CAIRN_SERVER_CLUSTER_SERVICE_INTERNAL_H
#define CAIRN_SERVER_CLUSTER_SERVICE_INTERNAL_H

#include "sdk/core/base/arena.h"
#include "server/cluster/election.h"
#include "server/cluster/repl/lease.h"
#include "server/cluster/repl/replica.h"
#include "server/cluster/service/cluster.h"

#define CAIRN_CLUSTER_KEY_CONF "cluster/conf" /* decimal: nslots. Written once, with the first class */
#define CAIRN_CLUSTER_KEY_LEASE                                                                                        \
    "cluster/lease" /* decimal: L in ms, for all. Written once, by the first that is elected */
#define CAIRN_CLUSTER_KEY_LED         "cluster/led" /* 16 hexadecimal digits: who served last as coordinator */
#define CAIRN_CLUSTER_KEY_COORDINATOR "coordinator" /* a MemberUpdate of whoever is elected */

enum {
    CAIRN_CLUSTER_SLOTS_OF_CLASS_MAX = 1 << 17, /* a map store holds a million entries, and others want some too */
};

struct cairn_wire_page;
struct cairn_wire_member;
struct cairn_cluster_records;
struct cairn_cluster_side;
struct cairn_coordinator;

struct cairn_cluster {
    const struct cairn_provider_env *env;
    struct cairn_cluster_conf conf;
    struct cairn_lease_times lease_times; /* home's; as the map has it, once cairn_cluster__coordinator() names one */
    struct cairn_replica_times replica_times;
    struct cairn_map_store *map; /* shared; its home is ours */
    struct cairn_loop *home;     /* worker 0's: election, coordinator, life, writing of records */
    struct cairn_rpc **rpcs;     /* by worker; set by attach, before the workers run */
    uint64_t node, disk_id;      /* of the data directory */
    _Atomic uint32_t nslots;     /* of one class, as the map has it; 0: no class was made yet */

    struct cairn_coordinator *coordinator; /* home's */
    struct cairn_cluster_records *records; /* made and freed by the node's half, before and after everything else */
    struct cairn_cluster_side *side;       /* the node's half's own */
};

/* ---- records.c: this node's copy of members and slots ----
 *
 * The coordinator's node is given each change as soon as it is stored and before anybody is granted or told, so a
 * grant is a page of this copy. */

/** At home: what the map store has, @revision of the change. Changes come in the order of their revisions.
 * CAIRN_E_NOMEM: then nothing newer may be told to anybody (the coordinator resigns). */
int cairn_cluster_records_put_slot(struct cairn_cluster_records *r, uint32_t slot, const struct cairn_slot_record *rec,
                                   uint64_t revision);
int cairn_cluster_records_put_member(struct cairn_cluster_records *r, const struct cairn_wire_member *m,
                                     uint64_t revision);
/** Any thread: how many members are known. */
uint32_t cairn_cluster_records_nmembers(struct cairn_cluster_records *r);
/** At home: all up to @revision is here now. Never goes back. */
void cairn_cluster_records_upto(struct cairn_cluster_records *r, uint64_t revision);

/** Any thread: the next page of what has changed after @since, members only if asked for; lies in @a. With page->more it
 * says where to go on in this copy; the last one holds, with those before it, all up to page->revision. CAIRN_E_NOMEM. */
int cairn_cluster_records_page(struct cairn_cluster_records *r, uint64_t since, bool members, struct cairn_arena *a,
                               struct cairn_wire_page *page);

/** Any thread: whether all of it is one page; quickly. */
bool cairn_cluster_records_fit(struct cairn_cluster_records *r, uint64_t since);

/** Any thread: whether such a page would have anything in it; quickly. */
bool cairn_cluster_records_has_news(struct cairn_cluster_records *r, uint64_t since);

/* ---- the node's half, called by cluster.c and cluster_rpc.c ---- */

/** Before the workers run; may block. c->records and c->side are made. Ended by stop(), also after a failure. */
int cairn_cluster__side_start(struct cairn_cluster *c, struct cairn_err *err);
/** For each worker, before they run; c->rpcs[cairn_rpc_index(rpc)] is set. */
void cairn_cluster__side_attach(struct cairn_cluster *c, struct cairn_rpc *rpc);
/** At home, the workers run: life begins. */
void cairn_cluster__side_run(struct cairn_cluster *c);
/** At home: others get what this node has, as far as they can take it and within @within_ns; then @done(arg), here. */
void cairn_cluster__side_leave(struct cairn_cluster *c, uint64_t within_ns, void (*done)(void *arg), void *arg);
/** At home: every replica, session and timer ends; then @done(arg), here. */
void cairn_cluster__side_quiesce(struct cairn_cluster *c, void (*done)(void *arg), void *arg);
/** The workers have ended. */
void cairn_cluster__side_stop(struct cairn_cluster *c);
/** Any thread: "lease", "replicas" and so on. */
void cairn_cluster__side_status(struct cairn_cluster *c, json_t *to);
/** Handlers, on any worker: a replica's message; records told by the coordinator (not contiguous: page->revision says
 * nothing of what is known). */
void cairn_cluster__side_on_repl(struct cairn_rpc_req *rq);
void cairn_cluster__side_on_publish(struct cairn_rpc_req *rq);

/** At home: this node gives up its lease, and what may still be granted to heartbeats that it has sent. When it is
 * elected: what another granted may outlast its term. And before its term is given up: what it granted itself must
 * not. */
void cairn_cluster__side_give_up(struct cairn_cluster *c);
/** At home: this node's records have all up to a newer revision: others may ask for it. */
void cairn_cluster__side_say(struct cairn_cluster *c);
/** At home: this node is elected, and the map that it read is @map (../map_generation.h) and ends at @revision. What is
 * known here beyond that is of no map that there is, and dropped. */
void cairn_cluster__side_map_is(struct cairn_cluster *c, uint64_t map, uint64_t revision);
/** At home: which map this node knows of, and up to which revision a coordinator has said that there is of it. 0: of
 * none. */
uint64_t cairn_cluster__side_map_known(struct cairn_cluster *c, uint64_t *upto);
/** At home: another node is elected. Its grant is asked for at once: the lease of its predecessor runs out. */
void cairn_cluster__side_follow(struct cairn_cluster *c);

/** peers.c, on worker @worker's thread: where a call to @node goes (neither session nor peer: ourselves). False: it
 * is not known, or has no address. The session lives until side_quiesce(). */
bool cairn_cluster__peer(struct cairn_cluster *c, uint32_t worker, uint64_t node, struct cairn_rpc_dest *dest);
/** The same at home, for a question of the map, one at a time: the session lives until another node is asked, unless
 * it is wanted for something else. */
bool cairn_cluster__peer_to_ask(struct cairn_cluster *c, uint64_t node, struct cairn_rpc_dest *dest);

/* ---- home's half, called by the node's ---- */

/** What the entry CAIRN_CLUSTER_KEY_CONF says: slots of a class; 0: nothing that makes sense. */
uint32_t cairn_cluster__nslots_of(const struct cairn_map_entry *e);

/** L in ns that the entry CAIRN_CLUSTER_KEY_LEASE says; 0: nothing that makes sense. */
uint64_t cairn_cluster__lease_of(const struct cairn_map_entry *e);
/** At home: who coordinates, as the map store's view tells; 0: nobody, or not known. The strings of *@m lie in @a.
 * Ask again at each heartbeat: it may change at any time. */
uint64_t cairn_cluster__coordinator(struct cairn_cluster *c, struct cairn_arena *a, struct cairn_wire_member *m);
/** At home: we coordinate, and not everybody has been told yet of what is decided. */
bool cairn_cluster__is_telling(struct cairn_cluster *c);
/** Any thread: this node as others are to know it, for REGISTER; strings lie in @a or live as long as @c. */
void cairn_cluster__self(struct cairn_cluster *c, struct cairn_arena *a, struct cairn_wire_member *m);

#endif
