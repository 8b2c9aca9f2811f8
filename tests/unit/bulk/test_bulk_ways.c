/* Every way moves the same bytes, and none moves what it must not. */
#include "tests/lib/bulk_world.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* ---- every way moves the same bytes ---- */

static void each_length(struct fixture *fx, enum cairn_bulk_way way)
{
    static const uint64_t lens[] = {
        0, 1, 7, 4096, 65536, (256 << 10) - 1, 256 << 10, (256 << 10) + 1, 1 << 20, (1 << 20) + 3, (8 << 20) + 5
    };
    struct xfer x;

    for (size_t i = 0; i < ARRAY_SIZE(lens) + 12; i++) {
        uint64_t len = i < ARRAY_SIZE(lens) ? lens[i] : rnd(fx) % (3 << 20);
        uint64_t off = rnd(fx) % (MEM - len);
        uint8_t before = off > 0 ? fx->local[off - 1] : 0, after = off + len < MEM ? fx->local[off + len] : 0;

        xfer_start(fx, &x, way, false, &fx->region.desc, off, len);
        assert_int_equal(xfer_wait(fx, &x), 0);
        assert_int_equal(x.op.way, way);
        assert_true(x.seen == len); /* arrived() has told of every byte, in order */
        assert_memory_equal(fx->local + off, fx->remote + off, len);
        assert_true((off == 0 || fx->local[off - 1] == before) && (off + len == MEM || fx->local[off + len] == after));

        for (uint64_t k = 0; k < len; k += 509)
            fx->local[off + k] = (uint8_t)rnd(fx);
        before = off > 0 ? fx->remote[off - 1] : 0;
        after = off + len < MEM ? fx->remote[off + len] : 0;
        xfer_start(fx, &x, way, true, &fx->region.desc, off, len);
        assert_int_equal(xfer_wait(fx, &x), 0);
        assert_int_equal(x.op.way, way);
        assert_memory_equal(fx->local + off, fx->remote + off, len);
        assert_true((off == 0 || fx->remote[off - 1] == before) &&
                    (off + len == MEM || fx->remote[off + len] == after));
    }
}

static void frames_move_every_length(void **state)
{
    expose_rw(*state);
    each_length(*state, CAIRN_BULK_FRAMES);
}

static void vm_moves_every_length(void **state)
{
    struct fixture *fx = *state;

    expose_rw(fx);
    assert_int_equal(cairn_bulk_way_to(fx->peer, false), CAIRN_BULK_VM); /* proved at connect, with nothing said */
    assert_int_equal(cairn_bulk_way_to(fx->peer, true), CAIRN_BULK_VM);
    each_length(fx, CAIRN_BULK_VM);
}

/* A caller that forbids vm does not tell a callee that allows it where its memory is. */
static void who_forbids_vm_is_not_copied(void **state)
{
    struct fixture *fx = *state;
    struct cairn_bulk_stats stats;

    fx->client->bulk->conf.vm = false;
    client_connect(fx);
    assert_int_equal(cairn_rpc_peer_info(fx->peer)->vm_cookie_addr, 0);
    expose_rw(fx);
    assert_int_equal(xfer(fx, CAIRN_BULK_AUTO, false, 0, 1 << 20), 0);
    assert_int_equal(xfer(fx, CAIRN_BULK_AUTO, true, 0, 1 << 20), 0);
    cairn_bulk_stats(fx->server, &stats);
    assert_int_equal(stats.transfers[CAIRN_BULK_VM], 0);
    assert_int_equal(xfer(fx, CAIRN_BULK_VM, false, 0, 1 << 20), CAIRN_E_UNSUPPORTED);
}

static void self_moves_every_length(void **state)
{
    expose_rw(*state);
    each_length(*state, CAIRN_BULK_SELF);
}

static void fabric_moves_every_length(void **state)
{
    struct fixture *fx = *state;
    struct cairn_bulk_stats stats;

    bring_fabric_up(fx);
    each_length(fx, CAIRN_BULK_FABRIC);
    cairn_bulk_stats(fx->server, &stats);
    assert_int_equal(stats.introduced, 1);
    assert_int_equal(stats.switches, 0);
    assert_int_equal(stats.kills, 0);
    assert_true(stats.bytes[CAIRN_BULK_FABRIC] > 16 << 20);
}

static void many_at_once(struct fixture *fx, enum cairn_bulk_way way)
{
    struct xfer x[24];
    uint8_t *copy = malloc(MEM);

    memcpy(copy, fx->remote, MEM);
    for (size_t i = 0; i < ARRAY_SIZE(x); i++) /* neighbours, pulled at the same time */
        xfer_start(fx, &x[i], way, false, &fx->region.desc, i * (MEM / ARRAY_SIZE(x)), MEM / ARRAY_SIZE(x));
    for (size_t i = 0; i < ARRAY_SIZE(x); i++)
        assert_int_equal(xfer_wait(fx, &x[i]), 0);
    assert_memory_equal(fx->local, copy, MEM / ARRAY_SIZE(x) * ARRAY_SIZE(x));
    free(copy);
}

static void many_by_frames(void **state)
{
    expose_rw(*state);
    many_at_once(*state, CAIRN_BULK_FRAMES);
}

static void many_by_vm(void **state)
{
    expose_rw(*state);
    many_at_once(*state, CAIRN_BULK_VM);
}

static void many_by_fabric(void **state)
{
    bring_fabric_up(*state);
    many_at_once(*state, CAIRN_BULK_FABRIC);
}

/* Where the caller's part of a value begins is for the callee to add: nobody adds it twice. */
static void the_descriptors_offset_is_the_callees(void **state)
{
    struct fixture *fx = *state;
    static const enum cairn_bulk_way ways[] = { CAIRN_BULK_FRAMES, CAIRN_BULK_VM, CAIRN_BULK_SELF };
    Cairn__Wire__BulkDesc d;
    struct xfer x;

    expose_rw(fx);
    for (size_t i = 0; i < ARRAY_SIZE(ways); i++) {
        d = fx->region.desc;
        d.off = 1 << 20;
        memset(fx->local, 0, MEM);
        xfer_start(fx, &x, ways[i], false, &d, (1 << 20) + 4096, 300000);
        assert_int_equal(xfer_wait(fx, &x), 0);
        assert_memory_equal(fx->local + (1 << 20) + 4096, fx->remote + (1 << 20) + 4096, 300000);
    }
}

/* ---- what must not be moved is not ---- */

static void refuses(struct fixture *fx, enum cairn_bulk_way way)
{
    Cairn__Wire__BulkDesc d;
    uint8_t *copy = malloc(MEM);
    struct xfer x;

    memcpy(copy, fx->remote, MEM);
    expose(fx, CAIRN_BULK_CAN_READ);
    assert_int_equal(xfer(fx, way, true, 0, 300000), CAIRN_E_FAULT); /* not for writing */
    d = fx->region.desc;
    d.rights |= CAIRN_BULK_CAN_WRITE; /* a lie, which the owner knows better */
    if (way != CAIRN_BULK_VM) {       /* where owner and liar are one, and it is their own memory */
        xfer_start(fx, &x, way, true, &d, 0, 300000);
        assert_int_equal(xfer_wait(fx, &x), CAIRN_E_FAULT);
    }
    assert_memory_equal(fx->remote, copy, MEM);
    expose(fx, CAIRN_BULK_CAN_WRITE);
    assert_int_equal(xfer(fx, way, false, 0, 300000), CAIRN_E_FAULT);
    expose_rw(fx);
    d = fx->region.desc;
    d.key ^= 1;
    d.fabric_key ^= 1;
    xfer_start(fx, &x, way, false, &d, 0, 300000);
    assert_int_equal(xfer_wait(fx, &x), CAIRN_E_FAULT);
    xfer_start(fx, &x, way, true, &d, 0, 300000);
    assert_int_equal(xfer_wait(fx, &x), CAIRN_E_FAULT);
    assert_int_equal(xfer(fx, way, false, MEM - 10, 11), CAIRN_E_FAULT);
    assert_int_equal(xfer(fx, way, false, UINT64_MAX - 5, 11), CAIRN_E_FAULT);
    assert_memory_equal(fx->remote, copy, MEM);
    d = fx->region.desc;
    cairn_bulk_settle(&fx->region);
    cairn_bulk_conceal(&fx->region);
    cairn_bulk_conceal(&fx->region); /* harmless */
    xfer_start(fx, &x, way, false, &d, 0, 300000);
    assert_int_equal(xfer_wait(fx, &x), CAIRN_E_FAULT); /* too late */
    xfer_start(fx, &x, way, true, &d, 0, 300000);
    assert_int_equal(xfer_wait(fx, &x), CAIRN_E_FAULT);
    assert_memory_equal(fx->remote, copy, MEM);
    expose_rw(fx);
    assert_int_equal(xfer(fx, CAIRN_BULK_AUTO, false, 0, 300000), 0); /* and the peer is as good as before */
    free(copy);
}

static void frames_refuse(void **state)
{
    refuses(*state, CAIRN_BULK_FRAMES);
}

static void vm_refuses(void **state)
{
    refuses(*state, CAIRN_BULK_VM);
}

static void self_refuses(void **state)
{
    refuses(*state, CAIRN_BULK_SELF);
}

/* By the fabric a bad key looks like a lost connection: frames are asked, and they know. */
static void fabric_refuses(void **state)
{
    struct fixture *fx = *state;
    Cairn__Wire__BulkDesc d;
    struct cairn_bulk_stats stats;
    struct xfer bad, good[4];

    bring_fabric_up(fx);
    d = fx->region.desc;
    d.key ^= 1;
    d.fabric_key ^= 1;
    xfer_start(fx, &bad, CAIRN_BULK_FABRIC, false, &d, 0, 300000);
    for (size_t i = 0; i < ARRAY_SIZE(good); i++) /* innocent, and torn down with it */
        xfer_start(fx, &good[i], CAIRN_BULK_FABRIC, false, &fx->region.desc, i << 21, 2 << 20);
    assert_int_equal(xfer_wait(fx, &bad), CAIRN_E_FAULT);
    for (size_t i = 0; i < ARRAY_SIZE(good); i++)
        assert_int_equal(xfer_wait(fx, &good[i]), 0);
    assert_memory_equal(fx->local, fx->remote, 8 << 20);
    cairn_bulk_stats(fx->server, &stats);
    assert_true(stats.switches >= 1);
    assert_int_equal(stats.failures, 1);
    assert_false(fx->peer->bulk->ready);
    fx->peer->bulk->retry_ns = 0; /* 30 s later */
    bring_fabric_up(fx);
    assert_int_equal(xfer(fx, CAIRN_BULK_FABRIC, false, 0, 2 << 20), 0);
    assert_int_equal(xfer(fx, CAIRN_BULK_FABRIC, false, MEM - 10, 11), CAIRN_E_FAULT);
    expose(fx, CAIRN_BULK_CAN_READ);
    d = fx->region.desc;
    d.rights |= CAIRN_BULK_CAN_WRITE;
    xfer_start(fx, &bad, CAIRN_BULK_FABRIC, true, &d, 0, 300000);
    assert_int_equal(xfer_wait(fx, &bad), CAIRN_E_FAULT);
}

static void memory_that_is_not_there(void **state)
{
    struct fixture *fx = *state;
    struct xfer x;

    expose_rw(fx);
    munmap(fx->remote + (4 << 20), 1 << 20); /* the client has unmapped it amid the call */
    assert_int_equal(xfer(fx, CAIRN_BULK_VM, false, 0, 8 << 20), CAIRN_E_FAULT);
    assert_int_equal(xfer(fx, CAIRN_BULK_VM, true, 0, 8 << 20), CAIRN_E_FAULT);
    assert_int_equal(xfer(fx, CAIRN_BULK_VM, false, (4 << 20) - 100, 4096), CAIRN_E_FAULT);
    xfer_start(fx, &x, CAIRN_BULK_VM, false, &fx->region.desc, 5 << 20, 1 << 20);
    assert_int_equal(xfer_wait(fx, &x), 0);
    assert_int_equal(x.op.way, CAIRN_BULK_VM); /* still trusted */
}

static void exposed_regions_are_counted_and_capped(void **state)
{
    struct fixture *fx = *state;
    struct cairn_bulk_region *r = calloc(CAIRN_BULK_EXPOSED_MAX + 1, sizeof(*r));
    struct cairn_bulk_stats stats;

    for (uint32_t i = 0; i < CAIRN_BULK_EXPOSED_MAX; i++) {
        assert_int_equal(cairn_bulk_expose(fx->client, fx->remote + i, 1, CAIRN_BULK_CAN_READ, &r[i]), 0);
        assert_true(r[i].desc.key != 0 && (i == 0 || r[i].desc.key != r[i - 1].desc.key));
    }
    assert_int_equal(cairn_bulk_expose(fx->client, fx->remote, 1, CAIRN_BULK_CAN_READ, &r[CAIRN_BULK_EXPOSED_MAX]),
                     CAIRN_E_LIMIT);
    cairn_bulk_conceal(&r[CAIRN_BULK_EXPOSED_MAX]); /* harmless */
    cairn_bulk_stats(fx->client, &stats);
    assert_int_equal(stats.exposed, CAIRN_BULK_EXPOSED_MAX);
    for (uint32_t i = 0; i < CAIRN_BULK_EXPOSED_MAX; i++)
        cairn_bulk_conceal(&r[i]);
    cairn_bulk_stats(fx->client, &stats);
    assert_int_equal(stats.exposed, 0);
    free(r);
}

static void areas_are_kept(void **state)
{
    struct fixture *fx = *state;
    struct cairn_bulk_area *a[CAIRN_BULK_AREAS_MAX], *more;

    for (uint32_t i = 0; i < CAIRN_BULK_AREAS_MAX; i++)
        assert_int_equal(cairn_bulk_register(fx->client, fx->remote, i == 0 ? MEM : 4096, &a[i]), 0);
    assert_int_equal(cairn_bulk_register(fx->client, fx->remote, MEM, &more), CAIRN_E_LIMIT);
    assert_null(more);
    bring_fabric_up(fx);
    assert_ptr_equal(fx->region.area, a[0]);
    assert_non_null(fx->region.mr); /* a software provider: as narrow as the region all the same */
    assert_int_equal(xfer(fx, CAIRN_BULK_FABRIC, false, 0, MEM), 0);
    assert_memory_equal(fx->local, fx->remote, MEM);
    cairn_bulk_settle(&fx->region);
    cairn_bulk_conceal(&fx->region);
    for (uint32_t i = 0; i < CAIRN_BULK_AREAS_MAX; i++)
        cairn_bulk_unregister(a[i]);
}

int main(void)
{
#define N(f) cmocka_unit_test_setup_teardown(f, setup_tcp, teardown)
#define U(f) cmocka_unit_test_setup_teardown(f, setup_unix, teardown)
#define B(f) cmocka_unit_test_setup_teardown(f, setup_bare, teardown)
    const struct CMUnitTest tests[] = {
        U(frames_move_every_length),
        U(vm_moves_every_length),
        B(who_forbids_vm_is_not_copied),
        U(self_moves_every_length),
        N(fabric_moves_every_length),
        N(many_by_frames),
        U(many_by_vm),
        N(many_by_fabric),
        U(the_descriptors_offset_is_the_callees),
        U(frames_refuse),
        U(vm_refuses),
        U(self_refuses),
        N(fabric_refuses),
        U(memory_that_is_not_there),
        U(exposed_regions_are_counted_and_capped),
        N(areas_are_kept),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
