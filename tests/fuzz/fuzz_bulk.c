/* Request bodies for the bulk provider's handlers: requests.h. */
#include "tests/fuzz/requests.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    return fuzz_requests(FUZZ_MEMORY, "bulk", data, size);
}
