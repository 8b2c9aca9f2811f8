/** A node for tests of clients: the real transport, HELLO and bulk, in front of a small store in memory that misbehaves
 * when told to. It serves the node and router interfaces on a unix socket, from a thread of its own. */
#ifndef CAIRN_TESTS_SCRIPTED_NODE_H
#define CAIRN_TESTS_SCRIPTED_NODE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct scripted_node;

/** How it breaks the protocol. */
enum scripted_lie {
    SCRIPTED_HONEST,
    SCRIPTED_SHORT_RANGES, /* behind the first byte a value ends after half of what is asked for */
    SCRIPTED_NO_STAMP,     /* gets bear none */
    SCRIPTED_SAME_PAGE,    /* lists begin anew each time */
    SCRIPTED_NO_PREFIX,    /* lists have all keys */
    SCRIPTED_DISORDER,     /* the first two keys of a list change places */
    SCRIPTED_LONG_PAGES,   /* lists have a key more than they may */
};

struct scripted_knobs {
    _Atomic enum scripted_lie lie;
    atomic_bool hold;         /* answer nothing from now on; what is held is never answered */
    atomic_int corrupt_reads; /* so many more reads get a flipped bit behind the checksum */
    atomic_int short_pages;   /* so many more mget replies stop after one entry */
    atomic_int fail;          /* puts and deletes answer with this code; 0: none */
    /* as a node of a cluster: so many more answers of the coordinator are @cluster_rc, or (0) none at all */
    atomic_int cluster_fails, cluster_rc;
    /* what it was asked */
    atomic_uint cluster_asks;
    atomic_uint puts, gets, verified_gets, mputs, mgets, lists, pings, cancels;
    /* gets whose value went by bulk, puts that came by it */
    atomic_uint bulk_gets, bulk_puts;
};

enum { SCRIPTED_EMBED_THRESHOLD = 4096 };

/** Starts; node.json and the socket are in a fresh directory, the workspace. NULL on failure. */
struct scripted_node *scripted_node_start(void);
/** Closes all connections and ends the thread. What is held gets no answer. The workspace stays for a restart. */
void scripted_node_stop(struct scripted_node *n);
/** Starts again, as another process would: with another incarnation, and nothing stored. */
void scripted_node_restart(struct scripted_node *n);
/** Also stops, and removes the directory. */
void scripted_node_free(struct scripted_node *n);

const char *scripted_node_workspace(const struct scripted_node *n);
const char *scripted_node_address(const struct scripted_node *n);
struct scripted_knobs *scripted_node_knobs(struct scripted_node *n);

#endif
