/* What the files about extents share. */
#ifndef CAIRN_CLIENT_EXTENT_INTERNAL_H
#define CAIRN_CLIENT_EXTENT_INTERNAL_H

#include "cairn/extent.h"
#include "sdk/client/client_internal.h"

struct cairn_extents {
    struct cairn_handle h;
};

#define X_METHOD(method) CAIRN__WIRE__EXTENT_METHOD__EXTENT_##method

/** An id into *call->out. */
void cairn__extent_id_answered(struct cairn_call *call);

#endif
