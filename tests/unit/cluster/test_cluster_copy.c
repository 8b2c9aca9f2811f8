/* The application under replicas: copies of a slot, at both ends, and what comes back of a namespace that is gone. */
#include "server/cluster/service/store_internal.h"
#include "tests/unit/cluster/store_world.h"

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

static void drop(struct fixture *fx, char *name)
{
    Cairn__Wire__KvDrop drop = CAIRN__WIRE__KV_DROP__INIT;
    struct kv_answer a;

    drop.name = name;
    kv_node_ask(&fx->kv, CAIRN__WIRE__KV_METHOD__KV_DROP, &drop.base, &a);
    assert_int_equal(a.rc, 0);
}

/* Entries of a log may be met again when their namespace is gone: while others of them are under way, after a start,
 * as records of a copy. Its database is not made for them. */
static void a_removed_namespace_does_not_come_back(void **state)
{
    struct fixture *fx = *state;
    struct log *l = &fx->logs[0];
    uint32_t db;

    begin(fx);
    push_op(fx, 0, STORE_PUT, 0, 7, "a", "x");
    push_op(fx, 0, STORE_PUT, 0, 8, "a", "x");
    settle(fx);
    assert_true(kv_node_has(&fx->kv, "ns/7", &db));
    assert_true(cluster_store_copy_open(fx->store, &l->s));
    l->paged = false;
    cluster_store_copy_read(fx->store, &l->s);
    turns(fx, &l->paged);
    assert_int_equal(l->page_rc, 0);
    cluster_store_copy_close(fx->store, &l->s);
    drop(fx, (char[]){ "ns/7" });
    fx->gone[0] = 7;
    fx->looks_before = 2;
    push_op(fx, 0, STORE_PUT, 0, 7, "b", "y"); /* the store has it open, as it thinks */
    push_op(fx, 0, STORE_PUT, 0, 8, "b", "y");
    settle(fx);
    assert_int_equal(l->results[3], CAIRN_E_STATE);
    assert_int_equal(l->results[4], 0);
    assert_int_equal(fx->looks_before, 0);
    assert_string_equal(record_of(fx, 8, "b"), "y");
    assert_false(kv_node_has(&fx->kv, "ns/7", &db));
    end(fx);
    begin(fx);
    push_op(fx, 0, STORE_ERASE, 0, 7, "a", "");
    push_op(fx, 0, STORE_PUT, STORE_BODY_IF_ABSENT, 7, "c", "z");
    settle(fx);
    assert_int_equal(l->results[6], CAIRN_E_STATE);
    wipe(fx, 0);
    end(fx);
    begin(fx);
    fx->looks_before = 2;
    l->put = false;
    cluster_store_put(fx->store, &l->s, l->page, l->page_len);
    turns(fx, &l->put);
    assert_int_equal(l->put_rc, 0);
    assert_int_equal(fx->looks_before, 0);
    assert_false(kv_node_has(&fx->kv, "ns/7", &db));
    end(fx);
}

/* A copy of all of slot 0; how many bytes are sent. */
static uint32_t copy_all(struct fixture *fx)
{
    struct log *l = &fx->logs[0];
    uint32_t bytes = 0;

    assert_true(cluster_store_copy_open(fx->store, &l->s));
    do {
        l->paged = false;
        cluster_store_copy_read(fx->store, &l->s);
        turns(fx, &l->paged);
        assert_int_equal(l->page_rc, 0);
        bytes += l->page_len;
    } while (!l->page_last);
    cluster_store_copy_close(fx->store, &l->s);
    return bytes;
}

/* What is left of removed namespaces in the index is many pages long, and nothing of it is sent: whether the store
 * had them open when they were removed, or looks for them when it lists their keys. */
static void a_copy_skips_removed_namespaces(void **state)
{
    enum { N = 2800 };
    struct fixture *fx = *state;
    uint32_t all, left;

    begin(fx);
    fill(fx, 0, N);
    push_op(fx, 0, STORE_PUT, 0, 9, "of another namespace", "x");
    settle(fx);
    all = copy_all(fx);
    drop(fx, (char[]){ "ns/7" });
    fx->gone[0] = 7;
    left = copy_all(fx);
    assert_true(left > all / 3 && left < all);
    drop(fx, (char[]){ "ns/8" });
    fx->gone[1] = 8;
    if (strcmp(fx->backend, "rocksdb") == 0) {
        end(fx);
        begin(fx);
    }
    left = copy_all(fx);
    assert_true(left > 0 && left < 100);
    end(fx);
}

/* A namespace that was not removed, whose database is not there: what is left is no copy, and the next entry makes it
 * anew. */
static void a_missing_namespace_is_no_removed_one(void **state)
{
    struct fixture *fx = *state;
    struct log *l = &fx->logs[0];

    begin(fx);
    push_op(fx, 0, STORE_PUT, 0, 7, "a", "x");
    settle(fx);
    end(fx);
    begin(fx); /* it is not open */
    drop(fx, (char[]){ "ns/7" });
    assert_true(cluster_store_copy_open(fx->store, &l->s));
    l->paged = false;
    cluster_store_copy_read(fx->store, &l->s);
    turns(fx, &l->paged);
    assert_int_equal(l->page_rc, CAIRN_E_CORRUPT);
    cluster_store_copy_close(fx->store, &l->s);
    push_op(fx, 0, STORE_PUT, 0, 7, "b", "y");
    settle(fx);
    assert_int_equal(l->results[2], 0);
    assert_string_equal(record_of(fx, 7, "b"), "y");
    end(fx);
}

/* The time to look at a held slot again comes while another slot's batch is under way: as after a node stood still. */
static void a_held_slot_waits_for_the_batch_under_way(void **state)
{
    enum { RECORD = 20000, RECORDS = 25 }; /* such a batch, with a condition, takes longer than a turn */
    struct fixture *fx = *state;
    struct log *held = &fx->logs[0], *other = &fx->logs[1];
    char *record = malloc(RECORD + 1);
    uint32_t met = 0;

    memset(record, 'r', RECORD);
    record[RECORD] = '\0';
    begin(fx);
    push_op(fx, 0, STORE_PUT, 0, 7, "a", "x");
    push_op(fx, 1, STORE_PUT, 0, 7, "b", "x");
    settle(fx);
    for (int i = 0; met < 3; i++) {
        assert_true(i < 100);
        held->s.hold_until_ns = UINT64_MAX; /* cluster_store_copy_open() */
        push_op(fx, 0, STORE_PUT, 0, 7, "a", "z");
        apply(fx, 0);
        for (int k = 0; k < 3; k++)
            cairn_loop_turn(&fx->kv.loop, CAIRN_NS_PER_MS);
        assert_int_equal(held->applied, held->n - 1);
        for (int k = 0; k < RECORDS; k++)
            push_op(fx, 1, STORE_PUT, 0, 7, "b", record);
        push_op(fx, 1, STORE_PUT, STORE_BODY_IF_ABSENT, 7, "b", record);
        apply(fx, 1);
        cairn_loop_turn(&fx->kv.loop, CAIRN_NS_PER_MS);
        if (other->s.in_batch) {
            usleep(120000); /* longer than it is held between two looks */
            met++;
        }
        held->s.hold_until_ns = 0;
        settle(fx);
    }
    assert_string_equal(record_of(fx, 7, "a"), "z");
    end(fx);
    free(record);
}

static uint64_t marks_synced(struct fixture *fx)
{
    uint64_t before = kv_node_number(&fx->kv, "synced_ops");

    wipe(fx, 0);
    return kv_node_number(&fx->kv, "synced_ops") - before;
}

/* What was never here, or was wiped, waits for no sync before the next copy; but it has its mark before the first page
 * of that, and what a part of a copy has left, or a start has found, is wiped for good. */
static void an_empty_slot_is_marked_without_a_sync(void **state)
{
    struct fixture *fx = *state;
    struct log *l = &fx->logs[0];

    begin(fx);
    push_op(fx, 1, STORE_PUT, 0, 7, "a", "x");
    settle(fx);
    assert_true(cluster_store_copy_open(fx->store, &fx->logs[1].s));
    cluster_store_copy_read(fx->store, &fx->logs[1].s);
    turns(fx, &fx->logs[1].paged);
    cluster_store_copy_close(fx->store, &fx->logs[1].s);
    l->s.bare = true; /* as slots_start.c says of a slot of which nothing was found */
    assert_int_equal(marks_synced(fx), 0);
    end(fx);
    begin(fx);
    assert_true(fx->found[0].found && fx->found[0].partial);
    assert_int_equal(marks_synced(fx), 0);
    cluster_store_put(fx->store, &l->s, fx->logs[1].page, fx->logs[1].page_len);
    turns(fx, &l->put);
    assert_int_equal(marks_synced(fx), 1); /* a page was put */
    assert_string_equal(record_of(fx, 7, "a"), "-");
    assert_int_equal(marks_synced(fx), 0);
    push_op(fx, 0, STORE_PUT, 0, 7, "b", "y");
    settle(fx);
    assert_int_equal(marks_synced(fx), 1); /* an entry was applied */
    assert_string_equal(record_of(fx, 7, "b"), "-");
    end(fx);
}

static void no_room(struct cairn_rpc_req *rq)
{
    cairn_rpc_reply_err(rq, CAIRN_E_NOSPACE, "no room for a database");
}

static int put_page(struct fixture *fx, uint32_t slot, const struct log *from)
{
    struct log *l = &fx->logs[slot];

    l->put = false;
    cluster_store_put(fx->store, &l->s, from->page, from->page_len);
    turns(fx, &l->put);
    return l->put_rc;
}

/* A target without room for the database of a namespace says so, and is not at it for as long as there is none. */
static void a_page_without_room_for_its_database_is_refused(void **state)
{
    struct fixture *fx = *state;
    cairn_rpc_handler *handlers[64], *const *own;
    struct log *l = &fx->logs[0];
    uint32_t db;

    begin(fx);
    push_op(fx, 0, STORE_PUT, 0, 7, "a", "x");
    settle(fx);
    copy_all(fx);
    drop(fx, (char[]){ "ns/7" });
    end(fx);
    begin(fx);
    own = fx->kv.targets[0].handlers;
    assert_true(fx->kv.targets[0].iface->nmethods <= ARRAY_SIZE(handlers));
    memcpy(handlers, own, fx->kv.targets[0].iface->nmethods * sizeof(handlers[0]));
    handlers[CAIRN__WIRE__KV_METHOD__KV_OPEN] = no_room;
    fx->kv.targets[0].handlers = handlers;
    assert_int_equal(put_page(fx, 1, l), CAIRN_E_NOSPACE);
    assert_int_equal(cluster_store_troubles(fx->store)->refused, 1);
    fx->kv.targets[0].handlers = own;
    assert_false(kv_node_has(&fx->kv, "ns/7", &db));
    assert_int_equal(put_page(fx, 1, l), 0);
    assert_string_equal(record_of(fx, 7, "a"), "x");
    end(fx);
}

/* Copies that find no room hear of it when there is some, one for each that ends, in turn. */
static void copies_wait_for_their_turn(void **state)
{
    struct fixture *fx = *state;

    begin(fx);
    for (uint32_t i = 0; i < STORE_VIEWS_MAX; i++)
        assert_true(cluster_store_copy_open(fx->store, &fx->logs[i].s));
    for (int i = 0; i < 3; i++) { /* however often it asks */
        assert_false(cluster_store_copy_open(fx->store, &fx->logs[3].s));
        assert_false(cluster_store_copy_open(fx->store, &fx->logs[2].s));
    }
    cluster_store_copy_close(fx->store, &fx->logs[0].s);
    turns(fx, &fx->logs[3].may_open);
    assert_false(fx->logs[2].may_open);
    assert_true(cluster_store_copy_open(fx->store, &fx->logs[3].s));
    cluster_store_copy_close(fx->store, &fx->logs[3].s);
    turns(fx, &fx->logs[2].may_open);
    cluster_store_copy_close(fx->store, &fx->logs[1].s);
    fx->logs[3].may_open = false;
    for (int i = 0; i < 20; i++)
        cairn_loop_turn(&fx->kv.loop, CAIRN_NS_PER_MS);
    assert_false(fx->logs[3].may_open);
    assert_true(cluster_store_copy_open(fx->store, &fx->logs[2].s));
    cluster_store_copy_close(fx->store, &fx->logs[2].s);
    end(fx);
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

/* So many bytes a second, with a page at the beginning: later ones wait until the earlier ones are paid for, and so
 * does the next copy's first. Without a snapshot the slot is held up by a copy, so that does not pause; the next one
 * begins when it may. */
static void copies_keep_their_rate(void **state)
{
    enum { N = 1400, RATE = 400000 };
    struct fixture *fx = *state;
    struct store_slot *s = &fx->logs[0].s;
    uint64_t began, took, free_ns, bytes = 0, first = 0;

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
    free_ns = cluster_pace_free_ns(&fx->pace);
    if (!cluster_store_copy_open(fx->store, &fx->logs[1].s)) {
        assert_string_equal(fx->backend, "memory");
        while (cairn_loop_now(&fx->kv.loop) < free_ns)
            cairn_loop_turn(&fx->kv.loop, CAIRN_NS_PER_MS);
        assert_true(cluster_store_copy_open(fx->store, &fx->logs[1].s));
    } else if (strcmp(fx->backend, "memory") == 0) {
        assert_true(cairn_env_now_ns(&fx->kv.loop.env) >= free_ns); /* the machine stood still */
    }
    cluster_store_copy_read(fx->store, &fx->logs[1].s);
    turns(fx, &fx->logs[1].paged);
    assert_true(cairn_loop_now(&fx->kv.loop) >= free_ns);
    cluster_store_copy_close(fx->store, &fx->logs[1].s);
    end(fx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(a_copy_is_of_one_moment),
        BOTH(copies_keep_their_rate),
        BOTH(hostile_pages_are_refused),
        BOTH(a_removed_namespace_does_not_come_back),
        BOTH(a_copy_skips_removed_namespaces),
        ON_DISK(a_held_slot_waits_for_the_batch_under_way),
        BOTH(a_page_without_room_for_its_database_is_refused),
        BOTH(copies_wait_for_their_turn),
        ON_DISK(an_empty_slot_is_marked_without_a_sync),
        ON_DISK(a_missing_namespace_is_no_removed_one),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
