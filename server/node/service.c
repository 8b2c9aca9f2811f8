/* The node and the service manager that started it: what it gives, and that the node is ready. Whether a node may
 * speak for its process is cairn_server_options.service; notify.h, activate.h and watchdog.h are the means. */
#include "server/node/node.h"

#include <stdio.h>

int cairn_node__meet_service(struct cairn_server *s, struct cairn_err *err)
{
    int rc = cairn_activation_read(&s->handed, err); /* first: it must see no descriptor of ours */

    if (rc == 0)
        rc = cairn_notify_open(&s->notify, err);
    return rc == 0 ? cairn_notify_starting(&s->notify, err) : rc;
}

void cairn_node__tell_ready(struct cairn_server *s)
{
    char status[512] = "serving";
    size_t at = 7;

    for (uint32_t i = 0; i < s->conf.nlisten && at < sizeof(status); i++) {
        int n = snprintf(status + at, sizeof(status) - at, "%s %s", i > 0 ? "," : "", s->addresses[i]);

        at += (size_t)MAX(n, 0);
    }
    cairn_notify_ready(&s->notify, status);
}
