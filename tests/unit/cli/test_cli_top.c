/* cairn top: what samples come to, and the screen that is drawn of it. */
#include "tools/cairn/out.h"
#include "tools/cairn/top.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static json_t *parsed(const char *text)
{
    json_t *doc = json_loads(text, 0, NULL);

    assert_non_null(doc);
    return doc;
}

static json_t *method(json_t *methods, size_t i, const char *name)
{
    json_t *m = json_array_get(methods, i);

    assert_string_equal(cli_text_of(m, "method"), name);
    return m;
}

static double real_of(const json_t *o, const char *key)
{
    return json_real_value(json_object_get(o, key));
}

/* Of one node, what it did in @s seconds; adds its rates to @node. */
static json_t *methods_of(const json_t *now, const json_t *before, double s, json_t *node)
{
    struct top_sums *sums = top_sums_new();

    top_sums_add(sums, node, now, before, s);
    return top_sums_end(sums);
}

/* All that it did was to put. */
static void assert_put(const char *now_text, const char *before_text, double s, double per_s, uint64_t mean_ns,
                       uint64_t p99_ns)
{
    json_t *now = parsed(now_text), *before = before_text != NULL ? parsed(before_text) : NULL;
    json_t *node = json_object(), *methods = methods_of(now, before, s, node), *m = method(methods, 0, "put");

    assert_int_equal(json_array_size(methods), 1);
    assert_true(real_of(m, "per_s") == per_s);
    assert_int_equal(cli_number_of(m, "mean_ns"), mean_ns);
    assert_int_equal(cli_number_of(m, "p99_ns"), p99_ns);
    json_decref(methods);
    json_decref(node);
    json_decref(before);
    json_decref(now);
}

#define PUT(requests, sum, latencies)                                                                                  \
    "{\"provider\": \"kv\", \"method\": \"put\", \"requests\": " #requests ", \"failed\": 0, \"in_bytes\": 0,"         \
    " \"out_bytes\": 0, \"p99_ns\": 999999, \"sum_ns\": " #sum ", \"latencies\": " latencies "}"

/* A method with so many requests, so many of them of clients, of which some failed; a byte each, answers only to those. */
#define OF_CLIENTS(provider, method, all, clients, failed)                                                             \
    "{\"provider\": \"" provider "\", \"method\": \"" method "\", \"requests\": " #all                                 \
    ", \"clients\": {\"requests\": " #clients ", \"failed\": " #failed ", \"in_bytes\": " #clients                     \
    ", \"out_bytes\": " #failed "}}"

/* A node that was slow once shows how it is now: what was before the first sample counts no more. */
static void what_was_before_does_not_count(void **state)
{
    static const char before[] = "{\"uptime_ms\": 5000, \"methods\": [" PUT(100, 99100, "[[100, 10], [900, 90]]") "]}";
    static const char now[] =
        "{\"uptime_ms\": 7000, \"methods\": [" PUT(300, 119100, "[[50, 1], [100, 209], [900, 90]]") "]}";

    (void)state;
    assert_put(now, before, 2, 100, 100, 100);
    assert_put(now, NULL, 7, 300.0 / 7, 397, 900); /* and since it started */
}

/* One of two hundred answers of two nodes is slow: that is no more than one of a hundred. */
static void latencies_of_nodes_are_one_distribution(void **state)
{
    json_t *a = parsed("{\"uptime_ms\": 1000, \"methods\": [" PUT(99, 9900, "[[100, 99]]") "]}");
    json_t *b = parsed("{\"uptime_ms\": 1000, \"methods\": [" PUT(101, 20900, "[[100, 99], [500, 1], [9000, 1]]") "]}");
    json_t *node = json_object(), *methods;
    struct top_sums *sums = top_sums_new();

    (void)state;
    top_sums_add(sums, node, a, NULL, 1);
    top_sums_add(sums, node, b, NULL, 1);
    methods = top_sums_end(sums);
    assert_int_equal(json_array_size(methods), 1);
    assert_int_equal(cli_number_of(method(methods, 0, "put"), "p99_ns"), 100);
    json_decref(methods);
    json_decref(a);
    json_decref(b);
    json_decref(node);
}

/* It counts from 0 then, and its new counts may be above the old ones. */
static void a_node_that_started_anew_has_no_past(void **state)
{
    static const char before[] = "{\"uptime_ms\": 90000, \"methods\": [" PUT(10, 1000, "[[100, 10]]") "]}";
    static const char now[] = "{\"uptime_ms\": 300, \"methods\": [" PUT(20, 4000, "[[200, 20]]") "]}";

    (void)state;
    assert_put(now, before, 1, 20, 200, 200);
}

/* A client's put is the router's request and then a provider's, but one request of the node; and what is asked to draw
 * the screen is none. */
static void a_node_is_asked_by_clients_alone(void **state)
{
    json_t *before = parsed("{\"uptime_ms\": 1000, \"methods\": [" OF_CLIENTS("router", "put", 40, 40, 0) "]}");
    json_t *now =
        parsed("{\"uptime_ms\": 3000, \"methods\": [" OF_CLIENTS("router", "put", 140, 140, 10) "," OF_CLIENTS(
            "kv", "put", 140, 0, 0) "," OF_CLIENTS("node", "metrics", 7, 7, 0) "]}");
    json_t *node = json_object(), *methods;

    (void)state;
    methods = methods_of(now, before, 2, node);
    assert_true(real_of(node, "requests_per_s") == 50 && real_of(node, "failed_per_s") == 5);
    assert_true(real_of(node, "in_bytes_per_s") == 50 && real_of(node, "out_bytes_per_s") == 5);
    assert_int_equal(json_array_size(methods), 2);
    assert_true(real_of(method(methods, 0, "put"), "per_s") == 70 && real_of(method(methods, 1, "put"), "per_s") == 50);
    json_decref(methods);
    json_decref(before);
    json_decref(now);
    json_decref(node);
}

/* What we ask ourselves is left out; the busiest stands first; what was not asked for takes no time. */
static void methods_stand_in_the_order_of_their_load(void **state)
{
    json_t *now = parsed("{\"uptime_ms\": 1000, \"methods\": ["
                         "{\"provider\": \"node\", \"method\": \"metrics\", \"requests\": 50},"
                         "{\"provider\": \"cluster\", \"method\": \"status\", \"requests\": 50},"
                         "{\"provider\": \"kv\", \"method\": \"get\", \"requests\": 3},"
                         "{\"provider\": \"kv\", \"method\": \"rm\", \"requests\": 0},"
                         "{\"provider\": \"extent\", \"method\": \"read\", \"requests\": 9}]}");
    json_t *node = json_object(), *methods;

    (void)state;
    methods = methods_of(now, NULL, 1, node);
    assert_int_equal(json_array_size(methods), 3);
    method(methods, 0, "read");
    method(methods, 1, "get");
    assert_int_equal(cli_number_of(method(methods, 2, "rm"), "p99_ns"), 0);
    json_decref(methods);
    json_decref(now);
    json_decref(node);
}

/* ---- the screen ---- */

static char *drawn(const char *report, uint32_t width, uint32_t height)
{
    struct cli cli = { .width = width };
    json_t *doc = parsed(report);
    char *text = NULL;
    size_t len = 0;
    FILE *to = open_memstream(&text, &len);

    top_draw(&cli, doc, width, height, to);
    fclose(to);
    json_decref(doc);
    return text;
}

static void assert_shows(const char *report, const char *words)
{
    char *text = drawn(report, 80, 24);

    if (strstr(text, words) == NULL)
        fail_msg("no '%s' in:\n%s", words, text);
    free(text);
}

static void the_screen_says_of_which_time_it_is(void **state)
{
    (void)state;
    assert_shows("{\"since_start\": false, \"window_ms\": 1000, \"nodes\": []}", "rates  of the last 1.00 s\n");
    assert_shows("{\"since_start\": true, \"window_ms\": 200000, \"nodes\": []}",
                 "rates  on average since each node started, the first 3m 20s ago\n");
    assert_shows("{\"since_start\": true, \"window_ms\": 0, \"nodes\": [{\"name\": \"a\", \"answers\": false}]}",
                 "rates  being asked for\n");
    assert_shows("{\"since_start\": true, \"window_ms\": 0, \"nodes\": [{\"name\": \"a\", \"answers\": false,"
                 " \"problem\": \"gone\"}]}",
                 "rates  no node has told any\n");
}

/* Who was asked a moment ago is not called silent; who cannot be asked is, and why. */
static void nodes_without_an_answer_have_a_reason(void **state)
{
    static const char report[] =
        "{\"window_ms\": 1000, \"nodes\": [{\"name\": \"n1\", \"state\": \"up\", \"answers\": false},"
        " {\"name\": \"n2\", \"state\": \"up\", \"answers\": false, \"problem\": \"a wrong key\"},"
        " {\"name\": \"n3\", \"state\": \"silent\", \"answers\": false, \"problem\": \"it cannot be reached\"}]}";

    (void)state;
    assert_shows(report, "nodes  3, 2 without an answer; ");
    assert_shows(report, "\nn1    up    ");
    assert_shows(report, "\nn2    no answer ");
    assert_shows(report, "\nn3    silent ");
    assert_shows(report, "\nn2: a wrong key\n");
}

/* Of a large cluster those come first that want a look; the others follow in their order, as far as there is room. */
static void what_is_wrong_is_never_below_the_edge(void **state)
{
    char report[8192], *text, *first;
    size_t n = 0;

    (void)state;
    n += (size_t)snprintf(report, sizeof(report), "{\"window_ms\": 1000, \"nodes\": [");
    for (int i = 1; i <= 40; i++)
        n += (size_t)snprintf(report + n, sizeof(report) - n,
                              "%s{\"name\": \"n%d\", \"state\": \"%s\", \"answers\": true}", i > 1 ? ", " : "", i,
                              i == 39 ? "draining" : "up");
    snprintf(report + n, sizeof(report) - n, "], \"not_asked\": 2}");
    text = drawn(report, 80, 24);
    first = strstr(text, "\nNODE ");
    assert_non_null(first);
    assert_memory_equal(strchr(first + 1, '\n'), "\nn39   draining ", 15);
    assert_non_null(strstr(text, "\nn1    up "));
    assert_non_null(strstr(text, "\nn7    up "));
    assert_null(strstr(text, "\nn8 "));
    assert_non_null(strstr(text, "\nand 34 more\n"));
    free(text);
    text = drawn(report, 80, 0); /* all, in their order */
    assert_true(strstr(text, "\nn38 ") < strstr(text, "\nn39 "));
    free(text);
}

static void only_what_is_amiss_with_slots_is_said(void **state)
{
    (void)state;
    assert_shows("{\"cluster\": {\"slots\": {\"all\": 1024}}}", "slots  1,024, all have all their replicas\n");
    assert_shows("{\"cluster\": {\"slots\": {\"all\": 1024, \"degraded\": 1000, \"unserved\": 0, \"takeover\": 7}}}",
                 "slots  1,024: 1,000 degraded, 7 change hands\n");
    assert_shows(
        "{\"cluster\": {\"slots\": {\"all\": 1024}, \"moves\": {\"under_way\": 8, \"left\": 49, \"per_s\": 9.5,"
        " \"left_ms\": 6000}}}",
        "slots  1,024, all have all their replicas\nmoves  8 slots now, 49 to come, 9.5/s, 6.00 s left\n");
    assert_shows("{\"cluster\": {\"slots\": {\"all\": 1024}, \"moves\": {\"under_way\": 0, \"left\": 49}}}",
                 "slots  1,024, all have all their replicas\nmoves  0 slots now, 49 to come, 0.0/s, time left unknown\n");
}

/* Whatever nodes say of themselves: lines that fit, of characters that do nothing to a terminal. */
static void names_cannot_lead_the_terminal_astray(void **state)
{
    static const char report[] =
        "{\"window_ms\": 1000, \"problem\": \"\\u001b[2Jx\\ny\", \"nodes\": [{\"name\": \"a\\u001b]0;t\\u0007\\nb\","
        " \"state\": \"\\u009b31m\", \"answers\": true, \"address\": \"tcp://\\r\\u001b[H\"}],"
        " \"methods\": [{\"provider\": \"\\u001b[5m\", \"method\": \"\\n\\n\\n\", \"per_s\": 1.0}]}";

    (void)state;
    for (uint32_t width = 0; width <= 200; width += 40) {
        char *text = drawn(report, width, width == 0 ? 0 : 24);
        size_t lines = 0;

        for (const char *c = text; *c != '\0'; c++) {
            assert_true((*c >= 0x20 && *c < 0x7f) || *c == '\n');
            lines += *c == '\n';
        }
        assert_int_equal(lines, 9); /* three of the head, a blank one, two of nodes, a blank one, two of methods */
        free(text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_before_does_not_count),
        cmocka_unit_test(latencies_of_nodes_are_one_distribution),
        cmocka_unit_test(a_node_that_started_anew_has_no_past),
        cmocka_unit_test(a_node_is_asked_by_clients_alone),
        cmocka_unit_test(methods_stand_in_the_order_of_their_load),
        cmocka_unit_test(the_screen_says_of_which_time_it_is),
        cmocka_unit_test(nodes_without_an_answer_have_a_reason),
        cmocka_unit_test(what_is_wrong_is_never_below_the_edge),
        cmocka_unit_test(only_what_is_amiss_with_slots_is_said),
        cmocka_unit_test(names_cannot_lead_the_terminal_astray),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
