/* Arbitrary request bodies for the real handlers of one provider: the first byte is the method, two more the length of
 * the body, then body and payload; several in a row. Memory backends, one thread, nothing of the machine but /dev/shm.
 */
#ifndef CAIRN_FUZZ_REQUESTS_H
#define CAIRN_FUZZ_REQUESTS_H

#include <stddef.h>
#include <stdint.h>

int fuzz_requests(const char *provider, const uint8_t *data, size_t size);

#endif
