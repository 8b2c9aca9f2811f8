"""A node that is gone is missed: at once where it says so itself, and where the others find it out."""

import functools
import json
import socket
import unittest

from systest import OK, main, wait_for
from test_cluster import ClusterCase

LEASE = "60s"  # silence alone is noticed no earlier
SOON_S = 50


def own_address():
    """This machine's address towards others; None if it has only a loopback. Nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        try:
            s.connect(("192.0.2.1", 9))
        except OSError:
            return None
        address = s.getsockname()[0]
    return None if address.startswith("127.") else address


@unittest.skipUnless(own_address(), "this machine has no address but its loopback")
class Reached(ClusterCase):
    """The group that a node has without configuration is where others reach it, or it says that they do not."""

    def begin_at(self, *hosts, etcd="127.0.0.1"):
        self.start_etcd = functools.partial(self.start_etcd, host=etcd)
        super().begin(1, conf={"listen": ["unix://" + self.path("n1-ws", "node.sock")] + ["tcp://%s:0" % h for h in hosts]})
        members = self.all[0].cairn("members", "--json").json["members"]
        return [m["address"].rpartition(":")[0] for m in members], "no other machine reaches" in self.all[0].log()

    def test_the_loopback_comes_last(self):
        self.assertEqual(self.begin_at("127.0.0.1", own_address(), etcd=own_address()), (["udp://" + own_address()], False))

    def test_only_a_loopback_is_said(self):
        self.assertEqual(self.begin_at("127.0.0.1", etcd=own_address()), (["udp://127.0.0.1"], True))

    def test_a_cluster_of_one_machine_is_well(self):
        self.assertEqual(self.begin_at("127.0.0.1"), (["udp://127.0.0.1"], False))


class Away(ClusterCase):
    def begin(self):
        super().begin(conf={"cluster": {"lease": LEASE}})
        self.key = ("--key", self.path("key"))
        self.coordinator()
        self.ok(self.all[0].cairn(*self.key, "ns", "create", "--replicas", "3", "data"))
        self.whole(self.all[0])

    def whole(self, node):
        self.ok(node.cairn(*self.key, "wait-ready", "--whole", "--timeout", "100s"))

    def cluster(self, node):
        """What the coordinator says, asked through @node; {} if there is none."""
        return node.cairn(*self.key, "status", "--json").json.get("cluster", {})

    def wait_missed(self, asked, gone):
        """Until the node is counted out: it, and its copy of every slot. What it leads may be served by it for as long as its
        lease lasts; everybody else goes on without it."""
        said = {}

        def is_missed():
            said.clear()
            said.update(self.cluster(asked))
            states = {m["name"]: m["state"] for m in said.get("members", [])}
            if states != {n.name: "silent" if n is gone else "up" for n in self.all}:
                return False
            out = next(m for m in said["members"] if m["name"] == gone.name)
            return (out["in_sync"] == out["leads"] and said["slots"]["degraded"] == said["slots"]["all"] and
                    said["classes"][0]["fewest"] == 2)

        try:
            wait_for("it to be missed", is_missed, SOON_S)
        except AssertionError as e:
            raise AssertionError("%s: %s" % (e, json.dumps(said))) from None

    def test_who_stops_is_missed_at_once(self):
        self.begin()
        first = self.coordinator()
        other = next(n for n in self.all if n is not first)
        for gone in (other, first):
            asked = next(n for n in self.all if n is not gone)
            self.assertEqual(gone.stop(), 0)
            self.wait_missed(asked, gone)
            degraded = asked.cairn(*self.key, "wait-ready", "--whole", "--timeout", "1ms")
            self.assertNotEqual(degraded.code, OK)
            gone.start()
            self.whole(asked)
        log = self.ok(asked.cairn(*self.key, "map", "--log")).out
        for node in (other, first):
            self.assertIn("node stopped " + node.name, log)

    def test_who_is_killed_is_missed_by_the_group(self):
        """Nobody is configured to be in a group, and nobody waits for a minute of silence."""
        self.begin()
        first = self.coordinator()

        def members(node):  # while some are suspected or dead it has another exit code
            return {m["name"]: m["state"] for m in node.cairn("members", "--json").json["members"]}

        for node in self.all:
            wait_for("the group", lambda n=node: members(n) == {m.name: "alive" for m in self.all})
        gone, other = (n for n in self.all if n is not first)
        gone.kill()
        wait_for("its death", lambda: members(other)[gone.name] == "silent")

        self.wait_missed(other, gone)
        # By whoever coordinated then.
        self.assertIn("node %s is silent: the group says that it is dead" % gone.name, "".join(n.log() for n in self.up()))
        self.assertIn("node silent " + gone.name, self.ok(other.cairn(*self.key, "map", "--log")).out)
        gone.start()
        self.whole(other)
        wait_for("the group", lambda: members(other) == {m.name: "alive" for m in self.all})


if __name__ == "__main__":
    main()
