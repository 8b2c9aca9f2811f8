/* One core by itself, for tests that take single steps of it. */
#ifndef CAIRN_TESTS_SWIM_FIXTURE_H
#define CAIRN_TESTS_SWIM_FIXTURE_H

#include "providers/group/swim.h"

#include "sdk/core/base/macros.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { ROOM = 600 };

struct fixture {
    struct cairn_swim s;
    struct cairn_swim_dir dir;
    struct cairn_swim_desc descs[ROOM];
    uint32_t table[2048];
    struct cairn_swim_view views[ROOM];
    struct cairn_swim_suspicion suspicions[ROOM];
    uint32_t heap[ROOM];
    struct cairn_env env;
    struct cairn_sm_set machines;
    struct cairn_swim_out out;
    uint64_t now_ms;
};

static inline uint64_t fixture_now(struct cairn_env *env)
{
    return CONTAINER_OF(env, struct fixture, env)->now_ms * CAIRN_NS_PER_MS;
}

static inline void describe(struct cairn_swim_desc *d, const char *name, uint8_t host)
{
    memset(d, 0, sizeof(*d));
    snprintf(d->name, sizeof(d->name), "%s", name);
    d->id = cairn_swim_id(d->name, strlen(d->name));
    d->addr = (struct cairn_swim_addr){ .ip = { 10, 0, 0, host }, .port = 7311, .len = 4 };
}

static inline void begin(struct fixture *f, uint32_t room, const struct cairn_swim_conf *conf)
{
    static const struct cairn_env_ops ops = { .now_ns = fixture_now };
    struct cairn_swim_memory memory = {
        .views = f->views, .suspicions = f->suspicions, .heap = f->heap, .nsuspicions = ROOM
    };
    struct cairn_swim_desc self;

    cairn_env_init(&f->env, &ops);
    cairn_sm_set_init(&f->machines, &f->env);
    cairn_swim_dir_init(&f->dir, f->descs, f->table, room);
    describe(&self, "self", 1);
    f->now_ms = 1000;
    assert_int_equal(cairn_swim_init(&f->s, conf, &f->dir, &memory, &self, 100, 1, &f->machines), 0);
}

static inline int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    assert_non_null(f);
    begin(f, ROOM, &cairn_swim_conf_default);
    *state = f;
    return 0;
}

static inline void end(struct fixture *f)
{
    cairn_swim_fini(&f->s);
    cairn_sm_set_fini(&f->machines);
    cairn_env_fini(&f->env);
}

static inline int teardown(void **state)
{
    end(*state);
    free(*state);
    return 0;
}

static inline void step(struct fixture *f, struct cairn_swim_in *in)
{
    in->now_ms = f->now_ms;
    cairn_swim_step(&f->s, in, &f->out);
}

static inline void run(struct fixture *f, uint64_t ms)
{
    uint64_t until = f->now_ms + ms;

    step(f, &(struct cairn_swim_in){ .type = CAIRN_SWIM_TICK });
    while (f->out.wake_ms <= until) {
        f->now_ms = MAX(f->now_ms, f->out.wake_ms);
        step(f, &(struct cairn_swim_in){ .type = CAIRN_SWIM_TICK });
    }
    f->now_ms = until;
}

/* A packet of @from with one update. */
static inline void hear(struct fixture *f, uint8_t kind, uint8_t flags, const struct cairn_swim_desc *from,
                        const struct cairn_swim_update *u, uint64_t about)
{
    struct cairn_swim_msg m = { .kind = kind, .flags = flags, .seq = 1, .about = about };
    uint8_t bytes[CAIRN_SWIM_PACKET_BYTES_MAX];
    struct cairn_le_writer w;

    cairn_swim_write_head(&w, bytes, &m);
    if (u != NULL)
        assert_true(cairn_swim_write_update(&w, u));
    step(f, &(struct cairn_swim_in){ .type = CAIRN_SWIM_PACKET,
                                     .from = from->id,
                                     .addr = from->addr,
                                     .bytes = bytes,
                                     .len = (size_t)(w.at - bytes) });
}

/* The next packet to where @d is of those that the last step sent, from the @i-th on; false: there is no other. */
static inline bool next_to(const struct fixture *f, const struct cairn_swim_desc *d, uint32_t *i,
                           struct cairn_swim_msg *m)
{
    while (*i < f->out.nsends) {
        const struct cairn_swim_send *x = &f->out.sends[(*i)++];

        if (!cairn_swim_addr_equal(&x->to, &d->addr))
            continue;
        assert_true(cairn_swim_decode(x->bytes, x->len, m));
        return true;
    }
    return false;
}

static inline void alive(const struct cairn_swim_desc *d, uint64_t incarnation, struct cairn_swim_update *u)
{
    memset(u, 0, sizeof(*u));
    cairn_swim_desc_to_update(d, u);
    u->incarnation = incarnation;
}

/* A member that is alive, in incarnation 10, and has said so. */
static inline void meet(struct fixture *f, struct cairn_swim_desc *d, const char *name, uint8_t host)
{
    struct cairn_swim_update u;

    describe(d, name, host);
    alive(d, 10, &u);
    hear(f, CAIRN_SWIM_GOSSIP, 0, d, &u, 0);
}

static inline uint8_t state_of(const struct fixture *f, const struct cairn_swim_desc *d)
{
    uint32_t slot = cairn_swim_dir_find(&f->dir, d->id);

    return slot != CAIRN_SWIM_NO_SLOT ? f->views[slot].state : CAIRN_SWIM_NONE;
}

static inline bool has_event(const struct fixture *f, enum cairn_swim_event_type type)
{
    for (uint32_t i = 0; i < f->out.nevents; i++) {
        if (f->out.events[i].type == type)
            return true;
    }
    return false;
}

#define test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

#endif
