"""A cluster whose slots move: nodes join, are drained under load, are lost for good, are too few. Nothing is lost, and in the
end each node has its share."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import threading
import unittest

from systest import (CAIRN, DEADLINE_S, DEGRADED, FAILED, OK, TIMEOUT, USAGE, Case, Etcd, clean_env, main, on_terminal, tries,
                     wait_for)

CLUSTER = "0123456789abcdef0123456789abcdef"
SLOTS = 1024


class Load:
    """Puts that go on until they are told to stop; every one that was acknowledged has to be there afterwards."""

    def __init__(self, node, key, namespace):
        self.node, self.argv, self.namespace = node, [CAIRN, "--quiet", "--key", key], namespace
        self.done, self.failed, self.over = {}, [], threading.Event()
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        n = 0
        while not self.over.is_set():
            key, value = "load/%d" % (n % 40), "%d " % n * 50
            put = subprocess.run([*self.argv, "put", "-v", value, self.namespace, key], capture_output=True, text=True,
                                 env=clean_env(CAIRN_WORKSPACE=self.node.workspace))
            if put.returncode == OK:
                self.done[key] = value
            else:
                self.failed.append(put.stderr)
            n += 1

    def end(self):
        """When there were some, however slow the machine is."""
        try:
            wait_for("some puts", lambda: len(self.done) > 5 or self.failed)
        finally:
            self.over.set()
            self.thread.join()


@unittest.skipUnless(shutil.which("etcd"), "etcd is not installed")
class MovesCase(Etcd, Case):
    """Nodes that may be more, and what they say of who holds how much."""

    def begin(self, n, *settings):
        self.url, self.etcd = self.start_etcd(os.path.join(self.base, "etcd"))
        self.all, self.settings = [], settings
        for i in range(n):
            self.add()

    def add(self):
        name = "n%d" % (len(self.all) + 1)
        args = ["--set", "map.store=etcd", "--set", "map.endpoints=" + self.url, "--set", "node.cluster=" + CLUSTER, "--set",
                "node.name=" + name, "--set", "auth.key_file=" + self.path("key"), "--set", "cluster.zone=" + name]
        for s in self.settings:
            args += ["--set", s]
        node = self.node(name, args=args)
        node.name = name
        node.start()
        self.all.append(node)
        return node

    def cairn(self, node, *argv, **kw):
        return node.cairn("--key", self.path("key"), *argv, **kw)

    def cluster(self, node):
        """What the coordinator says, whoever it is; {} while there is none."""
        status = self.cairn(node, "status", "--json")
        return status.json.get("cluster", {}) if status.code in (OK, DEGRADED) else {}

    def members(self, node):
        return {m["name"]: m for m in self.cluster(node).get("members", [])}

    def member(self, node, name):
        """What is said of one; nothing of it while nobody coordinates."""
        return self.members(node).get(name, {"state": "", "slots": 0, "leads": 1})

    def fewest(self, node):
        """How many replicas in sync the worst slot of the first class has; nothing while nobody coordinates."""
        classes = self.cluster(node).get("classes")
        return classes[0]["fewest"] if classes else None

    def await_members(self, node, n):
        wait_for("all members", lambda: [m["state"] for m in self.members(node).values()] == ["up"] * n)

    def state(self, node, name):
        """Of one, as it is told by whoever coordinates."""
        told = []
        wait_for("word of " + name, lambda: told.append(self.members(node)[name]["state"]) or told)
        return told[0]

    def create(self, node, replicas, name="data"):
        self.ok(self.cairn(node, "ns", "create", "--replicas", str(replicas), name))

    def is_settled(self, node):
        seen = self.cluster(node)
        slots = seen.get("slots", {"all": 0})
        return bool(seen.get("members")) and "moves" not in seen and slots["all"] > 0 and \
            slots["degraded"] + slots["takeover"] + slots["lost"] == 0

    def await_ok(self, node):
        """What a node says of itself may be some moments old."""
        wait_for("an end of what is degraded", lambda: self.cairn(node, "status").code == OK)

    def assert_even(self, node, names, replicas):
        """The busiest within a tenth of the mean, in what it holds and in what it leads; nobody else has anything. Who is late with
        its heartbeat leads nothing for a moment."""
        def is_even():
            members = self.members(node).values()
            return members and all((m["slots"], m["leads"]) == (0, 0) for m in members if m["name"] not in names) and all(
                sum(m[count] for m in members) == total and max(m[count] for m in members) <= 1.1 * total / len(names)
                for count, total in (("slots", SLOTS * replicas), ("leads", SLOTS)))

        try:
            wait_for("even shares of %s" % ", ".join(names), is_even)
        except AssertionError:
            self.fail("uneven: %s" % self.members(node))

    def coordinates(self, node):
        providers = node.cairn("status", "--json").json["providers"]
        return next(p for p in providers if p["type"] == "cluster")["coordinates"]

    def coordinator(self):
        found = []
        wait_for("a coordinator", lambda: found.append(next(n for n in self.all if self.coordinates(n))) or found)
        return found[0]

    def asked_until(self, said, node, *argv, code=OK):
        """What a command says, that may be given again: when the coordinator has told it in time what it warns of."""
        told = []

        def is_said():
            told.append(self.cairn(node, *argv))
            self.assertEqual(told[-1].code, code, str(told[-1]))
            return said in told[-1].out + told[-1].err

        wait_for("%s: %s" % (argv, said), is_said)
        return told[-1]

    def fill(self, node, n=200):
        source = self.path("source")
        os.mkdir(source)
        for i in range(n):
            with open(os.path.join(source, "f%d" % i), "wb") as f:
                f.write(os.urandom(i * 131 % 20000))
        self.ok(self.cairn(node, "import", "--prefix", "tree/", "data", source))
        return source

    def assert_whole(self, node, source):
        out = self.path("out-" + hashlib.sha1(os.urandom(8)).hexdigest()[:8])
        self.ok(self.cairn(node, "export", "--prefix", "tree/", "data", out))
        subprocess.run(["diff", "-r", source, out], check=True)
        shutil.rmtree(out)


class Moves(MovesCase):
    def test_who_joins_gets_its_share_and_who_is_drained_gives_all(self):
        self.begin(3, "cluster.moves=32", "cluster.moves_per_node=8")  # slow enough to be seen
        first, second, _ = self.all
        self.await_members(first, 3)
        self.create(first, 2)
        source = self.fill(first)
        wait_for("a whole class", lambda: self.is_settled(first))
        self.assert_even(first, ("n1", "n2", "n3"), 2)

        fourth = self.add()
        wait_for("its share", lambda: self.member(first, "n4")["slots"] > 0)
        wait_for("all that moves", lambda: self.is_settled(first))
        self.assert_even(first, ("n1", "n2", "n3", "n4"), 2)
        wait_for("four names", lambda: self.cairn(second, "members", "--names").out.split() == ["n1", "n2", "n3", "n4"])

        # Drained under load, by a node that does not know whether it coordinates.
        self.fails(self.cairn(first, "drain", "nobody"), FAILED, "no member of the cluster is called so")
        load = Load(first, self.path("key"), "data")
        try:
            said = self.ok(self.cairn(fourth, "drain", "--wait", "--json", "n2", timeout=3 * DEADLINE_S)).json
        finally:
            load.end()
        self.assertEqual((said["state"], said["slots_left"]), ("drained", 0))
        self.assertGreater(said["slots"], 400)
        self.assertEqual(load.failed, [])
        self.assertGreater(len(load.done), 5)
        wait_for("all that moves", lambda: self.is_settled(first))
        self.assert_even(first, ("n1", "n3", "n4"), 2)
        self.assertEqual(self.state(first, "n2"), "drained")
        self.await_ok(first)

        # It is stopped, and nobody misses it; what was written is there.
        self.assertEqual(second.stop(), 0)
        wait_for("that it has left", lambda: self.member(first, "n2")["state"] == "left")
        self.await_ok(first)
        self.assert_whole(fourth, source)
        for key, value in load.done.items():
            self.assertEqual(self.ok(self.cairn(fourth, "get", "data", key)).out, value)

        # It is started again: it is wanted again.
        second.start()
        wait_for("its share", lambda: self.member(first, "n2")["slots"] > 400)
        wait_for("all that moves", lambda: self.is_settled(first))
        self.assert_even(second, ("n1", "n2", "n3", "n4"), 2)
        self.assert_whole(second, source)

        # On a terminal it says how far it is.
        code, shown = on_terminal([CAIRN, "--key", self.path("key"), "drain", "--wait", "n4"],
                                  clean_env(CAIRN_WORKSPACE=first.workspace))
        self.assertEqual(code, OK, shown)
        self.assertRegex(shown, rb"drain  [0-9]+ slots left  [0-9.]+/s  [0-9.]+ m?s left")
        self.assertIn(b"node n4 holds no slots any more", shown)

        # A drain that is called off.
        self.assertIn("holds no slots, and can be stopped", self.ok(self.cairn(first, "drain", "n4")).out)
        self.assertIn("slots move away", self.ok(self.cairn(first, "drain", "n3")).out)
        self.assertIn("drained no longer", self.ok(self.cairn(first, "drain", "--cancel", "n3")).out)
        self.ok(self.cairn(first, "drain", "--cancel", "n4"))
        self.ok(self.cairn(first, "wait-ready", "--settled", "--timeout", "%ds" % (2 * DEADLINE_S), timeout=3 * DEADLINE_S))
        self.assert_even(first, ("n1", "n2", "n3", "n4"), 2)

    def test_status_says_how_far_a_new_node_is(self):
        """How many slots are to come, and when they will have, as a program and as a person see it; in the end, nothing."""
        self.begin(2, "cluster.copy_rate=1MiB", "cluster.moves=8")
        first = self.all[0]
        self.await_members(first, 2)
        self.create(first, 2)
        source = self.fill(first, 1500)
        wait_for("a whole class", lambda: self.is_settled(first))
        self.add()
        told = []

        def has_time_left():
            moves = self.cluster(first).get("moves")
            told.extend([moves] if moves else [])
            return moves and moves["left"] > 0 and moves["left_ms"] > 0 and moves["per_s"] > 0

        wait_for("time left", has_time_left)
        self.assertLessEqual(told[-1]["under_way"], 8)
        shown = []
        wait_for("the same in words", lambda: shown.append(self.cairn(first, "status").out) or re.search(
            r"(?m)^ *moves +[0-9,]+ slots to move, [1-8] of them now, [0-9.]+/s, [0-9.]+ (ms|s|min|h) left$", shown[-1]))
        fewer = told[-1]["left"] + told[-1]["under_way"]
        wait_for("progress", lambda: 0 < sum(self.cluster(first).get("moves", {}).get(k, 0) for k in ("left", "under_way")) < fewer)
        wait_for("all that moves", lambda: self.is_settled(first))
        wait_for("no word of moves", lambda: "to move" not in self.ok(self.cairn(first, "status")).out)
        self.assert_even(first, ("n1", "n2", "n3"), 2)
        self.assert_whole(first, source)

    def test_who_is_lost_for_good_is_replaced(self):
        self.begin(4, "cluster.lost_after=12s")
        self.await_members(self.all[0], 4)
        self.create(self.all[0], 2)
        source = self.fill(self.all[0])
        victim = next(n for n in self.all if not self.coordinates(n))
        other = next(n for n in self.all if n is not victim)
        wait_for("a whole class", lambda: self.is_settled(other))
        victim.kill()
        wait_for("that it is lost", lambda: self.member(other, victim.name)["state"] == "lost")
        wait_for("new replicas", lambda: self.is_settled(other))
        self.assert_even(other, [n.name for n in self.all if n is not victim], 2)
        self.await_ok(other)
        self.assert_whole(other, source)

        # Another one dies: what the lost one held had been copied.
        second = next(n for n in self.all if n is not victim and n is not other and not self.coordinates(n))
        second.kill()
        wait_for("the take-over", lambda: self.cluster(other).get("slots", {}).get("takeover", 1) == 0 and
                 self.member(other, second.name)["leads"] == 0)
        self.assert_whole(other, source)

    def lose(self, node, *args):
        """A coordinator that is deposed just then cannot tell whether it was done: it is said again."""
        told = []

        def is_answered():
            told.append(self.cairn(node, "drain", "--lost", *args))
            return not any(text in told[-1].err for text in ("no longer elected", "coordinates"))

        wait_for("an answer", is_answered)
        return told[-1]

    def begin_whole(self):
        """Three nodes that have all there is of a namespace twice; its files, one that does not coordinate, another."""
        self.begin(3, "cluster.lost_after=1h")
        first = self.all[0]
        self.await_members(first, 3)
        self.create(first, 2)
        source = self.fill(first, 50)
        wait_for("a whole class", lambda: self.is_settled(first))
        victim = next(n for n in self.all if not self.coordinates(n))
        return source, victim, next(n for n in self.all if n is not victim)

    def test_who_is_said_to_be_lost_is_replaced_at_once(self):
        source, victim, other = self.begin_whole()
        self.fails(self.lose(other, "--cancel", victim.name), USAGE)
        self.fails(self.lose(other, "--force", victim.name), FAILED, "is there", "members --cluster")
        victim.kill()
        wait_for("that it is silent", lambda: self.member(other, victim.name)["state"] == "silent")
        wait_for("the count", lambda: self.cluster(other).get("slots", {}).get("degraded", 0) > 0)
        self.asked_until("missing replicas", other, "status", code=DEGRADED)
        wait_for("slots of one copy", lambda: self.fewest(other) == 1)
        self.assertEqual(self.cairn(other, "members", "--cluster").code, DEGRADED)
        # The coordinator has two seconds to say so.
        self.asked_until("is silent, and not being drained", other, "drain", "--cancel", victim.name)
        said = self.ok(self.lose(other, "--wait", "--json", victim.name)).json
        self.assertEqual((said["state"], said["slots_left"], said["slots_out_of_reach"]), ("lost", 0, 0))
        wait_for("new replicas", lambda: self.is_settled(other))
        self.assert_whole(other, source)
        log = self.ok(self.cairn(other, "map", "--log")).out
        self.assertIn("%s said to be lost" % victim.name, log)
        self.assertNotIn("records/", log)  # the map's own keys
        self.assertIn("uid %d" % os.geteuid(), log)

        # It was not lost after all: it gets its share. Then it is where slots of one replica are.
        victim.start()
        wait_for("its share", lambda: self.member(other, victim.name)["slots"] > 400)
        self.create(other, 1, "single")
        wait_for("all that moves", lambda: self.is_settled(other))
        single = [self.ok(self.cairn(other, "put", "-v", "v", "single", "k%d" % i)) for i in range(30)]
        self.assertEqual(len(single), 30)
        victim.kill()
        wait_for("that it is silent", lambda: self.member(other, victim.name)["state"] == "silent")
        self.fails(self.lose(other, victim.name), FAILED, "no other replica is there", "--force")
        self.assertEqual(self.state(other, victim.name), "silent")
        said = self.ok(self.lose(other, "--force", "--wait", victim.name)).out
        self.assertIn("that nobody else has", said)
        self.assert_whole(other, source)
        victim.start()  # nothing of them is lost when it comes back
        for i in range(30):
            self.assertEqual(self.ok(self.cairn(other, "get", "single", "k%d" % i)).out, "v")

    def test_who_comes_back_with_a_new_disk_gets_what_it_held(self):
        source, victim, other = self.begin_whole()
        victim.kill()
        shutil.rmtree(victim.data)
        victim.start()

        def rows():
            return sorted((m["state"], m["slots"] > 0) for m in self.cluster(other).get("members", []) if m["name"] == victim.name)

        wait_for("new replicas", lambda: rows() == [("lost", False), ("up", True)] and self.is_settled(other))
        self.await_ok(other)
        self.assert_whole(other, source)
        old = []
        wait_for("the one that is lost", lambda: old.append(next(
            m for m in self.cairn(other, "members", "--cluster", "--json").json["members"] if m["state"] == "lost")) or old)
        old = old[0]
        self.assertEqual(old["name"], victim.name)
        said = self.ok(self.lose(other, "--wait", "--json", old["node"])).json
        self.assertEqual((said["state"], said["slots_left"]), ("lost", 0))
        self.assertIn("node lost " + victim.name, self.ok(self.cairn(other, "map", "--log")).out)
        # By its name the one is meant that is there, and not one of which nothing is left.
        self.fails(self.lose(other, "--wait", victim.name), FAILED, "is there, or was until just now", "repeat the command")
        shown = self.ok(self.cairn(other, "members", "--cluster")).out
        self.assertIn(old["node"], shown)

        # It dies for good now: it is the one that is given up, and waited for.
        victim.kill()
        wait_for("that it is silent", lambda: rows() == [("lost", False), ("silent", True)])
        said = self.ok(self.lose(other, "--wait", "--json", victim.name)).json
        self.assertEqual((said["state"], said["slots"] > 0, said["slots_left"]), ("lost", True, 0))
        self.assertNotEqual(said["id"], old["node"])
        self.assertEqual(rows(), [("lost", False), ("lost", False)])

    def test_a_drain_says_whom_it_waits_for(self):
        self.begin(3, "cluster.lost_after=1h")
        first = self.all[0]
        self.await_members(first, 3)
        self.create(first, 2)
        wait_for("a whole class", lambda: self.is_settled(first))
        stays = self.coordinator()
        gone, silent = (n for n in self.all if n is not stays)
        for n in (gone, silent):
            n.kill()
        for n in (gone, silent):
            wait_for("that it is silent", lambda name=n.name: self.member(stays, name)["state"] == "silent")
        told = []

        def is_told():  # not where nobody could be asked just when it gave up, or began to wonder
            told.append(self.lose(stays, "--force", "--wait", "--stall", "8s", gone.name))
            self.assertEqual(told[-1].code, TIMEOUT, str(told[-1]))
            return "nobody says" not in told[-1].err and "warning: no slot moves away" in told[-1].err

        wait_for("word of whom it waits for", is_told)
        self.fails(told[-1], TIMEOUT, "silent, and waited for: %s:" % silent.name, "--lost")
        self.assertIn("warning: no slot moves away; silent, and waited for: " + silent.name, told[-1].err)

    def test_too_few_nodes_are_degraded(self):
        self.begin(1)
        first = self.all[0]
        self.await_members(first, 1)
        for _ in tries("a warning in the two seconds that the coordinator has for it"):
            made = self.ok(self.cairn(first, "ns", "create", "--replicas", "3", "data"))
            if made.err:
                break
            self.ok(self.cairn(first, "ns", "remove", "data"))
        self.assertIn("warning: 1 node of the cluster may hold it, so each value has 1 copy, not 3", made.err)
        self.assertIn("hint: start another node", made.err)
        self.fails(self.cairn(first, "drain", "n1"), FAILED, "node n1 is not drained: no other node is up", "--force")
        self.asked_until("not being drained", first, "drain", "--cancel", "n1")
        drained = self.asked_until("no other node is up", first, "drain", "--force", "--json", "n1")
        self.assertIn("no other node is up", json.loads(drained.err)["warning"]["text"])
        self.assertIn("drained no longer", self.ok(self.cairn(first, "drain", "--cancel", "n1")).out)
        source = self.fill(first, 50)
        wait_for("the count", lambda: self.cluster(first).get("classes") == [
            {"replicas": 3, "slots": SLOTS, "degraded": SLOTS, "fewest": 1, "unserved": 0, "refusing": 0, "namespaces": ["data"]}])
        status = self.asked_until("missing replicas", first, "status", code=DEGRADED)
        self.assertRegex(status.out, r"missing replicas\nREPLICAS +SLOTS .*\n +3 +1,024 +1,024 +1 +0 +0 +data\n")
        self.asked_until("of 1024 slots 1024 miss replicas", first, "wait-ready", "--whole", "--timeout", "10s", code=TIMEOUT)
        for n in (2, 3):
            self.add()
            wait_for("%d replicas" % n, lambda: self.fewest(first) == n)
            if n == 2:
                self.fails(self.cairn(first, "drain", "n2"), FAILED, "node n2 is not drained: without it 1 node is left")
                self.assertEqual(self.state(first, "n2"), "up")
            drained = self.asked_until("without it 1 node is left: what wants 3 replicas has one copy then" if n == 2 else
                                       "without it 2 nodes are left: what wants 3 replicas has 2 copies then",
                                       first, "drain", *(["--force"] if n == 2 else []), "n%d" % n)
            self.assertIn("drain --cancel", drained.err)
            self.ok(self.cairn(first, "drain", "--cancel", "n%d" % n))
        wait_for("all replicas", lambda: self.is_settled(first))
        self.ok(self.cairn(first, "wait-ready", "--whole", "--timeout", "%ds" % DEADLINE_S, timeout=2 * DEADLINE_S))
        self.assertNotIn("warning", self.ok(self.cairn(first, "ns", "create", "--replicas", "3", "more")).err)
        self.assertNotIn("without --replicas", drained.err)
        for name, said in (("scratch", "'scratch' was made without --replicas: what node n3 has of it stays there"),
                           ("tmp", "'scratch' and 1 more were made without --replicas: what node n3 has of them stays")):
            self.ok(self.cairn(first, "ns", "create", name))
            self.asked_until(said, first, "drain", "n3")
            self.ok(self.cairn(first, "drain", "--cancel", "n3"))
        self.await_ok(first)
        self.assert_even(first, ("n1", "n2", "n3"), 3)
        first.kill()
        self.assert_whole(self.all[1], source)


if __name__ == "__main__":
    main()
