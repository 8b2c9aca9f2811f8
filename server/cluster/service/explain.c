/* Where a slot is, and why there: for `cairn where`. All of it is this node's copy of the map, so it is also told
 * when nobody coordinates and the slot's nodes are gone. */
#include "sdk/core/base/crc.h"
#include "sdk/core/placement/placement.h"
#include "server/cluster/service/side.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct explain {
    struct cairn_cluster *c;
    struct cairn_slot_record rec;
    struct cairn_arena arena;
    struct cairn_placement_member *members; /* those that could hold it */
    uint32_t n, room;
    uint64_t choice[CAIRN_REPLICAS_MAX]; /* by hash, weight and zone, the best first */
    uint32_t nchoice;
};

/* As the coordinator has it: a node without a zone fails for itself. */
static void add_candidate(const struct cairn_wire_member *m, void *arg)
{
    struct explain *x = arg;
    struct cairn_placement_member *more;

    if (m->weight == 0 || m->state == CAIRN_WIRE_MEMBER_LEFT)
        return;
    if (x->n == x->room) {
        more = realloc(x->members, (x->room * 2 + 16) * sizeof(*more));
        if (more == NULL)
            return;
        x->members = more;
        x->room = x->room * 2 + 16;
    }
    x->members[x->n++] =
        (struct cairn_placement_member){ .id = m->node,
                                         .weight = m->weight,
                                         .capacity = 1,
                                         .zone = m->zone[0] != '\0' ? cairn_crc32c(0, m->zone, strlen(m->zone))
                                                                    : cairn_crc32c(0, &m->node, sizeof(m->node)) };
}

static uint32_t choice_of(const struct explain *x, uint64_t node)
{
    for (uint32_t i = 0; i < x->nchoice; i++) {
        if (x->choice[i] == node)
            return i + 1;
    }
    return 0;
}

static const char *role_of(const struct explain *x, uint64_t node)
{
    if (x->rec.primary.node == node)
        return x->rec.state == CAIRN_SLOT_TAKEOVER ? "taking over" : "primary";
    if (cairn_slot_names(&x->rec, node))
        return "in sync";
    if (x->rec.move.phase != CAIRN_MOVE_NONE && x->rec.move.target.node == node)
        return "being copied to";
    return "not in sync";
}

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
        return "left";
    default:
        return "unknown";
    }
}

static void why_text(const struct explain *x, uint64_t node, char *to, size_t len)
{
    uint32_t choice = choice_of(x, node);

    if (choice == 0)
        snprintf(to, len, "none of the first %u choices of %u members", x->nchoice, x->n);
    else if (choice <= x->rec.nreplicas)
        snprintf(to, len, "choice %u of %u members by hash, weight and zone", choice, x->n);
    else
        snprintf(to, len, "choice %u of %u members: one before it had its share, was away or was not there", choice,
                 x->n);
}

static void add_replica(struct explain *x, uint64_t node, json_t *to)
{
    struct cairn_wire_member m = { .name = "?", .zone = "" };
    bool known = cairn_cluster_records_member(x->c->records, node, &m, &x->arena);
    char id[17], why[128];
    json_t *o;

    snprintf(id, sizeof(id), "%016" PRIx64, node);
    why_text(x, node, why, sizeof(why));
    o = json_pack("{s:s, s:s, s:s, s:s, s:s, s:i, s:s, s:s}", "name", m.name, "role", role_of(x, node), "state",
                  known ? state_name(m.state) : "unknown", "address", m.naddresses > 0 ? m.addresses[0] : "", "zone",
                  m.zone, "weight", (int)m.weight, "node", id, "why", why);
    json_array_append_new(to, o);
}

static const char *name_of(struct explain *x, uint64_t node)
{
    struct cairn_wire_member m;

    return cairn_cluster_records_member(x->c->records, node, &m, &x->arena) ? m.name : "?";
}

static void add_sets(struct explain *x, json_t *to)
{
    json_t *insync = json_array(), *replicas = json_array();

    for (uint32_t i = 0; i < x->rec.ninsync; i++)
        json_array_append_new(insync, json_string(name_of(x, x->rec.insync[i].node)));
    json_object_set_new(to, "in_sync", insync);
    json_object_set_new(to, "min_in_sync", json_integer(x->rec.min_insync));
    for (uint32_t i = 0; i < x->rec.nreplicas; i++)
        add_replica(x, x->rec.replicas[i], replicas);
    if (x->rec.move.phase != CAIRN_MOVE_NONE && !cairn_slot_names(&x->rec, x->rec.move.target.node))
        add_replica(x, x->rec.move.target.node, replicas);
    json_object_set_new(to, "replicas", replicas);
}

/* Of another node's lease only that node and the coordinator know. */
static void add_lease(struct explain *x, json_t *to)
{
    uint64_t until = atomic_load(&x->c->side->lease_until_ns), now = cairn_env_now_ns(&x->c->home->env);

    if (x->rec.primary.node == x->c->node)
        json_object_set_new(to, "lease_left_ms",
                            json_integer(until > now ? (json_int_t)((until - now) / CAIRN_NS_PER_MS) : 0));
}

void cairn_cluster_explain(struct cairn_cluster *c, uint32_t slot, json_t *to)
{
    static const char *const states[] = { "unknown", "active", "take-over", "lost" };
    uint32_t nslots = cairn_cluster_slots(c);
    struct explain x = { .c = c };

    json_object_set_new(to, "class", json_integer(slot / nslots + 1));
    json_object_set_new(to, "slot", json_integer(slot % nslots)); /* of its class */
    json_object_set_new(to, "slots", json_integer(nslots));
    json_object_set_new(to, "slot_id", json_integer(slot)); /* of all classes: the map's */
    json_object_set_new(to, "map_revision", json_integer((json_int_t)cairn_cluster_records_revision(c->records)));
    if (!cairn_cluster_records_slot(c->records, slot, &x.rec)) {
        json_object_set_new(to, "slot_state", json_string("not known here"));
        return;
    }
    cairn_arena_init(&x.arena, 1 << 20);
    cairn_cluster_records_members(c->records, add_candidate, &x);
    x.nchoice = cairn_placement_rank(slot % nslots, x.members, x.n, MIN(x.n, (uint32_t)CAIRN_REPLICAS_MAX), x.choice);
    json_object_set_new(to, "slot_state", json_string(states[MIN((uint32_t)x.rec.state, 3U)]));
    json_object_set_new(to, "epoch", json_integer((json_int_t)x.rec.epoch));
    json_object_set_new(to, "primary", json_string(name_of(&x, x.rec.primary.node)));
    add_lease(&x, to);
    add_sets(&x, to);
    free(x.members);
    cairn_arena_reset(&x.arena);
}
