/** Configuration as providers see it: a checked section of the node's YAML file.
 *
 * A schema is a static table; the node's reader (server/node/conf*.c) checks a file against it, reports every mistake
 * in one pass with file:line:column and the nearest valid key, and fills in defaults. Lookups never fail: what a schema
 * declares is there. */
#ifndef CAIRN_SERVER_PORT_CONF_H
#define CAIRN_SERVER_PORT_CONF_H

#include "sdk/core/base/err.h"

#include <stdbool.h>
#include <stdint.h>

enum cairn_conf_type {
    CAIRN_CONF_BOOL,
    CAIRN_CONF_UINT,     /* plain number */
    CAIRN_CONF_SIZE,     /* bytes: 64KiB, 1.5 GiB, 4096 */
    CAIRN_CONF_DURATION, /* nanoseconds: 500ms, 2s, 1h */
    CAIRN_CONF_STRING,
    CAIRN_CONF_CHOICE,  /* one of @choices */
    CAIRN_CONF_LIST,    /* of strings, or of sections when @sub is set */
    CAIRN_CONF_SECTION, /* a mapping described by @sub */
};

struct cairn_conf_key {
    const char *name;
    enum cairn_conf_type type;
    const char *fallback;       /* as it would stand in the file; NULL: required (lists and sections: empty) */
    const char *help;           /* one line, for people */
    uint64_t min, max;          /* UINT, SIZE, DURATION, and the number of entries of a LIST; max 0: no upper bound */
    const char *const *choices; /* NULL-terminated */
    const struct cairn_conf_key *sub; /* terminated by .name == NULL */
};

struct cairn_conf; /* one checked section */

bool cairn_conf_bool(const struct cairn_conf *c, const char *key);
/** UINT, SIZE and DURATION; for CHOICE the index of the choice. */
uint64_t cairn_conf_u64(const struct cairn_conf *c, const char *key);
/** STRING and CHOICE; lives as long as the configuration. */
const char *cairn_conf_str(const struct cairn_conf *c, const char *key);
const struct cairn_conf *cairn_conf_section(const struct cairn_conf *c, const char *key);
uint32_t cairn_conf_list_len(const struct cairn_conf *c, const char *key);
const char *cairn_conf_list_str(const struct cairn_conf *c, const char *key, uint32_t i);
const struct cairn_conf *cairn_conf_list_section(const struct cairn_conf *c, const char *key, uint32_t i);
/** True if the file (or an override) set it, false if it is the default. */
bool cairn_conf_is_set(const struct cairn_conf *c, const char *key);
/** Where the value came from, for messages: "cairn.yaml:12:5", "default", "--set". */
const char *cairn_conf_where(const struct cairn_conf *c, const char *key);

#endif
