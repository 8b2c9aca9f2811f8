/* How the replicated world's messages travel: as the bytes that repl_wire makes of them, read again at the other end.
 * What is sent here has to be taken there: a refusal is a defect of the codec. */
#include "tests/sim/repl_internal.h"

#include "schema/extent.pb-c.h"

#include <stdlib.h>
#include <string.h>

struct head {
    enum rw_kind kind;
    uint32_t body_len, payload_len, nothing; /* a trace has its bytes: no holes */
    uint64_t id;
};

static const ProtobufCMessageDescriptor *const types[] = {
    [RW_REGISTER] = &cairn__wire__cluster_register__descriptor,
    [RW_REGISTERED] = &cairn__wire__cluster_registered__descriptor,
    [RW_BEAT] = &cairn__wire__cluster_heartbeat__descriptor,
    [RW_GRANT] = &cairn__wire__cluster_grant__descriptor,
    [RW_PROPOSE] = &cairn__wire__cluster_change__descriptor,
    [RW_VERDICT] = &cairn__wire__cluster_verdict__descriptor,
    [RW_FETCH] = &cairn__wire__cluster_fetch__descriptor,
    [RW_RECORDS] = &cairn__wire__cluster_records__descriptor,
    [RW_PUBLISH] = &cairn__wire__cluster_records__descriptor,
    [RW_REGIONS] = &cairn__wire__cluster_regions__descriptor,
    [RW_REGION_READ] = &cairn__wire__cluster_region__descriptor,
    [RW_REGION] = &cairn__wire__extent_read_reply__descriptor,
};

void rw_must(int rc, const struct cairn_err *err)
{
    if (rc != 0)
        fprintf(stderr, "%s: %s\n", cairn_error_name(rc), err->text);
    CAIRN_ASSERT(rc == 0);
}

/* And deaf. */
static bool is_mute(const struct repl_world *rw, uint32_t i)
{
    return i > 0 && i <= rw->conf.nodes && rw->nodes[i].failed;
}

void rw_post(struct repl_world *rw, uint32_t from, uint32_t to, enum rw_kind kind, uint64_t id, const void *message,
             const struct iovec *payload, uint32_t n)
{
    struct head h = { .kind = kind, .id = id };
    uint8_t *bytes, *at;

    CAIRN_ASSERT((message != NULL) == (types[kind] != NULL));
    if (is_mute(rw, from)) {
        cairn_arena_reset(&rw->post);
        return;
    }
    h.body_len = message != NULL ? (uint32_t)protobuf_c_message_get_packed_size(message) : 0;
    for (uint32_t i = 0; i < n; i++)
        h.payload_len += (uint32_t)payload[i].iov_len;
    bytes = at = malloc(sizeof(h) + h.body_len + h.payload_len);
    CAIRN_ASSERT(bytes != NULL);
    memcpy(at, &h, sizeof(h));
    at += sizeof(h);
    if (message != NULL)
        at += protobuf_c_message_pack(message, at);
    for (uint32_t i = 0; i < n; i++) {
        memcpy(at, payload[i].iov_base, payload[i].iov_len);
        at += payload[i].iov_len;
    }
    world_send(rw->world, from, to, bytes, (size_t)(at - bytes));
    free(bytes);
    cairn_arena_reset(&rw->post);
}

void rw_post_call(struct repl_world *rw, uint32_t from, uint32_t to, const struct rw_call *call)
{
    struct head h = { .kind = RW_CALL };
    uint8_t bytes[sizeof(h) + sizeof(*call)];
    size_t len = offsetof(struct rw_call, record) + call->record_len;

    if (is_mute(rw, from))
        return;

    memcpy(bytes, &h, sizeof(h));
    memcpy(bytes + sizeof(h), call, len);
    world_send(rw->world, from, to, bytes, sizeof(h) + len);
}

void rw_deliver(void *arg, uint32_t to, uint32_t from, const uint8_t *bytes, size_t len)
{
    struct repl_world *rw = arg;
    struct rw_letter l = { .from = from };
    struct rw_call call = { 0 };
    struct head h;

    CAIRN_ASSERT(len >= sizeof(h));
    if (is_mute(rw, to))
        return;
    memcpy(&h, bytes, sizeof(h));
    bytes += sizeof(h);
    if (h.kind == RW_CALL) {
        memcpy(&call, bytes, len - sizeof(h));
        if (to > rw->conf.nodes)
            rw_client_receive(&rw->clients[to - rw->conf.nodes - 1], &call);
        else if (rw->nodes[to].registered)
            rw_node_call(&rw->nodes[to], &call);
        return;
    }
    l.kind = h.kind;
    l.id = h.id;
    if (types[h.kind] != NULL)
        l.message = protobuf_c_message_unpack(types[h.kind], NULL, h.body_len, bytes);
    l.payload = bytes + h.body_len;
    l.payload_len = h.payload_len;
    CAIRN_ASSERT((l.message != NULL) == (types[h.kind] != NULL));
    cairn_arena_init(&l.arena, 1 << 20);
    if (to == 0 || to > rw->conf.nodes)
        rw_map_receive(rw, to, &l);
    else
        rw_node_receive(&rw->nodes[to], &l);
    cairn_arena_reset(&l.arena);
    if (l.message != NULL)
        protobuf_c_message_free_unpacked(l.message, NULL);
}
