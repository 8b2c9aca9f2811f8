/** cairn(1), made from the same tables as the help. */
#include "tools/cairn/cli.h"

#include "cairn/error.h"

#include <string.h>

/* Text for troff: backslashes, leading dots and quotes, and dashes that must stay dashes. */
static void troff(FILE *to, const char *text)
{
    if (*text == '.' || *text == '\'')
        fputs("\\&", to);
    for (; *text != '\0'; text++) {
        if (*text == '\\')
            fputs("\\e", to);
        else if (*text == '-')
            fputs("\\-", to);
        else if (*text == '\n')
            fputs("\n.PP\n", to);
        else
            putc(*text, to);
    }
}

static void sentence(FILE *to, const char *phrase)
{
    char first = phrase[0];
    putc('a' <= first && first <= 'z' ? first - 'a' + 'A' : first, to);
    troff(to, phrase + 1);
    fputs(strchr("?!.", phrase[strlen(phrase) - 1]) != NULL ? "\n" : ".\n", to);
}

static void opts_section(FILE *to, const struct cli_opt *opts)
{
    for (const struct cli_opt *o = opts; o != NULL && o->name != NULL; o++) {
        fputs(".TP\n", to);
        if (o->letter != 0)
            fprintf(to, "\\fB\\-%c\\fR, ", o->letter);
        fputs("\\fB\\-\\-", to);
        troff(to, o->name);
        fputs("\\fR", to);
        if (o->arg != NULL)
            fprintf(to, " \\fI%s\\fR", o->arg);
        putc('\n', to);
        sentence(to, o->help);
        if (o->fallback != NULL) {
            fputs("Default: ", to);
            troff(to, o->fallback);
            fputs(".\n", to);
        }
    }
}

static void command_section(FILE *to, const struct cli_command *c)
{
    fprintf(to, ".SS \"cairn %s%s%s\"\n", c->name, c->operands[0] != '\0' ? " " : "", c->operands);
    sentence(to, c->summary);
    if (c->text != NULL) {
        fputs(".PP\n", to);
        troff(to, c->text);
        putc('\n', to);
    }
    opts_section(to, c->opts);
    for (const struct cli_example *e = c->examples; e->line != NULL; e++) {
        fputs(".PP\n", to);
        sentence(to, e->what);
        fputs(".PP\n.nf\n.RS\n", to);
        troff(to, e->line);
        fputs("\n.RE\n.fi\n", to);
    }
}

void cli_man(FILE *to)
{
    fprintf(to, ".\\\" Made by `cairn help --man`.\n.TH CAIRN 1 \"\" \"Cairn %s\" \"User Commands\"\n", CAIRN_VERSION);
    fputs(".SH NAME\ncairn \\- store, find and move data of a Cairn node\n"
          ".SH SYNOPSIS\n.B cairn\n.I COMMAND\n[\\fIoptions\\fR] [\\fIoperands\\fR]\n"
          ".SH DESCRIPTION\nCairn serves data to applications of high-performance computing. One program, "
          "\\fBcairnd\\fR(8), is a node; \\fBcairn\\fR talks to it. Data goes to standard output, everything else to "
          "standard error; progress is shown on a terminal only.\n"
          ".SH OPTIONS\nEvery command takes these.\n",
          to);
    opts_section(to, cli_global_opts);
    fputs(".SH COMMANDS\n", to);
    for (uint32_t i = 0; cli_commands[i] != NULL; i++)
        command_section(to, cli_commands[i]);
    fputs(
        ".SH \"REMOTE ACCESS\"\nA unix socket proves who the caller is. Over tcp:// there are two proofs. With MUNGE "
        "on "
        "both hosts the node learns the user, and permissions hold as on its own host: this is for users. The "
        "cluster key (\\fBcluster.key\\fR in the workspace; \\-\\-key names a copy, mode 0600) names no user: whoever "
        "holds it speaks for the cluster, and is taken for the user that the node runs as, an administrator. It is "
        "for administrators and services.\n",
        to);
    fputs(".SH \"JSON OUTPUT\"\nWith \\fB\\-\\-json\\fR every command, \\fB\\-\\-help\\fR included, prints one "
          "document whose field \\fBversion\\fR is "
          "raised when a field changes its meaning or goes away. A failure is one line on standard error: "
          "\\fB{\"version\":1,\"error\":{\"code\":...,\"exit\":...,\"text\":...,\"hint\":...}}\\fR; progress is lines "
          "that hold \\fBprogress\\fR.\n",
          to);
    fputs(".SH \"EXIT STATUS\"\n", to);
    static const char *const codes[] = { "fine",
                                         "failed",
                                         "wrong usage",
                                         "the node, or the etcd that keeps the map, cannot be reached",
                                         "access denied",
                                         "the node works, but something in it is wrong",
                                         "the time was over" };
    for (uint32_t i = 0; i < ARRAY_SIZE(codes); i++)
        fprintf(to, ".TP\n%u\n%s\n", i, codes[i]);
    fputs(".SH ENVIRONMENT\n.TP\n\\fBCAIRN_WORKSPACE\\fR\nwhere the node is described, unless \\-\\-workspace says\n"
          ".TP\n\\fBCAIRN_ADDRESSES\\fR\nwhere the node is, unless \\-\\-address or a workspace says\n"
          ".TP\n\\fBCAIRN_KEY\\fR\nthe cluster key for nodes that are reached by tcp://, unless \\-\\-key says\n"
          ".TP\n\\fBNO_COLOR\\fR\nif set and not empty, no colours\n"
          ".SH ERRORS\nThe codes that messages, JSON documents and the C library share.\n",
          to);
#define X(name, number, text, hint)                                                                                    \
    fputs(".TP\n\\fBCAIRN_E_" #name "\\fR\n", to);                                                                     \
    troff(to, text "; " hint);                                                                                         \
    putc('\n', to);
    CAIRN_ERRORS(X)
#undef X
    fputs(".SH \"SEE ALSO\"\n\\fBcairnd\\fR(8), \\fBcairn.yaml\\fR(5)\n", to);
}
