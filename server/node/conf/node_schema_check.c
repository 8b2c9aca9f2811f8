/* What must fit together in a node's file, and what no type says: see node_schema.c. */
#include "server/node/conf/conf_internal.h"
#include "server/node/conf/node_conf.h"

#include <inttypes.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

static const char *unix_path(const char *addr)
{
    return strncmp(addr, "unix://", 7) == 0 ? addr + 7 : NULL;
}

/* Why "tcp://HOST:PORT" is wrong, NULL if it is right. HOST may be [v6], a v4 address or a name. */
static const char *tcp_wrong(const char *addr)
{
    const char *host = addr + 6, *colon = strrchr(host, ':'), *close = strrchr(host, ']');
    unsigned long port = 0;

    if (colon == NULL || (close != NULL && close > colon))
        return "has no port: write tcp://HOST:PORT (port 0: any)";
    if (colon == host)
        return "has no host: write tcp://HOST:PORT (0.0.0.0 or [::]: every interface)";
    if ((host[0] == '[') != (close != NULL && close == colon - 1))
        return "has an unbalanced '['";
    if (host[0] != '[' && memchr(host, ':', (size_t)(colon - host)) != NULL)
        return "is an IPv6 address without brackets: write tcp://[ADDRESS]:PORT";
    if (colon[1] == '\0' || strlen(colon + 1) > 5 || colon[1 + strspn(colon + 1, "0123456789")] != '\0')
        return "has a port that is no number";
    port = strtoul(colon + 1, NULL, 10);
    return port > 65535 ? "has a port above 65535" : NULL;
}

static const char *address_wrong(const char *addr, const char *workspace)
{
    const char *path = unix_path(addr);
    struct sockaddr_un sun;

    if (path != NULL && path[0] == '\0')
        return "has no path";
    if (path != NULL && strlen(path) + (path[0] == '/' ? 0 : strlen(workspace) + 1) >= sizeof(sun.sun_path))
        return path[0] == '/' ? "has a path longer than 107 bytes"
                              : "has, in the workspace, a path longer than 107 bytes";
    if (path != NULL)
        return NULL;
    if (strncmp(addr, "tcp://", 6) != 0)
        return "is no address: write unix://PATH or tcp://HOST:PORT";
    return tcp_wrong(addr);
}

static bool is_any_port(const char *addr)
{
    size_t n = strlen(addr);

    return n >= 2 && strcmp(addr + n - 2, ":0") == 0;
}

static void check_listen(struct cairn_conf_doc *doc, const struct cairn_conf *root)
{
    const struct cairn_conf *metrics = cairn_conf_section(root, "metrics");
    const char *page = cairn_conf_str(metrics, "listen");
    const char *why;

    for (uint32_t i = 0; i < cairn_conf_list_len(root, "listen"); i++) {
        const char *addr = cairn_conf_list_str(root, "listen", i);

        why = address_wrong(addr, cairn_conf_str(root, "workspace"));
        if (why != NULL)
            cairn_conf_complain(doc, root, "listen", (int)i, "'%.100s' %s", addr, why);
        for (uint32_t j = 0; j < i && why == NULL && !is_any_port(addr); j++) {
            if (strcmp(addr, cairn_conf_list_str(root, "listen", j)) == 0)
                cairn_conf_complain(doc, root, "listen", (int)i, "'%.100s' is there twice", addr);
        }
        if (why == NULL && strcmp(addr, page) == 0 && !is_any_port(addr))
            cairn_conf_complain(doc, metrics, "listen", -1,
                                "'metrics.listen' is an address of 'listen' too; give it a port of its own");
    }
    if (page[0] == '\0')
        return;
    why = unix_path(page) != NULL ? "must be tcp://HOST:PORT" : address_wrong(page, "");
    if (why != NULL)
        cairn_conf_complain(doc, metrics, "listen", -1, "'metrics.listen' %s; found '%.100s'", why, page);
}

/* Plain decimal up to @max; false otherwise. */
static bool parse_number(const char *s, uint64_t max, uint64_t *out)
{
    *out = 0;
    if (s[0] == '\0' || strlen(s) > 10 || s[strspn(s, "0123456789")] != '\0')
        return false;
    *out = strtoull(s, NULL, 10);
    return *out <= max;
}

static void check_numbers(struct cairn_conf_doc *doc, const struct cairn_conf *root)
{
    const struct cairn_conf *node = cairn_conf_section(root, "node"), *auth = cairn_conf_section(root, "auth");
    const char *cluster = cairn_conf_str(node, "cluster");
    uint64_t ignored;

    if (cluster[0] != '\0' && (strlen(cluster) != 32 || cluster[strspn(cluster, "0123456789abcdef")] != '\0'))
        cairn_conf_complain(doc, node, "cluster", -1, "'node.cluster' must be 32 digits of 0-9 and a-f; found '%.60s'",
                            cluster);
    for (uint32_t i = 0; i < cairn_conf_list_len(node, "pin"); i++) {
        if (!parse_number(cairn_conf_list_str(node, "pin", i), 4095, &ignored))
            cairn_conf_complain(doc, node, "pin", (int)i,
                                "'node.pin[%" PRIu32 "]' must be a CPU number from 0 to 4095; found '%.60s'", i,
                                cairn_conf_list_str(node, "pin", i));
    }
    for (uint32_t i = 0; i < cairn_conf_list_len(auth, "admins"); i++) {
        const char *who = cairn_conf_list_str(auth, "admins", i);

        if (!parse_number(who, UINT32_MAX - 1, &ignored) && getpwnam(who) == NULL)
            cairn_conf_complain(doc, auth, "admins", (int)i,
                                "'auth.admins[%" PRIu32 "]': this machine knows no user '%.60s'", i, who);
    }
}

static bool is_provider_name(const char *s)
{
    return s[0] != '\0' && strlen(s) <= 64 && s[strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789_-")] == '\0';
}

/* As written: two ways to say one directory are told apart only when the second provider finds it locked. */
static const char *directory_of(const struct cairn_conf *p)
{
    return cairn_conf_has_key(p, "path") && cairn_conf_str(p, "path")[0] != '\0' ? cairn_conf_str(p, "path")
                                                                                 : cairn_conf_str(p, "name");
}

static void check_providers(struct cairn_conf_doc *doc, const struct cairn_conf *root)
{
    static const char *const reserved[] = { "node", "bulk", "router", "cluster" };
    uint32_t n = cairn_conf_list_len(root, "providers");

    for (uint32_t i = 0; i < n; i++) {
        const struct cairn_conf *p = cairn_conf_list_section(root, "providers", i);
        const char *name = cairn_conf_str(p, "name");

        if (!cairn_conf_is_sound(p, "name"))
            continue;
        if (!is_provider_name(name))
            cairn_conf_complain(doc, p, "name", -1,
                                "a provider's name is made of up to 64 letters a-z, digits, '_' and '-'; found '%.80s'",
                                name);
        for (uint32_t j = 0; j < ARRAY_SIZE(reserved); j++) {
            if (strcmp(name, reserved[j]) == 0)
                cairn_conf_complain(doc, p, "name", -1,
                                    "'%s' is the name of a part that every node has; choose another", name);
        }
        for (uint32_t j = 0; j < i; j++) {
            const struct cairn_conf *o = cairn_conf_list_section(root, "providers", j);

            if (strcmp(name, cairn_conf_str(o, "name")) == 0) {
                cairn_conf_complain(doc, p, "name", -1, "another provider is called '%.80s' already (%s)", name,
                                    cairn_conf_where(o, "name"));
                break;
            }
        }
        for (uint32_t j = 0; j < i && cairn_conf_has_key(p, "path"); j++) {
            const struct cairn_conf *o = cairn_conf_list_section(root, "providers", j);

            if (strcmp(name, cairn_conf_str(o, "name")) != 0 && strcmp(directory_of(p), directory_of(o)) == 0) {
                cairn_conf_complain(doc, p, "path", -1, "the directory of provider '%.80s' (%s); choose another",
                                    cairn_conf_str(o, "name"), cairn_conf_where(o, "name"));
                break;
            }
        }
    }
}

static void check_reference(struct cairn_conf_doc *doc, const struct cairn_conf *root, const char *key)
{
    const struct cairn_conf *router = cairn_conf_section(root, "router");
    const char *name = cairn_conf_str(router, key);
    struct conf_near near;

    if (name[0] == '\0')
        return;
    cairn_conf__near_init(&near, name);
    for (uint32_t i = 0; i < cairn_conf_list_len(root, "providers"); i++) {
        const struct cairn_conf *p = cairn_conf_list_section(root, "providers", i);
        bool right = strcmp(cairn_conf_str(p, "type"), key) == 0;

        if (strcmp(cairn_conf_str(p, "name"), name) == 0) {
            if (!right)
                cairn_conf_complain(doc, router, key, -1,
                                    "'router.%s' must name a provider of type %s; '%.80s' is of type %.80s", key, key,
                                    name, cairn_conf_str(p, "type"));
            return;
        }
        if (right)
            cairn_conf__near_offer(&near, cairn_conf_str(p, "name"));
    }
    cairn_conf_complain(doc, router, key, -1, "'router.%s': no provider is called '%.80s'%s%.80s%s", key, name,
                        near.best != NULL ? ", did you mean '" : "", near.best != NULL ? near.best : "",
                        near.best != NULL ? "'?" : "");
}

static void check_together(struct cairn_conf_doc *doc, const struct cairn_conf *root)
{
    const struct cairn_conf *limits = cairn_conf_section(root, "limits"), *auth = cairn_conf_section(root, "auth");
    const char *name = cairn_conf_str(cairn_conf_section(root, "node"), "name");

    check_reference(doc, root, "kv");
    check_reference(doc, root, "extent");
    if (cairn_conf_u64(limits, "inflight_bytes") > cairn_conf_u64(limits, "node_bytes"))
        cairn_conf_complain(
            doc, limits, cairn_conf_is_set(limits, "inflight_bytes") ? "inflight_bytes" : "node_bytes", -1,
            "'limits.inflight_bytes' (one connection, %s) exceeds 'limits.node_bytes' (all of them, %s)",
            cairn_conf_where(limits, "inflight_bytes"), cairn_conf_where(limits, "node_bytes"));
    if (cairn_conf_u64(auth, "munge") == CAIRN_MUNGE_OFF && cairn_conf_str(auth, "munge_socket")[0] != '\0')
        cairn_conf_complain(doc, auth, "munge_socket", -1, "'auth.munge_socket' is given, but 'auth.munge' is off (%s)",
                            cairn_conf_where(auth, "munge"));
    if (strlen(name) > CAIRN_NAME_BYTES_MAX || name[strcspn(name, "/ \t\n")] != '\0')
        cairn_conf_complain(doc, cairn_conf_section(root, "node"), "name", -1,
                            "'node.name' must be at most 255 bytes without spaces and '/'");
    if (cairn_conf_str(root, "workspace")[0] != '/')
        cairn_conf_complain(doc, root, "workspace", -1, "'workspace' must be an absolute path; found '%.100s'",
                            cairn_conf_str(root, "workspace"));
}

static void check_map_etcd(struct cairn_conf_doc *doc, const struct cairn_conf *map)
{
    const struct cairn_conf *tls = cairn_conf_section(map, "tls");

    if (cairn_conf_list_len(map, "endpoints") == 0)
        cairn_conf_complain(doc, map, "endpoints", -1, "'map.store' is etcd (%s): name its 'map.endpoints'",
                            cairn_conf_where(map, "store"));
    for (uint32_t i = 0; i < cairn_conf_list_len(map, "endpoints"); i++) {
        const char *url = cairn_conf_list_str(map, "endpoints", i);

        if (strncmp(url, "http://", 7) != 0 && strncmp(url, "https://", 8) != 0)
            cairn_conf_complain(doc, map, "endpoints", (int)i,
                                "'map.endpoints[%" PRIu32 "]' must be http://HOST:PORT or https://HOST:PORT; found "
                                "'%.100s'",
                                i, url);
    }
    if ((cairn_conf_str(map, "user")[0] == '\0') != (cairn_conf_str(map, "password_file")[0] == '\0'))
        cairn_conf_complain(doc, map, "user", -1, "'map.user' and 'map.password_file' belong together");
    if ((cairn_conf_str(tls, "cert")[0] == '\0') != (cairn_conf_str(tls, "key")[0] == '\0'))
        cairn_conf_complain(doc, tls, "cert", -1, "'map.tls.cert' and 'map.tls.key' belong together");
}

static void check_map(struct cairn_conf_doc *doc, const struct cairn_conf *root)
{
    const struct cairn_conf *map = cairn_conf_section(root, "map");
    const char *prefix = cairn_conf_str(map, "prefix");

    if (prefix[0] != '/' || strlen(prefix) < 2 || strlen(prefix) > CAIRN_MAP_ETCD_PREFIX_BYTES_MAX ||
        prefix[strlen(prefix) - 1] != '/' || prefix[strcspn(prefix, " \t\n\"")] != '\0')
        cairn_conf_complain(doc, map, "prefix", -1,
                            "'map.prefix' must begin and end with '/' and have no spaces, for example /cairn/; found "
                            "'%.100s'",
                            prefix);
    if (cairn_conf_u64(map, "store") == 1)
        check_map_etcd(doc, map);
    else if (cairn_conf_list_len(map, "endpoints") > 0)
        cairn_conf_complain(doc, map, "endpoints", -1, "'map.endpoints' are given, but 'map.store' is local (%s)",
                            cairn_conf_where(map, "store"));
}

enum { COPY_RATE_MIN = 1 << 20 };

static void check_cluster(struct cairn_conf_doc *doc, const struct cairn_conf *root)
{
    const struct cairn_conf *cluster = cairn_conf_section(root, "cluster");
    uint64_t slots = cairn_conf_u64(cluster, "slots");

    if ((slots & (slots - 1)) != 0)
        cairn_conf_complain(doc, cluster, "slots", -1, "'cluster.slots' must be a power of two; found %" PRIu64, slots);
    if (cairn_conf_u64(cluster, "copy_rate") > 0 && cairn_conf_u64(cluster, "copy_rate") < COPY_RATE_MIN)
        cairn_conf_complain(doc, cluster, "copy_rate", -1,
                            "'cluster.copy_rate' is 0, or at least 1MiB: copies that take too long are given up");
    if (cairn_conf_u64(cluster, "heartbeat") > cairn_conf_u64(cluster, "lease") / 4)
        cairn_conf_complain(doc, cluster, cairn_conf_is_set(cluster, "heartbeat") ? "heartbeat" : "lease", -1,
                            "'cluster.heartbeat' (%s) is more than a quarter of 'cluster.lease' (%s)",
                            cairn_conf_where(cluster, "heartbeat"), cairn_conf_where(cluster, "lease"));
    if (cairn_conf_u64(cluster, "resend") > cairn_conf_u64(cluster, "ack"))
        cairn_conf_complain(doc, cluster, cairn_conf_is_set(cluster, "resend") ? "resend" : "ack", -1,
                            "'cluster.resend' (%s) is longer than 'cluster.ack' (%s)",
                            cairn_conf_where(cluster, "resend"), cairn_conf_where(cluster, "ack"));
    if (strlen(cairn_conf_str(cluster, "zone")) > CAIRN_CLUSTER_ZONE_BYTES_MAX)
        cairn_conf_complain(doc, cluster, "zone", -1, "'cluster.zone' has more than %d bytes",
                            CAIRN_CLUSTER_ZONE_BYTES_MAX);
    for (uint32_t i = 0; i < cairn_conf_list_len(cluster, "addresses"); i++) {
        const char *addr = cairn_conf_list_str(cluster, "addresses", i);
        const char *why = strncmp(addr, "tcp://", 6) == 0 ? tcp_wrong(addr) : "must be tcp://HOST:PORT";

        if (why == NULL && is_any_port(addr))
            why = "has no port that others could use";
        if (why != NULL)
            cairn_conf_complain(doc, cluster, "addresses", (int)i, "'%.100s' %s", addr, why);
    }
}

cairn_conf_validator *const cairn_node_validators[] = {
    check_listen, check_numbers, check_providers, check_together, check_map, check_cluster, NULL
};
