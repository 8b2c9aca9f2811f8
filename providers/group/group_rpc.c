/* Requests: a page of members, at once or when something changes. */
#include "providers/group/group_internal.h"

#include "schema/group.pb-c.h"

#include <stdlib.h>
#include <string.h>

_Static_assert((int)CAIRN__WIRE__GROUP_STATE__GROUP_LEFT == (int)CAIRN_SWIM_LEFT, "states are the core's");

/* A member with its texts: the directory may change as soon as the mutex is free. */
struct row {
    Cairn__Wire__GroupMember m;
    struct cairn_swim_desc d;
    char address[GROUP_ADDR_TEXT_MAX];
};
struct page {
    Cairn__Wire__GroupPage m;
    char problem[GROUP_PROBLEM_MAX];
    Cairn__Wire__GroupMember *list[GROUP_PAGE_MAX];
    struct row rows[GROUP_PAGE_MAX];
};

static void fill_row(const struct group_provider *p, uint32_t slot, struct row *r)
{
    const struct cairn_swim_view *v = &p->core.views[slot];

    r->d = p->dir.descs[slot];
    group_addr_text(&r->d.addr, r->address);
    cairn__wire__group_member__init(&r->m);
    r->m.name = r->d.name;
    r->m.state = (Cairn__Wire__GroupState)v->state;
    r->m.incarnation = v->incarnation;
    r->m.address = r->address;
    r->m.service = r->d.service;
    r->m.zone = r->d.zone;
    r->m.weight = r->d.weight;
    r->m.capacity = r->d.capacity;
    r->m.load = v->load;
    r->m.self = slot == p->core.self;
}

/* Under the mutex. */
static void fill_page(struct group_provider *p, const Cairn__Wire__GroupMembers *q, struct page *page)
{
    const struct cairn_swim *s = &p->core;
    uint32_t since = q->epoch == s->epoch ? q->since : 0, slot = q->cursor, n = 0;
    uint32_t max = q->max > 0 ? MIN(q->max, (uint32_t)GROUP_PAGE_MAX) : (uint32_t)GROUP_PAGE_MAX;

    cairn__wire__group_page__init(&page->m);
    for (; slot < p->dir.used && n < max; slot++) {
        if (s->views[slot].state == CAIRN_SWIM_NONE || s->views[slot].changed <= since)
            continue;
        fill_row(p, slot, &page->rows[n]);
        page->list[n] = &page->rows[n].m;
        n++;
    }
    memcpy(page->problem, p->problem, sizeof(page->problem));
    page->m.group = p->group;
    page->m.epoch = s->epoch;
    page->m.version = s->version;
    page->m.next = slot;
    page->m.more = slot < p->dir.used;
    page->m.members = page->list;
    page->m.n_members = n;
    page->m.observer = p->observer;
    page->m.joined = group_is_joined(p);
    page->m.problem = page->problem;
}

void group_reply_page(struct cairn_rpc_req *rq)
{
    struct group_provider *p = rq->target->ctx;
    struct page *page = malloc(sizeof(*page));

    if (page == NULL) {
        cairn_rpc_reply(rq, CAIRN_E_NOMEM, NULL, NULL, 0);
        return;
    }
    pthread_mutex_lock(&p->mutex);
    fill_page(p, (const Cairn__Wire__GroupMembers *)rq->msg, page);
    pthread_mutex_unlock(&p->mutex);
    cairn_rpc_reply(rq, 0, &page->m.base, NULL, 0);
    free(page);
}

static void handle_members(struct cairn_rpc_req *rq)
{
    const Cairn__Wire__GroupMembers *q = (const Cairn__Wire__GroupMembers *)rq->msg;
    struct group_provider *p = rq->target->ctx;
    struct group_worker *w = &p->workers[cairn_rpc_index(rq->rpc)];
    bool wait;

    if (q->wait_ms > GROUP_WAIT_MS_MAX) {
        cairn_rpc_reply_err(rq, CAIRN_E_INVAL, "wait_ms is at most %d", GROUP_WAIT_MS_MAX);
        return;
    }
    pthread_mutex_lock(&p->mutex);
    wait = q->wait_ms > 0 && q->cursor == 0 && q->epoch == p->core.epoch && q->since >= p->core.version &&
           !atomic_load(&p->draining);
    if (wait)
        atomic_fetch_add(&w->nwatches, 1); /* from here on worker 0 tells us */
    pthread_mutex_unlock(&p->mutex);
    if (!wait)
        group_reply_page(rq);
    else if (!group_watch_begin(rq, q->wait_ms))
        atomic_fetch_sub(&w->nwatches, 1);
}

cairn_rpc_handler *const group_handlers[] = {
    [CAIRN__WIRE__GROUP_METHOD__GROUP_MEMBERS] = handle_members,
    [CAIRN__WIRE__GROUP_METHOD__GROUP_SET] = group_handle_set,
    [CAIRN__WIRE__GROUP_METHOD__GROUP_JOIN] = group_handle_join,
};
