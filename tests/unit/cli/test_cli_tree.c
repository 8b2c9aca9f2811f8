/* Walking a tree in the order of keys, and writing below a directory without leaving it. */
#include "tests/lib/scratch.h"
#include "tools/cairn/tree.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char root[SCRATCH_MAX];

static int setup(void **state)
{
    (void)state;
    scratch_new(root);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    scratch_remove(root);
    return 0;
}

static void make_file(const char *path)
{
    char full[256];
    const char *name;
    int dir = open(root, O_RDONLY | O_DIRECTORY);
    int parent = tree_open_parent(dir, path, true, &name);
    assert_true(parent >= 0);
    int fd = openat(parent, name, O_WRONLY | O_CREAT, 0644);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "xyz", 3), 3);
    close(fd);
    close(parent);
    close(dir);
    snprintf(full, sizeof(full), "%s/%s", root, path);
    assert_int_equal(access(full, R_OK), 0);
}

/* The order is that of the whole paths' bytes, though '.' and '-' sort before the slash. */
static void paths_come_in_bytewise_order(void **state)
{
    (void)state;
    static const char *const paths[] = { "a/x", "a.b", "a-b", "a/y/z", "ab", "B", "a/y.z", "zz/1/2/3", "\xc3\xa9" };
    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++)
        make_file(paths[i]);
    char link[256], before[4096] = "";
    snprintf(link, sizeof(link), "%s/link", root);
    assert_int_equal(symlink("a", link), 0);
    snprintf(link, sizeof(link), "%s/pipe", root);
    assert_int_equal(mkfifo(link, 0600), 0);

    struct tree *t = tree_open(root);
    assert_non_null(t);
    int files = 0, links = 0, special = 0;
    for (struct tree_entry e = tree_next(t); e.kind != TREE_END; e = tree_next(t)) {
        assert_int_not_equal(e.kind, TREE_ERROR);
        assert_true(strcmp(before, e.path) < 0);
        assert_int_equal(strlen(e.path), e.path_len);
        strcpy(before, e.path);
        files += e.kind == TREE_FILE;
        links += e.kind == TREE_SYMLINK;
        special += e.kind == TREE_SPECIAL;
        if (e.kind == TREE_FILE)
            assert_int_equal(e.size, 3);
    }
    tree_close(t);
    assert_int_equal(files, 9);
    assert_int_equal(links, 1);
    assert_int_equal(special, 1);
}

static void a_trailing_slash_changes_nothing(void **state)
{
    (void)state;
    char with[80];
    make_file("d/f");
    snprintf(with, sizeof(with), "%s//", root);
    struct tree *t = tree_open(with);
    struct tree_entry e = tree_next(t);
    assert_string_equal(e.path, "d/f");
    tree_close(t);
    tree_close(tree_open(with)); /* by whoever stops before it begins; what that leaves is AddressSanitizer's to find */
}

static void what_is_no_directory_is_refused(void **state)
{
    (void)state;
    assert_null(tree_open("/nonexistent"));
    assert_int_equal(errno, ENOENT);
    assert_null(tree_open("/dev/null"));
    assert_int_equal(errno, ENOTDIR);
}

static void only_paths_that_stay_inside_are_safe(void **state)
{
    (void)state;
    static const char *const good[] = { "a", "a/b", "...", "a/..b", ".hidden/x", "a b\n" };
    static const char *const bad[] = { "", "/", "/a", "a/", "a//b", ".", "..", "../a", "a/../b", "a/./b", "a/.." };
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        assert_true(tree_path_is_safe(good[i], strlen(good[i])));
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(tree_path_is_safe(bad[i], strlen(bad[i])));
    assert_false(tree_path_is_safe("a\0b", 3));
}

/* A link planted in the destination does not carry files out of it. */
static void links_that_lead_out_are_not_followed(void **state)
{
    (void)state;
    char link[256];
    const char *name;
    snprintf(link, sizeof(link), "%s/out", root);
    assert_int_equal(symlink("/tmp", link), 0);
    snprintf(link, sizeof(link), "%s/up", root);
    assert_int_equal(symlink("..", link), 0);
    make_file("in/f");
    snprintf(link, sizeof(link), "%s/inside", root);
    assert_int_equal(symlink("in", link), 0);
    int dir = open(root, O_RDONLY | O_DIRECTORY);
    assert_true(tree_open_parent(dir, "out/evil", true, &name) < 0);
    assert_true(tree_open_parent(dir, "up/evil", true, &name) < 0);
    assert_true(tree_open_parent(dir, "out/new/evil", true, &name) < 0);
    int fd = tree_open_parent(dir, "inside/fine", true, &name);
    assert_true(fd >= 0);
    assert_string_equal(name, "fine");
    close(fd);
    assert_true(tree_open_parent(dir, "in/f/below-a-file", true, &name) < 0);
    assert_true(tree_open_parent(dir, "missing/x", false, &name) < 0);
    assert_int_equal(errno, ENOENT);
    close(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(paths_come_in_bytewise_order, setup, teardown),
        cmocka_unit_test_setup_teardown(a_trailing_slash_changes_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_no_directory_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(only_paths_that_stay_inside_are_safe, setup, teardown),
        cmocka_unit_test_setup_teardown(links_that_lead_out_are_not_followed, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
