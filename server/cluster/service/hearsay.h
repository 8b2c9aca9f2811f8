/** What others are said to have of the map, and who is asked for it when: decisions only, no I/O, no clock.
 *
 * The group's packets say of each node up to which revision it has the map (server/port/gossip.h). Who hears of a newer
 * one than its own asks one of those that have it for the differences, a moment later, so that changes that come
 * together are asked for together and not by all at a time; one question at a time, each with a deadline. Who does not
 * answer is not asked again for a while, and others are. What the coordinator's grants wait for (want) and does not
 * come that way within @patience_ns is asked of the coordinator, the last resort.
 *
 * Whoever is asked gives what it has in pages, which count together (records_chain.h): so in the middle of them it is
 * asked again, a moment later, if it gives no more just now or its answer is late. That ends when a grant has waited for
 * long, or it takes too long altogether: then others are asked, from the beginning.
 *
 * Words are proved to come from a node of the cluster, and no more than that: one that says more than it has is found
 * out by its answer, and not believed for a time that doubles each time. So a word of a map that there is not costs a
 * question now and then. */
#ifndef CAIRN_SERVER_CLUSTER_SERVICE_HEARSAY_H
#define CAIRN_SERVER_CLUSTER_SERVICE_HEARSAY_H

#include "sdk/core/base/macros.h"

#include <stdbool.h>
#include <stdint.h>

enum { HEARSAY_SOURCES_MAX = 16 };

struct hearsay_times {
    uint64_t jitter_ns;   /* the first question after a word comes at most so much later */
    uint64_t patience_ns; /* so long what is wanted may take to come from others; 0: there is no group to hear of it */
    uint64_t answer_ns;   /* of one question */
    uint64_t again_ns;    /* so much later, who gives no more just now is asked again; */
    uint64_t pages_ns;    /* and all of its pages take so long at most, unless it coordinates */
    uint64_t shun_min_ns, shun_max_ns;
};

/** Whole seconds and their parts as the service has them; tests and the simulator have the same. */
extern const struct hearsay_times hearsay_times_default;

struct hearsay_source {
    uint64_t node, version;  /* what it is said to have; not above ours: only shunned */
    uint64_t shunned_ns;     /* not to be asked before */
    uint32_t failures, lies; /* in a row */
};

struct hearsay {
    struct hearsay_times times;
    uint64_t random;
    uint64_t have; /* all of the map up to here */
    struct hearsay_source sources[HEARSAY_SOURCES_MAX];
    uint32_t nsources;
    uint64_t wanted, wanted_ns; /* a grant waits for this revision, since then; 0: none does */
    uint64_t due_ns;            /* no question before; 0: nothing is said against one */
    uint64_t asked;             /* who is being asked; 0: nobody */
    uint64_t asked_version;     /* what it was said to have; 0: the coordinator, who was not said to have anything */
    uint64_t asked_have;        /* what we had then */
    uint64_t begun_ns;          /* when it was asked for the first page */
    uint64_t again_ns;          /* with @more: not before */
    uint32_t pages;             /* that it gave in a row */
    uint32_t late;              /* answers since the last page */
    uint32_t failed;            /* questions in a row */
    bool more;                  /* who was asked last has more, and is asked for it next */
    bool asked_coordinator;     /* @asked is that */
    uint64_t questions, last_resorts, lies; /* counted */
};

struct hearsay_question {
    uint64_t node; /* 0: nobody is to be asked now */
    bool goes_on;  /* for what follows on the pages that it gave; else for what follows on what we have */
    uint64_t due_ns; /* node 0: step again then; UINT64_MAX: when something happens */
};

enum hearsay_answer {
    HEARSAY_GIVEN,
    HEARSAY_BUSY,   /* it gives no more just now */
    HEARSAY_FAILED, /* no answer came */
    HEARSAY_WRONG   /* it came, and could not be taken; nor can what came before be gone on with */
};

void hearsay_init(struct hearsay *h, const struct hearsay_times *times, uint64_t random);
/** @node is said to have all up to @version. */
void hearsay_heard(struct hearsay *h, uint64_t now_ns, uint64_t node, uint64_t version);
/** We have all up to @version, from wherever; also less than before, if it is to be fetched again. */
void hearsay_have(struct hearsay *h, uint64_t version);
/** A grant waits until we have all up to @version; one at a time, others are not noted. */
void hearsay_want(struct hearsay *h, uint64_t now_ns, uint64_t version);
/** Whom to ask now, @coordinator (0: there is none, or it is us) last; hearsay_answered() is to follow. */
struct hearsay_question hearsay_step(struct hearsay *h, uint64_t now_ns, uint64_t coordinator);
/** The question's end. HEARSAY_GIVEN: a page came, which goes up to @version, with @more behind it, which is asked for
 * next; without, all that it has is here (hearsay_have() was told). If h->more is set then, it goes on there, else with
 * nothing of it. True: whoever was asked was said to have more than it has. */
bool hearsay_answered(struct hearsay *h, uint64_t now_ns, enum hearsay_answer answer, uint64_t version, bool more);
/** What we have is no map that there is: we have nothing, and nothing that was said is believed. A question that is under
 * way is still to be answered. */
void hearsay_forget(struct hearsay *h);

#endif
