/** cairn kv create, list, drop, stat: databases of a KV provider, without the namespaces in between. */
#include "tools/cairn/database.h"

#include <string.h>

int database_failed(struct cli *cli, int rc, const struct cli_call *call)
{
    return cli_call_failed(cli, rc, call, "%s", cli->operands[0]);
}

/* "kv/runs" -> provider and name, with a session to ask it by. */
int database_named(struct cli *cli, void *args, database_action *act)
{
    const char *operand = cli->operands[0], *slash = strchr(operand, '/');
    struct database db = { 0 };
    if (slash == NULL || slash == operand || slash[1] == '\0' || slash - operand > CAIRN_NAME_BYTES_MAX)
        return cli_usage(cli, "a database is named PROVIDER/NAME, as in kv/runs, not '%s'", operand);
    memcpy(db.provider, operand, (size_t)(slash - operand));
    db.name = slash + 1;
    int status = cli_connect(cli);
    return status == CLI_OK ? act(cli, &db, args) : status;
}

struct opening {
    void *args;
    database_action *act;
};

static int open_and_act(struct cli *cli, struct database *db, void *args)
{
    const struct opening *o = args;
    struct cli_call call;
    struct cairn_kv_databases *list = NULL;
    int rc = cairn_kv_open(cli->session, db->provider, db->name, NULL, &db->kv, cli_call_init(cli, &call, 0));
    if (rc == 0)
        rc = cairn_kv_databases(cli->session, db->provider, &list, &call.o);
    for (size_t i = 0; rc == 0 && i < list->n; i++) {
        if (strcmp(list->databases[i].name, db->name) == 0)
            db->order = list->databases[i].order;
    }
    cairn_free(list);
    int status = rc == 0 ? o->act(cli, db, o->args) : database_failed(cli, rc, &call);
    cairn_kv_close(db->kv);
    return status;
}

/* The same with the database open. */
int database_opened(struct cli *cli, void *args, database_action *act)
{
    return database_named(cli, &(struct opening){ args, act }, open_and_act);
}

const char *database_order(enum cairn_kv_order order)
{
    return order == CAIRN_KV_ORDER_UINT ? "uint" : "bytes";
}

/* ---- create, list, drop, stat ---- */

struct create_args {
    const char *order;
    bool write_once, if_missing;
};

static int create(struct cli *cli, struct database *db, void *args)
{
    const struct create_args *a = args;
    struct cairn_kv_options o = CAIRN_KV_OPTIONS_INIT;
    o.create = true;
    o.exclusive = !a->if_missing;
    o.write_once = a->write_once;
    o.order = strcmp(a->order, "uint") == 0 ? CAIRN_KV_ORDER_UINT : CAIRN_KV_ORDER_BYTES;
    struct cli_call call;
    int rc = cairn_kv_open(cli->session, db->provider, db->name, &o, &db->kv, cli_call_init(cli, &call, 0));
    cairn_kv_close(db->kv);
    if (rc != 0)
        return database_failed(cli, rc, &call);
    return cli->g.json ? cli_json(cli, json_pack("{s:s}", "database", cli->operands[0])) : CLI_OK;
}

static int create_run(struct cli *cli, void *args)
{
    return database_named(cli, args, create);
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
    .operands = "PROVIDER/NAME",
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
        cli_table_row(
            t, (struct cli_cell[]){ CLI_TEXT(d->name), CLI_TEXT(database_order(d->order)), CLI_NUM(d->write_once) });
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

static int drop(struct cli *cli, struct database *db, void *args)
{
    (void)args;
    struct cli_call call;
    int rc = cairn_kv_drop(cli->session, db->provider, db->name, cli_call_init(cli, &call, 0));
    if (rc != 0)
        return database_failed(cli, rc, &call);
    return cli->g.json ? cli_json(cli, json_pack("{s:s}", "dropped", cli->operands[0])) : CLI_OK;
}

static int drop_run(struct cli *cli, void *args)
{
    return database_named(cli, args, drop);
}

const struct cli_command cli_kv_drop = {
    .name = "kv drop",
    .operands = "PROVIDER/NAME",
    .summary = "remove a database and all that is in it",
    .examples = (const struct cli_example[]){ { "cairn kv drop kv/runs", "remove it" }, { NULL, NULL } },
    .run = drop_run,
    .group = "Providers",
};

static int show(struct cli *cli, struct database *db, void *args)
{
    (void)args;
    static const struct cli_col cols[] = {
        { "NAME", "name", CLI_CELL_TEXT },        { "BACKEND", "backend", CLI_CELL_TEXT },
        { "ORDER", "order", CLI_CELL_TEXT },      { "KEYS", "keys", CLI_CELL_NUMBER },
        { "EXACT", "keys_exact", CLI_CELL_BOOL }, { "SIZE", "bytes", CLI_CELL_BYTES }
    };
    struct cairn_kv_stat st = CAIRN_KV_STAT_INIT;
    struct cli_call call;
    int rc = cairn_kv_stat(db->kv, &st, cli_call_init(cli, &call, 0));
    if (rc != 0)
        return database_failed(cli, rc, &call);
    return cli_record(cli, cols,
                      (struct cli_cell[]){ CLI_TEXT(st.name), CLI_TEXT(st.backend), CLI_TEXT(database_order(db->order)),
                                           CLI_NUM(st.keys), CLI_NUM(st.keys_exact), CLI_NUM(st.bytes) },
                      ARRAY_SIZE(cols));
}

static int stat_run(struct cli *cli, void *args)
{
    return database_opened(cli, args, show);
}

const struct cli_command cli_kv_stat = {
    .name = "kv stat",
    .operands = "PROVIDER/NAME",
    .summary = "show how many keys a database has, and how large it is",
    .examples = (const struct cli_example[]){ { "cairn kv stat kv/runs", "its size" }, { NULL, NULL } },
    .run = stat_run,
    .group = "Providers",
};
