/* What the files of this folder share: one node, its workers and its life. */
#ifndef CAIRN_NODE_H
#define CAIRN_NODE_H

#include "cairn/server.h"
#include "sdk/core/base/log.h"
#include "sdk/core/bulk/bulk.h"
#include "sdk/core/net/addr.h"
#include "sdk/core/rpc/accept.h"
#include "server/cluster/map_identity.h"
#include "server/node/activate.h"
#include "server/node/conf/node_conf.h"
#include "server/node/datadir.h"
#include "server/node/metrics.h"
#include "server/node/notify.h"
#include "server/node/watchdog.h"
#include "server/port/gossip.h"
#include "server/port/provider.h"
#include "server/storage/spare.h"

#include <pthread.h>

enum { NODE_FIXED_TARGETS = 3 }; /* node, bulk, router */

/** One worker: a thread, its loop and its end of the RPC layer. */
struct cairn_worker {
    struct cairn_server *node;
    struct cairn_loop loop;
    struct cairn_rpc *rpc;
    uint32_t index;
    pthread_t thread;
    bool has_loop, has_bulk, has_thread;
    struct cairn_timer idle_timer; /* looks whether the last request is answered */
    struct cairn_task task;        /* what another thread asks it to do next: one thing at a time */
    void (*work)(struct cairn_worker *w);
};

struct cairn_listener {
    struct cairn_server *node;
    struct cairn_watch watch;
    struct cairn_addr addr;
    int fd;
    bool handed_over; /* by the service manager, whose it stays */
    char text[CAIRN_ADDR_TEXT_MAX];
    struct cairn_timer pause;   /* after the descriptor limit was hit */
    uint64_t pauses, warned_ns; /* how often it was, and when that was last said */
};

/** A provider and what it was given. */
struct cairn_instance {
    const struct cairn_provider_desc *desc;
    struct cairn_provider_env env;
    char dir[4096];
    struct cairn_spare spare; /* of @dir, where has_spare */
    void *ctx;
    bool started, has_spare;
};

/** The configuration of the cluster's own group, where none is configured (node_group.c). */
struct cairn_node_group {
    struct cairn_conf_key *keys;
    struct cairn_conf_schema schema;
    struct cairn_conf_doc *doc;
};

struct cairn_server {
    struct cairn_node_conf conf;
    struct cairn_node_group group;
    struct cairn_log log;
    bool has_log;
    int log_file_fd; /* ours; -1: none */
    struct cairn_datadir data;
    struct cairn_spare spare; /* of the data directory */
    struct cairn_gossip gossip;
    struct cairn_pool *pool;
    struct cairn_rpc_budget budget;
    struct cairn_rpc_node rpc_node;

    struct cairn_worker *workers;
    struct cairn_rpc **rpcs;
    struct cairn_loop **loops;
    uint32_t nworkers;

    struct cairn_rpc_target targets[CAIRN_PROVIDERS_MAX];
    uint32_t ntargets;
    struct cairn_map_store *map;              /* on worker 0's loop; NULL: the router has one of its own */
    bool map_was_empty;                       /* nobody had claimed it, and it had nothing */
    struct cairn_provider_node provider_node; /* who we are, for providers */
    struct cairn_instance *instances;         /* of configured providers; the last is the router */
    uint32_t ninstances;

    struct cairn_listener listeners[CAIRN_NODE_LISTEN_MAX];
    char *addresses[CAIRN_NODE_LISTEN_MAX];
    uint32_t nlisteners;
    uint32_t next_worker; /* accept() spreads connections evenly */
    uint64_t started_ns;
    struct cairn_rpc_stats_set **stats;                           /* one per worker */
    const struct cairn_bulk_counters **bulks;                     /* likewise */
    const struct cairn_provider_desc *descs[CAIRN_PROVIDERS_MAX]; /* of each target; NULL for the node's own */
    struct cairn_metrics metrics;
    struct cairn_http *metrics_http;

    struct cairn_notify notify; /* to the service manager, if there is one */
    struct cairn_activation handed;
    struct cairn_watchdog *watchdog; /* NULL: none is wanted */

    /* the end: on worker 0 */
    struct cairn_sm sm;
    struct cairn_task stop_task;
    struct cairn_timer stop_timer;
    uint32_t leaving, undrained, quiescing, unidle, idle_rounds;
    _Atomic bool stop_asked;

    pthread_mutex_t mutex;
    pthread_cond_t stopped_cond;
    bool stopped; /* under mutex */
};

/* instance_dir.c */
/* The directory of a configured provider (@section NULL: one that every node has). CAIRN_E_INVAL: too long. */
int cairn_node__instance_path(const struct cairn_node_conf *conf, const struct cairn_conf *section, const char *name,
                              char *to, size_t len, struct cairn_err *err);
/* Whether a start would take the directory at @path, outside of the data directory whose disk_id this is. */
int cairn_node__instance_check_owner(const char *path, uint64_t disk_id, struct cairn_err *err);
/* Makes it; env.name and env.conf are set, env.spare may become its own. */
int cairn_node__instance_open_dir(struct cairn_server *s, struct cairn_instance *p, struct cairn_err *err);
/* The spare room of the data directory and of all such directories: cairn_spare_*(). */
int cairn_node__spares_make_way(struct cairn_server *s, struct cairn_err *err);
void cairn_node__spares_keep(struct cairn_server *s);
void cairn_node__spares_fini(struct cairn_server *s);

/* instances.c */
/* The environments of all, with their directories and places among the targets, before any is started. */
int cairn_node__plan_instances(struct cairn_server *s, struct cairn_err *err);
int cairn_node__start_instances(struct cairn_server *s, struct cairn_err *err);

/* node_group.c */
/* A node of a cluster gets a group, behind the configured providers, unless it has one or cannot. */
int cairn_node__add_group(struct cairn_server *s, struct cairn_err *err);
void cairn_node__free_group(struct cairn_server *s);
/* Its name, for a configuration that has none and gets it; NULL: it does not. */
const char *cairn_node__default_group(const struct cairn_node_conf *conf);

/* node_open.c */
int cairn_node__open(struct cairn_server *s, const struct cairn_server_options *options, struct cairn_err *err);
void cairn_node__close(struct cairn_server *s);

/* node_start.c */
int cairn_node__read_conf(struct cairn_node_conf *conf, const struct cairn_server_options *options, char *text,
                          size_t text_len, struct cairn_err *err);
/* What a start and its check say alike. */
int cairn_node__needs_data(const struct cairn_node_conf *conf, struct cairn_err *err);
bool cairn_node__has_munge(const struct cairn_node_conf *conf);
/** Are the addresses free, or there already (@handed, may be NULL)? What stands in the way is said to @tell, one call
 * for each. */
void cairn_node__check_addresses(const struct cairn_node_conf *conf, const struct cairn_activation *handed,
                                 void (*tell)(void *arg, int rc, const struct cairn_err *err), void *arg);
int cairn_node__needs_munge(const struct cairn_node_conf *conf, bool has, struct cairn_err *err);

/* node_run.c */
extern const struct cairn_sm_kind cairn_node_kind;
int cairn_node__run(struct cairn_server *s, struct cairn_err *err);
void cairn_node__join(struct cairn_server *s);

/* node_map_rpc.c */

void cairn_node__handle_map(struct cairn_rpc_req *rq);

/* node_map.c */
/** Whether the files that the map's TLS needs can be what they are meant to be; @tell (may be NULL) hears each that
 * cannot, with where the configuration names it. Returns the first's code. */
int cairn_node__check_map_files(const struct cairn_node_conf *conf,
                                void (*tell)(void *arg, int rc, const struct cairn_err *err), void *arg);
/** The store in etcd that the configuration names, read; waits for it. Nobody else runs @home meanwhile. @waits (NULL:
 * nobody cares) is told several times a second how much longer that may take and why it does; false: give up, which is
 * CAIRN_E_SHUTDOWN. */
int cairn_node__open_etcd(const struct cairn_node_conf *conf, struct cairn_loop *home,
                          bool (*waits)(void *arg, uint64_t left_ns, const char *why), void *arg,
                          struct cairn_map_store **out, struct cairn_err *err);

/** The cluster that a new data directory is to be of: as configured, or else as the map says, if it is one's already
 * ("": then a new one). @map may be NULL. */
int cairn_node__adopt_cluster(struct cairn_map_store *map, const char *configured, struct cairn_map_identity *id,
                              struct cairn_err *err);
/** The map is that of the data directory's cluster, or nobody's so far and now is. CAIRN_E_CONFIG: it is another's. */
int cairn_node__claim_map(struct cairn_map_store *map, const struct cairn_datadir *data, struct cairn_err *err);

/** What all that would say, with @data as it was found (its cluster is 0 if there is none yet). */
int cairn_node__check_etcd(const struct cairn_node_conf *conf, const struct cairn_datadir *data, struct cairn_err *err);

/* map_move.c */
/** For a node whose map is in etcd: CAIRN_E_CONFIG if the data directory has one with namespaces, which was not moved
 * there. */
int cairn_node__check_no_own_map(const char *data, struct cairn_err *err);

/* waiting.c */
struct cairn_waiting {
    struct cairn_server *node; /* whose loops are there */
    bool is_program;           /* cairn_server_options.service: the process's signals are the node's */
    uint64_t said_ns;          /* when it was last said; 0: never */
};
/** For cairn_node__open_etcd(): says what is waited for. */
bool cairn_node__waits(void *waiting, uint64_t left_ns, const char *why);
/** That is over, whatever came of it. */
void cairn_node__waited(struct cairn_waiting *w);

/* listen.c */
int cairn_node__listen(struct cairn_server *s, struct cairn_err *err);
void cairn_node__listen_start(struct cairn_server *s);
void cairn_node__listen_stop(struct cairn_server *s);

/* service.c */
/** What the service manager gives this process, and that it starts. */
int cairn_node__meet_service(struct cairn_server *s, struct cairn_err *err);
void cairn_node__tell_ready(struct cairn_server *s);

/* node_rpc.c */
extern cairn_rpc_handler *const cairn_node_handlers[];
/** Answers with a NodeText; takes @text, from malloc. NULL: no memory. */
void cairn_node__reply_text(struct cairn_rpc_req *rq, char *text);

/* node_machines.c */
struct cairn_kinds;
extern const struct cairn_sm_kind *const cairn_node_kinds[]; /* of the runtime; NULL-terminated */
/** Adds the kinds of the runtime and of the node's providers. */
void cairn_node__kinds(const struct cairn_server *s, struct cairn_kinds *to);
void cairn_node__handle_machines(struct cairn_rpc_req *rq);

#endif
