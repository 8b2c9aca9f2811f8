/* Namespaces that a restart finds, and those that a failure, a crash or damage was to keep from being made. */
#include "world_ns.h"

static void everything_is_there_after_a_restart(void **state)
{
    struct world *w = *state;
    Cairn__Wire__Namespace m = named("n");
    uint8_t got[16];
    struct answer before, after;
    size_t n;

    m.mode = 0660;
    m.write_once = true;
    m.embed_threshold = 123;
    assert_int_equal(ns_create_as(w, &alice, &m, NULL), 0);
    assert_int_equal(put(w, "n", "k", value, 10), 0);
    assert_int_equal(show(w, 0, "n", &before), 0);
    world_stop(w);
    world_start(w);
    for (uint32_t i = 0; i < WORKERS; i++) {
        assert_int_equal(show(w, i, "n", &after), 0);
        n = protobuf_c_message_get_packed_size(before.reply);
        assert_int_equal(n, protobuf_c_message_get_packed_size(after.reply));
        {
            uint8_t *x = malloc(n), *y = malloc(n);

            protobuf_c_message_pack(before.reply, x);
            protobuf_c_message_pack(after.reply, y);
            assert_memory_equal(x, y, n);
            free(x);
            free(y);
        }
        answer_free(&after);
    }
    answer_free(&before);
    assert_int_equal(get(w, "n", "k", 0, 0, got, sizeof(got), NULL), 10);
    assert_int_equal(put(w, "n", "k", value, 10), CAIRN_E_EXISTS);
}

/* The database was not made before the crash: the first operation makes it. */
static void a_crash_before_the_database(void **state)
{
    struct world *w = *state;

    ns_create(w, "n");
    world_crash(w);
    w->ndbs = 0;
    world_start(w);
    assert_int_equal(put(w, "n", "k", value, 10), 0);
    assert_int_equal(w->ndbs, 1);
}

static void every_call_of_a_creation_fails(void **state)
{
    struct world *w = *state;

    for (uint64_t nth = 1;; nth++) {
        Cairn__Wire__Namespace m = named("n");
        struct answer a;
        int rc;

        w->calls = 0;
        w->fail_at = nth;
        w->fail_rc = CAIRN_E_NOSPACE;
        rc = ns_create_as(w, &root, &m, NULL);
        w->fail_at = 0;
        if (w->calls < nth) {
            assert_int_equal(rc, 0);
            assert_int_equal(nth, 4 + 1); /* region put and removed, database, its backend */
            break;
        }
        assert_int_equal(rc, CAIRN_E_NOSPACE);
        for (uint32_t i = 0; i < WORKERS; i++)
            assert_int_equal(show(w, i, "n", &a), CAIRN_E_NOTFOUND);
        world_stop(w);
        world_start(w);
        assert_int_equal(show(w, 0, "n", &a), CAIRN_E_NOTFOUND); /* nor after a restart */
    }
}

static void on_ids_set(struct cairn_map_op *op)
{
    *(bool *)op->arg = true;
}

/* As an import does. */
static void ids_begin_beyond(struct world *w, const char *base)
{
    bool done = false;
    struct cairn_map_write write = { .key = CAIRN_MAP_IDS_KEY,
                                     .value = (const uint8_t *)base,
                                     .value_len = (uint32_t)strlen(base) };
    struct cairn_map_change c = { .op = { .done = on_ids_set, .arg = &done }, .writes = &write, .nwrites = 1 };

    cairn_map_store_change(cairn_router_store(w->router), NULL, &c);
    while (!done) /* it has a deadline */
        world_turn(w);
    assert_int_equal(c.op.rc, 0);
}

static void ids_count_on_from_an_import(void **state)
{
    struct world *w = *state;
    uint8_t got[16];
    uint32_t id;

    ids_begin_beyond(w, "3000000000");
    ns_create(w, "n");
    id = id_of(w, "n");
    assert_int_equal(id, 3000000002);
    assert_int_equal(put(w, "n", "k", value, 10), 0);
    world_stop(w);
    world_start(w);
    assert_int_equal(id_of(w, "n"), id);
    assert_int_equal(get(w, "n", "k", 0, 0, got, sizeof(got), NULL), 10);
    assert_int_equal(w->ndbs, 1);
}

/* Nothing of it stays that would keep the node from starting. */
static void no_id_is_left(void **state)
{
    struct world *w = *state;
    Cairn__Wire__Namespace m = named("n");
    struct answer a;

    ids_begin_beyond(w, "4294967295");
    assert_int_equal(ns_create_as(w, &root, &m, NULL), CAIRN_E_LIMIT);
    assert_int_equal(show(w, 0, "n", &a), CAIRN_E_NOTFOUND);
    world_stop(w);
    world_start(w);
    assert_int_equal(show(w, 0, "n", &a), CAIRN_E_NOTFOUND);
}

static void block_the_map(struct world *w, struct cairn_rpc_req *rq)
{
    char fresh[96];

    if (rq->target->iface != &cairn_iface_kv || rq->method_no != CAIRN__WIRE__KV_METHOD__KV_OPEN)
        return;
    snprintf(fresh, sizeof(fresh), "%s/map.fresh", w->dir);
    assert_int_equal(mkdir(fresh, 0700), 0);
}

/* Its database cannot be made now, and its record, which is stored, cannot be taken back: a retry must not make it
 * once more, and be told that it exists. */
static void a_creation_that_cannot_be_taken_back(void **state)
{
    struct world *w = *state;
    Cairn__Wire__Namespace m = named("n");
    char fresh[96];

    snprintf(fresh, sizeof(fresh), "%s/map.fresh", w->dir);
    w->before = block_the_map;
    w->calls = 0;
    w->fail_at = 3;
    w->fail_rc = CAIRN_E_BUSY;
    assert_int_equal(ns_create_as(w, &root, &m, NULL), CAIRN_E_UNKNOWN);
    w->before = NULL;
    w->fail_at = 0;
    assert_int_equal(rmdir(fresh), 0);
    assert_int_equal(ns_create_as(w, &root, &m, NULL), CAIRN_E_EXISTS);
    world_stop(w);
    world_start(w); /* where it comes to light */
    assert_int_equal(put(w, "n", "k", value, 10), 0);
}

static void a_full_disk_refuses_changes(void **state)
{
    struct world *w = *state;
    Cairn__Wire__Namespace m = named("other");
    char fresh[96];

    ns_create(w, "n");
    assert_int_equal(put(w, "n", "k", value, 10), 0);
    snprintf(fresh, sizeof(fresh), "%s/map.fresh", w->dir);
    assert_int_equal(mkdir(fresh, 0700), 0); /* the store cannot write */
    assert_true(ns_create_as(w, &root, &m, NULL) < 0);
    assert_true(ns_remove_as(w, &root, "n", true) < 0);
    assert_true(put(w, "n", "k", value, 2000) < 0); /* the first large value needs the flag */
    assert_int_equal(w->nregions, 0);
    assert_int_equal(put(w, "n", "k", value, 20), 0);
    assert_int_equal(rmdir(fresh), 0);
    assert_int_equal(put(w, "n", "k", value, 2000), 0);
    assert_int_equal(ns_remove_as(w, &root, "n", true), 0);
    assert_int_equal(w->nregions, 0);
}

static void a_damaged_table_is_refused(void **state)
{
    struct world *w = *state;
    struct cairn_err err = { 0 };
    char path[96];
    FILE *f;

    ns_create(w, "n");
    world_stop(w);
    snprintf(path, sizeof(path), "%s/map", w->dir);
    f = fopen(path, "r+");
    assert_non_null(f);
    fseek(f, 50, SEEK_SET);
    fputc('!', f);
    fclose(f);
    assert_int_equal(world_start_rc(w, &err), CAIRN_E_CORRUPT);
    assert_non_null(strstr(err.text, path));
    w->router = NULL;
}

/* Its provider is not configured any more: the others work, and this one says why it does not. */
static void a_namespace_without_its_provider(void **state)
{
    struct world *w = *state;
    struct answer a;

    ns_create(w, "n");
    world_stop(w);
    w->targets[1].name = "kv1";
    world_start(w);
    assert_int_equal(put(w, "n", "k", value, 10), CAIRN_E_NOPROVIDER);
    assert_int_equal(show(w, 0, "n", &a), 0);
    answer_free(&a);
    ns_create(w, "other");
    assert_int_equal(put(w, "other", "k", value, 10), 0);
    assert_int_equal(ns_remove_as(w, &root, "n", false), CAIRN_E_NOPROVIDER);
    assert_int_equal(ns_remove_as(w, &root, "n", true), 0);
    assert_int_equal(show(w, 0, "n", &a), CAIRN_E_NOTFOUND);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(everything_is_there_after_a_restart), CASE(a_crash_before_the_database),
        CASE(every_call_of_a_creation_fails),      CASE(a_creation_that_cannot_be_taken_back),
        CASE(a_full_disk_refuses_changes),         CASE(a_damaged_table_is_refused),
        CASE(ids_count_on_from_an_import),         CASE(no_id_is_left),
        CASE(a_namespace_without_its_provider),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
