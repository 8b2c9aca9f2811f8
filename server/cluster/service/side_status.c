/* What this node says of its part in the cluster, and of why it cannot answer now: see side.h. */
#include "server/cluster/service/scrub.h"

#include "server/cluster/map_store.h"
#include "server/storage/spare.h"

#include <inttypes.h>
#include <stdio.h>

void cairn_cluster_why_busy(const struct cairn_cluster *c, struct cairn_err *err)
{
    struct cairn_map_health health;

    if (side_lease_is_valid(c))
        return;
    cairn_map_store_health(c->map, &health);
    if (atomic_load(&c->side->failed))
        cairn_err_set(err, CAIRN_E_BUSY, "node %s takes no part in the cluster any more, until it is started again: %s",
                      c->env->node->name, c->side->why);
    else if (health.reachable)
        cairn_err_set(err, CAIRN_E_BUSY, "node %s has no lease: nobody who coordinates the cluster has granted one",
                      c->env->node->name);
    else
        cairn_err_set(err, CAIRN_E_BUSY, "node %s has no lease, because the map store cannot be reached: %s",
                      c->env->node->name, health.err.text);
}

bool side_disk_is_full(const struct cairn_cluster *c)
{
    uint64_t growth;

    return cairn_slot_disk_is_full(c->side->disk) || cairn_spare_show(c->env->spare, &growth);
}

static void tell_problem(json_t *to, const char *health, const char *problem)
{
    if (strcmp(json_string_value(json_object_get(to, "health")), "ok") == 0)
        json_object_set_new(to, "health", json_string(health));
    if (json_object_get(to, "problem") == NULL)
        json_object_set_new(to, "problem", json_string(problem));
}

/* How many slots are led from here, and how many of them need no lease. */
static uint64_t count_led(const struct cairn_cluster *c, uint64_t *alone)
{
    uint64_t led = 0;

    *alone = 0;
    for (uint32_t i = 0; i < SIDE_SLOTS_MAX; i++) {
        uint64_t word = atomic_load_explicit(&c->side->words[i], memory_order_relaxed);

        led += word >= CLUSTER_WORD_LEADS;
        *alone += (word & CLUSTER_WORD_ALONE) != 0;
    }
    return led;
}

/* Before all else that may be wrong: it follows from that, or does not matter any more. */
static void tell_end(const struct cairn_cluster *c, json_t *to)
{
    bool failed = atomic_load(&c->side->failed);

    json_object_set_new(to, "failed", json_boolean(failed));
    if (!failed)
        return;
    json_object_set_new(to, "health", json_string("failed"));
    json_object_set_new(to, "problem",
                        json_sprintf("this node takes no part in the cluster any more (%s): look after the cause, then "
                                     "start it again",
                                     c->side->why));
}

/* What the loss of the map store means for the slots that are led from here. A lease may be missing for a moment
 * without it, when one coordinator follows another or a node was slow. */
static void tell_lease(struct cairn_cluster *c, json_t *to)
{
    bool has_lease = side_lease_is_valid(c);
    struct cairn_map_health health;
    uint64_t alone, led = count_led(c, &alone);
    char text[CAIRN_ERR_TEXT_MAX];

    cairn_map_store_health(c->map, &health);
    json_object_set_new(to, "slots_led", json_integer((json_int_t)led));
    json_object_set_new(to, "slots_led_alone", json_integer((json_int_t)alone));
    json_object_set_new(to, "slots_waiting", json_integer(has_lease ? 0 : (json_int_t)(led - alone)));
    if (atomic_load(&c->side->failed) || health.reachable)
        return;
    snprintf(text, sizeof(text),
             "the map store cannot be reached: of the slots that are led from here %" PRIu64
             " with other replicas in sync %s, and %" PRIu64 " without go on",
             led - alone, has_lease ? "stop when the lease ends" : "wait", alone);
    tell_problem(to, "degraded", text);
}

/* It may be the map of nobody, at a wrong place, or one that was lost; who wants neither undone starts the node again,
 * and then the map is his. */
static void tell_new_map(const struct cairn_cluster *c, json_t *to)
{
    if (c->conf.map_was_empty && c->side->was_member)
        tell_problem(to, "degraded",
                     "the map was empty when this node started, which was in a cluster before: are map.endpoints and "
                     "map.prefix right? What etcd lost `cairn map import` puts back, before nodes start; if a new map "
                     "is meant, start this node once more");
}

static void tell_room(const struct cairn_cluster *c, json_t *to)
{
    bool stuck = false;

    for (uint32_t i = 0; i < c->side->nworkers; i++)
        stuck |= c->side->workers[i].slots != NULL && cluster_slots_is_stuck(c->side->workers[i].slots);
    if (stuck)
        tell_problem(to, "readonly",
                     "the disk, or the memory of the keys' provider, is full to the last byte: slots led from here "
                     "take no writes, not even removals, until there is room");
    if (side_disk_is_full(c))
        tell_problem(to, "readonly", "the disk is full: slots led from here take no new data");
}

/* Of troubles that are counted: what has not come again for a while is over, or somebody has mended it. */
static bool is_recent(uint64_t n, uint64_t last_ns, uint64_t now)
{
    return n > 0 && now - MIN(now, last_ns) < STORE_RECENTLY_NS;
}

/* What the stores of all workers have met. */
static void tell_troubles(const struct cairn_cluster *c, json_t *to)
{
    uint64_t unreadable = 0, unreadable_ns = 0, waiting = 0, refused = 0, refused_ns = 0;
    uint64_t now = cairn_env_now_ns(&c->home->env);

    for (uint32_t i = 0; i < c->side->nworkers; i++) {
        struct cluster_slots *slots = c->side->workers[i].slots;
        const struct store_troubles *t = slots != NULL ? cluster_store_troubles(cluster_slots_store(slots)) : NULL;

        if (t == NULL)
            continue;
        unreadable += atomic_load(&t->unreadable);
        unreadable_ns = MAX(unreadable_ns, atomic_load(&t->unreadable_ns));
        waiting += atomic_load(&t->views_waiting);
        refused += atomic_load(&t->refused);
        refused_ns = MAX(refused_ns, atomic_load(&t->refused_ns));
    }
    json_object_set_new(to, "entries_unreadable", json_integer((json_int_t)unreadable));
    json_object_set_new(to, "copies_waiting", json_integer((json_int_t)waiting));
    json_object_set_new(to, "copies_refused", json_integer((json_int_t)refused));
    if (is_recent(refused, refused_ns, now))
        tell_problem(to, "degraded", "copies of slots cannot be stored here: the log says why");
    if (waiting > 0)
        tell_problem(to, "degraded", "copies of slots to other nodes wait for room for a view");
    if (is_recent(unreadable, unreadable_ns, now))
        tell_problem(to, "degraded",
                     "writes were refused, as the disk cannot give back what they depend on: `cairn scrub` repairs it");
}

static void tell_sessions(const struct cairn_cluster *c, json_t *to)
{
    uint64_t n = 0, last_ns = 0;

    for (uint32_t i = 0; i < c->side->nworkers; i++) {
        uint64_t ns = 0;

        if (c->side->workers[i].slots != NULL)
            n += cluster_slots_sessions_refused(c->side->workers[i].slots, &ns);
        last_ns = MAX(last_ns, ns);
    }
    json_object_set_new(to, "sessions_refused", json_integer((json_int_t)n));
    if (is_recent(n, last_ns, cairn_env_now_ns(&c->home->env)))
        tell_problem(to, "degraded", "more clients write to one slot than may: some of them wait for others to end");
}

static void tell_mail(const struct cairn_cluster *c, json_t *to)
{
    uint64_t n = atomic_load(&c->side->mail_refused);

    json_object_set_new(to, "mail_refused", json_integer((json_int_t)n));
    if (is_recent(n, atomic_load(&c->side->mail_refused_ns), cairn_env_now_ns(&c->home->env)))
        tell_problem(
            to, "degraded",
            "another node's release of Cairn replicates in a form that this one does not know: the log names it");
}

void cairn_cluster__side_status(struct cairn_cluster *c, json_t *to)
{
    uint64_t until = atomic_load(&c->side->lease_until_ns), now = cairn_env_now_ns(&c->home->env);
    struct cluster_regions_counts pins;

    cluster_regions_count(&c->side->regions, &pins);
    tell_end(c, to);
    tell_new_map(c, to);
    tell_room(c, to);
    if (pins.full)
        tell_problem(to, "degraded",
                     "as many regions of large values are pinned as may be: large writes wait for the next sweep");
    tell_lease(c, to);
    tell_mail(c, to);
    tell_sessions(c, to);
    tell_troubles(c, to);
    json_object_set_new(to, "regions_pinned", json_integer(pins.pinned));
    json_object_set_new(to, "regions_refused", json_integer((json_int_t)pins.refused));
    json_object_set_new(to, "lease_ms", json_integer(until > now ? (json_int_t)((until - now) / CAIRN_NS_PER_MS) : 0));
    json_object_set_new(to, "copied_bytes", json_integer((json_int_t)atomic_load(&c->side->pace.bytes_sent)));
    if (side_has_store(c))
        json_object_set_new(to, "scrub", scrub_report_brief(c->side->scrub_report));
    if (scrub_report_open(c->side->scrub_report) > 0 && json_object_get(to, "problem") == NULL) {
        json_object_set_new(to, "health", json_string("degraded"));
        json_object_set_new(to, "problem",
                            json_string("replicas differ, or have no good copy: `cairn scrub` names them"));
    }
    json_object_set_new(to, "map_revision", json_integer((json_int_t)cairn_cluster_records_revision(c->records)));
    side_life_status(c, to);
}
