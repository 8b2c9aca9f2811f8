/** Addresses of nodes: "unix:///path", "tcp://host:port", "tcp://[2001:db8::1]:port". */
#ifndef CAIRN_CORE_NET_ADDR_H
#define CAIRN_CORE_NET_ADDR_H

#include "sdk/core/base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/un.h>

enum { CAIRN_ADDR_TEXT_MAX = 160 };

struct cairn_addr {
    struct sockaddr_storage ss;
    socklen_t len;
};

/** Parses @text; a host name is looked up, which may block for as long as the resolver takes: not for loops.
 * CAIRN_E_INVAL: not an address (the text says what is expected); CAIRN_E_NOTFOUND: the name is unknown. */
int cairn_addr_parse(const char *text, struct cairn_addr *a, struct cairn_err *err);
/** Likewise, but looks nothing up: CAIRN_E_NOTFOUND: it has a host's name, and may be right. */
int cairn_addr_parse_numeric(const char *text, struct cairn_addr *a, struct cairn_err *err);
/** As cairn_addr_parse() "udp://host:port", for datagrams (dgram.h); no stream may listen there, so the two are kept apart. */
int cairn_addr_parse_dgram(const char *text, struct cairn_addr *a, struct cairn_err *err);
bool cairn_addr_is_unix(const struct cairn_addr *a);
/** 127.0.0.0/8 or ::1. */
bool cairn_addr_is_loopback(const struct cairn_addr *a);
/** The address as text; @to of CAIRN_ADDR_TEXT_MAX bytes. */
void cairn_addr_format(const struct cairn_addr *a, char *to);

/** A listening, non-blocking socket. A unix socket whose owner is dead is replaced; its mode becomes @mode. On return
 * *@a is the address as bound (port 0 has become a number). CAIRN_E_LOCKED: in use by a living process. */
int cairn_addr_listen(struct cairn_addr *a, int backlog, unsigned mode, int *fd, struct cairn_err *err);
/** Whether listen() would succeed now, without leaving a trace. */
int cairn_addr_probe(const struct cairn_addr *a, struct cairn_err *err);
/** Starts to connect; *@fd is non-blocking, and the connection stands once it is writable without SO_ERROR. */
int cairn_addr_connect(const struct cairn_addr *a, int *fd, struct cairn_err *err);
/** What every connected socket gets: no delay for small messages, a dead TCP peer noticed. */
void cairn_addr_tune(int fd, bool is_unix);

#endif
