/* The sessions of a slot: a function of its log, also through cuts and images. */
#include "server/cluster/repl/sessions_image.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static void add(struct cairn_sessions *t, struct cairn_log_entry e)
{
    assert_int_equal(cairn_sessions_reserve(t, &e), 0);
    cairn_sessions_append(t, &e);
}

static void add_open(struct cairn_sessions *t, uint64_t epoch, uint64_t pos)
{
    add(t, (struct cairn_log_entry){ .at = { epoch, pos }, .kind = CAIRN_ENTRY_OPEN });
}

static struct cairn_log_entry write_of(uint64_t session, uint64_t seq, uint64_t floor, uint64_t pos)
{
    return (struct cairn_log_entry){
        .at = { 1, pos }, .kind = CAIRN_ENTRY_WRITE, .rid = { { 1, session }, seq }, .floor = floor
    };
}

static struct cairn_session *find(struct cairn_sessions *t, uint64_t pos)
{
    return cairn_sessions_find(t, (struct cairn_at){ 1, pos });
}

/* An entry counts from its appending on; its result comes when it is applied; what the client has answers to is
 * forgotten. */
static void writes_are_remembered_until_their_floor(void **state)
{
    struct cairn_sessions t;
    struct cairn_log_entry w = write_of(1, 1, 1, 2);

    (void)state;
    cairn_sessions_init(&t);
    add_open(&t, 1, 1);
    assert_false(cairn_session_is_waited_for(find(&t, 1)));
    add(&t, w);
    assert_true(cairn_session_is_waited_for(find(&t, 1)));
    assert_false(cairn_session_find(find(&t, 1), 1)->applied);
    cairn_sessions_apply(&t, &w, 7);
    assert_int_equal(cairn_session_find(find(&t, 1), 1)->result, 7);
    assert_false(cairn_session_is_waited_for(find(&t, 1)));
    add(&t, write_of(1, 3, 1, 3));
    add(&t, write_of(1, 2, 1, 4));
    assert_int_equal(cairn_session_find(find(&t, 1), 2)->pos, 4);
    add(&t, write_of(1, 4, 3, 5));
    assert_null(cairn_session_find(find(&t, 1), 2));
    assert_int_equal(cairn_session_find(find(&t, 1), 3)->pos, 3);
    cairn_sessions_fini(&t);
}

static void cut_takes_back_what_was_appended(void **state)
{
    struct cairn_sessions t;

    (void)state;
    cairn_sessions_init(&t);
    add_open(&t, 1, 1);
    add(&t, write_of(1, 1, 1, 2));
    add(&t, (struct cairn_log_entry){ .at = { 1, 3 }, .kind = CAIRN_ENTRY_EXPIRE, .rid = { { 1, 1 }, 0 } });
    add_open(&t, 1, 4);
    assert_null(find(&t, 1)); /* about to expire: takes no writes */
    cairn_sessions_cut(&t, 2);
    assert_null(find(&t, 4));
    assert_non_null(find(&t, 1));
    assert_non_null(cairn_session_find(find(&t, 1), 1));
    cairn_sessions_cut(&t, 1);
    assert_null(cairn_session_find(find(&t, 1), 1));
    cairn_sessions_fini(&t);
}

/* A floor that came with an entry that is cut stays: the client has those answers. */
static void floor_outlives_a_cut(void **state)
{
    struct cairn_sessions t;

    (void)state;
    cairn_sessions_init(&t);
    add_open(&t, 1, 1);
    add(&t, write_of(1, 3, 3, 2));
    cairn_sessions_cut(&t, 1);
    add(&t, write_of(1, 2, 2, 2));
    assert_int_equal(find(&t, 1)->floor, 3);
    assert_int_equal(find(&t, 1)->nwrites, 0);
    cairn_sessions_fini(&t);
}

static void expiry_ends_a_session_when_applied(void **state)
{
    struct cairn_log_entry e = { .at = { 1, 2 }, .kind = CAIRN_ENTRY_EXPIRE, .rid = { { 1, 1 }, 0 } };
    struct cairn_sessions t;

    (void)state;
    cairn_sessions_init(&t);
    add_open(&t, 1, 1);
    add(&t, e);
    cairn_sessions_apply(&t, &e, 0);
    assert_int_equal(t.n, 0);
    cairn_sessions_fini(&t);
}

/* There may be more of them in a log, and of what one has, than at any time were open. */
static void what_is_in_a_log_is_taken(void **state)
{
    struct cairn_sessions t;
    uint64_t pos = 0;

    (void)state;
    cairn_sessions_init(&t);
    for (uint64_t i = 1; i <= CAIRN_SESSIONS_MAX + 1; i++)
        add_open(&t, 1, ++pos);
    for (uint64_t i = 1; i <= CAIRN_SESSION_WRITES_MAX + 1; i++)
        add(&t, write_of(1, i, 1, ++pos));
    assert_int_equal(t.n, CAIRN_SESSIONS_MAX + 1);
    assert_int_equal(t.all[0].nwrites, CAIRN_SESSION_WRITES_MAX + 1);
    cairn_sessions_fini(&t);
}

/* An image stands at a position: what later entries did is not in it, what they will undo is. */
static void image_is_of_its_position(void **state)
{
    struct cairn_sessions t, back;
    struct cairn_log_entry first = write_of(1, 1, 1, 2);
    uint8_t *image;
    size_t len;

    (void)state;
    cairn_sessions_init(&t);
    cairn_sessions_init(&back);
    add_open(&t, 1, 1);
    add(&t, first);
    cairn_sessions_apply(&t, &first, -5);
    add(&t, write_of(1, 2, 1, 3));
    add_open(&t, 1, 4);
    add(&t, (struct cairn_log_entry){ .at = { 1, 5 }, .kind = CAIRN_ENTRY_EXPIRE, .rid = { { 1, 1 }, 0 } });
    len = cairn_sessions_image_bytes(&t, 2);
    image = malloc(len);
    assert_non_null(image);
    cairn_sessions_image_put(&t, 2, image, len);
    assert_int_equal(cairn_sessions_image_get(&back, 2, image, len), 0);
    assert_int_equal(back.n, 1);
    assert_non_null(find(&back, 1));
    assert_int_equal(cairn_session_find(find(&back, 1), 1)->result, -5);
    assert_null(cairn_session_find(find(&back, 1), 2));
    cairn_sessions_fini(&back);
    assert_int_equal(cairn_sessions_image_get(&back, 3, image, len), CAIRN_E_CORRUPT); /* of another position */
    for (size_t i = 0; i < len; i++) {
        image[i] ^= 1;
        assert_int_not_equal(cairn_sessions_image_get(&back, 2, image, len), 0);
        assert_null(back.all);
        image[i] ^= 1;
        assert_int_not_equal(cairn_sessions_image_get(&back, 2, image, i), 0);
    }
    free(image);
    cairn_sessions_fini(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(writes_are_remembered_until_their_floor),
        cmocka_unit_test(cut_takes_back_what_was_appended),
        cmocka_unit_test(floor_outlives_a_cut),
        cmocka_unit_test(expiry_ends_a_session_when_applied),
        cmocka_unit_test(what_is_in_a_log_is_taken),
        cmocka_unit_test(image_is_of_its_position),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
