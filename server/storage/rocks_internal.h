/* RocksDB by its C interface, from inside: rocks.c (opening, errors, status), rocks_read.c and rocks_write.c. */
#ifndef CAIRN_SERVER_STORAGE_ROCKS_INTERNAL_H
#define CAIRN_SERVER_STORAGE_ROCKS_INTERNAL_H

#include "server/storage/rocks.h"

#include <pthread.h>
#include <rocksdb/c.h>
#include <stdatomic.h>

struct cairn_rocks {
    rocksdb_t *db;
    rocksdb_options_t *options;
    rocksdb_cache_t *cache;
    rocksdb_readoptions_t *read_memory, *read_disk;
    rocksdb_writeoptions_t *write[3]; /* by enum cairn_rocks_log */
    const struct cairn_spare *spare;
    uint64_t write_buffer;
    bool only_look;
    atomic_ullong corrupt_reads, failed_writes, memory_hits, memory_misses;
    atomic_bool read_only;
    atomic_int refused;     /* why the newest write that was refused was */
    atomic_int sync_failed; /* why: no other is believed; 0: none has */
    pthread_mutex_t mutex;
    char last_error[256]; /* under mutex */
};

/* What the text of a failure means: CAIRN_E_*, or CAIRN_ROCKS_LATER. */
int cairn_rocks__error_of(const char *text);
/* Keeps the text of a failure for the status and logs it when it says something new. */
void cairn_rocks__note_error(struct cairn_rocks *r, const char *what, const char *text);
rocksdb_readoptions_t *cairn_rocks__read_memory_options(void);
/* The engine has something in memory from here on, until it begins a new log. NULL, or what it says. When the disk was
 * full and is not any more, it writes what it has in memory to a file and begins a new log. If it has nothing, as after
 * the first append to a log has failed, it goes on with that log, which takes nothing any more, and aborts:
 * file/writable_file_writer.h of 7.8, in packages that are built with assertions. */
char *cairn_rocks__remember_something(struct cairn_rocks *r);

#endif
