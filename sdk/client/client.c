/* A client from cairn_connect() to cairn_close(). */
#include "sdk/client/client_internal.h"
#include "sdk/client/whereabouts.h"

#include "sdk/core/base/log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    CLIENT_CREDITS = 64, /* that a node gets which calls us: only bulk pieces do */
    CLIENT_CREDIT_BYTES = 8 << 20,
};

const char *cairn_version(void)
{
    return CAIRN_VERSION_TEXT;
}

size_t cairn_inflight(struct cairn *c)
{
    return cairn__inflight(c);
}

static void give_error(struct cairn_error_info *info, const struct cairn_err *err, int rc)
{
    if (info == NULL)
        return;
    info->code = rc;
    snprintf(info->text, sizeof(info->text), "%s", err->text[0] != '\0' ? err->text : cairn_error_text(rc));
}

static void on_close_all(void *arg)
{
    cairn__cancel_all(arg);
}

/* What a node may call here: it moves pieces of the memory that we have exposed. */
static const struct cairn_rpc_target client_targets[] = {
    { .iface = &cairn_iface_bulk, .handlers = cairn_bulk_handlers, .name = "bulk", .id = CAIRN_PROVIDER_BULK },
};

/* Everything but the session. The owner is nobody. */
int cairn__new(const struct cairn_options *o, const struct cairn_rpc_target *targets, uint32_t ntargets,
               struct cairn **out, struct cairn_err *err)
{
    struct cairn_loop_conf loop_conf = { .spin_us = o->spin_us };
    struct cairn_rpc_conf rpc_conf = { .targets = targets,
                                       .ntargets = ntargets,
                                       .inflight_max = CLIENT_CREDITS,
                                       .inflight_bytes_max = CLIENT_CREDIT_BYTES,
                                       .output_bytes_max = CLIENT_CREDIT_BYTES };
    struct cairn *c = calloc(1, sizeof(*c));
    int rc = CAIRN_E_NOMEM;

    *out = NULL;
    if (c == NULL)
        return cairn_err_set(err, CAIRN_E_NOMEM, "client");
    c->timeout_ns = (o->timeout_ms != 0 ? o->timeout_ms : CLIENT_TIMEOUT_MS) * CAIRN_NS_PER_MS;
    c->inflight_max = o->inflight_max != 0 ? o->inflight_max : CLIENT_INFLIGHT_MAX;
    cairn_list_init(&c->live);
    cairn_list_init(&c->spare_calls);
    cairn_list_init(&c->waiters);
    cairn_list_init(&c->spare_foreign);
    cairn_task_init(&c->close_task, on_close_all, c);
    pthread_mutex_init(&c->mutex, NULL);
    rc = cairn_loop_init(&c->loop, &loop_conf, err);
    if (rc != 0)
        goto free_client;
    c->rpc = cairn_rpc_new(&c->loop, &rpc_conf, err);
    if (c->rpc == NULL) {
        rc = CAIRN_E_NOMEM;
        goto fini_loop;
    }
    c->hook.before_sleep = cairn__before_sleep;
    c->hook.arg = c;
    cairn_hook_add(&c->loop, &c->hook);
    *out = c;
    return 0;
fini_loop:
    cairn_loop_fini(&c->loop);
free_client:
    pthread_mutex_destroy(&c->mutex);
    free(c);
    return rc;
}

/* Nothing is in flight, and the calling thread is alone with it. */
static void client_free(struct cairn *c)
{
    if (c->has_bulk)
        cairn_bulk_detach(c->rpc);
    cairn_rpc_free(c->rpc);
    cairn_hook_del(&c->hook);
    cairn_loop_fini(&c->loop);
    for (uint32_t i = 0; i < c->ncalls; i++)
        free(c->calls[i]);
    free(c->calls);
    while (c->nscratch > 0)
        free(c->scratch[--c->nscratch]);
    pthread_mutex_destroy(&c->mutex);
    free(c);
}

static void on_session_closed(void *arg)
{
    *(bool *)arg = true;
}

void cairn_close(struct cairn *c)
{
    const struct timespec moment = { .tv_nsec = 50000 };
    bool closed = false;

    if (c == NULL)
        return;
    if (cairn__is_inside(c)) {
        cairn_log_error("cairn_close() inside a callback of the same client: ignored");
        return;
    }
    atomic_store(&c->closing, true);
    cairn_loop_post(&c->loop, &c->close_task); /* a thread that waits for calls runs it, or our own one */
    cairn_stop_thread(c);
    cairn__own(c, -1);
    cairn_loop_turn(&c->loop, 0); /* begins what was posted, and runs the task if nobody has */
    on_close_all(c);
    while (cairn__inflight(c) > 0 || !cairn_list_is_empty(&c->live)) /* nobody may wait for some of them */
        cairn_loop_turn(&c->loop, UINT64_MAX);
    cairn__routing_free(c);
    if (c->session != NULL) {
        cairn_rpc_session_close(c->session, on_session_closed, &closed);
        while (!closed)
            cairn_loop_turn(&c->loop, UINT64_MAX);
        c->session = NULL;
    }
    cairn__disown(c);
    /* Threads whose calls have just ended are on their way out; nobody comes in any more. */
    while (atomic_load(&c->users) > 0)
        nanosleep(&moment, NULL);
    cairn__own(c, -1);
    client_free(c);
}

/* ---- connecting ---- */

struct cairn_connect_attempt {
    uint64_t call;
    uint32_t failures, naddrs;
    struct cairn_err why; /* of each address */
};

/* Every address was tried once: that is all that cairn_connect() waits for. */
static void on_session_changed(struct cairn_rpc_session *s, bool up, const struct cairn_err *err, void *arg)
{
    struct cairn *c = arg;
    struct cairn_connect_attempt *a = c->attempt;

    if (a == NULL || up || err == NULL)
        return;
    cairn_rpc_session_why(s, &a->why);
    if (++a->failures >= a->naddrs)
        cairn_cancel(c, a->call);
}

/* The first call is what connects; its failure says why not. */
static int client_reach(struct cairn *c, uint32_t naddrs, uint32_t timeout_ms, struct cairn_err *err)
{
    struct cairn_call_options o = CAIRN_CALL_OPTIONS_INIT;
    struct cairn_connect_attempt a = { .naddrs = naddrs };
    struct cairn_error_info info;
    int rc;

    o.timeout_ms = timeout_ms;
    o.call = &a.call;
    o.error = &info;
    c->attempt = &a;
    rc = cairn_ping(c, &o);
    c->attempt = NULL;
    if (rc == 0)
        return 0;
    if (rc == CAIRN_E_CANCELED && a.why.code != 0)
        return cairn_err_set(err, a.why.code, "%s", a.why.text);
    return cairn_err_set(err, rc, "%s", info.text);
}

/* The option, else the environment, else what is in @to. */
static int fabric_name(char *to, size_t room, const char *option, const char *variable, struct cairn_err *err)
{
    const char *name = option != NULL ? option : getenv(variable);

    if (name != NULL && (size_t)snprintf(to, room, "%s", name) >= room)
        return cairn_err_set(err, CAIRN_E_INVAL, "the name of the fabric's provider or domain is too long");
    return 0;
}

static int client_session(struct cairn *c, const struct cairn_options *o, struct cairn_rpc_session_conf *conf,
                          struct cairn_err *err)
{
    struct cairn_bulk_conf bulk = { .vm = (o->flags & CAIRN_CONNECT_NO_VM) == 0,
                                    .fabric = (o->flags & CAIRN_CONNECT_NO_FABRIC) == 0,
                                    .provider = "tcp;ofi_rxm" };
    int rc = fabric_name(bulk.provider, sizeof(bulk.provider), o->fabric_provider, "CAIRN_FABRIC_PROVIDER", err);

    if (rc == 0)
        rc = fabric_name(bulk.domain, sizeof(bulk.domain), o->fabric_domain, "CAIRN_FABRIC_DOMAIN", err);
    if (rc != 0)
        return rc;
    rc = cairn_bulk_attach(c->rpc, &bulk, err);
    if (rc != 0)
        return rc;
    c->has_bulk = true;
    snprintf(conf->name, sizeof(conf->name), "%s", o->name != NULL ? o->name : program_invocation_short_name);
    conf->changed = on_session_changed;
    conf->arg = c;
    c->session = cairn_rpc_session_new(c->rpc, conf, err);
    if (c->session == NULL)
        return CAIRN_E_NOMEM;
    return 0;
}

int cairn_connect(const struct cairn_options *options, struct cairn **out, struct cairn_error_info *error)
{
    static const struct cairn_options defaults = CAIRN_OPTIONS_INIT;
    struct cairn_options own, *o = &own;
    struct cairn_rpc_session_conf conf = { 0 };
    struct cairn_err err = { 0 };
    struct cairn *c = NULL;
    int rc = 0;

    *out = NULL;
    CAIRN_TAKE(&own, options != NULL ? options : &defaults);
    if (!CAIRN_REACHES(o, flags))
        rc = cairn_err_set(&err, CAIRN_E_INVAL, "options: start from CAIRN_OPTIONS_INIT");
    else if (o->inflight_max > CLIENT_INFLIGHT_LIMIT)
        rc = cairn_err_set(&err, CAIRN_E_INVAL, "options: inflight_max is at most %d", CLIENT_INFLIGHT_LIMIT);
    else if (o->node != NULL && (size_t)snprintf(conf.node, sizeof(conf.node), "%s", o->node) >= sizeof(conf.node))
        rc = cairn_err_set(&err, CAIRN_E_INVAL, "options: the name of a node is at most %zu bytes",
                           sizeof(conf.node) - 1);
    if (rc == 0)
        rc = cairn_whereabouts_find(o, &conf, &err);
    if (rc == 0)
        rc = cairn__new(o, client_targets, ARRAY_SIZE(client_targets), &c, &err);
    if (rc == 0)
        rc = client_session(c, o, &conf, &err);
    cairn_auth_forget(conf.key, sizeof(conf.key)); /* the session has its own copy */
    if (rc == 0 && (o->flags & CAIRN_CONNECT_LAZY) == 0)
        rc = client_reach(c, conf.naddrs,
                          o->connect_timeout_ms != 0 ? o->connect_timeout_ms : CLIENT_CONNECT_TIMEOUT_MS, &err);
    if (rc != 0) {
        cairn_whereabouts_explain(o, &conf, &err);
        cairn_whereabouts_starting(o, &err);
        cairn_close(c);
        give_error(error, &err, rc);
        return rc;
    }
    *out = c;
    return 0;
}
