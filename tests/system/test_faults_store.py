"""Faults of the map store of real nodes: etcd killed, and cut off from everybody; one of three of its members after another.
"""

import time

from faults import LEASE_S, Faults, main
from systest import DEGRADED, OK, wait_for

STORES = ("store1", "store2", "store3")


class Store(Faults):
    def test_without_the_store_nothing_replicated_is_written(self):
        """Nodes whose leases cannot be renewed answer no client, and say what is wrong; what was written before is there
        afterwards, and nothing else."""
        self.begin()
        self.load(large=True)
        for begins, ends in ((lambda: self.kill_store("store"), lambda: self.start_store("store")),
                             (lambda: self.network.cut_off("store"), self.network.heal)):
            begins()
            wait_for("the end of all leases", lambda: all(self.status(n)["lease_ms"] == 0 for n in self.all))
            for node in self.all:
                wait_for("it to say so", lambda n=node: n.cairn("status").code == DEGRADED)
            self.nothing_served()
            ends()
            self.served()
            self.whole()
        self.judge()

    def nothing_served(self):
        """Every client asks for something, and is not told what became of it."""
        since = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        for namespace, histories in self.histories.items():
            # A write-once value is true wherever it is: a replica gives it without a lease.
            kinds = ("put", "new", "erase") if namespace == "once" else ("put", "new", "erase", "get")
            for history in histories:
                wait_for("what is asked of " + namespace, lambda h=history: any(kind in kinds for _, kind, _ in h.over(since)))
                self.assertEqual(history.served(since, kinds), set(), namespace)

    def test_two_of_three_are_a_store(self):
        """Whichever of etcd's members is killed or cut off, the one that leads among them: the map changes, leases go on, and every
        key is served all the while."""
        self.begin(stores=STORES)
        self.load()
        for host in STORES:
            self.kill_store(host)
            self.store_lives("killed-" + host)
            self.served()
            self.start_store(host)
            self.whole()
        for host in STORES:
            self.network.cut_off(host)
            self.store_lives("cut-off-" + host)
            self.served()
            self.assertGreater(self.network.heal(), 0)
            self.whole()
        self.judge()

    def store_lives(self, namespace):
        """What the leases of before do not answer for: every node makes a namespace, which all see; and then each has a lease of later."""
        for by in self.all:
            name = "%s-by-%s" % (namespace, by.name)
            # A store that has just lost its leader says so, and the client may ask again.
            wait_for("a namespace made by " + by.name, lambda n=by: n.cairn("ns", "create", name).code == OK or
                     n.cairn("ns", "show", name).code == OK)
            for node in self.all:
                wait_for("%s at %s" % (name, node.name), lambda n=node: n.cairn("ns", "show", name).code == OK)
        since = time.monotonic()
        for node in self.all:
            wait_for("another lease", lambda n=node: time.monotonic() + self.status(n)["lease_ms"] / 1000 > since + LEASE_S)


if __name__ == "__main__":
    main()
