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


if __name__ == "__main__":
    main()
