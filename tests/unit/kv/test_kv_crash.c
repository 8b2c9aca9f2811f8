/* What is left of batches that skip the log when the process is killed: the first ones, whole, up to some batch. And
 * what a view shows while they are applied. */
#include "tests/lib/patience.h"
#include "tests/unit/kv/kv_fixture.h"

#include <signal.h>

enum {
    DURABILITY_MEMORY = CAIRN__WIRE__DURABILITY__DURABILITY_MEMORY,
    DURABILITY_BUFFERED = CAIRN__WIRE__DURABILITY__DURABILITY_BUFFERED,
    DBS = 3,
    KEYS = 97,    /* of each database, rewritten again and again */
    BATCH = 24,   /* entries of one batch, beside the position */
    VALUE = 1500, /* bytes: a write buffer is full after some batches, in the midst of one */
    ROUNDS = 4,
    POSITION = 12345, /* the key, in the first database, of the last batch's number */
    COMPANY_EACH = 3, /* of so many batches one has a logged write beside it */
    FLUSH_EACH = 40,  /* and behind one of so many there is a flush */
};

static const char *const names[DBS] = { "a", "b", "c" };

static struct cairn_kv_db find(struct fx *fx, const char *name)
{
    const struct cairn_kv_db_desc *desc = cairn_kv_dir_by_name(&fx->dir, name);

    return desc != NULL ? desc->db : fx_create(fx, name, CAIRN_KV_BYTES, false);
}

/* ---- what batch @number does, as a function of its number ---- */

static uint32_t entry_db(uint32_t number, uint32_t i)
{
    return (number + i) % DBS;
}

static uint32_t entry_key(uint32_t number, uint32_t i)
{
    return (number * 7 + i * 5) % KEYS;
}

static bool entry_erases(uint32_t number, uint32_t i)
{
    return (number + i) % 5 == 0;
}

static void batch_make(struct fx_batch *b, const struct cairn_kv_db *db, uint32_t number)
{
    static uint32_t value[VALUE / sizeof(uint32_t)];

    for (uint32_t j = 0; j < ARRAY_SIZE(value); j++)
        value[j] = number;
    fx_batch_reset(b);
    for (uint32_t i = 0; i < BATCH; i++) {
        bool erases = entry_erases(number, i);

        if (i == BATCH / 2) /* in the middle of the others */
            fx_batch_add(b, db[0], POSITION, &number, sizeof(number));
        fx_batch_add(b, db[entry_db(number, i)], entry_key(number, i), erases ? NULL : value,
                     erases ? 0 : sizeof(value));
    }
}

/* ---- the child: --child DIR FIRST ---- */

struct told {
    uint32_t number;  /* of a batch that was answered */
    uint32_t flushed; /* all up to this one are on disk */
};

static void child_main(const char *dir, uint32_t number)
{
    static struct fx fx;
    static struct fx_batch b;
    struct cairn_kv_db db[DBS], noise;
    struct told told = { 0 };
    char made[sizeof(fx.path)];

    fx_prepare(&fx, &cairn_kv_store_rocksdb);
    strcpy(made, fx.path);
    rmdir(made);
    snprintf(fx.path, sizeof(fx.path), "%s", dir);
    fx.conf.write_buffer_bytes = 256 << 10;
    fx_open(&fx);
    for (int i = 0; i < DBS; i++)
        db[i] = find(&fx, names[i]);
    noise = find(&fx, "noise");
    for (;; number++) {
        struct fx_write company;
        ProtobufCBinaryData key = fx_key(&number, sizeof(number));
        bool in_company = number % COMPANY_EACH == 0;

        batch_make(&b, db, number);
        fx_batch_start(&fx, &b, DURABILITY_MEMORY, 0);
        if (in_company) { /* of the same turn, so of the same group */
            fx_fill_put(&company, noise, &key, &number, sizeof(number));
            company.w.durability = DURABILITY_BUFFERED;
            fx_write_start(&fx, &company, 0);
        }
        if (fx_write_wait(&fx, &b.fw) != 0 || (in_company && fx_write_wait(&fx, &company) != 0))
            _exit(1);
        told.number = number;
        if (number % FLUSH_EACH == 0) {
            if (fx.ops->flush(fx.store) != 0)
                _exit(3);
            told.flushed = number;
        }
        if (write(STDOUT_FILENO, &told, sizeof(told)) != sizeof(told))
            _exit(2);
    }
}

/* Runs a child until it has told of @n batches, and kills it. */
static struct told run_and_kill(struct fx *fx, uint32_t first, uint32_t n)
{
    struct told told, last = { 0 };
    int fds[2], status;
    pid_t pid;

    assert_int_equal(pipe(fds), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        char number[16];

        snprintf(number, sizeof(number), "%u", first);
        dup2(fds[1], STDOUT_FILENO);
        execl("/proc/self/exe", "test_kv_crash", "--child", fx->path, number, (char *)NULL);
        _exit(127);
    }
    close(fds[1]);
    for (uint32_t seen = 0; seen < n; seen++) {
        assert_int_equal(read(fds[0], &told, sizeof(told)), sizeof(told));
        last = told;
    }
    assert_int_equal(kill(pid, SIGKILL), 0);
    while (read(fds[0], &told, sizeof(told)) == sizeof(told))
        last = told;
    close(fds[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    return last;
}

static uint32_t number_at(struct fx *fx, const void *at, struct cairn_kv_db db, uint32_t key)
{
    static struct fx_value v;
    uint32_t number;

    assert_int_equal(fx_get_at(fx, at, db, fx_key(&key, sizeof(key)), &v), 0);
    if (v.len < 0)
        return 0;
    assert_true(v.len >= (int64_t)sizeof(number));
    memcpy(&number, v.bytes, sizeof(number));
    return number;
}

/* Every key is as batches 1 to @position have left it, and nothing of a later one is there. */
static void assert_is_position(struct fx *fx, const void *at, uint32_t position)
{
    static uint32_t model[DBS][KEYS];

    memset(model, 0, sizeof(model));
    for (uint32_t number = 1; number <= position; number++) {
        for (uint32_t i = 0; i < BATCH; i++)
            model[entry_db(number, i)][entry_key(number, i)] = entry_erases(number, i) ? 0 : number;
    }
    for (uint32_t d = 0; d < DBS; d++) {
        struct cairn_kv_db db = find(fx, names[d]);

        for (uint32_t k = 0; k < KEYS; k++)
            assert_int_equal(number_at(fx, at, db, k), model[d][k]);
    }
}

/* The write buffer is flushed in the midst of it, time and again; logged writes come in the same groups. */
static void what_survives_is_a_prefix(void **state)
{
    struct fx *fx = *state;
    uint32_t position = 0, lost = 0;

    for (uint32_t round = 0; round < ROUNDS; round++) {
        struct told told = run_and_kill(fx, position + 1, 70 + round * 31);
        struct cairn_kv_db noise;
        uint32_t before = position;

        fx_open(fx);
        position = number_at(fx, NULL, find(fx, names[0]), POSITION);
        print_message("[   CRASH  ] told of %u, on disk are %u\n", told.number, position);
        assert_true(position > before && position <= told.number + 1);
        assert_true(position >= told.flushed);
        lost += told.number - MIN(position, told.number);
        assert_is_position(fx, NULL, position);
        noise = find(fx, "noise"); /* what is logged is there, and has a prefix of its own */
        for (uint32_t number = before + 1; number <= told.number; number++)
            assert_int_equal(number_at(fx, NULL, noise, number), number % COMPANY_EACH == 0 ? number : 0);
        fx_close(fx);
    }
    assert_true(lost > 0); /* or there was nothing to show */
}

/* A stop that is no crash loses nothing. */
static void close_flushes(void **state)
{
    struct fx *fx = *state;
    struct fx_batch b = { .values = NULL };
    struct cairn_kv_db db[DBS];

    fx_open(fx);
    for (int i = 0; i < DBS; i++)
        db[i] = find(fx, names[i]);
    for (uint32_t number = 1; number <= 20; number++) {
        batch_make(&b, db, number);
        assert_int_equal(fx_batch_apply(fx, &b, DURABILITY_MEMORY), 0);
    }
    fx_close(fx);
    fx_open(fx);
    assert_int_equal(number_at(fx, NULL, find(fx, names[0]), POSITION), 20);
    assert_is_position(fx, NULL, 20);
    fx_close(fx);
    free(b.values);
}

/* ---- views, which are of one position as well ---- */

enum { VIEWS = 40 };

struct applier {
    struct fx *fx;
    struct cairn_kv_db db[DBS];
    struct fx_batch b;
    atomic_bool over;
    atomic_uint number; /* the last one that was answered */
};

static void *applier_run(void *arg)
{
    struct applier *a = arg;

    for (uint32_t number = 1; !atomic_load(&a->over); number++) {
        batch_make(&a->b, a->db, number);
        if (fx_batch_apply(a->fx, &a->b, DURABILITY_MEMORY) != 0)
            break;
        atomic_store(&a->number, number);
    }
    return NULL;
}

static void view_is_of_one_position(void **state)
{
    struct fx *fx = *state;
    struct applier a = { .fx = fx };
    uint32_t first = 0, position = 0, nviews = 0;
    pthread_t thread;

    fx->conf.write_buffer_bytes = 256 << 10;
    fx_open(fx);
    for (int i = 0; i < DBS; i++)
        a.db[i] = find(fx, names[i]);
    assert_int_equal(pthread_create(&thread, NULL, applier_run, &a), 0);
    WHILE_PATIENT (atomic_load(&a.number) == 0)
        usleep(100);
    WHILE_PATIENT (nviews < VIEWS || position == first) { /* they go on meanwhile */
        uint32_t before = atomic_load(&a.number);
        void *view;

        assert_int_equal(fx->ops->snapshot_open(fx->store, &view), 0);
        position = number_at(fx, view, a.db[0], POSITION);
        assert_true(position >= before); /* what was answered is in it */
        assert_is_position(fx, view, position);
        fx->ops->snapshot_close(fx->store, view);
        first = nviews++ == 0 ? position : first;
    }
    atomic_store(&a.over, true);
    pthread_join(thread, NULL);
    free(a.b.values);
    fx_close(fx);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        FX_ROCKSDB(what_survives_is_a_prefix),
        FX_ROCKSDB(close_flushes),
        FX_ROCKSDB(view_is_of_one_position),
    };

    if (argc == 4 && strcmp(argv[1], "--child") == 0)
        child_main(argv[2], (uint32_t)strtoul(argv[3], NULL, 10));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
