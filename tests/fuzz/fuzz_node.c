/* Request bodies for the handlers of the node's own service: requests.h. */
#include "tests/fuzz/requests.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    return fuzz_requests(FUZZ_MEMORY, "node", data, size);
}
