/* The frame decoder: whatever comes, it says so many bytes, more, or an error; and what it accepts survives a round
 * trip. */
#include "cairn/error.h"
#include "proto/frame/frame.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t at = 0, need;

    while (at <= size) {
        struct cairn_frame f, again;
        uint8_t header[CAIRN_FRAME_HEADER_BYTES];
        int64_t n = cairn_frame_decode(data + at, size - at, &f, &need);

        if (n < 0)
            break;
        if (n == 0) {
            if (need <= size - at)
                abort(); /* it waits for what it has */
            break;
        }
        if ((size_t)n > size - at || f.body + f.body_len + f.payload_len != data + at + n)
            abort();
        again = f;
        cairn_frame_encode_header(header, &again);
        if (memcmp(header, data + at, sizeof(header)) != 0)
            abort();
        at += (size_t)n;
    }
    /* With a right checksum, so that more than the checksum is tried. */
    if (size >= CAIRN_FRAME_HEADER_BYTES && size < (1 << 16)) {
        uint8_t *copy = malloc(size);
        struct cairn_frame f = { 0 };

        if (copy == NULL)
            return 0;
        memcpy(copy, data, size);
        f.kind = (uint8_t)(1 + data[3] % CAIRN_FRAME_KIND_LAST);
        f.flags = data[4] & CAIRN_FRAME_FLAGS_ALL;
        f.body = copy + CAIRN_FRAME_HEADER_BYTES;
        f.body_len = (uint32_t)((size - CAIRN_FRAME_HEADER_BYTES) * data[5] / 255);
        f.payload = f.body + f.body_len;
        f.payload_len = (uint32_t)(size - CAIRN_FRAME_HEADER_BYTES) - f.body_len;
        cairn_frame_encode_header(copy, &f);
        if (cairn_frame_decode(copy, size, &f, &need) != (int64_t)size)
            abort();
        free(copy);
    }
    return 0;
}
