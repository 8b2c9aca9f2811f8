/* A connection's whole life against arbitrary bytes: the first byte says whether HELLO is said properly before them,
 * and whether frames in them get their checksums mended, so that what lies behind the checksum is reached. */
#include "sdk/core/rpc/accept.h"
#include "sdk/core/rpc/hello.h"
#include "sdk/core/rpc/rpc_internal.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { SAY_HELLO = 1, MEND = 2, INPUT_MAX = 1 << 16 };

static struct world {
    struct cairn_loop loop;
    struct cairn_rpc *rpc;
    struct cairn_rpc *workers[1];
    struct cairn_rpc_node node;
    struct cairn_rpc_target target;
} * world;

static void handle(struct cairn_rpc_req *rq)
{
    cairn_rpc_reply(rq, 0, NULL, NULL, 0);
}

enum { METHODS_MAX = 32 }; /* at least as many as the interface has: input names any of them */

static cairn_rpc_handler *const handlers[METHODS_MAX] = { handle, handle, NULL, handle, handle };

static struct world *world_new(void)
{
    struct world *w = calloc(1, sizeof(*w));
    struct cairn_rpc_conf conf = {
        .ntargets = 1, .inflight_max = 16, .inflight_bytes_max = 1 << 20, .output_bytes_max = 1 << 20
    };

    if (cairn_iface_kv.nmethods > METHODS_MAX)
        abort();
    w->target = (struct cairn_rpc_target){ .iface = &cairn_iface_kv, .handlers = handlers, .ctx = w, .name = "kv" };
    conf.targets = &w->target;
    if (cairn_loop_init(&w->loop, NULL, NULL) != 0)
        abort();
    w->rpc = cairn_rpc_new(&w->loop, &conf, NULL);
    w->workers[0] = w->rpc;
    w->node = (struct cairn_rpc_node){ .incarnation = 1,
                                       .name = "n",
                                       .connections_max = 4,
                                       .workers = w->workers,
                                       .nworkers = 1,
                                       .session_ttl_ns = 1,
                                       .stalled_ns = CAIRN_NS_PER_S,
                                       .has_key = true };
    cairn_rpc_serve(w->rpc, &w->node);
    return w;
}

static size_t put_open(uint8_t *to)
{
    Cairn__Wire__HelloOpen m = CAIRN__WIRE__HELLO_OPEN__INIT;
    struct cairn_frame f = { .kind = CAIRN_FRAME_HELLO, .method = CAIRN_HELLO_OPEN };
    uint8_t nonce[CAIRN_NONCE_BYTES] = { 1 };

    m.version_min = m.version_max = CAIRN_PROTOCOL_MAX;
    m.nonce.data = nonce;
    m.nonce.len = sizeof(nonce);
    f.body = to + CAIRN_FRAME_HEADER_BYTES;
    f.payload = f.body;
    f.body_len = (uint32_t)cairn__wire__hello_open__pack(&m, to + CAIRN_FRAME_HEADER_BYTES);
    cairn_frame_encode_header(to, &f);
    return CAIRN_FRAME_HEADER_BYTES + f.body_len;
}

/* Reads the bytes as headers and bodies, and gives each a good magic, version, kind and checksum. */
static void mend(uint8_t *p, size_t n)
{
    while (n >= CAIRN_FRAME_HEADER_BYTES) {
        struct cairn_frame f = { .kind = (uint8_t)(1 + p[3] % CAIRN_FRAME_KIND_LAST),
                                 .flags = p[4] & CAIRN_FRAME_FLAGS_ALL,
                                 .provider = p[6] % 2,
                                 .method = p[8] % 16 };
        size_t left = n - CAIRN_FRAME_HEADER_BYTES;

        memcpy(&f.seq, p + 10, 2);
        memcpy(&f.value, p + 12, 4);
        memcpy(&f.id, p + 16, 4);
        f.body_len = (uint32_t)MIN((size_t)p[20], left);
        f.payload_len = (uint32_t)MIN((size_t)p[24], left - f.body_len);
        f.body = p + CAIRN_FRAME_HEADER_BYTES;
        f.payload = f.body + f.body_len;
        cairn_frame_encode_header(p, &f);
        p += CAIRN_FRAME_HEADER_BYTES + f.body_len + f.payload_len;
        n -= CAIRN_FRAME_HEADER_BYTES + f.body_len + f.payload_len;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t buf[INPUT_MAX + 1024];
    uint8_t sink[4096];
    size_t n = 0, sent = 0;
    int fds[2];

    if (size < 1 || size > INPUT_MAX)
        return 0;
    if (world == NULL)
        world = world_new();
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) != 0)
        abort();
    if ((data[0] & SAY_HELLO) != 0)
        n = put_open(buf);
    memcpy(buf + n, data + 1, size - 1);
    if ((data[0] & MEND) != 0)
        mend(buf + n, size - 1);
    n += size - 1;
    cairn_rpc_accept(world->rpc, fds[0], true);
    for (int i = 0; sent < n && i < 64; i++) {
        size_t step = MIN(n - sent, (size_t)1 + data[0] * 64U);
        ssize_t w = send(fds[1], buf + sent, step, MSG_NOSIGNAL);

        if (w < 0)
            break;
        sent += (size_t)w;
        cairn_loop_turn(&world->loop, 0);
        while (recv(fds[1], sink, sizeof(sink), 0) > 0)
            ;
    }
    close(fds[1]);
    for (int i = 0; !cairn_rpc_is_idle(world->rpc); i++) {
        CAIRN_ASSERT(i < 10000);
        cairn_loop_turn(&world->loop, CAIRN_NS_PER_MS);
    }
    return 0;
}
