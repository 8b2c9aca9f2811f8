/* What the tests of values that come in parts ask for. */
#ifndef CAIRN_TESTS_ROUTER_WORLD_PARTS_H
#define CAIRN_TESTS_ROUTER_WORLD_PARTS_H

#include "world.h"

static uint8_t value[6 * REGION], got[6 * REGION];

enum { UPLOAD = 77 };

struct part {
    Cairn__Wire__RouterPart m;
    Cairn__Wire__BulkDesc bulk;
    uint32_t crcs[64];
    struct answer a;
};

static inline void part_start(struct world *w, struct part *p, const struct cairn_identity *who, const char *ns,
                              uint64_t upload, uint32_t number, size_t len)
{
    const uint8_t *from = value + (size_t)number * REGION % sizeof(value);

    cairn__wire__router_part__init(&p->m);
    cairn__wire__bulk_desc__init(&p->bulk);
    p->bulk.key = 1;
    p->bulk.len = len;
    p->bulk.addr = (uintptr_t)from;
    p->m.ns = (char *)(uintptr_t)ns;
    p->m.upload = upload;
    p->m.number = number;
    p->m.length = len;
    p->m.bulk = &p->bulk;
    p->m.crcs = p->crcs;
    if (len <= REGION)
        p->m.n_crcs = crc_of_chunks(from, 0, len, p->crcs);
    ask_start(w, (uint32_t)(world_random(w) % WORKERS), &p->a, who, CAIRN__WIRE__ROUTER_METHOD__ROUTER_PART, &p->m.base,
              NULL, 0);
}

static inline int part_as(struct world *w, const struct cairn_identity *who, const char *ns, uint32_t number,
                          size_t len)
{
    struct part p;
    int rc;

    part_start(w, &p, who, ns, UPLOAD, number, len);
    rc = ask_wait(w, &p.a);
    answer_free(&p.a);
    return rc;
}

static inline int part(struct world *w, uint32_t number, size_t len)
{
    return part_as(w, &root, "n", number, len);
}

static inline int commit_as(struct world *w, const struct cairn_identity *who, const char *ns, uint32_t parts,
                            uint64_t length, bool if_absent)
{
    Cairn__Wire__RouterCommit m = CAIRN__WIRE__ROUTER_COMMIT__INIT;
    struct answer a;
    int rc;

    m.ns = (char *)(uintptr_t)ns;
    m.key = key_of("k");
    m.upload = UPLOAD;
    m.parts = parts;
    m.length = length;
    m.if_absent = if_absent;
    ask_start(w, (uint32_t)(world_random(w) % WORKERS), &a, who, CAIRN__WIRE__ROUTER_METHOD__ROUTER_COMMIT, &m.base,
              NULL, 0);
    rc = ask_wait(w, &a);
    answer_free(&a);
    return rc;
}

static inline int commit(struct world *w, uint32_t parts, uint64_t length)
{
    return commit_as(w, &root, "n", parts, length, false);
}

static inline int abort_as(struct world *w, const struct cairn_identity *who, const char *ns)
{
    Cairn__Wire__RouterAbort m = CAIRN__WIRE__ROUTER_ABORT__INIT;
    struct answer a;
    int rc;

    m.ns = (char *)(uintptr_t)ns;
    m.upload = UPLOAD;
    ask_start(w, 0, &a, who, CAIRN__WIRE__ROUTER_METHOD__ROUTER_ABORT, &m.base, NULL, 0);
    rc = ask_wait(w, &a);
    answer_free(&a);
    return rc;
}

static inline void expect_stored(struct world *w, size_t n)
{
    assert_int_equal(get(w, "n", "k", 0, 0, got, sizeof(got), NULL), n);
    assert_memory_equal(got, value, n);
    expect_no_orphans(w);
}

static inline struct cairn_router *router_of(struct world *w)
{
    return w->router;
}

#endif
