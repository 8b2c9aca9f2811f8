/* Pieces between callers and regions: see extent_move.h.
 *
 *   OPEN ---> MOVE ---> SETTLE ---> DONE        OPEN, MOVE and SETTLE may also go to FAILED.
 *
 * OPEN    the store is asked for a window; it may have to wait for staging memory, or for the disk.
 * MOVE    the window is ours; bytes are copied, or a transfer with the caller is under way, and checksums are made.
 * SETTLE  the transfer is over, and what it brought is right; the store takes the window back and its bytes to the
 *         medium.
 * DONE    the piece is where it belongs.
 * FAILED  the window is given back and its bytes with it; sm.rc says why.
 */
#include "providers/extent/extent_move.h"

#include "providers/extent/extent_draft.h"
#include "sdk/core/base/crc.h"

#include <string.h>

enum { CHUNK = CAIRN_EXTENT_CHUNK_BYTES };
enum { PIECE_OPEN, PIECE_MOVE, PIECE_SETTLE, PIECE_DONE, PIECE_FAILED, PIECE_NR };

#define TO(state) CAIRN_SM_TO(state)

static const struct cairn_sm_state piece_states[PIECE_NR] = {
    [PIECE_OPEN] = { "OPEN", CAIRN_SM_INITIAL, TO(PIECE_MOVE) | TO(PIECE_FAILED) },
    [PIECE_MOVE] = { "MOVE", 0, TO(PIECE_SETTLE) | TO(PIECE_FAILED) },
    [PIECE_SETTLE] = { "SETTLE", 0, TO(PIECE_DONE) | TO(PIECE_FAILED) },
    [PIECE_DONE] = { "DONE", CAIRN_SM_FINAL, 0 },
    [PIECE_FAILED] = { "FAILED", CAIRN_SM_FINAL | CAIRN_SM_FAILURE, 0 },
};

static bool piece_invariant(const struct cairn_sm *sm)
{
    const struct cairn_extent_piece *p = CONTAINER_OF(sm, const struct cairn_extent_piece, sm);

    return CAIRN_HOLDS(p->window == (sm->state == PIECE_MOVE || sm->state == PIECE_SETTLE)) &&
           CAIRN_HOLDS(!p->moving || sm->state == PIECE_MOVE) && CAIRN_HOLDS(p->step.off <= p->off) &&
           CAIRN_HOLDS(p->step.off + p->step.len >= p->off + p->len) &&
           /* Nothing is stored that is not known to be right. */
           CAIRN_HOLDS(sm->state != PIECE_SETTLE || !p->move->write ||
                       (p->move->in_order ? !p->move->check.bad : cairn_extent_check_is_good(&p->check)));
}

const struct cairn_sm_kind cairn_extent_piece_kind = { "extent-piece", piece_states, PIECE_NR, piece_invariant, 30000 };

/* A piece ends: its machine is over, and the move is told. Synchronous ends are seen by move_pump(). */
static void piece_end(struct cairn_extent_piece *p)
{
    struct cairn_extent_move *m = p->move;

    if (p->sm.rc != 0 && m->rc == 0)
        m->rc = p->sm.rc;
    cairn_sm_fini(&p->sm);
    p->move = NULL;
    m->inflight--;
}

static void piece_fail(struct cairn_extent_piece *p, int rc)
{
    if (p->window) {
        int s = p->move->region->store->ops->settle(&p->step, false);

        CAIRN_ASSERT(s == 0); /* giving up a window never waits */
        p->window = false;
    }
    cairn_sm_fail(&p->sm, PIECE_FAILED, rc);
    piece_end(p);
}

/* ---- SETTLE ---- */

static void move_pump(struct cairn_extent_move *m);

static void piece_settled(struct cairn_extent_piece *p, int rc)
{
    p->window = false;
    cairn_sm_move_or_fail(&p->sm, PIECE_DONE, PIECE_FAILED, rc);
    piece_end(p);
}

static void piece_on_settled(struct cairn_extent_step *step, int rc)
{
    struct cairn_extent_piece *p = step->arg;
    struct cairn_extent_move *m = p->move;

    piece_settled(p, rc);
    move_pump(m);
}

/* The window's chunks get the checksums of what they hold now: those that the writer sent, where they are of whole
 * chunks. */
static void note_crcs(struct cairn_extent_piece *p)
{
    struct cairn_extent_move *m = p->move;
    uint32_t *crcs = &m->region->crcs[p->step.off / CHUNK];

    if (p->whole && !m->in_order)
        memcpy(crcs, &m->want[(p->off - m->off) / CHUNK], cairn_extent_chunks(p->len) * sizeof(crcs[0]));
    else
        cairn_extent_crcs(p->step.ptr, p->step.len, crcs);
}

static void piece_settle(struct cairn_extent_piece *p)
{
    struct cairn_extent_move *m = p->move;
    int rc;

    if (m->write) {
        struct cairn_extent_check *c = m->in_order ? &m->check : &p->check;

        if (c->bad) {
            atomic_fetch_add(&m->region->store->arrived_bad, 1);
            piece_fail(p, CAIRN_E_CORRUPT);
            return;
        }
        note_crcs(p);
    }
    cairn_sm_move(&p->sm, PIECE_SETTLE);
    p->step.done = piece_on_settled;
    rc = m->region->store->ops->settle(&p->step, m->write);
    if (rc != CAIRN_EXTENT_LATER)
        piece_settled(p, rc);
}

/* ---- MOVE ---- */

static void piece_on_bytes(struct cairn_bulk_op *op, uint64_t from, uint64_t to)
{
    struct cairn_extent_piece *p = op->arg;

    cairn_extent_check_feed(p->move->in_order ? &p->move->check : &p->check, op->local + from, to - from);
}

static void piece_on_moved(struct cairn_bulk_op *op, int rc)
{
    struct cairn_extent_piece *p = op->arg;
    struct cairn_extent_move *m = p->move;

    p->moving = false;
    if (rc == 0)
        rc = m->rc; /* another piece failed, or the caller gave up: do not store this one */
    if (rc != 0)
        piece_fail(p, rc);
    else
        piece_settle(p);
    move_pump(m);
}

static void piece_transfer(struct cairn_extent_piece *p)
{
    struct cairn_extent_move *m = p->move;

    p->bulk = (struct cairn_bulk_op){
        .peer = m->rq->peer,
        .desc = *m->desc,
        .push = !m->write,
        .off = m->desc->off + (p->off - m->off),
        .local = p->step.ptr + (p->off - p->step.off),
        .len = p->len,
        .deadline_ns = m->rq->deadline_ns,
        .way = CAIRN_BULK_AUTO,
        .arrived = m->write ? piece_on_bytes : NULL,
        .done = piece_on_moved,
        .arg = p,
    };
    p->moving = true;
    cairn_bulk_start(m->rq->rpc, &p->bulk);
}

/* Checksums of a read: the stored ones of whole chunks, without touching the bytes; an edge is checked as a whole and
 * then summed in part. False: the stored bytes are bad. */
static bool read_crcs(struct cairn_extent_piece *p)
{
    struct cairn_extent_move *m = p->move;
    const struct cairn_extent_region *r = m->region;
    uint32_t *out = m->crcs == NULL ? NULL : &m->crcs[p->off / CHUNK - m->off / CHUNK];

    for (uint64_t at = p->step.off; at < p->step.off + p->step.len; at += CHUNK) {
        uint64_t end = MIN(at + CHUNK, r->length), from = MAX(at, p->off), to = MIN(end, p->off + p->len);
        const uint8_t *bytes = p->step.ptr + (at - p->step.off);
        uint32_t crc = r->crcs[at / CHUNK];
        bool part = from != at || to != end;

        if ((part || m->verify) && cairn_crc32c(0, bytes, end - at) != crc)
            return false;
        if (out != NULL)
            *out++ = part ? cairn_crc32c(0, bytes + (from - at), to - from) : crc;
    }
    return true;
}

static void piece_move(struct cairn_extent_piece *p)
{
    struct cairn_extent_move *m = p->move;
    uint8_t *at = p->step.ptr + (p->off - p->step.off);

    p->window = true;
    cairn_sm_move(&p->sm, PIECE_MOVE);
    if (m->rc != 0) {
        piece_fail(p, m->rc);
        return;
    }
    if (!m->write && !read_crcs(p)) {
        piece_fail(p, CAIRN_E_CORRUPT);
        return;
    }
    if (m->desc != NULL) {
        piece_transfer(p);
        return;
    }
    if (m->write) {
        memcpy(at, m->rq->payload + (p->off - m->off), p->len);
        cairn_extent_check_feed(m->in_order ? &m->check : &p->check, at, p->len);
    } else if (m->out != NULL) {
        memcpy(m->out + (p->off - m->off), at, p->len);
    }
    piece_settle(p);
}

/* ---- OPEN ---- */

static void piece_on_window(struct cairn_extent_step *step, int rc)
{
    struct cairn_extent_piece *p = step->arg;
    struct cairn_extent_move *m = p->move;

    if (rc != 0)
        piece_fail(p, rc);
    else
        piece_move(p);
    move_pump(m);
}

static enum cairn_extent_mode piece_mode(const struct cairn_extent_piece *p)
{
    const struct cairn_extent_move *m = p->move;

    if (!m->write)
        return CAIRN_EXTENT_READ;
    if (p->whole)
        return CAIRN_EXTENT_FILL;
    if (m->chunks == NULL || (m->chunks[p->off / CHUNK] & CAIRN_EXTENT_CHUNK_HERE) == 0)
        return CAIRN_EXTENT_ZERO;
    return CAIRN_EXTENT_UPDATE;
}

/* The next piece begins at m->next. Edges of a write are pieces of their own, of one chunk, since what else is in that
 * chunk must be there first. */
static uint64_t piece_len(const struct cairn_extent_move *m)
{
    uint64_t max = m->region->store->ops->window_max, left = m->end - m->next, odd = m->next % CHUNK;
    uint64_t end, last;

    if (m->verify || m->in_order)
        max = MIN(max, (uint64_t)CAIRN_EXTENT_CHECKED_BYTES);
    end = m->next - odd + MIN(max, odd + left);
    if (!m->write || end == m->region->length)
        last = end;
    else
        last = end - end % CHUNK; /* the last whole chunk ends here */
    if (m->write && (odd != 0 || last <= m->next))
        return MIN(left, CHUNK - odd);
    return last - m->next;
}

static void piece_start(struct cairn_extent_piece *p, struct cairn_extent_move *m)
{
    uint64_t off = m->next, len = piece_len(m), woff = off, wlen = len;
    int rc;

    cairn_extent_widen(m->region->length, &woff, &wlen);
    p->move = m;
    p->off = off;
    p->len = len;
    p->whole = woff == off && wlen == len;
    p->window = p->moving = false;
    p->step.worker = m->worker;
    p->step.region = m->region;
    p->step.off = woff;
    p->step.len = wlen;
    p->step.mode = piece_mode(p);
    p->step.done = piece_on_window;
    p->step.arg = p;
    if (m->write && !m->in_order)
        cairn_extent_check_init(&p->check, &m->want[(off - m->off) / CHUNK], len);
    cairn_sm_init(&p->sm, &cairn_extent_piece_kind, &m->worker->loop->machines);
    p->sm.parent = m->parent;
    m->next += len;
    m->inflight++;
    m->turn_bytes += len;
    rc = m->region->store->ops->window(&p->step);
    if (rc == 0)
        piece_move(p);
    else if (rc < 0)
        piece_fail(p, rc);
}

static struct cairn_extent_piece *piece_free(struct cairn_extent_move *m)
{
    for (uint32_t i = 0; i < m->npieces; i++) {
        if (m->pieces[i].move == NULL)
            return &m->pieces[i];
    }
    return NULL;
}

/* ---- the whole ---- */

/* Starts pieces while there are some to start; true if all is over. */
static bool move_run(struct cairn_extent_move *m)
{
    struct cairn_extent_piece *p;

    m->pumping = true;
    while (m->rc == 0 && m->next < m->end && m->turn_bytes < CAIRN_EXTENT_TURN_BYTES && (p = piece_free(m)) != NULL)
        piece_start(p, m);
    m->pumping = false;
    if (m->inflight > 0)
        return false;
    if (m->rc == 0 && m->next < m->end) { /* all went without a wait: let others have their turn */
        cairn_env_defer(&m->worker->loop->env, &m->again);
        return false;
    }
    return true;
}

/* A piece ended by itself. */
static void move_pump(struct cairn_extent_move *m)
{
    if (m->pumping)
        return; /* the loop in move_run() sees it */
    m->turn_bytes = 0;
    if (move_run(m))
        m->done(m, m->rc);
}

static void move_on_again(void *arg)
{
    move_pump(arg);
}

int cairn_extent_move_start(struct cairn_extent_move *m)
{
    CAIRN_ASSERT(m->len > 0 && m->off + m->len <= m->region->length);
    m->next = m->off;
    m->end = m->off + m->len;
    m->in_order = m->write && m->off % CHUNK != 0;
    m->npieces = m->in_order ? 1 : CAIRN_EXTENT_PIECES_MAX;
    m->inflight = 0;
    m->turn_bytes = 0;
    m->rc = 0;
    for (uint32_t i = 0; i < m->npieces; i++)
        m->pieces[i].move = NULL;
    cairn_extent_check_init(&m->check, m->want, m->len);
    cairn_task_init(&m->again, move_on_again, m);
    return move_run(m) ? m->rc : CAIRN_EXTENT_LATER;
}

void cairn_extent_move_cancel(struct cairn_extent_move *m)
{
    if (m->rc == 0)
        m->rc = CAIRN_E_CANCELED;
    for (uint32_t i = 0; i < m->npieces; i++) {
        if (m->pieces[i].move != NULL && m->pieces[i].moving)
            cairn_bulk_cancel(&m->pieces[i].bulk);
    }
}
