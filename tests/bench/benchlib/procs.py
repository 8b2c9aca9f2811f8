"""Processes that a comparison starts: every one is known by its pid, and none outlives the comparison."""

import ctypes
import json
import os
import resource
import shlex
import signal
import subprocess
import sys
import time

PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


class Failed(Exception):
    """A program did not do what it was started for; the text says which and what it printed."""


class Beside(float):
    """How many times as much Cairn does as its yardstick."""

    def __new__(cls, cairn, yardstick):
        self = super().__new__(cls, cairn / yardstick)
        self.cairn, self.yardstick = cairn, yardstick
        return self


def raise_descriptor_limit():
    """Thousands of connections are among the things measured; children inherit this."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _die_with_parent():
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


class Procs:
    """Starts programs in sessions of their own (a Ctrl-C at the terminal reaches us alone), and ends them in good order."""

    def __init__(self, verbose=False):
        self.running = []
        self.verbose = verbose

    def start(self, argv, log=None, env=None, **kwargs):
        """A program that stays; its output goes to the file @log."""
        self._say(argv)
        out = open(log, "ab") if log else subprocess.DEVNULL
        try:
            p = subprocess.Popen(
                argv, stdin=kwargs.pop("stdin", subprocess.DEVNULL), stdout=kwargs.pop("stdout", out), stderr=out,
                env={**os.environ, **(env or {})}, start_new_session=True, preexec_fn=_die_with_parent, **kwargs)
        finally:
            if log:
                out.close()
        self.running.append(p)
        return p

    def run(self, argv, timeout=120, env=None):
        """A program that ends; returns what it printed. Raises Failed."""
        self._say(argv)
        p = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                             env={**os.environ, **(env or {})}, start_new_session=True, preexec_fn=_die_with_parent)
        self.running.append(p)
        try:
            out, err = p.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            raise Failed(f"{shlex.join(argv)}: no end after {timeout} s") from None
        finally:
            self.stop(p)
        if p.returncode != 0:
            words = (err.strip() or out.strip() or "no output").splitlines()[-5:]
            raise Failed(f"{shlex.join(argv)}: status {p.returncode}: " + " | ".join(words))
        return out

    def run_json(self, argv, **kwargs):
        """As run(), for programs that print one JSON document."""
        out = self.run(argv, **kwargs)
        try:
            return json.loads(out[out.index("{"):])
        except ValueError:
            raise Failed(f"{shlex.join(argv)}: not JSON: {out.strip()[:200]}") from None

    def stop(self, p, grace=5.0):
        """Asks @p to end, insists after @grace seconds, and waits for it either way."""
        if p.poll() is None:
            p.terminate()
            try:
                p.wait(grace)
            except subprocess.TimeoutExpired:
                p.kill()
                p.wait()
        if p in self.running:
            self.running.remove(p)

    def stop_all(self):
        while self.running:
            self.stop(self.running[-1], grace=2.0)

    def _say(self, argv):
        if self.verbose:
            print("+ " + shlex.join(argv), file=sys.stderr)


def wait_until(ready, seconds, what, process=None, log=None, every=0.01):
    """Polls @ready() until it holds, at most each @every seconds. Raises Failed when time is up or @process has ended, with the end of its log."""
    end = time.monotonic() + seconds
    while not ready():
        dead = process is not None and process.poll() is not None
        if dead or time.monotonic() > end:
            tail = ""
            if log and os.path.exists(log):
                with open(log, errors="replace") as f:
                    tail = ": " + " | ".join(f.read().strip().splitlines()[-5:])
            raise Failed(f"{what} {'ended' if dead else 'is not ready after %g s' % seconds}{tail}")
        time.sleep(every)
