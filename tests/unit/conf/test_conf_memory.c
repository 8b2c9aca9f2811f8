/* The 1st, 2nd, ... nth allocation fails: reading says so, and leaves nothing behind. libyaml's included; under a
 * sanitizer the test has nothing to do. */
#include "server/node/conf/node_conf.h"
#include "tests/lib/failing_malloc.h"
#include "tests/lib/skip.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#ifndef FAILING_MALLOC

static void each_allocation_may_fail(void **state)
{
    (void)state;
    skip_because("its allocations do not fail under a sanitizer");
}

#else

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

        failing_malloc_begin(++n);
        rc = cairn_node_conf_parse(&conf, "f", text, strlen(text), overrides, 2, providers, NULL);
        failing_malloc_end();
        if (rc == 0) {
            assert_int_equal(conf.workers, 3);
            assert_string_equal(conf.listen[0], "tcp://h:2");
        } else {
            assert_int_equal(rc, CAIRN_E_NOMEM);
        }
        failing_malloc_go_on();
        cairn_node_conf_free(&conf);
        failing_malloc_end();
        if (failing_malloc_live != 0)
            fail_msg("allocation %u failed: %d pieces are left", n, failing_malloc_live);
    } while (rc != 0);
    assert_true(n > 20); /* there were some to fail */
}

#endif

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(each_allocation_may_fail) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
