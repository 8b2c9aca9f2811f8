/** cairn ls, stat, rm: keys of a namespace. */
#include "tools/cairn/commands.h"

#include <string.h>

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
    for (uint32_t i = 1; a->recursive && !a->force && i < cli->noperands; i++) {
        if (cli->operands[i][0] == '\0')
            return cli_usage(cli, "every key begins with '' (an unset variable?); --force removes all that is there");
    }
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
    if (a->recursive) {
        char n[CLI_UNIT_BYTES + 8];
        cli_note(cli, "%s value%s removed", cli_count(n, removed), removed == 1 ? "" : "s");
    }
    return cli_removed(cli, (json_int_t)removed, status);
}

static const struct cli_opt rm_opts[] = {
    CLI_OPT(struct rm_args, recursive, "prefix", 'r', CLI_FLAG, NULL, NULL,
            "each KEY stands for all keys that begin with it; run1 takes run10/x too, run1/ does not"),
    CLI_OPT(struct rm_args, force, "force", 'f', CLI_FLAG, NULL, NULL,
            "fine if a key is not there; with --prefix also the empty KEY, which is everything"),
    CLI_OPT_END,
};

const struct cli_command cli_rm = {
    .name = "rm",
    .operands = "NAMESPACE KEY...",
    .summary = "remove values",
    .text = "A prefix is a beginning of keys and no directory: end it with a slash to mean one. A namespace made with "
            "--write-once lets values be removed, and so stored anew; only replacing them is refused.",
    .opts = rm_opts,
    .args_size = sizeof(struct rm_args),
    .examples = (const struct cli_example[]){ { "cairn rm results run1/log", "remove one" },
                                              { "cairn rm --prefix results run1/", "remove all of a run" },
                                              { NULL, NULL } },
    .run = rm_run,
    .group = "Data",
};
