/* Where a node is and how to enter: from the options, the environment, or the workspace that the node wrote. */
#ifndef CAIRN_CLIENT_WHEREABOUTS_H
#define CAIRN_CLIENT_WHEREABOUTS_H

#include "cairn/cairn.h"
#include "sdk/core/rpc/session.h"

enum { CAIRN_NODE_JSON_BYTES_MAX = 64 << 10 };

/** The workspace directory that @options (may be NULL) and the environment name, into @path of @room bytes.
 * CAIRN_E_INVAL: too long. */
int cairn_whereabouts_dir(const struct cairn_options *options, char *path, size_t room, struct cairn_err *err);

/** Addresses (unix sockets first), cluster id, key and, where it is known, the node's name into @conf; a name that is
 * there already stays. Host names are looked up, which may block. Errors are
 * those of cairn_connect(). */
int cairn_whereabouts_find(const struct cairn_options *options, struct cairn_rpc_session_conf *conf,
                           struct cairn_err *err);

/** A node of this machine that has not started yet says in its workspace what it waits for: then that is why it could
 * not be reached. Adds to @err, if it is that. */
void cairn_whereabouts_starting(const struct cairn_options *options, struct cairn_err *err);

/** What a node that refused us for lack of a key cannot know: where it was looked for. Adds to @err, if it is that. */
void cairn_whereabouts_explain(const struct cairn_options *options, const struct cairn_rpc_session_conf *conf,
                               struct cairn_err *err);

#endif
