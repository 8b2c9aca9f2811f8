/** cairn export: values of a namespace into files. */
#include "tools/cairn/commands.h"
#include "tools/cairn/transfer.h"
#include "tools/cairn/tree.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* Keeps the directory of the last file open: keys come in order, so the next one is mostly in the same. */
static int open_dir(struct transfer_worker *w, const char *path, const char **name)
{
    const char *slash = strrchr(path, '/');
    size_t len = slash != NULL ? (size_t)(slash - path) : 0;
    if (w->dir_fd >= 0 && w->dir != NULL && strlen(w->dir) == len && memcmp(w->dir, path, len) == 0) {
        *name = slash != NULL ? slash + 1 : path;
        return w->dir_fd;
    }
    if (w->dir_fd >= 0)
        close(w->dir_fd);
    free(w->dir);
    w->dir = strndup(path, len);
    w->dir_fd = tree_open_parent(w->t->root, path, true, name);
    return w->dir_fd;
}

/* A file gets its name when all of it is there. */
struct output {
    int dir, fd;
    const char *name;
    char temporary[64];
};

static int output_open(struct transfer_worker *w, const char *path, struct output *o)
{
    o->fd = -1;
    o->dir = open_dir(w, path, &o->name);
    if (o->dir < 0)
        return transfer_errno(errno);
    snprintf(o->temporary, sizeof(o->temporary), ".cairn-export-%d-%u", (int)getpid(), w->index);
    o->fd = openat(o->dir, o->temporary, O_RDWR | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0666);
    return o->fd >= 0 ? 0 : transfer_errno(errno);
}

/* Gives it its name if @rc is 0, else removes it. */
static int output_close(struct output *o, int rc)
{
    int errnum = errno;
    if (o->fd < 0)
        return rc;
    if (close(o->fd) != 0 && rc == 0) {
        errnum = errno;
        rc = transfer_errno(errnum);
    }
    if (rc == 0 && renameat(o->dir, o->temporary, o->dir, o->name) != 0) {
        errnum = errno;
        rc = transfer_errno(errnum);
    }
    if (rc != 0)
        unlinkat(o->dir, o->temporary, 0);
    errno = errnum;
    return rc;
}

static int write_all(int fd, const char *data, uint64_t len)
{
    for (uint64_t at = 0; at < len;) {
        ssize_t n = write(fd, data + at, (size_t)(len - at));
        if (n >= 0)
            at += (uint64_t)n;
        else if (errno != EINTR)
            return transfer_errno(errno);
    }
    return 0;
}

/* A large value goes straight into the pages of its file: in one call, so it is one value and no mixture. */
static void export_large(struct transfer_worker *w, struct transfer_batch *b, struct transfer_item *i)
{
    struct transfer *t = w->t;
    struct output o;
    struct cli_call call;
    size_t len = 0;
    const char *text = NULL;
    cli_call_init(t->cli, &call, i->size);
    int rc = output_open(w, transfer_path(t, b, i), &o);
    if (rc == 0) {
        int errnum = posix_fallocate(o.fd, 0, (off_t)i->size); /* a full disk shows here, not as a fault in the pages */
        rc = errnum != 0 ? transfer_errno(errnum) : 0;
        errno = errnum;
    }
    if (rc != 0) {
        text = strerror(errno);
    } else {
        void *data = mmap(NULL, i->size, PROT_READ | PROT_WRITE, MAP_SHARED, o.fd, 0);
        if (data == MAP_FAILED) {
            rc = transfer_errno(errno);
            text = strerror(errno);
        } else {
            rc = cairn_get(w->ns, transfer_key(b, i), i->key_len, data, i->size, &len, &call.o);
            munmap(data, i->size);
            text = call.error.text;
            if (rc == 0 && len != i->size && ftruncate(o.fd, (off_t)len) != 0)
                rc = transfer_errno(errno);
        }
    }
    int closed = output_close(&o, rc);
    transfer_item_over(t, b, i, closed, closed != rc ? strerror(errno) : text);
}

/* The file is there with that size; and, asked to compare, with those bytes. */
static bool is_there(struct transfer_worker *w, const char *path, uint64_t size)
{
    struct stat st;
    return fstatat(w->t->root, path, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode) &&
           (uint64_t)st.st_size == size;
}

struct export_args {
    const char *prefix;
    uint64_t jobs;
    bool compare, all;
};

static void export_batch(struct transfer_worker *w, struct transfer_batch *b)
{
    struct transfer *t = w->t;
    const struct export_args *a = t->plan->args;
    struct cairn_get_item gets[TRANSFER_BATCH_ITEMS];
    struct transfer_item *items[TRANSFER_BATCH_ITEMS];
    uint32_t n = 0;
    for (uint32_t k = 0; k < b->n; k++) {
        struct transfer_item *i = &b->items[k];
        i->compare = !a->all && is_there(w, transfer_path(t, b, i), i->size);
        if (i->compare && !a->compare) {
            transfer_skipped(t, i->size);
            continue;
        }
        if (i->size > TRANSFER_BATCH_BYTES) {
            export_large(w, b, i);
            continue;
        }
        items[n++] = i;
    }
    if (n == 0)
        return;
    transfer_gets(b, items, n, w->buf, gets);
    struct cli_call call;
    int rc = cairn_mget(w->ns, gets, n, cli_call_init(t->cli, &call, TRANSFER_BATCH_BYTES));
    for (uint32_t k = 0; k < n; k++) {
        struct transfer_item *i = items[k];
        const char *path = transfer_path(t, b, i);
        int status = rc != 0 ? rc : gets[k].status;
        if (status == CAIRN_E_NOTFOUND) /* removed since it was listed: as if the list were later */
            continue;
        if (status != 0) {
            transfer_item_over(t, b, i, status,
                               status == CAIRN_E_TOOBIG    ? "the value was replaced while it was read"
                               : status == call.error.code ? call.error.text
                                                           : NULL);
            continue;
        }
        i->size = gets[k].value_len;
        if (i->compare && transfer_read_file(t, path, w->other, i->size) == 0 &&
            memcmp(w->other, gets[k].value, i->size) == 0) {
            transfer_skipped(t, i->size);
            continue;
        }
        struct output o;
        status = output_open(w, path, &o);
        if (status == 0)
            status = write_all(o.fd, gets[k].value, i->size);
        status = output_close(&o, status);
        transfer_item_over(t, b, i, status, strerror(errno));
    }
}

static int export_find(struct transfer *t, struct cairn_ns *ns, struct cli_call *call)
{
    struct cairn_iter *it = NULL;
    int rc = cairn_iter_open(ns, t->prefix, t->prefix_len, &call->o, &it);
    while (rc == 0 && !transfer_is_stopped(t)) {
        struct cairn_entry e;
        rc = cairn_iter_next(it, &e);
        if (rc <= 0)
            break;
        rc = 0;
        /* Keys are whatever somebody stored: only those that are paths, and stay inside, become files. */
        if (!tree_path_is_safe((const char *)e.key + t->prefix_len, e.key_len - t->prefix_len))
            transfer_failed(t, e.key, e.key_len, CAIRN_E_INVAL, "the key is no path that stays inside a directory");
        else
            transfer_add(t, e.key, e.key_len, e.value_len, false);
    }
    cairn_iter_close(it);
    return rc;
}

static int export_run(struct cli *cli, void *args)
{
    const struct export_args *a = args;
    return transfer_run(cli, &(struct transfer_plan){ .verb = "export",
                                                      .dir = cli->operands[1],
                                                      .prefix = a->prefix,
                                                      .makes_dir = true,
                                                      .sizes_only = !a->compare,
                                                      .jobs = a->jobs,
                                                      .args = a,
                                                      .find = export_find,
                                                      .work = export_batch,
                                                      .count = transfer_count_keys });
}

static const struct cli_opt export_opts[] = {
    CLI_OPT(struct export_args, prefix, "prefix", 'p', CLI_STRING, "TEXT", NULL,
            "only keys that begin with it, which is left off the paths"),
    CLI_OPT(struct export_args, compare, "compare", 'c', CLI_FLAG, NULL, NULL,
            "compare the bytes of files that are there already, not only their sizes"),
    CLI_OPT(struct export_args, all, "all", 0, CLI_FLAG, NULL, NULL, "write everything again"),
    CLI_OPT(struct export_args, jobs, "jobs", 'J', CLI_NUMBER, "COUNT", "4", "transfers at a time"),
    CLI_OPT_END,
};

const struct cli_command cli_export = {
    .name = "export",
    .operands = "NAMESPACE DIR",
    .summary = "write values into files, each by its key",
    .text =
        "The directory is made if it is not there. A file that is there with the same size is left as it is, so the "
        "same command, given again, goes on where the last one ended. A file gets its name when all of it is "
        "written; its mode, owner and time are those of any new file.",
    .opts = export_opts,
    .args_size = sizeof(struct export_args),
    .examples = (const struct cli_example[]){ { "cairn export results /scratch/copy", "all of a namespace" },
                                              { "cairn export --prefix run1/ results /scratch/run1", "a part of it" },
                                              { NULL, NULL } },
    .run = export_run,
    .group = "Data",
};
