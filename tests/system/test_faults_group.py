"""Faults of the network between the members of a group: losses while no processor is free, cuts, partitions, and those that
are heard but do not hear. Nobody who lives and can be reached is found silent; who cannot be is, comes back, and in the end all
agree."""

import json
import os
import subprocess
import time
import unittest

from faults import LONG, FaultNode
from netns import Network, refusal
from systest import CAIRN, Case, clean_env, main, wait_for

CLUSTER = "0123456789abcdef0123456789abcdef"
LOSSY_S = 120 if LONG else 15
NAMES = ["n1", "n2", "n3", "n4", "n5"]
STATES = {"alive", "suspect", "silent", "left"}
ALIVE = dict.fromkeys(NAMES, "alive")


class Watch:
    """Each change that a member sees: `cairn members --watch`."""

    def __init__(self, case, node):
        self.path = case.path("watch-" + node.name)
        with open(self.path, "wb") as out:
            self.process = subprocess.Popen([CAIRN, "members", "--watch", "--json"], stdout=out,
                                            env=clean_env(CAIRN_WORKSPACE=node.workspace))
        case.addCleanup(self.process.wait)
        case.addCleanup(self.process.kill)

    def silent(self):
        """Who was found silent, ever. A state of another name would look like nobody, for good."""
        with open(self.path) as f:
            told = [json.loads(line) for line in f if line.endswith("\n")]
        unknown = {m["state"] for m in told} - STATES
        if unknown:
            raise AssertionError("states that this test does not know: %s" % sorted(unknown))
        return {m["name"] for m in told if m["state"] == "silent"}


@unittest.skipIf(refusal(), refusal())
class Group(Case):
    def setUp(self):
        super().setUp()
        self.network = Network(NAMES)
        self.addCleanup(self.network.stop)
        key = self.write("key", b"0123456789abcdef" * 4 + b"\n")
        os.chmod(key, 0o600)
        address = self.network.address
        for name in NAMES:
            conf = {"node": {"name": name, "cluster": CLUSTER, "workers": 1}, "auth": {"key_file": key},
                    "listen": ["unix://node.sock", "tcp://%s:4710" % address[name]],
                    "providers": [{"type": "kv", "name": "kv", "backend": "memory"},
                                  {"type": "extent", "name": "extent", "backend": "memory"},
                                  {"type": "group", "name": "group", "listen": "udp://%s:4711" % address[name],
                                   "join": ["udp://%s:4711" % address[n] for n in NAMES if n != name]}]}
            path = self.write(name + ".yaml", json.dumps(conf).encode())
            self.nodes.append(FaultNode(self.base, name, self.network, ["--config", path]).start())
        self.all_agree()

    def counts(self, node):
        return next(p for p in node.cairn("status", "--json").json["providers"] if p["type"] == "group")

    def sum_of(self, field, nodes=None):
        return sum(self.counts(n)[field] for n in nodes or self.nodes)

    def states(self, node):
        return {m["name"]: m["state"] for m in node.cairn("members", "--json").json["members"]}

    def see(self, nodes, states):
        wait_for("that all see %s" % states, lambda: all(self.states(n) == states for n in nodes))

    def all_agree(self):
        self.see(self.nodes, ALIVE)

    def with_silent(self, *names):
        return {**ALIVE, **dict.fromkeys(names, "silent")}

    def probes(self, nodes, n):
        """Each of the nodes probes @n times more."""
        since = {node.name: self.counts(node)["probes"] for node in nodes}
        wait_for("probes", lambda: all(self.counts(node)["probes"] >= since[node.name] + n for node in nodes))

    def test_losses_and_busy_processors_kill_nobody(self):
        """A tenth of all packets, and two programs for each processor that want all of it."""
        burners = [subprocess.Popen(["sh", "-c", "while :; do :; done"]) for _ in range(2 * os.cpu_count())]
        for burner in burners:
            self.addCleanup(burner.wait)
            self.addCleanup(burner.kill)
        watches = [Watch(self, n) for n in self.nodes]
        self.network.lose(100)
        until = time.monotonic() + LOSSY_S
        while time.monotonic() < until:
            self.probes(self.nodes, 5)
        wait_for("lost packets to be seen", lambda: self.sum_of("probes_by_others") >= 3)
        self.assertEqual([w.silent() for w in watches], [set()] * len(watches))
        self.assertEqual(self.sum_of("deaths_found"), 0)
        print("%d probes, %d saved by others, %d suspicions" % tuple(
            self.sum_of(f) for f in ("probes", "probes_by_others", "suspicions")), flush=True)
        self.network.heal()
        self.all_agree()

    def test_who_is_cut_off_is_evicted_and_comes_back(self):
        one, rest = self.nodes[0], self.nodes[1:]
        for _ in range(2):
            self.network.cut_off("n1")
            self.see(rest, self.with_silent("n1"))
            self.see([one], self.with_silent("n2", "n3", "n4", "n5"))
            self.network.heal()
            self.all_agree()

    def test_partitions_heal(self):
        a, b = NAMES[:2], NAMES[2:]
        self.network.cut(a, b)
        self.see(self.nodes[:2], self.with_silent(*b))
        self.see(self.nodes[2:], self.with_silent(*a))
        self.network.heal()
        self.all_agree()

        # In three, of which the middle one sees both others: everybody is vouched for, nobody dies.
        died = self.sum_of("deaths_found")
        watches = [Watch(self, n) for n in self.nodes]
        self.network.cut(NAMES[:2], NAMES[3:])
        saved = self.sum_of("probes_by_others")
        wait_for("indirect pings", lambda: self.sum_of("probes_by_others") > saved + 10)
        self.assertEqual([w.silent() for w in watches], [set()] * len(watches))
        self.assertEqual(self.sum_of("deaths_found"), died)
        self.network.heal()
        self.all_agree()

    def test_cuts_one_way(self):
        """Between two, where the others vouch for both; then one that nobody hears; then one that hears nobody."""
        one, rest = self.nodes[0], self.nodes[1:]
        self.network.cut_one_way("n1", "n2")
        saved = self.sum_of("probes_by_others", self.nodes[:2])
        wait_for("indirect pings", lambda: self.sum_of("probes_by_others", self.nodes[:2]) >= saved + 5)
        self.assertEqual(self.sum_of("deaths_found"), 0)
        self.all_agree()  # who is suspected for a moment is vouched for
        self.assertEqual(self.sum_of("deaths_found"), 0)
        self.network.heal()

        watches = [Watch(self, n) for n in rest]
        for name in NAMES[1:]:
            self.network.cut_one_way("n1", name)
        self.see(rest, self.with_silent("n1"))
        self.network.heal()
        self.all_agree()
        for name in NAMES[1:]:
            self.network.cut_one_way(name, "n1")
        self.see(rest, self.with_silent("n1"))
        self.see([one], self.with_silent(*NAMES[1:]))
        self.network.heal()
        self.all_agree()
        self.assertEqual([w.silent() for w in watches], [{"n1"}] * len(watches))


if __name__ == "__main__":
    main()
