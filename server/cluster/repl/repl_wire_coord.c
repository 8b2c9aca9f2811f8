/* What nodes and clients say to the coordinator, and it to them: see repl_wire.h. */
#include "server/cluster/repl/repl_wire_internal.h"

#include <inttypes.h>

static Cairn__Wire__ReplWho *put_who(struct cairn_who who, struct cairn_arena *a)
{
    Cairn__Wire__ReplWho *w = WIRE_NEW(a, ReplWho, repl_who);

    if (w != NULL) {
        w->node = who.node;
        w->inc = who.inc;
    }
    return w;
}

/* ---- REGISTER ---- */

Cairn__Wire__ClusterRegister *cairn_wire_register_put(const struct cairn_coord_process *p,
                                                      const struct cairn_coord_told *told, struct cairn_arena *a)
{
    Cairn__Wire__ClusterRegister *w = WIRE_NEW(a, ClusterRegister, cluster_register);
    uint32_t nlogs = told->nlogs;

    CAIRN_ASSERT(nlogs <= CAIRN_WIRE_LOGS_MAX && told->partial_bytes <= CAIRN_WIRE_PARTIAL_BYTES_MAX);
    if (w == NULL || (w->process = WIRE_NEW(a, ProcessRecord, process_record)) == NULL ||
        (w->slots = wire_array(a, nlogs, sizeof(*w->slots))) == NULL ||
        (w->epochs = wire_array(a, nlogs, sizeof(*w->epochs))) == NULL ||
        (w->positions = wire_array(a, nlogs, sizeof(*w->positions))) == NULL)
        return NULL;
    cairn_wire__process(p, w->process);
    w->process->inc = w->process->disk_inc = 0; /* the coordinator's to say */
    w->first_inc = p->first_inc;
    w->n_slots = w->n_epochs = w->n_positions = nlogs;
    for (uint32_t i = 0; i < nlogs; i++) {
        w->slots[i] = told->logs[i].slot;
        w->epochs[i] = told->logs[i].end.epoch;
        w->positions[i] = told->logs[i].end.pos;
    }
    w->partial = (ProtobufCBinaryData){ .len = told->partial_bytes, .data = (uint8_t *)(uintptr_t)told->partial };
    return w;
}

static int get_logs(const Cairn__Wire__ClusterRegister *w, struct cairn_coord_log *logs, struct cairn_err *err)
{
    for (size_t i = 0; i < w->n_slots; i++) {
        logs[i] =
            (struct cairn_coord_log){ .slot = w->slots[i], .end = { .epoch = w->epochs[i], .pos = w->positions[i] } };
        if (!wire_is_slot(logs[i].slot) || (i > 0 && logs[i].slot <= logs[i - 1].slot))
            return cairn_err_set(err, CAIRN_E_INVAL, "the log of slot %u at place %zu", logs[i].slot, i);
        if (!wire_is_at(logs[i].end))
            return cairn_err_set(err, CAIRN_E_INVAL, "the log of slot %u ends at epoch %" PRIu64 ", position %" PRIu64,
                                 logs[i].slot, logs[i].end.epoch, logs[i].end.pos);
    }
    return 0;
}

int cairn_wire_register_get(const Cairn__Wire__ClusterRegister *w, struct cairn_arena *a, struct cairn_coord_process *p,
                            struct cairn_coord_told *told, struct cairn_err *err)
{
    struct cairn_coord_log *all;
    int rc;

    if (w->process == NULL)
        return cairn_err_set(err, CAIRN_E_INVAL, "REGISTER of nobody");
    rc = cairn_wire__process_get(w->process, p, err);
    if (rc != 0)
        return cairn_err_wrap(err, rc, "REGISTER");
    if (w->n_slots != w->n_epochs || w->n_slots != w->n_positions)
        return cairn_err_set(err, CAIRN_E_INVAL, "REGISTER of node %" PRIu64 ": %zu slots, %zu epochs, %zu positions",
                             p->node, w->n_slots, w->n_epochs, w->n_positions);
    if (w->n_slots > CAIRN_WIRE_LOGS_MAX)
        return cairn_err_set(err, CAIRN_E_LIMIT, "REGISTER of node %" PRIu64 ": %zu logs", p->node, w->n_slots);
    if (w->partial.len > CAIRN_WIRE_PARTIAL_BYTES_MAX)
        return cairn_err_set(err, CAIRN_E_LIMIT, "REGISTER of node %" PRIu64 ": partial slots in %zu bytes", p->node,
                             w->partial.len);
    p->inc = p->disk_inc = 0;
    p->first_inc = w->first_inc;
    p->draining = false;
    all = wire_array(a, w->n_slots, sizeof(*all));
    *told = (struct cairn_coord_told){ .logs = all,
                                       .nlogs = (uint32_t)w->n_slots,
                                       .partial_bytes = (uint32_t)w->partial.len,
                                       .partial = w->partial.data };
    if (all == NULL)
        return cairn_err_set(err, CAIRN_E_NOMEM, "REGISTER of node %" PRIu64, p->node);
    return cairn_err_wrap(err, get_logs(w, all, err), "REGISTER of node %" PRIu64, p->node);
}

Cairn__Wire__ClusterRegistered *cairn_wire_registered_put(const struct cairn_coord_process *p, struct cairn_arena *a)
{
    Cairn__Wire__ClusterRegistered *w = WIRE_NEW(a, ClusterRegistered, cluster_registered);

    if (w != NULL) {
        w->node = p->node;
        w->process = p->process;
        w->inc = p->inc;
    }
    return w;
}

int cairn_wire_registered_get(const Cairn__Wire__ClusterRegistered *w, struct cairn_coord_process *p,
                              struct cairn_err *err)
{
    p->node = w->node;
    p->process = w->process;
    p->inc = w->inc;
    if (w->node == 0 || w->process == 0 || w->inc == 0)
        return cairn_err_set(err, CAIRN_E_INVAL, "process %" PRIu64 " of node %" PRIu64 " registered as %" PRIu64,
                             w->process, w->node, w->inc);
    return 0;
}

/* ---- pages of the map ---- */

Cairn__Wire__MemberUpdate *cairn_wire_member_put(const struct cairn_wire_member *m, struct cairn_arena *a)
{
    Cairn__Wire__MemberUpdate *w = WIRE_NEW(a, MemberUpdate, member_update);

    if (w == NULL || (w->addresses = wire_array(a, m->naddresses, sizeof(*w->addresses))) == NULL)
        return NULL;
    w->node = m->node;
    w->inc = m->inc;
    w->name = (char *)(uintptr_t)m->name;
    w->zone = (char *)(uintptr_t)m->zone;
    w->host = (char *)(uintptr_t)m->host;
    w->weight = m->weight;
    w->state = (Cairn__Wire__MemberState)m->state;
    for (; w->n_addresses < m->naddresses; w->n_addresses++)
        w->addresses[w->n_addresses] = (char *)(uintptr_t)m->addresses[w->n_addresses];
    return w;
}

static Cairn__Wire__SlotUpdate *put_slot(const struct cairn_wire_slot *s, struct cairn_arena *a)
{
    Cairn__Wire__SlotUpdate *w = WIRE_NEW(a, SlotUpdate, slot_update);

    if (w == NULL || (w->record = cairn_wire_slot_put(&s->rec, a)) == NULL)
        return NULL;
    w->slot = s->slot;
    return w;
}

Cairn__Wire__ClusterRecords *cairn_wire_page_put(const struct cairn_wire_page *page, struct cairn_arena *a)
{
    Cairn__Wire__ClusterRecords *w = WIRE_NEW(a, ClusterRecords, cluster_records);

    CAIRN_ASSERT(page->nslots <= CAIRN_WIRE_PAGE_SLOTS_MAX && page->nmembers <= CAIRN_WIRE_PAGE_MEMBERS_MAX);
    if (w == NULL || (w->slots = wire_array(a, page->nslots, sizeof(*w->slots))) == NULL ||
        (w->members = wire_array(a, page->nmembers, sizeof(*w->members))) == NULL)
        return NULL;
    w->map = page->map;
    w->copy = page->copy;
    w->revision = page->revision;
    w->more = page->more;
    for (; w->n_slots < page->nslots; w->n_slots++) {
        w->slots[w->n_slots] = put_slot(&page->slots[w->n_slots], a);
        if (w->slots[w->n_slots] == NULL)
            return NULL;
    }
    for (; w->n_members < page->nmembers; w->n_members++) {
        w->members[w->n_members] = cairn_wire_member_put(&page->members[w->n_members], a);
        if (w->members[w->n_members] == NULL)
            return NULL;
    }
    return w;
}

static bool is_text(const char *s, size_t least)
{
    return s != NULL && strlen(s) >= least && strlen(s) <= CAIRN_NAME_BYTES_MAX;
}

int cairn_wire_member_get(const Cairn__Wire__MemberUpdate *w, struct cairn_wire_member *m, struct cairn_err *err)
{
    *m = (struct cairn_wire_member){ .node = w->node,
                                     .inc = w->inc,
                                     .name = w->name,
                                     .zone = w->zone,
                                     .host = w->host,
                                     .weight = w->weight,
                                     .state = (enum cairn_wire_member_state)w->state };
    if (w->node == 0 || !is_text(w->name, 1) || !is_text(w->zone, 0) || !is_text(w->host, 0))
        return cairn_err_set(err, CAIRN_E_INVAL,
                             "member %" PRIu64 " has no name, or its name, zone or host is too long", w->node);
    if (w->state < CAIRN__WIRE__MEMBER_STATE__MEMBER_UP || w->state > CAIRN__WIRE__MEMBER_STATE__MEMBER_LOST)
        return cairn_err_set(err, CAIRN_E_INVAL, "member %s is in an unknown state, %d", w->name, (int)w->state);
    if (w->n_addresses > CAIRN_WIRE_ADDRESSES_MAX)
        return cairn_err_set(err, CAIRN_E_LIMIT, "member %s has %zu addresses", w->name, w->n_addresses);
    for (; m->naddresses < w->n_addresses; m->naddresses++) {
        m->addresses[m->naddresses] = w->addresses[m->naddresses];
        if (!is_text(m->addresses[m->naddresses], 1))
            return cairn_err_set(err, CAIRN_E_INVAL, "member %s has an address of no bytes, or too many", w->name);
    }
    return 0;
}

int cairn_wire_page_get(const Cairn__Wire__ClusterRecords *w, struct cairn_arena *a, struct cairn_wire_page *page,
                        struct cairn_err *err)
{
    struct cairn_wire_slot *slots;
    struct cairn_wire_member *members;
    int rc;

    *page = (struct cairn_wire_page){ .map = w->map, .copy = w->copy, .revision = w->revision, .more = w->more };
    if (w->n_slots > CAIRN_WIRE_PAGE_SLOTS_MAX || w->n_members > CAIRN_WIRE_PAGE_MEMBERS_MAX)
        return cairn_err_set(err, CAIRN_E_LIMIT, "a page of %zu slots and %zu members", w->n_slots, w->n_members);
    page->slots = slots = wire_array(a, w->n_slots, sizeof(*slots));
    page->members = members = wire_array(a, w->n_members, sizeof(*members));
    if (slots == NULL || members == NULL)
        return cairn_err_set(err, CAIRN_E_NOMEM, "a page of %zu slots", w->n_slots);
    for (; page->nslots < w->n_slots; page->nslots++) {
        const Cairn__Wire__SlotUpdate *s = w->slots[page->nslots];

        slots[page->nslots].slot = s->slot;
        if (!wire_is_slot(s->slot) || s->record == NULL)
            return cairn_err_set(err, CAIRN_E_INVAL, "slot %u is none, or has no record", s->slot);
        rc = cairn_wire_slot_get(s->record, &slots[page->nslots].rec, err);
        if (rc != 0)
            return cairn_err_wrap(err, rc, "slot %u", s->slot);
    }
    for (; page->nmembers < w->n_members; page->nmembers++) {
        rc = cairn_wire_member_get(w->members[page->nmembers], &members[page->nmembers], err);
        if (rc != 0)
            return rc;
    }
    return 0;
}

/* ---- HEARTBEAT and GRANT ---- */

Cairn__Wire__ClusterHeartbeat *cairn_wire_heartbeat_put(const struct cairn_wire_heartbeat *h, struct cairn_arena *a)
{
    Cairn__Wire__ClusterHeartbeat *w = WIRE_NEW(a, ClusterHeartbeat, cluster_heartbeat);

    if (w == NULL || (w->who = put_who(h->who, a)) == NULL)
        return NULL;
    w->number = h->number;
    w->revision = h->revision;
    w->term = h->term;
    w->map = h->map;
    w->vouched = h->vouched;
    return w;
}

/* Who beats, and who is granted: a process, by the number of a heartbeat. */
static int check_beat(struct cairn_who who, uint64_t number, struct cairn_err *err)
{
    if (cairn_who_is_nobody(who) || who.inc == 0 || number == 0)
        return cairn_err_set(err, CAIRN_E_INVAL, "heartbeat %" PRIu64 " of node %" PRIu64 ", incarnation %" PRIu64,
                             number, who.node, who.inc);
    return 0;
}

int cairn_wire_heartbeat_get(const Cairn__Wire__ClusterHeartbeat *w, struct cairn_wire_heartbeat *h,
                             struct cairn_err *err)
{
    *h = (struct cairn_wire_heartbeat){ .who = wire_who(w->who),
                                        .number = w->number,
                                        .revision = w->revision,
                                        .term = w->term,
                                        .map = w->map,
                                        .vouched = w->vouched };
    return check_beat(h->who, h->number, err);
}

Cairn__Wire__ClusterGrant *cairn_wire_grant_put(const struct cairn_wire_grant *g, struct cairn_arena *a)
{
    Cairn__Wire__ClusterGrant *w = WIRE_NEW(a, ClusterGrant, cluster_grant);

    if (w == NULL || (w->who = put_who(g->who, a)) == NULL || (w->records = cairn_wire_page_put(&g->page, a)) == NULL)
        return NULL;
    w->number = g->number;
    w->term = g->term;
    w->map = g->map;
    w->granted = g->granted;
    w->wants_register = g->wants_register;
    w->upto = g->upto;
    w->ahead = g->ahead;
    return w;
}

int cairn_wire_grant_get(const Cairn__Wire__ClusterGrant *w, struct cairn_arena *a, struct cairn_wire_grant *g,
                         struct cairn_err *err)
{
    int rc;

    *g = (struct cairn_wire_grant){ .who = wire_who(w->who),
                                    .number = w->number,
                                    .term = w->term,
                                    .map = w->map,
                                    .granted = w->granted,
                                    .wants_register = w->wants_register,
                                    .upto = w->upto,
                                    .ahead = w->ahead };
    rc = check_beat(g->who, g->number, err);
    if (rc == 0)
        rc = w->records == NULL ? cairn_err_set(err, CAIRN_E_INVAL, "it says nothing of the map")
                                : cairn_wire_page_get(w->records, a, &g->page, err);
    if (rc == 0 && g->upto < g->page.revision)
        rc = cairn_err_set(err, CAIRN_E_INVAL, "its page goes beyond the map");
    return cairn_err_wrap(err, rc, "GRANT");
}

/* ---- PROPOSE ---- */

Cairn__Wire__ClusterChange *cairn_wire_change_put(const struct cairn_change *c, struct cairn_arena *a)
{
    Cairn__Wire__ClusterChange *w = WIRE_NEW(a, ClusterChange, cluster_change);

    if (w == NULL || (w->from = put_who(c->from, a)) == NULL || (w->who = put_who(c->who, a)) == NULL)
        return NULL;
    w->kind = (Cairn__Wire__ChangeKind)c->kind;
    w->slot = c->slot;
    w->epoch = c->epoch;
    w->leaves = c->leaves;
    return w;
}

int cairn_wire_change_get(const Cairn__Wire__ClusterChange *w, struct cairn_change *c, struct cairn_err *err)
{
    bool of_another =
        w->kind == CAIRN__WIRE__CHANGE_KIND__CHANGE_REMOVE || w->kind == CAIRN__WIRE__CHANGE_KIND__CHANGE_JOIN;

    *c = (struct cairn_change){ .kind = (enum cairn_change_kind)w->kind,
                                .slot = w->slot,
                                .epoch = w->epoch,
                                .from = wire_who(w->from),
                                .who = wire_who(w->who),
                                .leaves = w->leaves };
    if (w->kind < CAIRN__WIRE__CHANGE_KIND__CHANGE_REMOVE || w->kind > CAIRN__WIRE__CHANGE_KIND__CHANGE_RELEASE)
        return cairn_err_set(err, CAIRN_E_INVAL, "an unknown change, %d", (int)w->kind);
    if (!wire_is_slot(w->slot) || w->epoch == 0 || cairn_who_is_nobody(c->from) || c->from.inc == 0)
        return cairn_err_set(err, CAIRN_E_INVAL, "a change of slot %u from epoch %" PRIu64 " by node %" PRIu64, w->slot,
                             w->epoch, c->from.node);
    if (of_another && (cairn_who_is_nobody(c->who) || c->who.inc == 0))
        return cairn_err_set(err, CAIRN_E_INVAL, "slot %u: node %" PRIu64 " as %" PRIu64 " joins or leaves", w->slot,
                             c->who.node, c->who.inc);
    return 0;
}

Cairn__Wire__ClusterVerdict *cairn_wire_verdict_put(const struct cairn_change *c, enum cairn_verdict verdict,
                                                    const struct cairn_slot_record *rec, struct cairn_arena *a)
{
    Cairn__Wire__ClusterVerdict *w = WIRE_NEW(a, ClusterVerdict, cluster_verdict);

    if (w == NULL || (w->change = cairn_wire_change_put(c, a)) == NULL)
        return NULL;
    w->verdict = (Cairn__Wire__Verdict)verdict;
    if (rec->epoch != 0 && (w->record = cairn_wire_slot_put(rec, a)) == NULL)
        return NULL;
    return w;
}

int cairn_wire_verdict_get(const Cairn__Wire__ClusterVerdict *w, struct cairn_change *c, enum cairn_verdict *verdict,
                           struct cairn_slot_record *rec, struct cairn_err *err)
{
    int rc;

    *verdict = (enum cairn_verdict)w->verdict;
    memset(rec, 0, sizeof(*rec));
    if (w->change == NULL || w->verdict < CAIRN__WIRE__VERDICT__VERDICT_COMMITTED ||
        w->verdict > CAIRN__WIRE__VERDICT__VERDICT_REFUSED_INC)
        return cairn_err_set(err, CAIRN_E_INVAL, "an unknown verdict, %d, or on nothing", (int)w->verdict);
    rc = cairn_wire_change_get(w->change, c, err);
    if (rc == 0 && w->record != NULL)
        rc = cairn_wire_slot_get(w->record, rec, err);
    return cairn_err_wrap(err, rc, "verdict");
}
