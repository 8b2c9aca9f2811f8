/* In the place of map_store_etcd.c in a build without libcurl. */
#include "server/cluster/map_store_etcd.h"

const struct cairn_sm_kind *const cairn_map_etcd_kinds[] = { NULL };

int cairn_map_store_etcd_open(const struct cairn_map_etcd_conf *conf, struct cairn_loop *home,
                              struct cairn_map_store **out, struct cairn_err *err)
{
    (void)conf;
    (void)home;
    (void)out;
    return cairn_err_set(err, CAIRN_E_UNSUPPORTED, "this build cannot use etcd (CAIRN_WITH_ETCD)");
}
