/* What the files about hashed namespaces share. */
#ifndef CAIRN_CLIENT_HASHED_INTERNAL_H
#define CAIRN_CLIENT_HASHED_INTERNAL_H

#include "cairn/hashed.h"
#include "sdk/client/client_internal.h"

struct cairn_ns {
    struct cairn_handle h;
    uint32_t embed_threshold;
    char name[];
};

/** Makes call->rq a PUT of @value, as payload or exposed; checksums are the caller's business. */
void cairn__hashed_put_request(struct cairn_call *call, const struct cairn_ns *ns, const void *key, size_t key_len,
                               const void *value, size_t len, bool if_absent);
/** Makes call->rq a GET into call->sink. */
void cairn__hashed_get_request(struct cairn_call *call, const struct cairn_ns *ns, const void *key, size_t key_len);
void cairn__hashed_get_answered(struct cairn_call *call);

#endif
