"""A node's life: starting, draining, stopping, coming back; and what it says when it cannot start."""

import ctypes
import fcntl
import json
import os
import pathlib
import re
import resource
import select
import signal
import socket
import subprocess
import time
import unittest

from systest import *


class Lifecycle(Case):
    def refuses(self, node, *said):
        """The node must end by itself, say why, and leave nothing behind in its workspace."""
        node.spawn()
        code = node.process.wait(DEADLINE_S)
        node.process = None
        self.assertEqual(code, FAILED, node.log())
        for text in said:
            self.assertIn(text, node.log())
        self.assertFalse(os.path.exists(os.path.join(node.workspace, "node.json")))

    def test_start_and_stop(self):
        n = self.node().start()
        self.assertIn("cairnd: ready", n.log())
        with open(os.path.join(n.workspace, "node.json")) as f:
            described = json.load(f)
        self.assertEqual(described["version"], 1)
        self.assertEqual(described["pid"], n.process.pid)
        self.assertEqual({a.split(":")[0] for a in described["addresses"]}, {"unix", "tcp"})
        self.assertEqual(os.stat(os.path.join(n.workspace, "cluster.key")).st_mode & 0o777, 0o600)
        self.assertEqual(n.stop(), 0)
        self.assertFalse(os.path.exists(os.path.join(n.workspace, "node.json")))
        self.assertEqual(n.start().stop(signal.SIGINT), 0)

    def test_the_ready_line_comes_whole(self):
        """In one write, for the log's lines are written by others at the same time; a pipe of packets shows each."""
        n = self.node()
        readable, writable = os.pipe2(os.O_DIRECT)
        self.addCleanup(os.close, readable)
        n.process = subprocess.Popen(n.argv(), stdin=subprocess.DEVNULL, stderr=writable, env=clean_env())
        os.close(writable)
        packet = b""
        while b"cairnd: ready" not in packet:
            self.assertTrue(select.select([readable], [], [], DEADLINE_S)[0], "no ready line")
            packet = os.read(readable, 65536)
            self.assertNotEqual(packet, b"", "it ended")
        self.assertRegex(packet.decode(), r"^cairnd: ready [a-z]+://[^ ]+, [a-z]+://[^ ]+\n$")
        self.assertEqual(n.stop(), 0)

    def test_data_survives_a_restart(self):
        n = self.node().start()
        self.ok(n.cairn("ns", "create", "ns1"))
        self.ok(n.cairn("put", "-v", "small", "ns1", "s"))
        big = self.write("big", os.urandom(300000))
        self.ok(n.cairn("put", "ns1", "b", big))
        before = n.cairn("ns", "show", "ns1").out
        self.assertEqual(n.stop(), 0)
        n.start()
        self.assertEqual(n.cairn("ns", "show", "ns1").out, before)
        self.assertEqual(n.cairn("get", "ns1", "s").out, "small")
        with open(big, "rb") as f:
            self.assertEqual(n.cairn("get", "ns1", "b", text=False).out, f.read())
        self.ok(n.cairn("verify", "ns1"))
        self.assertEqual(n.stop(), 0)

    def test_a_put_of_a_stream_keeps_its_timeout_when_the_node_goes_away(self):
        n = self.node().start()
        self.ok(n.cairn("ns", "create", "ns1"))
        # Started while the node is there, and given its value when it is not.
        put = subprocess.Popen([CAIRN, "put", "--timeout", "2s", "ns1", "slow"], stdin=subprocess.PIPE,
                               stderr=subprocess.DEVNULL, env=clean_env(CAIRN_WORKSPACE=n.workspace))
        self.addCleanup(put.stdin.close)
        # Its namespace is open when it asks for the value.
        wait_for("the put to read", lambda: "pipe_read" in pathlib.Path("/proc/%d/wchan" % put.pid).read_text())
        self.assertEqual(n.stop(), 0)
        began = time.monotonic()
        put.stdin.write(b"x")
        put.stdin.close()
        self.assertIn(put.wait(DEADLINE_S), (UNREACHABLE, TIMEOUT))
        self.assertLess(time.monotonic() - began, 15)  # it was the time-out and 16 s, for the part that a stream may have

    def test_stop_under_load_drains(self):
        n = self.node().start()
        self.ok(n.cairn("ns", "create", "ns1"))
        load = [subprocess.Popen([CAIRN, "bench", "--op", op, "--seconds", str(10 * DEADLINE_S), "--timeout", "5s", "--depth", "64", *more],
                                 env=clean_env(CAIRN_WORKSPACE=n.workspace), stdout=subprocess.DEVNULL,
                                 stderr=subprocess.PIPE)
                for op, more in (("put", ["--namespace", "ns1"]), ("extent-write", ["--size", "256KiB"]), ("kv-put", []))]
        self.addCleanup(lambda: [p.kill() for p in load if p.poll() is None])
        wait_for("the load", lambda: b"bench/0/00000200" in n.cairn("ls", "ns1", text=False).out)
        self.assertEqual(n.stop(), 0, n.log())
        for p in load:
            _, err = p.communicate(timeout=DEADLINE_S)
            self.assertIn(p.returncode, (UNREACHABLE, TIMEOUT, FAILED), err)
            self.assertIn(b"hint:", err)
        n.start()
        self.ok(n.cairn("verify", "ns1"))

    def test_running_requests_are_answered_while_draining(self):
        count, size = 16, 3 << 20
        n = self.node().start()
        self.ok(n.cairn("ns", "create", "ns1"))
        client = subprocess.Popen([os.path.join(BUILD, "bin", "drain_client"), n.address, "ns1", str(count), str(size)],
                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.addCleanup(lambda: client.poll() is None and client.kill())

        def running():
            self.assertIsNone(client.poll())
            kinds = self.ok(n.cairn("--json", "machines")).json["kinds"]
            return sum(k["live"] for k in kinds if k["kind"] == "router-put") == count

        wait_for("the puts to run", running)
        n.process.send_signal(signal.SIGTERM)
        wait_for("the drain", lambda: "running requests are answered" in n.log())
        out, _ = client.communicate("go\n", timeout=DEADLINE_S)
        self.assertEqual(out.split("\n")[:-1], ["k%02d ok" % i for i in range(count)])
        self.assertEqual(n.process.wait(DEADLINE_S), 0, n.log())
        n.start()
        for i in range(count):
            self.assertEqual(n.cairn("get", "ns1", "k%02d" % i).out, "v" * size)

    def test_out_of_descriptors_is_said_once(self):
        n = self.node().start()
        pid = n.process.pid
        soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        used = max(int(fd) for fd in os.listdir("/proc/%d/fd" % pid)) + 1
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (used, hard))
        waiting = []
        for _ in range(used):  # more than any gap between its descriptors
            waiting.append(socket.socket(socket.AF_UNIX))
            waiting[-1].connect(n.address[len("unix://"):])
        wait_for("the warning", lambda: "new connections wait" in n.log())
        time.sleep(1)  # ten pauses
        self.assertEqual(n.log().count("new connections wait"), 1, n.log())
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))
        self.ok(n.cairn("status"))
        for s in waiting:
            s.close()
        self.assertEqual(n.stop(), 0)

    def test_a_stopped_node_is_unreachable_at_once(self):
        n = self.node().start()
        self.assertEqual(n.stop(), 0)
        self.fails(n.cairn("--timeout", "20s", "status"), UNREACHABLE)

    def test_port_in_use(self):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            s.listen()
            address = "tcp://127.0.0.1:%d" % s.getsockname()[1]
            n = self.node(args=["--listen", address])
            self.refuses(n, "in use", address.split("//")[1], "`ss -lntup` names the process")
            self.assertFalse(os.path.exists(n.data) or os.path.exists(n.workspace))  # nothing was made for nothing
            n.args = ["--listen", "foo", "--listen", "tcp://x"]
            self.refuses(n, "is no address")
            for line in n.log().splitlines():
                self.assertTrue(line.startswith("cairnd: "), line)

    def test_workspace_in_use(self):
        first = self.node("first").start()
        second = self.node("second", args=["--workspace", first.workspace])
        self.refuses(second, "node.sock: another process answers there", "a second one needs --data, --workspace")
        self.assertFalse(os.path.exists(second.data))
        self.ok(first.cairn("status"))

    def test_a_relative_workspace(self):
        os.mkdir(self.path("here"))
        p = subprocess.Popen([CAIRND, "--data", "d", "--workspace", "ws"], cwd=self.path("here"), env=clean_env(),
                             stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(lambda: (p.kill(), p.wait()))
        self.ok(run(CAIRN, "-w", self.path("here", "ws"), "wait-ready", "--timeout", "%ds" % DEADLINE_S, timeout=2 * DEADLINE_S))
        p.terminate()
        self.assertEqual(p.wait(DEADLINE_S), 0)

    def test_data_directory_in_use(self):
        first = self.node("first").start()
        self.refuses(self.node("second", data=first.data), "in use", first.data)
        self.ok(first.cairn("status"))
        self.assertEqual(first.stop(), 0)

    def test_the_lock_of_a_killed_node_is_no_obstacle(self):
        n = self.node().start()
        n.kill()
        n.start()
        self.assertEqual(n.stop(), 0)

    def test_data_of_a_newer_format(self):
        n = self.node().start()
        self.assertEqual(n.stop(), 0)
        identity = os.path.join(n.data, "cairn.json")
        with open(identity) as f:
            doc = json.load(f)
        with open(identity, "w") as f:
            json.dump(dict(doc, format=99), f)
        self.refuses(n, "format", "99")
        with open(identity, "w") as f:
            f.write("{ not json")
        self.refuses(n, identity)
        with open(identity, "w") as f:
            json.dump(doc, f)
        self.assertEqual(n.start().stop(), 0)

    def test_data_directory_that_is_none(self):
        self.write("file", b"")
        self.refuses(self.node(data=self.path("file")), self.path("file"))
        self.refuses(self.node("below", data=self.path("file", "x")), self.path("file", "x"))

    @unittest.skipUnless(os.geteuid() == 0, "only root has other users at hand")
    def test_data_directory_that_is_anothers(self):
        """Root may read everything, so the node runs as somebody who may not."""
        os.chmod(self.base, 0o755)
        n = self.node().start()
        self.assertEqual(n.stop(), 0)
        os.makedirs(self.path("ws"))
        os.chown(self.path("ws"), 65534, 65534)
        argv = [CAIRND, "--data", n.data, "--workspace", self.path("ws")]
        before = sorted(os.listdir(n.data))
        for more in ([], ["--check-config"]):
            r = subprocess.run(argv + more, user=65534, group=65534, extra_groups=[], capture_output=True, text=True,
                               env=clean_env(), timeout=DEADLINE_S)
            self.assertEqual(r.returncode, FAILED, r.stderr)
            self.assertRegex(r.stderr, "data directory %s.*: Permission denied" % n.data)
        self.assertEqual(sorted(os.listdir(n.data)), before)
        self.assertEqual(n.start().stop(), 0)

    def test_print_config_says_where_each_value_came_from(self):
        file = self.write("node.yaml", b"node:\n  workers: 3\nlimits: {drain: 7s}\n")
        argv = [CAIRND, "--config", file, "--data", self.path("d"), "--set", "node.spin=10us", "--print-config"]
        out = self.ok(run(*argv, env=clean_env(CAIRN_WORKSPACE=self.path("w")))).out
        for line in ("workers: 3 +# %s:2" % file, "drain: 7s +# %s:3" % file, "data: %s +# --data" % self.path("d"),
                     "spin: 10us +# --set", "pool_threads: 8 +# default", "workspace: %s +# .*CAIRN_WORKSPACE" % self.path("w")):
            self.assertRegex(out, r"(?m)^ *%s" % line)
        self.assertFalse(os.path.exists(self.path("d")))
        again = self.write("again.yaml", out.encode())  # it is a configuration itself, of the same values
        self.ok(run(CAIRND, "--config", again, "--check-config"))
        plain = lambda text: [line.split(" #")[0].rstrip() for line in text.splitlines()]
        self.assertEqual(plain(self.ok(run(CAIRND, "--config", again, "--print-config")).out), plain(out))

    def test_print_config_has_the_group_that_a_cluster_brings(self):
        argv = [CAIRND, "--data", self.path("d"), "--print-config", "--set"]
        shared = "{store: etcd, endpoints: ['http://127.0.0.1:1']}"
        line = r"(?m)^# default.*\{type: group, name: group\}$"
        self.assertRegex(self.ok(run(*argv, "map=" + shared)).out, line)
        self.assertNotRegex(self.ok(run(*argv, "map={store: local}")).out, line)
        file = self.write("node.yaml", ("{map: %s, providers: [{type: group, name: own, listen: 'udp://127.0.0.1:0'}]}" %
                                        shared).encode())
        self.assertNotRegex(self.ok(run(*argv, "node.workers=1", "--config", file)).out, line)

    def test_a_crash_tells_the_recent_moves(self):
        n = self.node(args=["--set", "node.workers=1"]).start()
        with open(os.path.join(BUILD, "CMakeCache.txt")) as f:
            if "CAIRN_SANITIZE:STRING=\n" not in f.read():
                self.skipTest("sanitizers take the signals")
        self.ok(n.cairn("ns", "create", "ns1"))
        tasks = "/proc/%d/task" % n.process.pid
        worker = next(t for t in os.listdir(tasks) if pathlib.Path(tasks, t, "comm").read_text() == "cairn-w0\n")
        tgkill = 234
        ctypes.CDLL(None).syscall(tgkill, n.process.pid, int(worker), signal.SIGSEGV)
        self.assertEqual(n.process.wait(DEADLINE_S), -signal.SIGSEGV)
        n.process = None
        self.assertRegex(n.log(), r"(?m)^.*router-ns-create#[0-9]+ SPREAD -> DONE$")
        n.start()
        self.ok(n.cairn("ns", "show", "ns1"))
        self.assertEqual(n.stop(), 0)

    def test_usage(self):
        for argv in (["--no-such"], ["stray"], ["--set", "nothing"]):
            r = run(CAIRND, *argv)
            self.assertEqual(r.code, USAGE, str(r))
            self.assertIn("--help", r.err)
        for argv in (["--dat", "x"], ["--dat=x"], ["--check-conf"]):  # what it means would change with the next option
            self.fails(run(CAIRND, *argv), USAGE, "unknown option '%s'" % argv[0].split("=")[0], "did you mean '--")
        self.assertIn("--workspace", self.ok(run(CAIRND, "--help")).out)
        self.ok(run(CAIRND, "--version"))

    def test_configuration_mistakes_come_all_at_once(self):
        bad = self.write("bad.yaml", b"node:\n  wrokers: 4\n  log_level: loud\nlisten: 7\n")
        node = self.node(args=["--config", bad])
        self.refuses(node, bad + ":2:3: ", "'workers'", bad + ":3:", bad + ":4:")
        r = run(CAIRN, "config", "check", bad)
        self.assertEqual(r.code, FAILED)
        self.assertIn(bad + ":2:3: ", r.out)
        findings = run(CAIRN, "--json", "config", "check", bad).json
        self.assertFalse(findings["valid"])
        self.assertEqual([f["line"] for f in findings["findings"] if "line" in f][:3], [2, 3, 4])
        good = self.write("good.yaml", ("node:\n  workers: 1\n  data: %s\nworkspace: %s\n"
                                        % (self.path("d"), self.path("w"))).encode())
        self.ok(run(CAIRN, "config", "check", good))
        self.assertTrue(self.ok(run(CAIRN, "--json", "config", "check", good)).json["valid"])
        self.assertFalse(os.path.exists(self.path("d")))

    def checked(self, *args, data=None, code=FAILED):
        """What --check-config says; it must have left nothing behind."""
        before = sorted(str(p) for p in pathlib.Path(self.base).rglob("*"))
        r = run(CAIRND, "--data", data or self.path("d"), "--workspace", self.path("w"), *args, "--check-config")
        self.assertEqual(sorted(str(p) for p in pathlib.Path(self.base).rglob("*")), before)
        self.assertEqual(r.code, code, str(r))
        return r.err

    def test_check_says_what_a_start_would(self):
        file = self.write("file", b"")
        for data, said in (("/proc/nope", "/proc/nope: cannot be made in /proc"),
                           (self.path("file", "x", "y"), "file/x/y: %s is no directory" % file),
                           (file, "%s: it is no directory" % file)):
            self.assertIn(said, self.checked(data=data))
            self.refuses(self.node(data=data), data[:data.find("/x") + 2] if "/x" in data else data)
        for args, said in ((["--set", "node.log_file=/proc/nope/log"], "log file /proc/nope/log: directory /proc/nope: No such"),
                           (["--set", "auth.key_file=" + self.path("none/key")], "cluster key %s" % self.path("none/key")),
                           (["--set", "auth.munge=on", "--set", "auth.munge_socket=/nope"], "no munged listens at /nope"),
                           (["--listen", "unix://" + self.path("none/sock")], "socket %s" % self.path("none/sock")),
                           (["--set", "metrics.listen=tcp://192.0.2.1:1"], "metrics.listen: listen on tcp://192.0.2.1:1"),
                           (["--workspace", "/proc/nope/w"], "workspace /proc/nope/w: /proc/nope: No such"),
                           (["--workspace", file], "workspace %s is no directory" % file)):
            with self.subTest(said):
                self.assertIn(said, self.checked(*args))
        # Files that etcd's TLS needs: said at once, not when map.timeout is over, with where they are named.
        tls = self.write("tls.yaml", b"""map:
  store: etcd
  endpoints: [https://127.0.0.1:1]
  timeout: 10m
  tls: { ca: /nope/ca.crt, cert: %s, key: /nope/node.key }
""" % file.encode())
        r = self.fails(run(CAIRN, "config", "check", tls), FAILED)
        for key, why in (("ca", "/nope/ca.crt: No such file"), ("cert", "%s: this is no certificate or key in PEM" % file),
                         ("key", "/nope/node.key: No such file")):
            self.assertRegex(r.out + r.err, r"tls\.yaml:5:\d+: 'map\.tls\.%s': %s" % (key, re.escape(why)))
        node = self.node(args=["--config", tls])
        self.refuses(node, "tls.yaml:5:", "/nope/ca.crt: No such file")

        # Everything in one pass, in the order of a start.
        both = self.checked("--set", "node.log_file=/proc/nope/log", "--listen", "unix://" + self.path("none/sock"))
        self.assertRegex(both, r"\Alog file [^\n]*\nsocket [^\n]*\n\Z")
        self.assertEqual(self.checked(code=OK), "cairnd: the configuration is good\n")

    def test_check_looks_into_the_data(self):
        n = self.node().start()
        self.ok(n.cairn("ns", "create", "ns1"))
        self.assertIn("in use by another cairnd", self.checked(data=n.data, code=3))
        own = self.write("own.yaml", b"node: {data: %s}\nworkspace: %s\n" % (n.data.encode(), n.workspace.encode()))
        r = self.ok(run(CAIRN, "--json", "config", "check", own)).json
        self.assertEqual((r["valid"], r["in_use"]), (True, True))
        self.write("own.yaml", b"node: {data: %s, log_file: /proc/nope/log}\n" % n.data.encode())
        self.fails(run(CAIRN, "config", "check", own), FAILED)
        self.assertEqual(n.stop(), 0)
        self.checked(data=n.data, code=OK)
        for lock, said in (("extent/LOCK", "provider extent: %s/extent: LOCK is held by another process"),
                           ("kv/FORMAT", "provider kv: %s/kv is in use")):
            with open(os.path.join(n.data, lock), "r+") as f:
                fcntl.flock(f, fcntl.LOCK_EX)
                self.assertIn(said % n.data, self.checked(data=n.data, code=3))
        with open(os.path.join(n.data, "router/map"), "r+b") as f:
            f.seek(-1, os.SEEK_END)
            last = f.read(1)
            f.seek(-1, os.SEEK_END)
            f.write(bytes([last[0] ^ 1]))
        self.assertIn("provider router: %s/router/map" % n.data, self.checked(data=n.data))
        self.refuses(n, "%s/router/map" % n.data)

    def test_fewer_databases_than_there_are(self):
        n = self.node().start()
        for i in range(6):
            self.ok(n.cairn("kv", "create", "kv/d%d" % i))
        self.assertEqual(n.stop(), 0)
        conf = self.write("fewer.yaml", b"providers:\n  - {type: kv, name: kv, databases: 3}\n  - {type: extent, name: extent}\n")
        fewer = self.node(data=n.data, args=("--config", conf))
        said = self.checked("--config", conf, data=n.data)
        self.assertRegex(said, r"provider kv: `databases` is 3, .* d5 among them, .* set it to \d+ or more")
        self.refuses(fewer, "provider kv: `databases` is 3", "or more")
        needed = re.search(r"set it to (\d+)", said)[1].encode()
        self.write("fewer.yaml", b"providers:\n  - {type: kv, name: kv, databases: %s}\n  - {type: extent, name: extent}\n" % needed)
        self.checked("--config", conf, data=n.data, code=OK)
        self.assertEqual(len(fewer.start().cairn("kv", "list", "kv", "--json").json["databases"]), int(needed))

    def test_a_bad_address_on_the_command_line(self):
        self.assertEqual(self.checked("--listen", "foo", "--listen", "tcp://x"),
                         "--listen: 'foo' is no address: write unix://PATH or tcp://HOST:PORT\n"
                         "--listen: 'tcp://x' has no port: write tcp://HOST:PORT (port 0: any)\n")
        self.assertEqual(self.checked("--set", "listen=foo"),
                         "--set listen: 'foo' is no address: write unix://PATH or tcp://HOST:PORT\n")

    def test_metrics_page(self):
        port = free_port()
        n = self.node(args=["--set", "metrics.listen=tcp://127.0.0.1:%d" % port]).start()
        self.ok(n.cairn("ns", "create", "ns1"))
        self.ok(n.cairn("put", "ns1", "large", stdin=b"x" * (1 << 20)))
        bulk = self.ok(n.cairn("--json", "metrics")).json["bulk"]
        self.assertEqual(sum(row["bytes"] for row in bulk), 1 << 20)
        import urllib.request
        with urllib.request.urlopen("http://127.0.0.1:%d/healthz" % port, timeout=60) as r:
            self.assertEqual(r.status, 200)
        with urllib.request.urlopen("http://127.0.0.1:%d/metrics" % port, timeout=60) as r:
            text = r.read().decode()
        self.assertIn("# TYPE cairn_", text)
        self.assertIn("# TYPE cairn_bulk_bytes_total counter", text)
        self.assertEqual(n.stop(), 0)


if __name__ == "__main__":
    main()
