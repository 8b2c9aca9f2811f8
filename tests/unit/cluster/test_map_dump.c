/* The map as a document, its way into another store, and its log. */
#include "server/cluster/map_dump.h"
#include "server/cluster/map_generation.h"
#include "server/cluster/map_ids.h"
#include "server/cluster/map_log.h"
#include "tests/lib/etcd.h"
#include "tests/lib/map_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static char *dump(struct map_world *w, uint64_t *revision)
{
    struct cairn_map_read r = { .prefix = "" };
    char *text = NULL;
    size_t len = 0;
    FILE *f = open_memstream(&text, &len);

    assert_int_equal(map_world_read(w, w->store, &r), 0);
    assert_int_equal(cairn_map_dump_write(&r.table, r.op.revision, f, NULL), 0);
    fclose(f);
    cairn_map_table_fini(&r.table);
    if (revision != NULL)
        *revision = r.op.revision;
    return text;
}

static int store(struct map_world *w, const char *text, struct cairn_err *err)
{
    struct cairn_map_table t = { 0 };
    uint64_t revision = 0;
    int rc = cairn_map_dump_read(text, strlen(text), &t, &revision, err);

    if (rc == 0)
        rc = cairn_map_dump_store(w->store, &t, revision, "uid 0", 20000, err);
    cairn_map_table_fini(&t);
    return rc;
}

static void fill(struct map_world *w)
{
    char key[16], *large = malloc(40001);
    uint64_t r;

    assert_non_null(large);
    memset(large, 'x', 40000);
    large[40000] = '\0';
    for (int i = 0; i < 100; i++) {
        snprintf(key, sizeof(key), "k%03d", i);
        assert_int_equal(map_world_put(w, key, i % 3 == 0 ? large : "small", 0, &r), 0);
    }
    assert_int_equal(map_world_put(w, "k000", "changed \"\\", r - 99, NULL), 0);
    assert_int_equal(map_world_put(w, "empty", "", 0, NULL), 0);
    free(large);
}

static void on_compare(const struct cairn_map_entry *e, void *arg)
{
    const struct cairn_map_node *n = cairn_map_table_at(arg, e->key);

    if (strncmp(e->key, CAIRN_MAP_LOG_PREFIX, 4) == 0)
        return;
    assert_non_null(n);
    assert_int_equal(n->e.value_len, e->value_len);
    assert_memory_equal(n->e.value, e->value, e->value_len);
}

static uint64_t base_of(struct map_world *w)
{
    struct cairn_map_ids ids = cairn_map_ids_of(w->store);

    return cairn_map_ids_base(&ids);
}

static uint32_t id_of(uint64_t base, uint64_t revision)
{
    struct cairn_map_ids ids = { .n = 1, .steps = { { .base = base } } };

    return cairn_map_id(&ids, revision);
}

static void moved_between(const struct map_world_kind *kind)
{
    struct map_world *from = map_world_local.open(), *to = kind->open();
    struct cairn_map_read r = { .prefix = "" };
    struct cairn_err err = { 0 };
    uint64_t before, after, r2;
    char *text;

    fill(from);
    text = dump(from, &before);
    if (store(to, text, &err) != 0)
        fail_msg("%s", err.text);
    assert_true(base_of(to) >= before + CAIRN_MAP_IDS_GAP); /* no id comes again */
    assert_int_equal(map_world_read(to, to->store, &r), 0);
    cairn_map_store_each(from->store, "", on_compare, &r.table);
    cairn_map_table_fini(&r.table);
    after = cairn_map_store_revision(to->store);
    assert_int_equal(store(to, text, NULL), 0); /* again: nothing is left to do */
    assert_int_equal(cairn_map_store_revision(to->store), after);
    assert_int_equal(map_world_read(to, to->store, &r), 0);
    r2 = cairn_map_table_at(&r.table, "k050")->e.changed;
    cairn_map_table_fini(&r.table);
    assert_int_equal(map_world_put(to, "k050", "of its own", r2, NULL), 0);
    assert_int_equal(store(to, text, &err), CAIRN_E_EXISTS);
    assert_non_null(strstr(err.text, "k050"));
    free(text);
    to->kind->close(to);
    from->kind->close(from);
}

static void a_map_moves_to_local(void **state)
{
    (void)state;
    moved_between(&map_world_local);
}

#if CAIRN_WITH_ETCD
static void a_map_moves_to_etcd(void **state)
{
    (void)state;
    if (!etcd_is_there())
        skip();
    moved_between(&map_world_etcd);
}
#endif

#define DUMP_OF(revision, entries) "{\"cairn_map\": 1, \"revision\": " revision ", \"entries\": [" entries "]}"
#define DUMP_ENTRY(key, value)     "{\"key\": \"" key "\", \"value\": \"" value "\", \"created\": 1, \"changed\": 1}"
#define DUMP_LED                   DUMP_ENTRY("cluster/generation", "MDAwMDAwMDMwMDAwMDAwNyA4IDk=") /* 0000000300000007 8 9 */

static uint32_t generation_of(struct map_world *w)
{
    struct cairn_map_read r = { .prefix = CAIRN_MAP_GENERATION_KEY };
    struct cairn_map_generation g = { 0 };
    const struct cairn_map_node *n;

    assert_int_equal(map_world_read(w, w->store, &r), 0);
    n = cairn_map_table_at(&r.table, CAIRN_MAP_GENERATION_KEY);
    if (n != NULL)
        assert_true(cairn_map_generation_read(n->e.value, n->e.value_len, &g));
    cairn_map_table_fini(&r.table);
    return cairn_map_generation_number(g.id);
}

/* An etcd that others write to, too, is at any revision: an import makes as many changes as there is to store. */
static void a_map_of_a_high_revision_moves_at_once(void **state)
{
    static const char text[] = DUMP_OF("3000000000", DUMP_LED "," DUMP_ENTRY("ns/a", "YQ=="));
    struct map_world *w = map_world_local.open();
    uint64_t base, after;
    char *again;

    (void)state;
    assert_int_equal(store(w, text, NULL), 0);
    after = cairn_map_store_revision(w->store);
    assert_int_equal(after, 3); /* what it counts on from, the entries, the log */
    base = base_of(w);
    assert_in_range(base, 3000000000 + CAIRN_MAP_IDS_GAP, 3000000000 + 2 * CAIRN_MAP_IDS_GAP);
    assert_int_equal(id_of(base, after + 1), base + 4);
    assert_int_equal(cairn_map_ids_upto(w->store), base + 3);
    assert_int_equal(generation_of(w), 4);
    assert_int_equal(store(w, text, NULL), 0);
    assert_int_equal(cairn_map_store_revision(w->store), after);

    /* From there it moves on, and counts on. */
    again = dump(w, NULL);
    w->kind->close(w);
    w = map_world_local.open();
    assert_int_equal(store(w, again, NULL), 0);
    assert_true(base_of(w) >= base + after + CAIRN_MAP_IDS_GAP);
    assert_int_equal(generation_of(w), 5);
    free(again);
    w->kind->close(w);
}

/* Only the first change of it was made. */
static void an_import_that_broke_off_is_repeated(void **state)
{
    struct map_world *w = map_world_local.open();
    uint64_t base;

    (void)state;
    assert_int_equal(store(w, DUMP_OF("5", DUMP_LED), NULL), 0);
    base = base_of(w);
    assert_int_equal(store(w, DUMP_OF("5", DUMP_LED "," DUMP_ENTRY("ns/a", "YQ==")), NULL), 0);
    assert_int_equal(base_of(w), base);
    assert_int_equal(generation_of(w), 4);
    w->kind->close(w);
}

/* Its id would be another when the base is. */
static void a_namespace_that_was_made_there_stays_what_it_is(void **state)
{
    struct map_world *w = map_world_local.open();
    struct cairn_err err = { 0 };

    (void)state;
    assert_int_equal(map_world_put(w, "ns/own", "x", 0, NULL), 0);
    assert_int_equal(store(w, DUMP_OF("5", DUMP_ENTRY("ns/a", "YQ==")), &err), CAIRN_E_EXISTS);
    assert_non_null(strstr(err.text, "ns/own"));
    assert_int_equal(cairn_map_store_revision(w->store), 1);
    assert_int_equal(generation_of(w), 0);
    w->kind->close(w);
}

static void ids_end(void **state)
{
    struct map_world *w = map_world_local.open();

    (void)state;
    assert_int_equal(id_of(0, UINT32_MAX), UINT32_MAX);
    assert_int_equal(id_of(1, UINT32_MAX), 0);
    assert_int_equal(id_of(0, UINT64_MAX), 0);
    assert_int_equal(id_of(UINT64_MAX, 1), 0);
    assert_int_equal(map_world_put(w, CAIRN_MAP_IDS_KEY, "12 ", 0, NULL), 0);
    assert_int_equal(base_of(w), UINT64_MAX); /* nothing that makes sense gives no id */
    assert_int_equal(cairn_map_ids_upto(w->store), 0);
    assert_int_equal(store(w, DUMP_OF("5", ""), NULL), CAIRN_E_CORRUPT);
    w->kind->close(w);
    w = map_world_local.open();
    assert_int_equal(store(w, DUMP_OF("9000000000", ""), NULL), 0);
    assert_int_equal(id_of(base_of(w), 1), 0);
    w->kind->close(w);
}

static void leased_entries_stay_behind(void **state)
{
    struct map_world *w = map_world_local.open();
    struct cairn_map_lease_op l = { .verb = CAIRN_MAP_GRANT, .ttl_ms = 5000 };
    struct cairn_map_write write = { .key = "leased", .value = (const uint8_t *)"" };
    struct cairn_map_change c = { .writes = &write, .nwrites = 1 };
    char *text;

    (void)state;
    assert_int_equal(map_world_lease(w, w->store, &l), 0);
    write.lease = l.id;
    assert_int_equal(map_world_change(w, w->store, &c), 0);
    text = dump(w, NULL);
    assert_string_equal(text, "{\"cairn_map\": 1, \"revision\": 1, \"entries\": [\n]}\n");
    free(text);
    w->kind->close(w);
}

static void malformed_documents_are_refused(void **state)
{
#define DOC(entries) "{\"cairn_map\": 1, \"revision\": 5, \"entries\": [" entries "]}"
    static const char *const bad[] = {
        "",
        "[]",
        "{}",
        "{\"cairn_map\": 1}",
        "{\"cairn_map\": 1, \"revision\": -1, \"entries\": []}",
        DOC("7"),
        DOC("{\"key\": \"\", \"value\": \"\", \"created\": 1, \"changed\": 1}"),
        DOC("{\"key\": \"a\", \"value\": \"=\", \"created\": 1, \"changed\": 1}"),
        DOC("{\"key\": \"a\", \"value\": \"\", \"created\": 0, \"changed\": 1}"),
        DOC("{\"key\": \"a\", \"value\": \"\", \"created\": 3, \"changed\": 2}"),
        DOC("{\"key\": \"a\", \"value\": \"\", \"created\": 3, \"changed\": 6}"),
        DOC("{\"key\": \"b\", \"value\": \"\", \"created\": 1, \"changed\": 1},"
            "{\"key\": \"a\", \"value\": \"\", \"created\": 2, \"changed\": 2}"),
    };
    static const char newer[] = "{\"cairn_map\": 2, \"revision\": 1, \"entries\": []}";
    uint64_t revision;

    (void)state;
    for (size_t i = 0; i <= ARRAY_SIZE(bad); i++) {
        struct cairn_map_table t = { 0 };
        const char *text = i < ARRAY_SIZE(bad) ? bad[i] : newer;

        assert_int_equal(cairn_map_dump_read(text, strlen(text), &t, &revision, NULL),
                         text == newer ? CAIRN_E_FORMAT : CAIRN_E_CORRUPT);
        cairn_map_table_fini(&t);
    }
}

/* ---- the log ---- */

static void logged(struct map_world *w, const char *key, const char *author, const char *reason)
{
    struct cairn_map_write writes[2] = { { .key = key, .value = (const uint8_t *)"" } };
    struct cairn_map_change c = { .writes = writes, .nwrites = 2 };
    struct cairn_map_log_line line;

    assert_int_equal(cairn_map_log_describe(&line, w->store->home.env, author, reason, writes, 1), 0);
    writes[1] = line.write;
    assert_int_equal(map_world_change(w, w->store, &c), 0);
    cairn_map_log_line_fini(&line);
}

static void on_line(const struct cairn_map_entry *e, void *arg)
{
    json_t *o = cairn_map_log_read(e);
    char *to = arg;

    assert_non_null(o);
    assert_true(json_integer_value(json_object_get(o, "time_ms")) > 1600000000000);
    assert_int_equal(json_integer_value(json_object_get(o, "revision")), e->changed);
    strcat(to, json_string_value(json_object_get(o, "author")));
    strcat(to, ": ");
    strcat(to, json_string_value(json_object_get(o, "reason")));
    strcat(to, " ");
    strcat(to, json_string_value(json_array_get(json_object_get(o, "keys"), 0)));
    strcat(to, "\n");
    json_decref(o);
}

static void every_change_tells_who_why_and_when(void **state)
{
    struct map_world *w = map_world_sim.open();
    static const struct cairn_map_entry junk = { .key = "log/x", .value = (const uint8_t *)"{}", .value_len = 2 };
    char told[512] = "";

    (void)state;
    logged(w, "ns/a", "uid 1000", "namespace a created");
    map_world_pass_ms(w, 100);
    logged(w, "ns/b", "node n\x1b[1", "namespace b created");
    cairn_map_store_each(w->store, CAIRN_MAP_LOG_PREFIX, on_line, told);
    if (strstr(told, "uid 1000: namespace a created ns/a\n") == NULL ||
        strstr(told, "node n?[1: namespace b created ns/b\n") == NULL)
        fail_msg("%s", told);
    assert_null(cairn_map_log_read(&junk));
    w->kind->close(w);
}

static void on_count(const struct cairn_map_entry *e, void *arg)
{
    (void)e;
    ++*(uint32_t *)arg;
}

static bool is_trimmed(void *arg)
{
    return !((struct cairn_map_log_trim *)arg)->trimming;
}

static void on_trimmed(struct cairn_map_log_trim *t)
{
    ++*(uint32_t *)t->arg;
}

static void the_log_is_bounded(void **state)
{
    struct map_world *w = map_world_sim.open();
    struct cairn_map_log_trim *t = calloc(1, sizeof(*t));
    char key[16];
    uint32_t most = 0, begun = 0, trimmed = 0, n;

    (void)state;
    assert_non_null(t);
    t->prefix = CAIRN_MAP_LOG_PREFIX;
    t->done = on_trimmed;
    t->arg = &trimmed;
    for (int i = 0; i < CAIRN_MAP_LOG_ENTRIES_MAX + 300; i++) {
        snprintf(key, sizeof(key), "k%05d", i);
        logged(w, key, "a", "b");
        begun += cairn_map_log_trim(w->store, t);
        map_world_until(w, is_trimmed, t);
        n = 0;
        cairn_map_store_each(w->store, CAIRN_MAP_LOG_PREFIX, on_count, &n);
        most = MAX(most, n);
    }
    assert_int_equal(most, CAIRN_MAP_LOG_ENTRIES_MAX + CAIRN_MAP_WRITES_MAX - 1);
    assert_true(n >= CAIRN_MAP_LOG_ENTRIES_MAX);
    assert_int_equal(begun, 4);
    assert_int_equal(trimmed, 4);
    free(t);
    w->kind->close(w);
}

/* A store that was put back has another base from then on; what is there keeps its id. */
static void ids_after_a_put_back(void **state)
{
    static const char *const nonsense[] = { "",        "1 ",        "1 5",       "1 5:",      "1 5:0",
                                            "1 0:2 x", "1 9:2 8:3", "1 0:5 0:6", "1 5:2 5:3", "x 5:2" };
    struct map_world *w = map_world_local.open();
    struct cairn_map_ids ids = cairn_map_ids_of(w->store);
    char text[CAIRN_MAP_IDS_TEXT_MAX];
    uint64_t at;
    uint32_t len;

    (void)state;
    assert_int_equal(cairn_map_id(&ids, 7), 7);
    assert_true(cairn_map_ids_base_after(0, 940, 1, 0) > 940 + CAIRN_MAP_IDS_GAP - 1);
    /* Nothing is known but the generation, of which there were two before: theirs are below. */
    assert_true(cairn_map_ids_base_after(0, 0, 3, 0) > cairn_map_ids_base_after(0, 0, 2, UINT32_MAX));
    assert_int_equal(cairn_map_ids_base_after(0, UINT64_MAX, 1, 0), UINT32_MAX);

    assert_true(cairn_map_ids_add(&ids, 1000, text) > 0);
    assert_string_equal(text, "0 0:1000");
    assert_int_equal(map_world_put(w, "ns/a", "x", 0, NULL), 0);
    assert_int_equal(map_world_put(w, CAIRN_MAP_IDS_KEY, text, 0, NULL), 0);
    ids = cairn_map_ids_of(w->store);
    at = cairn_map_store_revision(w->store);
    assert_int_equal(cairn_map_id(&ids, at), at);
    assert_int_equal(cairn_map_id(&ids, at + 1), 1000 + at + 1);
    assert_int_equal(cairn_map_ids_upto(w->store), 1000 + at);

    assert_int_equal(cairn_map_ids_add(&ids, 999, text), 0);
    assert_true(cairn_map_ids_add(&ids, 5000, text) > 0);
    assert_string_equal(text, "0 2:1000 0:5000");
    assert_int_equal(map_world_put(w, "ns/b", "x", 0, NULL), 0);
    assert_int_equal(map_world_put(w, CAIRN_MAP_IDS_KEY, text, at, NULL), 0);
    ids = cairn_map_ids_of(w->store);
    assert_int_equal(cairn_map_id(&ids, 2), 2);
    assert_int_equal(cairn_map_id(&ids, 3), 1003);
    assert_int_equal(cairn_map_id(&ids, 4), 1004);
    assert_int_equal(cairn_map_id(&ids, 5), 5005);

    for (uint32_t i = 3; i < CAIRN_MAP_IDS_STEPS_MAX; i++)
        ids.steps[ids.n++] = (struct cairn_map_ids_step){ .beyond = UINT64_MAX - 99 + i, .base = UINT32_MAX - 99 + i };
    assert_true(cairn_map_ids_add(&ids, UINT32_MAX, text) == 0 && ids.n == CAIRN_MAP_IDS_STEPS_MAX);
    ids.n--;
    at = cairn_map_store_revision(w->store);
    len = cairn_map_ids_add(&ids, UINT32_MAX, text);
    assert_int_equal(len, strlen(text)); /* the longest there is */
    assert_int_equal(map_world_put(w, CAIRN_MAP_IDS_KEY, text, at, NULL), 0);
    for (uint32_t i = 0; i < ARRAY_SIZE(nonsense); i++) {
        at = cairn_map_store_revision(w->store);
        assert_int_equal(map_world_put(w, CAIRN_MAP_IDS_KEY, nonsense[i], at, NULL), 0);
        ids = cairn_map_ids_of(w->store);
        assert_int_equal(ids.n, 0);
        assert_int_equal(cairn_map_id(&ids, 1), 0);
    }
    w->kind->close(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_map_moves_to_local),
#if CAIRN_WITH_ETCD
        cmocka_unit_test(a_map_moves_to_etcd),
#endif
        cmocka_unit_test(a_map_of_a_high_revision_moves_at_once),
        cmocka_unit_test(an_import_that_broke_off_is_repeated),
        cmocka_unit_test(a_namespace_that_was_made_there_stays_what_it_is),
        cmocka_unit_test(ids_end),
        cmocka_unit_test(ids_after_a_put_back),
        cmocka_unit_test(leased_entries_stay_behind),
        cmocka_unit_test(malformed_documents_are_refused),
        cmocka_unit_test(every_change_tells_who_why_and_when),
        cmocka_unit_test(the_log_is_bounded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
