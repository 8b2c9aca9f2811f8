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
        def is_there():  # on a busy machine the coordinator may change just now
            made = self.all[0].cairn("--key", self.path("key"), "ns", "create", "--replicas", str(replicas), name)
            return made.code == OK or "exists" in made.err

        wait_for("a namespace", is_there)
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

    def closed(self):
        """How many endpoints the nodes have closed, since there was no other way to get memory back."""
        return sum(n.cairn("metrics", "--json").json["counters"]["bulk_fabric_closed"] for n in self.all)

    def moved_for_one(self, namespace, replicas):
        """How many bytes all nodes moved for a value that a client put."""
        before, messages = self.counted()
        self.cairn("put", namespace, "f0", os.path.join(self.path("source"), "f0"))
        after, then = self.counted()
        self.assertLess(then - messages, PART / 4)
        moved = sum(after.values()) - sum(before.values())
        self.assertGreaterEqual(moved, replicas * PART)
        return moved

    def test_large_values_come_once_to_each_replica(self):
        """From the client to who leads, and from there to who follows. On a machine so busy that somebody loses patience it
        is sent again; one put that goes as it should shows that nothing else does."""
        self.begin(2, workers=(1, 1))
        self.coordinator()
        for name, replicas in (("ones", 1), ("twos", 2)):
            self.create(name, replicas)
            wait_for("each byte to go once", lambda n=name, r=replicas: self.moved_for_one(n, r) == r * PART)

    def test_large_values_come_by_rma(self):
        """The first 32 MiB between two ends go in frames. So do all of a client that puts one value and ends: then what goes by
        RMA is what goes from node to node. Once it does, it goes on so: no endpoint is closed for what went well."""
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

        def is_by_rma():
            since, closed = self.fabric(), self.closed()
            for i in range(FILES):
                self.cairn("put", "twos", "f%d" % i, os.path.join(self.path("source"), "f%d" % i))
            return self.fabric() >= since + ALL and self.closed() == closed

        wait_for("RMA from node to node", is_by_rma)


if __name__ == "__main__":
    main()
