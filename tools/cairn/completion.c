/** The completion of bash, made from the tables: commands, options, choices, and names of namespaces by asking the
 * node. */
#include "tools/cairn/cli.h"

#include <string.h>

static void option_words(FILE *to, const struct cli_opt *opts)
{
    for (const struct cli_opt *o = opts; o != NULL && o->name != NULL; o++)
        fprintf(to, " --%s", o->name);
}

/* What may come after the first word of commands that have two. */
static void second_words(FILE *to, const char *family, size_t len)
{
    bool any = false;
    fputs("COMPREPLY=($(compgen -W '", to);
    for (uint32_t i = 0; cli_commands[i] != NULL; i++) {
        if (strncmp(cli_commands[i]->name, family, len) != 0 || cli_commands[i]->name[len] != ' ')
            continue;
        fprintf(to, "%s%s", any ? " " : "", cli_commands[i]->name + len + 1);
        any = true;
    }
    fputs("' -- \"$cur\"))", to);
}

/* Cases of one table for `prev`: what the value of an option may be. */
static void value_cases(FILE *to, const char *command, const struct cli_opt *opts)
{
    for (const struct cli_opt *o = opts; o != NULL && o->name != NULL; o++) {
        if (o->type == CLI_FLAG)
            continue;
        fprintf(to, "    '%s --%s')", command, o->name);
        if (o->type == CLI_CHOICE) {
            fputs(" COMPREPLY=($(compgen -W '", to);
            for (const char *c = o->arg; *c != '\0'; c++)
                putc(*c == '|' ? ' ' : *c, to);
            fputs("' -- \"$cur\"));;\n", to);
        } else if (strcmp(o->arg, "DIR") == 0) {
            fputs(" COMPREPLY=($(compgen -d -- \"$cur\"));;\n", to);
        } else if (strcmp(o->arg, "KIND") == 0) {
            fputs(" COMPREPLY=($(compgen -W \"$(cairn machines --kinds --quiet --timeout 1s 2>/dev/null)\" -- "
                  "\"$cur\"));;\n",
                  to);
        } else if (strcmp(o->arg, "FILE") == 0) {
            fputs(" COMPREPLY=($(compgen -f -- \"$cur\"));;\n", to);
        } else {
            fputs(" COMPREPLY=();;\n", to);
        }
    }
}

void cli_completion_bash(FILE *to)
{
    fputs("# bash completion of cairn(1); made by `cairn completion bash`.\n"
          "_cairn_operand() {\n"
          "    case $1 in\n"
          "    NAMESPACE) COMPREPLY=($(compgen -W \"$(cairn ns list --names --quiet --timeout 1s 2>/dev/null)\" -- "
          "\"$cur\"));;\n"
          "    NODE) COMPREPLY=($(compgen -W \"$(cairn members --cluster --names --quiet --timeout 1s 2>/dev/null)\" -- "
          "\"$cur\"));;\n"
          "    DIR) COMPREPLY=($(compgen -d -- \"$cur\"));;\n"
          "    FILE|FILE...) COMPREPLY=($(compgen -f -- \"$cur\"));;\n"
          "    COMMAND) COMPREPLY=($(compgen -W \"$_cairn_words\" -- \"$cur\"));;\n"
          "    bash) COMPREPLY=(bash);;\n"
          "    esac\n"
          "}\n\n",
          to);
    fputs("_cairn() {\n"
          "    local cur prev words cword cmd='' n=0 i operands opts\n"
          "    COMPREPLY=()\n"
          "    cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}\n"
          "    local _cairn_words=",
          to);
    fputs("'", to);
    const char *family = "";
    for (uint32_t i = 0; cli_commands[i] != NULL; i++) {
        size_t len = strcspn(cli_commands[i]->name, " ");
        if (strlen(family) >= len && strncmp(family, cli_commands[i]->name, len) == 0 &&
            (family[len] == ' ' || family[len] == '\0'))
            continue;
        family = cli_commands[i]->name;
        fprintf(to, "%s%.*s", i > 0 ? " " : "", (int)len, family);
    }
    fputs("'\n"
          "    for ((i = 1; i < COMP_CWORD; i++)); do\n"
          "        case ${COMP_WORDS[i]} in -*) continue;; esac\n"
          "        case \"${COMP_WORDS[i-1]}\" in --workspace|-w|--key|--address|-a|--timeout|-t) continue;; esac\n"
          "        if [ -z \"$cmd\" ]; then cmd=${COMP_WORDS[i]}\n"
          "        elif [ $n = 0 ]; then\n"
          "            case \"$cmd ${COMP_WORDS[i]}\" in\n",
          to);
    for (uint32_t i = 0; cli_commands[i] != NULL; i++) {
        if (strchr(cli_commands[i]->name, ' ') != NULL)
            fprintf(to, "            '%s') cmd='%s';;\n", cli_commands[i]->name, cli_commands[i]->name);
    }
    fputs("            *) n=1;;\n            esac\n        else n=$((n + 1)); fi\n    done\n"
          "    if [ -z \"$cmd\" ]; then\n"
          "        case $cur in\n"
          "        -*) COMPREPLY=($(compgen -W '--version",
          to);
    option_words(to, cli_global_opts);
    fputs("' -- \"$cur\"));;\n"
          "        *) COMPREPLY=($(compgen -W \"$_cairn_words\" -- \"$cur\"));;\n"
          "        esac\n"
          "        return\n"
          "    fi\n"
          "    case $cmd in\n",
          to);
    for (uint32_t i = 0; cli_commands[i] != NULL; i++) {
        const struct cli_command *c = cli_commands[i];
        fprintf(to, "    '%s') operands='%s' opts='", c->name, c->operands);
        option_words(to, c->opts);
        fputs("'", to);
        if (cli_is_family(c->name)) { /* a command by itself: its options, or the word that makes another of it */
            fprintf(to, "; case \"$prev $cur\" in '%s -'*) ;; '%s '*) ", c->name, c->name);
            second_words(to, c->name, strlen(c->name));
            fputs("; return;; esac", to);
        }
        fputs(";;\n", to);
        size_t len = strcspn(c->name, " ");
        const char *last = i > 0 ? cli_commands[i - 1]->name : "";
        bool goes_on = strncmp(last, c->name, len) == 0 && (last[len] == ' ' || last[len] == '\0');
        if (c->name[len] != ' ' || goes_on)
            continue;
        fprintf(to, "    '%.*s') ", (int)len, c->name);
        second_words(to, c->name, len);
        fputs("; return;;\n", to);
    }
    fputs("    *) return;;\n    esac\n"
          "    opts=\"$opts",
          to);
    option_words(to, cli_global_opts);
    fputs("\"\n"
          "    case \"$cmd $prev\" in\n",
          to);
    for (uint32_t i = 0; cli_commands[i] != NULL; i++)
        value_cases(to, cli_commands[i]->name, cli_commands[i]->opts);
    fputs("    *' --workspace') COMPREPLY=($(compgen -d -- \"$cur\"));;\n"
          "    *' --key') COMPREPLY=($(compgen -f -- \"$cur\"));;\n"
          "    *' --address'|*' --timeout') ;;\n"
          "    *)\n"
          "        case $cur in\n"
          "        -*) COMPREPLY=($(compgen -W \"$opts\" -- \"$cur\"));;\n"
          "        *) set -- $operands; shift \"$n\" 2>/dev/null && _cairn_operand \"$(printf %s \"${1-}\" | tr -d "
          "'[]')\";;\n"
          "        esac;;\n"
          "    esac\n"
          "}\n"
          "complete -o filenames -o bashdefault -F _cairn cairn\n",
          to);
}
