/** Intrusive doubly linked list. The element embeds a struct cairn_link; the list owns nothing.
 * A link that is on no list points at itself, so unlinking twice is harmless. */
#ifndef CAIRN_CORE_BASE_LIST_H
#define CAIRN_CORE_BASE_LIST_H

#include "sdk/core/base/macros.h"

struct cairn_link {
    struct cairn_link *next, *prev;
};

static inline void cairn_list_init(struct cairn_link *head)
{
    head->next = head->prev = head;
}

static inline bool cairn_list_is_empty(const struct cairn_link *head)
{
    return head->next == head;
}

static inline void cairn_list_add_tail(struct cairn_link *head, struct cairn_link *x)
{
    x->prev = head->prev;
    x->next = head;
    head->prev->next = x;
    head->prev = x;
}

static inline void cairn_list_add_head(struct cairn_link *head, struct cairn_link *x)
{
    cairn_list_add_tail(head->next, x);
}

static inline void cairn_list_del(struct cairn_link *x)
{
    x->prev->next = x->next;
    x->next->prev = x->prev;
    x->next = x->prev = x;
}

/** The first element, removed; NULL if there is none. */
static inline struct cairn_link *cairn_list_pop(struct cairn_link *head)
{
    struct cairn_link *x = head->next;

    if (x == head)
        return NULL;
    cairn_list_del(x);
    return x;
}

/** Moves all of @from to the end of @to. */
static inline void cairn_list_splice(struct cairn_link *to, struct cairn_link *from)
{
    if (cairn_list_is_empty(from))
        return;
    from->next->prev = to->prev;
    from->prev->next = to;
    to->prev->next = from->next;
    to->prev = from->prev;
    cairn_list_init(from);
}

#define CAIRN_LIST_FOREACH(it, head) for (struct cairn_link *it = (head)->next; it != (head); it = it->next)
/* The body may remove @it. */
#define CAIRN_LIST_FOREACH_SAFE(it, head)                                                                              \
    for (struct cairn_link *it = (head)->next, *it##_next = it->next; it != (head);                                    \
         it = it##_next, it##_next = it->next)

#endif
