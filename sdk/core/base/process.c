/* Processes by /proc: see process.h. */
#include "sdk/core/base/process.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* proc_pid_stat(5): the 22nd field; the second one is a name that may hold anything, up to the last bracket. */
uint64_t cairn_process_began(int pid)
{
    enum { STATE = 3, BEGAN = 22 };
    char path[32], text[1024], *at;
    uint64_t ticks = 0;
    size_t n;
    FILE *f;

    snprintf(path, sizeof(path), "/proc/%d/stat", pid);
    f = fopen(path, "re");
    if (f == NULL)
        return 0;
    n = fread(text, 1, sizeof(text) - 1, f);
    fclose(f);
    text[n] = '\0';
    at = strrchr(text, ')');
    for (int field = STATE - 1; at != NULL && field < BEGAN; field++) {
        at = strchr(at, ' ');
        at = at != NULL ? at + 1 : NULL;
    }
    return at != NULL && sscanf(at, "%" SCNu64, &ticks) == 1 ? ticks : 0;
}
