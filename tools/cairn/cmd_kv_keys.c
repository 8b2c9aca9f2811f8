/** cairn kv put, get, rm, ls: keys of a database. */
#include "tools/cairn/database.h"

#include <endian.h>
#include <inttypes.h>
#include <string.h>

/* A key as typed: its bytes, or a number where keys are numbers. */
struct key {
    const void *bytes;
    size_t len;
    uint64_t number;
};

static int parse_key(struct cli *cli, const struct database *db, const char *text, struct key *key)
{
    *key = (struct key){ .bytes = text, .len = strlen(text) };
    if (db->order != CAIRN_KV_ORDER_UINT)
        return CLI_OK;
    if (!cli_parse_number(text, &key->number))
        return cli_usage(cli, "keys of %s are numbers, not '%s'", db->name, text);
    key->number = htole64(key->number);
    key->bytes = &key->number;
    key->len = sizeof(key->number);
    return CLI_OK;
}

static uint64_t number_of(const void *bytes, size_t len)
{
    uint64_t n = 0;
    memcpy(&n, bytes, MIN(len, sizeof(n)));
    return le64toh(n);
}

/* ---- put, get, rm ---- */

struct put_args {
    const char *durability, *value;
    bool if_absent;
};

static int put(struct cli *cli, struct database *db, void *args)
{
    const struct put_args *a = args;
    const char *text = cli->operands[1];
    struct key key;
    struct cli_blob blob = { 0 };
    int status = parse_key(cli, db, text, &key);
    if (status == CLI_OK && a->value == NULL)
        status = cli_blob_read(cli, cli->noperands > 2 ? cli->operands[2] : NULL, CAIRN_KV_VALUE_BYTES_MAX, &blob);
    if (status == CLI_OK) {
        struct cli_call call;
        cli_call_init(cli, &call, 0);
        call.o.flags = a->if_absent ? CAIRN_IF_ABSENT : 0;
        call.o.durability = cli_durability(a->durability);
        const void *data = a->value != NULL ? a->value : blob.data;
        size_t len = a->value != NULL ? strlen(a->value) : blob.len;
        int rc = cairn_kv_put(db->kv, key.bytes, key.len, data, len, &call.o);
        if (rc != 0)
            status = cli_call_failed(cli, rc, &call, "%s", text);
        else if (cli->g.json)
            status = cli_json(cli, json_pack("{s:o, s:I}", "key", cli_json_text(text), "bytes", (json_int_t)len));
    }
    cli_blob_free(&blob);
    return status;
}

static int put_run(struct cli *cli, void *args)
{
    if (((const struct put_args *)args)->value != NULL && cli->noperands > 2)
        return cli_usage(cli, "--value and FILE exclude each other");
    return database_opened(cli, args, put);
}

static const struct cli_opt put_opts[] = {
    CLI_OPT(struct put_args, value, "value", 'v', CLI_STRING, "TEXT", NULL, "store this text"),
    CLI_OPT(struct put_args, if_absent, "if-absent", 0, CLI_FLAG, NULL, NULL, "fail if the key is there already"),
    CLI_OPT(struct put_args, durability, "durability", 'd', CLI_CHOICE, "memory|buffered|sync", NULL,
            "what the write survives once it is acknowledged"),
    CLI_OPT_END,
};

const struct cli_command cli_kv_put = {
    .name = "kv put",
    .operands = "PROVIDER/NAME KEY [FILE]",
    .summary = "store a value in a database",
    .text = "The value comes from --value or FILE, or else from standard input.",
    .opts = put_opts,
    .args_size = sizeof(struct put_args),
    .examples =
        (const struct cli_example[]){ { "cairn kv put --value done kv/runs run1", "store a text" }, { NULL, NULL } },
    .run = put_run,
    .group = "Providers",
};

static int get(struct cli *cli, struct database *db, void *args)
{
    (void)args;
    const char *text = cli->operands[1];
    struct key key;
    int status = parse_key(cli, db, text, &key);
    if (status != CLI_OK)
        return status;
    struct cli_call call;
    void *value = NULL;
    size_t len = 0;
    int rc = cairn_kv_get_alloc(db->kv, key.bytes, key.len, &value, &len, cli_call_init(cli, &call, 0));
    status = rc == 0 ? cli_write_value(cli, cli->noperands > 2 ? cli->operands[2] : NULL, value, len,
                                       json_pack("{s:o}", "key", cli_json_text(text)))
                     : cli_call_failed(cli, rc, &call, "%s", text);
    cairn_free(value);
    return status;
}

static int get_run(struct cli *cli, void *args)
{
    return database_opened(cli, args, get);
}

const struct cli_command cli_kv_get = {
    .name = "kv get",
    .operands = "PROVIDER/NAME KEY [FILE]",
    .summary = "fetch a value from a database",
    .text = CLI_VALUE_TEXT,
    .examples = (const struct cli_example[]){ { "cairn kv get kv/runs run1", "print it" }, { NULL, NULL } },
    .run = get_run,
    .group = "Providers",
};

struct rm_args {
    bool force;
};

static int rm(struct cli *cli, struct database *db, void *args)
{
    const struct rm_args *a = args;
    json_int_t removed = 0;
    int status = CLI_OK;
    for (uint32_t i = 1; i < cli->noperands; i++) {
        struct key key;
        struct cli_call call;
        int one = parse_key(cli, db, cli->operands[i], &key);
        bool exists = true; /* a provider removes without looking; people want to hear of a misspelt key */
        int rc = one == CLI_OK ? cairn_kv_exists(db->kv, key.bytes, key.len, &exists, cli_call_init(cli, &call, 0)) : 0;
        if (one == CLI_OK && rc == 0)
            rc = exists ? cairn_kv_erase(db->kv, key.bytes, key.len, cli_call_init(cli, &call, 0)) : CAIRN_E_NOTFOUND;
        if (rc == CAIRN_E_NOTFOUND && a->force)
            continue;
        if (rc != 0)
            one = cli_call_failed(cli, rc, &call, "%s", cli->operands[i]);
        removed += one == CLI_OK;
        status = one != CLI_OK ? one : status;
    }
    return cli_removed(cli, removed, status);
}

static int rm_run(struct cli *cli, void *args)
{
    return database_opened(cli, args, rm);
}

static const struct cli_opt rm_opts[] = {
    CLI_OPT(struct rm_args, force, "force", 'f', CLI_FLAG, NULL, NULL, "fine if a key is not there"),
    CLI_OPT_END,
};

const struct cli_command cli_kv_rm = {
    .name = "kv rm",
    .operands = "PROVIDER/NAME KEY...",
    .summary = "remove keys of a database",
    .opts = rm_opts,
    .args_size = sizeof(struct rm_args),
    .examples = (const struct cli_example[]){ { "cairn kv rm kv/runs run1 run2", "remove two" }, { NULL, NULL } },
    .run = rm_run,
    .group = "Providers",
};

/* ---- ls ---- */

struct ls_args {
    const char *from, *to;
    uint64_t max;
    bool longer, reverse;
};

static void ls_entry(struct cli *cli, const struct database *db, const struct ls_args *a, const struct cairn_entry *e,
                     struct cli_stream *stream)
{
    if (cli->g.json) {
        json_t *item = json_object();
        if (db->order == CAIRN_KV_ORDER_UINT)
            json_object_set_new(item, "key", json_integer((json_int_t)number_of(e->key, e->key_len)));
        else
            cli_json_bytes(item, "key", e->key, e->key_len);
        if (a->longer)
            cli_json_bytes(item, "value", e->value, (size_t)e->value_len);
        cli_stream_item(stream, item);
        return;
    }
    if (db->order == CAIRN_KV_ORDER_UINT)
        fprintf(cli->out, "%" PRIu64, number_of(e->key, e->key_len));
    else
        cli_put_printable(cli->out, e->key, e->key_len);
    if (a->longer) {
        fputs("  ", cli->out);
        cli_put_printable(cli->out, e->value, (size_t)MIN(e->value_len, 256));
        fputs(e->value_len > 256 ? "..." : "", cli->out);
    }
    putc('\n', cli->out);
}

static int ls(struct cli *cli, struct database *db, void *args)
{
    const struct ls_args *a = args;
    int status = CLI_OK;
    struct cairn_kv_range range = CAIRN_KV_RANGE_INIT;
    struct key from = { 0 }, to = { 0 };
    if (cli->noperands > 1) {
        range.prefix = cli->operands[1];
        range.prefix_len = strlen(cli->operands[1]);
    }
    if (a->from != NULL)
        status = parse_key(cli, db, a->from, &from);
    if (a->to != NULL && status == CLI_OK)
        status = parse_key(cli, db, a->to, &to);
    range.from = from.bytes;
    range.from_len = from.len;
    range.to = to.bytes;
    range.to_len = to.len;
    range.values = a->longer;
    range.reverse = a->reverse;

    struct cli_call call;
    struct cli_stream stream;
    struct cairn_page *page = NULL, *before = NULL; /* the last key of one page starts the next */
    uint64_t n = 0;
    int rc = 0;
    bool more = status == CLI_OK;
    if (status == CLI_OK && cli->g.json)
        cli_stream_begin(&stream, cli, "entries");
    while (more) {
        range.max = a->max != 0 ? (uint32_t)MIN(a->max - n, CAIRN_BATCH_MAX) : 0;
        rc = cairn_kv_list(db->kv, &range, &page, cli_call_init(cli, &call, 0));
        cairn_free(before);
        before = NULL;
        if (rc != 0)
            break;
        for (size_t i = 0; i < page->n; i++, n++)
            ls_entry(cli, db, a, &page->entries[i], &stream);
        more = page->more && page->n > 0 && (a->max == 0 || n < a->max) && !ferror(cli->out);
        if (page->n > 0) {
            range.from = page->entries[page->n - 1].key;
            range.from_len = page->entries[page->n - 1].key_len;
            range.after = true;
        }
        before = page;
        page = NULL;
    }
    cairn_free(before);
    if (status == CLI_OK && cli->g.json)
        cli_stream_end(&stream, "complete", json_boolean(rc == 0));
    if (rc != 0)
        status = cli_call_failed(cli, rc, &call, "listing %s", cli->operands[0]);
    return status;
}

static int ls_run(struct cli *cli, void *args)
{
    return database_opened(cli, args, ls);
}

static const struct cli_opt ls_opts[] = {
    CLI_OPT(struct ls_args, longer, "long", 'l', CLI_FLAG, NULL, NULL, "with values"),
    CLI_OPT(struct ls_args, from, "from", 0, CLI_STRING, "KEY", NULL, "start with this key"),
    CLI_OPT(struct ls_args, to, "to", 0, CLI_STRING, "KEY", NULL, "end before this key"),
    CLI_OPT(struct ls_args, reverse, "reverse", 'r', CLI_FLAG, NULL, NULL,
            "from the end to the beginning; --from is then the upper end"),
    CLI_OPT(struct ls_args, max, "max", 'n', CLI_NUMBER, "COUNT", NULL, "at most so many"),
    CLI_OPT_END,
};

const struct cli_command cli_kv_ls = {
    .name = "kv ls",
    .operands = "PROVIDER/NAME [PREFIX]",
    .summary = "list keys of a database in its order",
    .opts = ls_opts,
    .args_size = sizeof(struct ls_args),
    .examples = (const struct cli_example[]){ { "cairn kv ls -l kv/runs run", "keys and values with a prefix" },
                                              { "cairn kv ls --from 100 --to 200 kv/events", "a range of numbers" },
                                              { NULL, NULL } },
    .run = ls_run,
    .group = "Providers",
};
