/* One key that two pages differ in: whether its copies do, and what is done about it. See scrub.h.
 *
 *  OWN ---> PEER ---> AGAIN ---> FETCH ---> WRITE ---> OWN
 *
 *  AGAIN may also go to WRITE; FETCH to OWN. OWN, PEER, AGAIN, FETCH and WRITE may also go to PAUSE and DONE; PAUSE to
 *  OWN and DONE.
 *
 *  OWN     it is being read here.
 *  PEER    it is being read there, where all that was committed here before is applied.
 *  AGAIN   and here again, where all that was committed there is applied: it must not have changed.
 *  FETCH   the bad one's node fetches the regions that the good one names: they are what is bad; or this node is about
 *          to write the other's record, and does not name what it has not (I11), nor what may be swept (I12).
 *  WRITE   the good copy is on its way into the log; the regions that it names are here, pinned or named already.
 *  PAUSE   it was in use, or could not be read now.
 *  DONE    the outcome was told. */
#include "server/cluster/service/scrub.h"

#include <stdlib.h>

enum { KEY_OWN, KEY_PEER, KEY_AGAIN, KEY_FETCH, KEY_WRITE, KEY_PAUSE, KEY_DONE, KEY_NR };
enum { KEY_TRIES = 20, KEY_PAUSE_MS = 100, KEY_FETCH_MS = 60000 };

#define TO CAIRN_SM_TO
static const struct cairn_sm_state key_states[KEY_NR] = {
    [KEY_OWN] = { "OWN", CAIRN_SM_INITIAL, TO(KEY_PEER) | TO(KEY_PAUSE) | TO(KEY_DONE) },
    [KEY_PEER] = { "PEER", 0, TO(KEY_AGAIN) | TO(KEY_PAUSE) | TO(KEY_DONE) },
    [KEY_AGAIN] = { "AGAIN", 0, TO(KEY_FETCH) | TO(KEY_WRITE) | TO(KEY_PAUSE) | TO(KEY_DONE) },
    [KEY_FETCH] = { "FETCH", 0, TO(KEY_WRITE) | TO(KEY_OWN) | TO(KEY_PAUSE) | TO(KEY_DONE) },
    [KEY_WRITE] = { "WRITE", 0, TO(KEY_OWN) | TO(KEY_PAUSE) | TO(KEY_DONE) },
    [KEY_PAUSE] = { "PAUSE", 0, TO(KEY_OWN) | TO(KEY_DONE) },
    [KEY_DONE] = { "DONE", CAIRN_SM_FINAL, 0 },
};

/* A repair is of a difference that was seen, between a copy that is good and one that is bad; and what another's record
 * names is here before it is written. */
static bool key_invariant(const struct cairn_sm *sm)
{
    const struct scrub_key *k = CONTAINER_OF(sm, const struct scrub_key, sm);

    bool repairs = sm->state == KEY_FETCH || sm->state == KEY_WRITE;

    return CAIRN_HOLDS(k->tries <= KEY_TRIES) &&
           CAIRN_HOLDS(sm->state != KEY_WRITE || !k->brings_regions || k->brought_regions) &&
           CAIRN_HOLDS(!repairs || ((k->first == SCAN_SOUND) != (k->there.state == SCAN_SOUND) &&
                                    (scan_is_bad(k->first) || scan_is_bad(k->there.state))));
}

const struct cairn_sm_kind scrub_key_kind = { "scrub-key", key_states, KEY_NR, key_invariant, 0 };

static void key_end(struct scrub_key *k, enum scrub_outcome outcome)
{
    cairn_sm_move(&k->sm, KEY_DONE);
    cairn_sm_fini(&k->sm);
    k->done(k, outcome);
}

/* In use, or not to be had: once more, or @outcome. */
static void key_pause(struct scrub_key *k, enum scrub_outcome outcome)
{
    struct cairn_env *env = &k->w->loop->env;

    if (k->tries == KEY_TRIES ||
        cairn_timer_start(env, &k->timer, cairn_env_now_ns(env) + KEY_PAUSE_MS * CAIRN_NS_PER_MS) != 0) {
        key_end(k, outcome);
        return;
    }
    k->tries++;
    cairn_sm_move(&k->sm, KEY_PAUSE);
}

/* The slot's replica, while it leads in the epoch in which all this began. */
static struct cairn_replica *key_replica(const struct scrub_key *k)
{
    struct cairn_replica *r = cluster_slots_replica(k->w->slots, k->slot);

    return r != NULL && r->sm.state == REPLICA_ACTIVE && r->rec.epoch == k->epoch ? r : NULL;
}

static uint32_t key_ns(const struct scrub_key *k)
{
    return store_get_be32(k->key);
}

static int key_ask(struct scrub_key *k, uint64_t node, uint32_t method, const ProtobufCMessage *msg, uint64_t ms,
                   void (*done)(struct cairn_rpc_call *call))
{
    memset(&k->call, 0, offsetof(struct cairn_rpc_call, arena));
    k->call.msg = msg;
    k->call.timeout_ns = ms * CAIRN_NS_PER_MS;
    k->call.done = done;
    k->call.arg = k;
    k->call.err = &k->err;
    return scrub_ask(k->w, &k->call, node, method);
}

/* ---- repair ---- */

static void own_start(struct scrub_key *k);
static void good_write(struct scrub_key *k);

static void on_fetched(struct cairn_rpc_call *call)
{
    struct scrub_key *k = call->arg;
    bool goes_on = scrub_asked(k->w);

    free(k->ids);
    free(k->lengths);
    k->ids = NULL;
    k->lengths = NULL;
    if (!goes_on)
        return;
    if (call->rc != 0) {
        key_pause(k, SCRUB_NOT_REPAIRED);
        return;
    }
    if (k->brings_regions) {
        k->brought_regions = true;
        good_write(k);
        return;
    }
    k->repaired = true;
    cairn_sm_move(&k->sm, KEY_OWN);
    own_start(k);
}

/* @bad's node asks @good's for the regions, of which it may have some. */
static int fetch_start(struct scrub_key *k, const struct cairn_record *r, uint64_t good, uint64_t bad)
{
    k->ids = malloc(r->nregions * sizeof(*k->ids) + 1);
    k->lengths = malloc(r->nregions * sizeof(*k->lengths) + 1);
    if (k->ids == NULL || k->lengths == NULL) {
        free(k->ids);
        free(k->lengths);
        k->ids = NULL;
        k->lengths = NULL;
        return CAIRN_E_NOMEM;
    }
    for (uint32_t i = 0; i < r->nregions; i++) {
        k->ids[i] = cairn_record_region(r, i).id;
        k->lengths[i] = cairn_record_region(r, i).len;
    }
    cairn__wire__cluster_regions__init(&k->fetch);
    k->fetch.slot = k->slot;
    k->fetch.node = good;
    k->fetch.owner = CAIRN_REGION_OWNER_TAG | key_ns(k);
    k->fetch.ids = k->ids;
    k->fetch.lengths = k->lengths;
    k->fetch.n_ids = k->fetch.n_lengths = r->nregions;
    k->fetch.look = true;
    return key_ask(k, bad, CAIRN__WIRE__CLUSTER_METHOD__CLUSTER_REGIONS, &k->fetch.base, KEY_FETCH_MS, on_fetched);
}

/* Whether an entry behind @since may have to do with the key. */
static bool key_is_in_log(const struct scrub_key *k, uint64_t since)
{
    struct cairn_slot_disk *disk = k->w->c->side->disk;
    struct store_body b;

    if (since < cairn_slot_disk_base(disk, k->slot).pos)
        return true;
    for (uint64_t pos = since + 1; pos <= cairn_slot_disk_end(disk, k->slot); pos++) {
        const struct cairn_log_entry *e = cairn_slot_disk_get(disk, k->slot, pos);

        if (e->kind == CAIRN_ENTRY_WRITE && store_body_get(e->body, e->body_len, &b) == 0 && b.ns == key_ns(k) &&
            b.key_len == k->len - SCAN_NS_BYTES && memcmp(b.key, k->key + SCAN_NS_BYTES, b.key_len) == 0)
            return true;
    }
    return false;
}

/* A difference, unless the key was written since it was first read: then it may have been another when it was read
 * there, and is the same again. */
static void key_tell(struct scrub_key *k, enum scrub_outcome outcome)
{
    if (key_is_in_log(k, k->first_before))
        key_pause(k, SCRUB_IN_USE);
    else
        key_end(k, outcome);
}

static void write_over(struct scrub_key *k)
{
    cairn_timer_stop(&k->w->loop->env, &k->timer);
    free(k->body);
    k->body = NULL;
}

static void on_written(struct cairn_repl_write *write, int rc)
{
    struct scrub_key *k = write->arg;

    write_over(k);
    if (rc != 0) {
        key_pause(k, rc == CAIRN_E_MOVED ? SCRUB_CANNOT : SCRUB_NOT_REPAIRED);
        return;
    }
    k->repaired = true;
    cairn_sm_move(&k->sm, KEY_OWN);
    own_start(k);
}

/* @since: nothing newer of the key was seen when the record was read. */
static int write_start(struct scrub_key *k, const uint8_t *index, const uint8_t *record, uint32_t len, uint64_t since)
{
    struct cairn_env *env = &k->w->loop->env;
    struct store_body b = { .op = STORE_REPAIR,
                            .flags = index[0] & STORE_BODY_WRITE_ONCE,
                            .ns = key_ns(k),
                            .key = k->key + SCAN_NS_BYTES,
                            .key_len = k->len - SCAN_NS_BYTES,
                            .record = record,
                            .record_len = len };
    int rc;

    if (key_is_in_log(k, since))
        return CAIRN_E_BUSY;
    k->body = malloc(store_body_bytes(&b));
    if (k->body == NULL)
        return CAIRN_E_NOMEM;
    store_body_put(&b, k->body);
    k->write = (struct cairn_repl_write){ .kind = CAIRN_ENTRY_WRITE,
                                          .rid = { .seq = cairn_le_load64(index + 1) },
                                          .sync = true,
                                          .body = k->body,
                                          .body_len = store_body_bytes(&b),
                                          .done = on_written,
                                          .arg = k };
    rc = cairn_timer_start(env, &k->timer, cairn_env_now_ns(env) + SCRUB_CALL_MS * CAIRN_NS_PER_MS);
    if (rc == 0)
        rc = cluster_slots_write(k->w->slots, k->slot, &k->write);
    if (rc != 0)
        write_over(k);
    return rc;
}

static void repair_began(struct scrub_key *k, int rc)
{
    if (rc != 0)
        key_pause(k, rc == CAIRN_E_BUSY ? SCRUB_IN_USE : rc == CAIRN_E_MOVED ? SCRUB_CANNOT : SCRUB_NOT_REPAIRED);
}

static void good_write(struct scrub_key *k)
{
    const struct store_scan_key *here = &k->scan.keys[0];

    if (key_replica(k) == NULL) {
        key_end(k, SCRUB_CANNOT);
        return;
    }
    cairn_sm_move(&k->sm, KEY_WRITE);
    if (here->state == SCAN_SOUND)
        repair_began(k, write_start(k, here->index, k->scan.record, k->scan.record_len, k->before));
    else
        repair_began(k, write_start(k, k->there.index, k->there.record, k->there.len, k->there.applied));
}

static void repair(struct scrub_key *k)
{
    bool from_here = k->scan.keys[0].state == SCAN_SOUND;
    enum scan_state bad = from_here ? k->there.state : k->scan.keys[0].state;
    bool bad_regions = bad == SCAN_NO_REGION || bad == SCAN_BAD_REGION;
    const uint8_t *record = from_here ? k->scan.record : k->there.record;
    uint64_t self = k->w->c->node, peer = k->peer.node;
    struct cairn_record r;

    if (!scrub_record_is_good(record, from_here ? k->scan.record_len : k->there.len, &r)) {
        key_tell(k, SCRUB_NOT_REPAIRED);
        return;
    }
    k->brings_regions = !from_here && !bad_regions && r.nregions > 0;
    k->brought_regions = false;
    if (!bad_regions && !k->brings_regions) {
        good_write(k);
        return;
    }
    cairn_sm_move(&k->sm, KEY_FETCH);
    repair_began(k, fetch_start(k, &r, from_here ? self : peer, from_here ? peer : self));
}

/* ---- what is to be made of it ---- */

static enum scrub_outcome verdict(struct scrub_key *k, bool *repairs)
{
    const struct store_scan_key *here = &k->scan.keys[0];
    bool bad_here = scan_is_bad(here->state), bad_there = scan_is_bad(k->there.state);

    *repairs = false;
    if (here->digest == k->there.digest && here->state == k->there.state && !bad_here)
        return k->repaired ? SCRUB_REPAIRED : SCRUB_SAME;
    if (k->repaired)
        return SCRUB_NOT_REPAIRED;
    k->state_here = here->state;
    k->state_there = k->there.state;
    if (!bad_here && !bad_there)
        return SCRUB_DIFFERENT;
    *repairs = here->state == SCAN_SOUND || k->there.state == SCAN_SOUND;
    return SCRUB_NONE_GOOD;
}

static void decide(struct scrub_key *k)
{
    bool repairs;
    enum scrub_outcome outcome = verdict(k, &repairs);

    if (repairs)
        repair(k);
    else if (outcome == SCRUB_SAME || outcome == SCRUB_REPAIRED)
        key_end(k, outcome);
    else
        key_tell(k, outcome);
}

/* ---- reading ---- */

static int peer_take(struct scrub_key *k, const struct cairn_rpc_call *call)
{
    const Cairn__Wire__ClusterCompared *m = (const Cairn__Wire__ClusterCompared *)call->reply;
    uint8_t *record;

    if (!scrub_answer_is_good(&k->ask, m, call->reply_payload, call->reply_payload_len))
        return CAIRN_E_PROTO;
    record = malloc(call->reply_payload_len + 1);
    if (record == NULL)
        return CAIRN_E_NOMEM;
    if (call->reply_payload_len > 0)
        memcpy(record, call->reply_payload, call->reply_payload_len);
    free(k->there.record);
    k->there.record = record;
    k->there.len = call->reply_payload_len;
    k->there.state = m->states[0];
    k->there.digest = m->digests[0];
    k->there.applied = m->applied;
    k->there.commit = m->commit;
    memset(k->there.index, 0, sizeof(k->there.index));
    if (m->index.len > 0)
        memcpy(k->there.index, m->index.data, sizeof(k->there.index));
    return 0;
}

static void scan_start(struct scrub_key *k)
{
    k->before = key_replica(k)->applied;
    store_scan_start(&k->scan);
}

static void on_peer(struct cairn_rpc_call *call)
{
    struct scrub_key *k = call->arg;
    struct cairn_replica *r;
    int rc = call->rc;

    if (!scrub_asked(k->w))
        return;
    r = key_replica(k);
    if (rc == 0)
        rc = peer_take(k, call);
    if (r == NULL || rc == CAIRN_E_MOVED) {
        key_end(k, SCRUB_CANNOT);
    } else if (rc != 0) {
        key_pause(k, SCRUB_CANNOT);
    } else if (k->there.state == SCAN_GONE) {
        key_end(k, SCRUB_SAME);
    } else if (r->applied < k->there.commit) {
        key_pause(k, SCRUB_IN_USE);
    } else {
        cairn_sm_move(&k->sm, KEY_AGAIN);
        scan_start(k);
    }
}

static void peer_start(struct scrub_key *k, const struct cairn_replica *r)
{
    int rc;

    cairn__wire__cluster_compare__init(&k->ask);
    k->ask.slot = k->slot;
    k->ask.epoch = k->epoch;
    k->ask.applied = r->commit;
    k->ask.upto = (ProtobufCBinaryData){ .len = k->len, .data = k->key };
    k->ask.one = true;
    cairn_sm_move(&k->sm, KEY_PEER);
    rc = key_ask(k, k->peer.node, CAIRN__WIRE__CLUSTER_METHOD__CLUSTER_COMPARE, &k->ask.base, SCRUB_CALL_MS, on_peer);
    if (rc != 0)
        key_pause(k, SCRUB_CANNOT);
}

static void on_read(struct store_scan *x, int rc)
{
    struct scrub_key *k = x->arg;
    const struct store_scan_key *here = &x->keys[0];
    const struct cairn_replica *r;

    if (k->w->stopping) /* the store ends a little later */
        return;
    r = key_replica(k);
    if (r == NULL) {
        key_end(k, SCRUB_CANNOT);
    } else if (rc != 0) {
        key_pause(k, SCRUB_CANNOT);
    } else if (here->state == SCAN_GONE) {
        key_end(k, SCRUB_SAME);
    } else if (k->sm.state == KEY_OWN) {
        k->first_before = k->before;
        k->digest = here->digest;
        k->first = here->state;
        peer_start(k, r);
    } else if (here->digest != k->digest || here->state != k->first) {
        key_pause(k, SCRUB_IN_USE);
    } else {
        decide(k);
    }
}

/* In OWN. */
static void own_start(struct scrub_key *k)
{
    if (key_replica(k) == NULL)
        key_end(k, SCRUB_CANNOT);
    else
        scan_start(k);
}

static void on_timer(void *arg)
{
    struct scrub_key *k = arg;

    if (k->sm.state == KEY_WRITE) { /* it may still be done, and does no harm then */
        cairn_replica_write_forget(&k->write);
        write_over(k);
        key_pause(k, SCRUB_NOT_REPAIRED);
        return;
    }
    cairn_sm_move(&k->sm, KEY_OWN);
    own_start(k);
}

/* ---- life ---- */

void scrub_key_init(struct scrub_key *k, struct side_worker *w)
{
    memset(k, 0, sizeof(*k));
    k->w = w;
    store_scan_init(&k->scan, cluster_slots_store(w->slots));
    k->scan.extent = w->extent;
    k->scan.one = true;
    k->scan.done = on_read;
    k->scan.arg = k;
    cairn_timer_init(&k->timer, on_timer, k);
}

void scrub_key_start(struct scrub_key *k)
{
    k->tries = 0;
    k->repaired = false;
    k->state_here = k->state_there = 0;
    k->scan.slot = k->slot;
    k->scan.upto_len = k->len;
    memcpy(k->scan.upto, k->key, k->len);
    cairn_sm_init(&k->sm, &scrub_key_kind, &k->w->loop->machines);
    own_start(k);
}

void scrub_key_stop(struct scrub_key *k)
{
    cairn_timer_stop(&k->w->loop->env, &k->timer);
    if (k->body == NULL)
        return;
    cairn_replica_write_forget(&k->write);
    write_over(k);
}

void scrub_key_fini(struct scrub_key *k)
{
    if (k->sm.kind != NULL && !cairn_sm_is_final(&k->sm)) {
        if (k->sm.state != KEY_PAUSE)
            cairn_sm_move(&k->sm, KEY_PAUSE);
        cairn_sm_move(&k->sm, KEY_DONE);
        cairn_sm_fini(&k->sm);
    }
    store_scan_fini(&k->scan);
    free(k->there.record);
    free(k->ids);
    free(k->lengths);
}
