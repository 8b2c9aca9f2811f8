/* State-machine engine: see sm.h. */
#include "sdk/core/sm/sm.h"

#include "sdk/core/base/log.h"

#include <inttypes.h>
#include <string.h>

static _Thread_local const char *broken_condition;

bool cairn_sm_holds(bool condition, const char *text)
{
    if (UNLIKELY(!condition))
        broken_condition = text;
    return condition;
}

void cairn_sm_set_init(struct cairn_sm_set *set, struct cairn_env *env)
{
    memset(set, 0, sizeof(*set));
    set->env = env;
    set->next_id = 1;
    cairn_list_init(&set->live);
    cairn_sm_tick(set);
}

void cairn_sm_set_fini(struct cairn_sm_set *set)
{
    CAIRN_ASSERT(cairn_list_is_empty(&set->live));
    CAIRN_ASSERT(set->nlive == 0);
}

void cairn_sm_tick(struct cairn_sm_set *set)
{
    set->now_ns = cairn_env_now_ns(set->env);
}

static void sm_trace(struct cairn_sm *sm, uint32_t from)
{
    struct cairn_sm_set *set = sm->set;
    struct cairn_sm_trace *t = &set->ring[set->moves++ % CAIRN_SM_RING];

    t->ns = set->now_ns;
    t->kind = sm->kind;
    t->id = sm->id;
    t->rc = sm->rc;
    t->from = (uint8_t)from;
    t->to = sm->state;
}

static void sm_check(const struct cairn_sm *sm, const char *doing)
{
    broken_condition = NULL;
    if (LIKELY(sm->kind->invariant(sm)))
        return;
    cairn_log_error("%s#%" PRIu32 " %s in %s: does not hold: %s", sm->kind->name, sm->id, doing,
                    cairn_sm_state_name(sm), broken_condition != NULL ? broken_condition : "?");
    cairn_assert_failed("state machine invariant", sm->kind->name, sm->state);
}

static uint32_t sm_initial(const struct cairn_sm_kind *kind)
{
    uint32_t i = 0;

    while ((kind->states[i].flags & CAIRN_SM_INITIAL) == 0) {
        i++;
        CAIRN_ASSERT(i < kind->nstates);
    }
    return i;
}

void cairn_sm_init(struct cairn_sm *sm, const struct cairn_sm_kind *kind, struct cairn_sm_set *set)
{
    sm->kind = kind;
    sm->set = set;
    sm->rc = 0;
    sm->parent = 0;
    sm->state = (uint8_t)sm_initial(kind);
    sm->since_ns = set->now_ns;
    sm->id = set->next_id++;
    if (UNLIKELY(set->next_id == 0))
        set->next_id = 1;
    cairn_list_add_tail(&set->live, &sm->link);
    set->nlive++;
}

void cairn_sm_fini(struct cairn_sm *sm)
{
    CAIRN_ASSERT(cairn_sm_is_final(sm));
    CAIRN_ASSERT(sm->set->nlive > 0);
    sm->set->nlive--;
    cairn_list_del(&sm->link);
}

bool cairn_sm_is_final(const struct cairn_sm *sm)
{
    return (sm->kind->states[sm->state].flags & CAIRN_SM_FINAL) != 0;
}

static void sm_go(struct cairn_sm *sm, uint32_t state)
{
    const struct cairn_sm_kind *kind = sm->kind;
    uint32_t from = sm->state;

    if (UNLIKELY(state >= kind->nstates || (kind->states[from].next & CAIRN_SM_TO(state)) == 0)) {
        cairn_log_error("%s#%" PRIu32 ": no move from %s to %s", kind->name, sm->id, kind->states[from].name,
                        state < kind->nstates ? kind->states[state].name : "?");
        cairn_assert_failed("state machine move", kind->name, (int)state);
    }
    sm->state = (uint8_t)state;
    sm->since_ns = sm->set->now_ns;
    sm_trace(sm, from);
    sm_check(sm, "after the move");
}

void cairn_sm_move(struct cairn_sm *sm, uint32_t state)
{
    sm_go(sm, state);
}

void cairn_sm_fail(struct cairn_sm *sm, uint32_t state, int rc)
{
    CAIRN_ASSERT(rc < 0);
    CAIRN_ASSERT((sm->kind->states[state].flags & CAIRN_SM_FAILURE) != 0);
    sm->rc = rc;
    sm_go(sm, state);
}

void cairn_sm_move_or_fail(struct cairn_sm *sm, uint32_t good, uint32_t bad, int rc)
{
    if (rc == 0)
        cairn_sm_move(sm, good);
    else
        cairn_sm_fail(sm, bad, rc);
}

static uint32_t kind_reachable(const struct cairn_sm_kind *kind, uint32_t from)
{
    uint32_t seen = CAIRN_SM_TO(from), before = 0;

    while (seen != before) {
        before = seen;
        for (uint32_t i = 0; i < kind->nstates; i++) {
            if ((before & CAIRN_SM_TO(i)) != 0)
                seen |= kind->states[i].next;
        }
    }
    return seen;
}

static int kind_check_state(const struct cairn_sm_kind *kind, uint32_t i, struct cairn_err *err)
{
    const struct cairn_sm_state *s = &kind->states[i];
    bool final = (s->flags & CAIRN_SM_FINAL) != 0;

    if (s->name == NULL || s->name[0] == '\0')
        return cairn_err_set(err, CAIRN_E_INTERNAL, "%s: state %" PRIu32 " has no name", kind->name, i);
    for (uint32_t j = 0; j < i; j++) {
        if (strcmp(s->name, kind->states[j].name) == 0)
            return cairn_err_set(err, CAIRN_E_INTERNAL, "%s: two states are called %s", kind->name, s->name);
    }
    if (kind->nstates < 32 && (s->next >> kind->nstates) != 0)
        return cairn_err_set(err, CAIRN_E_INTERNAL, "%s: %s may move to a state that is not there", kind->name,
                             s->name);
    if (final != (s->next == 0))
        return cairn_err_set(err, CAIRN_E_INTERNAL, "%s: %s %s", kind->name, s->name,
                             final ? "is final and has moves" : "is not final and has no move");
    if ((s->flags & CAIRN_SM_FAILURE) != 0 && !final)
        return cairn_err_set(err, CAIRN_E_INTERNAL, "%s: failure state %s is not final", kind->name, s->name);
    return 0;
}

int cairn_sm_kind_check(const struct cairn_sm_kind *kind, struct cairn_err *err)
{
    uint32_t initial = UINT32_MAX, reachable;

    if (kind->nstates == 0 || kind->nstates > CAIRN_SM_STATES_MAX || kind->invariant == NULL)
        return cairn_err_set(err, CAIRN_E_INTERNAL, "%s: no states, too many states or no invariant", kind->name);
    for (uint32_t i = 0; i < kind->nstates; i++) {
        int rc = kind_check_state(kind, i, err);

        if (rc != 0)
            return rc;
        if ((kind->states[i].flags & CAIRN_SM_INITIAL) != 0) {
            if (initial != UINT32_MAX)
                return cairn_err_set(err, CAIRN_E_INTERNAL, "%s: two initial states", kind->name);
            initial = i;
        }
    }
    if (initial == UINT32_MAX)
        return cairn_err_set(err, CAIRN_E_INTERNAL, "%s: no initial state", kind->name);
    reachable = kind_reachable(kind, initial);
    for (uint32_t i = 0; i < kind->nstates; i++) {
        if ((reachable & CAIRN_SM_TO(i)) == 0)
            return cairn_err_set(err, CAIRN_E_INTERNAL, "%s: %s cannot be reached", kind->name, kind->states[i].name);
    }
    return 0;
}

void cairn_sm_kind_dot(const struct cairn_sm_kind *kind, FILE *to)
{
    fprintf(to, "digraph \"%s\" {\n    rankdir=LR;\n", kind->name);
    for (uint32_t i = 0; i < kind->nstates; i++) {
        const struct cairn_sm_state *s = &kind->states[i];

        fprintf(to, "    \"%s\" [shape=%s%s%s];\n", s->name,
                (s->flags & CAIRN_SM_FINAL) != 0 ? "doublecircle" : "ellipse",
                (s->flags & CAIRN_SM_INITIAL) != 0 ? ",style=bold" : "",
                (s->flags & CAIRN_SM_FAILURE) != 0 ? ",color=red" : "");
        for (uint32_t j = 0; j < kind->nstates; j++) {
            if ((s->next & CAIRN_SM_TO(j)) != 0)
                fprintf(to, "    \"%s\" -> \"%s\";\n", s->name, kind->states[j].name);
        }
    }
    fputs("}\n", to);
}

void cairn_sm_kind_text(const struct cairn_sm_kind *kind, FILE *to)
{
    for (uint32_t i = 0; i < kind->nstates; i++) {
        fprintf(to, "%s:", kind->states[i].name);
        for (uint32_t j = 0; j < kind->nstates; j++) {
            if ((kind->states[i].next & CAIRN_SM_TO(j)) != 0)
                fprintf(to, " %s", kind->states[j].name);
        }
        fputc('\n', to);
    }
}

void cairn_sm_set_dump(const struct cairn_sm_set *set, int fd)
{
    uint64_t n = MIN(set->moves, (uint64_t)CAIRN_SM_RING);

    for (uint64_t i = set->moves - n; i < set->moves; i++) {
        const struct cairn_sm_trace *t = &set->ring[i % CAIRN_SM_RING];

        dprintf(fd, "[%6" PRIu64 "] %s#%" PRIu32 " %s -> %s", t->ns / CAIRN_NS_PER_MS, t->kind->name, t->id,
                t->kind->states[t->from].name, t->kind->states[t->to].name);
        if (t->rc != 0)
            dprintf(fd, " rc=%" PRId32, t->rc);
        dprintf(fd, "\n");
    }
}

uint32_t cairn_sm_set_census(struct cairn_sm_set *set, struct cairn_sm_census *rows, uint32_t max)
{
    uint32_t n = 0;
    uint64_t now = cairn_env_now_ns(set->env);

    CAIRN_LIST_FOREACH (l, &set->live) {
        const struct cairn_sm *sm = CONTAINER_OF(l, const struct cairn_sm, link);
        uint64_t age = now - MIN(now, sm->since_ns);
        uint32_t i = 0;

        while (i < n && rows[i].kind != sm->kind)
            i++;
        if (i == n) {
            if (n == max)
                continue;
            memset(&rows[n], 0, sizeof(rows[n]));
            rows[n++].kind = sm->kind;
        }
        rows[i].count[sm->state]++;
        rows[i].oldest_ns[sm->state] = MAX(rows[i].oldest_ns[sm->state], age);
        if ((sm->kind->states[sm->state].flags & CAIRN_SM_RESTING) == 0 && sm->kind->stuck_ms != 0 &&
            age > sm->kind->stuck_ms * CAIRN_NS_PER_MS)
            rows[i].stuck++;
    }
    return n;
}
