/* cairnd: one node as a program. Everything it does is in libcairn-server; here are arguments and signals. */
#include "cairn/server.h"
#include "sdk/core/base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum { SETTINGS_MAX = 256, TEXT_BYTES = 64 << 10, SIGNAL_POLL_MS = 100 };

enum exit_code {
    EXIT_FINE = 0,
    EXIT_FAILED = 1,
    EXIT_USAGE = 2,
    EXIT_IN_USE = 3,
    EXIT_NO_STORE = 4,
    EXIT_NOT_DONE = 5
};

static const char usage[] =
    "Usage: cairnd [OPTION]...\n"
    "Hosts one Cairn node until SIGTERM or SIGINT, which drain it.\n"
    "\n"
    "  -c, --config FILE      configuration; without one the embedded default holds\n"
    "  -d, --data DIR         data directory (node.data)\n"
    "  -w, --workspace DIR    where clients find this node (workspace)\n"
    "  -l, --listen ADDRESS   unix:///PATH or tcp://HOST:PORT; may be repeated\n"
    "  -s, --set PATH=VALUE   any setting, as in --set node.workers=4; may be repeated\n"
    "      --insecure         let anybody in over TCP (auth.insecure)\n"
    "      --check-config     check as much as a start would, change nothing, and say what is wrong\n"
    "      --print-config     print the effective configuration and where each value came from\n"
    "      --map-export       write the map out, as JSON; a node may run meanwhile\n"
    "      --map-import FILE  store such a document where the configuration keeps the map (- reads standard input)\n"
    "      --map-move         move the map from the node's own file to etcd, and say what was done, as JSON\n"
    "      --map-move-check   only look whether that could be done\n"
    "      --map-show         what the map holds, as JSON\n"
    "      --map-log          who changed the map, why and when, as JSON\n"
    "  -V, --version\n"
    "  -h, --help\n"
    "\n"
    "Examples:\n"
    "  cairnd --data /var/lib/cairn\n"
    "  cairnd --config /etc/cairn/node.yaml --check-config\n"
    "  cairnd --data /tmp/d --workspace /tmp/w --listen tcp://127.0.0.1:7400 --set node.workers=2\n";

/* Those of the map stand last. */
enum action { RUN, CHECK, PRINT, MAP_EXPORT, MAP_IMPORT, MAP_MOVE, MAP_MOVE_CHECK, MAP_SHOW, MAP_LOG };

struct arguments {
    char workspace[PATH_MAX], key_file[PATH_MAX];
    struct cairn_server_options options;
    struct cairn_server_setting settings[SETTINGS_MAX];
    char listen[4096]; /* "[a, b]" */
    enum action action;
    const char *document; /* to be imported */
};

static bool add_setting(struct arguments *a, const char *path, const char *value, const char *where)
{
    if (a->options.nsettings == SETTINGS_MAX) {
        fprintf(stderr, "cairnd: more than %d settings\n", SETTINGS_MAX);
        return false;
    }
    a->settings[a->options.nsettings++] = (struct cairn_server_setting){ .path = path, .value = value, .where = where };
    return true;
}

static bool add_assignment(struct arguments *a, char *text)
{
    char *eq = strchr(text, '=');

    if (eq == NULL || eq == text) {
        fprintf(stderr, "cairnd: --set %s: expected PATH=VALUE, as in node.workers=4\n", text);
        return false;
    }
    *eq = '\0';
    return add_setting(a, text, eq + 1, "--set");
}

/* A shell's relative path is one from here; the setting itself must be absolute, since a file is read from anywhere. */
static bool add_workspace(struct arguments *a, const char *path)
{
    char here[PATH_MAX];

    if (path[0] == '/' || path[0] == '\0')
        return add_setting(a, "workspace", path, "--workspace");
    if (getcwd(here, sizeof(here)) == NULL ||
        snprintf(a->workspace, sizeof(a->workspace), "%s/%s", here, path) >= (int)sizeof(a->workspace)) {
        fprintf(stderr, "cairnd: --workspace %s: the path from here is too long, or not to be found out\n", path);
        return false;
    }
    return add_setting(a, "workspace", a->workspace, "--workspace");
}

static bool add_listen(struct arguments *a, const char *address)
{
    size_t n = strlen(a->listen);
    int w = snprintf(a->listen + n, sizeof(a->listen) - n, "%s\"%s\"", n == 0 ? "[" : ", ", address);

    if (w < 0 || (size_t)w + 2 > sizeof(a->listen) - n) {
        fprintf(stderr, "cairnd: too many --listen\n");
        return false;
    }
    return true;
}

/* An option that was just taken, as it was written: in a unit's file an abbreviation would mean something else once
 * there is another option that begins so. */
static bool is_written_out(char *const *argv, const struct option *o)
{
    const char *text = argv[optind - 1];
    size_t n = strlen(o->name);

    if (o->has_arg == required_argument && text == optarg)
        text = argv[optind - 2];
    if (strncmp(text + 2, o->name, n) == 0 && (text[2 + n] == '\0' || text[2 + n] == '='))
        return true;
    fprintf(stderr, "cairnd: unknown option '%.*s', did you mean '--%s'?\n", (int)strcspn(text, "="), text, o->name);
    return false;
}

/* Returns -1 to go on, or an exit code. */
static int parse(struct arguments *a, int argc, char **argv)
{
    enum { CHECK_CONFIG = 256, PRINT_CONFIG, INSECURE, EXPORT, IMPORT, MOVE, MOVE_CHECK, SHOW, LOG };
    static const struct option longs[] = {
        { "config", required_argument, NULL, 'c' },
        { "data", required_argument, NULL, 'd' },
        { "workspace", required_argument, NULL, 'w' },
        { "listen", required_argument, NULL, 'l' },
        { "set", required_argument, NULL, 's' },
        { "insecure", no_argument, NULL, INSECURE },
        { "check-config", no_argument, NULL, CHECK_CONFIG },
        { "print-config", no_argument, NULL, PRINT_CONFIG },
        { "map-export", no_argument, NULL, EXPORT },
        { "map-import", required_argument, NULL, IMPORT },
        { "map-move", no_argument, NULL, MOVE },
        { "map-move-check", no_argument, NULL, MOVE_CHECK },
        { "map-show", no_argument, NULL, SHOW },
        { "map-log", no_argument, NULL, LOG },
        { "version", no_argument, NULL, 'V' },
        { "help", no_argument, NULL, 'h' },
        { NULL, 0, NULL, 0 },
    };
    bool good = true;
    int c, at = -1;

    while (good && (c = getopt_long(argc, argv, "c:d:w:l:s:Vh", longs, &at)) != -1) {
        good = at < 0 || c == '?' || is_written_out(argv, &longs[at]);
        at = -1;
        if (!good)
            break;
        switch (c) {
        case 'c':
            a->options.file = optarg;
            break;
        case 'd':
            good = add_setting(a, "node.data", optarg, "--data");
            break;
        case 'w':
            good = add_workspace(a, optarg);
            break;
        case 'l':
            good = add_listen(a, optarg);
            break;
        case 's':
            good = add_assignment(a, optarg);
            break;
        case INSECURE:
            good = add_setting(a, "auth.insecure", "true", "--insecure");
            break;
        case CHECK_CONFIG:
            a->action = CHECK;
            break;
        case PRINT_CONFIG:
            a->action = PRINT;
            break;
        case EXPORT:
            a->action = MAP_EXPORT;
            break;
        case IMPORT:
            a->action = MAP_IMPORT;
            a->document = optarg;
            break;
        case MOVE:
            a->action = MAP_MOVE;
            break;
        case MOVE_CHECK:
            a->action = MAP_MOVE_CHECK;
            break;
        case SHOW:
            a->action = MAP_SHOW;
            break;
        case LOG:
            a->action = MAP_LOG;
            break;
        case 'V':
            puts("cairnd " CAIRN_VERSION);
            return EXIT_FINE;
        case 'h':
            fputs(usage, stdout);
            return EXIT_FINE;
        default:
            good = false;
        }
    }
    if (good && optind < argc) {
        fprintf(stderr, "cairnd: unexpected argument '%s'\n", argv[optind]);
        good = false;
    }
    if (good && a->listen[0] != '\0') {
        strcat(a->listen, "]");
        good = add_setting(a, "listen", a->listen, "--listen");
    }
    if (!good) {
        fputs("Try 'cairnd --help'.\n", stderr);
        return EXIT_USAGE;
    }
    return -1;
}

/* Bulk transfers use libfabric, which takes these from the environment alone. They are set before any thread is there,
 * and only where the site has not chosen: one shared receive queue, no registration cache in a server (FACTS, "What
 * others set"). */
static void set_fabric_defaults(void)
{
    setenv("FI_OFI_RXM_USE_SRX", "1", 0);
    setenv("FI_MR_CACHE_MAX_COUNT", "0", 0);
}

/* The service manager's copy of the cluster key (LoadCredential=cluster.key:...) stands before what the file names; the
 * command line, which comes later, before both. */
static void use_credential(struct arguments *a)
{
    const char *dir = getenv("CREDENTIALS_DIRECTORY");

    if (dir != NULL && dir[0] == '/' &&
        snprintf(a->key_file, sizeof(a->key_file), "%s/cluster.key", dir) < (int)sizeof(a->key_file) &&
        access(a->key_file, F_OK) == 0)
        add_setting(a, "auth.key_file", a->key_file, "$CREDENTIALS_DIRECTORY");
}

/* Thousands of connections need descriptors; the soft limit is a shell's habit. */
static void raise_descriptor_limit(void)
{
    struct rlimit l;

    if (getrlimit(RLIMIT_NOFILE, &l) == 0 && l.rlim_cur < l.rlim_max) {
        l.rlim_cur = l.rlim_max;
        setrlimit(RLIMIT_NOFILE, &l);
    }
}

/* The recent moves of the worker's state machines tell more than a core file alone. Formatting them is more than a
 * signal handler may do, but the process is lost already; then the signal takes its course. */
static void on_crash(int sig)
{
    cairn_crash_tell();
    raise(sig); /* its action is the default again */
}

static void tell_of_crashes(void)
{
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) /* which tell more, and want the signals */
    static const int signals[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL };
    struct sigaction action = { .sa_handler = on_crash, .sa_flags = (int)SA_RESETHAND };

    for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
        sigaction(signals[i], &action, NULL);
#else
    (void)on_crash;
#endif
}

/* At once (stderr is not buffered): scripts look for this line, and others log meanwhile. */
static void say_ready(const struct cairn_server *server)
{
    char *line = NULL;
    size_t len = 0;
    FILE *to = open_memstream(&line, &len);

    if (to == NULL)
        return;
    fprintf(to, "cairnd: ready");
    for (uint32_t i = 0; cairn_server_address(server, i) != NULL; i++)
        fprintf(to, "%s %s", i > 0 ? "," : "", cairn_server_address(server, i));
    fputc('\n', to);
    if (fclose(to) == 0)
        fputs(line, stderr);
    free(line);
}

/* Each line of @text says whose it is: in a journal they stand among others. */
static void say_lines(const char *text)
{
    while (*text != '\0') {
        size_t n = strcspn(text, "\n");

        fprintf(stderr, "cairnd: %.*s\n", (int)n, text);
        text += n + (text[n] != '\0');
    }
}

static int run(const struct cairn_server_options *options, char *text)
{
    struct cairn_server *server;
    sigset_t set;
    int sig = 0, rc;

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &set, NULL); /* all threads inherit it; this one takes the signals */
    signal(SIGPIPE, SIG_IGN);
    tell_of_crashes();
    rc = cairn_server_start(options, &server, text, TEXT_BYTES);
    if (rc == CAIRN_E_SHUTDOWN) {
        fprintf(stderr, "cairnd: stopped before it had started\n");
        return EXIT_FINE;
    }
    if (rc != 0) {
        say_lines(text[0] != '\0' ? text : cairn_error_text(rc));
        if (rc == CAIRN_E_LOCKED)
            fputs(
                "cairnd: is a node running here already? `cairn status` asks it; a second one needs --data, "
                "--workspace and --listen of its own; `ss -lntup` names the process that has an address, and --listen "
                "with the port 0 takes one that is free\n",
                stderr);
        fprintf(stderr, "cairnd: not started (%s)\n", cairn_error_name(rc)); /* the hints are written for clients */
        return EXIT_FAILED;
    }
    say_ready(server);
    while (sig != SIGTERM && sig != SIGINT) {
        if (sigwait(&set, &sig) != 0)
            break;
    }
    fprintf(stderr, "cairnd: %s: draining\n", sig == SIGINT ? "SIGINT" : "SIGTERM");
    cairn_server_request_stop(server);
    while (cairn_server_wait(server, SIGNAL_POLL_MS) != CAIRN_OK) {
        const struct timespec none = { 0, 0 };
        int again = sigtimedwait(&set, NULL, &none);

        if (again == SIGTERM || again == SIGINT) { /* a stop like a kill: what was acknowledged is safe all the same */
            fprintf(stderr, "cairnd: a second signal: not waiting for what still runs\n");
            _exit(EXIT_FAILED);
        }
    }
    cairn_server_free(server);
    fprintf(stderr, "cairnd: stopped\n");
    return EXIT_FINE;
}

static int import(const struct cairn_server_options *options, const char *path, char *text)
{
    FILE *from = strcmp(path, "-") == 0 ? stdin : fopen(path, "re");
    int rc;

    if (from == NULL) {
        snprintf(text, TEXT_BYTES, "%s: %s", path, strerror(errno));
        return CAIRN_E_IO;
    }
    rc = cairn_server_map_import(options, from, text, TEXT_BYTES);
    if (from != stdin)
        fclose(from);
    return rc;
}

/* Otherwise the next socket would become standard error, and a client would be sent our messages. */
static void fill_standard_descriptors(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) < 0)
            _exit(EXIT_FAILED);
    }
}

int main(int argc, char **argv)
{
    static struct arguments a = { .options = CAIRN_SERVER_OPTIONS_INIT };
    static char text[TEXT_BYTES];
    int rc;

    fill_standard_descriptors();
    use_credential(&a);
    rc = parse(&a, argc, argv);
    if (rc >= 0)
        return rc;
    a.options.settings = a.settings;
    a.options.service = true;
    set_fabric_defaults();
    raise_descriptor_limit();
    switch (a.action) {
    case CHECK:
        rc = cairn_server_check(&a.options, text, sizeof(text));
        break;
    case PRINT:
        rc = cairn_server_print_config(&a.options, stdout, text, sizeof(text));
        break;
    case MAP_EXPORT:
        rc = cairn_server_map_export(&a.options, stdout, text, sizeof(text));
        break;
    case MAP_IMPORT:
        signal(SIGPIPE, SIG_IGN);
        rc = import(&a.options, a.document, text);
        break;
    case MAP_MOVE:
    case MAP_MOVE_CHECK:
        signal(SIGPIPE, SIG_IGN);
        rc = cairn_server_map_move(&a.options, a.action == MAP_MOVE_CHECK, stdout, text, sizeof(text));
        break;
    case MAP_SHOW:
        rc = cairn_server_map_show(&a.options, stdout, text, sizeof(text));
        break;
    case MAP_LOG:
        rc = cairn_server_map_log(&a.options, stdout, text, sizeof(text));
        break;
    case RUN:
        return run(&a.options, text);
    }
    if (rc != 0)
        fprintf(stderr, "%s\n", text);
    else if (a.action == CHECK)
        fprintf(stderr, "cairnd: the configuration is good\n");
    if (a.action == CHECK && rc == CAIRN_E_LOCKED) { /* by the node that the file is for, most of the time */
        fprintf(stderr, "cairnd: the configuration is good; what it names is in use\n");
        return EXIT_IN_USE;
    }
    if (a.action >= MAP_EXPORT && rc == CAIRN_E_LOCKED)
        return EXIT_IN_USE;
    if (a.action >= MAP_EXPORT && (rc == CAIRN_E_UNREACHABLE || rc == CAIRN_E_TIMEOUT))
        return EXIT_NO_STORE;
    if (a.action >= MAP_EXPORT && rc != 0 &&
        rc != CAIRN_E_CONFIG) /* it is the map, or the document, that is at fault */
        return EXIT_NOT_DONE;
    return rc == 0 ? EXIT_FINE : EXIT_FAILED;
}
