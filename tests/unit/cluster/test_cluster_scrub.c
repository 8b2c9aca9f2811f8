/* Replicas are compared: what is bad by its own checksums is repaired from a good copy, what looks good and differs is
 * told, and what is in use is let alone. Damage is done below the replicas, at the KV provider. */
#include "server/cluster/service/scrub_internal.h"
#include "tests/unit/cluster/nodes_world.h"

enum { RECORD_ROOM = 256 };

/* The pair that a story is of: replicas of a slot, the first of which leads it. */
static uint32_t slot, nodes[2];

struct record {
    uint8_t bytes[RECORD_ROOM];
    uint32_t len;
};

static struct record embedded(const char *value)
{
    struct record r = { .len = (uint32_t)cairn_record_embedded_bytes(strlen(value)) };

    assert_true(r.len <= RECORD_ROOM);
    memcpy(r.bytes + CAIRN_RECORD_HEAD_BYTES, value, strlen(value));
    cairn_record_put_embedded(r.bytes, 0, strlen(value), NULL);
    return r;
}

static struct record large(uint64_t id)
{
    struct cairn_record_region region = { .id = id, .len = LEN };
    struct record r = { .len = (uint32_t)cairn_record_extents_bytes(1) };

    cairn_record_put_extents(r.bytes, 0, &region, 1);
    return r;
}

/* ---- writes, by way of the replicas ---- */

struct change {
    struct asked a;
    struct cairn_cluster_write cw;
    char key[32];
    struct record record;
};

static void change_start(struct world *w, struct change *x, const char *key, struct record record)
{
    char copy[32];

    snprintf(copy, sizeof(copy), "%s", key); /* which may be that of @x */
    *x = (struct change){ .record = record };
    memcpy(x->key, copy, sizeof(copy));
    x->cw = (struct cairn_cluster_write){ .cluster = w->nodes[leader_of(w, slot)].c,
                                          .slot = slot,
                                          .op = CAIRN_CLUSTER_PUT,
                                          .ns = NS,
                                          .number = 7,
                                          .key = (const uint8_t *)x->key,
                                          .key_len = (uint32_t)strlen(x->key),
                                          .record = x->record.bytes,
                                          .record_len = record.len,
                                          .timeout_ns = 10 * CAIRN_NS_PER_S,
                                          .done = on_written,
                                          .arg = &x->a };
    cairn_cluster_write(&x->cw);
}

static void store(struct world *w, const char *key, struct record record)
{
    struct change x;

    do {
        change_start(w, &x, key, record);
        turns(w, &x.a.done);
    } while (x.a.rc == CAIRN_E_MOVED || x.a.rc == CAIRN_E_BUSY || x.a.rc == CAIRN_E_TIMEOUT);
    assert_int_equal(x.a.rc, 0);
}

/* ---- what a node's provider has, below ---- */

struct below {
    bool done;
    int rc;
    uint32_t db;
    struct record found;
};

static void on_below(struct cairn_rpc_call *call)
{
    struct below *b = call->arg;

    b->done = true;
    b->rc = call->rc;
    if (call->rc == 0 && call->method == CAIRN__WIRE__KV_METHOD__KV_OPEN)
        b->db = ((const Cairn__Wire__KvOpened *)call->reply)->db;
    b->found.len = MIN(call->reply_payload_len, (uint32_t)RECORD_ROOM);
    if (b->found.len > 0)
        memcpy(b->found.bytes, call->reply_payload, b->found.len);
}

static const struct cairn_replica *replica(struct world *w, uint32_t i)
{
    return cluster_slots_replica(w->nodes[nodes[i]].c->side->workers[0].slots, slot);
}

/* What was answered may not be applied yet by whoever follows. */
static void settle(struct world *w)
{
    WHILE_PATIENT (replica(w, 0)->applied < replica(w, 0)->log.end.pos ||
                   replica(w, 1)->applied < replica(w, 0)->log.end.pos)
        turn(w);
}

static struct below below(struct world *w, uint32_t i, uint32_t method, const ProtobufCMessage *msg,
                          const struct record *payload)
{
    struct below b = { 0 };
    struct cairn_rpc_call call = { .dest.rpc = w->nodes[i].kv.rpc,
                                   .iface = &cairn_iface_kv,
                                   .provider = w->nodes[i].kv.targets[0].id,
                                   .method = (uint16_t)method,
                                   .msg = msg,
                                   .done = on_below,
                                   .arg = &b };

    if (payload != NULL) {
        call.payload[0] = (struct iovec){ (void *)(uintptr_t)payload->bytes, payload->len };
        call.payload_n = 1;
    }
    settle(w);
    cairn_rpc_call_start(&call);
    turns(w, &b.done);
    return b;
}

static uint32_t database(struct world *w, uint32_t i, const char *name)
{
    Cairn__Wire__KvOpen open = CAIRN__WIRE__KV_OPEN__INIT;
    struct below b;

    open.name = (char *)(uintptr_t)name;
    b = below(w, i, CAIRN__WIRE__KV_METHOD__KV_OPEN, &open.base, NULL);
    assert_int_equal(b.rc, 0);
    return b.db;
}

static uint32_t records(struct world *w, uint32_t i)
{
    char name[32];

    snprintf(name, sizeof(name), "ns/%u", (unsigned)NS);
    return database(w, i, name);
}

static struct record at(struct world *w, uint32_t i, const char *key)
{
    Cairn__Wire__KvGet get = CAIRN__WIRE__KV_GET__INIT;

    get.db = records(w, i);
    get.key = (ProtobufCBinaryData){ .len = strlen(key), .data = (uint8_t *)(uintptr_t)key };
    return below(w, i, CAIRN__WIRE__KV_METHOD__KV_GET, &get.base, NULL).found;
}

static void erase_below(struct world *w, uint32_t i, uint32_t db, const void *key, size_t len)
{
    Cairn__Wire__KvErase erase = CAIRN__WIRE__KV_ERASE__INIT;

    erase.db = db;
    erase.key = (ProtobufCBinaryData){ .len = len, .data = (uint8_t *)(uintptr_t)key };
    assert_int_equal(below(w, i, CAIRN__WIRE__KV_METHOD__KV_ERASE, &erase.base, NULL).rc, 0);
}

static void put_below(struct world *w, uint32_t i, uint32_t db, const void *key, size_t len, struct record record)
{
    Cairn__Wire__KvPut put = CAIRN__WIRE__KV_PUT__INIT;

    put.db = db;
    put.key = (ProtobufCBinaryData){ .len = len, .data = (uint8_t *)(uintptr_t)key };
    assert_int_equal(below(w, i, CAIRN__WIRE__KV_METHOD__KV_PUT, &put.base, &record).rc, 0);
}

static void lose(struct world *w, uint32_t i, const char *key)
{
    erase_below(w, i, records(w, i), key, strlen(key));
}

static void replace(struct world *w, uint32_t i, const char *key, struct record record)
{
    put_below(w, i, records(w, i), key, strlen(key), record);
}

static void damage(struct world *w, uint32_t i, const char *key)
{
    struct record r = at(w, i, key);

    r.bytes[CAIRN_RECORD_HEAD_BYTES] ^= 1;
    replace(w, i, key, r);
}

/* The index's key of @key. */
static size_t index_key(const char *key, uint8_t *to)
{
    store_be32(to, slot);
    store_be32(to + 4, NS);
    memcpy(to + STORE_INDEX_HEAD_BYTES, key, strlen(key));
    return STORE_INDEX_HEAD_BYTES + strlen(key);
}

/* ---- rounds ---- */

static struct scrub_report *report(struct world *w, uint32_t i)
{
    return w->nodes[i].c->side->scrub_report;
}

static void scrubs_start(struct world *w)
{
    for (uint32_t i = 0; i < NODES; i++)
        side_scrub_begin(&w->nodes[i].c->side->workers[0], NULL);
}

static bool scrubs_run(struct world *w)
{
    bool run = false;

    for (uint32_t i = 0; i < NODES; i++)
        run |= atomic_load(&report(w, i)->running) > 0;
    return run;
}

static void scrub(struct world *w)
{
    scrubs_start(w);
    WHILE_PATIENT (scrubs_run(w))
        turn(w);
}

static const struct scrub_finding *finding(struct world *w, uint32_t i, const char *key)
{
    struct scrub_report *r = report(w, i);

    for (uint32_t k = 0; k < r->n; k++) {
        if (r->findings[k].key_len == strlen(key) && memcmp(r->findings[k].key, key, strlen(key)) == 0)
            return &r->findings[k];
    }
    fail_msg("nothing was found of key %s", key);
    return NULL;
}

static void expect_finding(struct world *w, uint32_t i, const char *key, enum scrub_outcome outcome,
                           enum scan_state here, enum scan_state there)
{
    const struct scrub_finding *f = finding(w, i, key);

    assert_int_equal(f->outcome, outcome);
    assert_int_equal(f->state_here, here);
    assert_int_equal(f->state_there, there);
    assert_int_equal(f->here, i + 1);
    assert_int_not_equal(f->there, i + 1);
}

static void expect_record(struct world *w, const char *key, const uint32_t *of, uint32_t n, struct record record)
{
    for (uint32_t k = 0; k < n; k++) {
        struct record r = at(w, of[k], key);

        assert_int_equal(r.len, record.len);
        assert_memory_equal(r.bytes, record.bytes, r.len);
    }
}

static void pair(struct world *w)
{
    struct cairn_slot_record rec;

    expect_leases(w);
    create_class(w, 2);
    expect_all_active(w, 2);
    assert_true(cairn_cluster_slot(w->nodes[0].c, 2, "k", 1, &slot));
    WHILE_PATIENT (true) { /* where the disk is slow a member may be away for a while */
        nodes[0] = leader_of(w, slot);
        if (cairn_cluster_records_slot(w->nodes[nodes[0]].c->records, slot, &rec) && rec.ninsync == 2)
            break;
        turn(w);
    }
    nodes[1] = (uint32_t)rec.insync[rec.insync[0].node == nodes[0] + 1 ? 1 : 0].node - 1;
}

static void expect_nothing_found(struct world *w)
{
    for (uint32_t i = 0; i < NODES; i++) {
        assert_int_equal(report(w, i)->n, 0);
        assert_int_equal(atomic_load(&report(w, i)->slots_skipped), 0);
    }
}

/* ---- stories ---- */

static void replicas_that_are_the_same(void **state)
{
    struct world *w = *state;
    uint64_t keys = 0, slots = 0;
    char key[32];

    pair(w);
    for (uint32_t i = 0; i < 600; i++) { /* more than a page */
        snprintf(key, sizeof(key), "key %u", i);
        store(w, key, embedded(key));
    }
    scrub(w);
    expect_nothing_found(w);
    for (uint32_t i = 0; i < NODES; i++) {
        assert_int_equal(atomic_load(&report(w, i)->rounds), 1);
        keys += atomic_load(&report(w, i)->keys);
        slots += atomic_load(&report(w, i)->slots);
    }
    assert_int_equal(keys, 600);
    assert_int_equal(slots, 1 << SLOT_BITS);
}

static void a_bad_copy_is_repaired(void **state)
{
    struct world *w = *state;
    uint8_t row[64];
    char key[32];

    pair(w);
    for (uint32_t i = 0; i < 600; i++) {
        snprintf(key, sizeof(key), "key %u", i);
        store(w, key, embedded(key));
    }
    lose(w, nodes[1], "key 3");
    damage(w, nodes[1], "key 577");
    damage(w, nodes[0], "key 300");
    erase_below(w, nodes[1], database(w, nodes[1], "slots/index"), row, index_key("key 400", row));
    scrub(w);
    expect_finding(w, nodes[0], "key 3", SCRUB_REPAIRED, SCAN_SOUND, SCAN_NO_RECORD);
    expect_finding(w, nodes[0], "key 577", SCRUB_REPAIRED, SCAN_SOUND, SCAN_DAMAGED);
    expect_finding(w, nodes[0], "key 300", SCRUB_REPAIRED, SCAN_DAMAGED, SCAN_SOUND);
    expect_finding(w, nodes[0], "key 400", SCRUB_REPAIRED, SCAN_SOUND, SCAN_NO_INDEX);
    assert_int_equal(atomic_load(&report(w, nodes[0])->repaired), 4);
    assert_int_equal(scrub_report_open(report(w, nodes[0])), 0);
    expect_record(w, "key 3", nodes, 2, embedded("key 3"));
    expect_record(w, "key 577", nodes, 2, embedded("key 577"));
    expect_record(w, "key 300", nodes, 2, embedded("key 300"));
    scrub(w);
    assert_int_equal(atomic_load(&report(w, nodes[0])->repaired), 4);
}

/* Nobody can say which of them is right, so both stay as they are, and it is told in each round until it is over. */
static void two_good_copies_that_differ_are_told(void **state)
{
    struct world *w = *state;
    uint8_t row[64];
    size_t len;
    json_t *o;

    pair(w);
    store(w, "a", embedded("one"));
    store(w, "b", embedded("two"));
    replace(w, nodes[1], "a", embedded("another"));
    len = index_key("c", row); /* whole, but at one of them only */
    put_below(w, nodes[1], database(w, nodes[1], "slots/index"), row, len,
              (struct record){ .len = STORE_INDEX_VALUE_BYTES });
    replace(w, nodes[1], "c", embedded("three"));
    for (int round = 0; round < 2; round++) {
        scrub(w);
        expect_finding(w, nodes[0], "a", SCRUB_DIFFERENT, SCAN_SOUND, SCAN_SOUND);
        expect_finding(w, nodes[0], "c", SCRUB_DIFFERENT, SCAN_ABSENT, SCAN_SOUND);
        assert_int_equal(scrub_report_open(report(w, nodes[0])), 2);
        expect_record(w, "a", nodes, 1, embedded("one"));
        expect_record(w, "a", nodes + 1, 1, embedded("another"));
    }
    o = scrub_report_json(w->nodes[nodes[0]].c);
    assert_int_equal(json_integer_value(json_object_get(o, "open")), 2);
    assert_int_equal(json_array_size(json_object_get(o, "findings")), 2);
    json_decref(o);

    replace(w, nodes[1], "a", embedded("one"));
    erase_below(w, nodes[1], database(w, nodes[1], "slots/index"), row, len);
    lose(w, nodes[1], "c");
    scrub(w);
    assert_int_equal(scrub_report_open(report(w, nodes[0])), 0);
}

/* What was found of a slot stays while it is not compared: for a round it is not led here. */
static void a_slot_that_is_passed_over_keeps_its_findings(void **state)
{
    struct world *w = *state;
    atomic_uint_fast64_t *word;
    uint64_t was;

    pair(w);
    store(w, "a", embedded("one"));
    store(w, "b", embedded("two"));
    replace(w, nodes[1], "a", embedded("another"));
    scrub(w);
    expect_finding(w, nodes[0], "a", SCRUB_DIFFERENT, SCAN_SOUND, SCAN_SOUND);
    assert_int_equal(atomic_load(&report(w, nodes[0])->slots_skipped), 0);
    replace(w, nodes[1], "a", embedded("one"));

    word = &w->nodes[nodes[0]].c->side->words[slot];
    was = atomic_exchange(word, 0);
    scrubs_start(w);
    while (scrubs_run(w)) {
        atomic_store(word, 0);
        turn(w);
    }
    assert_int_equal(scrub_report_open(report(w, nodes[0])), 1);
    assert_int_equal(atomic_load(&report(w, nodes[0])->slots_skipped), 1);
    assert_int_equal(atomic_load(&report(w, nodes[0])->not_compared), 1);
    atomic_store(word, was);
    scrub(w);
    assert_int_equal(scrub_report_open(report(w, nodes[0])), 0);
    assert_int_equal(atomic_load(&report(w, nodes[0])->not_compared), 0);
    assert_int_equal(atomic_load(&report(w, nodes[0])->slots_skipped), 1);
}

/* It was not served when the round came by: the round comes back to it. */
static void a_slot_is_compared_when_it_can_be(void **state)
{
    struct world *w = *state;
    const struct side_scrub *s;
    atomic_uint_fast64_t *word;
    uint64_t was;

    pair(w);
    store(w, "a", embedded("one"));
    settle(w);
    damage(w, nodes[1], "a");
    s = w->nodes[nodes[0]].c->side->workers[0].scrub;
    word = &w->nodes[nodes[0]].c->side->words[slot];
    was = atomic_exchange(word, 0);
    scrubs_start(w);
    while (s->pass == 0) {
        assert_true(scrubs_run(w));
        atomic_store(word, 0);
        turn(w);
    }
    assert_int_equal(report(w, nodes[0])->n, 0);
    atomic_store(word, was);
    while (scrubs_run(w))
        turn(w);
    expect_finding(w, nodes[0], "a", SCRUB_REPAIRED, SCAN_SOUND, SCAN_DAMAGED);
    for (uint32_t i = 0; i < NODES; i++) {
        assert_int_equal(atomic_load(&report(w, i)->not_compared), 0);
        assert_int_equal(atomic_load(&report(w, i)->slots_skipped), 0);
    }
}

static void without_a_good_copy_there_is_no_repair(void **state)
{
    struct world *w = *state;

    pair(w);
    store(w, "a", embedded("one"));
    damage(w, nodes[0], "a");
    damage(w, nodes[1], "a");
    scrub(w);
    expect_finding(w, nodes[0], "a", SCRUB_NONE_GOOD, SCAN_DAMAGED, SCAN_DAMAGED);
    store(w, "a", embedded("two")); /* whoever writes it anew ends that */
    scrub(w);
    assert_int_equal(scrub_report_open(report(w, nodes[0])), 0);
}

/* While keys are written all the time nothing is found, though one gets two values in turn, so that it may be the same
 * here when it is read again, and was another when it was read there; and a bad copy that is repaired meanwhile loses
 * no write. */
static void writes_go_on(void **state)
{
    enum { HOT = 2 }; /* each costs a round seconds: it is looked at again and again, with pauses */
    struct world *w = *state;
    uint32_t n = 0, back = 0;
    struct change changes[HOT];
    char value[64];

    pair(w);
    store(w, "cold", embedded("cold"));
    for (uint32_t i = 0; i < HOT; i++) {
        snprintf(value, sizeof(value), "%u", i);
        change_start(w, &changes[i], value, embedded(value));
    }
    for (uint32_t round = 0; round < 2; round++) {
        damage(w, nodes[round], "cold");
        scrubs_start(w);
        while (scrubs_run(w)) {
            turn(w);
            for (uint32_t i = round; i < HOT; i++) { /* the first of them cools down */
                if (!changes[i].a.done)
                    continue;
                n++;
                snprintf(value, sizeof(value), "value %u", i == 0 ? n : ++back % 2);
                change_start(w, &changes[i], changes[i].key, embedded(value));
            }
        }
    }
    assert_true(n > HOT);
    for (uint32_t i = 0; i < HOT; i++)
        turns(w, &changes[i].a.done);
    assert_int_equal(atomic_load(&report(w, nodes[0])->repaired), 2);
    assert_int_equal(report(w, nodes[0])->n, 1); /* of the cold one */
    expect_record(w, "cold", nodes, 2, embedded("cold"));
    scrub(w); /* and what they have is the same, and the last that was written */
    for (uint32_t i = 0; i < HOT; i++)
        expect_record(w, changes[i].key, nodes, 2, changes[i].record);
    assert_int_equal(report(w, nodes[0])->n, 1);
}

static bool key_is_in(struct world *w, const char *state)
{
    const struct scrub_key *k = &w->nodes[nodes[0]].c->side->workers[0].scrub->key;

    return k->sm.kind != NULL && strcmp(cairn_sm_state_name(&k->sm), state) == 0;
}

/* The other way round: the bad key itself is written while it is looked at, and while it is being repaired: what is
 * written is in the log then, and not yet among the records. */
static void a_repair_never_undoes_a_write(void **state)
{
    static const char *const points[] = { "PEER", "WRITE" };
    struct world *w = *state;
    struct change x;
    char value[64];

    pair(w);
    store(w, "k", embedded("first"));
    for (uint32_t i = 0; i < 8; i++) {
        settle(w);
        damage(w, nodes[i % 2], "k");
        scrubs_start(w);
        while (!key_is_in(w, points[i / 2 % 2])) {
            assert_true(scrubs_run(w));
            turn(w);
        }
        snprintf(value, sizeof(value), "value %u", i);
        change_start(w, &x, "k", embedded(value));
        turns(w, &x.a.done);
        assert_int_equal(x.a.rc, 0);
        while (scrubs_run(w))
            turn(w);
        expect_record(w, "k", nodes, 2, embedded(value));
    }
    scrub(w);
    expect_record(w, "k", nodes, 2, embedded(value));
    assert_int_equal(scrub_report_open(report(w, nodes[0])), 0);
}

static void lose_region(struct world *w, uint32_t i, uint64_t id)
{
    struct extents *x = &w->nodes[nodes[i]].extents;

    for (uint32_t k = 0; k < x->n; k++) {
        if (x->ids[k] == id)
            x->ids[k--] = x->ids[--x->n];
    }
}

static void regions_are_fetched_anew(void **state)
{
    struct world *w = *state;

    pair(w);
    for (uint64_t id = 71; id <= 73; id++) {
        char key[32];

        snprintf(key, sizeof(key), "large %u", (unsigned)id);
        extents_add(&w->nodes[nodes[0]].extents, id);
        store(w, key, large(id));
    }
    for (uint32_t i = 0; i < 2; i++)
        assert_int_equal(w->nodes[nodes[i]].extents.n, 3);
    w->nodes[nodes[1]].extents.damaged = 71;
    w->nodes[nodes[0]].extents.damaged = 72;
    lose_region(w, 1, 73);
    scrub(w);
    expect_finding(w, nodes[0], "large 71", SCRUB_REPAIRED, SCAN_SOUND, SCAN_BAD_REGION);
    expect_finding(w, nodes[0], "large 72", SCRUB_REPAIRED, SCAN_BAD_REGION, SCAN_SOUND);
    expect_finding(w, nodes[0], "large 73", SCRUB_REPAIRED, SCAN_SOUND, SCAN_NO_REGION);
    for (uint32_t i = 0; i < 2; i++) {
        assert_int_equal(w->nodes[nodes[i]].extents.n, 3);
        assert_int_equal(w->nodes[nodes[i]].extents.damaged, 0);
        assert_int_equal(w->nodes[nodes[i]].extents.removes, 1);
    }
}

/* Whoever leads has lost record and regions: nothing names them there before they are back. */
static void a_record_comes_back_after_its_regions(void **state)
{
    struct world *w = *state;
    struct extents *x;
    uint64_t end;

    pair(w);
    x = &w->nodes[nodes[0]].extents;
    extents_add(x, 81);
    store(w, "large", large(81));
    lose(w, nodes[0], "large");
    lose_region(w, 0, 81);
    end = replica(w, 0)->log.end.pos;
    x->holds = true;
    scrubs_start(w);
    WHILE_PATIENT (x->held == NULL)
        turn(w);
    for (int n = 0; n < 100; n++)
        turn(w);
    assert_true(key_is_in(w, "FETCH"));
    assert_int_equal(replica(w, 0)->log.end.pos, end);
    x->holds = false;
    region_stored(x, x->held);
    while (scrubs_run(w))
        turn(w);
    expect_finding(w, nodes[0], "large", SCRUB_REPAIRED, SCAN_NO_RECORD, SCAN_SOUND);
    expect_record(w, "large", nodes, 2, large(81));
    assert_true(extents_has(x, 81));
    assert_int_equal(cluster_regions_state(&w->nodes[nodes[0]].c->side->regions, 81), REGION_HERE); /* pinned */

    lose(w, nodes[0], "large"); /* and the other has lost them, too: that is no good copy */
    lose_region(w, 0, 81);
    lose_region(w, 1, 81);
    end = replica(w, 0)->log.end.pos;
    scrub(w);
    expect_finding(w, nodes[0], "large", SCRUB_NONE_GOOD, SCAN_NO_RECORD, SCAN_NO_REGION);
    assert_int_equal(replica(w, 0)->log.end.pos, end);
}

/* A node that ends in the middle of it ends. */
static void a_node_stops_meanwhile(void **state)
{
    struct world *w = *state;
    char key[32];

    pair(w);
    for (uint32_t i = 0; i < 300; i++) {
        snprintf(key, sizeof(key), "key %u", i);
        store(w, key, embedded(key));
        if (i % 30 == 0)
            damage(w, nodes[1], key);
    }
    for (uint32_t i = 0; i < 4; i++) {
        scrubs_start(w);
        for (uint32_t k = 0; k < 1 + 25 * i; k++)
            turn(w);
        node_stop(w, nodes[i % 2]);
        node_start(w, nodes[i % 2]);
        expect_leases(w);
        expect_all_active(w, 2);
    }
}

/* ---- messages ---- */

static void hostile_messages_are_refused(void **state)
{
    uint8_t low[] = { 0, 0, 0, 1, 'a' }, high[] = { 0, 0, 0, 1, 'b' };
    ProtobufCBinaryData a = { sizeof(low), low }, b = { sizeof(high), high }, keys[] = { a, b };
    Cairn__Wire__ClusterCompare ask = CAIRN__WIRE__CLUSTER_COMPARE__INIT;
    Cairn__Wire__ClusterCompared m = CAIRN__WIRE__CLUSTER_COMPARED__INIT;
    uint32_t states[] = { SCAN_SOUND, SCAN_SOUND };
    uint64_t digests[] = { 1, 2 };

    (void)state;
    assert_false(scrub_ask_is_good(&ask)); /* of no epoch */
    ask.epoch = 3;
    assert_true(scrub_ask_is_good(&ask));
    ask.after = b;
    ask.upto = a;
    assert_false(scrub_ask_is_good(&ask));
    ask.after = a;
    ask.upto = b;
    assert_true(scrub_ask_is_good(&ask));
    ask.one = true;
    assert_false(scrub_ask_is_good(&ask));
    ask.one = false;
    ask.after.len = SCAN_NS_BYTES; /* of no key */
    assert_false(scrub_ask_is_good(&ask));
    ask.after.len = 0;
    ask.slot = SIDE_SLOTS_MAX;
    assert_false(scrub_ask_is_good(&ask));
    ask.slot = 0;

    m.keys = keys;
    m.states = states;
    m.digests = digests;
    m.n_keys = m.n_states = m.n_digests = 2;
    assert_true(scrub_answer_is_good(&ask, &m, NULL, 0));
    assert_false(scrub_answer_is_good(&ask, &m, NULL, 1));
    m.n_states = 1;
    assert_false(scrub_answer_is_good(&ask, &m, NULL, 0));
    m.n_states = 2;
    states[1] = SCAN_STATES;
    assert_false(scrub_answer_is_good(&ask, &m, NULL, 0));
    states[1] = SCAN_SOUND;
    m.same = true;
    assert_false(scrub_answer_is_good(&ask, &m, NULL, 0));
    m.same = false;
    keys[1] = a; /* twice */
    assert_false(scrub_answer_is_good(&ask, &m, NULL, 0));
    keys[1] = b;
    ask.upto = a; /* one more than was asked for */
    assert_false(scrub_answer_is_good(&ask, &m, NULL, 0));
    ask.upto.len = 0;
    ask.after = a;
    assert_false(scrub_answer_is_good(&ask, &m, NULL, 0));
    ask.after.len = 0;
    m.applied = 2; /* and read what was committed before that */
    assert_false(scrub_answer_is_good(&ask, &m, NULL, 0));
    m.commit = 2;
    ask.applied = 3;
    assert_false(scrub_answer_is_good(&ask, &m, NULL, 0));
    ask.applied = 0;
    m.n_keys = m.n_states = m.n_digests = 0;
    m.more = true; /* of what? */
    assert_false(scrub_answer_is_good(&ask, &m, NULL, 0));
}

/* What is said to be good, and is not what was digested, or no record at all, is never written over another copy. */
static void a_copy_is_what_its_digest_says(void **state)
{
    uint8_t key[] = { 0, 0, 0, 1, 'a' }, row[STORE_INDEX_VALUE_BYTES] = { 1 };
    ProtobufCBinaryData keys[] = { { sizeof(key), key } };
    Cairn__Wire__ClusterCompare ask = CAIRN__WIRE__CLUSTER_COMPARE__INIT;
    Cairn__Wire__ClusterCompared m = CAIRN__WIRE__CLUSTER_COMPARED__INIT;
    struct record good = embedded("value");
    uint32_t states[] = { SCAN_SOUND };
    uint64_t digests[] = { store_scan_copy_digest(SCAN_SOUND, row, good.bytes, good.len) };
    struct cairn_record r;

    (void)state;
    ask.epoch = 3;
    ask.one = true;
    ask.upto = keys[0];
    m.keys = keys;
    m.states = states;
    m.digests = digests;
    m.n_keys = m.n_states = m.n_digests = 1;
    m.index = (ProtobufCBinaryData){ sizeof(row), row };
    assert_true(scrub_answer_is_good(&ask, &m, good.bytes, good.len));
    assert_false(scrub_answer_is_good(&ask, &m, good.bytes, good.len - 1));
    row[1] ^= 1;
    assert_false(scrub_answer_is_good(&ask, &m, good.bytes, good.len));
    row[1] ^= 1;
    states[0] = SCAN_DAMAGED;
    assert_false(scrub_answer_is_good(&ask, &m, good.bytes, good.len));
    states[0] = SCAN_SOUND;
    digests[0] = store_scan_copy_digest(SCAN_SOUND, row, NULL, 0); /* of nothing, which is not good */
    assert_false(scrub_answer_is_good(&ask, &m, NULL, 0));
    states[0] = SCAN_NO_RECORD;
    digests[0] = store_scan_copy_digest(SCAN_NO_RECORD, row, NULL, 0);
    assert_true(scrub_answer_is_good(&ask, &m, NULL, 0));

    assert_true(scrub_record_is_good(good.bytes, good.len, &r));
    assert_false(scrub_record_is_good(NULL, 0, &r));
    assert_false(scrub_record_is_good(good.bytes, 0, &r));
    good.bytes[CAIRN_RECORD_HEAD_BYTES] ^= 1;
    assert_false(scrub_record_is_good(good.bytes, good.len, &r));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hostile_messages_are_refused),
        cmocka_unit_test(a_copy_is_what_its_digest_says),
        cmocka_unit_test_setup_teardown(replicas_that_are_the_same, setup_long_leases, teardown),
        cmocka_unit_test_setup_teardown(a_bad_copy_is_repaired, setup_long_leases, teardown),
        cmocka_unit_test_setup_teardown(two_good_copies_that_differ_are_told, setup_long_leases, teardown),
        cmocka_unit_test_setup_teardown(a_slot_that_is_passed_over_keeps_its_findings, setup_long_leases, teardown),
        cmocka_unit_test_setup_teardown(a_slot_is_compared_when_it_can_be, setup_long_leases, teardown),
        cmocka_unit_test_setup_teardown(without_a_good_copy_there_is_no_repair, setup_long_leases, teardown),
        cmocka_unit_test_setup_teardown(writes_go_on, setup_long_leases, teardown),
        cmocka_unit_test_setup_teardown(a_repair_never_undoes_a_write, setup_long_leases, teardown),
        cmocka_unit_test_setup_teardown(regions_are_fetched_anew, setup_long_leases, teardown),
        cmocka_unit_test_setup_teardown(a_record_comes_back_after_its_regions, setup_long_leases, teardown),
        cmocka_unit_test_setup_teardown(a_node_stops_meanwhile, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
