/* Opening, registering, closing: everything of a fabric but its operations (fabric_op.c).
 *
 * fi_getinfo() is asked for what we can honour and obeyed in what it answers, so that another provider string needs no
 * other code: memory modes (local registration, virtual addresses, provider's keys, binding to the endpoint), sizes,
 * contexts. */
#include "sdk/core/fabric/fabric_internal.h"

#include "sdk/core/base/log.h"

#include <inttypes.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

/* FI_MR_RAW (keys of more than 64 bits) is refused by its absence, as is whatever later versions invent. */
#define FABRIC_MR_MODES  (FI_MR_LOCAL | FI_MR_VIRT_ADDR | FI_MR_ALLOCATED | FI_MR_PROV_KEY | FI_MR_ENDPOINT)
#define FABRIC_CTX_MODES (FI_CONTEXT | FI_CONTEXT2)

/* Peers that an address vector is made for; more are added, at some cost. In place of FI_UNIVERSE_SIZE. */
enum { FABRIC_PEERS_HINT = 64, FABRIC_RX_HINT = 64 };

static int fabric_fail(const struct cairn_fabric *f, struct cairn_err *err, int rc, const char *what)
{
    int code = rc == -FI_ENOMEM ? CAIRN_E_NOMEM : rc == -FI_EMFILE ? CAIRN_E_LIMIT : CAIRN_E_UNSUPPORTED;

    return cairn_err_set(err, code, "fabric: %s: %s", what, f->lib->strerror(-rc));
}

static struct fi_info *fabric_hints(const struct cairn_fabric *f, const struct cairn_fabric_conf *conf)
{
    struct fi_info *h = f->lib->dupinfo(NULL); /* what fi_allocinfo() does */

    if (h == NULL)
        return NULL;
    h->caps = FI_MSG | FI_RMA | FI_READ | FI_WRITE | FI_REMOTE_READ | FI_REMOTE_WRITE;
    h->mode = FABRIC_CTX_MODES;
    h->ep_attr->type = FI_EP_RDM;
    h->domain_attr->mr_mode = FABRIC_MR_MODES;
    h->domain_attr->threading = FI_THREAD_DOMAIN; /* one thread per worker, and it alone touches the endpoint */
    /* A completed fi_write means sent, not placed, unless one asks: the answer to the call travels on another
     * connection and would overtake the bytes. */
    h->tx_attr->op_flags = FI_DELIVERY_COMPLETE;
    h->tx_attr->size = CAIRN_FABRIC_INFLIGHT_MAX;
    h->rx_attr->size = FABRIC_RX_HINT; /* nothing is ever received: the fewer buffers a connection posts, the better */
    h->fabric_attr->prov_name = strdup(conf->provider);
    if (conf->domain != NULL && conf->domain[0] != '\0')
        h->domain_attr->name = strdup(conf->domain);
    return h;
}

/* With no domain chosen, the network on which @near lies. Only for socket addresses: others name no network. */
static void fabric_hint_near(struct fi_info *h, const struct cairn_fabric_conf *conf)
{
    sa_family_t family;

    if (conf->near == NULL || h->domain_attr->name != NULL || conf->near_len < sizeof(family))
        return;
    memcpy(&family, conf->near, sizeof(family));
    if (family == AF_INET && conf->near_len == sizeof(struct sockaddr_in))
        h->addr_format = FI_SOCKADDR_IN;
    else if (family == AF_INET6 && conf->near_len == sizeof(struct sockaddr_in6))
        h->addr_format = FI_SOCKADDR_IN6;
    else
        return;
    h->dest_addr = malloc(conf->near_len);
    if (h->dest_addr != NULL) {
        memcpy(h->dest_addr, conf->near, conf->near_len);
        h->dest_addrlen = conf->near_len;
    }
}

static int fabric_getinfo(struct cairn_fabric *f, const struct cairn_fabric_conf *conf, struct cairn_err *err)
{
    struct fi_info *h = fabric_hints(f, conf);
    int rc;

    if (h == NULL)
        return cairn_err_set(err, CAIRN_E_NOMEM, "fabric");
    fabric_hint_near(h, conf);
    rc = f->lib->getinfo(FI_VERSION(1, 17), NULL, NULL, 0, h, &f->info);
    if (rc != 0 && h->dest_addr != NULL) { /* no route from here: any network of ours, the peer may find a way */
        free(h->dest_addr);
        h->dest_addr = NULL;
        h->dest_addrlen = 0;
        h->addr_format = FI_FORMAT_UNSPEC;
        rc = f->lib->getinfo(FI_VERSION(1, 17), NULL, NULL, 0, h, &f->info);
    }
    f->lib->freeinfo(h);
    if (rc != 0)
        return fabric_fail(f, err, rc, conf->provider);
    if ((f->info->domain_attr->mr_mode & ~FABRIC_MR_MODES) != 0 || (f->info->mode & ~FABRIC_CTX_MODES) != 0)
        return cairn_err_set(err, CAIRN_E_UNSUPPORTED,
                             "fabric: %s wants modes that are not supported (%#x, %#" PRIx64 ")", conf->provider,
                             (unsigned)f->info->domain_attr->mr_mode, f->info->mode);
    free(f->info->dest_addr); /* it chose the network; the endpoint is nobody's in particular */
    f->info->dest_addr = NULL;
    f->info->dest_addrlen = 0;
    return 0;
}

static int fabric_open_parts(struct cairn_fabric *f, const char **what)
{
    struct fi_av_attr av = { .type = FI_AV_UNSPEC, .count = FABRIC_PEERS_HINT };
    struct fi_cq_attr cq = { .format = FI_CQ_FORMAT_CONTEXT, .wait_obj = FI_WAIT_FD };
    int rc;

    f->nflying_max = (uint32_t)MIN((size_t)CAIRN_FABRIC_INFLIGHT_MAX, MAX(f->info->tx_attr->size, (size_t)1));
    cq.size = f->nflying_max + FABRIC_RX_HINT; /* never more completions than operations: the queue cannot overrun */
    *what = "domain";
    rc = f->lib->fabric(f->info->fabric_attr, &f->fabric, NULL);
    if (rc == 0)
        rc = fi_domain(f->fabric, f->info, &f->domain, NULL);
    if (rc != 0)
        return rc;
    *what = "address vector";
    rc = fi_av_open(f->domain, &av, &f->av, NULL);
    if (rc != 0)
        return rc;
    *what =
        "completion queue with a wait descriptor"; /* which shm does not have, and it is no security boundary either */
    rc = fi_cq_open(f->domain, &cq, &f->cq, NULL);
    if (rc == 0)
        rc = fi_control(&f->cq->fid, FI_GETWAIT, &f->fd);
    if (rc != 0)
        return rc;
    *what = "endpoint";
    rc = fi_endpoint(f->domain, f->info, &f->ep, NULL);
    if (rc == 0)
        rc = fi_ep_bind(f->ep, &f->av->fid, 0);
    if (rc == 0)
        rc = fi_ep_bind(f->ep, &f->cq->fid, FI_TRANSMIT | FI_RECV); /* one queue for both directions */
    if (rc == 0)
        rc = fi_enable(f->ep);
    if (rc != 0)
        return rc;
    *what = "address";
    f->addr_len = sizeof(f->addr);
    return fi_getname(&f->ep->fid, f->addr, &f->addr_len);
}

int cairn_fabric_open(struct cairn_fabric **to, const struct cairn_fabric_conf *conf, struct cairn_err *err)
{
    struct cairn_fabric *f = calloc(1, sizeof(*f));
    const char *what = "";
    int rc;

    if (f == NULL)
        return cairn_err_set(err, CAIRN_E_NOMEM, "fabric");
    cairn_list_init(&f->mrs);
    cairn_fabric__ops_init(f);
    f->lib = cairn_fabric__lib(err);
    rc = f->lib != NULL ? fabric_getinfo(f, conf, err) : CAIRN_E_UNSUPPORTED;
    if (rc != 0)
        goto free_it;
    rc = fabric_open_parts(f, &what);
    if (rc != 0) {
        rc = fabric_fail(f, err, rc, what);
        goto free_it;
    }
    *to = f;
    return 0;
free_it:
    cairn_fabric_free(f);
    return rc;
}

static void fabric_close(const struct cairn_fabric *f, struct fid *fid, const char *what)
{
    int rc = fi_close(fid);

    if (rc != 0)
        cairn_log_warn("fabric: closing the %s: %s", what, f->lib->strerror(-rc));
}

static void fabric_close_mrs(struct cairn_fabric *f)
{
    CAIRN_LIST_FOREACH (l, &f->mrs) {
        struct cairn_fabric_mr *mr = CONTAINER_OF(l, struct cairn_fabric_mr, link);

        fabric_close(f, &mr->fid->fid, "registration");
        mr->fid = NULL;
    }
}

/* The endpoint first, since what it has begun uses registrations; but one that registrations are bound to cannot be
 * closed before them (FI_MR_ENDPOINT: cxi answers EBUSY and goes on). */
void cairn_fabric_kill(struct cairn_fabric *f)
{
    if (f->ep == NULL)
        return;
    cairn_fabric__sever(f);
    if ((f->info->domain_attr->mr_mode & FI_MR_ENDPOINT) != 0)
        fabric_close_mrs(f);
    fabric_close(f, &f->ep->fid, "endpoint");
    f->ep = NULL;
    if ((f->info->domain_attr->mr_mode & FI_MR_ENDPOINT) == 0)
        fabric_close_mrs(f);
    cairn_fabric__ops_cancel(f);
}

void cairn_fabric_free(struct cairn_fabric *f)
{
    if (f == NULL)
        return;
    cairn_fabric_kill(f);
    if (f->loop != NULL) {
        cairn_timer_stop(&f->loop->env, &f->retry);
        cairn_hook_del(&f->hook);
        cairn_watch_fini(&f->watch);
        cairn_fabric__deliver(f);
        cairn_task_cancel(&f->deliver);
    }
    CAIRN_ASSERT(cairn_list_is_empty(&f->mrs));
    if (f->cq != NULL)
        fabric_close(f, &f->cq->fid, "completion queue");
    if (f->av != NULL)
        fabric_close(f, &f->av->fid, "address vector");
    if (f->domain != NULL)
        fabric_close(f, &f->domain->fid, "domain");
    if (f->fabric != NULL)
        fabric_close(f, &f->fabric->fid, "fabric");
    if (f->info != NULL)
        f->lib->freeinfo(f->info);
    free(f);
}

bool cairn_fabric_is_dead(const struct cairn_fabric *f)
{
    return f->ep == NULL;
}

size_t cairn_fabric_addr(const struct cairn_fabric *f, const uint8_t **addr)
{
    *addr = f->addr;
    return f->addr_len;
}

uint64_t cairn_fabric_piece_max(const struct cairn_fabric *f)
{
    return f->info->ep_attr->max_msg_size;
}

bool cairn_fabric_wants_local(const struct cairn_fabric *f)
{
    return (f->info->domain_attr->mr_mode & FI_MR_LOCAL) != 0;
}

bool cairn_fabric_pins(const struct cairn_fabric *f)
{
    return (f->info->domain_attr->mr_mode & FI_MR_ALLOCATED) != 0;
}

int cairn_fabric_peer_add(struct cairn_fabric *f, const uint8_t *addr, size_t len, uint64_t *peer)
{
    fi_addr_t to;

    /* Providers read as many bytes as an address of theirs has: one of the same length and, for sockets, of the same
     * family as ours is safe to hand over. What is behind it, the probe will tell. */
    if (f->ep == NULL || len != f->addr_len)
        return CAIRN_E_INVAL;
    if ((f->info->addr_format == FI_SOCKADDR || f->info->addr_format == FI_SOCKADDR_IN ||
         f->info->addr_format == FI_SOCKADDR_IN6) &&
        memcmp(addr, f->addr, sizeof(sa_family_t)) != 0)
        return CAIRN_E_INVAL;
    if (fi_av_insert(f->av, addr, 1, &to, 0, NULL) != 1)
        return CAIRN_E_INVAL;
    *peer = to;
    return 0;
}

void cairn_fabric_peer_del(struct cairn_fabric *f, uint64_t peer)
{
    fi_addr_t addr = peer;

    if (f->ep != NULL)
        fi_av_remove(f->av, &addr, 1, 0);
    f->agreed = false;
}

static uint64_t mr_access(uint32_t access)
{
    return ((access & CAIRN_FABRIC_LOCAL) != 0 ? FI_READ | FI_WRITE : 0) |
           ((access & CAIRN_FABRIC_REMOTE_READ) != 0 ? FI_REMOTE_READ : 0) |
           ((access & CAIRN_FABRIC_REMOTE_WRITE) != 0 ? FI_REMOTE_WRITE : 0);
}

int cairn_fabric_mr_new(struct cairn_fabric *f, void *ptr, uint64_t len, uint32_t access, uint64_t key,
                        struct cairn_fabric_mr **to)
{
    const struct fi_domain_attr *attr = f->info->domain_attr;
    struct cairn_fabric_mr *mr;
    int rc;

    if (f->ep == NULL)
        return CAIRN_E_CLOSED;
    mr = calloc(1, sizeof(*mr));
    if (mr == NULL)
        return CAIRN_E_NOMEM;
    if ((attr->mr_mode & FI_MR_PROV_KEY) == 0 && attr->mr_key_size < sizeof(key))
        key &= (UINT64_C(1) << (8 * attr->mr_key_size)) - 1;
    rc = fi_mr_reg(f->domain, ptr, len, mr_access(access), 0, key, 0, &mr->fid, NULL);
    if (rc != 0) {
        free(mr);
        return rc == -FI_ENOMEM ? CAIRN_E_NOMEM : CAIRN_E_LIMIT;
    }
    if ((attr->mr_mode & FI_MR_ENDPOINT) != 0) {
        rc = fi_mr_bind(mr->fid, &f->ep->fid, 0);
        if (rc == 0)
            rc = fi_mr_enable(mr->fid);
        if (rc != 0) {
            fi_close(&mr->fid->fid);
            free(mr);
            return CAIRN_E_LIMIT;
        }
    }
    mr->fabric = f;
    mr->key = fi_mr_key(mr->fid); /* ours, or with FI_MR_PROV_KEY the provider's */
    mr->base = (attr->mr_mode & FI_MR_VIRT_ADDR) != 0 ? (uint64_t)(uintptr_t)ptr : 0;
    cairn_list_add_tail(&f->mrs, &mr->link);
    *to = mr;
    return 0;
}

void cairn_fabric_mr_free(struct cairn_fabric_mr *mr)
{
    if (mr == NULL)
        return;
    if (mr->fid != NULL)
        fabric_close(mr->fabric, &mr->fid->fid, "registration");
    cairn_list_del(&mr->link);
    free(mr);
}

uint64_t cairn_fabric_mr_key(const struct cairn_fabric_mr *mr)
{
    return mr->key;
}

uint64_t cairn_fabric_mr_base(const struct cairn_fabric_mr *mr)
{
    return mr->base;
}

const struct cairn_fabric_stats *cairn_fabric_stats(const struct cairn_fabric *f)
{
    return &f->stats;
}
