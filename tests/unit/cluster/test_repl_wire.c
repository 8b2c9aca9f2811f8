/* The codec of replication: what is put is got, over the bytes between; and what is refused of bytes nobody put. */
#include "tests/unit/cluster/wire_ends.h"

/* ---- messages of replicas ---- */

static const uint8_t payload_bytes[] = "put apple=1put pear=2";
static const struct cairn_log_entry some_entries[] = {
    { .at = { 3, 8 }, .kind = CAIRN_ENTRY_START, .sync = true },
    { .at = { 3, 9 }, .kind = CAIRN_ENTRY_OPEN },
    { .at = { 5, 10 },
      .kind = CAIRN_ENTRY_WRITE,
      .sync = true,
      .rid = { .session = { 3, 9 }, .seq = 4 },
      .floor = 2,
      .body = payload_bytes,
      .body_len = 11 },
    { .at = { 5, 11 }, .kind = CAIRN_ENTRY_WRITE, .rid.seq = 77, .body = payload_bytes + 11, .body_len = 10 },
    { .at = { 6, 12 }, .kind = CAIRN_ENTRY_EXPIRE, .rid.session = { 3, 9 } },
};
static const struct cairn_run some_runs[] = { { 1, 1 }, { 3, 8 }, { 5, 10 }, { 6, 12 } };

#define MESSAGE .slot = 16383, .from = { 7, 40 }, .to = { 9, 41 }, .epoch = 6

static const struct cairn_repl_msg messages[] = {
    { MESSAGE, .kind = CAIRN_REPL_APPEND, .prev = { 2, 7 }, .entries = some_entries, .nentries = 5, .commit = 9 },
    { MESSAGE, .kind = CAIRN_REPL_APPEND, .prev = { 0, 0 } },
    { MESSAGE, .kind = CAIRN_REPL_ACK, .matched = 12, .synced = 10, .base = 3 },
    { MESSAGE, .kind = CAIRN_REPL_NACK },
    { MESSAGE, .kind = CAIRN_REPL_MATCH, .end = { 6, 12 }, .applied = { 3, 9 }, .runs = some_runs, .nruns = 4,
      .partial = true },
    { .slot = 1,
      .from = { 7, 41 },
      .to = { 9, 0 },
      .epoch = 4,
      .kind = CAIRN_REPL_MATCH,
      .end = { 6, 12 } }, /* an old map */
    { MESSAGE, .kind = CAIRN_REPL_COPY, .prev = { 5, 11 }, .job = 3, .number = 0, .part = CAIRN_COPY_BEGIN },
    { MESSAGE, .kind = CAIRN_REPL_COPY, .prev = { 5, 11 }, .job = 3, .number = 4, .part = CAIRN_COPY_RECORDS,
      .bytes = payload_bytes, .len = 21 },
    { MESSAGE, .kind = CAIRN_REPL_COPIED, .job = 3, .number = 5 },
};

static void assert_entries_equal(const struct cairn_log_entry *a, const struct cairn_log_entry *b)
{
    assert_true(cairn_at_is(a->at, b->at));
    assert_int_equal(a->kind, b->kind);
    assert_int_equal(a->sync, b->sync);
    assert_true(cairn_at_is(a->rid.session, b->rid.session));
    assert_int_equal(a->rid.seq, b->rid.seq);
    assert_int_equal(a->floor, b->floor);
    assert_int_equal(a->body_len, b->body_len);
    if (a->body_len > 0)
        assert_memory_equal(a->body, b->body, a->body_len);
}

static void assert_messages_equal(const struct cairn_repl_msg *a, const struct cairn_repl_msg *b)
{
    assert_int_equal(a->kind, b->kind);
    assert_int_equal(a->slot, b->slot);
    assert_true(cairn_who_is(a->from, b->from) && cairn_who_is(a->to, b->to));
    assert_int_equal(a->epoch, b->epoch);
    assert_true(cairn_at_is(a->prev, b->prev));
    assert_int_equal(a->commit, b->commit);
    assert_int_equal(a->nentries, b->nentries);
    for (uint32_t i = 0; i < a->nentries; i++)
        assert_entries_equal(&a->entries[i], &b->entries[i]);
    assert_int_equal(a->matched, b->matched);
    assert_int_equal(a->synced, b->synced);
    assert_true(cairn_at_is(a->end, b->end) && cairn_at_is(a->applied, b->applied));
    assert_int_equal(a->nruns, b->nruns);
    if (a->nruns > 0)
        assert_memory_equal(a->runs, b->runs, a->nruns * sizeof(*a->runs));
    assert_int_equal(a->partial, b->partial);
    assert_int_equal(a->job, b->job);
    assert_int_equal(a->number, b->number);
    assert_int_equal(a->part, b->part);
    assert_int_equal(a->len, b->len);
    if (a->len > 0)
        assert_memory_equal(a->bytes, b->bytes, a->len);
}

/* @m as it is read from the bytes that it goes into, of which @cut are missing; negative: so many are too many. */
static int carry_cut(struct ends *e, const struct cairn_repl_msg *m, int cut, struct cairn_repl_msg *got)
{
    struct cairn_wire_mail *mail = &e->mail;
    struct cairn_wire_letter l;
    struct cairn_le_reader r;

    cairn_wire_mail_clear(mail);
    assert_int_equal(cairn_wire_mail_add(mail, m), 0);
    if (cut < 0)
        assert_int_equal(cairn_wire_mail_add(mail, m), 0); /* there are bytes behind it */
    assert_int_equal(cairn_wire_mail_open(mail->bytes, mail->n, &r, &e->err), 0);
    assert_int_equal(cairn_wire_mail_next(&r, &l, &e->err), 1);
    l.len = (uint32_t)((int64_t)l.len - cut);
    return cairn_wire_letter_get(&l, &e->got, got, &e->err);
}

static int carry(struct ends *e, const struct cairn_repl_msg *m)
{
    struct cairn_repl_msg got;

    return carry_cut(e, m, 0, &got);
}

static void each_kind_of_message_travels(void **state)
{
    struct ends *e = *state;

    for (size_t i = 0; i < ARRAY_SIZE(messages); i++) {
        struct cairn_repl_msg m;

        assert_int_equal(carry_cut(e, &messages[i], 0, &m), 0);
        assert_messages_equal(&messages[i], &m);
        drop(e);
    }
}

/* Whatever is missing at the end, or comes behind it, of a message whose bytes have an end of their own. */
static void messages_are_as_long_as_they_say(void **state)
{
    struct ends *e = *state;
    struct cairn_repl_msg m;

    for (size_t i = 0; i < ARRAY_SIZE(messages); i++) {
        bool runs_on = messages[i].kind == CAIRN_REPL_COPY && messages[i].part == CAIRN_COPY_RECORDS;
        int len;

        assert_int_equal(carry(e, &messages[i]), 0);
        len = (int)cairn_le_load32(e->mail.bytes + 5);
        for (int cut = runs_on ? (int)messages[i].len + 1 : 1; cut <= len; cut++) {
            memset(&e->err, 0, sizeof(e->err));
            assert_int_equal(carry_cut(e, &messages[i], cut, &m), CAIRN_E_INVAL);
            assert_int_equal(e->err.code, CAIRN_E_INVAL);
        }
        if (!runs_on)
            REFUSED(e, CAIRN_E_INVAL, "1 bytes behind its end", carry_cut(e, &messages[i], -1, &m));
        drop(e);
    }
    REFUSED(e, CAIRN_E_INVAL, "are no message of its kind", carry_cut(e, &messages[0], 1, &m));
}

static void appends_that_do_not_add_up_are_refused(void **state)
{
    static struct cairn_log_entry many[CAIRN_APPEND_ENTRIES_MAX + 1];
    static uint8_t large[CAIRN_ENTRY_BODY_BYTES_MAX + 1];
    struct ends *e = *state;
    struct cairn_log_entry entries[5];
    struct cairn_repl_msg m = messages[0];

#define WRONG(code, words, what, value)                                                                                \
    do {                                                                                                               \
        m = messages[0];                                                                                               \
        m.entries = memcpy(entries, some_entries, sizeof(entries));                                                    \
        what = value;                                                                                                  \
        REFUSED(e, code, words, carry(e, &m));                                                                         \
    } while (0)
    entries[2].body = large;
    WRONG(CAIRN_E_INVAL, "unknown kind, 9", entries[3].kind, (enum cairn_entry_kind)9);
    WRONG(CAIRN_E_INVAL, "unknown kind, 0", entries[0].kind, (enum cairn_entry_kind)0);
    WRONG(CAIRN_E_INVAL, "epoch 4 behind one of 5", entries[3].at.epoch, 4);
    WRONG(CAIRN_E_INVAL, "in epoch 6", entries[4].at.epoch, 7);
    WRONG(CAIRN_E_INVAL, "no such session", entries[4].rid.session.pos, 0);
    WRONG(CAIRN_E_INVAL, "no entry stands before it", m.prev.epoch, 0);
    WRONG(CAIRN_E_INVAL, "no entry stands before it", m.prev.pos, UINT64_MAX);
    WRONG(CAIRN_E_INVAL, "no entry stands before it", m.prev.epoch, 7);
    WRONG(CAIRN_E_INVAL, "from, to or epoch is missing", m.from.inc, 0);
    WRONG(CAIRN_E_INVAL, "from, to or epoch is missing", m.to.node, 0);
    WRONG(CAIRN_E_INVAL, "from, to or epoch is missing", m.epoch, 0);
    WRONG(CAIRN_E_INVAL, "no slot 1048576", m.slot, 1 << CAIRN_SLOT_BITS_MAX);
    WRONG(CAIRN_E_INVAL, "no message of its kind", m.partial, true);
#undef WRONG
    m = messages[0];
    m.entries = memcpy(entries, some_entries, sizeof(entries));
    entries[2].body = large;
    entries[2].body_len = sizeof(large);
    REFUSED(e, CAIRN_E_LIMIT, "entry 10 has 2097153 bytes", carry(e, &m));
    m.entries = many;
    m.nentries = ARRAY_SIZE(many);
    REFUSED(e, CAIRN_E_LIMIT, "257 entries", carry(e, &m));
}

static void other_messages_that_do_not_add_up_are_refused(void **state)
{
    static struct cairn_run many[CAIRN_LOG_RUNS_MAX + 1];
    struct ends *e = *state;
    struct cairn_run runs[4];
    struct cairn_repl_msg m;

#define WRONG(i, words, what, value)                                                                                   \
    do {                                                                                                               \
        m = messages[i];                                                                                               \
        if (m.nruns > 0)                                                                                               \
            m.runs = memcpy(runs, some_runs, sizeof(runs));                                                            \
        what = value;                                                                                                  \
        REFUSED(e, CAIRN_E_INVAL, words, carry(e, &m));                                                                \
    } while (0)
    WRONG(4, "epoch 3 begins at 10", runs[2].epoch, 3);
    WRONG(4, "begins at 13", runs[3].first, 13);
    WRONG(4, "no log ends", m.applied.pos, 13);
    WRONG(7, "unknown part", m.part, (enum cairn_copy_part)5);
    WRONG(7, "21 bytes behind its end", m.part, CAIRN_COPY_END);
    WRONG(7, "none of kind", m.part, CAIRN_COPY_BEGIN);
    WRONG(7, "none of kind", m.number, UINT64_MAX);
    WRONG(7, "a copy of epoch 0", m.prev, (struct cairn_at){ 0 });
    WRONG(3, "no message of its kind", m.leaves, true);
#undef WRONG
    m = messages[4];
    m.runs = many;
    m.nruns = ARRAY_SIZE(many);
    REFUSED(e, CAIRN_E_LIMIT, "257 epochs", carry(e, &m));

    /* and what nobody here would put */
    assert_int_equal(carry(e, &messages[3]), 0);
    for (uint8_t kind = 0; kind < 16; kind += 7) { /* 0, 7, 14 */
        struct cairn_wire_letter l;
        struct cairn_le_reader r;

        e->mail.bytes[9] = kind;
        assert_int_equal(cairn_wire_mail_open(e->mail.bytes, e->mail.n, &r, &e->err), 0);
        assert_int_equal(cairn_wire_mail_next(&r, &l, &e->err), 1);
        REFUSED(e, CAIRN_E_INVAL, "no known kind", cairn_wire_letter_get(&l, &e->got, &m, &e->err));
    }
}

/* ---- mail ---- */

/* All kinds in one piece: they come out in order, whole, and nothing behind them. */
static void mail_carries_messages_in_order(void **state)
{
    struct cairn_wire_mail mail = { 0 };
    struct ends *e = *state;
    struct cairn_le_reader r;
    struct cairn_wire_letter l;
    struct cairn_repl_msg m;

    for (size_t i = 0; i < ARRAY_SIZE(messages); i++)
        assert_int_equal(cairn_wire_mail_add(&mail, &messages[i]), 0);
    assert_int_equal(cairn_wire_mail_open(mail.bytes, mail.n, &r, &e->err), 0);
    for (size_t i = 0; i < ARRAY_SIZE(messages); i++) {
        assert_int_equal(cairn_wire_mail_next(&r, &l, &e->err), 1);
        assert_int_equal(l.slot, messages[i].slot);
        assert_int_equal(cairn_wire_letter_get(&l, &e->got, &m, &e->err), 0);
        assert_messages_equal(&messages[i], &m);
    }
    assert_int_equal(cairn_wire_mail_next(&r, &l, &e->err), 0);
    cairn_wire_mail_clear(&mail);
    assert_int_equal(mail.n, 0);
    cairn_wire_mail_fini(&mail);
}

/* The largest messages there are fit alone; behind others the bound of a frame is kept, and nothing is half in it. */
static void mail_is_no_larger_than_a_frame(void **state)
{
    struct cairn_log_entry entry = { .at = { 6, 8 },
                                     .kind = CAIRN_ENTRY_WRITE,
                                     .body_len = CAIRN_ENTRY_BODY_BYTES_MAX };
    struct cairn_repl_msg large = { MESSAGE, .kind = CAIRN_REPL_APPEND, .prev = { 6, 7 }, .entries = &entry,
                                    .nentries = 1 };
    struct cairn_wire_mail mail = { 0 };
    size_t n = 0;

    (void)state;
    entry.body = calloc(1, entry.body_len);
    assert_non_null(entry.body);
    while (cairn_wire_mail_add(&mail, &large) == 0)
        n++;
    assert_int_equal(n, 1);
    n = mail.n;
    assert_int_equal(cairn_wire_mail_add(&mail, &large), CAIRN_E_LIMIT);
    assert_int_equal(mail.n, n);
    while (cairn_wire_mail_add(&mail, &messages[2]) == 0)
        n = mail.n;
    assert_int_equal(mail.n, n);
    assert_in_range(n, CAIRN_WIRE_MAIL_BYTES_MAX - 128, CAIRN_WIRE_MAIL_BYTES_MAX);
    cairn_wire_mail_clear(&mail);
    assert_int_equal(mail.room, 0); /* so much is not kept for the next */
    free((void *)(uintptr_t)entry.body);
}

static void mail_that_does_not_add_up_is_refused(void **state)
{
    struct cairn_wire_mail mail = { 0 };
    struct ends *e = *state;
    struct cairn_wire_letter l;
    struct cairn_repl_msg m;
    struct cairn_le_reader r;

    assert_int_equal(cairn_wire_mail_add(&mail, &messages[0]), 0);
    REFUSED(e, CAIRN_E_INVAL, "without a byte", cairn_wire_mail_open(mail.bytes, 0, &r, &e->err));
    for (size_t n = 2; n < mail.n; n++) {
        assert_int_equal(cairn_wire_mail_open(mail.bytes, n, &r, &e->err), 0);
        REFUSED(e, CAIRN_E_INVAL, "ends behind the payload", cairn_wire_mail_next(&r, &l, &e->err));
    }
    assert_int_equal(cairn_wire_mail_open(mail.bytes, mail.n, &r, &e->err), 0);
    assert_int_equal(cairn_wire_mail_next(&r, &l, &e->err), 1);
    assert_int_equal(cairn_wire_letter_get(&l, &e->got, &m, &e->err), 0);
    assert_int_equal(cairn_wire_mail_next(&r, &l, &e->err), 0);
    cairn_wire_mail_fini(&mail);
}

/* Mail of another release is no damage: which form it has can be said, and nothing of it is read. */
static void mail_of_another_form_is_refused(void **state)
{
    struct cairn_wire_mail mail = { 0 };
    struct ends *e = *state;
    struct cairn_le_reader r;

    for (int round = 0; round < 2; round++) { /* the next one has it, too */
        assert_int_equal(cairn_wire_mail_add(&mail, &messages[0]), 0);
        assert_int_equal(mail.bytes[0], CAIRN_WIRE_MAIL_FORM);
        assert_int_equal(cairn_wire_mail_open(mail.bytes, mail.n, &r, &e->err), 0);
        mail.bytes[0] = CAIRN_WIRE_MAIL_FORM + 1;
        REFUSED(e, CAIRN_E_VERSION, "in form 2, those here in form 1",
                cairn_wire_mail_open(mail.bytes, mail.n, &r, &e->err));
        cairn_wire_mail_clear(&mail);
    }
    cairn_wire_mail_fini(&mail);
}

/* Without memory nothing is put and nothing got, whatever step fails. */
static void no_memory_is_no_message(void **state)
{
    const struct cairn_wire_heartbeat beat = { .who = { 7, 40 }, .number = 1 };
    struct ends *e = *state;
    bool put = false, got = false;

    for (size_t limit = 0; !put || !got; limit += 16) {
        cairn_arena_reset(&e->put);
        e->put.next = e->put.end; /* the inline part counts for nothing */
        e->put.limit = limit;
        put = cairn_wire_heartbeat_put(&beat, &e->put) != NULL;
        cairn_arena_reset(&e->got);
        e->got.next = e->got.end;
        e->got.limit = limit;
        memset(&e->err, 0, sizeof(e->err));
        got = carry(e, &messages[0]) == 0;
        assert_true(got || e->err.code == CAIRN_E_NOMEM);
        assert_true((put && got) || limit < 4096);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(each_kind_of_message_travels, begin, end),
        cmocka_unit_test_setup_teardown(messages_are_as_long_as_they_say, begin, end),
        cmocka_unit_test_setup_teardown(appends_that_do_not_add_up_are_refused, begin, end),
        cmocka_unit_test_setup_teardown(other_messages_that_do_not_add_up_are_refused, begin, end),
        cmocka_unit_test_setup_teardown(mail_carries_messages_in_order, begin, end),
        cmocka_unit_test_setup_teardown(mail_is_no_larger_than_a_frame, begin, end),
        cmocka_unit_test_setup_teardown(mail_that_does_not_add_up_is_refused, begin, end),
        cmocka_unit_test_setup_teardown(mail_of_another_form_is_refused, begin, end),
        cmocka_unit_test_setup_teardown(no_memory_is_no_message, begin, end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
