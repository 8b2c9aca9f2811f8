/** Cairn's client: connecting, driving calls, errors, memory. The services: hashed.h, kv.h, extent.h,
 * group.h, admin.h.
 *
 *      struct cairn *c;
 *      struct cairn_ns *ns;
 *      struct cairn_error_info e;
 *
 *      if (cairn_connect(NULL, &c, &e) != 0)
 *          errx(1, "%s (%s)", e.text, cairn_error_hint(e.code));
 *      cairn_ns_open(c, "results", &ns, NULL);
 *      cairn_put(ns, "pi", 2, "3.14", 4, NULL);
 *      cairn_ns_close(ns);
 *      cairn_close(c);
 *
 * Every call has two forms. The plain one waits for its result; the one whose name ends in _async starts the call and
 * has two more arguments: a function that runs when the call is over, and what to pass to it. Both give 0 or a negative
 * CAIRN_E_*. What asks nothing of the node (opening and closing readers, writers and iterators) has the plain form
 * alone; what goes on until it is canceled (cairn_members_watch()) has the second form alone.
 *
 * Threads. Every function may be called from any thread, several at a time, unless it says otherwise; nothing is shared
 * between clients. Calls make progress while some thread is inside a waiting call of this client, cairn_poll(),
 * cairn_drain() or the thread of cairn_start_thread(); that thread runs the callbacks, one at a time, never from inside
 * the call that started them. Calls that are in flight together are carried out in any order. A callback may start
 * calls (also cancel them); from there a waiting form gives CAIRN_E_STATE, since it would wait for itself. A lone
 * thread's waiting call is carried out by that thread alone, without a switch to another.
 *
 * Memory. What is passed in (keys, values, result pointers, options->error) stays the caller's and must stay valid and
 * unchanged until the call is over; names and the options themselves are copied before the function returns. What a
 * call allocates is one block each, to be given back by cairn_free(). Results are written before the callback runs, and
 * only if the call succeeded, unless a function says otherwise. A node on the same machine that was stopped amid a copy
 * (SIGSTOP, a debugger) may finish that copy, of 1 MiB at most, into the buffer of a get that has timed out meanwhile:
 * the call ends a second later then, with a warning on stderr; without CAIRN_CONNECT_NO_VM that cannot be ruled out.
 *
 * Errors that any call may give:
 *   CAIRN_E_INVAL        an argument that the function forbids, or a struct whose size member was not set
 *   CAIRN_E_NOMEM        this process, or the server, is out of memory
 *   CAIRN_E_BUSY         options->inflight_max calls are in flight; nothing was started
 *   CAIRN_E_STATE        a waiting form inside a callback
 *   CAIRN_E_TIMEOUT      no answer within the time; a write may or may not have happened
 *   CAIRN_E_CANCELED     cairn_cancel() or cairn_close(); likewise
 *   CAIRN_E_UNREACHABLE  no connection could be made within the time; nothing happened
 *   CAIRN_E_UNKNOWN      the node restarted while a write was on its way: it may have happened
 *   CAIRN_E_CLOSED       the client is being closed
 *   CAIRN_E_AUTH         the node refused who we are
 *   CAIRN_E_DENIED       the caller may not do this
 *   CAIRN_E_SHUTDOWN     the node is stopping
 *   CAIRN_E_PROTO, CAIRN_E_VERSION, CAIRN_E_NOMETHOD   the node does not speak what this library does
 *
 * Each code has a name, a text and a hint at what to do: cairn_error_name(), cairn_error_text(), cairn_error_hint() in
 * error.h, for any thread. What happened in a call is in options->error.
 *
 * A client does not survive fork(): the child must not use it, not even to close it. The library takes no signals and
 * raises none (SIGPIPE neither), changes no environment, and writes at most warnings, to stderr. No function is for a
 * signal handler, nor may a thread be canceled (pthread_cancel) inside one: cairn_cancel() ends a call. */
#ifndef CAIRN_CAIRN_H
#define CAIRN_CAIRN_H

#include "cairn/error.h"
#include "cairn/limits.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#define CAIRN_STRUCT_INIT(type)                                                                                        \
    {                                                                                                                  \
        sizeof(type)                                                                                                   \
    }
#else
#define CAIRN_STRUCT_INIT(type)                                                                                        \
    {                                                                                                                  \
        .size = sizeof(type)                                                                                           \
    }
#endif

/** A client: one event loop, one connection to each node it talks to. */
struct cairn;
/** Memory that stays registered with the network for use in many calls. */
struct cairn_mem;

/** What went wrong, for people; fixed in size. The hint is cairn_error_hint(code). */
struct cairn_error_info {
    int code;
    char text[512];
};

/* ---- connecting ---- */

/** Start from CAIRN_OPTIONS_INIT; zero means the default everywhere. Strings are copied. */
struct cairn_options {
    size_t size;
    /** Directory that a node wrote its addresses and its key into. NULL: $CAIRN_WORKSPACE, else $XDG_RUNTIME_DIR/cairn,
     * else /run/cairn. */
    const char *workspace;
    /** "unix:///run/cairn/node.sock,tcp://host:4710,tcp://[::1]:4710": the ways to one node, or to any of several of a
     * cluster, tried in this order except that unix sockets come first. Any number: of more than 16 a random choice of 16
     * is tried, in no order, so that clients which are told of a large cluster do not all come to the same nodes. A host
     * that is not known here, or a node that refuses us, is no matter of the others; where none lets us in, the error says
     * of each why. "tcp://host:4710#n1" names the node as well, as @node does. NULL: $CAIRN_ADDRESSES, else what the workspace
     * says. */
    const char *addresses;
    /** The cluster key (mode 0600 or stricter, owned by the caller or root). NULL: $CAIRN_KEY, else cluster.key in the
     * workspace if it is there. It is for every node that is reached over TCP, those of the cluster's map, too. Whoever
     * holds it speaks for the cluster: the node takes them for its own user, an administrator. */
    const char *key_file;
    /* Over TCP a client also offers MUNGE where its daemon runs: at $CAIRN_MUNGE_SOCKET, else where MUNGE expects
     * it. */
    /** How the node's lists call this client; NULL: the program's name. */
    const char *name;
    /** The libfabric provider for large values, the same as the node's (bulk.provider in its configuration), for
     * instance "verbs;ofi_rxm", and the domain to use. NULL: $CAIRN_FABRIC_PROVIDER, else "tcp;ofi_rxm";
     * $CAIRN_FABRIC_DOMAIN, else any. */
    const char *fabric_provider, *fabric_domain;
    uint32_t timeout_ms;         /* of each call that names none; 0: 30 000 */
    uint32_t connect_timeout_ms; /* of cairn_connect() in all; 0: 10 000 */
    uint32_t spin_us;      /* poll this long for an answer before sleeping: lower latency for a busy core; 0: sleep */
    uint32_t inflight_max; /* calls at a time, but not what they are made of; 0: 16 384. About 3 KiB each, once used */
    uint32_t flags;        /* CAIRN_CONNECT_* */
    /** The name of the node that is meant: an address where another one answers counts as one where none does, and
     * nothing is proved there. NULL: as @addresses name it, or the workspace where it has addresses over TCP; else
     * whichever node is there. Then over TCP whoever sits at the address in its place, and says that he is another node of
     * the cluster, can carry our proof there and act as us: name the node where others could listen at its address. */
    const char *node;
};
#define CAIRN_OPTIONS_INIT CAIRN_STRUCT_INIT(struct cairn_options)

enum cairn_connect_flags {
    CAIRN_CONNECT_LAZY = 1,      /* return without having reached the node; the first call finds out */
    CAIRN_CONNECT_NO_FABRIC = 2, /* large values never go by libfabric */
    CAIRN_CONNECT_NO_VM = 4,     /* nor by process_vm_readv/writev on the same machine */
};

/** Connects to the node that @options (NULL: all defaults) lead to, and proves who we are.
 *
 * The connection comes back by itself when it is lost. Fails as soon as every address was tried once in vain. @error
 * may be NULL. On failure *@out is NULL; besides the errors above:
 *   CAIRN_E_UNREACHABLE  also if the workspace has no node.json: no node was started there
 *   CAIRN_E_AUTH         also if the key is not there, malformed, another user's, or may be read by others
 *   CAIRN_E_DENIED       the workspace may be changed by others, or belongs to someone else
 *   CAIRN_E_CONFIG       node.json or an address is malformed
 *   CAIRN_E_LIMIT        no descriptors are left in this process */
CAIRN_API int cairn_connect(const struct cairn_options *options, struct cairn **out, struct cairn_error_info *error);

/** Ends the client. Calls that are in flight are canceled: their callbacks run, with CAIRN_E_CANCELED unless the answer
 * was there, before this returns; waiting calls of other threads return. Stops the thread of cairn_start_thread().
 * Nothing of the client may be used afterwards, and no other thread may start a call meanwhile (CAIRN_E_CLOSED at
 * best); open handles (struct cairn_ns and the like) may still be closed. Nodes that keep something for its writes are
 * told that it ends, for which it waits 100 ms at most. NULL does nothing. Not from a callback. */
CAIRN_API void cairn_close(struct cairn *c);

/** Of this header. The library that a program runs with may be another: cairn_version(). Within one major version (0 is
 * one) the names and what they do stay, and structs with a size member may grow at their end: the library takes those
 * of programs that were built before, as if the new members were zero. */
#define CAIRN_VERSION_MAJOR 0
#define CAIRN_VERSION_MINOR 1
#define CAIRN_VERSION_PATCH 0
/** For comparisons: CAIRN_VERSION_NUMBER >= CAIRN_VERSION_OF(0, 1, 0). */
#define CAIRN_VERSION_OF(major, minor, patch) ((major)*1000000 + (minor)*1000 + (patch))
#define CAIRN_VERSION_NUMBER                  CAIRN_VERSION_OF(CAIRN_VERSION_MAJOR, CAIRN_VERSION_MINOR, CAIRN_VERSION_PATCH)

/** Of the library: "0.1.0". Never freed. */
CAIRN_API const char *cairn_version(void);

/* ---- options of one call ---- */

enum cairn_durability {
    CAIRN_DURABILITY_DEFAULT = 0,  /* what the namespace or provider says */
    CAIRN_DURABILITY_MEMORY = 1,   /* survives nothing */
    CAIRN_DURABILITY_BUFFERED = 2, /* survives the server's process */
    CAIRN_DURABILITY_SYNC = 3,     /* survives power loss */
};

enum cairn_call_flags {
    CAIRN_IF_ABSENT = 1, /* puts: CAIRN_E_EXISTS if the key is there, which then stays as it is */
    CAIRN_VERIFY = 2,    /* reads: the server compares the stored bytes with their checksums first */
    CAIRN_ONCE = 4,      /* what a cluster's coordinator is asked (admin.h): not again while there is none */
};

/** May be NULL wherever it is asked for; otherwise start from CAIRN_CALL_OPTIONS_INIT. Only read before the function
 * returns. */
struct cairn_call_options {
    size_t size;
    uint32_t timeout_ms;              /* from the start of the call to its end; 0: the client's */
    uint32_t flags;                   /* CAIRN_IF_ABSENT, ... */
    enum cairn_durability durability; /* of writes and removals at provider level (kv.h, extent.h) */
    struct cairn_error_info *error;   /* filled if the call fails; valid until the call is over */
    uint64_t *call;                   /* set to the call's number, for cairn_cancel(), before the call starts */
};
#define CAIRN_CALL_OPTIONS_INIT CAIRN_STRUCT_INIT(struct cairn_call_options)

/** Runs when a call is over, once, if the _async function returned 0; never if it returned an error. */
typedef void cairn_done_fn(void *arg, int rc);

/* ---- driving ---- */

/** Carries out what is in flight on the calling thread until at least one call is over, or @timeout_ms have passed (0:
 * only what is ready now, -1: no limit). Returns the number of calls that this thread finished, 0 also when nothing is
 * in flight, or CAIRN_E_STATE in a callback. While another thread drives, it waits for that one to leave off. */
CAIRN_API int cairn_poll(struct cairn *c, int timeout_ms);

/** As cairn_poll(), until nothing is in flight. Returns 0, CAIRN_E_TIMEOUT, or CAIRN_E_STATE in a callback. */
CAIRN_API int cairn_drain(struct cairn *c, int timeout_ms);

/** Starts a thread that drives the client and runs the callbacks, until cairn_stop_thread() or cairn_close(). All
 * signals are blocked in it. Waiting calls of other threads then cost two switches. CAIRN_E_STATE if it runs still,
 * CAIRN_E_LIMIT. */
CAIRN_API int cairn_start_thread(struct cairn *c);
/** Calls in flight stay so. Harmless if none runs, or while another thread is stopping it. Not from a callback. */
CAIRN_API void cairn_stop_thread(struct cairn *c);

/** Calls in flight, with those that they are made of; a hint where several threads start calls. */
CAIRN_API size_t cairn_inflight(struct cairn *c);

/** Asks for the end of the call with that number: it ends soon, with CAIRN_E_CANCELED unless its answer came first. A
 * write may have happened. Harmless when the call is over. Returns 0, or CAIRN_E_NOMEM: nothing was asked. */
CAIRN_API int cairn_cancel(struct cairn *c, uint64_t call);
/** The same for every call that is in flight, whichever thread started it. Calls that start later are not concerned. */
CAIRN_API int cairn_cancel_all(struct cairn *c);

/* ---- memory ---- */

/** Registers @len bytes at @ptr once, so that calls whose buffers lie inside need not do so each time. Pays with
 * network hardware and large buffers used often. The memory must stay mapped until cairn_mem_deregister(). A node that
 * is given a buffer inside may, on some hardware, reach all of the area until then.
 *   CAIRN_E_INVAL  @len is 0
 *   CAIRN_E_LIMIT  too many areas are registered, or the network accepts no more */
CAIRN_API int cairn_mem_register(struct cairn *c, void *ptr, size_t len, struct cairn_mem **out);
/** No call with a buffer inside may be in flight; before cairn_close(). NULL does nothing. */
CAIRN_API void cairn_mem_deregister(struct cairn *c, struct cairn_mem *mem);

/** Gives back what a call allocated. NULL does nothing. */
CAIRN_API void cairn_free(void *p);

/* ---- the simplest call ---- */

/** Asks the node for nothing: is it there? */
CAIRN_API int cairn_ping(struct cairn *c, const struct cairn_call_options *o);
CAIRN_API int cairn_ping_async(struct cairn *c, const struct cairn_call_options *o, cairn_done_fn *done, void *arg);

/* ---- what several services use ---- */

struct cairn_put_item {
    const void *key;
    size_t key_len;
    const void *value;
    size_t value_len;
    int status; /* out: 0 or CAIRN_E_* of this entry */
};

struct cairn_get_item {
    const void *key;
    size_t key_len;
    void *value;      /* room for the value; NULL where only its length is asked for */
    size_t room;      /* bytes there */
    size_t value_len; /* out: length of the value, also if it did not fit */
    int status;       /* out: 0, CAIRN_E_NOTFOUND, CAIRN_E_TOOBIG (does not fit, nothing was copied), ... */
};

struct cairn_entry {
    const void *key;
    size_t key_len;
    const void *value; /* NULL unless values were asked for */
    uint64_t value_len;
};

/** A part of a listing, in order; one block, given back by cairn_free(). */
struct cairn_page {
    size_t n;
    bool more; /* go on after the key of entries[n - 1] */
    struct cairn_entry *entries;
};

#ifdef __cplusplus
}
#endif
#endif
