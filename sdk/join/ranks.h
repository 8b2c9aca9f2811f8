/** What joining by ranks is, whoever carries their cards to each other: see README.md. */
#ifndef CAIRN_JOIN_RANKS_H
#define CAIRN_JOIN_RANKS_H

#include "cairn/group.h"

enum { CAIRN_RANKS_SEEDS_MAX = 16, CAIRN_RANKS_TIMEOUT_MS = 30000 };

/** What a rank tells all others; both ends are the same build on machines of one kind, as MPI's bytes need it
 * anyway. */
struct cairn_card {
    int32_t rc; /* this rank's failure; @why is for people */
    uint32_t observer;
    char name[64], group[64], address[96];
    char why[256];
};

struct cairn_ranks {
    uint32_t rank, size;
    /** Gives @mine to all ranks and takes theirs, by rank, into @all. Every rank calls it equally often. Ends at
     * @deadline_ns of CLOCK_MONOTONIC at the latest: 0, CAIRN_E_TIMEOUT, or anything else with a text in @error. */
    int (*exchange)(void *arg, const struct cairn_card *mine, struct cairn_card *all, uint64_t deadline_ns,
                    struct cairn_error_info *error);
    void *arg;
};

/** cairn_group_join_mpi() and its kin. */
int cairn_ranks_join(struct cairn *c, const char *provider, const struct cairn_ranks *r,
                     const struct cairn_call_options *o);

/** Whom @rank of @size ranks asks: those 1, 2, 4, 8 ... ranks ahead, so that no rank is asked by all, and the group
 * is one even if most of them do not answer. Returns how many. */
uint32_t cairn_ranks_seeds(uint32_t rank, uint32_t size, uint32_t seeds[CAIRN_RANKS_SEEDS_MAX]);

uint64_t cairn_ranks_now_ns(void);
/** When a join that begins now with these options is to be over. */
uint64_t cairn_ranks_deadline_ns(const struct cairn_call_options *o);
/** Writes the text; returns @rc. */
int cairn_ranks_fail(struct cairn_error_info *error, int rc, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

#endif
