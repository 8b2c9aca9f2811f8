/* Who put a write-once key: its row of the index bears the number. */
#include "server/cluster/service/store_internal.h"

#include <stdlib.h>

struct store_who {
    struct cluster_store *st;
    void (*done)(void *arg, int rc, uint64_t number); /* NULL: nobody waits any more */
    void *arg;
    Cairn__Wire__KvGet msg;
    struct cairn_rpc_call call;
    struct cairn_err err;
    uint8_t key[]; /* of the index */
};

static void on_told(struct cairn_rpc_call *call)
{
    struct store_who *x = call->arg;
    uint64_t number = 0;
    int rc = call->rc;

    if (rc == 0 && call->reply_payload_len != STORE_INDEX_VALUE_BYTES)
        rc = CAIRN_E_CORRUPT;
    if (rc == 0)
        number = cairn_le_load64(call->reply_payload + 1);
    if (store_call_over(x->st) && x->done != NULL)
        x->done(x->arg, rc, number);
    free(x);
}

struct store_who *cluster_store_who(struct cluster_store *st, uint32_t slot, uint32_t ns, const uint8_t *key,
                                    uint32_t key_len, void (*done)(void *arg, int rc, uint64_t number), void *arg)
{
    struct store_who *x = calloc(1, sizeof(*x) + STORE_INDEX_HEAD_BYTES + key_len);

    if (x == NULL)
        return NULL;
    x->st = st;
    x->done = done;
    x->arg = arg;
    store_be32(x->key, slot);
    store_be32(x->key + 4, ns);
    memcpy(x->key + STORE_INDEX_HEAD_BYTES, key, key_len);
    cairn__wire__kv_get__init(&x->msg);
    x->msg.db = st->index_db;
    x->msg.key = (ProtobufCBinaryData){ .len = STORE_INDEX_HEAD_BYTES + key_len, .data = x->key };
    store_call(st, &x->call, CAIRN__WIRE__KV_METHOD__KV_GET, &x->msg.base, on_told, x, &x->err);
    return x;
}

void cluster_store_who_forget(struct store_who *x)
{
    x->done = NULL;
}
