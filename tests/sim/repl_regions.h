/* Regions of large values in the replicated world, for the files that hold them: repl_regions.c (a node's disk of them,
 * what the node stores and is told), repl_fetch.c (what the node's core of fetches asks of it), repl_sweep.c (what
 * takes them away again). */
#ifndef CAIRN_TESTS_SIM_REPL_REGIONS_H
#define CAIRN_TESTS_SIM_REPL_REGIONS_H

#include "server/cluster/service/fetch_core.h"
#include "tests/sim/repl_internal.h"

enum { RW_REGION_BUCKETS = 64, RW_REGION_OWNER = 7, RW_REGION_LEN = 1 };

/* On a disk. */
struct rw_region {
    struct rw_region *next;
    struct repl_node *node;
    uint64_t id;
    bool sealed;  /* all its bytes were written */
    bool durable; /* and synced */
    bool damaged;
    struct cairn_timer timer; /* of its store */
    void (*stored)(void *arg, struct rw_region *r);
    void *arg;
};

/* A value that is being put here. */
struct rw_upload {
    struct cairn_link link;
    struct repl_node *node;
    uint32_t slot;
    uint64_t id;
    struct cairn_timer timer;
    void (*done)(void *arg, int rc, uint64_t id);
    void *arg;
};

struct rw_sweep {
    enum { SWEEP_RESTS, SWEEP_LOGS, SWEEP_RECORDS, SWEEP_FLUSH, SWEEP_REMOVE } state;
    struct cairn_timer timer;
    uint64_t *ids; /* candidates, ascending */
    uint32_t n, slot, tries;
    uint64_t seen[RW_SLOTS_MAX]; /* the positions of the records that were looked at */
};

struct rw_regions {
    struct repl_node *node;
    struct rw_region *buckets[RW_REGION_BUCKETS]; /* the disk */
    struct cluster_regions table;                 /* of the process, as all that follows */
    struct cluster_fetches fetches;
    struct cairn_link uploads;
    struct rw_sweep sweep;
    uint64_t nreads;
};

struct rw_region *rw_region_find(const struct repl_node *n, uint64_t id);
/* Written, then synced, then stored(). Nothing of its name is here. */
void rw_region_store(struct repl_node *n, uint64_t id, void (*stored)(void *arg, struct rw_region *r), void *arg);
void rw_region_remove(struct repl_node *n, uint64_t id);
/* The regions of an entry; 0: none. */
uint64_t rw_entry_region(const struct cairn_log_entry *e);

/* ---- repl_fetch.c ---- */

void rw_fetches_begin(struct repl_node *n);
void rw_fetches_end(struct repl_node *n);
/* Another node asks for one, or answers. */
void rw_fetch_asked(struct repl_node *n, const struct rw_letter *l);
void rw_fetch_answered(struct repl_node *n, const struct rw_letter *l);

/* ---- repl_sweep.c ---- */

void rw_sweep_begin(struct repl_node *n);
void rw_sweep_end(struct repl_node *n);

#endif
