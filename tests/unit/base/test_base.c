/* Errors, arenas and log lines. */
#include "sdk/core/base/arena.h"
#include "sdk/core/base/err.h"
#include "sdk/core/base/grown.h"
#include "sdk/core/base/log.h"
#include "sdk/core/base/macros.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static void every_code_has_name_text_and_hint(void **state)
{
    (void)state;
    for (int code = -1; code >= CAIRN_E_LAST; code--) {
        assert_memory_equal(cairn_error_name(code), "CAIRN_E_", 8);
        assert_string_not_equal(cairn_error_name(code), "CAIRN_E_?");
        assert_true(strlen(cairn_error_text(code)) > 0);
        assert_true(strlen(cairn_error_hint(code)) > 0);
    }
    assert_string_equal(cairn_error_name(CAIRN_E_LAST - 1), "CAIRN_E_?");
    assert_string_equal(cairn_error_name(1), "CAIRN_E_?");
    assert_string_equal(cairn_error_name(INT32_MIN), "CAIRN_E_?");
}

static void texts_grow_on_the_way_up(void **state)
{
    struct cairn_err err = { 0 };

    (void)state;
    assert_int_equal(cairn_err_errno(&err, ENOSPC, "write %s", "seg-1"), CAIRN_E_NOSPACE);
    assert_int_equal(cairn_err_wrap(&err, err.code, "store %d", 7), CAIRN_E_NOSPACE);
    assert_string_equal(err.text, "store 7: write seg-1: No space left on device");
    assert_int_equal(cairn_err_wrap(&err, 0, "no error"), 0);
    assert_string_equal(err.text, "store 7: write seg-1: No space left on device");
    assert_int_equal(cairn_err_set(NULL, CAIRN_E_BUSY, "nobody listens"), CAIRN_E_BUSY);
}

static void long_texts_are_cut_not_overrun(void **state)
{
    struct cairn_err err = { 0 };
    char text[2 * CAIRN_ERR_TEXT_MAX];

    (void)state;
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    cairn_err_set(&err, CAIRN_E_IO, "%s", text);
    assert_int_equal(strlen(err.text), CAIRN_ERR_TEXT_MAX - 1);
    cairn_err_wrap(&err, CAIRN_E_IO, "%s", text);
    assert_int_equal(strlen(err.text), CAIRN_ERR_TEXT_MAX - 1);
}

static void arena_keeps_to_its_limit(void **state)
{
    struct cairn_arena a;
    size_t n = 0;

    (void)state;
    cairn_arena_init(&a, 100000);
    assert_null(cairn_arena_alloc(&a, SIZE_MAX));
    assert_null(cairn_arena_alloc(&a, 200000));
    for (void *p; (p = cairn_arena_alloc(&a, 1000)) != NULL; n++) {
        assert_int_equal((uintptr_t)p % 16, 0);
        memset(p, (int)n, 1000);
        assert_true(n < 1000);
    }
    assert_in_range(n, 90, 101); /* the last chunk may not fit whole */
    cairn_arena_reset(&a);
    assert_non_null(cairn_arena_alloc(&a, CAIRN_ARENA_INLINE_BYTES));
    assert_null(a.chunks); /* and that came from inside */
    cairn_arena_reset(&a);
}

static void arena_chunks_outlive_it(void **state)
{
    struct cairn_arena a;
    struct cairn_arena_chunk *chunks;
    char *p;

    (void)state;
    cairn_arena_init(&a, 1 << 20);
    p = cairn_arena_alloc(&a, 50000);
    assert_non_null(p);
    chunks = cairn_arena_detach(&a);
    memset(&a, 0xff, sizeof(a));
    memset(p, 1, 50000);
    cairn_arena_chunks_free(chunks);
}

static size_t read_log(int fd, char *to, size_t len)
{
    ssize_t n = pread(fd, to, len - 1, 0);

    assert_true(n >= 0);
    to[n] = '\0';
    return (size_t)n;
}

static void a_line_stays_a_line(void **state)
{
    char path[] = "/tmp/cairn-log-XXXXXX", text[4096];
    int fd = mkstemp(path);
    struct cairn_log log;

    (void)state;
    cairn_log_init(&log, fd, CAIRN_LOG_INFO, "n1");
    cairn_log_bind(&log);
    cairn_log_info("name '%s'", "evil\n2026 error n2: forged");
    cairn_log_debug("not this one");
    cairn_log_bind(NULL);
    read_log(fd, text, sizeof(text));
    assert_non_null(strstr(text, "info  n1: name 'evil?2026 error n2: forged'"));
    assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
    cairn_log_fini(&log);
    close(fd);
    unlink(path);
}

static void a_flood_is_held_back(void **state)
{
    char path[] = "/tmp/cairn-log-XXXXXX";
    static char text[1 << 20];
    int fd = mkstemp(path), lines = 0;
    struct cairn_log log;

    (void)state;
    cairn_log_init(&log, fd, CAIRN_LOG_INFO, NULL);
    cairn_log_bind(&log);
    for (int i = 0; i < 5000; i++)
        cairn_log_warn("x");
    cairn_log_bind(NULL);
    read_log(fd, text, sizeof(text));
    for (const char *p = text; (p = strchr(p, '\n')) != NULL; p++)
        lines++;
    assert_in_range(lines, 1000, 4000); /* 1000 in each second that the loop touched */
    cairn_log_fini(&log);
    close(fd);
    unlink(path);
}

static void count_one(void *arg)
{
    ++*(int *)arg;
    cairn_crash_tell(); /* a crash in the hook itself */
}

static void a_crash_is_told_once(void **state)
{
    int told = 0;

    (void)state;
    cairn_crash_hook(count_one, &told);
    cairn_crash_tell();
    cairn_crash_tell();
    assert_int_equal(told, 1);
    cairn_crash_hook(NULL, NULL);
}

/* A program that knows fewer members than we, the same, or more. */
static void a_struct_that_grew_is_taken_from_older_programs(void **state)
{
    struct old {
        size_t size;
        uint32_t a, b;
    } old = { .size = sizeof(old), .a = 1, .b = 2 };
    struct now {
        size_t size;
        uint32_t a, b;
        const char *added;
    } now = { .size = sizeof(now), .a = 1, .b = 2, .added = "x" }, own;
    struct later {
        struct now now;
        uint32_t more;
    } later = { .now = { .size = sizeof(later), .a = 1, .b = 2, .added = "x" } };

    (void)state;
    assert_true(CAIRN_REACHES(&now, b));
    assert_true(CAIRN_REACHES(&old, b));
    old.size--;
    assert_false(CAIRN_REACHES(&old, b));
    old.size++;
    memset(&own, 0xff, sizeof(own));
    cairn_take_grown(&own, sizeof(own), &old, old.size);
    assert_int_equal(own.b, 2);
    assert_null(own.added);
    CAIRN_TAKE(&own, &now);
    assert_string_equal(own.added, "x");
    CAIRN_TAKE(&own, &later.now);
    assert_string_equal(own.added, "x");
    assert_int_equal(own.size, sizeof(later));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_code_has_name_text_and_hint),
        cmocka_unit_test(texts_grow_on_the_way_up),
        cmocka_unit_test(long_texts_are_cut_not_overrun),
        cmocka_unit_test(arena_keeps_to_its_limit),
        cmocka_unit_test(arena_chunks_outlive_it),
        cmocka_unit_test(a_line_stays_a_line),
        cmocka_unit_test(a_flood_is_held_back),
        cmocka_unit_test(a_crash_is_told_once),
        cmocka_unit_test(a_struct_that_grew_is_taken_from_older_programs),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
