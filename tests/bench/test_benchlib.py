"""What the comparison promises about its own figures, names and processes; measures nothing."""

import contextlib
import importlib.machinery
import importlib.util
import io
import json
import math
import os
import select
import signal
import subprocess
import sys
import tempfile
import types
import unittest
import unittest.mock
import xml.etree.ElementTree as ElementTree

HERE = os.path.dirname(os.path.abspath(__file__))
sys.dont_write_bytecode = True
sys.path.insert(0, HERE)

from benchlib import faults, report, rows, workload  # noqa: E402
from benchlib.procs import Failed, Procs  # noqa: E402


def row(unit, target=0.5, name="some.row"):
    return rows.Row(name, unit, target, "a <yardstick>", lambda b: 1, lambda b: 1)


class Figures(unittest.TestCase):
    def test_ratio_above_one_means_cairn_is_better(self):
        self.assertEqual(row("us").ratio(5.0, 10.0), 2)
        self.assertEqual(row("ops/s").ratio(10.0, 5.0), 2)
        self.assertEqual(row("B/s").ratio(5.0, 10.0), 0.5)

    def test_medians_are_compared(self):
        r = report.Result(row("ops/s"), [1.0, 10.0, 1000.0], [5.0, 20.0, 21.0])
        self.assertEqual(r.figures, (10.0, 20.0))
        self.assertEqual(r.ratio, 0.5)
        self.assertTrue(r.is_met)

    def test_a_miss_says_by_how_much(self):
        r = report.Result(row("ops/s", target=2), [15.0] * 3, [10.0] * 3)
        self.assertFalse(r.is_met)
        self.assertEqual(r.verdict, "missed by 25 %")

    def test_numbers_for_people(self):
        self.assertEqual(report.human(4.04, "us"), "4.0 µs")
        self.assertEqual(report.human(1_799_000, "ops/s"), "1.80 M/s")
        self.assertEqual(report.human(342_100, "ops/s"), "342 k/s")
        self.assertEqual(report.human(12, "ops/s"), "12 /s")
        self.assertEqual(report.human(3 * 2**30, "B/s"), "3.00 GiB/s")
        self.assertEqual(report.human(24 * 2**20, "B"), "24.0 MiB")
        self.assertEqual(report.human(0.05, "%"), "0.05 %")
        self.assertEqual(report.human(0, "1/op"), "0 /op")


class Output(unittest.TestCase):
    def setUp(self):
        self.results = [report.Result(row("us", name="a.b"), [1.0, 2.0, 3.0], [4.0, 4.0, 4.0]),
                        report.Result(row("B/s", name="a.c"), [], [], error="broke")]

    def test_json_has_what_is_documented(self):
        with tempfile.NamedTemporaryFile("r", suffix=".json") as f:
            report.write_json(f.name, self.results, [])
            out = json.load(f)
        self.assertEqual([r["name"] for r in out], ["a.b"])
        self.assertEqual({k: out[0][k] for k in ("cairn", "yardstick", "unit", "ratio", "better")},
                         {"cairn": 2.0, "yardstick": 4.0, "unit": "us", "ratio": 2.0, "better": "lower"})
        self.assertTrue(all(math.isfinite(v) for v in out[0].values() if isinstance(v, float)))

    def test_what_could_not_be_measured_is_said(self):
        self.assertIn("a.c: broke", report.text(self.results, []))
        self.assertEqual(report.failures(self.results, []), [("a.c", "broke")])

    def test_drawing_is_well_formed(self):
        self.assertTrue(ElementTree.fromstring(report.svg(self.results)).tag.endswith("svg"))


class Selection(unittest.TestCase):
    NAMES = ["rpc.null.unix.p50", "rpc.null.tcp.p50", "rpc.null.unix.rate64", "kv.memory.put1k.p16", "kv.memory.get1k.p16",
             "kv.memory.mput1k.b64", "kv.memory.mget1k.b64", "kv.rocksdb.put1k", "kv.rocksdb.get1k", "kv.rocksdb.put1k.sync16",
             "extent.memory.write1m", "extent.memory.read1m", "extent.memory.write64m", "extent.memory.read64m",
             "extent.memory.write1m.local", "extent.memory.read1m.local", "extent.file.write1m.sync", "extent.file.read1m",
             "hashed.import.small", "hashed.import.large"]

    def test_every_documented_row_is_there_once(self):
        names = [r.name for r in rows.ROWS]
        self.assertEqual(len(names), len(set(names)))
        self.assertEqual([n for n in self.NAMES if n not in names], [])

    def test_names_select_at_dots(self):
        self.assertEqual([r.name for r in rows.selected(rows.ROWS, ["rpc.null.unix"])],
                         ["rpc.null.unix.p50", "rpc.null.unix.rate64"])
        self.assertEqual(rows.selected(rows.ROWS, ["rpc.nul"]), [])


class Once(unittest.TestCase):
    def test_a_failure_is_not_tried_again(self):
        class Thing:
            tries = 0

            @workload.once
            def part(self):
                self.tries += 1
                raise Failed("no")

        thing = Thing()
        for _ in range(2):
            with self.assertRaises(Failed):
                _ = thing.part
        self.assertEqual(thing.tries, 1)


class Processes(unittest.TestCase):
    def setUp(self):
        self.procs = Procs()
        self.addCleanup(self.procs.stop_all)

    def test_one_that_does_not_listen_is_ended_all_the_same(self):
        p = self.procs.start([sys.executable, "-c", "import signal, sys\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
                              "print('deaf', flush=True)\nsys.stdin.read()"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.assertEqual(p.stdout.readline(), b"deaf\n")
        self.procs.stop(p, grace=0.1)
        self.assertEqual(p.returncode, -signal.SIGKILL)
        self.assertEqual(self.procs.running, [])
        p.stdin.close()
        p.stdout.close()

    def test_a_failure_says_what_was_printed(self):
        with self.assertRaisesRegex(Failed, "status 3: .*no such thing"):
            self.procs.run(["sh", "-c", "echo no such thing >&2; exit 3"])

    def test_none_outlives_us(self):
        code = ("import sys\nsys.path.insert(0, sys.argv[1])\nfrom benchlib.procs import Procs\n"
                "p = Procs().start(['sleep', '600'])\nprint(p.pid, flush=True)\nsys.stdin.read()")
        us = subprocess.Popen([sys.executable, "-B", "-c", code, HERE], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        fd = os.pidfd_open(int(us.stdout.readline()))
        us.kill()
        us.wait()
        self.assertTrue(select.select([fd], [], [], 10)[0], "it still runs")
        os.close(fd)
        us.stdin.close()
        us.stdout.close()


class Faults(unittest.TestCase):
    STORY = """
import os, sys, unittest
sys.path.insert(0, %r)
import systest

class Story(unittest.TestCase):
    def test_that_is_shown(self):
        with open(os.environ["CAIRN_VERDICTS"], "a") as f:
            f.write('{"wrong": 0, "undecided": 0, "acknowledged": 3, "keys": 2}\\n')

    def test_that_is_not(self):
        self.skipTest("no such disk")

@unittest.skip("no network")
class Skipped(unittest.TestCase):
    def test_one(self): pass
    def test_other(self): pass

class Broken(unittest.TestCase):
    def test_it(self): self.fail("x")

systest.main()
""" % faults.SYSTEM

    def test_what_is_skipped_among_others_counts(self):
        with tempfile.TemporaryDirectory() as work, contextlib.redirect_stderr(io.StringIO()) as said:
            with open(os.path.join(work, "test_it.py"), "w") as f:
                f.write(self.STORY)
            bench = types.SimpleNamespace(work=work, quick=True, build=work)
            with unittest.mock.patch.multiple(faults, SYSTEM=work, QUICK=[
                    ("test_it.py", "Story"), ("test_it.py", "Skipped"), ("test_it.py", "Broken")]):
                found = faults.histories(bench)
        self.assertEqual((found["cluster.faults.skipped"], found["cluster.faults.failed"]), (3, 1))
        self.assertEqual((found["cluster.faults.histories"], found["cluster.faults.acknowledged"]), (2, 3))
        self.assertIn("skipped: test_it.Story.test_that_is_not: no such disk\n", said.getvalue())


class Cluster(unittest.TestCase):
    """The rows of `cluster`: what is measured once is measured once, and what could not be is no row."""

    def setUp(self):
        loader = importlib.machinery.SourceFileLoader("cluster", os.path.join(HERE, "cluster"))
        self.cluster = importlib.util.module_from_spec(importlib.util.spec_from_loader("cluster", loader))
        loader.exec_module(self.cluster)
        self.bench = self.cluster.Bench(Procs(), "no-build", "no-work", quick=True)

    def measure(self, rows):
        with contextlib.redirect_stderr(io.StringIO()) as said:
            return list(self.cluster.measure(self.bench, rows)), said.getvalue()

    def test_one_measurement_gives_several_rows(self):
        calls = []

        def both(bench):
            calls.append(bench)
            return {"x.a": 1.00004, "x.b": 3}

        rows, _ = self.measure([("x.a", "s", 1.0, both), ("x.b", "s", 3, both), ("x.b", "s", None, both)])
        self.assertEqual(len(calls), 1)
        self.assertEqual([(r["value"], r["met"]) for r in rows], [(1.0, False), (3, True), (3, None)])
        self.assertEqual(set(rows[0]), {"name", "value", "unit", "target", "met"})
        self.assertEqual(self.bench.failed, 0)

    def test_what_fails_is_said_and_is_no_row(self):
        def broken(bench):
            raise Failed("no luck")

        rows, said = self.measure([("x.a", "s", 1.0, broken), ("x.b", "s", 1.0, broken), ("y", "s", 1, lambda b: {"y": 0})])
        self.assertEqual([r["name"] for r in rows], ["y"])
        self.assertEqual(self.bench.failed, 2)
        self.assertEqual(said.count("no luck"), 1)

    def test_names_are_chosen_whole_or_at_a_dot(self):
        names = [r[0] for r in self.cluster.ROWS]
        self.assertEqual(len(set(names)), len(names))
        self.assertEqual([r[0] for r in self.cluster.chosen(["cluster.sim.10000"], quick=False)],
                         ["cluster.sim.10000.learned", "cluster.sim.10000.real"])
        self.assertEqual(self.cluster.chosen(["cluster.sim.1"], quick=False), [])
        for quick, size in (False, "1g"), (True, "128m"):
            self.assertIn("cluster.repair." + size, [r[0] for r in self.cluster.chosen([], quick)])


if __name__ == "__main__":
    unittest.main()
