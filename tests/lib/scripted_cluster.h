/** Nodes of a cluster for tests of clients: real transport and HELLO in front of one store in memory, which stands
 * for the replicas of all slots, and a map that the test writes. Each node serves namespaces, writes with numbers,
 * lists and the map as a real one does, from its own copy of the map, and misbehaves when told to. They listen on
 * unix sockets, in a thread of their own. */
#ifndef CAIRN_TESTS_SCRIPTED_CLUSTER_H
#define CAIRN_TESTS_SCRIPTED_CLUSTER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SCRIPTED_SLOT_BITS = 10, SCRIPTED_SLOTS = 1 << SCRIPTED_SLOT_BITS, SCRIPTED_NODES_MAX = 80 };

/** What becomes of a request to the router, but a PART. */
enum scripted_fault {
    SCRIPTED_NONE,
    SCRIPTED_MOVED,      /* the answer is MOVED */
    SCRIPTED_BUSY,       /* likewise */
    SCRIPTED_DENIED,     /* likewise: no answer that time would change */
    SCRIPTED_SILENT,     /* nothing is done and nothing answered */
    SCRIPTED_SLOW,       /* likewise, if whoever asks waits for less than @slow_ms */
    SCRIPTED_DIE_BEFORE, /* the connection breaks, nothing was done */
    SCRIPTED_DIE_AFTER,  /* it was done, and the connection breaks */
    SCRIPTED_MOVED_AFTER, /* it was done, and the answer is MOVED: the log has it, and another leads before the answer */
    SCRIPTED_GONE,       /* writes: the session is forgotten first */
    SCRIPTED_SAME_KEYS,  /* lists begin with the first key, whatever they are to be behind */
};

struct scripted_member {
    _Atomic enum scripted_fault fault;
    atomic_int times;   /* so many requests; then none */
    atomic_uint slow_ms;
    atomic_bool frozen; /* its copy of the map stays as it is */
    atomic_bool lost;   /* and it knows of no map at all */
    atomic_bool mute;   /* who asks for the map gets no answer */
    atomic_bool behind; /* it has not heard of the newest namespace */
    atomic_uint busy;   /* not 0: the map comes in two pages; who has the first one is told so often that many ask */
    /* what it was asked */
    atomic_uint commits, puts, gets, replica_gets, mputs, mgets, lists, opens, closes, maps, hellos;
};

struct scripted_cluster;

/** @n nodes that lead slots in turn, all in sync with each slot. */
struct scripted_cluster *scripted_cluster_start(uint32_t n, bool write_once);
void scripted_cluster_free(struct scripted_cluster *c);
/** A workspace that names the first node. */
const char *scripted_cluster_workspace(const struct scripted_cluster *c);
struct scripted_member *scripted_cluster_node(struct scripted_cluster *c, uint32_t node);
/** The next @times requests to @node come to @fault. */
void scripted_cluster_fault(struct scripted_cluster *c, uint32_t node, enum scripted_fault fault, int times);

/** Sessions are said to be kept for so long when idle; 0: nothing is said. */
void scripted_cluster_session_ttl(struct scripted_cluster *c, uint64_t ttl_ms);
/** Each OPEN that was not answered is now, and done. */
void scripted_cluster_answer_opens(struct scripted_cluster *c);
/** The next request to @node comes to @fault, a MOVED, at which @heir begins to lead @slot. */
void scripted_cluster_step_down(struct scripted_cluster *c, uint32_t node, uint32_t slot, uint32_t heir,
                                enum scripted_fault fault);

uint32_t scripted_cluster_slot(const void *key, size_t len);
uint32_t scripted_cluster_leader(struct scripted_cluster *c, uint32_t slot);
/** It is led from @node from now on. */
void scripted_cluster_move(struct scripted_cluster *c, uint32_t slot, uint32_t node);
/** The node's machine, as others are told; "": not known. To be said before anybody asks. */
void scripted_cluster_host(struct scripted_cluster *c, uint32_t node, const char *host);

/** Others are told that @node is reached at @address, which stays the caller's. */
void scripted_cluster_tell(struct scripted_cluster *c, uint32_t node, const char *address);

/** And at @name besides, which stays the caller's; NULL: no more. */
void scripted_cluster_tell_name(struct scripted_cluster *c, uint32_t node, const char *name);

/** Likewise, where @other is. */
void scripted_cluster_address(struct scripted_cluster *c, uint32_t node, uint32_t other);

/** Or not told at all. */
void scripted_cluster_hide(struct scripted_cluster *c, uint32_t node);

/** Nobody can connect to it any more; who is connected stays so. */
void scripted_cluster_unlisten(struct scripted_cluster *c, uint32_t node);

/** How often something was stored under the key; a write that came twice counts twice. */
uint32_t scripted_cluster_stores(struct scripted_cluster *c, const void *key, size_t len);
/** Connections that are open. */
uint32_t scripted_cluster_connections(struct scripted_cluster *c, uint32_t node);
/** The namespace is removed, with all that is in it, and made again. */
void scripted_cluster_remake(struct scripted_cluster *c);
/** Puts a key there, past all nodes. */
void scripted_cluster_store(struct scripted_cluster *c, const void *key, size_t len, const void *value,
                            size_t value_len);

#endif
