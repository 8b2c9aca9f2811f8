/* What is printed: the same rows as a table and as JSON, documents of a server, progress. */
#include "tools/cairn/commands.h"
#include "tools/cairn/out.h"
#include "tools/cairn/progress.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct cli cli;
static char *text, *messages;
static size_t len, messages_len;

static int setup(void **state)
{
    (void)state;
    cli = (struct cli){ .out = open_memstream(&text, &len), .err = open_memstream(&messages, &messages_len) };
    return cli.out != NULL && cli.err != NULL ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    fclose(cli.out);
    fclose(cli.err);
    free(text);
    free(messages);
    return 0;
}

static const struct cli_col cols[] = { { "NAME", "name", CLI_CELL_TEXT },
                                       { "SIZE", "bytes", CLI_CELL_BYTES },
                                       { "AGE", "age_ns", CLI_CELL_DURATION },
                                       { "OPEN", "open", CLI_CELL_BOOL } };

static int print_two(void)
{
    struct cli_table *t = cli_table_new(&cli, "things", cols, ARRAY_SIZE(cols));
    cli_table_row(t, (struct cli_cell[]){ CLI_TEXT("first"), CLI_NUM(2048), CLI_NUM(1500000), CLI_NUM(1) });
    cli_table_row(t, (struct cli_cell[]){ CLI_TEXT("a longer name"), CLI_NUM(5), CLI_NUM(0), CLI_NUM(0) });
    cli_table_extra(t, "more", json_true());
    int rc = cli_table_end(t);
    fflush(cli.out);
    return rc;
}

static void rows_are_aligned(void **state)
{
    (void)state;
    assert_int_equal(print_two(), CLI_OK);
    assert_string_equal(text, "NAME              SIZE      AGE  OPEN\n"
                              "first          2.0 KiB  1.50 ms  yes\n"
                              "a longer name      5 B     0 ns  no\n");
}

/* The row of `cairn where` that takes most, on the usual terminal: 13 columns are left for its reason. */
static void words_take_what_is_left_of_the_width(void **state)
{
    (void)state;
    static const struct cli_col wide[] = { { "NAME", "name", CLI_CELL_TEXT }, { "WHY", "why", CLI_CELL_WORDS } };
    char name[66];
    memset(name, 'n', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    cli.width = 80;
    struct cli_table *t = cli_table_new(&cli, "things", wide, ARRAY_SIZE(wide));
    cli_table_row(t, (struct cli_cell[]){ CLI_TEXT(name), CLI_TEXT("choice 2 of 3 members by hash, weight and zone") });
    assert_int_equal(cli_table_end(t), CLI_OK);
    fflush(cli.out);
    int lines = 0;
    for (const char *line = text, *end; (end = strchr(line, '\n')) != NULL; line = end + 1, lines++)
        assert_in_range(end - line, 1, 80);
    assert_int_equal(lines, 1 + 4);
}

static void rows_are_json_when_asked(void **state)
{
    (void)state;
    cli.g.json = true;
    assert_int_equal(print_two(), CLI_OK);
    json_t *doc = json_loads(text, 0, NULL);
    assert_non_null(doc);
    assert_int_equal(json_integer_value(json_object_get(doc, "version")), CLI_JSON_VERSION);
    assert_true(json_is_true(json_object_get(doc, "more")));
    const json_t *second = json_array_get(json_object_get(doc, "things"), 1);
    assert_string_equal(json_string_value(json_object_get(second, "name")), "a longer name");
    assert_int_equal(json_integer_value(json_object_get(second, "bytes")), 5);
    assert_true(json_is_false(json_object_get(second, "open")));
    json_decref(doc);
}

/* Keys are bytes: what is no UTF-8 is written in hexadecimal under another name. */
/* What people can do without goes first, and no more than must; programs get it all. */
static void spare_columns_leave_a_narrow_terminal(void **state)
{
    static const struct cli_col member[] = { { "NAME", "name", CLI_CELL_TEXT },
                                             { "ADDRESS", "address", CLI_CELL_TEXT },
                                             { "ROOM", "room_bytes", CLI_CELL_ROOM },
                                             { "LOAD", "load", CLI_CELL_NUMBER } };
    static const struct {
        uint32_t width;
        const char *head;
    } shown[] = { { 0, "NAME  ADDRESS       ROOM  LOAD\n" },
                  { 30, "NAME  ADDRESS       ROOM  LOAD\n" },
                  { 29, "NAME  ADDRESS       LOAD\n" },
                  { 24, "NAME  ADDRESS       LOAD\n" },
                  { 23, "NAME  LOAD\n" },
                  { 3, "NAME  LOAD\n" } };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(shown); i++) {
        fflush(cli.out);
        size_t before = len;
        cli.width = shown[i].width;
        struct cli_table *t = cli_table_new(&cli, "members", member, ARRAY_SIZE(member));
        cli_table_spare(t, "room_bytes");
        cli_table_spare(t, "address");
        cli_table_row(t, (struct cli_cell[]){ CLI_TEXT("n1"), CLI_TEXT("tcp://host:1"), CLI_NUM(0), CLI_NUM(7) });
        assert_int_equal(cli_table_end(t), CLI_OK);
        fflush(cli.out);
        if (strncmp(text + before, shown[i].head, strlen(shown[i].head)) != 0)
            fail_msg("at %u: %s", shown[i].width, text + before);
    }
}

/* A cell that is no UTF-8 is a field all the same. */
static void cells_of_any_bytes_are_json(void **state)
{
    (void)state;
    cli.g.json = true;
    struct cli_table *t = cli_table_new(&cli, "rows", cols, 1);
    cli_table_row(t, (struct cli_cell[]){ CLI_TEXT("a\xff\x1b") });
    assert_int_equal(cli_table_end(t), CLI_OK);
    fflush(cli.out);
    json_t *doc = json_loads(text, 0, NULL);
    assert_string_equal(cli_text_of(json_array_get(json_object_get(doc, "rows"), 0), "name"), "a\\xff\\x1b");
    json_decref(doc);
}

static void keys_of_any_bytes_are_json(void **state)
{
    (void)state;
    json_t *o = json_object();
    cli_json_bytes(o, "key", "plain", 5);
    cli_json_bytes(o, "other", "\xff\x00\x01", 3);
    assert_string_equal(json_string_value(json_object_get(o, "key")), "plain");
    assert_string_equal(json_string_value(json_object_get(o, "other_hex")), "ff0001");
    json_decref(o);
}

static void a_stream_is_one_document(void **state)
{
    (void)state;
    for (int n = 0; n < 3; n++) {
        struct cli_stream s;
        rewind(cli.out);
        cli_stream_begin(&s, &cli, "objects");
        for (int i = 0; i < n; i++)
            cli_stream_item(&s, json_pack("{s:i}", "n", i));
        cli_stream_end(&s, "complete", json_true());
        fflush(cli.out);
        json_t *doc = json_loadb(text, (size_t)ftell(cli.out), 0, NULL);
        assert_non_null(doc);
        assert_int_equal(json_array_size(json_object_get(doc, "objects")), n);
        assert_true(json_is_true(json_object_get(doc, "complete")));
        json_decref(doc);
    }
}

static void documents_are_shown_by_their_names(void **state)
{
    (void)state;
    json_t *doc =
        json_pack("{s:i, s:s, s:I, s:I, s:[{s:s,s:i},{s:s,s:s}], s:{s:b}, s:[]}", "version", 1, "node", "n1",
                  "uptime_ms", (json_int_t)125000, "resident_bytes", (json_int_t)(3 << 20), "providers", "name", "kv0",
                  "databases", 3, "name", "extent0", "health", "readonly", "limits", "strict", 1, "warnings");
    assert_non_null(doc);
    assert_int_equal(cli_render(&cli, doc), CLI_OK);
    fflush(cli.out);
    assert_non_null(strstr(text, "uptime     2m 05s\n"));
    assert_non_null(strstr(text, "resident   3.0 MiB\n"));
    assert_non_null(strstr(text, "NAME     DATABASES  HEALTH\n"));
    assert_non_null(strstr(text, "extent0          -  readonly\n"));
    assert_non_null(strstr(text, "strict  yes"));
    assert_null(strstr(text, "version"));
    assert_null(strchr(text, '\033'));
    json_decref(doc);
}

static void colours_only_where_asked(void **state)
{
    (void)state;
    json_t *doc = json_pack("{s:s}", "health", "degraded");
    cli.color = true;
    cli_render(&cli, doc);
    fflush(cli.out);
    assert_string_equal(text, "health  \033[31mdegraded\033[0m\n");
    json_decref(doc);
}

static void what_is_no_document_is_refused(void **state)
{
    (void)state;
    static const char *const wrong[] = { "", "{", "[]", "3", "\"x\"", "{\"a\":1} x" };
    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
        json_t *doc;
        assert_int_equal(cli_parse_document(&cli, wrong[i], &doc), CLI_FAILED);
        assert_null(doc);
    }
}

static void text_cannot_lead_a_terminal_astray(void **state)
{
    (void)state;
    static const char bytes[] =
        "ok \xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80 \033]0;x\007 \xc2\x9b \xc0\xaf \xed\xa0\x80 \xff\n";
    cli_put_printable(cli.out, bytes, sizeof(bytes) - 1);
    fflush(cli.out);
    assert_string_equal(text,
                        "ok \xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80 \\x1b]0;x\\x07 \\xc2\\x9b \\xc0\\xaf \\xed\\xa0\\x80 "
                        "\\xff\\x0a");
}

/* What a name looks like is what it is: nothing in it turns round or hides what stands beside it. */
static void what_nobody_sees_is_shown(void **state)
{
    static const struct {
        const char *text, *shown;
    } cases[] = {
        { "a\u202ebc", "a\\xe2\\x80\\xaebc" }, /* right to left, whatever it is */
        { "\u202a", "\\xe2\\x80\\xaa" },
        { "\u2066x\u2069", "\\xe2\\x81\\xa6x\\xe2\\x81\\xa9" },
        { "\u200b\u200f", "\\xe2\\x80\\x8b\\xe2\\x80\\x8f" }, /* no width; right to left from here */
        { "\u061c", "\\xd8\\x9c" },
        { "\u00ad", "\\xc2\\xad" },
        { "\u2028", "\\xe2\\x80\\xa8" }, /* another line */
        { "\ufeff", "\\xef\\xbb\\xbf" },
        { "\U000e0041", "\\xf3\\xa0\\x81\\x81" }, /* a letter that is only a tag */
        { "\u00ae\u200a\u2010\u2030\u2070\u05d0\u0627", "\u00ae\u200a\u2010\u2030\u2070\u05d0\u0627" },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        char *shown = NULL;
        size_t shown_len = 0;
        FILE *to = open_memstream(&shown, &shown_len);

        cli_put_text(to, cases[i].text);
        fclose(to);
        assert_string_equal(shown, cases[i].shown);
        free(shown);
    }
    struct cli_table *t = cli_table_new(&cli, "rows", cols, 1);
    cli_table_row(t, (struct cli_cell[]){ CLI_TEXT("a\u202eb\\x") });
    assert_int_equal(cli_table_end(t), CLI_OK);
    fflush(cli.out);
    assert_string_equal(text, "NAME\na\\xe2\\x80\\xaeb\\x\n");
}

static void progress_says_how_far_and_how_long(void **state)
{
    (void)state;
    char line[256];
    struct cli_progress p = { .cli = &cli, .verb = "import", .files = 1204, .bytes = 50 << 20 };
    cli_progress_line(&p, 2 * CAIRN_NS_PER_S, line, sizeof(line));
    assert_string_equal(line, "import  1,204 files  50.0 MiB  25.0 MiB/s");
    p.totals_known = true;
    p.files_total = 4816;
    p.bytes_total = 100 << 20;
    cli_progress_line(&p, 2 * CAIRN_NS_PER_S, line, sizeof(line));
    assert_string_equal(line, "import  1,204 of 4,816 files  50.0 MiB  25.0 MiB/s   25 %  6.00 s left");
    /* What was there already took no time: 25 MiB in 2 s, and 50 MiB are left. */
    p.skipped_files = 1000;
    p.skipped_bytes = 25 << 20;
    p.files_total = 2 * 1204;
    cli_progress_line(&p, 2 * CAIRN_NS_PER_S, line, sizeof(line));
    assert_string_equal(line, "import  1,204 of 2,408 files  50.0 MiB  12.5 MiB/s   50 %  11.8 s left");
}

/* Nobody sees it: nothing is drawn. */
static void progress_is_silent_without_a_terminal(void **state)
{
    (void)state;
    struct cli_progress p;
    cli_progress_start(&p, &cli, "import");
    p.files = 3;
    cli_progress_stop(&p);
    fflush(cli.err);
    assert_int_equal(messages_len, 0);
    cli.g.json = true;
    cli_progress_start(&p, &cli, "import");
    p.files = 3;
    cli_progress_stop(&p);
    fflush(cli.err);
    json_t *last = json_loads(messages, JSON_DISABLE_EOF_CHECK, NULL);
    assert_int_equal(json_integer_value(json_object_get(json_object_get(last, "progress"), "files")), 3);
    json_decref(last);
}

/* Nodes, and who writes keys or names, do not get to the terminal through what a command shows of them. */
static void texts_of_servers_are_printable(void **state)
{
    (void)state;
    json_t *doc = json_pack("{s:s, s:{s:s}, s:[{s:s}], s:s}", "name", "a\x1b[31m", "k\x1b[2J", "inner\x07", "\r\x1b[K",
                            "rows", "col\x1b[1m", "cell\x1b]0;t\x07", "problem",
                            "\xc2\x9b"
                            "1m \xc3\xa9");
    assert_int_equal(cli_render(&cli, doc), CLI_OK);
    json_decref(doc);
    cli_record(&cli, (const struct cli_col[]){ { "OWNER", "owner", CLI_CELL_TEXT } },
               (const struct cli_cell[]){ CLI_TEXT("x\x1b[5m") }, 1);
    cli_put_line(cli.out, "n1\x1b[0m");
    fflush(cli.out);
    for (const char *c = text; *c != '\0'; c++) {
        if ((unsigned char)*c < 0x20 && *c != '\n')
            fail_msg("byte %02x in: %s", (unsigned char)*c, c + 1);
    }
    assert_null(strstr(text, "\xc2\x9b"));
    assert_non_null(strstr(text, "a\\x1b[31m\n"));
    assert_non_null(strstr(text, "k\\x1b[2J\n"));
    assert_non_null(strstr(text, "\\xc2\\x9b"
                                 "1m \xc3\xa9\n"));
    assert_non_null(strstr(text, "x\\x1b[5m\nn1\\x1b[0m\n"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(rows_are_aligned, setup, teardown),
        cmocka_unit_test_setup_teardown(words_take_what_is_left_of_the_width, setup, teardown),
        cmocka_unit_test_setup_teardown(rows_are_json_when_asked, setup, teardown),
        cmocka_unit_test_setup_teardown(spare_columns_leave_a_narrow_terminal, setup, teardown),
        cmocka_unit_test_setup_teardown(cells_of_any_bytes_are_json, setup, teardown),
        cmocka_unit_test_setup_teardown(keys_of_any_bytes_are_json, setup, teardown),
        cmocka_unit_test_setup_teardown(a_stream_is_one_document, setup, teardown),
        cmocka_unit_test_setup_teardown(documents_are_shown_by_their_names, setup, teardown),
        cmocka_unit_test_setup_teardown(colours_only_where_asked, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_no_document_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(text_cannot_lead_a_terminal_astray, setup, teardown),
        cmocka_unit_test_setup_teardown(what_nobody_sees_is_shown, setup, teardown),
        cmocka_unit_test_setup_teardown(texts_of_servers_are_printable, setup, teardown),
        cmocka_unit_test_setup_teardown(progress_says_how_far_and_how_long, setup, teardown),
        cmocka_unit_test_setup_teardown(progress_is_silent_without_a_terminal, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
