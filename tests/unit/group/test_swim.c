/* Single steps of one core: who is let in, what is remembered and told, what a step costs. */
#include "tests/unit/group/swim_fixture.h"

/* The kind and flags of the first packet of the last step to where @d is; 0: none. */
static uint32_t said_to(struct fixture *f, const struct cairn_swim_desc *d, uint8_t *flags)
{
    struct cairn_swim_msg m;
    uint32_t i = 0;

    if (!next_to(f, d, &i, &m))
        return 0;
    *flags = m.flags;
    return m.kind;
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

/* However many there are, each is pinged once before any is pinged again; and none that answers is suspected. */
static void a_round_visits_everyone(void **state)
{
    struct fixture *f = *state;
    static uint32_t pinged[ROOM];
    struct cairn_swim_desc d;
    char name[16];
    uint32_t n = 41;

    memset(pinged, 0, sizeof(pinged));
    for (uint32_t i = 0; i < n; i++) {
        snprintf(name, sizeof(name), "m%u", i);
        meet(f, &d, name, (uint8_t)(10 + i));
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

static void the_dead_are_forgotten(void **state)
{
    struct fixture *f = *state;
    struct cairn_swim_conf conf = cairn_swim_conf_default;
    struct cairn_swim_desc d;

    conf.forget_ms = 10000;
    end(f);
    begin(f, ROOM, &conf);
    meet(f, &d, "a", 2);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        test(a_name_belongs_to_its_living_holder),
        test(a_twin_is_refused_and_oneself_is_recognised),
        test(seeds_that_are_oneself_are_asked_once),
        test(a_refusal_that_is_over_is_news),
        test(who_was_refused_lets_nobody_in),
        test(a_younger_namesake_silences_us),
        test(a_round_visits_everyone),
        test(news_are_told_so_often_and_no_more),
        test(a_word_is_told_when_its_version_grows),
        test(only_a_higher_word_is_heard),
        test(the_dead_are_forgotten),
        test(a_full_group_has_room_where_the_dead_were),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
