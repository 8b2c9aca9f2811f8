/* The index of the file store, and the groups in which regions become durable: see extent_file.h. */
#include "providers/extent/extent_file.h"

#include "sdk/core/base/log.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Records of the index; little-endian, a disk format. */
enum { RECORD_REGION = 1, RECORD_REMOVED = 2, RECORD_QUARANTINED = 3 };

struct region_record {
    uint64_t id, length, owner, at, room;
    uint32_t quarantined, nchunks;
    /* crcs follow */
};
struct id_record {
    uint64_t id;
};
_Static_assert(sizeof(struct region_record) == 48, "the index is a disk format");

enum {
    REWRITE_BYTES_MIN = 1 << 20, /* a smaller log is never worth writing anew */
    RECORD_BYTES = 32 + sizeof(struct region_record),
};

static struct region_record record_of(const struct cairn_extent_region *r)
{
    return (struct region_record){ .id = r->id,
                                   .length = r->length,
                                   .owner = r->owner,
                                   .at = r->at,
                                   .room = file_blocks_of(r),
                                   .quarantined = atomic_load(&r->quarantined),
                                   .nchunks = r->nchunks };
}

static uint64_t record_bytes(const struct cairn_extent_region *r)
{
    return RECORD_BYTES + cairn_round_up(r->nchunks * sizeof(r->crcs[0]), 8);
}

/* ---- reading back ---- */

static int recover_region(struct file_store *f, const void *body, uint32_t len)
{
    struct region_record rec;
    struct cairn_extent_region *r;

    if (len < sizeof(rec))
        return CAIRN_E_CORRUPT;
    memcpy(&rec, body, sizeof(rec));
    if (rec.length > CAIRN_EXTENT_BYTES_MAX || rec.nchunks != cairn_extent_chunks(rec.length) ||
        len != sizeof(rec) + rec.nchunks * sizeof(uint32_t) || rec.room != (rec.length + FILE_BLOCK - 1) / FILE_BLOCK ||
        rec.at / f->span >= FILE_SEGMENTS_MAX)
        return CAIRN_E_CORRUPT;
    r = cairn_extent_region_new(&f->base, rec.id, rec.length, rec.owner);
    if (r == NULL)
        return CAIRN_E_NOMEM;
    r->at = rec.at;
    r->room = rec.room;
    memcpy(r->crcs, (const char *)body + sizeof(rec), rec.nchunks * sizeof(uint32_t));
    atomic_store(&r->quarantined, rec.quarantined != 0);
    atomic_store(&r->sealed, true);
    if (!cairn_extent_table_add(&f->base.table, r)) {
        r->room = 0;
        cairn_extent_region_put(r);
        return CAIRN_E_CORRUPT;
    }
    atomic_store(&r->recorded, true);
    cairn_list_add_tail(&f->logged, &r->logged);
    f->live_bytes += record_bytes(r);
    return 0;
}

static void recover_removed(struct file_store *f, struct cairn_extent_region *r)
{
    cairn_extent_table_del(&f->base.table, r);
    cairn_list_del(&r->logged);
    atomic_store(&r->recorded, false);
    f->live_bytes -= record_bytes(r);
    r->room = 0; /* has taken no blocks yet: file_space_recover() comes after all records */
    cairn_extent_region_put(r);
}

static int on_record(void *arg, uint32_t type, const void *body, uint32_t len)
{
    struct file_store *f = arg;
    struct cairn_extent_region *r;
    struct id_record rec;

    if (type == RECORD_REGION)
        return recover_region(f, body, len);
    if ((type != RECORD_REMOVED && type != RECORD_QUARANTINED) || len != sizeof(rec))
        return CAIRN_E_CORRUPT;
    memcpy(&rec, body, sizeof(rec));
    r = cairn_extent_table_find(&f->base.table, rec.id);
    if (r == NULL)
        return 0; /* the region's own record was damaged, which is reported as such */
    if (type == RECORD_REMOVED)
        recover_removed(f, r);
    else
        cairn_extent_table_quarantine(&f->base.table, r);
    cairn_extent_region_put(r);
    return 0;
}

int file_index_open(struct file_store *f, struct cairn_err *err)
{
    struct cairn_file_log_found found;
    int rc = cairn_file_log_open(&f->log, f->base.dirfd, "index", on_record, f, &found, err);

    if (rc != 0)
        return cairn_err_wrap(err, rc, "%s", f->base.conf.dir);
    if (found.torn_bytes > 0)
        cairn_log_info("extent store %s: %" PRIu64 " bytes of unfinished records cut off, as after a crash",
                       f->base.conf.dir, found.torn_bytes);
    if (found.damaged_bytes > 0) {
        /* Regions may be missing, and their blocks look free: write nothing, so that they can still be rescued. */
        snprintf(f->damage, sizeof(f->damage), "index: %" PRIu64 " bytes at %" PRIu64 " are damaged",
                 found.damaged_bytes, found.damaged_at);
        cairn_log_error("extent store %s: %s; regions may be missing, the store is read-only", f->base.conf.dir,
                        f->damage);
        cairn_extent_store_worsen(&f->base, CAIRN_EXTENT_READONLY);
    }
    return 0;
}

int file_index_note_bad(struct file_store *f, const struct cairn_extent_region *r)
{
    struct id_record id = { r->id };
    struct iovec body = { &id, sizeof(id) };
    int rc = cairn_file_log_add(&f->log, RECORD_QUARANTINED, &body, 1, true);

    if (rc == 0)
        rc = cairn_file_log_write(&f->log);
    if (rc == 0)
        rc = cairn_file_log_sync(&f->log);
    if (rc != 0)
        cairn_log_error("extent store %s: writing the index: %s", f->base.conf.dir, cairn_error_text(rc));
    return rc;
}

void file_index_close(struct file_store *f)
{
    CAIRN_ASSERT(!file_index_is_busy(f));
    cairn_file_log_close(&f->log);
}

void file_index_forget(struct file_store *f)
{
    while (!cairn_list_is_empty(&f->logged))
        cairn_extent_region_free(CONTAINER_OF(cairn_list_pop(&f->logged), struct cairn_extent_region, logged));
}

/* ---- groups ---- */

/* One fdatasync for each segment that a step of the group wrote to. */
static void sync_segments(struct file_store *f, struct cairn_link *steps)
{
    struct file_segment *last = NULL;
    int last_rc = 0;

    CAIRN_LIST_FOREACH (l, steps) {
        struct cairn_extent_step *step = CONTAINER_OF(l, struct cairn_extent_step, link);
        struct file_segment *g;
        bool done = false;

        if (step->verb != FILE_SEAL || step->region->room == 0 || step->rc != 0)
            continue;
        g = file_segment_of(f, step->region);
        /* Steps are few and mostly of one segment: look back whether it was done already. */
        for (struct cairn_link *b = steps->next; b != l && !done && g != last; b = b->next) {
            struct cairn_extent_step *before = CONTAINER_OF(b, struct cairn_extent_step, link);

            done = before->verb == FILE_SEAL && before->region->room > 0 && file_segment_of(f, before->region) == g;
            if (done)
                step->rc = before->rc;
        }
        if (done)
            continue;
        if (g != last) {
            last = g;
            last_rc = atomic_load(&g->broken) || fdatasync(g->fd) != 0 ? CAIRN_E_IO : 0;
            if (last_rc != 0)
                file_segment_break(f, g, "sync");
        }
        step->rc = last_rc;
    }
}

static int add_record(struct file_store *f, const struct cairn_extent_step *step)
{
    struct cairn_extent_region *r = step->region;
    struct id_record id = { r->id };
    struct iovec one = { &id, sizeof(id) };

    if (step->verb == FILE_SEAL) {
        struct region_record rec = record_of(r);
        struct iovec body[2] = { { &rec, sizeof(rec) }, { r->crcs, r->nchunks * sizeof(r->crcs[0]) } };

        return cairn_file_log_add(&f->log, RECORD_REGION, body, 2, false);
    }
    return cairn_file_log_add(&f->log, step->verb == FILE_REMOVE ? RECORD_REMOVED : RECORD_QUARANTINED, &one, 1, true);
}

/* What is in the log now is what a rewrite must keep. */
static void note_record(struct file_store *f, const struct cairn_extent_step *step)
{
    struct cairn_extent_region *r = step->region;

    if (step->verb == FILE_SEAL) {
        atomic_store(&r->recorded, true);
        cairn_list_add_tail(&f->logged, &r->logged);
        f->live_bytes += record_bytes(r);
    } else if (step->verb == FILE_REMOVE) {
        cairn_list_del(&r->logged);
        f->live_bytes -= record_bytes(r);
        atomic_store(&r->recorded, false);
    }
}

/* Puts the records of a group into the log. Under the index mutex. */
static void write_records(struct file_store *f, struct cairn_link *steps)
{
    int rc;

    CAIRN_LIST_FOREACH (l, steps) {
        struct cairn_extent_step *step = CONTAINER_OF(l, struct cairn_extent_step, link);

        if (step->rc == 0)
            step->rc = add_record(f, step);
    }
    rc = cairn_file_log_write(&f->log);
    if (rc != 0)
        cairn_log_error("extent store %s: writing the index: %s", f->base.conf.dir, cairn_error_text(rc));
    if (rc == CAIRN_E_IO || atomic_load(&f->log.broken)) /* what of it is on the disk nobody knows */
        cairn_extent_store_worsen(&f->base, CAIRN_EXTENT_READONLY);
    CAIRN_LIST_FOREACH (l, steps) {
        struct cairn_extent_step *step = CONTAINER_OF(l, struct cairn_extent_step, link);

        if (step->rc == 0 && rc == 0)
            note_record(f, step);
        else if (step->rc == 0)
            step->rc = rc;
    }
}

static int rewrite_one(struct cairn_file_log *to, const struct cairn_extent_region *r)
{
    struct region_record rec = record_of(r);
    struct iovec body[2] = { { &rec, sizeof(rec) }, { (void *)(uintptr_t)r->crcs, r->nchunks * sizeof(r->crcs[0]) } };
    int rc = cairn_file_log_add(to, RECORD_REGION, body, 2, true);

    return rc == 0 && to->buf_n >= (1 << 20) ? cairn_file_log_write(to) : rc;
}

/* After a failed fdatasync or fsync nobody knows what the disk holds (the kernel drops dirty pages): never retried. */
static void index_lost(struct file_store *f)
{
    cairn_log_error("extent store %s: the index cannot be made durable; the store is read-only", f->base.conf.dir);
    cairn_extent_store_worsen(&f->base, CAIRN_EXTENT_READONLY);
    file_limbo_fail(f, CAIRN_E_IO);
}

/* Under the index mutex, as the next two. */
static bool rewrite_is_worth_it(const struct file_store *f)
{
    return f->log.end >= MAX(2 * f->live_bytes + REWRITE_BYTES_MIN, f->rewrite_from) &&
           !cairn_extent_store_is_readonly(&f->base);
}

/* A failure changes nothing: the old log goes on. Mostly the disk is full, and each attempt fills it to the last
 * byte. */
static void rewrite_failed(struct file_store *f, int rc)
{
    f->rewrite_from = f->log.end + REWRITE_BYTES_MIN;
    cairn_log_warn("extent store %s: the index cannot be written anew: %s", f->base.conf.dir, cairn_error_text(rc));
}

/* The log with nothing but what lives. Only by the sync lane, whose file descriptor it replaces. */
static void rewrite(struct file_store *f)
{
    struct cairn_file_log fresh;
    int rc = cairn_file_log_rewrite_begin(&f->log, &fresh);

    if (rc != 0) {
        rewrite_failed(f, rc);
        return;
    }
    for (struct cairn_link *l = f->logged.next; l != &f->logged && rc == 0; l = l->next)
        rc = rewrite_one(&fresh, CONTAINER_OF(l, struct cairn_extent_region, logged));
    if (rc == 0)
        rc = cairn_file_log_rewrite_commit(&f->log, &fresh);
    if (rc == CAIRN_E_UNKNOWN) {
        index_lost(f);
        return;
    }
    if (rc != 0) {
        rewrite_failed(f, rc);
        cairn_file_log_rewrite_abort(&fresh);
        return;
    }
    f->rewrites++;
    f->rewrite_from = 0;
    file_limbo_free(f, UINT64_MAX); /* the new log is durable and names none of them */
}

static void sync_index(struct file_store *f, struct cairn_link *steps)
{
    int rc = cairn_file_log_sync(&f->log);

    if (rc == 0) {
        file_limbo_free(f, atomic_load(&f->log.durable));
        return;
    }
    index_lost(f);
    CAIRN_LIST_FOREACH (l, steps) {
        struct cairn_extent_step *step = CONTAINER_OF(l, struct cairn_extent_step, link);

        if (step->rc == 0)
            step->rc = rc;
    }
}

static void lane_work(struct cairn_job *job)
{
    struct file_lane *lane = job->arg;
    struct file_store *f = lane->store;
    struct cairn_link steps;
    bool worth_it;

    cairn_list_init(&steps);
    pthread_mutex_lock(&f->lanes_mutex);
    cairn_list_splice(&steps, &lane->steps);
    lane->groups++;
    lane->grouped += lane->n;
    lane->n = 0;
    lane->wanted = false;
    pthread_mutex_unlock(&f->lanes_mutex);
    if (lane->sync)
        sync_segments(f, &steps);
    pthread_mutex_lock(&f->index_mutex);
    write_records(f, &steps);
    worth_it = rewrite_is_worth_it(f);
    pthread_mutex_unlock(&f->index_mutex);
    if (lane->sync) {
        sync_index(f, &steps);
        pthread_mutex_lock(&f->index_mutex);
        if (rewrite_is_worth_it(f))
            rewrite(f);
        pthread_mutex_unlock(&f->index_mutex);
    } else if (worth_it) {
        file_index_want_sync(f);
    }
    while (!cairn_list_is_empty(&steps)) {
        struct cairn_extent_step *step = CONTAINER_OF(cairn_list_pop(&steps), struct cairn_extent_step, link);

        cairn_extent_step_post(step, step->rc);
    }
}

/* The pool is full: those who wait are told so. Under the mutex. */
static void lane_refuse(struct file_lane *lane)
{
    lane->running = lane->wanted = false;
    lane->n = 0;
    while (!cairn_list_is_empty(&lane->steps))
        cairn_extent_step_post(CONTAINER_OF(cairn_list_pop(&lane->steps), struct cairn_extent_step, link),
                               CAIRN_E_BUSY);
}

static void lane_done(struct cairn_job *job)
{
    struct file_lane *lane = job->arg;
    struct file_store *f = lane->store;
    bool refused = false;

    pthread_mutex_lock(&f->lanes_mutex);
    lane->running = lane->n > 0 || lane->wanted;
    if (lane->running && cairn_pool_submit(f->base.pool, job->loop, job) != 0) {
        lane_refuse(lane);
        refused = true;
    }
    pthread_mutex_unlock(&f->lanes_mutex);
    if (refused)
        file_limbo_fail(f, CAIRN_E_BUSY);
}

/* Under the mutex. */
static int lane_start(struct file_lane *lane, struct cairn_loop *loop)
{
    int rc = 0;

    if (lane->running)
        return 0;
    lane->job = (struct cairn_job){ .work = lane_work, .done = lane_done, .arg = lane };
    rc = cairn_pool_submit(lane->store->base.pool, loop, &lane->job);
    lane->running = rc == 0;
    return rc;
}

int file_commit(struct cairn_extent_step *step, enum file_verb verb)
{
    struct file_store *f = file_of(step->region->store);
    struct file_lane *lane = &f->lanes[step->durability == CAIRN__WIRE__DURABILITY__DURABILITY_SYNC];
    int rc;

    if (cairn_extent_store_is_readonly(&f->base))
        return CAIRN_E_IO;
    step->verb = verb;
    step->rc = 0;
    pthread_mutex_lock(&f->lanes_mutex);
    if (lane->n >= FILE_LANE_STEPS_MAX) {
        rc = CAIRN_E_BUSY;
    } else {
        cairn_list_add_tail(&lane->steps, &step->link);
        lane->n++;
        rc = lane_start(lane, step->worker->loop);
        if (rc != 0) { /* it is the only one: none waits while the lane rests */
            cairn_list_del(&step->link);
            lane->n--;
        }
    }
    pthread_mutex_unlock(&f->lanes_mutex);
    return rc == 0 ? CAIRN_EXTENT_LATER : rc;
}

void file_index_want_sync(struct file_store *f)
{
    struct file_lane *lane = &f->lanes[1];
    int rc = 0;

    if (f->base.nworkers == 0) /* closing */
        return;
    pthread_mutex_lock(&f->lanes_mutex);
    lane->wanted = true;
    rc = lane_start(lane, f->base.workers[0].loop);
    if (rc != 0)
        lane->wanted = false;
    pthread_mutex_unlock(&f->lanes_mutex);
    if (rc != 0)
        file_limbo_fail(f, rc);
}

bool file_index_is_busy(struct file_store *f)
{
    bool busy;

    pthread_mutex_lock(&f->lanes_mutex);
    busy = f->lanes[0].running || f->lanes[1].running;
    pthread_mutex_unlock(&f->lanes_mutex);
    return busy;
}
