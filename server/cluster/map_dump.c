/* The map as a document: see map_dump.h. */
#include "server/cluster/map_dump.h"

#include "server/cluster/map_base64.h"
#include "server/cluster/map_generation.h"
#include "server/cluster/map_identity.h"
#include "server/cluster/map_ids.h"
#include "server/cluster/map_log.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* ---- written ---- */

static void put_text(FILE *to, const char *text)
{
    json_t *s = json_stringn_nocheck(text, strlen(text)); /* keys are ours: UTF-8, checked when they are read */
    char *quoted = s != NULL ? json_dumps(s, JSON_ENCODE_ANY | JSON_ENSURE_ASCII) : NULL;

    fputs(quoted != NULL ? quoted : "null", to);
    free(quoted);
    json_decref(s);
}

int cairn_map_dump_write(const struct cairn_map_table *t, uint64_t revision, FILE *to, struct cairn_err *err)
{
    bool first = true;

    fprintf(to, "{\"cairn_map\": %d, \"revision\": %" PRIu64 ", \"entries\": [", CAIRN_MAP_DUMP_VERSION, revision);
    for (uint32_t i = 0; i < t->n; i++) {
        const struct cairn_map_entry *e = &t->nodes[i]->e;
        struct cairn_map_b64 b = { .f = to };

        if (e->lease != 0)
            continue;
        fputs(first ? "\n{\"key\": " : ",\n{\"key\": ", to);
        first = false;
        put_text(to, e->key);
        fputs(", \"value\": \"", to);
        cairn_map_b64_put(&b, e->value, e->value_len);
        cairn_map_b64_end(&b);
        fprintf(to, "\", \"created\": %" PRIu64 ", \"changed\": %" PRIu64 "}", e->created, e->changed);
    }
    fputs("\n]}\n", to);
    if (fflush(to) != 0 || ferror(to))
        return cairn_err_set(err, CAIRN_E_IO, "the map cannot be written out");
    return 0;
}

/* ---- read ---- */

static int entry_read(const json_t *o, struct cairn_map_table *t, uint64_t revision, struct cairn_err *err, size_t i)
{
    const json_t *created = json_object_get(o, "created"), *changed = json_object_get(o, "changed");
    const char *key = json_string_value(json_object_get(o, "key")),
               *value = json_string_value(json_object_get(o, "value"));
    struct cairn_map_entry e = { .key = key };
    struct cairn_map_node *n;
    char *bytes = value != NULL ? strdup(value) : NULL;
    size_t len = 0;
    bool good = key != NULL && key[0] != '\0' && strlen(key) <= CAIRN_MAP_KEY_BYTES_MAX && bytes != NULL &&
                cairn_map_b64_decode(bytes, &len) && len <= CAIRN_MAP_VALUE_BYTES_MAX && json_is_integer(created) &&
                json_is_integer(changed) && json_integer_value(created) > 0 &&
                json_integer_value(changed) >= json_integer_value(created) &&
                (uint64_t)json_integer_value(changed) <= revision &&
                (t->n == 0 || strcmp(t->nodes[t->n - 1]->e.key, key) < 0);

    if (!good) {
        free(bytes);
        return cairn_err_set(err, CAIRN_E_CORRUPT, "entry %zu of the map's document is malformed", i);
    }
    e.value = (const uint8_t *)bytes;
    e.value_len = (uint32_t)len;
    e.created = (uint64_t)json_integer_value(created);
    e.changed = (uint64_t)json_integer_value(changed);
    n = cairn_map_node_new(&e);
    free(bytes);
    if (n == NULL)
        return cairn_err_set(err, CAIRN_E_NOMEM, "map entries");
    cairn_map_table_append(t, n);
    return 0;
}

int cairn_map_dump_read(const char *text, size_t len, struct cairn_map_table *t, uint64_t *revision,
                        struct cairn_err *err)
{
    json_error_t why;
    json_t *o = json_loadb(text, len, JSON_REJECT_DUPLICATES, &why);
    const json_t *version = json_object_get(o, "cairn_map"), *entries = json_object_get(o, "entries");
    const json_t *at = json_object_get(o, "revision");
    int rc = 0;

    if (o == NULL) {
        rc = cairn_err_set(err, CAIRN_E_CORRUPT, "line %d: %s", why.line, why.text);
    } else if (!json_is_integer(version) || !json_is_array(entries) || !json_is_integer(at) ||
               json_integer_value(at) < 0) {
        rc = cairn_err_set(err, CAIRN_E_CORRUPT, "this is no document of a map");
    } else if (json_integer_value(version) != CAIRN_MAP_DUMP_VERSION) {
        rc = cairn_err_set(err, CAIRN_E_FORMAT, "the document has version %lld; this program knows %d",
                           (long long)json_integer_value(version), CAIRN_MAP_DUMP_VERSION);
    } else if (json_array_size(entries) > CAIRN_MAP_ENTRIES_MAX) {
        rc = cairn_err_set(err, CAIRN_E_LIMIT, "%zu entries; at most %d are possible", json_array_size(entries),
                           CAIRN_MAP_ENTRIES_MAX);
    } else {
        *revision = (uint64_t)json_integer_value(at);
        if (cairn_map_table_reserve(t, (uint32_t)json_array_size(entries)) != 0)
            rc = cairn_err_set(err, CAIRN_E_NOMEM, "map entries");
        for (size_t i = 0; rc == 0 && i < json_array_size(entries); i++)
            rc = entry_read(json_array_get(entries, i), t, *revision, err, i);
    }
    json_decref(o);
    return rc;
}

/* ---- stored ---- */

struct moving {
    struct cairn_map_store *store;
    uint64_t until_ns;
    bool done;
};

static void on_done(struct cairn_map_op *op)
{
    ((struct moving *)op->arg)->done = true;
}

/* Every operation has a deadline of its own, so this ends. */
static void await(struct moving *m)
{
    while (!m->done)
        cairn_loop_turn(m->store->home.loop, CAIRN_NS_PER_S);
    m->done = false;
}

static int change(struct moving *m, const struct cairn_map_write *writes, uint32_t n, struct cairn_err *err)
{
    struct cairn_map_change c = { .op = { .done = on_done, .arg = m }, .writes = writes, .nwrites = n };

    if (cairn_env_now_ns(m->store->home.env) > m->until_ns)
        return cairn_err_set(err, CAIRN_E_TIMEOUT, "storing the map took too long; it may be repeated");
    cairn_map_store_change(m->store, NULL, &c);
    await(m);
    if (c.op.rc != 0 && err != NULL)
        *err = c.op.err;
    return c.op.rc;
}

/* What an import counts on from; @t's are not stored as they are. */
static bool is_counted_on(const char *key)
{
    return strcmp(key, CAIRN_MAP_IDS_KEY) == 0 || strcmp(key, CAIRN_MAP_GENERATION_KEY) == 0;
}

/* The entries of @t that @there lacks, in changes that keep the bounds of one. */
static int store_missing(struct moving *m, const struct cairn_map_table *t, const struct cairn_map_table *there,
                         uint32_t *stored, struct cairn_err *err)
{
    struct cairn_map_write writes[CAIRN_MAP_WRITES_MAX];
    size_t bytes = 0;
    uint32_t n = 0;
    int rc = 0;

    for (uint32_t i = 0; rc == 0 && i < t->n; i++) {
        const struct cairn_map_entry *e = &t->nodes[i]->e;

        if (is_counted_on(e->key) || cairn_map_table_at(there, e->key) != NULL)
            continue;
        if (n == CAIRN_MAP_WRITES_MAX || bytes + e->value_len > CAIRN_MAP_CHANGE_BYTES_MAX) {
            rc = change(m, writes, n, err);
            *stored += n;
            n = 0;
            bytes = 0;
        }
        writes[n++] = (struct cairn_map_write){ .key = e->key, .value = e->value, .value_len = e->value_len };
        bytes += e->value_len;
    }
    if (rc == 0 && n > 0) {
        rc = change(m, writes, n, err);
        *stored += n;
    }
    return rc;
}

static int compare(const struct cairn_map_table *t, const struct cairn_map_table *there, struct cairn_err *err)
{
    for (uint32_t i = 0; i < t->n; i++) {
        const struct cairn_map_entry *e = &t->nodes[i]->e;
        const struct cairn_map_node *n = cairn_map_table_at(there, e->key);

        if (n != NULL && !is_counted_on(e->key) &&
            (n->e.value_len != e->value_len || memcmp(n->e.value, e->value, e->value_len) != 0))
            return cairn_err_set(err, CAIRN_E_EXISTS, "%s is there already, and differs", e->key);
    }
    return 0;
}

/* What a move writes besides: whose the map is, and that it was imported. */
static bool is_beside(const char *key)
{
    return strcmp(key, CAIRN_MAP_IDENTITY_KEY) == 0 ||
           strncmp(key, CAIRN_MAP_LOG_PREFIX, strlen(CAIRN_MAP_LOG_PREFIX)) == 0;
}

int cairn_map_dump_check_free(const struct cairn_map_table *t, const struct cairn_map_table *there,
                              struct cairn_err *err)
{
    int rc = compare(t, there, err);

    for (uint32_t i = 0; rc == 0 && i < there->n; i++) {
        const char *key = there->nodes[i]->e.key;

        if (!is_counted_on(key) && !is_beside(key) && cairn_map_table_at(t, key) == NULL)
            rc = cairn_err_set(err, CAIRN_E_EXISTS, "%s is there, and not of the map that is to come", key);
    }
    return rc;
}

int cairn_map_dump_check_moved(const struct cairn_map_table *t, const struct cairn_map_table *there,
                               struct cairn_err *err)
{
    int rc = compare(t, there, err);

    for (uint32_t i = 0; rc == 0 && i < t->n; i++) {
        const char *key = t->nodes[i]->e.key;

        if (!is_counted_on(key) && cairn_map_table_at(there, key) == NULL)
            rc = cairn_err_set(err, CAIRN_E_CORRUPT, "%s was stored, and is not there", key);
    }
    return rc == CAIRN_E_EXISTS ? CAIRN_E_CORRUPT : rc;
}

/* What of the store's own has an id by a base that is about to change. */
static const char *made_there(const struct cairn_map_table *t, const struct cairn_map_table *there)
{
    for (uint32_t i = 0; i < there->n; i++) {
        const char *key = there->nodes[i]->e.key;

        if (strncmp(key, "ns/", 3) == 0 && cairn_map_table_at(t, key) == NULL)
            return key;
    }
    return NULL;
}

static struct cairn_map_generation generation_of(const struct cairn_map_table *t)
{
    const struct cairn_map_node *n = cairn_map_table_at(t, CAIRN_MAP_GENERATION_KEY);
    struct cairn_map_generation g = { 0 };

    if (n != NULL)
        (void)cairn_map_generation_read(n->e.value, n->e.value_len, &g);
    return g;
}

static uint64_t changed_of(const struct cairn_map_table *there, const char *key)
{
    const struct cairn_map_node *n = cairn_map_table_at(there, key);

    return n != NULL ? n->e.changed : 0;
}

/* Before anything else of @t is stored: ids of namespaces go on beyond those that it gave, and what it says of slots is
 * of an earlier generation, so that no revision has to be beyond @revision, nor is compared with it. An import that is
 * repeated finds both done. */
static int count_on(struct moving *m, const struct cairn_map_table *t, uint64_t revision,
                    const struct cairn_map_table *there, struct cairn_err *err)
{
    struct cairn_env *env = m->store->home.env;
    struct cairn_map_ids ids_of = cairn_map_ids_in(t), ids_there = cairn_map_ids_in(there);
    uint64_t base = cairn_map_ids_base(&ids_of), base_there = cairn_map_ids_base(&ids_there);
    struct cairn_map_generation of = generation_of(t), g = generation_of(there);
    char ids[CAIRN_MAP_IDS_TEXT_MAX], text[CAIRN_MAP_GENERATION_TEXT_MAX];
    struct cairn_map_write writes[2];
    uint32_t n = 0;
    const char *own;

    if (base > UINT32_MAX || base_there > UINT32_MAX)
        return cairn_err_set(err, CAIRN_E_CORRUPT, "%s makes no sense", CAIRN_MAP_IDS_KEY);
    if (base_there < MIN(base + revision, (uint64_t)UINT32_MAX)) {
        own = made_there(t, there);
        if (own != NULL)
            return cairn_err_set(err, CAIRN_E_EXISTS, "%s is there already, and not in the document", own);
        base = cairn_map_ids_base_after(base, revision, cairn_map_generation_number(of.id), cairn_env_random(env));
        writes[n++] = (struct cairn_map_write){
            .key = CAIRN_MAP_IDS_KEY,
            .value = (const uint8_t *)ids,
            .value_len = (uint32_t)snprintf(ids, sizeof(ids), "%" PRIu64, base),
            .from = changed_of(there, CAIRN_MAP_IDS_KEY),
        };
    }
    if (of.id != 0 && cairn_map_generation_number(g.id) <= cairn_map_generation_number(of.id)) {
        g = (struct cairn_map_generation){ .id = cairn_map_generation_next(of.id, g.id, cairn_env_random(env)) };
        writes[n++] = (struct cairn_map_write){ .key = CAIRN_MAP_GENERATION_KEY,
                                                .value = (const uint8_t *)text,
                                                .value_len = cairn_map_generation_write(&g, text),
                                                .from = changed_of(there, CAIRN_MAP_GENERATION_KEY) };
    }
    return n > 0 ? change(m, writes, n, err) : 0;
}

static int say(struct moving *m, const char *author, uint32_t stored, uint64_t revision, struct cairn_err *err)
{
    struct cairn_map_log_line line;
    char reason[96];
    int rc;

    snprintf(reason, sizeof(reason), "%" PRIu32 " entries imported from a map of revision %" PRIu64, stored, revision);
    if (cairn_map_log_describe(&line, m->store->home.env, author, reason, NULL, 0) != 0)
        return cairn_err_set(err, CAIRN_E_NOMEM, "map log");
    rc = change(m, &line.write, 1, err);
    cairn_map_log_line_fini(&line);
    return rc;
}

int cairn_map_dump_store(struct cairn_map_store *s, const struct cairn_map_table *t, uint64_t revision,
                         const char *author, uint32_t timeout_ms, struct cairn_err *err)
{
    struct moving m = { .store = s, .until_ns = cairn_env_now_ns(s->home.env) + timeout_ms * CAIRN_NS_PER_MS };
    struct cairn_map_read r = { .op = { .done = on_done, .arg = &m }, .prefix = "" };
    uint32_t stored = 0;
    int rc;

    cairn_map_store_read(s, &r);
    await(&m);
    rc = r.op.rc;
    if (rc != 0) {
        if (err != NULL)
            *err = r.op.err;
        return rc;
    }
    rc = compare(t, &r.table, err);
    if (rc == 0)
        rc = count_on(&m, t, revision, &r.table, err);
    if (rc == 0)
        rc = store_missing(&m, t, &r.table, &stored, err);
    if (rc == 0 && stored > 0)
        rc = say(&m, author, stored, revision, err);
    cairn_map_table_fini(&r.table);
    return cairn_err_wrap(err, rc, "import of the map");
}
