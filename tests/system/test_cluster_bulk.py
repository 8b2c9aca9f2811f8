"""How the bytes of large values come to the replicas: by RMA, from the client to the primary once, and from there to the
backup. Counted by the nodes, of which each counts what it moves: what it takes of a client, and what it gives to a backup."""

import os
import random
import subprocess

from systest import CAIRN, DEADLINE_S, OK, clean_env, main, wait_for
from test_cluster import ClusterCase

MIB = 1 << 20
PART = 8 * MIB  # the largest region
FILES = 6
ALL = FILES * PART
PROVIDERS = ("router", "cluster", "extent", "kv")  # not that of pieces in frames


class Bulk(ClusterCase):
    def setUp(self):
        super().setUp()
        source = random.Random(8)
        for i in range(FILES):
            self.write(os.path.join("source", "f%d" % i), source.randbytes(PART))

    def node(self, name, args=()):
        # Clients on this machine, into whose memory the kernel would let a node reach, are to be as those on others.
        return super().node(name, args=(*args, "--set", "bulk.vm=false"))

    def cairn(self, *argv):
        return self.ok(self.all[0].cairn("--key", self.path("key"), *argv))

    def create(self, name, replicas):
        self.cairn("ns", "create", "--replicas", str(replicas), name)
        for n in self.all:
            wait_for("the namespace", lambda: n.cairn("ns", "show", name).code == OK)
        wait_for("whole slots", self.is_whole)

    def counted(self):
        """What all nodes together have moved in bulk, by way; and the bytes of messages that they took and answered."""
        ways, messages = {}, 0
        for n in self.all:
            doc = n.cairn("metrics", "--json").json
            for way in doc["bulk"]:
                if way["way"] != "self":  # within a node
                    ways[way["way"]] = ways.get(way["way"], 0) + way["bytes"]
            messages += sum(m["in_bytes"] + m["out_bytes"] for m in doc["methods"] if m["provider"] in PROVIDERS)
        return ways, messages

    def fabric(self):
        return self.counted()[0]["fabric"]

    def imported(self, namespace):
        """How many bytes all nodes moved for an import of all files."""
        before, messages = self.counted()
        self.cairn("import", namespace, self.path("source"))
        wait_for("all replicas", self.is_whole)
        after, then = self.counted()
        self.assertLess(then - messages, ALL / 16)
        self.cairn("verify", namespace, self.path("source"))
        return sum(after.values()) - sum(before.values())

    def test_large_values_come_once_to_each_replica(self):
        """From the client to who leads, and from there to who follows. A part may be sent again on a busy machine, but not
        all of them."""
        self.begin(2, workers=(1, 1))
        self.coordinator()
        for name, replicas in (("ones", 1), ("twos", 2)):
            self.create(name, replicas)
            moved = self.imported(name)
            self.assertGreaterEqual(moved, replicas * ALL)
            self.assertLess(moved, replicas * ALL + ALL / 2)

    def test_large_values_come_by_rma(self):
        """The first 32 MiB between two ends go in frames. So do all of a client that puts one value and ends: then what goes by
        RMA is what goes from node to node."""
        self.begin(2, workers=(1, 1))
        self.coordinator()
        self.create("ones", 1)
        bench = subprocess.Popen([CAIRN, "--key", self.path("key"), "bench", "--op", "put", "--namespace", "ones",
                                  "--size", "2MiB", "--depth", "4", "--seconds", str(10 * DEADLINE_S)],
                                 stdout=subprocess.DEVNULL, env=clean_env(CAIRN_WORKSPACE=self.all[0].workspace))
        self.addCleanup(bench.wait)
        self.addCleanup(bench.kill)
        wait_for("RMA from a client", lambda: self.fabric() > ALL)
        bench.kill()
        bench.wait()

        self.create("twos", 2)
        since = self.fabric()

        def is_by_rma():
            for i in range(FILES):
                self.cairn("put", "twos", "f%d" % i, os.path.join(self.path("source"), "f%d" % i))
            return self.fabric() > since + ALL

        wait_for("RMA from node to node", is_by_rma)


if __name__ == "__main__":
    main()
