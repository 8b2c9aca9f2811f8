/* Whether all of the replicated world is well again; and what it looks like, for people. */
#include "tests/sim/repl_internal.h"

#include <inttypes.h>

bool repl_world_is_whole(struct repl_world *rw, char why[160])
{
    for (uint32_t i = 0; i < rw->conf.slots; i++) {
        const struct cairn_slot_record *rec = &rw->stored[i];
        const struct cairn_replica *r = &rw->nodes[rec->primary.node].slots[i].replica;

        if (rec->ninsync != rec->nreplicas || rec->state != CAIRN_SLOT_ACTIVE || rec->move.phase != CAIRN_MOVE_NONE ||
            !rw->nodes[rec->primary.node].registered || r->sm.state != REPLICA_ACTIVE ||
            (rw->clients_stop && r->commit != r->log.end.pos)) {
            snprintf(why, 160,
                     "slot %u, epoch %" PRIu64 ": %u of %u in sync, state %d, move %d, primary %" PRIu64 " in %s", i,
                     rec->epoch, rec->ninsync, rec->nreplicas, (int)rec->state, (int)rec->move.phase, rec->primary.node,
                     rw->nodes[rec->primary.node].registered ? cairn_sm_state_name(&r->sm) : "nobody");
            return false;
        }
    }
    return true;
}

void repl_world_print(struct repl_world *rw, FILE *to)
{
    static const char *const phases[] = { "silent", "probed", "stream", "copy" };

    for (uint32_t i = 0; i < rw->conf.slots; i++) {
        for (uint32_t k = 1; k <= rw->conf.nodes; k++) {
            const struct repl_node *n = &rw->nodes[k];
            const struct cairn_replica *r = &n->slots[i].replica;

            fprintf(to, "slot %u node %u.%" PRIu64 " (map: .%" PRIu64 ")", i, k, n->self.inc, rw->stored_nodes[k].inc);
            if (!n->registered) {
                fprintf(to, " is down\n");
                continue;
            }
            fprintf(to,
                    " %s%s epoch %" PRIu64 " log %" PRIu64 " to %" PRIu64 "/%" PRIu64 " synced %" PRIu64
                    " commit %" PRIu64 " applied %" PRIu64 " change %d\n",
                    cairn_sm_state_name(&r->sm), r->partial ? " (partial)" : "", r->rec.epoch, r->log.base.pos,
                    r->log.end.epoch, r->log.end.pos, r->log.synced, r->commit, r->applied, (int)r->change.kind);
            for (uint32_t p = 0; p < r->npeers; p++)
                fprintf(to,
                        "    %s %" PRIu64 ".%" PRIu64 " %s first %" PRIu64 " next %" PRIu64 " matched %" PRIu64
                        " owes %d\n",
                        r->peers[p].member ? "member" : "learner", r->peers[p].who.node, r->peers[p].who.inc,
                        phases[r->peers[p].phase], r->peers[p].first, r->peers[p].next, r->peers[p].matched,
                        r->peers[p].owes_ns != 0);
        }
    }
}

void repl_world_expect_whole(struct repl_world *rw, uint64_t ms)
{
    char why[160] = "";

    for (uint64_t t = 0; t < ms && !repl_world_is_whole(rw, why); t += 100)
        repl_world_run_ms(rw, 100);
    if (repl_world_is_whole(rw, why))
        return;
    repl_world_print(rw, stderr);
    fprintf(stderr, "seed %" PRIu64 ": %s\n", rw->conf.seed, why);
    CAIRN_ASSERT(!"whole");
}
