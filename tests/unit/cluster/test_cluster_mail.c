/* What replicas say to another node, while there is no connection and when there is one again. */
#include "server/cluster/service/peers.h"
#include "tests/unit/rpc/rpc_fixture.h"

static int setup_mail(void **state)
{
    struct cairn_rpc_session_conf node = { .has_key = true, .is_node = true }; /* both keys are nothing but zeros */
    struct fixture *fx;

    setup(state);
    fx = *state;
    fx->node.has_key = true;
    listen_unix(fx);
    connect_session(fx, &node);
    return 0;
}

static bool is_up(struct fixture *fx)
{
    return cairn_rpc_session_is_up(fx->session);
}

static void add(struct side_peer *p, uint64_t age_ms)
{
    struct cairn_repl_msg m = { .kind = CAIRN_REPL_NACK, .slot = 1, .epoch = 1, .from = { 1, 1 }, .to = { 2, 1 } };

    assert_int_equal(cairn_wire_mail_add(&p->mail, &m), 0);
    p->mail_ns = cairn_loop_now(p->w->loop) - age_ms * CAIRN_NS_PER_MS;
}

/* Its replicas say everything again, so a node that was away is told nothing of before. */
static void what_was_said_before_an_absence_is_not_sent(void **state)
{
    struct fixture *fx = *state;
    struct side_worker w = { .loop = &fx->loop };
    struct side_peer p = { .w = &w, .session = fx->session };

    cairn_list_init(&p.mailing);
    cairn_rpc_session_connect(fx->session);
    add(&p, 0);
    side_mail_go(&p);
    assert_true(p.mail.n > 0); /* it waits for the connection */
    turn_until(fx, is_up);
    p.mail_ns = cairn_loop_now(&fx->loop) - SIDE_CALL_MS * CAIRN_NS_PER_MS;
    side_mail_go(&p);
    assert_int_equal(p.mail.n, 0);
    assert_int_equal(cairn_rpc_session_unsent(fx->session), 0);
    add(&p, 0);
    side_mail_go(&p);
    assert_int_equal(p.mail.n, 0);
    assert_true(cairn_rpc_session_unsent(fx->session) > 0);
    side_mail_drop(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_was_said_before_an_absence_is_not_sent, setup_mail, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
