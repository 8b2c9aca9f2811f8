/** The log of the map: who changed what, why and when, as entries beside what they tell of, written in the same change.
 *
 * Its keys begin with "log/" and sort by time. It is bounded: whoever adds to it may trim it. */
#ifndef CAIRN_SERVER_CLUSTER_MAP_LOG_H
#define CAIRN_SERVER_CLUSTER_MAP_LOG_H

#include "server/cluster/map_store.h"

#include <jansson.h>

enum {
    CAIRN_MAP_LOG_ENTRIES_MAX = 1000, /* and a few, until it is trimmed */
    CAIRN_MAP_LOG_TEXT_BYTES_MAX = 256,
    CAIRN_MAP_LOG_KEYS_MAX = 16, /* that one entry names; more are counted */
};
#define CAIRN_MAP_LOG_PREFIX "log/"

/** One entry to be written; held until the change is done. */
struct cairn_map_log_line {
    char key[48];
    char *value; /* JSON, from malloc */
    struct cairn_map_write write;
};

/** Describes the change of @writes in line->write, which is to be made part of it. @author ("uid 1000", "node n1") and
 * @reason are cut at CAIRN_MAP_LOG_TEXT_BYTES_MAX. CAIRN_E_NOMEM. */
int cairn_map_log_describe(struct cairn_map_log_line *line, struct cairn_env *env, const char *author,
                           const char *reason, const struct cairn_map_write *writes, uint32_t n);
void cairn_map_log_line_fini(struct cairn_map_log_line *line);

/** {"time_ms", "author", "reason", "keys", "revision"}: what an entry of the log says; NULL: it is no such entry, or
 * there is no memory. */
json_t *cairn_map_log_read(const struct cairn_map_entry *e);

/** Held by its user; zeroed but for the first part. */
struct cairn_map_log_trim {
    void (*done)(struct cairn_map_log_trim *t); /* at home, once for each trim that was begun */
    void *arg;
    bool trimming;
    /* private */
    struct cairn_map_change change;
    struct cairn_map_write writes[CAIRN_MAP_WRITES_MAX];
    char keys[CAIRN_MAP_WRITES_MAX][48];
    uint32_t n, more;
};
/** Erases some of the oldest entries if the view has so many that it is worth a change; its failure is nothing but a
 * longer log. False: not now. At home. */
bool cairn_map_log_trim(struct cairn_map_store *s, struct cairn_map_log_trim *t);

#endif
