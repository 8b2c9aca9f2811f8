/* A node's map moves from its own file to etcd: everything is looked at before anything is changed, what is there is
 * compared with what was to come, and only then the file is put aside, so that a node which still is configured for it
 * says so instead of serving a map that is left behind. What broke off is repeated: an entry that is there already is
 * left alone, and until the file is put aside the map is where it was. */
#include "cairn/server.h"
#include "server/cluster/map_dump.h"
#include "server/cluster/map_identity.h"
#include "server/cluster/map_ids.h"
#include "server/cluster/map_image.h"
#include "server/node/map_keeper.h"

#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { MOVE_MS_MAX = 600000 };

struct move {
    struct cairn_map_keeper *k;
    struct cairn_map_file file;
    struct cairn_map_table t, there;
    uint64_t revision;
    uint32_t namespaces, entries, stored;
    bool was_moved; /* an earlier time */
    bool is_told;   /* the configuration does not say yet where the map is to be */
};

static bool is_movable(const struct cairn_map_table *t, uint32_t i)
{
    return t->nodes[i]->e.lease == 0;
}

static bool is_namespace(const struct cairn_map_table *t, uint32_t i)
{
    return strncmp(t->nodes[i]->e.key, "ns/", 3) == 0;
}

int cairn_node__check_no_own_map(const char *data, struct cairn_err *err)
{
    struct cairn_map_table t = { 0 };
    struct cairn_map_file f;
    char dir[PATH_MAX];
    uint64_t revision;
    uint32_t n = 0;
    int rc;

    if (snprintf(dir, sizeof(dir), "%s/router", data) >= (int)sizeof(dir))
        return cairn_err_set(err, CAIRN_E_INVAL, "%s: the path is too long", data);
    rc = cairn_map_file_init(&f, dir, err);
    if (rc == 0 && access(f.path, F_OK) == 0)
        rc = cairn_map_image_load(&f, &t, &revision, err);
    for (uint32_t i = 0; rc == 0 && i < t.n; i++)
        n += is_namespace(&t, i);
    cairn_map_table_fini(&t);
    if (n == 0) /* one that cannot be read is nothing that etcd needs */
        return 0;
    return cairn_err_set(err, CAIRN_E_CONFIG,
                         "map: %s has %u namespaces, and the configuration says `map.store: etcd`, where they are not "
                         "looked for: `cairn map move` takes them there; if nobody wants them any more, remove it",
                         f.path, n);
}

/* ---- before anything is changed ---- */

static int open_source(struct move *m, struct cairn_err *err)
{
    const struct cairn_node_conf *conf = &m->k->conf;
    char dir[PATH_MAX];
    int rc;

    if (!conf->map_etcd)
        return cairn_err_set(err, CAIRN_E_CONFIG,
                             "where to? The configuration says `map.store: local`: name an etcd with --etcd, or a "
                             "configuration that says `map.store: etcd`");
    if (conf->data[0] == '\0')
        return cairn_err_set(err, CAIRN_E_INVAL, "no data directory is named (node.data, --data)");
    if (snprintf(dir, sizeof(dir), "%s/router", conf->data) >= (int)sizeof(dir))
        return cairn_err_set(err, CAIRN_E_INVAL, "%s: the path is too long", conf->data);
    rc = cairn_map_file_init(&m->file, dir, err);
    if (rc != 0)
        return rc;
    m->was_moved = access(m->file.path, F_OK) != 0 && access(m->file.moved_path, F_OK) == 0;
    if (!m->was_moved && access(m->file.path, F_OK) != 0)
        return cairn_err_set(err, CAIRN_E_NOTFOUND, "%s: there is no such file, and so no map of a node of its own",
                             m->file.path);
    return cairn_node__keeper_own(m->k, err);
}

static int load_source(struct move *m, struct cairn_err *err)
{
    struct cairn_map_file from = m->file;
    int rc;

    if (m->was_moved)
        snprintf(from.path, sizeof(from.path), "%s", m->file.moved_path);
    rc = cairn_map_image_load(&from, &m->t, &m->revision, err);
    if (rc == 0)
        rc = cairn_node__make_movable(&m->t, err);
    for (uint32_t i = 0; rc == 0 && i < m->t.n; i++) {
        m->entries += is_movable(&m->t, i);
        m->namespaces += is_namespace(&m->t, i);
    }
    return rc;
}

static int check_target(struct move *m, struct cairn_err *err)
{
    char own[CAIRN_CLUSTER_ID_BYTES * 2 + 1];
    struct cairn_map_identity id;
    uint64_t revision;
    int rc;

    sodium_bin2hex(own, sizeof(own), m->k->data.cluster_id, sizeof(m->k->data.cluster_id));
    rc = cairn_map_identity_check(m->k->store, own, err);
    if (rc == 0 && m->was_moved) { /* a move claims the map before it puts the file aside */
        rc = cairn_map_identity_get(m->k->store, &id, err);
        if (rc == CAIRN_E_NOTFOUND)
            cairn_err_set(err, rc, "there is no map: %s was moved to another etcd, or below another prefix",
                          m->file.moved_path);
    }
    if (rc == 0 && !m->was_moved) /* since when others may have changed it */
        rc = cairn_node__keeper_read_store(m->k, &m->there, &revision, err);
    if (rc == 0 && !m->was_moved)
        rc = cairn_map_dump_check_free(&m->t, &m->there, err);
    return cairn_err_wrap(err, rc, "the map in etcd below %s", m->k->conf.map.prefix);
}

/* ---- the move ---- */

static int compare(struct move *m, struct cairn_err *err)
{
    struct cairn_map_table now = { 0 };
    uint64_t revision;
    int rc = cairn_node__keeper_read_store(m->k, &now, &revision, err);

    if (rc == 0)
        rc = cairn_map_dump_check_moved(&m->t, &now, err);
    m->stored = rc == 0 ? now.n - m->there.n : 0;
    cairn_map_table_fini(&now);
    return rc;
}

static int move(struct move *m, struct cairn_err *err)
{
    char author[32];
    int rc = cairn_node__claim_map(m->k->store, &m->k->data, err);

    snprintf(author, sizeof(author), "uid %u", (unsigned)geteuid());
    if (rc == 0)
        rc = cairn_map_dump_store(m->k->store, &m->t, m->revision, author, MOVE_MS_MAX, err);
    if (rc == 0)
        rc = compare(m, err);
    if (rc == 0)
        rc = cairn_map_file_put_aside(&m->file, err);
    return cairn_err_wrap(err, rc, "the map is where it was, and the command may be repeated");
}

/* ---- what is said ---- */

static json_t *endpoints_of(const struct move *m)
{
    const struct cairn_map_etcd_conf *map = &m->k->conf.map;
    json_t *list = json_array();

    for (uint32_t i = 0; i < map->nendpoints; i++)
        json_array_append_new(list, json_string(map->endpoints[i]));
    return list;
}

/* What is missing in the configuration, in YAML, which takes JSON. */
static json_t *configuration_of(const struct move *m)
{
    json_t *map = json_pack("{s:s, s:o}", "store", "etcd", "endpoints", endpoints_of(m));
    char *text;
    json_t *line;

    if (strcmp(m->k->conf.map.prefix, "/cairn/") != 0)
        json_object_set_new(map, "prefix", json_string(m->k->conf.map.prefix));
    text = json_dumps(map, 0);
    line = text != NULL ? json_sprintf("map: %s", text) : NULL;
    free(text);
    json_decref(map);
    return line;
}

static int tell(const struct move *m, bool only_check, FILE *to, struct cairn_err *err)
{
    const char *state = m->was_moved ? "moved before" : only_check ? "may be moved" : "moved";
    json_t *o = json_pack("{s:s, s:s, s:s, s:o, s:s, s:I, s:I, s:I, s:I}", "state", state, "from", m->file.path, "kept",
                          m->file.moved_path, "to", endpoints_of(m), "prefix", m->k->conf.map.prefix, "namespaces",
                          (json_int_t)m->namespaces, "entries", (json_int_t)m->entries, "stored", (json_int_t)m->stored,
                          "revision", (json_int_t)m->revision);
    int rc = 0;

    if (o == NULL)
        return cairn_err_set(err, CAIRN_E_NOMEM, "what was done");
    if (m->is_told)
        json_object_set_new(o, "configuration", configuration_of(m));
    if (json_dumpf(o, to, JSON_INDENT(1)) != 0 || fputc('\n', to) == EOF || fflush(to) != 0)
        rc = cairn_err_set(err, CAIRN_E_IO, "what was done cannot be written out");
    json_decref(o);
    return rc;
}

int cairn_server_map_move(const struct cairn_server_options *options, bool only_check, FILE *to, char *text,
                          size_t text_len)
{
    struct move m = { 0 };
    struct cairn_err err = { 0 };
    int rc = cairn_node__keeper_open(&m.k, options, text, text_len, &err);

    for (uint32_t i = 0; i < options->nsettings; i++)
        m.is_told |= strcmp(options->settings[i].path, "map.store") == 0;
    if (rc == 0)
        rc = open_source(&m, &err);
    if (rc == 0)
        rc = load_source(&m, &err);
    if (rc == 0)
        rc = check_target(&m, &err);
    if (rc == 0 && !only_check && !m.was_moved)
        rc = move(&m, &err);
    if (rc == 0)
        rc = tell(&m, only_check, to, &err);
    cairn_map_table_fini(&m.t);
    cairn_map_table_fini(&m.there);
    return cairn_node__keeper_finish(m.k, rc, &err, text, text_len);
}
