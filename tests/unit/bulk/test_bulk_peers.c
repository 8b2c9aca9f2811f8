/* The fabric connection, and callers that stall or die: child processes, made before anything opens libfabric. */
#include "tests/lib/bulk_world.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CHILDREN = 8 };

struct child {
    pid_t pid;
    int sock;
};
static struct child children[CHILDREN];
static uint32_t children_used;

/* ---- the fabric connection ---- */

static void transfers_never_wait_for_the_fabric(void **state)
{
    struct fixture *fx = *state;
    struct cairn_bulk_stats stats;
    struct xfer x;

    expose_rw(fx);
    xfer_start(fx, &x, CAIRN_BULK_AUTO, false, &fx->region.desc, 0, 4096);
    assert_int_equal(xfer_wait(fx, &x), 0);
    assert_int_equal(x.op.way, CAIRN_BULK_FRAMES);
    xfer_start(fx, &x, CAIRN_BULK_AUTO, false, &fx->region.desc, 0, 1 << 20);
    assert_int_equal(xfer_wait(fx, &x), 0); /* this one has asked for it */
    assert_int_equal(x.op.way, CAIRN_BULK_FRAMES);
    assert_true(turn_until(fx, intro_is_over));
    xfer_start(fx, &x, CAIRN_BULK_AUTO, false, &fx->region.desc, 0, 1 << 20);
    assert_int_equal(xfer_wait(fx, &x), 0);
    assert_int_equal(x.op.way, CAIRN_BULK_FRAMES); /* exposed too early */
    expose_rw(fx);
    xfer_start(fx, &x, CAIRN_BULK_AUTO, false, &fx->region.desc, 0, 1 << 20);
    assert_int_equal(xfer_wait(fx, &x), 0);
    assert_int_equal(x.op.way, CAIRN_BULK_FABRIC);
    cairn_bulk_stats(fx->server, &stats);
    assert_int_equal(stats.transfers[CAIRN_BULK_FRAMES], 3);
    assert_int_equal(stats.transfers[CAIRN_BULK_FABRIC], 1);
}

static void a_fabric_that_is_killed_amid_transfers(void **state)
{
    struct fixture *fx = *state;
    struct xfer x[4];
    struct cairn_bulk_stats stats;

    bring_fabric_up(fx);
    for (size_t i = 0; i < ARRAY_SIZE(x); i++)
        xfer_start(fx, &x[i], CAIRN_BULK_FABRIC, (i & 1) != 0, &fx->region.desc, i << 21, 2 << 20);
    cairn_loop_turn(&fx->loop, 0);
    cairn_bulk__fabric_kill(bulk_of(fx->server), "the test wants it");
    for (size_t i = 0; i < ARRAY_SIZE(x); i++) {
        assert_int_equal(xfer_wait(fx, &x[i]), 0);
        assert_int_equal(x[i].op.way, CAIRN_BULK_FRAMES);
    }
    assert_memory_equal(fx->local, fx->remote, 8 << 20);
    fx->peer->bulk->retry_ns = 0;
    bring_fabric_up(fx); /* and comes back */
    assert_int_equal(xfer(fx, CAIRN_BULK_FABRIC, true, 0, 2 << 20), 0);
    cairn_bulk_stats(fx->server, &stats);
    assert_int_equal(stats.introduced, 2);
    assert_int_equal(stats.kills, 1);
}

/* The callee may be amid a write that its provider would finish whatever happens to the registration. */
static void concealing_without_an_answer_closes_the_endpoint(void **state)
{
    struct fixture *fx = *state;
    struct cairn_bulk_stats stats;

    bring_fabric_up(fx);
    cairn_bulk_settle(&fx->region);
    cairn_bulk_conceal(&fx->region);
    cairn_bulk_stats(fx->client, &stats);
    assert_int_equal(stats.kills, 0);
    expose_rw(fx);
    cairn_bulk_conceal(&fx->region);
    cairn_bulk_stats(fx->client, &stats);
    assert_int_equal(stats.kills, 1);
    expose_rw(fx);
    assert_false(fx->region.desc.fabric);
    assert_int_equal(xfer(fx, CAIRN_BULK_AUTO, false, 0, 1 << 20), 0); /* by frames */
}

/* No transfer meets that endpoint any more, so none can fail: what moves in frames tells that there is another. */
static void an_endpoint_that_the_other_closed_is_asked_for_again(void **state)
{
    struct fixture *fx = *state;
    struct cairn_bulk_stats stats;

    bring_fabric_up(fx);
    cairn_bulk_conceal(&fx->region);
    expose_rw(fx);
    assert_true(fx->peer->bulk->ready); /* as far as anybody can know here */
    assert_int_equal(xfer(fx, CAIRN_BULK_AUTO, false, 0, 1 << 20), 0);
    assert_int_equal(xfer(fx, CAIRN_BULK_AUTO, false, 0, 1 << 20), 0);
    assert_true(turn_until(fx, intro_is_over));
    expose_rw(fx);
    assert_true(fx->region.desc.fabric);
    assert_int_equal(xfer(fx, CAIRN_BULK_FABRIC, false, 0, 1 << 20), 0);
    cairn_bulk_stats(fx->server, &stats);
    assert_int_equal(stats.introduced, 2);
}

/* Each failure may cost others the endpoint, and may be the last: pauses double, up to a bound, and are forgotten. */
static void pauses_grow_and_are_bounded(void **state)
{
    struct fixture *fx = *state;
    struct cairn_bulk_peer *bp = fx->peer->bulk;
    uint64_t now, due;

    cairn_bulk__intro_put_off(bp);
    due = bp->retry_ns;
    cairn_bulk__intro_put_off(bp); /* of the same failure */
    assert_int_equal(bp->retry_ns, due);
    assert_int_equal(bp->pause_ms, BULK_PAUSE_MS_MIN);
    for (uint32_t ms = 2 * BULK_PAUSE_MS_MIN; ms < 64 * BULK_PAUSE_MS_MIN; ms *= 2) {
        bp->retry_ns = now = cairn_loop_now(&fx->loop); /* the pause is over */
        cairn_bulk__intro_put_off(bp);
        assert_int_equal(bp->pause_ms, MIN(ms, (uint32_t)BULK_PAUSE_MS_MAX));
        assert_true(bp->retry_ns >= now + bp->pause_ms * CAIRN_NS_PER_MS);
    }
    bp->retry_ns = cairn_loop_now(&fx->loop);
    cairn_bulk__intro_put_off(bp);
    assert_int_equal(bp->pause_ms, BULK_PAUSE_MS_MAX);
    fx->loop.now_ns = bp->retry_ns + (BULK_PAUSE_FORGET_S + 1) * CAIRN_NS_PER_S; /* long over; a turn looks anew */
    cairn_bulk__intro_put_off(bp);
    assert_int_equal(bp->pause_ms, BULK_PAUSE_MS_MIN);
}

static void providers_must_agree(void **state)
{
    struct fixture *fx = *state;

    strcpy(bulk_of(fx->client)->conf.provider, "net");
    expose_rw(fx);
    assert_int_equal(xfer(fx, CAIRN_BULK_AUTO, false, 0, 1 << 20), 0);
    assert_int_equal(xfer(fx, CAIRN_BULK_AUTO, false, 0, 1 << 20), 0);
    assert_true(turn_until(fx, intro_is_over));
    assert_false(fx->peer->bulk->ready);
    assert_int_equal(xfer(fx, CAIRN_BULK_FABRIC, false, 0, 1 << 20), CAIRN_E_UNSUPPORTED);
    assert_int_equal(xfer(fx, CAIRN_BULK_AUTO, false, 0, 1 << 20), 0);
}

static void a_provider_that_is_not_there(void **state)
{
    struct fixture *fx = *state;

    strcpy(bulk_of(fx->server)->conf.provider, "no-such-provider");
    expose_rw(fx);
    assert_int_equal(xfer(fx, CAIRN_BULK_AUTO, false, 0, 1 << 20), 0);
    assert_int_equal(xfer(fx, CAIRN_BULK_AUTO, false, 0, 1 << 20), 0);
    assert_true(turn_until(fx, intro_is_over));
    assert_false(fx->peer->bulk->ready);
    assert_int_equal(xfer(fx, CAIRN_BULK_AUTO, false, 0, 8 << 20), 0);
}

static void detaching_while_it_opens(void **state)
{
    struct fixture *fx = *state;

    expose_rw(fx);
    assert_int_equal(xfer(fx, CAIRN_BULK_AUTO, false, 0, 1 << 20), 0);
    assert_int_equal(xfer(fx, CAIRN_BULK_AUTO, false, 0, 1 << 20), 0);
    assert_true(bulk_of(fx->server)->opener != NULL || bulk_of(fx->server)->fabric != NULL);
    /* teardown() ends it as it is */
}

/* ---- a caller that is another process ---- */

static void child_main(int sock)
{
    struct cairn_loop loop;
    struct cairn_rpc *rpc;
    struct cairn_rpc_session_conf conf = { .naddrs = 1, .name = "child" };
    struct cairn_bulk_region r;
    uint8_t *mem = malloc(MEM);
    char text[128] = "";

    if (read(sock, text, sizeof(text) - 1) <= 0 || mem == NULL)
        _exit(0);
    memset(mem, 0x42, MEM);
    if (cairn_loop_init(&loop, NULL, NULL) != 0 || (rpc = cairn_rpc_new(&loop, &bulk_world_rpc_conf, NULL)) == NULL ||
        cairn_bulk_attach(rpc, &bulk_world_conf, NULL) != 0 || cairn_addr_parse(text, &conf.addrs[0], NULL) != 0)
        _exit(1);
    cairn_rpc_session_connect(cairn_rpc_session_new(rpc, &conf, NULL));
    memset(&r, 0, sizeof(r));
    for (bool fabric = false;;) { /* exposes its memory at once, and anew when the fabric has come up */
        if (r.rpc == NULL || (!fabric && bulk_of(rpc)->told)) {
            fabric = bulk_of(rpc)->told;
            if (cairn_bulk_expose(rpc, mem, MEM, 3, &r) != 0)
                _exit(1);
            if (write(sock, &r.desc, sizeof(r.desc)) < 0)
                _exit(1);
            r.rpc = rpc;
            if (!fabric) {
                static struct cairn_bulk_region first;

                first = r; /* stays open under its own key */
                cairn_list_del(&r.link);
                cairn_list_add_tail(&bulk_of(rpc)->buckets[first.desc.key % BULK_BUCKETS], &first.link);
            }
        }
        cairn_loop_turn(&loop, CAIRN_NS_PER_S);
    }
}

static void children_make(void)
{
    for (uint32_t k = 0; k < CHILDREN; k++) {
        int pair[2];

        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
            abort();
        children[k].sock = pair[0];
        children[k].pid = fork();
        if (children[k].pid < 0)
            abort();
        if (children[k].pid == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            for (uint32_t i = 0; i <= k; i++)
                close(children[i].sock);
            child_main(pair[1]);
        }
        close(pair[1]);
    }
}

/* A child connects by @addr (NULL: unix) and exposes memory; with @fabric, the connection is brought up. */
static struct child *child_start(struct fixture *fx, bool fabric, Cairn__Wire__BulkDesc *desc)
{
    struct child *c = &children[children_used++];
    char text[160];
    struct xfer x;

    cairn_addr_format(&fx->addr, text);
    assert_true(write(c->sock, text, strlen(text)) > 0);
    find_peer(fx);
    assert_int_equal(read(c->sock, desc, sizeof(*desc)), sizeof(*desc));
    if (fabric) {
        fx->peer->bulk->frame_bytes = 1;
        xfer_start(fx, &x, CAIRN_BULK_FRAMES, false, desc, 0, 4096);
        assert_int_equal(xfer_wait(fx, &x), 0);
        assert_int_equal(fx->local[4095], 0x42);
        assert_true(turn_until(fx, intro_is_over));
        assert_true(fx->peer->bulk->ready);
        assert_int_equal(read(c->sock, desc, sizeof(*desc)), sizeof(*desc));
        assert_true(desc->fabric);
    }
    return c;
}

static void child_end(struct child *c)
{
    kill(c->pid, SIGKILL);
    waitpid(c->pid, NULL, 0);
}

/* Moves, stops the child amid it, and sees the end at the deadline. */
static void stalls(struct fixture *fx, struct child *c, const Cairn__Wire__BulkDesc *desc, enum cairn_bulk_way way)
{
    struct xfer x;

    kill(c->pid, SIGSTOP);
    xfer_start(fx, &x, way, false, desc, 0, 8 << 20);
    cairn_loop_turn(&fx->loop, 0);
    cairn_timer_start(&fx->loop.env, &x.op.timer, cairn_loop_now(&fx->loop) + 50 * CAIRN_NS_PER_MS);
    assert_int_equal(xfer_wait(fx, &x), CAIRN_E_TIMEOUT);
    memset(fx->local, 0, MEM);
    kill(c->pid, SIGCONT); /* its bytes come now, and must not land */
    for (int i = 0; i < 20; i++)
        cairn_loop_turn(&fx->loop, CAIRN_NS_PER_MS);
    for (size_t i = 0; i < MEM; i++)
        assert_int_equal(fx->local[i], 0);
}

static void a_caller_that_stalls_by_frames(void **state)
{
    struct fixture *fx = *state;
    Cairn__Wire__BulkDesc desc;
    struct child *c = child_start(fx, false, &desc);

    stalls(fx, c, &desc, CAIRN_BULK_FRAMES);
    child_end(c);
}

static void a_caller_that_stalls_by_fabric(void **state)
{
    struct fixture *fx = *state;
    Cairn__Wire__BulkDesc desc;
    struct child *c = child_start(fx, true, &desc);
    struct cairn_bulk_peer *bp = fx->peer->bulk;
    struct cairn_bulk_stats stats;
    struct xfer x;

    stalls(fx, c, &desc, CAIRN_BULK_FABRIC);
    cairn_bulk_stats(fx->server, &stats);
    assert_int_equal(stats.kills, 1);
    assert_int_equal(bp->pause_ms, BULK_PAUSE_MS_MIN);
    assert_false(bp->ready);

    bp->retry_ns = cairn_loop_now(&fx->loop); /* the pause is over, and it runs again */
    xfer_start(fx, &x, CAIRN_BULK_AUTO, false, &desc, 0, 4096);
    assert_int_equal(xfer_wait(fx, &x), 0);
    assert_int_equal(x.op.way, CAIRN_BULK_FRAMES);
    assert_true(turn_until(fx, intro_is_over));
    assert_true(bp->ready);
    xfer_start(fx, &x, CAIRN_BULK_FABRIC, false, &desc, 0, 1 << 20); /* the endpoint that died was ours */
    assert_int_equal(xfer_wait(fx, &x), 0);
    assert_int_equal(x.op.way, CAIRN_BULK_FABRIC);
    assert_int_equal(fx->local[(1 << 20) - 1], 0x42);
    child_end(c);
}

/* Nothing of a same-node copy depends on the other's loop. */
static void a_caller_that_stalls_by_vm(void **state)
{
    struct fixture *fx = *state;
    Cairn__Wire__BulkDesc desc;
    struct child *c = child_start(fx, false, &desc);
    struct xfer x;

    kill(c->pid, SIGSTOP);
    xfer_start(fx, &x, CAIRN_BULK_VM, false, &desc, 0, 8 << 20);
    assert_int_equal(xfer_wait(fx, &x), 0);
    assert_int_equal(fx->local[(8 << 20) - 1], 0x42);
    child_end(c);
}

static void dies(struct fixture *fx, struct child *c, const Cairn__Wire__BulkDesc *desc, enum cairn_bulk_way way)
{
    struct xfer x;

    kill(c->pid, SIGSTOP); /* so that it dies amid the transfer, not after */
    xfer_start(fx, &x, way, way == CAIRN_BULK_VM, desc, 0, 8 << 20);
    cairn_loop_turn(&fx->loop, 0);
    assert_false(x.done);
    child_end(c);
    assert_int_equal(xfer_wait(fx, &x), CAIRN_E_CLOSED);
}

static void a_caller_that_dies_by_frames(void **state)
{
    struct fixture *fx = *state;
    Cairn__Wire__BulkDesc desc;
    struct child *c = child_start(fx, false, &desc);

    dies(fx, c, &desc, CAIRN_BULK_FRAMES);
}

static void a_caller_that_dies_by_fabric(void **state)
{
    struct fixture *fx = *state;
    Cairn__Wire__BulkDesc desc;
    struct child *c = child_start(fx, true, &desc);

    dies(fx, c, &desc, CAIRN_BULK_FABRIC);
}

static void a_caller_that_dies_by_vm(void **state)
{
    struct fixture *fx = *state;
    Cairn__Wire__BulkDesc desc;
    struct child *c = child_start(fx, false, &desc);

    dies(fx, c, &desc, CAIRN_BULK_VM);
}

int main(void)
{
#define C(f) cmocka_unit_test_setup_teardown(f, setup_bare, teardown)
#define D(f) cmocka_unit_test_setup_teardown(f, setup_tcp_bare, teardown)
#define N(f) cmocka_unit_test_setup_teardown(f, setup_tcp, teardown)
    const struct CMUnitTest tests[] = {
        N(transfers_never_wait_for_the_fabric),
        N(a_fabric_that_is_killed_amid_transfers),
        N(concealing_without_an_answer_closes_the_endpoint),
        N(an_endpoint_that_the_other_closed_is_asked_for_again),
        N(pauses_grow_and_are_bounded),
        N(providers_must_agree),
        N(a_provider_that_is_not_there),
        N(detaching_while_it_opens),
        D(a_caller_that_stalls_by_frames),
        D(a_caller_that_stalls_by_fabric),
        C(a_caller_that_stalls_by_vm),
        D(a_caller_that_dies_by_frames),
        D(a_caller_that_dies_by_fabric),
        C(a_caller_that_dies_by_vm),
    };

    children_make();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
