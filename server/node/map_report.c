/* What people are told of the map: see map_report.h. */
#include "server/node/map_report.h"

#include "server/cluster/map_log.h"
#include "server/cluster/service/census.h"
#include "server/cluster/service/cluster.h"

#include <string.h>

/* ---- what it holds ---- */

/* What entries are of, by how their keys begin. */
static const struct {
    const char *name, *prefix;
} kinds[] = { { "namespaces", "ns/" },
              { "members", CAIRN_CLUSTER_KEY_MEMBERS },
              { "slots", CAIRN_CLUSTER_KEY_SLOTS },
              { "log", CAIRN_MAP_LOG_PREFIX },
              { "slot_log", CAIRN_MAP_LOG_SLOTS_PREFIX } };

struct tally {
    uint32_t of_kind[ARRAY_SIZE(kinds) + 1]; /* the last: of none of them */
    uint64_t value_bytes;
};

static void on_tallied(const struct cairn_map_entry *e, void *arg)
{
    struct tally *t = arg;
    uint32_t i = 0;

    while (i < ARRAY_SIZE(kinds) && strncmp(e->key, kinds[i].prefix, strlen(kinds[i].prefix)) != 0)
        i++;
    t->of_kind[i]++;
    t->value_bytes += e->value_len;
}

json_t *cairn_map_report(const struct cairn_map_table *t, const char *store, json_t *where, uint64_t revision)
{
    json_t *o = json_pack("{s:s, s:o, s:I}", "store", store, "where", where, "revision", (json_int_t)revision);
    struct tally tally = { 0 };

    if (o == NULL)
        return NULL;
    cairn_map_table_each(t, "", on_tallied, &tally);
    for (uint32_t i = 0; i <= ARRAY_SIZE(kinds); i++)
        json_object_set_new(o, i < ARRAY_SIZE(kinds) ? kinds[i].name : "others", json_integer(tally.of_kind[i]));
    json_object_set_new(o, "value_bytes", json_integer((json_int_t)tally.value_bytes));
    if (cairn_cluster_census(t, o) == 0)
        return o;
    json_decref(o);
    return NULL;
}

/* ---- its logs ---- */

static void on_line(const struct cairn_map_entry *e, void *arg)
{
    json_t *o = cairn_map_log_read(e);

    if (o != NULL)
        json_array_append_new(arg, o);
}

static json_int_t time_of(const json_t *line)
{
    return json_integer_value(json_object_get(line, "time_ms"));
}

json_t *cairn_map_log_report(const struct cairn_map_table *people, const struct cairn_map_table *cluster, uint32_t last)
{
    json_t *did = json_array(), *became = json_array(), *lines = json_array();
    size_t i = 0, k = 0;

    cairn_map_table_each(people, CAIRN_MAP_LOG_PREFIX, on_line, did);
    if (cluster != NULL)
        cairn_map_table_each(cluster, CAIRN_MAP_LOG_SLOTS_PREFIX, on_line, became);
    while (i < json_array_size(did) || k < json_array_size(became)) {
        json_t *a = json_array_get(did, i), *b = json_array_get(became, k);
        bool first = b == NULL || (a != NULL && time_of(a) <= time_of(b));

        json_object_set_new(first ? a : b, "of", json_string(first ? "people" : "cluster"));
        json_array_append(lines, first ? a : b);
        i += first;
        k += !first;
    }
    while (last > 0 && json_array_size(lines) > last)
        json_array_remove(lines, 0);
    json_decref(did);
    json_decref(became);
    return lines;
}
