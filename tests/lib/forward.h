/** A TCP port that forwards to another one, on a thread of its own, and can be made to refuse or to swallow answers. */
#ifndef CAIRN_TESTS_FORWARD_H
#define CAIRN_TESTS_FORWARD_H

#include <stdint.h>

struct forward;

enum forward_mode {
    FORWARD_PASS,
    FORWARD_REFUSE,  /* the port is closed, and what was connected too */
    FORWARD_SEVER,   /* what comes in is forwarded; when an answer comes it is dropped and the connection ends */
    FORWARD_SWALLOW, /* what comes in is forwarded, what should go back is dropped; afterwards those connections end */
};

/** Both ports on 127.0.0.1; *@port is where it listens. Ends the program when it cannot be had. */
struct forward *forward_new(uint16_t to, uint16_t *port);
void forward_free(struct forward *f);
/** Returns when it holds. */
void forward_set(struct forward *f, enum forward_mode mode);

/** A TCP port that is free now. */
uint16_t forward_free_port(void);

#endif
