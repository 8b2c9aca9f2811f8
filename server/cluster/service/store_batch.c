/* One batch for the provider: rows of several databases that are kept or lost together. */
#include "server/cluster/service/store_internal.h"

#include <stdlib.h>

void store_batch_fini(struct store_batch *b)
{
    free(b->dbs);
    free(b->keys);
    free(b->lengths);
    free(b->if_absent);
    free(b->key_bytes);
    free(b->values);
    memset(b, 0, sizeof(*b));
}

void store_batch_reset(struct store_batch *b)
{
    store_batch_undo(b, (struct store_batch_mark){ 0 });
}

struct store_batch_mark store_batch_mark(const struct store_batch *b)
{
    return (struct store_batch_mark){ b->n, b->key_bytes_n, b->values_n };
}

void store_batch_undo(struct store_batch *b, struct store_batch_mark m)
{
    b->n = m.n;
    b->key_bytes_n = m.key_bytes_n;
    b->values_n = m.values_n;
}

static bool grow(void *array, size_t size, size_t room)
{
    void **p = array, *more = realloc(*p, size * room);

    if (more == NULL)
        return false;
    *p = more;
    return true;
}

static bool rows_make_room(struct store_batch *b)
{
    uint32_t room = b->room == 0 ? 64 : b->room * 2;

    if (b->n < b->room)
        return true;
    if (!grow(&b->dbs, sizeof(*b->dbs), room) || !grow(&b->keys, sizeof(*b->keys), room) ||
        !grow(&b->lengths, sizeof(*b->lengths), room) || !grow(&b->if_absent, sizeof(*b->if_absent), room))
        return false;
    b->room = room;
    return true;
}

static bool bytes_make_room(uint8_t **bytes, size_t *room, size_t need)
{
    size_t more = MAX(*room, 4096);

    if (need <= *room)
        return true;
    while (more < need)
        more *= 2;
    if (!grow(bytes, 1, more))
        return false;
    *room = more;
    return true;
}

int store_batch_add(struct store_batch *b, uint32_t db, const uint8_t *head, size_t head_len, const uint8_t *key,
                    size_t key_len, const uint8_t *value, int64_t value_len, bool if_absent)
{
    size_t len = value_len > 0 ? (size_t)value_len : 0;

    if (!rows_make_room(b) ||
        !bytes_make_room(&b->key_bytes, &b->key_bytes_room, b->key_bytes_n + head_len + key_len) ||
        !bytes_make_room(&b->values, &b->values_room, b->values_n + len))
        return CAIRN_E_NOMEM;
    b->dbs[b->n] = db;
    b->keys[b->n] = (ProtobufCBinaryData){ .len = head_len + key_len, .data = (uint8_t *)(uintptr_t)b->key_bytes_n };
    b->lengths[b->n] = value_len;
    b->if_absent[b->n] = if_absent;
    b->n++;
    if (head_len > 0)
        memcpy(b->key_bytes + b->key_bytes_n, head, head_len);
    if (key_len > 0)
        memcpy(b->key_bytes + b->key_bytes_n + head_len, key, key_len);
    b->key_bytes_n += head_len + key_len;
    if (len > 0)
        memcpy(b->values + b->values_n, value, len);
    b->values_n += len;
    return 0;
}

void store_batch_end(struct store_batch *b, Cairn__Wire__Durability durability)
{
    size_t at = 0;

    for (uint32_t i = 0; i < b->n; i++) {
        b->keys[i].data = b->key_bytes + at;
        at += b->keys[i].len;
    }
    cairn__wire__kv_apply__init(&b->msg);
    b->msg.dbs = b->dbs;
    b->msg.keys = b->keys;
    b->msg.lengths = b->lengths;
    b->msg.if_absent = b->if_absent;
    b->msg.n_dbs = b->msg.n_keys = b->msg.n_lengths = b->msg.n_if_absent = b->n;
    b->msg.durability = durability;
}

/* ---- rows ---- */

int store_batch_at(struct store_batch *b, uint32_t db, uint32_t slot, struct cairn_at at, bool partial)
{
    uint8_t key[STORE_SLOT_BYTES], value[STORE_AT_VALUE_BYTES];

    store_be32(key, slot);
    value[0] = STORE_ROW_FORMAT;
    cairn_le_store64(value + 1, at.epoch);
    cairn_le_store64(value + 9, at.pos);
    value[17] = partial;
    return store_batch_add(b, db, key, sizeof(key), NULL, 0, value, sizeof(value), false);
}

/* The key of a session's row, and of its writes' up to the number. */
static void session_key(uint8_t *key, uint32_t slot, struct cairn_at id)
{
    store_be32(key, slot);
    store_be64(key + 4, id.epoch);
    store_be64(key + 12, id.pos);
}

int store_batch_session(struct store_batch *b, uint32_t db, uint32_t slot, struct cairn_at id, uint64_t floor)
{
    uint8_t key[STORE_OPEN_KEY_BYTES], value[STORE_OPEN_VALUE_BYTES];

    session_key(key, slot, id);
    value[0] = STORE_ROW_FORMAT;
    cairn_le_store64(value + 1, floor);
    return store_batch_add(b, db, key, sizeof(key), NULL, 0, value, sizeof(value), false);
}

static void write_key(uint8_t *key, uint32_t slot, struct cairn_at session, uint64_t row)
{
    session_key(key, slot, session);
    key[STORE_OPEN_KEY_BYTES] = (uint8_t)(row >> 8);
    key[STORE_OPEN_KEY_BYTES + 1] = (uint8_t)row;
}

int store_batch_write(struct store_batch *b, uint32_t db, uint32_t slot, struct cairn_at session,
                      const struct cairn_session_write *w, uint64_t epoch, uint64_t floor)
{
    uint8_t key[STORE_WRITE_KEY_BYTES], value[STORE_WRITE_VALUE_BYTES];

    /* With such a write all before it are forgotten, the one that had the row, too: usual clients, who wait for one
     * write to a slot at a time, have one row that is written again and again, and not one for each write. */
    write_key(key, slot, session, w->seq == floor ? (uint64_t)STORE_SESSION_ALONE : w->seq % STORE_SESSION_ROWS);
    value[0] = STORE_ROW_FORMAT;
    cairn_le_store64(value + 1, w->seq);
    cairn_le_store64(value + 9, epoch);
    cairn_le_store64(value + 17, w->pos);
    cairn_le_store32(value + 25, (uint32_t)w->result);
    cairn_le_store64(value + 29, floor);
    return store_batch_add(b, db, key, sizeof(key), NULL, 0, value, sizeof(value), false);
}

int store_batch_expire(struct store_batch *b, uint32_t db, uint32_t slot, struct cairn_at session, uint64_t newest)
{
    uint8_t key[STORE_WRITE_KEY_BYTES];
    int rc;

    session_key(key, slot, session);
    rc = store_batch_add(b, db, key, STORE_OPEN_KEY_BYTES, NULL, 0, NULL, -1, false);
    for (uint64_t i = 0; rc == 0 && i <= MIN(newest, (uint64_t)STORE_SESSION_ROWS); i++) {
        write_key(key, slot, session, i == 0 ? (uint64_t)STORE_SESSION_ALONE : i % STORE_SESSION_ROWS);
        rc = store_batch_add(b, db, key, sizeof(key), NULL, 0, NULL, -1, false);
    }
    return rc;
}
