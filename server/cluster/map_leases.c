/* Leases given: see map_leases.h. There are few, so a plain array does. */
#include "server/cluster/map_leases.h"

#include <inttypes.h>
#include <stdlib.h>

void cairn_map_leases_fini(struct cairn_map_leases *ls)
{
    free(ls->given);
    *ls = (struct cairn_map_leases){ 0 };
}

static struct cairn_map_given *lease_find(const struct cairn_map_leases *ls, uint64_t id)
{
    for (uint32_t i = 0; i < ls->n; i++) {
        if (ls->given[i].id == id)
            return &ls->given[i];
    }
    return NULL;
}

static int lease_grant(struct cairn_map_leases *ls, struct cairn_map_lease_op *l, uint64_t id, uint64_t now_ns)
{
    if (l->ttl_ms < CAIRN_MAP_LEASE_MS_MIN || l->ttl_ms > CAIRN_MAP_LEASE_MS_MAX)
        return cairn_err_set(&l->op.err, CAIRN_E_INVAL, "a lease of %" PRIu64 " ms; %d to %d are possible", l->ttl_ms,
                             CAIRN_MAP_LEASE_MS_MIN, CAIRN_MAP_LEASE_MS_MAX);
    if (ls->n == CAIRN_MAP_LEASES_MAX)
        return cairn_err_set(&l->op.err, CAIRN_E_LIMIT, "there are %d leases", CAIRN_MAP_LEASES_MAX);
    if (ls->n == ls->room) {
        uint32_t room = MAX(16U, ls->room * 2);
        struct cairn_map_given *given = realloc(ls->given, room * sizeof(*given));

        if (given == NULL)
            return cairn_err_set(&l->op.err, CAIRN_E_NOMEM, "leases");
        ls->given = given;
        ls->room = room;
    }
    l->id = id;
    ls->given[ls->n++] = (struct cairn_map_given){ .id = id,
                                                   .ttl_ns = l->ttl_ms * CAIRN_NS_PER_MS,
                                                   .until_ns = now_ns + l->ttl_ms * CAIRN_NS_PER_MS };
    return 0;
}

int cairn_map_leases_do(struct cairn_map_leases *ls, struct cairn_map_lease_op *l, uint64_t id, uint64_t now_ns)
{
    struct cairn_map_given *g;

    if (l->verb == CAIRN_MAP_GRANT)
        return l->op.rc = lease_grant(ls, l, id, now_ns);
    g = lease_find(ls, l->id);
    if (g == NULL)
        return l->op.rc = cairn_err_set(&l->op.err, CAIRN_E_CLOSED, "lease %" PRIx64 " is over", l->id);
    if (l->verb == CAIRN_MAP_KEEP) {
        g->until_ns = now_ns + g->ttl_ns;
        l->ttl_ms = g->ttl_ns / CAIRN_NS_PER_MS;
    }
    return l->op.rc = 0;
}

bool cairn_map_leases_lives(void *leases, uint64_t id)
{
    return lease_find(leases, id) != NULL;
}

void cairn_map_leases_end(struct cairn_map_leases *ls, uint64_t id)
{
    struct cairn_map_given *g = lease_find(ls, id);

    if (g != NULL)
        *g = ls->given[--ls->n];
}

int cairn_map_leases_erase(struct cairn_map_table *t, uint64_t id, uint64_t revision, struct cairn_map_node **gone,
                           uint32_t *n)
{
    for (uint32_t i = 0; i < t->n;) {
        struct cairn_map_entry e = t->nodes[i]->e;

        if (e.lease != id) {
            i++;
            continue;
        }
        e.value = NULL;
        e.value_len = 0;
        e.changed = revision;
        gone[*n] = cairn_map_node_new(&e);
        if (gone[*n] == NULL)
            return CAIRN_E_NOMEM;
        cairn_map_table_set(t, gone[(*n)++]); /* the next one is now at i */
    }
    return 0;
}

uint64_t cairn_map_leases_first(const struct cairn_map_leases *ls, uint64_t *until_ns)
{
    uint64_t id = 0;

    *until_ns = UINT64_MAX;
    for (uint32_t i = 0; i < ls->n; i++) {
        if (ls->given[i].until_ns < *until_ns) {
            *until_ns = ls->given[i].until_ns;
            id = ls->given[i].id;
        }
    }
    return id;
}
