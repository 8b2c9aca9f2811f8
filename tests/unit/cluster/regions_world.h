/* Writes whose records name regions, and who has to have these: test_cluster_regions.c, test_cluster_fetch.c. */
#ifndef CAIRN_TESTS_UNIT_REGIONS_WORLD_H
#define CAIRN_TESTS_UNIT_REGIONS_WORLD_H

#include "tests/unit/cluster/nodes_world.h"

struct large {
    struct asked a;
    struct cairn_cluster_write cw;
    uint8_t record[CAIRN_RECORD_EXTENTS_HEAD_BYTES + CAIRN_RECORD_REGION_BYTES];
};

/* A write of @key by node @i, whose record names region @id. */
static inline void large_put(struct world *w, struct large *x, uint32_t i, uint32_t slot, const char *key, uint64_t id)
{
    struct cairn_record_region region = { .id = id, .len = LEN };

    cairn_record_put_extents(x->record, 0, &region, 1);
    x->a = (struct asked){ 0 };
    x->cw = (struct cairn_cluster_write){ .cluster = w->nodes[i].c,
                                          .slot = slot,
                                          .op = CAIRN_CLUSTER_PUT,
                                          .ns = NS,
                                          .write_once = true,
                                          .sync = true,
                                          .number = id,
                                          .key = (const uint8_t *)key,
                                          .key_len = (uint32_t)strlen(key),
                                          .record = x->record,
                                          .record_len = sizeof(x->record),
                                          .timeout_ns = 10 * CAIRN_NS_PER_S,
                                          .done = on_written,
                                          .arg = &x->a };
    cairn_cluster_write(&x->cw);
}

/* By the map itself: what nodes know of it is older. */
static inline bool is_member(struct world *w, uint32_t slot, uint32_t i)
{
    WHILE_PATIENT (true) {
        for (uint32_t k = 0; k < NODES; k++) {
            const struct cairn_coordinator *co = w->nodes[k].c->coordinator;
            const struct cairn_slot_record *rec = &co->coord.slots[slot].rec;

            if (!cairn_coordinator_is_serving(co))
                continue;
            for (uint32_t at = 0; at < rec->ninsync; at++) {
                if (rec->insync[at].node == i + 1)
                    return true;
            }
            return false;
        }
        turn(w); /* another is elected */
    }
}

static inline uint32_t member_other_than(struct world *w, uint32_t slot, uint32_t i)
{
    struct cairn_slot_record rec;

    WHILE_PATIENT (true) { /* it may have been silent, and out for a moment */
        assert_true(cairn_cluster_records_slot(w->nodes[i].c->records, slot, &rec));
        if (rec.ninsync == 2)
            break;
        turn(w);
    }
    return (uint32_t)rec.insync[rec.insync[0].node == i + 1 ? 1 : 0].node - 1;
}

/* It may be so on a busy machine, where a node was silent: who leads has no lease for a moment, or another leads. */
static inline bool is_refused(int rc)
{
    return rc == CAIRN_E_BUSY || rc == CAIRN_E_MOVED || rc == CAIRN_E_TIMEOUT;
}

/* A write that names region @id is done, though members may have been removed and come back on its way. */
static inline void large_put_is_done(struct world *w, uint32_t slot, const char *key, uint64_t id)
{
    struct large x;

    do {
        large_put(w, &x, leader_of(w, slot), slot, key, id);
        turns(w, &x.a.done);
    } while (is_refused(x.a.rc));
    assert_int_equal(x.a.rc, 0);
}

#endif
