"""A network of the tests' own: hosts in network namespaces, each with a veth pair into the bridge of a further namespace.

Nothing of the machine's own network is touched. Rules of the packet filter at the receiver lose packets, cut one host off, or one
direction between two; `shake` puts a proxy (packet_proxy.c) into hosts' links, which delays, reorders and repeats.
"""

import json
import os
import shutil
import subprocess

from systest import BUILD, DEADLINE_S

PROXY = os.path.join(BUILD, "bin", "packet_proxy")


def _do(*argv, stdin=None):
    return subprocess.run(argv, input=stdin, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=True, text=True).stdout


def refusal():
    """Why there can be no such network here; "": there can."""
    for program in "ip", "nft":
        if shutil.which(program) is None:
            return "no %s here: deploy/install-deps test" % program
    name = "cairn-%d-try" % os.getpid()
    try:
        _do("ip", "netns", "add", name)
        try:
            _do("ip", "-n", name, "link", "add", "try0", "type", "veth", "peer", "name", "try1")
            _do("ip", "-n", name, "link", "add", "try2", "type", "bridge")
            _do("ip", "netns", "exec", name, "nft", "add table inet cairn")
        finally:
            _do("ip", "netns", "del", name)
    except subprocess.CalledProcessError as e:
        return "the kernel, or who we are, allows no network namespaces: " + e.stdout.strip()
    return ""


class Network:
    def __init__(self, hosts):
        self.prefix = "cairn-%d-" % os.getpid()
        self.hosts = list(hosts)
        self.address = {host: "10.77.0.%d" % (i + 1) for i, host in enumerate(self.hosts)}
        self.lost, self.cuts, self.proxies, self.made = {}, set(), [], []
        try:
            self._make()
        except BaseException:
            self.stop()
            raise

    def _namespace(self, name):
        _do("ip", "netns", "add", self.prefix + name)
        self.made.append(name)

    def _make(self):
        switch = self.prefix + "switch"
        self._namespace("switch")
        _do("ip", "-n", switch, "link", "add", "bridge", "up", "type", "bridge")
        for host in self.hosts:
            ns = self.prefix + host
            self._namespace(host)
            _do("ip", "-n", switch, "link", "add", host, "up", "type", "veth", "peer", "name", "eth0", "netns", ns)
            _do("ip", "-n", switch, "link", "set", host, "master", "bridge")
            _do("ip", "-n", ns, "link", "set", "lo", "up")
            _do("ip", "-n", ns, "address", "add", self.address[host] + "/24", "dev", "eth0")
            _do("ip", "-n", ns, "link", "set", "eth0", "up")

    def inside(self, host):
        """What a command line begins with that is to run on this host."""
        return ["ip", "netns", "exec", self.prefix + host]

    # ---- packets that do not arrive ----

    def _apply(self):
        """Every host's rules anew, each host's at once."""
        for host in self.hosts:
            rules = ["ip saddr %s counter drop" % self.address[a] for a, b in sorted(self.cuts) if b == host]
            if host in self.lost:
                rules.append('iifname "eth0" numgen random mod 1000 < %d counter drop' % self.lost[host])
            text = ("table inet cairn\ndelete table inet cairn\ntable inet cairn {\n chain in {\n"
                    "  type filter hook input priority 0;\n  %s\n }\n}\n" % "\n  ".join(rules))
            _do(*self.inside(host), "nft", "-f", "-", stdin=text)

    def cut_one_way(self, a, b):
        """Nothing of @a arrives at @b."""
        self.cuts.add((a, b))
        self._apply()

    def cut(self, group, others):
        """Nothing passes between the two groups."""
        self.cuts.update((a, b) for x in group for y in others for a, b in ((x, y), (y, x)))
        self._apply()

    def cut_off(self, host):
        self.cut([host], [h for h in self.hosts if h != host])

    def lose(self, thousandths):
        """So many of a thousand packets, at every host."""
        self.lost = {host: thousandths for host in self.hosts}
        self._apply()

    def heal(self):
        """Gives how many packets the last change of rules has kept from arriving."""
        dropped = sum(self._dropped(host) for host in self.hosts) if self.lost or self.cuts else 0
        self.lost, self.cuts = {}, set()
        self._apply()
        return dropped

    def _dropped(self, host):
        told = json.loads(_do(*self.inside(host), "nft", "-j", "list", "table", "inet", "cairn"))
        return sum(e["counter"]["packets"] for o in told["nftables"] for e in o.get("rule", {}).get("expr", []) if "counter" in e)

    # ---- packets that arrive late, twice, in another order ----

    def shake(self, hosts, delay_ms, jitter_ms, twice):
        """Each packet from and to @hosts is late by @delay_ms and up to @jitter_ms, so some overtake others; @twice of a
        thousand arrive twice."""
        switch = self.prefix + "switch"
        for host in hosts:
            _do("ip", "-n", switch, "link", "set", host, "nomaster")
            _do("ip", "-n", switch, "link", "add", "px-" + host, "up", "type", "veth", "peer", "name", "pb-" + host)
            _do("ip", "-n", switch, "link", "set", "pb-" + host, "up", "master", "bridge")
            self.proxies.append((host, subprocess.Popen(
                [*self.inside("switch"), PROXY, host, "px-" + host, str(delay_ms), str(jitter_ms), str(twice)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE)))

    def calm(self):
        """Gives how many packets the proxies have sent late, after one that had come later, and a second time."""
        switch, done = self.prefix + "switch", {"late": 0, "overtaken": 0, "twice": 0}
        for host, proxy in self.proxies:
            out, _ = proxy.communicate(timeout=DEADLINE_S)
            if proxy.returncode != 0:
                raise AssertionError("the proxy of %s ended with %d" % (host, proxy.returncode))
            for what, count in json.loads(out).items():
                done[what] += count
            _do("ip", "-n", switch, "link", "del", "px-" + host)
            _do("ip", "-n", switch, "link", "set", host, "master", "bridge")
        self.proxies = []
        return done

    def stop(self):
        for _, proxy in self.proxies:
            proxy.kill()
            proxy.communicate()
        for name in self.made:
            subprocess.run(["ip", "netns", "del", self.prefix + name], check=False)
        self.made = []
