"""A client that is killed in the middle of a transfer of its memory: the node gives back what it began, and serves the others.

The transfer is the server's: it reads the client's memory. Over the unix socket it does so by process_vm_readv(); over TCP in
frames, and by RMA once a fabric connection stands, which a client that puts one extent and ends never has, so the one that
writes many is killed after some went that way. Each kill comes when `cairn machines` shows the transfer under way."""

import os
import subprocess

from systest import *

CLIENT = os.path.join(BUILD, "bin", "kill_client")
BYTES = 128 << 20
KILLS = 4


class DyingWriter(Case):
    def start(self, *more):
        self.n = self.node(args=["--set", "providers.extent.unsealed_ttl=5s", "--set", "node.workers=1", *more]).start()
        self.env = clean_env(CAIRN_WORKSPACE=self.n.workspace)

    def extent(self):
        doc = self.n.cairn("--json", "status").json
        return next(p for p in doc["providers"] if p["type"] == "extent")

    def under_way(self, kind, *states):
        """How many machines of that kind there are, in these states if any are given."""
        for k in self.n.cairn("--json", "machines").json["kinds"]:
            if k["kind"] == kind:
                return sum(s["count"] for s in k["states"] if not states or s["name"] in states)
        return 0

    def open_files(self):
        """But those of the store, which has a segment more when a transfer was over before its kill."""
        fds, n = "/proc/%d/fd" % self.n.process.pid, 0
        for fd in os.listdir(fds):
            try:
                n += not os.readlink(os.path.join(fds, fd)).startswith(self.n.data)
            except FileNotFoundError:  # it was closed just now
                pass
        return n

    def moved(self, way):
        return next(w["bytes"] for w in self.n.cairn("--json", "metrics").json["bulk"] if w["way"] == way)

    def stored(self):
        return {x["id"] for x in self.n.cairn("--json", "extent", "ls", "extent").json["extents"]}

    def kill_in_transfer(self, kind, start, way):
        """@way: not before something has gone that way. The node goes on to serve others."""
        value = self.write("value", os.urandom(300000))
        for _ in range(50):
            before = self.stored()
            moved = self.moved(way) if way else 0
            victim = start()
            if way:
                wait_for("what goes by " + way, lambda: self.moved(way) > moved or victim.poll() is not None)
            wait_for("a transfer", lambda: self.under_way(kind, "MOVE") > 0 or victim.poll() is not None)
            in_time = victim.poll() is None
            victim.kill()
            victim.communicate()
            value_id = self.ok(self.n.cairn("extent", "put", "extent", value)).out.strip()
            for gone in (kind, "extent-piece"):
                wait_for("the end of " + gone, lambda: self.under_way(gone) == 0)
            late = self.stored() - before - {value_id} if kind == "extent-put" else set()
            if in_time and not late:
                return
            for region in late | {value_id}:  # the transfer was over before the kill
                self.ok(self.n.cairn("extent", "rm", "extent", region))
        self.fail("every transfer was over before the kill")

    def dies(self, kind, start, way):
        before = self.extent()
        for kill in range(KILLS):
            self.kill_in_transfer(kind, start, way)
            if kill == 0:  # what the worker opens once is open
                files = self.open_files()
        expected = before["regions"] + KILLS
        wait_for("the unfinished regions to go", lambda: self.extent()["used_bytes"] <= KILLS * 304 * 1024)
        wait_for("the dead clients' descriptors to go", lambda: self.open_files() <= files + 1)
        after = self.extent()
        self.assertEqual((after["regions"], after["health"]), (expected, "ok"))
        return after

    def test_while_it_puts(self):
        big = self.path("big")
        self.start("--set", "bulk.fabric=off")  # else it may open one, and hold its descriptors, while we count
        with open(big, "wb") as f:
            f.truncate(BYTES)
        self.through(lambda a: [CAIRN, "--address", a, "extent", "put", "extent", big], "extent-put", {})

    def test_while_it_writes(self):
        self.start()
        after = self.through(lambda a: [CLIENT, "extent", a, "extent", str(BYTES)], "extent-write",
                             {"unix": "vm", "tcp": "fabric"})
        self.assertGreaterEqual(after["unsealed_expired"], KILLS)

    def through(self, argv, kind, ways):
        for address in (self.n.address, self.n.tcp_address()):
            scheme = address.split(":")[0]
            with self.subTest(scheme):
                self.n.stop()
                subprocess.run(["rm", "-rf", self.n.data], check=True)
                self.n.start()
                address = self.n.address if scheme == "unix" else self.n.tcp_address()
                after = self.dies(kind, lambda: subprocess.Popen(argv(address), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                                                                 env=self.env), ways.get(scheme))
        self.assertEqual(self.n.stop(), 0)
        return after


if __name__ == "__main__":
    main()
