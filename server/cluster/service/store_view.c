/* A copy at its source: the records of a slot as they were applied at one moment, page by page, in the order of the
 * index.
 *
 *  OPEN ---> IDLE ---> LIST ---> NAME ---> GET ---> IDLE
 *
 *  LIST may also go to GET and IDLE, LIST to itself; NAME to IDLE and LIST; GET to LIST. OPEN, IDLE, LIST, NAME and
 *  GET may also go to CLOSE; OPEN, IDLE and CLOSE to CLOSED.
 *
 *  OPEN    the provider's view is being opened; nothing of the slot is applied meanwhile. A provider that has no room
 *          for one just now is asked again, as long as a slot may be held.
 *  IDLE    the next page is not wanted yet.
 *  LIST    the next keys are being listed.
 *  NAME    the database of their namespace is being opened.
 *  GET     their records are being read: a page is of one namespace.
 *  CLOSE   the provider's view is being closed.    CLOSED  it is.
 *
 * A provider in memory has no views: then nothing of the slot is applied until the copy is over. */
#include "server/cluster/service/store_page.h"

#include "sdk/core/base/log.h"

#include <stdlib.h>

enum { VIEW_OPEN, VIEW_IDLE, VIEW_LIST, VIEW_NAME, VIEW_GET, VIEW_CLOSE, VIEW_CLOSED, VIEW_NR };
enum { VIEW_KEYS = 512 };

struct store_view {
    struct cairn_sm sm;
    struct cairn_link link;
    struct cluster_store *st;
    struct store_slot *s; /* NULL: nobody wants it any more */
    uint64_t snapshot;    /* 0: there is none */
    bool wanted;          /* a page is */
    int rc;
    uint8_t prefix[STORE_SLOT_BYTES], from[CAIRN_KEY_BYTES_MAX]; /* @from: the last key that was sent */
    size_t from_len;
    /* of one LIST: keys of the namespace */
    uint32_t ns, n;
    ProtobufCBinaryData keys[VIEW_KEYS]; /* of the index, in @bytes */
    ProtobufCBinaryData user_keys[VIEW_KEYS];
    uint8_t index[VIEW_KEYS][STORE_INDEX_VALUE_BYTES];
    uint8_t *bytes, *page;
    bool more;
    struct store_open open;
    union {
        Cairn__Wire__KvSnapshot snapshot;
        Cairn__Wire__KvList list;
        Cairn__Wire__KvMget mget;
    } msg;
    struct cairn_rpc_call call;
    struct cairn_err err;
    struct cairn_task task;
    struct cairn_timer pause; /* until the next page may go, or the provider is asked for its view once more */
    uint64_t until_ns;        /* it is asked so long */
    bool waits;               /* for room in the provider, in OPEN */
    bool paused;              /* it has waited for that, and others that came later wait for it */
};

#define TO CAIRN_SM_TO
static const struct cairn_sm_state view_states[VIEW_NR] = {
    [VIEW_OPEN] = { "OPEN", CAIRN_SM_INITIAL, TO(VIEW_IDLE) | TO(VIEW_CLOSE) | TO(VIEW_CLOSED) },
    [VIEW_IDLE] = { "IDLE", 0, TO(VIEW_LIST) | TO(VIEW_CLOSE) | TO(VIEW_CLOSED) },
    [VIEW_LIST] = { "LIST", 0, TO(VIEW_NAME) | TO(VIEW_GET) | TO(VIEW_IDLE) | TO(VIEW_LIST) | TO(VIEW_CLOSE) },
    [VIEW_NAME] = { "NAME", 0, TO(VIEW_GET) | TO(VIEW_IDLE) | TO(VIEW_LIST) | TO(VIEW_CLOSE) },
    [VIEW_GET] = { "GET", 0, TO(VIEW_IDLE) | TO(VIEW_LIST) | TO(VIEW_CLOSE) },
    [VIEW_CLOSE] = { "CLOSE", 0, TO(VIEW_CLOSED) },
    [VIEW_CLOSED] = { "CLOSED", CAIRN_SM_FINAL, 0 },
};

static bool view_invariant(const struct cairn_sm *sm)
{
    const struct store_view *v = CONTAINER_OF(sm, const struct store_view, sm);

    return CAIRN_HOLDS(sm->state != VIEW_LIST || v->wanted || v->s == NULL) &&
           CAIRN_HOLDS((sm->state != VIEW_NAME && sm->state != VIEW_GET) || v->n > 0) &&
           CAIRN_HOLDS(sm->state != VIEW_CLOSED || v->s == NULL);
}

const struct cairn_sm_kind store_view_kind = { "store-view", view_states, VIEW_NR, view_invariant, 0 };

/* Slots that wait hear of room when there is some: looking again, each for itself, they would find it by chance. */
static void room_for_one(struct cluster_store *st)
{
    struct cairn_link *l = st->stopping ? NULL : cairn_list_pop(&st->waiting);

    if (l != NULL)
        st->conf.ops->may_open(CONTAINER_OF(l, struct store_slot, waits));
}

static void waits(struct store_view *v, bool now)
{
    if (now != v->waits)
        atomic_fetch_add(&v->st->troubles.views_waiting, now ? 1 : UINT64_MAX);
    v->waits = now;
}

static void view_free(struct store_view *v)
{
    struct cluster_store *st = v->st;

    v->s = NULL;
    waits(v, false);
    cairn_sm_move(&v->sm, VIEW_CLOSED);
    cairn_sm_fini(&v->sm);
    cairn_list_del(&v->link);
    cairn_task_cancel(&v->task);
    cairn_timer_stop(&st->loop->env, &v->pause);
    st->nviews--;
    free(v->bytes);
    free(v->page);
    free(v);
    room_for_one(st);
}

void store_views_free(struct cluster_store *st)
{
    CAIRN_LIST_FOREACH_SAFE (l, &st->views) {
        struct store_view *v = CONTAINER_OF(l, struct store_view, link);

        v->s = NULL;
        if (v->sm.state != VIEW_CLOSE)
            cairn_sm_move(&v->sm, VIEW_CLOSE);
        view_free(v);
    }
}

static void on_closed(struct cairn_rpc_call *call)
{
    struct store_view *v = call->arg;

    if (store_call_over(v->st)) /* one that stays open is closed by the provider when it is idle for long */
        view_free(v);
}

static void view_close(struct store_view *v)
{
    cairn_sm_move(&v->sm, VIEW_CLOSE);
    if (v->snapshot == 0) {
        view_free(v);
        return;
    }
    cairn__wire__kv_snapshot__init(&v->msg.snapshot);
    v->msg.snapshot.snapshot = v->snapshot;
    store_call(v->st, &v->call, CAIRN__WIRE__KV_METHOD__KV_SNAPSHOT_CLOSE, &v->msg.snapshot.base, on_closed, v,
               &v->err);
}

/* ---- pages ---- */

static void list_start(struct store_view *v);

static void page_done(struct store_view *v, int rc, uint32_t len, bool last)
{
    v->wanted = false;
    v->rc = rc;
    cluster_pace_take(v->st->conf.pace, len, cairn_env_now_ns(&v->st->loop->env));
    cairn_sm_move(&v->sm, VIEW_IDLE);
    v->st->conf.ops->page(v->s, rc, v->page, len, last);
}

/* True: nobody wants what has come, and the view is on its way to its end. */
static bool view_is_over(struct store_view *v)
{
    if (!store_call_over(v->st))
        return true;
    if (v->s != NULL)
        return false;
    view_close(v);
    return true;
}

static void sent_up_to(struct store_view *v, uint32_t i)
{
    v->from_len = v->keys[i].len;
    memcpy(v->from, v->keys[i].data, v->from_len);
}

/* What was found; a record that is not there is of a namespace that is being removed. */
static int page_make(struct store_view *v, const Cairn__Wire__KvMgetReply *m, const uint8_t *record, uint32_t *len)
{
    size_t room = 0;

    for (size_t i = 0; i < m->n_lengths; i++) {
        if (m->lengths[i] < -1)
            return CAIRN_E_IO;
        room += STORE_PAGE_HEAD_BYTES + v->user_keys[i].len + (size_t)MAX(m->lengths[i], INT64_C(0));
    }
    free(v->page);
    v->page = malloc(room + 1);
    if (v->page == NULL)
        return CAIRN_E_NOMEM;
    *len = 0;
    for (size_t i = 0; i < m->n_lengths; i++) {
        struct store_page_record r = { .ns = v->ns,
                                       .key = v->user_keys[i].data,
                                       .key_len = (uint32_t)v->user_keys[i].len,
                                       .index = v->index[i],
                                       .record = record,
                                       .record_len = (uint32_t)m->lengths[i] };

        if (m->lengths[i] < 0)
            continue;
        store_page_put(&r, v->page + *len);
        *len += (uint32_t)store_page_bytes(&r);
        record += m->lengths[i];
    }
    return 0;
}

static void on_got(struct cairn_rpc_call *call)
{
    struct store_view *v = call->arg;
    const Cairn__Wire__KvMgetReply *m = (const Cairn__Wire__KvMgetReply *)call->reply;
    uint32_t len = 0;
    int rc = call->rc;

    if (view_is_over(v))
        return;
    /* the database was removed after it was opened: now it cannot be, and its keys are skipped */
    if (rc == CAIRN_E_NOTFOUND) {
        store_ns_forget(v->st);
        list_start(v);
        return;
    }
    if (rc == 0 && (m->n_lengths == 0 || m->n_lengths > v->n))
        rc = CAIRN_E_STATE;
    if (rc == 0)
        rc = page_make(v, m, call->reply_payload, &len);
    if (rc != 0) {
        page_done(v, rc, 0, false);
        return;
    }
    sent_up_to(v, (uint32_t)m->n_lengths - 1);
    page_done(v, 0, len, !v->more && m->n_lengths == v->n);
}

static void get_start(struct store_view *v)
{
    cairn__wire__kv_mget__init(&v->msg.mget);
    v->msg.mget.db = store_ns_find(v->st, v->ns)->db;
    v->msg.mget.keys = v->user_keys;
    v->msg.mget.n_keys = v->n;
    v->msg.mget.snapshot = v->snapshot;
    cairn_sm_move(&v->sm, VIEW_GET);
    store_call(v->st, &v->call, CAIRN__WIRE__KV_METHOD__KV_MGET, &v->msg.mget.base, on_got, v, &v->err);
}

/* The namespace is gone, and its records with it. */
static void skip(struct store_view *v)
{
    sent_up_to(v, v->n - 1);
    if (v->more)
        list_start(v);
    else
        page_done(v, 0, 0, true);
}

static void read_ns(struct store_view *v)
{
    if (store_ns_find(v->st, v->ns)->db != 0)
        get_start(v);
    else
        skip(v);
}

/* Its database is not there. Of a namespace that was removed nothing is missing; of another one everything, which is no
 * copy. Neither is remembered: an entry may make it anew. */
static void no_database(struct store_view *v)
{
    enum cluster_ns_state state = store_ns_state(v->st, v->ns);

    if (state == CLUSTER_NS_GONE) {
        skip(v);
        return;
    }
    if (state == CLUSTER_NS_ASKED) { /* a later copy will know */
        page_done(v, CAIRN_E_BUSY, 0, false);
        return;
    }
    cairn_log_error("slot %u: the records of namespace %u are missing here, so there is no copy of it", v->s->slot,
                    v->ns);
    page_done(v, CAIRN_E_CORRUPT, 0, false);
}

static void on_named(struct store_open *o, int rc)
{
    struct store_view *v = o->arg;

    if (v->s == NULL)
        view_close(v);
    else if (rc == CAIRN_E_NOTFOUND)
        no_database(v);
    else if (rc != 0)
        page_done(v, rc, 0, false);
    else
        read_ns(v);
}

/* The keys of the first namespace on the list. */
static int take_keys(struct store_view *v, const Cairn__Wire__KvListReply *m, const uint8_t *value)
{
    size_t len = 0;
    uint8_t *at;

    v->n = 0;
    v->more = m->more;
    for (size_t i = 0; i < m->n_keys; i++)
        len += m->keys[i].len;
    free(v->bytes);
    v->bytes = at = malloc(len + 1);
    if (at == NULL)
        return CAIRN_E_NOMEM;
    for (size_t i = 0; i < m->n_keys; i++) {
        const ProtobufCBinaryData *k = &m->keys[i];
        uint32_t ns = k->len > STORE_INDEX_HEAD_BYTES ? store_get_be32(k->data + STORE_SLOT_BYTES) : 0;

        if (ns == 0 || m->lengths[i] != STORE_INDEX_VALUE_BYTES || i >= VIEW_KEYS)
            return CAIRN_E_CORRUPT;
        if (v->n > 0 && ns != v->ns) {
            v->more = true;
            break;
        }
        v->ns = ns;
        memcpy(at, k->data, k->len);
        v->keys[v->n] = (ProtobufCBinaryData){ .len = k->len, .data = at };
        v->user_keys[v->n] =
            (ProtobufCBinaryData){ .len = k->len - STORE_INDEX_HEAD_BYTES, .data = at + STORE_INDEX_HEAD_BYTES };
        memcpy(v->index[v->n++], value, STORE_INDEX_VALUE_BYTES);
        at += k->len;
        value += m->lengths[i];
    }
    return 0;
}

static void on_listed(struct cairn_rpc_call *call)
{
    struct store_view *v = call->arg;
    int rc = call->rc;

    if (view_is_over(v))
        return;
    if (rc == 0)
        rc = take_keys(v, (const Cairn__Wire__KvListReply *)call->reply, call->reply_payload);
    if (rc != 0 || v->n == 0) {
        page_done(v, rc, 0, true);
    } else if (store_ns_find(v->st, v->ns) == NULL) {
        cairn_sm_move(&v->sm, VIEW_NAME);
        store_open_start(&v->open, v->st, v->ns, STORE_FIND, false, on_named, v);
    } else {
        read_ns(v);
    }
}

static void list_start(struct store_view *v)
{
    if (v->snapshot == 0)
        v->s->hold_until_ns = UINT64_MAX;
    cairn__wire__kv_list__init(&v->msg.list);
    v->msg.list.db = v->st->index_db;
    v->msg.list.prefix = (ProtobufCBinaryData){ .len = sizeof(v->prefix), .data = v->prefix };
    v->msg.list.from = (ProtobufCBinaryData){ .len = v->from_len, .data = v->from };
    v->msg.list.after = v->from_len > 0;
    v->msg.list.max = VIEW_KEYS;
    v->msg.list.values = true;
    v->msg.list.snapshot = v->snapshot;
    cairn_sm_move(&v->sm, VIEW_LIST);
    store_call(v->st, &v->call, CAIRN__WIRE__KV_METHOD__KV_LIST, &v->msg.list.base, on_listed, v, &v->err);
}

/* A copy without a snapshot holds the slot up, so it does not pause once it has begun: it does not begin, then. */
static bool view_pauses(struct store_view *v)
{
    uint64_t at = cluster_pace_free_ns(v->st->conf.pace);

    v->paused = !v->paused && v->rc == 0 && v->snapshot != 0 && at > cairn_env_now_ns(&v->st->loop->env) &&
                cairn_timer_start(&v->st->loop->env, &v->pause, at) == 0;
    return v->paused;
}

static void view_go_on(void *arg)
{
    struct store_view *v = arg;

    if (!v->wanted || v->sm.state != VIEW_IDLE || view_pauses(v))
        return;
    if (v->rc == 0) {
        list_start(v);
    } else {
        v->wanted = false;
        v->st->conf.ops->page(v->s, v->rc, NULL, 0, false);
    }
}

/* ---- its beginning and its end ---- */

/* It has no room for a view: later, perhaps. Nothing of the slot is applied meanwhile, so not for long: its copy is
 * given up then, and begins anew when some time has gone. */
static bool opens_later(struct store_view *v, int rc)
{
    struct cairn_env *env = &v->st->loop->env;
    uint64_t at = cairn_env_now_ns(env) + STORE_RETRY_MS * CAIRN_NS_PER_MS;
    bool later = rc != 0 && rc != CAIRN_E_UNSUPPORTED && store_may_retry(rc) && at < v->until_ns &&
                 cairn_timer_start(env, &v->pause, at) == 0;

    waits(v, later);
    return later;
}

static void on_opened(struct cairn_rpc_call *call)
{
    struct store_view *v = call->arg;

    if (call->rc == 0)
        v->snapshot = ((const Cairn__Wire__KvSnapshotOpened *)call->reply)->snapshot;
    v->st->has_no_views = call->rc == CAIRN_E_UNSUPPORTED;
    if (view_is_over(v) || opens_later(v, call->rc))
        return;
    cairn_sm_move(&v->sm, VIEW_IDLE);
    if (call->rc != CAIRN_E_UNSUPPORTED) {
        v->rc = call->rc;
        v->s->hold_until_ns = 0;
        store_apply_wake(v->st);
    }
    view_go_on(v);
}

static void open_start(struct store_view *v)
{
    static const Cairn__Wire__Empty empty = CAIRN__WIRE__EMPTY__INIT;

    store_call(v->st, &v->call, CAIRN__WIRE__KV_METHOD__KV_SNAPSHOT_OPEN, &empty.base, on_opened, v, &v->err);
}

static void on_pause_over(void *arg)
{
    struct store_view *v = arg;

    if (v->st->stopping)
        return;
    if (v->sm.state == VIEW_OPEN)
        open_start(v);
    else
        view_go_on(v);
}

bool cluster_store_copy_open(struct cluster_store *st, struct store_slot *s)
{
    uint64_t now = cairn_env_now_ns(&st->loop->env);
    struct store_view *v;

    CAIRN_ASSERT(s->view == NULL);
    if (st->stopping || (st->has_no_views && cluster_pace_free_ns(st->conf.pace) > now))
        return false;
    if (st->nviews >= STORE_VIEWS_MAX) {
        if (cairn_list_is_empty(&s->waits))
            cairn_list_add_tail(&st->waiting, &s->waits);
        return false;
    }
    if (s->in_batch) { /* what is applied is in the provider already, or not: the copy is asked for again soon */
        s->hold_until_ns = now + STORE_HOLD_MS * CAIRN_NS_PER_MS;
        return false;
    }
    v = calloc(1, sizeof(*v));
    if (v == NULL)
        return false;
    cairn_list_del(&s->waits);
    v->st = st;
    v->s = s;
    store_be32(v->prefix, s->slot);
    s->view = v;
    s->hold_until_ns = UINT64_MAX;
    st->nviews++;
    cairn_list_add_tail(&st->views, &v->link);
    cairn_task_init(&v->task, view_go_on, v);
    cairn_timer_init(&v->pause, on_pause_over, v);
    v->until_ns = now + STORE_HOLD_MS * CAIRN_NS_PER_MS;
    cairn_sm_init(&v->sm, &store_view_kind, &st->loop->machines);
    open_start(v);
    return true;
}

void cluster_store_copy_read(struct cluster_store *st, struct store_slot *s)
{
    s->view->wanted = true;
    cairn_env_defer(&st->loop->env, &s->view->task);
}

/* Nothing of it is under way. */
static bool view_is_at_rest(const struct store_view *v)
{
    return v->sm.state == VIEW_IDLE || (v->sm.state == VIEW_OPEN && cairn_timer_is_running(&v->pause));
}

void cluster_store_copy_close(struct cluster_store *st, struct store_slot *s)
{
    struct store_view *v = s->view;

    if (v == NULL)
        return;
    s->view = NULL;
    s->hold_until_ns = 0;
    store_apply_wake(st);
    v->s = NULL;
    v->wanted = false;
    if (view_is_at_rest(v) && !st->stopping)
        view_close(v);
}
