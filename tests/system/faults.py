"""What the tests of real faults share: nodes and an etcd on hosts of their own network, clients there that write down their
histories, and the judge of these. A test brings a fault about, waits until every key is served in spite of it, ends it, and waits until
every slot has all its replicas; at the end each key is read once more, and the histories must be linearizable.
"""

import os
import shutil
import signal
import subprocess
import time
import unittest

from netns import Network, refusal
from systest import BUILD, DEADLINE_S, Case, Node, judge_histories, main, wait_for  # noqa: F401

CLIENT = os.path.join(BUILD, "bin", "history_client")
CLUSTER = "0123456789abcdef0123456789abcdef"
# What histories there are, by their namespace: the options that make it, and how many keys history_client rewrites there.
NAMESPACES = {"many": (["--durability", "sync"], 12), "buffered": ([], 12), "large": ([], 4), "once": (["--write-once"], 0)}
LEASE_S = 4  # cluster.lease, unless configured
LONG = bool(os.environ.get("CAIRN_FAULTS_LONG"))


def child_of(pid):
    with open("/proc/%d/task/%d/children" % (pid, pid)) as f:
        return int(f.read().split()[0])


class FaultNode(Node):
    """A node on a host of the network, which may be stopped and continued; @around: programs that start it."""

    def __init__(self, base, name, network, settings, around=(), data=None, forks=False):
        super().__init__(base, name, data=data, args=settings)
        self.name, self.network, self.around, self.forks = name, network, list(around), forks

    def argv(self, *more):
        return [*self.network.inside(self.name), *self.around, *super().argv(*more)]

    def send(self, sig):
        os.kill(child_of(self.process.pid) if self.forks else self.process.pid, sig)

    def stop(self, sig=signal.SIGTERM):
        self.send(sig)
        code = self.process.wait(DEADLINE_S)
        self.process = None
        return code

    def cleanup(self):
        if self.process is not None and self.process.poll() is None:
            self.send(signal.SIGKILL)
            self.process.wait()


class History:
    """A process of history_client; what it wrote down."""

    def __init__(self, process, path):
        self.process, self.path = process, path

    def over(self, since_us):
        """Of what was asked after that moment and is over: key, kind and outcome."""
        asked, over = {}, []
        with open(self.path) as f:
            for line in f:
                words = line.split()
                if not line.endswith("\n"):
                    break
                if words[0] == "i":
                    asked[words[1]] = (words[2], words[3], int(words[5]))
                else:
                    key, kind, at = asked[words[1]]
                    if at >= since_us:
                        over.append((key, kind, words[2]))
        return over

    def served(self, since_us, kinds):
        """The keys of which something was answered that was asked after that moment."""
        return {key for key, kind, outcome in self.over(since_us) if kind in kinds and outcome != "unknown"}


@unittest.skipIf(refusal(), refusal())
@unittest.skipUnless(shutil.which("etcd"), "etcd is not installed")
class Faults(Case):
    def begin(self, n=3, replicas=2, node_args=None, settings=(), stores=("store",)):
        """@node_args: what else FaultNode() is told, by the node's name; @settings: of all nodes, beside those below, with ADDRESS
        for the node's own; @stores: hosts of etcd's members."""
        names = ["n%d" % i for i in range(1, n + 1)]
        self.network = Network([*names, *stores, "client"])
        self.addCleanup(self.network.stop)
        self.histories, self.processes, self.stores = {}, 0, dict.fromkeys(stores)
        for host in stores:
            self.start_store(host)
        self.all = []
        for name in names:
            args = []
            for setting in (*settings, "map.store=etcd", "map.endpoints=[%s]" % ", ".join(map(self.store_url, stores)),
                            "node.cluster=" + CLUSTER, "node.name=" + name, "auth.key_file=" + self.path("key"),
                            "cluster.zone=" + name, "node.workers=1",
                            'listen=[unix://node.sock, "tcp://%s:4710"]' % self.network.address[name]):
                args += ["--set", setting.replace("ADDRESS", self.network.address[name])]
            node = FaultNode(self.base, name, self.network, args, **(node_args or {}).get(name, {}))
            self.nodes.append(node)
            self.all.append(node.start())
        self.coordinator()
        # Else those that come later lead nothing for a while: slots are made over those that are there.
        wait_for("%d members" % n, lambda: list(self.member_states(self.all[0]).values()) == ["up"] * n)
        for name, (more, _) in NAMESPACES.items():
            self.ok(self.all[0].cairn("ns", "create", "--if-missing", "--replicas", str(replicas), *more, name))
            for node in self.all:
                wait_for("namespace " + name, lambda n=node: n.cairn("ns", "show", name).code == 0)

    def member_states(self, node):
        """What the coordinator says of all; {} while there is none."""
        return {m["name"]: m["state"] for m in node.cairn("status", "--json").json.get("cluster", {}).get("members", [])}

    # ---- the map store ----

    def store_url(self, host, port=2379):
        return "http://%s:%d" % (self.network.address[host], port)

    def start_store(self, host):
        """One member of etcd, with what it had if it was there before."""
        argv = ["etcd", "--name", host, "--data-dir", self.path("etcd-" + host), "--logger=zap", "--log-level=error"]
        for option, port in (("listen-client-urls", 2379), ("advertise-client-urls", 2379), ("listen-peer-urls", 2380),
                             ("initial-advertise-peer-urls", 2380)):
            argv += ["--" + option, self.store_url(host, port)]
        argv += ["--initial-cluster", ",".join("%s=%s" % (h, self.store_url(h, 2380)) for h in self.stores)]
        with open(self.path("etcd.log"), "ab") as log:
            self.stores[host] = subprocess.Popen([*self.network.inside(host), *argv], stdout=log, stderr=log)
        self.addCleanup(self.stores[host].wait)
        self.addCleanup(self.stores[host].kill)

    def kill_store(self, host):
        self.stores[host].kill()
        self.stores[host].wait()

    # ---- what nodes say ----

    def status(self, node):
        return next(p for p in node.cairn("status", "--json").json["providers"] if p["type"] == "cluster")

    def coordinator(self):
        """The one node of which all that run say that it coordinates."""
        found = []

        def agreed():
            seen = {n.name: self.status(n) for n in self.all if n.process is not None}
            found[:] = [n for n in self.all if n.name in seen and seen[n.name]["coordinates"]]
            return len(found) == 1 and all(s["coordinator"] == found[0].name for s in seen.values())

        wait_for("a coordinator", agreed)
        return found[0]

    def others(self, node):
        return [n for n in self.all if n is not node]

    def whole(self, members=None):
        """Every slot has all its replicas, at processes that run: one that was started just now is in the cluster again."""

        def is_whole():
            said = [n.cairn("status", "--json").json for n in self.all]
            here = [next(p for p in s["providers"] if p["type"] == "cluster")["lease_ms"] > 0 for s in said]
            c = said[0].get("cluster", {})
            states, slots = [m["state"] for m in c.get("members", [])], c.get("slots", {})
            return (all(here) and len(states) == (members or len(self.all)) and "silent" not in states and slots["all"] > 0 and
                    slots["degraded"] + slots["lost"] + slots["takeover"] == 0)

        wait_for("all replicas", is_whole)

    # ---- clients ----

    def client(self, what, node, namespace, *keys):
        self.processes += 1
        path = self.path("history-%d" % self.processes)
        with open(path, "wb") as out:
            return History(subprocess.Popen(
                [*self.network.inside("client"), CLIENT, what, "tcp://%s:4710" % self.network.address[node.name],
                 self.path("key"), namespace, str(self.processes), *keys], stdin=subprocess.PIPE, stdout=out), path)

    def load(self, large=False):
        """Processes that rewrite a few keys, and one that writes ever new ones once, entered by different nodes. What is `buffered`
        is not lost, either: no fault here takes all who have it in sync. @large: and one whose values are in regions."""
        a, b, c = self.all[:3]
        self.histories = {"many": [self.client("many", a, "many"), self.client("many", b, "many")],
                          "buffered": [self.client("many", c, "buffered")], "once": [self.client("once", c, "once")]}
        if large:
            self.histories["large"] = [self.client("large", b, "large")]
        self.served()

    def served(self, kinds=("put", "new")):
        """Every key is served, for what is asked from now on."""
        since = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        for namespace, histories in self.histories.items():
            wait_for("the keys of " + namespace, lambda: len(set().union(*(h.served(since, kinds) for h in histories))) >=
                     max(1, NAMESPACES[namespace][1]))

    def judge(self):
        """Ends the clients, reads all keys, and has the histories judged."""
        for history in sum(self.histories.values(), []):
            history.process.stdin.close()
            self.assertEqual(history.process.wait(DEADLINE_S), 0, history.path)
        for namespace, histories in self.histories.items():
            keys = set()
            for history in histories:
                with open(history.path) as f:
                    keys.update(line.split()[2] for line in f if line.startswith("i "))
            last = self.client("read", self.all[-1], namespace, *sorted(keys))
            last.process.stdin.close()
            self.assertEqual(last.process.wait(DEADLINE_S), 0)
            with open(last.path) as f:
                self.assertNotIn("unknown", f.read())
            verdict = judge_histories([h.path for h in [*histories, last]])
            self.ok(verdict)
            self.assertGreater(verdict.json["acknowledged"], 0)
            print("%s: %s" % (namespace, verdict.out.strip()), flush=True)
