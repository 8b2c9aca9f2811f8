"""Disks that are full, and bytes that have changed behind the node's back."""

import os
import urllib.request

from systest import *


class FullDisk(Case):
    def fill(self, path):
        """Somebody else takes all that is left of the disk."""
        with open(path, "ab", buffering=0) as f:
            size = 1 << 20
            while size > 0:
                try:
                    f.write(bytes(size))
                except OSError:
                    size //= 2
        vfs = os.statvfs(os.path.dirname(path))
        self.assertEqual(vfs.f_bavail, 0)

    def check_config(self, n):
        """What a start would say. It takes nothing of the room that the start will need."""
        before = os.statvfs(n.data).f_bfree
        r = run(*n.argv("--check-config"))
        self.assertEqual(os.statvfs(n.data).f_bfree, before)
        return r

    def test_a_node_starts_on_a_full_disk_and_serves_reads(self):
        mount = self.small_disk(192)
        n = self.node(data=os.path.join(mount, "data")).start()
        self.ok(n.cairn("ns", "create", "ns1"))
        large = self.write("large", os.urandom(3 << 20))
        for i in range(200):
            self.ok(n.cairn("put", "-v", "small %d" % i, "ns1", "s/%d" % i))
        self.ok(n.cairn("put", "ns1", "large", large))
        # More than the node's spare room and the logs that RocksDB gives back some time after its start.
        too_large = self.write("too large", bytes(64 << 20))
        for restart in range(8):
            self.fill(os.path.join(mount, "other"))
            if restart % 2 == 0:
                self.assertEqual(n.stop(), 0)
            else:
                n.kill()
            self.fill(os.path.join(mount, "other"))
            self.ok(self.check_config(n))
            n.start()
            self.fails(n.cairn("put", "ns1", "refused", too_large), FAILED, "no space")
            self.assertEqual(n.cairn("get", "ns1", "s/%d" % restart).out, "small %d" % restart)
            self.ok(n.cairn("verify", "ns1"))
            n.cairn("put", "-v", "s" * 4000, "ns1", "refused or not")  # what there is room for is taken, and stays readable
        # Room again: it goes on by itself.
        os.unlink(os.path.join(mount, "other"))
        wait_for("the node to accept writes again", lambda: n.cairn("put", "ns1", "after", large).code == OK)
        self.ok(n.cairn("verify", "ns1"))
        self.assertEqual(n.stop(), 0)

    def test_a_start_without_any_room_says_what_to_do(self):
        mount = self.small_disk(192)
        n = self.node(data=os.path.join(mount, "data")).start()
        self.ok(n.cairn("ns", "create", "ns1"))
        self.assertEqual(n.stop(), 0)
        os.unlink(os.path.join(mount, "data", "spare"))
        self.fill(os.path.join(mount, "other"))
        self.fails(self.check_config(n), FAILED, "make room on its file system, and start again")
        n.spawn()
        self.assertNotEqual(n.process.wait(DEADLINE_S), 0)
        self.assertIn("make room on its file system, and start again", n.log())
        os.unlink(os.path.join(mount, "other"))
        n.start()
        self.ok(n.cairn("ns", "show", "ns1"))
        self.assertEqual(n.stop(), 0)

    def test_writes_are_refused_reads_go_on_and_it_recovers(self):
        # Sizes that a step of the segments' growth divides, and others: what is left between its steps differs.
        for megabytes in (103, 172, 192):
            with self.subTest(megabytes=megabytes):
                disk = self.small_disk(megabytes)
                self.fill_and_empty(self.node("node%d" % megabytes, data=os.path.join(disk, "data")))

    def fill_and_empty(self, n):
        n.start()
        self.ok(n.cairn("ns", "create", "ns1"))
        first = self.write("first", os.urandom(3 << 20))
        self.ok(n.cairn("put", "ns1", "first", first))
        self.ok(n.cairn("put", "-v", "small", "ns1", "small"))

        filler = self.write("filler", os.urandom(8 << 20))
        stored = 0
        for i in range(64):
            r = n.cairn("put", "ns1", "fill/%d" % i, filler)
            if r.code != OK:
                break
            stored += 1
        self.assertEqual(r.code, FAILED, str(r))
        self.assertIn("no space", r.err.lower())
        self.assertGreater(stored, 2)

        # What is there can be read, all of it; and what was refused is not there, not even a part.
        self.assertEqual(n.cairn("get", "ns1", "small").out, "small")
        with open(first, "rb") as f:
            self.assertEqual(n.cairn("get", "ns1", "first", text=False).out, f.read())
        self.fails(n.cairn("stat", "ns1", "fill/%d" % stored), FAILED)
        # A refusal is shown as long as it would be repeated: what an engine gives back meanwhile may make room for one more.
        while n.cairn("status").code != DEGRADED:
            stored += 1
            self.ok(n.cairn("put", "ns1", "fill/%d" % stored, filler))

        # Room again: it goes on by itself.
        self.ok(n.cairn("rm", "--prefix", "ns1", "fill/"))
        wait_for("the node to accept writes again", lambda: n.cairn("put", "ns1", "after", first).code == OK)
        self.ok(n.cairn("verify", "ns1"))
        self.ok(n.cairn("status"))
        self.assertEqual(n.stop(), 0)
        n.start()
        self.ok(n.cairn("verify", "ns1"))
        self.assertEqual(n.stop(), 0)

    def files(self, n, size):
        source = self.path("files")
        os.mkdir(source)
        for i in range(n):
            with open(os.path.join(source, "f%d" % i), "wb") as f:
                f.write(os.urandom(size))
        return source

    def health(self, n, kind):
        return next(p["health"] for p in n.cairn("--json", "status").json["providers"] if p["type"] == kind)

    def test_a_disk_full_of_small_values_is_emptied_while_the_node_runs(self):
        mount = self.small_disk(100)
        n = self.node(data=os.path.join(mount, "data")).start()
        self.ok(n.cairn("ns", "create", "ns1"))
        files = self.files(5500, 20000)
        self.fails(n.cairn("import", "ns1", files), FAILED, "no space")

        def is_full():
            """What compaction gives back meanwhile is filled as well."""
            return n.cairn("import", "ns1", files).code == FAILED and self.health(n, "kv") == "readonly"

        wait_for("the store to say that it is full", is_full)
        # Most of the disk is values: neither segments nor what is kept free for removals have more than their share.
        self.assertGreater(len(n.cairn("ls", "ns1").out.splitlines()), 3000)
        self.ok(n.cairn("rm", "ns1", "f1"))
        self.ok(n.cairn("verify", "ns1"))
        self.ok(n.cairn("rm", "--prefix", "ns1", "f"))
        wait_for("room", lambda: n.cairn("put", "-v", "v" * 20000, "ns1", "after").code == OK)
        wait_for("health", lambda: n.cairn("status").code == OK)
        self.ok(n.cairn("ns", "remove", "-f", "ns1"))
        self.assertEqual(n.stop(), 0)
        n.start()
        self.assertEqual(n.cairn("status").code, OK)
        self.assertEqual(n.stop(), 0)

    def test_removals_go_on_when_others_have_filled_the_disk(self):
        mount = self.small_disk(100)
        n = self.node(data=os.path.join(mount, "data")).start()
        for ns in ("ns1", "ns2"):
            self.ok(n.cairn("ns", "create", ns))
        files = self.files(1000, 20000)
        for ns in ("ns1", "ns2"):
            self.ok(n.cairn("import", ns, files))
        self.fill(os.path.join(mount, "other"))
        value = self.write("value", os.urandom(20000))
        for i in range(100):  # until the room that logs have set aside is used up
            r = n.cairn("put", "ns1", "more/%d" % i, value)
        self.fails(r, FAILED, "no space")
        self.assertEqual(n.cairn("status").code, DEGRADED)
        self.ok(n.cairn("rm", "ns1", "f1"))
        self.ok(n.cairn("rm", "--prefix", "ns1", "f"))
        self.ok(n.cairn("ns", "remove", "-f", "ns2"))
        self.assertNotIn("could not be removed", n.log())
        self.assertNotEqual(n.cairn("get", "ns1", "f1").code, OK)
        # What they gave back is the spare room again, and a start on the full disk can have it.
        self.assertEqual(n.stop(), 0)
        n.start()
        self.ok(n.cairn("verify", "ns1"))
        os.unlink(os.path.join(mount, "other"))
        wait_for("the node to accept writes again", lambda: n.cairn("put", "ns1", "after", value).code == OK)
        self.assertEqual(n.stop(), 0)


class FlippedByte(Case):
    def test_an_error_of_the_engine_ends_writes_and_says_what_to_do(self):
        """Its directory goes away, as that of a file system which the kernel gave up: what it has in memory finds no file."""
        page = "127.0.0.1:%d" % free_port()
        n = self.node(args=["--set", "providers=[{type: kv, name: kv, write_buffer: 1MiB}, {type: extent, name: extent}]",
                            "--set", "metrics.listen=tcp://" + page])
        n.start()
        self.ok(n.cairn("ns", "create", "ns1"))
        self.ok(n.cairn("put", "-v", "before", "ns1", "before"))
        value = self.write("value", os.urandom(30000))  # small enough to lie beside its key

        def health():
            with urllib.request.urlopen("http://%s/healthz" % page, timeout=30) as r:
                return r.status, r.read().decode()

        self.assertEqual(health(), (200, "ok\n"))
        engine, away = os.path.join(n.data, "kv"), os.path.join(n.data, "away")
        os.rename(engine, away)
        stored, r = [], None
        for i in range(1000):
            r = n.cairn("put", "ns1", "key%d" % i, value)
            if r.code != OK:
                break
            stored.append("key%d" % i)
        self.assertEqual(r.code, FAILED, str(r))
        self.assertGreater(len(stored), 10)

        # It is said wherever one looks, and what is there is served.
        said = "an error of the disk ended all writes here"
        status = n.cairn("status", "--json")
        self.assertEqual(status.code, DEGRADED, str(status))
        kv = next(p for p in status.json["providers"] if p["type"] == "kv")
        self.assertEqual(kv["health"], "readonly")
        self.assertIn(said, kv["problem"])
        self.assertIn("No such file or directory", kv["last_error"])
        self.assertIn(said, " ".join(n.cairn("status").out.split()))
        self.assertEqual(health()[0], 200)
        self.assertIn("kv is readonly: " + said, health()[1])
        self.assertIn("no more writes until the node is started anew", n.log())
        self.assertEqual(n.cairn("get", "ns1", "before").out, "before")

        # The engine does not go on by itself; a node that is started anew does, with all that was acknowledged.
        os.rename(away, engine)
        self.fails(n.cairn("put", "ns1", "again", value), FAILED)
        self.assertEqual(n.cairn("status").code, DEGRADED)
        n.stop()
        n.start()
        self.ok(n.cairn("status"))
        self.ok(n.cairn("put", "ns1", "again", value))
        self.assertEqual(health(), (200, "ok\n"))
        for key in ["before", "again"] + stored:
            self.ok(n.cairn("get", "ns1", key, text=False))

    def test_a_flipped_byte_is_found_reported_and_quarantined(self):
        n = self.node().start()
        self.ok(n.cairn("ns", "create", "ns1"))
        marker = os.urandom(64)
        value = self.write("value", os.urandom(200000) + marker + os.urandom(200000))
        other = self.write("other", os.urandom(400000))
        self.ok(n.cairn("put", "ns1", "bad", value))
        self.ok(n.cairn("put", "ns1", "good", other))
        self.assertEqual(n.stop(), 0)
        self.flip(n.data, marker)

        n.start()
        r = self.fails(n.cairn("--json", "get", "ns1", "bad"), FAILED, '"CAIRN_E_CORRUPT"')
        self.assertEqual(r.out, "")
        self.ok(n.cairn("get", "ns1", "good"))
        status = n.cairn("status")
        self.assertEqual(status.code, DEGRADED, str(status))
        doc = n.cairn("--json", "status").json
        extent = next(p for p in doc["providers"] if p["type"] == "extent")
        self.assertEqual((extent["health"], extent["quarantined"]), ("degraded", 1))
        listed = n.cairn("--json", "extent", "ls", "--quarantined", "extent").json["extents"]
        self.assertEqual(len(listed), 1)
        self.assertEqual(n.cairn("extent", "scrub", "extent").code, DEGRADED)
        self.fails(n.cairn("verify", "ns1"), FAILED, "bad: ")

        # An import of the same file sees what its size does not tell, and mends it; good values are left as they are.
        os.mkdir(self.path("tree"))
        os.rename(other, self.path("tree", "good"))
        other = self.path("tree", "good")
        os.link(value, self.path("tree", "bad"))
        r = self.ok(n.cairn("--json", "import", "ns1", self.path("tree"))).json
        self.assertEqual((r["files"], r["skipped"]), (1, 1))
        self.ok(n.cairn("verify", "ns1", self.path("tree")))
        self.ok(n.cairn("status"))
        self.assertEqual(n.stop(), 0)

    def test_a_value_in_quarantine_is_stored_again(self):
        n = self.node().start()
        self.ok(n.cairn("ns", "create", "ns1"))
        marker = os.urandom(64)
        value = self.write("value", os.urandom(200000) + marker + os.urandom(200000))
        self.ok(n.cairn("put", "ns1", "bad", value))
        self.assertEqual(n.stop(), 0)
        self.flip(n.data, marker)
        n.start()
        self.fails(n.cairn("get", "ns1", "bad", "/dev/null"), FAILED, "cairn import --compare")
        self.ok(n.cairn("put", "ns1", "bad", value))
        self.ok(n.cairn("verify", "ns1"))
        with open(value, "rb") as f:
            self.assertEqual(n.cairn("get", "ns1", "bad", text=False).out, f.read())
        self.assertEqual(n.stop(), 0)


if __name__ == "__main__":
    main()
