/* The allocator of the program that includes this: the nth allocation of a stretch of code fails, whoever makes it, and
 * what the stretch leaves behind is counted. One thread's stretch; other threads notice nothing. Sanitizers bring their
 * own allocator: with them FAILING_MALLOC is not defined, and a test has nothing to do. */
#ifndef TESTS_LIB_FAILING_MALLOC_H
#define TESTS_LIB_FAILING_MALLOC_H

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define FAILING_MALLOC

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

static _Thread_local bool failing_malloc_counts;
static _Thread_local uint32_t failing_malloc_until; /* 0: never */
static _Thread_local int failing_malloc_live;       /* made in the stretch and not freed in it */

static inline void failing_malloc_begin(uint32_t nth)
{
    failing_malloc_live = 0;
    failing_malloc_until = nth;
    failing_malloc_counts = true;
}

/* True if the stretch came to its nth allocation. */
static inline bool failing_malloc_end(void)
{
    bool failed = failing_malloc_until == 0;

    failing_malloc_counts = false;
    failing_malloc_until = 0;
    return failed;
}

/* Counts what is freed, and fails nothing. */
static inline void failing_malloc_go_on(void)
{
    failing_malloc_counts = true;
}

static bool failing_malloc_now(void)
{
    if (!failing_malloc_counts || failing_malloc_until == 0 || --failing_malloc_until > 0)
        return false;
    errno = ENOMEM;
    return true;
}

/* Seen by shared libraries too. */
#pragma GCC visibility push(default)

/* glibc's own names for what we put ourselves in front of. */
void *__libc_malloc(size_t n);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t n);
void *__libc_memalign(size_t alignment, size_t n);
void __libc_free(void *p);

void *malloc(size_t n)
{
    void *p = failing_malloc_now() ? NULL : __libc_malloc(n);

    failing_malloc_live += failing_malloc_counts && p != NULL;
    return p;
}

void *calloc(size_t n, size_t size)
{
    void *p = failing_malloc_now() ? NULL : __libc_calloc(n, size);

    failing_malloc_live += failing_malloc_counts && p != NULL;
    return p;
}

void *realloc(void *p, size_t n)
{
    void *q = failing_malloc_now() ? NULL : __libc_realloc(p, n);

    failing_malloc_live += failing_malloc_counts && p == NULL && q != NULL;
    return q;
}

void *aligned_alloc(size_t alignment, size_t n)
{
    void *p = failing_malloc_now() ? NULL : __libc_memalign(alignment, n);

    failing_malloc_live += failing_malloc_counts && p != NULL;
    return p;
}

void free(void *p)
{
    failing_malloc_live -= failing_malloc_counts && p != NULL;
    __libc_free(p);
}

#pragma GCC visibility pop

#endif
#endif
