/** Regions of large values that this node's replicas are about to name: which of them are here, which are on their
 * way, and which nobody may count on any more, since the sweeper is removing them.
 *
 * A region has the same name on every replica (its first store made it, and no store makes it twice), so an entry of
 * a log or a record of a copy says the same everywhere. It must be here, durable, before such an entry is appended or
 * such a record put (PROTOCOL §5): until log or record names it, the table does, which is the protocol's pin. Pins
 * are of this process; they are let go when they are old and a sweep begins, and not in the middle of one, so a sweep
 * sees each region in the table, in a log or under a key. Any thread. */
#ifndef CAIRN_SERVER_CLUSTER_SERVICE_REGIONS_H
#define CAIRN_SERVER_CLUSTER_SERVICE_REGIONS_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

enum {
    REGIONS_BUCKETS = 4096,
    REGIONS_MAX = 1 << 18,
    REGIONS_PIN_MS = 600000, /* from the last time that somebody asked for it */
};

enum region_state {
    REGION_UNKNOWN,  /* pinned, and it has to be looked for */
    REGION_FETCHING, /* somebody is at it */
    REGION_HERE,
    REGION_GONE, /* whoever names it has it no more: the name has been replaced since, or its namespace was removed */
    REGION_BUSY, /* not pinned: it is being removed, or there is no room */
};

struct cluster_region {
    struct cluster_region *next;
    uint64_t id, until_ns;
    uint64_t said_by; /* GONE: the node that says so; of what others name it says nothing */
    enum region_state state;
};

struct cluster_regions {
    pthread_mutex_t mutex;
    struct cluster_region *buckets[REGIONS_BUCKETS];
    uint32_t n;
    const uint64_t *doomed; /* the sweeper's, ascending */
    uint32_t ndoomed;
    bool full; /* somebody was refused since the last sweep began */
    uint64_t refused;
};

void cluster_regions_init(struct cluster_regions *t);
void cluster_regions_fini(struct cluster_regions *t);

/** Pins @id from now on, and says how it is with it. UNKNOWN: it is the caller's to look for it, and FETCHING for all
 * others until cluster_regions_set(). @named_by: the node whose entry or record names it, which alone is believed that
 * it is gone; 0: it is named by nothing yet, and nobody is. */
enum region_state cluster_regions_pin(struct cluster_regions *t, uint64_t id, uint64_t named_by, uint64_t now_ns);
/** What came of it: HERE, or UNKNOWN, to be looked for once more. */
void cluster_regions_set(struct cluster_regions *t, uint64_t id, enum region_state state);
/** Likewise: GONE, as @said_by, who names it, says. */
void cluster_regions_set_gone(struct cluster_regions *t, uint64_t id, uint64_t said_by);
/** Whoever asks next looks for it, also if it was here. */
void cluster_regions_doubt(struct cluster_regions *t, uint64_t id);
/** As it is now; not pinned. */
enum region_state cluster_regions_state(struct cluster_regions *t, uint64_t id);
/** A region that was just stored here, by whoever leads. CAIRN_E_BUSY: it cannot be pinned. */
int cluster_regions_note(struct cluster_regions *t, uint64_t id, uint64_t now_ns);

/** A log names it, or a page of records that is being put: the next sweep may let the pin go. */
void cluster_regions_named(struct cluster_regions *t, uint64_t id);

/** As many are pinned as may be: large values are refused until a sweep begins that lets pins go. For people. */
struct cluster_regions_counts {
    uint32_t pinned;
    bool full;
    uint64_t refused; /* so often, since the start */
};
void cluster_regions_count(struct cluster_regions *t, struct cluster_regions_counts *out);

/** Old pins are let go. */
void cluster_regions_sweep_begin(struct cluster_regions *t, uint64_t now_ns);
/** Takes those that are pinned out of @ids (ascending; @n of them), returns how many are left: nobody can pin these
 * before cluster_regions_spare(), and until then @ids is the table's. */
uint32_t cluster_regions_doom(struct cluster_regions *t, uint64_t *ids, uint32_t n);
void cluster_regions_spare(struct cluster_regions *t);

#endif
