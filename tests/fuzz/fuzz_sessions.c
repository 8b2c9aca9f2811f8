/* The image of a session table as a disk or another node hands it over. The first eight bytes are the position that the
 * reader expects; the checksum is put right first, or nothing behind it would ever be looked at. */
#include "server/cluster/repl/sessions_image.h"

#include "sdk/core/base/crc.h"

#include <endian.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct cairn_sessions t;
    uint64_t pos;
    uint32_t crc;
    uint8_t *image;

    if (size < sizeof(pos))
        return 0;
    memcpy(&pos, data, sizeof(pos));
    pos = le64toh(pos);
    data += sizeof(pos);
    size -= sizeof(pos);
    image = malloc(size + 1);
    if (image == NULL)
        return 0;
    memcpy(image, data, size);
    if (size >= CAIRN_SESSIONS_IMAGE_HEADER_BYTES) {
        crc = htole32(cairn_crc32c(0, image + 8, size - 8));
        memcpy(image + 4, &crc, sizeof(crc));
    }
    cairn_sessions_init(&t);
    if (cairn_sessions_image_get(&t, pos, image, size) == 0) { /* what was taken gives the same image */
        uint8_t *again = malloc(size);

        CAIRN_ASSERT(again != NULL && cairn_sessions_image_bytes(&t, pos) == size);
        cairn_sessions_image_put(&t, pos, again, size);
        CAIRN_ASSERT(memcmp(image, again, size) == 0);
        free(again);
    } else {
        CAIRN_ASSERT(t.n == 0 && t.all == NULL);
    }
    cairn_sessions_fini(&t);
    free(image);
    return 0;
}
