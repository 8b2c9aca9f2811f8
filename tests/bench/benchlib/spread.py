"""Nodes that are a cluster, on this machine: an etcd of one or three members, cairnd processes that share a map in it, and loads on
namespaces that are spread over them."""

import json
import os
import random
import select
import statistics
import subprocess
import tempfile
import time

from .node import program
from .peers import free_port
from .procs import Beside, Failed, wait_until

KEYS, VALUE_BYTES, OUTSTANDING = 10000, 1024, 16
REPAIR_VALUE_BYTES, REPAIR_RATE, CHECKPOINT_S = 32 << 10, 32 << 20, 1
CHECKPOINTED_S = 45  # by then there was one, at cluster.checkpoint_interval's default of 30 s
CLUSTER_ID = "c" * 32


def cpu_s(pid):
    """Processor time of a process, all its threads."""
    total = 0
    for task in os.listdir("/proc/%d/task" % pid):
        with open("/proc/%d/task/%s/schedstat" % (pid, task)) as f:
            total += int(f.read().split()[0])
    return total / 1e9


class Store:
    """An etcd of @members, with its own defaults: every put is synced by a majority of them."""

    def __init__(self, procs, directory, members):
        ports = [(free_port(), free_port()) for _ in range(members)]
        self.urls = ["http://127.0.0.1:%d" % client for client, _ in ports]
        peers = ["http://127.0.0.1:%d" % peer for _, peer in ports]
        initial = ",".join("e%d=%s" % (i, peer) for i, peer in enumerate(peers))
        self.processes = [procs.start(
            ["etcd", "--name=e%d" % i, "--data-dir=%s/etcd%d" % (directory, i), "--listen-client-urls=" + self.urls[i],
             "--advertise-client-urls=" + self.urls[i], "--listen-peer-urls=" + peers[i],
             "--initial-advertise-peer-urls=" + peers[i], "--initial-cluster=" + initial, "--logger=zap", "--log-level=error"],
            log="%s/etcd%d.log" % (directory, i)) for i in range(members)]
        wait_until(lambda: self._serves(procs), 60, "etcd", self.processes[0], directory + "/etcd0.log")

    def _serves(self, procs):
        try:
            procs.run(["etcdctl", "--endpoints=" + ",".join(self.urls), "endpoint", "health"], env={"ETCDCTL_API": "3"})
        except Failed:
            return False
        return True


class Node:
    def __init__(self, cluster, number):
        self.cluster, self.name, self.port = cluster, "n%d" % number, free_port()
        self.dir = os.path.join(cluster.dir, self.name)
        os.makedirs(self.dir + "/ws", mode=0o700)
        self.address = "tcp://127.0.0.1:%d" % self.port
        conf = {"node": {"name": self.name, "data": self.dir + "/data", "cluster": CLUSTER_ID, **cluster.node_settings},
                "workspace": self.dir + "/ws", "listen": ["unix://node.sock", self.address],
                "auth": {"key_file": cluster.key}, "map": {"store": "etcd", "endpoints": cluster.store.urls},
                "cluster": {"zone": self.name, **cluster.settings}}
        with open(self.dir + "/cairn.yaml", "w") as f:
            json.dump(conf, f)
        self.start()

    def start(self):
        log = self.dir + "/log"
        self.process = self.cluster.procs.start([program(self.cluster.build, "cairnd"), "--config", self.dir + "/cairn.yaml"], log=log)
        wait_until(lambda: os.path.exists(self.dir + "/ws/node.json"), 60, "cairnd " + self.name, self.process, log)

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.cluster.procs.running.remove(self.process)
        os.unlink(self.dir + "/ws/node.json")

    def cairn(self, *words):
        return self.cluster.procs.run([program(self.cluster.build, "cairn"), *words], env={"CAIRN_WORKSPACE": self.dir + "/ws"})

    def said(self, seconds=60):
        """What it says, also where the cluster is degraded."""
        p = subprocess.run([program(self.cluster.build, "cairn"), "--workspace", self.dir + "/ws", "status", "--json"],
                           stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=seconds)
        return json.loads(p.stdout)

    def provider(self, kind):
        return next(p for p in self.said()["providers"] if p["type"] == kind)

    def status(self):
        return self.provider("cluster")


class Cluster:
    def __init__(self, bench, members, stores=1, settings=None, node_settings=None):
        self.settings, self.node_settings = settings or {}, node_settings or {}
        self.procs, self.build, self.dir = bench.procs, bench.build, tempfile.mkdtemp(dir=bench.work)
        self.key = os.path.join(self.dir, "key")
        with open(os.open(self.key, os.O_WRONLY | os.O_CREAT, 0o600), "w") as f:
            f.write("5" * 64 + "\n")
        self.store = Store(self.procs, self.dir, stores)
        self.nodes = [Node(self, i) for i in range(members)]
        wait_until(lambda: self._is_complete(), 60, "all nodes, and a coordinator")

    def _is_complete(self):
        """All are in the cluster: slots that are made now are where they are to stay."""
        seen = [n.status() for n in self.nodes]
        members = next((s["members"]["all"] for s in seen if s["coordinates"]), 0)
        return len({s["coordinator"] for s in seen}) == 1 and members == len(self.nodes)

    def coordinator(self):
        name = self.nodes[0].status()["coordinator"]
        return next((n for n in self.nodes if n.name == name), self.nodes[0])

    def create(self, name, *words):
        self.nodes[0].cairn("ns", "create", *words, name)
        for n in self.nodes:
            wait_until(lambda n=n: name in n.cairn("ns", "list", "--json"), 60, "namespace %s at %s" % (name, n.name))

    def wait_whole(self, seconds=120, every=0.5):
        def whole():
            s = self.coordinator().status()
            return s["coordinates"] and s["slots"]["degraded"] + s["slots"]["lost"] == 0 and s["members"]["silent"] == 0

        wait_until(whole, seconds, "all replicas", every=every)  # asking is work, for two cores that have other to do

    def wait_grouped(self):
        wait_until(lambda: all(n.provider("group")["alive"] == len(self.nodes) for n in self.nodes), 60, "all in the group", every=0.2)

    def argv(self, command, namespace, **options):
        words = [os.path.join(self.build, "tests", "bench", "cluster_bench"), command, "--addresses", self.nodes[0].address,
                 "--key", self.key, "--namespace", namespace]
        for k, v in {"value": VALUE_BYTES, **options}.items():
            words += ["--" + k, str(v)]
        return words

    def put(self, namespace, seconds):
        """Puts in a second, and for each second of processor time that the nodes take."""
        before = sum(cpu_s(n.process.pid) for n in self.nodes)
        r = self.procs.run_json(self.argv("put", namespace, keys=KEYS, outstanding=OUTSTANDING, seconds=seconds))
        return r["ops_per_s"], r["ops"] / (sum(cpu_s(n.process.pid) for n in self.nodes) - before)

    def stop(self):
        for n in self.nodes:
            self.procs.stop(n.process, grace=15.0)
        for p in self.store.processes:
            self.procs.stop(p)


def etcd_put(bench, store, seconds):
    """To each member in turn, one of which leads; the best of all."""
    yard = os.path.join(bench.build, "tests", "bench", "yard_etcd")
    if not os.path.exists(yard):
        raise Failed("no yard_etcd: deploy/install-deps bench, and cmake once more")
    return max(bench.procs.run_json([yard, "--port", url.rsplit(":", 1)[1], "--outstanding", str(OUTSTANDING), "--keys",
                                     str(KEYS), "--value", str(VALUE_BYTES), "--seconds", str(seconds)])["ops_per_s"]
               for url in store.urls)


def replicated_put(bench):
    """Two replicas on three nodes beside one node and beside etcd, in turn. The nodes share the machine: together they have about as
    many workers as it has cores, as whoever puts several on one host would give them."""
    cluster = Cluster(bench, 3, stores=3, node_settings={"workers": max(1, os.cpu_count() // 3)})
    cluster.create("one")
    cluster.create("two", "--replicas", "2")
    cluster.create("synced", "--replicas", "2", "--durability", "sync")
    for namespace in "one", "two", "synced":
        cluster.put(namespace, 1)
    one, two, synced, etcd = [], [], [], []
    for _ in range(bench.repetitions):
        one.append(cluster.put("one", bench.put_s))
        two.append(cluster.put("two", bench.put_s))
        synced.append(cluster.put("synced", bench.put_s)[0])
        etcd.append(etcd_put(bench, cluster.store, bench.put_s))
    cluster.stop()
    rates = {"cluster.put1k.one": statistics.median(r for r, _ in one), "cluster.put1k.r2": statistics.median(r for r, _ in two),
             "cluster.put1k.r2.sync": statistics.median(synced), "cluster.put1k.etcd": statistics.median(etcd)}
    rates["cluster.put1k.r2.per_core"] = Beside(statistics.median(c for _, c in two), statistics.median(c for _, c in one))
    rates["cluster.put1k.r2.sync.etcd"] = Beside(rates["cluster.put1k.r2.sync"], rates["cluster.put1k.etcd"])
    return rates


class Pauses:
    """cluster_bench pauses, once every key was put."""

    def __init__(self, cluster, namespace, keys, seconds):
        self.process = cluster.procs.start(cluster.argv("pauses", namespace, keys=keys, seconds=seconds),
                                           stdout=subprocess.PIPE, log=cluster.dir + "/pauses.log")
        self.procs, self.seconds = cluster.procs, seconds
        if self._line() != b"ready\n":
            raise Failed("cluster_bench pauses did not begin")

    def _line(self):
        ready, _, _ = select.select([self.process.stdout], [], [], self.seconds + 60)
        return self.process.stdout.readline() if ready else b""

    def result(self):
        text = self._line()
        self.procs.stop(self.process)
        self.process.stdout.close()
        if not text:
            raise Failed("cluster_bench pauses did not end well")
        return json.loads(text)["pauses_ms"]


def unserved(bench):
    """One node after the other is killed, the coordinator, too; how long each key of its slots had no put that succeeded. A
    key whose slot it only kept a second replica of waits for the primary to do without, which is half a second: whatever
    paused for a second or more counts as the dead node's."""
    cluster, pauses = Cluster(bench, 3), []
    cluster.create("data", "--replicas", "2")
    for i in range(bench.node_kills):
        victim = cluster.nodes[(i + 1) % 3] if i % 3 < 2 else cluster.coordinator()
        cluster.wait_whole()
        load = Pauses(cluster, "data", 128, 14)
        time.sleep(2 + 0.13 * i)
        victim.kill()
        pauses += [p / 1000 for p in load.result() if p >= 1000]
        victim.start()
    cluster.wait_whole()
    cluster.stop()
    if not pauses:
        raise Failed("no key noticed that a node had died")
    pauses.sort()
    return {"cluster.dead.unserved.p50": statistics.median(pauses),
            "cluster.dead.unserved.p99": pauses[min(int(len(pauses) * 0.99), len(pauses) - 1)]}


def log_says(node, text):
    with open(node.dir + "/log", errors="replace") as f:
        return text in f.read()


def repair(bench, copy_rate):
    """Bytes a second that the two nodes which are left copy to one another, from the moment that the third is given up until
    every slot has two replicas again. What each node sends is counted by the node. Only copies are: what a log still has is
    sent from there, hence the checkpoints."""
    cluster = Cluster(bench, 3, settings={"lost_after": "6s", "copy_rate": copy_rate,
                                          "checkpoint_interval": "%ds" % CHECKPOINT_S})
    cluster.create("data", "--replicas", "2")
    cluster.wait_whole()
    bench.procs.run_json(cluster.argv("fill", "data", value=REPAIR_VALUE_BYTES, outstanding=OUTSTANDING,
                                      keys=bench.repair_bytes * 3 // 2 // REPAIR_VALUE_BYTES), timeout=1200)
    cluster.wait_whole()
    time.sleep(3 * CHECKPOINT_S)
    victim = next(n for n in cluster.nodes[1:] if n is not cluster.coordinator())
    left = [n for n in cluster.nodes if n is not victim]

    def copied():
        return sum(n.status()["copied_bytes"] for n in left)

    before = copied()
    victim.kill()
    wait_until(lambda: cluster.coordinator().status().get("slots", {}).get("degraded", 0) > 0, 60, "that slots miss a replica",
               every=0.5)
    wait_until(lambda: any(log_says(n, "node %s is lost" % victim.name) for n in left), 60, "that %s is given up" % victim.name)
    began = time.monotonic()
    cluster.wait_whole(1200, 0.1)
    took = time.monotonic() - began
    done = copied() - before
    cluster.stop()
    if done < bench.repair_bytes * 0.9:
        raise Failed("%d bytes were copied, of %d that the lost node had" % (done, bench.repair_bytes))
    return done / took


def repaired(bench):
    """With a bound that the machine can reach, and without one. The bound is each node's, and two nodes send."""
    amount = bench.repair_name
    bounded = repair(bench, REPAIR_RATE)
    return {"cluster.repair." + amount: Beside(bounded, 2 * REPAIR_RATE), "cluster.repair.%s.rate" % amount: bounded,
            "cluster.repair.%s.unbounded" % amount: repair(bench, 0)}


def disk_bytes(node):
    """What a process has made the kernel write to a disk, as of when pages became dirty or a direct write was made."""
    with open("/proc/%d/io" % node.process.pid) as f:
        return next(int(line.split()[1]) for line in f if line.startswith("write_bytes"))


def written_by(bench, value_bytes):
    """Bytes that the nodes write for each byte of new keys' values and each replica, a checkpoint included: log, index and
    regions, flushes and what RocksDB merges, file systems' blocks. Durability is the default, buffered."""
    cluster = Cluster(bench, 3)
    cluster.create("data", "--replicas", "2")
    cluster.wait_whole()

    def total():
        return sum(disk_bytes(n) for n in cluster.nodes)

    before, keys = total(), bench.written_bytes // value_bytes
    bench.procs.run_json(cluster.argv("fill", "data", value=value_bytes, outstanding=min(OUTSTANDING, keys), keys=keys), timeout=1200)
    time.sleep(CHECKPOINTED_S)  # what is in memory yet is flushed
    last = total()
    cluster.stop()
    return (last - before) / (2 * keys * value_bytes)


def written(bench):
    return {"cluster.written.small": written_by(bench, VALUE_BYTES), "cluster.written.large": written_by(bench, 2 << 20)}


def saturated(bench):
    """All cores have two programs that want them; nodes that a group found dead or a coordinator silent, and coordinators that were
    replaced, though every process lives."""
    cluster = Cluster(bench, 5)
    cluster.create("data", "--replicas", "2")
    cluster.wait_grouped()
    before = [n.provider("group") for n in cluster.nodes]
    burners = [bench.procs.start(["sh", "-c", "while :; do :; done"]) for _ in range(2 * os.cpu_count())]
    time.sleep(bench.saturated_s)
    for b in burners:
        bench.procs.stop(b)
    after, silent = [n.provider("group") for n in cluster.nodes], 0
    for n in cluster.nodes:
        with open(n.dir + "/log", errors="replace") as f:
            silent += sum("is silent" in line or "coordinates the cluster no longer" in line for line in f)
    cluster.stop()
    found, suspected = (sum(a[k] - b[k] for a, b in zip(after, before)) for k in ("deaths_found", "suspicions"))
    return {"cluster.saturated.evictions": found, "cluster.saturated.suspicions": suspected, "cluster.saturated.silent": silent}


def detection(bench):
    """Nodes are killed, any of the five each time, as it happens the coordinator, too (in turn they would be it twice as often, since
    its successor is one of those that come next); the time until a survivor says that the coordinator has it silent, and that no
    slot that another leads has it in its in-sync set."""
    cluster, took, chance = Cluster(bench, 5), [], random.Random(5)
    cluster.create("data", "--replicas", "2")
    for i in range(bench.kills):
        victim, survivor = chance.sample(cluster.nodes, 2)
        cluster.wait_whole()
        cluster.wait_grouped()
        time.sleep(0.37 * (i % 5))  # not in step with the probes
        began = time.monotonic()
        victim.kill()
        wait_until(lambda: is_evicted(survivor, victim), 60, "eviction of " + victim.name, every=0.01)
        took.append(time.monotonic() - began)
        victim.start()
    cluster.stop()
    took.sort()
    return {"cluster.detect.p50": statistics.median(took), "cluster.detect.p99": took[min(int(len(took) * 0.99), len(took) - 1)]}


def is_evicted(survivor, victim):
    """What it leads stays its own until its lease is over; that is the time of cluster.dead.unserved."""
    try:  # an answer that waits for a dead coordinator says nothing of when
        members = survivor.said(0.5).get("cluster", {}).get("members", [])
    except subprocess.TimeoutExpired:
        return False
    return any(m["name"] == victim.name and m["state"] == "silent" and m["in_sync"] == m["leads"] for m in members)
