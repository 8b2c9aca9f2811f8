/** What replication says: replicas to one another in a form of its own (repl_wire.c), nodes and the coordinator as
 * messages of proto/schema/repl.proto; and what the map store keeps of it.
 *
 * cairn_wire_*_put() makes a message of a value; all that the message needs lies in the arena, except what it borrows:
 * bytes and strings, which stay where they are. NULL: no memory. cairn_wire_*_get() reads a message of another
 * process or of a store, which may be anything: 0, or a code and a text
 *   CAIRN_E_INVAL   something is missing, unknown, contradicts the rest, or does not fit the payload
 *   CAIRN_E_LIMIT   more of something than may be
 *   CAIRN_E_FORMAT  a record of a version that is not known
 *   CAIRN_E_VERSION mail of a form that is not known
 *   CAIRN_E_NOMEM
 * and then nothing of the value is to be used. What was put is got: a get() that refuses what a put() made is a
 * defect. */
#ifndef CAIRN_SERVER_CLUSTER_REPL_WIRE_H
#define CAIRN_SERVER_CLUSTER_REPL_WIRE_H

#include "cairn/limits.h"
#include "schema/repl.pb-c.h"
#include "sdk/core/base/arena.h"
#include "sdk/core/base/le.h"
#include "server/cluster/repl/coord.h"

enum {
    CAIRN_WIRE_RECORD_VERSION = 1,     /* of a slot's record, and of a process's */
    CAIRN_WIRE_RECORD_BYTES_MAX = 512, /* of either, packed */
    CAIRN_WIRE_LOGS_MAX = 1 << 15,     /* of one REGISTER */
    CAIRN_WIRE_PARTIAL_BYTES_MAX = 1 << (CAIRN_SLOT_BITS_MAX - 3), /* likewise: a bit for each slot that may be */
    CAIRN_WIRE_PAGE_SLOTS_MAX = 1024,  /* of one page; with as many members as may be it still fits into a frame */
    CAIRN_WIRE_PAGE_MEMBERS_MAX = 256,
    CAIRN_WIRE_ADDRESSES_MAX = 4, /* of one member */
};

/* ---- messages of one node's replicas to those of another, in one piece ---- */

/* The form is the first byte of all mail, so that another release's is told apart from damage. Whatever changes in what
 * replicas say to one another, down to the bodies of entries, is another form. */
enum { CAIRN_WIRE_MAIL_BYTES_MAX = CAIRN_FRAME_PAYLOAD_BYTES_MAX, CAIRN_WIRE_MAIL_FORM = 1 };

/** Zeroed: nothing. */
struct cairn_wire_mail {
    uint8_t *bytes;
    size_t n, room;
};

/** CAIRN_E_LIMIT: there is no room for @m behind the others; alone it has room. CAIRN_E_NOMEM. */
int cairn_wire_mail_add(struct cairn_wire_mail *mail, const struct cairn_repl_msg *m);
/** Nothing is in it any more; memory for the next is kept if it is little. */
void cairn_wire_mail_clear(struct cairn_wire_mail *mail);
void cairn_wire_mail_fini(struct cairn_wire_mail *mail);

/** One of them, where it lies. */
struct cairn_wire_letter {
    uint32_t slot;
    const uint8_t *bytes;
    uint32_t len;
};

/** What cairn_wire_mail_next() is to read, of what came from another node. CAIRN_E_VERSION: it is of a form that is not
 * known, and nothing of it can be read. CAIRN_E_INVAL: it is no mail. */
int cairn_wire_mail_open(const void *bytes, size_t n, struct cairn_le_reader *mail, struct cairn_err *err);
/** The next one: 1, 0 when there is none, CAIRN_E_INVAL. Whether there is such a slot is not looked at. */
int cairn_wire_mail_next(struct cairn_le_reader *mail, struct cairn_wire_letter *l, struct cairn_err *err);
/** *@m borrows from @l and @a. */
int cairn_wire_letter_get(const struct cairn_wire_letter *l, struct cairn_arena *a, struct cairn_repl_msg *m,
                          struct cairn_err *err);

/* ---- records; packed, with a version, they are what the map store keeps ---- */

Cairn__Wire__SlotRecord *cairn_wire_slot_put(const struct cairn_slot_record *rec, struct cairn_arena *a);
int cairn_wire_slot_get(const Cairn__Wire__SlotRecord *w, struct cairn_slot_record *rec, struct cairn_err *err);
/** Returns the number of bytes. */
size_t cairn_wire_slot_pack(const struct cairn_slot_record *rec, uint8_t to[CAIRN_WIRE_RECORD_BYTES_MAX]);
int cairn_wire_slot_unpack(const uint8_t *bytes, size_t len, struct cairn_slot_record *rec, struct cairn_err *err);

size_t cairn_wire_process_pack(const struct cairn_coord_process *p, uint8_t to[CAIRN_WIRE_RECORD_BYTES_MAX]);
/** A registered one: its inc is not 0. */
int cairn_wire_process_unpack(const uint8_t *bytes, size_t len, struct cairn_coord_process *p, struct cairn_err *err);

/* ---- REGISTER; who it is, is in `self`: cairn_wire_member_put() ---- */

Cairn__Wire__ClusterRegister *cairn_wire_register_put(const struct cairn_coord_process *p,
                                                      const struct cairn_coord_told *told, struct cairn_arena *a);
/** As cairn_coord_register() wants it; what *told names lies in @a, and in @w. */
int cairn_wire_register_get(const Cairn__Wire__ClusterRegister *w, struct cairn_arena *a, struct cairn_coord_process *p,
                            struct cairn_coord_told *told, struct cairn_err *err);
/** @p: as it was registered. */
Cairn__Wire__ClusterRegistered *cairn_wire_registered_put(const struct cairn_coord_process *p, struct cairn_arena *a);
/** Fills in node, process and inc of *@p. */
int cairn_wire_registered_get(const Cairn__Wire__ClusterRegistered *w, struct cairn_coord_process *p,
                              struct cairn_err *err);

/* ---- HEARTBEAT, RECORDS, PUBLISH. ClusterFetch, which asks for RECORDS, needs no reading: all its values make sense
 * ---- */

struct cairn_wire_heartbeat {
    struct cairn_who who;
    uint64_t number, revision; /* of the map: what its sender knows all of */
    uint64_t term;             /* of the coordinator that it is sent to; 0: not known */
    uint64_t map, vouched;     /* whose revisions; up to which one a coordinator has said that there are */
};

struct cairn_wire_slot {
    uint32_t slot;
    struct cairn_slot_record rec;
};

enum cairn_wire_member_state {
    CAIRN_WIRE_MEMBER_UP = 1,
    CAIRN_WIRE_MEMBER_SILENT,
    CAIRN_WIRE_MEMBER_DRAINING,
    CAIRN_WIRE_MEMBER_LEFT,
    CAIRN_WIRE_MEMBER_LOST
};

struct cairn_wire_member {
    uint64_t node, inc;             /* inc 0: it has never registered */
    const char *name, *zone, *host; /* host: the machine that it runs on, as cairn_host_id() says; "": not known */
    const char *addresses[CAIRN_WIRE_ADDRESSES_MAX];
    uint32_t naddresses, weight;
    enum cairn_wire_member_state state;
};

/** All that has changed in the map between the revision that was asked with and this one; with @more, as far as it has
 * not changed again since, and this is where to go on at that copy. */
struct cairn_wire_page {
    uint64_t map, copy, revision; /* map: whose (../map_generation.h) */
    bool more;
    const struct cairn_wire_slot *slots;
    const struct cairn_wire_member *members;
    uint32_t nslots, nmembers;
};

struct cairn_wire_grant {
    struct cairn_who who;
    uint64_t number, term; /* of the heartbeat; of the coordinator that answers */
    uint64_t map;          /* that it serves */
    bool granted, wants_register;
    bool ahead;                  /* the heartbeat's revision is one that the map does not have */
    uint64_t upto;               /* the grant counts only when all up to here is learned (M1); not below the page's */
    struct cairn_wire_page page; /* of what is missing, some or nothing */
};

Cairn__Wire__MemberUpdate *cairn_wire_member_put(const struct cairn_wire_member *m, struct cairn_arena *a);
/** *@m borrows from @w. */
int cairn_wire_member_get(const Cairn__Wire__MemberUpdate *w, struct cairn_wire_member *m, struct cairn_err *err);
Cairn__Wire__ClusterHeartbeat *cairn_wire_heartbeat_put(const struct cairn_wire_heartbeat *h, struct cairn_arena *a);
int cairn_wire_heartbeat_get(const Cairn__Wire__ClusterHeartbeat *w, struct cairn_wire_heartbeat *h,
                             struct cairn_err *err);
Cairn__Wire__ClusterRecords *cairn_wire_page_put(const struct cairn_wire_page *page, struct cairn_arena *a);
/** *@page borrows from @w and @a. */
int cairn_wire_page_get(const Cairn__Wire__ClusterRecords *w, struct cairn_arena *a, struct cairn_wire_page *page,
                        struct cairn_err *err);
Cairn__Wire__ClusterGrant *cairn_wire_grant_put(const struct cairn_wire_grant *g, struct cairn_arena *a);
int cairn_wire_grant_get(const Cairn__Wire__ClusterGrant *w, struct cairn_arena *a, struct cairn_wire_grant *g,
                         struct cairn_err *err);

/* ---- PROPOSE ---- */

Cairn__Wire__ClusterChange *cairn_wire_change_put(const struct cairn_change *c, struct cairn_arena *a);
int cairn_wire_change_get(const Cairn__Wire__ClusterChange *w, struct cairn_change *c, struct cairn_err *err);
Cairn__Wire__ClusterVerdict *cairn_wire_verdict_put(const struct cairn_change *c, enum cairn_verdict verdict,
                                                    const struct cairn_slot_record *rec, struct cairn_arena *a);
/** @rec of epoch 0: the coordinator has none. */
int cairn_wire_verdict_get(const Cairn__Wire__ClusterVerdict *w, struct cairn_change *c, enum cairn_verdict *verdict,
                           struct cairn_slot_record *rec, struct cairn_err *err);

#endif
