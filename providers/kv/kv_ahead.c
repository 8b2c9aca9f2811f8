/* Batches that wait for the engine in memory: see kv_ahead.h. */
#include "providers/kv/kv_ahead.h"

#include "providers/kv/kv_store_rocksdb.h"

#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

enum { ROOM_MIN = 1024, ROW_OVERHEAD_BYTES = 64 };

/* ---- rows ---- */

static size_t row_bytes(const struct kv_ahead_row *row)
{
    return sizeof(*row) + ROW_OVERHEAD_BYTES + row->klen + (row->len > 0 ? (size_t)row->len : 0);
}

void kv_ahead_drop(struct kv_ahead_row *row)
{
    if (row != NULL && atomic_fetch_sub(&row->refs, 1) == 1)
        free(row);
}

static void rows_drop(struct kv_ahead_row *rows)
{
    while (rows != NULL) {
        struct kv_ahead_row *next = rows->next;

        kv_ahead_drop(rows);
        rows = next;
    }
}

static struct kv_ahead_row *row_new(const struct kv_ahead *a, const struct cairn_kv_entry *e,
                                    const ProtobufCBinaryData *key, const uint8_t *value)
{
    struct cairn_kv__full_key full;
    struct kv_ahead_row *row;

    cairn_kv__full_key_make(&e->db, key, &full);
    row = malloc(sizeof(*row) + full.len + e->len);
    if (row == NULL)
        return NULL;
    atomic_init(&row->refs, 1);
    row->hash = (uint32_t)XXH3_64bits_withSeed(full.bytes, full.len, a->seed);
    row->klen = full.len;
    row->len = e->erase ? -1 : (int64_t)e->len;
    row->next = NULL;
    memcpy(row->key, full.bytes, full.len);
    if (e->len > 0)
        memcpy(row->key + full.len, value, e->len);
    return row;
}

/* Those of a batch, in its order; false: no memory. */
static bool rows_make(const struct kv_ahead *a, const struct cairn_kv_write *w, struct kv_ahead_row **rows)
{
    const uint8_t *value = w->values;

    for (uint32_t i = 0; i < w->n; i++) {
        *rows = row_new(a, &w->entries[i], &w->keys[i], value);
        if (*rows == NULL)
            return false;
        rows = &(*rows)->next;
        if (w->entries[i].len > 0)
            value += w->entries[i].len;
    }
    return true;
}

/* ---- a part ---- */

/* The key's place: its row's, or a free one. */
static struct kv_ahead_row **part_place(const struct kv_ahead_part *p, uint32_t hash, const uint8_t *key, uint32_t klen)
{
    uint32_t i = hash & (p->room - 1);

    while (p->table[i] != NULL &&
           (p->table[i]->hash != hash || p->table[i]->klen != klen || memcmp(p->table[i]->key, key, klen) != 0))
        i = (i + 1) & (p->room - 1);
    return &p->table[i];
}

/* Room for @n more; false: no memory, and all is as it was. */
static bool part_reserve(struct kv_ahead_part *p, uint32_t n)
{
    struct kv_ahead_part more = *p;

    more.room = MAX(p->room, (uint32_t)ROOM_MIN);
    while (more.room < 2 * (p->n + n))
        more.room *= 2;
    if (more.room == p->room)
        return true;
    more.table = calloc(more.room, sizeof(more.table[0]));
    if (more.table == NULL)
        return false;
    for (uint32_t i = 0; i < p->room; i++) {
        struct kv_ahead_row *row = p->table[i];

        if (row != NULL)
            *part_place(&more, row->hash, row->key, row->klen) = row;
    }
    free(p->table);
    *p = more;
    return true;
}

static bool part_has(const struct kv_ahead_part *p, uint32_t db)
{
    for (uint32_t i = 0; i < p->ndbs && i < KV_AHEAD_DBS_MAX; i++) {
        if (p->dbs[i] == db)
            return true;
    }
    return p->ndbs > KV_AHEAD_DBS_MAX;
}

static void part_note(struct kv_ahead_part *p, uint32_t db)
{
    if (part_has(p, db))
        return;
    if (p->ndbs < KV_AHEAD_DBS_MAX)
        p->dbs[p->ndbs] = db;
    p->ndbs++;
}

static void part_put(struct kv_ahead_part *p, struct kv_ahead_row *row)
{
    struct kv_ahead_row **place = part_place(p, row->hash, row->key, row->klen);

    if (*place == NULL)
        p->n++;
    else
        p->bytes -= row_bytes(*place);
    kv_ahead_drop(*place);
    *place = row;
    p->bytes += row_bytes(row);
}

static void part_free(struct kv_ahead_part *p)
{
    for (uint32_t i = 0; i < p->room; i++)
        kv_ahead_drop(p->table[i]);
    free(p->table);
}

/* ---- the whole ---- */

void kv_ahead_init(struct kv_ahead *a, size_t bytes_max, uint64_t seed)
{
    memset(a, 0, sizeof(*a));
    pthread_mutex_init(&a->mutex, NULL);
    a->bytes_max = bytes_max;
    a->seed = seed;
}

void kv_ahead_fini(struct kv_ahead *a)
{
    part_free(&a->young);
    part_free(&a->old);
    pthread_mutex_destroy(&a->mutex);
}

static void note_n(struct kv_ahead *a)
{
    atomic_store_explicit(&a->n, a->young.n + a->old.n, memory_order_release);
}

/* While the old part has no rows; it may have a table for those that did not come in the end. */
static void young_is_old(struct kv_ahead *a)
{
    CAIRN_ASSERT(a->old.n == 0);
    part_free(&a->old);
    a->old = a->young;
    a->young = (struct kv_ahead_part){ 0 };
}

/* Room in the young part for a batch of @bytes. */
static int make_room(struct kv_ahead *a, const struct cairn_kv_write *w, size_t bytes, bool *full)
{
    struct kv_ahead_part *p = &a->young;

    if (a->closed || a->stuck || bytes > a->bytes_max)
        return CAIRN_KV_LATER;
    if (p->bytes + bytes > a->bytes_max) {
        if (a->old.n > 0)
            return CAIRN_KV_LATER;
        young_is_old(a);
        *full = true;
    }
    return part_reserve(p, w->n) ? 0 : CAIRN_KV_LATER;
}

/* Whoever drops a database hides it first, and then takes what is here to the engine: so rows that are put before that
 * are removed with it, and none come later. */
static int put_rows(struct kv_ahead *a, const struct cairn_kv_dir *dir, const struct cairn_kv_write *w,
                    struct kv_ahead_row **rows, bool *full)
{
    struct cairn_kv_db db;
    size_t bytes = 0;
    int rc;

    for (const struct kv_ahead_row *row = *rows; row != NULL; row = row->next)
        bytes += row_bytes(row);
    rc = make_room(a, w, bytes, full);
    for (uint32_t i = 0; i < w->n && rc == 0; i++) {
        if (!cairn_kv_dir_find(dir, w->entries[i].db.handle, &db))
            rc = CAIRN_KV_GONE;
    }
    if (rc != 0)
        return rc;
    for (uint32_t i = 0; i < w->n; i++) {
        struct kv_ahead_row *row = *rows;

        *rows = row->next;
        part_note(&a->young, w->entries[i].db.handle);
        part_put(&a->young, row);
    }
    note_n(a);
    return 0;
}

int kv_ahead_put(struct kv_ahead *a, const struct cairn_kv_dir *dir, const struct cairn_kv_write *w, bool *full)
{
    struct kv_ahead_row *rows = NULL;
    int rc = CAIRN_KV_LATER;

    *full = false;
    if (rows_make(a, w, &rows)) {
        pthread_mutex_lock(&a->mutex);
        rc = put_rows(a, dir, w, &rows, full);
        pthread_mutex_unlock(&a->mutex);
    }
    rows_drop(rows);
    return rc;
}

struct kv_ahead_row *kv_ahead_find(struct kv_ahead *a, const uint8_t *key, uint32_t klen)
{
    const struct kv_ahead_part *parts[] = { &a->young, &a->old };
    struct kv_ahead_row *row = NULL;
    uint32_t hash;

    if (atomic_load_explicit(&a->n, memory_order_acquire) == 0)
        return NULL;
    hash = (uint32_t)XXH3_64bits_withSeed(key, klen, a->seed);
    pthread_mutex_lock(&a->mutex);
    for (uint32_t i = 0; i < ARRAY_SIZE(parts) && row == NULL; i++) {
        if (parts[i]->n > 0)
            row = *part_place(parts[i], hash, key, klen);
    }
    if (row != NULL)
        atomic_fetch_add(&row->refs, 1);
    pthread_mutex_unlock(&a->mutex);
    return row;
}

bool kv_ahead_has(struct kv_ahead *a, uint32_t db)
{
    bool has;

    if (atomic_load_explicit(&a->n, memory_order_acquire) == 0)
        return false;
    pthread_mutex_lock(&a->mutex);
    has = part_has(&a->young, db) || part_has(&a->old, db);
    pthread_mutex_unlock(&a->mutex);
    return has;
}

void kv_ahead_look(struct kv_ahead *a, size_t *bytes, bool *stuck)
{
    pthread_mutex_lock(&a->mutex);
    *bytes = a->young.bytes + a->old.bytes;
    *stuck = a->stuck;
    pthread_mutex_unlock(&a->mutex);
}

void kv_ahead_close(struct kv_ahead *a, bool closed)
{
    pthread_mutex_lock(&a->mutex);
    a->closed = closed;
    pthread_mutex_unlock(&a->mutex);
}

/* ---- in order ---- */

static int compare(const void *left, const void *right)
{
    const struct kv_ahead_row *a = *(struct kv_ahead_row *const *)left, *b = *(struct kv_ahead_row *const *)right;

    return cairn_kv_key_compare(a->key, a->klen, b->key, b->klen);
}

static int compare_reverse(const void *left, const void *right)
{
    return compare(right, left);
}

static bool is_within(const struct kv_ahead_row *row, const struct cairn_rocks_scan *r)
{
    return cairn_kv_key_compare(row->key, row->klen, r->lo, (uint32_t)r->lo_len) >= 0 &&
           cairn_kv_key_compare(row->key, row->klen, r->hi, (uint32_t)r->hi_len) < 0;
}

/* Adds those of @p to @rows that @newer, if that is not NULL, has no other of. */
static uint32_t collect(const struct kv_ahead_part *p, const struct kv_ahead_part *newer,
                        const struct cairn_rocks_scan *range, struct kv_ahead_row **rows, uint32_t n)
{
    for (uint32_t i = 0; i < p->room; i++) {
        struct kv_ahead_row *row = p->table[i];

        if (row == NULL || !is_within(row, range) ||
            (newer != NULL && newer->n > 0 && *part_place(newer, row->hash, row->key, row->klen) != NULL))
            continue;
        atomic_fetch_add(&row->refs, 1);
        rows[n++] = row;
    }
    return n;
}

struct kv_ahead_row **kv_ahead_range(struct kv_ahead *a, const struct cairn_rocks_scan *range,
                                     struct cairn_rocks *engine, struct cairn_rocks_snapshot **view, uint32_t *n)
{
    struct kv_ahead_row **rows;

    pthread_mutex_lock(&a->mutex);
    *n = a->young.n + a->old.n;
    rows = *n > 0 ? malloc(*n * sizeof(rows[0])) : NULL;
    if (rows != NULL) {
        *n = collect(&a->young, NULL, range, rows, 0);
        *n = collect(&a->old, &a->young, range, rows, *n);
    }
    *view = cairn_rocks_snapshot_open(engine);
    pthread_mutex_unlock(&a->mutex);
    if (rows != NULL)
        qsort(rows, *n, sizeof(rows[0]), range->reverse ? compare_reverse : compare);
    return rows;
}

/* ---- to the engine ---- */

struct kv_ahead_row **kv_ahead_take(struct kv_ahead *a, bool all, uint32_t *n)
{
    const struct kv_ahead_part *p = &a->old;
    struct kv_ahead_row **rows;
    uint32_t at = 0;

    pthread_mutex_lock(&a->mutex);
    if (all && a->old.n == 0)
        young_is_old(a);
    *n = p->n;
    pthread_mutex_unlock(&a->mutex);
    rows = *n > 0 ? malloc(*n * sizeof(rows[0])) : NULL;
    if (rows == NULL)
        return NULL;
    for (uint32_t i = 0; i < p->room; i++) {
        if (p->table[i] != NULL)
            rows[at++] = p->table[i];
    }
    qsort(rows, at, sizeof(rows[0]), compare);
    return rows;
}

void kv_ahead_gone(struct kv_ahead *a, struct kv_ahead_row **rows, int rc)
{
    struct kv_ahead_part gone = { 0 };

    pthread_mutex_lock(&a->mutex);
    a->stuck = rc != 0;
    if (rc == 0) {
        gone = a->old;
        a->old = (struct kv_ahead_part){ 0 };
        note_n(a);
    }
    pthread_mutex_unlock(&a->mutex);
    part_free(&gone);
    free(rows);
}
