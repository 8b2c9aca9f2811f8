/** Who there is: names, addresses and attributes of members, by slot.
 *
 * A slot is a small number that stands for a member for as long as it is remembered. The caller brings the memory. The
 * simulator lets ten thousand cores share one directory, since descriptions hardly change and views do. */
#ifndef CAIRN_GROUP_SWIM_DIR_H
#define CAIRN_GROUP_SWIM_DIR_H

#include "server/port/gossip.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    CAIRN_SWIM_NAME_MAX = 63, /* bytes */
    CAIRN_SWIM_ZONE_MAX = 31,
    CAIRN_SWIM_SERVICE_MAX = 95,
};
#define CAIRN_SWIM_NO_SLOT UINT32_MAX

/** Where a member receives packets. */
struct cairn_swim_addr {
    uint8_t ip[16];
    uint16_t port;
    uint8_t len; /* of ip: 4, 16, or 0 for none */
};

/** What a member says of itself; a change of it takes a higher incarnation. */
struct cairn_swim_desc {
    uint64_t id; /* cairn_swim_id() of the name */
    uint64_t capacity;
    struct cairn_gossip_self node; /* the process that the member is of, of a node of the cluster */
    uint32_t weight;
    struct cairn_swim_addr addr;
    char name[CAIRN_SWIM_NAME_MAX + 1];
    char zone[CAIRN_SWIM_ZONE_MAX + 1];
    char service[CAIRN_SWIM_SERVICE_MAX + 1]; /* where clients reach it: "tcp://host:port", or "" */
};

struct cairn_swim_dir {
    struct cairn_swim_desc *descs; /* by slot; id 0: free */
    uint32_t *table;               /* slot + 1, by id */
    uint32_t room, mask;
    uint32_t used; /* slots below this have been given out */
    uint32_t n;
    bool shared; /* nothing is ever removed */
};

/** Entries of the table that a directory of @room slots needs. */
uint32_t cairn_swim_dir_table_len(uint32_t room);
/** @descs of @room, @table of cairn_swim_dir_table_len(@room) entries; cleared here. */
void cairn_swim_dir_init(struct cairn_swim_dir *d, struct cairn_swim_desc *descs, uint32_t *table, uint32_t room);

/** The id of a name; never 0. */
uint64_t cairn_swim_id(const char *name, size_t len);
/** The slot of @id, or CAIRN_SWIM_NO_SLOT. */
uint32_t cairn_swim_dir_find(const struct cairn_swim_dir *d, uint64_t id);
/** The slot of desc->id, made if need be, and described anew; CAIRN_SWIM_NO_SLOT if all are taken. */
uint32_t cairn_swim_dir_put(struct cairn_swim_dir *d, const struct cairn_swim_desc *desc);
void cairn_swim_dir_remove(struct cairn_swim_dir *d, uint32_t slot);

bool cairn_swim_addr_equal(const struct cairn_swim_addr *a, const struct cairn_swim_addr *b);

#endif
