/* Every kind of mistake gets exactly the text it should; what is right comes out as it was meant. */
#include "server/node/conf/conf_read.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char *const colours[] = { "red", "green", "blue", NULL };

static const struct cairn_conf_key box_keys[] = {
    { .name = "width", .type = CAIRN_CONF_UINT, .fallback = "4", .min = 1, .max = 8, .help = "of the box" },
    { .name = "volume", .type = CAIRN_CONF_SIZE, .fallback = "1MiB", .min = 4096, .help = "of the box" },
    { .name = "delay",
      .type = CAIRN_CONF_DURATION,
      .fallback = "2s",
      .max = UINT64_C(3600000000000),
      .help = "of the box" },
    { .name = "open", .type = CAIRN_CONF_BOOL, .fallback = "false", .help = "is it" },
    { .name = "colour", .type = CAIRN_CONF_CHOICE, .fallback = "green", .choices = colours, .help = "of the box" },
    { .name = NULL },
};
static const struct cairn_conf_key thing_keys[] = {
    { .name = "type", .type = CAIRN_CONF_STRING, .help = "kind of thing" },
    { .name = "name", .type = CAIRN_CONF_STRING, .help = "of the thing" },
    { .name = NULL },
};
static const struct cairn_conf_key lamp_keys[] = {
    { .name = "watts", .type = CAIRN_CONF_UINT, .fallback = "40", .help = "of the lamp" },
    { .name = "path", .type = CAIRN_CONF_STRING, .help = "where it stands" },
    { .name = NULL },
};
static const struct cairn_conf_key keys[] = {
    { .name = "title", .type = CAIRN_CONF_STRING, .fallback = "none", .help = "a text" },
    { .name = "box", .type = CAIRN_CONF_SECTION, .sub = box_keys, .help = "a section" },
    { .name = "words", .type = CAIRN_CONF_LIST, .max = 3, .fallback = "[one, two]", .help = "texts" },
    { .name = "things",
      .type = CAIRN_CONF_LIST,
      .sub = thing_keys,
      .fallback = "[{type: chair, name: c}]",
      .help = "sections" },
    { .name = NULL },
};
static const struct cairn_conf_variant variants[] = { { "lamp", lamp_keys }, { "chair", NULL }, { NULL, NULL } };

static void no_two_names(struct cairn_conf_doc *doc, const struct cairn_conf *root)
{
    for (uint32_t i = 1; i < cairn_conf_list_len(root, "things"); i++) {
        const struct cairn_conf *a = cairn_conf_list_section(root, "things", i - 1);
        const struct cairn_conf *b = cairn_conf_list_section(root, "things", i);

        if (strcmp(cairn_conf_str(a, "name"), cairn_conf_str(b, "name")) == 0)
            cairn_conf_complain(doc, b, "name", -1, "name '%s' again", cairn_conf_str(b, "name"));
    }
}
static cairn_conf_validator *const validators[] = { no_two_names, NULL };
static const struct cairn_conf_schema schema = {
    .keys = keys, .variant_list = "things", .variants = variants, .validators = validators
};

static int read_with(const char *text, const struct cairn_conf_override *o, uint32_t n, struct cairn_conf_doc **doc)
{
    struct cairn_conf_input in = {
        .text = text, .text_len = text != NULL ? strlen(text) : 0, .text_name = "f", .overrides = o, .noverrides = n
    };

    return cairn_conf_read(&schema, &in, doc, NULL);
}

static char *problems_of(const struct cairn_conf_doc *doc)
{
    char *all = calloc(1, 1 << 20);

    for (uint32_t i = 0; i < cairn_conf_nproblems(doc); i++) {
        strcat(all, cairn_conf_problem(doc, i));
        strcat(all, "\n");
    }
    return all;
}

static void expect_with(const char *text, const struct cairn_conf_override *o, uint32_t n, const char *problems)
{
    struct cairn_conf_doc *doc;
    int rc = read_with(text, o, n, &doc);
    char *all;

    assert_non_null(doc);
    all = problems_of(doc);
    assert_string_equal(all, problems);
    assert_int_equal(rc, problems[0] != '\0' ? CAIRN_E_CONFIG : 0);
    assert_int_equal(cairn_conf_root(doc) == NULL, rc != 0);
    free(all);
    cairn_conf_free(doc);
}

static void expect(const char *text, const char *problems)
{
    expect_with(text, NULL, 0, problems);
}

static void schema_is_sound(void **state)
{
    struct cairn_err err = { 0 };

    (void)state;
    assert_int_equal(cairn_conf_schema_check(&schema, &err), 0);
}

static void unsound_schemas_are_told(void **state)
{
    static const struct cairn_conf_key bad_default[] = {
        { .name = "a", .type = CAIRN_CONF_UINT, .fallback = "9", .max = 8, .help = "h" }, { .name = NULL }
    };
    static const struct cairn_conf_key twice[] = {
        { .name = "a", .type = CAIRN_CONF_BOOL, .fallback = "no", .help = "h" },
        { .name = "a", .type = CAIRN_CONF_BOOL, .fallback = "no", .help = "h" },
        { .name = NULL }
    };
    static const struct cairn_conf_key helpless[] = { { .name = "a", .type = CAIRN_CONF_BOOL, .fallback = "no" },
                                                      { .name = NULL } };
    struct cairn_conf_schema s = { .keys = bad_default };
    struct cairn_err err = { 0 };

    (void)state;
    assert_int_equal(cairn_conf_schema_check(&s, &err), CAIRN_E_INTERNAL);
    assert_string_equal(err.text, "configuration: default of 'a' is 9; it must be a number from 0 to 8");
    s.keys = twice;
    assert_int_equal(cairn_conf_schema_check(&s, &err), CAIRN_E_INTERNAL);
    assert_string_equal(err.text, "configuration: two keys are called 'a'");
    s.keys = helpless;
    assert_int_equal(cairn_conf_schema_check(&s, &err), CAIRN_E_INTERNAL);
}

static void defaults_hold_where_nothing_is_said(void **state)
{
    static const char *const silent[] = { NULL, "", "# only a comment\n", "---\n", "box:\nwords:\nthings:\n", "{}" };

    (void)state;
    for (size_t i = 0; i < sizeof(silent) / sizeof(silent[0]); i++) {
        struct cairn_conf_doc *doc;
        const struct cairn_conf *root, *box;

        assert_int_equal(read_with(silent[i], NULL, 0, &doc), 0);
        root = cairn_conf_root(doc);
        box = cairn_conf_section(root, "box");
        assert_int_equal(cairn_conf_u64(box, "width"), 4);
        assert_int_equal(cairn_conf_u64(box, "volume"), 1 << 20);
        assert_int_equal(cairn_conf_u64(box, "delay"), 2000000000);
        assert_false(cairn_conf_bool(box, "open"));
        assert_int_equal(cairn_conf_u64(box, "colour"), 1);
        assert_string_equal(cairn_conf_str(box, "colour"), "green");
        assert_string_equal(cairn_conf_str(root, "title"), "none");
        assert_int_equal(cairn_conf_list_len(root, "words"), 2);
        assert_string_equal(cairn_conf_list_str(root, "words", 1), "two");
        assert_int_equal(cairn_conf_list_len(root, "things"), 1);
        assert_false(cairn_conf_is_set(box, "width"));
        assert_false(cairn_conf_is_set(root, "words"));
        assert_string_equal(cairn_conf_where(box, "width"), "default");
        cairn_conf_free(doc);
    }
}

static void values_come_through(void **state)
{
    struct cairn_conf_doc *doc;
    const struct cairn_conf *root, *box, *lamp;

    (void)state;
    assert_int_equal(read_with("title: no\n"
                               "box:\n"
                               "  width: 8\n"
                               "  volume: 1.5 GiB\n"
                               "  delay: 250ms\n"
                               "  open: yes\n"
                               "  colour: blue\n"
                               "words: [5, null-ish]\n"
                               "things:\n"
                               "  - { type: lamp, name: a, path: /x, watts: 60 }\n"
                               "  - type: chair\n"
                               "    name: b\n",
                               NULL, 0, &doc),
                     0);
    root = cairn_conf_root(doc);
    box = cairn_conf_section(root, "box");
    assert_string_equal(cairn_conf_str(root, "title"), "no"); /* a text where a text is wanted: no truth value */
    assert_int_equal(cairn_conf_u64(box, "width"), 8);
    assert_int_equal(cairn_conf_u64(box, "volume"), UINT64_C(3) << 29);
    assert_int_equal(cairn_conf_u64(box, "delay"), 250000000);
    assert_true(cairn_conf_bool(box, "open"));
    assert_int_equal(cairn_conf_u64(box, "colour"), 2);
    assert_string_equal(cairn_conf_list_str(root, "words", 0), "5");
    assert_int_equal(cairn_conf_list_len(root, "things"), 2);
    lamp = cairn_conf_list_section(root, "things", 0);
    assert_int_equal(cairn_conf_u64(lamp, "watts"), 60);
    assert_string_equal(cairn_conf_str(lamp, "path"), "/x");
    assert_true(cairn_conf_is_set(box, "width"));
    assert_string_equal(cairn_conf_where(box, "width"), "f:3:10");
    assert_true(cairn_conf_has_key(lamp, "watts"));
    assert_false(cairn_conf_has_key(cairn_conf_list_section(root, "things", 1), "watts"));
    cairn_conf_free(doc);
}

static void json_is_yaml(void **state)
{
    struct cairn_conf_doc *doc;

    (void)state;
    assert_int_equal(
        read_with("{\"box\":{\"width\":2,\"open\":true,\n\t\"delay\":\"5s\"},\"words\":[\"a\\/b\"]}", NULL, 0, &doc),
        0);
    assert_int_equal(cairn_conf_u64(cairn_conf_section(cairn_conf_root(doc), "box"), "width"), 2);
    assert_string_equal(cairn_conf_list_str(cairn_conf_root(doc), "words", 0), "a/b");
    cairn_conf_free(doc);
}

static void unknown_keys(void **state)
{
    (void)state;
    expect("box:\n  widht: 3\n", "f:2:3: unknown key 'widht', did you mean 'width'?\n");
    expect("titel: x\n", "f:1:1: unknown key 'titel', did you mean 'title'?\n");
    expect("volume: 1MiB\n", "f:1:1: unknown key 'volume', did you mean 'box.volume'?\n");
    expect("box: {zzzzzz: 1}\n", "f:1:7: unknown key 'zzzzzz'; known here: width, volume, delay, open, colour\n");
    expect("? \"\\x01k\\n\"\n: 1\n", "f:1:3: unknown key '?k?'; known here: title, box, words, things\n");
    expect("<<: {}\n", "f:1:1: unknown key '<<'; known here: title, box, words, things\n");
}

static void wrong_types(void **state)
{
    (void)state;
    expect("box:\n  width: four\n", "f:2:10: 'box.width' must be a number from 1 to 8, for example 4; found 'four'\n");
    expect("box: {width: \"4\"}\n", "f:1:14: 'box.width' must be a number from 1 to 8, for example 4; found the text "
                                    "\"4\" (leave out the quotes)\n");
    expect("box: {width: 04}\n", "f:1:14: 'box.width' must be a number from 1 to 8, for example 4; found '04'\n");
    expect("box: {width: -1}\n", "f:1:14: 'box.width' must be a number from 1 to 8, for example 4; found '-1'\n");
    expect("box: {width: 99999999999999999999999}\n",
           "f:1:14: 'box.width' must be a number from 1 to 8, for example 4; found '99999999999999999999999'\n");
    expect("box: {width: [1]}\n", "f:1:14: 'box.width' must be a number from 1 to 8, for example 4; found a list\n");
    expect("box: {width: }\n", "f:1:14: 'box.width' must be a number from 1 to 8, for example 4; found nothing\n");
    expect("box: {open: maybe}\n", "f:1:13: 'box.open' must be true or false, for example true; found 'maybe'\n");
    expect("box: {volume: big}\n",
           "f:1:15: 'box.volume' must be a size of at least 4KiB, for example 1MiB; found 'big'\n");
    expect("box: {volume: 4K}\n",
           "f:1:15: 'box.volume' is '4K'; write KiB for powers of 1024 or kB for powers of 1000\n");
    expect("box: {volume: 64 Kib}\n",
           "f:1:15: 'box.volume' must be a size of at least 4KiB, for example 1MiB; found '64 Kib'\n");
    expect(
        "box: {delay: 5}\n",
        "f:1:14: 'box.delay' must be a duration with its unit (ns, us, ms, s, min, h, d), for example 2s; found '5'\n");
    expect("box: {colour: gren}\n",
           "f:1:15: 'box.colour' must be one of red, green, blue; found 'gren', did you mean 'green'?\n");
    expect("box: {colour: plaid}\n", "f:1:15: 'box.colour' must be one of red, green, blue; found 'plaid'\n");
    expect("box: 3\n",
           "f:1:6: 'box' must be a section, for example 'box:' with indented 'key: value' lines below it; found '3'\n");
    expect("words: one\n", "f:1:8: 'words' must be a list of texts, for example [a, b]; found 'one'\n");
    expect("words: [a, {b: c}]\n", "f:1:12: 'words[1]' must be a text; found a section\n");
    expect("words: [a, ]\n", "");
    expect("words: [a, null]\n", "f:1:12: 'words[1]' must be a text; found nothing\n");
    expect("title: {a: b}\n", "f:1:8: 'title' must be a text, for example text; found a section\n");
    expect("things: [a]\n", "f:1:10: 'things[0]' must be a section of 'key: value' lines; found a text\n");
    expect("[a]\n", "f:1:1: a configuration is made of 'key: value' lines; found a list\n");
    expect("hello\n", "f:1:1: a configuration is made of 'key: value' lines; found a text\n");
}

static void out_of_range(void **state)
{
    (void)state;
    expect("box: {width: 300}\n", "f:1:14: 'box.width' is 300; it must be a number from 1 to 8\n");
    expect("box: {width: 0}\n", "f:1:14: 'box.width' is 0; it must be a number from 1 to 8\n");
    expect("box: {volume: 1KiB}\n", "f:1:15: 'box.volume' is 1KiB; it must be a size of at least 4KiB\n");
    expect("box: {delay: 2h}\n", "f:1:14: 'box.delay' is 2h; it must be a duration from 0 to 1h\n");
    expect("box: {volume: 99999999PiB}\n", "f:1:15: 'box.volume' is too large: '99999999PiB'\n");
    expect("box: {volume: 18446744073709551616}\n", "f:1:15: 'box.volume' is too large: '18446744073709551616'\n");
    expect("box: {volume: 18446744073709551615}\n", "");
    expect("box: {volume: 4096.5}\n", "f:1:15: 'box.volume' is '4096.5', which is not a whole number of bytes\n");
    expect("box: {delay: 0.5ns}\n", "f:1:14: 'box.delay' is '0.5ns', which is not a whole number of nanoseconds\n");
    expect("words: [a, b, c, d]\n", "f:1:8: 'words' has 4 entries; at most 3 may be there\n");
}

static void units(void **state)
{
    static const struct {
        const char *text;
        uint64_t ns;
    } durations[] = { { "0", 0 },
                      { "1ns", 1 },
                      { "1us", 1000 },
                      { "1\xc2\xb5s", 1000 },
                      { "1.5ms", 1500000 },
                      { "1 s", 1000000000 },
                      { "1m", 60000000000 },
                      { "0.5min", 30000000000 },
                      { "1h", 3600000000000 } };
    static const struct {
        const char *text;
        uint64_t bytes;
    } sizes[] = {
        { "4096", 4096 }, { "4kB", 4000 + 96 }, { "4097B", 4097 }, { "5 MB", 5000000 }, { "1TiB", UINT64_C(1) << 40 }
    };

    (void)state;
    for (size_t i = 0; i < sizeof(durations) / sizeof(durations[0]); i++) {
        struct cairn_conf_override o = { "box.delay", durations[i].text, "--set", false };
        struct cairn_conf_doc *doc;

        assert_int_equal(read_with(NULL, &o, 1, &doc), 0);
        assert_int_equal(cairn_conf_u64(cairn_conf_section(cairn_conf_root(doc), "box"), "delay"), durations[i].ns);
        cairn_conf_free(doc);
    }
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct cairn_conf_override o = { "box.volume", sizes[i].text, "--set", false };
        struct cairn_conf_doc *doc;

        if (sizes[i].bytes == 4096 && sizes[i].text[1] == 'k') { /* 4000 is below the bound: shows that k is 1000 */
            expect_with(NULL, &o, 1, "--set box.volume: 'box.volume' is 4000; it must be a size of at least 4KiB\n");
            continue;
        }
        assert_int_equal(read_with(NULL, &o, 1, &doc), 0);
        assert_int_equal(cairn_conf_u64(cairn_conf_section(cairn_conf_root(doc), "box"), "volume"), sizes[i].bytes);
        cairn_conf_free(doc);
    }
}

static void duplicates_and_missing(void **state)
{
    (void)state;
    expect("title: a\ntitle: b\n", "f:2:1: duplicate key 'title', first given in line 1\n");
    expect("box:\n  width: 1\nbox:\n  width: 2\n", "f:3:1: duplicate key 'box', first given in line 1\n");
    expect("things:\n  - type: lamp\n    path: /x\n", "f:2:5: missing key 'things[0].name': of the thing\n");
    expect("things:\n  - {type: lamp, name: a}\n", "f:2:5: missing key 'things[0].path': where it stands\n");
    expect("things: [{name: a, watts: 3}]\n", "f:1:10: missing key 'things[0].type': kind of thing\n");
}

static void variants_are_found_by_type(void **state)
{
    (void)state;
    expect("things: [{type: lmap, name: a, foo: 1}]\n", "f:1:17: unknown type 'lmap', did you mean 'lamp'?\n");
    expect("things: [{type: sofa-bed, name: a}]\n", "f:1:17: unknown type 'sofa-bed'; there is: lamp, chair\n");
    expect("things: [{type: chair, name: a, watts: 1}]\n", "f:1:33: unknown key 'watts'; known here: type, name\n");
    expect("things: [{type: lamp, name: a, path: p, wats: 1}]\n",
           "f:1:41: unknown key 'wats', did you mean 'watts'?\n");
}

static void validators_see_the_whole(void **state)
{
    (void)state;
    expect("things:\n- {type: chair, name: a}\n- {type: chair, name: a}\n", "f:3:23: name 'a' again\n");
    /* also where other values are wrong, so that one pass tells all */
    expect("box: {width: 9}\nthings:\n- {type: chiar, name: a}\n- {type: chair, name: a}\n",
           "f:1:14: 'box.width' is 9; it must be a number from 1 to 8\n"
           "f:3:10: unknown type 'chiar', did you mean 'chair'?\n"
           "f:4:23: name 'a' again\n");
}

static void all_mistakes_in_one_pass_in_order(void **state)
{
    struct cairn_conf_override o = { "box.wdth", "3", "--set", false };

    (void)state;
    expect_with("things:\n- {type: lamp, name: x, watts: many, path: p}\nbox:\n  colour: pink\n  width: 77\n  clour: "
                "red\ntilte: 1\n",
                &o, 1,
                "f:2:32: 'things[0].watts' must be a number, for example 40; found 'many'\n"
                "f:4:11: 'box.colour' must be one of red, green, blue; found 'pink'\n"
                "f:5:10: 'box.width' is 77; it must be a number from 1 to 8\n"
                "f:6:3: unknown key 'clour', did you mean 'colour'?\n"
                "f:7:1: unknown key 'tilte', did you mean 'title'?\n"
                "--set box.wdth: unknown key 'wdth', did you mean 'width'?\n");
}

static void what_yaml_may_not_bring(void **state)
{
    (void)state;
    expect("title: &a x\n", "f:1:8: anchors (&name) are not supported: write the value where it is needed\n");
    expect("title: *a\n", "f:1:8: aliases (*name) are not supported: write the value where it is needed\n");
    expect("title: !!str x\n", "f:1:8: tags (!name) are not supported: write the plain value\n");
    expect("title: a\n---\ntitle: b\n", "f:2:1: a second document (---): one file holds one configuration\n");
    expect("title: \"a\\0b\"\n", "f:1:8: a text contains a zero byte\n");
    expect("[a]: b\n", "f:1:1: a key must be a word, not a list or a section\n");
    expect("box:\n\twidth: 3\n", "f:2:1: not valid YAML: a tab; lines are indented by spaces\n");
    expect("title: \"never ends\n",
           "f:2:1: not valid YAML: found unexpected end of stream while scanning a quoted scalar\n");
    expect("title: a\xff\n", "f:1:9: not valid YAML: invalid leading UTF-8 octet\n");
    expect("box: {width: 1\n",
           "f:2:1: not valid YAML: did not find expected ',' or '}' while parsing a flow mapping\n");
}

static void bounds_of_the_text(void **state)
{
    char *big = calloc(1, (2 << 20) + 1), *p = big;

    (void)state;
    memset(big, '#', 2 << 20);
    expect(big, "f: larger than 1 MiB: not a configuration\n");
    memset(big, 0, 2 << 20);
    memset(big, '[', 40);
    expect(big, "f:1:17: sections and lists are nested more than 16 deep\n");
    memset(big, 0, 2 << 20);
    p += sprintf(p, "title: ");
    memset(p, 'a', CAIRN_CONF_STRING_BYTES_MAX + 1);
    expect(big, "f:1:8: a text is longer than 4096 bytes\n");
    memset(big, 0, 2 << 20);
    p = big + sprintf(big, "words: [");
    for (int i = 0; i < CAIRN_CONF_VALUES_MAX; i++)
        p += sprintf(p, "a,");
    sprintf(p, "]");
    expect(big, "f:1:131075: too many values\n");
    memset(big, 0, 2 << 20);
    p = big;
    for (int i = 0; i <= CAIRN_CONF_KEYS_MAX; i++)
        p += sprintf(p, "k%d: 1\n", i);
    expect(big, "f:513:1: too many keys in one section\n");
    free(big);
}

static void at_most_a_hundred_problems(void **state)
{
    char text[4096], *p = text;
    struct cairn_conf_doc *doc;
    struct cairn_err err = { 0 };
    struct cairn_conf_input in = { .text = text, .text_name = "f" };

    (void)state;
    for (int i = 0; i < 150; i++)
        p += sprintf(p, "zzzzzzz%d: 1\n", i);
    in.text_len = (size_t)(p - text);
    assert_int_equal(cairn_conf_read(&schema, &in, &doc, &err), CAIRN_E_CONFIG);
    assert_int_equal(cairn_conf_nproblems(doc), CAIRN_CONF_PROBLEMS_MAX + 1);
    assert_string_equal(cairn_conf_problem(doc, CAIRN_CONF_PROBLEMS_MAX), "... and 50 more problems");
    assert_string_equal(err.text,
                        "f:1:1: unknown key 'zzzzzzz0'; known here: title, box, words, things (and 149 more)");
    cairn_conf_free(doc);
}

static void overrides_are_checked_like_the_file(void **state)
{
    static const struct cairn_conf_override good[] = {
        { "box.width", "3", "--set", false },         { "words", "[x, y, z]", "--set", false },
        { "things.c.name", "d", "--set", false },     { "title", "", "--set", false },
        { "box.colour", "red", "--colour", false },   { "box.width", "6", "--set", false },
        { "box.delay", "7s", "default: ours", true }, { "words.1", "w", "--set", false },
    };
    struct cairn_conf_override bad = { "box.width", "300", "--set", false };
    struct cairn_conf_doc *doc;
    const struct cairn_conf *root, *box;

    (void)state;
    assert_int_equal(read_with("box:\n  width: 1\n  open: true\n", good, 8, &doc), 0);
    root = cairn_conf_root(doc);
    box = cairn_conf_section(root, "box");
    assert_int_equal(cairn_conf_u64(box, "width"), 6);
    assert_true(cairn_conf_bool(box, "open"));
    assert_string_equal(cairn_conf_where(box, "width"), "--set");
    assert_string_equal(cairn_conf_where(box, "colour"), "--colour");
    assert_string_equal(cairn_conf_where(box, "delay"), "default: ours");
    assert_false(cairn_conf_is_set(box, "delay"));
    assert_int_equal(cairn_conf_u64(box, "delay"), 7000000000);
    assert_int_equal(cairn_conf_list_len(root, "words"), 3);
    assert_string_equal(cairn_conf_list_str(root, "words", 1), "w");
    assert_string_equal(cairn_conf_str(cairn_conf_list_section(root, "things", 0), "name"), "d");
    assert_string_equal(cairn_conf_str(root, "title"), "");
    cairn_conf_free(doc);

    expect_with("box: {width: 1}\n", &bad, 1, "--set box.width: 'box.width' is 300; it must be a number from 1 to 8\n");
    bad = (struct cairn_conf_override){ "box.width", "300", "--width", false }; /* which says what is meant */
    expect_with(NULL, &bad, 1, "--width: 'box.width' is 300; it must be a number from 1 to 8\n");
    bad = (struct cairn_conf_override){ "things.nope.name", "x", "--set", false };
    expect_with(NULL, &bad, 1, "--set things.nope.name: no entry is called 'nope', or has this number\n");
    bad = (struct cairn_conf_override){ "title.x", "x", "--set", false };
    expect_with("title: t\n", &bad, 1, "--set title.x: 'title' is not a section: nothing can be set below it\n");
    bad = (struct cairn_conf_override){ "", "x", "--set", false };
    expect_with(NULL, &bad, 1, "--set : must be KEY=VALUE, for example node.workers=4, and not too long\n");
    bad = (struct cairn_conf_override){ "words", "[x", "--set", false };
    expect_with(NULL, &bad, 1,
                "--set words: not valid YAML: did not find expected ',' or ']' while parsing a flow sequence\n");
    bad = (struct cairn_conf_override){ "things.0.watts", "5", "--set", false };
    expect_with(NULL, &bad, 1, "--set things.0.watts: unknown key 'watts'; known here: type, name\n");
    bad = (struct cairn_conf_override){ "box.delay", "x", "default: ours", true };
    expect_with("box: {delay: 1s}\n", &bad, 1, ""); /* weak: the file speaks */
}

static void overrides_are_split_at_the_first_sign(void **state)
{
    char text[] = "a.b=c=d", none[] = "a.b";
    struct cairn_conf_override o;

    (void)state;
    assert_true(cairn_conf_override_split(text, &o));
    assert_string_equal(o.path, "a.b");
    assert_string_equal(o.value, "c=d");
    assert_string_equal(o.where, "--set");
    assert_false(cairn_conf_override_split(none, &o));
}

static void files_that_cannot_be_read(void **state)
{
    struct cairn_conf_input in = { .path = "/no/such/file.yaml" };
    struct cairn_conf_doc *doc;
    struct cairn_err err = { 0 };

    (void)state;
    assert_int_equal(cairn_conf_read(&schema, &in, &doc, &err), CAIRN_E_CONFIG);
    assert_string_equal(err.text, "/no/such/file.yaml: cannot be read: No such file or directory");
    cairn_conf_free(doc);
    in.path = "/dev/zero";
    assert_int_equal(cairn_conf_read(&schema, &in, &doc, &err), CAIRN_E_CONFIG);
    assert_string_equal(err.text, "/dev/zero: cannot be read: not a regular file");
    cairn_conf_free(doc);
    in.path = "/";
    assert_int_equal(cairn_conf_read(&schema, &in, &doc, &err), CAIRN_E_CONFIG);
    cairn_conf_free(doc);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(schema_is_sound),
        cmocka_unit_test(unsound_schemas_are_told),
        cmocka_unit_test(defaults_hold_where_nothing_is_said),
        cmocka_unit_test(values_come_through),
        cmocka_unit_test(json_is_yaml),
        cmocka_unit_test(unknown_keys),
        cmocka_unit_test(wrong_types),
        cmocka_unit_test(out_of_range),
        cmocka_unit_test(units),
        cmocka_unit_test(duplicates_and_missing),
        cmocka_unit_test(variants_are_found_by_type),
        cmocka_unit_test(validators_see_the_whole),
        cmocka_unit_test(all_mistakes_in_one_pass_in_order),
        cmocka_unit_test(what_yaml_may_not_bring),
        cmocka_unit_test(bounds_of_the_text),
        cmocka_unit_test(at_most_a_hundred_problems),
        cmocka_unit_test(overrides_are_checked_like_the_file),
        cmocka_unit_test(overrides_are_split_at_the_first_sign),
        cmocka_unit_test(files_that_cannot_be_read),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
