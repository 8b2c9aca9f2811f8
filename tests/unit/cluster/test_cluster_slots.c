/* Replicas of a slot on three nodes: writes, a copy to a node that has nothing, a slot that leaves. */
#include "tests/unit/cluster/slots_world.h"

static void what_is_put_is_everywhere(void **state)
{
    struct world *w = *state;

    for (uint64_t i = 1; i <= NODES; i++)
        node_start(w, i);
    place(w, NODES);
    expect_active(w, 1, 3);
    assert_int_equal(put(w, 2, "k", "x", false), CAIRN_E_MOVED);
    assert_int_equal(atomic_load(&w->nodes[2].words[SLOT]), CLUSTER_WORD_BACKUP);
    fill(w, 1, 0, 300);
    for (uint64_t i = 1; i <= NODES; i++)
        expect_records(w, 1, i, 300);
}

/* Of @kind, in @state; NULL: in any. */
static uint32_t machines(struct world *w, uint64_t node, const char *kind, const char *state)
{
    struct cairn_sm_census rows[64];
    uint32_t n = cairn_sm_set_census(&w->nodes[node].kv.loop.machines, rows, ARRAY_SIZE(rows)), count = 0;

    for (uint32_t i = 0; i < n; i++) {
        for (uint32_t k = 0; k < rows[i].kind->nstates && strcmp(rows[i].kind->name, kind) == 0; k++)
            count += state == NULL || strcmp(rows[i].kind->states[k].name, state) == 0 ? rows[i].count[k] : 0;
    }
    return count;
}

/* While the target makes a copy durable its source has no view any more, so others may have one. */
static void expect_no_view_at_the_end(struct world *w)
{
    bool seen = false;

    WHILE_PATIENT (machines(w, 1, "slot-copy", NULL) > 0 || !seen) {
        turn(w);
        if (machines(w, 1, "slot-copy", "END") == 0)
            continue;
        seen = true;
        assert_int_equal(machines(w, 1, "store-view", NULL), machines(w, 1, "store-view", "CLOSE"));
    }
}

/* A node that has nothing, and a leader whose log does not begin at the beginning: records and sessions come by a
 * copy. */
static void a_new_node_gets_a_copy(void **state)
{
    struct world *w = *state;

    node_start(w, 1);
    node_start(w, 2);
    place(w, 2);
    expect_active(w, 1, 2);
    fill(w, 1, 0, 700);
    expect_records(w, 1, 2, 700);
    checkpoint(w, 1);
    checkpoint(w, 2);
    node_start(w, 3);
    w->rec.epoch++;
    w->rec.replicas[w->rec.nreplicas++] = 3;
    publish(w);
    expect_no_view_at_the_end(w);
    assert_int_equal(kv_node_number(&w->nodes[3].kv, "synced_ops"), 0); /* it had nothing that a mark would be for */
    fill(w, 1, 700, 100);
    expect_active(w, 1, 3);
    fill(w, 1, 800, 10);
    expect_records(w, 1, 3, 810);
    /* And it holds what it was given. */
    node_stop(w, 1);
    w->rec.primary = (struct cairn_who){ 3, w->nodes[3].inc };
    rejoin(w, 1);
    expect_active(w, 3, 2);
    fill(w, 3, 810, 10);
    expect_records(w, 3, 2, 820);
}

static struct replica_peer *peer_of(struct world *w, uint64_t leader, uint64_t node)
{
    struct cairn_replica *r = cluster_slots_replica(w->nodes[leader].slots, SLOT);

    for (uint32_t i = 0; i < r->npeers; i++) {
        if (r->peers[i].who.node == node)
            return &r->peers[i];
    }
    return NULL;
}

/* Node 3 has a database of the namespace's name that is another: no copy can be stored there. Each next one begins
 * later than the one before, the slot goes on without it, and what had come of it is given back at once. */
static void a_copy_that_is_refused_comes_more_and_more_seldom(void **state)
{
    Cairn__Wire__KvOpen open = CAIRN__WIRE__KV_OPEN__INIT;
    struct world *w = *state;
    uint64_t last_ns = 0;
    struct kv_answer a;
    uint32_t db;

    node_start(w, 1);
    node_start(w, 2);
    place(w, 2);
    expect_active(w, 1, 2);
    assert_int_equal(put_in(w, 1, 4, "of another", "that comes before", false), 0);
    fill(w, 1, 0, 10);
    checkpoint(w, 1);
    node_start(w, 3);
    open.name = (char *)(uintptr_t) "ns/5";
    open.create = open.write_once = true;
    kv_node_ask(&w->nodes[3].kv, CAIRN__WIRE__KV_METHOD__KV_OPEN, &open.base, &a);
    assert_int_equal(a.rc, 0);
    w->rec.epoch++;
    w->rec.replicas[w->rec.nreplicas++] = 3;
    publish(w);
    for (uint32_t failed = 1; failed <= 4; failed++) {
        WHILE_PATIENT (peer_of(w, 1, 3) == NULL || peer_of(w, 1, 3)->copies_failed < failed)
            turn(w);
        assert_true(peer_of(w, 1, 3)->copy_ns >= last_ns + (times.resend_ns << (failed - 1)));
        last_ns = peer_of(w, 1, 3)->copy_ns;
        assert_int_equal(cluster_slots_replica(w->nodes[1].slots, SLOT)->copy_jobs, failed);
        assert_int_equal(cluster_store_troubles(cluster_slots_store(w->nodes[3].slots))->refused, failed);
        peer_of(w, 1, 3)->copy_ns = UINT64_MAX; /* no other comes, however long it takes to erase what there is */
        WHILE_PATIENT (cluster_slots_replica(w->nodes[3].slots, SLOT)->cleaning)
            turn(w);
        peer_of(w, 1, 3)->copy_ns = failed < 4 ? last_ns : UINT64_MAX;
    }
    assert_true(kv_node_has(&w->nodes[3].kv, "ns/4", &db));
    assert_string_equal(kv_node_record(&w->nodes[3].kv, 4, "of another"), "-");
    fill(w, 1, 10, 10);
    expect_records(w, 1, 2, 20);
}

/* A slot that is not at node 3 any more is deleted there, records and all. */
static void leave_node_3(struct world *w)
{
    for (uint64_t i = 1; i <= NODES; i++)
        node_start(w, i);
    place(w, NODES);
    expect_active(w, 1, 3);
    fill(w, 1, 0, 60);
    expect_records(w, 1, 3, 60);
    w->rec.epoch++;
    w->rec.nreplicas = 2;
    insync_remove(&w->rec, 3);
    publish(w);
    WHILE_PATIENT (strcmp(record_at(w, 3, "key 0"), "-") != 0)
        turn(w);
    expect_records(w, 1, 2, 60);
}

static void a_slot_that_left_is_cleaned(void **state)
{
    leave_node_3(*state);
}

static void expect_nothing_at_3(struct world *w)
{
    WHILE_PATIENT (strcmp(record_at(w, 3, "key 0"), "-") != 0)
        turn(w);
    WHILE_PATIENT (cluster_slots_replica(w->nodes[3].slots, SLOT)->cleaning)
        turn(w);
}

/* Node 3 is to hold the slot, and gets a page of it, but no more. */
static void copy_a_part_to_node_3(struct world *w)
{
    struct node *n = &w->nodes[3];

    node_start(w, 1);
    node_start(w, 2);
    place(w, 2);
    expect_active(w, 1, 2);
    fill(w, 1, 0, 60);
    expect_records(w, 1, 2, 60);
    checkpoint(w, 1);
    node_start(w, 3);
    w->rec.epoch++;
    w->rec.replicas[w->rec.nreplicas++] = 3;
    publish(w);
    WHILE_PATIENT (!cluster_slots_replica(n->slots, SLOT)->has_pages)
        turn(w);
    n->up = false; /* it hears nothing any more */
    WHILE_PATIENT (strcmp(record_at(w, 3, "key 0"), "-") == 0)
        turn(w);
    n->up = true;
    assert_true(cluster_slots_replica(n->slots, SLOT)->partial);
}

static void forget_node_3(struct world *w)
{
    w->rec.epoch++;
    w->rec.nreplicas = 2;
    publish(w);
}

/* The slot is not to be at node 3 after all: what came of the copy, which has no log, is deleted. Once: what is empty
 * is not asked for again. */
static void a_part_that_is_not_wanted_is_cleaned(void **state)
{
    struct world *w = *state;
    struct cairn_replica *r;

    copy_a_part_to_node_3(w);
    forget_node_3(w);
    expect_nothing_at_3(w);
    r = cluster_slots_replica(w->nodes[3].slots, SLOT);
    assert_int_equal(r->sm.state, REPLICA_OUT);
    assert_false(cairn_replica_clean(r));
    expect_records(w, 1, 2, 60);
}

/* Likewise after a crash of node 3, during which the move was given up. */
static void a_part_that_is_found_is_cleaned(void **state)
{
    struct world *w = *state;

    copy_a_part_to_node_3(w);
    node_stop(w, 3);
    node_start(w, 3);
    assert_true(cluster_slots_replica(w->nodes[3].slots, SLOT)->partial);
    assert_string_not_equal(record_at(w, 3, "key 0"), "-");
    forget_node_3(w);
    expect_nothing_at_3(w);
    assert_false(cairn_replica_clean(cluster_slots_replica(w->nodes[3].slots, SLOT)));
}

/* A map that was made anew knows nothing of that: the node is to lead what it has deleted. It does not, and goes on. */
static void what_is_cleaned_is_not_led(void **state)
{
    struct world *w = *state;
    struct cairn_who self;

    leave_node_3(w);
    self = (struct cairn_who){ 3, w->nodes[3].inc };
    w->rec = (struct cairn_slot_record){ .epoch = w->rec.epoch + 1,
                                         .since = w->rec.epoch + 1,
                                         .state = CAIRN_SLOT_TAKEOVER,
                                         .primary = self,
                                         .insync = { self },
                                         .ninsync = 1,
                                         .replicas = { 3 },
                                         .nreplicas = 1,
                                         .min_insync = 1 };
    publish(w);
    assert_int_equal(machines(w, 3, "slot-replica", "RESTARTED"), 1);
    assert_int_equal(put(w, 3, "k", "x", false), CAIRN_E_MOVED);
}

static struct cairn_log_entry entry(uint64_t epoch, uint64_t pos)
{
    return (struct cairn_log_entry){ .at = { epoch, pos }, .kind = CAIRN_ENTRY_START, .sync = true };
}

/* An APPEND of one entry behind @prev, to node 3. */
static void append(struct world *w, uint64_t from, struct cairn_at prev, const struct cairn_log_entry *e)
{
    struct cairn_repl_msg m = { .kind = CAIRN_REPL_APPEND,
                                .slot = SLOT,
                                .from = { from, w->nodes[from].inc },
                                .to = { 3, w->nodes[3].inc },
                                .epoch = w->rec.epoch,
                                .prev = prev,
                                .entries = e,
                                .nentries = 1 };

    cluster_slots_receive(w->nodes[3].slots, &m);
}

static void count(void *arg, const struct cairn_log_entry *e)
{
    (void)e;
    ++*(uint32_t *)arg;
}

/* Entries that were cut may come back until that is on disk: meanwhile nobody is told that the log does not have them,
 * for what they name would be freed. */
static void a_cut_is_a_cut_when_it_is_on_disk(void **state)
{
    struct world *w = *state;
    struct cairn_log_entry more, other;
    struct cairn_at prev;
    uint64_t end;
    uint32_t n = 0;

    for (uint64_t i = 1; i <= NODES; i++)
        node_start(w, i);
    place(w, NODES);
    expect_active(w, 1, 3);
    fill(w, 1, 0, 20);
    expect_records(w, 1, 3, 20);
    end = cairn_slot_disk_end(w->nodes[3].disk, SLOT);
    prev = cairn_slot_disk_get(w->nodes[3].disk, SLOT, end)->at;
    more = entry(w->rec.epoch, end + 1);
    append(w, 1, prev, &more); /* nobody else gets this one */
    node_stop(w, 1);
    insync_remove(&w->rec, 1);
    w->rec.since = ++w->rec.epoch;
    w->rec.state = CAIRN_SLOT_TAKEOVER;
    w->rec.primary = (struct cairn_who){ 2, w->nodes[2].inc };
    publish(w);
    other = entry(w->rec.epoch, end + 1);
    append(w, 2, prev, &other);
    assert_int_equal(cairn_slot_disk_end(w->nodes[3].disk, SLOT), end + 1);
    assert_int_equal(cluster_slots_each_entry(w->nodes[3].slots, count, &n), CAIRN_E_BUSY);
    WHILE_PATIENT (cluster_slots_each_entry(w->nodes[3].slots, count, &n) == CAIRN_E_BUSY)
        turn(w);
    assert_true(n >= end + 1);
}

/* ---- a primary that steps down ---- */

/* What is on its way comes to node 2, or (not @arrives) to nobody, and nothing more. */
static void last_words(struct world *w, bool arrives)
{
    struct cairn_link words, *l;

    cairn_list_init(&words);
    cairn_list_splice(&words, &w->packets);
    while ((l = cairn_list_pop(&words)) != NULL) {
        struct packet *p = CONTAINER_OF(l, struct packet, link);

        if (arrives && p->to == 2)
            deliver(w, p);
        else
            packet_free(p);
    }
}

/* What it has appended is answered MOVED, whether its successor has it or cuts it; sent there again under its number it
 * is done once: the PUT, which is for a key that is not there, finds none the first time, and that is the answer. */
static void step_down(struct world *w, bool arrives)
{
    struct store_body b = { .op = STORE_PUT,
                            .flags = STORE_BODY_IF_ABSENT,
                            .ns = 5,
                            .key = (const uint8_t *)"k",
                            .key_len = 1,
                            .record = (const uint8_t *)"x",
                            .record_len = 1 };
    struct client open = { .w = { .kind = CAIRN_ENTRY_OPEN } }, c = { .w = { .kind = CAIRN_ENTRY_WRITE } };
    struct cairn_replica *heir;
    uint64_t had;
    uint8_t body[256];

    for (uint64_t i = 1; i <= NODES; i++)
        node_start(w, i);
    place(w, NODES);
    expect_active(w, 1, 3);
    heir = cluster_slots_replica(w->nodes[2].slots, SLOT);
    assert_int_equal(write_entry(w, 1, &open, NULL, 0), 0);
    WHILE_PATIENT (heir->log.end.pos < open.w.at.pos)
        turn(w);
    had = heir->log.end.pos;
    store_body_put(&b, body);
    c.w.rid.session = open.w.at;
    c.w.rid.seq = 1;
    assert_int_equal(write_begin(w, 1, &c, body, store_body_bytes(&b)), 0);
    last_words(w, arrives);
    assert_int_equal(heir->log.end.pos, had + (arrives ? 1 : 0));
    assert_false(c.done);
    w->rec.primary = (struct cairn_who){ 2, w->nodes[2].inc };
    w->rec.state = CAIRN_SLOT_TAKEOVER;
    w->rec.since = ++w->rec.epoch;
    publish(w);
    turns(w, &c.done);
    assert_int_equal(c.rc, CAIRN_E_MOVED);
    expect_active(w, 2, 3);
    for (int i = 0; i < 2; i++) { /* and as often as it is asked */
        assert_int_equal(write_entry(w, 2, &c, body, store_body_bytes(&b)), 0);
        assert_int_equal(c.w.result, 0);
    }
    c.w.rid.seq = 2; /* another one finds it there */
    assert_int_equal(write_entry(w, 2, &c, body, store_body_bytes(&b)), 0);
    assert_int_equal(c.w.result, CAIRN_E_EXISTS);
    assert_string_equal(record_at(w, 2, "k"), "x");
}

static void what_a_successor_has_is_done_once(void **state)
{
    step_down(*state, true);
}

static void what_a_successor_has_not_is_done_once(void **state)
{
    step_down(*state, false);
}

/* ---- as many sessions as may be ---- */

/* All in use, as those who open them have just come: the next one is to come again, which is counted for people. */
static void who_finds_no_room_for_a_session_is_counted(void **state)
{
    struct client *all = calloc(CAIRN_SESSIONS_MAX, sizeof(*all)), one = { .w = { .kind = CAIRN_ENTRY_OPEN } };
    struct world *w = *state;
    struct cluster_slots *slots;
    uint64_t last_ns;

    assert_non_null(all);
    node_start(w, 1);
    place(w, 1);
    expect_active(w, 1, 1);
    slots = w->nodes[1].slots;
    for (int i = 0; i < CAIRN_SESSIONS_MAX; i++) {
        all[i].w.kind = CAIRN_ENTRY_OPEN;
        assert_int_equal(write_begin(w, 1, &all[i], NULL, 0), 0);
    }
    for (int i = 0; i < CAIRN_SESSIONS_MAX; i++) {
        turns(w, &all[i].done);
        assert_int_equal(all[i].rc, 0);
    }
    assert_int_equal(cluster_slots_sessions_refused(slots, &last_ns), 0);
    assert_int_equal(cluster_slots_write(slots, SLOT, &one.w), CAIRN_E_BUSY);
    assert_int_equal(cluster_slots_sessions_refused(slots, &last_ns), 1);
    assert_true(last_ns > 0);
    one.w = (struct cairn_repl_write){ .kind = CAIRN_ENTRY_EXPIRE, .rid.session = all[0].w.at }; /* its client ends */
    assert_int_equal(write_entry(w, 1, &one, NULL, 0), 0);
    one.w = (struct cairn_repl_write){ .kind = CAIRN_ENTRY_OPEN };
    assert_int_equal(write_entry(w, 1, &one, NULL, 0), 0);
    assert_int_equal(cluster_slots_sessions_refused(slots, &last_ns), 1);
    free(all);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(what_is_put_is_everywhere),
        BOTH(a_new_node_gets_a_copy),
        BOTH(a_copy_that_is_refused_comes_more_and_more_seldom),
        BOTH(a_slot_that_left_is_cleaned),
        BOTH(a_part_that_is_not_wanted_is_cleaned),
        cmocka_unit_test_setup_teardown(a_part_that_is_found_is_cleaned, setup_rocksdb, teardown),
        BOTH(what_is_cleaned_is_not_led),
        BOTH(a_cut_is_a_cut_when_it_is_on_disk),
        BOTH(what_a_successor_has_is_done_once),
        BOTH(what_a_successor_has_not_is_done_once),
        cmocka_unit_test_setup_teardown(who_finds_no_room_for_a_session_is_counted, setup_memory, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
