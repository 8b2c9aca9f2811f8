/* Nodes that answer what cannot be: the client says so, and takes none of it. */
#include "sdk/client/hashed_internal.h"
#include "tests/unit/sdk/sdk_fixture.h"

static int get_alloc(struct fixture *fx, size_t *len)
{
    void *value = NULL;
    int rc = cairn_get_alloc(fx->ns, "large", 5, &value, len, &fx->o);

    cairn_free(value);
    return rc;
}

/* Each range must be as long as it is, and of the value whose first bytes came before. */
static void ranges_that_do_not_make_a_value(void **state)
{
    struct fixture *fx = *state;
    uint8_t *value = pattern(3 * MIB, 1);
    size_t len = 0;

    assert_int_equal(cairn_put(fx->ns, "large", 5, value, 3 * MIB, &fx->o), 0);
    free(value);
    fx->ns->part_bytes = MIB;
    assert_int_equal(get_alloc(fx, &len), 0);
    assert_int_equal(len, 3 * MIB);
    atomic_store(&fx->knobs->lie, SCRIPTED_SHORT_RANGES);
    assert_int_equal(get_alloc(fx, &len), CAIRN_E_PROTO);
    assert_non_null(strstr(fx->error.text, "a range of"));
    atomic_store(&fx->knobs->lie, SCRIPTED_NO_STAMP);
    assert_int_equal(get_alloc(fx, &len), CAIRN_E_PROTO);
    assert_non_null(strstr(fx->error.text, "stamp"));
}

static int list(struct fixture *fx, const char *prefix, const char *after)
{
    struct cairn_page *page = NULL;
    int rc = cairn_list(fx->ns, prefix, strlen(prefix), after, strlen(after), 2, &page, &fx->o);

    cairn_free(page);
    return rc;
}

/* Keys ascend, lie behind `after` and have the prefix; else a walk might never end. */
static void pages_that_do_not_make_a_list(void **state)
{
    struct fixture *fx = *state;
    struct cairn_entry entry;
    struct cairn_iter *it;
    char key[16];
    int rc;

    for (int i = 0; i < 200; i++) {
        snprintf(key, sizeof(key), "%c%03d", i % 2 ? 'a' : 'b', i);
        assert_int_equal(cairn_put(fx->ns, key, 4, "v", 1, &fx->o), 0);
    }
    assert_int_equal(list(fx, "b", "b100"), 0);
    atomic_store(&fx->knobs->lie, SCRIPTED_NO_PREFIX);
    assert_int_equal(list(fx, "b", ""), CAIRN_E_PROTO);
    atomic_store(&fx->knobs->lie, SCRIPTED_DISORDER);
    assert_int_equal(list(fx, "b", ""), CAIRN_E_PROTO);
    atomic_store(&fx->knobs->lie, SCRIPTED_LONG_PAGES);
    assert_int_equal(list(fx, "b", ""), CAIRN_E_PROTO);
    atomic_store(&fx->knobs->lie, SCRIPTED_SAME_PAGE);
    assert_int_equal(list(fx, "b", "b100"), CAIRN_E_PROTO);
    assert_int_equal(cairn_iter_open(fx->ns, "", 0, &fx->o, &it), 0);
    for (int i = 0; (rc = cairn_iter_next(it, &entry)) == 1; i++)
        assert_true(i < 200);
    assert_int_equal(rc, CAIRN_E_PROTO);
    cairn_iter_close(it);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(ranges_that_do_not_make_a_value, setup, teardown),
        cmocka_unit_test_setup_teardown(pages_that_do_not_make_a_list, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
