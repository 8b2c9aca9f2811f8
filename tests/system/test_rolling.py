"""A rolling restart: every node is stopped by SIGTERM and started again, one after the other, while clients write and read. No
client is told of an error, none waits for a lease to end, and their histories are those of a single store."""

import shutil
import time
import unittest

from histories import OUTCOMES, Histories
from systest import DEADLINE_S, Case, Etcd, free_port, main, wait_for

CLUSTER = "0123456789abcdef0123456789abcdef"
LEASE = "60s"  # twice what a client has patience for: who waits for one to end is told of an error


@unittest.skipUnless(shutil.which("etcd"), "etcd is not installed")
class Rolling(Etcd, Histories, Case):
    def begin(self):
        url, self.etcd = self.start_etcd(self.path("etcd"))
        self.ports = {"n%d" % i: free_port() for i in (1, 2, 3)}
        self.all = []
        for name, port in self.ports.items():
            settings = {"map.store": "etcd", "map.endpoints": url, "node.cluster": CLUSTER, "node.name": name,
                        "auth.key_file": self.path("key"), "cluster.zone": name, "cluster.lease": LEASE,
                        "listen": "[unix://node.sock, 'tcp://127.0.0.1:%d']" % port}
            node = self.node(name, args=[x for k, v in settings.items() for x in ("--set", "%s=%s" % (k, v))])
            node.name = name
            self.all.append(node.start())

    def wait_whole(self, node):
        key = ("--key", self.path("key"))
        self.ok(node.cairn(*key, "wait-ready", "--whole", "--timeout", "%ds" % DEADLINE_S))
        slots = self.ok(node.cairn(*key, "status", "--json")).json["cluster"]["slots"]
        self.assertEqual((slots["all"], slots["degraded"], slots["lost"], slots["takeover"]), (1024, 0, 0, 0))

    def addresses(self):
        return ["tcp://127.0.0.1:%d" % p for p in self.ports.values()]

    def test_nobody_notices(self):
        self.begin()
        key = ("--key", self.path("key"))
        self.ok(self.all[0].cairn(*key, "ns", "create", "--replicas", "2", "many"))
        self.ok(self.all[0].cairn(*key, "ns", "create", "--replicas", "2", "--write-once", "once"))
        for node in self.all:
            for name in ("many", "once"):
                wait_for("the namespace", lambda n=node, x=name: n.cairn(*key, "ns", "show", x).code == 0)
        self.wait_whole(self.all[0])
        many = [self.client("many", i, "many") for i in (1, 2, 3)]
        once = [self.client("once", 4, "once")]
        time.sleep(1)
        restarts = []
        for node in self.all:
            began = time.clock_gettime(time.CLOCK_MONOTONIC)
            self.assertEqual(node.stop(), 0)
            stopped = time.clock_gettime(time.CLOCK_MONOTONIC)
            self.assertIn("slots were handed over", node.log())
            time.sleep(0.5)
            node.start()
            self.wait_whole(node)
            restarts.append((node.name, began, stopped, time.clock_gettime(time.CLOCK_MONOTONIC)))
        for history in many + once:
            history.process.stdin.close()
            self.assertEqual(history.process.wait(DEADLINE_S), 0, [o for o in history.operations() if o[4] not in OUTCOMES])
        over = [o for h in many + once for o in h.operations()]
        for name, began, stopped, whole in restarts:
            ends = sorted(o[3] for o in over if o[1] != "get" and o[4] in ("ok", "exists") and began <= o[3] <= whole)
            pause = max(b - a for a, b in zip([began, *ends], [*ends, whole]))
            waited = max([o[3] - o[2] for o in over if o[1] != "get" and o[2] <= whole and o[3] >= began] or [0])
            print("%s: stopped in %.2f s, whole after %.2f s; %d writes, %.3f s without one, the longest took %.3f s" %
                  (name, stopped - began, whole - began, len(ends), pause, waited), flush=True)
        # Every fourth worker gives up after 0.4 s; the others are told of no error at all.
        self.assertEqual([o for o in over if o[4] not in OUTCOMES and o[0] % 4 != 0], [])
        print(self.judge(many, 8, "many"), self.judge(once, 9, "once"), flush=True)


if __name__ == "__main__":
    main()
