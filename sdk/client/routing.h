/* Which node a call to a clustered namespace goes to, and how often.
 *
 * A client keeps the map as far as it needs it (route_map.h), fetched from any node and brought up to date when an
 * answer says that it is old; no call asks for it on its way. A routed call goes to its slot's primary; what that
 * node cannot answer now (CAIRN_E_MOVED, BUSY, a lost connection, silence) is asked again, of whoever the newest map
 * names, until the call's time is over. A write bears a number that makes it happen once however often it is sent
 * (PROTOCOL §8): of a session for each slot, opened by the first write there, or, in a write-once namespace, of its
 * own.
 *
 * All for the loop's owner. */
#ifndef CAIRN_CLIENT_ROUTING_H
#define CAIRN_CLIENT_ROUTING_H

#include "sdk/core/env/env.h"
#include "sdk/core/sm/sm.h"

#include "schema/router.pb-c.h"

struct cairn;
struct cairn_call;
struct cairn_ns;
struct cairn_rpc_session;
struct cairn_routing;
struct route_session;

extern const struct cairn_sm_kind cairn_route_kind, cairn_route_fetch_kind, cairn_route_member_kind,
    cairn_route_session_kind;

/* ---- numbers of writes: route_session.c ---- */

/** One write's number, held by who writes; zeroed but for @ready and @once. */
struct cairn_number {
    Cairn__Wire__RouterRid rid;    /* seq 0: it has none */
    struct route_session *session; /* that gave it, or for which it waits */
    struct cairn_link link;        /* of the session's numbered or waiting ones, by @rid.seq */
    bool once;                     /* it is of its own: the namespace is write-once */
    const struct cairn_ns *ns;     /* whose it is, while it waits */
    /** It waits no more, and is to be taken; or (@rc) it cannot be had. Never inside cairn__number_take(). */
    void (*ready)(struct cairn_number *n, int rc);
};

void cairn__number_init(struct cairn_number *n, bool once, void (*ready)(struct cairn_number *n, int rc));
/** True: it has its number. False: it waits; or (*@rc) it cannot. */
bool cairn__number_take(struct cairn *c, struct cairn_number *n, struct cairn_ns *ns, uint32_t slot, int *rc);
/** Before each sending: which numbers of its session are not waited for any more. */
void cairn__number_floor(struct cairn_number *n);
/** It waits for a session that is being opened, and not for others' answers. */
bool cairn__number_is_coming(const struct cairn_number *n);
/** After ready() with an error: what was said of it. */
const char *cairn__number_error(const struct cairn_number *n);
/** It is answered, or nobody waits for it any more. Harmless without one. */
void cairn__number_give(struct cairn_number *n);
/** The node does not know the session: @n has no number then. Others that bear one of it keep theirs: they will be
 * told so, too, and each knows whether it may have been done. */
void cairn__number_gone(struct cairn_number *n);

/* ---- routes: route.c ---- */

/** What a routed call knows of its way; set by cairn__route_to(). */
struct cairn_route {
    bool on;                           /* the call goes to a holder of @slot */
    bool begun;                        /* its machine runs */
    bool direct;                       /* no: to the node at @place, once, and not if no way leads there now */
    bool writes;                       /* it bears a number */
    bool unsure;                       /* a try has ended without an answer: it may have been done */
    bool asks_replica;                 /* this try is with one that does not lead */
    bool moved;                        /* whom the present record names has said that it does not lead */
    protobuf_c_boolean *replica_field; /* of the request, where one may answer; NULL: only the primary */
    uint32_t slot, tries, silences; /* silences: tries of the same record that were not answered in their time */
    uint32_t try_ms; /* for an answer, beside what its bytes may take; 0: as usual */
    uint64_t *home;  /* it goes to this node and no other; 0: to the next one, and so do the rest. NULL: wherever */
    uint16_t place;  /* of the node that the last try went to */
    uint64_t epoch;  /* of the record by which it went */
    struct cairn_sm sm;
    struct cairn_number number;
    struct cairn_link link; /* of all that wait for news of the map, or that are with a node, the longest first */
    uint64_t asked_ns;      /* since when it is with that node */
    struct cairn_timer timer;
};

/** Before the call starts: it goes to @slot. @rid_field: of the request, for a write; @replica_field: of the request,
 * for a read that any replica may answer. Either may be NULL. The namespace is the call's handle. */
void cairn__route_to(struct cairn_call *call, uint32_t slot, Cairn__Wire__RouterRid **rid_field, bool once,
                     protobuf_c_boolean *replica_field);

/** Likewise: to the node at @place, whose answer is the call's, whatever it is. A way there is not waited for
 * (CAIRN_E_UNREACHABLE): another may lead meanwhile what is asked of it. */
void cairn__route_to_node(struct cairn_call *call, uint16_t place);

/** cairn__call_send() of a routed call. True: the call's destination is set, and it may be sent now, with at most
 * *@timeout_ns for this try; false: it waits, and cairn__call_send() comes again. */
bool cairn__route_find(struct cairn_call *call, uint64_t *timeout_ns);
/** A try is over, call->rpc.rc says how. True: it is asked again later. */
bool cairn__route_again(struct cairn_call *call);
/** @rc, with which the call ends unasked; CAIRN_E_UNKNOWN, and call->err says so, if it is a write that was sent. */
int cairn__route_doubt(struct cairn_call *call, int rc);
/** Its time is over (@rc: CAIRN_E_TIMEOUT, CAIRN_E_UNREACHABLE): whether a write may have been done, what the last answer was,
 * or whose there was none, are put into call->err. */
void cairn__route_late(struct cairn_call *call, int rc);
/** The call is over: its number is not waited for any more. */
void cairn__route_over(struct cairn_call *call);
/** A canceled call that waits ends soon. */
void cairn__route_cancel(struct cairn_call *call);
/** What an answer says of a try: the same again may be answered elsewhere, or later. */
bool cairn__route_is_passing(int rc);
/** How long to wait before try @tries, with jitter. */
uint64_t cairn__route_pause_ns(struct cairn *c, uint32_t tries);

/* ---- for those who ask several nodes: routing.c ---- */

/** Whoever waits for news of the map, beside routed calls. */
struct cairn_route_watch {
    struct cairn_link link;
    void (*news)(struct cairn_route_watch *w);
};

/** The place of the node that leads @slot, or -1; *@epoch of its record. */
int cairn__route_leader(struct cairn *c, uint32_t slot, uint64_t *epoch);
/** The place of the node to which a read of @slot goes that any replica may answer, or -1. */
int cairn__route_nearest(struct cairn *c, uint32_t slot);
/** What a replica at @place was asked came to @rc: if it is silent or unreachable others are asked for a while. */
void cairn__route_avoid(struct cairn *c, uint16_t place, int rc);
/** What the node at @place is called. */
const char *cairn__route_name(const struct cairn *c, uint16_t place);
/** All places are below this number. */
uint32_t cairn__route_nodes(const struct cairn *c);
/** The map turned out to be old, the node at @place says so, or (-1) nobody in particular: it is asked for anew. */
void cairn__route_refresh(struct cairn *c, int place);
/** @w->news() runs when something of the map has changed; until cairn_list_del(). CAIRN_E_NOMEM. */
int cairn__route_watch(struct cairn *c, struct cairn_route_watch *w);

/** At the client's end, when no call is left; turns the loop until its sessions are closed. */
void cairn__routing_free(struct cairn *c);

#endif
