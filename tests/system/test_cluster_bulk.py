"""How the bytes of large values come to the replicas: by RMA, from the client to the primary once, and from there to the
backup. Counted by the nodes, of which each counts what it moves: what it takes of a client, and what it gives to a backup."""

import glob
import os
import random
import subprocess

from systest import CAIRN, DEADLINE_S, FAILED, OK, clean_env, main, tries, wait_for
from test_cluster import ClusterCase

MIB = 1 << 20
PART = 8 * MIB  # the largest region
FILES = 6
ALL = FILES * PART
WRITTEN = 16 * MIB
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

    def create(self, name, replicas, *more):
        super().create(name, replicas, *more)
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

    def regions(self):
        """How many regions each node has."""
        return [next(p["regions"] for p in n.cairn("status", "--json").json["providers"] if p["type"] == "extent")
                for n in self.all]

    def test_parts_go_on_while_the_client_still_sends(self):
        """The client has sent 20 of 40 MiB, and cannot send more. Both replicas have its whole parts, and nobody has the value."""
        self.begin(2, workers=(1, 1))
        self.coordinator()
        self.create("twos", 2)
        value = random.Random(9).randbytes(5 * PART)
        for i in tries("a stream whose slot was led by one node to the end"):
            if self.is_put_in_two_goes("slow%d" % i, value):
                break
        out = self.path("slow")
        self.cairn("get", "twos", "slow%d" % i, out)
        with open(out, "rb") as f:
            self.assertEqual(f.read(), value)

    def is_put_in_two_goes(self, key, value):
        """Unless its slot got another leader meanwhile, to whom a stream cannot be sent once more."""
        first = self.all[0]
        before = self.regions()
        put = subprocess.Popen([CAIRN, "--quiet", "--key", self.path("key"), "put", "twos", key, "-"], stdin=subprocess.PIPE,
                               stderr=subprocess.PIPE, env=clean_env(CAIRN_WORKSPACE=first.workspace))
        self.addCleanup(put.wait)
        self.addCleanup(put.kill)
        put.stdin.write(value[:len(value) // 2])
        put.stdin.flush()
        wait_for("parts at both replicas", lambda: all(n > b for n, b in zip(self.regions(), before)) or put.poll() is not None)
        if put.poll() is None:
            self.fails(first.cairn("--key", self.path("key"), "get", "twos", key), FAILED)
        try:
            err = put.communicate(value[len(value) // 2:], timeout=DEADLINE_S)[1]
        except BrokenPipeError:
            err = put.stderr.read()
        self.assertTrue(put.returncode == OK or b"leads its slot no more" in err, (put.returncode, err))
        return put.returncode == OK

    def written(self):
        """What each node has given to the disk so far; what it wrote and removed before that counts, too."""
        sums = []
        for n in self.all:
            with open("/proc/%d/io" % n.process.pid) as f:
                sums.append(int(dict(line.split(": ") for line in f.read().splitlines())["write_bytes"]))
        return sums

    def tables(self):
        """The bytes in each node's tables of RocksDB; one may go while we look."""
        sums = []
        for n in self.all:
            paths = glob.glob(os.path.join(n.data, "**", "*.sst"), recursive=True)
            sums.append(sum(os.stat(p).st_size for p in paths if os.path.exists(p)))
        return sums

    def how_often(self, namespace, size, in_tables):
        """How often the bytes of values of that size have reached the disks of two replicas, when they are where they stay."""
        self.create(namespace, 2)
        before, had, source = self.written(), self.tables(), random.Random(size)
        folder = self.path(namespace)
        for i in range(WRITTEN // size):
            self.write(os.path.join(folder, "k%d" % i), source.randbytes(size))
        self.cairn("import", namespace, folder)

        def often():
            return [(n - b) / WRITTEN for n, b in zip(self.written(), before)]

        if in_tables:
            wait_for("a checkpoint of both", lambda: all(n >= h + WRITTEN for n, h in zip(self.tables(), had)))
        else:
            wait_for("bytes on both disks", lambda: min(often()) >= 1)
        return max(often())

    def test_values_reach_the_disk_twice_at_most(self):
        """A value of 1 MiB once, as a region; what a log can hold there, and with a checkpoint in the store. A checkpoint each second,
        and no more of them than the store leaves as they are: if the machine is that slow, another namespace shows it."""
        self.begin(2, workers=(1, 1), conf={"cluster": {"checkpoint_interval": "1s"}})
        self.coordinator()
        if max(self.written()) == 0:
            self.skipTest("what is written here reaches no disk")
        names = ("of%d" % i for i in range(1000))
        wait_for("values that go once", lambda: self.how_often(next(names), MIB, False) < 1.5)
        wait_for("values that go twice", lambda: self.how_often(next(names), MIB // 2, True) < 2.5)


if __name__ == "__main__":
    main()
