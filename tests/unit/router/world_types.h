/** What a world of the router's tests is made of: see world.h. */
#ifndef CAIRN_TEST_ROUTER_WORLD_TYPES_H
#define CAIRN_TEST_ROUTER_WORLD_TYPES_H

#include "sdk/core/base/crc.h"
#include "server/router/router_internal.h"
#include "tests/lib/scratch.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

enum {
    WORKERS = 2,
    PENDING_MAX = 1024,
    ENTRIES_MAX = 4096,
    DBS_MAX = 16,
    REGIONS_MAX = 8200,
    KIB = 1024,
    REGION = 128 * KIB
};

struct entry {
    uint32_t db;
    uint8_t *key, *value;
    size_t key_len, value_len;
};

struct db {
    char name[64];
    uint32_t id;
    bool write_once;
};

struct region {
    uint64_t id, owner;
    uint8_t *bytes;
    uint64_t len;
};

struct world {
    struct cairn_loop loops[WORKERS];
    struct cairn_loop *loop_pointers[WORKERS];
    struct cairn_rpc *rpcs[WORKERS];
    struct cairn_rpc_target targets[3];
    struct cairn_pool *pool;
    void *router;
    char dir[SCRATCH_MAX];
    struct cairn_router_conf conf;
    uint64_t seed;

    struct cairn_rpc_req *pending[PENDING_MAX];
    uint32_t npending;
    uint64_t calls;   /* carried out so far */
    uint64_t fail_at; /* the call with this number fails with fail_rc; 0: none */
    int fail_rc;
    bool fail_after;     /* it is carried out all the same: the caller cannot know */
    uint32_t served[32]; /* KV calls by method */
    Cairn__Wire__Durability put_durability, mput_durability; /* of the last one */
    bool hollow;         /* regions have a length, and no bytes */
    bool no_owners;      /* an extent provider that knows none */
    int remove_rc;       /* not 0: what it says of each region that it is to remove */
    const char *kv_backend;
    bool extent_volatile; /* refuses all durability but `memory` */
    void (*before)(struct world *w, struct cairn_rpc_req *rq);

    struct db dbs[DBS_MAX];
    uint32_t ndbs, next_db;
    struct entry entries[ENTRIES_MAX]; /* by db and key */
    uint32_t nentries;
    struct region regions[REGIONS_MAX]; /* by id */
    uint32_t nregions;
    uint64_t next_region;
};

static uint64_t world_random(struct world *w)
{
    uint64_t x = (w->seed += UINT64_C(0x9e3779b97f4a7c15));

    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

#endif
