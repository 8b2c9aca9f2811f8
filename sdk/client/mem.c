/* Memory that stays registered for many calls. */
#include "sdk/client/client_internal.h"

#include <stdlib.h>

struct cairn_mem {
    struct cairn_bulk_area *area;
};

struct registration {
    void *ptr;
    size_t len;
    struct cairn_mem *mem;
};

static int register_area(struct cairn *c, void *arg)
{
    struct registration *r = arg;

    return cairn_bulk_register(c->rpc, r->ptr, r->len, &r->mem->area);
}

static int unregister_area(struct cairn *c, void *arg)
{
    struct cairn_mem *mem = arg;

    (void)c;
    cairn_bulk_unregister(mem->area);
    return 0;
}

int cairn_mem_register(struct cairn *c, void *ptr, size_t len, struct cairn_mem **out)
{
    struct registration r = { .ptr = ptr, .len = len };
    int rc;

    *out = NULL;
    if (ptr == NULL || len == 0)
        return CAIRN_E_INVAL;
    r.mem = malloc(sizeof(*r.mem));
    if (r.mem == NULL)
        return CAIRN_E_NOMEM;
    rc = cairn__on_loop(c, register_area, &r);
    if (rc != 0) {
        free(r.mem);
        return rc;
    }
    *out = r.mem;
    return 0;
}

void cairn_mem_deregister(struct cairn *c, struct cairn_mem *mem)
{
    if (mem == NULL)
        return;
    cairn__on_loop(c, unregister_area, mem);
    free(mem);
}
