/** A whole node on the calling thread: its providers, router and own service on one loop, reached by local calls. For
 * fuzz targets and tests that want real providers and no threads, sockets or waiting. */
#ifndef CAIRN_TESTS_SOLO_H
#define CAIRN_TESTS_SOLO_H

#include "sdk/core/rpc/rpc.h"

struct solo;

/** @yaml: a node's configuration; its data directory is made below /dev/shm or /tmp, and removed by solo_free(). Ends
 * the program with a message when it cannot be had. */
struct solo *solo_new(const char *yaml);
void solo_free(struct solo *s);

struct cairn_rpc *solo_rpc(struct solo *s);
struct cairn_loop *solo_loop(struct solo *s);
/** By name: "kv", "extent", "router", "node". */
const struct cairn_rpc_target *solo_target(struct solo *s, const char *name);
/** Turns the loop until @call, which was started, is over. */
void solo_finish(struct solo *s, struct cairn_rpc_call *call);

#endif
