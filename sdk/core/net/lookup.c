/* Host names, looked up aside: see lookup.h. The resolver cannot be interrupted, so whoever is the last of the two, the thread and
 * its user, frees what they share. */
#include "sdk/core/net/lookup.h"

#include "sdk/core/base/macros.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

struct cairn_lookups {
    atomic_uint users; /* whose they are, and each thread */
};

struct cairn_lookup {
    struct cairn_lookups *all; /* the thread's */
    atomic_uint users;
    atomic_bool over; /* then @found is there, and stays */
    uint32_t n, nfound;
    struct cairn_addr found[CAIRN_LOOKUP_MAX];
    char *texts[CAIRN_LOOKUP_MAX];
};

static void put_all(struct cairn_lookups *all)
{
    if (atomic_fetch_sub(&all->users, 1) == 1)
        free(all);
}

struct cairn_lookups *cairn_lookups_new(void)
{
    struct cairn_lookups *all = calloc(1, sizeof(*all));

    if (all != NULL)
        atomic_store(&all->users, 1);
    return all;
}

void cairn_lookups_free(struct cairn_lookups *all)
{
    if (all != NULL)
        put_all(all);
}

static void put(struct cairn_lookup *l)
{
    if (atomic_fetch_sub(&l->users, 1) > 1)
        return;
    for (uint32_t i = 0; i < l->n; i++)
        free(l->texts[i]);
    free(l);
}

static void *look(void *arg)
{
    struct cairn_lookup *l = arg;
    struct cairn_lookups *all = l->all;

    for (uint32_t i = 0; i < l->n && atomic_load(&l->users) > 1; i++)
        l->nfound += cairn_addr_parse(l->texts[i], &l->found[l->nfound], NULL) == 0;
    atomic_store(&l->over, true);
    put(l);
    put_all(all);
    return NULL;
}

/* The program's signals are for the program's own threads. */
static int start_thread(struct cairn_lookup *l)
{
    sigset_t all, before;
    pthread_attr_t attr;
    pthread_t thread;
    int e = pthread_attr_init(&attr);

    if (e != 0)
        return e;
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    e = pthread_create(&thread, &attr, look, l);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attr);
    return e;
}

struct cairn_lookup *cairn_lookup_start(struct cairn_lookups *all, const char *const texts[], uint32_t n)
{
    struct cairn_lookup *l = NULL;
    bool whole = true;

    CAIRN_ASSERT(n <= CAIRN_LOOKUP_MAX);
    if (atomic_fetch_add(&all->users, 1) <= CAIRN_LOOKUP_THREADS_MAX)
        l = calloc(1, sizeof(*l));
    if (l == NULL) {
        put_all(all);
        return NULL;
    }
    l->all = all;
    for (l->n = 0; l->n < n; l->n++) {
        l->texts[l->n] = strdup(texts[l->n]);
        whole &= l->texts[l->n] != NULL;
    }
    atomic_store(&l->users, 2);
    if (whole && start_thread(l) == 0)
        return l;
    put(l);
    put(l);
    put_all(all);
    return NULL;
}

bool cairn_lookup_is_over(const struct cairn_lookup *l, struct cairn_addr *found, uint32_t *nfound)
{
    if (!atomic_load(&l->over))
        return false;
    *nfound = l->nfound;
    memcpy(found, l->found, l->nfound * sizeof(*found));
    return true;
}

void cairn_lookup_drop(struct cairn_lookup *l)
{
    if (l != NULL)
        put(l);
}
