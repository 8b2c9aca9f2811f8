/** Files that are mapped while somebody else may change them: their shrinking is noticed instead of ending the
 * process. */
#ifndef CAIRN_TOOLS_GUARDED_H
#define CAIRN_TOOLS_GUARDED_H

#include <stdint.h>
#include <time.h>

struct guarded_map {
    void *data;
    uint64_t size;
    int fd;
    struct timespec mtime;
};

/** Maps the @size > 0 bytes of a file, to be read by the calling thread, which has one at a time. Takes @fd, whatever
 * it returns: 0, CAIRN_E_STATE if the file has another size, or a positive errno. */
int guarded_map(int fd, uint64_t size, struct guarded_map *map);
/** Returns 0, or CAIRN_E_STATE if the file was changed since. */
int guarded_unmap(struct guarded_map *map);

#endif
