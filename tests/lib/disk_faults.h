/** A disk that fails when told to: whoever calls this has fsync(), fdatasync(), pread() and write() of the whole
 * program, its libraries included, go through counters and switches. For files alone; nothing else of the system calls
 * is touched. */
#ifndef CAIRN_TESTS_DISK_FAULTS_H
#define CAIRN_TESTS_DISK_FAULTS_H

#include <stdint.h>

/** The next @n flushes fail with @error, and are not carried out. As with a kernel that tells of a lost page only once,
 * those behind them succeed. */
void disk_fail_syncs(uint32_t n, int error);
/** But so many before them succeed. */
void disk_skip_syncs(uint32_t n);
/** The next @n appends to files whose names end with @suffix, which is kept, fail with @error. */
void disk_fail_appends(const char *suffix, uint32_t n, int error);
/** Flushes that were asked for, failed ones included; and reads at an offset. */
uint64_t disk_syncs(void);
uint64_t disk_reads(void);

#endif
