/** Bounds that both ends of a connection know. Sizes are bytes. */
#ifndef CAIRN_LIMITS_H
#define CAIRN_LIMITS_H

#include <stdint.h>

enum {
    CAIRN_FRAME_HEADER_BYTES = 32,
    CAIRN_FRAME_BODY_BYTES_MAX = 1 << 20,    /* protobuf body of one frame */
    CAIRN_FRAME_PAYLOAD_BYTES_MAX = 4 << 20, /* raw bytes behind the body: one page of a batch, or one bulk piece */
    CAIRN_HELLO_BYTES_MAX = 4096,            /* all that is buffered of a peer before it has proved who it is */
    CAIRN_HELLO_MS_MAX = 5000,               /* and for how long */

    CAIRN_KEY_BYTES_MAX = 4096,
    CAIRN_KV_VALUE_BYTES_MAX = 1 << 20, /* larger values belong into extents */
    CAIRN_BATCH_MAX = 4096,             /* entries of one batched call */
    CAIRN_NAME_BYTES_MAX = 255,         /* names of namespaces, databases, providers */

    CAIRN_EXTENT_CHUNK_BYTES = 64 << 10, /* one stored CRC32C covers this much of an extent */
    CAIRN_PART_BYTES = 256 << 20,        /* a larger value of a hashed namespace comes in parts of this size at most */
    CAIRN_PARTS_MAX = 4096,              /* of one value */
    CAIRN_BULK_THRESHOLD_BYTES =
        32 << 10, /* payloads above this travel as bulk; below, a copy into the frame is cheaper */
};

#define CAIRN_EXTENT_BYTES_MAX (UINT64_C(1) << 30) /* one extent region */
#define CAIRN_VALUE_BYTES_MAX  (UINT64_C(1) << 40) /* one value of a hashed namespace: many regions */
#define CAIRN_LENGTH_UNKNOWN   UINT64_MAX          /* in listings: what is stored there cannot be read */

#endif
