/* Where the node's map is kept, and what may be done with it while no node runs: written out, moved, and asked for what
 * it holds and for its log. */
#include "cairn/server.h"
#include "server/cluster/map_dump.h"
#include "server/cluster/map_ids.h"
#include "server/cluster/map_image.h"
#include "server/cluster/service/cluster.h"
#include "server/node/conf/conf_read.h"
#include "server/node/map_report.h"
#include "server/node/node.h"
#include "server/router/router.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PASSWORD_BYTES_MAX = 512, PEM_BYTES_MAX = 64 << 10, IMPORT_MS_MAX = 600000, LOOK_MS = 250 };

/* ---- opening ---- */

static int password_read(const char *path, char password[PASSWORD_BYTES_MAX], struct cairn_err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW), rc = 0;
    struct stat st;
    ssize_t n;

    if (fd < 0)
        return cairn_err_errno(err, errno, "password file %s", path);
    n = fstat(fd, &st) == 0 ? read(fd, password, PASSWORD_BYTES_MAX - 1) : -1;
    if (n < 0)
        rc = cairn_err_errno(err, errno, "password file %s", path);
    else if (!S_ISREG(st.st_mode) || (st.st_mode & 077) != 0)
        rc = cairn_err_set(err, CAIRN_E_DENIED, "password file %s: mode %04o lets others read it; `chmod 600 %s`", path,
                           st.st_mode & 07777, path);
    else
        password[n] = '\0';
    if (rc == 0)
        password[strcspn(password, "\r\n")] = '\0';
    close(fd);
    return rc;
}

/* Whether @path is a file with something in PEM. */
static int pem_check(const char *path, struct cairn_err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK), rc = 0;
    char bytes[PEM_BYTES_MAX + 1];
    struct stat st;
    ssize_t n;

    if (fd < 0)
        return cairn_err_errno(err, errno, "%s", path);
    n = fstat(fd, &st) == 0 && S_ISREG(st.st_mode) ? read(fd, bytes, PEM_BYTES_MAX) : 0;
    if (n < 0)
        rc = cairn_err_errno(err, errno, "%s", path);
    bytes[MAX(n, 0)] = '\0';
    if (rc == 0 && strstr(bytes, "-----BEGIN ") == NULL)
        rc = cairn_err_set(err, CAIRN_E_CONFIG, "%s: this is no certificate or key in PEM", path);
    close(fd);
    return rc;
}

int cairn_node__check_map_files(const struct cairn_node_conf *conf,
                                void (*tell)(void *arg, int rc, const struct cairn_err *err), void *arg)
{
    static const char *const keys[] = { "ca", "cert", "key" };
    const struct cairn_conf *map = cairn_conf_section(cairn_conf_root(conf->doc), "map");
    const struct cairn_conf *tls = cairn_conf_section(map, "tls");
    int first = 0;

    for (uint32_t i = 0; i < ARRAY_SIZE(keys); i++) {
        const char *path = cairn_conf_str(tls, keys[i]);
        struct cairn_err err = { 0 };
        int rc = path[0] != '\0' ? pem_check(path, &err) : 0;

        cairn_err_wrap(&err, rc, "%s: 'map.tls.%s'", cairn_conf_where(tls, keys[i]), keys[i]);
        if (rc != 0 && tell != NULL)
            tell(arg, rc, &err);
        first = first != 0 ? first : rc;
    }
    return first;
}

static void note_first(void *arg, int rc, const struct cairn_err *err)
{
    struct cairn_err *to = arg;

    if (to->code == 0)
        *to = *err;
    (void)rc;
}

static int await(struct cairn_map_store *store, uint32_t timeout_ms,
                 bool (*waits)(void *arg, uint64_t left_ns, const char *why), void *arg, struct cairn_err *err)
{
    for (uint32_t left_ms = timeout_ms;;) {
        uint32_t ms = waits != NULL ? MIN(left_ms, (uint32_t)LOOK_MS) : left_ms;
        int rc = cairn_map_store_await(store, ms, err);

        left_ms -= ms;
        if (rc != CAIRN_E_TIMEOUT || left_ms == 0)
            return rc;
        if (!waits(arg, left_ms * CAIRN_NS_PER_MS, err->text))
            return cairn_err_set(err, CAIRN_E_SHUTDOWN, "not waited for any longer");
    }
}

int cairn_node__open_etcd(const struct cairn_node_conf *conf, struct cairn_loop *home,
                          bool (*waits)(void *arg, uint64_t left_ns, const char *why), void *arg,
                          struct cairn_map_store **out, struct cairn_err *err)
{
    struct cairn_map_etcd_conf etcd = conf->map;
    char password[PASSWORD_BYTES_MAX] = "";
    struct cairn_err files = { 0 };
    int rc = 0;

    *out = NULL;
    /* libcurl would try again until the time is over. */
    if (cairn_node__check_map_files(conf, note_first, &files) != 0) {
        if (err != NULL)
            *err = files;
        return files.code;
    }
    if (conf->map_password_file[0] != '\0')
        rc = password_read(conf->map_password_file, password, err);
    etcd.password = password;
    etcd.view_end = CAIRN_CLUSTER_KEY_RECORDS;
    if (rc == 0)
        rc = cairn_map_store_etcd_open(&etcd, home, out, err);
    cairn_auth_forget(password, sizeof(password));
    if (rc == 0)
        rc = await(*out, conf->map_timeout_ms, waits, arg, err);
    if (rc != 0 && *out != NULL) {
        cairn_map_store_close(*out);
        *out = NULL;
    }
    return cairn_err_wrap(err, rc, "map");
}

int cairn_node__adopt_cluster(struct cairn_map_store *map, const char *configured, struct cairn_map_identity *id,
                              struct cairn_err *err)
{
    int rc;

    snprintf(id->cluster, sizeof(id->cluster), "%s", configured);
    if (map == NULL || configured[0] != '\0')
        return 0;
    rc = cairn_map_identity_get(map, id, err);
    return rc == CAIRN_E_NOTFOUND ? 0 : cairn_err_wrap(err, rc, "map");
}

int cairn_node__claim_map(struct cairn_map_store *map, const struct cairn_datadir *data, struct cairn_err *err)
{
    char own[CAIRN_CLUSTER_ID_BYTES * 2 + 1];

    sodium_bin2hex(own, sizeof(own), data->cluster_id, sizeof(data->cluster_id));
    return cairn_err_wrap(err, cairn_map_identity_claim(map, own, err), "map");
}

int cairn_node__check_etcd(const struct cairn_node_conf *conf, const struct cairn_datadir *data, struct cairn_err *err)
{
    char own[CAIRN_CLUSTER_ID_BYTES * 2 + 1];
    struct cairn_map_store *store;
    struct cairn_loop loop;
    int rc = cairn_loop_init(&loop, NULL, err);

    if (rc != 0)
        return rc;
    snprintf(own, sizeof(own), "%s", conf->cluster);
    if (!sodium_is_zero(data->cluster_id, sizeof(data->cluster_id)))
        sodium_bin2hex(own, sizeof(own), data->cluster_id, sizeof(data->cluster_id));
    rc = cairn_node__open_etcd(conf, &loop, NULL, NULL, &store, err);
    if (rc == 0) {
        if (own[0] != '\0') /* else a start will take the map's */
            rc = cairn_err_wrap(err, cairn_map_identity_check(store, own, err), "map");
        cairn_map_store_close(store);
    }
    cairn_loop_fini(&loop);
    return rc;
}

/* ---- without a node ---- */

/* What a command needs of a node: its configuration, a loop, and the store. */
struct keeper {
    struct cairn_node_conf conf;
    struct cairn_datadir data;
    struct cairn_pool *pool;
    struct cairn_loop loop;
    bool has_loop;
    struct cairn_map_store *store;
    struct cairn_map_file file; /* of a local store that is only read */
};

static void keeper_close(struct keeper *k)
{
    if (k->store != NULL)
        cairn_map_store_close(k->store);
    if (k->pool != NULL)
        cairn_pool_free(k->pool);
    if (k->has_loop)
        cairn_loop_fini(&k->loop);
    cairn_datadir_close(&k->data);
    cairn_node_conf_free(&k->conf);
    free(k);
}

/* Always *@out, for keeper_close(). */
static int keeper_open(struct keeper **out, const struct cairn_server_options *options, char *text, size_t text_len,
                       struct cairn_err *err)
{
    struct keeper *k = *out = calloc(1, sizeof(*k));
    int rc;

    if (text != NULL && text_len > 0)
        text[0] = '\0';
    if (k == NULL)
        return cairn_err_set(err, CAIRN_E_NOMEM, "map");
    k->data.lock_fd = -1;
    rc = cairn_node__read_conf(&k->conf, options, text, text_len, err);
    if (rc == 0)
        rc = cairn_loop_init(&k->loop, NULL, err);
    k->has_loop = rc == 0;
    return rc;
}

static void on_read(struct cairn_map_op *op)
{
    *(bool *)op->arg = true;
}

/* All entries, without disturbing a node that runs. */
static int keeper_read(struct keeper *k, struct cairn_map_table *t, uint64_t *revision, struct cairn_err *err)
{
    bool done = false;
    struct cairn_map_read r = { .op = { .done = on_read, .arg = &done }, .prefix = "" };
    char dir[4096];
    int rc;

    if (!k->conf.map_etcd) {
        if (k->conf.data[0] == '\0')
            return cairn_err_set(err, CAIRN_E_INVAL, "no data directory is named (node.data, --data)");
        snprintf(dir, sizeof(dir), "%s/router", k->conf.data);
        rc = cairn_map_file_init(&k->file, dir, err);
        if (rc == 0 && access(k->file.path, R_OK) != 0)
            rc = cairn_err_errno(err, errno, "%s", k->file.path);
        return rc == 0 ? cairn_map_image_load(&k->file, t, revision, err) : rc;
    }
    rc = cairn_node__open_etcd(&k->conf, &k->loop, NULL, NULL, &k->store, err);
    if (rc != 0)
        return rc;
    cairn_map_store_read(k->store, &r);
    while (!done) /* it has a deadline */
        cairn_loop_turn(&k->loop, CAIRN_NS_PER_S);
    *t = r.table;
    *revision = r.op.revision;
    if (r.op.rc != 0)
        *err = r.op.err;
    return r.op.rc;
}

/* For changes: the data directory is ours, so no node runs on it. */
static int keeper_own(struct keeper *k, struct cairn_err *err)
{
    char dir[4096];
    int rc = 0;

    if (k->conf.data[0] != '\0')
        rc = cairn_datadir_open(&k->data, k->conf.data, k->conf.cluster, err);
    else if (!k->conf.map_etcd)
        rc = cairn_err_set(err, CAIRN_E_INVAL, "no data directory is named (node.data, --data)");
    if (rc != 0)
        return cairn_err_wrap(err, rc, "the node must be stopped");
    if (k->conf.map_etcd)
        return cairn_node__open_etcd(&k->conf, &k->loop, NULL, NULL, &k->store, err);
    k->pool = cairn_pool_new(1, 16, err);
    rc = k->pool != NULL ? cairn_datadir_sub(&k->data, "router", dir, sizeof(dir), err) : err->code;
    return rc == 0 ? cairn_map_store_local_open(dir, k->pool, &k->loop, &k->store, err) : rc;
}

static int finish(struct keeper *k, int rc, const struct cairn_err *err, char *text, size_t text_len)
{
    if (rc != 0 && text != NULL && text_len > 0 && text[0] == '\0')
        snprintf(text, text_len, "%s", err->text);
    if (k != NULL)
        keeper_close(k);
    return rc;
}

int cairn_server_map_export(const struct cairn_server_options *options, FILE *to, char *text, size_t text_len)
{
    struct cairn_map_table t = { 0 };
    struct cairn_err err = { 0 };
    uint64_t revision = 0;
    struct keeper *k;
    int rc = keeper_open(&k, options, text, text_len, &err);

    if (rc == 0)
        rc = keeper_read(k, &t, &revision, &err);
    if (rc == 0)
        rc = cairn_map_dump_write(&t, revision, to, &err);
    cairn_map_table_fini(&t);
    return finish(k, rc, &err, text, text_len);
}

/* ---- what it holds, and its log ---- */

static json_t *where_of(const struct keeper *k)
{
    json_t *list = json_array();

    if (!k->conf.map_etcd)
        json_array_append_new(list, json_string(k->file.path));
    for (uint32_t i = 0; k->conf.map_etcd && i < k->conf.map.nendpoints; i++)
        json_array_append_new(list, json_string(k->conf.map.endpoints[i]));
    return list;
}

/* Asks the store, and prints what @report makes of it. */
static int keeper_tell(const struct cairn_server_options *options, FILE *to, char *text, size_t text_len,
                       json_t *(*report)(const struct keeper *k, const struct cairn_map_table *t, uint64_t revision))
{
    struct cairn_map_table t = { 0 };
    struct cairn_err err = { 0 };
    uint64_t revision = 0;
    struct keeper *k;
    int rc = keeper_open(&k, options, text, text_len, &err);

    if (rc == 0)
        rc = keeper_read(k, &t, &revision, &err);
    if (rc == 0) {
        json_t *o = report(k, &t, revision);

        if (o == NULL)
            rc = cairn_err_set(&err, CAIRN_E_NOMEM, "what the map says");
        else if (json_dumpf(o, to, JSON_INDENT(1)) != 0 || fputc('\n', to) == EOF || fflush(to) != 0)
            rc = cairn_err_set(&err, CAIRN_E_IO, "what the map says cannot be written out");
        json_decref(o);
    }
    cairn_map_table_fini(&t);
    return finish(k, rc, &err, text, text_len);
}

static json_t *report_all(const struct keeper *k, const struct cairn_map_table *t, uint64_t revision)
{
    return cairn_map_report(t, k->conf.map_etcd ? "etcd" : "local", where_of(k), revision);
}

static json_t *report_log(const struct keeper *k, const struct cairn_map_table *t, uint64_t revision)
{
    (void)k;
    (void)revision;
    return cairn_map_log_report(t, t, 0);
}

int cairn_server_map_show(const struct cairn_server_options *options, FILE *to, char *text, size_t text_len)
{
    return keeper_tell(options, to, text, text_len, report_all);
}

int cairn_server_map_log(const struct cairn_server_options *options, FILE *to, char *text, size_t text_len)
{
    return keeper_tell(options, to, text, text_len, report_log);
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

/* Entries as they may stand in any store. */
static int make_movable(struct cairn_map_table *t, struct cairn_err *err)
{
    uint64_t ids_base = cairn_map_ids_base(t);
    int rc = 0;

    for (uint32_t i = 0; rc == 0 && i < t->n; i++) {
        struct cairn_map_entry e = t->nodes[i]->e;
        struct cairn_map_node *n;
        uint8_t *value;

        rc = cairn_router_map_entry(&e, ids_base, &value, &e.value_len, err);
        if (rc != 0 || value == NULL)
            continue;
        e.value = value;
        n = cairn_map_node_new(&e);
        free(value);
        if (n == NULL)
            return cairn_err_set(err, CAIRN_E_NOMEM, "map entries");
        cairn_map_table_set(t, n);
        cairn_map_node_put(n);
    }
    return rc;
}

int cairn_server_map_import(const struct cairn_server_options *options, FILE *from, char *text, size_t text_len)
{
    struct cairn_map_table t = { 0 };
    struct cairn_err err = { 0 };
    char author[32], *document = NULL;
    uint64_t revision = 0;
    size_t len = 0;
    struct keeper *k;
    int rc = keeper_open(&k, options, text, text_len, &err);

    if (rc == 0)
        rc = read_all(from, &document, &len, &err);
    if (rc == 0)
        rc = cairn_map_dump_read(document, len, &t, &revision, &err);
    if (rc == 0)
        rc = make_movable(&t, &err);
    if (rc == 0)
        rc = keeper_own(k, &err);
    snprintf(author, sizeof(author), "uid %u", (unsigned)geteuid());
    if (rc == 0)
        rc = cairn_map_dump_store(k->store, &t, revision, author, IMPORT_MS_MAX, &err);
    free(document);
    cairn_map_table_fini(&t);
    return finish(k, rc, &err, text, text_len);
}
