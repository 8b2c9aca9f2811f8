/* Counts the allocations of the process it is preloaded into, where another process can read the count while it runs.
 *
 * ALLOC_COUNT_FILE names a file of at least 8 bytes; it is mapped, and its first 8 bytes are the count of malloc,
 * calloc, realloc and aligned allocations so far. Frees are not counted: in a steady state they match. Without the
 * variable nothing is counted. */
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

/* glibc's own names for what we put ourselves in front of: unlike dlsym() they do not allocate. */
extern void *__libc_malloc(size_t n);
extern void *__libc_calloc(size_t n, size_t size);
extern void *__libc_realloc(void *p, size_t n);
extern void *__libc_memalign(size_t align, size_t n);

static atomic_uint_fast64_t *count;

static void count_one(void)
{
    if (count != NULL)
        atomic_fetch_add_explicit(count, 1, memory_order_relaxed);
}

__attribute__((constructor)) static void map_count(void)
{
    const char *path = getenv("ALLOC_COUNT_FILE");
    int fd = path == NULL ? -1 : open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return;
    void *p = mmap(NULL, sizeof(*count), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (p != MAP_FAILED)
        count = p;
}

__attribute__((visibility("default"))) void *malloc(size_t n)
{
    count_one();
    return __libc_malloc(n);
}

__attribute__((visibility("default"))) void *calloc(size_t n, size_t size)
{
    count_one();
    return __libc_calloc(n, size);
}

__attribute__((visibility("default"))) void *realloc(void *p, size_t n)
{
    count_one();
    return __libc_realloc(p, n);
}

__attribute__((visibility("default"))) void *memalign(size_t align, size_t n)
{
    count_one();
    return __libc_memalign(align, n);
}

__attribute__((visibility("default"))) void *aligned_alloc(size_t align, size_t n)
{
    count_one();
    return __libc_memalign(align, n);
}

__attribute__((visibility("default"))) int posix_memalign(void **p, size_t align, size_t n)
{
    count_one();
    *p = __libc_memalign(align, n);
    return *p != NULL ? 0 : ENOMEM;
}
