/* Arbitrary request bodies for the real handlers of one provider, several in a row: the first byte is the method and
 * who asks (an administrator, or a user), two more the length of the body, one the length of the payload in units of
 * 16, then body and payload. A descriptor of memory with key 1 becomes one of memory that is there. One thread,
 * nothing of the machine but /dev/shm. */
#ifndef CAIRN_FUZZ_REQUESTS_H
#define CAIRN_FUZZ_REQUESTS_H

#include <stddef.h>
#include <stdint.h>

/** @yaml: the providers, of which @provider is one, or a part that every node has. The same for all inputs of a
 * program. */
int fuzz_requests(const char *yaml, const char *provider, const uint8_t *data, size_t size);

#define FUZZ_MEMORY                                                                                                    \
    "providers:\n"                                                                                                     \
    "  - {type: kv, name: kv, backend: memory, memory: 16MiB}\n"                                                       \
    "  - {type: extent, name: extent, backend: memory, capacity: 16MiB}\n"
#define FUZZ_DISK                                                                                                      \
    "providers:\n"                                                                                                     \
    "  - {type: kv, name: kv, backend: rocksdb, write_buffer: 1MiB, cache: 1MiB}\n"                                    \
    "  - {type: extent, name: extent, backend: file, capacity: 16MiB, segment: 4MiB, io: pool, direct: false}\n"

#endif
