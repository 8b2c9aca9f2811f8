/* The contract of the provider, told to every backend alike. */
#include "tests/lib/patience.h"
#include "tests/unit/extent/extent_fixture.h"

#include <sys/mman.h>
#include <sys/syscall.h>

/* What is put is what is read, whole and in parts, inline and by bulk, for lengths around every boundary. */
static void put_and_read(void **state)
{
    static const uint64_t lens[] = { 0,
                                     1,
                                     4095,
                                     4096,
                                     4097,
                                     FX_CHUNK - 1,
                                     FX_CHUNK,
                                     FX_CHUNK + 1,
                                     3 * FX_CHUNK + 5,
                                     (1 << 20) - 1,
                                     1 << 20,
                                     (1 << 20) + 1,
                                     (2 << 20) + 4099 };
    struct fixture *fx = *state;
    uint8_t *bytes = malloc(3 << 20), *got = malloc(3 << 20);

    for (uint32_t i = 0; i < 2 * ARRAY_SIZE(lens); i++) {
        struct fx_write w = {
            .len = lens[i / 2], .bytes = bytes, .bulk = i % 2 == 1 && lens[i / 2] > 0, .durability = i % 3
        };
        uint64_t id, n;

        fx_fill(bytes, w.len, i);
        assert_int_equal(fx_put(fx, &w, &id), 0);
        assert_int_not_equal(id, 0);
        memset(got, 0xee, 3 << 20);
        assert_int_equal(fx_read(fx, id, 0, 0, got, false, false, &n), 0);
        assert_int_equal(n, w.len);
        assert_memory_equal(got, bytes, w.len);
        for (uint64_t off = 0; w.len > 0 && off < w.len; off += 1 + w.len / 3) {
            uint64_t len = MIN(w.len - off, 1 + w.len / 2);

            memset(got, 0xee, len + 1);
            assert_int_equal(fx_read(fx, id, off, len, got, w.bulk, off % 2 == 0, &n), 0);
            assert_int_equal(n, len);
            assert_memory_equal(got, bytes + off, len);
            assert_int_equal(got[len], 0xee);
        }
    }
    free(bytes);
    free(got);
}

static void reads_end_at_the_end(void **state)
{
    struct fixture *fx = *state;
    uint8_t bytes[1000], got[2000];
    struct fx_write w = { .len = sizeof(bytes), .bytes = bytes };
    uint64_t id, n;

    fx_fill(bytes, sizeof(bytes), 3);
    assert_int_equal(fx_put(fx, &w, &id), 0);
    assert_int_equal(fx_read(fx, id, 900, 500, got, false, false, &n), 0);
    assert_int_equal(n, 100);
    assert_int_equal(fx_read(fx, id, 1000, 5, got, false, false, &n), 0);
    assert_int_equal(n, 0);
    assert_int_equal(fx_read(fx, id, 1001, 5, got, false, false, &n), CAIRN_E_INVAL);
    assert_int_equal(fx_read(fx, id, UINT64_MAX, UINT64_MAX, got, false, false, &n), CAIRN_E_INVAL);
    assert_int_equal(fx_read(fx, id + 1, 0, 5, got, false, false, &n), CAIRN_E_NOTFOUND);
}

/* CREATE, WRITE in any order and size, PERSIST; what nobody wrote reads as zeros. */
static void written_piece_by_piece(void **state)
{
    enum { LEN = 2 * (1 << 20) + 3 * FX_CHUNK + 123 };
    static const struct {
        uint64_t off, len;
        bool bulk;
    } writes[] = {
        { 10, 100, false },                        /* the inside of a chunk */
        { FX_CHUNK, 2 * FX_CHUNK, true },          /* whole chunks */
        { 5 * FX_CHUNK - 7, FX_CHUNK + 20, true }, /* across edges, checksums counted from an odd offset */
        { 200, 50, false },                        /* the first chunk again */
        { LEN - 50, 50, false },                   /* the last, short chunk in part */
        { 15 * FX_CHUNK + 1, 3 * FX_CHUNK, true }, /* more than one window */
        { 1 << 20, 1 << 20, true },                /* over some of that */
        { FX_CHUNK + 5, 3, false },                /* into what was written whole */
    };
    struct fixture *fx = *state;
    uint8_t *want = calloc(1, LEN), *bytes = malloc(LEN), *got = malloc(LEN);
    Cairn__Wire__ExtentStatReply stat;
    uint64_t id, n;

    /* Something else was there before: it must not shine through. */
    memset(bytes, 0xdd, LEN);
    assert_int_equal(fx_put(fx, &(struct fx_write){ .len = LEN, .bytes = bytes, .bulk = true }, &id), 0);
    assert_int_equal(fx_remove(fx, id), 0);

    assert_int_equal(fx_create(fx, LEN, &id), 0);
    assert_int_equal(fx_read(fx, id, 0, 10, got, false, false, &n), CAIRN_E_STATE);
    assert_int_equal(fx_stat(fx, id, &stat), 0);
    assert_false(stat.sealed);
    for (uint32_t i = 0; i < ARRAY_SIZE(writes); i++) {
        struct fx_write w = {
            .id = id, .off = writes[i].off, .len = writes[i].len, .bytes = bytes, .bulk = writes[i].bulk
        };

        fx_fill(bytes, w.len, 100 + i);
        memcpy(want + w.off, bytes, w.len);
        assert_int_equal(fx_write(fx, &w), 0);
    }
    assert_int_equal(fx_persist(fx, id, CAIRN__WIRE__DURABILITY__DURABILITY_SYNC), 0);
    assert_int_equal(fx_persist(fx, id, 0), CAIRN_E_STATE);
    assert_int_equal(fx_write(fx, &(struct fx_write){ .id = id, .len = 1, .bytes = bytes }), CAIRN_E_STATE);
    assert_int_equal(fx_read(fx, id, 0, LEN, got, true, true, &n), 0);
    assert_int_equal(n, LEN);
    assert_memory_equal(got, want, LEN);
    assert_int_equal(fx_stat(fx, id, &stat), 0);
    assert_true(stat.sealed);
    assert_int_equal(stat.length, LEN);
    free(want);
    free(bytes);
    free(got);
}

/* A write whose bytes do not match stores nothing, and the region waits for it to be repeated. */
static void bad_bytes_are_refused(void **state)
{
    enum { LEN = 3 * FX_CHUNK };
    struct fixture *fx = *state;
    uint8_t *bytes = malloc(LEN), *got = malloc(LEN);
    struct fx_write w = { .len = LEN, .bytes = bytes, .bad_crc = true };
    struct fx_call c = { 0 };
    uint64_t id, n;

    fx_fill(bytes, LEN, 1);
    for (int bulk = 0; bulk < 2; bulk++) {
        w.bulk = bulk;
        assert_int_equal(fx_put(fx, &w, &id), CAIRN_E_CORRUPT);
    }
    assert_int_equal(fx_list(fx, &c, 0, 10, 0, false), 0);
    assert_int_equal(c.nids, 0);
    assert_int_equal(atomic_load(&fx_store(fx)->arrived_bad), 2);

    assert_int_equal(fx_create(fx, LEN, &id), 0);
    w = (struct fx_write){ .id = id, .off = 100, .len = LEN - 100, .bytes = bytes, .bad_crc = true };
    assert_int_equal(fx_write(fx, &w), CAIRN_E_CORRUPT);
    assert_int_equal(fx_persist(fx, id, 0), CAIRN_E_STATE);
    assert_non_null(strstr(fx->err.text, "failed and was not repeated"));
    w.bad_crc = false;
    assert_int_equal(fx_write(fx, &w), 0);
    assert_int_equal(fx_persist(fx, id, 0), 0);
    assert_int_equal(fx_read(fx, id, 100, LEN - 100, got, true, true, &n), 0);
    assert_memory_equal(got, bytes, LEN - 100);
    free(bytes);
    free(got);
}

static void nonsense_is_refused(void **state)
{
    struct fixture *fx = *state;
    Cairn__Wire__ExtentPut put = CAIRN__WIRE__EXTENT_PUT__INIT;
    Cairn__Wire__ExtentWrite write = CAIRN__WIRE__EXTENT_WRITE__INIT;
    Cairn__Wire__ExtentRemove removal = CAIRN__WIRE__EXTENT_REMOVE__INIT;
    Cairn__Wire__BulkDesc desc = CAIRN__WIRE__BULK_DESC__INIT;
    uint32_t crcs[2] = { 0, 0 };
    uint8_t byte = 0;
    struct fx_call c = { 0 };
    uint64_t id;

    put.length = 1; /* no checksum */
    assert_int_equal(fx_call(fx, &c, CAIRN__WIRE__EXTENT_METHOD__EXTENT_PUT, &put.base, &byte, 1), CAIRN_E_INVAL);
    put.n_crcs = 2; /* one too many */
    put.crcs = crcs;
    assert_int_equal(fx_call(fx, &c, CAIRN__WIRE__EXTENT_METHOD__EXTENT_PUT, &put.base, &byte, 1), CAIRN_E_INVAL);
    put.n_crcs = 1; /* two bytes announced, one came */
    put.length = 2;
    assert_int_equal(fx_call(fx, &c, CAIRN__WIRE__EXTENT_METHOD__EXTENT_PUT, &put.base, &byte, 1), CAIRN_E_INVAL);
    put.length = CAIRN_EXTENT_BYTES_MAX + 1;
    assert_int_equal(fx_call(fx, &c, CAIRN__WIRE__EXTENT_METHOD__EXTENT_PUT, &put.base, NULL, 0), CAIRN_E_TOOBIG);
    put.length = 2; /* memory that is too short, or named with an offset beyond it */
    put.bulk = &desc;
    desc.len = 1;
    assert_int_equal(fx_call(fx, &c, CAIRN__WIRE__EXTENT_METHOD__EXTENT_PUT, &put.base, NULL, 0), CAIRN_E_INVAL);
    desc.len = 4;
    desc.off = 3;
    assert_int_equal(fx_call(fx, &c, CAIRN__WIRE__EXTENT_METHOD__EXTENT_PUT, &put.base, NULL, 0), CAIRN_E_INVAL);
    desc.off = UINT64_MAX;
    assert_int_equal(fx_call(fx, &c, CAIRN__WIRE__EXTENT_METHOD__EXTENT_PUT, &put.base, NULL, 0), CAIRN_E_INVAL);
    desc.off = 0; /* memory that nobody exposed */
    assert_int_equal(fx_call(fx, &c, CAIRN__WIRE__EXTENT_METHOD__EXTENT_PUT, &put.base, NULL, 0), CAIRN_E_FAULT);
    assert_int_equal(fx_create(fx, 100, &id), 0);
    write.id = id;
    write.off = 100;
    write.length = 1;
    write.n_crcs = 1;
    write.crcs = crcs;
    assert_int_equal(fx_call(fx, &c, CAIRN__WIRE__EXTENT_METHOD__EXTENT_WRITE, &write.base, &byte, 1), CAIRN_E_INVAL);
    write.off = UINT64_MAX;
    assert_int_equal(fx_call(fx, &c, CAIRN__WIRE__EXTENT_METHOD__EXTENT_WRITE, &write.base, &byte, 1), CAIRN_E_INVAL);
    assert_int_equal(fx_persist(fx, id + 1, 0), CAIRN_E_NOTFOUND);
    assert_int_equal(fx_persist(fx, id, 99), CAIRN_E_INVAL); /* no durability, and none that is weaker instead */
    removal.n_ids = 1;
    removal.ids = &id;
    removal.durability = 99;
    assert_int_equal(fx_call(fx, &c, CAIRN__WIRE__EXTENT_METHOD__EXTENT_REMOVE, &removal.base, NULL, 0), CAIRN_E_INVAL);
    put = (Cairn__Wire__ExtentPut)CAIRN__WIRE__EXTENT_PUT__INIT;
    put.length = put.n_crcs = 1;
    put.crcs = crcs;
    put.durability = 99;
    assert_int_equal(fx_call(fx, &c, CAIRN__WIRE__EXTENT_METHOD__EXTENT_PUT, &put.base, &byte, 1), CAIRN_E_INVAL);
    assert_non_null(strstr(fx->err.text, "durability 99"));
    assert_int_equal(fx_create(fx, 0, &id), CAIRN_E_INVAL);
    assert_int_equal(fx_create(fx, CAIRN_EXTENT_BYTES_MAX + 1, &id), CAIRN_E_TOOBIG);
}

/* Which thread gives memory back to the system: this stands before the C library's. */
static _Thread_local uint64_t unmapped_here;

int munmap(void *p, size_t n)
{
    unmapped_here += n;
    return (int)syscall(SYS_munmap, p, n);
}

/* To take memory apart keeps the kernel busy: a loop does not wait for it. */
static void memory_is_given_back_on_the_pool(void **state)
{
    enum { LEN = 100 << 20, SMALL = 30 << 20, N = 8 };
    struct fixture *fx = *state;
    uint64_t ids[N];
    json_t *status = json_object();

    fx_store(fx)->conf.free_cache = 0;
    for (int i = 0; i < N; i++) { /* some in arenas, some in memory of their own */
        assert_int_equal(fx_create(fx, i % 2 == 0 ? LEN : SMALL, &ids[i]), 0);
        assert_int_equal(fx_persist(fx, ids[i], 0), 0);
    }
    unmapped_here = 0;
    for (int i = 0; i < N; i++)
        assert_int_equal(fx_remove(fx, ids[i]), 0);
    WHILE_PATIENT (fx_store(fx)->ops->is_busy(fx_store(fx)))
        cairn_loop_turn(&fx->loop, CAIRN_NS_PER_S);
    assert_in_range(unmapped_here, 0, 1 << 20);
    fx_store(fx)->ops->status(fx_store(fx), status);
    assert_int_equal(json_integer_value(json_object_get(status, "memory_taken_bytes")), 0);
    json_decref(status);
}

static void removed_regions_are_gone(void **state)
{
    enum { N = 40 };
    struct fixture *fx = *state;
    uint8_t *bytes = malloc(100000);
    uint64_t ids[N + 2], n, used, avail, used_before;
    Cairn__Wire__ExtentRemove msg = CAIRN__WIRE__EXTENT_REMOVE__INIT;
    struct fx_call c = { 0 };

    fx_fill(bytes, 100000, 9);
    fx_store(fx)->ops->usage(fx_store(fx), &used_before, &avail);
    for (int i = 0; i < N; i++)
        assert_int_equal(
            fx_put(fx, &(struct fx_write){ .len = 100000, .bytes = bytes, .owner = (uint64_t)(1 + i % 2) }, &ids[i]),
            0);
    assert_int_equal(fx_list(fx, &c, 0, 0, 2, false), 0);
    assert_int_equal(c.nids, N / 2);
    ids[N] = ids[0]; /* twice in one call, and one that never was */
    ids[N + 1] = 12345;
    msg.ids = ids;
    msg.n_ids = N + 2;
    assert_int_equal(fx_call(fx, &c, CAIRN__WIRE__EXTENT_METHOD__EXTENT_REMOVE, &msg.base, NULL, 0), 0);
    for (int i = 0; i < N; i++)
        assert_int_equal(c.statuses[i], 0);
    assert_int_equal(c.statuses[N], CAIRN_E_NOTFOUND);
    assert_int_equal(c.statuses[N + 1], CAIRN_E_NOTFOUND);
    assert_int_equal(fx_read(fx, ids[3], 0, 10, bytes, false, false, &n), CAIRN_E_NOTFOUND);
    assert_int_equal(fx_list(fx, &c, 0, 0, 0, false), 0);
    assert_int_equal(c.nids, 0);
    /* The space comes back: no more is in use after the same again and again. */
    for (int i = 0; i < 3 * N; i++) {
        uint64_t id;

        assert_int_equal(fx_put(fx, &(struct fx_write){ .len = 100000, .bytes = bytes, .durability = 1 }, &id), 0);
        assert_int_equal(fx_remove(fx, id), 0);
    }
    assert_int_equal(fx_put(fx, &(struct fx_write){ .len = 10, .bytes = bytes, .durability = 1 }, &ids[0]), 0);
    WHILE_PATIENT (fx_store(fx)->ops->is_busy != NULL && fx_store(fx)->ops->is_busy(fx_store(fx)))
        cairn_loop_turn(&fx->loop, CAIRN_NS_PER_MS);
    fx_store(fx)->ops->usage(fx_store(fx), &used, &avail);
    assert_true(used - used_before < 3 * 100000);
    free(bytes);
}

/* A region that is removed while it is read is read to its end. */
static void readers_finish_after_a_removal(void **state)
{
    enum { LEN = 3 << 20 };
    struct fixture *fx = *state;
    uint8_t *bytes = malloc(LEN), *got = malloc(LEN), *other = malloc(LEN);
    Cairn__Wire__ExtentRead msg = CAIRN__WIRE__EXTENT_READ__INIT;
    struct cairn_bulk_region exposed;
    struct fx_call c = { 0 };
    uint64_t id;

    fx_fill(bytes, LEN, 5);
    memset(other, 0x11, LEN);
    assert_int_equal(fx_put(fx, &(struct fx_write){ .len = LEN, .bytes = bytes, .bulk = true, .durability = 1 }, &id),
                     0);
    assert_int_equal(cairn_bulk_expose(fx->rpc, got, LEN, CAIRN_BULK_CAN_WRITE, &exposed), 0);
    msg.id = id;
    msg.bulk = &exposed.desc;
    fx_start(fx, &c, CAIRN__WIRE__EXTENT_METHOD__EXTENT_READ, &msg.base, NULL, 0);
    assert_int_equal(fx_remove(fx, id), 0);
    for (int i = 0; i < 3; i++) /* would take its space if it were free */
        assert_int_equal(
            fx_put(fx, &(struct fx_write){ .len = LEN, .bytes = other, .bulk = true, .durability = 1 }, &id), 0);
    fx_wait(fx, &c);
    cairn_bulk_conceal(&exposed);
    if (c.call.rc == 0)
        assert_memory_equal(got, bytes, LEN);
    else
        assert_int_equal(c.call.rc, CAIRN_E_NOTFOUND); /* the removal was first */
    free(bytes);
    free(got);
    free(other);
}

/* Two writes into halves of one chunk, started together, are both there. */
static void writes_of_one_chunk_take_turns(void **state)
{
    struct fixture *fx = *state;
    Cairn__Wire__ExtentWrite msgs[8];
    struct fx_call calls[8];
    uint8_t bytes[8][1000], got[8000];
    uint32_t crcs[8];
    uint64_t id, n;

    memset(calls, 0, sizeof(calls));
    assert_int_equal(fx_create(fx, 8000, &id), 0);
    for (uint32_t i = 0; i < 8; i++) {
        fx_fill(bytes[i], 1000, i);
        crcs[i] = cairn_crc32c(0, bytes[i], 1000);
        cairn__wire__extent_write__init(&msgs[i]);
        msgs[i].id = id;
        msgs[i].off = 1000 * i;
        msgs[i].length = 1000;
        msgs[i].n_crcs = 1;
        msgs[i].crcs = &crcs[i];
        fx_start(fx, &calls[i], CAIRN__WIRE__EXTENT_METHOD__EXTENT_WRITE, &msgs[i].base, bytes[i], 1000);
    }
    for (uint32_t i = 0; i < 8; i++)
        assert_int_equal(fx_wait(fx, &calls[i]), 0);
    assert_int_equal(fx_persist(fx, id, 0), 0);
    assert_int_equal(fx_read(fx, id, 0, 8000, got, false, true, &n), 0);
    assert_memory_equal(got, bytes, 8000);
}

static void unfinished_regions_are_bounded_and_expire(void **state)
{
    struct fixture *fx = *state;
    struct cairn_extent_store *s = fx_store(fx);
    uint64_t id, first = 0;

    for (uint32_t i = 0; i < s->conf.drafts_max; i++)
        assert_int_equal(fx_create(fx, 5000, i == 0 ? &first : &id), 0);
    assert_int_equal(fx_create(fx, 5000, &id), CAIRN_E_LIMIT);
    fx->who = (struct cairn_identity){ .uid = 4242, .admin = true };
    assert_int_equal(fx_remove(fx, first), 0);
    assert_int_equal(fx_create(fx, 5000, &id), 0);
    cairn_extent_draft_expire(s, cairn_loop_now(&fx->loop) + s->conf.draft_ttl_ns);
    assert_int_equal(s->ndrafts, 0);
    assert_int_equal(atomic_load(&s->drafts_expired), s->conf.drafts_max);
    assert_int_equal(fx_persist(fx, id, 0), CAIRN_E_NOTFOUND);
}

/* Many at a time, of all sizes, each read back; more than staging memory holds. */
static void many_at_a_time(void **state)
{
    enum { N = 48, LEN = 1 << 20 };
    struct fixture *fx = *state;
    uint8_t *bytes = malloc(LEN), *got = malloc(LEN);
    Cairn__Wire__ExtentPut msg = CAIRN__WIRE__EXTENT_PUT__INIT;
    struct fx_call *calls = calloc(N, sizeof(*calls));
    struct cairn_bulk_region exposed;
    uint32_t crcs[LEN / FX_CHUNK];
    uint64_t n;

    fx_fill(bytes, LEN, 77);
    cairn_extent_crcs(bytes, LEN, crcs);
    assert_int_equal(cairn_bulk_expose(fx->rpc, bytes, LEN, CAIRN_BULK_CAN_READ, &exposed), 0);
    msg.length = LEN;
    msg.n_crcs = LEN / FX_CHUNK;
    msg.crcs = crcs;
    msg.bulk = &exposed.desc;
    msg.durability = CAIRN__WIRE__DURABILITY__DURABILITY_SYNC;
    for (int i = 0; i < N; i++)
        fx_start(fx, &calls[i], CAIRN__WIRE__EXTENT_METHOD__EXTENT_PUT, &msg.base, NULL, 0);
    for (int i = 0; i < N; i++)
        assert_int_equal(fx_wait(fx, &calls[i]), 0);
    cairn_bulk_conceal(&exposed);
    for (int i = 0; i < N; i++) {
        assert_int_equal(fx_read(fx, calls[i].id, 0, LEN, got, true, false, &n), 0);
        assert_memory_equal(got, bytes, LEN);
    }
    free(bytes);
    free(got);
    free(calls);
}

/* The caller gives up: the answer says so, and nothing is left behind. */
static void canceled_puts_leave_nothing(void **state)
{
    enum { LEN = 8 << 20 };
    struct fixture *fx = *state;
    uint8_t *bytes = calloc(1, LEN);
    uint32_t crcs[LEN / FX_CHUNK];
    Cairn__Wire__ExtentPut msg = CAIRN__WIRE__EXTENT_PUT__INIT;
    struct cairn_bulk_region exposed;
    struct fx_call c = { 0 }, list = { 0 };

    cairn_extent_crcs(bytes, LEN, crcs);
    assert_int_equal(cairn_bulk_expose(fx->rpc, bytes, LEN, CAIRN_BULK_CAN_READ, &exposed), 0);
    msg.length = LEN;
    msg.n_crcs = LEN / FX_CHUNK;
    msg.crcs = crcs;
    msg.bulk = &exposed.desc;
    for (int turns = 0; turns < 6; turns++) {
        fx_start(fx, &c, CAIRN__WIRE__EXTENT_METHOD__EXTENT_PUT, &msg.base, NULL, 0);
        for (int i = 0; i < turns && !c.over; i++)
            cairn_loop_turn(&fx->loop, 0);
        cairn_rpc_call_cancel(&c.call);
        fx_wait(fx, &c);
        if (c.call.rc == 0)
            assert_int_equal(fx_remove(fx, c.id), 0); /* it was quicker */
        else
            assert_int_equal(c.call.rc, CAIRN_E_CANCELED);
    }
    cairn_bulk_conceal(&exposed);
    assert_int_equal(fx_list(fx, &list, 0, 10, 0, false), 0);
    assert_int_equal(list.nids, 0);
    free(bytes);
}

#define ALL(f) ON(f, memory), ON(f, file), ON(f, pool), ON(f, pmem)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ALL(put_and_read),
        ALL(reads_end_at_the_end),
        ALL(written_piece_by_piece),
        ALL(bad_bytes_are_refused),
        ALL(nonsense_is_refused),
        ALL(removed_regions_are_gone),
        ON(memory_is_given_back_on_the_pool, memory),
        ALL(readers_finish_after_a_removal),
        ALL(writes_of_one_chunk_take_turns),
        ALL(unfinished_regions_are_bounded_and_expire),
        ALL(many_at_a_time),
        ALL(canceled_puts_leave_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
