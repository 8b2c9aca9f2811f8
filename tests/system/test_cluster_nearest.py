"""Reads that any replica may answer go to the nearest: one on the client's own machine, else one in its zone, else the leader.

Which machine a process runs on is its kernel's boot id; each process here sees one of its own, bound over the machine's."""

import os
import unittest

from systest import CAIRN, OK, main, run, wait_for
from test_cluster import ClusterCase

BOOT_ID = "/proc/sys/kernel/random/boot_id"
KEYS = 24


def on_host(base, host):
    """What starts a program so that it takes itself to be on that machine."""
    path = os.path.join(base, "boot-" + host)
    if not os.path.exists(path):
        with open(path, "w") as f:
            f.write("00000000-0000-4000-8000-%012x\n" % int.from_bytes(host.encode(), "big"))
    return ["unshare", "--mount", "sh", "-c", 'mount --bind "$0" %s && exec "$@"' % BOOT_ID, path]


def refusal():
    done = run("unshare", "--mount", "sh", "-c", "mount --bind /proc/version %s" % BOOT_ID)
    return "" if done.code == OK else "no mounts of its own for a process here: " + done.err


@unittest.skipIf(refusal(), refusal())
class Nearest(ClusterCase):
    zones = {"n1": "here", "n2": "here", "n3": "there"}

    def node(self, name, args=()):
        node = super().node(name, args=(*args, "--set", "cluster.zone=" + self.zones[name]))
        plain = node.argv
        node.argv = lambda *more: on_host(self.base, name) + plain(*more)
        return node

    def read(self, host, entry):
        """Reads every key from that machine, by way of that node; how many reads each node that runs was asked for."""
        before = {n.name: self.gets(n) for n in self.up()}
        for i in range(KEYS):
            got = run(*on_host(self.base, host), CAIRN, "--address", entry.tcp_address(), *self.key, "get", "data", "k%d" % i)
            self.assertEqual(self.ok(got).out, "v%d" % i)
        return {n.name: self.gets(n) - before[n.name] for n in self.up()}

    def gets(self, node):
        methods = node.cairn("metrics", "--json").json["methods"]
        return sum(m["requests"] for m in methods if (m["provider"], m["method"]) == ("router", "get"))

    def all_read(self, host, of, ways):
        """Whichever node a client on that machine enters by, that one is asked, and nobody else. Where one is too busy to answer
        in time another is asked; one round that goes as it should shows what nearness does."""
        for entry in ways:
            wait_for("reads of %s alone" % of.name, lambda e=entry: self.read(host, e) == {
                n.name: KEYS if n is of else 0 for n in self.up()})

    def test_reads_go_to_the_nearest(self):
        self.begin(3)
        self.coordinator()
        n1, n2, n3 = self.all
        self.key = ("--key", self.path("key"))
        wait_for("a namespace",
                 lambda: n1.cairn(*self.key, "ns", "create", "--replicas", "3", "--write-once", "data").code == OK)
        wait_for("whole slots", self.is_spread)
        for i in range(KEYS):
            self.ok(n1.cairn(*self.key, "put", "-v", "v%d" % i, "data", "k%d" % i))
        # Each of three has every value; none is near to a machine that has no node: then it is whoever leads.
        self.all_read("n1", n1, (n1, n3))
        self.all_read("n3", n3, (n1, n3))
        wait_for("reads of those that lead", lambda: all(0 < n < KEYS for n in self.read("none", n1).values()))
        # Without the one of its own machine it is the one of its zone.
        n1.kill()
        wait_for("the take-over", lambda: n2.cairn(*self.key, "status", "--json").json.get("cluster", {}).get(
            "slots", {"takeover": 1})["takeover"] == 0 and self.leads(n2, "n1") == 0)
        self.all_read("n1", n2, (n2, n3))

    def leads(self, node, name):
        members = node.cairn(*self.key, "status", "--json").json.get("cluster", {}).get("members", [])
        return next((m["leads"] for m in members if m["name"] == name), None)


if __name__ == "__main__":
    main()
