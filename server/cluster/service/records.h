/** A node's copy of the map: members and slot records, each with the version in which it changed.
 *
 * Home writes it, from the pages that the coordinator's grants bring; any thread reads it. Items are kept in the
 * order of their changes, so whoever knows all up to a version is told what came behind it, in pages (records_chain.h).
 * A page that was taken as one is given out as one: what it brought that is new here carries the page's revision. What
 * was here before keeps its own, for pages may overlap: so it is true of any copy that all of its pages since a revision
 * have all that has changed after it, and who knows all up to one may go on at another node. */
#ifndef CAIRN_SERVER_CLUSTER_SERVICE_RECORDS_H
#define CAIRN_SERVER_CLUSTER_SERVICE_RECORDS_H

#include "server/cluster/repl/repl_wire.h"
#include "server/cluster/service/service_internal.h"

#include <pthread.h>

enum { CAIRN_CLUSTER_SLOTS_MAX = CAIRN_CLUSTER_CLASSES << CAIRN_SLOT_BITS_MAX, CAIRN_RECORDS_FOUND_MAX = 64 };

struct records_slot;
struct records_member;

/** Where the search for members that are gone for good stands: records_sweep.c. */
struct records_sweep {
    struct records_found {
        uint64_t node;
        bool named;                   /* by a slot */
    } found[CAIRN_RECORDS_FOUND_MAX]; /* that may be, by node */
    uint32_t nfound, next_slot;
    uint64_t next_node, rest_until_ns;
};

struct cairn_cluster_records {
    pthread_rwlock_t lock;
    uint64_t map;                /* whose copy it is (../map_generation.h); 0: not known yet */
    uint64_t copy;               /* which one it is of all that there are of it, as pages say */
    uint64_t revision;           /* all changes up to here are in it */
    struct cairn_link changes;   /* slots and members by version, the oldest first */
    struct cairn_link coming;    /* those that will be among them by another one: struct records_item */
    struct records_slot **slots; /* by id */
    uint32_t slots_room, nslots;
    struct records_member **members; /* by node */
    uint32_t nmembers, members_room;
    struct records_sweep sweep;
};

/* service_internal.h has what the coordinator's side asks of it. */

/** @copy: a random number. */
int cairn_cluster_records_init(struct cairn_cluster_records *r, uint64_t copy);
void cairn_cluster_records_fini(struct cairn_cluster_records *r);

/** Home: all of @n pages of one copy that follow one another (records_chain.h), from the revision that is here, or
 * before it, to one that has no more behind it. An older record than the one that is here (it came by a shorter way)
 * changes nothing. CAIRN_E_STATE: they are of another map. CAIRN_E_NOMEM, CAIRN_E_LIMIT: nothing is here any more, since
 * part of a change cannot be told from none; all of it is to be asked for again. */
int cairn_cluster_records_take(struct cairn_cluster_records *r, const struct cairn_wire_page *pages, uint32_t n);
/** One record of the map @map that is in force, before the page that will tell of it. True: it is newer than the one
 * that was here. */
bool cairn_cluster_records_hint(struct cairn_cluster_records *r, uint64_t map, uint32_t slot,
                                const struct cairn_slot_record *rec);

/** Home: nothing is here any more; what comes is of @map. */
void cairn_cluster_records_forget(struct cairn_cluster_records *r, uint64_t map);

/** The ids of all slots that have changed after @since, up to *@revision, in *@slots, the caller's. CAIRN_E_NOMEM. */
int cairn_cluster_records_changed(struct cairn_cluster_records *r, uint64_t since, uint32_t **slots, uint32_t *n,
                                  uint64_t *revision);

/** Home, now and then: one step, of a bounded length, of the search for members that are lost or silent and are named
 * by no slot. Who has been so for @after_ns is dropped: the map has forgotten him, or is about to. */
void cairn_cluster_records_sweep(struct cairn_cluster_records *r, uint64_t now_ns, uint64_t after_ns);

uint64_t cairn_cluster_records_revision(struct cairn_cluster_records *r);
uint64_t cairn_cluster_records_map(struct cairn_cluster_records *r);
bool cairn_cluster_records_slot(struct cairn_cluster_records *r, uint32_t slot, struct cairn_slot_record *rec);
/** All members by id, while nothing can change: quickly, and without asking for more of the records. */
void cairn_cluster_records_members(struct cairn_cluster_records *r,
                                   void (*fn)(const struct cairn_wire_member *m, void *arg), void *arg);
/** Strings are copied into @a. False: there is none, or no memory. */
bool cairn_cluster_records_member(struct cairn_cluster_records *r, uint64_t node, struct cairn_wire_member *m,
                                  struct cairn_arena *a);

#endif
