/* The B+tree of the memory store: see kv_tree.h, and kv_node.h for its nodes.
 *
 * A full node is split in two where a key is inserted; a node that falls below a quarter joins a neighbour of the
 * same parent if both fit three quarters of one, so a tree that shrinks gives its memory back. No leaf is empty, and
 * no inner node but, for a moment, the root has less than two children. */
#include "providers/kv/kv_tree.h"

#include "cairn/error.h"
#include "providers/kv/kv_core.h"
#include "providers/kv/kv_node.h"

static void rec_free(struct cairn_kv_tree *t, struct cairn_kv_rec *rec)
{
    if (rec != NULL)
        cairn_kv_slab_free(t->slabs, rec, cairn_kv_rec_bytes(rec->klen, rec->vlen));
}

static uint64_t rec_room(const struct cairn_kv_rec *rec)
{
    return cairn_kv_slab_room(cairn_kv_rec_bytes(rec->klen, rec->vlen));
}

void cairn_kv_tree_init(struct cairn_kv_tree *t, struct cairn_kv_slabs *slabs)
{
    *t = (struct cairn_kv_tree){ .slabs = slabs };
}

static void node_free(struct cairn_kv_tree *t, void *node, uint32_t height)
{
    struct head *h = node;

    for (uint32_t i = 0; i < h->n; i++)
        rec_free(t, h->key[i]);
    if (height == 0) {
        cairn_kv_slab_free(t->slabs, node, sizeof(struct cairn_kv_leaf));
        return;
    }
    for (uint32_t i = 0; i <= h->n; i++)
        node_free(t, ((struct inner *)node)->child[i], height - 1);
    cairn_kv_slab_free(t->slabs, node, sizeof(struct inner));
}

void cairn_kv_tree_fini(struct cairn_kv_tree *t)
{
    if (t->root != NULL)
        node_free(t, t->root, t->height);
    cairn_kv_tree_init(t, t->slabs);
}

static uint32_t inner_child(const struct inner *node, const uint8_t *key, uint32_t klen)
{
    bool equal;
    uint32_t i = cairn_kv__head_search(&node->h, key, klen, &equal);

    return i + equal;
}

struct cairn_kv_leaf *cairn_kv__tree_descend(const struct cairn_kv_tree *t, const uint8_t *key, uint32_t klen,
                                             struct path *path)
{
    void *node = t->root;

    for (uint32_t level = t->height; level > 0; level--) {
        struct inner *in = node;
        uint32_t i = inner_child(in, key, klen);

        if (path != NULL) {
            path->node[level] = in;
            path->at[level] = i;
        }
        node = in->child[i];
        cairn_kv__head_fetch(node);
    }
    return node;
}

struct cairn_kv_rec *cairn_kv_tree_find(const struct cairn_kv_tree *t, const uint8_t *key, uint32_t klen)
{
    struct cairn_kv_leaf *leaf;
    bool equal;
    uint32_t i;

    if (t->root == NULL)
        return NULL;
    leaf = cairn_kv__tree_descend(t, key, klen, NULL);
    i = cairn_kv__head_search(&leaf->h, key, klen, &equal);
    return equal ? leaf->h.key[i] : NULL;
}

/* The first lines of a record's value; what follows is a stream that the processor sees coming. */
static void rec_fetch(const struct cairn_kv_rec *rec)
{
    for (size_t off = CACHE_LINE_BYTES; off < cairn_kv_rec_bytes(rec->klen, rec->vlen) && off < FETCH_BYTES_MAX;
         off += CACHE_LINE_BYTES)
        __builtin_prefetch((const char *)rec + off);
}

/* A key on its way. */
struct walk {
    const struct head *node;
    uint64_t w;
    uint32_t at;
    bool placed;
};

void cairn_kv_tree_find_many(const struct cairn_kv_tree *t, const struct cairn_kv_key *keys, uint32_t n,
                             struct cairn_kv_rec **recs)
{
    struct walk walk[CAIRN_KV_TREE_MANY];

    CAIRN_ASSERT(n <= CAIRN_KV_TREE_MANY);
    for (uint32_t i = 0; i < n; i++) {
        walk[i].node = t->root;
        recs[i] = NULL;
    }
    if (t->root == NULL)
        return;
    for (uint32_t level = t->height; level > 0; level--) {
        for (uint32_t i = 0; i < n; i++) {
            const struct inner *in = (const struct inner *)walk[i].node;

            walk[i].node = in->child[inner_child(in, keys[i].ptr, keys[i].len)];
            cairn_kv__head_fetch(walk[i].node);
        }
    }
    for (uint32_t i = 0; i < n; i++) {
        const struct head *h = walk[i].node;

        walk[i].placed =
            cairn_kv__head_place(h, keys[i].ptr, keys[i].len, &walk[i].w, &walk[i].at) && walk[i].at < h->n;
        if (walk[i].placed)
            __builtin_prefetch(&h->key[walk[i].at]);
    }
    for (uint32_t i = 0; i < n; i++) {
        if (walk[i].placed)
            __builtin_prefetch(walk[i].node->key[walk[i].at]);
    }
    for (uint32_t i = 0; i < n; i++) {
        const struct head *h = walk[i].node;
        bool equal = false;
        uint32_t at = 0;

        if (walk[i].placed)
            at = cairn_kv__head_settle(h, keys[i].ptr, keys[i].len, walk[i].w, walk[i].at, &equal);
        if (equal) {
            recs[i] = h->key[at];
            rec_fetch(recs[i]);
        }
    }
}

/* ---- insertion ---- */

/* What an insert may need: a leaf, an inner node for each full level above, a root, and a separator. */
struct spare {
    struct cairn_kv_leaf *leaf;
    struct inner *inner[TREE_HEIGHT_MAX];
    uint32_t ninner;
    struct cairn_kv_rec *separator;
};

static void spare_free(struct cairn_kv_tree *t, struct spare *s)
{
    cairn_kv_slab_free(t->slabs, s->leaf, sizeof(*s->leaf));
    while (s->ninner > 0)
        cairn_kv_slab_free(t->slabs, s->inner[--s->ninner], sizeof(*s->inner[0]));
    rec_free(t, s->separator);
}

/* The shortest key that is above @left and not above @right. */
static struct cairn_kv_rec *separator_new(struct cairn_kv_tree *t, const struct cairn_kv_rec *left,
                                          const struct cairn_kv_rec *right)
{
    uint32_t n = cairn_kv__common_len(left->bytes, left->klen, right->bytes, right->klen) + 1;
    struct cairn_kv_rec *sep = cairn_kv_slab_alloc(t->slabs, cairn_kv_rec_bytes(n, 0));

    if (sep == NULL)
        return NULL;
    sep->klen = (uint16_t)n;
    sep->vlen = 0;
    memcpy(sep->bytes, right->bytes, n);
    return sep;
}

/* Where a full node is divided when a key comes to place @i: in the middle, but keys that arrive in order leave full
 * nodes behind. At least one key stays on each side. */
static uint32_t split_at(uint32_t i)
{
    return i >= NODE_KEYS ? NODE_KEYS - 1 : NODE_KEYS / 2;
}

static bool spare_take(struct cairn_kv_tree *t, const struct path *path, const struct cairn_kv_leaf *leaf, uint32_t i,
                       struct spare *s)
{
    uint32_t level = 1, at = split_at(i);

    s->leaf = cairn_kv_slab_alloc(t->slabs, sizeof(*s->leaf));
    s->separator = separator_new(t, leaf->h.key[at - 1], leaf->h.key[at]);
    if (s->leaf == NULL || s->separator == NULL)
        return false;
    for (; level <= t->height + 1; level++) {
        if (level <= t->height && path->node[level]->h.n < NODE_KEYS)
            return true;
        s->inner[s->ninner] = cairn_kv_slab_alloc(t->slabs, sizeof(*s->inner[0]));
        if (s->inner[s->ninner] == NULL)
            return false;
        s->ninner++;
    }
    return true;
}

/* Moves the keys from @at on into @right, which is empty; with @skip the first of them is left to the caller. */
static void head_split(struct head *left, struct head *right, uint32_t at, uint32_t skip)
{
    right->n = (uint16_t)(left->n - at - skip);
    memcpy(right->key, &left->key[at + skip], right->n * sizeof(right->key[0]));
    left->n = (uint16_t)at;
    cairn_kv__head_refit(left);
    cairn_kv__head_refit(right);
}

static void inner_insert(struct inner *node, uint32_t i, struct cairn_kv_rec *sep, void *right)
{
    memmove(&node->child[i + 2], &node->child[i + 1], (node->h.n - i) * sizeof(node->child[0]));
    node->child[i + 1] = right;
    cairn_kv__head_insert(&node->h, i, sep);
}

/* Puts @sep and the node right of it into the parents, splitting those that are full. */
static void tree_grow(struct cairn_kv_tree *t, struct path *path, struct spare *s, struct cairn_kv_rec *sep,
                      void *right)
{
    struct inner *root;

    for (uint32_t level = 1; level <= t->height; level++) {
        struct inner *node = path->node[level], *fresh;
        uint32_t i = path->at[level], at;
        struct cairn_kv_rec *up;

        if (node->h.n < NODE_KEYS) {
            inner_insert(node, i, sep, right);
            return;
        }
        fresh = s->inner[--s->ninner];
        at = i >= NODE_KEYS ? NODE_KEYS - 2 : NODE_KEYS / 2;
        up = node->h.key[at];
        memcpy(fresh->child, &node->child[at + 1], (NODE_KEYS - at) * sizeof(fresh->child[0]));
        head_split(&node->h, &fresh->h, at, 1);
        if (i <= at)
            inner_insert(node, i, sep, right);
        else
            inner_insert(fresh, i - at - 1, sep, right);
        sep = up;
        right = fresh;
    }
    root = s->inner[--s->ninner];
    root->h.n = 0;
    root->child[0] = t->root;
    inner_insert(root, 0, sep, right);
    t->root = root;
    t->height++;
    CAIRN_ASSERT(t->height < TREE_HEIGHT_MAX);
}

static int tree_put_first(struct cairn_kv_tree *t, struct cairn_kv_rec *rec)
{
    struct cairn_kv_leaf *leaf = cairn_kv_slab_alloc(t->slabs, sizeof(*leaf));

    if (leaf == NULL)
        return CAIRN_E_NOSPACE;
    leaf->h.n = 0;
    leaf->next = leaf->prev = NULL;
    cairn_kv__head_insert(&leaf->h, 0, rec);
    t->root = leaf;
    t->keys = 1;
    t->bytes = rec_room(rec);
    return 0;
}

int cairn_kv_tree_put(struct cairn_kv_tree *t, struct cairn_kv_rec *rec, struct cairn_kv_rec **old)
{
    struct path path;
    struct spare s = { 0 };
    struct cairn_kv_leaf *leaf, *right;
    bool equal;
    uint32_t i;

    *old = NULL;
    if (t->root == NULL)
        return tree_put_first(t, rec);
    leaf = cairn_kv__tree_descend(t, rec->bytes, rec->klen, &path);
    i = cairn_kv__head_search(&leaf->h, rec->bytes, rec->klen, &equal);
    if (equal) {
        *old = leaf->h.key[i];
        leaf->h.key[i] = rec;
        t->bytes += rec_room(rec) - rec_room(*old);
        return 0;
    }
    if (leaf->h.n == NODE_KEYS) {
        uint32_t at = split_at(i);
        struct cairn_kv_rec *sep;

        if (!spare_take(t, &path, leaf, i, &s)) {
            spare_free(t, &s);
            return CAIRN_E_NOSPACE;
        }
        right = s.leaf;
        sep = s.separator;
        right->next = leaf->next;
        right->prev = leaf;
        if (right->next != NULL)
            right->next->prev = right;
        leaf->next = right;
        head_split(&leaf->h, &right->h, at, 0);
        if (cairn_kv_key_compare(rec->bytes, rec->klen, sep->bytes, sep->klen) >= 0) {
            leaf = right;
            i -= at;
        }
        tree_grow(t, &path, &s, sep, right);
    }
    cairn_kv__head_insert(&leaf->h, i, rec);
    t->keys++;
    t->bytes += rec_room(rec);
    return 0;
}

/* ---- removal ---- */

/* Takes separator @i and the child right of it out of @node. */
static void inner_remove(struct cairn_kv_tree *t, struct inner *node, uint32_t i)
{
    rec_free(t, node->h.key[i]);
    memmove(&node->child[i + 1], &node->child[i + 2], (node->h.n - i - 1) * sizeof(node->child[0]));
    cairn_kv__head_remove(&node->h, i);
}

static void leaf_join(struct cairn_kv_tree *t, struct cairn_kv_leaf *left, struct cairn_kv_leaf *right)
{
    memcpy(&left->h.key[left->h.n], right->h.key, right->h.n * sizeof(right->h.key[0]));
    left->h.n = (uint16_t)(left->h.n + right->h.n);
    cairn_kv__head_refit(&left->h);
    left->next = right->next;
    if (left->next != NULL)
        left->next->prev = left;
    cairn_kv_slab_free(t->slabs, right, sizeof(*right));
}

/* The separator between the two, @sep of @parent, comes down between their keys. */
static void inner_join(struct cairn_kv_tree *t, struct inner *parent, uint32_t sep, struct inner *left,
                       struct inner *right)
{
    uint32_t n = left->h.n;

    left->h.key[n] = parent->h.key[sep];
    parent->h.key[sep] = NULL; /* moved, not freed */
    memcpy(&left->h.key[n + 1], right->h.key, right->h.n * sizeof(right->h.key[0]));
    memcpy(&left->child[n + 1], right->child, (right->h.n + 1u) * sizeof(right->child[0]));
    left->h.n = (uint16_t)(n + 1 + right->h.n);
    cairn_kv__head_refit(&left->h);
    cairn_kv_slab_free(t->slabs, right, sizeof(*right));
}

/* True if child @i and @i + 1 of @node became one. */
static bool children_join(struct cairn_kv_tree *t, struct inner *node, uint32_t i, uint32_t level)
{
    struct head *left = node->child[i], *right = node->child[i + 1];

    if (left->n + right->n > NODE_JOIN)
        return false;
    if (level == 1)
        leaf_join(t, node->child[i], node->child[i + 1]);
    else
        inner_join(t, node, i, node->child[i], node->child[i + 1]);
    inner_remove(t, node, i);
    return true;
}

/* An empty leaf whose neighbours are too full to join it. The parent has another child: see inner_borrow(). */
static void leaf_drop(struct cairn_kv_tree *t, struct inner *parent, uint32_t i)
{
    struct cairn_kv_leaf *leaf = parent->child[i];

    if (leaf->prev != NULL)
        leaf->prev->next = leaf->next;
    if (leaf->next != NULL)
        leaf->next->prev = leaf->prev;
    cairn_kv_slab_free(t->slabs, leaf, sizeof(*leaf));
    if (i == 0) {
        parent->child[0] = parent->child[1];
        inner_remove(t, parent, 0);
    } else {
        inner_remove(t, parent, i - 1);
    }
}

/* Child @i of @parent takes one child of a neighbour that is too full to join it, so no inner node but the root ever
 * comes down to one child. The separators go round: no memory is needed. */
static void inner_borrow(struct inner *parent, uint32_t i)
{
    struct inner *node = parent->child[i];

    if (i < parent->h.n) {
        struct inner *right = parent->child[i + 1];

        node->child[node->h.n + 1] = right->child[0];
        cairn_kv__head_insert(&node->h, node->h.n, parent->h.key[i]);
        cairn_kv__head_replace(&parent->h, i, right->h.key[0]);
        memmove(&right->child[0], &right->child[1], right->h.n * sizeof(right->child[0]));
        cairn_kv__head_remove(&right->h, 0);
    } else {
        struct inner *left = parent->child[i - 1];

        memmove(&node->child[1], &node->child[0], (node->h.n + 1u) * sizeof(node->child[0]));
        node->child[0] = left->child[left->h.n];
        cairn_kv__head_insert(&node->h, 0, parent->h.key[i - 1]);
        cairn_kv__head_replace(&parent->h, i - 1, left->h.key[left->h.n - 1]);
        cairn_kv__head_remove(&left->h, left->h.n - 1u);
    }
}

/* After a key was taken from the leaf at the path's end: joins small nodes with a neighbour, upwards. */
static void tree_shrink(struct cairn_kv_tree *t, const struct path *path)
{
    for (uint32_t level = 1; level <= t->height; level++) {
        struct inner *node = path->node[level];
        uint32_t i = path->at[level];
        struct head *child = node->child[i];

        if (child->n >= NODE_LOW)
            break;
        if ((i < node->h.n && children_join(t, node, i, level)) || (i > 0 && children_join(t, node, i - 1, level)))
            continue;
        if (level > 1) {
            inner_borrow(node, i);
            break;
        }
        if (child->n > 0)
            break;
        leaf_drop(t, node, i);
    }
    while (t->height > 0 && ((struct head *)t->root)->n == 0) {
        void *only = ((struct inner *)t->root)->child[0];

        cairn_kv_slab_free(t->slabs, t->root, sizeof(struct inner));
        t->root = only;
        t->height--;
    }
}

struct cairn_kv_rec *cairn_kv_tree_take(struct cairn_kv_tree *t, const uint8_t *key, uint32_t klen)
{
    struct path path;
    struct cairn_kv_leaf *leaf;
    struct cairn_kv_rec *rec;
    bool equal;
    uint32_t i;

    if (t->root == NULL)
        return NULL;
    leaf = cairn_kv__tree_descend(t, key, klen, &path);
    i = cairn_kv__head_search(&leaf->h, key, klen, &equal);
    if (!equal)
        return NULL;
    rec = leaf->h.key[i];
    cairn_kv__head_remove(&leaf->h, i);
    t->keys--;
    t->bytes -= rec_room(rec);
    if (t->height > 0) {
        tree_shrink(t, &path);
    } else if (leaf->h.n == 0) {
        cairn_kv_slab_free(t->slabs, leaf, sizeof(*leaf));
        t->root = NULL;
    }
    return rec;
}
