/** Namespaces that were removed: what logs and copies still say of them is dropped.
 *
 * A namespace's id is never given twice (../map_ids.h): what a later map does not have is gone for good. The node's view
 * of the map alone must not say so, for acknowledged writes hang on it: one that the view lacks is looked for in the
 * store itself, and is gone only when that has none either; until the store has answered, what waits for it waits. Where
 * the store has what the view lacks, the view is read again. */
#ifndef CAIRN_SERVER_CLUSTER_SERVICE_GONE_H
#define CAIRN_SERVER_CLUSTER_SERVICE_GONE_H

#include "server/cluster/map_ids.h"
#include "server/cluster/service/store.h"

struct cluster_gone {
    struct cairn_map_store *map;
    pthread_mutex_t mutex;
    uint32_t *found; /* under mutex, as all up to asks: of the namespaces that the last read found, in order */
    uint32_t nfound;
    bool unreadable; /* it found one that may be any */
    uint64_t upto;   /* it knows of all whose ids are not greater; 0: nothing was read yet */
    uint32_t asked;  /* for whom it is read */
    bool asks;       /* from the asking on, until it is over */
    struct cairn_task task;
    struct cairn_map_read read; /* home's, as all below */
    struct cairn_map_ids ids;   /* read before the namespaces: of what is newer, nothing is judged */
    void (*stopped)(void *arg);
    void *arg;
};

void cluster_gone_init(struct cluster_gone *g, struct cairn_map_store *map);
void cluster_gone_fini(struct cluster_gone *g);
/** Any thread that has a loop. What is CLUSTER_NS_ASKED may be asked again in a moment. */
enum cluster_ns_state cluster_gone_look(struct cluster_gone *g, uint32_t ns);
/** At home, when nobody looks any more: done(arg) when nothing is under way, maybe before this returns. */
void cluster_gone_stop(struct cluster_gone *g, void (*done)(void *arg), void *arg);

#endif
