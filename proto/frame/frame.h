/** Frames: what travels between two ends, and the decoder that finds them in a stream of bytes.
 *
 *      0        2      3      4       6          8        10       12      16         20        24           28      32
 *      | magic  | ver  | kind | flags | provider | method | seq    | value | id       | body n  | payload n  | crc   |
 *
 * Little-endian. `value` is the deadline in milliseconds of a request (0: none) and the status of a reply. `crc` is the
 * CRC32C of the first 28 bytes and the body; the payload carries checksums of its own where it matters (extents), and
 * CAIRN_FRAME_CRC_PAYLOAD says that `crc` covers it too. `id` names a call on its connection; `seq` numbers the calls
 * of a session that change something, so that a repeated one is recognised (sdk/core/rpc/rpc_dedup.h).
 *
 * The decoder keeps no state but the caller's buffer: whole frames are handed out in place, the rest waits for more
 * bytes. Nothing here allocates. */
#ifndef CAIRN_PROTO_FRAME_H
#define CAIRN_PROTO_FRAME_H

#include "cairn/limits.h"

#include <stddef.h>
#include <stdint.h>

enum { CAIRN_FRAME_MAGIC = 0xCA17, CAIRN_FRAME_VERSION = 1 };

enum cairn_frame_kind {
    CAIRN_FRAME_HELLO = 1, /* handshake, both directions; `method` is the step */
    CAIRN_FRAME_REQUEST = 2,
    CAIRN_FRAME_REPLY = 3,
    CAIRN_FRAME_CANCEL = 4,  /* `id` of a request whose answer nobody waits for any more */
    CAIRN_FRAME_GOODBYE = 5, /* the sender will close; `value` says why */
    CAIRN_FRAME_KIND_LAST = CAIRN_FRAME_GOODBYE
};

enum cairn_frame_flags {
    CAIRN_FRAME_CRC_PAYLOAD = 1, /* crc covers the payload */
    CAIRN_FRAME_RETRY = 2,       /* a request that may have been sent before */
    CAIRN_FRAME_TOLD = 4,        /* a request that nobody answers, whatever becomes of it; its `id` says nothing */
    CAIRN_FRAME_FLAGS_ALL = 7
};

struct cairn_frame {
    uint8_t kind;
    uint16_t flags, provider, method, seq;
    int32_t value;
    uint32_t id;
    uint32_t body_len, payload_len;
    const uint8_t *body, *payload; /* in the caller's buffer */
};

/** Writes the header of @f to @to (CAIRN_FRAME_HEADER_BYTES), its checksum covering f->body[0..body_len) and, with
 * CAIRN_FRAME_CRC_PAYLOAD, the payload. */
void cairn_frame_encode_header(uint8_t *to, const struct cairn_frame *f);

/** Looks at the @n bytes at @buf. Returns
 *   > 0   the whole frame's length; *@f is filled and points into @buf
 *     0   more bytes are needed; *@need is how many the frame has in all, as far as known (at least a header)
 *   CAIRN_E_PROTO    wrong magic, kind, reserved bits or checksum
 *   CAIRN_E_VERSION  the magic is right and the version is not
 *   CAIRN_E_TOOBIG   body or payload above the limit, refused before a byte of them is buffered
 * After an error nothing of the stream can be trusted: close the connection. */
int64_t cairn_frame_decode(const uint8_t *buf, size_t n, struct cairn_frame *f, size_t *need);

#endif
