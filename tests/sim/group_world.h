/** Group cores on the simulated world: node i is named "n<i>" and lives at address i. */
#ifndef CAIRN_TESTS_SIM_GROUP_WORLD_H
#define CAIRN_TESTS_SIM_GROUP_WORLD_H

#include "providers/group/swim.h"
#include "tests/sim/world.h"

struct group_world_conf {
    struct world_conf net; /* nodes, seed, latencies, faults */
    struct cairn_swim_conf swim;
    uint32_t observers;  /* the last so many nodes are observers */
    bool stands;         /* all members know each other at the beginning; else nobody runs yet */
    bool shares;         /* one directory for all: large groups */
    uint32_t suspicions; /* at a time, of each node; 0: as many as there are nodes */
    /** Node @i hears a word; and what group_world_send() sent has come. NULL: nobody wants to know. */
    void (*heard)(void *arg, uint32_t i, const struct cairn_gossip_word *w);
    void (*deliver)(void *arg, uint32_t to, uint32_t from, const uint8_t *bytes, size_t len);
    void *arg;
};

struct group_node {
    struct cairn_swim core;
    struct cairn_swim_dir dir;
    struct cairn_swim_memory memory;
    struct cairn_sm_set *machines;
    struct cairn_timer timer;
    uint64_t life; /* the incarnation it began with */
    uint32_t index;
    bool runs, leaving;
    uint64_t packets, bytes; /* of the group, that it has sent */
    struct group_world *gw;
};

struct group_world {
    struct group_world_conf conf;
    struct world *world;
    struct group_node *nodes;
    struct cairn_swim_dir shared;
    struct cairn_sm_set *machines; /* where shared */
    struct cairn_swim_out out;
    uint64_t lives;

    /* what was seen */
    uint64_t false_deaths; /* a running member, found dead */
    uint64_t suspicions, refusals;
    uint32_t victim, learned; /* how many know that the victim is dead */
    uint64_t first_ns, last_ns;
    uint64_t events[CAIRN_SWIM_EV_DROPPED_MEMBER + 1];
};

struct group_world *group_world_new(const struct group_world_conf *conf);
void group_world_free(struct group_world *gw);
void group_world_run_ms(struct group_world *gw, uint64_t ms);

/** Begins a life of node @i that joins by @seed (its own number: by nobody). */
void group_world_start(struct group_world *gw, uint32_t i, uint32_t seed);
/** As a SIGKILL. */
void group_world_kill(struct group_world *gw, uint32_t i);
void group_world_leave(struct group_world *gw, uint32_t i);
/** Kills @i and notes who learns of it when: victim, learned, first_ns, last_ns (since now). */
void group_world_watch_death(struct group_world *gw, uint32_t i);
/** Something else than the group's packets, for conf.deliver. */
void group_world_send(struct group_world *gw, uint32_t from, uint32_t to, const void *bytes, size_t len);
/** Any other input of a core. */
void group_world_input(struct group_world *gw, uint32_t i, struct cairn_swim_in *in);

/** What @i believes of @j: enum cairn_swim_state. */
uint8_t group_world_view(const struct group_world *gw, uint32_t i, uint32_t j);
/** All that run hold each other alive, and nobody else. False: *@why says who errs. */
bool group_world_agrees(const struct group_world *gw, char why[128]);
/** What must hold at any moment; fails by an assertion. */
void group_world_check(const struct group_world *gw);

void group_world_desc(uint32_t i, struct cairn_swim_desc *d);

#endif
