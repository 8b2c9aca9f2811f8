/** A member of a group on a line of its own, as `cairn members --watch` shows what changes. */
#include "tools/cairn/cluster.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static void put_json(struct cli *cli, const struct cairn_member *m, const struct timespec *now)
{
    json_t *o = json_pack(
        "{s:i, s:f, s:o, s:s, s:o, s:o, s:o, s:I, s:I, s:I, s:I}", "version", CLI_JSON_VERSION, "time_s",
        (double)now->tv_sec + (double)now->tv_nsec / CAIRN_NS_PER_S, "name", cli_json_text(m->name), "state",
        cairn_member_state_name(m->state), "address", cli_json_text(m->address), "service", cli_json_text(m->service),
        "zone", cli_json_text(m->zone), "weight", (json_int_t)m->weight, "capacity_bytes", (json_int_t)m->capacity,
        "load_permille", (json_int_t)m->load, "incarnation", (json_int_t)m->incarnation);
    if (o == NULL)
        return;
    json_dumpf(o, cli->out, JSON_COMPACT);
    putc('\n', cli->out);
    json_decref(o);
}

/* What it says of itself stands behind: a change of that is a line, too. */
static void put_words(struct cli *cli, const struct cairn_member *m, const struct timespec *now)
{
    char when[16], size[CLI_UNIT_BYTES], *name = NULL;
    size_t len = 0;
    struct tm tm;
    FILE *to = open_memstream(&name, &len); /* as it is shown, and so as wide */
    if (to == NULL)
        return;
    cli_put_text(to, m->name);
    fclose(to);
    localtime_r(&now->tv_sec, &tm);
    strftime(when, sizeof(when), "%H:%M:%S", &tm);
    fprintf(cli->out, "%s  %-7s  %-8s  ", when, cairn_member_state_name(m->state), name);
    free(name);
    cli_put_text(cli->out, m->address);
    fprintf(cli->out, "  weight %" PRIu32, m->weight);
    if (m->zone[0] != '\0') {
        fputs(", zone ", cli->out);
        cli_put_text(cli->out, m->zone);
    }
    if (m->capacity > 0)
        fprintf(cli->out, ", capacity %s", cli_size(size, m->capacity));
    putc('\n', cli->out);
}

void cli_member_line(struct cli *cli, const struct cairn_member *m, const struct timespec *now)
{
    if (cli->g.json)
        put_json(cli, m, now);
    else
        put_words(cli, m, now);
    fflush(cli->out); /* whoever watches wants it now, through a pipe as well */
}
