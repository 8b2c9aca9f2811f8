/* Placement and planning for tests/bench/cluster: one measurement a run, printed as one JSON object. 16384 slots.
 *
 *   placement_bench balance MEMBERS      slots of the busiest member, as a multiple of the mean
 *   placement_bench join                 slots that a join moves, as a multiple of the newcomer's part: the worst case
 *   placement_bench lookup MEMBERS       from a key to the members that hold it, in ns
 *   placement_bench plan MEMBERS         a whole plan after a node is lost, in s */
#include "sdk/core/base/macros.h"
#include "server/cluster/planner.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    BITS = CAIRN_SLOT_BITS_DEFAULT,
    SLOTS = 1 << BITS,
    MEMBERS_MAX = 10001,
    ZONES = 100,
    KEYS = 1 << 16,
    KEY_BYTES = 16
};

static struct cairn_placement_member members[MEMBERS_MAX];

static double now_s(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* Equal weights; @zones of nearly the same size. */
static void equals(uint32_t n, uint32_t zones)
{
    for (uint32_t i = 0; i < n; i++)
        members[i] = (struct cairn_placement_member){ .id = i + 1, .weight = 1, .capacity = 1, .zone = i % zones };
}

static struct cairn_placement *table(const struct cairn_placement *before, uint32_t n, uint32_t replicas)
{
    struct cairn_placement_conf conf = { .members = members, .n = n, .slot_bits = BITS, .replicas = replicas };
    struct cairn_placement *p = NULL;
    struct cairn_err err = { 0 };

    if (before != NULL)
        conf.before = cairn_placement_of_slot(before, 0, &conf.before_width);
    if (cairn_placement_new(&conf, &p, &err) != 0) {
        fprintf(stderr, "placement_bench: %s\n", err.text);
        exit(1);
    }
    return p;
}

/* The worst of one to three replicas. */
static int balance(uint32_t n)
{
    double worst = 0, made_s = 0;

    equals(n, n);
    for (uint32_t replicas = 1; replicas <= 3; replicas++) {
        double began = now_s();
        struct cairn_placement *p = table(NULL, n, replicas);
        uint32_t held[MEMBERS_MAX + 1] = { 0 }, busiest = 0, have;

        made_s = now_s() - began;
        for (uint32_t s = 0; s < SLOTS; s++) {
            const uint64_t *ids = cairn_placement_of_slot(p, s, &have);

            for (uint32_t i = 0; i < have; i++) {
                held[ids[i]]++;
                busiest = MAX(busiest, held[ids[i]]);
            }
        }
        worst = MAX(worst, busiest / ((double)SLOTS * replicas / n));
        cairn_placement_free(p);
    }
    printf("{\"busiest\": %.4f, \"made_s\": %.3f}\n", worst, made_s);
    return 0;
}

static uint32_t moved(const struct cairn_placement *before, const struct cairn_placement *after)
{
    uint32_t count = 0, na, nb;

    for (uint32_t s = 0; s < SLOTS; s++) {
        const uint64_t *a = cairn_placement_of_slot(before, s, &na), *b = cairn_placement_of_slot(after, s, &nb);

        for (uint32_t i = 0; i < nb; i++) {
            uint32_t k = 0;

            while (k < na && a[k] != b[i])
                k++;
            count += k == na;
        }
    }
    return count;
}

/* To groups of 1 to 10,000, each member a zone of its own and in at most a hundred zones. */
static int join(void)
{
    static const uint32_t sizes[] = { 1, 2, 3, 5, 8, 16, 31, 64, 100, 300, 1000, 3000, 10000 };
    double worst = 0, took_s = 0;

    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        for (uint32_t replicas = 1; replicas <= 3; replicas += 2) {
            uint32_t n = sizes[i], zones = replicas == 1 ? n + 1 : ZONES;
            struct cairn_placement *before, *after;
            double began;

            equals(n + 1, zones);
            before = table(NULL, n, replicas);
            began = now_s();
            after = table(before, n + 1, replicas);
            took_s = MAX(took_s, now_s() - began);
            worst = MAX(worst, moved(before, after) / ((double)SLOTS * MIN(replicas, n + 1) / (n + 1)));
            cairn_placement_free(before);
            cairn_placement_free(after);
        }
    }
    printf("{\"moved\": %.4f, \"took_s\": %.4f}\n", worst, took_s);
    return 0;
}

static int lookup(uint32_t n)
{
    enum { ROUNDS = 200 };
    static char keys[KEYS][KEY_BYTES];
    struct cairn_placement *p;
    uint64_t sum = 0, random = 1;
    double began;

    equals(n, ZONES);
    p = table(NULL, n, 3);
    for (uint32_t i = 0; i < KEYS; i++) {
        random = random * UINT64_C(6364136223846793005) + 1442695040888963407;
        memcpy(keys[i], &random, sizeof(random));
    }
    began = now_s();
    for (uint32_t round = 0; round < ROUNDS; round++) {
        for (uint32_t i = 0; i < KEYS; i++) {
            uint32_t have;
            const uint64_t *ids = cairn_placement_of_key(p, keys[i], KEY_BYTES, &have);

            sum += ids[0] + ids[have - 1]; /* used: nothing of it may be left out */
        }
    }
    printf("{\"ns\": %.2f, \"sum\": %" PRIu64 "}\n", (now_s() - began) * 1e9 / ROUNDS / KEYS, sum);
    cairn_placement_free(p);
    return 0;
}

/* ---- the planner ---- */

static struct cairn_slot_record records[SLOTS];

static const struct cairn_slot_record *record(void *arg, uint32_t slot)
{
    (void)arg;
    return &records[slot];
}

static struct cairn_planner *make_plan(const struct cairn_planner_conf *conf)
{
    struct cairn_planner *p = NULL;
    struct cairn_err err = { 0 };

    if (cairn_planner_new(conf, &p, &err) != 0) {
        fprintf(stderr, "placement_bench: %s\n", err.text);
        exit(1);
    }
    return p;
}

static int plan(uint32_t n)
{
    static struct cairn_planner_node nodes[MEMBERS_MAX];
    struct cairn_planner_conf conf = { .nodes = nodes,
                                       .n = n,
                                       .slot_bits = BITS,
                                       .replicas = 3,
                                       .record = record,
                                       .moves_max = 256,
                                       .moves_per_node_max = 4 };
    struct cairn_planner *p;
    struct cairn_planner_counts counts;
    double began = now_s(), first_s, second_s, look_s;

    equals(n, ZONES);
    for (uint32_t i = 0; i < n; i++)
        nodes[i].member = members[i];
    p = make_plan(&conf);
    first_s = now_s() - began;
    for (uint32_t s = 0; s < SLOTS; s++) {
        struct cairn_slot_record *rec = &records[s];

        rec->epoch = 1;
        rec->state = CAIRN_SLOT_ACTIVE;
        rec->nreplicas = rec->ninsync = cairn_planner_wanted(p, s, rec->replicas);
        for (uint32_t i = 0; i < rec->nreplicas; i++)
            rec->insync[i].node = rec->replicas[i];
        rec->primary = rec->insync[0];
    }
    cairn_planner_free(p);
    nodes[n / 2].state = CAIRN_PLANNER_LOST;
    began = now_s();
    p = make_plan(&conf);
    second_s = now_s() - began;
    began = now_s();
    cairn_planner_look(p, 0);
    look_s = now_s() - began;
    counts = cairn_planner_counts(p);
    printf("{\"first_s\": %.4f, \"plan_s\": %.4f, \"look_s\": %.6f, \"left\": %" PRIu32 "}\n", first_s, second_s,
           look_s, counts.left);
    cairn_planner_free(p);
    return 0;
}

int main(int argc, char **argv)
{
    uint32_t n = argc == 3 ? (uint32_t)strtoul(argv[2], NULL, 10) : 0;

    if (argc == 2 && strcmp(argv[1], "join") == 0)
        return join();
    if (n > 1 && n < MEMBERS_MAX && strcmp(argv[1], "balance") == 0)
        return balance(n);
    if (n > 1 && n < MEMBERS_MAX && strcmp(argv[1], "lookup") == 0)
        return lookup(n);
    if (n > 1 && n < MEMBERS_MAX && strcmp(argv[1], "plan") == 0)
        return plan(n);
    fprintf(stderr, "usage: placement_bench balance MEMBERS | join | lookup MEMBERS | plan MEMBERS\n");
    return 2;
}
