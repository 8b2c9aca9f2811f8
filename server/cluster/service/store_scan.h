/** What this node has of some of a slot's keys, as digests, and whether each copy is sound by its own checksums.
 *
 * A scan reads what is applied while it reads: not one moment. Whoever compares two scans has to know that nothing of
 * the key was applied between them (scrub_key.c). */
#ifndef CAIRN_SERVER_CLUSTER_SERVICE_STORE_SCAN_H
#define CAIRN_SERVER_CLUSTER_SERVICE_STORE_SCAN_H

#include "schema/extent.pb-c.h"
#include "server/cluster/service/store_internal.h"

enum {
    SCAN_KEYS_MAX = 256,
    SCAN_KEY_BYTES_MAX = CAIRN_KEY_BYTES_MAX - STORE_SLOT_BYTES, /* namespace (4 bytes, big-endian) and key */
    SCAN_NS_BYTES = 4,
    SCAN_PAGE_KEY_BYTES_MAX = 256 << 10, /* they fit into a message, by far */
};

/* How a copy of a key is. Also on the wire. */
enum scan_state {
    SCAN_SOUND = 1,
    SCAN_ABSENT,     /* there is none, and nothing says that there should be */
    SCAN_GONE,       /* its namespace was removed: it is no matter any more */
    SCAN_NO_RECORD,  /* the index names it, and it is not there */
    SCAN_NO_INDEX,   /* it is there, and the index does not name it */
    SCAN_DAMAGED,    /* it does not match its checksums */
    SCAN_UNREADABLE, /* the engine cannot read it */
    SCAN_NO_REGION,  /* a region that it names is not there */
    SCAN_BAD_REGION, /* or is in quarantine */
    SCAN_STATES
};

static inline bool scan_is_bad(enum scan_state s)
{
    return s >= SCAN_NO_RECORD;
}

/* The order of the index. */
static inline int scan_key_order(const uint8_t *a, size_t a_len, const uint8_t *b, size_t b_len)
{
    int c = memcmp(a, b, MIN(a_len, b_len));

    return c != 0 ? c : (a_len > b_len) - (a_len < b_len);
}

struct store_scan_key {
    const uint8_t *key; /* in the scan, until the next one */
    uint32_t len;
    enum scan_state state;
    uint64_t digest; /* of state, index row and record */
    uint8_t index[STORE_INDEX_VALUE_BYTES];
};

struct store_scan {
    /* Set by the caller. */
    struct cluster_store *store;
    const struct cairn_rpc_target *extent; /* of regions; NULL: they are not looked at */
    uint32_t slot;
    uint8_t after[SCAN_KEY_BYTES_MAX], upto[SCAN_KEY_BYTES_MAX];
    uint32_t after_len, upto_len; /* behind @after, up to @upto; 0: from the beginning, to the end */
    bool one;                     /* the key @upto alone, with its record */
    void (*done)(struct store_scan *x, int rc);
    void *arg;

    /* What was found, in the order of the index. */
    struct store_scan_key keys[SCAN_KEYS_MAX];
    uint32_t n;
    bool more; /* behind the last of them, and up to @upto */
    uint64_t bytes;
    uint8_t *record; /* of @one, if it is there; the scan's */
    uint32_t record_len;

    /* Private. */
    struct cairn_sm sm;
    uint8_t prefix[STORE_SLOT_BYTES], from[CAIRN_KEY_BYTES_MAX];
    uint32_t from_len, ns, db, got, at, region;
    bool has_index;
    uint8_t *key_bytes, *payload; /* @payload: of records that name regions, while those are looked at */
    size_t payload_len, payload_at;
    int64_t lengths[SCAN_KEYS_MAX];
    uint32_t nlengths;
    ProtobufCBinaryData user_keys[SCAN_KEYS_MAX], index_key;
    struct store_open open;
    union {
        Cairn__Wire__KvList list;
        Cairn__Wire__KvMget mget;
        Cairn__Wire__ExtentId id;
    } msg;
    struct cairn_rpc_call call;
    struct cairn_err err;
};

extern const struct cairn_sm_kind store_scan_kind;

void store_scan_init(struct store_scan *x, struct cluster_store *st);
/** Nothing may be under way. */
void store_scan_fini(struct store_scan *x);
/** done() comes later, unless the store ends; then @x has to stay until cluster_store_stop() is over. @rc: a scan that
 * could not be made says nothing. */
void store_scan_start(struct store_scan *x);
/** What a copy's digest is of. @index: STORE_INDEX_VALUE_BYTES of it, zeroes if it has no row. */
uint64_t store_scan_copy_digest(enum scan_state state, const uint8_t *index, const uint8_t *record, uint32_t len);
/** Of the keys from the @first on: two nodes that have the same say the same. */
uint64_t store_scan_digest(const struct store_scan *x, uint32_t first);

#endif
