"""A rolling restart: every node is stopped by SIGTERM and started again, one after the other, as it is or when it was drained,
while clients write, read and list. No client is told of an error, none waits for a lease to end, and their histories are those
of a single store."""

import os
import shutil
import threading
import time
import unittest

from histories import OUTCOMES, Histories
from systest import CAIRN, DEADLINE_S, OK, Case, Etcd, clean_env, free_ports, main, run, wait_for

CLUSTER = "0123456789abcdef0123456789abcdef"
LEASE = "60s"  # twice what a client has patience for: who waits for one to end is told of an error


class Lists:
    """Lists the same keys again and again, each time as a new client; each answer has to be all of them."""

    def __init__(self, addresses, key, namespace, expected):
        self.argv = [CAIRN, "--address", addresses, "--key", key, "ls", namespace]
        self.expected, self.right, self.wrong, self.over = expected, 0, [], threading.Event()
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self):
        while not self.over.is_set():
            listed = run(*self.argv, env=clean_env())
            if listed.code == OK and listed.out.split() == self.expected:
                self.right += 1
            else:
                self.wrong.append(str(listed))
            self.over.wait(0.1)

    def end(self):
        self.over.set()
        self.thread.join()


@unittest.skipUnless(shutil.which("etcd"), "etcd is not installed")
class Rolling(Etcd, Histories, Case):
    def begin(self):
        url, self.etcd = self.start_etcd(self.path("etcd"))
        self.ports = dict(zip(("n1", "n2", "n3"), free_ports(3)))
        self.all = []
        for name, port in self.ports.items():
            settings = {"map.store": "etcd", "map.endpoints": url, "node.cluster": CLUSTER, "node.name": name,
                        "auth.key_file": self.path("key"), "cluster.zone": name, "cluster.lease": LEASE,
                        "listen": "[unix://node.sock, 'tcp://127.0.0.1:%d']" % port}
            node = self.node(name, args=[x for k, v in settings.items() for x in ("--set", "%s=%s" % (k, v))])
            node.name = name
            self.all.append(node.start())

    def admin(self, node, *argv, **kw):
        return node.cairn("--key", self.path("key"), *argv, **kw)

    def wait_ready(self, node, how):
        self.ok(self.admin(node, "wait-ready", how, "--timeout", "%ds" % (2 * DEADLINE_S), timeout=3 * DEADLINE_S))

    def all_slots_are_whole(self):
        status = self.admin(self.all[0], "status", "--json")
        if status.code != OK:  # degraded until they are, or nobody coordinates yet
            return False
        slots = status.json.get("cluster", {}).get("slots", {})
        return [slots.get(k) for k in ("all", "degraded", "lost", "takeover")] == [1024, 0, 0, 0]

    def addresses(self):
        return ["tcp://127.0.0.1:%d" % p for p in self.ports.values()]

    def restart_each(self, before=lambda node: None):
        """All of it under load; @before is done to each node before it is stopped."""
        self.begin()
        for name, more in (("many", ()), ("once", ("--write-once",)), ("kept", ())):
            self.ok(self.admin(self.all[0], "ns", "create", "--if-missing", "--replicas", "2", *more, name))
            for node in self.all:
                wait_for("the namespace", lambda n=node, x=name: self.admin(n, "ns", "show", x).code == OK)
        wait_for("all slots", self.all_slots_are_whole)
        kept = ["f%02d" % i for i in range(40)]
        for name in kept:
            self.write(os.path.join("kept", name), name.encode())
        self.ok(self.admin(self.all[0], "import", "kept", self.path("kept")))
        many = [self.client("many", i, "many") for i in (1, 2, 3)]
        once = [self.client("once", 4, "once")]
        self.load = many + once
        lists = Lists(",".join(self.addresses()), self.path("key"), "kept", kept)
        self.addCleanup(lists.end)
        self.load_goes_on()
        restarts = [self.restart(node, before) for node in self.all]
        for history in many + once:
            history.process.stdin.close()
            self.assertEqual(history.process.wait(DEADLINE_S), 0, [o for o in history.operations() if o[4] not in OUTCOMES])
        wait_for("some lists", lambda: lists.right > 3 or lists.wrong)
        lists.end()
        self.tell(restarts, many + once)
        # Every fourth worker gives up after 0.4 s; the others are told of no error at all.
        over = [o for h in many + once for o in h.operations()]
        self.assertEqual([o for o in over if o[4] not in OUTCOMES and o[0] % 4 != 0], [])
        self.assertEqual(lists.wrong, [])
        self.assertGreater(lists.right, 3)
        print("%d lists" % lists.right, self.judge(many, 8, "many"), self.judge(once, 9, "once"), flush=True)

    def load_goes_on(self):
        """Every client has been answered some more."""
        had = [len(h.answers()) for h in self.load]
        wait_for("answers", lambda: all(len(h.answers()) > n + 10 for h, n in zip(self.load, had)))

    def restart(self, node, before):
        """Its name, and when it was told to stop, had stopped, and all was whole again."""
        before(node)
        began = time.clock_gettime(time.CLOCK_MONOTONIC)
        self.assertEqual(node.stop(), 0)
        stopped = time.clock_gettime(time.CLOCK_MONOTONIC)
        self.load_goes_on()
        node.start()
        self.wait_ready(node, "--whole")
        return node.name, began, stopped, time.clock_gettime(time.CLOCK_MONOTONIC)

    def tell(self, restarts, histories):
        over = [o for h in histories for o in h.operations()]
        for name, began, stopped, whole in restarts:
            ends = sorted(o[3] for o in over if o[1] != "get" and o[4] in ("ok", "exists") and began <= o[3] <= whole)
            pause = max(b - a for a, b in zip([began, *ends], [*ends, whole]))
            waited = max([o[3] - o[2] for o in over if o[1] != "get" and o[2] <= whole and o[3] >= began] or [0])
            print("%s: stopped in %.2f s, whole after %.2f s; %d writes, %.3f s without one, the longest took %.3f s" %
                  (name, stopped - began, whole - began, len(ends), pause, waited), flush=True)

    def test_nobody_notices(self):
        self.restart_each()
        for node in self.all:
            self.assertIn("slots were handed over", node.log())

    def test_nobody_notices_when_each_is_drained_first(self):
        """All that a node holds moves to the others before it is stopped, and its share back when it was started again."""
        def drain(node):
            self.wait_ready(node, "--settled")
            said = self.ok(self.admin(node, "drain", "--wait", "--json", node.name, timeout=3 * DEADLINE_S)).json
            self.assertEqual((said["state"], said["slots_left"]), ("drained", 0))
            self.assertGreater(said["slots"], 0)

        self.restart_each(before=drain)


if __name__ == "__main__":
    main()
