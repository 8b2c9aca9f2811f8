/* Values that go by parts and come by ranges, against a node in this process. */
#include "tests/unit/sdk/large_fixture.h"

static void sizes_around_parts(void **state)
{
    static const size_t sizes[] = { PART - 1, PART, PART + 1, 2 * PART, 4 * PART + 1, 9 * PART - 1, 33 * PART + 77 };
    struct fixture *fx = *state;

    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        uint8_t *value = pattern(sizes[i], (unsigned)i);
        struct outcome done = { 0 };

        assert_int_equal(cairn_put(fx->ns, "k", 1, value, sizes[i], &fx->o), 0);
        expect(fx, "k", value, sizes[i]);
        value[sizes[i] / 2] ^= 1;
        assert_int_equal(cairn_put_async(fx->ns, "k", 1, value, sizes[i], &fx->o, on_done, &done), 0);
        while (!done.over)
            assert_true(cairn_poll(fx->c, -1) >= 0);
        assert_int_equal(done.rc, 0);
        expect(fx, "k", value, sizes[i]);
        assert_int_equal(cairn_inflight(fx->c), 0);
        free(value);
    }
    expect_no_uploads(fx);
}

static void batches_with_large_values(void **state)
{
    struct fixture *fx = *state;
    uint8_t *value = pattern(7 * PART, 3);
    struct cairn_put_item puts[] = { { "a", 1, value, 10, 1 },
                                     { "b", 1, value, 7 * PART, 1 },
                                     { "c", 1, value, 5 * PART + 1, 1 },
                                     { "d", 1, value, 100000, 1 } };
    struct cairn_get_item gets[4];

    assert_int_equal(cairn_mput(fx->ns, puts, 4, &fx->o), 0);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(puts[i].status, 0);
        gets[i] = (struct cairn_get_item){
            .key = puts[i].key, .key_len = 1, .value = malloc(7 * PART), .room = i == 2 ? 5 * PART : 7 * PART
        };
    }
    assert_int_equal(cairn_mget(fx->ns, gets, 4, &fx->o), 0);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(gets[i].status, i == 2 ? CAIRN_E_TOOBIG : 0);
        assert_int_equal(gets[i].value_len, puts[i].value_len);
        if (i != 2)
            assert_memory_equal(gets[i].value, value, puts[i].value_len);
        free(gets[i].value);
    }
    free(value);
}

static void only_if_absent(void **state)
{
    struct fixture *fx = *state;
    uint8_t *value = pattern(5 * PART, 3);
    struct cairn_writer *w;
    struct cairn_ns *once;

    fx->o.flags = CAIRN_IF_ABSENT;
    assert_int_equal(cairn_put(fx->ns, "k", 1, value, 5 * PART, &fx->o), 0);
    assert_int_equal(cairn_put(fx->ns, "k", 1, value, 4 * PART, &fx->o), CAIRN_E_EXISTS);
    assert_int_equal(fx->error.code, CAIRN_E_EXISTS);
    assert_int_equal(cairn_writer_open(fx->ns, "k", 1, 0, &fx->o, &w), 0);
    assert_int_equal(cairn_writer_write(w, value, 4 * PART), 0);
    assert_int_equal(cairn_writer_commit(w), CAIRN_E_EXISTS);
    fx->o.flags = 0;
    expect(fx, "k", value, 5 * PART);
    assert_int_equal(cairn_ns_open(fx->c, "once", &once, NULL), 0);
    once->part_bytes = PART;
    assert_int_equal(cairn_put(once, "k", 1, value, 5 * PART, &fx->o), 0);
    assert_int_equal(cairn_put(once, "k", 1, value, 5 * PART, &fx->o), CAIRN_E_EXISTS);
    cairn_ns_close(once);
    expect_no_uploads(fx);
    free(value);
}

static void canceled_and_out_of_time(void **state)
{
    struct fixture *fx = *state;
    size_t n = 64 * PART;
    uint8_t *value = pattern(n, 3);
    bool exists;

    for (int polls = 0; polls < 40; polls += 3) {
        struct outcome done = { 0 };
        uint64_t number;

        fx->o.call = &number;
        assert_int_equal(cairn_put_async(fx->ns, "k", 1, value, n, &fx->o, on_done, &done), 0);
        for (int i = 0; i < polls && !done.over; i++)
            cairn_poll(fx->c, 0);
        assert_int_equal(cairn_cancel(fx->c, number), 0);
        assert_int_equal(cairn_drain(fx->c, -1), 0);
        assert_true(done.over);
        assert_true(done.rc == CAIRN_E_CANCELED || done.rc == 0);
        expect_no_uploads(fx);
        assert_int_equal(cairn_delete(fx->ns, "k", 1, NULL), 0); /* a COMMIT that was sent may have been obeyed */
    }
    fx->o.call = NULL;
    fx->o.timeout_ms = 1;
    cairn_put(fx->ns, "k", 1, value, n, &fx->o);
    expect_no_uploads(fx);
    fx->o.timeout_ms = 0;
    assert_int_equal(cairn_exists(fx->ns, "k", 1, &exists, NULL), 0);
    if (exists)
        expect(fx, "k", value, n);
    /* With calls in flight the client may go away: the node takes care of what it sent. */
    assert_int_equal(cairn_put_async(fx->ns, "k", 1, value, n, NULL, on_done, &(struct outcome){ 0 }), 0);
    cairn_poll(fx->c, 0);
    cairn_ns_close(fx->ns);
    cairn_close(fx->c);
    connect_to(fx, "unix:", &fx->c, &fx->ns);
    free(value);
}

static void written_piece_by_piece(void **state)
{
    static const size_t lengths[] = { 0, 5, PART / 16, PART / 16 + 1, 3 * PART + 1, 20 * PART };
    static const size_t pieces[] = { 1000, 65536, 3 * MIB };
    struct fixture *fx = *state;
    struct cairn_writer *w;

    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        for (size_t j = 0; j < sizeof(pieces) / sizeof(pieces[0]); j++) {
            uint8_t *value = pattern(lengths[i], (unsigned)(i + j));

            assert_int_equal(cairn_writer_open(fx->ns, "k", 1, j == 1 ? lengths[i] : 0, &fx->o, &w), 0);
            for (size_t at = 0; at < lengths[i]; at += pieces[j])
                assert_int_equal(cairn_writer_write(w, value + at, MIN(pieces[j], lengths[i] - at)), 0);
            assert_int_equal(cairn_writer_commit(w), 0);
            expect(fx, "k", value, lengths[i]);
            free(value);
        }
    }
    assert_int_equal(cairn_delete(fx->ns, "k", 1, NULL), 0);
    assert_int_equal(cairn_writer_open(fx->ns, "k", 1, 0, &fx->o, &w), 0);
    assert_int_equal(cairn_writer_write(w, lengths, sizeof(lengths)), 0);
    cairn_writer_abort(w);
    {
        uint8_t *value = pattern(9 * PART, 1);
        bool exists;

        assert_int_equal(cairn_writer_open(fx->ns, "k", 1, 0, &fx->o, &w), 0);
        assert_int_equal(cairn_writer_write(w, value, 9 * PART), 0);
        cairn_writer_abort(w);
        assert_int_equal(cairn_exists(fx->ns, "k", 1, &exists, NULL), 0);
        assert_false(exists);
        free(value);
    }
    cairn_writer_abort(NULL);
    assert_int_equal(cairn_writer_open(fx->ns, "k", 0, 0, &fx->o, &w), CAIRN_E_INVAL);
    assert_int_equal(cairn_writer_open(fx->ns, "k", 1, CAIRN_VALUE_BYTES_MAX + 1, &fx->o, &w), CAIRN_E_TOOBIG);
    expect_no_uploads(fx);
}

static void read_piece_by_piece(void **state)
{
    struct fixture *fx = *state;
    static const size_t lengths[] = { 0, 10, 40000, 3 * PART + 17 };
    uint8_t buf[70000];
    struct cairn_reader *r;
    uint64_t total;
    size_t len;

    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        uint8_t *value = pattern(lengths[i], 5);
        size_t at = MIN(lengths[i], (size_t)3);

        assert_int_equal(cairn_put(fx->ns, "k", 1, value, lengths[i], &fx->o), 0);
        assert_int_equal(cairn_reader_open(fx->ns, "k", 1, at, &fx->o, &r), 0);
        do {
            assert_int_equal(cairn_reader_read(r, buf, sizeof(buf), &len, &total), 0);
            assert_int_equal(total, lengths[i]);
            assert_memory_equal(buf, value + at, len);
            at += len;
        } while (len > 0);
        assert_int_equal(at, lengths[i]);
        cairn_reader_close(r);
        if (lengths[i] > 5) { /* replaced by one of the same length, between two pieces */
            assert_int_equal(cairn_reader_open(fx->ns, "k", 1, 0, &fx->o, &r), 0);
            assert_int_equal(cairn_reader_read(r, buf, 5, &len, &total), 0);
            value[0] ^= 1;
            assert_int_equal(cairn_put(fx->ns, "k", 1, value, lengths[i], &fx->o), 0);
            assert_int_equal(cairn_reader_read(r, buf, 5, &len, &total), CAIRN_E_BUSY);
            assert_non_null(strstr(fx->error.text, "replaced"));
            cairn_reader_close(r);
        }
        free(value);
    }
}

/* One client replaces the value again and again while another one reads it: what comes is one value, or BUSY. */
static void never_a_mixture(void **state)
{
    enum { N = 24 * PART };
    struct fixture *fx = *state;
    uint8_t *values[2] = { malloc(N), malloc(N) }, *back = malloc(N);
    uint32_t good = 0, puts = 0;
    struct outcome put = { true, 0 }, got = { true, 0 };
    size_t len = 0;

    memset(values[0], 'a', N);
    memset(values[1], 'b', N);
    assert_int_equal(cairn_put(fx->ns, "k", 1, values[0], N, &fx->o), 0);
    assert_int_equal(cairn_get_async(fx->ns, "k", 1, back, N, &len, NULL, on_done, &got), 0);
    got.over = false;
    while (good < 10 || puts < 30) {
        if (put.over) {
            assert_int_equal(put.rc, 0);
            put.over = false;
            assert_int_equal(cairn_put_async(fx->other_ns, "k", 1, values[++puts % 2], N, NULL, on_done, &put), 0);
        }
        if (got.over) {
            assert_true(got.rc == 0 || got.rc == CAIRN_E_BUSY);
            if (got.rc == 0) {
                good++;
                assert_int_equal(len, N);
                assert_memory_equal(back, values[back[0] == 'b'], N);
            }
            got.over = false;
            assert_int_equal(cairn_get_async(fx->ns, "k", 1, back, N, &len, NULL, on_done, &got), 0);
        }
        cairn_poll(fx->c, 0);
        if (puts < 40) /* then it rests */
            cairn_poll(fx->other, 0);
    }
    assert_int_equal(cairn_drain(fx->other, -1), 0);
    assert_int_equal(cairn_drain(fx->c, -1), 0);
    free(values[0]);
    free(values[1]);
    free(back);
}

int main(void)
{
#define T(name)    cmocka_unit_test_setup_teardown(name, setup_unix, teardown)
#define BOTH(name) T(name), cmocka_unit_test_setup_teardown(name, setup_tcp, teardown)
    const struct CMUnitTest tests[] = {
        BOTH(sizes_around_parts),     BOTH(batches_with_large_values), T(only_if_absent),  T(canceled_and_out_of_time),
        BOTH(written_piece_by_piece), T(read_piece_by_piece),          T(never_a_mixture),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
