/** Every command, and what several of them share. commands.c has the order. */
#ifndef CAIRN_TOOLS_COMMANDS_H
#define CAIRN_TOOLS_COMMANDS_H

#include "tools/cairn/client.h"
#include "tools/cairn/out.h"

extern const struct cli_command cli_status, cli_wait_ready, cli_machines, cli_metrics, cli_top, cli_config_check, cli_bench;
extern const struct cli_command cli_map, cli_map_export, cli_map_import, cli_map_log, cli_map_move;
extern const struct cli_command cli_members, cli_group_set, cli_group_join, cli_drain, cli_scrub;
extern const struct cli_command cli_ns_create, cli_ns_list, cli_ns_show, cli_ns_remove;
extern const struct cli_command cli_put, cli_get, cli_ls, cli_rm, cli_stat, cli_where;
extern const struct cli_command cli_import, cli_export, cli_verify;
extern const struct cli_command cli_kv_create, cli_kv_list, cli_kv_drop, cli_kv_put, cli_kv_get, cli_kv_rm, cli_kv_ls,
    cli_kv_stat;
extern const struct cli_command cli_extent_put, cli_extent_get, cli_extent_rm, cli_extent_ls, cli_extent_stat,
    cli_extent_scrub;
extern const struct cli_command cli_version, cli_help, cli_completion;

/** "sync" and its kin; NULL and anything else: the default. */
enum cairn_durability cli_durability(const char *word);

/** How many were removed: the document of all `rm`. @status, or that of printing. */
int cli_removed(struct cli *cli, json_int_t n, int status);

/** What the commands that fetch a value say of it. */
#define CLI_VALUE_TEXT                                                                                                 \
    "It goes into FILE, which changes only if all went well, or to standard output. With --json and no FILE the "      \
    "document holds it, up to 16 MiB: as value, or, if it is no UTF-8 text, as value_hex."

/** One row, upright: a line a field, or the fields of a document. */
int cli_record(struct cli *cli, const struct cli_col *cols, const struct cli_cell *cells, uint32_t n);

#endif
