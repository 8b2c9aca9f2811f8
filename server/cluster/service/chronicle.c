/* The coordinator's changes, summed up for people: see chronicle.h. */
#include "server/cluster/service/chronicle.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- one record ---- */

/* Whom @a has in sync, and @b has not; 0: nobody. */
static uint64_t missing(const struct cairn_slot_record *a, const struct cairn_slot_record *b)
{
    for (uint32_t i = 0; i < a->ninsync; i++) {
        if (!cairn_slot_names(b, a->insync[i].node))
            return a->insync[i].node;
    }
    return 0;
}

static struct cairn_deed deed(enum cairn_deed_kind kind, enum cairn_deed_why why, uint64_t from, uint64_t to)
{
    return (struct cairn_deed){ .kind = kind, .why = why, .from = from, .to = to, .slots = 1 };
}

static struct cairn_deed deed_of_lead(const struct cairn_slot_record *old, const struct cairn_slot_record *next,
                                      enum cairn_change_kind asked)
{
    uint64_t from = old->primary.node, to = next->primary.node;

    if (asked == CAIRN_CHANGE_RELEASE)
        return deed(CAIRN_DEED_HANDED, old->move.phase != CAIRN_MOVE_NONE ? CAIRN_WHY_BALANCE : CAIRN_WHY_STOPS, from,
                    to);
    if (cairn_slot_insync(old, next->primary) < 0) /* a process that was no member: all of them were gone */
        return deed(CAIRN_DEED_RECOVERED, CAIRN_WHY_GONE, from, to);
    return deed(CAIRN_DEED_TAKEN, CAIRN_WHY_SILENT, from, to);
}

static struct cairn_deed deed_of_move(const struct cairn_slot_record *old, const struct cairn_slot_record *next)
{
    bool begins = old->move.phase == CAIRN_MOVE_NONE;

    if (begins && next->move.phase == CAIRN_MOVE_COPY)
        return deed(CAIRN_DEED_COPYING, next->move.from == 0 ? CAIRN_WHY_FEWER : CAIRN_WHY_BALANCE, next->move.from,
                    next->move.target.node);
    if (begins && next->move.phase == CAIRN_MOVE_JOINED)
        return deed(CAIRN_DEED_LEADING, CAIRN_WHY_BALANCE, next->primary.node, next->move.target.node);
    if (next->move.phase != CAIRN_MOVE_NONE) /* to another process of the same node */
        return deed(CAIRN_DEED_COPYING, CAIRN_WHY_TARGET_RESTARTED, next->move.from, next->move.target.node);
    if (cairn_slot_names(next, old->move.target.node))
        return deed(CAIRN_DEED_STAYED, CAIRN_WHY_FEWER, 0,
                    old->move.from != 0 ? old->move.from : old->move.target.node);
    return deed(CAIRN_DEED_GIVEN_UP, CAIRN_WHY_TARGET_GONE, old->move.from, old->move.target.node);
}

struct cairn_deed cairn_deed_of_slot(const struct cairn_slot_record *old, const struct cairn_slot_record *next,
                                     enum cairn_change_kind asked)
{
    uint64_t gone = missing(old, next), come = missing(next, old);

    if (old->epoch == 0)
        return deed(CAIRN_DEED_MADE, CAIRN_WHY_WANTED, 0, 0);
    if (!cairn_who_is(old->primary, next->primary))
        return deed_of_lead(old, next, asked);
    if (asked == CAIRN_CHANGE_ACTIVE)
        return deed(CAIRN_DEED_READY, CAIRN_WHY_READY, 0, next->primary.node);
    if (asked == CAIRN_CHANGE_RELEASE) /* nobody is there to take it: the same begins again */
        return deed(CAIRN_DEED_NONE, CAIRN_WHY_ITSELF, 0, 0);
    if (come != 0)
        return deed(CAIRN_DEED_JOINED, CAIRN_WHY_COPIED, 0, come);
    if (gone != 0 && next->nreplicas < old->nreplicas)
        return deed(CAIRN_DEED_DROPPED, CAIRN_WHY_BALANCE, gone, 0);
    if (gone != 0)
        return deed(CAIRN_DEED_LEFT_OUT, asked == CAIRN_CHANGE_REMOVE ? CAIRN_WHY_NO_ANSWER : CAIRN_WHY_RESTARTED, gone,
                    0);
    if (old->move.phase != CAIRN_MOVE_NONE || next->move.phase != CAIRN_MOVE_NONE)
        return deed_of_move(old, next);
    for (uint32_t i = 0; i < old->nreplicas; i++) {
        if (!cairn_slot_places(next, old->replicas[i]))
            return deed(CAIRN_DEED_DROPPED, CAIRN_WHY_BALANCE, old->replicas[i], 0);
    }
    return deed(CAIRN_DEED_NONE, CAIRN_WHY_ITSELF, 0, 0);
}

/* ---- the entry ---- */

bool cairn_chronicle_begin(struct cairn_chronicle *c, uint64_t now_ns, uint64_t fence)
{
    if (c->under_way) /* nobody knows what became of it: another one begins */
        cairn_chronicle_stored(c, 0);
    c->changes++;
    c->now_ms = cairn_map_log_now_ms();
    if (c->open && now_ns - c->began_ns < CAIRN_CHRONICLE_SPAN_MS * CAIRN_NS_PER_MS)
        return false;
    cairn_map_log_line_fini(&c->line);
    *c = (struct cairn_chronicle){
        .began_ns = now_ns, .now_ms = c->now_ms, .changes = 1, .number = c->number + 1, .open = true
    };
    cairn_map_log_key(CAIRN_MAP_LOG_SLOTS_PREFIX, c->now_ms, fence << 24 ^ c->number, c->line.key);
    return true;
}

void cairn_chronicle_add(struct cairn_chronicle *c, const struct cairn_deed *d)
{
    uint32_t i = 0;

    if (d->kind == CAIRN_DEED_NONE)
        return;
    while (i < c->ndeeds && (c->deeds[i].kind != d->kind || c->deeds[i].why != d->why || c->deeds[i].from != d->from ||
                             c->deeds[i].to != d->to))
        i++;
    if (i == CAIRN_CHRONICLE_DEEDS_MAX) {
        c->more += MAX(d->slots, 1U);
    } else if (i == c->ndeeds) {
        c->deeds[c->ndeeds++] = *d;
    } else {
        c->deeds[i].slots += d->slots;
    }
}

/* @why: of what becomes of a member. */
static const struct {
    const char *what;
    const char *why;
} kinds[CAIRN_DEED_NR] = {
    [CAIRN_DEED_MADE] = { "made", NULL },
    [CAIRN_DEED_TAKEN] = { "taken over", NULL },
    [CAIRN_DEED_HANDED] = { "handed over", NULL },
    [CAIRN_DEED_RECOVERED] = { "recovered", NULL },
    [CAIRN_DEED_READY] = { "ready", NULL },
    [CAIRN_DEED_LEFT_OUT] = { "left out", NULL },
    [CAIRN_DEED_JOINED] = { "joined", NULL },
    [CAIRN_DEED_COPYING] = { "copying", NULL },
    [CAIRN_DEED_LEADING] = { "to lead", NULL },
    [CAIRN_DEED_DROPPED] = { "dropped", NULL },
    [CAIRN_DEED_STAYED] = { "stayed", NULL },
    [CAIRN_DEED_GIVEN_UP] = { "given up", NULL },
    [CAIRN_DEED_REGISTERED] = { "new node", "%s was started for the first time" },
    [CAIRN_DEED_RESTARTED] = { "node restarted", "%s was started again" },
    [CAIRN_DEED_CHANGED] = { "node changed", "%s has another configuration" },
    [CAIRN_DEED_SILENT] = { "node silent", "no heartbeat of %s" },
    [CAIRN_DEED_FOUND_DEAD] = { "node silent", "no heartbeat of %s, and the group says that it is dead" },
    [CAIRN_DEED_STOPPED] = { "node stopped", "%s says that it stops" },
    [CAIRN_DEED_BACK] = { "node back", "a heartbeat of %s" },
    [CAIRN_DEED_LOST] = { "node lost", "%s was silent for cluster.lost_after" },
    [CAIRN_DEED_SAID_LOST] = { "node lost", "%s was away, and is said not to come back" },
    [CAIRN_DEED_REPLACED] = { "node lost", "another node is called %s now: it was started without its data" },
    [CAIRN_DEED_FORGOTTEN] = { "node forgotten", "%s was gone, and held nothing" },
    [CAIRN_DEED_COORDINATES] = { "coordinates", "%s was elected" },
    [CAIRN_DEED_PUT_BACK] = { "put back", "the map store was put back to an older map, as %s found" },
};

/* "%s" is the node's name; likewise above. It is about whom the deed begins with, if there is such a node. */
static const struct {
    const char *text;
    bool about_to; /* it is about whom the deed ends with */
} reasons[CAIRN_WHY_NR] = {
    [CAIRN_WHY_READY] = { "%s has looked through its log", true },
    [CAIRN_WHY_WANTED] = { "a namespace wants so many replicas", false },
    [CAIRN_WHY_SILENT] = { "%s is silent", false },
    [CAIRN_WHY_RESTARTED] = { "%s was started again", false },
    [CAIRN_WHY_NO_ANSWER] = { "%s does not answer its primary", false },
    [CAIRN_WHY_DRAINED] = { "%s is drained", false },
    [CAIRN_WHY_LOST] = { "%s is lost", false },
    [CAIRN_WHY_FEWER] = { "replicas are missing", false },
    [CAIRN_WHY_BALANCE] = { "each gets its share", false },
    [CAIRN_WHY_STOPS] = { "%s stops", false },
    [CAIRN_WHY_COPIED] = { "%s has everything", true },
    [CAIRN_WHY_GONE] = { "%s is gone", false },
    [CAIRN_WHY_TARGET_RESTARTED] = { "%s was started again", true },
    [CAIRN_WHY_TARGET_GONE] = { "%s is gone", true },
};

struct namer {
    const char *(*name_of)(void *arg, uint64_t node);
    void *arg;
    char hex[17];
};

static const char *name_of(struct namer *n, uint64_t node)
{
    const char *name = n->name_of(n->arg, node);

    snprintf(n->hex, sizeof(n->hex), "%016" PRIx64, node);
    return name != NULL ? name : n->hex;
}

static void reason_of(const struct cairn_deed *d, struct namer *n, char *to, size_t len)
{
    const char *why = d->why == CAIRN_WHY_ITSELF ? kinds[d->kind].why : reasons[d->why].text;
    const char *about = why != NULL ? strstr(why, "%s") : NULL;
    uint64_t who = reasons[d->why].about_to || d->from == 0 ? d->to : d->from;

    if (about != NULL)
        snprintf(to, len, "%.*s%s%s", (int)(about - why), why, name_of(n, who), about + 2);
    else
        snprintf(to, len, "%s", why != NULL ? why : "");
}

/* Each reason once, as far as there is room. */
static void reasons_add(char all[CAIRN_MAP_LOG_TEXT_BYTES_MAX], const char *reason)
{
    size_t n = strlen(all);

    if (reason[0] == '\0' || strstr(all, reason) != NULL || n + 2 + strlen(reason) >= CAIRN_MAP_LOG_TEXT_BYTES_MAX)
        return;
    snprintf(all + n, CAIRN_MAP_LOG_TEXT_BYTES_MAX - n, "%s%s", n > 0 ? "; " : "", reason);
}

static json_t *deed_json(const struct cairn_deed *d, const char *why, struct namer *n)
{
    json_t *o = json_pack("{s:s, s:o}", "what", kinds[d->kind].what, "why", cairn_map_log_text(why));

    if (d->slots > 0)
        json_object_set_new(o, "slots", json_integer(d->slots));
    if (d->from != 0)
        json_object_set_new(o, "from", cairn_map_log_text(name_of(n, d->from)));
    if (d->to != 0)
        json_object_set_new(o, "to", cairn_map_log_text(name_of(n, d->to)));
    return o;
}

bool cairn_chronicle_write(struct cairn_chronicle *c, const char *author,
                           const char *(*names)(void *arg, uint64_t node), void *arg, struct cairn_map_write *to)
{
    struct namer n = { .name_of = names, .arg = arg };
    char reason[CAIRN_MAP_LOG_TEXT_BYTES_MAX] = "", one[CAIRN_MAP_LOG_TEXT_BYTES_MAX];
    json_t *deeds = json_array(), *o;

    for (uint32_t i = 0; i < c->ndeeds; i++) {
        reason_of(&c->deeds[i], &n, one, sizeof(one));
        reasons_add(reason, one);
        json_array_append_new(deeds, deed_json(&c->deeds[i], one, &n));
    }
    o = json_pack("{s:I, s:o, s:o, s:[], s:I, s:o, s:I, s:I}", "time_ms", (json_int_t)c->now_ms, "author",
                  cairn_map_log_text(author), "reason", cairn_map_log_text(reason), "keys", "nkeys", (json_int_t)0,
                  "deeds", deeds, "more", (json_int_t)c->more, "changes", (json_int_t)c->changes);
    free(c->line.value);
    c->line.value = c->ndeeds > 0 && o != NULL ? json_dumps(o, JSON_COMPACT) : NULL;
    json_decref(o);
    c->under_way = c->line.value != NULL;
    if (c->under_way)
        *to = (struct cairn_map_write){ .key = c->line.key,
                                        .value = (const uint8_t *)c->line.value,
                                        .value_len = (uint32_t)strlen(c->line.value),
                                        .from = c->changed };
    return c->under_way;
}

void cairn_chronicle_stored(struct cairn_chronicle *c, uint64_t revision)
{
    if (c->under_way)
        c->changed = revision;
    if (revision == 0)
        c->open = false;
    c->under_way = false;
}

void cairn_chronicle_forget(struct cairn_chronicle *c)
{
    cairn_map_log_line_fini(&c->line);
    *c = (struct cairn_chronicle){ 0 };
}
