/* Views of the store that callers have opened: bounded in number, and ended when nobody has used one for a while, so
 * that a caller that is gone keeps nothing. Of any thread; the store's own part runs on the pool or an errand's
 * thread. */
#ifndef CAIRN_PROVIDERS_KV_SNAPSHOT_H
#define CAIRN_PROVIDERS_KV_SNAPSHOT_H

#include "providers/kv/kv_store.h"
#include "server/storage/errand.h"

enum { KV_SNAPSHOTS_MAX = 1024 };

/* Free: no id, no view. Open: both. Over: a view, which is the store's to close when the last user has left. */
struct kv_snapshot {
    void *view; /* constant for who uses it */
    uint64_t id, used_ns;
    uint32_t users;
};

struct kv_snapshots {
    const struct cairn_kv_store_ops *ops;
    struct cairn_kv_store *store;
    uint64_t idle_ns;
    struct cairn_errand release;
    pthread_mutex_t mutex;
    struct kv_snapshot *slots; /* under mutex, as all below */
    uint32_t max, nopen;
    uint64_t next; /* number */
};

int kv_snapshots_init(struct kv_snapshots *s, const struct cairn_kv_store_ops *ops, struct cairn_kv_store *store,
                      uint32_t max, uint64_t idle_ns);
/* Closes those that are left; nobody uses one. Before the store is closed. */
void kv_snapshots_fini(struct kv_snapshots *s);

/* A new one, in use, and its number: 0, CAIRN_E_LIMIT, or what the store says. May block. */
int kv_snapshots_open(struct kv_snapshots *s, struct kv_snapshot **out, uint64_t *id);
/* NULL if there is none of that number (any more). As long as it is in use it does not end. */
struct kv_snapshot *kv_snapshots_use(struct kv_snapshots *s, uint64_t id);
void kv_snapshots_done(struct kv_snapshots *s, struct kv_snapshot *snap, uint64_t now_ns);
/* False if there is none. Whoever uses it goes on. */
bool kv_snapshots_close(struct kv_snapshots *s, uint64_t id);
/* Ends those that are idle for too long; returns when to look again, UINT64_MAX if none is open. */
uint64_t kv_snapshots_expire(struct kv_snapshots *s, uint64_t now_ns);
uint32_t kv_snapshots_count(struct kv_snapshots *s);

#endif
