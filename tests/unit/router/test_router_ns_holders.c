/* Which nodes hold something of a namespace that is spread over none: a node is noted before it stores anything, and what
 * others have is not removed without force. The other nodes are the test's. */
#include "world_others.h"

enum { HERE = 7, THERE = 8 };

static int holders_setup(void **state)
{
    return follow_setup_as(state, HERE);
}

#define HOLDERS(name) cmocka_unit_test_setup_teardown(name, holders_setup, follow_teardown)

static void settle(struct world *w)
{
    for (uint32_t quiet = 0; quiet < 20; quiet++) {
        turn(w);
        if (w->loops[0].machines.nlive > 0 || w->npending > 0)
            quiet = 0;
    }
}

static int wait_for(struct world *w, struct answer *a)
{
    WHILE_PATIENT (!a->done)
        turn(w);
    answer_free(a);
    return a->rc;
}

static void put_begin(struct world *w, struct answer *a, const char *key)
{
    static Cairn__Wire__RouterPut m;

    cairn__wire__router_put__init(&m);
    m.ns = (char *)(uintptr_t) "n";
    m.key = key_of(key);
    m.length = 1;
    ask_start(w, 0, a, &root, CAIRN__WIRE__ROUTER_METHOD__ROUTER_PUT, &m.base, value, 1);
}

static int put_one(struct world *w, const char *key)
{
    struct answer a;

    put_begin(w, &a, key);
    return wait_for(w, &a);
}

static int delete_one(struct world *w, const char *key)
{
    Cairn__Wire__RouterKey m = CAIRN__WIRE__ROUTER_KEY__INIT;
    struct answer a;

    m.ns = (char *)(uintptr_t) "n";
    m.key = key_of(key);
    ask_start(w, 0, &a, &root, CAIRN__WIRE__ROUTER_METHOD__ROUTER_DELETE, &m.base, NULL, 0);
    return wait_for(w, &a);
}

static struct cairn_err removed_err;

static int remove_it(struct world *w, bool force)
{
    Cairn__Wire__NsName m = CAIRN__WIRE__NS_NAME__INIT;
    struct answer a;
    int rc;

    m.name = (char *)(uintptr_t) "n";
    m.force = force;
    ask_start(w, 1, &a, &root, CAIRN__WIRE__ROUTER_METHOD__ROUTER_NS_REMOVE, &m.base, NULL, 0);
    rc = wait_for(w, &a);
    removed_err = a.err;
    return rc;
}

static void create(struct world *w)
{
    Cairn__Wire__Namespace m = named("n");
    struct answer a;

    ask_start(w, 0, &a, &root, CAIRN__WIRE__ROUTER_METHOD__ROUTER_NS_CREATE, &m.base, NULL, 0);
    assert_int_equal(wait_for(w, &a), 0);
}

/* This node is noted in it, and has nothing of it. */
static void create_empty_holder(struct world *w)
{
    create(w);
    assert_int_equal(put_one(w, "k"), 0);
    assert_int_equal(delete_one(w, "k"), 0);
    settle(w);
}

/* ---- the record, as the others see it ---- */

static Cairn__Wire__NamespaceRecord *record_now;
static uint64_t record_changed;

static void take_record(const struct cairn_map_entry *e, void *arg)
{
    (void)arg;
    record_now = cairn__wire__namespace_record__unpack(NULL, e->value_len, e->value);
    record_changed = e->changed;
    assert_non_null(record_now);
}

static void record_read(void)
{
    record_now = NULL;
    cairn_map_store_each(others, "ns/n", take_record, NULL);
}

static void record_free(void)
{
    cairn__wire__namespace_record__free_unpacked(record_now, NULL);
}

static bool holds(uint64_t node)
{
    bool is = false;

    record_read();
    assert_non_null(record_now);
    for (size_t i = 0; i < record_now->n_holders; i++)
        is |= record_now->holders[i]->node == node;
    record_free();
    return is;
}

/* What the other node writes when it is about to store something, or is empty again. */
static uint8_t *there_record(bool is_there, uint32_t *len)
{
    Cairn__Wire__NamespaceHolder there = CAIRN__WIRE__NAMESPACE_HOLDER__INIT, *one[2];
    Cairn__Wire__NamespaceRecord edited;
    uint8_t *bytes;

    record_read();
    assert_non_null(record_now);
    edited = *record_now;
    edited.n_holders = 0;
    edited.holders = one;
    for (size_t i = 0; i < record_now->n_holders; i++) {
        if (record_now->holders[i]->node != THERE)
            one[edited.n_holders++] = record_now->holders[i];
    }
    there.node = THERE;
    there.name = (char *)(uintptr_t) "there";
    if (is_there)
        one[edited.n_holders++] = &there;
    *len = (uint32_t)cairn__wire__namespace_record__get_packed_size(&edited);
    bytes = malloc(*len + 1);
    assert_non_null(bytes);
    cairn__wire__namespace_record__pack(&edited, bytes);
    record_free();
    return bytes;
}

static void there_holds(bool is_there)
{
    uint32_t len;
    uint8_t *bytes = there_record(is_there, &len);

    (void)others_write("ns/n", bytes, len, record_changed);
    free(bytes);
}

/* ---- */

static bool noted_before;

static void on_kv_put(struct world *w, struct cairn_rpc_req *rq)
{
    if (rq->target->iface == &cairn_iface_kv && rq->method_no == CAIRN__WIRE__KV_METHOD__KV_PUT) {
        w->before = NULL;
        vtime_run_ms(&v, 100);
        noted_before = holds(HERE);
    }
}

static void noted_before_the_first_value(void **state)
{
    struct world *w = *state;
    uint64_t changed;

    create(w);
    settle(w);
    assert_false(holds(HERE));
    noted_before = false;
    w->before = on_kv_put;
    assert_int_equal(put_one(w, "k"), 0);
    assert_true(noted_before);
    changed = record_changed;
    assert_int_equal(put_one(w, "l"), 0); /* once */
    settle(w);
    assert_true(holds(HERE));
    assert_int_equal(record_changed, changed);
    assert_int_equal(remove_it(w, false), CAIRN_E_NOTEMPTY);
    assert_int_equal(delete_one(w, "k"), 0);
    assert_int_equal(delete_one(w, "l"), 0);
    assert_int_equal(remove_it(w, false), 0);
}

/* What another one has stays; and who is found empty is not waited for, until it stores something again. */
static void what_another_holds_is_not_removed(void **state)
{
    struct world *w = *state;

    create_empty_holder(w);
    there_holds(true);
    vtime_run_ms(&v, 100);
    assert_int_equal(remove_it(w, false), CAIRN_E_NOTEMPTY);
    assert_non_null(strstr(removed_err.text, "node there may hold something of it"));
    settle(w);
    assert_false(holds(HERE));
    assert_true(holds(THERE));
    assert_int_equal(put_one(w, "k"), 0);
    settle(w);
    assert_true(holds(HERE));
    there_holds(false);
    vtime_run_ms(&v, 100);
    assert_int_equal(remove_it(w, false), CAIRN_E_NOTEMPTY);
    assert_non_null(strstr(removed_err.text, "node here holds something of it"));
    assert_int_equal(delete_one(w, "k"), 0);
    assert_int_equal(remove_it(w, false), 0);
}

static void with_force_all_of_it_goes(void **state)
{
    struct world *w = *state;

    create(w);
    assert_int_equal(put_one(w, "k"), 0);
    settle(w);
    there_holds(true);
    vtime_run_ms(&v, 100);
    assert_int_equal(remove_it(w, true), 0);
    settle(w);
    assert_int_equal(w->ndbs, 0);
}

/* ---- at once ---- */

static struct {
    struct cairn_map_change change;
    struct cairn_map_write write;
    uint8_t *bytes;
    bool done;
} there;

static void there_on_written(struct cairn_map_op *op)
{
    assert_int_equal(op->rc, 0);
    there.done = true;
    free(there.bytes);
}

/* On its way, and before anything that this node writes from now on; which has not heard of it then. */
static void there_begins(bool holds_it)
{
    there.done = false;
    sim_map_delay(map, 20, 0);
    there.bytes = there_record(holds_it, &there.write.value_len);
    there.write = (struct cairn_map_write){
        .key = "ns/n", .value = there.bytes, .value_len = there.write.value_len, .from = record_changed
    };
    there.change =
        (struct cairn_map_change){ .op = { .done = there_on_written }, .writes = &there.write, .nwrites = 1 };
    cairn_map_store_change(others, NULL, &there.change);
    vtime_run_ms(&v, 10);
    assert_false(there.done);
}

static bool there_holds_it;

static void on_look(struct world *w, struct cairn_rpc_req *rq)
{
    if (rq->target->iface != &cairn_iface_kv || rq->method_no != CAIRN__WIRE__KV_METHOD__KV_LIST)
        return;
    w->before = NULL;
    there_begins(there_holds_it);
}

/* Its first value comes while this node looks whether there is one here. */
static void noted_while_it_is_being_removed(void **state)
{
    struct world *w = *state;

    create(w);
    settle(w);
    there_holds_it = true;
    w->before = on_look;
    assert_int_equal(remove_it(w, false), CAIRN_E_NOTEMPTY);
    assert_true(there.done);
    assert_true(holds(THERE));
    there_holds_it = false;
    w->before = on_look;
    assert_int_equal(remove_it(w, true), 0); /* who is forced does not mind */
    assert_true(there.done);
}

/* Both are found empty at once: whoever is the second removes it. */
static void two_are_empty_at_once(void **state)
{
    struct world *w = *state;

    create_empty_holder(w);
    there_holds(true);
    vtime_run_ms(&v, 100);
    there_holds_it = false;
    w->before = on_look;
    assert_int_equal(remove_it(w, false), 0);
    assert_true(there.done);
}

/* Of two that note themselves at once one is refused, and writes again. */
static void two_at_once(void **state)
{
    struct world *w = *state;

    create(w);
    settle(w);
    there_begins(true);
    assert_int_equal(put_one(w, "k"), 0);
    assert_true(there.done);
    settle(w);
    assert_true(holds(HERE) && holds(THERE));
}

static bool looked;

static void on_look_only(struct world *w, struct cairn_rpc_req *rq)
{
    if (rq->target->iface != &cairn_iface_kv || rq->method_no != CAIRN__WIRE__KV_METHOD__KV_LIST)
        return;
    w->before = NULL;
    looked = true;
}

/* The answer to the erasure of its record is lost, and the store away then: it may be gone, and what is stored here
 * would go with it when that is heard. */
static void nothing_is_stored_in_what_may_be_gone(void **state)
{
    Cairn__Wire__NsName m = CAIRN__WIRE__NS_NAME__INIT;
    struct world *w = *state;
    struct answer a;

    create_empty_holder(w);
    looked = false;
    w->before = on_look_only;
    sim_map_delay(map, 500, 0);
    m.name = (char *)(uintptr_t) "n";
    ask_start(w, 1, &a, &root, CAIRN__WIRE__ROUTER_METHOD__ROUTER_NS_REMOVE, &m.base, NULL, 0);
    WHILE_PATIENT (!looked)
        turn(w);
    for (int i = 0; i < 5; i++)
        turn(w);
    vtime_run_ms(&v, 600); /* it has arrived, and what is told of it is on its way */
    sim_map_cut(mine, true);
    assert_int_equal(wait_for(w, &a), CAIRN_E_UNKNOWN);
    record_read();
    assert_null(record_now);
    settle(w);
    assert_int_equal(put_one(w, "k"), CAIRN_E_BUSY);
    sim_map_cut(mine, false);
    settle(w);
    assert_int_equal(put_one(w, "k"), CAIRN_E_NOTFOUND);
}

/* A map from elsewhere, or one that was put back, does not know who holds something. */
static void not_counted(void **state)
{
    struct world *w = *state;
    char ids[64];

    (void)others_make("n"); /* as a node does that shares its map with nobody */
    settle(w);
    assert_int_equal(remove_it(w, false), CAIRN_E_NOTEMPTY);
    assert_non_null(strstr(removed_err.text, "is not known"));
    assert_int_equal(remove_it(w, true), 0);
    create(w);
    settle(w);
    snprintf(ids, sizeof(ids), "0 %llu:2000000", (unsigned long long)sim_map_server_revision(map));
    (void)others_write("cluster/ids", (const uint8_t *)ids, (uint32_t)strlen(ids), 0); /* it was put back */
    vtime_run_ms(&v, 100);
    assert_int_equal(remove_it(w, false), CAIRN_E_NOTEMPTY);
    assert_non_null(strstr(removed_err.text, "is not known"));
    assert_int_equal(put_one(w, "k"), 0);
    assert_int_equal(remove_it(w, true), 0);
}

static void known_after_a_start(void **state)
{
    struct world *w = *state;
    uint64_t changed;

    create(w);
    assert_int_equal(put_one(w, "k"), 0);
    settle(w);
    assert_true(holds(HERE));
    changed = record_changed;
    world_stop(w);
    world_start(w);
    router_follow_start(w->router);
    assert_int_equal(put_one(w, "l"), 0);
    settle(w);
    assert_true(holds(HERE));
    assert_int_equal(record_changed, changed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        HOLDERS(noted_before_the_first_value),
        HOLDERS(what_another_holds_is_not_removed),
        HOLDERS(with_force_all_of_it_goes),
        HOLDERS(noted_while_it_is_being_removed),
        HOLDERS(two_are_empty_at_once),
        HOLDERS(two_at_once),
        HOLDERS(nothing_is_stored_in_what_may_be_gone),
        HOLDERS(not_counted),
        HOLDERS(known_after_a_start),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
