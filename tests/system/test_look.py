"""What people look at: cairn top, where and map, of a node alone and of a cluster."""

import fcntl
import json
import os
import pty
import re
import select
import shutil
import signal
import struct
import subprocess
import termios
import time
import unittest

from systest import (CAIRN, DEADLINE_S, DEGRADED, FAILED, OK, TIMEOUT, UNREACHABLE, Case, Etcd, clean_env, main, on_terminal,
                     run, wait_for)

CLUSTER = "0123456789abcdef0123456789abcdef"


class Terminal:
    """cairn top as a person has it: on a terminal of so many lines and columns."""

    def __init__(self, node, rows, columns, key=None):
        env = clean_env(CAIRN_WORKSPACE=node.workspace, TERM="xterm", **({"CAIRN_KEY": key} if key else {}))
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
            os.execve(CAIRN, [CAIRN, "top"], env)
        self.bytes, self.code = b"", None

    def read(self, until, seconds=DEADLINE_S):
        """Reads until a condition holds of what was shown; also at the end."""
        end = time.monotonic() + seconds
        while not until(self) and time.monotonic() < end:
            if select.select([self.fd], [], [], 0.1)[0]:
                try:
                    self.bytes += os.read(self.fd, 65536)
                except OSError:
                    break
        return until(self)

    def frames(self):
        """Screens that were shown whole, as lines."""
        plain = [re.sub(rb"\x1b\[[0-9?;]*[a-zA-Z]", b"", f) for f in self.bytes.split(b"\x1b[H")[1:] if b"\x1b[J" in f]
        return [f.decode().replace("\r", "").rstrip("\n").split("\n") for f in plain]

    def end(self):
        """Its exit code, when it has ended of itself."""
        self.read(lambda t: False)
        self.code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        os.close(self.fd)
        return self.code


class Alone(Case):
    def test_top_of_one_node(self):
        node = self.node().start()
        self.ok(node.cairn("ns", "create", "data"))
        for i in range(3):
            self.ok(node.cairn("put", "-v", "x", "data", "k%d" % i))
        docs = []

        def answers():  # within a second
            docs.append(self.ok(node.cairn("top", "--json")).json)
            return [n["answers"] for n in docs[-1]["nodes"]] == [True]

        wait_for("its answer", answers)
        doc = docs[-1]
        self.assertNotIn("cluster", doc)
        self.assertEqual((doc["version"], doc["since_start"]), (1, False))
        self.assertGreater(doc["window_ms"], 0)
        self.assertTrue(all(m["p99_ns"] == 0 for m in doc["methods"] if m["per_s"] == 0), doc)  # of nothing before that
        self.assertIn(("router", "put"), {(m["provider"], m["method"]) for m in doc["methods"]})
        shown = []
        wait_for("the same in words", lambda: shown.append(self.ok(node.cairn("top", "--once")).out) or re.search(
            r"(?m)^nodes  1, all answer; ", shown[-1]))
        out = shown[-1]
        self.assertRegex(out, r"(?m)^rates  of the last [0-9.]+ m?s$")
        self.assertRegex(out, r"(?m)^NODE +STATE +REQ/S")

    def test_what_clients_asked_counts_once(self):
        node = self.node().start()
        self.ok(node.cairn("ns", "create", "data"))
        for i in range(3):
            self.ok(node.cairn("put", "-v", "x", "data", "k%d" % i))
        puts = [m for m in self.ok(node.cairn("metrics", "--json")).json["methods"] if m["method"] == "put"]
        self.assertEqual(sum(m["clients"]["requests"] for m in puts), 3, puts)
        self.assertGreater(sum(m["requests"] for m in puts), 3, puts)  # the router asks a provider

    def test_top_tells_how_long_requests_take(self):
        node = self.node().start()
        self.ok(node.cairn("ns", "create", "data"))
        load = subprocess.Popen([CAIRN, "bench", "--op", "put", "--namespace", "data", "--seconds", str(10 * DEADLINE_S)],
                                stdout=subprocess.DEVNULL, env=clean_env(CAIRN_WORKSPACE=node.workspace))
        self.addCleanup(load.wait)
        self.addCleanup(load.kill)

        def of_puts():  # it begins, or did not get the processor in that second
            rows = self.ok(node.cairn("top", "--json")).json["methods"]
            return next((m for m in rows if (m["provider"], m["method"]) == ("router", "put") and m["per_s"] > 0), None)

        wait_for("puts", of_puts)
        wait_for("how long they take", lambda: (of_puts() or {"mean_ns": 0})["mean_ns"] > 0)
        wait_for("how long nearly all take", lambda: (of_puts() or {"p99_ns": 0})["p99_ns"] > 0)
        shown = []
        wait_for("both in words", lambda: shown.append(self.ok(node.cairn("top", "--once")).out) or re.search(
            r"(?m)^PROVIDER +METHOD .* MEAN +P99.*\n(?:.*\n)*?router +put .* [1-9][0-9.]* [mµun]?s +[1-9][0-9.]* [mµun]?s *$", shown[-1]))

    def test_top_on_a_terminal(self):
        node = self.node().start()
        for rows, columns in ((24, 80), (50, 200), (5, 40)):
            t = Terminal(node, rows, columns)
            self.assertTrue(t.read(lambda t: len(t.frames()) >= 3))
            self.assertTrue(t.read(lambda t: any("rates  of the last " in line for f in t.frames() for line in f)))
            self.assertEqual(t.bytes.count(b"\x1b[2J"), 0)  # nothing is wiped to be drawn anew
            for frame in t.frames():
                self.assertLess(len(frame), rows)
                self.assertTrue(all(len(line) <= columns for line in frame), frame)
            os.write(t.fd, b"q")
            self.assertEqual(t.end(), OK)
            self.assertTrue(t.bytes.rstrip().endswith(b"\x1b[?25h\x1b[?1049l"), t.bytes[-60:])  # as it was before
        t = Terminal(node, 24, 80)
        self.assertTrue(t.read(lambda t: t.frames()))
        os.kill(t.pid, signal.SIGTERM)
        self.assertEqual(t.end(), OK)
        self.assertIn(b"\x1b[?1049l", t.bytes)

    def test_where_on_one_node(self):
        node = self.node().start()
        self.ok(node.cairn("ns", "create", "data"))
        doc = self.ok(node.cairn("where", "--json", "data", "any/key")).json
        self.assertEqual((doc["namespace"], doc["key"], doc["clustered"]), ("data", "any/key", False))
        self.assertIn("on this node", self.ok(node.cairn("where", "data", "any/key")).out)
        self.fails(node.cairn("where", "none", "k"), FAILED, "no namespace")


@unittest.skipUnless(shutil.which("etcd"), "etcd is not installed")
class InACluster(Etcd, Case):
    def begin(self, step=0):
        self.url, self.etcd = self.start_etcd(self.path("etcd"))
        self.all = []
        for i in range(1, 4):
            settings = {"map.store": "etcd", "map.endpoints": self.url, "node.cluster": CLUSTER, "node.name": "n%d" % i,
                        "auth.key_file": self.path("key"), "cluster.zone": "z%d" % i, "cluster.weight": 100 + step * i}
            node = self.node("n%d" % i, args=[x for k, v in settings.items() for x in ("--set", "%s=%s" % (k, v))])
            node.name = "n%d" % i
            self.all.append(node.start())
        # Slots are made over those that are there; and who is killed before is missed by nobody.
        wait_for("all members", lambda: [
            m["state"] for m in json.loads(self.cairn(0, "status", "--json").out)["cluster"]["members"]] == ["up"] * 3)
        self.ok(self.cairn(0, "ns", "create", "--replicas", "2", "data"))
        wait_for("the namespace", lambda: all(self.cairn(i, "ns", "show", "data").code == OK for i in range(3)))

    def cairn(self, node, *args):
        return self.all[node].cairn("--key", self.path("key"), *args)

    def placed(self, node):
        replicas = self.ok(self.cairn(node, "where", "--json", "data", "some/key")).json.get("replicas", [])
        return replicas and all(r["state"] == "up" for r in replicas)

    def test_where_and_top(self):
        self.begin(10)
        # A node's copy of the map comes record by record: a slot may be known before the members it names.
        wait_for("the map at all nodes", lambda: all(self.placed(i) for i in range(3)))
        self.ok(self.cairn(0, "wait-ready", "--settled", "--timeout", "%ds" % (DEADLINE_S - 10)))
        docs = []

        def is_nowhere():  # as whoever serves its slot says, who may have taken it over just now
            docs[:] = [self.ok(self.cairn(i, "where", "--json", "data", "some/key")).json for i in range(3)]
            return [d["exists"] for d in docs] == [False] * 3 and all(d["primary"] in d["in_sync"] for d in docs)

        wait_for("word of what is not there", is_nowhere)
        for doc in docs:
            self.assertTrue(doc["clustered"])
            self.assertEqual({(d["hash"], d["slot"], d["class"], d["slots"], d["slot_id"]) for d in docs},
                             {(doc["hash"], doc["slot"], 2, 1024, 1024 + doc["slot"])})
            names = [r["name"] for r in doc["replicas"]]
            self.assertGreaterEqual(len(set(names)), 2)
            self.assertEqual(doc["slot"], int(doc["hash"], 16) >> 54)
            leaders = [r["name"] for r in doc["replicas"] if r["role"].startswith("primary")]
            self.assertEqual(leaders, [doc["primary"]])
            for r in doc["replicas"]:
                self.assertEqual((r["zone"], r["weight"]), ("z" + r["name"][1], 100 + 10 * int(r["name"][1])))
                self.assertRegex(r["why"], "choice")
        told = [d for i, d in enumerate(docs) if "lease_left_ms" in d]
        text = self.ok(self.cairn(0, "where", "data", "some/key")).out
        self.assertRegex(text, r"(?m)^exists +no: this is where it would be placed$")
        self.ok(self.cairn(0, "put", "-v", "x", "data", "some/key"))
        wait_for("word of what is there", lambda: [self.where(i, "some/key")["exists"] for i in range(3)] == [True] * 3)
        self.assertTrue(all(0 <= d["lease_left_ms"] <= 4000 for d in told))
        wait_for("the cluster's group", lambda: {m["name"] for m in self.cairn(0, "members", "--json").json["members"]} ==
                 {"n1", "n2", "n3"})
        env = clean_env(CAIRN_WORKSPACE=self.all[0].workspace, CAIRN_KEY=self.path("key"), TERM="xterm", NO_COLOR="1")
        for argv in (["where", "data", "some/key"], ["map"], ["map", "--log"], ["members", "--cluster"]):
            shown = []  # when somebody coordinates, who may be another by now
            wait_for(argv, lambda: shown.append(on_terminal([CAIRN, *argv], env, 80)) or shown[-1][0] == OK)
            out = shown[-1][1].decode()
            self.assertLessEqual(max(map(len, out.split("\r\n"))), 80, out)
        text = self.ok(self.cairn(0, "where", "data", "some/key")).out
        self.assertRegex(text, r"(?m)^NAME +ROLE +STATE +ADDRESS +ZONE +WEIGHT")
        self.assertRegex(text, r"(?m)^class +slots of 2 replicas$")
        self.assertRegex(text, r"(?m)^slot +%d of 0 to 1023 \(among those of all classes %d\)$" % (docs[0]["slot"], docs[0]["slot_id"]))

        def answers():  # within a second each, as somebody looks on
            return {n["name"]: n["answers"] for n in self.ok(self.cairn(0, "top", "--json")).json["nodes"]}

        wait_for("answers of all", lambda: answers() == {"n1": True, "n2": True, "n3": True})
        wait_for("all slots", lambda: sum(
            n["leads"] for n in self.ok(self.cairn(0, "top", "--json")).json["nodes"]) == 1024)  # counted each second
        # One that stands still is shown as such, and nobody waits for it. Who is asked keeps the others' addresses.
        victim = next(i for i in (1, 2) if not self.coordinates(i))
        self.all[victim].process.send_signal(signal.SIGSTOP)
        try:
            wait_for("answers of the others", lambda: [k for k, v in answers().items() if not v] == [self.all[victim].name])
            t = Terminal(self.all[0], 24, 80, self.path("key"))
            self.assertTrue(t.read(lambda t: any("no answer" in line or "silent" in line for f in t.frames() for line in f)))
            os.write(t.fd, b"q")
            self.assertEqual(t.end(), OK)
        finally:
            self.all[victim].process.send_signal(signal.SIGCONT)

    def test_one_word_and_one_count_for_what_is_missing(self):
        self.begin()
        self.ok(self.cairn(0, "wait-ready", "--settled", "--timeout", "%ds" % (DEADLINE_S - 10)))
        for i in (1, 2):
            self.all[i].kill()

        def seen():
            return json.loads(self.cairn(0, "status", "--json").out).get("cluster", {})

        def is_over():
            doc = seen()
            return [m["state"] for m in doc.get("members", [])].count("silent") == 2 and doc["slots"]["unserved"] > 0

        wait_for("two silent nodes", is_over)
        wait_for("its health", lambda: seen()["health"] == "failing")
        self.assertEqual(self.cairn(0, "status").code, DEGRADED)
        for what in ("top", "map"):
            wait_for("the states", lambda: {n["name"]: n["state"] for n in self.ok(self.cairn(0, what, "--json")).json["nodes"]} ==
                     {"n1": "up", "n2": "silent", "n3": "silent"})

        def counts():  # who is left takes over what it can, while they are looked at
            doc, told = seen(), self.ok(self.cairn(0, "map", "--json")).json
            top = self.ok(self.cairn(0, "top", "--json")).json
            return {(c["degraded"], c["unserved"]) for c in (
                doc["slots"], doc["classes"][0], told["classes"][0], top["cluster"]["slots"])}

        wait_for("one count", lambda: len(counts()) == 1)
        env = clean_env(CAIRN_WORKSPACE=self.all[0].workspace, CAIRN_KEY=self.path("key"), TERM="xterm", NO_COLOR="1")
        shown = []
        wait_for("the same in words", lambda: shown.append(on_terminal([CAIRN, "status"], env, 80)[1].decode().replace("\r", "")) or
                 "health   " in shown[-1] and "members   " in shown[-1] and "\ncluster\n" in shown[-1])
        cluster = shown[-1][shown[-1].index("\ncluster\n"):]
        self.assertRegex(cluster, r"health +failing\n +unserved +\d+ of 1,024 slots: neither read nor written\n")
        self.assertRegex(cluster, r"members +3: 1 up, 2 silent\n")
        self.assertLessEqual(max(map(len, cluster.split("\n"))), 80, cluster)
        wait_for("the same in top", lambda: re.search(r"(?m)^n3 +silent ", self.ok(self.cairn(0, "top", "--once")).out))
        # A key whose slot nobody serves is placed all the same.
        self.assertLessEqual({self.where(0, "k%d" % i).get("exists") for i in range(4)}, {False, None})

    def where(self, node, key):
        return self.ok(self.cairn(node, "where", "--json", "data", key)).json

    def test_every_view_of_a_cluster(self):
        """Each fits the usual terminal and has a document, while all are there and with one that is gone."""
        self.begin()
        self.ok(self.cairn(0, "wait-ready", "--settled", "--timeout", "%ds" % (DEADLINE_S - 10)))
        env = clean_env(CAIRN_WORKSPACE=self.all[0].workspace, CAIRN_KEY=self.path("key"), TERM="xterm", NO_COLOR="1")
        views = {"status": ("cluster", "providers"), "members": ("members", "group", "joined", "problem"),
                 "members --cluster": ("members",), "map": ("nodes", "classes", "revision"), "map --log": ("log",),
                 "where data some/key": ("replicas", "primary", "in_sync", "exists"), "top": ("nodes", "methods", "window_ms")}

        def look(code_of):
            for view, fields in views.items():
                with self.subTest(view):
                    told, shown = [], []  # who is late is suspected, or nobody coordinates, for a moment
                    wait_for("the document", lambda: told.append(self.cairn(0, "--json", *view.split())) or
                             told[-1].code == code_of(view) and set(fields) <= set(told[-1].json))
                    self.assertEqual(list(told[-1].json)[0], "version")
                    argv = [CAIRN, *view.split(), *(["--once"] if view == "top" else [])]
                    wait_for("the view", lambda: shown.append(on_terminal(argv, env, 80)) or shown[-1][0] == code_of(view))
                    out = shown[-1][1]
                    wide = [line for line in out.decode().split("\r\n") if len(line) > 80 and "unix:" not in line]
                    self.assertEqual(wide, [])  # but for the addresses of the node itself

        wait_for("the group", lambda: len(self.cairn(0, "members", "--json").json["members"]) == 3)
        look(lambda view: OK)
        wait_for("names", lambda: [m["name"] for m in self.cairn(0, "members", "--cluster", "--json").json["members"]] ==
                 ["n1", "n2", "n3"])
        with open(self.path("watched"), "wb") as out:
            watch = subprocess.Popen([CAIRN, "members", "--watch", "--timeout", "5s"], stdout=out, env=env)
        self.addCleanup(watch.wait)
        self.addCleanup(watch.kill)

        def watched(pattern):
            with open(self.path("watched"), encoding="utf-8") as f:
                return re.search(pattern, f.read(), re.M)

        wait_for("all members", lambda: watched(r"^[0-9:]{8}  alive    n3        udp://[0-9.:]+  weight 1\d\d, zone z3$"))
        victim = next(i for i in (1, 2) if not self.coordinates(i))
        name = self.all[victim].name
        self.all[victim].kill()
        wait_for("word of its death", lambda: watched(r"^[0-9:]{8}  silent   %s  " % name))
        self.assertIsNone(watch.poll())
        wait_for("that it is silent", lambda: self.cairn(0, "members", "--cluster").code == DEGRADED and
                 self.cairn(0, "wait-ready", "--whole", "--timeout", "1s").err.find("node %s is silent" % name) > 0)
        look(lambda view: DEGRADED if view in ("status", "members", "members --cluster") else OK)
        told = []
        wait_for("what is missing", lambda: told.append(self.cairn(0, "wait-ready", "--whole", "--timeout", "5s")) or
                 "is silent" in told[-1].err)
        self.fails(told[-1], TIMEOUT, "of 1024 slots", "miss replicas; node %s is silent" % name, "cairn drain --lost NODE")
        # Its answer is missed when the node that is watched through goes.
        self.all[0].kill()
        self.assertEqual(watch.wait(DEADLINE_S), UNREACHABLE)

    def test_nobody_who_coordinates_answers(self):
        self.begin()

        def nobody_answers():
            first = next((i for i in range(3) if self.coordinates(i)), None)
            if first is None:
                return False
            stopped = (self.etcd, self.all[first].process)  # nobody else is elected without the store
            for p in stopped:
                p.send_signal(signal.SIGSTOP)
            try:
                status = self.cairn((first + 1) % 3, "status")
            finally:
                for p in stopped:
                    p.send_signal(signal.SIGCONT)
            # Another may have been elected just before.
            return status.code == DEGRADED and re.search(
                r"health +unknown\n +problem +no node that coordinates it answers", status.out)

        wait_for("word of it", nobody_answers)

    def test_words_for_what_is_not_as_it_was_meant(self):
        self.begin()
        self.fails(self.cairn(0, "ns", "create", "--replicas", "9", "many"), FAILED, "9 replicas", "ask for fewer")
        # It joins when it has registered, and the coordinator has two seconds to say that it is up.
        wait_for("word of it", lambda: "n2 is up, and not being drained" in self.cairn(0, "drain", "--cancel", "n2").out)
        told = []  # of all nodes, who have some seconds to answer
        wait_for("that", lambda: told.append(self.cairn(0, "scrub", "--wait")) or told[-1].code == OK)
        self.assertIn("nothing has been compared yet; `cairn scrub --start --wait`", told[-1].err)
        # A round leaves out slots that move.
        self.ok(self.cairn(0, "wait-ready", "--settled", "--timeout", "%ds" % (DEADLINE_S - 10)))
        wait_for("a round", lambda: told.append(self.cairn(0, "scrub", "--start", "--wait")) or told[-1].code == OK)
        self.assertNotIn("nothing has been", told[-1].err)

    def test_what_nodes_ask_each_other_is_no_request_of_clients(self):
        self.begin()
        for i in range(20):
            self.ok(self.cairn(0, "put", "-v", "x", "data", "k%d" % i))
        rows = [m for i in range(3) for m in self.ok(self.cairn(i, "metrics", "--json")).json["methods"]]
        self.assertEqual(sum(m["clients"]["requests"] for m in rows if (m["provider"], m["method"]) == ("router", "put")), 20)
        among = [m for m in rows if m["provider"] == "cluster" and m["method"] in ("repl", "heartbeat")]
        self.assertGreater(sum(m["requests"] for m in among), 0)
        self.assertEqual([m for m in among if m["clients"]["requests"] > 0], [])

    def test_map_counts_slots(self):
        self.begin()
        config = self.path("etcd.yaml")
        with open(config, "w", encoding="utf-8") as f:
            f.write("map: {store: etcd, endpoints: ['%s']}\n" % self.url)

        def shown():
            return self.ok(run(CAIRN, "map", "--json", "--config", config)).json

        wait_for("all replicas", lambda: shown()["classes"] == [
            {"replicas": 2, "slots": 1024, "active": 1024, "take_over": 0, "lost": 0, "degraded": 0, "unserved": 0, "moving": 0}])
        wait_for("no moves", lambda: [sum(n[k] for n in shown()["nodes"]) for k in ("leads", "in_sync", "holds", "arriving")] ==
                 [1024, 2048, 2048, 0])
        nodes = shown()["nodes"]
        self.assertEqual([(n["name"], n["state"], n["zone"], n["weight"]) for n in nodes],
                         [("n%d" % i, "up", "z%d" % i, 100) for i in (1, 2, 3)])
        text = self.ok(run(CAIRN, "map", "--config", config)).out
        self.assertRegex(text, r"(?m)^REPLICAS +SLOTS +ACTIVE")
        self.assertRegex(text, r"(?m)^n3 +up +z3 +100 ")
        # Entries that make no sense are counted, and hide nothing else.
        env = dict(os.environ, ETCDCTL_API="3")
        if shutil.which("etcdctl"):
            keys = subprocess.run(["etcdctl", "--endpoints", self.url, "get", "--prefix", "", "--keys-only"], env=env,
                                  capture_output=True, check=True, text=True).stdout.split()
            slot = next(k for k in keys if "/slot/" in k or k.startswith("slot/"))
            subprocess.run(["etcdctl", "--endpoints", self.url, "put", slot, "nonsense"], env=env, check=True,
                           capture_output=True)
            self.assertEqual((shown()["unreadable"], shown()["classes"][0]["slots"]), (1, 1023))

    def test_the_log_of_a_cluster(self):
        self.begin()
        user = "uid %d" % os.getuid()

        def log(node, *more):
            return self.ok(self.cairn(node, "map", "log", "--json", *more)).json["log"]

        def slots(what, source, target):
            return sum(d.get("slots", 0) for e in log(0) for d in e.get("deeds", ())
                       if d["what"] in what and d.get("from") == source and target in (None, d.get("to")))

        # Any node is asked, or the store itself.
        wait_for("all members", lambda: self.ok(self.cairn(1, "map", "--json")).json["members"] == 3)
        shown = self.ok(self.cairn(1, "map", "--json")).json
        self.assertEqual((shown["store"], shown["where"], shown["namespaces"], shown["members"], shown["classes"][0]["slots"]),
                         ("etcd", [self.url], 1, 3, 1024))
        self.assertEqual(self.ok(run(CAIRN, "map", "--json", "--etcd", self.url)).json["classes"][0]["slots"], 1024)
        self.assertRegex(self.ok(self.cairn(2, "map")).out, r"(?m)^n3 +up +z3 +100 ")
        self.fails(run(CAIRN, "--workspace", self.path("nowhere"), "map"), 3, "--config FILE")

        # Made, and who did what.
        self.assertEqual([(e["author"], e["reason"], e["keys"]) for e in log(2, "--people")],
                         [(user, "namespace created", ["ns/data"])])
        wait_for("all to be told", lambda: sum(d.get("slots", 0) for e in log(0) for d in e.get("deeds", ())
                                               if d["what"] == "made") == 1024)

        self.ok(self.cairn(0, "wait-ready", "--settled", "--timeout", "%ds" % (DEADLINE_S - 10)))  # who came late has its share

        # A drain is told as its author's, what follows from it as the coordinator's; each is asked through another node.
        self.ok(self.cairn(1, "drain", "n3"))
        self.assertIn((user, "drain of n3 asked for"), [(e["author"], e["reason"]) for e in log(0, "--people")])
        wait_for("the moves", lambda: any(d.get("from") == "n3" and d["why"] == "n3 is drained"
                                          for e in log(0) for d in e.get("deeds", ())))
        self.ok(self.cairn(0, "drain", "--cancel", "n3"))
        self.assertEqual(log(1, "--people", "--last", "1")[0]["reason"], "drain of n3 called off")

        # A death: who took over what, of whom, and why; in few entries, by the node that coordinates.
        victim = next(i for i in (1, 2) if not self.coordinates(i))
        name = self.all[victim].name
        self.all[victim].kill()
        wait_for("its slots to be led by others", lambda: slots(("taken over",), name, None) > 0)
        entry = [e for e in log(0) if any(d["what"] == "taken over" and d.get("from") == name for d in e.get("deeds", ()))][-1]
        self.assertRegex(entry["author"], r"^node n[123]$")
        self.assertIn("%s is silent" % name, [d["why"] for d in entry["deeds"]])
        self.assertLess(len(log(0)), 1000)
        text = self.ok(self.cairn(0, "map", "--log")).out
        self.assertRegex(text, r"taken over %s > n" % name)
        self.assertEqual([e for e in log(0, "--people") if e["of"] != "people"], [])
        of_store = self.ok(run(CAIRN, "map", "log", "--json", "--etcd", self.url)).json["log"]
        self.assertTrue(any(d["what"] == "taken over" for e in of_store for d in e.get("deeds", ())))

    def coordinates(self, i):
        status = json.loads(self.cairn(i, "status", "--json").out)
        return next(p for p in status["providers"] if p["type"] == "cluster")["coordinates"]


if __name__ == "__main__":
    main()
