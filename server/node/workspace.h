/** The workspace: the directory that tells clients on this machine where the node is and how to enter.
 *
 *   cluster.key   64 hexadecimal digits, mode 0600: made by the first node
 *   node.json     {"version":1,"addresses":[...],"cluster_id":...,"node":...,"pid":...}: there while a node serves
 *   starting.json {"version":1,"node":...,"pid":...,"began":...,"waits_for":...}: there while one cannot serve yet */
#ifndef CAIRN_NODE_WORKSPACE_H
#define CAIRN_NODE_WORKSPACE_H

#include "sdk/core/base/err.h"

#include <stdbool.h>
#include <stdint.h>

/** Makes the directory (mode 0755) if it is missing. CAIRN_E_DENIED if it is another user's, or writable by others. */
int cairn_workspace_open(const char *path, struct cairn_err *err);
/** What open() would say, leaving nothing behind. */
int cairn_workspace_check(const char *path, struct cairn_err *err);
/** Reads the key in @file, or makes one there first. */
int cairn_workspace_key(const char *file, uint8_t *key, struct cairn_err *err);
/** What key() would say, once @workspace is open; leaves nothing behind. */
int cairn_workspace_key_check(const char *file, const char *workspace, struct cairn_err *err);
/** Replaces node.json. */
int cairn_workspace_publish(const char *path, char *const *addresses, uint32_t n, const uint8_t *cluster_id,
                            const char *node, struct cairn_err *err);
/** Replaces starting.json. */
int cairn_workspace_say_starting(const char *path, const char *node, const char *waits_for, struct cairn_err *err);
/** Removes it if it is this process's. */
void cairn_workspace_has_started(const char *path);
/** Removes node.json if it is this process's. */
void cairn_workspace_withdraw(const char *path);

#endif
