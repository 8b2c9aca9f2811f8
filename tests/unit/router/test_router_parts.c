/* Values that come in parts: how an upload ends, who may end it, and that nothing of it stays behind. */
#include "world.h"

static uint8_t value[6 * REGION], got[6 * REGION];
static const struct cairn_identity alice = { .uid = 1000, .gid = 1000, .auth = "peer" };
static const struct cairn_identity bob = { .uid = 1001, .gid = 1000, .auth = "peer" };

enum { UPLOAD = 77 };

struct part {
    Cairn__Wire__RouterPart m;
    Cairn__Wire__BulkDesc bulk;
    uint32_t crcs[64];
    struct answer a;
};

static void part_start(struct world *w, struct part *p, const struct cairn_identity *who, const char *ns,
                       uint64_t upload, uint32_t number, size_t len)
{
    const uint8_t *from = value + (size_t)number * REGION % sizeof(value);

    cairn__wire__router_part__init(&p->m);
    cairn__wire__bulk_desc__init(&p->bulk);
    p->bulk.key = 1;
    p->bulk.len = len;
    p->bulk.addr = (uintptr_t)from;
    p->m.ns = (char *)(uintptr_t)ns;
    p->m.upload = upload;
    p->m.number = number;
    p->m.length = len;
    p->m.bulk = &p->bulk;
    p->m.crcs = p->crcs;
    if (len <= REGION)
        p->m.n_crcs = crc_of_chunks(from, 0, len, p->crcs);
    ask_start(w, (uint32_t)(world_random(w) % WORKERS), &p->a, who, CAIRN__WIRE__ROUTER_METHOD__ROUTER_PART, &p->m.base,
              NULL, 0);
}

static int part_as(struct world *w, const struct cairn_identity *who, const char *ns, uint32_t number, size_t len)
{
    struct part p;
    int rc;

    part_start(w, &p, who, ns, UPLOAD, number, len);
    rc = ask_wait(w, &p.a);
    answer_free(&p.a);
    return rc;
}

static int part(struct world *w, uint32_t number, size_t len)
{
    return part_as(w, &root, "n", number, len);
}

static int commit_as(struct world *w, const struct cairn_identity *who, const char *ns, uint32_t parts, uint64_t length,
                     bool if_absent)
{
    Cairn__Wire__RouterCommit m = CAIRN__WIRE__ROUTER_COMMIT__INIT;
    struct answer a;
    int rc;

    m.ns = (char *)(uintptr_t)ns;
    m.key = key_of("k");
    m.upload = UPLOAD;
    m.parts = parts;
    m.length = length;
    m.if_absent = if_absent;
    ask_start(w, (uint32_t)(world_random(w) % WORKERS), &a, who, CAIRN__WIRE__ROUTER_METHOD__ROUTER_COMMIT, &m.base,
              NULL, 0);
    rc = ask_wait(w, &a);
    answer_free(&a);
    return rc;
}

static int commit(struct world *w, uint32_t parts, uint64_t length)
{
    return commit_as(w, &root, "n", parts, length, false);
}

static int abort_as(struct world *w, const struct cairn_identity *who, const char *ns)
{
    Cairn__Wire__RouterAbort m = CAIRN__WIRE__ROUTER_ABORT__INIT;
    struct answer a;
    int rc;

    m.ns = (char *)(uintptr_t)ns;
    m.upload = UPLOAD;
    ask_start(w, 0, &a, who, CAIRN__WIRE__ROUTER_METHOD__ROUTER_ABORT, &m.base, NULL, 0);
    rc = ask_wait(w, &a);
    answer_free(&a);
    return rc;
}

static void expect_stored(struct world *w, size_t n)
{
    assert_int_equal(get(w, "n", "k", 0, 0, got, sizeof(got), NULL), n);
    assert_memory_equal(got, value, n);
    expect_no_orphans(w);
}

static struct cairn_router *router_of(struct world *w)
{
    return w->router;
}

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

static void every_call_fails(void **state)
{
    static const int failures[] = { CAIRN_E_NOSPACE, CAIRN_E_IO, CAIRN_E_TIMEOUT };
    struct world *w = *state;

    fill(value, sizeof(value), 4);
    for (size_t f = 0; f < ARRAY_SIZE(failures); f++) {
        uint32_t failed = 0;

        for (uint64_t nth = 1;; nth++) {
            int rc;

            w->fail_at = 0;
            ns_create(w, "n"); /* fresh: its database is to be opened, too */
            w->calls = 0;
            w->fail_at = nth;
            w->fail_rc = failures[f];
            rc = part(w, 0, REGION);
            if (rc == 0)
                rc = part(w, 1, 10);
            if (rc == 0)
                rc = commit(w, 2, REGION + 10);
            w->fail_at = 0;
            if (w->calls < nth) {
                assert_int_equal(rc, 0);
                assert_int_equal(ns_remove_as(w, &root, "n", true), 0);
                break;
            }
            failed++;
            assert_int_equal(rc, failures[f]);
            rc = abort_as(w, &root, "n");
            assert_true(rc == 0 || rc == CAIRN_E_NOTFOUND);
            expect_no_orphans(w);
            assert_int_equal(router_of(w)->uploads.n, 0);
            assert_int_equal(ns_remove_as(w, &root, "n", true), 0);
            assert_int_equal(w->nregions, 0);
        }
        assert_true(failed >= 2 + 1); /* parts, record; and the database, on a worker that has not opened it yet */
    }
}

static void a_failed_part_may_come_again(void **state)
{
    struct world *w = *state;

    fill(value, sizeof(value), 5);
    ns_create(w, "n");
    assert_int_equal(part(w, 0, REGION), 0);
    w->calls = 0;
    w->fail_at = 1;
    w->fail_rc = CAIRN_E_NOSPACE;
    assert_int_equal(part(w, 1, 10), CAIRN_E_NOSPACE);
    w->fail_at = 0;
    assert_int_equal(part(w, 1, 10), 0);
    assert_int_equal(commit(w, 2, REGION + 10), 0);
    expect_stored(w, REGION + 10);
}

/* A KV provider that has no time or no room in its queue does nothing, and a COMMIT that is told so may come again. */
static void a_commit_at_the_wrong_moment_may_come_again(void **state)
{
    static const int passing[] = { CAIRN_E_BUSY, CAIRN_E_TIMEOUT, CAIRN_E_CANCELED };
    struct world *w = *state;

    fill(value, sizeof(value), 6);
    ns_create(w, "n");
    for (size_t i = 0; i < ARRAY_SIZE(passing); i++) {
        assert_int_equal(part(w, 0, REGION), 0);
        assert_int_equal(part(w, 1, 10), 0);
        w->calls = 0;
        w->fail_at = 1;
        w->fail_rc = passing[i];
        assert_int_equal(commit(w, 2, REGION + 10), passing[i]);
        w->fail_at = 0;
        assert_int_equal(router_of(w)->uploads.n, 1);
        assert_int_equal(commit(w, 2, REGION + 10), 0);
        expect_stored(w, REGION + 10);
        expect_no_orphans(w);
    }
    assert_int_equal(part(w, 0, REGION), 0);
    w->calls = 0;
    w->fail_at = 1;
    w->fail_rc = CAIRN_E_NOSPACE; /* is remembered as the answer, so nobody would come again */
    assert_int_equal(commit(w, 1, REGION), CAIRN_E_NOSPACE);
    w->fail_at = 0;
    assert_int_equal(router_of(w)->uploads.n, 0);
    expect_no_orphans(w);
}

/* An ABORT that finds a COMMIT under way, whose client has given up: if that fails nobody comes again, and the parts
 * go. */
static void aborted_amid_a_commit_that_fails(void **state)
{
    struct world *w = *state;
    bool met = false;

    ns_create(w, "n");
    for (uint64_t seed = 1; seed <= 20 || !met; seed++) {
        Cairn__Wire__RouterCommit m = CAIRN__WIRE__ROUTER_COMMIT__INIT;
        struct answer a;
        int rc;

        assert_true(seed < 1000);
        assert_int_equal(part(w, 0, REGION), 0);
        w->seed = seed;
        w->calls = 0;
        w->fail_at = 1;
        w->fail_rc = CAIRN_E_CANCELED;
        m.ns = (char *)(uintptr_t)"n";
        m.key = key_of("k");
        m.upload = UPLOAD;
        m.parts = 1;
        m.length = REGION;
        ask_start(w, 0, &a, &root, CAIRN__WIRE__ROUTER_METHOD__ROUTER_COMMIT, &m.base, NULL, 0);
        rc = abort_as(w, &root, "n");
        assert_true(rc == 0 || rc == CAIRN_E_STATE);
        met |= rc == CAIRN_E_STATE;
        assert_int_equal(ask_wait(w, &a), rc == 0 ? CAIRN_E_NOTFOUND : CAIRN_E_CANCELED);
        answer_free(&a);
        w->fail_at = 0;
        for (int turns = 0; w->nregions > 0 || router_of(w)->uploads.n > 0; turns++) {
            assert_true(turns < 10000);
            world_turn(w);
        }
    }
    expect_no_orphans(w);
}

static void after_a_crash_they_are_gone(void **state)
{
    struct world *w = *state;

    ns_create(w, "n");
    for (int clean = 0; clean < 2; clean++) {
        assert_int_equal(part(w, 0, REGION), 0);
        assert_int_equal(part(w, 1, REGION), 0);
        if (clean) /* even then: the next start looks for them */
            world_stop(w);
        else
            world_crash(w);
        world_start(w);
        wait_sweep(w);
        assert_int_equal(commit(w, 2, 2 * REGION), CAIRN_E_NOTFOUND);
        assert_int_equal(w->nregions, 0);
    }
}

/* The sweeper runs while parts come in and are committed: it takes none of them. */
static void the_sweeper_leaves_them(void **state)
{
    struct world *w = *state;

    fill(value, sizeof(value), 6);
    ns_create(w, "n");
    assert_int_equal(put(w, "n", "other", value, 2000), 0);
    for (uint32_t when = 0; when < 40; when++) {
        uint32_t id = router_ns_find(&router_of(w)->workers[0], "n")->id;
        bool swept;

        world_crash(w);
        for (int i = 0; i < 20; i++)
            region_add(w, value, 10, CAIRN_REGION_OWNER_TAG | id);
        w->seed = when;
        world_start(w);
        for (uint32_t turns = 0; turns < when; turns++)
            world_turn(w);
        assert_int_equal(part(w, 0, REGION), 0);
        swept = when % 2 == 0;
        if (swept)
            wait_sweep(w);
        assert_int_equal(part(w, 1, REGION), 0);
        assert_int_equal(commit(w, 2, 2 * REGION), 0);
        wait_sweep(w);
        expect_stored(w, 2 * REGION);
    }
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
            regions[i] = (struct cairn_record_region){
                .id = region_add(w, NULL, CAIRN_PART_BYTES, CAIRN_REGION_OWNER_TAG), .len = CAIRN_PART_BYTES
            };
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
        CASE(every_call_fails),
        CASE(a_failed_part_may_come_again),
        CASE(a_commit_at_the_wrong_moment_may_come_again),
        CASE(aborted_amid_a_commit_that_fails),
        CASE(after_a_crash_they_are_gone),
        CASE(the_sweeper_leaves_them),
        CASE(stamps),
        CASE(one_tebibyte),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
