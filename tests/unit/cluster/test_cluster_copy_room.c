/* A copy at its source, whose provider has no room for a view. */
#include "tests/unit/cluster/store_world.h"

#include "server/cluster/service/store_internal.h"

static struct {
    cairn_rpc_handler *open; /* the provider's own */
    uint32_t refusals, asked;
    bool keeps; /* whoever asks after the refusals waits for his answer */
    struct cairn_rpc_req *kept;
} full;

static void open_if_there_is_room(struct cairn_rpc_req *rq)
{
    if (full.asked++ < full.refusals)
        cairn_rpc_reply_err(rq, CAIRN_E_NOSPACE, "no room for a view");
    else if (full.keeps)
        full.kept = rq;
    else
        full.open(rq);
}

/* The next @refusals times there is no room. */
static void refuse(struct fixture *fx, uint32_t refusals)
{
    cairn_rpc_handler *was = replace_handler(fx, CAIRN__WIRE__KV_METHOD__KV_SNAPSHOT_OPEN, open_if_there_is_room);

    if (was != open_if_there_is_room)
        full.open = was;
    full.refusals = refusals;
    full.asked = 0;
    full.keeps = false;
}

static void until_waits(struct fixture *fx, uint64_t n)
{
    WHILE_PATIENT (cluster_store_troubles(fx->store)->views_waiting != n)
        cairn_loop_turn(&fx->kv.loop, CAIRN_NS_PER_MS);
}

/* Slot 0 has a record, and a copy of it begins. */
static void begin_copy(struct fixture *fx, uint32_t refusals)
{
    begin(fx);
    push_op(fx, 0, STORE_PUT, 0, 7, "k", "v");
    settle(fx);
    refuse(fx, refusals);
    assert_true(cluster_store_copy_open(fx->store, &fx->logs[0].s));
    cluster_store_copy_read(fx->store, &fx->logs[0].s);
}

/* It is of the moment in which it was asked for. */
static void a_copy_waits_for_room(void **state)
{
    struct fixture *fx = *state;

    begin_copy(fx, 1);
    until_waits(fx, 1);
    push_op(fx, 0, STORE_PUT, 0, 7, "later", "w");
    apply(fx, 0);
    turns(fx, &fx->logs[0].paged);
    assert_int_equal(fx->logs[0].page_rc, 0);
    assert_true(fx->logs[0].page_last);
    assert_null(memmem(fx->logs[0].page, fx->logs[0].page_len, "later", 5));
    assert_non_null(memmem(fx->logs[0].page, fx->logs[0].page_len, "kv", 2));
    assert_int_equal(full.asked, 2);
    assert_int_equal(cluster_store_troubles(fx->store)->views_waiting, 0);
    cluster_store_copy_close(fx->store, &fx->logs[0].s);
    settle(fx);
    end(fx);
}

/* The slot, which stands still meanwhile, goes on when it has waited enough. */
static void a_copy_does_not_wait_for_ever(void **state)
{
    struct fixture *fx = *state;

    begin_copy(fx, UINT32_MAX);
    push_op(fx, 0, STORE_PUT, 0, 7, "later", "w");
    apply(fx, 0);
    turns(fx, &fx->logs[0].paged);
    assert_int_equal(fx->logs[0].page_rc, CAIRN_E_NOSPACE);
    assert_in_range(full.asked, 1, STORE_HOLD_MS / STORE_RETRY_MS + 1);
    assert_int_equal(cluster_store_troubles(fx->store)->views_waiting, 0);
    cluster_store_copy_close(fx->store, &fx->logs[0].s);
    settle(fx);
    assert_string_equal(record_of(fx, 7, "later"), "w");
    end(fx);
}

/* Nobody wants it any more: another slot may have one. */
static void a_copy_that_waits_can_be_given_up(void **state)
{
    struct fixture *fx = *state;

    begin_copy(fx, UINT32_MAX);
    until_waits(fx, 1);
    cluster_store_copy_close(fx->store, &fx->logs[0].s);
    until_waits(fx, 0);
    refuse(fx, 0);
    assert_true(cluster_store_copy_open(fx->store, &fx->logs[0].s));
    cluster_store_copy_read(fx->store, &fx->logs[0].s);
    turns(fx, &fx->logs[0].paged);
    assert_int_equal(fx->logs[0].page_rc, 0);
    cluster_store_copy_close(fx->store, &fx->logs[0].s);
    end(fx);
}

/* Likewise while the provider, asked once more, has not answered yet: what it answers then is given back. */
static void a_copy_is_given_up_before_the_answer(void **state)
{
    struct fixture *fx = *state;

    begin_copy(fx, 1);
    full.keeps = true;
    WHILE_PATIENT (full.kept == NULL)
        cairn_loop_turn(&fx->kv.loop, CAIRN_NS_PER_MS);
    cluster_store_copy_close(fx->store, &fx->logs[0].s);
    assert_int_equal(cluster_store_troubles(fx->store)->views_waiting, 1);
    full.keeps = false;
    full.open(full.kept);
    full.kept = NULL;
    until_waits(fx, 0);
    assert_false(fx->logs[0].paged);
    end(fx);
}

/* The store ends while it waits. */
static void a_store_ends_under_a_copy_that_waits(void **state)
{
    struct fixture *fx = *state;

    begin_copy(fx, UINT32_MAX);
    until_waits(fx, 1);
    end(fx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_DISK(a_copy_waits_for_room),
        ON_DISK(a_copy_does_not_wait_for_ever),
        ON_DISK(a_copy_that_waits_can_be_given_up),
        ON_DISK(a_copy_is_given_up_before_the_answer),
        ON_DISK(a_store_ends_under_a_copy_that_waits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
