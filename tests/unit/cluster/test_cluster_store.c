/* The application under replicas: results, and starts, also after a crash. */
#include "tests/unit/cluster/store_world.h"

/* ---- results ---- */

static void writes_have_their_results(void **state)
{
    struct fixture *fx = *state;
    struct log *l = &fx->logs[0];

    begin(fx);
    push(fx, 0, CAIRN_ENTRY_START);
    push_op(fx, 0, STORE_PUT, 0, 7, "a", "one");
    push_op(fx, 0, STORE_PUT, 0, 7, "a", "two");
    push_op(fx, 0, STORE_PUT, STORE_BODY_IF_ABSENT, 7, "a", "three")->rid.seq = 1;
    push_op(fx, 0, STORE_PUT, STORE_BODY_IF_ABSENT, 7, "b", "four")->rid.seq = 2;
    push_op(fx, 0, STORE_ERASE, 0, 7, "b", "");
    push_op(fx, 0, STORE_PUT, STORE_BODY_IF_ABSENT, 7, "b", "five")->rid.seq = 3;
    push_op(fx, 0, STORE_PUT, STORE_BODY_IF_ABSENT, 7, "b", "five")->rid.seq = 3;
    settle(fx);
    assert_int_equal(l->results[2], 0);
    assert_int_equal(l->results[3], 0);
    assert_int_equal(l->results[4], CAIRN_E_EXISTS);
    assert_int_equal(l->results[5], 0);
    assert_int_equal(l->results[6], 0);
    assert_int_equal(l->results[7], 0);
    assert_int_equal(l->results[8], 0);
    assert_string_equal(record_of(fx, 7, "a"), "two");
    assert_string_equal(record_of(fx, 7, "b"), "five");
    end(fx);
}

/* §8: the key's rid decides, also long after. */
static void a_write_once_key_keeps_its_value(void **state)
{
    struct fixture *fx = *state;
    struct log *l = &fx->logs[1];

    begin(fx);
    push_op(fx, 1, STORE_PUT, STORE_BODY_WRITE_ONCE, 9, "k", "first")->rid.seq = 77;
    push_op(fx, 1, STORE_PUT, STORE_BODY_WRITE_ONCE, 9, "k", "other")->rid.seq = 78;
    push_op(fx, 1, STORE_PUT, STORE_BODY_WRITE_ONCE, 9, "k", "first")->rid.seq = 77;
    settle(fx);
    push_op(fx, 1, STORE_PUT, STORE_BODY_WRITE_ONCE, 9, "k", "first")->rid.seq = 77;
    push_op(fx, 1, STORE_PUT, STORE_BODY_WRITE_ONCE, 9, "k", "other")->rid.seq = 79;
    settle(fx);
    assert_int_equal(l->results[1], 0);
    assert_int_equal(l->results[2], CAIRN_E_EXISTS);
    assert_int_equal(l->results[3], 0);
    assert_int_equal(l->results[4], 0);
    assert_int_equal(l->results[5], CAIRN_E_EXISTS);
    assert_string_equal(record_of(fx, 9, "k"), "first");
    end(fx);
}

/* A repair puts the record and who put it, whatever is there, and the key is then as it was for whoever comes later. */
static void a_repair_puts_what_another_replica_has(void **state)
{
    struct fixture *fx = *state;
    struct log *l = &fx->logs[1];

    begin(fx);
    push_op(fx, 1, STORE_PUT, STORE_BODY_WRITE_ONCE, 9, "k", "bad")->rid.seq = 76;
    push_op(fx, 1, STORE_REPAIR, STORE_BODY_WRITE_ONCE, 9, "k", "good")->rid.seq = 77;
    push_op(fx, 1, STORE_REPAIR, STORE_BODY_WRITE_ONCE, 9, "missing", "there")->rid.seq = 78;
    settle(fx);
    push_op(fx, 1, STORE_PUT, STORE_BODY_WRITE_ONCE, 9, "k", "good")->rid.seq = 77;
    push_op(fx, 1, STORE_PUT, STORE_BODY_WRITE_ONCE, 9, "k", "other")->rid.seq = 79;
    settle(fx);
    assert_int_equal(l->results[2], 0);
    assert_int_equal(l->results[3], 0);
    assert_int_equal(l->results[4], 0); /* its own, once more */
    assert_int_equal(l->results[5], CAIRN_E_EXISTS);
    assert_string_equal(record_of(fx, 9, "k"), "good");
    assert_string_equal(record_of(fx, 9, "missing"), "there");
    end(fx);
}

/* Of a session the result is part of the batch, so it is known before. */
static void a_session_has_conditional_results(void **state)
{
    struct fixture *fx = *state;
    struct log *l = &fx->logs[2];

    begin(fx);
    push(fx, 2, CAIRN_ENTRY_OPEN);
    in_session(fx, 2, push_op(fx, 2, STORE_PUT, 0, 7, "x", "one"), 1, 1);
    in_session(fx, 2, push_op(fx, 2, STORE_PUT, STORE_BODY_IF_ABSENT, 7, "x", "two"), 2, 1);
    in_session(fx, 2, push_op(fx, 2, STORE_PUT, STORE_BODY_IF_ABSENT, 7, "y", "three"), 3, 1);
    in_session(fx, 2, push_op(fx, 2, STORE_PUT, STORE_BODY_IF_ABSENT, 7, "y", "four"), 4, 2);
    push_op(fx, 0, STORE_PUT, 0, 7, "of another slot", "five");
    settle(fx);
    assert_int_equal(l->results[2], 0);
    assert_int_equal(l->results[3], CAIRN_E_EXISTS);
    assert_int_equal(l->results[4], 0);
    assert_int_equal(l->results[5], CAIRN_E_EXISTS);
    assert_string_equal(record_of(fx, 7, "x"), "one");
    assert_string_equal(record_of(fx, 7, "y"), "three");
    assert_string_equal(record_of(fx, 7, "of another slot"), "five");
    end(fx);
}

/* A body that is none says so on every replica, and the log goes on. */
static void hostile_bodies_have_a_result(void **state)
{
    static uint8_t bytes[STORE_BODY_HEAD_BYTES + CAIRN_KEY_BYTES_MAX + 8], key[CAIRN_KEY_BYTES_MAX];
    struct fixture *fx = *state;
    struct store_body b = { .op = STORE_PUT, .ns = 1, .key = key, .key_len = 3 }, out;
    uint8_t good[STORE_BODY_HEAD_BYTES + 3];

    store_body_put(&b, good);
    assert_int_equal(store_body_get(good, sizeof(good), &out), 0);
    for (uint32_t len = 0; len < sizeof(good); len++)
        assert_int_equal(store_body_get(good, len, &out), CAIRN_E_INVAL);
    for (uint32_t i = 0; i < 4; i++) {
        uint8_t bad[sizeof(good)];

        memcpy(bad, good, sizeof(good));
        bad[i] = 0x80;
        assert_int_equal(store_body_get(bad, sizeof(bad), &out), CAIRN_E_INVAL);
    }
    b.key_len = STORE_KEY_BYTES_MAX + 1;
    store_body_put(&b, bytes);
    assert_int_equal(store_body_get(bytes, STORE_BODY_HEAD_BYTES + b.key_len, &out), CAIRN_E_TOOBIG);
    begin(fx);
    push(fx, 0, CAIRN_ENTRY_WRITE); /* without a body */
    push_op(fx, 0, STORE_PUT, 0, 7, "a", "one");
    settle(fx);
    assert_int_equal(fx->logs[0].results[1], CAIRN_E_INVAL);
    assert_int_equal(fx->logs[0].results[2], 0);
    end(fx);
}

/* Many entries of all slots in few batches, and results in the order of each log. */
static void batches_hold_entries_of_all_slots(void **state)
{
    struct fixture *fx = *state;
    char key[32], last[SLOTS][32];

    begin(fx);
    for (int i = 0; i < 2500; i++) {
        for (uint32_t slot = 0; slot < SLOTS; slot++) {
            snprintf(key, sizeof(key), "key %u", slot);
            snprintf(last[slot], sizeof(last[slot]), "value %d of %u", i, slot);
            push_op(fx, slot, STORE_PUT, 0, 5, key, last[slot]);
        }
    }
    settle(fx);
    for (uint32_t slot = 0; slot < SLOTS; slot++) {
        snprintf(key, sizeof(key), "key %u", slot);
        assert_string_equal(record_of(fx, 5, key), last[slot]);
    }
    end(fx);
}

/* ---- crashes ---- */

static uint64_t dice(struct fixture *fx, uint64_t n)
{
    fx->random = fx->random * UINT64_C(6364136223846793005) + 1442695040888963407;
    return (fx->random >> 33) % n;
}

enum { CRASH_ENTRIES = 1500, CRASH_SLOT = 1 };

/* Entry @i of a log that counts: its record says its own position, its number too. */
static void push_counting(struct fixture *fx, int i)
{
    char record[32];
    struct cairn_log_entry *e;

    snprintf(record, sizeof(record), "%d", i);
    e = push_op(fx, CRASH_SLOT, STORE_PUT, 0, 3, "counter", record);
    in_session(fx, CRASH_SLOT, e, e->at.pos - 1, e->at.pos > 9 ? e->at.pos - 8 : 1);
}

static void on_flushed(void *arg, int rc)
{
    struct fixture *fx = arg;

    assert_int_equal(rc, 0);
    fx->flushed = true;
}

/* A process of its own (this program, for an engine's threads do not survive a fork), which ends in the middle. Tells
 * what it had applied before its last flush. */
static int count_and_crash(char **argv)
{
    struct fixture *fx = calloc(1, sizeof(*fx));
    uint64_t flushed = 0;

    snprintf(fx->dir, sizeof(fx->dir), "%s", argv[2]);
    fx->backend = "rocksdb";
    fx->random = strtoull(argv[3], NULL, 10);
    store_slot_init(&fx->logs[CRASH_SLOT].s, CRASH_SLOT, 0);
    begin(fx);
    push(fx, CRASH_SLOT, CAIRN_ENTRY_OPEN);
    for (int i = 2; i <= CRASH_ENTRIES; i++)
        push_counting(fx, i);
    cluster_store_apply(fx->store, &fx->logs[CRASH_SLOT].s, 1);
    for (bool over = false; !over;) {
        struct log *l = &fx->logs[CRASH_SLOT];

        if (l->s.to < CRASH_ENTRIES) {
            uint64_t to = l->s.to + 1 + dice(fx, 30); /* MIN() takes what it is given twice */

            cluster_store_apply(fx->store, &l->s, MIN(to, (uint64_t)CRASH_ENTRIES));
        }
        for (uint64_t n = dice(fx, 4); n > 0; n--)
            cairn_loop_turn(&fx->kv.loop, CAIRN_NS_PER_MS);
        if (dice(fx, 40) == 0) {
            uint64_t before = l->applied;

            fx->flushed = false;
            cluster_store_flush(fx->store, on_flushed, fx);
            turns(fx, &fx->flushed);
            flushed = before;
        }
        over = flushed > 100 && (l->applied == CRASH_ENTRIES || dice(fx, 50) == 0);
    }
    printf("%llu\n", (unsigned long long)flushed);
    fflush(stdout);
    _exit(0);
}

/* Position, sessions and records are of one position, which is not before the last flush. */
static void a_crash_leaves_one_position(void **state)
{
    struct fixture *fx = *state;

    for (int round = 0; round < 6; round++) {
        unsigned long long flushed;
        char command[256], self[128] = "", want[32];
        uint64_t pos;
        FILE *f;

        scratch_remove(fx->dir);
        scratch_new(fx->dir);
        self[readlink("/proc/self/exe", self, sizeof(self) - 1)] = '\0';
        snprintf(command, sizeof(command), "%s crash %s %u", self, fx->dir, (unsigned)dice(fx, 1000000));
        f = popen(command, "r");
        assert_non_null(f);
        assert_int_equal(fscanf(f, "%llu", &flushed), 1);
        assert_int_equal(pclose(f), 0);
        begin(fx);
        pos = fx->found[CRASH_SLOT].at.pos;
        assert_true(fx->found[CRASH_SLOT].found && !fx->found[CRASH_SLOT].partial);
        assert_true(pos >= flushed && pos <= CRASH_ENTRIES);
        snprintf(want, sizeof(want), "%u", (unsigned)pos);
        assert_string_equal(record_of(fx, 3, "counter"), want);
        assert_int_equal(fx->found[CRASH_SLOT].sessions, 1);
        assert_int_equal(fx->found[CRASH_SLOT].newest, pos - 1);
        assert_int_equal(fx->found[CRASH_SLOT].floor, pos - 8);
        assert_int_equal(fx->found[CRASH_SLOT].writes, 8);
        end(fx);
    }
}

/* Sessions that end leave nothing; those that are open are found with their numbers. */
static void a_start_finds_sessions(void **state)
{
    struct fixture *fx = *state;
    struct cairn_log_entry *e;

    begin(fx);
    push(fx, 0, CAIRN_ENTRY_OPEN);
    for (uint64_t i = 1; i <= 600; i++)
        in_session(fx, 0, push_op(fx, 0, STORE_PUT, 0, 7, "a", "one"), i, i > 200 ? i - 200 : 1);
    push(fx, 2, CAIRN_ENTRY_OPEN);
    in_session(fx, 2, push_op(fx, 2, STORE_PUT, 0, 7, "b", "one"), 1, 1);
    e = push(fx, 2, CAIRN_ENTRY_EXPIRE);
    e->rid.session = (struct cairn_at){ 1, 1 };
    settle(fx);
    fx->flushed = false;
    cluster_store_flush(fx->store, on_flushed, fx);
    turns(fx, &fx->flushed);
    end(fx);
    begin(fx);
    assert_int_equal(fx->found[0].at.pos, 601);
    assert_int_equal(fx->found[0].sessions, 1);
    assert_int_equal(fx->found[0].floor, 400);
    assert_int_equal(fx->found[0].writes, 201);
    assert_int_equal(fx->found[0].newest, 600);
    assert_int_equal(fx->found[2].at.pos, 3);
    assert_int_equal(fx->found[2].sessions, 0);
    assert_false(fx->found[1].found);
    end(fx);
}

/* A client that waits for one write at a time has one row; another that waits for several has one for each. Whatever
 * it does in turn, a start finds the numbers from its floor on. */
static void a_start_finds_what_a_client_waits_for(void **state)
{
    enum { ROUNDS = 3, WINDOW = 250 };
    struct fixture *fx = *state;
    uint64_t number = 0, floor = 1;

    print_message("CAIRN_SEED=%llu\n", (unsigned long long)fx->random);
    begin(fx);
    push(fx, 0, CAIRN_ENTRY_OPEN);
    for (int round = 0; round < ROUNDS; round++) {
        uint32_t alone = 1 + (uint32_t)dice(fx, 3), n = 1 + (uint32_t)dice(fx, 700);

        while (n-- > 0) {
            number++;
            if (number - floor > WINDOW || dice(fx, alone) == 0)
                floor = dice(fx, 2) == 0 ? number : number - dice(fx, (uint32_t)(number - floor + 1));
            in_session(fx, 0, push_op(fx, 0, STORE_PUT, 0, 7, "a", "one"), number, floor);
        }
        settle(fx);
        end(fx);
        begin(fx);
        assert_int_equal(fx->found[0].at.pos, number + 1);
        assert_int_equal(fx->found[0].floor, floor);
        assert_int_equal(fx->found[0].newest, number);
        assert_int_equal(fx->found[0].writes, number - floor + 1);
    }
    push(fx, 0, CAIRN_ENTRY_EXPIRE)->rid.session = (struct cairn_at){ 1, 1 };
    settle(fx);
    end(fx);
    begin(fx);
    assert_int_equal(fx->found[0].sessions, 0);
    end(fx);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        BOTH(writes_have_their_results),
        BOTH(a_write_once_key_keeps_its_value),
        BOTH(a_repair_puts_what_another_replica_has),
        BOTH(a_session_has_conditional_results),
        BOTH(hostile_bodies_have_a_result),
        BOTH(batches_hold_entries_of_all_slots),
        ON_DISK(a_start_finds_sessions),
        ON_DISK(a_start_finds_what_a_client_waits_for),
        ON_DISK(a_crash_leaves_one_position),
    };

    if (argc == 4 && strcmp(argv[1], "crash") == 0)
        return count_and_crash(argv);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
