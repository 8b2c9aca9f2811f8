/** A page or two over HTTP on a loop, for metrics and health: GET of fixed paths, nothing else; "/" lists them.
 *
 * Everything is bounded: connections, the size of a request, how long it may take. A connection serves one request. */
#ifndef CAIRN_CORE_LOOP_HTTP_H
#define CAIRN_CORE_LOOP_HTTP_H

#include "sdk/core/loop/loop.h"

enum {
    CAIRN_HTTP_CONNECTIONS_MAX = 16,     /* more wait in the kernel's queue */
    CAIRN_HTTP_REQUEST_BYTES_MAX = 8192, /* request line and headers; and a body, which nobody reads */
    CAIRN_HTTP_SECONDS_MAX = 10,         /* from accept to close */
    CAIRN_HTTP_PAGES_MAX = 8,
};

struct cairn_http;

struct cairn_http_reply {
    int status;               /* 200 */
    const char *content_type; /* "text/plain" */
    char *text;               /* from malloc; taken over. NULL: an empty body */
    size_t len;
};

struct cairn_http_page {
    const char *path; /* "/metrics" */
    const char *what; /* "for Prometheus": the list on "/" says it */
    /** Fills @reply; on the loop's thread, so it must not take long. */
    void (*fn)(void *arg, struct cairn_http_reply *reply);
    void *arg;
};

/** Serves @pages (copied; their paths stay the caller's) on @fd, a listening, non-blocking socket that is taken over,
 * whatever is returned. NULL with @err: CAIRN_E_NOMEM. */
struct cairn_http *cairn_http_start(struct cairn_loop *loop, int fd, const struct cairn_http_page *pages,
                                    uint32_t npages, struct cairn_err *err);
/** Closes all connections and the socket. On the loop's thread, or when it has ended. NULL is fine. */
void cairn_http_stop(struct cairn_http *http);
/** Connections that are open now. */
uint32_t cairn_http_connections(struct cairn_http *http);

#endif
