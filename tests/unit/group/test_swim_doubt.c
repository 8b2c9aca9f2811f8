/* Single steps of one core: suspicions, deaths and contradictions, and who hears of them. */
#include "providers/group/swim_internal.h"
#include "tests/unit/group/swim_fixture.h"

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

/* The ALIVE records in packets of the last step to where @d is; and how many packets there are of @kind. */
static uint32_t records_to(struct fixture *f, const struct cairn_swim_desc *d, uint8_t kind, uint32_t *npackets)
{
    struct cairn_swim_msg m;
    uint32_t n = 0;

    *npackets = 0;
    for (uint32_t i = 0; next_to(f, d, &i, &m);) {
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

    meet(f, &asker, "asker", 2);
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

/* The incarnation in which the last step told @to that @about is in @state; 0: it did not. */
static uint64_t tells(const struct fixture *f, const struct cairn_swim_desc *to, uint64_t about, uint8_t state)
{
    struct cairn_swim_msg m;
    uint64_t incarnation = 0;

    for (uint32_t i = 0; next_to(f, to, &i, &m);) {
        for (uint32_t k = 0; k < m.nupdates; k++) {
            if (m.updates[k].id == about && m.updates[k].state == state)
                incarnation = m.updates[k].incarnation;
        }
    }
    return incarnation;
}

/* Nobody else may be able to tell whoever accuses us, and our contradiction is news for a moment only: it is said again
 * to each that has not heard it, and nothing else comes of that. */
static void who_accuses_us_again_is_contradicted_again(void **state)
{
    struct fixture *f = *state;
    struct cairn_swim_desc other;
    struct cairn_swim_update doubt = {
        .state = CAIRN_SWIM_SUSPECT, .id = f->s.id, .incarnation = 100, .nby = 1, .by = { 3 }
    };

    meet(f, &other, "a", 2);
    hear(f, CAIRN_SWIM_GOSSIP, 0, &other, &doubt, 0);
    assert_int_equal(tells(f, &other, f->s.id, CAIRN_SWIM_ALIVE), 101);
    for (uint32_t i = 0; i < 10 && f->s.nnews > 0; i++)
        run(f, 200);
    assert_int_equal(f->s.nnews, 0);
    hear(f, CAIRN_SWIM_GOSSIP, 0, &other, &doubt, 0);
    assert_int_equal(tells(f, &other, f->s.id, CAIRN_SWIM_ALIVE), 101);
    assert_int_equal(f->s.nnews, 0);
    assert_int_equal(f->s.counts.accused, 1);
    hear(f, CAIRN_SWIM_PING, 0, &other, &doubt, f->s.id);
    assert_int_equal(tells(f, &other, f->s.id, CAIRN_SWIM_ALIVE), 101);
}

/* Whom the core probes answers it. */
static void answer_probe(struct fixture *f)
{
    const struct cairn_swim_desc *d = &f->descs[f->s.probe_slot];
    struct cairn_swim_msg ack = { .kind = CAIRN_SWIM_ACK, .seq = f->s.probe_seq, .about = d->id };
    uint8_t bytes[CAIRN_SWIM_PACKET_BYTES_MAX];
    struct cairn_le_writer w;

    assert_true(f->s.probing);
    cairn_swim_write_head(&w, bytes, &ack);
    step(
        f,
        &(struct cairn_swim_in){
            .type = CAIRN_SWIM_PACKET, .from = d->id, .addr = d->addr, .bytes = bytes, .len = (size_t)(w.at - bytes) });
    assert_false(f->s.probing);
}

/* It lived when it answered, so what it says against the suspicion may still be on its way to us. */
static void a_suspect_that_answers_has_its_time_again(void **state)
{
    enum { SUSPECT_MS = 800, LATER_MS = 500 };
    struct fixture *f = *state;
    struct cairn_swim_desc other;

    meet(f, &other, "a", 2);
    for (uint32_t i = 0; i < 200 && state_of(f, &other) == CAIRN_SWIM_ALIVE; i++)
        run(f, 10);
    assert_int_equal(state_of(f, &other), CAIRN_SWIM_SUSPECT);
    run(f, LATER_MS);
    answer_probe(f);
    run(f, SUSPECT_MS - 1);
    assert_int_equal(state_of(f, &other), CAIRN_SWIM_SUSPECT);
    run(f, 1);
    assert_int_equal(state_of(f, &other), CAIRN_SWIM_DEAD);
}

/* Of all that there were, one is left beside the suspect, and may be the only one that sees it: it is asked each time, and
 * hears what of, so that it can say what was contradicted. */
static void the_last_one_is_asked_and_hears_of_the_suspicion(void **state)
{
    enum { GONE = 50, PROBES = 40 };
    struct fixture *f = *state;
    struct cairn_swim_conf conf = cairn_swim_conf_default;
    struct cairn_swim_desc suspect, last, gone;
    struct cairn_swim_update u;
    uint32_t asked = 0;
    char name[16];

    conf.suspect_ms = 600 * 1000;
    end(f);
    begin(f, ROOM, &conf);
    describe(&suspect, "a", 2);
    describe(&last, "b", 3);
    for (uint32_t i = 0; i < GONE; i++) {
        snprintf(name, sizeof(name), "gone%u", i);
        meet(f, &gone, name, (uint8_t)(10 + i));
        u = (struct cairn_swim_update){ .state = CAIRN_SWIM_LEFT, .id = gone.id, .incarnation = 11, .nby = 1 };
        hear(f, CAIRN_SWIM_GOSSIP, 0, &gone, &u, 0);
    }
    alive(&last, 10, &u);
    hear(f, CAIRN_SWIM_GOSSIP, 0, &last, &u, 0);
    alive(&suspect, 10, &u);
    hear(f, CAIRN_SWIM_GOSSIP, 0, &last, &u, 0);
    u = (struct cairn_swim_update){
        .state = CAIRN_SWIM_SUSPECT, .id = suspect.id, .incarnation = 10, .nby = 1, .by = { last.id }
    };
    hear(f, CAIRN_SWIM_GOSSIP, 0, &last, &u, 0);
    for (uint32_t i = 0; i < PROBES; i++) {
        while (!f->s.probing)
            run(f, 10);
        if (f->descs[f->s.probe_slot].id == suspect.id && f->s.nnews == 0) {
            run(f, f->s.ping_due + f->s.stalled_ms - f->now_ms);
            assert_int_equal(f->s.asked, 1);
            assert_int_equal(f->out.sends[0].bytes[0], CAIRN_SWIM_PING_REQ);
            assert_true(tells(f, &last, suspect.id, CAIRN_SWIM_SUSPECT) > 0);
            asked++;
        }
        answer_probe(f);
    }
    assert_true(asked > 10);
}

/* A suspicion of a higher incarnation: the member has contradicted the one before, of which we heard nothing, and has the
 * time of a suspicion for this one. Who still tells the old one hears of the new one. */
static void a_suspicion_of_a_higher_incarnation_is_another_one(void **state)
{
    enum { SUSPECT_MS = 800, LATER_MS = 500 };
    struct fixture *f = *state;
    struct cairn_swim_desc other;
    struct cairn_swim_update u;

    meet(f, &other, "a", 2);
    u = (struct cairn_swim_update){
        .state = CAIRN_SWIM_SUSPECT, .id = other.id, .incarnation = 10, .nby = 1, .by = { 3 }
    };
    hear(f, CAIRN_SWIM_GOSSIP, 0, &other, &u, 0);
    run(f, LATER_MS);
    u.incarnation = 12;
    hear(f, CAIRN_SWIM_GOSSIP, 0, &other, &u, 0);
    run(f, LATER_MS);
    assert_int_equal(state_of(f, &other), CAIRN_SWIM_SUSPECT);
    u.incarnation = 10;
    hear(f, CAIRN_SWIM_GOSSIP, 0, &other, &u, 0);
    assert_int_equal(tells(f, &other, other.id, CAIRN_SWIM_SUSPECT), 12);
    run(f, SUSPECT_MS - LATER_MS - 1);
    assert_int_equal(state_of(f, &other), CAIRN_SWIM_SUSPECT);
    run(f, 1);
    assert_int_equal(state_of(f, &other), CAIRN_SWIM_DEAD);
}

/* Packets of gossip of the last step that tell @to of a suspicion of @about. */
static uint32_t calls(const struct fixture *f, const struct cairn_swim_desc *to, uint64_t about)
{
    struct cairn_swim_msg m;
    uint32_t n = 0;

    for (uint32_t i = 0; i < f->out.nsends; i++) {
        const struct cairn_swim_send *x = &f->out.sends[i];

        assert_true(cairn_swim_decode(x->bytes, x->len, &m));
        for (uint32_t k = 0; k < m.nupdates && m.kind == CAIRN_SWIM_GOSSIP; k++)
            n += m.updates[k].id == about && m.updates[k].state == CAIRN_SWIM_SUSPECT &&
                 cairn_swim_addr_equal(&x->to, &to->addr);
    }
    return n;
}

/* Who heard of a suspicion from others has told it for a moment only, and whoever knew better may not have heard that. So
 * before it believes it, it tells the suspect once more, and another one. */
static void a_suspect_is_called_before_it_is_found_dead(void **state)
{
    struct fixture *f = *state;
    struct cairn_swim_conf conf = cairn_swim_conf_default;
    struct cairn_swim_desc suspect, other;
    struct cairn_swim_update u;
    uint32_t called = 0, told = 0, left;
    uint64_t began;

    conf.period_ms = 60000; /* no probe fails meanwhile */
    end(f);
    begin(f, ROOM, &conf);
    describe(&suspect, "a", 2);
    meet(f, &other, "b", 3);
    alive(&suspect, 10, &u);
    hear(f, CAIRN_SWIM_GOSSIP, 0, &other, &u, 0);
    run(f, 2000); /* they are no news any more */
    assert_int_equal(f->s.nnews, 0);
    began = f->now_ms;
    u = (struct cairn_swim_update){
        .state = CAIRN_SWIM_SUSPECT, .id = suspect.id, .incarnation = 10, .nby = 1, .by = { other.id }
    };
    hear(f, CAIRN_SWIM_GOSSIP, 0, &other, &u, 0);
    left = conf.suspect_ms - 2 * conf.gossip_ms;
    while (f->out.wake_ms < began + left)
        run(f, f->out.wake_ms - f->now_ms);
    f->now_ms = began + left;
    while (state_of(f, &suspect) == CAIRN_SWIM_SUSPECT) {
        step(f, &(struct cairn_swim_in){ .type = CAIRN_SWIM_TICK });
        if (f->now_ms == began + left) {
            called += calls(f, &suspect, suspect.id);
            told += calls(f, &other, suspect.id);
        }
        f->now_ms = f->out.wake_ms;
    }
    assert_int_equal(state_of(f, &suspect), CAIRN_SWIM_DEAD);
    assert_true(told > 0);
    assert_true(called > told); /* not by chance, as one of those that news go to */
}

/* Whatever falls due in one moment, no step has more to send than it may, and none of it is lost: all who asked us hear
 * that there was no answer, and all suspects are called before they are found dead. */
static void what_is_due_at_once_is_all_said(void **state)
{
    enum { SUSPECTS = 16, ASKERS = CAIRN_SWIM_RELAYS_MAX };
    struct fixture *f = *state;
    struct cairn_swim_desc witness, target, suspects[SUSPECTS], askers[ASKERS];
    struct cairn_swim_update u;
    bool called[SUSPECTS] = { false };
    uint32_t nacks = 0, slot;
    uint64_t due_ms;
    char name[16];

    describe(&witness, "witness", 2);
    meet(f, &target, "target", 3);
    for (uint32_t i = 0; i < SUSPECTS + ASKERS; i++) {
        snprintf(name, sizeof(name), "m%u", i);
        meet(f, i < SUSPECTS ? &suspects[i] : &askers[i - SUSPECTS], name, (uint8_t)(10 + i));
    }
    for (uint32_t i = 0; i < SUSPECTS; i++) {
        u = (struct cairn_swim_update){
            .state = CAIRN_SWIM_SUSPECT, .id = suspects[i].id, .incarnation = 10, .nby = 1, .by = { witness.id }
        };
        hear(f, CAIRN_SWIM_GOSSIP, 0, &witness, &u, 0);
    }
    due_ms = f->s.suspects.all[f->s.suspects.heap[0]].due_ms; /* of all of them */
    for (uint32_t i = 0; i < SUSPECTS; i++) {
        slot = cairn_swim_dir_find(&f->dir, suspects[i].id);
        assert_int_equal(f->views[slot].state, CAIRN_SWIM_SUSPECT);
        assert_int_equal(f->s.suspects.all[f->views[slot].mark].due_ms, due_ms);
    }
    cairn_swim__probe_stop(&f->s);
    f->s.probe_at = f->s.gossip_at = f->s.revisit_at = due_ms; /* which have something to say, too */
    f->now_ms = f->s.wake_ms = due_ms - f->s.conf.ping_ms;
    for (uint32_t i = 0; i < ASKERS; i++)
        hear(f, CAIRN_SWIM_PING_REQ, 0, &askers[i], NULL, target.id);
    f->now_ms = due_ms;
    for (uint32_t steps = 0; steps == 0 || f->out.wake_ms <= f->now_ms; steps++) {
        struct cairn_swim_msg m;

        assert_in_range(steps, 0, SUSPECTS + ASKERS);
        step(f, &(struct cairn_swim_in){ .type = CAIRN_SWIM_TICK });
        assert_true(f->out.nsends < CAIRN_SWIM_SENDS_MAX);
        for (uint32_t i = 0; i < SUSPECTS; i++)
            called[i] |= tells(f, &suspects[i], suspects[i].id, CAIRN_SWIM_SUSPECT) != 0;
        for (uint32_t i = 0; i < ASKERS; i++) {
            for (uint32_t k = 0; next_to(f, &askers[i], &k, &m);)
                nacks += m.kind == CAIRN_SWIM_NACK;
        }
    }
    assert_int_equal(nacks, ASKERS);
    for (uint32_t i = 0; i < SUSPECTS; i++)
        assert_true(called[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        test(rumours_of_our_death_are_contradicted),
        test(the_order_of_messages_does_not_matter),
        test(a_death_that_others_found_is_a_suspicion_first),
        test(who_tells_old_deaths_is_answered_and_put_right),
        test(who_accuses_us_again_is_contradicted_again),
        test(a_suspect_that_answers_has_its_time_again),
        test(the_last_one_is_asked_and_hears_of_the_suspicion),
        test(a_suspicion_of_a_higher_incarnation_is_another_one),
        test(a_suspect_is_called_before_it_is_found_dead),
        test(what_is_due_at_once_is_all_said),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
