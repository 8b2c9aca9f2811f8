/* Regions in large segment files, by direct I/O: see extent_file.h for what is where and in which order. */
#include "providers/extent/extent_file.h"

#include "sdk/core/base/log.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct cairn_extent_store *cairn_extent__file_new(void)
{
    struct file_store *f = calloc(1, sizeof(*f));

    if (f == NULL)
        return NULL;
    f->base.ops = &cairn_extent_store_file;
    return &f->base;
}

static void file_fini(struct file_store *f)
{
    cairn_errand_fini(&f->looking);
    file_index_forget(f);
    file_space_close(f);
    pthread_mutex_destroy(&f->lanes_mutex);
    pthread_mutex_destroy(&f->index_mutex);
    pthread_mutex_destroy(&f->space_mutex);
}

static int file_open(struct cairn_extent_store *s, struct cairn_err *err)
{
    struct file_store *f = file_of(s);
    int rc;

    pthread_mutex_init(&f->space_mutex, NULL);
    pthread_mutex_init(&f->index_mutex, NULL);
    pthread_mutex_init(&f->lanes_mutex, NULL);
    file_look_init(f);
    cairn_list_init(&f->waiters);
    cairn_list_init(&f->limbo);
    cairn_list_init(&f->logged);
    for (int i = 0; i < 2; i++) {
        f->lanes[i] = (struct file_lane){ .store = f, .sync = i == 1 };
        cairn_list_init(&f->lanes[i].steps);
    }
    rc = file_space_open(f, err);
    if (rc != 0)
        goto close_space;
    rc = file_index_open(f, err);
    if (rc != 0)
        goto close_space;
    rc = file_space_recover(f, err);
    if (rc != 0)
        goto close_index;
    return 0;
close_index:
    file_index_close(f);
close_space:
    cairn_extent_table_clear(&s->table); /* what was read back before it failed */
    file_fini(f);
    return rc;
}

static void file_close(struct cairn_extent_store *s)
{
    struct file_store *f = file_of(s);

    file_index_close(f);
    file_fini(f);
}

static int file_worker_open(struct cairn_extent_worker *w, struct cairn_err *err)
{
    const struct cairn_extent_conf *conf = &w->store->conf;
    struct file_worker *fw = calloc(1, sizeof(*fw));
    int rc;

    if (fw == NULL)
        return cairn_err_set(err, CAIRN_E_NOMEM, "extent store");
    rc = cairn_file_io_new(w->loop, w->store->pool, conf->io, conf->depth, &fw->io, err);
    if (rc != 0) {
        free(fw);
        return rc;
    }
    cairn_staging_init(&fw->staging, w->loop, FILE_PIECE_BYTES, (uint32_t)MAX(conf->staging / FILE_PIECE_BYTES, 2),
                       conf->queue);
    w->own = fw;
    return 0;
}

static void file_worker_close(struct cairn_extent_worker *w)
{
    struct file_worker *fw = w->own;

    cairn_staging_fini(&fw->staging);
    cairn_file_io_free(fw->io);
    free(fw);
}

/* ---- windows: staging buffers ---- */

static struct file_worker *worker_of(const struct cairn_extent_step *step)
{
    return step->worker->own;
}

static void io_start(struct cairn_extent_step *step, bool write, void (*done)(struct cairn_file_op *op, int rc))
{
    const struct file_store *f = file_of(step->region->store);

    step->io = (struct cairn_file_op){
        .fd = file_segment_of(f, step->region)->fd,
        .write = write,
        .buf = step->buf->bytes,
        .len = cairn_round_up(step->len, FILE_BLOCK),
        .off = step->region->at % f->span * FILE_BLOCK + step->off,
        .done = done,
        .arg = step,
    };
    cairn_file_io_start(worker_of(step)->io, &step->io);
}

static void buf_put(struct cairn_extent_step *step)
{
    cairn_staging_put(&worker_of(step)->staging, step->buf);
    step->buf = NULL;
    step->ptr = NULL;
}

/* A new checksum will be made of these bytes and others: it must not vouch for bytes that changed on the disk. */
static int check_old(const struct cairn_extent_step *step)
{
    struct cairn_extent_region *r = step->region;

    if (cairn_extent_first_bad(step->ptr, step->len, &r->crcs[step->off / CAIRN_EXTENT_CHUNK_BYTES]) < 0)
        return 0;
    atomic_fetch_add(&r->store->corrupt_found, 1);
    cairn_log_warn("extent region %016" PRIx64 ": checksum mismatch at %" PRIu64 ", where it is being written", r->id,
                   step->off);
    return CAIRN_E_IO;
}

static void on_read(struct cairn_file_op *op, int rc)
{
    struct cairn_extent_step *step = op->arg;

    if (rc == 0 && step->mode == CAIRN_EXTENT_UPDATE)
        rc = check_old(step);
    if (rc != 0)
        buf_put(step);
    cairn_extent_step_done(step, rc);
}

/* The buffer is there. Returns 0, or CAIRN_EXTENT_LATER while its content is read. */
static int window_begin(struct cairn_extent_step *step)
{
    uint64_t pad = cairn_round_up(step->len, FILE_BLOCK) - step->len;

    step->ptr = step->buf->bytes;
    switch (step->mode) {
    case CAIRN_EXTENT_READ:
    case CAIRN_EXTENT_UPDATE:
        io_start(step, false, on_read);
        return CAIRN_EXTENT_LATER;
    case CAIRN_EXTENT_ZERO:
        memset(step->ptr, 0, step->len + pad);
        break;
    case CAIRN_EXTENT_FILL:
        memset(step->ptr + step->len, 0, pad); /* nobody else's bytes reach the disk here */
        break;
    }
    return 0;
}

static void on_buf(struct cairn_staging_wait *wait, struct cairn_staging_buf *buf)
{
    struct cairn_extent_step *step = wait->arg;

    step->buf = buf;
    if (window_begin(step) == 0)
        cairn_extent_step_done(step, 0);
}

static int file_window(struct cairn_extent_step *step)
{
    int rc;

    CAIRN_ASSERT(step->len > 0 && step->len <= FILE_PIECE_BYTES && step->off % CAIRN_EXTENT_CHUNK_BYTES == 0);
    if (step->region->room == 0) /* recovered without its place */
        return CAIRN_E_CORRUPT;
    step->wait = (struct cairn_staging_wait){ .got = on_buf, .arg = step };
    rc = cairn_staging_get(&worker_of(step)->staging, &step->wait, &step->buf);
    if (rc != 0)
        return rc == 1 ? CAIRN_EXTENT_LATER : rc;
    return window_begin(step);
}

static void on_written(struct cairn_file_op *op, int rc)
{
    struct cairn_extent_step *step = op->arg;
    struct file_store *f = file_of(step->region->store);

    if (rc == CAIRN_E_IO)
        file_segment_break(f, file_segment_of(f, step->region), "write");
    buf_put(step);
    cairn_extent_step_done(step, rc);
}

static int file_settle(struct cairn_extent_step *step, bool keep)
{
    if (step->mode == CAIRN_EXTENT_READ || !keep) {
        buf_put(step);
        return 0;
    }
    io_start(step, true, on_written);
    return CAIRN_EXTENT_LATER;
}

/* ---- the rest ---- */

static int file_seal(struct cairn_extent_step *step)
{
    return file_commit(step, FILE_SEAL);
}

static int file_remove(struct cairn_extent_step *step)
{
    return file_commit(step, FILE_REMOVE);
}

static int file_quarantine(struct cairn_extent_step *step)
{
    step->durability = CAIRN__WIRE__DURABILITY__DURABILITY_SYNC;
    return file_commit(step, FILE_QUARANTINE);
}

static bool file_is_busy(struct cairn_extent_store *s)
{
    struct file_store *f = file_of(s);
    bool growing;

    pthread_mutex_lock(&f->space_mutex);
    growing = f->growing;
    pthread_mutex_unlock(&f->space_mutex);
    return growing || file_index_is_busy(f);
}

static void file_usage(struct cairn_extent_store *s, uint64_t *used, uint64_t *avail)
{
    struct file_store *f = file_of(s);

    pthread_mutex_lock(&f->space_mutex);
    *used = (f->used_blocks + f->limbo_blocks) * FILE_BLOCK;
    *avail = f->space.free * FILE_BLOCK;
    pthread_mutex_unlock(&f->space_mutex);
    *avail += file_space_growth(f);
    if (s->conf.capacity != 0)
        *avail = MIN(*avail, s->conf.capacity - MIN(*used, s->conf.capacity));
}

static void file_status(struct cairn_extent_store *s, json_t *to)
{
    struct file_store *f = file_of(s);
    const struct file_worker *fw = s->workers[0].own;
    uint64_t file_blocks = 0, growth = file_space_growth(f);
    bool full;

    json_object_set_new(to, "io", json_string(cairn_file_io_kind(fw->io) == CAIRN_FILE_IO_URING ? "uring" : "pool"));
    pthread_mutex_lock(&f->space_mutex);
    for (uint32_t i = 0; i < f->nsegments; i++)
        file_blocks += f->segments[i]->blocks;
    if (f->refused > 0 && file_space_has(f, f->refused, growth))
        f->refused = 0;
    full = f->refused > 0;
    json_object_set_new(to, "segments", json_integer(f->nsegments));
    json_object_set_new(to, "segment_bytes", json_integer((json_int_t)(file_blocks * FILE_BLOCK)));
    pthread_mutex_unlock(&f->space_mutex);
    json_object_set_new(to, "index_bytes", json_integer((json_int_t)atomic_load(&f->log.flushed)));
    pthread_mutex_lock(&f->lanes_mutex);
    json_object_set_new(to, "sync_groups", json_integer((json_int_t)f->lanes[1].groups));
    json_object_set_new(to, "synced_regions", json_integer((json_int_t)f->lanes[1].grouped));
    pthread_mutex_unlock(&f->lanes_mutex);
    json_object_set_new(to, "full", json_boolean(full));
    if (full && atomic_load(&s->health) == CAIRN_EXTENT_OK) /* what fits into free space of segments is still taken */
        json_object_set_new(to, "health", json_string("degraded"));
    if (f->damage[0] != '\0')
        json_object_set_new(to, "damage", json_string(f->damage));
}

const struct cairn_extent_store_ops cairn_extent_store_file = {
    .name = "file",
    .window_max = FILE_PIECE_BYTES,
    .open = file_open,
    .close = file_close,
    .worker_open = file_worker_open,
    .worker_close = file_worker_close,
    .reserve = file_reserve,
    .window = file_window,
    .settle = file_settle,
    .seal = file_seal,
    .remove = file_remove,
    .quarantine = file_quarantine,
    .release = file_release,
    .is_busy = file_is_busy,
    .usage = file_usage,
    .status = file_status,
};
