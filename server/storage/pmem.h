/** A libpmemobj pool as a store of bytes: large areas of plain memory, and small records that come and go atomically.
 *
 * The pool's own heap is made for small objects: given regions of mixed sizes it reserves whole runs for each size and
 * is full at a third (measured: 47 of 128 MiB). So nearly all of the pool is set aside once as areas, whose user keeps
 * track of what is free in them, and the heap holds the records that say what is where. A record is there whole or not
 * at all, which makes publishing it the one moment at which the bytes it names begin to exist.
 *
 * Every call may block, where the pool lies on an ordinary file system each for an msync: for pool threads and
 * start-up, unless it says otherwise. Any thread. */
#ifndef CAIRN_SERVER_STORAGE_PMEM_H
#define CAIRN_SERVER_STORAGE_PMEM_H

#include "sdk/core/base/err.h"

#include <stdbool.h>
#include <stdint.h>

enum { CAIRN_PMEM_AREAS_MAX = 4096, CAIRN_PMEM_AREA_ALIGN = 4096 };

struct cairn_pmem;

/** Is @dir where stores can be made durable without a system call (DAX) or need not be (tmpfs)? CAIRN_E_UNSUPPORTED if
 * it is an ordinary file system; changes nothing. */
int cairn_pmem_place(const char *dir, struct cairn_err *err);

/** Opens the pool @name in @dirfd, which is the directory @dir; makes it with @size bytes if it is not there. */
int cairn_pmem_open(int dirfd, const char *dir, const char *name, uint64_t size, struct cairn_pmem **pm,
                    struct cairn_err *err);
void cairn_pmem_close(struct cairn_pmem *pm);

/** Areas are numbered from 0, and each has as many bytes as the first but the last, which may be shorter. Do not block.
 */
uint32_t cairn_pmem_areas(const struct cairn_pmem *pm);
void *cairn_pmem_area(const struct cairn_pmem *pm, uint32_t i, uint64_t *bytes);

/** Makes [p, p+n) of an area or a record durable, drained. */
int cairn_pmem_persist(struct cairn_pmem *pm, const void *p, uint64_t n);

/** A record with a copy of these @n bytes: durable and there for the next start when it returns. *@record is its
 * memory. CAIRN_E_NOSPACE: no room for records. */
int cairn_pmem_record_add(struct cairn_pmem *pm, const void *bytes, uint64_t n, void **record);
/** Takes it away for good: durable when it returns. */
void cairn_pmem_record_del(struct cairn_pmem *pm, void *record);
/** Calls @fn for every record, which may take it away; not 0 ends the walk and is returned. @room is at least what was
 * asked for. */
int cairn_pmem_each(struct cairn_pmem *pm, int (*fn)(void *arg, void *record, uint64_t room), void *arg);

#endif
