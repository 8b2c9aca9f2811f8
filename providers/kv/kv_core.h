/** Decisions of the KV provider: what a valid key is, how keys of a numbered database are stored, what a listing
 * covers. No I/O, no clock, no allocation.
 *
 * Inside the stores all keys are in *stored form* and ordered bytewise. In a database of byte strings that is the key
 * itself; in one of unsigned integers it is the number in 8 bytes, most significant first, so that one comparison
 * serves both. The callers of the provider send numbers little-endian in 1 to 8 bytes and get them back little-endian
 * in exactly 8. */
#ifndef CAIRN_PROVIDERS_KV_CORE_H
#define CAIRN_PROVIDERS_KV_CORE_H

#include "cairn/limits.h"
#include "schema/kv.pb-c.h"

#include <stdbool.h>
#include <stdint.h>

enum cairn_kv_order { CAIRN_KV_BYTES, CAIRN_KV_UINT }; /* as KvOrder on the wire and in the stored catalogue */

enum {
    CAIRN_KV_UINT_BYTES = 8,
    CAIRN_KV_BOUND_BYTES = CAIRN_KEY_BYTES_MAX + 1, /* a key and its successor's extra byte */
    CAIRN_KV_PAGE_BYTES = 1 << 20,                  /* values of one reply of several; one value always fits */
    CAIRN_KV_PAGE_KEY_BYTES = 512 << 10,            /* keys of one listing: they are in the message's body */
    CAIRN_KV_APPLY_BYTES_MAX = 8 << 20, /* keys and values of one APPLY; a frame holds less, a local call does not */
};

_Static_assert((int)CAIRN_KV_PAGE_BYTES >= (int)CAIRN_KV_VALUE_BYTES_MAX, "the largest value must fit a page");

/** A key in stored form: the caller's bytes, or the number in @number. */
struct cairn_kv_key {
    const uint8_t *ptr;
    uint32_t len;
    uint8_t number[CAIRN_KV_UINT_BYTES];
};

/** Checks a key that came from outside and brings it into stored form; @k may point into @key's bytes.
 *   CAIRN_E_INVAL   no bytes, or more than 8 of a number
 *   CAIRN_E_TOOBIG  more than CAIRN_KEY_BYTES_MAX */
int cairn_kv_key_make(enum cairn_kv_order order, const ProtobufCBinaryData *key, struct cairn_kv_key *k);
/** Only the check. */
int cairn_kv_key_check(enum cairn_kv_order order, const ProtobufCBinaryData *key);
/** The form for callers: @out has room for @len bytes, which never grows. */
void cairn_kv_key_show(enum cairn_kv_order order, const uint8_t *stored, uint32_t len, uint8_t *out);

/** Bytewise, a prefix before what it begins. */
int cairn_kv_key_compare(const uint8_t *a, uint32_t alen, const uint8_t *b, uint32_t blen);

/** Stored keys k with lo <= k < hi; without @bounded, all from lo on. */
struct cairn_kv_range {
    uint32_t lo_len, hi_len;
    bool bounded;
    uint8_t lo[CAIRN_KV_BOUND_BYTES], hi[CAIRN_KV_BOUND_BYTES];
};

/** The range that a listing covers (prefix, from, after, to, reverse). Errors as cairn_kv_key_make(), and CAIRN_E_INVAL
 * for a prefix of numbers. An empty range is no error. */
int cairn_kv_range_make(enum cairn_kv_order order, const Cairn__Wire__KvList *list, struct cairn_kv_range *r);
bool cairn_kv_range_is_empty(const struct cairn_kv_range *r);

/** Checks the lengths of a multi-put against its payload: as many as keys, none above the limit, together @payload_len.
 */
int cairn_kv_lengths_check(const Cairn__Wire__KvMput *m, uint32_t payload_len);

/** Checks the arrays of an APPLY against each other and its payload; databases and keys are for the caller to look at.
 *   CAIRN_E_INVAL   they do not fit together
 *   CAIRN_E_TOOBIG  more entries, a longer value or more bytes than may be */
int cairn_kv_apply_check(const Cairn__Wire__KvApply *m, uint32_t payload_len);

/** Checks the name of a database: 1 to CAIRN_NAME_BYTES_MAX bytes without control characters. */
int cairn_kv_name_check(const char *name);

#endif
