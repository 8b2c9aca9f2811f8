"""The yardsticks: our own small programs (yard.c, yard_rma.c) and the peers that Debian has.

Each function or method takes one measurement and returns one number in the unit of its row."""

import glob
import os
import re
import socket

from .procs import Failed, wait_until

# command -> Debian package
def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


ROCKSDB_CACHE_BYTES = 32 << 20  # as node.py configures for ours


class Yard:
    """yard and yard_rma, from the build tree."""

    def __init__(self, procs, build, work, seconds):
        self.procs, self.build, self.work, self.seconds = procs, build, work, seconds

    def _run(self, *words):
        return self.procs.run_json([os.path.join(self.build, "yard"), *words, "--seconds", str(self.seconds)])

    def pingpong_p50_us(self, kind):
        return self._run("pingpong", "--socket", kind)["p50_us"]

    def stream(self, nbytes):
        return self._run("stream", "--bytes", str(nbytes))["bytes_per_s"]

    def memcpy(self, nbytes):
        return self._run("memcpy", "--bytes", str(nbytes))["bytes_per_s"]

    def fdatasync(self, nbytes):
        return self._run("fdatasync", "--file", os.path.join(self.work, "yard-fdatasync"), "--bytes", str(nbytes))["ops_per_s"]

    def rma(self, op, nbytes, depth):
        out = self.procs.run([os.path.join(self.build, "yard_rma"), "--op", op, "--size", str(nbytes), "--depth", str(depth),
                              "--seconds", str(self.seconds)])
        found = re.findall(r"[0-9.]+(?:e\+?[0-9]+)?", out)
        if not found:
            raise Failed(f"yard_rma: no number in {out.strip()[:200]!r}")
        return float(found[-1])


class Redis:
    """An instance of our own, without persistence, on a private unix socket and a port that was free."""

    def __init__(self, procs, work, seconds, keys, value_bytes):
        self.procs, self.seconds, self.keys, self.value_bytes = procs, seconds, keys, value_bytes
        self.socket = os.path.join(work, "redis.sock")
        self.port = free_port()
        self.log = os.path.join(work, "redis.log")
        self.rates = {}
        self.process = procs.start(
            ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--unixsocket", self.socket, "--save", "",
             "--appendonly", "no", "--daemonize", "no", "--dir", work], log=self.log)
        wait_until(self._answers, 10, "redis-server", self.process, self.log)
        self._fill()

    def _answers(self):
        try:
            with socket.socket(socket.AF_UNIX) as s:
                s.connect(self.socket)
                s.sendall(b"PING\r\n")
                return s.recv(16).startswith(b"+PONG")
        except OSError:
            return False

    def _fill(self):
        """Every key that redis-benchmark -r will draw is there, so that a GET never misses."""
        value = os.urandom(self.value_bytes // 2).hex().encode()
        batch = 1000
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(self.socket)
            answers = s.makefile("rb")
            for first in range(0, self.keys, batch):
                keys = [b"key:%012d" % k for k in range(first, min(first + batch, self.keys))]
                s.sendall(b"".join(b"*3\r\n$3\r\nSET\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n" % (len(k), k, len(value), value)
                                   for k in keys))
                for k in keys:
                    if answers.readline() != b"+OK\r\n":
                        raise Failed(f"redis-server refused {k!r}")

    def rate(self, test, connections, pipeline, tcp):
        """Operations per second of one run of redis-benchmark, sized by what the previous run reached."""
        where = ["-h", "127.0.0.1", "-p", str(self.port)] if tcp else ["-s", self.socket]
        key = (test, connections, pipeline, tcp)
        if key not in self.rates:
            self.rates[key] = self._bench(where, test, connections, pipeline, 50_000)
        self.rates[key] = self._bench(where, test, connections, pipeline, int(self.rates[key] * self.seconds))
        return self.rates[key]

    def _bench(self, where, test, connections, pipeline, count):
        out = self.procs.run(["redis-benchmark", *where, "-t", test, "-c", str(connections), "-P", str(pipeline), "-r",
                              str(self.keys), "-d", str(self.value_bytes), "-n", str(max(count, 20_000)), "--csv"])
        for line in reversed(out.splitlines()):
            m = re.match(r'"[^"]+","([0-9.]+)"', line)
            if m:
                return float(m.group(1))
        raise Failed(f"redis-benchmark: no figure in {out.strip()[:200]!r}")


def rocksdb_options(data, work):
    """What db_bench needs to run with the options of the RocksDB that lies somewhere below @data: the file of options that
    RocksDB itself keeps there, without what only its owner can name, and the cache and filter that it does not hold."""
    files = [f for f in glob.glob(data + "/**/OPTIONS-*", recursive=True) if not f.endswith(".dbtmp")]
    if not files:
        raise Failed(f"no RocksDB below {data}")
    with open(max(files, key=os.path.getmtime)) as f:
        lines = [x for x in f if not re.match(r"\s*(comparator|merge_operator|wal_dir|db_log_dir|wal_filter)\s*=", x)]
    path = os.path.join(work, "db_bench.options")
    with open(path, "w") as f:
        f.writelines(lines)
    return [f"--options_file={path}", f"--cache_size={ROCKSDB_CACHE_BYTES}", "--bloom_bits=10"]


class DbBench:
    """RocksDB's own benchmark, in process. Filled once, untimed, as our database is; then overwrites and reads in turn."""

    def __init__(self, procs, work, seconds, keys, value_bytes, threads, options):
        self.procs, self.seconds = procs, seconds
        self.base = ["db_bench", f"--db={work}/db_bench", f"--num={keys}", "--key_size=16", f"--value_size={value_bytes}",
                     "--histogram=0", *options]
        self.threads, self.rates = threads, {}
        self._run("fillseq", "--use_existing_db=0", "--threads=1")

    def _run(self, benchmark, *more):
        out = self.procs.run([*self.base, f"--benchmarks={benchmark}", *more])
        m = re.search(benchmark + r"\s*:.*?([0-9]+) ops/sec", out)
        if not m:
            raise Failed(f"db_bench {benchmark}: no figure in {out.strip()[-300:]!r}")
        return float(m.group(1))

    def rate(self, benchmark):
        """Operations per second of one run, sized by what the previous run reached (--duration knows whole seconds only)."""
        if benchmark not in self.rates:
            self.rates[benchmark] = self._sized(benchmark, 20_000)
        self.rates[benchmark] = self._sized(benchmark, int(self.rates[benchmark] * self.seconds))
        return self.rates[benchmark]

    def _sized(self, benchmark, count):
        each = max(count // self.threads, 100)
        return self._run(benchmark, "--use_existing_db=1", f"--threads={self.threads}", f"--reads={each}",
                         f"--writes={each}")


class Fio:
    def __init__(self, procs, work, seconds, depth, file_bytes):
        self.procs, self.seconds = procs, seconds
        self.file = os.path.join(work, "fio.dat")
        self.depth, self.file_bytes = depth, file_bytes

    def bytes_per_s(self, rw):
        """Direct I/O in pieces of 1 MiB over one file, which fio lays out first where it is to be read."""
        out = self.procs.run_json(
            ["fio", "--name=yard", f"--filename={self.file}", f"--size={self.file_bytes}", f"--rw={rw}", "--bs=1m",
             "--direct=1", "--ioengine=io_uring", f"--iodepth={self.depth}", "--time_based",
             f"--runtime={int(self.seconds * 1000)}ms", "--output-format=json"])
        return out["jobs"][0]["write" if "write" in rw else "read"]["bw_bytes"]


def rsync(procs, tree, to):
    procs.run(["rsync", "-a", tree + "/", to + "/"], timeout=600)
