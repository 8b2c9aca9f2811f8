/* Disks of the replicated world that fail, as the node's own code meets it (server/cluster/service/slots_ops.c,
 * store_job.c): an error of the slot log, or one of the store that is not tried again, ends the node's part in the
 * cluster; for room everybody waits, and takes nothing new meanwhile. */
#include "tests/sim/repl_internal.h"

enum { FALLS_MS = 3000 };

bool rw_disk_refuses(struct rw_slot *s, enum rw_disk_op op)
{
    struct repl_node *n = s->node;

    if ((n->refuses & 1U << op) == 0)
        return false;
    n->refuses &= ~(1U << op);
    n->rw->disk_errors[op]++;
    return true;
}

static void on_fall(void *arg)
{
    struct repl_node *n = arg;

    repl_world_crash(n->rw, n->index); /* what was not synced is not on that disk, wherever else it was */
}

void rw_node_fail(struct repl_node *n)
{
    struct cairn_env *env = env_of(n->rw, n->index);

    if (n->failed)
        return;
    n->failed = true;
    n->lease = (struct cairn_lease){ 0 };
    cairn_timer_init(&n->fall, on_fall, n); /* until somebody restarts it */
    cairn_timer_start(env, &n->fall, cairn_env_now_ns(env) + dice(n->rw, FALLS_MS * MS));
}

bool rw_log_is_full(const struct repl_node *n)
{
    return world_now_ns(n->rw->world) < n->log_full_until_ns;
}

bool rw_store_is_full(const struct repl_node *n)
{
    return world_now_ns(n->rw->world) < n->store_full_until_ns;
}

uint64_t rw_disk_end(struct repl_node *n, uint64_t ns, bool log)
{
    uint64_t now = cairn_env_now_ns(env_of(n->rw, n->index));

    if (log && rw_log_is_full(n) && dice(n->rw, 4) == 0) /* more was on its way than had been kept free */
        ns += n->log_full_until_ns - world_now_ns(n->rw->world);
    return now + ns;
}

void repl_world_disk_error(struct repl_world *rw, uint32_t node, enum rw_disk_op op)
{
    rw->nodes[node].refuses |= 1U << op;
}

void repl_world_disk_full(struct repl_world *rw, uint32_t node, bool log, uint64_t ms)
{
    uint64_t until = world_now_ns(rw->world) + ms * MS;

    if (log)
        rw->nodes[node].log_full_until_ns = until;
    else
        rw->nodes[node].store_full_until_ns = until;
}

void repl_world_mend_disks(struct repl_world *rw)
{
    for (uint32_t i = 1; i <= rw->conf.nodes; i++) {
        struct repl_node *n = &rw->nodes[i];

        n->refuses = 0;
        n->log_full_until_ns = n->store_full_until_ns = 0;
    }
}
