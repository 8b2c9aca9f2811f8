/* Readers and writers whose steps do not wait: see cairn/hashed.h. */
#include "tests/unit/sdk/large_fixture.h"

/* A writer whose steps are started by callbacks of the steps before them; it keeps the value that it is to write. */
struct copier {
    struct cairn_writer *w;
    const uint8_t *value;
    size_t len, at, piece;
    struct outcome outcome;
};

static void copier_on_step(void *arg, int rc)
{
    struct copier *x = arg;
    size_t at = x->at, n = MIN(x->piece, x->len - at);

    if (rc != 0) {
        x->outcome = (struct outcome){ true, rc };
        return;
    }
    x->at += n;
    if (n == 0)
        assert_int_equal(cairn_writer_commit_async(x->w, on_done, &x->outcome), 0);
    else
        assert_int_equal(cairn_writer_write_async(x->w, x->value + at, n, copier_on_step, x), 0);
}

static void written_without_waiting(void **state)
{
    static const size_t lengths[] = { 0, 5, PART / 16, PART / 16 + 1, 3 * PART + 1, 90 * PART };
    static const size_t pieces[] = { 20000, 11 * MIB };
    struct fixture *fx = *state;

    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        for (size_t j = 0; j < sizeof(pieces) / sizeof(pieces[0]); j++) {
            struct copier x = { .len = lengths[i], .piece = pieces[j] };
            uint8_t *value = pattern(lengths[i], (unsigned)(i + j));

            x.value = value;
            assert_int_equal(cairn_writer_open(fx->ns, "k", 1, 0, &fx->o, &x.w), 0);
            copier_on_step(&x, 0);
            assert_int_equal(cairn_drain(fx->c, -1), 0);
            assert_true(x.outcome.over);
            assert_int_equal(x.outcome.rc, 0);
            expect(fx, "k", value, lengths[i]);
            free(value);
        }
    }
    expect_no_uploads(fx);
}

/* Steps that wait and steps that do not, in turn; a second one during the first is refused. */
static void steps_of_both_kinds(void **state)
{
    enum { N = 30 * PART };
    struct fixture *fx = *state;
    struct outcome o = { 0 }, other = { 0 };
    uint8_t *value = pattern(N, 3);
    struct cairn_writer *w;

    assert_int_equal(cairn_writer_open(fx->ns, "k", 1, 0, &fx->o, &w), 0);
    assert_int_equal(cairn_writer_write(w, value, 5 * PART), 0);
    assert_int_equal(cairn_writer_write_async(w, value + 5 * PART, 20 * PART, on_done, &o), 0);
    assert_false(o.over);
    assert_int_equal(cairn_writer_write_async(w, value, 1, on_done, &other), CAIRN_E_STATE);
    assert_int_equal(cairn_writer_write(w, value, 1), CAIRN_E_STATE);
    assert_int_equal(cairn_writer_commit(w), CAIRN_E_STATE);
    assert_int_equal(cairn_writer_abort_async(w, on_done, &other), CAIRN_E_STATE);
    assert_int_equal(cairn_writer_write_async(w, value, 1, NULL, NULL), CAIRN_E_INVAL);
    assert_int_equal(cairn_drain(fx->c, -1), 0);
    assert_true(o.over && o.rc == 0 && !other.over);
    assert_int_equal(cairn_writer_write(w, value + 25 * PART, 5 * PART), 0);
    assert_int_equal(cairn_writer_commit(w), 0);
    expect(fx, "k", value, N);
    free(value);
}

/* A commit that the node refuses, an abort, and calls that are canceled: the callback says so and nothing stays. */
static void writers_that_fail_without_waiting(void **state)
{
    enum { N = 40 * PART };
    struct fixture *fx = *state;
    uint8_t *value = pattern(N, 4);
    struct cairn_writer *w;
    struct outcome o = { 0 };
    bool exists;

    assert_int_equal(cairn_put(fx->ns, "k", 1, "old", 3, NULL), 0);
    fx->o.flags = CAIRN_IF_ABSENT;
    assert_int_equal(cairn_writer_open(fx->ns, "k", 1, 0, &fx->o, &w), 0);
    assert_int_equal(cairn_writer_write(w, value, N), 0);
    assert_int_equal(cairn_writer_commit_async(w, on_done, &o), 0);
    assert_int_equal(cairn_drain(fx->c, -1), 0);
    assert_true(o.over);
    assert_int_equal(o.rc, CAIRN_E_EXISTS);
    assert_int_equal(fx->error.code, CAIRN_E_EXISTS);
    fx->o.flags = 0;
    expect(fx, "k", (const uint8_t *)"old", 3);

    o.over = false;
    assert_int_equal(cairn_writer_open(fx->ns, "new", 3, 0, &fx->o, &w), 0);
    assert_int_equal(cairn_writer_write(w, value, N), 0);
    assert_int_equal(cairn_writer_abort_async(w, on_done, &o), 0);
    assert_int_equal(cairn_drain(fx->c, -1), 0);
    assert_true(o.over && o.rc == 0);

    o.over = false;
    assert_int_equal(cairn_writer_open(fx->ns, "new", 3, 0, &fx->o, &w), 0);
    assert_int_equal(cairn_writer_write_async(w, value, N, on_done, &o), 0);
    cairn_poll(fx->c, 0);
    assert_int_equal(cairn_cancel_all(fx->c), 0);
    assert_int_equal(cairn_drain(fx->c, -1), 0);
    assert_true(o.over);
    assert_int_equal(o.rc, CAIRN_E_CANCELED);
    assert_int_equal(cairn_writer_write_async(w, value, 1, on_done, &o), CAIRN_E_CANCELED); /* it stays failed */
    assert_int_equal(cairn_writer_commit(w), CAIRN_E_CANCELED);
    assert_int_equal(cairn_exists(fx->ns, "new", 3, &exists, NULL), 0);
    assert_false(exists);
    expect_no_uploads(fx);
    free(value);
}

/* A client that is closed during a step: its callback has run when cairn_close() returns. */
static void closed_during_a_step(void **state)
{
    enum { N = 40 * PART };
    struct fixture *fx = *state;
    uint8_t *value = pattern(N, 4);
    struct cairn_writer *w;
    struct outcome o = { 0 };

    assert_int_equal(cairn_writer_open(fx->other_ns, "k", 1, 0, NULL, &w), 0);
    assert_int_equal(cairn_writer_write(w, value, N), 0);
    assert_int_equal(cairn_writer_commit_async(w, on_done, &o), 0);
    cairn_ns_close(fx->other_ns);
    cairn_close(fx->other);
    assert_true(o.over);
    assert_true(o.rc == 0 || o.rc == CAIRN_E_CANCELED);
    connect_to(fx, "unix:", &fx->other, &fx->other_ns);
    free(value);
}

static void read_without_waiting(void **state)
{
    enum { N = 3 * PART + 17 };
    struct fixture *fx = *state;
    uint8_t *value = pattern(N, 6), *back = malloc(N);
    struct cairn_reader *r;
    size_t len = 1, at = 0;
    uint64_t total = 0;

    assert_int_equal(cairn_put(fx->ns, "k", 1, value, N, &fx->o), 0);
    assert_int_equal(cairn_start_thread(fx->c), 0);
    assert_int_equal(cairn_reader_open(fx->ns, "k", 1, 0, &fx->o, &r), 0);
    assert_int_equal(cairn_reader_read_async(r, back, 1, &len, NULL, NULL, NULL), CAIRN_E_INVAL);
    while (len > 0) {
        struct outcome o = { 0 };

        assert_int_equal(
            cairn_reader_read_async(r, back + at, MIN(N - at + 1, (size_t)PART), &len, &total, on_done, &o), 0);
        assert_int_equal(cairn_drain(fx->c, -1), 0);
        assert_true(o.over && o.rc == 0);
        assert_int_equal(total, N);
        at += len;
    }
    cairn_stop_thread(fx->c);
    assert_int_equal(at, N);
    assert_memory_equal(back, value, N);
    cairn_reader_close(r);
    assert_int_equal(cairn_reader_open(fx->ns, "none", 4, 0, &fx->o, &r), 0);
    {
        struct outcome o = { 0 }, other = { 0 };

        assert_int_equal(cairn_reader_read_async(r, back, N, &len, &total, on_done, &o), 0);
        assert_int_equal(cairn_reader_read_async(r, back, N, &len, &total, on_done, &other), CAIRN_E_STATE);
        assert_int_equal(cairn_drain(fx->c, -1), 0);
        assert_true(o.over && !other.over);
        assert_int_equal(o.rc, CAIRN_E_NOTFOUND);
    }
    cairn_reader_close(r);
    free(value);
    free(back);
}

int main(void)
{
#define T(name)    cmocka_unit_test_setup_teardown(name, setup_unix, teardown)
#define BOTH(name) T(name), cmocka_unit_test_setup_teardown(name, setup_tcp, teardown)
    const struct CMUnitTest tests[] = {
        BOTH(written_without_waiting), T(steps_of_both_kinds),  T(writers_that_fail_without_waiting),
        T(closed_during_a_step),       T(read_without_waiting),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
