"""Many clients, one after the other, that write one key of a cluster: each has its own session with the key's slot, and
none is refused for those that have ended before it."""

import sys
from concurrent.futures import ThreadPoolExecutor

sys.dont_write_bytecode = True
from systest import OK, main, wait_for  # noqa: E402
from test_cluster import ClusterCase  # noqa: E402

CLIENTS = 1100  # more than keep their sessions for long (CAIRN_SESSIONS_MANY)


class Sessions(ClusterCase):
    def test_quick_clients_of_one_key(self):
        self.begin(2)
        node = self.all[0]

        def cairn(*args):
            return node.cairn("--key", self.path("key"), *args)

        self.ok(cairn("ns", "create", "--replicas", "1", "s"))
        wait_for("a whole cluster", self.is_whole)

        def put(i):
            r = cairn("put", "-v", "x%d" % i, "s", "key")
            return None if r.code == OK else "%d: %s" % (i, r.err.strip())

        with ThreadPoolExecutor(4) as some:
            failed = [x for x in some.map(put, range(CLIENTS)) if x is not None]
        self.assertEqual(failed, [])
        closes = [m["requests"] for n in self.all for m in self.ok(n.cairn("--json", "metrics")).json["methods"]
                  if (m["provider"], m["method"]) == ("router", "close")]
        self.assertGreater(sum(closes), 0)  # they say that they end
        self.assertRegex(self.ok(cairn("get", "s", "key")).out, r"^x\d+")


if __name__ == "__main__":
    main()
