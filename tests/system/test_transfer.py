"""import, export and verify: whole trees, interrupted ones, damaged ones, hostile ones."""

import filecmp
import json
import os
import random
import shutil
import signal
import subprocess
import time

from systest import *


class Transfer(Case):
    def setUp(self):
        super().setUp()
        self.n = self.node().start()
        self.ok(self.n.cairn("ns", "create", "ns1"))

    def make_tree(self, name="tree", files=300):
        rng = random.Random(7)
        sizes = [0, 1, 100, 5000, 32768, 32769, 100000, 1 << 20, (1 << 20) + 1]
        expected = {}
        for i in range(files):
            path = "d%d/e.%d/f-%d" % (i % 7, i % 3, i)
            size = sizes[i] if i < len(sizes) else rng.choice(sizes[:5])
            expected[path] = rng.randbytes(size)
            self.write(os.path.join(name, path), expected[path])
        self.write(os.path.join(name, "d0.x"), b"sorts before d0/")
        expected["d0.x"] = b"sorts before d0/"
        return expected

    def same_trees(self, a, b):
        c = filecmp.dircmp(a, b)
        self.assertEqual((c.left_only, c.right_only, c.funny_files), ([], [], []))
        _, mismatch, errors = filecmp.cmpfiles(a, b, c.common_files, shallow=False)
        self.assertEqual((mismatch, errors), ([], []))
        for sub in c.common_dirs:
            self.same_trees(os.path.join(a, sub), os.path.join(b, sub))

    def test_there_and_back(self):
        expected = self.make_tree()
        total = sum(len(d) for d in expected.values())
        r = self.ok(self.n.cairn("--json", "import", "--prefix", "p/", "ns1", self.path("tree"))).json
        self.assertEqual((r["files"], r["bytes"], r["skipped"], r["failed"]), (len(expected), total, 0, 0))
        keys = self.n.cairn("ls", "-0", "ns1").out.split("\0")[:-1]
        self.assertEqual(keys, sorted("p/" + k for k in expected))
        self.ok(self.n.cairn("verify", "--prefix", "p/", "ns1", self.path("tree")))
        said = self.ok(self.n.cairn("import", "--prefix", "q", "ns1", self.path("tree"))).err
        self.assertIn("--prefix q ends in no slash: the file a/b gets the key qa/b", said)
        self.ok(self.n.cairn("rm", "--prefix", "ns1", "q"))
        self.ok(self.n.cairn("verify", "ns1"))
        r = self.ok(self.n.cairn("--json", "export", "--prefix", "p/", "ns1", self.path("out"))).json
        self.assertEqual((r["files"], r["bytes"]), (len(expected), total))
        self.same_trees(self.path("tree"), self.path("out"))
        leftovers = [f for _, _, fs in os.walk(self.path("out")) for f in fs if f.startswith(".cairn")]
        self.assertEqual(leftovers, [])

    def test_a_large_file_over_each_transport(self):
        data = random.Random(3).randbytes(1 << 20) * 40 + b"tail"
        self.write("large/file", data)
        for i, address in enumerate((self.n.address, self.n.tcp_address())):
            prefix = "t%d/" % i
            argv = ["--workspace", self.n.workspace, "--address", address]
            self.ok(run(CAIRN, *argv, "import", "--prefix", prefix, "ns1", self.path("large")))
            self.ok(run(CAIRN, *argv, "verify", "--prefix", prefix, "ns1", self.path("large")))
            self.ok(run(CAIRN, *argv, "export", "--prefix", prefix, "ns1", self.path("out%d" % i)))
            self.same_trees(self.path("large"), self.path("out%d" % i))

    def test_again_only_what_is_missing(self):
        expected = self.make_tree()
        self.ok(self.n.cairn("import", "ns1", self.path("tree")))
        self.ok(self.n.cairn("rm", "ns1", "d0.x", "d1/e.1/f-1"))
        r = self.ok(self.n.cairn("--json", "import", "ns1", self.path("tree"))).json
        self.assertEqual((r["files"], r["skipped"]), (2, len(expected) - 2))
        self.ok(self.n.cairn("export", "ns1", self.path("out")))
        os.unlink(self.path("out", "d0.x"))
        self.write("out/d1/e.1/f-1", b"other length")
        r = self.ok(self.n.cairn("--json", "export", "ns1", self.path("out"))).json
        self.assertEqual((r["files"], r["skipped"]), (2, len(expected) - 2))
        self.same_trees(self.path("tree"), self.path("out"))

    def test_comparing_finds_what_has_the_same_size(self):
        expected = self.make_tree(files=40)
        self.ok(self.n.cairn("import", "ns1", self.path("tree")))
        self.ok(self.n.cairn("export", "ns1", self.path("out")))
        for path in ("d3/e.0/f-3", "d1/e.2/f-8"):  # one in a batch, one large
            changed = bytes(b ^ 1 for b in expected[path])
            self.write("tree/" + path, changed)
        r = self.fails(self.n.cairn("--json", "verify", "ns1", self.path("tree")), FAILED)
        self.assertEqual([f["code"] for f in r.json["failures"]], ["DIFFERS"] * 2)
        r = self.fails(self.n.cairn("verify", "ns1", self.path("tree")), FAILED)
        self.assertEqual(r.err.count("the stored bytes differ from the file"), 2)
        r = self.ok(self.n.cairn("--json", "import", "ns1", self.path("tree")))
        self.assertEqual((r.json["files"], r.json["sizes_only"]), (0, True))
        last = json.loads(r.err.splitlines()[-1])["progress"]
        self.assertEqual((last["files"], last["bytes_per_s"]), (len(expected), 0))  # nothing was moved
        self.assertIn("by size; --compare", self.ok(self.n.cairn("import", "ns1", self.path("tree"))).out)
        self.assertEqual(self.ok(self.n.cairn("--json", "import", "-c", "ns1", self.path("tree"))).json["files"], 2)
        self.ok(self.n.cairn("verify", "ns1", self.path("tree")))
        self.assertEqual(self.ok(self.n.cairn("--json", "export", "ns1", self.path("out"))).json["files"], 0)
        self.ok(self.n.cairn("export", "-c", "ns1", self.path("out")))
        self.same_trees(self.path("tree"), self.path("out"))

    def test_verify_names_what_only_one_side_has(self):
        self.make_tree(files=20)
        self.ok(self.n.cairn("import", "ns1", self.path("tree")))
        self.ok(self.n.cairn("rm", "ns1", "d0.x"))
        self.ok(self.n.cairn("put", "-v", "x", "ns1", "extra"))
        self.ok(self.n.cairn("put", "-v", "longer than it was", "ns1", "d1/e.1/f-1"))
        r = self.fails(self.n.cairn("verify", "ns1", self.path("tree")), FAILED, "d0.x: the file is not stored",
                       "extra: stored, but there is no such file", "another length")
        failures = self.n.cairn("--json", "verify", "ns1", self.path("tree")).json["failures"]
        self.assertEqual(sorted(f["key"] for f in failures), ["d0.x", "d1/e.1/f-1", "extra"])

    def test_links_and_special_files_are_left_out_and_counted(self):
        self.write("tree/file", b"x")
        os.symlink("file", self.path("tree", "link"))
        os.symlink("/nonexistent", self.path("tree", "dangling"))
        os.mkfifo(self.path("tree", "pipe"))
        os.mkdir(self.path("tree", "empty"))
        r = self.ok(self.n.cairn("--json", "import", "ns1", self.path("tree"))).json
        self.assertEqual((r["files"], r["symlinks"], r["special"], r["empty_directories"]), (1, 2, 1, 1))
        out = self.ok(self.n.cairn("import", "ns1", self.path("tree"))).out
        self.assertIn("; 2 symbolic links left out; 1 special file left out; 1 empty directory left out\n", out)
        self.fails(self.n.cairn("import", "--strict", "ns1", self.path("tree")), FAILED)
        for help in (run(CAIRN, "import", "--help").out, run(CAIRN, "help", "--man").out.replace("\\-", "-")):
            self.assertIn("not their modes, owners and times", " ".join(help.split()))
        for name in ("link", "dangling", "pipe"):
            os.unlink(self.path("tree", name))
        os.rmdir(self.path("tree", "empty"))
        self.assertNotIn("left out", self.ok(self.n.cairn("import", "--strict", "ns1", self.path("tree"))).out)
        self.ok(self.n.cairn("verify", "ns1", self.path("tree")))

    def test_keys_that_lead_out_are_not_followed(self):
        for key in ("../evil", "/etc/evil", "a/../../evil", "a//b", "fine/file"):
            self.ok(self.n.cairn("put", "-v", "x", "ns1", "--", key))
        os.makedirs(self.path("out"))
        os.symlink(self.base, self.path("out", "link"))
        self.ok(self.n.cairn("put", "-v", "x", "ns1", "link/planted"))
        r = self.n.cairn("--json", "export", "ns1", self.path("out"))
        self.assertEqual(r.code, FAILED, str(r))
        self.assertEqual((r.json["files"], r.json["failed"]), (1, 5))
        self.assertTrue(os.path.exists(self.path("out", "fine", "file")))
        self.assertFalse(os.path.exists(self.path("planted")))
        self.assertFalse(os.path.exists(self.path("evil")))

    def test_a_key_that_is_also_a_directory(self):
        self.ok(self.n.cairn("put", "-v", "x", "ns1", "a"))
        self.ok(self.n.cairn("put", "-v", "y", "ns1", "a/b"))
        r = self.n.cairn("--json", "export", "ns1", self.path("out"))
        self.assertEqual((r.code, r.json["files"], r.json["failed"]), (FAILED, 1, 1))

    def test_names_of_any_bytes(self):
        root = os.fsencode(self.path("tree"))
        os.makedirs(root + b"/d\xff")
        for name in (b"d\xff/\x01\n", b"sp ace", b"-dash", "\u00e9".encode()):
            with open(root + b"/" + name, "wb") as f:
                f.write(name)
        self.ok(self.n.cairn("import", "ns1", self.path("tree")))
        self.ok(self.n.cairn("--json", "ls", "ns1")).json
        self.ok(self.n.cairn("export", "ns1", self.path("out")))
        self.same_trees(self.path("tree"), self.path("out"))

    def test_a_file_that_changes_leaves_the_older_value(self):
        def cut(path):
            os.truncate(path, 100 << 20)

        def touch(path):
            with open(path, "r+b") as f:
                f.write(b"x")

        os.mkdir(self.path("tree"))
        path, old = self.path("tree", "f"), random.Random(5).randbytes(3 << 20)
        for change in (cut, touch):
            self.fails(self.change_while_read(path, change, "import", "ns1", self.path("tree")), FAILED, "changed while it was read")
            self.fails(self.n.cairn("get", "ns1", "f"), FAILED)
        for change in (cut, touch):
            self.ok(self.n.cairn("put", "ns1", "f", self.write("old", old)))
            self.fails(self.change_while_read(path, change, "import", "ns1", self.path("tree")), FAILED, "changed while it was read")
            back = self.n.cairn("get", "ns1", "f", text=False)
            self.assertEqual((back.code, back.out == old), (OK, True))

    def test_interrupted_and_gone_on_with(self):
        expected = self.make_tree(files=3000)
        for attempt in tries("an import that was not over before the interrupt"):
            prefix = ["--prefix", "t%d/" % attempt]
            p = subprocess.Popen([CAIRN, "import", "--jobs", "1", *prefix, "ns1", self.path("tree")], stdout=subprocess.PIPE,
                                 stderr=subprocess.PIPE, env=clean_env(CAIRN_WORKSPACE=self.n.workspace))
            wait_for("the first objects",
                     lambda: self.n.cairn("ls", "-n", "1", "ns1", prefix[1]).out != "" or p.poll() is not None)
            p.send_signal(signal.SIGINT)
            p.communicate(timeout=DEADLINE_S)
            self.assertIn(p.returncode, (-signal.SIGINT, OK))
            if p.returncode != OK:
                break
        self.assertEqual(p.returncode, -signal.SIGINT)
        self.ok(self.n.cairn("verify", "ns1"))
        r = self.ok(self.n.cairn("--json", "import", *prefix, "ns1", self.path("tree"))).json
        self.assertEqual(r["files"] + r["skipped"], len(expected))
        self.assertGreater(r["skipped"], 0)
        self.ok(self.n.cairn("verify", *prefix, "ns1", self.path("tree")))

    def interrupt_amid_silence(self, argv, sig):
        p = subprocess.Popen([CAIRN, "--timeout", "100s", *argv], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                             env=clean_env(CAIRN_WORKSPACE=self.n.workspace))
        # It catches signals once it has found the namespace; then the node falls silent.
        while len(os.listdir("/proc/%d/task" % p.pid)) <= 4 and p.poll() is None:  # not for long: it ends by itself
            time.sleep(0.0005)
        self.n.process.send_signal(signal.SIGSTOP)
        if p.poll() is None:
            p.send_signal(sig)
        began = time.monotonic()
        out, err = p.communicate(timeout=DEADLINE_S)
        took = time.monotonic() - began
        self.n.process.send_signal(signal.SIGCONT)
        self.assertIn(p.returncode, (-sig, OK), err)
        self.assertLess(took, 30)
        if p.returncode != OK and argv[0] != "--json":
            self.assertIn(b"interrupted; the same command goes on", err)
            self.assertNotIn(b"failed", out)
        elif p.returncode != OK and out:
            self.assertFalse(json.loads(out)["complete"])
        return p.returncode

    def test_interrupted_while_the_node_does_not_answer(self):
        """Ctrl-C ends it at once, whatever --timeout says, and puts away what is half done."""
        self.write("tree/large", random.Random(5).randbytes(4 << 20))
        for i in range(200):
            self.write("tree/%d" % i, b"x" * 50000)
        self.ok(self.n.cairn("import", "ns1", self.path("tree")))
        for argv, sig in ((["import", "--all", "ns1", self.path("tree")], signal.SIGINT),
                          (["export", "ns1", self.path("out")], signal.SIGTERM),
                          (["verify", "ns1"], signal.SIGINT), (["--json", "verify", "ns1"], signal.SIGINT)):
            with self.subTest(argv[0]):
                for _ in tries("a transfer that was not over before the interrupt"):
                    if argv[0] == "export":
                        shutil.rmtree(self.path("out"), ignore_errors=True)
                    if self.interrupt_amid_silence(argv, sig) != OK:
                        break
        leftovers = [f for _, _, fs in os.walk(self.path("out")) for f in fs if f.startswith(".cairn")]
        self.assertEqual(leftovers, [])
        self.ok(self.n.cairn("import", "ns1", self.path("tree")))
        self.ok(self.n.cairn("verify", "ns1", self.path("tree")))

    def test_a_silent_node_ends_it_after_a_few_calls(self):
        """One --timeout for each of many batches would be hours; a few calls in a row say as much."""
        for i in range(40):  # each a batch of its own
            self.write("tree/%02d" % i, random.Random(i).randbytes((1 << 20) + 1))
        for i in range(300):  # and with --compare each of these is a call of its own
            self.write("tree/small%03d" % i, b"x" * 100)
        self.ok(self.n.cairn("import", "ns1", self.path("tree")))
        ended = 0
        for argv in (["import", "--all"], ["import", "--compare"], ["export"], ["verify"]):
            with self.subTest(argv):
                to = [self.path("out")] if argv[0] == "export" else [self.path("tree")]
                p = subprocess.Popen([CAIRN, "--timeout", "2s", *argv, "--jobs", "1", "ns1", *to], stdout=subprocess.PIPE,
                                     stderr=subprocess.PIPE, text=True, env=clean_env(CAIRN_WORKSPACE=self.n.workspace))
                wait_for("the transfer", lambda: len(os.listdir("/proc/%d/task" % p.pid)) > 2 or p.poll() is not None)
                self.n.process.send_signal(signal.SIGSTOP)
                began = time.monotonic()
                try:
                    _, err = p.communicate(timeout=DEADLINE_S)
                finally:
                    self.n.process.send_signal(signal.SIGCONT)
                if p.returncode == OK:
                    continue  # it was faster
                ended += p.returncode == TIMEOUT
                self.assertIn(p.returncode, (TIMEOUT, UNREACHABLE), err)  # the latter: amid its connecting
                self.assertIn("stopped; the same command goes on where this one ended", err)
                self.assertLess(time.monotonic() - began, 60)
        self.assertGreater(ended, 0)
        self.ok(self.n.cairn("import", "--compare", "ns1", self.path("tree")))
        self.ok(self.n.cairn("verify", "ns1", self.path("tree")))

    def test_an_ignored_interrupt_stays_ignored(self):
        self.make_tree(files=300)
        p = subprocess.Popen([CAIRN, "import", "ns1", self.path("tree")], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                             env=clean_env(CAIRN_WORKSPACE=self.n.workspace),
                             preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN))
        while p.poll() is None:
            p.send_signal(signal.SIGINT)
            time.sleep(0.01)
        p.communicate()
        self.assertEqual(p.returncode, OK)

    def test_the_node_dies_meanwhile(self):
        expected = self.make_tree(files=3000)
        p = subprocess.Popen([CAIRN, "--timeout", "2s", "import", "--jobs", "2", "ns1", self.path("tree")],
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                             env=clean_env(CAIRN_WORKSPACE=self.n.workspace))
        wait_for("the first objects", lambda: self.n.cairn("ls", "-n", "1", "ns1").out != "" or p.poll() is not None)
        self.n.kill()
        _, err = p.communicate(timeout=DEADLINE_S)
        self.assertIn(p.returncode, (UNREACHABLE, TIMEOUT, OK), err)
        if p.returncode != OK:
            self.assertIn(b"stopped; the same command goes on where this one ended", err)
        self.n.start()
        self.ok(self.n.cairn("import", "ns1", self.path("tree")))
        self.ok(self.n.cairn("verify", "ns1", self.path("tree")))

    def test_what_cannot_be_read_or_written(self):
        self.fails(self.n.cairn("import", "ns1", self.path("nowhere")), FAILED, "nowhere")
        self.write("file", b"")
        self.fails(self.n.cairn("import", "ns1", self.path("file")), FAILED)
        self.fails(self.n.cairn("export", "ns1", self.path("file")), FAILED)
        self.fails(self.n.cairn("export", "ns1", self.path("a", "b")), FAILED)
        self.fails(self.n.cairn("import", "nons", self.base), FAILED, "nons")

    def test_write_once(self):
        self.ok(self.n.cairn("ns", "create", "--write-once", "once"))
        self.write("tree/f", b"first")
        self.ok(self.n.cairn("import", "once", self.path("tree")))
        self.write("tree/f", b"second one")
        self.fails(self.n.cairn("import", "once", self.path("tree")), FAILED, "f: ")
        self.assertEqual(self.n.cairn("get", "once", "f").out, "first")
        # Not replaced is not kept for ever: removed, and stored anew.
        self.ok(self.n.cairn("rm", "once", "f"))
        self.ok(self.n.cairn("import", "once", self.path("tree")))


if __name__ == "__main__":
    main()
