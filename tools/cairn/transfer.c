/** The engine of import, export and verify. */
#include "tools/cairn/transfer.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- batches ---- */

static struct transfer_batch *batch_new(void)
{
    struct transfer_batch *b = calloc(1, sizeof(*b));
    if (b != NULL)
        cairn_list_init(&b->link);
    return b;
}

static void batch_free(struct transfer_batch *b)
{
    if (b == NULL)
        return;
    free(b->names);
    free(b);
}

static bool batch_append(struct transfer_batch *b, const void *key, size_t len, uint64_t size, bool compare)
{
    size_t need = b->names_len + len + 1;
    if (need > b->names_room) {
        size_t room = MAX(need, 2 * b->names_room + 4096);
        char *more = realloc(b->names, room);
        if (more == NULL)
            return false;
        b->names = more;
        b->names_room = room;
    }
    struct transfer_item *item = &b->items[b->n++];
    *item = (struct transfer_item){
        .key_at = (uint32_t)b->names_len, .key_len = (uint32_t)len, .size = size, .compare = compare
    };
    memcpy(b->names + b->names_len, key, len);
    b->names[b->names_len + len] = '\0';
    b->names_len = need;
    b->bytes += size;
    return true;
}

static bool submit(struct transfer *t, struct transfer_batch *b)
{
    pthread_mutex_lock(&t->lock);
    while (t->nqueued >= TRANSFER_QUEUE_MAX && !transfer_is_stopped(t))
        pthread_cond_wait(&t->moved, &t->lock);
    bool taken = !transfer_is_stopped(t);
    if (taken) {
        cairn_list_add_tail(&t->queue, &b->link);
        t->nqueued++;
        pthread_cond_broadcast(&t->moved);
    }
    pthread_mutex_unlock(&t->lock);
    if (!taken)
        batch_free(b);
    return taken;
}

bool transfer_add(struct transfer *t, const void *key, size_t key_len, uint64_t size, bool compare)
{
    struct transfer_batch *b = t->filling;
    if (size == CAIRN_LENGTH_UNKNOWN) /* what is there cannot be read: to fetch it tells why */
        size = 0;
    if (b != NULL && (b->n == TRANSFER_BATCH_ITEMS || b->bytes + size > TRANSFER_BATCH_BYTES)) {
        t->filling = NULL;
        if (!submit(t, b))
            return false;
        b = NULL;
    }
    if (b == NULL)
        b = t->filling = batch_new();
    if (b == NULL || !batch_append(b, key, key_len, size, compare)) {
        transfer_failed(t, key, key_len, CAIRN_E_NOMEM, NULL);
        return false;
    }
    return !transfer_is_stopped(t);
}

/* ---- workers ---- */

static struct transfer_batch *next_batch(struct transfer *t)
{
    struct transfer_batch *b = NULL;
    pthread_mutex_lock(&t->lock);
    while (cairn_list_is_empty(&t->queue) && !t->closed && !transfer_is_stopped(t))
        pthread_cond_wait(&t->moved, &t->lock);
    if (!cairn_list_is_empty(&t->queue) && !transfer_is_stopped(t)) {
        b = CONTAINER_OF(cairn_list_pop(&t->queue), struct transfer_batch, link);
        t->nqueued--;
    }
    pthread_cond_broadcast(&t->moved);
    pthread_mutex_unlock(&t->lock);
    return b;
}

/* Sessions are there for transfer_watch_start() to cancel their calls: *@slot changes under the lock. */
static int open_session(struct transfer *t, struct cairn **slot, struct cairn_error_info *error)
{
    struct cairn *session = NULL;
    int rc = cli_connect_another(t->cli, &session, error);
    pthread_mutex_lock(&t->lock);
    *slot = session;
    pthread_mutex_unlock(&t->lock);
    return rc;
}

static void close_session(struct transfer *t, struct cairn **slot)
{
    pthread_mutex_lock(&t->lock);
    struct cairn *session = *slot;
    *slot = NULL;
    pthread_mutex_unlock(&t->lock);
    cairn_close(session);
}

static int worker_open(struct transfer_worker *w)
{
    struct transfer *t = w->t;
    struct cairn_error_info error = { .text = "" };
    w->buf = malloc(TRANSFER_BATCH_BYTES + 1);
    w->other = malloc(TRANSFER_BATCH_BYTES + 1);
    w->dir_fd = -1;
    int rc = w->buf == NULL || w->other == NULL ? CAIRN_E_NOMEM : open_session(t, &w->session, &error);
    if (rc == 0) {
        struct cli_call call;
        rc = cairn_ns_open(w->session, t->ns_name, &w->ns, cli_call_init(t->cli, &call, 0));
        error = call.error;
    }
    if (rc != 0)
        transfer_failed(t, "", 0, rc, error.text);
    return rc;
}

static void *worker_main(void *arg)
{
    struct transfer_worker *w = arg;
    struct transfer *t = w->t;
    struct transfer_batch *b;
    if (worker_open(w) == 0) {
        while ((b = next_batch(t)) != NULL) {
            t->plan->work(w, b);
            if (b->timed_out)
                transfer_timed_out(t);
            batch_free(b);
        }
    }
    cairn_ns_close(w->ns);
    close_session(t, &w->session);
    if (w->dir_fd >= 0)
        close(w->dir_fd);
    free(w->dir);
    free(w->buf);
    free(w->other);
    return NULL;
}

static void *count_main(void *arg)
{
    struct transfer *t = arg;
    t->plan->count(t);
    return NULL;
}

static int transfer_start(struct transfer *t, struct cli *cli, const struct transfer_plan *plan)
{
    *t = (struct transfer){ .cli = cli,
                            .plan = plan,
                            .ns_name = cli->operands[0],
                            .dir = plan->dir,
                            .prefix = plan->prefix != NULL ? plan->prefix : "",
                            .jobs = (uint32_t)MAX(1, MIN(plan->jobs, TRANSFER_JOBS_MAX)),
                            .root = -1 };
    t->prefix_len = strlen(t->prefix);
    cairn_list_init(&t->queue);
    int status = cli_connect(cli);
    if (status != CLI_OK)
        return status;
    struct cli_call call;
    struct cairn_ns_list *info = NULL;
    int rc = cairn_ns_show(cli->session, t->ns_name, &info, cli_call_init(cli, &call, 0));
    struct stat st;
    if (rc == CAIRN_E_NOTFOUND && stat(t->ns_name, &st) == 0 && S_ISDIR(st.st_mode))
        cli->hint = "that is a directory here: the namespace comes first, then the directory";
    if (rc != 0)
        return cli_call_failed(cli, rc, &call, "namespace %s", t->ns_name);
    t->embed_bytes = MIN(info->namespaces[0].embed_threshold, CAIRN_KV_VALUE_BYTES_MAX);
    cairn_free(info);
    if (t->dir != NULL) {
        if (plan->makes_dir && mkdir(t->dir, 0777) != 0 && errno != EEXIST)
            return cli_fail_file(cli, t->dir);
        t->root = open(t->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (t->root < 0)
            return cli_fail_file(cli, t->dir);
    }
    pthread_mutex_init(&t->lock, NULL);
    pthread_cond_init(&t->moved, NULL);
    t->failures = json_array();
    for (uint32_t i = 0; i < t->jobs; i++)
        t->workers[i] = (struct transfer_worker){ .t = t, .index = i };
    transfer_watch_start(t);
    cli_progress_start(&t->progress, cli, plan->verb);
    for (uint32_t i = 0; i < t->jobs; i++) {
        struct transfer_worker *w = &t->workers[i];
        if (pthread_create(&w->thread, NULL, worker_main, w) != 0) {
            t->jobs = i;
            if (i == 0)
                transfer_failed(t, "", 0, CAIRN_E_LIMIT, "no thread could be started");
            break;
        }
    }
    t->counting = t->progress.shown && pthread_create(&t->counter, NULL, count_main, t) == 0;
    return CLI_OK;
}

/* ---- what became of each ---- */

void transfer_done(struct transfer *t, uint64_t bytes)
{
    t->timeouts = 0;
    t->counts.files++;
    t->counts.bytes += bytes;
    t->progress.files++;
    t->progress.bytes += bytes;
}

void transfer_skipped(struct transfer *t, uint64_t bytes)
{
    t->timeouts = 0;
    t->counts.skipped++;
    t->progress.files++;
    t->progress.bytes += bytes;
    t->progress.skipped_files++; /* behind what they are part of: a reader takes them first */
    t->progress.skipped_bytes += bytes;
}

/* True for what is wrong with the node or with us, and not with one file. */
static bool is_fatal(int rc)
{
    switch (rc) {
    case CAIRN_E_UNREACHABLE:
    case CAIRN_E_CLOSED:
    case CAIRN_E_SHUTDOWN:
    case CAIRN_E_AUTH:
    case CAIRN_E_DENIED:
    case CAIRN_E_NOSPACE:
    case CAIRN_E_NOMEM:
    case CAIRN_E_LIMIT:
    case CAIRN_E_NOPROVIDER:
    case CAIRN_E_VERSION:
        return true;
    default:
        return false;
    }
}

/* Under the lock. The first is the one to tell. */
static void stop_for(struct transfer *t, int rc, const char *text)
{
    if (t->fatal != 0)
        return;
    snprintf(t->fatal_text, sizeof(t->fatal_text), "%s", text);
    t->fatal = rc;
    pthread_cond_broadcast(&t->moved);
}

void transfer_timed_out(struct transfer *t)
{
    if (++t->timeouts < TRANSFER_TIMEOUTS_MAX)
        return;
    pthread_mutex_lock(&t->lock);
    stop_for(t, CAIRN_E_TIMEOUT, "the node answers no calls in time");
    pthread_mutex_unlock(&t->lock);
}

void transfer_failed(struct transfer *t, const char *key, size_t key_len, int rc, const char *text)
{
    if (rc == CAIRN_E_CANCELED && t->interrupted != 0)
        return; /* as asked: neither done nor failed */
    t->counts.failed++;
    t->progress.files++;
    if (text == NULL || text[0] == '\0')
        text = cairn_error_text(rc);
    pthread_mutex_lock(&t->lock);
    if (is_fatal(rc) || key_len == 0)
        stop_for(t, rc, text);
    if (key_len > 0 && json_array_size(t->failures) < TRANSFER_FAILURES_MAX) {
        json_t *f = json_object();
        cli_json_bytes(f, "key", key, key_len);
        json_object_set_new(f, "code", json_string(rc == TRANSFER_DIFFERS ? "DIFFERS" : cairn_error_name(rc)));
        json_object_set_new(f, "text", json_string(text));
        json_array_append_new(t->failures, f);
    }
    pthread_mutex_unlock(&t->lock);
}

void transfer_item_over(struct transfer *t, struct transfer_batch *b, const struct transfer_item *i, int rc,
                        const char *text)
{
    b->timed_out = b->timed_out || rc == CAIRN_E_TIMEOUT;
    if (rc == 0)
        transfer_done(t, i->size);
    else
        transfer_failed(t, transfer_key(b, i), i->key_len, rc, text);
}

void transfer_left_out(struct transfer *t, const struct tree_entry *e)
{
    t->counts.symlinks += e->kind == TREE_SYMLINK;
    t->counts.special += e->kind == TREE_SPECIAL;
    t->counts.empty_dirs += e->kind == TREE_EMPTY_DIR;
    if (e->kind == TREE_ERROR)
        transfer_failed(t, e->path, e->path_len, CAIRN_E_IO, strerror(e->errnum));
}

bool transfer_tree_key(struct transfer *t, const struct tree_entry *e, char key[CAIRN_KEY_BYTES_MAX + 1], size_t *len)
{
    *len = t->prefix_len + e->path_len;
    if (*len > CAIRN_KEY_BYTES_MAX) {
        transfer_failed(t, e->path, e->path_len, CAIRN_E_TOOBIG, "the path is longer than a key may be");
        return false;
    }
    memcpy(key, t->prefix, t->prefix_len);
    memcpy(key + t->prefix_len, e->path, e->path_len);
    return true;
}

void transfer_gets(const struct transfer_batch *b, struct transfer_item *const *items, uint32_t n, char *buf,
                   struct cairn_get_item *gets)
{
    for (uint32_t k = 0; k < n; k++) {
        const struct transfer_item *i = items[k];
        gets[k] =
            (struct cairn_get_item){ .key = transfer_key(b, i), .key_len = i->key_len, .value = buf, .room = i->size };
        buf += i->size;
    }
}

void transfer_set_totals(struct transfer *t, uint64_t files, uint64_t bytes)
{
    t->progress.files_total = files;
    t->progress.bytes_total = bytes;
    t->progress.totals_known = true;
}

void transfer_count_keys(struct transfer *t)
{
    struct cairn_ns *ns = NULL;
    struct cairn_iter *it = NULL;
    struct cairn_entry e;
    struct cli_call call;
    uint64_t files = 0, bytes = 0;
    int rc = open_session(t, &t->counting_session, NULL);
    if (rc == 0)
        rc = cairn_ns_open(t->counting_session, t->ns_name, &ns, cli_call_init(t->cli, &call, 0));
    if (rc == 0)
        rc = cairn_iter_open(ns, t->prefix, t->prefix_len, &call.o, &it);
    while (rc == 0 && !t->ending && !transfer_is_stopped(t)) {
        rc = cairn_iter_next(it, &e);
        if (rc == 0)
            transfer_set_totals(t, files, bytes);
        if (rc <= 0)
            break;
        rc = 0;
        files++;
        bytes += e.value_len != CAIRN_LENGTH_UNKNOWN ? e.value_len : 0;
    }
    cairn_iter_close(it);
    cairn_ns_close(ns);
    close_session(t, &t->counting_session);
}

/* ---- the end ---- */

/* Waits until all is done, frees everything, prints failures and the summary. Returns an exit code. */
static int transfer_finish(struct transfer *t)
{
    struct transfer_batch *last = t->filling;
    t->filling = NULL;
    if (last != NULL)
        submit(t, last);
    pthread_mutex_lock(&t->lock);
    t->closed = true;
    pthread_cond_broadcast(&t->moved);
    pthread_mutex_unlock(&t->lock);
    for (uint32_t i = 0; i < t->jobs; i++)
        pthread_join(t->workers[i].thread, NULL);
    t->ending = true;
    if (t->counting)
        pthread_join(t->counter, NULL);
    struct cairn_link *x;
    while ((x = cairn_list_pop(&t->queue)) != NULL)
        batch_free(CONTAINER_OF(x, struct transfer_batch, link));
    uint64_t ns = cli_progress_stop(&t->progress);
    transfer_watch_stop(t);
    if (t->root >= 0)
        close(t->root);

    bool strict = t->plan->strict && t->counts.symlinks + t->counts.special + t->counts.empty_dirs > 0;
    int status = t->counts.failed > 0 || strict ? CLI_FAILED : CLI_OK;
    status = transfer_report(t, ns, status);
    json_decref(t->failures);
    pthread_cond_destroy(&t->moved);
    pthread_mutex_destroy(&t->lock);
    if (t->interrupted != 0) {
        cli_note(
            t->cli,
            "interrupted; the same command goes on where this one ended, with what was under way from its beginning");
        fflush(t->cli->out);
        raise(t->interrupted);
    }
    return status;
}

int transfer_run(struct cli *cli, const struct transfer_plan *plan)
{
    struct transfer *t = malloc(sizeof(*t));
    if (t == NULL)
        return cli_fail(cli, CAIRN_E_NOMEM, NULL, "starting");
    int status = transfer_start(t, cli, plan);
    if (status == CLI_OK) {
        struct cli_call call;
        struct cairn_ns *ns = NULL;
        int rc = cairn_ns_open(cli->session, t->ns_name, &ns, cli_call_init(cli, &call, 0));
        if (rc == 0)
            rc = plan->find(t, ns, &call);
        if (rc != 0)
            transfer_failed(t, "", 0, rc, call.error.code == rc ? call.error.text : NULL);
        status = transfer_finish(t);
        cairn_ns_close(ns);
    }
    free(t);
    return status;
}
