/* The workspace: see workspace.h. */
#include "server/node/workspace.h"

#include "sdk/core/base/process.h"
#include "sdk/core/rpc/auth.h"
#include "server/node/place.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <limits.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Who may write there decides whom clients talk to. */
static int check_trust(const char *path, const struct stat *st, struct cairn_err *err)
{
    if (!S_ISDIR(st->st_mode))
        return cairn_err_set(err, CAIRN_E_INVAL, "workspace %s is no directory", path);
    if (st->st_uid != geteuid() && st->st_uid != 0)
        return cairn_err_set(err, CAIRN_E_DENIED, "workspace %s belongs to user %u, who could lead clients astray",
                             path, (unsigned)st->st_uid);
    if ((st->st_mode & 022) != 0 && (st->st_mode & S_ISVTX) == 0)
        return cairn_err_set(err, CAIRN_E_DENIED, "workspace %s: mode %04o lets others write there; `chmod go-w %s`",
                             path, st->st_mode & 07777, path);
    return 0;
}

int cairn_workspace_open(const char *path, struct cairn_err *err)
{
    struct stat st;

    if (mkdir(path, 0755) != 0 && errno != EEXIST)
        return cairn_err_errno(err, errno, "workspace %s (--workspace DIRECTORY names another)", path);
    if (stat(path, &st) != 0)
        return cairn_err_errno(err, errno, "workspace %s", path);
    return check_trust(path, &st, err);
}

int cairn_workspace_check(const char *path, struct cairn_err *err)
{
    struct stat st;
    int rc = stat(path, &st) == 0 ? check_trust(path, &st, err) : 0;

    return rc != 0 ? rc : cairn_place_check_dir(path, false, "workspace", err);
}

int cairn_workspace_key(const char *file, uint8_t *key, struct cairn_err *err)
{
    int rc = cairn_auth_key_read_own(file, key, err);

    if (rc != CAIRN_E_NOTFOUND)
        return rc;
    rc = cairn_auth_key_create(file, err);
    if (rc != 0 && rc != CAIRN_E_EXISTS) /* another node of this workspace was faster */
        return rc;
    return cairn_auth_key_read_own(file, key, err);
}

int cairn_workspace_key_check(const char *file, const char *workspace, struct cairn_err *err)
{
    uint8_t key[CAIRN_KEY_BYTES];
    struct stat st;
    size_t n = strlen(workspace);
    int rc = cairn_auth_key_read_own(file, key, err);

    cairn_auth_forget(key, sizeof(key));
    if (rc != CAIRN_E_NOTFOUND)
        return rc;
    /* A workspace that is not there yet will be, for what lies directly in it. */
    if (strncmp(file, workspace, n) == 0 && file[n] == '/' && strchr(file + n + 1, '/') == NULL &&
        stat(workspace, &st) != 0)
        return 0;
    return cairn_place_check_file(file, "cluster key", err);
}

/* @o becomes the file @name; takes @o. */
static int put_document(const char *path, const char *name, json_t *o, struct cairn_err *err)
{
    char file[PATH_MAX], fresh[PATH_MAX];
    int rc = 0;

    snprintf(file, sizeof(file), "%s/%s", path, name);
    snprintf(fresh, sizeof(fresh), "%s/%s.%d", path, name, (int)getpid());
    if (o == NULL || json_dump_file(o, fresh, JSON_INDENT(2)) != 0 || rename(fresh, file) != 0) {
        rc = cairn_err_errno(err, errno, "workspace %s", file);
        unlink(fresh);
    }
    json_decref(o);
    return rc;
}

static void remove_document(const char *path, const char *name)
{
    char file[PATH_MAX];
    json_t *o;

    snprintf(file, sizeof(file), "%s/%s", path, name);
    o = json_load_file(file, 0, NULL);
    if (o != NULL && json_integer_value(json_object_get(o, "pid")) == (json_int_t)getpid())
        unlink(file);
    json_decref(o);
}

int cairn_workspace_publish(const char *path, char *const *addresses, uint32_t n, const uint8_t *cluster_id,
                            const char *node, struct cairn_err *err)
{
    char cluster[CAIRN_CLUSTER_ID_BYTES * 2 + 1];
    json_t *list = json_array();

    sodium_bin2hex(cluster, sizeof(cluster), cluster_id, CAIRN_CLUSTER_ID_BYTES);
    for (uint32_t i = 0; i < n; i++)
        json_array_append_new(list, json_string(addresses[i]));
    return put_document(path, "node.json",
                        json_pack("{s:i, s:o, s:s, s:s, s:i}", "version", 1, "addresses", list, "cluster_id", cluster,
                                  "node", node, "pid", (int)getpid()),
                        err);
}

void cairn_workspace_withdraw(const char *path)
{
    remove_document(path, "node.json");
}

int cairn_workspace_say_starting(const char *path, const char *node, const char *waits_for, struct cairn_err *err)
{
    return put_document(path, "starting.json",
                        json_pack("{s:i, s:s, s:i, s:I, s:s}", "version", 1, "node", node, "pid", (int)getpid(),
                                  "began", (json_int_t)cairn_process_began(getpid()), "waits_for", waits_for),
                        err);
}

void cairn_workspace_has_started(const char *path)
{
    remove_document(path, "starting.json");
}
