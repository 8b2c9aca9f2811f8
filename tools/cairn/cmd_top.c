/** cairn top: what a node, or all nodes of its cluster, do right now. */
#include "tools/cairn/commands.h"
#include "tools/cairn/top.h"

#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

struct top_args {
    bool once;
};

static volatile sig_atomic_t asked_to_end;

static void on_signal(int sig)
{
    asked_to_end = sig;
}

/* ---- the terminal ---- */

struct screen {
    struct termios before;
    bool keys; /* standard input is a terminal, and gives us single keys */
    struct sigaction ours, old[3];
};

static const int ending[] = { SIGINT, SIGTERM, SIGHUP };

static void screen_begin(struct screen *s)
{
    s->keys = isatty(STDIN_FILENO) && tcgetattr(STDIN_FILENO, &s->before) == 0;
    if (s->keys) {
        struct termios raw = s->before;
        raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
        raw.c_cc[VSUSP] = _POSIX_VDISABLE; /* stopped, it would leave a terminal without a cursor */
        tcsetattr(STDIN_FILENO, TCSANOW, &raw);
    }
    memset(&s->ours, 0, sizeof(s->ours));
    s->ours.sa_handler = on_signal;
    for (size_t i = 0; i < ARRAY_SIZE(ending); i++)
        sigaction(ending[i], &s->ours, &s->old[i]);
    fputs("\033[?1049h\033[?25l", stdout); /* a screen of its own, without a cursor */
    fflush(stdout);
}

static void screen_end(struct screen *s)
{
    fputs("\033[?25h\033[?1049l", stdout);
    fflush(stdout);
    if (s->keys)
        tcsetattr(STDIN_FILENO, TCSANOW, &s->before);
    for (size_t i = 0; i < ARRAY_SIZE(ending); i++)
        sigaction(ending[i], &s->old[i], NULL);
}

/* Line over line in one write, and only behind each line's end is anything cleared: so nothing flickers. */
static void screen_show(struct cli *cli, const json_t *report)
{
    struct winsize w = { .ws_row = 24, .ws_col = 80 };
    char *text = NULL;
    size_t len = 0;
    FILE *f = open_memstream(&text, &len);
    if (f == NULL)
        return;
    ioctl(STDOUT_FILENO, TIOCGWINSZ, &w);
    top_draw(cli, report, w.ws_col, w.ws_row > 1 ? w.ws_row - 1U : 1, f);
    fclose(f);
    fputs("\033[H", stdout);
    for (char *at = text; at < text + len;) {
        char *end = memchr(at, '\n', (size_t)(text + len - at));
        fwrite(at, 1, (size_t)(end - at), stdout);
        fputs("\033[K\r\n", stdout);
        at = end + 1;
    }
    fputs("\033[J", stdout);
    fflush(stdout);
    free(text);
}

/* Until the next turn, or until somebody wants to leave. */
static bool screen_wait(const struct screen *s, uint64_t until_ns)
{
    while (asked_to_end == 0) {
        uint64_t now = cli_now_ns();
        struct pollfd p = { .fd = STDIN_FILENO, .events = POLLIN };
        char key;
        if (now >= until_ns)
            return true;
        int n = poll(&p, s->keys ? 1 : 0, (int)((until_ns - now) / CAIRN_NS_PER_MS) + 1);
        if (n > 0 && (read(STDIN_FILENO, &key, 1) != 1 || key == 'q' || key == 'Q'))
            return false;
    }
    return false;
}

/* Until all that will answer have done so @times times, at most @ms. */
static void wait_for_answers(struct top *t, uint32_t times, uint64_t ms)
{
    const struct timespec pause = { .tv_nsec = 20 * (long)CAIRN_NS_PER_MS };
    uint64_t until = cli_now_ns() + ms * CAIRN_NS_PER_MS;
    while (!top_is_complete(t, times) && cli_now_ns() < until)
        nanosleep(&pause, NULL);
}

static int top_live(struct cli *cli, struct top *t)
{
    struct screen s;
    wait_for_answers(t, 1, TOP_INTERVAL_MS / 4); /* so that the first screen has something to show */
    uint64_t next = cli_now_ns();
    asked_to_end = 0;
    screen_begin(&s);
    do {
        json_t *report = top_report(t);
        screen_show(cli, report);
        json_decref(report);
        /* What is still missing is shown as soon as it is there. */
        next += (top_is_complete(t, 2) ? TOP_INTERVAL_MS : TOP_INTERVAL_MS / 4) * CAIRN_NS_PER_MS;
        next = MAX(next, cli_now_ns());
        if (!screen_wait(&s, next))
            break;
        top_look(t);
    } while (asked_to_end == 0);
    screen_end(&s);
    return CLI_OK;
}

/* ---- once ---- */

static int top_once(struct cli *cli, struct top *t)
{
    wait_for_answers(t, 2, TOP_INTERVAL_MS + 3 * TOP_ANSWER_MS);
    json_t *report = top_report(t);
    int status = CLI_OK;
    if (cli->g.json)
        status = cli_json(cli, json_incref(report));
    else
        top_draw(cli, report, cli->width, 0, cli->out);
    json_decref(report);
    return status;
}

static int top_run(struct cli *cli, void *args)
{
    const struct top_args *a = args;
    int status = cli_connect(cli);
    if (status != CLI_OK)
        return status;
    struct top *t = top_new(cli);
    if (t == NULL)
        return cli_fail(cli, CAIRN_E_NOMEM, NULL, "top");
    status = a->once || cli->g.json || !cli->out_tty ? top_once(cli, t) : top_live(cli, t);
    top_free(t);
    return status;
}

static const struct cli_opt top_opts[] = {
    CLI_OPT(struct top_args, once, "once", '1', CLI_FLAG, NULL, NULL, "show one second of it, and end"),
    CLI_OPT_END,
};

const struct cli_command cli_top = {
    .name = "top",
    .operands = "",
    .summary = "show what nodes do right now, again each second",
    .text =
        "In a cluster all nodes are shown that the coordinator knows (64 of them are asked), otherwise the one "
        "that is asked: requests of clients, their failures and bytes per second, slots that they lead and hold; "
        "below, what is asked of all of them, by provider and method, the busiest first, whoever asks: one put of "
        "a client is a request of the router, and by it one of a provider. All of it, MEAN and P99 too, is of the time "
        "between the last two looks; only the first screen is an average since the nodes started, and says so. "
        "A node that takes longer than a second is shown without an "
        "answer, and delays nothing. What this command itself asks is left out. q ends it. Where standard output "
        "is no terminal, and with --json, it shows one second and ends.",
    .opts = top_opts,
    .args_size = sizeof(struct top_args),
    .examples = (const struct cli_example[]){ { "cairn top", "until q is pressed" },
                                              { "cairn top --json | jq '.methods[0].p99_ns'",
                                                "how slow is the busiest method, just now?" },
                                              { NULL, NULL } },
    .run = top_run,
    .group = "The node",
};
