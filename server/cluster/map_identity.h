/** Whose a shared map is: the entry `cluster/identity`, "2 0123456789abcdef0123456789abcdef": the format that the map's
 * entries are in, and the cluster's id.
 *
 * The first node that comes to an empty map writes it, and nobody changes it again. A node looks before it reads
 * anything else of the map: two clusters that were given one prefix of one etcd, a data directory of another cluster
 * and a map that a newer version keeps are told apart there, not by what they would do to each other. */
#ifndef CAIRN_SERVER_CLUSTER_MAP_IDENTITY_H
#define CAIRN_SERVER_CLUSTER_MAP_IDENTITY_H

#include "server/cluster/map_store.h"

#define CAIRN_MAP_IDENTITY_KEY "cluster/identity"

enum {
    CAIRN_MAP_FORMAT = 2, /* 1: members and slots had other keys */
    CAIRN_MAP_IDENTITY_DIGITS = 32,
};

struct cairn_map_identity {
    char cluster[CAIRN_MAP_IDENTITY_DIGITS + 1];
};

/** What the view of @s says. CAIRN_E_NOTFOUND, with no text: it is nobody's yet. CAIRN_E_FORMAT: of another version;
 * CAIRN_E_CORRUPT. */
int cairn_map_identity_get(struct cairn_map_store *s, struct cairn_map_identity *id, struct cairn_err *err);
/** Whether a node of the cluster @cluster (32 digits) may use the map: CAIRN_E_CONFIG if it is another's, and as
 * get(), but 0 if it is nobody's. */
int cairn_map_identity_check(struct cairn_map_store *s, const char *cluster, struct cairn_err *err);
/** Likewise; and if it was nobody's it is @cluster's now. At home, after cairn_map_store_await(), and like that.
 * Whatever a change can end with. */
int cairn_map_identity_claim(struct cairn_map_store *s, const char *cluster, struct cairn_err *err);

#endif
