/* GET pages by libevent's evhttp: see http.h.
 *
 * evhttp bounds sizes and idle time, but neither the number of connections nor their whole life, and 2.1 tells nobody
 * when one ends. So we make the bufferevent of each and keep a reference: when evhttp frees its own it first takes its
 * callbacks off, which a look at them shows. We look at each accept, at each request, and once a second while there are
 * connections. */
#include "sdk/core/loop/http.h"

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/http.h>
#include <event2/listener.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { HTTP_SWEEP_NS = 1000000000 };

struct http_conn {
    struct bufferevent *bev; /* a reference; NULL: free */
    uint64_t until_ns;
};

struct cairn_http {
    struct cairn_loop *loop;
    struct evhttp *evhttp;
    struct evconnlistener *listener;
    struct cairn_timer timer;
    uint32_t nconns, npages;
    struct http_conn conns[CAIRN_HTTP_CONNECTIONS_MAX];
    struct cairn_http_page pages[CAIRN_HTTP_PAGES_MAX];
};

static bool conn_is_over(const struct http_conn *c)
{
    void *user;

    bufferevent_getcb(c->bev, NULL, NULL, NULL, &user);
    return user == NULL;
}

static void http_sweep(struct cairn_http *http)
{
    uint64_t now = cairn_env_now_ns(&http->loop->env);

    for (uint32_t i = 0; i < CAIRN_HTTP_CONNECTIONS_MAX; i++) {
        struct http_conn *c = &http->conns[i];

        if (c->bev != NULL && conn_is_over(c)) {
            bufferevent_decref(c->bev);
            c->bev = NULL;
            http->nconns--;
        } else if (c->bev != NULL && c->until_ns <= now) {
            shutdown(bufferevent_getfd(c->bev), SHUT_RDWR); /* the end of file that follows makes evhttp close it */
        }
    }
    if (http->nconns == 0) /* an idle page wakes nobody */
        cairn_timer_stop(&http->loop->env, &http->timer);
    if (http->nconns < CAIRN_HTTP_CONNECTIONS_MAX && http->listener != NULL)
        evconnlistener_enable(http->listener);
}

static void on_timer(void *arg)
{
    struct cairn_http *http = arg;

    http_sweep(http);
    if (http->nconns > 0)
        (void)cairn_timer_start(&http->loop->env, &http->timer, cairn_env_now_ns(&http->loop->env) + HTTP_SWEEP_NS);
}

static void free_text(const void *data, size_t len, void *text)
{
    (void)data;
    (void)len;
    free(text);
}

/* What "/" says, and whoever asks for something that is not there: which pages there are. */
static char *list_pages(const struct cairn_http *http, const char *first, size_t *len)
{
    char *text = NULL;
    FILE *to = open_memstream(&text, len);

    if (to == NULL)
        return NULL;
    fprintf(to, "%s\n", first);
    for (uint32_t i = 0; i < http->npages; i++)
        fprintf(to, "%-12s %s\n", http->pages[i].path, http->pages[i].what);
    if (fclose(to) == 0)
        return text;
    free(text);
    return NULL;
}

static void fill_reply(const struct cairn_http *http, struct evhttp_request *req, struct cairn_http_reply *reply)
{
    const struct evhttp_uri *uri = evhttp_request_get_evhttp_uri(req);
    const char *path = uri != NULL ? evhttp_uri_get_path(uri) : NULL;
    enum evhttp_cmd_type method = evhttp_request_get_command(req);

    if (method != EVHTTP_REQ_GET && method != EVHTTP_REQ_HEAD) {
        reply->status = 405;
        evhttp_add_header(evhttp_request_get_output_headers(req), "Allow", "GET, HEAD");
        reply->text = list_pages(http, "These pages can only be read (GET).", &reply->len);
        return;
    }
    for (uint32_t i = 0; path != NULL && i < http->npages; i++) {
        if (strcmp(http->pages[i].path, path) == 0) {
            reply->status = 200;
            http->pages[i].fn(http->pages[i].arg, reply);
            return;
        }
    }
    reply->status = path == NULL || path[0] == '\0' || strcmp(path, "/") == 0 ? 200 : 404;
    reply->text = list_pages(
        http, reply->status == 200 ? "The pages of this Cairn node:" : "There is no such page, but:", &reply->len);
}

static const char *reason_of(int status)
{
    return status == 200 ? "OK" : status == 404 ? "Not Found" : status == 405 ? "Method Not Allowed" : "Unavailable";
}

static void on_request(struct evhttp_request *req, void *arg)
{
    struct evkeyvalq *headers = evhttp_request_get_output_headers(req);
    struct cairn_http_reply reply = { .status = 404, .content_type = "text/plain; charset=utf-8" };
    struct evbuffer *body = evbuffer_new();

    fill_reply(arg, req, &reply);
    evhttp_add_header(headers, "Content-Type", reply.content_type);
    evhttp_add_header(headers, "Connection", "close");
    evhttp_add_header(headers, "X-Content-Type-Options", "nosniff");
    if (evhttp_request_get_command(req) == EVHTTP_REQ_HEAD) { /* evhttp would send the body all the same */
        char len[24];
        snprintf(len, sizeof(len), "%zu", reply.len);
        evhttp_add_header(headers, "Content-Length", len);
    } else if (body != NULL && reply.text != NULL &&
               evbuffer_add_reference(body, reply.text, reply.len, free_text, reply.text) == 0)
        reply.text = NULL;
    free(reply.text);
    evhttp_send_reply(req, reply.status, reason_of(reply.status), body);
    if (body != NULL)
        evbuffer_free(body);
}

/* What evhttp is to use for a connection that was just accepted; its descriptor comes a moment later. */
static struct bufferevent *on_accept(struct event_base *base, void *arg)
{
    struct cairn_http *http = arg;
    struct http_conn *c = http->conns;
    struct bufferevent *bev = bufferevent_socket_new(base, -1, 0);

    if (bev == NULL)
        return NULL;
    http_sweep(http);
    while (c->bev != NULL)
        c++; /* ends: the listener is off while all are taken */
    bufferevent_incref(bev);
    c->bev = bev;
    c->until_ns = cairn_env_now_ns(&http->loop->env) + CAIRN_HTTP_SECONDS_MAX * CAIRN_NS_PER_S;
    if (++http->nconns == CAIRN_HTTP_CONNECTIONS_MAX)
        evconnlistener_disable(http->listener);
    if (!cairn_timer_is_running(&http->timer)) /* without memory for it, evhttp's own idle timeout remains */
        (void)cairn_timer_start(&http->loop->env, &http->timer, cairn_env_now_ns(&http->loop->env) + HTTP_SWEEP_NS);
    return bev;
}

struct cairn_http *cairn_http_start(struct cairn_loop *loop, int fd, const struct cairn_http_page *pages,
                                    uint32_t npages, struct cairn_err *err)
{
    struct cairn_http *http = calloc(1, sizeof(*http));

    CAIRN_ASSERT(npages <= CAIRN_HTTP_PAGES_MAX);
    if (http == NULL)
        goto close_fd;
    http->loop = loop;
    cairn_timer_init(&http->timer, on_timer, http);
    memcpy(http->pages, pages, npages * sizeof(*pages));
    http->npages = npages;
    http->evhttp = evhttp_new(loop->base);
    if (http->evhttp == NULL)
        goto free_http;
    /* All that evhttp knows: those it did not let through would get a page of its own, in HTML. */
    evhttp_set_allowed_methods(http->evhttp, EVHTTP_REQ_GET | EVHTTP_REQ_HEAD | EVHTTP_REQ_POST | EVHTTP_REQ_PUT |
                                                 EVHTTP_REQ_DELETE | EVHTTP_REQ_OPTIONS | EVHTTP_REQ_TRACE |
                                                 EVHTTP_REQ_CONNECT | EVHTTP_REQ_PATCH);
    evhttp_set_max_headers_size(http->evhttp, CAIRN_HTTP_REQUEST_BYTES_MAX);
    evhttp_set_max_body_size(http->evhttp, CAIRN_HTTP_REQUEST_BYTES_MAX); /* of a POST that is refused */
    evhttp_set_timeout(http->evhttp, CAIRN_HTTP_SECONDS_MAX);
    evhttp_set_gencb(http->evhttp, on_request, http);
    evhttp_set_bevcb(http->evhttp, on_accept, http);
    http->listener = evconnlistener_new(loop->base, NULL, NULL, LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, 0, fd);
    if (http->listener == NULL)
        goto free_evhttp;
    fd = -1; /* the listener's from here */
    if (evhttp_bind_listener(http->evhttp, http->listener) == NULL)
        goto free_listener;
    return http;
free_listener:
    evconnlistener_free(http->listener);
free_evhttp:
    evhttp_free(http->evhttp);
free_http:
    free(http);
close_fd:
    if (fd >= 0)
        close(fd);
    cairn_err_set(err, CAIRN_E_NOMEM, "HTTP page");
    return NULL;
}

void cairn_http_stop(struct cairn_http *http)
{
    if (http == NULL)
        return;
    http->listener = NULL; /* evhttp's */
    evhttp_free(http->evhttp);
    http_sweep(http);
    CAIRN_ASSERT(http->nconns == 0);
    cairn_timer_stop(&http->loop->env, &http->timer);
    free(http);
}

uint32_t cairn_http_connections(struct cairn_http *http)
{
    http_sweep(http);
    return http->nconns;
}
