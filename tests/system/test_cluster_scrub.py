"""Replicas are compared: a copy that is damaged or lost is repaired, two good ones that differ are told."""

import os

from systest import DEGRADED, OK, main, wait_for
from test_cluster import ClusterCase

MIB = 1 << 20
KEYS = ["key %d" % i for i in range(50)]


class ClusterScrub(ClusterCase):
    def begin_scrub(self):
        self.begin()
        self.coordinator()
        self.key = ("--key", self.path("key"))
        self.ok(self.cairn(self.all[0], "ns", "create", "--replicas", "2", "data"))
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
            left = sum(n["not_compared"] for n in rounds[-1].json["nodes"])
            self.assertEqual(rounds[-1].code, DEGRADED if left > 0 else code, str(rounds[-1]))
            return left == 0

        wait_for("a round in which no slot moves", is_whole_round)
        r = rounds[-1]
        self.assertEqual(len(r.json["nodes"]), len(self.all))
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
        members = self.cairn(self.all[0], "status", "--json").json["cluster"]["members"]
        self.assertEqual({m["host"] != "" for m in members}, {True})  # whose unix sockets are whose
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
        self.assertEqual(self.record(second, "key 1"), good)
        for key, (nodes, record) in at.items():
            for node in nodes:
                self.assertEqual(self.record(node, key), record)
        self.assertEqual(self.ok(self.cairn(follower, *ls)).json["extents"], [])
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
            self.assertEqual(found["key 1"]["copies"], [{"node": n.name, "copy": "good"} for n in (first, second)])
            self.assertEqual(sum(n["repaired"] for n in nodes), 0)
            self.assertEqual((self.record(first, "key 1"), self.record(second, "key 1")), (good, other))
        told = self.cairn(second, "scrub")
        self.assertEqual(told.code, DEGRADED)
        self.assertIn("different: data key 1 (slot ", told.out)
        self.assertEqual(first.cairn("status").code, DEGRADED)
        self.assertIn("replicas differ", first.cairn("status", "--json").out)
        self.assertIn("DIFFERS, though both copies look good", first.log())

        # Whoever knows better writes it anew.
        self.ok(self.cairn(second, "put", "-v", "right", "data", "key 1"))
        self.assertEqual(self.scrub()[0], {})
        wait_for("health", lambda: first.cairn("status").code == OK)


if __name__ == "__main__":
    main()
