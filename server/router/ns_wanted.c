/* What is asked for with a new namespace: whether it is possible here, and what it comes to where nothing was said. It
 * needs nothing but the request and the configuration; whether it may be made is decided at home (ns_create.c). */
#include "server/router/router_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

/* The provider that is meant: the one named, that of the configuration, or the first of its kind. */
static int choose_provider(const struct cairn_router *r, const char *named, const char *usual,
                           const struct cairn_rpc_iface *iface, const char *what, char *to, struct cairn_err *err)
{
    if (named[0] == '\0' && usual != NULL)
        named = usual;
    for (uint32_t i = 0; i < r->env.ntargets; i++) {
        const struct cairn_rpc_target *t = &r->env.targets[i];

        if (t->iface == iface && (named[0] == '\0' || strcmp(t->name, named) == 0)) {
            snprintf(to, CAIRN_NAME_BYTES_MAX + 1, "%s", t->name);
            return 0;
        }
    }
    if (named[0] == '\0')
        return CAIRN_E_NOPROVIDER;
    return cairn_err_set(err, CAIRN_E_NOPROVIDER, "this node has no %s provider '%.255s'", what, named);
}

static int wanted_check(const struct cairn_router *r, const Cairn__Wire__Namespace *m, struct router_ns *ns,
                        struct cairn_err *err)
{
    uint32_t embed_max = CAIRN_RECORD_EMBEDDED_BYTES_MAX;
    int rc;

    if (m->frontend != CAIRN__WIRE__FRONTEND__FRONTEND_HASHED)
        return cairn_err_set(err, CAIRN_E_UNSUPPORTED, "frontend %d is not known here", (int)m->frontend);
    if (m->durability > CAIRN__WIRE__DURABILITY__DURABILITY_MEMORY)
        return cairn_err_set(err, CAIRN_E_INVAL, "durability %d is not known here", (int)m->durability);
    if (m->replicas > 1 && r->conf.cluster == NULL)
        return cairn_err_set(err, CAIRN_E_UNSUPPORTED, "%" PRIu32 " replicas on one node", m->replicas);
    if (m->replicas > CAIRN_CLUSTER_CLASSES)
        return cairn_err_set(err, CAIRN_E_UNSUPPORTED,
                             "%" PRIu32 " replicas; at most %d are possible: a slot's record has room for so many",
                             m->replicas, CAIRN_CLUSTER_CLASSES);
    if ((m->mode & ~0666U) != 0)
        return cairn_err_set(err, CAIRN_E_INVAL, "mode %" PRIo32 "; only r and w are possible", m->mode);
    if (m->embed_threshold > embed_max)
        return cairn_err_set(err, CAIRN_E_INVAL, "an embed threshold of %" PRIu32 "; at most %" PRIu32 " bytes fit",
                             m->embed_threshold, embed_max);
    rc = choose_provider(r, m->kv, r->conf.kv, &cairn_iface_kv, "KV", ns->kv_name, err);
    if (rc != 0)
        return rc == CAIRN_E_NOPROVIDER && m->kv[0] == '\0' ? cairn_err_set(err, rc, "this node has no KV provider")
                                                            : rc;
    rc = choose_provider(r, m->extent, r->conf.extent, &cairn_iface_extent, "extent", ns->extent_name, err);
    if (rc != 0 && m->extent[0] != '\0') /* without one, values up to the threshold are possible */
        return rc;
    return 0;
}

static uint64_t wall_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_REALTIME, &ts); /* for people: nothing is decided by it */
    return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / CAIRN_NS_PER_MS;
}

int router_ns_wanted(const struct cairn_router *r, const Cairn__Wire__Namespace *m, const struct cairn_identity *who,
                     struct router_ns *ns, struct cairn_err *err)
{
    int rc = router_ns_name_check(m->name, err);

    if (rc == 0)
        rc = wanted_check(r, m, ns, err);
    if (rc != 0)
        return rc;
    snprintf(ns->name, sizeof(ns->name), "%s", m->name);
    ns->durability = m->durability;
    ns->write_once = m->write_once;
    ns->replicas = MAX(m->replicas, 1U);
    ns->clustered = r->conf.cluster != NULL && m->replicas > 0; /* else this node's alone */
    ns->embed_threshold = m->embed_threshold != 0 ? m->embed_threshold : r->conf.embed_threshold;
    ns->mode = m->mode != 0 ? m->mode : CAIRN_ROUTER_MODE_DEFAULT;
    ns->owner = who->admin && m->owner != 0 ? m->owner : who->uid; /* only an administrator makes it another's */
    ns->group = who->admin && m->group != 0 ? m->group : who->gid;
    ns->created_ms = wall_ms();
    router_ns_complete(r, ns);
    return 0;
}
