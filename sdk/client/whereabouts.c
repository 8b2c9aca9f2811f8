/* Where a node is: see whereabouts.h.
 *
 * What lies in a workspace decides whom we talk to, so it counts only if nobody but its owner, us or root, could have
 * written it. */
#include "sdk/client/whereabouts.h"

#include "sdk/core/base/macros.h"
#include "sdk/core/base/process.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { ADDRESS_TEXT_MAX = 320 }; /* a host's name may have 253 bytes */

int cairn_whereabouts_dir(const struct cairn_options *options, char *path, size_t room, struct cairn_err *err)
{
    const char *dir = options != NULL ? options->workspace : NULL, *sub = "";
    int n;

    if (dir == NULL)
        dir = getenv("CAIRN_WORKSPACE");
    if (dir == NULL || dir[0] == '\0') {
        dir = getenv("XDG_RUNTIME_DIR");
        sub = "/cairn";
    }
    if (dir == NULL ||
        (sub[0] != '\0' && dir[0] != '/')) /* a relative $XDG_RUNTIME_DIR counts as none, for a node too */
        dir = "/run";
    n = snprintf(path, room, "%s%s", dir, sub);
    if (n < 0 || (size_t)n >= room)
        return cairn_err_set(err, CAIRN_E_INVAL, "the name of the workspace directory is too long");
    return 0;
}

/* Only its owner, who is us or root, may have written it. */
static int check_trust(const char *path, const struct stat *st, struct cairn_err *err)
{
    bool sticky = S_ISDIR(st->st_mode) && (st->st_mode & S_ISVTX) != 0;

    if (st->st_uid != geteuid() && st->st_uid != 0)
        return cairn_err_set(err, CAIRN_E_DENIED, "%s belongs to user %u, neither to us nor to root", path,
                             (unsigned)st->st_uid);
    if ((st->st_mode & 022) != 0 && !sticky)
        return cairn_err_set(err, CAIRN_E_DENIED, "%s: mode %04o lets others write to it; `chmod go-w %s`", path,
                             st->st_mode & 07777, path);
    return 0;
}

/* The whole file, malloc'ed and zero-terminated. */
static int read_trusted(const char *path, char **text, struct cairn_err *err)
{
    struct stat st;
    size_t n = 0;
    char *p = NULL;
    int rc, fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);

    if (fd < 0 && errno == ENOENT)
        return cairn_err_set(err, CAIRN_E_UNREACHABLE, "%s is not there: no node was started in this workspace", path);
    if (fd < 0)
        return cairn_err_errno(err, errno, "%s", path);
    if (fstat(fd, &st) != 0) {
        rc = cairn_err_errno(err, errno, "%s", path);
        goto out;
    }
    rc = S_ISREG(st.st_mode) ? check_trust(path, &st, err)
                             : cairn_err_set(err, CAIRN_E_CONFIG, "%s is no plain file", path);
    if (rc != 0)
        goto out;
    if (st.st_size > CAIRN_NODE_JSON_BYTES_MAX) {
        rc = cairn_err_set(err, CAIRN_E_CONFIG, "%s is larger than %d bytes", path, CAIRN_NODE_JSON_BYTES_MAX);
        goto out;
    }
    p = malloc(CAIRN_NODE_JSON_BYTES_MAX + 1);
    if (p == NULL) {
        rc = cairn_err_set(err, CAIRN_E_NOMEM, "%s", path);
        goto out;
    }
    while (n < CAIRN_NODE_JSON_BYTES_MAX) {
        ssize_t r = read(fd, p + n, CAIRN_NODE_JSON_BYTES_MAX - n);

        if (r < 0 && errno == EINTR)
            continue;
        if (r < 0) {
            rc = cairn_err_errno(err, errno, "%s", path);
            goto out;
        }
        if (r == 0)
            break;
        n += (size_t)r;
    }
    p[n] = '\0';
    *text = p;
    p = NULL;
out:
    free(p);
    close(fd);
    return rc;
}

static int too_long(struct cairn_err *err)
{
    return cairn_err_set(err, CAIRN_E_CONFIG, "an address is longer than %d bytes", ADDRESS_TEXT_MAX - 1);
}

/* The addresses that were named; of more than a session takes a random choice, so that clients that are all told of a
 * large cluster do not all come to the same few nodes. */
struct choice {
    uint32_t named;
    char texts[CAIRN_SESSION_ADDRS_MAX][ADDRESS_TEXT_MAX];
};

static int choice_add(struct choice *c, const char *text, struct cairn_err *err)
{
    struct cairn_addr a;
    int rc = cairn_addr_parse_numeric(text, &a, err);
    uint32_t at = c->named++;

    if (rc != 0 && rc != CAIRN_E_NOTFOUND) /* a host's name is looked up if it is chosen */
        return rc == CAIRN_E_INVAL ? CAIRN_E_CONFIG : rc;
    if (at >= CAIRN_SESSION_ADDRS_MAX) {
        uint64_t r;

        cairn_auth_random(&r, sizeof(r));
        at = (uint32_t)(r % c->named); /* each is kept with the same chance */
    }
    if (at < CAIRN_SESSION_ADDRS_MAX)
        snprintf(c->texts[at], sizeof(c->texts[at]), "%s", text);
    return 0;
}

/* A host that is not known here is no matter as long as another is. */
static int choice_look_up(const struct choice *c, struct cairn_rpc_session_conf *conf, struct cairn_err *err)
{
    int rc = 0;

    for (uint32_t i = 0; i < MIN(c->named, (uint32_t)CAIRN_SESSION_ADDRS_MAX); i++) {
        int one = cairn_addr_parse(c->texts[i], &conf->addrs[conf->naddrs], err);

        if (one == 0)
            conf->naddrs++;
        else
            rc = one;
    }
    return conf->naddrs > 0 ? 0 : rc;
}

/* Addresses are ways to one node: what is said of its name holds for all, and for what the options said before. */
static int name_node(struct cairn_rpc_session_conf *conf, const char *name, struct cairn_err *err)
{
    if (name[0] == '\0' || strlen(name) >= sizeof(conf->node))
        return cairn_err_set(err, CAIRN_E_CONFIG, "the name of a node has 1 to %zu bytes", sizeof(conf->node) - 1);
    if (conf->node[0] != '\0' && strcmp(conf->node, name) != 0)
        return cairn_err_set(err, CAIRN_E_CONFIG, "the addresses are to be of node %s, and of node %s", conf->node,
                             name);
    memcpy(conf->node, name, strlen(name) + 1);
    return 0;
}

/* "tcp://host:4710#n1" is where node n1 is. What a unix socket is called may have that sign. */
static int add_listed(struct choice *c, struct cairn_rpc_session_conf *conf, char *text, struct cairn_err *err)
{
    char *name = strncmp(text, "unix:", 5) != 0 ? strchr(text, '#') : NULL;
    int rc;

    if (name != NULL)
        *name++ = '\0';
    rc = choice_add(c, text, err);
    return rc == 0 && name != NULL ? name_node(conf, name, err) : rc;
}

static int addresses_of_list(const char *list, struct cairn_rpc_session_conf *conf, struct cairn_err *err)
{
    char one[ADDRESS_TEXT_MAX];
    struct choice c = { 0 };
    int rc;

    for (const char *p = list; *p != '\0';) {
        size_t n = strcspn(p, ", \t\n");

        if (n >= sizeof(one))
            return too_long(err);
        memcpy(one, p, n);
        one[n] = '\0';
        rc = n > 0 ? add_listed(&c, conf, one, err) : 0;
        if (rc != 0)
            return rc;
        p += n + (p[n] != '\0');
    }
    if (c.named == 0)
        return cairn_err_set(err, CAIRN_E_CONFIG, "the list of addresses is empty");
    return choice_look_up(&c, conf, err);
}

static bool hex_to_bytes(const char *hex, uint8_t *to, size_t n)
{
    for (size_t i = 0; i < 2 * n; i++) {
        const char *digits = "0123456789abcdef", *d = hex[i] != '\0' ? strchr(digits, hex[i] | 0x20) : NULL;

        if (d == NULL)
            return false;
        to[i / 2] = (uint8_t)(to[i / 2] << 4 | (d - digits));
    }
    return hex[2 * n] == '\0';
}

static bool needs_key(const struct cairn_rpc_session_conf *conf)
{
    for (uint32_t i = 0; i < conf->naddrs; i++) {
        if (!cairn_addr_is_unix(&conf->addrs[i]))
            return true;
    }
    return false;
}

static int node_json_use(json_t *o, const char *file, struct cairn_rpc_session_conf *conf, struct cairn_err *err)
{
    json_t *addresses = json_object_get(o, "addresses"), *cluster = json_object_get(o, "cluster_id");
    const char *node = json_string_value(json_object_get(o, "node"));
    struct choice c = { 0 };
    int rc;

    if (json_integer_value(json_object_get(o, "version")) != 1)
        return cairn_err_set(err, CAIRN_E_CONFIG, "%s: \"version\" is not 1: written by another version of cairnd",
                             file);
    if (!json_is_array(addresses) || json_array_size(addresses) == 0)
        return cairn_err_set(err, CAIRN_E_CONFIG, "%s: \"addresses\" is not a list of addresses", file);
    for (size_t i = 0; i < json_array_size(addresses); i++) {
        const char *text = json_string_value(json_array_get(addresses, i));

        if (text == NULL)
            return cairn_err_set(err, CAIRN_E_CONFIG, "%s: \"addresses\" holds something that is no text", file);
        rc = strlen(text) < ADDRESS_TEXT_MAX ? choice_add(&c, text, err) : too_long(err);
        if (rc != 0)
            return cairn_err_wrap(err, rc, "%s", file);
    }
    rc = choice_look_up(&c, conf, err);
    if (rc != 0)
        return cairn_err_wrap(err, rc, "%s", file);
    if (cluster != NULL) {
        const char *hex = json_string_value(cluster);

        conf->has_cluster_id = hex != NULL && hex_to_bytes(hex, conf->cluster_id, CAIRN_CLUSTER_ID_BYTES);
        if (!conf->has_cluster_id)
            return cairn_err_set(err, CAIRN_E_CONFIG, "%s: \"cluster_id\" is not %d hexadecimal digits", file,
                                 CAIRN_CLUSTER_ID_BYTES * 2);
    }
    /* Whoever sits by now at an address that the node had is to get no proof which he could carry to another. */
    if (node != NULL && conf->node[0] == '\0' && needs_key(conf) && strlen(node) < sizeof(conf->node))
        memcpy(conf->node, node, strlen(node) + 1);
    return 0;
}

static int addresses_of_workspace(const char *dir, struct cairn_rpc_session_conf *conf, struct cairn_err *err)
{
    char file[PATH_MAX], *text = NULL;
    json_error_t bad;
    struct stat st;
    json_t *o;
    int rc;

    if (stat(dir, &st) != 0)
        return errno == ENOENT
                   ? cairn_err_set(err, CAIRN_E_UNREACHABLE, "workspace %s is not there: no node was started", dir)
                   : cairn_err_errno(err, errno, "workspace %s", dir);
    rc = check_trust(dir, &st, err);
    if (rc != 0)
        return cairn_err_wrap(err, rc, "workspace");
    if (snprintf(file, sizeof(file), "%s/node.json", dir) >= (int)sizeof(file))
        return cairn_err_set(err, CAIRN_E_INVAL, "the name of the workspace directory is too long");
    rc = read_trusted(file, &text, err);
    if (rc != 0)
        return rc;
    o = json_loads(text, 0, &bad);
    if (o == NULL && (bad.text[0] == '\0' || json_error_code(&bad) == json_error_out_of_memory)) /* both are its way */
        rc = cairn_err_set(err, CAIRN_E_NOMEM, "%s", file);
    else if (o == NULL)
        rc = cairn_err_set(err, CAIRN_E_CONFIG, "%s:%d:%d: %s", file, bad.line, bad.column, bad.text);
    else
        rc = node_json_use(o, file, conf, err);
    json_decref(o);
    free(text);
    return rc;
}

/* Unix sockets first, the order kept otherwise. */
static void sort_addresses(struct cairn_rpc_session_conf *conf)
{
    struct cairn_addr sorted[CAIRN_SESSION_ADDRS_MAX];
    uint32_t n = 0;

    for (int is_unix = 1; is_unix >= 0; is_unix--) {
        for (uint32_t i = 0; i < conf->naddrs; i++) {
            if (cairn_addr_is_unix(&conf->addrs[i]) == (is_unix != 0))
                sorted[n++] = conf->addrs[i];
        }
    }
    memcpy(conf->addrs, sorted, n * sizeof(*sorted));
}

/* Whatever is wrong with a key is about who we are, and not about a namespace or a configuration. */
static int read_key(const char *file, struct cairn_rpc_session_conf *conf, struct cairn_err *err)
{
    int rc = cairn_auth_key_read(file, conf->key, err);

    conf->has_key = rc == 0;
    if (rc != CAIRN_E_DENIED && rc != CAIRN_E_FORMAT && rc != CAIRN_E_NOTFOUND)
        return rc;
    if (err != NULL)
        err->code = CAIRN_E_AUTH;
    return CAIRN_E_AUTH;
}

/* The file that was asked for, NULL if none was. */
static const char *named_key(const struct cairn_options *options)
{
    const char *file = options != NULL ? options->key_file : NULL;

    if (file == NULL)
        file = getenv("CAIRN_KEY");
    return file != NULL && file[0] != '\0' ? file : NULL;
}

/* Unix sockets ask for none, but calls go to other nodes of the cluster, too, by its map. The key of the workspace is used
 * if it is there and meant for us; one that others may read is refused, and ignored only where it was not asked for. */
static int find_key(const struct cairn_options *options, const char *dir, struct cairn_rpc_session_conf *conf,
                    struct cairn_err *err)
{
    const char *named = named_key(options);
    char file[PATH_MAX];

    if (options != NULL && options->key_file != NULL)
        return read_key(options->key_file, conf, err);
    if (named != NULL)
        return read_key(named, conf, err);
    if (snprintf(file, sizeof(file), "%s/cluster.key", dir) >= (int)sizeof(file))
        return cairn_err_set(err, CAIRN_E_INVAL, "the name of the workspace directory is too long");
    if (faccessat(AT_FDCWD, file, R_OK, AT_EACCESS) != 0)
        return 0; /* none, or not ours: other proofs may do */
    if (needs_key(conf))
        return read_key(file, conf, err);
    (void)read_key(file, conf, NULL);
    return 0;
}

void cairn_whereabouts_explain(const struct cairn_options *options, const struct cairn_rpc_session_conf *conf,
                               struct cairn_err *err)
{
    char dir[PATH_MAX], text[sizeof(err->text)];

    if (err->code != CAIRN_E_AUTH || conf->has_key || !needs_key(conf) ||
        (options != NULL && options->key_file != NULL) ||
        named_key(options) != NULL || /* what is wrong with that has been said */
        cairn_whereabouts_dir(options, dir, sizeof(dir) - sizeof("/cluster.key"), NULL) != 0)
        return;
    strcat(dir, "/cluster.key");
    snprintf(text, sizeof(text), "%s", err->text);
    cairn_err_set(err, CAIRN_E_AUTH, "%.300s; %.150s %s, and no other file was named", text, dir,
                  access(dir, F_OK) != 0 ? "is not there" : "is not for this user to read");
}

/* The addresses that the options or the environment name; NULL: the workspace is asked. */
static const char *named_addresses(const struct cairn_options *options)
{
    const char *list = options != NULL ? options->addresses : NULL;

    if (list == NULL &&
        (options == NULL || options->workspace == NULL)) /* a workspace that was asked for comes first */
        list = getenv("CAIRN_ADDRESSES");
    return list != NULL && list[0] != '\0' ? list : NULL;
}

void cairn_whereabouts_starting(const struct cairn_options *options, struct cairn_err *err)
{
    char file[PATH_MAX], *text = NULL;
    const char *why;
    uint64_t began;
    json_t *o;
    pid_t pid;

    if (err->code != CAIRN_E_UNREACHABLE || named_addresses(options) != NULL ||
        cairn_whereabouts_dir(options, file, sizeof(file) - sizeof("/starting.json"), NULL) != 0)
        return;
    strcat(file, "/starting.json");
    if (read_trusted(file, &text, NULL) != 0)
        return;
    o = json_loads(text, 0, NULL);
    free(text);
    why = json_string_value(json_object_get(o, "waits_for"));
    pid = (pid_t)json_integer_value(json_object_get(o, "pid"));
    began = (uint64_t)json_integer_value(json_object_get(o, "began"));
    if (why != NULL && pid > 0 && began != 0 && cairn_process_began(pid) == began) /* one that died left it behind */
        cairn_err_set(err, CAIRN_E_UNREACHABLE, "the node (process %d) has not started yet: %.350s", (int)pid, why);
    json_decref(o);
}

int cairn_whereabouts_find(const struct cairn_options *options, struct cairn_rpc_session_conf *conf,
                           struct cairn_err *err)
{
    const char *list = named_addresses(options), *munge = getenv("CAIRN_MUNGE_SOCKET");
    char dir[PATH_MAX];
    int rc = cairn_whereabouts_dir(options, dir, sizeof(dir), err);

    if (rc != 0)
        return rc;
    rc = list != NULL ? addresses_of_list(list, conf, err) : addresses_of_workspace(dir, conf, err);
    if (rc != 0)
        return rc;
    sort_addresses(conf);
    rc = find_key(options, dir, conf, err);
    if (rc != 0)
        return rc;
    if (munge != NULL)
        snprintf(conf->munge_socket, sizeof(conf->munge_socket), "%s", munge);
    conf->munge = cairn_auth_munge_is_available(conf->munge_socket);
    return 0;
}
