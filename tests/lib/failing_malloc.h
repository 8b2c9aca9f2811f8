/** An allocator whose nth allocation fails: replaces that of the one program whose source file includes this, shared
 * libraries included. Each thread counts for itself and fails alone, so that a node beside the client under test goes on.
 * Sanitizers bring allocators of their own: CAIRN_FAILING_MALLOC is not defined there, and such tests have nothing to do.
 *
 *      failing_malloc_begin(n);        the nth from here returns NULL; 0: none does
 *      ...
 *      failing_malloc_end();           true if it came to that
 *      failing_malloc_live             allocations less frees while it was on */
#ifndef CAIRN_TESTS_LIB_FAILING_MALLOC_H
#define CAIRN_TESTS_LIB_FAILING_MALLOC_H

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define CAIRN_FAILING_MALLOC

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#pragma GCC visibility push(default)

void *__libc_malloc(size_t n);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t n);
void *__libc_memalign(size_t alignment, size_t n);
void __libc_free(void *p);

static _Thread_local bool failing_malloc_on, failing_malloc_failed;
static _Thread_local uint32_t failing_malloc_after; /* 0: never */
static _Thread_local int failing_malloc_live;

static bool failing_malloc_now(void)
{
    if (!failing_malloc_on || failing_malloc_after == 0 || --failing_malloc_after != 0)
        return false;
    failing_malloc_failed = true;
    errno = ENOMEM;
    return true;
}

void *malloc(size_t n)
{
    void *p = failing_malloc_now() ? NULL : __libc_malloc(n);

    failing_malloc_live += failing_malloc_on && p != NULL;
    return p;
}

void *calloc(size_t n, size_t size)
{
    void *p = failing_malloc_now() ? NULL : __libc_calloc(n, size);

    failing_malloc_live += failing_malloc_on && p != NULL;
    return p;
}

void *realloc(void *p, size_t n)
{
    void *q = failing_malloc_now() ? NULL : __libc_realloc(p, n);

    failing_malloc_live += failing_malloc_on && p == NULL && q != NULL;
    return q;
}

void *aligned_alloc(size_t alignment, size_t n)
{
    void *p = failing_malloc_now() ? NULL : __libc_memalign(alignment, n);

    failing_malloc_live += failing_malloc_on && p != NULL;
    return p;
}

void free(void *p)
{
    failing_malloc_live -= failing_malloc_on && p != NULL;
    __libc_free(p);
}

#pragma GCC visibility pop

static void failing_malloc_begin(uint32_t nth)
{
    failing_malloc_after = nth;
    failing_malloc_failed = false;
    failing_malloc_live = 0;
    failing_malloc_on = true;
}

static bool failing_malloc_end(void)
{
    failing_malloc_on = false;
    return failing_malloc_failed;
}

#endif
#endif
