/* The group provider: who is there. The descriptor: configuration, start, stop. */
#include "providers/group/group_internal.h"

#include "sdk/core/base/log.h"
#include "sdk/core/rpc/auth.h"
#include "server/storage/file_io.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { MEMBERS_MAX = 65536, SUSPICIONS_MAX = 4096, LEAVE_GOSSIPS = 3 };
enum { LIFE_GAP = 1000 }; /* a life contradicts and changes less often than this */

static const struct cairn_conf_key schema[] = {
    { .name = "listen",
      .type = CAIRN_CONF_STRING,
      .help = "where this member receives packets: udp://HOST:PORT; port 0 takes any" },
    { .name = "advertise",
      .type = CAIRN_CONF_STRING,
      .fallback = "",
      .help = "where others send them, if not to `listen`: udp://HOST:PORT" },
    { .name = "group",
      .type = CAIRN_CONF_STRING,
      .fallback = "main",
      .help = "name of the group; a node may be in several" },
    { .name = "member",
      .type = CAIRN_CONF_STRING,
      .fallback = "",
      .help = "what this member is called, unlike all others; empty: the node's name" },
    { .name = "join",
      .type = CAIRN_CONF_LIST,
      .max = CAIRN_SWIM_SEEDS_MAX,
      .help = "addresses (udp://HOST:PORT) of any members; those that do not answer do not matter, one's own neither" },
    { .name = "directory",
      .type = CAIRN_CONF_STRING,
      .fallback = "",
      .help = "a directory on a file system that all share, where members find each other; instead of `join`, or "
              "beside it" },
    { .name = "observer",
      .type = CAIRN_CONF_BOOL,
      .fallback = "false",
      .help = "see the group without being a member" },
    { .name = "zone",
      .type = CAIRN_CONF_STRING,
      .fallback = "",
      .help = "said in the group, for programs that choose among members: what this node fails together with; empty: "
              "'cluster.zone', which decides where replicas go" },
    { .name = "weight",
      .type = CAIRN_CONF_UINT,
      .fallback = "100",
      .max = GROUP_WEIGHT_MAX,
      .help = "likewise: how much this node should get, in relation to others. Its share of the slots is "
              "'cluster.weight'" },
    { .name = "capacity",
      .type = CAIRN_CONF_SIZE,
      .fallback = "0",
      .help = "likewise: bytes that this node can hold; 0: unsaid" },
    { .name = "members",
      .type = CAIRN_CONF_UINT,
      .fallback = "1024",
      .min = 2,
      .max = MEMBERS_MAX,
      .help = "how many there may be at a time; the dead make room for the living" },
    { .name = "period",
      .type = CAIRN_CONF_DURATION,
      .fallback = "500ms",
      .min = 50 * CAIRN_NS_PER_MS,
      .max = 60 * CAIRN_NS_PER_S,
      .help = "between two probes of a member; the same in the whole group" },
    { .name = "suspicion",
      .type = CAIRN_CONF_DURATION,
      .fallback = "800ms",
      .min = 50 * CAIRN_NS_PER_MS,
      .max = 600 * CAIRN_NS_PER_S,
      .help = "how long a suspected member has to contradict, in a group of ten; longer in larger ones" },
    { .name = "forget",
      .type = CAIRN_CONF_DURATION,
      .fallback = "1h",
      .min = 10 * CAIRN_NS_PER_S,
      .max = 48 * 3600 * CAIRN_NS_PER_S,
      .help = "how long the dead are remembered, and looked for" },
    { .name = NULL },
};

/* ---- configuration ---- */

static bool is_any(const struct cairn_swim_addr *a)
{
    static const uint8_t zeros[16];

    return memcmp(a->ip, zeros, a->len) == 0;
}

static int parse_address(const struct cairn_conf *c, const char *key, struct cairn_addr *addr,
                         struct cairn_swim_addr *a, struct cairn_err *err)
{
    int rc = cairn_addr_parse_dgram(cairn_conf_str(c, key), addr, err);

    if (rc != 0)
        return cairn_err_wrap(err, rc, "'%s'", key);
    group_addr_of(addr, a);
    return 0;
}

int group_check_text(const char *key, const char *value, size_t min, size_t max, struct cairn_err *err)
{
    size_t n = strlen(value);

    for (size_t i = 0; i < n; i++) {
        if ((unsigned char)value[i] < 0x20 || value[i] == 0x7f)
            return cairn_err_set(err, CAIRN_E_CONFIG, "'%s' has a control character", key);
    }
    if (n < min || n > max)
        return cairn_err_set(err, CAIRN_E_CONFIG, "'%s' must have %zu to %zu bytes", key, min, max);
    return 0;
}

/* What can be said without a network: no name is looked up here. */
static int check_conf(const struct cairn_conf *c, struct cairn_err *err)
{
    const char *group = cairn_conf_str(c, "group"), *listen = cairn_conf_str(c, "listen");
    uint32_t n = cairn_conf_list_len(c, "join"), own = 0;
    int rc = group_check_text("group", group, 1, GROUP_NAME_MAX, err);

    if (rc == 0 && (strchr(group, '/') != NULL || group[0] == '.'))
        rc = cairn_err_set(err, CAIRN_E_CONFIG, "'group' must not have a '/', nor begin with a '.'");
    if (rc == 0)
        rc = group_check_text("member", cairn_conf_str(c, "member"), 0, CAIRN_SWIM_NAME_MAX, err);
    if (rc == 0)
        rc = group_check_text("zone", cairn_conf_str(c, "zone"), 0, CAIRN_SWIM_ZONE_MAX, err);
    for (uint32_t i = 0; rc == 0 && i < n; i++) {
        const char *text = cairn_conf_list_str(c, "join", i);

        own += strcmp(text, listen) == 0 || strcmp(text, cairn_conf_str(c, "advertise")) == 0;
        if (strncmp(text, "udp://", 6) != 0)
            rc = cairn_err_set(err, CAIRN_E_CONFIG, "'join[%u]' must be udp://HOST:PORT; found '%.100s'", i, text);
    }
    if (rc == 0 && n > 0 && own == n && !cairn_conf_bool(c, "observer"))
        rc = cairn_err_set(
            err, CAIRN_E_CONFIG,
            "'join' names only this member itself; name another one, or leave `join` empty to begin a group");
    return rc;
}

static int check_advertised(const struct cairn_conf *c, const struct cairn_swim_addr *listen, struct cairn_err *err)
{
    if (!is_any(listen) || cairn_conf_str(c, "advertise")[0] != '\0')
        return 0;
    return cairn_err_set(err, CAIRN_E_CONFIG,
                         "'listen' is every address of this machine: say in 'advertise' which one others shall use");
}

static int group_check(const struct cairn_provider_env *env, struct cairn_err *err)
{
    struct cairn_swim_addr a;
    struct cairn_addr addr;
    struct cairn_dgram socket;
    int rc = check_conf(env->conf, err);

    if (rc == 0)
        rc = parse_address(env->conf, "listen", &addr, &a, err);
    if (rc == 0)
        rc = check_advertised(env->conf, &a, err);
    if (rc == 0 && cairn_conf_str(env->conf, "advertise")[0] != '\0')
        rc = parse_address(env->conf, "advertise", &(struct cairn_addr){ .len = 0 }, &a, err);
    if (rc == 0)
        rc = group_join_check(env->conf, err);
    if (rc == 0)
        rc = cairn_dgram_open(&socket, &addr, err);
    if (rc == 0)
        cairn_dgram_close(&socket);
    return rc;
}

/* ---- start ---- */

/* A number that grows from life to life, even if the clock was set back meanwhile: the clock's milliseconds, or enough
 * more than the last time. Without a data directory there is only the clock. */
static int next_life(const char *dir, uint64_t *life, struct cairn_err *err)
{
    char text[32] = "";
    struct timespec now;
    int dirfd, fd, n, rc;

    clock_gettime(CLOCK_REALTIME, &now);
    *life = (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
    if (dir[0] == '\0')
        return 0;
    dirfd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dirfd < 0)
        return cairn_err_errno(err, errno, "%s", dir);
    fd = openat(dirfd, "life", O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        if (read(fd, text, sizeof(text) - 1) > 0)
            *life = MAX(*life, strtoull(text, NULL, 10) + LIFE_GAP);
        close(fd);
    }
    n = snprintf(text, sizeof(text), "%" PRIu64 "\n", *life);
    rc = cairn_file_replace(dirfd, "life", text, (uint64_t)n, err);
    close(dirfd);
    return cairn_err_wrap(err, rc, "%s", dir);
}

static int open_socket(struct group_provider *p, struct cairn_err *err)
{
    struct cairn_swim_addr a;
    struct cairn_addr addr;
    int rc = parse_address(p->conf, "listen", &addr, &a, err);

    if (rc == 0)
        rc = cairn_dgram_open(&p->dgram, &addr, err);
    if (rc != 0)
        return rc;
    group_addr_of(&addr, &p->self.addr); /* with the port that it got */
    if (cairn_conf_str(p->conf, "advertise")[0] != '\0')
        return parse_address(p->conf, "advertise", &addr, &p->self.addr, err);
    return check_advertised(p->conf, &p->self.addr, err);
}

static int make_memory(struct group_provider *p)
{
    uint32_t room = (uint32_t)cairn_conf_u64(p->conf, "members"), suspicions = MIN(room, (uint32_t)SUSPICIONS_MAX);
    struct cairn_swim_desc *descs = calloc(room, sizeof(*descs));
    uint32_t *table = calloc(cairn_swim_dir_table_len(room), sizeof(*table));

    p->memory.views = calloc(room, sizeof(*p->memory.views));
    p->memory.suspicions = calloc(suspicions, sizeof(*p->memory.suspicions));
    p->memory.heap = calloc(suspicions, sizeof(*p->memory.heap));
    p->memory.nsuspicions = suspicions;
    p->dir.descs = descs;
    p->dir.table = table;
    if (descs == NULL || table == NULL || p->memory.views == NULL || p->memory.suspicions == NULL ||
        p->memory.heap == NULL || group_nodes_init(&p->nodes, room) != 0)
        return CAIRN_E_NOMEM;
    cairn_swim_dir_init(&p->dir, descs, table, room);
    return 0;
}

static int start_core(struct group_provider *p, struct cairn_err *err)
{
    struct cairn_swim_conf conf = cairn_swim_conf_default;
    uint64_t random;
    int rc;

    conf.period_ms = (uint32_t)(cairn_conf_u64(p->conf, "period") / CAIRN_NS_PER_MS);
    conf.ping_ms = conf.period_ms * 2 / 5;
    conf.gossip_ms = conf.period_ms * 2 / 5;
    conf.suspect_ms = (uint32_t)(cairn_conf_u64(p->conf, "suspicion") / CAIRN_NS_PER_MS);
    conf.forget_ms = (uint32_t)(cairn_conf_u64(p->conf, "forget") / CAIRN_NS_PER_MS);
    conf.observer = p->observer;
    cairn_auth_random(&random, sizeof(random));
    rc = cairn_swim_init(&p->core, &conf, &p->dir, &p->memory, p->observer ? NULL : &p->self, p->life, random,
                         &p->loop->machines);
    if (rc == 0)
        rc = group_seal_init(&p->seal, p->node->key, p->node->cluster_id, p->group, p->core.id, p->life, p->dir.room);
    return rc != 0 ? cairn_err_set(err, rc, "group") : 0;
}

static int describe(struct group_provider *p, const struct cairn_provider_env *env, struct cairn_err *err)
{
    const char *member = cairn_conf_str(p->conf, "member"), *zone = cairn_conf_str(p->conf, "zone");
    int rc = check_conf(p->conf, err);

    if (rc == 0 && p->node == NULL)
        rc = cairn_err_set(err, CAIRN_E_CONFIG, "a group needs a node with a cluster key");
    if (rc != 0)
        return rc;
    member = member[0] != '\0' ? member : p->node->name;
    rc = group_check_text("member", member, 1, CAIRN_SWIM_NAME_MAX, err);
    if (rc != 0)
        return rc;
    snprintf(p->group, sizeof(p->group), "%s", cairn_conf_str(p->conf, "group"));
    snprintf(p->self.name, sizeof(p->self.name), "%s", member);
    if (zone[0] == '\0' && p->node->zone != NULL && strlen(p->node->zone) <= CAIRN_SWIM_ZONE_MAX)
        zone = p->node->zone; /* the cluster's may be longer than what a packet has room for */
    snprintf(p->self.zone, sizeof(p->self.zone), "%s", zone);
    p->self.id = cairn_swim_id(p->self.name, strlen(p->self.name));
    p->self.weight = (uint32_t)cairn_conf_u64(p->conf, "weight");
    p->self.capacity = cairn_conf_u64(p->conf, "capacity");
    p->observer = cairn_conf_bool(p->conf, "observer");
    return next_life(env->dir, &p->life, err);
}

static void group_free(struct group_provider *p)
{
    cairn_dgram_close(&p->dgram);
    group_seal_fini(&p->seal);
    free(p->dir.descs);
    free(p->dir.table);
    free(p->memory.views);
    free(p->memory.suspicions);
    free(p->memory.heap);
    group_nodes_fini(&p->nodes);
    pthread_mutex_destroy(&p->mutex);
    free(p);
}

static int group_start(const struct cairn_provider_env *env, void **ctx, struct cairn_err *err)
{
    struct group_provider *p = calloc(1, sizeof(*p) + env->nloops * sizeof(p->workers[0]));
    int rc;

    if (p == NULL)
        return cairn_err_set(err, CAIRN_E_NOMEM, "group");
    pthread_mutex_init(&p->mutex, NULL);
    p->dgram.fd = -1;
    p->name = env->name;
    p->conf = env->conf;
    p->node = env->node;
    p->pool = env->pool;
    p->gossip = env->gossip;
    group_carrier_init(p);
    p->loop = env->loops[0];
    p->nworkers = env->nloops;
    for (uint32_t i = 0; i < env->nloops; i++)
        group_worker_init(&p->workers[i], p, env->loops[i]);
    rc = describe(p, env, err);
    if (rc == 0)
        rc = open_socket(p, err);
    if (rc == 0 && make_memory(p) != 0)
        rc = cairn_err_set(err, CAIRN_E_NOMEM, "room for the members");
    if (rc == 0)
        rc = start_core(p, err);
    if (rc == 0)
        rc = group_join_init(p, err);
    if (rc != 0)
        group_free(p);
    else
        *ctx = p;
    return rc;
}

/* ---- run, leave, stop ---- */

/* Where clients reach this node: the first address that is of use to others. And which process of the cluster it is.
 * Known only now. */
static void describe_node(struct group_provider *p)
{
    for (uint32_t i = 0; i < *p->node->naddresses; i++) {
        const char *a = p->node->addresses[i];

        if (strncmp(a, "tcp://", 6) == 0 && strlen(a) <= CAIRN_SWIM_SERVICE_MAX) {
            strcpy(p->self.service, a);
            break;
        }
    }
    if (p->gossip != NULL)
        p->self.node = p->gossip->self;
    group_input(p, &(struct cairn_swim_in){ .type = CAIRN_SWIM_SET, .desc = &p->self });
}

static void group_run(void *ctx)
{
    struct group_provider *p = ctx;
    struct cairn_err err = { 0 };
    char addr[GROUP_ADDR_TEXT_MAX];

    if (group_net_run(p, &err) != 0) {
        cairn_log_error("group %s: %s", p->group, err.text);
        group_problem(p, "%s", err.text);
        return;
    }
    group_addr_text(&p->self.addr, addr);
    cairn_log_info("group %s: %s %s at %s", p->group, p->observer ? "observer" : "member", p->self.name, addr);
    if (!p->observer)
        describe_node(p);
    group_join_run(p);
}

static void group_drain(void *ctx)
{
    struct group_provider *p = ctx;

    pthread_mutex_lock(&p->mutex);
    atomic_store(&p->draining, true);
    pthread_mutex_unlock(&p->mutex);
    group_watch_tell(p);
}

static void on_left(void *arg)
{
    struct group_provider *p = arg;

    if (!group_join_stop(p)) { /* a job still looks at us */
        cairn_timer_start(&p->loop->env, &p->leave_timer, cairn_loop_now(p->loop) + 10 * CAIRN_NS_PER_MS);
        return;
    }
    group_net_stop(p);
    p->quiesced(p->quiesced_arg);
}

/* Says goodbye a few times, since packets get lost; a member that left is not suspected. */
static void group_quiesce(void *ctx, void (*done)(void *arg), void *arg)
{
    struct group_provider *p = ctx;
    uint64_t wait_ns = 0;

    p->quiesced = done;
    p->quiesced_arg = arg;
    group_join_stop(p);
    if (p->dgram.watched && !p->observer && cairn_swim_size(&p->core) > 1)
        wait_ns = (uint64_t)LEAVE_GOSSIPS * p->core.conf.gossip_ms * CAIRN_NS_PER_MS;
    if (p->dgram.watched)
        group_input(p, &(struct cairn_swim_in){ .type = CAIRN_SWIM_LEAVE });
    cairn_timer_init(&p->leave_timer, on_left, p);
    cairn_timer_start(&p->loop->env, &p->leave_timer, cairn_loop_now(p->loop) + wait_ns);
}

static void group_stop(void *ctx)
{
    struct group_provider *p = ctx;

    group_join_withdraw(p);
    group_free(p);
}

static const struct cairn_sm_kind *const machines[] = { &cairn_swim_probe_kind, &cairn_swim_sync_kind,
                                                        &group_watch_kind, &group_change_kind, NULL };

const struct cairn_provider_desc cairn_provider_group = {
    .type = "group",
    .iface = &cairn_iface_group,
    .handlers = group_handlers,
    .schema = schema,
    .machines = machines,
    .check = group_check,
    .start = group_start,
    .run = group_run,
    .drain = group_drain,
    .quiesce = group_quiesce,
    .stop = group_stop,
    .status = group_status,
};
