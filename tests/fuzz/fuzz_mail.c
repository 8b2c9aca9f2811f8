/* Messages of replicas in one piece, from anybody. What is taken of them can be put again, and then says the same. */
#include "server/cluster/repl/repl_wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What holds of an APPEND that is taken, whoever sent it: a log can be told of it. */
static void check_append(const struct cairn_repl_msg *m, const struct cairn_wire_letter *l)
{
    struct cairn_at before = m->prev;

    for (uint32_t i = 0; i < m->nentries; i++) {
        const struct cairn_log_entry *e = &m->entries[i];

        CAIRN_ASSERT(e->at.pos == before.pos + 1 && e->at.epoch >= before.epoch && e->at.epoch <= m->epoch);
        CAIRN_ASSERT(e->body >= l->bytes && e->body + e->body_len <= l->bytes + l->len);
        before = e->at;
    }
}

/* Puts the messages of @bytes that are taken into @out; NULL: reads them only. */
static void each(const uint8_t *bytes, size_t n, struct cairn_wire_mail *out)
{
    struct cairn_le_reader r;
    struct cairn_wire_letter l;
    struct cairn_repl_msg m;
    struct cairn_arena a;
    struct cairn_err err;
    size_t before = 0;

    if (cairn_wire_mail_open(bytes, n, &r, &err) != 0) {
        CAIRN_ASSERT(err.code != 0);
        return;
    }
    cairn_arena_init(&a, 1 << 20);
    while (cairn_wire_mail_next(&r, &l, &err) > 0) {
        CAIRN_ASSERT(l.bytes >= bytes + before);
        before = (size_t)(l.bytes + l.len - bytes);
        CAIRN_ASSERT(before <= n);
        if (cairn_wire_letter_get(&l, &a, &m, &err) == 0) {
            CAIRN_ASSERT(m.slot == l.slot);
            check_append(&m, &l);
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
