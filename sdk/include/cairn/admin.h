/** Namespaces and nodes, for those who run them. */
#ifndef CAIRN_ADMIN_H
#define CAIRN_ADMIN_H

#include "cairn/cairn.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- namespaces ---- */

/** How a namespace is made; zero and NULL mean the node's default. */
struct cairn_ns_options {
    size_t size;
    enum cairn_durability durability;
    uint32_t replicas;
    uint32_t embed_threshold; /* bytes; values up to this live beside their keys, larger ones in extents */
    uint32_t mode;            /* who may read and write, as of a file: 0640. The creator owns it. */
    bool write_once;          /* keys are never replaced */
    const char *kv;           /* provider of keys and small values */
    const char *extent;       /* provider of large values */
};
#define CAIRN_NS_OPTIONS_INIT CAIRN_STRUCT_INIT(struct cairn_ns_options)

/** What a namespace is. Strings point into the same block. */
struct cairn_ns_info {
    const char *name, *frontend, *kv, *extent;
    uint32_t id, replicas, embed_threshold;
    uint32_t owner, group, mode; /* uid, gid, permission bits */
    enum cairn_durability durability;
    bool write_once;
    bool clustered;      /* spread over a cluster's nodes; else all that a node has of it is that node's alone */
    uint64_t created_ms; /* since 1970 */
};
/** One block: cairn_free(). */
struct cairn_ns_list {
    size_t n;
    struct cairn_ns_info *namespaces;
};

/** Makes the hashed namespace @name. @ns_options may be NULL.
 *   CAIRN_E_EXISTS      there is one of that name
 *   CAIRN_E_NOPROVIDER  the node has no such provider
 *   CAIRN_E_INVAL       the name is empty, too long (CAIRN_NAME_BYTES_MAX) or not made of letters, digits, "._-" */
CAIRN_API int cairn_ns_create(struct cairn *c, const char *name, const struct cairn_ns_options *ns_options,
                              const struct cairn_call_options *o);
CAIRN_API int cairn_ns_create_async(struct cairn *c, const char *name, const struct cairn_ns_options *ns_options,
                                    const struct cairn_call_options *o, cairn_done_fn *done, void *arg);

/** Those that the caller owns, may read or may write, by name; an administrator sees all. However many there are:
 * they are asked for page by page, so one that is made or removed meanwhile may or may not be among them. */
CAIRN_API int cairn_ns_list(struct cairn *c, struct cairn_ns_list **out, const struct cairn_call_options *o);
CAIRN_API int cairn_ns_list_async(struct cairn *c, struct cairn_ns_list **out, const struct cairn_call_options *o,
                                  cairn_done_fn *done, void *arg);

/** *@out is a list of one. CAIRN_E_NOTFOUND; CAIRN_E_DENIED: it is there, and the caller may neither read nor write
 * it. */
CAIRN_API int cairn_ns_show(struct cairn *c, const char *name, struct cairn_ns_list **out,
                            const struct cairn_call_options *o);
CAIRN_API int cairn_ns_show_async(struct cairn *c, const char *name, struct cairn_ns_list **out,
                                  const struct cairn_call_options *o, cairn_done_fn *done, void *arg);

/** Removes a namespace, @force: with all that is in it.
 *   CAIRN_E_NOTEMPTY  there is something in it, and no @force; or, in a cluster, there may be: it is spread over the
 *                     nodes, or the text names another node that has stored something of it, which says itself whether
 *                     that is there still (`cairn ns remove` asks them all) */
CAIRN_API int cairn_ns_remove(struct cairn *c, const char *name, bool force, const struct cairn_call_options *o);
CAIRN_API int cairn_ns_remove_async(struct cairn *c, const char *name, bool force, const struct cairn_call_options *o,
                                    cairn_done_fn *done, void *arg);

/* ---- the node ---- */

struct cairn_provider_info {
    uint32_t id;
    const char *name, *type;
};
/** One block: cairn_free(). */
struct cairn_providers {
    size_t n;
    struct cairn_provider_info *providers;
};
CAIRN_API int cairn_providers(struct cairn *c, struct cairn_providers **out, const struct cairn_call_options *o);
CAIRN_API int cairn_providers_async(struct cairn *c, struct cairn_providers **out, const struct cairn_call_options *o,
                                    cairn_done_fn *done, void *arg);

/* Texts are versioned JSON ({"version":1,...}), zero-terminated, one block each: cairn_free(). */

/** What the node is, its providers, what is wrong with them. */
CAIRN_API int cairn_status(struct cairn *c, char **json, const struct cairn_call_options *o);
CAIRN_API int cairn_status_async(struct cairn *c, char **json, const struct cairn_call_options *o, cairn_done_fn *done,
                                 void *arg);
/** Live state machines by kind and state; @trace: with the recent moves; or, with @graph not NULL, the table of that
 * kind as DOT instead of JSON (CAIRN_E_NOTFOUND: no such kind). */
CAIRN_API int cairn_machines(struct cairn *c, const char *graph, bool trace, char **text,
                             const struct cairn_call_options *o);
CAIRN_API int cairn_machines_async(struct cairn *c, const char *graph, bool trace, char **text,
                                   const struct cairn_call_options *o, cairn_done_fn *done, void *arg);
CAIRN_API int cairn_metrics(struct cairn *c, char **json, const struct cairn_call_options *o);
CAIRN_API int cairn_metrics_async(struct cairn *c, char **json, const struct cairn_call_options *o, cairn_done_fn *done,
                                  void *arg);
/** The effective configuration. CAIRN_E_DENIED: for administrators only. */
CAIRN_API int cairn_config(struct cairn *c, char **json, const struct cairn_call_options *o);
CAIRN_API int cairn_config_async(struct cairn *c, char **json, const struct cairn_call_options *o, cairn_done_fn *done,
                                 void *arg);

/** What is asked of the map. */
struct cairn_map_ask {
    size_t size;
    bool log;      /* its log, not what it holds */
    bool people;   /* of what people did, alone */
    uint32_t last; /* the newest so many entries; 0: as many as there is room for */
};
#define CAIRN_MAP_ASK_INIT CAIRN_STRUCT_INIT(struct cairn_map_ask)

/** What the map store has now: how much of what, and, of a cluster, how slots and nodes are; or, with ask->log, a list
 * of who changed what, why and when, oldest first. @ask may be NULL.
 *   CAIRN_E_DENIED       for administrators only
 *   CAIRN_E_UNREACHABLE  the node cannot ask the store now */
CAIRN_API int cairn_map(struct cairn *c, const struct cairn_map_ask *ask, char **json,
                        const struct cairn_call_options *o);
CAIRN_API int cairn_map_async(struct cairn *c, const struct cairn_map_ask *ask, char **json,
                              const struct cairn_call_options *o, cairn_done_fn *done, void *arg);

/* ---- its cluster: any node takes these, and sends them to the one that coordinates. While none does, or it does not
 * answer, they are asked again until their time is over, unless CAIRN_ONCE says otherwise. ---- */

/** Members and their states, slots and their replicas, what is being moved; JSON.
 *   CAIRN_E_NOPROVIDER  the node is in no cluster
 *   CAIRN_E_MOVED, CAIRN_E_BUSY  no node coordinates it, or not yet */
CAIRN_API int cairn_cluster_status(struct cairn *c, char **json, const struct cairn_call_options *o);
CAIRN_API int cairn_cluster_status_async(struct cairn *c, char **json, const struct cairn_call_options *o,
                                         cairn_done_fn *done, void *arg);
/** The node of that name is to hold nothing any more, or, with @cancel, as much as others; *@slots (may be NULL): how
 * many it holds now. Returns when that is decided, long before it is done.
 *   CAIRN_E_NOTFOUND    no member is called so
 *   CAIRN_E_STATE       without @force: it holds slots, and nobody else is there who may, or one node for all replicas
 *   CAIRN_E_DENIED      for administrators only */
CAIRN_API int cairn_cluster_drain(struct cairn *c, const char *node, bool cancel, bool force, uint32_t *slots,
                                  const struct cairn_call_options *o);
CAIRN_API int cairn_cluster_drain_async(struct cairn *c, const char *node, bool cancel, bool force, uint32_t *slots,
                                        const struct cairn_call_options *o, cairn_done_fn *done, void *arg);

/** The node of that name is away, and will not be back: what it holds is made anew on other nodes now, and not only
 * when cluster.lost_after has passed. Should it come back it is welcome, and gets its share. *@slots, *@alone (may be
 * NULL): how many it holds now, and how many of them nobody else has who is there: those are out of reach while it is
 * away.
 *   CAIRN_E_NOTFOUND    no member is called so
 *   CAIRN_E_STATE       it is there; or, without @force, there are slots that nobody else has
 *   CAIRN_E_DENIED      for administrators only */
CAIRN_API int cairn_cluster_lose(struct cairn *c, const char *node, bool force, uint32_t *slots, uint32_t *alone,
                                 const struct cairn_call_options *o);
CAIRN_API int cairn_cluster_lose_async(struct cairn *c, const char *node, bool force, uint32_t *slots, uint32_t *alone,
                                       const struct cairn_call_options *o, cairn_done_fn *done, void *arg);

/** How far this node, not the cluster, is with comparing the replicas that it leads with the others', and what it has
 * found, as JSON; with @start a round begins now, if none is under way.
 *   CAIRN_E_NOPROVIDER  the node is in no cluster
 *   CAIRN_E_DENIED      for administrators only */
CAIRN_API int cairn_cluster_scrub(struct cairn *c, bool start, char **json, const struct cairn_call_options *o);
CAIRN_API int cairn_cluster_scrub_async(struct cairn *c, bool start, char **json, const struct cairn_call_options *o,
                                        cairn_done_fn *done, void *arg);

/** The recent moves of this client's own state machines into @fd, a line each: for debugging. Returns 0. */
CAIRN_API int cairn_dump(struct cairn *c, int fd);

#ifdef __cplusplus
}
#endif
#endif
