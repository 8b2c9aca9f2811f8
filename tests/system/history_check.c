/* Judges what history_client told: history_check FILE...
 *
 * Each key is a register of its own, and its history over all files must be one that could have happened one operation
 * after the other (tests/sim/linear.h). That is all at once: no acknowledged write is lost, for somebody reads each
 * key at the end; no write-once value changes, for all its puts are of the kind that does nothing where something is.
 *
 * Prints {"operations", "acknowledged", "unknown", "keys", "wrong", "undecided"}: operations that were answered,
 * writes among them, and keys. Fails if something is wrong (and shows the first such history, as one reads it) or
 * could not be decided. */
#include "tests/sim/linear.h"

#include "sdk/core/base/macros.h"

#include <err.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { WORKERS_MAX = 4000, LINE_MAX = 256, KEY_MAX = 32 };
static const uint64_t steps_max = 20000000;

struct key {
    char name[KEY_MAX];
    struct linear_op *ops;
    uint32_t n, room;
    bool damaged;
};

struct open_op {
    uint32_t key, op;
    bool is_open;
};

struct histories {
    struct key *keys; /* as they came */
    uint32_t nkeys;
    uint64_t answered, acknowledged, unknown;
    struct open_op open[WORKERS_MAX]; /* by worker */
};

static void *grow(void *p, size_t n, size_t size)
{
    if (n == 0 || (n & (n - 1)) == 0)
        p = realloc(p, MAX(n * 2, (size_t)16) * size);
    if (p == NULL)
        err(2, "memory");
    return p;
}

static uint32_t key_of(struct histories *h, const char *name)
{
    for (uint32_t i = h->nkeys; i-- > 0;) { /* newest first: of many write-once keys few are in use at a time */
        if (strcmp(h->keys[i].name, name) == 0)
            return i;
    }
    h->keys = grow(h->keys, h->nkeys, sizeof(*h->keys));
    h->keys[h->nkeys] = (struct key){ .ops = NULL };
    snprintf(h->keys[h->nkeys].name, KEY_MAX, "%s", name);
    return h->nkeys++;
}

static bool begin(struct histories *h, const char *line)
{
    static const char *const names[] = { "put", "get", "erase", "new" };
    static const enum linear_kind kinds[] = { LINEAR_PUT, LINEAR_GET, LINEAR_ERASE, LINEAR_PUT_NEW };
    char name[KEY_MAX], kind[8];
    struct linear_op op = { .end = LINEAR_UNKNOWN };
    struct key *key;
    uint32_t i = 0;

    if (sscanf(line, "i %" SCNu32 " %31s %7s %" SCNu64 " %" SCNd64, &op.client, name, kind, &op.value, &op.begin) !=
            5 ||
        op.client >= WORKERS_MAX)
        return false;
    while (i < 4 && strcmp(kind, names[i]) != 0)
        i++;
    if (i == 4)
        return false;
    op.kind = kinds[i];
    h->unknown++;
    h->open[op.client] = (struct open_op){ .key = key_of(h, name), .is_open = true };
    key = &h->keys[h->open[op.client].key];
    h->open[op.client].op = key->n;
    key->ops = grow(key->ops, key->n, sizeof(op));
    key->ops[key->n++] = op;
    return true;
}

static bool end(struct histories *h, const char *line)
{
    char outcome[16];
    uint32_t worker;
    uint64_t value;
    int64_t at;
    struct key *key;
    struct linear_op *op;

    if (sscanf(line, "o %" SCNu32 " %15s %" SCNu64 " %" SCNd64, &worker, outcome, &value, &at) != 4 ||
        worker >= WORKERS_MAX || !h->open[worker].is_open)
        return false;
    key = &h->keys[h->open[worker].key];
    op = &key->ops[h->open[worker].op];
    h->open[worker].is_open = false;
    if (strcmp(outcome, "unknown") == 0)
        return true;
    key->damaged |= strcmp(outcome, "damaged") == 0;
    if (op->kind == LINEAR_GET)
        op->value = value;
    op->existed = strcmp(outcome, "exists") == 0;
    op->end = at;
    h->answered++;
    h->unknown--;
    h->acknowledged += op->kind != LINEAR_GET && !op->existed;
    return true;
}

static void load(struct histories *h, const char *path)
{
    FILE *f = fopen(path, "r");
    char line[LINE_MAX];

    if (f == NULL)
        err(2, "%s", path);
    for (unsigned n = 1; fgets(line, sizeof(line), f) != NULL; n++) {
        if (strchr(line, '\n') == NULL && feof(f))
            break; /* its writer was killed */
        if (line[0] == 'i' ? !begin(h, line) : !end(h, line))
            errx(2, "%s:%u: what is this?", path, n);
    }
    fclose(f);
}

int main(int argc, char **argv)
{
    static struct histories h;
    uint32_t wrong = 0, undecided = 0;

    if (argc < 2)
        errx(2, "usage: history_check FILE...");
    for (int i = 1; i < argc; i++)
        load(&h, argv[i]);
    for (uint32_t i = 0; i < h.nkeys; i++) {
        struct key *key = &h.keys[i];
        int rc = key->damaged ? 0 : linear_check(key->ops, key->n, steps_max);

        undecided += rc < 0;
        wrong += rc == 0;
        if (rc == 0 && wrong == 1) {
            fprintf(stderr, "%s: %s\n", key->name,
                    key->damaged ? "a value that nobody wrote" : "this cannot have happened");
            linear_print(key->ops, key->n, stderr);
        } else if (rc < 0) {
            fprintf(stderr, "%s: not decided\n", key->name);
        }
        free(key->ops);
    }
    free(h.keys);
    printf("{\"operations\": %" PRIu64 ", \"acknowledged\": %" PRIu64 ", \"unknown\": %" PRIu64
           ", \"keys\": %u, \"wrong\": %u, \"undecided\": %u}\n",
           h.answered, h.acknowledged, h.unknown, h.nkeys, wrong, undecided);
    return wrong > 0 || undecided > 0;
}
