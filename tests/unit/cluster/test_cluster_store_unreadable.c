/* The application under replicas, where blocks of the engine's files cannot be read: what depends on them is refused or
 * found in another way, and everything else goes on. (A store that gives up fails a test: op_failed().) */
#include "tests/lib/patience.h"
#include "tests/unit/cluster/store_world.h"

#include "server/cluster/service/store_page.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

enum { PADS = 150, TAIL_BYTES = 400, RECORD_BYTES = 20000, ONCE = 9, USUAL = 7 };
enum part { OF_INDEX, OF_RECORD };

/* Long, so that a block has few of them, and like no other. Until the fourth next. */
static const char *key_of(const char *name)
{
    static char key[4][TAIL_BYTES + 32];
    static int turn;
    char *to = key[turn++ % 4];
    uint64_t x = 14695981039346656037U;
    size_t n = (size_t)snprintf(to, 32, "%s-", name);

    for (const char *c = name; *c != '\0'; c++)
        x = (x ^ (uint8_t)*c) * 1099511628211U;
    for (size_t i = 0; i < TAIL_BYTES; i++) {
        x = x * UINT64_C(6364136223846793005) + 1442695040888963407;
        to[n + i] = (char)('a' + (x >> 40) % 26);
    }
    to[n + TAIL_BYTES] = '\0';
    return to;
}

static struct cairn_log_entry *put_once(struct fixture *fx, uint32_t slot, const char *name, uint64_t number,
                                        const char *record)
{
    struct cairn_log_entry *e = push_op(fx, slot, STORE_PUT, STORE_BODY_WRITE_ONCE, ONCE, key_of(name), record);

    e->rid.seq = number;
    return e;
}

static int32_t last_result(struct fixture *fx, uint32_t slot)
{
    settle(fx);
    return fx->logs[slot].results[fx->logs[slot].n];
}

static void on_flush(void *arg, int rc)
{
    assert_int_equal(rc, 0);
    ((struct fixture *)arg)->flushed = true;
}

/* Slot 0 has "m" in both namespaces, among others, all of it in files. */
static void fill(struct fixture *fx)
{
    char *record = malloc(RECORD_BYTES + 1), name[16];

    memset(record, 'r', RECORD_BYTES);
    record[RECORD_BYTES] = '\0';
    begin(fx);
    push(fx, 0, CAIRN_ENTRY_OPEN);
    for (int i = 0; i < PADS; i++) {
        snprintf(name, sizeof(name), "%c%03d", i < PADS / 2 ? 'a' : 'z', i);
        put_once(fx, 0, name, 1000 + (uint64_t)i, "pad");
        push_op(fx, 0, STORE_PUT, 0, USUAL, key_of(name), "pad");
    }
    put_once(fx, 0, "m", 77, record);
    push_op(fx, 0, STORE_PUT, 0, USUAL, key_of("m"), record);
    settle(fx);
    fx->flushed = false;
    cluster_store_flush(fx->store, on_flush, fx);
    turns(fx, &fx->flushed);
    end(fx);
    free(record);
}

/* A bit of each place where the file has @name's key: in the index, or with its records; in both namespaces. */
static uint32_t spoil_file(const char *path, const char *name, enum part part)
{
    const char *key = key_of(name);
    size_t len = strlen(key);
    uint32_t spoilt = 0;
    struct stat info;
    uint8_t *bytes;
    int fd = open(path, O_RDWR | O_CLOEXEC);

    assert_true(fd >= 0 && fstat(fd, &info) == 0);
    bytes = mmap(NULL, (size_t)info.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    assert_true(bytes != MAP_FAILED);
    for (uint8_t *at = bytes; (at = memmem(at, (size_t)(bytes + info.st_size - at), key, len)) != NULL; at += len) {
        bool is_record = at + len + RECORD_BYTES <= bytes + info.st_size && memcmp(at + len + 8, "rrrr", 4) == 0;

        if (is_record != (part == OF_RECORD))
            continue;
        at[len - 1] ^= 0x40;
        spoilt++;
    }
    munmap(bytes, (size_t)info.st_size);
    close(fd);
    return spoilt;
}

static uint32_t spoil_dir(const char *dir, const char *name, enum part part)
{
    DIR *d = opendir(dir);
    uint32_t spoilt = 0;
    char path[1024];

    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d)) != NULL;) {
        size_t len = strlen(e->d_name);

        snprintf(path, sizeof(path), "%s/%s", dir, e->d_name);
        if (e->d_type == DT_DIR && e->d_name[0] != '.')
            spoilt += spoil_dir(path, name, part);
        else if (len > 4 && strcmp(e->d_name + len - 4, ".sst") == 0)
            spoilt += spoil_file(path, name, part);
    }
    closedir(d);
    return spoilt;
}

static void spoil(struct fixture *fx, const char *name, enum part part)
{
    assert_true(spoil_dir(fx->dir, name, part) >= 2);
}

/* What is not in the bad block, of this slot and of others. */
static void others_go_on(struct fixture *fx)
{
    push(fx, 1, CAIRN_ENTRY_OPEN);
    put_once(fx, 1, "of another slot", 5, "here");
    put_once(fx, 0, "new", 6, "here");
    put_once(fx, 0, "a000", 7, "not here");
    settle(fx);
    assert_int_equal(fx->logs[1].results[fx->logs[1].n], 0);
    assert_int_equal(fx->logs[0].results[fx->logs[0].n - 1], 0);
    assert_int_equal(fx->logs[0].results[fx->logs[0].n], CAIRN_E_EXISTS);
    assert_string_equal(record_of(fx, ONCE, key_of("of another slot")), "here");
    assert_string_equal(record_of(fx, ONCE, key_of("new")), "here");
    assert_string_equal(record_of(fx, ONCE, key_of("a000")), "pad");
}

/* The index knows that it is there, and whose it is. */
static void the_index_decides_where_the_record_is_bad(void **state)
{
    struct fixture *fx = *state;

    fill(fx);
    spoil(fx, "m", OF_RECORD);
    begin(fx);
    put_once(fx, 0, "m", 78, "another's");
    assert_int_equal(last_result(fx, 0), CAIRN_E_EXISTS);
    put_once(fx, 0, "m", 77, "his own, once more");
    assert_int_equal(last_result(fx, 0), 0);
    in_session(fx, 0, push_op(fx, 0, STORE_PUT, STORE_BODY_IF_ABSENT, USUAL, key_of("m"), "x"), 1, 1);
    assert_int_equal(last_result(fx, 0), CAIRN_E_EXISTS);
    others_go_on(fx);
    push_op(fx, 0, STORE_ERASE, 0, USUAL, key_of("m"), "");
    push_op(fx, 0, STORE_PUT, STORE_BODY_IF_ABSENT, USUAL, key_of("m"), "anew");
    assert_int_equal(last_result(fx, 0), 0);
    assert_string_equal(record_of(fx, USUAL, key_of("m")), "anew");
    assert_int_equal(cluster_store_troubles(fx->store)->unreadable, 0);
    end(fx);
}

/* All of them are in one batch that cannot be written as it is. */
static void a_batch_that_meets_a_bad_record_is_not_lost(void **state)
{
    struct fixture *fx = *state;
    uint64_t first;
    char name[16];

    fill(fx);
    spoil(fx, "m", OF_RECORD);
    begin(fx);
    first = fx->logs[0].n + 1;
    for (int i = 0; i < 40; i++) {
        snprintf(name, sizeof(name), "new %d", i);
        put_once(fx, 0, i == 20 ? "m" : name, 500 + (uint64_t)i, "new");
    }
    settle(fx);
    for (uint64_t i = 0; i < 40; i++)
        assert_int_equal(fx->logs[0].results[first + i], i == 20 ? CAIRN_E_EXISTS : 0);
    put_once(fx, 0, "new 7", 999, "another's");
    assert_int_equal(last_result(fx, 0), CAIRN_E_EXISTS);
    end(fx);
}

/* Of whose PUT it is nothing is known then, so nobody without a session is told that it was his, or was not. */
static void the_record_decides_where_the_index_is_bad(void **state)
{
    struct fixture *fx = *state;

    fill(fx);
    spoil(fx, "m", OF_INDEX);
    begin(fx);
    in_session(fx, 0, push_op(fx, 0, STORE_PUT, STORE_BODY_IF_ABSENT, USUAL, key_of("m"), "x"), 1, 1);
    assert_int_equal(last_result(fx, 0), CAIRN_E_EXISTS);
    put_once(fx, 0, "m", 77, "his own, once more");
    assert_int_equal(last_result(fx, 0), CAIRN_E_CORRUPT);
    others_go_on(fx);
    end(fx);
}

/* It is refused until the scrub has repaired it. */
static void where_neither_can_be_read_one_entry_is_refused(void **state)
{
    struct fixture *fx = *state;
    uint64_t before, last;

    fill(fx);
    spoil(fx, "m", OF_RECORD);
    spoil(fx, "m", OF_INDEX);
    begin(fx);
    before = cairn_env_now_ns(&fx->kv.loop.env);
    put_once(fx, 0, "m", 78, "x");
    assert_int_equal(last_result(fx, 0), CAIRN_E_CORRUPT);
    in_session(fx, 0, push_op(fx, 0, STORE_PUT, STORE_BODY_IF_ABSENT, USUAL, key_of("m"), "x"), 1, 1);
    assert_int_equal(last_result(fx, 0), CAIRN_E_CORRUPT);
    assert_int_equal(cluster_store_troubles(fx->store)->unreadable, 2);
    last = cluster_store_troubles(fx->store)->unreadable_ns;
    assert_in_range(last, before, cairn_env_now_ns(&fx->kv.loop.env));
    others_go_on(fx);
    push_op(fx, 0, STORE_REPAIR, STORE_BODY_WRITE_ONCE, ONCE, key_of("m"), "repaired");
    assert_int_equal(last_result(fx, 0), 0);
    put_once(fx, 0, "m", 79, "x");
    assert_int_equal(last_result(fx, 0), CAIRN_E_EXISTS);
    assert_int_equal(cluster_store_troubles(fx->store)->unreadable_ns, last); /* which is how one sees it */
    assert_string_equal(record_of(fx, ONCE, key_of("m")), "repaired");
    end(fx);
}

static void bad_sector(struct cairn_rpc_req *rq)
{
    cairn_rpc_reply_err(rq, CAIRN_E_IO, "Input/output error");
}

/* A sector that the disk does not give back is as bad as one whose checksum is wrong, and no end of the node either. */
static void bad_sectors_are_bad_blocks(void **state)
{
    struct fixture *fx = *state;
    cairn_rpc_handler *get, *exists;

    fill(fx);
    begin(fx);
    get = replace_handler(fx, CAIRN__WIRE__KV_METHOD__KV_GET, bad_sector);
    exists = replace_handler(fx, CAIRN__WIRE__KV_METHOD__KV_EXISTS, bad_sector);
    in_session(fx, 0, push_op(fx, 0, STORE_PUT, STORE_BODY_IF_ABSENT, USUAL, key_of("m"), "x"), 1, 1);
    assert_int_equal(last_result(fx, 0), CAIRN_E_CORRUPT);
    assert_int_equal(cluster_store_troubles(fx->store)->unreadable, 1);
    replace_handler(fx, CAIRN__WIRE__KV_METHOD__KV_GET, get);
    replace_handler(fx, CAIRN__WIRE__KV_METHOD__KV_EXISTS, exists);
    others_go_on(fx);
    end(fx);
}

/* It stays partial, and keeps nobody else from anything. */
static void a_slot_that_cannot_be_erased_is_left_alone(void **state)
{
    struct fixture *fx = *state;

    fill(fx);
    spoil(fx, "m", OF_INDEX);
    begin(fx);
    cluster_store_wipe(fx->store, &fx->logs[0].s);
    for (int i = 0; i < 20; i++)
        push_op(fx, 1, STORE_PUT, 0, USUAL, key_of("of another slot"), "here");
    apply(fx, 1);
    WHILE_PATIENT (fx->logs[1].applied < fx->logs[1].n)
        cairn_loop_turn(&fx->kv.loop, CAIRN_NS_PER_MS);
    assert_string_equal(record_of(fx, USUAL, key_of("of another slot")), "here");
    assert_false(fx->logs[0].wiped);
    end(fx);
    begin(fx);
    assert_true(fx->found[0].partial);
    end(fx);
}

/* What cannot be written is another matter: it would be tried for ever, and nobody would hear of it. */
static void a_slot_whose_wipe_cannot_be_written_ends_the_store(void **state)
{
    struct fixture *fx = *state;

    fill(fx);
    begin(fx);
    fx->may_fail = true;
    replace_handler(fx, CAIRN__WIRE__KV_METHOD__KV_APPLY, bad_sector);
    cluster_store_wipe(fx->store, &fx->logs[0].s);
    WHILE_PATIENT (fx->rc == 0)
        cairn_loop_turn(&fx->kv.loop, CAIRN_NS_PER_MS);
    assert_int_equal(fx->rc, CAIRN_E_IO);
    end(fx);
}

/* A copy's record replaces what cannot be read, though the namespace keeps what is there. */
static void a_copy_replaces_what_cannot_be_read(void **state)
{
    static const uint8_t index[STORE_INDEX_VALUE_BYTES] = { STORE_BODY_WRITE_ONCE };
    struct fixture *fx = *state;
    struct store_page_record r = { .ns = ONCE, .index = index, .record = (const uint8_t *)"copied", .record_len = 6 };
    uint8_t page[1024];

    fill(fx);
    spoil(fx, "m", OF_RECORD);
    begin(fx);
    r.key = (const uint8_t *)key_of("m");
    r.key_len = (uint32_t)strlen((const char *)r.key);
    store_page_put(&r, page);
    cluster_store_put(fx->store, &fx->logs[0].s, page, (uint32_t)store_page_bytes(&r));
    turns(fx, &fx->logs[0].put);
    assert_int_equal(fx->logs[0].put_rc, 0);
    assert_string_equal(record_of(fx, ONCE, key_of("m")), "copied");
    end(fx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_DISK(the_index_decides_where_the_record_is_bad),
        ON_DISK(a_batch_that_meets_a_bad_record_is_not_lost),
        ON_DISK(the_record_decides_where_the_index_is_bad),
        ON_DISK(where_neither_can_be_read_one_entry_is_refused),
        ON_DISK(bad_sectors_are_bad_blocks),
        ON_DISK(a_slot_that_cannot_be_erased_is_left_alone),
        ON_DISK(a_slot_whose_wipe_cannot_be_written_ends_the_store),
        ON_DISK(a_copy_replaces_what_cannot_be_read),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
