"""A node that began alone goes to etcd with one command: nothing is lost, nothing is given twice, and it can go back."""

import json
import os
import shutil
import socket
import subprocess
import threading
import unittest

from systest import CAIRN, CAIRND, FAILED, OK, UNREACHABLE, USAGE, Case, Etcd, clean_env, main, run


class Killer:
    """Between a program and etcd: kills the program as soon as etcd has its nth request, whose answer never comes."""

    def __init__(self, port):
        self.to, self.nth, self.seen, self.program = port, 0, 0, None
        self.lock = threading.Lock()
        self.server = socket.create_server(("127.0.0.1", 0))
        self.url = "http://127.0.0.1:%d" % self.server.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                client, _ = self.server.accept()
            except OSError:
                return
            etcd = socket.create_connection(("127.0.0.1", self.to))
            threading.Thread(target=self.ask, args=(client, etcd), daemon=True).start()
            threading.Thread(target=self.pump, args=(etcd, client), daemon=True).start()

    def ask(self, client, etcd):
        self.pump(client, etcd, self.count)

    def count(self, data):
        with self.lock:
            self.seen += data.count(b"POST /v3/kv/")
            return self.seen >= self.nth

    def pump(self, source, sink, is_last=lambda data: False):
        try:
            while data := source.recv(1 << 16):
                last = is_last(data)
                sink.sendall(data)
                if last:
                    self.program.kill()
        except OSError:
            pass
        for s in source, sink:  # the other way ends, too, and closes its own
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        source.close()

    def run(self, nth, argv):
        """Whether it was killed."""
        with self.lock:
            self.nth, self.seen = nth, 0
            self.program = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=clean_env())
        _, err = self.program.communicate()
        if self.program.returncode not in (0, -9):
            raise AssertionError("%s: %s" % (self.program.returncode, err.decode()))
        return self.program.returncode != 0


@unittest.skipUnless(shutil.which("etcd"), "etcd is not installed")
class Move(Etcd, Case):
    def begin(self, namespaces=2):
        """A node of its own with some namespaces and values; it is stopped."""
        self.url, self.etcd = self.start_etcd(self.path("etcd"))
        self.n = self.node().start()
        self.ok(self.n.cairn("ns", "create", "gone"))
        self.names = ["ns%d" % i for i in range(namespaces)]
        for name in self.names:
            self.ok(self.n.cairn("ns", "create", name))
        self.ok(self.n.cairn("put", "gone", "key", "-v", "of another"))
        self.given = self.ids()
        self.ok(self.n.cairn("ns", "remove", "--force", "gone"))
        self.ok(self.n.cairn("put", self.names[0], "key", "-v", "value"))
        self.before = {name: self.shown(name) for name in self.names}
        self.map, self.kept = (os.path.join(self.n.data, "router", name) for name in ("map", "map.moved"))

    def shown(self, name):
        return self.ok(self.n.cairn("ns", "show", name, "--json")).json

    def ids(self):
        """Of the namespaces that the node has something of."""
        shown = self.ok(self.n.cairn("--json", "kv", "list", "kv")).json["databases"]
        return {int(d["name"][3:]) for d in shown if d["name"].startswith("ns/")}

    def config(self, url=None):
        return self.write("etcd.yaml", ("map: {store: etcd, endpoints: ['%s']}\n" % (url or self.url)).encode())

    def move(self, *more):
        return run(CAIRN, "map", "move", "--data", self.n.data, *more)

    def entries(self, *where):
        """What is there but the logs and what an import counts on from; with no log: no entry is there more than once."""
        entries = self.ok(run(CAIRN, "map", "export", *where)).json["entries"]
        return {e["key"]: e["value"] for e in entries if not e["key"].startswith(("log/", "cluster/"))}

    def logged(self, *where):
        return [(e["reason"], e["keys"]) for e in self.ok(run(CAIRN, "map", "log", "--json", *where)).json["log"]
                if "imported" not in e["reason"]]

    def expect_all(self):
        """The node serves what it served before; ids go on behind all that were ever given."""
        self.assertEqual(self.ok(self.n.cairn("get", self.names[0], "key")).out.strip(), "value")
        self.assertEqual({name: self.shown(name) for name in self.names}, self.before)
        self.given |= self.ids()
        self.ok(self.n.cairn("ns", "create", "new"))
        self.assertGreater(max(self.ids() - self.given), max(self.given))
        self.assertEqual(self.ok(self.n.cairn("ls", "new")).out, "")
        self.ok(self.n.cairn("put", "new", "key", "-v", "new"))

    def test_one_command(self):
        self.begin()
        running = self.move("--etcd", self.url)
        self.fails(running, FAILED, "must be stopped", "hint: stop the node")
        self.assertEqual(running.err.count("mend the configuration"), 0, running.err)
        self.n.stop()
        log = self.logged("--data", self.n.data)
        with open(self.map, "rb") as f:
            image = f.read()

        # Nothing changes as long as it is only looked at, or cannot be done.
        self.fails(self.move(), FAILED, "map.store: local", "--etcd")
        self.fails(run(CAIRN, "map", "move", "--etcd", self.url), USAGE, "whose map?")
        self.fails(run(CAIRN, "map", "move", "--data", self.path("nowhere"), "--etcd", self.url), FAILED, "no such file")
        self.assertIn("may be moved: 2 namespaces", self.ok(self.move("--etcd", self.url, "--check")).out)
        self.assertEqual(self.entries("--etcd", self.url), {})
        with open(self.map, "rb") as f:
            self.assertEqual(f.read(), image)

        # A node that is told to look in etcd before would have no namespaces; it does not start.
        early = run(CAIRND, "--data", self.n.data, "--workspace", self.n.workspace, "--config", self.config())
        self.fails(early, FAILED, "has 2 namespaces", "cairn map move")

        done = self.ok(self.move("--etcd", self.url, "--json")).json
        self.assertEqual({k: done[k] for k in ("state", "from", "kept", "to", "namespaces")},
                         {"state": "moved", "from": self.map, "kept": self.kept, "to": [self.url], "namespaces": 2})
        self.assertGreater(done["stored"], done["entries"])  # and whose it is, where ids go on, and the log's line
        self.assertEqual(self.logged("--etcd", self.url), log)
        self.assertEqual(set(self.entries("--etcd", self.url)), {"ns/" + name for name in self.names})
        self.assertFalse(os.path.exists(self.map))
        with open(self.kept, "rb") as f:
            self.assertEqual(f.read(), image)
        again = self.ok(self.move("--config", self.config(), "--json")).json
        self.assertEqual((again["state"], again["stored"]), ("moved before", 0))
        self.assertNotIn("configuration", again)

        # Whoever is still told that the map is local is told better; with the line that was printed it starts.
        self.fails(run(*self.n.argv("--check-config")), FAILED, "moved to etcd", "cairn map move --help")
        self.fails(run(*self.n.argv()), FAILED, "moved to etcd")
        config = self.write("moved.yaml", (done["configuration"] + "\n").encode())
        self.n.start("--config", config)
        self.expect_all()
        self.n.stop()

        # And back, with what was made since.
        document = self.ok(run(CAIRN, "map", "export", "--config", config)).out
        self.ok(run(CAIRN, "map", "import", "-", "--data", self.n.data, stdin=document.encode()))
        self.n.start()
        self.assertEqual(self.ok(self.n.cairn("get", "new", "key")).out.strip(), "new")
        self.given |= self.ids()
        self.ok(self.n.cairn("ns", "remove", "--force", "new"))
        self.expect_all()

    def test_back_without_a_change(self):
        self.begin()
        self.n.stop()
        said = self.ok(self.move("--etcd", self.url)).out
        for text in ("next: write this", "listen: on an address that they reach", "cluster.key in its workspace"):
            self.assertIn(text, said)
        os.rename(self.kept, self.map)
        self.n.start()
        self.assertEqual(self.ok(self.n.cairn("get", self.names[0], "key")).out.strip(), "value")
        self.n.stop()
        self.assertIn("next: start the node", self.ok(self.move("--config", self.config())).out)  # and there once more
        self.n.start("--config", self.config())
        self.expect_all()

    def test_what_is_there_is_left_alone(self):
        self.begin()
        self.n.stop()
        other = self.node("other").start("--config", self.config())  # a cluster of its own: another identity
        self.ok(other.cairn("ns", "create", "ns0"))
        other.stop()
        there = self.entries("--etcd", self.url)

        # A node that is given another cluster's id makes no data directory of that, so it needs no more than the right one.
        args = ("--config", self.config(), "--set", "node.name=third")
        third = self.node("third").spawn(*args, "--set", "node.cluster=" + "a" * 32)
        self.assertEqual(third.process.wait(60), FAILED, third.log())
        third.process = None
        self.assertIn("it belongs to cluster", third.log())
        self.assertFalse(os.path.exists(third.data))
        third.start(*args)
        third.stop()
        there = self.entries("--etcd", self.url)
        for more in ((), ("--check",)):
            self.fails(self.move("--etcd", self.url, *more), FAILED, "it belongs to cluster", "two prefixes")
        self.assertEqual(self.entries("--etcd", self.url), there)

        # One's own, but of a node that went on in etcd without it.
        mine = self.write("mine.yaml", ("map: {store: etcd, endpoints: ['%s'], prefix: /mine/}\n" % self.url).encode())
        aside = self.path("aside")
        os.rename(self.map, aside)
        self.n.start("--config", mine)
        self.ok(self.n.cairn("ns", "create", "since"))
        self.n.stop()
        os.rename(aside, self.map)
        self.fails(self.move("--config", mine), FAILED, "is there, and not of the map", "below /mine/")
        self.assertTrue(os.path.exists(self.map))

        self.etcd.kill()
        self.etcd.wait()
        self.fails(self.move("--config", self.config(), "--timeout", "1s"), UNREACHABLE, "cannot be read")
        self.n.start()
        self.assertEqual({name: self.shown(name) for name in self.names}, self.before)

    def test_killed_anywhere(self):
        """Killed after each request that it sends to etcd, one after another, it is repeated until it is through."""
        self.begin(namespaces=40)  # with its log more than one change takes
        self.n.stop()
        log = self.logged("--data", self.n.data)
        killer = Killer(self.port)
        self.addCleanup(killer.server.close)
        argv = [CAIRND, "--data", self.n.data, "--config", self.config(killer.url), "--map-move"]
        kills = 0
        while killer.run(kills + 1, argv):
            kills += 1
            # Whenever it is killed: either the map is still here, or it is there.
            if os.path.exists(self.kept):
                break
            self.assertTrue(os.path.exists(self.map))
        print("killed %d times" % kills, flush=True)
        self.assertGreater(kills, 4)
        self.ok(self.move("--config", self.config()))
        self.assertEqual(self.logged("--etcd", self.url), log)
        self.assertEqual(set(self.entries("--etcd", self.url)), {"ns/" + name for name in self.names})
        self.n.start("--config", self.config())
        self.expect_all()


if __name__ == "__main__":
    main()
