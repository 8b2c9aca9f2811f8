/* Clients whose histories are judged: each worker does one operation after the other on a few keys, and what it asked
 * and was told goes to stdout, when it happened, by CLOCK_MONOTONIC, which all processes of a machine share.
 *
 *      history_client many|large|once ADDRESSES KEYFILE NAMESPACE CLIENT    until stdin ends
 *      history_client read ADDRESSES KEYFILE NAMESPACE CLIENT KEY...  each key once
 *
 *      i WORKER KEY put|get|erase|new VALUE MICROSECONDS     begun
 *      o WORKER ok|exists|none|damaged|unknown VALUE MICROSECONDS [ERROR]    over; none: there was nothing
 *
 * `many` does everything to the same few keys; `large` to fewer, seldom, and with values that no log takes, in regions;
 * `once` puts each key of a write-once namespace several times, with
 * another value each, and reads it. CLIENT (1 to 999) tells processes apart: no two puts have one value. An operation
 * that failed, or that has no second line, may have happened, then, later or never: its worker goes on as another
 * client would. Every fourth worker has little patience, for histories without unknown outcomes prove less. */
#include "cairn/hashed.h"

#include "sdk/core/base/macros.h"

#include <err.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    WORKERS = 4,
    KEYS = 12,
    KEYS_LARGE = 4,
    SMALL_MAX = 2048,
    LARGE_MIN = 1 << 20, /* what a cluster embeds is smaller than that: server/router/README.md */
    VALUE_MAX = LARGE_MIN + SMALL_MAX,
    PAUSE_MS = 60,         /* at most, between a worker's operations */
    PAUSE_FAILED_MS = 300, /* after a failure: unknown outcomes make a history hard to judge */
    PATIENCE_MS = 30000,
    IMPATIENCE_MS = 400,
    LARGE_IS_SLOWER = 10,
    ONCE_MS = 80,  /* a new write-once key each */
    ONCE_BACK = 25 /* keys that are still written and read */
};

#define LARGE (UINT64_C(1) << 60) /* in a value's number */

enum kind { PUT, GET, ERASE, NEW };

struct client {
    struct cairn *c;
    struct cairn_ns *ns;
    unsigned number;
    bool once, large, failed;
};

struct worker {
    struct client *client;
    unsigned number;
    enum kind kind;
    bool busy;
    uint64_t count, value, next_us, random;
    char key[32], buf[VALUE_MAX];
    size_t len;
};

static uint64_t now_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static uint64_t mix(uint64_t x)
{
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

static uint64_t dice(struct worker *w, uint64_t sides)
{
    w->random += UINT64_C(0x9e3779b97f4a7c15);
    return mix(w->random) % sides;
}

/* ---- values: the number, and bytes and a length that follow from it ---- */

static size_t value_fill(char *to, uint64_t value)
{
    size_t len = 8 + mix(value) % (SMALL_MAX - 8) + (value & LARGE ? LARGE_MIN : 0);
    uint64_t word = value;

    for (size_t i = 0; i < len; i += 8) {
        memcpy(to + i, &word, MIN(len - i, (size_t)8));
        word = mix(value + i);
    }
    return len;
}

static bool value_read(const char *from, size_t len, uint64_t *value)
{
    static char want[VALUE_MAX];

    if (len < 8)
        return false;
    memcpy(value, from, 8);
    return value_fill(want, *value) == len && memcmp(want, from, len) == 0;
}

/* ---- one operation ---- */

static unsigned slower(const struct worker *w)
{
    return w->client->large ? LARGE_IS_SLOWER : 1;
}

static void tell_begin(const struct worker *w)
{
    static const char *const names[] = { "put", "get", "erase", "new" };

    printf("i %u %s %s %" PRIu64 " %" PRIu64 "\n", w->number, w->key, names[w->kind], w->value, now_us());
}

static void on_done(void *arg, int rc)
{
    struct worker *w = arg;
    const char *outcome = "ok", *error = "";
    uint64_t value = w->value;

    if (rc == 0 && w->kind == GET && !value_read(w->buf, w->len, &value)) {
        outcome = "damaged";
    } else if (rc == CAIRN_E_NOTFOUND && w->kind == GET) {
        outcome = "none";
        value = 0;
    } else if (rc == CAIRN_E_EXISTS && w->kind == NEW) {
        outcome = "exists";
    } else if (rc == CAIRN_E_CORRUPT || rc == CAIRN_E_TOOBIG) {
        outcome = "damaged";
    } else if (rc != 0) {
        outcome = "unknown";
        error = cairn_error_name(rc);
    }
    printf("o %u %s %" PRIu64 " %" PRIu64 " %s\n", w->number, outcome, value, now_us(), error);
    w->client->failed |= strcmp(outcome, "damaged") == 0;
    w->busy = false;
    w->next_us = now_us() + 1000 * (rc != 0 && *error != '\0' ? PAUSE_FAILED_MS : dice(w, PAUSE_MS * slower(w)));
}

static void start(struct worker *w)
{
    struct cairn_call_options o = CAIRN_CALL_OPTIONS_INIT;
    struct cairn_ns *ns = w->client->ns;
    size_t key_len = strlen(w->key);
    int rc;

    w->value = 0;
    if (w->kind == PUT || w->kind == NEW)
        w->value = (w->client->large ? LARGE : 0) | (uint64_t)w->number << 40 | ++w->count;
    o.timeout_ms = w->number % WORKERS == 0 ? IMPATIENCE_MS * slower(w) : PATIENCE_MS;
    w->busy = true;
    tell_begin(w);
    if (w->kind == PUT || w->kind == NEW)
        w->len = value_fill(w->buf, w->value);
    switch (w->kind) {
    case NEW:
        o.flags = w->client->once ? 0 : CAIRN_IF_ABSENT;
        /* fall through */
    case PUT:
        rc = cairn_put_async(ns, w->key, key_len, w->buf, w->len, &o, on_done, w);
        break;
    case GET:
        rc = cairn_get_async(ns, w->key, key_len, w->buf, sizeof(w->buf), &w->len, &o, on_done, w);
        break;
    default:
        rc = cairn_delete_async(ns, w->key, key_len, &o, on_done, w);
        break;
    }
    if (rc != 0)
        errx(1, "starting an operation: %s", cairn_error_text(rc));
}

static void start_any(struct worker *w)
{
    uint64_t what = dice(w, 10);

    if (w->client->once) {
        uint64_t newest = now_us() / 1000 / ONCE_MS;

        snprintf(w->key, sizeof(w->key), "o%" PRIu64, newest - dice(w, ONCE_BACK));
        w->kind = what < 4 ? NEW : GET;
    } else {
        snprintf(w->key, sizeof(w->key), "k%" PRIu64, dice(w, w->client->large ? KEYS_LARGE : KEYS));
        w->kind = what < 4 ? PUT : what < 8 ? GET : what < 9 ? NEW : ERASE;
    }
    start(w);
}

/* ---- all of them ---- */

static bool stdin_has_ended(void)
{
    struct pollfd p = { .fd = 0, .events = POLLIN };
    char c;

    return poll(&p, 1, 0) > 0 && fread(&c, 1, 1, stdin) == 0;
}

static void work(struct client *client)
{
    static struct worker workers[WORKERS];

    for (unsigned i = 0; i < WORKERS; i++)
        workers[i] = (struct worker){ .client = client,
                                      .number = client->number * WORKERS + i,
                                      .random = mix(client->number * WORKERS + i + 1) };
    while (!stdin_has_ended()) {
        uint64_t now = now_us(), next = now + 20000;

        for (unsigned i = 0; i < WORKERS; i++) {
            if (!workers[i].busy && workers[i].next_us <= now)
                start_any(&workers[i]);
            else if (!workers[i].busy)
                next = MIN(next, workers[i].next_us);
        }
        if (cairn_inflight(client->c) > 0)
            cairn_poll(client->c, (int)((next - now) / 1000 + 1));
        else
            poll(NULL, 0, (int)((next - now) / 1000 + 1));
    }
    cairn_drain(client->c, PATIENCE_MS);
}

static void read_keys(struct client *client, char **keys)
{
    static struct worker w;

    w = (struct worker){ .client = client, .number = client->number * WORKERS + 1 };
    for (; *keys != NULL; keys++) {
        snprintf(w.key, sizeof(w.key), "%s", *keys);
        w.kind = GET;
        start(&w);
        while (w.busy)
            cairn_poll(client->c, 1000);
    }
}

int main(int argc, char **argv)
{
    struct cairn_options o = CAIRN_OPTIONS_INIT;
    struct cairn_error_info e = { 0 };
    struct client client = { 0 };
    int rc;

    if (argc < 6)
        errx(2, "usage: history_client many|large|once|read ADDRESSES KEYFILE NAMESPACE CLIENT [KEY...]");
    setvbuf(stdout, NULL, _IOLBF, 0); /* a line is there when it is written, whatever becomes of us */
    client.once = strcmp(argv[1], "once") == 0;
    client.large = strcmp(argv[1], "large") == 0;
    client.number = (unsigned)strtoul(argv[5], NULL, 10);
    o.addresses = argv[2];
    o.key_file = argv[3];
    if (cairn_connect(&o, &client.c, &e) != 0)
        errx(1, "%s", e.text);
    rc = cairn_ns_open(client.c, argv[4], &client.ns, NULL);
    if (rc != 0)
        errx(1, "%s: %s", argv[4], cairn_error_text(rc));
    if (strcmp(argv[1], "read") == 0)
        read_keys(&client, argv + 6);
    else
        work(&client);
    cairn_ns_close(client.ns);
    cairn_close(client.c);
    return client.failed ? 1 : 0;
}
