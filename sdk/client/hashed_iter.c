/* The walk over all keys of a namespace: see cairn/hashed.h. A step is an entry of the page that is here, or a
 * request for the next page. */
#include "sdk/client/hashed_internal.h"

#include <stdlib.h>
#include <string.h>

struct cairn_iter {
    struct cairn_ns *ns; /* a reference */
    struct cairn_call_options o;
    struct cairn_page *page, *fetched; /* @fetched: by the request of this step */
    size_t at;
    atomic_bool stepping; /* a step is in flight */
    struct cairn_entry *entry;
    cairn_done_fn *done;
    void *arg;
    size_t prefix_len;
    char prefix[];
};

int cairn_iter_open(struct cairn_ns *ns, const void *prefix, size_t prefix_len, const struct cairn_call_options *o,
                    struct cairn_iter **out)
{
    struct cairn_iter *it;

    *out = NULL;
    if (!cairn__are_options(o))
        return CAIRN_E_INVAL;
    if (prefix_len > CAIRN_KEY_BYTES_MAX)
        return cairn__refuse_key(o, prefix_len);
    it = calloc(1, sizeof(*it) + prefix_len);
    if (it == NULL)
        return cairn__refuse(o, CAIRN_E_NOMEM, "no memory for an iterator");
    it->ns = ns;
    atomic_fetch_add(&ns->h.refs, 1);
    it->o = cairn__options_of(o);
    it->prefix_len = prefix_len;
    if (prefix_len > 0)
        memcpy(it->prefix, prefix, prefix_len);
    *out = it;
    return 0;
}

/* True if the step needs another page. */
static bool iter_must_ask(const struct cairn_iter *it)
{
    return it->page == NULL || (it->at == it->page->n && it->page->more);
}

static int iter_ask(struct cairn_iter *it, cairn_done_fn *done, void *arg)
{
    const struct cairn_entry *last =
        it->page != NULL ? &it->page->entries[it->page->n - 1] : NULL; /* more: not empty */
    ProtobufCBinaryData after = cairn__bytes(last != NULL ? last->key : NULL, last != NULL ? last->key_len : 0);

    it->fetched = NULL;
    return cairn__hashed_list(it->ns, cairn__bytes(it->prefix, it->prefix_len), after, 0, &it->fetched, &it->o, done,
                              arg);
}

/* What the step comes to: 1, 0 at the end, or @rc of its request. */
static int iter_take(struct cairn_iter *it, struct cairn_entry *entry, int rc)
{
    if (rc != 0)
        return rc;
    if (it->fetched != NULL) {
        free(it->page);
        it->page = it->fetched;
        it->fetched = NULL;
        it->at = 0;
    }
    if (it->at == it->page->n)
        return 0;
    *entry = it->page->entries[it->at++];
    return 1;
}

/* 0, or CAIRN_E_STATE. */
static int iter_step(struct cairn_iter *it)
{
    return atomic_exchange(&it->stepping, true)
               ? cairn__refuse(&it->o, CAIRN_E_STATE, "a step of the iterator is in flight")
               : 0;
}

int cairn_iter_next(struct cairn_iter *it, struct cairn_entry *entry)
{
    int rc = iter_step(it);

    if (rc != 0)
        return rc;
    rc = iter_take(it, entry, iter_must_ask(it) ? iter_ask(it, NULL, NULL) : 0);
    atomic_store(&it->stepping, false);
    return rc;
}

static void iter_on_step(void *arg, int rc)
{
    struct cairn_iter *it = arg;
    cairn_done_fn *done = it->done;
    void *done_arg = it->arg;

    rc = iter_take(it, it->entry, rc);
    atomic_store(&it->stepping, false);
    done(done_arg, rc); /* which may begin the next step, or close the iterator */
}

int cairn_iter_next_async(struct cairn_iter *it, struct cairn_entry *entry, cairn_done_fn *done, void *arg)
{
    int rc = done != NULL ? iter_step(it) : CAIRN_E_INVAL;

    if (rc != 0)
        return rc;
    it->entry = entry;
    it->done = done;
    it->arg = arg;
    rc =
        iter_must_ask(it) ? iter_ask(it, iter_on_step, it) : cairn__call_nothing(it->ns->h.c, &it->o, iter_on_step, it);
    if (rc != 0)
        atomic_store(&it->stepping, false);
    return rc;
}

void cairn_iter_close(struct cairn_iter *it)
{
    if (it == NULL)
        return;
    CAIRN_ASSERT(!atomic_load(&it->stepping));
    free(it->page);
    cairn__handle_put(&it->ns->h);
    free(it);
}
