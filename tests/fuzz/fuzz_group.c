/* Request bodies for the group provider's handlers: requests.h. What members send to each other is fuzz_swim's. */
#include "tests/fuzz/requests.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    return fuzz_requests("providers: [{type: group, name: group, listen: 'udp://127.0.0.1:0'}]\n", "group", data, size);
}
