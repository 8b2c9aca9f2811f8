/* Objects in a libpmemobj pool: see pmem.h. */
#include "server/storage/pmem.h"

#include "sdk/core/base/macros.h"

#include <errno.h>
#include <fcntl.h>
#include <libpmemobj.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/vfs.h>
#include <unistd.h>

static const char layout[] = "cairn-extent-1";
enum { TYPE_OBJECT = 1 };

struct cairn_pmem {
    PMEMobjpool *pop;
};

struct cairn_pmem_object {
    PMEMoid oid;
    bool published;
    struct pobj_action action;
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
    int rc = errnum == EINVAL ? CAIRN_E_FORMAT : errnum == EWOULDBLOCK ? CAIRN_E_LOCKED : cairn_err_of_errno(errnum);

    return cairn_err_set(err, rc, "%s %s: %s", doing, path, pmemobj_errormsg());
}

int cairn_pmem_open(const char *path, uint64_t size, struct cairn_pmem **out, struct cairn_err *err)
{
    struct cairn_pmem *pm = calloc(1, sizeof(*pm));
    bool fresh = access(path, F_OK) != 0;
    int rc;

    if (pm == NULL)
        return cairn_err_set(err, CAIRN_E_NOMEM, "%s", path);
    pm->pop =
        fresh ? pmemobj_create(path, layout, MAX(size, (uint64_t)PMEMOBJ_MIN_POOL), 0600) : pmemobj_open(path, layout);
    if (pm->pop == NULL) {
        rc = pmem_error(err, errno, fresh ? "make" : "open", path);
        if (fresh) /* a half-made one would refuse the next start */
            unlink(path);
        free(pm);
        return rc;
    }
    *out = pm;
    return 0;
}

void cairn_pmem_close(struct cairn_pmem *pm)
{
    pmemobj_close(pm->pop);
    free(pm);
}

int cairn_pmem_each(struct cairn_pmem *pm, int (*fn)(void *arg, struct cairn_pmem_object *object), void *arg)
{
    PMEMoid oid = pmemobj_first(pm->pop);
    int rc = 0;

    while (!OID_IS_NULL(oid) && rc == 0) {
        PMEMoid next = pmemobj_next(oid); /* before @fn may free it */

        if (pmemobj_type_num(oid) == TYPE_OBJECT) {
            struct cairn_pmem_object *o = calloc(1, sizeof(*o));

            if (o == NULL)
                return CAIRN_E_NOMEM;
            o->oid = oid;
            o->published = true;
            rc = fn(arg, o);
        }
        oid = next;
    }
    return rc;
}

int cairn_pmem_reserve(struct cairn_pmem *pm, uint64_t bytes, struct cairn_pmem_object **out)
{
    struct cairn_pmem_object *o = calloc(1, sizeof(*o));

    if (o == NULL)
        return CAIRN_E_NOMEM;
    o->oid = pmemobj_reserve(pm->pop, &o->action, bytes, TYPE_OBJECT);
    if (OID_IS_NULL(o->oid)) {
        free(o);
        return CAIRN_E_NOSPACE;
    }
    *out = o;
    return 0;
}

void *cairn_pmem_bytes(const struct cairn_pmem *pm, const struct cairn_pmem_object *o)
{
    (void)pm;
    return pmemobj_direct(o->oid);
}

uint64_t cairn_pmem_size(const struct cairn_pmem *pm, const struct cairn_pmem_object *o)
{
    (void)pm;
    return pmemobj_alloc_usable_size(o->oid);
}

int cairn_pmem_persist(struct cairn_pmem *pm, const void *p, uint64_t n)
{
    return pmemobj_xpersist(pm->pop, p, n, 0) == 0 ? 0 : CAIRN_E_IO;
}

int cairn_pmem_publish(struct cairn_pmem *pm, struct cairn_pmem_object *o)
{
    CAIRN_ASSERT(!o->published);
    if (pmemobj_publish(pm->pop, &o->action, 1) != 0)
        return CAIRN_E_NOSPACE; /* its redo log could not grow */
    o->published = true;
    return 0;
}

void cairn_pmem_free(struct cairn_pmem *pm, struct cairn_pmem_object *o)
{
    if (o->published)
        pmemobj_free(&o->oid);
    else
        pmemobj_cancel(pm->pop, &o->action, 1);
    free(o);
}

void cairn_pmem_object_forget(struct cairn_pmem_object *o)
{
    CAIRN_ASSERT(o->published);
    free(o);
}
