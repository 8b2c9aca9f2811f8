/* What the scrub of replicas has found, for people. See scrub.h. */
#include "server/cluster/service/scrub.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

struct scrub_report *scrub_report_new(void)
{
    struct scrub_report *r = calloc(1, sizeof(*r));

    if (r != NULL)
        pthread_mutex_init(&r->mutex, NULL);
    return r;
}

void scrub_report_free(struct scrub_report *r)
{
    if (r == NULL)
        return;
    pthread_mutex_destroy(&r->mutex);
    free(r);
}

static bool is_open(const struct scrub_finding *f)
{
    return f->outcome != SCRUB_REPAIRED;
}

static bool is_same(const struct scrub_finding *a, const struct scrub_finding *b)
{
    return a->slot == b->slot && a->ns == b->ns && a->there == b->there && a->key_len == b->key_len &&
           memcmp(a->key, b->key, MIN(a->key_len, (uint32_t)SCRUB_FINDING_KEY_BYTES_MAX)) == 0;
}

static void finding_drop(struct scrub_report *r, uint32_t i)
{
    memmove(&r->findings[i], &r->findings[i + 1], (r->n - i - 1) * sizeof(r->findings[0]));
    r->n--;
}

/* The one that is given up for a newer: the oldest of those that are repaired, or of all. */
static uint32_t finding_oldest(const struct scrub_report *r)
{
    for (uint32_t i = 0; i < r->n; i++) {
        if (!is_open(&r->findings[i]))
            return i;
    }
    return 0;
}

void scrub_report_add(struct scrub_report *r, const struct scrub_finding *f)
{
    pthread_mutex_lock(&r->mutex);
    for (uint32_t i = 0; i < r->n; i++) {
        if (is_same(&r->findings[i], f)) {
            finding_drop(r, i);
            break;
        }
    }
    if (r->n == SCRUB_FINDINGS_MAX)
        finding_drop(r, finding_oldest(r));
    r->findings[r->n++] = *f;
    pthread_mutex_unlock(&r->mutex);
}

void scrub_report_keep(struct scrub_report *r, const struct scrub_finding *like)
{
    pthread_mutex_lock(&r->mutex);
    for (uint32_t i = 0; i < r->n; i++) {
        if (is_same(&r->findings[i], like))
            r->findings[i].round = like->round;
    }
    pthread_mutex_unlock(&r->mutex);
}

void scrub_report_skip(struct scrub_report *r, uint32_t slot, uint64_t round)
{
    pthread_mutex_lock(&r->mutex);
    for (uint32_t i = 0; i < r->n; i++) {
        if (r->findings[i].slot == slot)
            r->findings[i].round = round;
    }
    pthread_mutex_unlock(&r->mutex);
    atomic_fetch_add(&r->slots_skipped, 1);
}

void scrub_report_slot(struct scrub_report *r, uint32_t slot, uint64_t round)
{
    pthread_mutex_lock(&r->mutex);
    for (uint32_t i = 0; i < r->n;) {
        const struct scrub_finding *f = &r->findings[i];

        if (is_open(f) && f->slot == slot && f->round < round)
            finding_drop(r, i);
        else
            i++;
    }
    pthread_mutex_unlock(&r->mutex);
    atomic_fetch_add(&r->slots, 1);
}

/* Of a slot that was passed over: it is not led here, or was not when it was looked for. */
static bool is_elsewhere(const struct scrub_finding *f, struct side_worker *w)
{
    const struct cairn_replica *replica = cluster_slots_replica(w->slots, f->slot);

    return replica == NULL || (f->led_elsewhere && !cairn_replica_is_primary(replica));
}

void scrub_report_round(struct scrub_report *r, struct side_worker *w, uint64_t round)
{
    pthread_mutex_lock(&r->mutex);
    for (uint32_t i = 0; i < r->n;) {
        struct scrub_finding *f = &r->findings[i];
        bool is_ours = f->slot % w->c->side->nworkers == w->index;
        bool passed_over = is_ours && is_open(f) && f->round < round;

        if (passed_over && is_elsewhere(f, w)) {
            finding_drop(r, i);
            continue;
        }
        if (is_ours)
            f->led_elsewhere = passed_over;
        if (passed_over)
            f->round = round;
        i++;
    }
    pthread_mutex_unlock(&r->mutex);
    if (atomic_fetch_sub(&r->running, 1) == 1)
        atomic_fetch_add(&r->rounds, 1);
}

uint32_t scrub_report_open(struct scrub_report *r)
{
    uint32_t n = 0;

    pthread_mutex_lock(&r->mutex);
    for (uint32_t i = 0; i < r->n; i++)
        n += is_open(&r->findings[i]);
    pthread_mutex_unlock(&r->mutex);
    return n;
}

json_t *scrub_report_brief(struct scrub_report *r)
{
    return json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:i}", "state",
                     atomic_load(&r->running) > 0 ? "running" : "resting", "rounds",
                     (json_int_t)atomic_load(&r->rounds), "slots", (json_int_t)atomic_load(&r->slots), "slots_skipped",
                     (json_int_t)atomic_load(&r->slots_skipped), "not_compared",
                     (json_int_t)atomic_load(&r->not_compared), "keys", (json_int_t)atomic_load(&r->keys), "bytes",
                     (json_int_t)atomic_load(&r->bytes), "repaired", (json_int_t)atomic_load(&r->repaired), "in_use",
                     (json_int_t)atomic_load(&r->in_use), "open", (int)scrub_report_open(r));
}

/* ---- findings ---- */

static const char *state_name(enum scan_state state)
{
    static const char *const names[SCAN_STATES] = {
        [SCAN_SOUND] = "good",
        [SCAN_ABSENT] = "absent",
        [SCAN_GONE] = "gone",
        [SCAN_NO_RECORD] = "missing",
        [SCAN_NO_INDEX] = "not in index",
        [SCAN_DAMAGED] = "damaged",
        [SCAN_UNREADABLE] = "unreadable",
        [SCAN_NO_REGION] = "region missing",
        [SCAN_BAD_REGION] = "region damaged",
    };

    return state < SCAN_STATES && names[state] != NULL ? names[state] : "unknown";
}

/* Of what is told: for programs, and for the log. */
static const struct {
    const char *name, *text;
} outcomes[] = {
    [SCRUB_REPAIRED] = { "repaired", "was bad, and is repaired" },
    [SCRUB_DIFFERENT] = { "different", "DIFFERS, though both copies look good" },
    [SCRUB_NONE_GOOD] = { "no good copy", "has no good copy at these two" },
    [SCRUB_NOT_REPAIRED] = { "not repaired", "is bad, and could not be repaired" },
};

const char *scrub_outcome_text(enum scrub_outcome outcome)
{
    CAIRN_ASSERT(outcome >= SCRUB_REPAIRED && outcome <= SCRUB_NOT_REPAIRED);
    return outcomes[outcome].text;
}

static json_t *copy_json(struct cairn_cluster *c, uint64_t node, enum scan_state state)
{
    struct cairn_wire_member m;
    struct cairn_arena a;
    bool known;
    json_t *o;

    cairn_arena_init(&a, 1 << 16);
    known = cairn_cluster_records_member(c->records, node, &m, &a);
    o = json_pack("{s:s, s:s}", "node", known ? m.name : "?", "copy", state_name(state));
    cairn_arena_reset(&a);
    return o;
}

/* As text if it is one; else in hexadecimal. */
static void set_key(json_t *o, const struct scrub_finding *f)
{
    uint32_t n = MIN(f->key_len, (uint32_t)SCRUB_FINDING_KEY_BYTES_MAX);
    json_t *text = json_stringn((const char *)f->key, n);
    char hex[2 * SCRUB_FINDING_KEY_BYTES_MAX + 1];

    if (text != NULL) {
        json_object_set_new(o, "key", text);
    } else {
        for (uint32_t i = 0; i < n; i++)
            snprintf(hex + 2 * (size_t)i, 3, "%02x", f->key[i]);
        json_object_set_new(o, "key_hex", json_string(hex));
    }
    if (n < f->key_len)
        json_object_set_new(o, "key_bytes", json_integer(f->key_len));
}

static json_t *finding_json(struct cairn_cluster *c, const struct scrub_finding *f)
{
    json_t *o = json_pack("{s:s, s:i, s:i, s:I, s:[o, o]}", "outcome", outcomes[f->outcome].name, "slot", (int)f->slot,
                          "namespace", (int)f->ns, "at", (json_int_t)f->at_s, "copies",
                          copy_json(c, f->here, f->state_here), copy_json(c, f->there, f->state_there));

    if (o != NULL)
        set_key(o, f);
    return o;
}

json_t *scrub_report_json(struct cairn_cluster *c)
{
    struct scrub_report *r = c->side->scrub_report;
    json_t *o = scrub_report_brief(r), *findings = json_array();
    struct scrub_finding *copy = malloc(sizeof(r->findings));
    uint32_t n;

    if (copy == NULL || o == NULL) {
        free(copy);
        json_decref(findings);
        json_decref(o);
        return NULL;
    }
    pthread_mutex_lock(&r->mutex);
    n = r->n;
    memcpy(copy, r->findings, n * sizeof(*copy));
    pthread_mutex_unlock(&r->mutex);
    for (uint32_t i = 0; i < n; i++)
        json_array_append_new(findings, finding_json(c, &copy[i]));
    json_object_set_new(o, "version", json_integer(1));
    json_object_set_new(o, "node", json_string(c->env->node->name));
    json_object_set_new(o, "findings", findings);
    free(copy);
    return o;
}
