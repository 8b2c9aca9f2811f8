/* REGISTER: what this node has of each slot is told to the coordinator, which lets it in; then its replicas come to
 * life. See life.c. */
#include "server/cluster/service/life_internal.h"

#include "sdk/core/base/log.h"
#include "server/cluster/service/coordinator.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static void enter_on(struct side_worker *w, void *arg)
{
    struct side_life *l = arg;

    cluster_slots_register(w->slots, (struct cairn_who){ l->c->node, l->inc });
}

static void entered_all(void *arg)
{
    struct side_life *l = arg;

    if (life_step_over(l))
        return;
    cairn_sm_move(&l->sm, LIFE_BEATING);
    if (l->ceases)
        life_cease(l);
    else
        life_beat(l);
}

static void registered(struct side_life *l, uint64_t inc)
{
    if (l->sm.state != LIFE_REGISTERING)
        return;
    l->inc = inc;
    if (l->first_inc == 0)
        l->first_inc = inc;
    cairn_sm_move(&l->sm, LIFE_ENTERING);
    cairn_log_info("this node is in the cluster, as incarnation %" PRIu64, inc);
    l->pending++;
    if (side_each(l->c, enter_on, entered_all, l) != 0) {
        l->pending--;
        side_fail(l->c, CAIRN_E_NOMEM, "replicas cannot come to life");
    }
}

static void register_over(struct side_life *l)
{
    l->registering = false;
    cairn_arena_reset(&l->arena);
    if (l->sm.state == LIFE_REGISTERING)
        cairn_sm_move(&l->sm, LIFE_SEEKING);
}

/* Said once, and in the status for as long as it is so. That nobody coordinates just now is no refusal. Who holds
 * another key than the cluster's, or speaks another protocol, is refused at each address that answers, and by whoever
 * coordinates: who it is is no news then, nor that others do not answer. */
static void note_problem(struct side_life *l, int rc)
{
    bool unheard = rc == CAIRN_E_UNREACHABLE || rc == CAIRN_E_TIMEOUT, known;

    if (rc == CAIRN_E_BUSY || rc == CAIRN_E_MOVED || rc == CAIRN_E_SHUTDOWN || (l->stranger != 0 && unheard))
        return;
    known = strcmp(l->problem, l->err.text) == 0 || (l->stranger != 0 && rc == l->stranger);
    l->stranger = rc == CAIRN_E_AUTH || rc == CAIRN_E_VERSION ? rc : 0;
    cairn_coordinator_bar(l->c->coordinator, l->stranger != 0);
    if (rc != 0 && !known)
        cairn_log_warn("this node is not in the cluster: %s", l->err.text);
    snprintf(l->problem, sizeof(l->problem), "%s", rc != 0 ? l->err.text : "");
}

static void on_registered(struct cairn_rpc_call *call)
{
    struct side_life *l = call->arg;
    struct cairn_coord_process p = { 0 };

    if (life_step_over(l)) {
        l->registering = false;
        cairn_arena_reset(&l->arena);
        return;
    }
    note_problem(l, call->rc);
    if (call->rc == 0 &&
        cairn_wire_registered_get((const Cairn__Wire__ClusterRegistered *)call->reply, &p, NULL) == 0 &&
        p.node == l->c->node && p.process == l->c->side->process) {
        l->again = false;
        registered(l, p.inc);
    } else if (call->rc == CAIRN_E_STATE) {
        side_fail(l->c, call->rc, l->err.text);
    }
    register_over(l);
}

static void logs_on(struct side_worker *w, void *arg)
{
    (void)arg;
    free(w->logs);
    free(w->partial);
    w->logs = NULL;
    w->partial = NULL;
    w->nlogs = w->partial_bytes = 0;
    if (!w->stopping) /* no memory: then nothing is told, and asked again */
        (void)cluster_slots_logs(w->slots, &w->logs, &w->nlogs, &w->partial, &w->partial_bytes);
}

static int compare_logs(const void *a, const void *b)
{
    const struct cairn_coord_log *x = a, *y = b;

    return x->slot < y->slot ? -1 : x->slot > y->slot;
}

/* What all workers say, as one; it lies in the arena. False: one of them, or we, had no memory. */
static bool gather(struct side_life *l, struct cairn_coord_told *told)
{
    const struct cairn_cluster_side *side = l->c->side;
    struct cairn_coord_log *logs;
    uint8_t *partial;

    *told = (struct cairn_coord_told){ 0 };
    for (uint32_t i = 0; i < side->nworkers; i++) {
        if (side->workers[i].logs == NULL)
            return false;
        told->nlogs += side->workers[i].nlogs;
        told->partial_bytes = MAX(told->partial_bytes, side->workers[i].partial_bytes);
    }
    told->logs = logs = cairn_arena_alloc(&l->arena, (told->nlogs + 1) * sizeof(*logs));
    told->partial = partial = cairn_arena_alloc(&l->arena, told->partial_bytes + 1);
    if (logs == NULL || partial == NULL)
        return false;
    memset(partial, 0, told->partial_bytes);
    for (uint32_t i = 0; i < side->nworkers; i++) {
        const struct side_worker *w = &side->workers[i];

        memcpy(logs, w->logs, w->nlogs * sizeof(*logs));
        logs += w->nlogs;
        for (uint32_t k = 0; k < w->partial_bytes; k++)
            partial[k] |= w->partial[k];
    }
    qsort(logs - told->nlogs, told->nlogs, sizeof(*logs), compare_logs);
    return true;
}

/* So many as a class is not made for: others went away for good, and what they held came here. */
static void is_crowded(struct side_life *l, uint32_t nlogs)
{
    char text[CAIRN_ERR_TEXT_MAX];

    snprintf(text, sizeof(text),
             "this node has %u slots, and no more than %d can be registered: with an empty data directory it begins "
             "anew, if others hold copies of all that it has",
             nlogs, CAIRN_WIRE_LOGS_MAX);
    if (strcmp(text, l->problem) != 0)
        cairn_log_error("%s", text);
    memcpy(l->problem, text, sizeof(l->problem));
}

static const Cairn__Wire__ClusterRegister *register_message(struct side_life *l)
{
    struct cairn_cluster *c = l->c;
    struct cairn_coord_process p = {
        .node = c->node, .disk_id = c->disk_id, .process = c->side->process, .first_inc = l->first_inc
    };
    Cairn__Wire__ClusterRegister *msg;
    struct cairn_wire_member self;
    struct cairn_coord_told told;

    if (!gather(l, &told))
        return NULL;
    if (told.nlogs > CAIRN_WIRE_LOGS_MAX) {
        is_crowded(l, told.nlogs);
        return NULL;
    }
    msg = cairn_wire_register_put(&p, &told, &l->arena);
    if (msg == NULL)
        return NULL;
    cairn_cluster__self(c, &l->arena, &self);
    msg->self = cairn_wire_member_put(&self, &l->arena);
    return msg->self != NULL ? msg : NULL;
}

static void logs_all(void *arg)
{
    struct side_life *l = arg;
    const Cairn__Wire__ClusterRegister *msg;
    struct cairn_rpc_dest dest;

    if (life_step_over(l))
        return;
    cairn_arena_init(&l->arena, LIFE_ARENA_BYTES);
    msg = register_message(l);
    if (msg == NULL || !life_find_coordinator(l, &dest)) {
        register_over(l);
        return;
    }
    life_call_prepare(l, &l->call, &dest, CAIRN__WIRE__CLUSTER_METHOD__CLUSTER_REGISTER, &msg->base, on_registered, l);
    l->err = (struct cairn_err){ 0 };
    l->call.err = &l->err;
    cairn_rpc_call_start(&l->call);
}

void life_register(struct side_life *l)
{
    struct cairn_rpc_dest dest;

    if (l->registering || !life_find_coordinator(l, &dest))
        return;
    l->registering = true;
    if (l->sm.state == LIFE_SEEKING)
        cairn_sm_move(&l->sm, LIFE_REGISTERING);
    cairn_arena_init(&l->arena, LIFE_ARENA_BYTES);
    l->pending++;
    if (side_each(l->c, logs_on, logs_all, l) != 0) {
        l->pending--;
        register_over(l);
    }
}
