"""The example configurations: each is checked as cairnd checks it, with places of this machine in the place of those it names,
and those of three nodes are started."""

import glob
import os
import re
import shutil
import subprocess
import unittest

from systest import CAIRN, CAIRND, OK, SOURCE, Case, clean_env, free_ports, main, run, wait_for

EXAMPLES = os.path.join(SOURCE, "deploy", "examples")


class Examples(Case):
    def setUp(self):
        super().setUp()
        self.ports = dict(zip((2379, 2380, 4710, 4711, 9464), free_ports(5)))
        self.etcd = []

    def here(self, text, name):
        """The example with this machine's places: loopback for the hosts, a directory of the test's own for the node."""
        text = text.replace("10.1.0.", "127.0.0.").replace("0.0.0.0", "127.0.0.1")
        for a, b in self.ports.items():
            text = re.sub(r":%d\b" % a, ":%d" % b, text)
        for place in ("/var/lib/cairn", "/run/cairn", "/etc/cairn"):
            text = text.replace(place, self.path(name, os.path.basename(os.path.dirname(place)) + "-cairn"))
        for place in ("lib-cairn", "run-cairn", "etc-cairn"):
            os.makedirs(self.path(name, place), exist_ok=True)
        return self.write(os.path.join(name, "node.yaml"), text.encode())

    def openssl(self, *args):
        self.ok(run("openssl", *args))

    def certificates(self, names):
        """As three-nodes/README.md says."""
        key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
        ca, ca_key = self.path("ca.crt"), self.path("ca.key")
        with open(os.path.join(EXAMPLES, "three-nodes", "README.md")) as f:
            made = re.search(r"^    (.*> cluster\.key\)?) +#", f.read(), re.M).group(1)
        self.ok(run("bash", "-c", 'cd "$1" && umask 022 && ' + made, "-", self.base))
        self.openssl("req", "-x509", *key, "-days", "10", "-subj", "/CN=cairn", "-keyout", ca_key, "-out", ca)
        for i, name in enumerate(names, 1):
            etc = lambda f: self.path(name, "etc-cairn", f)
            extensions = self.write(name + "/ext", b"subjectAltName=IP:127.0.0.%d" % i)
            self.openssl("req", *key, "-subj", "/CN=" + name, "-keyout", etc("node.key"), "-out", etc("csr"))
            self.openssl("x509", "-req", "-in", etc("csr"), "-CA", ca, "-CAkey", ca_key, "-CAcreateserial", "-days", "10",
                         "-extfile", extensions, "-out", etc("node.crt"))
            shutil.copy(ca, etc("ca.crt"))
            shutil.copy(self.path("cluster.key"), etc("cluster.key"))

    def start_etcd(self, names):
        """By the variables that three-nodes/README.md gives."""
        with open(os.path.join(EXAMPLES, "three-nodes", "README.md")) as f:
            lines = re.findall(r"^    (ETCD_[A-Z_]+)=(.*)$", f.read(), re.M)
        self.assertGreater(len(lines), 10)
        for i, name in enumerate(names, 1):
            text = "\n".join("%s=%s" % l for l in lines)
            for a, b in self.ports.items():
                text = text.replace(":%d" % a, ":%d" % b)
            text = text.replace("10.1.0.N", "10.1.0.%d" % i).replace("nodeN", "node%d" % i).replace("10.1.0.", "127.0.0.")
            text = text.replace("/etc/cairn", self.path(name, "etc-cairn"))
            env = dict(l.split("=", 1) for l in text.splitlines())
            with open(self.path(name, "etcd.log"), "wb") as log:
                p = subprocess.Popen(["etcd", "--data-dir", self.path(name, "etcd"), "--logger", "zap"],
                                     env=clean_env(**env), stdout=log, stderr=log)
            self.addCleanup(p.wait)
            self.addCleanup(p.kill)

    def test_each_reads_well_and_mistakes_do_not(self):
        found = sorted(glob.glob(os.path.join(EXAMPLES, "**", "*.yaml"), recursive=True))
        names = [os.path.relpath(p, EXAMPLES) for p in found]
        self.assertLessEqual({"one-node.yaml", "burst-buffer.yaml", "three-nodes/node1.yaml", "three-nodes/node2.yaml",
                              "three-nodes/node3.yaml"}, set(names))
        for path, name in zip(found, names):
            with open(path) as f:
                text = f.read()
            if "store: etcd" in text:
                continue  # below, with an etcd
            conf = self.here(text, name.replace("/", "-"))
            with self.subTest(name):
                self.assertIn("the configuration is good", self.ok(run(CAIRND, "--config", conf, "--check-config")).err)
                with open(conf, "rb") as f:
                    wrong = self.write("wrong.yaml", f.read().replace(b"listen:", b"lisen:", 1))
                self.assertIn("unknown key 'lisen'", run(CAIRND, "--config", wrong, "--check-config").err)

    @unittest.skipUnless(shutil.which("etcd"), "etcd is not installed")
    @unittest.skipUnless(shutil.which("openssl"), "openssl is not installed")
    def test_three_nodes_are_one_cluster(self):
        names = ["node1", "node2", "node3"]
        confs = []
        for name in names:
            with open(os.path.join(EXAMPLES, "three-nodes", name + ".yaml")) as f:
                confs.append(self.here(f.read(), name))
        self.certificates(names)
        self.start_etcd(names)
        wait_for("the map store", lambda: run(CAIRND, "--config", confs[0], "--check-config").code == OK)
        for conf in confs:
            self.assertIn("the configuration is good", self.ok(run(CAIRND, "--config", conf, "--check-config")).err)
        nodes = []
        for name, conf in zip(names, confs):
            node = self.node(name, data=self.path(name, "lib-cairn"), args=("--config", conf))
            node.workspace = self.path(name, "run-cairn")
            nodes.append(node.start())
        states = lambda n: {m["name"]: m["state"] for m in n.cairn("members", "--json").json["members"]}
        wait_for("all to see all", lambda: all(states(n) == {name: "alive" for name in names} for n in nodes))

        def zones():  # none, while nobody coordinates
            said = nodes[0].cairn("members", "--cluster", "--json")
            return {m["name"]: m["zone"] for m in said.json["members"]} if said.code == OK else {}

        wait_for("the zones", lambda: zones() == {"node1": "rack1", "node2": "rack2", "node3": "rack3"})
        self.ok(nodes[0].cairn("ns", "create", "shared"))
        for conf in confs:  # one map, whoever reads it
            self.assertIn("ns/shared", self.ok(run(CAIRN, "map", "export", "--config", conf)).out)
        for node in nodes:
            self.assertEqual(node.stop(), 0)


if __name__ == "__main__":
    main()
