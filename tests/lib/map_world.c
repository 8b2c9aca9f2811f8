/* Map stores for tests: see map_world.h. */
#include "tests/lib/map_world.h"

#include "tests/lib/scratch.h"
#include "tests/lib/sim_map.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { TURN_NS = 50000000, LISTED_BYTES = 1 << 14 };

/* ---- local ---- */

struct local_world {
    struct map_world w;
    struct cairn_loop loop;
    struct cairn_pool *pool;
    char dir[SCRATCH_MAX];
};

static struct map_world *local_open(void)
{
    struct local_world *l = calloc(1, sizeof(*l));
    struct cairn_err err = { 0 };

    assert_non_null(l);
    assert_int_equal(cairn_loop_init(&l->loop, NULL, NULL), 0);
    l->pool = cairn_pool_new(2, 1024, NULL);
    assert_non_null(l->pool);
    scratch_new(l->dir);
    l->w = (struct map_world){ .kind = &map_world_local, .loop = &l->loop };
    if (cairn_map_store_local_open(l->dir, l->pool, &l->loop, &l->w.store, &err) != 0)
        fail_msg("%s", err.text);
    return &l->w;
}

static void local_close(struct map_world *w)
{
    struct local_world *l = CONTAINER_OF(w, struct local_world, w);

    cairn_map_store_close(w->store);
    cairn_pool_free(l->pool);
    cairn_loop_fini(&l->loop);
    scratch_remove(l->dir);
    free(l);
}

static void loop_turn(struct map_world *w)
{
    cairn_loop_turn(w->loop, TURN_NS);
}

const struct map_world_kind map_world_local = {
    .name = "local", .open = local_open, .close = local_close, .turn = loop_turn
};

struct map_world map_world_on(struct cairn_loop *loop)
{
    static const struct map_world_kind kind = { .name = "on a loop", .turn = loop_turn };

    return (struct map_world){ .kind = &kind, .loop = loop };
}

/* ---- simulated ---- */

struct sim_world {
    struct map_world w;
    struct vtime v;
    struct sim_map *map;
    struct cairn_map_store *other;
};

static struct map_world *sim_open(void)
{
    struct sim_world *s = calloc(1, sizeof(*s));

    assert_non_null(s);
    vtime_init(&s->v, 7);
    s->map = sim_map_new(&s->v);
    s->w = (struct map_world){ .kind = &map_world_sim, .store = sim_map_open(s->map) };
    return &s->w;
}

static void sim_close(struct map_world *w)
{
    struct sim_world *s = CONTAINER_OF(w, struct sim_world, w);

    cairn_map_store_close(w->store);
    if (s->other != NULL)
        cairn_map_store_close(s->other);
    sim_map_free(s->map);
    vtime_fini(&s->v);
    free(s);
}

static void sim_turn(struct map_world *w)
{
    struct sim_world *s = CONTAINER_OF(w, struct sim_world, w);

    vtime_turn(&s->v, s->v.now_ns + TURN_NS);
}

static struct cairn_map_store *sim_other(struct map_world *w)
{
    struct sim_world *s = CONTAINER_OF(w, struct sim_world, w);

    if (s->other == NULL)
        s->other = sim_map_open(s->map);
    return s->other;
}

static void sim_reach(struct map_world *w, bool reachable)
{
    sim_map_refuse(w->store, !reachable);
}

static void sim_mute(struct map_world *w, bool mute)
{
    sim_map_lose(w->store, 0, mute ? 1 : 0);
}

static void sim_compact(struct map_world *w)
{
    sim_map_compact(CONTAINER_OF(w, struct sim_world, w)->map);
}

const struct map_world_kind map_world_sim = {
    .name = "sim",
    .open = sim_open,
    .close = sim_close,
    .turn = sim_turn,
    .other = sim_other,
    .reach = sim_reach,
    .mute = sim_mute,
    .compact = sim_compact,
};

/* ---- asking ---- */

void map_world_until(struct map_world *w, bool (*done)(void *arg), void *arg)
{
    uint64_t end = map_world_now(w) + 30 * CAIRN_NS_PER_S;

    while (!done(arg)) {
        w->kind->turn(w);
        if (map_world_now(w) > end)
            fail_msg("%s: waited too long", w->kind->name);
    }
}

void map_world_pass_ms(struct map_world *w, uint64_t ms)
{
    uint64_t end = map_world_now(w) + ms * CAIRN_NS_PER_MS;

    while (map_world_now(w) < end)
        w->kind->turn(w);
}

static void on_done(struct cairn_map_op *op)
{
    *(bool *)op->arg = true;
}

static bool is_true(void *arg)
{
    return *(bool *)arg;
}

#define ASK(w, request, call)                                                                                          \
    do {                                                                                                               \
        bool done = false;                                                                                             \
        (request)->op.done = on_done;                                                                                  \
        (request)->op.arg = &done;                                                                                     \
        call;                                                                                                          \
        assert_false(done); /* never inside the call */                                                                \
        map_world_until(w, is_true, &done);                                                                            \
    } while (0)

int map_world_change(struct map_world *w, struct cairn_map_store *s, struct cairn_map_change *c)
{
    ASK(w, c, cairn_map_store_change(s, w->loop, c));
    assert_true((c->op.rc == 0) == (c->op.revision != 0));
    assert_true((c->op.rc == 0) == (c->op.err.text[0] == '\0'));
    return c->op.rc;
}

int map_world_read(struct map_world *w, struct cairn_map_store *s, struct cairn_map_read *r)
{
    ASK(w, r, cairn_map_store_read(s, r));
    return r->op.rc;
}

int map_world_lease(struct map_world *w, struct cairn_map_store *s, struct cairn_map_lease_op *l)
{
    ASK(w, l, cairn_map_store_lease(s, l));
    return l->op.rc;
}

int map_world_put(struct map_world *w, const char *key, const char *value, uint64_t from, uint64_t *revision)
{
    struct cairn_map_write write = { .key = key, .value = (const uint8_t *)value, .from = from };
    struct cairn_map_change c = { .writes = &write, .nwrites = 1 };

    write.value_len = value != NULL ? (uint32_t)strlen(value) : 0;
    map_world_change(w, w->store, &c);
    if (revision != NULL)
        *revision = c.op.revision;
    return c.op.rc;
}

static char listed[LISTED_BYTES];

static void on_entry(const struct cairn_map_entry *e, void *arg)
{
    size_t n = strlen(listed);

    (void)arg;
    snprintf(listed + n, sizeof(listed) - n, "%s=%.*s ", e->key, (int)e->value_len, (const char *)e->value);
}

const char *map_world_listed(struct map_world *w, struct cairn_map_store *s, const char *prefix)
{
    (void)w;
    listed[0] = '\0';
    cairn_map_store_each(s, prefix, on_entry, NULL);
    return listed;
}

const char *map_world_listed_truly(struct map_world *w, struct cairn_map_store *s, const char *prefix)
{
    struct cairn_map_read r = { .prefix = prefix };

    assert_int_equal(map_world_read(w, s, &r), 0);
    listed[0] = '\0';
    cairn_map_table_each(&r.table, prefix, on_entry, NULL);
    cairn_map_table_fini(&r.table);
    return listed;
}
