/** What the commands that look at a cluster share: the document of its coordinator. */
#ifndef CAIRN_TOOLS_CLUSTER_H
#define CAIRN_TOOLS_CLUSTER_H

#include "tools/cairn/commands.h"

/** Asks; *@doc is the caller's. Returns a CAIRN_E_* code (NOPROVIDER: the node is in no cluster), and in @call what is
 * wrong. */
int cli_cluster_ask(struct cli *cli, struct cli_call *call, json_t **doc);
/** The member of that name in the document, or NULL. Borrowed. */
const json_t *cli_cluster_member(const json_t *doc, const char *name);
/** Adds to each class of slots that misses replicas whose it is: namespaces, of which the caller sees only some. */
void cli_cluster_name_classes(struct cli *cli, json_t *doc);
/** Replicas are missing, or nodes that are waited for. */
bool cli_cluster_is_degraded(const json_t *doc);
/** A short form of it for people: who is not simply up, which replicas are missing, what moves. A new reference. */
json_t *cli_cluster_brief(const json_t *doc);
/** `cairn members --cluster`: prints all members, or their names alone. Returns an exit code. */
int cli_cluster_members(struct cli *cli, bool names);

#endif
