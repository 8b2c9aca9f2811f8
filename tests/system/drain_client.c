/* Puts that are running when their node is told to stop: the witness of test_lifecycle.py. The values go by pieces in
 * frames, and this client holds back whatever the node asks of them until it is told to go on: so no put can be over
 * before, however fast either side is.
 *
 *      drain_client ADDRESS NAMESPACE COUNT BYTES
 *
 * Starts the puts, waits for the line "go", gives the pieces out and writes a line with the name of each result. */
#include "cairn/hashed.h"
#include "sdk/client/client_internal.h"
#include "sdk/core/bulk/bulk_internal.h"

#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { COUNT_MAX = 64, ANSWER_MS = 20000, HELD_MAX = 256 };

struct put {
    char key[16];
    bool over;
    int rc;
};

static struct put all[COUNT_MAX];
static size_t count;

/* All on the thread of the SDK, which runs the handler. */
static struct cairn_rpc_req *held[HELD_MAX];
static size_t nheld, nasked;
static bool told_to_go;

/* Instead of the one of bulk_frames.c, by the linker's --wrap. */
void __wrap_cairn_bulk__on_read(struct cairn_rpc_req *rq);
void __real_cairn_bulk__on_read(struct cairn_rpc_req *rq);

void __wrap_cairn_bulk__on_read(struct cairn_rpc_req *rq)
{
    nasked++;
    if (told_to_go)
        __real_cairn_bulk__on_read(rq);
    else if (nheld < HELD_MAX) /* a client's credits are fewer */
        held[nheld++] = rq;
    else
        errx(1, "the node asks for more than it has credits for");
}

static int go_on(struct cairn *c, void *arg)
{
    (void)c;
    (void)arg;
    for (size_t i = 0; i < count; i++) {
        if (all[i].over)
            errx(1, "put %zu was over before: %s", i, cairn_error_name(all[i].rc));
    }
    told_to_go = true;
    for (size_t i = 0; i < nheld; i++)
        __real_cairn_bulk__on_read(held[i]);
    return 0;
}

static void on_put(void *arg, int rc)
{
    struct put *p = arg;

    p->over = true;
    p->rc = rc;
}

int main(int argc, char **argv)
{
    struct cairn_options o = CAIRN_OPTIONS_INIT;
    struct cairn_error_info e;
    struct cairn *c;
    struct cairn_ns *ns;
    size_t len;
    char line[8], *value;

    if (argc != 5 || (count = strtoul(argv[3], NULL, 10)) > COUNT_MAX)
        errx(2, "usage: drain_client ADDRESS NAMESPACE COUNT BYTES");
    len = strtoul(argv[4], NULL, 10);
    value = malloc(len + 1);
    if (value == NULL)
        err(1, "memory");
    memset(value, 'v', len);
    o.addresses = argv[1];
    o.flags = CAIRN_CONNECT_NO_VM | CAIRN_CONNECT_NO_FABRIC;
    if (cairn_connect(&o, &c, &e) != 0 || cairn_ns_open(c, argv[2], &ns, NULL) != 0)
        errx(1, "no node: %s", e.text);
    if (cairn_start_thread(c) != 0)
        errx(1, "no thread");
    for (size_t i = 0; i < count; i++) {
        snprintf(all[i].key, sizeof(all[i].key), "k%02u", (unsigned)i);
        if (cairn_put_async(ns, all[i].key, strlen(all[i].key), value, len, NULL, on_put, &all[i]) != 0)
            errx(1, "put");
    }
    if (fgets(line, sizeof(line), stdin) == NULL || strcmp(line, "go\n") != 0)
        errx(1, "nobody said to go on");
    cairn__on_loop(c, go_on, NULL);
    if (cairn_drain(c, ANSWER_MS) != 0)
        errx(1, "no answer");
    if (nasked == 0)
        errx(1, "nothing was asked for: the values do not go by frames");
    for (size_t i = 0; i < count; i++)
        printf("%s %s\n", all[i].key, all[i].rc == 0 ? "ok" : cairn_error_name(all[i].rc));
    cairn_ns_close(ns);
    cairn_close(c);
    free(value);
    return 0;
}
