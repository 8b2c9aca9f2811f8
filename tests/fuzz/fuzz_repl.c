/* Messages of nodes and the coordinator, and records as a map store keeps them, from anybody: the first byte says which,
 * two more how long the message is; the payload is the rest. What is taken can be put again, and is then the same bytes
 * each time. */
#include "server/cluster/repl/repl_wire.h"
#include "server/cluster/service/scrub.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum {
    REGISTER,
    REGISTERED,
    HEARTBEAT,
    GRANT,
    RECORDS,
    CHANGE,
    VERDICT,
    SLOT,
    PROCESS,
    COMPARE,
    COMPARED,
    KINDS
};

static const ProtobufCMessageDescriptor *const types[KINDS] = {
    [REGISTER] = &cairn__wire__cluster_register__descriptor,
    [REGISTERED] = &cairn__wire__cluster_registered__descriptor,
    [HEARTBEAT] = &cairn__wire__cluster_heartbeat__descriptor,
    [GRANT] = &cairn__wire__cluster_grant__descriptor,
    [RECORDS] = &cairn__wire__cluster_records__descriptor,
    [CHANGE] = &cairn__wire__cluster_change__descriptor,
    [VERDICT] = &cairn__wire__cluster_verdict__descriptor,
    [COMPARE] = &cairn__wire__cluster_compare__descriptor,
    [COMPARED] = &cairn__wire__cluster_compared__descriptor,
};

/* What is told of a slot's keys is of the range that was asked for, or of the one key. */
static bool compared_is_good(const Cairn__Wire__ClusterCompared *m, const uint8_t *payload, size_t len)
{
    Cairn__Wire__ClusterCompare ask = CAIRN__WIRE__CLUSTER_COMPARE__INIT;

    ask.epoch = 1;
    ask.one = m->n_keys == 1 && (len > 0 || m->index.len > 0);
    if (ask.one)
        ask.upto = m->keys[0];
    if (!scrub_answer_is_good(&ask, m, payload, (uint32_t)len))
        return false;
    CAIRN_ASSERT(m->n_keys <= SCAN_KEYS_MAX && m->n_keys == m->n_states && m->n_keys == m->n_digests);
    for (size_t i = 0; i < m->n_keys; i++)
        CAIRN_ASSERT(m->keys[i].len > SCAN_NS_BYTES && m->keys[i].len <= SCAN_KEY_BYTES_MAX);
    return true;
}

/* The message that says what @w says, or NULL if @w is refused. */
static const void *read_and_put(int kind, const void *w, const uint8_t *payload, size_t len, struct cairn_arena *a)
{
    struct cairn_coord_process process = { 0 };
    struct cairn_coord_told told;
    struct cairn_wire_heartbeat beat;
    struct cairn_slot_record rec;
    struct cairn_wire_page page;
    struct cairn_wire_grant grant;
    enum cairn_verdict verdict;
    struct cairn_change change;
    struct cairn_err err;

    switch (kind) {
    case REGISTER:
        return cairn_wire_register_get(w, a, &process, &told, &err) != 0
                   ? NULL
                   : cairn_wire_register_put(&process, &told, a);
    case REGISTERED:
        return cairn_wire_registered_get(w, &process, &err) != 0 ? NULL : cairn_wire_registered_put(&process, a);
    case HEARTBEAT:
        return cairn_wire_heartbeat_get(w, &beat, &err) != 0 ? NULL : cairn_wire_heartbeat_put(&beat, a);
    case GRANT:
        return cairn_wire_grant_get(w, a, &grant, &err) != 0 ? NULL : cairn_wire_grant_put(&grant, a);
    case RECORDS:
        return cairn_wire_page_get(w, a, &page, &err) != 0 ? NULL : cairn_wire_page_put(&page, a);
    case CHANGE:
        return cairn_wire_change_get(w, &change, &err) != 0 ? NULL : cairn_wire_change_put(&change, a);
    case COMPARE: /* these are used as they are: there is nothing to be put again */
        (void)scrub_ask_is_good(w);
        return NULL;
    case COMPARED:
        (void)compared_is_good(w, payload, len);
        return NULL;
    default:
        return cairn_wire_verdict_get(w, &change, &verdict, &rec, &err) != 0
                   ? NULL
                   : cairn_wire_verdict_put(&change, verdict, &rec, a);
    }
}

static uint8_t *packed(const ProtobufCMessage *m, size_t *n)
{
    uint8_t *bytes;

    *n = protobuf_c_message_get_packed_size(m);
    bytes = malloc(*n + 1);
    CAIRN_ASSERT(bytes != NULL && *n <= CAIRN_FRAME_BODY_BYTES_MAX);
    protobuf_c_message_pack(m, bytes);
    return bytes;
}

/* Its bytes are read and put once more: they stay what they are. */
static void again(int kind, const ProtobufCMessage *put, const uint8_t *payload, size_t len)
{
    size_t n, n2;
    uint8_t *bytes = packed(put, &n), *bytes2;
    ProtobufCMessage *w = protobuf_c_message_unpack(types[kind], NULL, n, bytes);
    const ProtobufCMessage *put2;
    struct cairn_arena a;

    cairn_arena_init(&a, 8 << 20);
    CAIRN_ASSERT(w != NULL);
    put2 = read_and_put(kind, w, payload, len, &a);
    CAIRN_ASSERT(put2 != NULL);
    bytes2 = packed(put2, &n2);
    CAIRN_ASSERT(n == n2 && memcmp(bytes, bytes2, n) == 0);
    free(bytes2);
    free(bytes);
    protobuf_c_message_free_unpacked(w, NULL);
    cairn_arena_reset(&a);
}

static void try_message(int kind, const uint8_t *body, size_t n, const uint8_t *payload, size_t len)
{
    ProtobufCMessage *w = protobuf_c_message_unpack(types[kind], NULL, n, body);
    const ProtobufCMessage *put;
    struct cairn_arena a;

    if (w == NULL)
        return;
    cairn_arena_init(&a, 8 << 20);
    put = read_and_put(kind, w, payload, len, &a);
    if (put != NULL)
        again(kind, put, payload, len);
    cairn_arena_reset(&a);
    protobuf_c_message_free_unpacked(w, NULL);
}

static void try_record(int kind, const uint8_t *bytes, size_t n)
{
    uint8_t once[CAIRN_WIRE_RECORD_BYTES_MAX], twice[CAIRN_WIRE_RECORD_BYTES_MAX];
    struct cairn_coord_process process;
    struct cairn_slot_record rec;
    struct cairn_err err;
    size_t n2;

    if (kind == SLOT && cairn_wire_slot_unpack(bytes, n, &rec, &err) == 0) {
        n = cairn_wire_slot_pack(&rec, once);
        CAIRN_ASSERT(cairn_wire_slot_unpack(once, n, &rec, &err) == 0);
        n2 = cairn_wire_slot_pack(&rec, twice);
        CAIRN_ASSERT(n == n2 && memcmp(once, twice, n) == 0);
    }
    if (kind == PROCESS && cairn_wire_process_unpack(bytes, n, &process, &err) == 0) {
        n = cairn_wire_process_pack(&process, once);
        CAIRN_ASSERT(cairn_wire_process_unpack(once, n, &process, &err) == 0);
        n2 = cairn_wire_process_pack(&process, twice);
        CAIRN_ASSERT(n == n2 && memcmp(once, twice, n) == 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t n;
    int kind;

    if (size < 3)
        return 0;
    kind = data[0] % KINDS;
    n = MIN((size_t)(data[1] | data[2] << 8), size - 3);
    data += 3;
    size -= 3;
    if (kind == SLOT || kind == PROCESS)
        try_record(kind, data, size);
    else
        try_message(kind, data, n, data + n, size - n);
    return 0;
}
