/** What members say to each other: bytes from and to structures, nothing else. Little-endian.
 *
 *   head     kind 1, flags 1, load 2, seq 4, load_seq 4, about 8, incarnation 8, word: node 8, map 8, version 8
 *   cursor   SYNC, PAGE: epoch 4, version 4, next 4
 *   updates  until the end: state 1, id 8, incarnation 8, and
 *              ALIVE       load_seq 4, load 2, weight 4, capacity 8, node 8, process 8, port 2, and four texts, each
 *                          behind its length: address (4 or 16 bytes), name, zone, service; the id is the name's and
 *                          does not travel
 *              SUSPECT     number 1, and so many ids of those who say so
 *              DEAD, LEFT  id of who says so
 *
 * Who sent a packet is proved outside of it (group_seal.h), so it does not stand here. */
#ifndef CAIRN_GROUP_SWIM_PACKET_H
#define CAIRN_GROUP_SWIM_PACKET_H

#include "providers/group/swim_dir.h"
#include "sdk/core/base/le.h"
#include "server/port/gossip.h"

enum {
    CAIRN_SWIM_PACKET_BYTES_MAX = 1344, /* with the seal 1400: below every usual MTU */
    CAIRN_SWIM_HEAD_BYTES = 52,
    CAIRN_SWIM_UPDATES_MAX = 56, /* more of the smallest ones do not fit */
    CAIRN_SWIM_BY_MAX = 4,
};

enum cairn_swim_kind {
    CAIRN_SWIM_PING = 1, /* are you there? */
    CAIRN_SWIM_PING_REQ, /* ask @about for me */
    CAIRN_SWIM_ACK,      /* @about is there */
    CAIRN_SWIM_NACK,     /* I am here, but @about did not answer me */
    CAIRN_SWIM_GOSSIP,   /* only updates */
    CAIRN_SWIM_SYNC,     /* tell me of all members, from a cursor on */
    CAIRN_SWIM_PAGE,     /* some of them */
    CAIRN_SWIM_REFUSE,   /* you may not join; flags says why */
    CAIRN_SWIM_KINDS_NR,
};

enum cairn_swim_flags {
    CAIRN_SWIM_F_JOIN = 1,      /* SYNC: the sender is or wants to be a member, and its description comes first */
    CAIRN_SWIM_F_MORE = 2,      /* PAGE: ask again, from `next` */
    CAIRN_SWIM_F_TAKEN = 4,     /* REFUSE: the name belongs to a living member elsewhere */
    CAIRN_SWIM_F_FULL = 8,      /* REFUSE: no room */
    CAIRN_SWIM_F_YOURSELF = 16, /* REFUSE: you have asked yourself */
};

enum cairn_swim_state {
    CAIRN_SWIM_NONE, /* unknown */
    CAIRN_SWIM_ALIVE,
    CAIRN_SWIM_SUSPECT,
    CAIRN_SWIM_DEAD,
    CAIRN_SWIM_LEFT,
    CAIRN_SWIM_STATES_NR,
};

struct cairn_swim_update {
    uint64_t id, incarnation;
    uint64_t by[CAIRN_SWIM_BY_MAX]; /* SUSPECT, DEAD, LEFT: who says so */
    uint8_t nby;
    uint8_t state; /* enum cairn_swim_state, not NONE */
    uint16_t load;
    uint32_t load_seq;
    uint32_t weight;
    uint64_t capacity;
    struct cairn_gossip_self node;
    struct cairn_swim_addr addr;
    uint8_t name_len, zone_len, service_len;
    const char *name, *zone, *service; /* in the packet, not terminated */
};

struct cairn_swim_msg {
    uint8_t kind, flags;
    uint16_t load; /* of the sender */
    uint32_t seq, load_seq;
    uint64_t about, incarnation;
    struct cairn_gossip_word word; /* the sender's */
    uint32_t epoch, version, next;
    uint32_t nupdates;
    struct cairn_swim_update updates[CAIRN_SWIM_UPDATES_MAX];
};

/** All or nothing: false if a byte is out of place. Texts in @m point into @bytes. */
bool cairn_swim_decode(const uint8_t *bytes, size_t len, struct cairn_swim_msg *m);

/** The head of @m and, where the kind has it, the cursor; @to has CAIRN_SWIM_PACKET_BYTES_MAX bytes. */
void cairn_swim_write_head(struct cairn_le_writer *w, uint8_t *to, const struct cairn_swim_msg *m);
/** One update; false, and @w is as before, if it does not fit. */
bool cairn_swim_write_update(struct cairn_le_writer *w, const struct cairn_swim_update *u);

/** The description in an ALIVE update. */
void cairn_swim_update_to_desc(const struct cairn_swim_update *u, struct cairn_swim_desc *d);
/** An ALIVE update that describes @d; it points into @d. */
void cairn_swim_desc_to_update(const struct cairn_swim_desc *d, struct cairn_swim_update *u);

#endif
