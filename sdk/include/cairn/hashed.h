/** Hashed namespaces: values of 0 bytes to 1 TiB (CAIRN_VALUE_BYTES_MAX) under keys of 1 to CAIRN_KEY_BYTES_MAX bytes.
 *
 * Small values travel with the request. Larger ones (above CAIRN_BULK_THRESHOLD_BYTES) are moved by the server,
 * straight from and into the caller's memory. Checksums (CRC32C) are computed here before a put and compared here after
 * a get; the first mismatch makes the SDK read once more, with the server checking what it stored, and CAIRN_E_CORRUPT
 * is what remains then. Values above 256 MiB go in several requests at a time; what is read is one value all the same,
 * or CAIRN_E_BUSY if it was replaced twice meanwhile.
 *
 * A put is visible wholly or not at all. Besides the errors of cairn.h every call here may give
 *   CAIRN_E_INVAL     the key is empty or longer than CAIRN_KEY_BYTES_MAX
 *   CAIRN_E_NOTFOUND  the namespace was removed, or (reads) there is no such key. One that was made again under its
 *                     name is another, and is to be opened anew
 *   CAIRN_E_DENIED    the namespace's mode does not let the caller read or write
 * and those that change something
 *   CAIRN_E_EXISTS    the key is there and the namespace is write-once, or CAIRN_IF_ABSENT was given
 *   CAIRN_E_NOSPACE   the storage is full
 *   CAIRN_E_TOOBIG    the value exceeds the node's limit, or CAIRN_VALUE_BYTES_MAX
 *   CAIRN_E_IO        the storage failed */
#ifndef CAIRN_HASHED_H
#define CAIRN_HASHED_H

#include "cairn/cairn.h"

#ifdef __cplusplus
extern "C" {
#endif

/** An open namespace. Its name is resolved once; it may be used by several threads. */
struct cairn_ns;

/** Opens the namespace @name, which must exist (admin.h: cairn_ns_create). Close it by cairn_ns_close(). */
CAIRN_API int cairn_ns_open(struct cairn *c, const char *name, struct cairn_ns **out,
                            const struct cairn_call_options *o);
CAIRN_API int cairn_ns_open_async(struct cairn *c, const char *name, struct cairn_ns **out,
                                  const struct cairn_call_options *o, cairn_done_fn *done, void *arg);
/** Calls in flight go on. NULL does nothing. */
CAIRN_API void cairn_ns_close(struct cairn_ns *ns);

/** Creates or replaces.
 *   CAIRN_E_CORRUPT  whether the key is there decides, and cannot be read; in a namespace that is spread over nodes the
 *                    value may have been put all the same, where it can */
CAIRN_API int cairn_put(struct cairn_ns *ns, const void *key, size_t key_len, const void *value, size_t len,
                        const struct cairn_call_options *o);
CAIRN_API int cairn_put_async(struct cairn_ns *ns, const void *key, size_t key_len, const void *value, size_t len,
                              const struct cairn_call_options *o, cairn_done_fn *done, void *arg);

/** The whole value into @buf; *@len becomes its length.
 *   CAIRN_E_TOOBIG   it is longer than @room bytes: *@len says how long, and @buf may hold a part of it
 *   CAIRN_E_CORRUPT  the stored bytes do not match their checksums; @buf may hold some of them */
CAIRN_API int cairn_get(struct cairn_ns *ns, const void *key, size_t key_len, void *buf, size_t room, size_t *len,
                        const struct cairn_call_options *o);
CAIRN_API int cairn_get_async(struct cairn_ns *ns, const void *key, size_t key_len, void *buf, size_t room, size_t *len,
                              const struct cairn_call_options *o, cairn_done_fn *done, void *arg);

/** The whole value in memory of its own: *@value, one byte longer than *@len and zero there. Give it back by
 * cairn_free(). */
CAIRN_API int cairn_get_alloc(struct cairn_ns *ns, const void *key, size_t key_len, void **value, size_t *len,
                              const struct cairn_call_options *o);
CAIRN_API int cairn_get_alloc_async(struct cairn_ns *ns, const void *key, size_t key_len, void **value, size_t *len,
                                    const struct cairn_call_options *o, cairn_done_fn *done, void *arg);

/** Up to @room bytes of the value, starting @off bytes into it. *@len becomes the bytes read, short only at the end, 0
 * behind it; *@total the length of the value (@total may be NULL). CAIRN_E_CORRUPT as above. */
CAIRN_API int cairn_read(struct cairn_ns *ns, const void *key, size_t key_len, uint64_t off, void *buf, size_t room,
                         size_t *len, uint64_t *total, const struct cairn_call_options *o);
CAIRN_API int cairn_read_async(struct cairn_ns *ns, const void *key, size_t key_len, uint64_t off, void *buf,
                               size_t room, size_t *len, uint64_t *total, const struct cairn_call_options *o,
                               cairn_done_fn *done, void *arg);

/** A value that is written piece by piece, so that it needs not be in memory: of up to CAIRN_VALUE_BYTES_MAX bytes.
 * It is not there before the commit. One step at a time: CAIRN_E_STATE while one is in flight. In callbacks only
 * asynchronous steps. To be ended before cairn_close().
 *
 * The writer keeps up to twice 256 MiB, less for values below some GiB, and sends the one half while the other is being
 * filled. What it had sent is removed when it is aborted, or when the node sees nothing of it for ten minutes. */
struct cairn_writer;

/** Nothing is sent yet. @o (NULL: all defaults) is for each step, CAIRN_IF_ABSENT for the commit; its error member must
 * stay valid as long as the writer. @length: how long the value will be, as a hint; 0: unknown, at most 900 GiB. */
CAIRN_API int cairn_writer_open(struct cairn_ns *ns, const void *key, size_t key_len, uint64_t length,
                                const struct cairn_call_options *o, struct cairn_writer **out);
/** Appends @len bytes, which were copied when it returns; it waits while both halves are full. After an error the
 * writer can only be aborted. CAIRN_E_TOOBIG: the value becomes too long. */
CAIRN_API int cairn_writer_write(struct cairn_writer *w, const void *buf, size_t len);
/** Likewise: @buf stays the caller's, unchanged, until @done. */
CAIRN_API int cairn_writer_write_async(struct cairn_writer *w, const void *buf, size_t len, cairn_done_fn *done,
                                       void *arg);
/** Makes the value visible. The writer is gone, whatever this returns (but CAIRN_E_STATE); on failure all was
 * aborted. In a namespace that is spread over nodes, also of a write: CAIRN_E_BUSY, the node that had the first parts
 * is gone or was restarted, nothing was stored, and the value is to be written once more, from its beginning by a new
 * writer: nobody else has its bytes. CAIRN_E_UNKNOWN: likewise, unless it is there (what cannot be told when time has
 * run out). */
CAIRN_API int cairn_writer_commit(struct cairn_writer *w);
/** Likewise: the writer is gone when @done runs. If this returns an error nothing was started, and the writer is as
 * before. */
CAIRN_API int cairn_writer_commit_async(struct cairn_writer *w, cairn_done_fn *done, void *arg);
/** Forgets everything; the writer is gone. NULL does nothing; in callbacks, and during a step, nothing is done but a
 * warning written. */
CAIRN_API void cairn_writer_abort(struct cairn_writer *w);
/** Likewise: the writer is gone when @done runs, with 0 always. If this returns an error the writer is as before. */
CAIRN_API int cairn_writer_abort_async(struct cairn_writer *w, cairn_done_fn *done, void *arg);

/** Reads a value piece by piece, and all pieces are of one value: CAIRN_E_BUSY if it was replaced meanwhile, and then
 * for good. One step at a time: CAIRN_E_STATE while one is in flight. */
struct cairn_reader;

/** Starts @off bytes into the value. Nothing is asked yet. @o as for a writer. */
CAIRN_API int cairn_reader_open(struct cairn_ns *ns, const void *key, size_t key_len, uint64_t off,
                                const struct cairn_call_options *o, struct cairn_reader **out);
/** The next @room bytes; *@len is less only at the end. *@total (may be NULL) becomes the length of the value. */
CAIRN_API int cairn_reader_read(struct cairn_reader *r, void *buf, size_t room, size_t *len, uint64_t *total);
CAIRN_API int cairn_reader_read_async(struct cairn_reader *r, void *buf, size_t room, size_t *len, uint64_t *total,
                                      cairn_done_fn *done, void *arg);
/** No step may be in flight; @done of the last one may call it. NULL does nothing. */
CAIRN_API void cairn_reader_close(struct cairn_reader *r);

/** Where a key is or would be, and why there, as the node that this client entered by knows it: versioned JSON,
 * cairn_free(). Whether the key exists is not looked at, so it is told whatever has become of its nodes. */
CAIRN_API int cairn_where(struct cairn_ns *ns, const void *key, size_t key_len, char **json,
                          const struct cairn_call_options *o);
CAIRN_API int cairn_where_async(struct cairn_ns *ns, const void *key, size_t key_len, char **json,
                                const struct cairn_call_options *o, cairn_done_fn *done, void *arg);

CAIRN_API int cairn_exists(struct cairn_ns *ns, const void *key, size_t key_len, bool *exists,
                           const struct cairn_call_options *o);
CAIRN_API int cairn_exists_async(struct cairn_ns *ns, const void *key, size_t key_len, bool *exists,
                                 const struct cairn_call_options *o, cairn_done_fn *done, void *arg);

CAIRN_API int cairn_length(struct cairn_ns *ns, const void *key, size_t key_len, uint64_t *len,
                           const struct cairn_call_options *o);
CAIRN_API int cairn_length_async(struct cairn_ns *ns, const void *key, size_t key_len, uint64_t *len,
                                 const struct cairn_call_options *o, cairn_done_fn *done, void *arg);

/** Succeeds also if there is no such key: to look would cost a read. */
CAIRN_API int cairn_delete(struct cairn_ns *ns, const void *key, size_t key_len, const struct cairn_call_options *o);
CAIRN_API int cairn_delete_async(struct cairn_ns *ns, const void *key, size_t key_len,
                                 const struct cairn_call_options *o, cairn_done_fn *done, void *arg);

/** Many values in few requests: those up to the namespace's embed threshold share requests, larger ones go one by one
 * (for many of those, cairn_put_async() is faster). Returns 0 if all went well, else an error, with which some entries
 * may have been written: items[i].status says of each; those that were never sent have the returned error. */
CAIRN_API int cairn_mput(struct cairn_ns *ns, struct cairn_put_item *items, size_t n,
                         const struct cairn_call_options *o);
CAIRN_API int cairn_mput_async(struct cairn_ns *ns, struct cairn_put_item *items, size_t n,
                               const struct cairn_call_options *o, cairn_done_fn *done, void *arg);

/** Many values; each entry's room, length and status are in items[i]. An entry that is absent, does not fit or is
 * damaged is no error of the call. After an error items[i].status says of each; those that were never asked for have
 * the returned error. Large ones among them are fetched one by one. */
CAIRN_API int cairn_mget(struct cairn_ns *ns, struct cairn_get_item *items, size_t n,
                         const struct cairn_call_options *o);
CAIRN_API int cairn_mget_async(struct cairn_ns *ns, struct cairn_get_item *items, size_t n,
                               const struct cairn_call_options *o, cairn_done_fn *done, void *arg);

/** A page of the keys that start with @prefix (0 bytes: all keys), in bytewise order, with the lengths of their values
 * (CAIRN_LENGTH_UNKNOWN where what is stored cannot be read: a get of that key says why);
 * from the one behind @after (0 bytes: from the first). At most @max (0: as many as a page holds, at most
 * CAIRN_BATCH_MAX). */
CAIRN_API int cairn_list(struct cairn_ns *ns, const void *prefix, size_t prefix_len, const void *after,
                         size_t after_len, uint32_t max, struct cairn_page **page, const struct cairn_call_options *o);
CAIRN_API int cairn_list_async(struct cairn_ns *ns, const void *prefix, size_t prefix_len, const void *after,
                               size_t after_len, uint32_t max, struct cairn_page **page,
                               const struct cairn_call_options *o, cairn_done_fn *done, void *arg);

/** Walks over all keys with a prefix, page by page, each fetched with the given options (their error and call members
 * must outlive the walk). Keys put or deleted meanwhile may or may not be seen; others are seen exactly once. One
 * step at a time: CAIRN_E_STATE while one is in flight. */
struct cairn_iter;
CAIRN_API int cairn_iter_open(struct cairn_ns *ns, const void *prefix, size_t prefix_len,
                              const struct cairn_call_options *o, struct cairn_iter **out);
/** The next entry, valid until the next call: 1; the end: 0; or an error, after which the step may be tried again. */
CAIRN_API int cairn_iter_next(struct cairn_iter *it, struct cairn_entry *entry);
/** Likewise: @done gets 1, 0 or the error, and *@entry is valid until the next step. */
CAIRN_API int cairn_iter_next_async(struct cairn_iter *it, struct cairn_entry *entry, cairn_done_fn *done, void *arg);
/** No step may be in flight; @done of the last one may call it. NULL does nothing. */
CAIRN_API void cairn_iter_close(struct cairn_iter *it);

#ifdef __cplusplus
}
#endif
#endif
