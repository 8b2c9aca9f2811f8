/* A change of the set of namespaces, carried out at home, one at a time for each namespace. Only one kind passes
 * another: what an operation waits for (@op) does not wait behind the namespace's removal, which waits for the
 * operation; it is refused.
 *
 * Whoever wants one fills an order and submits it from its own worker; it comes back there when it is done. Each kind
 * of order is a machine of its own: ns_create.c, ns_remove.c, ns_flag.c. */
#ifndef CAIRN_SERVER_ROUTER_NS_ORDER_H
#define CAIRN_SERVER_ROUTER_NS_ORDER_H

#include "server/router/router_internal.h"

struct router_order {
    struct cairn_link link; /* of router->orders, then of router->creating */
    struct cairn_sm sm;     /* at home */
    struct cairn_task task;
    struct cairn_router *router;
    struct router_worker *origin;
    const struct cairn_sm_kind *kind;
    void (*begin)(struct router_order *o); /* at home; the namespace is ours until router_order_end() */
    void (*done)(struct router_order *o);  /* at the origin; @rc and @err say how it went. Frees it. */
    struct cairn_rpc_req *rq;              /* the origin's */
    struct router_op *op;                  /* the origin's */
    struct cairn_identity who;             /* a copy: the connection may be lost meanwhile */
    struct router_ns ns;                   /* what it is about: a name at least; what is to be made; what was made */
    bool force;
    enum router_edit edit;  /* flag: which */
    bool quiet;             /* the map's log says nothing of it */
    bool unnoted;           /* remove: this node is no holder any more */
    bool follows;           /* another node has done it: the record is there, or gone, already */
    bool stale;             /* the map told of the name meanwhile: it is looked at when this ends */
    bool holds;             /* home->order is this */
    struct router_ns *home; /* home's copy, NULL if there is none */
    int rc;
    struct cairn_err err, undo_err;
    struct router_spread spread;
    /* for the calls and changes that it takes, one after the other */
    struct cairn_map_write writes[2]; /* the record and what the log says of it */
    struct cairn_map_change change;
    struct cairn_map_log_line log_line;
    void (*stored)(struct cairn_map_op *op);
    char key[8 + CAIRN_NAME_BYTES_MAX];
    uint8_t *value;
    union router_msg msg;
    struct cairn_rpc_call call;
    uint64_t id; /* create: the region that tries the provider */
    uint32_t try_crc;
    struct cairn_timer again; /* create, in a cluster: when to ask for its slots again; flag, remove: when to write again */
    uint64_t again_until_ns;  /* create: how long */
    uint32_t tries;           /* flag, remove */
    uint64_t *regions; /* remove: those of one page */
    uint32_t nregions, regions_at;
    uint8_t *from; /* remove: the last key of the page before */
    uint32_t from_len;
};

/* A fresh one, zeroed; NULL for memory. */
struct router_order *router_order_new(struct router_worker *origin, const struct cairn_sm_kind *kind, const char *name,
                                      void (*begin)(struct router_order *o), void (*done)(struct router_order *o));
void router_order_submit(struct router_order *o);
/* Room for what router_order_tell_made() gives to the workers; false for memory. */
bool router_order_take_copies(struct router_order *o);
/* At home: the one that works on that name; or NULL. */
struct router_order *router_order_of(struct cairn_router *r, const char *name);
/* At home, instead of submit(): at once. No order works on the name. */
void router_order_begin(struct router_order *o);
/* At home: every worker takes o->ns into its table; @done follows. */
void router_order_tell_made(struct router_order *o, void (*done)(struct router_spread *s));
/* At home: the machine is in a final state. @o goes back to its origin; the next one for the namespace begins. */
void router_order_end(struct router_order *o);
/* At home: those that wait look again whether they must. */
void router_orders_wake(struct cairn_router *r);
/* At the origin, in done(). */
void router_order_free(struct router_order *o);

void router_order_call(struct router_order *o, const struct cairn_rpc_target *target, uint32_t method,
                       void (*done)(struct cairn_rpc_call *call));
/* Writes @value (malloc'ed, NULL: erases), made from revision @from, and a line of the map's log, unless it is only about
 * who holds something. */
void router_order_store(struct router_order *o, uint8_t *value, uint32_t len, uint64_t from,
                        void (*done)(struct cairn_map_op *op));

/* After CAIRN_E_STATE: @fn(@o) runs in a while, which grows, when the view may have heard of what another node changed;
 * many may be about to write. False: not before @until_ns. */
bool router_order_again(struct router_order *o, uint64_t until_ns, void (*fn)(void *arg));

/* ns_remove.c: as an order's begin(), of one that follows: forgets the namespace, and drops what is here of it. */
void router_remove_follow(struct router_order *o);

/* ns_flag.c: HAS_LARGE: makes it known everywhere that op->ns holds large values; @next runs when no worker replaces
 * values of it unseen any more. HOLDS: the map knows then that this node holds something of it. Fails @op otherwise. */
void router_flag(struct router_op *op, enum router_edit edit, router_step *next);

#endif
