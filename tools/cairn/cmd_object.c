/** cairn put, get: one value of a namespace. */
#include "tools/cairn/cluster.h"
#include "tools/cairn/commands.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* Above this, values are fed piece by piece, those that are fetched into a file are mapped, and memory stays
 * bounded. */
enum { PIECE_BYTES = 16 << 20, READ_BYTES = 1 << 20 };

/* ---- put ---- */

struct put_args {
    bool if_absent;
    const char *value;
};

static int put_bytes(struct cli *cli, struct cairn_ns *ns, const char *key, const void *data, size_t len,
                     uint32_t flags)
{
    struct cli_call call;
    cli_call_init(cli, &call, len);
    call.o.flags = flags;
    int rc = cairn_put(ns, key, strlen(key), data, len, &call.o);
    return rc == 0 ? CLI_OK : cli_call_failed(cli, rc, &call, "%s", key);
}

/* Whether the file is no longer the one that was opened, or has not given all its bytes: whoever changed it meanwhile
 * may have made a mixture of what was read. */
static bool is_changed(FILE *from, const struct stat *was, uint64_t total)
{
    struct stat st;
    return S_ISREG(was->st_mode) && was->st_size > 0 && /* a file of /proc has a size of 0 */
           (fstat(fileno(from), &st) != 0 || st.st_size != was->st_size || (uint64_t)st.st_size != total ||
            st.st_mtim.tv_sec != was->st_mtim.tv_sec || st.st_mtim.tv_nsec != was->st_mtim.tv_nsec);
}

struct put_source {
    FILE *from;
    const char *path;
    struct stat st; /* of a file that was named */
    off_t began;    /* negative: what was read is gone, as from a pipe */
};

/* However long it is: the writer holds a part of it at a time, and what is read wrong is never committed. What ends
 * within the first piece is no matter of parts, and of the time that they may take. CAIRN_E_BUSY in *@rc, and nothing
 * said yet: nothing came of it, and it may be tried again. */
static int put_once(struct cli *cli, struct cairn_ns *ns, const char *key, const struct put_source *s, char *buf,
                    struct cli_call *call, uint64_t *total, int *rc)
{
    struct cairn_writer *w = NULL;
    int status = CLI_OK;
    size_t n = fread(buf, 1, PIECE_BYTES, s->from);
    *total = n;
    *rc = 0;
    if (n < PIECE_BYTES && !ferror(s->from))
        return is_changed(s->from, &s->st, n) ? cli_file_changed(cli, s->path)
                                              : put_bytes(cli, ns, key, buf, n, call->o.flags);
    *rc = cairn_writer_open(ns, key, strlen(key), S_ISREG(s->st.st_mode) ? (uint64_t)s->st.st_size : 0, &call->o, &w);
    while (*rc == 0 && n > 0) {
        *rc = cairn_writer_write(w, buf, n);
        if (*rc == 0) {
            n = fread(buf, 1, READ_BYTES, s->from);
            *total += n;
        }
    }
    if (*rc == 0 && ferror(s->from)) {
        status = cli_fail_file(cli, s->from == cli->in ? "standard input" : s->path);
    } else if (*rc == 0 && is_changed(s->from, &s->st, *total)) {
        status = cli_file_changed(cli, s->path);
    } else if (*rc == 0) {
        *rc = cairn_writer_commit(w);
        w = NULL;
    }
    cairn_writer_abort(w);
    return status == CLI_OK && *rc != 0 && *rc != CAIRN_E_BUSY ? cli_call_failed(cli, *rc, call, "%s", key) : status;
}

/* A node that leads no more loses the parts it had: what can be read again is then written again. */
static int put_stream(struct cli *cli, struct cairn_ns *ns, const char *key, const char *path, uint32_t flags,
                      uint64_t *total)
{
    struct put_source s = { .from = path == NULL || strcmp(path, "-") == 0 ? cli->in : fopen(path, "re"),
                            .path = path };
    char *buf = malloc(PIECE_BYTES);
    struct cli_call call;
    int status = CLI_OK, rc = CAIRN_E_BUSY;
    if (s.from == NULL || buf == NULL || (s.from != cli->in && fstat(fileno(s.from), &s.st) != 0)) {
        status = buf != NULL ? cli_fail_file(cli, path) : cli_fail(cli, CAIRN_E_NOMEM, NULL, "%s", key);
        goto out;
    }
    s.began = ftello(s.from);
    for (int tries = 1; rc == CAIRN_E_BUSY; tries++) {
        cli_call_init(cli, &call, CAIRN_PART_BYTES);
        call.o.flags = flags;
        status = put_once(cli, ns, key, &s, buf, &call, total, &rc);
        if (rc == CAIRN_E_BUSY &&
            (tries == CLI_LARGE_TRIES_MAX || s.began < 0 || fseeko(s.from, s.began, SEEK_SET) != 0))
            break;
    }
    if (rc == CAIRN_E_BUSY) {
        cli->hint = s.began < 0
                        ? "nothing was stored, and what came by a pipe cannot be read again: give the command "
                          "again, or put it into a file first, which is sent again by itself"
                        : "nothing was stored; give the command again when `cairn status` says that all is well";
        status = cli_call_failed(cli, rc, &call, "%s", key);
    }
out:
    free(buf);
    if (s.from != NULL && s.from != cli->in)
        fclose(s.from);
    return status;
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
    } else {
        status = put_stream(cli, ns, key, path, flags, &len);
    }
    if (status == CLI_OK && cli->g.json)
        status = cli_json(cli, json_pack("{s:o, s:I}", "key", cli_json_text(key), "bytes", (json_int_t)len));
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
    .text =
        "The value comes from --value or FILE, or else from standard input. It is visible wholly or not at all. If the "
        "node that has the first parts of a large one goes away meanwhile, FILE is sent again; a pipe cannot be.",
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
        status = cli_fail_file(cli, path);
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
            status = cli_fail_file(cli, to == cli->out ? "standard output" : path);
        at += len;
    }
    cairn_reader_close(r);
    free(buf);
    if (to != NULL && to != cli->out && fclose(to) != 0 && status == CLI_OK)
        status = cli_fail_file(cli, path);
    return status;
}

/* In one call: no other writer can make it half one value and half another. */
static int get_part(struct cli *cli, struct cairn_ns *ns, const char *key, const struct get_args *a, uint64_t total,
                    void *buf, size_t room, size_t *len)
{
    struct cli_call call;
    uint64_t now = 0;
    cli_call_init(cli, &call, room);
    call.o.flags = a->verify ? CAIRN_VERIFY : 0;
    int rc = cairn_read(ns, key, strlen(key), a->offset, buf, room, len, &now, &call.o);
    if (rc != 0)
        return cli_call_failed(cli, rc, &call, "%s", key);
    return now != total ? get_replaced(cli, key) : CLI_OK;
}

/* Into a file, straight into its pages. */
static int get_file(struct cli *cli, struct cairn_ns *ns, const char *key, const char *path, const struct get_args *a,
                    uint64_t end, uint64_t total)
{
    size_t room = (size_t)(end > a->offset ? end - a->offset : 0), len = 0;
    struct cli_file f;
    int status = cli_file_open(cli, path, &f);
    if (status == CLI_OK && room > 0)
        status = cli_file_map(cli, &f, room);
    if (status == CLI_OK && room > 0)
        status = get_part(cli, ns, key, a, total, f.data, room, &len);
    return cli_file_close(cli, &f, status);
}

static int get_document(struct cli *cli, struct cairn_ns *ns, const char *key, const struct get_args *a, uint64_t end,
                        uint64_t total)
{
    size_t room = (size_t)(end > a->offset ? end - a->offset : 0), len = 0;
    if (room > CLI_JSON_VALUE_BYTES_MAX)
        return cli_value_too_long(cli, key);
    void *buf = malloc(MAX(room, 1));
    int status = buf == NULL ? cli_fail(cli, CAIRN_E_NOMEM, NULL, "%s", key) : CLI_OK;
    if (status == CLI_OK && room > 0)
        status = get_part(cli, ns, key, a, total, buf, room, &len);
    if (status == CLI_OK)
        status = cli_write_value(cli, NULL, buf, len, json_pack("{s:o}", "key", cli_json_text(key)));
    free(buf);
    return status;
}

/* Why a key may be missing that somebody has put: in a cluster each node has values of its own in a namespace that was
 * made without replicas. NULL: that is not it. */
static const char *absent_hint(struct cli *cli)
{
    struct cairn_ns_list *list = NULL;
    struct cli_call call;
    json_t *doc = NULL;
    int rc = cairn_ns_show(cli->session, cli->operands[0], &list, cli_call_init(cli, &call, 0));
    bool alone = rc == 0 && !list->namespaces[0].clustered;
    cairn_free(list);
    if (!alone || cli_cluster_ask(cli, &call, CLI_CLUSTER_SOON_MS, &doc) != 0)
        return NULL;
    bool others = json_array_size(json_object_get(doc, "members")) > 1;
    json_decref(doc);
    return others
               ? "check the name; and as the namespace was made without --replicas, each node has the values that were "
                 "put there: ask the node that took it (--address, --workspace)"
               : NULL;
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
    if (rc == CAIRN_E_NOTFOUND)
        cli->hint = absent_hint(cli);
    if (rc != 0)
        status = cli_call_failed(cli, rc, &call, "%s", key);
    else if (cli->g.json && (path == NULL || strcmp(path, "-") == 0))
        status = get_document(cli, ns, key, a, end, total);
    else if (cli_is_stream(path))
        status = get_pieces(cli, ns, key, path, a, end);
    else
        status = get_file(cli, ns, key, path, a, end, total);
    if (status == CLI_OK && cli->g.json && path != NULL && strcmp(path, "-") != 0)
        status =
            cli_json(cli, json_pack("{s:o, s:I, s:o}", "key", cli_json_text(key), "bytes",
                                    (json_int_t)(end > a->offset ? end - a->offset : 0), "file", cli_json_text(path)));
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
    .text = CLI_VALUE_TEXT,
    .opts = get_opts,
    .args_size = sizeof(struct get_args),
    .examples = (const struct cli_example[]){ { "cairn get results run1/energy energy.dat", "fetch it into a file" },
                                              { "cairn get results run1/log | tail", "fetch it into a pipe" },
                                              { "cairn get --offset 1MiB --length 4KiB results big", "fetch a part" },
                                              { NULL, NULL } },
    .run = get_run,
    .group = "Data",
};
