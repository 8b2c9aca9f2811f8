/* Replication on the simulated world: random walks whose every history is judged. CAIRN_SEEDS says how many, or which
 * ("2001-5000"), CAIRN_SEED replays one. */
#include "tests/sim/repl_world.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define MS CAIRN_NS_PER_MS

#ifndef CAIRN_SEEDS_DEFAULT /* tests/CMakeLists.txt */
#define CAIRN_SEEDS_DEFAULT 100
#endif

static uint64_t draw(struct repl_world *rw, uint64_t n)
{
    return world_random(rw->world) % n;
}

/* Half of the time the process alone. */
static void end(struct repl_world *rw, uint32_t node)
{
    if (draw(rw, 2) == 0)
        repl_world_kill(rw, node);
    else
        repl_world_crash(rw, node);
}

static void toggle(struct repl_world *rw, uint32_t node)
{
    if (rw->nodes[node].up)
        end(rw, node);
    else
        repl_world_start(rw, node);
}

static void cut(struct repl_world *rw, uint32_t a, uint32_t b, bool both)
{
    if (a == b)
        return;
    world_cut(rw->world, a, b);
    if (both)
        world_cut(rw->world, b, a);
}

/* What operators want at the same time. Most is refused: the node holds the slot, a change is under way. */
static void walk_wish(struct repl_world *rw, uint32_t node)
{
    uint32_t slot = (uint32_t)draw(rw, rw->conf.slots), to = 1 + (uint32_t)draw(rw, rw->conf.nodes);
    const struct cairn_slot_record *rec = &rw->stored[slot];

    if (!rw->coord_is_up)
        return;
    switch (draw(rw, 9)) {
    case 0:
    case 1:
        cairn_coord_move(&rw->coord, slot, rec->replicas[draw(rw, rec->nreplicas)], to, draw(rw, 2) == 0);
        break;
    case 2:
        cairn_coord_lead(&rw->coord, slot, to);
        break;
    case 3:
        if (cairn_coord_drain(&rw->coord, node, draw(rw, 3) > 0) == 0)
            rw->stored_nodes[node] = cairn_coord_node(&rw->coord, node)->p;
        break;
    case 4:
        repl_world_quick_restart(rw, node);
        break;
    case 5:
        cairn_coord_move_cancel(&rw->coord, slot);
        break;
    case 6: /* one replica more */
        cairn_coord_move(&rw->coord, slot, 0, to, draw(rw, 3) == 0);
        break;
    case 7: /* and one less again */
        if (rec->nreplicas > rw->conf.replicas)
            cairn_coord_drop(&rw->coord, slot, rec->replicas[draw(rw, rec->nreplicas)]);
        break;
    case 8: /* a stop that somebody asked for; perhaps of several */
        repl_world_begin_to_leave(rw, node);
        break;
    }
}

/* One fault at a time, drawn; half of them hit the primary of a slot. */
static void walk_fault(struct repl_world *rw)
{
    uint32_t node = 1 + (uint32_t)draw(rw, rw->conf.nodes), other = (uint32_t)draw(rw, rw->conf.nodes + 1);

    if (draw(rw, 2) == 0)
        node = (uint32_t)rw->stored[draw(rw, rw->conf.slots)].primary.node;
    switch (draw(rw, 17)) {
    case 0:
    case 1:
        toggle(rw, node);
        break;
    case 2: /* a process that dies and is started at once */
        end(rw, node);
        repl_world_start(rw, node);
        break;
    case 3:
        cut(rw, node, other, draw(rw, 2) == 0);
        break;
    case 4:
        cut(rw, other, node, false);
        break;
    case 5: /* a primary that MAP does not hear, or that does not hear MAP */
        cut(rw, node, 0, draw(rw, 2) == 0);
        break;
    case 6:
    case 7:
        world_heal(rw->world);
        break;
    case 8:
        world_stall(rw->world, node, draw(rw, 5000) * MS);
        break;
    case 9:
        world_slow(rw->world, (uint32_t)draw(rw, rw->conf.nodes + 1), draw(rw, 3) * draw(rw, 200) * MS);
        break;
    case 10:
        if (rw->coord_is_up)
            repl_world_crash_coord(rw);
        repl_world_start_coord(rw);
        break;
    case 11:
        if (draw(rw, 3) > 0)
            break;
        for (uint32_t i = 1; i <= rw->conf.nodes; i++) /* the power of the whole machine room */
            repl_world_crash(rw, i);
        for (uint32_t i = 1; i <= rw->conf.nodes; i++)
            repl_world_start(rw, i);
        break;
    case 12: /* A lost disk is one fault; another before MAP has noticed may make it the last member's, a loss. */
        world_heal(rw->world);
        repl_world_run_ms(rw, 2500);
        if (repl_world_wipe(rw, node) && draw(rw, 2) == 0)
            repl_world_start(rw, node);
        repl_world_run_ms(rw, 2500);
        break;
    default:
        walk_wish(rw, node);
        break;
    }
}

static void heal(struct repl_world *rw)
{
    world_heal(rw->world);
    world_conf(rw->world)->loss_ppm = 0;
    repl_world_start_coord(rw);
    for (uint32_t i = 0; i <= rw->conf.nodes; i++)
        world_slow(rw->world, i, 0);
    for (uint32_t i = 1; i <= rw->conf.nodes; i++) {
        if (rw->nodes[i].leaves_until_ns != 0) /* nobody would start it when it is gone */
            repl_world_crash(rw, i);
        repl_world_start(rw, i);
        rw->stored_nodes[i].draining = false;
        cairn_coord_drain(&rw->coord, i, false);
    }
}

struct totals {
    uint64_t moves, fills, drops, left, stopped, cleans, ops, once, unknown, takeovers, recoveries, joins, copies,
        trims, wiped, losses, lost, backup_reads, refused;
    uint64_t regions, fetched, refetched, gone, elsewhere, torn, freed;
};

static void walk(uint64_t seed, struct totals *t)
{
    struct repl_world_conf conf = repl_world_conf_of(seed);
    struct repl_world *rw;

    conf.nodes = 3 + (uint32_t)(seed % 3);
    conf.replicas = 2 + (uint32_t)(seed / 3 % 2);
    conf.min_insync = conf.replicas >= 3 && seed / 13 % 3 > 0 ? 2 : 1; /* 2 is what a cluster makes of 3 replicas */
    conf.readers = conf.min_insync - 1;
    conf.jitter_ns = (1 + seed % 7 * 5) * MS;
    conf.loss_ppm = (uint32_t)(seed % 4) * 10000;
    conf.twice_ppm = (uint32_t)(seed % 5) * 5000;
    conf.straggler_ppm = (uint32_t)(seed % 3) * 5000;
    conf.straggler_ns = 3000 * MS;
    conf.disk_ns = seed % 2 == 0 ? 5 * MS : 100 * MS;
    conf.checkpoint_ns = (1 + seed % 5 * 2) * 60 * MS;
    conf.keeps_little = seed / 2 % 2 == 0;
    conf.once_percent = (uint32_t)(seed / 5 % 3) * 20;
    conf.buffered_percent = (uint32_t)(seed / 7 % 4) * 33;
    conf.large_percent = seed / 11 % 3 == 1 ? 40 : 0;
    conf.sweep_ns = (2 + seed % 3 * 4) * 100 * MS;
    conf.rumours = seed % 8 == 7;
    rw = repl_world_new(&conf);
    for (uint32_t i = 1; i <= conf.nodes; i++)
        world_clock(rw->world, i, world_random(rw->world) % (1000 * MS),
                    (int32_t)(world_random(rw->world) % 1801) - 900);
    repl_world_run_ms(rw, 1500);
    for (int i = 0; i < 60; i++) {
        walk_fault(rw);
        repl_world_run_ms(rw, draw(rw, 8) == 0 ? 3000 : 20 + draw(rw, 700));
    }
    heal(rw);
    repl_world_expect_whole(rw, 60000);
    repl_world_stop_clients(rw);
    t->ops += repl_world_judge(rw);
    t->unknown += rw->unknown_ops;
    t->once += rw->once_ops;
    t->takeovers += rw->takeovers;
    t->recoveries += rw->recoveries;
    t->joins += rw->joins;
    t->moves += rw->moves;
    t->fills += rw->fills;
    t->drops += rw->drops;
    t->left += rw->left;
    t->stopped += rw->stopped;
    t->cleans += rw->cleans;
    t->copies += rw->copies;
    t->trims += rw->trims;
    t->wiped += rw->wiped;
    t->losses += rw->losses;
    t->lost += rw->lost_entries;
    t->backup_reads += rw->backup_reads;
    t->refused += rw->refused;
    t->regions += rw->regions;
    t->fetched += rw->fetched;
    t->refetched += rw->refetched;
    t->gone += rw->gone;
    t->elsewhere += rw->elsewhere;
    t->torn += rw->torn;
    t->freed += rw->freed;
    repl_world_free(rw);
}

static void random_walks_are_linearizable(void **state)
{
    const char *seed = getenv("CAIRN_SEED"), *seeds = getenv("CAIRN_SEEDS");
    struct totals t = { 0 };
    uint64_t first = 1, last = CAIRN_SEEDS_DEFAULT, n;
    char *end;

    (void)state;
    if (seed != NULL) {
        walk(strtoull(seed, NULL, 10), &t);
        return;
    }
    if (seeds != NULL) {
        last = strtoull(seeds, &end, 10);
        if (*end == '-') {
            first = last;
            last = strtoull(end + 1, NULL, 10);
        }
    }
    n = last - first + 1;
    for (uint64_t i = first; i <= last; i++) {
        fprintf(stderr, "\rseed %" PRIu64 " ", i);
        walk(i, &t);
    }
    fprintf(stderr,
            ": %" PRIu64 " operations and %" PRIu64 " of write-once keys (%" PRIu64 " reads at backups), %" PRIu64
            " of unknown outcome, %" PRIu64 " times a write was refused; %" PRIu64 " changes of primary, %" PRIu64
            " recoveries of all members, %" PRIu64 " joins, %" PRIu64 " moves and %" PRIu64
            " to one replica more, %" PRIu64 " replicas dropped, %" PRIu64 " processes that left and %" PRIu64
            " that could not wait for it, %" PRIu64 " slots cleaned, %" PRIu64 " copies, %" PRIu64
            " logs trimmed, %" PRIu64 " disks wiped, %" PRIu64 " losses of %" PRIu64 " buffered entries; %" PRIu64
            " regions, fetched %" PRIu64 " times, %" PRIu64 " of a source that was not the first, %" PRIu64
            " torn, %" PRIu64 " of those fetched again, %" PRIu64 " said to be gone, %" PRIu64 " freed\n",
            t.ops, t.once, t.backup_reads, t.unknown, t.refused, t.takeovers, t.recoveries, t.joins, t.moves, t.fills,
            t.drops, t.left, t.stopped, t.cleans, t.copies, t.trims, t.wiped, t.losses, t.lost, t.regions, t.fetched,
            t.elsewhere, t.torn, t.refetched, t.gone, t.freed);
    /* the walks went somewhere */
    assert_true(t.ops > n * 300 && t.takeovers > n / 4 && t.fills > n / 10 && t.left > n / 10);
    assert_true(n < 100 || (t.fetched > n && t.freed > n && t.gone > 0 && t.refused > n));
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(random_walks_are_linearizable) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
