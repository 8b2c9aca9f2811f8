"""Faults of the map store of real nodes: etcd killed, and cut off from everybody; one of three of its members after another.
"""

import time

from faults import Faults, main
from systest import DEGRADED, wait_for

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
            self.nothing_served(seconds=2)
            ends()
            self.served()
            self.whole()
        self.judge()

    def nothing_served(self, seconds):
        since = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        time.sleep(seconds)
        for namespace, histories in self.histories.items():
            # A write-once value is true wherever it is: a replica gives it without a lease.
            kinds = ("put", "new", "erase") if namespace == "once" else ("put", "new", "erase", "get")
            self.assertEqual([h.served(since, kinds) for h in histories], [set()] * len(histories), namespace)

    def test_two_of_three_are_a_store(self):
        """Whichever of etcd's members is killed or cut off, the one that leads among them: every key is served all the
        while."""
        self.begin(stores=STORES)
        self.load()
        for host in STORES:
            self.kill_store(host)
            self.served()
            self.start_store(host)
            self.whole()
        for host in STORES:
            self.network.cut_off(host)
            self.served()
            self.network.heal()
            self.whole()
        self.judge()


if __name__ == "__main__":
    main()
