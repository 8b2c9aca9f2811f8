/* The yardsticks that no package brings: what the bare machine does without any data service in between.
 *
 *   yard pingpong  --socket unix|tcp --bytes 64 --seconds S     two processes, blocking sockets; p50 of the round trip
 *   yard stream    --bytes 65536 --seconds S                    one process writes, another reads, over loopback TCP
 *   yard memcpy    --bytes 1048576 --seconds S                  between two warm buffers
 *   yard fdatasync --file PATH --bytes 1024 --seconds S         append, fdatasync, again
 *
 * Each prints one line of JSON. The child of the first two ends by itself when its socket closes. */
#include "bench.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SOCKET_BYTES_MAX = 16 << 20 };

/* A connected pair over loopback TCP: what socketpair() does not give. */
static void tcp_pair(int pair[2])
{
    struct sockaddr_in addr = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof(addr);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (listener < 0 || bind(listener, (struct sockaddr *)&addr, len) != 0 || listen(listener, 1) != 0 ||
        getsockname(listener, (struct sockaddr *)&addr, &len) != 0)
        bench_die("listen on loopback: %s", strerror(errno));
    pair[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (pair[0] < 0 || connect(pair[0], (struct sockaddr *)&addr, len) != 0)
        bench_die("connect over loopback: %s", strerror(errno));
    pair[1] = accept(listener, NULL, NULL);
    if (pair[1] < 0)
        bench_die("accept: %s", strerror(errno));
    close(listener);
    int on = 1;
    for (int i = 0; i < 2; i++) {
        if (setsockopt(pair[i], IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) != 0)
            bench_die("TCP_NODELAY: %s", strerror(errno));
    }
}

static void read_all(int fd, uint8_t *buf, size_t n)
{
    for (size_t got = 0; got < n;) {
        ssize_t rc = read(fd, buf + got, n - got);
        if (rc == 0 && got == 0)
            exit(0); /* the child's ordinary end */
        if (rc <= 0)
            bench_die("read: %s", rc == 0 ? "closed" : strerror(errno));
        got += (size_t)rc;
    }
}

static void write_all(int fd, const uint8_t *buf, size_t n)
{
    for (size_t put = 0; put < n;) {
        ssize_t rc = write(fd, buf + put, n - put);
        if (rc < 0)
            bench_die("write: %s", strerror(errno));
        put += (size_t)rc;
    }
}

/* Forks; the parent gets one end of a fresh connection and the child the other. Returns the child's pid, 0 in the
 * child. */
static pid_t fork_pair(const char *kind, int *fd)
{
    int pair[2];
    if (strcmp(kind, "tcp") == 0)
        tcp_pair(pair);
    else if (strcmp(kind, "unix") != 0)
        bench_die("--socket is unix or tcp, not '%s'", kind);
    else if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) != 0)
        bench_die("socketpair: %s", strerror(errno));
    pid_t pid = fork();
    if (pid < 0)
        bench_die("fork: %s", strerror(errno));
    *fd = pair[pid == 0];
    close(pair[pid != 0]);
    return pid;
}

static void wait_child(pid_t pid)
{
    int status = 0;
    if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status) || WEXITSTATUS(status) != 0)
        bench_die("the other process failed");
}

static void run_pingpong(void)
{
    const char *kind = bench_opt_str("socket", NULL);
    size_t n = bench_opt_u64("bytes", 64);
    uint64_t span = (uint64_t)(bench_opt_double("seconds", 1) * 1e9);
    bench_opt_done();
    static struct bench_hist hist;
    uint8_t *buf = bench_buffer(n, 1);
    int fd;
    pid_t pid = fork_pair(kind, &fd);
    if (pid == 0) {
        for (;;) {
            read_all(fd, buf, n);
            write_all(fd, buf, n);
        }
    }
    uint64_t start = bench_now_ns(), then = start, now;
    uint64_t warm = start + span / 5;
    do {
        write_all(fd, buf, n);
        read_all(fd, buf, n);
        now = bench_now_ns();
        if (now > warm)
            bench_hist_add(&hist, now - then);
        then = now;
    } while (now - warm < span || now < warm);
    close(fd);
    wait_child(pid);
    printf("{\"p50_us\": %.3f, \"p99_us\": %.3f, \"ops\": %llu}\n", bench_hist_ns(&hist, 0.5) / 1e3,
           bench_hist_ns(&hist, 0.99) / 1e3, (unsigned long long)hist.n);
}

/* The reader tells how much it got and how long that took, from its first byte to its last. */
static void run_stream(void)
{
    size_t n = bench_opt_u64("bytes", 65536);
    uint64_t span = (uint64_t)(bench_opt_double("seconds", 1) * 1e9);
    bench_opt_done();
    if (n == 0 || n > SOCKET_BYTES_MAX)
        bench_die("--bytes is out of range");
    uint8_t *buf = bench_buffer(n, 1);
    int fd;
    pid_t pid = fork_pair("tcp", &fd);
    if (pid == 0) {
        uint64_t start = bench_now_ns();
        while (bench_now_ns() - start < span + span / 5)
            write_all(fd, buf, n);
        _exit(0);
    }
    uint64_t start = bench_now_ns(), got = 0, from = 0, warm = start + span / 5, last = start;
    for (;;) {
        ssize_t rc = read(fd, buf, n);
        if (rc < 0)
            bench_die("read: %s", strerror(errno));
        if (rc == 0)
            break;
        last = bench_now_ns();
        if (last < warm)
            continue;
        if (from == 0)
            from = last; /* the bytes of this read arrived before the clock ran */
        else
            got += (uint64_t)rc;
    }
    wait_child(pid);
    if (got == 0 || last == from)
        bench_die("nothing arrived");
    printf("{\"bytes_per_s\": %.0f}\n", (double)got * 1e9 / (double)(last - from));
}

static void run_memcpy(void)
{
    size_t n = bench_opt_u64("bytes", 1 << 20);
    uint64_t span = (uint64_t)(bench_opt_double("seconds", 1) * 1e9);
    bench_opt_done();
    uint8_t *from = bench_buffer(n, 1), *to = bench_buffer(n, 2);
    uint64_t rounds = 0, start, now;
    for (int warm = 0; warm < 16; warm++)
        memcpy(to, from, n);
    start = bench_now_ns();
    do {
        for (int i = 0; i < 8; i++, rounds++) {
            memcpy(to, from, n);
            __asm__ volatile("" : : "r"(to), "r"(from) : "memory"); /* the copy must happen */
        }
        now = bench_now_ns();
    } while (now - start < span);
    printf("{\"bytes_per_s\": %.0f}\n", (double)rounds * (double)n * 1e9 / (double)(now - start));
}

static void run_fdatasync(void)
{
    const char *path = bench_opt_str("file", NULL);
    size_t n = bench_opt_u64("bytes", 1024);
    uint64_t span = (uint64_t)(bench_opt_double("seconds", 1) * 1e9);
    bench_opt_done();
    uint8_t *buf = bench_buffer(n, 1);
    static struct bench_hist hist;
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
    if (fd < 0)
        bench_die("%s: %s", path, strerror(errno));
    uint64_t start = 0, now = 0, then, ops = 0;
    do {
        then = now;
        write_all(fd, buf, n);
        if (fdatasync(fd) != 0)
            bench_die("fdatasync: %s", strerror(errno));
        now = bench_now_ns();
        if (start == 0) {
            start = now; /* the first one makes the file, too */
            continue;
        }
        bench_hist_add(&hist, now - then);
        ops++;
    } while (now - start < span);
    close(fd);
    unlink(path);
    printf("{\"ops_per_s\": %.1f, \"p50_us\": %.1f}\n", (double)ops * 1e9 / (double)(now - start),
           bench_hist_ns(&hist, 0.5) / 1e3);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*run)(void);
    } commands[] = {
        { "pingpong", run_pingpong }, { "stream", run_stream }, { "memcpy", run_memcpy }, { "fdatasync", run_fdatasync }
    };
    if (argc < 2)
        bench_die("usage: yard pingpong|stream|memcpy|fdatasync [--name value]...");
    bench_opt_init(argc - 2, argv + 2);
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        if (strcmp(argv[1], commands[i].name) == 0) {
            commands[i].run();
            return 0;
        }
    }
    bench_die("unknown yardstick '%s'", argv[1]);
}
