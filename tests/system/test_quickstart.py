"""deploy/quickstart and the README: what a stranger does first."""

import json
import os
import re
import shutil
import signal
import subprocess
import unittest

from systest import *

QUICKSTART = os.path.join(SOURCE, "deploy", "quickstart")


def processes_below(directory):
    """Numbers of the processes whose command line names a path below the directory."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open("/proc/%s/cmdline" % pid, "rb") as f:
                if os.fsencode(directory) in f.read():
                    found.append(int(pid))
        except OSError:
            pass
    return found


def processes_of(session):
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open("/proc/%s/stat" % pid) as f:
                state, _, _, sid = f.read().rsplit(")", 1)[1].split()[:4]
            if int(sid) == session and state != "Z":
                found.append(open("/proc/%s/cmdline" % pid).read())
        except OSError:
            pass
    return found


class Quickstart(Case):
    def make_tree(self, files):
        for i in range(files):
            self.write("tree/%d/%d" % (i % 10, i), os.urandom(100 + 37 * (i % 3000)))
        return self.path("tree")

    def argv(self, *more):
        return [QUICKSTART, "--build-dir", BUILD, *more]

    def test_there_and_back(self):
        tree = self.make_tree(500)
        os.mkdir(self.path("tmp"))
        r = self.ok(run(*self.argv("--clean", tree), env=clean_env(TMPDIR=self.path("tmp"))))
        self.assertIn("Everything came back", r.out)
        self.assertRegex(r.out, r"objects +500\b")
        self.assertEqual(os.listdir(self.path("tmp")), [])
        self.assertEqual(processes_below(self.base), [])

    def test_a_directory_without_files_is_refused(self):
        os.makedirs(self.path("empty", "below"))
        self.fails(run(*self.argv(self.path("empty"))), USAGE, "holds no file")

    def test_a_build_is_looked_for_from_where_one_stands(self):
        os.makedirs(self.path("empty"))
        os.symlink(BUILD, self.path("a build"))
        self.fails(run("bash", "-c", 'cd "$1" && "$2" --build-dir "a build" empty', "-", self.base, QUICKSTART), USAGE,
                   "holds no file")
        self.fails(run(QUICKSTART, "--build-dir", "nowhere"), USAGE, "the directory of a build, not 'nowhere'")

    def test_the_data_stays_unless_cleaned(self):
        tree = self.make_tree(20)
        os.mkdir(self.path("tmp"))
        r = self.ok(run(*self.argv(tree), env=clean_env(TMPDIR=self.path("tmp"))))
        kept = re.search(r"^  data +(\S+)$", r.out, re.M).group(1)
        self.assertTrue(os.path.isdir(kept))
        self.assertEqual(sorted(os.listdir(os.path.dirname(kept))), ["data", "node.log", "status.txt", "workspace"])

    def test_what_it_says_last_works_from_a_long_path_with_blanks(self):
        tree = self.make_tree(20)
        long = self.path("a long way to go " + 80 * "x")
        os.mkdir(long)
        r = self.ok(run(*self.argv(tree), env=clean_env(TMPDIR=long)))
        sockets = os.path.dirname(os.path.dirname(re.search(r"^  socket +(.+) \(while", r.out, re.M).group(1)))
        self.addCleanup(shutil.rmtree, sockets, ignore_errors=True)
        lines = r.out.split("To go on with this node:\n")[1]
        again = self.ok(run("bash", "-c", lines + "rc=$?; kill %1; wait; exit $rc", env=clean_env()))
        self.assertRegex(again.out, r"(?m) 3/13$")

    def test_an_interrupt_leaves_no_process_behind(self):
        tree = self.make_tree(3000)
        with open(self.path("tree", "large"), "wb") as f:
            f.truncate(300 << 20)  # that a comparison goes on for a while
        os.mkdir(self.path("tmp"))
        for sig, step in ((signal.SIGINT, b"import"), (signal.SIGTERM, b"import"), (signal.SIGINT, b"compare")):
            p = subprocess.Popen(self.argv(tree), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
                                 env=clean_env(TMPDIR=self.path("tmp")))
            for line in p.stdout:
                if step in line:
                    break
            # As a terminal does: to all of the foreground.
            os.killpg(p.pid, sig)
            p.wait(timeout=DEADLINE_S)
            self.assertEqual(processes_of(p.pid), [])
            p.communicate()
            self.assertIn(p.returncode, (130, 143))
            self.assertEqual(processes_below(self.path("tmp")), [])
            self.assertEqual(os.listdir(self.path("tmp")), [])

    @unittest.skipUnless(shutil.which("etcd") and shutil.which("openssl"), "etcd or openssl is not installed")
    def test_a_cluster_outlives_a_node(self):
        tree = self.make_tree(1500)
        self.write("tree/large", os.urandom((3 << 20) + 1))
        tmp = self.path("a long way to go " + 80 * "x")
        os.mkdir(tmp)
        # Programs that write down how they are called.
        os.makedirs(self.path("build/bin"))
        os.symlink(os.path.join(BUILD, "bin", "cairnd"), self.path("build/bin/cairnd"))
        self.write("build/bin/cairn", b'#!/bin/sh\necho "$@" >>%s\nexec %s "$@"\n' % (self.path("called").encode(), CAIRN.encode()))
        os.chmod(self.path("build/bin/cairn"), 0o755)
        for _ in range(4):  # where others have the processor it may be late for the middle, and says so
            r = self.ok(run(QUICKSTART, "--build-dir", self.path("build"), "--nodes", "3", tree, env=clean_env(TMPDIR=tmp),
                            timeout=3 * DEADLINE_S))
            if ": too late" not in r.out:
                break
            os.remove(self.path("called"))
        self.assertIn("Everything came back", r.out)
        self.assertIn("deploy/jobs/cairn-local --nodes 3 --bin %s/bin -- bash\n" % self.path("build"), r.out)
        with open(self.path("called")) as f:  # both replicas first; and no call gives up before a slow take-over is done
            calls = re.findall(r"cluster.key (.*(?:ns create|wait-ready --whole|import --prefix).*)", f.read())
        self.assertEqual([" ".join(call.split()[:4]) for call in calls],
                         ["--timeout 60s ns create", "wait-ready --whole --timeout 60s", "--timeout 2m import --prefix"])
        self.assertRegex(r.out, r"objects +1501\b")
        stored = int(re.search(r"^  killed +when (\d+) of 1501 objects were stored$", r.out, re.M).group(1))
        self.assertTrue(0 < stored < 1501, r.out)  # in the middle of the import
        for figure in ("detection", "take-over", "repair"):
            seconds = float(re.search(r"^  %s +([\d.]+) s from" % figure, r.out, re.M).group(1))
            self.assertTrue(0 < seconds < 3 * DEADLINE_S, r.out)
        self.assertEqual(os.listdir(tmp), [])
        self.assertEqual(processes_below(self.base), [])

    @unittest.skipUnless(shutil.which("etcd") and shutil.which("openssl"), "etcd or openssl is not installed")
    def test_an_interrupt_leaves_no_cluster_behind(self):
        tree = self.make_tree(1500)
        os.mkdir(self.path("tmp"))
        for word in (b"an etcd of three", b"import", b"verify every byte while"):
            p = subprocess.Popen(self.argv("--nodes", "3", tree), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                 start_new_session=True, env=clean_env(TMPDIR=self.path("tmp")))
            for line in p.stdout:
                if line.startswith(b"==>") and word in line:
                    break
            os.killpg(p.pid, signal.SIGINT)
            out, _ = p.communicate(timeout=DEADLINE_S)
            self.assertEqual(p.returncode, 130, out)
            self.assertEqual(processes_below(self.path("tmp")), [])
            self.assertEqual(os.listdir(self.path("tmp")), [])

    def test_it_reads_what_the_cluster_says_and_not_what_a_node_does(self):
        """A node's group has counts of the same names, and comes first; of several classes of slots each has its own."""
        def say(slots, *states):
            status = {"providers": [{"type": "group", "silent": 0}, {"type": "cluster", "silent": 7, "degraded": 7}]}
            if slots is not None:
                status["cluster"] = {"members": [{"name": "node1", "slots": 4}], "slots": slots, "classes": [{"degraded": 9}]}
            self.write("status", json.dumps(status, indent=2).encode())
            self.write("members", "".join("node%d  %s  5  5\n" % (i + 1, s) for i, s in enumerate(states)).encode())

        def read(what):
            asked = """set -euo pipefail; . "$1"; pids=([1]=1 [2]=2)
                at() { case $* in "1 "*) return 3 ;; *status*) cat "$dir/status"; return 5 ;; *) cat "$dir/members" ;; esac; }
                dir=$2; """
            return self.ok(run("bash", "-c", asked + what, "bash", QUICKSTART + "-nodes.sh", self.base)).out

        whole = {"all": 8, "degraded": 0, "unserved": 0, "takeover": 0, "lost": 0, "moving": 0}
        say(whole, "up", "silent")
        self.assertEqual(read("state_of 1; state_of 2; lacking"), "up\nsilent\n0\n")
        for count in ("degraded", "takeover", "lost"):
            say({**whole, count: 3}, "up", "up")
            self.assertEqual(read("lacking; until_says 0 0 lacking || echo waits"), "3\nwaits\n")
        for slots in (None, {**whole, "all": 0}):
            say(slots)
            self.assertEqual(read("lacking; state_of 1"), "")

    def test_usage(self):
        self.assertEqual(run(QUICKSTART, "--no-such").code, USAGE)
        for n in ("2", "x", "10"):
            self.fails(run(*self.argv("--nodes", n)), USAGE, "from 3 to 9")
        self.assertEqual(run(QUICKSTART, self.path("nowhere")).code, USAGE)
        self.assertIn("--clean", self.ok(run(QUICKSTART, "--help")).out)


class Readme(Case):
    def setUp(self):
        super().setUp()
        with open(os.path.join(SOURCE, "README.md")) as f:
            self.text = f.read()

    def test_the_example_is_the_one_that_is_compiled(self):
        with open(os.path.join(SOURCE, "sdk", "examples", "hello.c")) as f:
            example = f.read()
        blocks = re.findall(r"^```c\n(.*?)^```", self.text, re.M | re.S)
        self.assertIn(example, blocks)

    def test_commands_and_paths_are_there(self):
        for command in ("deploy/quickstart", "tests/run"):
            self.assertIn(command, self.text)
        for link in re.findall(r"\]\(([^)#:]+)\)", self.text):
            self.assertTrue(os.path.exists(os.path.join(SOURCE, link)), link)
        for path in re.findall(r"`((?:proto|sdk|server|providers|tools|deploy|tests|\.ci)/[\w./-]*)`", self.text):
            self.assertTrue(os.path.exists(os.path.join(SOURCE, path)), path)

    def test_every_folder_of_the_second_level_says_what_it_is_for(self):
        for top in ("sdk", "server", "providers", "tools", "tests"):
            for name in sorted(os.listdir(os.path.join(SOURCE, top))):
                folder = os.path.join(SOURCE, top, name)
                if os.path.isdir(folder) and not name.startswith((".", "__")):
                    with self.subTest(folder):
                        self.assertTrue(os.path.exists(os.path.join(folder, "README.md")))


if __name__ == "__main__":
    main()
