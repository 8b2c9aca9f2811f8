/** Little-endian numbers in bytes, as files and packets have them.
 *
 * Reader and writer know where their bytes end and fail for good at the first step beyond: a reader then gives zeros,
 * a writer writes nothing. So whoever decodes something hostile reads all of it and looks at `failed` once, before it
 * believes any of it. */
#ifndef CAIRN_CORE_BASE_LE_H
#define CAIRN_CORE_BASE_LE_H

#include <endian.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* ---- numbers at any address ---- */

static inline uint16_t cairn_le_load16(const uint8_t *p)
{
    uint16_t v;

    memcpy(&v, p, sizeof(v));
    return le16toh(v);
}

static inline uint32_t cairn_le_load32(const uint8_t *p)
{
    uint32_t v;

    memcpy(&v, p, sizeof(v));
    return le32toh(v);
}

static inline uint64_t cairn_le_load64(const uint8_t *p)
{
    uint64_t v;

    memcpy(&v, p, sizeof(v));
    return le64toh(v);
}

static inline void cairn_le_store32(uint8_t *p, uint32_t v)
{
    v = htole32(v);
    memcpy(p, &v, sizeof(v));
}

static inline void cairn_le_store64(uint8_t *p, uint64_t v)
{
    v = htole64(v);
    memcpy(p, &v, sizeof(v));
}

/* ---- reading ---- */

struct cairn_le_reader {
    const uint8_t *at, *end;
    bool failed;
};

/** @bytes may be NULL if there are none. */
static inline struct cairn_le_reader cairn_le_reader(const void *bytes, size_t len)
{
    const uint8_t *p = bytes;

    return (struct cairn_le_reader){ .at = p, .end = len > 0 ? p + len : p };
}

static inline size_t cairn_le_left(const struct cairn_le_reader *r)
{
    return (size_t)(r->end - r->at);
}

/** The next @n bytes, where they lie, or NULL. */
static inline const uint8_t *cairn_le_take(struct cairn_le_reader *r, size_t n)
{
    const uint8_t *p = r->at;

    if (r->failed || cairn_le_left(r) < n) {
        r->failed = true;
        r->at = r->end;
        return NULL;
    }
    r->at += n;
    return p;
}

static inline uint8_t cairn_le_get8(struct cairn_le_reader *r)
{
    const uint8_t *p = cairn_le_take(r, 1);

    return p != NULL ? *p : 0;
}

static inline uint16_t cairn_le_get16(struct cairn_le_reader *r)
{
    const uint8_t *p = cairn_le_take(r, 2);

    return p != NULL ? cairn_le_load16(p) : 0;
}

static inline uint32_t cairn_le_get32(struct cairn_le_reader *r)
{
    const uint8_t *p = cairn_le_take(r, 4);

    return p != NULL ? cairn_le_load32(p) : 0;
}

static inline uint64_t cairn_le_get64(struct cairn_le_reader *r)
{
    const uint8_t *p = cairn_le_take(r, 8);

    return p != NULL ? cairn_le_load64(p) : 0;
}

/* ---- writing ---- */

struct cairn_le_writer {
    uint8_t *at, *end;
    bool failed;
};

static inline struct cairn_le_writer cairn_le_writer(void *bytes, size_t room)
{
    uint8_t *p = bytes;

    return (struct cairn_le_writer){ .at = p, .end = p + room };
}

static inline void cairn_le_put(struct cairn_le_writer *w, const void *p, size_t n)
{
    if (w->failed || (size_t)(w->end - w->at) < n) {
        w->failed = true;
        return;
    }
    if (n > 0) /* @p may be NULL then */
        memcpy(w->at, p, n);
    w->at += n;
}

static inline void cairn_le_put8(struct cairn_le_writer *w, uint8_t v)
{
    cairn_le_put(w, &v, sizeof(v));
}

static inline void cairn_le_put16(struct cairn_le_writer *w, uint16_t v)
{
    v = htole16(v);
    cairn_le_put(w, &v, sizeof(v));
}

static inline void cairn_le_put32(struct cairn_le_writer *w, uint32_t v)
{
    v = htole32(v);
    cairn_le_put(w, &v, sizeof(v));
}

static inline void cairn_le_put64(struct cairn_le_writer *w, uint64_t v)
{
    v = htole64(v);
    cairn_le_put(w, &v, sizeof(v));
}

#endif
