/* What the coordinator writes down of what it did: cairn map --log. */
#include "server/cluster/map_log.h"
#include "tests/unit/cluster/coordinator_world.h"

/* Entries of a log, each deed a line: "author: what from>to: why\n". */
struct told {
    char text[65536];
    uint32_t entries;
    json_int_t slots; /* of the deed that is looked for */
    const char *what, *from, *to;
};

static const char *text_of(const json_t *o, const char *key)
{
    const char *text = json_string_value(json_object_get(o, key));

    return text != NULL ? text : "";
}

static void on_entry(const struct cairn_map_entry *e, void *arg)
{
    struct told *t = arg;
    json_t *o = cairn_map_log_read(e), *deeds = json_object_get(o, "deeds");

    assert_non_null(o);
    t->entries++;
    for (size_t i = 0; i < json_array_size(deeds); i++) {
        const json_t *d = json_array_get(deeds, i);
        size_t n = strlen(t->text);

        snprintf(t->text + n, sizeof(t->text) - n, "%s: %s %s>%s: %s\n", text_of(o, "author"), text_of(d, "what"),
                 text_of(d, "from"), text_of(d, "to"), text_of(d, "why"));
        if (t->what != NULL && strcmp(text_of(d, "what"), t->what) == 0 && strcmp(text_of(d, "from"), t->from) == 0 &&
            (t->to == NULL || strcmp(text_of(d, "to"), t->to) == 0))
            t->slots += json_integer_value(json_object_get(d, "slots"));
    }
    json_decref(o);
}

static struct told *told_of(struct world *w, const char *what, const char *from, const char *to)
{
    struct told *t = calloc(1, sizeof(*t));

    assert_non_null(t);
    t->what = what;
    t->from = from;
    t->to = to;
    cairn_map_store_each(w->watcher, CAIRN_MAP_LOG_SLOTS_PREFIX, on_entry, t);
    return t;
}

/* How many slots a kind of deed is told of. */
static uint32_t slots_told(struct world *w, const char *what, const char *from, const char *to)
{
    struct told *t = told_of(w, what, from, to);
    uint32_t n = (uint32_t)t->slots;

    free(t);
    return n;
}

static void says(struct world *w, const char *line)
{
    struct told *t = told_of(w, NULL, NULL, NULL);

    if (strstr(t->text, line) == NULL)
        fail_msg("'%s' is not in\n%s", line, t->text);
    free(t);
}

static uint32_t led_by(struct world *w, uint64_t node)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < NSLOTS; i++)
        n += record_of(w, 2 * NSLOTS + i)->primary.node == node;
    return n;
}

/* All slots at once, and yet few entries, which add up to each of them. */
static void a_death_is_told_in_few_entries(void **state)
{
    struct world *w = *state;
    struct node *co = begin(w), *n = other_than(w, co);
    char line[64];
    uint32_t led, taken = 0;

    world_run_ms(w, 5000);
    assert_int_equal(slots_told(w, "made", "", ""), NSLOTS);
    snprintf(line, sizeof(line), "node %s: coordinates >%s", co->name, co->name);
    says(w, line);
    snprintf(line, sizeof(line), "node %s: new node >%s", co->name, n->name);
    says(w, line);
    led = led_by(w, n->id);
    assert_true(led > 0);

    n->beats = false;
    world_run_ms(w, 10000);
    assert_int_equal(led_by(w, n->id), 0);
    for (int i = 0; i < NODES; i++)
        taken += slots_told(w, "taken over", n->name, w->nodes[i].name);
    assert_int_equal(taken, led);
    snprintf(line, sizeof(line), ": %s is silent\n", n->name);
    says(w, line);
    snprintf(line, sizeof(line), "node silent >%s", n->name);
    says(w, line);

    struct told *t = told_of(w, NULL, NULL, NULL);
    assert_true(t->entries < NSLOTS / 8); /* they are some changes at the store each */
    free(t);

    /* Lost: what it held moves, and why is said. */
    world_run_ms(w, 30000);
    snprintf(line, sizeof(line), "node lost >%s", n->name);
    says(w, line);
    node_restart(n);
    n->beats = true;
    world_run_ms(w, 2000);
    snprintf(line, sizeof(line), "node restarted >%s", n->name);
    says(w, line);
}

static void on_counted(const struct cairn_map_entry *e, void *arg)
{
    json_t *o = cairn_map_log_read(e);

    assert_non_null(o);
    assert_string_equal(text_of(o, "author"), "uid 7");
    strcat(arg, text_of(o, "reason"));
    strcat(arg, "\n");
    json_decref(o);
}

/* An operator's wish is his, in the log of people; what follows from it is the coordinator's. */
static void a_drain_is_its_authors(void **state)
{
    struct world *w = *state;
    struct node *co = begin(w), *n = other_than(w, co);
    struct wish x = { 0 };
    char told[256] = "", said[128];

    for (int off = 0; off < 2; off++) {
        wish_begin(&x);
        x.ask.name = n->name;
        x.ask.author = "uid 7";
        x.ask.off = off;
        cairn_coordinator_drain(&co->co, &x.ask);
        world_run_ms(w, 1000);
        assert_true(x.over && x.ask.rc == 0);
    }
    cairn_map_store_each(w->watcher, CAIRN_MAP_LOG_PREFIX, on_counted, told);
    for (int off = 0; off < 2; off++) { /* in any order: both are of one millisecond */
        snprintf(said, sizeof(said), "drain of %s %s\n", n->name, off ? "called off" : "asked for");
        assert_non_null(strstr(told, said));
    }
    assert_int_equal(strlen(told), strlen("drain of nN asked for\ndrain of nN called off\n"));
}

/* ---- one record ---- */

static struct cairn_slot_record record(void)
{
    return (struct cairn_slot_record){ .epoch = 5,
                                       .state = CAIRN_SLOT_ACTIVE,
                                       .primary = { 1, 10 },
                                       .nreplicas = 2,
                                       .ninsync = 2,
                                       .replicas = { 1, 2 },
                                       .insync = { { 1, 10 }, { 2, 20 } } };
}

static void is_told(const struct cairn_slot_record *old, const struct cairn_slot_record *next,
                    enum cairn_change_kind asked, enum cairn_deed_kind kind, enum cairn_deed_why why, uint64_t from,
                    uint64_t to)
{
    struct cairn_deed d = cairn_deed_of_slot(old, next, asked);

    assert_int_equal(d.kind, kind);
    assert_int_equal(d.why, why);
    assert_int_equal(d.from, from);
    assert_int_equal(d.to, to);
}

static void each_change_of_a_record_has_its_name(void **state)
{
    struct cairn_slot_record none = { 0 }, a = record(), b, next;

    (void)state;
    is_told(&none, &a, 0, CAIRN_DEED_MADE, CAIRN_WHY_WANTED, 0, 0);
    b = a;
    is_told(&a, &b, CAIRN_CHANGE_ACTIVE, CAIRN_DEED_READY, CAIRN_WHY_READY, 0, 1);
    is_told(&a, &b, CAIRN_CHANGE_RELEASE, CAIRN_DEED_NONE, CAIRN_WHY_ITSELF, 0, 0);
    b.primary = a.insync[1];
    is_told(&a, &b, CAIRN_CHANGE_RELEASE, CAIRN_DEED_HANDED, CAIRN_WHY_STOPS, 1, 2);
    b.insync[0] = a.insync[1];
    b.ninsync = 1;
    is_told(&a, &b, 0, CAIRN_DEED_TAKEN, CAIRN_WHY_SILENT, 1, 2);
    b.primary = b.insync[0] = (struct cairn_who){ 2, 21 };
    is_told(&a, &b, 0, CAIRN_DEED_RECOVERED, CAIRN_WHY_GONE, 1, 2);

    b = a;
    b.ninsync = 1;
    is_told(&a, &b, CAIRN_CHANGE_REMOVE, CAIRN_DEED_LEFT_OUT, CAIRN_WHY_NO_ANSWER, 2, 0);
    is_told(&a, &b, 0, CAIRN_DEED_LEFT_OUT, CAIRN_WHY_RESTARTED, 2, 0);
    is_told(&b, &a, CAIRN_CHANGE_JOIN, CAIRN_DEED_JOINED, CAIRN_WHY_COPIED, 0, 2);
    b.nreplicas = 1;
    is_told(&a, &b, 0, CAIRN_DEED_DROPPED, CAIRN_WHY_BALANCE, 2, 0);

    b = a;
    b.move.phase = CAIRN_MOVE_COPY;
    b.move.target = (struct cairn_who){ 3, 30 };
    is_told(&a, &b, 0, CAIRN_DEED_COPYING, CAIRN_WHY_FEWER, 0, 3);
    b.move.from = 2;
    is_told(&a, &b, 0, CAIRN_DEED_COPYING, CAIRN_WHY_BALANCE, 2, 3);
    is_told(&b, &a, 0, CAIRN_DEED_GIVEN_UP, CAIRN_WHY_TARGET_GONE, 2, 3);
    next = b;
    next.move.target.inc++;
    is_told(&b, &next, 0, CAIRN_DEED_COPYING, CAIRN_WHY_TARGET_RESTARTED, 2, 3);
    b.move.phase = CAIRN_MOVE_JOINED;
    b.move.target = a.insync[1];
    b.move.from = 0;
    is_told(&a, &b, 0, CAIRN_DEED_LEADING, CAIRN_WHY_BALANCE, 1, 2);
}

/* However many deeds of different kinds: an entry has room for some, and counts the slots of the others. */
static void an_entry_is_bounded(void **state)
{
    struct cairn_chronicle c = { 0 };
    struct cairn_deed d = { .kind = CAIRN_DEED_TAKEN, .why = CAIRN_WHY_SILENT, .from = 1, .slots = 1 };

    (void)state;
    cairn_chronicle_begin(&c, 1, 1);
    for (uint32_t i = 0; i < 2 * CAIRN_CHRONICLE_DEEDS_MAX; i++) {
        d.to = i + 2;
        cairn_chronicle_add(&c, &d);
        cairn_chronicle_add(&c, &d);
    }
    assert_int_equal(c.ndeeds, CAIRN_CHRONICLE_DEEDS_MAX);
    assert_int_equal(c.deeds[3].slots, 2);
    assert_int_equal(c.more, 2 * CAIRN_CHRONICLE_DEEDS_MAX);
    cairn_chronicle_forget(&c);
}

/* Somebody has erased the entry that is being added to: the change is made without it, in the same term. */
static void an_erased_entry_ends_no_term(void **state)
{
    struct world *w = *state;
    struct node *co = begin(w);
    struct wish x[2] = { 0 };

    world_run_ms(w, 5000);
    for (uint32_t i = 0; i < 2; i++) {
        const struct cairn_slot_record *rec = &co->co.coord.slots[2 * NSLOTS + i].rec;

        wish_begin(&x[i]);
        x[i].ask.change = (struct cairn_change){ .kind = CAIRN_CHANGE_REMOVE,
                                                 .slot = 2 * NSLOTS + i,
                                                 .epoch = rec->epoch,
                                                 .from = rec->primary,
                                                 .who = rec->insync[1] };
        cairn_coordinator_propose(&co->co, &x[i].ask);
        world_run_ms(w, 200);
        assert_true(x[i].over && x[i].ask.rc == 0 && x[i].ask.verdict == CAIRN_VERDICT_COMMITTED);
        assert_ptr_equal(serving(w), co);
        if (i == 0) {
            assert_true(co->co.chronicle.open);
            co->co.chronicle.changed--; /* as if it were another's */
        }
    }
    world_run_ms(w, 2000);
    assert_ptr_equal(serving(w), co);
}

/* Its primary leaves it out because it says that it stops: nobody is told that it does not answer. */
static void who_stops_is_not_said_to_be_silent(void **state)
{
    struct world *w = *state;
    struct node *co = begin(w);
    char line[3 * CAIRN_NAME_BYTES_MAX];

    world_run_ms(w, 5000);
    for (uint32_t i = 0; i < 2; i++) {
        const struct cairn_slot_record *rec = &co->co.coord.slots[2 * NSLOTS + i].rec;
        const char *name = cairn_members_find(&co->co.members, rec->insync[1].node)->name;
        struct wish x = { 0 };

        wish_begin(&x);
        x.ask.change = (struct cairn_change){ .kind = CAIRN_CHANGE_REMOVE,
                                              .slot = 2 * NSLOTS + i,
                                              .epoch = rec->epoch,
                                              .from = rec->primary,
                                              .who = rec->insync[1],
                                              .leaves = i == 1 };
        snprintf(line, sizeof(line), "left out %s>: %s %s\n", name, name,
                 i == 1 ? "stops" : "does not answer its primary");
        cairn_coordinator_propose(&co->co, &x.ask);
        world_run_ms(w, 200);
        assert_true(x.over && x.ask.rc == 0 && x.ask.verdict == CAIRN_VERDICT_COMMITTED);
        says(w, line);
    }
}

static const char *no_name(void *arg, uint64_t node)
{
    (void)arg;
    (void)node;
    return NULL;
}

/* What became of an entry need never be known: another one begins. */
static void an_entry_may_stay_unknown(void **state)
{
    struct cairn_chronicle c = { 0 };
    struct cairn_deed d = { .kind = CAIRN_DEED_TAKEN, .why = CAIRN_WHY_SILENT, .from = 1, .slots = 1 };
    char first[CAIRN_MAP_LOG_KEY_BYTES];
    struct cairn_map_write to;

    (void)state;
    assert_true(cairn_chronicle_begin(&c, 1, 1));
    cairn_chronicle_add(&c, &d);
    assert_true(cairn_chronicle_write(&c, "node x", no_name, NULL, &to));
    snprintf(first, sizeof(first), "%s", to.key);
    assert_true(cairn_chronicle_begin(&c, 2, 1)); /* though that was just now */
    cairn_chronicle_add(&c, &d);
    assert_true(cairn_chronicle_write(&c, "node x", no_name, NULL, &to));
    assert_string_not_equal(first, to.key);
    cairn_chronicle_forget(&c);
}

static const char *number_name(void *arg, uint64_t node)
{
    static const char *const names[] = { "n0", "n1", "n2" };

    (void)arg;
    return names[node];
}

/* Of a deed with two nodes the reason names the one that it is true of: a slot goes to n2 because n1 is drained. */
static void a_reason_is_about_whom_it_is_true_of(void **state)
{
    static const struct {
        struct cairn_deed deed;
        const char *why;
    } all[] = {
        { { CAIRN_DEED_LEADING, CAIRN_WHY_DRAINED, 1, 2, 1 }, "n1 is drained" },
        { { CAIRN_DEED_LEADING, CAIRN_WHY_LOST, 1, 2, 1 }, "n1 is lost" },
        { { CAIRN_DEED_COPYING, CAIRN_WHY_DRAINED, 1, 2, 1 }, "n1 is drained" },
        { { CAIRN_DEED_COPYING, CAIRN_WHY_TARGET_RESTARTED, 1, 2, 1 }, "n2 was started again" },
        { { CAIRN_DEED_TAKEN, CAIRN_WHY_RESTARTED, 1, 2, 1 }, "n1 was started again" },
        { { CAIRN_DEED_RECOVERED, CAIRN_WHY_GONE, 1, 2, 1 }, "n1 is gone" },
        { { CAIRN_DEED_GIVEN_UP, CAIRN_WHY_TARGET_GONE, 1, 2, 1 }, "n2 is gone" },
        { { CAIRN_DEED_JOINED, CAIRN_WHY_COPIED, 0, 2, 1 }, "n2 has everything" },
        { { CAIRN_DEED_READY, CAIRN_WHY_READY, 0, 2, 1 }, "n2 has looked through its log" },
        { { CAIRN_DEED_LOST, CAIRN_WHY_ITSELF, 0, 2, 0 }, "n2 was silent for cluster.lost_after" },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
        struct cairn_chronicle c = { 0 };
        struct cairn_map_write to;
        json_t *o;

        cairn_chronicle_begin(&c, 1, 1);
        cairn_chronicle_add(&c, &all[i].deed);
        assert_true(cairn_chronicle_write(&c, "node x", number_name, NULL, &to));
        o = json_loadb((const char *)to.value, to.value_len, 0, NULL);
        assert_non_null(o);
        assert_string_equal(text_of(o, "reason"), all[i].why);
        json_decref(o);
        cairn_chronicle_forget(&c);
    }
}

static void on_stored(struct cairn_map_op *op)
{
    (void)op;
}

static void on_left(const struct cairn_map_entry *e, void *arg)
{
    (void)e;
    ++*(uint32_t *)arg;
}

/* Of its predecessors' entries the oldest go, a change at a time. */
static void the_log_of_slots_is_cut(void **state)
{
    struct world *w = *state;
    static char keys[CAIRN_MAP_WRITES_MAX][CAIRN_MAP_LOG_KEY_BYTES];
    struct cairn_map_write writes[CAIRN_MAP_WRITES_MAX];
    uint32_t n = CAIRN_MAP_LOG_ENTRIES_MAX + 4 * CAIRN_MAP_WRITES_MAX, left = 0;
    const char *value = "{\"time_ms\":1,\"author\":\"node x\",\"reason\":\"r\",\"keys\":[]}";

    for (uint32_t i = 0; i < n;) {
        struct cairn_map_change c = { .op = { .done = on_stored }, .writes = writes };

        for (; i < n && c.nwrites < CAIRN_MAP_WRITES_MAX; i++) {
            snprintf(keys[c.nwrites], sizeof(keys[0]), CAIRN_MAP_LOG_SLOTS_PREFIX "%013x", i);
            writes[c.nwrites] = (struct cairn_map_write){ .key = keys[c.nwrites],
                                                          .value = (const uint8_t *)value,
                                                          .value_len = (uint32_t)strlen(value) };
            c.nwrites++;
        }
        cairn_map_store_change(w->watcher, NULL, &c);
        vtime_run_ms(&w->v, 100);
        assert_int_equal(c.op.rc, 0);
    }
    begin(w)->co.log_entries = CAIRN_MAP_WRITES_MAX; /* as if it had written them itself */
    world_run_ms(w, 20000);
    cairn_map_store_each(w->watcher, CAIRN_MAP_LOG_SLOTS_PREFIX, on_left, &left);
    assert_true(left >= CAIRN_MAP_LOG_ENTRIES_MAX && left < CAIRN_MAP_LOG_ENTRIES_MAX + CAIRN_MAP_WRITES_MAX);
    assert_null(cairn_map_table_at(&w->watcher->view.table, CAIRN_MAP_LOG_SLOTS_PREFIX "0000000000000"));
    says(w, ": made >: "); /* the newest are there */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_death_is_told_in_few_entries, setup, teardown),
        cmocka_unit_test_setup_teardown(a_drain_is_its_authors, setup, teardown),
        cmocka_unit_test(each_change_of_a_record_has_its_name),
        cmocka_unit_test(a_reason_is_about_whom_it_is_true_of),
        cmocka_unit_test_setup_teardown(an_entry_is_bounded, setup, teardown),
        cmocka_unit_test_setup_teardown(an_erased_entry_ends_no_term, setup, teardown),
        cmocka_unit_test_setup_teardown(who_stops_is_not_said_to_be_silent, setup, teardown),
        cmocka_unit_test(an_entry_may_stay_unknown),
        cmocka_unit_test_setup_teardown(the_log_of_slots_is_cut, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
