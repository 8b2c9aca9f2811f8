/* Speaks to the cluster service of a node as another node would: cluster_client [-k|-c KEYFILE] ADDRESS COMMAND...
 * With the cluster's key as a node, or (-c) as one that only has it; without it as whoever the socket says.
 *   status                                 what the coordinator says, as JSON
 *   register NODE PROCESS NAME             a node, which has nothing on its disk; prints its incarnation
 *   beat NODE INCARNATION NUMBER REVISION  prints "granted wants_register revision slots"
 *   class REPLICAS                         prints "slots revision"
 *   records SINCE                          prints "revision slots members", of all pages
 *   flood TIMES                            the first page, as a node would ask; prints how many were answered, and refused
 *   active SLOT EPOCH NODE INCARNATION     a slot's primary says that it has taken over; prints the verdict
 *   stop NODE INCARNATION                  a node's last word
 *   drain NAME                             prints how many slots it holds
 *   upload NAMESPACE KEY SLOT UPLOAD       a value's only part, and a session; prints "epoch position" of that
 *   commit NAMESPACE KEY SLOT UPLOAD EPOCH POSITION NUMBER   makes it the value, as the session's write of that number
 *   id NAMESPACE                           prints its id, as this node has it
 *   read NAMESPACE KEY [ID]                of this node as one of the replicas; prints the value's length. ID: the
 *                                          namespace that is meant, whoever has its name
 * Fails with the error's name and text. */
#include "sdk/core/rpc/session.h"
#include "server/cluster/repl/repl_wire.h"

#include "schema/common.pb-c.h"
#include "schema/router.pb-c.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TIMEOUT_S = 10, ARENA_BYTES_MAX = 16 << 20 };

struct client {
    struct cairn_loop loop;
    struct cairn_rpc *rpc;
    struct cairn_rpc_session *session;
    struct cairn_arena arena;
    void (*show)(struct client *c, const ProtobufCMessage *reply);
    bool done;
    int rc;
    uint64_t revision, term, map, slots, members;
    bool more;
    struct iovec payload; /* of the next request */
};

static void on_done(struct cairn_rpc_call *call)
{
    struct client *c = call->arg;

    c->rc = call->rc;
    if (call->rc == 0)
        c->show(c, call->reply);
    else
        fprintf(stderr, "%s: %s\n", cairn_error_name(call->rc), call->err->text);
    c->done = true;
}

static int ask_provider(struct client *c, const struct cairn_rpc_iface *iface, uint16_t provider, uint16_t method,
                        const ProtobufCMessage *msg, void (*show)(struct client *c, const ProtobufCMessage *reply))
{
    struct cairn_err err = { 0 };
    struct cairn_rpc_call call = { .dest = { .rpc = c->rpc, .session = c->session },
                                   .iface = iface,
                                   .provider = provider,
                                   .method = method,
                                   .msg = msg,
                                   .timeout_ns = TIMEOUT_S * CAIRN_NS_PER_S,
                                   .done = on_done,
                                   .arg = c,
                                   .err = &err };

    call.payload[0] = c->payload;
    call.payload_n = c->payload.iov_len > 0;
    c->show = show;
    c->done = false;
    cairn_loop_enter(&c->loop);
    cairn_rpc_call_start(&call);
    while (!c->done)
        cairn_loop_turn(&c->loop, CAIRN_NS_PER_S);
    return c->rc;
}

static int ask(struct client *c, uint16_t method, const ProtobufCMessage *msg,
               void (*show)(struct client *c, const ProtobufCMessage *reply))
{
    return ask_provider(c, &cairn_iface_cluster, CAIRN_PROVIDER_CLUSTER, method, msg, show);
}

static uint64_t number(const char *text)
{
    return strtoull(text, NULL, 0);
}

/* ---- answers ---- */

static void show_status(struct client *c, const ProtobufCMessage *reply)
{
    (void)c;
    puts(((const Cairn__Wire__ClusterText *)reply)->json);
}

static void show_registered(struct client *c, const ProtobufCMessage *reply)
{
    (void)c;
    printf("%" PRIu64 "\n", ((const Cairn__Wire__ClusterRegistered *)reply)->inc);
}

static void note_term(struct client *c, const ProtobufCMessage *reply)
{
    c->term = ((const Cairn__Wire__ClusterGrant *)reply)->term;
    c->map = ((const Cairn__Wire__ClusterGrant *)reply)->map;
}

static void show_grant(struct client *c, const ProtobufCMessage *reply)
{
    struct cairn_wire_grant g;
    struct cairn_err err;

    c->rc = cairn_wire_grant_get((const Cairn__Wire__ClusterGrant *)reply, &c->arena, &g, &err);
    if (c->rc != 0)
        fprintf(stderr, "%s\n", err.text);
    else
        printf("%d %d %" PRIu64 " %u\n", g.granted, g.wants_register, g.page.revision, g.page.nslots);
}

static void show_class(struct client *c, const ProtobufCMessage *reply)
{
    const Cairn__Wire__ClusterClassMade *w = (const Cairn__Wire__ClusterClassMade *)reply;

    (void)c;
    printf("%u %" PRIu64 "\n", w->slots, w->revision);
}

static void show_verdict(struct client *c, const ProtobufCMessage *reply)
{
    (void)c;
    printf("%d\n", (int)((const Cairn__Wire__ClusterVerdict *)reply)->verdict);
}

static void show_drained(struct client *c, const ProtobufCMessage *reply)
{
    (void)c;
    printf("%u\n", ((const Cairn__Wire__ClusterDrained *)reply)->slots);
}

static void add_records(struct client *c, const ProtobufCMessage *reply)
{
    struct cairn_wire_page page;
    struct cairn_err err;

    c->rc = cairn_wire_page_get((const Cairn__Wire__ClusterRecords *)reply, &c->arena, &page, &err);
    if (c->rc != 0) {
        fprintf(stderr, "%s\n", err.text);
        return;
    }
    c->revision = page.revision;
    c->slots += page.nslots;
    c->members += page.nmembers;
    c->more = page.more;
}

static void show_read(struct client *c, const ProtobufCMessage *reply)
{
    (void)c;
    printf("%" PRIu64 "\n", ((const Cairn__Wire__RouterGetReply *)reply)->total);
}

static void show_id(struct client *c, const ProtobufCMessage *reply)
{
    (void)c;
    printf("%" PRIu32 "\n", ((const Cairn__Wire__Namespace *)reply)->id);
}

/* ---- requests ---- */

static int do_register(struct client *c, char **argv)
{
    struct cairn_coord_process p = { .node = number(argv[0]), .process = number(argv[1]), .disk_id = number(argv[0]) };
    struct cairn_wire_member self = { .node = p.node,
                                      .name = argv[2],
                                      .zone = "",
                                      .addresses = { "tcp://127.0.0.1:1" },
                                      .naddresses = 1,
                                      .weight = 100,
                                      .state = CAIRN_WIRE_MEMBER_UP };
    Cairn__Wire__ClusterRegister *w = cairn_wire_register_put(&p, &(struct cairn_coord_told){ 0 }, &c->arena);

    if (w == NULL || (w->self = cairn_wire_member_put(&self, &c->arena)) == NULL)
        return CAIRN_E_NOMEM;
    return ask(c, CAIRN__WIRE__CLUSTER_METHOD__CLUSTER_REGISTER, &w->base, show_registered);
}

static int do_beat(struct client *c, char **argv)
{
    struct cairn_wire_heartbeat beat = { .who = { .node = number(argv[0]), .inc = number(argv[1]) },
                                         .number = number(argv[2]),
                                         .revision = number(argv[3]) };
    Cairn__Wire__ClusterHeartbeat *w = cairn_wire_heartbeat_put(&beat, &c->arena);
    int rc = w != NULL ? ask(c, CAIRN__WIRE__CLUSTER_METHOD__CLUSTER_HEARTBEAT, &w->base, note_term) : CAIRN_E_NOMEM;

    if (rc != 0)
        return rc;
    beat.term = c->term; /* only one that names the coordinator's term and the map is granted */
    beat.map = c->map;
    w = cairn_wire_heartbeat_put(&beat, &c->arena);
    return w != NULL ? ask(c, CAIRN__WIRE__CLUSTER_METHOD__CLUSTER_HEARTBEAT, &w->base, show_grant) : CAIRN_E_NOMEM;
}

static int do_records(struct client *c, char **argv)
{
    Cairn__Wire__ClusterFetch w = CAIRN__WIRE__CLUSTER_FETCH__INIT;
    int rc;

    c->revision = number(argv[0]);
    w.members = true;
    do {
        w.since = c->revision;
        rc = ask(c, CAIRN__WIRE__CLUSTER_METHOD__CLUSTER_RECORDS, &w.base, add_records);
    } while (rc == 0 && c->more);
    if (rc == 0)
        printf("%" PRIu64 " %" PRIu64 " %" PRIu64 "\n", c->revision, c->slots, c->members);
    return rc;
}

enum { FLOOD = 16 }; /* at a time */

struct flood {
    uint32_t under_way, answered, refused;
    int rc; /* of one that was neither */
};

static void on_flooded(struct cairn_rpc_call *call)
{
    struct flood *f = call->arg;

    f->under_way--;
    f->answered += call->rc == 0;
    f->refused += call->rc == CAIRN_E_BUSY;
    if (call->rc != 0 && call->rc != CAIRN_E_BUSY)
        f->rc = call->rc;
}

static int do_flood(struct client *c, char **argv)
{
    static struct cairn_rpc_call calls[FLOOD];
    Cairn__Wire__ClusterFetch w = CAIRN__WIRE__CLUSTER_FETCH__INIT;
    struct flood f = { 0 };

    w.members = w.node = true;
    for (uint64_t left = number(argv[0]); left > 0 && f.rc == 0;) {
        for (; f.under_way < FLOOD && left > 0; left--) {
            calls[f.under_way] = (struct cairn_rpc_call){ .dest = { .rpc = c->rpc, .session = c->session },
                                                          .iface = &cairn_iface_cluster,
                                                          .provider = CAIRN_PROVIDER_CLUSTER,
                                                          .method = CAIRN__WIRE__CLUSTER_METHOD__CLUSTER_RECORDS,
                                                          .msg = &w.base,
                                                          .timeout_ns = TIMEOUT_S * CAIRN_NS_PER_S,
                                                          .done = on_flooded,
                                                          .arg = &f };
            cairn_loop_enter(&c->loop);
            cairn_rpc_call_start(&calls[f.under_way++]);
        }
        while (f.under_way > 0)
            cairn_loop_turn(&c->loop, CAIRN_NS_PER_S);
    }
    printf("%u %u\n", f.answered, f.refused);
    if (f.rc != 0)
        fprintf(stderr, "%s\n", cairn_error_name(f.rc));
    return f.rc;
}

static int do_active(struct client *c, char **argv)
{
    struct cairn_change change = { .kind = CAIRN_CHANGE_ACTIVE,
                                   .slot = (uint32_t)number(argv[0]),
                                   .epoch = number(argv[1]),
                                   .from = { .node = number(argv[2]), .inc = number(argv[3]) } };
    Cairn__Wire__ClusterChange *w = cairn_wire_change_put(&change, &c->arena);

    return w != NULL ? ask(c, CAIRN__WIRE__CLUSTER_METHOD__CLUSTER_PROPOSE, &w->base, show_verdict) : CAIRN_E_NOMEM;
}

static void show_opened(struct client *c, const ProtobufCMessage *reply)
{
    const Cairn__Wire__RouterOpened *m = (const Cairn__Wire__RouterOpened *)reply;

    (void)c;
    printf("%" PRIu64 " %" PRIu64 "\n", m->epoch, m->pos);
}

static void show_nothing(struct client *c, const ProtobufCMessage *reply)
{
    (void)c;
    (void)reply;
}

static int do_stop(struct client *c, char **argv)
{
    Cairn__Wire__ReplWho who = CAIRN__WIRE__REPL_WHO__INIT;
    Cairn__Wire__ClusterStop w = CAIRN__WIRE__CLUSTER_STOP__INIT;

    who.node = number(argv[0]);
    who.inc = number(argv[1]);
    w.who = &who;
    return ask(c, CAIRN__WIRE__CLUSTER_METHOD__CLUSTER_STOP, &w.base, show_nothing);
}

static ProtobufCBinaryData bytes_of(char *text)
{
    return (ProtobufCBinaryData){ .data = (uint8_t *)text, .len = strlen(text) };
}

static int do_upload(struct client *c, char **argv)
{
    static uint8_t part[1 << 16];
    Cairn__Wire__RouterPart w = CAIRN__WIRE__ROUTER_PART__INIT;
    Cairn__Wire__RouterOpen open = CAIRN__WIRE__ROUTER_OPEN__INIT;
    int rc;

    w.ns = open.ns = argv[0];
    w.key = bytes_of(argv[1]);
    open.slot = (uint32_t)number(argv[2]);
    w.upload = number(argv[3]);
    w.length = sizeof(part);
    c->payload = (struct iovec){ part, sizeof(part) };
    rc = ask_provider(c, &cairn_iface_router, CAIRN_PROVIDER_ROUTER, CAIRN__WIRE__ROUTER_METHOD__ROUTER_PART, &w.base,
                      show_nothing);
    c->payload.iov_len = 0;
    return rc != 0 ? rc
                   : ask_provider(c, &cairn_iface_router, CAIRN_PROVIDER_ROUTER,
                                  CAIRN__WIRE__ROUTER_METHOD__ROUTER_OPEN, &open.base, show_opened);
}

static int do_commit(struct client *c, char **argv)
{
    Cairn__Wire__RouterCommit w = CAIRN__WIRE__ROUTER_COMMIT__INIT;
    Cairn__Wire__RouterRid rid = CAIRN__WIRE__ROUTER_RID__INIT;

    w.ns = argv[0];
    w.key = bytes_of(argv[1]);
    rid.slot = (uint32_t)number(argv[2]);
    w.upload = number(argv[3]);
    w.parts = 1;
    w.length = 1 << 16;
    w.rid = &rid;
    rid.session_epoch = number(argv[4]);
    rid.session_pos = number(argv[5]);
    rid.seq = number(argv[6]);
    return ask_provider(c, &cairn_iface_router, CAIRN_PROVIDER_ROUTER, CAIRN__WIRE__ROUTER_METHOD__ROUTER_COMMIT,
                        &w.base, show_nothing);
}

static int command(struct client *c, const char *name, int argc, char **argv)
{
    Cairn__Wire__ClusterClass class = CAIRN__WIRE__CLUSTER_CLASS__INIT;
    Cairn__Wire__ClusterDrain drain = CAIRN__WIRE__CLUSTER_DRAIN__INIT;
    Cairn__Wire__ClusterAsk status = CAIRN__WIRE__CLUSTER_ASK__INIT;
    Cairn__Wire__RouterGet read = CAIRN__WIRE__ROUTER_GET__INIT;
    Cairn__Wire__NsName name_of = CAIRN__WIRE__NS_NAME__INIT;

    if (strcmp(name, "status") == 0 && argc == 0)
        return ask(c, CAIRN__WIRE__CLUSTER_METHOD__CLUSTER_STATUS, &status.base, show_status);
    if (strcmp(name, "register") == 0 && argc == 3)
        return do_register(c, argv);
    if (strcmp(name, "beat") == 0 && argc == 4)
        return do_beat(c, argv);
    if (strcmp(name, "records") == 0 && argc == 1)
        return do_records(c, argv);
    if (strcmp(name, "flood") == 0 && argc == 1)
        return do_flood(c, argv);
    if (strcmp(name, "active") == 0 && argc == 4)
        return do_active(c, argv);
    if (strcmp(name, "stop") == 0 && argc == 2)
        return do_stop(c, argv);
    if (strcmp(name, "class") == 0 && argc == 1) {
        class.replicas = (uint32_t)number(argv[0]);
        return ask(c, CAIRN__WIRE__CLUSTER_METHOD__CLUSTER_CREATE_CLASS, &class.base, show_class);
    }
    if (strcmp(name, "read") == 0 && (argc == 2 || argc == 3)) {
        read.ns = argv[0];
        read.key = bytes_of(argv[1]);
        read.ns_id = argc == 3 ? (uint32_t)number(argv[2]) : 0;
        read.replica = true;
        return ask_provider(c, &cairn_iface_router, CAIRN_PROVIDER_ROUTER, CAIRN__WIRE__ROUTER_METHOD__ROUTER_GET,
                            &read.base, show_read);
    }
    if (strcmp(name, "id") == 0 && argc == 1) {
        name_of.name = argv[0];
        return ask_provider(c, &cairn_iface_router, CAIRN_PROVIDER_ROUTER, CAIRN__WIRE__ROUTER_METHOD__ROUTER_NS_SHOW,
                            &name_of.base, show_id);
    }
    if (strcmp(name, "upload") == 0 && argc == 4)
        return do_upload(c, argv);
    if (strcmp(name, "commit") == 0 && argc == 7)
        return do_commit(c, argv);
    if (strcmp(name, "drain") == 0 && argc == 1) {
        drain.name = argv[0];
        return ask(c, CAIRN__WIRE__CLUSTER_METHOD__CLUSTER_DRAIN, &drain.base, show_drained);
    }
    fprintf(stderr, "cluster_client: what is %s?\n", name);
    return CAIRN_E_INVAL;
}

static void on_closed(void *arg)
{
    *(bool *)arg = true;
}

int main(int argc, char **argv)
{
    struct cairn_rpc_conf conf = { .inflight_max = 16, .inflight_bytes_max = 64 << 20, .output_bytes_max = 64 << 20 };
    struct cairn_rpc_session_conf to = { .naddrs = 1, .name = "cluster_client" };
    struct client c = { 0 };
    struct cairn_err err = { 0 };
    bool closed = false;
    int rc;

    if (argc > 2 && (strcmp(argv[1], "-k") == 0 || strcmp(argv[1], "-c") == 0)) {
        to.has_key = true;
        to.is_node = argv[1][1] == 'k';
        if (cairn_auth_key_read(argv[2], to.key, &err) != 0) {
            fprintf(stderr, "%s\n", err.text);
            return 2;
        }
        argv += 2;
        argc -= 2;
    }
    if (argc < 3) {
        fprintf(stderr, "usage: cluster_client [-k|-c KEYFILE] ADDRESS COMMAND...\n");
        return 2;
    }
    cairn_arena_init(&c.arena, ARENA_BYTES_MAX);
    rc = cairn_addr_parse(argv[1], &to.addrs[0], &err);
    if (rc == 0)
        rc = cairn_loop_init(&c.loop, NULL, &err);
    if (rc == 0 && (c.rpc = cairn_rpc_new(&c.loop, &conf, &err)) != NULL)
        c.session = cairn_rpc_session_new(c.rpc, &to, &err);
    if (c.session == NULL) {
        fprintf(stderr, "%s\n", err.text);
        return 2;
    }
    rc = command(&c, argv[2], argc - 3, argv + 3);
    cairn_rpc_session_close(c.session, on_closed, &closed);
    while (!closed)
        cairn_loop_turn(&c.loop, CAIRN_NS_PER_S);
    cairn_rpc_free(c.rpc);
    cairn_loop_fini(&c.loop);
    cairn_arena_reset(&c.arena);
    return rc == 0 ? 0 : 1;
}
