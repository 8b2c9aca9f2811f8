/* libfabric, loaded when it is first needed instead of with the program.
 *
 * Debian's libfabric pulls in the libraries of every network it was built for. One of them (libpsm_infinipath) measures
 * the processor's clock in a constructor, for 200 ms, binds the thread to processors meanwhile, and takes SIGINT,
 * SIGTERM, SIGSEGV and others for itself: no price for a `cairn ls`, nor for an application that never moves a byte
 * over a network, nor for a node whose clients are all on its own machine (which is 20 MB smaller without).
 *
 * What is loaded belongs to the process, as with every shared library; this file's one variable is where it is. It is
 * never unloaded: libfabric leaves threads and handlers behind. */
#include "sdk/core/fabric/fabric_internal.h"

#include "sdk/core/base/log.h"
#include "sdk/core/base/macros.h"

#include <dlfcn.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>

static struct cairn_fabric_lib lib;
static const char *failure; /* why it could not be loaded; static, or the linker's own text, kept for good */
static pthread_once_t once = PTHREAD_ONCE_INIT;

/* Data pointer to function pointer, which C leaves to POSIX. */
static void *symbol(void *handle, const char *name)
{
    void *s = dlsym(handle, name);

    if (s == NULL)
        failure = "libfabric.so.1 lacks a function";
    return s;
}

static void load(void)
{
    static const int taken[] = { SIGSEGV, SIGBUS, SIGILL, SIGABRT, SIGINT, SIGTERM };
    struct sigaction before[ARRAY_SIZE(taken)];
    sigset_t late, mask; /* what asks for an end meanwhile comes when it is ours again */
    cpu_set_t cpus;
    bool has_cpus = sched_getaffinity(0, sizeof(cpus), &cpus) == 0;
    void *handle;

    sigemptyset(&late);
    sigaddset(&late, SIGINT);
    sigaddset(&late, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &late, &mask);
    for (size_t i = 0; i < ARRAY_SIZE(taken); i++)
        sigaction(taken[i], NULL, &before[i]);
    handle = dlopen("libfabric.so.1", RTLD_NOW | RTLD_LOCAL);
    for (size_t i = 0; i < ARRAY_SIZE(taken); i++)
        sigaction(taken[i], &before[i], NULL);
    pthread_sigmask(SIG_SETMASK, &mask, NULL);
    if (has_cpus)
        sched_setaffinity(0, sizeof(cpus), &cpus);
    if (handle == NULL) {
        failure = dlerror();
        if (failure == NULL)
            failure = "libfabric.so.1 cannot be loaded";
        return;
    }
    *(void **)&lib.getinfo = symbol(handle, "fi_getinfo");
    *(void **)&lib.freeinfo = symbol(handle, "fi_freeinfo");
    *(void **)&lib.dupinfo = symbol(handle, "fi_dupinfo");
    *(void **)&lib.fabric = symbol(handle, "fi_fabric");
    *(void **)&lib.strerror = symbol(handle, "fi_strerror");
}

const struct cairn_fabric_lib *cairn_fabric__lib(struct cairn_err *err)
{
    pthread_once(&once, load);
    if (failure == NULL)
        return &lib;
    cairn_err_set(err, CAIRN_E_UNSUPPORTED, "fabric: %s", failure);
    return NULL;
}
