/* Members' records of a map store: any bytes are refused, or a member within its bounds that is written and read as the
 * same. */
#include "server/cluster/service/member.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static struct cairn_member m, again;
    uint8_t bytes[CAIRN_MEMBER_BYTES_MAX], twice[CAIRN_MEMBER_BYTES_MAX];
    size_t n;

    memset(&m, 0, sizeof(m));
    memset(&again, 0, sizeof(again));
    if (cairn_member_unpack(&m, data, len, NULL) != 0)
        return 0;
    n = cairn_member_pack(&m, bytes);
    if (cairn_member_unpack(&again, bytes, n, NULL) != 0 || memcmp(&m, &again, sizeof(m)) != 0 ||
        cairn_member_pack(&again, twice) != n || memcmp(bytes, twice, n) != 0)
        abort();
    return 0;
}
