/* cairn members --watch: a line for each change, whatever a member says of itself. */
#include "tools/cairn/cluster.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Of one moment; the caller's. */
static char *line_of(const struct cairn_member *m, bool json)
{
    static const struct timespec now = { .tv_sec = 1700000000, .tv_nsec = 250000000 };
    struct cli cli = { .g.json = json };
    char *text = NULL;
    size_t len = 0;

    cli.out = open_memstream(&text, &len);
    cli_member_line(&cli, m, &now);
    fclose(cli.out);
    assert_int_equal(strlen(text), len); /* no NUL among it */
    return text;
}

static const struct cairn_member plain = { .name = "n1",
                                           .address = "udp://10.0.0.1:7311",
                                           .service = "tcp://10.0.0.1:4710",
                                           .zone = "",
                                           .weight = 100,
                                           .state = CAIRN_MEMBER_ALIVE };

/* A change of what a member says of itself shows what it says now. */
static void attributes_are_part_of_the_line(void **state)
{
    struct cairn_member m = plain;
    char *text = line_of(&m, false);

    (void)state;
    assert_string_equal(strchr(text, ' '), "  alive    n1        udp://10.0.0.1:7311  weight 100\n");
    free(text);
    m.zone = "rack7";
    m.weight = 50;
    m.capacity = UINT64_C(1) << 40;
    m.state = CAIRN_MEMBER_SUSPECT;
    text = line_of(&m, false);
    assert_string_equal(strchr(text, ' '),
                        "  suspect  n1        udp://10.0.0.1:7311  weight 50, zone rack7, capacity 1.0 TiB\n");
    free(text);
}

static void a_document_is_a_line_and_whole(void **state)
{
    struct cairn_member m = plain;
    json_t *doc;
    char *text;

    (void)state;
    m.capacity = UINT64_C(1) << 40;
    m.load = 1000;
    m.incarnation = UINT64_C(1) << 41;
    text = line_of(&m, true);
    assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
    doc = json_loads(text, 0, NULL);
    assert_int_equal(cli_number_of(doc, "version"), CLI_JSON_VERSION);
    assert_true(json_real_value(json_object_get(doc, "time_s")) == 1700000000.25);
    assert_string_equal(cli_text_of(doc, "name"), "n1");
    assert_string_equal(cli_text_of(doc, "state"), "alive");
    assert_string_equal(cli_text_of(doc, "service"), "tcp://10.0.0.1:4710");
    assert_int_equal(cli_number_of(doc, "weight"), 100);
    assert_int_equal(cli_number_of(doc, "capacity_bytes"), INT64_C(1) << 40);
    assert_int_equal(cli_number_of(doc, "load_permille"), 1000);
    assert_int_equal(cli_number_of(doc, "incarnation"), INT64_C(1) << 41);
    json_decref(doc);
    free(text);
}

/* Escape sequences, line ends, broken UTF-8: one line each, that does nothing to a terminal, and one document. */
static void whatever_a_member_says_is_one_harmless_line(void **state)
{
    static const char *const hostile[] = { "a\033[2J\033]0;owned\007",
                                           "b\nalive  n9",
                                           "c\r\033[K",
                                           "\xff\xfe",
                                           "\xc2\x9b"
                                           "31m",
                                           "\xed\xa0\x80",
                                           "\xf4\x90\x80\x80",
                                           "\xc3",
                                           "\x7f\x01",
                                           "" };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(hostile); i++) {
        const char *h = hostile[i];
        struct cairn_member m = { .name = h, .address = h, .service = h, .zone = h, .state = CAIRN_MEMBER_DEAD };
        char *text = line_of(&m, false);
        json_t *doc;

        for (const char *c = text; *c != '\0'; c++)
            assert_true((*c >= 0x20 && *c < 0x7f) || (*c == '\n' && c[1] == '\0'));
        free(text);
        text = line_of(&m, true);
        assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
        assert_null(strchr(text, '\033'));
        doc = json_loads(text, 0, NULL);
        assert_non_null(doc);
        assert_string_equal(cli_text_of(doc, "state"), "silent");
        for (size_t k = 0; k < 4; k++)
            assert_true(
                json_is_string(json_object_get(doc, (const char *const[]){ "name", "address", "service", "zone" }[k])));
        json_decref(doc);
        free(text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(attributes_are_part_of_the_line),
        cmocka_unit_test(a_document_is_a_line_and_whole),
        cmocka_unit_test(whatever_a_member_says_is_one_harmless_line),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
