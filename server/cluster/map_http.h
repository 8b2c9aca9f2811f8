/** HTTP requests to a map store's servers, by libcurl's multi-socket interface on a loop. The only file pair that
 * includes libcurl.
 *
 * A request is sent at most once: libcurl would by itself repeat one on a fresh connection when a kept one turns out
 * dead, and a change that was carried out must not be refused as its own successor. Programs that use TLS ignore
 * SIGPIPE. Home's thread only. */
#ifndef CAIRN_SERVER_CLUSTER_MAP_HTTP_H
#define CAIRN_SERVER_CLUSTER_MAP_HTTP_H

#include "sdk/core/loop/loop.h"

enum {
    CAIRN_MAP_HTTP_REPLY_MAX = 32 << 20,
    CAIRN_MAP_HTTP_CONNECT_MS = 1000,
};

struct cairn_map_http;

struct cairn_map_http_conf {
    const char *ca_file, *cert_file, *key_file; /* PEM; NULL: the system's, none, none. Copied */
};

/** Held by its user until done(). A POST of JSON. */
struct cairn_map_http_req {
    const char *url;   /* may go when the request was started, as @token */
    const char *token; /* NULL: none */
    char *body;        /* the user's until done() */
    size_t body_len;
    uint32_t timeout_ms; /* 0: none, for a stream */
    /** A stream's bytes as they come; false ends the request. NULL: they are gathered in @reply. */
    bool (*data)(struct cairn_map_http_req *rq, const char *bytes, size_t len);
    void (*done)(struct cairn_map_http_req *rq);
    void *arg;

    int rc; /* 0: there was an answer, whatever its @status. CAIRN_E_UNREACHABLE, CAIRN_E_TIMEOUT, CAIRN_E_AUTH (TLS),
               CAIRN_E_TOOBIG, CAIRN_E_IO, CAIRN_E_NOMEM */
    struct cairn_err err;
    bool sent; /* some of it may have reached the server */
    long status;
    char *reply; /* ended by a zero; freed by cairn_map_http_clear() */
    size_t reply_len;

    /* private */
    struct cairn_link link;
    struct cairn_map_http *http;
    void *easy;
    void *headers;
    size_t body_at, reply_room;
    char text[256];
};

/** CAIRN_E_UNSUPPORTED: there is no libcurl; CAIRN_E_NOMEM. */
struct cairn_map_http *cairn_map_http_new(struct cairn_loop *loop, const struct cairn_map_http_conf *conf,
                                          struct cairn_err *err);
/** Ends requests without done(), not from within one. */
void cairn_map_http_free(struct cairn_map_http *h);

/** done() comes later. CAIRN_E_NOMEM: nothing was started. */
int cairn_map_http_start(struct cairn_map_http *h, struct cairn_map_http_req *rq);
/** No done(); not from within data(). Fine for one that does not run. */
void cairn_map_http_cancel(struct cairn_map_http_req *rq);
/** Frees what the answer brought. */
void cairn_map_http_clear(struct cairn_map_http_req *rq);
static inline bool cairn_map_http_runs(const struct cairn_map_http_req *rq)
{
    return rq->easy != NULL;
}

#endif
