/* Which node a call to a clustered namespace goes to, and how often.
 *
 * A client keeps the map as far as it needs it: the slots' primaries and the nodes' addresses, fetched from any node and
 * brought up to date when an answer says that it is old. A routed call goes to its slot's primary; what that node cannot
 * answer now (CAIRN_E_MOVED, BUSY, a lost connection, silence) is asked again, of whoever the newest map names, until the call's
 * time is over. A write bears a number that makes it happen once however often it is sent (PROTOCOL §8): of a session for each
 * slot, opened by the first write there, or, in a write-once namespace, of its own.
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
struct cairn_routing;
struct routing_session;

/** What a routed call knows of its way; zeroed when the call is recycled. */
struct cairn_route {
    bool on;     /* the call goes to the primary of @slot */
    bool writes; /* and bears a number */
    bool once;   /* its own, not a session's */
    bool waits;  /* for a timer, the map or a session: nothing is with the RPC layer */
    bool unsure; /* a try has ended without an answer: it may have been done */
    uint32_t slot, tries;
    uint32_t try_ms; /* for an answer, beside what its bytes may take; 0: as usual */
    uint64_t *home;  /* it goes to this node and no other; 0: to the next one, and so do the rest. NULL: wherever */
    uint64_t node;  /* that the last try went to */
    uint64_t epoch; /* of the record by which the last try went */
    Cairn__Wire__RouterRid rid;
    struct routing_session *session; /* that gave the number, or for which it waits */
    struct cairn_link link;          /* of the session's numbered or waiting calls */
    struct cairn_link waiting;       /* of all that wait */
    struct cairn_timer timer;
};

/** Before the call starts: it goes to @slot. @rid_field: of the request, for a write. The namespace is the call's handle. */
void cairn__route_to(struct cairn_call *call, uint32_t slot, Cairn__Wire__RouterRid **rid_field, bool once);

/** cairn__call_send() of a routed call. True: the call's destination is set, and it may be sent now, with at most
 * *@timeout_ns for this try; false: it waits, and cairn__call_send() comes again. */
bool cairn__route_find(struct cairn_call *call, uint64_t *timeout_ns);
/** A try is over, call->rpc.rc says how. True: it is asked again later. */
bool cairn__route_again(struct cairn_call *call);
/** The call is over: its number is not waited for any more. */
void cairn__route_over(struct cairn_call *call);
/** A canceled call that waits ends soon. */
void cairn__route_cancel(struct cairn_call *call);

/** A slot of [@first, @first + @n) whose primary, as far as is known, is none of @nodes; UINT32_MAX: there is none. */
uint32_t cairn__route_other(struct cairn *c, uint32_t first, uint32_t n, const uint64_t *nodes, uint32_t nnodes);
/** The map turned out to be old: it is asked for anew. */
void cairn__route_refresh(struct cairn *c);

/** At the client's end, when no call is left; turns the loop until its sessions are closed. */
void cairn__routing_free(struct cairn *c);

#endif
