/* The module's life, exposed memory, and what is counted. See bulk.h and, for the parts, bulk_internal.h. */
#include "sdk/core/bulk/bulk_internal.h"

#include <stdlib.h>
#include <string.h>

cairn_rpc_handler *const cairn_bulk_handlers[] = {
    [CAIRN__WIRE__BULK_METHOD__BULK_READ] = cairn_bulk__on_read,
    [CAIRN__WIRE__BULK_METHOD__BULK_WRITE] = cairn_bulk__on_write,
    [CAIRN__WIRE__BULK_METHOD__BULK_FABRIC] = cairn_bulk__on_fabric,
    [CAIRN__WIRE__BULK_METHOD__BULK_VM] = cairn_bulk__on_vm,
};

/* ---- peers: the RPC layer tells of them ---- */

static void on_peer_up(struct cairn_rpc_peer *peer)
{
    struct cairn_bulk *b = bulk_of(cairn_rpc_peer_rpc(peer));
    struct cairn_bulk_peer *bp;

    if (b == NULL)
        return;
    bp = calloc(1, sizeof(*bp));
    if (bp == NULL)
        return; /* frames need nothing of it */
    bp->bulk = b;
    bp->peer = peer;
    bp->refs = 1;
    cairn_list_add_tail(&b->peers, &bp->link);
    *cairn_rpc_peer_bulk(peer) = bp;
    cairn_bulk__vm_peer_up(bp);
}

static void on_peer_down(struct cairn_rpc_peer *peer)
{
    struct cairn_bulk *b = bulk_of(cairn_rpc_peer_rpc(peer));
    struct cairn_bulk_peer *bp = *cairn_rpc_peer_bulk(peer);

    if (b == NULL)
        return;
    CAIRN_LIST_FOREACH (l, &b->ops) {
        struct cairn_bulk_op *op = CONTAINER_OF(l, struct cairn_bulk_op, link);

        if (op->peer == peer)
            cairn_bulk__op_end(op, CAIRN_E_CLOSED);
    }
    cairn_bulk__vm_peer_down(b, peer); /* it may be a mover of ours though we had no memory for its own state */
    if (bp == NULL)
        return;
    *cairn_rpc_peer_bulk(peer) = NULL;
    bp->down = true;
    bp->ready = false;
    bp->vm_pull = bp->vm_push = false;
    cairn_task_cancel(&bp->vm_task);
    cairn_bulk__intro_abort(bp);
    cairn_list_del(&bp->link);
    cairn_bulk__peer_put(bp);
}

static const uint8_t *vm_cookie(struct cairn_rpc *rpc)
{
    const struct cairn_bulk *b = bulk_of(rpc);

    return b->conf.vm ? b->cookie : NULL; /* whoever knows it may copy our memory: it alone is the leave */
}

static const struct cairn_rpc_bulk_hooks bulk_hooks = { on_peer_up, on_peer_down, vm_cookie };

/* ---- the module ---- */

int cairn_bulk_attach(struct cairn_rpc *rpc, const struct cairn_bulk_conf *conf, struct cairn_err *err)
{
    struct cairn_bulk *b = calloc(1, sizeof(*b));

    CAIRN_ASSERT(bulk_of(rpc) == NULL);
    if (b == NULL)
        return cairn_err_set(err, CAIRN_E_NOMEM, "bulk transfers");
    b->rpc = rpc;
    b->loop = cairn_rpc_loop(rpc);
    b->conf = *conf;
    if (b->conf.fabric_after_bytes == 0)
        b->conf.fabric_after_bytes = BULK_FABRIC_AFTER_BYTES;
    for (size_t i = 0; i < BULK_COOKIE_BYTES; i += sizeof(uint64_t)) {
        uint64_t x = cairn_env_random(&b->loop->env);

        memcpy(b->cookie + i, &x, sizeof(x));
    }
    for (uint32_t i = 0; i < BULK_BUCKETS; i++)
        cairn_list_init(&b->buckets[i]);
    cairn_list_init(&b->areas);
    cairn_list_init(&b->ops);
    cairn_list_init(&b->peers);
    cairn_list_init(&b->movers);
    cairn_bulk__fabric_init(b);
    *cairn_rpc_bulk(rpc) = b;
    cairn_rpc_set_bulk_hooks(rpc, &bulk_hooks);
    return 0;
}

void cairn_bulk_detach(struct cairn_rpc *rpc)
{
    struct cairn_bulk *b = bulk_of(rpc);

    if (b == NULL)
        return;
    cairn_bulk__fabric_fini(b);
    cairn_bulk__ops_flush(b);
    CAIRN_ASSERT(cairn_list_is_empty(&b->ops));
    CAIRN_ASSERT(cairn_list_is_empty(&b->peers));
    CAIRN_ASSERT(cairn_list_is_empty(&b->areas));
    CAIRN_ASSERT(b->nexposed == 0);
    cairn_bulk__vm_forget(b);
    explicit_bzero(b->cookie, sizeof(b->cookie)); /* what lies here next is not ours to be copied */
    cairn_rpc_set_bulk_hooks(rpc, NULL);
    *cairn_rpc_bulk(rpc) = NULL;
    free(b);
}

/* ---- exposed memory ---- */

static struct cairn_link *region_bucket(struct cairn_bulk *b, uint64_t key)
{
    return &b->buckets[key % BULK_BUCKETS]; /* keys are random */
}

struct cairn_bulk_region *cairn_bulk__find(struct cairn_bulk *b, uint64_t key)
{
    CAIRN_LIST_FOREACH (l, region_bucket(b, key)) {
        struct cairn_bulk_region *r = CONTAINER_OF(l, struct cairn_bulk_region, link);

        if (r->desc.key == key)
            return r;
    }
    return NULL;
}

uint8_t *cairn_bulk__memory(struct cairn_bulk *b, uint64_t key, uint64_t off, uint64_t len, uint32_t right)
{
    struct cairn_bulk_region *r = cairn_bulk__find(b, key);

    if (r == NULL || (r->rights & right) == 0 || off > r->len || len > r->len - off)
        return NULL;
    return r->ptr + off;
}

static struct cairn_bulk_area *area_around(struct cairn_bulk *b, const uint8_t *ptr, uint64_t len)
{
    CAIRN_LIST_FOREACH (l, &b->areas) {
        struct cairn_bulk_area *a = CONTAINER_OF(l, struct cairn_bulk_area, link);

        if (ptr >= a->ptr && len <= a->len && (uint64_t)(ptr - a->ptr) <= a->len - len)
            return a;
    }
    return NULL;
}

int cairn_bulk_expose(struct cairn_rpc *rpc, void *ptr, uint64_t len, uint32_t rights, struct cairn_bulk_region *r)
{
    struct cairn_bulk *b = bulk_of(rpc);
    uint64_t key;

    *r = (struct cairn_bulk_region){ .ptr = ptr, .len = len, .rights = rights };
    cairn_list_init(&r->link);
    cairn__wire__bulk_desc__init(&r->desc);
    if (b == NULL || b->nexposed >= CAIRN_BULK_EXPOSED_MAX)
        return CAIRN_E_LIMIT;
    do
        key = cairn_env_random(&b->loop->env);
    while (key == 0 || cairn_bulk__find(b, key) != NULL);
    r->rpc = rpc;
    r->desc.key = key;
    r->desc.len = len;
    r->desc.addr = (uint64_t)(uintptr_t)ptr;
    r->desc.rights = rights;
    r->desc.live_addr = (uint64_t)(uintptr_t)&r->live;
    atomic_store(&r->live, key);
    r->area = area_around(b, ptr, len);
    if (r->area != NULL)
        r->area->regions++;
    cairn_bulk__region_register(b, r);
    cairn_list_add_tail(region_bucket(b, key), &r->link);
    b->nexposed++;
    return 0;
}

void cairn_bulk_settle(struct cairn_bulk_region *r)
{
    r->settled = true;
}

void cairn_bulk_conceal(struct cairn_bulk_region *r)
{
    struct cairn_bulk *b;

    if (r->rpc == NULL)
        return;
    b = bulk_of(r->rpc);
    atomic_store(&r->live, 0);
    cairn_list_del(&r->link); /* no frame finds it from here on */
    CAIRN_ASSERT(b->nexposed > 0);
    b->nexposed--;
    if (!r->settled) {
        if ((r->rights & CAIRN_BULK_CAN_WRITE) != 0)
            cairn_bulk__vm_wait(b, r->desc.key);
        /* Closing a registration refuses what comes; what a provider has begun to put there it finishes. */
        if (r->desc.fabric && b->told && b->fabric != NULL)
            cairn_bulk__fabric_kill(b, "memory was taken back from a call that had no answer");
    }
    cairn_fabric_mr_free(r->mr);
    r->mr = NULL;
    if (r->area != NULL)
        r->area->regions--;
    r->area = NULL;
    r->rpc = NULL;
    if (b->nexposed == 0)
        cairn_bulk__vm_forget(b);
}

int cairn_bulk_register(struct cairn_rpc *rpc, void *ptr, uint64_t len, struct cairn_bulk_area **area)
{
    struct cairn_bulk *b = bulk_of(rpc);
    struct cairn_bulk_area *a;

    *area = NULL;
    if (b == NULL || b->nareas >= CAIRN_BULK_AREAS_MAX)
        return CAIRN_E_LIMIT;
    a = calloc(1, sizeof(*a));
    if (a == NULL)
        return CAIRN_E_NOMEM;
    a->bulk = b;
    a->ptr = ptr;
    a->len = len;
    cairn_list_add_tail(&b->areas, &a->link);
    b->nareas++;
    *area = a; /* with the fabric, when the first region inside is exposed */
    return 0;
}

void cairn_bulk_unregister(struct cairn_bulk_area *a)
{
    if (a == NULL)
        return;
    CAIRN_ASSERT(a->regions == 0);
    cairn_fabric_mr_free(a->mr);
    cairn_list_del(&a->link);
    a->bulk->nareas--;
    free(a);
}

void cairn_bulk__peer_put(struct cairn_bulk_peer *bp)
{
    CAIRN_ASSERT(bp->refs > 0);
    if (--bp->refs > 0)
        return;
    cairn_bulk__fabric_forget_peer(bp); /* nothing of it flies: transfers hold references */
    free(bp);
}

/* ---- what is counted ---- */

const char *cairn_bulk_way_name(enum cairn_bulk_way way)
{
    static const char *const names[CAIRN_BULK_WAYS_NR] = {
        [CAIRN_BULK_AUTO] = "auto",     [CAIRN_BULK_VM] = "vm",     [CAIRN_BULK_FABRIC] = "fabric",
        [CAIRN_BULK_FRAMES] = "frames", [CAIRN_BULK_SELF] = "self",
    };

    return names[way];
}

const struct cairn_bulk_counters *cairn_bulk_counters(struct cairn_rpc *rpc)
{
    return &bulk_of(rpc)->counters;
}

static uint64_t count_of(const _Atomic uint64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

void cairn_bulk_stats_merge(struct cairn_bulk_stats *to, const struct cairn_bulk_counters *from)
{
    for (uint32_t i = 0; i < CAIRN_BULK_WAYS_NR; i++) {
        to->transfers[i] += count_of(&from->transfers[i]);
        to->bytes[i] += count_of(&from->bytes[i]);
    }
    to->failures += count_of(&from->failures);
    to->switches += count_of(&from->switches);
    to->introduced += count_of(&from->introduced);
    to->kills += count_of(&from->kills);
}

void cairn_bulk_stats(struct cairn_rpc *rpc, struct cairn_bulk_stats *to)
{
    const struct cairn_bulk *b = bulk_of(rpc);

    *to = (struct cairn_bulk_stats){ 0 };
    cairn_bulk_stats_merge(to, &b->counters);
    to->exposed = b->nexposed;
    to->running = b->nops;
}
