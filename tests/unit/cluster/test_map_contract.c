/* What every map store promises, asked of each: compare-and-set over several entries, fences, reads, watches and
 * leases. What is promised only where others share it: test_map_shared.c. */
#include "tests/unit/cluster/map_contract.h"

#include "sdk/core/base/macros.h"

enum {
    CHANGES_MAX = 64,
    LEASE_MS = 3000, /* a busy machine must not let one run out that is kept */
    LONG_LEASE_MS = 60000
};

/* ---- changes ---- */

static void changes_compare_and_set(void **state)
{
    struct map_world *w = *state;
    uint64_t r1, r2, r3;

    assert_int_equal(map_world_put(w, "ns/b", "1", 0, &r1), 0);
    assert_int_equal(map_world_put(w, "ns/b", "2", 0, NULL), CAIRN_E_EXISTS);
    assert_int_equal(map_world_put(w, "ns/b", "2", r1 + 1, NULL), CAIRN_E_STATE);
    assert_int_equal(map_world_put(w, "ns/a", "2", r1, NULL), CAIRN_E_NOTFOUND);
    assert_int_equal(map_world_put(w, "ns/b", "2", r1, &r2), 0);
    assert_int_equal(map_world_put(w, "ns/b", NULL, r1, NULL), CAIRN_E_STATE);
    assert_int_equal(map_world_put(w, "ns/b", NULL, r2, &r3), 0);
    assert_int_equal(map_world_put(w, "ns/b", NULL, r3, NULL), CAIRN_E_NOTFOUND);
    assert_int_equal(map_world_put(w, "ns/c", NULL, 0, NULL), CAIRN_E_INVAL);
    assert_true(r1 < r2 && r2 < r3);
    assert_int_equal(cairn_map_store_revision(w->store), r3);
    assert_string_equal(map_world_listed(w, w->store, ""), "");
}

static void entries_are_listed_in_order(void **state)
{
    struct map_world *w = *state;

    assert_int_equal(map_world_put(w, "ns/b", "2", 0, NULL), 0);
    assert_int_equal(map_world_put(w, "ns/a", "1", 0, NULL), 0);
    assert_int_equal(map_world_put(w, "m/x", "", 0, NULL), 0);
    assert_int_equal(map_world_put(w, "nz", "3", 0, NULL), 0);
    assert_string_equal(map_world_listed(w, w->store, "ns/"), "ns/a=1 ns/b=2 ");
    assert_string_equal(map_world_listed(w, w->store, ""), "m/x= ns/a=1 ns/b=2 nz=3 ");
    assert_string_equal(map_world_listed_truly(w, w->store, "ns/"), "ns/a=1 ns/b=2 ");
    assert_string_equal(map_world_listed_truly(w, w->store, ""), "m/x= ns/a=1 ns/b=2 nz=3 ");
}

static void several_writes_are_one_change(void **state)
{
    struct map_world *w = *state;
    struct cairn_map_write writes[3] = { put_of("a", "1", 0), put_of("b", "1", 0), put_of("c", "1", 0) };
    struct cairn_map_change c = { .writes = writes, .nwrites = 3 };
    struct cairn_map_read r = { .prefix = "" };
    uint64_t revision;

    assert_int_equal(map_world_change(w, w->store, &c), 0);
    revision = c.op.revision;
    assert_int_equal(map_world_read(w, w->store, &r), 0);
    assert_int_equal(r.table.n, 3);
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(r.table.nodes[i]->e.created, revision);
        assert_int_equal(r.table.nodes[i]->e.changed, revision);
    }
    cairn_map_table_fini(&r.table);
    writes[0] = put_of("a", "2", revision);
    writes[1] = put_of("d", "2", revision); /* is not there */
    writes[2] = put_of("c", NULL, revision);
    assert_int_equal(map_world_change(w, w->store, &c), CAIRN_E_NOTFOUND);
    assert_int_equal(c.refused, 1);
    assert_string_equal(map_world_listed_truly(w, w->store, ""), "a=1 b=1 c=1 ");
    writes[1] = put_of("d", "2", 0);
    assert_int_equal(map_world_change(w, w->store, &c), 0);
    assert_string_equal(map_world_listed(w, w->store, ""), "a=2 b=1 d=2 ");
}

/* A value of any bytes, and revisions that tell when. */
static void entries_keep_bytes_and_revisions(void **state)
{
    static const uint8_t bytes[] = { 0, 1, 0xff, '"', '\\', '\n', 0 };
    struct map_world *w = *state;
    struct cairn_map_write write = { .key = "k \"\\/\xc3\xa9", .value = bytes, .value_len = sizeof(bytes) };
    struct cairn_map_change c = { .writes = &write, .nwrites = 1 };
    struct cairn_map_read r = { .prefix = "k" };
    uint64_t created;

    assert_int_equal(map_world_change(w, w->store, &c), 0);
    created = write.from = c.op.revision;
    assert_int_equal(map_world_change(w, w->store, &c), 0);
    assert_int_equal(map_world_read(w, w->store, &r), 0);
    assert_int_equal(r.table.n, 1);
    assert_string_equal(r.table.nodes[0]->e.key, write.key);
    assert_int_equal(r.table.nodes[0]->e.value_len, sizeof(bytes));
    assert_memory_equal(r.table.nodes[0]->e.value, bytes, sizeof(bytes));
    assert_int_equal(r.table.nodes[0]->e.created, created);
    assert_int_equal(r.table.nodes[0]->e.changed, c.op.revision);
    assert_int_equal(r.op.revision, c.op.revision);
    cairn_map_table_fini(&r.table);
}

/* What came of a read of a few. */
static const char *limited(struct map_world *w, uint32_t limit, bool last, uint64_t *count)
{
    struct cairn_map_read r = { .prefix = "many/", .limit = limit, .last = last };
    static char text[64];

    assert_int_equal(map_world_read(w, w->store, &r), 0);
    for (uint32_t i = 1; i < r.table.n; i++) /* in order, and none is left out */
        assert_int_equal(atoi(r.table.nodes[i]->e.key + 5), atoi(r.table.nodes[i - 1]->e.key + 5) + 1);
    snprintf(text, sizeof(text), "%u from %s", r.table.n, r.table.n > 0 ? r.table.nodes[0]->e.key : "nowhere");
    *count = r.count;
    cairn_map_table_fini(&r.table);
    return text;
}

/* The first entries, or the last ones: no others come, and how many there are is known all the same. */
static void a_read_may_be_of_a_few(void **state)
{
    enum { MANY = 600 }; /* more than two pages of etcd's */
    struct map_world *w = *state;
    struct cairn_map_health health;
    uint64_t count, before;

    assert_int_equal(map_world_put(w, "manx", "x", 0, NULL), 0);
    assert_int_equal(map_world_put(w, "many0", "x", 0, NULL), 0);
    assert_string_equal(limited(w, 5, true, &count), "0 from nowhere");
    assert_int_equal(count, 0);
    for (uint32_t i = 0; i < MANY;) {
        struct cairn_map_write writes[CAIRN_MAP_WRITES_MAX];
        char keys[CAIRN_MAP_WRITES_MAX][16];
        struct cairn_map_change c = { .writes = writes };

        for (; i < MANY && c.nwrites < CAIRN_MAP_WRITES_MAX; i++, c.nwrites++) {
            snprintf(keys[c.nwrites], sizeof(keys[0]), "many/%06u", i);
            writes[c.nwrites] = (struct cairn_map_write){ keys[c.nwrites], (const uint8_t *)"v", 1, 0, 0 };
        }
        assert_int_equal(map_world_change(w, w->store, &c), 0);
    }
    cairn_map_store_health(w->store, &health);
    before = health.entries_read;
    assert_string_equal(limited(w, 20, true, &count), "20 from many/000580");
    assert_int_equal(count, MANY);
    assert_string_equal(limited(w, 20, false, &count), "20 from many/000000");
    assert_int_equal(count, MANY);
    cairn_map_store_health(w->store, &health);
    assert_true(health.entries_read == before || health.entries_read == before + 40);
    assert_string_equal(limited(w, 300, true, &count), "300 from many/000300");
    assert_string_equal(limited(w, 300, false, &count), "300 from many/000000");
    assert_string_equal(limited(w, MANY, true, &count), "600 from many/000000");
    assert_string_equal(limited(w, MANY + 1, false, &count), "600 from many/000000");
    assert_string_equal(limited(w, 0, true, &count), "600 from many/000000");
    assert_int_equal(count, MANY);
}

/* Whoever was deposed changes nothing any more. */
static void a_fence_refuses_the_whole_change(void **state)
{
    struct map_world *w = *state;
    struct cairn_map_write write = put_of("slot", "1", 0);
    struct cairn_map_change c = { .writes = &write, .nwrites = 1, .fence_key = "coordinator" };
    uint64_t first, second;

    c.fence = 1;
    assert_int_equal(map_world_change(w, w->store, &c), CAIRN_E_DENIED); /* nobody is elected */
    assert_int_equal(map_world_put(w, "coordinator", "n1", 0, &first), 0);
    c.fence = first;
    assert_int_equal(map_world_change(w, w->store, &c), 0);
    write.from = c.op.revision;
    assert_int_equal(map_world_put(w, "coordinator", "n1 again", first, &second), 0);
    assert_int_equal(map_world_change(w, w->store, &c), 0); /* it is the same one, created then */
    write.from = c.op.revision;
    assert_int_equal(map_world_put(w, "coordinator", NULL, second, NULL), 0);
    assert_int_equal(map_world_put(w, "coordinator", "n2", 0, &second), 0);
    assert_int_equal(map_world_change(w, w->store, &c), CAIRN_E_DENIED);
    c.fence = second;
    assert_int_equal(map_world_change(w, w->store, &c), 0);
}

static void on_counted(struct cairn_map_op *op)
{
    ++*(uint32_t *)op->arg;
}

static bool all_counted(void *arg)
{
    return *(uint32_t *)arg == CHANGES_MAX;
}

static void of_changes_at_the_same_time_one_wins(void **state)
{
    struct map_world *w = *state;
    struct cairn_map_write writes[CHANGES_MAX];
    struct cairn_map_change c[CHANGES_MAX];
    char keys[CHANGES_MAX][8];
    uint32_t answered = 0;

    for (uint32_t i = 0; i < CHANGES_MAX; i++) {
        snprintf(keys[i], sizeof(keys[i]), "k%02u", i / 2);
        writes[i] = put_of(keys[i], "v", 0);
        c[i] = (struct cairn_map_change){ .op = { .done = on_counted, .arg = &answered },
                                          .writes = &writes[i],
                                          .nwrites = 1 };
        cairn_map_store_change(w->store, w->loop, &c[i]);
    }
    map_world_until(w, all_counted, &answered);
    for (uint32_t i = 0; i < CHANGES_MAX; i += 2) {
        assert_true((c[i].op.rc == 0) != (c[i + 1].op.rc == 0));
        assert_int_equal(MIN(c[i].op.rc, c[i + 1].op.rc), CAIRN_E_EXISTS);
    }
    assert_int_equal(strlen(map_world_listed(w, w->store, "")), CHANGES_MAX / 2 * strlen("k00=v "));
}

static void bounds(void **state)
{
    struct map_world *w = *state;
    struct cairn_map_write writes[CAIRN_MAP_WRITES_MAX + 1];
    static const uint8_t large[CAIRN_MAP_CHANGE_BYTES_MAX / CAIRN_MAP_WRITES_MAX + 1];
    struct cairn_map_change c = { .writes = writes };
    char key[CAIRN_MAP_KEY_BYTES_MAX + 2], keys[CAIRN_MAP_WRITES_MAX + 1][8];
    char *value = malloc(CAIRN_MAP_VALUE_BYTES_MAX + 2);

    assert_non_null(value);
    memset(key, 'k', sizeof(key));
    memset(value, 'v', CAIRN_MAP_VALUE_BYTES_MAX + 1);
    key[sizeof(key) - 1] = value[CAIRN_MAP_VALUE_BYTES_MAX + 1] = '\0';
    assert_int_equal(map_world_put(w, "", "v", 0, NULL), CAIRN_E_INVAL);
    assert_int_equal(map_world_put(w, key, "v", 0, NULL), CAIRN_E_INVAL);
    assert_int_equal(map_world_put(w, "k", value, 0, NULL), CAIRN_E_INVAL);
    key[CAIRN_MAP_KEY_BYTES_MAX] = value[CAIRN_MAP_VALUE_BYTES_MAX] = '\0';
    assert_int_equal(map_world_put(w, key, value, 0, NULL), 0);
    free(value);
    assert_int_equal(map_world_change(w, w->store, &c), CAIRN_E_INVAL); /* nothing */
    for (uint32_t i = 0; i <= CAIRN_MAP_WRITES_MAX; i++) {
        snprintf(keys[i], sizeof(keys[i]), "b%03u", i);
        writes[i] = put_of(keys[i], "v", 0);
    }
    c.nwrites = CAIRN_MAP_WRITES_MAX + 1;
    assert_int_equal(map_world_change(w, w->store, &c), CAIRN_E_INVAL);
    c.nwrites = CAIRN_MAP_WRITES_MAX;
    writes[5].key = keys[4];
    assert_int_equal(map_world_change(w, w->store, &c), CAIRN_E_INVAL); /* twice */
    writes[5].key = keys[5];
    for (uint32_t i = 0; i < c.nwrites; i++) {
        writes[i].value = large;
        writes[i].value_len = CAIRN_MAP_CHANGE_BYTES_MAX / CAIRN_MAP_WRITES_MAX;
    }
    writes[0].value_len++;
    assert_int_equal(map_world_change(w, w->store, &c), CAIRN_E_INVAL); /* in all too much */
    writes[0].value_len--;
    assert_int_equal(map_world_change(w, w->store, &c), 0);
}

/* ---- watches ---- */

static void watches_follow(void **state)
{
    struct map_world *w = *state;
    struct seen all, ns, later;
    uint64_t r1, r2, r3;

    assert_int_equal(map_world_put(w, "ns/a", "1", 0, &r1), 0);
    seen_start(&all, w->store, "", 0);
    seen_start(&ns, w->store, "ns/", 0);
    seen_expect(w, &ns, "reset ns/a=1 ");
    assert_int_equal(ns.revision, r1);
    assert_int_equal(map_world_put(w, "x", "1", 0, NULL), 0);
    assert_int_equal(map_world_put(w, "ns/b", "2", 0, &r2), 0);
    assert_int_equal(map_world_put(w, "ns/a", "3", r1, &r1), 0);
    assert_int_equal(map_world_put(w, "ns/b", NULL, r2, &r3), 0);
    seen_expect(w, &ns, "reset ns/a=1 ns/b=2 ns/a=3 -ns/b ");
    seen_expect(w, &all, "reset ns/a=1 x=1 ns/b=2 ns/a=3 -ns/b ");
    assert_int_equal(ns.revision, r3);
    seen_start(&later, w->store, "ns/", r2); /* what came after */
    seen_expect(w, &later, "ns/a=3 -ns/b ");
    cairn_map_watch_stop(&later.watch);
    seen_start(&later, w->store, "", r3 + 1000); /* of another history */
    seen_expect(w, &later, "reset ns/a=3 x=1 ");
    cairn_map_watch_stop(&later.watch);
    cairn_map_watch_stop(&ns.watch);
    cairn_map_watch_stop(&all.watch);
}

static void a_watch_may_stop_itself(void **state)
{
    struct map_world *w = *state;
    struct seen s;

    assert_int_equal(map_world_put(w, "a", "1", 0, NULL), 0);
    assert_int_equal(map_world_put(w, "b", "1", 0, NULL), 0);
    seen_start(&s, w->store, "", 0);
    s.stop_after = 1;
    map_world_pass_ms(w, 100);
    assert_string_equal(s.text, "reset a=1 ");
}

/* A watch that is slow, or begins late, is told everything anew when the journal no longer reaches back. */
static void a_watch_behind_the_journal_begins_anew(void **state)
{
    struct map_world *w = *state;
    struct cairn_map_write writes[CAIRN_MAP_WRITES_MAX];
    struct cairn_map_change c = { .writes = writes, .nwrites = CAIRN_MAP_WRITES_MAX };
    char keys[CAIRN_MAP_WRITES_MAX][8];
    uint64_t first, r;
    struct seen s;

    assert_int_equal(map_world_put(w, "old", "1", 0, &first), 0);
    for (uint32_t n = 0; n < CAIRN_MAP_JOURNAL; n += CAIRN_MAP_WRITES_MAX) {
        for (uint32_t i = 0; i < CAIRN_MAP_WRITES_MAX; i++) {
            snprintf(keys[i], sizeof(keys[i]), "k%u", i);
            writes[i] = put_of(keys[i], "v", n == 0 ? 0 : c.op.revision);
        }
        assert_int_equal(map_world_change(w, w->store, &c), 0);
    }
    seen_start(&s, w->store, "old", first); /* exactly reaches */
    map_world_pass_ms(w, 100);
    assert_string_equal(s.text, "");
    assert_int_equal(s.revision, c.op.revision);
    cairn_map_watch_stop(&s.watch);
    assert_int_equal(map_world_put(w, "k0", "1", c.op.revision, &r), 0);
    seen_start(&s, w->store, "old", first);
    seen_expect(w, &s, "reset old=1 ");
    cairn_map_watch_stop(&s.watch);
}

/* ---- leases ---- */

static void leased_entry(struct map_world *w, const char *key, uint64_t ttl_ms, struct cairn_map_lease_op *l)
{
    struct cairn_map_write write = put_of(key, "leased", 0);
    struct cairn_map_change c = { .writes = &write, .nwrites = 1 };
    uint64_t before = map_world_now(w);

    *l = (struct cairn_map_lease_op){ .verb = CAIRN_MAP_GRANT, .ttl_ms = ttl_ms };
    assert_int_equal(map_world_lease(w, w->store, l), 0);
    assert_true(l->id != 0 && l->ttl_ms >= ttl_ms);
    assert_true(l->op.sent_ns >= before && l->op.sent_ns <= map_world_now(w));
    write.lease = l->id;
    assert_int_equal(map_world_change(w, w->store, &c), 0);
}

static void entries_end_with_their_lease(void **state)
{
    struct map_world *w = *state;
    struct cairn_map_write write;
    struct cairn_map_change c = { .writes = &write, .nwrites = 1 };
    struct cairn_map_lease_op l;
    struct cairn_map_read r = { .prefix = "leased" };
    struct seen s;
    uint64_t revision;

    assert_int_equal(map_world_put(w, "stays", "1", 0, NULL), 0);
    leased_entry(w, "leased", LONG_LEASE_MS, &l);
    seen_start(&s, w->store, "", 0);
    seen_expect(w, &s, "reset leased=leased stays=1 ");
    assert_int_equal(map_world_read(w, w->store, &r), 0);
    assert_int_equal(r.table.nodes[0]->e.lease, l.id);
    cairn_map_table_fini(&r.table);
    l.verb = CAIRN_MAP_REVOKE;
    assert_int_equal(map_world_lease(w, w->store, &l), 0);
    seen_expect(w, &s, "reset leased=leased stays=1 -leased ");
    assert_string_equal(map_world_listed_truly(w, w->store, ""), "stays=1 ");
    revision = cairn_map_store_revision(w->store);
    assert_int_equal(map_world_lease(w, w->store, &l), CAIRN_E_CLOSED);
    l.verb = CAIRN_MAP_KEEP;
    assert_int_equal(map_world_lease(w, w->store, &l), CAIRN_E_CLOSED);
    write = put_of("late", "1", 0);
    write.lease = l.id;
    assert_int_equal(map_world_change(w, w->store, &c), CAIRN_E_CLOSED);
    assert_int_equal(cairn_map_store_revision(w->store), revision);
    cairn_map_watch_stop(&s.watch);
}

static bool is_gone(void *arg)
{
    struct map_world *w = arg;

    return strcmp(map_world_listed(w, w->store, ""), "") == 0;
}

/* Kept, a lease lives on; left alone, it ends, though never before its time. */
static void a_lease_runs_out(void **state)
{
    struct map_world *w = *state;
    struct cairn_map_lease_op l;
    uint64_t sent;

    leased_entry(w, "leased", LEASE_MS, &l);
    for (int i = 0; i < 6; i++) {
        map_world_pass_ms(w, l.ttl_ms / 4);
        l.verb = CAIRN_MAP_KEEP;
        assert_int_equal(map_world_lease(w, w->store, &l), 0);
        assert_true(l.ttl_ms >= LEASE_MS);
    }
    sent = l.op.sent_ns;
    assert_string_equal(map_world_listed(w, w->store, ""), "leased=leased ");
    map_world_until(w, is_gone, w);
    assert_true(map_world_now(w) >= sent + l.ttl_ms * CAIRN_NS_PER_MS);
    l.verb = CAIRN_MAP_KEEP;
    assert_int_equal(map_world_lease(w, w->store, &l), CAIRN_E_CLOSED);
}

#define ALL(kind)                                                                                                      \
    CASE(changes_compare_and_set, kind), CASE(entries_are_listed_in_order, kind),                                      \
        CASE(several_writes_are_one_change, kind), CASE(entries_keep_bytes_and_revisions, kind),                       \
        CASE(a_read_may_be_of_a_few, kind), CASE(a_fence_refuses_the_whole_change, kind),                              \
        CASE(of_changes_at_the_same_time_one_wins, kind), CASE(bounds, kind), CASE(watches_follow, kind),              \
        CASE(a_watch_may_stop_itself, kind), CASE(a_watch_behind_the_journal_begins_anew, kind),                       \
        CASE(entries_end_with_their_lease, kind), CASE(a_lease_runs_out, kind)
int main(void)
{
    const struct CMUnitTest tests[] = {
        ALL(local),
        ALL(sim),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
#if CAIRN_WITH_ETCD
    const struct CMUnitTest etcd_tests[] = {
        ALL(etcd),
    };

    if (etcd_is_there())
        failed += cmocka_run_group_tests(etcd_tests, NULL, NULL);
#endif
    return failed;
}
