/** What a coordinator changed of slots and members, why and when, for people: `cairn map --log`.
 *
 * Each change at the map store takes an entry of the log with it that sums it up as *deeds*: how many slots went from
 * whom to whom, and why. What is stored within CAIRN_CHRONICLE_SPAN_MS of an entry's beginning is added to it, so a
 * move of all slots leaves an entry a second, and not one for each slot. These entries have a prefix, and a bound, of
 * their own (../map_log.h): they never push out what people did. */
#ifndef CAIRN_SERVER_CLUSTER_SERVICE_CHRONICLE_H
#define CAIRN_SERVER_CLUSTER_SERVICE_CHRONICLE_H

#include "server/cluster/map_log.h"
#include "server/cluster/repl/slot.h"

enum { CAIRN_CHRONICLE_DEEDS_MAX = 16, CAIRN_CHRONICLE_SPAN_MS = 1000 };

enum cairn_deed_kind {
    CAIRN_DEED_NONE, /* not worth an entry */
    /* of slots */
    CAIRN_DEED_MADE,
    CAIRN_DEED_TAKEN,     /* @to leads what @from led */
    CAIRN_DEED_HANDED,    /* likewise, and @from has let go of it */
    CAIRN_DEED_RECOVERED, /* all members were gone: @to goes on */
    CAIRN_DEED_READY,     /* @to leads, and serves */
    CAIRN_DEED_LEFT_OUT,  /* @from is not in sync any more */
    CAIRN_DEED_JOINED,    /* @to is in sync */
    CAIRN_DEED_COPYING,   /* to @to, which is to replace @from (0: to be one more) */
    CAIRN_DEED_LEADING,   /* @to, in sync, is to lead */
    CAIRN_DEED_DROPPED,   /* @from is no replica any more */
    CAIRN_DEED_STAYED,    /* @to, which was to leave: too few would be in sync */
    CAIRN_DEED_GIVEN_UP,  /* the move to @to */
    /* of members: of @to */
    CAIRN_DEED_REGISTERED,
    CAIRN_DEED_RESTARTED,
    CAIRN_DEED_CHANGED,
    CAIRN_DEED_SILENT,
    CAIRN_DEED_FOUND_DEAD,
    CAIRN_DEED_STOPPED,
    CAIRN_DEED_BACK,
    CAIRN_DEED_LOST,
    CAIRN_DEED_SAID_LOST,
    CAIRN_DEED_REPLACED, /* lost, since another has its name */
    CAIRN_DEED_FORGOTTEN,
    CAIRN_DEED_COORDINATES,
    CAIRN_DEED_PUT_BACK, /* the map, as @to found */
    CAIRN_DEED_NR
};

enum cairn_deed_why {
    CAIRN_WHY_ITSELF, /* of a member: the deed's own */
    CAIRN_WHY_READY,
    CAIRN_WHY_WANTED,
    CAIRN_WHY_SILENT,
    CAIRN_WHY_RESTARTED,
    CAIRN_WHY_NO_ANSWER,
    CAIRN_WHY_DRAINED,
    CAIRN_WHY_LOST,
    CAIRN_WHY_FEWER,
    CAIRN_WHY_BALANCE,
    CAIRN_WHY_STOPS,
    CAIRN_WHY_COPIED,
    CAIRN_WHY_GONE,
    CAIRN_WHY_TARGET_RESTARTED, /* @to, and not @from */
    CAIRN_WHY_TARGET_GONE,
    CAIRN_WHY_NR
};

struct cairn_deed {
    enum cairn_deed_kind kind;
    enum cairn_deed_why why;
    uint64_t from, to; /* nodes; 0: nobody */
    uint32_t slots;    /* 0: it is about a member */
};

/** What becomes of one slot with @next after @old; @asked: the proposal that it is made of, 0: the coordinator's own.
 * What the records do not say of the why (whether a node is drained, ...) is left to the caller: CAIRN_WHY_BALANCE. */
struct cairn_deed cairn_deed_of_slot(const struct cairn_slot_record *old, const struct cairn_slot_record *next,
                                     enum cairn_change_kind asked);

/** The entry that is being written; held by the coordinator, zeroed when a term begins. */
struct cairn_chronicle {
    struct cairn_deed deeds[CAIRN_CHRONICLE_DEEDS_MAX];
    uint32_t ndeeds, more;              /* more: slots whose deeds had no room */
    uint32_t changes;                   /* at the store, that are in it */
    uint64_t began_ns, now_ms, changed; /* began: by the clock that decides; the other is what people are told */
    uint32_t number;                    /* of the entry, in this term */
    bool open;                          /* it may be added to */
    bool under_way;                     /* as it is now, at the store */
    struct cairn_map_log_line line;
};

/** A change begins, at @now_ns of the loop's clock, in the term @fence: a new entry, if the one that is there is old;
 * then true. */
bool cairn_chronicle_begin(struct cairn_chronicle *c, uint64_t now_ns, uint64_t fence);
void cairn_chronicle_add(struct cairn_chronicle *c, const struct cairn_deed *d);
/** What is to be written beside the change, *@to, until it is over; false: nothing, or there is no memory. @name_of
 * tells a node's name, or NULL. */
bool cairn_chronicle_write(struct cairn_chronicle *c, const char *author,
                           const char *(*name_of)(void *arg, uint64_t node), void *arg, struct cairn_map_write *to);
/** @revision 0: it is not known, so the next change begins a new entry. */
void cairn_chronicle_stored(struct cairn_chronicle *c, uint64_t revision);
/** The term is over. */
void cairn_chronicle_forget(struct cairn_chronicle *c);

#endif
