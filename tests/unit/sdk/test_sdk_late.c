/* Calls of several requests whose time ends between two of them: the answer to one lies in the socket when the loop
 * comes to it, too late for the next. Against a node in this process. */
#include "tests/unit/sdk/large_fixture.h"

enum { TIME_MS = 20, UNTOUCHED = 12345 };

/* Lets the call that was started with TIME_MS go @turns turns, then sleeps beyond its time and lets it end. False: it
 * had ended before. */
static bool oversleep(struct fixture *fx, const struct outcome *o, int turns)
{
    for (int i = 0; i < turns && !o->over; i++) {
        cairn_poll(fx->c, 0);
        usleep(200);
    }
    if (o->over)
        return false;
    usleep((TIME_MS + 10) * 1000);
    assert_int_equal(cairn_drain(fx->c, -1), 0);
    assert_true(o->over);
    assert_true(o->rc == CAIRN_E_TIMEOUT || o->rc == 0);
    return true;
}

static void between_the_last_part_and_the_commit(void **state)
{
    struct fixture *fx = *state;
    uint8_t *value = pattern(2 * PART, 3);
    bool exists;
    int late = 0;

    fx->o.timeout_ms = TIME_MS;
    for (int turns = 0; turns < 60; turns++) {
        struct outcome o = { 0 };
        bool slept;

        assert_int_equal(cairn_put_async(fx->ns, "k", 1, value, 2 * PART, &fx->o, on_done, &o), 0);
        slept = oversleep(fx, &o, turns);
        late += o.rc == CAIRN_E_TIMEOUT;
        if (o.rc == CAIRN_E_TIMEOUT)
            assert_int_equal(fx->error.code, CAIRN_E_TIMEOUT);
        assert_int_equal(cairn_delete(fx->ns, "k", 1, NULL), 0);
        if (!slept)
            break;
    }
    assert_true(late > 0);
    assert_int_equal(cairn_exists(fx->ns, "k", 1, &exists, NULL), 0);
    assert_false(exists);
    expect_no_uploads(fx);
    fx->o.timeout_ms = 0;
    assert_int_equal(cairn_put(fx->ns, "k", 1, value, 2 * PART, &fx->o), 0);
    expect(fx, "k", value, 2 * PART);
    free(value);
}

/* Likewise of a batch that has one; the others of the batch were not sent, and do not look as if they were. */
static void between_the_pages_of_a_put(void **state)
{
    enum { N = 3 * CAIRN_BATCH_MAX };
    struct fixture *fx = *state;
    struct cairn_put_item *puts = calloc(N, sizeof(*puts));
    uint8_t *value = pattern(2 * PART, 3);
    char(*keys)[12] = calloc(N, sizeof(*keys));
    int late = 0;

    fx->o.timeout_ms = TIME_MS;
    for (int turns = 0; turns < 60; turns++) {
        struct outcome o = { 0 };
        bool slept, failed = false;

        for (int i = 0; i < N; i++) {
            snprintf(keys[i], sizeof(keys[i]), "%06d", i);
            puts[i] = (struct cairn_put_item){ keys[i], 6, value, i == 10 ? 2 * PART : 1, UNTOUCHED };
        }
        assert_int_equal(cairn_mput_async(fx->ns, puts, N, &fx->o, on_done, &o), 0);
        slept = oversleep(fx, &o, turns);
        late += o.rc == CAIRN_E_TIMEOUT;
        for (int i = 0; i < N; i++) {
            assert_true(puts[i].status == 0 || (o.rc != 0 && puts[i].status == o.rc));
            failed |= puts[i].status != 0;
        }
        assert_true(failed == (o.rc != 0));
        if (!slept)
            break;
    }
    assert_true(late > 0);
    free(keys);
    free(value);
    free(puts);
}

/* A large value is fetched behind the pages: what marks it until then is no status of the user's. */
static void between_the_pages_of_a_get(void **state)
{
    enum { N = 2 * CAIRN_BATCH_MAX };
    struct fixture *fx = *state;
    struct cairn_get_item *gets = calloc(N, sizeof(*gets));
    uint8_t *value = pattern(9 * PART, 3), *room = malloc(9 * PART);
    char(*keys)[12] = calloc(N, sizeof(*keys));
    int late = 0;

    for (int i = 0; i < 3; i++) {
        snprintf(keys[i], sizeof(keys[i]), "%06d", i);
        assert_int_equal(cairn_put(fx->ns, keys[i], 6, value, 9 * PART, &fx->o), 0);
    }
    fx->o.timeout_ms = TIME_MS;
    for (int turns = 0; turns < 100; turns++) {
        struct outcome o = { 0 };
        bool slept, failed = false;

        for (int i = 0; i < N; i++) {
            snprintf(keys[i], sizeof(keys[i]), "%06d", i);
            gets[i] = (struct cairn_get_item){
                .key = keys[i], .key_len = 6, .value = room, .room = 9 * PART, .status = UNTOUCHED
            };
        }
        assert_int_equal(cairn_mget_async(fx->ns, gets, N, &fx->o, on_done, &o), 0);
        slept = oversleep(fx, &o, turns);
        late += o.rc == CAIRN_E_TIMEOUT;
        for (int i = 0; i < N; i++) {
            assert_true(gets[i].status == (i < 3 ? 0 : CAIRN_E_NOTFOUND) || (o.rc != 0 && gets[i].status == o.rc));
            failed |= gets[i].status == CAIRN_E_TIMEOUT;
        }
        assert_true(failed == (o.rc != 0));
        if (!slept)
            break;
    }
    assert_true(late > 0);
    free(keys);
    free(value);
    free(room);
    free(gets);
}

/* A value of a batch that is replaced whenever it is read: after the second time that is what the batch says. */
static void replaced_again_and_again(void **state)
{
    struct fixture *fx = *state;
    uint8_t *value = pattern(24 * PART, 3), *room = malloc(24 * PART);
    struct cairn_get_item gets[2] = { { .key = "k", .key_len = 1, .value = room, .room = 24 * PART },
                                      { .key = "l", .key_len = 1, .value = room, .room = 24 * PART } };
    struct outcome o = { 0 };

    assert_int_equal(cairn_put(fx->other_ns, "k", 1, value, 24 * PART, NULL), 0);
    assert_int_equal(cairn_put(fx->other_ns, "l", 1, value, 9 * PART, NULL), 0);
    assert_int_equal(cairn_mget_async(fx->ns, gets, 2, &fx->o, on_done, &o), 0);
    for (int i = 0; i < 200 && !o.over; i++) {
        cairn_poll(fx->c, 0);
        assert_int_equal(cairn_put(fx->other_ns, "k", 1, value, 24 * PART, NULL), 0);
    }
    assert_int_equal(cairn_drain(fx->c, -1), 0);
    assert_int_equal(o.rc, CAIRN_E_BUSY);
    assert_int_equal(fx->error.code, CAIRN_E_BUSY);
    assert_int_equal(gets[0].status, CAIRN_E_BUSY);
    assert_int_equal(gets[0].value_len, 0);
    assert_int_equal(gets[1].status, 0);
    assert_int_equal(gets[1].value_len, 9 * PART);
    assert_memory_equal(room, value, 9 * PART);
    free(value);
    free(room);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup_unix, teardown)
    const struct CMUnitTest tests[] = {
        T(between_the_last_part_and_the_commit),
        cmocka_unit_test_setup_teardown(between_the_last_part_and_the_commit, setup_tcp, teardown),
        T(between_the_pages_of_a_put),
        T(between_the_pages_of_a_get),
        T(replaced_again_and_again),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
