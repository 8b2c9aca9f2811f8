/* Slot records and process records, in messages and in the map store: see repl_wire.h. */
#include "server/cluster/repl/repl_wire_internal.h"

#include <inttypes.h>

_Static_assert((int)CAIRN_SLOT_LOST == (int)CAIRN__WIRE__SLOT_STATE__SLOT_STATE_LOST, "numbers are the same");
_Static_assert((int)CAIRN_MOVE_JOINED == (int)CAIRN__WIRE__SLOT_MOVE_PHASE__SLOT_MOVE_JOINED, "likewise");

/* A record as a message, all of it in one place. */
struct record_room {
    Cairn__Wire__SlotRecord record;
    Cairn__Wire__SlotMove move;
    Cairn__Wire__ReplWho primary, target, insync[CAIRN_REPLICAS_MAX], *insync_at[CAIRN_REPLICAS_MAX];
    uint64_t replicas[CAIRN_REPLICAS_MAX];
};

static void put_who(struct cairn_who who, Cairn__Wire__ReplWho *w)
{
    cairn__wire__repl_who__init(w);
    w->node = who.node;
    w->inc = who.inc;
}

static void put_record(const struct cairn_slot_record *rec, struct record_room *room)
{
    Cairn__Wire__SlotRecord *w = &room->record;

    cairn__wire__slot_record__init(w);
    w->version = CAIRN_WIRE_RECORD_VERSION;
    w->epoch = rec->epoch;
    w->since = rec->since;
    w->state = (Cairn__Wire__SlotState)rec->state;
    w->min_insync = rec->min_insync;
    put_who(rec->primary, &room->primary);
    w->primary = &room->primary;
    memcpy(room->replicas, rec->replicas, sizeof(room->replicas));
    w->replicas = room->replicas;
    w->n_replicas = rec->nreplicas;
    w->insync = room->insync_at;
    for (; w->n_insync < rec->ninsync; w->n_insync++) {
        room->insync_at[w->n_insync] = &room->insync[w->n_insync];
        put_who(rec->insync[w->n_insync], &room->insync[w->n_insync]);
    }
    if (rec->move.phase == CAIRN_MOVE_NONE)
        return;
    cairn__wire__slot_move__init(&room->move);
    w->move = &room->move;
    w->move->phase = (Cairn__Wire__SlotMovePhase)rec->move.phase;
    put_who(rec->move.target, &room->target);
    w->move->target = &room->target;
    w->move->from = rec->move.from;
    w->move->lead = rec->move.lead;
}

Cairn__Wire__SlotRecord *cairn_wire_slot_put(const struct cairn_slot_record *rec, struct cairn_arena *a)
{
    struct record_room *room = cairn_arena_alloc(a, sizeof(*room));

    if (room == NULL)
        return NULL;
    put_record(rec, room);
    return &room->record;
}

size_t cairn_wire_slot_pack(const struct cairn_slot_record *rec, uint8_t to[CAIRN_WIRE_RECORD_BYTES_MAX])
{
    struct record_room room;

    put_record(rec, &room);
    CAIRN_ASSERT(cairn__wire__slot_record__get_packed_size(&room.record) <= CAIRN_WIRE_RECORD_BYTES_MAX);
    return cairn__wire__slot_record__pack(&room.record, to);
}

/* ---- reading: what holds of every record, by whomever it was written ---- */

static int get_nodes(const Cairn__Wire__SlotRecord *w, struct cairn_slot_record *rec, struct cairn_err *err)
{
    if (w->n_replicas > CAIRN_REPLICAS_MAX || w->n_insync > CAIRN_REPLICAS_MAX)
        return cairn_err_set(err, CAIRN_E_LIMIT, "%zu replicas, %zu in sync", w->n_replicas, w->n_insync);
    for (; rec->nreplicas < w->n_replicas; rec->nreplicas++) {
        uint64_t node = w->replicas[rec->nreplicas];

        if (node == 0 || cairn_slot_places(rec, node))
            return cairn_err_set(err, CAIRN_E_INVAL, "node %" PRIu64 " is no replica, or one twice", node);
        rec->replicas[rec->nreplicas] = node;
    }
    for (; rec->ninsync < w->n_insync; rec->ninsync++) {
        struct cairn_who who = wire_who(w->insync[rec->ninsync]);

        if (cairn_who_is_nobody(who) || who.inc == 0 || cairn_slot_names(rec, who.node))
            return cairn_err_set(err, CAIRN_E_INVAL, "node %" PRIu64 " is not in sync, or is twice", who.node);
        rec->insync[rec->ninsync] = who;
    }
    rec->primary = wire_who(w->primary);
    if (cairn_slot_insync(rec, rec->primary) < 0)
        return cairn_err_set(err, CAIRN_E_INVAL, "node %" PRIu64 " leads and is not in sync", rec->primary.node);
    return 0;
}

static int get_move(const Cairn__Wire__SlotMove *w, struct cairn_slot_record *rec, struct cairn_err *err)
{
    if (w->phase != CAIRN__WIRE__SLOT_MOVE_PHASE__SLOT_MOVE_COPY &&
        w->phase != CAIRN__WIRE__SLOT_MOVE_PHASE__SLOT_MOVE_JOINED)
        return cairn_err_set(err, CAIRN_E_INVAL, "a move in an unknown phase, %d", (int)w->phase);
    rec->move.phase = (enum cairn_move_phase)w->phase;
    rec->move.target = wire_who(w->target);
    rec->move.from = w->from;
    rec->move.lead = w->lead;
    if (cairn_who_is_nobody(rec->move.target) || rec->move.target.inc == 0 || rec->move.from == rec->move.target.node)
        return cairn_err_set(err, CAIRN_E_INVAL, "a move from %" PRIu64 " to %" PRIu64, rec->move.from,
                             rec->move.target.node);
    return 0;
}

int cairn_wire_slot_get(const Cairn__Wire__SlotRecord *w, struct cairn_slot_record *rec, struct cairn_err *err)
{
    int rc;

    *rec = (struct cairn_slot_record){
        .epoch = w->epoch, .since = w->since, .state = (enum cairn_slot_state)w->state, .min_insync = w->min_insync
    };
    if (w->version != CAIRN_WIRE_RECORD_VERSION)
        return cairn_err_set(err, CAIRN_E_FORMAT, "a slot's record of version %u", w->version);
    if (w->epoch == 0 || w->epoch > INT64_MAX || w->since == 0 || w->since > w->epoch)
        return cairn_err_set(err, CAIRN_E_INVAL, "a slot's record of epoch %" PRIu64 ", led since %" PRIu64, w->epoch,
                             w->since);
    if (w->state < CAIRN__WIRE__SLOT_STATE__SLOT_STATE_ACTIVE || w->state > CAIRN__WIRE__SLOT_STATE__SLOT_STATE_LOST)
        return cairn_err_set(err, CAIRN_E_INVAL, "a slot in an unknown state, %d", (int)w->state);
    if (w->min_insync > CAIRN_REPLICAS_MAX)
        return cairn_err_set(err, CAIRN_E_LIMIT, "at least %u in sync", w->min_insync);
    rc = get_nodes(w, rec, err);
    if (rc == 0 && w->move != NULL)
        rc = get_move(w->move, rec, err);
    return rc;
}

/* protobuf-c says not what is wrong with bytes; a length beyond all bounds is not even looked at. */
static void *unpack(const ProtobufCMessageDescriptor *d, const uint8_t *bytes, size_t len, struct cairn_err *err)
{
    ProtobufCMessage *w = len <= CAIRN_WIRE_RECORD_BYTES_MAX ? protobuf_c_message_unpack(d, NULL, len, bytes) : NULL;

    if (w == NULL)
        cairn_err_set(err, CAIRN_E_INVAL, "%zu bytes are no record", len);
    return w;
}

int cairn_wire_slot_unpack(const uint8_t *bytes, size_t len, struct cairn_slot_record *rec, struct cairn_err *err)
{
    Cairn__Wire__SlotRecord *w = unpack(&cairn__wire__slot_record__descriptor, bytes, len, err);
    int rc;

    if (w == NULL)
        return CAIRN_E_INVAL;
    rc = cairn_wire_slot_get(w, rec, err);
    cairn__wire__slot_record__free_unpacked(w, NULL);
    return rc;
}

/* ---- processes ---- */

void cairn_wire__process(const struct cairn_coord_process *p, Cairn__Wire__ProcessRecord *w)
{
    cairn__wire__process_record__init(w);
    w->version = CAIRN_WIRE_RECORD_VERSION;
    w->node = p->node;
    w->inc = p->inc;
    w->disk_id = p->disk_id;
    w->disk_inc = p->disk_inc;
    w->draining = p->draining;
    w->process = p->process;
}

int cairn_wire__process_get(const Cairn__Wire__ProcessRecord *w, struct cairn_coord_process *p, struct cairn_err *err)
{
    *p = (struct cairn_coord_process){ .node = w->node,
                                       .inc = w->inc,
                                       .disk_id = w->disk_id,
                                       .disk_inc = w->disk_inc,
                                       .draining = w->draining,
                                       .process = w->process };
    if (w->version != CAIRN_WIRE_RECORD_VERSION)
        return cairn_err_set(err, CAIRN_E_FORMAT, "a process's record of version %u", w->version);
    if (w->node == 0 || w->process == 0 || w->disk_id == 0 || w->disk_inc > w->inc || w->inc > INT64_MAX)
        return cairn_err_set(err, CAIRN_E_INVAL,
                             "process %" PRIu64 " of node %" PRIu64 ", incarnation %" PRIu64 ", disk %" PRIx64
                             " since %" PRIu64,
                             w->process, w->node, w->inc, w->disk_id, w->disk_inc);
    return 0;
}

size_t cairn_wire_process_pack(const struct cairn_coord_process *p, uint8_t to[CAIRN_WIRE_RECORD_BYTES_MAX])
{
    Cairn__Wire__ProcessRecord w;

    cairn_wire__process(p, &w);
    return cairn__wire__process_record__pack(&w, to);
}

int cairn_wire_process_unpack(const uint8_t *bytes, size_t len, struct cairn_coord_process *p, struct cairn_err *err)
{
    Cairn__Wire__ProcessRecord *w = unpack(&cairn__wire__process_record__descriptor, bytes, len, err);
    int rc;

    if (w == NULL)
        return CAIRN_E_INVAL;
    rc = cairn_wire__process_get(w, p, err);
    cairn__wire__process_record__free_unpacked(w, NULL);
    if (rc == 0 && (p->inc == 0 || p->disk_inc == 0))
        rc = cairn_err_set(err, CAIRN_E_INVAL, "node %" PRIu64 " was never registered", p->node);
    return rc;
}
