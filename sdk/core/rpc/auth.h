/** Proof of identity in HELLO, without sockets: what is computed over which bytes.
 *
 * The cluster key never travels. Both ends prove that they hold it by a MAC (libsodium crypto_auth, HMAC-SHA-512-256)
 * over a label that names the direction and the way in, the cluster id, the name of the node that is connected to and
 * both ends' fresh nonces; so a recorded proof is worth nothing later, a proof of one direction is none in the other,
 * and whoever sits in a node's place cannot carry what he is told there elsewhere: not from a unix socket to a TCP
 * address, nor to another node, where the client knows which one it looks for. With MUNGE the same bytes are the
 * credential's payload. */
#ifndef CAIRN_CORE_RPC_AUTH_H
#define CAIRN_CORE_RPC_AUTH_H

#include "sdk/core/base/err.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum { CAIRN_KEY_BYTES = 32, CAIRN_NONCE_BYTES = 16, CAIRN_CLUSTER_ID_BYTES = 16, CAIRN_PROOF_BYTES = 32 };
enum { CAIRN_NODE_NAME_MAX = 64 };

struct cairn_auth_transcript {
    uint8_t cluster_id[CAIRN_CLUSTER_ID_BYTES];
    uint8_t client_nonce[CAIRN_NONCE_BYTES], server_nonce[CAIRN_NONCE_BYTES];
    char node[CAIRN_NODE_NAME_MAX]; /* that is connected to */
    bool unix_socket;               /* the way in */
};

void cairn_auth_prove(uint8_t proof[CAIRN_PROOF_BYTES], const uint8_t key[CAIRN_KEY_BYTES],
                      const struct cairn_auth_transcript *t, bool from_server);
bool cairn_auth_check(const uint8_t *proof, size_t n, const uint8_t key[CAIRN_KEY_BYTES],
                      const struct cairn_auth_transcript *t, bool from_server);

/** A key for one purpose alone, so that what is proved with it proves nothing elsewhere. @purpose is a fixed text,
 * @context tells its users apart. */
void cairn_auth_derive(uint8_t to[CAIRN_KEY_BYTES], const uint8_t key[CAIRN_KEY_BYTES], const char *purpose,
                       const void *context, size_t n);
/** A short code over @n bytes, for packets (libsodium crypto_generichash: BLAKE2b with a key). */
enum { CAIRN_MAC_BYTES = 16 };
void cairn_auth_mac(uint8_t mac[CAIRN_MAC_BYTES], const uint8_t key[CAIRN_KEY_BYTES], const void *p, size_t n);

/** Fills with unpredictable bytes. */
void cairn_auth_random(void *to, size_t n);
/** Comparison in constant time. */
bool cairn_auth_equal(const void *a, const void *b, size_t n);
void cairn_auth_forget(void *secret, size_t n);

/** Reads a cluster key: CAIRN_KEY_BYTES as hexadecimal digits in a file that only its owner may read (CAIRN_E_DENIED
 * otherwise, CAIRN_E_NOTFOUND, CAIRN_E_FORMAT), owned by the caller or root; root may read anybody's. */
int cairn_auth_key_read(const char *path, uint8_t key[CAIRN_KEY_BYTES], struct cairn_err *err);
/** As cairn_auth_key_read(), for a node: also root refuses a key that is another user's, who would know it. */
int cairn_auth_key_read_own(const char *path, uint8_t key[CAIRN_KEY_BYTES], struct cairn_err *err);
/** Makes one, mode 0600; CAIRN_E_EXISTS if the file is there. */
int cairn_auth_key_create(const char *path, struct cairn_err *err);

enum { CAIRN_MUNGE_SOCKET_MAX = 108 }; /* as sun_path */

/** MUNGE, if it was built in and its daemon runs. @socket "": where the library expects the daemon. @credential is
 * malloc'ed. Both block for some 40 us, or until the daemon's time-out. */
bool cairn_auth_munge_is_available(const char *socket);
int cairn_auth_munge_encode(const char *socket, const struct cairn_auth_transcript *t, char **credential,
                            struct cairn_err *err);
/** Checks that @credential is fresh, not a replay and holds @t. */
int cairn_auth_munge_decode(const char *socket, const char *credential, const struct cairn_auth_transcript *t,
                            uid_t *uid, gid_t *gid, struct cairn_err *err);

#endif
