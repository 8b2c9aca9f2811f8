/* By MPI: see launch.h. */
#include "cairn/join/mpi.h"
#include "tools/ranks/launch.h"

#include <time.h>

const char launch_name[] = "mpi";

int launch_begin(int *argc, char ***argv)
{
    int rank;

    MPI_Init(argc, argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    return rank;
}

int launch_join(struct cairn *c, const char *provider, const struct cairn_call_options *o)
{
    return cairn_group_join_mpi(c, provider, MPI_COMM_WORLD, o);
}

/* MPI's own waiting would take the core from the node and the command. */
void launch_meet(void)
{
    MPI_Request request;
    int over = 0;

    MPI_Ibarrier(MPI_COMM_WORLD, &request);
    while (MPI_Test(&request, &over, MPI_STATUS_IGNORE) == MPI_SUCCESS && !over)
        nanosleep(&(struct timespec){ .tv_nsec = 10000000 }, NULL);
}

/* MPI's own end waits for all ranks. */
void launch_end(int rc)
{
    if (rc == CAIRN_E_TIMEOUT)
        MPI_Abort(MPI_COMM_WORLD, 1);
    MPI_Finalize();
}
