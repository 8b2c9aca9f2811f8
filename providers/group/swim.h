/** Failure detection and gossip, as decisions only: SWIM (Das, Gupta, Motivala, DSN 2002) with Lifeguard's refinements
 * (Dadgar, Phillips, Currey, DSN-W 2018). No I/O, no clock, no allocation: equal state and equal input give equal
 * output.
 *
 * Each period a member pings another one, in an order that visits all of them before any again. No answer: others are
 * asked to ping it, too. Still none: it is suspected, all are told, and it has until a deadline to contradict, which it
 * does with a higher incarnation. Deadlines are long while one member alone suspects and fall with each that confirms.
 * What is news travels on every packet, and in packets of its own while there is news.
 *
 * Lifeguard: a member that misses answers first doubts itself (`health`) and becomes slower to judge; a suspect is told
 * so with every ping. Ours: members that hear of a suspicion look for themselves, as many as are needed to confirm it;
 * time during which this process did not run counts for no deadline; a packet has room for one more record, of members
 * in turn, so that what was lost heals and load figures spread at a cost that does not grow with the group. And each
 * packet carries its sender's word (server/port/gossip.h), which is news when its version grows. */
#ifndef CAIRN_GROUP_SWIM_H
#define CAIRN_GROUP_SWIM_H

#include "providers/group/swim_packet.h"
#include "sdk/core/sm/sm.h"

enum {
    CAIRN_SWIM_SEEDS_MAX = 16,
    CAIRN_SWIM_SENDS_MAX = 24,
    CAIRN_SWIM_EVENTS_MAX = 128,
    CAIRN_SWIM_RELAYS_MAX = 16, /* pings for others that run at a time; more replace the oldest */
    CAIRN_SWIM_SPREAD_MAX = 32, /* an update is sent fewer times than this by each member */
    CAIRN_SWIM_HEALTH_MAX = 8,
};

struct cairn_swim_conf {
    uint32_t period_ms;     /* between probes of a healthy member */
    uint32_t ping_ms;       /* without an answer for so long, others are asked */
    uint32_t gossip_ms;     /* between packets of news, while there is news */
    uint32_t suspect_ms;    /* how long a confirmed suspicion of a group of ten lasts; grows with log10 of the group */
    uint32_t suspect_times; /* an unconfirmed one lasts so many times longer */
    uint32_t confirmations; /* beside the first suspicion; below CAIRN_SWIM_BY_MAX */
    uint32_t relays;        /* members that are asked to ping for us */
    uint32_t fanout;        /* members that get news each time */
    uint32_t spread;        /* news are sent so many times log10 of the group */
    uint32_t revisit_ms;    /* a dead member is pinged this often: partitions heal */
    uint32_t forget_ms;     /* the dead are remembered so long */
    bool observer;          /* sees the group without being a member */
};
/** What a LAN wants: see README.md for what follows from it. */
extern const struct cairn_swim_conf cairn_swim_conf_default;

/** What a core believes of one member. */
struct cairn_swim_view {
    uint64_t incarnation;
    uint32_t load_seq;
    uint32_t changed;    /* the core's version when this changed last */
    uint32_t next, prev; /* slots + 1, in the queue of news; of an observer, `next` is the sync that told of it last */
    uint32_t mark;       /* SUSPECT: number of its suspicion; else seconds of core time when the state began */
    uint16_t load;
    uint8_t state; /* enum cairn_swim_state */
    uint8_t news;  /* 0: nothing new; else 1 + how often the news of it were sent */
};
_Static_assert(sizeof(struct cairn_swim_view) == 32, "ten thousand cores with ten thousand views each must fit");

struct cairn_swim_suspicion {
    uint64_t since_ms, due_ms;
    uint64_t by[CAIRN_SWIM_BY_MAX];
    uint32_t min_ms, max_ms;
    uint32_t slot, pos; /* @pos in the heap */
    uint8_t nby, wanted;
    bool called; /* whom it is about was told once more */
};

/** Suspicions in order of their deadlines; without a free place a new one is left for the next probe. */
struct cairn_swim_suspects {
    struct cairn_swim_suspicion *all;
    uint32_t *heap; /* numbers: those in use as a heap, behind them the free ones */
    uint32_t n, max;
};

struct cairn_swim_memory {
    struct cairn_swim_view *views; /* as many as the directory has slots */
    struct cairn_swim_suspicion *suspicions;
    uint32_t *heap; /* as many as suspicions */
    uint32_t nsuspicions;
};

enum cairn_swim_event_type {
    CAIRN_SWIM_EV_JOINED,    /* @slot was unknown, dead or gone and is alive */
    CAIRN_SWIM_EV_SUSPECTED, /* did not answer */
    CAIRN_SWIM_EV_CLEARED,   /* was suspected and has contradicted */
    CAIRN_SWIM_EV_DIED,
    CAIRN_SWIM_EV_LEFT,
    CAIRN_SWIM_EV_UPDATED,       /* its description changed */
    CAIRN_SWIM_EV_SYNCED,        /* all members are known now: the first time, or after a refusal */
    CAIRN_SWIM_EV_ACCUSED,       /* we were suspected or declared dead, and contradict */
    CAIRN_SWIM_EV_SEED_IS_SELF,  /* @slot is the number of the seed */
    CAIRN_SWIM_EV_NAME_TAKEN,    /* a living member elsewhere has our name; @addr says where. We try again. */
    CAIRN_SWIM_EV_GROUP_FULL,    /* the member asked has no room for us */
    CAIRN_SWIM_EV_SUPERSEDED,    /* a younger member elsewhere took our name: this core is silent from now on */
    CAIRN_SWIM_EV_DROPPED_MEMBER /* no room in the directory for one more */
};
struct cairn_swim_event {
    enum cairn_swim_event_type type;
    uint32_t slot;
    struct cairn_swim_addr addr;
};

enum cairn_swim_input {
    CAIRN_SWIM_TICK,   /* the time has come that the last output named, or any other */
    CAIRN_SWIM_PACKET, /* @bytes of @from, which came from @addr */
    CAIRN_SWIM_SEEDS,  /* @seeds: whom to ask; replaces what was there. @urgent: each of them, now, even in a group */
    CAIRN_SWIM_SET,    /* @desc: the new description of ourselves; name and address stay */
    CAIRN_SWIM_LOAD,   /* @load of ourselves */
    CAIRN_SWIM_WORD,   /* @word: ours from now on; all are told soon if its version is higher than before */
    CAIRN_SWIM_LEAVE,
};
struct cairn_swim_in {
    enum cairn_swim_input type;
    uint64_t now_ms;
    uint64_t from; /* id; proved */
    struct cairn_swim_addr addr;
    const uint8_t *bytes;
    size_t len;
    const struct cairn_swim_addr *seeds;
    uint32_t nseeds;
    bool urgent;
    const struct cairn_swim_desc *desc;
    uint16_t load;
    struct cairn_gossip_word word;
};

struct cairn_swim_send {
    struct cairn_swim_addr to;
    uint32_t slot; /* of the member there, or CAIRN_SWIM_NO_SLOT */
    uint16_t len;
    uint8_t bytes[CAIRN_SWIM_PACKET_BYTES_MAX];
};
/** The caller's; what was in it before is overwritten. */
struct cairn_swim_out {
    uint64_t wake_ms; /* a TICK is due then */
    uint32_t nsends, nevents;
    struct cairn_gossip_word heard; /* another's, of a higher version than ours; node 0: none */
    struct cairn_swim_event events[CAIRN_SWIM_EVENTS_MAX];
    struct cairn_swim_send sends[CAIRN_SWIM_SENDS_MAX];
};

struct cairn_swim_counts {
    uint64_t packets, malformed, misdirected;
    uint64_t probes, probes_saved, probes_failed; /* saved: only others got an answer */
    uint64_t suspicions, deaths, accused;
    uint64_t refused, dropped; /* joins refused; members without a slot */
    uint64_t stalled_ms;       /* during which we did not run */
};

struct cairn_swim_relay {
    uint64_t nack_ms; /* 0: free */
    uint32_t seq, ours;
    uint32_t asker, target; /* slots */
};

/** The order of probes: a permutation of 2^bits numbers, a new one each round, computed instead of stored. */
struct cairn_swim_walk {
    uint32_t i, mul, add, bits;
};

struct cairn_swim_join {
    struct cairn_sm sm; /* group-sync, while a page is awaited */
    struct cairn_swim_addr at;
    uint64_t next_ms, due_ms;
    uint32_t seq, cursor, tries, backoff_ms, seed;
    uint32_t urgent;                      /* so many seeds more are to be asked without a pause */
    uint32_t silent;                      /* that did not answer, one after the other */
    uint32_t epoch, since, first_version; /* observers: how far they have followed whom */
    uint32_t number;                      /* of full syncs that an observer began */
    bool running, synced;                 /* @synced: once at least */
    bool unsettled, whole;                /* all is to be asked for once more, soon; the next time it is */
    bool refused;                         /* the last answer was no; the next yes is news */
};

struct cairn_swim {
    struct cairn_swim_conf conf;
    struct cairn_swim_dir *dir;
    struct cairn_swim_view *views;
    struct cairn_swim_suspects suspects;
    struct cairn_sm_set *machines;
    uint64_t id;       /* of ourselves; an observer's is random */
    uint64_t instance; /* random, of this life */
    uint32_t self;     /* slot; CAIRN_SWIM_NO_SLOT for an observer */
    uint32_t epoch;    /* of our versions: a new life counts anew */
    uint32_t version;  /* grows with every change of a view */
    uint32_t count[CAIRN_SWIM_STATES_NR];
    bool leaving, superseded;

    uint64_t random, now_ms, wake_ms, stalled_ms; /* now_ms is core time: without stalls */
    uint32_t health;                              /* 0 is well; probes take (health + 1) times as long */

    struct cairn_sm probe; /* group-probe, while one runs */
    bool probing;
    uint64_t probe_at, ping_due;
    uint32_t probe_seq, probe_slot, asked, nacks;
    uint32_t hint; /* slot + 1 of whom to look at next */
    struct cairn_swim_walk walk;
    uint32_t sweep, fill; /* slots: of forgetting, of the record that fills a packet */
    uint64_t revisit_at;
    uint32_t revisit;
    struct cairn_swim_relay relays[CAIRN_SWIM_RELAYS_MAX];
    uint32_t relay_next, seq;

    struct {
        uint32_t head, tail;       /* slots + 1 */
    } news[CAIRN_SWIM_SPREAD_MAX]; /* by how often they were sent */
    uint32_t nnews;
    uint64_t gossip_at;
    struct cairn_gossip_word word; /* ours */
    uint32_t word_left;            /* so many packets more are sent for its sake */

    struct cairn_swim_addr seeds[CAIRN_SWIM_SEEDS_MAX];
    bool seed_is_self[CAIRN_SWIM_SEEDS_MAX];
    uint32_t nseeds;
    struct cairn_swim_join join;
    struct cairn_swim_counts counts;
};

/** @self: our description, which gets a slot of @dir; an observer has none, and @incarnation is unused. @incarnation
 * must exceed that of any former life. @random: a seed. Views of @memory are cleared. @machines may be shared. Returns
 * 0, or CAIRN_E_LIMIT when the directory is full. */
int cairn_swim_init(struct cairn_swim *s, const struct cairn_swim_conf *conf, struct cairn_swim_dir *dir,
                    const struct cairn_swim_memory *memory, const struct cairn_swim_desc *self, uint64_t incarnation,
                    uint64_t random, struct cairn_sm_set *machines);
/** Ends what runs; the memory is the caller's again. */
void cairn_swim_fini(struct cairn_swim *s);

void cairn_swim_step(struct cairn_swim *s, const struct cairn_swim_in *in, struct cairn_swim_out *out);

/** As if @slot had always been an alive member: for the simulator, which begins with a group that stands. */
void cairn_swim_assume_alive(struct cairn_swim *s, uint32_t slot, uint64_t incarnation);

/** Members that are alive or suspected, ourselves included. */
static inline uint32_t cairn_swim_size(const struct cairn_swim *s)
{
    return s->count[CAIRN_SWIM_ALIVE] + s->count[CAIRN_SWIM_SUSPECT];
}

extern const struct cairn_sm_kind cairn_swim_probe_kind, cairn_swim_sync_kind;

#endif
