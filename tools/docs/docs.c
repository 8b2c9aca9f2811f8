/* Manual pages whose one source is the program itself: cairn.yaml(5) from the configuration's schema, cairnd(8) from
 * what `cairnd --help` says (on standard input). Runs in the build only.
 *
 *      cairn-docs conf > cairn.yaml.5
 *      cairnd --help | cairn-docs daemon > cairnd.8 */
#include "server/node/conf/node_conf.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static void troff(const char *text)
{
    if (*text == '.' || *text == '\'')
        fputs("\\&", stdout);
    for (; *text != '\0'; text++) {
        if (*text == '\\')
            fputs("\\e", stdout);
        else if (*text == '-')
            fputs("\\-", stdout);
        else
            putchar(*text);
    }
}

static void sentence(const char *text)
{
    size_t n = strlen(text);
    if (n == 0)
        return;
    /* A word of prose gets a capital; "unix:///PATH" stays what it is. */
    bool is_word = strcspn(text, " ,;.") <= strspn(text, "abcdefghijklmnopqrstuvwxyz");
    putchar(is_word && 'a' <= text[0] && text[0] <= 'z' ? text[0] - 'a' + 'A' : text[0]);
    troff(text + 1);
    puts(strchr(".?!", text[n - 1]) != NULL ? "" : ".");
}

/* ---- cairn.yaml(5) ---- */

static const char *type_name(const struct cairn_conf_key *k)
{
    switch (k->type) {
    case CAIRN_CONF_BOOL:
        return "true or false";
    case CAIRN_CONF_UINT:
        return "number";
    case CAIRN_CONF_SIZE:
        return "size (64KiB, 1.5GiB)";
    case CAIRN_CONF_DURATION:
        return "time (500ms, 2s, 1h)";
    case CAIRN_CONF_STRING:
        return "text";
    case CAIRN_CONF_CHOICE:
        return "one of";
    case CAIRN_CONF_LIST:
        return k->sub != NULL ? "list of sections" : "list of texts";
    case CAIRN_CONF_SECTION:
        return "section";
    }
    return "";
}

static void put_bound(enum cairn_conf_type type, uint64_t n)
{
    static const char *const sizes[] = { "", "KiB", "MiB", "GiB", "TiB" };
    uint32_t unit = 0;
    if (type == CAIRN_CONF_SIZE) {
        while (n != 0 && n % 1024 == 0 && unit + 1 < ARRAY_SIZE(sizes)) {
            n /= 1024;
            unit++;
        }
        printf("%" PRIu64 "%s", n, sizes[unit]);
    } else if (type == CAIRN_CONF_DURATION) {
        if (n % CAIRN_NS_PER_S == 0)
            printf("%" PRIu64 "s", n / CAIRN_NS_PER_S);
        else if (n % CAIRN_NS_PER_MS == 0)
            printf("%" PRIu64 "ms", n / CAIRN_NS_PER_MS);
        else
            printf("%" PRIu64 "ns", n);
    } else {
        printf("%" PRIu64, n);
    }
}

static void put_keys(const struct cairn_conf_key *keys, const char *prefix);

static void put_key(const struct cairn_conf_key *k, const char *prefix)
{
    char below[256];
    printf(".TP\n\\fB%s%s\\fR (%s", prefix, k->name, type_name(k));
    for (uint32_t i = 0; k->type == CAIRN_CONF_CHOICE && k->choices[i] != NULL; i++)
        printf("%s %s", i > 0 ? "," : "", k->choices[i]);
    puts(")");
    if (k->help != NULL)
        sentence(k->help);
    if (k->type != CAIRN_CONF_SECTION) {
        if (k->fallback == NULL && k->type != CAIRN_CONF_LIST) {
            puts("Must be given.");
        } else if (k->fallback != NULL && k->fallback[0] != '\0') {
            fputs("Default: ", stdout);
            troff(k->fallback);
            puts(".");
        }
        if (k->max != 0) {
            fputs(k->type == CAIRN_CONF_LIST ? "Entries: " : "From ", stdout);
            put_bound(k->type, k->min);
            fputs(" to ", stdout);
            put_bound(k->type, k->max);
            puts(".");
        }
    }
    snprintf(below, sizeof(below), "%s%s%s", prefix, k->name, k->type == CAIRN_CONF_LIST ? "[]." : ".");
    put_keys(k->sub, below);
}

static void put_keys(const struct cairn_conf_key *keys, const char *prefix)
{
    for (const struct cairn_conf_key *k = keys; k != NULL && k->name != NULL; k++)
        put_key(k, prefix);
}

static void conf(void)
{
    puts(".\\\" Made by cairn-docs.\n.TH CAIRN.YAML 5 \"\" \"Cairn " CAIRN_VERSION "\" \"File Formats\"\n"
         ".SH NAME\ncairn.yaml \\- configuration of a Cairn node\n"
         ".SH DESCRIPTION\nA node needs no configuration: without one the defaults below hold. The file is YAML (so it "
         "may be "
         "JSON), given to \\fBcairnd\\fR(8) by \\fB\\-\\-config\\fR. Unknown keys, wrong types, and values out of "
         "range or at odds "
         "with each other are refused, all in one pass, with file, line and column; \\fBcairn config check\\fR does so "
         "without "
         "starting anything. Any setting can also be given as \\fB\\-\\-set PATH=VALUE\\fR.\n.SH KEYS");
    put_keys(cairn_node_keys, "");
    for (uint32_t i = 0; cairn_provider_list[i] != NULL; i++) {
        const struct cairn_provider_desc *d = cairn_provider_list[i];
        printf(".SH \"PROVIDERS OF TYPE %s\"\n", d->type);
        put_keys(d->schema, "providers[].");
    }
    puts(".SH EXAMPLE\n.nf\n.RS\nnode:\n  data: /var/lib/cairn\n  workers: 4\nlisten:\n  \\- unix://node.sock\n  \\- "
         "tcp://0.0.0.0:4710\n"
         ".RE\n.fi\n.SH \"SEE ALSO\"\n\\fBcairnd\\fR(8), \\fBcairn\\fR(1)");
}

/* ---- cairnd(8) ---- */

/* "  -c, --config FILE      text": an option; "Name:": a heading; other indented lines are shown as they are. */
static void daemon_line(const char *line, bool *verbatim)
{
    char option[128];
    size_t indent = strspn(line, " ");
    const char *gap = strstr(line + indent, "  ");
    bool is_option = line[indent] == '-';
    bool is_shown = indent > 0 && !is_option;
    if (*verbatim && !is_shown)
        puts(".RE\n.fi");
    if (!*verbatim && is_shown)
        puts(".PP\n.nf\n.RS");
    *verbatim = is_shown;
    if (is_option) {
        snprintf(option, sizeof(option), "%.*s", gap != NULL ? (int)(gap - line - (long)indent) : 120, line + indent);
        fputs(".TP\n\\fB", stdout);
        troff(option);
        puts("\\fR");
        if (gap != NULL)
            sentence(gap + strspn(gap, " "));
    } else if (line[0] != '\0' && line[strlen(line) - 1] == ':') {
        fputs(".SH \"", stdout);
        for (const char *c = line; *c != ':'; c++)
            putchar('a' <= *c && *c <= 'z' ? *c - 'a' + 'A' : *c);
        puts("\"");
    } else if (line[0] != '\0') {
        troff(line + indent);
        putchar('\n');
    } else {
        puts(".PP");
    }
}

static void daemon_page(void)
{
    char line[1024];
    bool verbatim = false, synopsis = true;
    puts(".\\\" Made by cairn-docs.\n.TH CAIRND 8 \"\" \"Cairn " CAIRN_VERSION "\" \"System Administration\"\n"
         ".SH NAME\ncairnd \\- host one Cairn node\n.SH SYNOPSIS");
    while (fgets(line, sizeof(line), stdin) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        if (synopsis && strncmp(line, "Usage: ", 7) == 0) {
            troff(line + 7);
            puts("\n.SH DESCRIPTION");
            synopsis = false;
            continue;
        }
        daemon_line(line, &verbatim);
    }
    if (verbatim)
        puts(".RE\n.fi");
    puts(
        ".SH SIGNALS\nSIGTERM and SIGINT drain: no new requests, those that run may end (limits.drain), then the "
        "process "
        "exits with 0.\n"
        ".SH \"EXIT STATUS\"\n.TP\n0\nstopped as asked\n.TP\n1\ncould not start, or failed\n.TP\n2\nwrong "
        "usage\n.TP\n3\n"
        "\\-\\-check\\-config: nothing is wrong but that something is in use, by a node that runs; "
        "\\-\\-map\\-...: the node that the map is of runs\n"
        ".TP\n4\n\\-\\-map\\-...: where the map is kept does not answer within \\fBmap.timeout\\fR\n"
        ".TP\n5\n\\-\\-map\\-...: the map, or the document, is not what it has to be for that\n"
        ".SH ENVIRONMENT\n.TP\n\\fBNOTIFY_SOCKET\\fR, \\fBWATCHDOG_USEC\\fR\nwhere the service manager is told that "
        "the "
        "node is ready or stops, needs more time, and that all its workers are alive\n.TP\n\\fBLISTEN_FDS\\fR\n"
        "listening sockets from it, instead of binding the addresses of \\fBlisten\\fR and \\fBmetrics.listen\\fR that "
        "they are at\n.TP\n\\fBCREDENTIALS_DIRECTORY\\fR\nits file \\fBcluster.key\\fR stands before "
        "\\fBauth.key_file\\fR of the configuration\n"
        ".SH FILES\nIn the workspace: \\fBnode.json\\fR (where the node is, while it serves), \\fBnode.sock\\fR, "
        "\\fBcluster.key\\fR (mode 0600: whoever holds it, or a copy, enters over TCP as the user that runs the node, "
        "an "
        "administrator; users come by MUNGE).\n"
        ".SH \"SEE ALSO\"\n\\fBcairn\\fR(1), \\fBcairn.yaml\\fR(5)");
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "conf") == 0)
        conf();
    else if (argc == 2 && strcmp(argv[1], "daemon") == 0)
        daemon_page();
    else
        return fputs("usage: cairn-docs conf | daemon < `cairnd --help`\n", stderr), 2;
    return ferror(stdout) != 0 || fflush(stdout) != 0;
}
