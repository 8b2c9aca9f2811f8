/* Regions of large values come from whoever has them: from another when one dies, hangs or has not what it was said to have. */
#include "server/cluster/service/fetch.h"
#include "server/cluster/service/store_page.h"
#include "tests/unit/cluster/regions_world.h"

#include <sys/un.h>

/* A slot of two replicas: it is led from node lead, member is in sync, third is neither. */
struct trio {
    uint32_t slot, lead, member, third;
};

static struct trio trio_of(struct world *w)
{
    struct trio t = { 0 };

    expect_leases(w);
    create_class(w, 2);
    assert_true(cairn_cluster_slot(w->nodes[0].c, 2, "k", 1, &t.slot));
    assert_int_equal(put_somewhere(w, t.slot, "first", "one"), 0);
    t.lead = leader_of(w, t.slot);
    t.member = member_other_than(w, t.slot, t.lead);
    t.third = NODES - t.lead - t.member;
    return t;
}

/* One node asks another to have @n regions, which follow @first, and names who has them. */
struct telling {
    Cairn__Wire__ClusterRegions msg;
    struct asked a;
    struct cairn_err err;
    struct cairn_rpc_call call;
    uint64_t ids[8];
    uint32_t lengths[8];
};

static void tell(struct world *w, struct telling *x, uint32_t slot, uint32_t to, uint32_t has, uint64_t first,
                 uint32_t n)
{
    memset(x, 0, sizeof(*x));
    cairn__wire__cluster_regions__init(&x->msg);
    for (uint32_t i = 0; i < n; i++) {
        x->ids[i] = first + i;
        x->lengths[i] = LEN;
    }
    x->msg.slot = slot;
    x->msg.node = has + 1;
    x->msg.owner = CAIRN_REGION_OWNER_TAG | NS;
    x->msg.ids = x->ids;
    x->msg.lengths = x->lengths;
    x->msg.n_ids = x->msg.n_lengths = n;
    x->call = (struct cairn_rpc_call){ .dest.rpc = w->nodes[to].kv.rpc,
                                       .iface = &cairn_iface_cluster,
                                       .provider = CAIRN_PROVIDER_CLUSTER,
                                       .method = CAIRN__WIRE__CLUSTER_METHOD__CLUSTER_REGIONS,
                                       .msg = &x->msg.base,
                                       .timeout_ns = 60 * CAIRN_NS_PER_S,
                                       .done = on_asked,
                                       .err = &x->err,
                                       .arg = &x->a };
    cairn_rpc_call_start(&x->call);
}

static void turns_until_reads(struct world *w, const struct extents *x, uint32_t n)
{
    WHILE_PATIENT (x->reads < n)
        turn(w);
}

static void turns_until_it_has(struct world *w, uint32_t i, uint64_t id)
{
    WHILE_PATIENT (!extents_has(&w->nodes[i].extents, id))
        turn(w);
}

/* Whoever was said to have a region is gone: another that is in sync has it. */
static void another_has_what_a_dead_node_had(void **state)
{
    struct world *w = *state;
    struct trio t = trio_of(w);
    struct telling told;

    extents_add(&w->nodes[t.lead].extents, 21);
    node_stop(w, t.third);
    tell(w, &told, t.slot, t.member, t.third, 21, 1);
    turns(w, &told.a.done);
    assert_int_equal(told.a.rc, 0);
    assert_true(extents_has(&w->nodes[t.member].extents, 21));
    tell(w, &told, t.slot, t.member, t.third, 22, 1); /* which nobody has */
    turns(w, &told.a.done);
    assert_int_equal(told.a.rc, CAIRN_E_BUSY);
}

/* The machine of node @i dies: connections with it break, and it does nothing any more. */
static void die(struct world *w, uint32_t i)
{
    for (int fd = 3; fd < 1024; fd++) {
        struct sockaddr_un to = { 0 };
        socklen_t len = sizeof(to) - 1;

        if (getpeername(fd, (struct sockaddr *)&to, &len) == 0 && to.sun_family == AF_UNIX &&
            strcmp(to.sun_path, w->nodes[i].address + strlen("unix://")) == 0)
            assert_int_equal(shutdown(fd, SHUT_RDWR), 0);
    }
    w->nodes[i].up = false;
}

/* Likewise of one that dies while it gives it. */
static void a_node_dies_while_it_gives_a_region(void **state)
{
    struct world *w = *state;
    struct trio t = trio_of(w);
    struct extents *dies = &w->nodes[t.third].extents;
    struct telling told;

    dies->holds_reads = true;
    extents_add(dies, 21);
    extents_add(&w->nodes[t.lead].extents, 21);
    tell(w, &told, t.slot, t.member, t.third, 21, 1);
    turns_until_reads(w, dies, 1);
    die(w, t.third);
    turns(w, &told.a.done);
    assert_int_equal(told.a.rc, 0);
    assert_true(extents_has(&w->nodes[t.member].extents, 21));
    w->nodes[t.third].up = true; /* to be stopped */
}

/* A node that does not answer holds less than all of the memory, so what others have comes all the same. */
static void a_node_that_hangs_does_not_hold_others_up(void **state)
{
    struct world *w = *state;
    struct trio t = trio_of(w);
    struct extents *hangs = &w->nodes[t.third].extents;
    struct telling slow, quick;

    hangs->holds_reads = true;
    for (uint64_t id = 31; id < 37; id++)
        extents_add(hangs, id);
    extents_add(&w->nodes[t.lead].extents, 41);
    tell(w, &slow, t.slot, t.member, t.third, 31, 6);
    turns_until_reads(w, hangs, 3);
    tell(w, &quick, t.slot, t.member, t.lead, 41, 1);
    turns(w, &quick.a.done);
    assert_int_equal(quick.a.rc, 0);
    reads_go_on(hangs);
    turns(w, &slow.a.done);
    assert_int_equal(slow.a.rc, 0);
    for (uint64_t id = 31; id < 37; id++)
        assert_true(extents_has(&w->nodes[t.member].extents, id));
}

/* A node that was said to have a region, and has it not, says nothing of the one that names it. */
static void a_stranger_is_not_believed_that_a_region_is_gone(void **state)
{
    struct world *w = *state;
    struct trio t = trio_of(w);
    struct telling told;

    tell(w, &told, t.slot, t.member, t.third, 51, 1);
    turns(w, &told.a.done);
    assert_int_equal(told.a.rc, CAIRN_E_BUSY);
    tell(w, &told, t.slot, t.member, t.lead, 51, 1); /* nor one that is in sync, before anything names it */
    turns(w, &told.a.done);
    assert_int_equal(told.a.rc, CAIRN_E_BUSY);
    extents_add(&w->nodes[t.lead].extents, 51);
    large_put_is_done(w, t.slot, "k", 51);
    turns_until_it_has(w, t.member, 51);
}

/* What is here under a region's name and is not the region gives way to what a member has. */
static void a_damaged_region_is_replaced(void **state)
{
    struct world *w = *state;
    struct trio t = trio_of(w);
    struct extents *lead = &w->nodes[t.lead].extents, *member = &w->nodes[t.member].extents;
    struct telling told;

    for (uint64_t id = 61; id < 64; id++) {
        extents_add(lead, id);
        extents_add(member, id);
    }
    member->damaged = 61;
    member->longer = 62;
    member->foreign = 63;
    tell(w, &told, t.slot, t.member, t.lead, 61, 3); /* upon a rumour nothing is removed */
    turns(w, &told.a.done);
    assert_int_equal(told.a.rc, CAIRN_E_BUSY);
    assert_int_equal(member->removes, 0);
    large_put_is_done(w, t.slot, "damaged", 61);
    WHILE_PATIENT (member->damaged != 0 || !extents_has(member, 61))
        turn(w);
    large_put_is_done(w, t.slot, "longer", 62);
    WHILE_PATIENT (member->longer != 0 || !extents_has(member, 62))
        turn(w);
    assert_int_equal(member->removes, 2);
    large_put_is_done(w, t.slot, "foreign", 63); /* another's stays, and the member cannot follow */
    WHILE_PATIENT (is_member(w, t.slot, t.member))
        turn(w);
    assert_int_equal(member->removes, 2);
}

/* A page of a copy that @t's leader sends to its member, with a record that names region @id: whether it is taken. */
static bool page_is_taken(struct world *w, const struct trio *t, uint64_t id)
{
    struct cairn_record_region region = { .id = id, .len = LEN };
    uint8_t record[CAIRN_RECORD_EXTENTS_HEAD_BYTES + CAIRN_RECORD_REGION_BYTES], index[STORE_INDEX_VALUE_BYTES] = { 0 };
    uint8_t page[256];
    struct store_page_record r = { .ns = NS,
                                   .key = (const uint8_t *)"k",
                                   .key_len = 1,
                                   .index = index,
                                   .record = record,
                                   .record_len = sizeof(record) };
    struct cairn_repl_msg m = { .kind = CAIRN_REPL_COPY,
                                .slot = t->slot,
                                .from.node = t->lead + 1,
                                .number = 1,
                                .part = CAIRN_COPY_RECORDS,
                                .bytes = page,
                                .len = (uint32_t)store_page_bytes(&r) };

    assert_true(m.len <= sizeof(page));
    cairn_record_put_extents(record, 0, &region, 1);
    store_page_put(&r, page);
    assert_true(cluster_fetch_admit(&w->nodes[t->member].c->side->workers[0].fetches, &m));
    return m.number != 0;
}

/* Regions of a copy leave a node no faster than copies may, and wait without holding up what is in a hurry. */
static void regions_of_copies_keep_their_rate(void **state)
{
    enum { N = 4, RATE = LEN * 20 };
    struct world *w = *state;
    struct trio t = trio_of(w);
    struct extents *lead = &w->nodes[t.lead].extents;
    struct cluster_pace *pace = &w->nodes[t.lead].c->side->pace;
    uint64_t began = cairn_env_now_ns(&w->loop.env), before = atomic_load(&pace->bytes_sent);
    struct telling told;

    for (uint64_t id = 71; id < 71 + N + 2; id++)
        extents_add(lead, id);
    pace->bytes_per_s = RATE;
    for (uint64_t id = 71; id < 71 + N; id++)
        assert_false(page_is_taken(w, &t, id));
    for (uint64_t id = 71; id < 71 + N; id++) {
        turns_until_it_has(w, t.member, id);
        assert_true(page_is_taken(w, &t, id));
    }
    assert_int_equal(atomic_load(&pace->bytes_sent) - before, N * LEN);
    assert_true(cluster_pace_free_ns(pace) >= began + N * (LEN * CAIRN_NS_PER_S / RATE));
    assert_true(cairn_env_now_ns(&w->loop.env) >= began + (N - 1) * (LEN * CAIRN_NS_PER_S / RATE));

    /* Much is to be paid for: a copy's waits, and comes when it is; another's does not. */
    atomic_store(&pace->free_ns, UINT64_MAX / 2);
    assert_false(page_is_taken(w, &t, 71 + N));
    tell(w, &told, t.slot, t.member, t.lead, 71 + N + 1, 1);
    turns(w, &told.a.done);
    assert_int_equal(told.a.rc, 0);
    assert_false(extents_has(&w->nodes[t.member].extents, 71 + N));
    assert_int_equal(atomic_load(&pace->bytes_sent) - before, N * LEN);
    atomic_store(&pace->free_ns, began);
    turns_until_it_has(w, t.member, 71 + N);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(another_has_what_a_dead_node_had, setup, teardown),
        cmocka_unit_test_setup_teardown(a_node_dies_while_it_gives_a_region, setup, teardown),
        cmocka_unit_test_setup_teardown(a_node_that_hangs_does_not_hold_others_up, setup, teardown),
        cmocka_unit_test_setup_teardown(a_stranger_is_not_believed_that_a_region_is_gone, setup, teardown),
        cmocka_unit_test_setup_teardown(a_damaged_region_is_replaced, setup, teardown),
        cmocka_unit_test_setup_teardown(regions_of_copies_keep_their_rate, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
