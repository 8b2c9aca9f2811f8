/* One node's own map store: entries in memory, and a file that is replaced as a whole.
 *
 * A change joins a queue. Whoever finds no writer submits the job; the job takes everything that waits, stages the
 * changes that apply, replaces the file by the new image (map_file.h), and only then are the staged entries what readers see. So a crash finds the old file or the new one, never
 * a mixture, and a checksum that does not match is damage. The map is small and changes seldom: writing it whole costs
 * less than a log that must tell a torn end from a damaged one. */
#include "server/cluster/map_file.h"
#include "server/cluster/map_image.h"
#include "server/cluster/map_store.h"

#include "sdk/core/base/log.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    IMAGE_BYTES_MAX = CAIRN_MAP_IMAGE_HEADER_BYTES + CAIRN_MAP_BYTES_MAX,
    BATCH_CHANGES_MAX = 256, /* each is compared with all of its batch */
};

/* Immutable once stored. */
struct map_node {
    uint64_t created, changed;
    uint32_t value_len;
    const uint8_t *value; /* in key[], behind its zero */
    char key[];
};

/* One batch, staged beside what is stored: nothing of it is seen before it is written. */
struct batch {
    struct cairn_link changes;
    struct map_node **nodes; /* as they will be */
    uint32_t n;
    size_t bytes;           /* of them all, as they are stored */
    struct map_node **gone; /* stored nodes that the batch replaces or erases */
    uint32_t ngone;
    uint64_t revision;
};

struct local {
    struct cairn_map_store store;
    struct cairn_pool *pool;
    struct cairn_map_file file;
    bool in_memory; /* nothing is written */
    pthread_mutex_t mutex;
    struct map_node **nodes; /* by key; under mutex, as all below */
    uint32_t n, room;
    size_t bytes; /* of them all, as they are stored */
    uint64_t revision;
    struct cairn_link queue; /* changes waiting */
    bool writing;            /* the job is submitted or runs */
    struct cairn_job job;
    struct batch batch; /* the job's, as what follows */
    int rc;
    struct cairn_err err;
};

static struct local *local_of(struct cairn_map_store *s)
{
    return CONTAINER_OF(s, struct local, store);
}

static struct cairn_map_entry entry_of(const struct map_node *n)
{
    return (struct cairn_map_entry){
        .key = n->key, .value = n->value, .value_len = n->value_len, .created = n->created, .changed = n->changed
    };
}

static size_t node_bytes(const struct map_node *n)
{
    struct cairn_map_entry e = entry_of(n);

    return cairn_map_image_entry_bytes(&e);
}

static struct map_node *node_new(const char *key, const uint8_t *value, uint32_t value_len)
{
    size_t key_len = strlen(key);
    struct map_node *n = malloc(sizeof(*n) + key_len + 1 + value_len);

    if (n == NULL)
        return NULL;
    memcpy(n->key, key, key_len + 1);
    if (value_len > 0)
        memcpy(n->key + key_len + 1, value, value_len);
    n->value = (const uint8_t *)n->key + key_len + 1;
    n->value_len = value_len;
    n->created = n->changed = 0;
    return n;
}

/* Where @key is or would be. */
static uint32_t node_find(struct map_node *const *nodes, uint32_t n, const char *key, bool *found)
{
    uint32_t lo = 0, hi = n;

    *found = false;
    while (lo < hi) {
        uint32_t mid = (lo + hi) / 2;
        int c = strcmp(nodes[mid]->key, key);

        if (c == 0) {
            *found = true;
            return mid;
        }
        if (c < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

/* ---- the file ---- */

static int image_make(struct map_node *const *nodes, uint32_t n, size_t body, uint64_t revision, uint8_t **image,
                      size_t *len, struct cairn_err *err)
{
    struct cairn_map_image_info info = { .revision = revision, .entries = n };
    uint8_t *at;

    *len = CAIRN_MAP_IMAGE_HEADER_BYTES + body;
    *image = malloc(*len);
    if (*image == NULL)
        return cairn_err_set(err, CAIRN_E_NOMEM, "%zu bytes of map", *len);
    at = *image + CAIRN_MAP_IMAGE_HEADER_BYTES;
    for (uint32_t i = 0; i < n; i++) {
        struct cairn_map_entry e = entry_of(nodes[i]);

        at = cairn_map_image_put_entry(at, &e);
    }
    cairn_map_image_put_header(*image, &info, body);
    return 0;
}

static int batch_write(const struct local *l, const struct batch *b, struct cairn_err *err)
{
    uint8_t *image = NULL;
    size_t len = 0;
    int rc;

    if (l->in_memory)
        return 0;
    rc = image_make(b->nodes, b->n, b->bytes, b->revision, &image, &len, err);
    if (rc != 0)
        return rc;
    rc = cairn_map_file_replace(&l->file, image, len, err);
    free(image);
    return rc;
}

/* ---- changes ---- */

static int change_check(const struct cairn_map_change *c, const struct map_node *old, struct cairn_err *err)
{
    if (old == NULL && c->from != 0)
        return cairn_err_set(err, CAIRN_E_NOTFOUND, "%s is not there", c->key);
    if (old != NULL && c->from == 0)
        return cairn_err_set(err, CAIRN_E_EXISTS, "%s is there", c->key);
    if (old != NULL && old->changed != c->from)
        return cairn_err_set(err, CAIRN_E_STATE, "%s was changed in revision %" PRIu64 ", not in %" PRIu64, c->key,
                             old->changed, c->from);
    if (old == NULL && c->value == NULL)
        return cairn_err_set(err, CAIRN_E_INVAL, "%s: an entry that must not be there cannot be erased", c->key);
    return 0;
}

/* Whether the map still has its size with @fresh in the place of @old, either of which may be NULL. */
static int batch_grow(struct batch *b, const struct map_node *fresh, const struct map_node *old, struct cairn_err *err)
{
    size_t bytes = b->bytes + (fresh != NULL ? node_bytes(fresh) : 0) - (old != NULL ? node_bytes(old) : 0);

    if (fresh != NULL && old == NULL && b->n == CAIRN_MAP_ENTRIES_MAX)
        return cairn_err_set(err, CAIRN_E_LIMIT, "%s: the map has %d entries, as many as are possible", fresh->key,
                             CAIRN_MAP_ENTRIES_MAX);
    if (bytes > CAIRN_MAP_BYTES_MAX)
        return cairn_err_set(err, CAIRN_E_LIMIT, "%s: the map would have %zu bytes; at most %d are possible",
                             fresh->key, bytes, CAIRN_MAP_BYTES_MAX);
    b->bytes = bytes;
    return 0;
}

/* What must not be is refused by itself: the rest of the batch goes on without it. */
static void change_stage(struct batch *b, struct cairn_map_change *c)
{
    bool found;
    uint32_t at = node_find(b->nodes, b->n, c->key, &found);
    struct map_node *old = found ? b->nodes[at] : NULL;

    c->rc = change_check(c, old, &c->err);
    if (c->rc == 0)
        c->rc = batch_grow(b, c->fresh, old, &c->err);
    if (c->rc != 0)
        return;
    c->revision = ++b->revision;
    if (old != NULL)
        b->gone[b->ngone++] = old;
    if (c->fresh != NULL) {
        c->fresh->changed = c->revision;
        c->fresh->created = old != NULL ? old->created : c->revision;
    }
    if (c->fresh != NULL && found) {
        b->nodes[at] = c->fresh;
    } else if (c->fresh != NULL) {
        memmove(&b->nodes[at + 1], &b->nodes[at], (b->n - at) * sizeof(b->nodes[0]));
        b->nodes[at] = c->fresh;
        b->n++;
    } else {
        b->n--;
        memmove(&b->nodes[at], &b->nodes[at + 1], (b->n - at) * sizeof(b->nodes[0]));
    }
}

/* Under the mutex: takes what waits, up to the bound. Of several changes of one key only the first, since the next is to see its
 * outcome. */
static int batch_take(struct local *l, struct batch *b)
{
    uint32_t waiting = 0;

    *b = (struct batch){ .n = l->n, .bytes = l->bytes, .revision = l->revision };
    cairn_list_init(&b->changes);
    CAIRN_LIST_FOREACH_SAFE (it, &l->queue) {
        const struct cairn_map_change *c = CONTAINER_OF(it, struct cairn_map_change, link);
        bool twice = false;

        if (waiting == BATCH_CHANGES_MAX)
            break;
        CAIRN_LIST_FOREACH (other, &b->changes)
            twice = twice || strcmp(CONTAINER_OF(other, struct cairn_map_change, link)->key, c->key) == 0;
        if (twice)
            continue;
        cairn_list_del(it);
        cairn_list_add_tail(&b->changes, it);
        waiting++;
    }
    b->nodes = malloc((l->n + waiting) * sizeof(b->nodes[0]));
    b->gone = malloc(waiting * sizeof(b->gone[0]));
    if (b->nodes == NULL || b->gone == NULL)
        return CAIRN_E_NOMEM;
    if (l->n > 0)
        memcpy(b->nodes, l->nodes, l->n * sizeof(b->nodes[0]));
    CAIRN_LIST_FOREACH (it, &b->changes)
        change_stage(b, CONTAINER_OF(it, struct cairn_map_change, link));
    return 0;
}

/* Under the mutex: the batch is written, or (@rc) none of it is. */
static void batch_settle(struct local *l, struct batch *b, int rc, const struct cairn_err *err)
{
    CAIRN_LIST_FOREACH (it, &b->changes) {
        struct cairn_map_change *c = CONTAINER_OF(it, struct cairn_map_change, link);
        bool stored = rc == 0 && c->rc == 0;

        if (rc != 0 && c->rc == 0) {
            c->rc = rc;
            c->err = *err;
            c->revision = 0;
        }
        if (!stored)
            free(c->fresh);
        c->fresh = NULL;
    }
    if (rc == 0) {
        for (uint32_t i = 0; i < b->ngone; i++)
            free(b->gone[i]);
        free(l->nodes);
        l->nodes = b->nodes;
        l->n = b->n;
        l->bytes = b->bytes;
        l->revision = b->revision;
    } else {
        free(b->nodes);
    }
    free(b->gone);
}

static void changes_answer(struct cairn_link *changes)
{
    struct cairn_link *it;

    while ((it = cairn_list_pop(changes)) != NULL) {
        struct cairn_map_change *c = CONTAINER_OF(it, struct cairn_map_change, link);

        cairn_loop_post(c->loop, &c->task);
    }
}

static void changes_drop(struct cairn_link *changes, int rc)
{
    CAIRN_LIST_FOREACH (it, changes) {
        struct cairn_map_change *c = CONTAINER_OF(it, struct cairn_map_change, link);

        free(c->fresh);
        c->fresh = NULL;
        c->rc = cairn_err_set(&c->err, rc, "the storage pool's queue is full");
    }
}

static void change_on_answered(void *arg)
{
    struct cairn_map_change *c = arg;

    c->done(c);
}

/* On a pool thread. Only one such job is there at a time, so the staged state cannot be overtaken while it is written.
 */
static void on_write(struct cairn_job *job)
{
    struct local *l = job->arg;
    struct batch *b = &l->batch;

    pthread_mutex_lock(&l->mutex);
    l->rc = batch_take(l, b);
    pthread_mutex_unlock(&l->mutex);
    l->err = (struct cairn_err){ 0 };
    if (l->rc != 0)
        cairn_err_set(&l->err, l->rc, "map store: %s", cairn_error_text(l->rc));
    else if (b->revision != l->revision) /* something applied */
        l->rc = batch_write(l, b, &l->err);
}

/* Answers come after the job is free for the next batch: whoever has its answer may close the store. */
static void on_written(struct cairn_job *job)
{
    struct local *l = job->arg;
    struct cairn_link answers, dropped;
    int rc = 0;

    cairn_list_init(&answers);
    cairn_list_init(&dropped);
    pthread_mutex_lock(&l->mutex);
    batch_settle(l, &l->batch, l->rc, &l->err);
    cairn_list_splice(&answers, &l->batch.changes);
    l->writing = !cairn_list_is_empty(&l->queue);
    if (l->writing) {
        rc = cairn_pool_submit(l->pool, job->loop, &l->job);
        if (rc != 0) {
            cairn_list_splice(&dropped, &l->queue);
            l->writing = false;
        }
    }
    pthread_mutex_unlock(&l->mutex);
    changes_drop(&dropped, rc);
    cairn_list_splice(&answers, &dropped);
    changes_answer(&answers);
}

static int change_bounds(struct cairn_map_change *c)
{
    size_t key_len = strlen(c->key);

    if (key_len == 0 || key_len > CAIRN_MAP_KEY_BYTES_MAX || c->value_len > CAIRN_MAP_VALUE_BYTES_MAX)
        return cairn_err_set(&c->err, CAIRN_E_INVAL, "a key of %zu and a value of %" PRIu32 " bytes; at most %d and %d",
                             key_len, c->value_len, CAIRN_MAP_KEY_BYTES_MAX, CAIRN_MAP_VALUE_BYTES_MAX);
    if (c->value == NULL)
        return 0;
    c->fresh = node_new(c->key, c->value, c->value_len);
    return c->fresh != NULL ? 0 : cairn_err_set(&c->err, CAIRN_E_NOMEM, "map entry %s", c->key);
}

static void local_change(struct cairn_map_store *s, struct cairn_loop *loop, struct cairn_map_change *c)
{
    struct local *l = local_of(s);
    int rc;

    c->rc = 0;
    c->err = (struct cairn_err){ 0 };
    c->revision = 0;
    c->fresh = NULL;
    c->loop = loop;
    cairn_list_init(&c->link);
    cairn_task_init(&c->task, change_on_answered, c);
    c->rc = change_bounds(c);
    if (c->rc != 0) {
        cairn_env_defer(&loop->env, &c->task);
        return;
    }
    pthread_mutex_lock(&l->mutex);
    rc = l->writing ? 0 : cairn_pool_submit(l->pool, loop, &l->job);
    if (rc == 0) {
        l->writing = true;
        cairn_list_add_tail(&l->queue, &c->link);
    }
    pthread_mutex_unlock(&l->mutex);
    if (rc != 0) {
        free(c->fresh);
        c->rc = cairn_err_set(&c->err, rc, "the storage pool's queue is full");
        cairn_env_defer(&loop->env, &c->task);
    }
}

static void local_each(struct cairn_map_store *s, const char *prefix,
                       void (*fn)(const struct cairn_map_entry *e, void *arg), void *arg)
{
    struct local *l = local_of(s);
    size_t prefix_len = strlen(prefix);
    bool found;

    pthread_mutex_lock(&l->mutex);
    for (uint32_t i = node_find(l->nodes, l->n, prefix, &found); i < l->n; i++) {
        struct cairn_map_entry e = entry_of(l->nodes[i]);

        if (strncmp(e.key, prefix, prefix_len) != 0)
            break;
        fn(&e, arg);
    }
    pthread_mutex_unlock(&l->mutex);
}

static uint64_t local_revision(struct cairn_map_store *s)
{
    struct local *l = local_of(s);
    uint64_t revision;

    pthread_mutex_lock(&l->mutex);
    revision = l->revision;
    pthread_mutex_unlock(&l->mutex);
    return revision;
}

static void local_free(struct cairn_map_store *s)
{
    struct local *l = local_of(s);

    CAIRN_ASSERT(cairn_list_is_empty(&l->queue) && !l->writing);
    for (uint32_t i = 0; i < l->n; i++)
        free(l->nodes[i]);
    free(l->nodes);
    pthread_mutex_destroy(&l->mutex);
    free(l);
}

static const struct cairn_map_store_ops local_ops = { local_change, local_each, local_revision, local_free };

/* ---- opening ---- */

static int on_loaded(const struct cairn_map_entry *e, void *arg)
{
    struct local *l = arg;

    if (l->n == l->room) {
        uint32_t room = MAX(16U, l->room * 2);
        struct map_node **nodes = realloc(l->nodes, room * sizeof(*nodes));

        if (nodes == NULL)
            return CAIRN_E_NOMEM;
        l->nodes = nodes;
        l->room = room;
    }
    l->nodes[l->n] = node_new(e->key, e->value, e->value_len);
    if (l->nodes[l->n] == NULL)
        return CAIRN_E_NOMEM;
    l->nodes[l->n]->created = e->created;
    l->nodes[l->n]->changed = e->changed;
    l->bytes += node_bytes(l->nodes[l->n]);
    l->n++;
    return 0;
}

static int local_load(struct local *l, struct cairn_err *err)
{
    struct cairn_map_image_info info;
    uint8_t *image;
    size_t len;
    int rc;

    unlink(l->file.fresh_path); /* what a crash left of a change that was never answered */
    rc = cairn_map_file_load(&l->file, IMAGE_BYTES_MAX, &image, &len, err);
    if (rc == 0 && image != NULL) {
        rc = cairn_map_image_read(image, len, &info, on_loaded, l, err);
        if (rc == 0)
            l->revision = info.revision;
    }
    free(image);
    return cairn_err_wrap(err, rc, "%s", l->file.path);
}

static int on_checked(const struct cairn_map_entry *e, void *arg)
{
    (void)e;
    (void)arg;
    return 0;
}

int cairn_map_store_local_check(const char *dir, struct cairn_err *err)
{
    struct cairn_map_image_info info;
    struct cairn_map_file file;
    uint8_t *image = NULL;
    size_t len;
    int rc = cairn_map_file_init(&file, dir, err);

    if (rc != 0)
        return rc;
    rc = cairn_map_file_load(&file, IMAGE_BYTES_MAX, &image, &len, err);
    if (rc == 0 && image != NULL)
        rc = cairn_map_image_read(image, len, &info, on_checked, NULL, err);
    free(image);
    return cairn_err_wrap(err, rc, "%s", file.path);
}

int cairn_map_store_local_open(const char *dir, struct cairn_pool *pool, struct cairn_map_store **out,
                               struct cairn_err *err)
{
    struct local *l = calloc(1, sizeof(*l));
    int rc = 0;

    if (l == NULL)
        return cairn_err_set(err, CAIRN_E_NOMEM, "map store");
    l->store.ops = &local_ops;
    l->pool = pool;
    l->job = (struct cairn_job){ .work = on_write, .done = on_written, .arg = l };
    cairn_list_init(&l->queue);
    pthread_mutex_init(&l->mutex, NULL);
    l->in_memory = dir[0] == '\0';
    if (!l->in_memory)
        rc = cairn_map_file_init(&l->file, dir, err);
    if (rc == 0 && !l->in_memory)
        rc = local_load(l, err);
    if (rc != 0) {
        local_free(&l->store);
        return rc;
    }
    *out = &l->store;
    return 0;
}
