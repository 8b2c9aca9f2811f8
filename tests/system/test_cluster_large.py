"""Values of many MiB in a namespace that is spread over nodes: each replica has them, whoever dies."""

import os
import random
import shutil
import signal
import subprocess
import threading
import time

from systest import CAIRN, FAILED, OK, clean_env, main, run, tries, wait_for
from test_cluster import CLIENT, ClusterCase

MIB = 1 << 20
FILES = [0, 1, 4000, 70000, 700000, MIB - 68, MIB - 67, MIB, 3 * MIB + 17, 8 * MIB, 8 * MIB + 1, 23 * MIB + 5, 64 * MIB]


class ClusterLarge(ClusterCase):
    def begin_large(self):
        self.extra = ("--set", "router.sweep_interval=200ms", "--set", "cluster.checkpoint_interval=1s")
        self.begin()
        self.coordinator()
        self.key = ("--key", self.path("key"))
        self.create("data", 2)
        # What was given to a node that has left the slot before an entry named it is pinned there for ten minutes.
        wait_for("slots that stay where they are", self.is_spread)

    def node(self, name, args=()):
        return super().node(name, args=(*args, *self.extra))

    def cairn(self, node, *argv, **kw):
        return node.cairn(*self.key, *argv, **kw)

    def tree(self, name, sizes, seed):
        made = random.Random(seed)
        for i, size in enumerate(sizes):
            self.write(os.path.join(name, "d%d" % (i % 3), "f%d" % i), made.randbytes(size))
        return self.path(name)

    def same(self, node, prefix, source):
        """What @node gives of the namespace is what @source has, byte for byte."""
        out = self.path("out")
        self.ok(self.cairn(node, "export", "--prefix", prefix, "data", out))
        subprocess.run(["diff", "-r", source, out], check=True)
        shutil.rmtree(out)
        self.ok(self.cairn(node, "verify", "--prefix", prefix, "data", source))

    def regions(self):
        """How many regions each node that is up has."""
        found = {}
        for n in self.up():
            providers = n.cairn("status", "--json").json["providers"]
            found[n.name] = next(p for p in providers if p["type"] == "extent")["regions"]
        return found

    def raw(self, node, *args):
        return run(CLIENT, node.address, *[str(a) for a in args])

    def leader(self, key):
        """The slot of a key and the node that leads it."""
        found = []

        def led():
            doc = self.ok(self.cairn(self.up()[0], "where", "--json", "data", key)).json
            names = [r["name"] for r in doc.get("replicas", []) if r["role"] == "primary"]
            found[:] = [(doc["slot_id"], n) for n in self.up() if n.name in names]
            return found

        wait_for("a leader", led)
        return found[0]

    def test_a_tree_outlives_each_node(self):
        self.begin_large()
        first, second, third = self.all
        source = self.tree("source", FILES, 3)
        self.ok(self.cairn(first, "import", "--prefix", "a/", "data", source))
        self.same(second, "a/", source)
        wait_for("all replicas", self.is_whole)
        parts = sum((size + 8 * MIB - 1) // (8 * MIB) for size in FILES if size > MIB - 68)
        wait_for("two of each region", lambda: sum(self.regions().values()) == 2 * parts)

        # Some of a value.
        got = self.ok(self.cairn(third, "get", "--offset", str(20 * MIB), "--length", "1000", "data", "a/d2/f11",
                                 self.path("some")))
        with open(self.path("some"), "rb") as f, open(os.path.join(source, "d2", "f11"), "rb") as whole:
            whole.seek(20 * MIB)
            self.assertEqual(f.read(), whole.read(1000), got)

        # A COMMIT that comes again, as after an answer that was lost, is answered as it was, by whoever leads then.
        sessions = []

        def is_uploaded():
            slot, leads = self.leader("once")
            told = self.raw(leads, "upload", "data", "once", slot, 77 + len(sessions))
            sessions.append(told.out.split())
            return told.code == OK

        wait_for("an upload", is_uploaded)
        slot, session, upload = self.leader("once")[0], sessions[-1], 77 + len(sessions) - 1
        commit = ("commit", "data", "once", slot, upload, *session, 1)
        for i in range(2):
            wait_for("its answer", lambda: self.raw(self.leader("once")[1], *commit).code == OK)
        parts += 1

        # One dies: the others have all of it, take more, and give it to whoever holds a slot then.
        later = self.tree("later", [2 * MIB, 9 * MIB, 17 * MIB, 5], 4)
        for victim, left in ((second, third), (third, first), (first, second)):
            victim.kill()
            self.same(left, "a/", source)
            self.ok(self.cairn(left, "import", "--prefix", victim.name + "/", "data", later))
            self.same(left, victim.name + "/", later)
            victim.start()
            wait_for("all replicas", self.is_whole)
            wait_for("its answer", lambda: self.raw(self.leader("once")[1], *commit).code == OK)
        wait_for("a refusal", lambda: "CAIRN_E_INVAL" in  # not MOVED, nor BUSY: that it was not done is certain
                 self.raw(self.leader("once")[1], "commit", "data", "once", slot, upload + 1, *session, 2).err)
        for n in self.all:
            self.same(third, n.name + "/", later)
        self.same(first, "a/", source)

        # What is replaced or deleted is given back everywhere.
        for n in self.all:
            self.ok(self.cairn(first, "rm", "--prefix", "data", n.name + "/"))
        self.ok(self.cairn(first, "put", "-v", "small", "data", "a/d0/f12"))
        parts -= 8
        wait_for("the end of what nothing names", lambda: sum(self.regions().values()) == 2 * parts, 180)
        self.ok(self.cairn(first, "ns", "remove", "-f", "data"))
        wait_for("the end of all of it", lambda: sum(self.regions().values()) == 0, 120)
        for n in self.all:
            self.assertEqual(n.stop(), 0)

    def begins(self, node, *argv, stdin=subprocess.DEVNULL):
        return subprocess.Popen([CAIRN, *self.key, *argv], stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                env=clean_env(CAIRN_WORKSPACE=node.workspace))

    def test_the_one_that_leads_dies_in_the_middle(self):
        self.begin_large()
        source = self.tree("source", [40 * MIB] * 6, 5)
        for i in range(3):
            victim = self.all[i]
            other = self.all[(i + 1) % 3]
            for again in tries("an import that was not over before there was a fault"):
                prefix = "r%d.%d/" % (i, again)
                before = sum(self.regions().values())
                p = self.begins(other, "import", "--prefix", prefix, "data", source)
                wait_for("some of it", lambda: sum(self.regions().values()) > before or p.poll() is not None)
                if p.poll() is None:
                    break
                self.assertEqual(p.returncode, OK, p.communicate())
            victim.kill()
            out, err = p.communicate()
            self.assertEqual(p.returncode, OK, err)
            self.same(other, prefix, source)
            victim.start()
            wait_for("all replicas", self.is_whole)
            self.same(victim, prefix, source)

        # A file is sent again by itself, from where standard input was, too. Who asks enters by another node.
        big = self.write("big", random.Random(8).randbytes(160 * MIB))
        for stdin in (False, True):
            for again in tries("a put that was not over before there was a fault"):
                key, other = "big%d.%d" % (stdin, again), self.all[1]
                slot, leads = self.leader(key)
                if leads is other:
                    other = self.all[2]
                before = self.regions()[leads.name]
                with open(big, "rb") as f:
                    p = self.begins(other, "put", "data", key, *([] if stdin else [big]), stdin=f)
                wait_for("some of it", lambda: self.regions()[leads.name] > before or p.poll() is not None)
                if p.poll() is None:
                    break
                self.assertEqual(p.returncode, OK, p.communicate())
            leads.kill()
            err = p.communicate()[1]
            self.assertEqual(p.returncode, OK, err)
            with open(big, "rb") as f:
                self.assertTrue(self.cairn(other, "get", "data", key, text=False).out == f.read(), "other bytes")
            leads.start()
            wait_for("all replicas", self.is_whole)

        # A stream from a pipe cannot begin again: it is there as a whole, or it is said that it is not.
        data = random.Random(6).randbytes(60 * MIB)

        def stream(key, ended):
            p = self.begins(self.all[1], "put", "data", key, stdin=subprocess.PIPE)
            err = p.communicate(data)[1]
            ended[key] = (p.returncode, err)

        for again in tries("streams that were not over before there was a fault"):
            ended = {}
            threads = [threading.Thread(target=stream, args=("s%d.%d" % (again, i), ended)) for i in range(6)]
            before = sum(self.regions().values())
            for t in threads:
                t.start()
            wait_for("some of it", lambda: sum(self.regions().values()) > before or ended)
            if not ended:
                break
            for t in threads:
                t.join()
        self.all[0].kill()
        for t in threads:
            t.join()
        for key, (code, err) in ended.items():
            got = self.cairn(self.all[1], "get", "data", key, text=False)
            self.assertTrue(got.code == OK and got.out == data or code != OK and got.code != OK, (key, code, err))
            self.assertIn(code, (OK, FAILED), err)
            if b"leads its slot no more" in err:
                self.assertIn(b"put it into a file first", err)

    def test_one_that_hangs_holds_nobody_for_long(self):
        self.begin_large()
        source = self.tree("source", [20 * MIB + i for i in range(6)], 7)
        leads = self.coordinator()
        victim, other = [n for n in self.all if n is not leads]
        began = time.monotonic()
        self.ok(self.cairn(other, "import", "--prefix", "before/", "data", source))
        took = time.monotonic() - began  # as busy as the machine is
        victim.process.send_signal(signal.SIGSTOP)
        began = time.monotonic()
        self.ok(self.cairn(other, "import", "--prefix", "a/", "data", source))
        self.assertLess(time.monotonic() - began, 60 + 4 * took)
        victim.process.send_signal(signal.SIGCONT)
        wait_for("all replicas", self.is_whole)
        self.same(victim, "a/", source)
        leads.kill()  # of each of its slots another has all
        self.same(victim, "a/", source)


if __name__ == "__main__":
    main()
