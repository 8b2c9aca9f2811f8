/** Members of a cluster: as the map store keeps each, and all of them by id. */
#ifndef CAIRN_SERVER_CLUSTER_SERVICE_MEMBER_H
#define CAIRN_SERVER_CLUSTER_SERVICE_MEMBER_H

#include "cairn/limits.h"
#include "sdk/core/base/list.h"
#include "sdk/core/net/host.h"
#include "server/cluster/repl/repl_wire.h"
#include "server/cluster/service/chronicle.h"

enum {
    CAIRN_MEMBER_ADDRESS_BYTES_MAX = 160,
    CAIRN_MEMBER_BYTES_MAX = 2048, /* of its entry */
    CAIRN_MEMBER_KEY_BYTES = 32,
};

struct cairn_member {
    struct cairn_coord_process p;
    char name[CAIRN_NAME_BYTES_MAX + 1], zone[CAIRN_NAME_BYTES_MAX + 1], host[CAIRN_HOST_ID_MAX];
    char addresses[CAIRN_WIRE_ADDRESSES_MAX][CAIRN_MEMBER_ADDRESS_BYTES_MAX];
    uint32_t naddresses, weight;
    enum cairn_wire_member_state state;
    uint64_t silent_ms;     /* for so long already, as its entry says; 0 while it is heard */
    uint64_t before_ms;     /* as it said when this term began */
    uint64_t lost_heard_ns; /* when it had been heard last as it was lost, if that was in this term */

    uint64_t changed;              /* revision of its entry; 0: not stored yet */
    bool writing, dirty;           /* its entry is being written; it has changed since that began */
    uint32_t holds, leads, insync; /* slots, as last counted; insync: in whose set it is, as it is registered */
    enum cairn_deed_kind deed;     /* what the next write of its entry is to tell of */
    char author[64];               /* likewise, whose wish it is; "": nobody's */
    struct cairn_link waiting;     /* for what it is now to be stored */
    struct cairn_link awaiting;    /* for the write under way */
};

/** By id. */
struct cairn_members {
    struct cairn_member **all;
    uint32_t n, room;
};

void cairn_members_fini(struct cairn_members *t);
struct cairn_member *cairn_members_find(const struct cairn_members *t, uint64_t node);
/** Of those that had the name, the one that lives; or one of them. NULL: none had it. */
struct cairn_member *cairn_members_named(const struct cairn_members *t, const char *name);
/** Whom a person calls @text: by name, or else by id, as status prints it. Of several of the name one that is @heard, or
 * is not: then who is silent, or lost and still holds slots, before who is heard, and that one before who is lost and
 * holds none (`holds` is to be up to date). NULL: nobody. */
struct cairn_member *cairn_members_called(const struct cairn_members *t, const char *text, bool heard);
/** The member @node, made if there is none. CAIRN_E_NOMEM, CAIRN_E_LIMIT. */
int cairn_members_add(struct cairn_members *t, uint64_t node, struct cairn_member **out);
/** @m is one, whom nobody waits for; it is freed. */
void cairn_members_remove(struct cairn_members *t, struct cairn_member *m);

/** As others know it: strings stay the member's. */
void cairn_member_tell(const struct cairn_member *m, struct cairn_wire_member *to);
/** Takes over name, zone, weight and addresses. CAIRN_E_LIMIT: of an address's length. */
int cairn_member_hear(struct cairn_member *m, const struct cairn_wire_member *from, bool *changed,
                      struct cairn_err *err);
/** All of it is in the map already. */
static inline bool cairn_member_is_stored(const struct cairn_member *m)
{
    return m->changed != 0 && !m->writing && !m->dirty;
}
/** It is neither silent nor lost, as far as is known. */
static inline bool cairn_member_is_heard(const struct cairn_member *m)
{
    return m->state != CAIRN_WIRE_MEMBER_SILENT && m->state != CAIRN_WIRE_MEMBER_LOST;
}
/** A replica that is not in sync is there: it catches up. */
bool cairn_members_catch_up(const struct cairn_members *t, const struct cairn_slot_record *rec);
/** How many in sync are there, as the processes that they were then: a primary without writes does not notice that a
 * backup is gone. */
uint32_t cairn_members_present(const struct cairn_members *t, const struct cairn_slot_record *rec);
/** Somebody serves the slot, or is about to: it has a primary, and that is there. */
bool cairn_members_serve(const struct cairn_members *t, const struct cairn_slot_record *rec);
/** Drains while it is up; silence is known to whoever coordinates. */
void cairn_member_set_alive(struct cairn_member *m, bool alive);

void cairn_member_key(uint64_t node, char key[CAIRN_MEMBER_KEY_BYTES]);
/** Its entry's value; returns the number of bytes. */
size_t cairn_member_pack(const struct cairn_member *m, uint8_t to[CAIRN_MEMBER_BYTES_MAX]);
/** What pack() wrote, into a member that is zeroed but for its links. CAIRN_E_INVAL, CAIRN_E_LIMIT, CAIRN_E_FORMAT. */
int cairn_member_unpack(struct cairn_member *m, const uint8_t *bytes, size_t len, struct cairn_err *err);

#endif
