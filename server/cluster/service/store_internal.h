/* What the files of the store share: store.c (life, calls, namespaces), store_start.c (what is there), store_apply.c
 * (entries), store_entry.c (one entry), store_look.c (whether its key is there), store_batch.c (one batch),
 * store_known.c (rows that need not be written again), store_job.c, store_wipe.c, store_seal.c (a copy at its target),
 * store_view.c (a copy at its source). */
#ifndef CAIRN_SERVER_CLUSTER_SERVICE_STORE_INTERNAL_H
#define CAIRN_SERVER_CLUSTER_SERVICE_STORE_INTERNAL_H

#include "schema/common.pb-c.h"
#include "schema/kv.pb-c.h"
#include "sdk/core/base/le.h"
#include "server/cluster/service/store.h"

#include <endian.h>

enum {
    STORE_BATCH_OPS = 2048,      /* a batch that has so many takes no further entry */
    STORE_BATCH_BYTES = 2 << 20, /* likewise, of values */
    STORE_ENTRY_OPS_MAX = 260,   /* of one entry: EXPIRE, of a session with all its numbers */
    STORE_SESSION_ROWS = CAIRN_SESSION_WRITES_MAX,
    STORE_SESSION_ALONE = STORE_SESSION_ROWS, /* the row of a write whose client waits for no other */
    STORE_RETRY_MS = 100,
    STORE_UNREADABLE_MS = 10000, /* it will hardly get better */
    STORE_HOLD_MS = 2000,        /* a slot whose copy does not begin goes on then */
    STORE_VIEWS_MAX = 2,         /* copies that go out, of one worker */
    STORE_SLOT_BYTES = 4,        /* of a key: the slot */
    STORE_INDEX_HEAD_BYTES = 8,  /* slot and namespace, before the key */
    STORE_INDEX_VALUE_BYTES = 9,
    STORE_ROW_FORMAT = 1, /* of slots/at and slots/session: the first byte of a row's value */
    STORE_AT_VALUE_BYTES = 18,
    STORE_OPEN_KEY_BYTES = 20, /* of a session */
    STORE_OPEN_VALUE_BYTES = 9,
    STORE_WRITE_KEY_BYTES = 22, /* of a write of it */
    STORE_WRITE_VALUE_BYTES = 37,
};

/* ---- numbers ---- */

static inline void store_be32(uint8_t *to, uint32_t v)
{
    v = htobe32(v);
    memcpy(to, &v, sizeof(v));
}

static inline void store_be64(uint8_t *to, uint64_t v)
{
    v = htobe64(v);
    memcpy(to, &v, sizeof(v));
}

static inline uint32_t store_get_be32(const uint8_t *from)
{
    uint32_t v;

    memcpy(&v, from, sizeof(v));
    return be32toh(v);
}

static inline uint64_t store_get_be64(const uint8_t *from)
{
    uint64_t v;

    memcpy(&v, from, sizeof(v));
    return be64toh(v);
}

/* ---- store_batch.c ---- */

/* One KV_APPLY; kept and used again, with its buffers. */
struct store_batch {
    Cairn__Wire__KvApply msg;
    uint32_t *dbs;
    ProtobufCBinaryData *keys; /* until store_batch_end(): data is an offset */
    int64_t *lengths;
    protobuf_c_boolean *if_absent;
    uint32_t n, room;
    uint8_t *key_bytes, *values;
    size_t key_bytes_n, key_bytes_room, values_n, values_room;
};

struct store_batch_mark {
    uint32_t n;
    size_t key_bytes_n, values_n;
};

void store_batch_fini(struct store_batch *b);
void store_batch_reset(struct store_batch *b);
struct store_batch_mark store_batch_mark(const struct store_batch *b);
/* Back to the mark. */
void store_batch_undo(struct store_batch *b, struct store_batch_mark m);
/* The key is @head and @key; both are copied, as the value. @value_len -1: erase. CAIRN_E_NOMEM. */
int store_batch_add(struct store_batch *b, uint32_t db, const uint8_t *head, size_t head_len, const uint8_t *key,
                    size_t key_len, const uint8_t *value, int64_t value_len, bool if_absent);
/* It is complete: b->msg is valid until the next change. */
void store_batch_end(struct store_batch *b, Cairn__Wire__Durability durability);

int store_batch_at(struct store_batch *b, uint32_t db, uint32_t slot, struct cairn_at at, bool partial);
int store_batch_session(struct store_batch *b, uint32_t db, uint32_t slot, struct cairn_at id, uint64_t floor);
/* @epoch: of the entry; 0 if slots/at has a position that is not before it. */
int store_batch_write(struct store_batch *b, uint32_t db, uint32_t slot, struct cairn_at session,
                      const struct cairn_session_write *w, uint64_t epoch, uint64_t floor);
/* The rows of a session that has reached number @newest. */
int store_batch_expire(struct store_batch *b, uint32_t db, uint32_t slot, struct cairn_at session, uint64_t newest);

/* ---- store_known.c ---- */

struct store_known;

/* NULL: no memory. */
struct store_known *store_known_new(struct cairn_env *env);
void store_known_free(struct store_known *k);
/* Rows went, or did not come, in another way than by what these are told. */
void store_known_forget(struct store_known *k);
/* A batch is to write a key's row, the usual one; @head: STORE_INDEX_HEAD_BYTES. True: that is there already. */
bool store_known_add(struct store_known *k, const uint8_t *head, const uint8_t *key, size_t len);
/* It erases it, or writes another. */
void store_known_drop(struct store_known *k, const uint8_t *head, const uint8_t *key, size_t len);

/* ---- store.c ---- */

struct store_ns {
    uint32_t id, db; /* db 0: it cannot be had: it is gone, or there is another of its name */
    bool gone;
};

/* A namespace's database is being opened. */
struct store_open {
    struct cluster_store *st;
    uint32_t id;
    enum cluster_ns_state state;
    char name[32];
    Cairn__Wire__KvOpen msg;
    struct cairn_rpc_call call;
    struct cairn_err err;
    void (*done)(struct store_open *o, int rc);
    void *arg;
};

struct store_result {
    struct store_slot *s;
    uint64_t pos;
    int32_t op; /* of the batch: its record's put, if that is conditional; or -1 */
    int32_t result;
};

struct store_apply {
    struct cairn_sm sm;
    struct cairn_link slots; /* struct store_slot with entries */
    struct cairn_task task;
    struct cairn_timer timer;
    struct store_batch batch;
    struct store_result *results; /* STORE_BATCH_OPS */
    uint32_t nresults, nchecks, checked;
    uint32_t *checks; /* results that met what was there */
    bool built;       /* the batch is to be sent as it is, perhaps once more */
    bool reads;       /* the engine looks at records before it writes it */
    struct {
        struct store_slot *s;
        uint64_t pos, number;
        uint32_t db;
        bool known, puts;
        int32_t result;
        uint8_t key[CAIRN_KEY_BYTES_MAX]; /* of the index */
        size_t key_len;
    } looked; /* an entry whose result has to be known before it is applied, and whether it puts its record */
    ProtobufCBinaryData *check_keys;
    struct cairn_rpc_call call;
    struct cairn_err err;
    union {
        Cairn__Wire__KvGet get;
        Cairn__Wire__KvMget mget;
    } msg;
    struct store_open open;
};

struct store_start;

struct cluster_store {
    struct cluster_store_conf conf;
    struct cairn_loop *loop;
    uint32_t at_db, index_db, session_db;
    struct store_ns *ns; /* by id */
    uint32_t nns, ns_room;
    struct store_apply apply;
    struct store_known *known;
    struct store_start *start;
    struct cairn_link jobs, views;
    struct cairn_link waiting; /* struct store_slot, through .waits: for a view */
    uint32_t running, nviews; /* calls; copies that go out */
    bool has_no_views;        /* the provider: a copy holds its slot up */
    struct store_troubles troubles;
    bool stopping, dead;
    void (*stopped)(void *arg);
    void *stopped_arg;
    struct cairn_task stopped_task;
    struct {
        struct cairn_rpc_call call;
        struct cairn_err err;
        void (*done)(void *arg, int rc);
        void *arg;
    } flush;
    struct { /* whether the provider takes new data */
        struct cairn_rpc_call call;
        Cairn__Wire__KvApply msg;
        struct cairn_err err;
        bool asking, refused;
    } room;
};

/* Starts @call to the provider; every done() begins with store_call_over(). */
void store_call(struct cluster_store *st, struct cairn_rpc_call *call, uint32_t method, const ProtobufCMessage *msg,
                void (*done)(struct cairn_rpc_call *call), void *arg, struct cairn_err *err);
/* To another provider of this node. */
void store_call_to(struct cluster_store *st, const struct cairn_rpc_target *to, struct cairn_rpc_call *call,
                   uint32_t method, const ProtobufCMessage *msg, void (*done)(struct cairn_rpc_call *call), void *arg,
                   struct cairn_err *err);
/* @decided: also into the room that the provider keeps free of new data. */
void store_call_batch(struct cluster_store *st, struct cairn_rpc_call *call, struct store_batch *b, bool decided,
                      void (*done)(struct cairn_rpc_call *call), void *arg, struct cairn_err *err);
/* False: the store is being stopped, and nothing more is to be done. */
bool store_call_over(struct cluster_store *st);
/* Whether it may go better the next time. */
bool store_may_retry(int rc);
/* A block of the engine's is bad: of what lies in others that says nothing. */
static inline bool store_is_unreadable(int rc)
{
    return rc == CAIRN_E_CORRUPT || rc == CAIRN_E_IO;
}
/* It may not: says so, once. */
void store_die(struct cluster_store *st, int rc, const char *text);

/* NULL: not opened yet. */
const struct store_ns *store_ns_find(const struct cluster_store *st, uint32_t id);
int store_ns_add(struct cluster_store *st, uint32_t id, uint32_t db);
void store_ns_forget(struct cluster_store *st);
enum cluster_ns_state store_ns_state(const struct cluster_store *st, uint32_t id);
enum store_open_how { STORE_FIND, STORE_MAKE, STORE_MAKE_DECIDED };

/* Opens the database of namespace @id, which store_ns_find() knows then. If there is none and it was not removed,
 * STORE_MAKE makes it, as @write_once says; STORE_MAKE_DECIDED, which is an entry's, also in the room that the provider
 * keeps free of new data. Otherwise: CAIRN_E_NOTFOUND; CAIRN_E_BUSY: whether it was removed is not known yet. done()
 * comes later, unless the store ends. */
void store_open_start(struct store_open *o, struct cluster_store *st, uint32_t id, enum store_open_how how,
                      bool write_once, void (*done)(struct store_open *o, int rc), void *arg);

/* ---- store_entry.c ---- */

enum store_added {
    STORE_ADDED,
    STORE_NO_ROOM, /* no memory, or the batch is full */
    STORE_TO_OPEN, /* first the database of its namespace is to be opened */
    STORE_TO_LOOK, /* first it is to be known whether its key is there, in database @db */
};

/* A write of a session: its row there tells where the slot stands. */
bool store_entry_has_position(const struct cairn_log_entry *e);
/* Adds an entry to the batch that is being made, and its result. @b: its body, if it has one. */
enum store_added store_entry_add(struct cluster_store *st, struct store_slot *s, const struct cairn_log_entry *e,
                                 struct store_body *b, uint32_t *db);

/* ---- store_apply.c ---- */

enum { APPLY_IDLE, APPLY_OPEN, APPLY_LOOK, APPLY_WRITE, APPLY_CHECK, APPLY_PAUSE, APPLY_ENDED, APPLY_NR };

static inline struct cluster_store *store_apply_store(struct store_apply *a)
{
    return CONTAINER_OF(a, struct cluster_store, apply);
}

void store_apply_later(struct store_apply *a);
/* What was asked for has failed: again, soon, or the store dies of it. */
void store_apply_pause(struct store_apply *a, int rc);
void store_apply_init(struct cluster_store *st);
void store_apply_fini(struct cluster_store *st);

/* Slots that were held are not any more. */
void store_apply_wake(struct cluster_store *st);

/* ---- store_look.c ---- */

/* LOOK: whether the key of the entry at @pos is there, in database @db; a->looked says so, in IDLE. */
void store_look_start(struct store_apply *a, struct store_slot *s, uint64_t pos, const struct store_body *b,
                      uint32_t db);

/* ---- store_job.c, store_view.c ---- */

void store_jobs_free(struct cluster_store *st);
void store_views_free(struct cluster_store *st);

/* ---- store_start.c ---- */

void store_start_free(struct cluster_store *st);

#endif
