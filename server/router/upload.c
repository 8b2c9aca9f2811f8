/* The table of uploads: see upload.h. */
#include "server/router/upload.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct router_upload {
    struct cairn_link link; /* of uploads.all; on no list once it is gone */
    uint64_t id;
    uint32_t ns;
    uid_t uid;
    const struct cairn_rpc_target *extent;
    char ns_name[CAIRN_NAME_BYTES_MAX + 1];
    uint64_t expires_ns, bytes;
    uint32_t users; /* operations that hold it: it does not expire meanwhile */
    bool committing, gone, clustered;
    bool unwanted; /* it was to be aborted amid its COMMIT: nobody waits for that, nor comes again if it fails */
    uint64_t lead; /* clustered: it is of no use any more when another has led its slot since */
    struct cairn_record_region *regions; /* by number of the part; len 0: not announced, id 0: on its way */
    uint32_t nregions, room;
};

int router_uploads_init(struct cairn_router *r)
{
    cairn_list_init(&r->uploads.all);
    pthread_mutex_init(&r->uploads.mutex, NULL);
    return router_reap_init(r);
}

static void upload_free(struct router_upload *u)
{
    CAIRN_ASSERT(u->users == 0);
    free(u->regions);
    free(u);
}

void router_uploads_fini(struct cairn_router *r)
{
    struct cairn_link *l;

    router_reap_free(r);
    while ((l = cairn_list_pop(&r->uploads.all)) != NULL)
        upload_free(CONTAINER_OF(l, struct router_upload, link));
    pthread_mutex_destroy(&r->uploads.mutex);
}

void router_uploads_status(struct cairn_router *r, json_t *to)
{
    uint64_t bytes = 0;
    uint32_t n;

    pthread_mutex_lock(&r->uploads.mutex);
    n = r->uploads.n;
    CAIRN_LIST_FOREACH (l, &r->uploads.all)
        bytes += CONTAINER_OF(l, struct router_upload, link)->bytes;
    pthread_mutex_unlock(&r->uploads.mutex);
    json_object_set_new(to, "uploads", json_integer((json_int_t)n));
    json_object_set_new(to, "upload_bytes", json_integer((json_int_t)bytes));
}

/* ---- under the mutex ---- */

/* Out of the table; freed with its last user. */
static void upload_remove(struct cairn_router *r, struct router_upload *u)
{
    cairn_list_del(&u->link);
    r->uploads.n--;
    u->gone = true;
    if (u->users == 0)
        upload_free(u);
}

static void upload_put(struct router_upload *u)
{
    CAIRN_ASSERT(u->users > 0);
    u->users--;
    if (u->users == 0 && u->gone)
        upload_free(u);
}

static uint64_t upload_time(const struct router_op *op, uint32_t ms)
{
    return cairn_loop_now(op->w->loop) + ms * CAIRN_NS_PER_MS;
}

static struct router_upload *upload_find(const struct router_op *op, uint64_t id)
{
    CAIRN_LIST_FOREACH (l, &op->w->router->uploads.all) {
        struct router_upload *u = CONTAINER_OF(l, struct router_upload, link);

        if (u->id == id && u->ns == op->ns->id && u->uid == op->rq->who->uid)
            return u;
    }
    return NULL;
}

static int upload_not_found(struct router_op *op)
{
    return cairn_err_set(&op->err, CAIRN_E_NOTFOUND,
                         "the value's parts are not there: another's, used up, aborted, or no part came for %" PRIu32
                         " s",
                         op->w->router->conf.upload_ttl_ms / 1000);
}

/* Whether @op's namespace may have so many bytes more; @fresh: in one upload more. */
static int upload_fits(struct router_op *op, uint64_t len, bool fresh)
{
    const struct cairn_router *r = op->w->router;
    uint64_t bytes = len;
    uint32_t n = 0;

    CAIRN_LIST_FOREACH (l, &r->uploads.all) {
        const struct router_upload *u = CONTAINER_OF(l, const struct router_upload, link);

        if (u->ns == op->ns->id) {
            bytes += u->bytes;
            n++;
        }
    }
    if (fresh && (n >= CAIRN_ROUTER_UPLOADS_OF_NS_MAX || r->uploads.n >= CAIRN_ROUTER_UPLOADS_MAX))
        return cairn_err_set(&op->err, CAIRN_E_LIMIT,
                             "%" PRIu32 " values are coming in parts, %" PRIu32 " of them here; at most %d and %d may",
                             r->uploads.n, n, CAIRN_ROUTER_UPLOADS_MAX, CAIRN_ROUTER_UPLOADS_OF_NS_MAX);
    if (bytes > r->conf.upload_bytes_max)
        return cairn_err_set(&op->err, CAIRN_E_LIMIT,
                             "values that are coming in parts would have %" PRIu64 " bytes, at most %" PRIu64 " may",
                             bytes, r->conf.upload_bytes_max);
    return 0;
}

static struct router_upload *upload_new(struct router_op *op, uint64_t id)
{
    struct router_upload *u = calloc(1, sizeof(*u));

    if (u == NULL)
        return NULL;
    u->id = id;
    u->ns = op->ns->id;
    u->uid = op->rq->who->uid;
    u->extent = op->ns->extent;
    u->clustered = op->ns->clustered;
    u->lead = op->leave;
    snprintf(u->ns_name, sizeof(u->ns_name), "%s", op->ns->name);
    cairn_list_add_tail(&op->w->router->uploads.all, &u->link);
    op->w->router->uploads.n++;
    return u;
}

static int upload_grow(struct router_upload *u, uint32_t n)
{
    struct cairn_record_region *grown;
    uint32_t room = MAX(MIN(u->room * 2, (uint32_t)CAIRN_ROUTER_REGIONS_MAX), n);

    if (n > u->room) {
        grown = realloc(u->regions, room * sizeof(grown[0]));
        if (grown == NULL)
            return CAIRN_E_NOMEM;
        memset(grown + u->room, 0, (room - u->room) * sizeof(grown[0]));
        u->regions = grown;
        u->room = room;
    }
    u->nregions = MAX(u->nregions, n);
    return 0;
}

static int part_begin(struct router_op *op, uint64_t id, uint32_t number, uint64_t len)
{
    struct router_upload *u = upload_find(op, id);
    bool fresh;
    int rc;

    if (u != NULL && u->lead != op->leave) { /* its parts are the sweeper's; the COMMIT will miss them */
        if (u->users > 0)
            return cairn_err_set(&op->err, CAIRN_E_BUSY, "of an earlier time as leader something is on its way yet");
        upload_remove(op->w->router, u);
        u = NULL;
    }
    fresh = u == NULL;
    if (!fresh && u->committing)
        return cairn_err_set(&op->err, CAIRN_E_STATE, "the value is being committed: it takes no more parts");
    if (!fresh && number < u->nregions && u->regions[number].len != 0 && u->regions[number].id == 0 && u->clustered)
        return cairn_err_set(&op->err, CAIRN_E_BUSY, "part %" PRIu32 " is on its way", number);
    if (!fresh && number < u->nregions && u->regions[number].len != 0)
        return cairn_err_set(&op->err, CAIRN_E_EXISTS, "part %" PRIu32 " is there already", number);
    rc = upload_fits(op, len, fresh);
    if (rc != 0)
        return rc;
    if (fresh)
        u = upload_new(op, id);
    if (u == NULL)
        return CAIRN_E_NOMEM;
    rc = upload_grow(u, number + 1);
    if (rc != 0) {
        if (fresh)
            upload_remove(op->w->router, u);
        return rc;
    }
    u->regions[number].len = (uint32_t)len;
    u->bytes += len;
    u->users++;
    u->expires_ns = upload_time(op, op->w->router->conf.upload_ttl_ms);
    op->upload = u;
    op->upload_part = number;
    return 0;
}

/* Whether the upload's regions are @parts parts of a value of @length bytes. */
static int commit_check(struct router_op *op, const struct router_upload *u, uint32_t parts, uint64_t length)
{
    uint64_t sum = 0;

    if (u->users > 0) /* a repetition may come before the first try has ended */
        return cairn_err_set(&op->err, u->clustered ? CAIRN_E_BUSY : CAIRN_E_STATE,
                             u->committing ? "it is being committed already" : "parts of it are still on their way");
    for (uint32_t i = 0; i < u->nregions; i++) {
        if (u->regions[i].id == 0)
            return cairn_err_set(&op->err, CAIRN_E_INVAL, "part %" PRIu32 " is missing", i);
        if (i + 1 < u->nregions && u->regions[i].len % CAIRN_EXTENT_CHUNK_BYTES != 0)
            return cairn_err_set(&op->err, CAIRN_E_INVAL,
                                 "part %" PRIu32 " has %" PRIu32 " bytes: no multiple of %d, and not the last", i,
                                 u->regions[i].len, CAIRN_EXTENT_CHUNK_BYTES);
        sum += u->regions[i].len;
    }
    if (u->nregions != parts || sum != length)
        return cairn_err_set(&op->err, CAIRN_E_INVAL,
                             "%" PRIu32 " parts with %" PRIu64 " bytes are there, not %" PRIu32 " with %" PRIu64,
                             u->nregions, sum, parts, length);
    return 0;
}

/* Another has led the slot since its first part, and has perhaps said for good that there was no COMMIT of it: then
 * there must never be one. The entry itself is fenced likewise, for a COMMIT takes its time (cairn_cluster_write()). */
static bool upload_is_void(const struct router_op *op, const struct router_upload *u)
{
    uint64_t lead;

    return u->clustered && cairn_cluster_read_begin(op->w->router->conf.cluster, op->slot, &lead) == 0 &&
           lead != u->lead;
}

static int commit_begin(struct router_op *op, uint64_t id, uint32_t parts, uint64_t length)
{
    struct router_upload *u = upload_find(op, id);
    int rc;

    if (u == NULL || upload_is_void(op, u))
        return upload_not_found(op);
    rc = commit_check(op, u, parts, length);
    if (rc != 0)
        return rc;
    op->regions = malloc(parts * sizeof(op->regions[0]));
    if (op->regions == NULL)
        return CAIRN_E_NOMEM;
    memcpy(op->regions, u->regions, parts * sizeof(op->regions[0]));
    op->nregions = parts;
    u->committing = true;
    u->users++;
    op->upload = u;
    op->upload_part = UPLOAD_COMMIT;
    op->leave = u->lead;
    return 0;
}

/* The regions of the parts that are there: malloc'ed. False for memory. */
static bool upload_ids(const struct router_upload *u, uint64_t **ids, uint32_t *n)
{
    *n = 0;
    *ids = malloc((u->nregions + 1) * sizeof(**ids));
    if (*ids == NULL)
        return false;
    for (uint32_t i = 0; i < u->nregions; i++) {
        if (u->regions[i].id != 0)
            (*ids)[(*n)++] = u->regions[i].id;
    }
    return true;
}

static int abort_begin(struct router_op *op, uint64_t id)
{
    struct router_upload *u = upload_find(op, id);

    if (u == NULL)
        return upload_not_found(op);
    if (u->committing) {
        u->unwanted = true;
        return cairn_err_set(&op->err, CAIRN_E_STATE, "it is being committed");
    }
    if (!upload_ids(u, &op->old, &op->nold))
        return CAIRN_E_NOMEM;
    upload_remove(op->w->router, u);
    return 0;
}

/* ---- for operations ---- */

int router_upload_part(struct router_op *op, uint64_t id, uint32_t number, uint64_t len)
{
    struct cairn_router *r = op->w->router;
    uint64_t max = router_region_bytes(r, op->ns);
    int rc;

    if (number >= CAIRN_ROUTER_REGIONS_MAX || len == 0 || len > max)
        return cairn_err_set(&op->err, CAIRN_E_INVAL,
                             "part %" PRIu32 " of %" PRIu64 " bytes: at most %d parts of 1 to %" PRIu64 " are possible",
                             number, len, CAIRN_ROUTER_REGIONS_MAX, max);
    pthread_mutex_lock(&r->uploads.mutex);
    rc = part_begin(op, id, number, len);
    pthread_mutex_unlock(&r->uploads.mutex);
    if (rc == 0)
        router_reap_wake(r);
    return rc;
}

bool router_upload_keep(struct router_op *op, uint64_t region)
{
    struct cairn_router *r = op->w->router;
    struct router_upload *u = op->upload;
    bool kept;

    pthread_mutex_lock(&r->uploads.mutex);
    kept = !u->gone;
    u->regions[op->upload_part].id = region;
    u->expires_ns = MAX(u->expires_ns, upload_time(op, r->conf.upload_ttl_ms));
    upload_put(u);
    pthread_mutex_unlock(&r->uploads.mutex);
    op->upload = NULL;
    return kept;
}

int router_upload_commit(struct router_op *op, uint64_t id, uint32_t parts, uint64_t length)
{
    struct cairn_router *r = op->w->router;
    int rc;

    pthread_mutex_lock(&r->uploads.mutex);
    rc = commit_begin(op, id, parts, length);
    pthread_mutex_unlock(&r->uploads.mutex);
    return rc;
}

int router_upload_abort(struct router_op *op, uint64_t id)
{
    struct cairn_router *r = op->w->router;
    int rc;

    pthread_mutex_lock(&r->uploads.mutex);
    rc = abort_begin(op, id);
    pthread_mutex_unlock(&r->uploads.mutex);
    return rc;
}

void router_upload_leave(struct router_op *op)
{
    struct cairn_router *r = op->w->router;
    struct router_upload *u = op->upload;

    pthread_mutex_lock(&r->uploads.mutex);
    if (op->upload_part != UPLOAD_COMMIT) {
        u->bytes -= u->regions[op->upload_part].len;
        u->regions[op->upload_part].len = 0;
    } else {
        u->committing = false;
        if (op->upload_spent)
            upload_remove(r, u);
    }
    u->expires_ns = u->unwanted ? 0 : upload_time(op, r->conf.upload_grace_ms);
    upload_put(u);
    pthread_mutex_unlock(&r->uploads.mutex);
    op->upload = NULL;
    router_reap_wake(r);
}

/* ---- for others ---- */

void router_uploads_expire(struct cairn_router *r, uint32_t ns)
{
    bool any = false;

    pthread_mutex_lock(&r->uploads.mutex);
    CAIRN_LIST_FOREACH (l, &r->uploads.all) {
        struct router_upload *u = CONTAINER_OF(l, struct router_upload, link);

        if (u->ns == ns) {
            u->expires_ns = 0;
            any = true;
        }
    }
    pthread_mutex_unlock(&r->uploads.mutex);
    if (any)
        router_reap_wake(r);
}

void router_uploads_each(struct cairn_router *r, const struct cairn_rpc_target *target,
                         void (*fn)(void *arg, uint64_t region), void *arg)
{
    pthread_mutex_lock(&r->uploads.mutex);
    CAIRN_LIST_FOREACH (l, &r->uploads.all) {
        const struct router_upload *u = CONTAINER_OF(l, const struct router_upload, link);

        for (uint32_t i = 0; u->extent == target && i < u->nregions; i++) {
            if (u->regions[i].id != 0)
                fn(arg, u->regions[i].id);
        }
    }
    pthread_mutex_unlock(&r->uploads.mutex);
}

bool router_uploads_take_expired(struct cairn_router *r, uint64_t now_ns, struct router_expired *x, uint64_t *next_ns)
{
    bool taken = false;

    *next_ns = UINT64_MAX;
    pthread_mutex_lock(&r->uploads.mutex);
    CAIRN_LIST_FOREACH_SAFE (l, &r->uploads.all) {
        struct router_upload *u = CONTAINER_OF(l, struct router_upload, link);

        /* One that is in use is looked at again when it is not: router_upload_keep() moves its time on, or
         * router_upload_leave() wakes the reaper. */
        if (u->expires_ns > now_ns || u->users > 0) {
            *next_ns = MIN(*next_ns, MAX(u->expires_ns, now_ns + CAIRN_NS_PER_MS * r->conf.upload_grace_ms));
            continue;
        }
        if (u->clustered) { /* what it has is named by nothing now, or by a log: the sweeper sees which */
            upload_remove(r, u);
            continue;
        }
        if (!upload_ids(u, &x->ids, &x->nids))
            continue; /* some other time */
        x->extent = u->extent;
        snprintf(x->ns, sizeof(x->ns), "%s", u->ns_name);
        upload_remove(r, u);
        taken = true;
        break;
    }
    pthread_mutex_unlock(&r->uploads.mutex);
    return taken;
}
