/* Every kind of state machine of this folder, for those who show or check them. */
#include "sdk/core/rpc/rpc_internal.h"
#include "sdk/core/rpc/session.h"

const struct cairn_sm_kind *const cairn_rpc_kinds[] = { &cairn_rpc_call_kind, &cairn_rpc_req_kind, &cairn_rpc_peer_kind,
                                                        &cairn_rpc_session_kind, NULL };
