/** A map store's entries as this process knows them, and those who want to hear of changes.
 *
 * The store moves the view from revision to revision; a journal of the newest changes lets each watch follow at its own
 * pace. A watch that falls behind the journal, or asks for a revision older than it, is told everything anew. Nodes are
 * counted, so nobody waits for a watch. */
#ifndef CAIRN_SERVER_CLUSTER_MAP_VIEW_H
#define CAIRN_SERVER_CLUSTER_MAP_VIEW_H

#include "sdk/core/loop/loop.h"
#include "server/cluster/map_table.h"

enum { CAIRN_MAP_JOURNAL = 1024 };

/** Where a store lives. */
struct cairn_map_home {
    struct cairn_env *env;
    struct cairn_loop *loop; /* NULL: simulated, one thread */
    struct cairn_sm_set *machines;
};

static inline struct cairn_map_home cairn_map_home_of(struct cairn_loop *loop)
{
    return (struct cairn_map_home){ .env = &loop->env, .loop = loop, .machines = &loop->machines };
}

enum cairn_map_news {
    CAIRN_MAP_RESET, /* forget what you were told; all entries follow */
    CAIRN_MAP_ENTRY, /* stored, or (value NULL) erased. The same one may be told twice in a row */
    /* the store was read again after a gap: differences follow, what came and went between is unseen */
    CAIRN_MAP_SKIPPED,
    CAIRN_MAP_CURRENT, /* that was all up to @revision */
};

/** Held by its user. */
struct cairn_map_watch {
    const char *prefix; /* the user's, while the watch lasts */
    uint64_t from;      /* tell what is newer than this revision; 0: everything */
    /** At home. May stop this watch and others; @e is set with ENTRY. */
    void (*fn)(struct cairn_map_watch *w, enum cairn_map_news news, const struct cairn_map_entry *e, uint64_t revision);
    void *arg;

    /* private */
    struct cairn_link link;
    struct cairn_task task;
    struct cairn_map_view *view;
    uint64_t seq; /* of the journal, told so far */
    bool reset;
};

struct cairn_map_record {
    struct cairn_map_node *node; /* NULL: SKIPPED */
    uint64_t revision;
};

struct cairn_map_view {
    pthread_mutex_t mutex;
    struct cairn_map_table table; /* under mutex, as all but the watches */
    uint64_t revision;
    bool known; /* read at least once; then for good */
    struct cairn_map_record journal[CAIRN_MAP_JOURNAL];
    uint64_t seq;         /* records ever; the newest is journal[(seq - 1) % CAIRN_MAP_JOURNAL] */
    uint64_t whole_since; /* every change after this revision was put into the journal */
    uint32_t nwatches;
    bool posted;
    struct cairn_link watches; /* home's */
    struct cairn_task task;
    struct cairn_map_watch *telling;
    struct cairn_map_home home;
};

void cairn_map_view_init(struct cairn_map_view *v, const struct cairn_map_home *home);
void cairn_map_view_fini(struct cairn_map_view *v);

/** Any thread, holding the mutex, as for the two below. Room for @n more entries, so that apply() cannot fail. */
int cairn_map_view_reserve(struct cairn_map_view *v, uint32_t n);
/** The change @revision: entries stored and (value NULL) erased. Takes references of its own. */
void cairn_map_view_apply(struct cairn_map_view *v, struct cairn_map_node *const *nodes, uint32_t n, uint64_t revision);
/** All entries as of @revision, read anew; takes @t's contents. Watches hear SKIPPED and the differences, or RESET
 * when these are many or memory is short. */
void cairn_map_view_replace(struct cairn_map_view *v, struct cairn_map_table *t, uint64_t revision);

/** At home. fn() comes later, first with what is there. */
void cairn_map_watch_start(struct cairn_map_view *v, struct cairn_map_watch *w);
void cairn_map_watch_stop(struct cairn_map_watch *w);

#endif
