/** What the commands that look at a cluster share: the document of its coordinator. */
#ifndef CAIRN_TOOLS_CLUSTER_H
#define CAIRN_TOOLS_CLUSTER_H

#include "tools/cairn/commands.h"

#include <time.h>

enum { CLI_CLUSTER_SOON_MS = 2000 };

/** Asks, once and for at most @ms_max (0: as long as any command, and again while nobody coordinates); *@doc is the
 * caller's. Returns a CAIRN_E_* code (NOPROVIDER: the node is in no cluster), and in @call what is wrong. A coordinator
 * that has just died answers nobody, so who has something else to say waits for CLI_CLUSTER_SOON_MS. */
int cli_cluster_ask(struct cli *cli, struct cli_call *call, uint32_t ms_max, json_t **doc);
/** cli_call_failed() of a call that needs a cluster, with a word for those whose node is in none. */
int cli_cluster_failed(struct cli *cli, int rc, const struct cli_call *call, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/** The member of that name or id in the document, or NULL. Of several of the name one that is @away: who is silent, or
 * lost and still holds slots, before who is there; or else one that is there. Borrowed. */
const json_t *cli_cluster_member(const json_t *doc, const char *name, bool away);
/** Where a member is reached, as cairn_options has it: the caller's, free(). NULL: no memory. Unix sockets of
 * another machine are none of it; those of another container may be, so who connects says which node is meant. */
char *cli_cluster_addresses(const json_t *member);
/** A session with that member and no other; at most @ms_max for this, and for each call that names no time. Returns a
 * CAIRN_E_* code. */
int cli_cluster_connect(const struct cli *cli, const json_t *member, uint32_t ms_max, struct cairn **session,
                        struct cairn_error_info *error);
/** Adds to each class of slots that misses replicas whose it is: namespaces, of which the caller sees only some. */
void cli_cluster_name_classes(struct cli *cli, json_t *doc);
/** No namespace is in the slots of this class of the document: nobody misses what they miss. */
bool cli_cluster_is_unused(const json_t *class);
/** "1,024 slots want more replicas than there are nodes that may hold them (3): ...", a new reference; NULL: none do. */
json_t *cli_cluster_too_few_nodes(const json_t *doc);
/** A member that is up as far as the map says, and that whoever coordinates has not heard yet: it may be gone, and what it
 * holds with it. NULL: there is none. */
const char *cli_cluster_unheard(const json_t *doc);
/** Nothing is being moved, nor about to be. */
bool cli_cluster_is_settled(const json_t *doc);
/** "ok"; "degraded": replicas are missing, or nodes that are waited for; "failing": there are slots that nobody serves,
 * or that refuse writes. */
const char *cli_cluster_health(const json_t *doc);
/** "1,024, all have all their replicas", "1,024: 12 degraded, 3 change hands", of a document's "slots"; how good that is
 * is returned. */
enum { CLI_SLOTS_TEXT_BYTES = 128 };
enum cli_color cli_cluster_slots_text(const json_t *slots, char text[CLI_SLOTS_TEXT_BYTES]);
/** A short form of it for people: what does not work, who is not simply up, which replicas are missing, what moves. A
 * new reference. */
json_t *cli_cluster_brief(const json_t *doc);
/** Says at once when the cluster has fewer nodes for a namespace than it wants replicas. */
void cli_cluster_warn_replicas(struct cli *cli, uint64_t replicas);
/** Likewise when what @node holds has no place to go, or is left with fewer copies. */
void cli_cluster_warn_drain(struct cli *cli, const char *node);
/** Likewise when there are namespaces that are in no slot: what @node has of them does not move. */
void cli_cluster_warn_local(struct cli *cli, const char *node);
/** A line of `cairn members --watch`: how a member is since @now, by the clock on the wall; with --json a document. */
void cli_member_line(struct cli *cli, const struct cairn_member *m, const struct timespec *now);
/** `cairn members --cluster`: prints all members, or their names alone. Returns an exit code. */
int cli_cluster_members(struct cli *cli, bool names);

#endif
