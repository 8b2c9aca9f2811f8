"""Slots that move while processes are killed: who gives, who gets, who coordinates. The moves go on when it is back, and nothing
is lost. And a node whose weight was changed: slots and load follow."""

import os

from systest import main, wait_for
from test_cluster_moves import Load, MovesCase, SLOTS


class Killed(MovesCase):
    def amid(self, seen_by, name, fewer_than, more_than):
        """Waits until the node holds so many slots: moves are under way, and many are still to come."""
        wait_for("moves of %s" % name, lambda: fewer_than > self.member(seen_by, name)["slots"] > more_than)

    def kill_and_start(self, victim):
        victim.kill()
        victim.start()

    def test_killed_amid_moves(self):
        self.begin(3, "cluster.moves=4", "cluster.moves_per_node=2")
        first, second, third = self.all
        self.await_members(first, 3)
        self.create(first, 2)
        source = self.fill(first)
        wait_for("a whole class", lambda: self.is_settled(first))

        # Who gets.
        fourth = self.add()
        self.amid(first, "n4", 400, 20)
        self.kill_and_start(fourth)
        wait_for("all that moves", lambda: self.is_settled(first))
        self.assert_even(first, ("n1", "n2", "n3", "n4"), 2)
        self.assert_whole(fourth, source)

        # Who gives: a drain that was not done goes on. Somebody writes all the while, and is told of no error.
        load = Load(first, self.path("key"), "data")
        try:
            self.ok(self.cairn(first, "drain", "n3"))
            self.amid(first, "n3", 480, 100)
            self.kill_and_start(third)
            wait_for("the drain", lambda: self.member(first, "n3")["state"] == "drained")
        finally:
            load.end()
        self.assertEqual(load.failed, [])
        self.assertGreater(len(load.done), 5)
        self.assert_whole(third, source)
        for key, value in load.done.items():
            self.assertEqual(self.ok(self.cairn(second, "get", "data", key)).out, value)
        self.ok(self.cairn(first, "drain", "--cancel", "n3"))
        wait_for("its share", lambda: self.member(first, "n3")["slots"] > 400)
        wait_for("all that moves", lambda: self.is_settled(first))

        # Who coordinates: another one takes the moves over.
        victim = self.coordinator()
        drained, other = [n for n in self.all if n is not victim][:2]
        self.ok(self.cairn(other, "drain", drained.name))
        self.amid(other, drained.name, 480, 100)
        self.kill_and_start(victim)
        wait_for("the drain", lambda: self.member(other, drained.name)["state"] == "drained")
        wait_for("all that moves", lambda: self.is_settled(other))
        self.assert_even(other, [n.name for n in self.all if n is not drained], 2)
        self.assert_whole(victim, source)

    def taken(self):
        """How many bytes each node has taken from clients."""
        return [sum(m["in_bytes"] for m in n.cairn("metrics", "--json").json["methods"]
                    if m["provider"] == "router" and m["method"] in ("put", "mput")) for n in self.all]

    def test_a_weight_that_is_changed(self):
        self.begin(3)
        first, _, third = self.all
        self.await_members(first, 3)
        self.create(first, 1)
        source = self.fill(first)
        wait_for("a whole class", lambda: self.is_settled(first))
        self.assert_even(first, ("n1", "n2", "n3"), 1)

        third.args += ["--set", "cluster.weight=300"]
        self.assertEqual(third.stop(), 0)
        third.start()
        wait_for("its share", lambda: self.member(first, "n3")["slots"] > SLOTS // 2)
        wait_for("all that moves", lambda: self.is_settled(first))
        shares = []

        def by_weight():
            members = self.members(first)
            shares[:] = [members[n]["slots"] for n in ("n1", "n2", "n3")]
            return all(abs(share - SLOTS * weight / 500) < SLOTS / 20 for share, weight in zip(shares, (100, 100, 300)))

        wait_for("shares by weight", by_weight)
        self.assert_whole(first, source)

        # Six of ten values are its own now.
        before = self.taken()
        for i in range(300):
            self.write(os.path.join("more", "m%d" % i), os.urandom(4000))
        self.ok(self.cairn(first, "import", "data", self.path("more")))
        taken = [after - b for after, b in zip(self.taken(), before)]
        self.assertGreater(taken[2], 1.5 * max(taken[:2]), taken)


if __name__ == "__main__":
    main()
