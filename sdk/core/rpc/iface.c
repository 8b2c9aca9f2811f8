/* The interfaces that both ends know: names, flags and message types by method number. */
#include "sdk/core/rpc/rpc.h"

#include "schema/bulk.pb-c.h"
#include "schema/common.pb-c.h"
#include "schema/extent.pb-c.h"
#include "schema/group.pb-c.h"
#include "schema/kv.pb-c.h"
#include "schema/node.pb-c.h"
#include "schema/repl.pb-c.h"
#include "schema/router.pb-c.h"

#define METHOD(number, name, flags, request, reply)                                                                    \
    [number] = { name, flags, &cairn__wire__##request##__descriptor, &cairn__wire__##reply##__descriptor }
#define IFACE(id, name) const struct cairn_rpc_iface cairn_iface_##id = { name, id##_methods, ARRAY_SIZE(id##_methods) }

enum {
    SAFE = CAIRN_RPC_SAFE,
    ONCE = CAIRN_RPC_ONCE,
    ADMIN = CAIRN_RPC_ADMIN,
    LARGE = CAIRN_RPC_LARGE,
    TOLD = CAIRN_RPC_TOLD,
    NODE = CAIRN_RPC_NODE,
};

static const struct cairn_rpc_method node_methods[] = {
    METHOD(CAIRN__WIRE__NODE_METHOD__NODE_PING, "ping", SAFE, empty, empty),
    METHOD(CAIRN__WIRE__NODE_METHOD__NODE_PROVIDERS, "providers", SAFE, empty, node_providers),
    METHOD(CAIRN__WIRE__NODE_METHOD__NODE_STATUS, "status", SAFE, empty, node_text),
    METHOD(CAIRN__WIRE__NODE_METHOD__NODE_MACHINES, "machines", SAFE, node_machines, node_text),
    METHOD(CAIRN__WIRE__NODE_METHOD__NODE_METRICS, "metrics", SAFE, empty, node_text),
    METHOD(CAIRN__WIRE__NODE_METHOD__NODE_CONFIG, "config", SAFE | ADMIN, empty, node_text),
    METHOD(CAIRN__WIRE__NODE_METHOD__NODE_MAP, "map", SAFE | ADMIN, node_map, node_text),
};
IFACE(node, "node");

static const struct cairn_rpc_method bulk_methods[] = {
    METHOD(CAIRN__WIRE__BULK_METHOD__BULK_READ, "read", SAFE, bulk_piece, empty),
    METHOD(CAIRN__WIRE__BULK_METHOD__BULK_WRITE, "write", SAFE, bulk_piece, empty),
    METHOD(CAIRN__WIRE__BULK_METHOD__BULK_FABRIC, "fabric", SAFE, bulk_fabric, bulk_fabric),
    METHOD(CAIRN__WIRE__BULK_METHOD__BULK_VM, "vm", SAFE, bulk_vm, empty),
};
IFACE(bulk, "bulk");

static const struct cairn_rpc_method router_methods[] = {
    METHOD(CAIRN__WIRE__ROUTER_METHOD__ROUTER_NS_CREATE, "ns_create", ONCE, namespace, namespace),
    METHOD(CAIRN__WIRE__ROUTER_METHOD__ROUTER_NS_LIST, "ns_list", SAFE, ns_list, namespace_list),
    METHOD(CAIRN__WIRE__ROUTER_METHOD__ROUTER_NS_SHOW, "ns_show", SAFE, ns_name, namespace),
    METHOD(CAIRN__WIRE__ROUTER_METHOD__ROUTER_NS_REMOVE, "ns_remove", ONCE, ns_name, empty),
    METHOD(CAIRN__WIRE__ROUTER_METHOD__ROUTER_PUT, "put", ONCE, router_put, empty),
    METHOD(CAIRN__WIRE__ROUTER_METHOD__ROUTER_GET, "get", SAFE, router_get, router_get_reply),
    METHOD(CAIRN__WIRE__ROUTER_METHOD__ROUTER_EXISTS, "exists", SAFE, router_key, router_exists),
    METHOD(CAIRN__WIRE__ROUTER_METHOD__ROUTER_LENGTH, "length", SAFE, router_key, router_length),
    METHOD(CAIRN__WIRE__ROUTER_METHOD__ROUTER_DELETE, "delete", ONCE, router_key, empty),
    METHOD(CAIRN__WIRE__ROUTER_METHOD__ROUTER_MPUT, "mput", ONCE, router_mput, kv_statuses),
    METHOD(CAIRN__WIRE__ROUTER_METHOD__ROUTER_MGET, "mget", SAFE, router_mget, router_mget_reply),
    METHOD(CAIRN__WIRE__ROUTER_METHOD__ROUTER_LIST, "list", SAFE, router_list, router_list_reply),
    METHOD(CAIRN__WIRE__ROUTER_METHOD__ROUTER_PART, "part", ONCE, router_part, empty),
    METHOD(CAIRN__WIRE__ROUTER_METHOD__ROUTER_COMMIT, "commit", ONCE, router_commit, empty),
    METHOD(CAIRN__WIRE__ROUTER_METHOD__ROUTER_ABORT, "abort", ONCE, router_abort, empty),
    METHOD(CAIRN__WIRE__ROUTER_METHOD__ROUTER_OPEN, "open", ONCE, router_open, router_opened),
    METHOD(CAIRN__WIRE__ROUTER_METHOD__ROUTER_WHERE, "where", SAFE, router_key, router_text),
    METHOD(CAIRN__WIRE__ROUTER_METHOD__ROUTER_CLOSE, "close", ONCE, router_close, empty),
};
IFACE(router, "router");

static const struct cairn_rpc_method kv_methods[] = {
    METHOD(CAIRN__WIRE__KV_METHOD__KV_OPEN, "open", ONCE | ADMIN, kv_open, kv_opened),
    METHOD(CAIRN__WIRE__KV_METHOD__KV_DROP, "drop", ONCE | ADMIN, kv_drop, empty),
    METHOD(CAIRN__WIRE__KV_METHOD__KV_DATABASES, "databases", SAFE | ADMIN, empty, kv_databases),
    METHOD(CAIRN__WIRE__KV_METHOD__KV_PUT, "put", ONCE | ADMIN, kv_put, kv_put_reply),
    METHOD(CAIRN__WIRE__KV_METHOD__KV_GET, "get", SAFE | ADMIN, kv_get, empty),
    METHOD(CAIRN__WIRE__KV_METHOD__KV_LENGTH, "length", SAFE | ADMIN, kv_get, kv_length),
    METHOD(CAIRN__WIRE__KV_METHOD__KV_EXISTS, "exists", SAFE | ADMIN, kv_get, kv_exists),
    METHOD(CAIRN__WIRE__KV_METHOD__KV_ERASE, "erase", ONCE | ADMIN, kv_erase, kv_put_reply),
    METHOD(CAIRN__WIRE__KV_METHOD__KV_MPUT, "mput", ONCE | ADMIN, kv_mput, kv_statuses),
    METHOD(CAIRN__WIRE__KV_METHOD__KV_MGET, "mget", SAFE | ADMIN, kv_mget, kv_mget_reply),
    METHOD(CAIRN__WIRE__KV_METHOD__KV_MLENGTH, "mlength", SAFE | ADMIN, kv_mget, kv_mget_reply),
    METHOD(CAIRN__WIRE__KV_METHOD__KV_MEXISTS, "mexists", SAFE | ADMIN, kv_mget, kv_mget_reply),
    METHOD(CAIRN__WIRE__KV_METHOD__KV_MERASE, "merase", ONCE | ADMIN, kv_mget, kv_statuses),
    METHOD(CAIRN__WIRE__KV_METHOD__KV_LIST, "list", SAFE | ADMIN, kv_list, kv_list_reply),
    METHOD(CAIRN__WIRE__KV_METHOD__KV_STAT, "stat", SAFE | ADMIN, kv_stat, kv_stat_reply),
    METHOD(CAIRN__WIRE__KV_METHOD__KV_APPLY, "apply", ONCE | ADMIN | LARGE, kv_apply, kv_statuses),
    METHOD(CAIRN__WIRE__KV_METHOD__KV_FLUSH, "flush", SAFE | ADMIN, empty, empty),
    METHOD(CAIRN__WIRE__KV_METHOD__KV_SNAPSHOT_OPEN, "snapshot_open", ONCE | ADMIN, empty, kv_snapshot_opened),
    METHOD(CAIRN__WIRE__KV_METHOD__KV_SNAPSHOT_CLOSE, "snapshot_close", ONCE | ADMIN, kv_snapshot, empty),
};
IFACE(kv, "kv");

static const struct cairn_rpc_method extent_methods[] = {
    METHOD(CAIRN__WIRE__EXTENT_METHOD__EXTENT_CREATE, "create", ONCE | ADMIN, extent_create, extent_id),
    METHOD(CAIRN__WIRE__EXTENT_METHOD__EXTENT_WRITE, "write", ONCE | ADMIN, extent_write, empty),
    METHOD(CAIRN__WIRE__EXTENT_METHOD__EXTENT_PERSIST, "persist", ONCE | ADMIN, extent_persist, empty),
    METHOD(CAIRN__WIRE__EXTENT_METHOD__EXTENT_PUT, "put", ONCE | ADMIN, extent_put, extent_id),
    METHOD(CAIRN__WIRE__EXTENT_METHOD__EXTENT_READ, "read", SAFE | ADMIN, extent_read, extent_read_reply),
    METHOD(CAIRN__WIRE__EXTENT_METHOD__EXTENT_STAT, "stat", SAFE | ADMIN, extent_id, extent_stat_reply),
    METHOD(CAIRN__WIRE__EXTENT_METHOD__EXTENT_REMOVE, "remove", ONCE | ADMIN, extent_remove, kv_statuses),
    METHOD(CAIRN__WIRE__EXTENT_METHOD__EXTENT_LIST, "list", SAFE | ADMIN, extent_list, extent_list_reply),
    METHOD(CAIRN__WIRE__EXTENT_METHOD__EXTENT_SCRUB, "scrub", SAFE | ADMIN, extent_scrub, extent_scrub_reply),
};
IFACE(extent, "extent");

static const struct cairn_rpc_method group_methods[] = {
    METHOD(CAIRN__WIRE__GROUP_METHOD__GROUP_MEMBERS, "members", SAFE, group_members, group_page),
    METHOD(CAIRN__WIRE__GROUP_METHOD__GROUP_SET, "set", ONCE | ADMIN, group_set, empty),
    METHOD(CAIRN__WIRE__GROUP_METHOD__GROUP_JOIN, "join", ONCE | ADMIN, group_join, empty),
};
IFACE(group, "group");

/* Nothing here is numbered: replicas recognise what comes twice, and changes are made from an epoch or not at all. */
static const struct cairn_rpc_method cluster_methods[] = {
    METHOD(CAIRN__WIRE__CLUSTER_METHOD__CLUSTER_REPL, "repl", SAFE | NODE | TOLD, empty, empty),
    METHOD(CAIRN__WIRE__CLUSTER_METHOD__CLUSTER_REGISTER, "register", SAFE | NODE, cluster_register, cluster_registered),
    METHOD(CAIRN__WIRE__CLUSTER_METHOD__CLUSTER_HEARTBEAT, "heartbeat", SAFE | NODE, cluster_heartbeat, cluster_grant),
    METHOD(CAIRN__WIRE__CLUSTER_METHOD__CLUSTER_PROPOSE, "propose", SAFE | NODE, cluster_change, cluster_verdict),
    METHOD(CAIRN__WIRE__CLUSTER_METHOD__CLUSTER_RECORDS, "records", SAFE, cluster_fetch, cluster_records),
    METHOD(CAIRN__WIRE__CLUSTER_METHOD__CLUSTER_PUBLISH, "publish", SAFE | NODE, cluster_records, empty),
    METHOD(CAIRN__WIRE__CLUSTER_METHOD__CLUSTER_CREATE_CLASS, "create_class", SAFE | ADMIN, cluster_class,
           cluster_class_made),
    METHOD(CAIRN__WIRE__CLUSTER_METHOD__CLUSTER_DRAIN, "drain", SAFE | ADMIN, cluster_drain, cluster_drained),
    METHOD(CAIRN__WIRE__CLUSTER_METHOD__CLUSTER_STATUS, "status", SAFE, cluster_ask, cluster_text),
    METHOD(CAIRN__WIRE__CLUSTER_METHOD__CLUSTER_REGIONS, "regions", SAFE | NODE, cluster_regions, empty),
    METHOD(CAIRN__WIRE__CLUSTER_METHOD__CLUSTER_REGION_READ, "region_read", SAFE | NODE, cluster_region, extent_read_reply),
    METHOD(CAIRN__WIRE__CLUSTER_METHOD__CLUSTER_COMPARE, "compare", SAFE | NODE, cluster_compare, cluster_compared),
    METHOD(CAIRN__WIRE__CLUSTER_METHOD__CLUSTER_SCRUB, "scrub", SAFE | ADMIN, cluster_scrub, cluster_text),
    METHOD(CAIRN__WIRE__CLUSTER_METHOD__CLUSTER_STOP, "stop", SAFE | NODE, cluster_stop, empty),
};
IFACE(cluster, "cluster");
