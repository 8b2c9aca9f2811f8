/** What the programs share that ask every kind of map store for what it promises: a world for each test, and what a
 * watch saw. */
#ifndef CAIRN_TEST_MAP_CONTRACT_H
#define CAIRN_TEST_MAP_CONTRACT_H

#include "tests/lib/etcd.h"
#include "tests/lib/map_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static inline struct cairn_map_write put_of(const char *key, const char *value, uint64_t from)
{
    return (struct cairn_map_write){ .key = key,
                                     .value = (const uint8_t *)value,
                                     .value_len = value != NULL ? (uint32_t)strlen(value) : 0,
                                     .from = from };
}

/* ---- what a watch saw ---- */

struct seen {
    struct cairn_map_watch watch;
    char text[2048];
    uint64_t revision; /* of the last CURRENT */
    uint32_t stop_after;
    const char *wanted;
};

static inline void on_news(struct cairn_map_watch *watch, enum cairn_map_news news, const struct cairn_map_entry *e,
                           uint64_t revision)
{
    struct seen *s = watch->arg;
    size_t n = strlen(s->text);

    assert_true((news == CAIRN_MAP_ENTRY) == (e != NULL));
    if (news == CAIRN_MAP_RESET)
        snprintf(s->text, sizeof(s->text), "reset ");
    else if (news == CAIRN_MAP_SKIPPED)
        snprintf(s->text + n, sizeof(s->text) - n, "skipped ");
    else if (news == CAIRN_MAP_CURRENT)
        s->revision = revision;
    else if (e->value == NULL)
        snprintf(s->text + n, sizeof(s->text) - n, "-%s ", e->key);
    else
        snprintf(s->text + n, sizeof(s->text) - n, "%s=%.*s ", e->key, (int)e->value_len, (const char *)e->value);
    if (news == CAIRN_MAP_ENTRY && s->stop_after > 0 && --s->stop_after == 0)
        cairn_map_watch_stop(watch);
}

static inline void seen_start(struct seen *s, struct cairn_map_store *store, const char *prefix, uint64_t from)
{
    *s = (struct seen){ .watch = { .prefix = prefix, .from = from, .fn = on_news, .arg = s } };
    cairn_map_watch_start(&store->view, &s->watch);
    assert_string_equal(s->text, ""); /* never inside the call */
}

static inline bool seen_is_wanted(void *arg)
{
    const struct seen *s = arg;

    return s->revision > 0 && strcmp(s->text, s->wanted) == 0;
}

static inline void seen_expect(struct map_world *w, struct seen *s, const char *wanted)
{
    uint64_t end = map_world_now(w) + 30 * CAIRN_NS_PER_S;

    s->wanted = wanted;
    while (!seen_is_wanted(s) && map_world_now(w) < end)
        w->kind->turn(w);
    assert_string_equal(s->text, wanted);
}

/* ---- each of them ---- */

static inline int setup(void **state, const struct map_world_kind *kind)
{
    *state = kind->open();
    return 0;
}

static inline int setup_local(void **state)
{
    return setup(state, &map_world_local);
}

static inline int setup_sim(void **state)
{
    return setup(state, &map_world_sim);
}

#if CAIRN_WITH_ETCD
static inline int setup_etcd(void **state)
{
    return setup(state, &map_world_etcd);
}
#endif

static inline int teardown(void **state)
{
    struct map_world *w = *state;

    w->kind->close(w);
    return 0;
}

#define CASE(name, kind)                                                                                               \
    {                                                                                                                  \
#kind ": " #name, name, setup_##kind, teardown, NULL                                                           \
    }

#endif
