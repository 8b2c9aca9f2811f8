"""SIGKILL under load, again and again: no acknowledged write is lost, and no half value is ever read.

$CAIRN_KILLS is the number of kills (50 in the suite; by hand 500). Writers are kill_client.c, which says what it checks."""

import os
import random
import subprocess
import time

from systest import *

CLIENT = os.path.join(BUILD, "bin", "kill_client")
KILLS = int(os.environ.get("CAIRN_KILLS", "50"))


class Kill(Case):
    def test_no_acknowledged_write_is_lost(self):
        seed = int(os.environ.get("CAIRN_SEED", "0")) or random.randrange(1 << 30)
        print("seed %d (set CAIRN_SEED to repeat the times of the kills)" % seed)
        rng = random.Random(seed)
        n = self.node().start()
        spaces = ("buffered", "sync")
        for ns in spaces:
            self.ok(n.cairn("ns", "create", "--durability", ns, ns))
        acknowledged = 0
        for kill in range(KILLS):
            writers = [subprocess.Popen([CLIENT, "write", n.address, ns, self.path(ns + ".log")], stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, env=clean_env()) for ns in spaces]
            for w in writers:
                if w.stdout.readline() != b"writing\n":
                    raise AssertionError("a writer did not start: %s" % w.communicate()[1])
            # Some time into the load: a random one, so that kills meet all kinds of moments.
            time.sleep(rng.uniform(0.005, 0.15))
            n.kill()
            for w in writers:
                w.kill()
                w.communicate()
            n.start()
            for ns in spaces:
                r = run(CLIENT, "check", n.address, ns, self.path(ns + ".log"))
                self.assertEqual(r.code, 0, "kill %d, %s: %s" % (kill, ns, r))
                if kill == KILLS - 1:
                    acknowledged += int(r.out.split(" acknowledged")[0].split()[-1])
        self.assertGreater(acknowledged, KILLS, "the load did nothing")
        for ns in spaces:
            self.ok(n.cairn("verify", ns))
        self.ok(n.cairn("status"))
        self.assertEqual(n.stop(), 0)


if __name__ == "__main__":
    main()
