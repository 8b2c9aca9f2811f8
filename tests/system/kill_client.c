/* Writes to a namespace until it is killed, and checks afterwards what is there: the witness of test_kill.py. Or
 * writes one extent after the other, each created and written whole and never persisted: the victim of
 * test_dying_writer.py.
 *
 *      kill_client write ADDRESS NAMESPACE LOG
 *      kill_client check ADDRESS NAMESPACE LOG
 *      kill_client extent ADDRESS PROVIDER BYTES
 *
 * The log is a file outside of the node: a record before a write starts, one when it is acknowledged. A key has at most
 * one write under way. What a write does follows from key and version alone (how long the value is, what its bytes are,
 * whether it deletes), so the check needs nothing else: what is there must be, whole, some version from the last
 * acknowledged one to the last one started. */
#include "cairn/extent.h"
#include "cairn/hashed.h"

#include "sdk/core/base/macros.h"

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    KEYS = 256,
    GROUP = 8,         /* keys that are written by one multi-put; those behind GROUPED */
    GROUPED = 192,     /* below: one put each */
    SMALL_MAX = 2000,  /* embedded beside the key */
    LARGE_MAX = 300000 /* in an extent, moved by bulk */
};

struct record {
    uint32_t key, version, acked, sum;
};

struct state {
    uint32_t started[KEYS], acked[KEYS];
};

struct content {
    bool deletes;
    size_t len;
};

static uint64_t mix(uint64_t x)
{
    x ^= x >> 31;
    x *= UINT64_C(0x7fb5d329728ea185);
    x ^= x >> 27;
    x *= UINT64_C(0x81dadef4bc2dd44d);
    return x ^ x >> 33;
}

static struct content content_of(uint32_t key, uint32_t version)
{
    uint64_t h = mix((uint64_t)key << 32 | version);
    if (key < GROUPED && h % 8 == 0)
        return (struct content){ .deletes = true };
    size_t max = key % 4 == 0 && key < GROUPED ? LARGE_MAX : SMALL_MAX;
    return (struct content){ .len = 8 + (size_t)(h >> 8) % max };
}

/* The first eight bytes name key and version; the others follow from them. */
static void fill(unsigned char *to, uint32_t key, uint32_t version, size_t len)
{
    uint64_t x = (uint64_t)key << 32 | version;
    memcpy(to, &x, 8);
    for (size_t i = 8; i < len; i++) {
        if (i % 8 == 0)
            x = mix(x + i);
        to[i] = (unsigned char)(x >> (i % 8 * 8));
    }
}

static int key_text(char buf[32], uint32_t key)
{
    return snprintf(buf, 32, "k/%u", key);
}

static void append(int log, uint32_t key, uint32_t version, uint32_t acked)
{
    struct record r = { key, version, acked, (uint32_t)mix(key + version + acked) };
    if (write(log, &r, sizeof(r)) != (ssize_t)sizeof(r))
        err(1, "log");
}

static void load(int log, struct state *s)
{
    struct record r;
    memset(s, 0, sizeof(*s));
    ssize_t n;
    while ((n = read(log, &r, sizeof(r))) == (ssize_t)sizeof(r)) {
        if (r.key >= KEYS || r.sum != (uint32_t)mix(r.key + r.version + r.acked))
            errx(1, "the log is damaged");
        if (r.acked)
            s->acked[r.key] = r.version;
        else
            s->started[r.key] = r.version;
    }
    if (n != 0)
        errx(1, "the log ends in the middle of a record");
}

/* The same in two records a key: a log of all writes ever would make each check slower than the one before. */
static int condense(const char *path, int log, const struct state *s)
{
    char fresh[4096];
    snprintf(fresh, sizeof(fresh), "%s.new", path);
    int to = open(fresh, O_RDWR | O_CREAT | O_APPEND | O_TRUNC, 0600);
    if (to < 0)
        err(1, "%s", fresh);
    for (uint32_t key = 0; key < KEYS; key++) {
        if (s->started[key] != 0)
            append(to, key, s->started[key], 0);
        if (s->acked[key] != 0)
            append(to, key, s->acked[key], 1);
    }
    if (rename(fresh, path) != 0)
        err(1, "%s", path);
    close(log);
    return to;
}

/* ---- write ---- */

struct slot {
    uint32_t first, n; /* keys */
    uint32_t version[GROUP];
    char keys[GROUP][32];
    unsigned char *values;
    struct cairn_put_item items[GROUP];
    struct writer *writer;
};

struct writer {
    struct cairn *c;
    struct cairn_ns *ns;
    int log;
    struct state state;
    bool failed;
};

static void start(struct slot *s);

static void on_written(void *arg, int rc)
{
    struct slot *s = arg;
    struct writer *w = s->writer;
    for (uint32_t i = 0; i < s->n; i++) {
        uint32_t key = s->first + i;
        int status = s->n > 1 && rc != 0 ? s->items[i].status : rc;
        bool deletes = content_of(key, s->version[i]).deletes;
        if (status == 0 || (deletes && status == CAIRN_E_NOTFOUND)) {
            append(w->log, key, s->version[i], 1);
            w->state.acked[key] = s->version[i];
        } else {
            w->failed = true; /* the node is gone, or going */
        }
    }
    if (!w->failed)
        start(s);
}

static void start(struct slot *s)
{
    struct writer *w = s->writer;
    size_t at = 0;
    int rc;
    for (uint32_t i = 0; i < s->n; i++) {
        uint32_t key = s->first + i, version = ++w->state.started[key];
        struct content c = content_of(key, version);
        int n = key_text(s->keys[i], key);
        s->version[i] = version;
        append(w->log, key, version, 0);
        if (!c.deletes)
            fill(s->values + at, key, version, c.len);
        s->items[i] = (struct cairn_put_item){
            .key = s->keys[i], .key_len = (size_t)n, .value = s->values + at, .value_len = c.len
        };
        at += c.len;
    }
    const struct cairn_put_item *one = &s->items[0];
    if (s->n > 1)
        rc = cairn_mput_async(w->ns, s->items, s->n, NULL, on_written, s);
    else if (content_of(s->first, s->version[0]).deletes)
        rc = cairn_delete_async(w->ns, one->key, one->key_len, NULL, on_written, s);
    else
        rc = cairn_put_async(w->ns, one->key, one->key_len, one->value, one->value_len, NULL, on_written, s);
    if (rc != 0)
        errx(1, "starting a write: %s", cairn_error_text(rc));
}

/* As many slots as keys and groups: every key is always being written. */
static int write_until_killed(struct writer *w)
{
    enum { SLOTS = GROUPED + (KEYS - GROUPED) / GROUP };
    static struct slot slots[SLOTS];
    for (uint32_t i = 0; i < SLOTS; i++) {
        bool grouped = i >= GROUPED;
        slots[i] = (struct slot){ .writer = w,
                                  .first = grouped ? GROUPED + (i - GROUPED) * GROUP : i,
                                  .n = grouped ? GROUP : 1 };
        slots[i].values = malloc(grouped ? GROUP * (SMALL_MAX + 8) : LARGE_MAX + 8);
        if (slots[i].values == NULL)
            err(1, "memory");
    }
    puts("writing");
    fflush(stdout);
    for (uint32_t i = 0; i < SLOTS; i++)
        start(&slots[i]);
    while (!w->failed || cairn_inflight(w->c) > 0)
        cairn_poll(w->c, 1000);
    return 0;
}

/* ---- check ---- */

static bool is_whole(const unsigned char *value, size_t len, uint32_t key, uint32_t *version)
{
    uint64_t head;
    if (len < 8)
        return false;
    memcpy(&head, value, 8);
    *version = (uint32_t)head;
    struct content c = content_of(key, *version);
    if (head >> 32 != key || c.deletes || c.len != len)
        return false;
    unsigned char *want = malloc(len);
    if (want == NULL)
        err(1, "memory");
    fill(want, key, *version, len);
    bool same = memcmp(want, value, len) == 0;
    free(want);
    return same;
}

static bool may_be_absent(const struct state *s, uint32_t key)
{
    if (s->acked[key] == 0)
        return true;
    for (uint32_t v = s->acked[key]; v <= s->started[key]; v++) {
        if (content_of(key, v).deletes)
            return true;
    }
    return false;
}

static int check(struct cairn_ns *ns, const struct state *s)
{
    uint32_t wrong = 0, present = 0, acked = 0;
    for (uint32_t key = 0; key < KEYS; key++) {
        char text[32];
        void *value = NULL;
        size_t len = 0;
        uint32_t version = 0;
        int n = key_text(text, key);
        int rc = cairn_get_alloc(ns, text, (size_t)n, &value, &len, NULL);
        acked += s->acked[key];
        if (rc == CAIRN_E_NOTFOUND && may_be_absent(s, key))
            continue;
        present++;
        if (rc != 0)
            printf("%s: %s, but version %u was acknowledged\n", text, cairn_error_name(rc), s->acked[key]);
        else if (!is_whole(value, len, key, &version))
            printf("%s: %zu bytes that are no version whole\n", text, len);
        else if (version < s->acked[key] || version > s->started[key])
            printf("%s: version %u, but %u was acknowledged and %u started\n", text, version, s->acked[key],
                   s->started[key]);
        else
            wrong--;
        wrong++;
        cairn_free(value);
    }
    printf("%u keys, %u acknowledged writes, %u wrong\n", present, acked, wrong);
    return wrong == 0 ? 0 : 1;
}

/* ---- extent ---- */

static int write_extents(struct cairn *c, const char *provider, size_t len)
{
    struct cairn_extents *x;
    unsigned char *bytes = malloc(len);
    uint64_t id;
    if (bytes == NULL)
        err(1, "memory");
    fill(bytes, 1, 1, len);
    int rc = cairn_extents_open(c, provider, &x, NULL);
    if (rc == 0)
        puts("writing");
    fflush(stdout);
    while (rc == 0) {
        rc = cairn_extent_create(x, len, &id, NULL);
        if (rc == 0)
            rc = cairn_extent_write(x, id, 0, bytes, len, NULL);
    }
    errx(1, "%s: %s", provider, cairn_error_text(rc));
}

int main(int argc, char **argv)
{
    static struct writer w;
    struct cairn_options o = CAIRN_OPTIONS_INIT;
    struct cairn_error_info e;
    if (argc < 5)
        errx(2, "usage: kill_client write|check|extent ADDRESS NAMESPACE|PROVIDER LOG|BYTES");
    bool writes = strcmp(argv[1], "write") == 0;
    o.addresses = argv[2];
    o.timeout_ms = 20000;
    if (strcmp(argv[1], "extent") == 0) {
        if (cairn_connect(&o, &w.c, &e) != 0)
            errx(1, "%s", e.text);
        return write_extents(w.c, argv[3], strtoull(argv[4], NULL, 0));
    }
    w.log = open(argv[4], O_RDWR | O_CREAT | O_APPEND, 0600);
    if (w.log < 0)
        err(1, "%s", argv[4]);
    load(w.log, &w.state);
    if (writes)
        w.log = condense(argv[4], w.log, &w.state);
    if (cairn_connect(&o, &w.c, &e) != 0)
        errx(1, "%s", e.text);
    int rc = cairn_ns_open(w.c, argv[3], &w.ns, NULL);
    if (rc != 0)
        errx(1, "%s: %s", argv[3], cairn_error_text(rc));
    rc = writes ? write_until_killed(&w) : check(w.ns, &w.state);
    cairn_ns_close(w.ns);
    cairn_close(w.c);
    close(w.log);
    return rc;
}
