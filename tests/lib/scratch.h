/** Directories of a test's own, which are gone when its process is, however that ended. */
#ifndef CAIRN_TESTS_SCRATCH_H
#define CAIRN_TESTS_SCRATCH_H

enum { SCRATCH_MAX = 64 };

/** Makes an empty one below /tmp, mode 0700; its path, which is short enough for a socket in it, goes into @dir. Ends
 * the program with a message when it cannot be had. */
void scratch_new(char dir[SCRATCH_MAX]);
/** Likewise, in memory: below /dev/shm, or where that is not to be had below /tmp. */
void scratch_new_in_memory(char dir[SCRATCH_MAX]);
/** Removes @dir with what is in it, before the end. What is mounted there is unmounted, then as at the end. */
void scratch_remove(const char *dir);

#endif
