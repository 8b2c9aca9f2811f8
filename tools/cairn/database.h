/** A database of a KV provider, as the commands `kv ...` name it on a command line. */
#ifndef CAIRN_TOOLS_DATABASE_H
#define CAIRN_TOOLS_DATABASE_H

#include "tools/cairn/commands.h"

/** Open, or only named. */
struct database {
    char provider[CAIRN_NAME_BYTES_MAX + 1];
    const char *name; /* into the operand */
    struct cairn_kv *kv;
    enum cairn_kv_order order;
};

/** What a command does once it has its database. */
typedef int database_action(struct cli *cli, struct database *db, void *args);

/** Runs @act with the database that the first operand names, "kv/runs", and a session to ask it by. Returns its exit
 * code, or that of what was reported. */
int database_named(struct cli *cli, void *args, database_action *act);
/** The same with the database open. */
int database_opened(struct cli *cli, void *args, database_action *act);
/** cli_call_failed() for the database itself. */
int database_failed(struct cli *cli, int rc, const struct cli_call *call);
const char *database_order(enum cairn_kv_order order);

#endif
