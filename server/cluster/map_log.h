/** The log of the map: who changed what, why and when, as entries beside what they tell of, written in the same change.
 *
 * There are two, each bounded for itself: of what people did, and of what the coordinator made of slots and members
 * (service/chronicle.h). Keys sort by time. Whoever adds to a log may trim it. */
#ifndef CAIRN_SERVER_CLUSTER_MAP_LOG_H
#define CAIRN_SERVER_CLUSTER_MAP_LOG_H

#include "server/cluster/map_store.h"

#include <jansson.h>

enum {
    CAIRN_MAP_LOG_ENTRIES_MAX = 1000, /* of each, and a few, until it is trimmed */
    CAIRN_MAP_LOG_TOLD_MAX = 2000,    /* of each, however long it has become: the newest */
    CAIRN_MAP_LOG_TEXT_BYTES_MAX = 256,
    CAIRN_MAP_LOG_KEYS_MAX = 16, /* that one entry names; more are counted */
    CAIRN_MAP_LOG_KEY_BYTES = 48,
};
#define CAIRN_MAP_LOG_PREFIX       "log/"
#define CAIRN_MAP_LOG_SLOTS_PREFIX "slotlog/"

/** One entry to be written; held until the change is done. */
struct cairn_map_log_line {
    char key[CAIRN_MAP_LOG_KEY_BYTES];
    char *value; /* JSON, from malloc */
    struct cairn_map_write write;
};

uint64_t cairn_map_log_now_ms(void);
/** The key of an entry of the log @prefix; @unique tells it from all others of that millisecond. */
void cairn_map_log_key(const char *prefix, uint64_t now_ms, uint64_t unique, char key[CAIRN_MAP_LOG_KEY_BYTES]);
/** Text of any bytes as JSON takes it, cut at CAIRN_MAP_LOG_TEXT_BYTES_MAX: what is no printable ASCII becomes '?', as
 * in a log line. */
json_t *cairn_map_log_text(const char *text);

/** Describes the change of @writes in line->write, which is to be made part of it. @author ("uid 1000", "node n1") and
 * @reason are cut at CAIRN_MAP_LOG_TEXT_BYTES_MAX. CAIRN_E_NOMEM. */
int cairn_map_log_describe(struct cairn_map_log_line *line, struct cairn_env *env, const char *author,
                           const char *reason, const struct cairn_map_write *writes, uint32_t n);
void cairn_map_log_line_fini(struct cairn_map_log_line *line);

/** {"time_ms", "author", "reason", "keys", "revision"}: what an entry of either log says; NULL: it is no such entry, or
 * there is no memory. */
json_t *cairn_map_log_read(const struct cairn_map_entry *e);

/** Held by its user; zeroed but for the first part. */
struct cairn_map_log_trim {
    const char *prefix;                         /* of the log */
    void (*done)(struct cairn_map_log_trim *t); /* at home, once for each trim that was begun */
    void *arg;
    bool trimming;
    /* of the last one: how many are too many, and how many went */
    uint32_t more, n;
    /* private */
    struct cairn_map_store *store;
    struct cairn_map_read read;
    struct cairn_map_change change;
    struct cairn_map_write writes[CAIRN_MAP_WRITES_MAX];
    char keys[CAIRN_MAP_WRITES_MAX][CAIRN_MAP_LOG_KEY_BYTES];
};
/** Erases some of the oldest entries if the view has so many that it is worth a change; its failure is nothing but a
 * longer log. False: not now. At home. */
bool cairn_map_log_trim(struct cairn_map_store *s, struct cairn_map_log_trim *t);
/** Likewise, of a log that no view has: its oldest entries are read first, as many as a change erases. done() comes in
 * any case. At home, with none under way. */
void cairn_map_log_trim_unseen(struct cairn_map_store *s, struct cairn_map_log_trim *t);

#endif
