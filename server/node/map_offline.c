/* What may be done with a node's map while no node runs: written out, stored, and asked for what it holds and for its
 * log. map_move.c moves it. */
#include "cairn/server.h"
#include "server/cluster/map_dump.h"
#include "server/node/map_keeper.h"
#include "server/node/map_report.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { IMPORT_MS_MAX = 600000 };

/* Reads all of the map from where it is kept, and has @tell write to @to what it makes of that. */
static int keeper_tell(const struct cairn_server_options *options, FILE *to, char *text, size_t text_len,
                       int (*tell)(const struct cairn_map_keeper *k, const struct cairn_map_table *t, uint64_t revision,
                                   FILE *to, struct cairn_err *err))
{
    struct cairn_map_table t = { 0 };
    struct cairn_err err = { 0 };
    uint64_t revision = 0;
    struct cairn_map_keeper *k;
    int rc = cairn_node__keeper_open(&k, options, text, text_len, &err);

    if (rc == 0)
        rc = cairn_node__keeper_read(k, &t, &revision, &err);
    if (rc == 0)
        rc = tell(k, &t, revision, to, &err);
    cairn_map_table_fini(&t);
    return cairn_node__keeper_finish(k, rc, &err, text, text_len);
}

static int tell_whole(const struct cairn_map_keeper *k, const struct cairn_map_table *t, uint64_t revision, FILE *to,
                      struct cairn_err *err)
{
    (void)k;
    return cairn_map_dump_write(t, revision, to, err);
}

int cairn_server_map_export(const struct cairn_server_options *options, FILE *to, char *text, size_t text_len)
{
    return keeper_tell(options, to, text, text_len, tell_whole);
}

/* ---- what it holds, and its log ---- */

static json_t *where_of(const struct cairn_map_keeper *k)
{
    json_t *list = json_array();

    if (!k->conf.map_etcd)
        json_array_append_new(list, json_string(k->file.path));
    for (uint32_t i = 0; k->conf.map_etcd && i < k->conf.map.nendpoints; i++)
        json_array_append_new(list, json_string(k->conf.map.endpoints[i]));
    return list;
}

/* Takes @o. */
static int print(json_t *o, FILE *to, struct cairn_err *err)
{
    int rc = 0;

    if (o == NULL)
        rc = cairn_err_set(err, CAIRN_E_NOMEM, "what the map says");
    else if (json_dumpf(o, to, JSON_INDENT(1)) != 0 || fputc('\n', to) == EOF || fflush(to) != 0)
        rc = cairn_err_set(err, CAIRN_E_IO, "what the map says cannot be written out");
    json_decref(o);
    return rc;
}

static int tell_sums(const struct cairn_map_keeper *k, const struct cairn_map_table *t, uint64_t revision, FILE *to,
                     struct cairn_err *err)
{
    return print(cairn_map_report(t, k->conf.map_etcd ? "etcd" : "local", where_of(k), revision), to, err);
}

static int tell_log(const struct cairn_map_keeper *k, const struct cairn_map_table *t, uint64_t revision, FILE *to,
                    struct cairn_err *err)
{
    (void)k;
    (void)revision;
    return print(cairn_map_log_report(t, t, 0), to, err);
}

int cairn_server_map_show(const struct cairn_server_options *options, FILE *to, char *text, size_t text_len)
{
    return keeper_tell(options, to, text, text_len, tell_sums);
}

int cairn_server_map_log(const struct cairn_server_options *options, FILE *to, char *text, size_t text_len)
{
    return keeper_tell(options, to, text, text_len, tell_log);
}

/* ---- into a store ---- */

static int read_all(FILE *from, char **text, size_t *len, struct cairn_err *err)
{
    size_t room = 0;

    *text = NULL;
    *len = 0;
    for (;;) {
        char *more;

        if (*len == room) {
            room = MAX(room * 2, (size_t)65536);
            more = room <= CAIRN_MAP_DUMP_BYTES_MAX ? realloc(*text, room) : NULL;
            if (more == NULL)
                return cairn_err_set(err, CAIRN_E_LIMIT, "the document has more than %zu bytes", *len);
            *text = more;
        }
        *len += fread(*text + *len, 1, room - *len, from);
        if (ferror(from))
            return cairn_err_errno(err, errno, "read");
        if (feof(from))
            return 0;
    }
}

/* Nodes that were started before it have begun a map of their own. */
static void say_cure(const struct cairn_map_keeper *k, struct cairn_err *err)
{
    const struct cairn_err why = *err;

    cairn_err_set(
        err, why.code,
        "%.256s; if nodes were started before the import, the map there is a new one, made by them: stop them "
        "all, remove it (etcdctl del --prefix '%.64s'), import again, start them",
        why.text, k->conf.map.prefix);
}

int cairn_server_map_import(const struct cairn_server_options *options, FILE *from, char *text, size_t text_len)
{
    struct cairn_map_table t = { 0 };
    struct cairn_err err = { 0 };
    char author[32], *document = NULL;
    uint64_t revision = 0;
    size_t len = 0;
    struct cairn_map_keeper *k;
    int rc = cairn_node__keeper_open(&k, options, text, text_len, &err);

    if (rc == 0)
        rc = read_all(from, &document, &len, &err);
    if (rc == 0)
        rc = cairn_err_wrap(&err, cairn_map_dump_read(document, len, &t, &revision, &err), "the document");
    if (rc == 0)
        rc = cairn_node__make_movable(&t, &err);
    if (rc == 0)
        rc = cairn_node__keeper_own(k, &err);
    snprintf(author, sizeof(author), "uid %u", (unsigned)geteuid());
    if (rc == 0)
        rc = cairn_map_dump_store(k->store, &t, revision, author, IMPORT_MS_MAX, &err);
    if (rc == CAIRN_E_EXISTS && k->conf.map_etcd)
        say_cure(k, &err);
    free(document);
    cairn_map_table_fini(&t);
    return cairn_node__keeper_finish(k, rc, &err, text, text_len);
}
