/** What the KV provider asks of its storage; one file kv_store_<engine>.c each.
 *
 * Reads have one form that never blocks, for the loop, and one that may, for the pool. Writes either happen at once (an
 * engine with writes_inline) or are handed over and come back. Databases are named by the handle of their directory
 * entry (kv_dir.h); the engine that finds it gone answers CAIRN_KV_GONE, so an operation that was under way when a
 * database was dropped cannot touch another. All calls from any worker's thread, or the pool's. */
#ifndef CAIRN_PROVIDERS_KV_STORE_H
#define CAIRN_PROVIDERS_KV_STORE_H

#include "providers/kv/kv_core.h"
#include "providers/kv/kv_dir.h"
#include "sdk/core/base/err.h"
#include "sdk/core/loop/loop.h"
#include "server/port/pool.h"
#include "server/storage/spare.h"

#include <jansson.h>

enum {
    CAIRN_KV_LATER = 1, /* not an error: the answer would need the disk, or comes by done() */
    CAIRN_KV_GONE = 2,  /* nor is this: there is no such database */
    CAIRN_KV_VIEWS_MAX = 64,
};

struct cairn_kv_store_conf {
    const char *dir;             /* exists; "" for an engine that needs none */
    uint64_t memory_bytes;       /* memory: the limit of records and index */
    uint64_t cache_bytes;        /* rocksdb: blocks kept in memory */
    uint64_t write_buffer_bytes; /* rocksdb: a memtable */
    uint64_t queue_bytes;        /* rocksdb: writes that may wait for their commit */
    uint32_t open_files;         /* rocksdb */
    uint32_t compression;        /* rocksdb: enum cairn_rocks_compression */
    struct cairn_spare *spare;   /* rocksdb: what removals may have on a full disk; NULL: nothing */
    struct cairn_loop *const *loops;
    uint32_t nloops;
};

enum cairn_kv_want { CAIRN_KV_WANT_VALUE, CAIRN_KV_WANT_LENGTH };

/** Reads of one or several keys. The keys are valid: cairn_kv_key_check(). */
struct cairn_kv_read {
    struct cairn_kv_db db;
    const void *at; /* a view, of snapshot_open(); NULL: as it is now */
    const ProtobufCBinaryData *keys;
    uint32_t n;
    enum cairn_kv_want want;
    bool may_block; /* on the pool */
    /** Called per key in order, under locks: @len is -1 if it is not there, -2 if it is one of several and cannot be
     * read (of a single one read() tells why); @val NULL if lengths are wanted. The view lives for this call; that of
     * an engine which holds_views until end() has returned, if @n <= CAIRN_KV_VIEWS_MAX. False: no more room, this key
     * was not taken and the rest need not be read. */
    bool (*found)(void *arg, uint32_t i, const uint8_t *val, int64_t len);
    /** May be NULL. Called once after the last found(), under no lock, so it may answer and go where that leads. Not
     * called if read() fails or returns CAIRN_KV_LATER. */
    void (*end)(void *arg);
    void *arg;
};

/** One page of a listing. */
struct cairn_kv_scan {
    struct cairn_kv_db db;
    const void *at; /* as in cairn_kv_read */
    const struct cairn_kv_range *range;
    bool reverse, values, may_block;
    uint64_t deadline_ns; /* on the pool: when to stop */
    /** Called per entry, in order, under locks; the views live for this call. False: no more room, not taken. */
    bool (*entry)(void *arg, const uint8_t *key, uint32_t klen, const uint8_t *val, uint32_t vlen);
    void *arg;
    bool more; /* out: entries may follow */
};

/** What is done with one key. */
struct cairn_kv_entry {
    struct cairn_kv_db db;
    uint32_t len; /* put: of the value */
    bool erase;
    bool if_absent; /* put: implied in a write-once database */
};

/** Whether what is there decides. */
static inline bool cairn_kv_entry_is_conditional(const struct cairn_kv_entry *e)
{
    return !e->erase && (e->if_absent || e->db.write_once);
}

/** Puts or erases one or several keys. */
struct cairn_kv_write {
    struct cairn_kv_db db;
    bool erase;
    bool if_absent;                  /* put: implied in a write-once database */
    bool want_old;                   /* only with n == 1 */
    uint64_t coming;                 /* without entries: bytes that will be decided */
    bool decided;                    /* also into the room that new data does not get */
    uint32_t durability;             /* Durability of the schema, or what is none yet */
    const ProtobufCBinaryData *keys; /* until the write is over, as all that follows */
    const uint8_t *values;           /* put: one behind the other */
    const uint32_t *lengths;
    /** Not NULL: what is done with each key, instead of @db and @lengths; all of it is seen, kept and lost as one.
     * Then @erase says that there is no put, @if_absent that there is one with a condition; @want_old is false. A
     * status other than CAIRN_E_EXISTS is the whole's: nothing was done. */
    const struct cairn_kv_entry *entries;
    uint32_t n;
    uint32_t value_bytes; /* all of @values */
    int32_t *status;      /* out, per key: 0, CAIRN_E_EXISTS, CAIRN_E_NOSPACE ... */
    /** With want_old: called once when the write is certain to succeed; @len is -1 if nothing was there. The view lives
     * for this call. On the thread that writes, under no lock. */
    void (*old)(struct cairn_kv_write *w, const uint8_t *val, int64_t len);
    /* For engines without writes_inline: */
    struct cairn_loop *loop;
    uint32_t worker; /* index of @loop */
    uint64_t deadline_ns;
    const atomic_bool *canceled;                    /* may be NULL; true: nobody waits, it need not happen */
    void (*done)(struct cairn_kv_write *w, int rc); /* on @loop; rc of the whole: statuses count only if it is 0 */
    void *arg;
    /** The engine's own. */
    _Alignas(16) uint8_t private[256];
};

/** What is done with key @i of @w. */
static inline struct cairn_kv_entry cairn_kv_write_entry(const struct cairn_kv_write *w, uint32_t i)
{
    if (w->entries != NULL)
        return w->entries[i];
    return (struct cairn_kv_entry){
        .db = w->db, .len = w->erase ? 0 : w->lengths[i], .erase = w->erase, .if_absent = w->if_absent
    };
}

struct cairn_kv_usage {
    uint64_t keys, bytes;
    bool keys_exact;
};

struct cairn_kv_store;

struct cairn_kv_store_ops {
    const char *name; /* "memory" */
    bool needs_dir, writes_inline;
    bool holds_views; /* what a read finds stays where it is, without a lock: see cairn_kv_read */

    int (*open)(const struct cairn_kv_store_conf *conf, struct cairn_kv_dir *dir, struct cairn_kv_store **store,
                struct cairn_err *err);
    void (*close)(struct cairn_kv_store *store);
    /** Looks whether open() would succeed, changing nothing but @dir. */
    int (*check)(const struct cairn_kv_store_conf *conf, struct cairn_kv_dir *dir, struct cairn_err *err);

    /** Makes a database known for good, before it is in the directory; drop() after it has left. Both may block.
     * @decided: also into the room that new data does not get. */
    int (*create)(struct cairn_kv_store *store, const struct cairn_kv_db_desc *desc, bool decided,
                  struct cairn_err *err);
    int (*drop)(struct cairn_kv_store *store, const struct cairn_kv_db_desc *desc, struct cairn_err *err);

    /** 0, CAIRN_KV_GONE, CAIRN_E_* or, unless may_block, CAIRN_KV_LATER: then found() was not called, or all it was
     * told is to be forgotten. */
    int (*read)(struct cairn_kv_store *store, const struct cairn_kv_read *rd);
    int (*scan)(struct cairn_kv_store *store, struct cairn_kv_scan *scan);
    /** writes_inline: 0, CAIRN_KV_GONE or an error, at once. Otherwise CAIRN_KV_LATER, or an error and done() will not
     * run. */
    int (*write)(struct cairn_kv_store *store, struct cairn_kv_write *w);
    /** May be NULL. Without writes_inline: what can be done at once, for loops to ask first. 0: it is done, without
     * @status; or CAIRN_KV_GONE; or CAIRN_KV_LATER: it is write()'s. */
    int (*write_now)(struct cairn_kv_store *store, const struct cairn_kv_write *w);
    /** All that was answered before, whatever its durability, survives power loss when it returns 0. NULL: there is
     * no disk. May block. */
    int (*flush)(struct cairn_kv_store *store);
    /** A view of all databases as they are, for reads to look at; or why there is none: CAIRN_E_NOMEM, or what a write
     * would be told. Both are NULL in an engine that has none. May block. */
    int (*snapshot_open)(struct cairn_kv_store *store, void **view);
    void (*snapshot_close)(struct cairn_kv_store *store, void *view);
    /** May block. */
    int (*usage)(struct cairn_kv_store *store, const struct cairn_kv_db *db, struct cairn_kv_usage *out);
    /** Does not block. */
    void (*status)(struct cairn_kv_store *store, json_t *to);
};

extern const struct cairn_kv_store_ops cairn_kv_store_memory, cairn_kv_store_rocksdb;

#endif
