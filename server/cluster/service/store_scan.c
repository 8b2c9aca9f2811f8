/* Some of a slot's keys, read and digested: see store_scan.h.
 *
 *  LIST ---> NAME ---> GET ---> REGION ---> GET ---> DONE
 *
 *  LIST may also go to GET and DONE; NAME to LIST and DONE; GET to LIST, GET and DONE; REGION to REGION and DONE.
 *  LIST, NAME, GET and REGION may also go to FAILED.
 *
 *  LIST    the next keys are being listed; of one key, its row of the index is being read.
 *  NAME    the database of their namespace is being opened: a scan is of one namespace.
 *  GET     their records are being read, as many as fit at a time.
 *  REGION  whether a region that a record names is there, and not in quarantine, is being asked.
 *  DONE    all of it is known.    FAILED  it is not. */
#include "server/cluster/service/store_scan.h"

#include "server/cluster/service/record.h"

#include <stdlib.h>
#include <xxhash.h>

enum { SCAN_LIST, SCAN_NAME, SCAN_GET, SCAN_REGION, SCAN_DONE, SCAN_FAILED, SCAN_NR };

#define TO CAIRN_SM_TO
static const struct cairn_sm_state scan_sm_states[SCAN_NR] = {
    [SCAN_LIST] = { "LIST", CAIRN_SM_INITIAL, TO(SCAN_NAME) | TO(SCAN_GET) | TO(SCAN_DONE) | TO(SCAN_FAILED) },
    [SCAN_NAME] = { "NAME", 0, TO(SCAN_LIST) | TO(SCAN_GET) | TO(SCAN_DONE) | TO(SCAN_FAILED) },
    [SCAN_GET] = { "GET", 0, TO(SCAN_LIST) | TO(SCAN_GET) | TO(SCAN_REGION) | TO(SCAN_DONE) | TO(SCAN_FAILED) },
    [SCAN_REGION] = { "REGION", 0, TO(SCAN_REGION) | TO(SCAN_GET) | TO(SCAN_DONE) | TO(SCAN_FAILED) },
    [SCAN_DONE] = { "DONE", CAIRN_SM_FINAL, 0 },
    [SCAN_FAILED] = { "FAILED", CAIRN_SM_FINAL | CAIRN_SM_FAILURE, 0 },
};

static bool scan_invariant(const struct cairn_sm *sm)
{
    const struct store_scan *x = CONTAINER_OF(sm, const struct store_scan, sm);
    bool reads = sm->state == SCAN_GET || sm->state == SCAN_REGION;

    return CAIRN_HOLDS(!reads || (x->at <= x->got && x->got <= x->n && x->n > 0)) &&
           CAIRN_HOLDS(sm->state != SCAN_REGION || x->at < x->got) &&
           CAIRN_HOLDS(sm->state != SCAN_DONE || x->at == x->n) && CAIRN_HOLDS(!x->one || x->n <= 1);
}

const struct cairn_sm_kind store_scan_kind = { "store-scan", scan_sm_states, SCAN_NR, scan_invariant, 60000 };

void store_scan_init(struct store_scan *x, struct cluster_store *st)
{
    memset(x, 0, sizeof(*x));
    x->store = st;
}

static void scan_forget(struct store_scan *x)
{
    free(x->key_bytes);
    free(x->payload);
    free(x->record);
    x->key_bytes = x->payload = x->record = NULL;
    x->n = x->record_len = 0;
}

/* What the store did not end, because it ended itself. */
void store_scan_fini(struct store_scan *x)
{
    if (x->sm.kind != NULL && !cairn_sm_is_final(&x->sm)) {
        cairn_sm_move(&x->sm, SCAN_FAILED);
        cairn_sm_fini(&x->sm);
    }
    scan_forget(x);
}

static void scan_end(struct store_scan *x, int rc)
{
    cairn_sm_move_or_fail(&x->sm, SCAN_DONE, SCAN_FAILED, rc);
    cairn_sm_fini(&x->sm);
    x->done(x, rc);
}

/* ---- records ---- */

static void get_start(struct store_scan *x);
static void list_start(struct store_scan *x);

uint64_t store_scan_copy_digest(enum scan_state state, const uint8_t *index, const uint8_t *record, uint32_t len)
{
    uint64_t seed = (uint64_t)state << 32 | len;

    if (state != SCAN_NO_INDEX && state != SCAN_ABSENT)
        seed ^= XXH3_64bits(index, STORE_INDEX_VALUE_BYTES);
    return XXH3_64bits_withSeed(record, len, seed);
}

/* False: there is no memory for its record, and the scan is over; without a @record that cannot be. */
static bool key_is(struct store_scan *x, enum scan_state state, const uint8_t *record, uint32_t len)
{
    struct store_scan_key *k = &x->keys[x->at];

    if (x->one && record != NULL) {
        x->record = malloc(len + 1);
        if (x->record == NULL) {
            scan_end(x, CAIRN_E_NOMEM);
            return false;
        }
        memcpy(x->record, record, len);
        x->record_len = len;
    }
    x->at++;
    k->state = state;
    k->digest = store_scan_copy_digest(state, k->index, record, len);
    x->region = 0;
    x->bytes += k->len + len;
    return true;
}

static void on_region(struct cairn_rpc_call *call);

/* True: it has to be waited for. */
static bool region_start(struct store_scan *x, const struct cairn_record *r)
{
    if (x->extent == NULL || x->region == r->nregions)
        return false;
    cairn__wire__extent_id__init(&x->msg.id);
    x->msg.id.id = cairn_record_region(r, x->region).id;
    cairn_sm_move(&x->sm, SCAN_REGION);
    store_call_to(x->store, x->extent, &x->call, CAIRN__WIRE__EXTENT_METHOD__EXTENT_STAT, &x->msg.id.base, on_region, x,
                  &x->err);
    return true;
}

/* Of a record that is there. False: it has to be waited for, or the scan is over. */
static bool record_look(struct store_scan *x, const uint8_t *record, uint32_t len)
{
    struct cairn_record r;
    int rc = cairn_record_parse(record, len, &r);
    enum scan_state state = x->one && !x->has_index ? SCAN_NO_INDEX : SCAN_SOUND;

    if (rc == CAIRN_E_CORRUPT ||
        (rc == 0 && r.type == CAIRN_RECORD_EMBEDDED && !cairn_record_is_sound(&r, 0, r.length)))
        state = SCAN_DAMAGED; /* of one in a format that is not known only its bytes can be compared */
    if ((rc == 0 && state == SCAN_SOUND && region_start(x, &r)) || !key_is(x, state, record, len))
        return false;
    x->payload_at += len;
    return true;
}

static void records_look(struct store_scan *x)
{
    while (x->at < x->got) {
        int64_t len = x->lengths[x->at];

        if (len < 0) {
            enum scan_state missing = x->one && !x->has_index ? SCAN_ABSENT : SCAN_NO_RECORD;

            (void)key_is(x, len == -1 ? missing : SCAN_UNREADABLE, NULL, 0);
        } else if (!record_look(x, x->payload + x->payload_at, (uint32_t)len)) {
            return;
        }
    }
    if (x->got < x->n)
        get_start(x);
    else
        scan_end(x, 0);
}

static void on_region(struct cairn_rpc_call *call)
{
    struct store_scan *x = call->arg;
    const Cairn__Wire__ExtentStatReply *m = (const Cairn__Wire__ExtentStatReply *)call->reply;
    const uint8_t *record = x->payload + x->payload_at;
    uint32_t len = (uint32_t)x->lengths[x->at];
    enum scan_state state = SCAN_SOUND;
    struct cairn_record r;

    if (!store_call_over(x->store))
        return;
    CAIRN_ASSERT(cairn_record_parse(record, len, &r) == 0);
    if (call->rc == CAIRN_E_NOTFOUND)
        state = SCAN_NO_REGION;
    else if (call->rc == 0 && (m->quarantined || !m->sealed || m->length != cairn_record_region(&r, x->region).len))
        state = SCAN_BAD_REGION;
    if (call->rc != 0 && state == SCAN_SOUND) {
        scan_end(x, call->rc);
        return;
    }
    if (state == SCAN_SOUND) {
        x->region++;
        if (region_start(x, &r))
            return;
    }
    if (!key_is(x, state, record, len))
        return;
    x->payload_at += len;
    records_look(x);
}

/* Its database is not there: it was removed, or it is missing. */
static void no_database(struct store_scan *x)
{
    enum cluster_ns_state state = store_ns_state(x->store, x->ns);
    bool gone = state == CLUSTER_NS_GONE;

    if (state == CLUSTER_NS_ASKED) {
        scan_end(x, CAIRN_E_BUSY);
        return;
    }
    if (gone && !x->one && x->more) { /* behind them there may be others */
        const struct store_scan_key *last = &x->keys[x->n - 1];

        x->from_len = STORE_SLOT_BYTES + last->len;
        memcpy(x->from + STORE_SLOT_BYTES, last->key, last->len);
        x->n = x->at = x->got = 0;
        list_start(x);
        return;
    }
    if (gone && !x->one)
        x->n = x->at;
    for (; x->at < x->n;)
        (void)key_is(x, gone ? SCAN_GONE : x->one && !x->has_index ? SCAN_ABSENT : SCAN_NO_RECORD, NULL, 0);
    scan_end(x, 0);
}

static void on_got(struct cairn_rpc_call *call)
{
    struct store_scan *x = call->arg;
    const Cairn__Wire__KvMgetReply *m = (const Cairn__Wire__KvMgetReply *)call->reply;
    size_t len = 0;

    if (!store_call_over(x->store))
        return;
    if (call->rc == CAIRN_E_NOTFOUND) {
        store_ns_forget(x->store);
        no_database(x);
        return;
    }
    for (size_t i = 0; call->rc == 0 && i < m->n_lengths && x->got + i < x->n; i++) {
        x->lengths[x->got + i] = m->lengths[i];
        len += (size_t)MAX(m->lengths[i], INT64_C(0));
    }
    if (call->rc != 0 || m->n_lengths == 0 || m->n_lengths > x->n - x->got || len > call->reply_payload_len) {
        scan_end(x, call->rc != 0 ? call->rc : CAIRN_E_STATE);
        return;
    }
    free(x->payload);
    x->payload = malloc(len + 1);
    x->payload_at = 0;
    if (x->payload == NULL) {
        scan_end(x, CAIRN_E_NOMEM);
        return;
    }
    if (len > 0)
        memcpy(x->payload, call->reply_payload, len);
    x->got += (uint32_t)m->n_lengths;
    records_look(x);
}

static void get_start(struct store_scan *x)
{
    cairn__wire__kv_mget__init(&x->msg.mget);
    x->msg.mget.db = x->db;
    x->msg.mget.keys = x->user_keys + x->got;
    x->msg.mget.n_keys = x->n - x->got;
    cairn_sm_move(&x->sm, SCAN_GET);
    store_call(x->store, &x->call, CAIRN__WIRE__KV_METHOD__KV_MGET, &x->msg.mget.base, on_got, x, &x->err);
}

static void on_named(struct store_open *o, int rc)
{
    struct store_scan *x = o->arg;
    const struct store_ns *ns = rc == 0 ? store_ns_find(x->store, o->id) : NULL;

    x->db = ns != NULL ? ns->db : 0;
    if (rc != 0 && rc != CAIRN_E_NOTFOUND)
        scan_end(x, rc);
    else if (x->db == 0)
        no_database(x);
    else
        get_start(x);
}

static void name_start(struct store_scan *x)
{
    const struct store_ns *ns = store_ns_find(x->store, x->ns);

    if (ns != NULL && ns->db != 0) {
        x->db = ns->db;
        get_start(x);
        return;
    }
    cairn_sm_move(&x->sm, SCAN_NAME);
    store_open_start(&x->open, x->store, x->ns, STORE_FIND, false, on_named, x);
}

/* ---- keys ---- */

static void key_add(struct store_scan *x, const uint8_t *key, uint32_t len, const uint8_t *index)
{
    struct store_scan_key *k = &x->keys[x->n];

    *k = (struct store_scan_key){ .key = key, .len = len };
    if (index != NULL)
        memcpy(k->index, index, sizeof(k->index));
    x->user_keys[x->n++] =
        (ProtobufCBinaryData){ .len = len - SCAN_NS_BYTES, .data = (uint8_t *)(uintptr_t)key + SCAN_NS_BYTES };
}

static bool is_behind(const struct store_scan *x, const uint8_t *key, uint32_t len)
{
    return x->upto_len > 0 && scan_key_order(key, len, x->upto, x->upto_len) > 0;
}

/* Those of the first namespace on the list. */
static int take_keys(struct store_scan *x, const Cairn__Wire__KvListReply *m, const uint8_t *values)
{
    size_t room = 0;
    uint8_t *at;

    for (size_t i = 0; i < m->n_keys; i++)
        room += m->keys[i].len;
    free(x->key_bytes);
    x->key_bytes = at = malloc(room + 1);
    x->more = m->more;
    if (at == NULL)
        return CAIRN_E_NOMEM;
    for (size_t i = 0; i < m->n_keys; i++) {
        const ProtobufCBinaryData *k = &m->keys[i];
        uint32_t len = (uint32_t)k->len - STORE_SLOT_BYTES;

        if (k->len <= STORE_INDEX_HEAD_BYTES || k->len > CAIRN_KEY_BYTES_MAX || i >= SCAN_KEYS_MAX ||
            m->lengths[i] != STORE_INDEX_VALUE_BYTES)
            return CAIRN_E_CORRUPT;
        if (is_behind(x, k->data + STORE_SLOT_BYTES, len)) {
            x->more = false;
            return 0;
        }
        if (x->n > 0 && (store_get_be32(k->data + STORE_SLOT_BYTES) != x->ns ||
                         (size_t)(at - x->key_bytes) + len > SCAN_PAGE_KEY_BYTES_MAX)) {
            x->more = true;
            return 0;
        }
        x->ns = store_get_be32(k->data + STORE_SLOT_BYTES);
        memcpy(at, k->data + STORE_SLOT_BYTES, len);
        key_add(x, at, len, values + i * STORE_INDEX_VALUE_BYTES);
        at += len;
    }
    if (x->n > 0 && x->keys[x->n - 1].len == x->upto_len && memcmp(x->keys[x->n - 1].key, x->upto, x->upto_len) == 0)
        x->more = false; /* there may be more, but not of what was asked for */
    return 0;
}

static void on_listed(struct cairn_rpc_call *call)
{
    struct store_scan *x = call->arg;
    int rc = call->rc;

    if (!store_call_over(x->store))
        return;
    if (rc == 0)
        rc = take_keys(x, (const Cairn__Wire__KvListReply *)call->reply, call->reply_payload);
    if (rc != 0 || x->n == 0)
        scan_end(x, rc);
    else
        name_start(x);
}

static void list_start(struct store_scan *x)
{
    cairn__wire__kv_list__init(&x->msg.list);
    x->msg.list.db = x->store->index_db;
    x->msg.list.prefix = (ProtobufCBinaryData){ .len = sizeof(x->prefix), .data = x->prefix };
    if (x->from_len > STORE_SLOT_BYTES) {
        x->msg.list.from = (ProtobufCBinaryData){ .len = x->from_len, .data = x->from };
        x->msg.list.after = true;
    }
    x->msg.list.max = SCAN_KEYS_MAX;
    x->msg.list.values = true;
    if (x->sm.state != SCAN_LIST) /* the first is where it begins */
        cairn_sm_move(&x->sm, SCAN_LIST);
    store_call(x->store, &x->call, CAIRN__WIRE__KV_METHOD__KV_LIST, &x->msg.list.base, on_listed, x, &x->err);
}

/* ---- one key ---- */

static void on_row(struct cairn_rpc_call *call)
{
    struct store_scan *x = call->arg;
    const Cairn__Wire__KvMgetReply *m = (const Cairn__Wire__KvMgetReply *)call->reply;

    if (!store_call_over(x->store))
        return;
    if (call->rc != 0 || m->n_lengths != 1 || (m->lengths[0] >= 0 && m->lengths[0] != STORE_INDEX_VALUE_BYTES)) {
        scan_end(x, call->rc != 0 ? call->rc : CAIRN_E_CORRUPT);
        return;
    }
    x->has_index = m->lengths[0] == STORE_INDEX_VALUE_BYTES;
    key_add(x, x->upto, x->upto_len, x->has_index ? call->reply_payload : NULL);
    name_start(x);
}

static void row_start(struct store_scan *x)
{
    x->ns = store_get_be32(x->upto);
    memcpy(x->from + STORE_SLOT_BYTES, x->upto, x->upto_len);
    x->index_key = (ProtobufCBinaryData){ .len = STORE_SLOT_BYTES + x->upto_len, .data = x->from };
    cairn__wire__kv_mget__init(&x->msg.mget);
    x->msg.mget.db = x->store->index_db;
    x->msg.mget.keys = &x->index_key;
    x->msg.mget.n_keys = 1;
    store_call(x->store, &x->call, CAIRN__WIRE__KV_METHOD__KV_MGET, &x->msg.mget.base, on_row, x, &x->err);
}

void store_scan_start(struct store_scan *x)
{
    CAIRN_ASSERT(!x->one || x->upto_len > SCAN_NS_BYTES);
    scan_forget(x);
    x->at = x->got = x->region = 0;
    x->more = x->has_index = false;
    x->bytes = 0;
    cairn_sm_init(&x->sm, &store_scan_kind, &x->store->loop->machines);
    store_be32(x->prefix, x->slot);
    store_be32(x->from, x->slot);
    x->from_len = STORE_SLOT_BYTES + x->after_len;
    memcpy(x->from + STORE_SLOT_BYTES, x->after, x->after_len);
    if (x->one)
        row_start(x);
    else
        list_start(x);
}

uint64_t store_scan_digest(const struct store_scan *x, uint32_t first)
{
    uint64_t d = 0;

    for (uint32_t i = first; i < x->n; i++) {
        d = XXH3_64bits_withSeed(x->keys[i].key, x->keys[i].len, d);
        d = XXH3_64bits_withSeed(&x->keys[i].digest, sizeof(x->keys[i].digest), d);
    }
    return d;
}
