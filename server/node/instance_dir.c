/* Where a provider keeps its data: a directory below the node's, or, with `path`, one of its own, perhaps on another
 * file system. That one has spare room of its own, too: a disk that is full is full for what lies on it. */
#include "server/node/node.h"

#include "sdk/core/base/macros.h"

#include <stdio.h>

int cairn_node__instance_path(const struct cairn_node_conf *conf, const struct cairn_conf *section, const char *name,
                              char *to, size_t len, struct cairn_err *err)
{
    const char *path = section != NULL && cairn_conf_has_key(section, "path") ? cairn_conf_str(section, "path") : "";
    int n;

    if (path[0] == '/')
        n = snprintf(to, len, "%s", path);
    else
        n = snprintf(to, len, "%s/%s", conf->data, path[0] != '\0' ? path : name);
    if (n < 0 || (size_t)n >= len)
        return cairn_err_set(err, CAIRN_E_INVAL, "provider %s: the path of its directory is too long", name);
    return 0;
}

/* A relative path stays on the node's own side of the matter: its spare room is the data directory's. */
static bool is_elsewhere(const struct cairn_instance *p)
{
    return p->env.conf != NULL && cairn_conf_has_key(p->env.conf, "path") &&
           cairn_conf_str(p->env.conf, "path")[0] == '/';
}

int cairn_node__instance_open_dir(struct cairn_server *s, struct cairn_instance *p, struct cairn_err *err)
{
    int rc = cairn_node__instance_path(&s->conf, p->env.conf, p->env.name, p->dir, sizeof(p->dir), err);

    if (rc == 0)
        rc = cairn_err_wrap(err, cairn_datadir_make(p->dir, err), "provider %s", p->env.name);
    if (rc == 0 && is_elsewhere(p)) {
        cairn_spare_init(&p->spare, p->dir);
        p->has_spare = true;
        p->env.spare = &p->spare;
    }
    return rc;
}

int cairn_node__spares_make_way(struct cairn_server *s, struct cairn_err *err)
{
    int rc = cairn_spare_make_way(&s->spare, err);

    for (uint32_t i = 0; rc == 0 && i < s->ninstances; i++) {
        if (s->instances[i].has_spare)
            rc = cairn_spare_make_way(&s->instances[i].spare, err);
    }
    return rc;
}

void cairn_node__spares_keep(struct cairn_server *s)
{
    cairn_spare_keep(&s->spare);
    for (uint32_t i = 0; i < s->ninstances; i++) {
        if (s->instances[i].has_spare)
            cairn_spare_keep(&s->instances[i].spare);
    }
}

void cairn_node__spares_fini(struct cairn_server *s)
{
    cairn_spare_fini(&s->spare);
    for (uint32_t i = 0; s->instances != NULL && i < s->ninstances; i++) {
        if (s->instances[i].has_spare)
            cairn_spare_fini(&s->instances[i].spare);
    }
}
