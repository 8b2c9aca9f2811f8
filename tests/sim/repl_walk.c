/* A random walk of the replicated world: faults and operators' wishes, drawn; then quiet, and judgement. */
#include "tests/sim/repl_walk.h"

#include "sdk/core/base/log.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define MS CAIRN_NS_PER_MS

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

    if (!repl_world_coord_is_up(rw))
        return;
    switch (draw(rw, 9)) {
    case 0:
    case 1:
        cairn_coord_move(rw->coord, slot, rec->replicas[draw(rw, rec->nreplicas)], to, draw(rw, 2) == 0);
        break;
    case 2:
        cairn_coord_lead(rw->coord, slot, to);
        break;
    case 3:
        if (cairn_coord_drain(rw->coord, node, draw(rw, 3) > 0) == 0)
            rw->stored_nodes[node] = cairn_coord_node(rw->coord, node)->p;
        break;
    case 4:
        repl_world_quick_restart(rw, node);
        break;
    case 5:
        cairn_coord_move_cancel(rw->coord, slot);
        break;
    case 6: /* one replica more */
        cairn_coord_move(rw->coord, slot, 0, to, draw(rw, 3) == 0);
        break;
    case 7: /* and one less again */
        if (rec->nreplicas > rw->conf.replicas)
            cairn_coord_drop(rw->coord, slot, rec->replicas[draw(rw, rec->nreplicas)]);
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
    if (draw(rw, 10) == 0) /* a partition ends, if there is one; links that are cut stay so */
        world_join(rw->world);
    switch (draw(rw, 22)) {
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
        cut(rw, node, repl_world_map_host(rw), draw(rw, 2) == 0);
        break;
    case 6:
    case 7:
        world_heal(rw->world);
        repl_world_start_coord(rw);
        break;
    case 8:
        world_stall(rw->world, node, draw(rw, 5000) * MS);
        break;
    case 9:
        world_slow(rw->world, (uint32_t)draw(rw, rw->conf.nodes + 1), draw(rw, 3) * draw(rw, 200) * MS);
        break;
    case 10:
        if (repl_world_coord_is_up(rw))
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
    case 13: /* the next operation of some kind fails, whenever it comes */
    case 14:
        repl_world_disk_error(rw, node, (enum rw_disk_op)draw(rw, RW_DISK_NR));
        break;
    case 15:
        repl_world_disk_full(rw, node, draw(rw, 2) == 0, draw(rw, 4000));
        break;
    case 16: /* the coordinator is deposed, and may not know it */
        if (rw->conf.rivals && draw(rw, 2) == 0)
            repl_world_cut_coord(rw, draw(rw, 5000));
        else if (rw->conf.rivals)
            repl_world_pause_coord(rw, draw(rw, 5000));
        break;
    case 12: /* A lost disk is one fault; another before MAP has noticed may make it the last member's, a loss. */
        world_heal(rw->world);
        repl_world_mend_disks(rw);
        repl_world_mend_map(rw);
        repl_world_run_ms(rw, 2500);
        if (repl_world_wipe(rw, node) && draw(rw, 2) == 0)
            repl_world_start(rw, node);
        repl_world_run_ms(rw, 2500);
        break;
    case 17:
        repl_world_split(rw);
        break;
    default:
        walk_wish(rw, node);
        break;
    }
}

static void heal(struct repl_world *rw)
{
    world_heal(rw->world);
    repl_world_mend_disks(rw);
    repl_world_mend_map(rw);
    world_conf(rw->world)->loss_ppm = 0;
    repl_world_start_coord(rw);
    for (uint32_t i = 0; i <= rw->conf.nodes; i++)
        world_slow(rw->world, i, 0);
    for (uint32_t i = 1; i <= rw->conf.nodes; i++) {
        if (rw->nodes[i].leaves_until_ns != 0 || rw->nodes[i].failed) /* nobody would start it when it is gone */
            repl_world_crash(rw, i);
        repl_world_start(rw, i);
        rw->stored_nodes[i].draining = false;
        cairn_coord_drain(rw->coord, i, false);
    }
}

static struct repl_world_conf conf_of(uint64_t seed)
{
    struct repl_world_conf conf = repl_world_conf_of(seed);

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
    conf.some_keep_all = seed / 3 % 10 == 1;
    conf.once_percent = (uint32_t)(seed / 5 % 3) * 20;
    conf.buffered_percent = (uint32_t)(seed / 7 % 4) * 33;
    conf.large_percent = seed / 11 % 3 == 1 ? 40 : 0;
    conf.sweep_ns = (2 + seed % 3 * 4) * 100 * MS;
    conf.rumours = seed % 8 == 7;
    return conf;
}

/* ---- what has happened ---- */

#define OF(what, name, per_mille)                                                                                      \
    {                                                                                                                  \
        name, offsetof(struct repl_world, what), per_mille, false                                                      \
    }
#define NET(what, name, per_mille)                                                                                     \
    {                                                                                                                  \
        name, offsetof(struct world_counts, what), per_mille, true                                                     \
    }

/* The least that a thousand walks have of it: some part of what they do have. 0: so many have none, or one. */
static const struct {
    const char *name;
    size_t at;
    uint32_t per_mille;
    bool of_net;
} counted[] = {
    OF(judged_ops, "operations", 300000),
    OF(once_ops, "operations on write-once keys", 50000),
    OF(backup_reads, "reads at backups", 1000),
    OF(unknown_ops, "operations of unknown outcome", 500),
    OF(refused, "writes refused with too few in sync", 10000),
    NET(lost_by_chance, "packets lost", 10000),
    NET(twice, "packets doubled", 10000),
    NET(reordered, "packets out of order", 100000),
    NET(stragglers, "packets that came seconds late", 10000),
    NET(cut_one_way, "packets on links cut one way", 10000),
    NET(cut, "packets on links cut both ways", 10000),
    NET(other_side, "packets to another side of a partition", 10000),
    OF(splits[0], "partitions", 500),
    OF(splits[1], "one-way partitions", 500),
    OF(splits[2], "partial partitions", 500),
    OF(splits_of_map, "of them that cut MAP off from its store", 500),
    OF(unheard, "changes whose answer a cut has kept back", 10),
    NET(slowed, "packets to slow nodes", 10000),
    NET(stalled, "packets to stalled nodes", 1000),
    NET(late_wakes, "timers of slow or stalled nodes", 10000),
    NET(clocks_set, "clocks that drift", 1000),
    NET(crashes, "processes that ended", 2000),
    OF(unsynced_lost, "unsynced entries lost", 500),
    OF(other_histories, "logs of another history than what was applied", 0),
    OF(wiped, "disks wiped", 100),
    OF(disk_errors[RW_DISK_APPEND], "errors of appending to the log", 20),
    OF(disk_errors[RW_DISK_WRITE], "of writing it", 20),
    OF(disk_errors[RW_DISK_SYNC], "of syncing it", 20),
    OF(disk_errors[RW_DISK_CHECKPOINT], "of checkpoints", 20),
    OF(disk_errors[RW_DISK_APPLY], "of applying", 20),
    OF(disk_errors[RW_DISK_WIPE], "of wipes", 20),
    OF(disk_errors[RW_DISK_PUT], "of putting a page", 20),
    OF(disk_errors[RW_DISK_SEAL], "of seals", 20),
    OF(disk_errors[RW_DISK_READ], "of reading a page", 20),
    OF(disk_errors[RW_DISK_START], "of reading at a start", 20),
    OF(full_appends, "entries of others met a full log", 100),
    OF(full_writes, "writes met a full disk", 100),
    OF(full_copies, "copies met a full store", 20),
    OF(doubts, "changes whose outcome was not known", 500),
    OF(elections, "elections behind a coordinator's back", 200),
    OF(lapses, "coordinators that found their term over", 200),
    OF(two_coords, "of them while the other had not noticed", 50),
    OF(fenced, "changes of a deposed one refused by the fence", 20),
    OF(takeovers, "changes of primary", 5000),
    OF(recoveries, "recoveries of all members", 1000),
    OF(losses, "losses that `buffered` allows", 20),
    OF(joins, "joins", 5000),
    OF(moves, "moves", 500),
    OF(fills, "moves to one replica more", 100),
    OF(drops, "replicas dropped", 10),
    OF(left, "processes that left", 200),
    OF(stopped, "that could not wait for it", 5),
    OF(cleans, "slots cleaned", 200),
    OF(copies, "copies", 2000),
    OF(checkpoints, "checkpoints", 10000),
    OF(trims, "logs trimmed", 10000),
    OF(regions, "regions", 10000),
    OF(fetched, "regions fetched", 10000),
    OF(elsewhere, "of a source that was not the first", 50),
    OF(torn, "regions torn", 50),
    OF(refetched, "torn ones fetched again", 1),
    OF(gone, "regions said to be gone", 50),
    OF(freed, "regions freed", 10000),
};
_Static_assert(ARRAY_SIZE(counted) <= REPL_WALK_COUNTS_MAX, "no room for what is counted");

static uint64_t count_of(const struct repl_world *rw, size_t i)
{
    const char *of = counted[i].of_net ? (const char *)world_counts(rw->world) : (const char *)rw;
    uint64_t count;

    memcpy(&count, of + counted[i].at, sizeof(count));
    return count;
}

void repl_walk_print(const struct repl_walk_counts *c, FILE *to)
{
    for (size_t i = 0; i < ARRAY_SIZE(counted); i++)
        fprintf(to, "%12" PRIu64 " %s\n", c->all[i], counted[i].name);
}

const char *repl_walk_missed(const struct repl_walk_counts *c)
{
    for (size_t i = 0; i < ARRAY_SIZE(counted); i++) {
        uint64_t least = counted[i].per_mille == 0 ? 0 : MAX(UINT64_C(1), c->walks * counted[i].per_mille / 1000);

        if (c->all[i] < least)
            return counted[i].name;
    }
    return NULL;
}

/* ---- the walk ---- */

/* An assertion ends the program: what is to be known of it then. */
static void on_crash(void *arg)
{
    const struct repl_world *rw = arg;

    fprintf(stderr,
            "\nseed %" PRIu64 " fails at event %" PRIu64 ", trace %016" PRIx64 "; to see it again: --seed %" PRIu64,
            rw->conf.seed, rw->events, world_counts(rw->world)->trace, rw->conf.seed);
    if (rw->conf.fails_at != 0)
        fprintf(stderr, " --fail-at %" PRIu64, rw->conf.fails_at);
    fprintf(stderr, "\n");
}

struct repl_walk_end repl_walk(const struct repl_walk_way *way, struct repl_walk_counts *counts)
{
    struct repl_world_conf conf = conf_of(way->seed);
    struct repl_walk_end end;
    struct repl_world *rw;

    conf.traces = way->traces;
    conf.fails_at = way->fails_at;
    rw = repl_world_new(&conf);
    cairn_crash_hook(on_crash, rw);
    for (uint32_t i = 1; i <= conf.nodes; i++)
        world_clock(rw->world, i, world_random(rw->world) % (1000 * MS),
                    (int32_t)(world_random(rw->world) % 1801) - 900);
    repl_world_run_ms(rw, 1500);
    rw->conf.rivals = way->seed / 17 % 2 == 0;
    for (int i = 0; i < 60; i++) {
        walk_fault(rw);
        repl_world_run_ms(rw, draw(rw, 8) == 0 ? 3000 : 20 + draw(rw, 700));
    }
    heal(rw);
    repl_world_expect_whole(rw, 60000);
    repl_world_stop_clients(rw);
    rw->judged_ops = repl_world_judge(rw);
    counts->walks++;
    for (size_t i = 0; i < ARRAY_SIZE(counted); i++)
        counts->all[i] += count_of(rw, i);
    end = (struct repl_walk_end){ .events = rw->events, .trace = world_counts(rw->world)->trace };
    cairn_crash_hook(NULL, NULL);
    repl_world_free(rw);
    return end;
}

bool repl_walk_seeds(uint64_t *first, uint64_t *last)
{
    const char *seeds = getenv("CAIRN_SEEDS");
    char *end;

    if (seeds == NULL)
        return false;
    *last = strtoull(seeds, &end, 10);
    if (*end == '-') {
        *first = *last;
        *last = strtoull(end + 1, NULL, 10);
    }
    return true;
}
