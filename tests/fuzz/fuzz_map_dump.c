/* Documents of a map: any bytes give entries within their bounds, or an error; what was accepted is written out and
 * read as the same. The values are taken for log entries as well. */
#include "server/cluster/map_dump.h"
#include "server/cluster/map_log.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void read_back(const struct cairn_map_table *t, uint64_t revision)
{
    struct cairn_map_table again = { 0 };
    uint64_t now = 0;
    char *text = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&text, &n);

    if (f == NULL)
        return;
    if (cairn_map_dump_write(t, revision, f, NULL) != 0 || fclose(f) != 0 ||
        cairn_map_dump_read(text, n, &again, &now, NULL) != 0 || again.n != t->n || again.bytes != t->bytes ||
        now != revision)
        abort();
    cairn_map_table_fini(&again);
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct cairn_map_table t = { 0 };
    uint64_t revision = 0;

    if (cairn_map_dump_read((const char *)data, len, &t, &revision, NULL) == 0)
        read_back(&t, revision);
    for (uint32_t i = 0; i < t.n; i++)
        json_decref(cairn_map_log_read(&t.nodes[i]->e));
    cairn_map_table_fini(&t);
    return 0;
}
