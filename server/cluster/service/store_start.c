/* What the provider has of this worker's slots, at a start.
 *
 *  OPEN ---> SLOTS ---> SESSIONS ---> SLOTS        OPEN, SLOTS and SESSIONS may also go to FAILED; SLOTS to DONE.
 *
 *  OPEN      the databases of all slots are opened, one after the other.
 *  SLOTS     the next page of slots is listed.
 *  SESSIONS  the sessions of one slot are listed, page by page.
 *  DONE      all slots were told of.     FAILED  the provider cannot be read, or what is there makes no sense. */
#include "server/cluster/service/store_internal.h"

#include <stdlib.h>

enum { START_OPEN, START_SLOTS, START_SESSIONS, START_DONE, START_FAILED, START_NR };
enum { PAGE_SLOTS = 1024 };

struct store_start {
    struct cairn_sm sm;
    struct cluster_store *st;
    uint32_t opened; /* of the databases */
    struct {
        uint32_t slot;
        struct cairn_at at;
    } slots[PAGE_SLOTS];    /* that are whole, of the page */
    uint32_t n, next, last; /* last: slot of the page's last row */
    bool more;
    struct cairn_sessions sessions; /* of slots[next] */
    uint8_t from[STORE_WRITE_KEY_BYTES], prefix[STORE_SLOT_BYTES];
    size_t from_len;
    union {
        Cairn__Wire__KvOpen open;
        Cairn__Wire__KvList list;
    } msg;
    struct cairn_rpc_call call;
    struct cairn_err err;
};

#define TO CAIRN_SM_TO
static const struct cairn_sm_state start_states[START_NR] = {
    [START_OPEN] = { "OPEN", CAIRN_SM_INITIAL, TO(START_SLOTS) | TO(START_FAILED) },
    [START_SLOTS] = { "SLOTS", 0, TO(START_SESSIONS) | TO(START_DONE) | TO(START_FAILED) },
    [START_SESSIONS] = { "SESSIONS", 0, TO(START_SLOTS) | TO(START_FAILED) },
    [START_DONE] = { "DONE", CAIRN_SM_FINAL, 0 },
    [START_FAILED] = { "FAILED", CAIRN_SM_FINAL | CAIRN_SM_FAILURE, 0 },
};

static bool start_invariant(const struct cairn_sm *sm)
{
    const struct store_start *x = CONTAINER_OF(sm, const struct store_start, sm);

    return CAIRN_HOLDS((sm->state == START_OPEN) == (x->opened < 3) || sm->state == START_FAILED) &&
           CAIRN_HOLDS(sm->state != START_SESSIONS || x->next < x->n) &&
           CAIRN_HOLDS(sm->state != START_DONE || (x->next == x->n && !x->more));
}

const struct cairn_sm_kind store_start_kind = { "store-start", start_states, START_NR, start_invariant, 0 };

static void start_end(struct store_start *x, int rc, const char *what)
{
    struct cluster_store *st = x->st;
    struct cairn_err err = x->err;

    cairn_err_wrap(&err, rc, "%s", what);
    /* The slots are not emptied here: what is in one may be all that there is of it. */
    if (rc == CAIRN_E_CORRUPT)
        cairn_err_wrap(
            &err, rc,
            "this node's disk cannot give back where its slots stand; keep its data directory, start it with "
            "an empty one, and what has replicas elsewhere comes back; for what has none, put a copy back");
    else if (rc == CAIRN_E_FORMAT)
        cairn_err_wrap(&err, rc, "start the newer build again");
    cairn_sm_move_or_fail(&x->sm, START_DONE, START_FAILED, rc);
    store_start_free(st);
    st->conf.ops->started(st->conf.arg, rc, &err);
}

void store_start_free(struct cluster_store *st)
{
    struct store_start *x = st->start;

    if (x == NULL)
        return;
    if (!cairn_sm_is_final(&x->sm))
        cairn_sm_fail(&x->sm, START_FAILED, CAIRN_E_SHUTDOWN);
    cairn_sm_fini(&x->sm);
    cairn_sessions_fini(&x->sessions);
    free(x);
    st->start = NULL;
}

static void list(struct store_start *x, uint32_t db, void (*done)(struct cairn_rpc_call *call))
{
    cairn__wire__kv_list__init(&x->msg.list);
    x->msg.list.db = db;
    x->msg.list.values = true;
    x->msg.list.max = PAGE_SLOTS;
    x->msg.list.from = (ProtobufCBinaryData){ .len = x->from_len, .data = x->from };
    x->msg.list.after = x->from_len > 0;
    if (db == x->st->session_db)
        x->msg.list.prefix = (ProtobufCBinaryData){ .len = sizeof(x->prefix), .data = x->prefix };
    store_call(x->st, &x->call, CAIRN__WIRE__KV_METHOD__KV_LIST, &x->msg.list.base, done, x, &x->err);
}

/* Whether a row is of the format that we know: only then its length and what is in it mean anything. */
static int row_check(struct store_start *x, const char *what, uint32_t slot, const uint8_t *value, uint32_t len,
                     uint32_t bytes)
{
    if (len > 0 && value[0] != STORE_ROW_FORMAT)
        return cairn_err_set(&x->err, CAIRN_E_FORMAT, "slot %u: %s is of format %u, and this build knows %d", slot,
                             what, value[0], STORE_ROW_FORMAT);
    if (len != bytes)
        return cairn_err_set(&x->err, CAIRN_E_CORRUPT, "slot %u: %s has %u bytes", slot, what, len);
    return 0;
}

/* ---- the sessions of a slot ---- */

static void slots_next(struct store_start *x);
static void on_sessions(struct cairn_rpc_call *call);

static int take_open(struct store_start *x, const uint8_t *key, const uint8_t *value, uint32_t len)
{
    struct cairn_log_entry e = { .kind = CAIRN_ENTRY_OPEN,
                                 .at = { .epoch = store_get_be64(key + 4), .pos = store_get_be64(key + 12) } };
    struct cairn_sessions *t = &x->sessions;
    int rc = row_check(x, "the row of a session", x->slots[x->next].slot, value, len, STORE_OPEN_VALUE_BYTES);

    if (rc == 0)
        rc = cairn_sessions_reserve(t, &e);
    if (rc != 0)
        return rc;
    if (e.at.pos == 0 || (t->n > 0 && !cairn_at_is_less(t->all[t->n - 1].id, e.at)))
        return CAIRN_E_CORRUPT;
    cairn_sessions_append(t, &e);
    t->all[t->n - 1].floor = MAX(cairn_le_load64(value + 1), UINT64_C(1));
    return 0;
}

/* A number's row stays until another takes its place: what is below the newest floor is not of interest, and would be
 * more than there is room for. The newest of them may tell more of where the slot stands than slots/at. */
static int take_write(struct store_start *x, const uint8_t *key, const uint8_t *value, uint32_t len)
{
    struct cairn_at id = { .epoch = store_get_be64(key + 4), .pos = store_get_be64(key + 12) };
    struct cairn_log_entry e = { .kind = CAIRN_ENTRY_WRITE, .rid.session = id };
    struct cairn_session *session = cairn_sessions_find(&x->sessions, id);
    int rc = row_check(x, "the row of a write", x->slots[x->next].slot, value, len, STORE_WRITE_VALUE_BYTES);

    if (rc != 0)
        return rc;
    if (session == NULL)
        return CAIRN_E_CORRUPT;
    e.rid.seq = cairn_le_load64(value + 1);
    e.at.epoch = cairn_le_load64(value + 9);
    e.at.pos = cairn_le_load64(value + 17);
    e.floor = cairn_le_load64(value + 29);
    if (e.at.pos > x->slots[x->next].at.pos)
        x->slots[x->next].at = e.at;
    cairn_session_forget(session, e.floor);
    if (e.rid.seq < session->floor)
        return 0;
    rc = cairn_sessions_reserve(&x->sessions, &e);
    if (rc != 0)
        return rc;
    cairn_sessions_append(&x->sessions, &e);
    cairn_sessions_apply(&x->sessions, &e, (int32_t)cairn_le_load32(value + 25));
    return 0;
}

static int take_session_row(struct store_start *x, const ProtobufCBinaryData *key, const uint8_t *value, uint32_t len)
{
    if (key->len == STORE_OPEN_KEY_BYTES)
        return take_open(x, key->data, value, len);
    if (key->len == STORE_WRITE_KEY_BYTES)
        return take_write(x, key->data, value, len);
    return CAIRN_E_CORRUPT;
}

static int take_sessions(struct store_start *x, const struct cairn_rpc_call *call)
{
    const Cairn__Wire__KvListReply *m = (const Cairn__Wire__KvListReply *)call->reply;
    const uint8_t *value = call->reply_payload;

    for (size_t i = 0; i < m->n_keys; i++) {
        int rc = take_session_row(x, &m->keys[i], value, m->lengths[i]);

        if (rc != 0)
            return rc;
        value += m->lengths[i];
    }
    if (m->n_keys > 0) {
        x->from_len = m->keys[m->n_keys - 1].len;
        memcpy(x->from, m->keys[m->n_keys - 1].data, x->from_len);
    }
    return 0;
}

static void tell(struct store_start *x)
{
    struct store_found f = { .slot = x->slots[x->next].slot, .at = x->slots[x->next].at, .sessions = &x->sessions };

    x->st->conf.ops->found(x->st->conf.arg, &f);
    cairn_sessions_fini(&x->sessions);
    x->next++;
}

static void on_sessions(struct cairn_rpc_call *call)
{
    struct store_start *x = call->arg;
    int rc = call->rc;

    if (!store_call_over(x->st))
        return;
    if (rc == 0)
        rc = take_sessions(x, call);
    if (rc != 0) {
        start_end(x, rc, "the sessions of a slot");
    } else if (((const Cairn__Wire__KvListReply *)call->reply)->more) {
        list(x, x->st->session_db, on_sessions);
    } else {
        cairn_sm_move(&x->sm, START_SLOTS);
        tell(x);
        slots_next(x);
    }
}

/* ---- slots ---- */

static int take_slot(struct store_start *x, const ProtobufCBinaryData *key, const uint8_t *value, uint32_t len)
{
    struct store_found f = { 0 };
    int rc;

    if (key->len != STORE_SLOT_BYTES)
        return CAIRN_E_CORRUPT;
    f.slot = x->last = store_get_be32(key->data);
    if (f.slot % x->st->conf.nworkers != x->st->conf.worker)
        return 0;
    rc = row_check(x, "where it stands", f.slot, value, len, STORE_AT_VALUE_BYTES);
    if (rc != 0)
        return rc;
    f.partial = value[17] != 0;
    f.at = (struct cairn_at){ .epoch = cairn_le_load64(value + 1), .pos = cairn_le_load64(value + 9) };
    if (f.partial) {
        x->st->conf.ops->found(x->st->conf.arg, &f);
        return 0;
    }
    x->slots[x->n].slot = f.slot;
    x->slots[x->n++].at = f.at;
    return 0;
}

static void on_slots(struct cairn_rpc_call *call)
{
    struct store_start *x = call->arg;
    const Cairn__Wire__KvListReply *m = (const Cairn__Wire__KvListReply *)call->reply;
    const uint8_t *value = call->reply_payload;
    int rc = call->rc;

    if (!store_call_over(x->st))
        return;
    x->n = x->next = 0;
    for (size_t i = 0; rc == 0 && i < m->n_keys; i++) {
        rc = take_slot(x, &m->keys[i], value, m->lengths[i]);
        value += m->lengths[i];
    }
    if (rc != 0) {
        start_end(x, rc, "where the slots stand");
        return;
    }
    x->more = m->more;
    slots_next(x);
}

static void slots_next(struct store_start *x)
{
    if (x->next < x->n) {
        store_be32(x->prefix, x->slots[x->next].slot);
        x->from_len = 0;
        cairn_sessions_init(&x->sessions);
        cairn_sm_move(&x->sm, START_SESSIONS);
        list(x, x->st->session_db, on_sessions);
    } else if (x->more) {
        store_be32(x->from, x->last);
        x->from_len = STORE_SLOT_BYTES;
        list(x, x->st->at_db, on_slots);
    } else {
        start_end(x, 0, "");
    }
}

/* ---- databases ---- */

static void open_next(struct store_start *x);

static void on_opened(struct cairn_rpc_call *call)
{
    struct store_start *x = call->arg;
    struct cluster_store *st = x->st;
    uint32_t *db[] = { &st->at_db, &st->index_db, &st->session_db };

    if (!store_call_over(st))
        return;
    if (call->rc != 0) {
        start_end(x, call->rc, "the databases of the slots");
        return;
    }
    *db[x->opened++] = ((const Cairn__Wire__KvOpened *)call->reply)->db;
    open_next(x);
}

static void open_next(struct store_start *x)
{
    static char *const names[] = { "slots/at", "slots/index", "slots/session" };

    if (x->opened == ARRAY_SIZE(names)) {
        cairn_sm_move(&x->sm, START_SLOTS);
        list(x, x->st->at_db, on_slots);
        return;
    }
    cairn__wire__kv_open__init(&x->msg.open);
    x->msg.open.name = names[x->opened];
    x->msg.open.create = true;
    store_call(x->st, &x->call, CAIRN__WIRE__KV_METHOD__KV_OPEN, &x->msg.open.base, on_opened, x, &x->err);
}

void cluster_store_start(struct cluster_store *st)
{
    struct store_start *x = calloc(1, sizeof(*x));
    struct cairn_err err = { 0 };

    if (x == NULL) {
        st->conf.ops->started(st->conf.arg, cairn_err_set(&err, CAIRN_E_NOMEM, "slots"), &err);
        return;
    }
    st->start = x;
    x->st = st;
    cairn_sm_init(&x->sm, &store_start_kind, &st->loop->machines);
    open_next(x);
}
