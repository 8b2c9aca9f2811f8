/* The configuration reader on any bytes: it answers with a tree or with problems, within its bounds. What it accepts
 * can be printed and read back. The first line, if it starts with '=', is an override. */
#include "server/node/conf/node_conf.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static const struct cairn_conf_key kv_keys[] = {
    { .name = "path", .type = CAIRN_CONF_STRING, .fallback = "", .help = "where" },
    { .name = "cache", .type = CAIRN_CONF_SIZE, .fallback = "64MiB", .help = "how much" },
    { .name = NULL },
};
static const struct cairn_provider_desc kv = { .type = "kv", .schema = kv_keys }, extent = { .type = "extent" };
static const struct cairn_provider_desc *const providers[] = { &extent, &kv, NULL };

static void read_back(const struct cairn_node_conf *conf)
{
    struct cairn_node_conf again;
    char *text = NULL;
    size_t len = 0;
    FILE *f = open_memstream(&text, &len);

    if (f == NULL)
        return;
    cairn_conf_print(conf->doc, f);
    fclose(f);
    if (len <= CAIRN_CONF_BYTES_MAX) {
        int rc = cairn_node_conf_parse(&again, "again", text, len, NULL, 0, providers, NULL);

        if (rc != 0 || again.node_bytes_max != conf->node_bytes_max || again.nproviders != conf->nproviders ||
            strcmp(again.data, conf->data) != 0)
            abort(); /* the fuzzer's way to be told */
        cairn_node_conf_free(&again);
    }
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct cairn_conf_override o;
    struct cairn_node_conf conf;
    char *set = NULL;
    uint32_t n = 0;

    if (len > 0 && data[0] == '=') {
        const uint8_t *end = memchr(data, '\n', len);
        size_t used = end != NULL ? (size_t)(end - data) : len;

        set = strndup((const char *)data + 1, used - 1);
        n = set != NULL && cairn_conf_override_split(set, &o) ? 1 : 0;
        data += used;
        len -= used;
    }
    if (cairn_node_conf_parse(&conf, "fuzz", (const char *)data, len, &o, n, providers, NULL) == 0)
        read_back(&conf);
    cairn_node_conf_free(&conf);
    free(set);
    return 0;
}
