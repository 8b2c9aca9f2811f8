/** cairn version, help, completion. */
#include "tools/cairn/commands.h"

#include <stdlib.h>
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

/* A text that is no document: as it is, or as the field @name of one. */
static int print_text(struct cli *cli, const char *name, void (*print)(FILE *to))
{
    char *text = NULL;
    size_t len = 0;
    FILE *to = cli->g.json ? open_memstream(&text, &len) : cli->out;
    if (to == NULL)
        return cli_fail(cli, CAIRN_E_NOMEM, NULL, "%s", name);
    print(to);
    if (!cli->g.json)
        return CLI_OK;
    int status = fclose(to) == 0 ? cli_json(cli, json_pack("{s:s}", name, text))
                                 : cli_fail(cli, CAIRN_E_NOMEM, NULL, "%s", name);
    free(text);
    return status;
}

static int help_run(struct cli *cli, void *args)
{
    const struct help_args *a = args;
    if (a->man)
        return print_text(cli, "man", cli_man);
    if (cli->noperands == 0 && !cli->g.json) {
        cli_help_overview(cli, cli->out);
        return CLI_OK;
    }
    if (cli->noperands == 0)
        return cli_help_json(cli, NULL);
    char name[64];
    snprintf(name, sizeof(name), "%s%s%s", cli->operands[0], cli->noperands > 1 ? " " : "",
             cli->noperands > 1 ? cli->operands[1] : "");
    const struct cli_command *cmd = cli_find(name);
    if (cmd == NULL && !cli_is_family(name))
        return cli_usage(cli, "there is no command '%s'", name);
    if (cli->g.json)
        return cli_help_json(cli, name);
    if (cmd != NULL)
        cli_help_command(cli, cmd, cli->out);
    else
        cli_help_group(cli, name, cli->out);
    return CLI_OK;
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
                                              { "cairn help --json | jq .commands", "for programs" },
                                              { NULL, NULL } },
    .run = help_run,
    .group = "Other",
};

static int completion_run(struct cli *cli, void *args)
{
    (void)args;
    if (strcmp(cli->operands[0], "bash") != 0)
        return cli_usage(cli, "there is completion for bash, not for '%s'", cli->operands[0]);
    return print_text(cli, "script", cli_completion_bash);
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
