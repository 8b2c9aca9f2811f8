/** How far a long command is: a line on a terminal, or lines of JSON for programs; nothing otherwise. */
#ifndef CAIRN_TOOLS_PROGRESS_H
#define CAIRN_TOOLS_PROGRESS_H

#include "tools/cairn/cli.h"

#include <pthread.h>
#include <stdatomic.h>

struct cli_progress {
    struct cli *cli;
    const char *verb; /* "import" */
    /* Raised by any thread. */
    _Atomic uint64_t files, bytes;
    _Atomic uint64_t skipped_files, skipped_bytes; /* among these; they cost no time, so no rate counts them */
    /* What there is in all, once known. */
    _Atomic uint64_t files_total, bytes_total;
    _Atomic bool totals_known;

    uint64_t began_ns;
    bool shown, running;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool over; /* under lock */
};

/** True if anybody would see it, so totals are worth finding out. */
bool cli_progress_is_shown(const struct cli *cli);
void cli_progress_start(struct cli_progress *p, struct cli *cli, const char *verb);
/** Clears the line. Returns how long it all took. */
uint64_t cli_progress_stop(struct cli_progress *p);

/** The line itself, without escapes: "import  1,204 files  38 MiB  112 MiB/s  3.1 s left". */
void cli_progress_line(const struct cli_progress *p, uint64_t now_ns, char *buf, size_t room);

#endif
