"""A client that is killed in the middle of a transfer of its memory: the node gives back what it began, and serves the others.

The transfer is the server's: it reads the client's memory, by process_vm_readv() over the unix socket and by RMA over TCP. Each
kill comes when `cairn machines` shows the transfer under way."""

import os
import subprocess

from systest import *

CLIENT = os.path.join(BUILD, "bin", "kill_client")
BYTES = 128 << 20
KILLS = 4


class DyingWriter(Case):
    def setUp(self):
        super().setUp()
        self.n = self.node(args=["--set", "providers.extent.unsealed_ttl=1s", "--set", "node.workers=1"]).start()
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
        return len(os.listdir("/proc/%d/fd" % self.n.process.pid))

    def kill_in_transfer(self, kind, start):
        for _ in range(50):
            victim = start()
            wait_for("a transfer", lambda: self.under_way(kind, "MOVE") > 0 or victim.poll() is not None)
            in_time = victim.poll() is None
            victim.kill()
            victim.communicate()
            if in_time:
                return
        self.fail("every transfer was over before it was seen")

    def dies(self, kind, start):
        before = self.extent()
        value = self.write("value", os.urandom(300000))
        for kill in range(KILLS):
            self.kill_in_transfer(kind, start)
            self.ok(self.n.cairn("extent", "put", "extent", value))  # others are served, at once
            for gone in (kind, "extent-piece"):
                wait_for("the end of " + gone, lambda: self.under_way(gone) == 0)
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
        with open(big, "wb") as f:
            f.truncate(BYTES)
        self.through(lambda a: [CAIRN, "--address", a, "extent", "put", "extent", big], "extent-put")

    def test_while_it_writes(self):
        after = self.through(lambda a: [CLIENT, "extent", a, "extent", str(BYTES)], "extent-write")
        self.assertGreaterEqual(after["unsealed_expired"], KILLS)

    def through(self, argv, kind):
        for address in (self.n.address, self.n.tcp_address()):
            with self.subTest(address.split(":")[0]):
                self.n.stop()
                subprocess.run(["rm", "-rf", self.n.data], check=True)
                self.n.start()
                address = self.n.address if address.startswith("unix") else self.n.tcp_address()
                after = self.dies(kind, lambda: subprocess.Popen(argv(address), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                                                                 env=self.env))
        self.assertEqual(self.n.stop(), 0)
        return after


if __name__ == "__main__":
    main()
