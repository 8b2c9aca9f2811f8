/* Free space as a treap of ranges: see extent_space.h. Kin: Aragon and Seidel, Randomized Search Trees (1989). */
#include "providers/extent/extent_space.h"

#include "cairn/error.h"

#include <stdlib.h>

typedef struct cairn_extent_range range;

void cairn_extent_space_init(struct cairn_extent_space *s, uint64_t span)
{
    *s = (struct cairn_extent_space){ .span = span, .seed = UINT64_C(0x9e3779b97f4a7c15) };
}

static void tree_free(range *t)
{
    while (t != NULL) {
        range *right = t->right;

        tree_free(t->left);
        free(t);
        t = right;
    }
}

void cairn_extent_space_fini(struct cairn_extent_space *s)
{
    while (s->spare != NULL) {
        range *t = s->spare;

        s->spare = t->left;
        free(t);
    }
    tree_free(s->root);
    s->root = NULL;
}

static uint64_t longest(const range *t)
{
    return t != NULL ? t->longest : 0;
}

static range *pull_up(range *t)
{
    t->longest = MAX(t->n, MAX(longest(t->left), longest(t->right)));
    return t;
}

/* Into those below @at and those from @at on. */
static void split(range *t, uint64_t at, range **low, range **high)
{
    if (t == NULL) {
        *low = *high = NULL;
    } else if (t->at < at) {
        split(t->right, at, &t->right, high);
        *low = pull_up(t);
    } else {
        split(t->left, at, low, &t->left);
        *high = pull_up(t);
    }
}

static range *join(range *low, range *high)
{
    if (low == NULL)
        return high;
    if (high == NULL)
        return low;
    if (low->priority > high->priority) {
        low->right = join(low->right, high);
        return pull_up(low);
    }
    high->left = join(low, high->left);
    return pull_up(high);
}

static range *node_get(struct cairn_extent_space *s, uint64_t at, uint64_t n)
{
    range *t = s->spare;

    if (t != NULL)
        s->spare = t->left;
    else
        t = malloc(sizeof(*t));
    if (t == NULL)
        return NULL;
    s->seed ^= s->seed << 13; /* xorshift64: shape only, no secret */
    s->seed ^= s->seed >> 7;
    s->seed ^= s->seed << 17;
    *t = (range){ .at = at, .n = n, .longest = n, .priority = s->seed };
    s->ranges++;
    return t;
}

/* Kept, so that what is taken can mostly be given back without asking for memory. */
static void node_put(struct cairn_extent_space *s, range *t)
{
    t->left = s->spare;
    s->spare = t;
    s->ranges--;
}

static void insert(struct cairn_extent_space *s, range *t)
{
    range *low, *high;

    split(s->root, t->at, &low, &high);
    s->root = join(join(low, t), high);
}

/* The range that holds @at, or the one before it; taken out of the tree. */
static range *detach_before(struct cairn_extent_space *s, uint64_t at)
{
    range *low, *high, *last, *rest;

    split(s->root, at + 1, &low, &high);
    last = low;
    while (last != NULL && last->right != NULL)
        last = last->right;
    if (last != NULL) {
        split(low, last->at, &rest, &last);
        low = rest;
    }
    s->root = join(low, high);
    return last;
}

bool cairn_extent_space_take(struct cairn_extent_space *s, uint64_t n, uint64_t *at)
{
    range *t = s->root;

    CAIRN_ASSERT(n > 0);
    if (longest(t) < n)
        return false;
    for (;;) {
        if (longest(t->left) >= n)
            t = t->left;
        else if (t->n >= n)
            break;
        else
            t = t->right;
    }
    *at = t->at;
    t = detach_before(s, t->at);
    t->at += n;
    t->n -= n;
    t->longest = t->n;
    t->left = t->right = NULL;
    s->free -= n;
    if (t->n > 0)
        insert(s, t);
    else
        node_put(s, t);
    return true;
}

int cairn_extent_space_take_at(struct cairn_extent_space *s, uint64_t at, uint64_t n)
{
    range *t, *after;
    uint64_t end = at + n;

    if (n == 0 || end < at)
        return CAIRN_E_CORRUPT;
    t = detach_before(s, at);
    if (t == NULL)
        return CAIRN_E_CORRUPT;
    t->left = t->right = NULL;
    t->longest = t->n;
    if (t->at + t->n < end) {
        insert(s, t);
        return CAIRN_E_CORRUPT;
    }
    if (t->at + t->n > end) {
        after = node_get(s, end, t->at + t->n - end);
        if (after == NULL) {
            insert(s, t);
            return CAIRN_E_NOMEM;
        }
        insert(s, after);
    }
    s->free -= n;
    t->n = t->longest = at - t->at;
    if (t->n > 0)
        insert(s, t);
    else
        node_put(s, t);
    return 0;
}

int cairn_extent_space_give(struct cairn_extent_space *s, uint64_t at, uint64_t n)
{
    range *before = at > 0 ? detach_before(s, at - 1) : NULL;
    range *after;

    CAIRN_ASSERT(n > 0);
    if (before != NULL) {
        before->left = before->right = NULL;
        before->longest = before->n;
        CAIRN_ASSERT(before->at + before->n <= at);
        if (before->at + before->n != at || at % s->span == 0) {
            insert(s, before);
            before = NULL;
        }
    }
    if (before == NULL) {
        before = node_get(s, at, 0);
        if (before == NULL)
            return CAIRN_E_NOMEM;
    }
    before->n += n;
    after = detach_before(s, at + n);
    if (after != NULL) {
        after->left = after->right = NULL;
        after->longest = after->n;
        if (after->at == at + n && (at + n) % s->span != 0) {
            before->n += after->n;
            node_put(s, after);
        } else {
            CAIRN_ASSERT(after->at == at + n || after->at + after->n <= at); /* given twice */
            insert(s, after);
        }
    }
    before->longest = before->n;
    insert(s, before);
    s->free += n;
    return 0;
}

static void forget(struct cairn_extent_space *s, range *t)
{
    while (t != NULL) {
        range *right = t->right;

        forget(s, t->left);
        s->free -= t->n;
        node_put(s, t);
        t = right;
    }
}

void cairn_extent_space_forget(struct cairn_extent_space *s, uint64_t at, uint64_t n)
{
    range *low, *mid, *high;

    split(s->root, at, &low, &high);
    split(high, at + n, &mid, &high);
    forget(s, mid);
    s->root = join(low, high);
}

uint64_t cairn_extent_space_longest(const struct cairn_extent_space *s)
{
    return longest(s->root);
}

struct walk {
    uint64_t end, free, ranges, span;
    bool first, sound;
};

static void walk(const range *t, struct walk *w)
{
    if (t == NULL)
        return;
    walk(t->left, w);
    w->sound &= t->n > 0 && t->longest == MAX(t->n, MAX(longest(t->left), longest(t->right)));
    w->sound &= (t->left == NULL || t->left->priority <= t->priority) &&
                (t->right == NULL || t->right->priority <= t->priority);
    w->sound &= t->at / w->span == (t->at + t->n - 1) / w->span;
    w->sound &= w->first || w->end < t->at || (w->end == t->at && t->at % w->span == 0);
    w->first = false;
    w->end = t->at + t->n;
    w->free += t->n;
    w->ranges++;
    walk(t->right, w);
}

bool cairn_extent_space_is_sound(const struct cairn_extent_space *s)
{
    struct walk w = { .first = true, .sound = true, .span = s->span };

    walk(s->root, &w);
    return w.sound && w.free == s->free && w.ranges == s->ranges;
}
