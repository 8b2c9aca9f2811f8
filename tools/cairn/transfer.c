/** The engine of import, export and verify. */
#include "tools/cairn/transfer.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* The signal that asked for an end; its handler runs once, so that asking again ends the process. */
static volatile sig_atomic_t interrupted;

static void on_interrupt(int sig)
{
    interrupted = sig;
}

static void set_handlers(void (*handler)(int))
{
    struct sigaction sa = { .sa_handler = handler, .sa_flags = SA_RESTART | (int)SA_RESETHAND };
    sigaction(SIGINT, &sa, NULL);
    sigaction(SIGTERM, &sa, NULL);
}

bool transfer_is_stopped(const struct transfer *t)
{
    return t->fatal != 0 || interrupted != 0;
}

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

static int worker_open(struct transfer_worker *w)
{
    struct transfer *t = w->t;
    struct cairn_error_info error = { .text = "" };
    w->buf = malloc(TRANSFER_BATCH_BYTES + 1);
    w->other = malloc(TRANSFER_BATCH_BYTES + 1);
    w->dir_fd = -1;
    int rc = w->buf == NULL || w->other == NULL ? CAIRN_E_NOMEM : cli_connect_another(t->cli, &w->session, &error);
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
            t->work(w, b);
            batch_free(b);
        }
    }
    cairn_ns_close(w->ns);
    cairn_close(w->session);
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
    t->count(t);
    return NULL;
}

int transfer_start(struct transfer *t, struct cli *cli)
{
    t->cli = cli;
    t->root = -1;
    t->prefix = t->prefix != NULL ? t->prefix : "";
    t->prefix_len = strlen(t->prefix);
    t->jobs = MAX(1, MIN(t->jobs, TRANSFER_JOBS_MAX));
    cairn_list_init(&t->queue);
    int status = cli_connect(cli);
    if (status != CLI_OK)
        return status;
    struct cli_call call;
    struct cairn_ns_list *info = NULL;
    int rc = cairn_ns_show(cli->session, t->ns_name, &info, cli_call_init(cli, &call, 0));
    if (rc != 0)
        return cli_call_failed(cli, rc, &call, "namespace %s", t->ns_name);
    t->embed_bytes = MIN(info->namespaces[0].embed_threshold, CAIRN_KV_VALUE_BYTES_MAX);
    cairn_free(info);
    if (t->dir != NULL) {
        if (t->makes_dir && mkdir(t->dir, 0777) != 0 && errno != EEXIST)
            return cli_fail_file(cli, t->dir);
        t->root = open(t->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (t->root < 0)
            return cli_fail_file(cli, t->dir);
    }
    pthread_mutex_init(&t->lock, NULL);
    pthread_cond_init(&t->moved, NULL);
    t->failures = json_array();
    interrupted = 0;
    set_handlers(on_interrupt);
    cli_progress_start(&t->progress, cli, t->verb);
    for (uint32_t i = 0; i < t->jobs; i++) {
        struct transfer_worker *w = &t->workers[i];
        *w = (struct transfer_worker){ .t = t, .index = i };
        if (pthread_create(&w->thread, NULL, worker_main, w) != 0) {
            t->jobs = i;
            if (i == 0)
                transfer_failed(t, "", 0, CAIRN_E_LIMIT, "no thread could be started");
            break;
        }
    }
    t->counting = t->count != NULL && t->progress.shown && pthread_create(&t->counter, NULL, count_main, t) == 0;
    return CLI_OK;
}

/* ---- what became of each ---- */

void transfer_done(struct transfer *t, uint64_t bytes)
{
    t->counts.files++;
    t->counts.bytes += bytes;
    t->progress.files++;
    t->progress.bytes += bytes;
}

void transfer_skipped(struct transfer *t, uint64_t bytes)
{
    t->counts.skipped++;
    t->progress.files++;
    t->progress.bytes += bytes;
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

void transfer_failed(struct transfer *t, const char *key, size_t key_len, int rc, const char *text)
{
    t->counts.failed++;
    t->progress.files++;
    if (text == NULL || text[0] == '\0')
        text = cairn_error_text(rc);
    pthread_mutex_lock(&t->lock);
    if ((is_fatal(rc) || key_len == 0) && t->fatal == 0) {
        snprintf(t->fatal_text, sizeof(t->fatal_text), "%s", text);
        t->fatal = rc;
        pthread_cond_broadcast(&t->moved);
    }
    if (key_len > 0 && json_array_size(t->failures) < TRANSFER_FAILURES_MAX) {
        json_t *f = json_object();
        cli_json_bytes(f, "key", key, key_len);
        json_object_set_new(f, "code", json_string(cairn_error_name(rc)));
        json_object_set_new(f, "text", json_string(text));
        json_array_append_new(t->failures, f);
    }
    pthread_mutex_unlock(&t->lock);
}

void transfer_set_totals(struct transfer *t, uint64_t files, uint64_t bytes)
{
    t->progress.files_total = files;
    t->progress.bytes_total = bytes;
    t->progress.totals_known = true;
}

void transfer_count_keys(struct transfer *t)
{
    struct cairn *session = NULL;
    struct cairn_ns *ns = NULL;
    struct cairn_iter *it = NULL;
    struct cairn_entry e;
    struct cli_call call;
    uint64_t files = 0, bytes = 0;
    int rc = cli_connect_another(t->cli, &session, NULL);
    if (rc == 0)
        rc = cairn_ns_open(session, t->ns_name, &ns, cli_call_init(t->cli, &call, 0));
    if (rc == 0)
        rc = cairn_iter_open(ns, t->prefix, t->prefix_len, &call.o, &it);
    while (rc == 0 && !t->ending) {
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
    cairn_close(session);
}

/* ---- the end ---- */

static void print_failures(struct transfer *t)
{
    enum { SHOWN_MAX = 20 };
    size_t n = json_array_size(t->failures);
    for (size_t i = 0; i < n && i < SHOWN_MAX; i++) {
        const json_t *f = json_array_get(t->failures, i);
        const char *key = json_string_value(json_object_get(f, "key"));
        const char *text = json_string_value(json_object_get(f, "text"));
        if (key == NULL)
            key = json_string_value(json_object_get(f, "key_hex"));
        fprintf(t->cli->err, "cairn %s: ", t->verb);
        cli_put_printable(t->cli->err, key, strlen(key));
        fprintf(t->cli->err, ": %s\n", text != NULL ? text : "failed");
    }
    if (n > SHOWN_MAX)
        fprintf(t->cli->err, "cairn %s: ... and %zu more; --json lists them\n", t->verb, n - SHOWN_MAX);
}

static void print_counts(struct transfer *t, uint64_t ns)
{
    char files[CLI_UNIT_BYTES + 8], bytes[CLI_UNIT_BYTES], time[CLI_UNIT_BYTES], rate[CLI_UNIT_BYTES];
    char n[CLI_UNIT_BYTES + 8];
    FILE *to = t->cli->out;
    fprintf(to, "%s: %s files, %s in %s (%s)", t->verb, cli_count(files, t->counts.files),
            cli_size(bytes, t->counts.bytes), cli_duration(time, ns), cli_rate(rate, t->counts.bytes, ns));
    const struct {
        uint64_t n;
        const char *what;
    } more[] = { { t->counts.skipped, "there already" },
                 { t->counts.symlinks, "symbolic links left out" },
                 { t->counts.special, "special files left out" },
                 { t->counts.failed, "failed" } };
    for (uint32_t i = 0; i < ARRAY_SIZE(more); i++) {
        if (more[i].n > 0)
            fprintf(to, "; %s %s", cli_count(n, more[i].n), more[i].what);
    }
    putc('\n', to);
}

static json_t *summary(struct transfer *t, uint64_t ns)
{
    return json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:b, s:O}", "command", t->verb, "namespace",
                     t->ns_name, "files", (json_int_t)t->counts.files, "bytes", (json_int_t)t->counts.bytes, "skipped",
                     (json_int_t)t->counts.skipped, "symlinks", (json_int_t)t->counts.symlinks, "special",
                     (json_int_t)t->counts.special, "failed", (json_int_t)t->counts.failed, "elapsed_ms",
                     (json_int_t)(ns / CAIRN_NS_PER_MS), "complete", !transfer_is_stopped(t) && t->counts.failed == 0,
                     "failures", t->failures);
}

int transfer_finish(struct transfer *t)
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
    int signal_nr = interrupted;
    set_handlers(SIG_DFL);
    if (t->root >= 0)
        close(t->root);

    int status = t->counts.failed > 0 ? CLI_FAILED : CLI_OK;
    if (!t->cli->g.json)
        print_failures(t);
    if (t->fatal != 0)
        status = cli_fail(t->cli, t->fatal, t->fatal_text, "stopped; the same command goes on where this one ended");
    if (t->cli->g.json)
        cli_json(t->cli, summary(t, ns));
    else if (!t->cli->g.quiet)
        print_counts(t, ns);
    json_decref(t->failures);
    pthread_cond_destroy(&t->moved);
    pthread_mutex_destroy(&t->lock);
    if (signal_nr != 0) {
        cli_note(t->cli, "interrupted; the same command goes on where this one ended");
        fflush(t->cli->out);
        raise(signal_nr);
    }
    return status;
}
