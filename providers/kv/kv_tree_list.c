/* Walking the tree in order, and its self-check: see kv_tree.h. */
#include "providers/kv/kv_core.h"
#include "providers/kv/kv_node.h"

/* ---- listing ---- */

static struct cairn_kv_leaf *tree_edge(const struct cairn_kv_tree *t, bool last)
{
    void *node = t->root;

    for (uint32_t level = t->height; level > 0; level--)
        node = ((struct inner *)node)->child[last ? ((struct head *)node)->n : 0];
    return node;
}

/* A place behind the last key of a leaf is the first of the next: no leaf is empty. */
static struct cairn_kv_cursor cursor_settle(struct cairn_kv_leaf *leaf, uint32_t i)
{
    if (leaf != NULL && i >= leaf->h.n)
        return (struct cairn_kv_cursor){ .leaf = leaf->next, .i = 0 };
    return (struct cairn_kv_cursor){ .leaf = leaf, .i = i };
}

struct cairn_kv_cursor cairn_kv_tree_seek(const struct cairn_kv_tree *t, const uint8_t *key, uint32_t klen)
{
    struct cairn_kv_leaf *leaf;
    bool equal;

    if (t->root == NULL)
        return (struct cairn_kv_cursor){ 0 };
    if (key == NULL)
        return cursor_settle(tree_edge(t, false), 0);
    leaf = cairn_kv__tree_descend(t, key, klen, NULL);
    return cursor_settle(leaf, cairn_kv__head_search(&leaf->h, key, klen, &equal));
}

struct cairn_kv_cursor cairn_kv_tree_seek_below(const struct cairn_kv_tree *t, const uint8_t *key, uint32_t klen)
{
    struct cairn_kv_cursor c = { 0 };
    bool equal;

    if (t->root == NULL)
        return c;
    if (key == NULL) {
        c.leaf = tree_edge(t, true);
        c.i = c.leaf->h.n;
    } else {
        c.leaf = cairn_kv__tree_descend(t, key, klen, NULL);
        c.i = cairn_kv__head_search(&c.leaf->h, key, klen, &equal);
    }
    cairn_kv_cursor_prev(&c);
    return c;
}

struct cairn_kv_rec *cairn_kv_cursor_rec(const struct cairn_kv_cursor *c)
{
    return c->leaf != NULL ? c->leaf->h.key[c->i] : NULL;
}

void cairn_kv_cursor_next(struct cairn_kv_cursor *c)
{
    *c = cursor_settle(c->leaf, c->i + 1);
}

void cairn_kv_cursor_prev(struct cairn_kv_cursor *c)
{
    if (c->i > 0) {
        c->i--;
        return;
    }
    c->leaf = c->leaf->prev;
    c->i = c->leaf != NULL ? c->leaf->h.n - 1u : 0;
}

/* ---- self-check ---- */

static void head_check(const struct head *h)
{
    for (uint32_t i = 0; i < h->n; i++) {
        const struct cairn_kv_rec *k = h->key[i];

        CAIRN_ASSERT(k->klen >= h->prefix_len && memcmp(k->bytes, h->prefix, h->prefix_len) == 0);
        CAIRN_ASSERT(h->word[i] == cairn_kv__word_at(k->bytes, k->klen, h->prefix_len));
        if (i > 0)
            CAIRN_ASSERT(cairn_kv_key_compare(h->key[i - 1]->bytes, h->key[i - 1]->klen, k->bytes, k->klen) < 0);
    }
}

/* All keys below @node are in [lo, hi); returns how many records there are. */
static uint64_t node_check(const struct cairn_kv_tree *t, void *node, uint32_t height, const struct cairn_kv_rec *lo,
                           const struct cairn_kv_rec *hi, struct cairn_kv_leaf **prev)
{
    const struct head *h = node;
    uint64_t n = 0;

    head_check(h);
    if (h->n > 0 && lo != NULL)
        CAIRN_ASSERT(cairn_kv_key_compare(h->key[0]->bytes, h->key[0]->klen, lo->bytes, lo->klen) >= 0);
    if (h->n > 0 && hi != NULL)
        CAIRN_ASSERT(cairn_kv_key_compare(h->key[h->n - 1]->bytes, h->key[h->n - 1]->klen, hi->bytes, hi->klen) < 0);
    if (height == 0) {
        struct cairn_kv_leaf *leaf = node;

        CAIRN_ASSERT(leaf->h.n > 0 && leaf->prev == *prev && (*prev == NULL || (*prev)->next == leaf));
        *prev = leaf;
        return leaf->h.n;
    }
    for (uint32_t i = 0; i <= h->n; i++)
        n += node_check(t, ((struct inner *)node)->child[i], height - 1, i > 0 ? h->key[i - 1] : lo,
                        i < h->n ? h->key[i] : hi, prev);
    return n;
}

void cairn_kv_tree_check(const struct cairn_kv_tree *t)
{
    struct cairn_kv_leaf *last = NULL;
    uint64_t n = t->root != NULL ? node_check(t, t->root, t->height, NULL, NULL, &last) : 0;

    CAIRN_ASSERT(n == t->keys && (last == NULL || last->next == NULL));
}
