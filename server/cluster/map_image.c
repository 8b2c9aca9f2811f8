/* The bytes of a `local` map store: see map_image.h. */
#include "server/cluster/map_image.h"

#include "sdk/core/base/crc.h"
#include "sdk/core/base/macros.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const char image_magic[8] = { 'C', 'A', 'I', 'R', 'N', 'M', 'A', 'P' };

void cairn_map_image_put_entry(struct cairn_le_writer *to, const struct cairn_map_entry *e)
{
    size_t key_len = strlen(e->key);

    cairn_le_put64(to, e->created);
    cairn_le_put64(to, e->changed);
    cairn_le_put32(to, (uint32_t)key_len);
    cairn_le_put32(to, e->value_len);
    cairn_le_put(to, e->key, key_len);
    cairn_le_put(to, e->value, e->value_len);
}

void cairn_map_image_put_header(uint8_t *image, const struct cairn_map_image_info *info, size_t body_len)
{
    struct cairn_le_writer w = cairn_le_writer(image, CAIRN_MAP_IMAGE_HEADER_BYTES);

    cairn_le_put(&w, image_magic, sizeof(image_magic));
    cairn_le_put32(&w, CAIRN_MAP_IMAGE_VERSION);
    cairn_le_put32(&w, info->entries);
    cairn_le_put64(&w, info->revision);
    cairn_le_put64(&w, body_len);
    cairn_le_put32(&w, cairn_crc32c(0, image + CAIRN_MAP_IMAGE_HEADER_BYTES, body_len));
    cairn_le_put32(&w, cairn_crc32c(0, image, (size_t)(w.at - image)));
    CAIRN_ASSERT(!w.failed && w.at == w.end);
}

/* Fills @info, and leaves @r at the first entry. */
static int header_get(struct cairn_le_reader *r, struct cairn_map_image_info *info, struct cairn_err *err)
{
    const uint8_t *image = r->at, *magic = cairn_le_take(r, sizeof(image_magic));
    uint32_t version = cairn_le_get32(r), body_crc, head_crc, head_crc_now;
    uint64_t body_len;

    info->entries = cairn_le_get32(r);
    info->revision = cairn_le_get64(r);
    body_len = cairn_le_get64(r);
    body_crc = cairn_le_get32(r);
    head_crc_now = cairn_crc32c(0, image, (size_t)(r->at - image));
    head_crc = cairn_le_get32(r);
    if (r->failed)
        return cairn_err_set(err, CAIRN_E_CORRUPT, "%zu bytes are too few", (size_t)(r->end - image));
    if (memcmp(magic, image_magic, sizeof(image_magic)) != 0)
        return cairn_err_set(err, CAIRN_E_CORRUPT, "this is no map file");
    if (head_crc != head_crc_now)
        return cairn_err_set(err, CAIRN_E_CORRUPT, "checksum mismatch in the header");
    if (version != CAIRN_MAP_IMAGE_VERSION)
        return cairn_err_set(err, CAIRN_E_FORMAT, "format version %" PRIu32 "; this program knows %d", version,
                             CAIRN_MAP_IMAGE_VERSION);
    if (body_len != cairn_le_left(r))
        return cairn_err_set(err, CAIRN_E_CORRUPT, "%" PRIu64 " bytes of entries were written, %zu are there", body_len,
                             cairn_le_left(r));
    if (body_crc != cairn_crc32c(0, r->at, cairn_le_left(r)))
        return cairn_err_set(err, CAIRN_E_CORRUPT, "checksum mismatch in the entries");
    return 0;
}

/* The next entry; false when it is not well-formed. */
static bool entry_get(struct cairn_le_reader *r, char *key, struct cairn_map_entry *e)
{
    const uint8_t *text;
    uint32_t key_len;

    e->created = cairn_le_get64(r);
    e->changed = cairn_le_get64(r);
    key_len = cairn_le_get32(r);
    e->value_len = cairn_le_get32(r);
    if (key_len == 0 || key_len > CAIRN_MAP_KEY_BYTES_MAX || e->value_len > CAIRN_MAP_VALUE_BYTES_MAX)
        return false;
    text = cairn_le_take(r, key_len);
    e->value = cairn_le_take(r, e->value_len);
    if (r->failed || memchr(text, '\0', key_len) != NULL)
        return false;
    memcpy(key, text, key_len);
    key[key_len] = '\0';
    e->key = key;
    e->lease = 0;
    return true;
}

int cairn_map_image_read(const uint8_t *image, size_t len, struct cairn_map_image_info *info,
                         int (*fn)(const struct cairn_map_entry *e, void *arg), void *arg, struct cairn_err *err)
{
    char keys[2][CAIRN_MAP_KEY_BYTES_MAX + 1] = { "", "" };
    struct cairn_le_reader r = cairn_le_reader(image, len);
    int rc = header_get(&r, info, err);

    if (rc != 0)
        return rc;
    for (uint32_t i = 0; i < info->entries; i++) {
        struct cairn_map_entry e;

        if (!entry_get(&r, keys[i % 2], &e) || strcmp(keys[(i + 1) % 2], keys[i % 2]) >= 0 || e.created == 0 ||
            e.created > e.changed || e.changed > info->revision)
            return cairn_err_set(err, CAIRN_E_CORRUPT, "entry %" PRIu32 " is malformed", i);
        rc = fn(&e, arg);
        if (rc != 0)
            return rc;
    }
    if (cairn_le_left(&r) > 0)
        return cairn_err_set(err, CAIRN_E_CORRUPT, "bytes behind the last entry");
    return 0;
}

static int image_make(const struct cairn_map_table *t, uint64_t revision, uint8_t **image, size_t *len,
                      struct cairn_err *err)
{
    struct cairn_map_image_info info = { .revision = revision };
    struct cairn_le_writer body;

    *image = malloc(CAIRN_MAP_IMAGE_HEADER_BYTES + t->bytes);
    if (*image == NULL)
        return cairn_err_set(err, CAIRN_E_NOMEM, "%zu bytes of map", t->bytes);
    body = cairn_le_writer(*image + CAIRN_MAP_IMAGE_HEADER_BYTES, t->bytes);
    for (uint32_t i = 0; i < t->n; i++) {
        if (t->nodes[i]->e.lease == 0) {
            cairn_map_image_put_entry(&body, &t->nodes[i]->e);
            info.entries++;
        }
    }
    CAIRN_ASSERT(!body.failed);
    *len = (size_t)(body.at - *image);
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
