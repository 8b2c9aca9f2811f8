/* Batches of write-once namespaces are read where a replica is near; what that one has no value of the leaders are asked. */
#include "tests/unit/sdk/routed_fixture.h"

enum { MANY = 600 };

static char names[MANY][16];

static uint32_t mgets_of(struct routed *x, uint32_t node)
{
    return atomic_load(&node_of(x, node)->mgets);
}

static void put_many(struct routed *x, size_t n, const void *last, size_t last_len)
{
    struct cairn_put_item puts[MANY];

    for (size_t i = 0; i < MANY; i++) {
        snprintf(names[i], sizeof(names[i]), "key%04u", (unsigned)i % 10000);
        puts[i] = (struct cairn_put_item){ .key = names[i], .key_len = 7, .value = "v", .value_len = 1 };
    }
    puts[n - 1].value = last;
    puts[n - 1].value_len = last_len;
    assert_int_equal(cairn_mput(x->ns, puts, n, &x->o), 0);
}

static int get_many(struct routed *x, struct cairn_get_item gets[MANY])
{
    static char bufs[MANY][16];

    for (size_t i = 0; i < MANY; i++)
        gets[i] = (struct cairn_get_item){ .key = names[i], .key_len = 7, .value = bufs[i], .room = 16, .status = 77 };
    return cairn_mget(x->ns, gets, MANY, &x->o);
}

static void expect_all(struct routed *x)
{
    struct cairn_get_item gets[MANY];

    assert_int_equal(get_many(x, gets), 0);
    for (size_t i = 0; i < MANY; i++)
        assert_true(gets[i].status == 0 && gets[i].value_len == 1 && *(char *)gets[i].value == 'v');
}

/* Of three nodes the third is on our machine. */
static struct routed *near_third(bool write_once)
{
    struct routed *x = routed_new(3, write_once);
    char host[CAIRN_HOST_ID_MAX];

    cairn_host_id(host);
    scripted_cluster_host(x->cluster, 2, host);
    return x;
}

static void a_batch_is_one_request_to_who_is_near(void **state)
{
    struct routed *x = near_third(true);

    (void)state;
    put_many(x, MANY, "v", 1);
    expect_all(x);
    assert_true(mgets_of(x, 0) == 0 && mgets_of(x, 1) == 0 && mgets_of(x, 2) == 1);
    routed_free(x);

    /* A rewritable one's replicas are never asked. */
    x = near_third(false);
    put_many(x, MANY, "v", 1);
    expect_all(x);
    assert_true(mgets_of(x, 0) == 1 && mgets_of(x, 1) == 1 && mgets_of(x, 2) == 1);
    assert_int_equal(node_of(x, 2)->replica_gets, 0);
    routed_free(x);
}

/* Whatever it says that is no value: of what others lead they are asked, once; of what it leads it is asked again. */
static void no_word_of_who_is_near_ends_it(void **state)
{
    static const enum scripted_fault faults[] = { SCRIPTED_MOVED, SCRIPTED_BUSY, SCRIPTED_SILENT };
    struct cairn_get_item gets[MANY];
    struct routed *x;

    (void)state;
    for (uint32_t k = 0; k < ARRAY_SIZE(faults); k++) {
        x = near_third(true);
        put_many(x, MANY, "v", 1);
        scripted_cluster_fault(x->cluster, 2, faults[k], 1);
        expect_all(x);
        assert_true(mgets_of(x, 0) == 1 && mgets_of(x, 1) == 1 && mgets_of(x, 2) == 2);
        if (faults[k] == SCRIPTED_SILENT) { /* then others are asked for a while */
            const struct cairn_routing *r = x->c->routing;

            assert_true(r->members.all[cairn_route_map_place(&r->map, 102)]->avoid_until_ns > 0);
        }
        routed_free(x);
    }
    x = near_third(true);
    put_many(x, MANY, "v", 1);
    scripted_cluster_fault(x->cluster, 2, SCRIPTED_DENIED, 1);
    assert_int_equal(get_many(x, gets), CAIRN_E_DENIED);
    for (size_t i = 0; i < MANY; i++) {
        uint32_t leader = scripted_cluster_leader(x->cluster, scripted_cluster_slot(names[i], 7));

        assert_int_equal(gets[i].status, leader == 2 ? CAIRN_E_DENIED : 0);
    }
    routed_free(x);
}

static void what_is_not_there_is_asked_of_its_leader(void **state)
{
    struct routed *x = near_third(true);
    struct cairn_get_item gets[MANY];
    char large[8000] = "large";

    (void)state;
    put_many(x, MANY / 2, large, sizeof(large));
    assert_int_equal(get_many(x, gets), 0);
    for (size_t i = 0; i < MANY; i++)
        assert_int_equal(gets[i].status, i < MANY / 2 - 1 ? 0 : i < MANY / 2 ? CAIRN_E_TOOBIG : CAIRN_E_NOTFOUND);
    assert_true(mgets_of(x, 0) == 1 && mgets_of(x, 1) == 1 && mgets_of(x, 2) == 1);
    /* The one that is too large for a page comes by itself, from where it is near, too. */
    assert_int_equal(gets[MANY / 2 - 1].value_len, sizeof(large));
    assert_true(node_of(x, 0)->gets == 0 && node_of(x, 1)->gets == 0 && node_of(x, 2)->gets == 1);
    routed_free(x);
}

/* No way leads to it: nobody waits for one, as far as others can answer. */
static void who_is_near_and_cannot_be_reached_is_not_waited_for(void **state)
{
    struct routed *x = near_third(true);

    (void)state;
    scripted_cluster_tell(x->cluster, 2, "tcp://nowhere.invalid:1");
    for (uint32_t slot = 2; slot < SCRIPTED_SLOTS; slot += 3)
        scripted_cluster_move(x->cluster, slot, 0); /* it leads nothing */
    put_many(x, MANY, "v", 1);
    x->o.timeout_ms = 3600000;
    expect_all(x);
    assert_true(mgets_of(x, 0) == 1 && mgets_of(x, 1) == 1 && mgets_of(x, 2) == 0);
    routed_free(x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_batch_is_one_request_to_who_is_near),
        cmocka_unit_test(no_word_of_who_is_near_ends_it),
        cmocka_unit_test(what_is_not_there_is_asked_of_its_leader),
        cmocka_unit_test(who_is_near_and_cannot_be_reached_is_not_waited_for),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
