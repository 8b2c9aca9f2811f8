/* A libpmemobj pool of areas and records: see pmem.h. */
#include "server/storage/pmem.h"

#include "sdk/core/base/macros.h"

#include <errno.h>
#include <fcntl.h>
#include <libpmemobj.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/vfs.h>
#include <unistd.h>

static const char layout[] = "cairn-extent-1";
enum { TYPE_RECORD = 1 };

#define AREA_BYTES_MAX    (UINT64_C(4) << 30) /* an object has at most 16 GiB */
#define AREA_BYTES_MIN    (UINT64_C(1) << 20)
#define RECORDS_BYTES_MIN (UINT64_C(16) << 20) /* the pool takes about 8 MiB of it for its own: lanes, zone headers */
enum { RECORDS_SHARE = 32 }; /* one part in so many of a pool is for records: 1/32 is 130 bytes for each 4 KiB */

/* The root object: which areas there are. Written once, when the pool is made. */
struct root {
    uint64_t nareas, area_bytes, last_bytes;
    PMEMoid areas[CAIRN_PMEM_AREAS_MAX];
};

struct cairn_pmem {
    PMEMobjpool *pop;
    const struct root *root;
};

int cairn_pmem_place(const char *dir, struct cairn_err *err)
{
    struct statfs fs;
    bool dax = false;
    void *p;
    int fd;

    if (statfs(dir, &fs) != 0)
        return cairn_err_errno(err, errno, "%s", dir);
    if (fs.f_type == TMPFS_MAGIC)
        return 0;
    fd = open(dir, O_RDWR | O_TMPFILE | O_CLOEXEC, 0600);
    if (fd >= 0 && ftruncate(fd, 4096) == 0) {
        /* MAP_SYNC is granted on DAX only: that is what it is for (mmap(2)). */
        p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED_VALIDATE | MAP_SYNC, fd, 0);
        dax = p != MAP_FAILED;
        if (dax)
            munmap(p, 4096);
    }
    if (fd >= 0)
        close(fd);
    if (dax)
        return 0;
    return cairn_err_set(err, CAIRN_E_UNSUPPORTED,
                         "%s is neither on a DAX file system nor on tmpfs: each persist would be an msync", dir);
}

static int pmem_error(struct cairn_err *err, int errnum, const char *doing, const char *path)
{
    int rc = errnum == EINVAL ? CAIRN_E_CORRUPT : errnum == EWOULDBLOCK ? CAIRN_E_LOCKED : cairn_err_of_errno(errnum);

    return cairn_err_set(err, rc, "%s %s: %s", doing, path, pmemobj_errormsg());
}

/* ---- making ---- */

/* As much of the pool as may be, in areas. */
static int set_aside(PMEMobjpool *pop, uint64_t size)
{
    uint64_t records = MAX(size / RECORDS_SHARE, RECORDS_BYTES_MIN), left = size - MIN(size, records);
    PMEMoid oid = pmemobj_root(pop, sizeof(struct root));
    struct root *root = pmemobj_direct(oid);

    if (root == NULL)
        return CAIRN_E_NOSPACE;
    root->area_bytes = MIN(AREA_BYTES_MAX, left);
    while (left >= AREA_BYTES_MIN && root->nareas < CAIRN_PMEM_AREAS_MAX) {
        uint64_t n = MIN(left, root->area_bytes);

        if (pmemobj_alloc(pop, &root->areas[root->nareas], n + CAIRN_PMEM_AREA_ALIGN, 0, NULL, NULL) == 0) {
            root->nareas++;
            root->last_bytes = n;
            left -= n;
        } else if (n <= 2 * AREA_BYTES_MIN) {
            break;
        } else if (root->nareas == 0) { /* zones and headers took some: a little less */
            root->area_bytes = n - n / 64;
            left = root->area_bytes;
        } else {
            left = n - n / 64;
        }
    }
    pmemobj_persist(pop, root, sizeof(*root));
    return root->nareas > 0 ? 0 : CAIRN_E_NOSPACE;
}

/* Under a temporary name until it is whole: a crash leaves none, or all of it. */
static int make(int dirfd, const char *dir, const char *name, uint64_t size, struct cairn_err *err)
{
    char path[4200], temp[256];
    PMEMobjpool *pop;
    int rc;

    size = MAX(size, RECORDS_BYTES_MIN + (uint64_t)PMEMOBJ_MIN_POOL);
    snprintf(temp, sizeof(temp), "%s.new", name);
    snprintf(path, sizeof(path), "%s/%s", dir, temp);
    unlinkat(dirfd, temp, 0);
    pop = pmemobj_create(path, layout, size, 0600);
    if (pop == NULL) {
        rc = pmem_error(err, errno, "make", path);
        unlinkat(dirfd, temp, 0);
        return rc;
    }
    rc = set_aside(pop, size);
    pmemobj_close(pop);
    if (rc == 0 && (renameat(dirfd, temp, dirfd, name) != 0 || fsync(dirfd) != 0))
        rc = cairn_err_of_errno(errno);
    if (rc == 0)
        return 0;
    unlinkat(dirfd, temp, 0);
    return cairn_err_set(err, rc, "make %s: %s", path, cairn_error_text(rc));
}

int cairn_pmem_open(int dirfd, const char *dir, const char *name, uint64_t size, struct cairn_pmem **out,
                    struct cairn_err *err)
{
    struct cairn_pmem *pm;
    char path[4200];
    int rc = 0;

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    if (faccessat(dirfd, name, F_OK, 0) != 0)
        rc = make(dirfd, dir, name, size, err);
    if (rc != 0)
        return rc;
    pm = calloc(1, sizeof(*pm));
    if (pm == NULL)
        return cairn_err_set(err, CAIRN_E_NOMEM, "%s", path);
    pm->pop = pmemobj_open(path, layout);
    if (pm->pop == NULL) {
        rc = pmem_error(err, errno, "open", path);
        free(pm);
        return rc;
    }
    pm->root = pmemobj_root_size(pm->pop) == sizeof(struct root)
                   ? pmemobj_direct(pmemobj_root(pm->pop, sizeof(struct root)))
                   : NULL;
    if (pm->root == NULL || pm->root->nareas == 0 || pm->root->nareas > CAIRN_PMEM_AREAS_MAX) {
        cairn_pmem_close(pm);
        return cairn_err_set(err, CAIRN_E_CORRUPT, "%s: its root object is damaged", path);
    }
    *out = pm;
    return 0;
}

void cairn_pmem_close(struct cairn_pmem *pm)
{
    pmemobj_close(pm->pop);
    free(pm);
}

uint32_t cairn_pmem_areas(const struct cairn_pmem *pm)
{
    return (uint32_t)pm->root->nareas;
}

void *cairn_pmem_area(const struct cairn_pmem *pm, uint32_t i, uint64_t *bytes)
{
    uintptr_t p = (uintptr_t)pmemobj_direct(pm->root->areas[i]);

    *bytes = i + 1 < pm->root->nareas ? pm->root->area_bytes : pm->root->last_bytes;
    /* Pools are mapped on page boundaries, so this is the same place in the pool each time. */
    return (void *)(uintptr_t)cairn_round_up(p, CAIRN_PMEM_AREA_ALIGN);
}

int cairn_pmem_persist(struct cairn_pmem *pm, const void *p, uint64_t n)
{
    return pmemobj_xpersist(pm->pop, p, n, 0) == 0 ? 0 : CAIRN_E_IO;
}

/* ---- records ---- */

struct content {
    const void *bytes;
    uint64_t n;
};

static int record_fill(PMEMobjpool *pop, void *p, void *arg)
{
    const struct content *c = arg;

    pmemobj_memcpy_persist(pop, p, c->bytes, c->n);
    return 0;
}

int cairn_pmem_record_add(struct cairn_pmem *pm, const void *bytes, uint64_t n, void **record)
{
    struct content c = { bytes, n };
    PMEMoid oid;

    if (pmemobj_alloc(pm->pop, &oid, n, TYPE_RECORD, record_fill, &c) != 0)
        return CAIRN_E_NOSPACE;
    *record = pmemobj_direct(oid);
    return 0;
}

void cairn_pmem_record_del(struct cairn_pmem *pm, void *record)
{
    PMEMoid oid = pmemobj_oid(record);

    (void)pm;
    pmemobj_free(&oid);
}

int cairn_pmem_each(struct cairn_pmem *pm, int (*fn)(void *arg, void *record, uint64_t room), void *arg)
{
    PMEMoid oid = pmemobj_first(pm->pop);
    int rc = 0;

    while (!OID_IS_NULL(oid) && rc == 0) {
        PMEMoid next = pmemobj_next(oid); /* before @fn may take it away */

        if (pmemobj_type_num(oid) == TYPE_RECORD)
            rc = fn(arg, pmemobj_direct(oid), pmemobj_alloc_usable_size(oid));
        oid = next;
    }
    return rc;
}
