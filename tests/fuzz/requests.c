/* Arbitrary request bodies: see requests.h. */
#include "tests/fuzz/requests.h"

#include "tests/lib/solo.h"

#include "sdk/core/bulk/bulk.h"
#include "sdk/core/rpc/rpc_internal.h"

#include "schema/kv.pb-c.h"
#include "schema/router.pb-c.h"

#include <stdlib.h>
#include <string.h>

enum { CALLS_MAX = 16 };

/* Handles of databases are drawn when they are made: in requests they are 1 and 2. */
enum { DBS = 2 };
static uint32_t handles[DBS];

static void on_done(struct cairn_rpc_call *call)
{
    (void)call;
}

static void on_opened(struct cairn_rpc_call *call)
{
    const Cairn__Wire__KvOpened *opened = (const Cairn__Wire__KvOpened *)call->reply;

    handles[opened->order == CAIRN__WIRE__KV_ORDER__KV_ORDER_UINT] = opened->db;
}

static const struct cairn_identity admin = { .admin = true }, user = { .uid = 1000, .gid = 1000 };
static uint8_t memory[64 << 10];
static struct cairn_bulk_region exposed; /* @memory */

static void run(struct solo *s, const struct cairn_rpc_target *t, uint32_t method, ProtobufCMessage *msg,
                const uint8_t *payload, size_t n, const struct cairn_identity *who,
                void (*done)(struct cairn_rpc_call *call))
{
    static struct cairn_rpc_call call;

    memset(&call, 0, sizeof(call));
    call.dest.rpc = solo_rpc(s);
    call.iface = t->iface;
    call.provider = t->id;
    call.method = (uint16_t)method;
    call.msg = msg;
    call.payload[0].iov_base = (void *)(uintptr_t)payload;
    call.payload[0].iov_len = n;
    call.payload_n = n > 0;
    call.timeout_ns = CAIRN_NS_PER_S;
    call.who = who;
    call.done = done;
    cairn_rpc_call_start(&call);
    solo_finish(s, &call);
}

/* Something to work on: without a database and a namespace most requests would end at the first check. */
static void prepare(struct solo *s)
{
    Cairn__Wire__KvOpen open = CAIRN__WIRE__KV_OPEN__INIT;
    Cairn__Wire__Namespace ns = CAIRN__WIRE__NAMESPACE__INIT;

    if (cairn_bulk_expose(solo_rpc(s), memory, sizeof(memory), CAIRN_BULK_CAN_READ | CAIRN_BULK_CAN_WRITE, &exposed) !=
        0)
        abort();
    if (solo_target(s, "kv") == NULL)
        return;
    open.name = (char *)(uintptr_t) "d";
    open.create = true;
    run(s, solo_target(s, "kv"), CAIRN__WIRE__KV_METHOD__KV_OPEN, &open.base, NULL, 0, &admin, on_opened);
    open.name = (char *)(uintptr_t) "numbers";
    open.order = CAIRN__WIRE__KV_ORDER__KV_ORDER_UINT;
    run(s, solo_target(s, "kv"), CAIRN__WIRE__KV_METHOD__KV_OPEN, &open.base, NULL, 0, &admin, on_opened);
    ns.name = (char *)(uintptr_t) "n";
    ns.kv = (char *)(uintptr_t) "kv";
    ns.extent = (char *)(uintptr_t) "extent";
    ns.mode = 0666;
    ns.durability = CAIRN__WIRE__DURABILITY__DURABILITY_MEMORY;
    run(s, solo_target(s, "router"), CAIRN__WIRE__ROUTER_METHOD__ROUTER_NS_CREATE, &ns.base, NULL, 0, &admin, on_done);
}

static void aim_at(uint32_t *db)
{
    if (*db >= 1 && *db <= DBS)
        *db = handles[*db - 1];
}

/* Puts handles where a request names a database by its number, and memory where it names that. */
static void aim(ProtobufCMessage *msg)
{
    const ProtobufCFieldDescriptor *f = protobuf_c_message_descriptor_get_field_by_name(msg->descriptor, "db");

    if (f != NULL && f->type == PROTOBUF_C_TYPE_UINT32)
        aim_at((uint32_t *)((uint8_t *)msg + f->offset));
    f = protobuf_c_message_descriptor_get_field_by_name(msg->descriptor, "bulk");
    if (f != NULL && f->descriptor == &cairn__wire__bulk_desc__descriptor) {
        Cairn__Wire__BulkDesc *d = *(Cairn__Wire__BulkDesc **)((uint8_t *)msg + f->offset);

        if (d != NULL && d->key == 1)
            d->key = exposed.desc.key;
    }
    if (msg->descriptor == &cairn__wire__kv_apply__descriptor) {
        Cairn__Wire__KvApply *m = (Cairn__Wire__KvApply *)msg;

        for (size_t i = 0; i < m->n_dbs; i++)
            aim_at(&m->dbs[i]);
    }
}

int fuzz_requests(const char *yaml, const char *provider, const uint8_t *data, size_t size)
{
    static struct solo *solo;
    const struct cairn_rpc_target *t;

    if (solo == NULL) {
        solo = solo_new(yaml);
        prepare(solo);
    }
    t = solo_target(solo, provider);
    for (int i = 0; size >= 4 && i < CALLS_MAX; i++) {
        uint32_t method = data[0] % t->iface->nmethods;
        const struct cairn_identity *who = data[0] / t->iface->nmethods % 2 == 0 ? &admin : &user;
        size_t body = MIN((size_t)(data[1] | data[2] << 8), size - 4);
        size_t payload = MIN((size_t)data[3] * 16, size - 4 - body);
        struct cairn_arena arena;
        ProtobufCAllocator alloc;
        ProtobufCMessage *msg;

        cairn_arena_init(&arena, 8 << 20);
        alloc = cairn_rpc_arena_allocator(&arena);
        msg = protobuf_c_message_unpack(t->iface->methods[method].request, &alloc, body, data + 4);
        if (msg != NULL && t->handlers[method] != NULL) {
            aim(msg);
            run(solo, t, method, msg, data + 4 + body, payload, who, on_done);
        }
        cairn_arena_reset(&arena);
        data += 4 + body + payload;
        size -= 4 + body + payload;
    }
    return 0;
}
