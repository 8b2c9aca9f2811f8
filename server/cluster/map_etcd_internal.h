/* The parts of the etcd store: map_store_etcd.c (what is asked of it, endpoints, token, health), map_etcd_ask.c (one
 * request), map_etcd_watch.c (the view). All of it is home's. */
#ifndef CAIRN_SERVER_CLUSTER_MAP_ETCD_INTERNAL_H
#define CAIRN_SERVER_CLUSTER_MAP_ETCD_INTERNAL_H

#include "server/cluster/map_etcd_json.h"
#include "server/cluster/map_http.h"
#include "server/cluster/map_store_etcd.h"

enum {
    ETCD_ASKS_MAX = 4096,
    ETCD_SENT_MAX = 32, /* changes and reads; what keeps leases and tells the store's health is not held up by them */
    ETCD_LOGIN_MS = 3000,
    ETCD_PROBE_MS = 2000,
    ETCD_PAUSE_MS_MIN = 50, /* between attempts to be told again */
    ETCD_PAUSE_MS_MAX = 2000,
    ETCD_OPEN_MS = 3000,
    ETCD_LOOK_MS = 1000,     /* between questions whether the watch's server is there: so long, or ... */
    ETCD_LOOK_SHARE_MS = 50, /* ... this for each node that asks */
};

struct etcd;

enum etcd_ask_kind { ASK_CHANGE, ASK_READ, ASK_LEASE, ASK_LOGIN, ASK_PROBE };

struct etcd_ask {
    struct cairn_link link; /* of etcd->asks */
    struct cairn_sm sm;
    struct etcd *etcd;
    enum etcd_ask_kind kind;
    struct cairn_map_op *op; /* NULL: our own login or probe */
    struct cairn_map_http_req http;
    struct cairn_timer timer; /* its deadline */
    uint64_t deadline_ns;
    uint32_t endpoint; /* that it was sent to */
    uint32_t tries;
    bool relogged;
    char *after;   /* a read: the last key of the page before */
    uint32_t page; /* likewise: entries that may come in one answer */
    uint64_t revision;
};

struct etcd_watch {
    struct cairn_sm sm;
    struct etcd *etcd;
    struct cairn_map_http_req http, look;
    uint32_t endpoint;
    struct cairn_timer timer;
    struct cairn_map_read read;
    char *line; /* begun, not yet ended */
    size_t line_len, line_room;
    uint64_t resume; /* all up to this revision is in the view */
    uint32_t pause_ms;
    bool reload; /* the history has a gap */
};

struct etcd {
    struct cairn_map_store store;
    struct cairn_map_http *http;
    char *endpoints[CAIRN_MAP_ETCD_ENDPOINTS_MAX];
    uint32_t nendpoints, current;
    char prefix[CAIRN_MAP_ETCD_PREFIX_BYTES_MAX + 1];
    char *view_end;        /* NULL: the view has all */
    char *user, *password; /* NULL: none */
    char *token;
    struct cairn_link asks; /* in order */
    uint32_t nasks, nsent;
    bool logging_in, probing;
    struct cairn_timer probe_timer;
    uint32_t probe_pause_ms;
    struct etcd_watch watch;
};

static inline struct etcd *etcd_of(struct cairn_map_store *s)
{
    return CONTAINER_OF(s, struct etcd, store);
}

/* map_store_etcd.c */
/* The URL of @path at an endpoint, in a buffer that the next call uses again. */
const char *etcd_url(struct etcd *e, uint32_t endpoint, const char *path);
/* @endpoint did not serve: others are asked from now on. */
void etcd_avoid(struct etcd *e, uint32_t endpoint);
void etcd_token_drop(struct etcd *e);
void etcd_login(struct etcd *e);
void etcd_login_over(struct etcd *e, int rc, const struct cairn_err *err);
/* An answer that needs a quorum came; or none did, which is looked at again until one comes. */
void etcd_good(struct etcd *e);
void etcd_bad(struct etcd *e, const struct cairn_err *err);
void etcd_probe(struct etcd *e);

/* map_etcd_ask.c */
extern const struct cairn_sm_kind etcd_ask_kind;
void etcd_ask_start(struct etcd *e, enum etcd_ask_kind kind, struct cairn_map_op *op, uint32_t timeout_ms);
/* Sends what may be sent. */
void etcd_asks_pump(struct etcd *e);
/* The body of a question that only a member of a majority answers; NULL for memory. */
char *etcd_write_probe(const struct etcd *e);
/* Ends what waits to be sent. */
void etcd_asks_fail(struct etcd *e, int rc, const struct cairn_err *err);
/* The view has come to @revision: changes up to it are answered. */
void etcd_asks_settle(struct etcd *e, uint64_t revision);
/* Ends all, without answers. */
void etcd_asks_free(struct etcd *e);

/* map_etcd_watch.c */
extern const struct cairn_sm_kind etcd_watch_kind;
void etcd_watch_init(struct etcd_watch *w, struct etcd *e);
void etcd_watch_fini(struct etcd_watch *w);
/* The view will come to a revision that is newer than w->resume, or etcd_asks_settle() says that it will not. */
void etcd_watch_reload(struct etcd_watch *w);
bool etcd_watch_will_tell(const struct etcd_watch *w);

#endif
