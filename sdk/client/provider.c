/* From a provider's name to its number: the first step of calls at provider level. */
#include "sdk/client/client_internal.h"

#include <stdlib.h>
#include <string.h>

static void find_answered(struct cairn_call *call)
{
    const Cairn__Wire__NodeProviders *r = (const Cairn__Wire__NodeProviders *)call->rpc.reply;
    const struct cairn_call_find *f = &call->find;
    bool any = strcmp(call->text, CAIRN_FIND_ANY) == 0;

    for (size_t i = 0; i < r->n_providers; i++) {
        const Cairn__Wire__NodeProvider *p = r->providers[i];

        if (any ? strcmp(p->type, f->type) != 0 : strcmp(p->name, call->text) != 0)
            continue;
        if (strcmp(p->type, f->type) != 0) {
            cairn__call_fail(call, CAIRN_E_NOPROVIDER, "provider %s is of type %s, not %s", p->name, p->type, f->type);
            return;
        }
        if (p->id >= CAIRN_PROVIDERS_MAX) {
            cairn__call_fail(call, CAIRN_E_PROTO, "provider %s has the impossible number %u", p->name, p->id);
            return;
        }
        f->found(call, (uint16_t)p->id);
        return;
    }
    if (any)
        cairn__call_fail(call, CAIRN_E_NOPROVIDER, "the node has no provider of type %s", f->type);
    else
        cairn__call_fail(call, CAIRN_E_NOPROVIDER, "the node has no provider %s", call->text);
}

int cairn__find_new(struct cairn *c, const char *provider, const char *type, const char *second,
                    void (*found)(struct cairn_call *call, uint16_t provider), const struct cairn_call_options *o,
                    cairn_done_fn *done, void *arg, struct cairn_call **out)
{
    size_t n, m = second != NULL ? strlen(second) + 1 : 0;
    struct cairn_call *call;
    int rc = cairn__refuse_name(o, "provider", provider);

    *out = NULL;
    if (rc == 0)
        rc = cairn__call_new(c, NULL, o, done, arg, &call);
    if (rc != 0)
        return rc;
    n = strlen(provider) + 1;
    call->text = malloc(n + m);
    if (call->text == NULL)
        return cairn__call_drop(call, o, CAIRN_E_NOMEM);
    memcpy(call->text, provider, n);
    if (m > 0)
        memcpy(call->text + n, second, m);
    call->find = (struct cairn_call_find){ .type = type, .found = found, .second = m > 0 ? call->text + n : NULL };
    call->has_steps = true;
    cairn__wire__empty__init(&call->rq.empty);
    call->answered = find_answered;
    cairn__call_to(call, &cairn_iface_node, CAIRN_PROVIDER_NODE, CAIRN__WIRE__NODE_METHOD__NODE_PROVIDERS);
    *out = call;
    return 0;
}
