/* Regions of large values: a node has them before it has what names them, whoever it gets them from. */
#include "server/cluster/service/fetch.h"
#include "server/cluster/service/store_page.h"
#include "tests/unit/cluster/nodes_world.h"

#include <sys/un.h>

struct large {
    struct asked a;
    struct cairn_cluster_write cw;
    uint8_t record[CAIRN_RECORD_EXTENTS_HEAD_BYTES + CAIRN_RECORD_REGION_BYTES];
};

/* A write of @key by node @i, whose record names region @id. */
static void large_put(struct world *w, struct large *x, uint32_t i, uint32_t slot, const char *key, uint64_t id)
{
    struct cairn_record_region region = { .id = id, .len = LEN };

    cairn_record_put_extents(x->record, 0, &region, 1);
    x->a = (struct asked){ 0 };
    x->cw = (struct cairn_cluster_write){ .cluster = w->nodes[i].c,
                                          .slot = slot,
                                          .op = CAIRN_CLUSTER_PUT,
                                          .ns = NS,
                                          .write_once = true,
                                          .sync = true,
                                          .number = id,
                                          .key = (const uint8_t *)key,
                                          .key_len = (uint32_t)strlen(key),
                                          .record = x->record,
                                          .record_len = sizeof(x->record),
                                          .timeout_ns = 10 * CAIRN_NS_PER_S,
                                          .done = on_written,
                                          .arg = &x->a };
    cairn_cluster_write(&x->cw);
}

static void on_spread(struct cairn_cluster_spread *s, int rc)
{
    struct asked *a = s->arg;

    a->done = true;
    a->rc = rc;
}

struct names {
    bool done;
    int rc;
    uint32_t n;
    uint64_t ids[16];
};

static void on_name(void *arg, uint64_t id)
{
    struct names *x = arg;

    x->ids[x->n++] = id;
}

static void on_named(void *arg, int rc)
{
    struct names *x = arg;

    x->done = true;
    x->rc = rc;
}

/* By the map itself: what nodes know of it is older. */
static bool is_member(struct world *w, uint32_t slot, uint32_t i)
{
    WHILE_PATIENT (true) {
        for (uint32_t k = 0; k < NODES; k++) {
            const struct cairn_coordinator *co = w->nodes[k].c->coordinator;
            const struct cairn_slot_record *rec = &co->coord.slots[slot].rec;

            if (!cairn_coordinator_is_serving(co))
                continue;
            for (uint32_t at = 0; at < rec->ninsync; at++) {
                if (rec->insync[at].node == i + 1)
                    return true;
            }
            return false;
        }
        turn(w); /* another is elected */
    }
}

static uint32_t member_other_than(struct world *w, uint32_t slot, uint32_t i)
{
    struct cairn_slot_record rec;

    WHILE_PATIENT (true) { /* it may have been silent, and out for a moment */
        assert_true(cairn_cluster_records_slot(w->nodes[i].c->records, slot, &rec));
        if (rec.ninsync == 2)
            break;
        turn(w);
    }
    return (uint32_t)rec.insync[rec.insync[0].node == i + 1 ? 1 : 0].node - 1;
}

/* It may be so on a busy machine, where a node was silent: who leads has no lease for a moment, or another leads. */
static bool is_refused(int rc)
{
    return rc == CAIRN_E_BUSY || rc == CAIRN_E_MOVED || rc == CAIRN_E_TIMEOUT;
}

/* Region @id is on its way to the member: nobody acknowledges the entry that names it. False: the write was refused
 * before that could be seen. */
static bool an_entry_waits(struct world *w, uint32_t slot, uint64_t id, uint32_t *member)
{
    uint32_t i = leader_of(w, slot), k = member_other_than(w, slot, i), reads = w->nodes[i].extents.reads;
    struct extents *leads = &w->nodes[i].extents, *other = &w->nodes[k].extents;
    struct large x;
    char key[16];

    *member = k;
    snprintf(key, sizeof(key), "k%u", (unsigned)id);
    extents_add(leads, id);
    other->held = NULL;
    other->holds = true;
    large_put(w, &x, i, slot, key, id);
    WHILE_PATIENT (other->held == NULL && !(x.a.done && x.a.rc != 0))
        turn(w);
    for (int n = 0; n < 100 && !(x.a.done && x.a.rc != 0); n++) {
        turn(w);
        assert_true(!x.a.done || x.a.rc != 0 || !is_member(w, slot, k)); /* given up: it takes too long */
    }
    other->holds = false;
    if (other->held != NULL)
        region_stored(other, other->held);
    turns(w, &x.a.done);
    if (is_refused(x.a.rc))
        return false;
    assert_int_equal(x.a.rc, 0);
    assert_int_equal(leads->reads, reads + 1); /* however often the entry came */
    return true;
}

static bool is_named(const struct names *x, uint64_t id)
{
    for (uint32_t i = 0; i < x->n; i++) {
        if (x->ids[i] == id)
            return true;
    }
    return false;
}

/* I11: nobody has an entry, so nobody acknowledges it, before he has what it names. */
static void an_entry_waits_for_its_region(void **state)
{
    enum { FIRST = 77, LAST = FIRST + 9, NOWHERE = 99 };
    struct world *w = *state;
    struct names names = { 0 };
    struct cairn_cluster_named named = { .fn = on_name, .done = on_named, .arg = &names };
    struct large x;
    uint64_t id = FIRST;
    uint32_t slot, k;

    expect_leases(w);
    create_class(w, 2);
    assert_true(cairn_cluster_slot(w->nodes[0].c, 2, "k", 1, &slot));
    assert_int_equal(put_somewhere(w, slot, "first", "one"), 0);
    while (!an_entry_waits(w, slot, id, &k)) {
        assert_true(id < LAST);
        id++;
    }

    /* What the one that leads has no more, though its log names it, nobody waits for. */
    do {
        large_put(w, &x, leader_of(w, slot), slot, "nowhere", NOWHERE);
        turns(w, &x.a.done);
    } while (is_refused(x.a.rc));
    assert_int_equal(x.a.rc, 0);

    /* The sweeper hears of both, at either. */
    WHILE_PATIENT (!is_named(&names, id) || !is_named(&names, NOWHERE)) {
        names = (struct names){ 0 };
        named.cluster = w->nodes[k].c;
        cairn_cluster_named(&named);
        turns(w, &names.done);
        assert_int_equal(names.rc, 0);
    }
}

static void on_region_answer(struct cairn_rpc_call *call)
{
    *(bool *)call->arg = true;
}

/* What node @i says when node @k asks it for a region that it has not, and that its process @inc is said to name. */
static int ask_for_nothing(struct world *w, uint32_t k, uint32_t i, uint32_t slot, uint64_t epoch, uint64_t inc)
{
    Cairn__Wire__ClusterRegion m = CAIRN__WIRE__CLUSTER_REGION__INIT;
    struct cairn_bulk_region exposed = { 0 };
    struct cairn_rpc_call call = { 0 };
    struct cairn_err err = { 0 };
    uint8_t bytes[LEN];
    bool done = false;

    assert_int_equal(cairn_bulk_expose(w->nodes[k].kv.rpc, bytes, LEN, CAIRN_BULK_CAN_WRITE, &exposed), 0);
    assert_true(cairn_cluster__peer(w->nodes[k].c, 0, i + 1, &call.dest));
    m.id = 79;
    m.length = LEN;
    m.bulk = &exposed.desc;
    m.slot = slot;
    m.epoch = epoch;
    m.inc = inc;
    call.iface = &cairn_iface_cluster;
    call.provider = CAIRN_PROVIDER_CLUSTER;
    call.method = CAIRN__WIRE__CLUSTER_METHOD__CLUSTER_REGION_READ;
    call.msg = &m.base;
    call.timeout_ns = 10 * CAIRN_NS_PER_S;
    call.done = on_region_answer;
    call.arg = &done;
    call.err = &err;
    cairn_rpc_call_start(&call);
    turns(w, &done);
    cairn_bulk_conceal(&exposed);
    return call.rc;
}

/* Whoever has cut an entry from its log, or lost it, has no region of it, and others may have both: only the process
 * that leads in the epoch of the message says that nobody needs to wait (tests/models/repl.pml, -DREGIONS). */
static void only_who_leads_says_that_a_region_is_gone(void **state)
{
    struct world *w = *state;
    struct cairn_slot_record rec;
    uint32_t slot, i, k;
    int rc;

    expect_leases(w);
    create_class(w, 2);
    assert_true(cairn_cluster_slot(w->nodes[0].c, 2, "k", 1, &slot));
    assert_int_equal(put_somewhere(w, slot, "first", "one"), 0);
    i = leader_of(w, slot);
    k = member_other_than(w, slot, i);
    do { /* the slot may take another epoch meanwhile */
        assert_true(cairn_cluster_records_slot(w->nodes[i].c->records, slot, &rec));
        assert_int_equal(rec.primary.node, i + 1);
        assert_int_equal(ask_for_nothing(w, k, i, slot, rec.epoch - 1, rec.primary.inc), CAIRN_E_STATE);
        assert_int_equal(ask_for_nothing(w, k, i, slot, rec.epoch, rec.primary.inc + 1), CAIRN_E_STATE);
        assert_int_equal(ask_for_nothing(w, k, i, slot, 0, 0), CAIRN_E_STATE); /* nothing names it yet */
        for (uint32_t n = 0; n < rec.ninsync; n++) {
            if (rec.insync[n].node == k + 1) /* it holds the slot, and does not lead */
                assert_int_equal(ask_for_nothing(w, i, k, slot, rec.epoch, rec.insync[n].inc), CAIRN_E_STATE);
        }
        rc = ask_for_nothing(w, k, i, slot, rec.epoch, rec.primary.inc);
    } while (rc == CAIRN_E_STATE && cairn_cluster_records_slot(w->nodes[i].c->records, slot, &rec) &&
             rec.primary.node == i + 1);
    assert_int_equal(rc, CAIRN_E_NOTFOUND);
}

static void members_fetch_what_they_are_told_of(void **state)
{
    struct world *w = *state;
    struct cairn_record_region regions[] = { { 11, LEN }, { 12, LEN }, { 13, LEN } };
    struct asked a = { 0 };
    struct cairn_cluster_spread s = { .owner = CAIRN_REGION_OWNER_TAG | NS,
                                      .regions = regions,
                                      .nregions = 3,
                                      .timeout_ns = 10 * CAIRN_NS_PER_S,
                                      .done = on_spread,
                                      .arg = &a };
    uint64_t ids[] = { 10, 11, 12, 13, 14 };
    uint32_t i, k;

    expect_leases(w);
    create_class(w, 2);
    assert_true(cairn_cluster_slot(w->nodes[0].c, 2, "k", 1, &s.slot));
    assert_int_equal(put_somewhere(w, s.slot, "first", "one"), 0);
    i = leader_of(w, s.slot);
    k = member_other_than(w, s.slot, i);
    for (uint32_t n = 0; n < 3; n++)
        extents_add(&w->nodes[i].extents, regions[n].id);
    extents_add(&w->nodes[k].extents, 12); /* it is there from another time */

    s.cluster = w->nodes[k].c;
    cairn_cluster_spread(&s);
    turns(w, &a.done);
    assert_int_equal(a.rc, CAIRN_E_MOVED);
    for (int n = 0; n < 2; n++) { /* the second time there is nothing to be done */
        a.done = false;
        s.cluster = w->nodes[i].c;
        cairn_cluster_spread(&s);
        assert_false(a.done);
        turns(w, &a.done);
        assert_int_equal(a.rc, 0);
        assert_int_equal(w->nodes[k].extents.n, 3);
        assert_int_equal(w->nodes[i].extents.reads, 2);
    }

    /* Pinned, they are not the sweeper's; and what is the sweeper's cannot be pinned. */
    cairn_cluster_sweep_begin(w->nodes[k].c);
    assert_int_equal(cairn_cluster_doom(w->nodes[k].c, ids, 5), 2);
    assert_true(ids[0] == 10 && ids[1] == 14);
    assert_int_equal(cairn_cluster_region_note(w->nodes[k].c, 14), CAIRN_E_BUSY);
    cairn_cluster_spare(w->nodes[k].c);
    assert_int_equal(cairn_cluster_region_note(w->nodes[k].c, 14), 0);
}

static const char *text_of(const json_t *status, const char *name)
{
    const char *text = json_string_value(json_object_get(status, name));

    return text != NULL ? text : "";
}

static json_t *status_of(const struct node *n)
{
    json_t *status = json_object();

    cairn_cluster_desc.status(n->ctx, status);
    return status;
}

/* When the table of pins is full, people are told so, until a sweep has let some go. */
static void who_can_pin_no_more_says_so(void **state)
{
    struct world *w = *state;
    struct node *n = &w->nodes[0];
    json_t *status;

    expect_leases(w);
    for (uint64_t id = 1; id <= REGIONS_MAX; id++)
        assert_int_equal(cairn_cluster_region_note(n->c, id), 0);
    assert_int_equal(cairn_cluster_region_note(n->c, 7), 0);
    status = status_of(n);
    assert_string_equal(text_of(status, "problem"), "");
    json_decref(status);

    assert_int_equal(cairn_cluster_region_note(n->c, REGIONS_MAX + 1), CAIRN_E_BUSY);
    status = status_of(n);
    assert_string_equal(text_of(status, "health"), "degraded");
    assert_non_null(strstr(text_of(status, "problem"), "next sweep"));
    assert_int_equal(json_integer_value(json_object_get(status, "regions_pinned")), REGIONS_MAX);
    assert_int_equal(json_integer_value(json_object_get(status, "regions_refused")), 1);
    json_decref(status);

    cairn_cluster_region_named(n->c, 5);
    cairn_cluster_sweep_begin(n->c);
    status = status_of(n);
    assert_string_equal(text_of(status, "problem"), "");
    assert_int_equal(json_integer_value(json_object_get(status, "regions_pinned")), REGIONS_MAX - 1);
    json_decref(status);
    assert_int_equal(cairn_cluster_region_note(n->c, REGIONS_MAX + 1), 0);
}

/* A slot of two replicas: it is led from node lead, member is in sync, third is neither. */
struct trio {
    uint32_t slot, lead, member, third;
};

static struct trio trio_of(struct world *w)
{
    struct trio t = { 0 };

    expect_leases(w);
    create_class(w, 2);
    assert_true(cairn_cluster_slot(w->nodes[0].c, 2, "k", 1, &t.slot));
    assert_int_equal(put_somewhere(w, t.slot, "first", "one"), 0);
    t.lead = leader_of(w, t.slot);
    t.member = member_other_than(w, t.slot, t.lead);
    t.third = NODES - t.lead - t.member;
    return t;
}

/* One node asks another to have @n regions, which follow @first, and names who has them. */
struct telling {
    Cairn__Wire__ClusterRegions msg;
    struct asked a;
    struct cairn_err err;
    struct cairn_rpc_call call;
    uint64_t ids[8];
    uint32_t lengths[8];
};

static void tell(struct world *w, struct telling *x, uint32_t slot, uint32_t to, uint32_t has, uint64_t first,
                 uint32_t n)
{
    memset(x, 0, sizeof(*x));
    cairn__wire__cluster_regions__init(&x->msg);
    for (uint32_t i = 0; i < n; i++) {
        x->ids[i] = first + i;
        x->lengths[i] = LEN;
    }
    x->msg.slot = slot;
    x->msg.node = has + 1;
    x->msg.owner = CAIRN_REGION_OWNER_TAG | NS;
    x->msg.ids = x->ids;
    x->msg.lengths = x->lengths;
    x->msg.n_ids = x->msg.n_lengths = n;
    x->call = (struct cairn_rpc_call){ .dest.rpc = w->nodes[to].kv.rpc,
                                       .iface = &cairn_iface_cluster,
                                       .provider = CAIRN_PROVIDER_CLUSTER,
                                       .method = CAIRN__WIRE__CLUSTER_METHOD__CLUSTER_REGIONS,
                                       .msg = &x->msg.base,
                                       .timeout_ns = 60 * CAIRN_NS_PER_S,
                                       .done = on_asked,
                                       .err = &x->err,
                                       .arg = &x->a };
    cairn_rpc_call_start(&x->call);
}

static void turns_until_reads(struct world *w, const struct extents *x, uint32_t n)
{
    WHILE_PATIENT (x->reads < n)
        turn(w);
}

/* A write that names region @id is done, though members may have been removed and come back on its way. */
static void large_put_is_done(struct world *w, const struct trio *t, const char *key, uint64_t id)
{
    struct large x;

    do {
        large_put(w, &x, leader_of(w, t->slot), t->slot, key, id);
        turns(w, &x.a.done);
    } while (is_refused(x.a.rc));
    assert_int_equal(x.a.rc, 0);
}

static void turns_until_it_has(struct world *w, uint32_t i, uint64_t id)
{
    WHILE_PATIENT (!extents_has(&w->nodes[i].extents, id))
        turn(w);
}

/* Whoever was said to have a region is gone: another that is in sync has it. */
static void another_has_what_a_dead_node_had(void **state)
{
    struct world *w = *state;
    struct trio t = trio_of(w);
    struct telling told;

    extents_add(&w->nodes[t.lead].extents, 21);
    node_stop(w, t.third);
    tell(w, &told, t.slot, t.member, t.third, 21, 1);
    turns(w, &told.a.done);
    assert_int_equal(told.a.rc, 0);
    assert_true(extents_has(&w->nodes[t.member].extents, 21));
    tell(w, &told, t.slot, t.member, t.third, 22, 1); /* which nobody has */
    turns(w, &told.a.done);
    assert_int_equal(told.a.rc, CAIRN_E_BUSY);
}

/* The machine of node @i dies: connections with it break, and it does nothing any more. */
static void die(struct world *w, uint32_t i)
{
    for (int fd = 3; fd < 1024; fd++) {
        struct sockaddr_un to = { 0 };
        socklen_t len = sizeof(to) - 1;

        if (getpeername(fd, (struct sockaddr *)&to, &len) == 0 && to.sun_family == AF_UNIX &&
            strcmp(to.sun_path, w->nodes[i].address + strlen("unix://")) == 0)
            assert_int_equal(shutdown(fd, SHUT_RDWR), 0);
    }
    w->nodes[i].up = false;
}

/* Likewise of one that dies while it gives it. */
static void a_node_dies_while_it_gives_a_region(void **state)
{
    struct world *w = *state;
    struct trio t = trio_of(w);
    struct extents *dies = &w->nodes[t.third].extents;
    struct telling told;

    dies->holds_reads = true;
    extents_add(dies, 21);
    extents_add(&w->nodes[t.lead].extents, 21);
    tell(w, &told, t.slot, t.member, t.third, 21, 1);
    turns_until_reads(w, dies, 1);
    die(w, t.third);
    turns(w, &told.a.done);
    assert_int_equal(told.a.rc, 0);
    assert_true(extents_has(&w->nodes[t.member].extents, 21));
    w->nodes[t.third].up = true; /* to be stopped */
}

/* A node that does not answer holds less than all of the memory, so what others have comes all the same. */
static void a_node_that_hangs_does_not_hold_others_up(void **state)
{
    struct world *w = *state;
    struct trio t = trio_of(w);
    struct extents *hangs = &w->nodes[t.third].extents;
    struct telling slow, quick;

    hangs->holds_reads = true;
    for (uint64_t id = 31; id < 37; id++)
        extents_add(hangs, id);
    extents_add(&w->nodes[t.lead].extents, 41);
    tell(w, &slow, t.slot, t.member, t.third, 31, 6);
    turns_until_reads(w, hangs, 3);
    tell(w, &quick, t.slot, t.member, t.lead, 41, 1);
    turns(w, &quick.a.done);
    assert_int_equal(quick.a.rc, 0);
    reads_go_on(hangs);
    turns(w, &slow.a.done);
    assert_int_equal(slow.a.rc, 0);
    for (uint64_t id = 31; id < 37; id++)
        assert_true(extents_has(&w->nodes[t.member].extents, id));
}

/* A node that was said to have a region, and has it not, says nothing of the one that names it. */
static void a_stranger_is_not_believed_that_a_region_is_gone(void **state)
{
    struct world *w = *state;
    struct trio t = trio_of(w);
    struct telling told;

    tell(w, &told, t.slot, t.member, t.third, 51, 1);
    turns(w, &told.a.done);
    assert_int_equal(told.a.rc, CAIRN_E_BUSY);
    tell(w, &told, t.slot, t.member, t.lead, 51, 1); /* nor one that is in sync, before anything names it */
    turns(w, &told.a.done);
    assert_int_equal(told.a.rc, CAIRN_E_BUSY);
    extents_add(&w->nodes[t.lead].extents, 51);
    large_put_is_done(w, &t, "k", 51);
    turns_until_it_has(w, t.member, 51);
}

/* What is here under a region's name and is not the region gives way to what a member has. */
static void a_damaged_region_is_replaced(void **state)
{
    struct world *w = *state;
    struct trio t = trio_of(w);
    struct extents *lead = &w->nodes[t.lead].extents, *member = &w->nodes[t.member].extents;
    struct telling told;

    for (uint64_t id = 61; id < 64; id++) {
        extents_add(lead, id);
        extents_add(member, id);
    }
    member->damaged = 61;
    member->longer = 62;
    member->foreign = 63;
    tell(w, &told, t.slot, t.member, t.lead, 61, 3); /* upon a rumour nothing is removed */
    turns(w, &told.a.done);
    assert_int_equal(told.a.rc, CAIRN_E_BUSY);
    assert_int_equal(member->removes, 0);
    large_put_is_done(w, &t, "damaged", 61);
    WHILE_PATIENT (member->damaged != 0 || !extents_has(member, 61))
        turn(w);
    large_put_is_done(w, &t, "longer", 62);
    WHILE_PATIENT (member->longer != 0 || !extents_has(member, 62))
        turn(w);
    assert_int_equal(member->removes, 2);
    large_put_is_done(w, &t, "foreign", 63); /* another's stays, and the member cannot follow */
    WHILE_PATIENT (is_member(w, t.slot, t.member))
        turn(w);
    assert_int_equal(member->removes, 2);
}

/* A page of a copy that @t's leader sends to its member, with a record that names region @id: whether it is taken. */
static bool page_is_taken(struct world *w, const struct trio *t, uint64_t id)
{
    struct cairn_record_region region = { .id = id, .len = LEN };
    uint8_t record[CAIRN_RECORD_EXTENTS_HEAD_BYTES + CAIRN_RECORD_REGION_BYTES], index[STORE_INDEX_VALUE_BYTES] = { 0 };
    uint8_t page[256];
    struct store_page_record r = { .ns = NS,
                                   .key = (const uint8_t *)"k",
                                   .key_len = 1,
                                   .index = index,
                                   .record = record,
                                   .record_len = sizeof(record) };
    struct cairn_repl_msg m = { .kind = CAIRN_REPL_COPY,
                                .slot = t->slot,
                                .from.node = t->lead + 1,
                                .number = 1,
                                .part = CAIRN_COPY_RECORDS,
                                .bytes = page,
                                .len = (uint32_t)store_page_bytes(&r) };

    assert_true(m.len <= sizeof(page));
    cairn_record_put_extents(record, 0, &region, 1);
    store_page_put(&r, page);
    assert_true(cluster_fetch_admit(&w->nodes[t->member].c->side->workers[0].fetches, &m));
    return m.number != 0;
}

/* Regions of a copy leave a node no faster than copies may, and wait without holding up what is in a hurry. */
static void regions_of_copies_keep_their_rate(void **state)
{
    enum { N = 4, RATE = LEN * 20 };
    struct world *w = *state;
    struct trio t = trio_of(w);
    struct extents *lead = &w->nodes[t.lead].extents;
    struct cluster_pace *pace = &w->nodes[t.lead].c->side->pace;
    uint64_t began = cairn_env_now_ns(&w->loop.env), before = atomic_load(&pace->bytes_sent);
    struct telling told;

    for (uint64_t id = 71; id < 71 + N + 2; id++)
        extents_add(lead, id);
    pace->bytes_per_s = RATE;
    for (uint64_t id = 71; id < 71 + N; id++)
        assert_false(page_is_taken(w, &t, id));
    for (uint64_t id = 71; id < 71 + N; id++) {
        turns_until_it_has(w, t.member, id);
        assert_true(page_is_taken(w, &t, id));
    }
    assert_int_equal(atomic_load(&pace->bytes_sent) - before, N * LEN);
    assert_true(cluster_pace_free_ns(pace) >= began + N * (LEN * CAIRN_NS_PER_S / RATE));
    assert_true(cairn_env_now_ns(&w->loop.env) >= began + (N - 1) * (LEN * CAIRN_NS_PER_S / RATE));

    /* Much is to be paid for: a copy's waits, and comes when it is; another's does not. */
    atomic_store(&pace->free_ns, UINT64_MAX / 2);
    assert_false(page_is_taken(w, &t, 71 + N));
    tell(w, &told, t.slot, t.member, t.lead, 71 + N + 1, 1);
    turns(w, &told.a.done);
    assert_int_equal(told.a.rc, 0);
    assert_false(extents_has(&w->nodes[t.member].extents, 71 + N));
    assert_int_equal(atomic_load(&pace->bytes_sent) - before, N * LEN);
    atomic_store(&pace->free_ns, began);
    turns_until_it_has(w, t.member, 71 + N);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(an_entry_waits_for_its_region, setup, teardown),
        cmocka_unit_test_setup_teardown(only_who_leads_says_that_a_region_is_gone, setup, teardown),
        cmocka_unit_test_setup_teardown(members_fetch_what_they_are_told_of, setup, teardown),
        cmocka_unit_test_setup_teardown(another_has_what_a_dead_node_had, setup, teardown),
        cmocka_unit_test_setup_teardown(a_node_dies_while_it_gives_a_region, setup, teardown),
        cmocka_unit_test_setup_teardown(a_node_that_hangs_does_not_hold_others_up, setup, teardown),
        cmocka_unit_test_setup_teardown(a_stranger_is_not_believed_that_a_region_is_gone, setup, teardown),
        cmocka_unit_test_setup_teardown(a_damaged_region_is_replaced, setup, teardown),
        cmocka_unit_test_setup_teardown(regions_of_copies_keep_their_rate, setup, teardown),
        cmocka_unit_test_setup_teardown(who_can_pin_no_more_says_so, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
