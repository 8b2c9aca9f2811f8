/** A thread for each node: it connects, asks, and connects anew when that failed. None waits for another, so one node
 * that does not answer is shown as such, and holds up nothing. */
#include "tools/cairn/cluster.h"
#include "tools/cairn/top.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct node {
    struct top *t;
    char *name, *addresses; /* addresses NULL: the way that `cairn` itself came in */
    pthread_t thread;
    bool has_thread;
    /* Under the lock: */
    json_t *metrics[2], *status; /* the newest last */
    uint64_t at_ns[2];
    uint32_t answers; /* so many in a row, 2 at most */
    bool failed;
    char problem[128];
};

struct top {
    struct cli *cli;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool stop;
    struct node *nodes[TOP_NODES_MAX];
    uint32_t nnodes;
    json_t *cluster; /* NULL: none */
    char problem[128];
};

/* ---- one node ---- */

static int ask(struct cairn *session, int (*fn)(struct cairn *, char **, const struct cairn_call_options *),
               json_t **doc)
{
    struct cairn_call_options o = CAIRN_CALL_OPTIONS_INIT;
    char *text = NULL;
    o.timeout_ms = TOP_ANSWER_MS;
    o.flags = CAIRN_ONCE; /* the next look comes soon */
    int rc = fn(session, &text, &o);
    if (rc != 0)
        return rc;
    *doc = json_loads(text, 0, NULL);
    cairn_free(text);
    return *doc != NULL ? 0 : CAIRN_E_FORMAT;
}

static int node_connect(struct node *n, struct cairn **session)
{
    const struct cli_globals *g = &n->t->cli->g;
    struct cairn_options o = CAIRN_OPTIONS_INIT;
    struct cairn_error_info error;
    pthread_mutex_lock(&n->t->lock);
    char *addresses = n->addresses != NULL ? strdup(n->addresses) : NULL;
    pthread_mutex_unlock(&n->t->lock);
    o.workspace = g->workspace;
    o.addresses = addresses != NULL ? addresses : g->address;
    o.key_file = g->key;
    o.node = addresses != NULL ? n->name : NULL;
    o.connect_timeout_ms = o.timeout_ms = TOP_ANSWER_MS;
    int rc = cairn_connect(&o, session, &error);
    free(addresses);
    return rc;
}

static void sample(struct node *n, struct cairn **session)
{
    json_t *metrics = NULL, *status = NULL;
    int rc = *session != NULL ? 0 : node_connect(n, session);
    if (rc == 0)
        rc = ask(*session, cairn_metrics, &metrics);
    uint64_t now = cli_now_ns();
    if (rc == 0)
        rc = ask(*session, cairn_status, &status);
    pthread_mutex_lock(&n->t->lock);
    n->failed = rc != 0;
    if (rc == 0) {
        json_decref(n->metrics[0]);
        json_decref(n->status);
        n->metrics[0] = n->metrics[1];
        n->at_ns[0] = n->at_ns[1];
        n->metrics[1] = metrics;
        n->at_ns[1] = now;
        n->status = status;
        n->answers = MIN(n->answers + 1, 2U);
        metrics = status = NULL;
    } else {
        n->answers = 0;
        snprintf(n->problem, sizeof(n->problem), "%s", cairn_error_text(rc));
    }
    pthread_mutex_unlock(&n->t->lock);
    json_decref(metrics);
    json_decref(status);
    if (rc != 0 && *session != NULL) {
        cairn_close(*session);
        *session = NULL;
    }
}

static void *node_main(void *arg)
{
    struct node *n = arg;
    struct top *t = n->t;
    struct cairn *session = NULL;
    struct timespec next;
    clock_gettime(CLOCK_MONOTONIC, &next);
    pthread_mutex_lock(&t->lock);
    while (!t->stop) {
        pthread_mutex_unlock(&t->lock);
        sample(n, &session);
        next.tv_sec += TOP_INTERVAL_MS / 1000;
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        if (now.tv_sec > next.tv_sec) /* it took longer than a turn */
            next = now;
        pthread_mutex_lock(&t->lock);
        while (!t->stop && pthread_cond_timedwait(&t->wake, &t->lock, &next) != ETIMEDOUT)
            ;
    }
    pthread_mutex_unlock(&t->lock);
    cairn_close(session);
    return NULL;
}

/* ---- all of them ---- */

static struct node *node_find(struct top *t, const char *name)
{
    for (uint32_t i = 0; i < t->nnodes; i++) {
        if (strcmp(t->nodes[i]->name, name) == 0)
            return t->nodes[i];
    }
    return NULL;
}

static void node_add(struct top *t, const char *name, char *addresses)
{
    struct node *n = t->nnodes < TOP_NODES_MAX ? calloc(1, sizeof(*n)) : NULL;
    if (n == NULL) {
        free(addresses);
        return;
    }
    n->t = t;
    n->name = strdup(name);
    n->addresses = addresses;
    n->has_thread = n->name != NULL && pthread_create(&n->thread, NULL, node_main, n) == 0;
    if (!n->has_thread) {
        free(n->name);
        free(n->addresses);
        free(n);
        return;
    }
    pthread_mutex_lock(&t->lock);
    t->nodes[t->nnodes++] = n;
    pthread_mutex_unlock(&t->lock);
}

/* A node that has started anew may be elsewhere. */
static void node_known(struct top *t, const char *name, char *addresses)
{
    struct node *n = node_find(t, name);
    if (n == NULL) {
        node_add(t, name, addresses);
        return;
    }
    pthread_mutex_lock(&t->lock);
    free(n->addresses);
    n->addresses = addresses;
    pthread_mutex_unlock(&t->lock);
}

static bool is_there(const json_t *member)
{
    return strcmp(cli_text_of(member, "state"), "left") != 0;
}

void top_look(struct top *t)
{
    json_t *cluster = NULL;
    int rc = ask(t->cli->session, cairn_cluster_status, &cluster);
    if (rc == CAIRN_E_NOPROVIDER) {
        if (t->nnodes == 0)
            node_add(t, "", NULL);
        return;
    }
    t->problem[0] = '\0';
    if (rc != 0) { /* what was known stays, and is said to be old */
        snprintf(t->problem, sizeof(t->problem), "%s", cairn_error_text(rc));
        if (t->nnodes == 0)
            node_add(t, "", NULL);
        return;
    }
    const json_t *members = json_object_get(cluster, "members");
    for (size_t i = 0; i < json_array_size(members); i++) {
        const json_t *m = json_array_get(members, i);
        if (is_there(m) && cli_cluster_member(cluster, cli_text_of(m, "name"), false) == m) /* nobody of before */
            node_known(t, cli_text_of(m, "name"), cli_cluster_addresses(m));
    }
    json_decref(t->cluster);
    t->cluster = cluster;
}

struct top *top_new(struct cli *cli)
{
    struct top *t = calloc(1, sizeof(*t));
    pthread_condattr_t attr;
    if (t == NULL)
        return NULL;
    t->cli = cli;
    pthread_mutex_init(&t->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&t->wake, &attr);
    pthread_condattr_destroy(&attr);
    top_look(t);
    return t;
}

void top_free(struct top *t)
{
    pthread_mutex_lock(&t->lock);
    t->stop = true;
    pthread_cond_broadcast(&t->wake);
    pthread_mutex_unlock(&t->lock);
    for (uint32_t i = 0; i < t->nnodes; i++) {
        struct node *n = t->nodes[i];
        pthread_join(n->thread, NULL);
        json_decref(n->metrics[0]);
        json_decref(n->metrics[1]);
        json_decref(n->status);
        free(n->name);
        free(n->addresses);
        free(n);
    }
    json_decref(t->cluster);
    pthread_cond_destroy(&t->wake);
    pthread_mutex_destroy(&t->lock);
    free(t);
}

bool top_is_complete(struct top *t, uint32_t times)
{
    bool all = true;
    pthread_mutex_lock(&t->lock);
    for (uint32_t i = 0; i < t->nnodes; i++)
        all &= t->nodes[i]->answers >= times || t->nodes[i]->failed;
    pthread_mutex_unlock(&t->lock);
    return all;
}

/* ---- what they come to ---- */

static const json_t *of_name(const json_t *array, const char *key, const char *value)
{
    for (size_t i = 0; i < json_array_size(array); i++) {
        if (strcmp(cli_text_of(json_array_get(array, i), key), value) == 0)
            return json_array_get(array, i);
    }
    return NULL;
}

/* What its figures are of: the time between its two samples, or since it started. */
static double seconds_of(const struct node *n, bool since_start)
{
    if (since_start)
        return n->answers > 0 ? (double)cli_number_of(n->metrics[1], "uptime_ms") / 1000 : 0;
    return n->answers == 2 ? (double)(n->at_ns[1] - n->at_ns[0]) / CAIRN_NS_PER_S : 0;
}

static json_t *node_row(const struct top *t, const struct node *n)
{
    const json_t *member = cli_cluster_member(t->cluster, n->name, false);
    const json_t *part = of_name(json_object_get(n->status, "providers"), "type", "cluster");
    const json_t *counters = json_object_get(n->metrics[1], "counters");
    json_t *o = json_pack("{s:s, s:s, s:b, s:f, s:f, s:f, s:f}", "name",
                          n->name[0] != '\0' ? n->name : cli_text_of(n->metrics[1], "node"), "state",
                          member != NULL   ? cli_text_of(member, "state")
                          : n->answers > 0 ? "up"
                                           : "unknown",
                          "answers", (int)(n->answers > 0), "requests_per_s", 0.0, "failed_per_s", 0.0,
                          "in_bytes_per_s", 0.0, "out_bytes_per_s", 0.0);
    if (member != NULL) {
        json_object_set(o, "slots", json_object_get(member, "slots"));
        json_object_set(o, "leads", json_object_get(member, "leads"));
    }
    json_object_set_new(o, "address", json_string(n->addresses != NULL ? n->addresses : ""));
    if (n->failed)
        json_object_set_new(o, "problem", json_string(n->problem));
    if (n->answers == 0)
        return o;
    json_object_set(o, "uptime_ms", json_object_get(n->metrics[1], "uptime_ms"));
    json_object_set(o, "resident_bytes", json_object_get(n->metrics[1], "resident_bytes"));
    json_object_set(o, "connections", json_object_get(counters, "connections"));
    if (part != NULL)
        json_object_set(o, "lease_ms", json_object_get(part, "lease_ms"));
    return o;
}

/* n2 stands before n10. */
static int compare_nodes(const void *a, const void *b)
{
    const struct node *const *x = a, *const *y = b;
    return strverscmp((*x)->name, (*y)->name);
}

json_t *top_report(struct top *t)
{
    json_t *o = json_object(), *nodes = json_array();
    const json_t *members = json_object_get(t->cluster, "members");
    struct top_sums *sums = top_sums_new();
    struct node *sorted[TOP_NODES_MAX];
    bool since_start = true;
    double window = 0;
    json_int_t not_asked = 0;
    for (size_t i = 0; i < json_array_size(members); i++)
        not_asked += is_there(json_array_get(members, i)) &&
                     node_find(t, cli_text_of(json_array_get(members, i), "name")) == NULL;
    memcpy(sorted, t->nodes, sizeof(sorted));
    qsort(sorted, t->nnodes, sizeof(sorted[0]), compare_nodes);
    pthread_mutex_lock(&t->lock);
    for (uint32_t i = 0; i < t->nnodes; i++)
        since_start &= t->nodes[i]->answers < 2;
    for (uint32_t i = 0; i < t->nnodes; i++) {
        const struct node *n = sorted[i];
        double s = seconds_of(n, since_start);
        json_t *row = node_row(t, n);
        top_sums_add(sums, row, n->metrics[1], since_start ? NULL : n->metrics[0], s);
        json_array_append_new(nodes, row);
        window = MAX(window, s);
    }
    json_object_set_new(o, "since_start", json_boolean(since_start));
    json_object_set_new(o, "window_ms", json_integer((json_int_t)(window * 1000)));
    json_object_set_new(o, "nodes", nodes);
    json_object_set_new(o, "methods", top_sums_end(sums));
    pthread_mutex_unlock(&t->lock);
    if (t->cluster != NULL)
        json_object_set(o, "cluster", t->cluster);
    if (t->problem[0] != '\0')
        json_object_set_new(o, "problem", json_string(t->problem));
    json_object_set_new(o, "not_asked", json_integer(not_asked));
    return o;
}
