/* A node whose map store does not answer yet (after a power cut, hosts do not come up in order) waits for it before it
 * opens anything, so nobody can ask it. What it waits for is in its workspace meanwhile, where clients look, with the
 * service manager, and in the log; and a signal ends the wait. */
#include "server/node/node.h"

#include "sdk/core/base/log.h"
#include "server/node/workspace.h"

#include <signal.h>

enum { SILENT_MS = 1000, SAY_MS = 5000 }; /* most starts are over before anybody asks */

/* The program takes its signals when the node has started (main.c): those that would end it then end the wait. */
static bool is_to_stop(void)
{
    sigset_t set;

    return sigpending(&set) == 0 && (sigismember(&set, SIGTERM) == 1 || sigismember(&set, SIGINT) == 1);
}

static void say(struct cairn_waiting *w, uint64_t now, uint64_t left_ns, const char *why)
{
    struct cairn_server *s = w->node;
    struct cairn_err err = { 0 };
    int rc = cairn_workspace_open(s->conf.workspace, &err);

    if (rc == 0)
        rc = cairn_workspace_say_starting(s->conf.workspace, s->conf.name, why, &err);
    if (w->said_ns == 0)
        cairn_log_warn("not started yet: %s", why);
    if (rc != 0 && w->said_ns == 0)
        cairn_log_warn("clients will not find out what this node waits for: %s", err.text);
    cairn_notify_waiting(&s->notify, left_ns, why);
    w->said_ns = now;
}

bool cairn_node__waits(void *arg, uint64_t left_ns, const char *why)
{
    struct cairn_waiting *w = arg;
    uint64_t now = cairn_loop_now(&w->node->workers[0].loop);
    uint64_t since_ns = now - (w->said_ns != 0 ? w->said_ns : w->node->started_ns);

    if (since_ns >= (w->said_ns != 0 ? SAY_MS : SILENT_MS) * CAIRN_NS_PER_MS)
        say(w, now, left_ns, why);
    return !w->is_program || !is_to_stop();
}

void cairn_node__waited(struct cairn_waiting *w)
{
    if (w->said_ns == 0)
        return;
    cairn_workspace_has_started(w->node->conf.workspace);
    cairn_notify_status(&w->node->notify, "starting");
}
