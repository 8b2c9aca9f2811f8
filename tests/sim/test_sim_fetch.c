/* One node's fetches, told word by word whom not to believe and what not to wait for: what random walks meet too
 * seldom. Its node is a bench: what was asked of it is noted, and answered as the story wants. */
#include "server/cluster/service/fetch_core.h"
#include "tests/sim/world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { NODES = 4, SELF = 3, SLOT = 9, OWNER = 7, LEN = 100, ASKED_MAX = 16 };

struct bench {
    struct cluster_fetches s;
    struct cluster_regions table;
    struct world *world;
    struct cairn_sm_set machines;
    struct cairn_slot_record rec;
    enum fetch_peer peers[NODES + 1];
    struct cluster_fetch *asked[ASKED_MAX]; /* and not answered */
    uint32_t nasked, nclears, nputs;
};

static struct bench *bench_of(struct cluster_fetches *s)
{
    return CONTAINER_OF(s, struct bench, s);
}

/* ---- the node ---- */

static struct cluster_fetch *op_make(struct cluster_fetches *s)
{
    (void)s;
    return calloc(1, sizeof(struct cluster_fetch));
}

static void op_over(struct cluster_fetch *f)
{
    free(f);
}

static void note(struct cluster_fetch *f)
{
    struct bench *b = bench_of(f->set);

    assert_true(b->nasked < ASKED_MAX);
    b->asked[b->nasked++] = f;
}

static void op_clear(struct cluster_fetch *f)
{
    bench_of(f->set)->nclears++;
    note(f);
}

static int op_read(struct cluster_fetch *f)
{
    note(f);
    return 0;
}

static int op_put(struct cluster_fetch *f)
{
    bench_of(f->set)->nputs++;
    note(f);
    return 0;
}

static void op_nothing(struct cluster_fetch *f)
{
    (void)f;
}

static enum fetch_peer op_peer(struct cluster_fetches *s, uint64_t node)
{
    return bench_of(s)->peers[node];
}

static void op_connect(struct cluster_fetches *s, uint64_t node)
{
    (void)s;
    (void)node;
}

static bool op_record(struct cluster_fetches *s, uint32_t slot, struct cairn_slot_record *rec)
{
    *rec = bench_of(s)->rec;
    return slot == SLOT;
}

static bool op_has_entry(struct cluster_fetches *s, uint32_t slot, struct cairn_at at)
{
    (void)s;
    return slot == SLOT && at.pos < 10;
}

/* A byte, the region's name; 0: none. */
static void op_page_names(const uint8_t *page, uint32_t len, fetch_named_fn *fn, void *arg)
{
    for (uint32_t i = 0; i < len; i++) {
        if (page[i] != 0)
            fn(arg, OWNER, (struct cairn_record_region){ .id = page[i], .len = LEN });
    }
}

static void op_entry_names(const struct cairn_log_entry *e, fetch_named_fn *fn, void *arg)
{
    op_page_names(e->body, e->body_len, fn, arg);
}

static bool op_ticked(struct cluster_fetches *s)
{
    (void)s;
    return false;
}

static const struct cluster_fetch_ops ops = {
    .make = op_make,
    .over = op_over,
    .look = note,
    .clear = op_clear,
    .read = op_read,
    .put = op_put,
    .give_back = op_nothing,
    .cancel = op_nothing,
    .peer = op_peer,
    .connect = op_connect,
    .record = op_record,
    .has_entry = op_has_entry,
    .entry_names = op_entry_names,
    .page_names = op_page_names,
    .ticked = op_ticked,
};

static int bench_begin(void **state)
{
    struct world_conf conf = { .seed = 1, .nodes = 1 }; /* nothing is sent there */
    struct bench *b = calloc(1, sizeof(*b));

    assert_non_null(b);
    b->world = world_new(&conf);
    assert_non_null(b->world);
    cairn_sm_set_init(&b->machines, world_env(b->world, 0));
    cluster_regions_init(&b->table);
    cluster_fetches_init(&b->s, &ops, world_env(b->world, 0), &b->machines, &b->table, SELF);
    for (uint32_t i = 0; i <= NODES; i++)
        b->peers[i] = FETCH_PEER_UP;
    b->rec = (struct cairn_slot_record){ .epoch = 5,
                                         .state = CAIRN_SLOT_ACTIVE,
                                         .primary = { 1, 11 },
                                         .nreplicas = 3,
                                         .replicas = { 1, 2, SELF },
                                         .ninsync = 3,
                                         .insync = { { 1, 11 }, { 2, 12 }, { SELF, 13 } } };
    *state = b;
    return 0;
}

/* ---- what the story says ---- */

static void run(struct bench *b)
{
    cairn_env_run_tasks(b->s.env);
    world_run_until(b->world, world_now_ns(b->world) + CAIRN_NS_PER_MS);
}

/* The oldest question, which has to be of that kind; the story answers it. */
static struct cluster_fetch *next(struct bench *b, uint32_t state)
{
    struct cluster_fetch *f;

    run(b);
    assert_true(b->nasked > 0);
    f = b->asked[0];
    memmove(b->asked, b->asked + 1, --b->nasked * sizeof(f));
    assert_int_equal(f->sm.state, state);
    return f;
}

static struct cluster_fetch *next_from(struct bench *b, uint64_t source)
{
    struct cluster_fetch *f = next(b, FETCH_READ);

    assert_int_equal(f->source, source);
    return f;
}

static void is_not_here(struct bench *b)
{
    cluster_fetch_on_looked(next(b, FETCH_LOOK), CAIRN_E_NOTFOUND, NULL);
}

static void comes_from(struct bench *b, uint64_t source)
{
    cluster_fetch_on_read(next_from(b, source), 0);
    cluster_fetch_on_put(next(b, FETCH_PUT), 0);
}

/* How many of the entries that name @regions may be taken; they are of position 10 and later. */
static uint32_t admitted(struct bench *b, uint64_t from, const char *regions)
{
    struct cairn_log_entry e[8];
    struct cairn_repl_msg m = { .kind = CAIRN_REPL_APPEND,
                                .slot = SLOT,
                                .from = { from, 10 + from },
                                .epoch = 5,
                                .entries = e,
                                .nentries = (uint32_t)strlen(regions) };

    for (uint32_t i = 0; i < m.nentries; i++)
        e[i] = (struct cairn_log_entry){
            .at = { 5, 10 + i }, .kind = CAIRN_ENTRY_WRITE, .body = (const uint8_t *)regions + i, .body_len = 1
        };
    return cluster_fetch_admit(&b->s, &m) ? m.nentries : 0;
}

static void rumour(struct bench *b, uint64_t from, uint64_t region)
{
    struct fetch_want want = { .slot = SLOT, .node = from, .owner = OWNER, .region = { region, LEN } };

    assert_false(cluster_fetch_is_here(&b->s, &want));
}

static int bench_end(void **state)
{
    struct bench *b = *state;

    cluster_fetches_stop(&b->s);
    while (b->s.n > 0) {
        struct cluster_fetch *f = b->asked[--b->nasked];

        if (f->sm.state == FETCH_LOOK)
            cluster_fetch_on_looked(f, CAIRN_E_SHUTDOWN, NULL);
        else
            cluster_fetch_on_read(f, CAIRN_E_SHUTDOWN);
    }
    cluster_regions_fini(&b->table);
    cairn_sm_set_fini(&b->machines);
    world_free(b->world);
    free(b);
    return 0;
}

/* ---- stories ---- */

/* M_ENTRY_FIRST. Entries are taken up to the first whose region is not here; what is missing comes side by side. */
static void entries_wait_for_their_regions(void **state)
{
    struct bench *b = *state;

    assert_int_equal(admitted(b, 1, "\1\2"), 0);
    is_not_here(b);
    is_not_here(b);
    cluster_fetch_on_read(next_from(b, 1), 0);
    assert_int_equal(admitted(b, 1, "\1\2"), 0); /* in memory is not on disk */
    cluster_fetch_on_read(next_from(b, 1), 0);
    cluster_fetch_on_put(next(b, FETCH_PUT), 0);
    assert_int_equal(admitted(b, 1, "\1\2"), 1);
    cluster_fetch_on_put(next(b, FETCH_PUT), 0);
    assert_int_equal(admitted(b, 1, "\1\2"), 2);
    assert_int_equal(b->nasked, 0); /* however often they came */
}

/* A page of a copy whose regions are not here is no page: the source hears which one is wanted. */
static void pages_wait_for_their_regions(void **state)
{
    struct bench *b = *state;
    struct cairn_repl_msg m = { .kind = CAIRN_REPL_COPY,
                                .slot = SLOT,
                                .from = { 1, 11 },
                                .epoch = 5,
                                .part = CAIRN_COPY_RECORDS,
                                .number = 4,
                                .bytes = (const uint8_t *)"\1",
                                .len = 1 };

    assert_true(cluster_fetch_admit(&b->s, &m));
    assert_int_equal(m.number, 0);
    is_not_here(b);
    cluster_fetch_on_read(next_from(b, 1), CAIRN_E_BUSY); /* it has other copies to send */
    assert_int_equal(b->nasked, 0);
    world_run_until(b->world, world_now_ns(b->world) + 300 * CAIRN_NS_PER_MS);
    comes_from(b, 1);
    m.number = 4;
    assert_true(cluster_fetch_admit(&b->s, &m));
    assert_int_equal(m.number, 4);
}

/* Who names it and leads is asked as such, and believed; nobody else's entry is taken for that. */
static void who_leads_may_say_that_it_is_gone(void **state)
{
    struct bench *b = *state;
    struct cluster_fetch *f;

    assert_int_equal(admitted(b, 1, "\1"), 0);
    is_not_here(b);
    f = next_from(b, 1);
    assert_true(cluster_fetch_asks_leader(f) && f->want.epoch == 5 && f->want.inc == 11);
    cluster_fetch_on_read(f, CAIRN_E_NOTFOUND);
    assert_int_equal(admitted(b, 1, "\1"), 1);
    assert_int_equal(b->nputs, 0);
    assert_int_equal(admitted(b, 2, "\1"),
                     0); /* M_GONE_FOR_ALL: it leads by now, perhaps, and its log has another end */
    is_not_here(b);
    comes_from(b, 2);
    assert_int_equal(admitted(b, 2, "\1"), 1);
}

/* M_GONE_ANY. Who leads does not answer; that another has no such region says nothing: it may not have heard of it. */
static void another_may_not(void **state)
{
    struct bench *b = *state;
    struct cluster_fetch *f;

    assert_int_equal(admitted(b, 1, "\1"), 0);
    is_not_here(b);
    cluster_fetch_on_read(next_from(b, 1), CAIRN_E_TIMEOUT);
    f = next_from(b, 2);
    assert_false(cluster_fetch_asks_leader(f));
    cluster_fetch_on_read(f, CAIRN_E_NOTFOUND);
    assert_int_equal(cluster_regions_state(&b->table, 1), REGION_UNKNOWN); /* it may lead one day, and name it */
    assert_int_equal(admitted(b, 1, "\1"), 0);
    is_not_here(b);
    cluster_fetch_on_read(next_from(b, 1), CAIRN_E_STATE); /* it leads no more, it says */
    cluster_fetch_on_read(next_from(b, 2), CAIRN_E_NOTFOUND);
    assert_int_equal(admitted(b, 1, "\1"), 0);
    is_not_here(b);
    b->rec.ninsync = b->rec.nreplicas = 1; /* and the map says so */
    b->rec.primary = b->rec.insync[0] = (struct cairn_who){ 2, 12 };
    b->rec.replicas[0] = 2;
    cluster_fetch_on_read(next_from(b, 1), CAIRN_E_NOTFOUND);
    cluster_fetch_on_read(next_from(b, 2), CAIRN_E_NOTFOUND);
    assert_int_equal(admitted(b, 1, "\1"), 0);
    is_not_here(b);
    comes_from(b, 1);
}

/* What is spoken of beforehand may come to nothing: nobody is believed about it, and nothing is removed for it. */
static void a_rumour_is_a_rumour(void **state)
{
    struct bench *b = *state;
    struct fetch_found found = { .owner = OWNER, .length = LEN, .sealed = true, .damaged = true };

    rumour(b, 1, 1);
    is_not_here(b);
    cluster_fetch_on_read(next_from(b, 1), CAIRN_E_NOTFOUND);
    cluster_fetch_on_read(next_from(b, 2), CAIRN_E_NOTFOUND);
    assert_int_equal(cluster_regions_state(&b->table, 1), REGION_UNKNOWN);
    rumour(b, 1, 2);
    cluster_fetch_on_looked(next(b, FETCH_LOOK), 0, &found); /* M_CLEAR_ON_RUMOUR */
    assert_int_equal(b->nclears, 0);
    assert_int_equal(cluster_regions_state(&b->table, 2), REGION_UNKNOWN);
    assert_int_equal(admitted(b, 1, "\2"), 0); /* an entry names it: what is here is of no use */
    cluster_fetch_on_looked(next(b, FETCH_LOOK), 0, &found);
    assert_int_equal(b->nclears, 1);
    cluster_fetch_on_cleared(next(b, FETCH_CLEAR), 0);
    comes_from(b, 1);
    assert_int_equal(admitted(b, 1, "\2"), 1);
}

/* Another's region under its name is nobody's to remove. */
static void anothers_region_is_left_alone(void **state)
{
    struct bench *b = *state;
    struct fetch_found found = { .owner = OWNER + 1, .length = LEN, .sealed = true, .damaged = true };

    assert_int_equal(admitted(b, 1, "\1"), 0);
    cluster_fetch_on_looked(next(b, FETCH_LOOK), 0, &found);
    assert_true(b->nclears == 0 && b->s.n == 0);
    assert_int_equal(admitted(b, 1, "\1"), 0);
}

/* A session that is down for half a second is not waited for. */
static void a_silent_source_is_given_up(void **state)
{
    struct bench *b = *state;

    b->peers[1] = FETCH_PEER_DOWN;
    assert_int_equal(admitted(b, 1, "\1"), 0);
    is_not_here(b);
    world_run_until(b->world, world_now_ns(b->world) + 400 * CAIRN_NS_PER_MS);
    assert_int_equal(b->nasked, 0);
    world_run_until(b->world, world_now_ns(b->world) + 200 * CAIRN_NS_PER_MS);
    comes_from(b, 2);
    assert_int_equal(admitted(b, 1, "\1"), 1);
}

/* One that hangs leaves room for the others: three at a time are read of it, of four that there is memory for. */
static void one_source_does_not_take_all_memory(void **state)
{
    struct bench *b = *state;

    assert_int_equal(admitted(b, 1, "\1\2\3\4\5"), 0);
    for (int i = 0; i < 5; i++)
        is_not_here(b);
    run(b);
    assert_int_equal(b->nasked, 3);
    rumour(b, 2, 6);
    rumour(b, 2, 7);
    for (uint32_t i = 0; i < 3; i++) { /* they stay behind what comes now */
        struct cluster_fetch *f = next_from(b, 1);

        note(f);
    }
    is_not_here(b);
    is_not_here(b);
    run(b);
    assert_int_equal(b->nasked, 4);
    assert_int_equal(b->asked[3]->source, 2);
    assert_int_equal(b->s.nbuffers, FETCHES_BUFFERS);
}

/* While a region is being removed nobody is told that it is here; afterwards it is looked for. */
static void what_is_doomed_is_not_here(void **state)
{
    struct bench *b = *state;
    uint64_t ids[2] = { 1, 2 };
    struct fetch_found found = { .owner = OWNER, .length = LEN, .sealed = true };

    assert_int_equal(admitted(b, 1, "\2"), 0);
    cluster_fetch_on_looked(next(b, FETCH_LOOK), 0, &found);
    assert_int_equal(admitted(b, 1, "\2"), 1);
    assert_int_equal(cluster_regions_doom(&b->table, ids, 2), 1); /* the other one is pinned */
    assert_int_equal(ids[0], 1);
    assert_int_equal(admitted(b, 1, "\1"), 0); /* M_GC_NO_DOOM */
    run(b);
    assert_int_equal(b->nasked, 0);
    cluster_regions_spare(&b->table);
    assert_int_equal(admitted(b, 1, "\1"), 0);
    is_not_here(b);
    comes_from(b, 1);
}

#define STORY(name) cmocka_unit_test_setup_teardown(name, bench_begin, bench_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORY(entries_wait_for_their_regions),
        STORY(pages_wait_for_their_regions),
        STORY(who_leads_may_say_that_it_is_gone),
        STORY(another_may_not),
        STORY(a_rumour_is_a_rumour),
        STORY(anothers_region_is_left_alone),
        STORY(a_silent_source_is_given_up),
        STORY(one_source_does_not_take_all_memory),
        STORY(what_is_doomed_is_not_here),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
