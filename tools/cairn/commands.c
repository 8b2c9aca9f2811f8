/** The commands in order of the help. */
#include "tools/cairn/commands.h"

const struct cli_command *const cli_commands[] = {
    &cli_status,       &cli_wait_ready, &cli_machines,   &cli_metrics,     &cli_config_check,
    &cli_members,      &cli_bench,      &cli_map, &cli_map_export, &cli_map_import,  &cli_map_log,
    &cli_ns_create,    &cli_ns_list,    &cli_ns_show,    &cli_ns_remove,   &cli_put,
    &cli_get,          &cli_ls,         &cli_stat,       &cli_rm,          &cli_import,
    &cli_export,       &cli_verify,     &cli_kv_create,  &cli_kv_list,     &cli_kv_drop,
    &cli_kv_put,       &cli_kv_get,     &cli_kv_ls,      &cli_kv_rm,       &cli_kv_stat,
    &cli_extent_put,   &cli_extent_get, &cli_extent_ls,  &cli_extent_stat, &cli_extent_rm,
    &cli_extent_scrub, &cli_version,    &cli_help,       &cli_completion,  NULL,
};
