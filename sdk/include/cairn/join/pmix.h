/** The nodes of a job's ranks become one group, by PMIx, which launchers (Slurm, PRRTE, Open MPI's mpirun) offer to any
 * process they start, whether it uses MPI or not. Link with libcairn-join-pmix. As cairn/join/mpi.h otherwise;
 * deploy/jobs/group-pmix is an example. */
#ifndef CAIRN_JOIN_PMIX_H
#define CAIRN_JOIN_PMIX_H

#include "cairn/group.h"

#include <pmix.h>

#ifdef __cplusplus
extern "C" {
#endif

/** As cairn_group_join_mpi(). Every one of the @n processes @ranks calls it, with the same list in the same order,
 * after its PMIx_Init(); NULL and 0: all of the job. Not from a callback of PMIx. A process calls it once at a time.
 *   CAIRN_E_STATE    PMIx_Init() was not called
 *   CAIRN_E_INVAL    the caller is not one of @ranks; or as there
 *   CAIRN_E_TIMEOUT  as there; if not all called, the same @ranks cannot try again
 *   CAIRN_E_IO       PMIx failed */
CAIRN_API int cairn_group_join_pmix(struct cairn *c, const char *provider, const pmix_proc_t *ranks, size_t n,
                                    const struct cairn_call_options *o);

#ifdef __cplusplus
}
#endif
#endif
