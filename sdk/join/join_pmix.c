/* Cards by PMIx: each rank puts its own under a key that is new with each exchange, all meet at a fence that collects
 * them, and each gets the others'. */
#include "cairn/join/pmix.h"
#include "sdk/join/ranks.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define NS_PER_S UINT64_C(1000000000)

struct job {
    const pmix_proc_t *ranks;
    size_t n;
    uint64_t id; /* of this set of ranks */
};

static int fail(struct cairn_error_info *error, const char *what, pmix_status_t rc)
{
    return cairn_ranks_fail(error, rc == PMIX_ERR_TIMEOUT ? CAIRN_E_TIMEOUT : CAIRN_E_IO, "%s: %s", what,
                            PMIx_Error_string(rc));
}

/* ---- keys ---- */

/* How many exchanges a set of ranks has had: a value that was put under the same key before may be remembered. Ranks of
 * one set call equally often, whatever other sets they belong to. */
struct tally {
    struct tally *next;
    uint64_t id, n;
};
static struct tally *tallies;
static pthread_mutex_t tallies_mutex = PTHREAD_MUTEX_INITIALIZER;

static bool next_key(uint64_t id, pmix_key_t key)
{
    struct tally *t;

    pthread_mutex_lock(&tallies_mutex);
    for (t = tallies; t != NULL && t->id != id; t = t->next)
        ;
    if (t == NULL && (t = calloc(1, sizeof(*t))) != NULL) {
        t->id = id;
        t->next = tallies;
        tallies = t;
    }
    if (t != NULL)
        snprintf(key, sizeof(pmix_key_t), "cairn.join.%016llx.%llu", (unsigned long long)id,
                 (unsigned long long)t->n++);
    pthread_mutex_unlock(&tallies_mutex);
    return t != NULL;
}

/* FNV-1a. */
static uint64_t mix(uint64_t h, const void *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++)
        h = (h ^ ((const uint8_t *)bytes)[i]) * UINT64_C(0x100000001b3);
    return h;
}

static uint64_t id_of(const pmix_proc_t *ranks, size_t n)
{
    uint64_t h = UINT64_C(0xcbf29ce484222325);

    for (size_t i = 0; i < n; i++) {
        h = mix(h, ranks[i].nspace, strnlen(ranks[i].nspace, PMIX_MAX_NSLEN));
        h = mix(h, &ranks[i].rank, sizeof(ranks[i].rank));
    }
    return h;
}

/* ---- the fence ---- */

/* Belongs to the one who waits and to PMIx, which may answer after the time is over. */
struct fence {
    pthread_mutex_t mutex;
    pthread_cond_t cond;
    uint32_t refs;
    bool over;
    pmix_status_t rc;
};

static void fence_put(struct fence *f) /* with the mutex, which it gives back */
{
    bool last = --f->refs == 0;

    pthread_mutex_unlock(&f->mutex);
    if (!last)
        return;
    pthread_cond_destroy(&f->cond);
    pthread_mutex_destroy(&f->mutex);
    free(f);
}

static void on_fence(pmix_status_t rc, void *arg)
{
    struct fence *f = arg;

    pthread_mutex_lock(&f->mutex);
    f->over = true;
    f->rc = rc;
    pthread_cond_signal(&f->cond);
    fence_put(f);
}

static struct fence *fence_new(void)
{
    struct fence *f = calloc(1, sizeof(*f));
    pthread_condattr_t attr;

    if (f == NULL)
        return NULL;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&f->cond, &attr);
    pthread_condattr_destroy(&attr);
    pthread_mutex_init(&f->mutex, NULL);
    f->refs = 2;
    return f;
}

static int meet(const struct job *job, uint64_t deadline_ns, struct cairn_error_info *error)
{
    struct timespec until = { .tv_sec = (time_t)(deadline_ns / NS_PER_S), .tv_nsec = (long)(deadline_ns % NS_PER_S) };
    struct fence *f = fence_new();
    pmix_info_t collect;
    pmix_status_t rc;
    bool over;

    if (f == NULL)
        return cairn_ranks_fail(error, CAIRN_E_NOMEM, "no memory");
    PMIX_INFO_CONSTRUCT(&collect);
    PMIX_INFO_LOAD(&collect, PMIX_COLLECT_DATA, NULL, PMIX_BOOL);
    rc = PMIx_Fence_nb(job->ranks, job->n, &collect, 1, on_fence, f);
    PMIX_INFO_DESTRUCT(&collect);
    pthread_mutex_lock(&f->mutex);
    if (rc != PMIX_SUCCESS) { /* PMIX_OPERATION_SUCCEEDED among them: over, and nobody calls back */
        f->refs--;
        f->over = true;
        f->rc = rc == PMIX_OPERATION_SUCCEEDED ? PMIX_SUCCESS : rc;
    }
    while (!f->over && pthread_cond_timedwait(&f->cond, &f->mutex, &until) != ETIMEDOUT)
        ;
    over = f->over;
    rc = f->rc;
    fence_put(f);
    if (!over)
        return CAIRN_E_TIMEOUT;
    return rc == PMIX_SUCCESS ? 0 : fail(error, "PMIx_Fence", rc);
}

/* ---- an exchange ---- */

static int put(const pmix_key_t key, const struct cairn_card *mine, struct cairn_error_info *error)
{
    pmix_value_t value = { .type = PMIX_BYTE_OBJECT,
                           .data.bo = { .bytes = (char *)(uintptr_t)mine, .size = sizeof(*mine) } };
    pmix_status_t rc = PMIx_Put(PMIX_GLOBAL, key, &value);

    if (rc == PMIX_SUCCESS)
        rc = PMIx_Commit();
    return rc == PMIX_SUCCESS ? 0 : fail(error, "PMIx_Put", rc);
}

static int get(const pmix_key_t key, const pmix_proc_t *from, struct cairn_card *card, uint64_t deadline_ns,
               struct cairn_error_info *error)
{
    uint64_t now = cairn_ranks_now_ns();
    int seconds = (int)(now < deadline_ns ? (deadline_ns - now) / NS_PER_S + 1 : 1), rc = 0;
    pmix_value_t *value = NULL;
    pmix_info_t timeout;
    pmix_status_t got;

    PMIX_INFO_CONSTRUCT(&timeout);
    PMIX_INFO_LOAD(&timeout, PMIX_TIMEOUT, &seconds, PMIX_INT);
    got = PMIx_Get(from, key, &timeout, 1, &value);
    PMIX_INFO_DESTRUCT(&timeout);
    if (got != PMIX_SUCCESS)
        return fail(error, "PMIx_Get", got);
    if (value->type == PMIX_BYTE_OBJECT && value->data.bo.size == sizeof(*card))
        memcpy(card, value->data.bo.bytes, sizeof(*card));
    else
        rc = cairn_ranks_fail(error, CAIRN_E_PROTO, "process %u put something else: are all ranks of one release?",
                              from->rank);
    PMIX_VALUE_RELEASE(value);
    return rc;
}

static int exchange(void *arg, const struct cairn_card *mine, struct cairn_card *all, uint64_t deadline_ns,
                    struct cairn_error_info *error)
{
    const struct job *job = arg;
    pmix_key_t key;
    int rc;

    if (!next_key(job->id, key))
        return cairn_ranks_fail(error, CAIRN_E_NOMEM, "no memory");
    rc = put(key, mine, error);
    if (rc == 0)
        rc = meet(job, deadline_ns, error);
    for (size_t i = 0; rc == 0 && i < job->n; i++)
        rc = get(key, &job->ranks[i], &all[i], deadline_ns, error);
    return rc;
}

/* ---- who ---- */

/* All of @me's job. NULL: @error says why. */
static pmix_proc_t *whole_job(const pmix_proc_t *me, size_t *n, struct cairn_error_info *error)
{
    pmix_proc_t wildcard, *ranks;
    pmix_value_t *size = NULL;
    pmix_status_t rc;

    PMIX_PROC_LOAD(&wildcard, me->nspace, PMIX_RANK_WILDCARD);
    rc = PMIx_Get(&wildcard, PMIX_JOB_SIZE, NULL, 0, &size);
    if (rc != PMIX_SUCCESS) {
        fail(error, "PMIx_Get of the job's size", rc);
        return NULL;
    }
    *n = size->data.uint32;
    PMIX_VALUE_RELEASE(size);
    ranks = calloc(*n, sizeof(*ranks));
    if (ranks == NULL)
        cairn_ranks_fail(error, CAIRN_E_NOMEM, "no memory for %zu ranks", *n);
    for (size_t i = 0; ranks != NULL && i < *n; i++)
        PMIX_PROC_LOAD(&ranks[i], me->nspace, (pmix_rank_t)i);
    return ranks;
}

static int join(struct cairn *c, const char *provider, const pmix_proc_t *me, const pmix_proc_t *ranks, size_t n,
                const struct cairn_call_options *o, struct cairn_error_info *error)
{
    struct job job = { .ranks = ranks, .n = n, .id = id_of(ranks, n) };
    struct cairn_ranks r = { .size = (uint32_t)n, .exchange = exchange, .arg = &job };

    while (r.rank < r.size && !PMIX_CHECK_PROCID(me, &ranks[r.rank]))
        r.rank++;
    if (r.rank == r.size)
        return cairn_ranks_fail(error, CAIRN_E_INVAL, "the caller is not one of the ranks");
    return cairn_ranks_join(c, provider, &r, o);
}

int cairn_group_join_pmix(struct cairn *c, const char *provider, const pmix_proc_t *ranks, size_t n,
                          const struct cairn_call_options *o)
{
    struct cairn_error_info unheard, *error = o != NULL && o->error != NULL ? o->error : &unheard;
    pmix_proc_t me, *own = NULL;
    int rc;

    if (!PMIx_Initialized())
        return cairn_ranks_fail(error, CAIRN_E_STATE, "PMIx_Init() comes first");
    PMIx_Init(&me, NULL, 0); /* counted: says who we are */
    if (ranks == NULL) {
        own = whole_job(&me, &n, error);
        ranks = own;
    }
    rc = ranks != NULL ? join(c, provider, &me, ranks, n, o, error) : error->code;
    free(own);
    PMIx_Finalize(NULL, 0);
    return rc;
}
