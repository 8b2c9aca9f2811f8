/** What is around each packet on the wire: who sent it, proved, and that it comes for the first time. No I/O.
 *
 *    0  "CGP", version  16  sender: id of the member        40  the packet
 *    4  flags, 3 zeros  24  life: when it began, in ms      -16 the code over all before it
 *    8  realm           32  number: 1, 2, 3 ... of this life
 *
 * The first eight bytes are of every version, so that members of two versions that meet can say so.
 * The realm is a hash of the cluster's id and the group's name, and in clear, so that whoever meets another cluster can
 * say so. The code is made with a key derived from the cluster key for this cluster and group alone. A packet is taken
 * once: of each life of a sender the highest number and which of the 64 below it came are remembered, as long as there
 * is room. What an attacker can repeat of one that was forgotten changes nothing: states have incarnations, answers the
 * number of their question. Two who claim one name are two lives, so that neither can silence the other here. */
#ifndef CAIRN_GROUP_SEAL_H
#define CAIRN_GROUP_SEAL_H

#include "sdk/core/base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { GROUP_SEAL_HEAD_BYTES = 40, GROUP_SEAL_BYTES = 56, GROUP_KEY_BYTES = 32 };
enum { GROUP_SEAL_VERSION = '3' }; /* grows when members of two builds would not understand each other's packets */
enum { GROUP_SEAL_NOTICE = 1 };    /* flags: only says which realm we are; is never answered */

enum group_seal_result {
    GROUP_SEAL_GOOD,
    GROUP_SEAL_TORN,     /* too short, or no packet of ours at all */
    GROUP_SEAL_STRANGE,  /* of another version of this protocol */
    GROUP_SEAL_FOREIGN,  /* of another cluster or group, as it says itself */
    GROUP_SEAL_FORGED,   /* the code is wrong */
    GROUP_SEAL_REPLAYED, /* came before, or is too old to tell */
    GROUP_SEAL_RESULTS_NR,
};

struct group_sender {
    uint64_t id, life, top, seen; /* bit n of @seen: top - n came */
    uint64_t used;                /* when, in packets */
};

struct group_seal {
    uint64_t realm, sender, life, number;
    uint8_t key[GROUP_KEY_BYTES];
    struct group_sender *senders;
    uint32_t mask;
    uint64_t clock; /* packets taken */
};

/** @senders: how many are remembered at least. */
int group_seal_init(struct group_seal *s, const uint8_t *cluster_key, const uint8_t *cluster_id, const char *group,
                    uint64_t sender, uint64_t life, uint32_t senders);
void group_seal_fini(struct group_seal *s);

/** Seals @len bytes into @to, which has GROUP_SEAL_BYTES more; returns the whole length. */
size_t group_seal_close(struct group_seal *s, uint8_t flags, const uint8_t *body, size_t len, uint8_t *to);

struct group_opened {
    uint64_t sender, life;
    const uint8_t *body;
    size_t len;
    uint8_t flags, version; /* also of foreign and strange packets, unproved */
};
enum group_seal_result group_seal_open(struct group_seal *s, const uint8_t *bytes, size_t len, struct group_opened *o);

#endif
