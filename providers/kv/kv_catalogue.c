/* The catalogue of databases: see kv_catalogue.h. */
#include "providers/kv/kv_catalogue.h"

#include "providers/kv/kv_store_rocksdb.h"

#include <endian.h>
#include <string.h>

enum { CATALOGUE_VERSION = 1, CATALOGUE_KEY_BYTES = KV_DB_PREFIX_BYTES + 1 };

/* Stored: never change it but with CATALOGUE_VERSION. */
struct catalogue_entry {
    uint8_t version, order, write_once, zero;
    uint32_t handle; /* little-endian */
};
_Static_assert(sizeof(struct catalogue_entry) == 8, "the catalogue is a disk format");

static uint32_t catalogue_key(char type, const char *name, uint8_t *key)
{
    size_t n = strlen(name);

    memset(key, 0, KV_DB_PREFIX_BYTES);
    key[KV_DB_PREFIX_BYTES] = (uint8_t)type;
    memcpy(key + CATALOGUE_KEY_BYTES, name, n);
    return CATALOGUE_KEY_BYTES + (uint32_t)n;
}

struct catalogue_load {
    struct cairn_kv_dir *dir;
    struct cairn_err *err;
    int rc;
    uint32_t nlost, needed;              /* databases that have no place in @dir, and how many places would do */
    char lost[CAIRN_NAME_BYTES_MAX + 1]; /* one of them */
};

static int catalogue_entry_load(struct catalogue_load *load, const uint8_t *key, size_t klen, const uint8_t *val,
                                size_t vlen)
{
    struct catalogue_entry entry;
    struct cairn_kv_db_desc desc = { 0 };
    size_t n = klen - CATALOGUE_KEY_BYTES;
    int rc;

    if (n == 0 || n > CAIRN_NAME_BYTES_MAX || vlen < sizeof(entry))
        return cairn_err_set(load->err, CAIRN_E_CORRUPT, "catalogue entry of %zu and %zu bytes", klen, vlen);
    memcpy(&entry, val, sizeof(entry));
    memcpy(desc.name, key + CATALOGUE_KEY_BYTES, n);
    if (entry.version != CATALOGUE_VERSION || entry.order > CAIRN_KV_UINT)
        return cairn_err_set(load->err, CAIRN_E_FORMAT, "database %s: catalogue version %u, order %u", desc.name,
                             entry.version, entry.order);
    desc.db.handle = le32toh(entry.handle);
    desc.db.slot = (uint16_t)(desc.db.handle & (CAIRN_KV_DB_MAX - 1));
    desc.db.order = entry.order;
    desc.db.write_once = entry.write_once != 0;
    rc = cairn_kv_dir_restore(load->dir, &desc);
    if (rc == CAIRN_E_LIMIT) { /* all of them count, for the cure */
        load->nlost++;
        load->needed = MAX(load->needed, desc.db.slot + 1U);
        strcpy(load->lost, desc.name);
        return 0;
    }
    return cairn_err_set(load->err, rc, "database %s, handle %u", desc.name, desc.db.handle);
}

static bool on_catalogue_entry(void *arg, const uint8_t *key, size_t klen, const uint8_t *val, size_t vlen)
{
    struct catalogue_load *load = arg;

    if (klen < CATALOGUE_KEY_BYTES) {
        load->rc = cairn_err_set(load->err, CAIRN_E_CORRUPT, "catalogue key of %zu bytes", klen);
    } else if (key[KV_DB_PREFIX_BYTES] == 'G' && vlen == sizeof(uint32_t)) {
        uint32_t generation;

        memcpy(&generation, val, sizeof(generation));
        load->dir->generation = le32toh(generation);
    } else if (key[KV_DB_PREFIX_BYTES] == 'D') {
        load->rc = catalogue_entry_load(load, key, klen, val, vlen);
    }
    return load->rc == 0;
}

int cairn_kv__catalogue_load(struct cairn_rocks *rocks, struct cairn_kv_dir *dir, struct cairn_err *err)
{
    static const uint8_t lo[KV_DB_PREFIX_BYTES] = { 0 }, hi[KV_DB_PREFIX_BYTES] = { 0, 0, 0, 1 };
    struct catalogue_load load = { .dir = dir, .err = err };
    struct cairn_rocks_scan scan = { .lo = lo,
                                     .hi = hi,
                                     .lo_len = sizeof(lo),
                                     .hi_len = sizeof(hi),
                                     .may_block = true,
                                     .entry = on_catalogue_entry,
                                     .arg = &load };
    int rc = cairn_rocks_scan(rocks, &scan);

    if (rc != 0)
        return cairn_err_set(err, rc, "the catalogue of databases cannot be read");
    if (load.rc == 0 && load.nlost > 0)
        return cairn_err_set(err, CAIRN_E_CONFIG,
                             "`databases` is %u, which is less than it was: %u of the databases that are stored here, "
                             "%s among them, would be lost sight of; set it to %u or more",
                             dir->max, load.nlost, load.lost, load.needed);
    return load.rc;
}

void cairn_kv__catalogue_put(struct cairn_rocks_batch *b, const struct cairn_kv_db_desc *desc)
{
    struct catalogue_entry entry = { .version = CATALOGUE_VERSION,
                                     .order = desc->db.order,
                                     .write_once = desc->db.write_once,
                                     .handle = htole32(desc->db.handle) };
    uint8_t key[CATALOGUE_KEY_BYTES + CAIRN_NAME_BYTES_MAX];
    uint32_t klen = catalogue_key('D', desc->name, key);

    cairn_rocks_batch_put(b, key, klen, &entry, sizeof(entry));
}

void cairn_kv__catalogue_put_generation(struct cairn_rocks_batch *b, uint32_t generation)
{
    uint8_t key[CATALOGUE_KEY_BYTES + CAIRN_NAME_BYTES_MAX];
    uint32_t klen = catalogue_key('G', "", key), stored = htole32(generation);

    cairn_rocks_batch_put(b, key, klen, &stored, sizeof(stored));
}

void cairn_kv__catalogue_erase(struct cairn_rocks_batch *b, const char *name)
{
    uint8_t key[CATALOGUE_KEY_BYTES + CAIRN_NAME_BYTES_MAX];
    uint32_t klen = catalogue_key('D', name, key);

    cairn_rocks_batch_erase(b, key, klen);
}
