/* The local map store beyond the contract of all (test_map_contract.c): durability, and files that are torn, damaged,
 * newer or not ours. */
#include "server/cluster/map_store.h"

#include "sdk/core/base/crc.h"
#include "server/cluster/map_image.h"
#include "tests/lib/disk_faults.h"
#include "tests/lib/scratch.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

enum { CHANGES_MAX = 64 };

struct world {
    struct cairn_loop loop;
    struct cairn_pool *pool;
    struct cairn_map_store *store;
    char dir[SCRATCH_MAX], path[80];
    uint32_t waiting;
    char listed[4096];
};

static void world_open(struct world *w)
{
    struct cairn_err err = { 0 };

    if (cairn_map_store_local_open(w->dir, w->pool, &w->loop, &w->store, &err) != 0)
        fail_msg("%s", err.text);
}

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    struct cairn_loop_conf conf = { 0 };

    assert_non_null(w);
    assert_int_equal(cairn_loop_init(&w->loop, &conf, NULL), 0);
    w->pool = cairn_pool_new(2, 1024, NULL);
    assert_non_null(w->pool);
    scratch_new(w->dir);
    snprintf(w->path, sizeof(w->path), "%s/map", w->dir);
    world_open(w);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;

    if (w->store != NULL)
        cairn_map_store_close(w->store);
    cairn_pool_free(w->pool);
    cairn_loop_fini(&w->loop);
    scratch_remove(w->dir);
    free(w);
    return 0;
}

struct ask {
    struct cairn_map_write write;
    struct cairn_map_change c;
};

static void on_changed(struct cairn_map_op *op)
{
    struct world *w = op->arg;

    w->waiting--;
}

static void change_start(struct world *w, struct ask *a, const char *key, const char *value, uint64_t from)
{
    a->write = (struct cairn_map_write){ .key = key, .value = (const uint8_t *)value, .from = from };
    a->write.value_len = value != NULL ? (uint32_t)strlen(value) : 0;
    a->c = (struct cairn_map_change){ .op = { .done = on_changed, .arg = w }, .writes = &a->write, .nwrites = 1 };
    w->waiting++;
    cairn_map_store_change(w->store, &w->loop, &a->c);
}

static void wait_all(struct world *w)
{
    while (w->waiting > 0)
        cairn_loop_turn(&w->loop, UINT64_MAX);
}

static int change(struct world *w, const char *key, const char *value, uint64_t from, uint64_t *revision)
{
    struct ask a;

    change_start(w, &a, key, value, from);
    wait_all(w);
    if (revision != NULL)
        *revision = a.c.op.revision;
    return a.c.op.rc;
}

static void on_entry(const struct cairn_map_entry *e, void *arg)
{
    struct world *w = arg;
    size_t n = strlen(w->listed);

    snprintf(w->listed + n, sizeof(w->listed) - n, "%s=%.*s ", e->key, (int)e->value_len, (const char *)e->value);
}

static const char *listed(struct world *w, const char *prefix)
{
    w->listed[0] = '\0';
    cairn_map_store_each(w->store, prefix, on_entry, w);
    return w->listed;
}

static void reopen(struct world *w)
{
    cairn_map_store_close(w->store);
    w->store = NULL;
    world_open(w);
}

struct revisions {
    uint64_t created, changed;
};

static void on_revisions(const struct cairn_map_entry *e, void *arg)
{
    *(struct revisions *)arg = (struct revisions){ e->created, e->changed };
}

static void everything_is_there_after_a_restart(void **state)
{
    struct world *w = *state;
    struct revisions before, after;
    uint64_t r;

    assert_int_equal(change(w, "a", "1", 0, NULL), 0);
    assert_int_equal(change(w, "b", "x", 0, &r), 0);
    assert_int_equal(change(w, "b", "", r, &r), 0);
    cairn_map_store_each(w->store, "b", on_revisions, &before);
    reopen(w);
    assert_string_equal(listed(w, ""), "a=1 b= ");
    cairn_map_store_each(w->store, "b", on_revisions, &after);
    assert_memory_equal(&before, &after, sizeof(before));
    assert_true(after.created < after.changed);
    assert_int_equal(change(w, "b", "y", r, NULL), 0); /* revisions go on */
}

/* A revision serves as an identity, so it must not come again although the entry that had it is gone. */
static void revisions_are_not_given_twice(void **state)
{
    struct world *w = *state;
    uint64_t r1, r2, r3;

    assert_int_equal(change(w, "a", "1", 0, &r1), 0);
    assert_int_equal(change(w, "a", NULL, r1, &r2), 0);
    reopen(w);
    assert_int_equal(change(w, "a", "1", 0, &r3), 0);
    assert_true(r3 > r2);
}

static void changes_at_the_same_time(void **state)
{
    struct world *w = *state;
    struct ask c[CHANGES_MAX];
    char keys[CHANGES_MAX][8];
    uint32_t good = 0;

    for (uint32_t i = 0; i < CHANGES_MAX; i++) {
        snprintf(keys[i], sizeof(keys[i]), "k%02u", i / 2); /* two for each key: one of them wins */
        change_start(w, &c[i], keys[i], "v", 0);
    }
    wait_all(w);
    for (uint32_t i = 0; i < CHANGES_MAX; i += 2) {
        assert_int_equal(c[i].c.op.rc, 0);
        assert_int_equal(c[i + 1].c.op.rc, CAIRN_E_EXISTS);
        good++;
    }
    reopen(w);
    assert_int_equal(strlen(listed(w, "")), good * strlen("k00=v "));
}

/* The map is as large as it may be: what would make it larger is refused, and what came with it in one batch is not. */
static void too_large_a_change_fails_alone(void **state)
{
    enum { KEYS = CAIRN_MAP_BYTES_MAX / CAIRN_MAP_VALUE_BYTES_MAX };
    struct world *w = *state;
    struct ask *c = calloc(KEYS + 2, sizeof(*c));
    char *value = malloc(CAIRN_MAP_VALUE_BYTES_MAX + 1), (*keys)[8] = calloc(KEYS, sizeof(*keys));
    uint32_t refused = 0;

    assert_non_null(c);
    assert_non_null(value);
    assert_non_null(keys);
    memset(value, 'v', CAIRN_MAP_VALUE_BYTES_MAX);
    value[CAIRN_MAP_VALUE_BYTES_MAX] = '\0';
    cairn_map_store_close(w->store);
    /* In memory: the bound is the same, and the disk is spared. */
    assert_int_equal(cairn_map_store_local_open("", w->pool, &w->loop, &w->store, NULL), 0);
    for (uint32_t i = 0; i < KEYS; i++) {
        snprintf(keys[i], sizeof(keys[i]), "k%05u", i);
        change_start(w, &c[i], keys[i], value, 0);
    }
    change_start(w, &c[KEYS], "small", "1", 0);
    wait_all(w);
    for (uint32_t i = 0; i < KEYS; i++) {
        assert_true(c[i].c.op.rc == 0 || c[i].c.op.rc == CAIRN_E_LIMIT);
        refused += c[i].c.op.rc != 0;
    }
    assert_int_equal(refused, 2); /* as many as the entries' heads and keys take the place of */
    assert_int_equal(c[KEYS - 1].c.op.rc, CAIRN_E_LIMIT);
    assert_non_null(strstr(c[KEYS - 1].c.op.err.text, keys[KEYS - 1]));
    assert_int_equal(c[KEYS].c.op.rc, 0);
    change_start(w, &c[KEYS + 1], keys[0], NULL, c[0].c.op.revision); /* room again */
    wait_all(w);
    assert_int_equal(c[KEYS + 1].c.op.rc, 0);
    assert_int_equal(change(w, keys[KEYS - 1], value, 0, NULL), 0);
    free(keys);
    free(value);
    free(c);
}

static void a_failed_write_changes_nothing(void **state)
{
    struct world *w = *state;
    char fresh[96];
    uint64_t r;

    assert_int_equal(change(w, "a", "1", 0, &r), 0);
    snprintf(fresh, sizeof(fresh), "%s/map.fresh", w->dir);
    assert_int_equal(mkdir(fresh, 0700), 0); /* in the way */
    assert_true(change(w, "a", "2", r, NULL) < 0);
    assert_true(change(w, "b", "2", 0, NULL) < 0);
    assert_string_equal(listed(w, ""), "a=1 ");
    assert_int_equal(rmdir(fresh), 0);
    assert_int_equal(change(w, "a", "3", r, NULL), 0);
    reopen(w);
    assert_string_equal(listed(w, ""), "a=3 ");
}

/* A flush that fails before the rename leaves the old map; one behind it leaves nobody knows which, and says so. */
static void failed_flushes(void **state)
{
    struct world *w = *state;
    uint64_t r;

    assert_int_equal(change(w, "a", "1", 0, &r), 0);
    disk_fail_syncs(1, EIO);
    assert_int_equal(change(w, "b", "1", 0, NULL), CAIRN_E_IO);
    reopen(w);
    assert_string_equal(listed(w, ""), "a=1 ");
    disk_fail_syncs(1, ENOSPC);
    assert_int_equal(change(w, "b", "1", 0, NULL), CAIRN_E_NOSPACE);
    assert_int_equal(change(w, "b", "2", 0, NULL), 0); /* a fresh file, whose flush is worth what it says */
    reopen(w);
    assert_string_equal(listed(w, ""), "a=1 b=2 ");
    disk_skip_syncs(1); /* the file's own; then the directory's */
    disk_fail_syncs(1, EIO);
    assert_int_equal(change(w, "a", "4", r, NULL), CAIRN_E_UNKNOWN);
    assert_string_equal(listed(w, ""), "a=1 b=2 ");
    reopen(w);
    assert_string_equal(listed(w, ""), "a=4 b=2 "); /* it came to light */
}

/* A crash before the rename: the half-written file beside is nobody's. */
static void what_a_crash_left_is_ignored(void **state)
{
    struct world *w = *state;
    char fresh[96];
    int fd;

    assert_int_equal(change(w, "a", "1", 0, NULL), 0);
    snprintf(fresh, sizeof(fresh), "%s/map.fresh", w->dir);
    fd = open(fresh, O_WRONLY | O_CREAT, 0600);
    assert_int_equal(write(fd, "CAIRNMAP", 8), 8);
    close(fd);
    reopen(w);
    assert_string_equal(listed(w, ""), "a=1 ");
    assert_int_equal(access(fresh, F_OK), -1);
}

static size_t file_read(const char *path, uint8_t *to, size_t room)
{
    int fd = open(path, O_RDONLY);
    ssize_t n = read(fd, to, room);

    close(fd);
    assert_true(n > 0);
    return (size_t)n;
}

static void file_write(const char *path, const uint8_t *from, size_t n)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

    assert_int_equal(write(fd, from, n), n);
    close(fd);
}

static int open_again(struct world *w, struct cairn_err *err)
{
    struct cairn_map_store *s = NULL;
    int rc = cairn_map_store_local_open(w->dir, w->pool, &w->loop, &s, err);

    if (rc == 0)
        cairn_map_store_close(s);
    return rc;
}

static void every_damage_is_found(void **state)
{
    struct world *w = *state;
    uint8_t good[512], bad[512];
    size_t n;

    assert_int_equal(change(w, "a", "one", 0, NULL), 0);
    assert_int_equal(change(w, "b", "two", 0, NULL), 0);
    n = file_read(w->path, good, sizeof(good));
    for (size_t i = 0; i < n; i++) { /* each byte flipped */
        struct cairn_err err = { 0 };

        memcpy(bad, good, n);
        bad[i] ^= 0x10;
        file_write(w->path, bad, n);
        assert_int_equal(open_again(w, &err), CAIRN_E_CORRUPT);
        assert_non_null(strstr(err.text, w->path));
    }
    for (size_t len = 0; len < n; len++) { /* each length cut */
        file_write(w->path, good, len);
        assert_int_equal(open_again(w, NULL), CAIRN_E_CORRUPT);
    }
    memcpy(bad, good, n);
    bad[n] = 0;
    file_write(w->path, bad, n + 1);
    assert_int_equal(open_again(w, NULL), CAIRN_E_CORRUPT);
    file_write(w->path, good, n);
    assert_int_equal(open_again(w, NULL), 0);
}

static int on_no_entry(const struct cairn_map_entry *e, void *arg)
{
    (void)e;
    (void)arg;
    return 0;
}

/* Entries that no store would write, under a checksum that is right. */
static void malformed_entries_are_refused(void **state)
{
    static const struct cairn_map_entry twice = { "a", (const uint8_t *)"v", 1, 1, 2, 0 };
    static const struct cairn_map_entry future = { "b", (const uint8_t *)"v", 1, 1, 9, 0 };
    static const struct cairn_map_entry unborn = { "c", (const uint8_t *)"v", 1, 0, 2, 0 };
    const struct cairn_map_entry *bad[] = { &twice, &future, &unborn };
    struct cairn_map_image_info info;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        uint8_t image[256], *body = image + CAIRN_MAP_IMAGE_HEADER_BYTES;
        struct cairn_le_writer w = cairn_le_writer(body, sizeof(image) - CAIRN_MAP_IMAGE_HEADER_BYTES);

        cairn_map_image_put_entry(&w, &twice);
        info = (struct cairn_map_image_info){ .revision = 5, .entries = 1 };
        cairn_map_image_put_header(image, &info, (size_t)(w.at - body));
        assert_int_equal(cairn_map_image_read(image, (size_t)(w.at - image), &info, on_no_entry, NULL, NULL), 0);
        cairn_map_image_put_entry(&w, bad[i]);
        assert_false(w.failed);
        info = (struct cairn_map_image_info){ .revision = 5, .entries = 2 };
        cairn_map_image_put_header(image, &info, (size_t)(w.at - body));
        assert_int_equal(cairn_map_image_read(image, (size_t)(w.at - image), &info, on_no_entry, NULL, NULL),
                         CAIRN_E_CORRUPT);
    }
}

static void a_newer_format_is_refused(void **state)
{
    struct world *w = *state;
    struct cairn_err err = { 0 };
    uint8_t image[512];
    uint32_t crc;
    size_t n;

    assert_int_equal(change(w, "a", "one", 0, NULL), 0);
    n = file_read(w->path, image, sizeof(image));
    image[8] = CAIRN_MAP_IMAGE_VERSION + 1;
    crc = cairn_crc32c(0, image, 36); /* as a newer version would have it */
    for (int i = 0; i < 4; i++)
        image[36 + i] = (uint8_t)(crc >> (8 * i));
    file_write(w->path, image, n);
    assert_int_equal(open_again(w, &err), CAIRN_E_FORMAT);
    assert_non_null(strstr(err.text, "format version 2"));
}

static void without_a_directory_it_lives_in_memory(void **state)
{
    struct world *w = *state;

    cairn_map_store_close(w->store);
    assert_int_equal(cairn_map_store_local_open("", w->pool, &w->loop, &w->store, NULL), 0);
    assert_int_equal(change(w, "a", "1", 0, NULL), 0);
    assert_string_equal(listed(w, ""), "a=1 ");
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(everything_is_there_after_a_restart),
        CASE(revisions_are_not_given_twice),
        CASE(changes_at_the_same_time),
        CASE(too_large_a_change_fails_alone),
        CASE(a_failed_write_changes_nothing),
        CASE(failed_flushes),
        CASE(what_a_crash_left_is_ignored),
        CASE(every_damage_is_found),
        CASE(malformed_entries_are_refused),
        CASE(a_newer_format_is_refused),
        CASE(without_a_directory_it_lives_in_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
