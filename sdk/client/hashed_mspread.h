/* A batch of a clustered namespace: what hashed_mspread.c, its entries from round to round, and hashed_mspread_page.c, one
 * request for some of them, have in common. */
#ifndef CAIRN_CLIENT_HASHED_MSPREAD_H
#define CAIRN_CLIENT_HASHED_MSPREAD_H

#include "sdk/client/hashed_spread.h"

enum entry_state {
    ENTRY_TODO,
    ENTRY_NUMBER, /* a put that waits for its number: one of the awaited */
    ENTRY_ASKED,
    ENTRY_DONE
};

struct entry {
    struct batch *batch;
    struct cairn_number number; /* puts */
    uint32_t slot;
    enum entry_state state;
    bool unsure;     /* a try ended without an answer */
    bool held_back;  /* TODO: in the next round */
    bool single;     /* too large for a page */
    bool by_replica; /* ASKED: of a node that does not lead */
    bool by_leader;  /* a replica had no value */
};

struct batch {
    struct spread x;
    struct cairn_put_item *puts; /* or gets */
    struct cairn_get_item *gets;
    size_t n, base, width; /* [base, base + width) is the window */
    uint32_t value_max;
    bool if_absent, numbered, by_replicas;
    int rc;                 /* the first error of an entry */
    struct entry entries[]; /* of the window */
};

/* What one request asks for: copies of items of the window, so that they are one behind the other. */
struct page {
    size_t n, asked, answered;
    bool sent, by_replica; /* by_replica: at least one of them is */
    struct cairn_put_item *puts;
    struct cairn_get_item *gets;
    uint32_t index[]; /* in the window; the items are behind it */
};

/* ---- hashed_mspread.c ---- */

/* The batch's error, unless it has one. */
void cairn__mspread_note(struct batch *b, int rc, const char *text);
void cairn__mspread_done(struct entry *e, int rc, const char *text);

/* ---- hashed_mspread_page.c ---- */

/* All entries that may go where the first of them goes, in order; they are ASKED, of the place that @child has from here
 * on. NULL: none may go, or there is no memory. The caller's to free(). */
struct page *cairn__mspread_gather(struct batch *b, struct spread_child *child);
int cairn__mspread_ask(struct batch *b, struct spread_child *child, struct page *p);
/* What came of it, entry by entry. */
void cairn__mspread_took(struct batch *b, struct spread_child *child, struct page *p, int rc);

#endif
