/* etcd's own put, as its native clients do it: gRPC over one HTTP/2 connection, OUTSTANDING requests at a time.
 *
 *   yard_etcd --port 2379 --outstanding 16 --keys N --value BYTES --seconds S
 *
 * Debian has no `benchmark` of etcd's, and `etcdctl check perf` has fixed loads; etcd's JSON gateway would cost it
 * more than what is measured. gRPC is little enough to be spoken by libnghttp2 alone: a POST of one message, which is
 * a byte 0, a length and protobuf, and `grpc-status: 0` at the end of the answer. */
#include "bench.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <nghttp2/nghttp2.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { KEY_BYTES = 16, VALUE_MAX = 4096, OUTSTANDING_MAX = 100, WAIT_MS = 10000 };

struct request {
    uint8_t body[VALUE_MAX + 64];
    size_t len, sent;
    bool good;
};

static struct {
    nghttp2_session *session;
    int fd;
    uint64_t keys, value_bytes, span_ns, rand;
    uint64_t start_ns, from_ns, from_done, last_ns, done, running;
} job;

/* ---- a request ---- */

static size_t varint(uint8_t *to, uint64_t n)
{
    size_t i = 0;

    for (; n >= 128; n >>= 7)
        to[i++] = (uint8_t)(n | 128);
    to[i++] = (uint8_t)n;
    return i;
}

static size_t field(uint8_t *to, unsigned number, const void *bytes, size_t len)
{
    size_t at = 1 + varint(to + 1, len);

    to[0] = (uint8_t)(number << 3 | 2);
    memcpy(to + at, bytes, len);
    return at + len;
}

/* etcdserverpb.PutRequest { bytes key = 1; bytes value = 2; } */
static void fill(struct request *r)
{
    uint8_t value[VALUE_MAX + 8];
    char key[32];
    size_t n = 5;

    for (size_t i = 0; i < job.value_bytes; i += 8) {
        bench_rand(&job.rand);
        memcpy(value + i, &job.rand, 8);
    }
    snprintf(key, sizeof(key), "key:%012" PRIu64, bench_rand(&job.rand) % job.keys);
    n += field(r->body + n, 1, key, KEY_BYTES);
    n += field(r->body + n, 2, value, job.value_bytes);
    r->body[0] = 0; /* not compressed */
    for (int i = 0; i < 4; i++)
        r->body[1 + i] = (uint8_t)((n - 5) >> (24 - 8 * i));
    r->len = n;
    r->sent = 0;
    r->good = false;
}

static ssize_t on_body_wanted(nghttp2_session *session, int32_t stream, uint8_t *to, size_t room, uint32_t *flags,
                              nghttp2_data_source *source, void *arg)
{
    struct request *r = source->ptr;
    size_t n = r->len - r->sent < room ? r->len - r->sent : room;

    (void)session;
    (void)stream;
    (void)arg;
    memcpy(to, r->body + r->sent, n);
    r->sent += n;
    if (r->sent == r->len)
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    return (ssize_t)n;
}

#define HEADER(n, v)                                                                                                   \
    {                                                                                                                  \
        (uint8_t *)(n), (uint8_t *)(v), sizeof(n) - 1, sizeof(v) - 1, NGHTTP2_NV_FLAG_NONE                             \
    }

static void start(struct request *r)
{
    static const nghttp2_nv headers[] = {
        HEADER(":method", "POST"),
        HEADER(":scheme", "http"),
        HEADER(":path", "/etcdserverpb.KV/Put"),
        HEADER(":authority", "127.0.0.1"),
        HEADER("content-type", "application/grpc"),
        HEADER("te", "trailers"),
    };
    nghttp2_data_provider body = { .source.ptr = r, .read_callback = on_body_wanted };

    fill(r);
    if (nghttp2_submit_request(job.session, NULL, headers, sizeof(headers) / sizeof(headers[0]), &body, r) < 0)
        bench_die("no request could be started");
}

/* ---- its answer ---- */

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_len,
                     const uint8_t *value, size_t value_len, uint8_t flags, void *arg)
{
    struct request *r = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);

    (void)flags;
    (void)arg;
    if (r != NULL && name_len == 11 && memcmp(name, "grpc-status", 11) == 0)
        r->good = value_len == 1 && value[0] == '0';
    return 0;
}

static int on_closed(nghttp2_session *session, int32_t stream, uint32_t error, void *arg)
{
    struct request *r = nghttp2_session_get_stream_user_data(session, stream);

    (void)arg;
    if (!r->good)
        bench_die("etcd refuses a put (HTTP/2 says %u)", error);
    job.done++;
    job.last_ns = bench_now_ns();
    if (job.from_ns == 0 && job.last_ns - job.start_ns >= job.span_ns / 5) {
        job.from_ns = job.last_ns;
        job.from_done = job.done;
    }
    if (job.last_ns - job.start_ns < job.span_ns)
        start(r);
    else
        job.running--;
    return 0;
}

/* ---- the connection ---- */

static void send_all(void)
{
    const uint8_t *bytes;
    ssize_t n;

    while ((n = nghttp2_session_mem_send(job.session, &bytes)) > 0) {
        for (ssize_t at = 0; at < n;) {
            ssize_t sent = send(job.fd, bytes + at, (size_t)(n - at), MSG_NOSIGNAL);

            if (sent <= 0)
                bench_die("send: %s", strerror(errno));
            at += sent;
        }
    }
    if (n < 0)
        bench_die("%s", nghttp2_strerror((int)n));
}

static void take_some(void)
{
    static uint8_t bytes[1 << 16];
    struct pollfd p = { .fd = job.fd, .events = POLLIN };
    ssize_t n;

    if (poll(&p, 1, WAIT_MS) <= 0)
        bench_die("etcd does not answer");
    n = recv(job.fd, bytes, sizeof(bytes), 0);
    if (n <= 0)
        bench_die("etcd has closed the connection");
    n = nghttp2_session_mem_recv(job.session, bytes, (size_t)n);
    if (n < 0)
        bench_die("%s", nghttp2_strerror((int)n));
}

static void connect_to(uint64_t port)
{
    struct sockaddr_in at = { .sin_family = AF_INET,
                              .sin_port = htons((uint16_t)port),
                              .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    nghttp2_session_callbacks *callbacks;
    int one = 1;

    job.fd = socket(AF_INET, SOCK_STREAM, 0);
    if (job.fd < 0 || connect(job.fd, (struct sockaddr *)&at, sizeof(at)) != 0)
        bench_die("port %" PRIu64 ": %s", port, strerror(errno));
    setsockopt(job.fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    if (nghttp2_session_callbacks_new(&callbacks) != 0)
        bench_die("no memory");
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_closed);
    if (nghttp2_session_client_new(&job.session, callbacks, NULL) != 0 ||
        nghttp2_submit_settings(job.session, NGHTTP2_FLAG_NONE, NULL, 0) != 0)
        bench_die("no memory");
    nghttp2_session_callbacks_del(callbacks);
}

int main(int argc, char **argv)
{
    static struct request requests[OUTSTANDING_MAX];
    uint64_t outstanding, port;

    bench_opt_init(argc - 1, argv + 1);
    port = bench_opt_u64("port", 2379);
    job.keys = bench_opt_u64("keys", 10000);
    job.value_bytes = bench_opt_u64("value", 1024);
    job.span_ns = (uint64_t)(bench_opt_double("seconds", 1) * 1e9);
    job.rand = 42;
    outstanding = bench_opt_u64("outstanding", 16);
    bench_opt_done();
    if (job.keys == 0 || job.value_bytes > VALUE_MAX || outstanding == 0 || outstanding > OUTSTANDING_MAX)
        bench_die("keys, value or outstanding is out of range");
    connect_to(port);
    job.start_ns = bench_now_ns();
    job.running = outstanding;
    for (uint64_t i = 0; i < outstanding; i++)
        start(&requests[i]);
    for (send_all(); job.running > 0; send_all())
        take_some();
    printf("{\"ops_per_s\": %.1f, \"ops\": %" PRIu64 "}\n",
           (double)(job.done - job.from_done) * 1e9 / (double)(job.last_ns - job.from_ns), job.done);
    nghttp2_session_del(job.session);
    close(job.fd);
}
