/** A callee ("server", it moves) and a caller ("client", it exposes) on one loop, so each story is one thread. */
#ifndef CAIRN_TESTS_LIB_BULK_WORLD_H
#define CAIRN_TESTS_LIB_BULK_WORLD_H

#include "sdk/core/bulk/bulk_internal.h"
#include "sdk/core/rpc/accept.h"
#include "sdk/core/rpc/rpc_internal.h"
#include "sdk/core/rpc/session.h"
#include "tests/lib/scratch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

enum { MEM = 9 << 20, TURNS_MAX = 400000 };

extern const struct cairn_rpc_conf bulk_world_rpc_conf;
extern const struct cairn_bulk_conf bulk_world_conf; /* all ways; the fabric is asked for at once */

struct fixture {
    struct cairn_loop loop;
    struct cairn_rpc *server, *client;
    struct cairn_rpc_node node;
    struct cairn_rpc *workers[1];
    struct cairn_watch listener;
    struct cairn_addr addr;
    struct cairn_rpc_session *session;
    struct cairn_rpc_peer *peer; /* the client, as the server sees it */
    char dir[SCRATCH_MAX];
    bool closed;
    uint8_t *remote, *local; /* MEM each */
    struct cairn_bulk_region region;
    uint64_t seed;
};

struct xfer {
    struct cairn_bulk_op op;
    bool done;
    int rc;
    uint64_t seen;    /* by arrived(), without gaps */
    uint64_t stop_at; /* cancels there; 0: does not */
};

uint64_t rnd(struct fixture *fx);
bool turn_until(struct fixture *fx, bool (*over)(struct fixture *fx));

/* Fixtures for cmocka: connected by a unix socket, by TCP (where vm does not work), or not connected yet. */
int setup_unix(void **state);
int setup_tcp(void **state);
int setup_bare(void **state);
int setup_tcp_bare(void **state);
int teardown(void **state);
/** What the bare ones leave to be done. */
void client_connect(struct fixture *fx);
/** Waits for the one who connects, and for what follows HELLO. */
void find_peer(struct fixture *fx);
void close_session(struct fixture *fx);

/** Starts a transfer of [off, off + len) between fx->local and the memory of @desc. */
void xfer_start(struct fixture *fx, struct xfer *x, enum cairn_bulk_way way, bool push,
                const Cairn__Wire__BulkDesc *desc, uint64_t off, uint64_t len);
int xfer_wait(struct fixture *fx, struct xfer *x);
/** Both, with fx->region. */
int xfer(struct fixture *fx, enum cairn_bulk_way way, bool push, uint64_t off, uint64_t len);

/** fx->remote as fx->region; what was exposed before is concealed. */
void expose(struct fixture *fx, uint32_t rights);
void expose_rw(struct fixture *fx);
/** An introduction is over, well or not. */
bool intro_is_over(struct fixture *fx);
/** A first transfer by frames asks for the fabric; fx->region can be reached over it then. */
void bring_fabric_up(struct fixture *fx);

#endif
