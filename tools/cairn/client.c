/** Sessions and call options. */
#include "tools/cairn/client.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

/* Below this rate a transfer counts as hanging: a call may take the command's time-out and what its bytes need at it.
 */
enum { SLOWEST_BYTES_PER_MS = 16 << 10 };

int cli_connect_another(const struct cli *cli, struct cairn **out, struct cairn_error_info *error)
{
    struct cairn_options o = CAIRN_OPTIONS_INIT;
    o.workspace = cli->g.workspace;
    o.addresses = cli->g.address;
    o.key_file = cli->g.key;
    o.timeout_ms = (uint32_t)MIN(cli->g.timeout_ms, UINT32_MAX);
    o.connect_timeout_ms = o.timeout_ms;
    return cairn_connect(&o, out, error);
}

bool cli_is_wrong_address(struct cli *cli, int rc)
{
    if (rc != CAIRN_E_CONFIG || (cli->g.address == NULL && getenv("CAIRN_ADDRESSES") == NULL))
        return false;
    cli->hint = "as in `--address tcp://node1:4710` or `--address unix:///run/cairn/node.sock`; without it "
                "CAIRN_ADDRESSES is used, or the node of the workspace";
    return true;
}

int cli_connect(struct cli *cli)
{
    if (cli->session != NULL)
        return CLI_OK;
    struct cairn_error_info error = { 0 };
    int rc = cli_connect_another(cli, &cli->session, &error);
    if (rc == 0)
        return CLI_OK;
    cli_is_wrong_address(cli, rc);
    if (rc == CAIRN_E_UNREACHABLE && cli->hint == NULL)
        cli->hint = "is cairnd running? `cairn wait-ready` waits for one that starts anew; `--address URL,URL` "
                    "($CAIRN_ADDRESSES) takes whichever node of a cluster answers";
    /* No description of a node is, to who asks for it, a node that cannot be reached. */
    return cli_fail(cli, rc == CAIRN_E_NOTFOUND ? CAIRN_E_UNREACHABLE : rc, error.text, "connecting");
}

void cli_disconnect(struct cli *cli)
{
    cairn_close(cli->session);
    cli->session = NULL;
}

struct cairn_call_options *cli_call_init(const struct cli *cli, struct cli_call *call, uint64_t bytes)
{
    *call = (struct cli_call){ .o = CAIRN_CALL_OPTIONS_INIT };
    uint64_t ms = cli->g.timeout_ms + bytes / SLOWEST_BYTES_PER_MS;
    call->o.timeout_ms = (uint32_t)MIN(MAX(ms, 1), UINT32_MAX);
    call->o.error = &call->error;
    return &call->o;
}

int cli_call_failed(struct cli *cli, int rc, const struct cli_call *call, const char *fmt, ...)
{
    char what[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(what, sizeof(what), fmt, ap);
    va_end(ap);
    const char *why = call->error.code == rc ? call->error.text : NULL;
    /* The node that we asked was refused by others, and says what it lacks: our key is not in question. */
    if (rc == CAIRN_E_AUTH && cli->hint == NULL && why != NULL && strstr(why, "auth.key_file") != NULL)
        cli->hint = "it is about the node that was asked, not about you: mend its configuration, and start it again";
    if (cli->hint == NULL && why != NULL && strstr(why, "map store cannot be reached") != NULL)
        cli->hint = "is etcd (`map.endpoints`) running, with most of its members? All goes on by itself when it is back";
    /* "namespace x: there is no namespace 'x'" says it twice. */
    static const char ns[] = "namespace ";
    char quoted[sizeof(what) + 2];
    snprintf(quoted, sizeof(quoted), "'%s'", what + MIN(strlen(what), sizeof(ns) - 1));
    bool twice = why != NULL && strncmp(what, ns, sizeof(ns) - 1) == 0 && strstr(why, quoted) != NULL;
    return cli_fail(cli, rc, why, "%s", twice ? "" : what);
}

int cli_open_ns(struct cli *cli, const char *name, struct cairn_ns **ns)
{
    int status = cli_connect(cli);
    if (status != CLI_OK)
        return status;
    struct cli_call call;
    int rc = cairn_ns_open(cli->session, name, ns, cli_call_init(cli, &call, 0));
    return rc == 0 ? CLI_OK : cli_call_failed(cli, rc, &call, "namespace %s", name);
}
