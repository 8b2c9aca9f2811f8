/* A node is started from its options: they become its configuration, and that is opened and run. */
#include "server/node/node.h"

#include "server/node/workspace.h"

#include "sdk/core/base/grown.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SETTINGS_MAX = 256 };

/* ---- configuration ---- */

int cairn_node__read_conf(struct cairn_node_conf *conf, const struct cairn_server_options *options, char *text,
                          size_t text_len, struct cairn_err *err)
{
    struct cairn_conf_override overrides[SETTINGS_MAX];
    int rc;

    if (!CAIRN_REACHES(options, service) || options->nsettings > SETTINGS_MAX) {
        memset(conf, 0, sizeof(*conf));
        return cairn_err_set(err, CAIRN_E_INVAL, "cairn_server_options: wrong size, or more than %d settings",
                             SETTINGS_MAX);
    }
    for (uint32_t i = 0; i < options->nsettings; i++)
        overrides[i] = (struct cairn_conf_override){ .path = options->settings[i].path,
                                                     .value = options->settings[i].value,
                                                     .where = options->settings[i].where };
    rc = cairn_node_conf_read(conf, options->file, overrides, options->nsettings, cairn_provider_list, err);
    if (rc != 0 && text != NULL && conf->doc != NULL) {
        size_t at = 0;

        for (uint32_t i = 0; i < cairn_conf_nproblems(conf->doc) && at + 1 < text_len; i++) {
            int n = snprintf(text + at, text_len - at, "%s%s", i > 0 ? "\n" : "", cairn_conf_problem(conf->doc, i));

            at += (size_t)MAX(n, 0);
        }
    }
    return rc;
}

int cairn_node__needs_data(const struct cairn_node_conf *conf, struct cairn_err *err)
{
    if (conf->data[0] == '\0')
        return cairn_err_set(err, CAIRN_E_CONFIG, "no data directory: set node.data, or say --data DIRECTORY");
    return 0;
}

bool cairn_node__has_munge(const struct cairn_node_conf *conf)
{
    return conf->munge != CAIRN_MUNGE_OFF && cairn_auth_munge_is_available(conf->munge_socket);
}

int cairn_node__needs_munge(const struct cairn_node_conf *conf, bool has, struct cairn_err *err)
{
    if (conf->munge != CAIRN_MUNGE_ON || has)
        return 0;
    return cairn_err_set(err, CAIRN_E_AUTH, "auth.munge is on, but no munged listens%s%s",
                         conf->munge_socket[0] != '\0' ? " at " : " on this machine", conf->munge_socket);
}

/* ---- public ---- */

static struct cairn_server *server_new(void)
{
    struct cairn_server *s = calloc(1, sizeof(*s));
    pthread_condattr_t attr;

    if (s == NULL)
        return NULL;
    s->log_file_fd = -1;
    s->data.lock_fd = -1;
    cairn_spare_init(&s->spare, "");
    cairn_notify_init(&s->notify);
    pthread_mutex_init(&s->mutex, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&s->stopped_cond, &attr);
    pthread_condattr_destroy(&attr);
    return s;
}

static void put_text(char *text, size_t text_len, const struct cairn_err *err)
{
    if (text != NULL && text_len > 0 && text[0] == '\0')
        snprintf(text, text_len, "%s", err->text);
}

int cairn_server_start(const struct cairn_server_options *options, struct cairn_server **server, char *text,
                       size_t text_len)
{
    struct cairn_server *s = server_new();
    struct cairn_log *bound = cairn_log_bound();
    struct cairn_err err = { 0 };
    int rc;

    *server = NULL;
    if (text != NULL && text_len > 0)
        text[0] = '\0';
    if (s == NULL)
        return CAIRN_E_NOMEM;
    rc = CAIRN_REACHES(options, service) && options->service ? cairn_node__meet_service(s, &err) : 0;
    if (rc == 0 && sodium_init() < 0)
        rc = cairn_err_set(&err, CAIRN_E_INTERNAL, "libsodium finds no randomness");
    if (rc == 0)
        rc = cairn_node__read_conf(&s->conf, options, text, text_len, &err);
    if (rc == 0)
        rc = cairn_activation_check(&s->handed, &s->conf, &err);
    if (rc == 0)
        rc = cairn_node__open(s, options, &err);
    if (rc == 0)
        rc = cairn_node__run(s, &err);
    if (rc != 0) {
        put_text(text, text_len, &err);
        cairn_notify_status(&s->notify, "not started: %s", err.text);
        cairn_node__close(s);
        cairn_log_bind(bound);
        return rc;
    }
    rc = cairn_workspace_publish(s->conf.workspace, s->addresses, s->conf.nlisten, s->data.cluster_id, s->conf.name,
                                 &err);
    if (rc != 0)
        cairn_log_warn("clients will not find this node by its workspace: %s", err.text);
    cairn_node__tell_ready(s);
    cairn_log_bind(bound);
    *server = s;
    return 0;
}

int cairn_server_print_config(const struct cairn_server_options *options, FILE *to, char *text, size_t text_len)
{
    struct cairn_node_conf conf;
    struct cairn_err err = { 0 };
    const char *group;
    int rc;

    if (text != NULL && text_len > 0)
        text[0] = '\0';
    rc = cairn_node__read_conf(&conf, options, text, text_len, &err);
    group = rc == 0 ? cairn_node__default_group(&conf) : NULL;
    if (rc == 0)
        cairn_conf_print(conf.doc, to);
    if (group != NULL) /* where it listens is found out at the start, so this is no part of a configuration */
        fprintf(to, "# default, where the map is shared and no provider is a group: {type: group, name: %s}\n", group);
    if (rc != 0)
        put_text(text, text_len, &err);
    cairn_node_conf_free(&conf);
    return rc;
}

const char *cairn_server_address(const struct cairn_server *s, uint32_t i)
{
    return i < s->conf.nlisten ? s->addresses[i] : NULL;
}

const char *cairn_server_workspace(const struct cairn_server *s)
{
    return s->conf.workspace;
}

const char *cairn_server_data(const struct cairn_server *s)
{
    return s->conf.data;
}
