/* A cluster's document in short, for people. */
#include "sdk/core/net/host.h"
#include "tools/cairn/cluster.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static json_t *brief_of(const char *document)
{
    json_t *doc = json_loads(document, 0, NULL), *brief;

    assert_non_null(doc);
    json_object_set_new(doc, "health", json_string(cli_cluster_health(doc)));
    brief = cli_cluster_brief(doc);
    json_decref(doc);
    return brief;
}

static void assert_says(const char *document, const char *key, const char *text)
{
    json_t *brief = brief_of(document);

    if (text != NULL)
        assert_string_equal(cli_text_of(brief, key), text);
    else
        assert_null(json_object_get(brief, key));
    json_decref(brief);
}

static void progress_has_a_rate_and_a_time(void **state)
{
    (void)state;
    assert_says("{\"moves\": {\"left\": 1490, \"under_way\": 10, \"per_s\": 12.5, \"left_ms\": 120000}}", "moves",
                "1,500 slots to move, 10 of them now, 12.5/s, 2m 00s left");
    assert_says("{\"moves\": {\"left\": 0, \"under_way\": 1, \"per_s\": 0, \"left_ms\": 0}}", "moves",
                "1 slot to move, 1 of them now, time left unknown");
    assert_says("{\"moves\": {\"left\": 681, \"under_way\": 1, \"per_s\": 0, \"left_ms\": 0, \"waits_for\": \"n2\"},"
                " \"members\": [{\"name\": \"n1\", \"state\": \"up\"}, {\"name\": \"n2\", \"state\": \"silent\"}]}",
                "moves", "682 slots to move, 1 of them now, time left unknown, waits for n2, which is silent");
    assert_says("{\"moves\": {\"left\": 0, \"under_way\": 0, \"planning\": true}}", "moves", "being planned");
    assert_says("{\"catching_up\": {\"left\": 41, \"done\": 300, \"per_s\": 150, \"left_ms\": 273}}", "catching_up",
                "41 slots of nodes that are back, 150.0/s, 273 ms left");
    assert_says("{}", "catching_up", NULL);
    assert_says("{}", "moves", NULL);
}

static void slots_are_one_line(void **state)
{
    (void)state;
    assert_says("{\"slots\": {\"all\": 1024, \"degraded\": 0, \"lost\": 0}}", "slots",
                "1,024, all have all their replicas");
    assert_says("{\"slots\": {\"all\": 1024, \"degraded\": 1000, \"unserved\": 7, \"takeover\": 7}}", "slots",
                "1,024: 1,000 degraded, 7 unserved, 7 change hands");
    assert_says("{\"slots\": {\"all\": 0}}", "slots", NULL);
}

static void what_does_not_work_is_said(void **state)
{
    (void)state;
    static const char failing[] =
        "{\"members\": [{\"name\": \"a\", \"state\": \"up\"}, {\"name\": \"b\", \"state\": \"silent\"},"
        "               {\"name\": \"c\", \"state\": \"silent\"}, {\"name\": \"d\", \"state\": \"stopped\"}],"
        " \"slots\": {\"all\": 2048, \"degraded\": 2000, \"unserved\": 7},"
        " \"classes\": [{\"replicas\": 2, \"slots\": 1024, \"degraded\": 1000, \"unserved\": 7, \"refusing\": 7},"
        "               {\"replicas\": 3, \"slots\": 1024, \"degraded\": 1000, \"unserved\": 0, \"refusing\": 900}]}";
    static const char degraded[] = "{\"slots\": {\"all\": 1024, \"degraded\": 1}, \"classes\": [{\"slots\": 1024}]}";
    static const char crowded[] = "{\"moves\": {\"left\": 1500, \"no_room\": 1200, \"under_way\": 0}}";
    static const char silent[] = "{\"members\": [{\"name\": \"b\", \"state\": \"silent\"}]}";

    assert_says(failing, "health", "failing");
    assert_says(failing, "unserved", "7 of 2,048 slots: neither read nor written");
    assert_says(failing, "refuse_writes", "900 of 2,048 slots more: too few of their replicas are there");
    assert_says(failing, "members", "4: 1 up, 2 silent, 1 stopped");
    assert_says(degraded, "health", "degraded");
    assert_says(degraded, "unserved", NULL);
    assert_says(silent, "health", "degraded");
    assert_says("{\"members\": [{\"name\": \"a\", \"state\": \"up\"}]}", "health", "ok");
    assert_says("{\"members\": [{\"name\": \"a\", \"state\": \"lost\"}]}", "health", "ok"); /* no slot misses it */
    assert_says(crowded, "health", "degraded");
    assert_says(
        crowded, "no_room",
        "1,200 replicas: the nodes that are to have them hold as many slots as a node can; more nodes are needed");
}

/* Slots that a namespace left behind miss their replicas, and nobody misses them. */
static void what_is_unused_is_no_trouble(void **state)
{
    (void)state;
    static const char unused[] =
        "{\"slots\": {\"all\": 2048, \"unused\": 1024, \"degraded\": 0, \"too_few_nodes\": 0, \"hosts\": 3},"
        " \"classes\": [{\"replicas\": 3, \"slots\": 1024, \"degraded\": 0},"
        "               {\"replicas\": 8, \"slots\": 1024, \"degraded\": 1024, \"unserved\": 1, \"refusing\": 9,"
        "                \"unused\": true}]}";
    json_t *brief = brief_of(unused), *rows = json_object_get(brief, "slots_that_no_namespace_uses");

    assert_string_equal(cli_text_of(brief, "health"), "ok");
    assert_string_equal(cli_text_of(brief, "slots"), "1,024, all have all their replicas");
    assert_null(json_object_get(brief, "unserved"));
    assert_null(json_object_get(brief, "refuse_writes"));
    assert_null(json_object_get(brief, "missing_replicas"));
    assert_int_equal(json_array_size(rows), 1);
    assert_int_equal(cli_number_of(json_array_get(rows, 0), "replicas"), 8);
    json_decref(brief);
}

static void replicas_without_nodes_are_told_apart(void **state)
{
    (void)state;
    static const char few[] = "{\"slots\": {\"all\": 2048, \"degraded\": 1024, \"too_few_nodes\": 1024, \"hosts\": 3}}";

    assert_says(few, "health", "degraded");
    assert_says(few, "too_few_nodes",
                "1,024 slots want more replicas than there are nodes that may hold them (3): no waiting brings those, "
                "but more nodes do");
    assert_says("{\"slots\": {\"all\": 2048, \"degraded\": 1024, \"too_few_nodes\": 0}}", "too_few_nodes", NULL);
}

/* Another machine's file of the same name may be here, too, and leads to the node of this one. */
static void unix_sockets_of_other_machines_are_no_way_to_a_node(void **state)
{
    (void)state;
    char here[CAIRN_HOST_ID_MAX];
    cairn_host_id(here);
    const struct {
        const char *host, *expected;
    } cases[] = {
        { here, "tcp://a:1,unix:///run/s,tcp://b:2" },
        { "", "tcp://a:1,unix:///run/s,tcp://b:2" }, /* not known */
        { "another", "tcp://a:1,tcp://b:2" },
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        json_t *member = json_pack("{s:s, s:[s, s, s, i]}", "host", cases[i].host, "addresses", "tcp://a:1",
                                   "unix:///run/s", "tcp://b:2", 3);
        char *addresses = cli_cluster_addresses(member);

        assert_string_equal(addresses, cases[i].expected);
        free(addresses);
        json_decref(member);
    }
}

/* Of several that had the name the one that is meant, as the coordinator chooses it. */
static void who_is_called_is_found(void **state)
{
    (void)state;
    static const struct {
        const char *a, *b; /* state, slots */
        int as, bs;
        bool away;
        const char *expected;
    } cases[] = {
        { "lost", "silent", 0, 9, true, "b" }, { "silent", "lost", 9, 0, true, "a" },
        { "lost", "up", 0, 9, true, "b" },     { "up", "lost", 9, 0, true, "a" },
        { "lost", "up", 3, 9, true, "a" },     { "lost", "up", 3, 9, false, "b" },
        { "left", "up", 0, 9, true, "b" },     { "lost", "silent", 0, 9, false, "b" },
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        json_t *doc = json_pack("{s:[{s:s, s:s, s:s, s:i}, {s:s, s:s, s:s, s:i}]}", "members", "name", "n", "node", "a",
                                "state", cases[i].a, "slots", cases[i].as, "name", "n", "node", "b", "state",
                                cases[i].b, "slots", cases[i].bs);

        assert_string_equal(cli_text_of(cli_cluster_member(doc, "n", cases[i].away), "node"), cases[i].expected);
        assert_string_equal(cli_text_of(cli_cluster_member(doc, "a", cases[i].away), "node"), "a");
        assert_null(cli_cluster_member(doc, "c", cases[i].away));
        json_decref(doc);
    }
}

static void who_was_not_heard_yet_is_named(void **state)
{
    (void)state;
    static const struct {
        const char *members, *expected;
    } cases[] = {
        { "{\"name\": \"a\", \"state\": \"up\", \"heard\": true}", NULL },
        { "{\"name\": \"a\", \"state\": \"up\"}", NULL }, /* of a node of an older build */
        { "{\"name\": \"a\", \"state\": \"lost\", \"heard\": false}", NULL },
        { "{\"name\": \"a\", \"state\": \"up\", \"heard\": true}, {\"name\": \"b\", \"state\": \"draining\", \"heard\": false}",
          "b" },
        { "{\"name\": \"a\", \"state\": \"up\", \"heard\": false}", "a" },
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        char text[256];
        json_t *doc;

        snprintf(text, sizeof(text), "{\"members\": [%s]}", cases[i].members);
        doc = json_loads(text, 0, NULL);
        assert_non_null(doc);
        if (cases[i].expected != NULL)
            assert_string_equal(cli_cluster_unheard(doc), cases[i].expected);
        else
            assert_null(cli_cluster_unheard(doc));
        json_decref(doc);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(progress_has_a_rate_and_a_time),
        cmocka_unit_test(slots_are_one_line),
        cmocka_unit_test(what_does_not_work_is_said),
        cmocka_unit_test(what_is_unused_is_no_trouble),
        cmocka_unit_test(replicas_without_nodes_are_told_apart),
        cmocka_unit_test(unix_sockets_of_other_machines_are_no_way_to_a_node),
        cmocka_unit_test(who_is_called_is_found),
        cmocka_unit_test(who_was_not_heard_yet_is_named),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
