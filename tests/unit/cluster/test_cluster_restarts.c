/* Replicas of a slot on three nodes: checkpoints, and nodes that stop and start again. */
#include "tests/lib/skip.h"
#include "tests/unit/cluster/slots_world.h"

#include <errno.h>
#include <sys/mount.h>

/* A member that restarts has its records and its log, and takes what it missed from the leader. */
static void a_member_restarts(void **state)
{
    struct world *w = *state;

    for (uint64_t i = 1; i <= NODES; i++)
        node_start(w, i);
    place(w, NODES);
    expect_active(w, 1, 3);
    fill(w, 1, 0, 100);
    checkpoint(w, 3);
    fill(w, 1, 100, 50);
    node_stop(w, 3);
    fill(w, 1, 150, 50); /* without it, once it is removed */
    assert_int_equal(w->rec.ninsync, 2);
    node_start(w, 3);
    publish(w);
    expect_active(w, 1, 3);
    fill(w, 1, 200, 20);
    expect_records(w, 1, 3, 220);
}

/* All nodes restart, and everything that was answered is there. */
static void all_restart(void **state)
{
    struct world *w = *state;
    struct client open = { .w = { .kind = CAIRN_ENTRY_OPEN, .sync = true } };
    struct client c = { .w = { .kind = CAIRN_ENTRY_WRITE, .sync = true, .floor = 1 } };
    struct store_body b = { .op = STORE_PUT, .ns = 5, .key = (const uint8_t *)"in a session", .key_len = 12 };
    uint8_t body[64];
    struct cairn_at first;

    for (uint64_t i = 1; i <= NODES; i++)
        node_start(w, i);
    place(w, NODES);
    expect_active(w, 1, 3);
    assert_int_equal(write_entry(w, 1, &open, NULL, 0), 0);
    store_body_put(&b, body);
    c.w.rid = (struct cairn_rid){ .session = open.w.at, .seq = 1 };
    assert_int_equal(write_entry(w, 1, &c, body, store_body_bytes(&b)), 0);
    first = c.w.at;
    fill(w, 1, 0, 120);
    checkpoint(w, 1);
    fill(w, 1, 120, 30);
    for (uint64_t i = 1; i <= NODES; i++)
        node_stop(w, i);
    for (uint64_t i = 1; i <= NODES; i++)
        node_start(w, i);
    w->rec.epoch++;
    w->rec.since = w->rec.epoch;
    w->rec.state = CAIRN_SLOT_TAKEOVER;
    w->rec.primary.inc = w->nodes[1].inc;
    w->rec.ninsync = 3;
    for (uint32_t i = 0; i < 3; i++)
        w->rec.insync[i] = (struct cairn_who){ i + 1, w->nodes[i + 1].inc };
    publish(w);
    expect_active(w, 1, 3);
    fill(w, 1, 150, 10);
    for (uint64_t i = 1; i <= NODES; i++)
        expect_records(w, 1, i, 160);
    /* A retry of what was answered is answered, and done once. */
    assert_int_equal(write_entry(w, 1, &c, body, store_body_bytes(&b)), 0);
    assert_int_equal(c.w.at.pos, first.pos);
}

/* However long a checkpoint by time is away, and however slow one is: what is logged has a bound. */
static void a_log_is_bounded_in_bytes(void **state)
{
    struct world *w = *state;
    struct cairn_slot_disk_stats stats;
    uint64_t most = 0;

    w->checkpoint_bytes = 64 << 10;
    node_start(w, 1);
    place(w, 1);
    expect_active(w, 1, 1);
    for (int i = 0; i < 60; i++) {
        fill(w, 1, i * 100, 100);
        cairn_slot_disk_stats(w->nodes[1].disk, &stats);
        most = MAX(most, stats.bytes);
    }
    assert_true(most < 6 * w->checkpoint_bytes); /* what was there when a checkpoint began, 4 times as much meanwhile */
    expect_records(w, 1, 1, 6000);
}

/* 100 KB under a key of its own. */
static int put_much_begin(struct world *w, struct client *c, uint32_t number)
{
    enum { RECORD_BYTES = 100000 };
    static const uint8_t record[RECORD_BYTES];
    static uint8_t body[RECORD_BYTES + 100];
    struct store_body b = { .op = STORE_PUT,
                            .ns = 5,
                            .key = (const uint8_t *)&number,
                            .key_len = sizeof(number),
                            .record = record,
                            .record_len = sizeof(record) };

    *c = (struct client){ .w = { .kind = CAIRN_ENTRY_WRITE, .sync = true, .rid.seq = 1 } };
    store_body_put(&b, body);
    return write_begin(w, 1, c, body, store_body_bytes(&b));
}

static int put_much(struct world *w, uint32_t number)
{
    struct client c;
    int rc = put_much_begin(w, &c, number);

    if (rc != 0)
        return rc;
    turns(w, &c.done);
    return c.rc;
}

/* The disk has room for two segments and no more. What is written is refused when they are full, and taken again after
 * a checkpoint, which nobody has to ask for. */
static void a_full_log_takes_writes_again(void **state)
{
    struct world *w = *state;
    struct node *n = &w->nodes[1];
    uint32_t number = 0;

    snprintf(n->dir, sizeof(n->dir), "%s/1", w->dir);
    snprintf(n->log_dir, sizeof(n->log_dir), "%s/1/log", w->dir);
    mkdir(n->dir, 0700);
    mkdir(n->log_dir, 0700);
    if (mount("tmpfs", n->log_dir, "tmpfs", 0, "size=9m") != 0) {
        skip_because("no mount here (%s)", strerror(errno));
    }
    node_start(w, 1);
    place(w, 1);
    expect_active(w, 1, 1);
    for (int i = 0; i < 3; i++) {
        int rc;

        while ((rc = put_much(w, number)) == 0)
            number++;
        assert_int_equal(rc, CAIRN_E_NOSPACE);
        assert_in_range(number, 1, 100 * (i + 1));
        while ((rc = put_much(w, number)) == CAIRN_E_NOSPACE)
            turn(w);
        assert_int_equal(rc, 0);
        number++;
    }
    node_stop(w, 1);
    node_start(w, 1);
    assert_int_equal(cairn_slot_disk_end(n->disk, SLOT), number + 1); /* and the START */
}

/* A member whose provider is full keeps so much that it cannot apply, and no more: the others go on without it. */
static void who_cannot_apply_is_left_behind(void **state)
{
    struct world *w = *state;
    struct cairn_slot_disk_stats stats;
    uint32_t number = 0;

    w->unapplied_bytes = 4 << 20;
    w->nodes[2].backend = "memory, memory: 16MiB";
    for (uint64_t i = 1; i <= 2; i++)
        node_start(w, i);
    place(w, 2);
    expect_active(w, 1, 2);
    for (; w->rec.ninsync == 2; number++) {
        assert_true(number < 400);
        assert_int_equal(put_much(w, number), 0);
    }
    assert_true(number > 160); /* 16 MB are there, and some are in its log */
    for (int i = 0; i < 100; i++)
        assert_int_equal(put_much(w, number++), 0);
    cairn_slot_disk_stats(w->nodes[2].disk, &stats);
    assert_in_range(stats.bytes, 4 << 20, (16 + 4 + 4) << 20); /* nothing was trimmed */
}

/* A leader whose provider is full to the last byte refuses every write at once, removals and new sessions too: they
 * would be in its log, behind what it cannot apply, and nobody would be told what came of them. */
static void who_cannot_apply_what_it_leads_refuses_all(void **state)
{
    struct world *w = *state;
    struct client open = { .w = { .kind = CAIRN_ENTRY_OPEN } };
    struct node *n = &w->nodes[1];
    static struct client last; /* until the node stops */
    uint32_t number = 0;

    n->backend = "memory, memory: 16MiB";
    node_start(w, 1);
    place(w, 1);
    expect_active(w, 1, 1);
    for (; !cluster_slots_is_stuck(n->slots); number++) {
        assert_true(number < 400);
        assert_int_equal(put_much_begin(w, &last, number), 0);
        WHILE_PATIENT (!last.done && !cluster_slots_is_stuck(n->slots))
            turn(w);
    }
    assert_true(number > 100);
    assert_false(last.done); /* it is in the log, and waits for room */
    assert_int_equal(write_entry(w, 1, &open, NULL, 0), CAIRN_E_NOSPACE);
    assert_int_equal(put_much(w, number), CAIRN_E_NOSPACE);
}

/* After a clean stop the log is empty, and nothing is read or applied again; what was answered is there. */
static void a_clean_stop_leaves_nothing_to_be_read(void **state)
{
    struct world *w = *state;

    for (uint64_t i = 1; i <= 2; i++)
        node_start(w, i);
    place(w, 2);
    expect_active(w, 1, 2);
    fill(w, 1, 0, 200);
    expect_records(w, 1, 2, 200);
    for (uint64_t i = 1; i <= 2; i++)
        node_stop(w, i);
    for (uint64_t i = 1; i <= 2; i++) {
        node_start(w, i);
        assert_true(cairn_slot_disk_end(w->nodes[i].disk, SLOT) >= 200);
        assert_true(cairn_slot_disk_end(w->nodes[i].disk, SLOT) - cairn_slot_disk_base(w->nodes[i].disk, SLOT).pos <=
                    2);
    }
    w->rec.epoch++;
    w->rec.since = w->rec.epoch;
    w->rec.state = CAIRN_SLOT_TAKEOVER;
    w->rec.primary.inc = w->nodes[1].inc;
    for (uint32_t i = 0; i < 2; i++)
        w->rec.insync[i] = (struct cairn_who){ i + 1, w->nodes[i + 1].inc };
    publish(w);
    expect_active(w, 1, 2);
    fill(w, 1, 200, 10);
    for (uint64_t i = 1; i <= 2; i++)
        expect_records(w, 1, i, 210);
}

/* The power goes when a learner has cut its log, and has applied and kept what came in place of that: what was kept is
 * there, and the cut is not. Its records are of another history than its log, and of no use to it: it needs a copy. */
static void what_replaced_a_cut_that_is_lost_is_of_no_use(void **state)
{
    struct world *w = *state;
    struct node *n = &w->nodes[3];
    uint64_t end;

    for (uint64_t i = 1; i <= NODES; i++)
        node_start(w, i);
    place(w, NODES);
    expect_active(w, 1, 3);
    fill(w, 1, 0, 50);
    expect_records(w, 1, 3, 50);
    end = cairn_slot_disk_end(n->disk, SLOT);
    assert_true(cairn_slot_disk_get(n->disk, SLOT, end)->at.epoch > 1);
    assert_int_equal(cairn_slot_disk_restart(n->disk, SLOT, (struct cairn_at){ .epoch = 1, .pos = end - 3 }), 0);
    for (uint64_t pos = end - 2; pos <= end + 2; pos++) { /* what it had before, and more than replaced it */
        struct cairn_log_entry e = { .at = { .epoch = 1, .pos = pos }, .kind = CAIRN_ENTRY_WRITE };

        assert_int_equal(cairn_slot_disk_append(n->disk, SLOT, &e), 0);
    }
    node_stop(w, 3);
    node_start(w, 3);
    assert_true(cluster_slots_replica(n->slots, SLOT)->partial);
    rejoin(w, 3);
    expect_active(w, 1, 3);
    fill(w, 1, 50, 20);
    expect_records(w, 1, 3, 70);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(a_member_restarts),
        cmocka_unit_test_setup_teardown(all_restart, setup_rocksdb, teardown),
        cmocka_unit_test_setup_teardown(who_cannot_apply_what_it_leads_refuses_all, setup_memory, teardown),
        BOTH(a_log_is_bounded_in_bytes),
        cmocka_unit_test_setup_teardown(a_full_log_takes_writes_again, setup_rocksdb, teardown),
        cmocka_unit_test_setup_teardown(who_cannot_apply_is_left_behind, setup_memory, teardown),
        cmocka_unit_test_setup_teardown(a_clean_stop_leaves_nothing_to_be_read, setup_rocksdb, teardown),
        cmocka_unit_test_setup_teardown(what_replaced_a_cut_that_is_lost_is_of_no_use, setup_rocksdb, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
