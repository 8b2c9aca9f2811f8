/* The scrub: all sealed regions, one piece after the other, compared with their checksums at a bounded rate.
 *
 *   REST ---> CHECK ---> PAUSE ---> CHECK ---> ... ---> REST
 *             CHECK ---> MARK ---> PAUSE        CHECK may also go to REST; REST, PAUSE, CHECK and MARK to STOPPED.
 *
 * REST     nothing is to be done until the next round: one timer, no region.
 * CHECK    a region is pinned and a piece of it is read.
 * PAUSE    what was read has to be paid for, now or with what follows; the region stays pinned if there is more of it,
 *          or if what was read was bad and is to be read again.
 * MARK     the region is bad and marked; the mark becomes durable.
 * STOPPED  the node shuts down.
 *
 * The mark is for good, so nothing that may pass earns it: a piece that differs from its checksums is read again some
 * times before it is called bad; one that cannot be read must have failed so in two rounds that follow one another.
 */
#include "providers/extent/extent_internal.h"

#include "sdk/core/base/log.h"

#include <inttypes.h>
#include <stdlib.h>

enum { SCRUB_REST, SCRUB_CHECK, SCRUB_PAUSE, SCRUB_MARK, SCRUB_STOPPED, SCRUB_NR };
enum {
    PIECE_BYTES = 1 << 20,
    PIECE_TRIES = 3, /* reads of a piece in a round, until it is right */
    PLACES = 4096,   /* of the table that are looked at in one turn of the loop: some 20 us */
    FIRST_ROUND_MINUTES = 10,
    PAUSE_MS_MIN = 500,
};

#define TO(state) CAIRN_SM_TO(state)

struct cairn_extent_scrub {
    struct cairn_sm sm;
    struct cairn_extent_provider *provider;
    struct cairn_extent_region *region; /* with a reference */
    uint64_t after;                     /* names up to here are done in this round */
    uint64_t off;                       /* of the region */
    uint32_t tries;                     /* reads of the piece at @off that were bad */
    uint64_t owed_ns;                   /* time that what was read has used up, and that is not slept yet */
    struct cairn_timer timer;
    struct cairn_extent_step step;
    void (*stopped)(void *arg);
    void *stopped_arg;
    struct cairn_task task;
};

static const struct cairn_sm_state scrub_states[SCRUB_NR] = {
    [SCRUB_REST] = { "REST", CAIRN_SM_INITIAL, TO(SCRUB_CHECK) | TO(SCRUB_STOPPED) },
    [SCRUB_CHECK] = { "CHECK", 0, TO(SCRUB_PAUSE) | TO(SCRUB_MARK) | TO(SCRUB_REST) | TO(SCRUB_STOPPED) },
    [SCRUB_PAUSE] = { "PAUSE", 0, TO(SCRUB_CHECK) | TO(SCRUB_STOPPED) },
    [SCRUB_MARK] = { "MARK", 0, TO(SCRUB_PAUSE) | TO(SCRUB_STOPPED) },
    [SCRUB_STOPPED] = { "STOPPED", CAIRN_SM_FINAL, 0 },
};

static bool scrub_invariant(const struct cairn_sm *sm)
{
    const struct cairn_extent_scrub *s = CONTAINER_OF(sm, const struct cairn_extent_scrub, sm);

    return CAIRN_HOLDS(sm->state != SCRUB_REST || s->region == NULL) &&
           CAIRN_HOLDS(sm->state != SCRUB_MARK || (atomic_load(&s->region->quarantined) && s->tries == PIECE_TRIES)) &&
           CAIRN_HOLDS(sm->state != SCRUB_STOPPED || s->stopped != NULL);
}

const struct cairn_sm_kind cairn_extent_scrub_kind = { "extent-scrub", scrub_states, SCRUB_NR, scrub_invariant, 0 };

static void scrub_check(struct cairn_extent_scrub *s);

static struct cairn_extent_worker *worker_of(struct cairn_extent_scrub *s)
{
    return &s->provider->store->workers[0];
}

static void region_leave(struct cairn_extent_scrub *s)
{
    struct cairn_extent_region *r = s->region;

    if (r == NULL)
        return;
    s->after = r->id;
    s->region = NULL;
    s->off = 0;
    s->tries = 0;
    cairn_extent_region_put(r);
}

static void scrub_on_stopped(void *arg)
{
    struct cairn_extent_scrub *s = arg;
    void (*stopped)(void *arg) = s->stopped;
    void *stopped_arg = s->stopped_arg;

    cairn_sm_fini(&s->sm);
    s->provider->scrub = NULL;
    free(s);
    stopped(stopped_arg);
}

static void scrub_end(struct cairn_extent_scrub *s)
{
    struct cairn_env *env = &worker_of(s)->loop->env;

    cairn_timer_stop(env, &s->timer);
    region_leave(s);
    cairn_sm_move(&s->sm, SCRUB_STOPPED);
    cairn_task_init(&s->task, scrub_on_stopped, s);
    cairn_env_defer(env, &s->task);
}

static void sleep_ns(struct cairn_extent_scrub *s, uint64_t ns)
{
    struct cairn_loop *loop = worker_of(s)->loop;

    cairn_timer_start(&loop->env, &s->timer, cairn_env_now_ns(&loop->env) + ns);
}

/* Every piece is paid for, in time; small debts are paid together, so that an idle node seldom wakes up. */
static void scrub_pause(struct cairn_extent_scrub *s, uint64_t bytes)
{
    uint64_t now;

    if (s->stopped != NULL) {
        scrub_end(s);
        return;
    }
    s->owed_ns += bytes * CAIRN_NS_PER_S / s->provider->store->conf.scrub_rate;
    now = s->owed_ns >= PAUSE_MS_MIN * CAIRN_NS_PER_MS ? s->owed_ns : 0;
    s->owed_ns -= now;
    cairn_sm_move(&s->sm, SCRUB_PAUSE);
    sleep_ns(s, now);
}

/* ---- MARK ---- */

static void scrub_marked(struct cairn_extent_scrub *s)
{
    uint64_t bytes = s->step.len;

    region_leave(s);
    scrub_pause(s, bytes);
}

static void scrub_on_marked(struct cairn_extent_step *step, int rc)
{
    (void)rc; /* it is marked in memory at least, and the next round finds it again */
    scrub_marked(step->arg);
}

static void scrub_mark(struct cairn_extent_scrub *s, const char *why)
{
    struct cairn_extent_store *store = s->provider->store;
    struct cairn_extent_region *r = s->region;
    int rc = 0;

    atomic_fetch_add(&store->corrupt_found, 1);
    if (cairn_extent_table_quarantine(&store->table, r))
        cairn_log_warn("extent region %016" PRIx64 ": %s found by the scrub, quarantined", r->id, why);
    cairn_sm_move(&s->sm, SCRUB_MARK);
    s->step.done = scrub_on_marked;
    rc = store->ops->quarantine(&s->step);
    if (rc != CAIRN_EXTENT_LATER)
        scrub_marked(s);
}

/* ---- CHECK ---- */

/* A piece was wrong again and again in this round. */
static void scrub_bad(struct cairn_extent_scrub *s, int rc)
{
    struct cairn_extent_region *r = s->region;

    if (rc == 0) {
        scrub_mark(s, "checksum mismatch");
    } else if (rc == CAIRN_E_CORRUPT) {
        scrub_mark(s, "bytes without a place");
    } else if (r->unread) {
        scrub_mark(s, "an error of the disk in every read of two rounds");
    } else {
        cairn_log_warn("extent region %016" PRIx64 ": cannot be read now; the next round of the scrub tries again",
                       r->id);
        r->unread = true;
        region_leave(s);
        scrub_pause(s, s->step.len);
    }
}

static void scrub_again(struct cairn_extent_scrub *s)
{
    s->owed_ns = MAX(s->owed_ns, PAUSE_MS_MIN * CAIRN_NS_PER_MS);
    scrub_pause(s, s->step.len);
}

static void scrub_good(struct cairn_extent_scrub *s)
{
    struct cairn_extent_store *store = s->provider->store;

    s->tries = 0;
    s->off += s->step.len;
    if (s->off == s->region->length) {
        atomic_fetch_add(&store->scrub_regions, 1);
        s->region->unread = false;
        region_leave(s);
    }
    scrub_pause(s, s->step.len);
}

static void scrub_checked(struct cairn_extent_scrub *s, int rc)
{
    struct cairn_extent_store *store = s->provider->store;
    bool good = rc == 0;

    if (rc == 0) {
        good = cairn_extent_first_bad(s->step.ptr, s->step.len,
                                      &s->region->crcs[s->step.off / CAIRN_EXTENT_CHUNK_BYTES]) < 0;
        rc = store->ops->settle(&s->step, false);
        CAIRN_ASSERT(rc == 0); /* giving up a window never waits */
        atomic_fetch_add(&store->scrub_bytes, s->step.len);
    }
    if (good) {
        scrub_good(s);
        return;
    }
    if (rc == 0 || rc == CAIRN_E_IO)
        s->tries++;
    else if (rc == CAIRN_E_CORRUPT) /* of the region, not of a read: nothing changes that */
        s->tries = PIECE_TRIES;
    if (s->tries == PIECE_TRIES)
        scrub_bad(s, rc);
    else
        scrub_again(s); /* also when the store was busy */
}

static void scrub_on_window(struct cairn_extent_step *step, int rc)
{
    scrub_checked(step->arg, rc);
}

static void scrub_check(struct cairn_extent_scrub *s)
{
    struct cairn_extent_store *store = s->provider->store;
    uint32_t places = PLACES;
    int rc;

    cairn_sm_move(&s->sm, SCRUB_CHECK);
    if (s->region == NULL)
        s->region = cairn_extent_table_next(&store->table, &s->after, &places);
    if (s->region == NULL && s->after != UINT64_MAX) { /* others have their turn */
        scrub_pause(s, 0);
        return;
    }
    if (s->region == NULL) {
        s->after = 0;
        atomic_fetch_add(&store->scrub_rounds, 1);
        cairn_sm_move(&s->sm, SCRUB_REST);
        sleep_ns(s, store->conf.scrub_interval_ns);
        return;
    }
    s->step = (struct cairn_extent_step){
        .worker = worker_of(s),
        .region = s->region,
        .mode = CAIRN_EXTENT_READ,
        .off = s->off,
        .len = MIN(s->region->length - s->off, (uint64_t)PIECE_BYTES),
        .done = scrub_on_window,
        .arg = s,
    };
    rc = store->ops->window(&s->step);
    if (rc != CAIRN_EXTENT_LATER)
        scrub_checked(s, rc);
}

static void scrub_on_timer(void *arg)
{
    scrub_check(arg);
}

/* ---- life ---- */

int cairn_extent__scrub_start(struct cairn_extent_provider *p)
{
    struct cairn_extent_store *store = p->store;
    struct cairn_extent_scrub *s;
    uint64_t first = MIN(store->conf.scrub_interval_ns, FIRST_ROUND_MINUTES * 60 * CAIRN_NS_PER_S);

    if (store->conf.scrub_rate == 0)
        return 0;
    s = calloc(1, sizeof(*s));
    if (s == NULL)
        return CAIRN_E_NOMEM;
    s->provider = p;
    cairn_timer_init(&s->timer, scrub_on_timer, s);
    cairn_sm_init(&s->sm, &cairn_extent_scrub_kind, &store->workers[0].loop->machines);
    p->scrub = s;
    sleep_ns(s, first);
    return 0;
}

void cairn_extent__scrub_stop(struct cairn_extent_provider *p, void (*done)(void *arg), void *arg)
{
    struct cairn_extent_scrub *s = p->scrub;

    CAIRN_ASSERT(s != NULL && s->stopped == NULL);
    s->stopped = done;
    s->stopped_arg = arg;
    if (s->sm.state == SCRUB_REST || s->sm.state == SCRUB_PAUSE)
        scrub_end(s);
}
