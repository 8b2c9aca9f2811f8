/** One command line from beginning to end. */
#include "tools/cairn/client.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int cli_main(struct cli *cli, int argc, char **argv)
{
    void *args = NULL;
    int rc = cli_parse(cli, argc, argv, &args);
    if (rc != 0) {
        /* said already */
    } else if (cli->g.json && cli->g.help) {
        rc = cli_help_json(cli, cli->cmd != NULL ? cli->cmd->name : cli->family);
    } else if (cli->g.json && cli->cmd == NULL) {
        rc = cli_usage(cli, "no command is given");
    } else if (cli->family != NULL) {
        cli_help_group(cli, cli->family, cli->out);
    } else if (cli->cmd == NULL) {
        cli_help_overview(cli, cli->g.help ? cli->out : cli->err);
        rc = cli->g.help ? CLI_OK : CLI_USAGE;
    } else if (cli->g.help) {
        cli_help_command(cli, cli->cmd, cli->out);
    } else {
        rc = cli->cmd->run(cli, args);
    }
    cli_disconnect(cli);
    free(args);
    if (fflush(cli->out) != 0 || ferror(cli->out)) {
        if (rc == CLI_OK) /* otherwise the command has said why it failed, perhaps of this */
            rc = cli_fail_file(cli, "standard output");
    }
    return rc;
}
