/** cairn import: a tree of files into a namespace. */
#include "tools/cairn/commands.h"
#include "tools/cairn/present.h"
#include "tools/cairn/transfer.h"
#include "tools/cairn/tree.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const char changed[] = "the file changed while it was read";

/* ---- one batch ---- */

static void finish_item(struct transfer *t, struct transfer_batch *b, const struct transfer_item *i, int rc,
                        const char *text)
{
    transfer_item_over(t, b, i, rc, rc == CAIRN_E_STATE ? changed : text);
}

/* The value is there with the same bytes; @data is the file. Any doubt says no: then it is stored again. */
static bool is_same(struct transfer_worker *w, const char *key, size_t key_len, const void *data, uint64_t size)
{
    struct cli_call call;
    for (uint64_t at = 0; at < size;) {
        size_t len = 0;
        uint64_t total = 0;
        int rc = cairn_read(w->ns, key, key_len, at, w->other, TRANSFER_BATCH_BYTES, &len, &total,
                            cli_call_init(w->t->cli, &call, TRANSFER_BATCH_BYTES));
        if (rc == CAIRN_E_TIMEOUT)
            transfer_timed_out(w->t);
        if (rc != 0 || total != size || len == 0 || memcmp(w->other, (const char *)data + at, len) != 0)
            return false;
        at += len;
    }
    return true;
}

/* A value in the place of an older one, which stays if the file turns out to have changed: what comes of the map is
 * committed only after that was looked at. Unmaps it. */
static int import_over(struct transfer_worker *w, const char *key, size_t key_len, struct guarded_map *map,
                       const struct cairn_call_options *o)
{
    struct cairn_writer *writer = NULL;
    int rc = cairn_writer_open(w->ns, key, key_len, map->size, o, &writer);
    if (rc == 0)
        rc = cairn_writer_write(writer, map->data, map->size);
    int unmapped = guarded_unmap(map);
    if (rc == 0)
        rc = unmapped;
    if (rc == 0)
        return cairn_writer_commit(writer);
    w->undoing = true;
    cairn_writer_abort(writer);
    w->undoing = false;
    return rc;
}

/* A value where there is none, which is quicker. Likewise. */
static int import_new(struct transfer_worker *w, const char *key, size_t key_len, struct guarded_map *map,
                      const struct cairn_call_options *o)
{
    struct cairn_call_options absent = *o;
    absent.flags |= CAIRN_IF_ABSENT; /* what is undone below is our own */
    int rc = cairn_put(w->ns, key, key_len, map->data, map->size, &absent);
    if (rc == CAIRN_E_EXISTS)
        return import_over(w, key, key_len, map, o);
    int unmapped = guarded_unmap(map);
    if (rc == 0 && unmapped != 0) { /* what was stored is neither the old file nor the new one */
        struct cli_call undo;
        w->undoing = true;
        cairn_delete(w->ns, key, key_len, cli_call_init(w->t->cli, &undo, 0));
        w->undoing = false;
        rc = unmapped;
    }
    if (rc == CAIRN_E_FAULT || rc == CAIRN_E_CORRUPT) /* the node found something else, or nothing, in the map */
        rc = unmapped != 0 ? unmapped : rc;
    return rc;
}

/* False: nothing came of it, but it may be tried again. */
static bool import_once(struct transfer_worker *w, struct transfer_batch *b, struct transfer_item *i, bool last)
{
    struct transfer *t = w->t;
    struct guarded_map map;
    const char *key = transfer_key(b, i);
    int rc = transfer_map(t, transfer_path(t, b, i), i->size, &map);
    if (rc != 0) {
        finish_item(t, b, i, rc, rc == CAIRN_E_STATE ? changed : strerror(errno));
        return true;
    }
    struct cli_call call;
    cli_call_init(t->cli, &call, i->size);
    bool same = i->compare && is_same(w, key, i->key_len, map.data, i->size), exists = false;
    if (!same)
        rc = cairn_exists(w->ns, key, i->key_len, &exists, &call.o);
    if (same || rc != 0) {
        int unmapped = guarded_unmap(&map);
        rc = rc == 0 ? unmapped : rc;
    } else {
        rc = (exists ? import_over : import_new)(w, key, i->key_len, &map, &call.o);
    }
    if (rc == CAIRN_E_BUSY && !last)
        return false;
    if (rc == 0 && same)
        transfer_skipped(t, i->size);
    else
        finish_item(t, b, i, rc, call.error.text);
    return true;
}

/* A node that leads no more loses the parts it had of a value that is written over an older one: then it is written
 * again. */
static void import_large(struct transfer_worker *w, struct transfer_batch *b, struct transfer_item *i)
{
    for (int tries = 1; !import_once(w, b, i, tries == CLI_LARGE_TRIES_MAX); tries++)
        ;
}

static void on_put(void *arg, int rc)
{
    ((struct transfer_item *)arg)->rc = rc;
}

/* Small files go many in one request, the middling ones in one request each, all of them at once. */
static void import_batch(struct transfer_worker *w, struct transfer_batch *b)
{
    struct transfer *t = w->t;
    if (b->n == 1 && b->items[0].size > TRANSFER_BATCH_BYTES) {
        import_large(w, b, &b->items[0]);
        return;
    }
    struct cairn_put_item puts[TRANSFER_BATCH_ITEMS];
    struct transfer_item *items[TRANSFER_BATCH_ITEMS];
    struct cli_call call, small;
    uint32_t n = 0;
    char *at = w->buf;
    cli_call_init(t->cli, &call, TRANSFER_BATCH_BYTES);
    cli_call_init(t->cli, &small, TRANSFER_BATCH_BYTES);
    call.o.error = NULL; /* several calls at once; the code says enough */
    for (uint32_t k = 0; k < b->n; k++) {
        struct transfer_item *i = &b->items[k];
        const char *key = transfer_key(b, i);
        i->rc = 1; /* not under way */
        if (transfer_is_stopped(t))
            continue; /* neither done nor failed */
        int rc = transfer_read_file(t, transfer_path(t, b, i), at, i->size);
        if (rc != 0) {
            finish_item(t, b, i, rc, strerror(errno));
            continue;
        }
        if (i->compare && is_same(w, key, i->key_len, at, i->size)) {
            transfer_skipped(t, i->size);
            continue;
        }
        if (i->size <= t->embed_bytes) {
            items[n] = i;
            puts[n++] = (struct cairn_put_item){ .key = key, .key_len = i->key_len, .value = at, .value_len = i->size };
        } else {
            rc = cairn_put_async(w->ns, key, i->key_len, at, i->size, &call.o, on_put, i);
            if (rc != 0)
                finish_item(t, b, i, rc, NULL);
            else
                i->rc = CAIRN_E_STATE;
        }
        at += i->size;
    }
    if (transfer_is_stopped(t))
        n = 0;
    int rc = n > 0 ? cairn_mput(w->ns, puts, n, &small.o) : 0;
    cairn_drain(w->session, -1); /* each call has a deadline of its own */
    for (uint32_t k = 0; k < n; k++) {
        if (puts[k].status == CAIRN_E_TOOBIG) /* the namespace embeds less than it did: on its own, then */
            puts[k].status = cairn_put(w->ns, puts[k].key, puts[k].key_len, puts[k].value, puts[k].value_len, &small.o);
        int status = rc == 0 ? 0 : puts[k].status;
        finish_item(t, b, items[k], status, status == small.error.code ? small.error.text : NULL);
    }
    for (uint32_t k = 0; k < b->n; k++) {
        if (b->items[k].rc <= 0)
            finish_item(t, b, &b->items[k], b->items[k].rc, NULL);
    }
}

/* ---- what there is to do ---- */

struct import_args {
    const char *prefix;
    uint64_t jobs;
    bool compare, all, strict;
    /* Of what this finds: */
    uint64_t quarantined; /* regions of the node */
};

static void add_file(struct transfer *t, const struct import_args *a, struct present *p, const struct tree_entry *e)
{
    char key[CAIRN_KEY_BYTES_MAX + 1];
    size_t len;
    if (!transfer_tree_key(t, e, key, &len))
        return;
    bool found = false;
    uint64_t size = 0;
    int rc = a->all ? 0 : present_find(p, key, len, &found, &size, NULL, NULL);
    if (rc != 0)
        transfer_failed(t, "", 0, rc, NULL);
    else if (found && size == e->size && !a->compare && !(a->quarantined > 0 && size > t->embed_bytes))
        transfer_skipped(t, size);
    else
        transfer_add(t, key, len, e->size, found && size == e->size);
}

/* How many regions of the node are in quarantine: the value of one is listed with its size like any other. 0 if the
 * node does not say. */
static uint64_t count_quarantined(struct cli *cli)
{
    struct cli_call call;
    char *text = NULL;
    if (cairn_status(cli->session, &text, cli_call_init(cli, &call, 0)) != 0)
        return 0;
    json_t *doc = json_loads(text, 0, NULL);
    const json_t *providers = json_object_get(doc, "providers");
    uint64_t n = 0;
    for (size_t i = 0; i < json_array_size(providers); i++)
        n += (uint64_t)json_integer_value(json_object_get(json_array_get(providers, i), "quarantined"));
    json_decref(doc);
    cairn_free(text);
    return n;
}

static void count_tree(struct transfer *t)
{
    uint64_t files = 0, bytes = 0;
    struct tree *tree = tree_open(t->dir);
    while (tree != NULL && !t->ending) {
        struct tree_entry e = tree_next(tree);
        if (e.kind == TREE_END) {
            transfer_set_totals(t, files, bytes);
            break;
        }
        files += e.kind == TREE_FILE;
        bytes += e.kind == TREE_FILE ? e.size : 0;
    }
    tree_close(tree);
}

static int import_find(struct transfer *t, struct cairn_ns *ns, struct cli_call *call)
{
    const struct import_args *a = t->plan->args;
    struct present present = { 0 };
    struct tree *tree = NULL;
    int rc = cairn_iter_open(ns, t->prefix, t->prefix_len, &call->o, &present.it);
    if (rc == 0 && !a->all)
        rc = present_step(&present);
    if (rc == 0) {
        tree = tree_open(t->dir);
        if (tree == NULL)
            transfer_failed(t, "", 0, CAIRN_E_IO, strerror(errno));
    }
    while (tree != NULL && !transfer_is_stopped(t)) {
        struct tree_entry e = tree_next(tree);
        if (e.kind == TREE_END)
            break;
        if (e.kind == TREE_FILE)
            add_file(t, a, &present, &e);
        else
            transfer_left_out(t, &e);
    }
    tree_close(tree);
    cairn_iter_close(present.it);
    return rc;
}

static int import_run(struct cli *cli, void *args)
{
    struct import_args *a = args;
    int status = cli_connect(cli);
    if (status != CLI_OK)
        return status;
    if (a->prefix != NULL && a->prefix[0] != '\0' && a->prefix[strlen(a->prefix) - 1] != '/')
        cli_warn(cli, "a prefix is put before each path as it is: `--prefix DIR/` makes a directory of it",
                 "--prefix %s ends in no slash: the file a/b gets the key %sa/b", a->prefix, a->prefix);
    a->quarantined = a->compare || a->all ? 0 : count_quarantined(cli);
    if (a->quarantined > 0)
        cli_note(cli, "the node has values in quarantine: what is there already is compared with its files");
    return transfer_run(cli, &(struct transfer_plan){ .verb = "import",
                                                      .sizes_only = !a->compare && a->quarantined == 0,
                                                      .dir = cli->operands[1],
                                                      .prefix = a->prefix,
                                                      .strict = a->strict,
                                                      .jobs = a->jobs,
                                                      .args = a,
                                                      .find = import_find,
                                                      .work = import_batch,
                                                      .count = count_tree });
}

static const struct cli_opt import_opts[] = {
    CLI_OPT(struct import_args, prefix, "prefix", 'p', CLI_STRING, "TEXT", NULL,
            "put this before each path, as it is: run1/ keeps them below run1"),
    CLI_OPT(
        struct import_args, compare, "compare", 'c', CLI_FLAG, NULL, NULL,
        "compare the bytes of what is there already, not only its size; what differs or is corrupt is stored again"),
    CLI_OPT(struct import_args, all, "all", 0, CLI_FLAG, NULL, NULL, "store everything again"),
    CLI_OPT(struct import_args, strict, "strict", 0, CLI_FLAG, NULL, NULL,
            "exit with 1 if anything had to be left out"),
    CLI_OPT(struct import_args, jobs, "jobs", 'J', CLI_NUMBER, "COUNT", "4", "transfers at a time"),
    CLI_OPT_END,
};

const struct cli_command cli_import = {
    .name = "import",
    .operands = "NAMESPACE DIR",
    .summary = "store a tree of files, each under its path",
    .text =
        "A file that is there already with the same size is left as it is, so the same command, given again, goes on "
        "where the last one ended; a file that was changed and kept its size needs --compare. While the node has "
        "values "
        "in quarantine, values in extents are always compared, and so mended.\n"
        "What is stored is the bytes of regular files: not their modes, owners and times. Symbolic links, special "
        "files and empty directories are left out, and the summary counts them; that alone is no failure, unless "
        "--strict says so. An archive (tar) keeps all of it.",
    .opts = import_opts,
    .args_size = sizeof(struct import_args),
    .examples = (const struct cli_example[]){ { "cairn import results /scratch/run1", "store a directory" },
                                              { "cairn import --prefix run1/ --compare results /scratch/run1",
                                                "below a prefix; store again what differs in any byte" },
                                              { "tar -c run1 | cairn put results run1.tar",
                                                "with modes, times and links, as one value" },
                                              { NULL, NULL } },
    .run = import_run,
    .group = "Data",
};
