/* The map as a client knows it: what is newer wins, whoever brings it; what is nearer is asked first; what is hostile
 * is bounded. */
#include "sdk/client/route_map.h"

#include "sdk/core/base/macros.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { SLOT = 1029 };

/* A page of one member or one slot. */
struct page {
    Cairn__Wire__ClusterRecords r;
    Cairn__Wire__MemberUpdate member, *members[1];
    Cairn__Wire__SlotUpdate slot, *slots[1];
    Cairn__Wire__SlotRecord record;
    Cairn__Wire__ReplWho who[5], *insync[5];
    char *addresses[8];
};

static const Cairn__Wire__ClusterRecords *member_page(struct page *p, uint64_t revision, uint64_t node,
                                                      const char *name, const char *host, const char *zone)
{
    cairn__wire__cluster_records__init(&p->r);
    cairn__wire__member_update__init(&p->member);
    p->r.revision = revision;
    p->r.members = p->members;
    p->members[0] = &p->member;
    p->r.n_members = 1;
    p->member.node = node;
    p->member.name = (char *)(uintptr_t)name;
    p->member.host = (char *)(uintptr_t)host;
    p->member.zone = (char *)(uintptr_t)zone;
    p->addresses[0] = (char *)(uintptr_t) "tcp://10.0.0.1:7000";
    p->addresses[1] = (char *)(uintptr_t) "unix:///run/cairn.sock";
    p->member.addresses = p->addresses;
    p->member.n_addresses = 2;
    return &p->r;
}

static const Cairn__Wire__ClusterRecords *slot_page(struct page *p, uint64_t revision, uint32_t slot, uint64_t epoch,
                                                    const uint64_t *nodes, size_t n)
{
    cairn__wire__cluster_records__init(&p->r);
    cairn__wire__slot_update__init(&p->slot);
    cairn__wire__slot_record__init(&p->record);
    p->r.revision = revision;
    p->r.slots = p->slots;
    p->slots[0] = &p->slot;
    p->r.n_slots = 1;
    p->slot.slot = slot;
    p->slot.record = &p->record;
    p->record.epoch = epoch;
    for (size_t i = 0; i < n; i++) {
        cairn__wire__repl_who__init(&p->who[i]);
        p->who[i].node = nodes[i];
        p->insync[i] = &p->who[i];
    }
    p->record.primary = &p->who[0];
    p->record.insync = p->insync;
    p->record.n_insync = n;
    return &p->r;
}

static uint64_t leader(const struct cairn_route_map *m, uint32_t slot)
{
    const struct cairn_route_slot *s = cairn_route_map_slot(m, slot);

    return s != NULL ? m->nodes[s->holders[0]]->node : 0;
}

static void newer_records_win_and_nothing_goes_back(void **state)
{
    const uint64_t a[] = { 7, 8 }, b[] = { 8, 7 }, c[] = { 9 };
    struct cairn_route_map m;
    struct page p;

    (void)state;
    cairn_route_map_init(&m, "h");
    assert_null(cairn_route_map_slot(&m, SLOT));
    assert_int_equal(cairn_route_map_take(&m, slot_page(&p, 20, SLOT, 3, a, 2)), 0);
    assert_int_equal(leader(&m, SLOT), 7);
    assert_int_equal(m.revision, 20);
    assert_int_equal(cairn_route_map_take(&m, slot_page(&p, 30, SLOT, 4, b, 2)), 0);
    assert_int_equal(leader(&m, SLOT), 8);
    /* A node that is behind tells of an older record, and of an older revision. */
    assert_int_equal(cairn_route_map_take(&m, slot_page(&p, 25, SLOT, 3, a, 2)), 0);
    assert_int_equal(leader(&m, SLOT), 8);
    assert_int_equal(m.revision, 30);
    /* The same epoch never has two records: the first one stays. */
    assert_int_equal(cairn_route_map_take(&m, slot_page(&p, 31, SLOT, 4, c, 1)), 0);
    assert_int_equal(leader(&m, SLOT), 8);
    /* A slot's record may come by a shorter way than its revision. */
    assert_int_equal(cairn_route_map_take(&m, slot_page(&p, 22, SLOT, 5, c, 1)), 0);
    assert_int_equal(leader(&m, SLOT), 9);
    assert_int_equal(m.revision, 31);

    /* Nothing is all there before the last page is. */
    slot_page(&p, 40, SLOT, 6, a, 2);
    p.r.more = true;
    assert_int_equal(cairn_route_map_take(&m, &p.r), 0);
    assert_int_equal(m.slots[SLOT].epoch, 6);
    assert_int_equal(m.revision, 31);
    p.r.more = false;
    assert_int_equal(cairn_route_map_take(&m, &p.r), 0);
    assert_int_equal(m.revision, 40);
    cairn_route_map_fini(&m);
}

static void a_node_is_where_the_newest_page_says(void **state)
{
    const char *addresses[ROUTE_ADDRS_MAX];
    struct cairn_route_map m;
    struct page p;
    uint32_t edition;
    int place;

    (void)state;
    cairn_route_map_init(&m, "here");
    assert_int_equal(cairn_route_map_place(&m, 7), -1);
    assert_int_equal(cairn_route_map_take(&m, member_page(&p, 10, 7, "seven", "here", "")), 0);
    place = cairn_route_map_place(&m, 7);
    edition = m.nodes[place]->edition;
    assert_int_equal(cairn_route_map_take(&m, member_page(&p, 12, 7, "seven", "here", "")), 0);
    assert_int_equal(m.nodes[place]->edition, edition); /* nothing has changed: connections stay */
    member_page(&p, 11, 7, "seven", "here", "");
    p.addresses[0] = (char *)(uintptr_t) "tcp://10.0.0.2:7000";
    assert_int_equal(cairn_route_map_take(&m, &p.r), 0);
    assert_string_equal(m.nodes[place]->addresses[0], "tcp://10.0.0.1:7000");
    p.r.revision = 13;
    assert_int_equal(cairn_route_map_take(&m, &p.r), 0);
    assert_string_equal(m.nodes[place]->addresses[0], "tcp://10.0.0.2:7000");
    assert_int_equal(m.nodes[place]->edition, edition + 1);
    /* Places stay, whoever comes. */
    assert_int_equal(cairn_route_map_take(&m, member_page(&p, 14, 3, "three", "there", "")), 0);
    assert_int_equal(cairn_route_map_take(&m, member_page(&p, 14, 99, "99", "", "")), 0);
    assert_int_equal(cairn_route_map_place(&m, 7), place);

    /* On our machine its socket first, elsewhere only what reaches there; where it is not known, all. */
    assert_int_equal(cairn_route_map_addresses(&m, (uint16_t)place, addresses), 2);
    assert_string_equal(addresses[0], "unix:///run/cairn.sock");
    assert_int_equal(cairn_route_map_addresses(&m, (uint16_t)cairn_route_map_place(&m, 3), addresses), 1);
    assert_string_equal(addresses[0], "tcp://10.0.0.1:7000");
    assert_int_equal(cairn_route_map_addresses(&m, (uint16_t)cairn_route_map_place(&m, 99), addresses), 2);
    cairn_route_map_fini(&m);
}

static bool not_this(void *arg, uint16_t place)
{
    return place != *(uint16_t *)arg;
}

static void the_nearest_holder_is_asked(void **state)
{
    const uint64_t holders[] = { 1, 2, 3, 4 };
    const struct cairn_route_slot *s;
    struct cairn_route_map m;
    struct page p;
    uint16_t place;

    (void)state;
    cairn_route_map_init(&m, "here");
    cairn_route_map_take(&m, slot_page(&p, 5, SLOT, 1, holders, 4));
    s = cairn_route_map_slot(&m, SLOT);
    assert_int_equal(s->nholders, 4);
    assert_int_equal(cairn_route_map_nearest(&m, s, NULL, NULL), s->holders[0]); /* nothing is known of any */
    cairn_route_map_take(&m, member_page(&p, 6, 1, "1", "far", "z1"));
    cairn_route_map_take(&m, member_page(&p, 7, 2, "2", "silent", "z2"));
    assert_int_equal(cairn_route_map_nearest(&m, s, NULL, NULL), s->holders[0]); /* equally far: whoever leads */
    cairn_route_map_take(&m, member_page(&p, 8, 9, "9", "here", "z2"));          /* and so our zone is z2 */
    assert_int_equal(cairn_route_map_nearest(&m, s, NULL, NULL), s->holders[1]);
    cairn_route_map_take(&m, member_page(&p, 9, 4, "4", "here", "z2"));
    place = cairn_route_map_nearest(&m, s, NULL, NULL);
    assert_int_equal(place, s->holders[3]);
    assert_int_equal(cairn_route_map_nearest(&m, s, not_this, &place), s->holders[1]);
    cairn_route_map_fini(&m);
}

static void what_is_hostile_is_bounded(void **state)
{
    const uint64_t one[] = { 1 }, zero[] = { 0 };
    char *text = malloc(1000);
    struct cairn_route_map m;
    struct page p;
    int rc = 0;

    (void)state;
    memset(text, 'x', 999);
    text[999] = '\0';
    cairn_route_map_init(&m, "");
    assert_int_equal(cairn_route_map_take(&m, slot_page(&p, 5, ROUTE_SLOTS_MAX, 1, one, 1)), 0);
    assert_int_equal(cairn_route_map_take(&m, slot_page(&p, 5, UINT32_MAX, 1, one, 1)), 0);
    assert_int_equal(cairn_route_map_take(&m, slot_page(&p, 5, SLOT, 1, zero, 1)), 0);
    slot_page(&p, 5, SLOT, 1, one, 1);
    p.record.primary = NULL;
    assert_int_equal(cairn_route_map_take(&m, &p.r), 0);
    p.slot.record = NULL;
    assert_int_equal(cairn_route_map_take(&m, &p.r), 0);
    assert_null(cairn_route_map_slot(&m, SLOT));
    assert_int_equal(m.nslots, 0);
    assert_int_equal(cairn_route_map_take(&m, member_page(&p, 5, 7, text, "", "")), 0);
    assert_int_equal(cairn_route_map_take(&m, member_page(&p, 5, 0, "n", "", "")), 0);
    assert_int_equal(m.nnodes, 0);
    member_page(&p, 5, 7, "n", "", "");
    p.member.n_addresses = 8; /* more than are looked at */
    for (int i = 0; i < 8; i++)
        p.addresses[i] = (char *)(uintptr_t) "tcp://10.0.0.1:1";
    assert_int_equal(cairn_route_map_take(&m, &p.r), 0);
    assert_int_equal(m.nodes[0]->naddresses, ROUTE_ADDRS_MAX);
    for (uint64_t node = 100; rc == 0 && node < 100 + 2 * CAIRN_MEMBERS_MAX; node++)
        rc = cairn_route_map_take(&m, slot_page(&p, 6, SLOT, node, &node, 1));
    assert_int_equal(rc, CAIRN_E_LIMIT);
    assert_int_equal(m.nnodes, CAIRN_MEMBERS_MAX);
    assert_int_equal(leader(&m, SLOT), 100 + CAIRN_MEMBERS_MAX - 2); /* the last that was taken as a whole */
    cairn_route_map_fini(&m);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(newer_records_win_and_nothing_goes_back),
        cmocka_unit_test(a_node_is_where_the_newest_page_says),
        cmocka_unit_test(the_nearest_holder_is_asked),
        cmocka_unit_test(what_is_hostile_is_bounded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
