"""The map: its log, and the way of a node from its own file to etcd and back, with everything that it holds."""

import base64
import json
import os
import shutil
import signal
import socket
import time
import unittest

from systest import (CAIRN, CAIRND, DEADLINE_S, DEGRADED, FAILED, OK, UNREACHABLE, USAGE, Case, Etcd, free_port, main, run,
                     wait_for)


class Map(Etcd, Case):
    def test_the_log_says_who_why_and_when(self):
        node = self.node().start()
        self.ok(node.cairn("ns", "create", "first"))
        self.ok(node.cairn("ns", "create", "second"))
        self.ok(node.cairn("ns", "remove", "first"))
        log = run(CAIRN, "map", "log", "--json", "--data", node.data).json["log"]
        self.assertEqual([(e["reason"], e["keys"]) for e in log],
                         [("namespace created", ["ns/first"]), ("namespace created", ["ns/second"]),
                          ("namespace removed", ["ns/first"])])
        self.assertEqual({e["author"] for e in log}, {"uid %d" % os.getuid()})
        self.assertTrue(log[0]["time"].startswith(time.strftime("%Y-%m-", time.gmtime())))
        newest = run(CAIRN, "map", "log", "--last", "1", "--data", node.data)
        self.assertIn("namespace removed", newest.out)
        self.assertNotIn("namespace created", newest.out)

    def test_the_map_and_its_log_as_options(self):
        node = self.node().start()
        self.ok(node.cairn("ns", "create", "first"))
        before = self.ok(run(CAIRN, "map", "--json", "--data", node.data)).json
        self.ok(node.cairn("ns", "create", "second"))
        shown = self.ok(run(CAIRN, "map", "--json", "--data", node.data)).json
        self.assertEqual({k: shown[k] for k in ("version", "store", "namespaces", "members", "slots", "log", "others")},
                         {"version": 1, "store": "local", "namespaces": 2, "members": 0, "slots": 0, "log": 2, "others": 0})
        self.assertEqual(shown["where"], [os.path.join(node.data, "router", "map")])
        self.assertGreater(shown["revision"], before["revision"])
        self.assertGreater(shown["value_bytes"], before["value_bytes"])
        text = self.ok(run(CAIRN, "map", "--data", node.data)).out
        self.assertRegex(text, r"(?m)^store +local$")
        self.assertRegex(text, r"(?m)^namespaces +2$")

        for more in ((), ("--last", "1")):
            self.assertEqual(self.ok(run(CAIRN, "map", "--log", "--json", *more, "--data", node.data)).json,
                             self.ok(run(CAIRN, "map", "log", "--json", *more, "--data", node.data)).json)
        self.assertIn("namespace created", self.ok(run(CAIRN, "map", "--log", "--data", node.data)).out)

        self.fails(run(CAIRN, "map", "--last", "1", "--data", node.data), USAGE, "--last goes with --log")
        self.assertEqual(self.ok(node.cairn("map", "--json")).json, shown)  # as the node itself says
        self.assertEqual(self.ok(node.cairn("map", "log", "--json")).json,
                         self.ok(run(CAIRN, "map", "log", "--json", "--data", node.data)).json)
        self.fails(run(CAIRN, "map", "exprot"), USAGE, "did you mean 'map export'?")
        self.fails(run(CAIRN, "map", "--data", self.path("nowhere")), FAILED, "nowhere/router")
        self.assertIn("map export", self.ok(run(CAIRN, "map", "--help")).out)
        for damaged in (b"", b"no map at all"):
            with open(os.path.join(node.data, "router", "map"), "wb") as f:
                f.write(damaged)
            self.fails(run(CAIRN, "map", "--data", node.data), FAILED, "reading the map")

    def test_a_refusal_names_its_cure(self):
        """Not that of another: the configuration is good."""
        node = self.node().start()
        self.ok(node.cairn("ns", "create", "first"))
        exported = self.write("map.json", self.ok(run(CAIRN, "map", "export", "--data", node.data)).out.encode())
        node.stop()
        of = ("--data", self.path("new"))
        cut = self.write("cut.json", b'{"cairn_map": 1,\n "entries": [')
        for argv, *said in ((("import", "nosuch.json", *of), "nosuch.json: No such file", "FILE is what `cairn map export`"),
                            (("import", cut, *of), "the document: line 2: ", "FILE is what `cairn map export`"),
                            (("export",), "no data directory is named", "--config FILE names the node")):
            self.assertNotIn("mend the configuration", self.fails(run(CAIRN, "map", *argv), FAILED, *said).err)
        self.ok(run(CAIRN, "map", "import", exported, *of))
        wrong = self.write("wrong.yaml", b"nodde: 1\n")
        self.fails(run(CAIRN, "map", "export", "--config", wrong), FAILED, "unknown key 'nodde'", "mend the configuration")

    def test_an_etcd_that_is_not_there_is_waited_for_as_long_as_was_said(self):
        url = "http://127.0.0.1:%d" % free_port()
        config = self.write("etcd.yaml", b"map: {store: etcd, endpoints: ['%s'], timeout: 10min}\n" % url.encode())
        for of in (("--etcd", url), ("--config", config)):  # nor does it matter how long a node would wait that starts
            for action in ((), ("log",), ("export",)):
                self.fails(run(CAIRN, "map", *action, *of, "--timeout", "200ms"), UNREACHABLE, url, "hint: is ")
        error = json.loads(run(CAIRN, "map", "--json", "--etcd", url, "--timeout", "200ms").err)["error"]
        self.assertEqual((error["code"], error["exit"]), ("CAIRN_E_UNREACHABLE", UNREACHABLE))

    def test_a_check_does_not_wait_as_long_as_a_start(self):
        with socket.socket() as mute:  # takes connections, and says nothing
            mute.bind(("127.0.0.1", 0))
            mute.listen()
            config = self.write("etcd.yaml", b"map: {store: etcd, endpoints: ['http://127.0.0.1:%d'], timeout: 10min}\n"
                                             b"node: {data: '%s'}\nworkspace: '%s'\n" % (
                                                 mute.getsockname()[1], self.path("d").encode(), self.path("w").encode()))
            checked = run(CAIRN, "config", "check", config, timeout=DEADLINE_S)  # less than the ten minutes
        self.assertEqual(checked.code, FAILED, checked)
        self.assertIn("map: ", checked.out)

    @unittest.skipUnless(shutil.which("etcd"), "etcd is not installed")
    def test_a_node_moves_to_etcd(self):
        url, etcd = self.start_etcd(os.path.join(self.base, "etcd"))
        settings = ("--set", "map.store=etcd", "--set", "map.endpoints=" + url)
        config = os.path.join(self.base, "etcd.yaml")
        with open(config, "w", encoding="utf-8") as f:
            f.write("map: {store: etcd, endpoints: ['%s']}\n" % url)
        node = self.node().start()
        self.ok(node.cairn("ns", "create", "gone"))
        self.ok(node.cairn("ns", "create", "demo"))
        self.ok(node.cairn("ns", "remove", "gone"))
        self.ok(node.cairn("put", "demo", "key", stdin=b"value"))
        document = run(CAIRN, "map", "export", "--data", node.data)
        self.assertEqual(document.code, OK, document)
        exported = os.path.join(self.base, "map.json")
        entries = document.json
        keys = ["ns/" + "x" * n + "\u00e9" * 100 for n in range(2)]  # as another version's may be
        for e in entries["entries"]:
            line = json.loads(base64.b64decode(e["value"])) if e["key"].startswith("log/") else {}
            if line.get("reason") == "namespace removed":
                line.update(keys=keys, nkeys=5)
                e["value"] = base64.b64encode(json.dumps(line).encode()).decode()
        with open(exported, "w", encoding="utf-8") as f:
            json.dump(entries, f)
        refused = run(CAIRN, "map", "import", exported, "--config", config, "--data", node.data)
        self.assertEqual(refused.code, FAILED, refused)  # the node runs
        self.assertIn("must be stopped", refused.err)
        self.assertIn("hint: stop the node", refused.err)
        node.stop()
        for _ in range(2):  # and once more, which changes nothing
            moved = run(CAIRN, "map", "import", exported, "--config", config, "--data", node.data)
            self.assertEqual(moved.code, OK, moved)

        os.unlink(os.path.join(node.data, "router", "map"))  # a node whose map is in etcd wants no other
        node.start(*settings)
        self.assertEqual(self.ok(node.cairn("get", "demo", "key")).out, "value")
        self.ok(node.cairn("ns", "create", "new"))
        self.ok(node.cairn("put", "new", "key", stdin=b"other"))
        self.assertEqual(self.ok(node.cairn("get", "demo", "key")).out, "value")
        shown = self.ok(run(CAIRN, "map", "--json", "--config", config)).json
        self.assertEqual((shown["store"], shown["where"], shown["namespaces"]), ("etcd", [url], 2))
        log = run(CAIRN, "map", "log", "--json", "--people", "--config", config).json["log"]
        reasons = [e["reason"] for e in log]
        self.assertEqual([(e["keys"], e["nkeys"]) for e in log if e["reason"] == "namespace removed"], [(keys, 5)])
        self.assertEqual(reasons[0], "namespace created")
        self.assertTrue(any("imported" in r for r in reasons), reasons)
        self.assertEqual(reasons[-1], "namespace created")

        check = (CAIRND, "--data", self.path("elsewhere"), "--workspace", self.path("other-ws"), "--config", config,
                 "--check-config")
        self.ok(run(*check))

        # A store that is away: what is there is served, changes are refused at once, and the status says so.
        etcd.send_signal(signal.SIGKILL)
        etcd.wait()
        wait_for("the node to notice", lambda: node.cairn("status").code == DEGRADED)
        refused = node.cairn("ns", "create", "never")  # by the node, not by a time-out of the client
        self.assertNotEqual(refused.code, OK)
        self.assertIn("map store cannot be reached", refused.err)
        self.assertIn("hint: is etcd (`map.endpoints`) running", refused.err)
        self.assertEqual(self.ok(node.cairn("get", "demo", "key")).out, "value")
        self.fails(run(*check, "--set", "map.timeout=200ms"), FAILED, "map: the map store etcd cannot be read: " + url)
        self.start_etcd(os.path.join(self.base, "etcd"))
        wait_for("the node to notice", lambda: node.cairn("status").code == OK)
        self.ok(node.cairn("ns", "create", "later"))
        node.stop()

        # And back, from what etcd has.
        document = run(CAIRN, "map", "export", "--config", config)
        self.assertIn("ns/later", [e["key"] for e in json.loads(document.out)["entries"]])
        self.ok(run(CAIRN, "map", "import", "-", "--data", node.data, stdin=document.out.encode()))
        node.start()
        self.assertEqual(self.ok(node.cairn("get", "demo", "key")).out, "value")
        self.assertEqual(self.ok(node.cairn("get", "new", "key")).out, "other")


if __name__ == "__main__":
    main()
