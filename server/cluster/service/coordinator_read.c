/* What an elected coordinator reads before it serves: see coordinator.h. */
#include "server/cluster/service/coordinator_internal.h"

#include "sdk/core/base/log.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { RETRY_MS = 100 };

/* In this order; nobody changes what was read first while the rest is read. */
static const char *const prefixes[] = { "cluster/", CAIRN_CLUSTER_KEY_MEMBERS, CAIRN_CLUSTER_KEY_SLOTS };

void cairn_coordinator__forget(struct cairn_coordinator *co)
{
    cairn_coordinator__plans_forget(co);
    if (co->has_coord)
        cairn_coord_fini(&co->coord);
    co->has_coord = false;
    cairn_members_fini(&co->members);
    for (uint32_t i = 0; i < ARRAY_SIZE(prefixes); i++)
        cairn_map_table_fini(&co->tables[i]);
    memset(co->tables, 0, sizeof(co->tables));
    free(co->changed);
    free(co->held);
    co->changed = NULL;
    co->held = NULL;
    co->reads_done = 0;
    co->moves_pace = co->behind_pace = (struct cairn_coordinator_pace){ 0 };
    co->behind_most = 0;
    co->counts = (struct cairn_coordinator_counts){ 0 };
}

/* ---- one entry ---- */

/* Digits alone; 0 if there is anything else. */
static uint64_t number_of(const struct cairn_map_entry *e)
{
    uint64_t n = 0;

    if (e->value_len > 10)
        return 0;
    for (uint32_t i = 0; i < e->value_len; i++) {
        if (e->value[i] < '0' || e->value[i] > '9')
            return 0;
        n = n * 10 + (uint64_t)(e->value[i] - '0');
    }
    return n;
}

uint32_t cairn_cluster__nslots_of(const struct cairn_map_entry *e)
{
    uint64_t n = number_of(e);

    return n >= UINT32_C(1) << CAIRN_SLOT_BITS_MIN && n <= CAIRN_CLUSTER_SLOTS_OF_CLASS_MAX && (n & (n - 1)) == 0
               ? (uint32_t)n
               : 0;
}

uint64_t cairn_cluster__lease_of(const struct cairn_map_entry *e)
{
    uint64_t ms = number_of(e);

    return ms >= CAIRN_CLUSTER_LEASE_MS_MIN && ms <= CAIRN_CLUSTER_LEASE_MS_MAX ? ms * CAIRN_NS_PER_MS : 0;
}

/* Who served last. What makes no sense is overwritten, and nobody then. */
static void read_led(struct cairn_coordinator *co)
{
    const struct cairn_map_node *led = cairn_map_table_at(&co->tables[0], CAIRN_CLUSTER_KEY_LED);
    char digits[17] = "", *end;

    co->led_changed = led != NULL ? led->e.changed : 0;
    if (led != NULL && led->e.value_len == sizeof(digits) - 1)
        memcpy(digits, led->e.value, sizeof(digits) - 1);
    co->forerunner = strtoull(digits, &end, 16);
    if (end != digits + sizeof(digits) - 1)
        co->forerunner = 0;
}

static int read_conf(struct cairn_coordinator *co)
{
    const struct cairn_map_node *slots = cairn_map_table_at(&co->tables[0], CAIRN_CLUSTER_KEY_CONF);
    const struct cairn_map_node *lease = cairn_map_table_at(&co->tables[0], CAIRN_CLUSTER_KEY_LEASE);

    co->conf_is_stored = slots != NULL;
    co->nslots = slots != NULL ? cairn_cluster__nslots_of(&slots->e) : UINT32_C(1) << co->conf->slot_bits;
    co->lease_is_stored = lease != NULL;
    co->lease_times = *co->times;
    if (lease != NULL)
        co->lease_times.length_ns = cairn_cluster__lease_of(&lease->e);
    if (co->nslots == 0 || co->lease_times.length_ns == 0)
        return cairn_err_set(&co->why, CAIRN_E_CORRUPT, "entries cluster/");
    return 0;
}

/* Ids of namespaces go on beyond those that the lost part of the map, up to @upto, may have given. */
static void move_ids(struct cairn_coordinator *co, uint64_t upto)
{
    const struct cairn_map_node *n = cairn_map_table_at(&co->tables[0], CAIRN_MAP_IDS_KEY);
    struct cairn_map_ids ids = cairn_map_ids_in(&co->tables[0]);
    uint64_t base =
        cairn_map_ids_base_after(cairn_map_ids_base(&ids), upto, cairn_map_generation_number(co->generation.id),
                                 cairn_env_random(co->store->home.env));

    co->ids_changed = n != NULL ? n->e.changed : 0;
    co->ids_are_stored = cairn_map_ids_add(&ids, base, co->ids) == 0;
    if (co->ids_are_stored)
        cairn_log_error(
            "the map's entry %s takes no more: ids of namespaces may come again; export the map, and import "
            "it into an empty store",
            CAIRN_MAP_IDS_KEY);
}

/* Another generation, if anybody knows of what this map cannot have become of, or if it has none. */
static void read_generation(struct cairn_coordinator *co)
{
    const struct cairn_map_node *n = cairn_map_table_at(&co->tables[0], CAIRN_MAP_GENERATION_KEY);
    struct cairn_map_generation *g = &co->generation;
    uint64_t upto = 0, map = co->ops->known != NULL ? co->ops->known(co, &upto) : 0, id;
    uint64_t random = cairn_env_random(co->store->home.env);
    bool lost;

    co->ids_are_stored = true;
    co->generation_changed = n != NULL ? n->e.changed : 0;
    co->generation_is_stored = n != NULL && cairn_map_generation_read(n->e.value, n->e.value_len, g);
    if (!co->generation_is_stored)
        *g = (struct cairn_map_generation){ 0 };
    id = g->id;
    lost = co->known_epoch != 0 || cairn_map_generation_is_lost(map, upto, id, co->read_revision) ||
           cairn_map_generation_is_lost(co->known_map, co->known_upto, id, co->read_revision) ||
           (id == 0 && (map | co->known_map) != 0);
    if (co->known_map > map)
        map = co->known_map;
    upto = MAX(upto, co->known_upto);
    if (lost) { /* the number of the epoch's generation is where that of a map's is */
        *g = (struct cairn_map_generation){ .id = cairn_map_generation_next(MAX(map, co->known_epoch), id, random),
                                            .kept = co->read_revision,
                                            .lost = upto > co->read_revision ? upto : 0 };
        cairn_log_warn("the map store was put back to revision %" PRIu64 ", and there was a map up to %" PRIu64
                       " at least: what was changed in between is lost; generation %u of the map begins",
                       g->kept, upto, cairn_map_generation_number(g->id));
        move_ids(co, MAX(upto, co->read_revision));
    } else if (id == 0) {
        g->id = (uint32_t)random | 1;
    }
    co->generation_is_stored = g->id == id;
}

static int read_member(struct cairn_coordinator *co, const struct cairn_map_entry *e)
{
    struct cairn_member read = { 0 }, *m;
    struct cairn_wire_member told;
    char key[CAIRN_MEMBER_KEY_BYTES];
    struct cairn_err err;
    int rc = cairn_member_unpack(&read, e->value, e->value_len, &err);

    cairn_member_key(read.p.node, key);
    if (rc == 0 && strcmp(key, e->key) != 0)
        rc = cairn_err_set(&err, CAIRN_E_CORRUPT, "it tells of another");
    if (rc != 0)
        return cairn_err_set(&co->why, rc, "entry %s: %s", e->key, err.text);
    rc = cairn_members_add(&co->members, read.p.node, &m);
    if (rc == 0) {
        read.waiting = m->waiting; /* the links are the member's own */
        read.awaiting = m->awaiting;
        read.before_ms = read.silent_ms;
        *m = read;
        cairn_list_init(&m->waiting);
        cairn_list_init(&m->awaiting);
        m->changed = e->changed;
        rc = cairn_coord_load_node(&co->coord, &m->p);
    }
    cairn_member_tell(&read, &told);
    if (rc == 0)
        rc = co->ops->put_member(co, &told, e->changed);
    return rc == 0 ? 0 : cairn_err_set(&co->why, rc, "member %s", read.name);
}

static int read_slot(struct cairn_coordinator *co, const struct cairn_map_entry *e)
{
    struct cairn_slot_record rec;
    struct cairn_err err;
    char key[CAIRN_WRITES_KEY_BYTES];
    uint32_t slot = (uint32_t)strtoul(e->key + strlen(CAIRN_CLUSTER_KEY_SLOTS), NULL, 16);
    int rc = cairn_wire_slot_unpack(e->value, e->value_len, &rec, &err);

    snprintf(key, sizeof(key), CAIRN_CLUSTER_KEY_SLOTS "%08x", slot);
    if (rc == 0 && (strcmp(key, e->key) != 0 || slot >= all_slots(co) || rec.epoch == 0))
        rc = cairn_err_set(&err, CAIRN_E_CORRUPT, "there is no such slot");
    if (rc != 0)
        return cairn_err_set(&co->why, rc, "entry %s: %s", e->key, err.text);
    cairn_coord_load(&co->coord, slot, &rec);
    co->changed[slot] = e->changed;
    co->classes[slot / co->nslots].made++;
    co->classes[slot / co->nslots].revision = e->changed;
    co->counts.slots++;
    rc = co->ops->put_slot(co, slot, &rec, e->changed);
    return rc == 0 ? 0 : cairn_err_set(&co->why, rc, "slot %u", slot);
}

/* ---- all ---- */

static int by_changed(const void *a, const void *b)
{
    uint64_t x = (*(struct cairn_map_node *const *)a)->e.changed, y = (*(struct cairn_map_node *const *)b)->e.changed;

    return (x > y) - (x < y);
}

/* In the order in which they changed, as this node's records want it. */
static int read_entries(struct cairn_coordinator *co)
{
    uint32_t nmembers = co->tables[1].n, n = nmembers + co->tables[2].n;
    struct cairn_map_node **all = calloc(n + 1, sizeof(struct cairn_map_node *));
    size_t prefix = strlen(CAIRN_CLUSTER_KEY_MEMBERS);
    int rc = 0;

    if (all == NULL)
        return cairn_err_set(&co->why, CAIRN_E_NOMEM, "%u entries", n);
    if (nmembers > 0)
        memcpy(all, co->tables[1].nodes, nmembers * sizeof(struct cairn_map_node *));
    if (n > nmembers)
        memcpy(all + nmembers, co->tables[2].nodes, (n - nmembers) * sizeof(struct cairn_map_node *));
    qsort(all, n, sizeof(struct cairn_map_node *), by_changed);
    for (uint32_t i = 0; rc == 0 && i < n; i++)
        rc = strncmp(all[i]->e.key, CAIRN_CLUSTER_KEY_MEMBERS, prefix) == 0 ? read_member(co, &all[i]->e)
                                                                            : read_slot(co, &all[i]->e);
    free(all);
    return rc;
}

static int read_all(struct cairn_coordinator *co)
{
    const struct cairn_cluster_conf *conf = co->conf;
    int rc = read_conf(co);

    if (rc != 0)
        return rc;
    read_led(co);
    co->changed = calloc(all_slots(co), sizeof(*co->changed));
    co->held = calloc(all_slots(co), sizeof(struct cairn_coordinator_ask *));
    if (co->changed == NULL || co->held == NULL ||
        cairn_coord_init(&co->coord, &cairn_coordinator__coord_ops, co->store->home.env, &co->lease_times,
                         all_slots(co), co->election.fence) != 0)
        return cairn_err_set(&co->why, CAIRN_E_NOMEM, "%u slots", all_slots(co));
    co->has_coord = true;
    cairn_coord_begin_generation(&co->coord, cairn_map_generation_number(co->generation.id));
    co->coord.forerunner = co->forerunner;
    co->coord.lost_wait_ns = conf->lost_wait_ns;
    co->coord.lost_may_shrink = conf->lost_may_shrink;
    co->coord.arg = co;
    for (uint32_t i = 0; i < CAIRN_CLUSTER_CLASSES; i++)
        co->classes[i].made = co->classes[i].next = 0;
    return read_entries(co);
}

static void on_read(struct cairn_map_op *op)
{
    struct cairn_coordinator *co = op->arg;

    co->reading = false;
    if (co->sm.state != CAIRN_COORDINATOR_READING) {
        cairn_map_table_fini(&co->read.table);
        cairn_coordinator__settle(co);
        return;
    }
    if (op->rc != 0) {
        cairn_map_table_fini(&co->read.table);
        cairn_log_warn("the map cannot be read: %s", op->err.text);
        if (cairn_timer_start(co->store->home.env, &co->timer,
                              cairn_env_now_ns(co->store->home.env) + RETRY_MS * CAIRN_NS_PER_MS) != 0)
            cairn_coordinator__fail(co, CAIRN_E_NOMEM, "a timer");
        return;
    }
    co->tables[co->reads_done++] = co->read.table;
    co->read_revision = op->revision;
    if (co->reads_done < ARRAY_SIZE(prefixes)) {
        cairn_coordinator__read(co);
        return;
    }
    read_generation(co);
    co->upto = co->read_revision;
    if (co->ops->read != NULL)
        co->ops->read(co, co->generation.id, co->read_revision);
    if (read_all(co) != 0) {
        struct cairn_err why = co->why;

        cairn_coordinator__fail(co, why.code, why.text);
    } else {
        for (uint32_t i = 0; i < ARRAY_SIZE(prefixes); i++)
            cairn_map_table_fini(&co->tables[i]);
        memset(co->tables, 0, sizeof(co->tables));
        co->ops->upto(co, co->read_revision);
        cairn_coordinator__store_term(co);
    }
}

void cairn_coordinator__read(struct cairn_coordinator *co)
{
    if (co->sm.state == CAIRN_COORDINATOR_STANDING)
        cairn_sm_move(&co->sm, CAIRN_COORDINATOR_READING);
    co->reading = true;
    co->read = (struct cairn_map_read){ .op = { .done = on_read, .arg = co }, .prefix = prefixes[co->reads_done] };
    cairn_map_store_read(co->store, &co->read);
}
