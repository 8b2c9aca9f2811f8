/* Messages of replicas in one piece, from anybody. What is taken of them can be put again, and then says the same. */
#include "server/cluster/repl/repl_wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Puts the messages of @bytes that are taken into @out; NULL: reads them only. */
static void each(const uint8_t *bytes, size_t n, struct cairn_wire_mail *out)
{
    struct cairn_le_reader r = cairn_le_reader(bytes, n);
    struct cairn_wire_letter l;
    struct cairn_repl_msg m;
    struct cairn_arena a;
    struct cairn_err err;
    size_t before = 0;

    cairn_arena_init(&a, 1 << 20);
    while (cairn_wire_mail_next(&r, &l, &err) > 0) {
        CAIRN_ASSERT(l.body >= bytes + before && l.payload == l.body + l.body_len);
        before = (size_t)(l.payload + l.payload_len - bytes);
        CAIRN_ASSERT(before <= n);
        if (cairn_wire_letter_get(&l, &a, &m, &err) == 0) {
            CAIRN_ASSERT(m.slot == l.slot);
            (void)cairn_wire_mail_add(out, &m);
        } else {
            CAIRN_ASSERT(err.code != 0);
        }
        cairn_arena_reset(&a);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct cairn_wire_mail once = { 0 }, twice = { 0 };

    each(data, size, &once);
    each(once.bytes, once.n, &twice);
    CAIRN_ASSERT(once.n == twice.n && (once.n == 0 || memcmp(once.bytes, twice.bytes, once.n) == 0));
    cairn_wire_mail_fini(&once);
    cairn_wire_mail_fini(&twice);
    return 0;
}
