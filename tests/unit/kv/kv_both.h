/* Stories that run against both engines, each with a store that is open: BOTH(). */
#ifndef CAIRN_TESTS_KV_BOTH_H
#define CAIRN_TESTS_KV_BOTH_H

#include "tests/unit/kv/kv_fixture.h"

static inline int open_memory(void **state)
{
    struct fx *fx = malloc(sizeof(*fx));

    fx_prepare(fx, &cairn_kv_store_memory);
    fx_open(fx);
    *state = fx;
    return 0;
}

static inline int open_rocksdb(void **state)
{
    struct fx *fx = malloc(sizeof(*fx));

    fx_prepare(fx, &cairn_kv_store_rocksdb);
    fx_open(fx);
    *state = fx;
    return 0;
}

static inline int close_store(void **state)
{
    struct fx *fx = *state;

    fx_close(fx);
    fx_remove(fx);
    free(fx);
    return 0;
}

#define BOTH(f)                                                                                                        \
    { #f " (memory)", f, open_memory, close_store, NULL },                                                             \
    {                                                                                                                  \
#f " (rocksdb)", f, open_rocksdb, close_store, NULL                                                            \
    }

#endif
