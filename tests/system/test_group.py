"""Groups of real nodes on loopback: they find each other, notice who died, let it come back, and believe nobody without the key."""

import json
import os
import signal
import socket
import subprocess
import time
import urllib.request

from systest import CAIRN, CAIRND, DEADLINE_S, DEGRADED, FAILED, OK, USAGE, Case, clean_env, free_port, main, run, wait_for

CLUSTER = "00112233445566778899aabbccddeeff"


class GroupCase(Case):
    def setUp(self):
        super().setUp()
        self.key = self.write("cluster.key", b"0123456789abcdef" * 4 + b"\n")
        os.chmod(self.key, 0o600)

    def member(self, name, groups=None, cluster=CLUSTER, key=None, data=None, **group):
        """A node with one group provider of these settings, or with several."""
        groups = groups or [group]
        providers = [{"type": "kv", "name": "kv", "backend": "memory"}, {"type": "extent", "name": "extent", "backend": "memory"}]
        for i, g in enumerate(groups):
            providers.append({"type": "group", "name": "group%d" % i, "listen": "udp://127.0.0.1:0", **g})
        conf = {"node": {"name": name, "cluster": cluster, "workers": 2}, "auth": {"key_file": key or self.key},
                "listen": ["unix://node.sock", "tcp://127.0.0.1:0"], "providers": providers}
        path = self.write(name + ".yaml", json.dumps(conf).encode())
        return self.node(name, data=data, args=("--config", path))

    def started(self, name, **kw):
        return self.member(name, **kw).start()

    def group_of(self, node, provider="group0"):
        return next(p for p in node.cairn("status", "--json").json["providers"] if p["name"] == provider)

    def address(self, node, provider="group0"):
        return self.group_of(node, provider)["address"]

    def states(self, node, *more):
        result = node.cairn("members", "--json", *more)
        return {m["name"]: m["state"] for m in result.json["members"]} if result.code in (OK, DEGRADED) else None

    def all_see(self, nodes, states):
        wait_for("all to see %s" % states, lambda: all(self.states(n) == states for n in nodes))

    def trio(self):
        a = self.started("a")
        seed = self.address(a)
        b, c = self.started("b", join=[seed]), self.started("c", join=[seed])
        self.all_see([a, b, c], {"a": "alive", "b": "alive", "c": "alive"})
        return a, b, c


class Lives(GroupCase):
    def test_members_die_return_and_leave(self):
        a, b, c = self.trio()
        here = self.address(c)
        before = next(m for m in a.cairn("members", "--json").json["members"] if m["name"] == "c")
        self.assertTrue(before["service"].startswith("tcp://127.0.0.1:"))
        c.kill()
        self.all_see([a, b], {"a": "alive", "b": "alive", "c": "silent"})
        self.assertEqual(a.cairn("members").code, DEGRADED)
        c = self.started("c", listen=here, join=[self.address(b)])
        self.all_see([a, b, c], {"a": "alive", "b": "alive", "c": "alive"})
        after = next(m for m in a.cairn("members", "--json").json["members"] if m["name"] == "c")
        self.assertGreater(after["incarnation"], before["incarnation"])
        self.assertEqual(c.stop(), 0)
        self.all_see([a, b], {"a": "alive", "b": "alive", "c": "left"})
        self.assertNotIn("c at %s is silent" % here, a.log().rsplit("member c at %s joined" % here, 1)[1])
        wait_for("no problem", lambda: a.cairn("members").code == OK)  # who is late is suspected for a moment

    def test_a_stopped_process_contradicts_when_it_goes_on(self):
        a, b, c = self.trio()
        os.kill(c.process.pid, signal.SIGSTOP)
        self.all_see([a, b], {"a": "alive", "b": "alive", "c": "silent"})
        os.kill(c.process.pid, signal.SIGCONT)
        self.all_see([a, b, c], {"a": "alive", "b": "alive", "c": "alive"})
        self.assertEqual(self.group_of(c)["deaths_found"], 0)

    def watch(self, node, *more):
        watch = subprocess.Popen([CAIRN, "members", "--watch", *more], stdout=subprocess.PIPE, text=True,
                                 env=clean_env(CAIRN_WORKSPACE=node.workspace))
        self.addCleanup(watch.stdout.close)
        self.addCleanup(watch.wait)
        self.addCleanup(watch.kill)
        return watch

    def line_of(self, watch):
        """State, name and address of the next line of one that watches; before them is the time of day."""
        line = watch.stdout.readline()
        self.assertRegex(line, r"^\d\d:\d\d:\d\d  ")
        return tuple(line.split()[1:4])

    def test_watching_tells_each_change(self):
        a, b, c = self.trio()
        here = self.address(c)
        watch = self.watch(a, "--json")
        first = [json.loads(watch.stdout.readline()) for _ in range(3)]
        self.assertEqual(sorted((m["name"], m["state"]) for m in first), [("a", "alive"), ("b", "alive"), ("c", "alive")])
        c.kill()
        told = []
        while not told or told[-1][1] != "silent":
            m = json.loads(watch.stdout.readline())
            told.append((m["name"], m["state"]))
        self.assertEqual({name for name, state in told if state == "silent"}, {"c"})  # who is late is suspected for a moment
        # In words: how it is now, then each change, as it comes and through a pipe.
        words = self.watch(a)
        first = [self.line_of(words) for _ in range(3)]
        self.assertEqual(sorted(first), [("alive", "a", self.address(a)), ("alive", "b", self.address(b)), ("silent", "c", here)])
        c = self.started("c", listen=here, join=[self.address(a)])
        told = []
        while not told or told[-1] != ("alive", "c", here):
            told.append(self.line_of(words))
        self.assertEqual({change[1:] for change in told if change[0] not in ("suspect", "alive") or change[1] == "c"}, {("c", here)})
        # A request that waits does not hold up the end of the node.
        began = time.monotonic()
        self.assertEqual(a.stop(), 0)
        self.assertLess(time.monotonic() - began, 25)  # it would for 30 s: limits.drain


class Ways(GroupCase):
    def test_a_shared_directory_is_enough(self):
        shared = self.path("shared")
        os.makedirs(os.path.join(shared, "main"))
        for name, text in (("%016x" % 1, "udp://127.0.0.1:9 gone\n"), ("%016x" % 2, "nonsense"), ("%016x" % 3, ""),
                           ("%016x.77" % 4, "udp://127.0.0.1:9 half\n")):
            self.write(os.path.join("shared", "main", name), text.encode())
        for i in range(40):
            self.write(os.path.join("shared", "main", "%016x" % (100 + i)), b"udp://127.0.0.1:9 dead\n")
        os.symlink("/etc/passwd", os.path.join(shared, "main", "%016x" % 5))
        nodes = [self.member(n, directory=shared).spawn() for n in ("a", "b", "c")]  # at once: nobody holds a lock there
        for n in nodes:
            self.ok(n.cairn("wait-ready", "--timeout", "%ds" % DEADLINE_S))
        self.all_see(nodes, {"a": "alive", "b": "alive", "c": "alive"})
        entries = set(os.listdir(os.path.join(shared, "main")))
        self.assertEqual(nodes[2].stop(), 0)
        self.assertEqual(len(entries - set(os.listdir(os.path.join(shared, "main")))), 1)

    def test_one_process_in_two_groups_and_an_observer(self):
        a = self.started("a", groups=[{"group": "red"}, {"group": "blue"}])
        red, blue = self.address(a, "group0"), self.address(a, "group1")
        b = self.started("b", groups=[{"group": "red", "join": [red], "zone": "rack7", "weight": 5, "capacity": "1TiB"}])
        c = self.started("c", groups=[{"group": "blue", "join": [blue]}, {"group": "red", "join": [red], "observer": True}])
        wait_for("the groups to stand", lambda: self.states(a, "--group", "group0") == {"a": "alive", "b": "alive"} and
                 self.states(a, "--group", "group1") == {"a": "alive", "c": "alive"} and
                 self.states(c, "--group", "group1") == {"a": "alive", "b": "alive"})
        seen = next(m for m in c.cairn("members", "--group", "group1", "--json").json["members"] if m["name"] == "b")
        self.assertEqual((seen["zone"], seen["weight"], seen["capacity_bytes"]), ("rack7", 5, 1 << 40))
        b.kill()
        wait_for("the observer to see it", lambda: self.states(c, "--group", "group1") == {"a": "alive", "b": "silent"})

    def test_attributes_change_while_a_node_runs(self):
        a = self.member("a")
        a.args += ["--set", "cluster.zone=rack3"]  # which holds for the group, too, where that says nothing else
        a.start()
        b = self.started("b", join=[self.address(a)], zone="rack1", weight=5)
        self.all_see([a, b], {"a": "alive", "b": "alive"})

        def seen():
            m = next(m for m in a.cairn("members", "--json").json["members"] if m["name"] == "b")
            return m["zone"], m["weight"], m["capacity_bytes"]
        wait_for("zones", lambda: {m["name"]: m["zone"] for m in b.cairn("members", "--json").json["members"]} ==
                 {"a": "rack3", "b": "rack1"})
        self.assertNotIn("0 B", a.cairn("members").out)  # none has said
        self.ok(b.cairn("group", "set", "--weight", "50", "--capacity", "2TiB"))
        wait_for("a to hear of it", lambda: seen() == ("rack1", 50, 2 << 40))
        self.assertIn("TiB", a.cairn("members").out)
        self.ok(b.cairn("group", "set", "--zone", ""))
        wait_for("a to hear of it", lambda: not seen()[0] and seen()[1:] == (50, 2 << 40))
        self.fails(b.cairn("group", "set"), USAGE, "say what is to change")
        self.fails(b.cairn("group", "set", "--weight", "2000000"), FAILED, "'weight' is at most 1000000")
        self.fails(b.cairn("group", "set", "--weight", "-1"), USAGE, "--weight takes a number")
        observer = self.started("o", join=[self.address(a)], observer=True)
        self.fails(observer.cairn("group", "set", "--weight", "1"), FAILED, "an observer says nothing of itself")
        self.assertEqual(b.stop(), 0)
        b.start()  # with what its configuration says
        wait_for("a to hear of it", lambda: self.states(a)["b"] == "alive" and seen() == ("rack1", 5, 0))

    def test_groups_that_are_told_of_each_other_become_one(self):
        a, b, c, d = [self.started(n) for n in "abcd"]
        self.ok(b.cairn("group", "join", self.address(a)))
        self.ok(d.cairn("group", "join", self.address(c), self.address(d)))
        self.all_see([a, b], {"a": "alive", "b": "alive"})
        self.all_see([c, d], {"c": "alive", "d": "alive"})
        self.ok(a.cairn("group", "join", "udp://127.0.0.1:9", self.address(d)))
        self.all_see([a, b, c, d], {n: "alive" for n in "abcd"})
        self.fails(a.cairn("group", "join", "udp://localhost:9"), FAILED, "an address in numbers")
        self.fails(a.cairn("group", "join", self.address(a)), FAILED, "every address is this member itself")
        wait_for("health", lambda: self.group_of(a)["health"] == "ok")

    def test_load_is_measured_and_spreads(self):
        """A node that works says so by itself."""
        a = self.started("a")
        b = self.started("b", join=[self.address(a)])
        self.all_see([a, b], {"a": "alive", "b": "alive"})

        def load():
            return next(m for m in a.cairn("members", "--json").json["members"] if m["name"] == "b")["load_permille"]
        wait_for("the start to be over", lambda: load() < 10)
        work = subprocess.Popen([CAIRN, "bench", "--seconds", str(10 * DEADLINE_S)],  # until it is killed
                                env=clean_env(CAIRN_WORKSPACE=b.workspace), stdout=subprocess.DEVNULL)
        self.addCleanup(work.wait)
        self.addCleanup(work.kill)
        wait_for("a to hear of it", lambda: load() > 20)  # others may want the processors, too

    def test_metrics_and_machines_show_it(self):
        port = free_port()
        a = self.member("a")
        a.start("--set", "metrics.listen=tcp://127.0.0.1:%d" % port)
        b = self.started("b", join=[self.address(a)])
        self.all_see([a, b], {"a": "alive", "b": "alive"})
        wait_for("a few probes", lambda: self.group_of(a)["probes"] > 3)
        self.assertIn("PINGED", self.ok(a.cairn("machines", "--graph", "group-probe")).out)

        def metrics():
            with urllib.request.urlopen("http://127.0.0.1:%d/metrics" % port, timeout=60) as page:
                return page.read().decode()

        wait_for("two that are alive", lambda: 'cairn_provider_status{provider="group0",field="alive"} 2' in metrics())
        self.assertIn('cairn_provider_status{provider="group0",field="packets_forged"} 0', metrics())


class Mistakes(GroupCase):
    def grows(self, node, count):
        """It happens again, and once more."""
        since = self.group_of(node)[count]
        wait_for("more " + count, lambda: self.group_of(node)[count] >= since + 2)

    def test_a_name_that_is_taken(self):
        a = self.started("a")
        b = self.started("b", join=[self.address(a)])
        twin = self.started("twin", member="b", join=[self.address(a)])
        wait_for("the twin to be refused", lambda: "is called b and is alive" in self.group_of(twin).get("problem", ""))
        self.fails(twin.cairn("members"), DEGRADED, "members need names of their own")
        self.grows(a, "joins_refused")
        self.all_see([a], {"a": "alive", "b": "alive"})
        wait_for("health", lambda: self.group_of(a)["health"] == "ok")
        b.kill()
        wait_for("its place to be given away", lambda: self.group_of(twin)["state"] == "member")
        self.all_see([a, twin], {"a": "alive", "b": "alive"})

    def test_the_older_of_two_that_both_got_in_falls_silent(self):
        """Two groups each have a b, and meet."""
        a, c = self.started("a"), self.started("c")
        b = self.started("b", join=[self.address(a)])
        self.all_see([a, b], {"a": "alive", "b": "alive"})
        younger = self.started("twin", member="b", join=[self.address(c)])
        self.all_see([c, younger], {"b": "alive", "c": "alive"})
        self.ok(a.cairn("group", "join", self.address(c)))
        wait_for("the older one to hear of it", lambda: self.group_of(b)["state"] == "silent")
        self.fails(b.cairn("members"), DEGRADED, "is called b, too: this one is silent now")
        self.all_see([a, c, younger], {"a": "alive", "b": "alive", "c": "alive"})
        for node in (a, c):
            m = next(m for m in node.cairn("members", "--json").json["members"] if m["name"] == "b")
            self.assertEqual(m["address"], self.address(younger))
        self.assertEqual(b.log().count("this one is silent now"), 1)
        self.fails(b.cairn("group", "join", self.address(a)), FAILED, "a younger member has its name")

    def test_a_twin_leaves_the_entry_of_the_one_it_is_called_after(self):
        """In a shared directory the entry of a name is that of its living holder."""
        shared = self.path("shared")
        os.makedirs(shared)
        a, b = self.started("a", directory=shared), self.started("b", directory=shared)
        self.all_see([a, b], {"a": "alive", "b": "alive"})
        folder = os.path.join(shared, "main")

        def of_b():
            return subprocess.run(["grep", "-rlxF", self.address(b) + " b", folder], capture_output=True, text=True).stdout.count("\n")
        self.assertEqual(of_b(), 1)
        twin = self.started("twin", member="b", directory=shared)
        wait_for("the twin to be refused", lambda: "is called b and is alive" in self.group_of(twin).get("problem", ""))
        wait_for("b to write its entry anew", lambda: of_b() == 1)
        time.sleep(5)  # the twin, which is alone, looks every two seconds
        self.assertEqual(of_b(), 1)
        self.assertEqual((self.group_of(b)["state"], self.group_of(twin)["state"]), ("member", "joining"))
        self.assertEqual(twin.stop(), 0)
        self.assertEqual(of_b(), 1)

    def test_addresses_that_are_oneself(self):
        node = self.member("a", listen="udp://127.0.0.1:7311", join=["udp://127.0.0.1:7311"])
        self.fails(node.cairn("config", "check", node.args[1]), FAILED)
        checked = run(CAIRND, *node.argv("--check-config")[1:])
        self.assertIn("names only this member itself", checked.err + checked.out)
        any_address = self.member("b", listen="udp://0.0.0.0:7311")
        checked = run(CAIRND, *any_address.argv("--check-config")[1:])
        self.assertIn("'advertise'", checked.err + checked.out)
        for mistake, said in (({"listen": "udp://192.0.2.1:7311"}, "no address of this machine"),
                              ({"directory": "/no/such/place"}, "/no/such/place"), ({"group": "a/b"}, "'group'"), ({"group": ".."}, "'group'"),
                              ({"join": ["tcp://127.0.0.1:1"]}, "'join[0]'"), ({"zone": "z" * 40}, "'zone'")):
            wrong = self.member("w", **mistake)
            checked = run(CAIRND, *wrong.argv("--check-config")[1:])
            self.assertIn(said, checked.err + checked.out)
            self.assertNotEqual(wrong.spawn().process.wait(DEADLINE_S), 0)
            self.assertIn(said, wrong.log())
        # By another name it is found out by asking.
        port = free_port()
        alias = self.started("c", listen="udp://127.0.0.1:%d" % port, join=["udp://localhost:%d" % port])
        wait_for("the alias to be noticed", lambda: "this member itself" in self.group_of(alias).get("problem", ""))
        self.fails(alias.cairn("members"), DEGRADED, "this member itself")

    def test_who_meets_nobody_hears_why_that_may_be(self):
        """As one does whose group has another name than that of the others, which is no member there."""
        alone = self.started("a", join=["udp://127.0.0.1:%d" % free_port()])
        self.fails(alone.cairn("members"), DEGRADED, "has met nobody of the group", "is the group of the others called so")
        self.assertEqual(alone.cairn("members", "--json").json["joined"], False)
        self.fails(alone.cairn("members", "--cluster", "--watch"), USAGE, "cairn top")
        other = self.started("b")  # waits for nobody
        self.assertEqual(self.ok(other.cairn("members")).err, "")

    def test_another_cluster_is_refused(self):
        a = self.started("a")
        b = self.started("b", cluster="f" * 32, join=[self.address(a)])
        wait_for("both to say so", lambda: "another cluster" in a.log() and
                 "belongs to another cluster" in self.group_of(b).get("problem", ""))
        self.grows(a, "packets_foreign")
        self.assertEqual(a.log().count("another cluster"), 1)
        self.assertEqual(self.states(a), {"a": "alive"})
        self.assertGreater(self.group_of(a)["packets_foreign"], 0)
        other = self.started("c", data=None, key=self.other_key(), join=[self.address(a)])
        wait_for("the key to be missed", lambda: self.group_of(a)["packets_forged"] > 0)
        self.assertEqual(self.states(a), {"a": "alive"})
        self.assertIsNotNone(other)

    def trapped(self):
        """Two nodes, a socket that the second one takes for a member, and the first one's address."""
        trap = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(trap.close)
        trap.bind(("127.0.0.1", 0))
        trap.settimeout(DEADLINE_S)
        a = self.started("a")
        b = self.started("b", join=["udp://127.0.0.1:%d" % trap.getsockname()[1]])
        host, port = self.address(a)[len("udp://"):].split(":")
        return a, b, trap, (host, int(port))

    def test_another_version_of_the_protocol_is_refused(self):
        """A socket answers a joiner's packets, and sends them on, as if they were of a later version."""
        a, b, trap, target = self.trapped()
        packet, joiner = trap.recvfrom(2048)
        later = packet[:3] + b"4" + packet[4:]
        for _ in range(3):
            trap.sendto(later, target)
        wait_for("them to be counted", lambda: self.group_of(a)["packets_of_other_versions"] == 3)
        self.assertEqual(a.log().count("another version of the group's protocol"), 1)
        self.assertEqual((self.states(a), self.group_of(a)["health"]), ({"a": "alive"}, "ok"))
        while True:  # a says of which version it is; b's own packets come meanwhile
            notice, sender = trap.recvfrom(2048)
            if sender == target:
                break
        self.assertEqual((notice[:4], notice[4]), (b"CGP3", 1))
        trap.sendto(b"CGP4\1\0\0\0", joiner)
        wait_for("the joiner to say so", lambda: "another version of the group's protocol" in
                 self.group_of(b).get("problem", ""))
        self.fails(b.cairn("members"), DEGRADED, "the same release of Cairn")

    def other_key(self):
        key = self.write("other.key", b"f" * 64 + b"\n")
        os.chmod(key, 0o600)
        return key

    def test_a_data_directory_keeps_its_cluster(self):
        a = self.started("a")
        self.assertEqual(a.stop(), 0)
        moved = self.member("a", cluster="e" * 32)
        checked = run(CAIRND, *moved.argv("--check-config")[1:])
        self.assertIn("belongs to cluster " + CLUSTER, checked.err + checked.out)
        moved.spawn()
        self.assertNotEqual(moved.process.wait(DEADLINE_S), 0)
        self.assertIn("belongs to cluster " + CLUSTER, moved.log())

    def test_packets_that_are_torn_forged_or_repeated(self):
        """A socket that takes part as a seed gets genuine packets, which it cuts, changes and repeats."""
        a, b, trap, target = self.trapped()
        packet = trap.recv(2048)

        def counts():
            g = self.group_of(a)
            return {k: g["packets" + k] for k in ("", "_malformed", "_forged", "_replayed", "_foreign")}

        def after(data, field):
            before = counts()
            trap.sendto(data, target)
            wait_for("%s to grow" % field, lambda: counts()[field] > before[field])
            return counts()

        after(b"", "_malformed")
        after(b"x" * 1400, "_malformed")
        after(packet[:40], "_malformed")
        after(packet[:-1], "_forged")
        after(packet + b"x", "_forged")
        for at in (17, 26, 35, 45, len(packet) - 1):
            after(packet[:at] + bytes([packet[at] ^ 1]) + packet[at + 1:], "_forged")
        after(packet[:9] + bytes([packet[9] ^ 1]) + packet[10:], "_foreign")
        self.assertEqual(self.states(a), {"a": "alive"})
        after(packet, "")             # genuine, though by a stranger's hand: b may join
        wait_for("b to be in", lambda: self.states(a) == {"a": "alive", "b": "alive"})
        for _ in range(3):
            after(packet, "_replayed")
        self.all_see([a, b], {"a": "alive", "b": "alive"})
        self.assertEqual(self.group_of(a)["health"], "ok")


if __name__ == "__main__":
    main()
