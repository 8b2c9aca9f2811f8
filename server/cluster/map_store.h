/** The map store: a few thousand small entries that must never be lost or doubted, behind one small interface.
 *
 * An entry has a key, a value and two revisions: of the change that created it and of the last that changed it. The
 * store has one revision, that of its newest change; revisions only grow and are never given twice. A change writes
 * several entries or none; each write names the revision that it was made from and is refused if the entry has moved on
 * (PROTOCOL §1: "compare-and-set"), and a fence refuses all of it when another entry is not the one that the caller
 * knows: the coordinator's election key, so that whoever was deposed changes nothing any more. Entries may hang on a
 * lease: they end with it.
 *
 * Every store keeps a *view*, a copy of all entries in memory (map_view.h): cairn_map_store_each() and watches read it
 * and never wait. It may lag behind the store by a message; cairn_map_store_read() does not.
 *
 * A store lives on one thread, its *home*. cairn_map_store_change(), each(), revision() and health() are for any loop's
 * thread, everything else for home's.
 *
 *  - `local` (map_store_local.c) is one node's own: a file that is replaced as a whole and flushed before a change is
 *    answered. Its leases end with the process.
 *  - `etcd` (map_store_etcd.c) is shared by nodes.
 *  - tests/lib/sim_map.h is for simulated worlds. */
#ifndef CAIRN_SERVER_CLUSTER_MAP_STORE_H
#define CAIRN_SERVER_CLUSTER_MAP_STORE_H

#include "server/cluster/map_view.h"
#include "server/port/pool.h"

enum {
    CAIRN_MAP_WRITES_MAX = 64,              /* of one change */
    CAIRN_MAP_CHANGE_BYTES_MAX = 768 << 10, /* of all its values: etcd takes 1.5 MiB, in its own encoding */
    CAIRN_MAP_TIMEOUT_MS = 5000,
    CAIRN_MAP_LEASE_MS_MIN = 1000,
    CAIRN_MAP_LEASE_MS_MAX = 3600 * 1000,
};

struct cairn_map_store;

/** What is common to everything that is asked of a store; held by the caller until done(). */
struct cairn_map_op {
    void (*done)(struct cairn_map_op *op); /* once, later */
    void *arg;
    uint32_t timeout_ms; /* 0: CAIRN_MAP_TIMEOUT_MS. Of a read that needs several answers: of each */

    /** 0, or why not. Of any request: CAIRN_E_INVAL, CAIRN_E_LIMIT (bounds); CAIRN_E_UNREACHABLE (the store cannot be
     * asked; nothing was done); CAIRN_E_TIMEOUT (of those that change nothing); CAIRN_E_BUSY, CAIRN_E_NOMEM (nothing
     * was done); CAIRN_E_UNKNOWN (it was asked, and did not answer: read before you go on). */
    int rc;
    struct cairn_err err;
    uint64_t revision; /* of a change: its own; of a read: what it is true of. 0 when rc != 0 */
    uint64_t sent_ns;  /* when the request that was answered was sent, by home's clock */

    /* the store's from here */
    struct cairn_link link;
    struct cairn_task task;
    struct cairn_loop *loop; /* where done() runs; NULL: at home */
    struct cairn_map_store *store;
};

/** One entry to be written. */
struct cairn_map_write {
    const char *key;      /* these stay the caller's until done() */
    const uint8_t *value; /* NULL: erase */
    uint32_t value_len;
    uint64_t from;  /* `changed` of the entry as the caller knows it; 0: there must be none */
    uint64_t lease; /* the entry ends with this lease; 0: it stays */
};

/** All of @writes or none; no key twice. Refusals, beside what op.rc says: CAIRN_E_EXISTS (from is 0 and there is one),
 * CAIRN_E_NOTFOUND (there is none), CAIRN_E_STATE (it has changed since), each of writes[refused]; CAIRN_E_DENIED (the
 * fence); CAIRN_E_CLOSED (a lease is over). CAIRN_E_NOSPACE, CAIRN_E_IO: not written. */
struct cairn_map_change {
    struct cairn_map_op op;
    const struct cairn_map_write *writes;
    uint32_t nwrites;
    const char *fence_key; /* NULL: none */
    uint64_t fence;        /* `created` of the entry @fence_key */

    uint32_t refused;

    struct cairn_map_node **fresh; /* private: what is to be stored, one for each write */
};

/** The entries whose keys begin with @prefix, as they were at one moment after the request: all, or the first @limit of
 * them in the order of their keys, or the last ones. No more than these come from the store. */
struct cairn_map_read {
    struct cairn_map_op op;
    const char *prefix;
    uint32_t limit; /* 0: all */
    bool last;
    uint64_t count;               /* when op.rc is 0: how many there are */
    struct cairn_map_table table; /* when op.rc is 0; cairn_map_table_fini() is the caller's */
};

enum cairn_map_lease_verb { CAIRN_MAP_GRANT, CAIRN_MAP_KEEP, CAIRN_MAP_REVOKE };

/** map_lease.h keeps a lease; this is what it asks. CAIRN_E_CLOSED: the lease is over (KEEP, REVOKE). */
struct cairn_map_lease_op {
    struct cairn_map_op op;
    enum cairn_map_lease_verb verb;
    uint64_t id;     /* not 0; GRANT: set by the store */
    uint64_t ttl_ms; /* GRANT: at least this much is asked for; what was given, counted from its arrival at the store */
};

struct cairn_map_health {
    bool reachable;
    uint64_t since_ns;    /* by home's clock */
    struct cairn_err err; /* why not; what it was last, when reachable again */
    uint64_t entries_read, entries_told; /* so many came from a shared store: asked for; as changes */
};

struct cairn_map_store_ops {
    const char *name;                                                   /* "local" */
    void (*change)(struct cairn_map_store *s, struct cairn_map_op *op); /* any thread; the others at home */
    void (*read)(struct cairn_map_store *s, struct cairn_map_op *op);
    void (*lease)(struct cairn_map_store *s, struct cairn_map_op *op);
    void (*reload)(struct cairn_map_store *s); /* at home; NULL: its view cannot be of another store */
    void (*free)(struct cairn_map_store *s);
};

struct cairn_map_store {
    const struct cairn_map_store_ops *ops;
    struct cairn_map_home home;
    struct cairn_map_view view;
    struct cairn_map_health health; /* under view.mutex */
    uint32_t sharers;               /* home's */
};

/** The file @dir/map, made if there is none. Blocks. @dir "" keeps everything in memory. CAIRN_E_FORMAT: written by a
 * newer version; CAIRN_E_CORRUPT: damaged (never by a crash: it is replaced, not rewritten). */
int cairn_map_store_local_open(const char *dir, struct cairn_pool *pool, struct cairn_loop *home,
                               struct cairn_map_store **out, struct cairn_err *err);
/** What open() would say, changing nothing. */
int cairn_map_store_local_check(const char *dir, struct cairn_err *err);

/** Any loop's thread; done() comes later on that loop (NULL: home's, from home). Changes made at the same time are
 * written together. When done() has a 0, the view has the change too, unless the store was lost just then. */
void cairn_map_store_change(struct cairn_map_store *s, struct cairn_loop *loop, struct cairn_map_change *c);
void cairn_map_store_read(struct cairn_map_store *s, struct cairn_map_read *r);
void cairn_map_store_lease(struct cairn_map_store *s, struct cairn_map_lease_op *l);

/** All entries of the view whose keys begin with @prefix, in order of their keys; @fn must not call the store. */
void cairn_map_store_each(struct cairn_map_store *s, const char *prefix,
                          void (*fn)(const struct cairn_map_entry *e, void *arg), void *arg);
/** At home, also from a watch: what the view has may be of another history than the store (it was put back, and has
 * come further since): all of it is read again. */
void cairn_map_store_reload(struct cairn_map_store *s);
/** At home: about so many nodes share the store. The more, the more rarely each asks without need; 0: not known. */
void cairn_map_store_shared_by(struct cairn_map_store *s, uint32_t nodes);
/** The view's. */
uint64_t cairn_map_store_revision(struct cairn_map_store *s);
void cairn_map_store_health(struct cairn_map_store *s, struct cairn_map_health *to);

/** Turns home's loop, which nobody else runs now, until the store has been read once. CAIRN_E_TIMEOUT, with what health
 * says. */
int cairn_map_store_await(struct cairn_map_store *s, uint32_t timeout_ms, struct cairn_err *err);

/** Nothing may be under way and no watch be left. */
void cairn_map_store_close(struct cairn_map_store *s);

/* ---- for those who implement a store ---- */

void cairn_map_store_init(struct cairn_map_store *s, const struct cairn_map_store_ops *ops,
                          const struct cairn_map_home *home);
void cairn_map_store_fini(struct cairn_map_store *s);
/** Answers @op later; whoever calls is through with it. Any thread if op->loop is set, else home's. */
void cairn_map_op_answer(struct cairn_map_op *op);
/** Notes an outcome; says it in the log when it is news. Home's thread. */
void cairn_map_health_good(struct cairn_map_store *s);
void cairn_map_health_bad(struct cairn_map_store *s, const struct cairn_err *err);
void cairn_map_health_count(struct cairn_map_store *s, uint32_t read, uint32_t told);

/** What must hold of any change: CAIRN_E_INVAL. */
int cairn_map_change_bounds(struct cairn_map_change *c);
/** Whether the entry is as @w wants it: CAIRN_E_EXISTS, CAIRN_E_NOTFOUND, CAIRN_E_STATE. */
int cairn_map_write_check(const struct cairn_map_write *w, bool is_there, uint64_t changed, struct cairn_err *err);
/** Checks bounds and makes c->fresh. The code is in c->op too. */
int cairn_map_change_prepare(struct cairn_map_change *c);
/** Refuses @c, or stages all of it into @t as revision @revision: the only reading of what a change means.
 * @lease_lives tells leases apart. Returns what becomes c->op.rc; then c->fresh is as the entries are. */
int cairn_map_change_stage(struct cairn_map_change *c, struct cairn_map_table *t, uint64_t revision,
                           bool (*lease_lives)(void *arg, uint64_t id), void *arg);
void cairn_map_change_drop(struct cairn_map_change *c);

#endif
