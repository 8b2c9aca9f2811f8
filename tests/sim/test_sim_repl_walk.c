/* Replication on the simulated world: random walks whose every history is judged. CAIRN_SEEDS says how many, or which
 * ("2001-5000"); --seed N walks one, and says how it went: as the same N always goes. */
#include "tests/sim/repl_walk.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#ifndef CAIRN_SEEDS_DEFAULT /* tests/CMakeLists.txt */
#define CAIRN_SEEDS_DEFAULT 100
#endif

static void random_walks_are_linearizable(void **state)
{
    struct repl_walk_counts counts = { 0 };
    uint64_t first = 1, last = CAIRN_SEEDS_DEFAULT;
    bool chosen = repl_walk_seeds(&first, &last);
    const char *missed;

    (void)state;
    for (uint64_t i = first; i <= last; i++) {
        fprintf(stderr, "\rseed %" PRIu64 " ", i);
        repl_walk(&(struct repl_walk_way){ .seed = i }, &counts);
    }
    fprintf(stderr, "\n");
    repl_walk_print(&counts, stderr);
    missed = repl_walk_missed(&counts); /* they went everywhere: of other sets it is not known */
    if (!chosen && missed != NULL)
        fail_msg("too few: %s", missed);
}

/* ---- replay ---- */

static void equal_seeds_give_equal_walks(void **state)
{
    struct repl_walk_counts counts = { 0 };

    (void)state;
    for (uint64_t seed = 3; seed <= 36; seed += 11) { /* the second with regions */
        struct repl_walk_way way = { .seed = seed, .traces = true };
        struct repl_walk_end a = repl_walk(&way, &counts), b = repl_walk(&way, &counts), c;

        way.seed++;
        c = repl_walk(&way, &counts);
        assert_int_equal(a.events, b.events);
        assert_true(a.trace == b.trace && a.trace != c.trace);
    }
}

/* What another process of this program, with @args, has to say, and whether it ended well. */
static bool run_self(const char *args, char *said, size_t room)
{
    char command[128];
    size_t n;
    FILE *f;

    snprintf(command, sizeof(command), "/proc/%d/exe %s 2>&1", (int)getpid(), args); /* also if it is built anew now */
    f = popen(command, "r");
    assert_non_null(f);
    n = fread(said, 1, room - 1, f);
    said[n] = '\0';
    return pclose(f) == 0;
}

/* From the last place where it says "trace". */
static const char *trace_of(const char *said)
{
    const char *at = NULL;

    for (const char *s = strstr(said, "trace "); s != NULL; s = strstr(s + 1, "trace "))
        at = s;
    assert_non_null(at);
    return at;
}

static void a_seed_is_replayed_by_another_process(void **state)
{
    struct repl_walk_counts counts = { 0 };
    struct repl_walk_end end = repl_walk(&(struct repl_walk_way){ .seed = 12 }, &counts);
    static char said[1 << 16];
    char wanted[64];

    (void)state;
    snprintf(wanted, sizeof(wanted), "trace %016" PRIx64 ", %" PRIu64 " events", end.trace, end.events);
    assert_true(run_self("--seed 12", said, sizeof(said)));
    assert_memory_equal(trace_of(said), wanted, strlen(wanted));
}

/* The command that a failure prints shows that failure. */
static void a_failure_says_how_it_is_seen_again(void **state)
{
    static char said[1 << 16], again[1 << 16];
    const char *command, *trace;

    (void)state;
    assert_false(run_self("--seed 12 --fail-at 7000", said, sizeof(said)));
    command = strstr(said, "--seed");
    assert_non_null(command);
    command = strndup(command, strcspn(command, "\n"));
    assert_non_null(command);
    assert_false(run_self(command, again, sizeof(again)));
    free((void *)(uintptr_t)command);
    assert_non_null(strstr(again, "seed 12 fails at event 7000, "));
    trace = trace_of(said);
    assert_memory_equal(trace, trace_of(again), strcspn(trace, ";"));
}

static int one_seed(int argc, char **argv)
{
    struct repl_walk_way way = { .seed = strtoull(argv[2], NULL, 10) };
    struct repl_walk_counts counts = { 0 };
    struct repl_walk_end end;

    if (argc > 4 && strcmp(argv[3], "--fail-at") == 0)
        way.fails_at = strtoull(argv[4], NULL, 10);
    end = repl_walk(&way, &counts);
    repl_walk_print(&counts, stdout);
    printf("seed %" PRIu64 ": trace %016" PRIx64 ", %" PRIu64 " events\n", way.seed, end.trace, end.events);
    return 0;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_walks_are_linearizable),
        cmocka_unit_test(equal_seeds_give_equal_walks),
        cmocka_unit_test(a_seed_is_replayed_by_another_process),
        cmocka_unit_test(a_failure_says_how_it_is_seen_again),
    };

    if (argc > 2 && strcmp(argv[1], "--seed") == 0)
        return one_seed(argc, argv);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
