/** What the body of an entry says to the application: one operation on one key of one namespace. Pure; input is
 * hostile (it comes from a disk or from another node).
 *
 *  offset  size
 *       0     1  version, 1
 *       1     1  operation: enum store_op_kind
 *       2     1  flags: STORE_BODY_*
 *       3     1  0
 *       4     4  namespace
 *       8     4  length of the key
 *      12        key, record
 * Numbers are little-endian. */
#ifndef CAIRN_SERVER_CLUSTER_SERVICE_STORE_BODY_H
#define CAIRN_SERVER_CLUSTER_SERVICE_STORE_BODY_H

#include "cairn/limits.h"
#include "server/cluster/repl/slot.h"

enum store_op_kind {
    STORE_PUT = 1,
    STORE_ERASE,
    STORE_REPAIR, /* the record as another replica has it, whatever is here, also of a write-once key: see scrub.h */
};

enum {
    STORE_BODY_VERSION = 1,
    STORE_BODY_HEAD_BYTES = 12,
    STORE_BODY_IF_ABSENT = 1,
    STORE_BODY_WRITE_ONCE = 2,                     /* of the namespace */
    STORE_KEY_BYTES_MAX = CAIRN_KEY_BYTES_MAX - 8, /* with slot and namespace it is a key of the index */
};

struct store_body {
    enum store_op_kind op;
    uint8_t flags;
    uint32_t ns;
    const uint8_t *key, *record; /* borrowed */
    uint32_t key_len, record_len;
};

static inline bool store_body_has_record(const struct store_body *b)
{
    return b->op != STORE_ERASE;
}
/** 0, CAIRN_E_INVAL, CAIRN_E_TOOBIG. */
int store_body_get(const uint8_t *bytes, uint32_t len, struct store_body *b);
static inline uint32_t store_body_bytes(const struct store_body *b)
{
    return STORE_BODY_HEAD_BYTES + b->key_len + b->record_len;
}
/** Writes store_body_bytes(). */
void store_body_put(const struct store_body *b, uint8_t *to);

#endif
