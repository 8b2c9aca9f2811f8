/** A map store that nodes share: an etcd cluster, by its JSON interface.
 *
 * Requests go to one endpoint, any at first, and move to the next when it does not serve. A change is sent once: when its answer is
 * lost the outcome is CAIRN_E_UNKNOWN. While the store cannot be reached changes are refused at once; it is asked again
 * and again whether it is back. */
#ifndef CAIRN_SERVER_CLUSTER_MAP_STORE_ETCD_H
#define CAIRN_SERVER_CLUSTER_MAP_STORE_ETCD_H

#include "server/cluster/map_store.h"

enum { CAIRN_MAP_ETCD_ENDPOINTS_MAX = 8, CAIRN_MAP_ETCD_PREFIX_BYTES_MAX = 256 };

struct cairn_map_etcd_conf {
    const char *const *endpoints; /* "http://HOST:PORT" or "https://..." */
    uint32_t nendpoints;
    const char *prefix;                         /* of all keys, "/cairn/": printable, not empty */
    /* Keys from this one on are not in the view: they are neither read nor watched by every node that opens the store,
     * only read by those who ask (cairn_map_store_read()). NULL: all are in it. */
    const char *view_end;
    const char *user, *password;                /* NULL or "": etcd does not ask */
    const char *ca_file, *cert_file, *key_file; /* PEM; NULL or "": the system's, none, none */
};

/** Everything in @conf is copied. Does not wait: the view is empty until the store was read (a watch tells; or
 * cairn_map_store_await()). CAIRN_E_INVAL: @conf; CAIRN_E_UNSUPPORTED: this build has no libcurl; CAIRN_E_NOMEM. */
int cairn_map_store_etcd_open(const struct cairn_map_etcd_conf *conf, struct cairn_loop *home,
                              struct cairn_map_store **out, struct cairn_err *err);

/** Its machines, NULL-terminated. */
extern const struct cairn_sm_kind *const cairn_map_etcd_kinds[];

#endif
