/** The state machines of a whole node, looked at from outside: what lives on every worker, what moved lately, what a
 * kind looks like. Each worker counts its own on its own thread; one that does not answer in time is named, not waited
 * for. */
#ifndef CAIRN_NODE_INTROSPECT_H
#define CAIRN_NODE_INTROSPECT_H

#include "sdk/core/loop/loop.h"
#include "sdk/core/sm/sm.h"

enum {
    CAIRN_KINDS_MAX = 256,
    CAIRN_INTROSPECT_TRACE_MAX = 4096, /* moves of one answer, the newest of each worker in equal shares */
    CAIRN_INTROSPECT_WAIT_MS = 2000,   /* for a worker to answer */
};

/** The kinds that a node knows: zero-initialise, then add each list. */
struct cairn_kinds {
    const struct cairn_sm_kind *kinds[CAIRN_KINDS_MAX];
    uint32_t n;
};

/** Adds a NULL-terminated list (or NULL); what is there already is skipped. */
void cairn_kinds_add(struct cairn_kinds *k, const struct cairn_sm_kind *const *list);
const struct cairn_sm_kind *cairn_kinds_find(const struct cairn_kinds *k, const char *name);
/** The self-check of a start: every table by cairn_sm_kind_check(), and no two kinds of one name. */
int cairn_kinds_check(const struct cairn_kinds *k, struct cairn_err *err);
/** The table of one kind as DOT, from malloc; NULL if there is no such kind (@rc CAIRN_E_NOTFOUND) or no memory. */
char *cairn_kinds_dot(const struct cairn_kinds *k, const char *name, int *rc);

/** Asks all @loops (the workers'; @from is one of them, and the calling thread's) for their live machines, and, with
 * @trace, for their recent moves. @done(arg, text) runs once, later, on @from's thread; @text is the callback's to
 * free(), NULL without memory:
 *   {"version":1,
 *    "kinds":[{"kind":"rpc-call","live":3,"stuck":0,"states":[{"name":"SENT","count":3,"oldest_ms":12}]}],
 *    "missing":[1],                                                   workers that did not answer in time, if any
 *    "trace":["[   120] w0 rpc-call#42 QUEUED -> SENT"]}              oldest first, with @trace
 * Returns 0, or CAIRN_E_NOMEM: then @done will not run. A loop must run until what was asked of it has run. */
int cairn_introspect(struct cairn_loop *const *loops, uint32_t nloops, struct cairn_loop *from, bool trace,
                     void (*done)(void *arg, char *text), void *arg);

extern const struct cairn_sm_kind cairn_introspect_kind;

#endif
