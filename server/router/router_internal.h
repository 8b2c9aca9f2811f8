/* What the files of this folder share.
 *
 * Each worker has its own copy of the table of namespaces, so an operation takes no lock and touches nothing of another
 * worker's. Worker 0 is *home*: it alone changes namespaces (ns_order.h), one change of a namespace at a time, and
 * tells the others (router_spread). Operations (router_op) run on the worker that got the request. */
#ifndef CAIRN_SERVER_ROUTER_INTERNAL_H
#define CAIRN_SERVER_ROUTER_INTERNAL_H

#include "cairn/limits.h"
#include "sdk/core/bulk/bulk.h"
#include "server/cluster/map_file.h"
#include "server/cluster/map_ids.h"
#include "server/cluster/map_log.h"
#include "server/cluster/service/cluster.h"
#include "server/cluster/service/record.h"
#include "server/router/router.h"

#include "schema/common.pb-c.h"
#include "schema/extent.pb-c.h"
#include "schema/kv.pb-c.h"
#include "schema/repl.pb-c.h"
#include "schema/router.pb-c.h"

#include <pthread.h>
#include <stdatomic.h>

enum {
    ROUTER_BUCKETS = 256,
    ROUTER_REMOVED_MAX = 4096, /* namespaces: of more of them the next start sweeps the regions */
    ROUTER_SPARE_OPS_MAX = 1024,
    ROUTER_SPARE_PARTS_MAX = 64,
    ROUTER_SMALL_BYTES = 1024 + CAIRN_RECORD_HEAD_BYTES + 28, /* values up to here are kept in the operation itself */
    ROUTER_RELOOKUPS_MAX = 8,                                 /* a value that is replaced faster than it can be read */
};

struct router_worker;
struct router_news;
struct router_upload;
struct router_order;

/* ---- namespaces ---- */

/* One worker's copy of one namespace. */
struct router_ns {
    struct cairn_link link; /* of its bucket */
    char name[CAIRN_NAME_BYTES_MAX + 1], kv_name[CAIRN_NAME_BYTES_MAX + 1], extent_name[CAIRN_NAME_BYTES_MAX + 1];
    const struct cairn_rpc_target *kv, *extent; /* NULL: this node has none of that name */
    uint64_t created_ms, changed;               /* changed: revision of its record; home's copy only */
    uint32_t id, replicas, embed_threshold, owner, group, mode;
    Cairn__Wire__Durability durability;
    bool write_once;
    bool has_large;   /* it may name extents: who replaces a value looks at the old one */
    bool large_ready; /* and every worker does so: large values may be stored */
    bool removing;    /* takes no operations */
    bool clustered;
    bool noted; /* what is stored here may be found: the record says that this node holds something, if it must */
    bool open;                  /* @db is known */
    struct router_order *order; /* home's copy: works on it, or NULL */
    uint32_t db;                /* handle in the KV provider */
    char db_name[16];           /* "ns/42" */
    uint32_t ops;               /* operations that run here */
    uint32_t plain;             /* those of them that replace values without looking whether they are large */
    struct router_news *awaits_ops, *awaits_plain; /* to be acknowledged when the count is 0 */
};

/* ---- telling all workers ---- */

struct router_spread;

/* One worker's part of it. */
struct router_news {
    struct cairn_task task;
    struct router_spread *spread;
    struct router_worker *w;
    struct router_ns *ns; /* spread's own use */
};

/* apply() runs on every worker and leads to router_news_ack(), now or later; done() runs at home after the last. */
struct router_spread {
    void (*apply)(struct router_news *n);
    void (*done)(struct router_spread *s);
    struct cairn_router *router;
    struct router_news *news; /* one for each worker */
    _Atomic uint32_t left;
    struct cairn_task task;
};

int router_spread_init(struct router_spread *s, struct cairn_router *r);
void router_spread_fini(struct router_spread *s);
/* Home only; not while it is under way. */
void router_spread_start(struct router_spread *s, void (*apply)(struct router_news *n),
                         void (*done)(struct router_spread *s));
void router_news_ack(struct router_news *n);

/* ---- workers ---- */

struct router_worker {
    _Alignas(64) struct cairn_router *router;
    struct cairn_rpc *rpc;
    struct cairn_loop *loop;
    struct cairn_link buckets[ROUTER_BUCKETS];
    struct cairn_link spare_ops, spare_parts;
    uint32_t nns, nspare_ops, nspare_parts;
    /* Writers of regions by the half of the period they began in: the sweeper turns the period and waits for the old
     * half. */
    uint32_t period, storing[2];
    struct router_news *awaits_storing;
};

struct router_sweep;
struct router_reaper;

/* ns_follow.c */
struct router_follow {
    struct cairn_map_watch watch; /* its view is NULL while nothing is followed */
    struct cairn_timer again;
    uint64_t revision; /* of the map, as it was told last */
    bool unseen;       /* changes came and went that are not told: every name is to be looked at */
    uint32_t running;  /* orders of ours */
    void (*stopped)(void *arg);
    void *stopped_arg;
};

/* upload.h */
struct router_uploads {
    pthread_mutex_t mutex;
    struct cairn_link all; /* struct router_upload.link */
    uint32_t n;
};

struct cairn_router {
    struct cairn_provider_env env;
    struct cairn_router_conf conf;
    struct cairn_map_store *store;
    bool owns_store;
    struct cairn_map_log_trim trim; /* home's */
    struct router_worker *workers;
    uint32_t nworkers;
    struct cairn_link orders;   /* home: those that wait because another works on the name */
    struct cairn_link creating; /* home: orders whose namespace is being made */
    struct router_sweep *sweep;
    struct cairn_timer sweep_timer; /* home's, in a cluster: until the next */
    bool quiescing;
    uint64_t loaded; /* all namespaces with ids up to this were known at the start */
    /* home: clustered namespaces that were removed since, the newest of them */
    uint32_t removed[ROUTER_REMOVED_MAX], nremoved, next_removed;
    struct router_uploads uploads; /* of all workers */
    struct router_reaper *reaper;
    struct cairn_task quiesced_task;
    void (*quiesced)(void *arg);
    void *quiesced_arg;
    bool was_unclean;            /* the last run did not end by stop() */
    struct router_follow follow; /* clustered: of namespaces that others make */
    atomic_bool left_garbage;    /* something could not be removed: the next start is to look for it */
    _Atomic uint32_t nnamespaces;
    _Atomic uint64_t swept; /* regions removed by the sweeper */
};

static inline struct router_worker *router_home(struct cairn_router *r)
{
    return &r->workers[0];
}

static inline struct router_worker *router_worker_of(const struct cairn_rpc_req *rq)
{
    struct cairn_router *r = rq->target->ctx;

    return &r->workers[cairn_rpc_index(rq->rpc)];
}

/* ns_table.c */

struct router_ns *router_ns_find(struct router_worker *w, const char *name);
struct router_ns *router_ns_find_id(struct router_worker *w, uint32_t id);
void router_ns_add(struct router_worker *w, struct router_ns *ns);
void router_ns_del(struct router_worker *w, struct router_ns *ns);
/* In order of name; NULL for memory. The array is the caller's, the namespaces are not. */
struct router_ns **router_ns_sorted(struct router_worker *w);
int router_ns_name_check(const char *name, struct cairn_err *err);
/* Providers are looked up, names are completed: for a namespace that was made up or read. */
void router_ns_complete(const struct cairn_router *r, struct router_ns *ns);
/** The namespace that @m of @who asks for, with what is usual where nothing was said, and without an id; zeroed before.
 * CAIRN_E_INVAL, CAIRN_E_UNSUPPORTED, CAIRN_E_NOPROVIDER: it is not possible here. ns_wanted.c */
int router_ns_wanted(const struct cairn_router *r, const Cairn__Wire__Namespace *m, const struct cairn_identity *who,
                     struct router_ns *ns, struct cairn_err *err);
static inline uint64_t router_ns_region_owner(const struct router_ns *ns)
{
    return CAIRN_REGION_OWNER_TAG | ns->id;
}
enum router_access {
    ROUTER_READ = 4,
    ROUTER_WRITE = 2,
    ROUTER_READ_REPLICA = 12, /* READ; of a write-once namespace, here also where the key's slot is not led from */
};
static inline enum router_access router_read_access(bool replica)
{
    return replica ? ROUTER_READ_REPLICA : ROUTER_READ;
}
bool router_ns_allows(const struct router_ns *ns, const struct cairn_identity *who, enum router_access access);
void router_ns_to_wire(const struct router_ns *ns, Cairn__Wire__Namespace *to);
/* The record of a new one as the map store keeps it, with an entry's @counted; malloc'ed. NULL for memory. */
uint8_t *router_ns_pack(const struct router_ns *ns, uint64_t counted, uint32_t *len);
/* An entry of the map as a namespace that is used by nobody yet. CAIRN_E_CORRUPT, CAIRN_E_FORMAT,
 * CAIRN_E_NOMEM: nothing is known of it. */
int router_ns_unpack(const struct cairn_router *r, const struct cairn_map_ids *ids, const struct cairn_map_entry *e,
                     struct router_ns *ns);
int router_ns_load(struct cairn_router *r, struct cairn_err *err);
/* The map has it, by the name and the id; or something by that name that cannot be read. Any worker. */
bool router_ns_is_stored(const struct cairn_router *r, const char *name, uint32_t id);
/* The only ways to begin and end work on a namespace. */
static inline void router_ns_get(struct router_ns *ns)
{
    ns->ops++;
}
void router_ns_put(struct router_ns *ns);
void router_ns_put_plain(struct router_ns *ns);

/* ns_holders.c: what becomes of a record while the namespace is there, and which nodes hold something of it */

/* As of a new one: the holders are counted from now on; 0: nobody else has it. */
uint64_t router_ns_counted(const struct cairn_router *r, const struct router_ns *ns);
enum router_edit { ROUTER_HAS_LARGE, ROUTER_HOLDS, ROUTER_HOLDS_NOT };
/* The record as the view has it, with that done to it: malloc'ed, to be written from *@from. CAIRN_E_NOTFOUND: there is
 * none, or another's; CAIRN_E_CORRUPT, CAIRN_E_NOMEM. */
int router_ns_edit(const struct cairn_router *r, const struct router_ns *ns, enum router_edit edit, uint8_t **value,
                   uint32_t *len, uint64_t *from);
struct router_holders {
    bool known, here; /* known: all are counted; here: this node is one */
    uint32_t others;
    char name[CAIRN_NAME_BYTES_MAX + 1]; /* of the first of the others */
    uint64_t revision;                   /* of the record that says so */
};
/* Likewise. */
int router_ns_holders(const struct cairn_router *r, const struct router_ns *ns, struct router_holders *h);

/* ---- calls to providers below ---- */

union router_msg {
    ProtobufCMessage base;
    Cairn__Wire__KvOpen open;
    Cairn__Wire__KvDrop drop;
    Cairn__Wire__KvPut put;
    Cairn__Wire__KvGet get;
    Cairn__Wire__KvErase erase;
    Cairn__Wire__KvMput mput;
    Cairn__Wire__KvMget mget;
    Cairn__Wire__KvList list;
    Cairn__Wire__KvStat stat;
    Cairn__Wire__ExtentPut extent_put;
    Cairn__Wire__ExtentRead extent_read;
    Cairn__Wire__ExtentRemove extent_remove;
    Cairn__Wire__ExtentList extent_list;
    Cairn__Wire__ClusterClass cluster_class;
    Cairn__Wire__Empty empty;
};

/* Fills what is common to all local calls; @err takes the text. The caller starts it. */
void router_call_prepare(struct cairn_rpc_call *call, struct cairn_rpc *rpc, const struct cairn_rpc_target *target,
                         uint32_t method, const ProtobufCMessage *msg, void (*done)(struct cairn_rpc_call *call),
                         void *arg, struct cairn_err *err);

/* ---- operations ---- */

struct router_op;
typedef void router_step(struct router_op *op);

/* One region's transfer. */
struct router_part {
    struct router_op *op;
    uint32_t region;
    uint64_t off, len; /* of the value: what this part carries */
    union router_msg msg;
    Cairn__Wire__BulkDesc bulk;
    struct cairn_err err;
    struct cairn_rpc_call call;
};

/* What reading a large value needs beyond the small ones. */
struct router_parts {
    struct cairn_link link;
    struct cairn_record_region *regions;
    uint32_t nregions, next, running;
    uint64_t off, len, total, region_off; /* of the value: what is read; where the next region begins */
    uint64_t stamp;
    uint32_t *crcs;
    size_t ncrcs;
    struct router_part part[CAIRN_ROUTER_PARTS_INFLIGHT];
};

/* No leave, and no token is like it: the key's slot is not led from here, and only what is found of it counts. */
#define ROUTER_LEAVE_BY_REPLICA UINT64_MAX

struct router_op {
    struct cairn_link link;
    struct cairn_sm sm;
    struct router_worker *w;
    struct router_ns *ns; /* counts us in ops, and in plain if @plain */
    struct cairn_rpc_req *rq;
    struct router_parts *parts; /* get, of a large value */
    struct cairn_bulk_op *pull; /* put: malloc'ed while it runs */
    router_step *next;          /* what follows what is being waited for */
    router_step *noted;         /* open_to_store: what follows when the map knows */
    /* put, commit: the value's key, and if it is large, its regions (id 0: not there yet), malloc'ed or @one */
    ProtobufCBinaryData key;
    bool if_absent;
    struct cairn_record_region *regions, one;
    uint32_t nregions;
    uint32_t *crcs;               /* put, part: malloc'ed */
    bool storing;                 /* counted in the worker's storing, in that half of ... */
    uint32_t period;              /* ... the period in which it began */
    struct router_upload *upload; /* part, commit: holds it */
    uint32_t upload_part;         /* commit: UPLOAD_COMMIT */
    bool upload_spent;            /* commit: a record that names its regions may be there */
    int refused;                  /* commit: why its parts cannot be taken; the text is in @err */
    uint32_t on_failed;           /* the machine's failure state */
    bool plain;
    bool buffered; /* what it puts is no more than buffered yet, whatever the namespace says */
    bool reads;    /* of a clustered namespace, under leave to read @slot */
    uint32_t slot; /* clustered, of a key: where it belongs */
    /* or of a write-once one that is not led from here: only what is found counts */
    bool by_replica;
    uint64_t leave; /* cairn_cluster_read_begin()'s token: reads; part, commit: as the upload began; or 0 */
    uint64_t *leaves;                   /* mget, clustered: likewise of each key, or ROUTER_LEAVE_BY_REPLICA; malloc'ed */
    struct cairn_cluster_led led;       /* list, clustered */
    struct cairn_cluster_write *writes; /* clustered: malloc'ed while it runs */
    struct cairn_cluster_spread spread; /* likewise, of a large value's regions */
    const Cairn__Wire__RouterRid *rid;  /* put, commit: the request's */
    int rc;
    uint32_t tries, at;
    uint64_t stamp; /* get: of the record that was found before */
    uint64_t *old;  /* regions that nothing names any more: to be removed; malloc'ed */
    uint32_t nold;
    uint8_t *buf; /* malloc'ed, for the operation's own use */
    uint32_t buf_len, buf_at;
    int32_t *statuses;
    union router_msg msg;
    struct cairn_err err;
    struct cairn_rpc_call call;
    uint8_t small[ROUTER_SMALL_BYTES];
};

/* router_op.c */

/* Finds the namespace, which has this id (0: any), checks access and key (NULL: none is needed) and makes an operation
 * in @kind's first state, which must be the one that waits for the database. NULL: @rq was answered. @write ops of a
 * namespace that may hold large values must look at what they replace: op->plain is false for them. */
struct router_op *router_op_new(struct cairn_rpc_req *rq, const char *ns, uint32_t id, const ProtobufCBinaryData *key,
                                enum router_access access, const struct cairn_sm_kind *kind, uint32_t on_failed);
/* Calls @next once the namespace's database is open; at once if it is. */
void router_op_open(struct router_op *op, router_step *next);
/* Likewise, of an operation that stores something: the map knows by then that this node does. */
void router_op_open_to_store(struct router_op *op, router_step *next);
/* Ends @op, whose machine is in a final state and whose request is answered. */
void router_op_end(struct router_op *op);
/* Of an operation that reads, once it has what it will answer: 0, or why it must not. */
int router_op_read_end(const struct router_op *op);
/* Moves to the failure state, answers with op->err's text and ends. */
void router_op_fail(struct router_op *op, int rc);
void router_op_fail_text(struct router_op *op, int rc, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* Prepares op->call with op->msg, to be started; @done has op as call->arg. */
void router_op_call(struct router_op *op, const struct cairn_rpc_target *target, uint32_t method,
                    void (*done)(struct cairn_rpc_call *call));
/* Takes the parts of a large value; false for memory. @regions of them, zeroed. */
bool router_op_take_parts(struct router_op *op, uint32_t regions);
void router_op_drop_parts(struct router_op *op);
/* A region's transfer through part->call, with part->msg. */
void router_part_call(struct router_part *part, uint32_t method, void (*done)(struct cairn_rpc_call *call));
/* Counts @op among those that write regions which no record names yet, until it ends: the sweeper waits for them. */
void router_op_storing(struct router_op *op);

/* router_reclaim.c */

/* Remembers the regions that an old record names; false: they cannot be known, and the sweeper will have to find them.
 */
bool router_op_note_old(struct router_op *op, const uint8_t *record, size_t len);
/* Of a REMOVE of regions that did not fail as a whole: how many are there still. */
uint32_t router_count_left(const struct cairn_rpc_call *call);
/* Removes op->old; @next runs when that is done, or has failed and was noted for the sweeper. @named: a record named
 * them until now, so that its successor, or its absence, must survive power loss before they are removed (PROTOCOL
 * §5: a replaced region is freed after the replacing entry is durable); or the old record would come back and name
 * nothing. */
void router_op_reclaim(struct router_op *op, bool named, router_step *next);
void router_garbage_note(struct cairn_router *r, const struct router_ns *ns, uint32_t regions, const char *why);
void router_garbage_note_name(struct cairn_router *r, const char *ns, uint32_t regions, const char *why);
/* It replaces or stores large values after all: it will look at what it replaces. */
void router_op_look(struct router_op *op);

/* clustered.c: namespaces that are spread over the nodes of a cluster */

static inline bool router_is_clustered(const struct router_ns *ns)
{
    return UNLIKELY(ns->clustered);
}
/* Ids of the class of slots that @ns has: @first and so many. 0: there are none yet. */
uint32_t router_clustered_slots(const struct cairn_router *r, const struct router_ns *ns, uint32_t *first);
/* 0 and op->slot, or CAIRN_E_BUSY. */
int router_clustered_slot(struct router_op *op, const ProtobufCBinaryData *key);
/* The record goes under the key, or (NULL) what is there goes, on every replica; then @next with op->rc. @rid: the
 * client's. */
void router_clustered_write(struct router_op *op, const ProtobufCBinaryData *key, const uint8_t *record, size_t len,
                            const Cairn__Wire__RouterRid *rid, router_step *next);
/* What became of the write of op->key that bore @rid, if there was one: @next with op->rc as there, or
 * CAIRN_E_NOTFOUND, CAIRN_E_UNSUPPORTED (cairn_cluster_write()). */
void router_clustered_ask(struct router_op *op, const Cairn__Wire__RouterRid *rid, router_step *next);
/* The other nodes that hold the slot fetch op->regions; then @next with op->rc. */
void router_clustered_spread(struct router_op *op, router_step *next);
void router_handle_open(struct cairn_rpc_req *rq);
void router_handle_close(struct cairn_rpc_req *rq);
/* Likewise each of MPUT's records, @lengths behind one another in op->buf; then @next with op->statuses. */
void router_clustered_mput(struct router_op *op, const Cairn__Wire__RouterMput *m, const uint32_t *lengths,
                           router_step *next);
/* Before and after an MGET's keys are looked up: op->leaves, then (not 0) which of them can be answered for.
 * CAIRN_E_NOMEM. */
int router_clustered_mget_begin(struct router_op *op, const ProtobufCBinaryData *keys, size_t n);
void router_clustered_mget_end(struct router_op *op, const ProtobufCBinaryData *keys, size_t n);
/* Before and after a LIST's keys are looked up; of these the answer keeps those of slots that are led from here.
 * CAIRN_E_BUSY. */
int router_clustered_list_begin(struct router_op *op);
int router_clustered_list_end(struct router_op *op, Cairn__Wire__RouterListReply *reply);

/* ns_follow.c: namespaces that other nodes make and remove */

void router_follow_start(struct cairn_router *r);
/* @done runs at once if nothing is under way, else when that has ended. */
void router_follow_quiesce(struct cairn_router *r, void (*done)(void *arg), void *arg);
/* At home: makes the namespace of that name here what the map says of it, now or, while an order works on it, when
 * that ends. */
void router_follow_look(struct cairn_router *r, const char *name);

/* hashed_put.c */

/* Of a region of a value in @ns, at most: what one PUT or PART brings. */
uint64_t router_region_bytes(const struct cairn_router *r, const struct router_ns *ns);

extern const struct cairn_sm_kind router_put_kind, router_get_kind, router_delete_kind, router_ask_kind,
    router_mput_kind, router_open_kind, router_adopt_kind, router_create_kind, router_remove_kind, router_flag_kind,
    router_sweep_kind, router_reap_kind;

/* handlers */
void router_handle_ns_create(struct cairn_rpc_req *rq);
void router_handle_ns_list(struct cairn_rpc_req *rq);
void router_handle_where(struct cairn_rpc_req *rq);
void router_handle_ns_show(struct cairn_rpc_req *rq);
void router_handle_ns_remove(struct cairn_rpc_req *rq);
void router_handle_put(struct cairn_rpc_req *rq);
void router_handle_get(struct cairn_rpc_req *rq);
void router_handle_exists(struct cairn_rpc_req *rq);
void router_handle_length(struct cairn_rpc_req *rq);
void router_handle_delete(struct cairn_rpc_req *rq);
void router_handle_mput(struct cairn_rpc_req *rq);
void router_handle_mget(struct cairn_rpc_req *rq);
void router_handle_list(struct cairn_rpc_req *rq);
void router_handle_part(struct cairn_rpc_req *rq);
void router_handle_commit(struct cairn_rpc_req *rq);
void router_handle_abort(struct cairn_rpc_req *rq);

/* router_sweep.c */
/* Looks for what a crash left, if there was one; in a cluster again and again. At home. */
void router_sweep_start(struct cairn_router *r);
void router_sweep_quiesce(struct cairn_router *r, void (*done)(void *arg), void *arg);
void router_sweep_free(struct cairn_router *r);
void router_sweep_status(const struct cairn_router *r, json_t *to);

#endif
