/* What the files of the provider share. Worker 0 runs the core, its socket and its timers; others only look, under the
 * mutex, which worker 0 holds while the core takes a step. */
#ifndef CAIRN_GROUP_INTERNAL_H
#define CAIRN_GROUP_INTERNAL_H

#include "providers/group/group_nodes.h"
#include "providers/group/group_seal.h"
#include "providers/group/swim.h"
#include "sdk/core/net/dgram.h"
#include "server/port/provider.h"

#include <pthread.h>
#include <stdatomic.h>

enum {
    GROUP_NAME_MAX = 63,
    GROUP_PROBLEM_MAX = 192,
    GROUP_PAGE_MAX = 128,          /* members of one answer */
    GROUP_WAIT_MS_MAX = 60 * 1000, /* of one request */
    GROUP_ADDR_TEXT_MAX = 80,
    GROUP_WEIGHT_MAX = 1000000,
};

struct group_provider;

/* Requests of one worker that wait for a change. */
struct group_worker {
    struct group_provider *provider;
    struct cairn_loop *loop;
    struct cairn_link watches; /* struct group_watch, in group_watch.c */
    atomic_uint nwatches;
    atomic_bool told; /* the task is on its way */
    struct cairn_task task;
};

/* Looking for others, on the pool: names are resolved and a directory on a shared file system is read. */
struct group_join {
    struct cairn_job job;
    struct cairn_timer timer;
    bool running, stopped, again;
    char entry[4200], dir[4096];                       /* our own entry, and where it lies; "" if there is none */
    struct cairn_swim_addr also[CAIRN_SWIM_SEEDS_MAX]; /* said at run time */
    uint32_t nalso;
    struct cairn_swim_addr seeds[CAIRN_SWIM_SEEDS_MAX];
    uint32_t nseeds, nself; /* nself: entries that are our own address */
    char trouble[GROUP_PROBLEM_MAX];
    char told[GROUP_PROBLEM_MAX]; /* what was logged last */
};

struct group_provider {
    const char *name;
    const struct cairn_conf *conf;
    const struct cairn_provider_node *node;
    struct cairn_loop *loop;
    struct cairn_pool *pool;
    char group[GROUP_NAME_MAX + 1];
    struct cairn_swim_desc self;
    bool observer;
    uint64_t life;

    pthread_mutex_t mutex;
    struct cairn_swim core; /* written by worker 0 under the mutex */
    struct cairn_swim_dir dir;
    struct cairn_swim_memory memory;
    char problem[GROUP_PROBLEM_MAX]; /* under the mutex; "": none */

    struct cairn_swim_out out;
    struct group_seal seal;
    struct cairn_dgram dgram;
    struct cairn_timer timer;
    atomic_uint_fast64_t refused[GROUP_SEAL_RESULTS_NR]; /* packets, by why */
    bool said[GROUP_SEAL_RESULTS_NR];
    uint64_t notice_ns;            /* when we last told a stranger who we are */
    uint64_t load_ns, load_cpu_ns; /* of the last measurement */
    struct group_join join;
    struct cairn_swim_addr also[CAIRN_SWIM_SEEDS_MAX]; /* for the next job of @join; worker 0 */
    uint32_t nalso;
    bool urgent;                 /* they are to be asked as soon as that job is over, even if we are in a group */
    struct cairn_gossip *gossip; /* of the node; NULL: there is none */
    struct cairn_gossip_carrier carrier;
    struct group_nodes nodes; /* worker 0 */

    void (*quiesced)(void *arg);
    void *quiesced_arg;
    struct cairn_timer leave_timer;
    atomic_bool draining;

    uint32_t nworkers;
    struct group_worker workers[];
};

/* group_net.c: packets and time. */
int group_net_run(struct group_provider *p, struct cairn_err *err);
void group_net_stop(struct group_provider *p);
void group_input(struct group_provider *p, struct cairn_swim_in *in);
bool group_addr_of(const struct cairn_addr *a, struct cairn_swim_addr *to);
/* "udp://127.0.0.1:7311", "udp://[::1]:7311": numbers alone, so that nothing is looked up. False: it is something
 * else. */
bool group_addr_parse(const char *text, struct cairn_swim_addr *to);
void group_addr_text(const struct cairn_swim_addr *a, char to[GROUP_ADDR_TEXT_MAX]);
/* Notes why we are not in the group; "": we are. */
void group_problem(struct group_provider *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* group_status.c */
/* It knows the others, or there is nobody to be asked. */
bool group_is_joined(const struct group_provider *p);
void group_status(void *ctx, json_t *to);

/* group_event.c: what the core says, for people. */
void group_tell_events(struct group_provider *p);
void group_tell_refused(struct group_provider *p, enum group_seal_result why, const struct cairn_swim_addr *from);

/* group_join.c */
/* As init would say it, changing nothing. */
int group_join_check(const struct cairn_conf *conf, struct cairn_err *err);
int group_join_init(struct group_provider *p, struct cairn_err *err);
void group_join_run(struct group_provider *p);
/* Ask these, too, from now on, in place of those that were said so before. Worker 0. */
void group_join_also(struct group_provider *p, const struct cairn_swim_addr *seeds, uint32_t n);
/* No more; true once no job runs. */
bool group_join_stop(struct group_provider *p);
void group_join_withdraw(struct group_provider *p);

/* group_carrier.c: what the node's other providers have of the group. */
void group_carrier_init(struct group_provider *p);
/* What the core has just said of members, for them. */
void group_carrier_tell(struct group_provider *p);

/* group_watch.c */
extern const struct cairn_sm_kind group_watch_kind;
void group_worker_init(struct group_worker *w, struct group_provider *p, struct cairn_loop *loop);
/* Something has changed, or nobody may wait any more: all who wait are answered. Worker 0, under the mutex or not. */
void group_watch_tell(struct group_provider *p);

/* group_change.c */
extern const struct cairn_sm_kind group_change_kind;
void group_handle_set(struct cairn_rpc_req *rq);
void group_handle_join(struct cairn_rpc_req *rq);

/* group_provider.c: no control characters, and @min to @max bytes. */
int group_check_text(const char *key, const char *value, size_t min, size_t max, struct cairn_err *err);

/* group_rpc.c */
extern cairn_rpc_handler *const group_handlers[];
void group_reply_page(struct cairn_rpc_req *rq);
/* group_watch.c: @rq waits. False: there was no memory, and it was answered. */
bool group_watch_begin(struct cairn_rpc_req *rq, uint32_t wait_ms);

#endif
