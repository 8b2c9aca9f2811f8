/* Messages of replicas in one piece, behind the byte that tells their form, each behind its head: see repl_wire.h. The
 * slot stands in the head, so that who has several threads knows whose a message is before it is read. */
#include "server/cluster/repl/repl_wire_internal.h"

#include <stdlib.h>

/* slot, bytes of the message */
enum { MAIL_HEAD_BYTES = 1, LETTER_HEAD_BYTES = 8, MAIL_KEEP_BYTES_MAX = 64 << 10 };

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
    size_t len = cairn_wire__repl_bytes(m), head = mail->n == 0 ? MAIL_HEAD_BYTES : 0;
    size_t n = head + LETTER_HEAD_BYTES + len;
    struct cairn_le_writer w;
    uint8_t *at;

    if (mail->n + n > CAIRN_WIRE_MAIL_BYTES_MAX)
        return CAIRN_E_LIMIT;
    at = mail_reserve(mail, n);
    if (at == NULL)
        return CAIRN_E_NOMEM;
    w = cairn_le_writer(at, n);
    if (head > 0)
        cairn_le_put8(&w, CAIRN_WIRE_MAIL_FORM);
    cairn_le_put32(&w, m->slot);
    cairn_le_put32(&w, (uint32_t)len);
    cairn_wire__repl_put(m, &w);
    CAIRN_ASSERT(!w.failed && w.at == w.end);
    mail->n += n;
    return 0;
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

int cairn_wire_mail_open(const void *bytes, size_t n, struct cairn_le_reader *mail, struct cairn_err *err)
{
    uint8_t form;

    *mail = cairn_le_reader(bytes, n);
    form = cairn_le_get8(mail);
    if (mail->failed)
        return cairn_err_set(err, CAIRN_E_INVAL, "mail without a byte");
    if (form != CAIRN_WIRE_MAIL_FORM)
        return cairn_err_set(err, CAIRN_E_VERSION, "its replicas speak in form %d, those here in form %d", form,
                             CAIRN_WIRE_MAIL_FORM);
    return 0;
}

int cairn_wire_mail_next(struct cairn_le_reader *mail, struct cairn_wire_letter *l, struct cairn_err *err)
{
    if (!mail->failed && cairn_le_left(mail) == 0)
        return 0;
    l->slot = cairn_le_get32(mail);
    l->len = cairn_le_get32(mail);
    l->bytes = cairn_le_take(mail, l->len);
    return mail->failed ? cairn_err_set(err, CAIRN_E_INVAL, "a message of a replica ends behind the payload") : 1;
}

int cairn_wire_letter_get(const struct cairn_wire_letter *l, struct cairn_arena *a, struct cairn_repl_msg *m,
                          struct cairn_err *err)
{
    return cairn_wire__repl_get(l->slot, l->bytes, l->len, a, m, err);
}
