/* Values that come in parts: how an upload ends, who may end it, and that nothing of it stays behind. */
#include "world_parts.h"

static const struct cairn_identity alice = { .uid = 1000, .gid = 1000, .auth = "peer" };
static const struct cairn_identity bob = { .uid = 1001, .gid = 1000, .auth = "peer" };

static void restart_with(struct world *w, uint32_t ttl_ms, uint64_t bytes_max)
{
    world_stop(w);
    w->conf.upload_ttl_ms = w->conf.upload_grace_ms = ttl_ms;
    w->conf.upload_bytes_max = bytes_max;
    world_start(w);
}

static void in_any_order(void **state)
{
    struct world *w = *state;
    size_t n = 3 * REGION + 5;

    fill(value, sizeof(value), 1);
    ns_create(w, "n");
    assert_int_equal(put(w, "n", "k", value, 2 * REGION), 0); /* to be replaced */
    assert_int_equal(part(w, 3, 5), 0);
    assert_int_equal(part(w, 0, REGION), 0);
    assert_int_equal(part(w, 2, REGION), 0);
    assert_int_equal(part(w, 1, REGION), 0);
    assert_int_equal(get(w, "n", "k", 0, 0, got, sizeof(got), NULL), 2 * REGION); /* not yet */
    assert_int_equal(commit(w, 4, n), 0);
    expect_stored(w, n);
    assert_int_equal(commit(w, 4, n), CAIRN_E_NOTFOUND); /* only once */
    assert_int_equal(abort_as(w, &root, "n"), CAIRN_E_NOTFOUND);
    expect_stored(w, n);
    assert_int_equal(router_of(w)->uploads.n, 0);
}

static void aborted(void **state)
{
    struct world *w = *state;

    ns_create(w, "n");
    for (uint32_t i = 0; i < 4; i++)
        assert_int_equal(part(w, i, REGION), 0);
    assert_int_equal(w->nregions, 4);
    assert_int_equal(abort_as(w, &root, "n"), 0);
    assert_int_equal(w->nregions, 0);
    assert_int_equal(commit(w, 4, 4 * REGION), CAIRN_E_NOTFOUND);
    assert_int_equal(get(w, "n", "k", 0, 0, got, sizeof(got), NULL), CAIRN_E_NOTFOUND);
}

/* Parts that are on their way when the upload is aborted or committed; in every order that the seed makes. */
static void aborted_meanwhile(void **state)
{
    struct world *w = *state;

    ns_create(w, "n");
    for (uint64_t seed = 1; seed <= 60; seed++) {
        struct part p[4];
        uint32_t here = 0;
        int rc;

        w->seed = seed;
        for (uint32_t i = 0; i < 4; i++)
            part_start(w, &p[i], &root, "n", UPLOAD, i, REGION);
        for (uint64_t turns = world_random(w) % 8; turns > 0; turns--)
            world_turn(w);
        for (uint32_t i = 0; i < 4; i++)
            here += p[i].a.done;
        rc = commit(w, 4, 4 * REGION);
        assert_true(rc == 0 || (here < 4 && (rc == CAIRN_E_STATE || rc == CAIRN_E_NOTFOUND || rc == CAIRN_E_INVAL)));
        if (rc != 0) {
            rc = abort_as(w, &root, "n");
            assert_true(rc == 0 || rc == CAIRN_E_NOTFOUND);
        }
        for (uint32_t i = 0; i < 4; i++) {
            rc = ask_wait(w, &p[i].a);
            assert_true(rc == 0 || rc == CAIRN_E_STATE);
            answer_free(&p[i].a);
        }
        (void)abort_as(w, &root, "n"); /* of those that came after the first */
        expect_no_orphans(w);
        assert_int_equal(router_of(w)->uploads.n, 0);
    }
}

static void nobody_goes_on(void **state)
{
    struct world *w = *state;

    restart_with(w, 5, 0);
    ns_create(w, "n");
    assert_int_equal(put(w, "n", "k", value, 2000), 0);
    assert_int_equal(part(w, 0, REGION), 0);
    assert_int_equal(part(w, 1, REGION), 0);
    while (w->nregions > 1 || router_of(w)->uploads.n > 0)
        world_turn(w);
    assert_int_equal(commit(w, 2, 2 * REGION), CAIRN_E_NOTFOUND);
    expect_no_orphans(w);
    assert_false(atomic_load(&router_of(w)->left_garbage));
}

static void whose_parts_cannot_be_removed(void **state)
{
    struct world *w = *state;

    restart_with(w, 5, 0);
    ns_create(w, "n");
    assert_int_equal(part(w, 0, REGION), 0);
    w->calls = 0;
    w->fail_at = 1; /* the removal */
    w->fail_rc = CAIRN_E_IO;
    while (!atomic_load(&router_of(w)->left_garbage))
        world_turn(w);
    assert_int_equal(w->nregions, 1);
    w->fail_at = 0;
    world_stop(w);
    world_start(w);
    wait_sweep(w);
    assert_int_equal(w->nregions, 0);
}

static void only_by_who_made_them(void **state)
{
    struct world *w = *state;
    Cairn__Wire__Namespace m = CAIRN__WIRE__NAMESPACE__INIT;

    fill(value, sizeof(value), 2);
    m.embed_threshold = 1000;
    m.mode = 0660;
    for (int i = 0; i < 2; i++) {
        m.name = (char *)(uintptr_t)(i == 0 ? "n" : "other");
        assert_int_equal(ns_create_as(w, &alice, &m, NULL), 0);
    }
    assert_int_equal(part_as(w, &alice, "n", 0, REGION), 0);
    assert_int_equal(part_as(w, &alice, "n", 1, REGION), 0);
    assert_int_equal(commit_as(w, &bob, "n", 2, 2 * REGION, false), CAIRN_E_NOTFOUND); /* though he may write there */
    assert_int_equal(abort_as(w, &bob, "n"), CAIRN_E_NOTFOUND);
    assert_int_equal(commit_as(w, &root, "n", 2, 2 * REGION, false), CAIRN_E_NOTFOUND);
    assert_int_equal(commit_as(w, &alice, "other", 2, 2 * REGION, false), CAIRN_E_NOTFOUND);
    assert_int_equal(part_as(w, &bob, "n", 1, 10), 0); /* his own of the same number */
    assert_int_equal(router_of(w)->uploads.n, 2);
    assert_int_equal(commit_as(w, &alice, "n", 2, 2 * REGION, false), 0);
    assert_int_equal(abort_as(w, &bob, "n"), 0);
    expect_stored(w, 2 * REGION);
}

static void what_must_not_replace(void **state)
{
    struct world *w = *state;

    fill(value, sizeof(value), 3);
    ns_create(w, "n");
    assert_int_equal(put(w, "n", "k", value, 2000), 0);
    assert_int_equal(part(w, 0, REGION), 0);
    assert_int_equal(commit_as(w, &root, "n", 1, REGION, true), CAIRN_E_EXISTS);
    expect_stored(w, 2000); /* the part is gone */
    assert_int_equal(router_of(w)->uploads.n, 0);
}

static void what_is_no_part(void **state)
{
    struct world *w = *state;

    ns_create(w, "n");
    assert_int_equal(part_as(w, &root, "none", 0, 10), CAIRN_E_NOTFOUND);
    assert_int_equal(part(w, CAIRN_ROUTER_REGIONS_MAX, 10), CAIRN_E_INVAL);
    assert_int_equal(part(w, 0, 0), CAIRN_E_INVAL);
    assert_int_equal(part(w, 0, REGION + 1), CAIRN_E_INVAL);
    assert_int_equal(router_of(w)->uploads.n, 0);
    assert_int_equal(commit(w, 0, 0), CAIRN_E_NOTFOUND);
    assert_int_equal(part(w, 0, REGION), 0);
    assert_int_equal(part(w, 0, REGION), CAIRN_E_EXISTS);
    assert_int_equal(part(w, 2, REGION), 0);
    assert_int_equal(commit(w, 3, 3 * REGION), CAIRN_E_INVAL); /* one is missing */
    assert_int_equal(part(w, 1, 100), 0);
    assert_int_equal(commit(w, 3, 2 * REGION + 100), CAIRN_E_INVAL); /* it is short, and not the last */
    assert_int_equal(abort_as(w, &root, "n"), 0);
    assert_int_equal(part(w, 0, REGION), 0);
    assert_int_equal(commit(w, 1, REGION + 1), CAIRN_E_INVAL);
    assert_int_equal(commit(w, 2, REGION), CAIRN_E_INVAL);
    assert_int_equal(commit(w, 0, 0), CAIRN_E_INVAL);
    assert_int_equal(commit(w, 1, REGION), 0); /* what was wrong with a request does no harm */
    expect_no_orphans(w);
}

static void bounds(void **state)
{
    struct world *w = *state;
    struct part p;

    restart_with(w, 100000, 3 * REGION);
    ns_create(w, "n");
    for (uint32_t i = 0; i < 3; i++)
        assert_int_equal(part(w, i, REGION), 0);
    assert_int_equal(part(w, 3, 1), CAIRN_E_LIMIT);
    assert_int_equal(abort_as(w, &root, "n"), 0);
    for (uint64_t i = 0; i <= CAIRN_ROUTER_UPLOADS_OF_NS_MAX; i++) {
        part_start(w, &p, &root, "n", 1000 + i, 0, 10);
        assert_int_equal(ask_wait(w, &p.a), i < CAIRN_ROUTER_UPLOADS_OF_NS_MAX ? 0 : CAIRN_E_LIMIT);
        answer_free(&p.a);
    }
    assert_int_equal(ns_remove_as(w, &root, "n", true), 0); /* a namespace takes its uploads with it */
    while (w->nregions > 0 || router_of(w)->uploads.n > 0)
        world_turn(w);
}

/* What a range was read of can be told from what another one was. */
static void stamps(void **state)
{
    struct world *w = *state;
    uint64_t last = 0;

    ns_create(w, "n");
    for (int i = 0; i < 6; i++) {
        uint64_t stamp = 0;

        fill(value, sizeof(value), (uint64_t)i);
        assert_int_equal(put(w, "n", "k", value, i < 3 ? 3 * REGION : 500), 0);
        for (uint64_t off = 0; off < 500; off += 100) {
            struct get g;

            get_start(w, &g, 0, "n", "k", off, 100, NULL, 0);
            assert_int_equal(ask_wait(w, &g.a), 0);
            if (off > 0)
                assert_int_equal(((Cairn__Wire__RouterGetReply *)g.a.reply)->stamp, stamp);
            stamp = ((Cairn__Wire__RouterGetReply *)g.a.reply)->stamp;
            answer_free(&g.a);
        }
        assert_true(stamp != 0 && stamp != last);
        last = stamp;
    }
}

/* A value of 1 TiB, whose 4096 regions have no bytes here: its record is made, stored, told about and removed. */
static void one_tebibyte(void **state)
{
    struct world *w = *state;
    Cairn__Wire__RouterKey key = CAIRN__WIRE__ROUTER_KEY__INIT;
    Cairn__Wire__RouterList list = CAIRN__WIRE__ROUTER_LIST__INIT;
    static uint32_t crcs[CAIRN_PART_BYTES / CAIRN_EXTENT_CHUNK_BYTES];
    struct answer a;

    world_stop(w);
    w->conf.region_bytes = CAIRN_PART_BYTES;
    w->hollow = true;
    world_start(w);
    ns_create(w, "n");
    for (int round = 0; round < 2; round++) { /* the second replaces the first */
        for (uint32_t i = 0; i < CAIRN_PARTS_MAX; i++) {
            struct part p;

            part_start(w, &p, &root, "n", UPLOAD, i, CAIRN_PART_BYTES);
            p.m.crcs = crcs;
            p.m.n_crcs = ARRAY_SIZE(crcs);
            assert_int_equal(ask_wait(w, &p.a), 0);
            answer_free(&p.a);
        }
        assert_int_equal(commit(w, CAIRN_PARTS_MAX, CAIRN_VALUE_BYTES_MAX), 0);
        expect_no_orphans(w);
    }
    key.ns = list.ns = (char *)(uintptr_t) "n";
    key.key = key_of("k");
    assert_int_equal(ask(w, &a, CAIRN__WIRE__ROUTER_METHOD__ROUTER_LENGTH, &key.base, NULL, 0), 0);
    assert_int_equal(((Cairn__Wire__RouterLength *)a.reply)->length, CAIRN_VALUE_BYTES_MAX);
    answer_free(&a);
    list.lengths = true;
    assert_int_equal(ask(w, &a, CAIRN__WIRE__ROUTER_METHOD__ROUTER_LIST, &list.base, NULL, 0), 0);
    assert_int_equal(((Cairn__Wire__RouterListReply *)a.reply)->n_keys, 1);
    assert_int_equal(((Cairn__Wire__RouterListReply *)a.reply)->lengths[0], CAIRN_VALUE_BYTES_MAX);
    answer_free(&a);
    assert_int_equal(delete (w, "n", "k"), 0);
    assert_int_equal(w->nregions, 0);
    /* Two such records on one page of a namespace that is removed: more regions than one call may name. */
    for (uint32_t k = 0; k < 2; k++) {
        static struct cairn_record_region regions[CAIRN_PARTS_MAX];
        static uint8_t record[64 * KIB];

        for (uint32_t i = 0; i < CAIRN_PARTS_MAX; i++)
            regions[i] =
                (struct cairn_record_region){ .id = region_add(w, NULL, CAIRN_PART_BYTES, CAIRN_REGION_OWNER_TAG),
                                              .len = CAIRN_PART_BYTES };
        cairn_record_put_extents(record, 0, regions, CAIRN_PARTS_MAX);
        entry_set(w, w->dbs[0].id, key_of(k == 0 ? "a" : "b"), record, cairn_record_extents_bytes(CAIRN_PARTS_MAX));
    }
    assert_int_equal(ns_remove_as(w, &root, "n", true), 0);
    assert_int_equal(w->nregions, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(in_any_order),
        CASE(aborted),
        CASE(aborted_meanwhile),
        CASE(nobody_goes_on),
        CASE(whose_parts_cannot_be_removed),
        CASE(only_by_who_made_them),
        CASE(what_must_not_replace),
        CASE(what_is_no_part),
        CASE(bounds),
        CASE(stamps),
        CASE(one_tebibyte),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
