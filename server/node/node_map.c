/* Opening the node's map where the configuration says that it is kept. */
#include "cairn/server.h"
#include "server/cluster/service/cluster.h"
#include "server/node/conf/conf_read.h"
#include "server/node/node.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PASSWORD_BYTES_MAX = 512, PEM_BYTES_MAX = 64 << 10, LOOK_MS = 250, CHECK_MS_MAX = 5000 };

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
    if (map == NULL)
        return 0;
    if (configured[0] != '\0') /* before a new data directory is made of that cluster, for good */
        return cairn_err_wrap(err, cairn_map_identity_check(map, configured, err), "map");
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
    struct cairn_node_conf quick = *conf;
    struct cairn_map_store *store;
    struct cairn_loop loop;
    int rc = cairn_loop_init(&loop, NULL, err);

    if (rc != 0)
        return rc;
    snprintf(own, sizeof(own), "%s", conf->cluster);
    if (!sodium_is_zero(data->cluster_id, sizeof(data->cluster_id)))
        sodium_bin2hex(own, sizeof(own), data->cluster_id, sizeof(data->cluster_id));
    quick.map_timeout_ms = MIN(conf->map_timeout_ms, (uint32_t)CHECK_MS_MAX); /* somebody waits for the answer */
    rc = cairn_node__open_etcd(&quick, &loop, NULL, NULL, &store, err);
    if (rc == 0) {
        if (own[0] != '\0') /* else a start will take the map's */
            rc = cairn_err_wrap(err, cairn_map_identity_check(store, own, err), "map");
        cairn_map_store_close(store);
    }
    cairn_loop_fini(&loop);
    return rc;
}
