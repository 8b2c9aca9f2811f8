/** The map store: a few thousand small entries that must never be lost or doubted, behind one small interface.
 *
 * An entry has a key, a value and two revisions: of the change that created it and of the last that changed it. The
 * store has one revision, that of its newest change; revisions only grow and are never given twice. A change names the
 * revision that it was made from and is refused if the entry has moved on (PROTOCOL §1: "compare-and-set").
 *
 * `local` (map_store_local.c) is one node's own: a file that is replaced as a whole and flushed before a change is
 * answered. A store shared by nodes comes behind the same calls, and will add watches and leases. */
#ifndef CAIRN_SERVER_CLUSTER_MAP_STORE_H
#define CAIRN_SERVER_CLUSTER_MAP_STORE_H

#include "server/port/pool.h"

enum {
    CAIRN_MAP_KEY_BYTES_MAX = 512,
    CAIRN_MAP_VALUE_BYTES_MAX = 64 << 10,
    CAIRN_MAP_ENTRIES_MAX = 1 << 20,
    CAIRN_MAP_BYTES_MAX = 256 << 20, /* of all entries, as they are stored */
};

struct cairn_map_store;

/** One entry; as a parameter of a callback valid only during it. */
struct cairn_map_entry {
    const char *key;
    const uint8_t *value;
    uint32_t value_len;
    uint64_t created, changed; /* revisions */
};

/** One change, held by the caller until done(). */
struct cairn_map_change {
    const char *key;      /* these stay the caller's until done() */
    const uint8_t *value; /* NULL: erase */
    uint32_t value_len;
    uint64_t from; /* `changed` of the entry as the caller knows it; 0: there must be none */
    /** On the loop that asked. rc: 0; CAIRN_E_EXISTS (@from is 0 and there is one), CAIRN_E_NOTFOUND (there is none),
     * CAIRN_E_STATE (it has changed since @from); CAIRN_E_INVAL, CAIRN_E_LIMIT (bounds); CAIRN_E_NOSPACE, CAIRN_E_IO,
     * ...: not written, though after CAIRN_E_UNKNOWN it may come to light at the next start. */
    void (*done)(struct cairn_map_change *c);
    void *arg;

    int rc;
    struct cairn_err err;
    uint64_t revision; /* of this change, when rc == 0 */

    /* private from here */
    struct cairn_link link;
    struct cairn_task task;
    struct cairn_loop *loop;
    struct map_node *fresh; /* what is to be stored */
};

struct cairn_map_store_ops {
    void (*change)(struct cairn_map_store *s, struct cairn_loop *loop, struct cairn_map_change *c);
    void (*each)(struct cairn_map_store *s, const char *prefix, void (*fn)(const struct cairn_map_entry *e, void *arg),
                 void *arg);
    uint64_t (*revision)(struct cairn_map_store *s);
    void (*free)(struct cairn_map_store *s);
};

struct cairn_map_store {
    const struct cairn_map_store_ops *ops;
};

/** The file @dir/map, made if there is none. Blocks. @dir "" keeps everything in memory. CAIRN_E_FORMAT: written by a
 * newer version; CAIRN_E_CORRUPT: damaged (never by a crash: it is replaced, not rewritten). */
int cairn_map_store_local_open(const char *dir, struct cairn_pool *pool, struct cairn_map_store **out,
                               struct cairn_err *err);
/** What open() would say, changing nothing. */
int cairn_map_store_local_check(const char *dir, struct cairn_err *err);

/** Any loop's thread; done() comes later on that loop. Changes made at the same time are written together. */
static inline void cairn_map_store_change(struct cairn_map_store *s, struct cairn_loop *loop,
                                          struct cairn_map_change *c)
{
    s->ops->change(s, loop, c);
}

/** All entries whose keys begin with @prefix, in order of their keys; @fn must not call the store. Any thread. */
static inline void cairn_map_store_each(struct cairn_map_store *s, const char *prefix,
                                        void (*fn)(const struct cairn_map_entry *e, void *arg), void *arg)
{
    s->ops->each(s, prefix, fn, arg);
}

static inline uint64_t cairn_map_store_revision(struct cairn_map_store *s)
{
    return s->ops->revision(s);
}

/** No change may be under way. */
static inline void cairn_map_store_close(struct cairn_map_store *s)
{
    s->ops->free(s);
}

#endif
