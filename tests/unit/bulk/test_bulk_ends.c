/* How transfers end before their time, what a hostile peer can ask, and what holds between two processes of one node.
 */
#include "sdk/core/bulk/bulk_internal.h"
#include "tests/lib/bulk_world.h"
#include "tests/lib/drawing.h"
#include "tests/lib/patience.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- ends ---- */

/* Where a machine has too much to do, a transfer may not let go of its memory in time, which costs the endpoint. */
static void have_way(struct fixture *fx, enum cairn_bulk_way way)
{
    if (way != CAIRN_BULK_FABRIC || fx->peer->bulk->ready)
        return;
    fx->peer->bulk->retry_ns = cairn_loop_now(&fx->loop); /* its pause is over */
    bring_fabric_up(fx);
}

static void cancels(struct fixture *fx, enum cairn_bulk_way way)
{
    struct xfer x;

    xfer_start(fx, &x, way, false, &fx->region.desc, 0, 8 << 20);
    cairn_bulk_cancel(&x.op); /* before it began */
    assert_false(x.done);
    assert_int_equal(xfer_wait(fx, &x), CAIRN_E_CANCELED);
    xfer_start(fx, &x, way, false, &fx->region.desc, 0, 8 << 20);
    x.stop_at = 1 << 20; /* from arrived() */
    assert_int_equal(xfer_wait(fx, &x), CAIRN_E_CANCELED);
    assert_true(x.seen >= 1 << 20 && x.seen < 8 << 20);
    have_way(fx, way);
    xfer_start(fx, &x, way, true, &fx->region.desc, 0, 8 << 20);
    cairn_loop_turn(&fx->loop, 0);
    cairn_loop_turn(&fx->loop, 0);
    cairn_bulk_cancel(&x.op);
    cairn_bulk_cancel(&x.op); /* harmless */
    assert_int_equal(xfer_wait(fx, &x), CAIRN_E_CANCELED);
    have_way(fx, way);
    assert_int_equal(xfer(fx, way, false, 0, 1 << 20), 0);
}

static void frames_are_canceled(void **state)
{
    expose_rw(*state);
    cancels(*state, CAIRN_BULK_FRAMES);
}

static void vm_is_canceled(void **state)
{
    expose_rw(*state);
    cancels(*state, CAIRN_BULK_VM);
}

static void fabric_is_canceled(void **state)
{
    bring_fabric_up(*state);
    cancels(*state, CAIRN_BULK_FABRIC);
}

static void self_is_canceled(void **state)
{
    expose_rw(*state);
    cancels(*state, CAIRN_BULK_SELF);
}

static void ends_with_the_connection(struct fixture *fx, enum cairn_bulk_way way)
{
    struct xfer x;

    xfer_start(fx, &x, way, false, &fx->region.desc, 0, 8 << 20);
    cairn_rpc_peer_get(fx->peer);
    cairn_loop_turn(&fx->loop, 0);
    cairn_rpc__peer_down(fx->peer, CAIRN_E_CLOSED);
    assert_int_equal(xfer_wait(fx, &x), CAIRN_E_CLOSED);
    xfer_start(fx, &x, way, false, &fx->region.desc, 0, 4096);
    assert_int_equal(xfer_wait(fx, &x), CAIRN_E_CLOSED); /* nor does another begin */
    cairn_rpc_peer_put(fx->peer);
}

static void frames_end_with_the_connection(void **state)
{
    expose_rw(*state);
    ends_with_the_connection(*state, CAIRN_BULK_FRAMES);
}

static void vm_ends_with_the_connection(void **state)
{
    expose_rw(*state);
    ends_with_the_connection(*state, CAIRN_BULK_VM);
}

static void fabric_ends_with_the_connection(void **state)
{
    bring_fabric_up(*state);
    ends_with_the_connection(*state, CAIRN_BULK_FABRIC);
}

static void others_are_served_between_the_pieces_of_a_copy(void **state)
{
    struct fixture *fx = *state;
    struct xfer x;
    uint64_t turns = fx->loop.turns;

    expose_rw(fx);
    xfer_start(fx, &x, CAIRN_BULK_VM, false, &fx->region.desc, 0, 8 << 20);
    assert_int_equal(xfer_wait(fx, &x), 0);
    assert_true(fx->loop.turns - turns >= 8); /* a MiB each */
}

/* ---- same-node copies and their agreement ---- */

static void a_process_that_changed_is_not_copied(void **state)
{
    struct fixture *fx = *state;
    struct xfer x;

    expose_rw(fx);
    bulk_of(fx->client)->cookie[3] ^= 1; /* as after exec(), or when the number names another process */
    xfer_start(fx, &x, CAIRN_BULK_AUTO, false, &fx->region.desc, 0, 3 << 20);
    assert_int_equal(xfer_wait(fx, &x), 0);
    assert_int_equal(x.op.way, CAIRN_BULK_FRAMES);
    assert_memory_equal(fx->local, fx->remote, 3 << 20);
    assert_int_equal(cairn_bulk_way_to(fx->peer, false), CAIRN_BULK_FRAMES);
}

static void a_process_that_changed_is_not_written(void **state)
{
    struct fixture *fx = *state;
    struct xfer x;

    expose_rw(fx);
    bulk_of(fx->client)->cookie[3] ^= 1;
    xfer_start(fx, &x, CAIRN_BULK_AUTO, true, &fx->region.desc, 0, 3 << 20);
    assert_int_equal(xfer_wait(fx, &x), 0);
    assert_int_equal(x.op.way, CAIRN_BULK_FRAMES);
    assert_memory_equal(fx->local, fx->remote, 3 << 20);
}

struct mover_thread {
    struct fixture *fx;
    _Atomic bool ended;
};

static void *mover_thread(void *arg)
{
    struct mover_thread *t = arg;

    WHILE_PATIENT (atomic_load(&t->fx->region.live) != 0) /* until the owner has begun to take it back */
        sched_yield();
    for (int i = 0; i < 100; i++)
        sched_yield();
    atomic_store(&t->ended, true);
    atomic_store(&bulk_of(t->fx->server)->busy, 0);
    return NULL;
}

/* Returns when the copy is over, or after BULK_VM_WAIT_MS, as where the mover gets no processor. */
static void conceal_amid_a_copy(struct mover_thread *t)
{
    struct fixture *fx = t->fx;
    uint64_t began = cairn_env_now_ns(&fx->loop.env), took;

    cairn_bulk_conceal(&fx->region);
    took = cairn_env_now_ns(&fx->loop.env) - began;
    assert_true(atomic_load(&t->ended) || took >= BULK_VM_WAIT_MS * CAIRN_NS_PER_MS);
}

/* The memory is the owner's again only when no copy into it is under way. */
static void concealing_waits_for_a_copy(void **state)
{
    struct fixture *fx = *state;
    struct mover_thread t = { .fx = fx };
    pthread_t thread;

    expose_rw(fx);
    atomic_store(&bulk_of(fx->server)->busy, fx->region.desc.key); /* amid a push */
    assert_int_equal(pthread_create(&thread, NULL, mover_thread, &t), 0);
    conceal_amid_a_copy(&t);
    pthread_join(thread, NULL);

    expose_rw(fx);
    atomic_store(&bulk_of(fx->server)->busy, fx->region.desc.key);
    cairn_bulk_settle(&fx->region); /* the callee has answered: no look at it */
    cairn_bulk_conceal(&fx->region);
    expose(fx, CAIRN_BULK_CAN_READ);
    cairn_bulk_conceal(&fx->region); /* nobody writes there */
    atomic_store(&bulk_of(fx->server)->busy, 0);
}

/* The connection is lost, but the mover does not know yet. */
static void concealing_waits_for_a_mover_that_was_lost(void **state)
{
    struct fixture *fx = *state;
    struct mover_thread t = { .fx = fx };
    pthread_t thread;

    expose_rw(fx);
    atomic_store(&bulk_of(fx->server)->busy, fx->region.desc.key);
    close_session(fx);
    assert_int_equal(bulk_of(fx->client)->nmovers, 1);
    assert_int_equal(pthread_create(&thread, NULL, mover_thread, &t), 0);
    conceal_amid_a_copy(&t);
    pthread_join(thread, NULL);
    assert_int_equal(bulk_of(fx->client)->nmovers, 0); /* no open memory: nothing to fear */
}

/* ---- hostile calls ---- */

struct call {
    struct cairn_rpc_call call;
    bool done;
};

static void on_call(struct cairn_rpc_call *call)
{
    ((struct call *)call->arg)->done = true;
}

static int ask(struct fixture *fx, uint16_t method, const ProtobufCMessage *msg, const void *payload, size_t len)
{
    struct call c = { 0 };

    c.call.dest.rpc = fx->server;
    c.call.dest.peer = fx->peer;
    c.call.iface = &cairn_iface_bulk;
    c.call.provider = CAIRN_PROVIDER_BULK;
    c.call.method = method;
    c.call.msg = msg;
    c.call.payload[0] = (struct iovec){ (void *)(uintptr_t)payload, len };
    c.call.payload_n = len > 0 ? 1 : 0;
    c.call.done = on_call;
    c.call.arg = &c;
    cairn_rpc_call_start(&c.call);
    for (int i = 0; i < TURNS_MAX && !c.done; i++)
        cairn_loop_turn(&fx->loop, 10 * CAIRN_NS_PER_MS);
    assert_true(c.done);
    return c.call.rc;
}

static void hostile_pieces(void **state)
{
    struct fixture *fx = *state;
    Cairn__Wire__BulkPiece m = CAIRN__WIRE__BULK_PIECE__INIT;
    uint16_t rd = CAIRN__WIRE__BULK_METHOD__BULK_READ, wr = CAIRN__WIRE__BULK_METHOD__BULK_WRITE;
    uint8_t byte[2] = { 1, 2 };

    expose_rw(fx);
    m.key = fx->region.desc.key;
    m.len = CAIRN_FRAME_PAYLOAD_BYTES_MAX + 1;
    assert_int_equal(ask(fx, rd, &m.base, NULL, 0), CAIRN_E_TOOBIG);
    m.len = UINT32_MAX;
    assert_int_equal(ask(fx, rd, &m.base, NULL, 0), CAIRN_E_FAULT);
    m.len = 1;
    m.off = UINT64_MAX;
    assert_int_equal(ask(fx, rd, &m.base, NULL, 0), CAIRN_E_FAULT);
    m.off = MEM;
    assert_int_equal(ask(fx, rd, &m.base, NULL, 0), CAIRN_E_FAULT);
    assert_int_equal(ask(fx, wr, &m.base, byte, 1), CAIRN_E_FAULT);
    m.off = MEM - 1;
    assert_int_equal(ask(fx, rd, &m.base, NULL, 0), 0);
    assert_int_equal(ask(fx, wr, &m.base, byte, 2), CAIRN_E_PROTO); /* it says one, and brings two */
    assert_int_equal(ask(fx, wr, &m.base, NULL, 0), CAIRN_E_PROTO);
    assert_int_equal(ask(fx, wr, &m.base, byte, 1), 0);
    assert_int_equal(fx->remote[MEM - 1], 1);
    m.key++;
    assert_int_equal(ask(fx, wr, &m.base, byte, 1), CAIRN_E_FAULT);
}

static void hostile_introductions(void **state)
{
    struct fixture *fx = *state;
    Cairn__Wire__BulkFabric f = CAIRN__WIRE__BULK_FABRIC__INIT;
    Cairn__Wire__BulkVm v = CAIRN__WIRE__BULK_VM__INIT;
    uint8_t junk[4096] = { 2, 0, 1 };
    uint16_t fabric = CAIRN__WIRE__BULK_METHOD__BULK_FABRIC, vm = CAIRN__WIRE__BULK_METHOD__BULK_VM;

    assert_int_equal(ask(fx, fabric, &f.base, NULL, 0), CAIRN_E_UNSUPPORTED);
    f.provider = (char *)(uintptr_t)bulk_world_conf.provider;
    f.addr = (ProtobufCBinaryData){ sizeof(junk), junk };
    assert_int_equal(ask(fx, fabric, &f.base, NULL, 0), 0); /* the address only helps to choose a network */
    f.addr.len = 16;
    assert_int_equal(ask(fx, fabric, &f.base, NULL, 0), 0);
    assert_int_equal(ask(fx, vm, &v.base, NULL, 0), CAIRN_E_UNSUPPORTED);
    v.cookie = (ProtobufCBinaryData){ 16, junk };
    v.pid = UINT32_MAX;
    assert_int_equal(ask(fx, vm, &v.base, NULL, 0), CAIRN_E_UNSUPPORTED);
    v.pid = (uint32_t)getpid();
    v.cookie_addr = 8;
    assert_int_equal(ask(fx, vm, &v.base, NULL, 0), CAIRN_E_UNSUPPORTED); /* nothing lies there */
    v.cookie_addr = (uint64_t)(uintptr_t)fx->local;
    v.busy_addr = v.cookie_addr;
    assert_int_equal(ask(fx, vm, &v.base, NULL, 0), CAIRN_E_UNSUPPORTED); /* something else does */
    v.cookie.data = fx->local; /* a guess that is right: over TCP nobody is told, and nobody is a mover */
    assert_int_equal(ask(fx, vm, &v.base, NULL, 0), CAIRN_E_UNSUPPORTED);
    assert_int_equal(fx->client->bulk->nmovers, 0);
}

/* What a peer says of a process is looked up in that process. Who could name any would learn, guess by guess, what lies
 * in the memory of all that we may read. */
static void a_peer_names_no_process_but_its_own(void **state)
{
    struct fixture *fx = *state;
    Cairn__Wire__BulkVm v = CAIRN__WIRE__BULK_VM__INIT;
    struct cairn_rpc_peer *seen_by_client = CONTAINER_OF(fx->client->peers.next, struct cairn_rpc_peer, link);
    uint16_t vm = CAIRN__WIRE__BULK_METHOD__BULK_VM;
    uint32_t movers = fx->client->bulk->nmovers;
    pid_t other = fork(); /* has fx->local where we have it, with what we have there */

    if (other == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        pause();
        _exit(0);
    }
    v.pid = (uint32_t)other;
    v.cookie_addr = v.busy_addr = (uint64_t)(uintptr_t)fx->local;
    v.cookie = (ProtobufCBinaryData){ 16, fx->local };
    seen_by_client->info.pid = getpid(); /* as accepted sockets know it */
    assert_int_equal(ask(fx, vm, &v.base, NULL, 0), CAIRN_E_UNSUPPORTED);
    assert_int_equal(fx->client->bulk->nmovers, movers);
    v.pid = (uint32_t)getpid();
    assert_int_equal(ask(fx, vm, &v.base, NULL, 0), 0);
    assert_int_equal(fx->client->bulk->nmovers, movers + 1);
    kill(other, SIGKILL);
    waitpid(other, NULL, 0);
}

/* ---- tables ---- */

static void tables_are_sound_and_as_drawn(void **state)
{
    struct cairn_err err;
    char why[DRAWING_WHY_MAX];

    (void)state;
    assert_int_equal(cairn_sm_kind_check(&cairn_bulk_op_kind, &err), 0);
    assert_int_equal(cairn_sm_kind_check(&cairn_bulk_intro_kind, &err), 0);
    if (!drawing_file_matches(&cairn_bulk_op_kind, CAIRN_SOURCE_DIR "/sdk/core/bulk/bulk_op.c", why))
        fail_msg("%s", why);
    if (!drawing_file_matches(&cairn_bulk_intro_kind, CAIRN_SOURCE_DIR "/sdk/core/bulk/bulk_intro.c", why))
        fail_msg("%s", why);
}

/* However long a request may wait, its transfer holds memory for a bounded time. */
static void no_transfer_outlasts_its_bound(void **state)
{
    const uint64_t now = 7 * CAIRN_NS_PER_S, days = UINT64_C(2000000) * CAIRN_NS_PER_S;

    (void)state;
    assert_int_equal(bulk_deadline(now, now + 1, 1 << 20), now + 1);
    assert_int_equal(bulk_deadline(now, 0, 0), now + BULK_TIMEOUT_S * CAIRN_NS_PER_S);
    assert_int_equal(bulk_deadline(now, now + days, 1 << 20), now + (BULK_TIMEOUT_S + 1) * CAIRN_NS_PER_S);
    assert_int_equal(bulk_deadline(now, now + days, UINT64_C(1) << 30), now + (BULK_TIMEOUT_S + 1024) * CAIRN_NS_PER_S);
}

int main(void)
{
#define N(f) cmocka_unit_test_setup_teardown(f, setup_tcp, teardown)
#define U(f) cmocka_unit_test_setup_teardown(f, setup_unix, teardown)
    const struct CMUnitTest tests[] = {
        U(a_peer_names_no_process_but_its_own), /* first: it forks, which libfabric does not survive */
        U(frames_are_canceled),
        U(vm_is_canceled),
        N(fabric_is_canceled),
        U(self_is_canceled),
        U(frames_end_with_the_connection),
        U(vm_ends_with_the_connection),
        N(fabric_ends_with_the_connection),
        U(others_are_served_between_the_pieces_of_a_copy),
        U(a_process_that_changed_is_not_copied),
        U(a_process_that_changed_is_not_written),
        U(concealing_waits_for_a_copy),
        U(concealing_waits_for_a_mover_that_was_lost),
        U(hostile_pieces),
        N(hostile_introductions),
        cmocka_unit_test(no_transfer_outlasts_its_bound),
        cmocka_unit_test(tables_are_sound_and_as_drawn),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
