/* The bytes of a `local` map store: see map_image.h. */
#include "server/cluster/map_image.h"

#include "sdk/core/base/crc.h"
#include "sdk/core/base/macros.h"

#include <endian.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const char image_magic[8] = { 'C', 'A', 'I', 'R', 'N', 'M', 'A', 'P' };

static uint8_t *put32(uint8_t *to, uint32_t v)
{
    v = htole32(v);
    memcpy(to, &v, sizeof(v));
    return to + sizeof(v);
}

static uint8_t *put64(uint8_t *to, uint64_t v)
{
    v = htole64(v);
    memcpy(to, &v, sizeof(v));
    return to + sizeof(v);
}

static uint32_t get32(const uint8_t *from)
{
    uint32_t v;

    memcpy(&v, from, sizeof(v));
    return le32toh(v);
}

static uint64_t get64(const uint8_t *from)
{
    uint64_t v;

    memcpy(&v, from, sizeof(v));
    return le64toh(v);
}

uint8_t *cairn_map_image_put_entry(uint8_t *to, const struct cairn_map_entry *e)
{
    size_t key_len = strlen(e->key);

    to = put64(to, e->created);
    to = put64(to, e->changed);
    to = put32(to, (uint32_t)key_len);
    to = put32(to, e->value_len);
    memcpy(to, e->key, key_len);
    to += key_len;
    if (e->value_len > 0)
        memcpy(to, e->value, e->value_len);
    return to + e->value_len;
}

void cairn_map_image_put_header(uint8_t *image, const struct cairn_map_image_info *info, size_t body_len)
{
    memcpy(image, image_magic, sizeof(image_magic));
    put32(image + 8, CAIRN_MAP_IMAGE_VERSION);
    put32(image + 12, info->entries);
    put64(image + 16, info->revision);
    put64(image + 24, body_len);
    put32(image + 32, cairn_crc32c(0, image + CAIRN_MAP_IMAGE_HEADER_BYTES, body_len));
    put32(image + 36, cairn_crc32c(0, image, 36));
}

static int header_check(const uint8_t *image, size_t len, struct cairn_err *err)
{
    if (len < CAIRN_MAP_IMAGE_HEADER_BYTES)
        return cairn_err_set(err, CAIRN_E_CORRUPT, "%zu bytes are too few", len);
    if (memcmp(image, image_magic, sizeof(image_magic)) != 0)
        return cairn_err_set(err, CAIRN_E_CORRUPT, "this is no map file");
    if (get32(image + 36) != cairn_crc32c(0, image, 36))
        return cairn_err_set(err, CAIRN_E_CORRUPT, "checksum mismatch in the header");
    if (get32(image + 8) != CAIRN_MAP_IMAGE_VERSION)
        return cairn_err_set(err, CAIRN_E_FORMAT, "format version %" PRIu32 "; this program knows %d", get32(image + 8),
                             CAIRN_MAP_IMAGE_VERSION);
    if (get64(image + 24) != len - CAIRN_MAP_IMAGE_HEADER_BYTES)
        return cairn_err_set(err, CAIRN_E_CORRUPT, "%" PRIu64 " bytes of entries were written, %zu are there",
                             get64(image + 24), len - CAIRN_MAP_IMAGE_HEADER_BYTES);
    if (get32(image + 32) != cairn_crc32c(0, image + CAIRN_MAP_IMAGE_HEADER_BYTES, len - CAIRN_MAP_IMAGE_HEADER_BYTES))
        return cairn_err_set(err, CAIRN_E_CORRUPT, "checksum mismatch in the entries");
    return 0;
}

/* Reads the entry at @at; returns where the next begins, or NULL when it is not well-formed. */
static const uint8_t *entry_get(const uint8_t *at, const uint8_t *end, char *key, struct cairn_map_entry *e)
{
    uint32_t key_len;

    if (end - at < CAIRN_MAP_IMAGE_ENTRY_BYTES)
        return NULL;
    e->created = get64(at);
    e->changed = get64(at + 8);
    key_len = get32(at + 16);
    e->value_len = get32(at + 20);
    at += CAIRN_MAP_IMAGE_ENTRY_BYTES;
    if (key_len == 0 || key_len > CAIRN_MAP_KEY_BYTES_MAX || e->value_len > CAIRN_MAP_VALUE_BYTES_MAX ||
        (uint64_t)(end - at) < (uint64_t)key_len + e->value_len || memchr(at, '\0', key_len) != NULL)
        return NULL;
    memcpy(key, at, key_len);
    key[key_len] = '\0';
    e->key = key;
    e->value = at + key_len;
    e->lease = 0;
    return e->value + e->value_len;
}

int cairn_map_image_read(const uint8_t *image, size_t len, struct cairn_map_image_info *info,
                         int (*fn)(const struct cairn_map_entry *e, void *arg), void *arg, struct cairn_err *err)
{
    char keys[2][CAIRN_MAP_KEY_BYTES_MAX + 1] = { "", "" };
    const uint8_t *at = image + CAIRN_MAP_IMAGE_HEADER_BYTES, *end = image + len;
    int rc = header_check(image, len, err);

    if (rc != 0)
        return rc;
    info->entries = get32(image + 12);
    info->revision = get64(image + 16);
    for (uint32_t i = 0; i < info->entries; i++) {
        struct cairn_map_entry e;

        at = entry_get(at, end, keys[i % 2], &e);
        if (at == NULL || strcmp(keys[(i + 1) % 2], keys[i % 2]) >= 0 || e.created == 0 || e.created > e.changed ||
            e.changed > info->revision)
            return cairn_err_set(err, CAIRN_E_CORRUPT, "entry %" PRIu32 " is malformed", i);
        rc = fn(&e, arg);
        if (rc != 0)
            return rc;
    }
    if (at != end)
        return cairn_err_set(err, CAIRN_E_CORRUPT, "bytes behind the last entry");
    return 0;
}

static int image_make(const struct cairn_map_table *t, uint64_t revision, uint8_t **image, size_t *len,
                      struct cairn_err *err)
{
    struct cairn_map_image_info info = { .revision = revision };
    uint8_t *at;

    *image = malloc(CAIRN_MAP_IMAGE_HEADER_BYTES + t->bytes);
    if (*image == NULL)
        return cairn_err_set(err, CAIRN_E_NOMEM, "%zu bytes of map", t->bytes);
    at = *image + CAIRN_MAP_IMAGE_HEADER_BYTES;
    for (uint32_t i = 0; i < t->n; i++) {
        if (t->nodes[i]->e.lease == 0) {
            at = cairn_map_image_put_entry(at, &t->nodes[i]->e);
            info.entries++;
        }
    }
    *len = (size_t)(at - *image);
    cairn_map_image_put_header(*image, &info, *len - CAIRN_MAP_IMAGE_HEADER_BYTES);
    return 0;
}

static int on_taken(const struct cairn_map_entry *e, void *arg)
{
    struct cairn_map_table *t = arg;
    struct cairn_map_node *n;
    int rc = cairn_map_table_reserve(t, t->n + 1);

    if (rc != 0)
        return rc;
    n = cairn_map_node_new(e);
    if (n == NULL)
        return CAIRN_E_NOMEM;
    cairn_map_table_append(t, n); /* keys ascend */
    return 0;
}

int cairn_map_image_load(const struct cairn_map_file *f, struct cairn_map_table *t, uint64_t *revision,
                         struct cairn_err *err)
{
    struct cairn_map_image_info info = { 0 };
    uint8_t *image;
    size_t len;
    int rc = cairn_map_file_load(f, CAIRN_MAP_IMAGE_HEADER_BYTES + CAIRN_MAP_BYTES_MAX, &image, &len, err);

    if (rc == 0 && image != NULL)
        rc = cairn_map_image_read(image, len, &info, on_taken, t, err);
    free(image);
    *revision = rc == 0 ? info.revision : 0;
    return cairn_err_wrap(err, rc, "%s", f->path);
}

int cairn_map_image_store(const struct cairn_map_file *f, const struct cairn_map_table *t, uint64_t revision,
                          struct cairn_err *err)
{
    uint8_t *image = NULL;
    size_t len = 0;
    int rc = image_make(t, revision, &image, &len, err);

    if (rc == 0)
        rc = cairn_map_file_replace(f, image, len, err);
    free(image);
    return rc;
}
