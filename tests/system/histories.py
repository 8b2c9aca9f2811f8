"""Clients that write down what they asked of a cluster and were told, and the judge of that."""

import os
import subprocess

from systest import BUILD, DEADLINE_S, judge_histories

CLIENT = os.path.join(BUILD, "bin", "history_client")
OUTCOMES = ("ok", "none", "exists")


class History:
    """What one client process did: operations as (worker, kind, begin, end, outcome), times in s."""

    def __init__(self, process, path):
        self.process, self.path = process, path

    def operations(self):
        begun, over = {}, []
        with open(self.path) as f:
            for line in f:
                if not line.endswith("\n"):  # it is being written
                    break
                word = line.split()
                if word[0] == "i":
                    begun[word[1]] = (word[3], int(word[5]) / 1e6)
                else:
                    kind, since = begun.pop(word[1])
                    over.append((int(word[1]), kind, since, int(word[4]) / 1e6, " ".join(word[2:3] + word[5:])))
        return over

    def answers(self):
        return [o for o in self.operations() if o[4] in OUTCOMES]


class Histories:
    """For a Case whose addresses() are those of the nodes."""

    def client(self, what, number, namespace, *keys):
        path = self.path("history-%d" % number)
        with open(path, "wb") as out:
            process = subprocess.Popen([CLIENT, what, ",".join(self.addresses()), self.path("key"), namespace, str(number), *keys],
                                       stdin=subprocess.PIPE, stdout=out)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        self.addCleanup(process.stdin.close)
        return History(process, path)

    def judge(self, histories, number, namespace):
        keys = set()
        for history in histories:
            with open(history.path) as f:
                keys.update(line.split()[2] for line in f if line.startswith("i "))
        last = self.client("read", number, namespace, *sorted(keys))
        last.process.stdin.close()
        self.assertEqual(last.process.wait(DEADLINE_S), 0)
        verdict = self.ok(judge_histories([h.path for h in [*histories, last]])).json
        self.assertGreater(verdict["acknowledged"], 0)
        return verdict
