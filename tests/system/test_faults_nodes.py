"""Faults of real nodes: stopped and continued, killed again and again, out of disk, without their data, with a clock that is stepped.

CAIRN_FAULTS_LONG=1: each stop lasts 30 s, and CAIRN_KILLS (by default 50) are as many kills as nobody waits for in CI.
"""

import datetime
import errno
import os
import random
import shutil
import signal
import subprocess
import time

from faults import LEASE_S, LONG, Faults, child_of, main
from systest import wait_for

STOPS_S = [30, 30 if LONG else LEASE_S + 2]
KILLS = int(os.environ.get("CAIRN_KILLS", "50" if LONG else "10"))
ROOM_FOR_REMOVALS = 30 << 20  # half of what new data leaves of the small disk: server/storage/spare.h
FAKETIME = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1"


class Nodes(Faults):
    def test_stopped_and_continued(self):
        """A node that stands still longer than its lease: the coordinator, then another. It comes back to find itself
        replaced, and what it answers then must be right."""
        self.begin()
        self.load()
        for stop_s, coordinates in zip(STOPS_S, (True, False)):
            first = self.coordinator()
            victim = first if coordinates else self.others(first)[0]
            victim.send(signal.SIGSTOP)
            until = time.monotonic() + stop_s
            others = self.others(victim)
            wait_for("a coordinator that stands not still", lambda: any(self.status(n)["coordinates"] for n in others))
            wait_for("it to be missed", lambda: self.member_states(others[0]).get(victim.name) == "silent")
            self.served()
            time.sleep(max(0, until - time.monotonic()))
            victim.send(signal.SIGCONT)
            self.whole()
        self.judge()

    def test_killed_again_and_again(self):
        self.begin()
        self.load(large=True)
        dice = random.Random(7)
        for _ in range(KILLS):
            victim = dice.choice(self.all)
            victim.kill()
            if dice.random() < 0.5:  # else it is back before anybody misses it
                self.served()
            victim.start()
            self.whole()
        self.judge()

    def test_wiped(self):
        """A node that comes back with nothing is a new one, and nothing is taken from it that it no longer has. What it was
        is lost for good, and in the end every slot has its replicas elsewhere."""
        self.begin(settings=["cluster.lost_after=8s"])
        self.load()
        self.whole()
        victim = self.all[1]
        victim.kill()
        shutil.rmtree(victim.data)
        victim.start()
        self.served()
        self.whole(members=4)
        self.judge()

    def test_full_disk(self):
        """New data is refused by who leads its slot, at once, and all goes on when there is room again."""
        small = self.small_disk(512)
        self.begin(node_args={"n2": {"data": os.path.join(small, "data")}}, settings=("cluster.checkpoint_interval=1s",))
        self.load()
        there = ["there-%d" % i for i in range(20)]
        for key in there:
            self.ok(self.all[0].cairn("put", "-v", "1", "many", key))
        self.fill(small, leave=ROOM_FOR_REMOVALS)
        wait_for("a full disk", lambda: self.status(self.all[1])["health"] == "readonly")
        self.ok(self.all[0].cairn("ns", "create", "--replicas", "2", "late"))
        late = [self.all[0].cairn("put", "-v", "1", "late", "late-%d" % i).code for i in range(20)]
        self.assertEqual(set(late), {0, 1})  # of whom the full node is a backup, it follows: into a database it has not yet
        for key in there:  # what is removed is an entry of a log, too
            self.ok(self.all[0].cairn("rm", "many", key))
        self.fill(small)
        time.sleep(2 * LEASE_S)  # a node that had ended would be missed by then
        self.assertEqual([self.status(n)["failed"] for n in self.all], [False] * 3)
        wait_for("health", lambda: [self.status(n)["health"] for n in self.all] == ["ok", "readonly", "ok"])
        wait_for("word of it", lambda: "disk is full" in self.status(self.all[1])["problem"])
        puts = [self.all[0].cairn("put", "-v", "1", "many", "full-%d" % i) for i in range(20)]
        self.assertEqual({p.code for p in puts}, {0, 1}, [p.err for p in puts])
        self.assertEqual({"no space" in p.err for p in puts if p.code != 0}, {True}, [p.err for p in puts])
        os.unlink(os.path.join(small, "full"))
        self.served()
        self.whole()
        self.judge()

    def fill(self, directory, leave=0):
        with open(os.path.join(directory, "full"), "ab", buffering=0) as f:
            try:
                while os.statvfs(directory).f_bavail * 4096 >= leave and f.write(b"x" * (1 << 20)) > 0:
                    pass
            except OSError as e:
                self.assertEqual(e.errno, errno.ENOSPC)

    def test_clocks(self):
        """The wall clock of one node is stepped by an hour, forth and back, and another's clocks count from elsewhere: what
        a node decides, it decides by time that has passed."""
        step = self.write("step", b"+0")
        if not os.path.exists(FAKETIME):
            self.skipTest("no libfaketime: deploy/install-deps test")
        if subprocess.run(["unshare", "--time", "--boottime", "3600", "true"], capture_output=True).returncode != 0:
            self.skipTest("the kernel, or who we are, allows no time namespaces")
        fake = ["env", "LD_PRELOAD=" + FAKETIME, "FAKETIME_TIMESTAMP_FILE=" + step, "FAKETIME_NO_CACHE=1",
                "FAKETIME_DONT_FAKE_MONOTONIC=1"]
        ahead = ["unshare", "--time", "--fork", "--kill-child", "--boottime", "3600", "--monotonic", "3600"]
        self.begin(node_args={"n1": {"around": fake}, "n2": {"around": ahead, "forks": True}})
        self.load()
        self.assertNotEqual(os.readlink("/proc/%d/ns/time" % child_of(self.all[1].process.pid)), os.readlink("/proc/self/ns/time"))
        for step_s in 3600, 0, -3600:
            self.write("step", b"%+d" % step_s)
            self.assertLess(abs(self.clock_ahead_s(self.all[0], "stepped-%d" % step_s) - step_s), 600)
            self.served()
            self.whole()
        for node in self.all[:2]:
            node.kill()
            self.served()
            node.start()
            self.whole()
        self.judge()

    def clock_ahead_s(self, node, namespace):
        """Of the clock by which a node says when it changed the map."""
        self.ok(node.cairn("ns", "create", namespace))
        log = self.ok(node.cairn("map", "--log", "--json")).json
        when = next(c["time"] for c in log["log"] if c.get("keys") == ["ns/" + namespace])
        return datetime.datetime.strptime(when, "%Y-%m-%d %H:%M:%SZ").replace(tzinfo=datetime.timezone.utc).timestamp() - time.time()


if __name__ == "__main__":
    main()
