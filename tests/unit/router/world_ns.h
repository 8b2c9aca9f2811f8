/* What the tests of namespaces ask for. */
#ifndef CAIRN_TESTS_ROUTER_WORLD_NS_H
#define CAIRN_TESTS_ROUTER_WORLD_NS_H

#include "world.h"

static const struct cairn_identity alice = { .uid = 1000, .gid = 100, .auth = "peer" };

static uint8_t value[512 * KIB];

static Cairn__Wire__Namespace named(const char *name)
{
    Cairn__Wire__Namespace m = CAIRN__WIRE__NAMESPACE__INIT;

    m.name = (char *)(uintptr_t)name;
    return m;
}

/* The copy that @worker shows; free with answer_free(). */
static int show(struct world *w, uint32_t worker, const char *name, struct answer *a)
{
    Cairn__Wire__NsName m = CAIRN__WIRE__NS_NAME__INIT;

    m.name = (char *)(uintptr_t)name;
    ask_start(w, worker, a, &root, CAIRN__WIRE__ROUTER_METHOD__ROUTER_NS_SHOW, &m.base, NULL, 0);
    return ask_wait(w, a);
}

static inline uint32_t id_of(struct world *w, const char *name)
{
    struct answer a;
    uint32_t id;

    assert_int_equal(show(w, 0, name, &a), 0);
    id = ((const Cairn__Wire__Namespace *)a.reply)->id;
    answer_free(&a);
    return id;
}

#endif
