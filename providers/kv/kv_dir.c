/* The directory of databases: see kv_dir.h. */
#include "providers/kv/kv_dir.h"

#include "sdk/core/base/macros.h"

#include <stdlib.h>
#include <string.h>

int cairn_kv_dir_init(struct cairn_kv_dir *d, uint32_t max, uint32_t generation)
{
    CAIRN_ASSERT(max > 0 && max <= CAIRN_KV_DB_MAX);
    memset(d, 0, sizeof(*d));
    d->slots = calloc(max, sizeof(d->slots[0]));
    if (d->slots == NULL)
        return CAIRN_E_NOMEM;
    pthread_mutex_init(&d->mutex, NULL);
    d->max = max;
    d->generation = generation % CAIRN_KV_GENERATION_MAX;
    return 0;
}

void cairn_kv_dir_fini(struct cairn_kv_dir *d)
{
    for (uint32_t i = 0; i < d->max; i++)
        free(d->slots[i].desc);
    free(d->slots);
    pthread_mutex_destroy(&d->mutex);
}

static uint64_t word_of(const struct cairn_kv_db *db)
{
    return db->handle | (uint64_t)db->order << 32 | (uint64_t)db->write_once << 40;
}

bool cairn_kv_dir_find(const struct cairn_kv_dir *d, uint32_t handle, struct cairn_kv_db *db)
{
    uint32_t slot = handle & (CAIRN_KV_DB_MAX - 1);
    uint64_t word;

    if (slot >= d->max)
        return false;
    word = atomic_load_explicit(&d->slots[slot].word, memory_order_acquire);
    if (word == 0 || (uint32_t)word != handle)
        return false;
    *db = (struct cairn_kv_db){
        .handle = handle, .slot = (uint16_t)slot, .order = (uint8_t)(word >> 32), .write_once = (word >> 40 & 1) != 0
    };
    return true;
}

const struct cairn_kv_db_desc *cairn_kv_dir_by_name(const struct cairn_kv_dir *d, const char *name)
{
    for (uint32_t i = 0, seen = 0; i < d->max && seen < d->n; i++) {
        const struct cairn_kv_db_desc *desc = d->slots[i].desc;

        if (desc == NULL)
            continue;
        if (strcmp(desc->name, name) == 0)
            return desc;
        seen++;
    }
    return NULL;
}

static int dir_keep(struct cairn_kv_dir *d, const struct cairn_kv_db_desc *desc)
{
    struct cairn_kv_db_desc *copy = malloc(sizeof(*copy));

    if (copy == NULL)
        return CAIRN_E_NOMEM;
    *copy = *desc;
    d->slots[desc->db.slot].desc = copy;
    d->n++;
    return 0;
}

int cairn_kv_dir_reserve(struct cairn_kv_dir *d, struct cairn_kv_db_desc *desc)
{
    if (d->n == d->max)
        return CAIRN_E_LIMIT;
    while (d->slots[d->next_slot].desc != NULL) /* in turn, so that a slot rests as long as possible */
        d->next_slot = (d->next_slot + 1) % d->max;
    d->generation = d->generation % CAIRN_KV_GENERATION_MAX + 1; /* never 0: no handle is below CAIRN_KV_DB_MAX */
    desc->db.slot = (uint16_t)d->next_slot;
    desc->db.handle = cairn_kv_handle(d->generation, d->next_slot);
    d->next_slot = (d->next_slot + 1) % d->max;
    return dir_keep(d, desc);
}

int cairn_kv_dir_restore(struct cairn_kv_dir *d, const struct cairn_kv_db_desc *desc)
{
    int rc;

    if (desc->db.slot >= d->max)
        return CAIRN_E_LIMIT;
    if (d->slots[desc->db.slot].desc != NULL || cairn_kv_dir_by_name(d, desc->name) != NULL)
        return CAIRN_E_CORRUPT;
    rc = dir_keep(d, desc);
    if (rc == 0)
        cairn_kv_dir_publish(d, &desc->db);
    return rc;
}

void cairn_kv_dir_publish(struct cairn_kv_dir *d, const struct cairn_kv_db *db)
{
    atomic_store_explicit(&d->slots[db->slot].word, word_of(db), memory_order_release);
}

void cairn_kv_dir_hide(struct cairn_kv_dir *d, const struct cairn_kv_db *db)
{
    atomic_store_explicit(&d->slots[db->slot].word, 0, memory_order_release);
}

void cairn_kv_dir_forget(struct cairn_kv_dir *d, const struct cairn_kv_db *db)
{
    CAIRN_ASSERT(d->slots[db->slot].desc != NULL);
    cairn_kv_dir_hide(d, db);
    free(d->slots[db->slot].desc);
    d->slots[db->slot].desc = NULL;
    d->n--;
}
