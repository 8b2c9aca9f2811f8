"""What the rows share: the sizes of the loads, and a Bench that makes what they need when it is first asked for: the node, a
Redis, filled databases, trees of files."""

import dataclasses
import os
import random
import shutil
import time

from . import also
from . import node as cairn_node
from . import peers
from .procs import Failed

KEYS = 100_000         # of 16 bytes, drawn at random, in every key-value row
VALUE_BYTES = 1024
BATCH = 64
MIB = 1 << 20
SYNC_CLIENTS = 16
SPIN_US = 20           # the client's, where a single answer is waited for
ROCKSDB_OUTSTANDING = 16
FILE_DEPTH = 16
LOCAL_DEPTH = 4
BATCHES_OUTSTANDING = 4


@dataclasses.dataclass(frozen=True)
class Size:
    """How long a run takes in all: --quick stays below a minute."""
    seconds: float       # of one measurement
    reps: int
    small_files: int
    large_files: int
    fio_bytes: int
    idle_seconds: float
    idle_connections: int = 5000


FULL = Size(seconds=1.0, reps=5, small_files=20_000, large_files=8, fio_bytes=1 << 30, idle_seconds=10)
QUICK = Size(seconds=0.15, reps=3, small_files=2000, large_files=2, fio_bytes=256 * MIB, idle_seconds=3)


def once(make):
    """A property made when it is first asked for. A failure is remembered, too: what did not start will not start next time."""
    slot = "_" + make.__name__

    def get(self):
        if slot not in self.__dict__:
            try:
                self.__dict__[slot] = make(self)
            except Failed as e:
                self.__dict__[slot] = e
        if isinstance(self.__dict__[slot], Failed):
            raise self.__dict__[slot]
        return self.__dict__[slot]

    return property(get)


class Bench:
    """What rows share. Everything made here lies below @work, and every process is one of @procs."""

    def __init__(self, procs, build, work, size):
        self.procs, self.build, self.work, self.size = procs, build, work, size
        self.programs = os.path.join(build, "tests", "bench")
        self.yard = peers.Yard(procs, self.programs, work, size.seconds)
        self.imports, self.filled = 0, set()

    # ---- made at first use ----

    @once
    def node(self):
        return cairn_node.Node(self.procs, self.build, self.work)

    @once
    def load(self):
        return cairn_node.Load(self.procs, self.programs, self.node, self.size.seconds)

    @once
    def redis(self):
        return peers.Redis(self.procs, self.work, self.size.seconds, KEYS, VALUE_BYTES)

    @once
    def db_bench(self):
        return peers.DbBench(self.procs, self.work, self.size.seconds, KEYS, VALUE_BYTES, ROCKSDB_OUTSTANDING,
                             peers.rocksdb_options(self.node_filled("kv-rocksdb").dir, self.work))

    @once
    def fio(self):
        return peers.Fio(self.procs, self.work, self.size.seconds, FILE_DEPTH, self.size.fio_bytes)

    def node_filled(self, provider):
        if provider not in self.filled:
            self.load.once("kv", "tcp", op="fill", provider=provider, keys=KEYS, value=VALUE_BYTES)
            self.filled.add(provider)
        return self.node

    @once
    def small_tree(self):
        return make_tree(os.path.join(self.work, "small"), self.size.small_files, lambda r: r.randint(1, 8192))

    @once
    def large_tree(self):
        return make_tree(os.path.join(self.work, "large"), self.size.large_files, lambda r: 64 * MIB)

    @once
    def idle(self):
        return also.idle_figures(self)

    @once
    def allocations(self):
        return also.allocations(self)

    # ---- measurements ----

    def ping_p50(self, where):
        return self.load.run("ping", where, outstanding=1, spin_us=SPIN_US)["p50_us"]

    def ping_rate(self, where, outstanding):
        return self.load.run("ping", where, outstanding=outstanding)["ops_per_s"]

    def kv(self, op, provider, figure="ops_per_s", **options):
        self.node_filled(provider)
        return self.load.run("kv", "tcp", op=op, provider=provider, keys=KEYS, value=VALUE_BYTES, **options)[figure]

    def extent(self, op, provider, where, size, depth, **options):
        options.setdefault("regions", depth)
        return self.load.run("extent", where, op=op, provider=provider, size=size, outstanding=depth, **options)["bytes_per_s"]

    def extent_file(self, op, size, depth):
        """Reads go over as many bytes as fio's: a few regions would come from a cache of the device, or of its host."""
        return self.extent(op, "extent-file", "tcp", size, depth, durability="sync", regions=self.size.fio_bytes // size)

    def import_rate(self, tree):
        """Bytes of files per second into a new namespace, from the start of the program to its end."""
        self.imports += 1
        name = f"import{self.imports}"
        cairn_node.cairn(self.procs, self.build, self.node, "ns", "create", name)
        start = time.monotonic()
        cairn_node.cairn(self.procs, self.build, self.node, "import", name, tree.path)
        rate = tree.bytes / (time.monotonic() - start)
        cairn_node.cairn(self.procs, self.build, self.node, "ns", "remove", name, "--force")
        return rate

    def rsync_rate(self, tree):
        to = os.path.join(self.work, "rsync")
        start = time.monotonic()
        peers.rsync(self.procs, tree.path, to)
        rate = tree.bytes / (time.monotonic() - start)
        shutil.rmtree(to)
        return rate


@dataclasses.dataclass(frozen=True)
class Tree:
    path: str
    bytes: int


def make_tree(path, files, size_of):
    """Files of random bytes, at most 100 a directory, the same at every run; read once by their writing, so in the cache."""
    r = random.Random(4711)
    total = 0
    for i in range(files):
        where = os.path.join(path, f"d{i // 100:04}")
        if i % 100 == 0:
            os.makedirs(where)
        n = size_of(r)
        with open(os.path.join(where, f"f{i:06}"), "wb") as f:
            f.write(r.randbytes(n))
        total += n
    return Tree(path, total)
