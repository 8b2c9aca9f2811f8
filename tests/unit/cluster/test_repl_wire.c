/* The codec of replication: what is put is got, over the bytes between; and what is refused of bytes nobody put. */
#include "server/cluster/repl/repl_wire.h"

#include "cairn/cairn.h" /* who writes a node's provider for clients has both */

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

struct ends {
    struct cairn_arena put, got;
    struct cairn_err err;
    ProtobufCMessage *w; /* as it comes out of its bytes */
    struct cairn_wire_mail mail;
};

static int begin(void **state)
{
    static struct ends e;

    memset(&e, 0, sizeof(e));
    cairn_arena_init(&e.put, 8 << 20);
    cairn_arena_init(&e.got, 8 << 20);
    *state = &e;
    return 0;
}

static void drop(struct ends *e)
{
    if (e->w != NULL)
        protobuf_c_message_free_unpacked(e->w, NULL);
    e->w = NULL;
    cairn_arena_reset(&e->put);
    cairn_arena_reset(&e->got);
}

static int end(void **state)
{
    struct ends *e = *state;

    drop(e);
    cairn_wire_mail_fini(&e->mail);
    return 0;
}

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

#define REFUSED(e, want, words, call)                                                                                  \
    do {                                                                                                               \
        memset(&(e)->err, 0, sizeof((e)->err));                                                                        \
        assert_int_equal(call, want);                                                                                  \
        assert_int_equal((e)->err.code, want);                                                                         \
        assert_non_null(strstr((e)->err.text, words));                                                                 \
    } while (0)

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
                                        .page = { 77, 901, true, slots, members, 2, 2 } };
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
    assert_true(got.page.revision == 901 && got.page.more && got.page.nslots == 2 && got.page.nmembers == 2);
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
                                  .page = { 0, UINT64_MAX, true, slots, members, CAIRN_WIRE_PAGE_SLOTS_MAX,
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
        cmocka_unit_test_setup_teardown(records_are_stored, begin, end),
        cmocka_unit_test_setup_teardown(records_that_contradict_themselves_are_refused, begin, end),
        cmocka_unit_test_setup_teardown(processes_are_stored, begin, end),
        cmocka_unit_test_setup_teardown(a_process_registers, begin, end),
        cmocka_unit_test_setup_teardown(a_heartbeat_is_granted, begin, end),
        cmocka_unit_test_setup_teardown(the_largest_fit_into_a_frame, begin, end),
        cmocka_unit_test_setup_teardown(a_change_is_proposed, begin, end),
        cmocka_unit_test_setup_teardown(no_memory_is_no_message, begin, end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
