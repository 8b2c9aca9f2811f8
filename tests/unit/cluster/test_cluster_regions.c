/* Regions of large values: a node has them before it has what names them, and what is pinned is not swept. */
#include "tests/unit/cluster/regions_world.h"

static void on_spread(struct cairn_cluster_spread *s, int rc)
{
    struct asked *a = s->arg;

    a->done = true;
    a->rc = rc;
}

struct names {
    bool done;
    int rc;
    uint32_t n;
    uint64_t ids[16];
};

static void on_name(void *arg, uint64_t id)
{
    struct names *x = arg;

    x->ids[x->n++] = id;
}

static void on_named(void *arg, int rc)
{
    struct names *x = arg;

    x->done = true;
    x->rc = rc;
}

/* Region @id is on its way to the member: nobody acknowledges the entry that names it. False: the write was refused
 * before that could be seen. */
static bool an_entry_waits(struct world *w, uint32_t slot, uint64_t id, uint32_t *member)
{
    uint32_t i = leader_of(w, slot), k = member_other_than(w, slot, i), reads = w->nodes[i].extents.reads;
    struct extents *leads = &w->nodes[i].extents, *other = &w->nodes[k].extents;
    struct large x;
    char key[16];

    *member = k;
    snprintf(key, sizeof(key), "k%u", (unsigned)id);
    extents_add(leads, id);
    other->held = NULL;
    other->holds = true;
    large_put(w, &x, i, slot, key, id);
    WHILE_PATIENT (other->held == NULL && !(x.a.done && x.a.rc != 0))
        turn(w);
    for (int n = 0; n < 100 && !(x.a.done && x.a.rc != 0); n++) {
        turn(w);
        assert_true(!x.a.done || x.a.rc != 0 || !is_member(w, slot, k)); /* given up: it takes too long */
    }
    other->holds = false;
    if (other->held != NULL)
        region_stored(other, other->held);
    turns(w, &x.a.done);
    if (is_refused(x.a.rc))
        return false;
    assert_int_equal(x.a.rc, 0);
    assert_int_equal(leads->reads, reads + 1); /* however often the entry came */
    return true;
}

static bool is_named(const struct names *x, uint64_t id)
{
    for (uint32_t i = 0; i < x->n; i++) {
        if (x->ids[i] == id)
            return true;
    }
    return false;
}

/* I11: nobody has an entry, so nobody acknowledges it, before he has what it names. */
static void an_entry_waits_for_its_region(void **state)
{
    enum { FIRST = 77, LAST = FIRST + 9, NOWHERE = 99 };
    struct world *w = *state;
    struct names names = { 0 };
    struct cairn_cluster_named named = { .fn = on_name, .done = on_named, .arg = &names };
    uint64_t id = FIRST;
    uint32_t slot, k;

    expect_leases(w);
    create_class(w, 2);
    assert_true(cairn_cluster_slot(w->nodes[0].c, 2, "k", 1, &slot));
    assert_int_equal(put_somewhere(w, slot, "first", "one"), 0);
    while (!an_entry_waits(w, slot, id, &k)) {
        assert_true(id < LAST);
        id++;
    }

    /* What the one that leads has no more, though its log names it, nobody waits for. */
    large_put_is_done(w, slot, "nowhere", NOWHERE);

    /* The sweeper hears of both, at either. */
    WHILE_PATIENT (!is_named(&names, id) || !is_named(&names, NOWHERE)) {
        names = (struct names){ 0 };
        named.cluster = w->nodes[k].c;
        cairn_cluster_named(&named);
        turns(w, &names.done);
        assert_int_equal(names.rc, 0);
    }
}

static void on_region_answer(struct cairn_rpc_call *call)
{
    *(bool *)call->arg = true;
}

/* What node @i says when node @k asks it for a region that it has not, and that its process @inc is said to name. */
static int ask_for_nothing(struct world *w, uint32_t k, uint32_t i, uint32_t slot, uint64_t epoch, uint64_t inc)
{
    Cairn__Wire__ClusterRegion m = CAIRN__WIRE__CLUSTER_REGION__INIT;
    struct cairn_bulk_region exposed = { 0 };
    struct cairn_rpc_call call = { 0 };
    struct cairn_err err = { 0 };
    uint8_t bytes[LEN];
    bool done = false;

    assert_int_equal(cairn_bulk_expose(w->nodes[k].kv.rpc, bytes, LEN, CAIRN_BULK_CAN_WRITE, &exposed), 0);
    assert_true(cairn_cluster__peer(w->nodes[k].c, 0, i + 1, &call.dest));
    m.id = 79;
    m.length = LEN;
    m.bulk = &exposed.desc;
    m.slot = slot;
    m.epoch = epoch;
    m.inc = inc;
    call.iface = &cairn_iface_cluster;
    call.provider = CAIRN_PROVIDER_CLUSTER;
    call.method = CAIRN__WIRE__CLUSTER_METHOD__CLUSTER_REGION_READ;
    call.msg = &m.base;
    call.timeout_ns = 10 * CAIRN_NS_PER_S;
    call.done = on_region_answer;
    call.arg = &done;
    call.err = &err;
    cairn_rpc_call_start(&call);
    turns(w, &done);
    cairn_bulk_conceal(&exposed);
    return call.rc;
}

/* Whoever has cut an entry from its log, or lost it, has no region of it, and others may have both: only the process
 * that leads in the epoch of the message says that nobody needs to wait (tests/models/repl.pml, -DREGIONS). */
static void only_who_leads_says_that_a_region_is_gone(void **state)
{
    struct world *w = *state;
    struct cairn_slot_record rec;
    uint32_t slot, i, k;
    int rc;

    expect_leases(w);
    create_class(w, 2);
    assert_true(cairn_cluster_slot(w->nodes[0].c, 2, "k", 1, &slot));
    assert_int_equal(put_somewhere(w, slot, "first", "one"), 0);
    i = leader_of(w, slot);
    k = member_other_than(w, slot, i);
    do { /* the slot may take another epoch meanwhile */
        assert_true(cairn_cluster_records_slot(w->nodes[i].c->records, slot, &rec));
        assert_int_equal(rec.primary.node, i + 1);
        assert_int_equal(ask_for_nothing(w, k, i, slot, rec.epoch - 1, rec.primary.inc), CAIRN_E_STATE);
        assert_int_equal(ask_for_nothing(w, k, i, slot, rec.epoch, rec.primary.inc + 1), CAIRN_E_STATE);
        assert_int_equal(ask_for_nothing(w, k, i, slot, 0, 0), CAIRN_E_STATE); /* nothing names it yet */
        for (uint32_t n = 0; n < rec.ninsync; n++) {
            if (rec.insync[n].node == k + 1) /* it holds the slot, and does not lead */
                assert_int_equal(ask_for_nothing(w, i, k, slot, rec.epoch, rec.insync[n].inc), CAIRN_E_STATE);
        }
        rc = ask_for_nothing(w, k, i, slot, rec.epoch, rec.primary.inc);
    } while (rc == CAIRN_E_STATE && cairn_cluster_records_slot(w->nodes[i].c->records, slot, &rec) &&
             rec.primary.node == i + 1);
    assert_int_equal(rc, CAIRN_E_NOTFOUND);
}

static void members_fetch_what_they_are_told_of(void **state)
{
    struct world *w = *state;
    struct cairn_record_region regions[] = { { 11, LEN }, { 12, LEN }, { 13, LEN } };
    struct asked a = { 0 };
    struct cairn_cluster_spread s = { .owner = CAIRN_REGION_OWNER_TAG | NS,
                                      .regions = regions,
                                      .nregions = 3,
                                      .timeout_ns = 10 * CAIRN_NS_PER_S,
                                      .done = on_spread,
                                      .arg = &a };
    uint64_t ids[] = { 10, 11, 12, 13, 14 };
    uint32_t i, k;

    expect_leases(w);
    create_class(w, 2);
    assert_true(cairn_cluster_slot(w->nodes[0].c, 2, "k", 1, &s.slot));
    assert_int_equal(put_somewhere(w, s.slot, "first", "one"), 0);
    i = leader_of(w, s.slot);
    k = member_other_than(w, s.slot, i);
    for (uint32_t n = 0; n < 3; n++)
        extents_add(&w->nodes[i].extents, regions[n].id);
    extents_add(&w->nodes[k].extents, 12); /* it is there from another time */

    s.cluster = w->nodes[k].c;
    cairn_cluster_spread(&s);
    turns(w, &a.done);
    assert_int_equal(a.rc, CAIRN_E_MOVED);
    for (int n = 0; n < 2; n++) { /* the second time there is nothing to be done */
        a.done = false;
        s.cluster = w->nodes[i].c;
        cairn_cluster_spread(&s);
        assert_false(a.done);
        turns(w, &a.done);
        assert_int_equal(a.rc, 0);
        assert_int_equal(w->nodes[k].extents.n, 3);
        assert_int_equal(w->nodes[i].extents.reads, 2);
    }

    /* Pinned, they are not the sweeper's; and what is the sweeper's cannot be pinned. */
    cairn_cluster_sweep_begin(w->nodes[k].c);
    assert_int_equal(cairn_cluster_doom(w->nodes[k].c, ids, 5), 2);
    assert_true(ids[0] == 10 && ids[1] == 14);
    assert_int_equal(cairn_cluster_region_note(w->nodes[k].c, 14), CAIRN_E_BUSY);
    cairn_cluster_spare(w->nodes[k].c);
    assert_int_equal(cairn_cluster_region_note(w->nodes[k].c, 14), 0);
}

static const char *text_of(const json_t *status, const char *name)
{
    const char *text = json_string_value(json_object_get(status, name));

    return text != NULL ? text : "";
}

static json_t *status_of(const struct node *n)
{
    json_t *status = json_object();

    cairn_cluster_desc.status(n->ctx, status);
    return status;
}

/* When the table of pins is full, people are told so, until a sweep has let some go. */
static void who_can_pin_no_more_says_so(void **state)
{
    struct world *w = *state;
    struct node *n = &w->nodes[0];
    json_t *status;

    expect_leases(w);
    for (uint64_t id = 1; id <= REGIONS_MAX; id++)
        assert_int_equal(cairn_cluster_region_note(n->c, id), 0);
    assert_int_equal(cairn_cluster_region_note(n->c, 7), 0);
    status = status_of(n);
    assert_string_equal(text_of(status, "problem"), "");
    json_decref(status);

    assert_int_equal(cairn_cluster_region_note(n->c, REGIONS_MAX + 1), CAIRN_E_BUSY);
    status = status_of(n);
    assert_string_equal(text_of(status, "health"), "degraded");
    assert_non_null(strstr(text_of(status, "problem"), "next sweep"));
    assert_int_equal(json_integer_value(json_object_get(status, "regions_pinned")), REGIONS_MAX);
    assert_int_equal(json_integer_value(json_object_get(status, "regions_refused")), 1);
    json_decref(status);

    cairn_cluster_region_named(n->c, 5);
    cairn_cluster_sweep_begin(n->c);
    status = status_of(n);
    assert_string_equal(text_of(status, "problem"), "");
    assert_int_equal(json_integer_value(json_object_get(status, "regions_pinned")), REGIONS_MAX - 1);
    json_decref(status);
    assert_int_equal(cairn_cluster_region_note(n->c, REGIONS_MAX + 1), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(an_entry_waits_for_its_region, setup, teardown),
        cmocka_unit_test_setup_teardown(only_who_leads_says_that_a_region_is_gone, setup, teardown),
        cmocka_unit_test_setup_teardown(members_fetch_what_they_are_told_of, setup, teardown),
        cmocka_unit_test_setup_teardown(who_can_pin_no_more_says_so, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
