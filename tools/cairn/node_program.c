/* Running cairnd: see node_program.h. */
#include "tools/cairn/node_program.h"

#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    COMPLAINT_BYTES_MAX = 4096,
    CAIRND_NO_STORE = 4, /* what it exits with if the map's store does not answer; cairnd(8) */
    CAIRND_NOT_DONE = 5, /* if the map, or what is to be done with it, is at fault, and not the configuration */
};

static void program_path(char path[PATH_MAX])
{
    char self[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
    if (n > 0) {
        self[n] = '\0';
        if (snprintf(path, PATH_MAX, "%s/cairnd", dirname(self)) < PATH_MAX && access(path, X_OK) == 0)
            return;
    }
    snprintf(path, PATH_MAX, "cairnd");
}

int cli_node_program_start(struct cli *cli, struct cli_node_program *p, const char *const *argv, bool together)
{
    char path[PATH_MAX];
    int pipefd[2];
    program_path(path);
    p->complaints = together ? -1 : memfd_create("complaints", MFD_CLOEXEC);
    if ((!together && p->complaints < 0) || pipe(pipefd) != 0)
        return cli_fail(cli, CAIRN_E_LIMIT, strerror(errno), "starting %s", path);
    p->pid = fork();
    if (p->pid == 0) {
        dup2(pipefd[1], STDOUT_FILENO);
        dup2(together ? pipefd[1] : p->complaints, STDERR_FILENO);
        close(pipefd[0]);
        close(pipefd[1]);
        execvp(path, (char *const *)argv);
        fprintf(stderr, "%s: %s\n", path, strerror(errno));
        _exit(127);
    }
    close(pipefd[1]);
    p->out = fdopen(pipefd[0], "r");
    if (p->pid < 0 || p->out == NULL)
        return cli_fail(cli, CAIRN_E_LIMIT, strerror(errno), "starting %s", path);
    return CLI_OK;
}

int cli_node_program_end(struct cli_node_program *p)
{
    int status = 0;
    fclose(p->out);
    while (waitpid(p->pid, &status, 0) < 0 && errno == EINTR)
        ;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 255;
}

/* "2026-11-21T..." begins what the program logged for its operators; what it has to tell the one who asked does not. */
static bool is_log(const char *line)
{
    return strspn(line, "0123456789") == 4 && line[4] == '-';
}

/* Its lines as one text, and none that it only logged, unless there are no others. From malloc; NULL: no memory. */
static char *joined(char *lines)
{
    char *text = NULL, *rest = NULL, *last = "";
    size_t len = 0;
    FILE *to = open_memstream(&text, &len);
    if (to == NULL)
        return NULL;
    for (char *line = strtok_r(lines, "\n", &rest); line != NULL; line = strtok_r(NULL, "\n", &rest)) {
        last = line;
        if (!is_log(line))
            fprintf(to, "%s%s", ftell(to) > 0 ? "; " : "", line);
    }
    if (ftell(to) == 0)
        fputs(last, to);
    return fclose(to) == 0 ? text : NULL;
}

int cli_node_program_finish(struct cli *cli, struct cli_node_program *p, const char *what, const char *hint)
{
    char text[COMPLAINT_BYTES_MAX + 1];
    int status = cli_node_program_end(p);
    ssize_t n = pread(p->complaints, text, COMPLAINT_BYTES_MAX, 0);
    close(p->complaints);
    if (status == 0)
        return CLI_OK;
    text[n > 0 ? n : 0] = '\0';
    char *complaint = joined(text);
    if (status == CAIRND_NO_STORE && cli->hint == NULL)
        cli->hint =
            "is etcd running? map.endpoints of the configuration says where; --timeout, how long to wait for it";
    if (status == CAIRND_IN_USE && cli->hint == NULL)
        cli->hint = "stop the node (`systemctl stop cairnd@NAME`, or SIGTERM to cairnd), then give the command again";
    if (status == CAIRND_NOT_DONE && cli->hint == NULL)
        cli->hint = hint;
    int rc = status == CAIRND_NO_STORE   ? CAIRN_E_UNREACHABLE
             : status == CAIRND_IN_USE   ? CAIRN_E_LOCKED
             : status == CAIRND_NOT_DONE ? CAIRN_E_STATE
                                         : CAIRN_E_CONFIG;
    status = cli_fail(cli, rc, complaint, "%s", what);
    free(complaint);
    return status;
}
