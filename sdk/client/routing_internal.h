/* What the files about routes share: see routing.h and README.md. */
#ifndef CAIRN_CLIENT_ROUTING_INTERNAL_H
#define CAIRN_CLIENT_ROUTING_INTERNAL_H

#include "sdk/client/hashed_internal.h"
#include "sdk/client/route_map.h"

enum {
    ROUTE_WRITES_MAX = 192,   /* of one session: nodes keep 256 between the lowest and the newest */
    ROUTE_SESSIONS_MAX = 512, /* with nodes, at a time */
    ROUTE_TRY_MS = 2000,      /* an answer may take so long before another node is asked */
    ROUTE_UNREACHED_MS = 500, /* likewise while there is no connection */
    ROUTE_OPEN_MS = 60000,    /* a session's OPEN has so long at least, whatever the writes have that wait for it */
    ROUTE_IDLE_S = 60, /* a session is not relied on after so long, or half the time that its node said it keeps it */
};

/* ---- sessions with nodes: route_member.c ---- */

struct route_member {
    struct cairn_sm sm;
    struct cairn_routing *routing;
    struct cairn_rpc_session *session; /* OPEN */
    uint16_t place;
    uint32_t users, edition; /* edition: of the addresses that it was made of */
    bool by_name;            /* and of those that were found by name */
    struct cairn_lookup *lookup; /* NULL: its hosts' names are not looked up now */
    uint64_t idle_since_ns;  /* without users */
    uint64_t look_again_ns;  /* its names of this edition led nowhere; they are not looked up before */
    uint64_t avoid_until_ns; /* it did not answer: what others may answer does not go there */
    struct cairn_link idle;  /* without users, the longest first */
};

struct route_members {
    struct route_member **all;      /* by place; NULL: never wanted */
    uint32_t room, nopen, nclosing; /* nopen: OPEN and CLOSING */
    uint32_t open_max;
    uint64_t idle_ns;
    struct cairn_link idle;
    struct cairn_timer timer;
    struct cairn_lookups *lookups; /* NULL: there was none yet */
};

void route_members_init(struct cairn_routing *r);
/* The session with it, for one more user, or NULL: not now. Not up, perhaps: then it connects. */
struct cairn_rpc_session *route_member_get(struct cairn_routing *r, uint16_t place);
/* There is no session with it now, but will be: it waits for another's place. */
bool route_member_is_in_line(const struct cairn_routing *r, uint16_t place);
/* No address of it that the map knows can be reached from here. */
bool route_member_is_nowhere(const struct cairn_routing *r, uint16_t place);
void route_member_put(struct cairn_routing *r, uint16_t place);
/* A node from @from on that there is a connection with, which has not been silent lately; -1: none. */
int route_member_up(const struct cairn_routing *r, uint32_t from);
/* There is a connection with it, and it has not been silent lately. */
bool route_member_is_up(const struct cairn_routing *r, uint16_t place);
/* It is silent, or unreachable; others are asked for a while where they can answer as well. */
void route_member_avoid(struct cairn_routing *r, uint16_t place);
bool route_member_is_usable(void *routing, uint16_t place);
/* Closes all, turning the loop. */
void route_members_fini(struct cairn_routing *r);

/* ---- fetching the map: route_fetch.c ---- */

struct route_fetch {
    struct cairn_sm sm;
    struct cairn_rpc_call call;
    Cairn__Wire__ClusterFetch request;
    bool wanted;  /* once more, when this one is over */
    bool goes_on; /* RESTING: in the middle of the pages of @asked */
    bool ends;    /* the client does */
    int next;    /* the place of the node to be asked: it has told us that our map is old; -1: none in particular */
    int asked;   /* and that is being asked; -1: whoever cairn_connect() found */
    uint32_t turn, failures, pauses; /* failures, pauses: in a row */
    uint64_t upto, copy;     /* of the pages so far, if there are more; of which node's copy they are */
    uint64_t avoid_until_ns; /* whoever cairn_connect() found did not answer: others are asked */
    uint64_t news; /* how often the map has changed */
    struct cairn_err err;
    struct cairn_task task;
    struct cairn_timer timer;
};

void route_fetch_init(struct cairn_routing *r);
/* @place: who has a newer map, or -1. */
void route_fetch_want(struct cairn_routing *r, int place);
void route_fetch_fini(struct cairn_routing *r);

/* ---- numbers: route_session.c ---- */

/* Nodes that there is a connection with hear that the client ends; turns the loop, not for long. */
void route_sessions_close(struct cairn_routing *r);
void route_sessions_fini(struct cairn_routing *r);

/* ---- the whole: routing.c ---- */

struct cairn_routing {
    struct cairn *c;
    struct cairn_route_map map;
    struct route_members members;
    struct route_fetch fetch;
    struct route_session **sessions; /* by slot; NULL: nothing was written there */
    uint32_t sessions_room;
    uint64_t session_idle_ns; /* ROUTE_IDLE_S */
    struct cairn_link waiting, asked; /* struct cairn_route.link */
    struct cairn_link watches;
    struct cairn_timer look; /* runs while there are any of these */
    uint32_t try_ms;         /* ROUTE_TRY_MS */
    struct {
        uint32_t slot;
        uint64_t at_ns;
        char text[CAIRN_ERR_TEXT_MAX];
    } busy; /* the newest answer that a node is not able to answer now, and why: for calls whose time is over then */
};

static inline uint64_t routing_now(const struct cairn_routing *r)
{
    return cairn_loop_now(&r->c->loop);
}

/* Of this client, made when it is first wanted; NULL: no memory. */
struct cairn_routing *routing_of(struct cairn *c);
/* The map has changed: calls that wait go on if it says something new for them. */
void routing_tell(struct cairn_routing *r);
/* A call waits from now on, for news or for an answer: if it lasts, the map is asked for. */
void routing_look(struct cairn_routing *r);
/* route.c: of one that waits */
void route_on_news(struct cairn_routing *r, struct cairn_route *route);
/* of one that waits: for news, or for the next try; not for a number */
bool route_waits_for_map(const struct cairn_route *route);
/* of one that is with a node, which does not answer: if it leads no more, it is not waited for */
void route_on_old(struct cairn_routing *r, struct cairn_route *route);

#endif
