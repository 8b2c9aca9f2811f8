"""How the map comes to the nodes of a real cluster: from each other, not each from the store."""

import os
import shutil

from faults import Faults, main
from systest import again_if_another_is_elected, wait_for

SLOTS = 1024  # of a class: cluster.slots


class Map(Faults):
    def setUp(self):
        super().setUp()
        os.mkdir(self.path("group"))
        self.settings = ['providers=[{type: kv, name: kv}, {type: extent, name: extent}, {type: group, name: group, listen: '
                         '"udp://ADDRESS:4711", directory: "%s"}]' % self.path("group")]

    @again_if_another_is_elected
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

    @again_if_another_is_elected
    def test_one_that_starts_reads_little_of_the_store(self):
        """And one that is new: what there is of slots and members the others tell it."""
        self.begin(settings=[*self.settings, "cluster.lost_after=8s"])
        self.whole()
        first = self.coordinator()
        gone = self.others(first)[0]
        for how in ("stopped", "killed", "new"):
            gone.stop() if how == "stopped" else gone.kill()
            if how == "new":
                shutil.rmtree(gone.data)
            gone.start()
            self.whole(members=4 if how == "new" else 3)
            wait_for("its map", lambda: self.knows_all_slots(gone))
            said = self.status(gone)
            # Namespaces, its own entry, who coordinates, the cluster's times.
            self.assertIn(said["store_entries_read"], range(1, SLOTS // 16), said)
            self.assertLess(said["store_entries_told"], SLOTS // 4)

    def knows_all_slots(self, node):
        """It can tell of a slot of which it has no replica where that is."""
        placed = [node.cairn("where", "--json", "many", "k%d" % i) for i in range(8)]
        return all(p.code == 0 and p.json.get("replicas") for p in placed)

    def coordinator_of(self, node):
        return self.status(node)["coordinator"]


if __name__ == "__main__":
    main()
