/* The core on a real network: packets from and to the socket, sealed; its clock; the load of this node. */
#include "providers/group/group_internal.h"

#include "sdk/core/base/log.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

enum { NOTICE_NS = 1000000000, LOAD_NS_MIN = 2000000000 };

/* ---- addresses ---- */

bool group_addr_of(const struct cairn_addr *a, struct cairn_swim_addr *to)
{
    memset(to, 0, sizeof(*to));
    if (a->ss.ss_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)&a->ss;

        to->len = 4;
        to->port = ntohs(in->sin_port);
        memcpy(to->ip, &in->sin_addr, 4);
    } else if (a->ss.ss_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&a->ss;

        to->len = 16;
        to->port = ntohs(in6->sin6_port);
        memcpy(to->ip, &in6->sin6_addr, 16);
    }
    return to->len != 0;
}

static void socket_addr(const struct cairn_swim_addr *a, struct cairn_addr *to)
{
    memset(to, 0, sizeof(*to));
    if (a->len == 4) {
        struct sockaddr_in *in = (struct sockaddr_in *)&to->ss;

        in->sin_family = AF_INET;
        in->sin_port = htons(a->port);
        memcpy(&in->sin_addr, a->ip, 4);
        to->len = sizeof(*in);
    } else {
        struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&to->ss;

        in6->sin6_family = AF_INET6;
        in6->sin6_port = htons(a->port);
        memcpy(&in6->sin6_addr, a->ip, 16);
        to->len = sizeof(*in6);
    }
}

bool group_addr_parse(const char *text, struct cairn_swim_addr *to)
{
    char host[INET6_ADDRSTRLEN + 2], *end;
    const char *colon = strrchr(text, ':');
    size_t n = colon != NULL && strncmp(text, "udp://", 6) == 0 && colon > text + 6 ? (size_t)(colon - text) - 6 : 0;
    bool v6 = n > 2 && text[6] == '[' && colon[-1] == ']';
    unsigned long port;

    memset(to, 0, sizeof(*to));
    if (n == 0 || n >= sizeof(host) || colon[1] < '0' || colon[1] > '9')
        return false;
    memcpy(host, text + 6 + v6, n - 2 * v6);
    host[n - 2 * v6] = '\0';
    port = strtoul(colon + 1, &end, 10);
    if (*end != '\0' || port == 0 || port > UINT16_MAX || inet_pton(v6 ? AF_INET6 : AF_INET, host, to->ip) != 1)
        return false;
    to->port = (uint16_t)port;
    to->len = v6 ? 16 : 4;
    return true;
}

void group_addr_text(const struct cairn_swim_addr *a, char to[GROUP_ADDR_TEXT_MAX])
{
    char host[INET6_ADDRSTRLEN] = "?";

    inet_ntop(a->len == 4 ? AF_INET : AF_INET6, a->ip, host, sizeof(host));
    snprintf(to, GROUP_ADDR_TEXT_MAX, a->len == 4 ? "udp://%s:%u" : "udp://[%s]:%u", host, a->port);
}

void group_problem(struct group_provider *p, const char *fmt, ...)
{
    va_list ap;

    pthread_mutex_lock(&p->mutex);
    va_start(ap, fmt);
    vsnprintf(p->problem, sizeof(p->problem), fmt, ap);
    va_end(ap);
    pthread_mutex_unlock(&p->mutex);
}

/* ---- steps ---- */

static void send_sealed(struct group_provider *p, uint8_t flags, const struct cairn_swim_addr *to, const uint8_t *body,
                        size_t len)
{
    uint8_t bytes[GROUP_SEAL_BYTES + CAIRN_SWIM_PACKET_BYTES_MAX];
    struct cairn_addr addr;

    socket_addr(to, &addr);
    cairn_dgram_send(&p->dgram, &addr, bytes, group_seal_close(&p->seal, flags, body, len, bytes));
}

void group_input(struct group_provider *p, struct cairn_swim_in *in)
{
    struct cairn_swim_out *out = &p->out;
    uint32_t version = p->core.version;
    struct cairn_gossip_word heard;

    in->now_ms = cairn_env_now_ns(&p->loop->env) / CAIRN_NS_PER_MS;
    pthread_mutex_lock(&p->mutex);
    cairn_swim_step(&p->core, in, out);
    pthread_mutex_unlock(&p->mutex);
    for (uint32_t i = 0; i < out->nsends; i++)
        send_sealed(p, 0, &out->sends[i].to, out->sends[i].bytes, out->sends[i].len);
    if (out->wake_ms == UINT64_MAX)
        cairn_timer_stop(&p->loop->env, &p->timer);
    else if (cairn_timer_start(&p->loop->env, &p->timer, out->wake_ms * CAIRN_NS_PER_MS) != 0)
        cairn_log_error("group %s: no memory for a timer; the next packet goes on", p->group);
    group_tell_events(p);
    group_carrier_tell(p);
    heard = out->heard;
    if (p->core.version != version)
        group_watch_tell(p);
    if (heard.node != 0 && p->gossip != NULL)
        cairn_gossip_hear(p->gossip, &heard);
}

/* Of the workers' time, how much was used since the last time; measured with a probe's wake-up, since it needs none of
 * its own. */
static void measure_load(struct group_provider *p)
{
    uint64_t now = cairn_loop_now(p->loop), cpu, load;
    struct rusage use;

    if (now < p->load_ns + LOAD_NS_MIN || getrusage(RUSAGE_SELF, &use) != 0)
        return;
    cpu = (uint64_t)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) * CAIRN_NS_PER_S +
          (uint64_t)(use.ru_utime.tv_usec + use.ru_stime.tv_usec) * 1000;
    load = (cpu - p->load_cpu_ns) * 1000 / ((now - p->load_ns) * p->nworkers);
    if (p->load_ns != 0)
        group_input(p, &(struct cairn_swim_in){ .type = CAIRN_SWIM_LOAD, .load = (uint16_t)MIN(load, 1000u) });
    p->load_ns = now;
    p->load_cpu_ns = cpu;
}

static void on_timer(void *arg)
{
    struct group_provider *p = arg;

    group_input(p, &(struct cairn_swim_in){ .type = CAIRN_SWIM_TICK });
    measure_load(p);
}

/* A stranger is told once a second who we are, so that it can tell its people; it never answers that. */
static void tell_stranger(struct group_provider *p, const struct group_opened *o, const struct cairn_swim_addr *from)
{
    uint64_t now = cairn_loop_now(p->loop);

    if ((o->flags & GROUP_SEAL_NOTICE) != 0 || (p->notice_ns != 0 && now < p->notice_ns + NOTICE_NS))
        return;
    p->notice_ns = now;
    send_sealed(p, GROUP_SEAL_NOTICE, from, NULL, 0);
}

static void on_datagram(void *arg, const uint8_t *bytes, size_t len, const struct cairn_addr *addr)
{
    struct group_provider *p = arg;
    struct cairn_swim_in in = { .type = CAIRN_SWIM_PACKET };
    struct group_opened o;
    enum group_seal_result r = group_seal_open(&p->seal, bytes, len, &o);

    if (!group_addr_of(addr, &in.addr))
        return;
    atomic_fetch_add_explicit(&p->refused[r], 1, memory_order_relaxed); /* [GOOD] are those that were taken */
    if (r != GROUP_SEAL_GOOD) {
        group_tell_refused(p, r, &in.addr);
        if (r == GROUP_SEAL_FOREIGN || r == GROUP_SEAL_STRANGE)
            tell_stranger(p, &o, &in.addr);
        return;
    }
    if ((o.flags & GROUP_SEAL_NOTICE) != 0)
        return;
    in.from = o.sender;
    in.bytes = o.body;
    in.len = o.len;
    group_input(p, &in);
}

int group_net_run(struct group_provider *p, struct cairn_err *err)
{
    int rc;

    cairn_timer_init(&p->timer, on_timer, p);
    rc = cairn_dgram_start(&p->dgram, p->loop, on_datagram, p, err);
    if (rc == 0)
        group_input(p, &(struct cairn_swim_in){ .type = CAIRN_SWIM_TICK });
    if (rc == 0 && p->gossip != NULL && !p->observer) {
        group_addr_text(&p->self.addr, p->carrier.address);
        cairn_gossip_join(p->gossip, &p->carrier);
    }
    return rc;
}

void group_net_stop(struct group_provider *p)
{
    if (p->gossip != NULL)
        cairn_gossip_part(p->gossip, &p->carrier);
    cairn_timer_stop(&p->loop->env, &p->timer);
    cairn_dgram_close(&p->dgram);
    cairn_swim_fini(&p->core);
}
