/* Simulated groups for tests/bench/cluster: one measurement a run, printed as one JSON object.
 *
 *   cluster_sim hour MEMBERS MINUTES    1 % loss, every tenth member slow; one dies every 30 s and comes back
 *   cluster_sim quiet MEMBERS           what a group in which nothing happens sends
 *   cluster_sim death MEMBERS           one dies, and all learn of it
 *   cluster_sim map MEMBERS CHANGES     1 % loss, every tenth node slow, every twentieth just dead: the map changes, every 10 ms
 *
 * A slow member runs each timer and takes each packet up to 300 ms late, and once in a while stops for a second. */
#include "providers/group/group_seal.h"
#include "tests/sim/hearsay_world.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { SEED = 2026, DEATH_EVERY_MS = 30000, DEATH_GONE_MS = 20000, DEATHS_MAX = 10000, SLOW_EVERY = 10, SLOW_MS = 300 };

static struct group_world *group(uint32_t members)
{
    struct group_world_conf conf = {
        .net = { .seed = SEED, .nodes = members, .latency_ns = 100000, .jitter_ns = 400000, .loss_ppm = 10000 },
        .swim = cairn_swim_conf_default,
        .stands = true,
        .shares = true,
        .suspicions = MIN(members, 512u),
    };

    return group_world_new(&conf);
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return x < y ? -1 : x > y;
}

static double quantile(double *xs, uint32_t n, double q)
{
    uint32_t at = (uint32_t)(q * n);

    qsort(xs, n, sizeof(*xs), by_size);
    return n > 0 ? xs[MIN(at, n - 1)] : -1;
}

static double seconds_since(const struct group_world *gw, uint64_t ns)
{
    return (double)(gw->last_ns - ns) / 1e9;
}

/* Half a minute: somebody dies, somebody stops for a second. */
static bool half_a_minute(struct group_world *gw, uint32_t round, double *took)
{
    uint32_t n = gw->conf.net.nodes, victim = (uint32_t)(world_random(gw->world) % n);
    uint32_t sleeper = (uint32_t)(world_random(gw->world) % (n / SLOW_EVERY)) * SLOW_EVERY;
    uint64_t since = world_now_ns(gw->world);

    if (round % 2 == 0 && sleeper != victim)
        world_stall(gw->world, sleeper, CAIRN_NS_PER_S);
    group_world_watch_death(gw, victim);
    group_world_run_ms(gw, DEATH_GONE_MS);
    *took = seconds_since(gw, since);
    if (gw->learned != n - 1)
        return false;
    group_world_start(gw, victim, (victim + 1) % n);
    group_world_run_ms(gw, DEATH_EVERY_MS - DEATH_GONE_MS);
    return true;
}

static int hour(uint32_t members, uint32_t minutes)
{
    static double took[DEATHS_MAX];
    struct group_world *gw = group(members);
    uint32_t n = MIN(minutes * 2, (uint32_t)DEATHS_MAX), unseen = 0;

    for (uint32_t i = 0; i < members; i += SLOW_EVERY)
        world_slow(gw->world, i, SLOW_MS * CAIRN_NS_PER_MS);
    group_world_run_ms(gw, 10000);
    for (uint32_t i = 0; i < n; i++)
        unseen += !half_a_minute(gw, i, &took[i]);
    printf("{\"deaths\": %u, \"unseen\": %u, \"false_evictions\": %" PRIu64 ", \"suspicions\": %" PRIu64
           ", \"p50_s\": %.3f, \"p99_s\": %.3f}\n",
           n, unseen, gw->false_deaths, gw->suspicions, quantile(took, n, 0.5), quantile(took, n, 0.99));
    group_world_free(gw);
    return 0;
}

static int quiet(uint32_t members)
{
    enum { WARM_MS = 10000, MS = 60000 };
    struct group_world *gw = group(members);
    struct world_counts before;
    const struct world_counts *c = world_counts(gw->world);
    uint64_t bytes;

    group_world_run_ms(gw, WARM_MS);
    before = *c;
    group_world_run_ms(gw, MS);
    /* The simulator puts 8 bytes around each packet, and the wire the seal. */
    bytes = c->bytes - before.bytes + (c->packets - before.packets) * (GROUP_SEAL_BYTES - 8);
    printf("{\"bytes_per_member_s\": %.1f, \"packets_per_member_s\": %.3f}\n", (double)bytes / members / (MS / 1000),
           (double)(c->packets - before.packets) / members / (MS / 1000));
    group_world_free(gw);
    return 0;
}

static int death(uint32_t members)
{
    enum { PATIENCE_S = 60 };
    struct group_world *gw = group(members);
    uint64_t since;

    group_world_run_ms(gw, 2000);
    since = world_now_ns(gw->world);
    group_world_watch_death(gw, members / 3);
    for (uint32_t i = 0; i < PATIENCE_S * 10 && gw->learned < members - 1; i++)
        group_world_run_ms(gw, 100);
    printf("{\"learned\": %u, \"last_s\": %.3f, \"false_evictions\": %" PRIu64 "}\n", gw->learned,
           seconds_since(gw, since), gw->false_deaths);
    group_world_free(gw);
    return 0;
}

/* What was sent so far: by the coordinator, by the busiest of the others, by all of them. */
struct sent {
    uint64_t pages, bytes, packets, most_bytes, all_bytes;
};

static struct sent sent_so_far(const struct hearsay_world *hw)
{
    struct sent s = { .pages = hw->granted_records + hw->nodes[0].served, .bytes = hw->nodes[0].record_bytes };

    s.packets = hw->gw->nodes[0].packets;
    for (uint32_t i = 1; i < hw->conf.nodes; i++) {
        uint64_t bytes = hw->nodes[i].record_bytes + hw->gw->nodes[i].bytes + hw->gw->nodes[i].packets * GROUP_SEAL_BYTES;

        s.most_bytes = MAX(s.most_bytes, hw->nodes[i].record_bytes);
        s.all_bytes += bytes;
    }
    return s;
}

static int map(uint32_t members, uint32_t changes)
{
    enum { CHANGE_EVERY_MS = 10, DEAD_EVERY = 20, PATIENCE_MS = 60000, WARM_MS = 3000 };
    struct hearsay_world *hw = hearsay_world_new(&(struct hearsay_world_conf){
        .seed = SEED, .nodes = members, .loss_ppm = 10000, .slow_every = SLOW_EVERY });
    struct sent before, after;
    uint64_t asked = 0, resorts = 0, since, took, alive = 0;

    group_world_run_ms(hw->gw, WARM_MS);
    for (uint32_t i = DEAD_EVERY / 2; i < members; i += DEAD_EVERY)
        hearsay_world_kill(hw, i);
    before = sent_so_far(hw);
    since = world_now_ns(hw->gw->world);
    for (uint32_t i = 0; i < changes; i++) {
        hearsay_world_change(hw, 1);
        if (i + 1 < changes)
            group_world_run_ms(hw->gw, CHANGE_EVERY_MS);
    }
    took = hearsay_world_until_known(hw, PATIENCE_MS);
    after = sent_so_far(hw);
    for (uint32_t i = 1; i < members; i++) {
        alive += hw->gw->nodes[i].runs;
        asked += hw->nodes[i].hearsay.questions;
        resorts += hw->nodes[i].hearsay.last_resorts;
    }
    printf("{\"known_s\": %.3f, \"coordinator_pages\": %" PRIu64 ", \"coordinator_record_bytes\": %" PRIu64
           ", \"coordinator_packets\": %" PRIu64 ", \"busiest_record_bytes\": %" PRIu64
           ", \"bytes_per_member\": %.0f, \"questions_per_member\": %.3f, \"last_resorts\": %" PRIu64
           ", \"seconds\": %.3f}\n",
           took == UINT64_MAX ? -1 : (double)took / 1e3, after.pages - before.pages, after.bytes - before.bytes,
           after.packets - before.packets, after.most_bytes - before.most_bytes,
           (double)(after.all_bytes - before.all_bytes) / (double)alive, (double)asked / (double)alive, resorts,
           (double)(world_now_ns(hw->gw->world) - since) / 1e9);
    hearsay_world_free(hw);
    return took == UINT64_MAX;
}

int main(int argc, char **argv)
{
    uint32_t members = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : 0;

    if (argc == 4 && strcmp(argv[1], "hour") == 0 && members >= 2 * SLOW_EVERY)
        return hour(members, (uint32_t)strtoul(argv[3], NULL, 10));
    if (argc == 3 && strcmp(argv[1], "quiet") == 0 && members > 1)
        return quiet(members);
    if (argc == 3 && strcmp(argv[1], "death") == 0 && members > 3)
        return death(members);
    if (argc == 4 && strcmp(argv[1], "map") == 0 && members > 3)
        return map(members, (uint32_t)strtoul(argv[3], NULL, 10));
    fprintf(stderr, "usage: cluster_sim hour MEMBERS MINUTES | quiet MEMBERS | death MEMBERS | map MEMBERS CHANGES\n");
    return 2;
}
