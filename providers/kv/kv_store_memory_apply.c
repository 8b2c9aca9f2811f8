/* Batches over several databases, in memory: every record is made before the locks are taken, all databases are
 * locked, and what has begun is undone if the trees lack memory.
 *
 * Undoing must need none itself. To put a record back where another has its key needs none, nor does taking one out;
 * but to put back what was taken out may. So nothing is taken out before the whole has succeeded: what is erased
 * stays in its tree meanwhile, marked in its length. Nobody else sees that, and the tree sees no marked record's
 * length. */
#include "providers/kv/kv_store_memory.h"

#include <stdlib.h>
#include <string.h>

#define ERASED (UINT32_C(1) << 31)

_Static_assert(CAIRN_KV_VALUE_BYTES_MAX < ERASED, "a length has room for the mark");

/* An entry of the batch. */
struct step {
    struct mem_db *db;
    struct cairn_kv_rec *rec; /* what it puts */
    struct cairn_kv_rec *old; /* what that replaces, or what is erased; in the end, what is to be freed */
    bool old_was_erased;      /* by an earlier entry */
};

struct apply {
    struct cairn_kv_store *st;
    struct cairn_kv_write *w;
    struct step *steps;
    uint64_t slots[CAIRN_KV_DB_MAX / 64]; /* those of its databases */
};

static bool is_erased(const struct cairn_kv_rec *rec)
{
    return (rec->vlen & ERASED) != 0;
}

static int steps_make(struct apply *a)
{
    const uint8_t *value = a->w->values;

    for (uint32_t i = 0; i < a->w->n; i++) {
        const struct cairn_kv_entry *e = &a->w->entries[i];
        struct cairn_kv_key key;

        a->steps[i].db = cairn_kv__mem_db(a->st, &e->db);
        a->slots[e->db.slot / 64] |= UINT64_C(1) << e->db.slot % 64;
        if (e->erase)
            continue;
        cairn_kv_key_make(e->db.order, &a->w->keys[i], &key);
        a->steps[i].rec = cairn_kv__mem_rec_new(a->st, &key, value, e->len);
        if (a->steps[i].rec == NULL)
            return CAIRN_E_NOSPACE;
        if (e->len > 0)
            value += e->len;
    }
    return 0;
}

/* In the order of slots, so that two that lock several never wait for each other. */
static void lock_all(struct apply *a, bool lock)
{
    for (uint32_t i = 0; i < ARRAY_SIZE(a->slots); i++) {
        for (uint64_t left = a->slots[i]; left != 0; left &= left - 1) {
            struct mem_db *db = a->st->dbs[i * 64 + (uint32_t)__builtin_ctzll(left)];

            if (lock)
                cairn_kv__mem_lock(db);
            else
                pthread_rwlock_unlock(&db->lock);
        }
    }
}

/* @there may be NULL. To replace needs no memory, so whatever was erased stays marked or is replaced. */
static int step_put(struct step *s, struct cairn_kv_rec *there)
{
    s->old_was_erased = there != NULL && is_erased(there);
    if (s->old_was_erased)
        there->vlen &= ~ERASED;
    return cairn_kv_tree_put(&s->db->tree, s->rec, &s->old);
}

static int step_do(struct apply *a, uint32_t i)
{
    const struct cairn_kv_entry *e = &a->w->entries[i];
    struct step *s = &a->steps[i];
    struct cairn_kv_rec *there;
    struct cairn_kv_key key;
    bool is_there;

    if (s->db->handle != e->db.handle)
        return CAIRN_KV_GONE;
    cairn_kv_key_make(e->db.order, &a->w->keys[i], &key);
    there = cairn_kv_tree_find(&s->db->tree, key.ptr, key.len);
    is_there = there != NULL && !is_erased(there);
    a->w->status[i] = is_there && cairn_kv_entry_is_conditional(e) ? CAIRN_E_EXISTS : 0;
    if (a->w->status[i] != 0) {
        s->old = s->rec;
        s->rec = NULL;
        return 0;
    }
    if (!e->erase)
        return step_put(s, there);
    if (is_there) {
        s->old = there;
        there->vlen |= ERASED;
    }
    return 0;
}

/* Later ones first; leaves every record that was made to be freed. */
static void step_undo(struct apply *a, uint32_t i)
{
    struct step *s = &a->steps[i];
    struct cairn_kv_rec *mine = s->rec;

    if (a->w->status[i] != 0)
        return;
    if (a->w->entries[i].erase) {
        if (s->old != NULL)
            s->old->vlen &= ~ERASED;
        s->old = NULL;
        return;
    }
    if (s->old == NULL) {
        cairn_kv_tree_take(&s->db->tree, mine->bytes, mine->klen);
    } else {
        struct cairn_kv_rec *back;
        int rc = cairn_kv_tree_put(&s->db->tree, s->old, &back);

        CAIRN_ASSERT(rc == 0 && back == mine);
        if (s->old_was_erased)
            s->old->vlen |= ERASED;
    }
    s->old = NULL;
}

/* Takes out what is still erased; what a later entry has replaced is that one's to free. */
static void step_end(struct apply *a, uint32_t i)
{
    struct step *s = &a->steps[i];

    s->rec = NULL; /* the tree's */
    if (!a->w->entries[i].erase || s->old == NULL)
        return;
    if (cairn_kv_tree_find(&s->db->tree, s->old->bytes, s->old->klen) != s->old) {
        s->old = NULL;
        return;
    }
    s->old->vlen &= ~ERASED;
    cairn_kv_tree_take(&s->db->tree, s->old->bytes, s->old->klen);
}

static int steps_run(struct apply *a)
{
    uint32_t i = 0;
    int rc = 0;

    lock_all(a, true);
    while (i < a->w->n && rc == 0)
        rc = step_do(a, i++);
    if (rc == 0) {
        for (i = 0; i < a->w->n; i++)
            step_end(a, i);
    } else {
        for (i--; i > 0; i--) /* the last one was not done */
            step_undo(a, i - 1);
    }
    lock_all(a, false);
    return rc;
}

int cairn_kv__mem_apply(struct cairn_kv_store *st, struct cairn_kv_write *w)
{
    struct apply a = { .st = st, .w = w, .steps = calloc(MAX(w->n, 1U), sizeof(a.steps[0])) };
    int rc = 0;

    if (a.steps == NULL)
        return CAIRN_E_NOMEM;
    if (w->decided)
        atomic_store_explicit(&st->has_log, true, memory_order_relaxed);
    else if (!w->erase && cairn_kv__mem_refuses(st, w->coming))
        rc = CAIRN_E_NOSPACE;
    if (rc == 0)
        rc = steps_make(&a);
    if (rc == 0)
        rc = steps_run(&a);
    for (uint32_t i = 0; i < w->n; i++) {
        if (a.steps[i].rec != NULL)
            cairn_kv__mem_rec_free(st, a.steps[i].rec);
        if (a.steps[i].old != NULL)
            cairn_kv__mem_rec_free(st, a.steps[i].old);
    }
    free(a.steps);
    if (rc == CAIRN_E_NOSPACE)
        atomic_fetch_add_explicit(&st->refused, 1, memory_order_relaxed);
    return rc;
}
