"""A node that is gone is missed: at once where it says so itself, and where the others find it out."""

import unittest

from systest import OK, main, wait_for
from test_cluster import ClusterCase

LEASE = "60s"  # silence alone is noticed no earlier


class Away(ClusterCase):
    def begin(self):
        super().begin(conf={"cluster": {"lease": LEASE}})
        self.key = ("--key", self.path("key"))
        self.coordinator()
        self.ok(self.all[0].cairn(*self.key, "ns", "create", "--replicas", "3", "data"))
        self.whole(self.all[0])

    def whole(self, node):
        self.ok(node.cairn(*self.key, "wait-ready", "--whole", "--timeout", "100s"))

    def cluster(self, node):
        """What the coordinator says, asked through @node; {} if there is none."""
        return node.cairn(*self.key, "status", "--json").json.get("cluster", {})

    def missed(self, said, gone):
        """Asserts that @said counts the node out: it, and its copy of every slot."""
        states = {m["name"]: m["state"] for m in said["members"]}
        self.assertEqual(states, {n.name: "silent" if n is gone else "up" for n in self.all})
        self.assertEqual(said["slots"]["degraded"], said["slots"]["all"])
        self.assertEqual(said["classes"][0]["fewest"], 2)

    def test_who_stops_is_missed_at_once(self):
        self.begin()
        first = self.coordinator()
        other = next(n for n in self.all if n is not first)
        for gone in (other, first):
            asked = next(n for n in self.all if n is not gone)
            self.assertEqual(gone.stop(), 0)
            said = {}
            wait_for("a coordinator", lambda: said.update(self.cluster(asked)) or "members" in said)
            self.missed(said, gone)
            degraded = asked.cairn(*self.key, "wait-ready", "--whole", "--timeout", "1ms")
            self.assertNotEqual(degraded.code, OK)
            gone.start()
            self.whole(asked)
        log = self.ok(asked.cairn(*self.key, "map", "--log")).out
        for node in (other, first):
            self.assertIn("node stopped " + node.name, log)

    def test_who_is_killed_is_missed_by_the_group(self):
        """Nobody is configured to be in a group, and nobody waits for a minute of silence."""
        self.begin()
        first = self.coordinator()

        def members(node):  # while some are suspected or dead it has another exit code
            return {m["name"]: m["state"] for m in node.cairn("members", "--json").json["members"]}

        for node in self.all:
            wait_for("the group", lambda n=node: members(n) == {m.name: "alive" for m in self.all})
        gone, other = (n for n in self.all if n is not first)
        gone.kill()
        wait_for("its death", lambda: members(other)[gone.name] == "silent")

        def is_missed():
            said = self.cluster(other)
            state = next(m for m in said["members"] if m["name"] == gone.name)
            # What it leads may be served by it for as long as its lease lasts; everybody else goes on without it.
            return state["state"] == "silent" and state["in_sync"] == state["leads"]

        wait_for("the coordinator", is_missed)
        self.missed(self.cluster(other), gone)
        self.assertIn("node %s is silent: the group says that it is dead" % gone.name, first.log())
        self.assertIn("node silent " + gone.name, self.ok(other.cairn(*self.key, "map", "--log")).out)
        gone.start()
        self.whole(other)
        self.assertEqual(members(other), {m.name: "alive" for m in self.all})


if __name__ == "__main__":
    main()
