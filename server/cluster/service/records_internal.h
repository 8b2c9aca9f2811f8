/* What the files of a node's copy of the map share: records.c (life, slots), records_member.c (members), records_page.c
 * (pages, in and out), records_chain.c (those that are still to be taken), records_sweep.c (members that are gone for
 * good). All of it under the lock, but for the chain. */
#ifndef CAIRN_SERVER_CLUSTER_SERVICE_RECORDS_INTERNAL_H
#define CAIRN_SERVER_CLUSTER_SERVICE_RECORDS_INTERNAL_H

#include "server/cluster/service/records.h"

struct records_item {
    struct cairn_link link;   /* of the changes; of none, as long as nobody may be told of it */
    struct cairn_link coming; /* of those that move there when all up to @next is here */
    uint64_t version, next;
    bool is_member;
};

/* What is here before all of its revision is (a hint; half a change) is for this node alone. In a page it would come with
 * too old a revision, and who had it by that would not tell of it with the right one. */
struct records_slot {
    struct records_item item;
    struct cairn_wire_slot slot;     /* as pages have it, since the item's version; epoch 0: not at all */
    struct cairn_slot_record *ahead; /* a newer record; NULL: there is none */
};

struct records_member {
    struct records_item item;
    struct records_member *ahead; /* as it will be when all of item.next is here; NULL: it stays as it is */
    uint64_t gone_ns;           /* when it was first found to be of no use any more; 0: it was not */
    struct cairn_wire_member m; /* its strings lie behind it */
};

static inline struct records_item *records_item_of(struct cairn_link *l)
{
    return CONTAINER_OF(l, struct records_item, link);
}

static inline struct records_slot *records_slot_of(struct records_item *x)
{
    return CONTAINER_OF(x, struct records_slot, item);
}

static inline struct records_member *records_member_of(struct records_item *x)
{
    return CONTAINER_OF(x, struct records_member, item);
}

static inline const struct cairn_slot_record *records_newest(const struct records_slot *s)
{
    return s->ahead != NULL ? s->ahead : &s->slot.rec;
}

/* Nothing is here; what comes is of @map. */
void records_forget(struct cairn_cluster_records *r, uint64_t map);

void records_item_init(struct records_item *x, bool is_member);
/* @x takes the place of @old among the changes, and @old may be freed. */
void records_item_replace(struct records_item *old, struct records_item *x);
/* It changed in @version, and is among the changes where that belongs. Never for what is as it was: this copy's pages
 * up to the earlier version would lack it. */
void records_item_changed(struct cairn_cluster_records *r, struct records_item *x, uint64_t version);
/* Likewise, as soon as all of @version is here, which is not yet. Until then it stays where it is, and as it is: whoever
 * asks meanwhile is told of what was before, and not of nothing. */
void records_item_changes(struct cairn_cluster_records *r, struct records_item *x, uint64_t version);
/* All up to @revision is here. */
void records_raise(struct cairn_cluster_records *r, uint64_t revision);
int records_take_slot(struct cairn_cluster_records *r, const struct cairn_wire_slot *x, uint64_t version);

/* ---- records_member.c ---- */

size_t records_member_bytes(const struct cairn_wire_member *m);
/* @m and its strings, which go to @text: as many bytes as that says. */
void records_member_copy(struct cairn_wire_member *to, const struct cairn_wire_member *m, char *text);
/* Index of the first member that is not below @node. */
uint32_t records_member_place(const struct cairn_cluster_records *r, uint64_t node);
int records_take_member(struct cairn_cluster_records *r, const struct cairn_wire_member *m, uint64_t version);
/* The member at @i is not told of any more. */
void records_member_drop(struct cairn_cluster_records *r, uint32_t i);
void records_member_free(struct records_member *x);
/* What is ahead of @x takes its place, if there is something; what is there then. */
struct records_member *records_member_step(struct cairn_cluster_records *r, struct records_member *x);

#endif
