/* Puts that are running when their node is told to stop: the witness of test_lifecycle.py. The values go by pieces in
 * frames, which this client hands out only while it drives its calls; so the requests last until it is told to go on.
 *
 *      drain_client ADDRESS NAMESPACE COUNT BYTES
 *
 * Turns its loop once for each line that is not "go", and says "sent" after each turn; then carries the calls out and writes
 * a line with the name of each result. */
#include "cairn/hashed.h"

#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { COUNT_MAX = 64, ANSWER_MS = 20000 };

struct put {
    char key[16];
    bool over;
    int rc;
};

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
    static struct put all[COUNT_MAX];
    struct cairn *c;
    struct cairn_ns *ns;
    size_t count, len;
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
    for (size_t i = 0; i < count; i++) {
        snprintf(all[i].key, sizeof(all[i].key), "k%02zu", i);
        if (cairn_put_async(ns, all[i].key, strlen(all[i].key), value, len, NULL, on_put, &all[i]) != 0)
            errx(1, "put");
    }
    do { /* a turn for each line but "go": until whoever asks has seen the requests run */
        cairn_poll(c, 1);
        printf("sent\n");
        fflush(stdout);
        if (fgets(line, sizeof(line), stdin) == NULL)
            errx(1, "nobody said to go on");
    } while (strcmp(line, "go\n") != 0);
    for (size_t i = 0; i < count; i++) {
        if (all[i].over)
            errx(1, "put %zu was over before", i);
    }
    if (cairn_drain(c, ANSWER_MS) != 0)
        errx(1, "no answer");
    for (size_t i = 0; i < count; i++)
        printf("%s %s\n", all[i].key, all[i].rc == 0 ? "ok" : cairn_error_name(all[i].rc));
    cairn_ns_close(ns);
    cairn_close(c);
    free(value);
    return 0;
}
