/* What the files of fetched regions share: fetch.c (one region's life), fetch_read.c (its bytes), fetch_names.c (entries
 * and records that name regions), fetch_asked.c (requests of other nodes). On the worker's loop. */
#ifndef CAIRN_SERVER_CLUSTER_SERVICE_FETCH_INTERNAL_H
#define CAIRN_SERVER_CLUSTER_SERVICE_FETCH_INTERNAL_H

#include "sdk/core/bulk/bulk.h"
#include "server/cluster/service/fetch.h"
#include "server/cluster/service/record.h"

#include "schema/extent.pb-c.h"

enum { FETCH_LOOK, FETCH_CLEAR, FETCH_WAIT, FETCH_READ, FETCH_PUT, FETCH_DONE, FETCH_FAILED, FETCH_NR };
enum {
    FETCHES_BUFFERS = 4,   /* of a worker */
    FETCHES_OF_SOURCE = 3, /* in READ */
    FETCHES_OF_COPIES = 2, /* likewise: they may wait for their turn at the source, and others are in a hurry */
};

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

struct side_fetch {
    struct cairn_sm sm;
    struct cairn_link link; /* of the worker's reads in READ, else of its fetches */
    struct side_worker *w;
    struct fetch_want want;
    uint64_t source; /* is asked for it, or is to be: want.node, or another */
    uint64_t asked[CAIRN_REPLICAS_MAX + 1];
    uint32_t nasked;
    uint64_t until_ns, down_ns; /* down_ns: since when the session with @source is; 0: it is up */
    uint64_t not_before_ns;     /* the source has other copies to send */
    bool connects;              /* it was told to */
    uint8_t *buf;
    uint32_t *crcs;
    struct cairn_bulk_region exposed;
    union {
        Cairn__Wire__ExtentId id;
        Cairn__Wire__ExtentRemove remove;
        Cairn__Wire__ClusterRegion read;
        Cairn__Wire__ExtentPut put;
    } msg;
    struct cairn_rpc_call call;
    struct cairn_err err;
};

/* Whether it is here. If not, and nobody is at it, it is fetched. */
bool side_region_is_here(struct side_worker *w, const struct fetch_want *want);

/* ---- fetch.c ---- */

void side_fetch_call(struct side_fetch *f, const struct cairn_rpc_target *target, uint32_t method,
                     const ProtobufCMessage *msg, void (*done)(struct cairn_rpc_call *call));
/* Its memory, and what was exposed of it, is nobody's any more. */
void side_fetch_give_back(struct side_fetch *f);
/* It is here; or (@rc) it could not be had. @f is gone. */
void side_fetch_end(struct side_fetch *f, int rc);
/* Likewise: its source has it no more. */
void side_fetch_gone(struct side_fetch *f);

/* ---- fetch_read.c ---- */

void side_fetch_from(struct side_fetch *f, uint64_t node);
/* What the source says of a region counts: it names it, and should have it. */
bool side_fetch_believes(const struct side_fetch *f);
/* It is to come: WAIT. */
void side_fetch_wait(struct side_fetch *f);
/* How many are read of @source (0: any), or (@copies) of those how many for copies. */
uint32_t side_fetch_reads(const struct side_worker *w, uint64_t source, bool copies);
/* All that can go on does, in a moment. */
void side_fetches_go_on_soon(struct side_worker *w);
/* The worker's task and timer. */
void side_fetches_go_on(void *arg);
void side_fetches_tick(void *arg);
/* The worker's fetches and holds are looked at from time to time, as long as there are any. CAIRN_E_NOMEM: no timer. */
int side_fetches_watch(struct side_worker *w);

/* ---- fetch_asked.c ---- */

/* A fetch is over, or some time: whoever waits for it goes on. */
void side_holds_check(struct side_worker *w);
void side_holds_stop(struct side_worker *w);

#endif
