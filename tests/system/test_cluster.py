"""A cluster: nodes that share a map in etcd, one of which coordinates; it dies, and another one does."""

import json
import os
import shutil
import signal
import subprocess
import threading
import unittest

from systest import BUILD, CAIRN, DEADLINE_S, DEGRADED, FAILED, OK, TIMEOUT, Case, Etcd, clean_env, main, run, wait_for

CLIENT = os.path.join(BUILD, "bin", "cluster_client")
CLUSTER = "0123456789abcdef0123456789abcdef"
SLOTS = 1024  # of a class


@unittest.skipUnless(shutil.which("etcd"), "etcd is not installed")
class ClusterCase(Etcd, Case):
    """Nodes that share a map."""

    def begin(self, n=3, conf=None, workers=()):
        url, self.etcd = self.start_etcd(os.path.join(self.base, "etcd"))
        self.all = []
        for i in range(1, n + 1):
            name = "n%d" % i
            settings = ("--set", "map.store=etcd", "--set", "map.endpoints=" + url, "--set", "node.cluster=" + CLUSTER,
                        "--set", "node.name=" + name, "--set", "auth.key_file=" + self.path("key"),
                        "--set", "cluster.zone=" + name)
            if workers:
                settings += ("--set", "node.workers=%d" % workers[i - 1])
            if conf is not None:
                settings = ("--config", self.write("node.yaml", json.dumps(conf).encode())) + settings
            node = self.node(name, args=settings)
            node.name = name
            node.start()
            self.all.append(node)

    def up(self):
        return [n for n in self.all if n.process is not None]

    def seen(self, node):
        """What a node says of its cluster, when it got the processor to say something."""
        said = []

        def says():
            said[:] = [node.cairn("status", "--json")]
            return said[0].code in (OK, DEGRADED)

        wait_for("the status of " + node.log_path, says)
        return next(p for p in said[0].json["providers"] if p["type"] == "cluster")

    def coordinator(self):
        """The node that coordinates, when all say that it does."""
        found = []

        def agreed():
            seen = {n.name: self.seen(n) for n in self.up()}
            found[:] = [n for n in self.up() if seen[n.name]["coordinates"]]
            return len(found) == 1 and all(s["coordinator"] == found[0].name for s in seen.values())

        wait_for("a coordinator", agreed)
        return found[0]

    def elections(self):
        """How often a node came to coordinate, or ceased to, as they say."""
        return sum(n.log().count("this node coordinates the cluster") for n in self.all)

    def of_one_coordinator(self, story):
        """What a story of the node that coordinates gives. It is told once more when another was elected before its end."""
        given = []

        def is_told():
            had = self.elections()
            try:
                given[:] = [story(self.coordinator())]
            except (AssertionError, LookupError):
                if self.elections() == had:
                    raise
            return given

        wait_for("one who coordinates to the end", is_told)
        return given[0]

    def create(self, name, replicas, *more):
        """A namespace, known to all. One who is deposed as he makes it cannot say whether it was made: it is asked for again."""
        wait_for("a namespace", lambda: self.all[0].cairn(
            "--key", self.path("key"), "ns", "create", "--if-missing", "--replicas", str(replicas), *more, name).code == OK)
        for n in self.up():
            wait_for("the namespace", lambda node=n: node.cairn("--key", self.path("key"), "ns", "show", name).code == OK)

    def is_whole(self):
        """Every slot has all its replicas, as the coordinator knows now: what its node's part says was counted a while ago. And
        each process that runs is in the cluster: one that has just been started may not have been missed before."""
        if any(self.seen(n)["lease_ms"] == 0 for n in self.up()):
            return False
        said = self.up()[0].cairn("status", "--json").json.get("cluster", {})
        slots, states = said.get("slots", {"all": 0}), {m["state"] for m in said.get("members", [])}
        return slots["all"] > 0 and slots["degraded"] + slots["takeover"] + slots["lost"] == 0 and "silent" not in states

    def is_spread(self):
        """All nodes are members, all have their share, and no slot moves, nor will."""
        members = self.all[0].cairn("status", "--json").json.get("cluster", {}).get("members", [])
        return (len(members) == len(self.all) and all(m["state"] == "up" and m["slots"] > 0 for m in members) and
                self.all[0].cairn("wait-ready", "--settled", "--timeout", "10s").code == OK)


class Cluster(ClusterCase):
    def client(self, node, *args):
        return run(CLIENT, "-k", self.path("key"), node.address, *[str(a) for a in args])

    def numbers(self, node, *args):
        return [int(x) for x in self.ok(self.client(node, *args)).out.split()]

    def test_another_takes_over(self):
        self.begin()
        wait_for("word of it", lambda: "coordinator" in self.coordinator().cairn("status").out)
        incs = self.of_one_coordinator(self.three_more_join)

        # It dies. Another one does, with all that the first one had stored.
        first = self.coordinator()
        first.kill()
        self.of_one_coordinator(lambda second: self.knows_what_the_first_knew(second, incs))

        # The first one is back, and follows; so does whoever is back when another was elected meanwhile.
        def is_back(who):
            second = self.coordinator()
            if who is None:
                who = next(n for n in self.all if n is not second)
                who.kill()
            who.start()
            return self.coordinator() is second

        back = [first]
        wait_for("one that is back and follows", lambda: is_back(back.pop() if back else None))

        # A coordinator that is stopped leaves at once, and the rest go on.
        self.assertEqual(self.coordinator().stop(), 0)
        self.assertEqual(self.of_one_coordinator(lambda third: self.numbers(third, "records", 0)[1]), SLOTS)
        for n in self.up():
            self.assertEqual(n.stop(), 0)

    def three_more_join(self, first):
        """They register, live and get slots, as far as the coordinator can tell; their incarnations."""
        incs = [self.numbers(first, "register", 101 + i, 1, "s%d" % i)[0] for i in range(3)]
        self.assertEqual(len(set(incs)), 3)
        self.assertEqual(self.numbers(first, "register", 101, 1, "s0"), [incs[0]])
        beats = [self.numbers(first, "beat", 101 + i, incs[i], 1, 0) for i in range(3)]
        self.assertTrue(all(b[0] == 1 and b[1] == 0 for b in beats), beats)
        slots, revision = self.numbers(first, "class", 3)
        self.assertEqual(slots, SLOTS)
        self.assertEqual(self.numbers(first, "class", 3), [slots, revision])
        known = self.numbers(first, "records", 0)
        self.assertEqual(known[1], slots)
        self.assertGreaterEqual(known[0], revision)
        wait_for("the count", lambda: self.seen(self.coordinator())["slots"]["all"] == slots)

        # A node that does not coordinate says who does.
        other = next(n for n in self.all if n is not first)
        refused = self.client(other, "register", 101, 1, "s0")
        self.assertEqual(refused.code, FAILED)
        self.assertIn("CAIRN_E_MOVED: node %s (" % first.name, refused.err)
        return incs

    def knows_what_the_first_knew(self, second, incs):
        self.assertEqual(self.numbers(second, "records", 0)[1], SLOTS)
        beat = self.numbers(second, "beat", 101, incs[0], 2, 0)
        self.assertEqual(beat[1], 1)  # what it told of its logs died with the first
        self.assertEqual(self.numbers(second, "register", 101, 1, "s0"), [incs[0]])
        newer = self.numbers(second, "register", 102, 2, "s1")[0]
        self.assertGreater(newer, max(incs))
        late = self.client(second, "register", 102, 1, "s1")
        self.assertEqual(late.code, FAILED)
        self.assertIn("CAIRN_E_STATE", late.err)
        status = json.loads(self.ok(self.client(second, "status")).out)
        self.assertTrue(status["coordinates"])
        self.assertLessEqual({"s0", "s1", "s2"}, {m["name"] for m in status["members"]})
        return True

    def test_commands_go_on_when_another_coordinates(self):
        """One that is stopped does not answer, one that is killed has no time to say so: whoever asks hears of neither."""
        self.begin()
        first = self.coordinator()
        wait_for("all to be members", lambda: self.seen(first).get("members", {}).get("all") == 3)
        asked = [next(n for n in self.all if n is not first)]
        rounds, failed, over = [], [], threading.Event()

        def commands():
            while not over.is_set() and not failed:
                node = asked[-1]
                for args in (("members", "--cluster"), ("ns", "create", "--replicas", "2", "n%d" % len(rounds)),
                             ("drain", "--force", node.name), ("drain", "--cancel", node.name)):
                    result = node.cairn("--key", self.path("key"), *args)
                    if result.code not in (OK, DEGRADED):  # a node is silent
                        failed.append((args, str(result)))
                rounds.append(node)

        def some_more():
            n = len(rounds) + 2
            wait_for("commands", lambda: len(rounds) >= n or failed, 120)

        thread = threading.Thread(target=commands)
        thread.start()
        try:
            some_more()
            first.process.send_signal(signal.SIGSTOP)
            wait_for("another coordinator", lambda: self.seen(asked[0])["coordinator"] not in ("none", first.name))
            some_more()
            first.process.send_signal(signal.SIGCONT)
            second = self.coordinator()
            asked.append(next(n for n in self.all if n is not second))
            some_more()
            second.kill()
            some_more()
        finally:
            over.set()
            thread.join()
        self.assertEqual(failed, [])

    def kill_and_follow(self, source, victim, reader):
        """Imports @source while @victim is killed; all of it is there, and whole again when @victim is back."""
        key = ("--key", self.path("key"))

        def cairn(node, *argv, **kw):
            return node.cairn(*key, *argv, **kw)

        victim.kill()
        self.ok(cairn(reader, "import", "--prefix", "while/", "data", source))
        out = self.path("out")
        self.ok(cairn(reader, "export", "data", out))
        for prefix in ("before", "while"):
            subprocess.run(["diff", "-r", source, os.path.join(out, prefix)], check=True)
        self.ok(cairn(reader, "put", "-v", "1", "data", "while/replaced"))
        victim.start()
        wait_for("all replicas", self.is_whole)
        shutil.rmtree(out)
        self.ok(cairn(victim, "export", "data", out))
        with open(os.path.join(out, "while", "replaced")) as f:
            self.assertEqual(f.read(), "1")
        os.unlink(os.path.join(out, "while", "replaced"))
        for prefix in ("before", "while"):
            subprocess.run(["diff", "-r", source, os.path.join(out, prefix)], check=True)
        self.ok(cairn(reader, "rm", "--prefix", "data", "while/"))

    def remake(self, node, key):
        """Who has a namespace open that is removed and made again, is told so by every node, and not given the new one."""
        self.ok(node.cairn(*key, "ns", "create", "--replicas", "2", "again"))
        old = self.numbers(node, "id", "again")[0]
        self.ok(node.cairn(*key, "ns", "remove", "-f", "again"))
        for n in self.all:
            wait_for("its end", lambda: "was removed" in self.client(n, "read", "again", "k", old).err)
        self.ok(node.cairn(*key, "ns", "create", "--replicas", "3", "again"))
        new = self.numbers(node, "id", "again")[0]
        for n in self.all:
            wait_for("the new one", lambda: "made again" in self.client(n, "read", "again", "k", old).err)
            self.assertNotIn("again", self.client(n, "read", "again", "k", new).err.replace("'again'", ""))
            self.assertIn("CAIRN_E_BUSY", self.client(n, "read", "again", "k", new + (1 << 21)).err)

    def test_data_outlive_a_node(self):
        self.begin(workers=(1, 2, 3))  # a slot is on another thread of each, so what is told of it passes from one to another
        self.coordinator()
        first, second, third = self.all
        key = ("--key", self.path("key"))
        self.fails(first.cairn(*key, "ns", "create", "--replicas", "9", "data"), FAILED, "replicas")
        self.ok(first.cairn(*key, "ns", "create", "--replicas", "2", "data"))
        source = self.path("source")
        os.mkdir(source)
        for i in range(300):
            with open(os.path.join(source, "f%d" % i), "wb") as f:
                f.write(os.urandom(i * 97 % 9000))
        with open(os.path.join(source, "larger"), "wb") as f:
            f.write(os.urandom(700000))
        wait_for("the namespace at another node", lambda: second.cairn(*key, "ns", "show", "data").code == OK)
        self.ok(first.cairn(*key, "import", "--prefix", "before/", "data", source))
        names = [len(n.cairn(*key, "ls", "data").out.splitlines()) for n in self.all]
        self.assertEqual(names, [301] * 3)
        for victim in (second, self.coordinator()):
            reader = next(n for n in self.all if n is not victim)
            self.kill_and_follow(source, victim, reader)
        self.ok(first.cairn(*key, "ns", "remove", "-f", "data"))
        wait_for("the end of the namespace", lambda: third.cairn(*key, "ns", "show", "data").code == FAILED)
        self.remake(first, key)
        for n in self.up():
            self.assertEqual(n.stop(), 0)

    def test_clients_without_a_key_use_all_nodes_of_their_machine(self):
        """Over unix sockets the kernel says who somebody is: no key, and no MUNGE, are needed on a node's own machine."""
        self.begin()
        self.coordinator()
        first = self.all[0]
        self.assertFalse(os.path.exists(os.path.join(first.workspace, "cluster.key")))
        quiet = clean_env(CAIRN_WORKSPACE=first.workspace, CAIRN_MUNGE_SOCKET="/nowhere")
        self.ok(first.cairn("ns", "create", "--replicas", "2", "data", env=quiet))
        self.ok(first.cairn("ns", "create", "--replicas", "3", "--write-once", "once", env=quiet))
        source = self.path("source")
        os.mkdir(source)
        for i in range(100):
            with open(os.path.join(source, "f%03d" % i), "wb") as f:
                f.write(os.urandom(i * 31 % 3000))
        with open(os.path.join(source, "larger"), "wb") as f:
            f.write(os.urandom(300000))
        for name in ("data", "once"):
            self.ok(first.cairn("import", name, source, env=quiet))
            self.assertEqual(len(self.ok(first.cairn("ls", name, env=quiet)).out.splitlines()), 101)
            out = self.path("out-" + name)
            self.ok(first.cairn("export", name, out, env=quiet))
            subprocess.run(["diff", "-r", source, out], check=True)
            self.fails(first.cairn("get", name, "absent", env=quiet), FAILED, "no such key")
            self.ok(first.cairn("put", "-v", "1", name, "one", env=quiet))
            self.assertEqual(self.ok(first.cairn("get", name, "one", env=quiet)).out.strip(), "1")
        self.fails(first.cairn("put", "-v", "2", "once", "one", env=quiet), FAILED, "the key exists already")

        # What a replica has of a write-once key is true, what it does not have proves nothing; of others it says nothing.
        for n in self.all:
            wait_for("the value at %s" % n.name, lambda n=n: self.client(n, "read", "once", "one").out == "1\n")
        def told(name, key):  # who leads its slot has a lease, unless it was renewed late
            return sorted(self.client(n, "read", name, key).err.split(":")[0] for n in self.all)

        wait_for("what is not there", lambda: told("once", "absent") == ["CAIRN_E_MOVED", "CAIRN_E_MOVED", "CAIRN_E_NOTFOUND"])
        wait_for("what is there", lambda: told("data", "one") == ["", "CAIRN_E_MOVED", "CAIRN_E_MOVED"])
        for n in self.up():
            self.assertEqual(n.stop(), 0)

    def test_without_its_store_nobody_coordinates(self):
        self.begin(2)
        self.coordinator()
        self.etcd.send_signal(signal.SIGKILL)
        self.etcd.wait()
        wait_for("the end of the election", lambda: not any(self.seen(n)["coordinates"] for n in self.all))
        self.assertEqual(self.all[0].cairn("status").code, DEGRADED)
        refused = self.client(self.all[0], "class", 1)
        self.assertEqual(refused.code, FAILED)
        self.start_etcd(os.path.join(self.base, "etcd"))
        self.coordinator()

    def test_full_memory_refuses_new_data_and_comes_free(self):
        """Nodes that keep keys in little memory refuse what they could not apply, before it is in a log; so nothing is
        stuck behind it, and what is removed makes room."""
        self.begin(conf={"providers": [{"type": "kv", "name": "kv", "backend": "memory", "memory": "48MiB"},
                                       {"type": "extent", "name": "extent", "backend": "memory"}]})
        self.coordinator()
        self.ok(self.all[0].cairn("ns", "create", "--replicas", "3", "--durability", "memory", "many"))
        wait_for("whole slots", self.is_whole)
        source = self.path("files")
        os.mkdir(source)
        for i in range(2000):
            with open(os.path.join(source, "f%04d" % i), "wb") as f:
                f.write(os.urandom(30000))
        kept = []

        def is_full():
            # What there was no room for a moment ago is still refused.
            refused = "no space" in self.all[0].cairn("import", "many", source).err
            kept[:] = self.all[0].cairn("ls", "many").out.split()
            return refused and len(kept) > 800

        for _ in range(2):
            wait_for("memory that is full", is_full)
            self.assertLess(len(kept), 1600)  # 48 MiB, without those that entries of logs have to themselves
            for key in kept[:5]:
                self.ok(self.all[1].cairn("get", "many", key, "/dev/null"))
            self.ok(self.all[0].cairn("rm", "--prefix", "many", "f"))
        wait_for("room again", lambda: self.all[0].cairn("put", "-v", "1", "many", "after").code == OK)
        wait_for("all replicas", self.is_whole)
        for node in self.all:
            log = node.log()
            self.assertNotIn("takes no more part", log)

    def test_times_that_contradict_each_other_are_refused(self):
        node = self.node()
        check = run(*node.argv("--check-config", "--set", "cluster.lease=1s", "--set", "cluster.slots=3000", "--set",
                               "cluster.addresses=tcp://here:0"))
        self.assertEqual(check.code, FAILED, check)
        for text in ("more than a quarter of 'cluster.lease'", "'cluster.slots' must be a power of two; found 3000",
                     "has no port that others could use"):
            self.assertIn(text, check.err)

    def test_who_has_left_is_no_member_that_top_does_not_ask(self):
        """It asks 64: those that were a member once do not count."""
        self.begin(2)
        wait_for("both members", lambda: self.seen(self.coordinator())["members"]["all"] == 2)
        first = self.coordinator()
        other = next(n for n in self.all if n is not first)
        self.ok(first.cairn("drain", "--wait", "--force", other.name))
        self.assertEqual(other.stop(), 0)
        self.of_one_coordinator(lambda one: [self.numbers(one, "register", 101 + i, 1, "s%d" % i) for i in range(64)])
        wait_for("it to have left", lambda: {m["name"]: m["state"] for m in json.loads(
            self.client(first, "status").out or "{}")["members"]}[other.name] == "left")

        def asked():
            top = first.cairn("--key", self.path("key"), "top", "--json").json
            return len(top["nodes"]), top["not_asked"]

        wait_for("64 that are asked", lambda: asked() == (64, 1))  # a node has a second to answer

    def test_a_drain_of_which_nobody_tells(self):
        self.begin(1)
        only = self.coordinator()
        self.ok(only.cairn("ns", "create", "--replicas", "1", "data"))
        wait_for("its slots", lambda: self.seen(only)["slots"]["all"] > 0)
        waits = subprocess.Popen([CAIRN, "drain", "--force", "--wait", "--stall", "20s", "n1"], text=True,
                                 stderr=subprocess.PIPE, env=clean_env(CAIRN_WORKSPACE=only.workspace))
        try:
            wait_for("the drain", lambda: self.seen(only)["members"]["draining"] == 1)
            only.process.send_signal(signal.SIGSTOP)
            err = waits.communicate(timeout=DEADLINE_S)[1]
        finally:
            only.process.send_signal(signal.SIGCONT)
        self.assertEqual(waits.returncode, TIMEOUT, err)
        self.assertIn("nobody says whether the drain goes on; node n1 held ", err)
        self.assertNotIn("no slot has moved", err)


if __name__ == "__main__":
    main()
