/* Namespaces: making, showing, removing them, and who may do what. */
#include "world_ns.h"

static const struct cairn_identity bob = { .uid = 1001, .gid = 100, .auth = "peer" };
static const struct cairn_identity carol = { .uid = 1002, .gid = 200, .auth = "peer" };

static void defaults_and_what_was_asked_for(void **state)
{
    struct world *w = *state;
    Cairn__Wire__Namespace m = named("plain");
    const Cairn__Wire__Namespace *r;
    struct answer a;

    assert_int_equal(ns_create_as(w, &alice, &m, NULL), 0);
    for (uint32_t i = 0; i < WORKERS; i++) { /* every worker knows it as soon as it is answered */
        assert_int_equal(show(w, i, "plain", &a), 0);
        r = (const Cairn__Wire__Namespace *)a.reply;
        assert_string_equal(r->name, "plain");
        assert_true(r->id > 0);
        assert_int_equal(r->owner, alice.uid);
        assert_int_equal(r->group, alice.gid);
        assert_int_equal(r->mode, CAIRN_ROUTER_MODE_DEFAULT);
        assert_int_equal(r->embed_threshold, CAIRN_BULK_THRESHOLD_BYTES);
        assert_string_equal(r->kv, "kv0");
        assert_string_equal(r->extent, "extent0");
        assert_int_equal(r->replicas, 1);
        answer_free(&a);
    }
    m = named("asked");
    m.kv = (char *)(uintptr_t) "kv0";
    m.extent = (char *)(uintptr_t) "extent0";
    m.mode = 0604;
    m.embed_threshold = 77;
    m.write_once = true;
    m.durability = CAIRN__WIRE__DURABILITY__DURABILITY_SYNC;
    m.owner = 42;
    m.group = 43;
    assert_int_equal(ns_create_as(w, &root, &m, NULL), 0);
    assert_int_equal(show(w, 0, "asked", &a), 0);
    r = (const Cairn__Wire__Namespace *)a.reply;
    assert_int_equal(r->owner, 42);
    assert_int_equal(r->group, 43);
    assert_int_equal(r->mode, 0604);
    assert_int_equal(r->embed_threshold, 77);
    assert_int_equal(r->durability, CAIRN__WIRE__DURABILITY__DURABILITY_SYNC);
    assert_true(r->write_once);
    answer_free(&a);
    m = named("not-for-others");
    m.owner = 42; /* only an administrator may give it away */
    assert_int_equal(ns_create_as(w, &alice, &m, NULL), 0);
    assert_int_equal(show(w, 1, "not-for-others", &a), 0);
    assert_int_equal(((const Cairn__Wire__Namespace *)a.reply)->owner, alice.uid);
    answer_free(&a);
    assert_int_equal(show(w, 0, "none", &a), CAIRN_E_NOTFOUND);
    assert_int_equal(w->nregions, 0); /* trying the provider left nothing */
}

static void refuse(struct world *w, const Cairn__Wire__Namespace *m, int rc, const char *text)
{
    Cairn__Wire__Namespace copy = *m;
    struct cairn_err err = { 0 };
    uint32_t entries = w->ndbs;

    assert_int_equal(ns_create_as(w, &root, &copy, &err), rc);
    if (strstr(err.text, text) == NULL)
        fail_msg("'%s' does not say '%s'", err.text, text);
    assert_int_equal(w->ndbs, entries);
}

static void names(void **state)
{
    static const char *const good[] = { "a", "a b", "Größe", "日本", "\xf0\x9f\x98\x80", "..", "~!@#$%^&*()\\'\"" };
    static const char *const bad[] = { "",
                                       "a/b",
                                       "/",
                                       "a\nb",
                                       "\x7f",
                                       "\xc2\x85",
                                       "\xc3",
                                       "\xc0\xaf",
                                       "\xff",
                                       "a\xe2\x82",
                                       "\xed\xa0\x80",
                                       "\xf4\x90\x80\x80",
                                       "\xe0\x80\xaf" };
    struct world *w = *state;
    char name[CAIRN_NAME_BYTES_MAX + 2];
    Cairn__Wire__Namespace m;

    for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
        m = named(good[i]);
        assert_int_equal(ns_create_as(w, &root, &m, NULL), 0);
        assert_int_equal(ns_remove_as(w, &root, good[i], false), 0);
    }
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        m = named(bad[i]);
        refuse(w, &m, CAIRN_E_INVAL, "name");
    }
    memset(name, 'n', sizeof(name));
    name[CAIRN_NAME_BYTES_MAX + 1] = '\0';
    m = named(name);
    refuse(w, &m, CAIRN_E_INVAL, "1 to 255 bytes");
    assert_int_equal(ns_remove_as(w, &root, name, false), CAIRN_E_NOTFOUND);
    name[CAIRN_NAME_BYTES_MAX] = '\0';
    assert_int_equal(ns_create_as(w, &root, &m, NULL), 0);
    assert_int_equal(put(w, name, "k", value, 10), 0);
}

static void what_cannot_be_is_refused(void **state)
{
    struct world *w = *state;
    Cairn__Wire__Namespace m;

    m = named("n");
    m.kv = (char *)(uintptr_t) "kv9";
    refuse(w, &m, CAIRN_E_NOPROVIDER, "no KV provider 'kv9'");
    m = named("n");
    m.extent = (char *)(uintptr_t) "kv0"; /* a provider, but of another kind */
    refuse(w, &m, CAIRN_E_NOPROVIDER, "no extent provider 'kv0'");
    m = named("n");
    m.replicas = 2;
    refuse(w, &m, CAIRN_E_UNSUPPORTED, "2 replicas");
    m = named("n");
    m.mode = 0755;
    refuse(w, &m, CAIRN_E_INVAL, "mode 755");
    m = named("n");
    m.embed_threshold = CAIRN_KV_VALUE_BYTES_MAX;
    refuse(w, &m, CAIRN_E_INVAL, "embed threshold");
    m = named("n");
    m.durability = (Cairn__Wire__Durability)9;
    refuse(w, &m, CAIRN_E_INVAL, "durability 9");
    m = named("n");
    m.frontend = (Cairn__Wire__Frontend)3;
    refuse(w, &m, CAIRN_E_UNSUPPORTED, "frontend 3");
    ns_create(w, "n");
    m = named("n");
    refuse(w, &m, CAIRN_E_EXISTS, "exists");
}

/* One user cannot take all that there can be, not by asking for many at once either. */
static void one_user_has_a_bound(void **state)
{
    enum { MAX_OF_USER = 4, AT_ONCE = 8 };
    struct world *w = *state;
    Cairn__Wire__Namespace m[AT_ONCE];
    struct cairn_err err = { 0 };
    struct answer a[AT_ONCE];
    char name[AT_ONCE][8];
    int made = 0;

    world_stop(w);
    w->conf.user_namespaces_max = MAX_OF_USER;
    world_start(w);
    for (uint32_t i = 0; i < AT_ONCE; i++) {
        snprintf(name[i], sizeof(name[i]), "n%u", (unsigned)i);
        m[i] = named(name[i]);
        ask_start(w, i % WORKERS, &a[i], &alice, CAIRN__WIRE__ROUTER_METHOD__ROUTER_NS_CREATE, &m[i].base, NULL, 0);
    }
    for (uint32_t i = 0; i < AT_ONCE; i++) {
        int rc = ask_wait(w, &a[i]);

        made += rc == 0;
        if (rc != 0)
            assert_int_equal(rc, CAIRN_E_LIMIT);
        answer_free(&a[i]);
    }
    assert_int_equal(made, MAX_OF_USER);
    m[0] = named("others");
    assert_int_equal(ns_create_as(w, &bob, &m[0], NULL), 0);
    m[0] = named("given");
    m[0].owner = alice.uid;
    assert_int_equal(ns_create_as(w, &root, &m[0], NULL), 0); /* administrators are not bound */
    m[0] = named("more");
    assert_int_equal(ns_create_as(w, &alice, &m[0], &err), CAIRN_E_LIMIT);
    assert_non_null(strstr(err.text, "user 1000 has 5 namespaces, and router.namespaces_per_user allows 4"));
    assert_int_equal(ns_remove_as(w, &alice, "given", false), 0);
    assert_int_equal(ns_create_as(w, &alice, &m[0], NULL), CAIRN_E_LIMIT);
    for (uint32_t i = 0, removed = 0; removed == 0; i++) /* whichever was made */
        removed = ns_remove_as(w, &alice, name[i], false) == 0;
    assert_int_equal(ns_create_as(w, &alice, &m[0], NULL), 0);
}

/* Backends that cannot keep what the namespace promises: nothing is made, and the text names the one. */
static void durability_that_cannot_be_had(void **state)
{
    struct world *w = *state;
    Cairn__Wire__Namespace m = named("n");
    struct answer a;

    w->kv_backend = "memory";
    refuse(w, &m, CAIRN_E_UNSUPPORTED, "'buffered' is not possible in the KV provider 'kv0'");
    assert_int_equal(show(w, 0, "n", &a), CAIRN_E_NOTFOUND);
    w->kv_backend = "rocksdb";
    w->extent_volatile = true;
    m.durability = CAIRN__WIRE__DURABILITY__DURABILITY_SYNC;
    refuse(w, &m, CAIRN_E_UNSUPPORTED, "'sync' is not possible in the extent provider 'extent0'");
    w->kv_backend = "memory";
    m.durability = CAIRN__WIRE__DURABILITY__DURABILITY_MEMORY;
    assert_int_equal(ns_create_as(w, &root, &m, NULL), 0);
}

static int put_as(struct world *w, const struct cairn_identity *who, const char *ns)
{
    Cairn__Wire__RouterPut m = CAIRN__WIRE__ROUTER_PUT__INIT;
    struct answer a;

    m.ns = (char *)(uintptr_t)ns;
    m.key = key_of("k");
    m.length = 1;
    ask_start(w, 0, &a, who, CAIRN__WIRE__ROUTER_METHOD__ROUTER_PUT, &m.base, "x", 1);
    ask_wait(w, &a);
    if (a.rc == CAIRN_E_DENIED)
        assert_non_null(strstr(a.err.text, "may not write to namespace"));
    answer_free(&a);
    return a.rc;
}

static int get_as(struct world *w, const struct cairn_identity *who, const char *ns)
{
    Cairn__Wire__RouterGet m = CAIRN__WIRE__ROUTER_GET__INIT;
    struct answer a;

    m.ns = (char *)(uintptr_t)ns;
    m.key = key_of("k");
    ask_start(w, 1, &a, who, CAIRN__WIRE__ROUTER_METHOD__ROUTER_GET, &m.base, NULL, 0);
    ask_wait(w, &a);
    answer_free(&a);
    return a.rc;
}

static void access_bits(void **state)
{
    static const struct {
        uint32_t mode;
        int alice, bob, carol; /* 4 reads, 2 writes */
    } cases[] = { { 0600, 6, 0, 0 }, { 0640, 6, 4, 0 }, { 0664, 6, 6, 4 }, { 0466, 4, 6, 6 },
                  { 0406, 4, 0, 6 }, { 0222, 2, 2, 2 }, { 0004, 0, 0, 4 } };
    struct world *w = *state;

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        const struct cairn_identity *who[] = { &alice, &bob, &carol };
        int may[] = { cases[i].alice, cases[i].bob, cases[i].carol };
        Cairn__Wire__Namespace m = named("n");

        m.mode = cases[i].mode;
        assert_int_equal(ns_create_as(w, &alice, &m, NULL), 0);
        assert_int_equal(put_as(w, &root, "n"), 0); /* the administrator passes */
        assert_int_equal(get_as(w, &root, "n"), 0);
        for (int j = 0; j < 3; j++) {
            assert_int_equal(put_as(w, who[j], "n"), (may[j] & 2) != 0 ? 0 : CAIRN_E_DENIED);
            assert_int_equal(get_as(w, who[j], "n"), (may[j] & 4) != 0 ? 0 : CAIRN_E_DENIED);
        }
        assert_int_equal(ns_remove_as(w, &bob, "n", true), CAIRN_E_DENIED);
        assert_int_equal(put_as(w, &root, "n"), 0); /* it is open for work all the same */
        assert_int_equal(ns_remove_as(w, &alice, "n", true), 0);
    }
}

static void removal(void **state)
{
    struct world *w = *state;

    assert_int_equal(ns_remove_as(w, &root, "n", false), CAIRN_E_NOTFOUND);
    ns_create(w, "n");
    assert_int_equal(put(w, "n", "k", value, 10), 0);
    assert_int_equal(ns_remove_as(w, &root, "n", false), CAIRN_E_NOTEMPTY);
    assert_int_equal(put(w, "n", "k", value, 300 * KIB), 0); /* it goes on as before */
    assert_int_equal(delete (w, "n", "k"), 0);
    assert_int_equal(ns_remove_as(w, &root, "n", false), 0);
    assert_int_equal(w->ndbs, 0);
    assert_int_equal(put(w, "n", "k", value, 10), CAIRN_E_NOTFOUND);
    ns_create(w, "n"); /* the same name, another namespace */
    for (int i = 0; i < 150; i++) {
        char key[16];

        snprintf(key, sizeof(key), "%d", i);
        assert_int_equal(put(w, "n", key, value, i % 3 == 0 ? 2000 : 10), 0);
    }
    assert_int_equal(put(w, "n", "large", value, 300 * KIB), 0);
    assert_int_equal(ns_remove_as(w, &root, "n", true), 0);
    assert_int_equal(w->nregions, 0);
    assert_int_equal(w->nentries, 0);
    assert_int_equal(w->ndbs, 0);
}

static void ids_are_not_given_twice(void **state)
{
    struct world *w = *state;
    uint32_t last = 0;

    for (int i = 0; i < 4; i++) {
        uint32_t id;

        ns_create(w, "n");
        id = id_of(w, "n");
        assert_true(id > last);
        last = id;
        assert_int_equal(ns_remove_as(w, &root, "n", false), 0);
        world_stop(w);
        world_start(w);
    }
}

/* ---- at the same time ---- */

/* Each request that means namespace "n" of this id comes to @rc. */
static void all_come_to(struct world *w, uint32_t id, int rc, const char *text)
{
    static char n[] = "n";
    Cairn__Wire__RouterPut put = CAIRN__WIRE__ROUTER_PUT__INIT;
    Cairn__Wire__RouterGet get = CAIRN__WIRE__ROUTER_GET__INIT;
    Cairn__Wire__RouterKey key = CAIRN__WIRE__ROUTER_KEY__INIT;
    Cairn__Wire__RouterMput mput = CAIRN__WIRE__ROUTER_MPUT__INIT;
    Cairn__Wire__RouterMget mget = CAIRN__WIRE__ROUTER_MGET__INIT;
    Cairn__Wire__RouterList list = CAIRN__WIRE__ROUTER_LIST__INIT;
    Cairn__Wire__RouterPart part = CAIRN__WIRE__ROUTER_PART__INIT;
    Cairn__Wire__RouterCommit commit = CAIRN__WIRE__ROUTER_COMMIT__INIT;
    Cairn__Wire__RouterAbort abort_it = CAIRN__WIRE__ROUTER_ABORT__INIT;
    Cairn__Wire__RouterOpen open_it = CAIRN__WIRE__ROUTER_OPEN__INIT;
    const struct {
        const ProtobufCMessage *m;
        Cairn__Wire__RouterMethod method;
    } all[] = {
        { &put.base, CAIRN__WIRE__ROUTER_METHOD__ROUTER_PUT },
        { &get.base, CAIRN__WIRE__ROUTER_METHOD__ROUTER_GET },
        { &key.base, CAIRN__WIRE__ROUTER_METHOD__ROUTER_EXISTS },
        { &key.base, CAIRN__WIRE__ROUTER_METHOD__ROUTER_LENGTH },
        { &key.base, CAIRN__WIRE__ROUTER_METHOD__ROUTER_DELETE },
        { &mput.base, CAIRN__WIRE__ROUTER_METHOD__ROUTER_MPUT },
        { &mget.base, CAIRN__WIRE__ROUTER_METHOD__ROUTER_MGET },
        { &list.base, CAIRN__WIRE__ROUTER_METHOD__ROUTER_LIST },
        { &part.base, CAIRN__WIRE__ROUTER_METHOD__ROUTER_PART },
        { &commit.base, CAIRN__WIRE__ROUTER_METHOD__ROUTER_COMMIT },
        { &abort_it.base, CAIRN__WIRE__ROUTER_METHOD__ROUTER_ABORT },
        { &open_it.base, CAIRN__WIRE__ROUTER_METHOD__ROUTER_OPEN },
    };

    put.ns = get.ns = key.ns = mput.ns = mget.ns = list.ns = part.ns = commit.ns = abort_it.ns = open_it.ns = n;
    put.ns_id = get.ns_id = key.ns_id = mput.ns_id = mget.ns_id = list.ns_id = part.ns_id = commit.ns_id =
        abort_it.ns_id = open_it.ns_id = id;
    put.key = get.key = key.key = commit.key = key_of("k");
    for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
        struct answer a;

        ask_start(w, 1, &a, &root, all[i].method, all[i].m, NULL, 0);
        if (ask_wait(w, &a) != rc || strstr(a.err.text, text) == NULL)
            fail_msg("method %u: %d, '%s'", (unsigned)all[i].method, a.rc, a.err.text);
        answer_free(&a);
    }
}

/* Whoever opened a namespace means that one, and not another that is made under its name. */
static void who_opened_one_does_not_get_another(void **state)
{
    struct world *w = *state;
    uint32_t first, second;

    ns_create(w, "n");
    first = id_of(w, "n");
    assert_int_equal(put_as(w, &root, "n"), 0);
    assert_int_equal(ns_remove_as(w, &root, "n", true), 0);
    all_come_to(w, first, CAIRN_E_NOTFOUND, "was removed");
    ns_create(w, "n");
    second = id_of(w, "n");
    assert_true(second > first);
    all_come_to(w, first, CAIRN_E_NOTFOUND, "made again");
    assert_int_equal(put_as(w, &root, "n"), 0); /* who says no id takes what is there */
    assert_int_equal(get_as(w, &root, "n"), 0);
}

/* What was opened at another node may not be known at this one yet; that it was removed cannot be said then. */
static void what_was_not_heard_of_yet_is_waited_for(void **state)
{
    struct world *w = *state;
    struct router_worker *worker = &((struct cairn_router *)w->router)->workers[1];
    struct router_ns *ns;
    uint32_t id;

    all_come_to(w, 1000, CAIRN_E_BUSY, "not heard"); /* none has the name */
    ns_create(w, "n");
    id = id_of(w, "n");
    all_come_to(w, id + 1000, CAIRN_E_BUSY, "not heard"); /* or an older one */
    ns = router_ns_find(worker, "n");
    ns->id = id - 1; /* the map has it, and the worker is to be told */
    all_come_to(w, id, CAIRN_E_BUSY, "not heard");
    cairn_list_del(&ns->link);
    all_come_to(w, id, CAIRN_E_BUSY, "not heard");
    worker->nns--;
    ns->id = id;
    router_ns_add(worker, ns);
    assert_int_equal(get_as(w, &root, "n"), CAIRN_E_NOTFOUND);
}

static void two_make_the_same(void **state)
{
    struct world *w = *state;

    for (uint64_t seed = 1; seed <= 20; seed++) {
        Cairn__Wire__Namespace m = named("n");
        struct answer a[4];
        uint32_t made = 0;

        w->seed = seed;
        for (uint32_t i = 0; i < 4; i++)
            ask_start(w, i % WORKERS, &a[i], &root, CAIRN__WIRE__ROUTER_METHOD__ROUTER_NS_CREATE, &m.base, NULL, 0);
        for (uint32_t i = 0; i < 4; i++) {
            ask_wait(w, &a[i]);
            assert_true(a[i].rc == 0 || a[i].rc == CAIRN_E_EXISTS);
            made += a[i].rc == 0;
            answer_free(&a[i]);
        }
        assert_int_equal(made, 1);
        assert_int_equal(w->ndbs, 1);
        assert_int_equal(ns_remove_as(w, &root, "n", false), 0);
    }
}

/* First large values, small ones and a removal race: nobody waits for ever, and nothing is left of the namespace. */
static void removal_while_it_is_used(void **state)
{
    struct world *w = *state;

    for (uint64_t seed = 1; seed <= 40; seed++) {
        static struct put p[12];
        static char keys[12][8];
        Cairn__Wire__NsName m = CAIRN__WIRE__NS_NAME__INIT;
        struct answer removed, again;

        w->seed = seed;
        ns_create(w, "n");
        for (uint32_t i = 0; i < 12; i++) {
            size_t n = i % 3 == 0 ? 3 * REGION : i % 3 == 1 ? 2000 : 10;

            snprintf(keys[i], sizeof(keys[i]), "k%u", i % 5);
            put_start(w, &p[i], i % WORKERS, "n", keys[i], value, n, n > 32 * KIB);
            if (i == seed % 12) {
                m.name = (char *)(uintptr_t) "n";
                m.force = true;
                ask_start(w, 1, &removed, &root, CAIRN__WIRE__ROUTER_METHOD__ROUTER_NS_REMOVE, &m.base, NULL, 0);
                ask_start(w, 0, &again, &root, CAIRN__WIRE__ROUTER_METHOD__ROUTER_NS_REMOVE, &m.base, NULL, 0);
            }
            for (uint64_t turns = world_random(w) % 4; turns > 0; turns--)
                world_turn(w);
        }
        for (uint32_t i = 0; i < 12; i++) {
            ask_wait(w, &p[i].a);
            assert_true(p[i].a.rc == 0 || p[i].a.rc == CAIRN_E_BUSY || p[i].a.rc == CAIRN_E_NOTFOUND);
            answer_free(&p[i].a);
        }
        assert_true((ask_wait(w, &removed) == 0) != (ask_wait(w, &again) == 0));
        assert_true(removed.rc + again.rc == CAIRN_E_NOTFOUND);
        answer_free(&removed);
        answer_free(&again);
        while (w->nregions > 0) /* the parts of what was not completed go last */
            world_turn(w);
        assert_int_equal(w->nentries, 0);
        assert_int_equal(w->ndbs, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(defaults_and_what_was_asked_for),
        CASE(names),
        CASE(what_cannot_be_is_refused),
        CASE(one_user_has_a_bound),
        CASE(durability_that_cannot_be_had),
        CASE(access_bits),
        CASE(removal),
        CASE(ids_are_not_given_twice),
        CASE(who_opened_one_does_not_get_another),
        CASE(what_was_not_heard_of_yet_is_waited_for),
        CASE(two_make_the_same),
        CASE(removal_while_it_is_used),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
