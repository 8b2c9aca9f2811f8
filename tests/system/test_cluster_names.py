"""What becomes of namespaces is told to every node of a real cluster, also where much of it comes at once."""

import shutil
import signal
import unittest

from systest import FAILED, OK, main, wait_for
from test_cluster import ClusterCase

KEYS = ["k%d" % i for i in range(16)]


@unittest.skipUnless(shutil.which("etcd"), "etcd is not installed")
class Names(ClusterCase):
    def cairn(self, node, *args):
        return node.cairn("--key", self.path("key"), *args)

    def make(self, node, name):
        self.ok(self.cairn(node, "ns", "create", "--replicas", "2", name))

    def remove(self, node, name):
        self.ok(self.cairn(node, "ns", "remove", "--force", name))

    def has(self, node, name):
        return self.cairn(node, "ns", "show", name).code == OK

    def test_a_node_that_was_stopped_meanwhile(self):
        """It has what the others have; and what it acknowledges afterwards outlives it."""
        self.begin()
        first = self.coordinator()
        stopped, third = (n for n in self.all if n is not first)
        self.make(first, "before")
        wait_for("slots that stay where they are", lambda: self.is_whole() and self.is_spread())
        stopped.process.send_signal(signal.SIGSTOP)
        try:
            self.make(first, "gone")
            self.remove(first, "gone")
            self.make(first, "again")
            self.remove(first, "again")
            self.make(first, "again")
            self.make(first, "last")
        finally:
            stopped.process.send_signal(signal.SIGCONT)
        wait_for("the last namespace", lambda: self.has(stopped, "last"))
        wait_for("the end of the first", lambda: not self.has(stopped, "gone"))
        self.make(stopped, "gone")
        self.remove(stopped, "gone")
        for node in self.all:
            wait_for("the end of it at " + node.name, lambda n=node: self.cairn(n, "ns", "show", "gone").code == FAILED)

        for key in KEYS:
            wait_for("a put", lambda k=key: self.cairn(first, "put", "-v", "value of " + k, "again", k).code == OK)
        stopped.kill()
        for key in KEYS:
            wait_for(key, lambda k=key: self.cairn(third, "get", "again", k).out.strip() == "value of " + k)

    def own(self):
        """A namespace without replicas that all nodes know: each has values of its own."""
        self.begin()
        wait_for("all members", lambda: len(self.cairn(self.all[0], "members", "--cluster", "--names").out.split()) == 3)
        self.ok(self.cairn(self.all[0], "ns", "create", "own"))
        for node in self.all:
            wait_for("it at " + node.name, lambda n=node: self.has(n, "own"))

    def get(self, node, key):
        return self.ok(self.cairn(node, "get", "own", key)).out

    def test_values_of_other_nodes_are_not_removed(self):
        """Wherever one asks; what is empty everywhere needs no force, and with it all goes."""
        self.own()
        first, second, third = self.all
        self.ok(self.cairn(second, "put", "-v", "value", "own", "key"))
        for node in self.all:  # n2 says that it does, or another one that n2 may
            refused = self.fails(self.cairn(node, "ns", "remove", "own"), FAILED, "node n2 ", "something of it", "--force")
            self.assertNotIn("node n1", refused.err)
        self.assertEqual(self.get(second, "key"), "value")
        self.ok(self.cairn(third, "put", "-v", "value", "own", "key"))
        self.ok(self.cairn(second, "rm", "own", "key"))
        self.fails(self.cairn(second, "ns", "remove", "own"), FAILED, "node n3 ", "something of it")
        self.ok(self.cairn(second, "put", "-v", "value", "own", "key"))
        for node in (second, third):
            self.ok(self.cairn(node, "rm", "own", "key"))
        self.ok(self.cairn(first, "ns", "remove", "own"))
        wait_for("its end", lambda: not self.has(third, "own"))
        self.ok(self.cairn(first, "ns", "create", "own"))
        wait_for("the new one", lambda: self.has(third, "own"))
        self.ok(self.cairn(third, "put", "-v", "value", "own", "key"))
        self.ok(self.cairn(first, "ns", "remove", "--force", "own"))
        for node in self.all:
            wait_for("its end", lambda n=node: not self.has(n, "own"))

    def test_values_of_a_node_that_is_down_are_not_removed(self):
        self.own()
        first, second, third = self.all
        self.ok(self.cairn(third, "put", "-v", "value", "own", "key"))
        third.kill()
        self.fails(self.cairn(first, "ns", "remove", "own"), FAILED, "node n3 may hold something of it")
        self.fails(self.cairn(second, "ns", "remove", "own"), FAILED, "node n3 may hold something of it")
        self.assertTrue(self.has(first, "own"))
        third.start()
        self.assertEqual(self.get(third, "key"), "value")
        self.ok(self.cairn(first, "ns", "remove", "--force", "own"))
        for node in self.all:
            wait_for("its end", lambda n=node: not self.has(n, "own"))


if __name__ == "__main__":
    main()
