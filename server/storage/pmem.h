/** Objects in a libpmemobj pool: a header of the user's and the bytes behind it, published at once or not at all.
 *
 * An object is reserved (volatile: a crash forgets it), filled in place, persisted and published (atomic: from then on
 * a start finds it). Every call may block, where the pool lies on an ordinary file system each for an msync: for pool
 * threads and start-up. Any thread. */
#ifndef CAIRN_SERVER_STORAGE_PMEM_H
#define CAIRN_SERVER_STORAGE_PMEM_H

#include "sdk/core/base/err.h"

#include <stdbool.h>
#include <stdint.h>

struct cairn_pmem;
struct cairn_pmem_object;

/** Is @dir where stores can be made durable without a system call (DAX) or need not be (tmpfs)? CAIRN_E_UNSUPPORTED if
 * it is an ordinary file system; changes nothing. */
int cairn_pmem_place(const char *dir, struct cairn_err *err);

/** Opens the pool at @path, making it with @size bytes if it is not there. */
int cairn_pmem_open(const char *path, uint64_t size, struct cairn_pmem **pm, struct cairn_err *err);
void cairn_pmem_close(struct cairn_pmem *pm);
/** Calls @fn for every published object; it may free the object. Not 0 ends the walk. Takes the ownership of @object.
 */
int cairn_pmem_each(struct cairn_pmem *pm, int (*fn)(void *arg, struct cairn_pmem_object *object), void *arg);

/** CAIRN_E_NOSPACE, CAIRN_E_NOMEM. */
int cairn_pmem_reserve(struct cairn_pmem *pm, uint64_t bytes, struct cairn_pmem_object **object);
/** Its memory and size; the size is at least what was asked for. */
void *cairn_pmem_bytes(const struct cairn_pmem *pm, const struct cairn_pmem_object *object);
uint64_t cairn_pmem_size(const struct cairn_pmem *pm, const struct cairn_pmem_object *object);
/** Makes [p, p+n) of the pool durable, drained. */
int cairn_pmem_persist(struct cairn_pmem *pm, const void *p, uint64_t n);
int cairn_pmem_publish(struct cairn_pmem *pm, struct cairn_pmem_object *object);
/** Gives the space back, of a reserved or of a published object, and frees @object. */
void cairn_pmem_free(struct cairn_pmem *pm, struct cairn_pmem_object *object);
/** Frees @object, and leaves what it names in the pool. */
void cairn_pmem_object_forget(struct cairn_pmem_object *object);

#endif
