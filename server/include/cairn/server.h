/** A Cairn node inside an application: what `cairnd` is a thin main() around.
 *
 * A process may host any number of nodes; they share nothing. All functions but cairn_server_request_stop() are for one
 * thread at a time. Link with libcairn-server. */
#ifndef CAIRN_SERVER_H
#define CAIRN_SERVER_H

#include "cairn/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#ifdef __cplusplus
extern "C" {
#endif

struct cairn_server;

/** One setting that wins over the file: path "node.workers", value as it would stand in the file. */
struct cairn_server_setting {
    const char *path, *value;
    const char *where; /* for messages: "--set" */
};

struct cairn_server_options {
    size_t size;      /* sizeof(struct cairn_server_options): CAIRN_SERVER_OPTIONS_INIT */
    const char *file; /* configuration; NULL: the embedded default */
    const struct cairn_server_setting *settings;
    uint32_t nsettings;
    int log_fd; /* where the log goes if the configuration names no file; -1: stderr */
    /** The process is the node's own, as cairnd's is: it tells the service manager how the node is ($NOTIFY_SOCKET,
     * $WATCHDOG_USEC) and takes the sockets that it hands over ($LISTEN_FDS). These variables leave the environment,
     * so no other thread may run while the node starts. SIGTERM and SIGINT that are blocked and pending end a wait for
     * the map's store (CAIRN_E_SHUTDOWN). */
    bool service;
};
#define CAIRN_SERVER_OPTIONS_INIT                                                                                      \
    {                                                                                                                  \
        .size = sizeof(struct cairn_server_options), .log_fd = -1                                                      \
    }

/** Reads the configuration, takes the data directory, opens the providers and the sockets, and starts the workers; the
 * node serves when it returns. On failure *@server is NULL and nothing is left behind; @text (of @text_len bytes, may
 * be NULL) has one line per problem. CAIRN_E_CONFIG  CAIRN_E_LOCKED (data directory, or an address in use)
 * CAIRN_E_FORMAT  CAIRN_E_DENIED  CAIRN_E_IO ... */
CAIRN_API int cairn_server_start(const struct cairn_server_options *options, struct cairn_server **server, char *text,
                                 size_t text_len);
/** What a start would say: configuration, directories, locks, formats, keys, addresses. Leaves nothing behind (that a
 * directory can be made is found out by making one and removing it). @text has one line per problem; the code is that
 * of the first. */
CAIRN_API int cairn_server_check(const struct cairn_server_options *options, char *text, size_t text_len);
/** The effective configuration and where each value came from, as YAML. */
CAIRN_API int cairn_server_print_config(const struct cairn_server_options *options, FILE *to, char *text,
                                        size_t text_len);

/** The map (the namespaces, and whatever else must never be lost) as a JSON document, from where the configuration says
 * that it is kept. A node may run meanwhile. */
CAIRN_API int cairn_server_map_export(const struct cairn_server_options *options, FILE *to, char *text,
                                      size_t text_len);
/** Such a document into where the configuration says that the map is kept; the node must be stopped. What is there
 * already with the same value stays, so an import may be repeated. CAIRN_E_EXISTS: a key is there with another value, or
 * a namespace that is not in the document, and nothing was stored; CAIRN_E_CORRUPT, CAIRN_E_FORMAT: the document;
 * CAIRN_E_LOCKED: the node runs. */
CAIRN_API int cairn_server_map_import(const struct cairn_server_options *options, FILE *from, char *text,
                                      size_t text_len);
/** The map of a node of its own (map.store: local) into the etcd that the configuration names; the node must be stopped.
 * Everything is looked at before anything is changed, and nothing else may be there: CAIRN_E_EXISTS, and CAIRN_E_CONFIG
 * if it is another cluster's; CAIRN_E_NOTFOUND: there is no such map, CAIRN_E_LOCKED: the node runs. After a failure it
 * may be repeated, and until it succeeds the map is where it was; then the node's file is `map.moved`. What was done is
 * written to @to as a JSON object: "state" ("moved"; "moved before": nothing was left to do; "may be moved", with
 * @only_check), "from", "kept", "to", "prefix", how many "namespaces" and "entries" there are and were "stored", the
 * "revision", and, where the configuration itself does not say yet that the map is in etcd, its "configuration" line. */
CAIRN_API int cairn_server_map_move(const struct cairn_server_options *options, bool only_check, FILE *to, char *text,
                                    size_t text_len);
/** What the map holds, as a JSON object: "store" (local, etcd), "where", "revision", how many "namespaces", "members",
 * "slots", entries of the "log", of the "slot_log" and "others", and "value_bytes" of all of them. A node may run
 * meanwhile. */
CAIRN_API int cairn_server_map_show(const struct cairn_server_options *options, FILE *to, char *text, size_t text_len);
/** Who changed the map, why and when: a JSON list, oldest first, of objects with "of" (people, cluster), "time_ms",
 * "author", "reason", "keys", "nkeys" and "revision"; of what the cluster made of its slots also "deeds" ("what",
 * "why", "slots", "from", "to"), "more" (slots that they leave out) and "changes" (at the store, of that second). */
CAIRN_API int cairn_server_map_log(const struct cairn_server_options *options, FILE *to, char *text, size_t text_len);

/** Asks for a stop: no new connections, running requests are answered, at the latest until the configured drain time is
 * over. Any thread, and signal handlers; harmless when repeated. */
CAIRN_API void cairn_server_request_stop(struct cairn_server *server);
/** Waits until the node has stopped after a request, at most @timeout_ms (-1: for ever). CAIRN_OK, or CAIRN_E_TIMEOUT.
 */
CAIRN_API int cairn_server_wait(struct cairn_server *server, int timeout_ms);
/** Requests a stop, waits for it and frees. */
CAIRN_API void cairn_server_free(struct cairn_server *server);

/** Addresses it listens on, with the port that the system chose; NULL past the last. Valid while it lives. */
CAIRN_API const char *cairn_server_address(const struct cairn_server *server, uint32_t i);
CAIRN_API const char *cairn_server_workspace(const struct cairn_server *server);
CAIRN_API const char *cairn_server_data(const struct cairn_server *server);

#ifdef __cplusplus
}
#endif
#endif
