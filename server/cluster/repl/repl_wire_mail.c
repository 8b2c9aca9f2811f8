/* Messages of replicas in one piece, each behind its head: see repl_wire.h. The slot stands in the head, so that who
 * has several threads knows whose a message is before it is read. */
#include "sdk/core/rpc/rpc.h"
#include "server/cluster/repl/repl_wire_internal.h"

#include <inttypes.h>
#include <stdlib.h>

/* slot, bytes of the body, bytes of the payload */
enum { LETTER_HEAD_BYTES = 12, MAIL_KEEP_BYTES_MAX = 64 << 10 };

/* ---- put ---- */

/* Where @n more bytes go; NULL: no memory. */
static uint8_t *mail_reserve(struct cairn_wire_mail *mail, size_t n)
{
    if (mail->n + n > mail->room) {
        size_t room = MAX(mail->n + n, 2 * mail->room);
        uint8_t *bytes = realloc(mail->bytes, room);

        if (bytes == NULL)
            return NULL;
        mail->bytes = bytes;
        mail->room = room;
    }
    return mail->bytes + mail->n;
}

int cairn_wire_mail_add(struct cairn_wire_mail *mail, const struct cairn_repl_msg *m)
{
    struct iovec iov[CAIRN_APPEND_ENTRIES_MAX];
    size_t body_len, payload_len = 0;
    Cairn__Wire__ReplMessage *w;
    uint8_t *at = NULL;
    struct cairn_arena a;
    int rc = CAIRN_E_NOMEM;
    uint32_t n;

    cairn_arena_init(&a, 1 << 20);
    w = cairn_wire_repl_put(m, &a, iov, &n);
    if (w == NULL)
        goto out;
    body_len = protobuf_c_message_get_packed_size(&w->base);
    for (uint32_t i = 0; i < n; i++)
        payload_len += iov[i].iov_len;
    rc = CAIRN_E_LIMIT;
    if (mail->n + LETTER_HEAD_BYTES + body_len + payload_len > CAIRN_WIRE_MAIL_BYTES_MAX)
        goto out;
    at = mail_reserve(mail, LETTER_HEAD_BYTES + body_len + payload_len);
    rc = at != NULL ? 0 : CAIRN_E_NOMEM;
    if (rc != 0)
        goto out;
    cairn_le_store32(at, m->slot);
    cairn_le_store32(at + 4, (uint32_t)body_len);
    cairn_le_store32(at + 8, (uint32_t)payload_len);
    at += LETTER_HEAD_BYTES;
    at += protobuf_c_message_pack(&w->base, at);
    for (uint32_t i = 0; i < n; at += iov[i++].iov_len)
        memcpy(at, iov[i].iov_base, iov[i].iov_len);
    mail->n += LETTER_HEAD_BYTES + body_len + payload_len;
out:
    cairn_arena_reset(&a);
    return rc;
}

void cairn_wire_mail_clear(struct cairn_wire_mail *mail)
{
    mail->n = 0;
    if (mail->room > MAIL_KEEP_BYTES_MAX)
        cairn_wire_mail_fini(mail);
}

void cairn_wire_mail_fini(struct cairn_wire_mail *mail)
{
    free(mail->bytes);
    *mail = (struct cairn_wire_mail){ 0 };
}

/* ---- get ---- */

int cairn_wire_mail_next(struct cairn_le_reader *mail, struct cairn_wire_letter *l, struct cairn_err *err)
{
    if (!mail->failed && cairn_le_left(mail) == 0)
        return 0;
    l->slot = cairn_le_get32(mail);
    l->body_len = cairn_le_get32(mail);
    l->payload_len = cairn_le_get32(mail);
    l->body = cairn_le_take(mail, l->body_len);
    l->payload = cairn_le_take(mail, l->payload_len);
    return mail->failed ? cairn_err_set(err, CAIRN_E_INVAL, "a message of a replica ends behind the payload") : 1;
}

int cairn_wire_letter_get(const struct cairn_wire_letter *l, struct cairn_arena *a, struct cairn_repl_msg *m,
                          struct cairn_err *err)
{
    ProtobufCAllocator alloc = cairn_rpc_arena_allocator(a);
    Cairn__Wire__ReplMessage *w = cairn__wire__repl_message__unpack(&alloc, l->body_len, l->body);

    if (w == NULL)
        return cairn_err_set(err, CAIRN_E_INVAL, "slot %" PRIu32 ": a message that cannot be read", l->slot);
    if (w->slot != l->slot)
        return cairn_err_set(err, CAIRN_E_INVAL, "slot %" PRIu32 ": a message of slot %" PRIu32, l->slot, w->slot);
    return cairn_wire_repl_get(w, l->payload, l->payload_len, a, m, err);
}
