/* A bad link, for kernels without `tc netem`: what comes in at one interface leaves by the other, both ways, each
 * frame by itself late by DELAY and up to JITTER milliseconds, so that some overtake others, and TWICE of a thousand
 * two times.
 *
 *      packet_proxy INTERFACE INTERFACE DELAY JITTER TWICE    until stdin ends
 *
 * At the end it says what it did, since a link that is good after all would let every test pass: how many frames left
 * late by DELAY or more, how many after one that had come later, and how many were second copies.
 *
 * Both are ends of veth pairs without another listener. Frames keep the kernel's notes (PACKET_VNET_HDR): what has no
 * checksum yet, or is larger than a frame because the other end of the wire is a memory copy away, stays so. More
 * than QUEUE frames are not kept: the next ones are lost, as in any queue. */
#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <inttypes.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { QUEUE = 8192, FRAME_MAX = 70000 };

struct frame {
    uint64_t due_us, came_us, number; /* @number: as they came */
    unsigned to;
    bool is_copy; /* of one that has the same number */
    size_t len;
    unsigned char *bytes;
};

static struct frame queue[QUEUE]; /* a heap: the first is due first */
static unsigned nqueue;
static struct {
    uint64_t late, overtaken, twice, newest[2]; /* newest: the number of the youngest that has left, by where to */
} done;

static uint64_t now_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

/* Without jitter none overtakes another. */
static bool is_before(const struct frame *a, const struct frame *b)
{
    return a->due_us < b->due_us || (a->due_us == b->due_us && a->number < b->number);
}

static void swap(unsigned a, unsigned b)
{
    struct frame f = queue[a];

    queue[a] = queue[b];
    queue[b] = f;
}

static void push(struct frame f, const unsigned char *bytes)
{
    unsigned at = nqueue;

    f.bytes = nqueue < QUEUE ? malloc(f.len) : NULL;
    if (f.bytes == NULL)
        return;
    memcpy(f.bytes, bytes, f.len);
    queue[nqueue++] = f;
    for (; at > 0 && is_before(&queue[at], &queue[(at - 1) / 2]); at = (at - 1) / 2)
        swap(at, (at - 1) / 2);
}

static void pop(void)
{
    unsigned at = 0, least = 0;

    free(queue[0].bytes);
    queue[0] = queue[--nqueue];
    for (;; at = least) {
        for (unsigned child = 2 * at + 1; child <= 2 * at + 2; child++) {
            if (child < nqueue && is_before(&queue[child], &queue[least]))
                least = child;
        }
        if (least == at)
            return;
        swap(at, least);
    }
}

static int listen_at(const char *name)
{
    struct sockaddr_ll at = { .sll_family = AF_PACKET,
                              .sll_protocol = htons(ETH_P_ALL),
                              .sll_ifindex = (int)if_nametoindex(name) };
    int fd = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK, 0), one = 1, room = 8 << 20;

    if (at.sll_ifindex == 0)
        err(1, "%s", name);
    if (fd < 0 || setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, &one, sizeof(one)) != 0 ||
        setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &one, sizeof(one)) != 0 ||
        setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof(room)) != 0 ||
        bind(fd, (struct sockaddr *)&at, sizeof(at)) != 0)
        err(1, "a packet socket at %s", name);
    return fd;
}

/* How the first of the queue leaves. */
static void count(const struct frame *f, uint64_t now, uint64_t delay_us)
{
    uint64_t *newest = &done.newest[f->to];

    done.late += delay_us > 0 && now >= f->came_us + delay_us;
    done.overtaken += f->number < *newest;
    done.twice += f->is_copy;
    if (f->number > *newest)
        *newest = f->number;
}

int main(int argc, char **argv)
{
    static unsigned char bytes[FRAME_MAX];
    struct pollfd p[3] = { [2] = { .fd = 0, .events = POLLIN } };
    uint64_t delay_us, jitter_us, twice, number = 0;

    if (argc != 6)
        errx(2, "usage: packet_proxy INTERFACE INTERFACE DELAY JITTER TWICE");
    delay_us = strtoull(argv[3], NULL, 10) * 1000;
    jitter_us = strtoull(argv[4], NULL, 10) * 1000;
    twice = strtoull(argv[5], NULL, 10);
    for (int i = 0; i < 2; i++)
        p[i] = (struct pollfd){ .fd = listen_at(argv[1 + i]), .events = POLLIN };
    srand48((long)now_us());
    while (!(p[2].revents & (POLLIN | POLLHUP))) {
        uint64_t now = now_us();

        for (; nqueue > 0 && queue[0].due_us <= now; pop()) {
            if (send(p[queue[0].to].fd, queue[0].bytes, queue[0].len, 0) < 0 && errno == ENETDOWN)
                return 0; /* the network is being taken down */
            count(&queue[0], now, delay_us);
        }
        if (poll(p, 3, nqueue > 0 ? (int)((queue[0].due_us - now) / 1000 + 1) : -1) < 0)
            err(1, "poll");
        for (unsigned i = 0; i < 2; i++) {
            ssize_t n;

            while ((p[i].revents & POLLIN) && (n = recv(p[i].fd, bytes, sizeof(bytes), 0)) > 0) {
                struct frame f = { .came_us = now_us(), .number = ++number, .to = !i, .len = (size_t)n };

                for (int copies = (uint64_t)lrand48() % 1000 < twice ? 2 : 1; copies > 0; copies--, f.is_copy = true) {
                    f.due_us = f.came_us + delay_us + (uint64_t)(drand48() * (double)jitter_us);
                    push(f, bytes);
                }
            }
        }
    }
    printf("{\"late\": %" PRIu64 ", \"overtaken\": %" PRIu64 ", \"twice\": %" PRIu64 "}\n", done.late, done.overtaken,
           done.twice);
    return 0;
}
