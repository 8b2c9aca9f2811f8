/* Finding others: the addresses of `join`, looked up anew as long as we are alone, those that were said at run time,
 * and a directory on a shared file system.
 *
 * There each member has an entry, DIRECTORY/GROUP/ID, written beside and renamed, so that nobody needs a lock. An entry
 * whose member died stays until someone of that name comes back: it is asked in vain now and then, no more. Both may
 * block, so a job on the pool does them; while it runs it touches struct group_join, and the core under the mutex. */
#include "providers/group/group_internal.h"

#include "sdk/core/base/log.h"
#include "sdk/core/rpc/auth.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { AGAIN_ALONE_NS = 2000000000, ENTRIES_MAX = 4096, ENTRY_BYTES_MAX = 256 };
#define AGAIN_NS (UINT64_C(60) * CAIRN_NS_PER_S)

static struct group_provider *provider_of(struct group_join *j)
{
    return CONTAINER_OF(j, struct group_provider, join);
}

int group_join_check(const struct cairn_conf *conf, struct cairn_err *err)
{
    const char *dir = cairn_conf_str(conf, "directory");

    if (dir[0] == '\0')
        return 0;
    if (dir[0] != '/')
        return cairn_err_set(err, CAIRN_E_CONFIG, "'directory' must be an absolute path; found '%s'", dir);
    if (access(dir, R_OK | W_OK | X_OK) != 0)
        return cairn_err_errno(err, errno, "directory %s", dir);
    return 0;
}

int group_join_init(struct group_provider *p, struct cairn_err *err)
{
    struct group_join *j = &p->join;
    const char *dir = cairn_conf_str(p->conf, "directory");
    int rc = group_join_check(p->conf, err);

    if (rc != 0 || dir[0] == '\0')
        return rc;
    if (snprintf(j->dir, sizeof(j->dir), "%s/%s", dir, p->group) >= (int)sizeof(j->dir))
        return cairn_err_set(err, CAIRN_E_CONFIG, "'directory' is too long");
    if (mkdir(j->dir, 0700) != 0 && errno != EEXIST)
        return cairn_err_errno(err, errno, "directory %s", j->dir);
    snprintf(j->entry, sizeof(j->entry), "%s/%016" PRIx64, j->dir, p->self.id);
    return 0;
}

/* ---- on the pool ---- */

/* One of the first sixteen, or in place of one of them by chance: of many entries, each is asked some time. */
static void add_seed(struct group_join *j, const struct cairn_swim_addr *a, uint32_t *met)
{
    uint32_t at = (*met)++, dice;

    if (at >= CAIRN_SWIM_SEEDS_MAX) {
        cairn_auth_random(&dice, sizeof(dice));
        at = dice % *met;
    }
    if (at < CAIRN_SWIM_SEEDS_MAX)
        j->seeds[at] = *a;
    j->nseeds = MIN(*met, (uint32_t)CAIRN_SWIM_SEEDS_MAX);
}

static void add_seed_or_self(struct group_join *j, const struct cairn_swim_addr *a, uint32_t *met)
{
    struct group_provider *p = provider_of(j);

    if (!p->observer && cairn_swim_addr_equal(a, &p->self.addr))
        j->nself++;
    else
        add_seed(j, a, met);
}

static void add_address(struct group_join *j, const char *text, uint32_t *met)
{
    struct cairn_err err = { 0 };
    struct cairn_swim_addr a;
    struct cairn_addr addr;

    if (cairn_addr_parse_dgram(text, &addr, &err) != 0 || !group_addr_of(&addr, &a)) {
        snprintf(j->trouble, sizeof(j->trouble), "join: %.170s", err.text);
        return;
    }
    add_seed_or_self(j, &a, met);
}

/* What our entry says; returns its length. */
static int entry_text(const struct group_provider *p, char text[ENTRY_BYTES_MAX])
{
    char addr[GROUP_ADDR_TEXT_MAX];

    group_addr_text(&p->self.addr, addr);
    return snprintf(text, ENTRY_BYTES_MAX, "%s %s\n", addr, p->self.name);
}

/* Small, whole or not there: written beside and renamed. */
static void write_entry(struct group_join *j)
{
    char fresh[sizeof(j->entry) + 16], text[ENTRY_BYTES_MAX];
    int n = entry_text(provider_of(j), text), fd;

    snprintf(fresh, sizeof(fresh), "%s.%d", j->entry, (int)getpid());
    fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0 || write(fd, text, (size_t)n) != n || rename(fresh, j->entry) != 0) {
        snprintf(j->trouble, sizeof(j->trouble), "%.120s: %s", j->entry, strerror(errno));
        unlink(fresh); /* which may not have been made */
    }
    if (fd >= 0)
        close(fd);
}

/* "" if it went, or is none of ours. */
static void entry_at(const char *path, char text[ENTRY_BYTES_MAX])
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    ssize_t n = fd >= 0 ? read(fd, text, ENTRY_BYTES_MAX - 1) : 0;

    if (fd >= 0)
        close(fd);
    text[MAX(n, 0)] = '\0';
}

static void read_entry(struct group_join *j, const char *name, uint32_t *met)
{
    char path[sizeof(j->dir) + 256], text[ENTRY_BYTES_MAX];
    struct cairn_swim_addr a;

    snprintf(path, sizeof(path), "%s/%s", j->dir, name);
    entry_at(path, text);
    text[strcspn(text, " \n")] = '\0';
    if (group_addr_parse(text, &a)) /* nothing is looked up for what a stray file says */
        add_seed_or_self(j, &a, met);
}

static void read_directory(struct group_join *j, uint32_t *met)
{
    DIR *dir = opendir(j->dir);
    struct dirent *e;

    if (dir == NULL) {
        snprintf(j->trouble, sizeof(j->trouble), "directory %.120s: %s", j->dir, strerror(errno));
        return;
    }
    for (uint32_t i = 0; i < ENTRIES_MAX && (e = readdir(dir)) != NULL; i++) {
        if (strlen(e->d_name) == 16 && e->d_name[strspn(e->d_name, "0123456789abcdef")] == '\0')
            read_entry(j, e->d_name, met);
    }
    closedir(dir);
}

/* Our name is another member's, and so is the entry. */
static bool is_refused(struct group_provider *p)
{
    bool refused;

    pthread_mutex_lock(&p->mutex);
    refused = p->core.join.refused || p->core.superseded;
    pthread_mutex_unlock(&p->mutex);
    return refused;
}

static void on_work(struct cairn_job *job)
{
    struct group_join *j = CONTAINER_OF(job, struct group_join, job);
    struct group_provider *p = provider_of(j);
    uint32_t n = cairn_conf_list_len(p->conf, "join"), met = 0;

    j->nseeds = j->nself = 0;
    j->trouble[0] = '\0';
    for (uint32_t i = 0; i < n; i++)
        add_address(j, cairn_conf_list_str(p->conf, "join", i), &met);
    for (uint32_t i = 0; i < j->nalso; i++)
        add_seed(j, &j->also[i], &met);
    if (n > 0 && j->nself == n && j->nalso == 0)
        snprintf(j->trouble, sizeof(j->trouble), "join: every address is this member itself");
    if (j->dir[0] == '\0')
        return;
    if (!p->observer && !is_refused(p))
        write_entry(j);
    read_directory(j, &met);
}

/* ---- on worker 0 ---- */

static bool is_alone(const struct group_provider *p)
{
    return p->observer ? !p->core.join.synced : cairn_swim_size(&p->core) <= 1;
}

static void on_timer(void *arg);

static void on_done(struct cairn_job *job)
{
    struct group_join *j = CONTAINER_OF(job, struct group_join, job);
    struct group_provider *p = provider_of(j);

    j->running = false;
    if (j->stopped)
        return;
    if (j->again) {
        on_timer(p);
        return;
    }
    if (j->trouble[0] != '\0' && strcmp(j->trouble, j->told) != 0)
        cairn_log_warn("group %s: %s", p->group, j->trouble);
    if (strcmp(j->trouble, j->told) != 0 && is_alone(p))
        group_problem(p, "%s", j->trouble);
    else if (!is_alone(p) && p->problem[0] != '\0' && strcmp(p->problem, j->told) == 0)
        group_problem(p, "%s", ""); /* others found us, so it does not matter any more */
    memcpy(j->told, j->trouble, sizeof(j->told));
    if (p->urgent || p->core.nseeds != j->nseeds ||
        memcmp(p->core.seeds, j->seeds, j->nseeds * sizeof(j->seeds[0])) != 0)
        group_input(p, &(struct cairn_swim_in){
                           .type = CAIRN_SWIM_SEEDS, .seeds = j->seeds, .nseeds = j->nseeds, .urgent = p->urgent });
    p->urgent = false;
    cairn_timer_start(&p->loop->env, &j->timer,
                      cairn_loop_now(p->loop) + (is_alone(p) ? (uint64_t)AGAIN_ALONE_NS : AGAIN_NS));
}

static void on_timer(void *arg)
{
    struct group_provider *p = arg;
    struct group_join *j = &p->join;

    CAIRN_ASSERT(!j->running);
    cairn_timer_stop(&p->loop->env, &j->timer); /* also() does not wait for it: it must not submit the job once more */
    j->again = false;
    memcpy(j->also, p->also, sizeof(j->also));
    j->nalso = p->nalso;
    j->job.work = on_work;
    j->job.done = on_done;
    j->running = cairn_pool_submit(p->pool, p->loop, &j->job) == 0;
    if (!j->running)
        cairn_timer_start(&p->loop->env, &j->timer, cairn_loop_now(p->loop) + AGAIN_ALONE_NS);
}

void group_join_run(struct group_provider *p)
{
    cairn_timer_init(&p->join.timer, on_timer, p);
    if (cairn_conf_list_len(p->conf, "join") > 0 || p->join.dir[0] != '\0')
        on_timer(p);
}

void group_join_also(struct group_provider *p, const struct cairn_swim_addr *seeds, uint32_t n)
{
    memcpy(p->also, seeds, n * sizeof(*seeds));
    p->nalso = n;
    p->urgent = true;
    if (p->join.running)
        p->join.again = true; /* that job began with those before */
    else if (!p->join.stopped)
        on_timer(p);
}

bool group_join_stop(struct group_provider *p)
{
    p->join.stopped = true;
    cairn_timer_stop(&p->loop->env, &p->join.timer);
    return !p->join.running;
}

void group_join_withdraw(struct group_provider *p)
{
    char text[ENTRY_BYTES_MAX], ours[ENTRY_BYTES_MAX];

    if (p->join.entry[0] == '\0' || p->observer)
        return;
    entry_at(p->join.entry, text);
    entry_text(p, ours);
    if (strcmp(text, ours) == 0) /* not that of another member of our name */
        unlink(p->join.entry);
}
