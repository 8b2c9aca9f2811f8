/* What the tests of the codec of replication share: the two ends of a wire, and what is refused at the second. */
#ifndef CAIRN_TESTS_UNIT_WIRE_ENDS_H
#define CAIRN_TESTS_UNIT_WIRE_ENDS_H

#include "server/cluster/repl/repl_wire.h"

#include "cairn/cairn.h" /* who writes a node's provider for clients has both */

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

struct ends {
    struct cairn_arena put, got;
    struct cairn_err err;
    ProtobufCMessage *w; /* as it comes out of its bytes */
    struct cairn_wire_mail mail;
};

static inline int begin(void **state)
{
    static struct ends e;

    memset(&e, 0, sizeof(e));
    cairn_arena_init(&e.put, 8 << 20);
    cairn_arena_init(&e.got, 8 << 20);
    *state = &e;
    return 0;
}

static inline void drop(struct ends *e)
{
    if (e->w != NULL)
        protobuf_c_message_free_unpacked(e->w, NULL);
    e->w = NULL;
    cairn_arena_reset(&e->put);
    cairn_arena_reset(&e->got);
}

static inline int end(void **state)
{
    struct ends *e = *state;

    drop(e);
    cairn_wire_mail_fini(&e->mail);
    return 0;
}

#define REFUSED(e, want, words, call)                                                                                  \
    do {                                                                                                               \
        memset(&(e)->err, 0, sizeof((e)->err));                                                                        \
        assert_int_equal(call, want);                                                                                  \
        assert_int_equal((e)->err.code, want);                                                                         \
        assert_non_null(strstr((e)->err.text, words));                                                                 \
    } while (0)

#endif
