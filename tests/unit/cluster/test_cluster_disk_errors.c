/* Replicas of a slot on three nodes, whose log cannot be written: that is the end of the replica (PROTOCOL §12), though
 * its process goes on. */
#include "tests/lib/disk_faults.h"
#include "tests/unit/cluster/slots_world.h"

#include <errno.h>

static void three_nodes(struct world *w)
{
    for (uint64_t i = 1; i <= NODES; i++) {
        node_start(w, i);
        w->nodes[i].may_fail = true;
    }
    place(w, NODES);
    expect_active(w, 1, 3);
    fill(w, 1, 0, 60);
    for (uint64_t i = 1; i <= NODES; i++)
        expect_records(w, 1, i, 60);
}

static void until_failed(struct world *w, uint64_t id)
{
    WHILE_PATIENT (!w->nodes[id].failed)
        turn(w);
}

/* Who follows says nothing any more: also not of `buffered` entries, of which it would say so as soon as it has them in
 * memory. So the primary has it removed, and goes on with the other. */
static void who_cannot_sync_is_removed(void **state)
{
    struct world *w = *state;
    struct cairn_replica *r;
    uint64_t end;

    three_nodes(w);
    r = cluster_slots_replica(w->nodes[3].slots, SLOT);
    w->nodes[3].log_rc = CAIRN_E_IO;
    assert_int_equal(put(w, 1, "key 60", "record 60", true), 0); /* when the other two have it, and the third is out */
    until_failed(w, 3);
    expect_active(w, 1, 2);
    assert_int_equal(cairn_slot_insync(&w->rec, (struct cairn_who){ 3, w->nodes[3].inc }), -1);
    end = r->log.end.pos;
    fill(w, 1, 61, 20);
    assert_int_equal(r->log.end.pos, end);
    expect_records(w, 1, 2, 81);
}

/* The log takes nothing behind what it could not write; what comes all the same finds a replica that is deaf. */
static void a_log_that_fails_is_left_alone(void **state)
{
    struct world *w = *state;
    struct cairn_replica *r;
    struct cairn_at end;

    three_nodes(w);
    r = cluster_slots_replica(w->nodes[3].slots, SLOT);
    disk_fail_syncs(NODES, EIO); /* each log's next one, whoever comes first */
    for (uint64_t i = 1; i <= NODES; i++)
        cairn_slot_disk_sync(w->nodes[i].disk, SLOT);
    for (uint64_t i = 1; i <= NODES; i++)
        until_failed(w, i);
    end = r->log.end;
    for (int i = 0; i < 3; i++) {
        struct cairn_log_entry more[2] = { { .at = { w->rec.epoch, end.pos + 1 }, .kind = CAIRN_ENTRY_START },
                                           { .at = { w->rec.epoch, end.pos + 2 }, .kind = CAIRN_ENTRY_START } };
        struct cairn_repl_msg m = { .kind = CAIRN_REPL_APPEND,
                                    .slot = SLOT,
                                    .from = w->rec.primary,
                                    .to = { 3, w->nodes[3].inc },
                                    .epoch = w->rec.epoch,
                                    .prev = end,
                                    .entries = more,
                                    .nentries = 2 };

        cluster_slots_receive(w->nodes[3].slots, &m);
        turn(w);
    }
    assert_int_equal(r->log.end.pos, end.pos);
    assert_true(cairn_list_is_empty(&w->packets));
}

int main(void)
{
    const struct CMUnitTest tests[] = { BOTH(who_cannot_sync_is_removed), BOTH(a_log_that_fails_is_left_alone) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
