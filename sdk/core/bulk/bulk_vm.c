/* Copies between two processes of one node, by process_vm_readv and process_vm_writev.
 *
 * Is it the right process? A number of a process says little: it may be used again, and in a container it means another
 * one. So HELLO tells 16 secret bytes and where they lie, and they are compared at connect and with each piece: before
 * the data of a pull, in the same call; before a push, by a call of its own. Only for a peer whose user, proved by the
 * socket, is ours: others could stop this loop with memory whose pages they serve themselves (userfaultfd, FUSE).
 *
 * Is the memory still open? The owner may have taken it back, because its call timed out, and use it for something
 * else. The key stands in the owner's memory for as long as the region is open (desc.live_addr). A pull reads it after
 * the data: if it is there, the data was whole. A push must not write a byte too late, so mover and owner agree as in
 * Dekker's algorithm:
 *
 *      mover                                        owner, in cairn_bulk_conceal()
 *      busy = key                                   live = 0
 *      fence                                        fence
 *      read live from the owner: not key? stop      read busy from the mover: key? look again, until it is not
 *      write the data                               the memory is its own again
 *      busy = 0
 *
 * For that the owner must know the mover's process, which BULK_VM tells it; until it has agreed, pushes go by frames.
 * An owner waits only where its call had no answer (cairn_bulk_settle), for one piece at the most.
 *
 * One hole is left: a mover that is stopped (SIGSTOP, freezer, debugger) right between its look and its write. Nobody
 * can tell that from a long write, and to wait until it goes on might be for ever; so the owner gives up after
 * BULK_VM_WAIT_MS, and says so. */
#include "sdk/core/bulk/bulk_internal.h"

#include "sdk/core/base/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static struct iovec at(uint64_t addr, uint64_t len)
{
    return (struct iovec){ .iov_base = (void *)(uintptr_t)addr, .iov_len = len };
}

static int vm_error(int errnum)
{
    switch (errnum) {
    case ESRCH:
        return CAIRN_E_CLOSED;
    default: /* EPERM, EFAULT of the cookie, ENOSYS under a seccomp filter: not this way */
        return CAIRN_E_UNSUPPORTED;
    }
}

/* Cookie and one word of another process. 0, or as vm_error(). */
static int vm_look(pid_t pid, uint64_t cookie_addr, const uint8_t *cookie, uint64_t word_addr, uint64_t *word)
{
    uint8_t seen[BULK_COOKIE_BYTES];
    struct iovec local[2] = { { seen, sizeof(seen) }, { word, sizeof(*word) } };
    struct iovec remote[2] = { at(cookie_addr, sizeof(seen)), at(word_addr, sizeof(*word)) };
    ssize_t n = process_vm_readv(pid, local, 2, remote, 2, 0);

    if (n < 0)
        return vm_error(errno);
    if (n < (ssize_t)sizeof(seen) || memcmp(seen, cookie, sizeof(seen)) != 0)
        return CAIRN_E_UNSUPPORTED;
    return n == (ssize_t)(sizeof(seen) + sizeof(*word)) ? 0 : CAIRN_E_FAULT;
}

/* ---- the mover ---- */

static int vm_pull(const struct cairn_rpc_peer_info *info, const Cairn__Wire__BulkDesc *d, uint8_t *to, uint64_t addr,
                   uint64_t len)
{
    uint8_t seen[BULK_COOKIE_BYTES];
    uint64_t live = 0;
    struct iovec local[3] = { { seen, sizeof(seen) }, { to, len }, { &live, sizeof(live) } };
    struct iovec remote[3] = { at(info->vm_cookie_addr, sizeof(seen)), at(addr, len), at(d->live_addr, sizeof(live)) };
    ssize_t n = process_vm_readv(info->pid, local, 3, remote, 3, 0);

    if (n < 0)
        return vm_error(errno);
    if (n < (ssize_t)sizeof(seen) || memcmp(seen, info->vm_cookie, sizeof(seen)) != 0)
        return CAIRN_E_UNSUPPORTED;
    return n == (ssize_t)(sizeof(seen) + len + sizeof(live)) && live == d->key ? 0 : CAIRN_E_FAULT;
}

static int vm_push(struct cairn_bulk *b, const struct cairn_rpc_peer_info *info, const Cairn__Wire__BulkDesc *d,
                   const uint8_t *from, uint64_t addr, uint64_t len)
{
    struct iovec local = { (void *)(uintptr_t)from, len }, remote = at(addr, len);
    uint64_t live = 0;
    int rc;

    atomic_store(&b->busy, d->key);
    atomic_thread_fence(memory_order_seq_cst);
    rc = vm_look(info->pid, info->vm_cookie_addr, info->vm_cookie, d->live_addr, &live);
    if (rc == 0 && live != d->key)
        rc = CAIRN_E_FAULT;
    if (rc == 0) {
        ssize_t n = process_vm_writev(info->pid, &local, 1, &remote, 1, 0);

        if (n != (ssize_t)len)
            rc = n < 0 && errno != EFAULT ? vm_error(errno) : CAIRN_E_FAULT;
    }
    atomic_store(&b->busy, 0);
    return rc;
}

int cairn_bulk__vm_copy(struct cairn_bulk_op *op, uint64_t from, uint64_t len)
{
    struct cairn_bulk *b = bulk_of(op->rpc);
    struct cairn_bulk_peer *bp = op->bp;
    const struct cairn_rpc_peer_info *info = cairn_rpc_peer_info(op->peer);
    uint64_t addr = op->desc.addr + op->off + from;
    int rc;

    if (!bp->vm_pull)
        return CAIRN_E_UNSUPPORTED;
    rc = op->push ? vm_push(b, info, &op->desc, op->local + from, addr, len)
                  : vm_pull(info, &op->desc, op->local + from, addr, len);
    if (rc == CAIRN_E_UNSUPPORTED) {
        cairn_log_info("bulk: process %d does not let itself be copied any more: by frames from here on",
                       (int)info->pid);
        bp->vm_pull = bp->vm_push = false;
    }
    return rc;
}

static void on_vm_agreed(struct cairn_rpc_call *call)
{
    struct cairn_bulk_peer *bp = call->arg;

    bp->vm_push = call->rc == 0 && bp->vm_pull && !bp->down;
    cairn_rpc_peer_put(bp->peer);
    cairn_bulk__peer_put(bp);
}

/* A task, since HELLO's last message must leave before any call. */
static void on_vm_task(void *arg)
{
    struct cairn_bulk_peer *bp = arg;
    struct cairn_bulk *b = bp->bulk;
    struct cairn_rpc_call *call = &bp->vm_call;

    cairn__wire__bulk_vm__init(&bp->vm_msg);
    bp->vm_msg.pid = (uint32_t)getpid();
    bp->vm_msg.cookie_addr = (uint64_t)(uintptr_t)b->cookie;
    bp->vm_msg.cookie = (ProtobufCBinaryData){ .len = sizeof(b->cookie), .data = b->cookie };
    bp->vm_msg.busy_addr = (uint64_t)(uintptr_t)&b->busy;
    call->dest.rpc = b->rpc;
    call->dest.peer = bp->peer;
    call->iface = &cairn_iface_bulk;
    call->provider = CAIRN_PROVIDER_BULK;
    call->method = CAIRN__WIRE__BULK_METHOD__BULK_VM;
    call->msg = &bp->vm_msg.base;
    call->done = on_vm_agreed;
    call->arg = bp;
    cairn_rpc_peer_get(bp->peer);
    bp->refs++;
    cairn_rpc_call_start(call);
}

void cairn_bulk__vm_peer_up(struct cairn_bulk_peer *bp)
{
    const struct cairn_rpc_peer_info *info = cairn_rpc_peer_info(bp->peer);
    struct cairn_bulk *b = bp->bulk;
    uint64_t word;

    cairn_task_init(&bp->vm_task, on_vm_task, bp);
    if (!b->conf.vm || !info->unix_socket || info->pid <= 0 || info->vm_cookie_addr == 0)
        return;
    if (info->who.uid != geteuid() && !b->conf.vm_any_user)
        return;
    if (vm_look(info->pid, info->vm_cookie_addr, info->vm_cookie, info->vm_cookie_addr, &word) != 0)
        return; /* another pid namespace, not dumpable, ptrace not allowed: frames */
    bp->vm_pull = true;
    cairn_env_defer(&b->loop->env, &bp->vm_task);
}

/* ---- the owner of the memory ---- */

static void mover_drop(struct cairn_bulk *b, struct bulk_mover *m)
{
    cairn_list_del(&m->link);
    b->nmovers--;
    free(m);
}

/* Looking into a process tells the asker whether the bytes it named lie there: byte by byte, whatever we may read. So
 * only for a peer on this machine, and for one that came to us, whose number the socket told, only about itself. The
 * node that we went to may be another process than the one that made its socket (socket activation), so it says which;
 * it is the node that we trust with our values. */
static bool vm_may_ask(const struct cairn_rpc_peer *peer, uint32_t pid)
{
    const struct cairn_rpc_peer_info *info = peer != NULL ? cairn_rpc_peer_info(peer) : NULL;

    return info != NULL && info->unix_socket && pid != 0 && pid <= INT32_MAX &&
           (info->pid == 0 || info->pid == (pid_t)pid);
}

void cairn_bulk__on_vm(struct cairn_rpc_req *rq)
{
    const Cairn__Wire__BulkVm *msg = CONTAINER_OF(rq->msg, const Cairn__Wire__BulkVm, base);
    struct cairn_bulk *b = bulk_of(rq->rpc);
    struct bulk_mover *m;
    uint64_t word;

    if (b == NULL || !b->conf.vm || msg->cookie.len != BULK_COOKIE_BYTES || !vm_may_ask(rq->peer, msg->pid)) {
        cairn_rpc_reply(rq, CAIRN_E_UNSUPPORTED, NULL, NULL, 0);
        return;
    }
    if (vm_look((pid_t)msg->pid, msg->cookie_addr, msg->cookie.data, msg->busy_addr, &word) != 0) {
        cairn_rpc_reply(rq, CAIRN_E_UNSUPPORTED, NULL, NULL, 0);
        return;
    }
    m = b->nmovers < BULK_MOVERS_MAX ? calloc(1, sizeof(*m)) : NULL;
    if (m == NULL) {
        cairn_rpc_reply(rq, CAIRN_E_LIMIT, NULL, NULL, 0);
        return;
    }
    m->peer = rq->peer;
    m->pid = (pid_t)msg->pid;
    m->cookie_addr = msg->cookie_addr;
    m->busy_addr = msg->busy_addr;
    memcpy(m->cookie, msg->cookie.data, sizeof(m->cookie));
    cairn_list_add_tail(&b->movers, &m->link);
    b->nmovers++;
    cairn_rpc_reply(rq, 0, NULL, NULL, 0);
}

/* The mover learns of the lost connection later than we, and may begin pieces until then: it is remembered for as long
 * as memory is open that it may have been told of. */
void cairn_bulk__vm_peer_down(struct cairn_bulk *b, const struct cairn_rpc_peer *peer)
{
    CAIRN_LIST_FOREACH (l, &b->movers) {
        struct bulk_mover *m = CONTAINER_OF(l, struct bulk_mover, link);

        if (m->peer == peer)
            m->peer = NULL;
    }
    if (b->nexposed == 0)
        cairn_bulk__vm_forget(b);
}

void cairn_bulk__vm_wait(struct cairn_bulk *b, uint64_t key)
{
    const struct timespec moment = { .tv_nsec = 20000 };
    uint64_t until = cairn_env_now_ns(&b->loop->env) + BULK_VM_WAIT_MS * CAIRN_NS_PER_MS;

    atomic_thread_fence(memory_order_seq_cst);
    CAIRN_LIST_FOREACH_SAFE (l, &b->movers) {
        struct bulk_mover *m = CONTAINER_OF(l, struct bulk_mover, link);
        uint64_t busy = 0;

        /* A process that is gone, or has become another program, writes nothing more. */
        while (vm_look(m->pid, m->cookie_addr, m->cookie, m->busy_addr, &busy) == 0 && busy == key) {
            if (cairn_env_now_ns(&b->loop->env) >= until) {
                cairn_log_warn("bulk: process %d was stopped amid a copy into our memory: it may still write there "
                               "once it goes on",
                               (int)m->pid);
                break;
            }
            nanosleep(&moment, NULL);
        }
    }
}

void cairn_bulk__vm_forget(struct cairn_bulk *b)
{
    CAIRN_LIST_FOREACH_SAFE (l, &b->movers) {
        struct bulk_mover *m = CONTAINER_OF(l, struct bulk_mover, link);

        if (m->peer == NULL)
            mover_drop(b, m);
    }
}
