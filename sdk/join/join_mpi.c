/* Cards by MPI: an allgather that is waited for by looking now and then, since its own waiting would neither end nor
 * leave the core to the node. */
#include "cairn/join/mpi.h"
#include "sdk/join/ranks.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { LOOK_NS = 1000000 };

/* Memory that MPI may still write to when the time is over: it cannot be asked to stop. */
struct flight {
    struct flight *next;
    struct cairn_card mine;
    struct cairn_card all[];
};
static _Thread_local struct flight *given_up; /* kept in sight of leak checkers; a job that fails so ends soon */

static int fail(struct cairn_error_info *error, int rc)
{
    char text[MPI_MAX_ERROR_STRING] = "?";
    int n;

    MPI_Error_string(rc, text, &n);
    return cairn_ranks_fail(error, CAIRN_E_IO, "MPI: %.300s", text);
}

static int exchange(void *arg, const struct cairn_card *mine, struct cairn_card *all, uint64_t deadline_ns,
                    struct cairn_error_info *error)
{
    MPI_Comm comm = *(MPI_Comm *)arg;
    MPI_Request request;
    struct flight *f;
    int size, over = 0, rc;

    MPI_Comm_size(comm, &size);
    f = malloc(sizeof(*f) + (size_t)size * sizeof(f->all[0]));
    if (f == NULL)
        return cairn_ranks_fail(error, CAIRN_E_NOMEM, "no memory for %d ranks", size);
    f->mine = *mine;
    rc = MPI_Iallgather(&f->mine, (int)sizeof(f->mine), MPI_BYTE, f->all, (int)sizeof(f->mine), MPI_BYTE, comm,
                        &request);
    while (rc == MPI_SUCCESS && (rc = MPI_Test(&request, &over, MPI_STATUS_IGNORE)) == MPI_SUCCESS && !over) {
        if (cairn_ranks_now_ns() >= deadline_ns) {
            f->next = given_up;
            given_up = f;
            return CAIRN_E_TIMEOUT;
        }
        nanosleep(&(struct timespec){ .tv_nsec = LOOK_NS }, NULL);
    }
    if (rc == MPI_SUCCESS)
        memcpy(all, f->all, (size_t)size * sizeof(f->all[0]));
    free(f);
    return rc == MPI_SUCCESS ? 0 : fail(error, rc);
}

int cairn_group_join_mpi(struct cairn *c, const char *provider, MPI_Comm comm, const struct cairn_call_options *o)
{
    struct cairn_ranks r = { .exchange = exchange, .arg = &comm };
    int rank, size;

    MPI_Comm_rank(comm, &rank);
    MPI_Comm_size(comm, &size);
    r.rank = (uint32_t)rank;
    r.size = (uint32_t)size;
    return cairn_ranks_join(c, provider, &r, o);
}
