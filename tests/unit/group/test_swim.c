/* Single steps of one core: who is let in, who is contradicted, what is remembered, what a step costs. */
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

static uint64_t fixture_now(struct cairn_env *env)
{
    return CONTAINER_OF(env, struct fixture, env)->now_ms * CAIRN_NS_PER_MS;
}

static void describe(struct cairn_swim_desc *d, const char *name, uint8_t host)
{
    memset(d, 0, sizeof(*d));
    snprintf(d->name, sizeof(d->name), "%s", name);
    d->id = cairn_swim_id(d->name, strlen(d->name));
    d->addr = (struct cairn_swim_addr){ .ip = { 10, 0, 0, host }, .port = 7311, .len = 4 };
}

static void begin(struct fixture *f, uint32_t room, const struct cairn_swim_conf *conf)
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

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    assert_non_null(f);
    begin(f, ROOM, &cairn_swim_conf_default);
    *state = f;
    return 0;
}

static void end(struct fixture *f)
{
    cairn_swim_fini(&f->s);
    cairn_sm_set_fini(&f->machines);
    cairn_env_fini(&f->env);
}

static int teardown(void **state)
{
    end(*state);
    free(*state);
    return 0;
}

static void step(struct fixture *f, struct cairn_swim_in *in)
{
    in->now_ms = f->now_ms;
    cairn_swim_step(&f->s, in, &f->out);
}

static void run(struct fixture *f, uint64_t ms)
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
static void hear(struct fixture *f, uint8_t kind, uint8_t flags, const struct cairn_swim_desc *from,
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

static void alive(const struct cairn_swim_desc *d, uint64_t incarnation, struct cairn_swim_update *u)
{
    memset(u, 0, sizeof(*u));
    cairn_swim_desc_to_update(d, u);
    u->incarnation = incarnation;
}

/* The kind and flags of the first packet of the last step to where @d is; 0: none. */
static uint32_t said_to(struct fixture *f, const struct cairn_swim_desc *d, uint8_t *flags)
{
    for (uint32_t i = 0; i < f->out.nsends; i++) {
        if (cairn_swim_addr_equal(&f->out.sends[i].to, &d->addr)) {
            *flags = f->out.sends[i].bytes[1];
            return f->out.sends[i].bytes[0];
        }
    }
    return 0;
}

static bool has_event(const struct fixture *f, enum cairn_swim_event_type type)
{
    for (uint32_t i = 0; i < f->out.nevents; i++) {
        if (f->out.events[i].type == type)
            return true;
    }
    return false;
}

static uint8_t state_of(const struct fixture *f, const struct cairn_swim_desc *d)
{
    uint32_t slot = cairn_swim_dir_find(&f->dir, d->id);

    return slot != CAIRN_SWIM_NO_SLOT ? f->views[slot].state : CAIRN_SWIM_NONE;
}

static void a_name_belongs_to_its_living_holder(void **state)
{
    struct fixture *f = *state;
    struct cairn_swim_desc first, second;
    struct cairn_swim_update u;
    uint8_t flags;

    describe(&first, "a", 2);
    describe(&second, "a", 3);
    alive(&first, 10, &u);
    hear(f, CAIRN_SWIM_SYNC, CAIRN_SWIM_F_JOIN, &first, &u, 1);
    assert_int_equal(said_to(f, &first, &flags), CAIRN_SWIM_PAGE);
    assert_true(has_event(f, CAIRN_SWIM_EV_JOINED));
    alive(&second, 20, &u);
    hear(f, CAIRN_SWIM_SYNC, CAIRN_SWIM_F_JOIN, &second, &u, 1);
    assert_int_equal(said_to(f, &second, &flags), CAIRN_SWIM_REFUSE);
    assert_int_equal(flags, CAIRN_SWIM_F_TAKEN);
    run(f, 10000); /* nobody answers: the first one is dead */
    assert_int_equal(state_of(f, &first), CAIRN_SWIM_DEAD);
    hear(f, CAIRN_SWIM_SYNC, CAIRN_SWIM_F_JOIN, &second, &u, 1);
    assert_int_equal(said_to(f, &second, &flags), CAIRN_SWIM_PAGE);
    assert_int_equal(state_of(f, &second), CAIRN_SWIM_ALIVE);
}

static void a_twin_is_refused_and_oneself_is_recognised(void **state)
{
    struct fixture *f = *state;
    struct cairn_swim_desc twin, me;
    struct cairn_swim_update u;
    uint8_t flags;

    describe(&me, "self", 1);
    describe(&twin, "self", 9);
    alive(&twin, 5, &u);
    hear(f, CAIRN_SWIM_SYNC, CAIRN_SWIM_F_JOIN, &twin, &u, 1);
    assert_int_equal(said_to(f, &twin, &flags), CAIRN_SWIM_REFUSE);
    assert_int_equal(flags, CAIRN_SWIM_F_TAKEN);
    hear(f, CAIRN_SWIM_SYNC, CAIRN_SWIM_F_JOIN, &me, &u, f->s.instance);
    assert_int_equal(said_to(f, &me, &flags), CAIRN_SWIM_REFUSE);
    assert_int_equal(flags, CAIRN_SWIM_F_YOURSELF);
}

static void seeds_that_are_oneself_are_asked_once(void **state)
{
    struct fixture *f = *state;
    struct cairn_swim_desc me;
    struct cairn_swim_send sync;

    describe(&me, "self", 1);
    step(f, &(struct cairn_swim_in){ .type = CAIRN_SWIM_SEEDS, .seeds = &me.addr, .nseeds = 1 });
    assert_int_equal(f->out.nsends, 1);
    sync = f->out.sends[0];
    step(f, &(struct cairn_swim_in){
                .type = CAIRN_SWIM_PACKET, .from = f->s.id, .addr = me.addr, .bytes = sync.bytes, .len = sync.len });
    sync = f->out.sends[0];
    step(f, &(struct cairn_swim_in){
                .type = CAIRN_SWIM_PACKET, .from = f->s.id, .addr = me.addr, .bytes = sync.bytes, .len = sync.len });
    assert_true(has_event(f, CAIRN_SWIM_EV_SEED_IS_SELF));
    run(f, 20000);
    assert_false(f->s.join.running);
    assert_int_equal(f->s.counts.refused, 1);
}

/* An answer to the SYNC that was sent last. */
static void answer_sync(struct fixture *f, const struct cairn_swim_desc *from, uint8_t kind, uint8_t flags)
{
    struct cairn_swim_msg m = { .kind = kind, .flags = flags, .about = f->s.instance, .epoch = 1, .version = 1 };
    uint8_t bytes[CAIRN_SWIM_PACKET_BYTES_MAX];
    struct cairn_le_writer w;

    m.seq = f->s.join.seq;
    cairn_swim_write_head(&w, bytes, &m);
    step(f, &(struct cairn_swim_in){ .type = CAIRN_SWIM_PACKET,
                                     .from = from->id,
                                     .addr = from->addr,
                                     .bytes = bytes,
                                     .len = (size_t)(w.at - bytes) });
}

static void wait_for_sync(struct fixture *f)
{
    for (uint32_t i = 0; i < 100000 && !f->s.join.running; i++)
        run(f, 10);
    assert_true(f->s.join.running);
}

/* Who was refused, even late in its life, is told when that is over, so that people are not told for ever. */
static void a_refusal_that_is_over_is_news(void **state)
{
    struct fixture *f = *state;
    struct cairn_swim_desc seed;

    describe(&seed, "a", 2);
    step(f, &(struct cairn_swim_in){ .type = CAIRN_SWIM_SEEDS, .seeds = &seed.addr, .nseeds = 1 });
    answer_sync(f, &seed, CAIRN_SWIM_PAGE, 0);
    assert_true(has_event(f, CAIRN_SWIM_EV_SYNCED));
    wait_for_sync(f);
    answer_sync(f, &seed, CAIRN_SWIM_PAGE, 0);
    assert_false(has_event(f, CAIRN_SWIM_EV_SYNCED)); /* as before */
    wait_for_sync(f);
    answer_sync(f, &seed, CAIRN_SWIM_REFUSE, CAIRN_SWIM_F_TAKEN);
    assert_true(has_event(f, CAIRN_SWIM_EV_NAME_TAKEN));
    wait_for_sync(f);
    answer_sync(f, &seed, CAIRN_SWIM_PAGE, 0);
    assert_true(has_event(f, CAIRN_SWIM_EV_SYNCED));
}

/* A member that was refused for its name, and is asked by one whose directory leads there, says nothing: its word would
 * be the younger one's, and take the name from the other. Once it is let in it answers. */
static void who_was_refused_lets_nobody_in(void **state)
{
    struct fixture *f = *state;
    struct cairn_swim_desc seed, other;
    struct cairn_swim_update u;
    uint8_t flags;

    describe(&seed, "a", 2);
    describe(&other, "b", 3);
    alive(&other, 50, &u);
    step(f, &(struct cairn_swim_in){ .type = CAIRN_SWIM_SEEDS, .seeds = &seed.addr, .nseeds = 1 });
    answer_sync(f, &seed, CAIRN_SWIM_REFUSE, CAIRN_SWIM_F_TAKEN);
    hear(f, CAIRN_SWIM_SYNC, CAIRN_SWIM_F_JOIN, &other, &u, 1);
    assert_int_equal(said_to(f, &other, &flags), 0);
    assert_int_equal(cairn_swim_size(&f->s), 1);
    hear(f, CAIRN_SWIM_SYNC, 0, &other, NULL, 1);
    assert_int_equal(said_to(f, &other, &flags), 0);
    wait_for_sync(f);
    answer_sync(f, &seed, CAIRN_SWIM_PAGE, 0);
    hear(f, CAIRN_SWIM_SYNC, CAIRN_SWIM_F_JOIN, &other, &u, 1);
    assert_int_equal(said_to(f, &other, &flags), CAIRN_SWIM_PAGE);
}

static void rumours_of_our_death_are_contradicted(void **state)
{
    struct fixture *f = *state;
    struct cairn_swim_desc other;
    struct cairn_swim_update u = { .state = CAIRN_SWIM_DEAD, .id = f->s.id, .incarnation = 150, .nby = 1, .by = { 3 } };
    uint64_t me;

    describe(&other, "a", 2);
    hear(f, CAIRN_SWIM_GOSSIP, 0, &other, &u, 0);
    assert_true(has_event(f, CAIRN_SWIM_EV_ACCUSED));
    me = f->views[f->s.self].incarnation;
    assert_int_equal(me, 151);
    hear(f, CAIRN_SWIM_GOSSIP, 0, &other, &u, 0); /* old by now */
    assert_int_equal(f->views[f->s.self].incarnation, me);
    assert_int_equal(f->s.health, 1);
}

static void a_younger_namesake_silences_us(void **state)
{
    struct fixture *f = *state;
    struct cairn_swim_desc other, twin;
    struct cairn_swim_update u;

    describe(&other, "a", 2);
    describe(&twin, "self", 9);
    alive(&twin, 99, &u);
    hear(f, CAIRN_SWIM_GOSSIP, 0, &other, &u, 0); /* older than we are */
    assert_false(f->s.superseded);
    alive(&twin, 101, &u);
    hear(f, CAIRN_SWIM_GOSSIP, 0, &other, &u, 0);
    assert_true(has_event(f, CAIRN_SWIM_EV_SUPERSEDED));
    assert_int_equal(f->out.nsends, 0);
    step(f, &(struct cairn_swim_in){ .type = CAIRN_SWIM_TICK });
    assert_true(f->out.wake_ms == UINT64_MAX);
}

static void the_order_of_messages_does_not_matter(void **state)
{
    static const uint8_t states[] = { CAIRN_SWIM_ALIVE, CAIRN_SWIM_SUSPECT, CAIRN_SWIM_DEAD };
    struct fixture *f = *state;
    struct cairn_swim_desc other;
    uint8_t expect = 0;
    uint64_t incarnation = 0;

    /* All orders of three messages of two incarnations each, for a new member each time: the same in the end. */
    describe(&other, "a", 2);
    for (uint32_t order = 0; order < 6 * 6 * 6 * 6; order++) {
        struct cairn_swim_desc d;
        struct cairn_swim_update u;
        uint32_t o = order, slot;
        char name[16];

        if (order % 100 == 0) {
            end(f);
            begin(f, ROOM, &cairn_swim_conf_default);
        }
        snprintf(name, sizeof(name), "m%u", order);
        describe(&d, name, 3);
        alive(&d, 10, &u);
        hear(f, CAIRN_SWIM_GOSSIP, 0, &other, &u, 0);
        incarnation = 10;
        expect = CAIRN_SWIM_ALIVE;
        for (uint32_t i = 0; i < 4; i++, o /= 6) {
            uint8_t s = states[o % 3];
            uint64_t inc = 10 + o / 3 % 2;

            alive(&d, inc, &u);
            u.state = s;
            u.nby = 1;
            u.by[0] = 1;
            hear(f, CAIRN_SWIM_GOSSIP, 0, &other, &u, 0);
            if (inc > incarnation || (inc == incarnation && s != CAIRN_SWIM_ALIVE)) {
                expect = s == CAIRN_SWIM_ALIVE ? s : CAIRN_SWIM_SUSPECT; /* nobody is found dead by hearsay alone */
                incarnation = inc;
            }
        }
        slot = cairn_swim_dir_find(&f->dir, d.id);
        assert_int_equal(f->views[slot].state, expect);
        assert_int_equal(f->views[slot].incarnation, incarnation);
    }
}

/* Who is said to be dead is suspected for as long as a suspicion lasts that others confirm. Whoever says so again
 * meanwhile says nothing new; and a contradiction ends it. */
static void a_death_that_others_found_is_a_suspicion_first(void **state)
{
    struct fixture *f = *state;
    struct cairn_swim_desc other, d;
    struct cairn_swim_update u;
    uint32_t slot;

    describe(&other, "a", 2);
    describe(&d, "b", 3);
    alive(&d, 10, &u);
    hear(f, CAIRN_SWIM_GOSSIP, 0, &other, &u, 0);
    slot = cairn_swim_dir_find(&f->dir, d.id);
    for (uint64_t life = 10; life < 12; life++) {
        u.state = CAIRN_SWIM_DEAD;
        u.incarnation = life;
        u.nby = 1;
        u.by[0] = other.id;
        for (uint32_t i = 0; i < 3; i++) {
            hear(f, CAIRN_SWIM_GOSSIP, 0, &other, &u, 0);
            assert_int_equal(f->views[slot].state, CAIRN_SWIM_SUSPECT);
        }
        if (life == 10) {
            u.state = CAIRN_SWIM_ALIVE;
            u.incarnation = 11;
            u.nby = 0;
            hear(f, CAIRN_SWIM_GOSSIP, 0, &other, &u, 0);
            assert_int_equal(f->views[slot].state, CAIRN_SWIM_ALIVE);
        }
    }
    run(f, f->s.conf.suspect_ms);
    assert_int_equal(f->views[slot].state, CAIRN_SWIM_DEAD);
}

/* However many there are, each is pinged once before any is pinged again; and none that answers is suspected. */
static void a_round_visits_everyone(void **state)
{
    struct fixture *f = *state;
    static uint32_t pinged[ROOM];
    struct cairn_swim_desc d;
    struct cairn_swim_update u;
    char name[16];
    uint32_t n = 41;

    memset(pinged, 0, sizeof(pinged));
    for (uint32_t i = 0; i < n; i++) {
        snprintf(name, sizeof(name), "m%u", i);
        describe(&d, name, (uint8_t)(10 + i));
        alive(&d, 10, &u);
        hear(f, CAIRN_SWIM_GOSSIP, 0, &d, &u, 0);
    }
    run(f, 60000 - 1000); /* the first rounds were in a directory that grew, and nobody answered */
    end(f);
    begin(f, ROOM, &cairn_swim_conf_default);
    for (uint32_t i = 0; i < n; i++) {
        snprintf(name, sizeof(name), "m%u", i);
        describe(&d, name, (uint8_t)(10 + i));
        cairn_swim_assume_alive(&f->s, cairn_swim_dir_put(&f->dir, &d), 10);
    }
    for (uint32_t probes = 0; probes < 3 * n;) {
        struct cairn_swim_msg ack = { .kind = CAIRN_SWIM_ACK };
        struct cairn_le_writer w;
        uint8_t bytes[CAIRN_SWIM_PACKET_BYTES_MAX];

        run(f, 1);
        if (!f->s.probing)
            continue;
        pinged[f->s.probe_slot]++;
        probes++;
        ack.seq = f->s.probe_seq;
        ack.about = f->descs[f->s.probe_slot].id;
        cairn_swim_write_head(&w, bytes, &ack);
        step(f, &(struct cairn_swim_in){
                    .type = CAIRN_SWIM_PACKET, .from = ack.about, .bytes = bytes, .len = CAIRN_SWIM_HEAD_BYTES });
        assert_false(f->s.probing);
    }
    for (uint32_t i = 0; i < n; i++)
        assert_int_equal(pinged[i + 1], 3);
    assert_int_equal(f->s.counts.suspicions, 0);
}

static void news_are_told_so_often_and_no_more(void **state)
{
    struct fixture *f = *state;
    struct cairn_swim_desc d[3];
    struct cairn_swim_update u;
    uint32_t told = 0;

    for (uint32_t i = 0; i < 3; i++) {
        char name[2] = { (char)('a' + i), 0 };

        describe(&d[i], name, (uint8_t)(2 + i));
        cairn_swim_assume_alive(&f->s, cairn_swim_dir_put(&f->dir, &d[i]), 10);
    }
    u = (struct cairn_swim_update){ .state = CAIRN_SWIM_LEFT, .id = d[2].id, .incarnation = 11, .nby = 1 };
    hear(f, CAIRN_SWIM_GOSSIP, 0, &d[0], &u, 0);
    for (uint32_t i = 0; i < 3000; i++) {
        static struct cairn_swim_msg m;

        for (uint32_t k = 0; k < f->out.nsends; k++) {
            assert_true(cairn_swim_decode(f->out.sends[k].bytes, f->out.sends[k].len, &m));
            for (uint32_t j = 0; j < m.nupdates; j++)
                told += m.updates[j].state == CAIRN_SWIM_LEFT;
        }
        f->now_ms++;
        step(f, &(struct cairn_swim_in){ .type = CAIRN_SWIM_TICK });
    }
    assert_int_equal(told, cairn_swim_conf_default.spread);
    assert_int_equal(f->s.nnews, 0);
}

static uint32_t words_told(struct fixture *f, uint64_t ms, uint64_t version)
{
    static struct cairn_swim_msg m;
    uint32_t told = 0;

    for (uint64_t i = 0; i < ms; i++) {
        for (uint32_t k = 0; k < f->out.nsends; k++) {
            assert_true(cairn_swim_decode(f->out.sends[k].bytes, f->out.sends[k].len, &m));
            told += m.kind == CAIRN_SWIM_GOSSIP && m.word.node == 7 && m.word.version == version;
        }
        f->now_ms++;
        step(f, &(struct cairn_swim_in){ .type = CAIRN_SWIM_TICK });
    }
    return told;
}

static void word_is(struct fixture *f, uint64_t version)
{
    step(f, &(struct cairn_swim_in){ .type = CAIRN_SWIM_WORD, .word = { 7, version } });
}

/* A higher version is told in packets of its own, and then goes with what is sent anyway; a lower one is no news. */
static void a_word_is_told_when_its_version_grows(void **state)
{
    struct fixture *f = *state;
    struct cairn_swim_desc d[3];

    word_is(f, 1); /* there is nobody yet */
    run(f, 3000);
    assert_int_equal(f->s.word_left, 0);
    for (uint32_t i = 0; i < 3; i++) {
        char name[2] = { (char)('a' + i), 0 };

        describe(&d[i], name, (uint8_t)(2 + i));
        cairn_swim_assume_alive(&f->s, cairn_swim_dir_put(&f->dir, &d[i]), 10);
    }
    word_is(f, 2);
    assert_int_equal(words_told(f, 450, 2), cairn_swim_conf_default.spread);
    word_is(f, 2);
    assert_int_equal(f->s.word_left, 0);
    word_is(f, 1);
    assert_int_equal(f->s.word_left, 0);
}

static void only_a_higher_word_is_heard(void **state)
{
    struct fixture *f = *state;
    struct cairn_swim_msg m = { .kind = CAIRN_SWIM_GOSSIP, .word = { 9, 5 } };
    uint8_t bytes[CAIRN_SWIM_PACKET_BYTES_MAX];
    struct cairn_swim_in in = { .type = CAIRN_SWIM_PACKET, .from = 3, .bytes = bytes, .len = CAIRN_SWIM_HEAD_BYTES };
    struct cairn_le_writer w;

    cairn_swim_write_head(&w, bytes, &m);
    step(f, &in);
    assert_int_equal(f->out.heard.node, 9);
    assert_int_equal(f->out.heard.version, 5);
    step(f, &(struct cairn_swim_in){ .type = CAIRN_SWIM_TICK });
    assert_int_equal(f->out.heard.node, 0);
    word_is(f, 5);
    step(f, &in);
    assert_int_equal(f->out.heard.node, 0);
    word_is(f, 4);
    step(f, &in);
    assert_int_equal(f->out.heard.node, 9);
    in.len--; /* torn */
    step(f, &in);
    assert_int_equal(f->out.heard.node, 0);
}

/* The ALIVE records in packets of the last step to where @d is; and how many packets there are of @kind. */
static uint32_t records_to(struct fixture *f, const struct cairn_swim_desc *d, uint8_t kind, uint32_t *npackets)
{
    struct cairn_swim_msg m;
    uint32_t n = 0;

    *npackets = 0;
    for (uint32_t i = 0; i < f->out.nsends; i++) {
        const struct cairn_swim_send *x = &f->out.sends[i];

        if (!cairn_swim_addr_equal(&x->to, &d->addr))
            continue;
        assert_true(cairn_swim_decode(x->bytes, x->len, &m));
        if (m.kind != kind)
            continue;
        ++*npackets;
        for (uint32_t j = 0; j < m.nupdates; j++)
            n += m.updates[j].state == CAIRN_SWIM_ALIVE;
    }
    return n;
}

/* After a partition a ping is full of deaths that were contradicted on this side: it gets its answer all the same, and
 * what is true in as few packets as hold it. */
static void who_tells_old_deaths_is_answered_and_put_right(void **state)
{
    enum { OLD = 45, PACKETS_MAX = 4 };
    struct fixture *f = *state;
    struct cairn_swim_desc asker, d[OLD];
    struct cairn_swim_msg ping = { .kind = CAIRN_SWIM_PING, .seq = 7, .about = f->s.id };
    struct cairn_swim_update u;
    uint8_t bytes[CAIRN_SWIM_PACKET_BYTES_MAX];
    struct cairn_le_writer w;
    uint32_t npackets;
    char name[16];

    describe(&asker, "asker", 2);
    alive(&asker, 10, &u);
    hear(f, CAIRN_SWIM_GOSSIP, 0, &asker, &u, 0);
    cairn_swim_write_head(&w, bytes, &ping);
    for (uint32_t i = 0; i < OLD; i++) {
        snprintf(name, sizeof(name), "old%u", i);
        describe(&d[i], name, (uint8_t)(10 + i));
        alive(&d[i], 10, &u);
        hear(f, CAIRN_SWIM_GOSSIP, 0, &asker, &u, 0);
        u = (struct cairn_swim_update){
            .state = CAIRN_SWIM_DEAD, .id = d[i].id, .incarnation = 9, .nby = 1, .by = { asker.id }
        };
        assert_true(cairn_swim_write_update(&w, &u));
    }
    step(f, &(struct cairn_swim_in){ .type = CAIRN_SWIM_PACKET,
                                     .from = asker.id,
                                     .addr = asker.addr,
                                     .bytes = bytes,
                                     .len = (size_t)(w.at - bytes) });
    records_to(f, &asker, CAIRN_SWIM_ACK, &npackets);
    assert_int_equal(npackets, 1);
    assert_true(records_to(f, &asker, CAIRN_SWIM_GOSSIP, &npackets) >= OLD);
    assert_in_range(npackets, 1, PACKETS_MAX + 1); /* one more may be of news */
    for (uint32_t i = 0; i < OLD; i++)
        assert_int_equal(state_of(f, &d[i]), CAIRN_SWIM_ALIVE);
}

static void the_dead_are_forgotten(void **state)
{
    struct fixture *f = *state;
    struct cairn_swim_conf conf = cairn_swim_conf_default;
    struct cairn_swim_desc d;
    struct cairn_swim_update u;

    conf.forget_ms = 10000;
    end(f);
    begin(f, ROOM, &conf);
    describe(&d, "a", 2);
    alive(&d, 10, &u);
    hear(f, CAIRN_SWIM_GOSSIP, 0, &d, &u, 0);
    run(f, 8000);
    assert_int_equal(state_of(f, &d), CAIRN_SWIM_DEAD);
    run(f, 10000);
    assert_int_equal(state_of(f, &d), CAIRN_SWIM_NONE);
    assert_int_equal(f->dir.n, 1);
}

/* The living are never turned out for a newcomer, and the dead always. */
static void a_full_group_has_room_where_the_dead_were(void **state)
{
    struct fixture *f = *state;
    struct cairn_swim_desc first, second;
    struct cairn_swim_update u;
    uint8_t flags;

    end(f);
    begin(f, 2, &cairn_swim_conf_default);
    describe(&first, "a", 2);
    describe(&second, "b", 3);
    alive(&first, 10, &u);
    hear(f, CAIRN_SWIM_SYNC, CAIRN_SWIM_F_JOIN, &first, &u, 1);
    assert_int_equal(said_to(f, &first, &flags), CAIRN_SWIM_PAGE);
    alive(&second, 10, &u);
    hear(f, CAIRN_SWIM_SYNC, CAIRN_SWIM_F_JOIN, &second, &u, 1);
    assert_int_equal(said_to(f, &second, &flags), CAIRN_SWIM_REFUSE);
    assert_int_equal(flags, CAIRN_SWIM_F_FULL);
    hear(f, CAIRN_SWIM_GOSSIP, 0, &second, &u, 0); /* nor by the back door */
    assert_int_equal(state_of(f, &second), CAIRN_SWIM_NONE);
    assert_true(has_event(f, CAIRN_SWIM_EV_DROPPED_MEMBER));
    run(f, 10000); /* nobody answers: the first one is dead, and would be remembered for an hour */
    hear(f, CAIRN_SWIM_SYNC, CAIRN_SWIM_F_JOIN, &second, &u, 1);
    assert_int_equal(said_to(f, &second, &flags), CAIRN_SWIM_PAGE);
    assert_int_equal(state_of(f, &first), CAIRN_SWIM_NONE);
    assert_int_equal(state_of(f, &second), CAIRN_SWIM_ALIVE);
}

#define test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        test(a_name_belongs_to_its_living_holder),
        test(a_twin_is_refused_and_oneself_is_recognised),
        test(seeds_that_are_oneself_are_asked_once),
        test(a_refusal_that_is_over_is_news),
        test(who_was_refused_lets_nobody_in),
        test(rumours_of_our_death_are_contradicted),
        test(a_younger_namesake_silences_us),
        test(the_order_of_messages_does_not_matter),
        test(a_death_that_others_found_is_a_suspicion_first),
        test(a_round_visits_everyone),
        test(news_are_told_so_often_and_no_more),
        test(a_word_is_told_when_its_version_grows),
        test(only_a_higher_word_is_heard),
        test(who_tells_old_deaths_is_answered_and_put_right),
        test(the_dead_are_forgotten),
        test(a_full_group_has_room_where_the_dead_were),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
