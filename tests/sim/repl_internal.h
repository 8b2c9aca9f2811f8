/* What the files of the replicated world share: repl_world.c (faults), repl_map.c, repl_store.c and repl_election.c
 * (MAP), repl_split.c (partitions), repl_node.c and repl_life.c (nodes), repl_disk.c (their disks) and repl_trouble.c
 * (those that fail),
 * repl_regions.c, repl_fetch.c and repl_sweep.c (regions of large values), repl_post.c (how they write to each other),
 * repl_call.c (what clients ask of them), repl_client.c (clients), repl_judge.c, repl_record_judge.c and
 * repl_region_judge.c (what holds), repl_history.c (what clients saw), repl_whole.c (whether all is well again). */
#ifndef CAIRN_TESTS_SIM_REPL_INTERNAL_H
#define CAIRN_TESTS_SIM_REPL_INTERNAL_H

#include "tests/sim/repl_world.h"

#include <sys/uio.h>

#define MS CAIRN_NS_PER_MS

enum rw_kind {
    RW_REPL,
    RW_REGISTER,
    RW_REGISTERED,
    RW_BEAT,
    RW_GRANT,
    RW_PROPOSE,
    RW_VERDICT,
    RW_FETCH,
    RW_RECORDS, /* the answer to a FETCH, with its id */
    RW_PUBLISH,
    RW_REGIONS,     /* a region that an entry is going to name */
    RW_REGION_READ, /* one is asked for, with the number of the question */
    RW_REGION,      /* the answer to that */
    RW_CALL         /* of a client, or its answer: no message of the cluster's */
};

/* A message as it comes out of its bytes. */
struct rw_letter {
    enum rw_kind kind;
    uint32_t from;
    uint64_t id;
    ProtobufCMessage *message;
    const uint8_t *payload;
    uint32_t payload_len;
    struct cairn_arena arena; /* for what is read of it */
};

/* Travels as it is, and a trace has its bytes: no holes. */
struct rw_call {
    uint64_t value, call, seq, floor;
    struct cairn_at at;
    uint32_t slot, client, key, sync, large;
    enum linear_kind op;
    enum cairn_entry_kind entry;
    int rc; /* of an answer, as what follows */
    int32_t result;
    uint32_t record_len;
    uint8_t record[CAIRN_WIRE_RECORD_BYTES_MAX]; /* the slot's, as the replica knows it */
};
_Static_assert(offsetof(struct rw_call, record) == 6 * sizeof(uint64_t) + 10 * sizeof(uint32_t), "it has a hole");

enum { RW_PAGE_RECORDS = 12 };

/* Some records of a copy. */
struct rw_page {
    uint32_t first, n;
    struct rw_record records[RW_PAGE_RECORDS];
};

enum { RW_NOT_HERE = -1000 };        /* a reply's rc: ask the primary */
enum { RW_ONCE_OK, RW_ONCE_EXISTS }; /* results of a PUT into a write-once namespace */

extern const struct cairn_lease_times rw_lease_times;

static inline struct cairn_env *env_of(struct repl_world *rw, uint32_t i)
{
    return world_env(rw->world, i);
}

static inline uint64_t dice(struct repl_world *rw, uint64_t n)
{
    return world_random(rw->world) % n;
}

static inline int64_t true_us(const struct repl_world *rw)
{
    return (int64_t)(world_now_ns(rw->world) / 1000);
}

/* ---- repl_disk.c ---- */

void rw_log_push(struct rw_log *l, const struct cairn_log_entry *e);
void rw_log_copy(struct rw_log *to, const struct rw_log *from);
void rw_log_cut(struct rw_log *l, uint64_t pos);
void rw_log_trim(struct rw_log *l, uint64_t pos);
void rw_log_begin(struct rw_log *l, struct cairn_at base);
struct cairn_at rw_log_end(const struct rw_log *l);
struct rw_entry *rw_log_at(const struct rw_log *l, uint64_t pos);
void rw_checkpoint_free(struct rw_checkpoint *c);
/* The slot's part of the disk after a loss of power, or of the process alone. */
void rw_disk_crash(struct repl_world *rw, struct rw_slot *s, bool power);
void rw_disk_wipe(struct rw_slot *s);
void rw_disk_free(struct rw_slot *s);
/* An entry's effect; returns its result. */
int32_t rw_index_apply(struct rw_record *index, const struct rw_entry *x);

/* ---- repl_trouble.c ---- */

/* Whether @op, which is due now, fails; then it does so once. */
bool rw_disk_refuses(struct rw_slot *s, enum rw_disk_op op);
/* As it does of a disk that cannot be relied on: the node is deaf and mute from now on, and its process ends. */
void rw_node_fail(struct repl_node *n);
bool rw_log_is_full(const struct repl_node *n);
bool rw_store_is_full(const struct repl_node *n);
/* By the node's clock, when the disk is done with something that takes @ns; a full log's waits, now and then. */
uint64_t rw_disk_end(struct repl_node *n, uint64_t ns, bool log);

/* ---- repl_map.c ---- */

static inline struct rw_coord *coord_of(struct cairn_coord *c)
{
    return CONTAINER_OF(c, struct rw_coord, core);
}

static inline struct rw_coord *elected(struct repl_world *rw)
{
    return &rw->coords[rw->elected];
}

static inline bool is_deposed(const struct rw_coord *co)
{
    return co->term != co->rw->term;
}

/* What is asked from there gets to the map store; and what that answers comes back. */
static inline bool reaches_store(const struct rw_coord *co)
{
    return world_now_ns(co->rw->world) >= co->cut_until_ns &&
           !world_is_cut(co->rw->world, co->host, repl_world_store_host(co->rw));
}

static inline bool hears_store(const struct rw_coord *co)
{
    return world_now_ns(co->rw->world) >= co->cut_until_ns &&
           !world_is_cut(co->rw->world, repl_world_store_host(co->rw), co->host);
}

static inline bool is_cut_off(const struct rw_coord *co)
{
    return !reaches_store(co) || !hears_store(co);
}

extern const struct cairn_coord_ops rw_coord_ops;
void rw_coord_on_tick(void *arg);
void rw_map_receive(struct repl_world *rw, uint32_t host, struct rw_letter *l);

/* ---- repl_store.c ---- */

void rw_stores_init(struct rw_coord *co);
/* What @co has under way arrives, or not. */
void rw_stores_end(struct rw_coord *co);
/* Of the core's operations. */
void rw_store_write(struct cairn_coord *c, uint32_t slot, const struct cairn_slot_record *rec);
void rw_store_read(struct cairn_coord *c, uint32_t slot);

/* ---- repl_election.c ---- */

void rw_map_new(struct repl_world *rw);
void rw_map_free(struct repl_world *rw);
/* It coordinates no more. */
void rw_coord_end(struct rw_coord *co);
/* Where the node believes that MAP is. */
uint32_t rw_map_host(struct repl_node *n);

/* ---- repl_post.c ---- */

/* @message was put into rw->post, which is empty afterwards. */
void rw_post(struct repl_world *rw, uint32_t from, uint32_t to, enum rw_kind kind, uint64_t id, const void *message,
             const struct iovec *payload, uint32_t n);
void rw_post_call(struct repl_world *rw, uint32_t from, uint32_t to, const struct rw_call *call);
void rw_deliver(void *arg, uint32_t to, uint32_t from, const uint8_t *bytes, size_t len);
/* What was sent is taken. */
void rw_must(int rc, const struct cairn_err *err);

/* ---- repl_node.c ---- */

/* The replica comes to life with what the disk has. */
void rw_slot_begin(struct rw_slot *s, uint32_t slot);
void rw_checkpoint_begin(struct rw_slot *s);
/* A message of another replica. */
void rw_node_repl(struct repl_node *n, struct rw_letter *l);

/* ---- repl_life.c ---- */

/* Asks MAP for what has changed. */
void rw_node_fetch(struct repl_node *n);
void rw_node_receive(struct repl_node *n, struct rw_letter *l);
void rw_node_begin(struct repl_node *n);
void rw_node_end(struct repl_node *n, bool power);
/* One look at what it still leads or is waited for; true: others can do without it. */
bool rw_node_leave(struct repl_node *n);

/* ---- repl_call.c ---- */

void rw_node_call(struct repl_node *n, const struct rw_call *p);

/* ---- repl_client.c ---- */

void rw_client_begin(struct rw_client *c);
void rw_client_receive(struct rw_client *c, const struct rw_call *p);

/* ---- repl_regions.c ---- */

void rw_regions_new(struct repl_node *n);
void rw_regions_free(struct repl_node *n);
/* A process begins, and ends; after that, the disk is as a loss of power leaves it. */
void rw_regions_begin(struct repl_node *n);
void rw_regions_end(struct repl_node *n);
void rw_regions_wipe(struct repl_node *n);
/* Whether @id is here, whole and for sure. */
bool rw_region_is_good(const struct repl_node *n, uint64_t id);
/* A region for a large value of @slot that this node is asked to put: on disk, then pinned, then the others are told of
 * it, then done(). CAIRN_E_SHUTDOWN: the process ends. */
void rw_region_upload(struct repl_node *n, uint32_t slot, void (*done)(void *arg, int rc, uint64_t id), void *arg);
/* A log names it now. */
void rw_region_named(struct repl_node *n, uint64_t id);
/* A message of another replica: whether it may be taken now, and that it was. */
bool rw_regions_admit(struct repl_node *n, struct cairn_repl_msg *m);
void rw_regions_taken(struct repl_node *n, const struct cairn_repl_msg *m);
void rw_regions_receive(struct repl_node *n, struct rw_letter *l);

/* ---- repl_judge.c ---- */

/* By the record in force. */
static inline bool rw_is_member(const struct rw_slot *s)
{
    return s->node->registered && cairn_slot_insync(&s->node->rw->stored[s->replica.slot], s->replica.self) >= 0;
}

/* A follower's log as it was before a message, and whether that may change nothing of it. */
struct rw_fence {
    bool holds;
    struct cairn_at end;
    uint64_t commit, matched;
};

struct rw_fence rw_judge_heard(const struct rw_slot *s, const struct cairn_repl_msg *m);
void rw_judge_fence(const struct rw_slot *s, const struct rw_fence *before);
/* An ACK is being sent. */
void rw_judge_ack(struct rw_slot *s, const struct cairn_repl_msg *m);
/* A coordinator makes the change @c, as it was asked to, and grants a lease. */
void rw_judge_change(const struct repl_world *rw, const struct cairn_change *c);
void rw_judge_grant(const struct rw_coord *co, struct cairn_who who);

/* A client is about to be told of the entry at @pos. */
void rw_judge_reply(struct rw_slot *s, uint64_t pos, bool sync);
void rw_judge_cut(struct rw_slot *s, uint64_t pos);
/* A replica wants something of MAP. That it serves, if it does, is not to be missed: it may end before the next
 * look. */
void rw_judge_propose(struct rw_slot *s);
/* What was not synced may be gone there. */
void rw_judge_power(struct repl_world *rw, uint32_t slot, uint32_t node);
/* The slot is about to be deleted there. */
void rw_judge_clean(struct rw_slot *s);

/* ---- repl_record_judge.c ---- */

/* The record @rec comes into force in the store, after @old, as @by wanted it. */
void rw_judge_record(struct repl_world *rw, const struct cairn_coord *by, uint32_t slot,
                     const struct cairn_slot_record *old, const struct cairn_slot_record *rec);

/* ---- repl_history.c ---- */

void rw_judge_once(struct rw_client *c, const struct rw_call *p);
void rw_history_add(struct repl_world *rw, uint32_t slot, uint32_t key, const struct linear_op *op);

/* ---- repl_region_judge.c ---- */

/* The next entry of the truth; and: this is what is left of it. */
void rw_judge_committed(struct repl_world *rw, uint32_t slot, const struct rw_entry *x);
void rw_judge_lost(struct repl_world *rw, uint32_t slot, const struct rw_record *index);
/* I11, of an entry that is being appended, a record that is put, a value that is read. */
void rw_judge_entry(const struct rw_slot *s, const struct cairn_log_entry *e, uint64_t region);
void rw_judge_record_put(const struct rw_slot *s, uint32_t key, const struct rw_record *rec);
void rw_judge_read(const struct rw_slot *s, uint32_t key);
/* All that a slot has in memory and on disk. */
void rw_judge_regions(const struct rw_slot *s);
/* I12: the sweeper takes @id. */
void rw_judge_freed(const struct repl_node *n, uint64_t id);

#endif
