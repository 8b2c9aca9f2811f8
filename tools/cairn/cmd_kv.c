/** cairn kv: databases of a KV provider, without the namespaces in between. */
#include "tools/cairn/commands.h"

#include <endian.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* An open database, and how its keys are written on a command line. */
struct database {
    char provider[CAIRN_NAME_BYTES_MAX + 1];
    const char *name; /* into the operand */
    struct cairn_kv *kv;
    enum cairn_kv_order order;
};

/* "kv/runs" -> provider and name. */
static int split(struct cli *cli, const char *operand, struct database *db)
{
    const char *slash = strchr(operand, '/');
    if (slash == NULL || slash == operand || slash[1] == '\0' || slash - operand > CAIRN_NAME_BYTES_MAX)
        return cli_usage(cli, "a database is named PROVIDER/NAME, as in kv/runs, not '%s'", operand);
    memcpy(db->provider, operand, (size_t)(slash - operand));
    db->provider[slash - operand] = '\0';
    db->name = slash + 1;
    return CLI_OK;
}

static int find_order(struct cli *cli, struct database *db)
{
    struct cli_call call;
    struct cairn_kv_databases *list = NULL;
    int rc = cairn_kv_databases(cli->session, db->provider, &list, cli_call_init(cli, &call, 0));
    for (size_t i = 0; rc == 0 && i < list->n; i++) {
        if (strcmp(list->databases[i].name, db->name) == 0)
            db->order = list->databases[i].order;
    }
    cairn_free(list);
    return rc == 0 ? CLI_OK : cli_call_failed(cli, rc, &call, "%s", cli->operands[0]);
}

static int open_database(struct cli *cli, struct database *db)
{
    *db = (struct database){ 0 };
    int status = split(cli, cli->operands[0], db);
    if (status == CLI_OK)
        status = cli_connect(cli);
    if (status != CLI_OK)
        return status;
    struct cli_call call;
    int rc = cairn_kv_open(cli->session, db->provider, db->name, NULL, &db->kv, cli_call_init(cli, &call, 0));
    if (rc != 0)
        return cli_call_failed(cli, rc, &call, "%s", cli->operands[0]);
    status = find_order(cli, db);
    if (status != CLI_OK)
        cairn_kv_close(db->kv);
    return status;
}

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

/* ---- create, list, drop ---- */

struct create_args {
    const char *order;
    bool write_once, if_missing;
};

static int create_run(struct cli *cli, void *args)
{
    const struct create_args *a = args;
    struct database db = { 0 };
    int status = split(cli, cli->operands[0], &db);
    if (status == CLI_OK)
        status = cli_connect(cli);
    if (status != CLI_OK)
        return status;
    struct cairn_kv_options o = CAIRN_KV_OPTIONS_INIT;
    o.create = true;
    o.exclusive = !a->if_missing;
    o.write_once = a->write_once;
    o.order = strcmp(a->order, "uint") == 0 ? CAIRN_KV_ORDER_UINT : CAIRN_KV_ORDER_BYTES;
    struct cli_call call;
    int rc = cairn_kv_open(cli->session, db.provider, db.name, &o, &db.kv, cli_call_init(cli, &call, 0));
    cairn_kv_close(db.kv);
    if (rc != 0)
        return cli_call_failed(cli, rc, &call, "%s", cli->operands[0]);
    return cli->g.json ? cli_json(cli, json_pack("{s:s}", "database", cli->operands[0])) : CLI_OK;
}

static const struct cli_opt create_opts[] = {
    CLI_OPT(struct create_args, order, "order", 0, CLI_CHOICE, "bytes|uint", "bytes",
            "how keys compare: as bytes, or as unsigned integers"),
    CLI_OPT(struct create_args, write_once, "write-once", 0, CLI_FLAG, NULL, NULL, "keys are never replaced"),
    CLI_OPT(struct create_args, if_missing, "if-missing", 0, CLI_FLAG, NULL, NULL, "fine if it is there already"),
    CLI_OPT_END,
};

const struct cli_command cli_kv_create = {
    .name = "kv create",
    .operands = "DATABASE",
    .summary = "make a database of a KV provider",
    .text = "A database is named PROVIDER/NAME. Providers are for administrators.",
    .opts = create_opts,
    .args_size = sizeof(struct create_args),
    .examples =
        (const struct cli_example[]){ { "cairn kv create kv/runs", "one with keys in bytewise order" },
                                      { "cairn kv create --order uint kv/events", "one whose keys are numbers" },
                                      { NULL, NULL } },
    .run = create_run,
    .group = "Providers",
};

static int list_run(struct cli *cli, void *args)
{
    (void)args;
    static const struct cli_col cols[] = { { "NAME", "name", CLI_CELL_TEXT },
                                           { "ORDER", "order", CLI_CELL_TEXT },
                                           { "WRITE-ONCE", "write_once", CLI_CELL_BOOL } };
    int status = cli_connect(cli);
    if (status != CLI_OK)
        return status;
    struct cli_call call;
    struct cairn_kv_databases *list = NULL;
    int rc = cairn_kv_databases(cli->session, cli->operands[0], &list, cli_call_init(cli, &call, 0));
    if (rc != 0)
        return cli_call_failed(cli, rc, &call, "provider %s", cli->operands[0]);
    struct cli_table *t = cli_table_new(cli, "databases", cols, ARRAY_SIZE(cols));
    for (size_t i = 0; i < list->n; i++) {
        const struct cairn_kv_database *d = &list->databases[i];
        cli_table_row(t, (struct cli_cell[]){ CLI_TEXT(d->name),
                                              CLI_TEXT(d->order == CAIRN_KV_ORDER_UINT ? "uint" : "bytes"),
                                              CLI_NUM(d->write_once) });
    }
    cairn_free(list);
    return cli_table_end(t);
}

const struct cli_command cli_kv_list = {
    .name = "kv list",
    .operands = "PROVIDER",
    .summary = "list the databases of a KV provider",
    .examples = (const struct cli_example[]){ { "cairn kv list kv", "what does kv hold?" }, { NULL, NULL } },
    .run = list_run,
    .group = "Providers",
};

static int drop_run(struct cli *cli, void *args)
{
    (void)args;
    struct database db = { 0 };
    int status = split(cli, cli->operands[0], &db);
    if (status == CLI_OK)
        status = cli_connect(cli);
    if (status != CLI_OK)
        return status;
    struct cli_call call;
    int rc = cairn_kv_drop(cli->session, db.provider, db.name, cli_call_init(cli, &call, 0));
    if (rc != 0)
        return cli_call_failed(cli, rc, &call, "%s", cli->operands[0]);
    return cli->g.json ? cli_json(cli, json_pack("{s:s}", "dropped", cli->operands[0])) : CLI_OK;
}

const struct cli_command cli_kv_drop = {
    .name = "kv drop",
    .operands = "DATABASE",
    .summary = "remove a database and all that is in it",
    .examples = (const struct cli_example[]){ { "cairn kv drop kv/runs", "remove it" }, { NULL, NULL } },
    .run = drop_run,
    .group = "Providers",
};

/* ---- put, get, rm ---- */

struct put_args {
    const char *durability, *value;
    bool if_absent;
};

static int put_run(struct cli *cli, void *args)
{
    const struct put_args *a = args;
    const char *path = cli->noperands > 2 ? cli->operands[2] : NULL;
    if (a->value != NULL && path != NULL)
        return cli_usage(cli, "--value and FILE exclude each other");
    struct database db;
    int status = open_database(cli, &db);
    if (status != CLI_OK)
        return status;
    struct key key;
    struct cli_blob blob = { 0 };
    status = parse_key(cli, &db, cli->operands[1], &key);
    if (status == CLI_OK && a->value == NULL)
        status = cli_blob_read(cli, path, CAIRN_KV_VALUE_BYTES_MAX, &blob);
    if (status == CLI_OK) {
        struct cli_call call;
        cli_call_init(cli, &call, 0);
        call.o.flags = a->if_absent ? CAIRN_IF_ABSENT : 0;
        call.o.durability = cli_durability(a->durability);
        const void *data = a->value != NULL ? a->value : blob.data;
        size_t len = a->value != NULL ? strlen(a->value) : blob.len;
        int rc = cairn_kv_put(db.kv, key.bytes, key.len, data, len, &call.o);
        if (rc != 0)
            status = cli_call_failed(cli, rc, &call, "%s", cli->operands[1]);
        else if (cli->g.json)
            status = cli_json(cli, json_pack("{s:s, s:I}", "key", cli->operands[1], "bytes", (json_int_t)len));
    }
    cli_blob_free(&blob);
    cairn_kv_close(db.kv);
    return status;
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
    .operands = "DATABASE KEY [FILE]",
    .summary = "store a value in a database",
    .text = "The value comes from FILE, or from standard input.",
    .opts = put_opts,
    .args_size = sizeof(struct put_args),
    .examples =
        (const struct cli_example[]){ { "cairn kv put --value done kv/runs run1", "store a text" }, { NULL, NULL } },
    .run = put_run,
    .group = "Providers",
};

static int get_run(struct cli *cli, void *args)
{
    (void)args;
    struct database db;
    int status = open_database(cli, &db);
    if (status != CLI_OK)
        return status;
    struct key key;
    status = parse_key(cli, &db, cli->operands[1], &key);
    if (status == CLI_OK) {
        struct cli_call call;
        void *value = NULL;
        size_t len = 0;
        int rc = cairn_kv_get_alloc(db.kv, key.bytes, key.len, &value, &len, cli_call_init(cli, &call, 0));
        status = rc == 0 ? cli_write_out(cli, cli->noperands > 2 ? cli->operands[2] : NULL, value, len)
                         : cli_call_failed(cli, rc, &call, "%s", cli->operands[1]);
        cairn_free(value);
    }
    cairn_kv_close(db.kv);
    return status;
}

const struct cli_command cli_kv_get = {
    .name = "kv get",
    .operands = "DATABASE KEY [FILE]",
    .summary = "fetch a value from a database",
    .examples = (const struct cli_example[]){ { "cairn kv get kv/runs run1", "print it" }, { NULL, NULL } },
    .run = get_run,
    .group = "Providers",
};

static int rm_run(struct cli *cli, void *args)
{
    (void)args;
    struct database db;
    int status = open_database(cli, &db);
    if (status != CLI_OK)
        return status;
    for (uint32_t i = 1; i < cli->noperands; i++) {
        struct key key;
        int parsed = parse_key(cli, &db, cli->operands[i], &key);
        struct cli_call call;
        int rc = parsed == CLI_OK ? cairn_kv_erase(db.kv, key.bytes, key.len, cli_call_init(cli, &call, 0)) : 0;
        if (parsed != CLI_OK)
            status = parsed;
        else if (rc != 0)
            status = cli_call_failed(cli, rc, &call, "%s", cli->operands[i]);
    }
    cairn_kv_close(db.kv);
    return status;
}

const struct cli_command cli_kv_rm = {
    .name = "kv rm",
    .operands = "DATABASE KEY...",
    .summary = "remove keys of a database",
    .examples = (const struct cli_example[]){ { "cairn kv rm kv/runs run1 run2", "remove two" }, { NULL, NULL } },
    .run = rm_run,
    .group = "Providers",
};

/* ---- ls, stat ---- */

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

static int ls_run(struct cli *cli, void *args)
{
    const struct ls_args *a = args;
    struct database db;
    int status = open_database(cli, &db);
    if (status != CLI_OK)
        return status;
    struct cairn_kv_range range = CAIRN_KV_RANGE_INIT;
    struct key from = { 0 }, to = { 0 };
    if (cli->noperands > 1) {
        range.prefix = cli->operands[1];
        range.prefix_len = strlen(cli->operands[1]);
    }
    if (a->from != NULL)
        status = parse_key(cli, &db, a->from, &from);
    if (a->to != NULL && status == CLI_OK)
        status = parse_key(cli, &db, a->to, &to);
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
        rc = cairn_kv_list(db.kv, &range, &page, cli_call_init(cli, &call, 0));
        cairn_free(before);
        before = NULL;
        if (rc != 0)
            break;
        for (size_t i = 0; i < page->n; i++, n++)
            ls_entry(cli, &db, a, &page->entries[i], &stream);
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
    cairn_kv_close(db.kv);
    return status;
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
    .operands = "DATABASE [PREFIX]",
    .summary = "list keys of a database in its order",
    .opts = ls_opts,
    .args_size = sizeof(struct ls_args),
    .examples = (const struct cli_example[]){ { "cairn kv ls -l kv/runs run", "keys and values with a prefix" },
                                              { "cairn kv ls --from 100 --to 200 kv/events", "a range of numbers" },
                                              { NULL, NULL } },
    .run = ls_run,
    .group = "Providers",
};

static int stat_run(struct cli *cli, void *args)
{
    (void)args;
    struct database db;
    int status = open_database(cli, &db);
    if (status != CLI_OK)
        return status;
    static const struct cli_col cols[] = {
        { "NAME", "name", CLI_CELL_TEXT },        { "BACKEND", "backend", CLI_CELL_TEXT },
        { "ORDER", "order", CLI_CELL_TEXT },      { "KEYS", "keys", CLI_CELL_NUMBER },
        { "EXACT", "keys_exact", CLI_CELL_BOOL }, { "SIZE", "bytes", CLI_CELL_BYTES }
    };
    struct cairn_kv_stat st = CAIRN_KV_STAT_INIT;
    struct cli_call call;
    int rc = cairn_kv_stat(db.kv, &st, cli_call_init(cli, &call, 0));
    if (rc != 0)
        status = cli_call_failed(cli, rc, &call, "%s", cli->operands[0]);
    else
        status = cli_record(cli, cols,
                            (struct cli_cell[]){ CLI_TEXT(st.name), CLI_TEXT(st.backend),
                                                 CLI_TEXT(db.order == CAIRN_KV_ORDER_UINT ? "uint" : "bytes"),
                                                 CLI_NUM(st.keys), CLI_NUM(st.keys_exact), CLI_NUM(st.bytes) },
                            ARRAY_SIZE(cols));
    cairn_kv_close(db.kv);
    return status;
}

const struct cli_command cli_kv_stat = {
    .name = "kv stat",
    .operands = "DATABASE",
    .summary = "show how many keys a database has, and how large it is",
    .examples = (const struct cli_example[]){ { "cairn kv stat kv/runs", "its size" }, { NULL, NULL } },
    .run = stat_run,
    .group = "Providers",
};
