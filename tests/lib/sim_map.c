/* The simulated map store: see sim_map.h.
 *
 * A request is a message that arrives at the server, is carried out there, and goes back; a lost one ends at its
 * deadline. The server keeps a history of changes, which every store follows in order. */
#include "tests/lib/sim_map.h"

#include "server/cluster/map_leases.h"

#include <stdlib.h>
#include <string.h>

enum { HISTORY_MAX = 1 << 16, PROBE_NS = 500000000 };

struct past {
    struct cairn_map_node **nodes;
    uint32_t n;
    uint64_t revision, at_ns;
};

struct sim_map {
    struct vtime *v;
    struct cairn_map_table table;
    struct cairn_map_leases leases;
    struct cairn_timer lease_timer;
    uint64_t revision, next_lease, least_ns, more_ns;
    struct past *history;
    uint32_t nhistory, compacted; /* history before this is not told any more */
    struct cairn_link clients;
};

struct client {
    struct cairn_map_store store;
    struct cairn_link link;
    struct sim_map *map;
    struct cairn_timer feed;
    uint32_t told; /* of the history */
    bool refuse, cut, fresh;
    uint32_t lose_requests, lose_answers, messages;
};

enum phase { TO_SERVER, TO_CLIENT, LOST };

struct message {
    struct client *client;
    struct cairn_map_op *op;
    void (*carry_out)(struct sim_map *m, struct cairn_map_op *op);
    struct cairn_timer timer;
    uint64_t deadline_ns;
    enum phase phase;
    bool lose_answer, changes;
};

static struct client *client_of(struct cairn_map_store *s)
{
    return CONTAINER_OF(s, struct client, store);
}

static uint64_t delay(struct sim_map *m)
{
    return m->v->now_ns + m->least_ns + (m->more_ns > 0 ? cairn_env_random(&m->v->env) % m->more_ns : 0);
}

static void timer_at(struct sim_map *m, struct cairn_timer *t, uint64_t at_ns)
{
    CAIRN_ASSERT(cairn_timer_start(&m->v->env, t, at_ns) == 0);
}

/* ---- the server ---- */

static void history_add(struct sim_map *m, struct cairn_map_node *const *nodes, uint32_t n)
{
    struct past *p = &m->history[m->nhistory++];

    CAIRN_ASSERT(m->nhistory <= HISTORY_MAX);
    *p = (struct past){
        .nodes = calloc(n, sizeof(p->nodes[0])), .n = n, .revision = m->revision, .at_ns = m->v->now_ns
    };
    CAIRN_ASSERT(p->nodes != NULL);
    for (uint32_t i = 0; i < n; i++)
        p->nodes[i] = cairn_map_node_get(nodes[i]);
    CAIRN_LIST_FOREACH (l, &m->clients) {
        struct client *c = CONTAINER_OF(l, struct client, link);

        if (!cairn_timer_is_running(&c->feed))
            timer_at(m, &c->feed, delay(m));
    }
}

static void server_change(struct sim_map *m, struct cairn_map_op *op)
{
    struct cairn_map_change *c = CONTAINER_OF(op, struct cairn_map_change, op);

    if (cairn_map_change_stage(c, &m->table, m->revision + 1, cairn_map_leases_lives, &m->leases) == 0) {
        m->revision++;
        history_add(m, c->fresh, c->nwrites);
    }
    cairn_map_change_drop(c);
}

static void server_read(struct sim_map *m, struct cairn_map_op *op)
{
    struct cairn_map_read *r = CONTAINER_OF(op, struct cairn_map_read, op);

    op->revision = m->revision;
    op->rc = cairn_map_table_copy_some(&r->table, &m->table, r->prefix, r->limit, r->last, &r->count);
}

static void leases_watch(struct sim_map *m)
{
    uint64_t at;

    if (cairn_map_leases_first(&m->leases, &at) != 0)
        timer_at(m, &m->lease_timer, at);
}

static void lease_end(struct sim_map *m, uint64_t id)
{
    struct cairn_map_node **gone = calloc(m->table.n + 1, sizeof(gone[0]));
    uint32_t n = 0;

    CAIRN_ASSERT(gone != NULL && cairn_map_leases_erase(&m->table, id, m->revision + 1, gone, &n) == 0);
    cairn_map_leases_end(&m->leases, id);
    if (n > 0) {
        m->revision++;
        history_add(m, gone, n);
    }
    for (uint32_t i = 0; i < n; i++)
        cairn_map_node_put(gone[i]);
    free(gone);
}

static void on_lease_timer(void *arg)
{
    struct sim_map *m = arg;
    uint64_t at, id = cairn_map_leases_first(&m->leases, &at);

    if (id != 0 && at <= m->v->now_ns)
        lease_end(m, id);
    leases_watch(m);
}

static void server_lease(struct sim_map *m, struct cairn_map_op *op)
{
    struct cairn_map_lease_op *l = CONTAINER_OF(op, struct cairn_map_lease_op, op);

    if (cairn_map_leases_do(&m->leases, l, ++m->next_lease, m->v->now_ns) == 0 && l->verb == CAIRN_MAP_REVOKE)
        lease_end(m, l->id);
    leases_watch(m);
}

/* ---- a store ---- */

static void client_read_anew(struct client *c)
{
    struct cairn_map_table t = { 0 };

    CAIRN_ASSERT(cairn_map_table_copy(&t, &c->map->table, "", 0) == 0);
    cairn_map_view_replace(&c->store.view, &t, c->map->revision);
    c->told = c->map->nhistory;
    c->fresh = true;
}

static void client_follow(struct client *c, uint64_t revision)
{
    const struct sim_map *m = c->map;

    if (!c->fresh || c->told < m->compacted) {
        client_read_anew(c);
        return;
    }
    while (c->told < m->nhistory && m->history[c->told].revision <= revision) {
        const struct past *p = &m->history[c->told++];

        CAIRN_ASSERT(cairn_map_view_reserve(&c->store.view, p->n) == 0);
        cairn_map_view_apply(&c->store.view, p->nodes, p->n, p->revision);
    }
}

static void on_feed(void *arg)
{
    struct client *c = arg;

    if (c->refuse || c->cut)
        return;
    client_follow(c, c->map->revision);
    cairn_map_health_good(&c->store);
}

static void message_end(struct message *msg, int rc, const char *why)
{
    struct cairn_map_op *op = msg->op;

    if (rc != 0 && msg->phase == LOST)
        op->rc = cairn_err_set(&op->err, rc, "%s", why);
    if (rc != 0)
        op->revision = 0;
    if (rc == 0) {
        cairn_map_health_good(&msg->client->store);
    } else {
        cairn_map_health_bad(&msg->client->store, &op->err);
        timer_at(msg->client->map, &msg->client->feed, msg->client->map->v->now_ns + PROBE_NS);
    }
    if (rc == 0 && op->rc == 0 && op->revision > 0)
        client_follow(msg->client, op->revision);
    msg->client->messages--;
    cairn_map_op_answer(op);
    free(msg);
}

static void on_message(void *arg)
{
    struct message *msg = arg;
    struct client *c = msg->client;
    bool lost = msg->phase != LOST && c->cut;

    if (msg->phase == LOST) {
        message_end(msg, msg->changes ? CAIRN_E_UNKNOWN : CAIRN_E_TIMEOUT, "no answer");
    } else if (msg->phase == TO_SERVER && !lost) {
        msg->carry_out(c->map, msg->op);
        lost = msg->lose_answer;
        msg->phase = TO_CLIENT;
        if (!lost)
            timer_at(c->map, &msg->timer, delay(c->map));
    } else if (!lost) {
        message_end(msg, 0, "");
    }
    if (lost) {
        if (msg->phase == TO_SERVER && msg->changes)
            cairn_map_change_drop(CONTAINER_OF(msg->op, struct cairn_map_change, op));
        if (!msg->changes && msg->carry_out == server_read)
            cairn_map_table_fini(&CONTAINER_OF(msg->op, struct cairn_map_read, op)->table);
        msg->phase = LOST;
        timer_at(c->map, &msg->timer, MAX(msg->deadline_ns, c->map->v->now_ns));
    }
}

static void client_ask(struct cairn_map_store *s, struct cairn_map_op *op,
                       void (*carry_out)(struct sim_map *m, struct cairn_map_op *op))
{
    struct client *c = client_of(s);
    struct message *msg = calloc(1, sizeof(*msg));

    CAIRN_ASSERT(msg != NULL);
    *msg = (struct message){ .client = c, .op = op, .carry_out = carry_out, .changes = carry_out == server_change };
    cairn_timer_init(&msg->timer, on_message, msg);
    op->sent_ns = c->map->v->now_ns;
    msg->deadline_ns = op->sent_ns + op->timeout_ms * CAIRN_NS_PER_MS;
    c->messages++;
    if (c->lose_requests > 0) {
        c->lose_requests--;
        msg->phase = LOST;
        if (msg->changes)
            cairn_map_change_drop(CONTAINER_OF(op, struct cairn_map_change, op));
        timer_at(c->map, &msg->timer, msg->deadline_ns);
        return;
    }
    if (c->lose_answers > 0) {
        c->lose_answers--;
        msg->lose_answer = true;
    }
    timer_at(c->map, &msg->timer, delay(c->map));
}

static bool refused(struct cairn_map_store *s, struct cairn_map_op *op)
{
    if (!client_of(s)->refuse && (s->health.reachable || !client_of(s)->cut))
        return false;
    op->rc = cairn_err_set(&op->err, CAIRN_E_UNREACHABLE, "connection refused");
    cairn_map_health_bad(s, &op->err);
    cairn_map_op_answer(op);
    return true;
}

static void sim_change(struct cairn_map_store *s, struct cairn_map_op *op)
{
    struct cairn_map_change *c = CONTAINER_OF(op, struct cairn_map_change, op);

    if (refused(s, op))
        return;
    if (cairn_map_change_prepare(c) != 0)
        cairn_map_op_answer(op);
    else
        client_ask(s, op, server_change);
}

static void sim_read(struct cairn_map_store *s, struct cairn_map_op *op)
{
    if (!refused(s, op))
        client_ask(s, op, server_read);
}

static void sim_lease(struct cairn_map_store *s, struct cairn_map_op *op)
{
    if (!refused(s, op))
        client_ask(s, op, server_lease);
}

static void sim_free(struct cairn_map_store *s)
{
    struct client *c = client_of(s);

    CAIRN_ASSERT(c->messages == 0);
    cairn_timer_stop(&c->map->v->env, &c->feed);
    cairn_list_del(&c->link);
    cairn_map_store_fini(s);
    free(c);
}

static const struct cairn_map_store_ops sim_ops = {
    .name = "sim", .change = sim_change, .read = sim_read, .lease = sim_lease, .free = sim_free
};

/* ---- for tests ---- */

struct sim_map *sim_map_new(struct vtime *v)
{
    struct sim_map *m = calloc(1, sizeof(*m));

    CAIRN_ASSERT(m != NULL);
    m->v = v;
    m->history = calloc(HISTORY_MAX, sizeof(m->history[0]));
    CAIRN_ASSERT(m->history != NULL);
    m->revision = 1; /* as a fresh etcd */
    cairn_list_init(&m->clients);
    cairn_timer_init(&m->lease_timer, on_lease_timer, m);
    sim_map_delay(m, 1, 1);
    return m;
}

void sim_map_free(struct sim_map *m)
{
    CAIRN_ASSERT(cairn_list_is_empty(&m->clients));
    for (uint32_t i = 0; i < m->nhistory; i++) {
        for (uint32_t j = 0; j < m->history[i].n; j++)
            cairn_map_node_put(m->history[i].nodes[j]);
        free(m->history[i].nodes);
    }
    free(m->history);
    cairn_timer_stop(&m->v->env, &m->lease_timer);
    cairn_map_leases_fini(&m->leases);
    cairn_map_table_fini(&m->table);
    free(m);
}

struct cairn_map_store *sim_map_open(struct sim_map *m)
{
    struct cairn_map_home home = { .env = &m->v->env, .machines = &m->v->machines };
    struct client *c = calloc(1, sizeof(*c));

    CAIRN_ASSERT(c != NULL);
    c->map = m;
    cairn_map_store_init(&c->store, &sim_ops, &home);
    cairn_timer_init(&c->feed, on_feed, c);
    cairn_list_add_tail(&m->clients, &c->link);
    timer_at(m, &c->feed, delay(m));
    return &c->store;
}

void sim_map_delay(struct sim_map *m, uint64_t least_ms, uint64_t more_ms)
{
    m->least_ns = least_ms * CAIRN_NS_PER_MS;
    m->more_ns = more_ms * CAIRN_NS_PER_MS;
}

void sim_map_compact(struct sim_map *m)
{
    m->compacted = m->nhistory;
}

uint64_t sim_map_server_revision(struct sim_map *m)
{
    return m->revision;
}

static void client_heal(struct client *c)
{
    if (!c->refuse && !c->cut)
        timer_at(c->map, &c->feed, delay(c->map));
}

void sim_map_refuse(struct cairn_map_store *s, bool refuse)
{
    struct cairn_err err = { 0 };

    client_of(s)->refuse = refuse;
    if (refuse) { /* a watch that breaks is noticed without a request */
        cairn_err_set(&err, CAIRN_E_UNREACHABLE, "connection refused");
        cairn_map_health_bad(s, &err);
    }
    client_heal(client_of(s));
}

void sim_map_cut(struct cairn_map_store *s, bool cut)
{
    client_of(s)->cut = cut;
    client_heal(client_of(s));
}

void sim_map_lose(struct cairn_map_store *s, uint32_t requests, uint32_t answers)
{
    client_of(s)->lose_requests = requests;
    client_of(s)->lose_answers = answers;
}
