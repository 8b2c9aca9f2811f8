/* What the KV provider asks of malloc: this program stands in front of it. */
#include "tests/lib/skip.h"
#include "tests/unit/kv/kv_rpc_fixture.h"

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
/* glibc's own names for what we put ourselves in front of. */
extern void *__libc_malloc(size_t n);
extern void *__libc_calloc(size_t n, size_t size);
extern void *__libc_realloc(void *p, size_t n);

static _Thread_local uint64_t allocations;

void *malloc(size_t n)
{
    allocations++;
    return __libc_malloc(n);
}

void *calloc(size_t n, size_t size)
{
    allocations++;
    return __libc_calloc(n, size);
}

void *realloc(void *p, size_t n)
{
    allocations++;
    return __libc_realloc(p, n);
}

static void on_bare_done(struct cairn_rpc_call *call)
{
    struct fixture *fx = call->arg;

    fx->done = true;
    fx->rc = call->rc;
}

static void bare_call(struct fixture *fx, struct cairn_rpc_call *c, uint16_t method, const void *msg, const void *val,
                      size_t len)
{
    memset(c, 0, sizeof(*c));
    c->dest.rpc = fx->rpc;
    c->iface = &cairn_iface_kv;
    c->provider = TARGET;
    c->method = method;
    c->msg = msg;
    c->payload[0] = (struct iovec){ .iov_base = (void *)(uintptr_t)val, .iov_len = len };
    c->payload_n = len > 0;
    c->done = on_bare_done;
    c->arg = fx;
    fx->done = false;
    cairn_rpc_call_start(c);
    for (int i = 0; i < TURNS_MAX && !fx->done; i++)
        cairn_loop_turn(&fx->loop, 0);
    assert_true(fx->done);
    assert_int_equal(fx->rc, 0);
}

/* In memory, a put that replaces and a get ask nothing of malloc, from the call to its answer. */
static void put_and_get_do_not_allocate(void **state)
{
    struct fixture *fx = *state;
    static uint8_t value[1024];
    struct cairn_rpc_call c;
    Cairn__Wire__KvPut p = CAIRN__WIRE__KV_PUT__INIT;
    Cairn__Wire__KvGet g = CAIRN__WIRE__KV_GET__INIT;
    uint64_t before = 0, rng = 1;
    char key[16];

    p.db = g.db = new_db(fx, "d");
    p.key = g.key = bin(key, sizeof(key));
    memset(key, 'k', sizeof(key));
    for (uint32_t i = 0; i < 8000; i++) {
        if (i == 4000)
            before = allocations; /* every key is there, every list of spare parts is filled */
        rng = rng * 6364136223846793005u + 1442695040888963407u;
        memcpy(key, &(uint32_t){ i < 2000 ? i : (uint32_t)(rng >> 40) % 2000 }, 4);
        if (i < 2000 || i % 2 == 0)
            bare_call(fx, &c, M(PUT), &p, value, 500 + (rng >> 33) % 500);
        else
            bare_call(fx, &c, M(GET), &g, NULL, 0);
    }
    assert_int_equal(allocations - before, 0);
}
#else
static void put_and_get_do_not_allocate(void **state)
{
    (void)state;
    skip_because("the sanitizer's malloc is its own");
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(put_and_get_do_not_allocate, setup_memory, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
