/** The service manager is told that the node is alive for as long as every worker comes back to its loop; a node with
 * a worker that hangs is ended by the manager and started again, whatever the others still answer. */
#ifndef CAIRN_NODE_WATCHDOG_H
#define CAIRN_NODE_WATCHDOG_H

#include "sdk/core/loop/loop.h"
#include "server/node/notify.h"

struct cairn_watchdog;

extern const struct cairn_sm_kind cairn_watchdog_kind;

/** For these loops; *@d stays NULL, which all others take, if the manager does not ask for it. */
int cairn_watchdog_new(struct cairn_notify *to, struct cairn_loop *const *loops, uint32_t nloops,
                       struct cairn_watchdog **d, struct cairn_err *err);
/** Looks three times within the manager's time. On the thread of the first loop, as is the stop. */
void cairn_watchdog_start(struct cairn_watchdog *d);
void cairn_watchdog_stop(struct cairn_watchdog *d);
/** After the loops have ended: until then one of them may still hold a part. */
void cairn_watchdog_free(struct cairn_watchdog *d);

#endif
