/* libcurl on a loop: see map_http.h.
 *
 * It is loaded when it is first needed: with what it stands on it takes 6 MB and 5 ms, no price for a node whose map is
 * its own, nor for an application that hosts one. */
#include "server/cluster/map_http.h"

#define CURL_DISABLE_TYPECHECK
#include <curl/curl.h>
#include <dlfcn.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum { HTTP_DEAD_PEER_MS = 10000, HTTP_KEEPALIVE_S = 3 };

struct cairn_map_http {
    struct cairn_loop *loop;
    CURLM *multi;
    struct cairn_timer timer;
    struct cairn_link requests, sockets;
    char *ca_file, *cert_file, *key_file;
};

struct http_socket {
    struct cairn_link link;
    struct cairn_watch watch;
    struct cairn_map_http *http;
};

/* ---- the library: the process's, as every shared one; never unloaded ---- */

#define CURL_FUNCTIONS(X)                                                                                              \
    X(global_init)                                                                                                     \
    X(easy_init)                                                                                                       \
    X(easy_setopt)                                                                                                     \
    X(easy_getinfo)                                                                                                    \
    X(easy_strerror)                                                                                                   \
    X(easy_cleanup)                                                                                                    \
    X(multi_init)                                                                                                      \
    X(multi_setopt)                                                                                                    \
    X(multi_add_handle)                                                                                                \
    X(multi_remove_handle)                                                                                             \
    X(multi_assign)                                                                                                    \
    X(multi_socket_action)                                                                                             \
    X(multi_info_read)                                                                                                 \
    X(multi_cleanup)                                                                                                   \
    X(slist_append)                                                                                                    \
    X(slist_free_all)

static struct {
#define X(name) __typeof__(curl_##name) *name;
    CURL_FUNCTIONS(X)
#undef X
} curl;
static const char *failure; /* why it could not be loaded */

static void load(void)
{
    void *handle = dlopen("libcurl.so.4", RTLD_NOW | RTLD_LOCAL);

    failure = handle == NULL ? dlerror() : NULL;
    if (handle == NULL)
        return;
#define X(name)                                                                                                        \
    *(void **)&curl.name = dlsym(handle, "curl_" #name); /* data to function pointer, which C leaves to POSIX */       \
    if (curl.name == NULL)                                                                                             \
        failure = "libcurl.so.4 has no curl_" #name;
    CURL_FUNCTIONS(X)
#undef X
    if (failure == NULL && curl.global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        failure = "libcurl.so.4 cannot be set up";
}

/* ---- libcurl's descriptors and timer ---- */

static int rc_of(CURLcode code)
{
    switch (code) {
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_COULDNT_CONNECT:
        return CAIRN_E_UNREACHABLE;
    case CURLE_OPERATION_TIMEDOUT:
        return CAIRN_E_TIMEOUT;
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CACERT_BADFILE:
        return CAIRN_E_AUTH;
    case CURLE_OUT_OF_MEMORY:
        return CAIRN_E_NOMEM;
    default:
        return CAIRN_E_IO;
    }
}

static void request_end(struct cairn_map_http_req *rq)
{
    if (rq->easy == NULL)
        return;
    curl.multi_remove_handle(rq->http->multi, rq->easy);
    curl.easy_cleanup(rq->easy);
    curl.slist_free_all(rq->headers);
    rq->easy = rq->headers = NULL;
    cairn_list_del(&rq->link);
}

static void request_done(struct cairn_map_http_req *rq, CURLcode code)
{
    const char *text = code == CURLE_SEND_FAIL_REWIND ? "the connection ended before an answer" /* on_rewind() */
                       : rq->text[0] != '\0'          ? rq->text
                                                      : curl.easy_strerror(code);

    curl.easy_getinfo(rq->easy, CURLINFO_RESPONSE_CODE, &rq->status);
    if (code != CURLE_OK && rq->rc == 0)
        rq->rc = cairn_err_set(&rq->err, rc_of(code), "%s", text);
    request_end(rq);
    rq->done(rq);
}

static void http_finish(struct cairn_map_http *h)
{
    CURLMsg *m;
    int left;

    while ((m = curl.multi_info_read(h->multi, &left)) != NULL) {
        struct cairn_map_http_req *rq = NULL;
        CURLcode code = m->data.result;

        if (m->msg != CURLMSG_DONE)
            continue;
        curl.easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&rq);
        request_done(rq, code); /* @m is gone with the handle */
    }
}

static void on_socket(void *arg, uint32_t ready)
{
    const struct http_socket *s = arg;
    struct cairn_map_http *h = s->http;
    int what = (ready & CAIRN_WATCH_READ) != 0 ? CURL_CSELECT_IN : CURL_CSELECT_OUT, running;

    curl.multi_socket_action(h->multi, s->watch.fd, what, &running); /* @s may be gone then */
    http_finish(h);
}

static void on_timer(void *arg)
{
    struct cairn_map_http *h = arg;
    int running;

    curl.multi_socket_action(h->multi, CURL_SOCKET_TIMEOUT, 0, &running);
    http_finish(h);
}

static void socket_free(struct http_socket *s)
{
    cairn_list_del(&s->link);
    cairn_watch_fini(&s->watch);
    free(s);
}

static int on_curl_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *of_socket)
{
    struct cairn_map_http *h = arg;
    struct http_socket *s = of_socket;
    uint32_t armed = (what & CURL_POLL_IN ? CAIRN_WATCH_READ : 0) | (what & CURL_POLL_OUT ? CAIRN_WATCH_WRITE : 0);

    (void)easy;
    if (what == CURL_POLL_REMOVE) {
        if (s != NULL)
            socket_free(s);
        return 0;
    }
    if (s == NULL) {
        s = calloc(1, sizeof(*s));
        if (s == NULL)
            return -1;
        s->http = h;
        cairn_list_add_tail(&h->sockets, &s->link);
        if (cairn_watch_init(&s->watch, h->loop, fd, on_socket, s) != 0) {
            socket_free(s);
            return -1;
        }
        curl.multi_assign(h->multi, fd, s);
    }
    return cairn_watch_arm(&s->watch, armed) == 0 ? 0 : -1;
}

static int on_curl_timer(CURLM *multi, long ms, void *arg)
{
    struct cairn_map_http *h = arg;
    uint64_t at = cairn_env_now_ns(&h->loop->env) + (uint64_t)MAX(ms, 0) * CAIRN_NS_PER_MS;

    (void)multi;
    if (ms < 0)
        cairn_timer_stop(&h->loop->env, &h->timer);
    else if (cairn_timer_start(&h->loop->env, &h->timer, at) != 0)
        return -1;
    return 0;
}

/* ---- a request ---- */

static size_t on_body(char *to, size_t size, size_t n, void *arg)
{
    struct cairn_map_http_req *rq = arg;
    size_t len = MIN(size * n, rq->body_len - rq->body_at);

    memcpy(to, rq->body + rq->body_at, len);
    rq->body_at += len;
    rq->sent = true;
    return len;
}

/* libcurl asks to begin the body again only to send it twice. */
static int on_rewind(void *arg, curl_off_t offset, int origin)
{
    const struct cairn_map_http_req *rq = arg;

    return origin == SEEK_SET && (size_t)offset == rq->body_at ? CURL_SEEKFUNC_OK : CURL_SEEKFUNC_FAIL;
}

static bool reply_add(struct cairn_map_http_req *rq, const char *bytes, size_t len)
{
    if (len > CAIRN_MAP_HTTP_REPLY_MAX - rq->reply_len) {
        rq->rc = cairn_err_set(&rq->err, CAIRN_E_TOOBIG, "the answer has more than %d bytes", CAIRN_MAP_HTTP_REPLY_MAX);
        return false;
    }
    if (rq->reply_len + len + 1 > rq->reply_room) {
        size_t room = MAX((size_t)4096, (rq->reply_len + len + 1) * 2);
        char *reply = realloc(rq->reply, room);

        if (reply == NULL) {
            rq->rc = cairn_err_set(&rq->err, CAIRN_E_NOMEM, "answer of the map store");
            return false;
        }
        rq->reply = reply;
        rq->reply_room = room;
    }
    memcpy(rq->reply + rq->reply_len, bytes, len);
    rq->reply_len += len;
    rq->reply[rq->reply_len] = '\0';
    return true;
}

static size_t on_reply(char *bytes, size_t size, size_t n, void *arg)
{
    struct cairn_map_http_req *rq = arg;
    bool fine = rq->data != NULL ? rq->data(rq, bytes, size * n) : reply_add(rq, bytes, size * n);

    return fine ? size * n : 0;
}

/* A server that vanished without a word is noticed by the kernel. */
static int on_new_socket(void *arg, curl_socket_t fd, curlsocktype purpose)
{
    unsigned ms = HTTP_DEAD_PEER_MS;

    (void)arg;
    (void)purpose;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &ms, sizeof(ms)); /* a refinement: keep-alive probes remain */
    return CURL_SOCKOPT_OK;
}

static bool header_add(struct cairn_map_http_req *rq, const char *name, const char *value)
{
    char line[1024];
    struct curl_slist *list;

    if ((size_t)snprintf(line, sizeof(line), "%s: %s", name, value) >= sizeof(line))
        return false;
    list = curl.slist_append(rq->headers, line);
    if (list == NULL)
        return false;
    rq->headers = list;
    return true;
}

/* "Expect:" without a value switches a question off that costs a round trip. "hasleader" ends a watch at a member that
 * lost the others, where it would be silent for ever. */
static bool headers_add(struct cairn_map_http_req *rq)
{
    struct curl_slist *list;

    if (!header_add(rq, "Content-Type", "application/json") || !header_add(rq, "Grpc-Metadata-hasleader", "true") ||
        (rq->token != NULL && !header_add(rq, "Authorization", rq->token)))
        return false;
    list = curl.slist_append(rq->headers, "Expect:");
    if (list == NULL)
        return false;
    rq->headers = list;
    return true;
}

static void options_set(const struct cairn_map_http *h, struct cairn_map_http_req *rq)
{
    CURL *e = rq->easy;

    curl.easy_setopt(e, CURLOPT_PRIVATE, rq);
    curl.easy_setopt(e, CURLOPT_URL, rq->url);
    curl.easy_setopt(e, CURLOPT_HTTPHEADER, rq->headers);
    curl.easy_setopt(e, CURLOPT_POST, 1L);
    curl.easy_setopt(e, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)rq->body_len);
    curl.easy_setopt(e, CURLOPT_READFUNCTION, on_body);
    curl.easy_setopt(e, CURLOPT_READDATA, rq);
    curl.easy_setopt(e, CURLOPT_SEEKFUNCTION, on_rewind);
    curl.easy_setopt(e, CURLOPT_SEEKDATA, rq);
    curl.easy_setopt(e, CURLOPT_WRITEFUNCTION, on_reply);
    curl.easy_setopt(e, CURLOPT_WRITEDATA, rq);
    curl.easy_setopt(e, CURLOPT_ERRORBUFFER, rq->text);
    curl.easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
    curl.easy_setopt(e, CURLOPT_PROXY, ""); /* never by an environment variable */
    curl.easy_setopt(e, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl.easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https");
    curl.easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, (long)CAIRN_MAP_HTTP_CONNECT_MS);
    curl.easy_setopt(e, CURLOPT_TIMEOUT_MS, (long)rq->timeout_ms);
    curl.easy_setopt(e, CURLOPT_TCP_KEEPALIVE, 1L);
    curl.easy_setopt(e, CURLOPT_TCP_KEEPIDLE, (long)HTTP_KEEPALIVE_S);
    curl.easy_setopt(e, CURLOPT_TCP_KEEPINTVL, (long)HTTP_KEEPALIVE_S);
    curl.easy_setopt(e, CURLOPT_SOCKOPTFUNCTION, on_new_socket);
    if (h->ca_file != NULL)
        curl.easy_setopt(e, CURLOPT_CAINFO, h->ca_file);
    if (h->cert_file != NULL)
        curl.easy_setopt(e, CURLOPT_SSLCERT, h->cert_file);
    if (h->key_file != NULL)
        curl.easy_setopt(e, CURLOPT_SSLKEY, h->key_file);
}

int cairn_map_http_start(struct cairn_map_http *h, struct cairn_map_http_req *rq)
{
    rq->http = h;
    rq->rc = 0;
    rq->err = (struct cairn_err){ 0 };
    rq->sent = false;
    rq->status = 0;
    rq->reply = NULL;
    rq->reply_len = rq->reply_room = rq->body_at = 0;
    rq->text[0] = '\0';
    rq->headers = NULL;
    rq->easy = curl.easy_init();
    cairn_list_init(&rq->link);
    if (rq->easy == NULL || !headers_add(rq))
        goto fail;
    options_set(h, rq);
    if (curl.multi_add_handle(h->multi, rq->easy) != CURLM_OK)
        goto fail;
    cairn_list_add_tail(&h->requests, &rq->link);
    return 0;
fail:
    curl.slist_free_all(rq->headers);
    if (rq->easy != NULL)
        curl.easy_cleanup(rq->easy);
    rq->easy = rq->headers = NULL;
    return cairn_err_set(&rq->err, CAIRN_E_NOMEM, "request to the map store");
}

void cairn_map_http_cancel(struct cairn_map_http_req *rq)
{
    request_end(rq);
}

void cairn_map_http_clear(struct cairn_map_http_req *rq)
{
    free(rq->reply);
    rq->reply = NULL;
    rq->reply_len = rq->reply_room = 0;
}

/* ---- all ---- */

static bool copy(char **to, const char *from)
{
    *to = from != NULL && from[0] != '\0' ? strdup(from) : NULL;
    return *to != NULL || from == NULL || from[0] == '\0';
}

struct cairn_map_http *cairn_map_http_new(struct cairn_loop *loop, const struct cairn_map_http_conf *conf,
                                          struct cairn_err *err)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    struct cairn_map_http *h;

    pthread_once(&once, load);
    if (failure != NULL) {
        cairn_err_set(err, CAIRN_E_UNSUPPORTED, "%s", failure);
        return NULL;
    }
    h = calloc(1, sizeof(*h));
    if (h == NULL)
        goto fail;
    h->loop = loop;
    cairn_list_init(&h->requests);
    cairn_list_init(&h->sockets);
    cairn_timer_init(&h->timer, on_timer, h);
    h->multi = curl.multi_init();
    if (h->multi == NULL || !copy(&h->ca_file, conf->ca_file) || !copy(&h->cert_file, conf->cert_file) ||
        !copy(&h->key_file, conf->key_file)) {
        cairn_map_http_free(h);
        goto fail;
    }
    curl.multi_setopt(h->multi, CURLMOPT_SOCKETFUNCTION, on_curl_socket);
    curl.multi_setopt(h->multi, CURLMOPT_SOCKETDATA, h);
    curl.multi_setopt(h->multi, CURLMOPT_TIMERFUNCTION, on_curl_timer);
    curl.multi_setopt(h->multi, CURLMOPT_TIMERDATA, h);
    return h;
fail:
    cairn_err_set(err, CAIRN_E_NOMEM, "libcurl");
    return NULL;
}

void cairn_map_http_free(struct cairn_map_http *h)
{
    CAIRN_LIST_FOREACH_SAFE (l, &h->requests) {
        struct cairn_map_http_req *rq = CONTAINER_OF(l, struct cairn_map_http_req, link);

        request_end(rq);
        cairn_map_http_clear(rq);
    }
    if (h->multi != NULL)
        curl.multi_cleanup(h->multi); /* closes kept connections, and tells on_curl_socket() */
    CAIRN_LIST_FOREACH_SAFE (l, &h->sockets)
        socket_free(CONTAINER_OF(l, struct http_socket, link));
    cairn_timer_stop(&h->loop->env, &h->timer);
    free(h->ca_file);
    free(h->cert_file);
    free(h->key_file);
    free(h);
}
