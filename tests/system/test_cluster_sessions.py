"""Many clients, one after the other, that write one key of a cluster: each has its own session with the key's slot, and
none is refused for those that have ended before it. And one client that comes in by a unix socket."""

import os
import sys
from concurrent.futures import ThreadPoolExecutor

sys.dont_write_bytecode = True
from systest import CAIRN, OK, TIMEOUT, UNREACHABLE, clean_env, main, run, wait_for  # noqa: E402
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

    def test_other_nodes_want_a_proof_that_a_unix_socket_does_not(self):
        self.begin(2)
        first, second = self.all
        keys = ["k%d" % i for i in range(16)]

        def cairn(*args):
            return run(CAIRN, "--address", first.address, *args, env=clean_env(CAIRN_KEY=self.path("key")))

        self.ok(cairn("ns", "create", "--replicas", "1", "s"))
        wait_for("slots that stay where they are", lambda: self.is_whole() and self.is_spread())
        os.unlink(os.path.join(second.workspace, "node.sock"))  # it is reached by TCP alone
        for key in keys:
            self.ok(cairn("put", "-v", "value", "s", key))
        self.assertEqual(sorted(self.ok(cairn("ls", "s")).out.split()), sorted(keys))

        # Whoever waits for the only one that has a value is told of whom.
        second.kill()
        got = [cairn("get", "--timeout", "2s", "s", key) for key in keys]
        late = [r for r in got if r.code != OK]
        self.assertTrue(0 < len(late) < len(keys), got)
        for r in late + [cairn("ls", "--timeout", "2s", "s")]:
            self.assertIn(r.code, (TIMEOUT, UNREACHABLE))
            self.assertRegex(r.err, "node n2, which leads .*, has not answered")


if __name__ == "__main__":
    main()
