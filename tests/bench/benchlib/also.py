"""Figures without a yardstick: what a node costs that does nothing, and what an operation costs its allocator."""

import dataclasses
import glob
import os
import struct
import time
from typing import Callable

from . import node as cairn_node

KEYS, VALUE_BYTES, ALLOC_OPS = 100_000, 1024, 20_000

PLAIN_CONFIG = cairn_node.HEAD  # a node as most people start it: the default providers, both kinds of address


@dataclasses.dataclass(frozen=True)
class Also:
    name: str
    unit: str
    aim: float
    what: str
    measure: Callable  # of a Bench

    def is_met(self, value):
        return value <= self.aim


def _threads(pid):
    return glob.glob(f"/proc/{pid}/task/*")


def _cpu_ns(pid):
    """Time on a processor, of all threads: the scheduler's own count, since ticks of 10 ms are too coarse for an idle node."""
    total = 0
    for t in _threads(pid):
        with open(t + "/schedstat") as f:
            total += int(f.read().split()[0])
    return total


def _wakeups(pid):
    """Each sleep that a thread entered by itself is one wake-up; voluntary switches of all threads."""
    total = 0
    for t in _threads(pid):
        with open(t + "/status") as f:
            total += sum(int(line.split()[1]) for line in f if line.startswith("voluntary_ctxt_switches"))
    return total


def _resident(pid):
    with open(f"/proc/{pid}/status") as f:
        return sum(int(line.split()[1]) * 1024 for line in f if line.startswith("VmRSS:"))


def idle_figures(bench):
    """One observation for the three figures of an idle node."""
    node = cairn_node.Node(bench.procs, bench.build, bench.work, "idle", PLAIN_CONFIG)
    time.sleep(1.0)  # what a start leaves behind is over
    cpu, wakeups, start = _cpu_ns(node.pid), _wakeups(node.pid), time.monotonic()
    time.sleep(bench.size.idle_seconds)
    span = time.monotonic() - start
    figures = {"cpu": (_cpu_ns(node.pid) - cpu) / (span * 1e9) * 100, "wakeups": (_wakeups(node.pid) - wakeups) / span,
               "memory": _resident(node.pid)}
    node.stop()
    return figures


def connection_bytes(bench):
    node = cairn_node.Node(bench.procs, bench.build, bench.work, "connections", PLAIN_CONFIG)
    load = cairn_node.Load(bench.procs, bench.programs, node, 1)
    with cairn_node.Connections(load, "unix", 10):
        before = _resident(node.pid)  # what the first connections bring up once is not theirs
    with cairn_node.Connections(load, "unix", bench.size.idle_connections):
        after = _resident(node.pid)
    node.stop()
    return (after - before) / bench.size.idle_connections


def allocations(bench):
    """Per operation, counted inside the server over many of them, after as many to warm up."""
    count_file = os.path.join(bench.work, "allocations")
    with open(count_file, "wb") as f:
        f.write(bytes(8))
    node = cairn_node.Node(
        bench.procs, bench.build, bench.work, "counted",
        env={"LD_PRELOAD": os.path.join(bench.programs, "liballoc_count.so"), "ALLOC_COUNT_FILE": count_file})
    load = cairn_node.Load(bench.procs, bench.programs, node, 1)
    load.once("kv", "tcp", op="fill", provider="kv-memory", keys=KEYS, value=VALUE_BYTES)

    def count_of(op, ops):
        before = _read_count(count_file)
        load.once("kv", "tcp", op=op, provider="kv-memory", keys=KEYS, value=VALUE_BYTES, ops=ops)
        return _read_count(count_file) - before

    def per_op(op):
        count_of(op, ALLOC_OPS)
        # connecting allocates, too: the difference of a long and a short run is the operations' own
        # and what happens once in thousands of operations is not of the operation
        return round(max(count_of(op, 2 * ALLOC_OPS) - count_of(op, ALLOC_OPS), 0) / ALLOC_OPS, 3)

    figures = {op: per_op(op) for op in ("put", "get")}
    node.stop()
    return figures


def _read_count(path):
    with open(path, "rb") as f:
        return struct.unpack("<Q", f.read(8))[0]


ALSO = [
    Also("idle.cpu", "%", 0.1, "CPU of an idle node", lambda b: b.idle["cpu"]),
    Also("idle.wakeups", "1/s", 5, "wake-ups of an idle node, all threads", lambda b: b.idle["wakeups"]),
    Also("idle.memory", "B", 24 << 20, "resident memory of an idle node", lambda b: b.idle["memory"]),
    Also("connection.memory", "B", 8 << 10, "resident memory of an idle connection, of 5,000", connection_bytes),
    Also("kv.put.allocations", "1/op", 0, "allocations of the server in a KV put", lambda b: b.allocations["put"]),
    Also("kv.get.allocations", "1/op", 0, "allocations of the server in a KV get", lambda b: b.allocations["get"]),
]
