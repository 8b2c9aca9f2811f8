/* Packets and the directory: what is written is read back, what is cut or out of place is refused as a whole. */
#include "providers/group/swim_packet.h"
#include "sdk/core/base/macros.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void describe(struct cairn_swim_desc *d, uint32_t i)
{
    memset(d, 0, sizeof(*d));
    snprintf(d->name, sizeof(d->name), "member%u", i);
    strcpy(d->zone, "rack1");
    strcpy(d->service, "tcp://10.0.0.1:7400");
    d->id = cairn_swim_id(d->name, strlen(d->name));
    d->weight = 7;
    d->capacity = 1u << 30;
    d->addr = (struct cairn_swim_addr){ .ip = { 10, 0, 0, 1 }, .port = 7311, .len = 4 };
}

static size_t make(uint8_t *to, uint8_t kind, const struct cairn_swim_update *u, uint32_t n)
{
    struct cairn_swim_msg m = {
        .kind = kind, .seq = 9, .about = 77, .incarnation = 5, .word = { 21, 22 }, .epoch = 1, .version = 2, .next = 3
    };
    struct cairn_le_writer w;

    cairn_swim_write_head(&w, to, &m);
    for (uint32_t i = 0; i < n; i++)
        assert_true(cairn_swim_write_update(&w, &u[i]));
    return (size_t)(w.at - to);
}

static void what_is_written_is_read_back(void **state)
{
    static struct cairn_swim_msg m;
    uint8_t bytes[CAIRN_SWIM_PACKET_BYTES_MAX];
    struct cairn_swim_desc d, back;
    struct cairn_swim_update u[3] = { { .load = 0 } };
    size_t n;

    (void)state;
    describe(&d, 1);
    cairn_swim_desc_to_update(&d, &u[0]);
    u[0].incarnation = 11;
    u[0].load = 12;
    u[0].load_seq = 13;
    u[1] =
        (struct cairn_swim_update){ .state = CAIRN_SWIM_SUSPECT, .id = 5, .incarnation = 6, .nby = 2, .by = { 7, 8 } };
    u[2] = (struct cairn_swim_update){ .state = CAIRN_SWIM_LEFT, .id = 9, .incarnation = 10, .nby = 1, .by = { 9 } };
    n = make(bytes, CAIRN_SWIM_PAGE, u, 3);
    assert_true(cairn_swim_decode(bytes, n, &m));
    assert_int_equal(m.kind, CAIRN_SWIM_PAGE);
    assert_int_equal(m.about, 77);
    assert_int_equal(m.word.node, 21);
    assert_int_equal(m.word.version, 22);
    assert_int_equal(m.next, 3);
    assert_int_equal(m.nupdates, 3);
    assert_int_equal(m.updates[0].load, 12);
    assert_int_equal(m.updates[0].load_seq, 13);
    cairn_swim_update_to_desc(&m.updates[0], &back);
    assert_memory_equal(&back, &d, sizeof(d));
    assert_int_equal(m.updates[1].by[1], 8);
    assert_int_equal(m.updates[2].state, CAIRN_SWIM_LEFT);
    assert_int_equal(m.updates[2].incarnation, 10);
    /* Every beginning is either a whole packet with fewer updates, or none. */
    for (size_t cut = 0; cut < n; cut++) {
        if (cairn_swim_decode(bytes, cut, &m))
            assert_true(m.nupdates < 3);
    }
}

static void what_is_out_of_place_is_refused(void **state)
{
    static struct cairn_swim_msg m;
    uint8_t bytes[CAIRN_SWIM_PACKET_BYTES_MAX + 1] = { 0 };
    struct cairn_swim_update dead = { .state = CAIRN_SWIM_DEAD, .id = 9, .nby = 1 }, alive, many[80];
    struct cairn_swim_desc d;
    size_t n, name;

    (void)state;
    assert_false(cairn_swim_decode(bytes, CAIRN_SWIM_HEAD_BYTES, &m)); /* no kind */
    n = make(bytes, CAIRN_SWIM_GOSSIP, &dead, 1);
    assert_true(cairn_swim_decode(bytes, n, &m));
    assert_false(cairn_swim_decode(bytes, n + 1, &m)); /* half an update */
    assert_false(cairn_swim_decode(bytes, sizeof(bytes), &m));
    bytes[CAIRN_SWIM_HEAD_BYTES] = CAIRN_SWIM_STATES_NR;
    assert_false(cairn_swim_decode(bytes, n, &m));
    describe(&d, 1);
    cairn_swim_desc_to_update(&d, &alive);
    n = make(bytes, CAIRN_SWIM_GOSSIP, &alive, 1);
    name = n - strlen(d.service) - strlen(d.zone) - strlen(d.name) - 2;
    assert_memory_equal(bytes + name, d.name, 6);
    bytes[name] = '\n'; /* what people will see */
    assert_false(cairn_swim_decode(bytes, n, &m));
    bytes[name] = 'm';
    bytes[name - 1] = 0; /* no name */
    assert_false(cairn_swim_decode(bytes, n, &m));
    for (uint32_t i = 0; i < 80; i++)
        many[i] = dead;
    n = make(bytes, CAIRN_SWIM_GOSSIP, many, 1344 / 25 - 2);
    assert_true(cairn_swim_decode(bytes, n, &m));
    for (size_t room = 0; room < 25; room++) { /* the smaller ones behind it may still fit */
        struct cairn_le_writer w = cairn_le_writer(bytes, room);

        assert_false(cairn_swim_write_update(&w, &dead));
        assert_true(w.at == bytes && !w.failed);
    }
}

/* Against a plain array: what was put and not removed is found, in its slot, and nothing else. */
static void a_directory_finds_what_it_holds(void **state)
{
    enum { ROOM = 100, NAMES = 300, STEPS = 20000 };
    static struct cairn_swim_desc descs[ROOM], d;
    static uint32_t table[512], slot_of[NAMES];
    struct cairn_swim_dir dir;
    uint32_t seed = 1;

    (void)state;
    assert_true(cairn_swim_dir_table_len(ROOM) <= 512);
    cairn_swim_dir_init(&dir, descs, table, ROOM);
    memset(slot_of, 0xff, sizeof(slot_of));
    for (uint32_t i = 0; i < STEPS; i++) {
        uint32_t k;

        seed = seed * 1664525 + 1013904223;
        k = (seed >> 8) % NAMES;
        describe(&d, k);
        assert_int_equal(cairn_swim_dir_find(&dir, d.id), slot_of[k]);
        if (slot_of[k] == CAIRN_SWIM_NO_SLOT) {
            bool full = dir.n == ROOM;

            slot_of[k] = cairn_swim_dir_put(&dir, &d);
            assert_true(full == (slot_of[k] == CAIRN_SWIM_NO_SLOT));
        }
        if (slot_of[k] != CAIRN_SWIM_NO_SLOT && seed >> 30 != 0) {
            cairn_swim_dir_remove(&dir, slot_of[k]);
            slot_of[k] = CAIRN_SWIM_NO_SLOT;
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read_back),
        cmocka_unit_test(what_is_out_of_place_is_refused),
        cmocka_unit_test(a_directory_finds_what_it_holds),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
