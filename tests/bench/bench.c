/* Clock, histogram and options of the benchmark programs. */
#include "bench.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { OPTS_MAX = 32 };

static struct {
    const char *name, *value;
    bool used;
} opts[OPTS_MAX];
static int nopts;

static unsigned slot_of(uint64_t ns)
{
    if (ns < (1U << BENCH_HIST_SUB_BITS))
        return (unsigned)ns;
    unsigned top = 63U - (unsigned)__builtin_clzll(ns);
    unsigned shift = top - BENCH_HIST_SUB_BITS;
    return ((shift + 1) << BENCH_HIST_SUB_BITS) + (unsigned)((ns >> shift) & ((1U << BENCH_HIST_SUB_BITS) - 1));
}

static double middle_of(unsigned slot)
{
    unsigned group = slot >> BENCH_HIST_SUB_BITS, low = slot & ((1U << BENCH_HIST_SUB_BITS) - 1);
    if (group == 0)
        return low;
    double width = (double)(UINT64_C(1) << (group - 1));
    return ((double)(1U << BENCH_HIST_SUB_BITS) + low) * width + width / 2;
}

void bench_hist_add(struct bench_hist *h, uint64_t ns)
{
    h->slot[slot_of(ns)]++;
    h->n++;
}

double bench_hist_ns(const struct bench_hist *h, double q)
{
    uint64_t want = (uint64_t)((double)h->n * q), seen = 0;
    for (unsigned i = 0; i < BENCH_HIST_SLOTS; i++) {
        seen += h->slot[i];
        if (seen > want)
            return middle_of(i);
    }
    return 0;
}

void *bench_buffer(size_t n, int fill)
{
    enum { PAGE = 4096, HUGE_PAGE = 2 << 20, HUGE_FROM = 1 << 20 };
    size_t align = n >= HUGE_FROM ? HUGE_PAGE : PAGE;
    void *p = NULL;
    if (posix_memalign(&p, align, (n + align - 1) / align * align) != 0)
        bench_die("no memory for %zu bytes", n);
    if (align == HUGE_PAGE)
        madvise(p, (n + align - 1) / align * align, MADV_HUGEPAGE); /* where it is refused, small pages do */
    memset(p, fill, n);
    return p;
}

void bench_opt_init(int argc, char **argv)
{
    if (argc % 2 != 0)
        bench_die("options are pairs: --name value");
    for (int i = 0; i < argc; i += 2) {
        if (strncmp(argv[i], "--", 2) != 0)
            bench_die("expected --name, found '%s'", argv[i]);
        if (nopts == OPTS_MAX)
            bench_die("too many options");
        opts[nopts].name = argv[i] + 2;
        opts[nopts++].value = argv[i + 1];
    }
}

const char *bench_opt_str(const char *name, const char *fallback)
{
    for (int i = 0; i < nopts; i++) {
        if (strcmp(opts[i].name, name) == 0) {
            opts[i].used = true;
            return opts[i].value;
        }
    }
    if (fallback == NULL)
        bench_die("--%s is required", name);
    return fallback;
}

double bench_opt_double(const char *name, double fallback)
{
    const char *s = bench_opt_str(name, "");
    if (*s == '\0')
        return fallback;
    char *end;
    double v = strtod(s, &end);
    if (*end != '\0' || v < 0)
        bench_die("--%s: '%s' is not a number", name, s);
    return v;
}

uint64_t bench_opt_u64(const char *name, uint64_t fallback)
{
    const char *s = bench_opt_str(name, "");
    if (*s == '\0')
        return fallback;
    char *end;
    errno = 0;
    uint64_t v = strtoull(s, &end, 0);
    if (errno != 0 || *end != '\0')
        bench_die("--%s: '%s' is not a number", name, s);
    return v;
}

void bench_opt_done(void)
{
    for (int i = 0; i < nopts; i++) {
        if (!opts[i].used)
            bench_die("unknown option --%s", opts[i].name);
    }
}

void bench_die(const char *fmt, ...)
{
    va_list ap;
    fprintf(stderr, "%s: ", program_invocation_short_name);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
    exit(1);
}
