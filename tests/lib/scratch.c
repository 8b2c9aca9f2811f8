/* One directory per process and place, and a child that waits for the end of that process to remove it: a failed
 * assertion, an abort or a kill runs no teardown. The child holds the reading end of a pipe whose writing end nobody
 * else has, and reads until it is closed. */
#include "tests/lib/scratch.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { BASE_MAX = 40 };

static char in_tmp[BASE_MAX], in_memory[BASE_MAX];
static unsigned made;

static void die(const char *what)
{
    fprintf(stderr, "scratch directory: %s: %s\n", what, strerror(errno));
    abort();
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    (void)st;
    (void)ftw;
    if (flag == FTW_DNR) /* a test took our right to read it */
        chmod(path, 0700);
    if (remove(path) != 0 && errno == EBUSY && umount2(path, MNT_DETACH) == 0) /* a test mounted something there */
        remove(path);
    return 0;
}

static void remove_all(const char *path)
{
    for (int i = 0; i < 2; i++) /* the second time it reads what the first could not */
        nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void guard(const char *base, int fd)
{
    char c;

    setsid(); /* what is sent to the test's group is not for us */
    for (int i = 0; i < 3; i++)
        dup2(fd, i); /* whoever reads the test's output must not wait for us */
    closefrom(3);
    while (read(0, &c, 1) > 0 || errno == EINTR)
        errno = 0;
    remove_all(base);
    _exit(0);
}

static void begin(char base[BASE_MAX], const char *parent)
{
    int fds[2], status;
    pid_t pid;

    snprintf(base, BASE_MAX, "%s/cairn-test-XXXXXX", parent);
    if (mkdtemp(base) == NULL)
        die(base);
    if (pipe2(fds, O_CLOEXEC) != 0)
        die("pipe");
    pid = fork();
    if (pid < 0)
        die("fork");
    if (pid == 0) { /* twice, so that the test's own waiting for children does not meet it */
        close(fds[1]);
        pid = fork();
        if (pid == 0)
            guard(base, fds[0]);
        _exit(pid < 0);
    }
    close(fds[0]);
    if (waitpid(pid, &status, 0) != pid || status != 0)
        die("fork");
}

static void new_in(char base[BASE_MAX], const char *parent, char dir[SCRATCH_MAX])
{
    if (base[0] == '\0')
        begin(base, parent);
    snprintf(dir, SCRATCH_MAX, "%s/%u", base, made++);
    if (mkdir(dir, 0700) != 0)
        die(dir);
}

void scratch_new(char dir[SCRATCH_MAX])
{
    new_in(in_tmp, "/tmp", dir);
}

void scratch_new_in_memory(char dir[SCRATCH_MAX])
{
    if (access("/dev/shm", W_OK) != 0)
        scratch_new(dir);
    else
        new_in(in_memory, "/dev/shm", dir);
}

void scratch_remove(const char *dir)
{
    remove_all(dir);
}
