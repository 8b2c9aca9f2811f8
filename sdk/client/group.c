/* Members of a group: see cairn/group.h. A list is read page by page; a watch reads it and then waits at the node for
 * what changes next, one request after the other. */
#include "cairn/group.h"

#include "sdk/client/client_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WATCH_WAIT_MS = 20000, MEMBERS_MAX = 1 << 20, TEXT_MAX = 255, ADDRESSES_MAX = 4096 };

/* A member with texts of its own, while pages come in. */
struct row {
    struct cairn_member m;
    char name[TEXT_MAX + 1], address[TEXT_MAX + 1], service[TEXT_MAX + 1], zone[TEXT_MAX + 1];
};

const char *cairn_member_state_name(enum cairn_member_state state)
{
    static const char *const names[] = { "unknown", "alive", "suspect", "silent", "left" };

    return (unsigned)state < ARRAY_SIZE(names) ? names[state] : names[0];
}

static struct cairn_member member_of(const Cairn__Wire__GroupMember *m)
{
    return (struct cairn_member){ .name = m->name,
                                  .address = m->address,
                                  .service = m->service,
                                  .zone = m->zone,
                                  .incarnation = m->incarnation,
                                  .capacity = m->capacity,
                                  .weight = m->weight,
                                  .load = m->load,
                                  .state = (enum cairn_member_state)m->state,
                                  .self = m->self };
}

static const Cairn__Wire__GroupPage *page_of(const struct cairn_call *call)
{
    return (const Cairn__Wire__GroupPage *)call->rpc.reply;
}

/* Asks for the next page, or for the first one of what changes next. */
static void ask_next(struct cairn_call *call, const Cairn__Wire__GroupPage *p)
{
    struct cairn_call_group *g = &call->group;
    Cairn__Wire__GroupMembers *q = &call->rq.group_members;

    if (q->cursor == 0)
        g->version = p->version;
    q->epoch = p->epoch;
    q->cursor = p->more ? p->next : 0;
    if (!p->more) {
        q->since = g->version;
        q->wait_ms = WATCH_WAIT_MS;
    }
    cairn__call_again(call);
}

/* ---- a list ---- */

static bool gather(struct cairn_call *call, const Cairn__Wire__GroupPage *p)
{
    struct cairn_call_group *g = &call->group;
    struct row *rows;

    if (p->n_members == 0)
        return true;
    if (g->n + p->n_members > MEMBERS_MAX)
        return false;
    rows = realloc(call->gathered, (g->n + p->n_members) * sizeof(*rows));
    if (rows == NULL)
        return false;
    call->gathered = rows;
    for (size_t i = 0; i < p->n_members; i++) {
        struct row *r = &rows[g->n++];
        const Cairn__Wire__GroupMember *m = p->members[i];

        r->m = member_of(m);
        snprintf(r->name, sizeof(r->name), "%s", m->name);
        snprintf(r->address, sizeof(r->address), "%s", m->address);
        snprintf(r->service, sizeof(r->service), "%s", m->service);
        snprintf(r->zone, sizeof(r->zone), "%s", m->zone);
    }
    return true;
}

static struct cairn_members *members_new(const struct row *rows, size_t n, const Cairn__Wire__GroupPage *p)
{
    struct cairn_members *list;
    size_t bytes = strlen(p->group) + strlen(p->problem) + 2;
    char *at;

    for (size_t i = 0; i < n; i++)
        bytes += strlen(rows[i].name) + strlen(rows[i].address) + strlen(rows[i].service) + strlen(rows[i].zone) + 4;
    list = cairn__block_new(sizeof(*list) + n * sizeof(*list->members), bytes, &at);
    if (list == NULL)
        return NULL;
    list->n = n;
    list->members = (struct cairn_member *)(void *)(list + 1);
    list->group = cairn__block_text(&at, p->group, strlen(p->group));
    list->problem = cairn__block_text(&at, p->problem, strlen(p->problem));
    list->joined = p->joined;
    list->observer = p->observer;
    for (size_t i = 0; i < n; i++) {
        list->members[i] = rows[i].m;
        list->members[i].name = cairn__block_text(&at, rows[i].name, strlen(rows[i].name));
        list->members[i].address = cairn__block_text(&at, rows[i].address, strlen(rows[i].address));
        list->members[i].service = cairn__block_text(&at, rows[i].service, strlen(rows[i].service));
        list->members[i].zone = cairn__block_text(&at, rows[i].zone, strlen(rows[i].zone));
    }
    return list;
}

static void page_answered(struct cairn_call *call)
{
    const Cairn__Wire__GroupPage *p = page_of(call);
    struct cairn_members *list;

    if (!gather(call, p)) {
        cairn__call_finish(call, CAIRN_E_NOMEM);
    } else if (p->more && p->next > call->rq.group_members.cursor) {
        ask_next(call, p);
    } else {
        list = members_new(call->gathered, call->group.n, p);
        if (list != NULL)
            *(struct cairn_members **)call->out = list;
        cairn__call_finish(call, list != NULL ? 0 : CAIRN_E_NOMEM);
    }
}

static void list_found(struct cairn_call *call, uint16_t provider)
{
    cairn__wire__group_members__init(&call->rq.group_members);
    call->answered = page_answered;
    cairn__call_to(call, &cairn_iface_group, provider, CAIRN__WIRE__GROUP_METHOD__GROUP_MEMBERS);
    cairn__call_again(call);
}

static int members(struct cairn *c, const char *provider, struct cairn_members **out,
                   const struct cairn_call_options *o, cairn_done_fn *done, void *arg)
{
    struct cairn_call *call;
    int rc = cairn__find_new(c, provider != NULL ? provider : CAIRN_FIND_ANY, "group", NULL, list_found, o, done, arg,
                             &call);

    if (rc != 0)
        return rc;
    call->group = (struct cairn_call_group){ .n = 0 };
    call->out = out;
    return cairn__call_go(call);
}

int cairn_members(struct cairn *c, const char *provider, struct cairn_members **out, const struct cairn_call_options *o)
{
    return members(c, provider, out, o, NULL, NULL);
}

int cairn_members_async(struct cairn *c, const char *provider, struct cairn_members **out,
                        const struct cairn_call_options *o, cairn_done_fn *done, void *arg)
{
    return done != NULL ? members(c, provider, out, o, done, arg) : CAIRN_E_INVAL;
}

/* ---- a watch ---- */

static void changed_answered(struct cairn_call *call)
{
    const Cairn__Wire__GroupPage *p = page_of(call);

    atomic_store_explicit(&call->c->in_callback, true, memory_order_relaxed);
    for (size_t i = 0; i < p->n_members && !call->canceled; i++) {
        struct cairn_member m = member_of(p->members[i]);

        call->group.changed(call->arg, &m);
    }
    atomic_store_explicit(&call->c->in_callback, false, memory_order_release);
    ask_next(call, p);
}

/* Each request has the whole patience of the caller, beside the time for which it waits at the node. */
static void watch_next(struct cairn_call *call)
{
    call->deadline_ns = cairn_loop_now(&call->c->loop) + call->timeout_ns + WATCH_WAIT_MS * CAIRN_NS_PER_MS;
    cairn__call_send(call);
}

static void watch_found(struct cairn_call *call, uint16_t provider)
{
    cairn__wire__group_members__init(&call->rq.group_members);
    call->answered = changed_answered;
    call->next = watch_next;
    cairn__call_to(call, &cairn_iface_group, provider, CAIRN__WIRE__GROUP_METHOD__GROUP_MEMBERS);
    cairn__call_again(call);
}

int cairn_members_watch(struct cairn *c, const char *provider, cairn_member_fn *changed,
                        const struct cairn_call_options *o, cairn_done_fn *done, void *arg)
{
    struct cairn_call *call;
    int rc;

    if (changed == NULL || done == NULL)
        return CAIRN_E_INVAL;
    rc = cairn__find_new(c, provider != NULL ? provider : CAIRN_FIND_ANY, "group", NULL, watch_found, o, done, arg,
                         &call);
    if (rc != 0)
        return rc;
    call->group = (struct cairn_call_group){ .changed = changed };
    return cairn__call_go(call);
}

/* ---- changes ---- */

static void set_found(struct cairn_call *call, uint16_t provider)
{
    const struct cairn_member_attributes *a = &call->group.set;
    Cairn__Wire__GroupSet *q = &call->rq.group_set;

    cairn__wire__group_set__init(q);
    q->set_weight = (a->fields & CAIRN_MEMBER_WEIGHT) != 0;
    q->weight = a->weight;
    q->set_capacity = (a->fields & CAIRN_MEMBER_CAPACITY) != 0;
    q->capacity = a->capacity;
    q->set_zone = (a->fields & CAIRN_MEMBER_ZONE) != 0;
    if (q->set_zone)
        q->zone = (char *)(uintptr_t)call->find.second;
    call->answered = cairn__answered_plainly;
    cairn__call_to(call, &cairn_iface_group, provider, CAIRN__WIRE__GROUP_METHOD__GROUP_SET);
    cairn__call_again(call);
}

static int member_set(struct cairn *c, const char *provider, const struct cairn_member_attributes *a,
                      const struct cairn_call_options *o, cairn_done_fn *done, void *arg)
{
    const uint32_t all = CAIRN_MEMBER_ZONE | CAIRN_MEMBER_WEIGHT | CAIRN_MEMBER_CAPACITY;
    struct cairn_call *call;
    int rc;

    if (a == NULL || !CAIRN_REACHES(a, zone))
        return cairn__refuse(o, CAIRN_E_INVAL, "attributes: start from CAIRN_MEMBER_ATTRIBUTES_INIT");
    if (a->fields == 0 || (a->fields & ~all) != 0)
        return cairn__refuse(o, CAIRN_E_INVAL, "attributes: no field is given, or an unknown one");
    if ((a->fields & CAIRN_MEMBER_ZONE) != 0 && (a->zone == NULL || strlen(a->zone) > TEXT_MAX))
        return cairn__refuse(o, CAIRN_E_INVAL, "attributes: the zone is missing or too long");
    rc = cairn__find_new(c, provider != NULL ? provider : CAIRN_FIND_ANY, "group",
                         (a->fields & CAIRN_MEMBER_ZONE) != 0 ? a->zone : NULL, set_found, o, done, arg, &call);
    if (rc != 0)
        return rc;
    call->group = (struct cairn_call_group){ .changed = NULL };
    CAIRN_TAKE(&call->group.set, a);
    return cairn__call_go(call);
}

int cairn_member_set(struct cairn *c, const char *provider, const struct cairn_member_attributes *a,
                     const struct cairn_call_options *o)
{
    return member_set(c, provider, a, o, NULL, NULL);
}

int cairn_member_set_async(struct cairn *c, const char *provider, const struct cairn_member_attributes *a,
                           const struct cairn_call_options *o, cairn_done_fn *done, void *arg)
{
    return done != NULL ? member_set(c, provider, a, o, done, arg) : CAIRN_E_INVAL;
}

static void join_found(struct cairn_call *call, uint16_t provider)
{
    cairn__wire__group_join__init(&call->rq.group_join);
    call->rq.group_join.addresses = (char *)(uintptr_t)call->find.second;
    call->answered = cairn__answered_plainly;
    cairn__call_to(call, &cairn_iface_group, provider, CAIRN__WIRE__GROUP_METHOD__GROUP_JOIN);
    cairn__call_again(call);
}

static int group_join(struct cairn *c, const char *provider, const char *addresses, const struct cairn_call_options *o,
                      cairn_done_fn *done, void *arg)
{
    struct cairn_call *call;
    int rc;

    if (addresses == NULL || strlen(addresses) > ADDRESSES_MAX)
        return cairn__refuse(o, CAIRN_E_INVAL, "the addresses are missing, or too many");
    rc = cairn__find_new(c, provider != NULL ? provider : CAIRN_FIND_ANY, "group", addresses, join_found, o, done, arg,
                         &call);
    return rc != 0 ? rc : cairn__call_go(call);
}

int cairn_group_join(struct cairn *c, const char *provider, const char *addresses, const struct cairn_call_options *o)
{
    return group_join(c, provider, addresses, o, NULL, NULL);
}

int cairn_group_join_async(struct cairn *c, const char *provider, const char *addresses,
                           const struct cairn_call_options *o, cairn_done_fn *done, void *arg)
{
    return done != NULL ? group_join(c, provider, addresses, o, done, arg) : CAIRN_E_INVAL;
}
