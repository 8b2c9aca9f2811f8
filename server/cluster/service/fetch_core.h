/** How a region comes to a node that is about to name it: the decisions. Who is asked, who is believed when he says
 * that there is none, what has to be removed first, what a message waits for. Pure: no I/O and no clock of its own; a
 * node (fetch.c) or the simulator (tests/sim/repl_fetch.c) performs what comes out.
 *
 * One that leads a slot has stored a large value's region and tells the others to fetch it (spread.c), long before an
 * entry names it. Whatever names one that is not here, an entry or a record of a copy, is not taken before it is
 * (I11): that is the rule, and the telling only makes it quick.
 *
 *  LOOK ---> WAIT ---> READ ---> PUT ---> DONE        LOOK and READ may also go to DONE; all but DONE to FAILED.
 *  LOOK ---> CLEAR ---> WAIT        READ and PUT may also go to WAIT.
 *
 *  LOOK    whether it is here is being asked: it may be, from another time.
 *  CLEAR   what is here under its name is damaged, or of another length, and it is being removed: an entry or a record
 *          of a node that is in sync says what it should be.
 *  WAIT    for memory, or for a session with the node that has it; when there is none for half a second, or what came
 *          from there was no use, another that is in sync with the slot is asked. For a copy: or for its turn there.
 *  READ    the other node is writing its bytes into our memory.
 *  PUT     they are being stored, under the same name, with the writer's checksums, until they are on disk.
 *  DONE    it is here; or the other node has it no more, though it names it and leads: then the name was replaced or
 *          the namespace removed since, and what says so follows. (Whoever does not lead any more, in the epoch of the
 *          message and as the process that sent it, has perhaps cut the entry from its log, or lost it, and another has
 *          not.)
 *  FAILED  it is asked for again by whatever comes again.
 *
 * A node that does not answer holds none of the memory for longer than its answer may take, and never all of it. */
#ifndef CAIRN_SERVER_CLUSTER_SERVICE_FETCH_CORE_H
#define CAIRN_SERVER_CLUSTER_SERVICE_FETCH_CORE_H

#include "sdk/core/base/err.h"
#include "sdk/core/base/list.h"
#include "sdk/core/sm/sm.h"
#include "server/cluster/repl/slot.h"
#include "server/cluster/service/record.h"
#include "server/cluster/service/regions.h"

enum { FETCH_LOOK, FETCH_CLEAR, FETCH_WAIT, FETCH_READ, FETCH_PUT, FETCH_DONE, FETCH_FAILED, FETCH_NR };
enum {
    FETCHES_MAX = 1024,
    FETCHES_BUFFERS = 4,
    FETCHES_OF_SOURCE = 3, /* in READ */
    FETCHES_OF_COPIES = 2, /* likewise: they may wait for their turn at the source, and others are in a hurry */
};

extern const struct cairn_sm_kind cluster_fetch_kind;

/* A region that is to be here. */
struct fetch_want {
    uint32_t slot;  /* of the value that it is of */
    uint64_t node;  /* that has it, as it says */
    bool named;     /* an entry or a record of @node names it; if not, it is spoken of beforehand */
    uint64_t epoch; /* in which process @inc of @node leads the slot, if it is named */
    uint64_t inc;
    bool copy;      /* a record of a copy: it comes as fast as copies may */
    uint64_t owner; /* as its store has it */
    struct cairn_record_region region;
};

struct cluster_fetch {
    struct cairn_sm sm;
    struct cairn_link link; /* of the reads in READ, else of all the others */
    struct cluster_fetches *set;
    struct fetch_want want;
    uint64_t source; /* is asked for it, or is to be: want.node, or another */
    uint64_t asked[CAIRN_REPLICAS_MAX + 1];
    uint32_t nasked;
    uint64_t until_ns, down_ns; /* down_ns: since when the session with @source is; 0: it is up */
    uint64_t not_before_ns;     /* the source has other copies to send */
    bool connects;              /* it was told to */
    bool has_memory;
    struct cairn_err err; /* of what was asked last; the performer's to write */
};

/* What is here under a region's name. */
struct fetch_found {
    uint64_t owner, length;
    bool sealed, damaged;
};

enum fetch_peer { FETCH_PEER_UNKNOWN, FETCH_PEER_DOWN, FETCH_PEER_UP };

typedef void fetch_named_fn(void *arg, uint64_t owner, struct cairn_record_region region);

/** What is asked of the node. Answers of look(), clear(), read() and put() come by cluster_fetch_on_*(), once each and
 * later, never within the call. */
struct cluster_fetch_ops {
    struct cluster_fetch *(*make)(struct cluster_fetches *s); /* zeroed; NULL: no more of them now */
    void (*over)(struct cluster_fetch *f);  /* it is done or has failed, and is the caller's to free */
    void (*look)(struct cluster_fetch *f);  /* what is here under its name */
    void (*clear)(struct cluster_fetch *f); /* it is removed, on disk */
    /** Memory for it, and @f->source is asked to write its bytes there. Not 0: nothing was begun. */
    int (*read)(struct cluster_fetch *f);
    int (*put)(struct cluster_fetch *f);        /* what was read is stored, on disk; likewise */
    void (*give_back)(struct cluster_fetch *f); /* the memory, if there is any */
    void (*cancel)(struct cluster_fetch *f);    /* what is under way is to be answered soon, by whatever */
    enum fetch_peer (*peer)(struct cluster_fetches *s, uint64_t node); /* its session */
    void (*connect)(struct cluster_fetches *s, uint64_t node);
    bool (*record)(struct cluster_fetches *s, uint32_t slot, struct cairn_slot_record *rec); /* the newest known here */
    bool (*has_entry)(struct cluster_fetches *s, uint32_t slot, struct cairn_at at);         /* in the log here */
    void (*entry_names)(const struct cairn_log_entry *e, fetch_named_fn *fn, void *arg);
    void (*page_names)(const uint8_t *page, uint32_t len, fetch_named_fn *fn, void *arg); /* records of a copy */
    bool (*ticked)(struct cluster_fetches *s); /* some time went by; true: it should tick on */
};

/* A worker's. */
struct cluster_fetches {
    const struct cluster_fetch_ops *ops;
    struct cairn_env *env;
    struct cairn_sm_set *machines;
    struct cluster_regions *regions; /* of the node */
    uint64_t node;                   /* we */
    struct cairn_link all, reads;
    struct cairn_timer timer;
    struct cairn_task task;
    uint32_t n, nbuffers;
    bool stopping;
};

void cluster_fetches_init(struct cluster_fetches *s, const struct cluster_fetch_ops *ops, struct cairn_env *env,
                          struct cairn_sm_set *machines, struct cluster_regions *regions, uint64_t node);
/** None begins any more, and those that are under way end as soon as they are answered. */
void cluster_fetches_stop(struct cluster_fetches *s);
/** They are looked at from time to time, as long as there are any. CAIRN_E_NOMEM: no timer. */
int cluster_fetches_watch(struct cluster_fetches *s);

/** Whether it is here. If not, and nobody is at it, it is fetched. */
bool cluster_fetch_is_here(struct cluster_fetches *s, const struct fetch_want *want);

/** Whether @m may be taken: all that it names is here. Those that are missing are being fetched from its sender, and
 * @m is cut to what may be taken now, or made a question that the sender hears as a sign of life; false: it is to be
 * dropped, and comes again. */
bool cluster_fetch_admit(struct cluster_fetches *s, struct cairn_repl_msg *m);
/** @m was admitted, and has been taken: what it names is named here now. */
void cluster_fetch_taken(struct cluster_fetches *s, const struct cairn_repl_msg *m);

/** CAIRN_E_NOTFOUND: there is none. */
void cluster_fetch_on_looked(struct cluster_fetch *f, int rc, const struct fetch_found *found);
void cluster_fetch_on_cleared(struct cluster_fetch *f, int rc);
/** 0: its bytes are in the memory. CAIRN_E_NOTFOUND: the source has none, and leads (if it was asked as who leads);
 * CAIRN_E_BUSY: it has other copies to send. */
void cluster_fetch_on_read(struct cluster_fetch *f, int rc);
/** CAIRN_E_CORRUPT: they are not what the source's checksums say. */
void cluster_fetch_on_put(struct cluster_fetch *f, int rc);

/** Whether the source is asked as the process that leads, and names it: then it says so if it has it no more. */
bool cluster_fetch_asks_leader(const struct cluster_fetch *f);

/* ---- between fetch_core.c and fetch_source.c ---- */

/* It is here; or (@rc) it could not be had. @f is gone. */
void cluster_fetch__end(struct cluster_fetch *f, int rc);
/* Likewise: its source has it no more. */
void cluster_fetch__gone(struct cluster_fetch *f);
/* Its memory is nobody's any more. */
void cluster_fetch__give_back(struct cluster_fetch *f);
void cluster_fetch__from(struct cluster_fetch *f, uint64_t node);
/* What the source says of a region counts: it names it, and should have it. */
bool cluster_fetch__believes(const struct cluster_fetch *f);
/* It is to come: WAIT. */
void cluster_fetch__wait(struct cluster_fetch *f);
/* How many are read of @source (0: any), or (@copies) of those how many for copies. */
uint32_t cluster_fetches__reads(const struct cluster_fetches *s, uint64_t source, bool copies);
/* All that can go on does, in a moment. */
void cluster_fetches__go_on_soon(struct cluster_fetches *s);
/* The task and the timer. */
void cluster_fetches__go_on(void *arg);
void cluster_fetches__tick(void *arg);

#endif
