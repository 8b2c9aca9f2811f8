/* What the files of the codec share: repl_wire.c (replicas), repl_wire_record.c (records), repl_wire_coord.c (what
 * nodes and the coordinator say). */
#ifndef CAIRN_SERVER_CLUSTER_REPL_WIRE_INTERNAL_H
#define CAIRN_SERVER_CLUSTER_REPL_WIRE_INTERNAL_H

#include "server/cluster/repl/repl_wire.h"

/* A new message of a type, initialised; NULL: no memory. */
#define WIRE_NEW(arena, Type, type) ((Cairn__Wire__##Type *)wire_new(arena, &cairn__wire__##type##__descriptor))

static inline void *wire_new(struct cairn_arena *a, const ProtobufCMessageDescriptor *d)
{
    ProtobufCMessage *m = cairn_arena_alloc(a, d->sizeof_message);

    if (m != NULL)
        d->message_init(m);
    return m;
}

/* Room for @n things; never NULL for want of things. */
static inline void *wire_array(struct cairn_arena *a, size_t n, size_t size)
{
    return cairn_arena_alloc(a, n * size + 1);
}

/* repl_wire.c: one message of a replica */
size_t cairn_wire__repl_bytes(const struct cairn_repl_msg *m);
void cairn_wire__repl_put(const struct cairn_repl_msg *m, struct cairn_le_writer *w);
int cairn_wire__repl_get(uint32_t slot, const uint8_t *bytes, size_t len, struct cairn_arena *a,
                         struct cairn_repl_msg *m, struct cairn_err *err);

/* repl_wire_record.c */
void cairn_wire__process(const struct cairn_coord_process *p, Cairn__Wire__ProcessRecord *w);
/* Registered or not. */
int cairn_wire__process_get(const Cairn__Wire__ProcessRecord *w, struct cairn_coord_process *p, struct cairn_err *err);

/* Nobody, if the message has none. */
static inline struct cairn_who wire_who(const Cairn__Wire__ReplWho *w)
{
    return w == NULL ? (struct cairn_who){ 0 } : (struct cairn_who){ .node = w->node, .inc = w->inc };
}

static inline bool wire_is_slot(uint32_t slot)
{
    return slot < UINT32_C(1) << CAIRN_SLOT_BITS_MAX;
}

/* Positions leave room for what may be added to them. 0, 0: before the first. */
static inline bool wire_is_at(struct cairn_at at)
{
    return (at.epoch == 0) == (at.pos == 0) && at.pos <= INT64_MAX;
}

#endif
