/* The map without a node: see map_keeper.h. */
#include "server/node/map_keeper.h"

#include "server/cluster/map_ids.h"
#include "server/cluster/map_image.h"
#include "server/router/router.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static void keeper_close(struct cairn_map_keeper *k)
{
    if (k->store != NULL)
        cairn_map_store_close(k->store);
    if (k->pool != NULL)
        cairn_pool_free(k->pool);
    if (k->has_loop)
        cairn_loop_fini(&k->loop);
    cairn_datadir_close(&k->data);
    cairn_node_conf_free(&k->conf);
    free(k);
}

int cairn_node__keeper_open(struct cairn_map_keeper **out, const struct cairn_server_options *options, char *text,
                            size_t text_len, struct cairn_err *err)
{
    struct cairn_map_keeper *k = *out = calloc(1, sizeof(*k));
    int rc;

    if (text != NULL && text_len > 0)
        text[0] = '\0';
    if (k == NULL)
        return cairn_err_set(err, CAIRN_E_NOMEM, "map");
    k->data.lock_fd = -1;
    rc = cairn_node__read_conf(&k->conf, options, text, text_len, err);
    if (rc == 0)
        rc = cairn_loop_init(&k->loop, NULL, err);
    k->has_loop = rc == 0;
    return rc;
}

static void on_read(struct cairn_map_op *op)
{
    *(bool *)op->arg = true;
}

int cairn_node__keeper_read_store(struct cairn_map_keeper *k, struct cairn_map_table *t, uint64_t *revision,
                                  struct cairn_err *err)
{
    bool done = false;
    struct cairn_map_read r = { .op = { .done = on_read, .arg = &done, .timeout_ms = k->conf.map_timeout_ms },
                                .prefix = "" };

    cairn_map_store_read(k->store, &r);
    while (!done) /* it has a deadline */
        cairn_loop_turn(&k->loop, CAIRN_NS_PER_S);
    *t = r.table;
    *revision = r.op.revision;
    if (r.op.rc != 0)
        *err = r.op.err;
    return r.op.rc;
}

int cairn_node__keeper_read(struct cairn_map_keeper *k, struct cairn_map_table *t, uint64_t *revision,
                            struct cairn_err *err)
{
    char dir[4096];
    int rc;

    if (!k->conf.map_etcd) {
        if (k->conf.data[0] == '\0')
            return cairn_err_set(err, CAIRN_E_INVAL, "no data directory is named (node.data, --data)");
        snprintf(dir, sizeof(dir), "%s/router", k->conf.data);
        rc = cairn_map_file_init(&k->file, dir, err);
        if (rc == 0 && access(k->file.path, R_OK) != 0)
            rc = cairn_err_errno(err, errno, "%s", k->file.path);
        return rc == 0 ? cairn_map_image_load(&k->file, t, revision, err) : rc;
    }
    rc = cairn_node__open_etcd(&k->conf, &k->loop, NULL, NULL, &k->store, err);
    return rc == 0 ? cairn_node__keeper_read_store(k, t, revision, err) : rc;
}

int cairn_node__keeper_own(struct cairn_map_keeper *k, struct cairn_err *err)
{
    char dir[4096];
    int rc = 0;

    if (k->conf.data[0] != '\0')
        rc = cairn_datadir_open(&k->data, k->conf.data, k->conf.cluster, err);
    else if (!k->conf.map_etcd)
        rc = cairn_err_set(err, CAIRN_E_INVAL, "no data directory is named (node.data, --data)");
    if (rc != 0)
        return cairn_err_wrap(err, rc, "the node must be stopped");
    if (k->conf.map_etcd)
        return cairn_node__open_etcd(&k->conf, &k->loop, NULL, NULL, &k->store, err);
    k->pool = cairn_pool_new(1, 16, err);
    rc = k->pool != NULL ? cairn_datadir_sub(&k->data, "router", dir, sizeof(dir), err) : err->code;
    return rc == 0 ? cairn_map_store_local_open(dir, k->pool, &k->loop, &k->store, err) : rc;
}

int cairn_node__keeper_finish(struct cairn_map_keeper *k, int rc, const struct cairn_err *err, char *text,
                              size_t text_len)
{
    if (rc != 0 && text != NULL && text_len > 0 && text[0] == '\0')
        snprintf(text, text_len, "%s", err->text);
    if (k != NULL)
        keeper_close(k);
    return rc;
}

int cairn_node__make_movable(struct cairn_map_table *t, struct cairn_err *err)
{
    struct cairn_map_ids ids = cairn_map_ids_in(t);
    int rc = 0;

    for (uint32_t i = 0; rc == 0 && i < t->n; i++) {
        struct cairn_map_entry e = t->nodes[i]->e;
        struct cairn_map_node *n;
        uint8_t *value;

        rc = cairn_router_map_entry(&e, &ids, &value, &e.value_len, err);
        if (rc != 0 || value == NULL)
            continue;
        e.value = value;
        n = cairn_map_node_new(&e);
        free(value);
        if (n == NULL)
            return cairn_err_set(err, CAIRN_E_NOMEM, "map entries");
        cairn_map_table_set(t, n);
        cairn_map_node_put(n);
    }
    return rc;
}
