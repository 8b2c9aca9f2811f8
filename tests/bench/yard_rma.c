/* Yardstick: how fast a bare libfabric RMA loop is.
 *
 * Two processes on this host, as small as they can be: the target exposes memory and drives its queue, the mover reads
 * or writes it with a fixed number of operations outstanding. Nothing of Cairn is in it. Both wait on the completion
 * queue's descriptor: polling in both makes it several times slower on two cores. `read` is the yardstick of a server
 * that pulls (a client's write), `write` of one that pushes (a client's read).
 *
 * Depths on two shared cores with libfabric 1.17 tcp;ofi_rxm, GB/s read, write: 1 MiB 1: 7.0, 7.0; 2: 8.2, 6.6;
 * 4: 7.3, 7.0; 8: 5.4, 4.6; 16: 6.1, 6.5 (beyond 4 the buffers leave the cache). 64 MiB: 3.1 to 3.6 at any depth. Hence
 * the defaults. */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <poll.h>
#include <rdma/fabric.h>
#include <rdma/fi_cm.h>
#include <rdma/fi_domain.h>
#include <rdma/fi_endpoint.h>
#include <rdma/fi_errno.h>
#include <rdma/fi_rma.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { DEPTH_MAX = 64, KEY = 4711, ADDR_MAX = 256, CONNECT_S_MAX = 10 };

static const char usage[] =
    "usage: yard_rma [--op read|write] [--size BYTES] [--depth N] [--seconds S] [--provider P] [--domain D]\n"
    "Moves memory between two processes of this host by libfabric RMA and prints bytes per second.\n"
    "  --op        read: the mover pulls, as a server does for a client's write (default); write: it pushes\n"
    "  --size      bytes of one operation (default 1048576)\n"
    "  --depth     operations outstanding, 1 to 64 (default 4 up to 4 MiB, 2 above)\n"
    "  --seconds   how long to measure, after warming up for half as long, at most 0.5 s (default 2)\n"
    "  --provider  libfabric provider (default tcp;ofi_rxm)\n"
    "  --domain    network interface (default lo)\n";

struct end {
    struct fi_info *info;
    struct fid_fabric *fabric;
    struct fid_domain *domain;
    struct fid_av *av;
    struct fid_cq *cq;
    struct fid_ep *ep;
    struct fid_mr *mr;
    int fd;
    uint8_t *mem;
    size_t bytes;
};

/* What the target tells the mover. */
struct card {
    uint8_t addr[ADDR_MAX];
    size_t addr_len;
    uint64_t base, key;
};

struct slot {
    struct fi_context2 context; /* first: what the provider hands back */
    size_t off;
};

static void die(const char *what, int rc)
{
    fprintf(stderr, "yard_rma: %s: %s\n", what, fi_strerror(-rc));
    exit(1);
}

static double now_s(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec * 1e-9;
}

static void end_open(struct end *e, const char *provider, const char *domain, size_t bytes)
{
    struct fi_info *hints = fi_allocinfo();
    struct fi_cq_attr cq_attr = { .format = FI_CQ_FORMAT_CONTEXT, .wait_obj = FI_WAIT_FD, .size = 4 * DEPTH_MAX };
    struct fi_av_attr av_attr = { .type = FI_AV_TABLE };
    int rc;

    hints->caps = FI_MSG | FI_RMA;
    hints->mode = FI_CONTEXT | FI_CONTEXT2;
    hints->ep_attr->type = FI_EP_RDM;
    hints->domain_attr->mr_mode = FI_MR_LOCAL | FI_MR_VIRT_ADDR | FI_MR_ALLOCATED | FI_MR_PROV_KEY | FI_MR_ENDPOINT;
    hints->domain_attr->threading = FI_THREAD_DOMAIN;
    hints->domain_attr->name = domain[0] != '\0' ? strdup(domain) : NULL;
    hints->fabric_attr->prov_name = strdup(provider);
    rc = fi_getinfo(FI_VERSION(1, 17), NULL, NULL, 0, hints, &e->info);
    fi_freeinfo(hints);
    if (rc != 0)
        die("fi_getinfo", rc);
    e->bytes = bytes;
    e->mem = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (e->mem == MAP_FAILED)
        die("mmap", -errno);
    memset(e->mem, 0x5a, bytes);
    if ((rc = fi_fabric(e->info->fabric_attr, &e->fabric, NULL)) != 0 ||
        (rc = fi_domain(e->fabric, e->info, &e->domain, NULL)) != 0 ||
        (rc = fi_av_open(e->domain, &av_attr, &e->av, NULL)) != 0 ||
        (rc = fi_cq_open(e->domain, &cq_attr, &e->cq, NULL)) != 0 ||
        (rc = fi_endpoint(e->domain, e->info, &e->ep, NULL)) != 0 || (rc = fi_ep_bind(e->ep, &e->av->fid, 0)) != 0 ||
        (rc = fi_ep_bind(e->ep, &e->cq->fid, FI_TRANSMIT | FI_RECV)) != 0 || (rc = fi_enable(e->ep)) != 0 ||
        (rc = fi_control(&e->cq->fid, FI_GETWAIT, &e->fd)) != 0)
        die("opening the endpoint", rc);
    rc = fi_mr_reg(e->domain, e->mem, bytes, FI_READ | FI_WRITE | FI_REMOTE_READ | FI_REMOTE_WRITE, 0, KEY, 0, &e->mr,
                   NULL);
    if (rc == 0 && (e->info->domain_attr->mr_mode & FI_MR_ENDPOINT) != 0 &&
        (rc = fi_mr_bind(e->mr, &e->ep->fid, 0)) == 0)
        rc = fi_mr_enable(e->mr);
    if (rc != 0)
        die("fi_mr_reg", rc);
}

/* Sleeps until the queue may have something; at most @ms. */
static void end_wait(struct end *e, int ms)
{
    struct fid *fids[1] = { &e->cq->fid };
    struct pollfd p = { .fd = e->fd, .events = POLLIN };

    if (fi_trywait(e->fabric, fids, 1) == FI_SUCCESS)
        poll(&p, 1, ms);
}

/* Completions, up to @max; dies on an error. */
static ssize_t end_reap(struct end *e, struct fi_cq_entry *to, size_t max)
{
    ssize_t n = fi_cq_read(e->cq, to, max);

    if (n == -FI_EAGAIN)
        return 0;
    if (n == -FI_EAVAIL) {
        struct fi_cq_err_entry ee = { 0 };

        fi_cq_readerr(e->cq, &ee, 0);
        die("operation", -ee.err);
    }
    if (n < 0)
        die("fi_cq_read", (int)n);
    return n;
}

static void target_run(const char *provider, const char *domain, size_t bytes, int sock)
{
    struct end e = { 0 };
    struct card card = { .addr_len = ADDR_MAX };
    struct fi_cq_entry done[8];

    end_open(&e, provider, domain, bytes);
    if (fi_getname(&e.ep->fid, card.addr, &card.addr_len) != 0)
        die("fi_getname", -FI_EINVAL);
    card.base = (e.info->domain_attr->mr_mode & FI_MR_VIRT_ADDR) != 0 ? (uint64_t)(uintptr_t)e.mem : 0;
    card.key = fi_mr_key(e.mr);
    if (write(sock, &card, sizeof(card)) != sizeof(card))
        die("socket", -errno);
    for (;;) { /* until the mover kills us */
        end_reap(&e, done, 8);
        end_wait(&e, 1000);
    }
}

struct mover {
    struct end e;
    struct card card;
    fi_addr_t to;
    size_t size;
    bool push;
};

/* Starts one operation; false: not now. */
static bool mover_issue(struct mover *m, struct slot *s)
{
    uint8_t *local = m->e.mem + s->off;
    void *desc = fi_mr_desc(m->e.mr);
    uint64_t remote = m->card.base + s->off;
    ssize_t rc = m->push ? fi_write(m->e.ep, local, m->size, desc, m->to, remote, m->card.key, s)
                         : fi_read(m->e.ep, local, m->size, desc, m->to, remote, m->card.key, s);

    if (rc != 0 && rc != -FI_EAGAIN)
        die(m->push ? "fi_write" : "fi_read", (int)rc);
    return rc == 0;
}

static double mover_run(struct mover *m, uint32_t depth, double seconds)
{
    struct slot slots[DEPTH_MAX], *idle[DEPTH_MAX];
    struct fi_cq_entry done[DEPTH_MAX];
    uint32_t nidle = 0;
    uint64_t n = 0, n_from = 0;
    double begin = now_s(), from = 0, t = begin, warm = seconds < 1 ? seconds / 2 : 0.5;

    for (uint32_t i = 0; i < depth; i++) {
        slots[i].off = i * m->size;
        idle[nidle++] = &slots[i];
    }
    for (;;) {
        ssize_t got;

        while (nidle > 0 && mover_issue(m, idle[nidle - 1]))
            nidle--;
        got = end_reap(&m->e, done, DEPTH_MAX);
        for (ssize_t i = 0; i < got; i++)
            idle[nidle++] = done[i].op_context;
        n += (uint64_t)got;
        if (got == 0) {
            end_wait(&m->e, n == 0 ? 1 : 1000); /* connecting wakes nobody */
            if (n == 0 && now_s() - begin > CONNECT_S_MAX)
                die("connecting", -FI_ETIMEDOUT);
            continue;
        }
        t = now_s();
        if (from == 0 && t - begin > warm) {
            from = t;
            n_from = n;
        }
        if (from != 0 && t - from >= seconds)
            return (double)(n - n_from) * (double)m->size / (t - from);
    }
}

static uint64_t number(const char *s, uint64_t min, uint64_t max)
{
    char *end;
    uint64_t x = strtoull(s, &end, 0);

    if (*s != '\0' && *end == '\0' && x >= min && x <= max)
        return x;
    fprintf(stderr, "yard_rma: %s: expected a number from %" PRIu64 " to %" PRIu64 "\n", s, min, max);
    exit(2);
}

static double span(const char *s)
{
    char *end;
    double x = strtod(s, &end);

    if (*s != '\0' && *end == '\0' && x >= 0.01 && x <= 3600)
        return x;
    fprintf(stderr, "yard_rma: %s: expected seconds from 0.01 to 3600\n", s);
    exit(2);
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        { "op", required_argument, NULL, 'o' },       { "size", required_argument, NULL, 's' },
        { "depth", required_argument, NULL, 'd' },    { "seconds", required_argument, NULL, 't' },
        { "provider", required_argument, NULL, 'p' }, { "domain", required_argument, NULL, 'i' },
        { "help", no_argument, NULL, 'h' },           { NULL, 0, NULL, 0 },
    };
    const char *provider = "tcp;ofi_rxm", *domain = "lo";
    struct mover m = { .size = 1 << 20 };
    uint32_t depth = 0;
    double seconds = 2, rate;
    int opt, pair[2];
    pid_t target;

    while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (opt) {
        case 'o':
            m.push = strcmp(optarg, "write") == 0;
            if (!m.push && strcmp(optarg, "read") != 0) {
                fputs(usage, stderr);
                return 2;
            }
            break;
        case 's':
            m.size = number(optarg, 1, UINT64_C(1) << 30);
            break;
        case 'd':
            depth = (uint32_t)number(optarg, 1, DEPTH_MAX);
            break;
        case 't':
            seconds = span(optarg);
            break;
        case 'p':
            provider = optarg;
            break;
        case 'i':
            domain = optarg;
            break;
        case 'h':
            fputs(usage, stdout);
            return 0;
        default:
            fputs(usage, stderr);
            return 2;
        }
    }
    if (depth == 0)
        depth = m.size <= 4 << 20 ? 4 : 2;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair) != 0)
        die("socketpair", -errno);
    target = fork(); /* before fi_getinfo: libfabric does not survive a fork */
    if (target < 0)
        die("fork", -errno);
    if (target == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        target_run(provider, domain, depth * m.size, pair[1]);
    }
    close(pair[1]);
    end_open(&m.e, provider, domain, depth * m.size);
    if (read(pair[0], &m.card, sizeof(m.card)) != sizeof(m.card))
        die("the target", -FI_ECONNREFUSED);
    if (fi_av_insert(m.e.av, m.card.addr, 1, &m.to, 0, NULL) != 1)
        die("fi_av_insert", -FI_EINVAL);
    rate = mover_run(&m, depth, seconds);
    kill(target, SIGKILL);
    waitpid(target, NULL, 0);
    printf("%.0f\n", rate);
    return 0;
}
