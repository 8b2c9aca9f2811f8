/* Answers of etcd: see map_etcd_json.h. */
#include "server/cluster/map_etcd_json.h"

#include "server/cluster/map_base64.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

/* ---- values ---- */

static int bad(struct cairn_err *err, const char *what)
{
    return cairn_err_set(err, CAIRN_E_PROTO, "etcd's answer: %s", what);
}

static json_t *parse(const char *text, size_t len, struct cairn_err *err)
{
    json_error_t why;
    json_t *o = json_loadb(text, len, 0, &why);

    if (o != NULL && json_is_object(o))
        return o;
    json_decref(o);
    cairn_err_set(err, CAIRN_E_PROTO, "etcd's answer is no JSON object: %.80s", o == NULL ? why.text : "");
    return NULL;
}

/* A 64-bit number as etcd writes it, in a string; a plain one too. What is left out is 0. */
static bool get_u64(const json_t *o, const char *name, uint64_t *to)
{
    const json_t *v = json_object_get(o, name);
    const char *s = json_string_value(v);

    *to = 0;
    if (v == NULL)
        return true;
    if (json_is_integer(v)) {
        *to = (uint64_t)json_integer_value(v);
        return json_integer_value(v) >= 0;
    }
    if (s == NULL || s[0] == '\0' || strlen(s) > 19 || s[strspn(s, "0123456789")] != '\0')
        return false;
    *to = strtoull(s, NULL, 10); /* 19 digits: fits */
    return *to <= INT64_MAX;
}

static bool get_bool(const json_t *o, const char *name)
{
    return json_is_true(json_object_get(o, name));
}

static bool get_revision(const json_t *o, uint64_t *to)
{
    return get_u64(json_object_get(o, "header"), "revision", to);
}

/* A copy of the bytes under @name; NULL: malformed, or no memory. What is left out is empty. */
static char *get_bytes(const json_t *o, const char *name, size_t *len)
{
    const json_t *v = json_object_get(o, name);
    char *s = strdup(v == NULL ? "" : json_is_string(v) ? json_string_value(v) : "?");

    if (s != NULL && !cairn_map_b64_decode(s, len)) {
        free(s);
        return NULL;
    }
    return s;
}

/* ---- entries ---- */

enum kv { KV_FINE, KV_FOREIGN, KV_BAD };

/* *@node: the entry, of an erased one its tombstone; *@name (from malloc): its key behind the prefix, if it has
 * that. */
static enum kv read_kv(const json_t *kv, const char *prefix, bool erased, struct cairn_map_node **node, char **name)
{
    struct cairn_map_entry e = { 0 };
    size_t key_len = 0, value_len = 0, prefix_len = strlen(prefix);
    char *key = get_bytes(kv, "key", &key_len), *value = get_bytes(kv, "value", &value_len);
    enum kv rc = KV_BAD;

    *name = NULL;
    if (key == NULL || value == NULL || !get_u64(kv, "create_revision", &e.created) ||
        !get_u64(kv, "mod_revision", &e.changed) || !get_u64(kv, "lease", &e.lease) || e.changed == 0 ||
        e.created > e.changed || (e.created == 0 && !erased) || key_len < prefix_len ||
        memcmp(key, prefix, prefix_len) != 0)
        goto out;
    rc = KV_FOREIGN;
    if (memchr(key, '\0', key_len) == NULL) {
        *name = strdup(key + prefix_len);
        rc = *name != NULL ? KV_FOREIGN : KV_BAD;
    }
    if (*name == NULL || key_len == prefix_len || key_len - prefix_len > CAIRN_MAP_KEY_BYTES_MAX ||
        value_len > CAIRN_MAP_VALUE_BYTES_MAX)
        goto out;
    e.key = *name;
    e.value = erased ? NULL : (const uint8_t *)value;
    e.value_len = erased ? 0 : (uint32_t)value_len;
    *node = cairn_map_node_new(&e);
    rc = *node != NULL ? KV_FINE : KV_BAD;
out:
    free(key);
    free(value);
    return rc;
}

/* ---- answers ---- */

/* Why the transaction was refused, from what is there instead. */
static int txn_refusal(const json_t *responses, struct cairn_map_change *c, struct cairn_err *err)
{
    size_t at = 0;

    if (json_array_size(responses) != c->nwrites + (c->fence_key != NULL ? 1 : 0))
        return bad(err, "a refused change without what is there");
    for (size_t i = 0; i < json_array_size(responses); i++) {
        const json_t *kvs = json_object_get(json_object_get(json_array_get(responses, i), "response_range"), "kvs");
        bool is_there = json_array_size(kvs) > 0;
        uint64_t created, changed;

        if (!get_u64(json_array_get(kvs, 0), "create_revision", &created) ||
            !get_u64(json_array_get(kvs, 0), "mod_revision", &changed))
            return bad(err, "a malformed revision");
        if (i == 0 && c->fence_key != NULL) {
            if (created != c->fence)
                return c->op.rc = cairn_err_set(&c->op.err, CAIRN_E_DENIED, "%s is no longer that of revision %" PRIu64,
                                                c->fence_key, c->fence);
            continue;
        }
        c->op.rc = cairn_map_write_check(&c->writes[at], is_there, changed, &c->op.err);
        if (c->op.rc != 0) {
            c->refused = (uint32_t)at;
            return c->op.rc;
        }
        at++;
    }
    return bad(err, "a change refused without a reason");
}

int cairn_etcd_read_txn(const char *text, size_t len, struct cairn_map_change *c, struct cairn_err *err)
{
    json_t *o = parse(text, len, err);
    int rc = 0;

    if (o == NULL)
        return CAIRN_E_PROTO;
    if (get_bool(o, "succeeded")) {
        if (!get_revision(o, &c->op.revision) || c->op.revision == 0)
            rc = bad(err, "a change without a revision");
    } else {
        txn_refusal(json_object_get(o, "responses"), c, err);
        rc = c->op.rc == 0 ? CAIRN_E_PROTO : 0;
    }
    json_decref(o);
    return rc;
}

/* Whether @n stands where the page has it. */
static bool continues(const struct cairn_map_table *t, const struct cairn_map_node *n, bool last_first)
{
    int order = t->n > 0 ? strcmp(t->nodes[t->n - 1]->e.key, n->e.key) : 0;

    return t->n == 0 || (last_first ? order > 0 : order < 0);
}

int cairn_etcd_read_range(const char *text, size_t len, const char *prefix, bool last_first, struct cairn_map_table *t,
                          struct cairn_etcd_page *page, struct cairn_err *err)
{
    json_t *o = parse(text, len, err);
    const json_t *kvs = json_object_get(o, "kvs");
    int rc = 0;

    *page = (struct cairn_etcd_page){ .more = get_bool(o, "more") };
    if (o == NULL)
        return CAIRN_E_PROTO;
    if (!get_revision(o, &page->revision) || page->revision == 0 || !get_u64(o, "count", &page->count))
        rc = bad(err, "a malformed revision or count");
    if (rc == 0 && cairn_map_table_reserve(t, t->n + (uint32_t)MIN(json_array_size(kvs), (size_t)UINT32_MAX / 4)) != 0)
        rc = cairn_err_set(err, CAIRN_E_LIMIT, "%" PRIu32 " map entries and more", t->n);
    for (size_t i = 0; rc == 0 && i < json_array_size(kvs); i++) {
        struct cairn_map_node *n = NULL;
        char *name;
        enum kv kind = read_kv(json_array_get(kvs, i), prefix, false, &n, &name);

        if (kind == KV_BAD || (kind == KV_FINE && !continues(t, n, last_first)))
            rc = bad(err, "a malformed entry");
        if (rc == 0 && kind == KV_FINE)
            cairn_map_table_append(t, n);
        else
            cairn_map_node_put(n);
        if (name != NULL) {
            free(page->last);
            page->last = name;
        }
    }
    if (rc == 0 && page->more && page->last == NULL)
        rc = bad(err, "a page without keys");
    json_decref(o);
    return rc;
}

int cairn_etcd_read_lease(const char *text, size_t len, struct cairn_map_lease_op *l, struct cairn_err *err)
{
    json_t *o = parse(text, len, err), *result = json_object_get(o, "result");
    const json_t *answer = l->verb == CAIRN_MAP_KEEP ? result : o;
    uint64_t id, ttl_s;
    int rc = 0;

    if (o == NULL)
        return CAIRN_E_PROTO;
    if (l->verb == CAIRN_MAP_REVOKE)
        goto out;
    if (!get_u64(answer, "ID", &id) || !get_u64(answer, "TTL", &ttl_s) || id == 0 ||
        ttl_s > CAIRN_MAP_LEASE_MS_MAX / 1000 * 1000 || (l->verb == CAIRN_MAP_KEEP && id != l->id)) {
        rc = bad(err, "a malformed lease");
    } else if (ttl_s == 0) {
        rc = cairn_err_set(err, CAIRN_E_CLOSED, "lease %" PRIx64 " is over", id);
    } else {
        l->id = id;
        l->ttl_ms = ttl_s * 1000;
    }
out:
    json_decref(o);
    return rc;
}

int cairn_etcd_read_login(const char *text, size_t len, char **token, struct cairn_err *err)
{
    json_t *o = parse(text, len, err);
    const char *s = json_string_value(json_object_get(o, "token"));

    *token = s != NULL && s[0] != '\0' && strpbrk(s, "\r\n") == NULL ? strdup(s) : NULL;
    json_decref(o);
    return *token != NULL ? 0 : bad(err, "a login without a token");
}

/* ---- failures ---- */

static bool has(const char *text, const char *what)
{
    return strstr(text, what) != NULL;
}

/* The numbers are those of gRPC. */
static struct cairn_etcd_failure failure_of(uint64_t code, const char *text, struct cairn_err *err)
{
    struct cairn_etcd_failure f = { .rc = CAIRN_E_UNKNOWN };

    if (has(text, "lease not found"))
        f.rc = CAIRN_E_CLOSED;
    else if (code == 16 || code == 7 || has(text, "auth token") || has(text, "user name is empty") ||
             has(text, "old revision") || has(text, "permission denied") || has(text, "authentication failed"))
        f.rc = CAIRN_E_AUTH;
    else if (has(text, "compacted"))
        f = (struct cairn_etcd_failure){ .rc = CAIRN_E_INVAL, .compacted = true };
    else if (has(text, "space exceeded"))
        f.rc = CAIRN_E_NOSPACE;
    else if (has(text, "too many requests"))
        f.rc = CAIRN_E_BUSY;
    else if (code == 3 || code == 9 || code == 11 || code == 12)
        f.rc = CAIRN_E_INVAL;
    cairn_err_set(err, f.rc, "etcd: %.200s", text);
    return f;
}

struct cairn_etcd_failure cairn_etcd_read_failure(const char *text, size_t len, long status, struct cairn_err *err)
{
    json_t *o = parse(text, len, NULL);
    const json_t *e = json_object_get(o, "error");
    const char *message = json_string_value(json_is_object(e) ? json_object_get(e, "message") : e);
    struct cairn_etcd_failure f = { .rc = CAIRN_E_UNKNOWN };
    uint64_t code = 0;

    if (message == NULL)
        cairn_err_set(err, f.rc, "etcd answered with HTTP status %ld", status);
    else if (!get_u64(json_is_object(e) ? e : o, json_is_object(e) ? "grpc_code" : "code", &code))
        bad(err, "a malformed error");
    else
        f = failure_of(code, message, err);
    json_decref(o);
    return f;
}

/* ---- watches ---- */

/* With events, all is told up to the last one of them: who is behind is sent a part at a time (1000 revisions, each with
 * all its events), and each part's header has the store's newest revision. Without events, what the header has is told. */
static int read_events(const json_t *events, const char *prefix, struct cairn_etcd_news *news, struct cairn_err *err)
{
    uint64_t last = 0, changed;

    news->nodes = calloc(json_array_size(events) + 1, sizeof(news->nodes[0]));
    if (news->nodes == NULL)
        return cairn_err_set(err, CAIRN_E_NOMEM, "map entries");
    for (size_t i = 0; i < json_array_size(events); i++) {
        const json_t *event = json_array_get(events, i), *type = json_object_get(event, "type");
        const json_t *kv = json_object_get(event, "kv");
        bool erased = json_is_string(type) && strcmp(json_string_value(type), "DELETE") == 0;
        struct cairn_map_node *n = NULL;
        char *name;
        enum kv kind = read_kv(kv, prefix, erased, &n, &name);

        free(name);
        if (kind == KV_FINE)
            news->nodes[news->n++] = n;
        if (kind == KV_BAD || !get_u64(kv, "mod_revision", &changed))
            return bad(err, "a malformed event");
        if (changed < last)
            return bad(err, "events out of order");
        last = changed;
    }
    news->revision = last != 0 ? last : news->revision;
    return 0;
}

int cairn_etcd_read_news(const char *text, size_t len, const char *prefix, struct cairn_etcd_news *news,
                         struct cairn_err *err)
{
    json_t *o = parse(text, len, err);
    const json_t *result = json_object_get(o, "result"), *reason = json_object_get(result, "cancel_reason");
    uint64_t compacted;
    int rc;

    *news = (struct cairn_etcd_news){ 0 };
    if (o == NULL)
        return CAIRN_E_PROTO;
    if (!json_is_object(result)) {
        rc = cairn_etcd_read_failure(text, len, 200, err).rc;
        rc = rc == CAIRN_E_AUTH ? rc : CAIRN_E_UNREACHABLE;
    } else if (!get_revision(result, &news->revision) || !get_u64(result, "compact_revision", &compacted)) {
        rc = bad(err, "a malformed revision");
    } else {
        news->created = get_bool(result, "created");
        news->canceled = get_bool(result, "canceled");
        news->compacted = compacted > 0;
        if (news->canceled && !news->compacted) {
            rc = failure_of(0, json_is_string(reason) ? json_string_value(reason) : "watch canceled", err).rc;
            rc = rc == CAIRN_E_AUTH ? rc : CAIRN_E_UNREACHABLE;
        } else {
            rc = read_events(json_object_get(result, "events"), prefix, news, err);
        }
    }
    json_decref(o);
    return rc;
}

void cairn_etcd_news_clear(struct cairn_etcd_news *news)
{
    for (uint32_t i = 0; i < news->n; i++)
        cairn_map_node_put(news->nodes[i]);
    free(news->nodes);
    *news = (struct cairn_etcd_news){ 0 };
}
