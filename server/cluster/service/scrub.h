/* The scrub of replicas: whoever leads a slot compares what it has with what every other member of the in-sync set has,
 * key by key, and repairs a copy that is bad by its own checksums from one that is good.
 *
 * scrub.c goes through the slots of a worker, page by page (scrub_page.c), at a bounded rate; scrub_key.c looks at one
 * key where two pages differ; scrub_serve.c is what the others answer; scrub_report.c is what people see.
 *
 * Nothing is stopped meanwhile. Pages are digested while writes go on, so a page may differ for no other reason. Of a
 * single key a difference is proved: it is read here, then there when all that is committed here by then is applied
 * there, then here again when all that was committed there is applied here. What is the same here both times, while no
 * entry behind the position of the first time names the key, was the same in between, so the other copy had to be that,
 * too; without a look at the log it may have been another meanwhile, and be what it was again. A key that changes each
 * time is in use, and is left to the next round.
 *
 * A repair is an entry of the slot's log (STORE_REPAIR): every replica puts the good record at the same position. It is
 * appended only if no entry behind the position at which the record was read names the key. A region of a large value
 * is fetched anew from the good node; it is the same bytes whenever that happens. A record of the other's that names
 * regions is written when they are here, fetched and pinned: the entry is our own, and nobody else looks (I11, I12).
 *
 * Two copies that both look good and differ are told, and nothing else: nobody can say which one is right. */
#ifndef CAIRN_SERVER_CLUSTER_SERVICE_SCRUB_H
#define CAIRN_SERVER_CLUSTER_SERVICE_SCRUB_H

#include "server/cluster/service/record.h"
#include "server/cluster/service/side.h"
#include "server/cluster/service/store_scan.h"

enum { SCRUB_FINDINGS_MAX = 64, SCRUB_FINDING_KEY_BYTES_MAX = 256, SCRUB_CALL_MS = 10000 };

/* ---- scrub_report.c ---- */

enum scrub_outcome {
    SCRUB_SAME,
    SCRUB_REPAIRED,
    SCRUB_DIFFERENT,    /* both look good */
    SCRUB_NONE_GOOD,    /* neither does, or what is missing here is bad there */
    SCRUB_NOT_REPAIRED, /* it was tried */
    SCRUB_IN_USE,       /* it changed whenever it was looked at */
    SCRUB_CANNOT,       /* not now: the other node, or the slot's record */
};

struct scrub_finding {
    enum scrub_outcome outcome;
    uint32_t slot, ns, key_len; /* key_len: all of it */
    uint8_t key[SCRUB_FINDING_KEY_BYTES_MAX];
    uint64_t here, there; /* nodes: here leads */
    enum scan_state state_here, state_there;
    uint64_t round, at_s; /* by the clock of this node */
    bool led_elsewhere;   /* as of the end of the round before: whoever leads it may not have compared it since */
};

/* Of a node, all its workers together. */
struct scrub_report {
    pthread_mutex_t mutex;
    struct scrub_finding findings[SCRUB_FINDINGS_MAX]; /* the oldest first */
    uint32_t n;
    atomic_uint_fast64_t rounds, running, slots, slots_skipped, keys, bytes, repaired, in_use;
    atomic_uint_fast64_t not_compared; /* slots, of each worker's last round, or of that under way */
};

struct scrub_report *scrub_report_new(void);
void scrub_report_free(struct scrub_report *r);
void scrub_report_add(struct scrub_report *r, const struct scrub_finding *f);
/* The slot was compared in this round: what was not seen again of it, and was not repaired, is over. */
void scrub_report_slot(struct scrub_report *r, uint32_t slot, uint64_t round);
/* The slot could not be compared in this round: what was found of it before stays. */
void scrub_report_skip(struct scrub_report *r, uint32_t slot, uint64_t round);
/* Likewise of what is @like it alone: it could not be looked at. */
void scrub_report_keep(struct scrub_report *r, const struct scrub_finding *like);
/* The worker's slots were gone through once more. Of slots that have no replica here any more nothing stays, nor of
 * those that were led elsewhere at the end of this round and of the one before: whoever leads them tells of them. */
void scrub_report_round(struct scrub_report *r, struct side_worker *w, uint64_t round);
/* For the log, of one that makes a finding. */
const char *scrub_outcome_text(enum scrub_outcome outcome);
/* Copies that differ or are bad, as of the last round. */
uint32_t scrub_report_open(struct scrub_report *r);
/* For `cairn status`. */
json_t *scrub_report_brief(struct scrub_report *r);
/* What `cairn scrub` shows. NULL: no memory. */
json_t *scrub_report_json(struct cairn_cluster *c);

/* ---- scrub_wire.c ---- */

bool scrub_ask_is_good(const Cairn__Wire__ClusterCompare *m);
/* Of one key also: its bytes are those that its digest is of. */
bool scrub_answer_is_good(const Cairn__Wire__ClusterCompare *ask, const Cairn__Wire__ClusterCompared *m,
                          const uint8_t *payload, uint32_t payload_len);
/* Whether @record may be written for a repair: it is whole, and in a format that is known. Then @r is what it says. */
bool scrub_record_is_good(const uint8_t *record, uint32_t len, struct cairn_record *r);

/* ---- scrub_key.c ---- */

/* One key, compared with one other member; on the slot's worker. */
struct scrub_key {
    /* Set by the caller. */
    struct side_worker *w;
    uint32_t slot;
    uint64_t epoch;
    struct cairn_who peer;
    uint8_t key[SCAN_KEY_BYTES_MAX];
    uint32_t len;
    void (*done)(struct scrub_key *k, enum scrub_outcome outcome);
    void *arg;

    /* What it was like, for the report. */
    enum scan_state state_here, state_there;

    /* Private. */
    struct cairn_sm sm;
    struct store_scan scan;
    uint64_t first_before, before; /* what was applied before it was read here, the first time and the last time */
    uint64_t digest;               /* of the first time */
    enum scan_state first;         /* how it was the first time */
    bool repaired;
    bool brings_regions, brought_regions; /* of the other's record, before it is written here; and they are here */
    uint32_t tries;
    struct {
        enum scan_state state;
        uint64_t digest, applied, commit;
        uint8_t index[STORE_INDEX_VALUE_BYTES];
        uint8_t *record;
        uint32_t len;
    } there;
    Cairn__Wire__ClusterCompare ask;
    Cairn__Wire__ClusterRegions fetch;
    uint64_t *ids;
    uint32_t *lengths;
    struct cairn_rpc_call call;
    struct cairn_err err;
    struct cairn_repl_write write;
    uint8_t *body;
    struct cairn_timer timer;
};

extern const struct cairn_sm_kind scrub_key_kind;

void scrub_key_init(struct scrub_key *k, struct side_worker *w);
void scrub_key_start(struct scrub_key *k);
/* The worker is being stopped: nothing more is done. A call to another node may still be under way: it is counted among
 * the worker's, whose end waits for it. */
void scrub_key_stop(struct scrub_key *k);
/* The store has ended. */
void scrub_key_fini(struct scrub_key *k);

/* ---- scrub.c, scrub_serve.c ---- */

extern const struct cairn_sm_kind side_scrub_kind;

/* Of a worker, when its slots are there. CAIRN_E_NOMEM. */
int side_scrub_new(struct side_worker *w);
/* The worker runs. */
void side_scrub_run(struct side_worker *w);
/* A round begins now, if none is under way. */
void side_scrub_begin(struct side_worker *w, void *arg);
void side_scrub_stop(struct side_worker *w);
void side_scrub_free(struct side_worker *w);

/* Asks @node, and counts the call among the worker's until scrub_asked(), with which done() begins; @call's message is
 * set. CAIRN_E_UNREACHABLE: there is no way to it yet. */
int scrub_ask(struct side_worker *w, struct cairn_rpc_call *call, uint64_t node, uint32_t method);
/* False: the worker is being stopped, and nothing more is to be done. */
bool scrub_asked(struct side_worker *w);

void side_scrub_serve_init(struct side_worker *w);
void side_scrub_serve_stop(struct side_worker *w);
void side_scrub_serve_free(struct side_worker *w);
/* Handlers, on any worker. */
void cairn_cluster__side_on_compare(struct cairn_rpc_req *rq);
void cairn_cluster__side_on_scrub(struct cairn_rpc_req *rq);

#endif
