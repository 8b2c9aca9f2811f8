/* Views that callers have opened: see kv_snapshot.h. */
#include "providers/kv/kv_snapshot.h"

#include <stdlib.h>
#include <sys/random.h>

enum { RELEASE_GATHER_MS = 1000 }; /* views that end are often several */

/* Takes a view out that is over, or with @all any; NULL: none is left. */
static void *take_over(struct kv_snapshots *s, bool all)
{
    void *view = NULL;

    pthread_mutex_lock(&s->mutex);
    for (uint32_t i = 0; i < s->max && view == NULL; i++) {
        struct kv_snapshot *snap = &s->slots[i];

        if (snap->users > 0 || (snap->id != 0 && !all))
            continue;
        view = snap->view;
        *snap = (struct kv_snapshot){ 0 };
    }
    pthread_mutex_unlock(&s->mutex);
    return view;
}

static void release_all(struct kv_snapshots *s, bool all)
{
    void *view;

    while ((view = take_over(s, all)) != NULL)
        s->ops->snapshot_close(s->store, view);
}

static void on_release(void *arg)
{
    release_all(arg, false);
}

int kv_snapshots_init(struct kv_snapshots *s, const struct cairn_kv_store_ops *ops, struct cairn_kv_store *store,
                      uint32_t max, uint64_t idle_ns)
{
    CAIRN_ASSERT(max > 0 && max <= KV_SNAPSHOTS_MAX);
    *s = (struct kv_snapshots){ .ops = ops, .store = store, .max = max, .idle_ns = idle_ns };
    s->slots = calloc(max, sizeof(s->slots[0]));
    if (s->slots == NULL)
        return CAIRN_E_NOMEM;
    /* Numbers of an earlier life find nothing: they begin somewhere. */
    if (getrandom(&s->next, sizeof(s->next), 0) != sizeof(s->next))
        s->next = 0;
    s->next %= UINT64_MAX / KV_SNAPSHOTS_MAX / 2;
    pthread_mutex_init(&s->mutex, NULL);
    cairn_errand_init(&s->release, RELEASE_GATHER_MS, on_release, s);
    return 0;
}

void kv_snapshots_fini(struct kv_snapshots *s)
{
    cairn_errand_fini(&s->release);
    release_all(s, true);
    for (uint32_t i = 0; i < s->max; i++)
        CAIRN_ASSERT(s->slots[i].users == 0);
    pthread_mutex_destroy(&s->mutex);
    free(s->slots);
}

/* A free place, in use, so that nobody else takes it; NULL: there is none. */
static struct kv_snapshot *reserve(struct kv_snapshots *s)
{
    struct kv_snapshot *snap = NULL;

    pthread_mutex_lock(&s->mutex);
    for (uint32_t i = 0; i < s->max && snap == NULL; i++) {
        if (s->slots[i].id == 0 && s->slots[i].view == NULL && s->slots[i].users == 0)
            snap = &s->slots[i];
    }
    if (snap != NULL)
        snap->users = 1;
    pthread_mutex_unlock(&s->mutex);
    return snap;
}

int kv_snapshots_open(struct kv_snapshots *s, struct kv_snapshot **out, uint64_t *id)
{
    struct kv_snapshot *snap;
    void *view;
    int rc;

    release_all(s, false); /* who opens and closes in turn does not wait for the errand */
    snap = reserve(s);
    if (snap == NULL)
        return CAIRN_E_LIMIT;
    rc = s->ops->snapshot_open(s->store, &view);
    pthread_mutex_lock(&s->mutex);
    if (rc == 0) {
        snap->view = view;
        snap->id = *id = ++s->next * KV_SNAPSHOTS_MAX + (uint64_t)(snap - s->slots);
        s->nopen++;
    } else {
        snap->users = 0;
    }
    pthread_mutex_unlock(&s->mutex);
    *out = snap;
    return rc;
}

/* Under the mutex. */
static struct kv_snapshot *find(struct kv_snapshots *s, uint64_t id)
{
    uint64_t i = id % KV_SNAPSHOTS_MAX;

    return id != 0 && i < s->max && s->slots[i].id == id ? &s->slots[i] : NULL;
}

struct kv_snapshot *kv_snapshots_use(struct kv_snapshots *s, uint64_t id)
{
    struct kv_snapshot *snap;

    pthread_mutex_lock(&s->mutex);
    snap = find(s, id);
    if (snap != NULL)
        snap->users++;
    pthread_mutex_unlock(&s->mutex);
    return snap;
}

void kv_snapshots_done(struct kv_snapshots *s, struct kv_snapshot *snap, uint64_t now_ns)
{
    bool over;

    pthread_mutex_lock(&s->mutex);
    CAIRN_ASSERT(snap->users > 0);
    snap->users--;
    snap->used_ns = now_ns;
    over = snap->id == 0 && snap->users == 0;
    pthread_mutex_unlock(&s->mutex);
    if (over)
        cairn_errand_ask(&s->release);
}

/* Under the mutex; true if the errand is to be asked. */
static bool end(struct kv_snapshots *s, struct kv_snapshot *snap)
{
    snap->id = 0;
    s->nopen--;
    return snap->users == 0;
}

bool kv_snapshots_close(struct kv_snapshots *s, uint64_t id)
{
    struct kv_snapshot *snap;
    bool over = false;

    pthread_mutex_lock(&s->mutex);
    snap = find(s, id);
    if (snap != NULL)
        over = end(s, snap);
    pthread_mutex_unlock(&s->mutex);
    if (over)
        cairn_errand_ask(&s->release);
    return snap != NULL;
}

uint64_t kv_snapshots_expire(struct kv_snapshots *s, uint64_t now_ns)
{
    uint64_t next = UINT64_MAX;
    bool over = false;

    pthread_mutex_lock(&s->mutex);
    for (uint32_t i = 0; i < s->max; i++) {
        struct kv_snapshot *snap = &s->slots[i];

        if (snap->id == 0)
            continue;
        if (snap->users > 0)
            next = MIN(next, now_ns + s->idle_ns);
        else if (snap->used_ns + s->idle_ns > now_ns)
            next = MIN(next, snap->used_ns + s->idle_ns);
        else
            over |= end(s, snap);
    }
    pthread_mutex_unlock(&s->mutex);
    if (over)
        cairn_errand_ask(&s->release);
    return next;
}

uint32_t kv_snapshots_count(struct kv_snapshots *s)
{
    uint32_t n;

    pthread_mutex_lock(&s->mutex);
    n = s->nopen;
    pthread_mutex_unlock(&s->mutex);
    return n;
}
