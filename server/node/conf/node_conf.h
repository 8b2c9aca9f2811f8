/** The node's configuration as plain fields: what the schema (node_schema.c) checked, ready for use. */
#ifndef CAIRN_NODE_NODE_CONF_H
#define CAIRN_NODE_NODE_CONF_H

#include "sdk/core/base/log.h"
#include "server/cluster/map_store_etcd.h"
#include "server/cluster/service/cluster.h"
#include "server/node/conf/conf_read.h"
#include "server/port/provider.h"

enum {
    CAIRN_NODE_WORKERS_MAX = 256,
    CAIRN_NODE_LISTEN_MAX = 16,
    CAIRN_NODE_ADMINS_MAX = 64,
    CAIRN_NODE_PROVIDERS_MAX = CAIRN_PROVIDERS_MAX - CAIRN_PROVIDER_FIRST,
};

enum cairn_munge_use { CAIRN_MUNGE_AUTO, CAIRN_MUNGE_ON, CAIRN_MUNGE_OFF };

struct cairn_node_conf {
    /* Strings are the document's or the structure's own; both end with cairn_node_conf_free(). */
    const char *name;
    const char *data;    /* "" if none was given: a node needs one, `cairnd --data` */
    const char *cluster; /* "" or 32 hexadecimal digits */
    const char *workspace;
    uint32_t workers;                     /* at least 1: 0 in the file became the number of cores */
    uint32_t pin[CAIRN_NODE_WORKERS_MAX]; /* CPU of worker i: pin[i % npin] */
    uint32_t npin;
    uint32_t pool_threads;
    uint64_t spin_ns;
    enum cairn_log_level log_level;
    const char *log_file; /* "": stderr */

    char *listen[CAIRN_NODE_LISTEN_MAX]; /* "unix:///absolute/path" or "tcp://host:port", port 0: any */
    uint32_t nlisten;

    char *key_file; /* absolute, or relative to where the process runs */
    enum cairn_munge_use munge;
    const char *munge_socket; /* "": MUNGE's own default */
    bool insecure;
    uid_t admins[CAIRN_NODE_ADMINS_MAX];
    uint32_t nadmins;

    uint32_t connections_max;
    uint32_t inflight_requests_max; /* per connection */
    uint64_t inflight_bytes_max;    /* per connection */
    uint64_t node_bytes_max;
    uint64_t drain_ns;
    uint64_t partial_frame_ns;
    uint64_t session_ttl_ns;

    bool bulk_vm, bulk_fabric;
    const char *fabric_provider; /* for fi_getinfo: "tcp;ofi_rxm" */
    const char *fabric_domain;   /* "": any */

    const char *metrics_listen; /* "": off */

    const char *router_kv, *router_extent; /* names of providers; never "" unless there is none of the type */
    uint64_t embed_threshold;
    uint32_t user_namespaces_max, sweep_interval_ms;

    bool map_etcd;                  /* else local */
    struct cairn_map_etcd_conf map; /* without the password */
    const char *map_endpoints[CAIRN_MAP_ETCD_ENDPOINTS_MAX];
    const char *map_password_file;
    uint32_t map_timeout_ms;

    struct cairn_cluster_conf service; /* but for what the node alone knows: map, ids */

    const struct cairn_conf
        *providers[CAIRN_NODE_PROVIDERS_MAX]; /* in order of the file: their numbers follow from it */
    const struct cairn_provider_desc *provider_descs[CAIRN_NODE_PROVIDERS_MAX];
    uint32_t nproviders;

    struct cairn_conf_doc *doc;
    struct cairn_conf_schema schema;
    struct cairn_conf_variant *variants;
};

/** Reads and checks a node's configuration. @path NULL: the embedded default. @overrides as in conf_read.h; @providers
 * ends with NULL (cairn_provider_list). The environment is looked at for the workspace alone.
 *
 * Returns 0; or CAIRN_E_CONFIG, with the problems in conf->doc; or CAIRN_E_NOMEM. cairn_node_conf_free() in every case.
 */
int cairn_node_conf_read(struct cairn_node_conf *conf, const char *path, const struct cairn_conf_override *overrides,
                         uint32_t noverrides, const struct cairn_provider_desc *const *providers,
                         struct cairn_err *err);
/** The same from a text. */
int cairn_node_conf_parse(struct cairn_node_conf *conf, const char *name, const char *text, size_t len,
                          const struct cairn_conf_override *overrides, uint32_t noverrides,
                          const struct cairn_provider_desc *const *providers, struct cairn_err *err);
void cairn_node_conf_free(struct cairn_node_conf *conf);

/** The schema with these providers, for cairn_conf_reference() and its like; *@variants is the caller's to free(). */
int cairn_node_schema(const struct cairn_provider_desc *const *providers, struct cairn_conf_schema *schema,
                      struct cairn_conf_variant **variants);

/** Where clients find a node that names no workspace: $CAIRN_WORKSPACE, else $XDG_RUNTIME_DIR/cairn, else /run/cairn.
 * *@where says which it was. Returns 0, or CAIRN_E_INVAL if it does not fit. */
int cairn_node_workspace(char *buf, size_t len, const char **where);

/* node_schema.c, node_schema_check.c */
extern const struct cairn_conf_key cairn_node_keys[];
extern cairn_conf_validator *const cairn_node_validators[];

#endif
