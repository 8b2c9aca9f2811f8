/* A node's copy of the map: what changed since a version, in pages, from one node to the next. */
#include "server/cluster/service/grants.h"
#include "server/cluster/service/records.h"
#include "server/cluster/service/records_chain.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { SLOTS = 5000, MEMBERS = 600 };

static struct cairn_cluster_records source, copy, third;

static int setup(void **state)
{
    (void)state;
    assert_int_equal(cairn_cluster_records_init(&source, 100), 0);
    assert_int_equal(cairn_cluster_records_init(&copy, 200), 0);
    assert_int_equal(cairn_cluster_records_init(&third, 300), 0);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    cairn_cluster_records_fini(&source);
    cairn_cluster_records_fini(&copy);
    cairn_cluster_records_fini(&third);
    return 0;
}

static struct cairn_slot_record record(uint32_t slot, uint64_t epoch)
{
    return (struct cairn_slot_record){ .epoch = epoch,
                                       .since = 1,
                                       .state = CAIRN_SLOT_ACTIVE,
                                       .min_insync = 1,
                                       .primary = { slot % 7 + 1, 1 },
                                       .nreplicas = 1,
                                       .ninsync = 1,
                                       .replicas = { slot % 7 + 1 },
                                       .insync = { { slot % 7 + 1, 1 } } };
}

static void put_slot(uint32_t slot, uint64_t epoch, uint64_t revision)
{
    struct cairn_slot_record rec = record(slot, epoch);

    assert_int_equal(cairn_cluster_records_put_slot(&source, slot, &rec, revision), 0);
}

static void put_member(uint64_t node, uint64_t inc, uint64_t revision)
{
    char name[32];
    struct cairn_wire_member m = { .node = node,
                                   .inc = inc,
                                   .name = name,
                                   .zone = "rack1",
                                   .host = "h",
                                   .addresses = { "tcp://10.0.0.1:7000", "unix:///run/x" },
                                   .naddresses = 2,
                                   .weight = 100,
                                   .state = CAIRN_WIRE_MEMBER_UP };

    snprintf(name, sizeof(name), "node%u.%u", (unsigned)node, (unsigned)inc);
    assert_int_equal(cairn_cluster_records_put_member(&source, &m, revision), 0);
}

/* The next page of @from. */
static bool chain_more(struct records_chain *ch, struct cairn_cluster_records *from)
{
    struct cairn_wire_page page;
    struct cairn_arena a;

    cairn_arena_init(&a, 16 << 20);
    assert_int_equal(cairn_cluster_records_page(from, records_chain_upto(ch), true, &a, &page), 0);
    assert_true(page.nslots <= CAIRN_WIRE_PAGE_SLOTS_MAX && page.nmembers <= CAIRN_WIRE_PAGE_MEMBERS_MAX);
    assert_int_equal(records_chain_add(ch, &page), 0);
    cairn_arena_reset(&a);
    return page.more;
}

/* Takes from @from until there is no more; returns how many pages that were. */
static uint32_t follow(struct cairn_cluster_records *to, struct cairn_cluster_records *from)
{
    struct records_chain ch;
    uint32_t n;

    records_chain_begin(&ch, cairn_cluster_records_revision(to), SLOTS);
    while (chain_more(&ch, from)) {
    }
    n = ch.n;
    assert_int_equal(cairn_cluster_records_take(to, ch.pages, n), 0);
    records_chain_end(&ch);
    return n;
}

static void expect_equal(struct cairn_cluster_records *x, uint32_t slots, uint32_t members)
{
    struct cairn_arena a;

    assert_int_equal(cairn_cluster_records_revision(x), cairn_cluster_records_revision(&source));
    for (uint32_t i = 0; i < slots; i++) {
        struct cairn_slot_record want, have;

        assert_true(cairn_cluster_records_slot(&source, i, &want));
        assert_true(cairn_cluster_records_slot(x, i, &have));
        assert_memory_equal(&want, &have, sizeof(want));
    }
    for (uint64_t node = 1; node <= members; node++) {
        struct cairn_wire_member want, have;

        cairn_arena_init(&a, 1 << 20);
        assert_true(cairn_cluster_records_member(&source, node, &want, &a));
        assert_true(cairn_cluster_records_member(x, node, &have, &a));
        assert_string_equal(want.name, have.name);
        assert_string_equal(want.addresses[1], have.addresses[1]);
        assert_int_equal(want.inc, have.inc);
        cairn_arena_reset(&a);
    }
}

/* Pages end between changes, so nothing of one is missed; a copy of a copy is the same. */
static void a_copy_follows_in_pages(void **state)
{
    uint64_t revision = 10;

    (void)state;
    for (uint32_t i = 0; i < MEMBERS; i++)
        put_member(i + 1, 1, revision++);
    for (uint32_t i = 0; i < SLOTS; i++)
        put_slot(i, 1, revision + i / 64); /* as many as one change may write */
    cairn_cluster_records_upto(&source, revision + SLOTS / 64 + 5);
    assert_in_range(follow(&copy, &source), 6, 10);
    expect_equal(&copy, SLOTS, MEMBERS);
    follow(&third, &copy);
    expect_equal(&third, SLOTS, MEMBERS);
    assert_int_equal(follow(&copy, &source), 1);
}

/* Only what has changed is told, to whoever was there at any time. */
static void only_changes_are_told(void **state)
{
    struct cairn_wire_page page;
    struct cairn_arena a;

    (void)state;
    for (uint32_t i = 0; i < 100; i++)
        put_slot(i, 1, 5);
    put_member(3, 1, 6);
    cairn_cluster_records_upto(&source, 6);
    follow(&copy, &source);
    put_slot(17, 2, 7);
    put_member(3, 2, 8);
    put_slot(17, 3, 9);
    cairn_cluster_records_upto(&source, 9);
    cairn_arena_init(&a, 1 << 20);
    assert_int_equal(cairn_cluster_records_page(&source, 6, true, &a, &page), 0);
    assert_int_equal(page.nslots, 1);
    assert_int_equal(page.slots[0].slot, 17);
    assert_int_equal(page.slots[0].rec.epoch, 3);
    assert_int_equal(page.nmembers, 1);
    assert_int_equal(page.revision, 9);
    assert_false(page.more);
    assert_int_equal(cairn_cluster_records_page(&source, 6, false, &a, &page), 0);
    assert_int_equal(page.nslots, 1);
    assert_int_equal(page.nmembers, 0);
    cairn_arena_reset(&a);
    follow(&copy, &source);
    expect_equal(&copy, 100, 0);
}

/* A record that came by a shorter way is not replaced by an older one, and is told on when its version is known. */
static void a_hint_is_ahead_of_the_pages(void **state)
{
    struct cairn_slot_record rec = record(5, 4), have;
    struct cairn_wire_page page;
    struct cairn_arena a;

    (void)state;
    put_slot(5, 3, 2);
    cairn_cluster_records_upto(&source, 2);
    assert_true(cairn_cluster_records_hint(&copy, 0, 5, &rec));
    assert_false(cairn_cluster_records_hint(&copy, 0, 5, &rec));
    cairn_arena_init(&a, 1 << 20);
    assert_int_equal(cairn_cluster_records_page(&copy, 0, true, &a, &page), 0);
    assert_int_equal(page.nslots, 0);
    follow(&copy, &source);
    assert_true(cairn_cluster_records_slot(&copy, 5, &have));
    assert_int_equal(have.epoch, 4);
    assert_int_equal(cairn_cluster_records_page(&copy, 0, true, &a, &page), 0);
    assert_int_equal(page.nslots, 1);
    cairn_arena_reset(&a);
}

/* Of another map neither pages nor hints are taken; what was known is forgotten when it is the copy's. */
static void a_copy_is_of_one_map(void **state)
{
    struct cairn_slot_record rec = record(5, 4), have;
    struct cairn_wire_page page;
    struct cairn_arena a;

    (void)state;
    cairn_cluster_records_forget(&source, 7);
    put_slot(5, 3, 2);
    cairn_cluster_records_upto(&source, 2);
    cairn_arena_init(&a, 1 << 20);
    assert_int_equal(cairn_cluster_records_page(&source, 0, true, &a, &page), 0);
    assert_int_equal(page.map, 7);
    cairn_cluster_records_forget(&copy, 8);
    assert_int_equal(cairn_cluster_records_take(&copy, &page, 1), CAIRN_E_STATE);
    assert_false(cairn_cluster_records_hint(&copy, 7, 5, &rec));
    assert_int_equal(cairn_cluster_records_revision(&copy), 0);
    assert_false(cairn_cluster_records_slot(&copy, 5, &have));
    cairn_cluster_records_forget(&copy, 7);
    assert_int_equal(cairn_cluster_records_take(&copy, &page, 1), 0);
    assert_int_equal(cairn_cluster_records_revision(&copy), 2);
    cairn_cluster_records_forget(&copy, 8);
    assert_false(cairn_cluster_records_slot(&copy, 5, &have));
    cairn_arena_reset(&a);
}

/* Whether there is anything to be told is known before a page is made of it. */
static void news_are_known_of(void **state)
{
    (void)state;
    assert_false(cairn_cluster_records_has_news(&source, 0));
    put_slot(5, 3, 2);
    assert_false(cairn_cluster_records_has_news(&source, 0)); /* perhaps not all of that change is here */
    cairn_cluster_records_upto(&source, 9);
    assert_true(cairn_cluster_records_has_news(&source, 0) && cairn_cluster_records_has_news(&source, 1));
    assert_false(cairn_cluster_records_has_news(&source, 2));
}

static uint32_t asked(struct cluster_askers *a, const void *session, uint32_t times, uint64_t now_ns)
{
    uint32_t n = 0;

    while (times-- > 0)
        n += cluster_client_may_ask(a, session, now_ns);
    return n;
}

/* One client that asks without end has its share; others have theirs, all of them together what there is for clients,
 * and nodes lose nothing by it. */
static void a_client_uses_up_its_own(void **state)
{
    static struct cluster_askers a;
    static const char sessions[64][4096];
    uint64_t now = CAIRN_NS_PER_S;
    uint32_t n;

    (void)state;
    cluster_askers_init(&a);
    n = asked(&a, sessions[0], 100000, now);
    assert_in_range(n, 1, CLUSTER_SESSION_PAGES_PER_S);
    assert_int_equal(asked(&a, sessions[0], 1000, now), 0);
    assert_int_equal(asked(&a, sessions[1], 10, now), 10);
    assert_in_range(asked(&a, sessions[0], 100000, now + CAIRN_NS_PER_S), 1, CLUSTER_SESSION_PAGES_PER_S * 2);
    cluster_askers_init(&a);
    n = 0;
    for (uint32_t i = 0; i < ARRAY_SIZE(sessions); i++)
        n += asked(&a, sessions[i], 10000, now);
    assert_in_range(n, CLUSTER_CLIENT_PAGES_PER_S / 4, CLUSTER_CLIENT_PAGES_PER_S);
    for (uint32_t i = 0; i < CLUSTER_PEER_PAGES_PER_S / 2; i++)
        assert_true(cluster_page_may_go(&a.nodes, now));
}

/* A new coordinator puts what the store has into a copy that pages made: nobody misses what changed. */
static void a_copy_becomes_the_source(void **state)
{
    struct cairn_wire_page page;
    struct cairn_arena a;

    (void)state;
    for (uint32_t i = 0; i < 200; i++)
        put_slot(i, 1, 10 + i);
    cairn_cluster_records_upto(&source, 300);
    follow(&copy, &source); /* all of them with version 300 */
    for (uint32_t i = 0; i < 200; i++) {
        struct cairn_slot_record rec = record(i, i == 7 ? 2 : 1);

        assert_int_equal(cairn_cluster_records_put_slot(&copy, i, &rec, i == 7 ? 305 : 10 + i), 0);
    }
    cairn_cluster_records_upto(&copy, 305);
    cairn_arena_init(&a, 1 << 20);
    assert_int_equal(cairn_cluster_records_page(&copy, 300, true, &a, &page), 0);
    assert_int_equal(page.nslots, 1);
    assert_int_equal(page.slots[0].slot, 7);
    assert_int_equal(cairn_cluster_records_page(&copy, 250, true, &a, &page), 0);
    assert_int_equal(page.nslots, 200);
    cairn_arena_reset(&a);
}

static void hostile_slots_are_refused(void **state)
{
    struct cairn_wire_slot x = { .slot = CAIRN_CLUSTER_SLOTS_MAX, .rec = record(1, 1) };
    struct cairn_wire_page page = { .revision = 5, .slots = &x, .nslots = 1 };

    (void)state;
    assert_int_equal(cairn_cluster_records_take(&copy, &page, 1), CAIRN_E_LIMIT);
    assert_int_equal(cairn_cluster_records_revision(&copy), 0);
}

/* Other threads make pages while a change is put in: all of it is told, or nothing. */
static void half_a_change_is_not_told(void **state)
{
    struct cairn_wire_page page;
    struct cairn_arena a;

    (void)state;
    put_slot(1, 1, 5);
    cairn_cluster_records_upto(&source, 5);
    put_slot(2, 1, 7);
    cairn_arena_init(&a, 1 << 20);
    assert_int_equal(cairn_cluster_records_page(&source, 0, true, &a, &page), 0);
    assert_int_equal(page.nslots, 1);
    assert_int_equal(page.revision, 5);
    assert_false(page.more);
    put_slot(3, 1, 7);
    cairn_cluster_records_upto(&source, 7);
    assert_int_equal(cairn_cluster_records_page(&source, 5, true, &a, &page), 0);
    assert_int_equal(page.nslots, 2);
    assert_int_equal(page.revision, 7);
    cairn_arena_reset(&a);
}

/* What is there is told of until then, as it was: a page that says that all up to 5 is in it has what changed in 5. */
static void half_a_change_hides_nothing(void **state)
{
    struct cairn_wire_page page;
    struct cairn_arena a;

    (void)state;
    put_slot(1, 1, 5);
    put_member(1, 1, 5);
    cairn_cluster_records_upto(&source, 5);
    put_slot(1, 2, 7);
    put_member(1, 2, 7);
    cairn_arena_init(&a, 1 << 20);
    assert_int_equal(cairn_cluster_records_page(&source, 0, true, &a, &page), 0);
    assert_int_equal(page.nslots + page.nmembers, 2);
    assert_int_equal(page.slots[0].rec.epoch, 1);
    assert_int_equal(page.members[0].inc, 1);
    assert_int_equal(page.revision, 5);
    assert_int_equal(cairn_cluster_records_page(&source, 5, true, &a, &page), 0);
    assert_int_equal(page.nslots + page.nmembers, 0);
    assert_int_equal(page.revision, 5);
    put_member(1, 3, 8);
    cairn_cluster_records_upto(&source, 7);
    assert_int_equal(cairn_cluster_records_page(&source, 5, true, &a, &page), 0);
    assert_int_equal(page.nslots, 1);
    assert_int_equal(page.revision, 7);
    cairn_cluster_records_upto(&source, 8);
    assert_int_equal(cairn_cluster_records_page(&source, 7, true, &a, &page), 0);
    assert_int_equal(page.nmembers, 1);
    assert_int_equal(page.members[0].inc, 3);
    cairn_arena_reset(&a);
}

/* What is known by a hint goes out with its version, and not before: else who has it by an older page would not tell of it
 * with the right one. */
static void a_hint_makes_no_hole(void **state)
{
    struct cairn_slot_record rec = record(1, 2), have;
    struct cairn_wire_page page;
    struct cairn_arena a;

    (void)state;
    put_slot(1, 1, 5);
    put_slot(2, 1, 6);
    cairn_cluster_records_upto(&source, 6);
    follow(&copy, &source);
    assert_true(cairn_cluster_records_hint(&copy, 0, 1, &rec));
    assert_true(cairn_cluster_records_slot(&copy, 1, &have));
    assert_int_equal(have.epoch, 2);
    assert_false(cairn_cluster_records_hint(&copy, 0, 1, &rec));
    follow(&third, &copy);
    assert_true(cairn_cluster_records_slot(&third, 1, &have));
    assert_int_equal(have.epoch, 1);

    put_slot(1, 2, 9);
    cairn_cluster_records_upto(&source, 9);
    follow(&third, &source);
    follow(&copy, &source);
    expect_equal(&third, 0, 0);
    for (int i = 0; i < 2; i++) {
        cairn_arena_init(&a, 1 << 20);
        assert_int_equal(cairn_cluster_records_page(i == 0 ? &third : &copy, 6, true, &a, &page), 0);
        assert_int_equal(page.revision, 9);
        assert_int_equal(page.nslots, 1);
        assert_int_equal(page.slots[0].rec.epoch, 2);
        cairn_arena_reset(&a);
    }
}

/* Nor does a member go back to what it was where somebody is behind, and is asked all the same. */
static void a_member_does_not_go_back(void **state)
{
    struct cairn_wire_page page;
    struct cairn_wire_member m;
    struct cairn_arena a;

    (void)state;
    put_member(1, 1, 5);
    cairn_cluster_records_upto(&source, 5);
    follow(&copy, &source);
    put_member(1, 2, 7);
    cairn_cluster_records_upto(&source, 7);
    cairn_arena_init(&a, 1 << 20);
    assert_int_equal(cairn_cluster_records_page(&copy, 0, true, &a, &page), 0);
    assert_int_equal(cairn_cluster_records_take(&source, &page, 1), 0);
    assert_true(cairn_cluster_records_member(&source, 1, &m, &a));
    assert_int_equal(m.inc, 2);
    cairn_arena_reset(&a);
}

static void take_between(uint64_t since, uint64_t revision)
{
    struct cairn_wire_page page;
    struct cairn_arena a;

    cairn_arena_init(&a, 16 << 20);
    assert_int_equal(cairn_cluster_records_page(&source, since, true, &a, &page), 0);
    assert_int_equal(page.revision, revision);
    assert_false(page.more);
    assert_int_equal(cairn_cluster_records_take(&copy, &page, 1), 0);
    cairn_arena_reset(&a);
}

/* Answers to several heartbeats, each of what had changed since the same revision. Of what the copy has it knows the
 * version after all: who knows all up to one of them is told of what came behind it, and of no more. */
static void overlapping_pages_make_no_hole(void **state)
{
    enum { EACH = 400 }; /* two of them fit into a page, and three do not */
    struct cairn_wire_page page;
    struct cairn_arena a;

    (void)state;
    assert_true(2 * EACH <= CAIRN_WIRE_PAGE_SLOTS_MAX && 3 * EACH > CAIRN_WIRE_PAGE_SLOTS_MAX);
    for (uint32_t round = 0; round < 3; round++) {
        for (uint32_t i = 0; i < EACH; i++)
            put_slot(round * EACH + i, 1, 11 + round);
        put_member(round + 1, 1, 11 + round);
        cairn_cluster_records_upto(&source, 11 + round);
        take_between(round < 2 ? 0 : 11, 11 + round);
    }
    expect_equal(&copy, 3 * EACH, 3);
    cairn_arena_init(&a, 16 << 20);
    for (uint64_t since = 11; since < 13; since++) {
        assert_int_equal(cairn_cluster_records_page(&copy, since, true, &a, &page), 0);
        assert_int_equal(page.nslots, (13 - since) * EACH);
        assert_int_equal(page.nmembers, 13 - since);
    }
    assert_int_equal(cairn_cluster_records_page(&copy, 0, true, &a, &page), 0);
    assert_true(page.more);
    assert_int_equal(page.nslots, 2 * EACH);
    cairn_arena_reset(&a);
}

/* What changes while pages are read is not in those that were; until the last one is here nothing of them is taken. */
static void pages_are_taken_when_all_are_here(void **state)
{
    enum { EACH = 600 }; /* one of them fits into a page, and two do not */
    struct records_chain ch;
    struct cairn_slot_record rec;

    (void)state;
    for (uint32_t i = 0; i < 3 * EACH; i++)
        put_slot(i, 1, 11 + i / EACH);
    put_member(1, 1, 13);
    cairn_cluster_records_upto(&source, 13);
    records_chain_begin(&ch, 0, SLOTS);
    assert_true(chain_more(&ch, &source));
    assert_int_equal(records_chain_upto(&ch), 11);
    put_slot(EACH, 2, 14); /* of the second page: it is not in that one any more */
    put_slot(0, 2, 15);    /* of the first one */
    cairn_cluster_records_upto(&source, 15);
    assert_true(chain_more(&ch, &source));
    assert_int_equal(ch.pages[1].nslots, EACH - 1);
    assert_false(chain_more(&ch, &source));
    assert_int_equal(cairn_cluster_records_take(&copy, ch.pages, ch.n), 0);
    records_chain_end(&ch);
    expect_equal(&copy, 3 * EACH, 1);
    follow(&third, &copy); /* it gives them out as it took them */
    expect_equal(&third, 3 * EACH, 1);
    assert_true(cairn_cluster_records_slot(&third, 0, &rec) && rec.epoch == 2);
}

static bool page_has(const struct cairn_wire_page *page, uint32_t slot)
{
    for (uint32_t i = 0; i < page->nslots; i++) {
        if (page->slots[i].slot == slot)
            return true;
    }
    return false;
}

/* What has changed again is not in the first pages of one copy, and not yet in the rest of another one that is behind: who
 * took both would say that all is there. Nor do those go together from before and after a copy has forgotten all. */
static void pages_of_two_copies_are_not_mixed(void **state)
{
    enum { EACH = 600 };
    struct cairn_wire_page page;
    struct records_chain ch;
    struct cairn_arena a;

    (void)state;
    for (uint32_t i = 0; i < 2 * EACH; i++)
        put_slot(i, 1, 11 + i / EACH);
    cairn_cluster_records_upto(&source, 12);
    follow(&copy, &source);
    put_slot(0, 2, 13);
    cairn_cluster_records_upto(&source, 13);
    records_chain_begin(&ch, 0, SLOTS);
    assert_true(chain_more(&ch, &source));
    cairn_arena_init(&a, 16 << 20);
    assert_int_equal(cairn_cluster_records_page(&copy, records_chain_upto(&ch), true, &a, &page), 0);
    assert_false(page.more || page_has(&page, 0) || page_has(&ch.pages[0], 0));
    assert_int_equal(records_chain_add(&ch, &page), CAIRN_E_STATE);
    cairn_cluster_records_forget(&source, 0);
    put_slot(0, 2, 13);
    cairn_cluster_records_upto(&source, 13);
    assert_int_equal(cairn_cluster_records_page(&source, records_chain_upto(&ch), true, &a, &page), 0);
    assert_int_equal(records_chain_add(&ch, &page), CAIRN_E_STATE);
    cairn_arena_reset(&a);
    records_chain_end(&ch);
}

/* Pages without end are not followed. */
static void pages_that_lead_nowhere_are_refused(void **state)
{
    struct cairn_wire_slot x = { .slot = 1, .rec = record(1, 1) };
    struct cairn_wire_page page = { .revision = 5, .slots = &x, .nslots = 1, .more = true };
    struct records_chain ch;
    int rc = 0;

    (void)state;
    records_chain_begin(&ch, 5, SLOTS);
    assert_int_equal(records_chain_add(&ch, &page), CAIRN_E_INVAL);
    page.revision = 4;
    assert_int_equal(records_chain_add(&ch, &page), CAIRN_E_INVAL);
    for (page.revision = 6; rc == 0; page.revision++)
        rc = records_chain_add(&ch, &page);
    assert_int_equal(rc, CAIRN_E_NOMEM);
    assert_in_range(ch.n, SLOTS, 1 << 20); /* but those of a whole map are */
    records_chain_end(&ch);
}

/* Half of what has changed cannot be told from what was before: nobody is told that all is there. */
static void pages_that_cannot_be_taken_leave_nothing(void **state)
{
    struct cairn_wire_slot wrong = { .slot = CAIRN_CLUSTER_SLOTS_MAX, .rec = record(1, 1) };
    struct cairn_wire_page last = { .copy = 100, .revision = 12, .slots = &wrong, .nslots = 1 }, page;
    struct records_chain ch;
    struct cairn_slot_record rec;
    struct cairn_arena a;

    (void)state;
    put_slot(5, 1, 10);
    cairn_cluster_records_upto(&source, 10);
    follow(&copy, &source);
    put_slot(5, 2, 11);
    for (uint32_t i = 0; i < CAIRN_WIRE_PAGE_SLOTS_MAX; i++)
        put_slot(1000 + i, 1, 12);
    cairn_cluster_records_upto(&source, 12);
    records_chain_begin(&ch, 10, SLOTS);
    assert_true(chain_more(&ch, &source));
    assert_int_equal(records_chain_add(&ch, &last), 0);
    assert_int_equal(cairn_cluster_records_take(&copy, ch.pages, ch.n), CAIRN_E_LIMIT);
    records_chain_end(&ch);
    assert_int_equal(cairn_cluster_records_revision(&copy), 0);
    assert_false(cairn_cluster_records_slot(&copy, 5, &rec));
    cairn_arena_init(&a, 1 << 20);
    assert_int_equal(cairn_cluster_records_page(&copy, 0, true, &a, &page), 0);
    assert_int_equal(page.revision + page.nslots, 0);
    assert_true(page.copy != 200);
    cairn_arena_reset(&a);
    follow(&copy, &source);
    expect_equal(&copy, 0, 0);
    assert_true(cairn_cluster_records_slot(&copy, 5, &rec) && rec.epoch == 2);
}

/* What is more than a page is known before one is made of it. */
static void what_fits_into_a_page_is_known_of(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < CAIRN_WIRE_PAGE_SLOTS_MAX; i++)
        put_slot(i, 1, 10 + i);
    for (uint32_t i = 0; i < CAIRN_WIRE_PAGE_MEMBERS_MAX; i++)
        put_member(i + 1, 1, 2000 + i);
    cairn_cluster_records_upto(&source, 3000);
    assert_true(cairn_cluster_records_fit(&source, 0) && cairn_cluster_records_fit(&source, 3000));
    put_slot(CAIRN_WIRE_PAGE_SLOTS_MAX, 1, 3001);
    cairn_cluster_records_upto(&source, 3001);
    assert_true(!cairn_cluster_records_fit(&source, 9) && cairn_cluster_records_fit(&source, 10));
    put_member(CAIRN_WIRE_PAGE_MEMBERS_MAX + 1, 1, 3002);
    cairn_cluster_records_upto(&source, 3002);
    assert_true(!cairn_cluster_records_fit(&source, 1999) && cairn_cluster_records_fit(&source, 2000));
}

/* What a node's own replicas have to look at, however much it is. */
static void what_has_changed_is_told_at_once(void **state)
{
    uint32_t *slots, n;
    uint64_t revision;

    (void)state;
    for (uint32_t i = 0; i < SLOTS; i++)
        put_slot(i, 1, 10 + i);
    put_member(1, 1, 4000);
    cairn_cluster_records_upto(&source, 10 + SLOTS - 2);
    assert_int_equal(cairn_cluster_records_changed(&source, 0, &slots, &n, &revision), 0);
    assert_int_equal(n, SLOTS - 1); /* the last one is not all of its revision yet */
    assert_int_equal(revision, 10 + SLOTS - 2);
    free(slots);
    assert_int_equal(cairn_cluster_records_changed(&source, 10 + SLOTS - 4, &slots, &n, &revision), 0);
    assert_int_equal(n, 2);
    assert_int_equal(slots[0] + slots[1], 2 * SLOTS - 5);
    free(slots);
}

static bool is_member(uint64_t node)
{
    struct cairn_wire_member m;
    struct cairn_arena a;
    bool is;

    cairn_arena_init(&a, 1 << 16);
    is = cairn_cluster_records_member(&source, node, &m, &a);
    cairn_arena_reset(&a);
    return is;
}

/* Nor of more members than a map has. */
static void members_are_bounded(void **state)
{
    struct cairn_wire_member m = { .name = "one more", .zone = "", .host = "" };

    (void)state;
    for (uint64_t node = 1; node <= CAIRN_CLUSTER_MEMBERS_MAX; node++)
        put_member(node, 1, node);
    m.node = CAIRN_CLUSTER_MEMBERS_MAX + 1;
    assert_int_equal(cairn_cluster_records_put_member(&source, &m, m.node), CAIRN_E_LIMIT);
    put_member(CAIRN_CLUSTER_MEMBERS_MAX, 2, m.node); /* who is known goes on */
    m.node = 5; /* one is away, another lost: the coordinator has forgotten some such when there are more */
    m.state = CAIRN_WIRE_MEMBER_SILENT;
    assert_int_equal(cairn_cluster_records_put_member(&source, &m, 20000), 0);
    m.node = 4711;
    m.state = CAIRN_WIRE_MEMBER_LOST;
    assert_int_equal(cairn_cluster_records_put_member(&source, &m, 20001), 0);
    put_member(CAIRN_CLUSTER_MEMBERS_MAX + 1, 1, 20002);
    assert_true(is_member(5) && !is_member(4711) && is_member(CAIRN_CLUSTER_MEMBERS_MAX + 1));
    put_member(CAIRN_CLUSTER_MEMBERS_MAX + 2, 1, 20003);
    assert_true(!is_member(5) && is_member(4) && is_member(6) && is_member(CAIRN_CLUSTER_MEMBERS_MAX + 2));
    m.node = CAIRN_CLUSTER_MEMBERS_MAX + 3;
    assert_int_equal(cairn_cluster_records_put_member(&source, &m, 20004), CAIRN_E_LIMIT);
}

/* ---- members that are gone for good ---- */

#define DAY (86400 * CAIRN_NS_PER_S)

static void put_away(uint64_t node, enum cairn_wire_member_state state, uint64_t revision)
{
    struct cairn_wire_member m = { .node = node, .inc = 1, .name = "away", .zone = "", .host = "", .state = state };

    assert_int_equal(cairn_cluster_records_put_member(&source, &m, revision), 0);
}

/* As long as a round takes with so many of them, and a little. */
static void sweep(uint64_t *now_ns, uint32_t steps)
{
    for (uint32_t i = 0; i < steps; i++) {
        *now_ns += CAIRN_NS_PER_S;
        cairn_cluster_records_sweep(&source, *now_ns, DAY);
    }
}

/* Slots name nodes 1 to 7. Who is told of is another, whatever was found of him before. */
static void who_is_gone_for_good_is_dropped(void **state)
{
    uint64_t now_ns = 5, news;

    (void)state;
    put_member(1, 1, 10);
    put_away(2, CAIRN_WIRE_MEMBER_LOST, 11); /* but a slot names it */
    put_away(20, CAIRN_WIRE_MEMBER_LOST, 12);
    put_away(21, CAIRN_WIRE_MEMBER_SILENT, 13);
    put_away(22, CAIRN_WIRE_MEMBER_LOST, 14);
    put_member(23, 1, 15); /* it is there, and holds nothing */
    for (uint32_t i = 1; i <= 7; i++)
        put_slot(100000 + i, 1, 20 + i);
    cairn_cluster_records_upto(&source, 30);
    sweep(&now_ns, 1000);
    now_ns += DAY / 2;
    put_away(22, CAIRN_WIRE_MEMBER_LOST, 31);
    cairn_cluster_records_upto(&source, 31);
    sweep(&now_ns, 1000);
    assert_true(is_member(20) && is_member(21) && is_member(22));
    now_ns += DAY / 2;
    sweep(&now_ns, 1000);
    assert_true(!is_member(20) && !is_member(21) && is_member(22));
    assert_true(is_member(1) && is_member(2) && is_member(23));
    now_ns += DAY;
    sweep(&now_ns, 1000);
    assert_true(!is_member(22) && is_member(2) && is_member(23));
    news = follow(&copy, &source); /* what is left is told of, in order */
    assert_int_equal(news, 1);
    assert_int_equal(cairn_cluster_records_revision(&copy), 31);
    put_away(20, CAIRN_WIRE_MEMBER_UP, 40); /* one comes back */
    cairn_cluster_records_upto(&source, 40);
    follow(&copy, &source);
    assert_true(is_member(20));
}

/* However many there are, a step looks at few, and all of them go in the end. */
static void many_are_dropped_in_steps(void **state)
{
    uint32_t left = CAIRN_CLUSTER_MEMBERS_MAX, steps = 0;
    uint64_t now_ns = 5;

    (void)state;
    for (uint64_t node = 1; node <= CAIRN_CLUSTER_MEMBERS_MAX; node++)
        put_away(node, CAIRN_WIRE_MEMBER_LOST, node);
    sweep(&now_ns, 1000);
    now_ns += DAY;
    while (left > 0) {
        uint32_t before = left;

        sweep(&now_ns, 1);
        left = source.nmembers;
        assert_true(before - left <= CAIRN_RECORDS_FOUND_MAX);
        assert_true(++steps < 2000);
    }
    assert_true(cairn_list_is_empty(&source.changes));
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_copy_follows_in_pages),
        CASE(only_changes_are_told),
        CASE(a_hint_is_ahead_of_the_pages),
        CASE(a_copy_is_of_one_map),
        CASE(news_are_known_of),
        CASE(a_client_uses_up_its_own),
        CASE(a_copy_becomes_the_source),
        CASE(hostile_slots_are_refused),
        CASE(half_a_change_is_not_told),
        CASE(half_a_change_hides_nothing),
        CASE(overlapping_pages_make_no_hole),
        CASE(pages_are_taken_when_all_are_here),
        CASE(pages_of_two_copies_are_not_mixed),
        CASE(pages_that_lead_nowhere_are_refused),
        CASE(pages_that_cannot_be_taken_leave_nothing),
        CASE(what_fits_into_a_page_is_known_of),
        CASE(what_has_changed_is_told_at_once),
        CASE(a_hint_makes_no_hole),
        CASE(a_member_does_not_go_back),
        CASE(members_are_bounded),
        CASE(who_is_gone_for_good_is_dropped),
        CASE(many_are_dropped_in_steps),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
