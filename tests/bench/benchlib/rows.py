"""The rows of the comparison: what is measured, against what, and which ratio is asked for.

A row is two functions that each take one measurement of a Bench; the runner calls them in turn. README.md tells why each pair
is fair."""

import dataclasses
from typing import Callable

from .workload import (BATCH, BATCHES_OUTSTANDING, FILE_DEPTH, LOCAL_DEPTH, MIB, ROCKSDB_OUTSTANDING, SYNC_CLIENTS, VALUE_BYTES)


@dataclasses.dataclass(frozen=True)
class Row:
    name: str
    unit: str            # "us", "ops/s" or "B/s"
    target: float
    against: str         # the yardstick in a few words
    cairn: Callable      # one measurement, of a Bench
    yardstick: Callable

    @property
    def better(self):
        return "lower" if self.unit == "us" else "higher"

    def ratio(self, ours, theirs):
        """Above 1: Cairn is better, whichever way the unit points."""
        return theirs / ours if self.better == "lower" else ours / theirs


def _kv_memory(test, connections):
    return dict(cairn=lambda b: b.kv({"set": "put"}.get(test, test), "kv-memory", outstanding=16, connections=connections),
                yardstick=lambda b: b.redis.rate(test, connections, 16, tcp=True))


def _kv_batch(op):
    return dict(cairn=lambda b: b.kv(op, "kv-memory", "bytes_per_s", outstanding=BATCHES_OUTSTANDING, batch=BATCH),
                yardstick=lambda b: b.yard.stream(BATCH * VALUE_BYTES))


def _rocksdb(op, benchmark):
    return dict(cairn=lambda b: b.kv(op, "kv-rocksdb", outstanding=ROCKSDB_OUTSTANDING, durability="buffered"),
                yardstick=lambda b: b.db_bench.rate(benchmark))


def _extent_memory(op, size, depth):
    # the server moves the bytes: it reads what the client writes, and writes what the client reads
    return dict(cairn=lambda b: b.extent(op, "extent-memory", "tcp", size, depth),
                yardstick=lambda b: b.yard.rma({"write": "read", "read": "write"}[op], size, depth))


def _extent_local(op):
    return dict(cairn=lambda b: b.extent(op, "extent-memory", "unix", MIB, LOCAL_DEPTH),
                yardstick=lambda b: b.yard.memcpy(MIB))


def _extent_file(op, rw):
    return dict(cairn=lambda b: b.extent_file(op, MIB, FILE_DEPTH), yardstick=lambda b: b.fio.bytes_per_s(rw))


def _import(tree):
    return dict(cairn=lambda b: b.import_rate(getattr(b, tree)), yardstick=lambda b: b.rsync_rate(getattr(b, tree)))


ROWS = [
    Row("rpc.null.unix.p50", "us", 0.67, "blocking ping-pong of 64 B",
        lambda b: b.ping_p50("unix"), lambda b: b.yard.pingpong_p50_us("unix")),
    Row("rpc.null.tcp.p50", "us", 0.67, "blocking ping-pong of 64 B",
        lambda b: b.ping_p50("tcp"), lambda b: b.yard.pingpong_p50_us("tcp")),
    Row("rpc.null.unix.rate64", "ops/s", 1.5, "Redis PING, 64 outstanding",
        lambda b: b.ping_rate("unix", 64), lambda b: b.redis.rate("ping_mbulk", 1, 64, tcp=False)),
    Row("kv.memory.put1k.p16", "ops/s", 1.3, "Redis SET, 1 connection", **_kv_memory("set", 1)),
    Row("kv.memory.put1k.p16.c16", "ops/s", 1.3, "Redis SET, 16 connections", **_kv_memory("set", 16)),
    Row("kv.memory.get1k.p16", "ops/s", 1.3, "Redis GET, 1 connection", **_kv_memory("get", 1)),
    Row("kv.memory.get1k.p16.c16", "ops/s", 1.3, "Redis GET, 16 connections", **_kv_memory("get", 16)),
    Row("kv.memory.mput1k.b64", "B/s", 0.35, "raw TCP stream", **_kv_batch("mput")),
    Row("kv.memory.mget1k.b64", "B/s", 0.35, "raw TCP stream", **_kv_batch("mget")),
    Row("kv.rocksdb.put1k", "ops/s", 0.6, "db_bench overwrite", **_rocksdb("put", "overwrite")),
    Row("kv.rocksdb.get1k", "ops/s", 0.6, "db_bench readrandom", **_rocksdb("get", "readrandom")),
    Row("kv.rocksdb.put1k.sync16", "ops/s", 8, "an fdatasync per operation",
        lambda b: b.kv("put", "kv-rocksdb", outstanding=1, connections=SYNC_CLIENTS, durability="sync"),
        lambda b: b.yard.fdatasync(VALUE_BYTES)),
    Row("extent.memory.write1m", "B/s", 0.85, "bare libfabric RMA", **_extent_memory("write", MIB, 4)),
    Row("extent.memory.read1m", "B/s", 0.85, "bare libfabric RMA", **_extent_memory("read", MIB, 4)),
    Row("extent.memory.write64m", "B/s", 0.85, "bare libfabric RMA", **_extent_memory("write", 64 * MIB, 2)),
    Row("extent.memory.read64m", "B/s", 0.85, "bare libfabric RMA", **_extent_memory("read", 64 * MIB, 2)),
    Row("extent.memory.write1m.local", "B/s", 0.4, "memcpy of 1 MiB", **_extent_local("write")),
    Row("extent.memory.read1m.local", "B/s", 0.4, "memcpy of 1 MiB", **_extent_local("read")),
    Row("extent.file.write1m.sync", "B/s", 0.8, "fio, direct writes", **_extent_file("write", "write")),
    Row("extent.file.read1m", "B/s", 0.8, "fio, direct reads", **_extent_file("read", "read")),
    Row("hashed.import.small", "B/s", 1.0, "rsync -a", **_import("small_tree")),
    Row("hashed.import.large", "B/s", 1.0, "rsync -a", **_import("large_tree")),
]


def selected(rows, prefixes):
    """Rows whose name is, or begins at a dot with, one of @prefixes; all without any."""
    return [r for r in rows if not prefixes or any(r.name == p or r.name.startswith(p.rstrip(".") + ".") for p in prefixes)]
