/* The group of a cluster's own: a node whose map is shared has one, unless its configuration has any. So the death of a
 * node is found out in two seconds, and not when it has been silent for a lease; nobody has to say who the others are,
 * for the map does. It is a provider like any other, called "group"; more about it (a zone, another period) is said by
 * configuring one. */
#include "server/node/node.h"

#include "sdk/core/net/dgram.h"

#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MEMBERS_MAX = 16384, PORT_FIRST = 20000, PORTS = 12000, HOST_BYTES = 256, ADDRESS_BYTES = HOST_BYTES + 16 };

struct place {
    char listen[ADDRESS_BYTES], advertise[ADDRESS_BYTES]; /* advertise: "" if it is where we listen */
};

/* ---- where ---- */

/* "tcp://host:port" into its parts; an IPv6 address keeps its brackets. */
static bool split(const char *address, char host[HOST_BYTES], unsigned *port)
{
    const char *at = strstr(address, "://"), *colon = strrchr(address, ':');

    if (at == NULL || colon == NULL || colon < at + 3 || (size_t)(colon - at - 3) >= HOST_BYTES)
        return false;
    at += 3;
    memcpy(host, at, (size_t)(colon - at));
    host[colon - at] = '\0';
    *port = (unsigned)strtoul(colon + 1, NULL, 10);
    return host[0] != '\0';
}

static bool is_every(const char *host)
{
    return strcmp(host, "0.0.0.0") == 0 || strcmp(host, "[::]") == 0;
}

/* @host as a number, unless it is this machine's alone. */
static bool is_reached_by(const char *host, char to[HOST_BYTES])
{
    struct addrinfo want = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_DGRAM }, *found = NULL;
    struct cairn_addr a = { 0 };
    char text[NI_MAXHOST];
    bool ok = getaddrinfo(host, NULL, &want, &found) == 0;

    if (ok) {
        memcpy(&a.ss, found->ai_addr, found->ai_addrlen);
        a.len = found->ai_addrlen;
        ok = !cairn_addr_is_loopback(&a) &&
             getnameinfo(found->ai_addr, found->ai_addrlen, text, sizeof(text), NULL, 0, NI_NUMERICHOST) == 0;
        if (ok)
            snprintf(to, HOST_BYTES, found->ai_family == AF_INET6 ? "[%.200s]" : "%.200s", text);
        freeaddrinfo(found);
    }
    return ok;
}

/* The address from which packets to the map store would go. */
static bool is_towards(const char *endpoint, char to[HOST_BYTES])
{
    char host[HOST_BYTES], text[NI_MAXHOST], *plain;
    struct addrinfo want = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_DGRAM }, *found = NULL;
    struct sockaddr_storage ss;
    socklen_t len = sizeof(ss);
    unsigned port;
    bool ok = false;
    int fd;

    if (!split(endpoint, host, &port))
        return false;
    plain = host;
    if (host[0] == '[') {
        plain++;
        host[strlen(host) - 1] = '\0';
    }
    if (getaddrinfo(plain, "2379", &want, &found) != 0)
        return false;
    fd = socket(found->ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd >= 0) { /* nothing is sent */
        ok = connect(fd, found->ai_addr, found->ai_addrlen) == 0 &&
             getsockname(fd, (struct sockaddr *)&ss, &len) == 0 &&
             getnameinfo((struct sockaddr *)&ss, len, text, sizeof(text), NULL, 0, NI_NUMERICHOST) == 0;
        close(fd);
    }
    if (ok)
        snprintf(to, HOST_BYTES, found->ai_family == AF_INET6 ? "[%.200s]" : "%.200s", text);
    freeaddrinfo(found);
    return ok;
}

/* Who listens at every address says in its packets at which one others find it. */
static bool advertised(const struct cairn_node_conf *conf, char host[HOST_BYTES])
{
    char name[HOST_BYTES];
    unsigned port;

    if (conf->service.naddresses > 0)
        return split(conf->service.addresses[0], host, &port);
    if (gethostname(name, sizeof(name) - 1) == 0 && is_reached_by(name, host))
        return true;
    return conf->map.nendpoints > 0 && is_towards(conf->map.endpoints[0], host);
}

/* Whether nothing comes to @address from other machines. */
static bool is_here(const char *address)
{
    bool is_udp = strncmp(address, "udp://", 6) == 0;
    struct cairn_addr a;

    return (is_udp ? cairn_addr_parse_dgram : cairn_addr_parse)(address, &a, NULL) == 0 && cairn_addr_is_loopback(&a);
}

/* The first TCP address that other machines reach; if none is, the first; NULL if there is none. */
static const char *tcp_address(const struct cairn_node_conf *conf)
{
    const char *first = NULL;

    for (uint32_t i = 0; i < conf->nlisten; i++) {
        if (strncmp(conf->listen[i], "tcp://", 6) != 0)
            continue;
        if (!is_here(conf->listen[i]))
            return conf->listen[i];
        first = first != NULL ? first : conf->listen[i];
    }
    return first;
}

/* Where all is on one machine that is as it should be; and there the map store is, too. */
static void warn_if_here(const struct cairn_node_conf *conf, const char *listen)
{
    char host[HOST_BYTES], here[ADDRESS_BYTES];

    if (!is_here(listen) || conf->map.nendpoints == 0 || !is_towards(conf->map.endpoints[0], host))
        return;
    snprintf(here, sizeof(here), "udp://%s:1", host); /* whichever port */
    if (!is_here(here))
        cairn_log_warn("no other machine reaches this node's group at %s, so its death is found out by silence alone: "
                       "add an address of this machine to listen, or configure a provider of type group",
                       listen);
}

static bool is_free(const char *address, struct cairn_err *err)
{
    struct cairn_dgram socket;
    struct cairn_addr a;
    int rc = cairn_addr_parse_dgram(address, &a, err);

    if (rc == 0)
        rc = cairn_dgram_open(&socket, &a, err);
    if (rc == 0)
        cairn_dgram_close(&socket);
    return rc == 0;
}

/* Beside a TCP address, at the same port; where any would do, one that is the same after a restart: others know
 * the node there, and need not find out first that its former self is dead. */
static bool find_place(const struct cairn_server *s, struct place *p, struct cairn_err *err)
{
    char host[HOST_BYTES] = "127.0.0.1", other[HOST_BYTES];
    const char *beside = tcp_address(&s->conf);
    unsigned port = 0;

    if (beside != NULL && !split(beside, host, &port))
        return false;
    if (port == 0)
        port = PORT_FIRST + (unsigned)(s->data.node_id % PORTS);
    snprintf(p->listen, sizeof(p->listen), "udp://%s:%u", host, port);
    if (!is_free(p->listen, err)) {
        if (err->code != CAIRN_E_LOCKED)
            return false;
        port = 0;
        snprintf(p->listen, sizeof(p->listen), "udp://%s:0", host);
    }
    p->advertise[0] = '\0';
    if (!is_every(host) && s->conf.service.naddresses == 0)
        return true;
    if (port == 0 || !advertised(&s->conf, other)) {
        cairn_err_set(err, CAIRN_E_NOTFOUND, "at which address others reach %s is not known", p->listen);
        return false;
    }
    if (snprintf(p->advertise, sizeof(p->advertise), "udp://%s:%u", other, port) >= (int)sizeof(p->advertise)) {
        cairn_err_set(err, CAIRN_E_INVAL, "the name %.80s... at which others reach this node is too long", other);
        return false;
    }
    return cairn_addr_parse_dgram(p->advertise, &(struct cairn_addr){ .len = 0 }, err) == 0;
}

/* ---- what ---- */

static const struct cairn_provider_desc *group_desc(void)
{
    for (uint32_t i = 0; cairn_provider_list[i] != NULL; i++) {
        if (strcmp(cairn_provider_list[i]->type, "group") == 0)
            return cairn_provider_list[i];
    }
    return NULL;
}

static bool is_configured(const struct cairn_node_conf *conf)
{
    for (uint32_t i = 0; i < conf->nproviders; i++) {
        if (strcmp(conf->provider_descs[i]->type, "group") == 0)
            return true;
    }
    return false;
}

static const char *free_name(const struct cairn_node_conf *conf)
{
    for (uint32_t i = 0; i < conf->nproviders; i++) {
        if (strcmp(cairn_conf_str(conf->providers[i], "name"), "group") == 0)
            return "cluster-group";
    }
    return "group";
}

/* A section as the file would have it: what every provider has, and the group's own. */
static int make_keys(struct cairn_node_group *g, const struct cairn_provider_desc *desc)
{
    uint32_t n = 0;

    while (desc->schema[n].name != NULL)
        n++;
    g->keys = calloc(n + 3, sizeof(*g->keys));
    if (g->keys == NULL)
        return CAIRN_E_NOMEM;
    g->keys[0] = (struct cairn_conf_key){ .name = "type", .type = CAIRN_CONF_STRING, .help = "as of any provider" };
    g->keys[1] = (struct cairn_conf_key){ .name = "name", .type = CAIRN_CONF_STRING, .help = "likewise" };
    memcpy(g->keys + 2, desc->schema, n * sizeof(*g->keys));
    g->schema = (struct cairn_conf_schema){ .keys = g->keys };
    return 0;
}

const char *cairn_node__default_group(const struct cairn_node_conf *conf)
{
    bool has_one = is_configured(conf) || conf->nproviders == CAIRN_NODE_PROVIDERS_MAX;

    return conf->map_etcd && group_desc() != NULL && !has_one ? free_name(conf) : NULL;
}

int cairn_node__add_group(struct cairn_server *s, struct cairn_err *err)
{
    const struct cairn_provider_desc *desc = group_desc();
    struct cairn_node_conf *conf = &s->conf;
    const char *name = cairn_node__default_group(conf);
    char text[3 * ADDRESS_BYTES];
    struct cairn_conf_input in = { .text = text, .text_name = "the cluster's group" };
    struct place place;
    struct cairn_err why = { 0 };
    int rc;

    if (name == NULL)
        return 0;
    if (!find_place(s, &place, &why)) {
        cairn_log_warn("this node has no group, and its death is found out by silence alone: %s; configure a provider "
                       "of type group",
                       why.text);
        return 0;
    }
    warn_if_here(conf, place.listen);
    in.text_len = (size_t)snprintf(text, sizeof(text),
                                   "{type: group, name: %s, group: cluster, listen: '%s', advertise: '%s', "
                                   "members: %d}",
                                   name, place.listen, place.advertise, MEMBERS_MAX);
    rc = make_keys(&s->group, desc);
    if (rc == 0)
        rc = cairn_conf_read(&s->group.schema, &in, &s->group.doc, err);
    if (rc != 0)
        return cairn_err_wrap(err, rc, "the cluster's group");
    conf->providers[conf->nproviders] = cairn_conf_root(s->group.doc);
    conf->provider_descs[conf->nproviders++] = desc;
    return 0;
}

void cairn_node__free_group(struct cairn_server *s)
{
    cairn_conf_free(s->group.doc);
    free(s->group.keys);
}
