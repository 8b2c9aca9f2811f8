"""A node under a service manager: what it is told, the sockets and the key that it hands over, and the units for systemd. The
manager is played by the test: a datagram socket for messages, descriptors from 3 on, a directory of credentials."""

import os
import re
import shutil
import signal
import socket
import subprocess
import time
import unittest

from systest import (BUILD, CAIRN, CAIRND, DEADLINE_S, OK, SOURCE, TIMEOUT, UNREACHABLE, Case, Etcd, clean_env, free_port, main,
                     run, wait_for)


class Manager:
    """What systemd is for a service of Type=notify."""

    def __init__(self, path):
        self.path, self.messages = path, []
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(path)

    def close(self):
        self.socket.close()

    def read(self, seconds):
        """One more message, if it comes in time; a list of its assignments."""
        self.socket.settimeout(seconds)
        try:
            self.messages.append(self.socket.recv(4096).decode().split("\n"))
        except socket.timeout:
            return None
        return self.messages[-1]

    def until(self, assignment, seconds=DEADLINE_S):
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            message = self.read(max(0.01, until - time.monotonic()))
            if message and assignment in message:
                return message
        raise AssertionError("no %s; what came: %s" % (assignment, self.messages))


class ServiceCase(Case):
    def setUp(self):
        super().setUp()
        self.manager = Manager(self.path("notify"))
        self.addCleanup(self.manager.close)

    def spawn(self, node, *more, sockets=(), names=None, **env):
        """As systemd does: descriptors from 3 on, LISTEN_PID that of the program."""
        # First above all targets: one descriptor must not take the place of the next; and no other stays open.
        moves = ["exec %d<&%d" % (20 + i, s.fileno()) for i, s in enumerate(sockets)]
        moves += ["exec %d<&-" % s.fileno() for s in sockets]
        moves += ["exec %d<&%d" % (3 + i, 20 + i) for i in range(len(sockets))]
        moves += ["exec %d<&-" % (20 + i) for i in range(len(sockets))]
        if sockets:
            env.setdefault("LISTEN_FDS", str(len(sockets)))
            moves.append("LISTEN_PID=%s; export LISTEN_PID" % env.pop("LISTEN_PID", "$$"))
        if names:
            env["LISTEN_FDNAMES"] = names
        env.setdefault("NOTIFY_SOCKET", self.manager.path)
        with open(node.log_path, "ab") as log:
            node.process = subprocess.Popen(["bash", "-c", "; ".join(moves + ['exec "$@"']), "bash", *node.argv(*more)],
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=clean_env(**env),
                                            pass_fds=[s.fileno() for s in sockets])
        return node

    def refused(self, node, said, **kw):
        self.spawn(node, **kw)
        self.assertEqual(node.process.wait(DEADLINE_S), 1)
        self.assertIn(said, node.log())
        node.process = None

    def listening(self, address=("127.0.0.1", 0), family=socket.AF_INET):
        s = socket.socket(family)
        self.addCleanup(s.close)
        s.bind(address)
        s.listen(64)
        return s


class Tells(Etcd, ServiceCase):
    def test_a_life(self):
        node = self.spawn(self.node(), "--set", "node.workers=2", WATCHDOG_USEC="1500000")
        first = self.manager.read(DEADLINE_S)
        self.assertEqual(first, ["STATUS=starting", "EXTEND_TIMEOUT_USEC=60000000"])
        ready = self.manager.until("READY=1")
        self.assertIn("unix://" + os.path.join(node.workspace, "node.sock"), ready[1])
        self.assertIn(["STATUS=starting: provider kv"], self.manager.messages)
        self.ok(node.cairn("status"))  # READY is no promise: it serves
        for _ in range(3):
            self.manager.until("WATCHDOG=1")
        for line in self.ok(node.cairn("machines")).out.splitlines():
            if line.startswith("watchdog"):
                break
        else:
            self.fail("no watchdog among the machines")
        began = time.monotonic()
        node.process.send_signal(signal.SIGTERM)
        stopping = self.manager.until("STOPPING=1")
        self.assertIn("EXTEND_TIMEOUT_USEC=120000000", stopping)  # 30 s to leave, 30 s for the drain, and a minute
        self.assertEqual(node.process.wait(DEADLINE_S), 0)
        self.assertLess(time.monotonic() - began, 60)
        while self.manager.read(0.1):
            self.assertNotIn("WATCHDOG=1", self.manager.messages[-1])

    @unittest.skipUnless(shutil.which("etcd"), "etcd is not installed")
    def test_a_node_that_waits_for_etcd_says_so(self):
        self.port, self.peer = free_port(), free_port()
        node = self.node(args=["--set", "map.store=etcd", "--set", "map.endpoints=http://127.0.0.1:%d" % self.port,
                               "--set", "map.timeout=%ds" % (2 * DEADLINE_S), "--set", "auth.key_file=" + self.path("key")])
        said = "has not started yet: the map store etcd cannot be read: http://127.0.0.1:%d" % self.port

        def waits():
            status = node.cairn("status")
            return status.code == UNREACHABLE and said in status.err and "(process %d)" % node.process.pid in status.err

        # A signal ends the wait.
        self.spawn(node)
        wait_for("that it says so", waits)
        while not any(line.startswith("STATUS=waiting: the map store etcd") for line in self.manager.read(DEADLINE_S)):
            pass
        more = self.manager.read(DEADLINE_S)[0]
        self.assertGreater(int(more.split("EXTEND_TIMEOUT_USEC=")[1]), 60000000 + DEADLINE_S * 1000000)
        self.assertEqual(node.stop(), 0)
        self.assertIn("stopped before it had started", node.log())
        self.assertEqual(os.listdir(node.workspace), [])
        # So does a kill, which leaves behind what nobody believes.
        self.spawn(node)
        wait_for("that it says so", waits)
        wait_for("that a wait says so", lambda: said in self.fails(node.cairn("wait-ready", "--timeout", "1s"), TIMEOUT).err)
        node.kill()
        self.assertEqual(os.listdir(node.workspace), ["starting.json"])
        self.fails(node.cairn("status"), UNREACHABLE, "no node was started in this workspace")
        # The store comes, and the node goes on.
        self.spawn(node)
        wait_for("that it says so", waits)
        self.start_etcd(self.path("etcd"))
        self.ok(node.cairn("wait-ready", "--timeout", "%ds" % DEADLINE_S))
        self.assertNotIn("starting.json", os.listdir(node.workspace))

    def test_a_process_that_stands_still_is_not_alive(self):
        node = self.spawn(self.node(), WATCHDOG_USEC="1000000")
        self.manager.until("WATCHDOG=1")
        node.process.send_signal(signal.SIGSTOP)
        while self.manager.read(0.2):
            pass
        self.assertIsNone(self.manager.read(2))
        node.process.send_signal(signal.SIGCONT)
        self.manager.until("WATCHDOG=1")
        self.assertEqual(node.stop(), 0)

    def test_no_watchdog_unless_asked_for(self):
        node = self.spawn(self.node())
        self.manager.until("READY=1")
        self.assertIsNone(self.manager.read(1))
        self.assertEqual(node.stop(), 0)

    def test_a_start_that_fails_says_why(self):
        node = self.spawn(self.node(), "--set", "map.store=etcd", "--set", "map.endpoints=http://127.0.0.1:9", "--set",
                          "map.timeout=300ms")
        self.assertEqual(node.process.wait(DEADLINE_S), 1)
        wait_for("the reason", lambda: self.manager.read(1) and
                 self.manager.messages[-1][0].startswith("STATUS=not started: map: the map store etcd cannot be read"))
        self.assertFalse(any("READY=1" in m for m in self.manager.messages))
        node.process = None

    def test_a_socket_that_is_none(self):
        self.refused(self.node(), "$NOTIFY_SOCKET is 'vsock:2:99'", NOTIFY_SOCKET="vsock:2:99")


class HandsOver(ServiceCase):
    def conf(self, *listen, **more):
        return ["--set", "listen=[%s]" % ", ".join('"%s"' % a for a in listen),
                *(a for k, v in more.items() for a in ("--set", "%s=%s" % (k.replace("_", "."), v)))]

    def test_clients_wait_in_the_backlog_while_the_node_restarts(self):
        tcp, path = self.listening(), self.path("handed.sock")
        unix = self.listening(path, socket.AF_UNIX)
        os.chmod(path, 0o666)
        address = "tcp://127.0.0.1:%d" % tcp.getsockname()[1]
        node = self.node(args=self.conf("unix://" + path, address, "unix://node.sock"))
        self.spawn(node, sockets=(tcp, unix), names="web:local")
        self.manager.until("READY=1")
        by_unix = lambda *a: run(CAIRN, "--address", "unix://" + path, *a)
        self.ok(by_unix("ns", "create", "demo"))
        self.ok(run(CAIRN, "--address", address, "--key", os.path.join(node.workspace, "cluster.key"), "put", "demo", "k",
                    stdin=b"v"))
        self.assertEqual(self.ok(node.cairn("get", "demo", "k")).out, "v")  # by a socket that it bound itself
        self.assertEqual(node.stop(), 0)
        self.assertTrue(os.path.exists(path))  # it is not the node's to remove
        self.assertFalse(os.path.exists(os.path.join(node.workspace, "node.sock")))
        waiting = subprocess.Popen([CAIRN, "--address", "unix://" + path, "--timeout", "%ds" % DEADLINE_S, "get", "demo", "k"],
                                   stdout=subprocess.PIPE, env=clean_env())
        self.addCleanup(waiting.stdout.close)
        self.addCleanup(waiting.wait)
        self.addCleanup(waiting.kill)
        time.sleep(0.3)
        self.assertIsNone(waiting.poll())
        self.spawn(node, sockets=(tcp, unix))
        self.assertEqual(waiting.communicate(timeout=DEADLINE_S)[0], b"v")
        self.assertEqual(waiting.returncode, 0)
        self.assertEqual(node.stop(), 0)

    def test_the_metrics_page(self):
        page = self.listening()
        node = self.node(args=self.conf("unix://node.sock", metrics_listen="tcp://127.0.0.1:%d" % page.getsockname()[1]))
        self.spawn(node, sockets=(page,))
        self.manager.until("READY=1")
        with socket.create_connection(page.getsockname(), 30) as s:
            s.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
            self.assertIn(b"200", s.recv(4096))
        self.assertEqual(node.stop(), 0)

    def test_both_protocols_by_one_socket(self):
        s = socket.socket(socket.AF_INET6)
        self.addCleanup(s.close)
        try:
            s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            s.bind(("::", 0))
        except OSError as e:
            self.skipTest("no IPv6 here: %s" % e)
        s.listen(64)
        port = s.getsockname()[1]
        node = self.node(args=self.conf("unix://node.sock", "tcp://0.0.0.0:%d" % port))
        self.spawn(node, sockets=(s,))
        self.manager.until("READY=1")
        self.ok(run(CAIRN, "--address", "tcp://127.0.0.1:%d" % port, "--key", os.path.join(node.workspace, "cluster.key"),
                    "status"))
        self.assertEqual(node.stop(), 0)

    def test_what_does_not_fit_is_refused(self):
        tcp, other = self.listening(), self.listening()
        address = "tcp://127.0.0.1:%d" % tcp.getsockname()[1]
        deaf = socket.socket()
        datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        for s in (deaf, datagrams):
            self.addCleanup(s.close)
        deaf.bind(("127.0.0.1", 0))
        args = self.conf("unix://node.sock", address)
        for sockets, said in (((tcp, other), "socket 'two' of the service manager listens on tcp://127.0.0.1:%d, which neither"
                                             % other.getsockname()[1]),
                              ((tcp, tcp), "socket 'two' of the service manager listens on %s" % address),
                              ((deaf,), "socket 'one' of the service manager is no listening stream socket"),
                              ((tcp, datagrams), "socket 'two' of the service manager is no listening")):
            self.refused(self.node(args=args), said, sockets=sockets, names="one:two")
        self.refused(self.node(args=args), "$LISTEN_FDS is 18", sockets=(tcp,), LISTEN_FDS="18")
        self.refused(self.node(args=args), "$LISTEN_FDS is -1", sockets=(tcp,), LISTEN_FDS="-1")
        self.refused(self.node(args=args), "socket 'unnamed' of the service manager: descriptor 4 is not open", sockets=(tcp,),
                     LISTEN_FDS="2")
        # Meant for another process: not ours, so the address is in use, by the test.
        self.refused(self.node(args=args), "listen on " + address, sockets=(tcp,), LISTEN_PID="1")


class Credential(ServiceCase):
    def test_the_key_comes_from_the_manager(self):
        key = self.write("credentials/cluster.key", b"0123456789abcdef" * 4 + b"\n")
        os.chmod(key, 0o400)
        node = self.node(args=["--listen", "unix://node.sock", "--listen", "tcp://127.0.0.1:0"])
        self.spawn(node, CREDENTIALS_DIRECTORY=self.path("credentials"))
        self.manager.until("READY=1")
        self.assertFalse(os.path.exists(os.path.join(node.workspace, "cluster.key")))
        tcp = ("--address", node.tcp_address())
        self.ok(run(CAIRN, *tcp, "--key", key, "status"))
        self.assertNotEqual(run(CAIRN, *tcp, "status").code, OK)
        self.assertEqual(node.stop(), 0)
        printed = run(CAIRND, *node.argv("--print-config")[1:], env=clean_env(CREDENTIALS_DIRECTORY=self.path("credentials")))
        self.assertRegex(self.ok(printed).out, r"key_file: \S*credentials/cluster.key\s+# \$CREDENTIALS_DIRECTORY")

    def test_without_one_the_configuration_holds(self):
        os.mkdir(self.path("credentials"))
        node = self.spawn(self.node(), CREDENTIALS_DIRECTORY=self.path("credentials"))
        self.manager.until("READY=1")
        self.assertTrue(os.path.exists(os.path.join(node.workspace, "cluster.key")))
        self.assertEqual(node.stop(), 0)


class Units(Case):
    """The units as they are installed, with the build's program in the place of the installed one."""

    def setUp(self):
        super().setUp()
        with open(os.path.join(BUILD, "deploy", "cairnd@.service")) as f:
            unit = f.read()
        self.start = re.search(r"^ExecStart=(\S+) (.*)$", unit, re.M)
        self.unit = self.write("units/cairnd@.service", unit.replace(self.start.group(1), CAIRND).encode())
        self.socket = shutil.copy(os.path.join(SOURCE, "deploy", "systemd", "cairnd@.socket"), self.path("units"))

    def test_it_starts_what_is_installed(self):
        self.assertTrue(self.start.group(1).startswith("/") and self.start.group(1).endswith("/cairnd"))
        self.assertEqual(self.start.group(2), "--config /etc/cairn/%i.yaml")

    def test_a_start_is_tried_until_it_succeeds(self):
        with open(self.unit) as f:
            lines = f.read().splitlines()
        self.assertLess(lines.index("StartLimitIntervalSec=0"), lines.index("[Service]"))
        self.assertIn("Restart=on-failure", lines)
        self.assertIn("RestartPreventExitStatus=2", lines)  # the command line alone stays wrong

    def assigned(self, path):
        """What a unit says: values by (section, key), in their order."""
        section, found = None, {}
        with open(path) as f:
            for line in f.read().replace("\\\n", " ").splitlines():
                if line.startswith("["):
                    section = line.strip("[]")
                elif line and line[0] not in "#;":
                    key, value = line.split("=", 1)
                    found.setdefault((section, key), []).append(value)
        return found

    def seconds(self, value):
        return int(re.fullmatch(r"([0-9]+)s", value).group(1))

    def test_the_manager_does_what_the_node_relies_on(self):
        """What test_a_life and those beside it play a manager for: nothing of it happens unless the unit asks for it."""
        unit = self.assigned(self.unit)
        self.assertEqual((unit["Service", "Type"], unit["Service", "NotifyAccess"]), (["notify"], ["main"]))
        watchdog, start = (self.seconds(unit["Service", key][0]) for key in ("WatchdogSec", "TimeoutStartSec"))
        self.assertGreater(watchdog, 0)
        self.assertGreaterEqual(start, 60)  # the node asks for a minute more at a time
        # The key by the name under which the node looks for it, and nothing but the credential is read of root's.
        self.assertEqual([c.split(":")[0] for c in unit["Service", "LoadCredential"]], ["cluster.key"])
        # The sockets: those of the example configuration, so the node takes them over instead of refusing to start.
        sockets = self.assigned(self.socket)
        unix, tcp = sockets["Socket", "ListenStream"]
        self.assertEqual(unix, os.path.join("/run", unit["Service", "RuntimeDirectory"][0], "node.sock"))
        self.assertTrue(tcp.endswith(":4710"))
        self.assertEqual(unit["Service", "RuntimeDirectoryPreserve"], ["yes"])  # else a stop would remove the socket
        self.assertEqual(sockets["Install", "WantedBy"], ["sockets.target"])
        self.assertNotIn(("Socket", "Accept"), sockets)  # the node accepts
        self.assertNotIn(("Socket", "Service"), sockets)  # that of the same name

    @unittest.skipUnless(shutil.which("systemd-analyze"), "systemd-analyze is not installed")
    def test_the_manager_reads_them(self):
        env = clean_env(SYSTEMD_UNIT_PATH=self.path("units") + ":")
        for unit in ("cairnd@node0.service", "cairnd@node0.socket"):
            r = run("systemd-analyze", "verify", "--man=no", self.path("units", unit), env=env)
            self.assertEqual((r.code, [l for l in r.err.splitlines() if "cairnd" in l]), (0, []), r)

    @unittest.skipUnless(shutil.which("systemd-analyze"), "systemd-analyze is not installed")
    def test_it_is_hardened(self):
        rated = run("systemd-analyze", "security", "--offline=true", "--threshold=30", "--no-pager", self.unit)
        self.assertEqual(rated.code, 0, rated.out[-2000:])
        # And a unit without any of it is not, so the threshold means something.
        with open(self.unit) as f:
            bare = re.sub(r"^(NoNew|Capability|Protect|Private|Restrict|SystemCall|Memory|Lock|Device|User|Group).*\n", "",
                          f.read(), flags=re.M)
        rated = run("systemd-analyze", "security", "--offline=true", "--threshold=30", "--no-pager",
                    self.write("bare/cairnd@.service", bare.encode()))
        self.assertNotEqual(rated.code, 0)


if __name__ == "__main__":
    main()
