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

/* ---- waiting ---- */

/* What was asked of PMIx, which counts no time itself (libpmix 4.2.2 ignores PMIX_TIMEOUT in clients). Belongs to the
 * one who waits and to PMIx, which may answer after the time is over. */
struct asked {
    pthread_mutex_t mutex;
    pthread_cond_t cond;
    uint32_t refs;
    bool over;
    pmix_status_t rc;
    pmix_key_t key; /* PMIx reads it where it is for as long as it has not answered */
    /* a value, if it is of the wanted type and size */
    pmix_data_type_t type;
    union {
        struct cairn_card card;
        uint32_t number;
    } value;
    bool fits;
};

static void asked_put(struct asked *a) /* with the mutex, which it gives back */
{
    bool last = --a->refs == 0;

    pthread_mutex_unlock(&a->mutex);
    if (!last)
        return;
    pthread_cond_destroy(&a->cond);
    pthread_mutex_destroy(&a->mutex);
    free(a);
}

static void take_value(struct asked *a, const pmix_value_t *v)
{
    if (v == NULL || v->type != a->type)
        return;
    if (v->type == PMIX_UINT32) {
        a->value.number = v->data.uint32;
        a->fits = true;
    } else if (v->data.bo.bytes != NULL && v->data.bo.size == sizeof(a->value.card)) {
        memcpy(&a->value.card, v->data.bo.bytes, sizeof(a->value.card));
        a->fits = true;
    }
}

static void on_value(pmix_status_t rc, pmix_value_t *v, void *arg)
{
    struct asked *a = arg;

    pthread_mutex_lock(&a->mutex);
    a->over = true;
    a->rc = rc;
    if (rc == PMIX_SUCCESS)
        take_value(a, v); /* which stays PMIx's */
    pthread_cond_signal(&a->cond);
    asked_put(a);
}

static void on_fence(pmix_status_t rc, void *arg)
{
    on_value(rc, NULL, arg);
}

static struct asked *asked_new(const char *key, pmix_data_type_t type)
{
    struct asked *a = calloc(1, sizeof(*a));
    pthread_condattr_t attr;

    if (a == NULL)
        return NULL;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&a->cond, &attr);
    pthread_condattr_destroy(&attr);
    pthread_mutex_init(&a->mutex, NULL);
    a->refs = 2;
    snprintf(a->key, sizeof(a->key), "%s", key);
    a->type = type;
    return a;
}

/* PMIx has said @rc to what was asked of it, and calls back if that was PMIX_SUCCESS. Waits for that; the caller
 * still has to put @a, whose mutex is held. */
static int asked_wait(struct asked *a, const char *what, pmix_status_t rc, uint64_t deadline_ns,
                      struct cairn_error_info *error)
{
    struct timespec until = { .tv_sec = (time_t)(deadline_ns / NS_PER_S), .tv_nsec = (long)(deadline_ns % NS_PER_S) };

    pthread_mutex_lock(&a->mutex);
    if (rc != PMIX_SUCCESS) { /* PMIX_OPERATION_SUCCEEDED among them: over, and nobody calls back */
        a->refs--;
        a->over = true;
        a->rc = rc == PMIX_OPERATION_SUCCEEDED ? PMIX_SUCCESS : rc;
    }
    while (!a->over && pthread_cond_timedwait(&a->cond, &a->mutex, &until) != ETIMEDOUT)
        ;
    if (!a->over)
        return CAIRN_E_TIMEOUT;
    return a->rc == PMIX_SUCCESS ? 0 : fail(error, what, a->rc);
}

static int meet(const struct job *job, uint64_t deadline_ns, struct cairn_error_info *error)
{
    struct asked *a = asked_new("", PMIX_UNDEF);
    pmix_info_t collect;
    pmix_status_t said;
    int rc;

    if (a == NULL)
        return cairn_ranks_fail(error, CAIRN_E_NOMEM, "no memory");
    PMIX_INFO_CONSTRUCT(&collect);
    PMIX_INFO_LOAD(&collect, PMIX_COLLECT_DATA, NULL, PMIX_BOOL);
    said = PMIx_Fence_nb(job->ranks, job->n, &collect, 1, on_fence, a);
    PMIX_INFO_DESTRUCT(&collect);
    rc = asked_wait(a, "PMIx_Fence", said, deadline_ns, error);
    asked_put(a);
    return rc;
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
    struct asked *a = asked_new(key, PMIX_BYTE_OBJECT);
    int rc;

    if (a == NULL)
        return cairn_ranks_fail(error, CAIRN_E_NOMEM, "no memory");
    rc = asked_wait(a, "PMIx_Get", PMIx_Get_nb(from, a->key, NULL, 0, on_value, a), deadline_ns, error);
    if (rc == 0 && a->fits)
        *card = a->value.card;
    else if (rc == 0)
        rc = cairn_ranks_fail(error, CAIRN_E_PROTO, "process %u put something else: are all ranks of one release?",
                              from->rank);
    asked_put(a);
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

static int size_of_job(const pmix_proc_t *me, size_t *n, uint64_t deadline_ns, struct cairn_error_info *error)
{
    struct asked *a = asked_new(PMIX_JOB_SIZE, PMIX_UINT32);
    pmix_proc_t all;
    int rc;

    if (a == NULL)
        return cairn_ranks_fail(error, CAIRN_E_NOMEM, "no memory");
    PMIX_PROC_LOAD(&all, me->nspace, PMIX_RANK_WILDCARD);
    rc = asked_wait(a, "PMIx_Get of the job's size", PMIx_Get_nb(&all, a->key, NULL, 0, on_value, a),
                    deadline_ns, error);
    if (rc == CAIRN_E_TIMEOUT)
        cairn_ranks_fail(error, rc, "PMIx does not tell the job's size");
    else if (rc == 0 && !a->fits)
        rc = cairn_ranks_fail(error, CAIRN_E_PROTO, "the job's size is no number");
    *n = a->value.number;
    asked_put(a);
    return rc;
}

/* All of @me's job. NULL: @error says why. */
static pmix_proc_t *whole_job(const pmix_proc_t *me, size_t *n, uint64_t deadline_ns, struct cairn_error_info *error)
{
    pmix_proc_t *ranks;

    if (size_of_job(me, n, deadline_ns, error) != 0)
        return NULL;
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
        own = whole_job(&me, &n, cairn_ranks_deadline_ns(o), error);
        ranks = own;
    }
    rc = ranks != NULL ? join(c, provider, &me, ranks, n, o, error) : error->code;
    free(own);
    PMIx_Finalize(NULL, 0);
    return rc;
}
