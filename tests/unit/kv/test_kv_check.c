/* What a check of the RocksDB store finds that a start would: it must look into the data, and leave it as it is. */
#include "tests/lib/patience.h"
#include "tests/unit/kv/kv_fixture.h"

#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

enum { DATABASES = 9, FEWER = 4 };

/* What a start, or a check, says with room for @max databases. */
static int say(struct fx *fx, bool check, uint32_t max)
{
    int rc;

    fx->err = (struct cairn_err){ 0 };
    assert_int_equal(cairn_kv_dir_init(&fx->dir, max, 5), 0);
    if (check) {
        rc = fx->ops->check(&fx->conf, &fx->dir, &fx->err);
    } else {
        rc = fx->ops->open(&fx->conf, &fx->dir, &fx->store, &fx->err);
        if (rc == 0)
            fx->ops->close(fx->store);
    }
    cairn_kv_dir_fini(&fx->dir);
    return rc;
}

static void fill(struct fx *fx)
{
    char name[16];

    fx_open(fx);
    for (int i = 0; i < DATABASES; i++) {
        snprintf(name, sizeof(name), "d%d", i);
        assert_int_equal(fx_put_str(fx, fx_create(fx, name, CAIRN_KV_BYTES, false), "k", name), 0);
    }
}

static void fewer_databases_than_there_are_stop_the_start(void **state)
{
    struct fx *fx = *state;

    fill(fx);
    fx_close(fx);
    for (int check = 0; check < 2; check++) {
        assert_int_equal(say(fx, check, FEWER), CAIRN_E_CONFIG);
        assert_non_null(strstr(fx->err.text, "`databases` is 4"));
        assert_non_null(strstr(fx->err.text, "5 of the databases that are stored here, d8 among them"));
        assert_non_null(strstr(fx->err.text, "set it to 9 or more"));
        assert_int_equal(say(fx, check, DATABASES - 1), CAIRN_E_CONFIG);
        assert_int_equal(say(fx, check, DATABASES), 0);
    }
    fx_open(fx);
    assert_string_equal(fx_get_str(fx, cairn_kv_dir_by_name(&fx->dir, "d8")->db, "k"), "d8");
    fx_drop(fx, "d8"); /* what is not there any more needs no room */
    fx_close(fx);
    assert_int_equal(say(fx, true, DATABASES - 1), 0);
}

/* A hash of the names, sizes, times of change and numbers of all files below @dir. */
static uint64_t digest(const char *dir)
{
    uint64_t sum = 0;
    struct dirent *e;
    DIR *d = opendir(dir);

    assert_non_null(d);
    while ((e = readdir(d)) != NULL) {
        char path[PATH_MAX];
        struct stat st;
        uint64_t h = 5381;

        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        assert_in_range(snprintf(path, sizeof(path), "%s/%s", dir, e->d_name), 1, sizeof(path) - 1);
        assert_int_equal(lstat(path, &st), 0);
        for (const char *p = path; *p != '\0'; p++)
            h = h * 33 + (uint8_t)*p;
        if (S_ISDIR(st.st_mode))
            h += digest(path);
        sum += h * 31 + (uint64_t)st.st_size * 7 + (uint64_t)st.st_mtim.tv_sec * 1000000007 +
               (uint64_t)st.st_mtim.tv_nsec + st.st_ino;
    }
    closedir(d);
    return sum;
}

/* Data as a crash leaves it, with a log that nobody has read yet. */
static void a_check_changes_nothing(void **state)
{
    struct fx *fx = *state;
    char copy[SCRATCH_MAX], command[4 * SCRATCH_MAX];
    uint64_t before;

    fill(fx);
    scratch_new(copy);
    snprintf(command, sizeof(command), "rm -rf %s/* && cp -r %s/. %s", copy, fx->path, copy);
    WHILE_PATIENT (system(command) != 0) /* the engine may still be removing what it began with */
        usleep(1000);
    fx_close(fx);
    fx->conf.dir = copy;
    before = digest(copy);
    assert_int_equal(say(fx, true, DATABASES), 0);
    assert_int_equal(say(fx, true, FEWER), CAIRN_E_CONFIG);
    assert_true(digest(copy) == before);
    assert_int_equal(say(fx, false, DATABASES), 0);
    assert_false(digest(copy) == before);
    fx->conf.dir = fx->path;
    scratch_remove(copy);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FX_ROCKSDB(fewer_databases_than_there_are_stop_the_start),
        FX_ROCKSDB(a_check_changes_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
