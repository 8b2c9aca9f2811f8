/* What the files of the client share: the client, its calls, and how they are driven. See README.md. */
#ifndef CAIRN_CLIENT_INTERNAL_H
#define CAIRN_CLIENT_INTERNAL_H

#include "cairn/cairn.h"
#include "cairn/group.h"
#include "cairn/kv.h"
#include "sdk/client/check.h"
#include "sdk/client/routing.h"
#include "sdk/core/base/grown.h"
#include "sdk/core/bulk/bulk.h"
#include "sdk/core/rpc/rpc.h"
#include "sdk/core/rpc/session.h"

#include "schema/extent.pb-c.h"
#include "schema/group.pb-c.h"
#include "schema/kv.pb-c.h"
#include "schema/node.pb-c.h"
#include "schema/repl.pb-c.h"
#include "schema/router.pb-c.h"

#include <pthread.h>
#include <stdatomic.h>

enum {
    CLIENT_TIMEOUT_MS = 30000,
    CLIENT_CONNECT_TIMEOUT_MS = 10000,
    CLIENT_INFLIGHT_MAX = 16384,
    CLIENT_INFLIGHT_LIMIT = 1 << 20, /* what options->inflight_max may ask for at most */
    CLIENT_CRCS_INLINE = 32,         /* checksums of 2 MiB need no allocation */
    CLIENT_SCRATCH_BYTES = 256 << 10,
    CLIENT_IDLE_NS = 1000000,
    CLIENT_SCRATCH_MAX = 16, /* buffers of that size kept for batches */
};

/* ---- drive.c ---- */

/** What a thread in line waits for, beside its turn to drive. */
enum cairn_waiter_kind { CAIRN_WAITS_FOR_CALL, CAIRN_WAITS_TO_DRIVE, CAIRN_WAITS_FOR_ANY, CAIRN_WAITS_FOR_ALL };

/** A thread that waits, on its stack. Under c->mutex, but for @over and @rc of the thread that drives. */
struct cairn_waiter {
    enum cairn_waiter_kind kind;
    struct cairn_link link;
    pthread_cond_t cond;
    bool over;
    int rc;
};

struct cairn_call;

struct cairn {
    struct cairn_loop loop;
    struct cairn_rpc *rpc;
    struct cairn_rpc_session *session; /* NULL: services of this very process (tests) */
    struct cairn_routing *routing;     /* NULL: no clustered namespace was used */
    uint64_t timeout_ns;
    uint32_t inflight_max;

    /* Who owns the loop, the RPC layer and every member below up to the mutex: a pthread_t, or 0. */
    atomic_uintptr_t owner;
    /* Calls in flight: those that an owner started, which only owners count, and those of others, whom the RMW costs.
     */
    atomic_uint inflight_own, inflight_foreign;
    atomic_uint inflight_inner; /* and those that calls wait for: inflight_max does not hold them */
    atomic_bool closing, in_callback;
    struct cairn_link live, spare_calls; /* struct cairn_call.link */
    struct cairn_waiter *driver;         /* of the waiting call that the owner carries out */
    uint64_t finished;
    struct cairn_hook hook;
    uint64_t finished_told; /* how many had finished when threads that wait for any were last told */
    uint64_t turned_ns;     /* when the loop was known to be up to date */
    void *scratch[CLIENT_SCRATCH_MAX];
    uint32_t nscratch;

    pthread_mutex_t mutex;
    struct cairn_link waiters, spare_foreign; /* calls that other threads start while the loop has an owner */
    atomic_uint nwaiters;                     /* changed under the mutex */
    atomic_uint nwatchers;                    /* likewise: those that wait for any or all calls */
    atomic_uint users;                        /* threads inside a waiting function: cairn_close() outlasts them */
    struct cairn_call **calls;                /* by index */
    uint32_t ncalls, calls_room;

    pthread_t thread;
    bool has_thread;                   /* under the mutex; until it was joined */
    struct cairn_waiter thread_waiter; /* of the thread, while another one drives */
    atomic_bool thread_stop;           /* set under the mutex: who does it joins the thread */
    struct cairn_task close_task; /* cancels all on the owner's thread */
    bool has_bulk;
    struct cairn_connect_attempt *attempt; /* while cairn_connect() runs */
};

/** Everything of a client but its session: cairn_connect() adds that, tests use services of this very process instead.
 * @o must be complete. */
int cairn__new(const struct cairn_options *o, const struct cairn_rpc_target *targets, uint32_t ntargets,
               struct cairn **out, struct cairn_err *err);

/** An inner call that goes on though no call waits for it; or one waits for it again. */
void cairn__call_quiet(struct cairn_call *call, bool quiet);
/** Of the user's own. */
static inline uint32_t cairn__inflight_outer(const struct cairn *c)
{
    return atomic_load_explicit(&c->inflight_own, memory_order_acquire) +
           atomic_load_explicit(&c->inflight_foreign, memory_order_acquire);
}
static inline uint32_t cairn__inflight(const struct cairn *c)
{
    uint32_t outer = cairn__inflight_outer(c); /* first: what these have started is still there */

    return outer + atomic_load_explicit(&c->inflight_inner, memory_order_acquire);
}
/** So many that a call which has an inner one should not start another beside it. One each is always there. */
static inline bool cairn__inner_are_many(const struct cairn *c)
{
    return atomic_load_explicit(&c->inflight_inner, memory_order_relaxed) >= c->inflight_max;
}

/** True if the calling thread runs inside the loop's owner: in a callback. */
bool cairn__is_inside(struct cairn *c);
/** Takes the loop if nobody has it. */
bool cairn__own_try(struct cairn *c);
/** Takes the loop, waiting up to @timeout_ms (-1: no limit) for others to leave it. False: not in time. */
bool cairn__own(struct cairn *c, int timeout_ms);
void cairn__disown(struct cairn *c);
/** For the owner, before it starts a call: after a pause with nothing in flight (but that call) the loop first hears of
 * connections that were lost meanwhile, so that the call is not sent into one of them. */
void cairn__catch_up(struct cairn *c);
/** Before a sleep: tells threads that wait for any call, or for all. */
bool cairn__before_sleep(void *arg);
/** Waits for @w->over, driving the loop whenever it is free. @owned: the caller has it already; it is given up. Returns
 * rc. */
int cairn__wait(struct cairn *c, struct cairn_waiter *w, bool owned);
/** Runs @fn on whichever thread owns the loop, and waits for what it returns. */
int cairn__on_loop(struct cairn *c, int (*fn)(struct cairn *c, void *arg), void *arg);
/** The owner tells that what @w waits for is over. */
void cairn__waiter_over(struct cairn *c, struct cairn_waiter *w, int rc);

/* ---- handles: what calls keep alive ---- */

/** First member of struct cairn_ns, cairn_kv, cairn_extents; malloc'ed. One reference each for the user and every call.
 */
struct cairn_handle {
    struct cairn *c;
    atomic_uint refs;
    uint16_t provider;
};
void cairn__handle_init(struct cairn_handle *h, struct cairn *c, uint16_t provider);
void cairn__handle_put(struct cairn_handle *h);

/* ---- call.c ---- */

/** Where an answer's bytes go, and what is known of them: sink.c. */
struct cairn_call_sink {
    uint8_t *buf;
    uint64_t room, off; /* @off in the value or region: where checksums begin */
    size_t *len;        /* results */
    uint64_t *total_out;
    void **alloc;   /* memory of its own is wanted; *alloc once it is there */
    bool whole;     /* too little room is an error */
    bool probing;   /* alloc: the first request, which finds out how long the value is */
    uint32_t tries; /* alloc: the value was replaced by one of another length meanwhile */
    uint64_t got, total;
    uint64_t range;      /* one request asks for at most so much; 0: no limit */
    uint64_t stamp;      /* of the value, as the answer told */
    uint64_t stamp_want; /* another one is an error; 0: any */
    uint64_t *stamp_out; /* result; may be NULL */
    bool ranges_done, restarted;
    /** Called at the end instead of cairn__call_finish(), unless NULL. */
    void (*over)(struct cairn_call *call, int rc);
};

enum cairn_batch_kind { CAIRN_BATCH_PUT, CAIRN_BATCH_GET, CAIRN_BATCH_LENGTH, CAIRN_BATCH_EXISTS, CAIRN_BATCH_ERASE };

enum { CAIRN_STATUS_LARGE = 1 }; /* in a get item's status: it is one of batch.nlarge */

/** What a batch asks for, and how far it is: batch.c. */
struct cairn_call_batch {
    enum cairn_batch_kind kind;
    struct cairn_put_item *puts;
    struct cairn_get_item *gets;
    size_t n, from, upto; /* entries [from, upto) are on their way */
    size_t value_max;     /* puts: longer values are put one by one */
    bool sums;            /* puts: with checksums */
    size_t nlarge;        /* gets: entries that are fetched one by one, at the end */
    bool fetching_large;  /* which is now: all others have their results */
    int rc;               /* first error of an entry, or 0 */
};

/** A provider that is looked up by name before anything else: provider.c. */
struct cairn_call_find {
    const char *type;   /* what it must be: "kv" */
    const char *second; /* another name, in call->text behind the provider's */
    void (*found)(struct cairn_call *call, uint16_t provider);
};

/** What a list of members or a watch knows so far: group.c. */
struct cairn_call_group {
    cairn_member_fn *changed; /* NULL: a list */
    size_t n;                 /* rows gathered */
    struct cairn_member_attributes set;
    uint32_t version; /* of the first page */
};

/** How often a call was asked again, since nobody coordinates the cluster: again.c. */
struct cairn_call_again {
    bool on;
    int rc; /* of the last try */
    uint32_t tries;
    struct cairn_timer timer; /* of a pause */
};

/** Calls that a call has started and waits for: first member of what keeps them. */
struct cairn_inner {
    void (*cancel)(struct cairn_inner *x);
};

/** One call of the user's, from its start to its callback; recycled. The owner's, once it was begun. */
struct cairn_call {
    struct cairn_link link; /* c->live or a list of spare ones */
    struct cairn *c;
    uint32_t index;
    atomic_uint generation; /* of this use; with index it is the number that users see */
    bool foreign;           /* started by a thread that did not own the loop */
    bool owned;             /* between call_new and call_go: the starter owns the loop */
    bool begun, canceled, has_steps, verify, sees_errors;
    bool inner; /* a part of another call: the user knows nothing of it */
    bool quiet; /* and no call waits for it any more: nobody who drains the client does */
    bool exposed;
    bool uses_sink;
    cairn_done_fn *done; /* NULL: @waiter waits */
    void *arg;
    struct cairn_waiter *waiter;
    uint64_t timeout_ns, deadline_ns;
    struct cairn_error_info *error;
    struct cairn_handle *handle;

    /** Makes and sends the next request: cairn__call_send(). NULL: the request is ready. */
    void (*next)(struct cairn_call *call);
    /** The answer is there, call->rpc says what: cairn__call_finish(), or cairn__call_again(). Runs only if rc is 0, or
     * if it @sees_errors. */
    void (*answered)(struct cairn_call *call);

    /* what is to be given back */
    uint32_t *crcs; /* crcs_inline, or malloc'ed */
    void *scratch;  /* of a batch: CLIENT_SCRATCH_BYTES or more, malloc'ed */
    char *text;     /* malloc'ed names that the request points to */
    void *gathered; /* malloc'ed: what the pages so far brought */

    /* memory to be exposed while a request runs, and the field of the request that names it */
    void *expose_ptr;
    uint64_t expose_len;
    uint32_t expose_rights;
    Cairn__Wire__BulkDesc **expose_field;
    struct cairn_bulk_region region;

    struct cairn_task task; /* to begin on the owner's thread; to fail later; to go on with checking */
    struct cairn_sm sm;     /* of calls that take several requests or slices of checking */
    struct cairn_check check;
    uint32_t crcs_inline[CLIENT_CRCS_INLINE];
    size_t scratch_room;

    union {
        Cairn__Wire__Empty empty;
        Cairn__Wire__NodeMachines machines;
        Cairn__Wire__NodeMap map;
        Cairn__Wire__Namespace ns;
        Cairn__Wire__NsName ns_name;
        Cairn__Wire__NsList ns_list;
        Cairn__Wire__RouterPut put;
        Cairn__Wire__RouterGet get;
        Cairn__Wire__RouterKey key;
        Cairn__Wire__RouterMput mput;
        Cairn__Wire__RouterMget mget;
        Cairn__Wire__RouterList list;
        Cairn__Wire__RouterPart part;
        Cairn__Wire__RouterCommit commit;
        Cairn__Wire__RouterAbort abort;
        Cairn__Wire__RouterOpen open;
        Cairn__Wire__GroupMembers group_members;
        Cairn__Wire__GroupSet group_set;
        Cairn__Wire__GroupJoin group_join;
        Cairn__Wire__ClusterAsk cluster_ask;
        Cairn__Wire__ClusterDrain cluster_drain;
        Cairn__Wire__ClusterScrub cluster_scrub;
        Cairn__Wire__KvOpen kv_open;
        Cairn__Wire__KvDrop kv_drop;
        Cairn__Wire__KvPut kv_put;
        Cairn__Wire__KvGet kv_get;
        Cairn__Wire__KvErase kv_erase;
        Cairn__Wire__KvMput kv_mput;
        Cairn__Wire__KvMget kv_mget;
        Cairn__Wire__KvList kv_list;
        Cairn__Wire__KvStat kv_stat;
        Cairn__Wire__ExtentCreate x_create;
        Cairn__Wire__ExtentId x_id;
        Cairn__Wire__ExtentWrite x_write;
        Cairn__Wire__ExtentPersist x_persist;
        Cairn__Wire__ExtentPut x_put;
        Cairn__Wire__ExtentRead x_read;
        Cairn__Wire__ExtentRemove x_remove;
        Cairn__Wire__ExtentList x_list;
        Cairn__Wire__ExtentScrub x_scrub;
    } rq;
    struct cairn_route route;
    struct cairn_call_again again;
    struct cairn_inner *inner_calls; /* that this one has started, or NULL */
    struct cairn_call_sink sink;
    struct cairn_call_batch batch;
    struct cairn_call_find find;
    struct cairn_call_group group;
    struct cairn_kv_options kv_options;
    void *out; /* where other results go */
    uint64_t out_arg;
    struct cairn_err err;
    struct cairn_rpc_call rpc; /* last, since it is large */
};

extern const struct cairn_sm_kind cairn_client_call_kind, cairn_writer_step_kind;

/** Takes a call for the options @o; on failure *@out is NULL, options->error has been filled, and the code is returned.
 * From here to cairn__call_go() the thread may own the loop: nothing slow in between. @h may be NULL. */
int cairn__call_new(struct cairn *c, struct cairn_handle *h, const struct cairn_call_options *o, cairn_done_fn *done,
                    void *arg, struct cairn_call **out);
/** Likewise one that a call of the user's is made of, or waits for: never CAIRN_E_BUSY. */
int cairn__call_new_inner(struct cairn *c, struct cairn_handle *h, const struct cairn_call_options *o,
                          cairn_done_fn *done, void *arg, struct cairn_call **out);
/** Starts it: 0 for the asynchronous form, else waits for the result. */
int cairn__call_go(struct cairn_call *call);
/** A call that asks for nothing and succeeds: for results that are here already, since no callback runs inside the call
 * that started it. */
int cairn__call_nothing(struct cairn *c, const struct cairn_call_options *o, cairn_done_fn *done, void *arg);
/** An answer without results. */
void cairn__answered_plainly(struct cairn_call *call);
/** Gives up a call that was not started. Returns @rc. */
int cairn__call_drop(struct cairn_call *call, const struct cairn_call_options *o, int rc);
/** Puts a call that is over back into the state in which cairn__call_new() finds it. The owner, or who has just made
 * it. */
void cairn__call_recycle(struct cairn_call *call);
/** What cairn_cancel() takes. */
uint64_t cairn__call_number(const struct cairn_call *call);
/** The RPC layer's done(). */
void cairn__call_answered(struct cairn_rpc_call *rpc);

/** Names the request: call->rq must hold a message of the method. */
void cairn__call_to(struct cairn_call *call, const struct cairn_rpc_iface *iface, uint16_t provider, uint16_t method);
/** Sends the request that is there. Only the owner. */
void cairn__call_send(struct cairn_call *call);
/** Likewise, from a later task. */
void cairn__call_send_later(struct cairn_call *call);
/** After an answer: call->next() runs from a later task, or now. */
void cairn__call_again(struct cairn_call *call);
/** call->next() runs from a later task, whether anything was asked or not. */
void cairn__call_later(struct cairn_call *call);
/** The call is over; the callback runs now, so never from inside the call that started it. */
void cairn__call_finish(struct cairn_call *call, int rc);
/** Likewise, with a text for people. */
void cairn__call_fail(struct cairn_call *call, int rc, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
void cairn__call_cancel(struct cairn_call *call);
void cairn__cancel_all(struct cairn *c);
/** Ends it from a later task: for those who may run inside the call that started it. A call that sees errors has its
 * @answered called with rc in call->rpc.rc, as if an answer had brought it. */
void cairn__call_fail_later(struct cairn_call *call, int rc);

/** @text NULL or "": what @rc means. */
void cairn__info_set(struct cairn_error_info *info, int rc, const char *text);
/** What was wrong before a call began, into options->error. Returns @rc. */
int cairn__refuse(const struct cairn_call_options *o, int rc, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
int cairn__refuse_key(const struct cairn_call_options *o, size_t key_len);
int cairn__refuse_name(const struct cairn_call_options *o, const char *what, const char *name);

static inline uint32_t cairn__flags(const struct cairn_call_options *o)
{
    return o != NULL ? o->flags : 0;
}
Cairn__Wire__Durability cairn__durability_to_wire(enum cairn_durability d);
enum cairn_durability cairn__durability_of_wire(Cairn__Wire__Durability d);

/** True if @o is none, or was initialised. */
static inline bool cairn__are_options(const struct cairn_call_options *o)
{
    return o == NULL || CAIRN_REACHES(o, call);
}
/** A copy of @o, which may be NULL, for what outlives the call. */
static inline struct cairn_call_options cairn__options_of(const struct cairn_call_options *o)
{
    struct cairn_call_options own = CAIRN_CALL_OPTIONS_INIT;

    if (o != NULL)
        CAIRN_TAKE(&own, o);
    own.size = sizeof(own);
    return own;
}

static inline ProtobufCBinaryData cairn__bytes(const void *p, size_t n)
{
    return (ProtobufCBinaryData){ .len = n, .data = (uint8_t *)(uintptr_t)p }; /* requests are only read */
}

/* ---- again.c ---- */

/** Before the call starts: while nobody can answer it, it is asked again. Nothing it asks for may happen twice. */
void cairn__again_on(struct cairn_call *call);
/** How long the next try may take. */
uint64_t cairn__again_try_ns(const struct cairn_call *call);
/** A try has failed, call->rpc.rc says how. True: it is asked again later. */
bool cairn__again(struct cairn_call *call);
/** The call is over with @rc. Returns what to say: that it is too late says less than the last answer. */
int cairn__again_over(struct cairn_call *call, int rc);
/** A canceled call that pauses ends soon. */
void cairn__again_cancel(struct cairn_call *call);

/* ---- provider.c ---- */

/** As cairn__call_new(), for a call that first looks for @provider of @type; @found then sends the next request
 * (cairn__call_again()) or ends the call. @second may be NULL. */
#define CAIRN_FIND_ANY "*" /* as @provider: the first of the type; no provider has such a name */
int cairn__find_new(struct cairn *c, const char *provider, const char *type, const char *second,
                    void (*found)(struct cairn_call *call, uint16_t provider), const struct cairn_call_options *o,
                    cairn_done_fn *done, void *arg, struct cairn_call **out);

/* ---- sink.c: bytes that come back ---- */

/** Prepares the memory that the next request offers: call->expose_*, for more than CAIRN_BULK_THRESHOLD_BYTES. Returns
 * the room that the request states, at least 1. */
uint64_t cairn__sink_room(struct cairn_call *call);
/** Takes the reply's @length bytes, which came as payload or into the memory that was offered; @total is the length of
 * the whole, or UINT64_MAX if the reply does not tell. Compares them with the checksums, asks again if need be, and
 * ends the call. */
void cairn__sink_take(struct cairn_call *call, uint64_t length, uint64_t total, const uint32_t *crcs, size_t ncrcs);
/** The answer was refused: its text is in call->err. */
void cairn__sink_refuse(struct cairn_call *call, int rc);
/** The ranges behind the first one have come, or not. */
void cairn__sink_ranges_over(struct cairn_call *call, int rc);
/** Fetches [from, len) of what the sink wants, in ranges. 0: cairn__sink_ranges_over() follows. (hashed_large.c) */
int cairn__large_get(struct cairn_call *call, uint64_t from, uint64_t len);
/** Takes the whole payload of a reply as the value. */
void cairn__sink_take_payload(struct cairn_call *call);
/** Gives back memory that was for the result of a call which failed. */
void cairn__sink_drop(struct cairn_call *call);

/** Checksums of @len bytes to be written, into call->crcs; before the loop is owned. 0 or CAIRN_E_NOMEM. */
int cairn__crcs_new(const void *p, uint64_t len, uint32_t inline_crcs[CLIENT_CRCS_INLINE], uint32_t **crcs, size_t *n);
/** Gives them to @call: an array of its own if they are inline. */
uint32_t *cairn__crcs_give(struct cairn_call *call, const uint32_t inline_crcs[CLIENT_CRCS_INLINE], uint32_t *crcs,
                           size_t n);

/* ---- batch.c ---- */

/** call->scratch of at least @need bytes. 0 or CAIRN_E_NOMEM. The owner. */
int cairn__scratch_get(struct cairn_call *call, size_t need);
void cairn__scratch_put(struct cairn_call *call);

/** The next page of entries from batch.from: their keys (in call->scratch), for puts also lengths and the payload;
 * batch.upto is set. It ends before a put whose value is longer than batch.value_max. 0 or CAIRN_E_NOMEM. */
struct cairn_batch_page {
    size_t n;
    ProtobufCBinaryData *keys;
    uint32_t *lengths;
    uint32_t *crcs; /* with `sums`: of all values, chunk by chunk */
    size_t ncrcs;
};
int cairn__batch_page(struct cairn_call *call, struct cairn_batch_page *page);
/** Notes the results of a page. 0, or CAIRN_E_PROTO if they do not fit what was asked. */
int cairn__batch_statuses(struct cairn_call *call, const int32_t *status, size_t n);
int cairn__batch_lengths(struct cairn_call *call, const int64_t *lengths, size_t n, const uint32_t *crcs, size_t ncrcs);
/** Gives @rc to all entries that have no result yet. */
void cairn__batch_give_up(struct cairn_call *call, int rc);
/** Starts a batch whose requests @next makes; an empty one is over at once. With @sees_errors, call->answered is
 * set. */
int cairn__batch_go(struct cairn_call *call, void (*next)(struct cairn_call *call), bool sees_errors);
/** Refuses bad keys, and values above @value_max, before the start, with the number of the entry. */
int cairn__batch_check_puts(const struct cairn_call_options *o, const struct cairn_put_item *items, size_t n,
                            uint64_t value_max);
int cairn__batch_check_gets(const struct cairn_call_options *o, const struct cairn_get_item *items, size_t n);

/* ---- names.c: results in one block ---- */

/** A block of @fixed bytes, zeroed, with room for @more bytes of strings behind; *@at points there. */
void *cairn__block_new(size_t fixed, size_t more, char **at);
/** Copies @n bytes and a zero to *@at and moves it on. */
char *cairn__block_text(char **at, const void *p, size_t n);

/** A page of @n entries; @values may be NULL. NULL: no memory. */
struct cairn_page *cairn__page_new(const ProtobufCBinaryData *keys, size_t n, const uint8_t *values, bool with_values,
                                   const uint32_t *lengths32, const uint64_t *lengths64, bool more);

#endif
