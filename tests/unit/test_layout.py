"""The layout: a folder includes only what stands to its left (proto, sdk, server, providers, tools), providers never
one another, and each foreign library is included by the one folder that is its home. And no file has what a merge
left."""

import os
import re
import sys
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
LAYERS = ["proto", "sdk", "server", "providers", "tools"]
# Inside sdk/core: what each folder may include beside itself.
CORE = {
    "base": [],
    "env": ["base"],
    "sm": ["base", "env"],
    "loop": ["base", "env", "sm"],
    "net": ["base", "env", "sm", "loop"],
    "fabric": ["base", "env", "sm", "loop"],
    "rpc": ["base", "env", "sm", "loop", "net"],
    "bulk": ["base", "env", "sm", "loop", "net", "fabric", "rpc"],
    "placement": ["base"],
}
HOMES = {
    r"event2/|event\.h": ["sdk/core/loop"],
    r"rdma/": ["sdk/core/fabric"],
    r"rocksdb/": ["server/storage"],
    r"libpmem": ["server/storage"],
    r"liburing": ["server/storage"],
    r"yaml\.h": ["server/node/conf"],
    r"curl/": ["server/cluster"],
    r"munge\.h": ["sdk/core/rpc"],
    r"mpi\.h": ["sdk/include/cairn/join"],
    r"pmix": ["sdk/include/cairn/join"],
}


def includes():
    for layer in LAYERS:
        for folder, _, names in os.walk(os.path.join(ROOT, layer)):
            for name in names:
                if not name.endswith((".c", ".h")):
                    continue
                path = os.path.join(folder, name)
                with open(path, encoding="utf-8") as f:
                    for line in f:
                        m = re.match(r'\s*#\s*include\s*[<"]([^>"]+)[>"]', line)
                        if m:
                            yield os.path.relpath(path, ROOT), m.group(1)


def merge_leftovers(text):
    """Lines that git puts around two versions which it cannot merge. `=======` alone says nothing: it underlines."""
    return re.findall(rb"^(?:<<<<<<<|>>>>>>>|\|\|\|\|\|\|\|)(?: .*)?$", text, re.M)


def files():
    """All of the tree, but not what is built, nor git's own."""
    for folder, folders, names in os.walk(ROOT):
        folders[:] = [f for f in folders if f not in (".git", "__pycache__") and not f.startswith("build")]
        yield from (p for p in (os.path.join(folder, n) for n in names) if os.path.isfile(p))


def layer_of(target):
    """Of what is included; a public header is named below its layer's include folder. None: foreign, or generated."""
    for layer in LAYERS:
        if target.startswith(layer + "/") or os.path.exists(os.path.join(ROOT, layer, "include", target)):
            return layer
    return None


class Layout(unittest.TestCase):
    def test_public_headers_belong_to_layers(self):
        for target, layer in (("cairn/error.h", "proto"), ("cairn/kv.h", "sdk"), ("cairn/server.h", "server"),
                              ("stdio.h", None)):
            self.assertEqual(layer_of(target), layer)

    def test_a_folder_includes_only_what_stands_to_its_left(self):
        seen = 0
        for path, target in includes():
            layer, other = path.split("/")[0], layer_of(target)
            if other in LAYERS:
                seen += 1
                self.assertLessEqual(LAYERS.index(other), LAYERS.index(layer), "%s includes %s" % (path, target))
            self.assertFalse(target.startswith("tests/"), "%s includes %s" % (path, target))
        self.assertGreater(seen, 100)

    def test_providers_do_not_know_one_another(self):
        for path, target in includes():
            if path.startswith("providers/") and target.startswith("providers/"):
                self.assertEqual(path.split("/")[1], target.split("/")[1], "%s includes %s" % (path, target))

    def test_providers_meet_the_server_at_its_port_and_storage(self):
        for path, target in includes():
            if path.startswith("providers/") and target.startswith("server/"):
                self.assertIn(target.split("/")[1], ("port", "storage"), "%s includes %s" % (path, target))

    def test_the_core_has_layers_of_its_own(self):
        for path, target in includes():
            if path.startswith("sdk/core/") and target.startswith("sdk/core/"):
                folder, other = path.split("/")[2], target.split("/")[2]
                if folder != other:
                    self.assertIn(other, CORE[folder], "%s includes %s" % (path, target))
            if path.startswith("sdk/core/"):
                self.assertFalse(target.startswith("sdk/client/"), "%s includes %s" % (path, target))

    def test_foreign_libraries_have_one_home(self):
        for path, target in includes():
            for pattern, homes in HOMES.items():
                if re.match(pattern, target):
                    self.assertIn(os.path.dirname(path), homes, "%s includes %s" % (path, target))

    def test_no_merge_was_left_unfinished(self):
        ours, theirs = b"<" * 7, b">" * 7
        self.assertEqual(merge_leftovers(b"a\n%s HEAD\nb\n=======\nc\n%s topic\n" % (ours, theirs)),
                         [ours + b" HEAD", theirs + b" topic"])
        self.assertEqual(merge_leftovers(b"Title\n=======\n %s\n%s<\n" % (ours, ours)), [])
        seen = 0
        for path in files():
            with open(path, "rb") as f:
                self.assertEqual(merge_leftovers(f.read()), [], os.path.relpath(path, ROOT))
            seen += 1
        self.assertGreater(seen, 500)

    def test_no_provider_is_named_by_the_node(self):
        for name in os.listdir(os.path.join(ROOT, "server", "node")):
            if name.endswith(".c"):
                with open(os.path.join(ROOT, "server", "node", name), encoding="utf-8") as f:
                    self.assertIsNone(re.search(r"cairn_provider_(kv|extent)\b", f.read()), name)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
