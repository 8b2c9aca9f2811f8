/** Datagrams on a loop: a bound UDP socket. What does not arrive, or cannot be sent at once, is lost, as it may be
 * anyway. */
#ifndef CAIRN_CORE_NET_DGRAM_H
#define CAIRN_CORE_NET_DGRAM_H

#include "sdk/core/loop/loop.h"
#include "sdk/core/net/addr.h"

#include <stdint.h>

enum { CAIRN_DGRAM_BYTES_MAX = 2048 }; /* longer ones are dropped */

struct cairn_dgram {
    struct cairn_watch watch;
    int fd; /* -1: closed */
    bool watched;
    /** On the loop's thread; @bytes are valid until it returns. May not close. */
    void (*fn)(void *arg, const uint8_t *bytes, size_t len, const struct cairn_addr *from);
    void *arg;
    uint64_t received, received_bytes, sent, sent_bytes;
    uint64_t oversized, unsent; /* dropped: too long; not taken by the kernel */
};

/** Binds to @a, which is given the port that it got where it asked for any. Any thread, before the loop runs.
 * CAIRN_E_LOCKED: the address is in use; CAIRN_E_NOTFOUND: it is none of this machine. */
int cairn_dgram_open(struct cairn_dgram *d, struct cairn_addr *a, struct cairn_err *err);
/** Receives from now on. On the loop's thread. */
int cairn_dgram_start(struct cairn_dgram *d, struct cairn_loop *loop,
                      void (*fn)(void *arg, const uint8_t *bytes, size_t len, const struct cairn_addr *from), void *arg,
                      struct cairn_err *err);
void cairn_dgram_send(struct cairn_dgram *d, const struct cairn_addr *to, const void *bytes, size_t len);
/** On the loop's thread, or when it has ended. Closing twice is harmless. */
void cairn_dgram_close(struct cairn_dgram *d);

#endif
