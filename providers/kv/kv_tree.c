/* The B+tree of the memory store: see kv_tree.h.
 *
 * Both kinds of node begin with a struct head: how many keys, the bytes all of them begin with (at most HEAD_PREFIX_MAX
 * of them), and per key the next eight bytes as a big-endian number, short keys padded with zeros. Numbers that differ
 * order their keys; equal ones say nothing, and the keys themselves are compared. A leaf's keys are its records; an
 * inner node's are separators, small records of their own: child[i] holds what is below key i, child[n] the rest.
 *
 * A full node is split in two where a key is inserted; a node that falls below a quarter joins a neighbour of the same
 * parent if both fit three quarters of one, so a tree that shrinks gives its memory back. No leaf is empty, and no
 * inner node but, for a moment, the root has less than two children. */
#include "providers/kv/kv_tree.h"

#include "cairn/error.h"
#include "providers/kv/kv_core.h"

#include <endian.h>
#include <string.h>

enum {
    NODE_KEYS = 64,
    NODE_LOW = NODE_KEYS / 4,
    NODE_JOIN = NODE_KEYS * 3 / 4,
    HEAD_PREFIX_MAX = 44,
    TREE_HEIGHT_MAX = 16,
    CACHE_LINE_BYTES = 64,
    FETCH_BYTES_MAX = 1024
};

struct head {
    uint16_t n;
    uint16_t prefix_len;
    uint8_t prefix[HEAD_PREFIX_MAX];
    uint64_t word[NODE_KEYS];
    struct cairn_kv_rec *key[NODE_KEYS];
};

struct cairn_kv_leaf {
    struct head h;
    struct cairn_kv_leaf *next, *prev;
};

struct inner {
    struct head h;
    void *child[NODE_KEYS + 1];
};

/* The way from the root to a leaf: which child was taken. */
struct path {
    struct inner *node[TREE_HEIGHT_MAX];
    uint32_t at[TREE_HEIGHT_MAX];
};

static uint32_t common_len(const uint8_t *a, uint32_t alen, const uint8_t *b, uint32_t blen)
{
    uint32_t n = 0, max = MIN(alen, blen);

    while (n < max && a[n] == b[n])
        n++;
    return n;
}

/* Whole words only: the rest of a key is the end of the word that ends with it, since bytes copied one by one into a
 * word make its load wait for all of them. */
static uint64_t word_at(const uint8_t *key, uint32_t klen, uint32_t off)
{
    uint64_t w = 0;

    if (off >= klen)
        return 0;
    if (klen - off >= sizeof(w)) {
        memcpy(&w, key + off, sizeof(w));
        return be64toh(w);
    }
    if (klen >= sizeof(w)) {
        memcpy(&w, key + klen - sizeof(w), sizeof(w));
        return be64toh(w) << 8 * (sizeof(w) - (klen - off));
    }
    for (uint32_t i = off; i < off + sizeof(w); i++)
        w = w << 8 | (i < klen ? key[i] : 0);
    return w;
}

static void head_fill_words(struct head *h, uint32_t from)
{
    for (uint32_t i = from; i < h->n; i++)
        h->word[i] = word_at(h->key[i]->bytes, h->key[i]->klen, h->prefix_len);
}

/* Finds the prefix and the numbers anew, after keys came from another node. */
static void head_refit(struct head *h)
{
    const struct cairn_kv_rec *first, *last;

    if (h->n == 0) {
        h->prefix_len = 0;
        return;
    }
    first = h->key[0];
    last = h->key[h->n - 1];
    h->prefix_len =
        (uint16_t)MIN(common_len(first->bytes, first->klen, last->bytes, last->klen), (uint32_t)HEAD_PREFIX_MAX);
    memcpy(h->prefix, first->bytes, h->prefix_len);
    head_fill_words(h, 0);
}

/* Begins to fetch what a search in a node looks at: all at once, where it would wait for one line after the other. */
static void head_fetch(const struct head *h)
{
    const char *p = (const char *)h;

    for (size_t off = 0; off < offsetof(struct head, key); off += CACHE_LINE_BYTES)
        __builtin_prefetch(p + off);
}

/* Where the number of @key stands among the node's; false: what all its keys begin with has decided, and *@at is the
 * place. */
static bool head_place(const struct head *h, const uint8_t *key, uint32_t klen, uint64_t *w, uint32_t *at)
{
    uint32_t lo = 0, n = h->n;
    int c = memcmp(key, h->prefix, MIN(klen, h->prefix_len));

    *at = c > 0 ? h->n : 0;
    if (c != 0 || klen < h->prefix_len)
        return false;
    *w = word_at(key, klen, h->prefix_len);
    while (n > 0) { /* without a branch on the comparison: it cannot be predicted */
        uint32_t half = n / 2;
        bool below = h->word[lo + half] < *w;

        lo = below ? lo + half + 1 : lo;
        n = below ? n - half - 1 : half;
    }
    *at = lo;
    return true;
}

/* From the place @lo of its number @w to the place of @key itself. */
static uint32_t head_settle(const struct head *h, const uint8_t *key, uint32_t klen, uint64_t w, uint32_t lo,
                            bool *equal)
{
    uint32_t hi = lo;

    for (; hi < h->n && h->word[hi] == w; hi++) {
        int c = cairn_kv_key_compare(h->key[hi]->bytes, h->key[hi]->klen, key, klen);

        if (c >= 0) {
            *equal = c == 0;
            return hi;
        }
        if (hi == lo && h->n - lo > 8 && h->word[h->n - 1] == w) { /* many alike: halve instead of walking */
            uint32_t a = lo + 1, b = h->n;

            while (a < b) {
                uint32_t mid = (a + b) / 2;

                if (cairn_kv_key_compare(h->key[mid]->bytes, h->key[mid]->klen, key, klen) < 0)
                    a = mid + 1;
                else
                    b = mid;
            }
            *equal = a < h->n && cairn_kv_key_compare(h->key[a]->bytes, h->key[a]->klen, key, klen) == 0;
            return a;
        }
    }
    return hi;
}

/* The number of keys below @key; @equal tells whether the next one is it. */
static uint32_t head_search(const struct head *h, const uint8_t *key, uint32_t klen, bool *equal)
{
    uint64_t w;
    uint32_t at;

    *equal = false;
    return head_place(h, key, klen, &w, &at) ? head_settle(h, key, klen, w, at, equal) : at;
}

static void head_replace(struct head *h, uint32_t i, struct cairn_kv_rec *key)
{
    uint32_t common = common_len(key->bytes, key->klen, h->prefix, h->prefix_len);

    h->key[i] = key;
    if (common < h->prefix_len) {
        h->prefix_len = (uint16_t)common;
        head_fill_words(h, 0);
    } else {
        h->word[i] = word_at(key->bytes, key->klen, h->prefix_len);
    }
}

static void head_insert(struct head *h, uint32_t i, struct cairn_kv_rec *key)
{
    if (h->n == 0) {
        h->n = 1;
        h->key[0] = key;
        head_refit(h);
        return;
    }
    memmove(&h->key[i + 1], &h->key[i], (h->n - i) * sizeof(h->key[0]));
    memmove(&h->word[i + 1], &h->word[i], (h->n - i) * sizeof(h->word[0]));
    h->n++;
    head_replace(h, i, key);
}

static void head_remove(struct head *h, uint32_t i)
{
    h->n--;
    memmove(&h->key[i], &h->key[i + 1], (h->n - i) * sizeof(h->key[0]));
    memmove(&h->word[i], &h->word[i + 1], (h->n - i) * sizeof(h->word[0]));
}

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
    uint32_t i = head_search(&node->h, key, klen, &equal);

    return i + equal;
}

/* The leaf where @key is or would be; @path may be NULL. */
static struct cairn_kv_leaf *tree_descend(const struct cairn_kv_tree *t, const uint8_t *key, uint32_t klen,
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
        head_fetch(node);
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
    leaf = tree_descend(t, key, klen, NULL);
    i = head_search(&leaf->h, key, klen, &equal);
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
            head_fetch(walk[i].node);
        }
    }
    for (uint32_t i = 0; i < n; i++) {
        const struct head *h = walk[i].node;

        walk[i].placed = head_place(h, keys[i].ptr, keys[i].len, &walk[i].w, &walk[i].at) && walk[i].at < h->n;
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
            at = head_settle(h, keys[i].ptr, keys[i].len, walk[i].w, walk[i].at, &equal);
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
    uint32_t n = common_len(left->bytes, left->klen, right->bytes, right->klen) + 1;
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
    head_refit(left);
    head_refit(right);
}

static void inner_insert(struct inner *node, uint32_t i, struct cairn_kv_rec *sep, void *right)
{
    memmove(&node->child[i + 2], &node->child[i + 1], (node->h.n - i) * sizeof(node->child[0]));
    node->child[i + 1] = right;
    head_insert(&node->h, i, sep);
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
    head_insert(&leaf->h, 0, rec);
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
    leaf = tree_descend(t, rec->bytes, rec->klen, &path);
    i = head_search(&leaf->h, rec->bytes, rec->klen, &equal);
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
    head_insert(&leaf->h, i, rec);
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
    head_remove(&node->h, i);
}

static void leaf_join(struct cairn_kv_tree *t, struct cairn_kv_leaf *left, struct cairn_kv_leaf *right)
{
    memcpy(&left->h.key[left->h.n], right->h.key, right->h.n * sizeof(right->h.key[0]));
    left->h.n = (uint16_t)(left->h.n + right->h.n);
    head_refit(&left->h);
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
    head_refit(&left->h);
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
        head_insert(&node->h, node->h.n, parent->h.key[i]);
        head_replace(&parent->h, i, right->h.key[0]);
        memmove(&right->child[0], &right->child[1], right->h.n * sizeof(right->child[0]));
        head_remove(&right->h, 0);
    } else {
        struct inner *left = parent->child[i - 1];

        memmove(&node->child[1], &node->child[0], (node->h.n + 1u) * sizeof(node->child[0]));
        node->child[0] = left->child[left->h.n];
        head_insert(&node->h, 0, parent->h.key[i - 1]);
        head_replace(&parent->h, i - 1, left->h.key[left->h.n - 1]);
        head_remove(&left->h, left->h.n - 1u);
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
    leaf = tree_descend(t, key, klen, &path);
    i = head_search(&leaf->h, key, klen, &equal);
    if (!equal)
        return NULL;
    rec = leaf->h.key[i];
    head_remove(&leaf->h, i);
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
    leaf = tree_descend(t, key, klen, NULL);
    return cursor_settle(leaf, head_search(&leaf->h, key, klen, &equal));
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
        c.leaf = tree_descend(t, key, klen, NULL);
        c.i = head_search(&c.leaf->h, key, klen, &equal);
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
        CAIRN_ASSERT(h->word[i] == word_at(k->bytes, k->klen, h->prefix_len));
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
