"""How the map comes to the nodes of a real cluster: from each other, not each from the store."""

import os

from faults import Faults, main
from systest import wait_for

SLOTS = 1024  # of a class: cluster.slots


class Map(Faults):
    def setUp(self):
        super().setUp()
        os.mkdir(self.path("group"))
        self.settings = ['providers=[{type: kv, name: kv}, {type: extent, name: extent}, {type: group, name: group, listen: '
                         '"udp://ADDRESS:4711", directory: "%s"}]' % self.path("group")]

    def test_one_that_cannot_talk_to_the_coordinator_learns_of_others(self):
        self.begin(settings=self.settings)
        self.whole()
        first = self.coordinator()
        a, b = self.others(first)
        before = {n.name: self.status(n) for n in (a, b)}

        def has_the_map(node):
            revision = self.status(first)["map_revision"]  # which may grow meanwhile
            return self.status(node)["map_revision"] >= revision > before[node.name]["map_revision"]

        # The coordinator finds it silent, which is a change; then slots of another class are made.
        self.network.cut([a.name], [first.name])
        wait_for("silence", lambda: self.status(a)["lease_ms"] == 0)
        wait_for("a's map", lambda: has_the_map(a))
        self.ok(first.cairn("ns", "create", "--replicas", "1", "ones"))
        before[a.name] = self.status(a)
        self.ok(first.cairn("ns", "create", "--replicas", "3", "threes"))
        wait_for("a's map", lambda: has_the_map(a))
        self.assertGreater(self.status(a)["map_asked_others"], 0)
        self.assertEqual(self.status(a)["map_words_wrong"], 0)
        self.assertEqual(self.coordinator_of(b), first.name)

        # Neither read anything of the store for that, nor was it told there of slots and members.
        for node in a, b:
            after = self.status(node)
            self.assertGreater(self.status(first)["store_entries_read"], 0)
            self.assertEqual(after["store_entries_read"], before[node.name]["store_entries_read"])
            self.assertLess(after["store_entries_told"], before[node.name]["store_entries_told"] + SLOTS // 4)
        self.network.heal()
        self.whole()

    def coordinator_of(self, node):
        return self.status(node)["coordinator"]


if __name__ == "__main__":
    main()
