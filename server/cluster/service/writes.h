/** What an elected one writes into the map store: in order, many entries in one change, one change at a time, fenced.
 *
 * One at a time, because whoever hears that the map is here up to a revision must have all that came before it, and
 * changes that are sent together may be done in any order.
 *
 *  IDLE ---> WRITING ---> IDLE
 *  WRITING ---> CHECKING ---> WRITING      CHECKING may also go to IDLE.
 *  WRITING and CHECKING may also go to PAUSING, PAUSING to WRITING, CHECKING and IDLE.
 *  IDLE ---> ENDED
 *
 *  IDLE      nothing is under way at the store.
 *  WRITING   a change is.
 *  CHECKING  whether it was done was not said, or its entry has changed: an entry of the batch is read. All of a change
 *            is done or nothing, so one entry tells: the first that is not erased, which tells the revision, too.
 *  PAUSING   the store could not be asked; again soon.
 *  ENDED     over. */
#ifndef CAIRN_SERVER_CLUSTER_SERVICE_WRITES_H
#define CAIRN_SERVER_CLUSTER_SERVICE_WRITES_H

#include "server/cluster/election.h"

enum { CAIRN_WRITES_RETRY_MS = 100, CAIRN_WRITES_TIMEOUT_MS = 1000, CAIRN_WRITES_KEY_BYTES = 32 };

enum {
    CAIRN_WRITES_IDLE,
    CAIRN_WRITES_WRITING,
    CAIRN_WRITES_CHECKING,
    CAIRN_WRITES_PAUSING,
    CAIRN_WRITES_ENDED,
    CAIRN_WRITES_NR
};

/** One entry to be stored; held by its user until done(). */
struct cairn_write {
    char key[CAIRN_WRITES_KEY_BYTES];
    const uint8_t *value; /* NULL: the entry is erased; nobody else does that */
    uint32_t len;
    uint64_t from;                      /* `changed` of the entry, 0: there is none */
    const struct cairn_map_write *also; /* to be written in the same change; NULL: nothing */
    /** It is in force, and nobody was told yet: every entry of a change is stored() before the first is done(). Of an
     * erased one the revision may be 0. */
    void (*stored)(struct cairn_write *w, uint64_t revision);
    /** @rc 0: stored() was called. Otherwise CAIRN_E_CLOSED: it may have been written, and may not. The last word. */
    void (*done)(struct cairn_write *w, int rc);
    void *arg;
    struct cairn_link link; /* private */
};

/** Held by its user, who fills the first part. At the store's home. */
struct cairn_writes {
    struct cairn_map_store *store;
    const struct cairn_election *election;
    /** A change of @batch is made: what else is to be in it, *@to, until it is over. False: nothing. NULL: never is.
     * With no batch: what it gave last is left out, as the store has another entry there than it was made from. */
    bool (*beside)(struct cairn_writes *ws, struct cairn_write *const *batch, uint32_t n, struct cairn_map_write *to);
    /** All up to @revision was stored(). */
    void (*upto)(struct cairn_writes *ws, uint64_t revision);
    /** Nothing can be written any more: the fence refused, an entry is not what it was made from. Stop. Not from
     * within a call. */
    void (*failed)(struct cairn_writes *ws, int rc, const struct cairn_err *err);
    /** What was under way when it was closed is over. */
    void (*closed)(struct cairn_writes *ws);

    /* to be read */
    struct cairn_sm sm;
    uint32_t nqueued;

    /* private */
    struct cairn_link queue;
    struct cairn_write *batch[CAIRN_MAP_WRITES_MAX];
    struct cairn_map_write writes[CAIRN_MAP_WRITES_MAX];
    uint32_t nbatch, nwrites; /* nwrites: with what is written beside them */
    struct cairn_map_change change;
    struct cairn_map_read read;
    struct cairn_timer timer;
    struct cairn_task task;
    int refused; /* what made us read */
    bool closing, broken, telling; /* telling: those of a batch, one after the other, what came of it */
    bool has_beside; /* the last of @writes */
};

extern const struct cairn_sm_kind cairn_writes_kind;

void cairn_writes_init(struct cairn_writes *ws);
void cairn_writes_fini(struct cairn_writes *ws);
/** Later; whoever adds more before then has them in one change. */
void cairn_writes_add(struct cairn_writes *ws, struct cairn_write *w);
/** Nothing is written any more: done() of what is not under way runs here, the rest later, then closed(). True:
 * nothing is under way, and closed() does not come. Then it may be used anew. */
bool cairn_writes_close(struct cairn_writes *ws);

#endif
