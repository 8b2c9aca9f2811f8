/** The progress line, drawn by a thread of its own so that nothing it reports on waits for a slow terminal. */
#include "tools/cairn/progress.h"

#include <inttypes.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

enum { LINE_EVERY_MS = 200, JSON_EVERY_MS = 1000 };

bool cli_progress_is_shown(const struct cli *cli)
{
    return !cli->g.quiet && (cli->g.json || cli->err_tty);
}

/* Bytes and files both cost time: the slower of the two says when it ends. */
static double part(double files, double files_total, double bytes, double bytes_total)
{
    double share = 1;
    if (bytes_total > 0)
        share = MIN(share, bytes / bytes_total);
    if (files_total > 0)
        share = MIN(share, files / files_total);
    return share;
}

void cli_progress_line(const struct cli_progress *p, uint64_t now_ns, char *buf, size_t room)
{
    char files[CLI_UNIT_BYTES + 8], total[CLI_UNIT_BYTES + 8], bytes[CLI_UNIT_BYTES], rate[CLI_UNIT_BYTES];
    char left[CLI_UNIT_BYTES];
    const uint64_t skipped_n = p->skipped_files, skipped = p->skipped_bytes;
    uint64_t ns = now_ns - p->began_ns, done = p->bytes, n = p->files;
    cli_count(files, n);
    cli_size(bytes, done);
    cli_rate(rate, done - skipped, ns);
    if (!p->totals_known) {
        snprintf(buf, room, "%s  %s files  %s  %s", p->verb, files, bytes, rate);
        return;
    }
    cli_count(total, p->files_total);
    double share = part((double)n, (double)p->files_total, (double)done, (double)p->bytes_total);
    snprintf(buf, room, "%s  %s of %s files  %s  %s  %3.0f %%", p->verb, files, total, bytes, rate, 100 * share);
    share = part((double)(n - skipped_n), (double)p->files_total - (double)skipped_n, (double)(done - skipped),
                 (double)p->bytes_total - (double)skipped);
    if (share > 0.001 && ns > CAIRN_NS_PER_S) {
        size_t at = strlen(buf);
        uint64_t rest = (uint64_t)((double)ns * (1 - share) / share);
        snprintf(buf + at, room - at, "  %s left", cli_duration(left, rest));
    }
}

static void draw(struct cli_progress *p)
{
    FILE *to = p->cli->err;
    uint64_t now = cli_now_ns();
    if (p->cli->g.json) {
        uint64_t ms = (now - p->began_ns) / CAIRN_NS_PER_MS, skipped = p->skipped_bytes;
        fprintf(to, "{\"version\":%d,\"progress\":{\"command\":\"%s\",\"files\":%" PRIu64 ",\"bytes\":%" PRIu64,
                CLI_JSON_VERSION, p->verb, p->files, p->bytes);
        if (p->totals_known)
            fprintf(to, ",\"files_total\":%" PRIu64 ",\"bytes_total\":%" PRIu64, p->files_total, p->bytes_total);
        fprintf(to, ",\"elapsed_ms\":%" PRIu64 ",\"bytes_per_s\":%.0f}}\n", ms,
                ms > 0 ? (double)(p->bytes - skipped) * 1000 / (double)ms : 0.0);
    } else {
        struct winsize w;
        char line[256];
        cli_progress_line(p, now, line, sizeof(line));
        if (ioctl(fileno(to), TIOCGWINSZ, &w) == 0 && w.ws_col > 1 && w.ws_col < sizeof(line))
            line[w.ws_col - 1] = '\0'; /* a wrapped line could not be drawn over */
        fprintf(to, "\r%s\033[K", line);
    }
    fflush(to);
}

static void *progress_main(void *arg)
{
    struct cli_progress *p = arg;
    const uint64_t every = (p->cli->g.json ? JSON_EVERY_MS : LINE_EVERY_MS) * CAIRN_NS_PER_MS;
    pthread_mutex_lock(&p->lock);
    while (!p->over) {
        uint64_t at = cli_now_ns() + every;
        struct timespec ts = { (time_t)(at / CAIRN_NS_PER_S), (long)(at % CAIRN_NS_PER_S) };
        while (!p->over && pthread_cond_timedwait(&p->wake, &p->lock, &ts) == 0)
            ;
        if (!p->over)
            draw(p);
    }
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

void cli_progress_start(struct cli_progress *p, struct cli *cli, const char *verb)
{
    memset(p, 0, sizeof(*p));
    p->cli = cli;
    p->verb = verb;
    p->began_ns = cli_now_ns();
    p->shown = cli_progress_is_shown(cli);
    if (!p->shown)
        return;
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->wake, &attr);
    pthread_condattr_destroy(&attr);
    p->running = pthread_create(&p->thread, NULL, progress_main, p) == 0;
}

uint64_t cli_progress_stop(struct cli_progress *p)
{
    uint64_t ns = cli_now_ns() - p->began_ns;
    if (!p->shown)
        return ns;
    pthread_mutex_lock(&p->lock);
    p->over = true;
    pthread_cond_signal(&p->wake);
    pthread_mutex_unlock(&p->lock);
    if (p->running)
        pthread_join(p->thread, NULL);
    pthread_cond_destroy(&p->wake);
    pthread_mutex_destroy(&p->lock);
    if (p->cli->g.json)
        draw(p); /* the last one has the final figures */
    else
        fputs("\r\033[K", p->cli->err);
    fflush(p->cli->err);
    p->shown = false;
    return ns;
}
