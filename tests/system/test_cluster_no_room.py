"""A node of a cluster whose engine takes nothing more: it has no room for slots that move to it, or its disk has failed. It says so."""

import os

from systest import DEADLINE_S, DEGRADED, OK, main, wait_for
from test_cluster import ClusterCase

FILES, FILE_BYTES = 4000, 30000  # which lie beside their keys, and so are copied by the provider of keys


class NoRoom(ClusterCase):
    def load(self, files=FILES):
        """A namespace of two replicas, with 120 MB unless told."""
        for i in range(files):
            self.write("tree/%d" % i, os.urandom(FILE_BYTES))
        self.create("data", 2)
        self.ok(self.all[0].cairn("import", "data", self.path("tree")))

    def verify(self):
        self.ok(self.all[0].cairn("verify", "data", self.path("tree")))

    def fill(self, path, leave):
        with open(path, "ab", buffering=0) as f:
            room = os.statvfs(os.path.dirname(path))
            os.posix_fallocate(f.fileno(), 0, room.f_bavail * room.f_frsize - leave)

    def add(self, name, data):
        """Another node, beside those that begin() made, and with what these have."""
        more = list(self.all[0].args)
        more[more.index("node.name=n1")] = "node.name=" + name
        more[more.index("cluster.zone=n1")] = "cluster.zone=" + name
        node = self.node(name, args=more, data=data)
        node.name = name
        node.start()
        self.all.append(node)
        return node

    def test_copies_are_refused_until_there_is_room(self):
        small = self.small_disk(640)
        self.begin(n=2)
        self.load()
        wait_for("whole slots", self.is_whole)
        for node in self.all:  # its log begins behind what it has then: who joins needs copies
            node.stop()
            node.start()
        wait_for("whole slots", self.is_whole)
        # It joins a moment before somebody else takes its room; a third of all replicas is to come to it.
        late = self.add("n3", os.path.join(small, "data"))
        self.fill(os.path.join(small, "other"), leave=96 << 20)  # a little more than what it keeps for removals
        wait_for("a copy that is refused", lambda: self.seen(late)["copies_refused"] > 0)
        wait_for("word of it", lambda: self.seen(late)["problem"] in (
            "copies of slots cannot be stored here: the log says why", "the disk is full: slots led from here take no new data"))
        self.assertNotEqual(self.seen(late)["health"], "ok")
        self.assertEqual(late.cairn("status").code, DEGRADED)
        self.assertFalse(self.seen(late)["failed"])
        self.verify()  # by the others

        os.unlink(os.path.join(small, "other"))
        wait_for("all its share", self.is_spread, 2 * DEADLINE_S)
        self.verify()
        self.assertEqual(self.all[0].stop(), 0)  # now it is needed
        self.all.pop(0)
        self.verify()

    def test_a_disk_that_fails_ends_the_part_of_its_node(self):
        """The engine's directory goes away, as that of a file system which the kernel gave up: the other node goes on."""
        self.begin(n=2, conf={"providers": [{"type": "kv", "name": "kv", "write_buffer": "1MiB"},
                                            {"type": "extent", "name": "extent"}]})
        coordinator = self.coordinator()
        failing = next(n for n in self.all if n is not coordinator)
        self.load(files=10)
        wait_for("whole slots", self.is_whole)
        engine, away = os.path.join(failing.data, "kv"), os.path.join(failing.data, "away")
        os.rename(engine, away)
        value = self.write("value", os.urandom(FILE_BYTES))
        put = 0

        def has_ended():
            nonlocal put
            put += coordinator.cairn("put", "data", "put%d" % put, value).code == OK
            return self.seen(failing)["failed"]

        wait_for("the end of its part", has_ended)
        seen = self.seen(failing)
        self.assertEqual(seen["health"], "failed")
        self.assertIn("takes no part in the cluster any more", seen["problem"])
        self.assertIn("look after the cause, then start it again", seen["problem"])
        self.assertEqual(failing.cairn("status").code, DEGRADED)
        wait_for("the other to go on alone", lambda: coordinator.cairn("put", "data", "alone", value).code == OK)

        os.rename(away, engine)
        failing.kill()
        failing.start()
        wait_for("whole slots", self.is_whole)
        wait_for("health", lambda: self.seen(failing)["health"] == "ok")
        self.assertGreater(put, 0)
        for key in ["alone"] + ["put%d" % i for i in range(put)]:
            self.ok(failing.cairn("get", "data", key, text=False))


if __name__ == "__main__":
    main()
