/* What all stores share: the directory, its lock and its format file, names, health: see extent_store.h.
 *
 *      LOCK      held while the store is open
 *      FORMAT    text: version, backend, salt and epoch of the names, with a checksum; written anew at every open, when
 *                all the rest is there; on a full disk in its place; zeros may follow
 */
#include "providers/extent/extent_store.h"
#include "providers/extent/extent_draft.h"

#include "sdk/core/base/crc.h"
#include "sdk/core/base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FORMAT_VERSION = 1, FORMAT_BYTES_MAX = 512 };

static const char *const backend_names[] = { "file", "memory", "pmem" };
static const char *const records[] = { [CAIRN_EXTENT_FILE] = "index", [CAIRN_EXTENT_PMEM] = "pool" };

struct format {
    unsigned version;
    char backend[16];
    uint64_t salt, epoch, segment;
};

/* FORMAT is there, so the file that says which regions there are was, too. One made anew would call all space free. */
static int records_find(int dirfd, const struct cairn_extent_conf *conf, struct cairn_err *err)
{
    const char *name = records[conf->backend];

    if (faccessat(dirfd, name, F_OK, 0) == 0)
        return 0;
    if (errno != ENOENT)
        return cairn_err_errno(err, errno, "%s/%s", conf->dir, name);
    return cairn_err_set(err, CAIRN_E_CORRUPT, "%s/%s is missing: without it no region can be found", conf->dir, name);
}

/* 0: read; CAIRN_E_NOTFOUND: a fresh directory. */
static int format_read(int dirfd, const struct cairn_extent_conf *conf, struct format *f, struct cairn_err *err)
{
    char text[FORMAT_BYTES_MAX + 1] = "", *crc_at;
    int fd = openat(dirfd, "FORMAT", O_RDONLY | O_CLOEXEC);
    ssize_t n;
    unsigned crc;

    if (fd < 0 && errno == ENOENT)
        return CAIRN_E_NOTFOUND;
    if (fd < 0)
        return cairn_err_errno(err, errno, "%s/FORMAT", conf->dir);
    n = read(fd, text, FORMAT_BYTES_MAX);
    close(fd);
    if (n < 0)
        return cairn_err_errno(err, errno, "%s/FORMAT", conf->dir);
    /* The version comes first and alone: what follows it may be new to us. */
    if (sscanf(text, "cairn extent store\nversion: %u\n", &f->version) != 1)
        return cairn_err_set(err, CAIRN_E_CORRUPT, "%s/FORMAT does not describe an extent store", conf->dir);
    if (f->version > FORMAT_VERSION)
        return cairn_err_set(err, CAIRN_E_FORMAT, "%s was written by a newer version (format %u, this one knows %d)",
                             conf->dir, f->version, FORMAT_VERSION);
    crc_at = strstr(text, "crc: ");
    if (crc_at == NULL || sscanf(crc_at, "crc: %x", &crc) != 1 ||
        crc != cairn_crc32c(0, text, (size_t)(crc_at - text)) ||
        sscanf(text,
               "cairn extent store\nversion: %*u\nbackend: %15s\nsalt: %" SCNx64 "\nepoch: %" SCNu64
               "\nsegment: %" SCNu64,
               f->backend, &f->salt, &f->epoch, &f->segment) != 4)
        return cairn_err_set(err, CAIRN_E_CORRUPT, "%s/FORMAT is damaged", conf->dir);
    if (strcmp(f->backend, backend_names[conf->backend]) != 0)
        return cairn_err_set(err, CAIRN_E_CONFIG, "%s holds a store of backend `%s`, not `%s`", conf->dir, f->backend,
                             backend_names[conf->backend]);
    return records_find(dirfd, conf, err);
}

/* Over the one that is there: its block is ours on a disk that has no other. It lies within one sector, which a disk
 * writes wholly or not at all. */
static int format_overwrite(const struct cairn_extent_store *s, const char text[FORMAT_BYTES_MAX])
{
    int fd = openat(s->dirfd, "FORMAT", O_WRONLY | O_CLOEXEC), rc;

    if (fd < 0)
        return cairn_file_code(errno);
    rc = cairn_file_pwrite(fd, text, FORMAT_BYTES_MAX, 0);
    if (rc == 0 && fsync(fd) != 0)
        rc = cairn_file_code(errno);
    close(fd);
    return rc;
}

static int format_write(const struct cairn_extent_store *s, struct cairn_err *err)
{
    char text[FORMAT_BYTES_MAX] = "";
    struct cairn_err full = { 0 };
    int rc, n = snprintf(text, sizeof(text),
                         "cairn extent store\nversion: %d\nbackend: %s\nsalt: %016" PRIx64 "\nepoch: %" PRIu64
                         "\nsegment: %" PRIu64 "\n",
                         FORMAT_VERSION, backend_names[s->conf.backend], s->salt, s->epoch, s->conf.segment);
    uint32_t crc = cairn_crc32c(0, text, (size_t)n);

    n += snprintf(text + n, sizeof(text) - (size_t)n, "crc: %08x\n", crc);
    rc = cairn_file_replace(s->dirfd, "FORMAT", text, (uint64_t)n, s->fresh ? err : &full);
    if (s->fresh || rc == 0)
        return rc;
    if (rc == CAIRN_E_NOSPACE && format_overwrite(s, text) == 0)
        return 0;
    return cairn_err_set(err, rc, "%s%s", full.text, rc == CAIRN_E_NOSPACE ? ": make room on its file system" : "");
}

/* Takes the lock, and an epoch of names that nobody used before; format_write() makes it ours. */
static int dir_open(struct cairn_extent_store *s, uint64_t random_salt, struct cairn_err *err)
{
    struct format f = { 0 };
    int rc;

    s->dirfd = open(s->conf.dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (s->dirfd < 0)
        return cairn_err_errno(err, errno, "open %s", s->conf.dir);
    rc = cairn_file_lock(s->dirfd, "LOCK", &s->lock_fd, err);
    if (rc != 0)
        return rc;
    rc = format_read(s->dirfd, &s->conf, &f, err);
    s->fresh = rc == CAIRN_E_NOTFOUND;
    if (s->fresh)
        f = (struct format){ .salt = random_salt, .segment = s->conf.segment };
    else if (rc != 0)
        return rc;
    if (f.segment != s->conf.segment)
        cairn_log_info("extent store %s: keeps its segment size of %" PRIu64 " bytes", s->conf.dir, f.segment);
    s->conf.segment = f.segment;
    s->salt = f.salt;
    s->epoch = f.epoch + 1;
    if (s->epoch >= UINT64_C(1) << (64 - CAIRN_EXTENT_NAME_BITS))
        return cairn_err_set(err, CAIRN_E_LIMIT, "%s: opened %" PRIu64 " times, names are used up", s->conf.dir,
                             s->epoch);
    return 0;
}

int cairn_extent_store_check(const struct cairn_extent_conf *conf, struct cairn_err *err)
{
    struct format f;
    char place[PATH_MAX];
    int dirfd, rc;

    if (conf->backend == CAIRN_EXTENT_MEMORY)
        return 0;
    rc = conf->backend == CAIRN_EXTENT_FILE ? cairn_file_io_check(conf->io, err) : 0;
    if (rc != 0)
        return rc;
    dirfd = open(conf->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dirfd < 0 && errno != ENOENT)
        return cairn_err_errno(err, errno, "open %s", conf->dir);
    if (dirfd >= 0) { /* otherwise a start makes it */
        rc = cairn_err_wrap(err, cairn_file_lock_check(dirfd, "LOCK", err), "%s", conf->dir);
        if (rc == 0)
            rc = format_read(dirfd, conf, &f, err);
        close(dirfd);
        if (rc != 0 && rc != CAIRN_E_NOTFOUND)
            return rc;
    }
    if (conf->backend != CAIRN_EXTENT_PMEM || (size_t)snprintf(place, sizeof(place), "%s", conf->dir) >= sizeof(place))
        return 0;
    for (char *slash; access(place, F_OK) != 0 && (slash = strrchr(place, '/')) != NULL && slash != place;)
        *slash = '\0'; /* the file system that it will be on */
    return cairn_extent__pmem_place(place, conf->allow_slow, err);
}

static int workers_open(struct cairn_extent_store *s, struct cairn_loop *const *loops, uint32_t n,
                        struct cairn_err *err)
{
    int rc = 0;

    s->workers = calloc(n, sizeof(s->workers[0]));
    if (s->workers == NULL)
        return cairn_err_set(err, CAIRN_E_NOMEM, "extent store");
    for (; s->nworkers < n && rc == 0; s->nworkers += rc == 0) {
        struct cairn_extent_worker *w = &s->workers[s->nworkers];

        *w = (struct cairn_extent_worker){ .store = s, .loop = loops[s->nworkers] };
        cairn_timer_init(&w->draft_timer, cairn_extent__on_draft_timer, w);
        rc = s->ops->worker_open != NULL ? s->ops->worker_open(w, err) : 0;
    }
    return rc;
}

static void workers_close(struct cairn_extent_store *s)
{
    while (s->nworkers > 0) {
        struct cairn_extent_worker *w = &s->workers[--s->nworkers];

        cairn_timer_stop(&w->loop->env, &w->draft_timer);
        if (s->ops->worker_close != NULL)
            s->ops->worker_close(w);
    }
    free(s->workers);
}

static void dir_close(struct cairn_extent_store *s)
{
    if (s->lock_fd >= 0)
        close(s->lock_fd);
    if (s->dirfd >= 0)
        close(s->dirfd);
}

int cairn_extent_store_open(const struct cairn_extent_conf *conf, struct cairn_pool *pool,
                            struct cairn_loop *const *loops, uint32_t nloops, struct cairn_extent_store **out,
                            struct cairn_err *err)
{
    struct cairn_extent_store *s = conf->backend == CAIRN_EXTENT_FILE     ? cairn_extent__file_new()
                                   : conf->backend == CAIRN_EXTENT_MEMORY ? cairn_extent__memory_new()
                                                                          : cairn_extent__pmem_new();
    uint64_t random = cairn_env_random(&loops[0]->env);
    int rc;

    if (s == NULL)
        return cairn_err_set(err, CAIRN_E_NOMEM, "extent store");
    s->conf = *conf;
    s->pool = pool;
    s->dirfd = s->lock_fd = -1;
    pthread_mutex_init(&s->drafts_mutex, NULL);
    cairn_list_init(&s->drafts);
    cairn_list_init(&s->named);
    rc = cairn_extent_table_init(&s->table);
    if (rc != 0) {
        cairn_err_set(err, rc, "extent store");
        goto free_store;
    }
    if (conf->backend == CAIRN_EXTENT_MEMORY)
        s->salt = random; /* nothing outlives the process but names that others remember */
    else
        rc = dir_open(s, random, err);
    if (rc != 0)
        goto close_dir;
    atomic_init(&s->next_name, s->epoch << CAIRN_EXTENT_NAME_BITS);
    rc = s->ops->open(s, err);
    if (rc != 0)
        goto close_dir;
    if (s->dirfd >= 0)
        rc = format_write(s, err);
    if (rc != 0)
        goto close_store;
    rc = workers_open(s, loops, nloops, err);
    if (rc != 0)
        goto close_workers;
    *out = s;
    return 0;
close_workers:
    workers_close(s);
close_store:
    cairn_extent_table_fini(&s->table);
    s->ops->close(s);
    goto close_dir_only;
close_dir:
    cairn_extent_table_fini(&s->table);
close_dir_only:
    dir_close(s);
free_store:
    pthread_mutex_destroy(&s->drafts_mutex);
    free(s);
    return cairn_err_wrap(err, rc, "extent store");
}

void cairn_extent_store_close(struct cairn_extent_store *s)
{
    workers_close(s);
    while (!cairn_list_is_empty(&s->drafts)) /* the table puts their regions */
        cairn_list_pop(&s->drafts);
    cairn_extent_table_fini(&s->table);
    s->ops->close(s);
    dir_close(s);
    pthread_mutex_destroy(&s->drafts_mutex);
    free(s);
}

struct cairn_extent_worker *cairn_extent_store_worker(struct cairn_extent_store *s, const struct cairn_loop *loop)
{
    for (uint32_t i = 0; i < s->nworkers; i++) {
        if (s->workers[i].loop == loop)
            return &s->workers[i];
    }
    CAIRN_ASSERT(!"a loop of this node");
    return NULL;
}

/* By a region that another store has named: once in 2^64 names. */
static bool is_taken(struct cairn_extent_store *s, uint64_t id)
{
    struct cairn_extent_region *r = cairn_extent_table_find(&s->table, id);

    if (r != NULL)
        cairn_extent_region_put(r);
    return r != NULL;
}

uint64_t cairn_extent_store_new_name(struct cairn_extent_store *s)
{
    for (;;) {
        uint64_t n = atomic_fetch_add_explicit(&s->next_name, 1, memory_order_relaxed);
        uint64_t id;

        if (n >> CAIRN_EXTENT_NAME_BITS != s->epoch)
            return 0;
        id = cairn_extent_name(s->salt, n);
        if (id != 0 && !is_taken(s, id)) /* 0: "no region" */
            return id;
    }
}

void cairn_extent_store_worsen(struct cairn_extent_store *s, enum cairn_extent_health to)
{
    int now = atomic_load(&s->health);

    while (now < (int)to && !atomic_compare_exchange_weak(&s->health, &now, (int)to))
        ;
}

bool cairn_extent_store_is_readonly(const struct cairn_extent_store *s)
{
    return atomic_load(&s->health) == CAIRN_EXTENT_READONLY;
}

static void on_posted(void *arg)
{
    struct cairn_extent_step *step = arg;

    step->done(step, step->rc);
}

void cairn_extent_step_post(struct cairn_extent_step *step, int rc)
{
    step->rc = rc;
    cairn_task_init(&step->task, on_posted, step);
    cairn_loop_post(step->worker->loop, &step->task);
}
