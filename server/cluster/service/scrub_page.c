/* One page of a slot: what the other members of the in-sync set have of it, and the keys that have to be looked at. See
 * scrub.h. */
#include "server/cluster/service/scrub_internal.h"

#include "sdk/core/base/log.h"

#include <inttypes.h>
#include <stdlib.h>
#include <time.h>

enum {
    SCRUB_SLOT_BYTES = 4096, /* what a slot costs that has nothing */
    SCRUB_LOG_KEY_BYTES = 64,
};

/* ---- keys ---- */

static void peer_next(struct side_scrub *s);
static void ask_start(struct side_scrub *s);

static bool candidate_add(struct side_scrub *s, const uint8_t *key, uint32_t len)
{
    CAIRN_ASSERT(s->ncandidates < ARRAY_SIZE(s->candidates));
    if (s->nbytes + len > s->bytes_room) {
        size_t room = (s->nbytes + len) * 2;
        uint8_t *more = realloc(s->bytes, room);

        if (more == NULL)
            return false;
        s->bytes = more;
        s->bytes_room = room;
    }
    s->candidates[s->ncandidates++] = (struct scrub_candidate){ .off = (uint32_t)s->nbytes, .len = len };
    memcpy(s->bytes + s->nbytes, key, len);
    s->nbytes += len;
    return true;
}

static void finding_log(struct side_scrub *s, const struct scrub_finding *f)
{
    char key[SCRUB_LOG_KEY_BYTES + 1];
    uint32_t n = MIN(f->key_len, (uint32_t)SCRUB_LOG_KEY_BYTES);

    for (uint32_t i = 0; i < n; i++)
        key[i] = f->key[i] >= ' ' && f->key[i] < 0x7f ? (char)f->key[i] : '?';
    key[n] = '\0';
    if (f->outcome == SCRUB_REPAIRED)
        cairn_log_warn("slot %u, namespace %u, key '%s', at nodes %016" PRIx64 " and %016" PRIx64 ": %s", s->slot,
                       f->ns, key, f->here, f->there, scrub_outcome_text(f->outcome));
    else
        cairn_log_error("slot %u, namespace %u, key '%s', at nodes %016" PRIx64 " and %016" PRIx64 ": %s", s->slot,
                        f->ns, key, f->here, f->there, scrub_outcome_text(f->outcome));
}

static struct scrub_finding finding_of(struct side_scrub *s, const struct scrub_key *k, enum scrub_outcome outcome)
{
    struct scrub_finding f = { .outcome = outcome,
                               .slot = s->slot,
                               .ns = store_get_be32(k->key),
                               .key_len = k->len - SCAN_NS_BYTES,
                               .here = s->w->c->node,
                               .there = k->peer.node,
                               .state_here = k->state_here,
                               .state_there = k->state_there,
                               .round = s->round,
                               .at_s = (uint64_t)time(NULL) };

    memcpy(f.key, k->key + SCAN_NS_BYTES, MIN(f.key_len, (uint32_t)SCRUB_FINDING_KEY_BYTES_MAX));
    return f;
}

/* What was found of it before may be so still. */
static void key_kept(struct side_scrub *s, const struct scrub_key *k)
{
    struct scrub_finding f = finding_of(s, k, SCRUB_IN_USE);

    scrub_report_keep(scrub_report_of(s), &f);
}

static void key_found(struct side_scrub *s, const struct scrub_key *k, enum scrub_outcome outcome)
{
    struct scrub_finding f = finding_of(s, k, outcome);

    if (outcome == SCRUB_REPAIRED)
        atomic_fetch_add(&scrub_report_of(s)->repaired, 1);
    scrub_report_add(scrub_report_of(s), &f);
    finding_log(s, &f);
}

static void key_start(struct side_scrub *s)
{
    const struct scrub_candidate *x = &s->candidates[s->candidate];

    s->key.slot = s->slot;
    s->key.epoch = s->rec.epoch;
    s->key.peer = s->rec.insync[s->peer];
    s->key.len = x->len;
    memcpy(s->key.key, s->bytes + x->off, x->len);
    cairn_sm_move(&s->sm, SCRUB_KEY);
    scrub_key_start(&s->key);
}

/* Behind the last of them: the rest of the page, or the next member. */
static void keys_next(struct side_scrub *s)
{
    if (s->candidate < s->ncandidates) {
        key_start(s);
        return;
    }
    if (s->cut) {
        ask_start(s);
        return;
    }
    s->peer++;
    peer_next(s);
}

void scrub_on_key(struct scrub_key *k, enum scrub_outcome outcome)
{
    struct side_scrub *s = k->arg;

    if (s->w->stopping)
        return;
    if (outcome == SCRUB_CANNOT) { /* the slot has moved on, or the other node is away */
        scrub_page_failed(s, CAIRN_E_BUSY);
        return;
    }
    if (outcome == SCRUB_IN_USE) {
        atomic_fetch_add(&scrub_report_of(s)->in_use, 1);
        key_kept(s, k);
    } else if (outcome != SCRUB_SAME) {
        key_found(s, k, outcome);
    }
    s->candidate++;
    keys_next(s);
}

/* ---- pages ---- */

/* What only one of the two has, what they have in two ways, and what is bad. */
static bool page_merge(struct side_scrub *s, const Cairn__Wire__ClusterCompared *m)
{
    uint32_t i = s->first;
    size_t j = 0;

    while (i < s->page.n || j < m->n_keys) {
        const struct store_scan_key *own = i < s->page.n ? &s->page.keys[i] : NULL;
        int c = own == NULL     ? 1
                : j < m->n_keys ? scan_key_order(own->key, own->len, m->keys[j].data, m->keys[j].len)
                                : -1;
        bool good = true;

        if (c < 0 && j == m->n_keys && s->cut) /* the other has not said yet */
            break;
        if (c == 0)
            good = own->digest == m->digests[j] && !scan_is_bad(own->state) && !scan_is_bad(m->states[j]);
        else if (c < 0)
            good = m->same && !scan_is_bad(own->state);
        else
            good = false;
        if (!good && !(c > 0 ? candidate_add(s, m->keys[j].data, (uint32_t)m->keys[j].len)
                             : candidate_add(s, own->key, own->len)))
            return false;
        i += c <= 0;
        j += c >= 0;
    }
    s->first = i;
    return true;
}

static void on_answer(struct cairn_rpc_call *call)
{
    struct side_scrub *s = call->arg;
    const Cairn__Wire__ClusterCompared *m = (const Cairn__Wire__ClusterCompared *)call->reply;
    int rc = call->rc;

    if (!scrub_asked(s->w))
        return;
    if (rc == 0 && !scrub_answer_is_good(&s->ask, m, call->reply_payload, call->reply_payload_len))
        rc = CAIRN_E_PROTO;
    if (rc != 0) {
        scrub_page_failed(s, rc);
        return;
    }
    s->ncandidates = s->candidate = 0;
    s->nbytes = 0;
    s->cut = m->more;
    if (m->more) {
        s->upto_len = (uint32_t)m->keys[m->n_keys - 1].len;
        memcpy(s->upto, m->keys[m->n_keys - 1].data, s->upto_len);
    }
    if (page_merge(s, m))
        keys_next(s);
    else
        scrub_page_failed(s, CAIRN_E_NOMEM);
}

/* What the other has of the page, behind what is compared already. */
static void ask_start(struct side_scrub *s)
{
    const struct store_scan_key *last = s->page.n > 0 ? &s->page.keys[s->page.n - 1] : NULL;
    int rc;

    if (!scrub_may_look(s, s->slot)) {
        scrub_page_failed(s, CAIRN_E_MOVED);
        return;
    }
    cairn__wire__cluster_compare__init(&s->ask);
    s->ask.slot = s->slot;
    s->ask.epoch = s->rec.epoch;
    s->ask.applied = cluster_slots_replica(s->w->slots, s->slot)->applied;
    s->ask.after = s->cut ? (ProtobufCBinaryData){ .len = s->upto_len, .data = s->upto }
                          : (ProtobufCBinaryData){ .len = s->page.after_len, .data = s->page.after };
    if (s->page.more)
        s->ask.upto = (ProtobufCBinaryData){ .len = last->len, .data = (uint8_t *)(uintptr_t)last->key };
    s->ask.digest = store_scan_digest(&s->page, s->first);
    memset(&s->call, 0, offsetof(struct cairn_rpc_call, arena));
    s->call.msg = &s->ask.base;
    s->call.timeout_ns = SCRUB_CALL_MS * CAIRN_NS_PER_MS;
    s->call.done = on_answer;
    s->call.arg = s;
    s->call.err = &s->err;
    cairn_sm_move(&s->sm, SCRUB_ASK);
    rc = scrub_ask(s->w, &s->call, s->rec.insync[s->peer].node, CAIRN__WIRE__CLUSTER_METHOD__CLUSTER_COMPARE);
    if (rc != 0)
        scrub_page_failed(s, rc);
}

static void page_done(struct side_scrub *s)
{
    struct scrub_report *r = scrub_report_of(s);

    atomic_fetch_add(&r->keys, s->page.n);
    atomic_fetch_add(&r->bytes, s->page.bytes);
    s->tries = 0;
    if (!s->page.more) {
        scrub_slot_done(s);
        scrub_report_slot(r, s->slot, s->round);
    } else {
        const struct store_scan_key *last = &s->page.keys[s->page.n - 1];

        s->page.after_len = last->len;
        memcpy(s->page.after, last->key, last->len);
    }
    scrub_pause(s, s->page.bytes + SCRUB_SLOT_BYTES, 0);
}

/* Whoever is in the in-sync set beside us. */
static void peer_next(struct side_scrub *s)
{
    while (s->peer < s->rec.ninsync && s->rec.insync[s->peer].node == s->w->c->node)
        s->peer++;
    s->first = 0;
    s->cut = false;
    if (s->peer < s->rec.ninsync)
        ask_start(s);
    else
        page_done(s);
}

void scrub_on_page(struct store_scan *x, int rc)
{
    struct side_scrub *s = x->arg;

    if (s->w->stopping) /* the store ends a little later */
        return;
    if (rc != 0) {
        scrub_page_failed(s, rc);
        return;
    }
    s->peer = 0;
    peer_next(s);
}
