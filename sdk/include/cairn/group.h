/** Groups: which nodes there are, and how they are. A group provider detects failures and spreads what members say of
 * themselves; it decides nothing about data. */
#ifndef CAIRN_GROUP_H
#define CAIRN_GROUP_H

#include "cairn/cairn.h"

#ifdef __cplusplus
extern "C" {
#endif

enum cairn_member_state {
    CAIRN_MEMBER_ALIVE = 1,
    CAIRN_MEMBER_SUSPECT = 2, /* does not answer, and may still contradict: within seconds it is one of the others */
    CAIRN_MEMBER_DEAD = 3,
    CAIRN_MEMBER_LEFT = 4,
};
/** "alive", "suspect", "silent" (CAIRN_MEMBER_DEAD, in the word that a cluster's map has for it), "left"; "unknown" for
 * anything else. */
CAIRN_API const char *cairn_member_state_name(enum cairn_member_state state);

struct cairn_member {
    const char *name;
    const char *address; /* where it receives the group's packets */
    const char *service; /* where clients reach it, as cairn_connect() takes it; "" if it did not say */
    const char *zone;
    uint64_t incarnation; /* grows whenever it starts anew, contradicts or changes what it says of itself */
    uint64_t capacity;    /* bytes; 0: unsaid */
    uint32_t weight;
    uint32_t load; /* per mille; some seconds old, more in groups of thousands */
    enum cairn_member_state state;
    bool self; /* the node that was asked */
};

/** One block: cairn_free(). */
struct cairn_members {
    size_t n;
    struct cairn_member *members; /* the dead and those who left, too, until they are forgotten */
    const char *group;
    const char *problem; /* why the node asked is not in the group; "": it is */
    bool joined;         /* it knows the others */
    bool observer;       /* it is no member itself */
};

/** Who is in the group of @provider (NULL: the node's first group).
 *   CAIRN_E_NOPROVIDER  the node has no such provider */
CAIRN_API int cairn_members(struct cairn *c, const char *provider, struct cairn_members **out,
                            const struct cairn_call_options *o);
CAIRN_API int cairn_members_async(struct cairn *c, const char *provider, struct cairn_members **out,
                                  const struct cairn_call_options *o, cairn_done_fn *done, void *arg);

enum cairn_member_fields { CAIRN_MEMBER_ZONE = 1, CAIRN_MEMBER_WEIGHT = 2, CAIRN_MEMBER_CAPACITY = 4 };

/** What a member says of itself; start from CAIRN_MEMBER_ATTRIBUTES_INIT. */
struct cairn_member_attributes {
    size_t size;
    uint32_t fields; /* CAIRN_MEMBER_*: which of these are given; the others stay as they are */
    uint32_t weight; /* at most 1 000 000 */
    uint64_t capacity;
    const char *zone; /* at most 31 bytes */
};
#define CAIRN_MEMBER_ATTRIBUTES_INIT CAIRN_STRUCT_INIT(struct cairn_member_attributes)

/** Changes what the node says of itself in the group of @provider (NULL: its first group); all members know within
 * seconds. Until the node ends: its next life begins with its configuration. For administrators. What it says of its
 * load it measures itself.
 *   CAIRN_E_INVAL  an attribute is out of range
 *   CAIRN_E_STATE  the node is an observer, or not in the group */
CAIRN_API int cairn_member_set(struct cairn *c, const char *provider, const struct cairn_member_attributes *a,
                               const struct cairn_call_options *o);
CAIRN_API int cairn_member_set_async(struct cairn *c, const char *provider, const struct cairn_member_attributes *a,
                                     const struct cairn_call_options *o, cairn_done_fn *done, void *arg);

/** Lets the node ask these for the group, too: at once, in place of those of the last such call, beside those of its
 * configuration, until it ends. @addresses: up to 16 of any members, as cairn_member.address says them, separated by
 * commas; those that do not answer do not matter, its own neither. Two groups that meet so become one. Returns when the
 * node has begun to ask: cairn_members() says whether it found any. For administrators.
 *   CAIRN_E_INVAL  an address is none, or has a name instead of numbers; or all are the node's own
 *   CAIRN_E_STATE  the node could not open its socket, or fell silent since a younger member has its name */
CAIRN_API int cairn_group_join(struct cairn *c, const char *provider, const char *addresses,
                               const struct cairn_call_options *o);
CAIRN_API int cairn_group_join_async(struct cairn *c, const char *provider, const char *addresses,
                                     const struct cairn_call_options *o, cairn_done_fn *done, void *arg);

/** @m and its texts are valid until it returns. As any callback, it must not wait for a call. */
typedef void cairn_member_fn(void *arg, const struct cairn_member *m);

/** Calls @changed for each member, then, for as long as the watch runs, for each whose state or attributes changed;
 * what changed twice in a moment may be told once. Load alone is no change. Runs until it is canceled (cairn_cancel(),
 * by the number in @o->call) or the node is lost for @o->timeout_ms: then @done tells why. Returns 0 when it was
 * started. */
CAIRN_API int cairn_members_watch(struct cairn *c, const char *provider, cairn_member_fn *changed,
                                  const struct cairn_call_options *o, cairn_done_fn *done, void *arg);

#ifdef __cplusplus
}
#endif
#endif
