/* What is written to etcd, and what is read from it: the forms that a real one has, and what must be refused. */
#include "server/cluster/map_etcd_json.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void expect(char *text, const char *wanted)
{
    assert_non_null(text);
    assert_string_equal(text, wanted);
    free(text);
}

static void requests_are_what_etcd_takes(void **state)
{
    const struct cairn_map_write writes[2] = {
        { .key = "ab", .value = (const uint8_t *)"1", .value_len = 1, .lease = 9 }, { .key = "abc", .from = 12 }
    };
    struct cairn_map_change c = { .writes = writes, .nwrites = 2, .fence_key = "e", .fence = 5 };
    struct cairn_map_lease_op l = { .verb = CAIRN_MAP_GRANT, .ttl_ms = 2001, .id = 7 };

    (void)state;
    expect(cairn_etcd_write_txn("/", &c),
           "{\"compare\":[{\"key\":\"L2U=\",\"target\":\"CREATE\",\"result\":\"EQUAL\",\"create_revision\":\"5\"},"
           "{\"key\":\"L2Fi\",\"target\":\"CREATE\",\"result\":\"EQUAL\",\"create_revision\":\"0\"},"
           "{\"key\":\"L2FiYw==\",\"target\":\"MOD\",\"result\":\"EQUAL\",\"mod_revision\":\"12\"}],"
           "\"success\":[{\"request_put\":{\"key\":\"L2Fi\",\"value\":\"MQ==\",\"lease\":\"9\"}},"
           "{\"request_delete_range\":{\"key\":\"L2FiYw==\"}}],"
           "\"failure\":[{\"request_range\":{\"key\":\"L2U=\",\"keys_only\":true}},"
           "{\"request_range\":{\"key\":\"L2Fi\",\"keys_only\":true}},"
           "{\"request_range\":{\"key\":\"L2FiYw==\",\"keys_only\":true}}]}");
    expect(cairn_etcd_write_range("/", &(struct cairn_etcd_range){ .begin = "ab", .limit = 256 }),
           "{\"key\":\"L2Fi\",\"range_end\":\"L2Fj\",\"limit\":\"256\",\"revision\":\"0\"}");
    expect(cairn_etcd_write_range("/",
                                  &(struct cairn_etcd_range){
                                      .begin = "a\xff", .after = "ab", .revision = 3, .limit = 1, .keys_only = true }),
           "{\"key\":\"L2FiAA==\",\"range_end\":\"L2I=\",\"limit\":\"1\",\"revision\":\"3\",\"keys_only\":true}");
    expect(cairn_etcd_write_range(
               "/", &(struct cairn_etcd_range){ .begin = "", .end = "b/", .after = "ab", .revision = 3, .limit = 256 }),
           "{\"key\":\"L2FiAA==\",\"range_end\":\"L2Iv\",\"limit\":\"256\",\"revision\":\"3\"}");
    expect(cairn_etcd_write_range(
               "/", &(struct cairn_etcd_range){ .begin = "ab", .after = "abc", .limit = 7, .last_first = true }),
           "{\"key\":\"L2Fi\",\"range_end\":\"L2FiYw==\",\"limit\":\"7\",\"revision\":\"0\","
           "\"sort_order\":\"DESCEND\",\"sort_target\":\"KEY\"}");
    expect(cairn_etcd_write_lease(&l), "{\"TTL\":\"3\"}");
    l.verb = CAIRN_MAP_KEEP;
    expect(cairn_etcd_write_lease(&l), "{\"ID\":\"7\"}");
    expect(cairn_etcd_write_watch("/c/", NULL, 8), "{\"create_request\":{\"key\":\"L2Mv\",\"range_end\":\"L2Mw\","
                                             "\"start_revision\":\"8\",\"progress_notify\":true}}");
    expect(cairn_etcd_write_watch("/c/", "b/", 8),
           "{\"create_request\":{\"key\":\"L2Mv\",\"range_end\":\"L2MvYi8=\","
           "\"start_revision\":\"8\",\"progress_notify\":true}}");
}

/* What the encoder makes of any bytes, the decoder makes again of it. */
static void base64_comes_back(void **state)
{
    uint8_t bytes[300];

    (void)state;
    for (size_t n = 0; n < sizeof(bytes); n++) {
        struct cairn_map_write write = { .key = "k", .value = bytes, .value_len = (uint32_t)n };
        struct cairn_map_change c = { .writes = &write, .nwrites = 1 };
        struct cairn_map_table t = { 0 };
        struct cairn_etcd_page page;
        char answer[1024], *request;
        json_t *o;

        for (size_t i = 0; i < n; i++)
            bytes[i] = (uint8_t)(i * 37 + n);
        request = cairn_etcd_write_txn("/", &c);
        o = json_loads(request, 0, NULL);
        snprintf(answer, sizeof(answer),
                 "{\"header\":{\"revision\":\"4\"},\"kvs\":[{\"key\":\"L2s=\",\"value\":\"%s\","
                 "\"create_revision\":\"3\",\"mod_revision\":\"4\"}]}",
                 json_string_value(json_object_get(
                     json_object_get(json_array_get(json_object_get(o, "success"), 0), "request_put"), "value")));
        assert_int_equal(cairn_etcd_read_range(answer, strlen(answer), "/", false, &t, &page, NULL), 0);
        assert_int_equal(t.n, 1);
        assert_int_equal(t.nodes[0]->e.value_len, n);
        assert_memory_equal(t.nodes[0]->e.value, bytes, n);
        assert_string_equal(page.last, "k");
        free(page.last);
        cairn_map_table_fini(&t);
        json_decref(o);
        free(request);
    }
}

static int range_of(const char *kvs, bool last_first, uint32_t *n)
{
    struct cairn_map_table t = { 0 };
    struct cairn_etcd_page page;
    char answer[512];
    int rc;

    snprintf(answer, sizeof(answer), "{\"header\":{\"revision\":\"9\"},\"kvs\":[%s]}", kvs);
    rc = cairn_etcd_read_range(answer, strlen(answer), "/c/", last_first, &t, &page, NULL);
    *n = t.n;
    free(page.last);
    cairn_map_table_fini(&t);
    return rc;
}

static int range(const char *kvs, uint32_t *n)
{
    return range_of(kvs, false, n);
}

#define KV(key, created, changed)                                                                                      \
    "{\"key\":\"" key "\",\"create_revision\":\"" created "\",\"mod_revision\":\"" changed "\"}"

static void malformed_answers_are_refused(void **state)
{
    static const char *const bad[] = {
        KV("L2MvYQ==", "3", "2"),                              /* changed before it was created */
        KV("L2MvYQ==", "0", "2"),                              /* never created */
        KV("L2MvYQ==", "-1", "2"),                             /* no number */
        KV("L2MvYQ==", "3", "99999999999999999999"),           /* too large */
        KV("L2MvYQ=", "2", "2"),                               /* no base64 */
        KV("L2Mv*Q==", "2", "2"),                              /* nor this */
        KV("YQ==", "2", "2"),                                  /* not our prefix */
        KV("L2MvYg==", "2", "2") "," KV("L2MvYQ==", "2", "2"), /* out of order */
        "7",
    };
    struct cairn_map_change c = { 0 };
    uint32_t n;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        assert_int_equal(range(bad[i], &n), CAIRN_E_PROTO);
    assert_int_equal(range_of(KV("L2MvYg==", "2", "2") "," KV("L2MvYQ==", "2", "2"), true, &n), 0);
    assert_int_equal(n, 2);
    assert_int_equal(range_of(KV("L2MvYQ==", "2", "2") "," KV("L2MvYg==", "2", "2"), true, &n), CAIRN_E_PROTO);
    assert_int_equal(range(KV("L2MvYQ==", "2", "2"), &n), 0);
    assert_int_equal(n, 1);
    assert_int_equal(range(KV("L2MvYQBi", "2", "2"), &n), 0); /* a zero byte: not by us, and not in our way */
    assert_int_equal(n, 0);
    assert_int_equal(cairn_etcd_read_txn("{}", 2, &c, NULL), CAIRN_E_PROTO);
    assert_int_equal(cairn_etcd_read_txn("{\"succeeded\":true}", 18, &c, NULL), CAIRN_E_PROTO);
    assert_int_equal(cairn_etcd_read_txn("nonsense", 8, &c, NULL), CAIRN_E_PROTO);
}

/* The revision up to which a watch's line tells all, and how many entries it tells. */
static uint64_t told_by(const char *events, uint32_t *n)
{
    struct cairn_etcd_news news;
    char line[512];
    uint64_t revision;

    snprintf(line, sizeof(line), "{\"result\":{\"header\":{\"revision\":\"2501\"}%s}}", events);
    assert_int_equal(cairn_etcd_read_news(line, strlen(line), "/c/", &news, NULL), 0);
    revision = news.revision;
    *n = news.n;
    cairn_etcd_news_clear(&news);
    return revision;
}

/* Whoever is behind is told a part at a time, each with the store's newest revision in its header. */
static void a_line_tells_up_to_its_last_event(void **state)
{
    uint32_t n;

    (void)state;
    assert_int_equal(
        told_by(",\"events\":[{\"kv\":" KV("L2MvYQ==", "2", "2") "},{\"kv\":" KV("L2MvYg==", "3", "3") "}]", &n), 3);
    assert_int_equal(n, 2);
    assert_int_equal(
        told_by(",\"events\":[{\"kv\":" KV("L2MvYQ==", "2", "2") "},{\"kv\":" KV("L2MvYQBi", "4", "4") "}]", &n),
        4); /* the last one is none of ours */
    assert_int_equal(n, 1);
    assert_int_equal(told_by("", &n), 2501);
    assert_int_equal(told_by(",\"events\":[]", &n), 2501);
}

static struct cairn_etcd_failure failure(const char *text)
{
    return cairn_etcd_read_failure(text, strlen(text), 400, NULL);
}

static void failures_are_told_apart(void **state)
{
    (void)state;
    assert_int_equal(failure("{\"error\":\"etcdserver: requested lease not found\",\"code\":5}").rc, CAIRN_E_CLOSED);
    assert_int_equal(failure("{\"error\":\"etcdserver: invalid auth token\",\"code\":16}").rc, CAIRN_E_AUTH);
    assert_int_equal(failure("{\"error\":\"etcdserver: mvcc: database space exceeded\",\"code\":8}").rc,
                     CAIRN_E_NOSPACE);
    assert_int_equal(failure("{\"error\":\"etcdserver: request timed out\",\"code\":14}").rc, CAIRN_E_UNKNOWN);
    assert_true(failure("{\"error\":\"mvcc: required revision has been compacted\",\"code\":11}").compacted);
    assert_int_equal(failure("{\"error\":{\"grpc_code\":14,\"message\":\"no leader\"}}").rc, CAIRN_E_UNKNOWN);
    assert_int_equal(failure("<html>").rc, CAIRN_E_UNKNOWN);
    assert_int_equal(failure("").rc, CAIRN_E_UNKNOWN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_are_what_etcd_takes),  cmocka_unit_test(base64_comes_back),
        cmocka_unit_test(malformed_answers_are_refused), cmocka_unit_test(a_line_tells_up_to_its_last_event),
        cmocka_unit_test(failures_are_told_apart),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
