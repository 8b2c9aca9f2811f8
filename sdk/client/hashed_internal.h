/* What the files about hashed namespaces share. */
#ifndef CAIRN_CLIENT_HASHED_INTERNAL_H
#define CAIRN_CLIENT_HASHED_INTERNAL_H

#include "cairn/hashed.h"
#include "sdk/client/client_internal.h"
#include "sdk/core/placement/placement.h"

struct cairn_ns {
    struct cairn_handle h;
    uint32_t id; /* every request names it: another that has the name by then is not meant */
    uint32_t embed_threshold;
    uint64_t part_bytes;                   /* larger values go by parts, and come by ranges, of this size */
    uint32_t slots, first_slot, slot_bits; /* clustered: its keys are spread over these slots; 0: it is one node's */
    bool write_once;
    char name[];
};

static inline struct cairn_ns *cairn__hashed_ns(const struct cairn_call *call)
{
    return CONTAINER_OF(call->handle, struct cairn_ns, h);
}
static inline uint32_t cairn__hashed_slot(const struct cairn_ns *ns, const void *key, size_t key_len)
{
    return ns->first_slot + cairn_placement_slot(key, key_len, ns->slot_bits);
}
/** The call is about @key: in a clustered namespace it goes to whoever leads the key's slot. Of the request in
 * call->rq:
 * @rid_field for writes, @replica_field for reads that any replica may answer if the namespace is write-once. Last
 * before the start. */
void cairn__hashed_route(struct cairn_call *call, const struct cairn_ns *ns, const void *key, size_t key_len,
                         Cairn__Wire__RouterRid **rid_field, protobuf_c_boolean *replica_field);
/** Makes call->rq a PUT of @value, as payload or exposed; checksums are the caller's business. */
void cairn__hashed_put_request(struct cairn_call *call, const struct cairn_ns *ns, const void *key, size_t key_len,
                               const void *value, size_t len, bool if_absent);
/** Makes call->rq a GET into call->sink. */
void cairn__hashed_get_request(struct cairn_call *call, const struct cairn_ns *ns, const void *key, size_t key_len);
void cairn__hashed_get_answered(struct cairn_call *call);
/** Likewise, and how it goes on: the whole of what a get is beyond its sink. */
void cairn__hashed_get_go(struct cairn_call *call, const struct cairn_ns *ns, const void *key, size_t key_len);
/** A get, as the public ones; *sink is copied. */
int cairn__hashed_get(struct cairn_ns *ns, const void *key, size_t key_len, const struct cairn_call_sink *sink,
                      const struct cairn_call_options *o, cairn_done_fn *done, void *arg);

/** As the public put(), as a part of another call: *@inner is it. */
int cairn__hashed_put_inner(struct cairn_ns *ns, const struct cairn_put_item *item, const struct cairn_call_options *o,
                            cairn_done_fn *done, void *arg, struct cairn_call **inner);
/** Likewise a get of what item->value has room for, or (NULL) of its length. */
int cairn__hashed_get_inner(struct cairn_ns *ns, struct cairn_get_item *item, const struct cairn_call_options *o,
                            cairn_done_fn *done, void *arg, struct cairn_call **inner);

/* ---- hashed_spread.c: several nodes' part of one call ---- */

/** As the public ones, in a clustered namespace; checked already. */
int cairn__spread_mput(struct cairn_ns *ns, struct cairn_put_item *items, size_t n, const struct cairn_call_options *o,
                       cairn_done_fn *done, void *arg);
int cairn__spread_mget(struct cairn_ns *ns, struct cairn_get_item *items, size_t n, const struct cairn_call_options *o,
                       cairn_done_fn *done, void *arg);
int cairn__spread_list(struct cairn_ns *ns, ProtobufCBinaryData prefix, ProtobufCBinaryData after, uint32_t max,
                       struct cairn_page **page, const struct cairn_call_options *o, cairn_done_fn *done, void *arg);

/** A page of keys, as the public ones: hashed_batch.c. */
int cairn__hashed_list(struct cairn_ns *ns, ProtobufCBinaryData prefix, ProtobufCBinaryData after, uint32_t max,
                       struct cairn_page **page, const struct cairn_call_options *o, cairn_done_fn *done, void *arg);

/** As memcmp, and the shorter one first. */
int cairn__key_cmp(const void *a, size_t an, const void *b, size_t bn);
/** Its keys are such as @m asks for: they ascend, lie behind `after` and have the prefix; each has a length. */
bool cairn__list_is_wellformed(const Cairn__Wire__RouterList *m, const Cairn__Wire__RouterListReply *r);

/* ---- hashed_stream.c ---- */

/** What a reader and a writer keep of the call that opened them. */
struct cairn__stream {
    struct cairn_ns *ns; /* a reference */
    struct cairn_call_options o;
    atomic_bool stepping; /* a step is in flight */
    cairn_done_fn *done;  /* of the asynchronous step that is */
    void *arg;
    size_t key_len;
    uint8_t key[CAIRN_KEY_BYTES_MAX];
};
int cairn__stream_init(struct cairn__stream *s, struct cairn_ns *ns, const void *key, size_t key_len,
                       const struct cairn_call_options *o);
/** Asserts that no step is in flight. */
void cairn__stream_fini(struct cairn__stream *s);
/** Begins a step, @done NULL: one that waits. 0, or CAIRN_E_STATE: another is in flight. */
int cairn__stream_step(struct cairn__stream *s, cairn_done_fn *done, void *arg);
/** The step is over. Returns @rc. */
int cairn__stream_over(struct cairn__stream *s, int rc);

/* ---- hashed_large.c ---- */

/** Too large for one request. */
bool cairn__hashed_is_large(const struct cairn_ns *ns, uint64_t len);

/** Puts a value by parts. Returns 0: @over runs later, once no part is under way, call->err has the text; or an
 * error, and
 * @over will not run. @call is begun and carries nothing else; its handle is the namespace. */
int cairn__large_put(struct cairn_call *call, const void *key, size_t key_len, const void *value, uint64_t len,
                     bool if_absent, void (*over)(struct cairn_call *call, int rc));

enum { CAIRN__LARGE_TRY_MS = 8000 }; /* in a clustered namespace: until other nodes have the bytes, too */

/** Starts the transfer of one part. @timeout_ns 0: what @o says. *@out is set before it begins. In a clustered
 * namespace all parts go to one node, *@home, which the first one chooses; CAIRN_E_MOVED: it does not lead the key's
 * slot any more. */
struct cairn__part {
    uint64_t upload;
    uint64_t *home;
    const void *key;
    size_t key_len;
    uint32_t number;
    const void *p;
    uint64_t len;
    uint32_t *crcs; /* malloc'ed, taken over; NULL: they are computed by and by */
};
int cairn__part_start(struct cairn_ns *ns, const struct cairn__part *part, const struct cairn_call_options *o,
                      cairn_done_fn *done, void *arg, uint64_t timeout_ns, struct cairn_call **out);
/** Makes call->rq a COMMIT. One that comes again for the same call bears the same number. */
struct cairn__commit {
    uint64_t upload, length;
    uint64_t *home; /* as above */
    uint32_t parts;
    bool if_absent;
};
void cairn__commit_request(struct cairn_call *call, struct cairn_ns *ns, const void *key, size_t key_len,
                           const struct cairn__commit *commit);
/** Starts an ABORT; @done NULL waits for it. */
int cairn__abort_start(struct cairn_ns *ns, const void *key, size_t key_len, uint64_t upload, cairn_done_fn *done,
                       void *arg);

#endif
