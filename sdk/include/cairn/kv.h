/** Ordered databases of one KV provider. For administrators and programs that compose their own services; hashed.h is
 * the service for everyone.
 *
 * Besides the errors of cairn.h every call may give
 *   CAIRN_E_INVAL       the key is empty or longer than CAIRN_KEY_BYTES_MAX, or no integer where the order is UINT
 *   CAIRN_E_NOPROVIDER  the node has no KV provider of that name
 *   CAIRN_E_NOTFOUND    the database was dropped, or (reads, take) there is no such key
 *   CAIRN_E_DENIED      only administrators may use providers
 * and those that change something
 *   CAIRN_E_EXISTS      the key is there, and the database is write-once or CAIRN_IF_ABSENT was given
 *   CAIRN_E_TOOBIG      the value is longer than CAIRN_KV_VALUE_BYTES_MAX
 *   CAIRN_E_NOSPACE, CAIRN_E_IO   the storage is full, or failed
 * options->durability counts for puts and erases; the default is BUFFERED. */
#ifndef CAIRN_KV_H
#define CAIRN_KV_H

#include "cairn/cairn.h"

#ifdef __cplusplus
extern "C" {
#endif

/** An open database; for several threads. */
struct cairn_kv;

enum cairn_kv_order {
    CAIRN_KV_ORDER_BYTES = 0,
    CAIRN_KV_ORDER_UINT = 1, /* keys are unsigned little-endian integers of 1 to 8 bytes */
};

struct cairn_kv_options {
    size_t size;
    bool create;               /* make it if it is not there */
    bool exclusive;            /* with create: CAIRN_E_EXISTS if it is there */
    bool write_once;           /* when made: keys are never replaced */
    enum cairn_kv_order order; /* when made */
};
#define CAIRN_KV_OPTIONS_INIT CAIRN_STRUCT_INIT(struct cairn_kv_options)

/** Opens database @name of provider @provider ("kv0"). @kv_options may be NULL: it must exist. */
CAIRN_API int cairn_kv_open(struct cairn *c, const char *provider, const char *name,
                            const struct cairn_kv_options *kv_options, struct cairn_kv **out,
                            const struct cairn_call_options *o);
CAIRN_API int cairn_kv_open_async(struct cairn *c, const char *provider, const char *name,
                                  const struct cairn_kv_options *kv_options, struct cairn_kv **out,
                                  const struct cairn_call_options *o, cairn_done_fn *done, void *arg);
/** Calls in flight go on. NULL does nothing. */
CAIRN_API void cairn_kv_close(struct cairn_kv *kv);

/** Removes the database and all in it. */
CAIRN_API int cairn_kv_drop(struct cairn *c, const char *provider, const char *name,
                            const struct cairn_call_options *o);
CAIRN_API int cairn_kv_drop_async(struct cairn *c, const char *provider, const char *name,
                                  const struct cairn_call_options *o, cairn_done_fn *done, void *arg);

struct cairn_kv_database {
    const char *name;
    enum cairn_kv_order order;
    bool write_once;
};
/** One block: cairn_free(). */
struct cairn_kv_databases {
    size_t n;
    struct cairn_kv_database *databases;
};
CAIRN_API int cairn_kv_databases(struct cairn *c, const char *provider, struct cairn_kv_databases **out,
                                 const struct cairn_call_options *o);
CAIRN_API int cairn_kv_databases_async(struct cairn *c, const char *provider, struct cairn_kv_databases **out,
                                       const struct cairn_call_options *o, cairn_done_fn *done, void *arg);

CAIRN_API int cairn_kv_put(struct cairn_kv *kv, const void *key, size_t key_len, const void *value, size_t len,
                           const struct cairn_call_options *o);
CAIRN_API int cairn_kv_put_async(struct cairn_kv *kv, const void *key, size_t key_len, const void *value, size_t len,
                                 const struct cairn_call_options *o, cairn_done_fn *done, void *arg);

/** A put that gives back what was there: *@replaced, and *@old_len bytes in @old if so.
 *   CAIRN_E_TOOBIG  the old value was longer than @old_room: *@old_len says how long. It is lost, the new one is there
 */
CAIRN_API int cairn_kv_exchange(struct cairn_kv *kv, const void *key, size_t key_len, const void *value, size_t len,
                                void *old, size_t old_room, size_t *old_len, bool *replaced,
                                const struct cairn_call_options *o);
CAIRN_API int cairn_kv_exchange_async(struct cairn_kv *kv, const void *key, size_t key_len, const void *value,
                                      size_t len, void *old, size_t old_room, size_t *old_len, bool *replaced,
                                      const struct cairn_call_options *o, cairn_done_fn *done, void *arg);

/** The value into @buf; *@len becomes its length. CAIRN_E_TOOBIG: it is longer than @room, *@len says how long. */
CAIRN_API int cairn_kv_get(struct cairn_kv *kv, const void *key, size_t key_len, void *buf, size_t room, size_t *len,
                           const struct cairn_call_options *o);
CAIRN_API int cairn_kv_get_async(struct cairn_kv *kv, const void *key, size_t key_len, void *buf, size_t room,
                                 size_t *len, const struct cairn_call_options *o, cairn_done_fn *done, void *arg);
/** The value in memory of its own: *@value, one byte longer than *@len and zero there; cairn_free(). */
CAIRN_API int cairn_kv_get_alloc(struct cairn_kv *kv, const void *key, size_t key_len, void **value, size_t *len,
                                 const struct cairn_call_options *o);
CAIRN_API int cairn_kv_get_alloc_async(struct cairn_kv *kv, const void *key, size_t key_len, void **value, size_t *len,
                                       const struct cairn_call_options *o, cairn_done_fn *done, void *arg);
CAIRN_API int cairn_kv_length(struct cairn_kv *kv, const void *key, size_t key_len, uint64_t *len,
                              const struct cairn_call_options *o);
CAIRN_API int cairn_kv_length_async(struct cairn_kv *kv, const void *key, size_t key_len, uint64_t *len,
                                    const struct cairn_call_options *o, cairn_done_fn *done, void *arg);
CAIRN_API int cairn_kv_exists(struct cairn_kv *kv, const void *key, size_t key_len, bool *exists,
                              const struct cairn_call_options *o);
CAIRN_API int cairn_kv_exists_async(struct cairn_kv *kv, const void *key, size_t key_len, bool *exists,
                                    const struct cairn_call_options *o, cairn_done_fn *done, void *arg);
/** Succeeds also if there is no such key: to look would cost a read. */
CAIRN_API int cairn_kv_erase(struct cairn_kv *kv, const void *key, size_t key_len, const struct cairn_call_options *o);
CAIRN_API int cairn_kv_erase_async(struct cairn_kv *kv, const void *key, size_t key_len,
                                   const struct cairn_call_options *o, cairn_done_fn *done, void *arg);
/** An erase that gives back what was there, as cairn_kv_exchange() does. CAIRN_E_NOTFOUND if nothing was. */
CAIRN_API int cairn_kv_take(struct cairn_kv *kv, const void *key, size_t key_len, void *old, size_t old_room,
                            size_t *old_len, const struct cairn_call_options *o);
CAIRN_API int cairn_kv_take_async(struct cairn_kv *kv, const void *key, size_t key_len, void *old, size_t old_room,
                                  size_t *old_len, const struct cairn_call_options *o, cairn_done_fn *done, void *arg);

/* Batches of any size; sent in as few requests as the limits allow, one after the other. The entries of one request
 * become durable together. */

/** Returns 0 if all went well, else an error: items[i].status says of each; those never sent have it. */
CAIRN_API int cairn_kv_mput(struct cairn_kv *kv, struct cairn_put_item *items, size_t n,
                            const struct cairn_call_options *o);
CAIRN_API int cairn_kv_mput_async(struct cairn_kv *kv, struct cairn_put_item *items, size_t n,
                                  const struct cairn_call_options *o, cairn_done_fn *done, void *arg);
/** Absent entries and entries that do not fit are no error of the call: items[i].status. */
CAIRN_API int cairn_kv_mget(struct cairn_kv *kv, struct cairn_get_item *items, size_t n,
                            const struct cairn_call_options *o);
CAIRN_API int cairn_kv_mget_async(struct cairn_kv *kv, struct cairn_get_item *items, size_t n,
                                  const struct cairn_call_options *o, cairn_done_fn *done, void *arg);
/** Lengths only: value and room are not used. */
CAIRN_API int cairn_kv_mlength(struct cairn_kv *kv, struct cairn_get_item *items, size_t n,
                               const struct cairn_call_options *o);
CAIRN_API int cairn_kv_mlength_async(struct cairn_kv *kv, struct cairn_get_item *items, size_t n,
                                     const struct cairn_call_options *o, cairn_done_fn *done, void *arg);
/** items[i].status is 0 or CAIRN_E_NOTFOUND; value, room and value_len are not used. */
CAIRN_API int cairn_kv_mexists(struct cairn_kv *kv, struct cairn_get_item *items, size_t n,
                               const struct cairn_call_options *o);
CAIRN_API int cairn_kv_mexists_async(struct cairn_kv *kv, struct cairn_get_item *items, size_t n,
                                     const struct cairn_call_options *o, cairn_done_fn *done, void *arg);
/** As cairn_kv_erase() for each; only the keys are used, and status is set. */
CAIRN_API int cairn_kv_merase(struct cairn_kv *kv, struct cairn_get_item *items, size_t n,
                              const struct cairn_call_options *o);
CAIRN_API int cairn_kv_merase_async(struct cairn_kv *kv, struct cairn_get_item *items, size_t n,
                                    const struct cairn_call_options *o, cairn_done_fn *done, void *arg);

/** What to list; zero members do not restrict. The bytes stay the caller's until the call is over. */
struct cairn_kv_range {
    size_t size;
    const void *prefix; /* only keys that start so; bytewise order only */
    size_t prefix_len;
    const void *from; /* first key, included unless @after; with @reverse the upper end */
    size_t from_len;
    const void *to; /* where to stop, not included; with @reverse the lower end */
    size_t to_len;
    uint32_t max; /* entries; 0: as many as a page holds */
    bool after, values, reverse;
};
#define CAIRN_KV_RANGE_INIT CAIRN_STRUCT_INIT(struct cairn_kv_range)

/** A page of the range, in order. @range may be NULL: all keys. For the next page set from to the last key, and after.
 */
CAIRN_API int cairn_kv_list(struct cairn_kv *kv, const struct cairn_kv_range *range, struct cairn_page **page,
                            const struct cairn_call_options *o);
CAIRN_API int cairn_kv_list_async(struct cairn_kv *kv, const struct cairn_kv_range *range, struct cairn_page **page,
                                  const struct cairn_call_options *o, cairn_done_fn *done, void *arg);

/** Set size before the call: only what fits is written. */
struct cairn_kv_stat {
    size_t size;
    char name[CAIRN_NAME_BYTES_MAX + 1];
    char backend[32];
    uint64_t keys;
    uint64_t bytes;  /* on disk or in memory */
    bool keys_exact; /* false: an estimate */
};
#define CAIRN_KV_STAT_INIT CAIRN_STRUCT_INIT(struct cairn_kv_stat)
CAIRN_API int cairn_kv_stat(struct cairn_kv *kv, struct cairn_kv_stat *stat, const struct cairn_call_options *o);
CAIRN_API int cairn_kv_stat_async(struct cairn_kv *kv, struct cairn_kv_stat *stat, const struct cairn_call_options *o,
                                  cairn_done_fn *done, void *arg);

#ifdef __cplusplus
}
#endif
#endif
