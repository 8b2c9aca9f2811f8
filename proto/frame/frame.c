/* Frame header and decoder: see frame.h. */
#include "proto/frame/frame.h"

#include "cairn/error.h"
#include "proto/frame/crc32c.h"

#include <endian.h>
#include <string.h>

struct frame_hdr {
    uint16_t magic;
    uint8_t version, kind;
    uint16_t flags, provider, method, seq;
    uint32_t value, id, body_len, payload_len, crc;
};

_Static_assert(sizeof(struct frame_hdr) == CAIRN_FRAME_HEADER_BYTES, "the frame header is a wire format");
_Static_assert(offsetof(struct frame_hdr, crc) == 28, "the checksum covers what stands before it");
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "fields are copied as they are");

static uint32_t frame_crc(const uint8_t *hdr, const struct cairn_frame *f)
{
    uint32_t crc = cairn_crc32c_step(~UINT32_C(0), hdr, offsetof(struct frame_hdr, crc));

    crc = cairn_crc32c_step(crc, f->body, f->body_len);
    if ((f->flags & CAIRN_FRAME_CRC_PAYLOAD) != 0)
        crc = cairn_crc32c_step(crc, f->payload, f->payload_len);
    return ~crc;
}

void cairn_frame_encode_header(uint8_t *to, const struct cairn_frame *f)
{
    struct frame_hdr h = {
        .magic = CAIRN_FRAME_MAGIC,
        .version = CAIRN_FRAME_VERSION,
        .kind = f->kind,
        .flags = f->flags,
        .provider = f->provider,
        .method = f->method,
        .seq = f->seq,
        .value = (uint32_t)f->value,
        .id = f->id,
        .body_len = f->body_len,
        .payload_len = f->payload_len,
    };

    h.crc = frame_crc((const uint8_t *)&h, f);
    memcpy(to, &h, sizeof(h));
}

int64_t cairn_frame_decode(const uint8_t *buf, size_t n, struct cairn_frame *f, size_t *need)
{
    struct frame_hdr h;
    size_t total;

    *need = CAIRN_FRAME_HEADER_BYTES;
    if (n < CAIRN_FRAME_HEADER_BYTES)
        return 0;
    memcpy(&h, buf, sizeof(h));
    if (h.magic != CAIRN_FRAME_MAGIC)
        return CAIRN_E_PROTO;
    if (h.version != CAIRN_FRAME_VERSION)
        return CAIRN_E_VERSION;
    if (h.kind == 0 || h.kind > CAIRN_FRAME_KIND_LAST || (h.flags & ~CAIRN_FRAME_FLAGS_ALL) != 0)
        return CAIRN_E_PROTO;
    if (h.body_len > CAIRN_FRAME_BODY_BYTES_MAX || h.payload_len > CAIRN_FRAME_PAYLOAD_BYTES_MAX)
        return CAIRN_E_TOOBIG;
    total = CAIRN_FRAME_HEADER_BYTES + (size_t)h.body_len + h.payload_len;
    *need = total;
    if (n < total)
        return 0;
    f->kind = h.kind;
    f->flags = h.flags;
    f->provider = h.provider;
    f->method = h.method;
    f->seq = h.seq;
    f->value = (int32_t)h.value;
    f->id = h.id;
    f->body_len = h.body_len;
    f->payload_len = h.payload_len;
    f->body = buf + CAIRN_FRAME_HEADER_BYTES;
    f->payload = f->body + h.body_len;
    if (frame_crc(buf, f) != h.crc)
        return CAIRN_E_PROTO;
    return (int64_t)total;
}
