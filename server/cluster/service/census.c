/* Counting what a map holds: see census.h. */
#include "server/cluster/service/census.h"

#include "server/cluster/service/coordinator_internal.h"
#include "server/cluster/service/service_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct node_counts {
    struct cairn_member *m; /* NULL: slots name it, and no entry does */
    uint64_t node;
    uint32_t leads, in_sync, holds, arriving;
};

struct class_counts {
    uint32_t slots, active, take_over, lost, degraded, unserved, moving;
};

struct census {
    struct cairn_members members;
    struct node_counts *nodes; /* by id */
    uint32_t nnodes, room;
    struct class_counts classes[CAIRN_CLUSTER_CLASSES];
    uint32_t nslots, unreadable; /* nslots: of a class */
    int rc;
};

static struct node_counts *counts_of(struct census *x, uint64_t node)
{
    uint32_t lo = 0, hi = x->nnodes;

    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;

        if (x->nodes[mid].node < node)
            lo = mid + 1;
        else
            hi = mid;
    }
    if (lo < x->nnodes && x->nodes[lo].node == node)
        return &x->nodes[lo];
    if (x->nnodes == x->room) {
        struct node_counts *more = realloc(x->nodes, (x->room * 2 + 16) * sizeof(*more));

        if (more == NULL) {
            x->rc = CAIRN_E_NOMEM;
            return NULL;
        }
        x->nodes = more;
        x->room = x->room * 2 + 16;
    }
    memmove(x->nodes + lo + 1, x->nodes + lo, (x->nnodes - lo) * sizeof(x->nodes[0]));
    x->nodes[lo] = (struct node_counts){ .node = node, .m = cairn_members_find(&x->members, node) };
    x->nnodes++;
    return &x->nodes[lo];
}

static void on_conf(const struct cairn_map_entry *e, void *arg)
{
    struct census *x = arg;

    if (strcmp(e->key, CAIRN_CLUSTER_KEY_CONF) == 0)
        x->nslots = cairn_cluster__nslots_of(e);
}

static void on_member(const struct cairn_map_entry *e, void *arg)
{
    struct census *x = arg;
    struct cairn_member read = { 0 }, *m;
    int rc = cairn_member_unpack(&read, e->value, e->value_len, NULL);

    if (rc == 0)
        rc = cairn_members_add(&x->members, read.p.node, &m);
    if (rc == CAIRN_E_NOMEM)
        x->rc = rc;
    if (rc != 0) {
        x->unreadable++;
        return;
    }
    *m = read;
    cairn_list_init(&m->waiting);
    cairn_list_init(&m->awaiting);
    (void)counts_of(x, m->p.node);
}

static void count_nodes(struct census *x, const struct cairn_slot_record *rec)
{
    struct node_counts *n;

    for (uint32_t i = 0; i < rec->nreplicas; i++) {
        n = counts_of(x, rec->replicas[i]);
        if (n != NULL)
            n->holds++;
    }
    for (uint32_t i = 0; i < rec->ninsync; i++) {
        n = counts_of(x, rec->insync[i].node);
        if (n != NULL)
            n->in_sync++;
    }
    n = counts_of(x, rec->primary.node);
    if (n != NULL)
        n->leads++;
    n = rec->move.phase == CAIRN_MOVE_COPY ? counts_of(x, rec->move.target.node) : NULL;
    if (n != NULL)
        n->arriving++;
}

static void on_slot(const struct cairn_map_entry *e, void *arg)
{
    struct census *x = arg;
    struct cairn_slot_record rec;
    struct class_counts *c;
    char *end;
    unsigned long slot = strtoul(e->key + strlen(CAIRN_CLUSTER_KEY_SLOTS), &end, 16);

    if (*end != '\0' || x->nslots == 0 || slot / x->nslots >= CAIRN_CLUSTER_CLASSES ||
        cairn_wire_slot_unpack(e->value, e->value_len, &rec, NULL) != 0) {
        x->unreadable++;
        return;
    }
    c = &x->classes[slot / x->nslots];
    c->slots++;
    c->active += rec.state == CAIRN_SLOT_ACTIVE;
    c->take_over += rec.state == CAIRN_SLOT_TAKEOVER;
    c->lost += rec.state == CAIRN_SLOT_LOST;
    c->degraded += cairn_members_present(&x->members, &rec) < slot / x->nslots + 1;
    c->unserved += !cairn_members_serve(&x->members, &rec);
    c->moving += rec.move.phase != CAIRN_MOVE_NONE;
    count_nodes(x, &rec);
}

/* ---- the document ---- */

static json_t *class_json(uint32_t replicas, const struct class_counts *c)
{
    return json_pack("{s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i}", "replicas", (int)replicas, "slots", (int)c->slots,
                     "active", (int)c->active, "take_over", (int)c->take_over, "lost", (int)c->lost, "degraded",
                     (int)c->degraded, "unserved", (int)c->unserved, "moving", (int)c->moving);
}

static json_t *node_json(const struct node_counts *n)
{
    char id[17];

    if (n->m != NULL)
        n->m->holds = n->holds + n->arriving;
    snprintf(id, sizeof(id), "%016" PRIx64, n->node);
    return json_pack("{s:s, s:s, s:s, s:i, s:i, s:i, s:i, s:i}", "name", n->m != NULL ? n->m->name : id, "state",
                     n->m != NULL ? cairn_coordinator__state_name(n->m) : "unknown", "zone",
                     n->m != NULL ? n->m->zone : "", "weight", n->m != NULL ? (int)n->m->weight : 0, "leads",
                     (int)n->leads, "in_sync", (int)n->in_sync, "holds", (int)n->holds, "arriving", (int)n->arriving);
}

static int compare_nodes(const void *a, const void *b)
{
    const struct node_counts *x = a, *y = b;

    return strcmp(x->m != NULL ? x->m->name : "", y->m != NULL ? y->m->name : "");
}

static int census_put(struct census *x, json_t *to)
{
    json_t *classes = json_array(), *nodes = json_array();
    bool ok = true;

    if (x->nnodes > 0)
        qsort(x->nodes, x->nnodes, sizeof(x->nodes[0]), compare_nodes);
    for (uint32_t i = 0; i < CAIRN_CLUSTER_CLASSES; i++) {
        if (x->classes[i].slots > 0)
            ok &= json_array_append_new(classes, class_json(i + 1, &x->classes[i])) == 0;
    }
    for (uint32_t i = 0; i < x->nnodes; i++)
        ok &= json_array_append_new(nodes, node_json(&x->nodes[i])) == 0;
    if (json_array_size(nodes) > 0)
        ok &= json_object_set(to, "classes", classes) == 0 && json_object_set(to, "nodes", nodes) == 0;
    if (x->unreadable > 0)
        ok &= json_object_set_new(to, "unreadable", json_integer(x->unreadable)) == 0;
    json_decref(classes);
    json_decref(nodes);
    return ok ? 0 : CAIRN_E_NOMEM;
}

int cairn_cluster_census(const struct cairn_map_table *t, json_t *to)
{
    struct census x = { 0 };

    cairn_map_table_each(t, CAIRN_CLUSTER_KEY_CONF, on_conf, &x);
    cairn_map_table_each(t, CAIRN_CLUSTER_KEY_MEMBERS, on_member, &x);
    cairn_map_table_each(t, CAIRN_CLUSTER_KEY_SLOTS, on_slot, &x);
    if (x.rc == 0)
        x.rc = census_put(&x, to);
    cairn_members_fini(&x.members);
    free(x.nodes);
    return x.rc;
}
