/** A cluster as its coordinator sees it: see cluster.h. */
#include "tools/cairn/cluster.h"

#include "sdk/core/net/host.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

enum { NAMES_MAX = 8 }; /* of namespaces: enough to know where to look */

int cli_cluster_ask(struct cli *cli, struct cli_call *call, uint32_t ms_max, json_t **doc)
{
    struct cairn_call_options *o = cli_call_init(cli, call, 0);
    char *text = NULL;
    if (ms_max > 0) {
        o->timeout_ms = MIN(o->timeout_ms, ms_max);
        o->flags = CAIRN_ONCE;
    }
    int rc = cairn_cluster_status(cli->session, &text, o);
    if (rc != 0)
        return rc;
    *doc = json_loads(text, 0, NULL);
    cairn_free(text);
    return *doc != NULL ? 0 : CAIRN_E_FORMAT;
}

int cli_cluster_failed(struct cli *cli, int rc, const struct cli_call *call, const char *fmt, ...)
{
    char what[256];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(what, sizeof(what), fmt, ap);
    va_end(ap);
    if (rc != CAIRN_E_NOPROVIDER)
        return cli_call_failed(cli, rc, call, "%s", what);
    if (cli->hint == NULL)
        cli->hint =
            "a node is in one that has its map in an etcd (`map: store: etcd`); see deploy/examples/three-nodes";
    return cli_fail(cli, rc, "the node is in no cluster", "%s", what);
}

/* As the coordinator chooses: cairn_members_called(). */
static int rank(const json_t *m, bool away)
{
    const char *state = cli_text_of(m, "state");
    bool is_lost = strcmp(state, "lost") == 0;
    if (strcmp(state, "silent") == 0)
        return 4;
    if (is_lost || strcmp(state, "left") == 0)
        return is_lost && cli_number_of(m, "slots") > 0 ? 3 : 1;
    return away ? 2 : 5;
}

const json_t *cli_cluster_member(const json_t *doc, const char *name, bool away)
{
    const json_t *members = json_object_get(doc, "members"), *found = NULL, *by_id = NULL;
    for (size_t i = 0; i < json_array_size(members); i++) {
        const json_t *m = json_array_get(members, i);
        if (strcmp(cli_text_of(m, "name"), name) == 0 && (found == NULL || rank(m, away) > rank(found, away)))
            found = m;
        if (strcmp(cli_text_of(m, "node"), name) == 0)
            by_id = m;
    }
    return found != NULL ? found : by_id;
}

char *cli_cluster_addresses(const json_t *member)
{
    const json_t *addresses = json_object_get(member, "addresses");
    char *text = NULL, here[CAIRN_HOST_ID_MAX];
    size_t len;
    FILE *f = open_memstream(&text, &len);
    cairn_host_id(here);
    const char *host = cli_text_of(member, "host");
    bool is_elsewhere = host[0] != '\0' && strcmp(host, here) != 0; /* another machine's files are not ours */
    for (size_t i = 0; f != NULL && i < json_array_size(addresses); i++) {
        const char *one = json_string_value(json_array_get(addresses, i));
        if (one != NULL && !(is_elsewhere && strncmp(one, "unix://", 7) == 0))
            fprintf(f, "%s%s", ftell(f) > 0 ? "," : "", one);
    }
    if (f != NULL)
        fclose(f);
    return text;
}

int cli_cluster_connect(const struct cli *cli, const json_t *member, uint32_t ms_max, struct cairn **session,
                        struct cairn_error_info *error)
{
    char *addresses = cli_cluster_addresses(member);
    struct cairn_options o = CAIRN_OPTIONS_INIT;
    if (addresses == NULL)
        return CAIRN_E_NOMEM;
    o.workspace = cli->g.workspace;
    o.addresses = addresses;
    o.key_file = cli->g.key;
    o.node = cli_text_of(member, "name");
    o.connect_timeout_ms = o.timeout_ms = ms_max;
    int rc = addresses[0] != '\0' ? cairn_connect(&o, session, error) : CAIRN_E_UNREACHABLE;
    free(addresses);
    return rc;
}

bool cli_cluster_is_unused(const json_t *class)
{
    return json_is_true(json_object_get(class, "unused"));
}

/* Of all classes that are used. */
static json_int_t slots_that(const json_t *doc, const char *what)
{
    const json_t *classes = json_object_get(doc, "classes");
    json_int_t n = 0;
    for (size_t i = 0; i < json_array_size(classes); i++) {
        const json_t *class = json_array_get(classes, i);
        n += cli_cluster_is_unused(class) ? 0 : cli_number_of(class, what);
    }
    return n;
}

json_t *cli_cluster_too_few_nodes(const json_t *doc)
{
    const json_t *slots = json_object_get(doc, "slots");
    json_int_t n = cli_number_of(slots, "too_few_nodes");
    char count[CLI_UNIT_BYTES + 8];
    if (n <= 0)
        return NULL;
    return json_sprintf("%s slot%s more replicas than there are nodes that may hold them (%lld): no waiting brings "
                        "those, but more nodes do",
                        cli_count(count, (uint64_t)n), n == 1 ? " wants" : "s want",
                        (long long)cli_number_of(slots, "hosts"));
}

/* Replicas that no move brings where they are to be. */
static json_int_t without_room(const json_t *doc)
{
    return cli_number_of(json_object_get(doc, "moves"), "no_room");
}

/* Who is lost is nobody's care but that of the slots that miss a replica: those are degraded until it is made anew. */
const char *cli_cluster_health(const json_t *doc)
{
    const json_t *slots = json_object_get(doc, "slots"), *members = json_object_get(doc, "members");
    if (slots_that(doc, "refusing") > 0) /* those that nobody serves among them */
        return "failing";
    for (size_t i = 0; i < json_array_size(members); i++) {
        if (strcmp(cli_text_of(json_array_get(members, i), "state"), "silent") == 0)
            return "degraded";
    }
    if (without_room(doc) > 0)
        return "degraded";
    return cli_number_of(slots, "degraded") > 0 || cli_number_of(slots, "lost") > 0 ? "degraded" : "ok";
}

const char *cli_cluster_unheard(const json_t *doc)
{
    const json_t *members = json_object_get(doc, "members");
    for (size_t i = 0; i < json_array_size(members); i++) {
        const json_t *m = json_array_get(members, i);
        const char *state = cli_text_of(m, "state");
        if (json_is_false(json_object_get(m, "heard")) && (strcmp(state, "up") == 0 || strcmp(state, "draining") == 0))
            return cli_text_of(m, "name");
    }
    return NULL;
}

bool cli_cluster_is_settled(const json_t *doc)
{
    return json_object_get(doc, "moves") == NULL;
}

void cli_cluster_name_classes(struct cli *cli, json_t *doc)
{
    json_t *classes = json_object_get(doc, "classes");
    struct cairn_ns_list *list = NULL;
    struct cli_call call;
    for (size_t i = 0; i < json_array_size(classes); i++) {
        json_t *class = json_array_get(classes, i), *names;
        if (cli_number_of(class, "degraded") == 0 && cli_number_of(class, "zones") == 0)
            continue;
        if (list == NULL && cairn_ns_list(cli->session, &list, cli_call_init(cli, &call, 0)) != 0)
            return;
        names = json_array();
        for (size_t k = 0; k < list->n && json_array_size(names) < NAMES_MAX; k++) {
            if (list->namespaces[k].replicas == cli_number_of(class, "replicas"))
                json_array_append_new(names, json_string(list->namespaces[k].name));
        }
        json_object_set_new(class, "namespaces", names);
    }
    cairn_free(list);
}

/* Those that somebody may want to do something about; and of all how many are in which state, "3: 1 up, 2 silent". */
static json_t *members_brief(const json_t *members, json_t *into)
{
    json_t *rows = json_array(), *states = json_object(), *v;
    size_t n = json_array_size(members);
    const char *state;
    char text[256];
    int at = snprintf(text, sizeof(text), "%zu", n);
    json_object_set_new(states, "up", json_integer(0));
    for (size_t i = 0; i < n; i++) {
        const json_t *m = json_array_get(members, i);
        state = cli_text_of(m, "state");
        json_object_set_new(states, state, json_integer(cli_number_of(states, state) + 1));
        if (strcmp(state, "up") == 0)
            continue;
        json_array_append_new(rows, json_pack("{s:O, s:O, s:O, s:O}", "member", json_object_get(m, "name"), "state",
                                              json_object_get(m, "state"), "slots", json_object_get(m, "slots"),
                                              "leads", json_object_get(m, "leads")));
    }
    json_object_foreach(states, state, v)
    {
        at += snprintf(text + at, sizeof(text) - (size_t)at, "%s %lld %s", at > 0 && strchr(text, ':') ? "," : ":",
                       (long long)json_integer_value(v), state);
        at = MIN(at, (int)sizeof(text) - 1);
    }
    json_object_set_new(into, "members", json_string(text));
    json_decref(states);
    return rows;
}

static json_t *missing_brief(const json_t *classes)
{
    json_t *rows = json_array();
    for (size_t i = 0; i < json_array_size(classes); i++) {
        const json_t *c = json_array_get(classes, i);
        if (cli_number_of(c, "degraded") > 0 && !cli_cluster_is_unused(c))
            json_array_append_new(
                rows,
                json_pack("{s:O, s:O, s:O, s:O, s:O*, s:O*, s:O*}", "replicas", json_object_get(c, "replicas"), "slots",
                          json_object_get(c, "slots"), "degraded", json_object_get(c, "degraded"), "fewest",
                          json_object_get(c, "fewest"), "unserved", json_object_get(c, "unserved"), "refuse_writes",
                          json_object_get(c, "refusing"), "namespaces", json_object_get(c, "namespaces")));
    }
    return rows;
}

static json_t *unused_brief(const json_t *classes)
{
    json_t *rows = json_array();
    for (size_t i = 0; i < json_array_size(classes); i++) {
        const json_t *c = json_array_get(classes, i);
        if (cli_cluster_is_unused(c))
            json_array_append_new(rows,
                                  json_pack("{s:O, s:O, s:O}", "replicas", json_object_get(c, "replicas"), "slots",
                                            json_object_get(c, "slots"), "degraded", json_object_get(c, "degraded")));
    }
    return rows;
}

/* Of these a zone that fails takes more than one replica. */
static json_t *zones_brief(const json_t *classes)
{
    json_t *rows = json_array();
    for (size_t i = 0; i < json_array_size(classes); i++) {
        const json_t *c = json_array_get(classes, i);
        if (cli_number_of(c, "zones") > 0)
            json_array_append_new(rows, json_pack("{s:O, s:O, s:O*}", "replicas", json_object_get(c, "replicas"),
                                                  "zones", json_object_get(c, "zones"), "namespaces",
                                                  json_object_get(c, "namespaces")));
    }
    return rows;
}

/* "57 slots to move, 8 of them now, 9.5/s, 6.00 s left"; "..., time left unknown, waits for n2, which is silent" */
static json_t *progress_brief(const json_t *doc, const json_t *o, const char *what)
{
    const char *who = cli_text_of(o, "waits_for"), *state = cli_text_of(cli_cluster_member(doc, who, true), "state");
    char slots[CLI_UNIT_BYTES + 8], now[64] = "", speed[64] = "time left unknown", time_left[CLI_UNIT_BYTES];
    json_int_t under_way = cli_number_of(o, "under_way"), all = cli_number_of(o, "left") + under_way;
    uint64_t left_ms = (uint64_t)cli_number_of(o, "left_ms");
    if (all == 0)
        return json_string("being planned");
    if (under_way > 0)
        snprintf(now, sizeof(now), ", %lld of them now", (long long)under_way);
    if (left_ms > 0)
        snprintf(speed, sizeof(speed), "%.1f/s, %s left", json_number_value(json_object_get(o, "per_s")),
                 cli_duration(time_left, left_ms * CAIRN_NS_PER_MS));
    if (strcmp(state, "up") == 0) /* a process of it that is no more is waited for */
        state = "";
    return json_sprintf("%s slot%s%s%s, %s%s%s%s%s", cli_count(slots, (uint64_t)all), all == 1 ? "" : "s", what, now,
                        speed, who[0] != '\0' ? ", waits for " : "", who, state[0] != '\0' ? ", which is " : "", state);
}

/* What does not work, in words. */
static void add_failing(const json_t *doc, json_t *o)
{
    char some[CLI_UNIT_BYTES + 8], of[CLI_UNIT_BYTES + 8];
    json_int_t all = slots_that(doc, "slots"), unserved = slots_that(doc, "unserved");
    json_int_t refusing = slots_that(doc, "refusing") - unserved;
    if (unserved > 0)
        json_object_set_new(o, "unserved",
                            json_sprintf("%s of %s slots: neither read nor written",
                                         cli_count(some, (uint64_t)unserved), cli_count(of, (uint64_t)all)));
    if (refusing > 0)
        json_object_set_new(o, "refuse_writes",
                            json_sprintf("%s of %s slots%s: too few of their replicas are there",
                                         cli_count(some, (uint64_t)refusing), cli_count(of, (uint64_t)all),
                                         unserved > 0 ? " more" : ""));
}

/* Adds "12 degraded" to a list of what is not as it should be. */
static size_t slots_add(char *text, size_t at, const json_t *slots, const char *key, const char *word)
{
    char count[CLI_UNIT_BYTES + 8];
    json_int_t n = cli_number_of(slots, key);
    if (n <= 0)
        return at;
    int len = snprintf(text + at, CLI_SLOTS_TEXT_BYTES - at, "%s %s %s", strchr(text, ':') != NULL ? "," : ":",
                       cli_count(count, (uint64_t)n), word);
    return MIN(at + (size_t)MAX(len, 0), CLI_SLOTS_TEXT_BYTES - 1U);
}

enum cli_color cli_cluster_slots_text(const json_t *slots, char text[CLI_SLOTS_TEXT_BYTES])
{
    char count[CLI_UNIT_BYTES + 8];
    json_int_t all = cli_number_of(slots, "all") - MAX(cli_number_of(slots, "unused"), 0);
    json_int_t bad = cli_number_of(slots, "degraded") + cli_number_of(slots, "lost");
    size_t at = (size_t)snprintf(text, CLI_SLOTS_TEXT_BYTES, "%s", cli_count(count, (uint64_t)MAX(all, 0)));
    at = slots_add(text, at, slots, "degraded", "degraded");
    at = slots_add(text, at, slots, "unserved", "unserved");
    at = slots_add(text, at, slots, "lost", "lost");
    at = slots_add(text, at, slots, "takeover", "change hands");
    if (strchr(text, ':') != NULL)
        return bad > 0 ? CLI_BAD : CLI_WARN;
    if (all > 0)
        snprintf(text + at, CLI_SLOTS_TEXT_BYTES - at, ", all have all their replicas");
    return CLI_PLAIN;
}

static void set_rows(json_t *o, const char *key, json_t *rows)
{
    if (json_array_size(rows) > 0)
        json_object_set(o, key, rows);
    json_decref(rows);
}

json_t *cli_cluster_brief(const json_t *doc)
{
    json_t *o = json_object(), *too_few = cli_cluster_too_few_nodes(doc), *rows;
    const json_t *moves = json_object_get(doc, "moves"), *behind = json_object_get(doc, "catching_up");
    const json_t *slots = json_object_get(doc, "slots");
    char text[CLI_SLOTS_TEXT_BYTES], count[CLI_UNIT_BYTES + 8];

    json_object_set(o, "health", json_object_get(doc, "health"));
    add_failing(doc, o);
    rows = members_brief(json_object_get(doc, "members"), o);
    if (cli_number_of(slots, "all") > MAX(cli_number_of(slots, "unused"), 0)) {
        cli_cluster_slots_text(slots, text);
        json_object_set_new(o, "slots", json_string(text));
    }
    if (moves != NULL)
        json_object_set_new(o, "moves", progress_brief(doc, moves, " to move"));
    if (without_room(doc) > 0)
        json_object_set_new(
            o, "no_room",
            json_sprintf("%s replicas: the nodes that are to have them hold as many slots as a node can; "
                         "more nodes are needed",
                         cli_count(count, (uint64_t)without_room(doc))));
    if (too_few != NULL)
        json_object_set_new(o, "too_few_nodes", too_few);
    if (behind != NULL)
        json_object_set_new(o, "catching_up", progress_brief(doc, behind, " of nodes that are back"));
    set_rows(o, "members_that_are_not_up", rows);
    set_rows(o, "missing_replicas", missing_brief(json_object_get(doc, "classes")));
    set_rows(o, "slots_that_no_namespace_uses", unused_brief(json_object_get(doc, "classes")));
    set_rows(o, "replicas_that_share_a_zone", zones_brief(json_object_get(doc, "classes")));
    return o;
}

/* ---- members ---- */

#define COLUMNS(id)                                                                                                    \
    {                                                                                                                  \
        { "NAME", "name", CLI_CELL_TEXT }, { "STATE", "state", CLI_CELL_TEXT }, { "SLOTS", "slots", CLI_CELL_NUMBER }, \
            { "LEADS", "leads", CLI_CELL_NUMBER }, { "ZONE", "zone", CLI_CELL_TEXT },                                  \
            { "WEIGHT", "weight", CLI_CELL_NUMBER }, { "ADDRESS", "address", CLI_CELL_TEXT },                          \
            { NULL, "incarnation", CLI_CELL_PLAIN }, { id, "node", CLI_CELL_TEXT },                                    \
    }
/* Their ids tell those of one name apart. */
static const struct cli_col columns[] = COLUMNS(NULL), columns_with_ids[ARRAY_SIZE(columns)] = COLUMNS("ID");

/* n2 stands before n10. */
static int compare_names(const void *a, const void *b)
{
    return strverscmp(cli_text_of(*(json_t *const *)a, "name"), cli_text_of(*(json_t *const *)b, "name"));
}

/* The members in the order of their names, a new reference; NULL: no memory. */
static json_t *members_sorted(const json_t *members)
{
    size_t n = json_array_size(members);
    json_t **all = calloc(n + 1, sizeof(*all)), *sorted = all != NULL ? json_array() : NULL;
    for (size_t i = 0; sorted != NULL && i < n; i++)
        all[i] = json_array_get(members, i);
    if (sorted != NULL)
        qsort(all, n, sizeof(*all), compare_names);
    for (size_t i = 0; sorted != NULL && i < n; i++)
        json_array_append(sorted, all[i]);
    free(all);
    return sorted;
}

/* Of the sorted. */
static bool has_namesakes(const json_t *members)
{
    for (size_t i = 1; i < json_array_size(members); i++) {
        if (strcmp(cli_text_of(json_array_get(members, i - 1), "name"),
                   cli_text_of(json_array_get(members, i), "name")) == 0)
            return true;
    }
    return false;
}

int cli_cluster_members(struct cli *cli, bool names)
{
    struct cli_call call;
    json_t *doc = NULL;
    int rc = cli_cluster_ask(cli, &call, 0, &doc);
    if (rc != 0)
        return cli_cluster_failed(cli, rc, &call, "asking for the cluster's members");
    json_t *members = members_sorted(json_object_get(doc, "members"));
    json_decref(doc);
    if (names && !cli->g.json) {
        for (size_t i = 0; i < json_array_size(members); i++)
            cli_put_line(cli->out, cli_text_of(json_array_get(members, i), "name"));
        json_decref(members);
        return CLI_OK;
    }
    struct cli_table *t =
        cli_table_new(cli, "members", has_namesakes(members) ? columns_with_ids : columns, ARRAY_SIZE(columns));
    bool silent = false;
    for (size_t i = 0; i < json_array_size(members); i++) {
        const json_t *m = json_array_get(members, i);
        const char *state = cli_text_of(m, "state"), *zone = cli_text_of(m, "zone");
        const struct cli_cell cells[] = {
            CLI_TEXT(cli_text_of(m, "name")),
            CLI_TEXT(state),
            CLI_NUM((uint64_t)cli_number_of(m, "slots")),
            CLI_NUM((uint64_t)cli_number_of(m, "leads")),
            CLI_TEXT(zone[0] != '\0' ? zone : NULL),
            CLI_NUM((uint64_t)cli_number_of(m, "weight")),
            CLI_TEXT(json_string_value(json_array_get(json_object_get(m, "addresses"), 0))),
            CLI_NUM((uint64_t)cli_number_of(m, "incarnation")),
            CLI_TEXT(cli_text_of(m, "node")),
        };
        cli_table_row(t, cells);
        silent |= strcmp(state, "silent") == 0;
    }
    int status = cli_table_end(t);
    json_decref(members);
    return status == CLI_OK && silent ? CLI_DEGRADED : status;
}
