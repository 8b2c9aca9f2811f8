/* Proofs: bound to key, direction and session; key files: checked. */
#include "sdk/core/rpc/auth.h"
#include "tests/lib/scratch.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static void a_proof_is_good_once_and_one_way(void **state)
{
    struct cairn_auth_transcript t, other;
    uint8_t key[CAIRN_KEY_BYTES], proof[CAIRN_PROOF_BYTES];

    (void)state;
    cairn_auth_random(key, sizeof(key));
    cairn_auth_random(&t, offsetof(struct cairn_auth_transcript, unix_socket));
    t.unix_socket = false;
    cairn_auth_prove(proof, key, &t, false);
    assert_true(cairn_auth_check(proof, sizeof(proof), key, &t, false));
    assert_false(cairn_auth_check(proof, sizeof(proof), key, &t, true)); /* reflected */
    assert_false(cairn_auth_check(proof, sizeof(proof) - 1, key, &t, false));
    assert_false(cairn_auth_check(NULL, 0, key, &t, false));
    other = t;
    other.server_nonce[0] ^= 1; /* replayed to a later session */
    assert_false(cairn_auth_check(proof, sizeof(proof), key, &other, false));
    other = t;
    other.cluster_id[15] ^= 1; /* carried to another cluster */
    assert_false(cairn_auth_check(proof, sizeof(proof), key, &other, false));
    other = t;
    other.node[0] ^= 1; /* carried to another node */
    assert_false(cairn_auth_check(proof, sizeof(proof), key, &other, false));
    other = t;
    other.unix_socket = true; /* carried by who sits at a socket to a TCP address, or back */
    assert_false(cairn_auth_check(proof, sizeof(proof), key, &other, false));
    key[0] ^= 1;
    assert_false(cairn_auth_check(proof, sizeof(proof), key, &t, false));
}

static void key_files_are_checked(void **state)
{
    char dir[SCRATCH_MAX], path[SCRATCH_MAX + 8], link_path[SCRATCH_MAX + 8];
    uint8_t a[CAIRN_KEY_BYTES], b[CAIRN_KEY_BYTES];
    struct cairn_err err = { 0 };
    struct stat st;
    int fd;

    (void)state;
    scratch_new(dir);
    snprintf(path, sizeof(path), "%s/k", dir);
    snprintf(link_path, sizeof(link_path), "%s/l", dir);
    assert_int_equal(cairn_auth_key_read(path, a, &err), CAIRN_E_NOTFOUND);
    assert_int_equal(cairn_auth_key_create(path, &err), 0);
    assert_int_equal(cairn_auth_key_create(path, &err), CAIRN_E_EXISTS);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(cairn_auth_key_read(path, a, &err), 0);
    assert_int_equal(cairn_auth_key_read(path, b, &err), 0);
    assert_memory_equal(a, b, sizeof(a));
    assert_int_equal(symlink(path, link_path), 0);
    assert_true(cairn_auth_key_read(link_path, b, &err) < 0);
    assert_int_equal(chmod(path, 0640), 0);
    assert_int_equal(cairn_auth_key_read(path, b, &err), CAIRN_E_DENIED);
    assert_int_equal(chmod(path, 0440), 0); /* a credential of systemd's, if it is root's */
    assert_int_equal(cairn_auth_key_read(path, b, &err), geteuid() == 0 && getegid() == 0 ? 0 : CAIRN_E_DENIED);
    if (geteuid() == 0 && chown(path, 0, 1) == 0) {
        assert_int_equal(cairn_auth_key_read(path, b, &err), CAIRN_E_DENIED);
        assert_int_equal(chown(path, 0, 0), 0);
    }
    assert_non_null(strstr(err.text, "chmod 600"));
    assert_int_equal(chmod(path, 0600), 0);
    fd = open(path, O_WRONLY | O_TRUNC);
    assert_int_equal(write(fd, "abc\n", 4), 4);
    close(fd);
    assert_int_equal(cairn_auth_key_read(path, b, &err), CAIRN_E_FORMAT);
    scratch_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(a_proof_is_good_once_and_one_way),
                                        cmocka_unit_test(key_files_are_checked) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
