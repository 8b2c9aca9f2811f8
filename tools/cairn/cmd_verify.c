/** cairn verify: is what is stored what it should be? */
#include "tools/cairn/commands.h"
#include "tools/cairn/present.h"
#include "tools/cairn/transfer.h"
#include "tools/cairn/tree.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char differs[] = "the stored bytes differ from the file";

/* Reads @len bytes at @off of an open file. */
static int pread_all(int fd, char *buf, size_t len, uint64_t off)
{
    for (size_t at = 0; at < len;) {
        ssize_t n = pread(fd, buf + at, len - at, (off_t)(off + at));
        if (n == 0)
            return CAIRN_E_STATE;
        if (n > 0)
            at += (size_t)n;
        else if (errno != EINTR)
            return transfer_errno(errno);
    }
    return 0;
}

static void verify_large(struct transfer_worker *w, struct transfer_batch *b, struct transfer_item *i)
{
    struct transfer *t = w->t;
    const char *text = NULL;
    struct cli_call call;
    int rc = 0, fd = -1;
    if (t->root >= 0) {
        fd = openat(t->root, transfer_path(t, b, i), O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0) {
            transfer_item_over(t, b, i, transfer_errno(errno), strerror(errno));
            return;
        }
    }
    for (uint64_t at = 0; rc == 0 && at < i->size;) {
        size_t len = 0;
        uint64_t total = 0;
        cli_call_init(t->cli, &call, TRANSFER_BATCH_BYTES);
        call.o.flags = CAIRN_VERIFY;
        rc = cairn_read(w->ns, transfer_key(b, i), i->key_len, at, w->buf, TRANSFER_BATCH_BYTES, &len, &total, &call.o);
        if (rc != 0) {
            text = call.error.text;
        } else if (total != i->size || len == 0) {
            rc = CAIRN_E_STATE;
            text = "the value was replaced while it was read";
        } else if (fd >= 0) {
            rc = pread_all(fd, w->other, len, at);
            if (rc == 0 && memcmp(w->buf, w->other, len) != 0) {
                rc = TRANSFER_DIFFERS;
                text = differs;
            }
        }
        at += len;
    }
    if (fd >= 0)
        close(fd);
    transfer_item_over(t, b, i, rc, text);
}

static void verify_batch(struct transfer_worker *w, struct transfer_batch *b)
{
    struct transfer *t = w->t;
    if (b->n == 1 && b->items[0].size > TRANSFER_BATCH_BYTES) {
        verify_large(w, b, &b->items[0]);
        return;
    }
    struct cairn_get_item gets[TRANSFER_BATCH_ITEMS];
    struct transfer_item *items[TRANSFER_BATCH_ITEMS];
    for (uint32_t k = 0; k < b->n; k++)
        items[k] = &b->items[k];
    transfer_gets(b, items, b->n, w->buf, gets);
    struct cli_call call;
    cli_call_init(t->cli, &call, TRANSFER_BATCH_BYTES);
    call.o.flags = CAIRN_VERIFY;
    int rc = cairn_mget(w->ns, gets, b->n, &call.o);
    for (uint32_t k = 0; k < b->n; k++) {
        struct transfer_item *i = &b->items[k];
        const char *text = NULL;
        int status = rc != 0 ? rc : gets[k].status;
        if (status != 0) {
            text = status == call.error.code ? call.error.text : NULL;
        } else if (gets[k].value_len != i->size) {
            status = CAIRN_E_STATE;
            text = "the value was replaced while it was read";
        } else if (t->root >= 0) {
            status = transfer_read_file(t, transfer_path(t, b, i), w->other, i->size);
            if (status != 0) {
                text = status == CAIRN_E_STATE ? "the file changed while it was read" : strerror(errno);
            } else if (memcmp(w->other, gets[k].value, i->size) != 0) {
                status = TRANSFER_DIFFERS;
                text = differs;
            }
        }
        transfer_item_over(t, b, i, status, text);
    }
}

struct verify_args {
    const char *prefix;
    uint64_t jobs;
};

static void on_extra(void *arg, const struct cairn_entry *e)
{
    transfer_failed(arg, e->key, e->key_len, CAIRN_E_NOTFOUND, "stored, but there is no such file");
}

/* Walks the tree and the namespace side by side. */
static int against_tree(struct transfer *t, struct present *present)
{
    struct tree *tree = tree_open(t->dir);
    int rc = tree != NULL ? 0 : CAIRN_E_IO;
    while (rc == 0 && !transfer_is_stopped(t)) {
        struct tree_entry e = tree_next(tree);
        char key[CAIRN_KEY_BYTES_MAX + 1];
        size_t len;
        bool found;
        uint64_t size;
        if (e.kind == TREE_END)
            break;
        if (e.kind != TREE_FILE) {
            transfer_left_out(t, &e);
        } else if (transfer_tree_key(t, &e, key, &len)) {
            rc = present_find(present, key, len, &found, &size, on_extra, t);
            if (!found && rc == 0)
                transfer_failed(t, key, len, CAIRN_E_NOTFOUND, "the file is not stored");
            else if (rc == 0 && size != e.size)
                transfer_failed(t, key, len, TRANSFER_DIFFERS, "the stored value has another length than the file");
            else if (rc == 0)
                transfer_add(t, key, len, size, true);
        }
    }
    while (rc == 0 && present->any && !transfer_is_stopped(t)) {
        on_extra(t, &present->entry);
        rc = present_step(present);
    }
    tree_close(tree);
    return rc;
}

static int verify_find(struct transfer *t, struct cairn_ns *ns, struct cli_call *call)
{
    struct present present = { 0 };
    int rc = cairn_iter_open(ns, t->prefix, t->prefix_len, &call->o, &present.it);
    if (rc == 0)
        rc = present_step(&present);
    if (rc == 0 && t->dir != NULL)
        rc = against_tree(t, &present);
    while (rc == 0 && present.any && !transfer_is_stopped(t)) {
        transfer_add(t, present.entry.key, present.entry.key_len, present.entry.value_len, false);
        rc = present_step(&present);
    }
    cairn_iter_close(present.it);
    return rc;
}

static int verify_run(struct cli *cli, void *args)
{
    const struct verify_args *a = args;
    return transfer_run(cli, &(struct transfer_plan){ .verb = "verify",
                                                      .dir = cli->noperands > 1 ? cli->operands[1] : NULL,
                                                      .prefix = a->prefix,
                                                      .jobs = a->jobs,
                                                      .find = verify_find,
                                                      .work = verify_batch,
                                                      .count = transfer_count_keys });
}

static const struct cli_opt verify_opts[] = {
    CLI_OPT(struct verify_args, prefix, "prefix", 'p', CLI_STRING, "TEXT", NULL,
            "only keys that begin with it, which paths do not have"),
    CLI_OPT(struct verify_args, jobs, "jobs", 'J', CLI_NUMBER, "COUNT", "4", "values at a time"),
    CLI_OPT_END,
};

const struct cli_command cli_verify = {
    .name = "verify",
    .operands = "NAMESPACE [DIR]",
    .summary = "read everything that is stored, and compare it with a tree of files",
    .text =
        "Each value is read and checked against its checksums; with DIR also against the file of that path, and what "
        "only one side has is reported. Only bytes are compared: not modes, owners, times and links. Exits with 1 if "
        "anything differs.",
    .opts = verify_opts,
    .args_size = sizeof(struct verify_args),
    .examples = (const struct cli_example[]){ { "cairn verify results", "is all of it readable?" },
                                              { "cairn verify --prefix run1/ results /scratch/run1",
                                                "is it what the files are?" },
                                              { NULL, NULL } },
    .run = verify_run,
    .group = "Data",
};
