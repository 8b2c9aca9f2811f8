/** What commands need of the SDK and of files: one session, one set of call options, values from and to files. */
#ifndef CAIRN_TOOLS_CLIENT_H
#define CAIRN_TOOLS_CLIENT_H

#include "cairn/admin.h"
#include "cairn/cairn.h"
#include "cairn/extent.h"
#include "cairn/group.h"
#include "cairn/hashed.h"
#include "cairn/kv.h"
#include "tools/cairn/cli.h"
#include "tools/cairn/guarded.h"

#include <jansson.h>

/** Connects cli->session if it is not there yet. Returns CLI_OK, or the exit code of what was reported. */
int cli_connect(struct cli *cli);
/** A session more, for another thread; by the same options. Returns 0 or CAIRN_E_*. */
int cli_connect_another(const struct cli *cli, struct cairn **out, struct cairn_error_info *error);
/** Whether to connect failed with @rc since the address that was given is none; then the hint says how one looks. */
bool cli_is_wrong_address(struct cli *cli, int rc);
void cli_disconnect(struct cli *cli);

/** Options of a call and where its error goes. */
struct cli_call {
    struct cairn_call_options o;
    struct cairn_error_info error;
};
/** Fills @call for one that moves @bytes (0: few): slow networks get more time for more. Returns &call->o. */
struct cairn_call_options *cli_call_init(const struct cli *cli, struct cli_call *call, uint64_t bytes);
/** cli_fail() with the text of the call. */
int cli_call_failed(struct cli *cli, int rc, const struct cli_call *call, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/** How often a value of many parts is sent when CAIRN_E_BUSY says that the node that had the first of them is gone. */
enum { CLI_LARGE_TRIES_MAX = 4 };

/** Connects and opens a namespace; CLI_OK or an exit code. */
int cli_open_ns(struct cli *cli, const char *name, struct cairn_ns **ns);

/** Bytes that came from a file or a stream. */
struct cli_blob {
    void *data; /* may be NULL when @len is 0 */
    size_t len;
    bool mapped;
    struct guarded_map map;
};
/** Reads all of @path; NULL or "-": of cli->in, at most @max bytes (CAIRN_E_TOOBIG). Files above
 * CLI_BLOB_COPIED_BYTES are mapped. Returns CLI_OK or an exit code. */
enum { CLI_BLOB_COPIED_BYTES = 16 << 20 };
int cli_blob_read(struct cli *cli, const char *path, uint64_t max, struct cli_blob *blob);
/** False: the file was changed while its bytes were used, so they may be of no value that it ever had. */
bool cli_blob_free(struct cli_blob *blob);
/** What is to be said then. Returns CLI_FAILED. */
int cli_file_changed(struct cli *cli, const char *path);
/** Writes to @path (which changes only if all could be written); NULL or "-": to cli->out. */
int cli_write_out(struct cli *cli, const char *path, const void *data, size_t len);

/** The most that a value may have to be shown in a document. */
enum { CLI_JSON_VALUE_BYTES_MAX = 16 << 20 };
/** A value that was asked for: to @path as cli_write_out(), or, with --json and no FILE, as `value` of the document @o
 * (`value_hex` if it is no UTF-8). Takes @o, which is printed with --json alone and gets `bytes`, and `file` if there
 * is one. */
int cli_write_value(struct cli *cli, const char *path, const void *data, size_t len, json_t *o);
/** What the above says of one that is longer than CLI_JSON_VALUE_BYTES_MAX. */
int cli_value_too_long(struct cli *cli, const char *name);

/** A pipe, a device, standard input or output (NULL or "-"): what is read and written from its beginning to its end. */
bool cli_is_stream(const char *path);

/** A file to be written that gets its name when all of it is there. */
struct cli_file {
    const char *path;
    char *temporary;
    int fd;
    void *data; /* of cli_file_map() */
    size_t size;
};
/** Each returns CLI_OK or the exit code of what was reported; close always, with what it has come to. */
int cli_file_open(struct cli *cli, const char *path, struct cli_file *f);
int cli_file_map(struct cli *cli, struct cli_file *f, size_t size);
int cli_file_close(struct cli *cli, struct cli_file *f, int status);

#endif
