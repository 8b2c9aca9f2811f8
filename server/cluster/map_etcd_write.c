/* Requests to etcd: see map_etcd_json.h. */
#include "server/cluster/map_etcd_json.h"

#include "server/cluster/map_base64.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A text that grows; what fails shows at its end. */
struct out {
    FILE *f;
    char *text;
    size_t len;
};

static bool out_open(struct out *o)
{
    *o = (struct out){ 0 };
    o->f = open_memstream(&o->text, &o->len);
    return o->f != NULL;
}

static char *out_close(struct out *o)
{
    bool bad = ferror(o->f) != 0;

    if (fclose(o->f) != 0 || bad) {
        free(o->text);
        return NULL;
    }
    return o->text;
}

static void put_bytes(FILE *f, const char *name, const void *bytes, size_t len)
{
    struct cairn_map_b64 b = { .f = f };

    fprintf(f, "\"%s\":\"", name);
    cairn_map_b64_put(&b, bytes, len);
    cairn_map_b64_end(&b);
    fputc('"', f);
}

static void put_key(FILE *f, const char *name, const char *prefix, const char *key)
{
    struct cairn_map_b64 b = { .f = f };

    fprintf(f, "\"%s\":\"", name);
    cairn_map_b64_put(&b, prefix, strlen(prefix));
    cairn_map_b64_put(&b, key, strlen(key));
    cairn_map_b64_end(&b);
    fputc('"', f);
}

/* @last, or without one the first key behind all that begin with @prefix and @begin. Neither is empty of bytes below
 * 0xff: a prefix is text. */
static void put_range_end(FILE *f, const char *prefix, const char *begin, const char *last)
{
    char end[CAIRN_MAP_ETCD_PREFIX_BYTES_MAX + CAIRN_MAP_KEY_BYTES_MAX + 1];
    size_t n = (size_t)snprintf(end, sizeof(end), "%s%s", prefix, begin);

    if (last != NULL) {
        put_key(f, "range_end", prefix, last);
        return;
    }
    n = MIN(n, sizeof(end) - 1);
    while (n > 1 && (uint8_t)end[n - 1] == 0xff)
        n--;
    end[n - 1]++;
    put_bytes(f, "range_end", end, n);
}

/* ---- changes ---- */

static void put_compare(FILE *f, const char *prefix, const struct cairn_map_write *w)
{
    fputc('{', f);
    put_key(f, "key", prefix, w->key);
    if (w->from == 0)
        fputs(",\"target\":\"CREATE\",\"result\":\"EQUAL\",\"create_revision\":\"0\"}", f);
    else
        fprintf(f, ",\"target\":\"MOD\",\"result\":\"EQUAL\",\"mod_revision\":\"%" PRIu64 "\"}", w->from);
}

static void put_success(FILE *f, const char *prefix, const struct cairn_map_write *w)
{
    fprintf(f, "{\"%s\":{", w->value != NULL ? "request_put" : "request_delete_range");
    put_key(f, "key", prefix, w->key);
    if (w->value != NULL) {
        fputc(',', f);
        put_bytes(f, "value", w->value, w->value_len);
    }
    if (w->value != NULL && w->lease != 0)
        fprintf(f, ",\"lease\":\"%" PRIu64 "\"", w->lease);
    fputs("}}", f);
}

static void put_failure(FILE *f, const char *prefix, const char *key)
{
    fputs("{\"request_range\":{", f);
    put_key(f, "key", prefix, key);
    fputs(",\"keys_only\":true}}", f);
}

char *cairn_etcd_write_txn(const char *prefix, const struct cairn_map_change *c)
{
    struct out o;

    if (!out_open(&o))
        return NULL;
    fputs("{\"compare\":[", o.f);
    if (c->fence_key != NULL) {
        fputc('{', o.f);
        put_key(o.f, "key", prefix, c->fence_key);
        fprintf(o.f, ",\"target\":\"CREATE\",\"result\":\"EQUAL\",\"create_revision\":\"%" PRIu64 "\"},", c->fence);
    }
    for (uint32_t i = 0; i < c->nwrites; i++) {
        fputs(i > 0 ? "," : "", o.f);
        put_compare(o.f, prefix, &c->writes[i]);
    }
    fputs("],\"success\":[", o.f);
    for (uint32_t i = 0; i < c->nwrites; i++) {
        fputs(i > 0 ? "," : "", o.f);
        put_success(o.f, prefix, &c->writes[i]);
    }
    fputs("],\"failure\":[", o.f); /* what is there instead: the fence first */
    if (c->fence_key != NULL) {
        put_failure(o.f, prefix, c->fence_key);
        fputc(',', o.f);
    }
    for (uint32_t i = 0; i < c->nwrites; i++) {
        fputs(i > 0 ? "," : "", o.f);
        put_failure(o.f, prefix, c->writes[i].key);
    }
    fputs("]}", o.f);
    return out_close(&o);
}

/* ---- the others ---- */

char *cairn_etcd_write_range(const char *prefix, const struct cairn_etcd_range *r)
{
    struct out o;

    if (!out_open(&o))
        return NULL;
    fputc('{', o.f);
    if (r->after != NULL && !r->last_first) {
        struct cairn_map_b64 b = { .f = o.f };

        fputs("\"key\":\"", o.f); /* the next key that is possible: one zero byte longer */
        cairn_map_b64_put(&b, prefix, strlen(prefix));
        cairn_map_b64_put(&b, r->after, strlen(r->after) + 1);
        cairn_map_b64_end(&b);
        fputc('"', o.f);
    } else {
        put_key(o.f, "key", prefix, r->begin);
    }
    fputc(',', o.f);
    put_range_end(o.f, prefix, r->begin, r->last_first && r->after != NULL ? r->after : r->end);
    fprintf(o.f, ",\"limit\":\"%" PRIu32 "\",\"revision\":\"%" PRIu64 "\"%s%s}", r->limit, r->revision,
            r->keys_only ? ",\"keys_only\":true" : "",
            r->last_first ? ",\"sort_order\":\"DESCEND\",\"sort_target\":\"KEY\"" : "");
    return out_close(&o);
}

char *cairn_etcd_write_lease(const struct cairn_map_lease_op *l)
{
    struct out o;

    if (!out_open(&o))
        return NULL;
    if (l->verb == CAIRN_MAP_GRANT)
        fprintf(o.f, "{\"TTL\":\"%" PRIu64 "\"}", (l->ttl_ms + 999) / 1000);
    else
        fprintf(o.f, "{\"ID\":\"%" PRIu64 "\"}", l->id);
    return out_close(&o);
}

char *cairn_etcd_write_watch(const char *prefix, const char *end, uint64_t from)
{
    struct out o;

    if (!out_open(&o))
        return NULL;
    fputs("{\"create_request\":{", o.f);
    put_key(o.f, "key", prefix, "");
    fputc(',', o.f);
    put_range_end(o.f, prefix, "", end);
    fprintf(o.f, ",\"start_revision\":\"%" PRIu64 "\",\"progress_notify\":true}}", from);
    return out_close(&o);
}

char *cairn_etcd_write_login(const char *user, const char *password)
{
    json_t *o = json_pack("{s:s, s:s}", "name", user, "password", password);
    char *text = o != NULL ? json_dumps(o, JSON_COMPACT) : NULL;

    json_decref(o);
    return text;
}
