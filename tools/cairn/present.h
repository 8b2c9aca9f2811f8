/** The keys of a namespace in order, one step ahead: what a walk in the same order is compared with. */
#ifndef CAIRN_TOOLS_PRESENT_H
#define CAIRN_TOOLS_PRESENT_H

#include "tools/cairn/client.h"

struct present {
    struct cairn_iter *it;
    struct cairn_entry entry; /* the next key, if @any */
    bool any;
};

/** Goes one key on. 0 or CAIRN_E_*. */
int present_step(struct present *p);
/** As strcmp(), for keys. */
int present_compare(const void *a, size_t na, const void *b, size_t nb);
/** Whether @key is there, and how long its value is. Keys must be asked for in order. @passed, unless NULL, runs for
 * each key that was not asked for. */
int present_find(struct present *p, const char *key, size_t len, bool *found, uint64_t *size,
                 void (*passed)(void *arg, const struct cairn_entry *e), void *arg);

#endif
