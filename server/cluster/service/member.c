/* Members: see member.h. */
#include "server/cluster/service/member.h"

#include "server/cluster/service/cluster.h"
#include "server/cluster/service/service_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { RECORD_VERSION = 1 };

_Static_assert(CAIRN_WIRE_RECORD_BYTES_MAX + 2 * CAIRN_NAME_BYTES_MAX +
                       CAIRN_WIRE_ADDRESSES_MAX * CAIRN_MEMBER_ADDRESS_BYTES_MAX + 64 <=
                   CAIRN_MEMBER_BYTES_MAX,
               "a member's entry has room for the longest");

/* ---- all of them ---- */

static void member_free(struct cairn_member *m)
{
    CAIRN_ASSERT(cairn_list_is_empty(&m->waiting) && cairn_list_is_empty(&m->awaiting));
    free(m);
}

void cairn_members_fini(struct cairn_members *t)
{
    for (uint32_t i = 0; i < t->n; i++)
        member_free(t->all[i]);
    free(t->all);
    *t = (struct cairn_members){ 0 };
}

/* Of the first whose id is not less than @node. */
static uint32_t place_of(const struct cairn_members *t, uint64_t node)
{
    uint32_t lo = 0, hi = t->n;

    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;

        if (t->all[mid]->p.node < node)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

struct cairn_member *cairn_members_find(const struct cairn_members *t, uint64_t node)
{
    uint32_t i = place_of(t, node);

    return i < t->n && t->all[i]->p.node == node ? t->all[i] : NULL;
}

static bool is_there(const struct cairn_members *t, const struct cairn_who *who)
{
    const struct cairn_member *m = cairn_members_find(t, who->node);

    return m != NULL && m->p.inc == who->inc && cairn_member_is_heard(m);
}

uint32_t cairn_members_present(const struct cairn_members *t, const struct cairn_slot_record *rec)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < rec->ninsync; i++)
        n += is_there(t, &rec->insync[i]);
    return n;
}

bool cairn_members_serve(const struct cairn_members *t, const struct cairn_slot_record *rec)
{
    return rec->state != CAIRN_SLOT_LOST && is_there(t, &rec->primary);
}

bool cairn_members_catch_up(const struct cairn_members *t, const struct cairn_slot_record *rec)
{
    for (uint32_t i = 0; i < rec->nreplicas; i++) {
        const struct cairn_member *m = cairn_members_find(t, rec->replicas[i]);

        if (m != NULL && cairn_member_is_heard(m) &&
            cairn_slot_insync(rec, (struct cairn_who){ .node = m->p.node, .inc = m->p.inc }) < 0)
            return true;
    }
    return false;
}

/* How likely it is meant, of several that had the name. Of those that are not there who is expected back comes before who
 * is lost; and who is lost, or was drained and left, and holds nothing is of no use to anybody. */
static uint32_t rank(const struct cairn_member *m, bool heard)
{
    if (cairn_member_is_heard(m))
        return heard ? 5 : 2;
    if (m->holds == 0 && (m->state == CAIRN_WIRE_MEMBER_LOST || m->p.draining))
        return 1;
    return m->state == CAIRN_WIRE_MEMBER_LOST ? 3 : 4;
}

static struct cairn_member *named(const struct cairn_members *t, const char *name, bool heard)
{
    struct cairn_member *found = NULL;

    for (uint32_t i = 0; i < t->n; i++) {
        struct cairn_member *m = t->all[i];

        if (strcmp(m->name, name) == 0 && (found == NULL || rank(m, heard) > rank(found, heard)))
            found = m;
    }
    return found;
}

struct cairn_member *cairn_members_named(const struct cairn_members *t, const char *name)
{
    return named(t, name, true);
}

struct cairn_member *cairn_members_called(const struct cairn_members *t, const char *text, bool heard)
{
    struct cairn_member *m = named(t, text, heard);
    char id[CAIRN_MEMBER_KEY_BYTES];

    for (uint32_t i = 0; m == NULL && i < t->n; i++) {
        snprintf(id, sizeof(id), "%016" PRIx64, t->all[i]->p.node);
        if (strcmp(id, text) == 0)
            m = t->all[i];
    }
    return m;
}

int cairn_members_add(struct cairn_members *t, uint64_t node, struct cairn_member **out)
{
    uint32_t i = place_of(t, node);
    struct cairn_member *m;

    *out = i < t->n && t->all[i]->p.node == node ? t->all[i] : NULL;
    if (*out != NULL)
        return 0;
    if (t->n == CAIRN_CLUSTER_MEMBERS_MAX)
        return CAIRN_E_LIMIT;
    if (t->n == t->room) {
        uint32_t room = MAX(8U, t->room * 2);
        struct cairn_member **all = realloc(t->all, room * sizeof(struct cairn_member *));

        if (all == NULL)
            return CAIRN_E_NOMEM;
        t->all = all;
        t->room = room;
    }
    m = calloc(1, sizeof(*m));
    if (m == NULL)
        return CAIRN_E_NOMEM;
    m->p.node = node;
    m->state = CAIRN_WIRE_MEMBER_UP;
    cairn_list_init(&m->waiting);
    cairn_list_init(&m->awaiting);
    memmove(t->all + i + 1, t->all + i, (t->n++ - i) * sizeof(struct cairn_member *));
    t->all[i] = *out = m;
    return 0;
}

void cairn_members_remove(struct cairn_members *t, struct cairn_member *m)
{
    uint32_t i = place_of(t, m->p.node);

    CAIRN_ASSERT(t->all[i] == m && !m->writing && cairn_list_is_empty(&m->waiting) &&
                 cairn_list_is_empty(&m->awaiting));
    memmove(t->all + i, t->all + i + 1, (--t->n - i) * sizeof(struct cairn_member *));
    free(m);
}

/* ---- one ---- */

void cairn_member_tell(const struct cairn_member *m, struct cairn_wire_member *to)
{
    *to = (struct cairn_wire_member){ .node = m->p.node,
                                      .inc = m->p.inc,
                                      .name = m->name,
                                      .zone = m->zone,
                                      .host = m->host,
                                      .weight = m->weight,
                                      .state = m->state };
    for (; to->naddresses < m->naddresses; to->naddresses++)
        to->addresses[to->naddresses] = m->addresses[to->naddresses];
}

static bool text_set(char *to, size_t room, const char *from)
{
    if (strcmp(to, from) == 0)
        return false;
    snprintf(to, room, "%s", from);
    return true;
}

int cairn_member_hear(struct cairn_member *m, const struct cairn_wire_member *from, bool *changed,
                      struct cairn_err *err)
{
    for (uint32_t i = 0; i < from->naddresses; i++) {
        if (strlen(from->addresses[i]) >= CAIRN_MEMBER_ADDRESS_BYTES_MAX)
            return cairn_err_set(err, CAIRN_E_LIMIT, "node %s: an address of %zu bytes", from->name,
                                 strlen(from->addresses[i]));
    }
    if (strlen(from->host) >= sizeof(m->host))
        return cairn_err_set(err, CAIRN_E_LIMIT, "node %s: a host of %zu bytes", from->name, strlen(from->host));
    *changed = m->weight != from->weight || m->naddresses != from->naddresses;
    *changed |= text_set(m->name, sizeof(m->name), from->name);
    *changed |= text_set(m->zone, sizeof(m->zone), from->zone);
    *changed |= text_set(m->host, sizeof(m->host), from->host);
    m->weight = from->weight;
    m->naddresses = from->naddresses;
    for (uint32_t i = 0; i < from->naddresses; i++)
        *changed |= text_set(m->addresses[i], sizeof(m->addresses[i]), from->addresses[i]);
    return 0;
}

void cairn_member_set_alive(struct cairn_member *m, bool alive)
{
    if (alive)
        m->silent_ms = 0;
    m->state = !alive ? CAIRN_WIRE_MEMBER_SILENT : m->p.draining ? CAIRN_WIRE_MEMBER_DRAINING : CAIRN_WIRE_MEMBER_UP;
}

void cairn_member_key(uint64_t node, char key[CAIRN_MEMBER_KEY_BYTES])
{
    snprintf(key, CAIRN_MEMBER_KEY_BYTES, CAIRN_CLUSTER_KEY_MEMBERS "%016" PRIx64, node);
}

size_t cairn_member_pack(const struct cairn_member *m, uint8_t to[CAIRN_MEMBER_BYTES_MAX])
{
    Cairn__Wire__MemberRecord w = CAIRN__WIRE__MEMBER_RECORD__INIT;
    Cairn__Wire__MemberUpdate u = CAIRN__WIRE__MEMBER_UPDATE__INIT;
    char *addresses[CAIRN_WIRE_ADDRESSES_MAX];
    uint8_t process[CAIRN_WIRE_RECORD_BYTES_MAX];

    w.version = RECORD_VERSION;
    w.process = (ProtobufCBinaryData){ .data = process, .len = cairn_wire_process_pack(&m->p, process) };
    w.member = &u;
    w.silent_ms = m->silent_ms;
    u.node = m->p.node;
    u.inc = m->p.inc;
    u.name = (char *)(uintptr_t)m->name;
    u.zone = (char *)(uintptr_t)m->zone;
    u.host = (char *)(uintptr_t)m->host;
    u.weight = m->weight;
    u.state = (Cairn__Wire__MemberState)m->state;
    u.addresses = addresses;
    for (; u.n_addresses < m->naddresses; u.n_addresses++)
        addresses[u.n_addresses] = (char *)(uintptr_t)m->addresses[u.n_addresses];
    return cairn__wire__member_record__pack(&w, to);
}

static int get_record(struct cairn_member *m, const Cairn__Wire__MemberRecord *w, struct cairn_err *err)
{
    struct cairn_wire_member heard;
    bool changed;
    int rc;

    if (w->version != RECORD_VERSION)
        return cairn_err_set(err, CAIRN_E_FORMAT, "a member's record of version %u", w->version);
    if (w->member == NULL)
        return cairn_err_set(err, CAIRN_E_INVAL, "a member's record without a member");
    rc = cairn_wire_process_unpack(w->process.data, w->process.len, &m->p, err);
    if (rc == 0)
        rc = cairn_wire_member_get(w->member, &heard, err);
    if (rc == 0 && heard.node != m->p.node)
        rc = cairn_err_set(err, CAIRN_E_INVAL, "the process of node %" PRIx64 " in the record of %" PRIx64, m->p.node,
                           heard.node);
    if (rc == 0)
        rc = cairn_member_hear(m, &heard, &changed, err);
    if (rc == 0) {
        m->state = heard.state;
        m->silent_ms = w->silent_ms;
    }
    return rc;
}

int cairn_member_unpack(struct cairn_member *m, const uint8_t *bytes, size_t len, struct cairn_err *err)
{
    Cairn__Wire__MemberRecord *w =
        len <= CAIRN_MEMBER_BYTES_MAX ? cairn__wire__member_record__unpack(NULL, len, bytes) : NULL;
    int rc;

    if (w == NULL)
        return cairn_err_set(err, CAIRN_E_INVAL, "%zu bytes are no member's record", len);
    rc = get_record(m, w, err);
    cairn__wire__member_record__free_unpacked(w, NULL);
    return rc;
}
