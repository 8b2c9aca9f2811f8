/* What the files about KV databases share. */
#ifndef CAIRN_CLIENT_KV_INTERNAL_H
#define CAIRN_CLIENT_KV_INTERNAL_H

#include "cairn/kv.h"
#include "sdk/client/client_internal.h"

struct cairn_kv {
    struct cairn_handle h;
    uint32_t db;
};

#define KV_METHOD(method) CAIRN__WIRE__KV_METHOD__KV_##method

#endif
