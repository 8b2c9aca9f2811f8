/** libfabric as network hardware would have it: tcp;ofi_rxm with the memory modes of verbs, cxi, psm2 or efa on top.
 *
 * A program that links this has every fabric of its own go through it. Whatever the modes ask for is insisted upon, as
 * hardware does, and counted as an offence where it is left out; what travels is still moved by tcp;ofi_rxm, so bytes
 * arrive, or do not, for real. Both ends must be in this process. */
#ifndef CAIRN_TESTS_LIB_STRICT_FABRIC_H
#define CAIRN_TESTS_LIB_STRICT_FABRIC_H

#include <stdint.h>

/** FI_MR_* of the fabrics that are opened from here on, and how long their keys are. Forgets what was counted. */
void strict_fabric_set(int mr_mode, uint32_t key_bytes);

struct strict_fabric_counts {
    uint32_t registrations; /* made so far */
    uint32_t open;          /* not closed yet */
    uint32_t transfers;     /* reads and writes that were accepted */
    uint32_t endpoints;     /* open */
    uint32_t offences;      /* the last one: */
    const char *offence;
};
struct strict_fabric_counts strict_fabric_counts(void);

#endif
