"""The map store is away. What is in sync at one node alone goes on, for whoever is or becomes a client; the rest goes on as long as
leases do, and then waits, and everybody is told why; and when the store is back so is everything."""

import os
import shutil
import unittest

from histories import Histories
from systest import DEADLINE_S, DEGRADED, FAILED, OK, TIMEOUT, UNREACHABLE, main, wait_for
from test_cluster import ClusterCase

AWAY = "the map store cannot be reached"
SLOTS = 1024  # of a class


@unittest.skipUnless(shutil.which("etcd"), "etcd is not installed")
class Store(Histories, ClusterCase):
    def begin_with(self, **cluster):
        self.begin(conf={"cluster": cluster})
        self.coordinator()
        for replicas, name in ((1, "alone"), (2, "both")):
            self.create(name, replicas)
        wait_for("slots that stay where they are", lambda: self.is_spread() and
                 self.seen(self.coordinator())["slots"]["all"] == 2 * SLOTS)

    def addresses(self):
        return [node.address for node in self.all]

    def cairn(self, node, *args):
        return node.cairn("--key", self.path("key"), *args)

    def put(self, node, name, key, value):
        self.ok(self.cairn(node, "put", "-v", value, name, key))

    def expect(self, node, name, values):
        for key, value in values.items():
            self.assertEqual(self.ok(self.cairn(node, "get", name, key)).out.strip(), value)

    def kill_store(self):
        self.etcd.kill()
        self.etcd.wait()

    def store_is_back(self):
        self.start_etcd(os.path.join(self.base, "etcd"))
        self.coordinator()
        wait_for("whole slots", self.is_whole)
        for node in self.all:
            wait_for("a lease", lambda n=node: self.seen(n)["slots_waiting"] == 0 and self.seen(n)["health"] == "ok")

    def wait_without_leases(self):
        wait_for("the end of the leases", lambda: all(self.seen(n)["lease_ms"] == 0 for n in self.all))

    def test_one_replica_goes_on(self):
        self.begin_with()
        values = {name: {"key%d" % i: "%s %d" % (name, i) for i in range(9)} for name in ("alone", "both")}
        for name, all_of_it in values.items():
            for i, (key, value) in enumerate(all_of_it.items()):
                self.put(self.all[i % 3], name, key, value)
        history = self.client("many", 1, "alone")  # it knows the map, and is connected with every node
        wait_for("a history", lambda: len(history.answers()) > 100)
        self.kill_store()
        self.wait_without_leases()

        # Every node says so: what goes on, and what waits.
        seen = [self.seen(node) for node in self.all]
        self.assertEqual(sum(s["slots_led_alone"] for s in seen), SLOTS)
        self.assertEqual(sum(s["slots_waiting"] for s in seen), SLOTS)
        for node, s in zip(self.all, seen):
            status = self.cairn(node, "status")
            self.assertEqual(status.code, DEGRADED)
            self.assertIn("%s: of the slots that are led from here %d with other replicas in sync wait, and %d without go on" %
                          (AWAY, s["slots_waiting"], s["slots_led_alone"]), " ".join(status.out.split()))

        # Clients that begin now, at every node, of keys that any node leads.
        for i, node in enumerate(self.all):
            for k in range(6):
                values["alone"]["new %d %d" % (i, k)] = "%d.%d" % (i, k)
                self.put(node, "alone", "new %d %d" % (i, k), "%d.%d" % (i, k))
        for node in self.all:
            self.expect(node, "alone", values["alone"])
            names = self.ok(self.cairn(node, "ls", "alone")).out.splitlines()
            self.assertLessEqual(set(values["alone"]), set(names))
        self.ok(self.cairn(self.all[1], "rm", "alone", "key0"))
        del values["alone"]["key0"]

        # One that was there before.
        n = len(history.answers())
        wait_for("answers without the map store", lambda: len(history.answers()) > n + 100)

        # What has another replica waits, and its clients are told why; the map cannot be changed.
        for i, what in enumerate((("put", "-v", "lost", "both", "key0"), ("put", "-v", "lost", "both", "other"),
                                  ("get", "both", "key1"), ("ls", "both"))):
            self.is_told_why(self.all[i % 3], *what)
            self.fails(self.cairn(self.all[i % 3], "ns", "create", "third"), UNREACHABLE, AWAY)

        # It is back, nothing is lost, and nothing was done of what was refused.
        self.store_is_back()
        for node in self.all:
            self.expect(node, "alone", values["alone"])
            self.expect(node, "both", values["both"])
            self.put(node, "both", "after", node.name)
        history.process.stdin.close()
        self.assertEqual(history.process.wait(DEADLINE_S), 0)
        print(self.judge([history], 9, "alone"), flush=True)

    def test_nobody_coordinates_and_why(self):
        """Whoever asks for the cluster is told what is missing, not who was the coordinator."""
        self.begin()
        self.coordinator()
        self.kill_store()
        self.wait_without_leases()
        why, hint = "nobody coordinates the cluster: " + AWAY, "is etcd (`map.endpoints`) running"
        for node in self.all:
            wait_for("the end of the term", lambda n=node: why in " ".join(self.cairn(n, "status").out.split()))
            self.fails(self.cairn(node, "--timeout", "4s", "members", "--cluster"), FAILED, why, hint)
        for what in (("drain", "n2"), ("drain", "--lost", "n2"), ("ns", "create", "--replicas", "2", "third")):
            self.fails(self.cairn(self.all[0], "--timeout", "4s", *what), FAILED, why, hint)
        self.fails(self.cairn(self.all[0], "ns", "create", "third"), UNREACHABLE, AWAY, hint)
        self.start_etcd(os.path.join(self.base, "etcd"))
        self.coordinator()
        self.ok(self.cairn(self.all[0], "members", "--cluster"))

    def is_told_why(self, node, *what):
        """If the node had the time to say so before the client's patience ended."""
        told = []

        def is_said():
            told.append(self.cairn(node, "--timeout", "3s", *what))
            self.assertNotEqual(told[-1].code, OK, str(told[-1]))
            return AWAY in told[-1].err

        wait_for("why it waits", is_said)
        self.assertEqual(told[-1].code, TIMEOUT, str(told[-1]))

    def test_leases_outlast_a_short_absence(self):
        """Whoever has a lease goes on with all of its slots; who coordinates has none beyond its term."""
        self.begin_with(lease="60s")
        led = {node.name: [] for node in self.all}
        for i in range(60):
            where = self.ok(self.cairn(self.all[0], "where", "both", "k%d" % i, "--json")).json
            led[where["primary"]].append("k%d" % i)
        self.assertGreaterEqual(min(len(keys) for keys in led.values()), 2, led)
        for keys in led.values():
            self.put(self.all[0], "both", keys[0], "before")
        self.kill_store()
        ended = []
        wait_for("the end of the term", lambda: ended.extend(n for n in self.all if self.seen(n)["lease_ms"] == 0) or ended)
        first = ended[0]
        keys = [k for node in self.all if node is not first for k in led[node.name][:2]]  # few: a lease is over after a minute
        for node in self.all:
            values = {key: "%s at %s" % (key, node.name) for key in keys}
            for key, value in values.items():
                self.put(node, "both", key, value)
            for other in self.all:
                self.expect(other, "both", values)
        for node in self.all:
            if node is first:
                continue
            self.assertGreater(self.seen(node)["lease_ms"], 0)
            self.assertIn(AWAY, self.seen(node)["problem"])
            self.assertIn("stop when the lease ends", self.seen(node)["problem"])
        self.store_is_back()
        for node in self.all:
            self.expect(node, "both", values)


if __name__ == "__main__":
    main()
