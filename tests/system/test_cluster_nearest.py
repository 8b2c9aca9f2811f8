"""Reads that any replica may answer go to the nearest: one on the client's own machine, else one in its zone, else the leader.

Which machine a process runs on is its kernel's boot id; each process here sees one of its own, bound over the machine's."""

import os
import tempfile
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
        before = self.asked("get")
        for i in range(KEYS):
            got = run(*on_host(self.base, host), CAIRN, "--address", entry.tcp_address(), *self.key, "get", "data", "k%d" % i)
            self.assertEqual(self.ok(got).out, "v%d" % i)
        return self.asked("get", before)

    def export(self, host, entry):
        """All of them at a time: likewise, of batches; nothing is read one by one."""
        before = {method: self.asked(method) for method in ("get", "mget")}
        to = tempfile.mkdtemp(dir=self.base)
        self.ok(run(*on_host(self.base, host), CAIRN, "--address", entry.tcp_address(), *self.key, "export", "data", to))
        for i in range(KEYS):
            with open(os.path.join(to, "k%d" % i)) as f:
                self.assertEqual(f.read(), "v%d" % i)
        self.assertEqual(set(self.asked("get", before["get"]).values()), {0})
        return self.asked("mget", before["mget"])

    def asked(self, method, before=None):
        """Of each node that runs how many such requests came, beyond those before."""
        counts = {}
        for node in self.up():
            methods = node.cairn("metrics", "--json").json["methods"]
            counts[node.name] = sum(m["requests"] for m in methods if (m["provider"], m["method"]) == ("router", method))
        return {name: n - (before or {}).get(name, 0) for name, n in counts.items()}

    def all_read(self, host, of, ways):
        """Whichever node a client on that machine enters by, that one is asked, and nobody else. Where one is too busy to answer
        in time another is asked; one round that goes as it should shows what nearness does."""
        for entry in ways:
            wait_for("reads of %s alone" % of.name, lambda e=entry: self.read(host, e) == {
                n.name: KEYS if n is of else 0 for n in self.up()})
            wait_for("batches read of %s alone" % of.name, lambda e=entry: {
                name for name, n in self.export(host, e).items() if n > 0} == {of.name})

    def test_reads_go_to_the_nearest(self):
        self.begin(3)
        self.coordinator()
        n1, n2, n3 = self.all
        self.key = ("--key", self.path("key"))
        self.create("data", 3, "--write-once")
        wait_for("whole slots", self.is_spread)
        for i in range(KEYS):
            self.ok(n1.cairn(*self.key, "put", "-v", "v%d" % i, "data", "k%d" % i))
        # Each of three has every value; none is near to a machine that has no node: then it is whoever leads.
        self.all_read("n1", n1, (n1, n3))
        self.all_read("n3", n3, (n1, n3))
        wait_for("reads of those that lead", lambda: all(0 < n < KEYS for n in self.read("none", n1).values()))
        wait_for("batches read of those that lead", lambda: all(n > 0 for n in self.export("none", n1).values()))
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
