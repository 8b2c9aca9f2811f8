/** Lease arithmetic (PROTOCOL §6; Gray & Cheriton, SOSP 1989): the holder counts from the *sending* of the heartbeat
 * that the grant answers, the granter from the sending of the grant, each on its own clock; so the holder stops
 * first. */
#ifndef CAIRN_SERVER_CLUSTER_REPL_LEASE_H
#define CAIRN_SERVER_CLUSTER_REPL_LEASE_H

#include "sdk/core/base/macros.h"

struct cairn_lease_times {
    uint64_t length_ns; /* L */
    uint64_t heartbeat_ns;
    uint64_t slack_ns;  /* g: how late a timer may be */
    uint32_t drift_ppm; /* rho: each clock's rate is within 1 +- this of real time */
};

/** W >= L(1+rho)/(1-rho) + g: after so long without a grant, the granter's clock, nobody holds the lease. */
static inline uint64_t cairn_lease_wait_ns(const struct cairn_lease_times *t)
{
    return t->length_ns + t->length_ns / 1000000 * 2 * t->drift_ppm + t->length_ns / 1000 + t->slack_ns;
}

/** The holder's side. */
struct cairn_lease {
    uint64_t until_ns; /* 0: none */
    uint64_t newest;   /* number of the newest heartbeat that was granted */
};

/** The heartbeat @number, sent at @sent_ns, was granted. An older one changes nothing. */
static inline void cairn_lease_granted(struct cairn_lease *l, const struct cairn_lease_times *t, uint64_t number,
                                       uint64_t sent_ns)
{
    if (number <= l->newest)
        return;
    l->newest = number;
    l->until_ns = MAX(l->until_ns, sent_ns + t->length_ns);
}

/** The holder is elected coordinator: what others granted it may outlast its term, so it gives that up, and so does it
 * the answers that may still come to heartbeats up to @number, the newest that it has sent. */
static inline void cairn_lease_give_up(struct cairn_lease *l, uint64_t number)
{
    l->until_ns = 0;
    l->newest = MAX(l->newest, number);
}

static inline bool cairn_lease_is_valid(const struct cairn_lease *l, uint64_t now_ns)
{
    return now_ns < l->until_ns;
}

#endif
