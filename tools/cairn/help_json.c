/** The help as a document, for programs that wrap this one: the same tables, field by field. */
#include "tools/cairn/out.h"

#include <string.h>

static json_t *options(const struct cli_opt *opts)
{
    static const char *const types[] = { [CLI_FLAG] = "flag",     [CLI_STRING] = "text", [CLI_CHOICE] = "choice",
                                         [CLI_NUMBER] = "number", [CLI_SIZE] = "size",   [CLI_TIME] = "time" };
    json_t *list = json_array();
    for (const struct cli_opt *o = opts; o != NULL && o->name != NULL; o++) {
        json_t *one = json_pack("{s:s, s:s, s:s?, s:s?, s:s}", "name", o->name, "type", types[o->type], "value", o->arg,
                                "default", o->fallback, "help", o->help);
        if (o->letter != 0)
            json_object_set_new(one, "letter", json_stringn(&o->letter, 1));
        json_array_append_new(list, one);
    }
    return list;
}

static json_t *command(const struct cli_command *c)
{
    json_t *examples = json_array();
    for (const struct cli_example *e = c->examples; e->line != NULL; e++)
        json_array_append_new(examples, json_pack("{s:s, s:s}", "line", e->line, "what", e->what));
    return json_pack("{s:s, s:s, s:s, s:s, s:s?, s:o, s:o}", "name", c->name, "operands", c->operands, "group",
                     c->group, "summary", c->summary, "text", c->text, "options", options(c->opts), "examples",
                     examples);
}

int cli_help_json(struct cli *cli, const char *name)
{
    json_t *list = json_array();
    size_t len = name != NULL ? strlen(name) : 0;
    for (uint32_t i = 0; cli_commands[i] != NULL; i++) {
        const struct cli_command *c = cli_commands[i];
        bool wanted =
            name == NULL || (strncmp(c->name, name, len) == 0 && (c->name[len] == '\0' || c->name[len] == ' '));
        if (wanted)
            json_array_append_new(list, command(c));
    }
    return cli_json(cli, json_pack("{s:o, s:o}", "commands", list, "options", options(cli_global_opts)));
}
