/** A real etcd of one member for a test, on free ports in a directory of its own; it ends with the test. */
#ifndef CAIRN_TESTS_ETCD_H
#define CAIRN_TESTS_ETCD_H

#include <stdbool.h>
#include <stdint.h>

struct etcd_server;

/** Whether there is one on this machine (deploy/install-deps test); says so if there is not. If there is, SIGPIPE is ignored
 * from here on, as server/cluster/map_http.h asks. */
bool etcd_is_there(void);
/** @tls_dir: serves https by the server.pem and server.key there, to clients whose certificate ca.pem has signed; NULL:
 * http. Waits until it serves. */
struct etcd_server *etcd_new(const char *tls_dir);
void etcd_free(struct etcd_server *s);
uint16_t etcd_port(const struct etcd_server *s);

/** SIGKILL; and again on the same data and ports. */
void etcd_kill(struct etcd_server *s);
void etcd_start(struct etcd_server *s);
/** All history up to now is dropped. */
void etcd_compact(struct etcd_server *s);
/** POSTs @json to /v3/@path; the answer is the caller's to free(). Not with TLS. */
char *etcd_post(struct etcd_server *s, const char *path, const char *json);

#endif
