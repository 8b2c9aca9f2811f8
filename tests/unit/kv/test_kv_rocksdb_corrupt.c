/* The RocksDB store says which keys cannot be read, and goes on with the others. */
#include "tests/unit/kv/kv_fixture.h"

#include <fcntl.h>

/* Flips a byte in the middle of the largest sorted file. */
static void corrupt_a_file(struct fx *fx)
{
    char path[512];
    off_t largest = fx_largest_table(fx, path);
    uint8_t byte;
    int fd;

    fd = open(path, O_RDWR | O_CLOEXEC);
    assert_int_equal(pread(fd, &byte, 1, largest / 3), 1);
    byte ^= 0x40;
    assert_int_equal(pwrite(fd, &byte, 1, largest / 3), 1);
    close(fd);
}

enum { CORRUPT_KEYS = 5000 };

static bool on_length(void *arg, uint32_t i, const uint8_t *val, int64_t len)
{
    int64_t *lengths = arg;

    assert_true((val != NULL) == (len >= 0));
    lengths[i] = len;
    return true;
}

/* All keys in calls of many: those that cannot be read, and no others, are told as such. */
static void read_in_batches(struct fx *fx, struct cairn_kv_db db, const bool *is_corrupt)
{
    enum { BATCH = 50 };
    ProtobufCBinaryData keys[BATCH];
    uint32_t numbers[BATCH];
    int64_t lengths[BATCH];
    struct cairn_kv_read rd = {
        .db = db, .keys = keys, .n = BATCH, .may_block = true, .found = on_length, .arg = lengths
    };

    for (uint32_t from = 0; from < CORRUPT_KEYS; from += BATCH) {
        for (uint32_t i = 0; i < BATCH; i++) {
            numbers[i] = from + i;
            keys[i] = fx_key(&numbers[i], 4);
        }
        assert_int_equal(fx->ops->read(fx->store, &rd), 0);
        for (uint32_t i = 0; i < BATCH; i++)
            assert_int_equal(lengths[i], is_corrupt[from + i] ? -2 : 1000);
    }
}

/* A condition on a key that cannot be read: nothing of the batch is done, and whoever was decided behind it comes
 * again. */
static void batch_with_a_corrupt_key(struct fx *fx, struct cairn_kv_db db, uint32_t corrupt)
{
    static struct fx_batch run, first, second;
    static uint8_t value[1000];

    fx_batch_reset(&run); /* so long that it is written before the next is looked at */
    for (uint32_t i = 0; i < 400; i++)
        fx_batch_add(&run, db, CORRUPT_KEYS + 10 + i, value, sizeof(value));
    fx_batch_start(fx, &run, CAIRN__WIRE__DURABILITY__DURABILITY_MEMORY, 0);
    fx_batch_reset(&first);
    fx_batch_reset(&second);
    fx_batch_add(&first, db, CORRUPT_KEYS + 1, "x", 1);
    fx_batch_add(&first, db, corrupt, "x", 1)->if_absent = true;
    fx_batch_add(&first, db, CORRUPT_KEYS + 2, "x", 1);
    fx_batch_add(&second, db, CORRUPT_KEYS + 1, "y", 1)->if_absent = true;
    fx_batch_start(fx, &first, CAIRN__WIRE__DURABILITY__DURABILITY_MEMORY, 0);
    fx_batch_start(fx, &second, CAIRN__WIRE__DURABILITY__DURABILITY_MEMORY, 0);
    assert_int_equal(fx_write_wait(fx, &run.fw), 0);
    assert_int_equal(fx_write_wait(fx, &first.fw), CAIRN_E_CORRUPT);
    assert_int_equal(fx_write_wait(fx, &second.fw), CAIRN_E_BUSY);
    assert_int_equal(fx_batch_apply(fx, &second, CAIRN__WIRE__DURABILITY__DURABILITY_MEMORY), 0);
    assert_int_equal(second.status[0], 0); /* the first has left nothing */
    free(run.values);
    free(first.values);
    free(second.values);
}

static void corrupt_block_is_reported(void **state)
{
    static bool is_corrupt[CORRUPT_KEYS];
    struct fx *fx = *state;
    static uint8_t value[1000];
    static struct fx_value v;
    struct cairn_kv_db db;
    uint32_t corrupt = 0, last = 0;
    uint64_t rng = 3;

    fx->conf.write_buffer_bytes = 1 << 20;
    fx_open(fx);
    db = fx_create(fx, "d", CAIRN_KV_UINT, false);
    for (uint32_t i = 0; i < CORRUPT_KEYS; i++) {
        for (size_t j = 0; j < sizeof(value); j++)
            value[j] = (uint8_t)fx_draw(&rng, 256);
        assert_int_equal(fx_put(fx, db, fx_key(&i, 4), value, sizeof(value)), 0);
    }
    fx_close(fx);
    corrupt_a_file(fx);
    fx_open(fx);
    for (uint32_t i = 0; i < CORRUPT_KEYS; i++) {
        int rc = fx_get(fx, db, fx_key(&i, 4), &v);

        assert_true((rc == 0 && v.len == sizeof(value)) || rc == CAIRN_E_CORRUPT);
        is_corrupt[i] = rc == CAIRN_E_CORRUPT;
        corrupt += is_corrupt[i];
        last = is_corrupt[i] ? i : last;
    }
    read_in_batches(fx, db, is_corrupt);
    batch_with_a_corrupt_key(fx, db, last);
    assert_in_range(corrupt, 1, 10); /* one block of 4 KiB: the others are read */
    assert_true(fx_status_number(fx, "corrupt_reads") > 0);
    fx_assert_health(fx, "degraded");
    fx_close(fx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FX_ROCKSDB(corrupt_block_is_reported),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
