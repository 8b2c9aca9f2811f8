"""Who may enter, and as whom: the cluster key, a real MUNGE daemon, several users, and nobody at all."""

import os
import pwd
import shutil
import subprocess

from systest import *


def can_be_other_users():
    return os.geteuid() == 0


class Identity(Case):
    def setUp(self):
        super().setUp()
        os.chmod(self.base, 0o755)

    def over_tcp(self, node, *args, key=None, user=None, **env):
        """The CLI with an empty workspace: it knows the address, and a key only if it is given one."""
        empty = self.path("empty")
        os.makedirs(empty, exist_ok=True)
        if key is not None:
            shutil.copy(key, os.path.join(empty, "cluster.key"))
            os.chmod(os.path.join(empty, "cluster.key"), 0o600)
        elif os.path.exists(os.path.join(empty, "cluster.key")):
            os.unlink(os.path.join(empty, "cluster.key"))
        argv = [CAIRN, "-a", node.tcp_address(), "-w", empty, *args]
        env = clean_env(**env)
        if user is not None:
            return Result(subprocess.run(argv, capture_output=True, text=True, env=env, user=user, group=user, extra_groups=[],
                                         timeout=DEADLINE_S))
        return run(*argv, env=env)

    def test_the_cluster_key_opens_tcp_and_nothing_else_does(self):
        n = self.node().start()
        key = os.path.join(n.workspace, "cluster.key")
        self.ok(self.over_tcp(n, "status", key=key))
        without = self.over_tcp(n, "status")
        self.fails(without, DENIED)
        self.assertIn("cluster key", without.err)
        self.assertIn(self.path("empty", "cluster.key") + " is not there", without.err)
        self.assertIn("--key FILE", without.err)
        for named in (["--key", key], []):
            env = {} if named else {"CAIRN_KEY": key}
            self.ok(self.over_tcp(n, *named, "status", **env))
        # What is wrong with a key has nothing to do with namespaces and configurations.
        for name, mode, content, said in (("open", 0o644, b"00" * 32, "chmod 600"), ("short", 0o600, b"00", "hexadecimal"),
                                          ("gone", 0, None, "No such file")):
            path = self.path(name)
            if content is not None:
                self.write(name, content)
                os.chmod(path, mode)
            for refused in (self.over_tcp(n, "--key", path, "status"), self.over_tcp(n, "status", CAIRN_KEY=path)):
                self.fails(refused, DENIED, said, "name the cluster key")
                self.assertNotIn("no other file was named", refused.err)
        # The key names no user: whoever holds it is the node's.
        self.ok(self.over_tcp(n, "--key", key, "ns", "create", "ns1"))
        self.assertEqual(n.cairn("ns", "show", "--json", "ns1").json["owner"], os.geteuid())
        wrong = self.write("wrong.key", b"00" * 32 + b"\n")
        self.fails(self.over_tcp(n, "status", key=wrong), DENIED)
        metrics = n.cairn("metrics", "--json").json
        self.assertGreaterEqual(metrics["counters"]["auth_failures"], 2)
        self.assertEqual(n.stop(), 0)

    def test_an_address_may_say_whose_it_is(self):
        n = self.node("n1", args=("--set", "node.name=n1")).start()
        key = os.path.join(n.workspace, "cluster.key")

        def at(name, *more):
            return run(CAIRN, "-a", n.tcp_address() + name, "-w", self.path("empty"), "--timeout", "5s", *more, "status")

        self.ok(at("#n1", "--key", key))
        self.fails(at("#n2", "--key", key), UNREACHABLE, "is node n1, not n2")
        self.ok(at("", "--key", key))
        for text in (run(CAIRN, "status", "--help").out, run(CAIRN, "help", "--man").out):
            self.assertIn("#NAME", text)

    def test_insecure_is_said_wherever_one_looks(self):
        n = self.node().start("--insecure")
        self.ok(self.over_tcp(n, "version"))
        self.ok(self.over_tcp(n, "status"))
        self.assertTrue(n.cairn("status", "--json").json["insecure"])
        self.assertIn("insecure", n.log())
        # Whoever comes so is nobody, not an administrator.
        self.fails(self.over_tcp(n, "kv", "list", "kv"), DENIED)
        self.assertEqual(n.stop(), 0)

    def test_a_unix_socket_tells_the_user(self):
        if not can_be_other_users():
            self.skipTest("needs root, to act as another user")
        n = self.node().start()
        other = pwd.getpwnam("nobody").pw_uid
        env = clean_env(CAIRN_ADDRESSES=n.address, CAIRN_WORKSPACE=self.path("none"))

        def as_other(*args):
            return Result(subprocess.run([CAIRN, *args], capture_output=True, text=True, env=env, user=other, group=other,
                                         extra_groups=[], timeout=DEADLINE_S))

        self.ok(n.cairn("ns", "create", "--mode", "0600", "private"))
        self.ok(n.cairn("ns", "create", "--mode", "0644", "readable"))
        for ns in ("private", "readable"):
            self.ok(n.cairn("put", "-v", "v", ns, "k"))
        self.assertEqual(as_other("get", "readable", "k").out, "v")
        self.fails(as_other("put", "-v", "w", "readable", "k"), DENIED, "user nobody may not write",
                   "owner %s, group " % pwd.getpwuid(os.geteuid()).pw_name)
        self.fails(as_other("get", "private", "k"), DENIED)
        self.fails(as_other("ns", "remove", "--force", "readable"), DENIED)
        self.fails(as_other("kv", "list", "kv"), DENIED)
        self.ok(as_other("ns", "create", "own"))
        self.ok(as_other("put", "-v", "mine", "own", "k"))
        self.assertEqual(n.cairn("ns", "show", "own", "--json").json["owner"], other)
        self.assertEqual(n.stop(), 0)

    def munged(self):
        """A MUNGE daemon of our own, and its socket."""
        if shutil.which("munged") is None:
            self.skipTest("munged is not installed")
        home = self.path("munge")
        os.makedirs(home, 0o755)
        key = self.write("munge/key", os.urandom(128))
        os.chmod(key, 0o400)
        sock = os.path.join(home, "socket")
        p = subprocess.Popen(["munged", "--foreground", "--key-file=" + key, "--socket=" + sock, "--force",
                              "--pid-file=" + os.path.join(home, "pid"), "--log-file=" + os.path.join(home, "log"),
                              "--seed-file=" + os.path.join(home, "seed")], stdout=subprocess.DEVNULL,
                             stderr=subprocess.DEVNULL)
        self.addCleanup(lambda: (p.kill(), p.wait()))
        wait_for("munged", lambda: os.path.exists(sock) or p.poll() is not None)
        if p.poll() is not None:
            self.skipTest("munged does not run here: exit %d" % p.returncode)
        return sock

    def test_munge_opens_tcp_and_tells_the_user(self):
        sock = self.munged()
        n = self.node().start("--set", "auth.munge=on", "--set", "auth.munge_socket=" + sock)
        self.ok(self.over_tcp(n, "status", CAIRN_MUNGE_SOCKET=sock))
        self.assertTrue(n.cairn("status", "--json").json["munge"])
        if can_be_other_users():
            other = pwd.getpwnam("nobody").pw_uid
            os.makedirs(self.path("empty"), exist_ok=True)
            self.ok(self.over_tcp(n, "ns", "create", "theirs", user=other, CAIRN_MUNGE_SOCKET=sock))
            self.assertEqual(n.cairn("ns", "show", "theirs", "--json").json["owner"], other)
            self.fails(self.over_tcp(n, "kv", "list", "kv", user=other, CAIRN_MUNGE_SOCKET=sock), DENIED)
        self.fails(self.over_tcp(n, "status", CAIRN_MUNGE_SOCKET=self.path("no-such-socket")), DENIED)
        self.assertEqual(n.stop(), 0)

    def test_munge_that_is_asked_for_must_be_there(self):
        n = self.node()
        n.spawn("--set", "auth.munge=on", "--set", "auth.munge_socket=" + self.path("nowhere"))
        self.assertEqual(n.process.wait(DEADLINE_S), FAILED)
        self.assertIn("no munged listens at", n.log())
        n.process = None


if __name__ == "__main__":
    main()
