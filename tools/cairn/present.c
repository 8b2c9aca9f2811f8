#include "tools/cairn/present.h"

#include <string.h>

int present_step(struct present *p)
{
    int rc = cairn_iter_next(p->it, &p->entry);
    p->any = rc > 0;
    return MIN(rc, 0);
}

int present_compare(const void *a, size_t na, const void *b, size_t nb)
{
    int c = memcmp(a, b, MIN(na, nb));
    return c != 0 ? c : na < nb ? -1 : na > nb;
}

int present_find(struct present *p, const char *key, size_t len, bool *found, uint64_t *size,
                 void (*passed)(void *arg, const struct cairn_entry *e), void *arg)
{
    int c = -1, rc = 0;
    while (p->any && (c = present_compare(p->entry.key, p->entry.key_len, key, len)) < 0 && rc == 0) {
        if (passed != NULL)
            passed(arg, &p->entry);
        rc = present_step(p);
    }
    *found = rc == 0 && p->any && c == 0;
    *size = *found ? p->entry.value_len : 0;
    if (*found && passed != NULL)
        rc = present_step(p); /* asked for, so not passed over */
    return rc;
}
