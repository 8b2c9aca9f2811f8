"""What a cluster does with nodes that are not its own: another cluster's, a name twice, addresses that are somebody else's."""

import os
import shutil
import socket
import struct
import subprocess
import threading
import time
import unittest

from systest import (BUILD, CAIRN, DEADLINE_S, DEGRADED, DENIED, FAILED, OK, TIMEOUT, Case, Etcd, clean_env, free_port, main,
                     run, wait_for)

CLUSTER, OTHER = "0123456789abcdef" * 2, "f" * 32


def crc32c(data):
    crc = 0xffffffff
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82f63b78 if crc & 1 else 0)
    return crc ^ 0xffffffff


class Later:
    """Passes on what comes to a port, and whoever comes there says in his HELLO that he speaks protocol 9 alone."""

    def __init__(self, port):
        self.to, self.refused = port, 0
        self.listener = socket.socket()
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen(64)
        self.address = "tcp://127.0.0.1:%d" % self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                come = self.listener.accept()[0]
            except OSError:  # closed
                return
            threading.Thread(target=self.serve, args=(come,), daemon=True).start()

    def serve(self, come):
        try:
            with come, socket.create_connection(("127.0.0.1", self.to)) as node:
                come.settimeout(DEADLINE_S)
                node.settimeout(DEADLINE_S)
                hello = come.recv(4096)  # a few hundred bytes, written at once
                body = hello[32:].replace(b"\x08\x02\x10\x02", b"\x08\x09\x10\x09", 1)
                node.sendall(hello[:28] + struct.pack("<I", crc32c(hello[:28] + body)) + body)
                come.sendall(node.recv(4096))
                self.refused += 1
        except OSError:
            pass


@unittest.skipUnless(shutil.which("etcd"), "etcd is not installed")
class Mistakes(Etcd, Case):
    def begin(self):
        self.url, _ = self.start_etcd(os.path.join(self.base, "etcd"))

    def member(self, name, called=None, cluster=CLUSTER, prefix="/cairn/", key="key", more=(), **kw):
        settings = ["map.store=etcd", "map.endpoints=" + self.url, "map.prefix=" + prefix, "node.cluster=" + cluster,
                    "node.name=" + (called or name), "auth.key_file=" + self.path(key), *more]
        node = self.node(name, args=[a for s in settings for a in ("--set", s)], **kw)
        node.name = called or name
        return node

    def seen(self, node):
        return next(p for p in node.cairn("status", "--json").json["providers"] if p["type"] == "cluster")

    def nmembers(self, node):
        """Who coordinates knows; None: it is not this node."""
        return self.seen(node).get("members", {}).get("all")

    def is_in(self, *nodes):
        for node in nodes:
            wait_for("%s to be in the cluster" % node.name, lambda n=node: self.seen(n)["lease_ms"] > 0)

    def ends(self, node, *said):
        """It does not start, and says why; nor would it, says a check of its configuration."""
        checked = run(*node.argv("--check-config"))
        self.assertEqual(checked.code, FAILED, checked)
        self.assertNotEqual(node.spawn().process.wait(60), 0)
        for text in said:
            self.assertIn(text, checked.err + checked.out)
            self.assertIn(text, node.log())

    def test_two_clusters_at_one_prefix(self):
        self.begin()
        a = self.member("a").start()
        self.is_in(a)
        b = self.member("b", cluster=OTHER)
        self.ends(b, "belongs to cluster " + CLUSTER, "this node to cluster " + OTHER, "two clusters need two prefixes")
        b = self.member("b2", cluster=OTHER, prefix="/other/").start()  # where it is alone nobody minds
        self.is_in(a, b)
        for node in (a, b):
            wait_for("the count", lambda n=node: self.nmembers(n) == 1)

    def test_a_data_directory_of_another_cluster(self):
        self.begin()
        a = self.member("a").start()
        self.is_in(a)
        b = self.member("b", cluster=OTHER, prefix="/other/").start()
        self.assertEqual(b.stop(), 0)
        self.ends(self.member("c", data=b.data), "belongs to cluster " + OTHER)
        self.ends(self.member("d", data=b.data, cluster=""), "cluster " + OTHER)
        # A new directory of a node that is told of no cluster is of the one whose map it is.
        e = self.member("e", cluster="").start()
        self.is_in(e)
        wait_for("two members", lambda: self.nmembers(a) == 2)

    def test_a_map_from_the_future(self):
        self.begin()
        document = self.write("map.json", (
            '{"cairn_map": 1, "revision": 3, "entries": [{"key": "cluster/identity", "value": "%s", "created": 3, '
            '"changed": 3}]}' % "MyBhbmQgbW9yZQ==").encode())  # "3 and more"
        config = self.write("etcd.yaml", ("map: {store: etcd, endpoints: ['%s']}\n" % self.url).encode())
        self.ok(run(os.path.join(os.environ["CAIRN_BUILD"], "bin", "cairn"), "map", "import", document, "--config", config))
        self.ends(self.member("a"), "format 3, this version knows 2")

    def test_a_name_that_is_taken(self):
        self.begin()
        a = self.member("a").start()
        self.is_in(a)
        twin = self.member("twin", called="a").spawn()
        wait_for("the count", lambda: self.nmembers(a) == 1)
        wait_for("the twin to be refused", lambda: "is called a and is alive" in self.problem(twin))
        self.assertEqual(twin.cairn("status").code, DEGRADED)
        wait_for("the count to be as before", lambda: self.nmembers(a) == 1)
        self.assertEqual(twin.log().count("nodes need names of their own"), 1)
        a.kill()
        self.is_in(twin)
        wait_for("no problem", lambda: self.problem(twin) == "")  # the status is looked at now and then

    def refusals(self, node):
        return node.cairn("metrics", "--json").json["counters"]["auth_failures"]

    def test_another_clusters_key(self):
        """Also on the same host, where the user is the same: neither by TCP nor by a unix socket."""
        self.begin()
        a, b = [self.member(name).start() for name in "ab"]
        self.is_in(a, b)
        began = time.monotonic()
        c = self.member("c", key="other.key").start()
        wait_for("the stranger to be refused", lambda: "does not hold the cluster's key" in self.problem(c))
        before = self.refusals(a) + self.refusals(b)
        wait_for("some more tries", lambda: self.refusals(a) + self.refusals(b) >= before + 4)
        wait_for("two members", lambda: 2 in (self.nmembers(a), self.nmembers(b)))
        status = c.cairn("status")
        self.assertEqual(status.code, DEGRADED)
        for text in ("auth.key_file", "map.prefix"):
            self.assertIn(text, self.problem(c))
            self.assertIn(text, status.out + status.err)
        asked = self.fails(c.cairn("members", "--cluster"), DENIED, "(auth.key_file)")
        self.assertNotIn("--key FILE", asked.err)  # who asks has done nothing wrong
        # Once in each log, and then once a minute, whichever of the addresses and workers was tried.
        self.assertEqual(c.log().count("this node is not in the cluster"), 1, c.log())
        said = [n.log().count("refused: it does not hold") for n in (a, b)]
        self.assertGreater(max(said), 0)
        self.assertLessEqual(max(said), 1 + (time.monotonic() - began) // 60)
        # Nor does it come to coordinate the others, who would be as good as lost.
        coordinating = []
        wait_for("a coordinator", lambda: coordinating.extend(n for n in (a, b) if self.seen(n)["coordinates"]) or coordinating)
        first = coordinating[0]
        first.kill()
        second = b if first is a else a
        wait_for("another coordinator", lambda: self.seen(second)["coordinates"])
        self.is_in(second)
        wait_for("its count", lambda: self.nmembers(second) == 2)
        # With the key it is welcome.
        self.assertEqual(c.stop(), 0)
        shutil.copy(self.path("key"), self.path("other.key"))
        c.start()
        self.is_in(c)
        wait_for("three members", lambda: self.nmembers(second) == 3)

    def test_who_has_no_key_is_no_node(self):
        """A user of the same host, the node's own even, administers the cluster, and cannot speak for a node."""
        self.begin()
        a, b = [self.member(name).start() for name in "ab"]
        self.is_in(a, b)
        first = next(n for n in (a, b) if self.seen(n)["coordinates"])

        def speak(*args, key=()):
            return run(os.path.join(BUILD, "bin", "cluster_client"), *key, first.address, *args)

        for asked in (("register", "77", "1", "stranger"), ("beat", "77", "1", "1", "0"), ("active", "0", "1", "77", "1"),
                      ("stop", "77", "1")):
            self.fails(speak(*asked), FAILED, "between nodes", "cluster's key")
        wait_for("two members", lambda: self.nmembers(first) == 2)
        self.ok(speak("status"))
        self.ok(speak("records", "0"))
        for asked in (["drain", "b"], ["drain", "--cancel", "b"], ["map"], ["ns", "create", "--replicas", "2", "data"],
                      ["put", "-v", "v", "data", "k"], ["scrub"], ["kv", "list", "kv"]):
            self.ok(first.cairn(*asked))
        stranger = ("register", "77", "1", "stranger")
        wait_for("who has the key to be taken for a node, by whichever coordinates now", lambda: any(
            run(os.path.join(BUILD, "bin", "cluster_client"), "-k", self.path("key"), n.address, *stranger).code == OK
            for n in (a, b)))

    def test_who_has_the_key_and_is_no_node_gets_a_share_of_the_map(self):
        """It says that it asks for a node, and has the key that nodes have: it is bounded as any client, and takes nothing of
        what nodes may ask."""
        self.begin()
        a, b = [self.member(name).start() for name in "ab"]
        self.is_in(a, b)

        def speak(kind, *args):
            return run(os.path.join(BUILD, "bin", "cluster_client"), kind, self.path("key"), a.tcp_address(), *args)

        began = time.monotonic()
        answered, refused = [int(x) for x in self.ok(speak("-c", "flood", "2000")).out.split()]
        self.assertEqual(answered + refused, 2000)
        self.assertGreater(answered, 0)
        # A session gets 64 a second, and half of them at once; nodes get four times as much.
        self.assertLess(answered, 64 + 64 * (time.monotonic() - began))
        self.assertEqual(self.ok(speak("-k", "flood", "1")).out.split(), ["1", "0"])

    def test_why_a_node_does_not_compare_its_replicas(self):
        self.begin()
        a, b = [self.member(name).start() for name in "ab"]
        self.is_in(a, b)
        first = next(n for n in (a, b) if self.seen(n)["coordinates"])
        self.assertNotIn("PROBLEM", self.ok(first.cairn("scrub")).out)
        if os.geteuid() == 0:
            os.chmod(self.base, 0o755)
            stranger = {"user": "nobody", "group": "nogroup", "extra_groups": []}
            for more in ([], ["--json"], ["--start", "--wait"]):
                told = subprocess.run([CAIRN, "--address", first.address, "scrub", *more], capture_output=True, text=True,
                                      env=clean_env(), timeout=DEADLINE_S, **stranger)
                self.assertEqual((told.returncode, told.stdout), (DENIED, ""), told)
                self.assertIn("administrator", told.stderr)
        other = b if first is a else a
        other.kill()
        told = first.cairn("scrub")
        self.assertEqual(told.code, DEGRADED, told)
        self.assertRegex(told.out, r"(?m)^NODE .* PROBLEM$")
        self.assertRegex(told.out, r"(?m)^%s +no answer .*the node cannot be reached$" % other.name)

    def problem(self, node):
        status = node.cairn("status", "--json")
        if status.code not in (OK, DEGRADED):
            return ""
        return next(p for p in status.json["providers"] if p["type"] == "cluster").get("problem", "")

    def test_a_namespace_that_holds_something_is_not_removed(self):
        """Also by a node that leads no slot that holds it; one that is empty needs no force."""
        self.begin()
        nodes = [self.member(name).start() for name in ("a", "b", "c")]
        self.is_in(*nodes)
        key = ("--key", self.path("key"))
        self.ok(nodes[0].cairn(*key, "ns", "create", "--replicas", "2", "data"))
        for node in nodes:
            wait_for("the namespace", lambda n=node: n.cairn(*key, "ns", "show", "data").code == OK)
        self.ok(nodes[0].cairn(*key, "put", "-v", "value", "data", "key"))
        for node in nodes:
            self.fails(node.cairn(*key, "ns", "remove", "data"), FAILED, "may hold something")
        self.ok(nodes[1].cairn(*key, "rm", "data", "key"))
        self.ok(nodes[1].cairn(*key, "ns", "remove", "data"))
        wait_for("its end", lambda: nodes[2].cairn(*key, "ns", "show", "data").code == FAILED)

    def cluster(self, node):
        """What the coordinator says, whoever it is; {} while there is none."""
        status = node.cairn("status", "--json")
        return status.json.get("cluster", {}) if status.code in (OK, DEGRADED) else {}

    def class_of(self, node, replicas):
        return next((c for c in self.cluster(node).get("classes", []) if c["replicas"] == replicas), {})

    def is_there_everywhere(self, namespace, nodes):
        for node in nodes:
            wait_for("the namespace", lambda n=node: n.cairn("ns", "show", namespace).code == OK)

    def test_more_replicas_than_nodes(self):
        """As many as there can be are made, and that some are missing is said; a record has room for eight."""
        self.begin()
        nodes = [self.member(name).start() for name in "abc"]
        self.is_in(*nodes)
        for n in (5, 8):
            name = "of%d" % n
            made = nodes[0].cairn("--timeout", "100s", "ns", "create", "--replicas", str(n), name)
            self.assertEqual(made.code, OK, made)
            self.assertIn("3 nodes of the cluster may hold it, so each value has 3 copies, not %d" % n, made.err)
            self.is_there_everywhere(name, nodes)
            self.ok(nodes[1].cairn("put", "-v", "value", name, "key"))
            for node in nodes:
                self.assertEqual(self.ok(node.cairn("get", name, "key")).out, "value")
            wait_for("the count", lambda: self.class_of(nodes[2], n).get("fewest") == 3)
            seen = self.class_of(nodes[2], n)
            self.assertEqual((seen["slots"], seen["degraded"], seen["namespaces"]), (1024, 1024, [name]))
            self.assertNotIn("--replicas", self.fails(nodes[0].cairn("get", name, "none"), FAILED, "check the name").err)
            self.assertNotIn("zones", seen)  # what is missing is nodes
        status = nodes[0].cairn("status")
        self.assertEqual(status.code, DEGRADED)
        self.assertRegex(status.out, r"missing replicas\nREPLICAS .*\n +5 .* of5\n +8 .* of8\n")
        self.fails(nodes[0].cairn("ns", "create", "--replicas", "9", "of9"), FAILED, "at most 8", "slot's record")
        # Without any each node has values of its own, and who asks another for them is told.
        self.ok(nodes[0].cairn("ns", "create", "own"))
        self.is_there_everywhere("own", nodes)
        self.ok(nodes[0].cairn("put", "-v", "value", "own", "key"))
        self.fails(nodes[1].cairn("get", "own", "key"), FAILED, "no such key", "made without --replicas", "the node that took it")

    def test_slots_that_a_namespace_left_behind(self):
        """Whoever asks for more replicas than there are nodes can take it back: nobody misses what its slots miss."""
        self.begin()
        nodes = [self.member(name).start() for name in "abc"]
        self.is_in(*nodes)
        for name, replicas in (("data", "2"), ("of8", "8")):
            self.ok(nodes[0].cairn("--timeout", "100s", "ns", "create", "--replicas", replicas, name))
            self.is_there_everywhere(name, nodes)
        wait_for("the count", lambda: self.cluster(nodes[2]).get("slots", {}).get("too_few_nodes") == 1024)
        waited = nodes[1].cairn("--timeout", "2s", "wait-ready", "--whole")
        self.assertEqual(waited.code, TIMEOUT, waited)
        self.assertIn("1,024 slots want more replicas than there are nodes that may hold them (3)", waited.err)
        self.assertIn("start more nodes, or give up the namespaces", waited.err)
        self.assertIn("1,024 slots want more replicas", nodes[1].cairn("status").out)
        self.ok(nodes[1].cairn("ns", "remove", "of8"))
        for wish in ("--whole", "--settled"):
            self.ok(nodes[2].cairn("--timeout", "100s", "wait-ready", wish))
        status = self.ok(nodes[2].cairn("status"))
        self.assertRegex(status.out, r"slots that no namespace uses\nREPLICAS .*\n +8 +1,024 +1,024\n")
        self.assertNotIn("missing replicas", status.out)
        self.assertNotIn("warning", self.ok(nodes[0].cairn("drain", "c")).err)
        self.ok(nodes[0].cairn("drain", "--cancel", "c"))
        self.ok(nodes[1].cairn("ns", "create", "--replicas", "8", "again"))
        wait_for("the count", lambda: self.cluster(nodes[2]).get("slots", {}).get("too_few_nodes") == 1024)

    def test_fewer_zones_than_replicas(self):
        self.begin()
        nodes = [self.member(name, more=["cluster.zone=" + zone]).start() for name, zone in
                 (("a", "left"), ("b", "left"), ("c", "right"))]
        self.is_in(*nodes)
        made = self.ok(nodes[0].cairn("ns", "create", "--replicas", "3", "threes"))
        self.assertIn("its nodes are in 2 zones, so some of 3 replicas share one, and are lost with it", made.err)
        self.assertNotIn("warning", self.ok(nodes[0].cairn("ns", "create", "--replicas", "2", "twos")).err)
        self.is_there_everywhere("twos", nodes)
        self.ok(nodes[1].cairn("put", "-v", "value", "threes", "key"))
        for node in nodes:
            self.assertEqual(self.ok(node.cairn("get", "threes", "key")).out, "value")
        wait_for("the count", lambda: self.class_of(nodes[1], 3).get("fewest") == 3 and
                 self.class_of(nodes[1], 2).get("fewest") == 2)
        self.assertEqual(self.class_of(nodes[1], 3)["zones"], 2)
        self.assertNotIn("zones", self.class_of(nodes[1], 2))  # each of two in another
        wait_for("no problem", lambda: nodes[2].cairn("status").code == OK)
        self.assertRegex(nodes[2].cairn("status").out, r"replicas that share a zone\nREPLICAS .*\n +3 +2 +threes\n")
        # A third zone is all that was missing.
        d = self.member("d", more=["cluster.zone=middle"]).start()
        self.is_in(d)
        wait_for("enough zones", lambda: "zones" not in self.class_of(d, 3) and self.class_of(d, 3) != {})
        self.assertNotIn("share a zone", d.cairn("status").out)

    def test_more_slots_than_a_node_can_have(self):
        """They would be made, and no node that had them could start again: it says of each how far it goes."""
        self.begin()
        a = self.member("a", more=["cluster.slots=65536"]).start()
        self.is_in(a)
        self.fails(a.cairn("ns", "create", "--replicas", "2", "twos"), FAILED,
                   "one of 1 nodes would have 65536 slots, and can have 30720: there have to be more nodes")
        self.ok(a.cairn("ns", "create", "alone"))
        self.assertEqual([n["name"] for n in a.cairn("ns", "list", "--json").json["namespaces"]], ["alone"])
        self.ok(a.cairn("status"))

    def test_another_version_of_the_protocol(self):
        """A joiner of a release that has no protocol in common with the cluster's: both say so, and it is no member."""
        self.begin()
        port = free_port()
        later = Later(port)
        self.addCleanup(later.listener.close)
        os.chmod(self.write("key", b"7" * 64 + b"\n"), 0o600)
        a = self.member("a")
        a.args += ["--config", self.write("a.yaml", ("listen: ['tcp://127.0.0.1:%d']\ncluster: {addresses: ['%s']}\n" % (
            port, later.address)).encode())]
        a.cairn = lambda *args, **kw: run(CAIRN, "--key", self.path("key"), "-a", "tcp://127.0.0.1:%d" % port, *args, **kw)
        a.start()
        self.is_in(a)
        b = self.member("b").start()
        said = "the node that asks speaks protocol 9 to 9, node a 2 to 2: run releases of Cairn"
        wait_for("the joiner to be refused", lambda: said in self.problem(b))
        before = later.refused
        wait_for("some more tries", lambda: later.refused >= before + 3)
        self.assertEqual(b.cairn("status").code, DEGRADED)
        wait_for("the count to be as before", lambda: self.nmembers(a) == 1)
        self.assertEqual(a.log().count("refused: the node that asks speaks"), 1, a.log())
        self.assertIn(said, a.log())
        self.assertEqual(b.log().count("this node is not in the cluster"), 1, b.log())

    def test_addresses_that_are_somebody_elses(self):
        """The first of each node's addresses leads to a, whoever asks: a itself, too."""
        self.begin()
        own = {name: "tcp://127.0.0.1:%d" % free_port() for name in "abc"}

        def start(name):
            node = self.member(name, more=["cluster.zone=" + name])
            config = self.write(name + ".yaml", ("listen: ['unix://%s', '%s']\ncluster: {addresses: ['%s', '%s']}\n" % (
                os.path.join(node.workspace, "node.sock"), own[name], own["a"], own[name])).encode())
            node.args += ["--config", config]
            return node.start()

        nodes = [start(name) for name in "abc"]
        self.is_in(*nodes)
        key = ("--key", self.path("key"))
        self.ok(nodes[0].cairn(*key, "ns", "create", "--replicas", "3", "data"))
        coordinator = next(n for n in nodes if self.seen(n)["coordinates"])

        def is_whole():
            slots = self.seen(coordinator)["slots"]
            return slots["all"] > 0 and slots["degraded"] == 0 and slots["takeover"] == 0

        wait_for("all replicas", is_whole)

        # On hosts of their own all may listen at the same path, which leads to the node of the host that one looks from.
        for node in nodes[1:]:
            path = node.address.removeprefix("unix://")
            os.remove(path)
            os.symlink(nodes[0].address.removeprefix("unix://"), path)
        scrub = nodes[0].cairn(*key, "scrub", "--start", "--wait", "--json")
        self.assertEqual(sorted((n["node"], n["state"], n["rounds"] > 0) for n in scrub.json["nodes"]),
                         [(name, "resting", True) for name in "abc"], str(scrub))
        victim = next(n for n in nodes[1:] if n is not coordinator)
        victim.kill()
        wait_for("answers of the others", lambda: {  # who has a second to answer
            n["name"]: n["answers"] for n in self.ok(nodes[0].cairn(*key, "top", "--json")).json["nodes"]
        } == {n.name: n is not victim for n in nodes})


if __name__ == "__main__":
    main()
