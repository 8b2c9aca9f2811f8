/* Batches and lists of clustered namespaces: a request for each node, results for each key, pages in order, nothing
 * twice. */
#include "tests/lib/patience.h"
#include "tests/unit/sdk/routed_fixture.h"

enum { MANY = 600 };

static char names[MANY][16];

static void items_fill(struct cairn_put_item *puts, size_t n, const char *value)
{
    for (size_t i = 0; i < n; i++) {
        snprintf(names[i], sizeof(names[i]), "key%04u", (unsigned)i % 10000);
        puts[i] = (struct cairn_put_item){
            .key = names[i], .key_len = strlen(names[i]), .value = value, .value_len = strlen(value), .status = 77
        };
    }
}

static void gets_fill(struct cairn_get_item *gets, size_t n, char (*bufs)[16])
{
    for (size_t i = 0; i < n; i++)
        gets[i] = (struct cairn_get_item){
            .key = names[i], .key_len = strlen(names[i]), .value = bufs[i], .room = sizeof(bufs[i]), .status = 77
        };
}

static uint32_t sum(struct routed *x, uint32_t n, const atomic_uint *(*of)(struct scripted_member *m))
{
    uint32_t all = 0;

    for (uint32_t i = 0; i < n; i++)
        all += atomic_load(of(node_of(x, i)));
    return all;
}

static const atomic_uint *mputs_of(struct scripted_member *m)
{
    return &m->mputs;
}

static const atomic_uint *mgets_of(struct scripted_member *m)
{
    return &m->mgets;
}

static const atomic_uint *opens_of(struct scripted_member *m)
{
    return &m->opens;
}

static int list_once(struct routed *x)
{
    struct cairn_page *page = NULL;
    int rc = cairn_list(x->ns, "", 0, "", 0, 0, &page, &x->o);

    cairn_free(page);
    return rc;
}

/* A node that says no address is reached where cairn_connect() has found it; of another one those who need it are told
 * at once. */
static void a_node_without_an_address_is_not_waited_for(void **state)
{
    static struct cairn_put_item puts[MANY];
    struct routed *x = routed_new(3, false);
    char key[32];

    (void)state;
    scripted_cluster_hide(x->cluster, 0);
    items_fill(puts, MANY, "v");
    assert_int_equal(cairn_mput(x->ns, puts, MANY, &x->o), 0);
    assert_int_equal(list_once(x), 0);
    routed_free(x);

    x = routed_new(3, false);
    scripted_cluster_hide(x->cluster, 1);
    strcpy(key, key_of(x, 1, 0));
    x->o.timeout_ms = 3600000;
    assert_int_equal(cairn_put(x->ns, key, strlen(key), "v", 1, &x->o), CAIRN_E_UNSUPPORTED);
    assert_non_null(strstr(x->error.text, "no address that leads there"));
    assert_int_equal(list_once(x), CAIRN_E_UNSUPPORTED);
    assert_non_null(strstr(x->error.text, "no address that leads there"));
    assert_int_equal(cairn_mput(x->ns, puts, MANY, &x->o), CAIRN_E_UNSUPPORTED);
    routed_free(x);
}

static void a_batch_is_a_request_for_each_node(void **state)
{
    static struct cairn_put_item puts[MANY];
    static struct cairn_get_item gets[MANY];
    static char bufs[MANY][16];

    (void)state;
    for (int once = 0; once < 2; once++) {
        struct routed *x = routed_new(3, once != 0);

        items_fill(puts, MANY, "v");
        assert_int_equal(cairn_mput(x->ns, puts, MANY, &x->o), 0);
        assert_int_equal(sum(x, 3, mputs_of), 3);
        if (once)
            assert_int_equal(sum(x, 3, opens_of), 0);
        gets_fill(gets, MANY, bufs);
        assert_int_equal(cairn_mget(x->ns, gets, MANY, &x->o), 0);
        assert_int_equal(sum(x, 3, mgets_of), 3);
        for (size_t i = 0; i < MANY; i++) {
            assert_int_equal(puts[i].status, 0);
            assert_int_equal(gets[i].status, 0);
            assert_true(gets[i].value_len == 1 && bufs[i][0] == 'v');
            assert_int_equal(scripted_cluster_stores(x->cluster, names[i], strlen(names[i])), 1);
        }
        if (!once) { /* the sessions are there now */
            uint32_t opens = sum(x, 3, opens_of);

            assert_int_equal(cairn_mput(x->ns, puts, MANY, &x->o), 0);
            assert_int_equal(sum(x, 3, mputs_of), 6);
            assert_int_equal(sum(x, 3, opens_of), opens);
        }
        routed_free(x);
    }
}

/* More of one slot than its session has numbers for: those without one wait for the others' answers, and when the
 * node forgets the session in the middle, for the next one; a while, if the others are to be asked again. */
static void more_than_a_session_has_numbers_for(void **state)
{
    static const enum scripted_fault faults[] = { SCRIPTED_NONE, SCRIPTED_GONE, SCRIPTED_BUSY };
    static struct cairn_put_item puts[MANY];
    struct routed *x = routed_new(3, false);
    uint32_t slot = 0;

    (void)state;
    items_fill(puts, MANY, "v");
    for (uint32_t i = 0, n = 0; n < MANY; i++) {
        snprintf(names[n], sizeof(names[n]), "k%u", i);
        if (n == 0)
            slot = scripted_cluster_slot(names[0], strlen(names[0]));
        if (scripted_cluster_slot(names[n], strlen(names[n])) == slot) {
            puts[n].key_len = strlen(names[n]);
            n++;
        }
    }
    for (uint32_t k = 0; k < ARRAY_SIZE(faults); k++) {
        scripted_cluster_fault(x->cluster, scripted_cluster_leader(x->cluster, slot), faults[k], k == 2 ? 3 : 1);
        assert_int_equal(cairn_mput(x->ns, puts, MANY, &x->o), 0);
        for (size_t i = 0; i < MANY; i++) {
            assert_int_equal(puts[i].status, 0);
            assert_int_equal(scripted_cluster_stores(x->cluster, names[i], strlen(names[i])), 1 + k);
        }
    }
    routed_free(x);
}

static void what_fails_is_of_its_key_alone(void **state)
{
    static struct cairn_put_item puts[MANY];
    static struct cairn_get_item gets[4];
    struct routed *x = routed_new(3, true);
    char large[8000], tiny[1];
    static char bufs[4][16];

    (void)state;
    memset(large, 'l', sizeof(large));
    items_fill(puts, 100, "first");
    assert_int_equal(cairn_mput(x->ns, puts, 50, &x->o), 0);
    puts[70].value = large; /* above the threshold: by itself */
    puts[70].value_len = sizeof(large);
    assert_int_equal(cairn_mput(x->ns, puts, 100, &x->o), CAIRN_E_EXISTS);
    for (size_t i = 0; i < 100; i++) {
        assert_int_equal(puts[i].status, i < 50 ? CAIRN_E_EXISTS : 0);
        assert_int_equal(scripted_cluster_stores(x->cluster, names[i], strlen(names[i])), 1);
    }
    gets_fill(gets, 4, bufs);
    gets[1].key = "absent";
    gets[1].key_len = 6;
    gets[2].value = tiny;
    gets[2].room = 1;
    gets[3].key = names[70];
    gets[3].value = large;
    gets[3].room = sizeof(large);
    large[0] = 'x';
    assert_int_equal(cairn_mget(x->ns, gets, 4, &x->o), 0);
    assert_int_equal(gets[0].status, 0);
    assert_int_equal(gets[1].status, CAIRN_E_NOTFOUND);
    assert_true(gets[2].status == CAIRN_E_TOOBIG && gets[2].value_len == 5);
    assert_true(gets[3].status == 0 && gets[3].value_len == sizeof(large) && large[0] == 'l');
    assert_int_equal(cairn_mput(x->ns, puts, 0, &x->o), 0);
    routed_free(x);
}

/* Slots that move, nodes that die: only what has no result is asked again, and nothing is stored twice. */
static void only_what_is_missing_is_asked_again(void **state)
{
    static const enum scripted_fault faults[] = { SCRIPTED_MOVED, SCRIPTED_BUSY, SCRIPTED_DIE_BEFORE,
                                                  SCRIPTED_DIE_AFTER };
    static struct cairn_put_item puts[MANY];
    static struct cairn_get_item gets[MANY];
    static char bufs[MANY][16];

    (void)state;
    for (uint32_t k = 0; k < ARRAY_SIZE(faults); k++) {
        struct routed *x = routed_new(3, false);

        items_fill(puts, MANY, "v");
        assert_int_equal(cairn_mput(x->ns, puts, MANY, &x->o), 0);
        for (uint32_t slot = 0; slot < SCRIPTED_SLOTS; slot += 7)
            scripted_cluster_move(x->cluster, slot, (slot / 7) % 3);
        scripted_cluster_fault(x->cluster, 1, faults[k], 2);
        assert_int_equal(cairn_mput(x->ns, puts, MANY, &x->o), 0);
        assert_true(sum(x, 3, mputs_of) < 3 + 12);
        for (size_t i = 0; i < MANY; i++) {
            assert_int_equal(puts[i].status, 0);
            assert_int_equal(scripted_cluster_stores(x->cluster, names[i], strlen(names[i])), 2);
        }
        for (uint32_t slot = 0; slot < SCRIPTED_SLOTS; slot += 5)
            scripted_cluster_move(x->cluster, slot, (slot / 5) % 3);
        scripted_cluster_fault(x->cluster, 2, faults[k], 2);
        gets_fill(gets, MANY, bufs);
        assert_int_equal(cairn_mget(x->ns, gets, MANY, &x->o), 0);
        for (size_t i = 0; i < MANY; i++)
            assert_true(gets[i].status == 0 && gets[i].value_len == 1);
        routed_free(x);
    }
}

/* Pauses grow: what is the least of each fits so often into the time, however fast all is. */
static void who_cannot_answer_is_not_asked_without_a_pause(void **state)
{
    static const enum scripted_fault faults[] = { SCRIPTED_BUSY, SCRIPTED_MOVED };
    enum { TIME_MS = 300, ASKED_MAX = 10 }; /* 2.5, 5, 10, ... ms: seven pauses; and two rounds before the first */
    static struct cairn_put_item puts[MANY];
    static struct cairn_get_item gets[MANY];
    static char bufs[MANY][16];

    (void)state;
    for (uint32_t k = 0; k < ARRAY_SIZE(faults); k++) {
        struct routed *x = routed_new(3, false);

        items_fill(puts, MANY, "v");
        gets_fill(gets, MANY, bufs);
        assert_int_equal(cairn_mput(x->ns, puts, MANY, &x->o), 0);
        scripted_cluster_fault(x->cluster, 1, faults[k], 1000000);
        x->o.timeout_ms = TIME_MS;
        assert_int_equal(cairn_mget(x->ns, gets, MANY, &x->o), CAIRN_E_TIMEOUT);
        assert_int_equal(cairn_mput(x->ns, puts, MANY, &x->o), CAIRN_E_TIMEOUT);
        assert_int_equal(list_once(x), CAIRN_E_TIMEOUT);
        assert_in_range(node_of(x, 1)->mgets, 0, ASKED_MAX); /* none, if the machine stood still meanwhile */
        assert_in_range(node_of(x, 1)->mputs, 1, 1 + ASKED_MAX);
        assert_in_range(node_of(x, 1)->lists, 0, ASKED_MAX);
        WHILE_PATIENT (node_of(x, 1)->mgets + node_of(x, 1)->mputs + node_of(x, 1)->lists < 3)
            (void)list_once(x);
        routed_free(x);
    }
}

static void a_batch_ends_in_time_or_when_canceled(void **state)
{
    static struct cairn_put_item puts[MANY];
    static const enum scripted_fault faults[] = { SCRIPTED_SILENT, SCRIPTED_BUSY };

    (void)state;
    for (uint32_t k = 0; k < 8; k++) {
        bool late = k & 1, opens = k & 2;
        struct routed *x = routed_new(3, false);
        struct outcome out = { 0 };
        uint32_t done = 0;
        uint64_t number;
        double began, last, gap = 0;

        items_fill(puts, MANY, "v");
        if (!opens)
            assert_int_equal(cairn_mput(x->ns, puts, MANY, &x->o), 0);
        items_fill(puts, MANY, "w");
        scripted_cluster_fault(x->cluster, 1, faults[k / 4], 1000000);
        x->o.timeout_ms = late ? 400 : 0;
        x->o.call = &number;
        assert_int_equal(cairn_mput_async(x->ns, puts, MANY, &x->o, on_done, &out), 0);
        x->o.call = NULL;
        for (began = seconds(); !late && seconds() - began < 0.2;)
            cairn_poll(x->c, 10);
        if (!late)
            assert_int_equal(cairn_cancel(x->c, number), 0);
        for (began = last = seconds(); out.runs == 0; last = seconds()) {
            cairn_poll(x->c, 10);
            gap = MAX(gap, seconds() - last);
        }
        assert_true(seconds() - began < SOON_S);
        assert_int_equal(out.rc, late ? CAIRN_E_TIMEOUT : CAIRN_E_CANCELED);
        for (size_t i = 0; i < MANY; i++) {
            assert_true(puts[i].status == 0 || puts[i].status == out.rc);
            done += puts[i].status == 0;
        }
        /* What the others did is told, if they had the time. */
        assert_true(opens || (late && gap > 0.1) || done > MANY / 3);
        assert_true(opens || done < MANY);
        scripted_cluster_fault(x->cluster, 1, SCRIPTED_NONE, 0);
        routed_free(x);
    }
}

/* ---- lists ---- */

static uint32_t list_all(struct routed *x, const char *prefix, uint32_t max, char (*out)[16], uint32_t room)
{
    uint32_t n = 0;
    char after[16] = "";
    bool more = true;

    while (more) {
        struct cairn_page *page = NULL;

        if (cairn_list(x->ns, prefix, strlen(prefix), after, strlen(after), max, &page, &x->o) != 0)
            fail_msg("%s", x->error.text);
        assert_true(page->n <= (max != 0 ? max : 4096) && (page->n > 0 || !page->more));
        for (size_t i = 0; i < page->n; i++) {
            assert_true(n < room);
            memcpy(out[n], page->entries[i].key, page->entries[i].key_len);
            out[n][page->entries[i].key_len] = '\0';
            assert_true(n == 0 || strcmp(out[n - 1], out[n]) < 0); /* in order, none twice */
            assert_int_equal(page->entries[i].value_len, 1);
            strcpy(after, out[n++]);
        }
        more = page->more;
        cairn_free(page);
    }
    return n;
}

static void pages_of_any_number_of_nodes_are_merged(void **state)
{
    static const uint32_t nodes[] = { 1, 3, SCRIPTED_NODES_MAX }, pages[] = { 0, 1, 7, 100, 4096 };
    static char got[MANY + 1][16];

    (void)state;
    for (uint32_t k = 0; k < ARRAY_SIZE(nodes); k++) {
        struct routed *x = routed_new(nodes[k], false);

        for (size_t i = 0; i < MANY / 2; i++) {
            snprintf(names[i], sizeof(names[i]), "%s%04u", i % 3 == 0 ? "a/" : "b/", (unsigned)i % 10000);
            scripted_cluster_store(x->cluster, names[i], strlen(names[i]), "v", 1);
        }
        assert_int_equal(list_all(x, "none/", 0, got, MANY), 0);
        for (uint32_t i = 0; i < ARRAY_SIZE(pages); i++) {
            if (nodes[k] == SCRIPTED_NODES_MAX && pages[i] == 1)
                continue; /* a request to each of eighty nodes for each key */
            assert_int_equal(list_all(x, "", pages[i], got, MANY), MANY / 2);
            assert_int_equal(list_all(x, "a/", pages[i], got, MANY), MANY / 6);
            assert_string_equal(got[1], "a/0003");
        }
        assert_int_equal(list_all(x, "b/", 0, got, MANY), MANY / 3);
        routed_free(x);
    }
}

/* Slots wander while keys are listed: from those that were asked already to those that were not, and back. */
static void no_key_is_missed_or_twice_when_slots_move(void **state)
{
    static char got[MANY + 1][16];
    struct routed *x = routed_new(5, false);
    uint32_t seed = 1;

    (void)state;
    for (size_t i = 0; i < MANY; i++) {
        snprintf(names[i], sizeof(names[i]), "key%04u", (unsigned)i % 10000);
        scripted_cluster_store(x->cluster, names[i], strlen(names[i]), "v", 1);
    }
    assert_int_equal(list_all(x, "", 0, got, MANY), MANY);
    for (int round = 0; round < 30; round++) {
        struct outcome out = { 0 };
        struct cairn_page *page = NULL;
        double began;

        assert_int_equal(cairn_list_async(x->ns, "", 0, "", 0, 4096, &page, &x->o, on_done, &out), 0);
        for (began = seconds(); out.runs == 0;) {
            cairn_poll(x->c, 0);
            if (seconds() - began > 0.05)
                continue; /* enough: it must come to an end */
            for (int i = 0; i < 2; i++) {
                seed = seed * 1103515245 + 12345;
                scripted_cluster_move(x->cluster, (seed >> 8) % SCRIPTED_SLOTS, (seed >> 20) % 5);
            }
        }
        assert_int_equal(out.rc, 0);
        assert_int_equal(page->n, MANY);
        for (size_t i = 0; i < MANY; i++)
            assert_memory_equal(page->entries[i].key, names[i], strlen(names[i]));
        assert_false(page->more);
        cairn_free(page);
    }
    /* And with faults. */
    scripted_cluster_fault(x->cluster, 2, SCRIPTED_DIE_BEFORE, 2);
    assert_int_equal(list_all(x, "", 50, got, MANY), MANY);
    scripted_cluster_fault(x->cluster, 3, SCRIPTED_BUSY, 3);
    assert_int_equal(list_all(x, "", 50, got, MANY), MANY);
    routed_free(x);
}

/* Two slots change places when one node has answered and the other has not: each tells of as many as it leads, of one
 * slot nobody has told. The sums of marks say so. */
static void slots_that_change_places_are_noticed(void **state)
{
    static char got[MANY + 1][16];
    struct routed *x = routed_new(2, false);
    struct outcome out = { 0 };
    struct cairn_page *page = NULL;
    uint32_t mine = 0, other = 0;

    (void)state;
    for (size_t i = 0; i < MANY; i++) {
        uint32_t slot;

        snprintf(names[i], sizeof(names[i]), "key%04u", (unsigned)i % 10000);
        scripted_cluster_store(x->cluster, names[i], strlen(names[i]), "v", 1);
        slot = scripted_cluster_slot(names[i], strlen(names[i]));
        *(scripted_cluster_leader(x->cluster, slot) == 0 ? &mine : &other) = slot;
    }
    assert_int_equal(list_all(x, "", 4096, got, MANY), MANY);
    atomic_store(&node_of(x, 0)->lists, 0);
    scripted_cluster_fault(x->cluster, 1, SCRIPTED_SILENT, 1);
    assert_int_equal(cairn_list_async(x->ns, "", 0, "", 0, 4096, &page, &x->o, on_done, &out), 0);
    for (double began = seconds(); seconds() - began < 0.3;)
        cairn_poll(x->c, 10);
    assert_int_equal(atomic_load(&node_of(x, 0)->lists), 1); /* it has answered */
    scripted_cluster_move(x->cluster, mine, 1);
    scripted_cluster_move(x->cluster, other, 0);
    WHILE_PATIENT (out.runs == 0)
        cairn_poll(x->c, 10);
    assert_int_equal(out.rc, 0);
    assert_int_equal(page->n, MANY);
    cairn_free(page);
    routed_free(x);
}

static void a_list_says_what_is_wrong(void **state)
{
    struct routed *x = routed_new(3, false);
    struct cairn_page *page = NULL;
    double began = seconds();

    (void)state;
    scripted_cluster_fault(x->cluster, 1, SCRIPTED_DENIED, 1000);
    assert_int_equal(cairn_list(x->ns, "", 0, "", 0, 0, &page, &x->o), CAIRN_E_DENIED);
    assert_string_equal(x->error.text, "as told");
    assert_true(seconds() - began < SOON_S);
    scripted_cluster_fault(x->cluster, 1, SCRIPTED_SILENT, 1000);
    x->o.timeout_ms = 300;
    assert_int_equal(cairn_list(x->ns, "", 0, "", 0, 0, &page, &x->o), CAIRN_E_TIMEOUT);
    assert_null(page);
    routed_free(x);
}

/* Keys that are not behind those which the list is to be behind would come again and again. */
static void a_page_is_behind_the_one_before(void **state)
{
    struct routed *x = routed_new(2, false);
    struct cairn_page *page = NULL;

    (void)state;
    for (int i = 0; i < 50; i++) {
        char key[16];

        snprintf(key, sizeof(key), "key%02d", i);
        scripted_cluster_store(x->cluster, key, strlen(key), "v", 1);
    }
    assert_int_equal(cairn_list(x->ns, "key", 3, "key24", 5, 100, &page, &x->o), 0);
    assert_int_equal(page->n, 25);
    cairn_free(page);
    page = NULL;
    scripted_cluster_fault(x->cluster, 1, SCRIPTED_SAME_KEYS, 1);
    assert_int_equal(cairn_list(x->ns, "key", 3, "key24", 5, 100, &page, &x->o), CAIRN_E_PROTO);
    assert_null(page);
    routed_free(x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_batch_is_a_request_for_each_node),
        cmocka_unit_test(a_node_without_an_address_is_not_waited_for),
        cmocka_unit_test(more_than_a_session_has_numbers_for),
        cmocka_unit_test(what_fails_is_of_its_key_alone),
        cmocka_unit_test(only_what_is_missing_is_asked_again),
        cmocka_unit_test(who_cannot_answer_is_not_asked_without_a_pause),
        cmocka_unit_test(a_batch_ends_in_time_or_when_canceled),
        cmocka_unit_test(pages_of_any_number_of_nodes_are_merged),
        cmocka_unit_test(no_key_is_missed_or_twice_when_slots_move),
        cmocka_unit_test(slots_that_change_places_are_noticed),
        cmocka_unit_test(a_list_says_what_is_wrong),
        cmocka_unit_test(a_page_is_behind_the_one_before),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
