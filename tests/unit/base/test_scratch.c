/* Directories of tests go when the test does: by the end, by an abort, by a kill. */
#include "tests/lib/scratch.h"

#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* A process that makes one with something in it, tells its path and ends by @signal, or well (0). */
static void end_by(int signal, void (*make)(char dir[SCRATCH_MAX]), char dir[SCRATCH_MAX])
{
    int fds[2], status;
    pid_t pid;

    assert_int_equal(pipe(fds), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        char path[SCRATCH_MAX + 8];

        make(dir);
        snprintf(path, sizeof(path), "%s/d", dir);
        mkdir(path, 0700);
        snprintf(path, sizeof(path), "%s/d/f", dir);
        fclose(fopen(path, "w"));
        if (write(fds[1], dir, SCRATCH_MAX) == SCRATCH_MAX && signal != 0)
            kill(getpid(), signal);
        _exit(0);
    }
    assert_int_equal(read(fds[0], dir, SCRATCH_MAX), SCRATCH_MAX);
    close(fds[0]);
    close(fds[1]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(WIFSIGNALED(status) ? WTERMSIG(status) : 0, signal);
}

/* Where the test may mount. */
static void new_and_mount(char dir[SCRATCH_MAX])
{
    scratch_new(dir);
    if (mount("tmpfs", dir, "tmpfs", 0, "size=1m") != 0)
        print_message("no mount here\n");
}

static void nothing_stays(void **state)
{
    static const int ends[] = { 0, SIGABRT, SIGKILL, SIGKILL, SIGKILL };
    static void (*const makes[])(char dir[SCRATCH_MAX]) = { scratch_new, scratch_new, scratch_new,
                                                            scratch_new_in_memory, new_and_mount };

    (void)state;
    for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
        char dir[SCRATCH_MAX];
        struct stat st;

        end_by(ends[i], makes[i], dir);
        *strrchr(dir, '/') = '\0'; /* the process's own, with all in it */
        for (int t = 0; t < 10000 && stat(dir, &st) == 0; t++)
            poll(NULL, 0, 1);
        assert_true(stat(dir, &st) != 0);
    }
}

static void they_are_apart_and_may_go_early(void **state)
{
    char a[SCRATCH_MAX], b[SCRATCH_MAX];
    struct stat st;

    (void)state;
    scratch_new(a);
    scratch_new(b);
    assert_string_not_equal(a, b);
    scratch_remove(a);
    assert_true(stat(a, &st) != 0);
    assert_int_equal(stat(b, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(nothing_stays),
                                        cmocka_unit_test(they_are_apart_and_may_go_early) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
