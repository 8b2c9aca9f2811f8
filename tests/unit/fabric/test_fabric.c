/* A mover (this process) and a target (a child, forked before either opens libfabric) over tcp;ofi_rxm on loopback.
 * FACTS, "libfabric in an event loop", line by line where it can be shown. */
#include "sdk/core/fabric/fabric.h"
#include "tests/lib/patience.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { MEM = 4 << 20, EXPOSED_FROM = 1 << 20, EXPOSED = 2 << 20, OPS_MAX = 512 };

static const struct cairn_fabric_conf conf = { .provider = "tcp;ofi_rxm", .domain = "lo" };
static const uint64_t key_rw = UINT64_C(0x8badf00d5eed1234), key_ro = UINT64_C(0x1122334455667788);

/* What the target tells. */
struct card {
    uint8_t addr[CAIRN_FABRIC_ADDR_BYTES_MAX];
    size_t addr_len;
    uint64_t rw_key, rw_base, ro_key, ro_base;
};

struct world {
    struct cairn_loop loop;
    struct cairn_fabric *f;
    struct card card;
    uint64_t peer;
    pid_t target;
    int sock;
    uint8_t *shared; /* the target's memory, mapped here, too, to look at */
    uint8_t *mem;
    uint32_t over;
    int last_rc;
    struct cairn_fabric_op ops[OPS_MAX];
};

/* Made before anything opens libfabric, one for each test: no fork() after that. */
struct unborn {
    pid_t pid;
    int sock;
    uint8_t *shared;
};
static struct unborn nursery[32];
static uint32_t born;

static uint8_t pattern(size_t i)
{
    return (uint8_t)(i * 7 + (i >> 8) + 3);
}

static void target_main(uint8_t *mem, int sock)
{
    struct cairn_loop loop;
    struct cairn_fabric *f;
    struct cairn_fabric_mr *rw, *ro;
    struct card card = { 0 };
    const uint8_t *addr;

    if (cairn_loop_init(&loop, NULL, NULL) != 0 || cairn_fabric_open(&f, &conf, NULL) != 0 ||
        cairn_fabric_start(f, &loop) != 0)
        _exit(1);
    if (cairn_fabric_mr_new(f, mem + EXPOSED_FROM, EXPOSED, CAIRN_FABRIC_REMOTE_READ | CAIRN_FABRIC_REMOTE_WRITE,
                            key_rw, &rw) != 0 ||
        cairn_fabric_mr_new(f, mem + EXPOSED_FROM, EXPOSED, CAIRN_FABRIC_REMOTE_READ, key_ro, &ro) != 0)
        _exit(1);
    card.addr_len = cairn_fabric_addr(f, &addr);
    memcpy(card.addr, addr, card.addr_len);
    card.rw_key = cairn_fabric_mr_key(rw);
    card.rw_base = cairn_fabric_mr_base(rw);
    card.ro_key = cairn_fabric_mr_key(ro);
    card.ro_base = cairn_fabric_mr_base(ro);
    if (write(sock, &card, sizeof(card)) != (ssize_t)sizeof(card))
        _exit(1);
    cairn_loop_run(&loop);
    _exit(0);
}

static void nursery_fill(uint32_t n)
{
    for (uint32_t k = 0; k < n; k++) {
        struct unborn *u = &nursery[k];
        int pair[2];
        char go;

        u->shared = mmap(NULL, MEM, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (u->shared == MAP_FAILED || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
            abort();
        for (size_t i = 0; i < MEM; i++)
            u->shared[i] = pattern(i);
        u->sock = pair[0];
        u->pid = fork();
        if (u->pid < 0)
            abort();
        if (u->pid == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            for (uint32_t i = 0; i <= k; i++)
                close(nursery[i].sock);
            if (read(pair[1], &go, 1) == 1)
                target_main(u->shared, pair[1]);
            _exit(0);
        }
        close(pair[1]);
    }
}

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    struct unborn *u = &nursery[born++];

    assert_non_null(w);
    w->shared = u->shared;
    w->target = u->pid;
    w->sock = u->sock;
    assert_int_equal(write(w->sock, "g", 1), 1);
    w->mem = calloc(1, MEM);
    assert_int_equal(cairn_loop_init(&w->loop, NULL, NULL), 0);
    assert_int_equal(cairn_fabric_open(&w->f, &conf, NULL), 0);
    assert_int_equal(cairn_fabric_start(w->f, &w->loop), 0);
    assert_int_equal(read(w->sock, &w->card, sizeof(w->card)), sizeof(w->card));
    assert_int_equal(cairn_fabric_peer_add(w->f, w->card.addr, w->card.addr_len, &w->peer), 0);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;

    kill(w->target, SIGKILL);
    waitpid(w->target, NULL, 0);
    cairn_fabric_free(w->f);
    cairn_loop_fini(&w->loop);
    close(w->sock);
    munmap(w->shared, MEM);
    free(w->mem);
    free(w);
    return 0;
}

static void on_over(struct cairn_fabric_op *op, int rc)
{
    struct world *w = op->arg;

    w->over++;
    w->last_rc = rc;
}

static struct cairn_fabric_op *post(struct world *w, uint32_t i, bool push, size_t off, size_t len, uint64_t key)
{
    struct cairn_fabric_op *op = &w->ops[i];

    *op = (struct cairn_fabric_op){ .peer = w->peer,
                                    .push = push,
                                    .local = w->mem + off,
                                    .len = len,
                                    .remote = w->card.rw_base + off,
                                    .key = key,
                                    .done = on_over,
                                    .arg = w };
    cairn_fabric_post(w->f, op);
    return op;
}

/* Turns until @n operations are over, or @ms have passed: true if they are. */
static bool wait_for(struct world *w, uint32_t n, uint64_t ms)
{
    uint64_t until = cairn_env_now_ns(&w->loop.env) + ms * CAIRN_NS_PER_MS;

    while (w->over < n && cairn_env_now_ns(&w->loop.env) < until)
        cairn_loop_turn(&w->loop, 10 * CAIRN_NS_PER_MS);
    return w->over >= n;
}

static void connect_by_reading(struct world *w)
{
    w->over = 0;
    post(w, 0, false, 0, 8, w->card.rw_key);
    assert_true(wait_for(w, 1, 10000));
    assert_int_equal(w->last_rc, 0);
    w->over = 0;
}

/* Until the torn connection stands again: each try may fail, at once. */
static void reconnect_by_reading(struct world *w)
{
    for (int i = 0; i < 5000; i++) {
        w->over = 0;
        post(w, 0, false, 0, 8, w->card.rw_key);
        assert_true(wait_for(w, 1, 10000));
        if (w->last_rc == 0)
            break;
        cairn_loop_turn(&w->loop, 2 * CAIRN_NS_PER_MS);
    }
    assert_int_equal(w->last_rc, 0);
    w->over = 0;
}

static void reads_and_writes_land(void **state)
{
    struct world *w = *state;

    post(w, 0, false, 0, EXPOSED, w->card.rw_key); /* the first one connects, and waits in the queue for it */
    assert_int_equal(w->over, 0);                  /* never inside the post */
    assert_true(wait_for(w, 1, 10000));
    assert_int_equal(w->last_rc, 0);
    assert_memory_equal(w->mem, w->shared + EXPOSED_FROM, EXPOSED);
    memset(w->mem, 0x11, EXPOSED);
    post(w, 1, true, 4096, 1 << 20, w->card.rw_key);
    assert_true(wait_for(w, 2, 10000));
    assert_int_equal(w->last_rc, 0);
    /* A write is over when it is placed (FI_DELIVERY_COMPLETE), not when it is sent: it can be seen now. */
    assert_memory_equal(w->shared + EXPOSED_FROM + 4096, w->mem + 4096, 1 << 20);
    assert_int_equal(w->shared[EXPOSED_FROM + 4095], pattern(EXPOSED_FROM + 4095));
    assert_int_equal(w->shared[EXPOSED_FROM + 4096 + (1 << 20)], pattern(EXPOSED_FROM + 4096 + (1 << 20)));
}

static void connecting_is_driven_by_a_timer(void **state)
{
    struct world *w = *state;

    connect_by_reading(w);
    assert_true(cairn_fabric_stats(w->f)->retries > 0); /* EAGAIN until it stood, and the descriptor said nothing */
}

/* Without fi_trywait, or asked in the wrong order, completions wake nobody and a read takes until the next timer. */
static void sleeps_never_miss_a_completion(void **state)
{
    struct world *w = *state;
    uint64_t sleeps;

    connect_by_reading(w);
    sleeps = w->loop.sleeps;
    for (uint32_t i = 0; i < 400; i++) {
        w->over = 0;
        post(w, 0, false, (size_t)i * 4096, 4096, w->card.rw_key);
        while (w->over == 0)
            cairn_loop_turn(&w->loop, UINT64_MAX); /* a missed one would hang here for good: no timer runs */
        assert_int_equal(w->last_rc, 0);
    }
    assert_memory_equal(w->mem, w->shared + EXPOSED_FROM, 400 * 4096);
    assert_true(w->loop.sleeps - sleeps <= 4 * 400); /* and it sleeps for one rather than polls */
}

static void an_idle_fabric_sleeps(void **state)
{
    struct world *w = *state;
    uint64_t turns, reaps;

    connect_by_reading(w);
    cairn_loop_turn(&w->loop, 0);
    cairn_loop_turn(&w->loop, 0);
    turns = w->loop.turns;
    reaps = cairn_fabric_stats(w->f)->reaps;
    for (int i = 0; i < 20; i++)
        cairn_loop_turn(&w->loop, CAIRN_NS_PER_MS);
    assert_true(w->loop.turns - turns == 20);
    assert_true(cairn_fabric_stats(w->f)->reaps - reaps <= 2); /* turns for others cost it nothing */
}

static void more_than_the_queue_holds(void **state)
{
    struct world *w = *state;

    for (uint32_t i = 0; i < OPS_MAX; i++)
        post(w, i, false, (size_t)i * 4096, 4096, w->card.rw_key);
    assert_true(wait_for(w, OPS_MAX, 20000));
    assert_int_equal(w->last_rc, 0);
    assert_memory_equal(w->mem, w->shared + EXPOSED_FROM, OPS_MAX * 4096);
    assert_true(cairn_fabric_stats(w->f)->ops == OPS_MAX);
}

static void fails_and_recovers(struct world *w, bool push, size_t off, size_t len, uint64_t key)
{
    uint8_t *before = malloc(MEM);

    memcpy(before, w->shared, MEM);
    connect_by_reading(w);
    post(w, 1, push, off, len, key);
    assert_true(wait_for(w, 1, 10000));
    assert_int_equal(w->last_rc, CAIRN_E_UNREACHABLE);
    assert_memory_equal(before, w->shared, MEM); /* nothing of the target was touched */
    reconnect_by_reading(w);
    free(before);
}

static void bad_key(void **state)
{
    fails_and_recovers(*state, false, 0, 4096, UINT64_C(0xdeadbeef));
}

static void bad_key_write(void **state)
{
    fails_and_recovers(*state, true, 0, 4096, UINT64_C(0xdeadbeef));
}

static void out_of_range(void **state)
{
    fails_and_recovers(*state, false, EXPOSED - 4096, 8192, key_rw);
}

static void out_of_range_write(void **state)
{
    fails_and_recovers(*state, true, EXPOSED - 4096, 8192, key_rw);
}

static void least_rights(void **state)
{
    fails_and_recovers(*state, true, 0, 4096, key_ro);
}

static void others_suffer_from_a_bad_key_and_learn_of_it(void **state)
{
    struct world *w = *state;

    connect_by_reading(w);
    post(w, 1, false, 0, 4096, UINT64_C(0xdeadbeef));
    for (uint32_t i = 2; i < 10; i++)
        post(w, i, false, 0, 1 << 20, w->card.rw_key);
    assert_true(wait_for(w, 9, 10000)); /* each one ends, well or not */
}

static void dead_peer(void **state)
{
    struct world *w = *state;
    uint32_t n = 0;

    connect_by_reading(w);
    kill(w->target, SIGSTOP); /* so that some surely fly when it dies */
    for (uint32_t i = 1; i < 9; i++, n++)
        post(w, i, false, 0, 1 << 20, w->card.rw_key);
    assert_false(wait_for(w, 1, 20));
    kill(w->target, SIGKILL);
    waitpid(w->target, NULL, 0);
    if (!wait_for(w, n, 500)) { /* this provider says ENOTCONN or ECANCELED; others say nothing for ever */
        cairn_fabric_kill(w->f);
        assert_true(wait_for(w, n, 1000));
    }
    assert_true(w->last_rc == CAIRN_E_UNREACHABLE || w->last_rc == CAIRN_E_CANCELED);
}

/* A target that does not drive its loop stalls us for as long; no error comes. Our own deadline ends it. */
static void stalled_target(void **state)
{
    struct world *w = *state;

    connect_by_reading(w);
    kill(w->target, SIGSTOP);
    for (uint32_t i = 1; i < 5; i++)
        post(w, i, false, (size_t)i << 18, 1 << 18, w->card.rw_key);
    assert_false(wait_for(w, 1, 100));
    memset(w->mem, 0, MEM);
    cairn_fabric_kill(w->f);
    assert_int_equal(w->over, 0); /* told later, not inside */
    assert_true(wait_for(w, 4, 1000));
    assert_int_equal(w->last_rc, CAIRN_E_CANCELED);
    kill(w->target, SIGCONT); /* its answers come now, and find nobody */
    w->over = 0;
    assert_false(wait_for(w, 1, 50));
    for (size_t i = 0; i < MEM; i++)
        assert_int_equal(w->mem[i], 0);
}

/* Answers half received when the endpoint is closed, wherever the target happens to stop: tcp would report them twice,
 * the second time from freed memory (fabric_sever.c). */
static void a_target_stalls_amid_its_answers(void **state)
{
    enum { READS = 40 };
    struct world *w = *state;
    uint32_t before;

    connect_by_reading(w);
    for (uint32_t i = 1; i <= READS; i++)
        post(w, i, false, 0, EXPOSED, w->card.rw_key);
    WHILE_PATIENT (w->over < 1 + born % 7)
        cairn_loop_turn(&w->loop, 5 * CAIRN_NS_PER_MS);
    kill(w->target, SIGSTOP);
    for (int i = 0; i < 20; i++)
        cairn_loop_turn(&w->loop, CAIRN_NS_PER_MS);
    before = w->over;
    assert_true(before < READS);
    cairn_fabric_kill(w->f);
    assert_true(w->over == before);
    assert_true(wait_for(w, READS, 1000));
    assert_int_equal(w->last_rc, CAIRN_E_CANCELED);
    memset(w->mem, 0, MEM);
    kill(w->target, SIGCONT);
    assert_false(wait_for(w, READS + 1, 20));
    for (size_t i = 0; i < MEM; i++)
        assert_int_equal(w->mem[i], 0);
}

static void a_write_is_over_when_placed_not_when_sent(void **state)
{
    struct world *w = *state;

    connect_by_reading(w);
    kill(w->target, SIGSTOP);
    post(w, 1, true, 0, 4096, w->card.rw_key); /* fits into any socket buffer */
    assert_false(wait_for(w, 1, 100));
    kill(w->target, SIGCONT);
    assert_true(wait_for(w, 1, 10000));
    assert_int_equal(w->last_rc, 0);
}

static void an_operation_that_waits_is_taken_back(void **state)
{
    struct world *w = *state;
    struct cairn_fabric_op *op = post(w, 0, false, 0, 8, w->card.rw_key);

    assert_true(cairn_fabric_unpost(w->f, op));
    assert_false(wait_for(w, 1, 20));
    post(w, 0, false, 0, 8, w->card.rw_key);
    assert_true(wait_for(w, 1, 10000));
    assert_false(cairn_fabric_unpost(w->f, op)); /* over */
}

static void hostile_addresses(void **state)
{
    struct world *w = *state;
    uint8_t addr[CAIRN_FABRIC_ADDR_BYTES_MAX] = { 0 };
    uint64_t peer;

    assert_int_equal(cairn_fabric_peer_add(w->f, addr, 0, &peer), CAIRN_E_INVAL);
    assert_int_equal(cairn_fabric_peer_add(w->f, addr, 3, &peer), CAIRN_E_INVAL);
    assert_int_equal(cairn_fabric_peer_add(w->f, addr, sizeof(addr), &peer), CAIRN_E_INVAL);
    assert_int_equal(cairn_fabric_peer_add(w->f, addr, w->card.addr_len, &peer), CAIRN_E_INVAL); /* family 0 */
}

static void registering_and_a_second_endpoint_nearby(void **state)
{
    struct world *w = *state;
    struct cairn_fabric_conf near = {
        .provider = conf.provider, .domain = "", .near = w->card.addr, .near_len = w->card.addr_len
    };
    struct cairn_fabric *f;
    struct cairn_fabric_mr *mr, *twin;
    const uint8_t *addr;

    assert_int_equal(cairn_fabric_open(&f, &near, NULL), 0);
    assert_int_equal(cairn_fabric_addr(f, &addr), w->card.addr_len);
    assert_memory_equal(addr, w->card.addr, 2);
    assert_memory_equal(addr + 4, w->card.addr + 4,
                        4); /* the same network: 127.0.0.1, with nothing said but the peer */
    assert_int_equal(cairn_fabric_mr_new(f, w->mem, 4096, CAIRN_FABRIC_REMOTE_READ, 77, &mr), 0);
    assert_true(cairn_fabric_mr_key(mr) == 77); /* this provider lets us choose */
    assert_int_equal(cairn_fabric_mr_new(f, w->mem, 4096, CAIRN_FABRIC_REMOTE_READ, 77, &twin),
                     CAIRN_E_LIMIT); /* in use */
    cairn_fabric_kill(f);
    assert_true(cairn_fabric_is_dead(f));
    assert_int_equal(cairn_fabric_mr_new(f, w->mem, 4096, CAIRN_FABRIC_REMOTE_READ, 78, &twin), CAIRN_E_CLOSED);
    cairn_fabric_mr_free(mr);
    cairn_fabric_free(f);
}

static void what_is_not_there_is_said(void **state)
{
    struct cairn_fabric_conf bad = { .provider = "no-such-provider", .domain = "" };
    struct cairn_fabric *f;
    struct cairn_err err = { 0 };

    (void)state;
    assert_int_equal(cairn_fabric_open(&f, &bad, &err), CAIRN_E_UNSUPPORTED);
    assert_non_null(strstr(err.text, "no-such-provider"));
    bad = (struct cairn_fabric_conf){ .provider = "shm", .domain = "" }; /* no wait descriptor, no boundary: not used */
    assert_int_equal(cairn_fabric_open(&f, &bad, &err), CAIRN_E_UNSUPPORTED);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(reads_and_writes_land),
        T(connecting_is_driven_by_a_timer),
        T(sleeps_never_miss_a_completion),
        T(an_idle_fabric_sleeps),
        T(more_than_the_queue_holds),
        T(bad_key),
        T(bad_key_write),
        T(out_of_range),
        T(out_of_range_write),
        T(least_rights),
        T(others_suffer_from_a_bad_key_and_learn_of_it),
        T(dead_peer),
        T(stalled_target),
        T(a_target_stalls_amid_its_answers), /* each at another place */
        T(a_target_stalls_amid_its_answers),
        T(a_target_stalls_amid_its_answers),
        T(a_target_stalls_amid_its_answers),
        T(a_target_stalls_amid_its_answers),
        T(a_target_stalls_amid_its_answers),
        T(a_write_is_over_when_placed_not_when_sent),
        T(an_operation_that_waits_is_taken_back),
        T(hostile_addresses),
        T(registering_and_a_second_endpoint_nearby),
        T(what_is_not_there_is_said),
    };

    nursery_fill(ARRAY_SIZE(tests));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
