/* The codec of the map: records, and what nodes and the coordinator say to each other. */
#include "tests/unit/cluster/wire_ends.h"

/* @w through its bytes; it must fit into a frame. */
static void *travel(struct ends *e, const void *w)
{
    const ProtobufCMessage *m = w;
    size_t n = protobuf_c_message_get_packed_size(m);
    uint8_t *bytes = malloc(n + 1);

    assert_non_null(bytes);
    assert_in_range(n, 0, CAIRN_FRAME_BODY_BYTES_MAX);
    assert_int_equal(protobuf_c_message_pack(m, bytes), n);
    if (e->w != NULL)
        protobuf_c_message_free_unpacked(e->w, NULL);
    e->w = protobuf_c_message_unpack(m->descriptor, NULL, n, bytes);
    free(bytes);
    assert_non_null(e->w);
    return e->w;
}

/* ---- records ---- */

static const struct cairn_slot_record some_record = {
    .epoch = 12,
    .since = 10,
    .state = CAIRN_SLOT_TAKEOVER,
    .min_insync = 2,
    .primary = { 9, 31 },
    .nreplicas = 3,
    .ninsync = 2,
    .replicas = { 7, 8, 9 },
    .insync = { { 7, 30 }, { 9, 31 } },
    .move = { .phase = CAIRN_MOVE_COPY, .target = { 11, 33 }, .from = 8, .lead = true },
};

/* Every field as large as it may be. */
static struct cairn_slot_record largest_record(void)
{
    struct cairn_slot_record rec = { .epoch = INT64_MAX,
                                     .since = INT64_MAX,
                                     .state = CAIRN_SLOT_LOST,
                                     .min_insync = CAIRN_REPLICAS_MAX,
                                     .nreplicas = CAIRN_REPLICAS_MAX,
                                     .ninsync = CAIRN_REPLICAS_MAX,
                                     .move = { .phase = CAIRN_MOVE_JOINED,
                                               .target = { UINT64_MAX - 20, UINT64_MAX },
                                               .from = UINT64_MAX,
                                               .lead = true } };

    for (uint32_t i = 0; i < CAIRN_REPLICAS_MAX; i++) {
        rec.replicas[i] = UINT64_MAX - i;
        rec.insync[i] = (struct cairn_who){ UINT64_MAX - i, UINT64_MAX };
    }
    rec.primary = rec.insync[3];
    return rec;
}

static void records_are_stored(void **state)
{
    const struct cairn_slot_record recs[] = { some_record, largest_record() };
    uint8_t bytes[CAIRN_WIRE_RECORD_BYTES_MAX];
    struct cairn_slot_record got;
    struct ends *e = *state;

    for (size_t i = 0; i < ARRAY_SIZE(recs); i++) {
        size_t n = cairn_wire_slot_pack(&recs[i], bytes);

        assert_int_equal(cairn_wire_slot_unpack(bytes, n, &got, &e->err), 0);
        assert_int_equal(cairn_wire_slot_pack(&got, bytes), n);
        assert_memory_equal(&got.insync, &recs[i].insync, sizeof(got.insync));
        assert_memory_equal(&got.replicas, &recs[i].replicas, sizeof(got.replicas));
        assert_true(cairn_who_is(got.primary, recs[i].primary));
        assert_true(cairn_who_is(got.move.target, recs[i].move.target));
        assert_int_equal(got.move.phase, recs[i].move.phase);
        assert_int_equal(got.move.from, recs[i].move.from);
        assert_true(got.move.lead);
        assert_true(got.epoch == recs[i].epoch && got.since == recs[i].since && got.state == recs[i].state &&
                    got.min_insync == recs[i].min_insync);
        REFUSED(e, CAIRN_E_INVAL, "are no record", cairn_wire_slot_unpack(bytes, n - 1, &got, &e->err));
    }
    REFUSED(e, CAIRN_E_INVAL, "513 bytes are no record", cairn_wire_slot_unpack(bytes, 513, &got, &e->err));
}

/* Each a record with one thing wrong. */
static void records_that_contradict_themselves_are_refused(void **state)
{
    static const struct {
        const char *words;
        int code;
        struct cairn_slot_record rec;
    } wrong[] = {
        { "of epoch 0", CAIRN_E_INVAL, { .epoch = 0 } },
        { "led since 13", CAIRN_E_INVAL, { .epoch = 12, .since = 13 } },
        { "unknown state, 4", CAIRN_E_INVAL, { .epoch = 1, .since = 1, .state = 4 } },
        { "at least 9", CAIRN_E_LIMIT, { .epoch = 1, .since = 1, .state = 1, .min_insync = 9 } },
        { "or one twice", CAIRN_E_INVAL, { 1, 1, 1, .nreplicas = 2, .replicas = { 5, 5 } } },
        { "or one twice", CAIRN_E_INVAL, { 1, 1, 1, .nreplicas = 1, .replicas = { 0 } } },
        { "or is twice", CAIRN_E_INVAL, { 1, 1, 1, .ninsync = 2, .insync = { { 5, 1 }, { 5, 2 } } } },
        { "leads and is not", CAIRN_E_INVAL, { 1, 1, 1, .primary = { 5, 2 }, .ninsync = 1, .insync = { { 5, 1 } } } },
        { "leads and is not", CAIRN_E_INVAL, { 1, 1, 1, .ninsync = 0 } },
        { "unknown phase",
          CAIRN_E_INVAL,
          { 1, 1, 1, .primary = { 5, 1 }, .ninsync = 1, .insync = { { 5, 1 } }, .move.phase = 3 } },
        { "a move from",
          CAIRN_E_INVAL,
          { 1, 1, 1, .primary = { 5, 1 }, .ninsync = 1, .insync = { { 5, 1 } }, .move.phase = CAIRN_MOVE_COPY } },
    };
    uint8_t bytes[CAIRN_WIRE_RECORD_BYTES_MAX];
    struct cairn_slot_record got;
    struct ends *e = *state;
    Cairn__Wire__SlotRecord *w;

    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
        REFUSED(e, wrong[i].code, wrong[i].words,
                cairn_wire_slot_unpack(bytes, cairn_wire_slot_pack(&wrong[i].rec, bytes), &got, &e->err));
    w = travel(e, cairn_wire_slot_put(&some_record, &e->put));
    w->version = 2;
    REFUSED(e, CAIRN_E_FORMAT, "version 2", cairn_wire_slot_get(w, &got, &e->err));
    w->version = 1;
    w->n_insync = CAIRN_REPLICAS_MAX + 1;
    REFUSED(e, CAIRN_E_LIMIT, "9 in sync", cairn_wire_slot_get(w, &got, &e->err));
    w->n_insync = 2;
    assert_int_equal(cairn_wire_slot_get(w, &got, &e->err), 0);
}

static void processes_are_stored(void **state)
{
    const struct cairn_coord_process p = {
        .node = 7, .inc = 40, .disk_id = UINT64_MAX, .disk_inc = 12, .draining = true, .process = 5
    };
    struct cairn_coord_process got, wrong = p;
    uint8_t bytes[CAIRN_WIRE_RECORD_BYTES_MAX];
    struct ends *e = *state;
    size_t n = cairn_wire_process_pack(&p, bytes);

    assert_int_equal(cairn_wire_process_unpack(bytes, n, &got, &e->err), 0);
    assert_true(got.node == 7 && got.inc == 40 && got.disk_id == UINT64_MAX && got.disk_inc == 12 && got.draining &&
                got.process == 5);
    wrong.disk_inc = 41;
    n = cairn_wire_process_pack(&wrong, bytes);
    REFUSED(e, CAIRN_E_INVAL, "disk ffffffffffffffff since 41", cairn_wire_process_unpack(bytes, n, &got, &e->err));
    wrong.inc = wrong.disk_inc = 0;
    n = cairn_wire_process_pack(&wrong, bytes);
    REFUSED(e, CAIRN_E_INVAL, "never registered", cairn_wire_process_unpack(bytes, n, &got, &e->err));
}

/* ---- nodes and the coordinator ---- */

static void a_process_registers(void **state)
{
    const struct cairn_coord_process p = { .node = 7, .inc = 3, .disk_id = 70, .disk_inc = 2, .process = 5 };
    const struct cairn_coord_log logs[] = { { 0, { 1, 2 } }, { 3, { 0, 0 } }, { 16383, { 4, 900 } } };
    const uint8_t partial[] = { 4, 0, 128 };
    const struct cairn_coord_told told = { .logs = logs, .nlogs = 3, .partial = partial, .partial_bytes = 3 };
    struct cairn_coord_told got_told;
    struct cairn_coord_process got;
    struct ends *e = *state;
    Cairn__Wire__ClusterRegister *w = travel(e, cairn_wire_register_put(&p, &told, &e->put));
    Cairn__Wire__ClusterRegistered *answer;

#define GET() cairn_wire_register_get(w, &e->got, &got, &got_told, &e->err)
    assert_int_equal(GET(), 0);
    assert_true(got.node == 7 && got.inc == 0 && got.disk_id == 70 && got.process == 5);
    assert_int_equal(got_told.nlogs, 3);
    for (uint32_t i = 0; i < 3; i++)
        assert_true(got_told.logs[i].slot == logs[i].slot && cairn_at_is(got_told.logs[i].end, logs[i].end));
    assert_int_equal(got_told.partial_bytes, 3);
    for (uint32_t i = 0; i < 100; i++)
        assert_true(cairn_bits_has(got_told.partial, got_told.partial_bytes, i) == (i == 2 || i == 23));
    w->slots[1] = 0;
    REFUSED(e, CAIRN_E_INVAL, "slot 0 at place 1", GET());
    w->slots[1] = 3;
    w->positions[1] = 1;
    REFUSED(e, CAIRN_E_INVAL, "ends at epoch 0, position 1", GET());
    w->positions[1] = 0;
    w->n_epochs = 2;
    REFUSED(e, CAIRN_E_INVAL, "3 slots, 2 epochs", GET());
    w->n_slots = w->n_epochs = w->n_positions = CAIRN_WIRE_LOGS_MAX + 1;
    REFUSED(e, CAIRN_E_LIMIT, "32769 logs", GET());
    w->n_slots = w->n_epochs = w->n_positions = 3;
    w->partial.len = CAIRN_WIRE_PARTIAL_BYTES_MAX + 1;
    REFUSED(e, CAIRN_E_LIMIT, "partial slots in 131073 bytes", GET());
    w->partial.len = 3;
    w->process->node = 0;
    REFUSED(e, CAIRN_E_INVAL, "REGISTER: process 5 of node 0", GET());
#undef GET

    answer = travel(e, cairn_wire_registered_put(&p, &e->put));
    assert_int_equal(cairn_wire_registered_get(answer, &got, &e->err), 0);
    assert_true(got.node == 7 && got.process == 5 && got.inc == 3);
    answer->inc = 0;
    REFUSED(e, CAIRN_E_INVAL, "registered as 0", cairn_wire_registered_get(answer, &got, &e->err));
}

static void a_heartbeat_is_granted(void **state)
{
    const struct cairn_wire_slot slots[] = { { 0, some_record }, { 9, some_record } };
    const struct cairn_wire_member members[] = {
        { .node = 7, .inc = 30, .name = "n7", .zone = "", .host = "h1", .weight = 100, .state = CAIRN_WIRE_MEMBER_UP },
        { .node = 8,
          .name = "n8",
          .zone = "rack 2",
          .addresses = { "tcp://10.0.0.8:7070", "ofi://x" },
          .naddresses = 2,
          .state = CAIRN_WIRE_MEMBER_DRAINING },
    };
    const struct cairn_wire_grant g = { .who = { 7, 30 },
                                        .number = 55,
                                        .term = 89,
                                        .granted = true,
                                        .wants_register = true,
                                        .ahead = true,
                                        .upto = 902,
                                        .map = 77,
                                        .page = { 77, 66, 901, true, slots, members, 2, 2 } };
    struct cairn_wire_heartbeat beat = {
        .who = { 7, 30 }, .number = 55, .revision = 900, .term = 88, .map = 77, .vouched = 899
    };
    struct cairn_wire_heartbeat got_beat;
    struct cairn_wire_grant got;
    struct ends *e = *state;
    Cairn__Wire__ClusterGrant *w;

    assert_int_equal(cairn_wire_heartbeat_get(travel(e, cairn_wire_heartbeat_put(&beat, &e->put)), &got_beat, &e->err),
                     0);
    assert_true(cairn_who_is(got_beat.who, beat.who) && got_beat.number == 55 && got_beat.revision == 900 &&
                got_beat.term == 88 && got_beat.map == 77 && got_beat.vouched == 899);
    beat.number = 0;
    REFUSED(e, CAIRN_E_INVAL, "heartbeat 0 of node 7",
            cairn_wire_heartbeat_get(travel(e, cairn_wire_heartbeat_put(&beat, &e->put)), &got_beat, &e->err));

    w = travel(e, cairn_wire_grant_put(&g, &e->put));
#define GET() cairn_wire_grant_get(w, &e->got, &got, &e->err)
    assert_int_equal(GET(), 0);
    assert_true(cairn_who_is(got.who, g.who) && got.number == 55 && got.term == 89 && got.granted &&
                got.wants_register && got.upto == 902 && got.ahead && got.map == 77 && got.page.map == 77);
    assert_true(got.page.copy == 66 && got.page.revision == 901 && got.page.more && got.page.nslots == 2 &&
                got.page.nmembers == 2);
    assert_true(got.page.slots[1].slot == 9 && got.page.slots[1].rec.epoch == 12);
    assert_string_equal(got.page.members[1].zone, "rack 2");
    assert_string_equal(got.page.members[0].host, "h1");
    assert_string_equal(got.page.members[1].host, "");
    assert_int_equal(got.page.members[1].naddresses, 2);
    assert_string_equal(got.page.members[1].addresses[1], "ofi://x");
    assert_true(got.page.members[0].inc == 30 && got.page.members[0].weight == 100);
    assert_int_equal(got.page.members[1].state, CAIRN_WIRE_MEMBER_DRAINING);
    w->upto = 900;
    REFUSED(e, CAIRN_E_INVAL, "GRANT: its page goes beyond the map", GET());
    w->upto = 901;
    w->records->members[0]->state = (Cairn__Wire__MemberState)6;
    REFUSED(e, CAIRN_E_INVAL, "n7 is in an unknown state", GET());
    w->records->members[0]->state = CAIRN__WIRE__MEMBER_STATE__MEMBER_UP;
    w->records->members[1]->n_addresses = 5;
    REFUSED(e, CAIRN_E_LIMIT, "n8 has 5 addresses", GET());
    w->records->members[1]->n_addresses = 2;
    w->records->slots[1]->record->since = 13;
    REFUSED(e, CAIRN_E_INVAL, "GRANT: slot 9: a slot's record of epoch 12", GET());
    w->records->slots[1]->record->since = 12;
    w->records->n_slots = CAIRN_WIRE_PAGE_SLOTS_MAX + 1;
    REFUSED(e, CAIRN_E_LIMIT, "1025 slots", GET());
    w->records->n_slots = 2;
    assert_int_equal(GET(), 0);
#undef GET
}

/* The largest page, and the largest REGISTER, fit into a frame and into the memory that a request may take. */
static void the_largest_fit_into_a_frame(void **state)
{
    static struct cairn_wire_slot slots[CAIRN_WIRE_PAGE_SLOTS_MAX];
    static struct cairn_wire_member members[CAIRN_WIRE_PAGE_MEMBERS_MAX];
    static struct cairn_coord_log logs[CAIRN_WIRE_LOGS_MAX];
    static uint8_t partial[CAIRN_WIRE_PARTIAL_BYTES_MAX];
    static char text[CAIRN_NAME_BYTES_MAX + 1];
    const struct cairn_coord_process p = {
        .node = UINT64_MAX, .disk_id = UINT64_MAX, .process = UINT64_MAX, .inc = 1, .disk_inc = 1
    };
    const struct cairn_coord_told told = {
        .logs = logs, .nlogs = CAIRN_WIRE_LOGS_MAX, .partial = partial, .partial_bytes = sizeof(partial)
    };
    struct cairn_coord_told got_told;
    struct cairn_coord_process got;
    struct cairn_wire_grant g = { .who = { UINT64_MAX, UINT64_MAX },
                                  .number = UINT64_MAX,
                                  .upto = UINT64_MAX,
                                  .page = { 0, UINT64_MAX, UINT64_MAX, true, slots, members, CAIRN_WIRE_PAGE_SLOTS_MAX,
                                            CAIRN_WIRE_PAGE_MEMBERS_MAX } };
    struct ends *e = *state;

    memset(text, 'x', sizeof(text) - 1);
    for (uint32_t i = 0; i < CAIRN_WIRE_PAGE_SLOTS_MAX; i++)
        slots[i] = (struct cairn_wire_slot){ (1 << CAIRN_SLOT_BITS_MAX) - 1, largest_record() };
    for (uint32_t i = 0; i < CAIRN_WIRE_PAGE_MEMBERS_MAX; i++) {
        members[i] = (struct cairn_wire_member){ .node = UINT64_MAX,
                                                 .inc = UINT64_MAX,
                                                 .name = text,
                                                 .zone = text,
                                                 .host = text,
                                                 .addresses = { text, text, text, text },
                                                 .naddresses = CAIRN_WIRE_ADDRESSES_MAX,
                                                 .weight = UINT32_MAX,
                                                 .state = CAIRN_WIRE_MEMBER_LOST };
    }
    assert_int_equal(cairn_wire_grant_get(travel(e, cairn_wire_grant_put(&g, &e->put)), &e->got, &g, &e->err), 0);
    drop(e);
    for (uint32_t i = 0; i < CAIRN_WIRE_LOGS_MAX; i++)
        logs[i] =
            (struct cairn_coord_log){ (1 << CAIRN_SLOT_BITS_MAX) - CAIRN_WIRE_LOGS_MAX + i, { UINT64_MAX, INT64_MAX } };
    assert_int_equal(cairn_wire_register_get(travel(e, cairn_wire_register_put(&p, &told, &e->put)), &e->got, &got,
                                             &got_told, &e->err),
                     0);
    assert_int_equal(got_told.nlogs, CAIRN_WIRE_LOGS_MAX);
    assert_int_equal(got_told.partial_bytes, sizeof(partial));
}

static void a_change_is_proposed(void **state)
{
    const struct cairn_change c = {
        .kind = CAIRN_CHANGE_REMOVE, .slot = 4, .epoch = 12, .from = { 9, 31 }, .who = { 8, 35 }, .leaves = true
    };
    struct cairn_slot_record rec, none = { 0 };
    struct cairn_change got;
    enum cairn_verdict verdict;
    struct ends *e = *state;
    Cairn__Wire__ClusterVerdict *w =
        travel(e, cairn_wire_verdict_put(&c, CAIRN_VERDICT_REFUSED_INC, &some_record, &e->put));

#define GET() cairn_wire_verdict_get(w, &got, &verdict, &rec, &e->err)
    assert_int_equal(GET(), 0);
    assert_int_equal(verdict, CAIRN_VERDICT_REFUSED_INC);
    assert_int_equal(rec.epoch, 12);
    assert_true(got.kind == c.kind && got.slot == 4 && got.epoch == 12 && cairn_who_is(got.from, c.from) &&
                cairn_who_is(got.who, c.who) && got.leaves);
    w->verdict = (Cairn__Wire__Verdict)4;
    REFUSED(e, CAIRN_E_INVAL, "unknown verdict, 4", GET());
    w->verdict = CAIRN__WIRE__VERDICT__VERDICT_COMMITTED;
    w->change->kind = (Cairn__Wire__ChangeKind)5;
    REFUSED(e, CAIRN_E_INVAL, "unknown change, 5", GET());
    w->change->kind = CAIRN__WIRE__CHANGE_KIND__CHANGE_REMOVE;
    w->change->who->inc = 0;
    REFUSED(e, CAIRN_E_INVAL, "node 8 as 0", GET());
    w->change->kind = CAIRN__WIRE__CHANGE_KIND__CHANGE_ACTIVE;
    assert_int_equal(GET(), 0);
    w = travel(e, cairn_wire_verdict_put(&c, CAIRN_VERDICT_REFUSED, &none, &e->put));
    assert_int_equal(GET(), 0);
    assert_int_equal(rec.epoch, 0);
#undef GET
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(records_are_stored, begin, end),
        cmocka_unit_test_setup_teardown(records_that_contradict_themselves_are_refused, begin, end),
        cmocka_unit_test_setup_teardown(processes_are_stored, begin, end),
        cmocka_unit_test_setup_teardown(a_process_registers, begin, end),
        cmocka_unit_test_setup_teardown(a_heartbeat_is_granted, begin, end),
        cmocka_unit_test_setup_teardown(the_largest_fit_into_a_frame, begin, end),
        cmocka_unit_test_setup_teardown(a_change_is_proposed, begin, end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
