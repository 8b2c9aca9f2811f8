/* A simulated world: see world.h. One heap of what is to happen, by time and then by order of its planning. */
#include "tests/sim/world.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

enum { TIMERS_PER_WAKE = 64, LINKS_NODES_MAX = 64 };

/* Of a trace. */
enum {
    NOTE_CRASH = 1,
    NOTE_RESTART,
    NOTE_STALL,
    NOTE_SLOW,
    NOTE_CLOCK,
    NOTE_CUT,
    NOTE_SIDE,
    NOTE_HEAL,
    NOTE_HEAR,
    NOTE_JOIN
};

struct packet {
    uint64_t order; /* when it was sent, among all */
    uint32_t from, to, len;
    uint8_t bytes[];
};

struct event {
    uint64_t at_ns, order;
    struct packet *packet; /* NULL: @node wakes */
    uint32_t node;
};

struct node {
    struct cairn_env env;
    struct world *w;
    uint64_t random, base_ns, since_ns; /* its clock showed base_ns when it was since_ns */
    uint64_t slow_ns, stalled_ns;       /* stalled until then */
    uint64_t wake_ns;                   /* when its planned wake is; 0: none */
    int64_t drift_ppm;
    uint32_t index, side;
    bool up;
};

struct world {
    struct world_conf conf;
    struct node *nodes;
    struct event *heap; /* from 1 */
    size_t n, room;
    uint64_t now_ns, order, random;
    struct {
        uint32_t from, to;
    } cuts[WORLD_CUTS_MAX];
    uint32_t ncuts;
    bool hears[WORLD_SIDES_MAX][WORLD_SIDES_MAX]; /* from, to: also of another side */
    uint64_t *newest; /* by link, of a small world: the order of the newest packet that has come */
    struct world_counts counts;
};

static uint64_t splitmix(uint64_t *state)
{
    uint64_t x = *state += UINT64_C(0x9e3779b97f4a7c15);

    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

uint64_t world_random(struct world *w)
{
    return splitmix(&w->random);
}

bool world_chance(struct world *w, uint32_t ppm)
{
    return ppm > 0 && world_random(w) % 1000000 < ppm;
}

static uint64_t up_to(struct world *w, uint64_t ns)
{
    return ns > 0 ? world_random(w) % ns : 0;
}

/* ---- the heap ---- */

static bool before(const struct event *a, const struct event *b)
{
    return a->at_ns != b->at_ns ? a->at_ns < b->at_ns : a->order < b->order;
}

static void plan(struct world *w, struct event e)
{
    size_t i;

    if (w->n + 2 > w->room) {
        w->room = MAX(2 * w->room, (size_t)1024);
        w->heap = realloc(w->heap, w->room * sizeof(*w->heap));
        CAIRN_ASSERT(w->heap != NULL);
    }
    for (i = ++w->n; i > 1 && before(&e, &w->heap[i / 2]); i /= 2)
        w->heap[i] = w->heap[i / 2];
    w->heap[i] = e;
}

static struct event take_first(struct world *w)
{
    struct event first = w->heap[1], last = w->heap[w->n--];
    size_t i = 1;

    while (2 * i <= w->n) {
        size_t child = 2 * i;

        if (child < w->n && before(&w->heap[child + 1], &w->heap[child]))
            child++;
        if (!before(&w->heap[child], &last))
            break;
        w->heap[i] = w->heap[child];
        i = child;
    }
    w->heap[i] = last;
    return first;
}

/* ---- clocks ---- */

static uint64_t local_ns(const struct node *x)
{
    int64_t passed = (int64_t)(x->w->now_ns - x->since_ns);

    return x->base_ns + (uint64_t)(passed + passed / 1000000 * x->drift_ppm);
}

/* When in the world it will be @ns on the node's clock; at least as late. */
static uint64_t world_ns(const struct node *x, uint64_t ns)
{
    int64_t ahead = (int64_t)(ns - local_ns(x));

    if (ns == UINT64_MAX)
        return ns;
    if (ahead <= 0)
        return x->w->now_ns;
    return x->w->now_ns + (uint64_t)(ahead - ahead / 1000000 * x->drift_ppm) + 1;
}

static uint64_t node_now(struct cairn_env *env)
{
    return local_ns(CONTAINER_OF(env, struct node, env));
}

static uint64_t node_random(struct cairn_env *env)
{
    return splitmix(&CONTAINER_OF(env, struct node, env)->random);
}

/* Plans the node's next wake, unless one that is planned comes in time; one that comes for nothing plans the next. */
static void plan_wake(struct node *x)
{
    uint64_t late;
    struct world *w = x->w;
    uint64_t at = cairn_list_is_empty(&x->env.tasks) ? world_ns(x, cairn_env_next_timer_ns(&x->env)) : w->now_ns;

    if (!x->up || at == UINT64_MAX || (x->wake_ns != 0 && x->wake_ns <= at))
        return;
    late = up_to(w, x->slow_ns);
    w->counts.late_wakes += late > 0;
    at += late;
    if (x->wake_ns != 0 && x->wake_ns <= at)
        return;
    x->wake_ns = at;
    plan(w, (struct event){ .at_ns = at, .order = ++w->order, .node = x->index });
}

static void node_timers_changed(struct cairn_env *env)
{
    plan_wake(CONTAINER_OF(env, struct node, env));
}

static const struct cairn_env_ops node_env_ops = { .now_ns = node_now,
                                                   .random = node_random,
                                                   .timers_changed = node_timers_changed };

/* ---- life ---- */

static void node_begin(struct node *x)
{
    int rc = cairn_env_init(&x->env, &node_env_ops);

    CAIRN_ASSERT(rc == 0);
    x->up = true;
    x->wake_ns = 0;
}

struct world *world_new(const struct world_conf *conf)
{
    struct world *w = calloc(1, sizeof(*w));

    if (w == NULL)
        return NULL;
    w->conf = *conf;
    w->random = conf->seed;
    w->now_ns = CAIRN_NS_PER_S; /* 0 is often "never" */
    w->nodes = calloc(conf->nodes, sizeof(*w->nodes));
    if (conf->nodes <= LINKS_NODES_MAX)
        w->newest = calloc((size_t)conf->nodes * conf->nodes, sizeof(*w->newest));
    if (w->nodes == NULL || (conf->nodes <= LINKS_NODES_MAX && w->newest == NULL)) {
        free(w->newest);
        free(w->nodes);
        free(w);
        return NULL;
    }
    for (uint32_t i = 0; i < conf->nodes; i++) {
        struct node *x = &w->nodes[i];

        x->w = w;
        x->index = i;
        x->random = world_random(w);
        x->base_ns = x->since_ns = w->now_ns;
        node_begin(x);
    }
    return w;
}

void world_free(struct world *w)
{
    for (size_t i = 1; i <= w->n; i++)
        free(w->heap[i].packet);
    for (uint32_t i = 0; i < w->conf.nodes; i++) {
        if (w->nodes[i].up)
            cairn_env_fini(&w->nodes[i].env);
    }
    free(w->heap);
    free(w->newest);
    free(w->nodes);
    free(w);
}

struct world_conf *world_conf(struct world *w)
{
    return &w->conf;
}

uint64_t world_now_ns(const struct world *w)
{
    return w->now_ns;
}

const struct world_counts *world_counts(const struct world *w)
{
    return &w->counts;
}

struct cairn_env *world_env(struct world *w, uint32_t i)
{
    return &w->nodes[i].env;
}

/* ---- what happens ---- */

static bool is_apart(const struct world *w, uint32_t from, uint32_t to)
{
    uint32_t a = w->nodes[from].side, b = w->nodes[to].side;

    return a != b && !w->hears[a][b];
}

bool world_is_cut(const struct world *w, uint32_t from, uint32_t to)
{
    if (is_apart(w, from, to))
        return true;
    for (uint32_t i = 0; i < w->ncuts; i++) {
        if (w->cuts[i].from == from && w->cuts[i].to == to)
            return true;
    }
    return false;
}

static void send_once(struct world *w, uint32_t from, uint32_t to, const void *bytes, size_t len)
{
    struct packet *p = malloc(sizeof(*p) + len);
    uint64_t at = w->now_ns + w->conf.latency_ns + up_to(w, w->conf.jitter_ns), slow = up_to(w, w->nodes[to].slow_ns);

    CAIRN_ASSERT(p != NULL);
    at += slow;
    w->counts.slowed += slow > 0;
    if (world_chance(w, w->conf.straggler_ppm)) {
        at += w->conf.straggler_ns;
        w->counts.stragglers++;
    }
    *p = (struct packet){ .order = w->order + 1, .from = from, .to = to, .len = (uint32_t)len };
    memcpy(p->bytes, bytes, len);
    plan(w, (struct event){ .at_ns = at, .order = ++w->order, .packet = p, .node = to });
}

void world_send(struct world *w, uint32_t from, uint32_t to, const void *bytes, size_t len)
{
    w->counts.packets++;
    w->counts.bytes += len;
    if (world_is_cut(w, from, to)) {
        w->counts.lost++;
        w->counts.other_side += is_apart(w, from, to);
        if (world_is_cut(w, to, from))
            w->counts.cut++;
        else
            w->counts.cut_one_way++;
        return;
    }
    if (world_chance(w, w->conf.loss_ppm)) {
        w->counts.lost++;
        w->counts.lost_by_chance++;
        return;
    }
    send_once(w, from, to, bytes, len);
    if (world_chance(w, w->conf.twice_ppm)) {
        w->counts.twice++;
        send_once(w, from, to, bytes, len);
    }
}

void world_trace(struct world *w, const void *bytes, size_t len)
{
    w->counts.trace = XXH3_64bits_withSeed(bytes, len, w->counts.trace);
}

static void note(struct world *w, const struct event *e)
{
    const uint64_t what[3] = { e->at_ns, e->node, e->packet != NULL ? 1 + (uint64_t)e->packet->from : 0 };

    world_trace(w, what, sizeof(what));
    if (e->packet != NULL)
        world_trace(w, e->packet->bytes, e->packet->len);
}

static void note_fault(struct world *w, uint64_t what, uint64_t a, uint64_t b)
{
    const uint64_t all[4] = { w->now_ns, what, a, b };

    world_trace(w, all, sizeof(all));
}

static void count_arrival(struct world *w, const struct packet *p)
{
    uint64_t *newest = w->newest != NULL ? &w->newest[(size_t)p->from * w->conf.nodes + p->to] : NULL;

    if (newest == NULL)
        return;
    w->counts.reordered += p->order < *newest;
    *newest = MAX(*newest, p->order);
}

static void wake(struct node *x)
{
    x->wake_ns = 0;
    for (uint32_t i = 0; i < TIMERS_PER_WAKE; i++) {
        bool ran = cairn_env_run_timers(&x->env, local_ns(x), 1);

        ran |= x->up && cairn_env_run_tasks(&x->env);
        if (!x->up) /* it ended itself */
            return;
        if (!ran)
            break;
    }
    plan_wake(x);
}

bool world_step(struct world *w, uint64_t ns)
{
    struct event e;
    struct node *x;

    if (w->n == 0 || w->heap[1].at_ns > ns)
        return false;
    e = take_first(w);
    w->now_ns = e.at_ns;
    x = &w->nodes[e.node];
    if (x->up && x->stalled_ns > e.at_ns) { /* later: in the same order, but for the timers of who is slow */
        uint64_t at = x->stalled_ns + (e.packet == NULL ? up_to(w, x->slow_ns) : 0);

        if (e.packet == NULL && x->wake_ns == e.at_ns)
            x->wake_ns = at;
        if (e.packet != NULL)
            w->counts.stalled++;
        else
            w->counts.late_wakes++;
        e.at_ns = at;
        plan(w, e);
        return true;
    }
    note(w, &e);
    if (e.packet != NULL) {
        if (x->up) {
            count_arrival(w, e.packet);
            w->conf.deliver(w->conf.arg, e.node, e.packet->from, e.packet->bytes, e.packet->len);
            plan_wake(x);
        } else {
            w->counts.lost++;
            w->counts.to_the_dead++;
        }
        free(e.packet);
    } else if (x->up && x->wake_ns == e.at_ns) {
        wake(x);
    }
    return true;
}

void world_run_until(struct world *w, uint64_t ns)
{
    while (world_step(w, ns))
        ;
    w->now_ns = MAX(w->now_ns, ns);
}

/* ---- faults ---- */

void world_crash(struct world *w, uint32_t i)
{
    CAIRN_ASSERT(w->nodes[i].up);
    note_fault(w, NOTE_CRASH, i, 0);
    w->counts.crashes++;
    cairn_env_fini(&w->nodes[i].env);
    w->nodes[i].up = false;
}

void world_restart(struct world *w, uint32_t i)
{
    CAIRN_ASSERT(!w->nodes[i].up);
    note_fault(w, NOTE_RESTART, i, 0);
    w->nodes[i].stalled_ns = 0;
    node_begin(&w->nodes[i]);
}

bool world_is_up(const struct world *w, uint32_t i)
{
    return w->nodes[i].up;
}

void world_stall(struct world *w, uint32_t i, uint64_t ns)
{
    note_fault(w, NOTE_STALL, i, ns);
    w->nodes[i].stalled_ns = MAX(w->nodes[i].stalled_ns, w->now_ns + ns);
}

void world_slow(struct world *w, uint32_t i, uint64_t ns)
{
    note_fault(w, NOTE_SLOW, i, ns);
    w->nodes[i].slow_ns = ns;
}

void world_clock(struct world *w, uint32_t i, uint64_t ahead_ns, int32_t drift_ppm)
{
    struct node *x = &w->nodes[i];

    note_fault(w, NOTE_CLOCK, i, ahead_ns ^ (uint64_t)(int64_t)drift_ppm << 40);
    w->counts.clocks_set += drift_ppm != 0;
    x->base_ns = local_ns(x) + ahead_ns;
    x->since_ns = w->now_ns;
    x->drift_ppm = drift_ppm;
    plan_wake(x);
}

void world_cut(struct world *w, uint32_t from, uint32_t to)
{
    CAIRN_ASSERT(w->ncuts < WORLD_CUTS_MAX);
    note_fault(w, NOTE_CUT, from, to);
    w->cuts[w->ncuts].from = from;
    w->cuts[w->ncuts++].to = to;
}

void world_side(struct world *w, uint32_t i, uint32_t side)
{
    CAIRN_ASSERT(side < WORLD_SIDES_MAX);
    note_fault(w, NOTE_SIDE, i, side);
    w->nodes[i].side = side;
}

void world_hear(struct world *w, uint32_t from, uint32_t to)
{
    CAIRN_ASSERT(from < WORLD_SIDES_MAX && to < WORLD_SIDES_MAX);
    note_fault(w, NOTE_HEAR, from, to);
    w->hears[from][to] = true;
}

void world_join(struct world *w)
{
    note_fault(w, NOTE_JOIN, 0, 0);
    memset(w->hears, 0, sizeof(w->hears));
    for (uint32_t i = 0; i < w->conf.nodes; i++)
        w->nodes[i].side = 0;
}

void world_heal(struct world *w)
{
    note_fault(w, NOTE_HEAL, 0, 0);
    w->ncuts = 0;
    world_join(w);
}
