#!/usr/bin/env python3
"""Measures Cairn and its yardsticks side by side, in turn, in the same run, and says which targets are met.

    tests/bench/compare --quick                      all rows in under a minute
    tests/bench/compare --only kv rpc.null.tcp.p50   rows of these names, or below them
    tests/bench/compare --json rows.json             the figures for programs

README.md beside this file tells what each row measures. A missed target is no failure: the exit status is 1 only if
something could not be measured at all."""

import argparse
import dataclasses
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.dont_write_bytecode = True
sys.path.insert(0, HERE)

from benchlib import also as also_rows  # noqa: E402
from benchlib import report, rows, workload  # noqa: E402
from benchlib.procs import Failed, Procs, raise_descriptor_limit  # noqa: E402

TARGETS = ["cairnd", "cairn", "yard", "yard_rma", "cairn_bench", "alloc_count"]


def arguments():
    p = argparse.ArgumentParser(prog="compare", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--json", metavar="FILE", help="write the rows as a JSON array")
    p.add_argument("--only", metavar="NAME", nargs="+", action="extend", help="rows of that name, or whose name begins so at a dot")
    p.add_argument("--quick", action="store_true", help="short runs: all rows in under 60 s")
    p.add_argument("--reps", type=int, metavar="N", help="repetitions of each measurement, at least 3")
    p.add_argument("--seconds", type=float, metavar="S", help="length of one measurement")
    p.add_argument("--dir", metavar="DIR", help="where data goes; a real disk ($TMPDIR, else /var/tmp)")
    p.add_argument("--build", metavar="DIR", help="build tree; made, or brought up to date (build/release)")
    p.add_argument("--no-build", action="store_true", help="take the build tree as it is")
    p.add_argument("--list", action="store_true", help="print the names and targets, measure nothing")
    p.add_argument("--readme", action="store_true", help="print Markdown tables")
    p.add_argument("--svg", metavar="FILE", help="draw the ratios")
    p.add_argument("--keep", action="store_true", help="leave logs and data in place")
    p.add_argument("--verbose", action="store_true", help="show every program that is started")
    a = p.parse_args()
    if a.reps is not None and a.reps < 3:
        p.error("--reps: a median of fewer than 3 says little")
    if a.seconds is not None and not 0.05 <= a.seconds <= 600:
        p.error("--seconds: 0.05 to 600")
    return p, a


def build(tree):
    """Everything that is run, in the way users get it."""
    cache = os.path.join(tree, "CMakeCache.txt")
    if not os.path.exists(cache) or "CAIRN_TESTS:BOOL=ON" not in open(cache).read():  # deploy/quickstart may leave them out
        subprocess.run(["cmake", "-S", ROOT, "-B", tree, "-G", "Ninja", "-DCMAKE_BUILD_TYPE=RelWithDebInfo",
                        "-DCAIRN_TESTS=ON"], check=True, stdout=sys.stderr)
    subprocess.run(["cmake", "--build", tree, "--target", *TARGETS], check=True, stdout=sys.stderr)


class Progress:
    """One line on a terminal, nothing elsewhere."""

    def __init__(self):
        self.shown = sys.stderr.isatty()

    def say(self, words):
        if self.shown:
            print("\r\033[K" + words, end="", file=sys.stderr, flush=True)

    def clear(self):
        self.say("")


def measure(bench, row, reps, say):
    """Cairn, yardstick, Cairn, yardstick, ...: what else the machine does meanwhile meets both."""
    result, start = report.Result(row, [], []), time.monotonic()
    try:
        for i in range(reps):
            say(f"{row.name} ({i + 1} of {reps})")
            result.cairn.append(row.cairn(bench))
            result.yardstick.append(row.yardstick(bench))
        if min(result.cairn + result.yardstick) <= 0:
            raise Failed("a figure is zero")
    except Failed as e:
        result.error = str(e)
    if bench.procs.verbose:
        print(f"= {row.name}: {time.monotonic() - start:.1f} s", file=sys.stderr)
    return result


def measure_also(bench, row, say):
    say(row.name)
    try:
        return report.AlsoResult(row, row.measure(bench))
    except Failed as e:
        return report.AlsoResult(row, error=str(e))


def on_tmpfs(path):
    out = subprocess.run(["stat", "-f", "-c", "%T", path], capture_output=True, text=True, check=True)
    return out.stdout.strip() in ("tmpfs", "ramfs")


def choose(parser, args):
    chosen = rows.selected(rows.ROWS, args.only)
    chosen_also = rows.selected(also_rows.ALSO, args.only)
    if not chosen and not chosen_also:
        parser.error("--only: no such row; --list prints the names")
    return chosen, chosen_also


def stop_by_signal(signo, _frame):
    raise SystemExit(128 + signo)


def main():
    parser, args = arguments()
    chosen, chosen_also = choose(parser, args)
    if args.list:
        for r in chosen:
            print(f"{r.name:32} {r.target:5g}  {r.against}")
        for a in chosen_also:
            print(f"{a.name:32}        {a.what}")
        return 0
    size = workload.QUICK if args.quick else workload.FULL
    if args.seconds:
        size = dataclasses.replace(size, seconds=args.seconds)
    tree = os.path.abspath(args.build or os.path.join(ROOT, "build", "release"))
    if not args.no_build:
        build(tree)

    raise_descriptor_limit()
    signal.signal(signal.SIGTERM, stop_by_signal)
    signal.signal(signal.SIGHUP, stop_by_signal)
    work = tempfile.mkdtemp(prefix="cairn-bench-", dir=args.dir or os.environ.get("TMPDIR") or "/var/tmp")
    if on_tmpfs(work):
        print(f"compare: {work} is in memory: the rows about disks will tell nothing; see --dir", file=sys.stderr)
    procs, progress, start = Procs(args.verbose), Progress(), time.monotonic()
    try:
        bench = workload.Bench(procs, tree, work, size)
        results = [measure(bench, r, args.reps or size.reps, progress.say) for r in chosen]
        also = [measure_also(bench, a, progress.say) for a in chosen_also]
    finally:
        progress.clear()
        procs.stop_all()
        if args.keep:
            print(f"Left in {work}", file=sys.stderr)
        else:
            shutil.rmtree(work, ignore_errors=True)
    print(report.markdown(results, also) if args.readme else report.text(results, also))
    print(f"Took {time.monotonic() - start:.0f} s.", file=sys.stderr)
    if args.json:
        report.write_json(args.json, results, also)
    if args.svg:
        with open(args.svg, "w") as f:
            f.write(report.svg(results))
    return 1 if report.failures(results, also) else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
    except subprocess.CalledProcessError as e:
        print(f"compare: {e}", file=sys.stderr)
        sys.exit(1)
