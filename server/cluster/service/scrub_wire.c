/* Messages of the scrub, from anybody: what may be believed of them. Pure. */
#include "server/cluster/service/scrub.h"

static bool is_key(ProtobufCBinaryData k)
{
    return k.len > SCAN_NS_BYTES && k.len <= SCAN_KEY_BYTES_MAX;
}

static int key_compare(ProtobufCBinaryData a, ProtobufCBinaryData b)
{
    return scan_key_order(a.data, a.len, b.data, b.len);
}

bool scrub_ask_is_good(const Cairn__Wire__ClusterCompare *m)
{
    if (m->slot >= SIDE_SLOTS_MAX || m->epoch == 0)
        return false;
    if (m->one)
        return is_key(m->upto) && m->after.len == 0 && m->digest == 0;
    if ((m->after.len > 0 && !is_key(m->after)) || (m->upto.len > 0 && !is_key(m->upto)))
        return false;
    return m->after.len == 0 || m->upto.len == 0 || key_compare(m->after, m->upto) < 0;
}

/* In order, and of the range that was asked for. */
static bool keys_are_good(const Cairn__Wire__ClusterCompare *ask, const Cairn__Wire__ClusterCompared *m)
{
    for (size_t i = 0; i < m->n_keys; i++) {
        if (!is_key(m->keys[i]) || m->states[i] < SCAN_SOUND || m->states[i] >= SCAN_STATES)
            return false;
        if (i > 0 && key_compare(m->keys[i - 1], m->keys[i]) >= 0)
            return false;
    }
    if (m->n_keys == 0)
        return !m->more;
    if (ask->after.len > 0 && key_compare(ask->after, m->keys[0]) >= 0)
        return false;
    return ask->upto.len == 0 || key_compare(m->keys[m->n_keys - 1], ask->upto) <= 0;
}

/* The answer of one key: a copy is what its digest says, and one that is good has a row and a record. */
static bool copy_is_good(const Cairn__Wire__ClusterCompared *m, const uint8_t *record, uint32_t len)
{
    static const uint8_t no_index[STORE_INDEX_VALUE_BYTES];
    enum scan_state state = (enum scan_state)m->states[0];

    if ((m->index.len != 0 && m->index.len != STORE_INDEX_VALUE_BYTES) || len > CAIRN_KV_VALUE_BYTES_MAX)
        return false;
    if (state == SCAN_SOUND && (m->index.len == 0 || len == 0))
        return false;
    return m->digests[0] == store_scan_copy_digest(state, m->index.len > 0 ? m->index.data : no_index, record, len);
}

bool scrub_answer_is_good(const Cairn__Wire__ClusterCompare *ask, const Cairn__Wire__ClusterCompared *m,
                          const uint8_t *payload, uint32_t payload_len)
{
    if (m->n_keys > SCAN_KEYS_MAX || m->n_digests != m->n_keys || m->n_states != m->n_keys || m->commit < m->applied ||
        m->applied < ask->applied || !keys_are_good(ask, m))
        return false;
    if (!ask->one)
        return m->index.len == 0 && payload_len == 0 && (!m->same || m->n_keys == 0);
    if (m->same || m->more || m->n_keys != 1 || key_compare(m->keys[0], ask->upto) != 0)
        return false;
    return copy_is_good(m, payload, payload_len);
}

bool scrub_record_is_good(const uint8_t *record, uint32_t len, struct cairn_record *r)
{
    return record != NULL && cairn_record_parse(record, len, r) == 0 &&
           (r->type != CAIRN_RECORD_EMBEDDED || cairn_record_is_sound(r, 0, r->length));
}
