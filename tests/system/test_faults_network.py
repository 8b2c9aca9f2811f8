"""Faults of the network between real nodes: cuts, whole, partial and one way; losses; packets late, twice, in any order."""

from faults import Faults, main


class Network(Faults):
    def test_cuts(self):
        """Each cut leaves a majority that the clients and the store see, so every key is served all the while."""
        self.begin()
        self.load(large=True)

        first = self.coordinator()
        self.network.cut_off(first.name)
        self.served()
        self.network.heal()
        self.whole()

        first = self.coordinator()
        a, b = self.others(first)
        self.network.cut([a.name], [b.name])
        self.served()
        self.network.heal()
        self.whole()

        # It hears everybody, and the coordinator does not hear it; then the other way about.
        self.network.cut_one_way(a.name, first.name)
        self.served()
        self.network.heal()
        self.whole()
        self.network.cut_one_way(first.name, b.name)
        self.served()
        self.network.heal()
        self.whole()

        # The coordinator has everybody but the store.
        first = self.coordinator()
        self.network.cut([first.name], ["store"])
        self.served()
        self.network.heal()
        self.whole()
        self.judge()

    def test_losses_and_delays(self):
        self.begin()
        self.load()
        self.network.lose(50)
        for _ in range(3):
            self.served()
        self.network.heal()
        self.network.shake([n.name for n in self.all], delay_ms=5, jitter_ms=20, twice=20)
        for _ in range(3):
            self.served()
        self.network.lose(20)
        self.served()
        self.network.heal()
        self.network.calm()
        self.whole()
        self.judge()


if __name__ == "__main__":
    main()
