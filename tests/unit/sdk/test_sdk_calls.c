/* Calls of a client to a node that misbehaves when told to: both forms of every call, who drives, time-outs, cancel, a
 * node that dies, a client that closes with calls in flight. */
#include "cairn/admin.h"
#include "cairn/hashed.h"
#include "sdk/client/client_internal.h"
#include "tests/lib/scripted_node.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { MIB = 1 << 20 };

struct fixture {
    struct scripted_node *node;
    struct scripted_knobs *knobs;
    struct cairn *c;
    struct cairn_ns *ns;
    struct cairn_error_info error;
    struct cairn_call_options o;
};

static void connect_with(struct fixture *fx, uint32_t inflight_max)
{
    struct cairn_options o = CAIRN_OPTIONS_INIT;

    o.workspace = scripted_node_workspace(fx->node);
    o.inflight_max = inflight_max;
    o.timeout_ms = 20000;
    if (cairn_connect(&o, &fx->c, &fx->error) != 0)
        fail_msg("%s", fx->error.text);
    assert_int_equal(cairn_ns_open(fx->c, "data", &fx->ns, NULL), 0);
}

static int setup(void **state)
{
    struct fixture *fx = calloc(1, sizeof(*fx));

    fx->node = scripted_node_start();
    assert_non_null(fx->node);
    fx->knobs = scripted_node_knobs(fx->node);
    fx->o = (struct cairn_call_options)CAIRN_CALL_OPTIONS_INIT;
    fx->o.error = &fx->error;
    *state = fx;
    connect_with(fx, 0);
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fx = *state;

    cairn_ns_close(fx->ns);
    cairn_close(fx->c);
    scripted_node_free(fx->node);
    free(fx);
    return 0;
}

/* What an asynchronous call came to. */
struct outcome {
    int runs, rc;
    pthread_t thread;
};

static void on_done(void *arg, int rc)
{
    struct outcome *out = arg;

    out->runs++;
    out->rc = rc;
    out->thread = pthread_self();
}

static uint8_t *pattern(size_t n, unsigned seed)
{
    uint8_t *p = malloc(n + 1);

    for (size_t i = 0; i < n; i++)
        p[i] = (uint8_t)(i * 131 + i / 251 + seed);
    return p;
}

/* The drawing in call.c says the same. */
static void the_table_is_the_drawing(void **state)
{
    static const char drawing[] = "READY: ASKING FAILED\n"
                                  "ASKING: CHECKING FAILED\n"
                                  "CHECKING: ASKING DONE FAILED\n"
                                  "DONE:\n"
                                  "FAILED:\n";
    struct cairn_err err = { 0 };
    char text[500] = "";
    FILE *f = fmemopen(text, sizeof(text), "w");

    (void)state;
    if (cairn_sm_kind_check(&cairn_client_call_kind, &err) != 0)
        fail_msg("%s", err.text);
    cairn_sm_kind_text(&cairn_client_call_kind, f);
    fclose(f);
    assert_string_equal(text, drawing);
}

/* ---- both forms ---- */

static void values_of_all_sizes_come_back(void **state)
{
    static const size_t sizes[] = { 0,
                                    1,
                                    SCRIPTED_EMBED_THRESHOLD,
                                    SCRIPTED_EMBED_THRESHOLD + 1,
                                    CAIRN_BULK_THRESHOLD_BYTES,
                                    CAIRN_BULK_THRESHOLD_BYTES + 1,
                                    MIB,
                                    5 * MIB + 77 };
    struct fixture *fx = *state;

    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        size_t n = sizes[i], len = 99, part;
        uint8_t *value = pattern(n, (unsigned)i), *back = malloc(n + 10);
        uint64_t total = 0;
        bool exists = false;
        void *own = NULL;

        assert_int_equal(cairn_put(fx->ns, "k", 1, value, n, NULL), 0);
        assert_int_equal(cairn_get(fx->ns, "k", 1, back, n + 10, &len, NULL), 0);
        assert_int_equal(len, n);
        assert_memory_equal(back, value, n);
        memset(back, 0, n);
        assert_int_equal(cairn_get(fx->ns, "k", 1, back, n, &len, NULL), 0); /* exactly enough room */
        assert_int_equal(len, n);
        assert_memory_equal(back, value, n);
        assert_int_equal(cairn_get_alloc(fx->ns, "k", 1, &own, &len, NULL), 0);
        assert_int_equal(len, n);
        assert_memory_equal(own, value, n);
        assert_int_equal(((char *)own)[n], 0);
        cairn_free(own);
        part = n / 3;
        assert_int_equal(cairn_read(fx->ns, "k", 1, part, back, n, &len, &total, NULL), 0);
        assert_int_equal(len, n - part);
        assert_int_equal(total, n);
        assert_memory_equal(back, value + part, len);
        assert_int_equal(cairn_read(fx->ns, "k", 1, n, back, 5, &len, NULL, NULL), 0);
        assert_int_equal(len, 0);
        assert_int_equal(cairn_length(fx->ns, "k", 1, &total, NULL), 0);
        assert_int_equal(total, n);
        assert_int_equal(cairn_exists(fx->ns, "k", 1, &exists, NULL), 0);
        assert_true(exists);
        if (n > 0) {
            assert_int_equal(cairn_get(fx->ns, "k", 1, back, n - 1, &len, &fx->o), CAIRN_E_TOOBIG);
            assert_int_equal(len, n);
            assert_int_equal(fx->error.code, CAIRN_E_TOOBIG);
        }
        assert_int_equal(cairn_get(fx->ns, "k", 1, NULL, 0, &len, NULL), n > 0 ? CAIRN_E_TOOBIG : 0);
        free(value);
        free(back);
    }
    assert_true(atomic_load(&fx->knobs->bulk_puts) == 3 && atomic_load(&fx->knobs->bulk_gets) > 3);
}

static void asynchronous_forms_do_the_same(void **state)
{
    struct fixture *fx = *state;
    struct outcome o[10] = { 0 };
    struct cairn_ns *other = NULL;
    uint8_t *value = pattern(MIB, 1), *back = malloc(MIB), *half = malloc(MIB);
    size_t len = 0, half_len = 0, own_len = 0;
    struct cairn_page *page = NULL;
    uint64_t length = 0, total = 0;
    bool exists = false;
    void *own = NULL;

    assert_int_equal(cairn_put_async(fx->ns, "k", 1, value, MIB, NULL, on_done, &o[0]), 0);
    assert_int_equal(o[0].runs, 0); /* never inside the call that started it */
    assert_int_equal(cairn_drain(fx->c, -1), 0);
    assert_int_equal(cairn_get_async(fx->ns, "k", 1, back, MIB, &len, NULL, on_done, &o[1]), 0);
    assert_int_equal(cairn_get_alloc_async(fx->ns, "k", 1, &own, &own_len, NULL, on_done, &o[2]), 0);
    assert_int_equal(cairn_read_async(fx->ns, "k", 1, 1000, half, MIB, &half_len, &total, NULL, on_done, &o[3]), 0);
    assert_int_equal(cairn_exists_async(fx->ns, "k", 1, &exists, NULL, on_done, &o[4]), 0);
    assert_int_equal(cairn_length_async(fx->ns, "k", 1, &length, NULL, on_done, &o[5]), 0);
    assert_int_equal(cairn_list_async(fx->ns, "", 0, NULL, 0, 0, &page, NULL, on_done, &o[6]), 0);
    assert_int_equal(cairn_ns_open_async(fx->c, "more", &other, NULL, on_done, &o[7]), 0);
    assert_int_equal(cairn_ping_async(fx->c, NULL, on_done, &o[8]), 0);
    assert_int_equal(cairn_inflight(fx->c), 8);
    assert_int_equal(cairn_drain(fx->c, -1), 0);
    assert_int_equal(cairn_delete_async(fx->ns, "k", 1, NULL, on_done, &o[9]), 0);
    while (o[9].runs == 0)
        assert_true(cairn_poll(fx->c, -1) >= 0);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(o[i].runs, 1);
        assert_int_equal(o[i].rc, 0);
    }
    assert_int_equal(len, MIB);
    assert_memory_equal(back, value, MIB);
    assert_int_equal(own_len, MIB);
    assert_memory_equal(own, value, MIB);
    assert_int_equal(half_len, MIB - 1000);
    assert_memory_equal(half, value + 1000, half_len);
    assert_true(exists && length == MIB && total == MIB);
    assert_int_equal(page->n, 1);
    assert_int_equal(page->entries[0].value_len, MIB);
    assert_int_equal(cairn_get(fx->ns, "k", 1, back, MIB, &len, NULL), CAIRN_E_NOTFOUND);
    cairn_ns_close(other);
    cairn_free(page);
    cairn_free(own);
    free(value);
    free(back);
    free(half);
}

static void errors_bring_their_text(void **state)
{
    struct fixture *fx = *state;
    struct cairn_ns *none = NULL;
    char long_key[CAIRN_KEY_BYTES_MAX + 1] = { 1 };
    struct outcome out = { 0 };
    size_t len;

    assert_int_equal(cairn_ns_open(fx->c, "absent", &none, &fx->o), CAIRN_E_NOTFOUND);
    assert_null(none);
    assert_string_equal(fx->error.text, "no namespace absent");
    assert_int_equal(cairn_ns_open(fx->c, "", &none, &fx->o), CAIRN_E_INVAL);
    assert_int_equal(cairn_put(fx->ns, "", 0, "v", 1, &fx->o), CAIRN_E_INVAL);
    assert_int_equal(cairn_put(fx->ns, long_key, sizeof(long_key), "v", 1, &fx->o), CAIRN_E_INVAL);
    assert_non_null(strstr(fx->error.text, "4097"));
    assert_int_equal(cairn_put(fx->ns, long_key, CAIRN_KEY_BYTES_MAX, "v", 1, &fx->o), 0);
    assert_int_equal(cairn_get_async(fx->ns, "nokey", 5, NULL, 0, &len, &fx->o, on_done, &out), 0);
    assert_int_equal(cairn_drain(fx->c, -1), 0);
    assert_int_equal(out.rc, CAIRN_E_NOTFOUND);
    assert_string_equal(fx->error.text, "no such key");
    assert_int_equal(cairn_put_async(fx->ns, "k", 1, "v", 1, NULL, NULL, NULL), CAIRN_E_INVAL);
    fx->o.size = 3;
    assert_int_equal(cairn_ping(fx->c, &fx->o), CAIRN_E_INVAL);
    fx->o.size = sizeof(fx->o);
    fx->o.flags = CAIRN_IF_ABSENT;
    assert_int_equal(cairn_put(fx->ns, long_key, CAIRN_KEY_BYTES_MAX, "w", 1, &fx->o), CAIRN_E_EXISTS);
    atomic_store(&fx->knobs->fail, CAIRN_E_NOSPACE);
    assert_int_equal(cairn_put(fx->ns, "k", 1, "v", 1, &fx->o), CAIRN_E_NOSPACE);
    assert_string_equal(fx->error.text, "as told");
}

/* ---- checksums ---- */

static void a_bit_flipped_on_the_way_is_mended(void **state)
{
    struct fixture *fx = *state;
    uint8_t *value = pattern(3 * MIB, 5), *back = malloc(3 * MIB);
    size_t len = 0;

    assert_int_equal(cairn_put(fx->ns, "k", 1, value, 3 * MIB, NULL), 0);
    atomic_store(&fx->knobs->corrupt_reads, 1);
    assert_int_equal(cairn_get(fx->ns, "k", 1, back, 3 * MIB, &len, NULL), 0);
    assert_memory_equal(back, value, 3 * MIB);
    assert_int_equal(atomic_load(&fx->knobs->verified_gets), 1); /* the second time the node had to look itself */
    atomic_store(&fx->knobs->corrupt_reads, 2);
    assert_int_equal(cairn_get(fx->ns, "k", 1, back, 3 * MIB, &len, &fx->o), CAIRN_E_CORRUPT);
    assert_non_null(strstr(fx->error.text, "checksums"));
    atomic_store(&fx->knobs->corrupt_reads, 1);
    fx->o.flags = CAIRN_VERIFY;
    assert_int_equal(cairn_get(fx->ns, "k", 1, back, 3 * MIB, &len, &fx->o), CAIRN_E_CORRUPT);
    free(value);
    free(back);
}

static void corruption_gives_no_memory_away(void **state)
{
    struct fixture *fx = *state;
    uint8_t *value = pattern(SCRIPTED_EMBED_THRESHOLD * 3, 5);
    void *own = NULL;
    size_t len = 0;

    assert_int_equal(cairn_put(fx->ns, "k", 1, value, SCRIPTED_EMBED_THRESHOLD * 3, NULL), 0);
    atomic_store(&fx->knobs->corrupt_reads, 100);
    assert_int_equal(cairn_get_alloc(fx->ns, "k", 1, &own, &len, NULL), CAIRN_E_CORRUPT);
    assert_null(own);
    free(value);
}

/* ---- batches and lists ---- */

static void batches_of_any_size(void **state)
{
    enum { N = 9000, BIG = 60000 };
    struct fixture *fx = *state;
    struct cairn_put_item *puts = calloc(N, sizeof(*puts));
    struct cairn_get_item *gets = calloc(N + 1, sizeof(*gets));
    uint8_t *big = pattern(BIG, 3), *room = malloc(BIG);
    char(*keys)[16] = calloc(N, sizeof(*keys));

    for (int i = 0; i < N; i++) {
        snprintf(keys[i], sizeof(keys[i]), "key%06d", i);
        puts[i] = (struct cairn_put_item){ keys[i], 9, keys[i], 9, 1 };
        gets[i] = (struct cairn_get_item){ .key = keys[i], .key_len = 9, .value = malloc(16), .room = 16 };
    }
    puts[4500].value = big; /* too large to share a request */
    puts[4500].value_len = BIG;
    free(gets[4500].value);
    gets[4500].value = room;
    gets[4500].room = BIG;
    gets[7].room = 3;
    gets[N] = (struct cairn_get_item){ .key = "absent", .key_len = 6, .value = room, .room = 0 };
    assert_int_equal(cairn_mput(fx->ns, puts, N, NULL), 0);
    for (int i = 0; i < N; i++)
        assert_int_equal(puts[i].status, 0);
    assert_true(atomic_load(&fx->knobs->mputs) >= 3);
    assert_int_equal(atomic_load(&fx->knobs->puts), 1);
    atomic_store(&fx->knobs->short_pages, 2);
    assert_int_equal(cairn_mget(fx->ns, gets, N + 1, NULL), 0);
    assert_true(atomic_load(&fx->knobs->mgets) >= 5);
    for (int i = 0; i < N; i++) {
        if (i == 7 || i == 4500)
            continue;
        assert_int_equal(gets[i].status, 0);
        assert_int_equal(gets[i].value_len, 9);
        assert_memory_equal(gets[i].value, keys[i], 9);
    }
    assert_int_equal(gets[7].status, CAIRN_E_TOOBIG);
    assert_int_equal(gets[7].value_len, 9);
    assert_int_equal(gets[4500].status, 0);
    assert_int_equal(gets[4500].value_len, BIG);
    assert_memory_equal(room, big, BIG);
    assert_int_equal(gets[N].status, CAIRN_E_NOTFOUND);
    fx->o.flags = CAIRN_IF_ABSENT;
    puts[10].key = "fresh";
    puts[10].key_len = 5;
    assert_int_equal(cairn_mput(fx->ns, puts, 20, &fx->o), CAIRN_E_EXISTS);
    for (int i = 0; i < 20; i++)
        assert_int_equal(puts[i].status, i == 10 ? 0 : CAIRN_E_EXISTS);
    assert_int_equal(cairn_mput(fx->ns, NULL, 0, NULL), 0);
    assert_int_equal(cairn_mget(fx->ns, NULL, 0, NULL), 0);
    for (int i = 0; i < N; i++) {
        if (i != 4500)
            free(gets[i].value);
    }
    free(puts);
    free(gets);
    free(keys);
    free(big);
    free(room);
}

static void a_large_value_that_does_not_fit_a_batch_says_so(void **state)
{
    struct fixture *fx = *state;
    uint8_t *big = pattern(MIB, 3), small[16];
    struct cairn_get_item g[2] = { { .key = "big", .key_len = 3, .value = small, .room = 16 },
                                   { .key = "big", .key_len = 3, .value = small, .room = 16 } };

    assert_int_equal(cairn_put(fx->ns, "big", 3, big, MIB, NULL), 0);
    assert_int_equal(cairn_mget(fx->ns, g, 2, NULL), 0);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(g[i].status, CAIRN_E_TOOBIG);
        assert_int_equal(g[i].value_len, MIB);
    }
    free(big);
}

static void a_walk_sees_every_key_once(void **state)
{
    enum { N = 950 };
    struct fixture *fx = *state;
    struct cairn_iter *it;
    struct cairn_entry e;
    char key[16];
    int n = 0, rc;

    for (int i = 0; i < N; i++) {
        snprintf(key, sizeof(key), "w%05d", i);
        assert_int_equal(cairn_put(fx->ns, key, 6, "x", 1, NULL), 0);
    }
    assert_int_equal(cairn_put(fx->ns, "other", 5, "x", 1, NULL), 0);
    assert_int_equal(cairn_iter_open(fx->ns, "w", 1, NULL, &it), 0);
    while ((rc = cairn_iter_next(it, &e)) == 1) {
        snprintf(key, sizeof(key), "w%05d", n++);
        assert_int_equal(e.key_len, 6);
        assert_memory_equal(e.key, key, 6);
        assert_int_equal(e.value_len, 1);
    }
    assert_int_equal(rc, 0);
    assert_int_equal(n, N);
    cairn_iter_close(it);
}

/* ---- who drives ---- */

struct chain {
    struct fixture *fx;
    int left, waits_refused;
};

static void on_link(void *arg, int rc)
{
    struct chain *ch = arg;

    assert_int_equal(rc, 0);
    if (cairn_ping(ch->fx->c, NULL) == CAIRN_E_STATE && cairn_poll(ch->fx->c, 0) == CAIRN_E_STATE)
        ch->waits_refused++;
    if (--ch->left > 0)
        assert_int_equal(cairn_ping_async(ch->fx->c, NULL, on_link, ch), 0);
}

static void callbacks_may_start_calls_but_not_wait(void **state)
{
    struct chain ch = { *state, 100, 0 };

    assert_int_equal(cairn_ping_async(ch.fx->c, NULL, on_link, &ch), 0);
    assert_int_equal(cairn_drain(ch.fx->c, -1), 0);
    assert_int_equal(ch.left, 0);
    assert_int_equal(ch.waits_refused, 100);
}

struct worker {
    struct fixture *fx;
    int number, done;
};

static void *work(void *arg)
{
    struct worker *w = arg;
    struct outcome out = { 0 };
    char key[16], back[16];
    size_t len;

    for (int i = 0; i < 200; i++) {
        int n = snprintf(key, sizeof(key), "t%d.%d", w->number, i);

        if (cairn_put(w->fx->ns, key, (size_t)n, key, (size_t)n, NULL) != 0)
            break;
        if (cairn_ping_async(w->fx->c, NULL, on_done, &out) != 0)
            break;
        if (cairn_get(w->fx->ns, key, (size_t)n, back, sizeof(back), &len, NULL) != 0 || len != (size_t)n ||
            memcmp(back, key, len) != 0)
            break;
        while (__atomic_load_n(&out.runs, __ATOMIC_ACQUIRE) != i + 1)
            cairn_poll(w->fx->c, 10);
        w->done++;
    }
    return NULL;
}

static void threads_share_a_client(void **state)
{
    struct worker w[6];
    pthread_t t[6];

    for (int i = 0; i < 6; i++) {
        w[i] = (struct worker){ *state, i, 0 };
        assert_int_equal(pthread_create(&t[i], NULL, work, &w[i]), 0);
    }
    for (int i = 0; i < 6; i++) {
        pthread_join(t[i], NULL);
        assert_int_equal(w[i].done, 200);
    }
}

static void on_counted(void *arg, int rc)
{
    struct outcome *out = arg;

    out->rc = rc;
    out->thread = pthread_self();
    __atomic_add_fetch(&out->runs, 1, __ATOMIC_RELEASE);
}

static void the_own_thread_runs_callbacks(void **state)
{
    struct fixture *fx = *state;
    struct outcome out = { 0 };
    int n = 0;

    assert_int_equal(cairn_start_thread(fx->c), 0);
    assert_int_equal(cairn_start_thread(fx->c), CAIRN_E_STATE);
    do { /* the first ones may find the loop free still */
        assert_int_equal(cairn_ping_async(fx->c, NULL, on_counted, &out), 0);
        assert_int_equal(cairn_drain(fx->c, -1), 0);
        assert_int_equal(__atomic_load_n(&out.runs, __ATOMIC_ACQUIRE), ++n);
    } while (pthread_equal(out.thread, pthread_self()));
    for (int i = 0; i < 50; i++) {
        assert_int_equal(cairn_ping_async(fx->c, NULL, on_counted, &out), 0);
        assert_int_equal(cairn_ping(fx->c, NULL), 0);
    }
    assert_int_equal(cairn_drain(fx->c, -1), 0);
    assert_int_equal(__atomic_load_n(&out.runs, __ATOMIC_ACQUIRE), n + 50);
    assert_false(pthread_equal(out.thread, pthread_self()));
    cairn_stop_thread(fx->c);
    cairn_stop_thread(fx->c);
    assert_int_equal(cairn_ping_async(fx->c, NULL, on_counted, &out), 0);
    assert_int_equal(cairn_drain(fx->c, 10000), 0);
    assert_true(pthread_equal(out.thread, pthread_self()));
    assert_int_equal(cairn_start_thread(fx->c), 0); /* cairn_close() ends it */
}

/* While another thread drives, those who wait for all calls, or any, hear of it. */
static void draining_beside_the_own_thread(void **state)
{
    struct fixture *fx = *state;
    struct outcome out = { 0 };

    assert_int_equal(cairn_start_thread(fx->c), 0);
    for (int i = 1; i <= 300; i++) {
        assert_int_equal(cairn_ping_async(fx->c, NULL, on_counted, &out), 0);
        if (i % 2 != 0)
            assert_int_equal(cairn_drain(fx->c, -1), 0);
        while (__atomic_load_n(&out.runs, __ATOMIC_ACQUIRE) != i)
            assert_true(cairn_poll(fx->c, -1) >= 0);
    }
}

static void threads_share_the_own_thread(void **state)
{
    struct fixture *fx = *state;

    assert_int_equal(cairn_start_thread(fx->c), 0);
    threads_share_a_client(state);
}

static void too_many_calls_are_refused(void **state)
{
    struct fixture *fx = *state;
    struct outcome out = { 0 };

    cairn_ns_close(fx->ns);
    cairn_close(fx->c);
    connect_with(fx, 4);
    for (int i = 0; i < 4; i++)
        assert_int_equal(cairn_ping_async(fx->c, NULL, on_done, &out), 0);
    assert_int_equal(cairn_ping_async(fx->c, &fx->o, on_done, &out), CAIRN_E_BUSY);
    assert_non_null(strstr(fx->error.text, "inflight_max"));
    assert_int_equal(cairn_ping(fx->c, NULL), CAIRN_E_BUSY);
    assert_int_equal(cairn_drain(fx->c, -1), 0);
    assert_int_equal(out.runs, 4);
    assert_int_equal(cairn_ping(fx->c, NULL), 0);
    assert_int_equal(cairn_start_thread(fx->c), 0); /* what this thread has used up is there for that one, too */
    for (int i = 0; i < 20; i++)
        assert_int_equal(cairn_ping(fx->c, NULL), 0);
}

/* ---- time, cancel, loss ---- */

static void time_runs_out(void **state)
{
    struct fixture *fx = *state;
    uint8_t *big = pattern(MIB, 1);
    struct outcome out = { 0 };

    atomic_store(&fx->knobs->hold, true);
    fx->o.timeout_ms = 30;
    assert_int_equal(cairn_ping(fx->c, &fx->o), CAIRN_E_TIMEOUT);
    assert_int_equal(fx->error.code, CAIRN_E_TIMEOUT);
    assert_int_equal(cairn_put(fx->ns, "k", 1, big, MIB, &fx->o), CAIRN_E_TIMEOUT);
    assert_int_equal(cairn_ping_async(fx->c, &fx->o, on_done, &out), 0);
    assert_int_equal(cairn_drain(fx->c, -1), 0);
    assert_int_equal(out.rc, CAIRN_E_TIMEOUT);
    assert_int_equal(cairn_ping_async(fx->c, NULL, on_done, &out), 0);
    assert_int_equal(cairn_poll(fx->c, 20), 0);
    assert_int_equal(cairn_drain(fx->c, 20), CAIRN_E_TIMEOUT); /* of the waiting, not of the call */
    assert_int_equal(cairn_inflight(fx->c), 1);
    cairn_close(fx->c); /* @out goes */
    fx->c = NULL;
    free(big);
}

/* Whoever listens there takes connections and says nothing. */
static void a_silent_listener_does_not_hang_us(void **state)
{
    struct fixture *fx = *state;
    struct cairn_options o = CAIRN_OPTIONS_INIT;
    struct cairn_addr addr;
    struct cairn *c = NULL;
    char text[128];
    int fd;

    snprintf(text, sizeof(text), "unix://%s/silent", scripted_node_workspace(fx->node));
    assert_int_equal(cairn_addr_parse(text, &addr, NULL), 0);
    assert_int_equal(cairn_addr_listen(&addr, 4, 0700, &fd, NULL), 0);
    o.addresses = text;
    o.connect_timeout_ms = 50;
    assert_int_equal(cairn_connect(&o, &c, &fx->error), CAIRN_E_UNREACHABLE);
    assert_null(c);
    o.flags = CAIRN_CONNECT_LAZY;
    o.timeout_ms = 50;
    assert_int_equal(cairn_connect(&o, &c, &fx->error), 0);
    assert_int_equal(cairn_ping(c, &fx->o), CAIRN_E_UNREACHABLE);
    cairn_close(c);
    close(fd);
    /* nobody listens: told at once, not when the time is over */
    o.flags = 0;
    o.connect_timeout_ms = 60000;
    assert_int_equal(cairn_connect(&o, &c, &fx->error), CAIRN_E_UNREACHABLE);
    assert_non_null(strstr(fx->error.text, "silent"));
}

/* The first of two ways leads nowhere. */
static void another_address_is_tried(void **state)
{
    struct fixture *fx = *state;
    struct cairn_options o = CAIRN_OPTIONS_INIT;
    struct cairn *c = NULL;
    char text[256];

    snprintf(text, sizeof(text), "unix:///nonexistent/s,%s", scripted_node_address(fx->node));
    o.addresses = text;
    assert_int_equal(cairn_connect(&o, &c, &fx->error), 0);
    assert_int_equal(cairn_ping(c, NULL), 0);
    cairn_close(c);
}

static void canceled_calls_end_at_once(void **state)
{
    struct fixture *fx = *state;
    struct outcome out[3] = { 0 };
    uint64_t number[3] = { 0 };

    atomic_store(&fx->knobs->hold, true);
    for (int i = 0; i < 3; i++) {
        fx->o.call = &number[i];
        assert_int_equal(cairn_ping_async(fx->c, &fx->o, on_done, &out[i]), 0);
    }
    assert_true(number[0] != number[1] && number[1] != number[2]);
    cairn_poll(fx->c, 5);
    assert_int_equal(cairn_cancel(fx->c, number[1]), 0);
    assert_int_equal(out[1].runs, 0); /* later, from the loop */
    while (out[1].runs == 0)
        cairn_poll(fx->c, 1000);
    assert_int_equal(out[1].rc, CAIRN_E_CANCELED);
    assert_int_equal(fx->error.code, CAIRN_E_CANCELED);
    cairn_cancel(fx->c, number[1]); /* over: harmless */
    cairn_cancel(fx->c, 0);
    cairn_cancel(fx->c, UINT64_MAX);
    assert_int_equal(out[0].runs + out[2].runs, 0);
    cairn_cancel(fx->c, number[0]);
    cairn_cancel(fx->c, number[2]);
    assert_int_equal(cairn_drain(fx->c, -1), 0);
    assert_int_equal(out[0].runs + out[2].runs, 2);
}

struct canceler {
    struct fixture *fx;
    uint64_t number;
};

static void *cancel_from_elsewhere(void *arg)
{
    struct canceler *x = arg;

    while (atomic_load(&x->fx->knobs->pings) < 2) /* the one of cairn_connect(), and ours */
        sched_yield();
    cairn_cancel(x->fx->c, x->number);
    return NULL;
}

static void a_waiting_call_is_canceled_from_another_thread(void **state)
{
    struct fixture *fx = *state;
    struct canceler x = { fx, 0 };
    pthread_t t;

    atomic_store(&fx->knobs->hold, true);
    fx->o.call = &x.number;
    assert_int_equal(pthread_create(&t, NULL, cancel_from_elsewhere, &x), 0);
    assert_int_equal(cairn_ping(fx->c, &fx->o), CAIRN_E_CANCELED);
    pthread_join(t, NULL);
}

static void a_node_that_comes_back_is_found_again(void **state)
{
    struct fixture *fx = *state;
    char back[8];
    size_t len;

    for (int i = 0; i < 3; i++) {
        assert_int_equal(cairn_put(fx->ns, "k", 1, "v", 1, NULL), 0);
        assert_int_equal(cairn_get(fx->ns, "k", 1, back, sizeof(back), &len, NULL), 0);
        scripted_node_restart(fx->node);
        fx->c->turned_ns = 0; /* a pause: the put is not sent into the connection that is gone */
    }
}

static void a_node_that_is_gone_is_unreachable(void **state)
{
    struct fixture *fx = *state;

    scripted_node_stop(fx->node);
    fx->o.timeout_ms = 50;
    fx->c->turned_ns = 0;
    assert_int_equal(cairn_ping(fx->c, &fx->o), CAIRN_E_UNREACHABLE);
    assert_true(fx->error.text[0] != '\0');
}

static void *restart_when_asked(void *arg)
{
    struct fixture *fx = arg;

    while (atomic_load(&fx->knobs->puts) < 1 || atomic_load(&fx->knobs->gets) < 1)
        sched_yield();
    atomic_store(&fx->knobs->hold, false);
    scripted_node_restart(fx->node);
    return NULL;
}

static void death_in_the_middle_tells_reads_from_writes(void **state)
{
    struct fixture *fx = *state;
    struct outcome put = { 0 }, get = { 0 };
    char back[8];
    pthread_t t;
    size_t len;

    atomic_store(&fx->knobs->hold, true);
    assert_int_equal(cairn_put_async(fx->ns, "k", 1, "v", 1, NULL, on_done, &put), 0);
    assert_int_equal(cairn_get_async(fx->ns, "k", 1, back, sizeof(back), &len, NULL, on_done, &get), 0);
    assert_int_equal(pthread_create(&t, NULL, restart_when_asked, fx), 0);
    assert_int_equal(cairn_drain(fx->c, -1), 0);
    pthread_join(t, NULL);
    assert_int_equal(put.rc, CAIRN_E_UNKNOWN);  /* it may have happened */
    assert_int_equal(get.rc, CAIRN_E_NOTFOUND); /* asked again of the new one, which has nothing */
}

/* ---- closing ---- */

static void closing_ends_what_is_in_flight(void **state)
{
    struct fixture *fx = *state;
    struct outcome out[20] = { 0 };
    uint8_t *big = pattern(MIB, 1);

    atomic_store(&fx->knobs->hold, true);
    for (int i = 0; i < 20; i++) {
        int rc = i % 2 != 0 ? cairn_ping_async(fx->c, NULL, on_done, &out[i])
                            : cairn_put_async(fx->ns, "k", 1, big, MIB, NULL, on_done, &out[i]);

        assert_int_equal(rc, 0);
    }
    cairn_close(fx->c);
    fx->c = NULL;
    for (int i = 0; i < 20; i++) {
        assert_int_equal(out[i].runs, 1);
        assert_int_equal(out[i].rc, CAIRN_E_CANCELED);
    }
    free(big);
}

static void *wait_for_an_answer(void *arg)
{
    struct fixture *fx = arg;

    return (void *)(intptr_t)cairn_ping(fx->c, NULL);
}

static void closing_ends_waiting_threads(void **state)
{
    struct fixture *fx = *state;
    pthread_t t[4];

    atomic_store(&fx->knobs->hold, true);
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&t[i], NULL, wait_for_an_answer, fx), 0);
    while (atomic_load(&fx->knobs->pings) < 5)
        sched_yield();
    cairn_close(fx->c);
    for (int i = 0; i < 4; i++) {
        void *rc;

        pthread_join(t[i], &rc);
        assert_int_equal((intptr_t)rc, CAIRN_E_CANCELED);
    }
    fx->c = NULL;
}

static void closing_with_the_own_thread(void **state)
{
    struct fixture *fx = *state;
    struct outcome out = { 0 };

    assert_int_equal(cairn_start_thread(fx->c), 0);
    atomic_store(&fx->knobs->hold, true);
    for (int i = 0; i < 10; i++)
        assert_int_equal(cairn_ping_async(fx->c, NULL, on_counted, &out), 0);
    cairn_close(fx->c);
    fx->c = NULL;
    assert_int_equal(out.runs, 10);
    assert_int_equal(out.rc, CAIRN_E_CANCELED);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_table_is_the_drawing),
        T(values_of_all_sizes_come_back),
        T(asynchronous_forms_do_the_same),
        T(errors_bring_their_text),
        T(a_bit_flipped_on_the_way_is_mended),
        T(corruption_gives_no_memory_away),
        T(batches_of_any_size),
        T(a_large_value_that_does_not_fit_a_batch_says_so),
        T(a_walk_sees_every_key_once),
        T(callbacks_may_start_calls_but_not_wait),
        T(threads_share_a_client),
        T(the_own_thread_runs_callbacks),
        T(draining_beside_the_own_thread),
        T(threads_share_the_own_thread),
        T(too_many_calls_are_refused),
        T(time_runs_out),
        T(a_silent_listener_does_not_hang_us),
        T(another_address_is_tried),
        T(canceled_calls_end_at_once),
        T(a_waiting_call_is_canceled_from_another_thread),
        T(a_node_that_comes_back_is_found_again),
        T(a_node_that_is_gone_is_unreachable),
        T(death_in_the_middle_tells_reads_from_writes),
        T(closing_ends_what_is_in_flight),
        T(closing_ends_waiting_threads),
        T(closing_with_the_own_thread),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
