/* One look at all workers.
 *
 *   ASKED ---> COMPLETE
 *   ASKED ---> OVERDUE ---> COMPLETE
 *
 * ASKED     every worker has its part of the work posted; the answer waits for the last one, or for the timer.
 * OVERDUE   the answer is given without the parts that are missing; their memory waits for them, since a worker that is
 *           stuck in a callback may still come to them.
 * COMPLETE  every part is back and the answer is given.
 *
 * A node that stops has all parts back before its loops end, although an overdue look keeps no request alive: a
 * worker drains after it has come to its part, and no loop is told to end before all have drained. */
#include "server/node/introspect.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#define TO CAIRN_SM_TO

struct move {
    struct cairn_sm_trace t;
    uint32_t worker, place; /* @place: its order among the worker's own, which qsort() would not keep */
};

struct part {
    struct introspection *whole;
    struct cairn_loop *loop;
    struct cairn_task task; /* to the worker, then back */
    bool back;
    uint32_t nrows, nmoves;
    struct cairn_sm_census rows[CAIRN_SM_KINDS_MAX];
    struct cairn_sm_trace *moves; /* room for @trace_share */
};

struct introspection {
    struct cairn_sm sm;
    struct cairn_loop *from;
    struct cairn_timer timer;
    void (*done)(void *arg, char *text);
    void *arg;
    uint32_t missing, trace_share;
    bool answered;
    uint32_t nparts;
    struct part parts[];
};

enum { LOOK_ASKED, LOOK_OVERDUE, LOOK_COMPLETE, LOOK_NR };
static const struct cairn_sm_state look_states[LOOK_NR] = {
    [LOOK_ASKED] = { "ASKED", CAIRN_SM_INITIAL, TO(LOOK_OVERDUE) | TO(LOOK_COMPLETE) },
    [LOOK_OVERDUE] = { "OVERDUE", 0, TO(LOOK_COMPLETE) },
    [LOOK_COMPLETE] = { "COMPLETE", CAIRN_SM_FINAL, 0 },
};

static bool look_invariant(const struct cairn_sm *sm)
{
    const struct introspection *look = CONTAINER_OF(sm, const struct introspection, sm);

    return CAIRN_HOLDS((look->missing == 0) == (sm->state == LOOK_COMPLETE)) &&
           CAIRN_HOLDS(look->answered == (sm->state != LOOK_ASKED)) &&
           CAIRN_HOLDS(cairn_timer_is_running(&look->timer) == (sm->state == LOOK_ASKED));
}

const struct cairn_sm_kind cairn_introspect_kind = { "introspect", look_states, LOOK_NR, look_invariant, 60000 };

/* ---- kinds ---- */

void cairn_kinds_add(struct cairn_kinds *k, const struct cairn_sm_kind *const *list)
{
    for (; list != NULL && *list != NULL; list++) {
        uint32_t i = 0;

        while (i < k->n && k->kinds[i] != *list)
            i++;
        if (i == k->n) {
            CAIRN_ASSERT(k->n < CAIRN_KINDS_MAX);
            k->kinds[k->n++] = *list;
        }
    }
}

const struct cairn_sm_kind *cairn_kinds_find(const struct cairn_kinds *k, const char *name)
{
    for (uint32_t i = 0; i < k->n; i++) {
        if (strcmp(k->kinds[i]->name, name) == 0)
            return k->kinds[i];
    }
    return NULL;
}

int cairn_kinds_check(const struct cairn_kinds *k, struct cairn_err *err)
{
    for (uint32_t i = 0; i < k->n; i++) {
        int rc = cairn_sm_kind_check(k->kinds[i], err);

        if (rc != 0)
            return rc;
        if (cairn_kinds_find(k, k->kinds[i]->name) != k->kinds[i])
            return cairn_err_set(err, CAIRN_E_INTERNAL, "two kinds of state machines are called %s", k->kinds[i]->name);
    }
    return 0;
}

char *cairn_kinds_dot(const struct cairn_kinds *k, const char *name, int *rc)
{
    const struct cairn_sm_kind *kind = cairn_kinds_find(k, name);
    char *text = NULL;
    size_t len = 0;
    FILE *f;

    *rc = CAIRN_E_NOTFOUND;
    if (kind == NULL)
        return NULL;
    *rc = CAIRN_E_NOMEM;
    f = open_memstream(&text, &len);
    if (f == NULL)
        return NULL;
    cairn_sm_kind_dot(kind, f);
    if (fclose(f) != 0) {
        free(text);
        return NULL;
    }
    *rc = 0;
    return text;
}

/* ---- the answer ---- */

static void merge_row(struct cairn_sm_census *rows, uint32_t *n, const struct cairn_sm_census *row)
{
    uint32_t i = 0;

    while (i < *n && rows[i].kind != row->kind)
        i++;
    if (i == *n) {
        if (*n == CAIRN_KINDS_MAX)
            return;
        memset(&rows[i], 0, sizeof(rows[i]));
        rows[(*n)++].kind = row->kind;
    }
    for (uint32_t s = 0; s < row->kind->nstates; s++) {
        rows[i].count[s] += row->count[s];
        rows[i].oldest_ns[s] = MAX(rows[i].oldest_ns[s], row->oldest_ns[s]);
    }
    rows[i].stuck += row->stuck;
}

static int compare_rows(const void *a, const void *b)
{
    const struct cairn_sm_census *x = a, *y = b;

    return strcmp(x->kind->name, y->kind->name);
}

static json_t *row_json(const struct cairn_sm_census *row)
{
    json_t *states = json_array();
    json_int_t live = 0;

    for (uint32_t s = 0; s < row->kind->nstates; s++) {
        if (row->count[s] == 0)
            continue;
        live += row->count[s];
        json_array_append_new(states, json_pack("{s:s, s:I, s:I}", "name", row->kind->states[s].name, "count",
                                                (json_int_t)row->count[s], "oldest_ms",
                                                (json_int_t)(row->oldest_ns[s] / CAIRN_NS_PER_MS)));
    }
    return json_pack("{s:s, s:I, s:I, s:o}", "kind", row->kind->name, "live", live, "stuck", (json_int_t)row->stuck,
                     "states", states);
}

static json_t *kinds_json(const struct introspection *look)
{
    struct cairn_sm_census *rows = calloc(CAIRN_KINDS_MAX, sizeof(*rows));
    json_t *kinds = json_array();
    uint32_t n = 0;

    if (rows == NULL) {
        json_decref(kinds);
        return NULL;
    }
    for (uint32_t i = 0; i < look->nparts; i++) {
        for (uint32_t j = 0; look->parts[i].back && j < look->parts[i].nrows; j++)
            merge_row(rows, &n, &look->parts[i].rows[j]);
    }
    qsort(rows, n, sizeof(*rows), compare_rows);
    for (uint32_t i = 0; i < n; i++)
        json_array_append_new(kinds, row_json(&rows[i]));
    free(rows);
    return kinds;
}

static int compare_moves(const void *a, const void *b)
{
    const struct move *x = a, *y = b;

    if (x->t.ns != y->t.ns)
        return x->t.ns < y->t.ns ? -1 : 1;
    if (x->worker != y->worker)
        return x->worker < y->worker ? -1 : 1;
    return x->place < y->place ? -1 : x->place > y->place;
}

static json_t *move_json(const struct move *m)
{
    const struct cairn_sm_state *states = m->t.kind->states;
    char line[256];
    int n =
        snprintf(line, sizeof(line), "[%6" PRIu64 "] w%" PRIu32 " %s#%" PRIu32 " %s -> %s", m->t.ns / CAIRN_NS_PER_MS,
                 m->worker, m->t.kind->name, m->t.id, states[m->t.from].name, states[m->t.to].name);

    if (m->t.rc != 0 && n > 0 && (size_t)n < sizeof(line))
        snprintf(line + n, sizeof(line) - (size_t)n, " rc=%" PRId32, m->t.rc);
    return json_string(line);
}

static json_t *trace_json(const struct introspection *look)
{
    struct move *all = calloc((size_t)look->trace_share * look->nparts + 1, sizeof(*all));
    json_t *trace = json_array();
    uint32_t n = 0;

    if (all == NULL) {
        json_decref(trace);
        return NULL;
    }
    for (uint32_t i = 0; i < look->nparts; i++) {
        const struct part *p = &look->parts[i];

        for (uint32_t j = 0; p->back && j < p->nmoves; j++)
            all[n++] = (struct move){ .t = p->moves[j], .worker = i, .place = j };
    }
    qsort(all, n, sizeof(*all), compare_moves);
    for (uint32_t i = 0; i < n; i++)
        json_array_append_new(trace, move_json(&all[i]));
    free(all);
    return trace;
}

static char *answer_text(const struct introspection *look)
{
    json_t *doc = json_pack("{s:i, s:o}", "version", 1, "kinds", kinds_json(look));
    char *text;

    if (doc != NULL && look->missing > 0) {
        json_t *missing = json_array();

        for (uint32_t i = 0; i < look->nparts; i++) {
            if (!look->parts[i].back)
                json_array_append_new(missing, json_integer(i));
        }
        json_object_set_new(doc, "missing", missing);
    }
    if (doc != NULL && look->trace_share > 0)
        json_object_set_new(doc, "trace", trace_json(look));
    text = doc != NULL ? json_dumps(doc, JSON_COMPACT) : NULL;
    json_decref(doc);
    return text;
}

/* ---- the work ---- */

static void look_free(struct introspection *look)
{
    for (uint32_t i = 0; i < look->nparts; i++)
        free(look->parts[i].moves);
    free(look);
}

static void look_answer(struct introspection *look, uint32_t state)
{
    char *text = answer_text(look);

    cairn_timer_stop(&look->from->env, &look->timer);
    look->answered = true;
    cairn_sm_move(&look->sm, state);
    look->done(look->arg, text);
}

static void on_part_back(void *arg)
{
    struct part *p = arg;
    struct introspection *look = p->whole;

    p->back = true;
    if (--look->missing > 0)
        return;
    if (look->sm.state == LOOK_ASKED)
        look_answer(look, LOOK_COMPLETE);
    else
        cairn_sm_move(&look->sm, LOOK_COMPLETE);
    cairn_sm_fini(&look->sm);
    look_free(look);
}

static void on_overdue(void *arg)
{
    look_answer(arg, LOOK_OVERDUE);
}

/* On the worker's own thread: the only one that may look at its machines. */
static void on_part(void *arg)
{
    struct part *p = arg;
    struct cairn_sm_set *set = &p->loop->machines;
    uint64_t share = p->whole->trace_share;
    uint64_t n = MIN(MIN(set->moves, (uint64_t)CAIRN_SM_RING), share);

    p->nrows = cairn_sm_set_census(set, p->rows, CAIRN_SM_KINDS_MAX);
    for (uint64_t i = set->moves - n; i < set->moves; i++)
        p->moves[p->nmoves++] = set->ring[i % CAIRN_SM_RING];
    cairn_task_init(&p->task, on_part_back, p);
    cairn_loop_post(p->whole->from, &p->task);
}

int cairn_introspect(struct cairn_loop *const *loops, uint32_t nloops, struct cairn_loop *from, bool trace,
                     void (*done)(void *arg, char *text), void *arg)
{
    struct introspection *look = calloc(1, sizeof(*look) + nloops * sizeof(look->parts[0]));

    if (look == NULL)
        return CAIRN_E_NOMEM;
    look->from = from;
    look->done = done;
    look->arg = arg;
    look->nparts = look->missing = nloops;
    look->trace_share = trace ? MIN((uint32_t)CAIRN_SM_RING, CAIRN_INTROSPECT_TRACE_MAX / nloops) : 0;
    for (uint32_t i = 0; i < nloops; i++) {
        struct part *p = &look->parts[i];

        p->whole = look;
        p->loop = loops[i];
        cairn_task_init(&p->task, on_part, p);
        p->moves = calloc(look->trace_share + 1, sizeof(*p->moves));
        if (p->moves == NULL)
            goto free_look;
    }
    cairn_timer_init(&look->timer, on_overdue, look);
    if (cairn_timer_start(&from->env, &look->timer,
                          cairn_env_now_ns(&from->env) + CAIRN_INTROSPECT_WAIT_MS * CAIRN_NS_PER_MS) != 0)
        goto free_look;
    cairn_sm_init(&look->sm, &cairn_introspect_kind, &from->machines);
    for (uint32_t i = 0; i < nloops; i++)
        cairn_loop_post(loops[i], &look->parts[i].task);
    return 0;
free_look:
    look_free(look);
    return CAIRN_E_NOMEM;
}
