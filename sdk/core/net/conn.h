/** A connected byte stream (unix or TCP socket) that carries frames, and the buffers that all streams of a loop share.
 *
 * Input is read in large pieces into one buffer per loop and decoded in place; a connection holds memory of its own
 * only while half a frame waits for its other half. Output is gathered in chunks during a turn and written once, by the
 * loop's flush hook; an idle connection holds none. */
#ifndef CAIRN_CORE_NET_CONN_H
#define CAIRN_CORE_NET_CONN_H

#include "proto/frame/frame.h"
#include "sdk/core/loop/loop.h"

#include <sys/uio.h>

enum {
    CAIRN_NET_READ_BYTES = 256 << 10, /* one recv() */
    CAIRN_NET_CHUNK_BYTES = 64 << 10, /* one piece of output */
    CAIRN_NET_SPARE_CHUNKS_MAX = 32,
    /* A connection with this much output is written to before the turn ends, so that its peer works on the first of
     * many frames while we make the last. Waiting for the end, two ends take turns: 64 calls in flight made 2.1 M/s
     * instead of 3.9 (16 frames; 32: 3.1, 8: 2.7), 16 puts of 1 KiB 0.6 M/s instead of 0.75 (8 KiB; 16 KiB: 0.5, 4 KiB:
     * 0.7). While other connections wait for their turn, peers have work and calls of the system count: 16 times 16
     * gets of 1 KiB made 0.9 M/s instead of 1.03 with the bytes of a single one. */
    CAIRN_NET_FLUSH_FRAMES = 16,
    CAIRN_NET_FLUSH_BYTES = 8 << 10,
    CAIRN_NET_FLUSH_BUSY_BYTES = 24 << 10,
};

struct cairn_net_chunk;

/** What the connections of one loop share. */
struct cairn_net {
    struct cairn_loop *loop;
    struct cairn_hook hook;
    struct cairn_link dirty; /* connections with output that was not offered to the kernel yet */
    struct cairn_net_chunk *spare;
    uint32_t nspare;
    uint8_t *read_buffer; /* made at the first connection */
};

struct cairn_conn;

struct cairn_conn_ops {
    /** One frame; @f points into a buffer that is valid until this returns. May close the connection. False: take no
     * more frames until cairn_conn_resume(). */
    bool (*frame)(struct cairn_conn *c, const struct cairn_frame *f);
    /** The connection is lost: end of stream (CAIRN_E_CLOSED), malformed input (CAIRN_E_PROTO, _VERSION, _TOOBIG), or
     * an error of the socket. Runs once, not after cairn_conn_close(). Close it here or later. */
    void (*lost)(struct cairn_conn *c, int rc);
    /** Half a frame, or output that the kernel does not take, has begun to wait (in_since_ns, out_since_ns): see that
     * it does not wait for ever. May be NULL. */
    void (*stalled)(struct cairn_conn *c);
    /** Output has fallen to nothing after the kernel had refused some. */
    void (*drained)(struct cairn_conn *c);
};

/** Embedded by its user. */
struct cairn_conn {
    struct cairn_net *net;
    const struct cairn_conn_ops *ops;
    struct cairn_watch watch;
    struct cairn_link dirty;
    struct cairn_task again;  /* goes on with frames that are buffered, or reports a loss */
    uint32_t frame_bytes_max; /* larger frames are refused before they are buffered */
    bool paused, blocked, broken, closed;
    int lost_rc;
    uint8_t *in; /* frames that wait, or the beginning of one; malloc'ed when needed */
    size_t in_len, in_room, in_need;
    uint64_t in_since_ns; /* when the present partial frame began; 0: none */
    struct cairn_net_chunk *out, *out_last;
    uint32_t out_frames;              /* since the last flush */
    uint64_t out_bytes, out_since_ns; /* since when the kernel has taken nothing; 0: not blocked */
    uint64_t sent_bytes, received_bytes;
};

int cairn_net_init(struct cairn_net *net, struct cairn_loop *loop);
void cairn_net_fini(struct cairn_net *net);

/** Takes over @fd (non-blocking, connected). Returns 0, or CAIRN_E_NOMEM with @fd still the caller's. */
int cairn_conn_open(struct cairn_conn *c, struct cairn_net *net, int fd, const struct cairn_conn_ops *ops);
/** Closes the socket, drops what is buffered. Output that must arrive is flushed first by cairn_conn_flush(). */
void cairn_conn_close(struct cairn_conn *c);
/** Gives up the socket and what was read but not used (malloc'ed into *@bytes, may be NULL); @c is closed then. */
int cairn_conn_release(struct cairn_conn *c, uint8_t **bytes, size_t *n);

void cairn_conn_resume(struct cairn_conn *c);
/** As if the stream had failed: ops->lost(@rc) follows, from the loop. */
void cairn_conn_fail(struct cairn_conn *c, int rc);

/** Room for @n contiguous bytes of output; NULL when memory is short. They count after cairn_conn_commit(). */
uint8_t *cairn_conn_reserve(struct cairn_conn *c, size_t n);
void cairn_conn_commit(struct cairn_conn *c, size_t n);
/** Offers the output to the kernel now. */
void cairn_conn_flush(struct cairn_conn *c);

#endif
