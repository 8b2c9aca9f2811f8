/** cairn version, help, completion. */
#include "tools/cairn/commands.h"

#include <string.h>

static int version_run(struct cli *cli, void *args)
{
    (void)args;
    if (cli->g.json)
        return cli_json(cli, json_pack("{s:s, s:s}", "cairn", CAIRN_VERSION, "libcairn", cairn_version()));
    fprintf(cli->out, "cairn %s\n", CAIRN_VERSION);
    if (strcmp(CAIRN_VERSION, cairn_version()) != 0)
        fprintf(cli->out, "libcairn %s\n", cairn_version());
    return CLI_OK;
}

const struct cli_command cli_version = {
    .name = "version",
    .operands = "",
    .summary = "show the version of this program",
    .examples = (const struct cli_example[]){ { "cairn version", "which is it?" }, { NULL, NULL } },
    .run = version_run,
    .group = "Other",
};

struct help_args {
    bool man;
};

static int help_run(struct cli *cli, void *args)
{
    const struct help_args *a = args;
    if (a->man) {
        cli_man(cli->out);
        return CLI_OK;
    }
    if (cli->noperands == 0) {
        cli_help_overview(cli, cli->out);
        return CLI_OK;
    }
    char name[64];
    snprintf(name, sizeof(name), "%s%s%s", cli->operands[0], cli->noperands > 1 ? " " : "",
             cli->noperands > 1 ? cli->operands[1] : "");
    const struct cli_command *cmd = cli_find(name);
    if (cmd != NULL) {
        cli_help_command(cli, cmd, cli->out);
        return CLI_OK;
    }
    size_t len = strlen(name);
    for (uint32_t i = 0; cli_commands[i] != NULL; i++) {
        if (strncmp(cli_commands[i]->name, name, len) == 0 && cli_commands[i]->name[len] == ' ') {
            cli_help_group(cli, name, cli->out);
            return CLI_OK;
        }
    }
    return cli_usage(cli, "there is no command '%s'", name);
}

static const struct cli_opt help_opts[] = {
    CLI_OPT(struct help_args, man, "man", 0, CLI_FLAG, NULL, NULL, "the manual page, as troff"),
    CLI_OPT_END,
};

const struct cli_command cli_help = {
    .name = "help",
    .operands = "[COMMAND] [SUBCOMMAND]",
    .summary = "show what commands there are, or what one of them does",
    .opts = help_opts,
    .args_size = sizeof(struct help_args),
    .examples = (const struct cli_example[]){ { "cairn help import", "the same as `cairn import --help`" },
                                              { "cairn help --man | man -l -", "the manual page" },
                                              { NULL, NULL } },
    .run = help_run,
    .group = "Other",
};

static int completion_run(struct cli *cli, void *args)
{
    (void)args;
    if (strcmp(cli->operands[0], "bash") != 0)
        return cli_usage(cli, "there is completion for bash, not for '%s'", cli->operands[0]);
    cli_completion_bash(cli->out);
    return CLI_OK;
}

const struct cli_command cli_completion = {
    .name = "completion",
    .operands = "bash",
    .summary = "print the completion script of a shell",
    .examples =
        (const struct cli_example[]){ { "source <(cairn completion bash)", "complete in this shell" }, { NULL, NULL } },
    .run = completion_run,
    .group = "Other",
};
