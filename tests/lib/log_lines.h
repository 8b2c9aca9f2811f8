/** What was logged to a file of a test. */
#ifndef CAIRN_TESTS_LOG_LINES_H
#define CAIRN_TESTS_LOG_LINES_H

#include <stdio.h>
#include <string.h>

/** So many lines of @f hold @with. */
static inline int lines_of(FILE *f, const char *with)
{
    char line[2048];
    int n = 0;

    rewind(f);
    while (fgets(line, sizeof(line), f) != NULL)
        n += strstr(line, with) != NULL;
    return n;
}

#endif
