/** Pages of a copy of the map that follow one another, kept until the last of them is here.
 *
 * A page with more behind it does not hold all up to its revision: what has changed once more since is in a later one,
 * and another copy may have what it lacks under an older version. It says where to go on in that one copy, and no
 * more. So whoever reads several takes them when it has all of them, and all of one copy; then they do hold all up to
 * the revision of the last one. */
#ifndef CAIRN_SERVER_CLUSTER_SERVICE_RECORDS_CHAIN_H
#define CAIRN_SERVER_CLUSTER_SERVICE_RECORDS_CHAIN_H

#include "server/cluster/repl/repl_wire.h"

struct records_chain {
    uint64_t since; /* all up to here was known when the first one was asked for */
    struct cairn_wire_page *pages;
    uint32_t n, room;
    struct cairn_arena arena; /* of the pages */
};

/** Of no page yet; of a map of at most @nslots slots. */
void records_chain_begin(struct records_chain *ch, uint64_t since, uint32_t nslots);
/** Gives all memory back; may be called again, and before the next begin(). */
void records_chain_end(struct records_chain *ch);
/** The revision to ask the next page with. */
uint64_t records_chain_upto(const struct records_chain *ch);
/** A copy of @page, which was asked for so. CAIRN_E_STATE: it is of another copy, or map: what is here cannot be
 * gone on with. CAIRN_E_INVAL: it leads nowhere. CAIRN_E_NOMEM, also if there is more than the map can have. */
int records_chain_add(struct records_chain *ch, const struct cairn_wire_page *page);

#endif
