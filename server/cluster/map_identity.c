/* Whose a shared map is: see map_identity.h. */
#include "server/cluster/map_identity.h"

#include "sdk/core/base/macros.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { VALUE_BYTES_MAX = 64, CLAIMS = 3 };

/* A format that is greater may have anything behind its number. */
static int parse(const struct cairn_map_entry *e, struct cairn_map_identity *id, struct cairn_err *err)
{
    static const char digits[] = "0123456789abcdef";
    char text[VALUE_BYTES_MAX + 1] = "", *rest;
    uint64_t format;

    if (e->value_len <= VALUE_BYTES_MAX)
        memcpy(text, e->value, e->value_len);
    format = strtoull(text, &rest, 10);
    if (format != CAIRN_MAP_FORMAT && text[0] >= '1' && text[0] <= '9')
        return cairn_err_set(err, CAIRN_E_FORMAT,
                             "the map has format %" PRIu64 ", this version knows %d: it is kept by %s cairnd", format,
                             CAIRN_MAP_FORMAT, format > CAIRN_MAP_FORMAT ? "a newer" : "an older");
    if (format != CAIRN_MAP_FORMAT || rest[0] != ' ' || strlen(rest) != CAIRN_MAP_IDENTITY_DIGITS + 1 ||
        strspn(rest + 1, digits) != CAIRN_MAP_IDENTITY_DIGITS)
        return cairn_err_set(err, CAIRN_E_CORRUPT, "the map's entry %s makes no sense", CAIRN_MAP_IDENTITY_KEY);
    snprintf(id->cluster, sizeof(id->cluster), "%s", rest + 1);
    return 0;
}

struct look {
    struct cairn_map_identity *id;
    struct cairn_err *err;
    int rc;
};

static void on_entry(const struct cairn_map_entry *e, void *arg)
{
    struct look *l = arg;

    if (strcmp(e->key, CAIRN_MAP_IDENTITY_KEY) == 0)
        l->rc = parse(e, l->id, l->err);
}

int cairn_map_identity_get(struct cairn_map_store *s, struct cairn_map_identity *id, struct cairn_err *err)
{
    struct look l = { .id = id, .err = err, .rc = CAIRN_E_NOTFOUND };

    cairn_map_store_each(s, CAIRN_MAP_IDENTITY_KEY, on_entry, &l);
    return l.rc;
}

static int compare(const struct cairn_map_identity *id, const char *cluster, struct cairn_err *err)
{
    if (strcmp(id->cluster, cluster) == 0)
        return 0;
    return cairn_err_set(err, CAIRN_E_CONFIG,
                         "it belongs to cluster %s, and this node to cluster %s (node.cluster, or its data directory); "
                         "two clusters need two prefixes",
                         id->cluster, cluster);
}

int cairn_map_identity_check(struct cairn_map_store *s, const char *cluster, struct cairn_err *err)
{
    struct cairn_map_identity id;
    int rc = cairn_map_identity_get(s, &id, err);

    return rc == 0 ? compare(&id, cluster, err) : rc == CAIRN_E_NOTFOUND ? 0 : rc;
}

/* ---- the claim ---- */

static void on_done(struct cairn_map_op *op)
{
    *(bool *)op->arg = true;
}

/* Every operation has a deadline of its own, so this ends. */
static void await(struct cairn_map_store *s, const bool *done)
{
    while (!*done)
        cairn_loop_turn(s->home.loop, CAIRN_NS_PER_S);
}

static int claim(struct cairn_map_store *s, const char *cluster, struct cairn_err *err)
{
    char value[VALUE_BYTES_MAX];
    bool done = false;
    struct cairn_map_write w = { .key = CAIRN_MAP_IDENTITY_KEY, .value = (const uint8_t *)value };
    struct cairn_map_change c = { .op = { .done = on_done, .arg = &done }, .writes = &w, .nwrites = 1 };

    w.value_len = (uint32_t)snprintf(value, sizeof(value), "%d %s", CAIRN_MAP_FORMAT, cluster);
    cairn_map_store_change(s, NULL, &c);
    await(s, &done);
    if (c.op.rc != 0)
        *err = c.op.err;
    return c.op.rc;
}

/* As the store has it, not the view: another's claim may be newer than that. */
static int read_again(struct cairn_map_store *s, struct cairn_map_identity *id, struct cairn_err *err)
{
    bool done = false;
    struct cairn_map_read r = { .op = { .done = on_done, .arg = &done }, .prefix = CAIRN_MAP_IDENTITY_KEY };
    const struct cairn_map_node *n;
    int rc;

    cairn_map_store_read(s, &r);
    await(s, &done);
    rc = r.op.rc;
    if (rc != 0)
        *err = r.op.err;
    n = rc == 0 ? cairn_map_table_at(&r.table, CAIRN_MAP_IDENTITY_KEY) : NULL;
    if (rc == 0)
        rc = n != NULL ? parse(&n->e, id, err) : CAIRN_E_NOTFOUND;
    cairn_map_table_fini(&r.table);
    return rc;
}

int cairn_map_identity_claim(struct cairn_map_store *s, const char *cluster, struct cairn_err *err)
{
    struct cairn_map_identity id;
    int rc = cairn_map_identity_get(s, &id, err);

    for (int i = 0; rc == CAIRN_E_NOTFOUND && i < CLAIMS; i++) {
        rc = claim(s, cluster, err);
        if (rc == 0)
            return 0;
        if (rc == CAIRN_E_EXISTS || rc == CAIRN_E_UNKNOWN) /* another was first, or we were */
            rc = read_again(s, &id, err);
    }
    if (rc == CAIRN_E_NOTFOUND)
        rc = cairn_err_set(err, CAIRN_E_UNREACHABLE, "the map cannot be told whose it is");
    return rc == 0 ? compare(&id, cluster, err) : rc;
}
