/* cairn-ranks-mpi, cairn-ranks-pmix: a node in each rank of a job, and a command beside it. The nodes become one group,
 * the commands run, and once all have ended the nodes leave. What an application does that brings nodes of its own, and
 * what deploy/jobs/group-mpi and group-pmix start. */
#include "cairn/server.h"
#include "tools/ranks/launch.h"

#include <errno.h>
#include <execinfo.h>
#include <getopt.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static volatile sig_atomic_t command; /* pid, while it runs */
static volatile sig_atomic_t stopped; /* by which signal; 0: not */

struct args {
    const char *group, *config;
    uint32_t timeout_ms;
    char **command;
};

/* Which thread, of ours or of what the launcher brings, and where in it: a core file is rarely at hand after a job. */
static void on_crash(int sig)
{
    void *frames[64];
    char text[64], thread[16] = "";
    int n;

    pthread_getname_np(pthread_self(), thread, sizeof(thread));
    n = snprintf(text, sizeof(text), "cairn-ranks-%s: signal %d in thread %s\n", launch_name, sig, thread);
    if (write(STDERR_FILENO, text, (size_t)n) == n)
        backtrace_symbols_fd(frames, backtrace(frames, sizeof(frames) / sizeof(frames[0])), STDERR_FILENO);
    raise(sig); /* its action is the default again */
}

static void tell_of_crashes(void)
{
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) /* which tell more, and want the signals */
    static const int signals[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL };
    struct sigaction action = { .sa_handler = on_crash, .sa_flags = (int)SA_RESETHAND };
    void *frame;

    backtrace(&frame, 1); /* loads what it needs, which is not for a handler */
    for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
        sigaction(signals[i], &action, NULL);
#else
    (void)on_crash;
#endif
}

/* Whoever ends the job ends the command, and then the node leaves in order. */
static void on_signal(int sig)
{
    stopped = sig;
    if (command > 0)
        kill(command, sig);
}

static int usage(int rc)
{
    fprintf(rc == 0 ? stdout : stderr,
            "usage: cairn-ranks-%s [--group PROVIDER] [--timeout SECONDS] CONFIG COMMAND [ARGUMENT...]\n"
            "In each rank of a job: starts a node by CONFIG, joins it with those of the other ranks, and runs COMMAND, "
            "whose\n"
            "CAIRN_WORKSPACE leads to the node. When all ranks' commands have ended the nodes stop. Exits as COMMAND "
            "does.\n",
            launch_name);
    return rc;
}

/* 0, or what to exit with, negative for 0. */
static int parse(int argc, char **argv, struct args *a)
{
    static const struct option options[] = { { "group", required_argument, NULL, 'g' },
                                             { "timeout", required_argument, NULL, 't' },
                                             { "help", no_argument, NULL, 'h' },
                                             { NULL, 0, NULL, 0 } };
    unsigned long seconds = 1;
    char *end = NULL;
    int o;

    *a = (struct args){ .timeout_ms = 60000 };
    while ((o = getopt_long(argc, argv, "+", options, NULL)) != -1) {
        if (o == 'g')
            a->group = optarg;
        else if (o == 't')
            seconds = strtoul(optarg, &end, 10);
        else
            return o == 'h' ? (usage(0), -1) : usage(2);
        if (end != NULL && (*end != '\0' || seconds == 0 || seconds > UINT32_MAX / 1000))
            return usage(2);
        if (end != NULL)
            a->timeout_ms = (uint32_t)seconds * 1000;
    }
    if (argc - optind < 2)
        return usage(2);
    a->config = argv[optind];
    a->command = argv + optind + 1;
    return 0;
}

/* Our environment, with the way to the node. Ours stays as it is: threads of the launcher's library read it. malloc'ed;
 * @workspace holds one of its texts. NULL: no memory. */
static char **environment(char *workspace)
{
    size_t n = 0, at = 0;
    char **all;

    while (environ[n] != NULL)
        n++;
    all = calloc(n + 2, sizeof(*all));
    if (all == NULL)
        return NULL;
    for (size_t i = 0; i < n; i++) {
        if (strncmp(environ[i], "CAIRN_WORKSPACE=", 16) != 0 && strncmp(environ[i], "CAIRN_ADDRESSES=", 16) != 0)
            all[at++] = environ[i];
    }
    all[at] = workspace;
    return all;
}

static int run(const struct args *a, struct cairn_server *node)
{
    char workspace[4096], **env;
    pid_t pid;
    int rc, status = 0;

    if (stopped != 0)
        return 128 + stopped;
    snprintf(workspace, sizeof(workspace), "CAIRN_WORKSPACE=%s", cairn_server_workspace(node));
    env = environment(workspace);
    rc = env != NULL ? posix_spawnp(&pid, a->command[0], NULL, NULL, a->command, env) : ENOMEM;
    free(env);
    if (rc != 0) {
        fprintf(stderr, "cairn-ranks-%s: %s: %s\n", launch_name, a->command[0], strerror(rc));
        return 127;
    }
    command = pid;
    if (stopped != 0) /* meanwhile */
        kill(pid, stopped);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    command = 0;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static struct cairn_server *start(const struct args *a, int rank, struct cairn **c)
{
    struct cairn_server_options so = CAIRN_SERVER_OPTIONS_INIT;
    struct cairn_options co = CAIRN_OPTIONS_INIT;
    struct cairn_server *node = NULL;
    struct cairn_error_info error;
    char text[4096];

    *c = NULL;
    so.file = a->config;
    if (cairn_server_start(&so, &node, text, sizeof(text)) != 0) {
        fprintf(stderr, "cairn-ranks-%s: rank %d: %s\n", launch_name, rank, text);
        return NULL;
    }
    co.workspace = cairn_server_workspace(node);
    if (cairn_connect(&co, c, &error) != 0)
        fprintf(stderr, "cairn-ranks-%s: rank %d: %s\n", launch_name, rank, error.text);
    return node;
}

int main(int argc, char **argv)
{
    struct cairn_call_options o = CAIRN_CALL_OPTIONS_INIT;
    struct cairn_error_info error = { 0 };
    struct cairn_server *node;
    struct cairn *c;
    struct args a;
    int rank, rc, status = parse(argc, argv, &a);

    if (status != 0)
        return status < 0 ? 0 : status;
    tell_of_crashes();
    signal(SIGTERM, on_signal);
    signal(SIGINT, on_signal);
    rank = launch_begin(&argc, &argv);
    node = start(&a, rank, &c);
    o.timeout_ms = a.timeout_ms;
    o.error = &error;
    rc = launch_join(c, a.group, &o);
    if (rc == 0) {
        status = run(&a, node);
        launch_meet();
    } else {
        fprintf(stderr, "cairn-ranks-%s: rank %d: the group did not come together: %s\n", launch_name, rank,
                error.text);
        status = 1;
    }
    cairn_close(c);
    cairn_server_free(node);
    launch_end(rc);
    return status;
}
