/* Transfers over fabrics with the memory modes of network hardware, which tests/lib/strict_fabric.c insists upon: each
 * byte arrives, every registration is as the mode wants it, and none is left. */
#include "sdk/core/fabric/fabric_internal.h"
#include "tests/lib/bulk_world.h"
#include "tests/lib/strict_fabric.h"

#include <string.h>

/* As the providers' manual pages have it (fi_verbs(7), fi_cxi(7), fi_psm2(7), fi_efa(7)), and each mode alone. */
static const struct profile {
    const char *name;
    int modes;
    uint32_t key_bytes;
} profiles[] = {
    { "verbs", FI_MR_LOCAL | FI_MR_VIRT_ADDR | FI_MR_ALLOCATED | FI_MR_PROV_KEY, 4 },
    { "efa", FI_MR_LOCAL | FI_MR_VIRT_ADDR | FI_MR_ALLOCATED | FI_MR_PROV_KEY, 8 },
    { "cxi", FI_MR_ENDPOINT | FI_MR_ALLOCATED, 4 },
    { "cxi, keys of the provider", FI_MR_ENDPOINT | FI_MR_ALLOCATED | FI_MR_PROV_KEY, 8 },
    { "psm2", 0, 8 },
    { "local", FI_MR_LOCAL, 8 },
    { "virtual addresses", FI_MR_VIRT_ADDR, 8 },
    { "allocated", FI_MR_ALLOCATED, 8 },
    { "keys of the provider", FI_MR_PROV_KEY, 8 },
    { "endpoint", FI_MR_ENDPOINT, 8 },
    { "all", FI_MR_LOCAL | FI_MR_VIRT_ADDR | FI_MR_ALLOCATED | FI_MR_PROV_KEY | FI_MR_ENDPOINT, 4 },
};
static const struct profile *const all_modes = &profiles[ARRAY_SIZE(profiles) - 1];

static struct fixture *open_world(const struct profile *p)
{
    void *state;

    strict_fabric_set(p->modes, p->key_bytes);
    setup_tcp(&state);
    bring_fabric_up(state);
    return state;
}

static void expect_no_offence(const struct profile *p)
{
    struct strict_fabric_counts counts = strict_fabric_counts();

    if (counts.offences != 0)
        fail_msg("%s: %u offences, the last: %s", p->name, counts.offences, counts.offence);
}

static void close_world(struct fixture *fx, const struct profile *p)
{
    void *state = fx;

    teardown(&state);
    expect_no_offence(p);
    assert_int_equal(strict_fabric_counts().open, 0);
    assert_int_equal(strict_fabric_counts().endpoints, 0);
}

static bool is_zero(const uint8_t *p, size_t len)
{
    return len == 0 || (p[0] == 0 && memcmp(p, p + 1, len - 1) == 0);
}

static void moves_there_and_back(struct fixture *fx, uint64_t off, uint64_t len)
{
    static uint8_t before[MEM]; /* new memory for each move would cost more than the move, under sanitizers */

    memset(fx->local, 0, MEM); /* nothing of what an earlier move has left there */
    assert_int_equal(xfer(fx, CAIRN_BULK_FABRIC, false, off, len), 0);
    assert_true(is_zero(fx->local, off));
    assert_memory_equal(fx->local + off, fx->remote + off, len);
    assert_true(is_zero(fx->local + off + len, MEM - off - len));
    memcpy(before, fx->remote, MEM);
    for (uint64_t k = 0; k < len; k++)
        fx->local[off + k] ^= (uint8_t)(k * 31 + 1);
    assert_int_equal(xfer(fx, CAIRN_BULK_FABRIC, true, off, len), 0);
    assert_memory_equal(fx->remote, before, off);
    assert_memory_equal(fx->remote + off, fx->local + off, len);
    assert_memory_equal(fx->remote + off + len, before + off + len, MEM - off - len);
}

static void moves_the_same_bytes(struct fixture *fx)
{
    struct cairn_bulk_stats stats;

    moves_there_and_back(fx, 0, 1);
    moves_there_and_back(fx, 4093, 4099);
    moves_there_and_back(fx, MEM - (1 << 20) - 5, (1 << 20) + 5);
    moves_there_and_back(fx, 3, (8 << 20) + 1);
    cairn_bulk_stats(fx->server, &stats);
    assert_int_equal(stats.transfers[CAIRN_BULK_FABRIC], 8);
    assert_int_equal(stats.switches, 0); /* none went on by frames */
    assert_true(strict_fabric_counts().transfers >= 2 * (1 + 1 + 2 + 9));
}

/* Killing an endpoint gives all memory back, whatever is bound to whatever, and a new one works like the first. */
static void its_endpoint_dies_and_is_replaced(struct fixture *fx, const struct profile *p)
{
    size_t i = (size_t)(p - profiles);
    struct cairn_bulk_area *area;
    struct xfer x[6];

    assert_int_equal(cairn_bulk_register(fx->client, fx->remote, MEM, &area), 0);
    expose_rw(fx);
    memset(fx->local, 0, MEM);
    for (uint64_t k = 0; k < ARRAY_SIZE(x); k++)
        xfer_start(fx, &x[k], CAIRN_BULK_FABRIC, false, &fx->region.desc, k << 20, 1 << 20);
    for (size_t k = 0; k < 1 + i % 4; k++) /* some fly, some are half here */
        cairn_loop_turn(&fx->loop, 0);
    cairn_bulk__fabric_kill(i % 2 == 0 ? fx->server->bulk : fx->client->bulk, "the test says so");
    cairn_bulk__fabric_kill(i % 2 == 0 ? fx->client->bulk : fx->server->bulk, "the test says so");
    expect_no_offence(p);
    assert_int_equal(strict_fabric_counts().open, 0);
    assert_int_equal(strict_fabric_counts().endpoints, 0);
    for (uint64_t k = 0; k < ARRAY_SIZE(x); k++)
        assert_int_equal(xfer_wait(fx, &x[k]), 0); /* by frames */
    assert_memory_equal(fx->local, fx->remote, ARRAY_SIZE(x) << 20);
    fx->peer->bulk->retry_ns = 0;
    bring_fabric_up(fx);
    moves_there_and_back(fx, 77, (2 << 20) + 7);
    cairn_bulk_settle(&fx->region);
    cairn_bulk_conceal(&fx->region);
    cairn_bulk_unregister(area);
}

/* The owner's side of a key: what was concealed, or was never opened, is not to be had under any mode. */
static void refuses_what_is_not_open(struct fixture *fx)
{
    Cairn__Wire__BulkDesc old;
    struct xfer x;

    expose_rw(fx);
    old = fx->region.desc;
    expose_rw(fx);
    memset(fx->local, 0, MEM);
    xfer_start(fx, &x, CAIRN_BULK_AUTO, false, &old, 0, 65536);
    assert_int_equal(xfer_wait(fx, &x), CAIRN_E_FAULT);
    xfer_start(fx, &x, CAIRN_BULK_AUTO, true, &old, 0, 65536);
    assert_int_equal(xfer_wait(fx, &x), CAIRN_E_FAULT);
    assert_true(is_zero(fx->local, MEM));
}

/* All in one world, since to bring two endpoints up takes longer than the rest. The refusals are the last: they make
 * the mover give the fabric up. */
static void a_profile_is_honoured(void **state)
{
    const struct profile *p = *state;
    struct fixture *fx = open_world(p);

    moves_the_same_bytes(fx);
    its_endpoint_dies_and_is_replaced(fx, p);
    refuses_what_is_not_open(fx);
    close_world(fx, p);
}

/* Where registering pins memory, an area has one registration for all regions inside, each at its own place in it. */
static void an_area_lends_its_registration(void **state)
{
    const struct profile *p = all_modes;
    struct fixture *fx = open_world(p);
    struct cairn_bulk_area *area;
    uint32_t before;

    (void)state;
    cairn_bulk_settle(&fx->region);
    cairn_bulk_conceal(&fx->region);
    assert_int_equal(cairn_bulk_register(fx->client, fx->remote, MEM, &area), 0);
    before = strict_fabric_counts().registrations;
    for (uint64_t i = 0; i < 8; i++) {
        uint64_t at = i * 65536 + i, len = 10000 + i;
        struct xfer x;

        assert_int_equal(cairn_bulk_expose(fx->client, fx->remote + at, len, CAIRN_BULK_CAN_READ, &fx->region), 0);
        assert_true(fx->region.desc.fabric);
        xfer_start(fx, &x, CAIRN_BULK_FABRIC, false, &fx->region.desc, 0, len);
        assert_int_equal(xfer_wait(fx, &x), 0);
        assert_memory_equal(fx->local, fx->remote + at, len);
        cairn_bulk_settle(&fx->region);
        cairn_bulk_conceal(&fx->region);
    }
    assert_int_equal(strict_fabric_counts().registrations - before, 1 + 8); /* the area's; each pull's local buffer */
    cairn_bulk_unregister(area);
    close_world(fx, p);
}

/* Modes that are not ours to honour are refused in words, and pieces go on in frames. */
static void modes_beyond_ours_are_refused(void **state)
{
    struct cairn_fabric_conf conf = { .provider = "tcp;ofi_rxm", .domain = "lo" };
    struct cairn_fabric *f;
    struct cairn_err err = { 0 };

    (void)state;
    strict_fabric_set(FI_MR_RAW, 8);
    assert_int_equal(cairn_fabric_open(&f, &conf, &err), CAIRN_E_UNSUPPORTED);
    assert_non_null(strstr(err.text, "tcp;ofi_rxm"));
}

int main(void)
{
    struct CMUnitTest tests[ARRAY_SIZE(profiles) + 2] = {
        cmocka_unit_test(an_area_lends_its_registration),
        cmocka_unit_test(modes_beyond_ours_are_refused),
    };

    for (size_t i = 0; i < ARRAY_SIZE(profiles); i++)
        tests[2 + i] = (struct CMUnitTest){ .name = profiles[i].name,
                                            .test_func = a_profile_is_honoured,
                                            .initial_state = (void *)(uintptr_t)&profiles[i] };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
