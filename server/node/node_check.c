/* What a start would say, without a start: cairn_server_check(). Each check stands for a step of node_open.c, in its
 * order; one that fails does not keep the others from being made, so all is said in one pass. */
#include "server/node/node.h"
#include "server/node/place.h"
#include "server/node/workspace.h"
#include "server/router/router.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* What was said so far. */
struct findings {
    char *text;
    size_t room;
    int rc; /* of the first; CAIRN_E_LOCKED only if there is nothing but that */
};

static void find(struct findings *f, int rc, const struct cairn_err *err)
{
    size_t n = f->room > 0 ? strlen(f->text) : 0;

    if (rc == 0)
        return;
    if (f->rc == 0 || f->rc == CAIRN_E_LOCKED)
        f->rc = rc;
    if (n + 1 < f->room)
        snprintf(f->text + n, f->room - n, "%s%s", n > 0 ? "\n" : "", err->text);
}

static int check_log(const struct cairn_node_conf *conf, struct cairn_err *err)
{
    struct stat st;
    int fd;

    if (conf->log_file[0] == '\0')
        return 0;
    if (stat(conf->log_file, &st) != 0)
        return cairn_place_check_file(conf->log_file, "log file", err);
    fd = open(conf->log_file, O_WRONLY | O_APPEND | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return cairn_err_errno(err, errno, "log file %s", conf->log_file);
    close(fd);
    return 0;
}

static bool is_below(const char *path, const char *dir)
{
    size_t n = strlen(dir);

    return strncmp(path, dir, n) == 0 && (path[n] == '/' || path[n] == '\0');
}

static int check_provider(const struct cairn_node_conf *conf, const char *name, const struct cairn_provider_desc *desc,
                          const struct cairn_conf *section, uint64_t disk_id, struct cairn_err *err)
{
    char dir[4096];
    struct cairn_provider_env env = { .name = name, .dir = dir, .conf = section };
    struct stat st;
    int rc;

    rc = cairn_node__instance_path(conf, section, name, dir, sizeof(dir), err);
    if (rc != 0)
        return rc;
    if (section != NULL && cairn_conf_has_key(section, "path") && cairn_conf_str(section, "path")[0] == '/')
        rc = cairn_node__instance_check_owner(dir, disk_id, err);
    if (rc != 0)
        return cairn_err_wrap(err, rc, "provider %s", name);
    if (dir[0] == '/' && !is_below(dir, conf->data))
        rc = cairn_place_check_dir(dir, true, "directory", err);
    else if (stat(dir, &st) == 0) /* the data directory itself was looked at */
        rc = cairn_place_check_dir(dir, false, "directory", err);
    if (rc == CAIRN_E_NOSPACE)
        rc = 0; /* whether a start has room is the data directory's to say */
    if (rc == 0 && desc->check != NULL)
        rc = desc->check(&env, err);
    return cairn_err_wrap(err, rc, "provider %s", name);
}

static void check_providers(const struct cairn_node_conf *conf, uint64_t disk_id, struct findings *f)
{
    struct cairn_err err = { 0 };

    for (uint32_t i = 0; i < conf->nproviders; i++)
        find(f,
             check_provider(conf, cairn_conf_str(conf->providers[i], "name"), conf->provider_descs[i],
                            conf->providers[i], disk_id, &err),
             &err);
    find(f, check_provider(conf, "router", &cairn_router_desc, NULL, disk_id, &err), &err);
}

/* The socket's directory: one that is there, or the workspace, which a start makes. */
static int check_socket_place(const struct cairn_node_conf *conf, const char *path, struct cairn_err *err)
{
    size_t n = strlen(conf->workspace);
    struct stat st;

    if (strncmp(path, conf->workspace, n) == 0 && path[n] == '/' && strchr(path + n + 1, '/') == NULL)
        return 0; /* looked at already */
    return lstat(path, &st) == 0 ? 0 : cairn_place_check_file(path, "socket", err);
}

static int check_address(const struct cairn_node_conf *conf, const struct cairn_activation *handed, const char *text,
                         struct cairn_err *err)
{
    struct cairn_addr addr;
    int rc = cairn_addr_parse(text, &addr, err);

    if (rc == 0 && cairn_activation_has(handed, &addr))
        return 0;
    if (rc == 0 && cairn_addr_is_unix(&addr))
        rc = check_socket_place(conf, ((const struct sockaddr_un *)&addr.ss)->sun_path, err);
    return rc != 0 ? rc : cairn_addr_probe(&addr, err);
}

void cairn_node__check_addresses(const struct cairn_node_conf *conf, const struct cairn_activation *handed,
                                 void (*tell)(void *arg, int rc, const struct cairn_err *err), void *arg)
{
    struct cairn_err err = { 0 };
    int rc;

    if (conf->metrics_listen[0] != '\0') {
        rc = cairn_err_wrap(&err, check_address(conf, handed, conf->metrics_listen, &err), "metrics.listen");
        tell(arg, rc, &err);
    }
    for (uint32_t i = 0; i < conf->nlisten; i++) {
        rc = check_address(conf, handed, conf->listen[i], &err);
        tell(arg, rc, &err);
    }
}

static void find_each(void *arg, int rc, const struct cairn_err *err)
{
    find(arg, rc, err);
}

static void check_surroundings(const struct cairn_node_conf *conf, struct findings *f)
{
    struct cairn_err err = { 0 };
    struct cairn_datadir data = { .lock_fd = -1 };
    int rc = cairn_node__needs_data(conf, &err);

    find(f, rc, &err);
    find(f, check_log(conf, &err), &err);
    if (rc == 0) {
        rc = cairn_datadir_check(&data, conf->data, conf->cluster, &err);
        find(f, rc, &err);
    }
    find(f, cairn_workspace_check(conf->workspace, &err), &err);
    find(f, cairn_workspace_key_check(conf->key_file, conf->workspace, &err), &err);
    find(f, cairn_node__needs_munge(conf, cairn_node__has_munge(conf), &err), &err);
    if (rc == 0)
        check_providers(conf, data.disk_id, f);
    if (conf->map_etcd && cairn_node__check_map_files(conf, find_each, f) == 0)
        find(f, cairn_node__check_etcd(conf, &data, &err), &err);
    if (conf->map_etcd)
        find(f, cairn_node__check_no_own_map(conf->data, &err), &err);
    cairn_datadir_close(&data);
    cairn_node__check_addresses(conf, NULL, find_each, f);
}

int cairn_server_check(const struct cairn_server_options *options, char *text, size_t text_len)
{
    struct cairn_node_conf conf;
    struct cairn_err err = { 0 };
    struct findings f = { .text = text, .room = text != NULL ? text_len : 0 };
    int rc = sodium_init() >= 0 ? 0 : cairn_err_set(&err, CAIRN_E_INTERNAL, "libsodium finds no randomness");

    if (f.room > 0)
        text[0] = '\0';
    if (rc == 0) {
        rc = cairn_node__read_conf(&conf, options, text, text_len, &err);
        if (rc == 0)
            check_surroundings(&conf, &f);
        cairn_node_conf_free(&conf);
    }
    if (rc != 0 && (f.room == 0 || text[0] == '\0')) /* mistakes in the configuration are in @text already */
        find(&f, rc, &err);
    return rc != 0 ? rc : f.rc;
}
