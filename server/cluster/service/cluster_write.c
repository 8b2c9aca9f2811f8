/* What the router asks of the slots that this node leads: a write hops to the slot's worker and back, a read looks at
 * a word of the slot and at the lease. */
#include "server/cluster/service/side.h"

#include <stdlib.h>

enum { ROOM_LOOK_MS = 20, ROOM_LOOK_BYTES = 256 << 10 }; /* the first of them */

struct write {
    struct cairn_cluster_write *w;
    struct side_worker *to;
    struct cairn_repl_write repl;
    struct cairn_task task;
    struct cairn_timer timer;
    struct cairn_link link; /* of the worker's, while the replica or the store has it */
    struct store_who *who;  /* an ASK that the store has, or NULL */
    uint64_t word;          /* and the slot's, when it began */
    int rc;
};

/* ---- back ---- */

static void answer(void *arg)
{
    struct write *x = arg;
    struct cairn_cluster_write *w = x->w;
    int rc = x->rc;

    w->result = x->repl.result;
    w->sessions_full = x->repl.full;
    if (rc == 0 && w->op == CAIRN_CLUSTER_OPEN_SESSION) {
        w->session_epoch = x->repl.at.epoch;
        w->session_pos = x->repl.at.pos;
        w->session_ttl_ns = x->repl.ttl_ns;
    }
    free(x);
    w->done(w, rc);
}

static void go_back(struct write *x, int rc)
{
    x->rc = rc;
    cairn_task_init(&x->task, answer, x);
    cairn_loop_post(x->to->c->side->workers[x->w->worker].loop, &x->task);
}

static void write_over(struct write *x, int rc)
{
    cairn_timer_stop(&x->to->loop->env, &x->timer);
    cairn_list_del(&x->link);
    go_back(x, rc);
}

/* Neither the replica nor the store is to come back to it. */
static void write_forget(struct write *x)
{
    cairn_replica_write_forget(&x->repl);
    if (x->who != NULL)
        cluster_store_who_forget(x->who);
}

/* Who has a token goes on with it whether the slot needs a lease or not. */
static uint64_t token_of(uint64_t word)
{
    return word & ~CLUSTER_WORD_ALONE;
}

static uint64_t word_of(const struct write *x)
{
    return token_of(atomic_load(&x->to->c->side->words[x->w->slot]));
}

/* Whether it is led from here is looked at after the record, and last (§6). */
static void on_who(void *arg, int rc, uint64_t number)
{
    struct write *x = arg;
    struct cairn_replica *r = cluster_slots_replica(x->to->slots, x->w->slot);

    x->who = NULL;
    x->repl.result = number == x->w->number ? 0 : CAIRN_E_EXISTS;
    if (r == NULL || word_of(x) != x->word)
        rc = CAIRN_E_MOVED;
    else if (rc == 0 || rc == CAIRN_E_NOTFOUND)
        rc = cairn_replica_may_read(r) != 0 ? CAIRN_E_BUSY : rc;
    else
        rc = CAIRN_E_BUSY;
    write_over(x, rc);
}

static void on_written(struct cairn_repl_write *repl, int rc)
{
    struct write *x = repl->arg;
    const struct cairn_cluster_write *w = x->w;

    if (rc != 0 || w->op != CAIRN_CLUSTER_ASK || w->session_pos != 0) {
        write_over(x, rc);
        return;
    }
    x->word = word_of(x);
    x->who = cluster_store_who(cluster_slots_store(x->to->slots), w->slot, w->ns, w->key, w->key_len, on_who, x);
    if (x->who == NULL)
        write_over(x, CAIRN_E_NOMEM);
}

static void on_timeout(void *arg)
{
    struct write *x = arg;

    write_forget(x);
    write_over(x, CAIRN_E_TIMEOUT);
}

void side_writes_stop(struct side_worker *w)
{
    struct cairn_link *l;

    while ((l = cairn_list_pop(&w->writes)) != NULL) {
        struct write *x = CONTAINER_OF(l, struct write, link);

        write_forget(x);
        write_over(x, CAIRN_E_SHUTDOWN);
    }
}

/* ---- there ---- */

static int key_check(const struct cairn_cluster_write *w)
{
    if (w->op == CAIRN_CLUSTER_OPEN_SESSION)
        return 0;
    if (w->op == CAIRN_CLUSTER_CLOSE_SESSION)
        return w->session_pos != 0 ? 0 : CAIRN_E_INVAL;
    if (w->key_len == 0 || w->ns == 0)
        return CAIRN_E_INVAL;
    if (w->key_len > STORE_KEY_BYTES_MAX || w->record_len > CAIRN_KV_VALUE_BYTES_MAX)
        return CAIRN_E_TOOBIG;
    return w->op == CAIRN_CLUSTER_ASK && w->session_pos == 0 && !w->write_once ? CAIRN_E_UNSUPPORTED : 0;
}

static int body_make(struct side_worker *to, const struct cairn_cluster_write *w, struct cairn_repl_write *repl)
{
    struct store_body b = { .op = w->op == CAIRN_CLUSTER_PUT ? STORE_PUT : STORE_ERASE,
                            .flags = (uint8_t)((w->if_absent ? STORE_BODY_IF_ABSENT : 0) |
                                               (w->write_once ? STORE_BODY_WRITE_ONCE : 0)),
                            .ns = w->ns,
                            .key = w->key,
                            .key_len = w->key_len,
                            .record = w->record,
                            .record_len = w->record_len };
    size_t len = store_body_bytes(&b);

    if (len > to->body_room) {
        uint8_t *more = realloc(to->body, len * 2);

        if (more == NULL)
            return CAIRN_E_NOMEM;
        to->body = more;
        to->body_room = len * 2;
    }
    store_body_put(&b, to->body);
    repl->body = to->body;
    repl->body_len = (uint32_t)len;
    return 0;
}

static enum cairn_entry_kind kind_of(const struct cairn_cluster_write *w)
{
    return w->op == CAIRN_CLUSTER_OPEN_SESSION    ? CAIRN_ENTRY_OPEN
           : w->op == CAIRN_CLUSTER_CLOSE_SESSION ? CAIRN_ENTRY_EXPIRE
                                                  : CAIRN_ENTRY_WRITE;
}

/* New data is refused before it is in a log: what is there has to be applied. */
static bool has_no_room(struct side_worker *to, const struct cairn_cluster_write *w)
{
    uint64_t now = cairn_env_now_ns(&to->loop->env);

    if (w->op != CAIRN_CLUSTER_PUT || to->slots == NULL)
        return false;
    to->room_bytes += w->record_len;
    if (now >= to->room_look_ns || to->room_bytes >= ROOM_LOOK_BYTES) {
        to->has_no_room = cluster_slots_refuses(to->slots);
        to->has_no_room |= side_disk_is_full(to->c); /* both are looked at */
        to->room_bytes = 0;
        to->room_look_ns = now + ROOM_LOOK_MS * CAIRN_NS_PER_MS;
    }
    return to->has_no_room;
}

static void begin(void *arg)
{
    struct write *x = arg;
    struct side_worker *to = x->to;
    const struct cairn_cluster_write *w = x->w;
    struct cairn_env *env = &to->loop->env;
    int rc = to->stopping || to->slots == NULL ? CAIRN_E_SHUTDOWN : 0;

    x->repl = (struct cairn_repl_write){ .kind = kind_of(w),
                                         .rid = { .session = { w->session_epoch, w->session_pos }, .seq = w->number },
                                         .floor = w->floor,
                                         .sync = w->sync,
                                         .asks = w->op == CAIRN_CLUSTER_ASK,
                                         .done = on_written,
                                         .arg = x };
    cairn_timer_init(&x->timer, on_timeout, x);
    cairn_list_init(&x->link);
    if (rc == 0)
        rc = key_check(w);
    if (rc == 0 && w->lead != 0 && w->lead != word_of(x))
        rc = CAIRN_E_MOVED;
    if (rc == 0 && has_no_room(to, w))
        rc = CAIRN_E_NOSPACE;
    if (rc == 0 && (w->op == CAIRN_CLUSTER_PUT || w->op == CAIRN_CLUSTER_ERASE))
        rc = body_make(to, w, &x->repl);
    if (rc == 0)
        rc = cairn_timer_start(env, &x->timer, cairn_env_now_ns(env) + w->timeout_ns);
    if (rc == 0) {
        cairn_list_add_tail(&to->writes, &x->link);
        rc = cluster_slots_write(to->slots, w->slot, &x->repl);
    }
    if (rc == 0)
        return;
    cairn_timer_stop(env, &x->timer);
    cairn_list_del(&x->link);
    go_back(x, rc);
}

static void refuse(void *arg)
{
    answer(arg);
}

void cairn_cluster_write(struct cairn_cluster_write *w)
{
    struct side_worker *to = side_worker_of(w->cluster, w->slot), *from = &w->cluster->side->workers[w->worker];
    struct write *x = calloc(1, sizeof(*x));

    CAIRN_ASSERT(w->timeout_ns > 0);
    if (x == NULL) { /* without memory not even a task; the caller is on its own loop */
        w->done(w, CAIRN_E_NOMEM);
        return;
    }
    x->w = w;
    x->to = to;
    if (w->slot >= SIDE_SLOTS_MAX) {
        x->rc = CAIRN_E_INVAL;
        cairn_task_init(&x->task, refuse, x);
        cairn_env_defer(&from->loop->env, &x->task);
        return;
    }
    cairn_task_init(&x->task, begin, x);
    if (to == from)
        cairn_env_defer(&to->loop->env, &x->task);
    else
        cairn_loop_post(to->loop, &x->task);
}

/* ---- reads ---- */

static bool goes_on_alone(const struct cairn_cluster *c, uint64_t word)
{
    return (word & CLUSTER_WORD_ALONE) != 0 && side_may_go_on(c);
}

static int word_says(const struct cairn_cluster *c, uint64_t word)
{
    if (word == CLUSTER_WORD_MOVED || word == CLUSTER_WORD_BACKUP)
        return CAIRN_E_MOVED;
    if (word == CLUSTER_WORD_BUSY)
        return CAIRN_E_BUSY;
    return side_lease_is_valid(c) || goes_on_alone(c, word) ? 0 : CAIRN_E_BUSY;
}

int cairn_cluster_read_begin(const struct cairn_cluster *c, uint32_t slot, uint64_t *token)
{
    uint64_t word;

    if (slot >= SIDE_SLOTS_MAX)
        return CAIRN_E_INVAL;
    word = atomic_load(&c->side->words[slot]);
    *token = token_of(word);
    return word_says(c, word);
}

/* The slot was led from here at both moments, and by nobody else between them. */
int cairn_cluster_read_end(const struct cairn_cluster *c, uint32_t slot, uint64_t token)
{
    uint64_t word = atomic_load(&c->side->words[slot]);

    if (token_of(word) != token && word >= CLUSTER_WORD_LEADS)
        return CAIRN_E_BUSY;
    return word_says(c, word);
}

bool cairn_cluster_is_in_sync(const struct cairn_cluster *c, uint32_t slot)
{
    return slot < SIDE_SLOTS_MAX && atomic_load(&c->side->words[slot]) >= CLUSTER_WORD_BACKUP;
}

int cairn_cluster_led(const struct cairn_cluster *c, uint32_t first, uint32_t n, struct cairn_cluster_led *led)
{
    bool all_alone = true;

    *led = (struct cairn_cluster_led){ 0 };
    if (first >= SIDE_SLOTS_MAX || n > SIDE_SLOTS_MAX - first)
        return CAIRN_E_INVAL;
    for (uint32_t i = first; i < first + n; i++) {
        uint64_t word = atomic_load_explicit(&c->side->words[i], memory_order_acquire);

        if (word < CLUSTER_WORD_LEADS)
            continue;
        all_alone &= goes_on_alone(c, word);
        led->n++;
        led->sum += cairn_placement_slot_mark(i);
        led->since += cairn_placement_slot_mark(i) * (2 * token_of(word) + 1);
    }
    return side_lease_is_valid(c) || all_alone ? 0 : CAIRN_E_BUSY;
}

/* ---- where ---- */

uint32_t cairn_cluster_slots(const struct cairn_cluster *c)
{
    return atomic_load(&c->nslots);
}

bool cairn_cluster_slot(const struct cairn_cluster *c, uint32_t replicas, const void *key, size_t len, uint32_t *slot)
{
    uint32_t n = cairn_cluster_slots(c);

    if (n == 0 || replicas == 0 || replicas > CAIRN_CLUSTER_CLASSES)
        return false;
    *slot = (replicas - 1) * n + cairn_placement_slot(key, len, (uint32_t)__builtin_ctz(n));
    return true;
}

uint64_t cairn_cluster_leader(struct cairn_cluster *c, uint32_t slot)
{
    struct cairn_slot_record rec;

    return cairn_cluster_records_slot(c->records, slot, &rec) ? rec.primary.node : 0;
}
