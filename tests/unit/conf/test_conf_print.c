/* What is printed can be read back, says the same, and tells where each value came from. */
#include "server/node/conf/conf_read.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char *const choices[] = { "auto", "on", "off", NULL };
static const struct cairn_conf_key inner_keys[] = {
    { .name = "wait", .type = CAIRN_CONF_DURATION, .fallback = "90s", .help = "how long" },
    { .name = "use", .type = CAIRN_CONF_CHOICE, .fallback = "on", .choices = choices, .help = "whether" },
    { .name = NULL },
};
static const struct cairn_conf_key entry_keys[] = {
    { .name = "type", .type = CAIRN_CONF_STRING, .help = "which" },
    { .name = "name", .type = CAIRN_CONF_STRING, .help = "of the entry" },
    { .name = NULL },
};
static const struct cairn_conf_key disk_keys[] = {
    { .name = "size", .type = CAIRN_CONF_SIZE, .fallback = "64MiB", .min = 1, .help = "of the disk" },
    { .name = "path", .type = CAIRN_CONF_STRING, .help = "of the disk" },
    { .name = NULL },
};
static const struct cairn_conf_key keys[] = {
    { .name = "title", .type = CAIRN_CONF_STRING, .fallback = "", .help = "what it is called" },
    { .name = "count", .type = CAIRN_CONF_UINT, .fallback = "3", .max = 9, .help = "how many" },
    { .name = "inner", .type = CAIRN_CONF_SECTION, .sub = inner_keys, .help = "A section." },
    { .name = "words", .type = CAIRN_CONF_LIST, .help = "some words" },
    { .name = "disks", .type = CAIRN_CONF_LIST, .sub = entry_keys, .help = "some disks" },
    { .name = NULL },
};
static const struct cairn_conf_variant variants[] = { { "disk", disk_keys }, { NULL, NULL } };
static const struct cairn_conf_schema schema = { .keys = keys, .variant_list = "disks", .variants = variants };

static struct cairn_conf_doc *read_text(const char *text, const struct cairn_conf_override *o, uint32_t n)
{
    struct cairn_conf_input in = {
        .text = text, .text_len = strlen(text), .text_name = "cairn.yaml", .overrides = o, .noverrides = n
    };
    struct cairn_conf_doc *doc;
    struct cairn_err err = { 0 };
    int rc = cairn_conf_read(&schema, &in, &doc, &err);

    if (rc != 0)
        fail_msg("%s\nin:\n%s", err.text, text);
    return doc;
}

static char *printed(const struct cairn_conf_doc *doc)
{
    char *text = NULL;
    size_t len;
    FILE *f = open_memstream(&text, &len);

    assert_non_null(f);
    cairn_conf_print(doc, f);
    fclose(f);
    return text;
}

static void strip_comments(char *text)
{
    char *to = text;

    for (char *line = text; *line != '\0';) {
        char *end = strchr(line, '\n'), *hash = strstr(line, "  # ");
        size_t n = (size_t)((hash != NULL && hash < end ? hash : end) - line);

        while (n > 0 && line[n - 1] == ' ')
            n--;
        memmove(to, line, n);
        to += n;
        *to++ = '\n';
        line = end + 1;
    }
    *to = '\0';
}

static void each_value_says_where_it_came_from(void **state)
{
    struct cairn_conf_override o[] = { { "inner.use", "off", "--set", false },
                                       { "title", "ours", "default: ours", true } };
    struct cairn_conf_doc *doc =
        read_text("count: 7\nwords: [a, 'no']\ndisks:\n  - type: disk\n    name: d\n    path: \"/x y\"\n", o, 2);
    char *text = printed(doc);

    (void)state;
    assert_string_equal(text, "title: ours                                 # default: ours\n"
                              "count: 7                                    # cairn.yaml:1\n"
                              "inner:\n"
                              "  wait: 90s                                 # default\n"
                              "  use: \"off\"                                # --set\n"
                              "words:\n"
                              "  - a                                       # cairn.yaml:2\n"
                              "  - \"no\"                                    # cairn.yaml:2\n"
                              "disks:\n"
                              "  - type: disk                              # cairn.yaml:4\n"
                              "    name: d                                 # cairn.yaml:5\n"
                              "    size: 64MiB                             # default\n"
                              "    path: \"/x y\"                            # cairn.yaml:6\n");
    free(text);
    cairn_conf_free(doc);
}

static void print_of_print_is_the_same(void **state)
{
    static const char *const texts[] = {
        "",
        "title: \"a: b # c \\\"q\\\" \\\\ \\n\\t\"\n",
        "title: 'true'\nwords: ['~', '', '-', '[x]', '#', '5', 'null']\n",
        "title: \xc3\xa4\xe2\x82\xac\ninner: {wait: 1500ms, use: auto}\n",
        "disks: [{type: disk, name: a, path: p, size: 1.5KiB}, {type: disk, name: b, path: '', size: 1}]\n",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct cairn_conf_doc *one = read_text(texts[i], NULL, 0), *two;
        char *first = printed(one), *second;

        two = read_text(first, NULL, 0);
        second = printed(two);
        if (i == 1)
            assert_string_equal(cairn_conf_str(cairn_conf_root(two), "title"), "a: b # c \"q\" \\ \n\t");
        if (i != 1) { /* there the text itself holds what looks like a comment */
            strip_comments(first);
            strip_comments(second);
            assert_string_equal(first, second);
        }
        free(first);
        free(second);
        cairn_conf_free(one);
        cairn_conf_free(two);
    }
}

static void reference_is_a_configuration(void **state)
{
    char *text = NULL;
    size_t len;
    FILE *f = open_memstream(&text, &len);
    struct cairn_conf_doc *doc;

    (void)state;
    cairn_conf_reference(&schema, f);
    fclose(f);
    assert_non_null(strstr(text, "# how many: a number from 0 to 9\ncount: 3\n"));
    assert_non_null(strstr(text, "\n# A section.\ninner:\n  # how long: a duration\n  wait: 90s\n"));
    assert_non_null(strstr(text, "  # whether: one of auto, on, off\n  use: \"on\"\n"));
    assert_non_null(strstr(text, "# An entry of `disks` with `type: disk` also takes:\n"
                                 "#     # of the disk: a size of at least 1\n#     size: 64MiB\n"
                                 "#     # of the disk: a text; required\n#     # path:\n"));
    doc = read_text(text, NULL, 0);
    assert_int_equal(cairn_conf_u64(cairn_conf_root(doc), "count"), 3);
    cairn_conf_free(doc);
    free(text);
}

static void reference_for_the_manual(void **state)
{
    char *text = NULL;
    size_t len;
    FILE *f = open_memstream(&text, &len);

    (void)state;
    cairn_conf_reference_markdown(&schema, f);
    fclose(f);
    assert_string_equal(text, "- `title`: what it is called. A text.\n"
                              "- `count`: how many. A number from 0 to 9; default `3`.\n"
                              "- `inner.wait`: how long. A duration; default `90s`.\n"
                              "- `inner.use`: whether. One of auto, on, off; default `on`.\n"
                              "- `words`: some words. A list of texts.\n"
                              "- `disks`: some disks. A list of sections.\n"
                              "- `disks[].type`: which. A text; required.\n"
                              "- `disks[].name`: of the entry. A text; required.\n"
                              "\nEntries of `disks` with `type: disk`:\n\n"
                              "- `size`: of the disk. A size of at least 1; default `64MiB`.\n"
                              "- `path`: of the disk. A text; required.\n");
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_value_says_where_it_came_from),
        cmocka_unit_test(print_of_print_is_the_same),
        cmocka_unit_test(reference_is_a_configuration),
        cmocka_unit_test(reference_for_the_manual),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
