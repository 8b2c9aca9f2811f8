/* What a coordinator writes into the map store, and what follows when it is there: see coordinator.h. */
#include "server/cluster/service/coordinator_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* Who held a slot, and who holds it: all that a record and the next one name. */
enum { TOLD_MAX = 2 * (2 * CAIRN_REPLICAS_MAX + 1) };

/* What every write here begins with. */
struct told_write {
    struct cairn_write w;
    struct cairn_deed deed;
};

struct slot_write {
    struct told_write told;
    uint32_t slot, nnodes;
    uint64_t nodes[TOLD_MAX];
    struct cairn_slot_record rec;
    uint8_t value[CAIRN_WIRE_RECORD_BYTES_MAX];
};

struct member_write {
    struct told_write told;
    struct cairn_member as;         /* as it is written; later changes are another write's */
    struct cairn_map_log_line line; /* of whose wish it is */
    uint8_t value[CAIRN_MEMBER_BYTES_MAX];
};

struct conf_write {
    struct told_write told;
    char value[24];
};

static void write_init(struct cairn_coordinator *co, struct cairn_write *w, const void *value, size_t len,
                       void (*stored)(struct cairn_write *w, uint64_t revision),
                       void (*done)(struct cairn_write *w, int rc))
{
    w->value = value;
    w->len = (uint32_t)len;
    w->stored = stored;
    w->done = done;
    w->arg = co;
}

/* ---- slots ---- */

static void slot_stored(struct cairn_write *w, uint64_t revision)
{
    struct slot_write *x = CONTAINER_OF(w, struct slot_write, told.w);
    struct cairn_coordinator *co = w->arg;
    int rc = co->ops->put_slot(co, x->slot, &x->rec, revision);

    co->changed[x->slot] = revision;
    co->count_is_old = true;
    if (x->told.w.from == 0)
        cairn_coordinator__class_grew(co, x->slot, revision);
    if (rc != 0)
        cairn_coordinator__fail(co, rc, "a slot's record in memory");
}

static void slot_done(struct cairn_write *w, int rc)
{
    struct slot_write *x = CONTAINER_OF(w, struct slot_write, told.w);
    struct cairn_coordinator *co = w->arg;

    if (rc == 0) { /* otherwise this term is over */
        cairn_coord_on_stored(&co->coord, x->slot, 0);
        co->ops->publish(co, x->slot, &x->rec, x->nodes, x->nnodes);
    }
    free(x);
}

static void name_node(struct slot_write *x, uint64_t node)
{
    for (uint32_t i = 0; i < x->nnodes; i++) {
        if (x->nodes[i] == node)
            return;
    }
    if (node != 0)
        x->nodes[x->nnodes++] = node;
}

static void name_nodes(struct slot_write *x, const struct cairn_slot_record *rec)
{
    for (uint32_t i = 0; i < rec->nreplicas; i++)
        name_node(x, rec->replicas[i]);
    for (uint32_t i = 0; i < rec->ninsync; i++)
        name_node(x, rec->insync[i].node);
    if (rec->move.phase != CAIRN_MOVE_NONE)
        name_node(x, rec->move.target.node);
}

/* What the records do not say of the why. */
static enum cairn_deed_why why_of(struct cairn_coordinator *co, const struct cairn_slot_record *old,
                                  const struct cairn_deed *d)
{
    const struct cairn_member *m = d->from != 0 ? cairn_members_find(&co->members, d->from) : NULL;

    if (m == NULL)
        return d->why;
    if (d->kind == CAIRN_DEED_TAKEN && m->p.inc != old->primary.inc)
        return CAIRN_WHY_RESTARTED;
    if (d->why == CAIRN_WHY_BALANCE && m->p.draining)
        return CAIRN_WHY_DRAINED;
    if (d->why == CAIRN_WHY_BALANCE && m->state == CAIRN_WIRE_MEMBER_LOST)
        return CAIRN_WHY_LOST;
    return d->why;
}

static void co_store(struct cairn_coord *c, uint32_t slot, const struct cairn_slot_record *rec)
{
    struct cairn_coordinator *co = c->arg;
    struct slot_write *x = calloc(1, sizeof(*x));

    if (x == NULL) { /* the core waits for an answer that will not come: this term ends */
        cairn_coordinator__fail(co, CAIRN_E_NOMEM, "a slot's record");
        return;
    }
    write_init(co, &x->told.w, x->value, cairn_wire_slot_pack(rec, x->value), slot_stored, slot_done);
    snprintf(x->told.w.key, sizeof(x->told.w.key), CAIRN_CLUSTER_KEY_SLOTS "%08x", slot);
    x->told.w.from = co->changed[slot];
    x->slot = slot;
    x->rec = *rec;
    name_nodes(x, rec);
    name_nodes(x, &c->slots[slot].rec); /* as it is until then */
    x->told.deed = cairn_deed_of_slot(&c->slots[slot].rec, rec, c->slots[slot].change.kind);
    x->told.deed.why = why_of(co, &c->slots[slot].rec, &x->told.deed);
    if (x->told.deed.why == CAIRN_WHY_NO_ANSWER && c->slots[slot].change.leaves)
        x->told.deed.why = CAIRN_WHY_STOPS;
    cairn_writes_add(&co->writes, &x->told.w);
}

/* Told by slot_done(), which knows who held it before. */
static void co_publish(struct cairn_coord *c, uint32_t slot, const struct cairn_slot_record *rec)
{
    (void)c;
    (void)slot;
    (void)rec;
}

static void co_verdict(struct cairn_coord *c, const struct cairn_change *change, enum cairn_verdict verdict,
                       const struct cairn_slot_record *rec)
{
    struct cairn_coordinator *co = c->arg;
    struct cairn_coordinator_ask *ask = co->held[change->slot];

    CAIRN_ASSERT(ask != NULL);
    co->held[change->slot] = NULL;
    ask->verdict = verdict;
    ask->rec = *rec;
    cairn_coordinator__answer(ask, 0, "");
}

/* An outcome that is not known is read back by writes.c, or ends the term: the core is told of neither. */
static bool co_may_act(struct cairn_coord *c)
{
    return cairn_coordinator_is_serving(c->arg);
}

const struct cairn_coord_ops cairn_coordinator__coord_ops = {
    .may_act = co_may_act, .store = co_store, .publish = co_publish, .verdict = co_verdict
};

/* ---- members ---- */

static void member_begin(struct cairn_coordinator *co, struct cairn_member *m);

static void member_stored(struct cairn_write *w, uint64_t revision)
{
    struct member_write *x = CONTAINER_OF(w, struct member_write, told.w);
    struct cairn_coordinator *co = w->arg;
    struct cairn_wire_member told;
    int rc;

    cairn_members_find(&co->members, x->as.p.node)->changed = revision;
    cairn_member_tell(&x->as, &told);
    rc = co->ops->put_member(co, &told, revision);
    if (rc != 0)
        cairn_coordinator__fail(co, rc, "a member's record in memory");
}

static void member_done(struct cairn_write *w, int rc)
{
    struct member_write *x = CONTAINER_OF(w, struct member_write, told.w);
    struct cairn_coordinator *co = w->arg;

    if (rc == 0) {
        struct cairn_member *m = cairn_members_find(&co->members, x->as.p.node);
        struct cairn_link told, *l;

        cairn_list_init(&told);
        cairn_list_splice(&told, &m->awaiting);
        m->writing = false;
        if (m->dirty)
            member_begin(co, m);
        while ((l = cairn_list_pop(&told)) != NULL) /* last: who is told may end the term, and with it all members */
            cairn_coordinator__answer(CONTAINER_OF(l, struct cairn_coordinator_ask, link), 0, "");
    }
    cairn_map_log_line_fini(&x->line);
    free(x);
}

/* What an operator wished is his in the log; without memory it goes unlogged. */
static void member_tell(struct cairn_coordinator *co, struct cairn_member *m, struct member_write *x)
{
    const struct cairn_map_write w = { .key = x->told.w.key };
    char reason[CAIRN_MAP_LOG_TEXT_BYTES_MAX];

    x->told.deed = (struct cairn_deed){ .kind = m->deed, .to = m->p.node };
    if (m->deed == CAIRN_DEED_SAID_LOST)
        snprintf(reason, sizeof(reason), "%.200s said to be lost", m->name);
    else
        snprintf(reason, sizeof(reason), "drain of %.200s %s", m->name, m->p.draining ? "asked for" : "called off");
    if (m->author[0] != '\0' && cairn_map_log_describe(&x->line, co->store->home.env, m->author, reason, &w, 1) == 0)
        x->told.w.also = &x->line.write;
    m->deed = CAIRN_DEED_NONE;
    m->author[0] = '\0';
}

static void member_begin(struct cairn_coordinator *co, struct cairn_member *m)
{
    struct member_write *x = calloc(1, sizeof(*x));

    if (x == NULL) {
        cairn_coordinator__fail(co, CAIRN_E_NOMEM, "a member's record");
        return;
    }
    x->as = *m;
    write_init(co, &x->told.w, x->value, cairn_member_pack(m, x->value), member_stored, member_done);
    cairn_member_key(m->p.node, x->told.w.key);
    x->told.w.from = m->changed;
    member_tell(co, m, x);
    m->dirty = false;
    m->writing = true;
    cairn_list_splice(&m->awaiting, &m->waiting);
    cairn_writes_add(&co->writes, &x->told.w);
}

void cairn_coordinator__store_member(struct cairn_coordinator *co, struct cairn_member *m, enum cairn_deed_kind deed)
{
    m->dirty = true;
    if (deed != CAIRN_DEED_NONE)
        m->deed = deed;
    co->count_is_old = true;
    if (!m->writing)
        member_begin(co, m);
}

struct member_erasure {
    struct told_write told;
};

static void erasure_stored(struct cairn_write *w, uint64_t revision)
{
    (void)w;
    (void)revision;
}

static void erasure_done(struct cairn_write *w, int rc)
{
    (void)rc;
    free(CONTAINER_OF(w, struct member_erasure, told.w));
}

void cairn_coordinator__erase_member(struct cairn_coordinator *co, const struct cairn_member *m)
{
    struct member_erasure *x = calloc(1, sizeof(*x));

    if (x == NULL) {
        cairn_coordinator__fail(co, CAIRN_E_NOMEM, "a member's end");
        return;
    }
    write_init(co, &x->told.w, NULL, 0, erasure_stored, erasure_done);
    cairn_member_key(m->p.node, x->told.w.key);
    x->told.w.from = m->changed;
    x->told.deed = (struct cairn_deed){ .kind = CAIRN_DEED_FORGOTTEN, .to = m->p.node };
    co->count_is_old = true;
    cairn_writes_add(&co->writes, &x->told.w);
}

/* ---- the cluster's own ---- */

static void conf_stored(struct cairn_write *w, uint64_t revision)
{
    (void)w;
    (void)revision;
}

static void conf_done(struct cairn_write *w, int rc)
{
    (void)rc;
    free(CONTAINER_OF(w, struct conf_write, told.w));
}

static void store_number(struct cairn_coordinator *co, const char *key, uint64_t number)
{
    struct conf_write *x = calloc(1, sizeof(*x));

    if (x == NULL) {
        cairn_coordinator__fail(co, CAIRN_E_NOMEM, key);
        return;
    }
    write_init(co, &x->told.w, x->value, (size_t)snprintf(x->value, sizeof(x->value), "%" PRIu64, number), conf_stored,
               conf_done);
    snprintf(x->told.w.key, sizeof(x->told.w.key), "%s", key);
    cairn_writes_add(&co->writes, &x->told.w);
}

/* Of all the change is the same one. */
struct term_write {
    struct told_write told;
    bool *is_stored;
    uint64_t *changed;
    char value[CAIRN_MAP_IDS_TEXT_MAX]; /* the longest */
};

static void term_stored(struct cairn_write *w, uint64_t revision)
{
    struct term_write *x = CONTAINER_OF(w, struct term_write, told.w);

    *x->is_stored = true;
    *x->changed = revision;
}

static bool term_is_stored(const struct cairn_coordinator *co)
{
    return co->led_is_stored && co->generation_is_stored && co->ids_are_stored;
}

static void term_done(struct cairn_write *w, int rc)
{
    struct cairn_coordinator *co = w->arg;

    free(CONTAINER_OF(w, struct term_write, told.w));
    if (rc == 0 && co->sm.state == CAIRN_COORDINATOR_READING && term_is_stored(co))
        cairn_coordinator__serve(co);
}

static struct term_write *term_write(struct cairn_coordinator *co, const char *key, bool *is_stored, uint64_t *changed)
{
    struct term_write *x = calloc(1, sizeof(*x));

    if (x == NULL) {
        cairn_coordinator__fail(co, CAIRN_E_NOMEM, key);
        return NULL;
    }
    snprintf(x->told.w.key, sizeof(x->told.w.key), "%s", key);
    x->told.w.from = *changed;
    x->is_stored = is_stored;
    x->changed = changed;
    return x;
}

static void term_add(struct cairn_coordinator *co, struct term_write *x, uint32_t len, enum cairn_deed_kind deed)
{
    write_init(co, &x->told.w, x->value, len, term_stored, term_done);
    x->told.deed = (struct cairn_deed){ .kind = deed, .to = co->conf->node_id };
    cairn_writes_add(&co->writes, &x->told.w);
}

void cairn_coordinator__store_term(struct cairn_coordinator *co)
{
    struct term_write *x;

    co->led_is_stored = co->forerunner == co->conf->node_id;
    if (term_is_stored(co)) {
        cairn_coordinator__serve(co);
        return;
    }
    if (!co->ids_are_stored) {
        x = term_write(co, CAIRN_MAP_IDS_KEY, &co->ids_are_stored, &co->ids_changed);
        if (x == NULL)
            return;
        term_add(co, x, (uint32_t)snprintf(x->value, sizeof(x->value), "%s", co->ids), CAIRN_DEED_NONE);
    }
    if (!co->generation_is_stored) {
        x = term_write(co, CAIRN_MAP_GENERATION_KEY, &co->generation_is_stored, &co->generation_changed);
        if (x == NULL)
            return;
        term_add(co, x, cairn_map_generation_write(&co->generation, x->value),
                 co->generation.kept != 0 ? CAIRN_DEED_PUT_BACK : CAIRN_DEED_NONE);
    }
    if (!co->led_is_stored) {
        x = term_write(co, CAIRN_CLUSTER_KEY_LED, &co->led_is_stored, &co->led_changed);
        if (x == NULL)
            return;
        term_add(co, x, (uint32_t)snprintf(x->value, sizeof(x->value), "%016" PRIx64, co->conf->node_id),
                 CAIRN_DEED_COORDINATES);
    }
}

void cairn_coordinator__store_lease(struct cairn_coordinator *co)
{
    co->lease_is_stored = true; /* before whatever is written from now on; likewise below */
    store_number(co, CAIRN_CLUSTER_KEY_LEASE, co->lease_times.length_ns / CAIRN_NS_PER_MS);
}

void cairn_coordinator__store_nslots(struct cairn_coordinator *co)
{
    co->conf_is_stored = true;
    store_number(co, CAIRN_CLUSTER_KEY_CONF, co->nslots);
}

/* ---- the log ---- */

static const char *name_of(void *arg, uint64_t node)
{
    const struct cairn_coordinator *co = arg;
    const struct cairn_member *m = cairn_members_find(&co->members, node);

    return node == co->conf->node_id ? co->name : m != NULL ? m->name : NULL;
}

bool cairn_coordinator__chronicle(struct cairn_writes *ws, struct cairn_write *const *batch, uint32_t n,
                                  struct cairn_map_write *to)
{
    struct cairn_coordinator *co = CONTAINER_OF(ws, struct cairn_coordinator, writes);
    char author[CAIRN_NAME_BYTES_MAX + 8];

    if (n == 0) {
        cairn_chronicle_stored(&co->chronicle, 0);
        return false;
    }
    snprintf(author, sizeof(author), "node %s", co->name);
    co->log_entries += cairn_chronicle_begin(&co->chronicle, cairn_env_now_ns(co->store->home.env), co->election.fence);
    for (uint32_t i = 0; i < n; i++)
        cairn_chronicle_add(&co->chronicle, &CONTAINER_OF(batch[i], struct told_write, w)->deed);
    return cairn_chronicle_write(&co->chronicle, author, name_of, co, to);
}
