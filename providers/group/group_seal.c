/* Sealing packets: see group_seal.h. */
#include "providers/group/group_seal.h"

#include "sdk/core/base/le.h"
#include "sdk/core/base/macros.h"
#include "sdk/core/rpc/auth.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

_Static_assert((int)GROUP_KEY_BYTES == (int)CAIRN_KEY_BYTES, "derived keys are as long as the cluster key");
_Static_assert(GROUP_SEAL_BYTES == GROUP_SEAL_HEAD_BYTES + CAIRN_MAC_BYTES, "head and code");

static const char magic[4] = { 'C', 'G', 'P', GROUP_SEAL_VERSION };
enum { WAYS = 8, WINDOW = 64, COMMON_BYTES = 8 };

int group_seal_init(struct group_seal *s, const uint8_t *cluster_key, const uint8_t *cluster_id, const char *group,
                    uint64_t sender, uint64_t life, uint32_t senders)
{
    uint8_t context[CAIRN_CLUSTER_ID_BYTES + 256] = { 0 };
    size_t n = CAIRN_CLUSTER_ID_BYTES + MIN(strlen(group), (size_t)256);
    uint32_t room = WAYS;

    while (room < 2 * senders)
        room *= 2;
    memset(s, 0, sizeof(*s));
    s->senders = calloc(room, sizeof(*s->senders));
    if (s->senders == NULL)
        return CAIRN_E_NOMEM;
    s->mask = room - 1;
    s->sender = sender;
    s->life = life;
    memcpy(context, cluster_id, CAIRN_CLUSTER_ID_BYTES);
    memcpy(context + CAIRN_CLUSTER_ID_BYTES, group, n - CAIRN_CLUSTER_ID_BYTES);
    s->realm = XXH3_64bits(context, n);
    cairn_auth_derive(s->key, cluster_key, "cairn group 1", context, n);
    return 0;
}

void group_seal_fini(struct group_seal *s)
{
    free(s->senders);
    cairn_auth_forget(s->key, sizeof(s->key));
}

size_t group_seal_close(struct group_seal *s, uint8_t flags, const uint8_t *body, size_t len, uint8_t *to)
{
    memcpy(to, magic, sizeof(magic));
    memset(to + 4, 0, 4);
    to[4] = flags;
    cairn_le_store64(to + 8, s->realm);
    cairn_le_store64(to + 16, s->sender);
    cairn_le_store64(to + 24, s->life);
    cairn_le_store64(to + 32, ++s->number);
    if (len > 0)
        memcpy(to + GROUP_SEAL_HEAD_BYTES, body, len);
    cairn_auth_mac(to + GROUP_SEAL_HEAD_BYTES + len, s->key, to, GROUP_SEAL_HEAD_BYTES + len);
    return GROUP_SEAL_BYTES + len;
}

/* What is remembered of this life of @id, in place of whatever was heard longest ago if it is new. */
static struct group_sender *find_sender(struct group_seal *s, uint64_t id, uint64_t life)
{
    uint64_t at = id ^ (life * UINT64_C(0x9e3779b97f4a7c15) >> 32);
    struct group_sender *oldest = &s->senders[at & s->mask];

    for (uint32_t i = 0; i < WAYS; i++) {
        struct group_sender *x = &s->senders[(at + i) & s->mask];

        if (x->id == id && x->life == life && x->used != 0)
            return x;
        if (x->used < oldest->used)
            oldest = x;
    }
    *oldest = (struct group_sender){ .id = id, .life = life };
    return oldest;
}

/* Notes the packet; false if it came before. */
static bool is_first(struct group_seal *s, uint64_t id, uint64_t life, uint64_t number)
{
    struct group_sender *x = find_sender(s, id, life);

    x->used = ++s->clock;
    if (number > x->top) {
        uint64_t ahead = number - x->top;

        x->seen = ahead < WINDOW ? x->seen << ahead | 1 : 1;
        x->top = number;
        return true;
    }
    if (x->top - number >= WINDOW || (x->seen >> (x->top - number) & 1) != 0)
        return false;
    x->seen |= UINT64_C(1) << (x->top - number);
    return true;
}

enum group_seal_result group_seal_open(struct group_seal *s, const uint8_t *bytes, size_t len, struct group_opened *o)
{
    uint8_t mac[CAIRN_MAC_BYTES];

    if (len < COMMON_BYTES || memcmp(bytes, magic, sizeof(magic) - 1) != 0)
        return GROUP_SEAL_TORN;
    o->version = bytes[3];
    o->flags = bytes[4];
    if (o->version != GROUP_SEAL_VERSION)
        return GROUP_SEAL_STRANGE;
    if (len < GROUP_SEAL_BYTES)
        return GROUP_SEAL_TORN;
    o->sender = cairn_le_load64(bytes + 16);
    o->life = cairn_le_load64(bytes + 24);
    o->body = bytes + GROUP_SEAL_HEAD_BYTES;
    o->len = len - GROUP_SEAL_BYTES;
    if (cairn_le_load64(bytes + 8) != s->realm)
        return GROUP_SEAL_FOREIGN;
    cairn_auth_mac(mac, s->key, bytes, len - CAIRN_MAC_BYTES);
    if (!cairn_auth_equal(mac, bytes + len - CAIRN_MAC_BYTES, CAIRN_MAC_BYTES))
        return GROUP_SEAL_FORGED;
    return is_first(s, o->sender, o->life, cairn_le_load64(bytes + 32)) ? GROUP_SEAL_GOOD : GROUP_SEAL_REPLAYED;
}
