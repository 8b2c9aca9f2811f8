/* The sessions of one slot: see sessions.h. */
#include "server/cluster/repl/sessions.h"

#include <stdlib.h>

void cairn_sessions_init(struct cairn_sessions *t)
{
    memset(t, 0, sizeof(*t));
}

void cairn_sessions_fini(struct cairn_sessions *t)
{
    for (uint32_t i = 0; i < t->n; i++)
        free(t->all[i].writes);
    free(t->all);
    memset(t, 0, sizeof(*t));
}

/* Index of the first session whose id is not less than @id. */
static uint32_t place_of(const struct cairn_sessions *t, struct cairn_at id)
{
    uint32_t lo = 0, hi = t->n;

    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;

        if (cairn_at_is_less(t->all[mid].id, id))
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

/* Also one that is about to expire. */
static struct cairn_session *find_any(struct cairn_sessions *t, struct cairn_at id)
{
    uint32_t i = place_of(t, id);

    return i < t->n && cairn_at_is(t->all[i].id, id) ? &t->all[i] : NULL;
}

struct cairn_session *cairn_sessions_find(struct cairn_sessions *t, struct cairn_at id)
{
    struct cairn_session *s = find_any(t, id);

    return s != NULL && s->expire_pos == 0 ? s : NULL;
}

static uint32_t write_place(const struct cairn_session *s, uint64_t seq)
{
    uint32_t i = s->nwrites;

    while (i > 0 && s->writes[i - 1].seq >= seq) /* new numbers come at the end */
        i--;
    return i;
}

const struct cairn_session_write *cairn_session_find(const struct cairn_session *s, uint64_t seq)
{
    uint32_t i = write_place(s, seq);

    return i < s->nwrites && s->writes[i].seq == seq ? &s->writes[i] : NULL;
}

bool cairn_session_is_waited_for(const struct cairn_session *s)
{
    for (uint32_t i = 0; i < s->nwrites; i++) {
        if (!s->writes[i].applied)
            return true;
    }
    return false;
}

static void *grown(void *array, uint32_t *room, uint32_t n, size_t size, int *rc)
{
    uint32_t more = *room == 0 ? 4 : *room * 2;
    void *p;

    *rc = 0;
    if (n < *room)
        return array;
    p = realloc(array, more * size);
    if (p == NULL) {
        *rc = CAIRN_E_NOMEM;
        return array;
    }
    *room = more;
    return p;
}

int cairn_sessions_reserve(struct cairn_sessions *t, const struct cairn_log_entry *e)
{
    struct cairn_session *s;
    int rc = 0;

    if (e->kind == CAIRN_ENTRY_OPEN) {
        t->all = grown(t->all, &t->room, t->n, sizeof(*t->all), &rc);
    } else if (e->kind == CAIRN_ENTRY_WRITE && e->rid.session.pos != 0) {
        s = find_any(t, e->rid.session);
        if (s != NULL)
            s->writes = grown(s->writes, &s->room, s->nwrites, sizeof(*s->writes), &rc);
    }
    return rc;
}

void cairn_session_forget(struct cairn_session *s, uint64_t floor)
{
    uint32_t gone = 0;

    if (floor <= s->floor)
        return;
    s->floor = floor;
    while (gone < s->nwrites && s->writes[gone].seq < floor)
        gone++;
    if (gone == 0) /* @writes may be NULL */
        return;
    s->nwrites -= gone;
    memmove(s->writes, s->writes + gone, s->nwrites * sizeof(*s->writes));
}

void cairn_sessions_append(struct cairn_sessions *t, const struct cairn_log_entry *e)
{
    struct cairn_session *s;
    uint32_t i;

    if (e->kind == CAIRN_ENTRY_OPEN) {
        CAIRN_ASSERT(t->n < t->room && (t->n == 0 || cairn_at_is_less(t->all[t->n - 1].id, e->at)));
        t->all[t->n++] = (struct cairn_session){ .id = e->at, .floor = 1 };
        return;
    }
    s = find_any(t, e->rid.session);
    if (s == NULL)
        return;
    if (e->kind == CAIRN_ENTRY_EXPIRE)
        s->expire_pos = e->at.pos;
    if (e->kind != CAIRN_ENTRY_WRITE)
        return;
    cairn_session_forget(s, e->floor);
    if (e->rid.seq < s->floor) /* by an entry that was cut; what its client said stays true */
        return;
    i = write_place(s, e->rid.seq);
    if (i < s->nwrites && s->writes[i].seq == e->rid.seq)
        return; /* I6 forbids it; the log decides, and the first entry won */
    CAIRN_ASSERT(s->nwrites < s->room);
    memmove(&s->writes[i + 1], &s->writes[i], (s->nwrites - i) * sizeof(*s->writes));
    s->writes[i] = (struct cairn_session_write){ .seq = e->rid.seq, .pos = e->at.pos };
    s->nwrites++;
}

static void session_cut(struct cairn_session *s, uint64_t pos)
{
    uint32_t kept = 0;

    for (uint32_t i = 0; i < s->nwrites; i++) {
        if (s->writes[i].pos <= pos)
            s->writes[kept++] = s->writes[i];
    }
    s->nwrites = kept;
    if (s->expire_pos > pos)
        s->expire_pos = 0;
}

void cairn_sessions_cut(struct cairn_sessions *t, uint64_t pos)
{
    while (t->n > 0 && t->all[t->n - 1].id.pos > pos)
        free(t->all[--t->n].writes);
    for (uint32_t i = 0; i < t->n; i++)
        session_cut(&t->all[i], pos);
}

void cairn_sessions_apply(struct cairn_sessions *t, const struct cairn_log_entry *e, int32_t result)
{
    struct cairn_session *s;
    uint32_t i;

    if (e->kind != CAIRN_ENTRY_WRITE && e->kind != CAIRN_ENTRY_EXPIRE)
        return;
    s = find_any(t, e->rid.session);
    if (s == NULL)
        return;
    if (e->kind == CAIRN_ENTRY_EXPIRE) {
        free(s->writes);
        t->n--;
        memmove(s, s + 1, (size_t)(&t->all[t->n] - s) * sizeof(*s));
        return;
    }
    i = write_place(s, e->rid.seq);
    if (i < s->nwrites && s->writes[i].pos == e->at.pos) {
        s->writes[i].applied = true;
        s->writes[i].result = result;
    }
}
