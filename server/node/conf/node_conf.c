/* From the checked tree to fields: see node_conf.h. */
#include "server/node/conf/node_conf.h"

#include <limits.h>
#include <pwd.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int cairn_node_workspace(char *buf, size_t len, const char **where)
{
    const char *dir = getenv("CAIRN_WORKSPACE"), *run = getenv("XDG_RUNTIME_DIR");
    int n;

    if (dir != NULL && dir[0] != '\0') { /* a relative one is refused, as in the file */
        *where = "default: $CAIRN_WORKSPACE";
        n = snprintf(buf, len, "%s", dir);
    } else if (run != NULL && run[0] == '/') {
        *where = "default: $XDG_RUNTIME_DIR";
        n = snprintf(buf, len, "%s/cairn", run);
    } else {
        *where = "default";
        n = snprintf(buf, len, "/run/cairn");
    }
    return n > 0 && (size_t)n < len ? 0 : CAIRN_E_INVAL;
}

int cairn_node_schema(const struct cairn_provider_desc *const *providers, struct cairn_conf_schema *schema,
                      struct cairn_conf_variant **variants)
{
    uint32_t n = 0;

    while (providers[n] != NULL)
        n++;
    *variants = calloc(n + 1, sizeof(**variants));
    if (*variants == NULL)
        return CAIRN_E_NOMEM;
    for (uint32_t i = 0; i < n; i++)
        (*variants)[i] = (struct cairn_conf_variant){ .name = providers[i]->type, .keys = providers[i]->schema };
    *schema = (struct cairn_conf_schema){
        .keys = cairn_node_keys, .variant_list = "providers", .variants = *variants, .validators = cairn_node_validators
    };
    return 0;
}

/* @path as it stands if absolute, else inside @dir; NULL without memory. */
static char *path_in(const char *dir, const char *prefix, const char *path)
{
    char *s;
    int n = path[0] == '/' ? asprintf(&s, "%s%s", prefix, path) : asprintf(&s, "%s%s/%s", prefix, dir, path);

    return n >= 0 ? s : NULL;
}

static int fill_listen(struct cairn_node_conf *conf, const struct cairn_conf *root)
{
    for (uint32_t i = 0; i < cairn_conf_list_len(root, "listen"); i++) {
        const char *addr = cairn_conf_list_str(root, "listen", i);
        char *full = strncmp(addr, "unix://", 7) == 0 ? path_in(conf->workspace, "unix://", addr + 7) : strdup(addr);

        if (full == NULL)
            return CAIRN_E_NOMEM;
        conf->listen[conf->nlisten++] = full;
    }
    return 0;
}

static int fill_auth(struct cairn_node_conf *conf, const struct cairn_conf *auth)
{
    conf->key_file = path_in(conf->workspace, "", cairn_conf_str(auth, "key_file"));
    if (conf->key_file == NULL)
        return CAIRN_E_NOMEM;
    conf->munge = (enum cairn_munge_use)cairn_conf_u64(auth, "munge");
    conf->munge_socket = cairn_conf_str(auth, "munge_socket");
    conf->insecure = cairn_conf_bool(auth, "insecure");
    for (uint32_t i = 0; i < cairn_conf_list_len(auth, "admins"); i++) {
        const char *who = cairn_conf_list_str(auth, "admins", i);
        const struct passwd *pw = who[strspn(who, "0123456789")] != '\0' ? getpwnam(who) : NULL;

        conf->admins[conf->nadmins++] = pw != NULL ? pw->pw_uid : (uid_t)strtoul(who, NULL, 10);
    }
    return 0;
}

/* One for two of the cores that the process may use: the others are for engines' threads, progress of the fabric, and
 * clients on the same host. On two cores, 16 clients' puts of 1 KiB made 0.66 M/s with two workers and 0.9 M/s with
 * one. */
static uint32_t default_workers(void)
{
    cpu_set_t set;
    long n = sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : sysconf(_SC_NPROCESSORS_ONLN);

    return (uint32_t)MIN(MAX((n + 1) / 2, 1L), (long)CAIRN_NODE_WORKERS_MAX);
}

static void fill_node(struct cairn_node_conf *conf, const struct cairn_conf *node)
{
    conf->name = cairn_conf_str(node, "name");
    conf->data = cairn_conf_str(node, "data");
    conf->cluster = cairn_conf_str(node, "cluster");
    conf->workers = (uint32_t)cairn_conf_u64(node, "workers");
    if (conf->workers == 0)
        conf->workers = default_workers();
    for (uint32_t i = 0; i < cairn_conf_list_len(node, "pin"); i++)
        conf->pin[conf->npin++] = (uint32_t)strtoul(cairn_conf_list_str(node, "pin", i), NULL, 10);
    conf->pool_threads = (uint32_t)cairn_conf_u64(node, "pool_threads");
    conf->spin_ns = cairn_conf_u64(node, "spin");
    conf->log_level = (enum cairn_log_level)cairn_conf_u64(node, "log_level");
    conf->log_file = cairn_conf_str(node, "log_file");
}

static void fill_limits(struct cairn_node_conf *conf, const struct cairn_conf *limits)
{
    conf->connections_max = (uint32_t)cairn_conf_u64(limits, "connections");
    conf->inflight_requests_max = (uint32_t)cairn_conf_u64(limits, "inflight_requests");
    conf->inflight_bytes_max = cairn_conf_u64(limits, "inflight_bytes");
    conf->node_bytes_max = cairn_conf_u64(limits, "node_bytes");
    conf->drain_ns = cairn_conf_u64(limits, "drain");
    conf->partial_frame_ns = cairn_conf_u64(limits, "idle_partial_frame");
    conf->session_ttl_ns = cairn_conf_u64(limits, "session_ttl");
}

/* What new namespaces use: as named, else the first of that type. */
static const char *provider_for(const struct cairn_node_conf *conf, const struct cairn_conf *router, const char *type)
{
    const char *named = cairn_conf_str(router, type);

    for (uint32_t i = 0; named[0] == '\0' && i < conf->nproviders; i++) {
        if (strcmp(conf->provider_descs[i]->type, type) == 0)
            named = cairn_conf_str(conf->providers[i], "name");
    }
    return named;
}

static void fill_providers(struct cairn_node_conf *conf, const struct cairn_conf *root,
                           const struct cairn_provider_desc *const *providers)
{
    for (uint32_t i = 0; i < cairn_conf_list_len(root, "providers"); i++) {
        const struct cairn_conf *p = cairn_conf_list_section(root, "providers", i);
        uint32_t j = 0;

        while (strcmp(providers[j]->type, cairn_conf_str(p, "type")) != 0)
            j++; /* ends: the reader refused types that are not there */
        conf->providers[conf->nproviders] = p;
        conf->provider_descs[conf->nproviders++] = providers[j];
    }
}

static void fill_map(struct cairn_node_conf *conf, const struct cairn_conf *map)
{
    const struct cairn_conf *tls = cairn_conf_section(map, "tls");

    conf->map_etcd = cairn_conf_u64(map, "store") == 1;
    for (uint32_t i = 0; i < cairn_conf_list_len(map, "endpoints"); i++)
        conf->map_endpoints[conf->map.nendpoints++] = cairn_conf_list_str(map, "endpoints", i);
    conf->map.endpoints = conf->map_endpoints;
    conf->map.prefix = cairn_conf_str(map, "prefix");
    conf->map.user = cairn_conf_str(map, "user");
    conf->map.ca_file = cairn_conf_str(tls, "ca");
    conf->map.cert_file = cairn_conf_str(tls, "cert");
    conf->map.key_file = cairn_conf_str(tls, "key");
    conf->map_password_file = cairn_conf_str(map, "password_file");
    conf->map_timeout_ms = (uint32_t)(cairn_conf_u64(map, "timeout") / CAIRN_NS_PER_MS);
}

static void fill_cluster(struct cairn_node_conf *conf, const struct cairn_conf *cluster)
{
    struct cairn_cluster_conf *c = &conf->service;

    c->kv = conf->router_kv;
    c->extent = conf->router_extent;
    c->zone = cairn_conf_str(cluster, "zone");
    c->weight = (uint32_t)cairn_conf_u64(cluster, "weight");
    for (uint32_t i = 0; i < cairn_conf_list_len(cluster, "addresses"); i++)
        c->addresses[c->naddresses++] = cairn_conf_list_str(cluster, "addresses", i);
    while (UINT64_C(1) << c->slot_bits < cairn_conf_u64(cluster, "slots"))
        c->slot_bits++;
    c->lease_ns = cairn_conf_u64(cluster, "lease");
    c->heartbeat_ns = cairn_conf_u64(cluster, "heartbeat");
    c->election_ns = cairn_conf_u64(cluster, "election");
    c->ack_ns = cairn_conf_u64(cluster, "ack");
    c->resend_ns = cairn_conf_u64(cluster, "resend");
    c->learner_ns = MIN(c->ack_ns, CAIRN_NS_PER_S / 2);
    c->sync_interval_ns = cairn_conf_u64(cluster, "sync_interval");
    c->checkpoint_ns = cairn_conf_u64(cluster, "checkpoint_interval");
    c->checkpoint_bytes = cairn_conf_u64(cluster, "checkpoint_bytes");
    c->session_ttl_ns = cairn_conf_u64(cluster, "session_ttl");
    c->lost_wait_ns = cairn_conf_u64(cluster, "lost_wait");
    c->lost_may_shrink = cairn_conf_bool(cluster, "lost_goes_on");
    c->lost_after_ns = cairn_conf_u64(cluster, "lost_after");
    c->moves_max = (uint32_t)cairn_conf_u64(cluster, "moves");
    c->scrub_bytes_per_s = cairn_conf_u64(cluster, "scrub_rate");
    c->scrub_interval_ns = cairn_conf_u64(cluster, "scrub_interval");
    c->copy_bytes_per_s = cairn_conf_u64(cluster, "copy_rate");
    c->moves_per_node_max = (uint32_t)cairn_conf_u64(cluster, "moves_per_node");
}

static int fill(struct cairn_node_conf *conf, const struct cairn_provider_desc *const *providers)
{
    const struct cairn_conf *root = cairn_conf_root(conf->doc);
    const struct cairn_conf *bulk = cairn_conf_section(root, "bulk"), *router = cairn_conf_section(root, "router");
    int rc;

    conf->workspace = cairn_conf_str(root, "workspace");
    fill_node(conf, cairn_conf_section(root, "node"));
    fill_limits(conf, cairn_conf_section(root, "limits"));
    conf->bulk_vm = cairn_conf_bool(bulk, "vm");
    conf->bulk_fabric = cairn_conf_bool(bulk, "fabric");
    conf->fabric_provider = cairn_conf_str(bulk, "provider");
    conf->fabric_domain = cairn_conf_str(bulk, "domain");
    conf->metrics_listen = cairn_conf_str(cairn_conf_section(root, "metrics"), "listen");
    fill_providers(conf, root, providers);
    conf->router_kv = provider_for(conf, router, "kv");
    conf->router_extent = provider_for(conf, router, "extent");
    conf->embed_threshold = cairn_conf_u64(router, "embed_threshold");
    conf->user_namespaces_max = (uint32_t)cairn_conf_u64(router, "namespaces_per_user");
    conf->sweep_interval_ms = (uint32_t)(cairn_conf_u64(router, "sweep_interval") / CAIRN_NS_PER_MS);
    fill_map(conf, cairn_conf_section(root, "map"));
    fill_cluster(conf, cairn_conf_section(root, "cluster"));
    rc = fill_auth(conf, cairn_conf_section(root, "auth"));
    return rc == 0 ? fill_listen(conf, root) : rc;
}

static int read_input(struct cairn_node_conf *conf, struct cairn_conf_input *in,
                      const struct cairn_conf_override *overrides, uint32_t noverrides,
                      const struct cairn_provider_desc *const *providers, struct cairn_err *err)
{
    char host[256] = "localhost", workspace[PATH_MAX];
    struct cairn_conf_override *all;
    const char *where;
    int rc;

    memset(conf, 0, sizeof(*conf));
    rc = cairn_node_schema(providers, &conf->schema, &conf->variants);
    if (rc != 0)
        return cairn_err_set(err, rc, "configuration");
    all = calloc(noverrides + 2, sizeof(*all));
    if (all == NULL)
        return cairn_err_set(err, CAIRN_E_NOMEM, "configuration");
    if (noverrides > 0)
        memcpy(all, overrides, noverrides * sizeof(*all));
    (void)gethostname(host, sizeof(host) - 1);
    host[strcspn(host, ".")] = '\0'; /* the domain is the same for all nodes of a site */
    all[noverrides++] = (struct cairn_conf_override){ "node.name", host, "default: the host's name", true };
    if (cairn_node_workspace(workspace, sizeof(workspace), &where) == 0)
        all[noverrides++] = (struct cairn_conf_override){ "workspace", workspace, where, true };
    in->overrides = all;
    in->noverrides = noverrides;
    rc = cairn_conf_read(&conf->schema, in, &conf->doc, err);
    free(all);
    if (rc == 0)
        rc = fill(conf, providers);
    if (rc == CAIRN_E_NOMEM)
        return cairn_err_set(err, rc, "configuration");
    return rc;
}

int cairn_node_conf_read(struct cairn_node_conf *conf, const char *path, const struct cairn_conf_override *overrides,
                         uint32_t noverrides, const struct cairn_provider_desc *const *providers, struct cairn_err *err)
{
    struct cairn_conf_input in = { .path = path };

    return read_input(conf, &in, overrides, noverrides, providers, err);
}

int cairn_node_conf_parse(struct cairn_node_conf *conf, const char *name, const char *text, size_t len,
                          const struct cairn_conf_override *overrides, uint32_t noverrides,
                          const struct cairn_provider_desc *const *providers, struct cairn_err *err)
{
    struct cairn_conf_input in = { .text = text, .text_len = len, .text_name = name };

    return read_input(conf, &in, overrides, noverrides, providers, err);
}

void cairn_node_conf_free(struct cairn_node_conf *conf)
{
    for (uint32_t i = 0; i < conf->nlisten; i++)
        free(conf->listen[i]);
    free(conf->key_file);
    cairn_conf_free(conf->doc);
    free(conf->variants);
    memset(conf, 0, sizeof(*conf));
}
