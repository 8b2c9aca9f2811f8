/* Whether a history is linearizable: see linear.h. */
#include "tests/sim/linear.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

/* What was tried: which operations are done, and the value then. */
struct tried {
    uint64_t *slots; /* hashes; 0: free */
    size_t room, n;
};

static bool tried_add(struct tried *t, uint64_t hash)
{
    hash += hash == 0;
    if (t->n * 2 >= t->room) {
        struct tried more = { .room = t->room == 0 ? 1024 : t->room * 2 };

        more.slots = calloc(more.room, sizeof(*more.slots));
        if (more.slots == NULL)
            abort();
        for (size_t i = 0; i < t->room; i++) {
            if (t->slots[i] != 0)
                tried_add(&more, t->slots[i]);
        }
        free(t->slots);
        *t = more;
    }
    for (size_t i = hash & (t->room - 1);; i = (i + 1) & (t->room - 1)) {
        if (t->slots[i] == hash)
            return false;
        if (t->slots[i] == 0) {
            t->slots[i] = hash;
            t->n++;
            return true;
        }
    }
}

struct search {
    const struct linear_op **ops; /* by begin */
    uint32_t n, words;
    uint64_t *done; /* bits; and a word for is_new() */
    uint32_t left;  /* operations with a known end that are not done */
    uint64_t value, steps, steps_max;
    struct tried tried;
};

static bool is_done(const struct search *s, uint32_t i)
{
    return (s->done[i / 64] >> (i % 64)) & 1;
}

/* Whether @op may be the next in order, and the value after it. */
static bool applies(const struct linear_op *op, uint64_t value, uint64_t *after)
{
    *after = value;
    switch (op->kind) {
    case LINEAR_PUT:
        *after = op->value;
        return true;
    case LINEAR_GET:
        return op->end == LINEAR_UNKNOWN || op->value == value;
    case LINEAR_DELETE:
        *after = 0;
        return op->end == LINEAR_UNKNOWN || op->existed == (value != 0);
    case LINEAR_ERASE:
        *after = 0;
        return true;
    case LINEAR_PUT_NEW:
        *after = value != 0 ? value : op->value;
        return op->end == LINEAR_UNKNOWN || op->existed == (value != 0);
    }
    return false;
}

static bool is_new(struct search *s)
{
    s->done[s->words] = s->value; /* not as a seed: seeds and short inputs of XXH3 cancel each other out */
    return tried_add(&s->tried, XXH3_64bits(s->done, (s->words + 1) * sizeof(*s->done)));
}

/* 1: all operations with an end can be put into an order from here on. Recursion is as deep as the history is long. */
static int search(struct search *s)
{
    int64_t first_end = INT64_MAX;

    if (s->left == 0)
        return 1;
    if (++s->steps > s->steps_max)
        return -1;
    for (uint32_t i = 0; i < s->n; i++) {
        if (!is_done(s, i) && s->ops[i]->end != LINEAR_UNKNOWN && s->ops[i]->end < first_end)
            first_end = s->ops[i]->end;
    }
    /* What began before anything that is not done has ended may be next. */
    for (uint32_t i = 0; i < s->n && s->ops[i]->begin <= first_end; i++) {
        const struct linear_op *op = s->ops[i];
        uint64_t before = s->value, after;
        int rc = 0;

        if (is_done(s, i) || !applies(op, s->value, &after) || (op->end == LINEAR_UNKNOWN && op->kind == LINEAR_GET))
            continue;
        s->done[i / 64] |= UINT64_C(1) << (i % 64);
        s->left -= op->end != LINEAR_UNKNOWN;
        s->value = after;
        if (is_new(s))
            rc = search(s);
        if (rc != 0)
            return rc;
        s->done[i / 64] &= ~(UINT64_C(1) << (i % 64));
        s->left += op->end != LINEAR_UNKNOWN;
        s->value = before;
    }
    return 0;
}

static int by_begin(const void *a, const void *b)
{
    const struct linear_op *x = *(const struct linear_op *const *)a, *y = *(const struct linear_op *const *)b;

    return x->begin < y->begin ? -1 : x->begin > y->begin;
}

static const struct linear_op **sorted(const struct linear_op *ops, uint32_t n)
{
    const struct linear_op **p = calloc(n + 1, sizeof(struct linear_op *));

    if (p == NULL)
        abort();
    for (uint32_t i = 0; i < n; i++)
        p[i] = &ops[i];
    qsort(p, n, sizeof(struct linear_op *), by_begin);
    return p;
}

static int check(const struct linear_op **ops, uint32_t n, uint64_t steps_max)
{
    struct search s = { .ops = ops, .n = n, .words = n / 64 + 1, .steps_max = steps_max };
    int rc;

    s.done = calloc(s.words + 1, sizeof(*s.done));
    if (s.done == NULL)
        abort();
    for (uint32_t i = 0; i < n; i++)
        s.left += ops[i]->end != LINEAR_UNKNOWN;
    rc = search(&s);
    free(s.done);
    free(s.tried.slots);
    return rc;
}

/* An unknown outcome that nobody saw: nearly always as good as none, and each one doubles what is to be searched. */
static bool is_unseen(const struct linear_op *op, const struct linear_op *ops, uint32_t n)
{
    if (op->end != LINEAR_UNKNOWN || op->kind == LINEAR_DELETE || op->kind == LINEAR_ERASE)
        return false;
    for (uint32_t i = 0; op->kind != LINEAR_GET && i < n; i++) {
        if (ops[i].kind == LINEAR_GET && ops[i].end != LINEAR_UNKNOWN && ops[i].value == op->value)
            return false;
    }
    return true;
}

int linear_check(const struct linear_op *ops, uint32_t n, uint64_t steps_max)
{
    const struct linear_op **all = sorted(ops, n), **seen = sorted(ops, n);
    uint32_t nseen = 0;
    int rc;

    for (uint32_t i = 0; i < n; i++) {
        if (!is_unseen(all[i], ops, n))
            seen[nseen++] = all[i];
    }
    rc = check(seen, nseen, steps_max);
    if (rc != 1 && nseen < n)
        rc = check(all, n, steps_max);
    free(seen);
    free(all);
    return rc;
}

void linear_print(const struct linear_op *ops, uint32_t n, FILE *to)
{
    static const char *const names[] = { [LINEAR_PUT] = "put",
                                         [LINEAR_GET] = "get",
                                         [LINEAR_DELETE] = "delete",
                                         [LINEAR_ERASE] = "erase",
                                         [LINEAR_PUT_NEW] = "put new" };
    const struct linear_op **p = sorted(ops, n);

    for (uint32_t i = 0; i < n; i++) {
        fprintf(to, "[%8" PRId64 " ", p[i]->begin);
        if (p[i]->end == LINEAR_UNKNOWN)
            fprintf(to, "       ?]");
        else
            fprintf(to, "%8" PRId64 "]", p[i]->end);
        fprintf(to, " client %u %s %" PRIu64 "%s\n", p[i]->client, names[p[i]->kind], p[i]->value,
                p[i]->existed ? " existed" : "");
    }
    free(p);
}
