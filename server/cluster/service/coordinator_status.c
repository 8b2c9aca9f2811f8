/* What a coordinator says of its cluster, for people: see coordinator.h. */
#include "server/cluster/service/coordinator_internal.h"

#include <inttypes.h>
#include <stdio.h>

enum cairn_coordinator_member_state cairn_coordinator__state(const struct cairn_member *m)
{
    bool silent = m->state == CAIRN_WIRE_MEMBER_SILENT || m->state == CAIRN_WIRE_MEMBER_LOST;

    if (m->p.draining && m->holds == 0)
        return silent ? CAIRN_COORDINATOR_MEMBER_LEFT : CAIRN_COORDINATOR_MEMBER_DRAINED;
    if (m->state == CAIRN_WIRE_MEMBER_LOST)
        return CAIRN_COORDINATOR_MEMBER_LOST;
    if (silent)
        return CAIRN_COORDINATOR_MEMBER_SILENT;
    return m->p.draining ? CAIRN_COORDINATOR_MEMBER_DRAINING : CAIRN_COORDINATOR_MEMBER_UP;
}

const char *cairn_coordinator__state_name(const struct cairn_member *m)
{
    static const char *const names[] = { [CAIRN_COORDINATOR_MEMBER_UP] = "up",
                                         [CAIRN_COORDINATOR_MEMBER_SILENT] = "silent",
                                         [CAIRN_COORDINATOR_MEMBER_DRAINING] = "draining",
                                         [CAIRN_COORDINATOR_MEMBER_DRAINED] = "drained",
                                         [CAIRN_COORDINATOR_MEMBER_LOST] = "lost",
                                         [CAIRN_COORDINATOR_MEMBER_LEFT] = "left" };

    return names[cairn_coordinator__state(m)];
}

/* heard: what is said of it is not only what the map has of it. */
static json_t *member_json(struct cairn_coordinator *co, const struct cairn_member *m)
{
    const struct cairn_coord_node *node = cairn_coord_node(&co->coord, m->p.node);
    bool heard = node != NULL && (node->heard_ns != 0 || node->registered_ns != 0);
    char id[17];
    json_t *o, *addresses = json_array();

    snprintf(id, sizeof(id), "%016" PRIx64, m->p.node);
    for (uint32_t i = 0; i < m->naddresses; i++) {
        if (strncmp(m->addresses[i], "udp://", 6) != 0) /* of the nodes' own packets: who reads this wants to call */
            json_array_append_new(addresses, json_string(m->addresses[i]));
    }
    o = json_pack("{s:s, s:s, s:s, s:b, s:b, s:s, s:s, s:i, s:I, s:i, s:i, s:i}", "name", m->name, "node", id, "state",
                  cairn_coordinator__state_name(m), "heard", (int)heard, "draining", (int)m->p.draining, "zone",
                  m->zone, "host", m->host, "weight", (int)m->weight, "incarnation", (json_int_t)m->p.inc, "slots",
                  (int)m->holds, "leads", (int)m->leads, "in_sync", (int)m->insync);
    if (o == NULL || json_object_set_new(o, "addresses", addresses) != 0) {
        json_decref(o);
        return NULL;
    }
    return o;
}

json_t *cairn_coordinator_counts_json(const struct cairn_coordinator_counts *n)
{
    json_t *classes = json_array(), *o;

    for (uint32_t i = 0; i < CAIRN_CLUSTER_CLASSES; i++) {
        const struct cairn_coordinator_class_counts *c = &n->classes[i];
        json_t *zones = c->zones > 0 ? json_integer(c->zones) : NULL, *unused = c->unused ? json_true() : NULL;

        if (c->slots > 0)
            json_array_append_new(classes, json_pack("{s:i, s:i, s:i, s:i, s:i, s:i, s:o*, s:o*}", "replicas",
                                                     (int)i + 1, "slots", (int)c->slots, "degraded", (int)c->degraded,
                                                     "fewest", (int)c->fewest, "unserved", (int)c->unserved, "refusing",
                                                     (int)c->refusing, "zones", zones, "unused", unused));
    }
    o = json_pack("{s:{s:i, s:i, s:i, s:i, s:i, s:i}, s:{s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i}}", "members",
                  "all", (int)n->members, "silent", (int)n->silent, "draining", (int)n->draining, "drained",
                  (int)n->drained, "lost", (int)n->members_lost, "left", (int)n->left_cluster, "slots", "all",
                  (int)n->slots, "unused", (int)n->unused, "hosts", (int)n->hosts, "degraded", (int)n->degraded,
                  "too_few_nodes", (int)n->beyond, "unserved", (int)n->unserved, "takeover", (int)n->takeover, "lost",
                  (int)n->lost, "moving", (int)n->moving);
    json_object_set_new(o, "classes", classes);
    if (n->left + n->moving > 0 || n->planning)
        json_object_set_new(o, "moves",
                            json_pack("{s:i, s:i, s:i, s:I, s:f, s:I, s:b}", "left", (int)n->left, "no_room",
                                      (int)n->no_room, "under_way", (int)n->moving, "done", (json_int_t)n->moves.done,
                                      "per_s", (double)n->moves.per_1000s / 1000, "left_ms",
                                      (json_int_t)n->moves.left_ms, "planning", n->planning));
    if (n->behind > 0)
        json_object_set_new(o, "catching_up",
                            json_pack("{s:i, s:I, s:f, s:I}", "left", (int)n->behind, "done",
                                      (json_int_t)n->catches_up.done, "per_s", (double)n->catches_up.per_1000s / 1000,
                                      "left_ms", (json_int_t)n->catches_up.left_ms));
    return o;
}

json_t *cairn_coordinator_status(struct cairn_coordinator *co)
{
    json_t *members = json_array(), *o;
    const struct cairn_member *m;

    if (co->count_is_old ||
        co->named != cairn_coordinator__named(
                         co)) /* who goes on by what he is told, to the next node for example, is told what is */
        cairn_coordinator__count(co);
    o = cairn_coordinator_counts_json(&co->counts);
    m = co->counts.waits_for != 0 ? cairn_members_find(&co->members, co->counts.waits_for) : NULL;
    if (m != NULL)
        json_object_set_new(json_object_get(o, "moves"), "waits_for", json_string(m->name));
    for (uint32_t i = 0; i < co->members.n; i++)
        json_array_append_new(members, member_json(co, co->members.all[i]));
    json_object_set_new(o, "coordinates", json_boolean(cairn_coordinator_is_serving(co)));
    json_object_set_new(o, "events",
                        json_pack("{s:I, s:I, s:I, s:I, s:I}", "takeovers", (json_int_t)co->coord.takeovers,
                                  "recoveries", (json_int_t)co->coord.recoveries, "losses",
                                  (json_int_t)co->coord.losses, "moves_done", (json_int_t)co->coord.moves_done,
                                  "moves_given_up", (json_int_t)co->coord.moves_given_up));
    if (o == NULL || json_object_set_new(o, "members", members) != 0) {
        json_decref(o);
        return NULL;
    }
    return o;
}
