/** What this machine, or this build, does not let be shown is said in one form, which tests/run collects: cmocka's own skip()
 * leaves no word of why, and a case of ctest passes however much of it was skipped. */
#ifndef CAIRN_TESTS_SKIP_H
#define CAIRN_TESTS_SKIP_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

/** Of more than one test: who says this runs none of them. */
__attribute__((format(printf, 1, 2))) static inline void skip_say(const char *why, ...)
{
    va_list args;

    va_start(args, why);
    printf("skipped: %s: ", program_invocation_short_name);
    vprintf(why, args);
    printf("\n");
    va_end(args);
}

/** Ends the test that calls it. */
#define skip_because(...) (skip_say(__VA_ARGS__), skip())

#endif
