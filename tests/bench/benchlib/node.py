"""Cairn's side: nodes that the comparison starts, and cairn_bench, which puts a load on them."""

import json
import os
import select
import subprocess

from .peers import free_port
from .procs import Failed, wait_until

# One node with every provider that a row needs, so that rows differ in nothing but what they name.
HEAD = """\
node:
  name: bench
  data: {dir}/data
workspace: {dir}/workspace
listen: [ "unix://{dir}/cairn.sock", "tcp://127.0.0.1:{port}" ]
"""
CONFIG = HEAD + """\
providers:
  - {{ type: kv, name: kv-rocksdb, backend: rocksdb, cache: 32MiB }}
  - {{ type: extent, name: extent-file, backend: file }}
  - {{ type: kv, name: kv-memory, backend: memory }}
  - {{ type: extent, name: extent-memory, backend: memory }}
"""


def program(build, name):
    """Where the build puts it."""
    for folder in ("bin", "providers", "tools", "server"):
        path = os.path.join(build, folder, name)
        if os.path.isfile(path):
            return path
    raise Failed(f"no program {name} below {build}")


class Node:
    """A cairnd of our own in a directory of its own; its configuration is left there for who wants to look."""

    def __init__(self, procs, build, work, name="node", config=CONFIG, env=None):
        self.procs = procs
        self.dir = os.path.join(work, name)
        os.mkdir(self.dir, 0o700)
        self.port = free_port()
        self.unix, self.tcp = f"unix://{self.dir}/cairn.sock", f"tcp://127.0.0.1:{self.port}"
        self.workspace = os.path.join(self.dir, "workspace")
        os.mkdir(self.workspace, 0o700)
        self.log = os.path.join(self.dir, "cairnd.log")
        file = os.path.join(self.dir, "cairn.yaml")
        with open(file, "w") as f:
            f.write(config.format(dir=self.dir, port=self.port))
        self.process = procs.start([program(build, "cairnd"), "--config", file], log=self.log, env=env)
        self.pid = self.process.pid
        wait_until(lambda: os.path.exists(os.path.join(self.workspace, "node.json")), 20, "cairnd", self.process, self.log)

    def stop(self):
        self.procs.stop(self.process, grace=15.0)


class Load:
    """cairn_bench against one node. The program of a row stays between its measurements, and with it its connections."""

    FABRIC_WARM_SECONDS = 1.0  # a fabric connection takes its time to come up, and pieces travel in frames until then

    def __init__(self, procs, build, node, seconds):
        self.procs, self.program, self.node, self.seconds = procs, os.path.join(build, "cairn_bench"), node, seconds
        self.words, self.process = None, None
        self.log = os.path.join(node.dir, "cairn_bench.log")

    def argv(self, command, where, **options):
        words = [self.program, command, "--addresses", getattr(self.node, where), "--workspace", self.node.workspace]
        for k, v in options.items():
            words += ["--" + k.replace("_", "-"), str(v)]
        return words

    def once(self, command, where, **options):
        """A run of its own."""
        return self.procs.run_json(self.argv(command, where, **{"seconds": self.seconds, **options}))

    def run(self, command, where, **options):
        """One measurement by the program of these words, which is started first if another one, or none, is there."""
        words = self.argv(command, where, prompt=1, **options)
        if words != self.words:
            self.stop()
            self.process = self.procs.start(words, log=self.log, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            self.words = words
            self._ask(self.FABRIC_WARM_SECONDS if command == "extent" and where == "tcp" else 0.05)
        return self._ask(self.seconds)

    def stop(self):
        if self.process is not None:
            self.process.stdin.close()
            self.procs.stop(self.process)
            self.process.stdout.close()
        self.words, self.process = None, None

    def _ask(self, seconds):
        try:
            self.process.stdin.write(b"%g\n" % seconds)
            self.process.stdin.flush()
            ready, _, _ = select.select([self.process.stdout], [], [], seconds + 60)
            return json.loads(self.process.stdout.readline() if ready else b"no answer")
        except (OSError, ValueError):
            self.stop()
            with open(self.log, errors="replace") as f:
                raise Failed("cairn_bench: " + (f.read().strip().splitlines() or ["no answer"])[-1]) from None


class Connections:
    """Many idle clients; as a context, they are there inside it. In several processes: each client has some descriptors."""

    PER_PROCESS = 1000

    def __init__(self, load, where, count):
        self.load, self.where, self.count, self.processes = load, where, count, []
        self.log = os.path.join(load.node.dir, "connections.log")

    def __enter__(self):
        for first in range(0, self.count, self.PER_PROCESS):
            argv = self.load.argv("connections", self.where, count=min(self.PER_PROCESS, self.count - first))
            self.processes.append(self.load.procs.start(argv, log=self.log, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
        for p in self.processes:
            if p.stdout.readline().strip() != b"ready":
                self.__exit__()
                with open(self.log, errors="replace") as f:
                    raise Failed("cairn_bench connections: " + f.read().strip()[-300:])
        return self

    def __exit__(self, *_):
        for p in self.processes:
            self.load.procs.stop(p)
            p.stdin.close()
            p.stdout.close()


def cairn(procs, build, node, *words, timeout=600):
    """The CLI, as a user would run it."""
    return procs.run([program(build, "cairn"), "--workspace", node.workspace, *words], timeout=timeout)
