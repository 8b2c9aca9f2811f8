/* By PMIx: see launch.h. */
#include "cairn/join/pmix.h"
#include "tools/ranks/launch.h"

#include <stdio.h>
#include <stdlib.h>

const char launch_name[] = "pmix";

int launch_begin(int *argc, char ***argv)
{
    pmix_proc_t me;
    pmix_status_t rc = PMIx_Init(&me, NULL, 0);

    (void)argc;
    (void)argv;
    if (rc != PMIX_SUCCESS) {
        fprintf(stderr, "cairn-ranks-pmix: PMIx_Init: %s (was it started by a launcher that has PMIx?)\n",
                PMIx_Error_string(rc));
        exit(1);
    }
    return (int)me.rank;
}

int launch_join(struct cairn *c, const char *provider, const struct cairn_call_options *o)
{
    return cairn_group_join_pmix(c, provider, NULL, 0, o);
}

void launch_meet(void)
{
    PMIx_Fence(NULL, 0, NULL, 0);
}

void launch_end(int rc)
{
    (void)rc; /* the exit code tells the launcher */
    PMIx_Finalize(NULL, 0);
}
