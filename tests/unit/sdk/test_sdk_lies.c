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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(ranges_that_do_not_make_a_value, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
