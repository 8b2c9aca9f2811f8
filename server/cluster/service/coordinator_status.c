/* What a coordinator says of its cluster, for people: see coordinator.h. */
#include "server/cluster/service/coordinator_internal.h"

#include <inttypes.h>
#include <stdio.h>

static const char *state_name(enum cairn_wire_member_state state)
{
    switch (state) {
    case CAIRN_WIRE_MEMBER_UP:
        return "up";
    case CAIRN_WIRE_MEMBER_SILENT:
        return "silent";
    case CAIRN_WIRE_MEMBER_DRAINING:
        return "draining";
    case CAIRN_WIRE_MEMBER_LEFT:
        break;
    }
    return "left";
}

static json_t *member_json(const struct cairn_member *m)
{
    char id[17];
    json_t *o, *addresses = json_array();

    snprintf(id, sizeof(id), "%016" PRIx64, m->p.node);
    for (uint32_t i = 0; i < m->naddresses; i++)
        json_array_append_new(addresses, json_string(m->addresses[i]));
    o = json_pack("{s:s, s:s, s:s, s:s, s:i, s:I, s:i}", "name", m->name, "node", id, "state",
                  m->p.draining && m->state != CAIRN_WIRE_MEMBER_SILENT ? "draining" : state_name(m->state), "zone",
                  m->zone, "weight", (int)m->weight, "incarnation", (json_int_t)m->p.inc, "slots", (int)m->holds);
    if (o == NULL || json_object_set_new(o, "addresses", addresses) != 0) {
        json_decref(o);
        return NULL;
    }
    return o;
}

json_t *cairn_coordinator_status(const struct cairn_coordinator *co)
{
    const struct cairn_coordinator_counts *n = &co->counts;
    json_t *members = json_array(), *o;

    for (uint32_t i = 0; i < co->members.n; i++)
        json_array_append_new(members, member_json(co->members.all[i]));
    o = json_pack("{s:b, s:{s:i, s:i, s:i, s:i, s:i}, s:{s:I, s:I, s:I, s:I, s:I}}", "coordinates",
                  cairn_coordinator_is_serving(co), "slots", "all", (int)n->slots, "degraded", (int)n->degraded,
                  "takeover", (int)n->takeover, "lost", (int)n->lost, "moving", (int)n->moving, "events", "takeovers",
                  (json_int_t)co->coord.takeovers, "recoveries", (json_int_t)co->coord.recoveries, "losses",
                  (json_int_t)co->coord.losses, "moves_done", (json_int_t)co->coord.moves_done, "moves_given_up",
                  (json_int_t)co->coord.moves_given_up);
    if (o == NULL || json_object_set_new(o, "members", members) != 0) {
        json_decref(o);
        return NULL;
    }
    return o;
}
