/** What scripted nodes store, in order of keys. The caller sees to it that one thread at a time is here. */
#ifndef CAIRN_TESTS_SCRIPTED_VALUES_H
#define CAIRN_TESTS_SCRIPTED_VALUES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** A key stays when its value is dropped. */
struct scripted_value {
    uint8_t *key, *bytes; /* bytes NULL: it has no value any more */
    size_t key_len, len;
    uint32_t stores; /* how often it was put; the user may count more */
};

/** All of it zero: empty. */
struct scripted_values {
    struct scripted_value *all;
    size_t n, room;
};

void scripted_values_fini(struct scripted_values *x);
/** The key's place, or NULL if it never had a value; until the next put. */
struct scripted_value *scripted_values_find(const struct scripted_values *x, const void *key, size_t len);
/** Likewise, or NULL if it has no value now. */
struct scripted_value *scripted_values_get(const struct scripted_values *x, const void *key, size_t len);
void scripted_values_put(struct scripted_values *x, const void *key, size_t key_len, const void *bytes, size_t len);
void scripted_value_drop(struct scripted_value *v);
/** As memcmp(). */
int scripted_value_compare(const struct scripted_value *v, const void *key, size_t len);
bool scripted_value_begins(const struct scripted_value *v, const void *prefix, size_t len);

#endif
