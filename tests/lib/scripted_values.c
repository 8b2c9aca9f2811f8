/* What scripted nodes store: see scripted_values.h. */
#include "tests/lib/scripted_values.h"

#include "sdk/core/base/macros.h"

#include <stdlib.h>
#include <string.h>

static void *copy_of(const void *p, size_t n)
{
    void *q = malloc(n + 1);

    CAIRN_ASSERT(q != NULL);
    if (n > 0)
        memcpy(q, p, n);
    return q;
}

void scripted_values_fini(struct scripted_values *x)
{
    for (size_t i = 0; i < x->n; i++) {
        free(x->all[i].key);
        free(x->all[i].bytes);
    }
    free(x->all);
    *x = (struct scripted_values){ 0 };
}

int scripted_value_compare(const struct scripted_value *v, const void *key, size_t len)
{
    int d = memcmp(v->key, key, MIN(v->key_len, len));

    return d != 0 ? d : (v->key_len > len) - (v->key_len < len);
}

bool scripted_value_begins(const struct scripted_value *v, const void *prefix, size_t len)
{
    return v->key_len >= len && (len == 0 || memcmp(v->key, prefix, len) == 0);
}

/* Where @key is or would be. */
static size_t place_of(const struct scripted_values *x, const void *key, size_t len)
{
    size_t lo = 0, hi = x->n;

    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;

        if (scripted_value_compare(&x->all[mid], key, len) < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

struct scripted_value *scripted_values_find(const struct scripted_values *x, const void *key, size_t len)
{
    size_t i = place_of(x, key, len);

    return i < x->n && scripted_value_compare(&x->all[i], key, len) == 0 ? &x->all[i] : NULL;
}

struct scripted_value *scripted_values_get(const struct scripted_values *x, const void *key, size_t len)
{
    struct scripted_value *v = scripted_values_find(x, key, len);

    return v != NULL && v->bytes != NULL ? v : NULL;
}

static struct scripted_value *value_add(struct scripted_values *x, const void *key, size_t len)
{
    struct scripted_value *v;
    size_t i = place_of(x, key, len);

    if (x->n == x->room) {
        x->room = MAX(2 * x->room, (size_t)64);
        x->all = realloc(x->all, x->room * sizeof(*x->all));
        CAIRN_ASSERT(x->all != NULL);
    }
    v = &x->all[i];
    memmove(v + 1, v, (x->n++ - i) * sizeof(*v));
    *v = (struct scripted_value){ .key = copy_of(key, len), .key_len = len };
    return v;
}

void scripted_values_put(struct scripted_values *x, const void *key, size_t key_len, const void *bytes, size_t len)
{
    struct scripted_value *v = scripted_values_find(x, key, key_len);

    if (v == NULL)
        v = value_add(x, key, key_len);
    free(v->bytes);
    v->bytes = copy_of(bytes, len);
    v->len = len;
    v->stores++;
}

void scripted_value_drop(struct scripted_value *v)
{
    free(v->bytes);
    v->bytes = NULL;
}
