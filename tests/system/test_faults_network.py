"""Faults of the network between real nodes: cuts, whole, partial and one way; losses; packets late, twice, in any order."""

from faults import Faults, main
from systest import tries, wait_for


class Network(Faults):
    def heals(self):
        """Everybody is served while a cut is there, and all is as before it afterwards; and it was one."""
        self.served()
        self.assertGreater(self.network.heal(), 0)
        self.whole()

    def await_another(self, first):
        others = self.others(first)
        wait_for("another coordinator", lambda: any(self.status(n)["coordinates"] for n in others))

    def while_one_coordinates(self, cut):
        """A cut between those that it chose; another, where somebody else was elected before it had its consequence."""
        for _ in tries("a cut that had its consequence"):
            if cut():
                break
            self.network.heal()
            self.whole()
        self.heals()

    def silence(self, cut):
        """Cuts somebody off from the coordinator, so that it is without a lease."""
        def is_without_lease():
            first = self.coordinator()
            other = self.others(first)[0]
            cut(first, other)
            wait_for("%s to be without a lease" % other.name, lambda: self.status(other)["lease_ms"] == 0 or
                     not self.status(first)["coordinates"])
            return self.status(other)["lease_ms"] == 0 and self.status(first)["coordinates"]

        self.while_one_coordinates(is_without_lease)

    def await_silence(self, node):
        wait_for("%s to be without a lease" % node.name, lambda: self.status(node)["lease_ms"] == 0)

    def lacking(self, node):
        """Who is to hold slots in which it is not in sync, by who coordinates."""
        members = node.cairn("status", "--json").json.get("cluster", {}).get("members", [])
        return {m["name"] for m in members if m["in_sync"] < m["slots"]}

    def test_cuts(self):
        """Each cut leaves a majority that the clients and the store see, so every key is served all the while. It lasts until
        it has had its consequence, without which a cut that is none would do as well."""
        self.begin()
        self.load(large=True)

        first = self.coordinator()
        self.network.cut_off(first.name)
        self.await_another(first)
        self.await_silence(first)
        self.heals()

        # Who leads a slot with the other behind it does without that.
        def both_do_without_the_other():
            first = self.coordinator()
            a, b = self.others(first)
            self.network.cut([a.name], [b.name])
            wait_for("both to do without the other", lambda: self.lacking(first) == {a.name, b.name} or
                     not self.status(first)["coordinates"])
            return self.lacking(first) == {a.name, b.name}

        self.while_one_coordinates(both_do_without_the_other)

        # It hears everybody, and the coordinator does not hear it; then the other way about.
        self.silence(lambda first, other: self.network.cut_one_way(other.name, first.name))
        self.silence(lambda first, other: self.network.cut_one_way(first.name, other.name))

        # The coordinator has everybody but the store.
        first = self.coordinator()
        self.network.cut([first.name], ["store"])
        self.await_another(first)
        self.heals()
        self.judge()

    def test_losses_and_delays(self):
        self.begin()
        self.load()
        self.network.lose(50)
        for _ in range(3):
            self.served()
        self.assertGreater(self.network.heal(), 0)
        self.network.shake([n.name for n in self.all], delay_ms=5, jitter_ms=20, twice=20)
        for _ in range(3):
            self.served()
        self.network.lose(20)
        self.served()
        lost, shaken = self.network.heal(), self.network.calm()
        print("%d packets lost; %s" % (lost, shaken), flush=True)
        self.assertGreater(lost, 0)
        self.assertEqual([what for what, n in shaken.items() if n == 0], [])
        self.whole()
        self.judge()


if __name__ == "__main__":
    main()
