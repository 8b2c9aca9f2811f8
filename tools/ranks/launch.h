/** The job that this process is a rank of, by MPI or by PMIx. */
#ifndef CAIRN_TOOLS_LAUNCH_H
#define CAIRN_TOOLS_LAUNCH_H

#include "cairn/group.h"

extern const char launch_name[]; /* "mpi" */

/** Returns the rank; ends the process if there is no job. */
int launch_begin(int *argc, char ***argv);
int launch_join(struct cairn *c, const char *provider, const struct cairn_call_options *o);
/** Until all ranks have come here: as long as the job's commands run. */
void launch_meet(void);
/** @rc: what launch_join() gave. If not all ranks came, the job is ended. */
void launch_end(int rc);

#endif
