/* The application under replicas, over a real KV provider of each kind: results, what a crash leaves, starts. */
#include "server/cluster/repl/sessions_image.h"
#include "server/cluster/service/store.h"
#include "tests/lib/kv_node.h"
#include "tests/lib/scratch.h"

#include "schema/kv.pb-c.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

enum { SLOTS = 3, ENTRIES = 3000, TURNS_MAX = 200000 };

struct log {
    struct store_slot s;
    struct cairn_log_entry entries[ENTRIES + 1]; /* from 1 */
    int32_t results[ENTRIES + 1];
    uint64_t n, applied, newest;
    bool wiped, put, sealed, paged, page_last;
    int put_rc, page_rc;
    uint8_t *page;
    uint32_t page_len;
};

struct fixture {
    char dir[SCRATCH_MAX];
    const char *backend;
    struct kv_node kv;
    struct cluster_store *store;
    struct cluster_pace pace;
    struct log logs[SLOTS];
    bool started, stopped, flushed;
    int rc;
    uint64_t random;
    struct {
        bool found, partial;
        struct cairn_at at;
        uint32_t sessions, writes;
        uint64_t newest, floor;
        int32_t result;
    } found[SLOTS];
};

static struct log *log_of(struct store_slot *s)
{
    return CONTAINER_OF(s, struct log, s);
}

static const struct cairn_log_entry *op_entry(struct store_slot *s, uint64_t pos)
{
    return &log_of(s)->entries[pos];
}

static uint64_t op_newest(struct store_slot *s, struct cairn_at session)
{
    (void)session;
    return log_of(s)->newest;
}

static void op_applied(struct store_slot *s, const struct cairn_log_entry *e, int32_t result)
{
    struct log *l = log_of(s);

    assert_int_equal(e->at.pos, l->applied + 1);
    l->applied++;
    l->results[l->applied] = result;
}

static void op_found(void *arg, const struct store_found *f)
{
    struct fixture *fx = arg;

    assert_true(f->slot < SLOTS && !fx->found[f->slot].found);
    fx->found[f->slot].found = true;
    fx->found[f->slot].partial = f->partial;
    fx->found[f->slot].at = f->at;
    if (f->sessions == NULL || f->sessions->n == 0)
        return;
    fx->found[f->slot].sessions = f->sessions->n;
    fx->found[f->slot].floor = f->sessions->all[0].floor;
    fx->found[f->slot].writes = f->sessions->all[0].nwrites;
    if (f->sessions->all[0].nwrites > 0) {
        const struct cairn_session_write *w = &f->sessions->all[0].writes[f->sessions->all[0].nwrites - 1];

        assert_true(w->applied);
        fx->found[f->slot].newest = w->seq;
        fx->found[f->slot].result = w->result;
    }
}

static void op_started(void *arg, int rc, const struct cairn_err *err)
{
    struct fixture *fx = arg;

    if (rc != 0)
        fail_msg("%s", err->text);
    fx->started = true;
}

static void op_failed(void *arg, int rc, const char *text)
{
    (void)arg;
    fail_msg("the store failed: %d %s", rc, text);
}

static void op_wiped(struct store_slot *s)
{
    log_of(s)->wiped = true;
}

static void op_put(struct store_slot *s, int rc)
{
    log_of(s)->put_rc = rc;
    log_of(s)->put = true;
}

static void op_sealed(struct store_slot *s)
{
    log_of(s)->sealed = true;
}

static void op_page(struct store_slot *s, int rc, const uint8_t *page, uint32_t len, bool last)
{
    struct log *l = log_of(s);

    l->page_rc = rc;
    l->page_len = len;
    l->page_last = last;
    l->page = realloc(l->page, len + 1);
    if (len > 0)
        memcpy(l->page, page, len);
    l->paged = true;
}

static const struct cluster_store_ops ops = { .wiped = op_wiped,
                                              .put = op_put,
                                              .sealed = op_sealed,
                                              .page = op_page,
                                              .entry = op_entry,
                                              .newest = op_newest,
                                              .applied = op_applied,
                                              .found = op_found,
                                              .started = op_started,
                                              .failed = op_failed };

static void turns(struct fixture *fx, const bool *until)
{
    for (int i = 0; !*until; i++) {
        assert_true(i < TURNS_MAX);
        cairn_loop_turn(&fx->kv.loop, CAIRN_NS_PER_MS);
    }
}

static void begin(struct fixture *fx)
{
    struct cluster_store_conf conf = { .nworkers = 1, .pace = &fx->pace, .ops = &ops, .arg = fx };

    memset(fx->found, 0, sizeof(fx->found));
    kv_node_start(&fx->kv, fx->backend, fx->dir, NULL, NULL);
    conf.rpc = fx->kv.rpc;
    conf.kv = &fx->kv.targets[0];
    fx->store = cluster_store_new(&conf);
    assert_non_null(fx->store);
    fx->started = false;
    cluster_store_start(fx->store);
    turns(fx, &fx->started);
}

static void on_stopped(void *arg)
{
    ((struct fixture *)arg)->stopped = true;
}

static void end(struct fixture *fx)
{
    fx->stopped = false;
    cluster_store_stop(fx->store, on_stopped, fx);
    turns(fx, &fx->stopped);
    cluster_store_free(fx->store);
    kv_node_stop(&fx->kv);
}

static int make(void **state, const char *backend)
{
    struct fixture *fx = calloc(1, sizeof(*fx));

    scratch_new(fx->dir);
    fx->backend = backend;
    fx->random = getenv("CAIRN_SEED") != NULL ? strtoull(getenv("CAIRN_SEED"), NULL, 10) : 11;
    for (uint32_t i = 0; i < SLOTS; i++)
        store_slot_init(&fx->logs[i].s, i, 0);
    *state = fx;
    return 0;
}

static int setup_memory(void **state)
{
    return make(state, "memory");
}

static int setup_rocksdb(void **state)
{
    return make(state, "rocksdb");
}

static int teardown(void **state)
{
    struct fixture *fx = *state;

    for (uint32_t i = 0; i < SLOTS; i++) {
        for (uint64_t pos = 1; pos <= fx->logs[i].n; pos++)
            free((void *)(uintptr_t)fx->logs[i].entries[pos].body);
        free(fx->logs[i].page);
    }
    scratch_remove(fx->dir);
    free(fx);
    return 0;
}

/* ---- entries ---- */

static struct cairn_log_entry *push(struct fixture *fx, uint32_t slot, enum cairn_entry_kind kind)
{
    struct log *l = &fx->logs[slot];
    struct cairn_log_entry *e = &l->entries[++l->n];

    assert_true(l->n <= ENTRIES);
    *e = (struct cairn_log_entry){ .at = { .epoch = 1, .pos = l->n }, .kind = kind };
    return e;
}

static struct cairn_log_entry *push_op(struct fixture *fx, uint32_t slot, enum store_op_kind op, uint8_t flags, uint32_t ns,
                                   const char *key, const char *record)
{
    struct cairn_log_entry *e = push(fx, slot, CAIRN_ENTRY_WRITE);
    struct store_body b = { .op = op,
                            .flags = flags,
                            .ns = ns,
                            .key = (const uint8_t *)key,
                            .key_len = (uint32_t)strlen(key),
                            .record = (const uint8_t *)record,
                            .record_len = (uint32_t)strlen(record) };
    uint8_t *body = malloc(store_body_bytes(&b));

    store_body_put(&b, body);
    e->body = body;
    e->body_len = store_body_bytes(&b);
    return e;
}

static void in_session(struct fixture *fx, uint32_t slot, struct cairn_log_entry *e, uint64_t seq, uint64_t floor)
{
    e->rid = (struct cairn_rid){ .session = { 1, 1 }, .seq = seq };
    e->floor = floor;
    fx->logs[slot].newest = MAX(fx->logs[slot].newest, seq);
}

static void apply(struct fixture *fx, uint32_t slot)
{
    struct log *l = &fx->logs[slot];

    if (l->n > l->s.to)
        cluster_store_apply(fx->store, &l->s, l->n);
}

static void settle(struct fixture *fx)
{
    for (uint32_t i = 0; i < SLOTS; i++)
        apply(fx, i);
    for (int i = 0; i < TURNS_MAX; i++) {
        bool over = true;

        for (uint32_t k = 0; k < SLOTS; k++)
            over &= fx->logs[k].applied == fx->logs[k].n;
        if (over)
            return;
        cairn_loop_turn(&fx->kv.loop, CAIRN_NS_PER_MS);
    }
    fail_msg("entries are not applied");
}

/* ---- what is there ---- */

struct answer {
    bool done;
    int rc;
    uint32_t db;
    char value[64];
};

static void on_answer(struct cairn_rpc_call *call)
{
    struct answer *a = call->arg;

    a->done = true;
    a->rc = call->rc;
    if (call->rc == 0 && call->method == CAIRN__WIRE__KV_METHOD__KV_OPEN)
        a->db = ((const Cairn__Wire__KvOpened *)call->reply)->db;
    else if (call->rc == 0 && call->reply_payload_len > 0)
        memcpy(a->value, call->reply_payload, MIN(call->reply_payload_len, sizeof(a->value) - 1));
}

static void ask(struct fixture *fx, uint32_t method, const ProtobufCMessage *msg, struct answer *a)
{
    struct cairn_rpc_call call = { .dest.rpc = fx->kv.rpc,
                                   .iface = &cairn_iface_kv,
                                   .provider = CAIRN_PROVIDER_FIRST,
                                   .method = (uint16_t)method,
                                   .msg = msg,
                                   .done = on_answer,
                                   .arg = a };

    *a = (struct answer){ 0 };
    cairn_rpc_call_start(&call);
    turns(fx, &a->done);
}

/* The record of @key, "-" if there is none. */
static const char *record_of(struct fixture *fx, uint32_t ns, const char *key)
{
    static struct answer a;
    Cairn__Wire__KvOpen open = CAIRN__WIRE__KV_OPEN__INIT;
    Cairn__Wire__KvGet get = CAIRN__WIRE__KV_GET__INIT;
    char name[32];

    snprintf(name, sizeof(name), "ns/%u", ns);
    open.name = name;
    ask(fx, CAIRN__WIRE__KV_METHOD__KV_OPEN, &open.base, &a);
    if (a.rc != 0)
        return "-";
    get.db = a.db;
    get.key = (ProtobufCBinaryData){ .len = strlen(key), .data = (uint8_t *)(uintptr_t)key };
    ask(fx, CAIRN__WIRE__KV_METHOD__KV_GET, &get.base, &a);
    return a.rc == 0 ? a.value : "-";
}

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

/* A process of its own (this program, for an engine's threads do not survive a fork), which ends in the middle. Tells what it had
 * applied before its last flush. */
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

        if (l->s.to < CRASH_ENTRIES)
            cluster_store_apply(fx->store, &l->s, MIN(l->s.to + 1 + dice(fx, 30), (uint64_t)CRASH_ENTRIES));
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

/* ---- copies ---- */

static void wipe(struct fixture *fx, uint32_t slot)
{
    fx->logs[slot].wiped = false;
    cluster_store_wipe(fx->store, &fx->logs[slot].s);
    turns(fx, &fx->logs[slot].wiped);
}

static void fill(struct fixture *fx, int from, int n)
{
    char key[32], record[300];

    for (int i = from; i < from + n; i++) {
        snprintf(key, sizeof(key), "key %04d", i);
        memset(record, 'a' + i % 26, sizeof(record) - 1);
        record[sizeof(record) - 1] = '\0';
        record[i % 200] = '\0';
        push_op(fx, 0, STORE_PUT, i % 2 == 0 ? STORE_BODY_WRITE_ONCE : 0, 7 + (uint32_t)i % 2, key, record)->rid.seq =
            (uint64_t)i + 1;
    }
}

static void expect_filled(struct fixture *fx, int n, const char *more)
{
    char key[32];

    for (int i = 0; i < n; i += 7) {
        snprintf(key, sizeof(key), "key %04d", i);
        assert_int_equal(strlen(record_of(fx, 7 + (uint32_t)i % 2, key)), MIN(i % 200, 63));
    }
    assert_string_equal(record_of(fx, 9, "later"), more);
}

/* All of a slot goes to another node as it was when the copy began, and only that slot; what was there is gone. */
static void a_copy_is_of_one_moment(void **state)
{
    enum { N = 1400 };
    struct fixture *fx = *state, *to = calloc(1, sizeof(*to));
    struct log *from_log = &fx->logs[0], *to_log = &to->logs[0];
    uint8_t image[32];
    struct cairn_sessions none;
    uint32_t pages = 0;

    scratch_new(to->dir);
    to->backend = fx->backend;
    for (uint32_t i = 0; i < SLOTS; i++)
        store_slot_init(&to->logs[i].s, i, 0);
    begin(fx);
    begin(to);
    fill(fx, 0, N);
    push_op(fx, 1, STORE_PUT, 0, 8, "of another slot", "x");
    settle(fx);
    push_op(to, 0, STORE_PUT, 0, 8, "garbage", "x");
    settle(to);
    wipe(to, 0);
    assert_string_equal(record_of(to, 8, "garbage"), "-");
    assert_true(cluster_store_copy_open(fx->store, &from_log->s));
    push_op(fx, 0, STORE_PUT, 0, 9, "later", "y");
    apply(fx, 0);
    do {
        from_log->paged = to_log->put = false;
        cluster_store_copy_read(fx->store, &from_log->s);
        assert_false(from_log->paged); /* never within the call */
        turns(fx, &from_log->paged);
        assert_int_equal(from_log->page_rc, 0);
        cluster_store_put(to->store, &to_log->s, from_log->page, from_log->page_len);
        turns(to, &to_log->put);
        assert_int_equal(to_log->put_rc, 0);
        pages++;
    } while (!from_log->page_last);
    cluster_store_copy_close(fx->store, &from_log->s);
    assert_true(pages >= 3);
    cairn_sessions_init(&none);
    assert_int_equal(cairn_sessions_image_bytes(&none, N), 20);
    cairn_sessions_image_put(&none, N, image, 20);
    cluster_store_seal(to->store, &to_log->s, (struct cairn_at){ 1, N }, image, 20);
    turns(to, &to_log->sealed);
    expect_filled(to, N, "-");
    assert_string_equal(record_of(to, 8, "of another slot"), "-");
    settle(fx);
    expect_filled(fx, N, "y");
    assert_int_equal(from_log->results[N + 1], 0);
    /* The key's rid came with it. */
    to_log->n = to_log->applied = N;
    push_op(to, 0, STORE_PUT, STORE_BODY_WRITE_ONCE, 7, "key 0010", "again")->rid.seq = 11;
    push_op(to, 0, STORE_PUT, STORE_BODY_WRITE_ONCE, 7, "key 0010", "other")->rid.seq = 12;
    settle(to);
    assert_int_equal(to_log->results[N + 1], 0);
    assert_int_equal(to_log->results[N + 2], CAIRN_E_EXISTS);
    end(to);
    if (strcmp(fx->backend, "rocksdb") == 0) { /* what was sealed is on disk */
        begin(to);
        assert_true(to->found[0].found && !to->found[0].partial);
        assert_int_equal(to->found[0].at.pos >= N, 1);
        wipe(to, 0);
        assert_string_equal(record_of(to, 7, "key 0010"), "-");
        end(to);
        begin(to);
        assert_true(to->found[0].found && to->found[0].partial);
        end(to);
    }
    end(fx);
    for (uint64_t pos = N + 1; pos <= to_log->n; pos++)
        free((void *)(uintptr_t)to_log->entries[pos].body);
    free((void *)(uintptr_t)to_log->entries[1].body);
    scratch_remove(to->dir);
    free(to);
}

static void hostile_pages_are_refused(void **state)
{
    struct fixture *fx = *state;
    struct log *l = &fx->logs[0];
    uint8_t page[64] = { 7, 0, 0, 0, 200, 0, 0, 0, 1, 0, 0, 0 };

    begin(fx);
    wipe(fx, 0);
    for (uint32_t len = 1; len < sizeof(page); len++) {
        l->put = false;
        cluster_store_put(fx->store, &l->s, page, len);
        turns(fx, &l->put);
        assert_int_equal(l->put_rc, CAIRN_E_INVAL);
    }
    end(fx);
}

/* So many bytes a second, with a page at the beginning: later ones wait until the earlier ones are paid for, and so does the
 * next copy. Without a snapshot the slot is held up by a copy, so that does not pause; the next one does. */
static void copies_keep_their_rate(void **state)
{
    enum { N = 1400, RATE = 400000 };
    struct fixture *fx = *state;
    struct store_slot *s = &fx->logs[0].s;
    uint64_t began, took, bytes = 0, first = 0;

    begin(fx);
    fill(fx, 0, N);
    settle(fx);
    fx->pace.bytes_per_s = RATE;
    assert_true(cluster_store_copy_open(fx->store, s));
    began = cairn_loop_now(&fx->kv.loop);
    do {
        fx->logs[0].paged = false;
        cluster_store_copy_read(fx->store, s);
        turns(fx, &fx->logs[0].paged);
        assert_int_equal(fx->logs[0].page_rc, 0);
        bytes += fx->logs[0].page_len;
        first = first == 0 ? bytes : first;
    } while (!fx->logs[0].page_last);
    took = cairn_loop_now(&fx->kv.loop) - began;
    assert_true(bytes > 2 * first && atomic_load(&fx->pace.bytes_sent) == bytes);
    assert_true(cluster_pace_free_ns(&fx->pace) >= began + bytes * CAIRN_NS_PER_S / RATE);
    if (strcmp(fx->backend, "memory") != 0) /* the last page was not waited for */
        assert_true(took >= (bytes - fx->logs[0].page_len) * CAIRN_NS_PER_S / RATE);
    cluster_store_copy_close(fx->store, s);
    assert_false(cluster_store_copy_open(fx->store, &fx->logs[1].s));
    while (cairn_loop_now(&fx->kv.loop) < cluster_pace_free_ns(&fx->pace))
        cairn_loop_turn(&fx->kv.loop, CAIRN_NS_PER_MS);
    assert_true(cluster_store_copy_open(fx->store, &fx->logs[1].s));
    cluster_store_copy_close(fx->store, &fx->logs[1].s);
    end(fx);
}

#define BOTH(f)                                                                                                        \
    cmocka_unit_test_setup_teardown(f, setup_memory, teardown),                                                        \
        cmocka_unit_test_setup_teardown(f, setup_rocksdb, teardown)
#define ON_DISK(f) cmocka_unit_test_setup_teardown(f, setup_rocksdb, teardown)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        BOTH(writes_have_their_results),         BOTH(a_write_once_key_keeps_its_value),
        BOTH(a_session_has_conditional_results), BOTH(hostile_bodies_have_a_result),
        BOTH(batches_hold_entries_of_all_slots), BOTH(a_copy_is_of_one_moment),
        BOTH(copies_keep_their_rate),
        BOTH(hostile_pages_are_refused),         ON_DISK(a_start_finds_sessions),
        ON_DISK(a_crash_leaves_one_position),
    };

    if (argc == 4 && strcmp(argv[1], "crash") == 0)
        return count_and_crash(argv);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
