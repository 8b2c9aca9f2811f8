/* One call of the user's that several nodes of a cluster answer between them: batches (hashed_mspread.h) and lists
 * (hashed_mlist.c), on what hashed_spread.c does for both. */
#ifndef CAIRN_CLIENT_HASHED_SPREAD_H
#define CAIRN_CLIENT_HASHED_SPREAD_H

#include "sdk/client/hashed_internal.h"

enum { SPREAD_CHILDREN = 16 }; /* requests under way at a time */

struct spread;

/** A request of it, to one node. */
struct spread_child {
    struct spread *spread;
    struct cairn_call *call; /* NULL: none runs */
    uint16_t place;          /* where it went */
    struct cairn_error_info error;
    void *mine; /* the user's */
};

enum spread_plan {
    SPREAD_OVER, /* all is there */
    SPREAD_ASK,  /* some is to be asked for */
    SPREAD_WAIT, /* likewise, but not now */
};

struct spread_ops {
    /** What is missing. A negative code ends it. */
    int (*plan)(struct spread *x);
    /** Starts one more request, or does not: 0, 1 (nothing is to be asked now), or CAIRN_E_BUSY and the like. */
    int (*start)(struct spread *x, struct spread_child *child);
    /** What a request came to; @rc of the request as a whole. */
    void (*took)(struct spread *x, struct spread_child *child, int rc);
    /** Some of the awaited is there: false: the rest is on its way, and is waited for. NULL: it awaits nothing. */
    bool (*is_ready)(struct spread *x);
    /** Its time is over: what is awaited is not any more. NULL: it awaits nothing. */
    void (*forget)(struct spread *x);
    /** The place of a node whose answer is missing, or -1: of none is that known. */
    int (*misses)(const struct spread *x);
    /** It ends with @rc: writes the results, and frees what is its own. Returns the call's code. */
    int (*end)(struct spread *x, int rc);
};

/** First member of what is spread; malloc'ed, freed by the spread. */
struct spread {
    struct cairn_inner base;
    const struct spread_ops *ops;
    struct cairn_call *parent;
    struct cairn_sm sm;
    uint32_t running, tries; /* tries: pauses since something was learned */
    uint32_t awaited;        /* beside requests; whose coming it tells by cairn__spread_pump_soon() */
    bool news;               /* something was learned since the plan */
    bool rested;             /* there was a pause before it */
    bool holds_back;         /* something came back in this round that is asked for again in the next one */
    /* The last answer that was none yet: for when the time is over. */
    struct spread_refused {
        uint16_t place;
        char text[CAIRN_ERR_TEXT_MAX]; /* empty: there was none */
    } refused;
    struct cairn_call_options o;
    struct cairn_timer timer;
    struct cairn_task task, pump;
    struct cairn_route_watch watch;
    struct spread_child child[SPREAD_CHILDREN];
};

extern const struct cairn_sm_kind cairn_spread_kind;

/** Starts the user's call that @x, which it takes over, answers. Returns as cairn__call_go(), or a refusal. */
int cairn__spread_go(struct cairn_ns *ns, struct spread *x, const struct spread_ops *ops,
                     const struct cairn_call_options *o, cairn_done_fn *done, void *arg);
/** A request of @child to the node at child->place, to be filled and started by cairn__call_go(). */
int cairn__spread_call(struct spread *x, struct spread_child *child, struct cairn_call **out);
/** As the `done` of a request that is made otherwise, whose call is child->call; its options are x->o. */
void cairn__spread_on_child(void *arg, int rc);
void cairn__spread_options(struct spread *x, struct spread_child *child);
/** @child's node has answered, and what it has said is no answer yet. */
void cairn__spread_refused(struct spread *x, const struct spread_child *child, const char *text);
/** More can be asked. */
void cairn__spread_pump(struct spread *x);
/** One of the awaited is there: likewise, in a moment, if what has come by then is_ready(). */
void cairn__spread_pump_soon(struct spread *x);

#endif
