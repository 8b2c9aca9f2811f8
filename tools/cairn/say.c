/** Messages for people, and the exit codes that go with them. */
#include "tools/cairn/out.h"

#include <errno.h>
#include <grp.h>
#include <jansson.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

int cli_exit_of(int rc)
{
    switch (rc) {
    case CAIRN_OK:
        return CLI_OK;
    case CAIRN_E_UNREACHABLE:
    case CAIRN_E_CLOSED:
    case CAIRN_E_SHUTDOWN:
        return CLI_UNREACHABLE;
    case CAIRN_E_DENIED:
    case CAIRN_E_AUTH:
        return CLI_DENIED;
    case CAIRN_E_TIMEOUT:
        return CLI_TIMEOUT;
    default:
        return CLI_FAILED;
    }
}

static const char *command_name(const struct cli *cli)
{
    return cli->cmd != NULL ? cli->cmd->name : NULL;
}

/* One line of JSON; text that is no UTF-8 (a key, a file name) is shown as cli_put_printable() would. */
json_t *cli_json_text(const char *text)
{
    json_t *s = json_string(text);
    if (s != NULL)
        return s;
    char *clean = cli_printable(text);
    if (clean == NULL)
        return json_null();
    s = json_string(clean);
    free(clean);
    return s;
}

static void say_json(struct cli *cli, const char *code, int status, const char *text, const char *hint)
{
    json_t *line = json_pack("{s:i, s:{s:s, s:i, s:o, s:s}}", "version", CLI_JSON_VERSION, "error", "code", code,
                             "exit", status, "text", cli_json_text(text), "hint", hint);
    if (line == NULL)
        return;
    json_dumpf(line, cli->err, JSON_COMPACT);
    putc('\n', cli->err);
    json_decref(line);
}

/* "cairn COMMAND: WHAT: WHY" and a hint; an empty @what is left out. */
static int say_failure(struct cli *cli, int rc, int status, const char *what, const char *why, const char *hint)
{
    const char *colon = what[0] != '\0' ? ": " : "";
    if (cli->g.json) {
        char text[2048];
        snprintf(text, sizeof(text), "%s%s%s", what, colon, why);
        say_json(cli, cairn_error_name(rc), status, text, hint);
        return status;
    }
    fprintf(cli->err, "cairn%s%s: ", cli->cmd != NULL ? " " : "", cli->cmd != NULL ? command_name(cli) : "");
    cli_put_text(cli->err, what);
    fputs(colon, cli->err);
    cli_put_text(cli->err, why);
    fprintf(cli->err, "\n    hint: %s\n", hint);
    return status;
}

/* The name of a user, else a group, of this machine. NULL if it has none. */
static const char *name_of(bool user, unsigned long id)
{
    const struct passwd *pw = user ? getpwuid((uid_t)id) : NULL;
    const struct group *gr = user ? NULL : getgrgid((gid_t)id);
    return pw != NULL ? pw->pw_name : gr != NULL ? gr->gr_name : NULL;
}

/* "user 65534 may not ... (owner 0, group 0 ...)", as a node says it, which asks no directory of users: with the names
 * that `ns list` shows. */
static void put_names(const char *why, char *to, size_t room)
{
    static const char *const words[] = { "user ", "owner ", "group " };
    size_t at = 0;
    while (*why != '\0' && at + 1 < room) {
        const char *name = NULL, *word = NULL;
        char *end = NULL;
        for (size_t i = 0; i < ARRAY_SIZE(words) && word == NULL; i++) {
            size_t n = strlen(words[i]);
            if (strncmp(why, words[i], n) == 0 && why[n] >= '0' && why[n] <= '9') {
                word = words[i];
                name = name_of(i < 2, strtoul(why + n, &end, 10));
            }
        }
        if (name == NULL) {
            to[at++] = *why++;
            continue;
        }
        int n = snprintf(to + at, room - at, "%s%s", word, name);
        at = MIN(at + (size_t)MAX(n, 0), room - 1);
        why = end;
    }
    to[at] = '\0';
}

int cli_fail(struct cli *cli, int rc, const char *why, const char *fmt, ...)
{
    char what[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(what, sizeof(what), fmt, ap);
    va_end(ap);
    if (why == NULL || why[0] == '\0')
        why = cairn_error_text(rc);
    char named[1024];
    if (rc == CAIRN_E_DENIED) {
        put_names(why, named, sizeof(named));
        why = named;
    }
    return say_failure(cli, rc, cli_exit_of(rc), what, why, cli->hint != NULL ? cli->hint : cairn_error_hint(rc));
}

/* `put ns key 3.14`, where a file was meant to be named. */
static bool takes_a_value(const struct cli *cli)
{
    for (const struct cli_opt *o = cli->cmd != NULL ? cli->cmd->opts : NULL; o != NULL && o->name != NULL; o++) {
        if (strcmp(o->name, "value") == 0)
            return true;
    }
    return false;
}

int cli_fail_file(struct cli *cli, const char *path)
{
    int code = errno == ENOENT || errno == ENOTDIR ? CAIRN_E_NOTFOUND
               : errno == EACCES || errno == EPERM ? CAIRN_E_DENIED
               : errno == ENOSPC                   ? CAIRN_E_NOSPACE
                                                   : CAIRN_E_IO;
    const char *hint = "check the path, its permissions and its file system on this machine";
    if (errno == EBADF)
        hint = "whoever started this program closed it; give a file, or /dev/null";
    else if (errno == ENOENT && takes_a_value(cli))
        hint = "the last operand is a file; --value TEXT stores a text";
    /* Neither the exit code nor the hint of @code: those are for what the node says. */
    return say_failure(cli, code, CLI_FAILED, path, errno == EBADF ? "it is closed" : strerror(errno), hint);
}

int cli_usage(struct cli *cli, const char *fmt, ...)
{
    char text[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    const char *name = command_name(cli);
    char hint[128];
    snprintf(hint, sizeof(hint), "`cairn%s%s --help` shows how it is used", name != NULL ? " " : "",
             name != NULL ? name : "");
    if (cli->g.json) {
        say_json(cli, cairn_error_name(CAIRN_E_INVAL), CLI_USAGE, text, hint);
        return CLI_USAGE;
    }
    fprintf(cli->err, "cairn%s%s: ", name != NULL ? " " : "", name != NULL ? name : "");
    cli_put_text(cli->err, text);
    fprintf(cli->err, "\n    hint: %s\n", hint);
    return CLI_USAGE;
}

void cli_warn(struct cli *cli, const char *cure, const char *fmt, ...)
{
    char text[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    if (cli->g.json) {
        json_t *line = json_pack("{s:i, s:{s:o, s:s}}", "version", CLI_JSON_VERSION, "warning", "text",
                                 cli_json_text(text), "hint", cure);
        json_dumpf(line, cli->err, JSON_COMPACT);
        putc('\n', cli->err);
        json_decref(line);
        return;
    }
    fprintf(cli->err, "cairn %s: warning: ", command_name(cli) != NULL ? command_name(cli) : "");
    cli_put_text(cli->err, text);
    fprintf(cli->err, "\n    hint: %s\n", cure);
}

void cli_note(struct cli *cli, const char *fmt, ...)
{
    if (cli->g.quiet || cli->g.json)
        return;
    char text[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    cli_put_line(cli->err, text);
}

/* Characters that nobody sees, but which hide or turn round what stands beside them: Unicode's format characters without
 * a shape of their own, and line and paragraph separators. The joiners U+200C and U+200D are among them: two names that
 * differ by one of them alone would look the same. */
static bool is_invisible(uint32_t point)
{
    static const uint32_t ranges[][2] = { { 0x80, 0x9f },       { 0xad, 0xad },       { 0x61c, 0x61c },
                                          { 0x180e, 0x180e },   { 0x200b, 0x200f },   { 0x2028, 0x202e },
                                          { 0x2060, 0x206f },   { 0xfeff, 0xfeff },   { 0xfff9, 0xfffb },
                                          { 0x1bca0, 0x1bca3 }, { 0x1d173, 0x1d17a }, { 0xe0000, 0xe007f } };
    for (size_t i = 0; i < ARRAY_SIZE(ranges); i++) {
        if (point >= ranges[i][0] && point <= ranges[i][1])
            return true;
    }
    return false;
}

/* The length of the well-formed UTF-8 sequence at @s, 0 if there is none; what is invisible counts as none. */
static size_t utf8_length(const unsigned char *s, size_t n)
{
    static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
    size_t len = s[0] >= 0xf0 && s[0] < 0xf5   ? 4
                 : s[0] >= 0xe0 && s[0] < 0xf0 ? 3
                 : s[0] >= 0xc2 && s[0] < 0xe0 ? 2
                                               : 0;
    if (len == 0 || len > n)
        return 0;
    uint32_t point = s[0] & (0xffu >> (len + 1));
    for (size_t i = 1; i < len; i++) {
        if ((s[i] & 0xc0) != 0x80)
            return 0;
        point = point << 6 | (s[i] & 0x3fu);
    }
    if (point < least[len] || point > 0x10ffff || (point >= 0xd800 && point < 0xe000) || is_invisible(point))
        return 0;
    return len;
}

void cli_put_printable(FILE *to, const void *bytes, size_t len)
{
    const unsigned char *s = bytes;
    for (size_t i = 0; i < len;) {
        size_t n = s[i] >= 0x20 && s[i] < 0x7f ? 1 : utf8_length(s + i, len - i);
        if (n == 0) {
            fprintf(to, "\\x%02x", s[i]);
            n = 1;
        } else {
            fwrite(s + i, 1, n, to);
        }
        i += n;
    }
}

void cli_put_text(FILE *to, const char *text)
{
    cli_put_printable(to, text, strlen(text));
}

char *cli_printable(const char *text)
{
    char *clean = NULL;
    size_t len = 0;
    FILE *to = open_memstream(&clean, &len);
    if (to == NULL)
        return NULL;
    cli_put_text(to, text);
    return fclose(to) == 0 ? clean : NULL;
}

void cli_put_line(FILE *to, const char *text)
{
    cli_put_text(to, text);
    putc('\n', to);
}
