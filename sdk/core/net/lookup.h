/** Addresses whose hosts' names are looked up by a thread, since the resolver takes the time it takes: seconds, where no
 * name server answers. */
#ifndef CAIRN_CORE_NET_LOOKUP_H
#define CAIRN_CORE_NET_LOOKUP_H

#include "sdk/core/net/addr.h"

#include <stdint.h>

enum { CAIRN_LOOKUP_MAX = 4, CAIRN_LOOKUP_THREADS_MAX = 16 };

/** Lookups of one user, of which CAIRN_LOOKUP_THREADS_MAX are under way at a time, those included for which it does not
 * wait any more. NULL: no memory. */
struct cairn_lookups;
struct cairn_lookups *cairn_lookups_new(void);
/** NULL: nothing. Threads that are still at it go on for themselves, so the code stays where it is (install.cmake). */
void cairn_lookups_free(struct cairn_lookups *all);

struct cairn_lookup;

/** Begins to look up @n addresses, at most CAIRN_LOOKUP_MAX, which are copied. NULL: not now: so many
 * are under way, or there is no memory or no thread. */
struct cairn_lookup *cairn_lookup_start(struct cairn_lookups *all, const char *const texts[], uint32_t n);
/** True: it is over, and those that are known are in @found, of CAIRN_LOOKUP_MAX, *@nfound of them, in order. Nobody is
 * told: whoever waits looks from time to time. */
bool cairn_lookup_is_over(const struct cairn_lookup *l, struct cairn_addr *found, uint32_t *nfound);
/** May be NULL. Nothing is waited for: a thread that is still at it goes on for itself, and ends with it. */
void cairn_lookup_drop(struct cairn_lookup *l);

#endif
