/* Joining by ranks: see ranks.h. Two exchanges of cards: the first says where each rank's node is, the second whether
 * it has found the others, so that all ranks come out with one result. Nothing but the public SDK is used. */
#include "sdk/join/ranks.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define NS_PER_MS UINT64_C(1000000)
enum { LOOK_MS_MIN = 20, LOOK_MS_MAX = 250, ADDRESSES_BYTES = CAIRN_RANKS_SEEDS_MAX * 96 };

uint64_t cairn_ranks_now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 * NS_PER_MS + (uint64_t)t.tv_nsec;
}

static uint32_t timeout_of(const struct cairn_call_options *o)
{
    return o != NULL && o->timeout_ms != 0 ? o->timeout_ms : CAIRN_RANKS_TIMEOUT_MS;
}

uint64_t cairn_ranks_deadline_ns(const struct cairn_call_options *o)
{
    return cairn_ranks_now_ns() + timeout_of(o) * NS_PER_MS;
}

int cairn_ranks_fail(struct cairn_error_info *error, int rc, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    error->code = rc;
    vsnprintf(error->text, sizeof(error->text), fmt, ap);
    va_end(ap);
    return rc;
}

/* One call's share of the time. */
struct patience {
    struct cairn_call_options o;
    struct cairn_error_info error;
    uint64_t deadline_ns;
};

static const struct cairn_call_options *options_of(struct patience *p)
{
    uint64_t now = cairn_ranks_now_ns(), left_ms = now < p->deadline_ns ? (p->deadline_ns - now) / NS_PER_MS : 0;

    p->o = (struct cairn_call_options)CAIRN_CALL_OPTIONS_INIT;
    p->o.timeout_ms = left_ms > 0 ? (uint32_t)left_ms : 1;
    p->o.error = &p->error;
    return &p->o;
}

static void card_fails(struct cairn_card *card, int rc, const char *why)
{
    card->rc = rc;
    snprintf(card->why, sizeof(card->why), "%.*s", (int)sizeof(card->why) - 1, why);
}

/* ---- the first cards: where the nodes are ---- */

static const struct cairn_member *self_of(const struct cairn_members *m)
{
    for (size_t i = 0; i < m->n; i++) {
        if (m->members[i].self)
            return &m->members[i];
    }
    return NULL;
}

static void fill_card(struct cairn *c, const char *provider, struct patience *p, struct cairn_card *card)
{
    struct cairn_members *m = NULL;
    const struct cairn_member *self;
    int rc;

    if (c == NULL) {
        card_fails(card, CAIRN_E_UNREACHABLE, "it has no node");
        return;
    }
    rc = cairn_members(c, provider, &m, options_of(p));
    if (rc != 0) {
        card_fails(card, rc, p->error.text);
        return;
    }
    self = self_of(m);
    card->observer = m->observer;
    if (strlen(m->group) >= sizeof(card->group) || (self != NULL && (strlen(self->name) >= sizeof(card->name) ||
                                                                     strlen(self->address) >= sizeof(card->address)))) {
        card_fails(card, CAIRN_E_TOOBIG, "the name or the address of its node is too long");
    } else if (self == NULL && !m->observer) {
        card_fails(card, CAIRN_E_PROTO, "its node does not list itself");
    } else {
        strcpy(card->group, m->group);
        strcpy(card->name, self != NULL ? self->name : "");
        strcpy(card->address, self != NULL ? self->address : "");
    }
    cairn_free(m);
}

/* All ranks' cards, once each rank has given its own. They come by others' hands: texts end. */
static int gather(const struct cairn_ranks *r, const struct cairn_card *mine, struct cairn_card *all,
                  const struct patience *p, struct cairn_error_info *error)
{
    int rc = r->exchange(r->arg, mine, all, p->deadline_ns, error);

    for (uint32_t i = 0; rc == 0 && i < r->size; i++) {
        all[i].name[sizeof(all[i].name) - 1] = all[i].group[sizeof(all[i].group) - 1] = '\0';
        all[i].address[sizeof(all[i].address) - 1] = all[i].why[sizeof(all[i].why) - 1] = '\0';
    }
    return rc;
}

/* The first rank that failed speaks for all. */
static int result_of(const struct cairn_card *all, uint32_t size, struct cairn_error_info *error)
{
    for (uint32_t i = 0; i < size; i++) {
        if (all[i].rc != 0)
            return cairn_ranks_fail(error, all[i].rc, "rank %u: %.255s", i, all[i].why);
    }
    return 0;
}

static int by_name(const void *a, const void *b)
{
    return strcmp((*(const struct cairn_card *const *)a)->name, (*(const struct cairn_card *const *)b)->name);
}

/* The members that are to be seen, by name. */
struct expected {
    const struct cairn_card **cards;
    size_t n;
};

static int expect(const struct cairn_card *all, uint32_t size, struct expected *x, struct cairn_error_info *error)
{
    for (uint32_t i = 0; i < size; i++) {
        if (strcmp(all[i].group, all[0].group) != 0)
            return cairn_ranks_fail(error, CAIRN_E_INVAL, "rank 0's node is in group %s, rank %u's in %s", all[0].group,
                                    i, all[i].group);
        if (!all[i].observer)
            x->cards[x->n++] = &all[i];
    }
    qsort(x->cards, x->n, sizeof(x->cards[0]), by_name);
    for (size_t i = 1; i < x->n; i++) {
        if (strcmp(x->cards[i - 1]->name, x->cards[i]->name) == 0)
            return cairn_ranks_fail(error, CAIRN_E_EXISTS, "the nodes of ranks %u and %u are both called %s",
                                    (unsigned)(x->cards[i - 1] - all), (unsigned)(x->cards[i] - all),
                                    x->cards[i]->name);
    }
    return 0;
}

/* ---- joining ---- */

uint32_t cairn_ranks_seeds(uint32_t rank, uint32_t size, uint32_t seeds[CAIRN_RANKS_SEEDS_MAX])
{
    uint32_t n = 0;

    for (uint64_t step = 1; step < size && n < CAIRN_RANKS_SEEDS_MAX; step *= 2)
        seeds[n++] = (uint32_t)((rank + step) % size);
    return n;
}

static int tell(struct cairn *c, const char *provider, const struct cairn_ranks *r, const struct cairn_card *all,
                struct patience *p)
{
    char addresses[ADDRESSES_BYTES] = "";
    uint32_t seeds[CAIRN_RANKS_SEEDS_MAX], n = cairn_ranks_seeds(r->rank, r->size, seeds);
    size_t len = 0;

    for (uint32_t i = 0; i < n; i++) {
        const char *a = all[seeds[i]].address;

        if (a[0] != '\0')
            len += (size_t)snprintf(addresses + len, sizeof(addresses) - len, "%s%s", len > 0 ? "," : "", a);
    }
    return len > 0 ? cairn_group_join(c, provider, addresses, options_of(p)) : 0;
}

/* Marks in @seen who of @x is there; returns how many. */
static size_t count_seen(const struct cairn_members *m, const struct expected *x, bool *seen)
{
    size_t n = 0;

    memset(seen, 0, x->n * sizeof(*seen));
    for (size_t i = 0; i < m->n; i++) {
        struct cairn_card card;
        const struct cairn_card *key = &card, **found;

        if (m->members[i].state != CAIRN_MEMBER_ALIVE || strlen(m->members[i].name) >= sizeof(card.name))
            continue;
        strcpy(card.name, m->members[i].name);
        found = bsearch(&key, x->cards, x->n, sizeof(x->cards[0]), by_name);
        if (found == NULL || strcmp((*found)->address, m->members[i].address) != 0 || seen[found - x->cards])
            continue;
        seen[found - x->cards] = true;
        n++;
    }
    return n;
}

static int tell_missing(const struct expected *x, const bool *seen, const struct cairn_members *m, struct patience *p)
{
    size_t i = 0;

    while (seen[i])
        i++;
    return cairn_ranks_fail(&p->error, CAIRN_E_TIMEOUT, "its node does not see %s at %s%s%.100s", x->cards[i]->name,
                            x->cards[i]->address, m->problem[0] != '\0' ? ": " : "", m->problem);
}

static int wait_for_all(struct cairn *c, const char *provider, const struct expected *x, bool *seen, struct patience *p)
{
    for (uint64_t pause_ms = LOOK_MS_MIN;; pause_ms = pause_ms * 2 < LOOK_MS_MAX ? pause_ms * 2 : LOOK_MS_MAX) {
        struct cairn_members *m = NULL;
        int rc = cairn_members(c, provider, &m, options_of(p));
        bool there, over = cairn_ranks_now_ns() + pause_ms * NS_PER_MS >= p->deadline_ns;

        if (rc != 0)
            return rc;
        there = count_seen(m, x, seen) == x->n;
        if (!there && over)
            rc = tell_missing(x, seen, m, p);
        cairn_free(m);
        if (there || over)
            return rc;
        nanosleep(&(struct timespec){ .tv_nsec = (long)(pause_ms * NS_PER_MS) }, NULL);
    }
}

/* The node's part is to be over before the ranks' patience is, since they still have to tell each other. */
static void look_for_all(struct cairn *c, const char *provider, const struct cairn_ranks *r,
                         const struct cairn_card *all, const struct expected *x, struct patience *p,
                         struct cairn_card *mine)
{
    bool *seen = calloc(x->n + 1, sizeof(*seen));
    uint64_t deadline_ns = p->deadline_ns, now = cairn_ranks_now_ns();
    int rc = CAIRN_E_NOMEM;

    p->error = (struct cairn_error_info){ .text = "no memory" };
    if (now < deadline_ns)
        p->deadline_ns = now + (deadline_ns - now) / 10 * 8;
    if (seen != NULL)
        rc = tell(c, provider, r, all, p);
    if (rc == 0)
        rc = wait_for_all(c, provider, x, seen, p);
    p->deadline_ns = deadline_ns;
    if (rc != 0)
        card_fails(mine, rc, p->error.text);
    free(seen);
}

static int join(struct cairn *c, const char *provider, const struct cairn_ranks *r, struct patience *p,
                struct cairn_card *all, struct expected *x, struct cairn_error_info *error)
{
    struct cairn_card mine = { 0 };
    int rc;

    fill_card(c, provider, p, &mine);
    rc = gather(r, &mine, all, p, error);
    if (rc == 0)
        rc = result_of(all, r->size, error);
    if (rc == 0)
        rc = expect(all, r->size, x, error);
    if (rc != 0)
        return rc;
    look_for_all(c, provider, r, all, x, p, &mine);
    rc = gather(r, &mine, all, p, error);
    return rc != 0 ? rc : result_of(all, r->size, error);
}

int cairn_ranks_join(struct cairn *c, const char *provider, const struct cairn_ranks *r,
                     const struct cairn_call_options *o)
{
    struct patience p = { .deadline_ns = cairn_ranks_deadline_ns(o) };
    struct cairn_card *all = calloc(r->size, sizeof(*all));
    struct expected x = { .cards = calloc(r->size, sizeof(*x.cards)) };
    struct cairn_error_info error = { 0 };
    int rc = all != NULL && x.cards != NULL
                 ? join(c, provider, r, &p, all, &x, &error)
                 : cairn_ranks_fail(&error, CAIRN_E_NOMEM, "no memory for %u ranks", r->size);

    if (rc == CAIRN_E_TIMEOUT && error.text[0] == '\0')
        cairn_ranks_fail(&error, rc, "not all ranks came to the join within %u ms", timeout_of(o));
    if (rc != 0 && o != NULL && o->error != NULL)
        *o->error = error;
    free(all);
    free(x.cards);
    return rc;
}
