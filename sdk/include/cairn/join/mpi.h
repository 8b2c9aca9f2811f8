/** The nodes of an MPI job's ranks become one group. Link with libcairn-join-mpi.
 *
 *      MPI_Init(&argc, &argv);
 *      ... each rank starts a node (cairn/server.h) or finds one beside it, and connects to it ...
 *      if (cairn_group_join_mpi(c, NULL, MPI_COMM_WORLD, &options) != 0)
 *          errx(1, "%s", error.text);
 *
 * The nodes need one cluster id and one cluster key (node.cluster, auth.key_file), and each a group provider; where
 * they listen does not matter, so port 0 will do: deploy/jobs/group-mpi is an example. */
#ifndef CAIRN_JOIN_MPI_H
#define CAIRN_JOIN_MPI_H

#include "cairn/group.h"

#include <mpi.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Tells the node of @c, an administrator's client, the addresses of the other ranks' nodes, and waits until it sees
 * all of them alive in the group of @provider (NULL: its first one). Collective: every rank of @comm calls it, in the
 * same order as other collective calls, on a thread that may call MPI, and all get the same result; the text says
 * which rank's it is. @c may be NULL: this rank has no node after all, and all are told (CAIRN_E_UNREACHABLE). From
 * @o it takes the time (0: 30 s) and the place for the error.
 *   CAIRN_E_EXISTS   two ranks' nodes have one name
 *   CAIRN_E_INVAL    they are in groups of different names
 *   CAIRN_E_TIMEOUT  not all ranks called, or not all nodes see each other, within the time. If not all called, @comm
 *   is
 *                    of no use any more.
 *   CAIRN_E_IO       MPI failed, if its errors return at all
 * and whatever cairn_members() and cairn_group_join() may give at any rank. */
CAIRN_API int cairn_group_join_mpi(struct cairn *c, const char *provider, MPI_Comm comm,
                                   const struct cairn_call_options *o);

#ifdef __cplusplus
}
#endif
#endif
