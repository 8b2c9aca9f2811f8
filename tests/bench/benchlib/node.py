"""Cairn's side: nodes that the comparison starts, and cairn_bench, which puts a load on them."""

import json
import os
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
  - {{ type: kv, name: kv-rocksdb, backend: rocksdb }}
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
    """cairn_bench against one node."""

    def __init__(self, procs, build, node, seconds):
        self.procs, self.program, self.node, self.seconds = procs, os.path.join(build, "cairn_bench"), node, seconds

    def argv(self, command, where, **options):
        words = [self.program, command, "--addresses", getattr(self.node, where), "--workspace", self.node.workspace]
        for k, v in options.items():
            words += ["--" + k.replace("_", "-"), str(v)]
        return words

    def run(self, command, where, **options):
        return self.procs.run_json(self.argv(command, where, **{"seconds": self.seconds, **options}))


class Connections:
    """Many idle clients in one process; as a context, they are there inside it."""

    def __init__(self, load, where, count):
        self.procs = load.procs
        self.argv = load.argv("connections", where, count=count)
        self.log = os.path.join(load.node.dir, "connections.log")

    def __enter__(self):
        self.process = self.procs.start(self.argv, log=self.log, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        if self.process.stdout.readline().strip() != b"ready":
            self.procs.stop(self.process)
            with open(self.log, errors="replace") as f:
                raise Failed("cairn_bench connections: " + f.read().strip()[-300:])
        return self

    def __exit__(self, *_):
        self.procs.stop(self.process)


def cairn(procs, build, node, *words, timeout=600):
    """The CLI, as a user would run it."""
    return procs.run([program(build, "cairn"), "--workspace", node.workspace, *words], timeout=timeout)
