/* The etcd store: its endpoints, its token, its health. See map_store_etcd.h. */
#include "server/cluster/map_etcd_internal.h"

#include "sdk/core/base/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const struct cairn_sm_kind *const cairn_map_etcd_kinds[] = { &etcd_ask_kind, &etcd_watch_kind, NULL };

/* ---- endpoints ---- */

const char *etcd_url(struct etcd *e, uint32_t endpoint, const char *path)
{
    static _Thread_local char url[1024];

    snprintf(url, sizeof(url), "%s%s", e->endpoints[endpoint], path);
    return url;
}

void etcd_avoid(struct etcd *e, uint32_t endpoint)
{
    if (e->current == endpoint)
        e->current = (endpoint + 1) % e->nendpoints;
}

/* ---- who we are ---- */

void etcd_token_drop(struct etcd *e)
{
    free(e->token);
    e->token = NULL;
}

void etcd_login(struct etcd *e)
{
    if (!e->logging_in)
        etcd_ask_start(e, ASK_LOGIN, NULL, ETCD_LOGIN_MS);
}

void etcd_login_over(struct etcd *e, int rc, const struct cairn_err *err)
{
    e->logging_in = false;
    if (rc == 0)
        return; /* whoever ends an ask pumps */
    etcd_asks_fail(e, rc == CAIRN_E_AUTH || rc == CAIRN_E_INVAL ? CAIRN_E_AUTH : CAIRN_E_UNREACHABLE, err);
    etcd_bad(e, err);
}

/* ---- health ---- */

void etcd_good(struct etcd *e)
{
    cairn_map_health_good(&e->store);
    cairn_timer_stop(e->store.home.env, &e->probe_timer);
    e->probe_pause_ms = ETCD_PAUSE_MS_MIN;
}

void etcd_bad(struct etcd *e, const struct cairn_err *err)
{
    struct cairn_env *env = e->store.home.env;

    cairn_map_health_bad(&e->store, err);
    if (cairn_timer_is_running(&e->probe_timer) || e->probing)
        return;
    if (cairn_timer_start(env, &e->probe_timer, cairn_env_now_ns(env) + e->probe_pause_ms * CAIRN_NS_PER_MS) != 0)
        cairn_log_error("map store etcd: out of memory"); /* the watch tries again all the same */
    e->probe_pause_ms = MIN(e->probe_pause_ms * 2, (uint32_t)ETCD_PAUSE_MS_MAX);
}

void etcd_probe(struct etcd *e)
{
    if (!e->probing)
        etcd_ask_start(e, ASK_PROBE, NULL, ETCD_PROBE_MS);
}

static void on_probe_timer(void *arg)
{
    etcd_probe(arg);
}

/* ---- what is asked ---- */

static void change_at_home(void *arg)
{
    struct cairn_map_op *op = arg;
    struct etcd *e = etcd_of(op->store);

    if (!e->store.health.reachable) { /* only home writes it */
        op->rc = cairn_err_set(&op->err, CAIRN_E_UNREACHABLE, "the map store cannot be reached: %s",
                               e->store.health.err.text);
        cairn_map_op_answer(op);
        return;
    }
    etcd_ask_start(e, ASK_CHANGE, op, op->timeout_ms);
}

static void etcd_change(struct cairn_map_store *s, struct cairn_map_op *op)
{
    op->rc = cairn_map_change_bounds(CONTAINER_OF(op, struct cairn_map_change, op));
    if (op->rc != 0) {
        cairn_map_op_answer(op);
    } else if (op->loop == NULL || op->loop == s->home.loop) {
        change_at_home(op);
    } else {
        cairn_task_init(&op->task, change_at_home, op);
        cairn_loop_post(s->home.loop, &op->task);
    }
}

static void etcd_read(struct cairn_map_store *s, struct cairn_map_op *op)
{
    etcd_ask_start(etcd_of(s), ASK_READ, op, op->timeout_ms);
}

static void etcd_lease(struct cairn_map_store *s, struct cairn_map_op *op)
{
    const struct cairn_map_lease_op *l = CONTAINER_OF(op, struct cairn_map_lease_op, op);

    if (l->verb == CAIRN_MAP_GRANT && (l->ttl_ms < CAIRN_MAP_LEASE_MS_MIN || l->ttl_ms > CAIRN_MAP_LEASE_MS_MAX)) {
        op->rc = cairn_err_set(&op->err, CAIRN_E_INVAL, "a lease of %d to %d ms is possible", CAIRN_MAP_LEASE_MS_MIN,
                               CAIRN_MAP_LEASE_MS_MAX);
        cairn_map_op_answer(op);
        return;
    }
    etcd_ask_start(etcd_of(s), ASK_LEASE, op, op->timeout_ms);
}

/* ---- opening ---- */

static void etcd_free(struct cairn_map_store *s)
{
    struct etcd *e = etcd_of(s);

    if (e->watch.etcd != NULL)
        etcd_watch_fini(&e->watch);
    etcd_asks_free(e);
    if (e->http != NULL)
        cairn_map_http_free(e->http);
    cairn_timer_stop(s->home.env, &e->probe_timer);
    cairn_map_store_fini(s);
    for (uint32_t i = 0; i < e->nendpoints; i++)
        free(e->endpoints[i]);
    free(e->view_end);
    free(e->user);
    if (e->password != NULL)
        explicit_bzero(e->password, strlen(e->password));
    free(e->password);
    etcd_token_drop(e);
    free(e);
}

static void etcd_reload(struct cairn_map_store *s)
{
    etcd_watch_reload(&CONTAINER_OF(s, struct etcd, store)->watch);
}

static const struct cairn_map_store_ops etcd_ops = {
    .name = "etcd",
    .change = etcd_change,
    .read = etcd_read,
    .lease = etcd_lease,
    .reload = etcd_reload,
    .free = etcd_free,
};

static int conf_check(const struct cairn_map_etcd_conf *conf, struct cairn_err *err)
{
    size_t n = strlen(conf->prefix);

    if (conf->nendpoints == 0 || conf->nendpoints > CAIRN_MAP_ETCD_ENDPOINTS_MAX)
        return cairn_err_set(err, CAIRN_E_INVAL, "1 to %d endpoints are possible", CAIRN_MAP_ETCD_ENDPOINTS_MAX);
    for (uint32_t i = 0; i < conf->nendpoints; i++) {
        const char *url = conf->endpoints[i];

        if ((strncmp(url, "http://", 7) != 0 && strncmp(url, "https://", 8) != 0) || strlen(url) > 512)
            return cairn_err_set(err, CAIRN_E_INVAL, "'%.100s' is no endpoint: write https://HOST:PORT", url);
    }
    if (n == 0 || n > CAIRN_MAP_ETCD_PREFIX_BYTES_MAX)
        return cairn_err_set(err, CAIRN_E_INVAL, "the prefix of keys has 1 to %d bytes",
                             CAIRN_MAP_ETCD_PREFIX_BYTES_MAX);
    for (size_t i = 0; i < n; i++) {
        if (conf->prefix[i] <= ' ' || conf->prefix[i] > '~')
            return cairn_err_set(err, CAIRN_E_INVAL, "the prefix of keys is printable, without spaces");
    }
    return 0;
}

static bool conf_copy(struct etcd *e, const struct cairn_map_etcd_conf *conf)
{
    snprintf(e->prefix, sizeof(e->prefix), "%s", conf->prefix);
    e->view_end = conf->view_end != NULL ? strdup(conf->view_end) : NULL;
    if (conf->view_end != NULL && e->view_end == NULL)
        return false;
    for (uint32_t i = 0; i < conf->nendpoints; i++) {
        size_t n = strlen(conf->endpoints[i]);

        e->endpoints[e->nendpoints] = strndup(conf->endpoints[i], conf->endpoints[i][n - 1] == '/' ? n - 1 : n);
        if (e->endpoints[e->nendpoints] == NULL)
            return false;
        e->nendpoints++;
    }
    e->current = (uint32_t)(cairn_env_random(e->store.home.env) % e->nendpoints); /* not all nodes at one */
    if (conf->user == NULL || conf->user[0] == '\0')
        return true;
    e->user = strdup(conf->user);
    e->password = strdup(conf->password != NULL ? conf->password : "");
    return e->user != NULL && e->password != NULL;
}

int cairn_map_store_etcd_open(const struct cairn_map_etcd_conf *conf, struct cairn_loop *home,
                              struct cairn_map_store **out, struct cairn_err *err)
{
    struct cairn_map_http_conf tls = { conf->ca_file, conf->cert_file, conf->key_file };
    struct cairn_map_home where = cairn_map_home_of(home);
    int rc = conf_check(conf, err);
    struct etcd *e;

    if (rc != 0)
        return rc;
    e = calloc(1, sizeof(*e));
    if (e == NULL)
        return cairn_err_set(err, CAIRN_E_NOMEM, "map store");
    cairn_list_init(&e->asks);
    cairn_map_store_init(&e->store, &etcd_ops, &where);
    cairn_timer_init(&e->probe_timer, on_probe_timer, e);
    e->probe_pause_ms = ETCD_PAUSE_MS_MIN;
    e->http = cairn_map_http_new(home, &tls, err);
    if (e->http == NULL) {
        etcd_free(&e->store);
        return err != NULL ? err->code : CAIRN_E_UNSUPPORTED;
    }
    if (!conf_copy(e, conf)) {
        etcd_free(&e->store);
        return cairn_err_set(err, CAIRN_E_NOMEM, "map store");
    }
    etcd_watch_init(&e->watch, e);
    *out = &e->store;
    return 0;
}
