/* Who we are, as other nodes are told, and who coordinates: see service_internal.h. */
#include "server/cluster/service/cluster_home.h"

#include <stdio.h>
#include <unistd.h>

/* "tcp://0.0.0.0:7000" is where we listen, and nothing that others could use: they need the host's name. */
static const char *reachable(const char *address, struct cairn_arena *a)
{
    static const char *const every[] = { "tcp://0.0.0.0:", "tcp://[::]:" };
    char host[256] = "localhost", *text;

    for (size_t i = 0; i < ARRAY_SIZE(every); i++) {
        size_t n = strlen(every[i]);

        if (strncmp(address, every[i], n) != 0)
            continue;
        (void)gethostname(host, sizeof(host) - 1);
        text = cairn_arena_alloc(a, CAIRN_MEMBER_ADDRESS_BYTES_MAX);
        if (text == NULL || (size_t)snprintf(text, CAIRN_MEMBER_ADDRESS_BYTES_MAX, "tcp://%s:%s", host, address + n) >=
                                CAIRN_MEMBER_ADDRESS_BYTES_MAX)
            return NULL;
        return text;
    }
    return strlen(address) < CAIRN_MEMBER_ADDRESS_BYTES_MAX ? address : NULL;
}

/* Those over TCP first; unix sockets are of use to those who are on the same machine, which @host tells them. */
static void add_addresses(struct cairn_cluster *c, bool tcp, struct cairn_arena *a, struct cairn_wire_member *m)
{
    const struct cairn_provider_node *n = c->env->node;

    for (uint32_t i = 0; i < *n->naddresses && m->naddresses < CAIRN_WIRE_ADDRESSES_MAX; i++) {
        const char *text;

        if ((strncmp(n->addresses[i], "tcp://", 6) == 0) != tcp)
            continue;
        text = reachable(n->addresses[i], a);
        if (text != NULL)
            m->addresses[m->naddresses++] = text;
    }
}

/* The addresses of its groups are for other nodes, which look for them there (life_group.c). */
void cairn_cluster__self(struct cairn_cluster *c, struct cairn_arena *a, struct cairn_wire_member *m)
{
    const struct cairn_gossip *g = c->env->gossip;

    *m = (struct cairn_wire_member){ .node = c->node,
                                     .name = c->env->node->name,
                                     .zone = c->conf.zone,
                                     .host = home_of(c)->host,
                                     .weight = c->conf.weight,
                                     .state = CAIRN_WIRE_MEMBER_UP };
    for (uint32_t i = 0; i < c->conf.naddresses; i++)
        m->addresses[m->naddresses++] = c->conf.addresses[i];
    if (m->naddresses == 0)
        add_addresses(c, true, a, m);
    for (uint32_t i = 0; g != NULL && i < g->ncarriers && m->naddresses < CAIRN_WIRE_ADDRESSES_MAX; i++) {
        if (g->carriers[i]->address[0] != '\0')
            m->addresses[m->naddresses++] = g->carriers[i]->address;
    }
    add_addresses(c, false, a, m);
}

static char *copy_text(struct cairn_arena *a, const char *text)
{
    size_t n = strlen(text) + 1;
    char *copy = cairn_arena_alloc(a, n);

    return copy != NULL ? memcpy(copy, text, n) : NULL;
}

/* Strings of @m, which are about to be freed, into @a. */
static bool keep_texts(struct cairn_wire_member *m, struct cairn_arena *a)
{
    m->name = copy_text(a, m->name);
    m->zone = copy_text(a, m->zone);
    m->host = copy_text(a, m->host);
    for (uint32_t i = 0; i < m->naddresses; i++) {
        m->addresses[i] = copy_text(a, m->addresses[i]);
        if (m->addresses[i] == NULL)
            return false;
    }
    return m->name != NULL && m->zone != NULL && m->host != NULL;
}

static void on_holder(const struct cairn_map_entry *e, void *arg)
{
    Cairn__Wire__MemberUpdate **w = arg;

    if (*w == NULL && strcmp(e->key, CAIRN_CLUSTER_KEY_COORDINATOR) == 0)
        *w = cairn__wire__member_update__unpack(NULL, e->value_len, e->value);
}

uint64_t cairn_cluster__coordinator(struct cairn_cluster *c, struct cairn_arena *a, struct cairn_wire_member *m)
{
    Cairn__Wire__MemberUpdate *w = NULL;
    bool ok;

    if (!home_of(c)->lease_is_known)
        return 0;
    cairn_map_store_each(c->map, CAIRN_CLUSTER_KEY_COORDINATOR, on_holder, &w);
    if (w == NULL)
        return 0;
    ok = cairn_wire_member_get(w, m, NULL) == 0 && keep_texts(m, a);
    cairn__wire__member_update__free_unpacked(w, NULL);
    return ok ? m->node : 0;
}
