/* Values that come in parts, of a namespace that is spread over nodes: the lead of their slot is scripted here. */
#include "world_cluster.h"

static uint8_t value[REGION];

enum { UPLOAD = 77 };

/* ---- requests ---- */

static int part(struct world *w, uint32_t number)
{
    Cairn__Wire__RouterPart m = CAIRN__WIRE__ROUTER_PART__INIT;
    Cairn__Wire__BulkDesc bulk = CAIRN__WIRE__BULK_DESC__INIT;
    uint32_t crcs[64];
    struct answer a;
    int rc;

    bulk.key = 1;
    bulk.len = sizeof(value);
    bulk.addr = (uintptr_t)value;
    m.ns = (char *)(uintptr_t)"n";
    m.key = key_of("k");
    m.upload = UPLOAD;
    m.number = number;
    m.length = sizeof(value);
    m.bulk = &bulk;
    m.crcs = crcs;
    m.n_crcs = crc_of_chunks(value, 0, sizeof(value), crcs);
    ask_start(w, 0, &a, &root, CAIRN__WIRE__ROUTER_METHOD__ROUTER_PART, &m.base, NULL, 0);
    rc = ask_wait(w, &a);
    answer_free(&a);
    return rc;
}

struct commit {
    Cairn__Wire__RouterCommit m;
    Cairn__Wire__RouterRid rid;
    struct answer a;
};

static void commit_start(struct world *w, struct commit *c, uint32_t parts)
{
    cairn__wire__router_commit__init(&c->m);
    cairn__wire__router_rid__init(&c->rid);
    c->rid.session_epoch = c->rid.session_pos = 1;
    c->rid.seq = NUMBER;
    c->rid.slot = SLOT;
    c->m.ns = (char *)(uintptr_t)"n";
    c->m.key = key_of("k");
    c->m.upload = UPLOAD;
    c->m.parts = parts;
    c->m.length = parts * sizeof(value);
    c->m.rid = &c->rid;
    ask_start(w, 1, &c->a, &root, CAIRN__WIRE__ROUTER_METHOD__ROUTER_COMMIT, &c->m.base, NULL, 0);
}

static int commit_wait(struct world *w, struct commit *c)
{
    int rc = ask_wait(w, &c->a);

    answer_free(&c->a);
    return rc;
}

static int commit(struct world *w, uint32_t parts)
{
    struct commit c;

    commit_start(w, &c, parts);
    return commit_wait(w, &c);
}

static void begin(struct world *w)
{
    fill(value, sizeof(value), 1);
    ns_create(w, "n");
    cluster_begin(w);
}

/* ---- stories ---- */

static void who_leads_on_takes_it(void **state)
{
    struct world *w = *state;

    begin(w);
    assert_int_equal(part(w, 0), 0);
    assert_int_equal(cluster.spreads, 1); /* the backups fetch a part while the client sends the next one */
    assert_int_equal(part(w, 1), 0);
    assert_int_equal(cluster.spreads, 2);
    assert_int_equal(commit(w, 2), 0);
    assert_int_equal(cluster.spreads, 3); /* what a backup has already it does not fetch again */
    assert_int_equal(cluster.puts, 1);
    assert_int_equal(commit(w, 2), CAIRN_E_INVAL); /* it is used up, and nobody knows the number */
    assert_int_equal(cluster.asks, 1);
    assert_int_equal(cluster.puts, 1);
}

/* Another has led meanwhile, and told whoever asked that there was no COMMIT: so there must not be one. */
static void a_commit_that_takes_its_time_is_not_done_under_another_lead(void **state)
{
    struct world *w = *state;
    struct commit c;

    begin(w);
    assert_int_equal(part(w, 0), 0);
    spreads_slowly = true;
    commit_start(w, &c, 1);
    while (spreading == NULL)
        world_turn(w);
    cluster.lead = 102;
    run_spread(spreading);
    assert_int_equal(commit_wait(w, &c), CAIRN_E_MOVED);
    assert_int_equal(cluster.puts, 0);
    spreads_slowly = false;
    assert_int_equal(commit(w, 1), CAIRN_E_INVAL); /* to the last word */
    assert_int_equal(cluster.puts, 0);
}

/* Likewise one that comes late altogether. */
static void a_commit_that_comes_late_is_not_done_under_another_lead(void **state)
{
    struct world *w = *state;

    begin(w);
    assert_int_equal(part(w, 0), 0);
    cluster.lead = 102;
    assert_int_equal(commit(w, 1), CAIRN_E_INVAL);
    assert_int_equal(cluster.puts, 0);
    cluster.ask_rc = 0; /* it was, by whoever led */
    assert_int_equal(commit(w, 1), 0);
}

/* Parts of two leads do not make a value. */
static void a_part_that_comes_late_begins_anew(void **state)
{
    struct world *w = *state;

    begin(w);
    assert_int_equal(part(w, 0), 0);
    cluster.lead = 0;
    assert_int_equal(part(w, 1), CAIRN_E_MOVED);
    cluster.lead = 102;
    assert_int_equal(part(w, 1), 0);
    assert_int_equal(commit(w, 2), CAIRN_E_INVAL);
    assert_int_equal(cluster.puts, 0);
    assert_int_equal(part(w, 0), 0);
    assert_int_equal(commit(w, 2), 0);
    assert_int_equal(cluster.puts, 1);
}

/* A session is known by its number in its slot only: what another slot has under it is another write's result. */
static void a_number_of_another_slot_is_refused(void **state)
{
    Cairn__Wire__RouterKey m = CAIRN__WIRE__ROUTER_KEY__INIT;
    Cairn__Wire__RouterRid rid = CAIRN__WIRE__ROUTER_RID__INIT;
    struct world *w = *state;
    struct answer a;

    begin(w);
    m.ns = (char *)(uintptr_t) "n";
    m.key = key_of("k");
    m.rid = &rid;
    rid.session_epoch = rid.session_pos = 1;
    rid.seq = NUMBER;
    rid.slot = FIRST_SLOT + SLOT;
    ask_start(w, 0, &a, &root, CAIRN__WIRE__ROUTER_METHOD__ROUTER_DELETE, &m.base, NULL, 0);
    assert_int_equal(ask_wait(w, &a), CAIRN_E_INVAL);
    answer_free(&a);
    assert_int_equal(cluster.puts, 0);
    rid.slot = SLOT;
    ask_start(w, 0, &a, &root, CAIRN__WIRE__ROUTER_METHOD__ROUTER_DELETE, &m.base, NULL, 0);
    assert_int_equal(ask_wait(w, &a), 0);
    answer_free(&a);
    assert_int_equal(cluster.puts, 1);
}

/* Who opens a session hears for how long it is kept. */
static void a_session_says_how_long_it_is_kept(void **state)
{
    Cairn__Wire__RouterOpen m = CAIRN__WIRE__ROUTER_OPEN__INIT;
    const Cairn__Wire__RouterOpened *r;
    struct world *w = *state;
    struct answer a;

    begin(w);
    m.ns = (char *)(uintptr_t) "n";
    m.slot = FIRST_SLOT;
    ask_start(w, 0, &a, &root, CAIRN__WIRE__ROUTER_METHOD__ROUTER_OPEN, &m.base, NULL, 0);
    assert_int_equal(ask_wait(w, &a), 0);
    r = (const Cairn__Wire__RouterOpened *)a.reply;
    assert_int_equal(r->pos, 3);
    assert_int_equal(r->ttl_ms, 45000);
    answer_free(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(who_leads_on_takes_it),
        CASE(a_commit_that_takes_its_time_is_not_done_under_another_lead),
        CASE(a_commit_that_comes_late_is_not_done_under_another_lead),
        CASE(a_part_that_comes_late_begins_anew),
        CASE(a_number_of_another_slot_is_refused),
        CASE(a_session_says_how_long_it_is_kept),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
