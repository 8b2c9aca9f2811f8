/* What the files of a worker's walk through its slots share: scrub.c (its states, rounds, life), scrub_page.c (one
 * page: what others have of it, and the keys that are to be looked at). */
#ifndef CAIRN_SERVER_CLUSTER_SERVICE_SCRUB_INTERNAL_H
#define CAIRN_SERVER_CLUSTER_SERVICE_SCRUB_INTERNAL_H

#include "server/cluster/service/scrub.h"

enum { SCRUB_NONE = UINT32_MAX }; /* no slot */
enum { SCRUB_REST, SCRUB_OWN, SCRUB_ASK, SCRUB_KEY, SCRUB_PAUSE, SCRUB_STOPPED, SCRUB_NR };
struct scrub_candidate {
    uint32_t off, len;
};

struct side_scrub {
    struct cairn_sm sm;
    struct side_worker *w;
    struct cairn_timer timer;
    uint64_t round, owed_ns;

    /* Of this round, by slot / nworkers, a bit each: */
    uint8_t *due;  /* was led here when it was looked at, and is not here alone */
    uint8_t *done; /* compared, or given up */
    size_t bits_bytes;
    uint32_t pass, not_compared;
    bool waits; /* something that is due may be compared in another pass */

    uint32_t slot, tries;
    bool slot_done; /* nothing more of it in this pass */
    struct cairn_slot_record rec;
    struct store_scan page;
    uint32_t peer;  /* of rec.insync */
    uint32_t first; /* of the page: those before are compared with it */
    bool cut;       /* its answer ends before the page does, at the last of: */
    uint8_t upto[SCAN_KEY_BYTES_MAX];
    uint32_t upto_len;
    Cairn__Wire__ClusterCompare ask;
    struct cairn_rpc_call call;
    struct cairn_err err;

    struct scrub_candidate candidates[2 * SCAN_KEYS_MAX];
    uint32_t ncandidates, candidate;
    uint8_t *bytes;
    size_t nbytes, bytes_room;
    struct scrub_key key;
};

static inline struct scrub_report *scrub_report_of(struct side_scrub *s)
{
    return s->w->c->side->scrub_report;
}

/* ---- scrub.c ---- */

/* Whether there is anybody to compare with. */
bool scrub_may_look(struct side_scrub *s, uint32_t slot);
/* What was read is paid for in time. */
void scrub_pause(struct side_scrub *s, uint64_t bytes, uint64_t least_ns);
/* The slot was compared, or given up, in this round. */
void scrub_slot_done(struct side_scrub *s);
/* The page could not be read or compared: once more, later, or the slot is left to the next round. */
void scrub_page_failed(struct side_scrub *s, int rc);

/* ---- scrub_page.c ---- */

void scrub_on_page(struct store_scan *x, int rc);
void scrub_on_key(struct scrub_key *k, enum scrub_outcome outcome);

#endif
