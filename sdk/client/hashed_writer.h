/* A writer's memory, for its two files: hashed_writer.c has the calls and their steps, hashed_writer_half.c the halves. */
#ifndef CAIRN_CLIENT_HASHED_WRITER_H
#define CAIRN_CLIENT_HASHED_WRITER_H

#include "sdk/client/hashed_internal.h"

enum { WRITER_HALVES = 2 };

/* What a step on the loop is for. */
enum goal { GOAL_WRITE, GOAL_COMMIT, GOAL_ABORT };

struct cairn__half {
    struct cairn_writer *w;
    uint8_t *buf;
    size_t room, len;
    bool running;
    struct cairn_waiter waiter; /* over when the part is; whoever takes the half back looks there */
    struct cairn_call *call;
};

struct cairn_writer {
    struct cairn__stream s;
    uint64_t upload, home, length, total; /* @length: as hinted; @total: of what was sent or is in a buffer */
    uint32_t parts;                       /* begun */
    uint32_t filling;
    int rc; /* first failure */
    struct cairn__half half[WRITER_HALVES];
    /* the step on the loop */
    struct cairn_sm sm;
    enum goal goal;
    struct cairn_call *parked; /* the step's, while it waits for a half; only the owner of the loop looks */
    const uint8_t *from;
    size_t left;
};

/* Each failure is in w->rc, the first one. */

/** The half to fill, or NULL: the value may not become longer. */
struct cairn__half *cairn__half_to_fill(struct cairn_writer *w);
/** Copies up to @slice of w->left bytes into the half @h, which is not running. True: it is full. */
bool cairn__half_fill(struct cairn__half *h, size_t slice);
/** Sends the half that was being filled; @crcs as in struct cairn__part. When it is over, w->parked goes on. */
void cairn__half_send(struct cairn__half *h, uint32_t *crcs);
/** Likewise, from the user's thread. */
void cairn__half_sum_and_send(struct cairn__half *h);
/** From the user's thread: until the half is ours again. */
void cairn__half_wait(struct cairn__half *h);
/** On the loop: takes @h back, or parks @call until that is possible. False: parked. */
bool cairn__half_is_back(struct cairn__half *h, struct cairn_call *call);

#endif
