"""The program `cairn` as people and scripts meet it, with a node: exit codes, JSON, colours, values."""

import json
import os
import re
import signal
import subprocess
import unittest

from systest import *


class WithNode(Case):
    def setUp(self):
        super().setUp()
        self.n = self.node().start()

    def test_json_of_every_command_is_a_versioned_document(self):
        big = self.write("big", b"x" * 200000)
        tree = self.write("tree/a/b", b"content")
        steps = [
            ["ns", "create", "ns1"], ["ns", "list"], ["ns", "show", "ns1"],
            ["put", "ns1", "key", tree], ["put", "ns1", "big", big], ["ls", "ns1"], ["stat", "ns1", "key"],
            ["get", "ns1", "key"], ["get", "ns1", "big"], ["get", "ns1", "big", self.path("back")], ["help"], ["help", "ns"],
            ["help", "--man"], ["completion", "bash"], ["get", "--help"], ["ns", "--help"], ["--help"],
            ["machines", "--graph", "node"],
            ["import", "ns1", self.path("tree")], ["verify", "ns1"], ["export", "ns1", self.path("out")],
            ["rm", "ns1", "key"],
            ["kv", "create", "kv/db"], ["kv", "list", "kv"], ["kv", "put", "-v", "1", "kv/db", "a"],
            ["kv", "ls", "-l", "kv/db"], ["kv", "stat", "kv/db"], ["kv", "get", "kv/db", "a"], ["kv", "rm", "kv/db", "a"],
            ["kv", "drop", "kv/db"],
            ["extent", "put", "extent", big], ["extent", "ls", "extent"], ["extent", "scrub", "extent"],
            ["status"], ["machines"], ["machines", "--trace"], ["metrics"], ["wait-ready"], ["wait-ready", "--whole"], ["version"],
            ["bench", "--op", "rpc", "--seconds", "100ms"],
        ]
        for argv in steps:
            with self.subTest(" ".join(argv)):
                doc = self.ok(self.n.cairn("--json", *argv)).json
                self.assertEqual(doc["version"], 1)
                self.assertEqual(list(doc)[0], "version")
                if argv[:2] == ["extent", "put"]:
                    ident = doc["id"]
        for argv in (["extent", "get", "-n", "2", "extent", ident], ["extent", "stat", "extent", ident],
                     ["extent", "rm", "extent", ident]):
            self.assertEqual(self.ok(self.n.cairn("--json", *argv)).json["version"], 1)

    def test_what_needs_a_cluster_says_so(self):
        for argv in (["drain", "n1"], ["drain", "--cancel", "n1"], ["drain", "--lost", "n1"], ["members", "--cluster"],
                     ["members", "--names"], ["scrub"]):
            self.fails(self.n.cairn(*argv), FAILED, "the node is in no cluster", "hint: ")
            error = json.loads(self.n.cairn("--json", *argv).err)["error"]
            self.assertEqual((error["code"], error["exit"]), ("CAIRN_E_NOPROVIDER", FAILED))
        for argv in (["members"], ["members", "--watch"], ["group", "set", "--zone", "a"],
                     ["group", "join", "udp://127.0.0.1:9"]):
            self.fails(self.n.cairn(*argv), FAILED, "no provider of type group", "has a group by itself")
            self.fails(self.n.cairn(*argv, "--group", "kv"), FAILED, "a group is one of type group")
        self.ok(self.n.cairn("wait-ready", "--settled"))
        self.assertNotIn("cluster", self.ok(self.n.cairn("--json", "status")).json)

    def test_json_of_values(self):
        self.ok(self.n.cairn("ns", "create", "ns1"))
        self.ok(self.n.cairn("put", "ns1", "text", stdin="3.14 \u00e9".encode()))
        self.ok(self.n.cairn("put", "ns1", "bytes", stdin=b"\xff\0"))
        self.ok(self.n.cairn("put", "ns1", "big", stdin=b"x" * ((16 << 20) + 1)))
        self.assertEqual(self.ok(self.n.cairn("--json", "get", "ns1", "text")).json,
                         {"version": 1, "key": "text", "bytes": 7, "value": "3.14 \u00e9"})
        self.assertEqual(self.ok(self.n.cairn("--json", "get", "--offset", "1", "ns1", "bytes", "-")).json,
                         {"version": 1, "key": "bytes", "bytes": 1, "value": "\0"})
        self.assertEqual(self.ok(self.n.cairn("--json", "get", "ns1", "bytes")).json["value_hex"], "ff00")
        file = self.path("file")
        self.assertEqual(self.ok(self.n.cairn("--json", "get", "ns1", "big", file)).json,
                         {"version": 1, "key": "big", "bytes": (16 << 20) + 1, "file": file})
        self.assertEqual(self.ok(self.n.cairn("--json", "get", "ns1", "big", "/dev/null")).json["file"], "/dev/null")
        r = self.fails(self.n.cairn("--json", "get", "ns1", "big"), USAGE, "name a FILE")
        self.assertEqual(r.out, "")
        self.ok(self.n.cairn("kv", "create", "kv/db"))
        self.ok(self.n.cairn("kv", "put", "-v", "1", "kv/db", "a"))
        r = self.fails(self.n.cairn("--json", "kv", "rm", "kv/db", "a", "b"), FAILED, "b: ")
        self.assertEqual(r.json["removed"], 1)
        self.ok(self.n.cairn("kv", "rm", "--force", "kv/db", "b"))

    def test_figures_stand_under_each_other(self):
        for argv in (["metrics"], ["status"], ["ns", "list"]):
            self.assertNotIn("\t", self.ok(self.n.cairn(*argv)).out)
        self.ok(self.n.cairn("ns", "create", "ns1"))
        lines = self.n.cairn("metrics").out.split("\nmethods\n")[1].split("\n\n")[0].splitlines()
        ends = {line.index(column) + len(column) for line in lines[:1] for column in ("REQUESTS", "FAILED")}
        for line in lines[1:]:
            for end in ends:
                self.assertRegex(line[:end], r"[0-9]$")
                self.assertEqual(line[end:end + 1], " ")

    def test_owner_and_group_have_names(self):
        import grp
        import pwd
        self.ok(self.n.cairn("ns", "create", "ns1"))
        user, group = pwd.getpwuid(os.geteuid()).pw_name, grp.getgrgid(os.getegid()).gr_name
        self.assertRegex(self.n.cairn("ns", "show", "ns1").out, r"(?m)^OWNER +%s$" % user)
        self.assertRegex(self.n.cairn("ns", "list").out, r"(?m)^ns1 .* %s +%s +0" % (user, group))
        self.assertEqual(self.n.cairn("--json", "ns", "show", "ns1").json["owner"], os.geteuid())

    def test_machines_a_row_each_state(self):
        lines = self.n.cairn("machines").out.splitlines()
        self.assertEqual(lines[1].split(), ["KIND", "STATE", "COUNT", "OLDEST", "STUCK"])
        self.assertIn(["node", "SERVING", "1"], [line.split()[:3] for line in lines])

    def test_closed_descriptors(self):
        self.ok(self.n.cairn("ns", "create", "ns1"))
        env = clean_env(CAIRN_WORKSPACE=self.n.workspace)
        for command, said in (("put ns1 k <&-", "standard input: it is closed"), ("get ns1 k >&-", "standard output"),
                              ("status >&-", "standard output"), ("kv put kv/db k <&-", "standard input: it is closed")):
            with self.subTest(command):
                self.n.cairn("kv", "create", "--if-missing", "kv/db")
                self.ok(self.n.cairn("put", "-v", "value", "ns1", "k"))
                self.fails(run("sh", "-c", CAIRN + " " + command, env=env), FAILED, said)
        self.assertEqual(self.n.cairn("get", "ns1", "k").out, "value")
        self.fails(run("sh", "-c", CAIRN + " nope 2>&-", env=env), USAGE)

    def test_a_text_where_a_file_was_meant(self):
        self.ok(self.n.cairn("ns", "create", "ns1"))
        self.ok(self.n.cairn("kv", "create", "kv/db"))
        for argv in (["put", "ns1", "pi", "3.14"], ["kv", "put", "kv/db", "pi", "3.14"]):
            self.fails(self.n.cairn(*argv), FAILED, "3.14: No such file or directory", "--value TEXT stores a text")
        self.fails(self.n.cairn("kv", "put", "kv"), USAGE, "expected PROVIDER/NAME KEY [FILE]")
        self.fails(self.n.cairn("kv", "put", "kv", "k"), USAGE, "is named PROVIDER/NAME")
        self.fails(self.n.cairn("put", "ns1", "k", self.base), FAILED, "Is a directory", "on this machine")

    def test_bench(self):
        self.fails(self.n.cairn("bench", "-n", "0"), USAGE, "--seconds takes a time", "not 0")
        self.fails(self.n.cairn("bench", "-d", "0"), USAGE, "--depth is 1 to")
        self.fails(self.n.cairn("bench", "-o", "extent-write", "-s", "10GiB"), USAGE, "an extent has at most")
        self.fails(self.n.cairn("bench", "-o", "extent-write", "-s", "1GiB", "-d", "4096"), USAGE, "is memory: 4096 buffers")
        self.ok(self.n.cairn("bench", "-n", "1ms"))
        self.ok(self.n.cairn("ns", "create", "benched"))
        before = self.n.cairn("kv", "list", "kv").out
        for op in "put", "get", "kv-put", "kv-get", "extent-write", "extent-read":
            self.ok(self.n.cairn("bench", "-n", "50ms", "--op", op, *(["--namespace", "benched"] if len(op) == 3 else [])))
        self.assertEqual((self.n.cairn("ls", "benched").out, self.n.cairn("kv", "list", "kv").out), ("", before))
        self.ok(self.n.cairn("ns", "remove", "benched"))
        self.fails(self.n.cairn("bench", "--op", "put", "--namespace", "none"), FAILED, "no namespace 'none'")
        if os.geteuid() != 0:
            self.skipTest("only root has other users at hand")
        self.ok(self.n.cairn("ns", "create", "--mode", "0644", "ns1"))
        os.chmod(self.base, 0o755)
        r = run("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", CAIRN, "--address", self.n.address, "bench",
                "--op", "put", "--namespace", "ns1", "-n", "1")
        self.fails(r, DENIED, "ns1", "user nobody")

    def test_an_extent_is_removed_as_durably_as_asked(self):
        def synced():
            providers = self.n.cairn("--json", "status").json["providers"]
            return next(p for p in providers if p["type"] == "extent")["sync_groups"]

        for durability, groups in (("buffered", 0), ("sync", 1)):
            ident = self.ok(self.n.cairn("extent", "put", "-d", "sync", "extent", self.write("f", b"bytes"))).out.strip()
            before = synced()
            self.ok(self.n.cairn("extent", "rm", "-d", durability, "extent", ident))
            self.assertEqual(synced() - before, groups, durability)

    def test_operands_in_the_wrong_order(self):
        self.ok(self.n.cairn("ns", "create", "order"))
        os.mkdir(self.path("tree"))
        for verb in ("import", "verify", "export"):
            self.fails(self.n.cairn(verb, self.path("tree"), "order"), FAILED, "the namespace comes first")
        self.assertNotIn("comes first", self.n.cairn("import", "none", self.path("tree")).err)

    def test_removal_says_how_all_is_removed(self):
        self.ok(self.n.cairn("ns", "create", "full"))
        self.ok(self.n.cairn("put", "-v", "x", "full", "k"))
        self.fails(self.n.cairn("ns", "remove", "full"), FAILED, "ns remove --force")
        self.ok(self.n.cairn("ns", "remove", "--force", "full"))

    def test_exit_codes(self):
        self.ok(self.n.cairn("status"))
        self.fails(self.n.cairn("get", "none", "x"), FAILED, "no namespace 'none'", "hint:")
        self.ok(self.n.cairn("ns", "create", "ns1"))
        self.fails(self.n.cairn("ns", "create", "ns1"), FAILED, "hint:")
        self.ok(self.n.cairn("ns", "create", "--if-missing", "ns1"))
        self.fails(self.n.cairn("get", "ns1", "x"), FAILED)
        self.fails(self.n.cairn("stat", "ns1", "x"), FAILED)
        self.fails(self.n.cairn("rm", "ns1", "x"), FAILED)
        self.ok(self.n.cairn("rm", "--force", "ns1", "x"))
        self.ok(self.n.cairn("put", "-v", "1", "ns1", "x"))
        self.fails(self.n.cairn("put", "--if-absent", "-v", "2", "ns1", "x"), FAILED)
        self.assertEqual(self.n.cairn("get", "ns1", "x").out, "1")
        self.fails(self.n.cairn("ns", "remove", "ns1"), FAILED, "hint:")
        self.ok(self.n.cairn("ns", "remove", "--force", "ns1"))
        self.fails(self.n.cairn("ns", "create", "no/such"), FAILED)
        self.fails(self.n.cairn("machines", "--graph", "no-such-kind"), FAILED)
        self.fails(self.n.cairn("kv", "list", "no-such-provider"), FAILED)

    def test_values_of_all_sizes(self):
        self.ok(self.n.cairn("ns", "create", "ns1"))
        for size in (0, 1, 4096, 32768, 32769, 1 << 20, 20 << 20):
            data = os.urandom(min(size, 65536)) * (size // 65536 + 1)
            path = self.write("value", data[:size])
            self.ok(self.n.cairn("put", "ns1", "k", path))
            self.ok(self.n.cairn("get", "ns1", "k", self.path("back")))
            with open(path, "rb") as a, open(self.path("back"), "rb") as b:
                self.assertEqual(a.read(), b.read())
            r = self.n.cairn("get", "ns1", "k", text=False)
            self.assertEqual((r.code, r.out == data[:size]), (OK, True))
        r = self.n.cairn("get", "--offset", "1MiB", "--length", "10", "ns1", "k", text=False)
        self.assertEqual(r.out, data[1 << 20:(1 << 20) + 10])
        self.ok(self.n.cairn("put", "ns1", "piped", stdin=b"from a pipe"))
        self.assertEqual(self.n.cairn("get", "ns1", "piped").out, "from a pipe")

    def test_a_file_that_shrinks_is_no_value(self):
        self.ok(self.n.cairn("ns", "create", "ns1"))
        f, cut = self.path("f"), lambda path: os.truncate(path, 100 << 20)
        self.fails(self.change_while_read(f, cut, "put", "ns1", "k", f,
                                          before=lambda: self.ok(self.n.cairn("put", "-v", "old", "ns1", "k"))),
                   FAILED, "the file changed while it was read")
        self.assertEqual(self.n.cairn("get", "ns1", "k").out, "old")
        self.fails(self.change_while_read(f, cut, "extent", "put", "extent", f), FAILED, "the file changed while it was read")

    def test_an_empty_prefix_needs_force(self):
        self.ok(self.n.cairn("ns", "create", "ns1"))
        for key in ("run1/a", "run1/b", "run10/x", "other"):
            self.ok(self.n.cairn("put", "-v", "x", "ns1", key))
        self.fails(self.n.cairn("rm", "-r", "ns1", "run1/", ""), USAGE, "--force")
        self.assertEqual(len(self.n.cairn("ls", "ns1").out.splitlines()), 4)
        self.assertIn("2 values removed", self.ok(self.n.cairn("rm", "-r", "ns1", "run1/")).err)
        self.assertEqual(self.n.cairn("ls", "ns1").out.splitlines(), ["other", "run10/x"])
        self.assertIn("2 values removed", self.ok(self.n.cairn("rm", "-rf", "ns1", "")).err)

    def test_listing(self):
        self.ok(self.n.cairn("ns", "create", "ns1"))
        for key in ("b/1", "a/2", "a/1", "a-1"):
            self.ok(self.n.cairn("put", "-v", key, "ns1", key))
        self.assertEqual(self.n.cairn("ls", "ns1").out.split(), ["a-1", "a/1", "a/2", "b/1"])
        self.assertEqual(self.n.cairn("ls", "ns1", "a/").out.split(), ["a/1", "a/2"])
        self.assertEqual(self.n.cairn("ls", "-n", "2", "ns1").out.split(), ["a-1", "a/1"])
        self.assertEqual(self.n.cairn("ls", "-0", "ns1").out, "a-1\0a/1\0a/2\0b/1\0")
        self.ok(self.n.cairn("rm", "--prefix", "ns1", "a/"))
        self.assertEqual(self.n.cairn("ls", "ns1").out.split(), ["a-1", "b/1"])

    def test_keys_that_are_numbers(self):
        self.ok(self.n.cairn("kv", "create", "--order", "uint", "kv/events"))
        for key in (300, 7, 65536):
            self.ok(self.n.cairn("kv", "put", "-v", "event", "kv/events", str(key)))
        self.assertEqual(self.n.cairn("kv", "ls", "kv/events").out.split(), ["7", "300", "65536"])
        self.assertEqual(self.n.cairn("kv", "ls", "--from", "8", "kv/events").out.split(), ["300", "65536"])
        self.assertEqual(self.n.cairn("kv", "get", "kv/events", "300").out, "event")
        self.fails(self.n.cairn("kv", "get", "kv/events", "many"), USAGE, "are numbers")

    def test_colours_only_on_a_terminal_that_wants_them(self):
        env = clean_env(CAIRN_WORKSPACE=self.n.workspace, TERM="xterm")
        code, out = on_terminal([CAIRN, "status"], env)
        self.assertEqual(code, OK)
        self.assertIn(b"\033[", out)
        code, out = on_terminal([CAIRN, "status"], dict(env, NO_COLOR="1"))
        self.assertEqual(code, OK)
        self.assertNotIn(b"\033[", out)
        self.assertNotIn("\033", self.n.cairn("status").out)

    def test_lines_fit_the_terminal(self):
        env = clean_env(CAIRN_WORKSPACE=self.n.workspace, TERM="xterm", NO_COLOR="1")
        self.ok(self.n.cairn("extent", "put", "extent", self.write("big", b"x" * 200000)))
        for columns in (80, 100):
            for argv in (["status", "--verbose"], ["import", "--help"], ["help", "put"]):
                _, out = on_terminal([CAIRN, *argv], env, columns)
                lines = [line for line in out.decode().split("\r\n")
                         if not line.startswith(("data", "workspace", "addresses"))]
                self.assertLessEqual(max(map(len, lines)), columns, out.decode())
        _, narrow = on_terminal([CAIRN, "status", "--verbose"], env, 80)
        wide = self.n.cairn("status", "--verbose").out.split("providers")[1]
        names = re.findall(r"[a-z_]+(?==)", wide)  # not what they are: the disk's room changes meanwhile
        self.assertGreater(len(names), 5)
        self.assertEqual(re.findall(r"[a-z_]+(?==)", narrow.decode().split("providers")[1]), names)  # nothing is cut
        self.assertIn("extent  extent  17", wide)
        self.assertTrue(any(len(line) > 100 for line in wide.splitlines()), wide)

    def test_an_interrupted_get_leaves_nothing(self):
        self.ok(self.n.cairn("ns", "create", "ns1"))
        self.ok(self.n.cairn("put", "ns1", "k", stdin=b"x" * (64 << 20)))
        os.makedirs(self.path("to"))
        for _ in tries("a get that was not over before the interrupt"):
            p = subprocess.Popen([CAIRN, "get", "ns1", "k", self.path("to", "file")], stderr=subprocess.PIPE,
                                 env=clean_env(CAIRN_WORKSPACE=self.n.workspace))
            wait_for("the file", lambda: os.listdir(self.path("to")) or p.poll() is not None)
            self.n.process.send_signal(signal.SIGSTOP)
            p.send_signal(signal.SIGINT)
            p.communicate(timeout=DEADLINE_S)
            self.n.process.send_signal(signal.SIGCONT)
            if p.returncode != OK:
                break
            self.assertEqual(os.listdir(self.path("to")), ["file"])
            os.unlink(self.path("to", "file"))
        self.assertEqual(p.returncode, -signal.SIGINT)
        self.assertEqual(os.listdir(self.path("to")), [])

    def test_progress_only_on_a_terminal(self):
        self.write("tree/f", b"x")
        self.ok(self.n.cairn("ns", "create", "ns1"))
        self.assertEqual(self.ok(self.n.cairn("import", "ns1", self.path("tree"))).err, "")
        lines = self.ok(self.n.cairn("--json", "import", "--all", "ns1", self.path("tree"))).err.splitlines()
        last = json.loads(lines[-1])
        self.assertEqual((last["version"], last["progress"]["files"], last["progress"]["bytes"]), (1, 1, 1))
        self.assertEqual(self.ok(self.n.cairn("--json", "-q", "import", "--all", "ns1", self.path("tree"))).err, "")

    def test_keys_cannot_lead_a_terminal_astray(self):
        self.ok(self.n.cairn("ns", "create", "ns1"))
        self.ok(self.n.cairn("put", "-v", "x", "ns1", "evil\033]0;owned\007"))
        env = clean_env(CAIRN_WORKSPACE=self.n.workspace, TERM="xterm")
        _, out = on_terminal([CAIRN, "ls", "ns1"], env)
        self.assertIn(b"evil\\x1b]0;owned\\x07", out)
        self.assertIn("evil\033]0;owned\007", self.n.cairn("ls", "ns1").out)
        self.assertEqual(self.n.cairn("--json", "ls", "ns1").json["objects"][0]["key"], "evil\033]0;owned\007")

    def test_by_address_over_tcp(self):
        self.ok(run(CAIRN, "--workspace", self.n.workspace, "--address", self.n.tcp_address(), "status"))
        self.ok(run(CAIRN, "--address", self.n.address, "status"))
        # Without the key of the workspace nobody gets in over TCP.
        self.fails(run(CAIRN, "--workspace", self.path("elsewhere"), "--address", self.n.tcp_address(), "--timeout", "5s",
                       "status"), DENIED)

    def test_a_full_file_is_told_once(self):
        self.ok(self.n.cairn("ns", "create", "ns1"))
        self.ok(self.n.cairn("put", "ns1", "large", self.write("large", b"x" * 3000000)))
        self.ok(self.n.cairn("put", "-v", "x", "ns1", "small"))
        for key in ("large", "small"):
            with open("/dev/full", "w") as full:
                p = subprocess.run([CAIRN, "-w", self.n.workspace, "get", "ns1", key], stdout=full, stderr=subprocess.PIPE,
                                   env=clean_env(), timeout=DEADLINE_S)
            self.assertEqual(p.returncode, FAILED)
            self.assertEqual(p.stderr.count(b"No space left"), 1, p.stderr)
            self.assertEqual(p.stderr.count(b"cairn"), 1, p.stderr)

    def test_status_shows_what_people_ask(self):
        self.ok(self.n.cairn("ns", "create", "ns1"))
        self.ok(self.n.cairn("put", "ns1", "large", self.write("large", b"x" * 100000)))
        short, all_of_it = (self.ok(self.n.cairn("status", *v)).out for v in ((), ("--verbose",)))
        self.assertRegex(short, r"regions=1 .*used=[0-9.]+ .iB .*free=[0-9.]+ .iB")
        self.assertNotIn("cache", short)
        self.assertIn("cache", all_of_it)

    @unittest.skipUnless(os.path.exists("/proc/net/if_inet6"), "no IPv6 here")
    def test_by_address_over_ipv6(self):
        n = self.node("six", args=["--listen", "unix://node.sock", "--listen", "tcp://[::1]:0"]).start()
        six = n.tcp_address()
        self.assertTrue(six.startswith("tcp://[::1]:"))
        value = os.urandom(3 << 20)
        self.ok(n.cairn("--address", six, "ns", "create", "ns1"))
        self.ok(n.cairn("--address", six, "put", "ns1", "k", self.write("value", value)))
        self.assertEqual(n.cairn("--address", six, "get", "ns1", "k", text=False).out, value)
        self.assertEqual(n.stop(), 0)

    def test_machines_as_a_graph(self):
        kinds = [k["kind"] for k in self.n.cairn("--json", "machines").json["kinds"]]
        self.assertEqual(self.ok(self.n.cairn("machines", "--kinds")).out.splitlines(), kinds)
        self.fails(self.n.cairn("machines", "--graph", "foo"), FAILED, "cairn machines --kinds")
        self.assertTrue(kinds)
        for kind in kinds:
            self.assertTrue(self.ok(self.n.cairn("machines", "--graph", kind)).out.startswith("digraph"))


if __name__ == "__main__":
    main()
