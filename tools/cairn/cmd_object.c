/** cairn put, get, ls, stat, rm: objects of a namespace, one at a time. */
#include "tools/cairn/commands.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* Above this, streams are fed piece by piece and files are mapped, and memory stays bounded. */
enum { PIECE_BYTES = 16 << 20, READ_BYTES = 1 << 20 };

/* ---- put ---- */

struct put_args {
    bool if_absent;
    const char *value;
};

/* However long it is: the writer holds a part of it at a time. */
static int put_stream(struct cli *cli, struct cairn_ns *ns, const char *key, const char *path, uint32_t flags,
                      uint64_t *total)
{
    FILE *from = path == NULL || strcmp(path, "-") == 0 ? cli->in : fopen(path, "re");
    char *buf = malloc(READ_BYTES);
    struct cairn_writer *w = NULL;
    struct cli_call call;
    int status = CLI_OK, rc = 0;
    size_t n = 1;
    cli_call_init(cli, &call, CAIRN_PART_BYTES);
    call.o.flags = flags;
    if (from == NULL || buf == NULL) {
        status = cli_fail(cli, from == NULL ? CAIRN_E_IO : CAIRN_E_NOMEM, from == NULL ? strerror(errno) : NULL, "%s",
                          path != NULL ? path : key);
        goto out;
    }
    rc = cairn_writer_open(ns, key, strlen(key), 0, &call.o, &w);
    for (*total = 0; rc == 0 && n > 0; *total += n) {
        n = fread(buf, 1, READ_BYTES, from);
        if (n > 0)
            rc = cairn_writer_write(w, buf, n);
    }
    if (rc == 0 && ferror(from)) {
        status = cli_fail(cli, CAIRN_E_IO, strerror(errno), "%s", path != NULL ? path : "standard input");
        goto out;
    }
    if (rc == 0) {
        rc = cairn_writer_commit(w);
        w = NULL;
    }
    if (rc != 0)
        status = cli_call_failed(cli, rc, &call, "%s", key);
out:
    cairn_writer_abort(w);
    free(buf);
    if (from != NULL && from != cli->in)
        fclose(from);
    return status;
}

static int put_bytes(struct cli *cli, struct cairn_ns *ns, const char *key, const void *data, size_t len,
                     uint32_t flags)
{
    struct cli_call call;
    cli_call_init(cli, &call, len);
    call.o.flags = flags;
    int rc = cairn_put(ns, key, strlen(key), data, len, &call.o);
    return rc == 0 ? CLI_OK : cli_call_failed(cli, rc, &call, "%s", key);
}

static int put_run(struct cli *cli, void *args)
{
    const struct put_args *a = args;
    const char *key = cli->operands[1], *path = cli->noperands > 2 ? cli->operands[2] : NULL;
    if (a->value != NULL && path != NULL)
        return cli_usage(cli, "--value and FILE exclude each other");
    struct cairn_ns *ns = NULL;
    int status = cli_open_ns(cli, cli->operands[0], &ns);
    if (status != CLI_OK)
        return status;
    uint32_t flags = a->if_absent ? CAIRN_IF_ABSENT : 0;
    uint64_t len = 0;
    if (a->value != NULL) {
        len = strlen(a->value);
        status = put_bytes(cli, ns, key, a->value, len, flags);
    } else if (cli_is_stream(path)) {
        status = put_stream(cli, ns, key, path, flags, &len);
    } else {
        struct cli_blob blob = { 0 };
        status = cli_blob_read(cli, path, CAIRN_VALUE_BYTES_MAX, &blob);
        len = blob.len;
        if (status == CLI_OK)
            status = put_bytes(cli, ns, key, blob.data, blob.len, flags);
        cli_blob_free(&blob);
    }
    if (status == CLI_OK && cli->g.json)
        status = cli_json(cli, json_pack("{s:o, s:I}", "key", json_string(key), "bytes", (json_int_t)len));
    cairn_ns_close(ns);
    return status;
}

static const struct cli_opt put_opts[] = {
    CLI_OPT(struct put_args, if_absent, "if-absent", 0, CLI_FLAG, NULL, NULL, "fail if the key is there already"),
    CLI_OPT(struct put_args, value, "value", 'v', CLI_STRING, "TEXT", NULL, "store this text"),
    CLI_OPT_END,
};

const struct cli_command cli_put = {
    .name = "put",
    .operands = "NAMESPACE KEY [FILE]",
    .summary = "store one value under a key",
    .text = "The value comes from FILE, or from standard input. It is visible wholly or not at all.",
    .opts = put_opts,
    .args_size = sizeof(struct put_args),
    .examples =
        (const struct cli_example[]){ { "cairn put results run1/energy energy.dat", "store a file" },
                                      { "simulate | cairn put results run1/log", "store what a program writes" },
                                      { "cairn put --value 3.14 results pi", "store a text" },
                                      { NULL, NULL } },
    .run = put_run,
    .group = "Data",
};

/* ---- get ---- */

struct get_args {
    uint64_t offset, length;
    bool verify;
};

static int get_replaced(struct cli *cli, const char *key)
{
    return cli_fail(cli, CAIRN_E_STATE, "the value was replaced while it was read", "%s", key);
}

/* Into a stream. Pieces of two values are told from each other by the reader. */
static int get_pieces(struct cli *cli, struct cairn_ns *ns, const char *key, const char *path, const struct get_args *a,
                      uint64_t end)
{
    FILE *to = path == NULL || strcmp(path, "-") == 0 ? cli->out : fopen(path, "we");
    void *buf = malloc(PIECE_BYTES);
    struct cairn_reader *r = NULL;
    struct cli_call call;
    int status = CLI_OK;
    cli_call_init(cli, &call, PIECE_BYTES);
    call.o.flags = a->verify ? CAIRN_VERIFY : 0;
    int rc =
        buf == NULL || to == NULL ? CAIRN_E_NOMEM : cairn_reader_open(ns, key, strlen(key), a->offset, &call.o, &r);
    if (to == NULL)
        status = cli_fail(cli, CAIRN_E_IO, strerror(errno), "%s", path);
    else if (rc != 0)
        status = cli_call_failed(cli, rc, &call, "%s", key);
    for (uint64_t at = a->offset; status == CLI_OK && at < end;) {
        size_t len = 0;
        rc = cairn_reader_read(r, buf, (size_t)MIN(end - at, PIECE_BYTES), &len, NULL);
        if (rc == CAIRN_E_BUSY)
            status = get_replaced(cli, key);
        else if (rc != 0)
            status = cli_call_failed(cli, rc, &call, "%s", key);
        else if (len == 0)
            break;
        else if (fwrite(buf, 1, len, to) != len)
            status = cli_fail(cli, CAIRN_E_IO, strerror(errno), "%s", path != NULL ? path : "standard output");
        at += len;
    }
    cairn_reader_close(r);
    free(buf);
    if (to != NULL && to != cli->out && fclose(to) != 0 && status == CLI_OK)
        status = cli_fail(cli, CAIRN_E_IO, strerror(errno), "%s", path);
    return status;
}

/* Into a file, straight into its pages. In one call: no other writer can make it half one value and half another. */
static int get_file(struct cli *cli, struct cairn_ns *ns, const char *key, const char *path, const struct get_args *a,
                    uint64_t end, uint64_t total)
{
    size_t room = (size_t)(end > a->offset ? end - a->offset : 0), len = 0;
    uint64_t now = 0;
    struct cli_call call;
    struct cli_file f;
    int status = cli_file_open(cli, path, &f);
    if (status == CLI_OK && room > 0)
        status = cli_file_map(cli, &f, room);
    if (status == CLI_OK && room > 0) {
        cli_call_init(cli, &call, room);
        call.o.flags = a->verify ? CAIRN_VERIFY : 0;
        int rc = cairn_read(ns, key, strlen(key), a->offset, f.data, room, &len, &now, &call.o);
        if (rc != 0)
            status = cli_call_failed(cli, rc, &call, "%s", key);
        else if (now != total)
            status = get_replaced(cli, key);
    }
    return cli_file_close(cli, &f, status);
}

static int get_run(struct cli *cli, void *args)
{
    const struct get_args *a = args;
    const char *key = cli->operands[1], *path = cli->noperands > 2 ? cli->operands[2] : NULL;
    struct cairn_ns *ns = NULL;
    int status = cli_open_ns(cli, cli->operands[0], &ns);
    if (status != CLI_OK)
        return status;
    struct cli_call call;
    uint64_t total = 0;
    int rc = cairn_length(ns, key, strlen(key), &total, cli_call_init(cli, &call, 0));
    uint64_t end = a->length != 0 && a->offset < total ? a->offset + MIN(a->length, total - a->offset) : total;
    if (rc != 0)
        status = cli_call_failed(cli, rc, &call, "%s", key);
    else if (cli_is_stream(path))
        status = get_pieces(cli, ns, key, path, a, end);
    else
        status = get_file(cli, ns, key, path, a, end, total);
    cairn_ns_close(ns);
    return status;
}

static const struct cli_opt get_opts[] = {
    CLI_OPT(struct get_args, offset, "offset", 'o', CLI_SIZE, "SIZE", NULL, "start this far into the value"),
    CLI_OPT(struct get_args, length, "length", 'n', CLI_SIZE, "SIZE", NULL, "at most so much"),
    CLI_OPT(struct get_args, verify, "verify", 0, CLI_FLAG, NULL, NULL,
            "the node checks what it stored before it answers"),
    CLI_OPT_END,
};

const struct cli_command cli_get = {
    .name = "get",
    .operands = "NAMESPACE KEY [FILE]",
    .summary = "fetch one value",
    .text = "It goes into FILE, which changes only if all went well, or to standard output.",
    .opts = get_opts,
    .args_size = sizeof(struct get_args),
    .examples = (const struct cli_example[]){ { "cairn get results run1/energy energy.dat", "fetch it into a file" },
                                              { "cairn get results run1/log | tail", "fetch it into a pipe" },
                                              { "cairn get --offset 1MiB --length 4KiB results big", "fetch a part" },
                                              { NULL, NULL } },
    .run = get_run,
    .group = "Data",
};

/* ---- ls ---- */

struct ls_args {
    bool longer, null;
    uint64_t max;
};

static void ls_text(struct cli *cli, const struct ls_args *a, const struct cairn_entry *e)
{
    char size[CLI_UNIT_BYTES];
    if (a->longer)
        fprintf(cli->out, "%10s  ", e->value_len != CAIRN_LENGTH_UNKNOWN ? cli_size(size, e->value_len) : "?");
    if (cli->out_tty)
        cli_put_printable(cli->out, e->key, e->key_len);
    else
        fwrite(e->key, 1, e->key_len, cli->out);
    putc(a->null ? '\0' : '\n', cli->out);
}

static int ls_run(struct cli *cli, void *args)
{
    const struct ls_args *a = args;
    const char *prefix = cli->noperands > 1 ? cli->operands[1] : "";
    struct cairn_ns *ns = NULL;
    int status = cli_open_ns(cli, cli->operands[0], &ns);
    if (status != CLI_OK)
        return status;
    struct cli_call call;
    struct cairn_iter *it = NULL;
    struct cli_stream stream;
    uint64_t n = 0, bytes = 0;
    int rc = cairn_iter_open(ns, prefix, strlen(prefix), cli_call_init(cli, &call, 0), &it);
    if (cli->g.json)
        cli_stream_begin(&stream, cli, "objects");
    while (rc == 0 && (a->max == 0 || n < a->max)) {
        struct cairn_entry e;
        rc = cairn_iter_next(it, &e);
        if (rc <= 0)
            break;
        rc = 0;
        n++;
        bytes += e.value_len != CAIRN_LENGTH_UNKNOWN ? e.value_len : 0;
        if (cli->g.json) {
            json_t *item = json_object();
            cli_json_bytes(item, "key", e.key, e.key_len);
            json_object_set_new(item, "bytes",
                                e.value_len != CAIRN_LENGTH_UNKNOWN ? json_integer((json_int_t)e.value_len)
                                                                    : json_null());
            cli_stream_item(&stream, item);
        } else {
            ls_text(cli, a, &e);
        }
        if (ferror(cli->out))
            break;
    }
    if (cli->g.json)
        cli_stream_end(&stream, "complete", json_boolean(rc == 0));
    else if (a->longer && cli->out_tty && rc == 0) {
        char count[CLI_UNIT_BYTES + 8], size[CLI_UNIT_BYTES];
        cli_note(cli, "%s objects, %s", cli_count(count, n), cli_size(size, bytes));
    }
    if (rc < 0)
        status = cli_call_failed(cli, rc, &call, "listing %s", cli->operands[0]);
    cairn_iter_close(it);
    cairn_ns_close(ns);
    return status;
}

static const struct cli_opt ls_opts[] = {
    CLI_OPT(struct ls_args, longer, "long", 'l', CLI_FLAG, NULL, NULL, "with sizes"),
    CLI_OPT(struct ls_args, null, "null", '0', CLI_FLAG, NULL, NULL, "end keys with a zero byte instead of a newline"),
    CLI_OPT(struct ls_args, max, "max", 'n', CLI_NUMBER, "COUNT", NULL, "at most so many"),
    CLI_OPT_END,
};

const struct cli_command cli_ls = {
    .name = "ls",
    .operands = "NAMESPACE [PREFIX]",
    .summary = "list keys in order, all or those with a prefix",
    .opts = ls_opts,
    .args_size = sizeof(struct ls_args),
    .examples = (const struct cli_example[]){ { "cairn ls -l results run1/", "keys and sizes of one run" },
                                              { "cairn ls -0 results | xargs -0 -n 1 echo", "keys for a script" },
                                              { NULL, NULL } },
    .run = ls_run,
    .group = "Data",
};

/* ---- stat ---- */

static int stat_run(struct cli *cli, void *args)
{
    (void)args;
    struct cairn_ns *ns = NULL;
    int status = cli_open_ns(cli, cli->operands[0], &ns);
    if (status != CLI_OK)
        return status;
    static const struct cli_col cols[] = { { "KEY", "key", CLI_CELL_TEXT }, { "SIZE", "bytes", CLI_CELL_BYTES } };
    struct cli_table *t = cli_table_new(cli, "objects", cols, ARRAY_SIZE(cols));
    for (uint32_t i = 1; i < cli->noperands; i++) {
        struct cli_call call;
        uint64_t len = 0;
        const char *key = cli->operands[i];
        int rc = cairn_length(ns, key, strlen(key), &len, cli_call_init(cli, &call, 0));
        if (rc == 0)
            cli_table_row(t, (struct cli_cell[]){ CLI_TEXT(key), CLI_NUM(len) });
        else
            status = cli_call_failed(cli, rc, &call, "%s", key);
    }
    int printed = cli_table_end(t);
    cairn_ns_close(ns);
    return status != CLI_OK ? status : printed;
}

const struct cli_command cli_stat = {
    .name = "stat",
    .operands = "NAMESPACE KEY...",
    .summary = "show whether values are there, and how large",
    .examples = (const struct cli_example[]){ { "cairn stat results run1/energy", "its size; exit 1 if there is none" },
                                              { NULL, NULL } },
    .run = stat_run,
    .group = "Data",
};

/* ---- rm ---- */

struct rm_args {
    bool recursive, force;
};

static int rm_prefix(struct cli *cli, struct cairn_ns *ns, const char *prefix, uint64_t *removed)
{
    struct cli_call call;
    struct cairn_page *page = NULL;
    int rc = 0;
    do { /* from the first again each time: what was there is gone */
        cairn_free(page);
        page = NULL;
        rc = cairn_list(ns, prefix, strlen(prefix), NULL, 0, 0, &page, cli_call_init(cli, &call, 0));
        for (size_t i = 0; rc == 0 && i < page->n; i++) {
            rc = cairn_delete(ns, page->entries[i].key, page->entries[i].key_len, cli_call_init(cli, &call, 0));
            *removed += rc == 0;
            if (rc == CAIRN_E_NOTFOUND)
                rc = 0;
        }
    } while (rc == 0 && page->more);
    cairn_free(page);
    return rc == 0 ? CLI_OK : cli_call_failed(cli, rc, &call, "removing keys that begin with '%s'", prefix);
}

static int rm_run(struct cli *cli, void *args)
{
    const struct rm_args *a = args;
    struct cairn_ns *ns = NULL;
    int status = cli_open_ns(cli, cli->operands[0], &ns);
    if (status != CLI_OK)
        return status;
    uint64_t removed = 0;
    for (uint32_t i = 1; i < cli->noperands; i++) {
        const char *key = cli->operands[i];
        if (a->recursive) {
            int rc = rm_prefix(cli, ns, key, &removed);
            status = rc != CLI_OK ? rc : status;
            continue;
        }
        struct cli_call call;
        bool exists = true; /* a namespace may remove without looking; people want to hear of a misspelt key */
        bool looks = !a->force || cli->g.json; /* JSON counts what was there */
        int rc = !looks ? 0 : cairn_exists(ns, key, strlen(key), &exists, cli_call_init(cli, &call, 0));
        if (rc == 0)
            rc = exists ? cairn_delete(ns, key, strlen(key), cli_call_init(cli, &call, 0)) : CAIRN_E_NOTFOUND;
        removed += rc == 0;
        if (rc != 0 && !(a->force && rc == CAIRN_E_NOTFOUND))
            status = cli_call_failed(cli, rc, &call, "%s", key);
    }
    cairn_ns_close(ns);
    if (cli->g.json) {
        int printed = cli_json(cli, json_pack("{s:I}", "removed", (json_int_t)removed));
        return status != CLI_OK ? status : printed;
    }
    return status;
}

static const struct cli_opt rm_opts[] = {
    CLI_OPT(struct rm_args, recursive, "prefix", 'r', CLI_FLAG, NULL, NULL,
            "each KEY stands for all keys that begin with it"),
    CLI_OPT(struct rm_args, force, "force", 'f', CLI_FLAG, NULL, NULL, "fine if a key is not there"),
    CLI_OPT_END,
};

const struct cli_command cli_rm = {
    .name = "rm",
    .operands = "NAMESPACE KEY...",
    .summary = "remove values",
    .opts = rm_opts,
    .args_size = sizeof(struct rm_args),
    .examples = (const struct cli_example[]){ { "cairn rm results run1/log", "remove one" },
                                              { "cairn rm --prefix results run1/", "remove all of a run" },
                                              { NULL, NULL } },
    .run = rm_run,
    .group = "Data",
};
