/* A copy at its target, as its files share it: store_job.c (the machine, pages), store_wipe.c, store_seal.c. */
#ifndef CAIRN_SERVER_CLUSTER_SERVICE_STORE_JOB_H
#define CAIRN_SERVER_CLUSTER_SERVICE_STORE_JOB_H

#include "server/cluster/service/store_internal.h"

enum { JOB_PLAN, JOB_WRITE, JOB_LIST, JOB_OPEN, JOB_FLUSH, JOB_PAUSE, JOB_DONE, JOB_ENDED, JOB_NR };

struct store_job {
    struct cairn_sm sm;
    struct cairn_link link;
    struct cluster_store *st;
    struct store_slot *s;
    enum { JOB_WIPE, JOB_PUT, JOB_SEAL } kind;
    uint32_t step; /* of the kind's steps: those below are done */
    int rc;        /* of a put that is refused */
    struct store_batch batch;
    bool built;
    uint32_t built_step; /* once the batch is written */
    struct store_open open;
    bool bare; /* wipe: there is nothing to be erased */
    bool said; /* wipe: that it cannot be done now, in the log */
    /* wipe: rows of the index whose namespace is not open yet */
    uint8_t *rows;
    size_t rows_len, rows_at;
    bool rows_are_last;
    uint8_t prefix[STORE_SLOT_BYTES];
    uint8_t *page; /* put */
    uint32_t page_len;
    bool erases;        /* put: first what is there, which cannot be read */
    struct cairn_at at; /* seal */
    struct cairn_sessions sessions;
    uint32_t session, write; /* that are sealed next */
    Cairn__Wire__KvList list;
    struct cairn_rpc_call call;
    struct cairn_err err;
    struct cairn_timer timer;
    struct cairn_task task;
};

/* Of @kind, begun from a later task: nothing comes back within the call that asked. NULL: the store is dead. */
struct store_job *store_job_new(struct cluster_store *st, struct store_slot *s, int kind);

/* ---- how a step ends ---- */

/* What comes next is planned, now. */
void store_job_plan(struct store_job *j);
/* @rc stood in the way: again in a while, or the store dies. */
void store_job_pause(struct store_job *j, int rc);
/* All is done; the replica is told, and @j is gone. */
void store_job_done(struct store_job *j);
/* j->batch is written: it is what brings the job to @step. */
void store_job_write(struct store_job *j, uint32_t step, Cairn__Wire__Durability durability);
/* A namespace's database is opened: store_open_start(). */
void store_job_open(struct store_job *j, uint32_t ns, bool create, bool write_once);

/* ---- what comes next, by kind ---- */

void store_job_plan_wipe(struct store_job *j); /* store_wipe.c */
void store_job_plan_seal(struct store_job *j); /* store_seal.c */

#endif
