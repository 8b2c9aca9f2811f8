/* Whether a key is there, on which an entry's result depends: LOOK of store_apply.c.
 *
 * The index is asked, which names each key that has a record, and whose PUT that was; where its row cannot be read, the
 * record. So one bad block of the engine's keeps no entry from its result. Of a key of which neither can be read
 * nothing is known here: its entry is refused. */
#include "server/cluster/service/store_internal.h"

#include "sdk/core/base/log.h"

static void look_over(struct store_apply *a, bool puts, int32_t result)
{
    a->looked.known = true;
    a->looked.puts = puts;
    a->looked.result = result;
    cairn_sm_move(&a->sm, APPLY_IDLE);
    store_apply_later(a);
}

/* Said of a slot when there was no such refusal for a while: whoever wants such a key may come again and again. */
static void refuse(struct store_apply *a)
{
    struct cluster_store *st = store_apply_store(a);
    struct store_slot *s = a->looked.s;
    uint64_t now = cairn_env_now_ns(&st->loop->env);

    if (s->unreadable_ns == 0 || now - s->unreadable_ns >= STORE_RECENTLY_NS)
        cairn_log_error("slot %u: neither a record nor its row of the index can be read, so what depends on them is "
                        "refused; a scrub repairs them if another replica has them",
                        s->slot);
    s->unreadable_ns = now;
    atomic_store(&st->troubles.unreadable_ns, now);
    atomic_fetch_add(&st->troubles.unreadable, 1);
    look_over(a, false, CAIRN_E_CORRUPT);
}

static void on_record(struct cairn_rpc_call *call)
{
    struct store_apply *a = call->arg;
    struct cluster_store *st = store_apply_store(a);

    if (!store_call_over(st))
        return;
    if (store_is_unreadable(call->rc)) {
        refuse(a);
    } else if (call->rc == CAIRN_E_NOTFOUND) { /* the database is: it was removed */
        store_ns_forget(st);
        cairn_sm_move(&a->sm, APPLY_IDLE);
        store_apply_later(a);
    } else if (call->rc != 0) {
        store_apply_pause(a, call->rc);
    } else if (!((const Cairn__Wire__KvExists *)call->reply)->exists) {
        look_over(a, true, 0);
    } else { /* whose it is cannot be read, which matters to whoever has no session */
        look_over(a, false, a->looked.number == 0 ? CAIRN_E_EXISTS : CAIRN_E_CORRUPT);
    }
}

static void look_at_record(struct store_apply *a)
{
    a->msg.get.db = a->looked.db;
    a->msg.get.key = (ProtobufCBinaryData){ .len = a->looked.key_len - STORE_INDEX_HEAD_BYTES,
                                            .data = a->looked.key + STORE_INDEX_HEAD_BYTES };
    store_call(store_apply_store(a), &a->call, CAIRN__WIRE__KV_METHOD__KV_EXISTS, &a->msg.get.base, on_record, a,
               &a->err);
}

static void on_row(struct cairn_rpc_call *call)
{
    struct store_apply *a = call->arg;
    uint64_t number = a->looked.number;

    if (!store_call_over(store_apply_store(a)))
        return;
    if (store_is_unreadable(call->rc) || (call->rc == 0 && call->reply_payload_len != STORE_INDEX_VALUE_BYTES))
        look_at_record(a);
    else if (call->rc == CAIRN_E_NOTFOUND)
        look_over(a, true, 0);
    else if (call->rc != 0)
        store_apply_pause(a, call->rc);
    else if (number != 0 && cairn_le_load64(call->reply_payload + 1) == number) /* whoever repeats his own PUT */
        look_over(a, false, 0);
    else
        look_over(a, false, CAIRN_E_EXISTS);
}

void store_look_start(struct store_apply *a, struct store_slot *s, uint64_t pos, const struct store_body *b,
                      uint32_t db)
{
    const struct cairn_log_entry *e = store_apply_store(a)->conf.ops->entry(s, pos);

    a->looked.s = s;
    a->looked.pos = pos;
    a->looked.db = db;
    a->looked.number = e->rid.session.pos == 0 ? e->rid.seq : 0;
    a->looked.known = false;
    store_be32(a->looked.key, s->slot);
    store_be32(a->looked.key + 4, b->ns);
    memcpy(a->looked.key + STORE_INDEX_HEAD_BYTES, b->key, b->key_len);
    a->looked.key_len = STORE_INDEX_HEAD_BYTES + b->key_len;
    cairn__wire__kv_get__init(&a->msg.get);
    a->msg.get.db = store_apply_store(a)->index_db;
    a->msg.get.key = (ProtobufCBinaryData){ .len = a->looked.key_len, .data = a->looked.key };
    cairn_sm_move(&a->sm, APPLY_LOOK);
    store_call(store_apply_store(a), &a->call, CAIRN__WIRE__KV_METHOD__KV_GET, &a->msg.get.base, on_row, a, &a->err);
}
