/* Where a node tells others that they reach it. */
#include "server/cluster/service/cluster_home.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include <cmocka.h>

/* The first address that is told, of a node that listens at @listen and whose group is at @group ("": none). */
static void told(const char *listen, const char *group, char to[CAIRN_MEMBER_ADDRESS_BYTES_MAX])
{
    static struct cluster_home h;
    char *addresses[] = { (char *)(uintptr_t)listen };
    uint32_t naddresses = 1;
    struct cairn_gossip_carrier carrier = { 0 };
    struct cairn_gossip gossip = { .carriers = { &carrier }, .ncarriers = 1 };
    struct cairn_provider_node node = { .name = "n1", .addresses = addresses, .naddresses = &naddresses };
    struct cairn_provider_env env = { .node = &node, .gossip = &gossip };
    struct cairn_wire_member m;
    struct cairn_arena arena;

    h.c.env = &env;
    snprintf(carrier.address, sizeof(carrier.address), "%s", group);
    cairn_arena_init(&arena, 8192);
    cairn_cluster__self(&h.c, &arena, &m);
    assert_int_equal(m.naddresses, group[0] != '\0' ? 2 : 1);
    snprintf(to, CAIRN_MEMBER_ADDRESS_BYTES_MAX, "%s", m.addresses[0]);
    cairn_arena_reset(&arena);
}

/* A client that is given a number looks nothing up. */
static void who_listens_everywhere_tells_a_number_if_he_has_one(void **state)
{
    static const struct {
        const char *listen, *group, *is; /* NULL: the host's name */
    } cases[] = {
        { "tcp://10.0.0.7:4710", "udp://10.0.0.8:4710", "tcp://10.0.0.7:4710" },
        { "tcp://0.0.0.0:4710", "udp://10.0.0.8:4711", "tcp://10.0.0.8:4710" },
        { "tcp://[::]:4710", "udp://[2001:db8::1]:4711", "tcp://[2001:db8::1]:4710" },
        { "tcp://[::]:4710", "udp://10.0.0.8:4711", "tcp://10.0.0.8:4710" },
        { "tcp://0.0.0.0:4710", "udp://[2001:db8::1]:4711", NULL }, /* we do not listen there */
        { "tcp://0.0.0.0:4710", "udp://127.0.0.1:4711", NULL },     /* of no use to other machines */
        { "tcp://[::]:4710", "udp://[::1]:4711", NULL },
        { "tcp://0.0.0.0:4710", "udp://0.0.0.0:4711", NULL },
        { "tcp://[::]:4710", "udp://[::]:4711", NULL },
        { "tcp://0.0.0.0:4710", "", NULL },
    };
    char name[256] = "", named[300], to[CAIRN_MEMBER_ADDRESS_BYTES_MAX];

    (void)state;
    assert_int_equal(gethostname(name, sizeof(name) - 1), 0);
    snprintf(named, sizeof(named), "tcp://%s:4710", name);
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        told(cases[i].listen, cases[i].group, to);
        assert_string_equal(to, cases[i].is != NULL ? cases[i].is : named);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(who_listens_everywhere_tells_a_number_if_he_has_one) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
