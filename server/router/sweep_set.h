/** Candidates of the sweeper: ids of regions, some of which turn out to be named. Pure. */
#ifndef CAIRN_SERVER_ROUTER_SWEEP_SET_H
#define CAIRN_SERVER_ROUTER_SWEEP_SET_H

#include <stdbool.h>
#include <stdint.h>

enum { ROUTER_SWEEP_SET_MAX = 1 << 20 };

/** Zero-initialised is empty. */
struct router_sweep_set {
    uint64_t *ids; /* ascending */
    bool *named;
    uint32_t n, room;
    uint32_t at; /* candidates before this one were taken */
};

void router_sweep_set_fini(struct router_sweep_set *set);
/** Empties it, keeping the memory. */
void router_sweep_set_clear(struct router_sweep_set *set);
/** Returns 0, CAIRN_E_NOMEM, CAIRN_E_LIMIT (full), or CAIRN_E_INVAL: @id is not above the last. */
int router_sweep_set_add(struct router_sweep_set *set, uint64_t id);
/** @id is no candidate any more. */
void router_sweep_set_name(struct router_sweep_set *set, uint64_t id);
/** The next candidates that are left, at most @max; *@ids is valid until the next call. 0 behind the last. Nothing
 * may be added or named any more until the set is cleared. */
uint32_t router_sweep_set_take(struct router_sweep_set *set, uint32_t max, uint64_t **ids);

#endif
