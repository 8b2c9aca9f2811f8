/** The node's own program, `cairnd`, for what needs no node that runs: the one beside this program, else that of
 * $PATH. */
#ifndef CAIRN_TOOLS_NODE_PROGRAM_H
#define CAIRN_TOOLS_NODE_PROGRAM_H

#include "tools/cairn/cli.h"

#include <sys/types.h>

/** What it exits with where a node that runs uses what is asked about; cairnd(8). */
enum { CAIRND_IN_USE = 3 };

struct cli_node_program {
    pid_t pid;
    FILE *out;      /* what it prints */
    int complaints; /* where its standard error went, -1: into out */
};

/** @argv ends with NULL. @together: standard error comes by p->out too. An exit code; the failure has been reported. */
int cli_node_program_start(struct cli *cli, struct cli_node_program *p, const char *const *argv, bool together);
/** Waits for it, after its output was read; its exit status, 255 if it had none. */
int cli_node_program_end(struct cli_node_program *p);
/** As end(); a failure is reported with what the program said, and with @hint (cli->hint, if there is one) where neither
 * the configuration is at fault nor the map's store silent: then the exit code is CLI_UNREACHABLE. */
int cli_node_program_finish(struct cli *cli, struct cli_node_program *p, const char *what, const char *hint);

#endif
