/* Who is asked for the map when: see hearsay.h. */
#include "server/cluster/service/hearsay.h"

const struct hearsay_times hearsay_times_default = { .jitter_ns = 40 * CAIRN_NS_PER_MS,
                                                     .patience_ns = 1000 * CAIRN_NS_PER_MS,
                                                     .answer_ns = 500 * CAIRN_NS_PER_MS,
                                                     .again_ns = 50 * CAIRN_NS_PER_MS,
                                                     .pages_ns = 10 * CAIRN_NS_PER_S,
                                                     .shun_min_ns = 1000 * CAIRN_NS_PER_MS,
                                                     .shun_max_ns = 64 * CAIRN_NS_PER_S };

enum {
    PAUSE_DOUBLINGS_MAX = 5, /* between questions that failed */
    PAGES_MAX = 4096,        /* of one source in a row: more than the largest map has, if they are half full */
    LATE_MAX = 4,            /* answers between two pages */
};

/* Marsaglia, Journal of Statistical Software 2003: xorshift64. */
static uint64_t dice(struct hearsay *h)
{
    h->random ^= h->random << 13;
    h->random ^= h->random >> 7;
    h->random ^= h->random << 17;
    return h->random;
}

void hearsay_init(struct hearsay *h, const struct hearsay_times *times, uint64_t random)
{
    *h = (struct hearsay){ .times = *times, .random = random | 1 };
}

/* ---- sources ---- */

static bool is_remembered(const struct hearsay *h, const struct hearsay_source *s, uint64_t now_ns)
{
    return s->version > h->have || now_ns < s->shunned_ns;
}

static struct hearsay_source *source_find(struct hearsay *h, uint64_t node)
{
    for (uint32_t i = 0; i < h->nsources; i++) {
        if (h->sources[i].node == node)
            return &h->sources[i];
    }
    return NULL;
}

/* Those that are of no more use go. If all places are taken by some that may be asked, these will do; if by shunned
 * ones, the one whose time is over first makes room. */
static struct hearsay_source *source_add(struct hearsay *h, uint64_t now_ns, uint64_t node)
{
    struct hearsay_source *first = &h->sources[0];

    for (uint32_t i = 0; i < h->nsources; i++) {
        if (!is_remembered(h, &h->sources[i], now_ns))
            h->sources[i--] = h->sources[--h->nsources];
    }
    for (uint32_t i = 1; i < h->nsources; i++) {
        if (h->sources[i].shunned_ns < first->shunned_ns)
            first = &h->sources[i];
    }
    if (h->nsources < HEARSAY_SOURCES_MAX)
        first = &h->sources[h->nsources++];
    else if (now_ns >= first->shunned_ns)
        return NULL;
    *first = (struct hearsay_source){ .node = node };
    return first;
}

static void plan(struct hearsay *h, uint64_t now_ns)
{
    if (h->due_ns == 0)
        h->due_ns = now_ns + (h->times.jitter_ns > 0 ? dice(h) % h->times.jitter_ns : 0);
}

void hearsay_heard(struct hearsay *h, uint64_t now_ns, uint64_t node, uint64_t version)
{
    struct hearsay_source *s = source_find(h, node);

    if (s == NULL && version > h->have)
        s = source_add(h, now_ns, node);
    if (s == NULL)
        return;
    s->version = version;
    if (version > h->have && now_ns >= s->shunned_ns)
        plan(h, now_ns);
}

void hearsay_have(struct hearsay *h, uint64_t version)
{
    h->have = version;
    if (h->have >= h->wanted)
        h->wanted = 0;
}

void hearsay_want(struct hearsay *h, uint64_t now_ns, uint64_t version)
{
    if (version <= h->have || h->wanted != 0)
        return;
    h->wanted = version;
    h->wanted_ns = now_ns;
    plan(h, now_ns);
}

/* ---- questions ---- */

/* One of those that may be asked, at random; the coordinator if there is no other. */
static struct hearsay_source *choose(struct hearsay *h, uint64_t now_ns, uint64_t coordinator)
{
    struct hearsay_source *chosen = NULL, *own = NULL;
    uint64_t n = 0;

    for (uint32_t i = 0; i < h->nsources; i++) {
        struct hearsay_source *s = &h->sources[i];

        if (s->version <= h->have || now_ns < s->shunned_ns)
            continue;
        if (s->node == coordinator)
            own = s;
        else if (dice(h) % ++n == 0)
            chosen = s;
    }
    return chosen != NULL ? chosen : own;
}

/* When a source may be asked again, or patience ends. */
static uint64_t next_ns(const struct hearsay *h, uint64_t coordinator)
{
    uint64_t at = h->wanted != 0 && coordinator != 0 ? h->wanted_ns + h->times.patience_ns : UINT64_MAX;

    for (uint32_t i = 0; i < h->nsources; i++) {
        if (h->sources[i].version > h->have)
            at = MIN(at, h->sources[i].shunned_ns);
    }
    return at;
}

static struct hearsay_question ask(struct hearsay *h, uint64_t now_ns, uint64_t node, uint64_t version,
                                   uint64_t coordinator)
{
    h->asked = node;
    h->asked_coordinator = node == coordinator;
    h->asked_version = version;
    h->asked_have = h->have;
    h->begun_ns = now_ns;
    h->pages = h->late = 0;
    h->due_ns = 0;
    h->questions++;
    return (struct hearsay_question){ .node = node };
}

static struct hearsay_question go_on(struct hearsay *h, uint64_t now_ns)
{
    if (now_ns < h->again_ns)
        return (struct hearsay_question){ .due_ns = h->again_ns };
    h->more = false;
    h->questions++;
    return (struct hearsay_question){ .node = h->asked, .goes_on = true };
}

struct hearsay_question hearsay_step(struct hearsay *h, uint64_t now_ns, uint64_t coordinator)
{
    struct hearsay_question nobody = { .due_ns = UINT64_MAX };
    struct hearsay_source *s;

    if (h->asked != 0 && !h->more)
        return nobody;
    if (h->more)
        return go_on(h, now_ns);
    if (now_ns < h->due_ns) {
        nobody.due_ns = h->due_ns;
        return nobody;
    }
    s = choose(h, now_ns, coordinator);
    if (s != NULL)
        return ask(h, now_ns, s->node, s->version, coordinator);
    if (h->wanted != 0 && coordinator != 0 && now_ns >= h->wanted_ns + h->times.patience_ns) {
        h->last_resorts++;
        return ask(h, now_ns, coordinator, 0, coordinator);
    }
    nobody.due_ns = next_ns(h, coordinator);
    h->due_ns = 0;
    return nobody;
}

static void shun(struct hearsay *h, struct hearsay_source *s, uint64_t now_ns, uint32_t times)
{
    uint64_t ns = h->times.shun_min_ns << MIN(times - 1, 16U);

    s->shunned_ns = now_ns + MIN(ns, h->times.shun_max_ns);
}

/* Others may have it sooner. */
static bool is_overdue(const struct hearsay *h, uint64_t now_ns)
{
    return !h->asked_coordinator && now_ns >= h->begun_ns + h->times.pages_ns;
}

/* It has given some of its pages: the next one is asked for once more. */
static bool is_tried_again(struct hearsay *h, uint64_t now_ns, enum hearsay_answer answer)
{
    bool waits = h->wanted != 0 && !h->asked_coordinator && now_ns >= h->wanted_ns + h->times.patience_ns;

    if (answer == HEARSAY_GIVEN || answer == HEARSAY_WRONG || h->pages == 0 || is_overdue(h, now_ns))
        return false;
    if (answer == HEARSAY_BUSY ? waits : h->late++ == LATE_MAX)
        return false;
    h->again_ns = now_ns + h->times.again_ns;
    return true;
}

bool hearsay_answered(struct hearsay *h, uint64_t now_ns, enum hearsay_answer answer, uint64_t version, bool more)
{
    struct hearsay_source *s = source_find(h, h->asked);
    bool ok = answer == HEARSAY_GIVEN && !(more && (is_overdue(h, now_ns) || h->pages == PAGES_MAX)), lied;

    more = ok && more && version > h->asked_have;
    if (more) {
        h->pages++;
        h->late = 0;
        h->again_ns = 0;
    }
    h->more = more || is_tried_again(h, now_ns, answer);
    if (h->more)
        return false;
    lied = ok && version < h->asked_version;
    h->failed = ok && !lied ? 0 : h->failed + 1;
    if (s != NULL && !ok)
        shun(h, s, now_ns, ++s->failures);
    if (s != NULL && lied)
        shun(h, s, now_ns, ++s->lies);
    if (s != NULL && ok && !lied)
        s->failures = s->lies = 0;
    h->lies += lied;
    h->asked = 0;
    h->due_ns = 0;
    if (h->failed > 0) /* many that say what is not so cost no more than one */
        h->due_ns = now_ns + (h->times.jitter_ns << MIN(h->failed - 1, (uint32_t)PAUSE_DOUBLINGS_MAX));
    else if (h->wanted != 0 || choose(h, now_ns, 0) != NULL)
        plan(h, now_ns);
    return lied;
}

void hearsay_forget(struct hearsay *h)
{
    h->nsources = 0;
    h->have = 0;
    h->wanted = 0;
    h->asked = h->more ? 0 : h->asked;
    h->more = false;
}
