/** What a command needs of a node that does not run: its configuration, a loop, and the map's store. */
#ifndef CAIRN_NODE_MAP_KEEPER_H
#define CAIRN_NODE_MAP_KEEPER_H

#include "server/cluster/map_file.h"
#include "server/node/node.h"

struct cairn_map_keeper {
    struct cairn_node_conf conf;
    struct cairn_datadir data;
    struct cairn_pool *pool;
    struct cairn_loop loop;
    bool has_loop;
    struct cairn_map_store *store;
    struct cairn_map_file file; /* of a local store that is only read */
};

/** Reads the configuration; mistakes are in @text. Always *@out, for finish(). */
int cairn_node__keeper_open(struct cairn_map_keeper **out, const struct cairn_server_options *options, char *text,
                            size_t text_len, struct cairn_err *err);
/** All entries, without disturbing a node that runs. */
int cairn_node__keeper_read(struct cairn_map_keeper *k, struct cairn_map_table *t, uint64_t *revision,
                            struct cairn_err *err);
/** For changes: the data directory, if one is named, is ours, so no node runs on it; then k->store is open. */
int cairn_node__keeper_own(struct cairn_map_keeper *k, struct cairn_err *err);
/** All entries of k->store. */
int cairn_node__keeper_read_store(struct cairn_map_keeper *k, struct cairn_map_table *t, uint64_t *revision,
                                  struct cairn_err *err);
/** Ends @k (may be NULL), and says in @text why @rc is none, unless that is there already. Returns @rc. */
int cairn_node__keeper_finish(struct cairn_map_keeper *k, int rc, const struct cairn_err *err, char *text,
                              size_t text_len);

/** Makes of @t's entries what may stand in any store. CAIRN_E_CORRUPT, CAIRN_E_NOMEM. */
int cairn_node__make_movable(struct cairn_map_table *t, struct cairn_err *err);

#endif
