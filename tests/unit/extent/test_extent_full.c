/* A full disk, a full memory, and places where a store cannot be. */
#include "tests/lib/skip.h"
#include "tests/unit/extent/extent_fixture.h"

#include <errno.h>
#include <sys/mount.h>

/* ---- a full disk ---- */

/* Somebody else takes the last byte. */
static void fill_disk(const char *mnt)
{
    static const uint8_t zeros[4096];
    char path[SCRATCH_MAX + 8];
    int fd;

    snprintf(path, sizeof(path), "%s/other", mnt);
    fd = open(path, O_WRONLY | O_CREAT | O_APPEND, 0600);
    assert_true(fd >= 0);
    while (write(fd, zeros, sizeof(zeros)) > 0)
        ;
    assert_int_equal(errno, ENOSPC);
    close(fd);
}

static void a_full_disk_refuses_writes_and_recovers(void **state)
{
    enum { LEN = 1 << 20, MOST = 64 };
    struct fixture fx;
    struct cairn_extent_conf conf = fx_conf(CAIRN_EXTENT_FILE);
    char mnt[SCRATCH_MAX], dir[SCRATCH_MAX + 8];
    uint8_t *bytes = malloc(LEN), *got = malloc(LEN);
    uint64_t ids[MOST], n = 0, len;
    int rc = 0;

    (void)state;
    scratch_new(mnt);
    if (mount("tmpfs", mnt, "tmpfs", 0, "size=16m") != 0) {
        skip_because("no mount here (%s)", strerror(errno));
    }
    snprintf(dir, sizeof(dir), "%s/extent", mnt);
    assert_int_equal(mkdir(dir, 0700), 0);
    fx_init_in(&fx, &conf, dir);
    while (rc == 0 && n < MOST) {
        fx_fill(bytes, LEN, n);
        rc = fx_put(&fx, &(struct fx_write){ .len = LEN, .bytes = bytes, .bulk = true, .durability = SYNC }, &ids[n]);
        n += rc == 0;
    }
    assert_int_equal(rc, CAIRN_E_NOSPACE);
    assert_in_range(n, 8, 16);
    assert_int_equal(atomic_load(&fx_store(&fx)->health), CAIRN_EXTENT_OK);
    for (int round = 0; round < 5; round++) {
        for (uint64_t i = 0; i < n; i++) { /* reads go on */
            fx_fill(bytes, LEN, i);
            assert_int_equal(fx_read(&fx, ids[i], 0, LEN, got, true, true, &len), 0);
            assert_memory_equal(got, bytes, LEN);
        }
        assert_int_equal(fx_put(&fx, &(struct fx_write){ .len = LEN, .bytes = bytes, .bulk = true }, &len),
                         CAIRN_E_NOSPACE);
        assert_int_equal(fx_remove(&fx, ids[round]), 0); /* and what is removed makes room at once */
        fx_fill(bytes, LEN, (uint64_t)round);
        assert_int_equal(fx_put(&fx, &(struct fx_write){ .len = LEN, .bytes = bytes, .bulk = true }, &ids[round]), 0);
    }
    fill_disk(mnt);
    for (int restart = 0; restart < 12; restart++) /* the number of starts in FORMAT gets longer */
        fx_reopen(&fx);
    assert_int_equal(atomic_load(&fx_store(&fx)->table.regions), n);
    assert_int_equal(fx_read(&fx, ids[n - 1], 0, LEN, got, true, true, &len), 0);
    assert_int_equal(fx_put(&fx, &(struct fx_write){ .len = LEN, .bytes = bytes, .bulk = true }, &len),
                     CAIRN_E_NOSPACE);
    assert_int_equal(fx_remove(&fx, ids[0]), 0);
    assert_int_equal(fx_put(&fx, &(struct fx_write){ .len = LEN, .bytes = bytes, .bulk = true }, &len), 0);
    fx_fini(&fx);
    scratch_remove(mnt);
    free(bytes);
    free(got);
}

static void a_full_memory_refuses_and_recovers(void **state)
{
    struct fixture *fx = *state;
    uint8_t *bytes = calloc(1, 1 << 20);
    uint64_t id, first = 0;
    int rc = 0;

    fx_store(fx)->conf.capacity = fx->conf.backend == CAIRN_EXTENT_MEMORY ? 10 << 20 : fx_store(fx)->conf.capacity;
    for (int i = 0; rc == 0 && i < 200; i++) {
        rc = fx_put(fx, &(struct fx_write){ .len = 1 << 20, .bytes = bytes, .bulk = true }, &id);
        first = first == 0 ? id : first;
    }
    assert_int_equal(rc, CAIRN_E_NOSPACE);
    assert_int_equal(fx_remove(fx, first), 0);
    fx_rest(fx);
    assert_int_equal(fx_put(fx, &(struct fx_write){ .len = 1 << 20, .bytes = bytes, .bulk = true }, &id), 0);
    free(bytes);
}

/* ---- where persistent memory is not ---- */

static void pmem_on_an_ordinary_disk_is_refused(void **state)
{
    struct cairn_err err = { 0 };

    (void)state;
    if (cairn_extent__pmem_place("/var/tmp", false, &err) == 0) {
        skip_because("/var/tmp is DAX or tmpfs here");
    }
    assert_int_equal(err.code, CAIRN_E_UNSUPPORTED);
    assert_non_null(strstr(err.text, "allow_slow"));
    assert_int_equal(cairn_extent__pmem_place("/var/tmp", true, &err), 0);
}

/* Every kind of machine has a sound table. */
static void machines_are_sound(void **state)
{
    extern const struct cairn_provider_desc cairn_provider_extent;
    struct cairn_err err = { 0 };

    (void)state;
    for (const struct cairn_sm_kind *const *k = cairn_provider_extent.machines; *k != NULL; k++) {
        if (cairn_sm_kind_check(*k, &err) != 0)
            fail_msg("%s", err.text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_full_disk_refuses_writes_and_recovers),
        ON(a_full_memory_refuses_and_recovers, memory),
        ON(a_full_memory_refuses_and_recovers, pmem),
        cmocka_unit_test(pmem_on_an_ordinary_disk_is_refused),
        cmocka_unit_test(machines_are_sound),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
