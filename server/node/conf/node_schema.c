/* What a node's file may say: one table, and what must fit together. deploy/examples/one-node.yaml shows it in use. */
#include "server/node/conf/conf_internal.h"
#include "server/node/conf/node_conf.h"
#include "server/router/hashed_record.h"

#include <inttypes.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#define KEY_END                                                                                                        \
    {                                                                                                                  \
        .name = NULL                                                                                                   \
    }

static const char *const log_levels[] = { "error", "warn", "info", "debug", NULL }; /* enum cairn_log_level */
static const char *const map_stores[] = { "local", "etcd", NULL };                  /* conf->map_etcd */
static const char *const munge_uses[] = { "auto", "on", "off", NULL };              /* enum cairn_munge_use */

static const struct cairn_conf_key node_keys[] = {
    { .name = "name", .type = CAIRN_CONF_STRING, .fallback = "", .help = "name of the node; empty: the host's name" },
    { .name = "data",
      .type = CAIRN_CONF_STRING,
      .fallback = "",
      .help = "directory for everything stored; or `cairnd --data DIR`" },
    { .name = "cluster",
      .type = CAIRN_CONF_STRING,
      .fallback = "",
      .help =
          "id of the cluster, 32 hexadecimal digits, the same for all its nodes; empty: made with the data directory" },
    { .name = "workers",
      .type = CAIRN_CONF_UINT,
      .fallback = "0",
      .max = CAIRN_NODE_WORKERS_MAX,
      .help = "event loops, one thread each; 0: one per core" },
    { .name = "pin",
      .type = CAIRN_CONF_LIST,
      .max = CAIRN_NODE_WORKERS_MAX,
      .help = "CPU numbers that the workers are bound to, in turn; empty: not bound" },
    { .name = "pool_threads",
      .type = CAIRN_CONF_UINT,
      .fallback = "8",
      .min = 1,
      .max = 1024,
      .help = "threads for storage calls that block" },
    { .name = "spin",
      .type = CAIRN_CONF_DURATION,
      .fallback = "0s",
      .max = 10 * CAIRN_NS_PER_MS,
      .help = "poll this long before sleeping: lower latency for a busy core" },
    { .name = "log_level",
      .type = CAIRN_CONF_CHOICE,
      .fallback = "info",
      .choices = log_levels,
      .help = "how much is logged" },
    { .name = "log_file",
      .type = CAIRN_CONF_STRING,
      .fallback = "",
      .help = "where log lines go; empty: standard error" },
    KEY_END,
};

static const struct cairn_conf_key auth_keys[] = {
    { .name = "key_file",
      .type = CAIRN_CONF_STRING,
      .fallback = "cluster.key",
      .help = "the cluster key (mode 0600), made if missing; a relative path starts in the workspace; over TCP its "
              "holder is "
              "an administrator, so it is for these and for services, and MUNGE for users" },
    { .name = "munge",
      .type = CAIRN_CONF_CHOICE,
      .fallback = "auto",
      .choices = munge_uses,
      .help = "MUNGE for TCP peers; auto: when its daemon answers" },
    { .name = "munge_socket",
      .type = CAIRN_CONF_STRING,
      .fallback = "",
      .help = "of the MUNGE daemon; empty: its own default" },
    { .name = "insecure",
      .type = CAIRN_CONF_BOOL,
      .fallback = "false",
      .help = "let anybody in over TCP, without any proof" },
    { .name = "admins",
      .type = CAIRN_CONF_LIST,
      .max = CAIRN_NODE_ADMINS_MAX,
      .help = "users (names or numbers) who may do everything, beside root and the node's own user" },
    KEY_END,
};

static const struct cairn_conf_key limits_keys[] = {
    { .name = "connections",
      .type = CAIRN_CONF_UINT,
      .fallback = "10000",
      .min = 1,
      .max = 1000000,
      .help = "open at the same time; beside them an eighth as many may be proving who they are" },
    { .name = "inflight_requests",
      .type = CAIRN_CONF_UINT,
      .fallback = "512",
      .min = 1,
      .max = 65536,
      .help = "of one connection, not answered yet" },
    { .name = "inflight_bytes",
      .type = CAIRN_CONF_SIZE,
      .fallback = "16MiB",
      .min = 8 << 20,
      .max = UINT64_C(1) << 32,
      .help = "of one connection's requests, not answered yet" },
    { .name = "node_bytes",
      .type = CAIRN_CONF_SIZE,
      .fallback = "256MiB",
      .min = 16 << 20,
      .max = UINT64_C(1) << 40,
      .help = "of all connections' requests together" },
    { .name = "drain",
      .type = CAIRN_CONF_DURATION,
      .fallback = "30s",
      .max = 3600 * CAIRN_NS_PER_S,
      .help = "a stop waits this long for requests that run" },
    { .name = "idle_partial_frame",
      .type = CAIRN_CONF_DURATION,
      .fallback = "30s",
      .min = CAIRN_NS_PER_S,
      .max = 3600 * CAIRN_NS_PER_S,
      .help = "a peer that sends half a message and then nothing is cut off after this" },
    { .name = "session_ttl",
      .type = CAIRN_CONF_DURATION,
      .fallback = "60s",
      .min = CAIRN_NS_PER_S,
      .max = 86400 * CAIRN_NS_PER_S,
      .help = "a broken connection may come back within this and repeat its unanswered requests" },
    KEY_END,
};

static const struct cairn_conf_key bulk_keys[] = {
    { .name = "vm",
      .type = CAIRN_CONF_BOOL,
      .fallback = "true",
      .help = "reach into clients on the same host (process_vm_readv)" },
    { .name = "fabric",
      .type = CAIRN_CONF_BOOL,
      .fallback = "true",
      .help = "RMA over libfabric; without it pieces travel in frames" },
    { .name = "provider",
      .type = CAIRN_CONF_STRING,
      .fallback = "tcp;ofi_rxm",
      .help = "libfabric's provider: tcp;ofi_rxm, verbs;ofi_rxm, cxi ..." },
    { .name = "domain",
      .type = CAIRN_CONF_STRING,
      .fallback = "",
      .help = "libfabric's domain: eth0, mlx5_0 ...; empty: any" },
    KEY_END,
};

static const struct cairn_conf_key metrics_keys[] = {
    { .name = "listen",
      .type = CAIRN_CONF_STRING,
      .fallback = "",
      .help = "address of the /metrics and /healthz page, for example tcp://127.0.0.1:9464; empty: none" },
    KEY_END,
};

static const struct cairn_conf_key router_keys[] = {
    { .name = "kv",
      .type = CAIRN_CONF_STRING,
      .fallback = "",
      .help = "provider for metadata of new namespaces; empty: the first of type kv" },
    { .name = "extent",
      .type = CAIRN_CONF_STRING,
      .fallback = "",
      .help = "provider for large values of new namespaces; empty: the first of type extent" },
    { .name = "embed_threshold",
      .type = CAIRN_CONF_SIZE,
      .fallback = "32KiB",
      .max = CAIRN_RECORD_EMBEDDED_BYTES_MAX,
      .help = "values up to this size are stored beside their key, larger ones in extents" },
    { .name = "namespaces_per_user",
      .type = CAIRN_CONF_UINT,
      .fallback = "256",
      .min = 1,
      .max = 4096,
      .help = "how many one user may make; administrators are not bound by it" },
    KEY_END,
};

static const struct cairn_conf_key map_tls_keys[] = {
    { .name = "ca",
      .type = CAIRN_CONF_STRING,
      .fallback = "",
      .help = "PEM file that the store's certificate is checked with; empty: the system's" },
    { .name = "cert", .type = CAIRN_CONF_STRING, .fallback = "", .help = "PEM file of our certificate; empty: none" },
    { .name = "key", .type = CAIRN_CONF_STRING, .fallback = "", .help = "PEM file of its private key" },
    KEY_END,
};

static const struct cairn_conf_key map_keys[] = {
    { .name = "store",
      .type = CAIRN_CONF_CHOICE,
      .fallback = "local",
      .choices = map_stores,
      .help = "local: a file in the data directory, for one node; etcd: shared" },
    { .name = "endpoints",
      .type = CAIRN_CONF_LIST,
      .max = CAIRN_MAP_ETCD_ENDPOINTS_MAX,
      .help = "of etcd: http://HOST:PORT or https://HOST:PORT" },
    { .name = "prefix",
      .type = CAIRN_CONF_STRING,
      .fallback = "/cairn/",
      .help = "of all keys in etcd: one for each cluster" },
    { .name = "user", .type = CAIRN_CONF_STRING, .fallback = "", .help = "of etcd; empty: it asks for none" },
    { .name = "password_file",
      .type = CAIRN_CONF_STRING,
      .fallback = "",
      .help = "its first line is the user's password; mode 0600" },
    { .name = "timeout",
      .type = CAIRN_CONF_DURATION,
      .fallback = "10s",
      .min = CAIRN_NS_PER_S / 10,
      .max = 600 * CAIRN_NS_PER_S,
      .help = "a start waits this long for the store" },
    { .name = "tls", .type = CAIRN_CONF_SECTION, .sub = map_tls_keys, .help = "For https." },
    KEY_END,
};

static const struct cairn_conf_key cluster_keys[] = {
    { .name = "zone",
      .type = CAIRN_CONF_STRING,
      .fallback = "",
      .help =
          "what fails together (a rack, a room): replicas go to distinct zones; empty: the node is one of its own" },
    { .name = "weight",
      .type = CAIRN_CONF_UINT,
      .fallback = "100",
      .min = 0,
      .max = CAIRN_CLUSTER_WEIGHT_MAX,
      .help = "the node's share of the slots, relative to others; 0: none" },
    { .name = "addresses",
      .type = CAIRN_CONF_LIST,
      .max = CAIRN_CLUSTER_ADDRESSES_MAX,
      .help =
          "where other nodes and clients reach this one: tcp://HOST:PORT; empty: those of 'listen', with the host's "
          "name for 0.0.0.0 and [::]" },
    { .name = "slots",
      .type = CAIRN_CONF_UINT,
      .fallback = "1024",
      .min = 1024,
      .max = 131072,
      .help = "into how many parts each namespace is divided, a power of two; counts once, when the cluster's first "
              "replicated namespace is made" },
    { .name = "lease",
      .type = CAIRN_CONF_DURATION,
      .fallback = "4s",
      .min = CAIRN_NS_PER_S,
      .max = 60 * CAIRN_NS_PER_S,
      .help =
          "a node answers for so long without word from the coordinator, and is replaced after a little more; counts "
          "once, at the cluster's first start" },
    { .name = "heartbeat",
      .type = CAIRN_CONF_DURATION,
      .fallback = "500ms",
      .min = CAIRN_NS_PER_S / 20,
      .max = 20 * CAIRN_NS_PER_S,
      .help = "how often a node asks the coordinator for its lease; at most a quarter of it" },
    { .name = "election",
      .type = CAIRN_CONF_DURATION,
      .fallback = "2s",
      .min = CAIRN_NS_PER_S,
      .max = 60 * CAIRN_NS_PER_S,
      .help = "a coordinator that falls silent has a successor after so long; less than 'lease' pauses nobody" },
    { .name = "ack",
      .type = CAIRN_CONF_DURATION,
      .fallback = "500ms",
      .min = CAIRN_NS_PER_S / 20,
      .max = 60 * CAIRN_NS_PER_S,
      .help = "a replica that acknowledges nothing for so long is not waited for any more" },
    { .name = "resend",
      .type = CAIRN_CONF_DURATION,
      .fallback = "100ms",
      .min = CAIRN_NS_PER_S / 100,
      .max = 10 * CAIRN_NS_PER_S,
      .help = "what a replica does not answer is sent again after so long; at most 'ack'" },
    { .name = "sync_interval",
      .type = CAIRN_CONF_DURATION,
      .fallback = "200ms",
      .min = CAIRN_NS_PER_S / 100,
      .max = 60 * CAIRN_NS_PER_S,
      .help = "what namespaces of durability 'buffered' keep is on disk after so long" },
    { .name = "session_ttl",
      .type = CAIRN_CONF_DURATION,
      .fallback = "120s",
      .min = CAIRN_NS_PER_S,
      .max = 86400 * CAIRN_NS_PER_S,
      .help = "a client that is silent for so long cannot repeat what it does not know to be done" },
    { .name = "lost_wait",
      .type = CAIRN_CONF_DURATION,
      .fallback = "30s",
      .min = CAIRN_NS_PER_S,
      .max = 86400 * CAIRN_NS_PER_S,
      .help = "a slot whose replicas were all lost at once waits so long for every one of them" },
    { .name = "lost_goes_on",
      .type = CAIRN_CONF_BOOL,
      .fallback = "false",
      .help = "then it goes on with those that are back: what was only 'buffered' may be lost; false: it waits on" },
    { .name = "moves",
      .type = CAIRN_CONF_UINT,
      .fallback = "8",
      .min = 1,
      .max = 1024,
      .help = "slots that are moved at a time, in the whole cluster" },
    KEY_END,
};

static const struct cairn_conf_key provider_keys[] = {
    { .name = "type", .type = CAIRN_CONF_STRING, .help = "what it does: kv, extent ..." },
    { .name = "name", .type = CAIRN_CONF_STRING, .help = "by which it is called: a-z, 0-9, _ and -" },
    KEY_END,
};

const struct cairn_conf_key cairn_node_keys[] = {
    { .name = "node",
      .type = CAIRN_CONF_SECTION,
      .sub = node_keys,
      .help = "The process: its name, threads and logs." },
    { .name = "workspace",
      .type = CAIRN_CONF_STRING,
      .fallback = "",
      .help = "directory that tells clients where the node is and how to enter; empty: $CAIRN_WORKSPACE, else "
              "$XDG_RUNTIME_DIR/cairn, else /run/cairn" },
    { .name = "listen",
      .type = CAIRN_CONF_LIST,
      .fallback = "[ unix://node.sock, \"tcp://127.0.0.1:0\" ]",
      .min = 1,
      .max = CAIRN_NODE_LISTEN_MAX,
      .help = "addresses for clients and other nodes: unix://PATH (relative: in the workspace), tcp://HOST:PORT (port "
              "0: any)" },
    { .name = "auth",
      .type = CAIRN_CONF_SECTION,
      .sub = auth_keys,
      .help = "Who may enter. Unix sockets prove the user by themselves." },
    { .name = "limits",
      .type = CAIRN_CONF_SECTION,
      .sub = limits_keys,
      .help = "Bounds. Who exceeds them is slowed down, not buffered." },
    { .name = "bulk", .type = CAIRN_CONF_SECTION, .sub = bulk_keys, .help = "How large values travel." },
    { .name = "metrics", .type = CAIRN_CONF_SECTION, .sub = metrics_keys, .help = "The page for Prometheus." },
    { .name = "router",
      .type = CAIRN_CONF_SECTION,
      .sub = router_keys,
      .help = "What a new namespace gets unless it asks for something else." },
    { .name = "map",
      .type = CAIRN_CONF_SECTION,
      .sub = map_keys,
      .help = "Where the map is kept: what must never be lost or doubted, now the namespaces." },
    { .name = "cluster",
      .type = CAIRN_CONF_SECTION,
      .sub = cluster_keys,
      .help = "The node's part in a cluster: nodes that share a map ('map.store' is etcd)." },
    { .name = "providers",
      .type = CAIRN_CONF_LIST,
      .sub = provider_keys,
      .max = CAIRN_NODE_PROVIDERS_MAX,
      .fallback = "[ { type: kv, name: kv }, { type: extent, name: extent } ]",
      .help = "what this node does; further keys by type, below" },
    KEY_END,
};

/* ---- what must fit together ---- */

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

static const char *path_of(const struct cairn_conf *p)
{
    return cairn_conf_has_key(p, "path") ? cairn_conf_str(p, "path") : "";
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
        for (uint32_t j = 0; j < i && path_of(p)[0] != '\0'; j++) {
            const struct cairn_conf *o = cairn_conf_list_section(root, "providers", j);

            if (strcmp(path_of(p), path_of(o)) == 0) {
                cairn_conf_complain(doc, p, "path", -1, "provider '%.80s' has this path already (%s)",
                                    cairn_conf_str(o, "name"), cairn_conf_where(o, "path"));
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

static void check_cluster(struct cairn_conf_doc *doc, const struct cairn_conf *root)
{
    const struct cairn_conf *cluster = cairn_conf_section(root, "cluster");
    uint64_t slots = cairn_conf_u64(cluster, "slots");

    if ((slots & (slots - 1)) != 0)
        cairn_conf_complain(doc, cluster, "slots", -1, "'cluster.slots' must be a power of two; found %" PRIu64, slots);
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
