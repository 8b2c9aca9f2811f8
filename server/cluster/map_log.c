/* The log of the map: see map_log.h. */
#include "server/cluster/map_log.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { TRIM_TIMEOUT_MS = 1000 }; /* nothing is lost by a longer log, and who closes waits for it */

uint64_t cairn_map_log_now_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_REALTIME, &ts);
    return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / CAIRN_NS_PER_MS;
}

void cairn_map_log_key(const char *prefix, uint64_t now_ms, uint64_t unique, char key[CAIRN_MAP_LOG_KEY_BYTES])
{
    snprintf(key, CAIRN_MAP_LOG_KEY_BYTES, "%s%013" PRIx64 "-%016" PRIx64, prefix, now_ms, unique);
}

json_t *cairn_map_log_text(const char *text)
{
    char to[CAIRN_MAP_LOG_TEXT_BYTES_MAX + 1];
    size_t n = 0;

    for (; text[n] != '\0' && n < CAIRN_MAP_LOG_TEXT_BYTES_MAX; n++)
        to[n] = text[n] >= ' ' && text[n] <= '~' ? text[n] : '?';
    to[n] = '\0';
    return json_string(to);
}

int cairn_map_log_describe(struct cairn_map_log_line *line, struct cairn_env *env, const char *author,
                           const char *reason, const struct cairn_map_write *writes, uint32_t n)
{
    uint64_t now = cairn_map_log_now_ms();
    json_t *keys = json_array(), *o;

    for (uint32_t i = 0; i < MIN(n, (uint32_t)CAIRN_MAP_LOG_KEYS_MAX); i++)
        json_array_append_new(keys, cairn_map_log_text(writes[i].key));
    o = json_pack("{s:I, s:o, s:o, s:o, s:I}", "time_ms", (json_int_t)now, "author", cairn_map_log_text(author),
                  "reason", cairn_map_log_text(reason), "keys", keys, "nkeys", (json_int_t)n);
    line->value = o != NULL ? json_dumps(o, JSON_COMPACT) : NULL;
    json_decref(o);
    if (line->value == NULL)
        return CAIRN_E_NOMEM;
    cairn_map_log_key(CAIRN_MAP_LOG_PREFIX, now, cairn_env_random(env), line->key);
    line->write = (struct cairn_map_write){ .key = line->key,
                                            .value = (const uint8_t *)line->value,
                                            .value_len = (uint32_t)strlen(line->value) };
    return 0;
}

void cairn_map_log_line_fini(struct cairn_map_log_line *line)
{
    free(line->value);
    line->value = NULL;
}

json_t *cairn_map_log_read(const struct cairn_map_entry *e)
{
    json_t *o = json_loadb((const char *)e->value, e->value_len, 0, NULL);

    if (!json_is_integer(json_object_get(o, "time_ms")) || !json_is_string(json_object_get(o, "author")) ||
        !json_is_string(json_object_get(o, "reason")) || !json_is_array(json_object_get(o, "keys")) ||
        json_object_set_new(o, "revision", json_integer((json_int_t)e->changed)) != 0) {
        json_decref(o);
        return NULL;
    }
    return o;
}

static void on_counted(const struct cairn_map_entry *e, void *arg)
{
    (void)e;
    ++*(uint32_t *)arg;
}

static void on_oldest(const struct cairn_map_entry *e, void *arg)
{
    struct cairn_map_log_trim *t = arg;

    if (t->n >= MIN(t->more, (uint32_t)CAIRN_MAP_WRITES_MAX) || strlen(e->key) >= sizeof(t->keys[0]))
        return;
    snprintf(t->keys[t->n], sizeof(t->keys[0]), "%s", e->key);
    t->writes[t->n] = (struct cairn_map_write){ .key = t->keys[t->n], .from = e->changed };
    t->n++;
}

static void on_trimmed(struct cairn_map_op *op)
{
    struct cairn_map_log_trim *t = op->arg;

    t->trimming = false;
    t->done(t);
}

/* Of @n entries, in @table or (NULL) the view. False: there are not so many that it is worth a change. */
static bool trim_change(struct cairn_map_log_trim *t, uint32_t n, const struct cairn_map_table *table)
{
    t->n = t->more = 0;
    if (n < CAIRN_MAP_LOG_ENTRIES_MAX + CAIRN_MAP_WRITES_MAX)
        return false;
    t->more = n - CAIRN_MAP_LOG_ENTRIES_MAX;
    if (table != NULL)
        cairn_map_table_each(table, t->prefix, on_oldest, t);
    else
        cairn_map_store_each(t->store, t->prefix, on_oldest, t);
    if (t->n == 0)
        return false;
    t->change = (struct cairn_map_change){ .op = { .done = on_trimmed, .arg = t, .timeout_ms = TRIM_TIMEOUT_MS },
                                           .writes = t->writes,
                                           .nwrites = t->n };
    cairn_map_store_change(t->store, t->store->home.loop, &t->change);
    return true;
}

/* A few at a time, since each entry that is added may trim. */
bool cairn_map_log_trim(struct cairn_map_store *s, struct cairn_map_log_trim *t)
{
    uint32_t n = 0;

    if (t->trimming)
        return false;
    t->store = s;
    cairn_map_store_each(s, t->prefix, on_counted, &n);
    t->trimming = trim_change(t, n, NULL);
    return t->trimming;
}

static void on_read(struct cairn_map_op *op)
{
    struct cairn_map_log_trim *t = op->arg;
    uint32_t n = op->rc == 0 ? (uint32_t)MIN(t->read.count, (uint64_t)UINT32_MAX) : 0;
    bool begun = trim_change(t, n, &t->read.table);

    cairn_map_table_fini(&t->read.table);
    if (!begun)
        on_trimmed(&t->change.op);
}

void cairn_map_log_trim_unseen(struct cairn_map_store *s, struct cairn_map_log_trim *t)
{
    t->store = s;
    t->trimming = true;
    t->change.op.arg = t;
    t->read = (struct cairn_map_read){ .op = { .done = on_read, .arg = t, .timeout_ms = TRIM_TIMEOUT_MS },
                                       .prefix = t->prefix,
                                       .limit = CAIRN_MAP_WRITES_MAX };
    cairn_map_store_read(s, &t->read);
}
