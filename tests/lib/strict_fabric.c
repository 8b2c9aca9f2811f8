/* See strict_fabric.h. The functions of libfabric that the SDK calls are inline and go through tables in its objects;
 * here these tables are copies with some entries replaced. cairn_fabric__lib(), where it all begins, is wrapped by the
 * linker (-Wl,--wrap). */
#include "tests/lib/strict_fabric.h"

#include "sdk/core/fabric/fabric_internal.h"

#include <pthread.h>
#include <string.h>
#include <unistd.h>

enum { STRICT_REGIONS_MAX = 8192, STRICT_FIRST_KEY = 0x51000 };

/* A registration. Its number is a part of its key where keys are the provider's. */
struct region {
    struct fid_mr *fid; /* NULL: free */
    const uint8_t *ptr;
    uint64_t len, access, key;
    void *desc; /* tcp's own */
    struct fid *domain, *ep;
    bool enabled;
};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER; /* fabrics are opened on threads of their own */
static int modes;
static uint32_t key_size = 8;
static struct strict_fabric_counts counts;
static struct region regions[STRICT_REGIONS_MAX];
static uint64_t next_key;

/* tcp's own tables: the same for all of its objects. */
static struct fi_ops_fabric *real_fabric;
static struct fi_ops_domain *real_domain;
static struct fi_ops_mr *real_mr;
static struct fi_ops_rma *real_rma;
static struct fi_ops *real_mr_fid, *real_ep_fid;
static struct fi_ops_fabric our_fabric;
static struct fi_ops_domain our_domain;
static struct fi_ops_mr our_mr;
static struct fi_ops_rma our_rma;
static struct fi_ops our_mr_fid, our_ep_fid;

static int offence(const char *what, int rc)
{
    counts.offences++;
    counts.offence = what;
    return rc;
}

void strict_fabric_set(int mr_mode, uint32_t key_bytes)
{
    modes = mr_mode;
    key_size = key_bytes;
    counts = (struct strict_fabric_counts){ .open = counts.open, .endpoints = counts.endpoints };
}

struct strict_fabric_counts strict_fabric_counts(void)
{
    return counts;
}

/* ---- registrations ---- */

static struct region *region_of(const struct fid *fid)
{
    for (uint32_t i = 0; i < STRICT_REGIONS_MAX; i++) {
        if (regions[i].fid != NULL && &regions[i].fid->fid == fid)
            return &regions[i];
    }
    return NULL;
}

/* FI_MR_ALLOCATED: pages must be there. write() looks at memory without a fault. */
static bool is_mapped(const uint8_t *ptr, uint64_t len)
{
    int fds[2];
    bool is;

    if (pipe(fds) != 0)
        return false;
    is = write(fds[1], ptr, 1) == 1 && write(fds[1], ptr + len - 1, 1) == 1;
    close(fds[0]);
    close(fds[1]);
    return is;
}

static int strict_reg(struct fid *domain, const void *buf, size_t len, uint64_t access, uint64_t offset, uint64_t key,
                      uint64_t flags, struct fid_mr **mr, void *context)
{
    struct region *r = NULL;
    int rc;

    if ((modes & FI_MR_ALLOCATED) != 0 && !is_mapped(buf, len))
        return offence("memory that is not there was registered", -FI_EFAULT);
    for (uint32_t i = 0; i < STRICT_REGIONS_MAX && r == NULL; i++)
        r = regions[i].fid == NULL ? &regions[i] : NULL;
    if (r == NULL)
        return -FI_ENOSPC;
    if ((modes & FI_MR_PROV_KEY) != 0)
        key = STRICT_FIRST_KEY + next_key++; /* the wish counts for nothing */
    else if (key_size < sizeof(key) && key >> (8 * key_size) != 0)
        return offence("a key has more bytes than keys have here", -FI_EKEYREJECTED);
    rc = real_mr->reg(domain, buf, len, access, offset, key, flags, mr, context);
    if (rc != 0)
        return rc;
    real_mr_fid = (*mr)->fid.ops;
    (*mr)->fid.ops = &our_mr_fid;
    *r = (struct region){ *mr, buf, len, access, key, (*mr)->mem_desc, domain, NULL, (modes & FI_MR_ENDPOINT) == 0 };
    (*mr)->mem_desc = r;
    (*mr)->key = r->enabled ? key : FI_KEY_NOTAVAIL;
    counts.registrations++;
    counts.open++;
    return 0;
}

static int strict_mr_close(struct fid *fid)
{
    struct region *r = region_of(fid);

    r->fid = NULL;
    counts.open--;
    return real_mr_fid->close(fid);
}

static int strict_mr_bind(struct fid *fid, struct fid *to, uint64_t flags)
{
    struct region *r = region_of(fid);

    if (r->enabled || to->fclass != FI_CLASS_EP || flags != 0)
        return offence("a registration was bound that must not be", -FI_EINVAL);
    r->ep = to;
    return 0;
}

static int strict_mr_control(struct fid *fid, int command, void *arg)
{
    struct region *r = region_of(fid);

    (void)arg;
    if (command != FI_ENABLE || r->ep == NULL)
        return offence("a registration was enabled that no endpoint has", -FI_EINVAL);
    r->enabled = true;
    r->fid->key = r->key;
    return 0;
}

/* ---- transfers ---- */

/* The local buffer lies in a registration of this endpoint, made for this. */
static int check_local(struct fid_ep *ep, const void *buf, size_t len, uint64_t right, void **desc)
{
    const struct region *r = *desc;
    const uint8_t *p = buf;

    if (r == NULL)
        return (modes & FI_MR_LOCAL) != 0 ? offence("a local buffer was not registered", -FI_EINVAL) : 0;
    if (r->fid == NULL || !r->enabled || (r->ep != NULL && r->ep != &ep->fid))
        return offence("a local buffer's registration is closed, or another endpoint's", -FI_EINVAL);
    if ((r->access & right) == 0 || p < r->ptr || len > r->len || (uint64_t)(p - r->ptr) > r->len - len)
        return offence("a local buffer's registration is for other memory, or for other use", -FI_EINVAL);
    *desc = r->desc;
    return 0;
}

/* From an address as the modes have it to tcp's offset. What cannot be one is left for the target to refuse. */
static uint64_t to_offset(uint64_t addr, uint64_t key)
{
    if ((modes & FI_MR_VIRT_ADDR) == 0)
        return addr;
    for (uint32_t i = 0; i < STRICT_REGIONS_MAX; i++) {
        if (regions[i].fid != NULL && regions[i].key == key)
            return addr - (uint64_t)(uintptr_t)regions[i].ptr;
    }
    return addr;
}

static ssize_t count_transfer(ssize_t rc)
{
    counts.transfers += rc == 0;
    return rc;
}

static ssize_t strict_read(struct fid_ep *ep, void *buf, size_t len, void *desc, fi_addr_t from, uint64_t addr,
                           uint64_t key, void *context)
{
    int rc = check_local(ep, buf, len, FI_READ, &desc);

    return rc != 0 ? rc : count_transfer(real_rma->read(ep, buf, len, desc, from, to_offset(addr, key), key, context));
}

static ssize_t strict_write(struct fid_ep *ep, const void *buf, size_t len, void *desc, fi_addr_t to, uint64_t addr,
                            uint64_t key, void *context)
{
    int rc = check_local(ep, buf, len, FI_WRITE, &desc);

    return rc != 0 ? rc : count_transfer(real_rma->write(ep, buf, len, desc, to, to_offset(addr, key), key, context));
}

/* ---- opening ---- */

static int strict_ep_close(struct fid *fid)
{
    for (uint32_t i = 0; i < STRICT_REGIONS_MAX; i++) {
        if (regions[i].fid != NULL && regions[i].ep == fid)
            return offence("an endpoint was closed before the registrations bound to it", -FI_EBUSY); /* as cxi does */
    }
    counts.endpoints--;
    return real_ep_fid->close(fid);
}

static int strict_endpoint(struct fid_domain *domain, struct fi_info *info, struct fid_ep **ep, void *context)
{
    int mode = info->domain_attr->mr_mode, rc;

    info->domain_attr->mr_mode = 0;
    rc = real_domain->endpoint(domain, info, ep, context);
    info->domain_attr->mr_mode = mode;
    if (rc != 0)
        return rc;
    real_rma = (*ep)->rma;
    our_rma = *real_rma;
    our_rma.read = strict_read;
    our_rma.write = strict_write;
    (*ep)->rma = &our_rma;
    real_ep_fid = (*ep)->fid.ops;
    our_ep_fid = *real_ep_fid;
    our_ep_fid.close = strict_ep_close;
    (*ep)->fid.ops = &our_ep_fid;
    counts.endpoints++;
    return 0;
}

static int strict_domain(struct fid_fabric *fabric, struct fi_info *info, struct fid_domain **domain, void *context)
{
    int mode = info->domain_attr->mr_mode, rc;

    info->domain_attr->mr_mode = 0;
    rc = real_fabric->domain(fabric, info, domain, context);
    info->domain_attr->mr_mode = mode;
    if (rc != 0)
        return rc;
    real_domain = (*domain)->ops;
    our_domain = *real_domain;
    our_domain.endpoint = strict_endpoint;
    (*domain)->ops = &our_domain;
    real_mr = (*domain)->mr;
    our_mr = *real_mr;
    our_mr.reg = strict_reg;
    (*domain)->mr = &our_mr;
    our_mr_fid = (struct fi_ops){ .close = strict_mr_close, .bind = strict_mr_bind, .control = strict_mr_control };
    return 0;
}

static const struct cairn_fabric_lib *real;

static int strict_fabric(struct fi_fabric_attr *attr, struct fid_fabric **fabric, void *context)
{
    int rc = real->fabric(attr, fabric, context);

    if (rc != 0)
        return rc;
    real_fabric = (*fabric)->ops;
    our_fabric = *real_fabric;
    our_fabric.domain = strict_domain;
    (*fabric)->ops = &our_fabric;
    return 0;
}

/* Hardware answers with the modes that it needs, and with nothing to one who does not offer them all. */
static int strict_getinfo(uint32_t version, const char *node, const char *service, uint64_t flags,
                          const struct fi_info *hints, struct fi_info **info)
{
    int rc;

    if ((hints->domain_attr->mr_mode & modes) != modes)
        return -FI_ENODATA;
    rc = real->getinfo(version, node, service, flags, hints, info);
    if (rc == 0) {
        (*info)->domain_attr->mr_mode = modes;
        (*info)->domain_attr->mr_key_size = key_size;
    }
    return rc;
}

const struct cairn_fabric_lib *__real_cairn_fabric__lib(struct cairn_err *err);
const struct cairn_fabric_lib *__wrap_cairn_fabric__lib(struct cairn_err *err);

const struct cairn_fabric_lib *__wrap_cairn_fabric__lib(struct cairn_err *err)
{
    static struct cairn_fabric_lib ours;

    pthread_mutex_lock(&mutex);
    real = __real_cairn_fabric__lib(err);
    if (real != NULL) {
        ours = *real;
        ours.getinfo = strict_getinfo;
        ours.fabric = strict_fabric;
    }
    pthread_mutex_unlock(&mutex);
    return real != NULL ? &ours : NULL;
}
