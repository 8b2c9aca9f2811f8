#!/usr/bin/env python3
"""Seeds the mistakes of PROTOCOL §10 into the code, one at a time, and says after how many random walks, or by which
story, each is found; and takes Lifeguard's refinements away from the group.

usage: tests/sim/mistakes.py BUILD [NAME ...]      BUILD: a build tree, for its libraries; CAIRN_SEEDS: how many walks
       tests/sim/mistakes.py BUILD --compile       only says whether all of them are C still

The sources are copied, changed and compiled aside. A mistake whose text is no longer in the code is an error: the list
follows the code. Exit status 1 if one is not found.
"""
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager

ROOT = pathlib.Path(__file__).resolve().parents[2]
REPL = "server/cluster/repl/"
SERVICE = "server/cluster/service/"
PRIMARY, BACKUP, PEER = REPL + "replica_primary.c", REPL + "replica_backup.c", REPL + "replica_peer.c"
REPLICA, COPY, LOAD = REPL + "replica.c", REPL + "replica_copy.c", REPL + "replica_load.c"
COORD, TIME, MOVE, LEASE = REPL + "coord.c", REPL + "coord_time.c", REPL + "coord_move.c", REPL + "lease.h"
LIFE, NODE, POST = "tests/sim/repl_life.c", "tests/sim/repl_node.c", "tests/sim/repl_post.c"
MAP, STORE, ELECTION = "tests/sim/repl_map.c", "tests/sim/repl_store.c", "tests/sim/repl_election.c"
GROUP = "providers/group/"
PROBE, SUSPECT = GROUP + "swim_probe.c", GROUP + "swim_suspect.c"
REGIONS, SOURCE = SERVICE + "regions.c", SERVICE + "fetch_source.c"
ADMIT, CORE = SERVICE + "fetch_admit.c", SERVICE + "fetch_core.c"

# name: [(file, text, what stands there instead), ...]
MISTAKES = {
    "M_ACK_BEFORE_REMOVE": [(PRIMARY, "if (p->member || joins)",
                             "if ((p->member && !(r->change.kind == CAIRN_CHANGE_REMOVE && "
                             "cairn_who_is(r->change.who, p->who))) || joins)")],
    "M_NO_LEASE_WAIT": [(TIME, "return cairn_env_now_ns(c->env) >= MAX(n->granted_ns, c->elected_ns) + "
                         "cairn_lease_wait_ns(&c->times);", "return true;")],
    "M_RUMOUR_ENDS_A_LEASE": [(TIME, "return cairn_env_now_ns(c->env) >= MAX(n->granted_ns, c->elected_ns)",
                               "return n->gone || cairn_env_now_ns(c->env) >= MAX(n->granted_ns, c->elected_ns)")],
    "M_W_TOO_SHORT": [(LEASE, "return t->length_ns + t->length_ns / 1000000",
                       "return t->length_ns / 2; return t->length_ns / 1000000")],
    "M_NEWLEADER_NO_WAIT": [(TIME, "MAX(n->granted_ns, c->elected_ns)", "n->granted_ns"),
                            (COORD, ".granted_ns = c->elected_ns", ".granted_ns = 0")],
    "M_FROM_RECEIPT": [(LIFE, "n->beats[i].sent_ns);", "cairn_env_now_ns(env_of(n->rw, n->index)));")],
    "M_DEPOSED_ACTS": [(MAP, "return co->up && (!co->rw->conf.rivals || cairn_env_now_ns(env_of(co->rw, co->host)) < "
                        "co->valid_until_ns);", "return co->up;")],
    "M_VALID_FROM_RECEIPT": [(ELECTION, "co->kept_ns + TERM_MS * MS",
                              "cairn_env_now_ns(env_of(co->rw, co->host)) + TERM_MS * MS")],
    "M_NO_FENCE_REV": [(STORE, "return !is_deposed(co) && rec->epoch", "return rec->epoch")],
    "M_GRANT_INVALID": [(COORD, "term != c->term ||\n        !c->ops->may_act(c))", "term != c->term)")],
    "M_SYNC_ERROR_IGNORED": [(NODE, "    if (log_fails(s, RW_DISK_SYNC))\n        return;\n"
                              "    rw_log_copy(&s->durable, &s->syncing);",
                              "    if ((s->node->refuses & 1U << RW_DISK_SYNC) == 0)\n        "
                              "rw_log_copy(&s->durable, &s->syncing);")],
    "M_CHECKPOINT_ERROR_TRIMS": [(NODE, "        rw_checkpoint_free(&s->making);\n        return;\n    }\n"
                                  "    if (s->making",
                                  "        base = cairn_replica_trim(&s->replica, s->making.at.pos);\n"
                                  "        rw_log_trim(&s->log, base);\n        rw_log_trim(&s->durable, base);\n"
                                  "        rw_checkpoint_free(&s->making);\n        return;\n    }\n"
                                  "    if (s->making")],
    "M_FAILED_SPEAKS": [(POST, "return i > 0 && i <= rw->conf.nodes && rw->nodes[i].failed;", "return false;")],
    "M_GRANT_WHILE_EVICTING": [(COORD, "if (n->evicting > 0)", "if (false)")],
    "M_PROMOTES_AT_ONCE": [(TIME, "if (is_replaced(c, s->rec.primary) || !authority_is_over(c, s->rec.primary))",
                            "if (is_replaced(c, s->rec.primary))")],
    "M_ACK_OF_OLD_EPOCH": [(REPLICA, "if (m->epoch < r->rec.epoch) {",
                            "if (m->epoch < r->rec.epoch && m->kind != CAIRN_REPL_ACK) {")],
    "M_ACK_OF_OLD_INC": [(PEER, "m->from.inc < p->who.inc || (p->member && m->from.inc != p->who.inc)", "false")],
    "M_COPY_KEEPS_MATCHED": [(PEER, "p->matched = p->owes_ns = 0;", "p->owes_ns = 0;")],
    "M_WAITS_FOR_MOST": [(PRIMARY, "if (p->member || joins)", "if ((p->member && i > 0) || joins)")],
    "M_UNKNOWN_IS_NO": [(COORD, "if (rc == 0 || !s->doubtful)", "if (true)")],
    "M_READ_NO_LEASE": [(PRIMARY, "if (has_authority(r))\n            return 0;\n        cairn_sm_move",
                         "if (true)\n            return 0;\n        cairn_sm_move")],
    "M_CHECK_FIRST": [(PRIMARY, "w->done(w, cairn_replica_may_read(r));", "w->done(w, 0);")],
    "M_NO_SYNC_BEFORE_ACK": [(BACKUP, "follows(r) && r->last_sync_pos <= r->log.synced", "follows(r)")],
    "M_ALONE_NOT_WRITTEN": [(PRIMARY, ": MAX(r->log.written, r->log.synced);", ": r->log.end.pos;")],
    "M_ALONE_JOINING": [(REPL + "replica.h", " && cairn_who_is_nobody(r->joiner) &&", " &&")],
    "M_ALONE_OF_TWO": [(REPL + "replica.h", "return r->rec.ninsync == 1 && cairn_who_is(r->rec.insync[0], r->self) &&",
                        "return r->rec.ninsync <= 2 &&")],
    "M_CUT_NOT_SYNCED": [(BACKUP, "r->last_sync_pos = r->cut_pos = e->at.pos; /* a cut",
                          "r->cut_pos = e->at.pos; /* a cut")],
    "M_STALE_REENTRY": [(REPLICA, "if (cairn_slot_insync(rec, r->self) < 0)",
                         "if (!cairn_slot_names(rec, r->self.node))"),
                        (REPLICA, "member = cairn_slot_insync(&r->rec, r->self) >= 0",
                         "member = cairn_slot_names(&r->rec, r->self.node)"),
                        (REPLICA, "(m->to.inc != r->self.inc && m->to.inc != 0) ||", ""),
                        (PEER, "m->from.inc < p->who.inc || (p->member && m->from.inc != p->who.inc)", "false"),
                        (PEER, "if (m->from.inc > p->who.inc)", "if (false)")],
    "M_RECOVER_FIRST": [(TIME, "if (best == NULL || cairn_at_is_less(best->end, e->end))", "if (best == NULL)")],
    "M_RECOVER_STALESET": [(TIME, "!has_its_disk(c, &s->rec, e->who.node) ||", "")],
    "M_RECOVER_NEW_DISK": [(TIME, "return n != NULL && rec->insync[i].inc >= n->p.disk_inc;", "return n != NULL;")],
    "M_REMOVE_BY_THE_DEAD": [(COORD, "||\n        n->p.inc != change->from.inc || n->p.inc <= c->floor)", ")")],
    "M_JOIN_DROP": [(PRIMARY, "ours && verdict == CAIRN_VERDICT_REFUSED_INC",
                     "ours && verdict != CAIRN_VERDICT_COMMITTED")],
    "M_JOIN_EARLY": [(PRIMARY, "r->joiner = who;", ";")],
    "M_JOIN_NO_INC": [(COORD, "n->p.inc != change->who.inc ||", "")],
    "M_LEARNS_OLD": [(REPLICA, "if (rec->epoch <= r->rec.epoch) /* I15 */", "if (rec->epoch == r->rec.epoch)")],
    "M_JOIN_NEVER_REFUSED": [(COORD, "return CAIRN_VERDICT_REFUSED_INC;", "return CAIRN_VERDICT_REFUSED;")],
    "M_ACK_WITHOUT_JOINER": [(PRIMARY, "if (p->member || joins)", "if (p->member)")],
    "M_NO_CATCHUP": [(PRIMARY, "p->matched >= r->commit && p->matched > 0 &&", "")],
    "M_TRUNC_TO_COMMIT": [(BACKUP, "    r->heard_ns = 0;\n", "    r->heard_ns = 0;\n"
                           "    if (!r->partial && r->commit < r->log.end.pos) {\n"
                           "        cairn_slot_log_cut(&r->log, r->commit);\n"
                           "        cairn_sessions_cut(&r->sessions, r->commit);\n"
                           "        r->syncing_pos = MIN(r->syncing_pos, r->commit);\n"
                           "        r->ops->log_cut(r, r->commit);\n    }\n")],
    "M_MATCH_BY_N": [(BACKUP, "r->partial || !cairn_slot_log_has(&r->log, m->prev)",
                      "r->partial || m->prev.pos > r->log.end.pos"),
                     (BACKUP, "if (cairn_slot_log_has(&r->log, e->at))", "if (e->at.pos <= r->log.end.pos)")],
    "M_NO_FENCE": [(REPLICA, "if (m->epoch < r->rec.epoch) {", "if (false) {"),
                   (BACKUP, "!follows(r) || !cairn_who_is(m->from, r->rec.primary)", "!follows(r)")],
    "M_NO_RECONCILE": [(PRIMARY, "r->start_pos == 0 || pos < r->start_pos ||", "r->start_pos == 0 ||"),
                       (PRIMARY, "if (r->applied < r->start_pos)", "if (false)"),
                       (REPLICA, "CAIRN_HOLDS(sm->state != REPLICA_ACTIVE || r->applied >= r->start_pos) &&", "")],
    "M_READ_BEFORE_APPLIED": [(PRIMARY, "if (r->applied < r->start_pos)", "if (false)"),
                              (REPLICA, "CAIRN_HOLDS(sm->state != REPLICA_ACTIVE || r->applied >= r->start_pos) &&",
                               "")],
    "M_DEDUP_LOCAL": [(REPLICA, "    cairn_sessions_append(&r->sessions, e);\n    r->ops->log_append",
                       "    if (e->kind != CAIRN_ENTRY_WRITE || cairn_replica_is_primary(r))\n"
                       "        cairn_sessions_append(&r->sessions, e);\n    r->ops->log_append")],
    "M_DEDUP_NO_PENDING": [(PRIMARY, "if (old == NULL)\n        return 0;",
                            "if (old == NULL || !old->applied)\n        return 0;")],
    "M_DEDUP_NOT_COPIED": [(LOAD, "r->sessions = l->table;", "cairn_sessions_fini(&l->table);")],
    "M_DEDUP_NOT_IN_CHECKPOINT": [(REPLICA, "    cairn_slot_log_restart(&r->log, base);\n    r->commit",
                                   "    cairn_sessions_fini(&r->sessions);\n"
                                   "    cairn_slot_log_restart(&r->log, base);\n    r->commit")],
    "M_BREAD_NOTFOUND": [("tests/sim/repl_call.c", "rc = value != 0 && cairn_replica_may_read_found",
                          "rc = cairn_replica_may_read_found")],
    "M_SWITCH_EARLY": [(COPY, "if (c->last) {", "if (c->number > 2) {"),
                       (COPY, "CAIRN_HOLDS(sm->state != COPY_SESSIONS || c->last) &&", "")],
    "M_COPY_PARTIAL_JOINS": [(BACKUP, "if (r->partial || ", "if ("), (PRIMARY, "if (m->partial || ", "if (")],
    "M_NO_RELEASE": [(MOVE, "    if (rec->move.from == 0 || rec->move.from == rec->primary.node ||",
                      "    if (rec->move.from == rec->primary.node && cairn_coord_is_alive(c, rec->move.target)) {\n"
                      "        next = cairn_coord__begin(c, s);\n        next->primary = rec->move.target;\n"
                      "        next->state = CAIRN_SLOT_TAKEOVER;\n"
                      "        cairn_coord__insync_del(next, rec->move.from);\n"
                      "        cairn_coord__replica_del(next, rec->move.from);\n        move_end(next);\n"
                      "        cairn_coord__store(c, s);\n        return;\n    }\n"
                      "    if (rec->move.from == 0 || rec->move.from == rec->primary.node ||")],
    "M_LEAVER_NOT_WAITED_FOR": [(PRIMARY, "if (p->member || joins)", "if ((p->member && !p->leaves) || joins)")],
    "M_FILL_NO_REPLICA": [(MOVE, "    next->replicas[next->nreplicas++] = next->move.target.node;\n", "")],
    "M_LEAVES_TOO_FEW": [(MOVE, "if (cairn_slot_may_leave(rec, rec->move.from)) {", "if (true) {")],
    "M_TARGET_STAYS_JOINED": [(MOVE, "            next->move.phase = CAIRN_MOVE_COPY;\n", "")],
    # Where the judge excuses what a recovery after a loss, or a primary that ends, may do: these go beyond it.
    "M_APPLIED_IS_TAKEN": [(BACKUP, "if (cairn_slot_log_has(&r->log, e->at))",
                            "if (cairn_slot_log_has(&r->log, e->at) || e->at.pos <= r->applying)"),
                           (BACKUP, "cairn_replica__view(r, r->applied)", "cairn_replica__view(r, r->log.base.pos)")],
    "M_APPLIED_IS_CUT": [(BACKUP, "e->at.pos <= r->applying || e->at.pos > r->log.end.pos + 1",
                          "e->at.pos > r->log.end.pos + 1"),
                         (BACKUP, "cairn_replica__view(r, r->applied)", "cairn_replica__view(r, r->log.base.pos)"),
                         (BACKUP, "r->commit = MIN(r->commit, e->at.pos - 1);",
                          "r->commit = MAX(MIN(r->commit, e->at.pos - 1), r->applying);")],
    "M_LEADS_BEFORE_TAKEOVER_ENDS": [(PRIMARY, "    if (r->sm.state != REPLICA_ACTIVE)\n        return false;\n"
                                      "    if (r->rec.state == CAIRN_SLOT_TAKEOVER)\n"
                                      "        return change_begin(r, CAIRN_CHANGE_ACTIVE, r->self);\n",
                                      "    if (r->rec.state == CAIRN_SLOT_TAKEOVER)\n"
                                      "        return change_begin(r, CAIRN_CHANGE_ACTIVE, r->self);\n"
                                      "    if (r->sm.state != REPLICA_ACTIVE)\n        return false;\n")],
    "M_RECOVERED_FORGETS": [(PRIMARY, "        start_epoch(r);\n",
                             "        for (uint32_t i = 0; i < r->sessions.n && r->rec.ninsync == 1; i++)\n"
                             "            r->sessions.all[i].nwrites = 0;\n        start_epoch(r);\n")],
    "M_TOO_FEW_TAKE_WRITES": [(PRIMARY, "r->rec.ninsync < MIN(r->rec.min_insync, r->rec.nreplicas) ||", "")],
    "M_CLEAN_ON_HEARSAY": [(LOAD, "!r->ops->lease_is_valid(r) || ", "")],
    "M_CLEAN_EARLY": [(LOAD, "r->rec.state != CAIRN_SLOT_ACTIVE ||", "")],
    "M_ENTRY_FIRST": [(ADMIT, "a->here &= cluster_fetch_is_here", "cluster_fetch_is_here")],
    "M_NO_REGION_SYNC": [("tests/sim/repl_regions.c", "    r->sealed = true;\n    cairn_timer_init",
                          "    r->sealed = true;\n    r->stored(r->arg, r);\n    return;\n    cairn_timer_init")],
    "M_GONE_ANY": [(REPL + "replica.h",
                    "return r->rec.epoch == epoch && r->self.inc == inc && cairn_replica_is_primary(r);",
                    "return true;"),
                   (SOURCE, "return cluster_fetch_asks_leader(f) && f->set", "return f->set")],
    "M_GONE_DEPOSED": [(REPL + "replica.h",
                        "return r->rec.epoch == epoch && r->self.inc == inc && cairn_replica_is_primary(r);",
                        "return r->self.inc == inc;")],
    "M_GONE_RESTARTED": [(REPL + "replica.h",
                          "return r->rec.epoch == epoch && r->self.inc == inc && cairn_replica_is_primary(r);",
                          "return r->rec.epoch >= epoch;")],
    "M_GONE_FOR_ALL": [(REGIONS, "r->state == REGION_GONE && r->said_by != named_by", "false")],
    "M_GC_NO_PIN": [(REGIONS, "if (*place_of(t, ids[i]) == NULL)", "if (true)")],
    "M_GC_NAMED_PIN": [(REGIONS, "if (*place_of(t, ids[i]) == NULL)",
                        "if (*place_of(t, ids[i]) == NULL || (*place_of(t, ids[i]))->until_ns == 0)")],
    "M_GC_NO_DOOM": [(REGIONS, "is_doomed(t, id) || has_no_room(t)", "has_no_room(t)")],
    "M_GC_RECORDS_FIRST": [("tests/sim/repl_sweep.c", "look_at_log(w, ", "look_at_RECORDS(w, "),
                           ("tests/sim/repl_sweep.c", "look_at_records(w, &n", "look_at_log(w, &n"),
                           ("tests/sim/repl_sweep.c", "look_at_RECORDS", "look_at_records")],
    "M_GC_BEFORE_A_CUT": [(REPL + "replica.h", "return r->cut_pos > r->log.synced;", "return false;")],
    "M_FREE_BEFORE_SYNC": [("tests/sim/repl_sweep.c", "if (!all_is_durable(n)) {", "if (false) {")],
    "M_CLEAR_ON_RUMOUR": [(CORE, "else if (cluster_fetch__believes(f))", "else if (true)"),
                          (CORE, "&&\n           CAIRN_HOLDS(sm->state != FETCH_CLEAR || f->want.named)", "")],
    "M_NO_HEALTH": [(PROBE, "s->health = (uint32_t)MIN(MAX(h, 0), (int)CAIRN_SWIM_HEALTH_MAX);", "(void)h;")],
    "M_SUSPECTS_BRIEFLY": [(SUSPECT, "x->max_ms = x->min_ms * s->conf.suspect_times;", "x->max_ms = x->min_ms;")],
    "M_SUSPECTS_LONG": [(SUSPECT, "    x->by[x->nby++] = by;\n    plan(s, x);\n", "    x->by[x->nby++] = by;\n")],
    "M_NO_BUDDY": [(PROBE, "s->views[slot].state != CAIRN_SWIM_ALIVE ? slot : NO_SLOT", "NO_SLOT"),
                   (PROBE, "s->views[from].state != CAIRN_SWIM_ALIVE ? from : NO_SLOT", "NO_SLOT")],
}


# What walks meet too seldom, or never (README.md), has a story: the program, and the test that has to fail.
FETCH_STORIES, GROUP_STORIES = "tests/sim/test_sim_fetch.c", "tests/sim/test_group_lifeguard.c"
REPLICA_STORIES, COORD_STORIES = "tests/sim/test_sim_replica.c", "tests/unit/cluster/test_repl_coord.c"
STORIES = {
    "M_APPLIED_IS_TAKEN": (REPLICA_STORIES, "what_is_applied_is_not_cut"),
    "M_APPLIED_IS_CUT": (REPLICA_STORIES, "what_is_applied_is_not_cut"),
    "M_CUT_NOT_SYNCED": (REPLICA_STORIES, "cut_is_on_disk_before_the_ack"),
    "M_GC_BEFORE_A_CUT": (REPLICA_STORIES, "cut_is_on_disk_before_the_ack"),
    "M_CLEAN_ON_HEARSAY": (REPLICA_STORIES, "who_has_no_lease_cleans_nothing"),
    "M_RECOVER_NEW_DISK": (COORD_STORIES, "new_disk_is_no_candidate"),
    "M_GONE_ANY": (FETCH_STORIES, "another_may_not"),
    "M_GONE_FOR_ALL": (FETCH_STORIES, "who_leads_may_say_that_it_is_gone"),
    "M_GONE_DEPOSED": (REPLICA_STORIES, "only_who_leads_says_that_a_region_is_gone"),
    "M_GONE_RESTARTED": (REPLICA_STORIES, "only_who_leads_says_that_a_region_is_gone"),
    "M_CLEAR_ON_RUMOUR": (FETCH_STORIES, "a_rumour_is_a_rumour"),
    "M_NO_HEALTH": (GROUP_STORIES, "who_is_not_well_gives_others_more_time"),
    "M_SUSPECTS_BRIEFLY": (GROUP_STORIES, "a_suspicion_lasts_as_long_as_it_is_ones_own"),
    "M_SUSPECTS_LONG": (GROUP_STORIES, "a_suspicion_lasts_as_long_as_it_is_ones_own"),
    "M_NO_BUDDY": (GROUP_STORIES, "a_suspect_hears_of_it_from_whoever_talks_to_it"),
}


def flags(build):
    out = subprocess.run(["pkg-config", "--cflags", "--libs", "cmocka", "libxxhash", "libprotobuf-c"],
                         capture_output=True, text=True)
    return out.stdout.split() + ["-I", str(build / "generated"), "-I", str(build / "proto")]


class Tree:
    """A copy of the sources, their objects, and programs made of them; a mistake stands in it for a while."""

    def __init__(self, work, build):
        self.work, self.build, self.objects = work, build, {}
        for part in (REPL, SERVICE, GROUP, "tests/sim", "tests/unit/cluster"):
            shutil.copytree(ROOT / part, work / part)
        libs = [str(p) for p in build.rglob("libcairn-core*.a")] + [str(p) for p in build.rglob("libcairn-proto*.a")]
        self.libs = ["-Wl,--start-group", *libs, "-Wl,--end-group", *flags(build), "-lisal", "-lm", "-lpthread"]

    def sources(self, test):
        """All that @test is made of; what does I/O is not."""
        sim = self.work / "tests/sim"
        if test == GROUP_STORIES:
            return [*sorted((self.work / GROUP).glob("swim*.c")), sim / "group_world.c", sim / "world.c"]
        cores = ("coord*.c", "replica*.c", "sessions*.c", "slot_log.c", "repl_wire*.c")
        found = [p for pattern in cores for p in (self.work / REPL).glob(pattern)]
        found += sim.glob("repl*_*.c")
        found += [self.work / SERVICE / n for n in ("regions.c", "fetch_core.c", "fetch_source.c", "fetch_admit.c")]
        return [*sorted(found), sim / "world.c", sim / "linear.c"]

    def cc(self, *args):
        done = subprocess.run(["cc", "-std=gnu17", "-O2", "-w", "-I", str(self.work), "-I", str(ROOT), "-I",
                               str(ROOT / "proto/include"), *map(str, args)], capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(done.stderr[-3000:])

    def object(self, source, changed):
        """Its object; made anew if it, or a header that it may include, is another one."""
        if any(name.endswith(".h") or self.work / name == source for name in changed):
            made = source.with_suffix(".seeded.o")
        elif source in self.objects:
            return self.objects[source]
        else:
            made = self.objects[source] = source.with_suffix(".o")
        self.cc(*flags(self.build), "-c", source, "-o", made)
        return made

    @contextmanager
    def made(self, changes):
        """That mistake, and which files it is in."""
        originals = {}
        for name, old, new in changes:
            text = (self.work / name).read_text()
            if text.count(old) < 1:
                sys.exit(f"{name}: the text is not there: {old}")
            originals.setdefault(name, text)
            (self.work / name).write_text(text.replace(old, new))
        yield list(originals)
        for name, text in originals.items():
            (self.work / name).write_text(text)

    def program(self, test, changes):
        """@test with that mistake."""
        exe = self.work / "program"
        for source in self.sources(test):  # those without it, the first time
            self.object(source, ())
        with self.made(changes) as files:
            objects = [self.object(source, files) for source in self.sources(test)]
            self.cc(*objects, self.work / test, *self.libs, "-o", exe)
        return exe

    def compile(self, changes):
        """Ends the program if the mistake is no C."""
        with self.made(changes) as files:
            for name in files:
                self.cc(*flags(self.build), "-fsyntax-only", "-x", "c", self.work / name)


def run(exe, seeds):
    """(seed, what) of the first walk that fails, or (None, "")."""
    env = dict(os.environ, CAIRN_SEEDS=str(seeds))
    try:
        done = subprocess.run([exe], env=env, capture_output=True, text=True, errors="replace", timeout=1800)
        text, failed = done.stderr + done.stdout, done.returncode != 0
    except subprocess.TimeoutExpired as late:
        text, failed = (late.stderr or b"").decode(errors="replace"), True
    if not failed:
        return None, ""
    walks = re.findall(r"seed (\d+)", text)
    why = re.findall(r"does not hold: (.*)|assertion failed: (.*?) at|(not linearizable|not found out)", text)
    return int(walks[-1]) if walks else 0, next((w for w in (why[0] if why else ()) if w), "it hangs")


def run_story(exe, name):
    """Whether that story fails."""
    done = subprocess.run([exe], capture_output=True, text=True, errors="replace", timeout=60)
    failed = re.findall(r"\[  (?:FAILED|ERROR )  \] (\w+)$", done.stdout + done.stderr, re.MULTILINE)
    return done.returncode != 0 and name in failed


def main():
    build, wanted = pathlib.Path(sys.argv[1]).resolve(), sys.argv[2:] or list(MISTAKES)
    seeds, missed = int(os.environ.get("CAIRN_SEEDS", "2000")), 0
    with tempfile.TemporaryDirectory(prefix="cairn-mistakes-") as tmp:
        tree = Tree(pathlib.Path(tmp), build)
        if wanted == ["--compile"]:
            for changes in MISTAKES.values():
                tree.compile(changes)
            return 0
        for name in wanted:
            source, story = STORIES.get(name, ("tests/sim/test_sim_repl_walk.c", None))
            exe = tree.program(source, MISTAKES[name])
            if story is not None:
                found = run_story(exe, story)
                print(f"| {name} | {'' if found else 'NOT '}by {story} |", flush=True)
                missed += not found
                continue
            seed, why = run(exe, seeds)
            missed += seed is None
            print(f"| {name} | {'not in ' + str(seeds) if seed is None else seed} | {why} |", flush=True)
    return missed > 0


if __name__ == "__main__":
    sys.exit(main())
