/** What a node counts beside its methods: one table, from which the structure, the Prometheus page and the JSON form
 * come.
 *
 * A new row here is all that a new counter needs, beside the line that counts. */
#ifndef CAIRN_CORE_RPC_NODE_COUNTERS_H
#define CAIRN_CORE_RPC_NODE_COUNTERS_H

#include <stdatomic.h>
#include <stdint.h>

/*  X(field, kind, Prometheus name, help): COUNTER only grows, GAUGE goes up and down. */
#define CAIRN_RPC_NODE_COUNTERS(X)                                                                                     \
    X(connections, GAUGE, "cairn_connections", "Connections that are open now.")                                       \
    X(greeting, GAUGE, "cairn_connections_greeting", "Those of them that have not proved yet who they are.")           \
    X(greeters_displaced, COUNTER, "cairn_connections_displaced_total",                                                \
      "Connections closed before they had proved who they are, to make room for another.")                             \
    X(accepted, COUNTER, "cairn_connections_accepted_total", "Connections that were accepted.")                        \
    X(connections_refused, COUNTER, "cairn_connections_refused_total",                                                 \
      "Connections that were closed because of a limit or their HELLO.")                                               \
    X(auth_failures, COUNTER, "cairn_auth_failures_total", "Peers that could not prove who they are.")                 \
    X(hello_timeouts, COUNTER, "cairn_hello_timeouts_total", "Peers that did not say HELLO in time.")                  \
    X(frames_malformed, COUNTER, "cairn_frames_malformed_total",                                                       \
      "Frames that could not be decoded; each closed its connection.")                                                 \
    X(sessions_resumed, COUNTER, "cairn_sessions_resumed_total", "Broken connections that came back.")                 \
    X(retries_recognised, COUNTER, "cairn_retries_recognised_total",                                                   \
      "Requests that were sent again and not applied again.")                                                          \
    X(requests_canceled, COUNTER, "cairn_requests_canceled_total",                                                     \
      "Requests given up: by the caller, at the deadline, with the connection or with the request they belong to.")    \
    X(slow_readers_closed, COUNTER, "cairn_slow_readers_closed_total",                                                 \
      "Connections closed because their peer took no answers or sent half a frame.")

/** Counted over the node's life, by whichever worker; relaxed, read by metrics. */
struct cairn_rpc_node_counters {
#define X(field, kind, name, help) _Atomic uint64_t field;
    CAIRN_RPC_NODE_COUNTERS(X)
#undef X
};

#endif
