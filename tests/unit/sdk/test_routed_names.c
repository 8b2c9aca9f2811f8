/* Nodes that are reached by host names: these are looked up aside, only where nothing else leads there, and not at each try;
 * and nobody waits for them whom others can answer. */
#include "tests/lib/patience.h"
#include "tests/unit/sdk/routed_fixture.h"

#include "tests/lib/scripted_cluster_internal.h"

#include <netdb.h>
#include <pthread.h>
#include <sys/un.h>
#include <unistd.h>

static atomic_uint lookups, lookups_over;
static atomic_bool stuck;        /* no name server answers */
static _Atomic(const char *) to; /* the unix socket that "known.invalid" leads to */
static pthread_t loop_thread;
static atomic_bool loop_looked;

/* In front of the C library's. */
int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints, struct addrinfo **found)
{
    static struct sockaddr_un un;
    static struct addrinfo info;

    (void)service;
    if ((hints->ai_flags & AI_NUMERICHOST) != 0)
        return EAI_NONAME;
    atomic_fetch_add(&lookups, 1);
    if (pthread_equal(pthread_self(), loop_thread))
        atomic_store(&loop_looked, true);
    WHILE_PATIENT (atomic_load(&stuck))
        usleep(1000);
    atomic_fetch_add(&lookups_over, 1);
    if (strcmp(name, "known.invalid") != 0)
        return EAI_NONAME;
    un.sun_family = AF_UNIX;
    snprintf(un.sun_path, sizeof(un.sun_path), "%s", atomic_load(&to) + strlen("unix://"));
    info = (struct addrinfo){ .ai_addr = (struct sockaddr *)&un, .ai_addrlen = sizeof(un) };
    *found = &info;
    return 0;
}

void freeaddrinfo(struct addrinfo *found)
{
    (void)found;
}

static int setup(void **state)
{
    (void)state;
    atomic_store(&lookups, 0);
    atomic_store(&lookups_over, 0);
    atomic_store(&stuck, false);
    atomic_store(&loop_looked, false);
    loop_thread = pthread_self(); /* which drives the loop in what follows */
    return 0;
}

/* Nobody waits for a name server but a thread of its own. */
static int teardown(void **state)
{
    (void)state;
    atomic_store(&stuck, false);
    WHILE_PATIENT (atomic_load(&lookups_over) < atomic_load(&lookups))
        usleep(1000);
    return atomic_load(&loop_looked);
}

static void a_name_that_is_not_known_is_looked_up_now_and_then(void **state)
{
    enum { CALLS = 50, OPEN_MS = 15000 };
    struct routed *x = routed_new(2, false);
    struct outcome out[CALLS] = { 0 };
    char key[32], back[16];
    double began = seconds();
    size_t len;

    (void)state;
    strcpy(key, key_of(x, 1, 0));
    scripted_cluster_tell(x->cluster, 1, "tcp://nowhere.invalid:4711");
    x->o.timeout_ms = 1500;
    for (int i = 0; i < CALLS; i++)
        assert_int_equal(cairn_put_async(x->ns, key, strlen(key), "v", 1, &x->o, on_done, &out[i]), 0);
    WHILE_PATIENT (out[CALLS - 1].runs == 0)
        cairn_poll(x->c, 10);
    /* What they waited for ends with them, long before its own time is over. */
    assert_int_equal(cairn_drain(x->c, OPEN_MS), 0);
    for (int i = 0; i < CALLS; i++)
        assert_int_equal(out[i].rc, CAIRN_E_TIMEOUT);
    assert_true(atomic_load(&lookups) > 0);
    assert_true(atomic_load(&lookups) <= 2 + seconds() - began); /* one a second */
    /* A new address is tried at once. */
    x->o.timeout_ms = 0;
    scripted_cluster_address(x->cluster, 1, 1);
    assert_int_equal(cairn_put(x->ns, key, strlen(key), "v", 1, &x->o), 0);
    assert_int_equal(cairn_get(x->ns, key, strlen(key), back, sizeof(back), &len, &x->o), 0);
    routed_free(x);
}

/* No way leads to a node, whose slots another takes over meanwhile: whoever wants answers of all nodes hears of it, and
 * does not wait for that one. */
static void who_leads_no_more_is_not_waited_for(void **state)
{
    enum { MANY = 60 };
    static struct cairn_put_item puts[MANY];
    static struct cairn_get_item gets[MANY];
    static char names[MANY][16], bufs[MANY][16];
    struct routed *x = routed_new(3, false);
    struct outcome out[3] = { 0 };
    struct cairn_page *page = NULL;

    (void)state;
    for (int i = 0; i < MANY; i++) {
        size_t n = (size_t)snprintf(names[i], sizeof(names[i]), "key%d", i);

        scripted_cluster_store(x->cluster, names[i], n, "v", 1);
        puts[i] = (struct cairn_put_item){ .key = names[i], .key_len = n, .value = "v", .value_len = 1 };
        gets[i] = (struct cairn_get_item){ .key = names[i], .key_len = n, .value = bufs[i], .room = sizeof(bufs[i]) };
    }
    scripted_cluster_tell(x->cluster, 2, "tcp://nowhere.invalid:4711");
    x->o.timeout_ms = 3600000;
    assert_int_equal(cairn_mput_async(x->ns, puts, MANY, &x->o, on_done, &out[0]), 0);
    assert_int_equal(cairn_mget_async(x->ns, gets, MANY, &x->o, on_done, &out[1]), 0);
    assert_int_equal(cairn_list_async(x->ns, "", 0, "", 0, MANY, &page, &x->o, on_done, &out[2]), 0);
    WHILE_PATIENT (node_of(x, 1)->mgets == 0 || node_of(x, 1)->lists == 0 || node_of(x, 1)->opens == 0)
        cairn_poll(x->c, 10);
    for (uint32_t slot = 2; slot < SCRIPTED_SLOTS; slot += 3)
        scripted_cluster_move(x->cluster, slot, 1);
    WHILE_PATIENT (out[0].runs + out[1].runs + out[2].runs < 3)
        cairn_poll(x->c, 10);
    for (int i = 0; i < 3; i++)
        assert_true(out[i].runs == 1 && out[i].rc == 0);
    assert_int_equal(page->n, MANY);
    cairn_free(page);
    routed_free(x);
}

static int get(struct routed *x, const char *key)
{
    char back[16];
    size_t len;

    return cairn_get(x->ns, key, strlen(key), back, sizeof(back), &len, &x->o);
}

/* While no name server answers others are asked, calls end in time, and so does the client. */
static void a_lookup_holds_nobody_up(void **state)
{
    struct routed *x = routed_new(3, false);
    char near[32], far[32];

    (void)state;
    strcpy(near, key_of(x, 2, 0));
    strcpy(far, key_of(x, 1, 0));
    scripted_cluster_store(x->cluster, near, strlen(near), "v", 1);
    scripted_cluster_store(x->cluster, far, strlen(far), "v", 1);
    atomic_store(&stuck, true);
    scripted_cluster_tell(x->cluster, 1, "tcp://nowhere.invalid:4711");
    x->o.timeout_ms = 200;
    assert_int_equal(get(x, far), CAIRN_E_TIMEOUT);
    WHILE_PATIENT (atomic_load(&lookups) == 0)
        assert_int_equal(get(x, far), CAIRN_E_TIMEOUT);
    x->o.timeout_ms = 0;
    assert_int_equal(get(x, near), 0);
    assert_int_equal(lookups, 1);
    assert_int_equal(lookups_over, 0);
    scripted_cluster_address(x->cluster, 1, 1); /* a new address is not looked for behind the old one */
    assert_int_equal(get(x, far), 0);
    routed_free(x);
    assert_int_equal(lookups_over, 0);
}

/* A name is looked up only where what is known without that leads nowhere; then it is what counts. */
static void what_works_needs_no_name(void **state)
{
    struct routed *x = routed_new(3, false);
    char key[32];

    (void)state;
    strcpy(key, key_of(x, 1, 0));
    scripted_cluster_store(x->cluster, key, strlen(key), "v", 1);
    atomic_store(&to, x->cluster->nodes[1].address);
    scripted_cluster_tell_name(x->cluster, 1, "tcp://known.invalid:4711");
    assert_int_equal(get(x, key), 0);
    assert_int_equal(lookups, 0);
    routed_free(x);

    x = routed_new(3, false);
    scripted_cluster_store(x->cluster, key, strlen(key), "v", 1);
    atomic_store(&to, x->cluster->nodes[1].address);
    scripted_cluster_tell(x->cluster, 1, "unix:///nonexistent/cairn.sock");
    scripted_cluster_tell_name(x->cluster, 1, "tcp://known.invalid:4711");
    assert_int_equal(get(x, key), 0);
    assert_int_equal(lookups, 1);
    routed_free(x);

    x = routed_new(3, false);
    scripted_cluster_store(x->cluster, key, strlen(key), "v", 1);
    atomic_store(&to, x->cluster->nodes[1].address);
    scripted_cluster_tell(x->cluster, 1, "tcp://known.invalid:4711");
    assert_int_equal(get(x, key), 0);
    assert_int_equal(lookups, 2);
    routed_free(x);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(a_name_that_is_not_known_is_looked_up_now_and_then),
        T(who_leads_no_more_is_not_waited_for),
        T(a_lookup_holds_nobody_up),
        T(what_works_needs_no_name),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
