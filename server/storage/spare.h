/** Room on the disk that new data does not get, so that a full disk is no dead end. Any thread.
 *
 * Engines write before they can free anything: a removal is a record, and what was removed gives back its room when the
 * tables that held it have been written anew. So new data is refused while less is free than that takes: the headroom.
 * Others may fill the disk all the same. Against them there is the *spare room*, a file that holds nothing: a start
 * takes it, and it is *lent* to a removal that meets a full disk; new data is refused until it is whole again. */
#ifndef CAIRN_SERVER_STORAGE_SPARE_H
#define CAIRN_SERVER_STORAGE_SPARE_H

#include "sdk/core/base/err.h"
#include "server/storage/errand.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum {
    CAIRN_SPARE_DISK_PART = 16,        /* of the file system's size, at most: several write buffers (rocks.c) */
    CAIRN_SPARE_BYTES_MAX = 256 << 20, /* likewise, of the largest write buffers that are usual */
    CAIRN_SPARE_HEADROOM_DISK_PART = 8,
    CAIRN_SPARE_HEADROOM_BYTES_MAX = 1 << 30,
    CAIRN_SPARE_NEAR_HEADROOMS = 4, /* others fill three of them between two looks at best */
    CAIRN_SPARE_LOOK_MS = 20,
};

struct cairn_spare {
    const char *dir; /* borrowed; "": there is none, and calls do nothing */
    pthread_mutex_t mutex;
    uint64_t lent_ns;                       /* when, by CLOCK_MONOTONIC; under mutex */
    atomic_uint_fast64_t looked_ns, growth; /* growth: what the last look found */
    atomic_uint_fast64_t shown_ns;
    atomic_bool lent, refusing, near;
    struct cairn_errand looking; /* a look for those who must not wait for the disk */
};

/** @dir exists once the other calls are made. */
void cairn_spare_init(struct cairn_spare *s, const char *dir);
void cairn_spare_fini(struct cairn_spare *s);
/** Before engines open: on a full disk the room is given to them. CAIRN_E_NOSPACE: there is none either. */
int cairn_spare_make_way(struct cairn_spare *s, struct cairn_err *err);
/** What make_way() would say, changing nothing. */
int cairn_spare_check_way(const struct cairn_spare *s, struct cairn_err *err);
/** After engines have opened, and after they have closed: takes as much room as there is and is to be. */
void cairn_spare_keep(struct cairn_spare *s);
/** A removal met a full disk: lends the room. True if it was lent now or some seconds ago, so that to try again may
 * help soon. NULL: false. */
bool cairn_spare_lend(struct cairn_spare *s);
/** Before a removal writes: lends the room if hardly any is free, as an engine that has met a full disk is slow to
 * recover. NULL: nothing. */
void cairn_spare_before_removal(struct cairn_spare *s);
/** Whether new data is to be refused. Looks at the disk now and then, so that some of it may pass meanwhile: less than
 * the headroom; takes back what was lent, which may block. NULL: false. */
bool cairn_spare_refuses(struct cairn_spare *s);
/** Whether the disk may be full before anybody looks again: less than CAIRN_SPARE_NEAR_HEADROOMS were free when
 * refuses() was last asked. NULL: false. */
bool cairn_spare_is_near(const struct cairn_spare *s);
/** By how many bytes files may grow that do not shrink again while the node runs: they leave twice the headroom, so
 * that small data goes on when they are full, and when they have been emptied. Looks at the disk each time, as a step
 * of theirs may be larger than the headroom. NULL: UINT64_MAX. */
uint64_t cairn_spare_growth(struct cairn_spare *s);
/** On a loop: what refuses() and growth() had to say when somebody last looked, without what they may have to do. Has
 * the disk looked at if that was a while ago, on a thread of its own: a file system that is gone may not answer for
 * good. NULL: false, UINT64_MAX. */
bool cairn_spare_show(struct cairn_spare *s, uint64_t *growth);
/** For status, on a loop: show() tells what is now, unless the disk does not answer within CAIRN_SPARE_LOOK_MS. While
 * it does not, nobody waits for it. */
void cairn_spare_ask(struct cairn_spare *s);
/** What show() would tell after ask(). May block. */
uint64_t cairn_spare_look(struct cairn_spare *s);
/** To the text of an engine that could not open for want of room: what to do. Returns @rc. */
int cairn_spare_explain(struct cairn_spare *s, int rc, struct cairn_err *err);

#endif
