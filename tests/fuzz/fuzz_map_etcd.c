/* Answers of etcd: any bytes give a result or an error, and what is taken for entries keeps their bounds and order. The
 * first byte says which answer it is taken for. */
#include "server/cluster/map_etcd_json.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static const char prefix[] = "/c/";

static void check_entry(const struct cairn_map_entry *e)
{
    if (strlen(e->key) == 0 || strlen(e->key) > CAIRN_MAP_KEY_BYTES_MAX || e->value_len > CAIRN_MAP_VALUE_BYTES_MAX ||
        e->changed == 0 || e->created > e->changed)
        abort();
}

static void take_range(const char *text, size_t len, bool last_first)
{
    struct cairn_map_table t = { 0 };
    struct cairn_etcd_page page;
    int rc = cairn_etcd_read_range(text, len, prefix, last_first, &t, &page, NULL);

    if (rc == 0 && (page.revision == 0 || (page.more && page.last == NULL)))
        abort();
    for (uint32_t i = 0; i < t.n; i++) {
        int order = i > 0 ? strcmp(t.nodes[i - 1]->e.key, t.nodes[i]->e.key) : 0;

        check_entry(&t.nodes[i]->e);
        if (t.nodes[i]->e.value == NULL || (i > 0 && (last_first ? order <= 0 : order >= 0)))
            abort();
    }
    free(page.last);
    cairn_map_table_fini(&t);
}

static void take_txn(const char *text, size_t len)
{
    const struct cairn_map_write writes[2] = { { .key = "a", .value = (const uint8_t *)"", .from = 0 },
                                               { .key = "b", .from = 7 } };
    struct cairn_map_change c = { .writes = writes, .nwrites = 2, .fence_key = "f", .fence = 3 };
    int rc = cairn_etcd_read_txn(text, len, &c, NULL);

    if (rc == 0 && (c.op.rc == 0) != (c.op.revision > 0))
        abort();
    if (c.refused >= c.nwrites)
        abort();
}

static void take_news(const char *text, size_t len)
{
    struct cairn_etcd_news news;
    int rc = cairn_etcd_read_news(text, len, prefix, &news, NULL);

    for (uint32_t i = 0; i < news.n; i++) {
        check_entry(&news.nodes[i]->e);
        if (rc == 0 && (news.nodes[i]->e.changed > news.revision ||
                        (i > 0 && news.nodes[i - 1]->e.changed > news.nodes[i]->e.changed)))
            abort();
    }
    cairn_etcd_news_clear(&news);
}

static void take_lease(const char *text, size_t len, enum cairn_map_lease_verb verb)
{
    struct cairn_map_lease_op l = { .verb = verb, .id = 77 };

    if (cairn_etcd_read_lease(text, len, &l, NULL) == 0 && verb != CAIRN_MAP_REVOKE && (l.id == 0 || l.ttl_ms == 0))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    const char *text = (const char *)data + 1;
    char *token = NULL;

    if (len == 0)
        return 0;
    switch (data[0] % 7) {
    case 0:
        take_range(text, len - 1, false);
        take_range(text, len - 1, true);
        break;
    case 1:
        take_txn(text, len - 1);
        break;
    case 2:
        take_news(text, len - 1);
        break;
    case 3:
        take_lease(text, len - 1, CAIRN_MAP_GRANT);
        break;
    case 4:
        take_lease(text, len - 1, CAIRN_MAP_KEEP);
        break;
    case 5:
        if (cairn_etcd_read_login(text, len - 1, &token, NULL) == 0 && token[0] == '\0')
            abort();
        free(token);
        break;
    case 6:
        if (cairn_etcd_read_failure(text, len - 1, 400, NULL).rc >= 0)
            abort();
        break;
    }
    return 0;
}
