/* What the core and the seal report, as log lines and as the problem that `cairn status` shows. */
#include "providers/group/group_internal.h"

#include "sdk/core/base/log.h"

#include <inttypes.h>
#include <string.h>

static void tell_member(const struct group_provider *p, const struct cairn_swim_event *e)
{
    const struct cairn_swim_desc *d = &p->dir.descs[e->slot];
    uint64_t incarnation = p->core.views[e->slot].incarnation;
    char addr[GROUP_ADDR_TEXT_MAX];

    group_addr_text(&d->addr, addr);
    switch (e->type) {
    case CAIRN_SWIM_EV_JOINED:
        cairn_log_info("group %s: member %s at %s joined, incarnation %" PRIu64, p->group, d->name, addr, incarnation);
        break;
    case CAIRN_SWIM_EV_SUSPECTED:
        cairn_log_info("group %s: member %s at %s does not answer", p->group, d->name, addr);
        break;
    case CAIRN_SWIM_EV_CLEARED:
        cairn_log_info("group %s: member %s at %s answers again", p->group, d->name, addr);
        break;
    case CAIRN_SWIM_EV_DIED:
        cairn_log_warn("group %s: member %s at %s is silent", p->group, d->name, addr);
        break;
    case CAIRN_SWIM_EV_LEFT:
        cairn_log_info("group %s: member %s at %s left", p->group, d->name, addr);
        break;
    default:
        cairn_log_debug("group %s: member %s has new attributes", p->group, d->name);
        break;
    }
}

static void tell_problem(struct group_provider *p, const struct cairn_swim_event *e)
{
    char addr[GROUP_ADDR_TEXT_MAX], before[GROUP_PROBLEM_MAX];

    memcpy(before, p->problem, sizeof(before));
    group_addr_text(&e->addr, addr);
    if (e->type == CAIRN_SWIM_EV_NAME_TAKEN)
        group_problem(p, "another member, at %s, is called %s and is alive: members need names of their own (`member`)",
                      addr, p->self.name);
    else if (e->type == CAIRN_SWIM_EV_SUPERSEDED)
        group_problem(
            p, "a younger member, at %s, is called %s, too: this one is silent now, and must be renamed or stopped",
            addr, p->self.name);
    else
        group_problem(p, "the group has no room for another member (`members` of those that are there)");
    if (strcmp(before, p->problem) != 0)
        cairn_log_error("group %s: %s", p->group, p->problem);
}

static void tell_seed_is_self(struct group_provider *p, uint32_t seed)
{
    char addr[GROUP_ADDR_TEXT_MAX];

    if (seed >= p->core.nseeds)
        return;
    group_addr_text(&p->core.seeds[seed], addr);
    cairn_log_warn("group %s: join: %s is this member itself", p->group, addr);
}

void group_tell_events(struct group_provider *p)
{
    for (uint32_t i = 0; i < p->out.nevents; i++) {
        const struct cairn_swim_event *e = &p->out.events[i];

        switch (e->type) {
        case CAIRN_SWIM_EV_SYNCED:
            group_problem(p, "%s", "");
            cairn_log_info("group %s: %s, %u members", p->group, p->observer ? "observing" : "joined",
                           cairn_swim_size(&p->core));
            break;
        case CAIRN_SWIM_EV_ACCUSED:
            cairn_log_info("group %s: others did not hear from us for a while; told them that we are here", p->group);
            break;
        case CAIRN_SWIM_EV_SEED_IS_SELF:
            tell_seed_is_self(p, e->slot);
            break;
        case CAIRN_SWIM_EV_NAME_TAKEN:
        case CAIRN_SWIM_EV_GROUP_FULL:
        case CAIRN_SWIM_EV_SUPERSEDED:
            tell_problem(p, e);
            break;
        case CAIRN_SWIM_EV_DROPPED_MEMBER:
            if (p->core.counts.dropped == 1)
                cairn_log_error("group %s: no room for another member: raise `members`", p->group);
            break;
        default:
            tell_member(p, e);
            break;
        }
    }
}

/* Once each: whoever sends such packets can send many. The counts are in `status`. */
void group_tell_refused(struct group_provider *p, enum group_seal_result why, const struct cairn_swim_addr *from)
{
    static const char *const what[GROUP_SEAL_RESULTS_NR] = {
        [GROUP_SEAL_TORN] = "packets that are none of ours or were cut short",
        [GROUP_SEAL_STRANGE] = "packets of another version of the group's protocol",
        [GROUP_SEAL_FOREIGN] = "packets of another cluster or group",
        [GROUP_SEAL_FORGED] = "packets that were not made with our cluster key, or were changed on their way",
        [GROUP_SEAL_REPLAYED] = "packets that came before",
    };
    char addr[GROUP_ADDR_TEXT_MAX];

    if (p->said[why])
        return;
    p->said[why] = true;
    group_addr_text(from, addr);
    cairn_log_warn("group %s: %s sends %s; they are dropped and counted, and this is said once", p->group, addr,
                   what[why]);
    if (why == GROUP_SEAL_STRANGE && !p->core.join.synced && p->core.nseeds > 0)
        group_problem(
            p, "%s speaks another version of the group's protocol: all members need the same release of Cairn", addr);
    else if (why == GROUP_SEAL_FOREIGN && !p->core.join.synced && p->core.nseeds > 0)
        group_problem(p, "%s belongs to another cluster or group (`group`, node.cluster)", addr);
    else if (why == GROUP_SEAL_FORGED && !p->core.join.synced && p->core.nseeds > 0)
        group_problem(p, "%s has another cluster key (auth.key_file)", addr);
}
