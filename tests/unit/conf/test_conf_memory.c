/* The 1st, 2nd, ... nth allocation fails: reading says so, and leaves nothing behind. The allocator is replaced in this program,
 * libyaml's included; sanitizers bring their own, so there the test has nothing to do. */
#include "server/node/conf/node_conf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)

static void each_allocation_may_fail(void **state)
{
    (void)state;
    skip();
}

#else

/* Seen by shared libraries too. */
#pragma GCC visibility push(default)

void *__libc_malloc(size_t n);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t n);
void __libc_free(void *p);

static bool counting;
static uint32_t until_failure; /* 0: never */
static int live;

static bool fails_now(void)
{
    return counting && until_failure > 0 && --until_failure == 0;
}

void *malloc(size_t n)
{
    void *p = fails_now() ? NULL : __libc_malloc(n);

    live += counting && p != NULL;
    return p;
}

void *calloc(size_t n, size_t size)
{
    void *p = fails_now() ? NULL : __libc_calloc(n, size);

    live += counting && p != NULL;
    return p;
}

void *realloc(void *p, size_t n)
{
    void *q = fails_now() ? NULL : __libc_realloc(p, n);

    live += counting && p == NULL && q != NULL;
    return q;
}

void free(void *p)
{
    live -= counting && p != NULL;
    __libc_free(p);
}

#pragma GCC visibility pop

static const struct cairn_conf_key kv_keys[] = {
    { .name = "cache", .type = CAIRN_CONF_SIZE, .fallback = "64MiB", .help = "kept in memory" },
    { .name = NULL },
};
static const struct cairn_provider_desc kv = { .type = "kv", .schema = kv_keys };
static const struct cairn_provider_desc *const providers[] = { &kv, NULL };

static void each_allocation_may_fail(void **state)
{
    static const char text[] = "node: {workers: 3, pin: [1, 2]}\n"
                               "listen: [unix://a, tcp://h:1]\n"
                               "auth: {key_file: k}\n"
                               "providers: [{type: kv, name: a}, {type: kv, name: b, cache: 1GiB}]\n";
    static const struct cairn_conf_override overrides[] = { { "providers.b.cache", "2GiB", "--set", false },
                                                            { "listen", "[tcp://h:2]", "--set", false } };
    uint32_t n = 0;
    int rc;

    (void)state;
    do {
        struct cairn_node_conf conf;

        live = 0;
        until_failure = ++n;
        counting = true;
        rc = cairn_node_conf_parse(&conf, "f", text, strlen(text), overrides, 2, providers, NULL);
        counting = false;
        until_failure = 0;
        if (rc == 0) {
            assert_int_equal(conf.workers, 3);
            assert_string_equal(conf.listen[0], "tcp://h:2");
        } else {
            assert_int_equal(rc, CAIRN_E_NOMEM);
        }
        counting = true;
        cairn_node_conf_free(&conf);
        counting = false;
        if (live != 0)
            fail_msg("allocation %u failed: %d pieces are left", n, live);
    } while (rc != 0);
    assert_true(n > 20); /* there were some to fail */
}

#endif

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(each_allocation_may_fail) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
