"""Values that are too large for one request: they go by parts, come by ranges, and are whole or not there at all."""

import os
import random
import shutil
import subprocess

from systest import *

BLOCK = 4 << 20
GIB = 1 << 30


class Large(Case):
    def setUp(self):
        super().setUp()
        self.base_block = random.Random(11).randbytes(BLOCK)
        self.n = self.node().start()
        self.ok(self.n.cairn("ns", "create", "ns1"))

    def block(self, i):
        """The @i-th piece of the value: no two are alike, so none can stand in another's place."""
        return i.to_bytes(8, "big") + self.base_block[8:]

    def start(self, *args, **kw):
        p = subprocess.Popen([CAIRN, *args], stderr=subprocess.PIPE, env=clean_env(CAIRN_WORKSPACE=self.n.workspace), **kw)
        self.addCleanup(lambda: [f.close() for f in (p.stdin, p.stdout, p.stderr) if f])
        self.addCleanup(p.wait)
        self.addCleanup(p.kill)
        return p

    def expect_stream(self, stream, blocks, tail):
        for i in range(blocks):
            if stream.read(BLOCK) != self.block(i):
                self.fail("block %d is not what was put" % i)
        self.assertEqual(stream.read(), tail)

    def status_of_router(self, key):
        found = []

        def walk(x):
            for k, v in x.items() if isinstance(x, dict) else enumerate(x) if isinstance(x, list) else ():
                if k == key:
                    found.append(v)
                walk(v)

        walk(self.ok(self.n.cairn("--json", "status")).json)
        self.assertEqual(len(found), 1, "status tells %s %d times" % (key, len(found)))
        return found[0]

    def test_four_gib(self):
        if shutil.disk_usage(self.base).free < 10 * GIB:
            self.skipTest("less than 10 GiB of disk are free in %s" % self.base)
        blocks, tail = 4 * GIB // BLOCK, b"and a tail"
        total = blocks * BLOCK + len(tail)
        put = self.start("put", "ns1", "large", stdin=subprocess.PIPE)
        for i in range(blocks):
            put.stdin.write(self.block(i))
        put.stdin.write(tail)
        put.stdin.close()
        self.assertEqual(put.wait(3 * DEADLINE_S), OK, put.stderr.read())
        self.assertEqual(self.ok(self.n.cairn("--json", "stat", "ns1", "large")).json["objects"][0]["bytes"], total)
        get = self.start("get", "ns1", "large", stdout=subprocess.PIPE)
        self.expect_stream(get.stdout, blocks, tail)
        self.assertEqual(get.wait(DEADLINE_S), OK, get.stderr.read())
        self.n.kill()
        self.n.start()
        self.ok(self.n.cairn("get", "ns1", "large", self.path("back"), timeout=4 * DEADLINE_S))
        with open(self.path("back"), "rb") as f:
            self.expect_stream(f, blocks, tail)
        os.unlink(self.path("back"))
        r = self.ok(self.n.cairn("get", "--offset", str(total - 6), "ns1", "large"))
        self.assertEqual(r.out, "a tail")
        self.ok(self.n.cairn("rm", "ns1", "large"))
        self.assertEqual(self.n.cairn("ls", "ns1").out, "")
        self.assertEqual(self.status_of_router("uploads"), 0)

    def test_a_tree_with_a_value_above_one_part(self):
        size = 300 << 20
        os.makedirs(self.path("tree"))
        with open(self.path("tree", "sparse"), "wb") as f:
            f.truncate(size)
            for at in (0, 255 << 20, 256 << 20, size - 5):
                f.seek(at)
                f.write(b"mark%d" % (at >> 28))
        self.ok(self.n.cairn("import", "ns1", self.path("tree")))
        self.ok(self.n.cairn("verify", "ns1", self.path("tree")))
        self.ok(self.n.cairn("export", "ns1", self.path("out")))
        self.assertEqual(run("cmp", self.path("tree", "sparse"), self.path("out", "sparse")).code, 0)

    def test_what_is_never_completed_goes(self):
        put = self.start("put", "ns1", "k", stdin=subprocess.PIPE)
        for i in range(10):  # more than the writer's first part
            put.stdin.write(self.block(i))
        put.stdin.flush()
        wait_for("a part", lambda: self.status_of_router("upload_bytes") > 0)
        put.kill()
        put.wait()
        self.fails(self.n.cairn("stat", "ns1", "k"), FAILED)
        self.n.kill()
        self.n.start()
        wait_for("the sweep", lambda: self.status_of_router("swept_regions") > 0)
        self.assertEqual(self.status_of_router("uploads"), 0)


if __name__ == "__main__":
    main()
