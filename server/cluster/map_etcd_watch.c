/* The view of an etcd store: read once, then told every change.
 *
 *  WAIT ---> LOAD ---> OPEN ---> FOLLOW
 *  WAIT may also go to OPEN; OPEN and FOLLOW may also go to LOAD; LOAD, OPEN and FOLLOW to WAIT; WAIT, LOAD, OPEN and
 *  FOLLOW to ENDED.
 *
 *  WAIT    for a moment: the last attempt failed.
 *  LOAD    everything is read: at the start, and when the history that is needed is gone (compaction, another store).
 *  OPEN    the stream was asked for, from the revision behind the view's.
 *  FOLLOW  the stream runs, and the view with it.
 *
 * A stream is silent while nothing changes, and also when its server stands still or is gone. So in FOLLOW that server is
 * asked for something small now and then, which it answers only if it is one of a majority; without an answer the stream
 * is opened at another one. All nodes together ask so often, however many they are. */
#include "server/cluster/map_etcd_internal.h"

#include "sdk/core/base/log.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define TO CAIRN_SM_TO

enum { WATCH_WAIT, WATCH_LOAD, WATCH_OPEN, WATCH_FOLLOW, WATCH_ENDED, WATCH_NR };

static const struct cairn_sm_state watch_states[WATCH_NR] = {
    [WATCH_WAIT] = { "WAIT", CAIRN_SM_INITIAL, TO(WATCH_LOAD) | TO(WATCH_OPEN) | TO(WATCH_ENDED) },
    [WATCH_LOAD] = { "LOAD", 0, TO(WATCH_OPEN) | TO(WATCH_WAIT) | TO(WATCH_ENDED) },
    [WATCH_OPEN] = { "OPEN", 0, TO(WATCH_FOLLOW) | TO(WATCH_LOAD) | TO(WATCH_WAIT) | TO(WATCH_ENDED) },
    [WATCH_FOLLOW] = { "FOLLOW", 0, TO(WATCH_LOAD) | TO(WATCH_WAIT) | TO(WATCH_ENDED) },
    [WATCH_ENDED] = { "ENDED", CAIRN_SM_FINAL, 0 },
};

static bool watch_invariant(const struct cairn_sm *sm)
{
    const struct etcd_watch *w = CONTAINER_OF(sm, const struct etcd_watch, sm);
    bool stream = sm->state == WATCH_OPEN || sm->state == WATCH_FOLLOW;

    return CAIRN_HOLDS(cairn_map_http_runs(&w->http) == stream) && CAIRN_HOLDS(!stream || !w->reload) &&
           CAIRN_HOLDS(!stream || w->etcd->store.view.known) &&
           CAIRN_HOLDS(!cairn_map_http_runs(&w->look) || sm->state == WATCH_FOLLOW);
}

const struct cairn_sm_kind etcd_watch_kind = { "map-etcd-watch", watch_states, WATCH_NR, watch_invariant, 0 };

static void watch_open(struct etcd_watch *w);
static void watch_on_end(struct cairn_map_http_req *rq);

static struct cairn_env *env_of(const struct etcd_watch *w)
{
    return w->etcd->store.home.env;
}

static void timer_in(struct etcd_watch *w, uint64_t ms)
{
    if (cairn_timer_start(env_of(w), &w->timer, cairn_env_now_ns(env_of(w)) + ms * CAIRN_NS_PER_MS) != 0)
        cairn_log_error("map store etcd: out of memory, changes by others are not seen any more");
}

bool etcd_watch_will_tell(const struct etcd_watch *w)
{
    return w->sm.state != WATCH_WAIT;
}

static void watch_pause(struct etcd_watch *w)
{
    uint64_t jitter = cairn_env_random(env_of(w)) % (w->pause_ms / 2 + 1);

    cairn_sm_move(&w->sm, WATCH_WAIT);
    etcd_asks_settle(w->etcd, UINT64_MAX); /* nobody tells us now */
    timer_in(w, w->pause_ms + jitter);
    w->pause_ms = MIN(w->pause_ms * 2, (uint32_t)ETCD_PAUSE_MS_MAX);
}

/* ---- reading all ---- */

static void watch_on_read(struct cairn_map_op *op)
{
    struct etcd_watch *w = op->arg;
    struct cairn_map_store *s = &w->etcd->store;

    if (op->rc != 0) {
        watch_pause(w);
        return;
    }
    pthread_mutex_lock(&s->view.mutex);
    cairn_map_view_replace(&s->view, &w->read.table, op->revision);
    pthread_mutex_unlock(&s->view.mutex);
    w->resume = op->revision;
    w->reload = false;
    etcd_asks_settle(w->etcd, w->resume);
    watch_open(w);
}

static void watch_load(struct etcd_watch *w)
{
    cairn_sm_move(&w->sm, WATCH_LOAD);
    w->read = (struct cairn_map_read){ .op = { .done = watch_on_read, .arg = w }, .prefix = "" };
    cairn_map_store_read(&w->etcd->store, &w->read);
}

/* ---- the stream ---- */

/* Nodes of one revision are one change. */
static bool news_apply(struct etcd_watch *w, struct cairn_etcd_news *news)
{
    struct cairn_map_view *v = &w->etcd->store.view;
    bool fine;

    pthread_mutex_lock(&v->mutex);
    fine = cairn_map_view_reserve(v, news->n) == 0;
    for (uint32_t i = 0, n = 1; fine && i < news->n; i += n, n = 1) {
        uint64_t revision = news->nodes[i]->e.changed;

        while (i + n < news->n && news->nodes[i + n]->e.changed == revision)
            n++;
        if (revision > w->resume)
            cairn_map_view_apply(v, &news->nodes[i], n, revision);
    }
    pthread_mutex_unlock(&v->mutex);
    return fine;
}

/* ---- whether its server is there ---- */

static void look_later(struct etcd_watch *w)
{
    uint64_t ms = MAX((uint64_t)ETCD_LOOK_MS, (uint64_t)w->etcd->store.sharers * ETCD_LOOK_SHARE_MS);

    timer_in(w, ms + cairn_env_random(env_of(w)) % (ms / 4));
}

static void look_over(struct etcd_watch *w)
{
    free(w->look.body);
    cairn_map_http_clear(&w->look);
    w->look.body = NULL;
}

static void watch_cut(struct etcd_watch *w)
{
    cairn_map_http_cancel(&w->http);
    watch_on_end(&w->http);
}

static void on_look(struct cairn_map_http_req *rq)
{
    struct etcd_watch *w = rq->arg;
    struct etcd *e = w->etcd;
    struct cairn_err err = rq->err;
    int rc = rq->rc;

    if (rc == 0 && rq->status != 200)
        rc = cairn_etcd_read_failure(rq->reply_len > 0 ? rq->reply : "", rq->reply_len, rq->status, &err).rc;
    look_over(w);
    if (w->reload) {
        watch_cut(w);
        return;
    }
    if (rc == CAIRN_E_AUTH && rq->status != 0)
        etcd_token_drop(e); /* of no use any more; it is there all the same */
    else if (rc != 0 && rc != CAIRN_E_NOMEM) {
        cairn_log_warn("map store etcd: %s, which tells of changes, does not answer: %s", e->endpoints[w->endpoint],
                       err.text);
        watch_cut(w);
        return;
    }
    if (rc == 0)
        etcd_good(e);
    look_later(w);
}

static void look_start(struct etcd_watch *w)
{
    struct etcd *e = w->etcd;

    if (e->user != NULL && e->token == NULL) {
        etcd_login(e);
        look_later(w);
        return;
    }
    w->look = (struct cairn_map_http_req){ .url = etcd_url(e, w->endpoint, "/v3/kv/range"),
                                           .token = e->token,
                                           .body = etcd_write_probe(e),
                                           .timeout_ms = ETCD_PROBE_MS,
                                           .done = on_look,
                                           .arg = w };
    if (w->look.body != NULL)
        w->look.body_len = strlen(w->look.body);
    if (w->look.body == NULL || cairn_map_http_start(e->http, &w->look) != 0) {
        look_over(w);
        look_later(w);
    }
}

/* ---- what it tells ---- */

/* False: the stream is to end. */
static bool watch_on_line(struct etcd_watch *w, const char *line, size_t len)
{
    struct etcd *e = w->etcd;
    struct cairn_etcd_news news;
    struct cairn_err err = { 0 };
    int rc = cairn_etcd_read_news(line, len, e->prefix, &news, &err);

    if (rc == CAIRN_E_AUTH)
        etcd_token_drop(e);
    if (rc != 0)
        cairn_log_warn("map store etcd: the watch ends: %s", err.text);
    if (rc == 0 && news.compacted)
        w->reload = true;
    if (rc == 0 && news.created && w->sm.state == WATCH_OPEN) {
        w->reload =
            w->reload || news.revision < w->resume; /* etcd knows less than we do: it was restored, or another */
        if (!w->reload) {
            w->pause_ms = ETCD_PAUSE_MS_MIN;
            cairn_sm_move(&w->sm, WATCH_FOLLOW);
            look_later(w);
        }
    } else if (rc == 0 && !w->reload) {
        cairn_map_health_count(&e->store, 0, news.n);
        w->reload |= !news_apply(w, &news); /* whoever is told may ask for it, too */
        w->resume = MAX(w->resume, news.revision);
        etcd_asks_settle(e, w->resume);
    }
    cairn_etcd_news_clear(&news);
    return rc == 0 && !w->reload;
}

static bool line_add(struct etcd_watch *w, const char *bytes, size_t len)
{
    if (w->line_len + len > w->line_room) {
        size_t room = MAX((size_t)4096, (w->line_len + len) * 2);
        char *line = w->line_len + len <= CAIRN_MAP_HTTP_REPLY_MAX ? realloc(w->line, room) : NULL;

        if (line == NULL)
            return false;
        w->line = line;
        w->line_room = room;
    }
    if (len > 0)
        memcpy(w->line + w->line_len, bytes, len);
    w->line_len += len;
    return true;
}

static bool watch_on_data(struct cairn_map_http_req *rq, const char *bytes, size_t len)
{
    struct etcd_watch *w = rq->arg;
    const char *end;

    while ((end = memchr(bytes, '\n', len)) != NULL) {
        size_t n = (size_t)(end - bytes);

        if (!line_add(w, bytes, n))
            return false;
        if (w->line_len > 0 && !watch_on_line(w, w->line, w->line_len))
            return false;
        w->line_len = 0;
        bytes = end + 1;
        len -= n + 1;
    }
    return line_add(w, bytes, len);
}

static void watch_stopped(struct etcd_watch *w)
{
    cairn_map_http_cancel(&w->look);
    look_over(w);
    free(w->http.body);
    cairn_map_http_clear(&w->http);
    w->http.body = NULL;
    w->line_len = 0;
    cairn_timer_stop(env_of(w), &w->timer);
}

static void watch_on_end(struct cairn_map_http_req *rq)
{
    struct etcd_watch *w = rq->arg;

    watch_stopped(w);
    if (w->reload) {
        watch_load(w);
        return;
    }
    etcd_avoid(w->etcd, w->endpoint);
    etcd_probe(w->etcd);
    watch_pause(w);
}

static void watch_open(struct etcd_watch *w)
{
    struct etcd *e = w->etcd;

    if (e->user != NULL && e->token == NULL) {
        etcd_login(e);
        if (w->sm.state == WATCH_LOAD)
            watch_pause(w);
        else
            timer_in(w, w->pause_ms);
        return;
    }
    w->endpoint = e->current;
    w->http = (struct cairn_map_http_req){ .url = etcd_url(e, w->endpoint, "/v3/watch"),
                                           .token = e->token,
                                           .body = cairn_etcd_write_watch(e->prefix, e->view_end, w->resume + 1),
                                           .data = watch_on_data,
                                           .done = watch_on_end,
                                           .arg = w };
    if (w->http.body != NULL)
        w->http.body_len = strlen(w->http.body);
    if (w->http.body == NULL || cairn_map_http_start(e->http, &w->http) != 0) {
        watch_stopped(w);
        if (w->sm.state == WATCH_LOAD)
            watch_pause(w);
        else
            timer_in(w, w->pause_ms);
        return;
    }
    cairn_sm_move(&w->sm, WATCH_OPEN);
    timer_in(w, ETCD_OPEN_MS);
}

static void watch_on_timer(void *arg)
{
    struct etcd_watch *w = arg;

    if (w->sm.state == WATCH_OPEN || (w->sm.state == WATCH_FOLLOW && w->reload)) { /* silent, or of no use */
        watch_cut(w);
    } else if (w->sm.state == WATCH_FOLLOW) {
        look_start(w);
    } else if (w->reload) {
        watch_load(w);
    } else {
        watch_open(w);
    }
}

void etcd_watch_reload(struct etcd_watch *w)
{
    w->reload = true;
    if (w->sm.state == WATCH_FOLLOW)
        timer_in(w, 0);
}

void etcd_watch_init(struct etcd_watch *w, struct etcd *e)
{
    w->etcd = e;
    w->pause_ms = ETCD_PAUSE_MS_MIN;
    w->reload = true;
    cairn_timer_init(&w->timer, watch_on_timer, w);
    cairn_task_init(&w->read.op.task, NULL, NULL);
    cairn_sm_init(&w->sm, &etcd_watch_kind, e->store.home.machines);
    timer_in(w, 0);
}

void etcd_watch_fini(struct etcd_watch *w)
{
    cairn_map_http_cancel(&w->http);
    watch_stopped(w);
    cairn_task_cancel(&w->read.op.task);
    cairn_map_table_fini(&w->read.table);
    cairn_sm_move(&w->sm, WATCH_ENDED);
    cairn_sm_fini(&w->sm);
    free(w->line);
}
