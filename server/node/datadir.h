/** A node's data directory: who owns it, what format it has, and which node and cluster it belongs to.
 *
 *   LOCK          flock()ed while a node runs
 *   cairn.json    {"format": 1, "node_id": ..., "disk_id": ..., "cluster_id": ...}: written once, then only read
 *   spare         nothing: room for a full disk (server/storage/spare.h)
 *   <provider>/   one directory for each provider; router/ for the namespaces */
#ifndef CAIRN_NODE_DATADIR_H
#define CAIRN_NODE_DATADIR_H

#include "sdk/core/rpc/auth.h"

enum { CAIRN_DATADIR_FORMAT = 1 };

struct cairn_datadir {
    const char *path; /* borrowed */
    int lock_fd;      /* -1: not held */
    uint64_t node_id, disk_id;
    uint8_t cluster_id[CAIRN_CLUSTER_ID_BYTES];
};

/** Makes the directory if it is missing, locks it, and reads or writes its identity. @cluster: the cluster that it
 * belongs or will belong to, as hexadecimal digits, or "" for whichever it has, else a new one. CAIRN_E_LOCKED: another
 * process has it; CAIRN_E_CONFIG: it belongs to another cluster; CAIRN_E_FORMAT: written by a newer version, or no
 * identity in a directory that is not empty; CAIRN_E_DENIED, _IO. */
int cairn_datadir_open(struct cairn_datadir *d, const char *path, const char *cluster, struct cairn_err *err);
/** What open() and make_way() would say, leaving nothing behind and taking no room; a missing directory is fine if it
 * could be made. Holds the lock, where there is one, until close(), which is to be called in any case. */
int cairn_datadir_check(struct cairn_datadir *d, const char *path, const char *cluster, struct cairn_err *err);
void cairn_datadir_close(struct cairn_datadir *d);
/** Makes @path, and whatever is missing above it. */
int cairn_datadir_make(const char *path, struct cairn_err *err);
/** The directory of a part of the node, made if missing; @to of @len bytes. */
int cairn_datadir_sub(const struct cairn_datadir *d, const char *name, char *to, size_t len, struct cairn_err *err);

#endif
