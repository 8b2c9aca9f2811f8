/* A region that comes from another node: its life, as drawn in fetch_core.h. Who has it, and when it can come, is in
 * fetch_source.c; what messages wait for, in fetch_admit.c. */
#include "server/cluster/service/fetch_core.h"

#include "sdk/core/base/log.h"

#include <inttypes.h>

enum {
    FETCH_WAIT_MS = 30000,      /* until the last READ begins */
    FETCH_COPY_WAIT_MS = 60000, /* likewise, in its turn */
};

#define TO CAIRN_SM_TO
static const struct cairn_sm_state fetch_states[FETCH_NR] = {
    [FETCH_LOOK] = { "LOOK", CAIRN_SM_INITIAL, TO(FETCH_CLEAR) | TO(FETCH_WAIT) | TO(FETCH_DONE) | TO(FETCH_FAILED) },
    [FETCH_CLEAR] = { "CLEAR", 0, TO(FETCH_WAIT) | TO(FETCH_FAILED) },
    [FETCH_WAIT] = { "WAIT", 0, TO(FETCH_READ) | TO(FETCH_FAILED) },
    [FETCH_READ] = { "READ", 0, TO(FETCH_PUT) | TO(FETCH_WAIT) | TO(FETCH_DONE) | TO(FETCH_FAILED) },
    [FETCH_PUT] = { "PUT", 0, TO(FETCH_DONE) | TO(FETCH_WAIT) | TO(FETCH_FAILED) },
    [FETCH_DONE] = { "DONE", CAIRN_SM_FINAL, 0 },
    [FETCH_FAILED] = { "FAILED", CAIRN_SM_FINAL | CAIRN_SM_FAILURE, 0 },
};

static bool fetch_invariant(const struct cairn_sm *sm)
{
    const struct cluster_fetch *f = CONTAINER_OF(sm, const struct cluster_fetch, sm);

    return CAIRN_HOLDS(f->has_memory == (sm->state == FETCH_READ || sm->state == FETCH_PUT) || cairn_sm_is_final(sm)) &&
           CAIRN_HOLDS(f->set->nbuffers <= FETCHES_BUFFERS) &&
           CAIRN_HOLDS(sm->state != FETCH_READ ||
                       cluster_fetches__reads(f->set, f->source, false) <= FETCHES_OF_SOURCE) &&
           CAIRN_HOLDS(cluster_fetches__reads(f->set, 0, true) <= FETCHES_OF_COPIES) &&
           CAIRN_HOLDS(sm->state != FETCH_CLEAR || f->want.named); /* nothing is removed on a rumour */
}

const struct cairn_sm_kind cluster_fetch_kind = { "region-fetch", fetch_states, FETCH_NR, fetch_invariant, 60000 };

/* ---- the end of one ---- */

void cluster_fetch__give_back(struct cluster_fetch *f)
{
    struct cluster_fetches *s = f->set;

    cairn_list_del(&f->link);
    cairn_list_add_tail(&s->all, &f->link);
    s->ops->give_back(f);
    if (!f->has_memory)
        return;
    f->has_memory = false;
    s->nbuffers--;
    cluster_fetches__go_on_soon(s);
}

static void fetch_over(struct cluster_fetch *f, int rc)
{
    struct cluster_fetches *s = f->set;

    if (rc != 0 && !s->stopping)
        cairn_log_warn("region %016" PRIx64 " of node %" PRIx64 " is not to be had now: %s", f->want.region.id,
                       f->source, f->err.text[0] != '\0' ? f->err.text : cairn_error_text(rc));
    cluster_fetch__give_back(f);
    cairn_list_del(&f->link);
    s->n--;
    cairn_sm_move_or_fail(&f->sm, FETCH_DONE, FETCH_FAILED, rc);
    cairn_sm_fini(&f->sm);
    s->ops->over(f);
}

void cluster_fetch__end(struct cluster_fetch *f, int rc)
{
    cluster_regions_set(f->set->regions, f->want.region.id, rc == 0 ? REGION_HERE : REGION_UNKNOWN);
    fetch_over(f, rc);
}

void cluster_fetch__gone(struct cluster_fetch *f)
{
    cairn_log_info("region %016" PRIx64 " is not at node %" PRIx64 " any more", f->want.region.id, f->source);
    cluster_regions_set_gone(f->set->regions, f->want.region.id, f->source);
    fetch_over(f, 0);
}

/* ---- the beginning ---- */

void cluster_fetch_on_cleared(struct cluster_fetch *f, int rc)
{
    if (rc != 0 || f->set->stopping)
        cluster_fetch__end(f, rc != 0 ? rc : CAIRN_E_SHUTDOWN);
    else
        cluster_fetch__wait(f);
}

static void clear_start(struct cluster_fetch *f, const char *why)
{
    cairn_log_warn("region %016" PRIx64 " is %s here, and replaced by what node %" PRIx64 " has", f->want.region.id,
                   why, f->source);
    cairn_sm_move(&f->sm, FETCH_CLEAR);
    f->set->ops->clear(f);
}

/* There is one of its name. */
static void fetch_found(struct cluster_fetch *f, const struct fetch_found *x)
{
    bool other = x->length != f->want.region.len;

    if (x->owner != f->want.owner)
        cluster_fetch__end(f, cairn_err_set(&f->err, CAIRN_E_EXISTS, "another's region has its name here"));
    else if (!x->sealed)
        cluster_fetch__end(f, cairn_err_set(&f->err, CAIRN_E_BUSY, "it is being stored here"));
    else if (!other && !x->damaged)
        cluster_fetch__end(f, 0);
    else if (cluster_fetch__believes(f))
        clear_start(f, other ? "of another length" : "damaged");
    else
        cluster_fetch__end(f, cairn_err_set(&f->err, CAIRN_E_CORRUPT, "what is here is damaged, or of another length"));
}

void cluster_fetch_on_looked(struct cluster_fetch *f, int rc, const struct fetch_found *found)
{
    if (f->set->stopping)
        cluster_fetch__end(f, CAIRN_E_SHUTDOWN);
    else if (rc == CAIRN_E_NOTFOUND)
        cluster_fetch__wait(f);
    else if (rc != 0)
        cluster_fetch__end(f, rc);
    else
        fetch_found(f, found);
}

static bool fetch_start(struct cluster_fetches *s, const struct fetch_want *want)
{
    struct cluster_fetch *f;

    if (s->n >= FETCHES_MAX || s->stopping || cluster_fetches_watch(s) != 0)
        return false;
    f = s->ops->make(s);
    if (f == NULL)
        return false;
    f->set = s;
    f->want = *want;
    f->until_ns = cairn_env_now_ns(s->env) + (want->copy ? FETCH_COPY_WAIT_MS : FETCH_WAIT_MS) * CAIRN_NS_PER_MS;
    cluster_fetch__from(f, want->node);
    cairn_sm_init(&f->sm, &cluster_fetch_kind, s->machines);
    cairn_list_add_tail(&s->all, &f->link);
    s->n++;
    s->ops->look(f);
    return true;
}

bool cluster_fetch_is_here(struct cluster_fetches *s, const struct fetch_want *want)
{
    uint64_t id = want->region.id;
    enum region_state state =
        cluster_regions_pin(s->regions, id, want->named ? want->node : 0, cairn_env_now_ns(s->env));

    if (state == REGION_UNKNOWN && !fetch_start(s, want))
        cluster_regions_set(s->regions, id, REGION_UNKNOWN);
    return state == REGION_HERE || state == REGION_GONE;
}

/* ---- life ---- */

void cluster_fetches_init(struct cluster_fetches *s, const struct cluster_fetch_ops *ops, struct cairn_env *env,
                          struct cairn_sm_set *machines, struct cluster_regions *regions, uint64_t node)
{
    *s = (struct cluster_fetches){ .ops = ops, .env = env, .machines = machines, .regions = regions, .node = node };
    cairn_list_init(&s->all);
    cairn_list_init(&s->reads);
    cairn_timer_init(&s->timer, cluster_fetches__tick, s);
    cairn_task_init(&s->task, cluster_fetches__go_on, s);
}

void cluster_fetches_stop(struct cluster_fetches *s)
{
    s->stopping = true;
    cairn_timer_stop(s->env, &s->timer);
    cairn_task_cancel(&s->task);
    CAIRN_LIST_FOREACH (l, &s->reads)
        s->ops->cancel(CONTAINER_OF(l, struct cluster_fetch, link));
    CAIRN_LIST_FOREACH_SAFE (l, &s->all) {
        struct cluster_fetch *f = CONTAINER_OF(l, struct cluster_fetch, link);

        if (f->sm.state == FETCH_WAIT)
            cluster_fetch__end(f, CAIRN_E_SHUTDOWN);
        else
            s->ops->cancel(f);
    }
}
