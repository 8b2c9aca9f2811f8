/* Joining by ranks: threads are the ranks, each with a node of its own, and a table carries their cards. */
#include "cairn/server.h"
#include "sdk/join/ranks.h"
#include "tests/lib/patience.h"

#include <ftw.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

enum { RANKS = 4, MEETINGS_MAX = 2 };

struct table {
    pthread_mutex_t mutex;
    pthread_cond_t cond;
    struct cairn_card cards[MEETINGS_MAX][RANKS];
    uint32_t there[MEETINGS_MAX];
};

struct rank {
    struct table *table;
    uint32_t number, meetings;
    struct cairn_server *node;
    struct cairn *c;
    uint32_t timeout_ms;
    bool stays_away, has_no_node;
    int rc;
    struct cairn_error_info error;
    pthread_t thread;
};

struct fixture {
    char dir[64];
    struct table table;
    struct rank ranks[RANKS];
    const char *names[RANKS], *clusters[RANKS], *groups[RANKS];
    bool observes[RANKS];
};

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    (void)st;
    (void)flag;
    (void)ftw;
    return remove(path);
}

static int setup(void **state)
{
    static const char *const names[RANKS] = { "n0", "n1", "n2", "n3" };
    struct fixture *fx = calloc(1, sizeof(*fx));

    strcpy(fx->dir, "/tmp/cairn-ranks-XXXXXX");
    assert_non_null(mkdtemp(fx->dir));
    pthread_mutex_init(&fx->table.mutex, NULL);
    pthread_cond_init(&fx->table.cond, NULL);
    for (uint32_t i = 0; i < RANKS; i++) {
        fx->ranks[i] = (struct rank){ .table = &fx->table, .number = i, .timeout_ms = 30000 };
        fx->names[i] = names[i];
        fx->clusters[i] = "000102030405060708090a0b0c0d0e0f";
        fx->groups[i] = "main";
    }
    *state = fx;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fx = *state;

    for (uint32_t i = 0; i < RANKS; i++) {
        cairn_close(fx->ranks[i].c);
        cairn_server_free(fx->ranks[i].node);
    }
    assert_int_equal(nftw(fx->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS), 0);
    free(fx);
    return 0;
}

static FILE *open_file(const char *path, mode_t mode)
{
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    assert_int_equal(chmod(path, mode), 0);
    return f;
}

static void start_node(struct fixture *fx, uint32_t i)
{
    struct cairn_server_options so = CAIRN_SERVER_OPTIONS_INIT;
    struct cairn_options co = CAIRN_OPTIONS_INIT;
    char conf[128], key[128], text[1024];
    FILE *f;

    snprintf(conf, sizeof(conf), "%s/%u.yaml", fx->dir, i);
    snprintf(key, sizeof(key), "%s/key", fx->dir);
    f = open_file(key, 0600);
    fprintf(f, "abababababababababababababababababababababababababababababababab\n");
    fclose(f);
    f = open_file(conf, 0600);
    fprintf(f,
            "node: {name: node%u, data: %s/%u, cluster: '%s', workers: 1, log_file: %s/%u.log}\n"
            "workspace: %s/%u.ws\nlisten: ['unix://node.sock']\nauth: {key_file: %s}\n"
            "providers:\n  - {type: kv, name: kv, backend: memory}\n"
            "  - {type: extent, name: extent, backend: memory}\n"
            "  - {type: group, name: g, listen: 'udp://127.0.0.1:0', member: %s, group: %s, observer: %s}\n",
            i, fx->dir, i, fx->clusters[i], fx->dir, i, fx->dir, i, key, fx->names[i], fx->groups[i],
            fx->observes[i] ? "true" : "false");
    fclose(f);
    so.file = conf;
    if (cairn_server_start(&so, &fx->ranks[i].node, text, sizeof(text)) != 0)
        fail_msg("%s", text);
    co.workspace = cairn_server_workspace(fx->ranks[i].node);
    assert_int_equal(cairn_connect(&co, &fx->ranks[i].c, NULL), 0);
}

static int exchange(void *arg, const struct cairn_card *mine, struct cairn_card *all, uint64_t deadline_ns,
                    struct cairn_error_info *error)
{
    struct rank *r = arg;
    struct table *t = r->table;
    uint32_t meeting = r->meetings++;

    (void)error;
    pthread_mutex_lock(&t->mutex);
    t->cards[meeting][r->number] = *mine;
    t->there[meeting]++;
    pthread_cond_broadcast(&t->cond);
    while (t->there[meeting] < RANKS && cairn_ranks_now_ns() < deadline_ns) {
        struct timespec soon;

        clock_gettime(CLOCK_REALTIME, &soon);
        soon.tv_nsec += 10000000;
        soon.tv_sec += soon.tv_nsec / 1000000000;
        soon.tv_nsec %= 1000000000;
        pthread_cond_timedwait(&t->cond, &t->mutex, &soon);
    }
    if (t->there[meeting] == RANKS)
        memcpy(all, t->cards[meeting], sizeof(t->cards[meeting]));
    pthread_mutex_unlock(&t->mutex);
    return t->there[meeting] == RANKS ? 0 : CAIRN_E_TIMEOUT;
}

static void *run_rank(void *arg)
{
    struct rank *r = arg;
    struct cairn_ranks ranks = { .rank = r->number, .size = RANKS, .exchange = exchange, .arg = r };
    struct cairn_call_options o = CAIRN_CALL_OPTIONS_INIT;

    o.timeout_ms = r->timeout_ms;
    o.error = &r->error;
    if (!r->stays_away)
        r->rc = cairn_ranks_join(r->has_no_node ? NULL : r->c, NULL, &ranks, &o);
    return NULL;
}

/* All ranks at once; they agree on @rc, and on @text, which is a part of what is said. Returns how long it took, in
 * ms. */
static uint64_t join(struct fixture *fx, int rc, const char *text)
{
    uint64_t began;

    for (uint32_t i = 0; i < RANKS; i++)
        start_node(fx, i);
    began = cairn_ranks_now_ns();
    for (uint32_t i = 0; i < RANKS; i++)
        assert_int_equal(pthread_create(&fx->ranks[i].thread, NULL, run_rank, &fx->ranks[i]), 0);
    for (uint32_t i = 0; i < RANKS; i++)
        pthread_join(fx->ranks[i].thread, NULL);
    for (uint32_t i = 0; i < RANKS; i++) {
        if (fx->ranks[i].stays_away)
            continue;
        assert_int_equal(fx->ranks[i].rc, rc);
        if (rc != 0 && strstr(fx->ranks[i].error.text, text) == NULL)
            fail_msg("'%s' is not in '%s'", text, fx->ranks[i].error.text);
    }
    return (cairn_ranks_now_ns() - began) / 1000000;
}

static void all_nodes_see_all_others(void **state)
{
    struct fixture *fx = *state;

    fx->observes[2] = true;
    join(fx, 0, NULL);
    for (uint32_t i = 0; i < RANKS; i++) {
        struct cairn_members *m;

        assert_int_equal(cairn_members(fx->ranks[i].c, NULL, &m, NULL), 0);
        assert_int_equal(m->n, RANKS - 1);
        for (size_t k = 0; k < m->n; k++)
            assert_int_equal(m->members[k].state, CAIRN_MEMBER_ALIVE);
        assert_true(m->joined);
        cairn_free(m);
    }
}

static void a_rank_without_a_node_is_named_to_all(void **state)
{
    struct fixture *fx = *state;

    fx->ranks[2].has_no_node = true;
    assert_true(join(fx, CAIRN_E_UNREACHABLE, "rank 2: it has no node") < 20000);
}

static void wait_for_cards(struct fixture *fx, uint32_t n)
{
    uint32_t there = 0;

    WHILE_PATIENT (there < n) {
        usleep(1000);
        pthread_mutex_lock(&fx->table.mutex);
        there = fx->table.there[0];
        pthread_mutex_unlock(&fx->table.mutex);
    }
}

static void a_rank_whose_node_died_is_named_to_all(void **state)
{
    struct fixture *fx = *state;

    start_node(fx, 3);
    cairn_server_free(fx->ranks[3].node);
    fx->ranks[3].node = NULL;
    fx->ranks[3].timeout_ms = 1000;
    for (uint32_t i = 0; i < 3; i++)
        start_node(fx, i);
    for (uint32_t i = 0; i < RANKS; i++) {
        if (i == 3) /* whose second is over by then, as it waits for its node */
            wait_for_cards(fx, 3);
        assert_int_equal(pthread_create(&fx->ranks[i].thread, NULL, run_rank, &fx->ranks[i]), 0);
    }
    for (uint32_t i = 0; i < RANKS; i++) {
        pthread_join(fx->ranks[i].thread, NULL);
        assert_int_equal(fx->ranks[i].rc, fx->ranks[0].rc);
        if (i != 3)
            assert_non_null(strstr(fx->ranks[i].error.text, "rank 3: "));
    }
    assert_true(fx->ranks[0].rc < 0);
}

static void two_nodes_of_one_name_are_refused(void **state)
{
    struct fixture *fx = *state;

    fx->names[3] = "n1";
    join(fx, CAIRN_E_EXISTS, "are both called n1");
}

static void groups_of_two_names_are_refused(void **state)
{
    struct fixture *fx = *state;

    fx->groups[1] = "other";
    join(fx, CAIRN_E_INVAL, "rank 0's node is in group main, rank 1's in other");
}

/* A node of another cluster is refused by the others; within the time all ranks know who is not seen. */
static void a_node_of_another_cluster_is_missed_in_time(void **state)
{
    struct fixture *fx = *state;
    uint64_t ms;

    fx->clusters[3] = "ffffffffffffffffffffffffffffffff";
    for (uint32_t i = 0; i < RANKS; i++)
        fx->ranks[i].timeout_ms = 8000; /* of which the end is for telling all */
    ms = join(fx, CAIRN_E_TIMEOUT, "rank 0: its node does not see n3 at udp://127.0.0.1:");
    assert_in_range(ms, 2000, 60000);
}

static void a_rank_that_does_not_come_costs_the_time_given(void **state)
{
    struct fixture *fx = *state;
    uint64_t ms;

    fx->ranks[1].stays_away = true;
    for (uint32_t i = 0; i < RANKS; i++)
        fx->ranks[i].timeout_ms = 1000;
    ms = join(fx, CAIRN_E_TIMEOUT, "not all ranks came to the join within 1000 ms");
    assert_in_range(ms, 1000, 20000);
}

/* Whoever is asked first is asked by few, and from every rank every other one is reached. */
static void seeds_reach_everyone(void **state)
{
    (void)state;
    for (uint32_t size = 1; size < 70; size++) {
        uint32_t asked[70] = { 0 };

        for (uint32_t rank = 0; rank < size; rank++) {
            uint32_t seeds[CAIRN_RANKS_SEEDS_MAX], n = cairn_ranks_seeds(rank, size, seeds);

            assert_in_range(n, size > 1, 7);
            assert_true(size == 1 || seeds[0] == (rank + 1) % size); /* a ring, whatever else */
            for (uint32_t i = 0; i < n; i++) {
                assert_true(seeds[i] < size && seeds[i] != rank);
                asked[seeds[i]]++;
            }
        }
        for (uint32_t rank = 0; rank < size; rank++) {
            assert_true(asked[rank] <= 7);
        }
    }
}

#define test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        test(all_nodes_see_all_others),
        test(a_rank_without_a_node_is_named_to_all),
        test(a_rank_whose_node_died_is_named_to_all),
        test(two_nodes_of_one_name_are_refused),
        test(groups_of_two_names_are_refused),
        test(a_node_of_another_cluster_is_missed_in_time),
        test(a_rank_that_does_not_come_costs_the_time_given),
        cmocka_unit_test(seeds_reach_everyone),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
