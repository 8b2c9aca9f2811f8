/** A map store of any kind with all that it stands on, so that one test can be run against each. */
#ifndef CAIRN_TESTS_MAP_WORLD_H
#define CAIRN_TESTS_MAP_WORLD_H

#include "server/cluster/map_store.h"

struct map_world;

struct map_world_kind {
    const char *name;
    struct map_world *(*open)(void);
    void (*close)(struct map_world *w); /* the stores too */
    void (*turn)(struct map_world *w);  /* sleeps at most 50 ms of the world's time */
    /* NULL where it cannot happen: */
    struct cairn_map_store *(*other)(struct map_world *w); /* a second store of the same entries */
    void (*reach)(struct map_world *w, bool reachable);    /* connections are refused, or no longer */
    void (*mute)(struct map_world *w, bool mute);          /* requests arrive nowhere, or only when this ends */
    void (*compact)(struct map_world *w);                  /* the history that watches need is dropped */
};

struct map_world {
    const struct map_world_kind *kind;
    struct cairn_map_store *store;
    struct cairn_loop *loop; /* NULL: virtual time */
};

extern const struct map_world_kind map_world_local, map_world_sim, map_world_etcd;

static inline uint64_t map_world_now(struct map_world *w)
{
    return cairn_env_now_ns(w->loop != NULL ? &w->loop->env : w->store->home.env);
}

/** A world of @loop with no store yet, for tests that open their own; ended by whoever made it. */
struct map_world map_world_on(struct cairn_loop *loop);

/** Turns until @done(arg); fails the test when that takes longer than 30 s of the world's time. */
void map_world_until(struct map_world *w, bool (*done)(void *arg), void *arg);
void map_world_pass_ms(struct map_world *w, uint64_t ms);

/** Asks @s and waits: what op.rc says. */
int map_world_change(struct map_world *w, struct cairn_map_store *s, struct cairn_map_change *c);
int map_world_read(struct map_world *w, struct cairn_map_store *s, struct cairn_map_read *r);
int map_world_lease(struct map_world *w, struct cairn_map_store *s, struct cairn_map_lease_op *l);
/** One write; *@revision (may be NULL) is that of the change. */
int map_world_put(struct map_world *w, const char *key, const char *value, uint64_t from, uint64_t *revision);

/** "a=1 b=2 ", of the view and of a read. */
const char *map_world_listed(struct map_world *w, struct cairn_map_store *s, const char *prefix);
const char *map_world_listed_truly(struct map_world *w, struct cairn_map_store *s, const char *prefix);

#endif
