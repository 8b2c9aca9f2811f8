/* How the group is, for `cairn status` and the metrics. */
#include "providers/group/group_internal.h"

#include <string.h>

bool group_is_joined(const struct group_provider *p)
{
    const struct cairn_swim *s = &p->core;

    return !s->superseded && (s->join.synced || (!p->observer && (cairn_swim_size(s) > 1 || s->nseeds == 0)));
}

/* Under the mutex. */
static const char *state_name(const struct group_provider *p)
{
    if (p->core.superseded)
        return "silent";
    if (p->core.leaving)
        return "leaving";
    if (!group_is_joined(p))
        return "joining";
    return p->observer ? "observer" : "member";
}

static void set_count(json_t *to, const char *name, uint64_t n)
{
    json_object_set_new(to, name, json_integer((json_int_t)n));
}

static uint64_t refused(struct group_provider *p, enum group_seal_result why)
{
    return atomic_load_explicit(&p->refused[why], memory_order_relaxed);
}

void group_status(void *ctx, json_t *to)
{
    struct group_provider *p = ctx;
    struct cairn_swim_counts c;
    uint32_t count[CAIRN_SWIM_STATES_NR], health;
    char addr[GROUP_ADDR_TEXT_MAX], problem[GROUP_PROBLEM_MAX];
    const char *state;

    pthread_mutex_lock(&p->mutex);
    c = p->core.counts;
    memcpy(count, p->core.count, sizeof(count));
    health = p->core.health;
    state = state_name(p);
    memcpy(problem, p->problem, sizeof(problem));
    pthread_mutex_unlock(&p->mutex);
    group_addr_text(&p->self.addr, addr);
    json_object_set_new(to, "health", json_string(problem[0] != '\0' ? "degraded" : "ok"));
    json_object_set_new(to, "group", json_string(p->group));
    json_object_set_new(to, "member", json_string(p->self.name));
    json_object_set_new(to, "address", json_string(addr));
    json_object_set_new(to, "state", json_string(state));
    if (problem[0] != '\0')
        json_object_set_new(to, "problem", json_string(problem));
    set_count(to, "alive", count[CAIRN_SWIM_ALIVE]);
    set_count(to, "suspected", count[CAIRN_SWIM_SUSPECT]);
    set_count(to, "silent", count[CAIRN_SWIM_DEAD]);
    set_count(to, "left", count[CAIRN_SWIM_LEFT]);
    set_count(to, "slowness", health);
    set_count(to, "probes", c.probes);
    set_count(to, "probes_by_others", c.probes_saved);
    set_count(to, "probes_failed", c.probes_failed);
    set_count(to, "suspicions", c.suspicions);
    set_count(to, "deaths_found", c.deaths);
    set_count(to, "suspected_ourselves", c.accused);
    set_count(to, "joins_refused", c.refused);
    set_count(to, "stalled_ms", c.stalled_ms);
    set_count(to, "packets", refused(p, GROUP_SEAL_GOOD));
    set_count(to, "packets_malformed", c.malformed + refused(p, GROUP_SEAL_TORN));
    set_count(to, "packets_of_other_versions", refused(p, GROUP_SEAL_STRANGE));
    set_count(to, "packets_foreign", refused(p, GROUP_SEAL_FOREIGN));
    set_count(to, "packets_forged", refused(p, GROUP_SEAL_FORGED));
    set_count(to, "packets_replayed", refused(p, GROUP_SEAL_REPLAYED));
}
