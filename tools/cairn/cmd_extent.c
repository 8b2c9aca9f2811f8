/** cairn extent: regions of an extent provider, without the namespaces in between. */
#include "tools/cairn/commands.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* Identifiers are 64 bits wide, more than a number of JSON holds everywhere: they are texts, in hexadecimal. */
static const char *id_text(char buf[24], uint64_t id)
{
    snprintf(buf, 24, "0x%" PRIx64, id);
    return buf;
}

static int parse_id(struct cli *cli, const char *text, uint64_t *id)
{
    char *end;
    *id = strtoull(text, &end, 0);
    if (text[0] < '0' || text[0] > '9' || *end != '\0')
        return cli_usage(cli, "an extent is named by a number such as 0x1f, not '%s'", text);
    return CLI_OK;
}

/* What a command does once it has its provider, and, where the second operand is one, an extent's number. */
typedef int action(struct cli *cli, struct cairn_extents *x, uint64_t id, void *args);

static int with_provider(struct cli *cli, uint64_t id, void *args, action *act)
{
    struct cairn_extents *x = NULL;
    int status = cli_connect(cli);
    if (status != CLI_OK)
        return status;
    struct cli_call call;
    int rc = cairn_extents_open(cli->session, cli->operands[0], &x, cli_call_init(cli, &call, 0));
    if (rc != 0)
        return cli_call_failed(cli, rc, &call, "provider %s", cli->operands[0]);
    status = act(cli, x, id, args);
    cairn_extents_close(x);
    return status;
}

static int with_extent(struct cli *cli, void *args, action *act)
{
    uint64_t id;
    int status = parse_id(cli, cli->operands[1], &id);
    return status == CLI_OK ? with_provider(cli, id, args, act) : status;
}

static int fail(struct cli *cli, int rc, const struct cli_call *call, const char *extent)
{
    return cli_call_failed(cli, rc, call, "extent %s", extent);
}

/* ---- put, get ---- */

struct durability_args {
    const char *durability;
};

static const struct cli_opt durability_opts[] = {
    CLI_OPT(struct durability_args, durability, "durability", 'd', CLI_CHOICE, "memory|buffered|sync", NULL,
            "what it survives once it is acknowledged"),
    CLI_OPT_END,
};

static int put(struct cli *cli, struct cairn_extents *x, uint64_t id, void *args)
{
    const struct durability_args *a = args;
    struct cli_blob blob;
    int status = cli_blob_read(cli, cli->noperands > 1 ? cli->operands[1] : NULL, CAIRN_EXTENT_BYTES_MAX, &blob);
    if (status == CLI_OK) {
        struct cli_call call;
        char text[24];
        cli_call_init(cli, &call, blob.len);
        call.o.durability = cli_durability(a->durability);
        int rc = cairn_extent_put(x, blob.data, blob.len, &id, &call.o);
        size_t len = blob.len;
        if (!cli_blob_free(&blob)) {
            if (rc == 0)
                cairn_extent_remove(x, &id, 1, NULL, NULL);
            status = cli_file_changed(cli, cli->operands[1]);
        } else if (rc != 0) {
            status = cli_call_failed(cli, rc, &call, "storing an extent");
        } else if (cli->g.json) {
            status = cli_json(cli, json_pack("{s:s, s:I}", "id", id_text(text, id), "bytes", (json_int_t)len));
        } else {
            fprintf(cli->out, "%s\n", id_text(text, id));
        }
    }
    return status;
}

static int put_run(struct cli *cli, void *args)
{
    return with_provider(cli, 0, args, put);
}

const struct cli_command cli_extent_put = {
    .name = "extent put",
    .operands = "PROVIDER [FILE]",
    .summary = "store an extent and print its number",
    .text = "The bytes come from FILE, or from standard input. Providers are for administrators.",
    .opts = durability_opts,
    .args_size = sizeof(struct durability_args),
    .examples = (const struct cli_example[]){ { "cairn extent put extent image.raw", "store a file" }, { NULL, NULL } },
    .run = put_run,
    .group = "Providers",
};

struct get_args {
    uint64_t offset, length;
};

static int get(struct cli *cli, struct cairn_extents *x, uint64_t id, void *args)
{
    const struct get_args *a = args;
    const char *name = cli->operands[1];
    struct cairn_extent_stat st = CAIRN_EXTENT_STAT_INIT;
    struct cli_call call;
    int rc = cairn_extent_stat(x, id, &st, cli_call_init(cli, &call, 0));
    if (rc != 0)
        return fail(cli, rc, &call, name);
    uint64_t rest = a->offset < st.length ? st.length - a->offset : 0;
    size_t room = (size_t)(a->length != 0 ? MIN(a->length, rest) : rest), len = 0;
    void *buf = malloc(MAX(room, 1));
    if (buf == NULL)
        return cli_fail(cli, CAIRN_E_NOMEM, NULL, "extent %s", name);
    if (room > 0)
        rc = cairn_extent_read(x, id, a->offset, buf, room, &len, cli_call_init(cli, &call, room));
    char text[24];
    int status = rc == 0 ? cli_write_value(cli, cli->noperands > 2 ? cli->operands[2] : NULL, buf, len,
                                           json_pack("{s:s}", "id", id_text(text, id)))
                         : fail(cli, rc, &call, name);
    free(buf);
    return status;
}

static int get_run(struct cli *cli, void *args)
{
    return with_extent(cli, args, get);
}

static const struct cli_opt get_opts[] = {
    CLI_OPT(struct get_args, offset, "offset", 'o', CLI_SIZE, "SIZE", NULL, "start this far into the extent"),
    CLI_OPT(struct get_args, length, "length", 'n', CLI_SIZE, "SIZE", NULL, "at most so much"),
    CLI_OPT_END,
};

const struct cli_command cli_extent_get = {
    .name = "extent get",
    .operands = "PROVIDER ID [FILE]",
    .summary = "fetch an extent",
    .text = CLI_VALUE_TEXT,
    .opts = get_opts,
    .args_size = sizeof(struct get_args),
    .examples =
        (const struct cli_example[]){ { "cairn extent get extent 0x1f image.raw", "into a file" }, { NULL, NULL } },
    .run = get_run,
    .group = "Providers",
};

/* ---- ls, stat, rm, scrub ---- */

struct ls_args {
    bool quarantined;
};

static int ls(struct cli *cli, struct cairn_extents *x, uint64_t id, void *args)
{
    (void)id;
    const struct ls_args *a = args;
    struct cli_stream stream;
    struct cli_call call;
    uint64_t after = 0;
    int rc = 0;
    if (cli->g.json)
        cli_stream_begin(&stream, cli, "extents");
    for (bool more = true; more && rc == 0;) {
        struct cairn_extent_page *page = NULL;
        rc = cairn_extent_list(x, after, 0, a->quarantined, &page, cli_call_init(cli, &call, 0));
        for (size_t i = 0; rc == 0 && i < page->n; i++) {
            char name[24], size[CLI_UNIT_BYTES];
            const struct cairn_extent_info *r = &page->regions[i];
            if (cli->g.json)
                cli_stream_item(&stream,
                                json_pack("{s:s, s:I}", "id", id_text(name, r->id), "bytes", (json_int_t)r->length));
            else
                fprintf(cli->out, "%-20s %10s\n", id_text(name, r->id), cli_size(size, r->length));
            after = r->id;
        }
        more = rc == 0 && page->more && page->n > 0;
        cairn_free(page);
    }
    if (cli->g.json)
        cli_stream_end(&stream, "complete", json_boolean(rc == 0));
    return rc == 0 ? CLI_OK : cli_call_failed(cli, rc, &call, "listing %s", cli->operands[0]);
}

static int ls_run(struct cli *cli, void *args)
{
    return with_provider(cli, 0, args, ls);
}

static const struct cli_opt ls_opts[] = {
    CLI_OPT(struct ls_args, quarantined, "quarantined", 0, CLI_FLAG, NULL, NULL,
            "only those whose stored bytes do not match their checksums"),
    CLI_OPT_END,
};

const struct cli_command cli_extent_ls = {
    .name = "extent ls",
    .operands = "PROVIDER",
    .summary = "list the extents of a provider",
    .opts = ls_opts,
    .args_size = sizeof(struct ls_args),
    .examples =
        (const struct cli_example[]){ { "cairn extent ls --quarantined extent", "what is damaged?" }, { NULL, NULL } },
    .run = ls_run,
    .group = "Providers",
};

static int show(struct cli *cli, struct cairn_extents *x, uint64_t id, void *args)
{
    (void)args;
    static const struct cli_col cols[] = { { "ID", "id", CLI_CELL_TEXT },
                                           { "SIZE", "bytes", CLI_CELL_BYTES },
                                           { "SEALED", "sealed", CLI_CELL_BOOL },
                                           { "QUARANTINED", "quarantined", CLI_CELL_BOOL } };
    struct cairn_extent_stat st = CAIRN_EXTENT_STAT_INIT;
    struct cli_call call;
    char text[24];
    int rc = cairn_extent_stat(x, id, &st, cli_call_init(cli, &call, 0));
    if (rc != 0)
        return fail(cli, rc, &call, cli->operands[1]);
    return cli_record(cli, cols,
                      (struct cli_cell[]){ CLI_TEXT(id_text(text, id)), CLI_NUM(st.length), CLI_NUM(st.sealed),
                                           CLI_NUM(st.quarantined) },
                      ARRAY_SIZE(cols));
}

static int stat_run(struct cli *cli, void *args)
{
    return with_extent(cli, args, show);
}

const struct cli_command cli_extent_stat = {
    .name = "extent stat",
    .operands = "PROVIDER ID",
    .summary = "show the size and state of an extent",
    .examples = (const struct cli_example[]){ { "cairn extent stat extent 0x1f", "is it whole?" }, { NULL, NULL } },
    .run = stat_run,
    .group = "Providers",
};

static int rm(struct cli *cli, struct cairn_extents *x, uint64_t id, void *args)
{
    const struct durability_args *a = args;
    json_int_t removed = 0;
    int status = CLI_OK;
    for (uint32_t i = 1; i < cli->noperands; i++) {
        struct cli_call call;
        int one = parse_id(cli, cli->operands[i], &id);
        cli_call_init(cli, &call, 0);
        call.o.durability = cli_durability(a->durability);
        int rc = one == CLI_OK ? cairn_extent_remove(x, &id, 1, NULL, &call.o) : 0;
        if (rc != 0)
            one = fail(cli, rc, &call, cli->operands[i]);
        removed += one == CLI_OK;
        status = one != CLI_OK ? one : status;
    }
    return cli_removed(cli, removed, status);
}

static int rm_run(struct cli *cli, void *args)
{
    return with_provider(cli, 0, args, rm);
}

const struct cli_command cli_extent_rm = {
    .name = "extent rm",
    .operands = "PROVIDER ID...",
    .summary = "remove extents",
    .opts = durability_opts,
    .args_size = sizeof(struct durability_args),
    .examples = (const struct cli_example[]){ { "cairn extent rm extent 0x1f", "remove one" }, { NULL, NULL } },
    .run = rm_run,
    .group = "Providers",
};

static int scrub(struct cli *cli, struct cairn_extents *x, uint64_t id, void *args)
{
    (void)args;
    struct cli_call call;
    struct cairn_extent_scrub *report = NULL;
    int rc = cairn_extent_scrub(x, id, &report, cli_call_init(cli, &call, id != 0 ? CAIRN_EXTENT_BYTES_MAX : 0));
    if (rc != 0)
        return id != 0 ? fail(cli, rc, &call, cli->operands[1]) : cli_call_failed(cli, rc, &call, "scrub");
    static const struct cli_col cols[] = { { "CHECKED", "regions_checked", CLI_CELL_NUMBER },
                                           { "BYTES", "bytes_checked", CLI_CELL_BYTES },
                                           { "ROUNDS", "rounds", CLI_CELL_NUMBER },
                                           { "QUARANTINED", "quarantined", CLI_CELL_NUMBER } };
    int status = cli_record(cli, cols,
                            (struct cli_cell[]){ CLI_NUM(report->regions_checked), CLI_NUM(report->bytes_checked),
                                                 CLI_NUM(report->rounds), CLI_NUM(report->nquarantined) },
                            ARRAY_SIZE(cols));
    if (status == CLI_OK && report->nquarantined > 0)
        status = CLI_DEGRADED;
    cairn_free(report);
    return status;
}

static int scrub_run(struct cli *cli, void *args)
{
    return cli->noperands > 1 ? with_extent(cli, args, scrub) : with_provider(cli, 0, args, scrub);
}

const struct cli_command cli_extent_scrub = {
    .name = "extent scrub",
    .operands = "PROVIDER [ID]",
    .summary = "verify one extent now, or show how far the background scrub is",
    .text = "Exits with 5 if extents are in quarantine.",
    .examples = (const struct cli_example[]){ { "cairn extent scrub extent", "what has been checked?" },
                                              { "cairn extent scrub extent 0x1f", "check this one" },
                                              { NULL, NULL } },
    .run = scrub_run,
    .group = "Providers",
};
