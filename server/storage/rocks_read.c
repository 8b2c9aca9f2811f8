/* What is read of a keyspace: see rocks.h. A loop looks only at what is in memory, which the engine calls a read
 * tier. */
#include "server/storage/rocks_internal.h"

#include "sdk/core/base/macros.h"

#include <stdlib.h>
#include <time.h>

enum { SCAN_SKIP_MAX = 1000 }; /* erased entries that a scan on a loop steps over */

struct cairn_rocks_snapshot {
    const rocksdb_snapshot_t *snapshot;
    rocksdb_readoptions_t *read_memory, *read_disk;
};

/* Takes @text. */
static int read_failed(struct cairn_rocks *r, char *text)
{
    int rc = cairn_rocks__error_of(text);

    if (rc == CAIRN_E_CORRUPT)
        atomic_fetch_add(&r->corrupt_reads, 1);
    if (rc < 0 && rc != CAIRN_E_TIMEOUT)
        cairn_rocks__note_error(r, "read", text);
    rocksdb_free(text);
    return rc;
}

rocksdb_readoptions_t *cairn_rocks__read_memory_options(void)
{
    rocksdb_readoptions_t *o = rocksdb_readoptions_create();

    rocksdb_readoptions_set_read_tier(o, 1); /* kBlockCacheTier */
    return o;
}

struct cairn_rocks_snapshot *cairn_rocks_snapshot_open(struct cairn_rocks *r)
{
    struct cairn_rocks_snapshot *s = calloc(1, sizeof(*s));

    if (s == NULL)
        return NULL;
    s->snapshot = rocksdb_create_snapshot(r->db);
    s->read_memory = cairn_rocks__read_memory_options();
    s->read_disk = rocksdb_readoptions_create();
    rocksdb_readoptions_set_snapshot(s->read_memory, s->snapshot);
    rocksdb_readoptions_set_snapshot(s->read_disk, s->snapshot);
    return s;
}

void cairn_rocks_snapshot_close(struct cairn_rocks *r, struct cairn_rocks_snapshot *s)
{
    rocksdb_readoptions_destroy(s->read_memory);
    rocksdb_readoptions_destroy(s->read_disk);
    rocksdb_release_snapshot(r->db, s->snapshot);
    free(s);
}

/* A read that looked only at memory: was it there? */
static void count_memory_read(struct cairn_rocks *r, int rc)
{
    atomic_fetch_add_explicit(rc == CAIRN_ROCKS_LATER ? &r->memory_misses : &r->memory_hits, 1, memory_order_relaxed);
}

static const rocksdb_readoptions_t *read_options(const struct cairn_rocks *r, const struct cairn_rocks_snapshot *at,
                                                 bool may_block)
{
    if (UNLIKELY(at != NULL))
        return may_block ? at->read_disk : at->read_memory;
    return may_block ? r->read_disk : r->read_memory;
}

int cairn_rocks_get(struct cairn_rocks *r, const struct cairn_rocks_snapshot *at, const void *key, size_t klen,
                    bool may_block, struct cairn_rocks_view *view)
{
    char *text = NULL;
    rocksdb_pinnableslice_t *pin = rocksdb_get_pinned(r->db, read_options(r, at, may_block), key, klen, &text);
    int rc = 0;

    if (text != NULL) {
        rc = read_failed(r, text);
    } else if (pin == NULL) {
        rc = CAIRN_E_NOTFOUND;
    } else {
        view->pin = pin;
        view->ptr = (const uint8_t *)rocksdb_pinnableslice_value(pin, &view->len);
        if (view->len == 0 && !may_block) { /* or its table is not open: the engine says so from 9.1 on (PR 12443) */
            cairn_rocks_view_drop(view);
            rc = CAIRN_ROCKS_LATER;
        }
    }
    if (!may_block)
        count_memory_read(r, rc);
    return rc;
}

void cairn_rocks_view_drop(struct cairn_rocks_view *view)
{
    rocksdb_pinnableslice_destroy(view->pin);
    view->pin = NULL;
}

static rocksdb_readoptions_t *scan_options(const struct cairn_rocks_scan *scan)
{
    rocksdb_readoptions_t *o = rocksdb_readoptions_create();

    rocksdb_readoptions_set_iterate_lower_bound(o, scan->lo, scan->lo_len);
    rocksdb_readoptions_set_iterate_upper_bound(o, scan->hi, scan->hi_len);
    rocksdb_readoptions_set_background_purge_on_iterator_cleanup(o, 1);
    if (scan->at != NULL)
        rocksdb_readoptions_set_snapshot(o, scan->at->snapshot);
    if (!scan->may_block) {
        rocksdb_readoptions_set_read_tier(o, 1);
        rocksdb_readoptions_set_max_skippable_internal_keys(o, SCAN_SKIP_MAX);
    } else if (scan->timeout_us != 0) {
        struct timespec ts;

        clock_gettime(CLOCK_REALTIME, &ts); /* the engine's clock */
        rocksdb_readoptions_set_deadline(o, (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000 +
                                                scan->timeout_us);
    }
    return o;
}

int cairn_rocks_scan(struct cairn_rocks *r, struct cairn_rocks_scan *scan)
{
    rocksdb_readoptions_t *o = scan_options(scan);
    rocksdb_iterator_t *it = rocksdb_create_iterator(r->db, o);
    char *text = NULL;
    int rc = 0;

    scan->more = false;
    if (scan->reverse)
        rocksdb_iter_seek_to_last(it);
    else
        rocksdb_iter_seek_to_first(it);
    while (rocksdb_iter_valid(it)) {
        size_t klen, vlen;
        const char *key = rocksdb_iter_key(it, &klen), *val = rocksdb_iter_value(it, &vlen);

        if (!scan->entry(scan->arg, (const uint8_t *)key, klen, (const uint8_t *)val, vlen)) {
            scan->more = true;
            break;
        }
        if (scan->reverse)
            rocksdb_iter_prev(it);
        else
            rocksdb_iter_next(it);
    }
    rocksdb_iter_get_error(it, &text);
    if (text != NULL)
        rc = read_failed(r, text);
    rocksdb_iter_destroy(it);
    rocksdb_readoptions_destroy(o);
    if (!scan->may_block)
        count_memory_read(r, rc);
    return rc;
}

uint64_t cairn_rocks_range_bytes(struct cairn_rocks *r, const void *lo, size_t lo_len, const void *hi, size_t hi_len)
{
    const char *start = lo, *limit = hi;
    uint64_t bytes = 0;
    char *text = NULL;

    rocksdb_approximate_sizes(r->db, 1, &start, &lo_len, &limit, &hi_len, &bytes, &text);
    if (text != NULL) {
        rocksdb_free(text);
        return 0;
    }
    return bytes;
}

uint64_t cairn_rocks_keys_estimate(struct cairn_rocks *r)
{
    uint64_t n = 0;

    return rocksdb_property_int(r->db, "rocksdb.estimate-num-keys", &n) == 0 ? n : 0;
}
