/* What a caller is told of namespaces: page by page, and only what it may see. */
#include "world.h"

static const struct cairn_identity alice = { .uid = 1000, .gid = 100, .auth = "peer" };
static const struct cairn_identity bob = { .uid = 1001, .gid = 100, .auth = "peer" };
static const struct cairn_identity carol = { .uid = 1002, .gid = 200, .auth = "peer" };

/* One page; free with answer_free(). */
static const Cairn__Wire__NamespaceList *page_of(struct world *w, struct answer *a, const struct cairn_identity *who,
                                                 const char *after, uint32_t max)
{
    Cairn__Wire__NsList m = CAIRN__WIRE__NS_LIST__INIT;

    m.after = (char *)(uintptr_t)after;
    m.max = max;
    ask_start(w, (uint32_t)(world_random(w) % WORKERS), a, who, CAIRN__WIRE__ROUTER_METHOD__ROUTER_NS_LIST, &m.base,
              NULL, 0);
    assert_int_equal(ask_wait(w, a), 0);
    return (const Cairn__Wire__NamespaceList *)a->reply;
}

static void list_is_in_order(void **state)
{
    struct world *w = *state;
    const Cairn__Wire__NamespaceList *r;
    char name[16];
    struct answer a;

    for (int i = 12; i-- > 0;) {
        snprintf(name, sizeof(name), "n%02d", i);
        ns_create(w, name);
    }
    r = page_of(w, &a, &root, "", 0);
    assert_int_equal(r->n_namespaces, 12);
    assert_false(r->more);
    for (int i = 0; i < 12; i++) {
        snprintf(name, sizeof(name), "n%02d", i);
        assert_string_equal(r->namespaces[i]->name, name);
    }
    answer_free(&a);
    r = page_of(w, &a, &root, "n03", 5);
    assert_int_equal(r->n_namespaces, 5);
    assert_true(r->more);
    assert_string_equal(r->namespaces[0]->name, "n04");
    answer_free(&a);
    r = page_of(w, &a, &root, "n06x", 5); /* no such name: what follows it all the same */
    assert_int_equal(r->n_namespaces, 5);
    assert_false(r->more); /* exactly the last */
    answer_free(&a);
    r = page_of(w, &a, &root, "n11", 0);
    assert_int_equal(r->n_namespaces, 0);
    assert_false(r->more);
    answer_free(&a);
}

/* As many as a node takes, with the longest names: all of them are told, and no page is too large for a frame. */
static void the_longest_list_comes_in_pages(void **state)
{
    struct world *w = *state;
    struct cairn_router *r = w->router;
    char after[CAIRN_NAME_BYTES_MAX + 1] = "";
    uint32_t n = 0, pages = 0;
    bool more = true;

    for (uint32_t i = 0; i < CAIRN_ROUTER_NAMESPACES_MAX; i++) {
        for (uint32_t j = 0; j < WORKERS; j++) { /* straight into the tables: making them is another story */
            struct router_ns *ns = calloc(1, sizeof(*ns));

            assert_non_null(ns);
            memset(ns->kv_name, 'k', CAIRN_NAME_BYTES_MAX);
            memset(ns->extent_name, 'e', CAIRN_NAME_BYTES_MAX);
            snprintf(ns->name, sizeof(ns->name), "%04u-%0*u", i, CAIRN_NAME_BYTES_MAX - 5, 0);
            ns->id = 1000 + i;
            cairn_list_init(&ns->link);
            router_ns_add(&r->workers[j], ns);
        }
    }
    while (more) {
        struct answer a;
        const Cairn__Wire__NamespaceList *page = page_of(w, &a, &root, after, 0);

        assert_true(cairn__wire__namespace_list__get_packed_size(page) < CAIRN_FRAME_BODY_BYTES_MAX);
        for (size_t i = 0; i < page->n_namespaces; i++)
            assert_int_equal(page->namespaces[i]->id, 1000 + n++);
        assert_true(page->n_namespaces > 0);
        snprintf(after, sizeof(after), "%s", page->namespaces[page->n_namespaces - 1]->name);
        more = page->more;
        pages++;
        answer_free(&a);
    }
    assert_int_equal(n, CAIRN_ROUTER_NAMESPACES_MAX);
    assert_true(pages > 1);
}

static int show_as(struct world *w, const struct cairn_identity *who, const char *name)
{
    Cairn__Wire__NsName m = CAIRN__WIRE__NS_NAME__INIT;
    struct answer a;
    int rc;

    m.name = (char *)(uintptr_t)name;
    ask_start(w, 0, &a, who, CAIRN__WIRE__ROUTER_METHOD__ROUTER_NS_SHOW, &m.base, NULL, 0);
    rc = ask_wait(w, &a);
    answer_free(&a);
    return rc;
}

/* By owner, group and others; by reading or writing; and whoever owns sees what nobody may touch. */
static void others_see_what_they_may_use(void **state)
{
    static const struct {
        const char *name;
        uint32_t mode;
        bool bob, carol;
    } rows[] = {
        { "a-private", 0600, false, false }, { "b-group", 0640, true, false },    { "c-world", 0604, false, true },
        { "d-drop-box", 0622, true, true },  { "e-not-mine", 0060, true, false },
    };
    struct world *w = *state;

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        Cairn__Wire__Namespace m = CAIRN__WIRE__NAMESPACE__INIT;

        m.name = (char *)(uintptr_t)rows[i].name;
        m.mode = rows[i].mode;
        assert_int_equal(ns_create_as(w, &alice, &m, NULL), 0);
    }
    for (int who = 0; who < 4; who++) {
        const struct cairn_identity *ids[] = { &root, &alice, &bob, &carol };
        struct answer a;
        const Cairn__Wire__NamespaceList *page = page_of(w, &a, ids[who], "", 0);
        size_t seen = 0;

        for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
            bool may = who < 2 || (who == 2 ? rows[i].bob : rows[i].carol);

            if (may)
                assert_string_equal(page->namespaces[seen++]->name, rows[i].name);
            assert_int_equal(show_as(w, ids[who], rows[i].name), may ? 0 : CAIRN_E_DENIED);
        }
        assert_int_equal(page->n_namespaces, seen);
        answer_free(&a);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(list_is_in_order),
        CASE(the_longest_list_comes_in_pages),
        CASE(others_see_what_they_may_use),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
