/* Proof of identity: see auth.h. */
#include "sdk/core/rpc/auth.h"

#include "sdk/core/base/macros.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#if CAIRN_WITH_MUNGE
#include <munge.h>
#endif

_Static_assert(CAIRN_KEY_BYTES == crypto_auth_KEYBYTES, "the key is libsodium's");
_Static_assert(CAIRN_PROOF_BYTES == crypto_auth_BYTES, "the proof is libsodium's");

struct transcript_bytes {
    char label[32];
    uint8_t cluster_id[CAIRN_CLUSTER_ID_BYTES];
    uint8_t client_nonce[CAIRN_NONCE_BYTES], server_nonce[CAIRN_NONCE_BYTES];
    char node[CAIRN_NODE_NAME_MAX];
};

static void transcript_fill(struct transcript_bytes *b, const struct cairn_auth_transcript *t, bool from_server)
{
    memset(b, 0, sizeof(*b));
    snprintf(b->label, sizeof(b->label), "cairn hello 2 %s%s", from_server ? "server" : "client",
             t->unix_socket ? " unix" : "");
    memcpy(b->cluster_id, t->cluster_id, sizeof(b->cluster_id));
    memcpy(b->client_nonce, t->client_nonce, sizeof(b->client_nonce));
    memcpy(b->server_nonce, t->server_nonce, sizeof(b->server_nonce));
    /* what lies behind the end of the name is no part of it */
    memccpy(b->node, t->node, '\0', sizeof(b->node));
}

void cairn_auth_prove(uint8_t proof[CAIRN_PROOF_BYTES], const uint8_t key[CAIRN_KEY_BYTES],
                      const struct cairn_auth_transcript *t, bool from_server)
{
    struct transcript_bytes b;

    transcript_fill(&b, t, from_server);
    crypto_auth(proof, (const unsigned char *)&b, sizeof(b), key);
}

bool cairn_auth_check(const uint8_t *proof, size_t n, const uint8_t key[CAIRN_KEY_BYTES],
                      const struct cairn_auth_transcript *t, bool from_server)
{
    struct transcript_bytes b;

    transcript_fill(&b, t, from_server);
    return n == CAIRN_PROOF_BYTES && crypto_auth_verify(proof, (const unsigned char *)&b, sizeof(b), key) == 0;
}

void cairn_auth_derive(uint8_t to[CAIRN_KEY_BYTES], const uint8_t key[CAIRN_KEY_BYTES], const char *purpose,
                       const void *context, size_t n)
{
    crypto_generichash_state s;

    crypto_generichash_init(&s, key, CAIRN_KEY_BYTES, CAIRN_KEY_BYTES);
    crypto_generichash_update(&s, (const unsigned char *)purpose, strlen(purpose) + 1);
    crypto_generichash_update(&s, context, n);
    crypto_generichash_final(&s, to, CAIRN_KEY_BYTES);
    sodium_memzero(&s, sizeof(s));
}

void cairn_auth_mac(uint8_t mac[CAIRN_MAC_BYTES], const uint8_t key[CAIRN_KEY_BYTES], const void *p, size_t n)
{
    crypto_generichash(mac, CAIRN_MAC_BYTES, p, n, key, CAIRN_KEY_BYTES);
}

void cairn_auth_random(void *to, size_t n)
{
    randombytes_buf(to, n);
}

bool cairn_auth_equal(const void *a, const void *b, size_t n)
{
    return sodium_memcmp(a, b, n) == 0;
}

void cairn_auth_forget(void *secret, size_t n)
{
    sodium_memzero(secret, n);
}

/* Root's own with mode 0440 is what systemd's copy of a credential looks like where an access list, whose mask stands
 * in the group's bits, lets the service's user read it. */
static bool others_may_read(const struct stat *st)
{
    return (st->st_mode & 077) != 0 && !((st->st_mode & 07777) == 0440 && st->st_uid == 0 && st->st_gid == 0);
}

static int key_read(const char *path, bool own, uint8_t key[CAIRN_KEY_BYTES], struct cairn_err *err)
{
    char hex[CAIRN_KEY_BYTES * 2 + 8] = { 0 };
    struct stat st;
    size_t n = 0;
    ssize_t r;
    int rc, fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

    if (fd < 0)
        return cairn_err_errno(err, errno, "cluster key %s", path);
    if (fstat(fd, &st) != 0) {
        rc = cairn_err_errno(err, errno, "cluster key %s", path);
        goto out;
    }
    if (!S_ISREG(st.st_mode) || others_may_read(&st)) {
        rc = cairn_err_set(err, CAIRN_E_DENIED, "cluster key %s: mode %04o lets others read it; `chmod 600 %s`", path,
                           st.st_mode & 07777, path);
        goto out;
    }
    if (st.st_uid != geteuid() && st.st_uid != 0 && (own || geteuid() != 0)) {
        rc = cairn_err_set(err, CAIRN_E_DENIED, "cluster key %s belongs to user %u", path, (unsigned)st.st_uid);
        goto out;
    }
    r = read(fd, hex, sizeof(hex) - 1);
    if (r < 0) {
        rc = cairn_err_errno(err, errno, "cluster key %s", path);
        goto out;
    }
    if (r < CAIRN_KEY_BYTES * 2 ||
        sodium_hex2bin(key, CAIRN_KEY_BYTES, hex, CAIRN_KEY_BYTES * 2, NULL, &n, NULL) != 0 || n != CAIRN_KEY_BYTES ||
        (r > CAIRN_KEY_BYTES * 2 && hex[CAIRN_KEY_BYTES * 2] != '\n'))
        rc = cairn_err_set(err, CAIRN_E_FORMAT, "cluster key %s: expected %d hexadecimal digits", path,
                           CAIRN_KEY_BYTES * 2);
    else
        rc = 0;
out:
    cairn_auth_forget(hex, sizeof(hex));
    close(fd);
    return rc;
}

int cairn_auth_key_read(const char *path, uint8_t key[CAIRN_KEY_BYTES], struct cairn_err *err)
{
    return key_read(path, false, key, err);
}

int cairn_auth_key_read_own(const char *path, uint8_t key[CAIRN_KEY_BYTES], struct cairn_err *err)
{
    return key_read(path, true, key, err);
}

int cairn_auth_key_create(const char *path, struct cairn_err *err)
{
    uint8_t key[CAIRN_KEY_BYTES];
    char hex[CAIRN_KEY_BYTES * 2 + 2];
    int rc = 0, fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);

    if (fd < 0)
        return cairn_err_errno(err, errno, "cluster key %s", path);
    randombytes_buf(key, sizeof(key));
    sodium_bin2hex(hex, sizeof(hex) - 1, key, sizeof(key));
    hex[CAIRN_KEY_BYTES * 2] = '\n';
    if (write(fd, hex, CAIRN_KEY_BYTES * 2 + 1) != CAIRN_KEY_BYTES * 2 + 1 || fsync(fd) != 0) {
        rc = cairn_err_errno(err, errno != 0 ? errno : EIO, "cluster key %s", path);
        unlink(path);
    }
    close(fd);
    cairn_auth_forget(key, sizeof(key));
    cairn_auth_forget(hex, sizeof(hex));
    return rc;
}

#if CAIRN_WITH_MUNGE

static munge_ctx_t munge_context(const char *socket)
{
    munge_ctx_t ctx = munge_ctx_create();

    if (ctx != NULL && socket[0] != '\0' && munge_ctx_set(ctx, MUNGE_OPT_SOCKET, socket) != EMUNGE_SUCCESS) {
        munge_ctx_destroy(ctx);
        ctx = NULL;
    }
    return ctx;
}

bool cairn_auth_munge_is_available(const char *socket)
{
    munge_ctx_t ctx = munge_context(socket);
    char *path = NULL;
    bool there;

    if (ctx == NULL)
        return false;
    there = munge_ctx_get(ctx, MUNGE_OPT_SOCKET, &path) == EMUNGE_SUCCESS && access(path, F_OK) == 0;
    munge_ctx_destroy(ctx);
    return there;
}

int cairn_auth_munge_encode(const char *socket, const struct cairn_auth_transcript *t, char **credential,
                            struct cairn_err *err)
{
    munge_ctx_t ctx = munge_context(socket);
    struct transcript_bytes b;
    munge_err_t e;

    if (ctx == NULL)
        return cairn_err_set(err, CAIRN_E_NOMEM, "MUNGE: no context");
    transcript_fill(&b, t, false);
    e = munge_encode(credential, ctx, &b, sizeof(b));
    munge_ctx_destroy(ctx);
    if (e != EMUNGE_SUCCESS)
        return cairn_err_set(err, CAIRN_E_AUTH, "MUNGE: %s", munge_strerror(e));
    return 0;
}

int cairn_auth_munge_decode(const char *socket, const char *credential, const struct cairn_auth_transcript *t,
                            uid_t *uid, gid_t *gid, struct cairn_err *err)
{
    munge_ctx_t ctx = munge_context(socket);
    struct transcript_bytes b;
    void *payload = NULL;
    int n = 0, rc = 0;
    munge_err_t e;

    if (ctx == NULL)
        return cairn_err_set(err, CAIRN_E_NOMEM, "MUNGE: no context");
    transcript_fill(&b, t, false);
    e = munge_decode(credential, ctx, &payload, &n, uid, gid);
    munge_ctx_destroy(ctx);
    if (e != EMUNGE_SUCCESS)
        rc = cairn_err_set(err, CAIRN_E_AUTH, "MUNGE: %s", munge_strerror(e));
    else if (n != (int)sizeof(b) || sodium_memcmp(payload, &b, sizeof(b)) != 0)
        rc = cairn_err_set(err, CAIRN_E_AUTH, "MUNGE: the credential was made for another session");
    free(payload);
    return rc;
}

#else

bool cairn_auth_munge_is_available(const char *socket)
{
    (void)socket;
    return false;
}

int cairn_auth_munge_encode(const char *socket, const struct cairn_auth_transcript *t, char **credential,
                            struct cairn_err *err)
{
    (void)socket;
    (void)t;
    (void)credential;
    return cairn_err_set(err, CAIRN_E_UNSUPPORTED, "built without MUNGE");
}

int cairn_auth_munge_decode(const char *socket, const char *credential, const struct cairn_auth_transcript *t,
                            uid_t *uid, gid_t *gid, struct cairn_err *err)
{
    (void)socket;
    (void)credential;
    (void)t;
    (void)uid;
    (void)gid;
    return cairn_err_set(err, CAIRN_E_UNSUPPORTED, "built without MUNGE");
}

#endif
