"""What the system tests share: real processes in directories of their own, started, waited for and ended.

Every test runs against the programs of one build, named by $CAIRN_BUILD (ctest sets it). A node listens on its unix socket and
on a port that the kernel chooses, so tests run beside each other. Nothing sleeps for luck: what is waited for is asked for,
and has a deadline.
"""

import fcntl
import functools
import glob
import json
import os
import pty
import random
import re
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import termios
import time
import unittest

SOURCE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("CAIRN_BUILD", os.path.join(SOURCE, "build", "debug"))
CAIRN = os.path.join(BUILD, "bin", "cairn")
CAIRND = os.path.join(BUILD, "bin", "cairnd")
# Sanitizers make everything slower; a deadline is there to end a hang, not to measure.
DEADLINE_S = 120
SHOWN = 8000  # of the end of a log, where a test has failed
# Where a thread waits for work: nothing to learn from it.
IDLE = {"committer_wait", "pool_thread", "epoll_wait", "__GI___sigwait", "rocksdb::ThreadPoolImpl::Impl::BGThread",
        "rocksdb::Timer::Run"}

OK, FAILED, USAGE, UNREACHABLE, DENIED, DEGRADED, TIMEOUT = range(7)
SANITIZER = 99  # tests/run sees to that


class NotSaid(AssertionError):
    """A program gave no document."""


class Result:
    def __init__(self, process):
        self.code, self.out, self.err = process.returncode, process.stdout, process.stderr

    @property
    def json(self):
        try:
            return json.loads(self.out)
        except json.JSONDecodeError:
            raise NotSaid("no JSON: %s" % self) from None

    def __str__(self):
        return "exit %d\nstdout: %s\nstderr: %s" % (self.code, self.out[:4000], self.err[:4000])


def clean_env(**more):
    env = {k: v for k, v in os.environ.items() if not k.startswith("CAIRN_") and k not in ("NO_COLOR", "XDG_RUNTIME_DIR")}
    env.update(more)
    return env


def run(*argv, stdin=b"", env=None, text=True, timeout=DEADLINE_S):
    """Runs a program to its end; its output as text, or as bytes."""
    process = subprocess.run(argv, input=stdin, capture_output=True, env=env or clean_env(), timeout=timeout)
    if process.returncode == SANITIZER:
        raise AssertionError("%s: a sanitizer's report\n%s" % (" ".join(map(str, argv)), process.stderr.decode(errors="replace")))
    if text:
        process.stdout = process.stdout.decode(errors="replace")
        process.stderr = process.stderr.decode(errors="replace")
    return Result(process)


def on_terminal(argv, env, columns=0):
    """Runs a program whose standard output and error are a terminal; gives what it wrote there."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    process = subprocess.Popen(argv, stdin=slave, stdout=slave, stderr=slave, env=env)
    os.close(slave)
    out = b""
    while True:
        ready, _, _ = select.select([master], [], [], DEADLINE_S)
        if not ready:
            process.kill()
            raise AssertionError("nothing came from the terminal")
        try:
            piece = os.read(master, 65536)
        except OSError:  # the other side is closed
            break
        if not piece:
            break
        out += piece
    os.close(master)
    return process.wait(DEADLINE_S), out


def wait_for(what, condition, seconds=DEADLINE_S):
    """Nor does a condition hold as long as what it looks for is not in a document: nobody coordinates, or another node does."""
    began = time.monotonic()
    while True:
        missing = None
        try:
            if condition():
                return
        except (NotSaid, LookupError, StopIteration) as e:
            missing = e
        waited = time.monotonic() - began
        if waited > seconds:
            raise AssertionError("waited %d s for %s" % (seconds, what)) from missing
        time.sleep(0.01 if waited < 1 else 0.1)  # most start a program, and what is waited for needs the processor


def tries(what, seconds=DEADLINE_S):
    """For stories whose fault may come too late: told again and again, until one is left by `break`, or the time is over."""
    until, n = time.monotonic() + seconds, 0
    while n < 3 or time.monotonic() < until:
        yield n
        n += 1
    raise AssertionError("%d tries, and never %s" % (n, what))


def judge_histories(paths):
    """The verdict on what clients wrote down (history_check.c), which goes to the file $CAIRN_VERDICTS, too, if there is one."""
    verdict = run(os.path.join(BUILD, "bin", "history_check"), *paths, timeout=300)
    if "CAIRN_VERDICTS" in os.environ and verdict.out:
        with open(os.environ["CAIRN_VERDICTS"], "a") as f:
            f.write(verdict.out.strip() + "\n")
    return verdict


class Node:
    """One cairnd, its data directory, its workspace and its log."""

    def __init__(self, base, name="node", data=None, args=()):
        self.base, self.args, self.process = base, list(args), None
        self.data = data or os.path.join(base, name + "-data")
        self.workspace = os.path.join(base, name + "-ws")
        self.log_path = os.path.join(base, name + ".log")

    @property
    def address(self):
        return "unix://" + os.path.join(self.workspace, "node.sock")

    def tcp_address(self):
        with open(os.path.join(self.workspace, "node.json")) as f:
            return next(a for a in json.load(f)["addresses"] if a.startswith("tcp://"))

    def argv(self, *more):
        return [CAIRND, "--data", self.data, "--workspace", self.workspace, *self.args, *more]

    def spawn(self, *more):
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(self.argv(*more), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            env=clean_env())
        return self

    def start(self, *more):
        self.spawn(*more)
        try:
            ready = self.cairn("wait-ready", "--timeout", "%ds" % DEADLINE_S, timeout=2 * DEADLINE_S) if self.process.poll() is None else None
        finally:
            if self.process.poll() is not None:
                raise AssertionError("the node ended with %s:\n%s" % (self.process.returncode, self.log()[-SHOWN:]))
        if ready.code != OK:
            raise AssertionError("the node is not ready: %s\n%s" % (ready, self.log()[-SHOWN:]))
        return self

    def stop(self, sig=signal.SIGTERM):
        """Asks it to end, and gives its exit code; a negative one is the signal that killed it."""
        self.process.send_signal(sig)
        code = self.process.wait(DEADLINE_S)
        self.process = None
        return code

    def kill(self):
        self.stop(signal.SIGKILL)

    def cleanup(self):
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def stacks(self):
        """What its threads do, if there is a gdb: a node that hangs shows where."""
        if self.process is None or self.process.poll() is not None or shutil.which("gdb") is None:
            return ""
        told = run("gdb", "--batch", "-p", str(self.process.pid), "-ex", "thread apply all backtrace 16", timeout=60)
        threads = re.split(r"(?m)^(?=Thread )", told.out)[1:]
        frames = [re.findall(r"(?m)^#\d+ +(?:0x\w+ in )?(.+?) \(.*?(?: at (\S+))?$", t) for t in threads]
        return "".join("thread: %s\n" % " < ".join(" ".join(f).strip() for f in of) for of in frames
                       if not any(name.partition("(")[0] in IDLE for name, _ in of))

    def log(self):
        with open(self.log_path, errors="replace") as f:
            return f.read()

    def cairn(self, *args, **kw):
        kw.setdefault("env", clean_env(CAIRN_WORKSPACE=self.workspace))
        return run(CAIRN, *args, **kw)


class Case(unittest.TestCase):
    """A test with a directory of its own, whose nodes end with it; a failure shows their logs."""

    maxDiff = None

    def setUp(self):
        self.base = tempfile.mkdtemp(prefix="cairn-system.")
        self.nodes = []
        self.addCleanup(self._end)

    def _end(self):
        outcome = getattr(self, "_outcome", None)
        result = getattr(outcome, "result", None)  # since Python 3.11 a cleanup is not told by outcome.success
        told = getattr(result, "failures", []) + getattr(result, "errors", [])
        failed = not getattr(outcome, "success", True) or any(test is self for test, _ in told)
        sanitizer = []
        for node in self.nodes:
            stacks = node.stacks() if failed else ""
            node.cleanup()
            if not os.path.exists(node.log_path):
                continue
            log = node.log()
            if "Sanitizer" in log or "runtime error" in log or "assertion" in log.lower():
                sanitizer.append(log[-SHOWN:])
            if failed:
                sys.stderr.write("--- %s\n%s\n%s" % (node.log_path, log[-SHOWN:], stacks))
        shutil.rmtree(self.base, ignore_errors=True)
        if sanitizer:
            raise AssertionError("a node reported a defect:\n" + "\n".join(sanitizer))

    def node(self, name="node", **kw):
        node = Node(self.base, name, **kw)
        self.nodes.append(node)
        return node

    def path(self, *parts):
        return os.path.join(self.base, *parts)

    def write(self, path, data):
        full = self.path(path)
        os.makedirs(os.path.dirname(full), exist_ok=True)
        with open(full, "wb") as f:
            f.write(data)
        return full

    def small_disk(self, megabytes):
        """A file system of its own, in memory. The test is skipped where none may be mounted."""
        disk = self.path("small%d" % megabytes)
        os.mkdir(disk)
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=%dm,mode=0700" % megabytes, "cairn-test", disk],
                                 capture_output=True, text=True)
        if mounted.returncode != 0:
            self.skipTest("no small disk: " + mounted.stderr.partition("\n")[0])
        self.addCleanup(subprocess.run, ["umount", "-l", disk], check=True)
        return disk

    def change_while_read(self, path, change, *argv, before=lambda: None):
        """Runs the CLI, and changes a large file as soon as it has opened that. Its result, if it noticed; @before is done
        each time, since one that opened the file and looked at it later has stored it as it was then."""
        for _ in tries("a change before the file was read"):
            before()
            with open(path, "wb") as f:
                f.truncate(512 << 20)
            p = subprocess.Popen([CAIRN, *argv], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                 env=clean_env(CAIRN_WORKSPACE=self.n.workspace))
            fds = "/proc/%d/fd" % p.pid

            def is_open():
                try:
                    return p.poll() is not None or any(os.readlink(os.path.join(fds, fd)) == path for fd in os.listdir(fds))
                except FileNotFoundError:
                    return False

            wait_for("the file to be opened", is_open)
            change(path)
            out, err = p.communicate(timeout=DEADLINE_S)
            if p.returncode != OK:
                return Result(subprocess.CompletedProcess(argv, p.returncode, out, err))

    def flip(self, data, marker):
        """A byte of @marker changes on the disk below @data, where it is once."""
        flipped = 0
        for path in glob.glob(os.path.join(data, "**"), recursive=True):
            if not os.path.isfile(path):
                continue
            with open(path, "r+b") as f:
                content = f.read()
                at = content.find(marker)
                if at >= 0:
                    f.seek(at)
                    f.write(bytes([content[at] ^ 0x10]))
                    flipped += 1
        self.assertEqual(flipped, 1, "the value's bytes were not found on disk")

    def ok(self, result):
        self.assertEqual(result.code, OK, str(result))
        return result

    def fails(self, result, code, *said):
        self.assertEqual(result.code, code, str(result))
        for text in said:
            self.assertIn(text, result.err)
        return result


def again_if_another_is_elected(story):
    """For a test that looks at who was elected at its begin: it is told from there once more when another was elected amid it."""
    @functools.wraps(story)
    def told(self):
        for _ in tries("a story in which nobody else was elected"):
            try:
                return story(self)
            except AssertionError:
                if sum(node.log().count("this node coordinates the cluster") for node in self.nodes) <= 1:
                    raise
            self.doCleanups()
            self.setUp()

    return told


def free_ports(n):
    """Free for streams and for packets, on every address, and unlike each other. They are below those that the kernel gives to
    whoever wants any: what was free a moment ago is no other test's by now, nor while a node that listens there is started anew."""
    with open("/proc/sys/net/ipv4/ip_local_port_range") as f:
        first = int(f.read().split()[0])
    ports = []
    for _ in tries("%d free ports" % n):
        port = random.randrange(first // 3, first)
        with socket.socket() as tcp, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            try:
                tcp.bind(("0.0.0.0", port))
                udp.bind(("0.0.0.0", port))
            except OSError:
                continue
        if port not in ports:
            ports.append(port)
        if len(ports) == n:
            break
    return ports


def free_port():
    return free_ports(1)[0]


def listens(process, port):
    """That process, and no other, listens on that port of 127.0.0.1."""
    with open("/proc/net/tcp") as f:
        rows = [line.split() for line in f]
    wanted = {"socket:[%s]" % r[9] for r in rows if r[3] == "0A" and r[1].endswith(":%04X" % port)}
    fds = "/proc/%d/fd" % process.pid
    try:
        return any(os.readlink(os.path.join(fds, fd)) in wanted for fd in os.listdir(fds))
    except FileNotFoundError:  # it ends, or closes one
        return False


class Etcd:
    """For a Case: an etcd of its own, which may be killed and started again."""

    port = peer = None

    def start_etcd(self, directory, host="127.0.0.1"):
        """A port that was free a moment ago may be another test's by now: then others are tried, the first time."""
        for tries in range(5):
            first = self.port is None
            if first:
                self.port, self.peer = free_port(), free_port()
            url, peer = "http://%s:%d" % (host, self.port), "http://127.0.0.1:%d" % self.peer
            with open(os.path.join(self.base, "etcd.log"), "ab") as log:
                process = subprocess.Popen(
                    ["etcd", "--name=m", "--data-dir", directory, "--listen-client-urls", url, "--advertise-client-urls", url,
                     "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", "m=" + peer,
                     "--logger=zap", "--log-level=warn"], stdout=log, stderr=log)
            self.addCleanup(process.wait)
            self.addCleanup(process.kill)
            wait_for("etcd", lambda: process.poll() is not None or listens(process, self.port))
            if process.poll() is None:
                return url, process
            if first:
                self.port = None
                shutil.rmtree(directory, ignore_errors=True)
        raise AssertionError("etcd does not start: see etcd.log")


SKIPPED = 77  # to ctest


def main():
    """Runs the tests of a file. One that can run none of them here says so by its exit code, too: nothing was shown."""
    result = unittest.main(verbosity=2, exit=False).result
    story = os.path.splitext(os.path.basename(sys.argv[0]))[0]
    for test, why in result.skipped:  # as tests/run collects it
        print("skipped: %s: %s" % (".".join([story, *test.id().split(".")[1:]]), why), flush=True)
    if not result.wasSuccessful():
        sys.exit(1)
    sys.exit(SKIPPED if result.skipped and len(result.skipped) >= result.testsRun else 0)
