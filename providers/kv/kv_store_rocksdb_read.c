/* What the RocksDB store reads. The engine's memory is looked at first, on the loop; what would touch the disk goes to
 * the pool, which calls the same again and may block. */
#include "providers/kv/kv_store_rocksdb.h"

#include <time.h>

enum {
    LOOP_KEYS_MAX = 256, /* of one call that a loop looks up itself */
    COUNT_KEYS_MAX = 20000,
    COUNT_MS = 1000, /* that usage() counts before it estimates */
};

/* Values of a small call stay pinned until its end; those of a large one are let go one by one. */
struct pin {
    struct kv_ahead_row *row; /* or, NULL: */
    struct cairn_rocks_view view;
};

struct pins {
    struct pin all[CAIRN_KV_VIEWS_MAX];
    uint32_t n;
};

static void pins_drop(struct pins *pins)
{
    while (pins->n > 0) {
        struct pin *p = &pins->all[--pins->n];

        if (p->row != NULL)
            kv_ahead_drop(p->row);
        else
            cairn_rocks_view_drop(&p->view);
    }
}

/* What runs ahead is newer than what the engine has. */
static int look(struct cairn_kv_store *st, const struct cairn_kv_read *rd, const struct cairn_kv__full_key *full,
                struct pin *p)
{
    p->row = rd->at == NULL ? kv_ahead_find(&st->ahead, full->bytes, full->len) : NULL;
    if (p->row == NULL)
        return cairn_rocks_get(st->rocks, rd->at, full->bytes, full->len, rd->may_block, &p->view);
    if (p->row->len < 0) {
        kv_ahead_drop(p->row);
        return CAIRN_E_NOTFOUND;
    }
    p->view.ptr = p->row->key + p->row->klen;
    p->view.len = (size_t)p->row->len;
    return 0;
}

/* 0 and *@more, or what cairn_rocks_get() says. */
static int rocksdb_read_one(struct cairn_kv_store *st, const struct cairn_kv_read *rd, uint32_t i, struct pins *pins,
                            bool *more)
{
    struct cairn_kv__full_key full;
    struct cairn_rocks_view *view = &pins->all[pins->n].view;
    int rc;

    cairn_kv__full_key_make(&rd->db, &rd->keys[i], &full);
    rc = look(st, rd, &full, &pins->all[pins->n]);
    if (rc == CAIRN_E_NOTFOUND) {
        *more = rd->found(rd->arg, i, NULL, -1);
        return 0;
    }
    if (rd->n > 1 && (rc == CAIRN_E_CORRUPT || rc == CAIRN_E_IO)) { /* a bad block is no matter of the other keys */
        *more = rd->found(rd->arg, i, NULL, -2);
        return 0;
    }
    if (rc != 0)
        return rc;
    pins->n++;
    *more = rd->found(rd->arg, i, rd->want == CAIRN_KV_WANT_VALUE ? view->ptr : NULL, (int64_t)view->len);
    if (rd->n > CAIRN_KV_VIEWS_MAX)
        pins_drop(pins);
    return 0;
}

int cairn_kv__rocksdb_read(struct cairn_kv_store *st, const struct cairn_kv_read *rd)
{
    struct pins pins;
    bool more = true;
    int rc = 0;

    pins.n = 0;
    if (!rd->may_block && rd->n > LOOP_KEYS_MAX)
        return CAIRN_KV_LATER;
    for (uint32_t i = 0; i < rd->n && rc == 0 && more; i++)
        rc = rocksdb_read_one(st, rd, i, &pins, &more);
    if (rc == 0 && rd->end != NULL)
        rd->end(rd->arg);
    pins_drop(&pins);
    return rc == CAIRN_ROCKS_LATER ? (rd->may_block ? CAIRN_E_IO : CAIRN_KV_LATER) : rc;
}

static bool on_scan_entry(void *arg, const uint8_t *key, size_t klen, const uint8_t *val, size_t vlen)
{
    struct cairn_kv_scan *scan = arg;

    return scan->entry(scan->arg, key + KV_DB_PREFIX_BYTES, (uint32_t)klen - KV_DB_PREFIX_BYTES,
                       scan->values ? val : NULL, (uint32_t)vlen);
}

/* As deadlines are, on a thread that has no loop. */
static uint64_t now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_BOOTTIME, &ts);
    return (uint64_t)ts.tv_sec * CAIRN_NS_PER_S + (uint64_t)ts.tv_nsec;
}

/* Microseconds until the deadline, at least one. */
static uint64_t timeout_us(uint64_t deadline_ns)
{
    uint64_t now = now_ns();

    return deadline_ns > now ? (deadline_ns - now) / 1000 + 1 : 1;
}

int cairn_kv__rocksdb_scan(struct cairn_kv_store *st, struct cairn_kv_scan *scan)
{
    const struct cairn_kv_range *r = scan->range;
    struct cairn_kv__full_key lo, hi;
    struct cairn_rocks_scan rs = { .at = scan->at,
                                   .lo = lo.bytes,
                                   .hi = hi.bytes,
                                   .reverse = scan->reverse,
                                   .may_block = scan->may_block,
                                   .entry = on_scan_entry,
                                   .arg = scan };
    int rc;

    scan->more = false;
    if (cairn_kv_range_is_empty(r))
        return 0;
    cairn_kv__full_key_bound(&scan->db, r->lo, r->lo_len, &lo);
    if (r->bounded)
        cairn_kv__full_key_bound(&scan->db, r->hi, r->hi_len, &hi);
    else
        cairn_kv__full_key_end(&scan->db, &hi);
    rs.lo_len = lo.len;
    rs.hi_len = hi.len;
    if (scan->may_block && scan->deadline_ns != 0)
        rs.timeout_us = timeout_us(scan->deadline_ns);
    if (scan->at != NULL || !kv_ahead_has(&st->ahead, scan->db.handle))
        rc = cairn_rocks_scan(st->rocks, &rs);
    else if (scan->may_block)
        rc = cairn_kv__rocksdb_scan_both(st, &rs);
    else
        return CAIRN_KV_LATER;
    scan->more = rs.more;
    return rc == CAIRN_ROCKS_LATER ? (scan->may_block ? CAIRN_E_IO : CAIRN_KV_LATER) : rc;
}

static bool on_usage_entry(void *arg, const uint8_t *key, uint32_t klen, const uint8_t *val, uint32_t vlen)
{
    struct cairn_kv_usage *u = arg;

    (void)key;
    (void)val;
    u->bytes += klen + vlen;
    return ++u->keys < COUNT_KEYS_MAX;
}

/* A small database is counted; of a large one the engine knows the bytes in its files, and all keys together: its share
 * of them is by its bytes. */
int cairn_kv__rocksdb_usage(struct cairn_kv_store *st, const struct cairn_kv_db *db, struct cairn_kv_usage *out)
{
    static const uint8_t all_lo[1] = { 0 }, all_hi[5] = { 0xff, 0xff, 0xff, 0xff, 0xff };
    struct cairn_kv_range range = { .bounded = false };
    struct cairn_kv_scan scan = { .db = *db, .range = &range, .may_block = true, .entry = on_usage_entry, .arg = out };
    struct cairn_kv__full_key lo, hi;
    uint64_t bytes, all_bytes, all_keys;
    int rc;

    *out = (struct cairn_kv_usage){ .keys_exact = true };
    scan.deadline_ns = now_ns() + COUNT_MS * CAIRN_NS_PER_MS; /* few keys may lie behind many that were removed */
    rc = cairn_kv__rocksdb_scan(st, &scan);
    if (rc != CAIRN_E_TIMEOUT && (rc != 0 || !scan.more))
        return rc;
    out->keys_exact = false;
    cairn_kv__full_key_bound(db, NULL, 0, &lo);
    cairn_kv__full_key_end(db, &hi);
    bytes = cairn_rocks_range_bytes(st->rocks, lo.bytes, lo.len, hi.bytes, hi.len);
    all_bytes = cairn_rocks_range_bytes(st->rocks, all_lo, sizeof(all_lo), all_hi, sizeof(all_hi));
    all_keys = cairn_rocks_keys_estimate(st->rocks);
    out->bytes = MAX(out->bytes, bytes);
    if (all_bytes > 0)
        out->keys = MAX(out->keys, (uint64_t)((double)all_keys * (double)bytes / (double)all_bytes));
    return 0;
}
