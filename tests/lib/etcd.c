/* A real etcd: see etcd.h. */
#include "tests/lib/etcd.h"

#include "server/cluster/map_http.h"
#include "tests/lib/forward.h"
#include "tests/lib/patience.h"
#include "tests/lib/scratch.h"
#include "tests/lib/skip.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { START_MS = 100000 };

struct etcd_server {
    struct cairn_loop loop;
    struct cairn_map_http *http;
    char dir[SCRATCH_MAX], data[80], log[80], client[64], peer[64], members[80];
    const char *tls_dir;
    uint16_t port;
    pid_t pid;
};

static void give_up(const struct etcd_server *s, const char *what)
{
    fprintf(stderr, "etcd: %s; its log is %s\n", what, s->log);
    abort();
}

bool etcd_is_there(void)
{
    if (access("/usr/bin/etcd", X_OK) != 0) {
        skip_say("etcd is not installed");
        return false;
    }
    signal(SIGPIPE, SIG_IGN);
    return true;
}

static void run(const struct etcd_server *s)
{
    char cert[160], key[160], ca[160];
    const char *argv[32] = { "etcd",
                             "--name=m",
                             "--data-dir",
                             s->data,
                             "--listen-client-urls",
                             s->client,
                             "--advertise-client-urls",
                             s->client,
                             "--listen-peer-urls",
                             s->peer,
                             "--initial-advertise-peer-urls",
                             s->peer,
                             "--initial-cluster",
                             s->members,
                             "--logger=zap",
                             "--log-level=warn" };
    int n = 16, log = open(s->log, O_WRONLY | O_CREAT | O_APPEND, 0600);

    if (s->tls_dir != NULL) {
        snprintf(cert, sizeof(cert), "--cert-file=%s/server.pem", s->tls_dir);
        snprintf(key, sizeof(key), "--key-file=%s/server.key", s->tls_dir);
        snprintf(ca, sizeof(ca), "--trusted-ca-file=%s/ca.pem", s->tls_dir);
        argv[n++] = cert;
        argv[n++] = key;
        argv[n++] = ca;
        argv[n++] = "--client-cert-auth";
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    dup2(log, 1);
    dup2(log, 2);
    execv("/usr/bin/etcd", (char **)argv);
    _exit(127);
}

static bool connects(const struct etcd_server *s)
{
    struct sockaddr_in sin = { .sin_family = AF_INET,
                               .sin_port = htons(s->port),
                               .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool fine = connect(fd, (struct sockaddr *)&sin, sizeof(sin)) == 0;

    close(fd);
    return fine;
}

void etcd_start(struct etcd_server *s)
{
    char *answer = NULL;

    s->pid = fork();
    if (s->pid == 0)
        run(s);
    for (int ms = 0; ms < START_MS && answer == NULL; ms += 20) {
        if (waitpid(s->pid, NULL, WNOHANG) != 0)
            give_up(s, "has ended");
        usleep(20000);
        if (connects(s))
            answer = s->tls_dir != NULL ? strdup("") : etcd_post(s, "kv/range", "{\"key\":\"AA==\"}");
    }
    if (answer == NULL)
        give_up(s, "does not serve");
    free(answer);
}

void etcd_kill(struct etcd_server *s)
{
    kill(s->pid, SIGKILL);
    waitpid(s->pid, NULL, 0);
}

struct etcd_server *etcd_new(const char *tls_dir)
{
    struct etcd_server *s = calloc(1, sizeof(*s));
    struct cairn_map_http_conf conf = { 0 };
    const char *scheme = tls_dir != NULL ? "https" : "http";

    if (s == NULL || cairn_loop_init(&s->loop, NULL, NULL) != 0)
        abort();
    s->http = cairn_map_http_new(&s->loop, &conf, NULL);
    s->tls_dir = tls_dir;
    s->port = forward_free_port();
    if (s->http == NULL)
        abort();
    scratch_new(s->dir);
    snprintf(s->data, sizeof(s->data), "%s/data", s->dir);
    snprintf(s->log, sizeof(s->log), "%s/log", s->dir);
    mkdir(s->data, 0700);
    snprintf(s->client, sizeof(s->client), "%s://127.0.0.1:%u", scheme, s->port);
    snprintf(s->peer, sizeof(s->peer), "http://127.0.0.1:%u", forward_free_port());
    snprintf(s->members, sizeof(s->members), "m=%s", s->peer);
    etcd_start(s);
    return s;
}

void etcd_free(struct etcd_server *s)
{
    etcd_kill(s);
    scratch_remove(s->dir);
    cairn_map_http_free(s->http);
    cairn_loop_fini(&s->loop);
    free(s);
}

uint16_t etcd_port(const struct etcd_server *s)
{
    return s->port;
}

static void on_answer(struct cairn_map_http_req *rq)
{
    *(bool *)rq->arg = true;
}

char *etcd_post(struct etcd_server *s, const char *path, const char *json)
{
    bool done = false;
    char url[128], *body = strdup(json), *answer = NULL;
    struct cairn_map_http_req rq = { .url = url,
                                     .body = body,
                                     .body_len = strlen(json),
                                     .timeout_ms = PATIENCE_S * 1000,
                                     .done = on_answer,
                                     .arg = &done };

    snprintf(url, sizeof(url), "http://127.0.0.1:%u/v3/%s", s->port, path);
    if (cairn_map_http_start(s->http, &rq) != 0)
        abort();
    while (!done)
        cairn_loop_turn(&s->loop, UINT64_MAX);
    if (rq.rc == 0)
        answer = strdup(rq.reply != NULL ? rq.reply : "");
    cairn_map_http_clear(&rq);
    free(body);
    return answer;
}

void etcd_compact(struct etcd_server *s)
{
    char *answer = etcd_post(s, "kv/range", "{\"key\":\"AA==\"}"), text[128];
    json_t *o = json_loads(answer != NULL ? answer : "{}", 0, NULL);
    const char *revision = json_string_value(json_object_get(json_object_get(o, "header"), "revision"));

    if (revision == NULL)
        give_up(s, "tells no revision");
    snprintf(text, sizeof(text), "{\"revision\":\"%s\",\"physical\":true}", revision);
    json_decref(o);
    free(answer);
    answer = etcd_post(s, "kv/compaction", text);
    if (answer == NULL || strstr(answer, "error") != NULL)
        give_up(s, "does not compact");
    free(answer);
}
