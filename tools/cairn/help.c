/** What `--help` shows: made from the tables, for people. */
#include "tools/cairn/cli.h"

#include <string.h>

enum { WIDTH_MIN = 60, WIDTH_MAX = 100, WIDTH_USUAL = 80 /* where there is no terminal */ };

/* @text in lines that fit the terminal, the first going on at column @at, the others indented by @indent. */
static void wrap(const struct cli *cli, FILE *to, const char *text, int indent, int at)
{
    const int width = cli->width == 0 ? WIDTH_USUAL : (int)MIN(MAX(cli->width, WIDTH_MIN), WIDTH_MAX);
    while (*text != '\0') {
        int len = (int)strcspn(text, " \n");
        if (at > indent && at + 1 + len > width) {
            fprintf(to, "\n%*s", indent, "");
            at = indent;
        } else if (at > indent) {
            putc(' ', to);
            at++;
        }
        fprintf(to, "%.*s", len, text);
        at += len;
        text += len;
        if (*text == '\n') {
            fprintf(to, "\n%*s", indent, "");
            at = indent;
        }
        if (*text != '\0')
            text++;
    }
    putc('\n', to);
}

static void show_opts(const struct cli *cli, const struct cli_opt *opts, FILE *to)
{
    enum { INDENT = 30 };
    for (const struct cli_opt *o = opts; o != NULL && o->name != NULL; o++) {
        char left[80], text[512];
        char letter[8] = "    ";
        if (o->letter != 0)
            snprintf(letter, sizeof(letter), "-%c, ", o->letter);
        int n = snprintf(left, sizeof(left), "  %s--%s%s%s", letter, o->name, o->arg != NULL ? " " : "",
                         o->arg != NULL ? o->arg : "");
        snprintf(text, sizeof(text), "%s%s%s%s", o->help, o->fallback != NULL ? " (default: " : "",
                 o->fallback != NULL ? o->fallback : "", o->fallback != NULL ? ")" : "");
        fputs(left, to);
        if (n + 2 > INDENT)
            fprintf(to, "\n%*s", INDENT, "");
        else
            fprintf(to, "%*s", INDENT - n, "");
        wrap(cli, to, text, INDENT, INDENT);
    }
}

static void usage_line(const struct cli_command *cmd, FILE *to)
{
    fprintf(to, "cairn %s [options]%s%s\n", cmd->name, cmd->operands[0] != '\0' ? " " : "", cmd->operands);
}

static void list_commands(const struct cli *cli, FILE *to, const char *prefix)
{
    enum { INDENT = 21 };
    const char *group = NULL;
    size_t len = prefix != NULL ? strlen(prefix) : 0;
    for (uint32_t i = 0; cli_commands[i] != NULL; i++) {
        const struct cli_command *c = cli_commands[i];
        if (prefix != NULL && (strncmp(c->name, prefix, len) != 0 || c->name[len] != ' '))
            continue;
        if (prefix == NULL && (group == NULL || strcmp(group, c->group) != 0))
            fprintf(to, "\n%s:\n", c->group);
        group = c->group;
        fprintf(to, "  %-18s ", c->name);
        wrap(cli, to, c->summary, INDENT, INDENT);
    }
}

void cli_help_command(const struct cli *cli, const struct cli_command *cmd, FILE *to)
{
    fputs("usage: ", to);
    usage_line(cmd, to);
    char summary[256];
    snprintf(summary, sizeof(summary), "%c%s.",
             cmd->summary[0] - ('a' <= cmd->summary[0] && cmd->summary[0] <= 'z' ? 'a' - 'A' : 0), cmd->summary + 1);
    fputs("\n  ", to);
    wrap(cli, to, summary, 2, 2);
    if (cmd->text != NULL) {
        fputs("\n  ", to);
        wrap(cli, to, cmd->text, 2, 2);
    }
    fputs("\nExamples:\n", to);
    for (const struct cli_example *e = cmd->examples; e->line != NULL; e++) {
        fprintf(to, "  $ %s\n      ", e->line);
        wrap(cli, to, e->what, 6, 6);
    }
    if (cli_is_family(cmd->name)) {
        fputs("\nIts commands:\n", to);
        list_commands(cli, to, cmd->name);
    }
    if (cmd->opts != NULL) {
        fputs("\nOptions:\n", to);
        show_opts(cli, cmd->opts, to);
    }
    fputs("\nOptions of every command:\n", to);
    show_opts(cli, cli_global_opts, to);
}

void cli_help_overview(const struct cli *cli, FILE *to)
{
    fputs("usage: cairn COMMAND [options] [operands]\n\n"
          "Stores, finds and moves data of a Cairn node, and shows how the node is.\n",
          to);
    list_commands(cli, to, NULL);
    fputs("\nOptions of every command:\n", to);
    show_opts(cli, cli_global_opts, to);
    putc('\n', to);
    wrap(cli, to,
         "Exit codes: 0 fine, 1 failed, 2 usage, 3 node (or the map's etcd) not reachable, 4 denied, 5 degraded, 6 "
         "timeout.\n`cairn COMMAND --help` shows examples.",
         0, 0);
}

void cli_help_group(const struct cli *cli, const char *prefix, FILE *to)
{
    fprintf(to, "usage: cairn %s COMMAND [options] [operands]\n\n", prefix);
    list_commands(cli, to, prefix);
    fprintf(to, "\n`cairn %s COMMAND --help` shows examples.\n", prefix);
}
