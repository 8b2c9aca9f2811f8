"""A map store that is put back to an older backup, or emptied, as nodes run; and a map imported into another."""

import base64
import json
import os
import shutil
import unittest
import urllib.request

from systest import CAIRN, DEADLINE_S, FAILED, Case, Etcd, main, run, wait_for


@unittest.skipUnless(shutil.which("etcd"), "etcd is not installed")
class PutBack(Etcd, Case):
    def begin(self):
        """Three nodes with a namespace of two replicas, and some values."""
        self.store = os.path.join(self.base, "etcd")
        self.url, self.etcd = self.start_etcd(self.store)
        self.members = {name: self.member(name).start() for name in "abc"}
        self.whole(3)
        self.cli("ns", "create", "--replicas", "2", "data")
        self.put("data", "early", 8)
        self.whole(3)
        self.pids = {name: node.process.pid for name, node in self.members.items()}

    def member(self, name, **kw):
        settings = ["map.store=etcd", "map.endpoints=" + self.url, "node.name=" + name, "cluster.slots=1024",
                    "cluster.lease=2s", "cluster.heartbeat=200ms",
                    "cluster.zone=" + name, "auth.key_file=" + self.path("key")]
        return self.node(name, args=[a for s in settings for a in ("--set", s)], **kw)

    def cli(self, *args, node="b"):
        return self.ok(self.members[node].cairn("--key", self.path("key"), *args))

    def put(self, ns, word, n):
        for i in range(n):
            self.cli("put", "-v", "%s value %d" % (word, i), ns, "%s%d" % (word, i), node="abc"[i % 3])

    def expect(self, ns, word, n):
        for i in range(n):
            self.assertEqual(self.cli("get", ns, "%s%d" % (word, i), node="abc"[(i + 1) % 3]).out.rstrip("\n"),
                             "%s value %d" % (word, i))

    def seen(self, node):
        status = node.cairn("status", "--json")
        return next((p for p in status.json["providers"] if p["type"] == "cluster"), {}) if status.out else {}

    def whole(self, members, generation=0):
        """All are in, as of the map of this generation, and every slot has its replicas."""
        def coordinator_says():
            all_seen = [self.seen(n) for n in self.members.values()]
            if any(s.get("lease_ms", 0) == 0 or s.get("map_generation") != generation for s in all_seen):
                return False
            own = next((s for s in all_seen if s.get("coordinates")), None)
            return own is not None and own["members"]["all"] == members and own["members"]["silent"] == 0 and not any(
                own["slots"][k] for k in ("degraded", "takeover", "lost", "moving"))

        wait_for("a whole cluster", coordinator_says)

    def coordinator(self):
        """Its name; there may be none for a moment."""
        found = []

        def somebody_coordinates():
            found[:] = [k for k, n in self.members.items() if self.seen(n).get("coordinates")]
            return len(found) == 1

        wait_for("a coordinator", somebody_coordinates)
        return found[0]

    def stop_etcd(self):
        self.etcd.kill()
        self.etcd.wait()

    def backup(self):
        self.stop_etcd()
        shutil.copytree(self.store, self.path("backup"))
        _, self.etcd = self.start_etcd(self.store)
        self.whole(3)

    def put_back(self, what):
        """Who coordinates and is still elected when etcd is there again finds out with his next change, which may be late."""
        self.stop_etcd()
        wait_for("the end of his term", lambda: not any(self.seen(n).get("coordinates") for n in self.members.values()))
        shutil.rmtree(self.store)
        if what is not None:
            shutil.copytree(what, self.store)
        _, self.etcd = self.start_etcd(self.store)

    def go_on(self, name):
        """A process of its own that the backup does not know of."""
        self.members[name].kill()
        self.members[name].start()
        self.pids[name] = self.members[name].process.pid
        self.whole(3)

    def expect_nobody_restarted(self):
        for name, node in self.members.items():
            self.assertIsNone(node.process.poll(), name)
            self.assertEqual(node.process.pid, self.pids[name])
        self.assertTrue(any("the map store was put back" in n.log() for n in self.members.values()))

    def test_an_older_backup(self):
        self.begin()
        self.backup()
        # What the backup has not: other incarnations, epochs, a namespace; and values in slots that have moved on.
        coordinator = self.coordinator()
        self.go_on(next(k for k in self.members if k != coordinator))
        self.put("data", "late", 8)
        self.cli("ns", "create", "--replicas", "2", "later")
        self.put("later", "lost", 4)
        given = self.ids()
        self.put_back(self.path("backup"))
        self.whole(3, generation=1)
        self.expect_nobody_restarted()
        self.expect("data", "early", 8)
        self.expect("data", "late", 8)
        self.is_gone("later")
        status = self.seen(self.members["c"])
        self.assertGreater(status["map_put_back"]["lost_up_to"], status["map_put_back"]["to"])
        self.assertIn("put back", self.cli("map", "--log").out)
        # It is a cluster like any: it takes writes and a loss. The lost namespace's id is not another's.
        self.put("data", "after", 8)
        self.cli("ns", "create", "--replicas", "2", "later")
        self.assertEqual(self.cli("ls", "later").out, "")
        self.put("later", "new", 4)
        self.expect("later", "new", 4)
        self.assertGreater(max(self.ids()), max(given) + (1 << 20))
        self.go_on_in("c", 1)
        self.expect("data", "after", 8)
        self.expect("data", "early", 8)

    def go_on_in(self, name, generation):
        self.members[name].kill()
        self.members[name].start()
        self.whole(3, generation)

    def start_on(self, document, generation=1):
        """All stop, etcd is another, which is used by others, too, and the document is imported there."""
        for node in self.members.values():
            node.stop()
        known = json.loads(self.export())["revision"]
        self.put_back(None)
        self.pass_revisions(known)
        self.ok(run(CAIRN, "map", "import", "-", "--etcd", self.url, stdin=document.encode()))
        for node in self.members.values():
            node.start()
        self.whole(3, generation)

    def export(self):
        document = self.ok(run(CAIRN, "map", "export", "--etcd", self.url)).out
        self.assertGreater(len([e for e in json.loads(document)["entries"] if e["key"].startswith("records/slot/")]), 0)
        return document

    def pass_revisions(self, upto):
        """Others write to etcd until its revision is beyond what the nodes knew of."""
        body = json.dumps({"key": base64.b64encode(b"others").decode(), "value": ""}).encode()
        at = 0
        while at <= upto:
            with urllib.request.urlopen(self.url + "/v3/kv/put", body, timeout=30) as answer:
                at = int(json.load(answer)["header"]["revision"])

    def test_the_newest_export_in_another_etcd(self):
        self.begin()
        document = self.export()
        self.start_on(document)
        self.expect("data", "early", 8)
        self.put("data", "after", 8)
        self.go_on_in("c", 1)
        self.expect("data", "early", 8)
        self.expect("data", "after", 8)
        self.assertIn("imported", self.cli("map", "--log", "--people").out)

    def test_nodes_that_were_started_before_the_import(self):
        self.begin()
        document = self.export()
        for node in self.members.values():
            node.stop()
        self.put_back(None)
        for node in self.members.values():
            node.start()
        wait_for("their own map", lambda: any(
            s.get("coordinates") and s["members"]["all"] == 3 for s in map(self.seen, self.members.values())))
        argv = (CAIRN, "map", "import", "-", "--etcd", self.url)
        refused = self.fails(run(*argv, stdin=document.encode()), FAILED, "started before the import",
                             "etcdctl del --prefix '/cairn/'", "is empty, or has nothing that FILE has not")
        self.assertNotIn("mend the configuration", refused.err)
        for node in self.members.values():
            node.stop()
        below = {"key": base64.b64encode(b"/cairn/").decode(), "range_end": base64.b64encode(b"/cairn0").decode()}
        with urllib.request.urlopen(self.url + "/v3/kv/deleterange", json.dumps(below).encode(), timeout=30) as answer:
            self.assertGreater(int(json.load(answer)["deleted"]), 0)
        self.ok(run(*argv, stdin=document.encode()))
        for node in self.members.values():
            node.start()
        self.ok(self.members["b"].cairn("--key", self.path("key"), "wait-ready", "--whole", "--timeout", "%ds" % DEADLINE_S,
                                        timeout=2 * DEADLINE_S))
        self.expect("data", "early", 8)

    def test_one_that_is_sent_to_an_empty_map_says_so(self):
        """A mistyped prefix makes no cluster of its own that looks well; whoever means it starts the node once more."""
        self.begin()
        c = self.members["c"]
        self.assertEqual(self.seen(c)["health"], "ok")
        c.stop()
        wrong = self.member("c", data=c.data)
        for health, *said in (("degraded", "map.prefix right?", "start this node once more"), ("ok",)):
            wrong.start("--set", "map.prefix=/typo/")
            wait_for("the cluster's health", lambda want=health: self.seen(wrong).get("health") == want)
            for text in said:
                self.assertIn(text, self.seen(wrong)["problem"])
            wrong.stop()
        c.start()  # at home it is as it was
        self.whole(3)
        self.expect("data", "early", 8)

    def test_an_older_export_in_another_etcd(self):
        self.begin()
        document = self.export()
        # What the export has not: incarnations, epochs, values, and a namespace.
        self.go_on(next(k for k in self.members if k != self.coordinator()))
        self.put("data", "late", 8)
        self.cli("ns", "create", "--replicas", "2", "later")
        self.put("later", "lost", 4)
        self.start_on(document)
        self.expect("data", "early", 8)
        self.expect("data", "late", 8)
        self.is_gone("later")
        # The same name is another namespace.
        self.cli("ns", "create", "--replicas", "2", "later")
        self.assertEqual(self.cli("ls", "later").out, "")
        self.put("later", "new", 4)
        self.expect("later", "new", 4)
        # And once more: the nodes have logs of a generation that the import begins a second time.
        self.put("data", "twice", 8)
        self.start_on(document, generation=2)
        for word in "early", "late", "twice":
            self.expect("data", word, 8)

    def test_the_coordinator_knows_of_nothing(self):
        """Whoever is elected was started after the store was put back: he hears of it from others."""
        self.begin()
        self.backup()
        coordinator = self.coordinator()
        self.go_on(next(k for k in self.members if k != coordinator))
        self.put("data", "late", 5)
        self.members[coordinator].kill()
        self.put_back(self.path("backup"))
        self.members[coordinator].start()
        self.pids[coordinator] = self.members[coordinator].process.pid
        self.whole(3, generation=1)
        self.expect_nobody_restarted()
        self.expect("data", "early", 8)
        self.expect("data", "late", 5)

    def test_an_empty_store(self):
        self.begin()
        self.put_back(None)
        self.whole(3, generation=1)
        self.expect_nobody_restarted()
        self.is_gone("data")
        self.cli("ns", "create", "--replicas", "2", "data")
        self.put("data", "again", 8)
        self.whole(3, generation=1)
        self.expect("data", "again", 8)

    def is_gone(self, name):
        for node in self.members.values():
            wait_for("its end", lambda n=node: n.cairn("--key", self.path("key"), "ns", "show", name).code == FAILED)

    def ids(self):
        """Of namespaces, as the nodes have something of them."""
        return {int(d["name"][3:]) for name in self.members
                for d in self.cli("--json", "kv", "list", "kv", node=name).json["databases"] if d["name"].startswith("ns/")}

    def values_at(self, name):
        """Of all namespaces, what the node has of them."""
        shown = self.cli("--json", "kv", "list", "kv", node=name).json["databases"]
        return [line for d in shown if d["name"].startswith("ns/")
                for line in self.cli("kv", "ls", "kv/" + d["name"], node=name).out.splitlines()]

    def test_an_empty_store_and_an_emptied_node(self):
        """What a node has emptied, since its slots moved away, is not made its own again: nobody would serve it."""
        self.begin()
        self.assertTrue(self.values_at("c"))
        self.cli("drain", "--wait", "c")
        # That it is drained says that no record names it; it empties its slots a moment later, all in one go.
        wait_for("c to empty its slots", lambda: not self.values_at("c"))
        self.put_back(None)
        self.whole(3, generation=1)
        self.cli("ns", "create", "--replicas", "2", "data")
        self.put("data", "again", 8)
        self.whole(3, generation=1)
        self.expect("data", "again", 8)
        self.expect_nobody_restarted()


if __name__ == "__main__":
    main()
