"""Replicas are compared: a copy that is damaged or lost is repaired, two good ones that differ are told."""

import os
import signal
import subprocess

from systest import CAIRN, DEADLINE_S, DEGRADED, OK, clean_env, main, tries, wait_for
from test_cluster import ClusterCase

MIB = 1 << 20
KEYS = ["key %d" % i for i in range(50)]


class ClusterScrub(ClusterCase):
    def begin_scrub(self):
        self.begin()
        self.coordinator()
        self.key = ("--key", self.path("key"))
        self.create("data", 2)
        wait_for("all replicas, where they stay", self.is_spread)
        for key in KEYS:
            self.ok(self.cairn(self.all[0], "put", "-v", "value of " + key, "data", key))

    def cairn(self, node, *argv, **kw):
        return node.cairn(*self.key, *argv, **kw)

    def scrub(self, code=OK):
        """Rounds of all nodes until one has compared everything; what they have found, by key."""
        rounds = []

        def is_whole_round():
            rounds.append(self.cairn(self.all[0], "--json", "scrub", "--start", "--wait"))
            nodes = rounds[-1].json["nodes"]
            if len(nodes) < len(self.all) or any(n["state"] == "no answer" for n in nodes):  # each has a few seconds for it
                return False
            left = sum(n["not_compared"] for n in nodes)
            self.assertEqual(rounds[-1].code, DEGRADED if left > 0 else code, str(rounds[-1]))
            return left == 0

        wait_for("a round in which no slot moves", is_whole_round)
        r = rounds[-1]
        self.assertTrue(all(n["state"] == "resting" for n in r.json["nodes"]), str(r))
        return {f["key"]: f for f in r.json["findings"]}, r.json["nodes"]

    def pair(self, key):
        """Who leads the key's slot, and who follows."""
        where = self.ok(self.cairn(self.all[0], "--json", "where", "data", key)).json
        names = [r["name"] for r in where["replicas"]]
        self.assertEqual(len(names), 2)
        names.sort(key=lambda name: name != where["primary"])
        return [next(n for n in self.all if n.name == name) for name in names]

    def database(self):
        shown = self.ok(self.cairn(self.all[0], "--json", "kv", "list", "kv")).json["databases"]
        return "kv/" + next(d["name"] for d in shown if d["name"].startswith("ns/"))

    def record(self, node, key):
        """Below the replicas."""
        path = self.path("record")
        r = self.cairn(node, "kv", "get", self.database(), key, path)
        if r.code != OK:
            return None
        with open(path, "rb") as f:
            return f.read()

    def replace(self, node, key, record):
        self.ok(self.cairn(node, "kv", "put", self.database(), key, self.write("record", record)))

    def settled(self, key):
        """Both have it: who follows applies a little later."""
        first, second = self.pair(key)
        wait_for("both copies", lambda: self.record(first, key) is not None and
                 self.record(first, key) == self.record(second, key))
        return first, second

    def test_a_bad_copy_is_repaired(self):
        self.begin_scrub()
        marker = os.urandom(64)
        self.ok(self.cairn(self.all[0], "put", "data", "large",
                           self.write("large", os.urandom(MIB) + marker + os.urandom(2 * MIB))))
        found, nodes = self.scrub()
        self.assertEqual(found, {})
        # Whose unix sockets are whose.
        wait_for("hosts", lambda: {m["host"] != "" for m in self.cairn(self.all[0], "status", "--json").json["cluster"]["members"]}
                 == {True})
        self.assertEqual(sum(n["keys"] for n in nodes), len(KEYS) + 1)

        # One is lost where it is followed, one damaged there, one where it is led.
        first, second = self.settled("key 1")
        good = self.record(first, "key 1")
        self.ok(self.cairn(second, "kv", "rm", self.database(), "key 1"))
        at = {}
        for key, side in (("key 2", 1), ("key 3", 0)):
            nodes = self.settled(key)
            record = bytearray(self.record(nodes[side], key))
            at[key] = (nodes, bytes(record))
            record[6] ^= 1
            self.replace(nodes[side], key, record)

        # And a byte of the large one has changed on a disk, which its node finds by itself.
        leader, follower = self.settled("large")
        self.assertEqual(follower.stop(), 0)
        self.flip(follower.data, marker)
        follower.start()
        self.coordinator()
        wait_for("all replicas", self.is_whole)
        for region in self.ok(self.cairn(follower, "--json", "extent", "ls", "extent")).json["extents"]:
            self.cairn(follower, "extent", "scrub", "extent", region["id"])
        ls = ("--json", "extent", "ls", "--quarantined", "extent")
        self.assertEqual(len(self.ok(self.cairn(follower, *ls)).json["extents"]), 1)

        found, nodes = self.scrub()
        self.assertEqual({key: f["outcome"] for key, f in found.items()},
                         dict.fromkeys(("key 1", "key 2", "key 3", "large"), "repaired"))
        self.assertEqual(sum(n["repaired"] for n in nodes), 4)
        copies = {c["node"]: c["copy"] for c in found["key 1"]["copies"]}  # another may lead since one was stopped
        self.assertEqual((copies[second.name], sorted(copies.values())), ("missing", ["good", "missing"]))
        self.assertEqual(found["key 1"]["namespace"], "data")
        self.assertEqual({c["copy"] for c in found["key 3"]["copies"]}, {"good", "damaged"})
        self.assertIn("region damaged", {c["copy"] for c in found["large"]["copies"]})
        self.assertIn("repaired: data large", self.ok(self.cairn(self.all[1], "scrub")).out)
        wait_for("the copy that was lost", lambda: self.record(second, "key 1") == good)  # who follows applies a little later
        for key, (nodes, record) in at.items():
            for node in nodes:
                wait_for("the good copy", lambda n=node, k=key, r=record: self.record(n, k) == r)
        wait_for("an end of the quarantine", lambda: self.ok(self.cairn(follower, *ls)).json["extents"] == [])
        for key in KEYS:
            self.assertEqual(self.cairn(self.all[0], "get", "data", key).out, "value of " + key)
        self.ok(self.cairn(self.all[0], "verify", "data"))
        self.assertEqual(sum(n["repaired"] for n in self.scrub()[1]), 4)

    def test_two_good_copies_that_differ_are_told(self):
        self.begin_scrub()
        first, second = self.settled("key 1")
        self.settled("key 2")
        good = self.record(first, "key 1")
        other = self.record(self.pair("key 2")[0], "key 2")  # whole, and not what was written
        self.replace(second, "key 1", other)
        for _ in range(2):
            found, nodes = self.scrub(DEGRADED)
            self.assertEqual({key: f["outcome"] for key, f in found.items()}, {"key 1": "different"})
            self.assertCountEqual(found["key 1"]["copies"], [{"node": n.name, "copy": "good"} for n in (first, second)])
            self.assertEqual(sum(n["repaired"] for n in nodes), 0)
            self.assertEqual((self.record(first, "key 1"), self.record(second, "key 1")), (good, other))
        told = []
        wait_for("word of it", lambda: told.append(self.cairn(second, "scrub")) or "different: data key 1 (slot " in told[-1].out)
        self.assertEqual(told[-1].code, DEGRADED)
        # By who leads the slot: another, if the first was late with its heartbeat.
        wait_for("who tells", lambda: any("replicas differ" in n.cairn("status", "--json").out for n in (first, second)))
        for node in (first, second):
            if "replicas differ" in node.cairn("status", "--json").out:
                self.assertEqual(node.cairn("status").code, DEGRADED)
        self.assertIn("DIFFERS, though both copies look good", first.log() + second.log())

        # Whoever knows better writes it anew.
        self.ok(self.cairn(second, "put", "-v", "right", "data", "key 1"))
        self.assertEqual(self.scrub()[0], {})
        wait_for("health", lambda: all(n.cairn("status").code == OK for n in (first, second)))

    def test_nodes_that_stand_still_are_asked_at_once(self):
        self.begin_scrub()
        for _ in tries("connections to both"):  # it waits some seconds for answers, and may begin as somebody is elected
            if self.are_both_asked(self.coordinator()):
                break

    def are_both_asked(self, first):
        for node in self.all:
            if node is not first:
                node.process.send_signal(signal.SIGSTOP)
        asking = subprocess.Popen([CAIRN, *self.key, "scrub"], text=True, stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE, env=clean_env(CAIRN_WORKSPACE=first.workspace))
        fds, seen = "/proc/%d/fd" % asking.pid, set()
        try:
            while asking.poll() is None and 3 not in seen:  # the way in, and one to each that does not answer
                try:
                    links = [os.readlink(os.path.join(fds, fd)) for fd in os.listdir(fds)]
                except FileNotFoundError:  # one was closed meanwhile
                    continue
                seen.add(sum(link.startswith("socket:") for link in links))
        finally:
            for node in self.all:
                node.process.send_signal(signal.SIGCONT)
            out, err = asking.communicate(timeout=DEADLINE_S)
        if 3 in seen:
            self.assertIn(asking.returncode, (OK, DEGRADED), out + err)  # they may have had the time to answer
        return 3 in seen


if __name__ == "__main__":
    main()
