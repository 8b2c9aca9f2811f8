/* Command lines against a table of commands of our own: what is understood, and what is said to what is not. */
#include "tools/cairn/cli.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct args {
    bool force;
    uint64_t size, wait_ms, count;
    const char *kind, *name;
};

static const struct cli_opt opts[] = {
    CLI_OPT(struct args, force, "force", 'f', CLI_FLAG, NULL, NULL, "do it"),
    CLI_OPT(struct args, size, "size", 's', CLI_SIZE, "SIZE", "4KiB", "how large"),
    CLI_OPT(struct args, wait_ms, "wait", 0, CLI_TIME, "TIME", NULL, "how long"),
    CLI_OPT(struct args, count, "count", 'n', CLI_NUMBER, "COUNT", NULL, "how many"),
    CLI_OPT(struct args, kind, "kind", 'k', CLI_CHOICE, "red|green", "red", "which"),
    CLI_OPT(struct args, name, "name", 0, CLI_STRING, "TEXT", NULL, "called what"),
    CLI_OPT_END,
};
static const struct cli_example examples[] = { { "cairn stack push x", "push it" }, { NULL, NULL } };
static const struct cli_command push = { .name = "stack push",
                                         .operands = "STACK [FILE]",
                                         .summary = "push",
                                         .opts = opts,
                                         .args_size = sizeof(struct args),
                                         .examples = examples,
                                         .group = "Stacks" };
static const struct cli_command pop = {
    .name = "stack pop", .operands = "STACK...", .summary = "pop", .examples = examples, .group = "Stacks"
};
static const struct cli_command plain = {
    .name = "status", .operands = "", .summary = "show", .examples = examples, .group = "Other"
};
const struct cli_command *const cli_commands[] = { &push, &pop, &plain, NULL };

struct line {
    struct cli cli;
    char *argv[16];
    struct args *args;
    char *out, *err;
    size_t out_len, err_len;
    int rc;
};

/* Parses the words of @text, which a space separates. */
static void parse(struct line *l, const char *text)
{
    static char words[512];
    int argc = 0;
    memset(l, 0, sizeof(*l));
    snprintf(words, sizeof(words), "cairn %s", text);
    for (char *w = strtok(words, " "); w != NULL; w = strtok(NULL, " "))
        l->argv[argc++] = w;
    l->cli.out = open_memstream(&l->out, &l->out_len);
    l->cli.err = open_memstream(&l->err, &l->err_len);
    l->rc = cli_parse(&l->cli, argc, l->argv, (void **)&l->args);
    fflush(l->cli.out);
    fflush(l->cli.err);
}

static void done(struct line *l)
{
    fclose(l->cli.out);
    fclose(l->cli.err);
    free(l->out);
    free(l->err);
    free(l->args);
}

static void options_and_operands_in_any_order(void **state)
{
    (void)state;
    struct line l;
    parse(&l, "--json stack push -f s1 --size 1MiB --kind=green -n7 file --wait 250ms -q -- ");
    assert_int_equal(l.rc, 0);
    assert_ptr_equal(l.cli.cmd, &push);
    assert_true(l.cli.g.json && l.cli.g.quiet && l.args->force);
    assert_int_equal(l.args->size, 1 << 20);
    assert_int_equal(l.args->wait_ms, 250);
    assert_int_equal(l.args->count, 7);
    assert_string_equal(l.args->kind, "green");
    assert_int_equal(l.cli.noperands, 2);
    assert_string_equal(l.cli.operands[0], "s1");
    assert_string_equal(l.cli.operands[1], "file");
    done(&l);
}

static void fallbacks_stand_where_nothing_is_said(void **state)
{
    (void)state;
    struct line l;
    parse(&l, "stack push s1");
    assert_int_equal(l.rc, 0);
    assert_int_equal(l.args->size, 4096);
    assert_string_equal(l.args->kind, "red");
    assert_null(l.args->name);
    assert_int_equal(l.cli.g.timeout_ms, 30000);
    done(&l);
}

static void two_dashes_end_the_options(void **state)
{
    (void)state;
    struct line l;
    parse(&l, "stack pop -- --force -x -");
    assert_int_equal(l.rc, 0);
    assert_int_equal(l.cli.noperands, 3);
    assert_string_equal(l.cli.operands[0], "--force");
    done(&l);
}

static void help_asks_for_no_operands(void **state)
{
    (void)state;
    struct line l;
    parse(&l, "stack push --help");
    assert_int_equal(l.rc, 0);
    assert_true(l.cli.g.help);
    done(&l);
}

/* What the mistake is, and what may have been meant. */
static void mistakes_are_named(void **state)
{
    (void)state;
    static const struct {
        const char *line, *said;
    } cases[] = {
        { "stack push", "too few operands: expected STACK [FILE]" },
        { "stack push a b c", "unexpected operand 'c'" },
        { "status x", "unexpected operand 'x'" },
        { "stack push a --sise 4", "unknown option '--sise', did you mean '--size'?" },
        { "stack push a --jsn", "unknown option '--jsn', did you mean '--json'?" },
        { "stack push a --zzzzzz", "unknown option '--zzzzzz'\n" },
        { "stack push a -z", "unknown option '-z'" },
        { "stack push a --size", "--size needs a value (SIZE)" },
        { "stack push a -s", "-s needs a value (SIZE)" },
        { "stack push a --size=big", "--size takes a size such as 4096, 64KiB (of 1024) or 64kB (of 1000), not 'big'" },
        { "stack push a --kind blue", "--kind takes one of red|green, not 'blue'" },
        { "stack push a --force=yes", "--force takes no value" },
        { "--timeout soon status",
          "--timeout takes a time such as 500ms, 10s or 2min, not 0; without a unit it is seconds, not 'soon'" },
        { "statsu", "unknown command 'statsu', did you mean 'status'?" },
        { "stack posh", "unknown command 'stack posh', did you mean 'stack push'?" },
        { "qwertyuiop", "unknown command 'qwertyuiop'\n" },
        { "--force status", "unknown option '--force'" },
        { "stack", "usage: cairn stack COMMAND" },
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct line l;
        parse(&l, cases[i].line);
        assert_int_equal(l.rc, CLI_USAGE);
        if (strstr(l.err, cases[i].said) == NULL)
            fail_msg("`%s` said: %s", cases[i].line, l.err);
        assert_int_equal(l.out_len, 0);
        done(&l);
    }
}

/* Names with control characters do not reach the terminal as they are. */
static void mistakes_are_printable(void **state)
{
    (void)state;
    struct line l;
    parse(&l, "\033[31mred\177\xff");
    assert_int_equal(l.rc, CLI_USAGE);
    assert_null(strchr(l.err, '\033'));
    assert_non_null(strstr(l.err, "\\x1b[31mred\\x7f\\xff"));
    done(&l);
}

static void failures_are_json_when_asked(void **state)
{
    (void)state;
    struct line l;
    parse(&l, "--json stack push a --kind blue");
    assert_int_equal(l.rc, CLI_USAGE);
    assert_memory_equal(l.err, "{\"version\":1,\"error\":{", 22);
    assert_int_equal(l.err[l.err_len - 1], '\n');
    done(&l);
}

static void operands_are_counted_by_their_words(void **state)
{
    (void)state;
    uint32_t min, max;
    cli_operand_range("", &min, &max);
    assert_true(min == 0 && max == 0);
    cli_operand_range("A B [C]", &min, &max);
    assert_true(min == 2 && max == 3);
    cli_operand_range("A B...", &min, &max);
    assert_true(min == 2 && max == UINT32_MAX);
}

static void exit_codes_follow_the_error(void **state)
{
    (void)state;
    assert_int_equal(cli_exit_of(0), 0);
    assert_int_equal(cli_exit_of(CAIRN_E_NOTFOUND), 1);
    assert_int_equal(cli_exit_of(CAIRN_E_UNREACHABLE), 3);
    assert_int_equal(cli_exit_of(CAIRN_E_DENIED), 4);
    assert_int_equal(cli_exit_of(CAIRN_E_AUTH), 4);
    assert_int_equal(cli_exit_of(CAIRN_E_TIMEOUT), 6);
}

static void near_words_are_found(void **state)
{
    (void)state;
    static const char *const words[] = { "import", "export", "ns list", "status" };
    assert_string_equal(cli_nearest("imprt", words, 4), "import");
    assert_string_equal(cli_nearest("exprot", words, 4), "export");
    assert_string_equal(cli_nearest("stat", words, 4), "status");
    assert_null(cli_nearest("bananas", words, 4));
    assert_null(cli_nearest("", words, 4));
    char very_long[300];
    memset(very_long, 'x', sizeof(very_long) - 1);
    very_long[sizeof(very_long) - 1] = '\0';
    assert_null(cli_nearest(very_long, words, 4));
}

/* Whatever comes in, nothing but the tables' words comes out: no crash, no silence. */
static void any_words_get_an_answer(void **state)
{
    (void)state;
    static const char *const words[] = { "stack", "push", "--",     "-",      "--size", "-s",  "4",  "--json", "=",
                                         "--=x",  "-fn3", "status", "--help", "a b",    "pop", "-h", "--name" };
    uint32_t seed = 7;
    for (int round = 0; round < 20000; round++) {
        char text[256] = "";
        for (int n = 0; n < 6; n++) {
            seed = seed * 1664525 + 1013904223;
            strcat(text, words[(seed >> 16) % ARRAY_SIZE(words)]);
            strcat(text, " ");
        }
        struct line l;
        parse(&l, text);
        assert_true(l.rc == 0 || (l.rc == CLI_USAGE && l.err_len + l.out_len > 0));
        done(&l);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(options_and_operands_in_any_order),
        cmocka_unit_test(fallbacks_stand_where_nothing_is_said),
        cmocka_unit_test(two_dashes_end_the_options),
        cmocka_unit_test(help_asks_for_no_operands),
        cmocka_unit_test(mistakes_are_named),
        cmocka_unit_test(mistakes_are_printable),
        cmocka_unit_test(failures_are_json_when_asked),
        cmocka_unit_test(operands_are_counted_by_their_words),
        cmocka_unit_test(exit_codes_follow_the_error),
        cmocka_unit_test(near_words_are_found),
        cmocka_unit_test(any_words_get_an_answer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
