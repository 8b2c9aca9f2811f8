/** etcd's JSON interface: requests written, answers read. Pure; answers are input like any other, and fuzzed.
 *
 * Keys and values are base64, 64-bit numbers strings, what is zero or false is left out. All keys of a store begin with
 * its prefix, which its users do not see. */
#ifndef CAIRN_SERVER_CLUSTER_MAP_ETCD_JSON_H
#define CAIRN_SERVER_CLUSTER_MAP_ETCD_JSON_H

#include "server/cluster/map_store_etcd.h"

enum {
    CAIRN_ETCD_PAGE = 256,      /* entries in an answer: below CAIRN_MAP_HTTP_REPLY_MAX at their largest */
    CAIRN_ETCD_PAGE_MAX = 4096, /* if they are small: for each page etcd walks through all that are behind it, too */
    CAIRN_ETCD_PAGE_BYTES = 1 << 20, /* about: home reads them in one go */
};

/* ---- requests: JSON from malloc, NULL for memory ---- */

char *cairn_etcd_write_txn(const char *prefix, const struct cairn_map_change *c);
/** A page of entries. */
struct cairn_etcd_range {
    const char *begin, *end; /* that begin with @begin and stand before @end (NULL: all that do) */
    const char *after;       /* behind this key, or, if the last ones come first, before it; NULL: from the first */
    uint64_t revision;       /* as of then; 0: now */
    uint32_t limit;
    bool keys_only, last_first;
};
char *cairn_etcd_write_range(const char *prefix, const struct cairn_etcd_range *r);
char *cairn_etcd_write_lease(const struct cairn_map_lease_op *l);
/** Of all entries before @end (NULL: of all). */
char *cairn_etcd_write_watch(const char *prefix, const char *end, uint64_t from);
char *cairn_etcd_write_login(const char *user, const char *password);

/* ---- answers: CAIRN_E_PROTO when they are not what they should be ---- */

/** Sets c->op.rc, revision, refused from an answer with status 200. */
int cairn_etcd_read_txn(const char *text, size_t len, struct cairn_map_change *c, struct cairn_err *err);
/** What a page says beside its entries. */
struct cairn_etcd_page {
    uint64_t revision, count; /* count: of all that was asked for, whatever the limit */
    bool more;                /* there are further ones, behind: */
    char *last;               /* from malloc; also when the last one is not ours; NULL: there is none */
};
/** Adds a page to @t, whose keys it continues, downwards if the last ones come first; entries that cannot be ours are
 * left out. page->last is the caller's in every case. */
int cairn_etcd_read_range(const char *text, size_t len, const char *prefix, bool last_first, struct cairn_map_table *t,
                          struct cairn_etcd_page *page, struct cairn_err *err);
/** Sets l->id and l->ttl_ms. CAIRN_E_CLOSED: the lease is over. */
int cairn_etcd_read_lease(const char *text, size_t len, struct cairn_map_lease_op *l, struct cairn_err *err);
/** *@token from malloc. */
int cairn_etcd_read_login(const char *text, size_t len, char **token, struct cairn_err *err);

/** What an answer with another status, or a stream's error line, says. */
struct cairn_etcd_failure {
    int rc; /* CAIRN_E_CLOSED: no such lease; CAIRN_E_AUTH: the token is not good (any more), or the user may not do
               it; CAIRN_E_NOSPACE; CAIRN_E_BUSY; CAIRN_E_UNKNOWN: it may have happened; CAIRN_E_INVAL: refused
               for another reason, of which one is that the revision is gone: @compacted */
    bool compacted;
};
struct cairn_etcd_failure cairn_etcd_read_failure(const char *text, size_t len, long status, struct cairn_err *err);

/** One line of a watch. */
struct cairn_etcd_news {
    bool created, canceled, compacted;
    uint64_t revision;             /* everything up to it is told with this line; created: the store's */
    struct cairn_map_node **nodes; /* in order; n references */
    uint32_t n;
};
/** @news is the caller's to clear in every case. An error line is CAIRN_E_UNREACHABLE, or CAIRN_E_AUTH. */
int cairn_etcd_read_news(const char *text, size_t len, const char *prefix, struct cairn_etcd_news *news,
                         struct cairn_err *err);
void cairn_etcd_news_clear(struct cairn_etcd_news *news);

#endif
