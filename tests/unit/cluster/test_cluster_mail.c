/* What replicas say to another node, while there is no connection and when there is one again; and what is said by one
 * of another release. */
#include "server/cluster/service/peers.h"

#include "sdk/core/base/log.h"
#include "tests/lib/log_lines.h"
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

/* ---- another release ---- */

static cairn_rpc_handler *const mail_handlers[32] = {
    [CAIRN__WIRE__CLUSTER_METHOD__CLUSTER_REPL] = cairn_cluster__side_on_repl,
};

/* A node, as far as it is there for mail: it has no slots. */
struct receiver {
    struct cairn_cluster c;
    struct cairn_cluster_side side;
    struct side_worker w;
    struct cairn_rpc_target target;
};

static struct receiver *receiver;
static uint64_t wanted;

static int setup_receiver(void **state)
{
    struct fixture *fx;

    setup_mail(state);
    fx = *state;
    receiver = aligned_alloc(64, sizeof(*receiver));
    assert_non_null(receiver);
    memset(receiver, 0, sizeof(*receiver));
    receiver->c.side = &receiver->side;
    receiver->side.c = receiver->w.c = &receiver->c;
    receiver->side.workers = &receiver->w;
    receiver->side.nworkers = 1;
    receiver->target = (struct cairn_rpc_target){ .iface = &cairn_iface_cluster,
                                                  .handlers = mail_handlers,
                                                  .ctx = &receiver->c,
                                                  .name = "cluster",
                                                  .id = CAIRN_PROVIDER_CLUSTER };
    fx->server->targets[CAIRN_PROVIDER_CLUSTER] = &receiver->target;
    return 0;
}

static int teardown_receiver(void **state)
{
    int rc = teardown(state);

    free(receiver);
    return rc;
}

static bool is_refused(struct fixture *fx)
{
    (void)fx;
    return atomic_load(&receiver->side.mail_refused) == wanted;
}

static bool is_unread(struct fixture *fx)
{
    (void)fx;
    return receiver->w.bad_letters == wanted;
}

/* One letter that nobody can read, since it has no epoch, in mail of that form. */
static void tell_in_form(struct fixture *fx, uint8_t form)
{
    struct cairn_repl_msg m = { .kind = CAIRN_REPL_NACK, .slot = 1, .from = { 1, 1 }, .to = { 2, 1 } };
    struct cairn_wire_mail mail = { 0 };
    struct iovec iov;

    assert_int_equal(cairn_wire_mail_add(&mail, &m), 0);
    mail.bytes[0] = form;
    iov = (struct iovec){ mail.bytes, mail.n };
    assert_int_equal(cairn_rpc_session_tell(fx->session, &cairn_iface_cluster, CAIRN_PROVIDER_CLUSTER,
                                            CAIRN__WIRE__CLUSTER_METHOD__CLUSTER_REPL, &iov, 1),
                     0);
    cairn_wire_mail_fini(&mail);
}

/* A node whose replicas speak in a form that this one does not know says so with each word. It is said once whose they
 * are, and is no damage; each further form is said, too. Others are heard as before. */
static void replicas_of_another_release_are_refused_and_that_is_said_once(void **state)
{
    struct fixture *fx = *state;
    FILE *f = tmpfile();
    struct cairn_log log, *was;

    assert_non_null(f);
    cairn_log_init(&log, fileno(f), CAIRN_LOG_WARN, NULL);
    was = cairn_log_bind(&log);
    cairn_rpc_session_connect(fx->session);
    turn_until(fx, is_up);
    for (wanted = 1; wanted <= 3; wanted++) {
        tell_in_form(fx, CAIRN_WIRE_MAIL_FORM + 1);
        turn_until(fx, is_refused);
    }
    assert_int_equal(lines_of(f, "node test cannot replicate with this one: its replicas speak in form 2, those here"),
                     1);
    assert_int_equal(lines_of(f, "Run releases of Cairn on both"), 1);
    tell_in_form(fx, CAIRN_WIRE_MAIL_FORM + 2);
    wanted = 4;
    turn_until(fx, is_refused);
    assert_int_equal(lines_of(f, "in form 3"), 1);
    assert_int_equal(receiver->w.bad_letters, 0); /* nothing of it was read */
    tell_in_form(fx, CAIRN_WIRE_MAIL_FORM);
    wanted = 1;
    turn_until(fx, is_unread);
    assert_int_equal(lines_of(f, ""), 3);
    assert_int_equal(atomic_load(&receiver->side.mail_refused), 4);
    cairn_log_bind(was);
    cairn_log_fini(&log);
    fclose(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(replicas_of_another_release_are_refused_and_that_is_said_once, setup_receiver,
                                        teardown_receiver),
        cmocka_unit_test_setup_teardown(what_was_said_before_an_absence_is_not_sent, setup_mail, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
